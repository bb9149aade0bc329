//! What the program knows again after a restart, however it ended.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::{
    process::LIMIT,
    rig::{Rig, eventually},
};

fn file(rig: &Rig) -> PathBuf {
    rig.config.path().with_file_name("state").join("memory.json")
}

fn remembered(rig: &Rig) -> Option<Value> {
    Some(serde_json::from_slice(&fs::read(file(rig)).ok()?).expect("whoever reads it finds it whole"))
}

/// The name and the entity id under which a door is announced.
fn announced(rig: &Rig, door: &str) -> Option<(String, String)> {
    let config = rig.retained(&format!("homeassistant/device/verkada2mqtt_door_{door}/config"))?;
    let config: Value = serde_json::from_str(&config).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Some((text(&config["device"]["name"]), text(&config["components"]["lock"]["default_entity_id"])))
}

#[tokio::test]
async fn entity_ids_and_the_place_in_the_events_outlast_a_stop_and_a_kill() {
    let rig = Rig::start().await;
    let door = rig.door("Workshop");
    let told = format!("verkada/door/{door}/event");
    let client = rig.client().await;
    let mut gateway = rig.run_ready().await;
    let (_, id) = eventually("the door", async || announced(&rig, door.as_str())).await;
    for (round, signal) in ["TERM", "KILL", "TERM"].into_iter().enumerate() {
        let before = client.payloads(&told).len();
        rig.world.badge(&door, None).unwrap();
        client
            .until("the event", |heard| {
                (heard.iter().filter(|message| message.topic == told).count() > before).then_some(())
            })
            .await;
        eventually("the event is remembered", async || {
            let seen = rig.world.events();
            let last = seen.last()?.id.to_string();
            remembered(&rig)?["memory"]["events"]["ids"].get(&last).map(drop)
        })
        .await;
        gateway.signal(signal);
        gateway.end_within(LIMIT).await;
        let name = format!("Shed {round}");
        rig.world.rename_door(&door, &name).unwrap();
        let heard = client.payloads(&told).len();
        gateway = rig.run_ready().await;
        let wanted = (name, id.clone());
        eventually(&format!("{wanted:?} after {signal}"), async || {
            announced(&rig, door.as_str()).filter(|announced| *announced == wanted)
        })
        .await;
        assert_eq!(client.payloads(&told).len(), heard, "nothing is told twice after {signal}");
    }
}

#[tokio::test]
async fn a_damaged_memory_is_set_aside_and_told_once() {
    let rig = Rig::start().await;
    fs::create_dir_all(file(&rig).parent().unwrap()).unwrap();
    fs::write(file(&rig), "{\"version\":1,\"mem").unwrap();
    let mut gateway = rig.run_ready().await;
    eventually("a new one is written", async || remembered(&rig).map(drop)).await;
    gateway.signal("TERM");
    let ended = gateway.end_within(LIMIT).await;
    assert_eq!(ended.log.matches(" WARN ").count(), 1, "{}", ended.log);
    assert!(ended.log.contains("the gateway begins anew"), "{}", ended.log);
    let aside = file(&rig).with_file_name("memory.json.bad-1");
    assert_eq!(fs::read_to_string(aside).unwrap(), "{\"version\":1,\"mem");
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_used_is_told_once_and_the_gateway_serves() {
    let mut rig = Rig::start().await;
    rig.config.set("/state_dir", rig.config.path().join("below-a-file").to_str().unwrap());
    let mut gateway = rig.run_ready().await;
    let client = rig.client().await;
    let target = format!("door/{}", rig.door("Workshop"));
    client.publish(&format!("verkada/{target}/set"), r#"{"action": "unlock", "id": "x"}"#).await;
    let result = client.result(&target, "x").await;
    assert_eq!((&result["outcome"], &result["reason"]), (&"refused".into(), &"journal_unavailable".into()));
    gateway.signal("TERM");
    let ended = gateway.end_within(LIMIT).await;
    assert_eq!(ended.code(), Some(0), "{}", ended.log);
    assert_eq!(ended.log.matches(" WARN ").count(), 3, "{}", ended.log);
    for sentence in [
        "nothing outlasts a restart",
        "journal.sqlite (state_dir) cannot be written",
        "the end of the journal is lost records=1",
    ] {
        assert!(ended.log.contains(sentence), "{}", ended.log);
    }
}

#[tokio::test]
async fn a_door_that_vanished_during_a_crash_is_taken_back_from_the_broker() {
    let mut rig = Rig::start().await;
    let door = rig.door("Workshop");
    let config = format!("homeassistant/device/verkada2mqtt_door_{door}/config");
    let mut gateway = rig.run_ready().await;
    eventually("the door is remembered", async || {
        remembered(&rig)?["memory"]["devices"].get(format!("verkada2mqtt_door_{door}")).map(drop)
    })
    .await;
    gateway.signal("KILL");
    gateway.end_within(LIMIT).await;
    rig.world.remove_door(&door).unwrap();
    // Both the door and the style are others when it starts again.
    rig.config.set("/home_assistant/discovery", "component");
    rig.config.set("/poll/doors", "30s");
    let client = rig.client().await;
    let _gateway = rig.run_ready().await;
    client.publish("verkada/bridge/refresh/set", "PRESS").await;
    let gone =
        || rig.retained(&config).is_none() && rig.retained(&format!("verkada/door/{door}/state")).is_none();
    eventually("the door is gone from the broker", async || gone().then_some(())).await;
    eventually("the old style is gone from the broker", async || {
        rig.broker.retained("homeassistant/device/+/config").is_empty().then_some(())
    })
    .await;
    assert!(!rig.broker.retained("homeassistant/lock/+/config").is_empty());
}
