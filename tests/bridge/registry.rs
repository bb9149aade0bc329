//! A model of Home Assistant's registry beside the core: whatever happens in whatever order, in the end it knows what
//! the building has, and nothing was announced twice at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::Value;
use verkada2mqtt::{
    bridge::Settings,
    hass::Style,
    model::{LinkEvent, Protocol, Publication},
    rng::Rng,
};

use crate::{
    bench::{Bench, door, ms, scenario, secs, settings},
    memory::amounts_to,
};

/// An entity's topic, and its key in the config there.
type Place = (String, String);

/// Home Assistant, as far as discovery goes.
#[derive(Default)]
struct Assistant {
    up: bool,
    /// How long it takes to load a platform for its first entity.
    loads_for: Duration,
    loaded: BTreeSet<String>,
    /// Entities that wait for their platform: until when, and what was said of them meanwhile.
    pending: BTreeMap<Place, (Instant, Vec<Value>)>,
    /// What outlasts its restarts: unique ids.
    registry: BTreeSet<String>,
    /// Where each live entity came from, and its unique id.
    live: BTreeMap<Place, String>,
    complaints: Vec<String>,
}

impl Assistant {
    fn hear(&mut self, topic: &str, payload: &[u8], now: Instant) {
        self.load(now);
        if !self.up || !topic.ends_with("/config") {
            return;
        }
        let config: Value =
            if payload.is_empty() { Value::Null } else { serde_json::from_slice(payload).unwrap() };
        let said: Vec<(String, Value)> = if payload.is_empty() || config["migrate_discovery"] == true {
            // It is said of everything that came from there.
            let places = self.live.keys().chain(self.pending.keys()).filter(|(from, _)| from == topic);
            let keys: BTreeSet<&String> = places.map(|(_, key)| key).collect();
            keys.into_iter().map(|key| (key.clone(), config.clone())).collect()
        } else if let Some(components) = config["components"].as_object() {
            components.iter().map(|(key, one)| (key.clone(), one.clone())).collect()
        } else {
            let mut single = config;
            single["platform"] = topic.split('/').nth(1).unwrap().into();
            vec![("single".to_owned(), single)]
        };
        for (key, component) in said {
            let place = (topic.to_owned(), key);
            if let Some((_, waiting)) = self.pending.get_mut(&place) {
                waiting.push(component);
                // This is what it does: the others are lost.
                return;
            }
            let platform = component["platform"].as_str().unwrap_or_default().to_owned();
            if component["unique_id"].is_string()
                && !self.loads_for.is_zero()
                && !self.loaded.contains(&platform)
            {
                self.pending.insert(place, (now + self.loads_for, vec![component]));
            } else {
                self.take(place, &component);
            }
        }
    }

    /// Platforms that were loaded by now take what waited for them.
    fn load(&mut self, now: Instant) {
        for (place, (_, waiting)) in
            self.pending.extract_if(.., |_, (until, _)| *until <= now).collect::<Vec<_>>()
        {
            for component in waiting {
                self.loaded.extend(component["platform"].as_str().map(str::to_owned));
                self.take(place.clone(), &component);
            }
        }
    }

    fn take(&mut self, place: Place, component: &Value) {
        if component["migrate_discovery"] == true {
            self.live.remove(&place);
            return;
        }
        let Some(id) = component["unique_id"].as_str() else {
            if let Some(id) = self.live.remove(&place) {
                self.registry.remove(&id);
            }
            return;
        };
        let platform = component["platform"].as_str().unwrap_or_default();
        for key in required(platform) {
            if component[key].is_null() {
                // It does not take such an entity up, and cannot forget it later.
                self.complaints.push(format!("required key not provided: {key} of {id}"));
                return;
            }
        }
        if self.live.iter().any(|(other, known)| known == id && *other != place) {
            self.complaints.push(format!("{id} of {place:?} is known from elsewhere"));
            return;
        }
        self.registry.insert(id.to_owned());
        self.live.insert(place, id.to_owned());
    }

