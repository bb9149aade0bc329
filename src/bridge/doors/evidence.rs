//! What is known of a lock, from which evidence, and which counts most.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::Choices;
use crate::{
    bridge::{confirmation::Window, scenarios::Coverage},
    model::{EventKind, Now, ScenarioId},
};

/// How far from its begin or end a hold may be told by an event, by another clock.
const HOLD_TOLD: SignedDuration = SignedDuration::from_mins(1);

/// What is shown of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bridge) enum Lock {
    /// The newest evidence says locked.
    Locked,
    /// The newest evidence says unlocked.
    Unlocked,
    /// An unlock was accepted and is on its way.
    Unlocking,
    /// There is no evidence, or it contradicts itself.
    Unknown,
}

/// Where a shown lock state comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bridge) enum Source {
    /// A command of ours.
    Command,
    /// An access event.
    Event,
    /// A scenario that locks the door.
    Scenario,
    /// A hold of ours.
    Hold,
    /// The owner's choice for doors without evidence.
    Assumed,
    /// Nothing.
    Nothing,
}

impl Source {
    /// The word used in attributes.
    pub(in crate::bridge) const fn word(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Event => "event",
            Self::Scenario => "scenario",
            Self::Hold => "hold",
            Self::Assumed => "assumed",
            Self::Nothing => "none",
        }
    }
}

/// What is shown of a lock, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bridge) struct Shown {
    pub(in crate::bridge) lock: Lock,
    pub(in crate::bridge) source: Source,
    /// When the evidence arose.
    pub(in crate::bridge) at: Option<Timestamp>,
    /// When the door is due to lock again.
    pub(in crate::bridge) relock_due: Option<Timestamp>,
}

/// What events proved about a lock, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    Locked,
    Unlocked,
    /// It moved, the direction is not known.
    Moved,
}

impl Proof {
    /// What an event of this kind proves.
    pub(super) const fn of(kind: EventKind) -> Option<Self> {
        match kind {
            EventKind::Unlocked => Some(Self::Unlocked),
            EventKind::Locked => Some(Self::Locked),
            EventKind::LockChanged => Some(Self::Moved),
            EventKind::Granted
            | EventKind::RemoteUnlock
            | EventKind::Opened
            | EventKind::Closed
            | EventKind::HeldOpen
            | EventKind::ForcedOpen
            | EventKind::Denied
            | EventKind::Lockdown
            | EventKind::Tamper
            | EventKind::FireTriggered
            | EventKind::FireReleased
            | EventKind::ControllerFireTriggered
            | EventKind::ControllerFireReleased
            | EventKind::ControllerOffline
            | EventKind::ControllerStartup
            | EventKind::Other => None,
        }
    }
}

/// Whether a proof says anything after the end of a hold, however late it comes: of what is from before only that the door
/// locked right then, which is how its end is told.
fn outlasts_hold(proof: Proof, at: Timestamp, ended: Timestamp) -> bool {
    at > ended || (proof == Proof::Locked && ended.duration_since(at) <= HOLD_TOLD)
}

/// A hold of ours that is in force, as the vendor's calendar says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bridge) struct Held {
    /// Whether it keeps the door unlocked; otherwise it needs at least a credential.
    pub(in crate::bridge) unlocked: bool,
    pub(in crate::bridge) since: Timestamp,
    pub(in crate::bridge) until: Timestamp,
    /// Whether the calendars were not read lately, so that it may have ended.
    pub(in crate::bridge) stale: bool,
}

/// An event told that somebody was let in: what says nothing of the lock itself, and is only a guess about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Grant {
    at: Timestamp,
    /// Until when the door is taken to be unlocked by it; `None` once that is over.
    until: Option<(Instant, Timestamp)>,
}

/// The evidence about one lock that is not an unlock of ours.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    proof: Option<(Proof, Timestamp)>,
    /// The newest lockdown event of it.
    lockdown: Option<Timestamp>,
    /// When the door was last opened.
    opened: Option<Timestamp>,
    /// Which active scenarios lock it, and since when.
    covered: Option<Coverage>,
    /// The newest grant.
    granted: Option<Grant>,
    /// The hold of ours that is in force.
    held: Option<Held>,
    /// When the newest one began or ended.
    hold_edge: Option<Timestamp>,
    /// When one ended last.
    hold_ended: Option<Timestamp>,
    /// The oldest lock event seen of it: from then on lock events are waited for instead of guessing from grants.
    speaks_since: Option<Timestamp>,
}

