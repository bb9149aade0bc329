//! How Home Assistant is told that an entity leaves, moves, or is to be forgotten.

use serde_json::{Map, Value, json};

use super::{
    Topics,
    discovery::{Entity, origin},
};

/// What takes one entity out of a device that stays.
pub fn removal(entity: &Entity) -> Value {
    json!({ "platform": entity.platform })
}

/// The config of a device that is announced no more while some of its entities may still return: takes the others out.
pub fn removals<'a>(device: (&str, &str), entities: impl Iterator<Item = (&'a String, &'a Entity)>) -> Value {
    let (identifier, name) = device;
    let marks: Map<String, Value> = entities.map(|(key, entity)| (key.clone(), removal(entity))).collect();
    json!({ "device": { "identifiers": [identifier], "name": name }, "origin": origin(), "components": marks })
}

/// Under an old topic, before the same entities are announced under another: Home Assistant unloads them and keeps
/// what it and its users know of them.
pub fn migration() -> Value {
    json!({ "migrate_discovery": true })
}

/// The least that makes Home Assistant take up again what it knows of entities, so that it can forget them when the
/// topic is cleared or they are marked: clearing alone does nothing for a Home Assistant that was away. Commands to
/// such an entity lead nowhere.
///
/// `topic` is the discovery topic; its shape decides the style.
pub fn last_call<'a>(
    topic: &str,
    device: (&str, &str),
    topics: &Topics,
    entities: impl Iterator<Item = (&'a String, &'a Entity)>,
) -> Option<Value> {
    let (identifier, name) = device;
    let facts = json!({ "identifiers": [identifier], "name": name });
    let mut options = entities.map(|(key, entity)| (key.clone(), needs(entity, topics)));
    if topic.ends_with(&format!("/device/{identifier}/config")) {
        let components: Map<String, Value> = options
            .map(|(key, (platform, mut options))| {
                options.insert("platform".to_owned(), json!(platform));
                (key, Value::Object(options))
            })
            .collect();
        return Some(json!({ "device": facts, "origin": origin(), "components": components }));
    }
    let (_, (_, mut message)) = options.next()?;
    message.insert("device".to_owned(), facts);
    message.insert("origin".to_owned(), origin());
    Some(Value::Object(message))
}

/// The platform, and what Home Assistant requires of every entity of it.
fn needs<'a>(entity: &'a Entity, topics: &Topics) -> (&'a str, Map<String, Value>) {
    let platform = entity.platform.as_str();
    let nowhere = topics.bridge("retired");
    let (topic, further) = match platform {
        "lock" | "switch" | "button" | "number" => ("command_topic", None),
        "select" => ("command_topic", Some(("options", json!([])))),
        "alarm_control_panel" => ("command_topic", Some(("state_topic", json!(nowhere)))),
        "event" => ("state_topic", Some(("event_types", json!(["none"])))),
        // Sensors of either kind, and what else only shows.
        _ => ("state_topic", None),
    };
    let mut options = Map::new();
    options.insert("unique_id".to_owned(), json!(entity.unique_id));
    options.insert(topic.to_owned(), json!(nowhere));
    options.extend(further.map(|(key, value)| (key.to_owned(), value)));
    (platform, options)
}
