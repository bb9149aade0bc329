//! The book of truth for tests: every request that was seen, and whether it was carried out.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How many entries are kept; the oldest are forgotten first.
const MAX_ENTRIES: usize = 100_000;

/// The endpoints of the vendor that are simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST /token`.
    Token,
    /// `GET /access/v1/doors`.
    Doors,
    /// `POST /access/v1/door/admin_unlock`.
    AdminUnlock,
    /// `POST /access/v1/door/user_unlock`.
    UserUnlock,
    /// `GET /access/v1/scenarios`.
    Scenarios,
    /// `POST /access/v1/scenarios/{id}/activate`.
    Activate,
    /// `POST /access/v1/scenarios/{id}/release`.
    Release,
    /// `POST /access/v1/scenarios/{id}/deactivate`.
    Deactivate,
    /// `GET /events/v1/access`.
    Events,
    /// `GET /access/v1/access_users`.
    AccessUsers,
    /// `GET /access/v1/access_users/user`.
    AccessUser,
    /// `GET /access/v1/access_groups`.
    AccessGroups,
    /// `GET /access/v1/access_groups/group`.
    AccessGroup,
    /// `GET /access/v1/door/exception_calendar`.
    Calendars,
    /// `POST /access/v1/door/exception_calendar`.
    CreateCalendar,
    /// `GET /access/v1/door/exception_calendar/{id}`.
    Calendar,
    /// `PUT /access/v1/door/exception_calendar/{id}`.
    UpdateCalendar,
    /// `DELETE /access/v1/door/exception_calendar/{id}`.
    DeleteCalendar,
    /// `POST /access/v1/door/exception_calendar/{id}/exception`.
    CreateException,
    /// `GET /access/v1/door/exception_calendar/{id}/exception/{id}`.
    Exception,
    /// `PUT /access/v1/door/exception_calendar/{id}/exception/{id}`.
    UpdateException,
    /// `DELETE /access/v1/door/exception_calendar/{id}/exception/{id}`.
    DeleteException,
    /// `GET /access/v1/door/access_level`.
    AccessLevels,
    /// `GET /access/v1/door/access_level/{id}`.
    AccessLevel,
    /// Anything else; the vendor answers 403 (`verkada-api.md` 3.6).
    Unknown,
}

