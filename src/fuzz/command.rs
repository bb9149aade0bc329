//! Any message on any topic: nothing is done that it does not ask for in so many words.

#![expect(clippy::unwrap_used, reason = "what fails here is what fuzzing looks for")]

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::world::{Vendor, World, is_legible};
use crate::{
    bridge::Input,
    hass::{
        self, Destination, Topics,
        payload::{Kind, Order, Span},
    },
    model::{
        Calendar, Controller, Door, DoorMode, Edit, LinkEvent, Message, Request, Scenario, ScenarioState,
        Site, User,
    },
};

/// The code that opens, where one is needed.
const CODE: &str = "4711";

/// `data` is a byte of circumstances, a topic, a response topic and a payload; line feeds part the first three.
pub fn command(data: &[u8]) {
    let Some((&circumstances, rest)) = data.split_first() else { return };
    let mut parts = rest.splitn(3, |byte| *byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let (Ok(topic), Ok(response), payload) = (str::from_utf8(part()), str::from_utf8(part()), part()) else {
        return;
    };
    let case = Case { circumstances, topic, response, payload };
    case.topic_means_itself();
    for kind in [Kind::Door, Kind::Scenario, Kind::Hold, Kind::Calendar] {
        case.order_means_itself(kind);
    }
    case.nothing_is_done_unasked();
}

struct Case<'a> {
    circumstances: u8,
    topic: &'a str,
    response: &'a str,
    payload: &'a [u8],
}

/// An order as JSON, so that two of them can be compared.
fn written(order: &Order) -> Value {
    let mut command = Map::new();
    let mut tell = |member: &str, value: Value| command.insert(member.to_owned(), value);
    if let Some(id) = &order.id {
        tell("id", json!(id));
    }
    if let Some(by) = &order.by {
        tell("by", json!(by));
    }
    if let Some(at) = order.issued_at {
        tell("issued_at", json!(at.to_string()));
    }
    if let Some(code) = &order.code {
        tell("code", json!(code.expose()));
    }
    match &order.user {
        Some(User::Id(name)) => _ = tell("as", json!({ "user_id": name })),
        Some(User::External(name)) => _ = tell("as", json!({ "external_id": name })),
        None => {}
    }
    match order.edit.as_deref() {
        Some(Edit::Create(exception)) => {
            tell("action", json!("create"));
            tell("exception", readable(exception));
        }
        Some(Edit::Change(id, exception)) => {
            tell("action", json!("change"));
            tell("exception_id", json!(id));
            tell("exception", readable(exception));
        }
        Some(Edit::Delete(id)) => {
            tell("action", json!("delete"));
            tell("exception_id", json!(id));
        }
        None => {}
    }
    match order.hold {
        Some(hold) => {
            tell("mode", json!(hold.mode.map_or(hass::payload::SCHEDULE, DoorMode::word)));
            match hold.span {
                Some(Span::For(lasts)) => _ = tell("for", json!(lasts.to_string())),
                Some(Span::Until(at)) => _ = tell("until", json!(at.to_string())),
                None => {}
            }
        }
        None if order.edit.is_none() => _ = tell("action", json!(order.verb.word())),
        None => {}
    }
    Value::Object(command)
}

/// An exception as a command brings it.
fn readable(exception: &crate::model::Exception) -> Value {
    let mut told = hass::calendar::exception(exception);
    if let Some(members) = told.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    told
}

