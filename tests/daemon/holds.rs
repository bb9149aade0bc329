//! Holds, from the message to the calendar at the vendor and back.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use verkada2mqtt::{
    clock,
    model::DoorId,
    simulator::{
        ledger::Endpoint,
        switches::{CalendarOverlap, ExceptionOverlap, ExceptionStarted, LastMinute, Put, Switches},
    },
};

use crate::{
    mqtt::Client,
    process::LIMIT,
    rig::{Rig, eventually, ready},
};

async fn rig() -> Rig {
    let mut rig = Rig::start().await;
    rig.config.set("/commands/hold", true);
    rig.config.set("/poll/calendars", "10s");
    rig
}

async fn held(rig: &Rig, client: &Client, until: Timestamp) -> String {
    let door = rig.door("Workshop");
    let order = json!({ "mode": "unlocked", "until": until.to_string(), "id": "h1" });
    client.publish(&format!("verkada/door/{door}/hold/set"), order.to_string()).await;
    let result = client.result(&format!("door/{door}"), "h1").await;
    assert_eq!((&result["outcome"], &result["action"]), (&json!("done"), &json!("hold")), "{result}");
    client.shows(&format!("verkada/door/{door}/state"), "UNLOCKED").await;
    assert!(rig.world.is_free(&door, clock::now().utc).unwrap());
    door.to_string()
}

/// Waits until the vendor lets nobody through any more without a credential; returns when it was seen first.
async fn locked(rig: &Rig) -> Timestamp {
    locks(rig, &rig.door("Workshop")).await
}

async fn locks(rig: &Rig, door: &DoorId) -> Timestamp {
    eventually("the door is not free any more", async || {
        let now = clock::now().utc;
        (!rig.world.is_free(door, now).unwrap()).then_some(now)
    })
    .await
}

#[tokio::test]
async fn a_door_is_held_for_exactly_the_time_that_was_asked_for() {
    let rig = rig().await;
    let _gateway = rig.run_ready().await;
    let client = rig.client().await;
    let until = clock::now().utc + SignedDuration::from_secs(4);
    let door = held(&rig, &client, until).await;
    let ended = locked(&rig).await;
    assert!(ended >= until, "{ended} is before {until}");
    client.shows(&format!("verkada/door/{door}/state"), "None").await;
    let writes: Vec<Endpoint> = rig.acts().iter().map(|act| act.endpoint).collect();
    assert_eq!(writes.len(), 2, "{writes:?}");
    assert_eq!(rig.world.calendars().len(), 1);
}