    fn start(&mut self, bench: &Bench) {
        self.up = true;
        for (topic, payload) in bench.retained() {
            self.hear(&topic, &payload, bench.now.mono);
        }
    }

    fn stop(&mut self) {
        self.up = false;
        self.live.clear();
        self.loaded.clear();
        self.pending.clear();
    }
}

/// What it requires of every entity of a platform.
fn required(platform: &str) -> &'static [&'static str] {
    match platform {
        "lock" | "switch" | "button" | "number" => &["command_topic"],
        "select" => &["command_topic", "options"],
        "alarm_control_panel" => &["command_topic", "state_topic"],
        "event" => &["state_topic", "event_types"],
        "sensor" | "binary_sensor" => &["state_topic"],
        other => panic!("the model does not know what Home Assistant requires of {other}"),
    }
}

/// The courses of events that are played: some that went wrong once, and a few more.
const SEEDS: [u64; 25] =
    [13, 15, 33, 38, 50, 66, 90, 142, 1_295, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 17];

/// The core, the broker, Home Assistant and chance.
struct Play {
    bench: Bench,
    assistant: Assistant,
    rng: Rng,
    settings: Settings,
    /// How much of what was published Home Assistant has heard.
    heard: usize,
    begin: Instant,
    diary: Vec<String>,
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut settings = settings(Style::Device);
        settings.commands.hold = seed % 2 == 1;
        let bench = Bench::new(settings.clone());
        let begin = bench.now.mono;
        Self {
            begin,
            bench,
            assistant: Assistant::default(),
            rng: Rng::new(seed),
            settings,
            heard: 0,
            diary: Vec::new(),
        }
    }

    fn run(&mut self, seconds: u64) {
        // In small steps, so that what Home Assistant does comes between what the core says.
        for _ in 0..seconds * 4 {
            self.bench.run(ms(250));
            self.listen();
        }
    }

    fn listen(&mut self) {
        for (at, publication) in self.bench.times.iter().zip(&self.bench.published).skip(self.heard) {
            let Publication { topic, payload, retain, .. } = publication;
            if topic.starts_with("homeassistant/") {
                let since = at.saturating_duration_since(self.begin);
                let mark = if *retain { '=' } else { '!' };
                let what = amounts_to(&String::from_utf8_lossy(payload));
                self.diary.push(format!("   {since:?} {mark}{topic} {what}"));
            }
            self.assistant.hear(topic, payload, *at);
        }
        self.assistant.load(self.bench.now.mono);
        self.heard = self.bench.published.len();
        self.bench.take_log();
    }

    fn say(&mut self, payload: &str) {
        let message = self.bench.message("homeassistant/status", payload);
        self.bench.link(LinkEvent::Message(message));
    }

    fn join(&mut self) {
        self.bench.link(LinkEvent::Up { protocol: Protocol::V5, max_packet: None });
        self.bench.link(LinkEvent::Proven);
        self.listen();
    }

    fn restart(&mut self) {
        self.bench.take_log();
        self.bench.restart(self.settings.clone(), secs(3));
        self.heard = 0;
        self.join();
    }

    fn wake_assistant(&mut self) {
        self.assistant.start(&self.bench);
        self.run(6);
        self.say("online");
    }

    fn step(&mut self) {
        let act = self.rng.below(8);
        self.diary.push(format!(
            "{:?} act {act}, Home Assistant up: {}",
            self.bench.now.mono.saturating_duration_since(self.begin),
            self.assistant.up
        ));
        match act {
            0 | 1 => {
                let all: Vec<_> = (0..6).filter(|_| !self.rng.one_in(4)).collect();
                self.bench.doors = all.iter().map(|n| door(&format!("d-{n}"), "Door")).collect();
            }
            2 => {
                let listed: Vec<_> = (0..4).filter(|_| !self.rng.one_in(4)).collect();
                self.bench.scenarios = listed.iter().map(|n| scenario(&format!("s-{n}"), &[])).collect();
                for one in &mut self.bench.scenarios {
                    if self.rng.one_in(3) {
                        one.sites.push("site-2".parse().unwrap());
                    }
                }
            }
            3 => {
                if self.assistant.up {
                    self.assistant.stop();
                    self.say("offline");
                } else {
                    self.wake_assistant();
                }
            }
            4 => self.restart(),
            5 => {
                let styles = [Style::Device, Style::Component];
                self.settings.announcer.style = styles[usize::from(self.rng.one_in(2))];
                self.restart();
            }
            6 => {
                self.settings.commands.unlock = !self.settings.commands.unlock;
                self.restart();
            }
            _ => {
                self.bench.link(LinkEvent::Down("cut".to_owned()));
                self.run(2);
                self.join();
            }
        }
        let pause = [0, 0, 1, 2, 5, 30, 400, 1_000];
        let pause = pause[usize::try_from(self.rng.below(8)).unwrap()];
        self.run(pause);
    }

    /// Home Assistant knows what it should, and nothing was announced to it from two places at once.
    fn compare(&self, seed: u64) {
        let wanted = self.wanted();
        let live: BTreeSet<String> = self.assistant.live.values().cloned().collect();
        let mut wrong: BTreeSet<&String> = self.assistant.registry.symmetric_difference(&wanted).collect();
        wrong.extend(live.symmetric_difference(&wanted));
        // While it loads, Home Assistant may miss that an entity moves, and says so; in the end it is right.
        let complaints: &[String] =
            if self.assistant.loads_for.is_zero() { &self.assistant.complaints } else { &[] };
        if wrong.is_empty() && complaints.is_empty() {
            return;
        }
        panic!("seed {seed}: {wrong:?} {complaints:?}\n{}", self.diary.join("\n"));
    }

    /// What a core that was never anything else announces in this world.
    fn wanted(&self) -> BTreeSet<String> {
        let mut fresh = Bench::new(self.settings.clone());
        fresh.doors.clone_from(&self.bench.doors);
        fresh.scenarios.clone_from(&self.bench.scenarios);
        fresh.join();
        fresh.take_log();
        let mut assistant = Assistant::default();
        assistant.start(&fresh);
        assistant.registry
    }
}