impl Evidence {
    /// What it shows. `own_unlock` is when an unlock of ours last worked: earlier grants add nothing to that.
    pub(super) fn shown(&self, choices: Choices, own_unlock: Option<Timestamp>) -> Shown {
        self.guess(choices, own_unlock).unwrap_or_else(|| self.base(choices))
    }

    /// The active scenarios that lock it.
    pub(super) fn covered_by(&self) -> impl Iterator<Item = &ScenarioId> {
        self.covered.iter().flat_map(|coverage| &coverage.by)
    }

    /// Takes what an event proves about the lock, if it is newer than what was known.
    pub(super) fn prove(&mut self, proof: Proof, at: Timestamp) {
        // Begin and end of a hold are told as changes without a direction.
        let by_hold = |edge: Timestamp| at.duration_since(edge).abs() <= HOLD_TOLD;
        if proof == Proof::Moved && self.hold_edge.is_some_and(by_hold) {
            return;
        }
        if self.hold_ended.is_some_and(|ended| !outlasts_hold(proof, at, ended)) {
            return;
        }
        match self.proof {
            Some((_, known)) if at < known => {}
            // Event times are whole seconds: which of two contradicting events came last is not known.
            Some((known, since)) if at == since && known != proof => self.proof = Some((Proof::Moved, at)),
            Some(_) | None => self.proof = Some((proof, at)),
        }
    }

    /// A scenario locked it.
    pub(super) fn lock_down(&mut self, at: Timestamp) {
        self.lockdown = self.lockdown.max(Some(at));
    }

    /// What events proved, and the newest lockdown event.
    pub(super) const fn proven(&self) -> (Option<(Proof, Timestamp)>, Option<Timestamp>) {
        (self.proof, self.lockdown)
    }

    /// Whether evidence shows that a scenario locked it, and nothing newer says the contrary.
    pub(super) fn confirms(&self, window: Window, choices: Choices, own_unlock: Option<Timestamp>) -> bool {
        let lockdown = self.lockdown.filter(|at| *at >= window.lockdown);
        let locked = match self.proof {
            Some((Proof::Locked, at)) if at > window.locked => Some(at),
            Some((Proof::Locked | Proof::Unlocked | Proof::Moved, _)) | None => None,
        };
        let Some(newest) = lockdown.max(locked) else { return false };
        let contrary = match self.proof {
            Some((Proof::Unlocked | Proof::Moved, at)) => at >= newest,
            Some((Proof::Locked, _)) | None => false,
        };
        !contrary && self.guess(choices, own_unlock).is_none()
    }

    /// A hold of ours is in force, or none is any more. After its end the door is what its schedule says, and evidence from
    /// before proves nothing.
    pub(super) fn hold(&mut self, held: Option<Held>, now: Now) {
        match (self.held, held) {
            (Some(_), None) => {
                (self.hold_edge, self.hold_ended) = (Some(now.utc), Some(now.utc));
                self.proof = self.proof.filter(|(proof, at)| outlasts_hold(*proof, *at, now.utc));
            }
            (_, Some(new)) => self.hold_edge = Some(new.since),
            (None, None) => {}
        }
        self.held = held;
    }

    /// The lock told of itself.
    pub(super) fn speak(&mut self, at: Timestamp) {
        self.speaks_since = Some(self.speaks_since.map_or(at, |known| known.min(at)));
    }

    /// The door was opened.
    pub(super) fn open(&mut self, at: Timestamp) {
        self.opened = self.opened.max(Some(at));
    }

    /// Somebody was let in, which unlocks the door for `lasts`.
    pub(super) fn grant(&mut self, at: Timestamp, lasts: Duration, now: Now) {
        if self.granted.is_some_and(|known| known.at >= at) {
            return;
        }
        let ends = at.saturating_add(lasts).unwrap_or(at);
        let left = Duration::try_from(ends.duration_since(now.utc)).ok().filter(|left| !left.is_zero());
        self.granted = Some(Grant { at, until: left.map(|left| (now.mono + left, ends)) });
    }

    /// Which active scenarios lock it. Returns whether that changed.
    pub(super) fn cover(&mut self, active: Option<&Coverage>) -> bool {
        if self.covered.as_ref() == active {
            return false;
        }
        self.covered = active.cloned();
        true
    }

    /// The last scenario that locked it ended: evidence from before proves nothing.
    pub(super) fn uncover(&mut self, now: Now) {
        self.proof = self.proof.filter(|(_, at)| *at > now.utc);
    }

