//! What is in `examples` fits the gateway: topics and commands are its own, and nothing there unlocks by itself.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what fails here fails the test")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// The doors and scenarios of `verkada2mqtt demo`, of which the examples speak.
const DOOR: &str = "2e6975e8-ac82-47db-8a1d-b53306885033";
const SCENARIO: &str = "006d5761-8cb3-4263-b355-27dfc2e049d7";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The topics of a text, with a `+` for what differs between things.
fn topics(text: &str) -> BTreeSet<String> {
    let end = |c: char| !(c.is_ascii_alphanumeric() || "/_-+".contains(c));
    let found = text.match_indices("verkada/").filter_map(|(at, _)| text.get(at..)?.split(end).next());
    let plus = |topic: &str| topic.replace(DOOR, "+").replace(SCENARIO, "+");
    found.filter(|topic| topic.matches('/').count() > 1).map(plus).collect()
}

/// What the access list lets users of doors and scenarios read and write.
fn granted() -> BTreeSet<String> {
    text("mosquitto/acl").lines().filter_map(|line| line.split(' ').nth(2)).map(str::to_owned).collect()
}

#[test]
fn hubs_use_topics_that_exist_and_never_retain_a_command() {
    let granted = granted();
    for file in ["openhab/verkada.things", "homebridge/config.json"] {
        let used = topics(&text(file));
        assert!(used.len() > 2, "{file}: {used:?}");
        let missing: Vec<_> = used.difference(&granted).collect();
        assert!(missing.is_empty(), "{file}: {missing:?}");
        assert!(!text(file).contains("retain\": true") && !text(file).contains("retained=true"), "{file}");
    }
    let things = text("openhab/verkada.things");
    for line in things.lines().filter(|line| line.contains("commandTopic=")) {
        assert!(line.contains("retained=false") && line.contains("qos="), "{line}");
    }
    let channels: BTreeSet<_> = things
        .split(" : ")
        .skip(1)
        .filter_map(|rest| rest.split(' ').next())
        .map(|channel| format!(":{channel}\""))
        .collect();
    let items = text("openhab/verkada.items");
    for channel in channels {
        assert!(items.contains(&channel), "{channel}");
    }
}

#[test]
fn homebridge_stamps_what_it_sends_and_keeps_nothing_back() {
    let config: Value = serde_json::from_str(&text("homebridge/config.json")).unwrap();
    let door = &config["accessories"][0];
    assert_eq!(door["mqttOptions"]["queueQoSZero"], Value::Bool(false), "a command waits for no connection");
    assert_eq!(door["mqttPubOptions"]["retain"], Value::Bool(false));
    let command = door["topics"]["setLockTargetState"]["apply"].as_str().unwrap();
    for part in ["action:", "id:", "issued_at:"] {
        assert!(command.contains(part), "{part} {command}");
    }
}

/// Who may do what with which topics, of an access list.
type Rules = BTreeSet<(String, &'static str, String)>;

fn rules_of_mosquitto() -> Rules {
    let text = text("mosquitto/acl");
    let mut user = "";
    let mut rules = Rules::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("user ") {
            user = name;
        }
        let Some((right, topic)) = line.strip_prefix("topic ").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        let right = match right {
            "read" => "subscribe",
            "write" => "publish",
            "readwrite" => "all",
            other => panic!("{other}"),
        };
        rules.insert((user.to_owned(), right, topic.to_owned()));
    }
    rules
}

fn rules_of_emqx() -> Rules {
    let text = text("emqx/acl.conf");
    let mut rules = Rules::new();
    for rule in text.split("{allow, {user, \"").skip(1) {
        let (user, rest) = rule.split_once("\"}, ").unwrap();
        let (right, rest) = rest.split_once(", [").unwrap();
        let (list, _) = rest.split_once("]}.").unwrap();
        let right = ["subscribe", "publish", "all"].into_iter().find(|word| *word == right).unwrap();
        let topics = list.split(',').map(|topic| topic.trim().trim_matches('"').to_owned());
        rules.extend(topics.map(|topic| (user.to_owned(), right, topic)));
    }
    rules
}

