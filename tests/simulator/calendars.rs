//! Exception calendars over the API: shapes, rules, rights, switches, the ledger and faults.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp, ToSpan, tz::TimeZone};
use serde_json::{Value, json};
use verkada2mqtt::{
    model::DoorId,
    simulator::{
        calendar::{DoorStatus, Exception},
        fault::{Cut, Effect, ErrorBody, Fault, Moment},
        ledger::{Change, Changed, Endpoint},
        switches::{DoorToggleOff, ExceptionOverlap, ExceptionStarted, KeyScope, Put, UnknownDoor},
        world::calendars::Content,
    },
};

use crate::rig::{Rig, quick};

pub(crate) const CALENDARS: &str = "/access/v1/door/exception_calendar";

/// Makes a calendar and returns its id.
pub(crate) async fn create(rig: &Rig, body: &Value) -> String {
    let answer = rig.post(CALENDARS, body).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer.json()["door_exception_calendar_id"].as_str().unwrap().to_owned()
}

/// An exception far ahead.
fn ahead(start: &str, end: &str) -> Value {
    json!({ "date": "2030-09-20", "start_time": start, "end_time": end, "door_status": "unlocked" })
}

async fn calendar(rig: &Rig, id: &str) -> Value {
    rig.get(&format!("{CALENDARS}/{id}")).await.json()
}

fn ids(calendar: &Value) -> Vec<String> {
    let exceptions = calendar["exceptions"].as_array().unwrap().iter();
    exceptions.map(|one| one["door_exception_id"].as_str().unwrap().to_owned()).collect()
}

fn change(calendar: &str, exception: Option<&str>, what: Changed) -> Change {
    Change { calendar: calendar.to_owned(), exception: exception.map(str::to_owned), what }
}

#[tokio::test]
async fn a_calendar_lives_from_its_making_to_its_end_and_the_ledger_knows() {
    let rig = Rig::start(quick()).await;
    let door = rig.front();
    let made = rig.post(CALENDARS, &json!({ "name": "verkada2mqtt", "doors": [door] })).await.json();
    let id = made["door_exception_calendar_id"].as_str().unwrap();
    assert_eq!((&made["doors"], &made["exceptions"]), (&json!([door]), &json!([])));
    assert_eq!(rig.last_entry().changes, [change(id, None, Changed::Created)]);
    let path = format!("{CALENDARS}/{id}");
    let added = rig.post(&format!("{path}/exception"), &ahead("09:00", "12:00")).await.json();
    let one = added["door_exception_id"].as_str().unwrap();
    let whole = json!({
        "door_exception_id": one, "calendar_id": id, "date": "2030-09-20",
        "start_time": "09:00:00", "end_time": "12:00:00", "door_status": "unlocked",
        "all_day_default": false, "first_person_in": false, "first_person_in_group_ids": [],
        "double_badge": false, "double_badge_group_ids": [], "recurrence_rule": null,
    });
    assert_eq!(added, whole);
    let entry = rig.last_entry();
    assert_eq!(
        (entry.endpoint, entry.target.as_deref(), entry.executed, entry.changes),
        (Endpoint::CreateException, Some(id), true, vec![change(id, Some(one), Changed::Created)])
    );
    let one_path = format!("{path}/exception/{one}");
    assert_eq!(rig.get(&one_path).await.json(), whole);
    let longer = rig.call("PUT", &one_path, &ahead("09:00", "13:30")).await.json();
    assert_eq!(longer["end_time"], "13:30:00");
    assert_eq!(rig.last_entry().changes, [change(id, Some(one), Changed::Changed)]);
    let list = rig.get(CALENDARS).await.json();
    assert_eq!(list["door_exception_calendars"], json!([calendar(&rig, id).await]));
    assert!(!rig.last_entry().executed, "a read changes nothing");
    let updated = list["door_exception_calendars"][0]["last_updated_at"].as_i64().unwrap();
    for (after, count) in [(updated - 1, 1), (updated, 0)] {
        let list = rig.get(&format!("{CALENDARS}?last_updated_after={after}")).await.json();
        assert_eq!(list["door_exception_calendars"].as_array().unwrap().len(), count);
    }
    assert_eq!(rig.call("DELETE", &one_path, &Value::Null).await.json(), json!({}));
    assert_eq!(rig.last_entry().changes, [change(id, Some(one), Changed::Deleted)]);
    assert_eq!(rig.get(&one_path).await.status, 404);
    assert_eq!(rig.call("DELETE", &path, &Value::Null).await.json(), json!({}));
    assert_eq!(rig.last_entry().changes, [change(id, None, Changed::Deleted)]);
    for (method, path) in
        [("GET", &path), ("DELETE", &path), ("PUT", &path), ("PUT", &one_path), ("DELETE", &one_path)]
    {
        assert_eq!(rig.call(method, path, &Value::Null).await.status, 404, "{method} {path}");
        assert!(!rig.last_entry().executed);
    }
}

