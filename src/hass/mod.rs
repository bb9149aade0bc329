//! Home Assistant: discovery messages, topics and payloads, as functions from data to data.

pub mod discovery;
pub mod event;
pub mod name;
pub mod payload;
pub mod retired;
mod topic;

pub use discovery::{Announcement, Announcer, Config, Device, DoorFacts, Entity, ScenarioFacts, Style};
pub use topic::{Destination, Topics};
