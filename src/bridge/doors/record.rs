//! What is known of one door.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{
    controllers::Heard,
    evidence::{Evidence, Proof, Shown},
    overlay::OwnUnlocks,
};
use crate::{
    bridge::{
        confirmation::Window,
        position::Standing,
        problems::{Problem, Problems},
    },
    model::{AccessEvent, Door, EventId, EventKind, Method, Now, Person, Position, ScenarioId},
};

/// How the last command for a door or scenario ended; shown in its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::bridge) struct LastCommand {
    pub(in crate::bridge) action: &'static str,
    pub(in crate::bridge) outcome: &'static str,
    pub(in crate::bridge) at: Timestamp,
}

/// The newest access event of a door; shown in its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::bridge) struct LastEvent {
    pub(in crate::bridge) word: String,
    pub(in crate::bridge) at: Timestamp,
    pub(in crate::bridge) method: Option<Method>,
    pub(in crate::bridge) by: Option<Person>,
    /// Decides between two of one second, so that the order in which they arrive does not matter.
    id: EventId,
}

/// What the owner decided for one door.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::bridge) struct Choices {
    /// Whether it is shown as locked without evidence.
    pub(in crate::bridge) assume_locked: bool,
    /// Whether it locks as soon as it is opened, by its setting at the vendor.
    pub(in crate::bridge) relocks_on_open: bool,
}

/// What is known of one door.
#[derive(Debug, Default)]
pub(in crate::bridge) struct Record {
    /// As listed; `None` where only evidence came so far.
    pub(super) door: Option<Door>,
    pub(in crate::bridge) last_command: Option<LastCommand>,
    pub(in crate::bridge) last_event: Option<LastEvent>,
    pub(super) choices: Choices,
    pub(super) evidence: Evidence,
    pub(super) own: OwnUnlocks,
    standing: Standing,
    problems: Problems,
    /// What was heard of its controller through this door while it is not known which controller that is.
    pub(super) nameless: Heard,
    /// Whether events ever told of tampering or fire: only then its device has an entity for it.
    pub(super) tells_tamper: bool,
    pub(super) tells_fire: bool,
}

/// All that an event can change of what is shown of a door.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Face {
    shown: Shown,
    /// What confirms the door of an active scenario, also where it changes nothing else.
    proven: (Option<(Proof, Timestamp)>, Option<Timestamp>),
    position: Option<(Position, Timestamp)>,
    problems: [Option<bool>; 4],
    last_event: Option<LastEvent>,
}

impl Record {
    pub(super) fn new(open_believed: Duration) -> Self {
        Self { standing: Standing::new(open_believed), ..Self::default() }
    }

    /// What is shown of the lock.
    pub(in crate::bridge) fn shown(&self) -> Shown {
        self.own.shown().unwrap_or_else(|| self.evidence.shown(self.choices, self.own.last()))
    }

    /// What is shown of the position.
    pub(in crate::bridge) const fn position(&self) -> Option<(Position, Timestamp)> {
        self.standing.shown()
    }

    /// The active scenarios that lock it.
    pub(in crate::bridge) fn covered_by(&self) -> impl Iterator<Item = &ScenarioId> {
        self.evidence.covered_by()
    }

    /// Whether evidence shows that a scenario locked it, and nothing newer says the contrary.
    pub(super) fn confirms(&self, window: Window) -> bool {
        self.own.shown().is_none() && self.evidence.confirms(window, self.choices, self.own.last())
    }

    /// What its own events tell of a problem. Nothing holds a door open of which it is not known whether it is open.
    pub(super) fn problem(&self, problem: Problem) -> Option<bool> {
        let on = self.problems.is_on(problem);
        match problem {
            Problem::HeldOpen | Problem::ForcedOpen => on.filter(|on| !(*on && self.standing.has_lapsed())),
            Problem::Tamper | Problem::Fire => on,
        }
    }

    pub(super) fn face(&self) -> Face {
        Face {
            shown: self.shown(),
            proven: self.evidence.proven(),
            position: self.position(),
            problems: Problem::ALL.map(|problem| self.problem(problem)),
            last_event: self.last_event.clone(),
        }
    }

    /// Takes an event that happened at `at`; `void` where that proves nothing about the lock.
    pub(super) fn take(&mut self, event: &AccessEvent, at: Timestamp, void: bool, now: Now) {
        if let Some(position) = event.kind.position() {
            self.standing.see(position, at, now);
        }
        self.problems.take(event.kind, at);
        self.tells_tamper |= event.kind == EventKind::Tamper;
        self.tells_fire |= matches!(event.kind, EventKind::FireTriggered | EventKind::FireReleased);
        if let Some(proof) = Proof::of(event.kind).filter(|_| !void) {
            self.evidence.prove(proof, at);
            if proof == Proof::Locked {
                self.own.locked(at);
            }
        }
        if event.kind == EventKind::Lockdown {
            self.evidence.lock_down(at);
        }
        if matches!(event.kind, EventKind::Unlocked | EventKind::Locked) {
            self.evidence.speak(at);
        }
        if matches!(event.kind, EventKind::Granted | EventKind::RemoteUnlock) {
            self.evidence.grant(at, self.own.time(), now);
        }
        // By a clock that runs ahead, an opening from before an unlock would seem to follow it.
        if event.kind == EventKind::Opened && event.at <= now.utc {
            self.evidence.open(at);
            if self.choices.relocks_on_open {
                self.own.relocked(at);
            }
        }
        self.note_event(event, at);
    }

    /// Drops what events proved; returns whether there was any.
    pub(super) fn forget(&mut self) -> bool {
        let nameless = self.nameless.forget_fire();
        self.evidence.forget() | self.standing.forget() | self.problems.forget() | nameless
    }

    /// Whether something about it ends by the mere passing of time, and when.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        [self.own.next_expiry(), self.evidence.next_expiry(), self.standing.next_expiry()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Ends what is due.
    pub(super) fn expire(&mut self, now: Now) {
        self.standing.expire(now);
        self.own.expire(now);
        self.evidence.expire(now);
    }

    /// Remembers the newest event that tells of somebody, whole: nothing of an older one stays.
    fn note_event(&mut self, event: &AccessEvent, at: Timestamp) {
        let newer = match &self.last_event {
            Some(last) => (last.at, &last.id) < (at, &event.id),
            None => true,
        };
        if newer && event.kind.tells_of_access() {
            self.last_event = Some(LastEvent {
                word: event.word.clone(),
                at,
                method: Method::of_word(&event.word),
                by: event.person.clone(),
                id: event.id.clone(),
            });
        }
    }
}
