//! Home Assistant: discovery messages, topics and payloads, as functions from data to data.

pub mod access;
pub mod calendar;
pub mod discovery;
pub mod event;
mod gateway;
mod json_fault;
pub mod name;
pub mod payload;
pub mod retired;
mod topic;

/// How webhooks fare, in the words that are published.
pub const WEBHOOK_WORDS: [&str; 4] = ["off", "healthy", "silent", "incomplete"];

/// What is said once of a lockdown that was asked for and is not confirmed, in the words that are published.
pub const LOCKDOWN_NEWS: [&str; 4] = ["not_confirmed", "given_up", "confirmed", "acknowledged"];

pub use discovery::{
    Announcement, Announcer, CodeFacts, CodeShape, Config, Device, DoorFacts, Entity, GatewayFacts,
    HoldOffer, Offer, ScenarioFacts, Style,
};
pub use topic::{Destination, Topics};
