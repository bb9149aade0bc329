//! Home Assistant: discovery messages, topics and payloads, as functions from data to data.

pub mod discovery;
pub mod event;
mod gateway;
pub mod name;
pub mod payload;
mod topic;

pub use discovery::{Announcer, Device, DoorFacts, GatewayFacts, Offer, ScenarioFacts, Style};
pub use topic::{Destination, Topics};