impl Endpoint {
    /// Tells which endpoint a request is for, and what its path names.
    pub fn of<'a>(method: &str, path: &'a str) -> (Self, Named<'a>) {
        let endpoint = match (method, path) {
            ("POST", "/token") => Self::Token,
            ("GET", "/access/v1/doors") => Self::Doors,
            ("POST", "/access/v1/door/admin_unlock") => Self::AdminUnlock,
            ("POST", "/access/v1/door/user_unlock") => Self::UserUnlock,
            ("GET", "/access/v1/scenarios") => Self::Scenarios,
            ("GET", "/events/v1/access") => Self::Events,
            ("GET", "/access/v1/access_users") => Self::AccessUsers,
            ("GET", "/access/v1/access_users/user") => Self::AccessUser,
            ("GET", "/access/v1/access_groups") => Self::AccessGroups,
            ("GET", "/access/v1/access_groups/group") => Self::AccessGroup,
            ("GET", "/access/v1/door/access_level") => Self::AccessLevels,
            ("GET", "/access/v1/door/exception_calendar") => Self::Calendars,
            ("POST", "/access/v1/door/exception_calendar") => Self::CreateCalendar,
            (method, path) => return Self::of_ids(method, path),
        };
        (endpoint, Named::default())
    }

    fn of_ids<'a>(method: &str, path: &'a str) -> (Self, Named<'a>) {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let (endpoint, id, exception) = match (method, parts.as_slice()) {
            ("POST", ["access", "v1", "scenarios", id, "activate"]) => (Self::Activate, id, None),
            ("POST", ["access", "v1", "scenarios", id, "release"]) => (Self::Release, id, None),
            ("POST", ["access", "v1", "scenarios", id, "deactivate"]) => (Self::Deactivate, id, None),
            ("GET", ["access", "v1", "door", "access_level", id]) => (Self::AccessLevel, id, None),
            (method, ["access", "v1", "door", "exception_calendar", id, rest @ ..]) => match (method, rest) {
                ("GET", []) => (Self::Calendar, id, None),
                ("PUT", []) => (Self::UpdateCalendar, id, None),
                ("DELETE", []) => (Self::DeleteCalendar, id, None),
                ("POST", ["exception"]) => (Self::CreateException, id, None),
                ("GET", ["exception", one]) => (Self::Exception, id, Some(*one)),
                ("PUT", ["exception", one]) => (Self::UpdateException, id, Some(*one)),
                ("DELETE", ["exception", one]) => (Self::DeleteException, id, Some(*one)),
                _ => return (Self::Unknown, Named::default()),
            },
            _ => return (Self::Unknown, Named::default()),
        };
        (endpoint, Named { id: Some(id), exception })
    }

    /// Whether it changes something in the building.
    pub const fn acts(self) -> bool {
        match self {
            Self::AdminUnlock | Self::UserUnlock | Self::Activate | Self::Release | Self::Deactivate => true,
            Self::CreateCalendar | Self::UpdateCalendar | Self::DeleteCalendar => true,
            Self::CreateException | Self::UpdateException | Self::DeleteException => true,
            Self::Token
            | Self::Doors
            | Self::Scenarios
            | Self::Events
            | Self::AccessUsers
            | Self::AccessUser
            | Self::AccessGroups
            | Self::AccessGroup
            | Self::Calendars
            | Self::Calendar
            | Self::Exception
            | Self::AccessLevels
            | Self::AccessLevel
            | Self::Unknown => false,
        }
    }

    /// Whether it needs Door Access Management of the sites involved (`verkada-api.md` 3.2).
    pub const fn needs_management(self) -> bool {
        match self {
            Self::Calendars
            | Self::CreateCalendar
            | Self::Calendar
            | Self::UpdateCalendar
            | Self::DeleteCalendar
            | Self::CreateException
            | Self::Exception
            | Self::UpdateException
            | Self::DeleteException
            | Self::AccessLevels
            | Self::AccessLevel => true,
            Self::Token
            | Self::Doors
            | Self::AdminUnlock
            | Self::UserUnlock
            | Self::Scenarios
            | Self::Activate
            | Self::Release
            | Self::Deactivate
            | Self::Events
            | Self::AccessUsers
            | Self::AccessUser
            | Self::AccessGroups
            | Self::AccessGroup
            | Self::Unknown => false,
        }
    }
}

/// What the path of a request names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Named<'a> {
    /// The scenario, calendar or access level.
    pub id: Option<&'a str>,
    /// The exception inside the calendar.
    pub exception: Option<&'a str>,
}

/// What a request did to a calendar, or to an exception in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The calendar.
    pub calendar: String,
    /// The exception; `None` where the calendar itself was written.
    pub exception: Option<String>,
    /// What became of it.
    pub what: Changed,
}

/// What became of a calendar or exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// It is new.
    Created,
    /// It was written.
    Changed,
    /// It is gone.
    Deleted,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When it was seen.
    pub at: Timestamp,
    /// What for.
    pub endpoint: Endpoint,
    /// The door, scenario, calendar or access level it names.
    pub target: Option<String>,
    /// Whether something changed: a door was unlocked, a scenario began or ended, a calendar was written.
    pub executed: bool,
    /// What it changed in calendars.
    pub changes: Vec<Change>,
    /// The status of the answer; `None` where none was begun.
    pub status: Option<u16>,
    /// The fault that struck it.
    pub fault: Option<&'static str>,
}

/// Names an entry for as long as it is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryId(u64);

/// The entries, oldest first.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: VecDeque<Entry>,
    forgotten: u64,
}

