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
    /// Anything else; the vendor answers 403 (`verkada-api.md` 3.6).
    Unknown,
}

impl Endpoint {
    /// Tells which endpoint a request is for, and the scenario that its path names.
    pub fn of<'a>(method: &str, path: &'a str) -> (Self, Option<&'a str>) {
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
            ("POST", path) => return Self::of_scenario(path),
            _ => Self::Unknown,
        };
        (endpoint, None)
    }

    fn of_scenario(path: &str) -> (Self, Option<&str>) {
        let rest = path.strip_prefix("/access/v1/scenarios/");
        match rest.and_then(|rest| rest.split_once('/')) {
            Some((id, "activate")) => (Self::Activate, Some(id)),
            Some((id, "release")) => (Self::Release, Some(id)),
            Some((id, "deactivate")) => (Self::Deactivate, Some(id)),
            _ => (Self::Unknown, None),
        }
    }

    /// Whether it changes something in the building.
    pub const fn acts(self) -> bool {
        match self {
            Self::AdminUnlock | Self::UserUnlock | Self::Activate | Self::Release | Self::Deactivate => true,
            Self::Token
            | Self::Doors
            | Self::Scenarios
            | Self::Events
            | Self::AccessUsers
            | Self::AccessUser
            | Self::AccessGroups
            | Self::AccessGroup
            | Self::Unknown => false,
        }
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When it was seen.
    pub at: Timestamp,
    /// What for.
    pub endpoint: Endpoint,
    /// The door or scenario it names.
    pub target: Option<String>,
    /// Whether the building changed: a door was unlocked, a scenario began or ended.
    pub executed: bool,
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
        self.entries.push_back(Entry { at, endpoint, target, executed: false, status: None, fault: None });
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
        assert_eq!(Endpoint::of("POST", "/token"), (Endpoint::Token, None));
        assert_eq!(Endpoint::of("GET", "/token"), (Endpoint::Unknown, None));
        assert_eq!(
            Endpoint::of("POST", "/access/v1/scenarios/a-1/release"),
            (Endpoint::Release, Some("a-1"))
        );
        assert_eq!(Endpoint::of("POST", "/access/v1/scenarios/a-1/stop"), (Endpoint::Unknown, None));
        assert_eq!(Endpoint::of("GET", "/access/v1/scenarios/a-1/release"), (Endpoint::Unknown, None));
        assert_eq!(Endpoint::of("GET", "/access/v1/door/exception_calendar"), (Endpoint::Unknown, None));
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