#[tokio::test]
async fn a_calendar_is_written_whole_with_old_and_new_exceptions() {
    let rig = Rig::start(quick()).await;
    let door = rig.front();
    let body = json!({ "name": "n", "doors": [door], "exceptions": [ahead("09:00", "10:00"), ahead("11:00", "12:00")] });
    let id = create(&rig, &body).await;
    let before = calendar(&rig, &id).await;
    let old = ids(&before);
    let mut kept = ahead("09:00", "10:30");
    kept["door_exception_id"] = json!(old[0]);
    kept["calendar_id"] = json!(id);
    let body = json!({ "name": "m", "doors": [door], "exceptions": [kept, ahead("14:00", "15:00")] });
    let after = rig.call("PUT", &format!("{CALENDARS}/{id}"), &body).await.json();
    let new = ids(&after);
    assert_eq!((after["name"].as_str(), &new[0], new.len()), (Some("m"), &old[0], 2));
    assert_eq!(
        rig.last_entry().changes,
        [
            change(&id, None, Changed::Changed),
            change(&id, Some(&old[0]), Changed::Changed),
            change(&id, Some(&new[1]), Changed::Created),
            change(&id, Some(&old[1]), Changed::Deleted),
        ]
    );
    assert_eq!(calendar(&rig, &id).await, after);
    for (member, value, told) in [
        ("door_exception_id", json!("none"), (404, "Not found")),
        ("calendar_id", json!("another"), (400, "calendar_id names another one")),
    ] {
        let mut wrong = kept_of(&after);
        wrong[member] = value;
        let body = json!({ "name": "m", "doors": [door], "exceptions": [wrong] });
        let answer = rig.call("PUT", &format!("{CALENDARS}/{id}"), &body).await;
        assert_eq!(answer.message(), (told.0, told.1.to_owned()));
    }
    assert_eq!(calendar(&rig, &id).await, after, "what was refused changed nothing");
}

/// The first exception of a calendar, as it is sent back.
fn kept_of(calendar: &Value) -> Value {
    calendar["exceptions"][0].clone()
}

#[tokio::test]
async fn bodies_that_break_a_rule_are_refused_and_the_rule_is_named() {
    let rig = Rig::start(quick()).await;
    let door = rig.front();
    let id = create(&rig, &json!({ "name": "n", "doors": [door] })).await;
    let path = format!("{CALENDARS}/{id}");
    let with = |name: &str, value: Value| {
        let mut body = ahead("09:00", "10:00");
        body[name] = value;
        body
    };
    let one = format!("{path}/exception");
    for (method, path, body, told) in [
        ("POST", CALENDARS, json!({}), "name is required"),
        ("POST", CALENDARS, json!({ "name": "" }), "name is required"),
        ("POST", CALENDARS, json!([]), "the body must be a JSON object"),
        ("POST", CALENDARS, json!({ "name": "n", "doors": door }), "doors must be a list"),
        (
            "POST",
            CALENDARS,
            json!({ "name": "n", "exceptions": [5] }),
            "exceptions must be a list of objects",
        ),
        ("PUT", &path, json!({ "doors": [door] }), "name is required"),
        ("POST", &one, with("date", json!("2030-02-30")), "date must be a date as YYYY-MM-DD"),
        ("POST", &one, with("end_time", json!("08:00")), "end_time must be after start_time"),
        (
            "POST",
            &one,
            with("door_exception_id", json!("x")),
            "a new exception has no door_exception_id and no calendar_id",
        ),
        (
            "POST",
            &one,
            with("recurrence_rule", json!({ "frequency": "WEEKLY", "interval": 1, "by_day": ["MO"] })),
            "by_day must include the weekday of date",
        ),
    ] {
        assert_eq!(rig.call(method, path, &body).await.message(), (400, told.to_owned()));
        assert_eq!((rig.last_entry().executed, rig.last_entry().changes), (false, vec![]));
    }
    for position in UnknownDoor::ALL {
        rig.switch(|switches| switches.unknown_door = *position);
        let answer = rig.post(CALENDARS, &json!({ "name": "n", "doors": ["none"] })).await;
        assert_eq!(answer.status, position.status());
    }
    assert_eq!(rig.world.calendars().len(), 1);
}