impl Ledger {
    /// Writes down that a request was seen.
    pub fn seen(&mut self, at: Timestamp, endpoint: Endpoint, target: Option<String>) -> EntryId {
        if self.entries.len() == MAX_ENTRIES {
            self.entries.pop_front();
            self.forgotten += 1;
        }
        let number = u64::try_from(self.entries.len()).unwrap_or(u64::MAX).saturating_add(self.forgotten);
        self.entries.push_back(Entry {
            at,
            endpoint,
            target,
            executed: false,
            changes: Vec::new(),
            status: None,
            fault: None,
        });
        EntryId(number)
    }

    /// The entry, to be written to; `None` once it is forgotten.
    pub fn entry(&mut self, id: EntryId) -> Option<&mut Entry> {
        let index = usize::try_from(id.0.checked_sub(self.forgotten)?).ok()?;
        self.entries.get_mut(index)
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_endpoints_by_method_and_path() {
        const CALENDAR: &str = "/access/v1/door/exception_calendar";
        for (method, path, endpoint, id, exception) in [
            ("POST", "/token", Endpoint::Token, None, None),
            ("GET", "/token", Endpoint::Unknown, None, None),
            ("POST", "/access/v1/scenarios/a-1/release", Endpoint::Release, Some("a-1"), None),
            ("POST", "/access/v1/scenarios/a-1/stop", Endpoint::Unknown, None, None),
            ("GET", "/access/v1/scenarios/a-1/release", Endpoint::Unknown, None, None),
            ("GET", CALENDAR, Endpoint::Calendars, None, None),
            ("POST", CALENDAR, Endpoint::CreateCalendar, None, None),
            ("GET", &format!("{CALENDAR}/c"), Endpoint::Calendar, Some("c"), None),
            ("PUT", &format!("{CALENDAR}/c"), Endpoint::UpdateCalendar, Some("c"), None),
            ("DELETE", &format!("{CALENDAR}/c"), Endpoint::DeleteCalendar, Some("c"), None),
            ("PATCH", &format!("{CALENDAR}/c"), Endpoint::Unknown, None, None),
            ("POST", &format!("{CALENDAR}/c/exception"), Endpoint::CreateException, Some("c"), None),
            ("GET", &format!("{CALENDAR}/c/exception"), Endpoint::Unknown, None, None),
            ("GET", &format!("{CALENDAR}/c/exception/e"), Endpoint::Exception, Some("c"), Some("e")),
            ("PUT", &format!("{CALENDAR}/c/exception/e"), Endpoint::UpdateException, Some("c"), Some("e")),
            ("DELETE", &format!("{CALENDAR}/c/exception/e"), Endpoint::DeleteException, Some("c"), Some("e")),
            ("GET", "/access/v1/door/access_level", Endpoint::AccessLevels, None, None),
            ("GET", "/access/v1/door/access_level/l", Endpoint::AccessLevel, Some("l"), None),
            ("DELETE", "/access/v1/door/access_level/l", Endpoint::Unknown, None, None),
        ] {
            assert_eq!(Endpoint::of(method, path), (endpoint, Named { id, exception }), "{method} {path}");
        }
    }

    #[test]
    fn forgets_the_oldest_and_never_mistakes_one_entry_for_another() {
        let mut ledger = Ledger::default();
        let first = ledger.seen(Timestamp::UNIX_EPOCH, Endpoint::Token, None);
        let second = ledger.seen(Timestamp::UNIX_EPOCH, Endpoint::Doors, None);
        for _ in 2..=MAX_ENTRIES {
            ledger.seen(Timestamp::UNIX_EPOCH, Endpoint::Events, None);
        }
        assert_eq!(ledger.entries().count(), MAX_ENTRIES);
        assert_eq!(ledger.entry(first), None);
        assert_eq!(ledger.entry(second).map(|entry| entry.endpoint), Some(Endpoint::Doors));
    }
}
