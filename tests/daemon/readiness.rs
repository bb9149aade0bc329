//! Lockdown readiness and drills, from the message to the vendor and back.

use serde_json::{Value, json};
use verkada2mqtt::simulator::{
    fault::{Effect, ErrorBody, Fault},
    ledger::Endpoint,
};

use crate::rig::Rig;

const READY: &str = "verkada/bridge/lockdown_ready";

fn missing(rig: &Rig) -> Option<Value> {
    let attributes = rig.retained("verkada/bridge/lockdown_ready_attributes")?;
    let attributes: Value = serde_json::from_str(&attributes).unwrap();
    Some(attributes["missing"].clone())
}

fn forbidden(endpoint: Endpoint) -> Fault {
    let effect = Effect::Status { status: 403, body: ErrorBody::Plain, retry_after: None };
    Fault { endpoint: Some(endpoint), after: 0, times: 1_000, effect }
}

#[tokio::test]
async fn a_drill_goes_all_the_way_and_activates_nothing() {
    let rig = Rig::start().await;
    let gateway = rig.run_ready().await;
    let client = rig.client().await;
    rig.holds(READY, "ON").await;
    let scenario = rig.scenario("Lockdown Tern Yard");
    let (target, topic) = (format!("scenario/{scenario}"), format!("verkada/scenario/{scenario}"));
    client.publish(&format!("{topic}/set"), r#"{"action":"drill","id":"d1"}"#).await;
    let result = client.result(&target, "d1").await;
    assert_eq!((&result["outcome"], &result["action"]), (&json!("done"), &json!("drill")), "{result}");
    let text = result["message"].as_str().unwrap();
    assert!(text.starts_with("drill: nothing was activated; the request was written "), "{text}");
    assert_eq!(client.outcomes(&target, "d1"), ["accepted", "done"]);
    gateway.logs("drill: nothing was activated").await;
    let attributes: Value =
        serde_json::from_str(&rig.retained(&format!("{topic}/attributes")).unwrap()).unwrap();
    assert_eq!(attributes["last_drill"]["outcome"], "done");
    assert!(attributes["last_drill"]["ms"].is_u64());
    assert_eq!(attributes["last_command"], Value::Null);
    assert_eq!(rig.acts().len(), 0, "the ledger shows no act");
    assert!(!rig.world.is_active(&scenario).unwrap());
    assert_eq!(client.payloads(&format!("{topic}/state")), ["OFF"]);
    assert_eq!(rig.retained(READY).unwrap(), "ON");
}

#[tokio::test]
async fn a_key_without_the_permission_to_list_is_found_before_the_emergency() {
    let rig = Rig::start().await;
    rig.world.inject(forbidden(Endpoint::Scenarios)).unwrap();
    let gateway = rig.run();
    rig.holds(READY, "OFF").await;
    let text = missing(&rig).unwrap().as_str().unwrap().to_owned();
    assert!(text.starts_with("not ready: the vendor refuses to list scenarios"), "{text}");
    gateway.logs("a lockdown could not be started now").await;
}

#[tokio::test]
async fn a_refused_activate_shows_until_the_vendor_takes_an_act() {
    let rig = Rig::start().await;
    let _gateway = rig.run_ready().await;
    let client = rig.client().await;
    rig.holds(READY, "ON").await;
    let mut switches = rig.world.switches();
    switches.scenario_control = false;
    rig.world.set_switches(switches.clone());
    let scenario = rig.scenario("Lockdown Tern Yard");
    let (target, topic) = (format!("scenario/{scenario}"), format!("verkada/scenario/{scenario}/set"));
    client.publish(&topic, r#"{"action":"activate","id":"a1"}"#).await;
    assert_eq!(client.result(&target, "a1").await["outcome"], "failed");
    rig.holds(READY, "OFF").await;
    let text = missing(&rig).unwrap().as_str().unwrap().to_owned();
    assert!(text.contains("the vendor refused the last activate or release"), "{text}");
    switches.scenario_control = true;
    rig.world.set_switches(switches);
    client.publish(&topic, r#"{"action":"activate","id":"a2"}"#).await;
    let result = client.result(&target, "a2").await;
    assert_eq!(result["outcome"], "done");
    assert!(result["message"].as_str().unwrap().contains(" doors are confirmed locked so far"), "{result}");
    rig.holds(READY, "ON").await;
    // The doors tell one after the other that they are locked.
    let total = rig.world.scenarios().iter().find(|one| one.id == scenario).unwrap().doors_to_lock.len();
    let all = format!("{total}/{total}");
    rig.holds(&format!("verkada/scenario/{scenario}/doors_confirmed"), &all).await;
}
