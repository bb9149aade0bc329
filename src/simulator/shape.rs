//! Bodies in the shape of the vendor (`verkada-api.md` 5 to 8, 10), and the switches that bend them.

use jiff::{Timestamp, civil::Time};
use serde_json::{Map, Value, json};

use super::{
    calendar::{Exception, Recurrence, recurrence::day_word},
    event::{Event, Note, Who},
    organisation::{Door, FACILITY, Group, Level, Person, Scenario},
    switches::{DoorMembers, KEY_MEMBERS, ScenarioTypes, Switches},
    world::calendars::{Calendar, Kept},
};
use crate::model::{DoorId, SiteId};

/// The error envelope (`verkada-api.md` 3.6).
pub(super) fn envelope(id: &str, message: &str) -> Value {
    json!({ "id": id, "message": message, "data": null })
}

/// A door information object (5.1).
pub(super) fn door(door: &Door, members: DoorMembers) -> Value {
    let mut shaped = json!({
        "door_id": door.id.as_str(),
        "name": door.name,
        "acu_id": door.controller.id.as_str(),
        "acu_name": door.controller.name,
        "site": { "name": door.site.name, "site_id": door.site.id.as_str() },
    });
    if let (DoorMembers::Full, Some(all)) = (members, shaped.as_object_mut()) {
        let cameras = door.outside_camera_id.as_ref().map(
            |id| json!({ "inside_camera_id": null, "outside_camera_id": id, "intercom_camera_id": null }),
        );
        all.insert("api_control_enabled".to_owned(), json!(door.api_control));
        all.insert("camera_info".to_owned(), json!(cameras));
        all.insert("timezone".to_owned(), json!(door.time_zone));
    }
    shaped
}

/// A scenario (6.1).
pub(super) fn scenario(scenario: &Scenario, active: bool, types: ScenarioTypes) -> Value {
    json!({
        "scenario_id": scenario.id.as_str(),
        "name": scenario.name,
        "message": scenario.message,
        "type": type_word(types),
        "sites": scenario.sites.iter().map(SiteId::as_str).collect::<Vec<_>>(),
        "site_count": scenario.sites.len(),
        "state": if active { "ACTIVE" } else { "INACTIVE" },
        "doors_to_lock": scenario.doors_to_lock.iter().map(DoorId::as_str).collect::<Vec<_>>(),
        "user_groups_with_enable_access": scenario.groups_enable,
        "user_groups_with_disable_access": scenario.groups_disable,
        "user_groups_with_door_access": scenario.groups_pass,
    })
}

/// What the list says as type of a scenario.
pub(super) const fn type_word(types: ScenarioTypes) -> Option<&'static str> {
    match types {
        ScenarioTypes::Lockdown => Some("lockdown"),
        ScenarioTypes::Unknown => Some("evacuate_upwards"),
        ScenarioTypes::Null => None,
    }
}

