//! A connection to the broker that looks, listens and leaves nothing behind.

use std::time::{Duration, Instant};

use super::{Error, house::House};
use crate::{
    app, clock,
    config::Asker,
    hass::Topics,
    model::{LinkEvent, Message, Qos},
    mqtt::{self, Link},
};

/// How long the broker may take to let a heartbeat come back ...
const CONNECTS_WITHIN: Duration = Duration::from_secs(10);
/// ... and how long once there was trouble: long enough for the other MQTT version and a second attempt.
const TROUBLE_WAITS: Duration = Duration::from_secs(3);
/// Whoever tries on is told after this long that nothing was reached.
const TELL_AFTER: Duration = Duration::from_secs(1);
/// A broker that gives what it retains behind a heartbeat has given all of it when it was silent for this long.
const QUIET: Duration = Duration::from_millis(250);

/// What to do where the gateway's user may not do what people at a shell do.
const OTHER_USER: &str = "; another user is given with --username and --password-file";

/// What is heard.
#[derive(Debug)]
pub(super) struct Line {
    link: Link,
    pub(super) topics: Topics,
    pub(super) house: House,
    /// Whether a heartbeat came back in the present session: what was subscribed to comes.
    proven: bool,
    trouble: String,
    place: String,
}

/// When to be satisfied, and when to give up.
#[derive(Debug, Clone, Copy)]
pub(super) enum Patience {
    /// Trouble ends it soon.
    Short,
    /// It is tried until then, whatever trouble there is.
    Until(Instant),
}

impl Line {
    /// Begins to connect under a client id of its own, `word` in it, and to listen to these topics.
    pub(super) fn open(
        asker: &Asker,
        word: &str,
        filters: impl FnOnce(&Topics) -> Vec<(String, Qos)>,
    ) -> Result<Self, Error> {
        let topics = Topics::new(asker.mqtt.base_topic.clone());
        let heartbeat = topics.shell_heartbeat();
        let mut subscriptions = filters(&topics);
        subscriptions.extend([
            (topics.availability(), Qos::AtLeastOnce),
            (topics.api_availability(), Qos::AtLeastOnce),
            (heartbeat.clone(), Qos::AtLeastOnce),
        ]);
        let seed = app::seed();
        // Two who ask at the same time must not throw each other out.
        let client_id = format!("{}-{word}-{:04x}", asker.mqtt.client_id, seed & 0xffff);
        let settings = mqtt::Settings {
            wants_retained: true,
            ..app::guest_settings(&asker.mqtt, &client_id, subscriptions, heartbeat)
        };
        let place = format!("{}:{}", settings.host, settings.port);
        let link = mqtt::connect(settings, seed).map_err(Error::Link)?;
        let trouble = "it does not answer".to_owned();
        Ok(Self { link, topics, house: House::default(), proven: false, trouble, place })
    }

    /// Waits until everything that the broker retains has come, or `enough` of it. `tell` is told of trouble, once each.
    pub(super) async fn look(
        &mut self,
        patience: Patience,
        enough: impl Fn(&House) -> bool,
        mut tell: impl FnMut(&str),
    ) -> Result<(), Error> {
        let mut until = match patience {
            Patience::Short => clock::now().mono + CONNECTS_WITHIN,
            Patience::Until(until) => until,
        };
        let mut quiet = self.proven.then(|| clock::now().mono + QUIET);
        let mut told = String::new();
        let mut tell_at = match patience {
            Patience::Short => None,
            Patience::Until(_) => Some(clock::now().mono + TELL_AFTER),
        };
        loop {
            if self.proven && enough(&self.house) {
                return Ok(());
            }
            let at = quiet.map_or(until, |quiet| quiet.min(until));
            let wake = tell_at.map_or(at, |tell_at| tell_at.min(at));
            let event = match clock::timeout_at(wake, self.next()).await {
                Ok(event) => event,
                Err(_) if wake < at => {
                    tell_at = None;
                    if told.is_empty() {
                        told.clone_from(&self.trouble);
                        tell(&told);
                    }
                    continue;
                }
                Err(_) => return if quiet.is_some() { Ok(()) } else { Err(self.unreachable()) },
            };
            let now = clock::now().mono;
            match event {
                Heard::Proven => quiet = Some(now + QUIET),
                // What happens meanwhile is not what the broker keeps.
                Heard::Message(message) if self.proven && message.retain => quiet = Some(now + QUIET),
                Heard::Trouble => {
                    quiet = None;
                    if let Patience::Short = patience {
                        until = until.min(now + TROUBLE_WAITS);
                    }
                    if told != self.trouble {
                        told.clone_from(&self.trouble);
                        tell(&told);
                    }
                }
                Heard::Message(_) | Heard::Nothing => {}
            }
        }
    }

    /// What comes next, noted. Cancel safe.
    pub(super) async fn next(&mut self) -> Heard {
        match self.link.next().await {
            LinkEvent::Up { .. } | LinkEvent::Resumed { .. } => {
                // The broker gives what it retains anew.
                self.house = House::default();
                self.trouble = format!(
                    "no heartbeat comes back; the broker must let this user publish and read {}{OTHER_USER}",
                    self.topics.shell_heartbeat()
                );
                Heard::Nothing
            }
            LinkEvent::Proven => {
                self.proven = true;
                "it does not answer".clone_into(&mut self.trouble);
                Heard::Proven
            }
            LinkEvent::Message(message) | LinkEvent::Waiting(message, _) => {
                self.house.hear(&self.topics, &message.topic, &message.payload);
                Heard::Message(message)
            }
            LinkEvent::Unproven(cause) => {
                self.proven = false;
                self.trouble = cause + OTHER_USER;
                Heard::Trouble
            }
            LinkEvent::Down(cause) => {
                self.proven = false;
                self.trouble = cause;
                Heard::Trouble
            }
            // Others at a shell.
            LinkEvent::Shared => Heard::Nothing,
        }
    }

    /// What is wrong with the connection.
    pub(super) fn trouble(&self) -> &str {
        &self.trouble
    }

    /// The broker did not serve in time.
    pub(super) fn unreachable(&self) -> Error {
        Error::Broker { place: self.place.clone(), cause: self.trouble.clone() }
    }

    /// Hands a publication over to the present session.
    pub(super) fn publish(&self, publication: crate::model::Publication) -> Result<(), mqtt::Full> {
        self.link.publisher().try_publish(publication)
    }

    /// Says goodbye, if there is anybody.
    pub(super) async fn close(self) {
        if let Err(error) = self.link.close(Vec::new(), Duration::from_secs(1)).await {
            tracing::debug!(%error, "no goodbye was said to the broker");
        }
    }
}

/// What came.
#[derive(Debug)]
pub(super) enum Heard {
    Proven,
    Message(Message),
    Trouble,
    Nothing,
}
