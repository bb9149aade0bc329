//! Names, bodies and messages that mean harm, at the program as it is run.

use std::collections::BTreeMap;

use serde_json::Value;
use verkada2mqtt::simulator::{
    fault::{Effect, ErrorBody, Fault},
    ledger::Endpoint,
};

use crate::{
    process::Process,
    rig::{Rig, eventually},
};

/// Names as nobody means well who gives them.
fn names() -> [String; 6] {
    [
        "#/+/$SYS".to_owned(),
        "Lab\n2026-01-01T00:00:00Z ERROR the gateway stops".to_owned(),
        "\u{1b}[2J\u{1b}]0;owned\u{7}Lab".to_owned(),
        "\u{202e}rood\u{2066}".to_owned(),
        "x".repeat(64 * 1024),
        "../../etc/passwd\0".to_owned(),
    ]
}

/// Each line of the log is an event of the gateway's own, and shows what would move a terminal.
fn is_clean(gateway: &Process) {
    for line in gateway.log() {
        assert!(line.starts_with("20") && line.get(10..11) == Some("T"), "no line of ours: {line:?}");
        let foreign =
            |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        assert!(!line.contains(foreign), "{line:?}");
    }
}

#[tokio::test]
async fn hostile_names_and_messages_stay_data() {
    let mut rig = Rig::start().await;
    rig.config.set("/log/level", "trace");
    let doors = rig.world.doors();
    for (door, name) in doors.iter().zip(names()) {
        rig.world.rename_door(&door.id, &name).unwrap();
    }
    let gateway = rig.run_ready().await;
    rig.all_is_shown().await;
    let client = rig.client().await;
    for topic in [
        format!("verkada/door/{}/set", doors[0].id),
        "verkada/door/..%2f/set".to_owned(),
        "verkada/door/\u{202e}\u{1b}[31m/set".to_owned(),
        "verkada/scenario/ä/set".to_owned(),
    ] {
        for payload in [
            "{\"action\":\"unlock\",\"a\\nERROR b\\u001b[2J\":1}",
            "\u{1b}[31mUNLOCK\n",
            "\0",
            "UNLOCK\u{202e}",
        ] {
            client.publish(&topic, payload).await;
        }
    }
    client.publish(&format!("verkada/door/{}/set", doors[0].id), r#"{"action":"unlock","id":"after"}"#).await;
    assert_eq!(client.result(&format!("door/{}", doors[0].id), "after").await["outcome"], "done");
    assert_eq!(rig.acts().len(), 1, "only what was meant is done");

    for (topic, payload) in rig.held() {
        assert!(!topic.contains(['+', '#', '$']) && topic.len() < 300, "{topic:?}");
        assert!(payload.len() <= 32 * 1024, "{topic} has {} bytes", payload.len());
        if topic.ends_with("/config") || topic.ends_with("/attributes") {
            let message: Value = serde_json::from_slice(&payload).unwrap();
            let name =
                message["device"]["name"].as_str().or_else(|| message["name"].as_str()).unwrap_or_default();
            assert!(name.chars().count() <= 255 && !name.contains(char::is_control), "{topic}: {name:?}");
        }
    }
    is_clean(&gateway);
}

#[tokio::test]
async fn hostile_bodies_change_nothing_and_heal() {
    let mut rig = Rig::start().await;
    rig.config.set("/poll/scenarios", "1s");
    let gateway = rig.run_ready().await;
    rig.all_is_shown().await;
    let answer = |body: &str, headers: &[(&str, &str)]| Effect::Answer {
        status: 200,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>(),
        body: body.to_owned(),
        execute: false,
    };
    let nested = format!("{{\"scenarios\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let effects = [
        Effect::Huge { bytes: 50_000_000 },
        Effect::Status { status: 200, body: ErrorBody::Html, retry_after: None },
        answer(&nested, &[]),
        answer("\u{1f}\u{8b}\u{8}", &[("content-encoding", "gzip")]),
        answer("{\"scenarios\":{}}", &[]),
        answer("<p>ERROR\n\u{1b}[2J\u{202e}", &[("content-type", "text/html")]),
    ];
    let shown = rig.held();
    for effect in effects {
        let before = rig.seen(Endpoint::Scenarios).len();
        rig.world.inject(Fault { endpoint: Some(Endpoint::Scenarios), after: 0, times: 1, effect }).unwrap();
        // Two readings that have begun: the one that was struck, and perhaps one before it.
        eventually("a good list is read after it", async || {
            (rig.seen(Endpoint::Scenarios).len() > before + 2).then_some(())
        })
        .await;
    }
    rig.all_is_shown().await;
    let states = |held: &BTreeMap<String, Vec<u8>>| {
        held.iter()
            .filter(|(topic, _)| topic.ends_with("/state"))
            .map(|(t, p)| (t.clone(), p.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(states(&rig.held()), states(&shown));
    assert!(rig.acts().is_empty());
    is_clean(&gateway);
}
