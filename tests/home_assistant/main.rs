//! The gateway with a real Home Assistant and the broker that both use.
//!
//! It needs both, so it is ignored unless asked for, and says so and stops where their addresses are not given:
//! `HOME_ASSISTANT_URL` (`http://..`), `HOME_ASSISTANT_TOKEN` (of an administrator) and `HOME_ASSISTANT_MQTT`
//! (`host:port` of the broker; no user is asked for). The vendor is simulated. What it announces, it withdraws. To see
//! what happens while Home Assistant is down, `HOME_ASSISTANT_STOP` and `HOME_ASSISTANT_START` are shell commands that
//! stop and start it.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a check fails by panicking; a member that JSON lacks is null"
)]
#![expect(clippy::print_stderr, reason = "a person watches this check")]

mod assistant;
mod gateway;
mod holds;
mod registry;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    panic,
    time::Duration,
};

use serde_json::{Value, json};
use verkada2mqtt::{
    clock,
    model::{DoorId, ScenarioId},
    simulator::{self, Settings, Simulator, ledger::Endpoint, organisation::Organisation},
};

use self::{
    assistant::Assistant,
    gateway::{Gateway, Setup},
};

/// How long it may take until Home Assistant shows what was announced: it collects for a second, then subscribes.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);

/// How long it may take until Home Assistant has seen that a killed gateway is gone.
const GONE_WITHIN: Duration = Duration::from_secs(15);

/// How long a command may take to its last state: the door's unlock time, or the next read of the scenarios.
const DONE_WITHIN: Duration = Duration::from_secs(20);

/// The key that the simulated vendor takes.
const API_KEY: &str = "a-key-for-the-check";

/// The prefix of discovery that Home Assistant listens to unless told otherwise.
const DISCOVERY: &str = "homeassistant";

/// Both styles of discovery, each under a base topic of its own.
const STYLES: [(&str, &str); 2] =
    [("device", "verkada-check-device"), ("component", "verkada-check-component")];

#[test]
#[ignore = "needs a Home Assistant: see CONTRIBUTING.md"]
fn doors_and_scenarios_work_in_home_assistant() {
    with_building(check);
}

#[test]
#[ignore = "needs a Home Assistant: see CONTRIBUTING.md"]
fn the_registry_stays_clean_in_home_assistant() {
    with_building(registry::check);
}

#[test]
#[ignore = "needs a Home Assistant: see CONTRIBUTING.md"]
fn a_door_is_held_in_home_assistant() {
    with_building(holds::check);
}

fn with_building(check: impl FnOnce(&Place, &Building) + Send + 'static) {
    let Some(place) = Place::from_environment() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let checked = runtime.block_on(async {
        let building = Building::open().await;
        // The check waits on sockets in the plain way, so it has a thread of its own beside the simulated vendor.
        tokio::task::spawn_blocking(move || check(&place, &building)).await
    });
    if let Err(failure) = checked {
        panic::resume_unwind(failure.into_panic());
    }
}

/// Where Home Assistant and its broker are.
struct Place {
    url: String,
    token: String,
    broker: String,
}

