//! What is shown: payloads of states and attributes, made from what is known.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    confirmation::Tally,
    doors::{self, Doors, LastCommand, LastEvent, Lock, Source},
    drill::LastDrill,
    problems::Problem,
    scenarios,
};
use crate::{
    hass::{event, name, payload},
    model::{Door, DoorId, Method, Position, ScenarioId, ScenarioState, SiteId},
};

/// How many door ids the attributes of a scenario list; Home Assistant's recorder drops attributes beyond 16 KiB.
pub(super) const MAX_LISTED_DOORS: usize = 200;
/// How many bytes the names of its doors take up there beside their ids.
const MAX_NAME_BYTES: usize = 4096;
/// How many scenarios the attributes of a door list.
const MAX_LISTED_SCENARIOS: usize = 50;

/// The name to show for a door.
pub(super) fn door_name(door: &Door, chosen: Option<&str>) -> String {
    chosen
        .and_then(name::shown)
        .or_else(|| door.name.as_deref().and_then(name::shown))
        .unwrap_or_else(|| format!("Door {}", short(door.id.as_str())))
}

/// The name to show for a scenario.
pub(super) fn scenario_name(record: &scenarios::Record) -> String {
    let scenario = &record.scenario;
    scenario
        .name
        .as_deref()
        .and_then(name::shown)
        .unwrap_or_else(|| format!("Scenario {}", short(scenario.id.as_str())))
}

/// The word of a lock state; `payload::UNKNOWN` where there is no proof.
pub(super) const fn lock_word(lock: Lock) -> &'static str {
    match lock {
        Lock::Locked => "LOCKED",
        Lock::Unlocked => "UNLOCKED",
        Lock::Unlocking => "UNLOCKING",
        Lock::Unknown => payload::UNKNOWN,
    }
}

/// The word of a position.
pub(super) fn position_word(record: &doors::Record) -> &'static str {
    match record.position() {
        Some((Position::Open, _)) => "ON",
        Some((Position::Closed, _)) => "OFF",
        None => payload::UNKNOWN,
    }
}

/// The word of a problem.
pub(super) const fn problem_word(on: Option<bool>) -> &'static str {
    match on {
        Some(true) => "ON",
        Some(false) => "OFF",
        None => payload::UNKNOWN,
    }
}

/// The word of a scenario's state: what is not known is never shown as inactive.
pub(super) const fn scenario_word(state: &ScenarioState) -> &'static str {
    match state {
        ScenarioState::Active => "ON",
        ScenarioState::Inactive => "OFF",
        ScenarioState::Unknown(_) => payload::UNKNOWN,
    }
}

/// The word of an availability.
pub(super) const fn online_word(online: bool) -> &'static str {
    if online { payload::ONLINE } else { payload::OFFLINE }
}

