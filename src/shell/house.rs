//! What the gateway has told of doors and scenarios, as a reader of its topics knows it.

use std::{collections::BTreeMap, str::FromStr};

use serde_json::Value;

use crate::{
    hass::{Topics, payload},
    model::{DoorId, ScenarioId},
};

/// What was heard. What was not is not known.
#[derive(Debug, Default)]
pub(super) struct House {
    /// Whether the gateway runs.
    pub(super) gateway: Option<bool>,
    /// Whether the vendor's API answers.
    pub(super) api: Option<bool>,
    pub(super) doors: BTreeMap<DoorId, Thing>,
    pub(super) scenarios: BTreeMap<ScenarioId, Thing>,
}

/// A door or scenario.
#[derive(Debug, Default)]
pub(super) struct Thing {
    online: Option<bool>,
    state: Option<String>,
    position: Option<String>,
    attributes: Value,
}

impl House {
    /// Takes what was published; says whether it is about anything here.
    pub(super) fn hear(&mut self, topics: &Topics, topic: &str, payload: &[u8]) {
        let text = std::str::from_utf8(payload).ok().filter(|text| !text.is_empty());
        if topic == topics.availability() {
            self.gateway = text.and_then(online);
        } else if topic == topics.api_availability() {
            self.api = text.and_then(online);
        } else if let Some((kind, id, leaf)) = parts(topics, topic) {
            match kind {
                "door" => note(&mut self.doors, id, leaf, text),
                "scenario" => note(&mut self.scenarios, id, leaf, text),
                _ => {}
            }
        }
    }

    /// Why nothing that is retained can be believed, if that is so.
    pub(super) const fn doubt(&self) -> Option<&'static str> {
        match (self.gateway, self.api) {
            (None, _) => Some(
                "the broker knows of no gateway under this mqtt.base_topic, or this user may not read its topics",
            ),
            (Some(false), _) => Some("the gateway is offline"),
            (Some(true), Some(false)) => Some("the gateway does not reach Verkada"),
            (Some(true), Some(true) | None) => None,
        }
    }
}

impl Thing {
    /// Whether what it shows is true now.
    pub(super) fn is_available(&self, house: &House) -> bool {
        house.doubt().is_none() && self.online == Some(true)
    }

    /// The state, in small letters, where it is known now.
    pub(super) fn state(&self, house: &House) -> Option<String> {
        self.known(house, self.state.as_deref())
    }

    /// The position, in small letters, where it is known now.
    pub(super) fn position(&self, house: &House) -> Option<String> {
        self.known(house, self.position.as_deref())
    }

    fn known(&self, house: &House, word: Option<&str>) -> Option<String> {
        let word = word.filter(|word| *word != payload::UNKNOWN && self.is_available(house))?;
        Some(word.to_ascii_lowercase())
    }

    /// A member of the attributes.
    pub(super) fn attribute(&self, name: &str) -> &Value {
        self.attributes.get(name).unwrap_or(&Value::Null)
    }

    /// A text among the attributes.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.attribute(name).as_str()
    }
}

fn online(text: &str) -> Option<bool> {
    match text {
        payload::ONLINE => Some(true),
        payload::OFFLINE => Some(false),
        _ => None,
    }
}

/// The kind of a thing, its id, and what of it a topic tells.
pub(super) fn parts<'a>(topics: &Topics, topic: &'a str) -> Option<(&'a str, &'a str, &'a str)> {
    let rest = topic.strip_prefix(topics.base())?.strip_prefix('/')?;
    let mut levels = rest.split('/');
    let found = (levels.next()?, levels.next()?, levels.next()?);
    levels.next().is_none().then_some(found)
}

/// Notes what is told of a thing. Nothing in place of the availability says that it is gone.
fn note<K: FromStr + Ord>(things: &mut BTreeMap<K, Thing>, id: &str, leaf: &str, text: Option<&str>) {
    let Ok(id) = id.parse::<K>() else { return };
    let owned = text.map(str::to_owned);
    match leaf {
        "availability" | "attributes" if text.is_none() => _ = things.remove(&id),
        "availability" => things.entry(id).or_default().online = text.and_then(online),
        "state" if text.is_some() => things.entry(id).or_default().state = owned,
        "position" if text.is_some() => things.entry(id).or_default().position = owned,
        "attributes" => {
            let attributes = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            things.entry(id).or_default().attributes = attributes;
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn house(messages: &[(&str, &str)]) -> House {
        let (topics, mut house) = (Topics::new("verkada"), House::default());
        for (topic, payload) in messages {
            house.hear(&topics, &format!("verkada/{topic}"), payload.as_bytes());
        }
        house
    }

    #[test]
    fn nothing_is_known_unless_gateway_api_and_door_are_online() {
        let all = [
            ("availability", "online"),
            ("bridge/api/availability", "online"),
            ("door/d/availability", "online"),
        ];
        let shown = |messages: &[(&str, &str)]| {
            let house =
                house(&[messages, &[("door/d/state", "LOCKED"), ("door/d/position", "None")]].concat());
            let door = &house.doors[&"d".parse().unwrap()];
            (door.state(&house), door.position(&house))
        };
        assert_eq!(shown(&all), (Some("locked".to_owned()), None));
        for (left_out, (topic, _)) in all.into_iter().enumerate() {
            let mut offline = all;
            offline[left_out].1 = "offline";
            assert_eq!(shown(&offline), (None, None), "{topic} is offline");
            let mut missing = all.to_vec();
            missing.remove(left_out);
            // A gateway tells of the API only once it was asked.
            let expected = (topic == "bridge/api/availability").then(|| "locked".to_owned());
            assert_eq!(shown(&missing).0, expected, "{topic} is missing");
        }
    }

    #[test]
    fn a_door_that_is_withdrawn_is_gone() {
        let house = house(&[("door/d/attributes", "{}"), ("door/d/attributes", ""), ("door/d/state", "")]);
        assert!(house.doors.is_empty());
    }
}
