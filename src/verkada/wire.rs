//! Turns the vendor's JSON into the words of the domain, tolerantly: a bad element costs that element, a bad list is
//! refused whole.
//!
//! Only the members named here are decoded. Card numbers and PINs are skipped by the parser and never become values;
//! people only as far as the owner lets them be shown.

mod access;
mod calendars;

use std::{
    collections::BTreeSet,
    fmt::{Display, Write as _},
    str::FromStr,
    time::Duration,
};

use jiff::{Timestamp, civil::Time};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

pub(super) use self::{
    access::{access_groups, access_levels},
    calendars::{body as calendar_body, calendar, calendars, exception, exception_body},
};
use crate::model::{
    AccessEvent, Controller, Door, DoorId, EventId, EventKind, EventPage, IdError, Inventory, PageToken,
    Person, Privacy, Scenario, ScenarioId, ScenarioState, Site, SiteId,
};

/// The longest name, word or text that is kept, in characters.
const MAX_TEXT_CHARS: usize = 255;
/// The longest page token that is sent back, in bytes.
const MAX_PAGE_TOKEN_BYTES: usize = 4096;
/// The longest cause in a sentence about a skipped element, in characters.
const MAX_CAUSE_CHARS: usize = 200;
/// The most of a wrong value that is quoted, in characters.
const MAX_QUOTED_CHARS: usize = 40;

/// The token in the answer of `POST /token` (`verkada-api.md` 3.3).
pub(super) fn token(body: &[u8]) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Wire {
        token: String,
    }
    // The parser's message may quote what it read, and that is a secret here.
    let wire: Wire =
        serde_json::from_slice(body).map_err(|_| "it holds no text member `token`".to_owned())?;
    if wire.token.is_empty() { Err("its token is empty".to_owned()) } else { Ok(wire.token) }
}

/// The doors (`verkada-api.md` 5.1). A door that is listed twice counts once.
pub(super) fn doors(body: &[u8]) -> Result<Inventory<Door>, String> {
    #[derive(Deserialize)]
    struct List<'a> {
        #[serde(borrow)]
        doors: Vec<&'a RawValue>,
    }
    let list: List<'_> = serde_json::from_slice(body).map_err(|e| short(&e))?;
    let read = |raw: &RawValue, _: &mut Vec<String>| decode::<WireDoor>(raw)?.into_door();
    Ok(inventory("door", list.doors, |door| door.id.clone(), read))
}

/// The scenarios (`verkada-api.md` 6.1). A site or door inside a scenario whose id cannot be read is left out alone:
/// it must not cost the switch that starts a lockdown.
pub(super) fn scenarios(body: &[u8]) -> Result<Inventory<Scenario>, String> {
    #[derive(Deserialize)]
    struct List<'a> {
        #[serde(borrow)]
        scenarios: Vec<&'a RawValue>,
    }
    let list: List<'_> = serde_json::from_slice(body).map_err(|e| short(&e))?;
    let read = |raw: &RawValue, lost: &mut Vec<String>| decode::<WireScenario>(raw)?.into_scenario(lost);
    Ok(inventory("scenario", list.scenarios, |scenario| scenario.id.clone(), read))
}

/// One page of access events (`verkada-api.md` 7.1, 7.2), with as much of people as `privacy` allows.
pub(super) fn events(body: &[u8], privacy: Privacy) -> Result<EventPage, String> {
    #[derive(Deserialize)]
    struct Page<'a> {
        #[serde(borrow)]
        events: Vec<&'a RawValue>,
        #[serde(default)]
        next_page_token: Option<String>,
    }
    let page: Page<'_> = serde_json::from_slice(body).map_err(|e| short(&e))?;
    let next = page.next_page_token.filter(|token| !token.is_empty());
    if next.as_ref().is_some_and(|token| token.len() > MAX_PAGE_TOKEN_BYTES) {
        return Err(format!("its page token is longer than {MAX_PAGE_TOKEN_BYTES} bytes"));
    }
    let mut answer = EventPage { events: Vec::new(), skipped: Vec::new(), next: next.map(PageToken) };
    for (index, raw) in page.events.into_iter().enumerate() {
        match decode::<WireEvent>(raw).and_then(|wire| wire.into_event(privacy)) {
            Ok(event) => answer.events.push(event),
            Err(cause) => answer.skipped.push(format!("event {index} of the page is left out: {cause}")),
        }
    }
    Ok(answer)
}

