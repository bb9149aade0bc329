//! People: some command over MQTT, some walk through doors.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use serde_json::json;
use verkada2mqtt::model::{EventKind, LinkEvent, Message};

use crate::{
    DOORS, FOREIGN, Happening, RELOCKING, SCENARIOS, World,
    bench::{ms, secs},
};

/// So many of the last ids may be used again.
const REUSED: usize = 30;

/// What those who command know of what they sent.
#[derive(Debug, Default)]
pub(crate) struct People {
    /// The last ids that were used.
    ids: VecDeque<String>,
    sent: u64,
}

/// A command on its way to the core.
#[derive(Debug, Clone)]
pub(crate) struct Fed {
    pub(crate) id: String,
    pub(crate) target: String,
    pub(crate) deadline: Instant,
    pub(crate) may_run: bool,
}

impl World {
    pub(crate) fn send_command(&mut self) {
        let (target, words): (String, &[&str]) = match self.rng.below(10) {
            0..5 => {
                (format!("door/{}", self.pick(&DOORS)), &["UNLOCK", "UNLOCK", "UNLOCK", "LOCK", "nonsense"])
            }
            5..9 => (format!("scenario/{}", self.pick(&SCENARIOS[..2])), &["ON", "ON", "OFF", "DRILL"]),
            _ => ("door/nobody".to_owned(), &["UNLOCK"]),
        };
        let word = self.pick(words);
        let age = if self.rng.one_in(8) { self.rng.between(ms(0), secs(5)) } else { ms(self.rng.below(200)) };
        let issued_age = if self.rng.one_in(6) { self.rng.between(ms(0), secs(14)) } else { age };
        let waited = if self.rng.one_in(10) { self.rng.between(ms(0), secs(12)) } else { Duration::ZERO };
        let id = if word != "DRILL" && self.rng.one_in(6) && !self.people.ids.is_empty() {
            let ids = self.people.ids.make_contiguous().to_vec();
            self.pick(&ids)
        } else {
            self.people.sent += 1;
            format!("c-{}", self.people.sent)
        };
        // What a drill was is forgotten with the run.
        if word != "DRILL" {
            self.people.ids.push_back(id.clone());
            if self.people.ids.len() > REUSED {
                self.people.ids.pop_front();
            }
        }
        let stamped = self.rng.one_in(2);
        let issued = self.now.utc - issued_age;
        let payload = if word == "nonsense" {
            word.to_owned()
        } else if stamped {
            json!({"action": word, "id": id, "issued_at": issued.to_string()}).to_string()
        } else {
            json!({"action": word, "id": id}).to_string()
        };
        let mut message = self.message(format!("verkada/{target}/set"), &payload, age);
        message.retain = self.rng.one_in(12);
        let opens = !["ON", "DRILL"].contains(&word);
        let limit = if opens { secs(10) } else { secs(60) };
        let own = if stamped { issued_age } else { Duration::ZERO };
        let deadline = (message.received_at + limit).checked_sub(own).unwrap();
        let may_run = !message.retain && (!opens || age < ms(2_500));
        let fed = Fed { id, target, deadline, may_run };
        let run = self.gateway.run;
        self.plan(waited, Happening::Deliver(run, message, fed));
    }

    pub(crate) fn deliver(&mut self, run: u32, message: Message, fed: Fed) {
        // A message handled after its session ended was queued in the gateway: it is handled all the same. What waits in
        // a gateway that ends is lost.
        if !self.broker.up || run != self.gateway.run {
            return;
        }
        self.ledger.received += 1;
        self.ledger.fed = Some(fed);
        self.link(LinkEvent::Message(message));
        self.ledger.fed = None;
    }

    pub(crate) fn acknowledge(&mut self) {
        if !self.broker.up {
            return;
        }
        let topic = "verkada/bridge/acknowledge/set".to_owned();
        let message = self.message(topic, "PRESS", Duration::ZERO);
        self.ledger.acknowledging = true;
        self.note_acknowledged();
        self.link(LinkEvent::Message(message));
        self.ledger.acknowledging = false;
        self.check_acknowledged();
    }

    /// Somebody does something at a door.
    pub(crate) fn person(&mut self) {
        let id = self.pick(&DOORS);
        match self.rng.below(17) {
            0 | 1 => {
                let duration = secs(1 + self.rng.below(20));
                self.open(id, duration);
            }
            2 | 3 => {
                self.tell(EventKind::Opened, id);
                if RELOCKING.contains(&id) && self.vendor.unlocked_until.contains_key(id) {
                    self.vendor.unlocked_until.insert(id, self.now.mono);
                    self.relock(id);
                }
            }
            4 => self.tell(EventKind::Closed, id),
            5 => self.tell(EventKind::Denied, id),
            6 => self.tell(EventKind::HeldOpen, id),
            7 => self.tell(EventKind::Tamper, id),
            8 => self.tell(EventKind::FireTriggered, id),
            9 => self.tell(EventKind::FireReleased, id),
            10 => self.tell(EventKind::ForcedOpen, id),
            11 | 12 => self.let_in(id),
            13 => {
                let word = self.pick(&[EventKind::Unlocked, EventKind::Tamper, EventKind::Other]);
                self.tell(word, FOREIGN);
            }
            14 => {
                let kind =
                    self.pick(&[EventKind::ControllerFireTriggered, EventKind::ControllerFireReleased]);
                self.tell_of_controller(kind, id);
            }
            15 => {
                let kind = self.pick(&[EventKind::ControllerOffline, EventKind::ControllerStartup]);
                self.tell_of_controller(kind, id);
            }
            _ => {
                let kind = self.pick(&[EventKind::LockChanged, EventKind::Lockdown, EventKind::Other]);
                self.tell(kind, id);
            }
        }
    }

    /// Somebody is let in at the reader, or from afar; the word of the lock itself may come first.
    fn let_in(&mut self, id: &'static str) {
        let kind = self.pick(&[EventKind::Granted, EventKind::Granted, EventKind::RemoteUnlock]);
        let duration = secs(2 + self.rng.below(9));
        if self.rng.one_in(2) {
            self.tell(kind, id);
            self.open(id, duration);
        } else {
            self.open(id, duration);
            self.tell(kind, id);
        }
    }
}
