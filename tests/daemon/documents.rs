//! What the documents say of topics is what the gateway does.

use std::collections::{BTreeMap, BTreeSet};

use verkada2mqtt::simulator::world::calendars::Content;

use crate::rig::{Rig, eventually, ready};

/// The topics of `docs/topics.md`, each with whether it is retained.
fn told() -> BTreeMap<String, bool> {
    let page = include_str!("../../docs/topics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `verkada/"));
    rows.flat_map(|row| {
        let mut cells = row.trim_matches('|').split(" | ");
        let (topics, retained) = (cells.next().unwrap(), cells.next().unwrap().trim().starts_with("yes"));
        let topics = topics.split('`').filter(|topic| topic.starts_with("verkada/"));
        topics.map(move |topic| (topic.to_owned(), retained)).collect::<Vec<_>>()
    })
    .collect()
}

/// A topic with its id left out.
fn general(topic: &str) -> String {
    let mut parts: Vec<&str> = topic.split('/').collect();
    if let ["verkada", "door" | "scenario" | "calendar", id, ..] = &mut parts[..] {
        *id = "<id>";
    }
    parts.join("/")
}

#[tokio::test]
async fn every_topic_is_told_of_and_retained_as_it_is_told() {
    let mut rig = Rig::start_with_webhooks("canary-of-the-webhook").await;
    rig.config.set("/commands/hold", true);
    rig.config.set("/calendars/show", true);
    let door = rig.door("Workshop");
    let holidays = Content { name: "Holidays".to_owned(), doors: vec![door.clone()], exceptions: Vec::new() };
    rig.world.write_calendar(None, holidays).unwrap();
    let gateway = rig.run();
    ready(&gateway).await;
    let client = rig.client().await;
    for (target, action) in [
        (format!("door/{door}"), "unlock"),
        (format!("scenario/{}", rig.scenario("Lockdown Tern Yard")), "activate"),
    ] {
        let command = format!(r#"{{"action": "{action}", "id": "{action}"}}"#);
        client.publish(&format!("verkada/{target}/set"), command).await;
        assert_eq!(client.result(&target, action).await["outcome"], "done");
    }
    rig.world.badge(&door, None).unwrap();
    let told = told();
    assert!(told.len() > 50, "{told:?}");
    // What comes after a minute, or once something has happened that does not happen here.
    let rare = [
        "verkada/bridge/last_poll",
        "verkada/bridge/webhook_missed",
        "verkada/door/<id>/fire",
        "verkada/door/<id>/tamper",
    ];
    let expected: BTreeSet<String> = told
        .iter()
        .filter(|(topic, retained)| **retained && !rare.contains(&topic.as_str()))
        .map(|(topic, _)| topic.clone())
        .collect();
    let held = || -> BTreeSet<String> {
        rig.broker.retained("verkada/#").into_iter().map(|(topic, _)| general(&topic)).collect()
    };
    eventually("all that is told to be retained is there", async || {
        expected.is_subset(&held()).then_some(())
    })
    .await;
    for topic in held() {
        assert_eq!(told.get(&topic), Some(&true), "{topic} is retained");
    }
    for message in client.heard() {
        let topic = general(&message.topic);
        let known = !topic.starts_with("verkada/") || told.contains_key(&topic);
        assert!(known, "{topic} is not told of");
    }
}
