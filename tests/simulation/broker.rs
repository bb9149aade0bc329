//! The broker, and the pipe to it: what got through, and what it holds.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use verkada2mqtt::{
    bridge::Input,
    model::{LinkEvent, Message, Protocol, Publication},
};

use crate::{
    Happening, World,
    bench::{ms, secs},
};

/// How long what is published can be on its way.
const ON_THE_WAY: Duration = Duration::from_millis(500);

/// The broker, and the pipe to it.
#[derive(Default)]
pub(crate) struct Broker {
    pub(crate) up: bool,
    pub(crate) since: Option<Instant>,
    pipe: VecDeque<(Instant, Publication)>,
    pub(crate) stalled: bool,
    pub(crate) retained: BTreeMap<String, Bytes>,
    /// The same with what is still in the pipe: what will be held if nothing is lost.
    pub(crate) shown: BTreeMap<String, Bytes>,
    /// The retained topics that the present run of the gateway published.
    pub(crate) own: BTreeSet<String>,
}

impl Broker {
    /// The text that is shown under a topic of ours.
    pub(crate) fn shows(&self, topic: &str) -> Option<&str> {
        let payload = self.shown.get(&format!("verkada/{topic}"))?;
        Some(std::str::from_utf8(payload).unwrap())
    }

    /// Whether the present run of the gateway published a topic of ours.
    pub(crate) fn is_own(&self, topic: &str) -> bool {
        self.own.contains(&format!("verkada/{topic}"))
    }

    pub(crate) fn take(&mut self, publication: Publication, now: Instant) {
        hold(&mut self.shown, &publication);
        if publication.retain {
            self.own.insert(publication.topic.clone());
        }
        self.pipe.push_back((now, publication));
    }

    /// What is older than a moment gets through, and of the rest all but the last few.
    pub(crate) fn let_through(&mut self, kept: usize, now: Instant) {
        let travels = |(at, _): &(Instant, Publication)| now - *at < ON_THE_WAY;
        while self.pipe.len() > kept || self.pipe.front().is_some_and(|first| !travels(first)) {
            let (_, publication) = self.pipe.pop_front().unwrap();
            hold(&mut self.retained, &publication);
        }
    }

    /// The connection ends; what was not through yet is lost, and says how much. The last will is not.
    pub(crate) fn lose(&mut self, forgets: bool) -> usize {
        if !self.up {
            return 0;
        }
        let lost = self.pipe.len();
        self.up = false;
        self.since = None;
        self.stalled = false;
        self.pipe.clear();
        self.retained.insert("verkada/availability".to_owned(), Bytes::from_static(b"offline"));
        if forgets {
            self.retained.clear();
        }
        self.shown.clone_from(&self.retained);
        lost
    }
}

impl World {
    pub(crate) fn happen_on_the_link(&mut self, happening: &Happening) {
        match happening {
            Happening::Cut => self.cut(),
            Happening::Connect => self.connect(),
            Happening::Proven => self.link(LinkEvent::Proven),
            Happening::Unproven => {
                if self.broker.up && !self.quiet {
                    self.broker.stalled = true;
                    self.link(LinkEvent::Unproven("silence".to_owned()));
                    self.soon(1_000, 14_000, Happening::Proven);
                }
                self.again(10_000, 60_000, Happening::Unproven);
            }
            _ => {
                if self.broker.up {
                    let message = self.message("homeassistant/status".to_owned(), "online");
                    self.link(LinkEvent::Message(message));
                }
                self.again(20_000, 90_000, Happening::Birth);
            }
        }
    }

    pub(crate) fn link(&mut self, event: LinkEvent) {
        if matches!(event, LinkEvent::Proven) {
            self.broker.stalled = false;
            if !self.broker.up {
                return;
            }
        }
        let text: String = format!("{event:?}").chars().take(150).collect();
        self.note(&text);
        self.truth.hear(&event, self.now);
        self.gateway.bridge.handle(Input::Link(event), self.now);
        self.drain();
    }

    fn cut(&mut self) {
        if self.broker.up {
            let forgets = self.rng.one_in(4);
            let lost = self.broker.lose(forgets);
            self.note(&format!("{lost} publications are lost"));
            self.link(LinkEvent::Down("cut".to_owned()));
            let after = self.rng.between(ms(50), secs(12));
            self.plan(after, Happening::Connect);
        }
        self.again(5_000, 60_000, Happening::Cut);
    }

    fn connect(&mut self) {
        if self.broker.up || self.gateway.down {
            return;
        }
        self.broker.up = true;
        self.broker.since = Some(self.now.mono);
        self.link(LinkEvent::Up { protocol: Protocol::V5, max_packet: None });
        let after = self.rng.between(ms(10), ms(900));
        self.plan(after, Happening::Proven);
    }

    /// A message that was published just now, on the main connection.
    pub(crate) fn message(&self, topic: String, payload: &str) -> Message {
        self.message_in(self.broker.since, topic, payload, self.now.mono)
    }

    /// A message that arrives now in a session that began then. Its heartbeat bound is honest: the newest full second of
    /// the session before it was published.
    pub(crate) fn message_in(
        &self,
        since: Option<Instant>,
        topic: String,
        payload: &str,
        published: Instant,
    ) -> Message {
        let since = since.unwrap_or(self.now.mono);
        let echo = published.checked_duration_since(since).map(|d| since + secs(d.as_secs()));
        Message {
            topic,
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            retain: false,
            dup: false,
            response_topic: None,
            correlation: None,
            received_at: self.now.mono,
            echo_sent_at: echo,
        }
    }

    /// What was published reaches the broker, unless the link stalls. The last few may still be on their way, and would
    /// be lost with the connection.
    pub(crate) fn let_through(&mut self) {
        if !self.broker.stalled {
            let kept = if self.rng.one_in(10) { self.pick(&[0, 1, 2, 3]) } else { 0 };
            self.broker.let_through(kept, self.now.mono);
        }
    }
}

pub(crate) fn hold(retained: &mut BTreeMap<String, Bytes>, publication: &Publication) {
    if !publication.retain {
        return;
    }
    if publication.payload.is_empty() {
        retained.remove(&publication.topic);
    } else {
        retained.insert(publication.topic.clone(), publication.payload.clone());
    }
}
