//! People: some command over MQTT, some walk through doors.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::json;
use verkada2mqtt::{
    bridge::Input,
    model::{EventKind, LinkEvent, Message, Now},
};

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
    /// Numbers the messages that were published.
    pub(crate) serial: u64,
    /// `None` where the gateway is to choose one.
    pub(crate) id: Option<String>,
    pub(crate) target: String,
    pub(crate) word: &'static str,
    payload: String,
    pub(crate) published: Instant,
    issued: Option<Timestamp>,
    /// From when on it must not be sent, if it opens.
    pub(crate) deadline: Instant,
    pub(crate) may_run: bool,
    /// Whether only the securing connection brings it.
    pub(crate) by_securing: bool,
    /// Whether the broker says that it may have delivered it before.
    pub(crate) dup: bool,
}

impl Fed {
    fn limit(&self) -> Duration {
        if self.word == "ON" || self.word == "DRILL" { secs(60) } else { secs(10) }
    }

    /// Whether its age when it was received, by what it says itself, is far from any limit.
    pub(crate) fn is_issued_lately(&self, received_at: Instant, now: Now) -> bool {
        self.issued.is_none_or(|issued| {
            let age = (now.utc - (now.mono - received_at)).duration_since(issued).as_secs();
            (-4..50).contains(&age)
        })
    }

    /// How old it is by what it says itself and by this clock.
    fn judge_age(&mut self, received_at: Instant, now: Now) {
        let waited = now.mono - received_at;
        let issued_age = self.issued.map_or(Duration::ZERO, |issued| {
            let age = Duration::try_from(now.utc.duration_since(issued)).unwrap_or_default();
            age.saturating_sub(waited)
        });
        self.deadline = (received_at + self.limit()).checked_sub(issued_age).unwrap();
    }
}