/// What the body of a 200 to an unlock says (`verkada-api.md` 5.4). It is a bonus: the status line is the proof.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UnlockBody {
    /// It fits; the time the door stays unlocked, clamped to 1..60 s, where it can be read.
    Fits(Option<Duration>),
    /// It names another door.
    AnotherDoor,
}

/// Reads the body of a 200 to an unlock of `door`.
pub(super) fn unlock(body: &[u8], door: &DoorId) -> UnlockBody {
    #[derive(Deserialize)]
    struct Wire {
        #[serde(default)]
        door_id: serde_json::Value,
        #[serde(default)]
        unlock_duration: serde_json::Value,
        #[serde(default)]
        duration: serde_json::Value,
    }
    let Ok(wire) = serde_json::from_slice::<Wire>(body) else { return UnlockBody::Fits(None) };
    if wire.door_id.as_str().is_some_and(|id| !id.eq_ignore_ascii_case(door.as_str())) {
        return UnlockBody::AnotherDoor;
    }
    let seconds = wire.unlock_duration.as_f64().or_else(|| wire.duration.as_f64());
    UnlockBody::Fits(seconds.map(|seconds| Duration::from_secs_f64(seconds.clamp(1.0, 60.0))))
}

#[derive(Deserialize)]
struct WireSite {
    site_id: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct WireDoor {
    door_id: String,
    name: Option<String>,
    site: Option<WireSite>,
    acu_id: Option<String>,
    acu_name: Option<String>,
    api_control_enabled: Option<bool>,
    timezone: Option<String>,
}

impl WireDoor {
    fn into_door(self) -> Result<Door, String> {
        let site = match self.site {
            Some(WireSite { site_id: Some(text), name }) => {
                Some(Site { id: id("site_id", &text)?, name: name.map(|name| cut(&name)) })
            }
            Some(WireSite { site_id: None, .. }) | None => None,
        };
        let controller = match self.acu_id {
            Some(text) => {
                Some(Controller { id: id("acu_id", &text)?, name: self.acu_name.map(|name| cut(&name)) })
            }
            None => None,
        };
        Ok(Door {
            id: id("door_id", &self.door_id)?,
            name: self.name.map(|name| cut(&name)),
            site,
            controller,
            api_control: self.api_control_enabled,
            time_zone: self.timezone.map(|zone| cut(&zone)),
        })
    }
}

#[derive(Deserialize)]
struct WireScenario {
    scenario_id: String,
    name: Option<String>,
    r#type: Option<String>,
    state: Option<String>,
    sites: Option<Vec<Option<String>>>,
    doors_to_lock: Option<Vec<Option<String>>>,
    message: Option<String>,
}

impl WireScenario {
    fn into_scenario(self, skipped: &mut Vec<String>) -> Result<Scenario, String> {
        let state = match self.state {
            Some(word) if word.eq_ignore_ascii_case("ACTIVE") => ScenarioState::Active,
            Some(word) if word.eq_ignore_ascii_case("INACTIVE") => ScenarioState::Inactive,
            Some(word) => ScenarioState::Unknown(Some(cut(&word))),
            None => ScenarioState::Unknown(None),
        };
        Ok(Scenario {
            id: id::<ScenarioId>("scenario_id", &self.scenario_id)?,
            name: self.name.map(|name| cut(&name)),
            kind: self.r#type.map(|word| cut(&word)),
            state,
            sites: ids::<SiteId>("a site", self.sites, skipped),
            doors_to_lock: ids::<DoorId>("a door to lock", self.doors_to_lock, skipped),
            message: self.message.map(|text| cut(&text)),
        })
    }
}

/// A time as text or as Unix seconds.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum WireTime {
    Seconds(i64),
    Text(String),
}

