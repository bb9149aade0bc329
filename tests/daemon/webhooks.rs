//! Webhooks bring at once what polls bring later.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use verkada2mqtt::{clock, simulator::ledger::Endpoint};

use crate::rig::{Rig, delivery, eventually, get, ready};

const SECRET: &str = "shared-secret";

#[tokio::test]
async fn what_happens_at_a_door_is_shown_by_its_webhook_without_a_poll() {
    let mut rig = Rig::start_with_webhooks(SECRET).await;
    rig.config.set("/poll/events", "10m");
    let gateway = rig.run();
    let http = ready(&gateway).await;
    let client = rig.client().await;
    let door = rig.door("Workshop");
    let polls = rig.seen(Endpoint::Events).len();
    rig.world.exit(&door).unwrap();
    rig.world.open(&door).unwrap();
    client.shows(&format!("verkada/door/{door}/position"), "ON").await;
    // Events have whole seconds: of two within one nobody knows which was the last.
    let second = clock::now().utc.as_second();
    eventually("the next second", async || (clock::now().utc.as_second() > second).then_some(())).await;
    rig.world.close(&door).unwrap();
    client.shows(&format!("verkada/door/{door}/position"), "OFF").await;
    assert_eq!(rig.seen(Endpoint::Events).len(), polls, "no poll brought it");
    rig.holds("verkada/bridge/webhook", "healthy").await;
    assert!(get(http, "/readyz").await.1["webhook"]["accepted"].as_u64() >= Some(2));
    assert_eq!(rig.acts().len(), 0);
}

#[tokio::test]
async fn a_scenario_that_is_activated_elsewhere_is_seen_by_its_webhook() {
    let mut rig = Rig::start_with_webhooks(SECRET).await;
    rig.config.set("/poll/scenarios", "10m");
    let gateway = rig.run();
    ready(&gateway).await;
    let scenario = rig.scenario("Lockdown Tern Yard");
    rig.world.set_active(&scenario, true).unwrap();
    rig.holds(&format!("verkada/scenario/{scenario}/state"), "ON").await;
}

#[tokio::test]
async fn with_webhooks_cut_the_next_poll_brings_the_same_truth() {
    let mut rig = Rig::start_with_webhooks("another-secret").await;
    rig.config.set("/webhook/secret", SECRET);
    let gateway = rig.run();
    let http = ready(&gateway).await;
    let door = rig.door("Workshop");
    rig.world.exit(&door).unwrap();
    rig.world.open(&door).unwrap();
    rig.holds(&format!("verkada/door/{door}/position"), "ON").await;
    eventually("deliveries are refused", async || {
        let refused = &get(http, "/readyz").await.1["webhook"]["refused"];
        refused.as_object().is_some_and(|refused| !refused.is_empty()).then_some(())
    })
    .await;
    rig.holds("verkada/bridge/webhook", "off").await;
}

#[tokio::test]
async fn another_secret_is_taken_while_the_server_goes_on() {
    let mut rig = Rig::start_with_webhooks("secret-of-the-vendor").await;
    rig.config.set("/webhook/secret", SECRET);
    rig.config.set("/poll/events", "10m");
    let gateway = rig.run();
    let http = ready(&gateway).await;
    let door = rig.door("Workshop");
    rig.world.exit(&door).unwrap();
    let deliveries = async |kind: &str| get(http, "/readyz").await.1["webhook"][kind].clone();
    eventually("deliveries are refused", async || {
        deliveries("refused").await.as_object().is_some_and(|refused| !refused.is_empty()).then_some(())
    })
    .await;
    assert_eq!(deliveries("accepted").await, json!(0));
    let logged = gateway.log().len();
    rig.config.set("/webhook/secret", "secret-of-the-vendor");
    gateway.signal("HUP");
    gateway.logs_after(logged, r#"key="webhook.secret" cost="nothing: it holds from now on""#).await;
    rig.world.exit(&door).unwrap();
    eventually("a delivery is accepted", async || {
        (deliveries("accepted").await.as_u64() > Some(0)).then_some(())
    })
    .await;
    assert!(!gateway.log().join("\n").contains("the gateway stops"), "the same server counts on");
}

#[tokio::test]
async fn a_call_at_an_intercom_rings_the_doorbell() {
    let rig = Rig::start_with_webhooks(SECRET).await;
    let gateway = rig.run();
    let http = ready(&gateway).await;
    let client = rig.client().await;
    let device = rig.retained("homeassistant/device/verkada2mqtt_verkada/config").unwrap();
    let device: Value = serde_json::from_str(&device).unwrap();
    let doorbell = &device["components"]["intercom"];
    assert_eq!(
        (&doorbell["device_class"], &doorbell["state_topic"]),
        (&json!("doorbell"), &json!("verkada/bridge/intercom"))
    );
    // Events have whole seconds: one of the second of the start may be from before it.
    let second = clock::now().utc.as_second();
    let now = eventually("the next second", async || {
        let now = clock::now().utc.as_second();
        (now > second).then_some(now)
    })
    .await;
    let example = include_str!("../fixtures/verkada/webhook-intercom-call-triggered.json");
    let mut body: Value = serde_json::from_str(example).unwrap();
    body["data"]["created"] = json!(now);
    let mut stream = TcpStream::connect(http).await.unwrap();
    let request = delivery(http, SECRET, &body);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let rung: Value = client
        .until("the ring", |heard| {
            let ring = heard.iter().find(|message| message.topic == "verkada/bridge/intercom")?;
            serde_json::from_str(&ring.payload).ok()
        })
        .await;
    assert_eq!((&rung["event_type"], &rung["intercom"]), (&json!("ring"), &json!("Lobby intercom")));
}