impl World {
    pub(crate) fn send_command(&mut self) {
        let (target, words): (String, &[&'static str]) = match self.rng.below(10) {
            0..4 => {
                (format!("door/{}", self.pick(&DOORS)), &["UNLOCK", "UNLOCK", "UNLOCK", "LOCK", "nonsense"])
            }
            4..9 => (format!("scenario/{}", self.pick(&SCENARIOS[..2])), &["ON", "ON", "OFF", "DRILL"]),
            _ => ("door/nobody".to_owned(), &["UNLOCK"]),
        };
        let word = self.pick(words);
        let age = if self.rng.one_in(8) { self.rng.between(ms(0), secs(5)) } else { ms(self.rng.below(200)) };
        let issued_age = if self.rng.one_in(6) { self.rng.between(ms(0), secs(14)) } else { age };
        let waited = if self.rng.one_in(10) { self.rng.between(ms(0), secs(12)) } else { Duration::ZERO };
        let stamped = self.rng.one_in(2);
        let nameless = stamped && self.rng.one_in(3);
        let id = if nameless { None } else { Some(self.choose_id(word)) };
        let issued = stamped.then(|| self.utc() - issued_age);
        let payload = match issued {
            _ if word == "nonsense" => word.to_owned(),
            Some(issued) if nameless => json!({"action": word, "issued_at": issued.to_string()}).to_string(),
            Some(issued) => json!({"action": word, "id": id, "issued_at": issued.to_string()}).to_string(),
            None => json!({"action": word, "id": id}).to_string(),
        };
        self.people.sent += 1;
        let retain = self.rng.one_in(12);
        let fed = Fed {
            serial: self.people.sent,
            id,
            target,
            word,
            payload,
            published: self.now.mono.checked_sub(age).unwrap(),
            issued,
            deadline: self.now.mono,
            may_run: false,
            by_securing: false,
            dup: false,
        };
        if fed.target.starts_with("scenario/") && !retain {
            self.publish_securing(fed.clone());
        }
        if self.broker.up {
            let since = self.broker.since;
            let mut message = self.message_of(&fed, since);
            message.retain = retain;
            let run = self.gateway.run;
            self.plan(waited, Happening::Deliver(run, message, fed));
        }
    }

    /// A new id, or one that was used before.
    fn choose_id(&mut self, word: &str) -> String {
        // What a drill was is forgotten with the run.
        let drill = word == "DRILL";
        if !drill && self.rng.one_in(6) && !self.people.ids.is_empty() {
            let ids = self.people.ids.make_contiguous().to_vec();
            return self.pick(&ids);
        }
        let id = format!("c-{}", self.people.sent + 1);
        if !drill {
            self.people.ids.push_back(id.clone());
            if self.people.ids.len() > REUSED {
                self.people.ids.pop_front();
            }
        }
        id
    }

    /// The message as it arrives now in a session.
    pub(crate) fn message_of(&self, fed: &Fed, since: Option<Instant>) -> Message {
        let topic = format!("verkada/{}/set", fed.target);
        let mut message = self.message_in(since, topic, &fed.payload, fed.published);
        message.dup = fed.dup;
        message
    }

    pub(crate) fn deliver(&mut self, run: u32, message: Message, mut fed: Fed) {
        // A message handled after its session ended was queued in the gateway: it is handled all the same. What waits in
        // a gateway that ends is lost.
        if !self.broker.up || run != self.gateway.run {
            return;
        }
        let opens = !["ON", "DRILL"].contains(&fed.word);
        fed.judge_age(message.received_at, self.now);
        fed.may_run = !message.retain && (!opens || message.received_at - fed.published < ms(2_500));
        let fresh = fed.may_run && self.now.mono - fed.published < secs(40) && message.echo_sent_at.is_some();
        let fresh = fresh && fed.is_issued_lately(message.received_at, self.now);
        self.feed(fed, fresh, Input::Link(LinkEvent::Message(message)));
    }

    /// Hands a command to the core. A fresh lockdown must be taken on; any other must be, or raise an alarm.
    pub(crate) fn feed(&mut self, fed: Fed, fresh: bool, input: Input) {
        let text: String = format!("message {} {} {}", fed.serial, fed.target, fed.word);
        self.note(&text);
        let (target, word, serial) = (fed.target.clone(), fed.word, fed.serial);
        let (seen, known) = (self.ledger.was_seen(serial), self.ledger.is_known(&fed));
        let merges = self.ledger.activating(&target).filter(|_| word == "ON");
        let shown = self.truth.scenarios.get(target.trim_start_matches("scenario/"));
        let limited = shown.is_some_and(|shown| shown.state == Some(true));
        self.ledger.refusal = None;
        self.ledger.fed = Some(fed);
        self.gateway.bridge.handle(input, self.now);
        self.drain();
        let fed = self.ledger.fed.take().unwrap();
        self.ledger.received = self.gateway.bridge.status(self.now).books.received();
        if let Some(other) = &merges {
            // What the gate turned away counts for nothing: a copy, or the same once more, may be in time.
            let counts = self.ledger.refusal.is_none_or(|why| why == "merged");
            if counts && !self.ledger.turned_away.contains(&serial) {
                self.ledger.merge(serial, other);
            } else {
                self.ledger.turned_away.insert(serial);
            }
        }
        if word != "ON" || !target.starts_with("scenario/") || seen || known || merges.is_some() {
            return;
        }
        let scenario = target.trim_start_matches("scenario/");
        let taken = self.ledger.was_taken(serial);
        let told = taken || self.ledger.is_raised(scenario) || self.seems_delivered_again(&fed);
        let why = self.ledger.refusal;
        if !taken {
            self.ledger.turned_away.insert(serial);
        }
        self.must(told, || format!("a lockdown is lost, and nobody is told ({why:?}): {fed:?}"));
        // A list may have lacked the scenario.
        let unknown = why == Some("unknown_target");
        self.must(taken || limited || unknown || !fresh, || {
            format!("a fresh lockdown is not taken on ({why:?}): {fed:?}")
        });
    }

    pub(crate) fn acknowledge(&mut self) {
        if !self.broker.up {
            return;
        }
        let topic = "verkada/bridge/acknowledge/set".to_owned();
        let message = self.message(topic, "PRESS");
        self.note_acknowledged();
        self.link(LinkEvent::Message(message));
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
