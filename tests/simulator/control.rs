//! The paths under `/simulator/`, and the people.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;
use verkada2mqtt::simulator::{Settings, organisation::Organisation, people, start, switches::Switches};

use crate::rig::{KEY, Rig, quick};

#[tokio::test]
async fn flows_make_doors_and_scenarios_move() {
    let rig = Rig::start(quick()).await;
    let (door, lockdown) = (rig.front(), rig.scenario("Lockdown Heron Mill"));
    let person = &rig.world.people()[0].id;
    let steps = [
        (format!("door/{door}/badge?user_id={person}"), json!(false), json!(false)),
        (format!("door/{door}/open"), json!(true), json!(true)),
        (format!("door/{door}/close"), json!(true), json!(false)),
        (format!("door/{door}/force"), json!(true), json!(true)),
        (format!("door/{door}/close"), json!(true), json!(false)),
        (format!("door/{door}/exit"), json!(false), json!(false)),
    ];
    for (path, locked, open) in steps {
        let answer = rig.control("POST", &path, "").await;
        let state = &answer.json()["state"];
        assert_eq!((answer.status, &state["locked"], &state["open"]), (200, &locked, &open), "{path}");
    }
    for (path, key, value) in [
        (format!("door/{door}/offline"), "online", false),
        (format!("door/{door}/online"), "online", true),
        (format!("door/{door}/schedule"), "free_by_schedule", true),
    ] {
        assert_eq!(rig.control("POST", &path, "").await.json()["state"][key], value, "{path}");
    }
    assert_eq!(rig.control("POST", &format!("door/{door}/badge"), "").await.json()["verdict"], "rejected");
    rig.control("POST", &format!("door/{door}/toggle_off"), "").await;
    assert_eq!(rig.unlock(&door).await.status, 403);
    let begun = rig.control("POST", &format!("scenario/{lockdown}/activate"), "").await.json();
    assert_eq!(begun, json!({ "active": true, "changed": true }));
    let state = rig.control("GET", "state", "").await.json();
    let active = state["scenarios"].as_array().unwrap().iter().filter(|scenario| scenario["active"] == true);
    assert_eq!((state["doors"].as_array().unwrap().len(), active.count()), (6, 1));
    rig.control("POST", &format!("door/{door}/remove"), "").await;
    assert_eq!(rig.world.doors().len(), 5);
    let ledger = rig.control("GET", "ledger", "").await.json();
    assert_eq!(ledger["entries"][0]["endpoint"], "token");
}

#[tokio::test]
async fn switches_and_faults_are_set_over_http() {
    let rig = Rig::start(quick()).await;
    let changed = rig.control("POST", "switches", r#"{"scenario_control": false}"#).await.json();
    assert_eq!(changed["scenario_control"], false);
    assert_eq!(changed, rig.control("GET", "switches", "").await.json());
    assert_eq!(rig.world.switches(), Switches { scenario_control: false, ..quick() });
    let fault = r#"{"endpoint": "doors", "effect": {"status": {"status": 502, "body": "html"}}}"#;
    let waiting = rig.control("POST", "fault", fault).await.json();
    assert_eq!(waiting["waiting"].as_array().unwrap().len(), 1);
    let answer = rig.raw("GET", "/access/v1/doors", &[("x-verkada-auth", &rig.token)], "").await.unwrap();
    assert_eq!(answer.status, 502);
    rig.control("POST", "fault", fault).await;
    assert_eq!(rig.control("DELETE", "fault", "").await.json(), json!({ "waiting": [] }));
    assert_eq!(rig.get("/access/v1/doors").await.status, 200);
    rig.control("POST", "tokens/expire", "").await;
    assert_eq!(rig.get("/access/v1/doors").await.message(), (401, "Token expired".to_owned()));
}

#[tokio::test]
async fn bad_requests_are_told_what_is_allowed() {
    let rig = Rig::start(quick()).await;
    let (door, lockdown) = (rig.front(), rig.scenario("Lockdown Heron Mill"));
    for (method, path, body, status, told) in [
        ("GET", "nothing", "", 404, "allowed are GET state"),
        ("GET", "tokens/expire", "", 404, "allowed are GET state"),
        ("POST", &format!("door/{door}/dance"), "", 404, "allowed are badge"),
        ("POST", &format!("scenario/{lockdown}/pause"), "", 404, "allowed are activate, release"),
        ("POST", "door/none/open", "", 404, "no door has the id none; GET /simulator/state lists"),
        ("POST", "door/a_b/open", "", 400, "allowed are 1 to 64 letters, digits and hyphens"),
        ("POST", &format!("door/{door}/open"), "", 409, "is locked; unlock it, or force it open"),
        ("POST", &format!("door/{door}/badge?user_id=x"), "", 404, "no person has the id"),
        ("POST", "scenario/none/activate", "", 404, "no scenario has the id none"),
        (
            "POST",
            "switches",
            r#"{"key_scope": "all"}"#,
            400,
            "expected one of `read_write`, `read_only`, `nothing`",
        ),
        (
            "POST",
            "fault",
            r#"{"effect": {"explode": {}}}"#,
            400,
            "expected one of `status`, `answer`, `delay`",
        ),
        ("POST", "fault", r#"{"endpoint": "x", "effect": {}}"#, 400, "expected one of `token`, `doors`"),
    ] {
        let answer = rig.control(method, path, body).await;
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert_eq!(answer.status, status, "{path}: {error}");
        assert!(error.contains(told), "{path}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn people_use_all_the_doors_in_all_the_ways() {
    let simulator = start(Settings::new(Organisation::demo(), KEY)).await.unwrap();
    let world = simulator.handle();
    let living = people::live(world.clone(), 42, Duration::from_secs(20));
    let day = tokio::time::timeout(Duration::from_hours(6), living).await;
    assert!(day.is_err(), "people never stop");
    let events = world.events();
    let words: BTreeSet<_> = events.iter().map(|event| event.word).collect();
    let expected = [
        "door_closed",
        "door_held_open",
        "door_keycard_entered_accepted",
        "door_keycard_entered_rejected",
        "door_locked",
        "door_opened",
        "door_press_to_exit_accepted",
        "door_unlocked",
    ];
    assert_eq!(words, BTreeSet::from(expected));
    let doors: BTreeSet<_> =
        events.iter().filter_map(|event| event.door.as_ref()).map(|door| &door.id).collect();
    assert_eq!(doors.len(), 6);
    let count = |word: &str| events.iter().filter(|event| event.word == word).count();
    assert!(count("door_opened") - count("door_closed") <= 1, "doors fall shut");
}
