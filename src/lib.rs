//! Joins Verkada's cloud access control to MQTT: every door a lock, every scenario a switch.
//!
//! A pure, synchronous core ([`bridge`], [`hass`], [`model`]) is surrounded by thin adapters; ARCHITECTURE.md draws
//! the house.

pub mod access;
pub mod app;
mod ask;
pub mod audit;
pub mod bridge;
pub mod calendar;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod dump;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod hass;
pub mod journal;
pub mod logging;
pub mod model;
pub mod mqtt;
pub mod rng;
pub mod shell;
pub mod signals;
pub mod simulator;
pub mod supervisor;
pub mod verkada;