impl WireTime {
    pub(super) fn read(self) -> Result<Timestamp, String> {
        match self {
            Self::Seconds(seconds) => Timestamp::from_second(seconds).map_err(|e| short(&e)),
            Self::Text(text) => text.parse().map_err(|e: jiff::Error| short(&e)),
        }
    }
}

/// The envelope is written in `snake_case` and the inside of `event_info` in `camelCase`; both are read in both places.
#[derive(Deserialize)]
struct WireEvent {
    event_id: Option<String>,
    #[serde(rename = "eventId")]
    event_id_camel: Option<String>,
    event_type: Option<String>,
    #[serde(rename = "eventType")]
    event_type_camel: Option<String>,
    timestamp: Option<WireTime>,
    device_id: Option<String>,
    #[serde(rename = "deviceId")]
    device_id_camel: Option<String>,
    event_info: Option<WireInside>,
    #[serde(rename = "eventInfo")]
    event_info_camel: Option<WireInside>,
}

#[derive(Deserialize, Default)]
struct WireInside {
    uuid: Option<String>,
    #[serde(rename = "doorId")]
    door_id: Option<String>,
    #[serde(rename = "door_id")]
    door_id_snake: Option<String>,
    #[serde(rename = "doorInfo")]
    door_info: Option<WireDoorInfo>,
    #[serde(rename = "door_info")]
    door_info_snake: Option<WireDoorInfo>,
    r#type: Option<String>,
    direction: Option<String>,
    message: Option<String>,
    /// Kept as text until it is known whether people may be decoded at all.
    #[serde(rename = "userInfo")]
    user_info: Option<Box<RawValue>>,
    #[serde(rename = "user_info")]
    user_info_snake: Option<Box<RawValue>>,
}

/// A person; other members, the telephone number among them, are skipped.
#[derive(Deserialize)]
pub(super) struct WirePerson {
    #[serde(rename = "userId")]
    id: Option<String>,
    #[serde(rename = "user_id")]
    id_snake: Option<String>,
    name: Option<String>,
    email: Option<String>,
}

impl WirePerson {
    /// What cannot be read costs the person, not the event.
    pub(super) fn read(raw: &RawValue, privacy: Privacy) -> Option<Person> {
        if privacy == Privacy::None {
            return None;
        }
        let wire: Option<Self> = serde_json::from_str(raw.get()).ok()?;
        let text = |text: Option<String>| text.filter(|text| !text.is_empty()).map(|text| cut(&text));
        let Self { id, id_snake, name, email } = wire?;
        Person::cut_down(privacy, text(id.or(id_snake)), text(name), text(email))
    }
}

#[derive(Deserialize)]
struct WireDoorInfo {
    #[serde(rename = "accessControllerId")]
    controller: Option<String>,
    #[serde(rename = "access_controller_id")]
    controller_snake: Option<String>,
    acu_id: Option<String>,
}

