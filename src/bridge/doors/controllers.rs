//! Controllers: whether they can be reached, and their fire alarms. All doors wired to one share what it tells.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    bridge::problems::Alarm,
    model::{ControllerId, EventKind},
};

/// When a controller was last reported out of reach, and last heard of; and its fire alarm.
#[derive(Debug, Default)]
struct Heard {
    lost: Option<Timestamp>,
    alive: Option<Timestamp>,
    fire: Alarm,
    /// Whether it ever told of a fire alarm.
    tells_fire: bool,
}

impl Heard {
    fn is_lost(&self) -> bool {
        self.lost.is_some_and(|lost| self.alive.is_none_or(|alive| lost >= alive))
    }
}

/// What an event changed of what is shown of a controller's doors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    /// Whether anything did.
    pub(super) shown: bool,
    /// Whether it is the first that tells of a fire alarm.
    pub(super) tells_fire: bool,
}

/// All controllers of which something was heard.
#[derive(Debug, Default)]
pub(super) struct Controllers(BTreeMap<ControllerId, Heard>);

impl Controllers {
    /// Takes an event of a controller, or of a door that is wired to it.
    pub(super) fn hear(&mut self, kind: EventKind, controller: &ControllerId, at: Timestamp) -> Change {
        let heard = self.0.entry(controller.clone()).or_default();
        let before = (heard.is_lost(), heard.fire.is_on(), heard.tells_fire);
        let mark = if kind == EventKind::ControllerOffline { &mut heard.lost } else { &mut heard.alive };
        *mark = (*mark).max(Some(at));
        if let EventKind::ControllerFireTriggered | EventKind::ControllerFireReleased = kind {
            heard.fire.note(kind == EventKind::ControllerFireTriggered, at);
            heard.tells_fire = true;
        }
        let after = (heard.is_lost(), heard.fire.is_on(), heard.tells_fire);
        Change { shown: after != before, tells_fire: after.2 != before.2 }
    }

    /// Whether it is known to be out of reach.
    pub(super) fn is_lost(&self, controller: &ControllerId) -> bool {
        self.0.get(controller).is_some_and(Heard::is_lost)
    }

    /// What is known of its fire alarm.
    pub(super) fn fire(&self, controller: &ControllerId) -> Option<bool> {
        self.0.get(controller)?.fire.is_on()
    }

    /// Whether it ever told of a fire alarm.
    pub(super) fn tells_fire(&self, controller: &ControllerId) -> bool {
        self.0.get(controller).is_some_and(|heard| heard.tells_fire)
    }

    /// Drops what is known of fire alarms; returns the controllers of which there was something.
    pub(super) fn forget_fire(&mut self) -> BTreeSet<ControllerId> {
        let alarmed = |(id, heard): (&ControllerId, &mut Heard)| heard.fire.forget().then(|| id.clone());
        self.0.iter_mut().filter_map(alarmed).collect()
    }
}

#[cfg(test)]
impl Controllers {
    /// When it was last heard of.
    pub(super) fn alive(&self, controller: &ControllerId) -> Option<Timestamp> {
        self.0.get(controller)?.alive
    }
}
