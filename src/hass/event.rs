//! Access events as Home Assistant's event entity takes them.

use serde_json::{Value, json};

use crate::model::{AccessEvent, EventKind};

/// The event types that are announced.
pub const TYPES: [&str; 6] =
    ["access_granted", "access_denied", "door_forced_open", "door_held_open", "remote_unlock", "other"];

/// The type an event is published under.
pub const fn event_type(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Granted => "access_granted",
        EventKind::Denied => "access_denied",
        EventKind::ForcedOpen => "door_forced_open",
        EventKind::HeldOpen => "door_held_open",
        EventKind::RemoteUnlock => "remote_unlock",
        EventKind::Unlocked
        | EventKind::Locked
        | EventKind::Opened
        | EventKind::Closed
        | EventKind::LockChanged
        | EventKind::Lockdown
        | EventKind::ControllerOffline
        | EventKind::ControllerStartup
        | EventKind::Other => "other",
    }
}

/// The payload of an event topic. It names no person.
pub fn payload(event: &AccessEvent) -> Value {
    let mut payload = json!({
        "event_type": event_type(event.kind),
        "id": event.id.as_str(),
        "type": event.word,
        "time": event.at.to_string(),
    });
    if let Some(object) = payload.as_object_mut() {
        for (name, text) in [("direction", &event.direction), ("message", &event.message)] {
            if let Some(text) = text {
                object.insert(name.to_owned(), json!(text));
            }
        }
    }
    payload
}
