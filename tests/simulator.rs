//! The simulator as its users meet it: over HTTP, by webhooks and by its handle. Every answer that is not a scripted
//! fault is checked against the OpenAPI document.
//!
//! The modules are marked `cfg(test)` because that is how the lints tell test code.

#[cfg(test)]
#[path = "simulator/access.rs"]
mod access;
#[cfg(test)]
#[path = "simulator/api.rs"]
mod api;
#[cfg(test)]
#[path = "simulator/calendars.rs"]
mod calendars;
#[cfg(test)]
#[path = "simulator/control.rs"]
mod control;
#[cfg(test)]
#[path = "simulator/faults.rs"]
mod faults;
#[cfg(test)]
#[path = "simulator/openapi.rs"]
mod openapi;
#[cfg(test)]
#[path = "simulator/rig.rs"]
mod rig;
#[cfg(test)]
#[path = "simulator/webhooks.rs"]
mod webhooks;
