//! The commands for people at a shell, which go through the running gateway.

use std::{process::Command, time::Duration};

use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};
use verkada2mqtt::simulator::{
    fault::{Cut, Effect, ErrorBody, Fault},
    ledger::Endpoint,
};

use crate::{
    process::{Ended, LIMIT, Process},
    rig::{Rig, eventually},
};

/// A running gateway that shows everything.
async fn running() -> (Rig, Process) {
    let rig = Rig::start().await;
    let gateway = rig.run_ready().await;
    rig.all_is_shown().await;
    (rig, gateway)
}

fn objects(ended: &Ended) -> Vec<Value> {
    ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The cells of a table's line that begins so.
fn row<'a>(ended: &'a Ended, begins: &str) -> Vec<&'a str> {
    let line = ended.out.lines().find(|line| line.starts_with(begins));
    let line = line.unwrap_or_else(|| panic!("no line begins with {begins:?}: {ended:?}"));
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[tokio::test]
async fn doors_and_scenarios_are_listed_as_they_are_shown() {
    let (rig, _gateway) = running().await;
    let (door, scenario) = (rig.door("Workshop"), rig.scenario("Lockdown Tern Yard"));
    rig.world.exit(&door).unwrap();
    rig.world.open(&door).unwrap();
    rig.holds(&format!("verkada/door/{door}/position"), "ON").await;
    assert_eq!(rig.config.run(&["unlock", "Roof Terrace"]).await.code(), Some(0));
    rig.holds(&format!("verkada/door/{}/state", rig.door("Roof Terrace")), "LOCKED").await;
    let doors = rig.config.run(&["doors"]).await;
    assert_eq!((doors.code(), doors.log.as_str()), (Some(0), ""), "{doors:?}");
    assert_eq!(row(&doors, "door "), ["door", "site", "state", "position", "control", "id"]);
    assert_eq!(row(&doors, "Roof Terrace")[..3], ["Roof Terrace", "Tern Yard", "locked"]);
    assert_eq!(row(&doors, "Workshop")[3..], ["open", "yes", door.as_str()]);
    assert_eq!(row(&doors, "Server Room")[4], "no");
    assert_eq!(doors.out.lines().count(), 7);
    let all = objects(&rig.config.run(&["doors", "--json"]).await);
    let workshop = all.iter().find(|object| object["id"] == door.as_str()).unwrap();
    assert_eq!((&workshop["name"], &workshop["position"]), (&json!("Workshop"), &json!("open")));
    assert_eq!((&workshop["available"], &workshop["unavailable_reason"]), (&json!(true), &Value::Null));

    let scenarios = rig.config.run(&["scenarios"]).await;
    assert_eq!(scenarios.code(), Some(0), "{scenarios:?}");
    assert_eq!(row(&scenarios, "Lockdown Tern Yard")[1], "inactive");
    let all = objects(&rig.config.run(&["scenarios", "--json"]).await);
    let lockdown = all.iter().find(|object| object["id"] == scenario.as_str()).unwrap();
    assert_eq!((&lockdown["state"], &lockdown["available"]), (&json!("inactive"), &json!(true)));
}

#[tokio::test]
async fn nothing_is_shown_as_true_and_nothing_that_opens_is_sent_while_the_gateway_is_away() {
    let (rig, mut gateway) = running().await;
    let client = rig.client().await;
    let door = rig.door("Workshop");
    gateway.signal("KILL");
    gateway.end_within(LIMIT).await;
    rig.holds("verkada/availability", "offline").await;
    let doors = rig.config.run(&["doors"]).await;
    assert_eq!(doors.code(), Some(1), "{doors:?}");
    assert!(doors.log.contains("the gateway is offline: no state is known now"), "{doors:?}");
    assert_eq!(row(&doors, "Workshop")[2..4], ["unknown", "unknown"]);
    let told = objects(&rig.config.run(&["doors", "--json"]).await);
    assert!(told.iter().all(|door| door["state"].is_null() && door["available"] == false), "{told:?}");
    assert_eq!(rig.config.run(&["scenarios"]).await.code(), Some(1));

    for command in [&["unlock", "Workshop"][..], &["release", "Lockdown Tern Yard"]] {
        let ended = rig.config.run(command).await;
        assert_eq!(ended.code(), Some(1), "{ended:?}");
        assert!(ended.log.contains("nothing was sent: the gateway is offline"), "{ended:?}");
    }
    let sent = client.payloads(&format!("verkada/door/{door}/set"));
    assert_eq!(sent, [""; 0]);

    // A lockdown is another matter: the broker may keep it for a gateway that comes back at once.
    let ended = rig.config.run(&["activate", "Lockdown Tern Yard", "--wait", "2s"]).await;
    assert_eq!(ended.code(), Some(6), "{ended:?}");
    assert!(ended.log.contains("the gateway is offline; the command is published all the same"), "{ended:?}");
    let scenario = rig.scenario("Lockdown Tern Yard");
    let set = format!("verkada/scenario/{scenario}/set");
    eventually("the activate is published", async || (client.payloads(&set).len() == 1).then_some(())).await;
}