#[tokio::test]
async fn every_door_needs_its_toggle_and_the_key_its_sites() {
    let rig = Rig::start(quick()).await;
    let (front, server_room) = (rig.front(), rig.door("Heron Mill", "Server Room"));
    let id = create(&rig, &json!({ "name": "n", "doors": [front], "exceptions": [ahead("09:00", "10:00")] }))
        .await;
    let one = ids(&calendar(&rig, &id).await).remove(0);
    let path = format!("{CALENDARS}/{id}");
    let both = json!({ "name": "n", "doors": [front, server_room] });
    let every: [(&str, &str, Value); 7] = [
        ("GET", &path, Value::Null),
        ("PUT", &path, json!({ "name": "n" })),
        ("POST", &format!("{path}/exception"), ahead("11:00", "12:00")),
        ("GET", &format!("{path}/exception/{one}"), Value::Null),
        ("PUT", &format!("{path}/exception/{one}"), ahead("11:00", "12:00")),
        ("DELETE", &format!("{path}/exception/{one}"), Value::Null),
        ("DELETE", &path, Value::Null),
    ];
    for position in DoorToggleOff::ALL {
        rig.switch(|switches| switches.door_toggle_off = *position);
        let told = (position.status(), "Door is not enabled for management via API".to_owned());
        assert_eq!(rig.post(CALENDARS, &both).await.message(), told);
        assert_eq!(rig.call("PUT", &path, &both).await.message(), told);
        rig.world.edit_door(&front.parse().unwrap(), |door| door.api_control = false).unwrap();
        for (method, path, body) in &every {
            assert_eq!(rig.call(method, path, body).await.message(), told, "{method} {path}");
        }
        assert_eq!(rig.get(CALENDARS).await.json(), json!({ "door_exception_calendars": [] }));
        rig.world.edit_door(&front.parse().unwrap(), |door| door.api_control = true).unwrap();
        rig.switch(|switches| switches.door_control = false);
        assert_eq!(rig.get(CALENDARS).await.message(), told);
        rig.switch(|switches| switches.door_control = true);
    }
    let site = |name: &str| {
        rig.world.doors().iter().find(|door| door.site.name == name).unwrap().site.id.to_string()
    };
    let refused = (403, "Insufficient permissions".to_owned());
    for (sites, listed, status) in
        [(vec![site("Heron Mill")], 1, 200), (vec![site("Tern Yard")], 0, 200), (Vec::new(), 0, 403)]
    {
        let mine = sites.contains(&site("Heron Mill"));
        rig.switch(|switches| switches.managed_sites = Some(sites));
        let list = rig.get(CALENDARS).await;
        assert_eq!(list.status, status);
        let count = list.json()["door_exception_calendars"].as_array().map_or(0, Vec::len);
        assert_eq!(count, listed);
        if !mine {
            for (method, path, body) in &every {
                assert_eq!(rig.call(method, path, body).await.message(), refused, "{method} {path}");
            }
        }
        let yard = json!({ "name": "n", "doors": [front, rig.door("Tern Yard", "Front Door")] });
        assert_eq!(rig.post(CALENDARS, &yard).await.message(), refused, "one site is not enough");
    }
    rig.switch(|switches| (switches.managed_sites, switches.key_scope) = (None, KeyScope::ReadOnly));
    assert_eq!(rig.get(&path).await.status, 200);
    assert_eq!(rig.post(CALENDARS, &json!({ "name": "n" })).await.status, 401);
    let writes = rig.world.ledger().into_iter().filter(|entry| entry.executed);
    assert_eq!(writes.count(), 1, "the making of the calendar");
}