/// Plays this seed to a quiet end: everything is read often enough, and Home Assistant says once more that it is there.
fn play(seed: u64, loads_for: Duration) {
    let mut play = Play::new(seed);
    play.assistant.loads_for = loads_for;
    play.join();
    play.wake_assistant();
    for _ in 0..12 {
        play.step();
    }
    play.run(1_300);
    if !play.assistant.up {
        play.assistant.start(&play.bench);
    }
    play.run(6);
    play.say("online");
    play.run(60);
    play.compare(seed);
}

#[test]
fn home_assistants_registry_ends_as_the_building_is() {
    for seed in SEEDS {
        play(seed, Duration::ZERO);
    }
}

#[test]
fn home_assistants_registry_ends_as_the_building_is_while_platforms_load_slowly() {
    for seed in SEEDS {
        play(seed, ms(2_600));
    }
}

#[test]
fn what_stood_behind_an_entity_whose_platform_was_loading_comes_with_the_repeat() {
    let mut play = Play::new(1);
    play.assistant.loads_for = secs(10);
    play.assistant.up = true;
    play.join();
    play.run(1);
    play.bench.scenarios.extend(["s-2", "s-3"].map(|id| scenario(id, &[])));
    play.run(20);
    let missing = ["verkada2mqtt_s-2_scenario", "verkada2mqtt_s-3_scenario"];
    assert!(missing.iter().all(|id| !play.assistant.registry.contains(*id)), "the model loses them");
    play.run(20);
    play.compare(1);
}