#[tokio::test]
async fn an_unlock_is_done_once_by_name_or_id() {
    let (rig, _gateway) = running().await;
    let client = rig.client().await;
    let door = rig.door("Workshop");
    let named = rig.config.run(&["unlock", "Workshop", "--by", "the desk"]).await;
    assert_eq!(
        (named.code(), named.out.as_str()),
        (Some(0), "done: the vendor unlocked the door"),
        "{named:?}"
    );
    assert!(named.log.starts_with("accepted: "), "{named:?}");
    let acts = rig.acts();
    assert_eq!(acts.len(), 1, "{acts:?}");
    assert_eq!(acts[0].target.as_deref(), Some(door.as_str()));
    let sent = client.payloads(&format!("verkada/door/{door}/set"));
    let sent: Vec<Value> = sent.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(
        sent[0]["id"].as_str().unwrap().starts_with("shell-") && sent[0]["issued_at"].is_string(),
        "{sent:?}"
    );
    assert_eq!((&sent[0]["by"], &sent[0]["action"]), (&json!("the desk"), &json!("unlock")));
    assert_eq!(rig.retained(&format!("verkada/door/{door}/set")), None, "it is not retained");

    let other = rig.door("Roof Terrace");
    let by_id = rig.config.run(&["unlock", other.as_str(), "--json"]).await;
    assert_eq!(by_id.code(), Some(0), "{by_id:?}");
    let outcomes: Vec<Value> = objects(&by_id).iter().map(|result| result["outcome"].clone()).collect();
    assert_eq!(outcomes, ["accepted", "done"]);
    assert_eq!(rig.acts().len(), 2);
}

#[tokio::test]
async fn a_name_that_is_not_exactly_one_door_sends_nothing_and_lists_what_there_is() {
    let (mut rig, gateway) = running().await;
    let twice = rig.config.run(&["unlock", "Front Door"]).await;
    assert_eq!(twice.code(), Some(1), "{twice:?}");
    assert!(twice.log.contains("several doors have the name \"Front Door\""), "{twice:?}");
    let fronts: Vec<String> = rig
        .world
        .doors()
        .iter()
        .filter(|door| door.name == "Front Door")
        .map(|door| door.id.to_string())
        .collect();
    assert_eq!(fronts.len(), 2);
    assert!(fronts.iter().all(|id| twice.log.contains(id.as_str())), "{twice:?}");
    assert!(!twice.log.contains("Workshop"), "{twice:?}");
    for near in ["workshop", "Work", "Workshop "] {
        let none = rig.config.run(&["unlock", near]).await;
        assert_eq!(none.code(), Some(1), "{none:?}");
        assert!(
            none.log.contains("letter for letter") && none.log.contains("Workshop, Heron Mill"),
            "{none:?}"
        );
    }
    // The owner's name for one door is the vendor's for another: neither wins.
    rig.config.set(&format!("/doors/settings/{}/name", rig.door("Roof Terrace")), "Workshop");
    let twice = rig.config.run(&["unlock", "Workshop"]).await;
    assert_eq!(twice.code(), Some(1), "{twice:?}");
    assert!(twice.log.contains("several doors have the name"), "{twice:?}");
    assert_eq!(rig.acts(), []);
    drop(gateway);
}

#[tokio::test]
async fn each_way_to_end_has_an_exit_code_of_its_own() {
    let (rig, gateway) = running().await;
    let client = rig.client().await;
    let refused = rig.config.run(&["unlock", "Server Room"]).await;
    assert_eq!(refused.code(), Some(3), "{refused:?}");
    assert!(refused.out.starts_with("refused: ") && refused.log.contains("what to do: "), "{refused:?}");
    assert_eq!(rig.acts(), []);

    let forbidden = Effect::Status { status: 403, body: ErrorBody::Plain, retry_after: None };
    rig.world.inject(Fault::once(Endpoint::AdminUnlock, forbidden)).unwrap();
    let failed = rig.config.run(&["unlock", "Workshop"]).await;
    assert_eq!(failed.code(), Some(4), "{failed:?}");
    assert!(failed.out.starts_with("failed: "), "{failed:?}");

    let cut = Effect::Cut { moment: Cut::AfterExecute };
    rig.world.inject(Fault::once(Endpoint::AdminUnlock, cut)).unwrap();
    let unknown = rig.config.run(&["unlock", "Roof Terrace"]).await;
    assert_eq!(unknown.code(), Some(5), "{unknown:?}");
    assert!(
        unknown.out.starts_with("unknown: ") && unknown.log.contains("look before you try again"),
        "{unknown:?}"
    );

    let executed = || rig.acts().iter().filter(|act| act.executed).count();
    let before = executed();
    let door = rig.door("Delivery Gate");
    gateway.signal("STOP");
    let silent = rig.config.run(&["unlock", "Delivery Gate", "--wait", "2s"]).await;
    assert_eq!(silent.code(), Some(6), "{silent:?}");
    assert!(
        silent.out.starts_with("unknown: ") && silent.out.contains("look before you try again"),
        "{silent:?}"
    );
    assert!(silent.log.contains("nothing was heard from the gateway yet"), "{silent:?}");
    let json = rig.config.run(&["unlock", "Delivery Gate", "--wait", "2s", "--json"]).await;
    assert_eq!(objects(&json)[0]["reason"], "no_answer", "{json:?}");
    let sent = client.payloads(&format!("verkada/door/{door}/set"));
    assert_eq!(sent.len(), 2, "each of the two is published once: {sent:?}");
    assert_eq!(executed(), before);
}

