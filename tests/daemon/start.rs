//! What is published when the gateway starts, and in which order.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use verkada2mqtt::model::DoorId;

use crate::{
    mqtt::Message,
    rig::{Rig, eventually, get, http, ready},
};

/// Within this time everything is there.
const START: Duration = Duration::from_secs(10);

fn discovery(style: &str, door: &DoorId) -> String {
    match style {
        "device" => format!("homeassistant/device/verkada2mqtt_door_{door}/config"),
        _ => format!("homeassistant/lock/verkada2mqtt_{door}_lock/config"),
    }
}

#[tokio::test]
async fn everything_is_retained_soon_after_the_start_in_both_discovery_styles() {
    for style in ["device", "component"] {
        let mut rig = Rig::start().await;
        rig.config.set("/home_assistant/discovery", style);
        let began = Instant::now();
        let _gateway = rig.run_ready().await;
        rig.holds("verkada/availability", "online").await;
        rig.holds("verkada/bridge/api/availability", "online").await;
        rig.holds("verkada/bridge/version", env!("CARGO_PKG_VERSION")).await;
        for door in rig.world.doors() {
            let topic = |leaf| format!("verkada/door/{}/{leaf}", door.id);
            rig.holds(&topic("availability"), "online").await;
            assert_eq!(rig.retained(&topic("state")).as_deref(), Some("None"), "nothing is known yet");
            assert_eq!(rig.retained(&topic("position")).as_deref(), Some("None"));
            let attributes: serde_json::Value =
                serde_json::from_str(&rig.retained(&topic("attributes")).unwrap()).unwrap();
            assert_eq!(attributes["name"], json!(door.name));
            let config = rig.retained(&discovery(style, &door.id)).expect(style);
            assert!(config.contains(&topic("state")), "{style}: {config}");
        }
        for scenario in rig.world.scenarios() {
            let topic = |leaf| format!("verkada/scenario/{}/{leaf}", scenario.id);
            rig.holds(&topic("availability"), "online").await;
            assert_eq!(rig.retained(&topic("state")).as_deref(), Some("OFF"));
            let configs = rig.broker.retained("homeassistant/#");
            let announced = |payload: &[u8]| {
                let text = String::from_utf8_lossy(payload);
                text.contains(&topic("set")) && text.contains("state_on")
            };
            assert_eq!(configs.iter().filter(|(_, payload)| announced(payload)).count(), 1, "{style}");
        }
        assert!(began.elapsed() < START, "{style}: {:?}", began.elapsed());
    }
}

/// Where a topic stands in the order of the design: discovery, state, availability of a thing, of the vendor, of the
/// gateway.
fn rank(topic: &str) -> usize {
    match topic {
        "verkada/availability" => 4,
        "verkada/bridge/api/availability" => 3,
        _ if topic.starts_with("homeassistant/") => 0,
        _ if topic.ends_with("/availability") => 2,
        _ => 1,
    }
}

fn ranks(heard: &[Message]) -> Vec<(usize, &str)> {
    let said = heard.iter().filter(|message| !message.topic.ends_with("/set") && message.retain);
    said.map(|message| (rank(&message.topic), message.topic.as_str())).collect()
}

#[tokio::test]
async fn a_live_subscriber_sees_what_a_thing_is_before_its_state_and_that_before_its_availability() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let _gateway = rig.run_ready().await;
    for door in rig.world.doors() {
        client.shows(&format!("verkada/door/{}/availability", door.id), "online").await;
        let first =
            |topic: &str| client.heard().iter().position(|message| message.topic == topic).expect("heard");
        let discovery = first(&discovery("device", &door.id));
        let state = first(&format!("verkada/door/{}/state", door.id));
        let availability = first(&format!("verkada/door/{}/availability", door.id));
        assert!(discovery < state && state < availability, "{discovery} {state} {availability}");
    }
}

#[tokio::test]
async fn after_a_lost_connection_everything_is_said_again_in_order_and_the_gateway_last() {
    let rig = Rig::start().await;
    let gateway = rig.run_ready().await;
    rig.all_is_shown().await;
    let (count, complete) = (rig.broker.retained("#").len(), rig.held());
    rig.broker.forget_retained();
    let logged = gateway.log().len();
    rig.broker.drop_connections();
    let client = rig.client().await;
    client.shows("verkada/availability", "online").await;
    let heard = client.heard();
    let end = heard
        .iter()
        .position(|message| message.topic == "verkada/availability" && message.payload == "online");
    let order = ranks(&heard[..=end.unwrap()]);
    let order: Vec<_> = order.into_iter().filter(|(_, topic)| *topic != "verkada/availability").collect();
    assert!(order.is_sorted_by_key(|(rank, _)| *rank), "{order:#?}");
    assert_eq!(order.len() + 1, count, "all of it came before the gateway said that it is online");
    // Doors and scenarios come online when the new link is proven.
    eventually("it is as it was", async || (rig.held() == complete).then_some(())).await;
    gateway.logs_after(logged, "the MQTT link is proven").await;
}

#[tokio::test]
async fn readiness_tells_its_parts() {
    let rig = Rig::start().await;
    let gateway = rig.run();
    let http = http(&gateway).await;
    let (status, body) = get(http, "/healthz").await;
    assert_eq!((status, body), (200, json!("ok\n")));
    ready(&gateway).await;
    let (_, body) = get(http, "/readyz").await;
    let expected = json!({
        "ready": true,
        "mqtt": { "connected": true, "protocol": "5", "heartbeat": true },
        "securing": { "heartbeat": true },
        "verkada": { "reachable": true, "trouble": null, "budget_left": body["verkada"]["budget_left"] },
        "doors": 6,
        "scenarios": 3,
        "published": true,
        "commands": { "received": 0, "pending": 0 },
        "webhook": { "enabled": false },
    });
    assert_eq!(body, expected);
    assert!((250..300).contains(&body["verkada"]["budget_left"].as_u64().unwrap()), "{body}");
    rig.simulator.stop().await;
    let (_, body) = eventually("not ready without the vendor", async || {
        let (status, body) = get(http, "/readyz").await;
        (status == 503).then_some((status, body))
    })
    .await;
    assert_eq!((&body["ready"], &body["mqtt"]["connected"]), (&json!(false), &json!(true)));
    let trouble = body["verkada"]["trouble"].as_str().unwrap();
    assert!(trouble.contains("onnect"), "{trouble}");
}
