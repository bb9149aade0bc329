//! Any names and ids: what is announced to Home Assistant is legal, and no two entities are taken for one.

#![expect(
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "what fails here is what fuzzing looks for"
)]

use std::collections::BTreeSet;

use serde_json::Value;

use super::world::{Vendor, World, is_legible};
use crate::model::{Door, Scenario, ScenarioState, Site};

/// The longest discovery message that one device may have, in bytes.
const MAX_BYTES: usize = 32 * 1024;

/// `data` is a byte that chooses the style, and lines: `d <id> <name>` for a door, `s <id> <name>` for a scenario,
/// `@ <name>` for the site of what follows.
pub fn discovery(data: &[u8]) {
    let Some((style, lines)) = data.split_first() else { return };
    let style = if style & 1 == 0 { "device" } else { "component" };
    let config = format!(
        "verkada: {{api_key: k}}\nmqtt: {{url: mqtt://localhost}}\nhome_assistant: {{discovery: {style}}}\n\
         commands: {{hold: true}}\n"
    );
    let world = World::new(&config, vendor(&String::from_utf8_lossy(lines)));
    let (mut topics, mut entities) = (BTreeSet::new(), BTreeSet::new());
    for publication in world.published.iter().rev() {
        let topic = publication.topic.as_str();
        assert!(is_legible(topic) && !topic.contains(['+', '#']) && topic.len() <= 300, "{topic:?}");
        let is_discovery = topic.starts_with("homeassistant/");
        assert!(is_discovery || topic.starts_with("verkada/"), "{topic}");
        // The last message of each topic counts.
        if !is_discovery || !topics.insert(topic) {
            continue;
        }
        assert!(publication.payload.len() <= MAX_BYTES, "{topic}: {} bytes", publication.payload.len());
        let config: Value = serde_json::from_slice(&publication.payload).unwrap();
        check(&config);
        let all =
            config["components"].as_object().map_or_else(|| vec![&config], |all| all.values().collect());
        for entity in all {
            assert!(entities.insert(entity["unique_id"].to_string()), "{}", entity["unique_id"]);
            let id = entity["default_entity_id"].as_str().unwrap();
            let (_, object) = id.split_once('.').unwrap();
            assert!(
                object.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{id}"
            );
            assert!(entities.insert(id.to_owned()), "{id} is there twice");
        }
    }
}

/// At most so many things, so that an input stays quick.
const MAX_THINGS: usize = 12;

fn vendor(text: &str) -> Vendor {
    let mut vendor = Vendor::default();
    let mut site = Site { id: "site-1".parse().unwrap(), name: None };
    // As the client does it, what has no valid id or comes twice is left out.
    let mut ids = BTreeSet::new();
    for line in text.split('\n') {
        let Some((what, rest)) = line.split_once(' ') else { continue };
        if what == "@" {
            site.name = Some(rest.to_owned());
            continue;
        }
        let (id, name) = rest.split_once(' ').map_or((rest, None), |(id, name)| (id, Some(name.to_owned())));
        if ids.len() >= MAX_THINGS || !ids.insert((what, id)) {
            continue;
        }
        match (what, id.parse(), id.parse()) {
            ("d", Ok(id), _) => vendor.doors.push(Door {
                id,
                name,
                site: Some(site.clone()),
                controller: None,
                api_control: Some(true),
                time_zone: None,
            }),
            ("s", _, Ok(id)) => vendor.scenarios.push(Scenario {
                id,
                name,
                kind: None,
                state: ScenarioState::Inactive,
                sites: vec![site.id.clone()],
                doors_to_lock: Vec::new(),
                message: None,
            }),
            _ => {}
        }
    }
    vendor
}

/// No value but a name is missing, every topic is one of ours, and every name can be shown.
fn check(value: &Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                assert!(!value.is_null() || name == "name", "{name} is null");
                if let Some(text) = value.as_str() {
                    if name == "topic" || name.ends_with("_topic") || name == "t" {
                        assert!(
                            text.starts_with("verkada/") && !text.contains(['+', '#']) && is_legible(text),
                            "{text:?}"
                        );
                    }
                    assert!(is_legible(text), "{name}: {text:?}");
                }
                check(value);
            }
        }
        Value::Array(values) => values.iter().for_each(check),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