#[tokio::test]
async fn a_lockdown_is_started_and_ended() {
    let (rig, _gateway) = running().await;
    let scenario = rig.scenario("Lockdown Tern Yard");
    let on = rig.config.run(&["activate", "Lockdown Tern Yard"]).await;
    assert_eq!(on.code(), Some(0), "{on:?}");
    assert!(rig.world.is_active(&scenario).unwrap());
    let off = rig.config.run(&["release", scenario.as_str()]).await;
    assert_eq!(off.code(), Some(0), "{off:?}");
    assert!(!rig.world.is_active(&scenario).unwrap());
    let acts: Vec<Endpoint> = rig.acts().iter().map(|act| act.endpoint).collect();
    assert_eq!(acts, [Endpoint::Activate, Endpoint::Release]);
}

/// Nobody need hear what is said beside it, and no list need hold it: whether there is such a scenario, the gateway says.
#[tokio::test]
async fn nothing_but_the_broker_keeps_a_lockdown_from_being_sent() {
    let (rig, mut gateway) = running().await;
    let missing = "11111111-2222-4333-8444-555555555555";
    let ended = rig.config.run(&["activate", missing]).await;
    assert_eq!(ended.code(), Some(3), "{ended:?}");
    assert!(ended.log.contains("unknown_target"), "{ended:?}");
    gateway.signal("KILL");
    gateway.end_within(LIMIT).await;
    rig.holds("verkada/availability", "offline").await;
    let client = rig.client().await;
    let scenario = rig.scenario("Lockdown Tern Yard");
    let mut full = Command::new("/bin/sh");
    // The third descriptor keeps open what tells here when it ends.
    full.args(["-c", r#"exec "$0" activate "$1" --wait 3s --config "$2" 3>&2 >/dev/full 2>/dev/full"#]);
    full.arg(env!("CARGO_BIN_EXE_verkada2mqtt")).arg(scenario.as_str()).arg(rig.config.path());
    let ended = Process::of(&mut full).end_within(LIMIT).await;
    assert_eq!(ended.code(), Some(6), "{ended:?}");
    let set = format!("verkada/scenario/{scenario}/set");
    let sent = client.payloads(&set);
    assert!(matches!(&sent[..], [one] if one.contains("activate")), "{sent:?}");
}

#[tokio::test]
async fn a_code_comes_from_a_file_or_a_terminal_and_never_from_the_configuration() {
    let mut rig = Rig::start().await;
    let pin = "canary-pin-of-the-gateway";
    let code = rig.config.secret_file("code", pin);
    let wrong = rig.config.secret_file("wrong", "canary-of-another");
    rig.config.set("/commands/code_file", code.clone());
    let _gateway = rig.run_ready().await;
    rig.all_is_shown().await;
    // The configuration names the file, but whoever asks has to bring the code.
    let none = rig.config.run(&["unlock", "Workshop"]).await;
    assert_eq!(none.code(), Some(1), "{none:?}");
    assert!(none.log.contains("there is no terminal to ask at; give it with --code-file"), "{none:?}");
    let refused = rig.config.run(&["unlock", "Workshop", "--code-file", &wrong]).await;
    assert_eq!(refused.code(), Some(3), "{refused:?}");
    assert!(!format!("{refused:?}").contains("canary"), "{refused:?}");
    assert_eq!(rig.acts(), []);
    let done = rig.config.run(&["unlock", "Workshop", "--code-file", &code]).await;
    assert_eq!(done.code(), Some(0), "{done:?}");
    // An activate needs none and asks for none.
    let activate = rig.config.run(&["activate", "Lockdown Tern Yard"]).await;
    assert_eq!(activate.code(), Some(0), "{activate:?}");
    let usage = rig.config.run(&["activate", "Lockdown Tern Yard", "--code-file", &code]).await;
    assert_eq!(usage.code(), Some(2), "{usage:?}");
}

#[tokio::test]
async fn whoever_asks_needs_no_secret_of_the_gateway() {
    let (rig, _gateway) = running().await;
    let file = rig.config.path().with_file_name("asks.yaml");
    let text = format!(
        "verkada: {{ api_key_file: /nowhere/key }}\nmqtt: {{ url: \"mqtt://{0}\", username: gateway, password_file: \
         /nowhere/password }}\ncommands: {{ code_file: /nowhere/code, code_for: [release] }}\n",
        rig.broker.address()
    );
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let ended = Process::run(&["doors", "--config", file]).await;
    assert_eq!(ended.code(), Some(78), "the password is needed: {ended:?}");
    assert!(ended.log.contains("mqtt.password_file") && !ended.log.contains("api_key"), "{ended:?}");
    let password = rig.config.secret_file("password", "secret");
    let own = ["--username", "shell", "--password-file", &password];
    let ended = Process::run(&[&["doors", "--config", file], &own[..]].concat()).await;
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    let ended = Process::run(&[&["unlock", "Workshop", "--config", file], &own[..]].concat()).await;
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    let broker = format!("mqtt://{}", rig.broker.address());
    let ended = Process::run(&["scenarios", "--broker", &broker]).await;
    assert_eq!(ended.code(), Some(0), "{ended:?}");
}

#[tokio::test]
async fn events_are_listed_and_followed() {
    let (rig, gateway) = running().await;
    let door = rig.door("Workshop");
    let mut follower = rig.config.start(&["events", "--follow"]);
    let mut programs = rig.config.start(&["events", "--follow", "--json"]);
    // Whoever follows is heard of by nobody, so the door is used until both tell of it.
    let line = eventually("both tell of an event", async || {
        rig.world.exit(&door).unwrap();
        let line = follower.out().into_iter().find(|line| line.contains("Workshop"))?;
        (!programs.out().is_empty()).then_some(line)
    })
    .await;
    let told: Value = serde_json::from_str(&programs.out()[0]).unwrap();
    assert_eq!((&told["door"], &told["door_id"]), (&json!("Workshop"), &json!(door.as_str())), "{told}");
    assert!(line.contains(told["type"].as_str().unwrap()) || line.contains("door_"), "{line}");
    for process in [&mut follower, &mut programs] {
        process.signal("INT");
        assert_eq!(process.end_within(LIMIT).await.code(), Some(0));
    }
    let last = rig.config.run(&["events"]).await;
    assert_eq!(last.code(), Some(0), "{last:?}");
    assert!(last.out.starts_with("time ") && last.out.contains("  Workshop  "), "{last:?}");
    let last = objects(&rig.config.run(&["events", "--json"]).await);
    assert!(last.iter().any(|event| event["door"] == "Workshop" && event["time"].is_string()), "{last:?}");
    drop(gateway);
}

#[tokio::test]
async fn a_broker_that_cannot_be_reached_is_told_with_its_place() {
    let rig = Rig::start().await;
    let nowhere = crate::rig::free_address();
    let broker = format!("mqtt://{nowhere}");
    for command in [&["doors"][..], &["unlock", "x"], &["activate", "x", "--wait", "1s"], &["events"]] {
        let ended = Process::run(&[command, &["--broker", &broker]].concat()).await;
        assert_eq!(ended.code(), Some(1), "{command:?} {ended:?}");
        assert!(ended.log.contains(&format!("cannot use the broker {nowhere}: ")), "{ended:?}");
    }
    assert_eq!(rig.acts(), []);
}

#[tokio::test]
async fn a_lockdown_that_cannot_be_sent_is_told_within_a_second_or_so() {
    // It takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = format!("mqtt://{}", silent.local_addr().unwrap());
    let began = Instant::now();
    let activate = Process::start(&["activate", "x", "--broker", &broker]);
    activate.logs("not sent yet: it does not answer").await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

/// Nobody at a shell is a gateway: no heartbeat of theirs may be taken for one, and nothing is left behind.
#[tokio::test]
async fn the_gateway_is_not_disturbed_and_nothing_is_left_on_the_broker() {
    let (rig, gateway) = running().await;
    let topics = || -> Vec<String> { rig.broker.retained("#").into_iter().map(|(topic, _)| topic).collect() };
    let (before, logged) = (topics(), gateway.log().len());
    for command in [&["doors"][..], &["scenarios"], &["events"], &["unlock", "nobody"]] {
        rig.config.run(command).await;
    }
    assert_eq!(topics(), before);
    let log = gateway.log()[logged..].join("\n");
    assert!(!log.contains("another gateway") && !log.contains("MQTT link"), "{log}");
}