impl Place {
    fn from_environment() -> Option<Self> {
        Some(Self {
            url: variable("HOME_ASSISTANT_URL")?,
            token: variable("HOME_ASSISTANT_TOKEN")?,
            broker: variable("HOME_ASSISTANT_MQTT")?,
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a check that is run by hand takes its addresses from the environment"
)]
fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    if value.is_none() {
        // Written past the test runner's capture, so that a run that checked nothing does not look like one that did.
        writeln!(std::io::stderr(), "SKIPPED: {name} is not set; CONTRIBUTING.md says how to run this check")
            .ok();
    }
    value
}

/// The simulated vendor, and the door and scenario that the check uses.
struct Building {
    vendor: Simulator,
    /// A door that may be unlocked, and opens for a short time.
    door: DoorId,
    scenario: ScenarioId,
    /// The ids of all doors and scenarios.
    ids: Vec<String>,
}

impl Building {
    async fn open() -> Self {
        let mut organisation = Organisation::demo();
        let door =
            organisation.doors.iter_mut().find(|door| door.api_control).expect("the demo has such doors");
        door.unlock_time = Duration::from_secs(3);
        let door = door.id.clone();
        let scenario = organisation.scenarios.first().expect("the demo has scenarios").id.clone();
        let doors = organisation.doors.iter().map(|door| door.id.to_string());
        let ids =
            doors.chain(organisation.scenarios.iter().map(|scenario| scenario.id.to_string())).collect();
        let vendor =
            simulator::start(Settings::new(organisation, API_KEY)).await.expect("the simulator starts");
        Self { vendor, door, scenario, ids }
    }

    /// How often the building obeyed a call to one of the endpoints for the target.
    fn executed(&self, endpoints: &[Endpoint], target: &str) -> usize {
        let ledger = self.vendor.handle().ledger();
        let entries = ledger.iter().filter(|entry| endpoints.contains(&entry.endpoint) && entry.executed);
        entries.filter(|entry| entry.target.as_deref() == Some(target)).count()
    }

    fn scenario_is_active(&self) -> bool {
        self.vendor.handle().is_active(&self.scenario).expect("the scenario is there")
    }
}

fn check(place: &Place, building: &Building) {
    let mut assistant = Assistant::connect(&place.url, &place.token);
    for (_, base_topic) in STYLES {
        withdraw(place, &mut assistant, base_topic);
    }
    assistant.call("system_log.clear", &json!({}));
    for (style, base_topic) in STYLES {
        eprintln!("discovery style {style}");
        let setup = Setup {
            api: building.vendor.base_url().as_str(),
            api_key: API_KEY,
            broker: &place.broker,
            discovery: style,
            base_topic,
            door: building.door.as_str(),
        };
        let mut gateway = Gateway::start(&setup);
        let shown = Shown::wait_for(place, &mut assistant, building, style, base_topic);
        unlocks_once(place, &mut assistant, building, &shown);
        switches_on_and_off(&mut assistant, building, &shown);
        turns_unavailable_and_back(&mut assistant, &mut gateway, &shown);
        gateway.stop();
        shown.wait_until_unavailable(&mut assistant);
        withdraw(place, &mut assistant, base_topic);
        wait(&mut assistant, SHOWN_WITHIN, "all entities to be withdrawn", |assistant| {
            let known = assistant.entities();
            (!known.iter().any(|entity| shown.unique_ids.contains(&entity.unique_id))).then_some(())
        });
    }
    let complaints = assistant.complaints("verkada");
    assert!(complaints.is_empty(), "Home Assistant's log complains:\n{}", complaints.join("\n"));
}

/// What Home Assistant made of the announcements: entity ids by what they are.
struct Shown {
    unique_ids: BTreeSet<String>,
    /// All that are not disabled, but for `connection`.
    entities: BTreeSet<String>,
    lock: String,
    switch: String,
    /// Tells that the gateway is gone, and is therefore never unavailable itself.
    connection: String,
}

impl Shown {
    /// Waits until every door and scenario is announced in the wanted style, and has a known state.
    fn wait_for(
        place: &Place,
        assistant: &mut Assistant,
        building: &Building,
        style: &str,
        base_topic: &str,
    ) -> Self {
        let unique_ids = wait(assistant, SHOWN_WITHIN, "every door and scenario to be announced", |_| {
            let announced = announcements(place, base_topic);
            let in_style =
                |topic: &String| topic.starts_with(&format!("{DISCOVERY}/device/")) == (style == "device");
            let unique_ids: BTreeSet<_> = announced.values().flat_map(unique_ids).collect();
            let is_there = |id: &String| unique_ids.iter().any(|unique_id| unique_id.contains(id.as_str()));
            (announced.keys().all(in_style) && building.ids.iter().all(is_there)).then_some(unique_ids)
        });
        let shown = wait(assistant, SHOWN_WITHIN, "every announced entity to be registered", |assistant| {
            Self::registered(assistant, building, &unique_ids)
        });
        shown.wait_until_available(assistant);
        shown
    }

