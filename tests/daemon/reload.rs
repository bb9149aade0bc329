//! SIGHUP: another configuration while it runs.

use serde_json::json;
use verkada2mqtt::simulator::{
    fault::{Effect, Fault, Moment},
    ledger::Endpoint,
};

use crate::{
    process::Process,
    rig::{Rig, eventually, get, http_after},
};

/// What a gateway says of a changed key.
fn cost(key: &str, cost: &str) -> String {
    format!(r#"a changed key is taken over key="{key}" cost="{cost}"#)
}

#[tokio::test]
async fn what_needs_no_connection_takes_effect_without_one() {
    let mut rig = Rig::start().await;
    rig.config.set("/poll/scenarios", "10m");
    rig.config.set("/log/level", "info");
    let gateway = rig.run_ready().await;
    let client = rig.client().await;
    let door = format!("door/{}", rig.door("Workshop"));
    client.publish(&format!("verkada/{door}/set"), r#"{"action": "unlock", "id": "before"}"#).await;
    assert_eq!(client.result(&door, "before").await["outcome"], "done");
    assert!(!gateway.log().join("\n").contains("TRACE"), "{:#?}", gateway.log());
    let (logged, heard) = (gateway.log().len(), client.count());
    let sessions = rig.seen(Endpoint::Token).len();

    let id = rig.door("Workshop").to_string();
    rig.config.set("/commands/unlock", false);
    rig.config.set("/poll/scenarios", "1s");
    rig.config.set("/log/level", "trace");
    rig.config.set("/doors/settings", json!({ &id: { "name": "The Shop" } }));
    gateway.signal("HUP");
    let name = format!("doors.settings.{id}.name");
    for key in ["commands.unlock", "poll.scenarios", "log.level", &name] {
        gateway.logs_after(logged, &cost(key, "nothing: it holds from now on")).await;
    }
    client.publish(&format!("verkada/{door}/set"), r#"{"action": "unlock", "id": "after"}"#).await;
    let result = client.result(&door, "after").await;
    assert_eq!((&result["outcome"], &result["reason"]), (&json!("refused"), &json!("not_allowed")));
    let reads = rig.seen(Endpoint::Scenarios).len();
    eventually("scenarios are read each second", async || {
        (rig.seen(Endpoint::Scenarios).len() >= reads + 3).then_some(())
    })
    .await;
    gateway.logs_after(logged, "TRACE").await;
    rig.holds("verkada/bridge/log_level", "trace").await;
    let config = format!("homeassistant/device/verkada2mqtt_door_{id}/config");
    eventually("the door is announced by its new name", async || {
        rig.retained(&config).filter(|config| config.contains("The Shop"))
    })
    .await;
    let said: Vec<_> = client.heard().split_off(heard);
    assert!(!said.iter().any(|message| message.topic.ends_with("availability")), "nothing blinks");
    assert_eq!(rig.seen(Endpoint::Token).len(), sessions, "the vendor is not asked for another token");
    assert!(!gateway.log()[logged..].iter().any(|line| line.contains("link is up")));

    let logged = gateway.log().len();
    gateway.signal("HUP");
    gateway.logs_after(logged, "the configuration was read again; no key has changed").await;
}

#[tokio::test]
async fn what_needs_connections_starts_the_gateway_again_and_says_so() {
    let mut rig = Rig::start().await;
    let gateway = rig.run_ready().await;
    let client = rig.client().await;
    let logged = gateway.log().len();
    rig.config.set("/mqtt/client_id", "another");
    rig.config.set("/commands/unlock", false);
    gateway.signal("HUP");
    gateway
        .logs_after(
            logged,
            &cost("mqtt.client_id", "a new start within the process: all connections are made anew"),
        )
        .await;
    gateway.logs_after(logged, &cost("commands.unlock", "nothing")).await;
    let http = http_after(&gateway, logged).await;
    eventually("ready again", async || (get(http, "/readyz").await.0 == 200).then_some(())).await;
    client.shows("verkada/availability", "online").await;
    let door = format!("door/{}", rig.door("Workshop"));
    client.publish(&format!("verkada/{door}/set"), r#"{"action": "unlock", "id": "after"}"#).await;
    assert_eq!(client.result(&door, "after").await["reason"], "not_allowed");
    assert_eq!(rig.acts().len(), 0);
}

#[tokio::test]
async fn another_key_is_used_at_once_and_no_command_is_lost_meanwhile() {
    let mut rig = Rig::start().await;
    let gateway = rig.run_ready().await;
    let client = rig.client().await;
    client.shows("verkada/availability", "online").await;
    let (logged, heard) = (gateway.log().len(), client.count());
    let doors: Vec<String> = rig
        .world
        .doors()
        .iter()
        .filter(|door| door.api_control)
        .map(|door| format!("door/{}", door.id))
        .collect();
    let mut expected = 0;
    for (round, door) in doors.iter().enumerate() {
        client
            .publish(&format!("verkada/{door}/set"), format!(r#"{{"action": "unlock", "id": "k{round}"}}"#))
            .await;
        expected += 1;
        if round == 1 {
            rig.world.set_api_key("the-next-key");
            rig.config.set("/verkada/api_key", "the-next-key");
            gateway.signal("HUP");
        }
    }
    gateway
        .logs_after(logged, &cost("verkada.api_key", "a new token; the one that there is serves until then"))
        .await;
    for (round, door) in doors.iter().enumerate() {
        assert_eq!(client.result(door, &format!("k{round}")).await["outcome"], "done", "{door}");
    }
    assert!(expected >= 4, "commands before and after it");
    assert_eq!(rig.acts().len(), expected, "each once");
    eventually("the vendor gave a token for the new key", async || {
        (rig.seen(Endpoint::Token).len() >= 2).then_some(())
    })
    .await;
    let said: Vec<_> = client.heard().split_off(heard);
    assert!(!said.iter().any(|message| message.topic.ends_with("availability")), "nothing blinks");
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
        let said =
            format!("a change of this key takes effect at the next start of the program key=\"{key}\"");
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
    rig.config.set("/mqtt/client_id", "another");
    gateway.signal("HUP");
    assert_eq!(client.result(&door, "u").await["outcome"], "done");
    gateway.logs_after(logged, "the gateway starts version").await;
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
