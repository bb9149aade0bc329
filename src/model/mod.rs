//! The words of the domain: doors, scenarios, access events, commands, faults and messages.
//!
//! Everything else speaks these types. Nothing here knows the clock, the network or a file.

mod access;
mod calendar;
mod call;
mod choice;
mod command;
mod door;
mod event;
mod explain;
mod fault;
mod id;
mod message;
mod person;
mod push;
mod record;
mod recurrence;
mod scenario;
mod time;
mod token;

pub use access::{AccessGroup, AccessHours, AccessLevel};
pub use calendar::{
    Calendar, DoorMode, Edit, Exception, ExceptionMode, Frequency, Hours, Recurrence, Weekday,
};
pub use call::{
    Answer, CalendarContent, Call, CallId, Drilled, EventPage, Lane, PageToken, Reply, Request, Turn,
    Unlocked, User,
};
pub use choice::{Level, ProtocolChoice, ReleasePath, Scheme};
pub use command::{Action, Intent, Outcome, Reason, Target};
pub use door::{Controller, Door, Inventory, Site};
pub use event::{AccessEvent, EventKind, IntercomEvent, Method, Position};
pub use explain::{Check, Explanation};
pub use fault::{Fault, Trace};
pub use id::{
    CalendarId, ControllerId, DoorId, EventId, ExceptionId, GroupId, IdError, LevelId, OrganisationId,
    ScenarioId, SiteId,
};
pub use message::{LinkEvent, Message, Protocol, Publication, Qos, Receipt};
pub use person::{Person, Privacy};
pub use push::Push;
pub use record::{JournalEvent, Past, PastAlarm, PastCommand, PastEnd, Record, RecordNumber, Stage};
pub use recurrence::{BrokenRule, Days, day};
pub use scenario::{Scenario, ScenarioState};
pub use time::Now;
pub use token::TokenState;
