//! Commands that ended as unknown, and the evidence that settles them afterwards. Nothing is ever sent again for it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use super::{Bridge, poller::List, report::Report};
use crate::model::{AccessEvent, CallId, DoorId, EventKind, Method, Now, ScenarioId, ScenarioState, Target};

/// How long evidence is waited for.
pub(super) const LASTS: Duration = Duration::from_secs(15);
/// Distance between the reads that look for it.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Event times are whole seconds, and the controller's clock is another one.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(2);
/// How many commands wait for evidence; beyond it the oldest is given up.
const MAX_OPEN: usize = 64;

/// What evidence says of a command that ended as unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// The vendor's log or list shows what it asked for.
    Seen,
    /// Nothing showed it in time. It may have happened all the same.
    NotSeen,
}

impl Finding {
    /// The word used in JSON.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::NotSeen => "not_seen",
        }
    }
}

#[derive(Debug)]
struct Open {
    report: Report,
    /// The newest call when it ended: only a read that is asked for later is evidence.
    as_of: CallId,
    until: Instant,
}

impl Open {
    /// Evidence from before the command is no evidence.
    fn fits(&self, at: Timestamp) -> bool {
        self.report.origin.received_at.duration_since(at) <= TOLERANCE
    }
}

/// All that wait for evidence.
#[derive(Debug, Default)]
pub(super) struct Settlements {
    open: VecDeque<Open>,
    /// The newest unlock from afar of each door: evidence may come before the command ends.
    unlocked: BTreeMap<DoorId, Timestamp>,
}

impl Settlements {
    /// Waits for evidence of a command that ended as unknown; returns what is settled by it at once.
    pub(super) fn add(&mut self, report: &Report, as_of: CallId, now: Now) -> Vec<(Report, Finding)> {
        let open = Open { report: report.clone(), as_of, until: now.mono + LASTS };
        if let Target::Door(door) = &report.origin.target
            && self.unlocked.get(door).is_some_and(|at| open.fits(*at))
        {
            return vec![(open.report, Finding::Seen)];
        }
        let given_up = if self.open.len() < MAX_OPEN { None } else { self.open.pop_front() };
        self.open.push_back(open);
        given_up.map(|open| (open.report, Finding::NotSeen)).into_iter().collect()
    }

    /// Takes an access event; returns what it settles.
    pub(super) fn learn(&mut self, event: &AccessEvent) -> Vec<(Report, Finding)> {
        let Some(door) = event.door.as_ref().filter(|_| is_unlock_from_afar(event)) else {
            return Vec::new();
        };
        let newest = self.unlocked.entry(door.clone()).or_insert(event.at);
        *newest = event.at.max(*newest);
        let settles = |open: &mut Open| {
            matches!(&open.report.origin.target, Target::Door(id) if id == door) && open.fits(event.at)
        };
        // One event is one unlock: of two commands it settles the older one.
        let first = self.open.iter_mut().position(settles);
        let settled = first.and_then(|index| self.open.remove(index));
        settled.map(|open| (open.report, Finding::Seen)).into_iter().collect()
    }

    /// Takes a list of scenarios; returns what it settles.
    pub(super) fn observe(
        &mut self,
        read: CallId,
        state_of: impl Fn(&ScenarioId) -> Option<ScenarioState>,
    ) -> Vec<(Report, Finding)> {
        let shows = |open: &Open| match &open.report.origin.target {
            Target::Scenario(id) => open.as_of < read && state_of(id) == Some(ScenarioState::Inactive),
            Target::Door(_) => false,
        };
        let (settled, open) = std::mem::take(&mut self.open).into_iter().partition(shows);
        self.open = open;
        let settled: VecDeque<Open> = settled;
        settled.into_iter().map(|open| (open.report, Finding::Seen)).collect()
    }

    /// Gives up what waited long enough.
    pub(super) fn expire(&mut self, now: Now) -> Vec<(Report, Finding)> {
        let mut over = Vec::new();
        while let Some(open) = self.open.pop_front_if(|open| open.until <= now.mono) {
            over.push((open.report, Finding::NotSeen));
        }
        over
    }

    /// When the next one is given up.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.open.front().map(|open| open.until)
    }

    /// Whether evidence of a door, and of a scenario, is waited for.
    pub(super) fn wants(&self) -> (bool, bool) {
        let door = |open: &Open| matches!(open.report.origin.target, Target::Door(_));
        (self.open.iter().any(door), !self.open.iter().all(door))
    }
}

impl Bridge {
    /// Looks for evidence of what ended as unknown, and gives up what waited long enough.
    pub(super) fn settle_unknown(&mut self, now: Now) {
        let over = self.settlements.expire(now);
        self.resolve(over, now);
    }

    /// Reads again, as long as evidence is waited for.
    pub(super) fn seek_evidence(&mut self, now: Now) {
        let (doors, scenarios) = self.settlements.wants();
        for (wanted, list) in [(doors, List::Events), (scenarios, List::Scenarios)] {
            if wanted {
                self.poller.hurry(list, now.mono + LOOK_EVERY);
            }
        }
    }
}

/// An unlock by the API, or from the vendor's console, which the log does not tell apart (`verkada-api.md` 5.4).
fn is_unlock_from_afar(event: &AccessEvent) -> bool {
    event.kind == EventKind::RemoteUnlock
        || (event.kind == EventKind::Granted && Method::of_word(&event.word) == Some(Method::Remote))
}
