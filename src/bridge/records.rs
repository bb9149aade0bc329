//! What is written down of commands, and how far that is safe on the disk.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::report::Origin;
use crate::{
    hass::payload::Verb,
    model::{JournalEvent, Outcome, Reason, Record, RecordNumber, Stage},
};

/// How many records wait for a disk that hangs; beyond it new ones are lost, and with them the commands that need them.
const MAX_WAITING: usize = 10_000;

/// What is to be written down of one moment of a command.
#[derive(Debug, Clone)]
pub(super) struct Draft<'a> {
    pub(super) stage: Stage,
    pub(super) origin: &'a Origin,
    pub(super) outcome: Option<Outcome>,
    pub(super) reason: Option<Reason>,
    pub(super) text: &'a str,
}

/// The records of this run.
#[derive(Debug, Default)]
pub(super) struct Records {
    last: RecordNumber,
    waiting: VecDeque<Record>,
    durable: RecordNumber,
    /// Why nothing can be written, as long as nothing can.
    broken: Option<String>,
    head: Option<String>,
}

impl Records {
    /// Writes something down; returns the number under which it becomes durable, if it ever does.
    pub(super) fn add(&mut self, draft: &Draft<'_>, at: Timestamp) -> RecordNumber {
        self.last = RecordNumber(self.last.0 + 1);
        if self.waiting.len() < MAX_WAITING {
            let origin = draft.origin;
            self.waiting.push_back(Record {
                number: self.last,
                at,
                stage: draft.stage,
                command: origin.id.clone(),
                target: Some(origin.target.clone()),
                action: origin.verb.map(Verb::word),
                by: origin.by.clone(),
                received_at: Some(origin.received_at),
                outcome: draft.outcome,
                reason: draft.reason,
                text: draft.text.to_owned(),
            });
        }
        self.last
    }

    /// The next record to hand to the journal.
    pub(super) fn next(&mut self) -> Option<Record> {
        self.waiting.pop_front()
    }

    /// Takes what the journal tells.
    pub(super) fn hear(&mut self, event: JournalEvent) {
        match event {
            JournalEvent::Written { number, head } => {
                self.durable = self.durable.max(number);
                self.head = Some(head);
            }
            JournalEvent::Broken(cause) => self.broken = Some(cause),
            JournalEvent::Mended => self.broken = None,
        }
    }

    /// The newest record that is durable, together with all before it.
    pub(super) const fn durable(&self) -> RecordNumber {
        self.durable
    }

    /// The newest record.
    pub(super) const fn last(&self) -> RecordNumber {
        self.last
    }

    /// Why nothing can be written.
    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// The hash at the end of the journal.
    pub(super) fn head(&self) -> Option<&str> {
        self.head.as_deref()
    }
}