#[tokio::test]
async fn a_put_empties_or_keeps_what_it_leaves_out() {
    for (left_out, none, expected) in [
        (Put::Emptied, Put::Emptied, [(0, 0), (1, 0)]),
        (Put::Emptied, Put::Kept, [(0, 0), (1, 1)]),
        (Put::Kept, Put::Emptied, [(1, 1), (1, 0)]),
        (Put::Kept, Put::Kept, [(1, 1), (1, 1)]),
    ] {
        let rig = Rig::start(quick()).await;
        rig.switch(|switches| (switches.put_left_out, switches.put_no_exceptions) = (left_out, none));
        let door = rig.front();
        for (body, expected) in [
            (json!({ "name": "n" }), expected[0]),
            (json!({ "name": "n", "doors": [door], "exceptions": [] }), expected[1]),
        ] {
            let whole = json!({ "name": "n", "doors": [door], "exceptions": [ahead("09:00", "10:00")] });
            let id = create(&rig, &whole).await;
            let after = rig.call("PUT", &format!("{CALENDARS}/{id}"), &body).await.json();
            let length = |name: &str| after[name].as_array().unwrap().len();
            assert_eq!((length("doors"), length("exceptions")), expected, "{left_out:?} {none:?} {body}");
        }
    }
}

#[tokio::test]
async fn a_put_of_an_exception_empties_or_keeps_what_it_leaves_out() {
    let rule = json!({ "frequency": "DAILY", "interval": 1, "count": 3, "by_day": null, "by_month": null,
        "by_month_day": null, "by_set_pos": null, "until": null, "excluded_dates": null });
    for (position, expected) in [(Put::Emptied, Value::Null), (Put::Kept, rule.clone())] {
        let rig = Rig::start(quick()).await;
        rig.switch(|switches| switches.put_left_out = position);
        let mut whole = ahead("09:00", "10:00");
        whole["recurrence_rule"] = rule.clone();
        let id = create(&rig, &json!({ "name": "n", "doors": [rig.front()], "exceptions": [whole] })).await;
        let one = ids(&calendar(&rig, &id).await).remove(0);
        let path = format!("{CALENDARS}/{id}/exception/{one}");
        let after = rig.call("PUT", &path, &ahead("09:00", "11:00")).await.json();
        assert_eq!((&after["end_time"], &after["recurrence_rule"]), (&json!("11:00:00"), &expected));
        let end_alone = rig.call("PUT", &path, &json!({ "end_time": "12:00" })).await;
        assert_eq!(end_alone.status, if position == Put::Kept { 200 } else { 400 }, "{position:?}");
        let all_day =
            json!({ "all_day_default": true, "date": "2030-09-20", "door_status": "access_controlled" });
        let after = rig.call("PUT", &path, &all_day).await.json();
        assert_eq!((&after["start_time"], &after["end_time"]), (&json!("00:00:00"), &json!("23:59:59")));
    }
}

#[tokio::test]
async fn refusals_of_the_switches_come_as_400_over_the_api() {
    let rig = Rig::start(quick()).await;
    let id = create(&rig, &json!({ "name": "n", "doors": [rig.front()] })).await;
    let path = format!("{CALENDARS}/{id}/exception");
    let mut past = ahead("09:00", "10:00");
    past["date"] = json!("2020-01-01");
    for position in ExceptionStarted::ALL {
        rig.switch(|switches| switches.exception_started = *position);
        let refused = *position == ExceptionStarted::Refused;
        assert_eq!(rig.post(&path, &past).await.status, if refused { 400 } else { 200 }, "{position:?}");
    }
    rig.post(&path, &ahead("09:00", "10:00")).await;
    for (position, status) in [(ExceptionOverlap::Taken, 200), (ExceptionOverlap::Refused, 400)] {
        rig.switch(|switches| switches.exception_overlap = position);
        assert_eq!(rig.post(&path, &ahead("09:30", "10:30")).await.status, status, "{position:?}");
    }
}

#[tokio::test]
async fn reads_over_the_api_lag_as_the_switch_says() {
    let rig = Rig::start(quick()).await;
    let id = create(&rig, &json!({ "name": "old", "doors": [rig.front()] })).await;
    rig.switch(|switches| switches.calendar_state_delay_ms = 60_000);
    let path = format!("{CALENDARS}/{id}");
    let answer = rig.call("PUT", &path, &json!({ "name": "new" })).await.json();
    assert_eq!((&answer["name"], &calendar(&rig, &id).await["name"]), (&json!("new"), &json!("old")));
    assert_eq!(rig.get(CALENDARS).await.json()["door_exception_calendars"][0]["name"], "old");
    let made = create(&rig, &json!({ "name": "another" })).await;
    assert_eq!(rig.get(&format!("{CALENDARS}/{made}")).await.status, 404);
    assert_eq!(rig.world.calendars().len(), 2);
}

