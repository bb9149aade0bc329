//! What is reported of commands: one terminal result each, and books that balance.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;

use super::{gate::Refusal, view};
use crate::{
    hass::payload::Verb,
    model::{Outcome, Reason, Target},
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
    pub(super) received_at: Timestamp,
    pub(super) response: Option<Response>,
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
    pub(super) origin: Origin,
    pub(super) outcome: Outcome,
    pub(super) reason: Option<Reason>,
    pub(super) message: String,
    /// `None` while the command goes on.
    pub(super) finished_at: Option<Timestamp>,
}

impl Report {
    /// The command goes on.
    pub(super) fn progress(origin: &Origin, reason: Option<Reason>, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { origin: origin.clone(), outcome: Outcome::Accepted, reason, message, finished_at: None }
    }

    /// The command ended.
    pub(super) fn end(
        origin: &Origin,
        outcome: Outcome,
        reason: Option<Reason>,
        message: String,
        at: Timestamp,
    ) -> Self {
        Self { origin: origin.clone(), outcome, reason, message, finished_at: Some(at) }
    }

    /// The gate turned the command away.
    pub(super) fn refusal(origin: &Origin, refusal: Refusal, at: Timestamp) -> Self {
        Self::end(origin, refusal.outcome, Some(refusal.reason), refusal.message, at)
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
        });
        payload.to_string().into()
    }
}

/// How many commands came, and how they ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Books {
    received: u64,
    ended: BTreeMap<Outcome, u64>,
}

impl Books {
    pub(super) const fn receive(&mut self) {
        self.received += 1;
    }

    pub(super) fn end(&mut self, outcome: Outcome) {
        *self.ended.entry(outcome).or_default() += 1;
    }

    /// How many commands came.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// How many ended so.
    pub fn ended(&self, outcome: Outcome) -> u64 {
        self.ended.get(&outcome).copied().unwrap_or(0)
    }

    /// How many are under way.
    pub fn pending(&self) -> u64 {
        self.received.saturating_sub(self.ended.values().sum())
    }
}
