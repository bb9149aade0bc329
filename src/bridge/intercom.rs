//! Calls at intercoms: told by webhooks alone, and proof of nothing about a door.

use super::{Bridge, view};
use crate::{
    hass::event,
    model::{IntercomEvent, Now, Publication, Push, Qos},
};

/// Calls older than this are not told: nobody stands there any more.
const LIVE: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

impl Bridge {
    /// Tells what an intercom reports, once, where a push brings it. What else the push is worth is not decided here.
    pub(super) fn hear_intercom(&mut self, push: &Push, now: Now) {
        let event = match push {
            Push::Event(event) => event,
            Push::ReadScenarios | Push::ReadEvents => return,
        };
        let Some(what) = IntercomEvent::of_word(&event.word) else { return };
        if self.poller.has_seen(event)
            || event.at < self.started
            || !self.poller.is_news(event)
            || now.utc.duration_since(event.at) > LIVE
        {
            return;
        }
        self.outbox.push(Publication {
            topic: self.topics.bridge("intercom"),
            payload: view::bytes_of(&event::intercom(what, event)),
            qos: Qos::AtLeastOnce,
            retain: false,
            correlation: None,
        });
    }
}
