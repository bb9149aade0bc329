//! The flow of `examples/node-red` in a real Node-RED, driven as somebody who presses its buttons.

use std::{fs, net::SocketAddr, process::Command};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use verkada2mqtt::simulator::ledger::Endpoint;

use crate::{
    process::Process,
    rig::{Rig, eventually, free_address},
};

/// The ids that stand in the flow for those of its user.
const DOOR: &str = "0c81dca6-8fe9-40fa-b924-f3d07e920b6b";
const SCENARIO: &str = "9b7d5c31-1e64-4d0f-a7b2-3f2c8e6d4a55";

/// The flow as its user has set it up: broker and ids are his. Its results go to Node-RED's log as well, where they are seen.
fn flow(broker: SocketAddr, door: &str, scenario: &str) -> String {
    let text =
        include_str!("../../examples/node-red/flow.json").replace(DOOR, door).replace(SCENARIO, scenario);
    let mut flow: Vec<Value> = serde_json::from_str(&text).unwrap();
    for node in &mut flow {
        if node["type"] == "mqtt-broker" {
            node["broker"] = json!(broker.ip().to_string());
            node["port"] = json!(broker.port().to_string());
        }
        if node["type"] == "debug" {
            node["console"] = json!(true);
        }
    }
    json!(flow).to_string()
}

/// Presses a button of the flow.
async fn press(editor: SocketAddr, node: &str) {
    let mut stream = TcpStream::connect(editor).await.unwrap();
    let request = format!(
        "POST /inject/{node} HTTP/1.1\r\nHost: {editor}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{node}: {answer}");
}

#[expect(clippy::disallowed_methods, reason = "a test may be told where Node-RED is")]
fn command() -> Command {
    let words = std::env::var("NODE_RED").unwrap_or_else(|_| "node-red".to_owned());
    let mut words = words.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    command
}

#[tokio::test]
#[ignore = "needs a Node-RED: see CONTRIBUTING.md"]
async fn the_flow_unlocks_locks_down_and_releases_in_node_red() {
    let rig = Rig::start().await;
    let _gateway = rig.run_ready().await;
    let client = rig.client().await;
    let (door, scenario) = (rig.door("Workshop"), rig.scenario("Lockdown Tern Yard"));
    let folder = tempfile::tempdir().unwrap();
    let editor = free_address();
    let flow = flow(rig.broker.address(), door.as_str(), scenario.as_str());
    fs::write(folder.path().join("flows.json"), flow).unwrap();
    let settings = format!(
        "module.exports = {{ flowFile: 'flows.json', uiHost: '{}', uiPort: {}, telemetry: {{ enabled: false }} }};",
        editor.ip(),
        editor.port()
    );
    fs::write(folder.path().join("settings.js"), settings).unwrap();
    let mut command = command();
    command.arg("--userDir").arg(folder.path()).arg("--settings").arg(folder.path().join("settings.js"));
    let node_red = Process::of(&mut command);
    eventually("Node-RED has connected to the broker", async || {
        node_red.out().iter().any(|line| line.contains("Connected to broker")).then_some(())
    })
    .await;

    // What it says of its own set-up before is not about the flow.
    let started = node_red.out().len();
    for (button, told, target) in [
        ("vk_unlock", "unlock done", format!("door/{door}")),
        ("vk_lockdown", "activate done", format!("scenario/{scenario}")),
        ("vk_release", "release done", format!("scenario/{scenario}")),
    ] {
        let skip = client.count();
        press(editor, button).await;
        let result = client.next_result(skip, &format!("verkada/{target}/result")).await;
        assert_eq!((&result["outcome"], &result["by"]), (&json!("done"), &json!("node-red")));
        node_red.says(told).await;
    }
    let acts: Vec<_> = rig.acts().iter().map(|act| act.endpoint).collect();
    assert_eq!(acts, [Endpoint::AdminUnlock, Endpoint::Activate, Endpoint::Release]);
    let log = node_red.out().split_off(started);
    let complaints: Vec<_> =
        log.into_iter().filter(|line| line.contains("[warn]") || line.contains("[error]")).collect();
    assert_eq!(complaints, [""; 0]);
}
