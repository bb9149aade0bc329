//! Evidence of commands after they ended: it settles what ended as unknown, and proves the unlocks that were done. Nothing
//! is ever sent again for it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use super::{Bridge, poller::List, report::Report};
use crate::model::{
    AccessEvent, CallId, DoorId, EventKind, Method, Now, Person, ScenarioId, ScenarioState, Target, User,
};

/// How long evidence is waited for.
pub(super) const LASTS: Duration = Duration::from_secs(15);
/// Distance between the reads that look for it.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Event times are whole seconds, and the controller's clock is another one.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(2);
/// How many commands wait for evidence; beyond it the oldest is given up.
const MAX_OPEN: usize = 64;
/// How long the event of an unlock that was done is waited for. It is not sought: it comes with what is read anyway.
const PROOF_LASTS: Duration = Duration::from_mins(1);

/// What evidence says of a command that ended as unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Finding {
    /// The vendor's log or list shows what it asked for.
    Seen,
    /// Nothing showed it in time. It may have happened all the same.
    NotSeen,
    /// The vendor's log shows that the person in whose name it was asked was turned away.
    Denied,
}

impl Finding {
    /// The word used in JSON.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::NotSeen => "not_seen",
            Self::Denied => "denied",
        }
    }
}

/// What became known of a command after it ended.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) report: Report,
    pub(super) finding: Finding,
    /// The event that shows it.
    pub(super) event: Option<AccessEvent>,
}

impl Settled {
    const fn by_event(report: Report, finding: Finding, event: AccessEvent) -> Self {
        Self { report, finding, event: Some(event) }
    }

    const fn without(report: Report, finding: Finding) -> Self {
        Self { report, finding, event: None }
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

    /// Whether the event may be that of the command: the vendor turns away only who is asked for by name, and where the event
    /// names a person, it is not another.
    fn is_shown_by(&self, event: &AccessEvent, finding: Finding) -> bool {
        let origin = &self.report.origin;
        let of_door = matches!(&origin.target, Target::Door(id) if event.door.as_ref() == Some(id));
        let whose = event.person.as_ref().and_then(Person::id);
        let of_another = matches!((&origin.user, whose), (Some(User::Id(user)), Some(id)) if user != id);
        let may_be = finding != Finding::Denied || origin.user.is_some();
        of_door && !of_another && may_be && self.fits(event.at)
    }
}

/// All that wait for evidence.
#[derive(Debug, Default)]
pub(super) struct Settlements {
    open: VecDeque<Open>,
    /// Unlocks that were done, and whose event did not come yet.
    done: VecDeque<Open>,
    /// Unlocks that the vendor refused in the name of a person, and whose event did not come yet.
    denied: VecDeque<Open>,
    /// The newest unlock from afar of each door, and the newest that was turned away, that were no command's: evidence may
    /// come before the command ends.
    early: BTreeMap<(DoorId, Finding), AccessEvent>,
}

impl Settlements {
    /// Waits for evidence of a command that ended: as unknown, as an unlock that was done, or as one that was refused in the
    /// name of a person. Returns what is settled by it at once.
    pub(super) fn add(&mut self, report: &Report, as_of: CallId, now: Now) -> Vec<Settled> {
        let is_open = report.is_open();
        let until = now.mono + if is_open { LASTS } else { PROOF_LASTS };
        let open = Open { report: report.clone(), as_of, until };
        if let Target::Door(door) = &report.origin.target {
            let findings: &[Finding] = match (is_open, report.is_denied()) {
                (true, _) => &[Finding::Seen, Finding::Denied],
                (false, true) => &[Finding::Denied],
                (false, false) => &[Finding::Seen],
            };
            for finding in findings.iter().copied() {
                let place = (door.clone(), finding);
                if self.early.get(&place).is_some_and(|event| open.is_shown_by(event, finding))
                    && let Some(event) = self.early.remove(&place)
                {
                    return vec![Settled::by_event(open.report, finding, event)];
                }
            }
        }
        let waiting = match (is_open, report.is_denied()) {
            (true, _) => &mut self.open,
            (false, true) => &mut self.denied,
            (false, false) => &mut self.done,
        };
        let given_up = if waiting.len() < MAX_OPEN { None } else { waiting.pop_front() };
        waiting.push_back(open);
        let given_up = given_up.filter(|_| is_open);
        given_up.map(|open| Settled::without(open.report, Finding::NotSeen)).into_iter().collect()
    }

    /// Takes an access event; returns what it settles. One event is one unlock, or one that was turned away: of two commands it
    /// settles the older one.
    pub(super) fn learn(&mut self, event: &AccessEvent) -> Option<Settled> {
        let finding = finding_from_afar(event)?;
        let door = event.door.as_ref()?;
        let ended = if finding == Finding::Denied { &mut self.denied } else { &mut self.done };
        let fitting = [&mut self.open, ended].into_iter().filter_map(|waiting| {
            let place = waiting.iter().position(|open| open.is_shown_by(event, finding))?;
            Some((waiting.get(place)?.report.origin.received_at, place, waiting))
        });
        let settled = fitting.min_by_key(|(received_at, ..)| *received_at);
        if let Some(open) = settled.and_then(|(_, place, waiting)| waiting.remove(place)) {
            return Some(Settled::by_event(open.report, finding, event.clone()));
        }
        let place = (door.clone(), finding);
        if self.early.get(&place).is_none_or(|known| known.at <= event.at) {
            self.early.insert(place, event.clone());
        }
        None
    }

    /// Takes a list of scenarios; returns what it settles.
    pub(super) fn observe(
        &mut self,
        read: CallId,
        state_of: impl Fn(&ScenarioId) -> Option<ScenarioState>,
    ) -> Vec<Settled> {
        let shows = |open: &Open| match &open.report.origin.target {
            Target::Scenario(id) => open.as_of < read && state_of(id) == Some(ScenarioState::Inactive),
            Target::Door(_) | Target::Calendar(_) => false,
        };
        let (settled, open) = std::mem::take(&mut self.open).into_iter().partition(shows);
        self.open = open;
        let settled: VecDeque<Open> = settled;
        settled.into_iter().map(|open| Settled::without(open.report, Finding::Seen)).collect()
    }

    /// Gives up what waited long enough. That the event of an unlock that was done or refused did not come says nothing.
    pub(super) fn expire(&mut self, now: Now) -> Vec<Settled> {
        for waiting in [&mut self.done, &mut self.denied] {
            while waiting.pop_front_if(|open| open.until <= now.mono).is_some() {}
        }
        let mut over = Vec::new();
        while let Some(open) = self.open.pop_front_if(|open| open.until <= now.mono) {
            over.push(Settled::without(open.report, Finding::NotSeen));
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

/// An unlock by the API, or from the vendor's console, which the log does not tell apart (`verkada-api.md` 5.4), and whether
/// it was done or turned away.
fn finding_from_afar(event: &AccessEvent) -> Option<Finding> {
    let from_afar = Method::of_word(&event.word) == Some(Method::Remote);
    if event.kind == EventKind::RemoteUnlock || (from_afar && event.kind == EventKind::Granted) {
        Some(Finding::Seen)
    } else {
        (from_afar && event.kind == EventKind::Denied).then_some(Finding::Denied)
    }
}