#[test]
fn both_access_lists_give_the_same_rights() {
    let rules = rules_of_mosquitto();
    assert!(rules.len() > 50, "{rules:?}");
    assert_eq!(rules_of_emqx(), rules);
    assert!(text("emqx/acl.conf").trim_end().ends_with("{deny, all}."));
}

/// A blueprint without the inputs of its user, which are another language to YAML.
fn blueprint(file: &str) -> Value {
    let text = text(&format!("home-assistant/blueprints/{file}")).replace("!input ", "");
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Every value under a key, however deep.
fn under<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if name == key {
                    found.push(value);
                }
                under(value, key, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| under(item, key, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn services(blueprint: &Value) -> Vec<String> {
    let mut found = Vec::new();
    under(blueprint, "action", &mut found);
    let mut names: Vec<_> = found.iter().filter_map(|name| name.as_str()).map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn a_blueprint_does_what_it_says_and_nothing_else() {
    for (file, domain, does) in [
        ("lockdown_button.yaml", "automation", &["switch.turn_on"][..]),
        ("lockdown_drill.yaml", "automation", &["button.press"][..]),
        ("door_held_open.yaml", "automation", &[][..]),
        ("unlock_for_visitor.yaml", "script", &["lock.unlock", "lock.unlock"][..]),
    ] {
        let found = blueprint(file);
        assert_eq!(found["blueprint"]["domain"], domain, "{file}");
        assert_eq!(services(&found), does, "{file}");
        // Each input that is used is asked for, and the other way round.
        let asked: BTreeSet<_> = found["blueprint"]["input"].as_object().unwrap().keys().cloned().collect();
        let text = text(&format!("home-assistant/blueprints/{file}"));
        let word = |rest: &str| -> String {
            rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
        };
        let used: BTreeSet<_> = text.split("!input ").skip(1).map(word).collect();
        assert_eq!(asked, used, "{file}");
    }
}

#[test]
fn the_blueprint_that_unlocks_has_no_trigger_and_no_second_try() {
    let found = blueprint("unlock_for_visitor.yaml");
    for key in ["trigger", "triggers", "repeat", "max"] {
        let mut all = Vec::new();
        under(&found, key, &mut all);
        assert!(all.is_empty(), "{key}");
    }
    // Two runs at once would be two unlocks; two ways of one choice are one.
    assert_eq!(found["mode"], "single");
    let mut choices = Vec::new();
    under(&found, "choose", &mut choices);
    assert_eq!(choices.len(), 1);
    // It stands inside of what allows it: what a variable holds behind an "if" differs between versions of Home Assistant.
    let steps = found["sequence"].as_array().unwrap();
    let unlocks: Vec<_> = steps.iter().filter(|step| step.to_string().contains("lock.unlock")).collect();
    let [allowed] = unlocks[..] else { panic!("{unlocks:?}") };
    assert!(allowed["if"].to_string().contains("allowed"), "{allowed}");
    assert!(!allowed["else"].to_string().contains("lock.unlock"), "{allowed}");
}

#[test]
fn no_tap_on_the_dashboard_opens_a_door_or_starts_a_lockdown() {
    let board: Value = serde_yaml::from_str(&text("home-assistant/dashboard.yaml")).unwrap();
    let mut cards = Vec::new();
    cards_of(&board, &mut cards);
    let mut guarded = 0;
    for card in cards {
        let entity = card["entity"].as_str().unwrap_or_default();
        if entity.starts_with("lock.") || entity.starts_with("switch.") {
            for tap in ["tap_action", "icon_tap_action"] {
                assert_eq!(card[tap]["action"], "more-info", "{card}");
            }
            assert_eq!(card["features"], Value::Null, "{card}");
            guarded += 1;
        }
        if card["tap_action"]["action"] == "perform-action" {
            assert!(card["tap_action"]["confirmation"]["text"].is_string(), "{card}");
            guarded += 1;
        }
    }
    assert_eq!(guarded, 5);
}

fn cards_of<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(members) => {
            if members.contains_key("type") {
                found.push(value);
            }
            members.values().for_each(|value| cards_of(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| cards_of(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
