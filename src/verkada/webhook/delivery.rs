//! What a delivery says (`verkada-api.md` 8.3 to 8.5).
//!
//! Only the members named here are decoded: PINs and card numbers are skipped by the parser and never become values, and
//! so are people, but for what the owner lets be shown.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{
    model::{AccessEvent, DoorId, EventKind, OrganisationId, Privacy},
    verkada::wire::{WirePerson, WireTime, cut, id, made_id, short},
};

/// A delivery, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    /// Whose it is; `None` where it does not say so.
    pub(super) organisation: Option<OrganisationId>,
    pub(super) content: Content,
}

/// What it is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// An event, and whether it tells that scenarios changed.
    Event { event: AccessEvent, scenarios: bool },
    /// An event that cannot be read, and whether it tells that scenarios changed.
    Unread { cause: String, scenarios: bool },
    /// Something that is not for a gateway, in the vendor's words.
    Other(String),
}

/// Reads a body whose signature is good.
pub(super) fn decode(body: &[u8], privacy: Privacy) -> Result<Delivery, String> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        org_id: Option<String>,
        webhook_type: Option<String>,
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(|error| place(&error))?;
    let organisation = envelope.org_id.and_then(|text| text.parse().ok());
    let kind = envelope.webhook_type.as_deref().map(cut);
    let content = match (kind.as_deref(), envelope.data) {
        (Some("notification" | "alert" | "access_control") | None, Some(data)) => read(data, privacy),
        (kind, _) => Content::Other(format!("webhook_type {kind:?}")),
    };
    Ok(Delivery { organisation, content })
}

/// `data` of a notification (8.4) or of an event-based webhook (8.5); what is not in the one is in the other.
#[derive(Deserialize)]
struct WireData {
    event_id: Option<String>,
    notification_type: Option<String>,
    device_type: Option<String>,
    device_id: Option<String>,
    device_name: Option<String>,
    door_id: Option<String>,
    created: Option<WireTime>,
    created_at: Option<WireTime>,
    direction: Option<String>,
    door_info: Option<WireDoorInfo>,
    user_info: Option<Box<RawValue>>,
    alert_id: Option<String>,
    alert_type: Option<String>,
    product_type: Option<String>,
    details: Option<WireDetails>,
    lockdown_info: Option<IgnoredAny>,
    scenario_info: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct WireDoorInfo {
    acu_id: Option<String>,
}

#[derive(Deserialize)]
struct WireDetails {
    door_info: Option<WireAlertDoor>,
    user_info: Option<WireAlertUser>,
}

#[derive(Deserialize)]
struct WireAlertDoor {
    door_id: Option<String>,
}

/// The id of a person goes into the made id of an alert and nowhere else.
#[derive(Deserialize)]
struct WireAlertUser {
    user_id: Option<String>,
}

/// What kind of device an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Device {
    Door,
    Intercom,
}

fn read(data: &RawValue, privacy: Privacy) -> Content {
    let data: WireData = match serde_json::from_str(data.get()) {
        Ok(data) => data,
        Err(error) => return Content::Unread { cause: place(&error), scenarios: false },
    };
    let word = data.notification_type.as_deref().or(data.alert_type.as_deref()).unwrap_or_default();
    let word = cut(&word.to_ascii_lowercase());
    let device = data.device_type.as_deref().or(data.product_type.as_deref());
    let device = match device.map(str::to_ascii_lowercase).as_deref() {
        Some("intercom") => Device::Intercom,
        None if word.starts_with("intercom_") => Device::Intercom,
        Some("access_control") | None => Device::Door,
        Some(other) => return Content::Other(format!("device_type {:?}", cut(other))),
    };
    let kind = match device {
        Device::Door => EventKind::of_word(&word),
        Device::Intercom => EventKind::Other,
    };
    let scenarios =
        kind == EventKind::Lockdown || data.lockdown_info.is_some() || data.scenario_info.is_some();
    match data.into_event(device, kind, word, privacy) {
        Ok(event) => Content::Event { event, scenarios },
        Err(cause) => Content::Unread { cause, scenarios },
    }
}

