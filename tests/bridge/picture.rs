//! The picture for people who look: nothing without them, all of it once, then what changes, and never an old state as true.

use jiff::Timestamp;
use serde_json::{Value, json};
use verkada2mqtt::{
    bridge::{Change, DoorRow, ScenarioRow},
    hass::Style,
    model::{EventKind, Fault, LinkEvent, Outcome},
};

use crate::{
    bench::{Bench, door, event, secs, settings, trace, unlocked},
    staleness::pass,
};

/// What is new, as JSON.
fn news(bench: &mut Bench) -> Vec<Value> {
    let now = bench.now;
    std::iter::from_fn(|| bench.bridge.next_change(now))
        .map(|change| match change {
            Change::Door(row) => json!({ "door": row }),
            Change::Scenario(row) => json!({ "scenario": row }),
            Change::Gone(target) => json!({ "gone": target.path() }),
        })
        .collect()
}

/// The ids of what is new.
fn ids(bench: &mut Bench) -> Vec<String> {
    let id = |change: &Value| {
        let row = ["door", "scenario"].iter().find_map(|kind| change.get(kind));
        row.map_or_else(|| change["gone"].clone(), |row| row["id"].clone()).as_str().unwrap().to_owned()
    };
    news(bench).iter().map(id).collect()
}

fn door_row(at: Timestamp) -> DoorRow {
    DoorRow {
        id: "d-1".parse().unwrap(),
        name: "Front Door".to_owned(),
        site: Some("HQ".to_owned()),
        state: "locked",
        source: "event",
        at: Some(at),
        relock_due: None,
        position: None,
        problems: vec![],
        unavailable: None,
    }
}

#[test]
fn nothing_is_made_while_nobody_looks_and_all_of_it_once_when_somebody_does() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.doors = vec![door("d-1", "Front Door"), door("d-2", "Back Door")];
    });
    assert!(news(&mut bench).is_empty());
    let at = bench.now.utc;
    bench.events.push(event("e-1", EventKind::Locked, "d-1", at));
    bench.run(secs(5));
    assert!(news(&mut bench).is_empty(), "nobody looks");
    bench.bridge.begin_picture();
    let scenario = ScenarioRow {
        id: "s-1".parse().unwrap(),
        name: "Lockdown".to_owned(),
        kind: Some("lockdown".to_owned()),
        state: "inactive",
        since: None,
        doors: 1,
        confirmed: None,
        unavailable: None,
    };
    let unknown = DoorRow {
        id: "d-2".parse().unwrap(),
        name: "Back Door".to_owned(),
        state: "unknown",
        source: "none",
        at: None,
        ..door_row(at)
    };
    let rows = [json!({ "scenario": scenario }), json!({ "door": door_row(at) }), json!({ "door": unknown })];
    assert_eq!(news(&mut bench), rows);
    bench.run(secs(20));
    assert!(news(&mut bench).is_empty(), "readings that change nothing are no news");
    bench.events.push(event("e-2", EventKind::HeldOpen, "d-2", bench.now.utc));
    bench.run(secs(5));
    let changed = news(&mut bench);
    assert_eq!((changed.len(), &changed[0]["door"]["problems"]), (1, &json!(["held_open"])));
    bench.bridge.end_picture();
    bench.events.push(event("e-3", EventKind::Closed, "d-2", bench.now.utc));
    bench.run(secs(5));
    assert!(news(&mut bench).is_empty(), "nobody looks any more");
    bench.take_log();
}

#[test]
fn what_comes_and_goes_meanwhile_is_told() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.doors = vec![door("d-1", "Front Door"), door("d-2", "Back Door")];
    });
    bench.bridge.begin_picture();
    let now = bench.now;
    // Somewhere on the way through all rows.
    bench.bridge.next_change(now);
    bench.doors.pop();
    bench.doors.push(door("d-3", "Side Door"));
    bench.run(secs(3_600));
    let seen = ids(&mut bench);
    assert!(seen.contains(&"door/d-2".to_owned()) && !seen.contains(&"d-2".to_owned()), "{seen:?}");
    assert!(seen.contains(&"d-3".to_owned()) && seen.contains(&"d-1".to_owned()), "{seen:?}");
    bench.take_log();
}