/// The attributes of a door. Nothing in it changes by the mere passing of time. `unavailable`: why all doors are. `more`: what
/// others say of it.
pub(super) fn door_attributes(
    doors: &Doors,
    door: &Door,
    record: &doors::Record,
    unavailable: Option<&str>,
    more: Vec<(&'static str, Value)>,
) -> Bytes {
    let shown = record.shown();
    let unlocking = shown.source == Source::Command && matches!(shown.lock, Lock::Unlocking | Lock::Unlocked);
    let confirmed = (shown.source == Source::Event).then_some(shown.at).flatten();
    let there = |problem: &&Problem| doors.problem(door, record, **problem) == Some(true);
    let problems: Vec<_> = Problem::ALL.iter().filter(there).map(|problem| problem.word()).collect();
    let covered_by: Vec<_> = record.covered_by().take(MAX_LISTED_SCENARIOS).map(ScenarioId::as_str).collect();
    let cut_off = doors.is_cut_off(door);
    let unavailable = unavailable.or_else(|| cut_off.then_some("the controller of the door is offline"));
    let mut attributes = json!({
        "name": door.name.as_deref().and_then(name::shown),
        "site": door.site.as_ref().and_then(|site| site.name.as_deref()).and_then(name::shown),
        "site_id": door.site.as_ref().map(|site| site.id.as_str()),
        "controller": door.controller.as_ref().and_then(|controller| controller.name.as_deref()).and_then(name::shown),
        "api_control_enabled": door.api_control,
        "state_source": shown.source.word(),
        "state_time": shown.at.map(time),
        "target": unlocking.then_some("UNLOCKED"),
        "last_confirmed": confirmed.map(time),
        "relock_due": shown.relock_due.map(time),
        "position_time": record.position().map(|(_, at)| time(at)),
        "problems": problems,
        "covered_by": covered_by,
        "controller_offline": cut_off,
        "unavailable_reason": unavailable,
        "last_event": record.last_event.as_ref().map(last_event),
        "last_command": record.last_command.as_ref().map(command),
    });
    if let Some(attributes) = attributes.as_object_mut() {
        attributes.extend(more.into_iter().map(|(member, value)| (member.to_owned(), value)));
    }
    bytes_of(&attributes)
}

/// The attributes of a scenario; names of sites and doors stand in them where the list of doors tells them.
/// `unavailable`: why all scenarios are.
pub(super) fn scenario_attributes(
    record: &scenarios::Record,
    tally: Option<&Tally<'_>>,
    all: &Doors,
    unavailable: Option<&str>,
) -> Bytes {
    let scenario = &record.scenario;
    let state = match &scenario.state {
        ScenarioState::Active => Some("ACTIVE"),
        ScenarioState::Inactive => Some("INACTIVE"),
        ScenarioState::Unknown(word) => word.as_deref(),
    };
    let doors: Vec<&str> = scenario.doors_to_lock.iter().take(MAX_LISTED_DOORS).map(DoorId::as_str).collect();
    let sites = all.site_names();
    let site_name = |id: &SiteId| sites.get(id).copied().and_then(name::shown);
    let mut attributes = json!({
        "name": scenario.name.as_deref().and_then(name::shown),
        "type": scenario.kind,
        "vendor_state": state,
        "site_ids": scenario.sites.iter().map(SiteId::as_str).collect::<Vec<_>>(),
        "site_names": scenario.sites.iter().map(site_name).collect::<Vec<_>>(),
        "active_since": record.active_since().map(time),
        "message": scenario.message.as_deref().and_then(name::shown),
        "doors_to_lock": doors,
        "door_names": door_names(&scenario.doors_to_lock, all),
        "doors_to_lock_count": scenario.doors_to_lock.len(),
        "unavailable_reason": unavailable,
        "last_command": record.last_command.as_ref().map(command),
        "last_drill": record.last_drill.as_ref().map(drill),
    });
    if let Some(attributes) = attributes.as_object_mut() {
        attributes.extend(Tally::members(tally, all).map(|(member, value)| (member.to_owned(), value)));
    }
    bytes_of(&attributes)
}

/// A time for programs and people: RFC 3339 in UTC, whole milliseconds at most.
pub(super) fn time(at: Timestamp) -> String {
    let digits = if at.subsec_nanosecond() == 0 { 0 } else { 3 };
    format!("{at:.digits$}")
}

/// JSON as payload.
pub(super) fn bytes_of(value: &Value) -> Bytes {
    value.to_string().into()
}

/// The names of doors in the order of their ids, `null` where one is not known; as many as there is room for.
pub(super) fn door_names(ids: &[DoorId], all: &Doors) -> Vec<Option<String>> {
    let name = |id: &DoorId| name::shown(all.listed(id)?.0.name.as_deref()?);
    let mut room = MAX_NAME_BYTES;
    ids.iter()
        .take(MAX_LISTED_DOORS)
        .map(name)
        .map_while(|name| {
            room = room.checked_sub(name.as_ref().map_or(0, String::len))?;
            Some(name)
        })
        .collect()
}

fn last_event(last: &LastEvent) -> Value {
    json!({
        "type": last.word,
        "time": time(last.at),
        "method": last.method.map(Method::word),
        "by": last.by.as_ref().map(event::person),
    })
}

fn command(last: &LastCommand) -> Value {
    json!({ "action": last.action, "outcome": last.outcome, "time": time(last.at) })
}

fn drill(last: &LastDrill) -> Value {
    let ms = last.took.and_then(|took| u64::try_from(took.as_millis()).ok());
    json!({ "time": time(last.at), "outcome": last.outcome.word(), "ms": ms })
}

fn short(id: &str) -> String {
    id.chars().take(8).collect()
}