/// An event as the list has it (7.2).
pub(super) fn listed_event(event: &Event, organisation_id: &str, switches: &Switches) -> Value {
    let door = event.door.as_deref();
    let door_id = door.map(|door| door.id.as_str());
    let scenario_id = event.note.scenario.as_ref().map(|(scenario, _)| scenario.id.as_str());
    let site_id = door.map(|door| door.site.id.as_str());
    let note = &event.note;
    json!({
        "device_id": door_id.or(scenario_id),
        "device_type": "ACCESS_CONTROL",
        "end_timestamp": null,
        "event_id": event.id.as_str(),
        "event_info": {
            "accepted": note.accepted,
            "auxInputId": null, "auxInputName": null, "buildingId": null, "buildingName": null,
            "direction": note.direction,
            "doorId": door_id,
            "doorInfo": door.map(|door| json!({
                "accessControllerId": door.controller.id.as_str(),
                "accessControllerName": door.controller.name,
                "name": door.name,
            })),
            "entityId": door_id,
            "entityName": door.map(|door| &door.name),
            "entityType": door.map(|_| "door"),
            "eventType": if note.accepted.is_some() { "user_action" } else { "door_event" },
            "floorId": null, "floorName": null, "floors": null,
            "inputValue": note.input,
            "lockdownInfo": note.scenario.as_ref().map(|(scenario, enabled)| json!({
                "action": action(*enabled),
                "lockdown": {
                    "enabled": enabled, "lockdownId": scenario.id.as_str(),
                    "message": scenario.message, "name": scenario.name,
                },
            })),
            "message": note.method.map_or_else(|| message(event.word), str::to_owned),
            "organizationId": organisation_id,
            "rawCard": null,
            "siteId": site_id,
            "siteName": door.map(|door| &door.site.name),
            "type": event.word.strip_prefix("door_").unwrap_or(event.word),
            "userId": user_id(note),
            "userInfo": note.who.as_ref().map(|who| listed_user(who, organisation_id, switches)),
            "userName": user_name(note),
            "uuid": event.id.as_str(),
        },
        "event_type": event.word.to_ascii_uppercase(),
        "organization_id": organisation_id,
        "site_id": site_id,
        "timestamp": whole_seconds(event.at).to_string(),
    })
}

/// An event as a webhook has it (8.3, 8.4).
pub(super) fn pushed_event(
    event: &Event,
    organisation_id: &str,
    webhook_id: &str,
    created_at: Timestamp,
    switches: &Switches,
) -> Value {
    let door_id = event.door.as_ref().map(|door| door.id.as_str());
    let noted = event.note.scenario.as_ref();
    json!({
        "org_id": organisation_id,
        "webhook_type": "notification",
        "webhook_id": webhook_id,
        "created_at": created_at.as_second(),
        "data": {
            "event_id": event.id.as_str(),
            "device_id": door_id.or_else(|| noted.map(|(scenario, _)| scenario.id.as_str())),
            "created": event.at.as_second(),
            "notification_type": event.word,
            "device_type": "access_control",
            "door_id": door_id,
            "direction": event.note.direction,
            "input_value": event.note.input,
            "aux_info": null,
            "area_info": null,
            "user_info": event.note.who.as_ref().map(pushed_user),
            "lockdown_info": noted.map(|(scenario, enabled)| json!({
                "action": action(*enabled),
                "lockdown": {
                    "enabled": enabled, "lockdown_id": scenario.id.as_str(),
                    "message": scenario.message, "name": scenario.name,
                },
            })),
            "scenario_info": noted.map(|(scenario, enabled)| json!({
                "action": if *enabled { "ACTIVATE" } else { "RELEASE" },
                "scenario": {
                    "scenario_id": scenario.id.as_str(), "name": scenario.name,
                    "type": type_word(switches.scenario_types),
                },
            })),
            "door_info": event.door.as_ref().map(|shown| door(shown, switches.door_members)),
        },
    })
}

/// A person in the list of access users (10).
pub(super) fn member(person: &Person) -> Value {
    json!({
        "company_name": null,
        "department": null,
        "department_id": null,
        "email": person.email,
        "employee_id": null,
        "employee_title": null,
        "external_id": person.external_id,
        "full_name": person.full_name(),
        "has_profile_photo": false,
        "is_visitor": person.visitor,
        "profile_photo_last_updated": null,
        "user_id": person.id,
    })
}

/// A person with groups and credentials (10).
pub(super) fn user(person: &Person, groups: &[Group]) -> Value {
    let mine = groups.iter().filter(|group| person.groups.contains(&group.id));
    json!({
        "user_id": person.id,
        "external_id": person.external_id,
        "access_groups": mine.map(group).collect::<Vec<_>>(),
        "ble_unlock": false,
        "remote_unlock": true,
        "cards": [{
            "active": true,
            "card_id": null,
            "card_number": person.card_number.to_string(),
            "card_number_base36": null,
            "card_number_hex": null,
            "facility_code": FACILITY.to_string(),
            "type": "Standard 26-bit Wiegand",
        }],
        "entry_code": null,
        "start_date": null,
        "end_date": null,
        "face_credential": null,
        "has_profile_photo": false,
        "profile_photo_last_updated": null,
        "license_plates": [],
        "mfa_codes": [],
        "qr_codes": [],
    })
}