impl WireEvent {
    fn into_event(self, privacy: Privacy) -> Result<AccessEvent, String> {
        let inside = self.event_info.or(self.event_info_camel).unwrap_or_default();
        let word = self
            .event_type
            .or(self.event_type_camel)
            .or_else(|| inside.r#type.map(|word| format!("door_{word}")))
            .ok_or("it names no event type")?;
        let word = cut(&word.to_ascii_lowercase());
        let at = self.timestamp.ok_or("it has no timestamp")?.read()?;
        let door = inside.door_id.or(inside.door_id_snake).or(self.device_id).or(self.device_id_camel);
        let door = door.map(|text| id("door id", &text)).transpose()?;
        let controller = inside
            .door_info
            .or(inside.door_info_snake)
            .and_then(|door| door.controller.or(door.controller_snake).or(door.acu_id))
            .map(|text| id("controller id", &text))
            .transpose()?;
        let direction = inside.direction.map(|text| cut(&text.to_ascii_lowercase()));
        let message = inside.message.map(|text| cut(&text));
        let person = inside.user_info.or(inside.user_info_snake);
        let person = person.and_then(|raw| WirePerson::read(&raw, privacy));
        let given = self.event_id.or(self.event_id_camel).or(inside.uuid).filter(|text| !text.is_empty());
        let id = match given {
            Some(text) => id("event_id", &text)?,
            // Only what is kept goes into the made id, so that no credential can be guessed from it.
            None => made_id(&format!("{word:?} {at} {door:?} {controller:?} {direction:?} {message:?}"))?,
        };
        Ok(AccessEvent {
            id,
            kind: EventKind::of_word(&word),
            word,
            at,
            door,
            controller,
            direction,
            message,
            person,
        })
    }
}

/// How an id begins that was made here.
const MADE: &str = "made-";

/// Whether an id was made here, since the vendor gave none.
pub(super) fn is_made(id: &EventId) -> bool {
    id.as_str().starts_with(MADE)
}

/// Makes an id for an event that came without one: the same content gives the same id.
pub(super) fn made_id(content: &str) -> Result<EventId, String> {
    let hash = ring::digest::digest(&ring::digest::SHA256, content.as_bytes());
    let mut text = MADE.to_owned();
    for byte in hash.as_ref().iter().take(16) {
        write!(text, "{byte:02x}").map_err(|e| e.to_string())?;
    }
    tracing::debug!(event = %text, "an access event came without an id and was given one made from its content");
    id("made id", &text)
}

/// Reads each element of a list by itself; what is listed twice counts once. `read` is also given where to say what
/// inside of an element it left out.
fn inventory<T, Id: Ord>(
    what: &str,
    raws: Vec<&RawValue>,
    id: impl Fn(&T) -> Id,
    read: impl Fn(&RawValue, &mut Vec<String>) -> Result<T, String>,
) -> Inventory<T> {
    let mut inventory = Inventory { items: Vec::with_capacity(raws.len()), skipped: Vec::new() };
    let mut seen = BTreeSet::new();
    for (index, raw) in raws.into_iter().enumerate() {
        let mut lost = Vec::new();
        match read(raw, &mut lost) {
            Ok(item) if seen.insert(id(&item)) => {
                let sentence = |cause| format!("{what} {index} of the list is kept without {cause}");
                inventory.skipped.extend(lost.into_iter().map(sentence));
                inventory.items.push(item);
            }
            Ok(_) => {}
            Err(cause) => {
                inventory.skipped.push(format!("{what} {index} of the list is left out: {cause}"));
            }
        }
    }
    inventory
}

/// Reads a time of day as `hh:mm` or `hh:mm:ss`.
fn time_of_day(member: &str, text: Option<&str>) -> Result<Time, String> {
    let text = text.ok_or_else(|| format!("{member} is missing"))?;
    let mut parts = text.split(':').map(|part| {
        let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse::<i8>().ok()).flatten()
    });
    let time = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Some(hour)), Some(Some(minute)), None, None) => Time::new(hour, minute, 0, 0).ok(),
        (Some(Some(hour)), Some(Some(minute)), Some(Some(second)), None) => {
            Time::new(hour, minute, second, 0).ok()
        }
        _ => None,
    };
    time.ok_or_else(|| format!("{member}: {} is no time of day", quoted(text)))
}

/// A little of a text, on one line.
fn quoted(text: &str) -> String {
    let mut start = String::new();
    for escaped in text.chars().map(char::escape_debug) {
        if start.chars().count() + escaped.len() > MAX_QUOTED_CHARS {
            break;
        }
        start.extend(escaped);
    }
    format!("\"{start}\"")
}

/// Decodes one element; the error is one line and quotes at most a little of what was read.
fn decode<T: DeserializeOwned>(raw: &RawValue) -> Result<T, String> {
    serde_json::from_str(raw.get()).map_err(|e| short(&e))
}

pub(super) fn id<T: FromStr<Err = IdError>>(member: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|e: IdError| format!("{member}: {e}"))
}