impl Case<'_> {
    fn is(&self, bit: u8) -> bool {
        self.circumstances >> bit & 1 == 1
    }

    fn topic_means_itself(&self) {
        let topics = Topics::new("verkada");
        let same = match topics.destination(self.topic) {
            None => return,
            Some(Destination::Door(id)) => format!("verkada/door/{id}/set"),
            Some(Destination::Hold(id)) => format!("verkada/door/{id}/hold/set"),
            Some(Destination::HoldMinutes(id)) => format!("verkada/door/{id}/hold_minutes/set"),
            Some(Destination::Scenario(id)) => format!("verkada/scenario/{id}/set"),
            Some(Destination::Calendar(id)) => format!("verkada/calendar/{id}/set"),
            Some(Destination::Refresh) => "verkada/bridge/refresh/set".to_owned(),
            Some(Destination::LogLevel) => "verkada/bridge/log_level/set".to_owned(),
            Some(Destination::Restart) => "verkada/bridge/restart/set".to_owned(),
            Some(Destination::Acknowledge) => "verkada/bridge/acknowledge/set".to_owned(),
            Some(Destination::SecuringHeartbeat) => topics.securing_heartbeat(),
            Some(Destination::Nowhere) => self.topic.to_owned(),
        };
        assert_eq!(same, self.topic);
        assert!(topics.owns(self.topic) && !topics.is_answer(self.topic));
    }

    /// An order that is written anew is read as the same one, and what is no order is said on one line.
    fn order_means_itself(&self, kind: Kind) {
        match Order::read(kind, self.payload) {
            Ok(order) => {
                let text = written(&order);
                let again = Order::read(kind, text.to_string().as_bytes());
                assert_eq!(again.as_ref().map(written).map_err(ToString::to_string), Ok(text));
                let named_once = String::from_utf8_lossy(self.payload).matches(CODE).count() == 1;
                let is_code = named_once && self.code().as_deref() == Some(CODE);
                assert!(!is_code || !format!("{order:?}").contains(CODE), "the code is shown");
            }
            Err(malformed) => {
                assert!(!malformed.to_string().contains(char::is_control), "{malformed:?}");
                assert!(malformed.id.is_none_or(|id| !id.contains(char::is_control)));
            }
        }
    }

    fn member(&self, name: &str) -> Option<Value> {
        serde_json::from_slice::<Value>(self.payload).ok()?.get(name).cloned()
    }

    fn code(&self) -> Option<String> {
        match self.member("code")? {
            Value::String(code) => Some(code),
            Value::Number(code) => Some(code.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// What the payload asks for, read in another way than by the gateway.
    fn word(&self) -> Option<String> {
        let text = str::from_utf8(self.payload).ok()?.trim_matches(|c: char| c.is_ascii_whitespace());
        let word = if text.starts_with('{') {
            let member = self.member("action").or_else(|| self.member("mode"))?;
            member.as_str()?.to_owned()
        } else {
            text.to_owned()
        };
        Some(word.to_ascii_lowercase())
    }

    /// The one act that the message may cause.
    fn asked(&self) -> Option<String> {
        let word = self.word()?;
        Some(match (self.topic, word.as_str()) {
            ("verkada/door/d-1/set", "unlock") => "unlock d-1".to_owned(),
            ("verkada/scenario/s-1/set", "on" | "activate") => "activate s-1".to_owned(),
            ("verkada/scenario/s-1/set", "off" | "release") => "release s-1".to_owned(),
            ("verkada/scenario/s-1/set", "drill") => "drill".to_owned(),
            ("verkada/door/d-1/hold/set", _) => "hold".to_owned(),
            ("verkada/calendar/c-1/set", "create" | "change" | "delete") => "exception of c-1".to_owned(),
            _ => return None,
        })
    }

    fn nothing_is_done_unasked(&self) {
        let mut world = World::new(&self.config(), self.vendor());
        world.published.clear();
        let mut message = Message {
            retain: self.is(0),
            response_topic: (!self.response.is_empty()).then(|| self.response.to_owned()),
            correlation: (!self.response.is_empty()).then(|| "correlation".into()),
            ..world.message(self.topic, self.payload, !self.is(1))
        };
        world.input(self.heard(message.clone()));
        let acts = world.acts.clone();
        self.check_acts(&acts);
        // The broker delivers it again.
        message.dup = true;
        world.input(self.heard(message));
        let again = world.acts.iter().skip(acts.len());
        assert_eq!(again.filter(|act| opens(act)).count(), 0, "opened twice: {:?}", world.acts);
        self.check_acts(&world.acts);
        self.check_published(&world);
    }

    fn heard(&self, message: Message) -> Input {
        let event = LinkEvent::Message(message);
        if self.is(5) { Input::Securing(event) } else { Input::Link(event) }
    }

    fn config(&self) -> String {
        let code = if self.is(4) { "code: \"4711\", " } else { "" };
        let read_only = self.is(2);
        format!(
            "verkada: {{api_key: k}}\nmqtt: {{url: mqtt://localhost}}\nhome_assistant: {{discovery: off}}\n\
             commands: {{{code}read_only: {read_only}, hold: true, unlock_as: allowed}}\n\
             calendars: {{allow: [c-1]}}\n"
        )
    }

    fn vendor(&self) -> Vendor {
        let site = || "site-1".parse().unwrap();
        let door = Door {
            id: "d-1".parse().unwrap(),
            name: Some("Front Door".to_owned()),
            site: Some(Site { id: site(), name: None }),
            controller: Some(Controller { id: "acu-1".parse().unwrap(), name: None }),
            api_control: Some(true),
            time_zone: Some("Europe/Berlin".to_owned()),
        };
        let scenario = Scenario {
            id: "s-1".parse().unwrap(),
            name: Some("Lockdown".to_owned()),
            kind: Some("lockdown".to_owned()),
            state: if self.is(3) { ScenarioState::Active } else { ScenarioState::Inactive },
            sites: vec![site()],
            doors_to_lock: vec![door.id.clone()],
            message: None,
        };
        let calendar = Calendar {
            id: "c-1".parse().unwrap(),
            name: Some("Holidays".to_owned()),
            doors: vec![door.id.clone()],
            exceptions: Vec::new(),
            updated_at: Timestamp::UNIX_EPOCH.into(),
            skipped: Vec::new(),
        };
        Vendor { doors: vec![door], scenarios: vec![scenario], calendars: vec![calendar] }
    }

    fn check_acts(&self, acts: &[Request]) {
        for act in acts {
            assert_eq!(self.asked(), Some(told(act)), "{act:?}");
            assert!(!self.is(0), "a retained message made {act:?}");
            assert!(!self.is(2), "a gateway that only reads made {act:?}");
            if opens(act) {
                assert!(!self.is(1) && !self.is(5), "{act:?} without a heartbeat on the connection for it");
                assert!(!self.is(4) || self.code().as_deref() == Some(CODE), "{act:?} without the code");
                let locked = self.is(3) && told(act) != "release s-1" && told(act) != "exception of c-1";
                assert!(!locked, "{act:?} in a lockdown");
            }
        }
    }

    /// Whatever was said stands where only the gateway writes, or where the sender may have it put.
    fn check_published(&self, world: &World) {
        let topics = Topics::new("verkada");
        for publication in &world.published {
            let topic = publication.topic.as_str();
            assert!(!topic.is_empty() && !topic.contains(['+', '#', '\0']), "{topic:?}");
            assert!(topics.owns(topic) || topic == self.response, "{topic:?}");
            assert!(!topics.owns(topic) || !topic.ends_with("/set"), "{topic:?} is a command");
            assert!(
                publication.correlation.is_none() || !topics.owns(topic) || topics.is_answer(topic),
                "{topic:?}"
            );
            assert!(!topics.owns(topic) || is_legible(topic) || topic == self.response, "{topic:?}");
            let text = str::from_utf8(&publication.payload).unwrap();
            assert!(!text.starts_with('{') || serde_json::from_str::<Value>(text).is_ok(), "{text}");
            assert!(text.len() <= 64 * 1024);
        }
    }
}

fn told(act: &Request) -> String {
    match act {
        Request::Unlock { door } | Request::UnlockAs { door, .. } => format!("unlock {door}"),
        Request::Activate { scenario } => format!("activate {scenario}"),
        Request::Release { scenario } => format!("release {scenario}"),
        Request::Drill => "drill".to_owned(),
        Request::CreateCalendar(_) => "hold".to_owned(),
        Request::CreateException { calendar, .. }
        | Request::WriteException { calendar, .. }
        | Request::DeleteException { calendar, .. } => format!("exception of {calendar}"),
        Request::WriteCalendar { .. }
        | Request::ListDoors
        | Request::ListScenarios
        | Request::ListCalendars
        | Request::ListAccessLevels
        | Request::ListAccessGroups
        | Request::ReadEvents { .. } => format!("{act:?}"),
    }
}

fn opens(act: &Request) -> bool {
    match act {
        Request::Unlock { .. } | Request::UnlockAs { .. } | Request::Release { .. } => true,
        Request::CreateCalendar(content) => format!("{content:?}").contains("Unlocked"),
        Request::CreateException { exception, .. } | Request::WriteException { exception, .. } => {
            format!("{exception:?}").contains("Unlocked")
        }
        Request::WriteCalendar { .. } | Request::DeleteException { .. } => true,
        Request::Activate { .. }
        | Request::Drill
        | Request::ListDoors
        | Request::ListScenarios
        | Request::ListCalendars
        | Request::ListAccessLevels
        | Request::ListAccessGroups
        | Request::ReadEvents { .. } => false,
    }
}
