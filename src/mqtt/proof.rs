//! Whether a connection is proven, and if not, why.

use std::time::{Duration, Instant};

use super::{
    heartbeat::{Heartbeat, Verdict},
    settings::Settings,
    wire::Settled,
};
use crate::model::{LinkEvent, Publication, Qos};

/// What one connection has shown of itself.
#[derive(Debug)]
pub(super) struct Proof {
    heartbeat: Heartbeat,
    topic: String,
    /// What the log calls the link.
    link: &'static str,
    subscribed: bool,
    /// The filters that the broker refused, with its reasons.
    refused_filters: Option<String>,
    /// What the broker said to our newest heartbeat, if it refused it.
    refused_heartbeat: Option<String>,
    remind_every: Duration,
    complaint_logged_at: Option<Instant>,
    good_news_due: bool,
}

impl Proof {
    /// Of a connection that is being made.
    pub(super) fn new(settings: &Settings, identity: u64, now: Instant) -> Self {
        Self {
            heartbeat: Heartbeat::new(settings.timings.clone(), identity, now),
            topic: settings.heartbeat_topic.clone(),
            link: settings.name(),
            subscribed: false,
            refused_filters: None,
            refused_heartbeat: None,
            remind_every: settings.timings.remind_every,
            complaint_logged_at: None,
            good_news_due: true,
        }
    }

    /// The broker accepted the connection.
    pub(super) const fn opened(&mut self, now: Instant) {
        self.heartbeat.opened(now);
    }

    /// The broker answered SUBSCRIBE; `refused` names filters and reasons.
    pub(super) fn subscribed(&mut self, refused: &[String], now: Instant) -> Option<LinkEvent> {
        self.subscribed = refused.is_empty();
        if self.subscribed {
            self.refused_filters = None;
            self.heartbeat.begin(now);
            return None;
        }
        let refused = refused.join(", ");
        if self.refused_filters.as_ref() == Some(&refused) {
            return None;
        }
        self.refused_filters = Some(refused);
        Some(self.event(&Verdict::Unproven { echo_age: None }, now))
    }

    /// The heartbeat to publish, if one is due.
    pub(super) fn due(&self, now: Instant) -> Option<Publication> {
        let payload = self.heartbeat.due(now)?.into();
        let topic = self.topic.clone();
        Some(Publication { topic, payload, qos: Qos::AtLeastOnce, retain: false, correlation: None })
    }

    /// The heartbeat that was due is on its way, or found no room.
    pub(super) fn handed_over(&mut self, taken: bool, now: Instant) {
        if taken {
            self.heartbeat.sent(now);
        } else {
            self.heartbeat.postpone(now);
        }
    }

    /// The broker answered a heartbeat.
    pub(super) fn settled(&mut self, settled: Settled) {
        match settled {
            Settled::Taken => self.refused_heartbeat = None,
            Settled::Refused(reason) => self.refused_heartbeat = Some(reason),
            Settled::Lost => {}
        }
    }

    /// Whether a message on this topic is a heartbeat, ours or another's.
    pub(super) fn is_heartbeat(&self, topic: &str) -> bool {
        topic == self.topic
    }

    /// A heartbeat came in.
    pub(super) fn echo(&mut self, payload: &[u8], retain: bool, now: Instant) -> Option<LinkEvent> {
        let verdict = self.heartbeat.echo(payload, retain, now)?;
        Some(self.event(&verdict, now))
    }

    /// Looks at the age of the newest echo.
    pub(super) fn check(&mut self, now: Instant) -> Option<LinkEvent> {
        let verdict = self.heartbeat.check(now)?;
        Some(self.event(&verdict, now))
    }

    /// When [`Self::due`] or [`Self::check`] may next have something to say.
    pub(super) fn deadline(&self) -> Instant {
        self.heartbeat.deadline()
    }

    /// When the newest heartbeat was sent that came back on this connection.
    pub(super) const fn echo_sent_at(&self) -> Option<Instant> {
        self.heartbeat.echo_sent_at()
    }

    /// For how long echoes have ceased, once there were any.
    pub(super) fn silent_for(&self, now: Instant) -> Option<Duration> {
        self.heartbeat.silent_for(now)
    }

    /// Whether the broker has not answered SUBSCRIBE.
    pub(super) const fn awaits_subscription(&self) -> bool {
        !self.subscribed && self.refused_filters.is_none()
    }

    fn event(&mut self, verdict: &Verdict, now: Instant) -> LinkEvent {
        match verdict {
            Verdict::Proven => {
                if std::mem::take(&mut self.good_news_due) {
                    tracing::info!("the {} is proven: our heartbeat came back", self.link);
                }
                LinkEvent::Proven
            }
            Verdict::Unproven { echo_age } => {
                let since = echo_age.map_or_else(
                    || "no heartbeat has come back on this connection".to_owned(),
                    |age| format!("the newest heartbeat that came back is {:.1} s old", age.as_secs_f64()),
                );
                let cause = self.likely_cause();
                let quiet = self
                    .complaint_logged_at
                    .is_some_and(|at| now.saturating_duration_since(at) < self.remind_every);
                if !quiet {
                    self.complaint_logged_at = Some(now);
                    self.good_news_due = true;
                    tracing::warn!(
                        since,
                        cause,
                        "the {} is unproven: no command that comes over it will run",
                        self.link
                    );
                }
                LinkEvent::Unproven(format!("{since}: {cause}"))
            }
            Verdict::Shared => LinkEvent::Shared,
        }
    }

    fn likely_cause(&self) -> String {
        let topic = &self.topic;
        if let Some(filters) = &self.refused_filters {
            format!("the broker refuses our subscription to {filters}: allow it in its rules")
        } else if let Some(reason) = &self.refused_heartbeat {
            format!("the broker refuses to let us publish `{topic}` ({reason}): allow it in its rules")
        } else if self.subscribed {
            format!("the broker is stalled, or its rules forbid us to publish or to read `{topic}`")
        } else {
            "the broker has not acknowledged our subscription".to_owned()
        }
    }
}
