//! What is reported of commands: one terminal result each, and books that balance.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;

use super::{
    gate::Refusal,
    settlement::{Finding, Settled},
    view,
};
use crate::{
    hass::{event, payload::Verb},
    model::{AccessEvent, Action, Outcome, Reason, Stage, Target, User},
};

/// Who a command came from and what it asks for, as far as it is known when it is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) target: Target,
    /// What is asked, as far as it could be read.
    pub(super) verb: Option<Verb>,
    /// Whether the gate let it pass.
    pub(super) passed: bool,
    pub(super) id: Option<String>,
    pub(super) by: Option<String>,
    /// In whose name a door is to be unlocked. Only the vendor and the journal are told.
    pub(super) user: Option<User>,
    pub(super) received_at: Timestamp,
    pub(super) response: Option<Response>,
}

impl Origin {
    /// Of what no command asked for.
    pub(super) const fn of_nobody(target: Target, at: Timestamp) -> Self {
        Self {
            target,
            verb: None,
            passed: false,
            id: None,
            by: None,
            user: None,
            received_at: at,
            response: None,
        }
    }
}

/// What a command asked for was seen to have come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmed {
    /// What was asked.
    pub action: Action,
    /// How long after the command was received, by the clock of this machine; zero where that was set back meanwhile.
    pub took: Duration,
}

/// Where else the sender wants the result (MQTT 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) topic: String,
    pub(super) correlation: Option<Bytes>,
}

/// One thing to report of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    /// What it is in the journal.
    pub(super) stage: Stage,
    pub(super) origin: Origin,
    pub(super) outcome: Outcome,
    pub(super) reason: Option<Reason>,
    pub(super) message: String,
    /// `None` while the command goes on.
    pub(super) finished_at: Option<Timestamp>,
    /// What evidence said afterwards of a command that had ended as unknown, or of an unlock that was done.
    pub(super) resolved: Option<Finding>,
    /// The access event that says so.
    pub(super) evidence: Option<Box<AccessEvent>>,
}

impl Report {
    /// The command is taken on.
    pub(super) fn accepted(origin: &Origin, message: impl Into<String>) -> Self {
        Self::progress(Stage::Accepted, origin, None, message.into())
    }

    /// The command is not done yet, and somebody has to know.
    pub(super) fn setback(origin: &Origin, reason: Reason, message: impl Into<String>) -> Self {
        Self::progress(Stage::Answered, origin, Some(reason), message.into())
    }

    fn progress(stage: Stage, origin: &Origin, reason: Option<Reason>, message: String) -> Self {
        let (origin, outcome) = (origin.clone(), Outcome::Accepted);
        Self { stage, origin, outcome, reason, message, finished_at: None, resolved: None, evidence: None }
    }

    /// The command ended.
    pub(super) fn end(
        origin: &Origin,
        outcome: Outcome,
        reason: Option<Reason>,
        message: String,
        at: Timestamp,
    ) -> Self {
        let (stage, origin, finished_at) = (Stage::Ended, origin.clone(), Some(at));
        Self { stage, origin, outcome, reason, message, finished_at, resolved: None, evidence: None }
    }

    /// The gate turned the command away.
    pub(super) fn refusal(origin: &Origin, refusal: Refusal, at: Timestamp) -> Self {
        let end = Self::end(origin, refusal.outcome, Some(refusal.reason), refusal.message, at);
        Self { stage: Stage::Refused, ..end }
    }

    /// Whether evidence may yet tell what became of something that opens. After a newer command for the same scenario
    /// none can.
    pub(super) fn is_open(&self) -> bool {
        let opens = matches!(self.origin.verb, Some(Verb::Unlock | Verb::Release));
        opens && self.outcome == Outcome::Unknown && self.reason != Some(Reason::Superseded)
    }

    /// Whether the vendor's log is to show it: an unlock that was done.
    pub(super) fn is_provable(&self) -> bool {
        self.origin.verb == Some(Verb::Unlock) && self.outcome == Outcome::Done
    }

    /// Whether the vendor's log may show that a person was turned away.
    pub(super) fn is_denied(&self) -> bool {
        let refused = matches!(self.reason, Some(Reason::NoAccess | Reason::Forbidden));
        self.origin.user.is_some() && self.outcome == Outcome::Failed && refused
    }

