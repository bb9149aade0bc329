//! When a door was unlocked, and by what.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::Serialize;

/// How many times are kept for a door; the oldest are forgotten first.
const MAX_PASSAGES: usize = 10_000;

/// What unlocks a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UnlockedBy {
    /// Its schedule: everybody passes.
    Schedule,
    /// An exception of a calendar: everybody passes.
    Exception,
    /// Somebody was let in, for seconds.
    Momentary,
}

impl UnlockedBy {
    const fn is_free(self) -> bool {
        matches!(self, Self::Schedule | Self::Exception)
    }
}

/// A time in which a door was unlocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Unlocked {
    /// When it began.
    pub from: Timestamp,
    /// When it ended, exclusive; `None` while it lasts.
    pub until: Option<Timestamp>,
    /// What unlocked it.
    pub by: UnlockedBy,
}

/// A time in which everybody passes a door without a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Free {
    /// When it begins.
    pub from: Timestamp,
    /// When it ends, exclusive.
    pub until: Timestamp,
}

/// The times in which a door was unlocked, oldest first.
#[derive(Debug, Default)]
pub(super) struct Passages(VecDeque<Unlocked>);

impl Passages {
    /// Writes down what unlocks the door from now on; `None` when it is locked.
    pub(super) fn note(&mut self, by: Option<UnlockedBy>, at: Timestamp) {
        if let Some(last) = self.0.back_mut().filter(|last| last.until.is_none()) {
            if Some(last.by) == by {
                return;
            }
            last.until = Some(at);
        }
        if let Some(by) = by {
            self.0.push_back(Unlocked { from: at, until: None, by });
            if self.0.len() > MAX_PASSAGES {
                self.0.pop_front();
            }
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Unlocked> {
        self.0.iter()
    }

    /// When everybody passed, inside a span of time.
    pub(super) fn free(&self, from: Timestamp, until: Timestamp) -> Vec<Free> {
        let mut found = Vec::new();
        for passage in self.0.iter().filter(|passage| passage.by.is_free()) {
            let end = passage.until.unwrap_or(until).min(until);
            join(&mut found, Free { from: passage.from.max(from), until: end });
        }
        found
    }
}

/// Adds a time; one that follows on the last without a gap prolongs it, an empty one is nothing.
pub(super) fn join(spans: &mut Vec<Free>, next: Free) {
    if next.from >= next.until {
        return;
    }
    match spans.last_mut().filter(|last| last.until >= next.from) {
        Some(last) => last.until = last.until.max(next.until),
        None => spans.push(next),
    }
}
