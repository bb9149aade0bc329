//! Doors as the vendor lists them.

use super::{ControllerId, DoorId, SiteId};

/// A door of the organisation. It carries no state: the vendor lists none
/// (`verkada-api.md` 5.1, 5.2); state comes from events, scenarios and our own commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// The only safe key.
    pub id: DoorId,
    /// What people call it; not unique, may change, may be missing.
    pub name: Option<String>,
    /// Where it is.
    pub site: Option<Site>,
    /// What it is wired to.
    pub controller: Option<Controller>,
    /// Whether the door's API toggle is on; `None` where the vendor does not say.
    pub api_control: Option<bool>,
    /// IANA name of the door's time zone.
    pub time_zone: Option<String>,
}

/// A site: a group of doors, in most cases a building.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The only safe key.
    pub id: SiteId,
    /// What people call it.
    pub name: Option<String>,
}

/// An access controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// The only safe key.
    pub id: ControllerId,
    /// What people call it.
    pub name: Option<String>,
}

/// What one complete reading of a list gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory<T> {
    /// The elements that could be read, each id once.
    pub items: Vec<T>,
    /// One sentence for each element that could not be read and was left out.
    pub skipped: Vec<String>,
}
