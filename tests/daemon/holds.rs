//! Holds, from the message to the calendar at the vendor and back.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use verkada2mqtt::{clock, simulator::ledger::Endpoint};

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
    let door = rig.door("Workshop");
    eventually("the door is not free any more", async || {
        let now = clock::now().utc;
        (!rig.world.is_free(&door, now).unwrap()).then_some(now)
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
    // It may have been published before this client listens.
    rig.holds(&format!("verkada/door/{door}/state"), "UNLOCKED").await;
    let client = rig.client().await;
    let hold: serde_json::Value =
        serde_json::from_str(&rig.retained(&format!("verkada/door/{door}/hold")).unwrap()).unwrap();
    let known: Timestamp = hold["until"].as_str().unwrap().parse().unwrap();
    assert_eq!((hold["mode"].as_str(), known.as_second()), (Some("unlocked"), until.as_second()));
    client.publish(&format!("verkada/door/{door}/hold/set"), "END").await;
    locked(&rig).await;
}