/// A span in the time zone of the door, from the minute that runs.
fn from_now(minutes: i64) -> (Timestamp, Timestamp, Value) {
    let zone = TimeZone::get("Europe/Amsterdam").unwrap();
    let now = verkada2mqtt::clock::now().utc;
    let start = Timestamp::from_second(now.as_second() / 60 * 60).unwrap();
    let end = start + SignedDuration::from_mins(minutes);
    let (from, until) = (zone.to_datetime(start), zone.to_datetime(end));
    let part = |date: &jiff::civil::Date, from: &str, until: &str| json!({ "date": date.to_string(), "start_time": from, "end_time": until, "door_status": "unlocked" });
    let text = |at: jiff::civil::DateTime| at.strftime("%H:%M").to_string();
    let parts = if from.date() == until.date() {
        json!([part(&from.date(), &text(from), &text(until))])
    } else if text(until) == "00:00" {
        json!([part(&from.date(), &text(from), "23:59")])
    } else {
        json!([part(&from.date(), &text(from), "23:59"), part(&until.date(), "00:00", &text(until))])
    };
    (now, end, parts)
}

#[tokio::test]
async fn a_hold_frees_the_door_at_once_and_for_as_long_as_it_says() {
    let rig = Rig::start(quick()).await;
    let (door, yard) = (rig.front(), rig.door("Tern Yard", "Front Door"));
    let id: DoorId = door.parse().unwrap();
    let (before, end, exceptions) = from_now(30);
    let made = create(&rig, &json!({ "name": "hold", "doors": [door], "exceptions": exceptions })).await;
    let state = rig.world.door_state(&id).unwrap();
    assert_eq!((state.locked, state.exception), (false, Some(DoorStatus::Unlocked)));
    let free = rig.world.free(&id, before, end + 1.hour()).unwrap();
    assert_eq!(free.len(), 1);
    assert!(free[0].from >= before && free[0].until == end, "{free:?}");
    assert!(!rig.world.is_free(&id, before - 1.minute()).unwrap());
    assert!(rig.world.is_free(&id, end - 1.second()).unwrap());
    assert!(!rig.world.is_free(&id, end).unwrap());
    assert!(!rig.world.is_free(&yard.parse().unwrap(), end - 1.second()).unwrap());
    let words: Vec<_> = rig.world.events().iter().map(|event| event.word).collect();
    assert_eq!(words, ["door_schedule_toggle", "door_unlocked"]);
    let listed = rig.get("/events/v1/access?event_type=door_schedule_toggle").await.json();
    assert_eq!(listed["events"][0]["device_id"], door.as_str());
    rig.call("DELETE", &format!("{CALENDARS}/{made}"), &Value::Null).await;
    assert!(rig.world.door_state(&id).unwrap().locked);
    assert!(!rig.world.is_free(&id, end - 1.second()).unwrap());
    let unlocked = rig.world.unlocked(&id).unwrap();
    assert_eq!((unlocked.len(), unlocked[0].until.is_some()), (1, true));
}

#[tokio::test]
async fn the_control_paths_tell_when_a_door_is_free_and_show_the_calendars() {
    let rig = Rig::start(quick()).await;
    let door = rig.front();
    let (_, end, exceptions) = from_now(30);
    create(&rig, &json!({ "name": "hold", "doors": [door], "exceptions": exceptions })).await;
    let told = rig.control("GET", &format!("door/{door}/free"), "").await.json();
    assert_eq!((&told["free"][0]["until"], told["free"].as_array().unwrap().len()), (&json!(end), 1));
    assert_eq!(
        (&told["unlocked"][0]["by"], &told["unlocked"][0]["until"]),
        (&json!("exception"), &Value::Null)
    );
    let span = format!("door/{door}/free?from={}&until={}", end, end + 1.hour());
    assert_eq!(rig.control("GET", &span, "").await.json()["free"], json!([]));
    let shown = rig.control("GET", "calendars", "").await.json();
    assert_eq!(shown["calendars"][0]["name"], "hold");
    let ledger = rig.control("GET", "ledger", "").await.json();
    assert_eq!(ledger["entries"][1]["changes"][0]["what"], "created");
}