#[tokio::test]
async fn lock_ends_a_hold_at_once() {
    let rig = rig().await;
    let _gateway = rig.run_ready().await;
    let client = rig.client().await;
    let door = held(&rig, &client, clock::now().utc + SignedDuration::from_hours(2)).await;
    client.publish(&format!("verkada/door/{door}/set"), r#"{"action": "lock", "id": "l1"}"#).await;
    let result = client.result(&format!("door/{door}"), "l1").await;
    assert_eq!(result["outcome"], "done", "{result}");
    locked(&rig).await;
    client.shows(&format!("verkada/door/{door}/state"), "None").await;
}

#[tokio::test]
async fn a_gateway_that_is_killed_leaves_no_door_open_and_knows_the_hold_again() {
    let rig = rig().await;
    let mut gateway = rig.run_ready().await;
    let client = rig.client().await;
    let begun = clock::now().utc;
    let until = begun + SignedDuration::from_mins(30);
    let door = held(&rig, &client, until).await;
    // To the minute the vendor keeps the end, to the second this file.
    let memory = rig.config.path().with_file_name("state").join("memory.json");
    eventually("the end of the hold is remembered", async || {
        fs::read_to_string(&memory).ok().filter(|text| text.contains(&until.to_string()))
    })
    .await;
    gateway.signal("KILL");
    gateway.end_within(LIMIT).await;
    let id = rig.door("Workshop");
    let free = rig.world.free(&id, begun, begun + SignedDuration::from_hours(24)).unwrap();
    assert_eq!(free.len(), 1, "{free:?}");
    let over = free[0].until.duration_since(until);
    assert!((SignedDuration::ZERO..=SignedDuration::from_mins(1)).contains(&over), "{free:?}");

    let again = rig.run();
    ready(&again).await;
    let client = rig.client().await;
    // It may have been published before this client listens.
    rig.holds(&format!("verkada/door/{door}/state"), "UNLOCKED").await;
    let hold: serde_json::Value =
        serde_json::from_str(&rig.retained(&format!("verkada/door/{door}/hold")).unwrap()).unwrap();
    let known: Timestamp = hold["until"].as_str().unwrap().parse().unwrap();
    assert_eq!(hold["mode"], "unlocked");
    assert_eq!(known.as_second(), until.as_second());
    client.publish(&format!("verkada/door/{door}/hold/set"), "END").await;
    locked(&rig).await;
}

/// What is not documented of the vendor, one thing at a time in each of its ways.
fn unknowns(usual: &Switches) -> Vec<(&'static str, Switches)> {
    let with = |change: &dyn Fn(&mut Switches)| {
        let mut switches = usual.clone();
        change(&mut switches);
        switches
    };
    vec![
        ("documented", usual.clone()),
        ("overlap: most locked", with(&|s| s.calendar_overlap = CalendarOverlap::MostLocked)),
        ("overlap: most open", with(&|s| s.calendar_overlap = CalendarOverlap::MostOpen)),
        ("no overlap in a calendar", with(&|s| s.exception_overlap = ExceptionOverlap::Refused)),
        ("a PUT keeps what it leaves out", with(&|s| s.put_left_out = Put::Kept)),
        ("a PUT without exceptions keeps them", with(&|s| s.put_no_exceptions = Put::Kept)),
        ("23:59 is the end", with(&|s| s.exception_end_2359 = LastMinute::Exclusive)),
        ("calendars lag behind", with(&|s| s.calendar_state_delay_ms = 3_000)),
        ("exceptions take a while", with(&|s| s.exception_delay_ms = 500)),
        ("no lock events", with(&|s| s.schedule_lock_events = false)),
    ]
}

#[tokio::test]
async fn whatever_the_vendor_does_a_hold_begins_is_extended_and_ends() {
    let rig = rig().await;
    let _gateway = rig.run_ready().await;
    let client = rig.client().await;
    // A door takes five commands that open in ten seconds.
    let doors = ["Workshop", "Delivery Gate", "Front Door", "Roof Terrace"].map(|name| rig.door(name));
    let unknowns = unknowns(&rig.world.switches()).into_iter().enumerate();
    for ((number, (what, switches)), door) in unknowns.zip(doors.iter().cycle()) {
        rig.world.set_switches(switches);
        let (target, topic) = (format!("door/{door}"), format!("verkada/door/{door}"));
        for (step, minutes) in [("a", 30), ("b", 60)] {
            let id = format!("{step}{number}");
            let order = json!({ "mode": "unlocked", "for": minutes, "id": id }).to_string();
            client.publish(&format!("{topic}/hold/set"), order).await;
            assert_eq!(client.result(&target, &id).await["outcome"], "done", "{what}");
        }
        eventually(what, async || rig.world.is_free(door, clock::now().utc).unwrap().then_some(())).await;
        let (now, id) = (clock::now().utc, format!("c{number}"));
        let free = rig.world.free(door, now, now + SignedDuration::from_hours(24)).unwrap();
        assert_eq!(free.len(), 1, "{what}: {free:?}");
        let lasts = free[0].until.duration_since(now);
        assert!(
            lasts > SignedDuration::from_mins(59) && lasts <= SignedDuration::from_mins(61),
            "{what}: {free:?}"
        );
        client.publish(&format!("{topic}/hold/set"), json!({ "mode": "end", "id": id }).to_string()).await;
        assert_eq!(client.result(&target, &id).await["outcome"], "done", "{what}");
        locks(&rig, door).await;
        let now = clock::now().utc;
        assert_eq!(rig.world.free(door, now, now + SignedDuration::from_hours(24)).unwrap(), [], "{what}");
    }
    assert_eq!(rig.world.calendars().len(), doors.len(), "one calendar a door is enough");
}

#[tokio::test]
async fn where_the_vendor_takes_no_time_that_has_begun_a_hold_begins_with_the_next_minute() {
    for started in [ExceptionStarted::NextStart, ExceptionStarted::Refused] {
        let mut rig = rig().await;
        rig.world.set_switches(Switches { exception_started: started, ..rig.world.switches() });
        let gateway = rig.run_ready().await;
        let client = rig.client().await;
        let door = rig.door("Workshop");
        let (target, topic) = (format!("door/{door}"), format!("verkada/door/{door}/hold/set"));
        let order = |id: &str| json!({ "mode": "unlocked", "for": 30, "id": id }).to_string();
        client.publish(&topic, order("a")).await;
        let result = client.result(&target, "a").await;
        let expected = if started == ExceptionStarted::Refused { "failed" } else { "done" };
        assert_eq!(result["outcome"], expected, "{result}");
        drop(gateway);

        rig.config.set("/holds/start", "next_minute");
        let _gateway = rig.run_ready().await;
        let client = rig.client().await;
        let now = clock::now().utc;
        client.publish(&topic, order("b")).await;
        assert_eq!(client.result(&target, "b").await["outcome"], "done");
        let free = rig.world.free(&door, now, now + SignedDuration::from_hours(24)).unwrap();
        assert_eq!(free.len(), 1, "{free:?}");
        assert!(free[0].from.duration_since(now) <= SignedDuration::from_secs(61), "{free:?}");
    }
}

#[tokio::test]
async fn missing_rights_are_told_in_one_sentence_with_the_cure() {
    let rig = rig().await;
    let well = rig.config.run(&["check", "--online"]).await;
    assert!(well.out.contains("  ok   exception calendars: 0 can be read"), "{}", well.out);
    rig.world.set_switches(Switches { managed_sites: Some(Vec::new()), ..rig.world.switches() });
    let cure = "check that the key has Door Access Management for all sites involved";
    let refused = rig.config.run(&["check", "--online"]).await;
    let line = refused.out.lines().find(|line| line.starts_with("  FAIL exception calendars"));
    assert!(line.is_some_and(|line| line.contains(cure)), "{}", refused.out);

    let gateway = rig.run_ready().await;
    let line = gateway.logs("refuses to show a list").await;
    assert!(line.contains(cure), "{line}");
    let client = rig.client().await;
    let (door, off) = (rig.door("Workshop"), rig.door("Server Room"));
    client.publish(&format!("verkada/door/{door}/hold/set"), r#"{"mode": "unlocked", "id": "a"}"#).await;
    let result = client.result(&format!("door/{door}"), "a").await;
    assert_eq!((&result["outcome"], &result["reason"]), (&json!("failed"), &json!("forbidden")), "{result}");
    assert!(result["message"].as_str().unwrap().contains(cure), "{result}");
    assert_eq!(rig.retained("verkada/bridge/api/availability").as_deref(), Some("online"));
    client.publish(&format!("verkada/door/{off}/hold/set"), r#"{"mode": "unlocked", "id": "b"}"#).await;
    let result = client.result(&format!("door/{off}"), "b").await;
    assert_eq!(
        (&result["outcome"], &result["reason"]),
        (&json!("refused"), &json!("not_allowed")),
        "{result}"
    );
    assert!(result["message"].as_str().unwrap().contains("Enable Door Management via API"), "{result}");
}