impl WireData {
    fn into_event(
        self,
        device: Device,
        kind: EventKind,
        word: String,
        privacy: Privacy,
    ) -> Result<AccessEvent, String> {
        if word.is_empty() {
            return Err("it names no event type".to_owned());
        }
        let at = self.created.or(self.created_at).ok_or("it has no time")?.read()?;
        let details = self.details;
        let (alert_door, user) =
            details.map_or((None, None), |details| (details.door_info, details.user_info));
        let named = given(self.door_id).or_else(|| given(alert_door?.door_id));
        let door = match (device, kind) {
            // The device of an intercom's event is the intercom, and that of a lockdown may be the scenario.
            (Device::Intercom, _) | (Device::Door, EventKind::Lockdown) => named,
            (Device::Door, _) => named.or_else(|| given(self.device_id)),
        };
        let door: Option<DoorId> = door.map(|text| id("door_id", &text)).transpose()?;
        let controller = self.door_info.and_then(|door| given(door.acu_id));
        let controller = controller.map(|text| id("acu_id", &text)).transpose()?;
        let direction = self.direction.map(|text| cut(&text.to_ascii_lowercase()));
        let event_id = match (given(self.event_id), given(self.alert_id)) {
            (Some(text), _) => id("event_id", &text)?,
            // The alert is the rule and not the occurrence, so the rest says which occurrence it is (8.5).
            (None, Some(alert)) => {
                let user = user.and_then(|user| user.user_id);
                made_id(&format!("alert {alert:?} {at} {door:?} {user:?}"))?
            }
            (None, None) => made_id(&format!("{word:?} {at} {door:?} {controller:?} {direction:?}"))?,
        };
        let message = match device {
            Device::Door => None,
            Device::Intercom => self.device_name.map(|name| cut(&name)),
        };
        let person = self.user_info.and_then(|raw| WirePerson::read(&raw, privacy));
        Ok(AccessEvent { id: event_id, kind, word, at, door, controller, direction, message, person })
    }
}

