//! The gateway's own device in the whole program: the key, the level of the log, the restart.

use crate::rig::{Rig, eventually, get, http_after};

#[tokio::test]
async fn a_key_that_is_taken_and_then_refused_is_told_with_its_cause() {
    let rig = Rig::start().await;
    let _gateway = rig.run_ready().await;
    rig.holds("verkada/bridge/token", "valid").await;
    rig.holds("verkada/bridge/problem", "None").await;
    let client = rig.client().await;
    rig.world.set_api_key("another");
    rig.world.expire_tokens();
    client.shows("verkada/bridge/token", "refused").await;
    client.shows("verkada/bridge/problem_active", "ON").await;
    let told = eventually("the problem has its cause", async || {
        rig.retained("verkada/bridge/problem").filter(|text| text.contains("get token"))
    })
    .await;
    assert!(told.starts_with("Verkada refuses the API key: "), "{told}");
    assert!(!told.contains(crate::rig::KEY), "{told}");
    let attributes = rig.retained("verkada/bridge/problem_attributes").unwrap();
    assert!(attributes.contains("\"kind\":\"key_refused\""), "{attributes}");
}

#[tokio::test]
async fn the_level_of_the_log_is_changed_until_the_next_reload() {
    let mut rig = Rig::start().await;
    rig.config.set("/log/level", "info");
    let gateway = rig.run_ready().await;
    let client = rig.client().await;
    client.shows("verkada/bridge/log_level", "info").await;
    client.publish("verkada/bridge/log_level/set", "loud").await;
    gateway.logs("this is no level of the log").await;
    assert!(!gateway.log().join("\n").contains("DEBUG"), "{:#?}", gateway.log());
    let logged = gateway.log().len();
    client.publish("verkada/bridge/log_level/set", "debug").await;
    client.shows("verkada/bridge/log_level", "debug").await;
    client.publish("verkada/bridge/nothing/set", "x").await;
    gateway.logs_after(logged, "DEBUG").await;
    gateway.signal("HUP");
    client.shows("verkada/bridge/log_level", "info").await;
    let logged = gateway.log().len();
    client.publish("verkada/bridge/nothing/set", "x").await;
    client.publish("verkada/bridge/log_level/set", "loud").await;
    gateway.logs_after(logged, "this is no level of the log").await;
    assert!(!gateway.log()[logged..].join("\n").contains("DEBUG"), "{:#?}", gateway.log());
}

#[tokio::test]
async fn a_restart_is_not_allowed_unless_the_owner_allows_it() {
    let rig = Rig::start().await;
    let gateway = rig.run_ready().await;
    let client = rig.client().await;
    client.publish("verkada/bridge/restart/set", "PRESS").await;
    gateway.logs("a restart is refused read=\"PRESS\" cause=\"commands.restart is false\"").await;
}

#[tokio::test]
#[ignore = "takes more than a minute; .ci/run runs it"]
async fn a_restart_stops_in_order_and_starts_again_even_with_a_broken_file() {
    let mut rig = Rig::start().await;
    rig.config.set("/commands/restart", true);
    let gateway = rig.run_ready().await;
    let client = rig.client().await;
    client.publish("verkada/bridge/restart/set", "PRESS").await;
    gateway.logs("the last start was less than a minute ago").await;
    rig.config.write_text("mqtt: soon\n");
    let logged = gateway.log().len();
    let started = rig.retained("verkada/bridge/started").unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(61)).await;
    client.publish("verkada/bridge/restart/set", "PRESS").await;
    gateway.logs_after(logged, "a restart was asked for").await;
    gateway.logs_after(logged, "ERROR the gateway restarts with the configuration as it was").await;
    let http = http_after(&gateway, logged).await;
    eventually("ready again", async || (get(http, "/readyz").await.0 == 200).then_some(())).await;
    assert_ne!(rig.retained("verkada/bridge/started").unwrap(), started);
    assert_eq!(rig.retained("verkada/availability").as_deref(), Some("online"));
    let said = client.payloads("verkada/availability");
    assert!(said.iter().any(|payload| payload == "offline"), "it says goodbye: {said:?}");
}
