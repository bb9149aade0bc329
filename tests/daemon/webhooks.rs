//! Webhooks bring at once what polls bring later.

use verkada2mqtt::{clock, simulator::ledger::Endpoint};

use crate::rig::{Rig, eventually, get, ready};

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
