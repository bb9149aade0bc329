//! The words of the domain: doors, scenarios, access events, commands, faults and messages.
//!
//! Everything else speaks these types. Nothing here knows the clock, the network or a file.

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
mod scenario;
mod time;
mod token;

pub use call::{Answer, Call, CallId, Drilled, EventPage, Lane, PageToken, Reply, Request, Turn, Unlocked};
pub use choice::{Level, ProtocolChoice, ReleasePath, Scheme};
pub use command::{Action, Intent, Outcome, Reason, Target};
pub use door::{Controller, Door, Inventory, Site};
pub use event::{AccessEvent, EventKind, IntercomEvent, Method, Position};
pub use explain::{Check, Explanation};
pub use fault::{Fault, Trace};
pub use id::{ControllerId, DoorId, EventId, IdError, OrganisationId, ScenarioId, SiteId};
pub use message::{LinkEvent, Message, Protocol, Publication, Qos, Receipt};
pub use person::{Person, Privacy};
pub use push::Push;
pub use record::{JournalEvent, Past, PastAlarm, PastCommand, PastEnd, Record, RecordNumber, Stage};
pub use scenario::{Scenario, ScenarioState};
pub use time::Now;
pub use token::TokenState;
