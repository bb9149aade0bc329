//! SIGHUP: another configuration while it runs.

use serde_json::json;
use verkada2mqtt::simulator::{
    fault::{Effect, Fault, Moment},
    ledger::Endpoint,
};

use crate::{
    process::Process,
    rig::{Rig, eventually, free_address, get, http_after},
};

#[tokio::test]
async fn a_good_file_takes_effect() {
    let mut rig = Rig::start().await;
    rig.config.set("/http/listen", free_address().to_string());
    rig.config.set("/poll/scenarios", "10m");
    rig.config.set("/log/level", "info");
    let gateway = rig.run_ready().await;
    let client = rig.client().await;
    let door = format!("door/{}", rig.door("Workshop"));
    client.publish(&format!("verkada/{door}/set"), r#"{"action": "unlock", "id": "before"}"#).await;
    assert_eq!(client.result(&door, "before").await["outcome"], "done");
    let logged = gateway.log().len();
    assert!(!gateway.log().join("\n").contains("DEBUG"), "{:#?}", gateway.log());

    rig.config.set("/commands/unlock", false);
    rig.config.set("/poll/scenarios", "1s");
    rig.config.set("/log/level", "debug");
    gateway.signal("HUP");
    let http = http_after(&gateway, logged).await;
    eventually("ready again", async || (get(http, "/readyz").await.0 == 200).then_some(())).await;
    client.shows("verkada/availability", "online").await;
    client.publish(&format!("verkada/{door}/set"), r#"{"action": "unlock", "id": "after"}"#).await;
    let result = client.result(&door, "after").await;
    assert_eq!((&result["outcome"], &result["reason"]), (&json!("refused"), &json!("not_allowed")));
    let reads = rig.seen(Endpoint::Scenarios).len();
    eventually("scenarios are read each second", async || {
        (rig.seen(Endpoint::Scenarios).len() >= reads + 2).then_some(())
    })
    .await;
    gateway.logs_after(logged, "DEBUG").await;
    assert_eq!(rig.acts().len(), 1);
}

#[tokio::test]
async fn what_a_reload_does_not_change_is_said() {
    let mut rig = Rig::start().await;
    let gateway = rig.run_ready().await;
    let logged = gateway.log().len();
    rig.config.set("/log/format", "json");
    rig.config.set("/state_dir", rig.config.path().with_file_name("elsewhere").to_str().unwrap());
    gateway.signal("HUP");
    for key in ["log.format", "state_dir"] {
        let said = format!("a change of this key takes effect at the next start key=\"{key}\"");
        gateway.logs_after(logged, &said).await;
    }
}

#[tokio::test]
async fn a_command_under_way_is_not_touched() {
    let mut rig = Rig::start().await;
    let gateway = rig.run_ready().await;
    let client = rig.client().await;
    let effect = Effect::Delay { milliseconds: 1_000, moment: Moment::BeforeExecute };
    rig.world.inject(Fault::once(Endpoint::AdminUnlock, effect)).unwrap();
    let door = format!("door/{}", rig.door("Workshop"));
    client.publish(&format!("verkada/{door}/set"), r#"{"action": "unlock", "id": "u"}"#).await;
    eventually("the vendor has it", async || (rig.seen(Endpoint::AdminUnlock).len() == 1).then_some(()))
        .await;
    let logged = gateway.log().len();
    rig.config.set("/poll/events", "2s");
    gateway.signal("HUP");
    assert_eq!(client.result(&door, "u").await["outcome"], "done");
    gateway.logs_after(logged, "the gateway starts").await;
    assert_eq!(rig.acts().len(), 1);
}

/// Lets a process open nothing more; what it has open it keeps.
fn let_open_nothing_more(gateway: &Process) {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let process = Pid::from_raw(gateway.id().try_into().unwrap());
    let limit = Rlimit { current: Some(3), maximum: Some(1024) };
    prlimit(process, Resource::Nofile, limit).unwrap();
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_for_want_of_descriptors_leaves_everything_as_it_was() {
    let mut rig = Rig::start().await;
    rig.config.set("/commands/unlock", false);
    let gateway = rig.run_ready().await;
    let client = rig.client().await;
    rig.all_is_shown().await;
    let logged = gateway.log().len();
    let_open_nothing_more(&gateway);
    rig.config.set("/commands/unlock", true);
    gateway.signal("HUP");
    gateway.logs_after(logged, "ERROR the configuration is left as it was").await;
    gateway.logs_after(logged, "the file cannot be read (Too many open files").await;
    let door = format!("door/{}", rig.door("Workshop"));
    client.publish(&format!("verkada/{door}/set"), r#"{"action": "unlock", "id": "u"}"#).await;
    let result = client.result(&door, "u").await;
    assert_eq!((&result["outcome"], &result["reason"]), (&json!("refused"), &json!("not_allowed")));
    assert_eq!(rig.acts(), []);
    assert_eq!(rig.retained("verkada/availability").as_deref(), Some("online"));
}

#[tokio::test]
async fn a_broken_file_leaves_everything_as_it_was_and_is_told_by_file_line_and_key() {
    let rig = Rig::start().await;
    let gateway = rig.run_ready().await;
    let client = rig.client().await;
    client.shows("verkada/availability", "online").await;
    let door = format!("door/{}", rig.door("Workshop"));
    let (logged, heard) = (gateway.log().len(), client.count());
    rig.config.write_text("mqtt:\n  url: mqtt://127.0.0.1\npoll:\n  doors: soon\n  secenarios: 5s\n");
    gateway.signal("HUP");
    gateway.logs_after(logged, "ERROR the configuration is left as it was").await;
    let file = rig.config.path();
    gateway.logs_after(logged, &format!("{}:4: poll.doors", file.display())).await;
    gateway.logs_after(logged, &format!("{}:5: poll.secenarios", file.display())).await;
    client.publish(&format!("verkada/{door}/set"), r#"{"action": "unlock", "id": "still"}"#).await;
    assert_eq!(client.result(&door, "still").await["outcome"], "done");
    let said = client.heard().into_iter().skip(heard).any(|message| message.topic == "verkada/availability");
    assert!(!said, "the link was not touched");
    assert!(!gateway.log().join("\n").contains("the gateway stops"));
}

#[tokio::test]
async fn a_file_that_cannot_be_run_leaves_the_gateway_running_with_the_old_one() {
    let mut rig = Rig::start().await;
    let gateway = rig.run_ready().await;
    let client = rig.client().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let logged = gateway.log().len();
    rig.config.set("/http/listen", address.clone());
    gateway.signal("HUP");
    let line = gateway.logs_after(logged, "ERROR").await;
    assert!(line.contains("http.listen") && line.contains(&address), "{line}");
    let door = format!("door/{}", rig.door("Workshop"));
    eventually("it serves with the old configuration", async || {
        (rig.retained("verkada/availability").as_deref() == Some("online")).then_some(())
    })
    .await;
    gateway.logs_after(logged, "the MQTT link is proven").await;
    client.shows(&format!("verkada/{door}/availability"), "online").await;
    client.publish(&format!("verkada/{door}/set"), r#"{"action": "unlock", "id": "old"}"#).await;
    assert_eq!(client.result(&door, "old").await["outcome"], "done");
}