    /// What was seen to have come about with this, and how long after its command was received. Of an unlock only the
    /// vendor's log shows that, of the others how they end.
    pub(super) fn confirmed(&self, now: Timestamp) -> Option<Confirmed> {
        let action = match (self.origin.verb?, self.outcome, self.resolved) {
            (Verb::Unlock, _, Some(Finding::Seen)) => Action::Unlock,
            (Verb::Release, _, Some(Finding::Seen)) | (Verb::Release, Outcome::Done, None) => Action::Release,
            (Verb::Activate, Outcome::Done, None) => Action::Activate,
            (Verb::Hold, Outcome::Done, None) => Action::Hold,
            (Verb::Lock, Outcome::Done, None) => Action::Lock,
            (Verb::Edit, Outcome::Done, None) => Action::Edit,
            (
                Verb::Unlock
                | Verb::Release
                | Verb::Activate
                | Verb::Hold
                | Verb::Lock
                | Verb::Edit
                | Verb::Drill,
                ..,
            ) => return None,
        };
        let took = now.duration_since(self.origin.received_at);
        Some(Confirmed { action, took: took.try_into().unwrap_or_default() })
    }

    /// Evidence of a command after it ended. It stays ended as it did; this is a note.
    pub(super) fn resolve(settled: Settled) -> Self {
        let Settled { report, finding, event } = settled;
        let message = match (&event, finding) {
            (Some(event), Finding::Denied) => {
                let AccessEvent { word, at, id, .. } = event;
                format!("the vendor's log shows that the person was turned away: {word} at {at}, event {id}")
            }
            (Some(event), Finding::Seen | Finding::NotSeen) => {
                format!("the vendor's log shows it: {} at {}, event {}", event.word, event.at, event.id)
            }
            (None, Finding::Denied) => "the vendor turned the person away".to_owned(),
            (None, Finding::Seen) => "the vendor shows what the command asked for".to_owned(),
            (None, Finding::NotSeen) => {
                "the vendor shows no trace of it; it may have happened all the same".to_owned()
            }
        };
        Self {
            stage: Stage::Resolved,
            message,
            resolved: Some(finding),
            evidence: event.map(Box::new),
            ..report
        }
    }

    /// The result as JSON; every member is always there.
    pub(super) fn payload(&self) -> Bytes {
        let payload = json!({
            "id": self.origin.id,
            "action": self.origin.verb.map(Verb::word),
            "outcome": self.outcome.word(),
            "reason": self.reason.map(Reason::word),
            "message": self.message,
            "received_at": view::time(self.origin.received_at),
            "finished_at": self.finished_at.map(view::time),
            "by": self.origin.by,
            "resolved": self.resolved.map(Finding::word),
            "evidence": self.evidence.as_deref().map(event::payload),
        });
        payload.to_string().into()
    }
}

/// How many commands came, and how they ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Books {
    received: u64,
    ended: BTreeMap<Ending, u64>,
}

/// How a command ended, without whose it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ending {
    /// What was asked; `None` where it could not be read.
    pub action: Option<&'static str>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where there is a reason to name.
    pub reason: Option<Reason>,
}

impl Books {
    pub(super) const fn receive(&mut self) {
        self.received += 1;
    }

    pub(super) fn end(&mut self, origin: &Origin, outcome: Outcome, reason: Option<Reason>) {
        let ending = Ending { action: origin.verb.map(Verb::word), outcome, reason };
        *self.ended.entry(ending).or_default() += 1;
    }

    /// How many commands came.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// How many ended so.
    pub fn ended(&self, outcome: Outcome) -> u64 {
        self.ended.iter().filter(|(ending, _)| ending.outcome == outcome).map(|(_, count)| count).sum()
    }

    /// How many ended in each way.
    pub fn endings(&self) -> impl Iterator<Item = (Ending, u64)> {
        self.ended.iter().map(|(ending, count)| (*ending, *count))
    }

    /// How many are under way.
    pub fn pending(&self) -> u64 {
        self.received.saturating_sub(self.ended.values().sum())
    }
}
