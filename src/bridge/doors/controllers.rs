//! Controllers: whether they can be reached, and their fire alarms. All doors wired to one share what it tells.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    bridge::problems::Alarm,
    model::{ControllerId, EventKind},
};

/// How many controllers are remembered: as many as the largest organisation has doors.
const MAX_CONTROLLERS: usize = 50_000;

/// When a controller was last reported out of reach, and last heard of; and its fire alarm.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heard {
    lost: Option<Timestamp>,
    alive: Option<Timestamp>,
    fire: Alarm,
    /// Whether it ever told of a fire alarm.
    tells_fire: bool,
}

impl Heard {
    /// Whether it is known to be out of reach.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_some_and(|lost| self.alive.is_none_or(|alive| lost >= alive))
    }

    /// What is known of its fire alarm.
    pub(super) fn fire(&self) -> Option<bool> {
        self.fire.is_on()
    }

    /// Whether it ever told of a fire alarm.
    pub(super) const fn tells_fire(&self) -> bool {
        self.tells_fire
    }

    /// Takes an event of it, or of a door that is wired to it.
    pub(super) fn hear(&mut self, kind: EventKind, at: Timestamp) -> Change {
        let mut news = Self::default();
        if kind == EventKind::ControllerOffline {
            news.lost = Some(at);
        } else {
            news.alive = Some(at);
        }
        if let EventKind::ControllerFireTriggered | EventKind::ControllerFireReleased = kind {
            news.fire.note(kind == EventKind::ControllerFireTriggered, at);
            news.tells_fire = true;
        }
        self.join(news)
    }

    /// Takes what was heard of it another way.
    fn join(&mut self, other: Self) -> Change {
        let before = (self.is_lost(), self.fire(), self.tells_fire);
        self.lost = self.lost.max(other.lost);
        self.alive = self.alive.max(other.alive);
        self.fire.join(other.fire);
        self.tells_fire |= other.tells_fire;
        let after = (self.is_lost(), self.fire(), self.tells_fire);
        Change { shown: after != before, tells_fire: after.2 != before.2 }
    }

    /// Drops what is known of its fire alarm; returns whether there was anything.
    pub(super) fn forget_fire(&mut self) -> bool {
        self.fire.forget()
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

/// All controllers of which something was heard, whether doors of them are listed or not.
#[derive(Debug, Default)]
pub(super) struct Controllers(BTreeMap<ControllerId, Heard>);

impl Controllers {
    /// Takes an event of a controller, or of a door that is wired to it.
    pub(super) fn hear(&mut self, kind: EventKind, controller: &ControllerId, at: Timestamp) -> Change {
        let change = self.0.entry(controller.clone()).or_default().hear(kind, at);
        self.forget_one_too_many();
        change
    }

    /// Takes what was heard through a door of which it was not known that it is wired to this controller.
    pub(super) fn join(&mut self, controller: &ControllerId, heard: Heard) -> Change {
        let change = self.0.entry(controller.clone()).or_default().join(heard);
        self.forget_one_too_many();
        change
    }

    /// What is known of one.
    pub(super) fn get(&self, controller: &ControllerId) -> Option<&Heard> {
        self.0.get(controller)
    }

    /// Drops what is known of fire alarms; returns the controllers of which there was something.
    pub(super) fn forget_fire(&mut self) -> BTreeSet<ControllerId> {
        let alarmed = |(id, heard): (&ControllerId, &mut Heard)| heard.forget_fire().then(|| id.clone());
        self.0.iter_mut().filter_map(alarmed).collect()
    }

    /// Forgets the one of which nothing was heard for longest.
    fn forget_one_too_many(&mut self) {
        if self.0.len() <= MAX_CONTROLLERS {
            return;
        }
        let oldest = self.0.iter().min_by_key(|(_, heard)| heard.alive.max(heard.lost));
        if let Some(id) = oldest.map(|(id, _)| id.clone()) {
            self.0.remove(&id);
        }
    }
}

#[cfg(test)]
impl Heard {
    /// When it was last heard of.
    pub(super) const fn alive(&self) -> Option<Timestamp> {
        self.alive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_are_remembered_and_the_longest_silent_is_forgotten_first() {
        let mut controllers = Controllers::default();
        let at = |second: usize| Timestamp::from_second(i64::try_from(second).unwrap()).unwrap();
        let id = |number: usize| format!("acu-{number}").parse().unwrap();
        for number in 0..=MAX_CONTROLLERS {
            controllers.hear(EventKind::ControllerOffline, &id(number), at(number));
        }
        assert_eq!(controllers.0.len(), MAX_CONTROLLERS);
        assert!(controllers.get(&id(0)).is_none());
        assert!(controllers.get(&id(1)).is_some_and(Heard::is_lost));
    }
}
