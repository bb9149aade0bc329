//! Which events were read before: each counts once, however often the vendor shows it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::model::{AccessEvent, EventId};

/// The most events that are remembered: more than six hours of a large organisation. Beyond it the oldest are
/// forgotten, and one that is shown again is evidence once more, which changes nothing.
const CAPACITY: usize = 50_000;

/// Events by time, so that old ones can be forgotten.
#[derive(Debug, Default)]
pub(super) struct Seen {
    by_time: BTreeSet<(Timestamp, EventId)>,
}

impl Seen {
    /// Remembers an event; says whether it is new.
    pub(super) fn insert(&mut self, event: &AccessEvent) -> bool {
        let new = self.by_time.insert((event.at, event.id.clone()));
        if self.by_time.len() > CAPACITY {
            self.by_time.pop_first();
        }
        new
    }

    /// Whether an event is remembered.
    pub(super) fn holds(&self, event: &AccessEvent) -> bool {
        self.by_time.contains(&(event.at, event.id.clone()))
    }

    /// Forgets events from before this time.
    pub(super) fn forget_before(&mut self, at: Timestamp) {
        while self.by_time.first().is_some_and(|(first, _)| *first < at) {
            self.by_time.pop_first();
        }
    }

    /// The remembered events from this time on, or all.
    pub(super) fn since(&self, at: Option<Timestamp>) -> impl Iterator<Item = (EventId, Timestamp)> {
        let newest_first = self.by_time.iter().rev();
        newest_first
            .take_while(move |(time, _)| at.is_none_or(|at| *time >= at))
            .map(|(time, id)| (id.clone(), *time))
    }
}