#[tokio::test]
async fn writes_at_the_console_are_no_requests_and_take_effect() {
    let rig = Rig::start(quick()).await;
    let door: DoorId = rig.front().parse().unwrap();
    let day = jiff::civil::date(2030, 12, 25);
    let time = |hour| jiff::civil::time(hour, 0, 0, 0);
    let exceptions = vec![(None, Exception::once(DoorStatus::Locked, day, time(8), time(18)))];
    let content = Content { name: "Holidays".to_owned(), doors: vec![door], exceptions };
    let asked = rig.world.ledger().len();
    let made = rig.world.write_calendar(None, content.clone()).unwrap();
    assert_eq!(rig.world.ledger().len(), asked);
    assert_eq!(calendar(&rig, &made.id).await["exceptions"][0]["date"], "2030-12-25");
    let renamed = Content { name: "Days off".to_owned(), ..made.content() };
    rig.world.write_calendar(Some(&made.id), renamed).unwrap();
    assert_eq!(calendar(&rig, &made.id).await["name"], "Days off");
    rig.world.delete_calendar(&made.id);
    assert_eq!(rig.get(&format!("{CALENDARS}/{}", made.id)).await.status, 404);
}

#[tokio::test]
async fn the_ledger_shows_that_no_foreign_calendar_was_touched() {
    let rig = Rig::start(quick()).await;
    let foreign = Content { name: "Holidays".to_owned(), doors: Vec::new(), exceptions: Vec::new() };
    let foreign = rig.world.write_calendar(None, foreign).unwrap();
    let own = create(&rig, &json!({ "name": "own", "exceptions": [ahead("09:00", "10:00")] })).await;
    rig.call("PUT", &format!("{CALENDARS}/{own}"), &json!({ "name": "own" })).await;
    let touched = |rig: &Rig| {
        let entries = rig.world.ledger().into_iter();
        entries.flat_map(|entry| entry.changes).map(|change| change.calendar).collect::<BTreeSet<_>>()
    };
    assert_eq!(touched(&rig), BTreeSet::from([own.clone()]));
    rig.call("PUT", &format!("{CALENDARS}/{}", foreign.id), &json!({ "name": "mine" })).await;
    assert_eq!(touched(&rig), BTreeSet::from([own, foreign.id.clone()]));
}

#[tokio::test]
async fn faults_strike_the_new_paths_as_the_others() {
    for (effect, executed, answered) in [
        (Effect::Cut { moment: Cut::BeforeRead }, false, None),
        (Effect::Cut { moment: Cut::AfterRead }, false, None),
        (Effect::Cut { moment: Cut::AfterExecute }, true, None),
        (Effect::Delay { milliseconds: 20, moment: Moment::AfterExecute }, true, Some(200)),
        (Effect::Status { status: 503, body: ErrorBody::Html, retry_after: None }, false, Some(503)),
    ] {
        let rig = Rig::start(quick()).await;
        let id = create(&rig, &json!({ "name": "n", "doors": [rig.front()] })).await;
        let one = format!("{CALENDARS}/{id}/exception");
        rig.world.inject(Fault::once(Endpoint::CreateException, effect.clone())).unwrap();
        let auth = [("x-verkada-auth", rig.token.as_str())];
        let answer = rig.raw("POST", &one, &auth, &ahead("09:00", "10:00").to_string()).await;
        assert_eq!(answer.ok().map(|answer| answer.status), answered, "{effect:?}");
        let entry = rig.last_entry();
        assert_eq!(
            (entry.endpoint, entry.executed, entry.fault),
            (Endpoint::CreateException, executed, Some(effect.word()))
        );
        assert_eq!(entry.changes.len(), usize::from(executed), "{effect:?}");
        assert_eq!(rig.world.calendars()[0].exceptions.len(), usize::from(executed), "{effect:?}");
        assert_eq!(rig.post(&one, &ahead("11:00", "12:00")).await.status, 200, "the next one passes");
    }
    for endpoint in [
        "calendars",
        "calendar",
        "update_calendar",
        "delete_calendar",
        "create_calendar",
        "exception",
        "update_exception",
        "delete_exception",
        "access_levels",
        "access_level",
    ] {
        let fault = json!({ "endpoint": endpoint, "effect": { "status": { "status": 500 } } }).to_string();
        let rig = Rig::start(quick()).await;
        assert_eq!(rig.control("POST", "fault", &fault).await.status, 200, "{endpoint}");
    }
}