    fn registered(
        assistant: &mut Assistant,
        building: &Building,
        unique_ids: &BTreeSet<String>,
    ) -> Option<Self> {
        let mut ours = assistant.entities();
        ours.retain(|entity| unique_ids.contains(&entity.unique_id));
        let find = |domain: &str, word: &str| {
            let mut hits = ours.iter().filter(|e| e.id.starts_with(domain) && e.unique_id.contains(word));
            hits.next().map(|entity| entity.id.clone())
        };
        let (lock, switch, connection) = (
            find("lock.", building.door.as_str())?,
            find("switch.", building.scenario.as_str())?,
            find("binary_sensor.", "_connection")?,
        );
        (ours.len() == unique_ids.len()).then(|| {
            let enabled = ours.iter().filter(|entity| !entity.disabled && entity.id != connection);
            let entities = enabled.map(|entity| entity.id.clone()).collect();
            Self { unique_ids: unique_ids.clone(), entities, lock, switch, connection }
        })
    }

    fn wait_until_available(&self, assistant: &mut Assistant) {
        wait(assistant, SHOWN_WITHIN, "every entity to be available", |assistant| {
            let states = assistant.states();
            let available = |id| states.get(id).is_some_and(|state| state != "unavailable");
            let settled = states.get(&self.lock).is_some_and(|state| state == "locked")
                && states.get(&self.switch).is_some_and(|state| state == "off")
                && states.get(&self.connection).is_some_and(|state| state == "on");
            (settled && self.entities.iter().all(available)).then_some(())
        });
    }

