//! Home Assistant: discovery messages, topics and payloads, as functions from data to data.

pub mod discovery;
pub mod event;
mod gateway;
pub mod name;
pub mod payload;
pub mod retired;
mod topic;

/// How webhooks fare, in the words that are published.
pub const WEBHOOK_WORDS: [&str; 4] = ["off", "healthy", "silent", "incomplete"];

pub use discovery::{
    Announcement, Announcer, CodeFacts, CodeShape, Config, Device, DoorFacts, Entity, GatewayFacts, Offer,
    ScenarioFacts, Style,
};
pub use topic::{Destination, Topics};