    /// Drops what events proved; returns whether there was any.
    pub(super) fn forget(&mut self) -> bool {
        self.proof.take().is_some() | self.lockdown.take().is_some()
    }

    /// When the guess from a grant is over.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.granted.and_then(|grant| grant.until).map(|(until, _)| until)
    }

    /// Ends the guess, if it is due.
    pub(super) fn expire(&mut self, now: Now) {
        self.granted = self
            .granted
            .map(|grant| Grant { until: grant.until.filter(|(until, _)| *until > now.mono), ..grant });
    }

    fn base(&self, choices: Choices) -> Shown {
        match self.held {
            Some(held) => self.under_hold(held, choices),
            None => self.without_hold(choices),
        }
    }

    /// A calendar that keeps a door unlocked proves nothing where a scenario locks it as well, or where the lock told the
    /// contrary since.
    fn under_hold(&self, held: Held, choices: Choices) -> Shown {
        let lock = if held.unlocked { Lock::Unlocked } else { Lock::Locked };
        let relock_due = held.unlocked.then_some(held.until);
        let shown = Shown { lock, source: Source::Hold, at: Some(held.since), relock_due };
        let unknown = Shown { lock: Lock::Unknown, relock_due: None, ..shown };
        if held.stale {
            return unknown;
        }
        if self.covered.is_some() {
            return if held.unlocked { unknown } else { self.without_hold(choices) };
        }
        match self.proof {
            Some((proof, at)) if at > held.since => match (proof, held.unlocked) {
                (Proof::Unlocked, true) | (Proof::Locked, false) => shown,
                // The begin of a hold is told as a change without a direction.
                (Proof::Moved, _) if at.duration_since(held.since) <= HOLD_TOLD => shown,
                (Proof::Locked, true) | (Proof::Moved, _) => unknown,
                (Proof::Unlocked, false) => self.without_hold(choices),
            },
            Some(_) | None => shown,
        }
    }

    fn without_hold(&self, choices: Choices) -> Shown {
        let shown = |lock, source, at| Shown { lock, source, at, relock_due: None };
        match (self.proof, self.covered.as_ref().map(|coverage| coverage.newest)) {
            (Some((proof, at)), covered) if covered.is_none_or(|active| at > active.by) => match proof {
                Proof::Locked => shown(Lock::Locked, Source::Event, Some(at)),
                Proof::Unlocked => shown(Lock::Unlocked, Source::Event, Some(at)),
                Proof::Moved => shown(Lock::Unknown, Source::Event, Some(at)),
            },
            // Whether the lock moved before or after the scenario locked it is not known.
            (Some((Proof::Unlocked | Proof::Moved, at)), Some(active))
                if active.after.is_none_or(|after| at > after) =>
            {
                shown(Lock::Unknown, Source::Event, Some(at))
            }
            (_, Some(active)) => shown(Lock::Locked, Source::Scenario, Some(active.by)),
            (_, None) if choices.assume_locked => shown(Lock::Locked, Source::Assumed, None),
            (_, None) => shown(Lock::Unknown, Source::Nothing, None),
        }
    }

    /// What the newest grant lets guess about the lock: nothing where anything from then or later says more. It is
    /// judged anew each time, so that the order in which evidence arrives does not matter.
    fn guess(&self, choices: Choices, own_unlock: Option<Timestamp>) -> Option<Shown> {
        let Grant { at, until } = self.granted?;
        let (_, until_utc) = until?;
        let later = |known: Option<Timestamp>| known.is_some_and(|known| known > at);
        let speaks = self.speaks_since.is_some_and(|since| since <= at);
        let relocked = choices.relocks_on_open && later(self.opened);
        let superseded = own_unlock.is_some_and(|own| own >= at);
        if relocked || superseded || later(self.proof.map(|(_, known)| known)) {
            return None;
        }
        let guess = |lock, relock_due| Shown { lock, source: Source::Event, at: Some(at), relock_due };
        if speaks {
            // The door's own word is waited for; only that it is locked cannot be said meanwhile.
            return (self.base(choices).lock == Lock::Locked).then(|| guess(Lock::Unknown, None));
        }
        Some(guess(Lock::Unlocked, Some(until_utc)))
    }
}

#[cfg(test)]
impl Evidence {
    /// How far it reaches: the newest proof and the newest grant.
    pub(super) fn reach(&self) -> [Option<Timestamp>; 2] {
        [self.proof.map(|(_, at)| at), self.granted.map(|grant| grant.at)]
    }
}