    fn wait_until_unavailable(&self, assistant: &mut Assistant) {
        wait(
            assistant,
            GONE_WITHIN,
            "every entity to be unavailable and Connection to be off",
            |assistant| {
                let states = assistant.states();
                let gone = |id| states.get(id).is_some_and(|state| state == "unavailable");
                let told = states.get(&self.connection).is_some_and(|state| state == "off");
                (told && self.entities.iter().all(gone)).then_some(())
            },
        );
    }
}

fn unlocks_once(place: &Place, assistant: &mut Assistant, building: &Building, shown: &Shown) {
    let unlocks =
        || building.executed(&[Endpoint::AdminUnlock, Endpoint::UserUnlock], building.door.as_str());
    let before = unlocks();
    let mut watcher = Assistant::connect(&place.url, &place.token);
    watcher.command("subscribe_events", json!({"event_type": "state_changed"}));
    assistant.call("lock.unlock", &json!({"entity_id": shown.lock}));
    let deadline = clock::now().mono + DONE_WITHIN;
    let mut states = Vec::new();
    while states.last().is_none_or(|state| state != "locked") {
        let Some(event) = watcher.next_event(deadline) else {
            panic!("the door went {states:?} and no further")
        };
        let data = &event["data"];
        // A change of attributes alone repeats the state.
        if data["entity_id"] == shown.lock.as_str()
            && data["new_state"]["state"] != data["old_state"]["state"]
        {
            states.push(data["new_state"]["state"].as_str().unwrap_or_default().to_owned());
        }
    }
    assert_eq!(states, ["unlocking", "unlocked", "locked"]);
    assert_eq!(unlocks() - before, 1, "one press opens the door once");
}

fn switches_on_and_off(assistant: &mut Assistant, building: &Building, shown: &Shown) {
    let executed = |endpoints: &[Endpoint]| building.executed(endpoints, building.scenario.as_str());
    let started = || executed(&[Endpoint::Activate]);
    let ended = || executed(&[Endpoint::Release, Endpoint::Deactivate]);
    let before = (started(), ended());
    for (service, state) in [("switch.turn_on", "on"), ("switch.turn_off", "off")] {
        assistant.call(service, &json!({"entity_id": shown.switch}));
        wait(assistant, DONE_WITHIN, "the switch to follow", |assistant| {
            (assistant.states().get(&shown.switch).is_some_and(|is| is == state)).then_some(())
        });
        assert_eq!(building.scenario_is_active(), state == "on", "the switch shows what the building does");
    }
    assert_eq!((started() - before.0, ended() - before.1), (1, 1), "each press acts once");
}

fn turns_unavailable_and_back(assistant: &mut Assistant, gateway: &mut Gateway, shown: &Shown) {
    gateway.kill();
    shown.wait_until_unavailable(assistant);
    gateway.start_again();
    shown.wait_until_available(assistant);
}

/// Clears what the broker retains of a gateway with this base topic: its announcements, and then all of its topics.
fn withdraw(place: &Place, assistant: &mut Assistant, base_topic: &str) {
    for topic in announcements(place, base_topic).keys() {
        assistant.publish(topic, "", true);
    }
    for topic in retained(place, &format!("{base_topic}/#")).keys() {
        assistant.publish(topic, "", true);
    }
    assert!(announcements(place, base_topic).is_empty(), "the broker keeps what was withdrawn");
}

/// The retained announcements that lead to topics of the base topic, by their own topic.
fn announcements(place: &Place, base_topic: &str) -> BTreeMap<String, Value> {
    let configs = retained(place, &format!("{DISCOVERY}/#")).into_iter();
    let ours = configs.filter(|(_, payload)| payload.contains(&format!("\"{base_topic}/")));
    ours.map(|(topic, payload)| (topic, serde_json::from_str(&payload).expect("announcements are JSON")))
        .collect()
}

/// What the broker retains under a filter, as Home Assistant's own client reads it.
fn retained(place: &Place, filter: &str) -> BTreeMap<String, String> {
    /// The broker hands out what it retains in one go; after such a pause nothing more is to come.
    const QUIET: Duration = Duration::from_millis(500);
    let deadline = clock::now().mono + Duration::from_secs(5);
    let mut reader = Assistant::connect(&place.url, &place.token);
    reader.command("mqtt/subscribe", json!({"topic": filter}));
    let mut found = BTreeMap::new();
    while let Some(message) = reader.next_event(deadline.min(clock::now().mono + QUIET)) {
        if message["retain"] == true {
            let text = |member: &str| message[member].as_str().unwrap_or_default().to_owned();
            found.insert(text("topic"), text("payload"));
        }
    }
    found
}

/// Every unique id in an announcement of either style.
fn unique_ids(announcement: &Value) -> Vec<String> {
    let components = ["cmps", "components"].iter().find_map(|key| announcement[key].as_object());
    let entities: Vec<&Value> = components.map_or_else(|| vec![announcement], |all| all.values().collect());
    let ids = entities
        .iter()
        .filter_map(|entity| ["uniq_id", "unique_id"].iter().find_map(|key| entity[key].as_str()));
    ids.map(str::to_owned).collect()
}

/// Asks again after each event in Home Assistant, and twice a second, until there is an answer.
fn wait<T>(
    assistant: &mut Assistant,
    limit: Duration,
    what: &str,
    mut ask: impl FnMut(&mut Assistant) -> Option<T>,
) -> T {
    let deadline = clock::now().mono + limit;
    while clock::now().mono < deadline {
        if let Some(answer) = ask(assistant) {
            return answer;
        }
        assistant.next_event(deadline.min(clock::now().mono + Duration::from_millis(500)));
    }
    let complaints = assistant.complaints("verkada").join("\n");
    panic!("waited {limit:?} in vain for {what}; Home Assistant's log says:\n{complaints}");
}
