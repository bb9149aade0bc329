//! Calls to the vendor: one call is one attempt and gets exactly one reply.

use std::{
    fmt,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    AccessEvent, AccessGroup, AccessLevel, Calendar, CalendarId, Door, DoorId, Exception, ExceptionId, Fault,
    Inventory, Scenario, ScenarioId, id,
};

/// The longest id of another system that names a user, in characters.
const MAX_EXTERNAL_ID_CHARS: usize = 128;

/// Names a call that is under way; never used twice in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// The order in which calls get a share of the vendor's budget, first to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Starting a scenario.
    Activate,
    /// Ending a scenario.
    Release,
    /// Unlocking a door.
    Unlock,
    /// Reading back what a command did.
    ReadBack,
    /// Everything else; may never use the last fifth of the budget.
    Poll,
}

/// How many lockdowns had been taken on: what opens and was let go in an earlier turn is not sent any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn(pub u64);

/// One attempt to ask the vendor something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Names the call in its reply.
    pub id: CallId,
    /// What is asked.
    pub request: Request,
    /// No byte of the request may be sent later than this; the answer may come later, within the adapter's own
    /// time limit.
    pub send_before: Instant,
    /// For what opens: when it was let go. At the moment of sending the MQTT link must be proven fresh, and no lockdown
    /// may have been taken on since.
    pub opening: Option<Turn>,
}

/// What is asked of the vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `GET /access/v1/doors`.
    ListDoors,
    /// `GET /access/v1/scenarios`.
    ListScenarios,
    /// `GET /events/v1/access`, one page.
    ReadEvents {
        /// Events at or after this time.
        since: Timestamp,
        /// Where the previous page ended; `None` for the first.
        page: Option<PageToken>,
    },
    /// `GET /access/v1/door/exception_calendar`.
    ListCalendars,
    /// `GET /access/v1/door/access_level`.
    ListAccessLevels,
    /// `GET /access/v1/access_groups`.
    ListAccessGroups,
    /// `POST /access/v1/door/admin_unlock`.
    Unlock {
        /// The door.
        door: DoorId,
    },
    /// `POST /access/v1/door/user_unlock`: granted only to who has access to the door (`verkada-api.md` 5.4).
    UnlockAs {
        /// The door.
        door: DoorId,
        /// For whom.
        user: User,
    },
    /// `POST /access/v1/door/exception_calendar`.
    CreateCalendar(CalendarContent),
    /// `PUT /access/v1/door/exception_calendar/{id}`: the whole calendar, since it is not known whether what is left out is
    /// kept (`verkada-api.md` 9.1).
    WriteCalendar {
        /// The calendar.
        calendar: CalendarId,
        /// What it is to hold.
        content: CalendarContent,
    },
    /// `POST /access/v1/door/exception_calendar/{id}/exception`: nothing else in the calendar is touched.
    CreateException {
        /// The calendar.
        calendar: CalendarId,
        /// What is added; it has no id yet.
        exception: Exception,
    },
    /// `PUT /access/v1/door/exception_calendar/{id}/exception/{id}`: nothing else in the calendar is touched.
    WriteException {
        /// The calendar.
        calendar: CalendarId,
        /// The exception.
        id: ExceptionId,
        /// What it is to say.
        exception: Exception,
    },
    /// `DELETE /access/v1/door/exception_calendar/{id}/exception/{id}`.
    DeleteException {
        /// The calendar.
        calendar: CalendarId,
        /// The exception.
        exception: ExceptionId,
    },
    /// `POST /access/v1/scenarios/{id}/activate`.
    Activate {
        /// The scenario.
        scenario: ScenarioId,
    },
    /// `GET /access/v1/scenarios` on the connection that acts use: all of an activate but the act.
    Drill,
    /// `POST /access/v1/scenarios/{id}/release`, or `/deactivate` (`verkada-api.md` 6.3).
    Release {
        /// The scenario.
        scenario: ScenarioId,
    },
}

/// A user of the vendor, by one of the two names that `user_unlock` takes (`verkada-api.md` 5.4). `Debug` shows nothing of
/// it, so that no log can.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum User {
    /// The vendor's own id.
    Id(String),
    /// The id that another system gave.
    External(String),
}

impl User {
    /// Reads the vendor's own id of a user; `None` where it can be none.
    pub fn of_id(text: &str) -> Option<Self> {
        id::check(text).is_ok().then(|| Self::Id(text.to_owned()))
    }

    /// Reads an id that another system gave: 1 to 128 characters, none of them a control character, not blank alone.
    pub fn of_external_id(text: &str) -> Option<Self> {
        let fits = !text.trim().is_empty()
            && text.chars().count() <= MAX_EXTERNAL_ID_CHARS
            && !text.contains(char::is_control);
        fits.then(|| Self::External(text.to_owned()))
    }

    /// What ids a user may be named by, for whoever gave another.
    pub const ALLOWED: &str =
        "a user_id of 1 to 64 letters, digits and hyphens, or an external_id of 1 to 128 characters";

    /// The name that is sent.
    pub fn name(&self) -> &str {
        match self {
            Self::Id(name) | Self::External(name) => name,
        }
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("User(..)")
    }
}

/// What is written into a calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarContent {
    /// What people call it; never empty.
    pub name: String,
    /// The doors that it is about.
    pub doors: Vec<DoorId>,
    /// Old exceptions with their ids, new ones without.
    pub exceptions: Vec<Exception>,
}

/// Where a page of events ended; opaque, valid only for the query it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken(pub String);

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The call it belongs to.
    pub id: CallId,
    /// The answer, or why there is none.
    pub result: Result<Answer, Fault>,
    /// How many HTTP requests it took, token and second path included; each counts into the vendor's budget.
    pub requests: u32,
}

/// The vendor's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The doors.
    Doors(Inventory<Door>),
    /// The scenarios.
    Scenarios(Inventory<Scenario>),
    /// One page of events.
    Events(EventPage),
    /// The exception calendars that the key may manage.
    Calendars(Inventory<Calendar>),
    /// The access levels.
    AccessLevels(Inventory<AccessLevel>),
    /// The access groups, by name alone.
    AccessGroups(Inventory<AccessGroup>),
    /// The calendar as it is after it was written.
    Calendar(Calendar),
    /// The exception as it is after it was written.
    Exception(Exception),
    /// The door was unlocked.
    Unlocked(Unlocked),
    /// The vendor took an activate, a release or a deletion; only a later read proves it.
    Taken,
    /// The way of an activate was gone up to its last step.
    Drilled(Drilled),
}

/// What a drill found on the way of an activate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drilled {
    /// The scenarios that the vendor listed.
    pub scenarios: Inventory<Scenario>,
    /// How long the drill made sure first that acts keep a connection of their own; an activate does not wait for that.
    pub aside: Duration,
    /// When the request was handed to the connection.
    pub sent_at: Instant,
    /// When the answer was there as a whole.
    pub answered_at: Instant,
}

/// One page of events, in the order in which the vendor gave them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// The events that could be read.
    pub events: Vec<AccessEvent>,
    /// One sentence for each event that could not be read and was left out.
    pub skipped: Vec<String>,
    /// Where to go on; `None` at the end.
    pub next: Option<PageToken>,
}

/// The vendor's answer to an unlock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unlocked {
    /// How long the door stays unlocked, 1 to 60 s by the vendor's door setting; `None` where it does not say
    /// (`verkada-api.md` 5.4).
    pub duration: Option<Duration>,
}
