//! Access levels: who may pass which doors, and when (`verkada-api.md` 9.3, 10). The gateway reads them and changes none.

use jiff::civil::Time;

use super::{DoorId, GroupId, LevelId, SiteId, Weekday};

/// An access level as the vendor lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLevel {
    /// The only safe key.
    pub id: LevelId,
    /// What people call it.
    pub name: Option<String>,
    /// The groups whose members it concerns.
    pub groups: Vec<GroupId>,
    /// The doors that they may pass.
    pub doors: Vec<DoorId>,
    /// The sites all of whose doors they may pass.
    pub sites: Vec<SiteId>,
    /// When. Without any, at no time.
    pub schedule: Vec<AccessHours>,
}

/// When members of a group may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessHours {
    /// On which day of the week.
    pub weekday: Weekday,
    /// From when on, in the time zone of the door.
    pub start: Time,
    /// Until when.
    pub end: Time,
}

/// A group of people, by name alone: who belongs to it is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessGroup {
    /// The only safe key.
    pub id: GroupId,
    /// What people call it.
    pub name: Option<String>,
}