/// A group without its members (10).
pub(super) fn group(group: &Group) -> Value {
    json!({ "group_id": group.id, "name": group.name })
}

/// An access level (10); when it was written is not simulated.
pub(super) fn level(level: &Level, last_updated_at: Timestamp) -> Value {
    let minute = |time: Time| format!("{:02}:{:02}", time.hour(), time.minute());
    let events = level.schedule.iter().map(|hours| {
        json!({
            "access_schedule_event_id": hours.id,
            "weekday": day_word(hours.weekday),
            "start_time": minute(hours.start),
            "end_time": minute(hours.end),
            "door_status": "access_granted",
        })
    });
    json!({
        "access_level_id": level.id,
        "name": level.name,
        "access_groups": level.groups,
        "doors": level.doors.iter().map(DoorId::as_str).collect::<Vec<_>>(),
        "sites": level.sites.iter().map(SiteId::as_str).collect::<Vec<_>>(),
        "access_schedule_events": events.collect::<Vec<_>>(),
        "last_updated_at": last_updated_at.as_second(),
    })
}

/// An exception calendar (9.1).
pub(super) fn calendar(calendar: &Calendar) -> Value {
    let exceptions = calendar.exceptions.iter().map(|kept| exception(kept, &calendar.id));
    json!({
        "door_exception_calendar_id": calendar.id,
        "name": calendar.name,
        "doors": calendar.doors.iter().map(DoorId::as_str).collect::<Vec<_>>(),
        "exceptions": exceptions.collect::<Vec<_>>(),
        "last_updated_at": calendar.last_updated_at.as_second(),
    })
}

/// An exception in a calendar (9.1).
pub(super) fn exception(kept: &Kept, calendar_id: &str) -> Value {
    let mut members = exception_members(&kept.exception);
    members.insert("door_exception_id".to_owned(), json!(kept.id));
    members.insert("calendar_id".to_owned(), json!(calendar_id));
    Value::Object(members)
}

