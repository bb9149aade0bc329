//! Problems of a door: raised by events, ended only by events that prove the contrary.

use jiff::Timestamp;

use crate::model::EventKind;

/// A problem a door can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    /// It is held open.
    HeldOpen,
    /// It was opened by force.
    ForcedOpen,
    /// Somebody tampers with its hardware.
    Tamper,
    /// A fire alarm released it, or its controller.
    Fire,
}

impl Problem {
    /// All of them, in the order in which they are shown.
    pub(super) const ALL: [Self; 4] = [Self::HeldOpen, Self::ForcedOpen, Self::Tamper, Self::Fire];

    /// The word of it: the last level of its topic, and in attributes.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::HeldOpen => "held_open",
            Self::ForcedOpen => "forced_open",
            Self::Tamper => "tamper",
            Self::Fire => "fire",
        }
    }
}

/// One problem: whether it is there, and when the evidence of that arose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Alarm(Option<(bool, Timestamp)>);

impl Alarm {
    /// Whether the problem is there; `None` without evidence.
    pub(super) fn is_on(self) -> Option<bool> {
        self.0.map(|(on, _)| on)
    }

    /// Takes evidence, if nothing newer is known. Event times are whole seconds: of two that contradict each other the
    /// one that raises the problem counts, because an alarm too many does less harm than one too few.
    pub(super) fn note(&mut self, on: bool, at: Timestamp) {
        if self.0.is_none_or(|(known, since)| at > since || (at == since && (on || !known))) {
            self.0 = Some((on, at));
        }
    }

    /// Takes all evidence of another.
    pub(super) fn join(&mut self, other: Self) {
        if let Some((on, at)) = other.0 {
            self.note(on, at);
        }
    }

    /// Drops the evidence; returns whether there was any.
    pub(super) fn forget(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// There where one of two alarms is; gone where one is and the other does not say the contrary.
    pub(super) fn either(one: Option<bool>, other: Option<bool>) -> Option<bool> {
        match (one, other) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), _) | (_, Some(false)) => Some(false),
            (None, None) => None,
        }
    }
}

/// The problems that events of one door told of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Problems {
    held_open: Alarm,
    forced_open: Alarm,
    tamper: Alarm,
    fire: Alarm,
}

impl Problems {
    /// Takes what an event of the door proves (`verkada-api.md` 5.2, 7.3). Only `door_closed` proves that nothing holds
    /// the door open; no event proves that tampering ended.
    pub(super) fn take(&mut self, kind: EventKind, at: Timestamp) {
        match kind {
            EventKind::HeldOpen => self.held_open.note(true, at),
            EventKind::ForcedOpen => self.forced_open.note(true, at),
            EventKind::Closed => {
                self.held_open.note(false, at);
                self.forced_open.note(false, at);
            }
            EventKind::Tamper => self.tamper.note(true, at),
            EventKind::FireTriggered => self.fire.note(true, at),
            EventKind::FireReleased => self.fire.note(false, at),
            EventKind::ControllerFireTriggered
            | EventKind::ControllerFireReleased
            | EventKind::Unlocked
            | EventKind::Locked
            | EventKind::Opened
            | EventKind::Granted
            | EventKind::RemoteUnlock
            | EventKind::Denied
            | EventKind::LockChanged
            | EventKind::Lockdown
            | EventKind::ControllerOffline
            | EventKind::ControllerStartup
            | EventKind::Other => {}
        }
    }

    /// What is known of one problem.
    pub(super) fn is_on(&self, problem: Problem) -> Option<bool> {
        match problem {
            Problem::HeldOpen => self.held_open.is_on(),
            Problem::ForcedOpen => self.forced_open.is_on(),
            Problem::Tamper => self.tamper.is_on(),
            Problem::Fire => self.fire.is_on(),
        }
    }

    /// Drops the evidence; returns whether there was any.
    pub(super) fn forget(&mut self) -> bool {
        std::mem::take(self) != Self::default()
    }
}
