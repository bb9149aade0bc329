//! How the gateway ends, and what it says before.

use std::time::Duration;

use serde_json::json;
use verkada2mqtt::simulator::{
    fault::{Effect, Fault, Moment},
    ledger::Endpoint,
    organisation::Organisation,
};

use crate::{
    mqtt::Client,
    process::{LIMIT, Process},
    rig::{Rig, eventually},
};

/// An idle gateway ends within this time.
const IDLE: Duration = Duration::from_secs(2);

fn last_said(client: &Client, topic: &str) -> Option<usize> {
    client.heard().iter().rposition(|message| message.topic == topic)
}

#[tokio::test]
async fn a_stop_says_goodbye_and_ends_cleanly() {
    for signal in ["TERM", "INT"] {
        let rig = Rig::start().await;
        let mut gateway = rig.run_ready().await;
        let client = rig.client().await;
        gateway.signal(signal);
        let ended = gateway.end_within(IDLE).await;
        assert_eq!(ended.code(), Some(0), "{}", ended.log);
        assert!(ended.log.contains("the gateway has stopped"), "{}", ended.log);
        assert!(!ended.log.contains(" WARN "), "the goodbye was acknowledged: {}", ended.log);
        assert_eq!(rig.retained("verkada/availability").as_deref(), Some("offline"));
        client.shows("verkada/availability", "offline").await;
        let said = client.payloads("verkada/availability");
        assert_eq!(said, ["online", "offline"], "and the last will says nothing on top");
    }
}

/// Lets an unlock wait at the vendor, and returns when it does.
async fn unlock_under_way(rig: &Rig, client: &Client, effect: Effect) -> String {
    rig.world.inject(Fault::once(Endpoint::AdminUnlock, effect)).unwrap();
    let target = format!("door/{}", rig.door("Workshop"));
    client.publish(&format!("verkada/{target}/set"), r#"{"action": "unlock", "id": "u"}"#).await;
    eventually("the vendor has the unlock", async || {
        rig.seen(Endpoint::AdminUnlock).iter().any(|entry| entry.fault.is_some()).then_some(())
    })
    .await;
    target
}

#[tokio::test]
async fn an_unlock_under_way_ends_before_the_gateway_does() {
    let rig = Rig::start().await;
    let mut gateway = rig.run_ready().await;
    let client = rig.client().await;
    let effect = Effect::Delay { milliseconds: 1_500, moment: Moment::BeforeExecute };
    let target = unlock_under_way(&rig, &client, effect).await;
    gateway.signal("TERM");
    gateway.logs("the gateway stops").await;
    // Nothing new is taken on meanwhile, and that is said.
    let other = format!("door/{}", rig.door("Roof Terrace"));
    client.publish(&format!("verkada/{other}/set"), "UNLOCK").await;
    let refused = client.next_result(0, &format!("verkada/{other}/result")).await;
    assert_eq!((&refused["outcome"], &refused["reason"]), (&json!("refused"), &json!("stopping")));
    let ended = gateway.end_within(LIMIT).await;
    assert_eq!(ended.code(), Some(0), "{}", ended.log);
    assert_eq!(client.result(&target, "u").await["outcome"], "done");
    client.shows("verkada/availability", "offline").await;
    let result = last_said(&client, &format!("verkada/{target}/result"));
    assert!(result < last_said(&client, "verkada/availability"), "the result comes before the goodbye");
    assert_eq!(rig.acts().len(), 1);
}

#[tokio::test]
async fn an_unlock_that_does_not_end_is_unknown_when_the_gateway_ends() {
    let rig = Rig::start().await;
    let mut gateway = rig.run_ready().await;
    let client = rig.client().await;
    let target = unlock_under_way(&rig, &client, Effect::Hang { moment: Moment::BeforeExecute }).await;
    gateway.signal("TERM");
    let ended = gateway.end_within(Duration::from_secs(10)).await;
    assert_eq!(ended.code(), Some(0), "{}", ended.log);
    let result = client.result(&target, "u").await;
    assert_eq!((&result["outcome"], &result["reason"]), (&json!("unknown"), &json!("stopping")));
    assert_eq!(rig.acts().len(), 1, "it is not sent again");
}

#[tokio::test]
async fn of_ten_unlocks_under_way_at_a_stop_each_gets_an_end_and_none_is_sent_twice() {
    let rig = Rig::of(Organisation::of_size(10, 1, 1)).await;
    let mut gateway = rig.run_ready().await;
    let client = rig.client().await;
    let doors: Vec<String> = rig.world.doors().iter().map(|door| format!("door/{}", door.id)).collect();
    // Of one half the answer comes in time, of the other half never.
    for round in 0..doors.len() {
        let effect = match round % 2 {
            0 => Effect::Delay { milliseconds: 2_000, moment: Moment::BeforeExecute },
            _ => Effect::Hang { moment: Moment::BeforeExecute },
        };
        rig.world.inject(Fault::once(Endpoint::AdminUnlock, effect)).unwrap();
    }
    for door in &doors {
        let command = format!(r#"{{"action": "unlock", "id": "of {door}"}}"#);
        client.publish(&format!("verkada/{door}/set"), command).await;
    }
    eventually("the vendor has them all", async || {
        (rig.seen(Endpoint::AdminUnlock).len() == doors.len()).then_some(())
    })
    .await;
    gateway.signal("TERM");
    let ended = gateway.end_within(Duration::from_secs(10)).await;
    assert_eq!(ended.code(), Some(0), "{}", ended.log);
    client.shows("verkada/availability", "offline").await;
    let mut ends = Vec::new();
    for door in &doors {
        let outcomes = client.outcomes(door, &format!("of {door}"));
        let [accepted, end] = outcomes.as_slice() else { panic!("{door}: {outcomes:?}") };
        assert_eq!(accepted, "accepted");
        ends.push(end.clone());
    }
    ends.sort_unstable();
    assert_eq!(ends, [vec!["done"; 5], vec!["unknown"; 5]].concat());
    assert_eq!(rig.acts().len(), doors.len(), "each once");
}

#[tokio::test]
async fn a_second_stop_ends_at_once() {
    let rig = Rig::start().await;
    let mut gateway = rig.run_ready().await;
    let client = rig.client().await;
    unlock_under_way(&rig, &client, Effect::Hang { moment: Moment::BeforeExecute }).await;
    gateway.signal("TERM");
    gateway.logs("the gateway stops").await;
    gateway.signal("TERM");
    let ended = gateway.end_within(Duration::from_secs(1)).await;
    assert_eq!(ended.code(), Some(1), "{}", ended.log);
    client.shows("verkada/availability", "offline").await;
}

#[tokio::test]
async fn after_a_kill_the_last_will_speaks() {
    let rig = Rig::start().await;
    let mut gateway = rig.run_ready().await;
    let client = rig.client().await;
    gateway.signal("KILL");
    assert_eq!(gateway.end_within(LIMIT).await.code(), None);
    client.shows("verkada/availability", "offline").await;
    assert_eq!(rig.retained("verkada/availability").as_deref(), Some("offline"));
    // The lock of the state directory went with the process.
    let again: Process = rig.run_ready().await;
    client.shows("verkada/availability", "online").await;
    drop(again);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_broker_that_is_not_there() {
    let mut rig = Rig::start().await;
    rig.config.set("/mqtt/url", format!("mqtt://{}", crate::rig::free_address()));
    let mut gateway = rig.run();
    gateway.logs("the MQTT link is down").await;
    gateway.signal("TERM");
    assert_eq!(gateway.end_within(IDLE).await.code(), Some(0));
}