/// What an exception says (9.1): times come back with seconds.
pub(super) fn exception_members(exception: &Exception) -> Map<String, Value> {
    let second = |time: Time| format!("{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second());
    let shaped = json!({
        "date": exception.date.to_string(),
        "start_time": second(exception.start),
        "end_time": second(exception.end),
        "door_status": exception.status.word(),
        "all_day_default": exception.all_day_default,
        "first_person_in": exception.first_person_in,
        "first_person_in_group_ids": exception.first_person_in_groups,
        "double_badge": exception.double_badge,
        "double_badge_group_ids": exception.double_badge_groups,
        "recurrence_rule": exception.recurrence.as_ref().map(recurrence),
    });
    match shaped {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

fn recurrence(rule: &Recurrence) -> Value {
    let excluded = rule.excluded_dates.as_ref();
    json!({
        "frequency": rule.frequency.word(),
        "interval": rule.interval,
        "by_day": rule.by_day,
        "by_month": rule.by_month,
        "by_month_day": rule.by_month_day,
        "by_set_pos": rule.by_set_pos,
        "count": rule.count,
        "until": rule.until.map(|until| until.to_string()),
        "excluded_dates": excluded.map(|days| days.iter().map(ToString::to_string).collect::<Vec<_>>()),
    })
}

/// Adds unknown members and nulls, as the switches say.
pub(super) fn bend(value: &mut Value, switches: &Switches) {
    if !switches.null_members.is_empty() {
        nullify(value, &switches.null_members);
    }
    if switches.extra_members {
        extend(value);
    }
}

fn nullify(value: &mut Value, names: &[String]) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let named = names.iter().any(|wanted| wanted == "*" || wanted == name);
                if named && !KEY_MEMBERS.contains(&name.as_str()) {
                    *member = Value::Null;
                } else {
                    nullify(member, names);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| nullify(item, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn extend(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(extend);
            members.insert("member_of_next_year".to_owned(), json!({ "level": 3, "words": ["new", null] }));
        }
        Value::Array(items) => items.iter_mut().for_each(extend),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn listed_user(who: &Who, organisation_id: &str, switches: &Switches) -> Value {
    let mut user = pushed_user(who);
    let Some(members) = user.as_object_mut() else { return user };
    for name in ["email", "phone", "first_name", "last_name"] {
        members.entry(name).or_insert(Value::Null);
    }
    if switches.event_user_snake_case {
        return user;
    }
    members.insert("organizationId".to_owned(), json!(organisation_id));
    for (snake, camel) in [("user_id", "userId"), ("first_name", "firstName"), ("last_name", "lastName")] {
        if let Some(value) = members.remove(snake) {
            members.insert(camel.to_owned(), value);
        }
    }
    user
}

fn pushed_user(who: &Who) -> Value {
    match who {
        Who::Api(user_id) => json!({ "user_id": user_id, "name": "API" }),
        Who::Person(person) => json!({
            "user_id": person.id,
            "name": person.full_name(),
            "email": person.email,
            "phone": null,
            "first_name": person.first_name,
            "last_name": person.last_name,
        }),
    }
}

fn user_id(note: &Note) -> Option<&str> {
    note.who.as_ref().map(|who| match who {
        Who::Api(user_id) => user_id.as_str(),
        Who::Person(person) => person.id.as_str(),
    })
}

fn user_name(note: &Note) -> Option<String> {
    note.who.as_ref().map(|who| match who {
        Who::Api(_) => "API".to_owned(),
        Who::Person(person) => person.full_name(),
    })
}

const fn action(enabled: bool) -> &'static str {
    if enabled { "enabled" } else { "disabled" }
}

/// The short English text of an event: `door_keycard_entered_accepted` is `Keycard Entered`, `door_opened` is
/// `Door Opened`.
fn message(word: &str) -> String {
    let bare = word.strip_suffix("_accepted").or_else(|| word.strip_suffix("_rejected"));
    let bare = bare.map_or(word, |bare| bare.strip_prefix("door_").unwrap_or(bare));
    let capital = |part: &str| {
        let mut letters = part.chars();
        letters
            .next()
            .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
            .unwrap_or_default()
    };
    bare.split('_').map(capital).collect::<Vec<_>>().join(" ")
}

/// The vendor gives whole seconds (7.2).
pub(super) fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_the_vendors_texts() {
        assert_eq!(message("door_keycard_entered_rejected"), "Keycard Entered");
        assert_eq!(message("door_opened"), "Door Opened");
        assert_eq!(message("door_held_open"), "Door Held Open");
        assert_eq!(message("door_remote_unlock_accepted"), "Remote Unlock");
    }

    #[test]
    fn nulls_spare_the_keys_and_extras_reach_every_object() {
        let body = json!({ "doors": [{ "door_id": "a", "name": "n", "site": { "name": "s" } }] });
        let star = Switches { null_members: vec!["*".to_owned()], ..Switches::default() };
        let mut bent = body.clone();
        bend(&mut bent, &star);
        assert_eq!(bent, json!({ "doors": [{ "door_id": "a", "name": null, "site": null }] }));
        let name = Switches { null_members: vec!["name".to_owned()], ..Switches::default() };
        let mut bent = body.clone();
        bend(&mut bent, &name);
        assert_eq!(bent, json!({ "doors": [{ "door_id": "a", "name": null, "site": { "name": null } }] }));
        let mut bent = body;
        bend(&mut bent, &Switches { extra_members: true, ..Switches::default() });
        assert_eq!(bent.to_string().matches("member_of_next_year").count(), 3);
    }
}
