//! Access events as Home Assistant's event entity takes them.

use serde_json::{Value, json};

use crate::model::{AccessEvent, DoorId, EventKind, IntercomEvent, Method, Person};

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
        | EventKind::Tamper
        | EventKind::FireTriggered
        | EventKind::FireReleased
        | EventKind::ControllerFireTriggered
        | EventKind::ControllerFireReleased
        | EventKind::ControllerOffline
        | EventKind::ControllerStartup
        | EventKind::Other => "other",
    }
}

/// The payload of an event topic: what the vendor does not tell is left out. People are in it as far as the event holds
/// them, which is where the owner's choice of privacy is applied.
pub fn payload(event: &AccessEvent) -> Value {
    let mut payload = json!({
        "event_type": event_type(event.kind),
        "id": event.id.as_str(),
        "type": event.word,
        "time": event.at.to_string(),
    });
    if let Some(object) = payload.as_object_mut() {
        let method = Method::of_word(&event.word).map(Method::word);
        for (name, text) in [
            ("method", method),
            ("direction", event.direction.as_deref()),
            ("message", event.message.as_deref()),
        ] {
            if let Some(text) = text {
                object.insert(name.to_owned(), json!(text));
            }
        }
        if let Some(by) = &event.person {
            object.insert("person".to_owned(), person(by));
        }
    }
    payload
}

/// The event types of intercoms that are announced. Home Assistant wants `ring` of every doorbell.
pub const INTERCOM_TYPES: [&str; 4] = ["ring", "missed", "admitted", "other"];

/// The payload of the topic of intercoms. It names no person: who answered is never decoded.
pub fn intercom(what: IntercomEvent, event: &AccessEvent) -> Value {
    let [ring, missed, admitted, other] = INTERCOM_TYPES;
    let kind = match what {
        IntercomEvent::Ring => ring,
        IntercomEvent::Missed => missed,
        IntercomEvent::Admitted => admitted,
        IntercomEvent::Other => other,
    };
    let mut payload = json!({
        "event_type": kind,
        "id": event.id.as_str(),
        "type": event.word,
        "time": event.at.to_string(),
    });
    if let Some(object) = payload.as_object_mut() {
        let door = event.door.as_ref().map(DoorId::as_str);
        for (name, text) in [("intercom", event.message.as_deref()), ("door", door)] {
            if let Some(text) = text {
                object.insert(name.to_owned(), json!(text));
            }
        }
    }
    payload
}

/// A person as JSON; what is not known, or not to be shown, is left out.
pub fn person(person: &Person) -> Value {
    let members = [("id", person.id()), ("name", person.name()), ("email", person.email())];
    members.into_iter().filter_map(|(name, text)| Some((name.to_owned(), json!(text?)))).collect()
}
