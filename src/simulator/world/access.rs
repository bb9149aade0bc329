//! Who may pass which door when: access levels, and what a scenario leaves of them.

use jiff::{Timestamp, civil::DateTime};

use super::{World, zone_of};
use crate::{
    model::DoorId,
    simulator::organisation::{Door, Level, Person, Scenario},
};

impl World {
    /// Whether a person may pass a door at a moment: by an access level and, under a scenario, by a group that it
    /// excepts.
    pub fn may_pass(&self, person: &Person, door: &DoorId, at: Timestamp) -> bool {
        let Some(room) = self.doors.get(door) else { return false };
        let moment = zone_of(&room.door).to_datetime(at);
        let by_level = self.levels.iter().any(|level| level.admits(person, &room.door, moment));
        let excepted = |scenario: &Scenario| scenario.groups_pass.iter().any(|id| person.groups.contains(id));
        let mut over = self.scenarios.values().filter(|running| running.locks(door));
        by_level && (!room.locked_down || over.all(|running| excepted(&running.scenario)))
    }
}

impl Level {
    fn admits(&self, person: &Person, door: &Door, moment: DateTime) -> bool {
        let of_group = self.groups.iter().any(|group| person.groups.contains(group));
        of_group && self.covers(door) && self.schedule.iter().any(|event| event.covers(moment))
    }

    /// Whether a door is in it: one that it names or, where it names none, one of its sites.
    fn covers(&self, door: &Door) -> bool {
        if self.doors.is_empty() { self.sites.contains(&door.site.id) } else { self.doors.contains(&door.id) }
    }
}