/// A text that says something.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// Where and of which kind a fault is, and nothing of what was read: that may be a credential.
fn place(error: &serde_json::Error) -> String {
    short(&format_args!("{:?} fault at line {} column {}", error.classify(), error.line(), error.column()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::verkada::wire;

    fn event(data: &Value) -> AccessEvent {
        let body = json!({"org_id": "o", "webhook_type": "notification", "data": data});
        match decode(body.to_string().as_bytes(), Privacy::None).unwrap().content {
            Content::Event { event, .. } => event,
            other @ (Content::Unread { .. } | Content::Other(_)) => panic!("{other:?}"),
        }
    }

    fn content(body: &Value) -> Content {
        decode(body.to_string().as_bytes(), Privacy::None).unwrap().content
    }

    #[test]
    fn every_example_is_read() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/verkada");
        let mut read = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let Some(short) = name.strip_prefix("webhook-") else { continue };
            let delivery = decode(&std::fs::read(&path).unwrap(), Privacy::None).unwrap();
            assert_eq!(delivery.organisation.unwrap().as_str(), "fa341524-a7a6-47a0-a176-2eb09ddd7bf5");
            let Content::Event { event, scenarios } = delivery.content else { panic!("{name}") };
            let begin = |text: &str| text.chars().take(8).collect::<String>();
            read.push(format!(
                "{short}: {} {:?} {} {} door {} controller {} {:?} {:?} scenarios {scenarios}",
                begin(event.id.as_str()),
                event.kind,
                event.word,
                event.at.as_second(),
                event.door.map_or_else(|| "-".to_owned(), |door| begin(door.as_str())),
                event.controller.map_or_else(|| "-".to_owned(), |controller| begin(controller.as_str())),
                event.direction,
                event.message,
            ));
        }
        read.sort();
        let expected =
            include_str!("../../../tests/fixtures/webhook-examples-read.txt").lines().collect::<Vec<_>>();
        assert_eq!(read, expected);
    }

    #[test]
    fn no_person_and_no_credential_becomes_a_value() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/verkada");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if !path.file_name().unwrap().to_str().unwrap().starts_with("webhook-") {
                continue;
            }
            let shown = format!("{:?}", decode(&std::fs::read(&path).unwrap(), Privacy::None)).to_lowercase();
            for secret in ["482915", "99999", "visser", "anneke", "example.org", "c366b9e6", "d825ddd3"] {
                assert!(!shown.contains(secret), "{} shows {secret}", path.display());
            }
        }
    }

    #[test]
    fn an_event_has_the_id_that_the_poll_gives_it() {
        let pushed = event(
            &json!({"event_id": "e-1", "notification_type": "door_opened", "created": 5, "door_id": "d"}),
        );
        let listed = json!({"events": [{"event_id": "e-1", "event_type": "DOOR_OPENED", "timestamp": 5, "device_id": "d"}]});
        let listed = wire::events(listed.to_string().as_bytes(), Privacy::None).unwrap().events.remove(0);
        assert_eq!(pushed, listed);
    }

    #[test]
    fn times_doors_and_ids_are_found_where_they_may_be() {
        let base =
            json!({"event_id": "e", "notification_type": "DOOR_OPENED", "created": 5, "device_id": "x"});
        let with = |changes: Value| {
            let mut data = base.clone();
            data.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            event(&data)
        };
        assert_eq!(with(json!({"created": null, "created_at": 7})).at.as_second(), 7);
        assert_eq!(with(json!({"created": "2026-09-17T08:00:00Z"})).at.as_second(), 1_789_632_000);
        assert_eq!(with(json!({})).door.unwrap().as_str(), "x");
        assert_eq!(with(json!({"door_id": "d"})).door.unwrap().as_str(), "d");
        assert_eq!(with(json!({"door_id": ""})).door.unwrap().as_str(), "x");
        assert_eq!(with(json!({"device_type": "ACCESS_CONTROL"})).kind, EventKind::Opened);
        assert_eq!(with(json!({"direction": "Inbound"})).direction.as_deref(), Some("inbound"));
        let intercom =
            with(json!({"device_type": "intercom", "notification_type": "intercom_call_accepted"}));
        assert_eq!((intercom.kind, intercom.door), (EventKind::Other, None));
        assert_eq!(with(json!({"notification_type": "door_lockdown_debounced"})).door, None);
        let made = |changes: Value| with(changes).id.to_string();
        assert!(made(json!({"event_id": null})).starts_with("made-"));
        assert_eq!(made(json!({"event_id": null, "input_value": "1"})), made(json!({"event_id": ""})));
        assert_ne!(made(json!({"event_id": null, "created": 6})), made(json!({"event_id": null})));
    }

    #[test]
    fn each_occurrence_of_an_alert_has_an_id_of_its_own() {
        let alert = |alert: &str, created: i64, door: &str, user: &str| {
            let data = json!({
                "alert_id": alert, "alert_type": "DOOR_OPENED", "product_type": "ACCESS_CONTROL", "created": created,
                "details": {"door_info": {"door_id": door}, "user_info": {"user_id": user, "name": "N"}},
            });
            let events: Vec<_> = ["alert", "access_control"]
                .map(|kind| content(&json!({"org_id": "o", "webhook_type": kind, "data": data})))
                .into();
            assert_eq!(events[0], events[1]);
            let Content::Event { event, .. } = &events[0] else { panic!("{events:?}") };
            assert_eq!((event.kind, event.door.as_ref().unwrap().as_str()), (EventKind::Opened, door));
            event.id.to_string()
        };
        let ids = [
            alert("a", 1, "d", "u"),
            alert("b", 1, "d", "u"),
            alert("a", 2, "d", "u"),
            alert("a", 1, "e", "u"),
            alert("a", 1, "d", "v"),
        ];
        assert_eq!(ids[0], alert("a", 1, "d", "u"));
        assert_eq!(std::collections::BTreeSet::from(ids).len(), 5);
    }

    #[test]
    fn what_cannot_be_read_prompts_a_read_and_what_is_not_for_us_does_not() {
        let unread = |data: Value| match content(&json!({"webhook_type": "notification", "data": data})) {
            Content::Unread { cause, scenarios } => (cause, scenarios),
            other @ (Content::Event { .. } | Content::Other(_)) => panic!("{other:?}"),
        };
        assert_eq!(unread(json!({"notification_type": "door_opened"})), ("it has no time".to_owned(), false));
        assert_eq!(unread(json!({"created": 5})), ("it names no event type".to_owned(), false));
        assert!(unread(json!({"notification_type": "door_lockdown"})).1);
        assert!(unread(json!({"notification_type": "new", "scenario_info": {"x": 1}})).1);
        let far = unread(json!({"notification_type": "door_opened", "created": i64::MAX}));
        assert!(!far.0.is_empty());
        let pin = unread(json!({"notification_type": ["482915"], "created": 5})).0;
        assert!(pin.starts_with("Data fault at line 1 "), "{pin}");
        let odd = unread(json!({"notification_type": "door_opened", "created": 5, "door_id": "a/b"})).0;
        assert!(odd.starts_with("door_id: an id holds '/'"), "{odd}");

        for kind in ["lpr", "sensor_alert", "new_alarms"] {
            let body = json!({"org_id": "o", "webhook_type": kind, "data": {"created": 5}});
            assert_eq!(content(&body), Content::Other(format!("webhook_type Some({kind:?})")));
        }
        let camera = json!({"webhook_type": "notification", "data": {"device_type": "camera", "notification_type": "motion"}});
        assert_eq!(content(&camera), Content::Other("device_type \"camera\"".to_owned()));
        assert_eq!(content(&json!({})), Content::Other("webhook_type None".to_owned()));
    }

    #[test]
    fn what_is_no_json_object_is_refused_and_not_quoted() {
        for body in ["", "482915", "[]", "{\"org_id\":", "null", "{\"org_id\":482915}", "\"482915\""] {
            let cause = decode(body.as_bytes(), Privacy::None).unwrap_err();
            assert!(cause.contains(" fault at line ") && !cause.contains("482915"), "{cause}");
        }
        assert!(decode(b"{\"org_id\":\"\xff\"}", Privacy::None).is_err());
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200), text in r#"[\[\]{}:,"a-z_0-9\\]{0,80}"#) {
            let wrapped = format!(r#"{{"org_id":"o","webhook_type":"notification","data":{{{text}}}}}"#);
            let event = format!(r#"{{"org_id":"o","data":{{"created":5,"notification_type":"door_opened",{text}}}}}"#);
            for body in [&body, wrapped.as_bytes(), event.as_bytes()] {
                drop(decode(body, Privacy::None));
            }
        }
    }
}