/// Reads ids, leaving out nulls silently and unreadable ones with a sentence.
fn ids<T: FromStr<Err = IdError>>(
    what: &str,
    texts: Option<Vec<Option<String>>>,
    skipped: &mut Vec<String>,
) -> Vec<T> {
    let mut kept = Vec::new();
    for text in texts.into_iter().flatten().flatten() {
        match text.parse() {
            Ok(id) => kept.push(id),
            Err(e) => skipped.push(format!("{what}: {e}")),
        }
    }
    kept
}

/// Cuts a text at [`MAX_TEXT_CHARS`]; what it holds is otherwise kept, control characters included.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT_CHARS).collect()
}

/// A cause, short and on one line.
pub(super) fn short(cause: &impl Display) -> String {
    cause.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_CAUSE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/verkada").join(name);
        std::fs::read(path).unwrap()
    }

    #[test]
    fn older_door_lists_lack_members_and_empty_ones_are_lists() {
        let list = doors(&fixture("doors-list-legacy-fields.json")).unwrap();
        let door = &list.items[0];
        assert_eq!((door.api_control, door.time_zone.as_deref()), (None, None));
        assert_eq!(door.name.as_deref(), Some("Lobby East"));
        assert_eq!(
            doors(&fixture("doors-list-empty.json")).unwrap(),
            Inventory { items: Vec::new(), skipped: Vec::new() }
        );
    }

    #[test]
    fn a_bad_door_costs_that_door_and_says_which() {
        let body = json!({"doors": [
            {"door_id": "a", "name": null, "site": null, "acu_id": null, "api_control_enabled": null, "timezone": null},
            {"door_id": 5},
            {"door_id": "../b"},
            {"name": "no id"},
            null,
            {"door_id": "c", "name": ["not", "text"]},
            {"door_id": "d", "site": {"site_id": "x/#", "name": "X"}},
            {"door_id": "a", "name": "the same again"},
            {"door_id": "e", "new_member": {"deep": [1]}, "site": {"site_id": null, "name": "X"}},
        ]});
        let list = doors(body.to_string().as_bytes()).unwrap();
        assert_eq!(list.items.iter().map(|door| door.id.as_str()).collect::<Vec<_>>(), ["a", "e"]);
        assert_eq!((&list.items[0].name, &list.items[1].site), (&None, &None));
        let starts: Vec<_> = list.skipped.iter().map(|text| text.split(':').next().unwrap()).collect();
        assert_eq!(starts, [1, 2, 3, 4, 5, 6].map(|n| format!("door {n} of the list is left out")));
        assert!(list.skipped[1].contains("an id holds '.'"), "{}", list.skipped[1]);
        assert!(list.skipped[2].contains("missing field `door_id`"), "{}", list.skipped[2]);
    }

    /// The same JSON with a member of each kind added to every object, and all members in the order of their names.
    fn with_more(value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let mut more: serde_json::Map<_, _> =
                    members.iter().map(|(name, value)| (name.clone(), with_more(value))).collect();
                for (name, new) in
                    [("aa_new", json!(1)), ("new", json!({"a": [null]})), ("zz_new", json!("text"))]
                {
                    more.insert(name.to_owned(), new);
                }
                Value::Object(more)
            }
            Value::Array(items) => items.iter().map(with_more).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        }
    }

    #[test]
    fn new_members_and_another_order_change_nothing() {
        let bent = |name: &str| {
            let value: Value = serde_json::from_slice(&fixture(name)).unwrap();
            let text = with_more(&value).to_string();
            assert!(text.len() > value.to_string().len());
            text.into_bytes()
        };
        for name in ["doors-list.json", "doors-list-legacy-fields.json"] {
            assert_eq!(doors(&bent(name)), doors(&fixture(name)), "{name}");
        }
        assert_eq!(scenarios(&bent("scenarios-list.json")), scenarios(&fixture("scenarios-list.json")));
        let name = "exception-calendars-list.json";
        assert_eq!(calendars(&bent(name)), calendars(&fixture(name)));
        assert_eq!(
            access_levels(&bent("access-levels-list.json")),
            access_levels(&fixture("access-levels-list.json"))
        );
        assert_eq!(
            access_groups(&bent("access-groups-list.json")),
            access_groups(&fixture("access-groups-list.json"))
        );
        for privacy in [Privacy::None, Privacy::Full] {
            for name in ["access-events-page-1.json", "access-events-spec-userinfo.json"] {
                assert_eq!(
                    events(&bent(name), privacy),
                    events(&fixture(name), privacy),
                    "{name} {privacy:?}"
                );
            }
        }
    }

    #[test]
    fn one_bad_door_of_a_thousand_leaves_the_others() {
        let all: Vec<_> = (0..1000)
            .map(|n| if n == 500 { json!({"door_id": n}) } else { json!({"door_id": n.to_string()}) })
            .collect();
        let list = doors(json!({ "doors": all }).to_string().as_bytes()).unwrap();
        assert_eq!((list.items.len(), list.skipped.len()), (999, 1));
    }

    #[test]
    fn names_are_kept_as_they_are_and_cut_between_characters() {
        let name = format!("\u{202e}\u{7}{}", "ü".repeat(400));
        let list = doors(json!({"doors": [{"door_id": "a", "name": name}]}).to_string().as_bytes()).unwrap();
        let kept = list.items[0].name.as_deref().unwrap();
        assert_eq!(kept, name.chars().take(255).collect::<String>());
    }

    #[test]
    fn scenarios_keep_unknown_words_and_lose_only_what_cannot_be_read() {
        let list = scenarios(&fixture("scenarios-list-active.json")).unwrap();
        assert_eq!(list.items[0].state, ScenarioState::Active);
        let list = scenarios(&fixture("scenarios-list-unknown-type.assumed.json")).unwrap();
        assert_eq!(list.items[1].kind.as_deref(), Some("hold"));
        let body = json!({"scenarios": [
            {"scenario_id": "a", "state": "HALF", "doors_to_lock": ["x", null, "#", "y"], "sites": null},
            {"scenario_id": "b", "state": null},
            {"scenario_id": "c", "state": "inactive", "type": null},
            {"scenario_id": "d", "state": 1},
            {"scenario_id": "a"},
        ]});
        let list = scenarios(body.to_string().as_bytes()).unwrap();
        let states: Vec<_> = list.items.iter().map(|s| (s.id.as_str(), s.state.to_string())).collect();
        assert_eq!(
            states,
            [("a", "unknown (\"HALF\")".into()), ("b", "unknown".into()), ("c", "INACTIVE".to_owned())]
        );
        assert_eq!(list.items[0].doors_to_lock.len(), 2);
        assert_eq!(list.skipped.len(), 2);
        assert!(
            list.skipped[0].starts_with("scenario 0 of the list is kept without a door to lock"),
            "{list:?}"
        );
        assert!(list.skipped[1].starts_with("scenario 3 of the list is left out"), "{list:?}");
    }

    #[test]
    fn events_are_read_without_credentials_and_people() {
        for name in
            ["access-events-page-1.json", "access-events-last-page.json", "access-events-spec-userinfo.json"]
        {
            let page = events(&fixture(name), Privacy::None).unwrap();
            assert!(!page.events.is_empty() && page.skipped.is_empty(), "{name}: {page:?}");
            let shown = format!("{page:?}").to_lowercase();
            for secret in ["99999", "20418", "visser", "anneke", "example.org"] {
                assert!(!shown.contains(secret), "{name} shows {secret}");
            }
        }
        let page = events(&fixture("access-events-page-1.json"), Privacy::None).unwrap();
        let event = &page.events[2];
        assert_eq!((event.kind, event.word.as_str()), (EventKind::Denied, "door_keycard_entered_rejected"));
        assert_eq!(event.at.to_string(), "2026-09-17T08:05:02Z");
        assert_eq!(event.door.as_ref().unwrap().as_str(), "7b29a43e-d9e1-431e-8f48-bba036bebc44");
        assert_eq!(event.controller.as_ref().unwrap().as_str(), "8cf1fa33-5f7c-4e6f-9e8f-4e94249b03fd");
        assert_eq!(event.message.as_deref(), Some("Keycard Entered"));
        assert_eq!(events(&fixture("access-events-empty.json"), Privacy::None).unwrap().next, None);
    }

    #[test]
    fn events_are_read_in_both_spellings_and_all_kinds_of_time() {
        let body = json!({"next_page_token": "", "events": [
            {"event_id": "1", "event_type": "DOOR_OPENED", "timestamp": 1_789_632_000, "device_id": "d"},
            {"eventId": "2", "eventType": "door_opened", "timestamp": "2026-09-17T08:00:00+02:00",
             "eventInfo": {"door_id": "e", "door_info": {"access_controller_id": "c"}, "direction": "Inbound"}},
            {"event_info": {"uuid": "3", "type": "closed", "doorId": "f"}, "device_id": "g", "timestamp": 0},
            {"event_id": "4", "event_type": "DOOR_OPENED"},
            {"event_id": "5", "timestamp": 0},
            {"event_id": "6", "event_type": "X", "timestamp": "yesterday"},
            {"event_id": "7", "event_type": "X", "timestamp": i64::MAX},
            {"event_id": "a/b", "event_type": "X", "timestamp": 0},
            {"event_id": "9", "event_type": "X", "timestamp": 0, "event_info": "text"},
        ]});
        let page = events(body.to_string().as_bytes(), Privacy::None).unwrap();
        assert_eq!(page.next, None);
        let read: Vec<_> = page
            .events
            .iter()
            .map(|e| {
                format!("{} {} {} {:?} {:?} {:?}", e.id, e.word, e.at, e.door, e.controller, e.direction)
            })
            .collect();
        assert_eq!(
            read,
            [
                "1 door_opened 2026-09-17T08:00:00Z Some(d) None None",
                "2 door_opened 2026-09-17T06:00:00Z Some(e) Some(c) Some(\"inbound\")",
                "3 door_closed 1970-01-01T00:00:00Z Some(f) None None",
            ]
        );
        assert_eq!(page.skipped.len(), 6, "{:?}", page.skipped);
    }

    #[test]
    fn an_event_without_an_id_gets_the_same_one_each_time() {
        let read = |word: &str, pin: &str| {
            let body = json!({"events": [{"event_type": word, "timestamp": 5, "device_id": "d",
                "event_info": {"inputValue": pin}}]});
            events(body.to_string().as_bytes(), Privacy::None).unwrap().events[0].id.to_string()
        };
        assert!(read("DOOR_OPENED", "1").starts_with("made-"));
        assert_eq!(read("DOOR_OPENED", "1"), read("door_opened", "2"), "a PIN takes no part");
        assert_ne!(read("DOOR_OPENED", "1"), read("DOOR_CLOSED", "1"));
    }

    /// An event by a person, with everything about them and their credentials.
    fn event_of_a_person(user_info: &str) -> String {
        format!(
            r#"{{"events": [{{"event_id": "1", "event_type": "DOOR_CODE_ENTERED_ACCEPTED", "timestamp": 5,
            "device_id": "d", "event_info": {{"inputValue": "73519", "rawCard": "73520", "userName": "Anneke Visser",
            "{user_info}": {{"userId": "u-1", "user_id": "u-1", "name": "Anneke Visser", "email": "anneke@example.org",
            "phone": "73521", "firstName": "Anneke", "lastName": "Visser"}}}}}}]}}"#
        )
    }

    fn person_of(body: &str, privacy: Privacy) -> Option<Person> {
        events(body.as_bytes(), privacy).unwrap().events.remove(0).person
    }

    #[test]
    fn people_are_decoded_as_far_as_the_owner_lets_them_be_shown() {
        let full = event_of_a_person("userInfo");
        for (privacy, expected) in [
            (Privacy::None, None),
            (Privacy::Id, Some((Some("u-1"), None, None))),
            (Privacy::Name, Some((Some("u-1"), Some("Anneke Visser"), None))),
            (Privacy::Full, Some((Some("u-1"), Some("Anneke Visser"), Some("anneke@example.org")))),
        ] {
            let person = person_of(&full, privacy);
            let members = person.as_ref().map(|person| (person.id(), person.name(), person.email()));
            assert_eq!(members, expected, "{privacy:?}");
        }
        for (members, expected) in [
            (json!({"user_id": "u-2", "name": "API"}), Some((Some("u-2"), Some("API")))),
            (json!({"userId": "u-2", "name": null, "email": ""}), Some((Some("u-2"), None))),
            (json!({"user_id": 5}), None),
            (json!("text"), None),
            (json!({}), None),
            (json!(null), None),
        ] {
            let body = json!({"events": [{"event_id": "1", "event_type": "X", "timestamp": 5,
                "event_info": {"user_info": members}}]});
            let person = person_of(&body.to_string(), Privacy::Full);
            assert_eq!(person.as_ref().map(|p| (p.id(), p.name())), expected, "{body}");
        }
    }

    #[test]
    fn a_person_cannot_be_printed() {
        let page = events(event_of_a_person("user_info").as_bytes(), Privacy::Full).unwrap();
        assert!(page.events[0].person.is_some());
        let shown = format!("{page:?} {page:#?}").to_lowercase();
        for secret in ["anneke", "visser", "example.org", "u-1", "73519", "73520", "73521"] {
            assert!(!shown.contains(secret), "{secret}: {shown}");
        }
    }

    #[test]
    fn a_token_that_cannot_be_read_is_not_quoted() {
        assert_eq!(token(br#"{"token":"abc","more":1}"#).unwrap(), "abc");
        for body in [r#"{"token":"secret"#, r#"{"token":["secret"]}"#, r#"{"token":""}"#, "secret"] {
            assert!(!token(body.as_bytes()).unwrap_err().contains("secret"));
        }
    }

    proptest! {
        /// Wherever the vendor puts a PIN or card number, and whatever the owner allows, it becomes no part of an event.
        #[test]
        fn no_credential_gets_into_an_event(
            pin in "9[0-9]{5,9}7", place in 0..6_usize, inside in any::<bool>(), privacy in 0..4_usize,
        ) {
            let name = ["inputValue", "input_value", "rawCard", "raw_card", "pin", "cardNumber"][place];
            let mut info = json!({"doorId": "d", "message": "Code Entered", "userInfo":
                {"userId": "u", "name": "N", "email": "e", "phone": pin, "code": pin}});
            let mut event = json!({"event_id": "1", "event_type": "DOOR_CODE_ENTERED_ACCEPTED", "timestamp": 5});
            if inside { info[name] = json!(pin) } else { event[name] = json!(pin) }
            event["event_info"] = info;
            let privacy = [Privacy::None, Privacy::Id, Privacy::Name, Privacy::Full][privacy];
            let page = events(json!({"events": [event]}).to_string().as_bytes(), privacy).unwrap();
            let event = &page.events[0];
            let shown = format!("{event:?}");
            prop_assert!(!shown.contains(&pin), "{}", shown);
            prop_assert!(!crate::hass::event::payload(event).to_string().contains(&pin));
        }

        #[test]
        fn no_body_makes_the_parsers_panic(body in proptest::collection::vec(any::<u8>(), 0..200), text in r#"[\[\]{}:,"a-z_0-9\\]{0,80}"#) {
            let wrapped = format!(r#"{{"doors":[{text}],"scenarios":[{text}],"events":[{text}],
                "door_exception_calendars":[{text}],"access_levels":[{text}],"access_groups":[{text}]}}"#);
            let inside = format!(r#"{{"door_exception_calendar_id":"c","doors":[{text}],"exceptions":[{text},
                {{"door_exception_id":"e","date":"{text}","start_time":"{text}","recurrence_rule":{{{text}}}}}]}}"#);
            for body in [&body, wrapped.as_bytes(), inside.as_bytes()] {
                let door = "d".parse().unwrap();
                drop((doors(body), scenarios(body), events(body, Privacy::Full), token(body), unlock(body, &door)));
                drop((calendars(body), calendar(body), access_levels(body), access_groups(body)));
            }
        }
    }
}
