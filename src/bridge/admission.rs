//! What is remembered of earlier commands: their ids, and how many there were.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use super::{gate::Refusal, report::Report};
use crate::model::{Intent, Now, PastCommand, Reason, Target};

/// How long an id is remembered.
const REMEMBERED: Duration = Duration::from_hours(24);
/// How many ids are remembered; beyond it the oldest are forgotten.
const MAX_REMEMBERED: usize = 10_000;
/// How many opening commands one door or scenario may get within [`WINDOW`].
const PER_TARGET: usize = 5;
/// How many opening commands there may be in all within [`WINDOW`].
const IN_ALL: usize = 20;
/// The interval in which opening commands are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// A command that was seen before under the same id.
#[derive(Debug, Clone)]
struct Known {
    intent: Intent,
    target: Target,
    at: Instant,
    /// The last thing that was reported of it.
    report: Option<Report>,
}

/// Ids of commands that were admitted.
#[derive(Debug, Default)]
pub(super) struct Ids {
    known: BTreeMap<String, Known>,
    order: VecDeque<(Instant, String)>,
}

/// What an id says about a command.
#[derive(Debug)]
pub(super) enum Repeat {
    /// The id is new.
    New,
    /// The same command again: what was reported of it last.
    Same(Option<Report>),
    /// Another command under the same id.
    Conflict(Refusal),
}

impl Ids {
    /// Looks an id up.
    pub(super) fn check(&mut self, id: &str, intent: impl Into<Intent>, target: &Target, now: Now) -> Repeat {
        self.forget(now.mono);
        let intent = intent.into();
        match self.known.get(id) {
            None => Repeat::New,
            Some(known) if known.intent == intent && known.target == *target => {
                Repeat::Same(known.report.clone())
            }
            Some(known) => {
                let text = format!(
                    "the id was used before to {} {}; every command needs an id of its own",
                    known.intent,
                    known.target.path()
                );
                Repeat::Conflict(Refusal::refused(Reason::IdConflict, text))
            }
        }
    }

    /// Remembers the id of a command that was admitted.
    pub(super) fn remember(&mut self, id: &str, intent: impl Into<Intent>, target: &Target, now: Now) {
        let known = Known { intent: intent.into(), target: target.clone(), at: now.mono, report: None };
        self.known.insert(id.to_owned(), known);
        self.order.push_back((now.mono, id.to_owned()));
        self.forget(now.mono);
    }

    /// Remembers the id of a command of an earlier run.
    pub(super) fn recall(&mut self, command: &PastCommand, now: Now) {
        let age = Duration::try_from(now.utc.duration_since(command.received_at)).unwrap_or_default();
        // On a machine that started after the command was admitted it counts as younger, and is remembered for longer.
        let mono = now.mono.checked_sub(age).unwrap_or(now.mono);
        self.remember(&command.id, command.action, &command.target, Now { mono, ..now });
    }

    /// Remembers what was reported of a command.
    pub(super) fn note(&mut self, report: &Report) {
        let repeats = matches!(report.reason, Some(Reason::Duplicate | Reason::IdConflict));
        if let Some(known) = report.origin.id.as_ref().and_then(|id| self.known.get_mut(id))
            && !repeats
        {
            known.report = Some(report.clone());
        }
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, id)) = self.order.front() {
            if self.order.len() <= MAX_REMEMBERED && now.saturating_duration_since(*at) < REMEMBERED {
                break;
            }
            if self.known.get(id).is_some_and(|known| known.at == *at) {
                self.known.remove(id);
            }
            self.order.pop_front();
        }
    }
}

/// How many opening commands there were.
#[derive(Debug, Default)]
pub(super) struct Rates {
    all: VecDeque<Instant>,
    of: BTreeMap<Target, VecDeque<Instant>>,
}

impl Rates {
    /// Counts an opening command for the target, or refuses it.
    pub(super) fn admit(&mut self, target: &Target, now: Instant) -> Result<(), Refusal> {
        drop_old(&mut self.all, now);
        self.of.retain(|_, times| {
            drop_old(times, now);
            !times.is_empty()
        });
        let own = self.of.get(target).map_or(0, VecDeque::len);
        for (count, limit, whose) in
            [(own, PER_TARGET, "this door or scenario"), (self.all.len(), IN_ALL, "all together")]
        {
            if count >= limit {
                let text =
                    format!("more than {limit} opening commands in {} s for {whose}", WINDOW.as_secs());
                return Err(Refusal::refused(Reason::RateLimited, text));
            }
        }
        self.all.push_back(now);
        self.of.entry(target.clone()).or_default().push_back(now);
        Ok(())
    }
}

fn drop_old(times: &mut VecDeque<Instant>, now: Instant) {
    while times.front().is_some_and(|at| now.saturating_duration_since(*at) >= WINDOW) {
        times.pop_front();
    }
}
