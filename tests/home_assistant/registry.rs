//! Whether Home Assistant's registry stays as clean as the building: doors renamed and removed, another style.

use std::{collections::BTreeMap, process::Command};

use serde_json::json;

use super::{
    API_KEY, Building, Place, SHOWN_WITHIN, announcements,
    assistant::Assistant,
    gateway::{Gateway, Setup},
    retained, variable, wait, withdraw,
};

/// A base topic of its own, for all styles.
const BASE_TOPIC: &str = "verkada-check-registry";

/// Entity ids by unique id.
type Registry = BTreeMap<String, String>;

/// Renames a door, changes the style to and fro, and removes the door while Home Assistant is down.
pub(super) fn check(place: &Place, building: &Building) {
    let mut assistant = Assistant::connect(&place.url, &place.token);
    withdraw(place, &mut assistant, BASE_TOPIC);
    wait(&mut assistant, SHOWN_WITHIN, "an earlier check to be forgotten", |assistant| {
        ours(assistant).is_empty().then_some(())
    });
    assistant.call("system_log.clear", &json!({}));
    let setup = |discovery| Setup {
        api: building.vendor.base_url().as_str(),
        api_key: API_KEY,
        broker: &place.broker,
        discovery,
        base_topic: BASE_TOPIC,
        door: building.door.as_str(),
    };
    let mut gateway = Gateway::start(&setup("device"));
    let all = wait(&mut assistant, SHOWN_WITHIN, "every door and scenario to be registered", |assistant| {
        let all = ours(assistant);
        building.ids.iter().all(|id| all.keys().any(|unique| unique.contains(id.as_str()))).then_some(all)
    });

    renames(&mut assistant, building, &all);
    for style in ["component", "device"] {
        eprintln!("changing over to discovery style {style}");
        gateway.start_again_with(&setup(style));
        wait(&mut assistant, SHOWN_WITHIN, "everything to be announced in the other style alone", |_| {
            let announced = announcements(place, BASE_TOPIC);
            let left = retained(place, "homeassistant/#");
            let moves = left.values().any(|payload| payload.contains("migrate_discovery"));
            let in_style = |topic: &String| topic.contains("/device/") == (style == "device");
            (!announced.is_empty() && announced.keys().all(in_style) && !moves).then_some(())
        });
        assert_eq!(ours(&mut assistant), all, "style {style} keeps every entity and its id");
        available(&mut assistant, &all);
    }
    let mut assistant = removes_while_away(place, building, &mut gateway, assistant, &all);
    gateway.stop();
    withdraw(place, &mut assistant, BASE_TOPIC);
    wait(&mut assistant, SHOWN_WITHIN, "all entities to be withdrawn", |assistant| {
        ours(assistant).is_empty().then_some(())
    });
    let mut complaints = assistant.complaints("verkada");
    // Home Assistant says this of each device whose entities have moved on to topics of their own; it is true.
    complaints.retain(|line| !line.contains("No device components to cleanup"));
    assert!(complaints.is_empty(), "Home Assistant's log complains:\n{}", complaints.join("\n"));
}

/// A renamed door is called so, under the ids that it has.
fn renames(assistant: &mut Assistant, building: &Building, all: &Registry) {
    building.vendor.handle().rename_door(&building.door, "Tradesmen's Entrance").expect("the door is there");
    assistant.publish(&format!("{BASE_TOPIC}/bridge/refresh/set"), "PRESS", false);
    wait(assistant, SHOWN_WITHIN, "the device to be renamed", |assistant| {
        assistant.device_names().iter().any(|name| name == "Tradesmen's Entrance").then_some(())
    });
    assert_eq!(&ours(assistant), all, "a renamed door keeps its ids");
}

/// A door that is removed while Home Assistant is down is gone from its registry once it is up again.
fn removes_while_away(
    place: &Place,
    building: &Building,
    gateway: &mut Gateway,
    assistant: Assistant,
    all: &Registry,
) -> Assistant {
    let (Some(stop), Some(start)) = (variable("HOME_ASSISTANT_STOP"), variable("HOME_ASSISTANT_START"))
    else {
        return assistant;
    };
    drop(assistant);
    run(&stop);
    building.vendor.handle().remove_door(&building.door).expect("the door is there");
    gateway.wait_for_log("a door is gone");
    // What it meant to do when Home Assistant comes back must outlast a crash too.
    gateway.wait_until_remembered();
    gateway.kill();
    gateway.start_again();
    run(&start);
    let mut assistant = Assistant::connect_within(place, SHOWN_WITHIN * 4);
    wait(&mut assistant, SHOWN_WITHIN * 2, "the removed door to be forgotten", |assistant| {
        let known = ours(assistant);
        (!known.keys().any(|unique| unique.contains(building.door.as_str()))).then_some(())
    });
    let mut left = all.clone();
    left.retain(|unique, _| !unique.contains(building.door.as_str()));
    assert_eq!(ours(&mut assistant), left, "and nothing else is");
    available(&mut assistant, &left);
    assert!(!assistant.device_names().iter().any(|name| name == "Tradesmen's Entrance"));
    assistant
}

/// All entities of this check, of which Home Assistant may know nothing else.
fn ours(assistant: &mut Assistant) -> Registry {
    let entities = assistant.entities().into_iter();
    entities
        .filter(|entity| entity.unique_id.starts_with("verkada2mqtt_"))
        .map(|entity| (entity.unique_id, entity.id))
        .collect()
}

fn available(assistant: &mut Assistant, all: &Registry) {
    wait(assistant, SHOWN_WITHIN, "every entity to be available", |assistant| {
        let states = assistant.states();
        let shown = |id: &String| states.get(id).is_none_or(|state| state != "unavailable");
        // A disabled entity has no state.
        let enough = states.keys().filter(|id| all.values().any(|ours| ours == *id)).count() * 2 > all.len();
        (enough && all.values().all(shown)).then_some(())
    });
}

fn run(command: &str) {
    let status = Command::new("sh").args(["-c", command]).status().expect("a shell runs");
    assert!(status.success(), "{command} ended with {status}");
}