/// A new configuration begins the picture anew, and those who look go on looking.
#[test]
fn who_went_right_before_a_new_beginning_is_told() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.doors = vec![door("d-1", "Front Door"), door("d-2", "Back Door")];
    });
    bench.bridge.begin_picture();
    ids(&mut bench);
    bench.doors.pop();
    bench.run(secs(3_600));
    bench.bridge.begin_picture();
    let seen = ids(&mut bench);
    assert!(seen.contains(&"door/d-2".to_owned()), "{seen:?}");
    bench.take_log();
}

#[test]
fn what_is_not_read_any_more_is_unknown_and_a_broker_that_is_away_hides_nothing() {
    let mut bench = Bench::settled();
    for (id, kind) in [("e-1", EventKind::Locked), ("e-2", EventKind::HeldOpen)] {
        bench.events.push(event(id, kind, "d-1", bench.now.utc));
    }
    bench.run(secs(5));
    bench.bridge.begin_picture();
    let shown = news(&mut bench);
    assert!(shown.iter().any(|row| row["door"]["problems"] == json!(["held_open"])), "{shown:?}");
    bench.link(LinkEvent::Down("cut".to_owned()));
    bench.run(secs(30));
    let states = |news: &[Value]| -> Vec<(Value, Value)> {
        let rows = news.iter().filter_map(|change| change.get("door").or_else(|| change.get("scenario")));
        rows.map(|row| (row["state"].clone(), row["unavailable"].clone())).collect()
    };
    for (state, unavailable) in states(&news(&mut bench)) {
        assert!(state == "locked" || state == "inactive", "{state}");
        assert_eq!(unavailable, Value::Null);
    }
    bench.bridge.begin_picture();
    pass(&mut bench, secs(90), &["doors", "scenarios", "events"], &Fault::Unclear(trace()));
    let rows = news(&mut bench);
    assert!(rows.iter().all(|row| row["door"]["problems"].as_array().is_none_or(Vec::is_empty)), "{rows:?}");
    let shown = states(&rows);
    let why = json!(format!("the Verkada API does not serve: {}", trace().text));
    assert_eq!(shown, [(json!("unknown"), why.clone()), (json!("unknown"), why)]);
    assert_eq!(bench.bridge.overview(bench.now).vendor, Some(false));
    assert_eq!(bench.bridge.overview(bench.now).problems[0].kind, "api_unreachable");
    bench.take_log();
}

#[test]
fn the_last_commands_are_told_without_those_who_sent_them() {
    let mut bench = Bench::settled();
    bench.command("door/d-1", r#"{"action": "unlock", "id": "u-1", "by": "Ada Example"}"#);
    let row = |bench: &Bench| bench.bridge.last_commands()[0].clone();
    assert_eq!((row(&bench).outcome, row(&bench).name.as_deref()), ("accepted", Some("Front Door")));
    bench.answer("unlock d-1", Ok(unlocked(Some(5))));
    let ended = row(&bench);
    assert_eq!((ended.outcome, ended.action, ended.reason), (Outcome::Done.word(), Some("unlock"), None));
    assert!(ended.finished.is_some());
    bench.command("door/d-9", "UNLOCK");
    let commands = bench.bridge.last_commands();
    assert_eq!((commands.len(), commands[0].target.as_str()), (2, "door/d-9"));
    assert_eq!((commands[0].name.as_deref(), commands[0].reason), (None, Some("unknown_target")));
    assert!(commands[0].meaning.unwrap().contains("knows no door"));
    let all = serde_json::to_string(&commands).unwrap();
    assert!(!all.contains("Ada"), "{all}");
    bench.take_log();
}

#[test]
fn readiness_is_told_in_the_words_of_its_sensor() {
    let bench = Bench::settled();
    let text = bench.held("bridge/lockdown_ready_attributes").unwrap();
    let sensor: Value = serde_json::from_str(&text).unwrap();
    let shown = serde_json::to_value(bench.bridge.overview(bench.now)).unwrap();
    assert_eq!(shown["missing"], sensor["missing"]);
    let words = |checks: &Value| -> Vec<[Value; 3]> {
        let checks = checks.as_array().unwrap().iter();
        checks.map(|check| ["name", "ok", "text"].map(|member| check[member].clone())).collect()
    };
    assert_eq!(words(&shown["checks"]), words(&sensor["checks"]));
    assert_eq!(words(&shown["checks"]).len(), 11);
}
