//! What outlasts a restart.

use serde_json::{Value, json};
use verkada2mqtt::{
    bridge::{Input, Memory, Settings},
    hass::{GatewayFacts, Style, Topics},
    model::{AccessEvent, Answer, EventKind, Fault, LinkEvent, Now, Protocol, Push},
};

use crate::{
    bench::{Bench, START, door, event, inventory, ms, scenario, secs, settings, trace},
    log::Lines,
};

/// An event of the first door, this many seconds after the start of the bench, or before it.
fn at(id: &str, kind: EventKind, seconds: i64) -> AccessEvent {
    let start: jiff::Timestamp = START.parse().unwrap();
    event(id, kind, "d-1", start + jiff::SignedDuration::from_secs(seconds))
}

fn told(bench: &mut Bench) -> Vec<String> {
    bench.take_log().into_iter().filter(|line| line.contains("/event ")).collect()
}

#[test]
fn after_a_restart_only_what_is_newer_than_the_last_event_is_news_and_each_is_told_once() {
    let mut bench = Bench::settled();
    bench.run(secs(60));
    bench.events = vec![at("e-1", EventKind::Locked, 50)];
    bench.run(secs(10));
    assert_eq!(told(&mut bench).len(), 1);
    for (downtime, expected) in [(0, 0), (120, 2), (0, 0)] {
        if downtime > 0 {
            bench.events.push(at("e-late", EventKind::Denied, 40));
            bench.events.push(at("e-2", EventKind::Unlocked, 100));
            bench.events.push(at("e-3", EventKind::Granted, 110));
        }
        bench.restart(settings(Style::Device), secs(downtime));
        bench.join();
        assert_eq!(told(&mut bench).len(), expected, "after {downtime} s");
    }
    assert_eq!(bench.held("door/d-1/state").as_deref(), Some("UNLOCKED"), "all of it is evidence");
}

#[test]
fn after_a_long_night_events_of_up_to_a_day_are_evidence_and_old_ones_no_news() {
    let mut bench = Bench::settled();
    bench.events = vec![at("e-1", EventKind::Locked, 0)];
    bench.run(secs(10));
    told(&mut bench);
    bench.events.push(at("e-2", EventKind::Unlocked, 3_600));
    bench.restart(settings(Style::Device), secs(20 * 3_600));
    bench.join();
    assert_eq!(told(&mut bench), [""; 0]);
    assert_eq!(bench.held("door/d-1/state").as_deref(), Some("UNLOCKED"));
    bench.restart(settings(Style::Device), secs(25 * 3_600));
    bench.join();
    assert_eq!(told(&mut bench), [""; 0]);
    assert_eq!(bench.held("door/d-1/state").as_deref(), Some("None"), "what is older than a day is not read");
}

#[test]
fn a_clock_that_was_set_back_does_not_hold_the_events_up() {
    let mut bench = Bench::settled();
    bench.events = vec![at("e-1", EventKind::Locked, 0)];
    bench.run(secs(7_200));
    let memory = bench.bridge.memory();
    bench.take_log();
    // Two hours back.
    let mut bench = Bench::remembering(settings(Style::Device), crate::bench::start(), memory.as_ref());
    bench.events = vec![at("e-2", EventKind::Unlocked, 5)];
    bench.run(secs(10));
    bench.join();
    assert_eq!(told(&mut bench), ["!door/d-1/event other"]);
}

#[test]
fn events_of_a_controller_that_was_offline_are_found_and_move_only_what_they_are_newer_than() {
    let mut bench = Bench::settled();
    bench.run(secs(1_200));
    bench.events = vec![at("e-1", EventKind::Locked, 1_190)];
    bench.run(secs(60));
    told(&mut bench);
    // Uploaded late: older than the last reading's overlap, some of it younger than ten minutes.
    bench.events.push(at("e-2", EventKind::Closed, 300));
    bench.events.push(at("e-3", EventKind::Unlocked, 400));
    bench.events.push(at("e-4", EventKind::Denied, 1_230));
    bench.run(secs(60));
    told(&mut bench);
    assert_eq!(
        bench.held("door/d-1/position").as_deref(),
        Some("None"),
        "the polls do not look that far back"
    );
    bench.run(secs(600));
    assert_eq!(bench.held("door/d-1/position").as_deref(), Some("OFF"));
    assert_eq!(bench.held("door/d-1/state").as_deref(), Some("LOCKED"), "older evidence undoes nothing");
    assert_eq!(told(&mut bench), [""; 0], "it is evidence, not news");
    bench.run(secs(1_200));
    assert_eq!(told(&mut bench), [""; 0]);
}

#[test]
fn a_late_event_that_is_young_enough_is_news_once() {
    let mut bench = Bench::settled();
    bench.run(secs(1_100));
    bench.events = vec![at("e-1", EventKind::Locked, 1_090)];
    bench.run(secs(30));
    told(&mut bench);
    bench.events.push(at("e-2", EventKind::Denied, 1_000));
    bench.run(secs(180));
    assert_eq!(told(&mut bench), ["!door/d-1/event access_denied"]);
    bench.run(secs(1_300));
    assert_eq!(told(&mut bench), [""; 0]);
}

#[test]
fn entity_ids_outlast_restarts_and_renames() {
    let entity_id = |bench: &Bench, topic: &str| {
        let topic = format!("homeassistant/device/verkada2mqtt_door_{topic}/config");
        let last = bench.published.iter().rev().find(|publication| publication.topic == topic).unwrap();
        let config: Value = serde_json::from_slice(&last.payload).unwrap();
        config["components"]["lock"]["default_entity_id"].as_str().unwrap().to_owned()
    };
    let mut bench = Bench::settled();
    bench.doors = vec![door("d-2", "Main"), door("d-9", "Main")];
    bench.run(secs(301));
    assert_eq!(entity_id(&bench, "d-2"), "lock.main");
    bench.doors = vec![door("d-1", "Main"), door("d-2", "Side"), door("d-9", "Main")];
    bench.take_log();
    bench.restart(settings(Style::Device), secs(5));
    bench.join();
    assert_eq!(entity_id(&bench, "d-2"), "lock.main", "the name that came first");
    assert_eq!(entity_id(&bench, "d-9"), "lock.main_d9");
    assert_eq!(entity_id(&bench, "d-1"), "lock.front_door", "also where it was gone for a while");
    bench.take_log();
}

#[test]
fn what_did_not_change_is_not_to_be_written_again() {
    let mut bench = Bench::settled();
    assert!(bench.bridge.memory().is_some());
    assert!(bench.bridge.memory().is_none());
    bench.run(secs(120));
    assert!(!bench.bridge.is_memory_changed(), "polls that bring nothing cost no writing");
    bench.events = vec![at("e-1", EventKind::Locked, 100)];
    bench.run(secs(10));
    assert!(bench.bridge.is_memory_changed());
    bench.take_log();
}

// ---- discovery -----------------------------------------------------------------------------------------------------

const GATEWAY: &str = "homeassistant/device/verkada2mqtt_verkada/config";
const SITE: &str = "homeassistant/device/verkada2mqtt_site_site-1/config";
const DOOR: &str = "homeassistant/device/verkada2mqtt_door_d-1/config";

/// What was published on discovery topics since the last time: when, where, and what it amounts to.
fn discovery(bench: &mut Bench, from: usize, since: Now) -> Vec<String> {
    let seen = bench.times.iter().zip(&bench.published).skip(from);
    let lines = seen.filter(|(_, publication)| publication.topic.starts_with("homeassistant/"));
    let lines = lines.map(|(at, publication)| {
        let text = String::from_utf8(publication.payload.to_vec()).unwrap();
        let mark = if publication.retain { '=' } else { '!' };
        let millis = at.saturating_duration_since(since.mono).as_millis();
        format!(
            "{millis} {mark}{} {}",
            publication.topic.trim_start_matches("homeassistant/"),
            amounts_to(&text)
        )
    });
    let lines = lines.collect();
    bench.take_log();
    lines
}

/// A config by its entities; `-` before one that is to be removed.
pub(crate) fn amounts_to(config: &str) -> String {
    if config.is_empty() {
        return "cleared".to_owned();
    }
    let config: Value = serde_json::from_str(config).unwrap();
    if config == json!({"migrate_discovery": true}) {
        return "moves".to_owned();
    }
    let Some(components) = config["components"].as_object() else {
        return config["unique_id"].as_str().unwrap().to_owned();
    };
    let one = |(key, component): (&String, &Value)| {
        let leaves = component.get("unique_id").is_none();
        assert!(!leaves || component.as_object().unwrap().len() == 1, "a mark holds the platform alone");
        format!("{}{key}", if leaves { "-" } else { "" })
    };
    components.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn birth(bench: &mut Bench, payload: &str) {
    let message = bench.message("homeassistant/status", payload);
    bench.link(LinkEvent::Message(message));
}

/// Restarts into a session and gives where the publications of the new core begin.
fn restart(bench: &mut Bench, settings: Settings) -> Now {
    bench.take_log();
    bench.restart(settings, secs(5));
    let began = bench.now;
    bench.link(LinkEvent::Up { protocol: Protocol::V5, max_packet: None });
    bench.link(LinkEvent::Proven);
    began
}

/// Only what matters of a door that is gone.
fn about<'a>(lines: &'a [String], word: &str) -> Vec<&'a str> {
    lines.iter().map(String::as_str).filter(|line| line.contains(word)).collect()
}

fn two_doors(style: Style) -> Bench {
    Bench::settled_with(settings(style), |bench| {
        bench.doors = vec![door("d-1", "Front Door"), door("d-2", "Back Door"), door("d-3", "Side Door")];
    })
}

#[test]
fn a_door_that_vanished_while_the_gateway_was_down_is_taken_back_at_the_second_reading() {
    for (style, topic) in
        [(Style::Device, "device/verkada2mqtt_door_d-2/"), (Style::Component, "lock/verkada2mqtt_d-2_lock/")]
    {
        let mut bench = two_doors(style);
        bench.doors.remove(1);
        let began = restart(&mut bench, settings(style));
        bench.run(secs(200));
        assert_eq!(
            bench.held("door/d-2/availability").as_deref(),
            Some("offline"),
            "not shown as if it were there"
        );
        assert_eq!(about(&discovery(&mut bench, 0, began), "d-2"), [""; 0]);
        let from = bench.published.len();
        bench.run(secs(120));
        let cleared: Vec<_> = bench.published.iter().skip(from).filter(|p| p.payload.is_empty()).collect();
        let leaves = ["state", "availability", "position", "attributes"];
        for topic in leaves.map(|leaf| format!("verkada/door/d-2/{leaf}")) {
            assert!(cleared.iter().any(|p| p.retain && p.topic == topic), "{topic}");
        }
        let lines = discovery(&mut bench, from, began);
        assert_eq!(about(&lines, topic), [format!("300000 ={topic}config cleared")]);
        // What was cleared may not have arrived: it is cleared again after the next start.
        let began = restart(&mut bench, settings(style));
        bench.run(secs(1));
        let lines = discovery(&mut bench, 0, began);
        assert_eq!(about(&lines, topic), [format!("0 ={topic}config cleared")]);
    }
}

#[test]
fn a_door_that_came_back_is_not_taken_back_by_the_next_start() {
    let mut bench = two_doors(Style::Device);
    let removed = bench.doors.remove(1);
    bench.run(secs(299));
    // What is cleared on a link that stalls may not have arrived, so it is remembered.
    bench.link(LinkEvent::Unproven("silence".to_owned()));
    bench.run(secs(400));
    assert_eq!(bench.held("door/d-2/availability"), None, "it is gone");
    bench.doors.insert(1, removed);
    bench.run(secs(300));
    assert!(bench.held("door/d-2/availability").is_some(), "it is back");
    let from = restart(&mut bench, settings(Style::Device));
    bench.auto = false;
    bench.run(secs(1));
    let cleared = |p: &&verkada2mqtt::model::Publication| {
        p.payload.is_empty() && p.topic.starts_with("verkada/door/d-2/")
    };
    assert_eq!(bench.published.iter().filter(cleared).count(), 0, "since {from:?}");
    bench.take_log();
}

#[test]
fn what_an_earlier_run_showed_is_not_alive_where_its_list_cannot_be_read() {
    let mut bench = Bench::settled();
    assert_eq!(bench.held("door/d-1/availability").as_deref(), Some("online"));
    bench.restart(settings(Style::Device), secs(5));
    bench.auto = false;
    bench.join();
    for list in ["doors", "events", "scenarios"] {
        let refused = Err(Fault::Forbidden(trace()));
        let read = Ok(Answer::Scenarios(inventory(bench.scenarios.clone())));
        bench.answer(list, if list == "scenarios" { read } else { refused });
    }
    bench.take_log();
    assert_eq!(bench.held("bridge/api/availability").as_deref(), Some("online"));
    assert_eq!(bench.held("door/d-1/availability").as_deref(), Some("offline"));
}

#[test]
fn a_clearing_counts_only_once_a_link_that_is_proven_was_given_it() {
    let mut bench = two_doors(Style::Device);
    bench.link(LinkEvent::Unproven("silence".to_owned()));
    bench.doors.pop();
    bench.run(secs(700));
    let memory = |bench: &mut Bench| bench.bridge.memory().map(|memory| memory.to_json().unwrap());
    let swept = |json: Vec<u8>| String::from_utf8(json).unwrap().contains("door/d-3/state");
    assert!(memory(&mut bench).is_some_and(swept), "it may not have reached the broker");
    bench.link(LinkEvent::Proven);
    bench.run(secs(5));
    assert!(!memory(&mut bench).is_some_and(swept));
    bench.take_log();
}

#[test]
fn an_empty_list_after_a_restart_takes_nothing_back_for_ten_minutes() {
    let mut bench = two_doors(Style::Device);
    let doors = std::mem::take(&mut bench.doors);
    let began = restart(&mut bench, settings(Style::Device));
    bench.run(secs(599));
    assert_eq!(about(&discovery(&mut bench, 0, began), "cleared"), [""; 0]);
    bench.doors = doors;
    bench.run(secs(700));
    assert_eq!(about(&discovery(&mut bench, 0, began), "cleared"), [""; 0]);
    assert_eq!(bench.held("door/d-2/availability").as_deref(), Some("online"));
}

#[test]
fn a_door_that_is_excluded_from_here_on_goes_at_the_first_reading() {
    let mut bench = two_doors(Style::Device);
    let mut exclude = settings(Style::Device);
    exclude.doors.exclude.insert("d-2".parse().unwrap());
    let began = restart(&mut bench, exclude);
    bench.run(secs(1));
    let lines = discovery(&mut bench, 0, began);
    assert_eq!(about(&lines, "d-2"), ["0 =device/verkada2mqtt_door_d-2/config cleared"]);
}

#[test]
fn what_left_while_home_assistant_was_away_is_announced_once_more_and_taken_back_when_it_comes() {
    let mut bench = two_doors(Style::Device);
    birth(&mut bench, "online");
    bench.run(secs(40));
    birth(&mut bench, "offline");
    bench.doors.remove(1);
    bench.run(secs(601));
    // A crash in between changes nothing.
    restart(&mut bench, settings(Style::Device));
    bench.run(secs(10));
    bench.take_log();
    let (from, since) = (bench.published.len(), bench.now);
    birth(&mut bench, "online");
    bench.run(secs(20));
    let lines = discovery(&mut bench, from, since);
    let gone = about(&lines, "d-2");
    let (round, steps) =
        lines.first().unwrap().split_once(' ').map(|(at, _)| (at.parse::<u64>().unwrap(), gone)).unwrap();
    assert!((1_000..=5_000).contains(&round), "after the jitter: {round}");
    let topic = "device/verkada2mqtt_door_d-2/config";
    assert_eq!(
        steps,
        [
            format!("{} !{topic} access forced_open held_open lock position unlock", round + 1_000),
            format!("{} ={topic} cleared", round + 3_000),
        ]
    );
    let call = bench.published.iter().skip(from).find(|p| p.topic.contains("d-2") && !p.retain).unwrap();
    let call: Value = serde_json::from_slice(&call.payload).unwrap();
    assert_eq!(
        call,
        json!({
            "device": {"identifiers": ["verkada2mqtt_door_d-2"], "name": "Back Door"},
            "origin": {"name": "verkada2mqtt", "sw_version": env!("CARGO_PKG_VERSION")},
            "components": {
                "access": {"platform": "event", "unique_id": "verkada2mqtt_d-2_access",
                    "state_topic": "verkada/bridge/retired", "event_types": ["none"]},
                "forced_open": {"platform": "binary_sensor", "unique_id": "verkada2mqtt_d-2_forced_open",
                    "state_topic": "verkada/bridge/retired"},
                "held_open": {"platform": "binary_sensor", "unique_id": "verkada2mqtt_d-2_held_open",
                    "state_topic": "verkada/bridge/retired"},
                "lock": {"platform": "lock", "unique_id": "verkada2mqtt_d-2_lock",
                    "command_topic": "verkada/bridge/retired"},
                "position": {"platform": "binary_sensor", "unique_id": "verkada2mqtt_d-2_position",
                    "state_topic": "verkada/bridge/retired"},
                "unlock": {"platform": "button", "unique_id": "verkada2mqtt_d-2_unlock",
                    "command_topic": "verkada/bridge/retired"},
            },
        })
    );
    // Then it is forgotten: neither the next birth nor the next run knows of it.
    bench.run(secs(60));
    let from = bench.published.len();
    birth(&mut bench, "online");
    bench.run(secs(20));
    let since = bench.now;
    assert_eq!(about(&discovery(&mut bench, from, since), "d-2"), [""; 0]);
    let began = restart(&mut bench, settings(Style::Device));
    bench.run(secs(1));
    assert_eq!(about(&discovery(&mut bench, 0, began), "d-2"), [""; 0]);
}

#[test]
fn what_left_while_home_assistant_listened_is_not_announced_again() {
    let mut bench = two_doors(Style::Component);
    birth(&mut bench, "online");
    bench.run(secs(40));
    bench.doors.remove(1);
    bench.run(secs(601));
    let (from, since) = (bench.published.len(), bench.now);
    birth(&mut bench, "online");
    bench.run(secs(20));
    assert_eq!(about(&discovery(&mut bench, from, since), "d-2"), [""; 0]);
}

#[test]
fn a_door_that_comes_back_before_home_assistant_does_is_simply_there() {
    let mut bench = two_doors(Style::Device);
    let back = bench.doors.remove(1);
    bench.run(secs(601));
    bench.doors.insert(1, back);
    bench.run(secs(301));
    let (from, since) = (bench.published.len(), bench.now);
    birth(&mut bench, "online");
    bench.run(secs(20));
    let lines = discovery(&mut bench, from, since);
    assert_eq!(about(&lines, "d-2").len(), 1, "{lines:?}");
    assert!(
        about(&lines, "d-2")[0].ends_with(
            "=device/verkada2mqtt_door_d-2/config access forced_open held_open lock position unlock"
        )
    );
}

#[test]
fn an_entity_that_leaves_a_device_that_stays_is_marked_and_then_left_out() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.scenarios.push(scenario("s-2", &[]));
    });
    birth(&mut bench, "online");
    bench.run(secs(40));
    bench.take_log();
    bench.scenarios.pop();
    let (from, since) = (bench.published.len(), bench.now);
    bench.run(secs(20));
    let lines = discovery(&mut bench, from, since);
    let steps: Vec<_> = about(&lines, "site-1").iter().map(|line| line.split_once(' ').unwrap().1).collect();
    let topic = SITE.trim_start_matches("homeassistant/");
    let stays = |id| format!("doors_confirmed_{id} drill_{id} scenario_{id}");
    let both = "doors_confirmed_s-1 -doors_confirmed_s-2 drill_s-1 -drill_s-2 scenario_s-1 -scenario_s-2";
    assert_eq!(steps, [format!("={topic} {both}"), format!("={topic} {}", stays("s-1"))]);
    // The same where an owner takes the button from a door while the gateway is down.
    let mut locked = settings(Style::Device);
    locked.commands.unlock = false;
    let began = restart(&mut bench, locked);
    birth(&mut bench, "online");
    bench.run(secs(20));
    let lines = discovery(&mut bench, 0, began);
    let steps: Vec<_> =
        about(&lines, "door_d-1").iter().map(|line| line.split_once("config ").unwrap().1).collect();
    assert_eq!(steps.first().unwrap(), &"access forced_open held_open lock position -unlock");
    assert_eq!(steps.last().unwrap(), &"access forced_open held_open lock position");
}

#[test]
fn scenarios_of_an_earlier_run_are_not_taken_back_before_the_list_was_read_twice() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.scenarios.push(scenario("s-2", &[]));
    });
    bench.scenarios.pop();
    let began = restart(&mut bench, settings(Style::Device));
    bench.run(secs(4));
    let lines = discovery(&mut bench, 0, began);
    assert_eq!(about(&lines, "-scenario"), [""; 0]);
    assert_eq!(about(&lines, "cleared"), [""; 0]);
    bench.run(secs(4));
    let lines = discovery(&mut bench, 0, began);
    assert!(about(&lines, "-scenario_s-2").len() == 1, "{lines:?}");
    assert_eq!(bench.held("scenario/s-2/state"), None);
}

#[test]
fn a_scenario_that_moves_to_another_device_leaves_the_old_one_first() {
    let mut bench = Bench::settled();
    birth(&mut bench, "online");
    bench.run(secs(40));
    bench.take_log();
    bench.scenarios[0].sites.push("site-2".parse().unwrap());
    let (from, since) = (bench.published.len(), bench.now);
    bench.run(secs(10));
    let lines = discovery(&mut bench, from, since);
    let steps: Vec<_> = lines.iter().map(|line| line.split_once(' ').unwrap().1).collect();
    let own = "acknowledge api budget_left connection doors_confirmed_s-1 drill_s-1 event_lag key_expires last_poll \
               lockdown_alarm lockdown_event lockdown_ready log_level problem problem_active refresh restart \
               round_trip scenario_s-1 started token version webhook";
    let trim = |topic: &'static str| topic.trim_start_matches("homeassistant/");
    assert_eq!(steps, [format!("={} cleared", trim(SITE)), format!("={} {own}", trim(GATEWAY))]);
    let at = |line: &String| line.split_once(' ').unwrap().0.parse::<u64>().unwrap();
    assert_eq!(at(&lines[1]) - at(&lines[0]), 2_000);
}

// ---- another style, another base topic, a small broker -------------------------------------------------------------

/// The entities of the bench's world, as topics of the component style.
const SINGLES: [&str; 29] = [
    "binary_sensor/verkada2mqtt_d-1_forced_open",
    "binary_sensor/verkada2mqtt_d-1_held_open",
    "binary_sensor/verkada2mqtt_d-1_position",
    "binary_sensor/verkada2mqtt_verkada_api",
    "binary_sensor/verkada2mqtt_verkada_connection",
    "binary_sensor/verkada2mqtt_verkada_lockdown_alarm",
    "binary_sensor/verkada2mqtt_verkada_lockdown_ready",
    "binary_sensor/verkada2mqtt_verkada_problem_active",
    "button/verkada2mqtt_d-1_unlock",
    "button/verkada2mqtt_s-1_drill",
    "button/verkada2mqtt_verkada_acknowledge",
    "button/verkada2mqtt_verkada_refresh",
    "button/verkada2mqtt_verkada_restart",
    "event/verkada2mqtt_d-1_access",
    "event/verkada2mqtt_verkada_lockdown_event",
    "lock/verkada2mqtt_d-1_lock",
    "select/verkada2mqtt_verkada_log_level",
    "sensor/verkada2mqtt_s-1_doors_confirmed",
    "sensor/verkada2mqtt_verkada_budget_left",
    "sensor/verkada2mqtt_verkada_event_lag",
    "sensor/verkada2mqtt_verkada_key_expires",
    "sensor/verkada2mqtt_verkada_last_poll",
    "sensor/verkada2mqtt_verkada_problem",
    "sensor/verkada2mqtt_verkada_round_trip",
    "sensor/verkada2mqtt_verkada_started",
    "sensor/verkada2mqtt_verkada_token",
    "sensor/verkada2mqtt_verkada_version",
    "sensor/verkada2mqtt_verkada_webhook",
    "switch/verkada2mqtt_s-1_scenario",
];

fn whole_devices() -> [String; 3] {
    [DOOR, SITE, GATEWAY].map(|topic| topic.trim_start_matches("homeassistant/").to_owned())
}

/// All lines of one moment, as topics, with what they amount to where that is one of the three steps.
fn step(lines: &[String], at: u64) -> Vec<String> {
    let at = format!("{at} =");
    let mut step: Vec<_> =
        lines.iter().filter_map(|line| line.strip_prefix(&at)).map(str::to_owned).collect();
    step.sort();
    step
}

#[test]
fn another_style_is_marked_announced_and_cleared_step_by_step_in_both_directions() {
    let singles: Vec<String> = SINGLES.map(|topic| format!("{topic}/config")).to_vec();
    let devices = whole_devices().to_vec();
    for (from, to, old, new) in [
        (Style::Device, Style::Component, &devices, &singles),
        (Style::Component, Style::Device, &singles, &devices),
    ] {
        let mut bench = Bench::settled_with(settings(from), |_| {});
        let began = restart(&mut bench, settings(to));
        bench.run(secs(20));
        let lines = discovery(&mut bench, 0, began);
        let with = |topics: &[String], what: &str| {
            let mut all: Vec<_> = topics.iter().map(|topic| format!("{topic} {what}")).collect();
            all.sort();
            all
        };
        assert_eq!(step(&lines, 0), with(old, "moves"), "{to:?}");
        let announced: Vec<_> =
            step(&lines, 1_000).iter().map(|line| line.split_once(' ').unwrap().0.to_owned()).collect();
        let mut new = new.clone();
        new.sort();
        assert_eq!(announced, new, "{to:?}");
        assert!(
            step(&lines, 1_000).iter().all(|line| !line.ends_with("moves") && !line.ends_with("cleared"))
        );
        assert_eq!(step(&lines, 2_500), with(old, "cleared"), "{to:?}");
        assert_eq!(lines.len(), 2 * old.len() + new.len(), "and nothing else: {lines:#?}");
        // Once it is through, a restart finds nothing to change over.
        let began = restart(&mut bench, settings(to));
        bench.run(secs(20));
        assert_eq!(discovery(&mut bench, 0, began).len(), new.len());
    }
}

#[test]
fn a_change_of_style_survives_a_crash_at_any_moment() {
    for millis in (0..5_000).step_by(250) {
        let mut bench = Bench::settled();
        restart(&mut bench, settings(Style::Component));
        bench.run(ms(millis));
        restart(&mut bench, settings(Style::Component));
        bench.run(secs(20));
        bench.take_log();
        let held = bench.retained();
        let configs: Vec<&str> =
            held.keys().filter_map(|topic| topic.strip_prefix("homeassistant/")).collect();
        assert_eq!(configs, SINGLES.map(|topic| format!("{topic}/config")), "killed after {millis} ms");
        let moves = held.values().any(|payload| payload.starts_with(b"{\"migrate"));
        assert!(!moves, "killed after {millis} ms");
    }
}

#[test]
fn a_change_of_style_waits_for_the_session_and_begins_anew_with_the_next() {
    let mut bench = Bench::settled();
    let began = restart(&mut bench, settings(Style::Component));
    bench.run(ms(500));
    bench.link(LinkEvent::Down("cut".to_owned()));
    bench.run(secs(10));
    assert_eq!(step(&discovery(&mut bench, 0, began), 1_000), [""; 0]);
    let (from, since) = (bench.published.len(), bench.now);
    bench.link(LinkEvent::Up { protocol: Protocol::V5, max_packet: None });
    bench.run(secs(20));
    let lines = discovery(&mut bench, from, since);
    assert_eq!(step(&lines, 0), whole_devices().map(|topic| format!("{topic} moves")));
    assert_eq!(step(&lines, 1_000).len(), SINGLES.len());
    assert_eq!(step(&lines, 2_500), whole_devices().map(|topic| format!("{topic} cleared")));
}

#[test]
fn another_prefix_changes_over_too_and_no_discovery_clears_all() {
    let mut bench = Bench::settled();
    let mut other = settings(Style::Device);
    other.announcer.prefix = "ha".to_owned();
    restart(&mut bench, other);
    bench.run(secs(20));
    bench.take_log();
    let held = bench.retained();
    let configs: Vec<&str> =
        held.keys().map(String::as_str).filter(|topic| topic.ends_with("/config")).collect();
    assert_eq!(configs, whole_devices().map(|topic| format!("ha/{topic}")));
    restart(&mut bench, settings(Style::Off));
    bench.run(secs(20));
    bench.take_log();
    assert!(!bench.retained().keys().any(|topic| topic.ends_with("/config")));
    assert_eq!(bench.held("door/d-1/availability").as_deref(), Some("online"));
}

#[test]
fn another_base_topic_leaves_nothing_behind() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.scenarios[0].sites.push("site-2".parse().unwrap());
    });
    // Every topic that there is: also those that only webhooks bring.
    bench.input(Input::Push(Push::Event(Box::new(at("e-1", EventKind::Locked, 0)))));
    bench.run(secs(60));
    assert!(bench.held("bridge/webhook_missed").is_some());
    let mut other = settings(Style::Device);
    other.announcer.topics = Topics::new("site/b");
    restart(&mut bench, other);
    bench.run(secs(20));
    bench.take_log();
    let held = bench.retained();
    let left: Vec<_> = held.keys().filter(|topic| topic.starts_with("verkada/")).collect();
    assert_eq!(left, [""; 0]);
    let configs: Vec<&str> =
        held.keys().filter_map(|topic| topic.strip_prefix("homeassistant/device/")).collect();
    assert_eq!(configs, ["verkada2mqtt_door_d-1/config", "verkada2mqtt_site_b/config"]);
    let config = String::from_utf8(held["homeassistant/device/verkada2mqtt_site_b/config"].to_vec()).unwrap();
    assert!(config.contains("scenario_s-1") && config.contains("site/b/scenario/s-1/set"), "{config}");
}

#[test]
fn a_device_that_is_too_large_for_the_broker_is_announced_by_its_entities() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.doors = vec![door("d-1", "The front door of the north wing of the old main building")];
    });
    let (from, since) = (bench.published.len(), bench.now);
    bench.link(LinkEvent::Down("cut".to_owned()));
    bench.link(LinkEvent::Up { protocol: Protocol::V5, max_packet: Some(4_200) });
    bench.run(secs(10));
    let lines = discovery(&mut bench, from, since);
    let held = bench.retained();
    let largest = held.values().map(bytes::Bytes::len).max().unwrap();
    assert!(largest <= 4_200 - 1_024, "{largest}");
    let configs: Vec<&str> = held.keys().filter_map(|topic| topic.strip_prefix("homeassistant/")).collect();
    assert!(configs.contains(&"lock/verkada2mqtt_d-1_lock/config"), "{configs:?}");
    assert!(!configs.contains(&"device/verkada2mqtt_door_d-1/config"), "{lines:?}");
    assert!(
        configs.contains(&"device/verkada2mqtt_site_site-1/config"),
        "what fits stays whole: {configs:?}"
    );
}

#[test]
fn an_entity_that_no_packet_can_hold_is_left_out_with_one_word() {
    for style in [Style::Device, Style::Component] {
        let (log, _listening) = Lines::listen();
        let mut bench = Bench::settled_with(settings(style), |_| {});
        log.take();
        for _ in 0..3 {
            bench.link(LinkEvent::Down("cut".to_owned()));
            bench.link(LinkEvent::Up { protocol: Protocol::V5, max_packet: Some(1_200) });
            bench.run(secs(40));
        }
        bench.take_log();
        let held = bench.retained();
        let configs = held.iter().filter(|(topic, _)| topic.starts_with("homeassistant/"));
        let largest = configs.clone().map(|(topic, payload)| topic.len() + payload.len()).max().unwrap();
        assert!(largest <= 1_200 - 64 && configs.count() > 15, "{largest}");
        assert!(!held.contains_key("homeassistant/lock/verkada2mqtt_d-1_lock/config"));
        let said = log.take();
        let about = |word: &str| said.iter().filter(|line| line.contains(word)).collect::<Vec<_>>();
        let lock = about("entity=\"verkada2mqtt_d-1_lock\"");
        assert_eq!(lock.len(), 1, "{said:?}");
        assert!(lock[0].contains("WARN") && lock[0].contains("limit=1200"), "{lock:?}");
        // A broker that takes more gets it.
        bench.link(LinkEvent::Down("cut".to_owned()));
        bench.link(LinkEvent::Up { protocol: Protocol::V5, max_packet: None });
        bench.run(secs(40));
        bench.take_log();
        let lock = match style {
            Style::Device => DOOR,
            Style::Component | Style::Off => "homeassistant/lock/verkada2mqtt_d-1_lock/config",
        };
        assert!(bench.retained().contains_key(lock), "{style:?}");
    }
}

#[test]
fn what_the_owner_switches_off_leaves_no_config_of_its_own() {
    let gone = [
        "homeassistant/button/verkada2mqtt_d-1_unlock/config",
        "homeassistant/button/verkada2mqtt_verkada_restart/config",
        "homeassistant/sensor/verkada2mqtt_verkada_key_expires/config",
    ];
    let mut bench = Bench::settled_with(settings(Style::Component), |_| {});
    assert!(gone.iter().all(|topic| bench.retained().contains_key(*topic)));
    let mut less = settings(Style::Component);
    less.announcer.own = GatewayFacts::default();
    less.commands.unlock = false;
    restart(&mut bench, less);
    bench.run(secs(40));
    bench.take_log();
    let held = bench.retained();
    assert!(gone.iter().all(|topic| !held.contains_key(*topic)), "{:?}", held.keys());
    // A Home Assistant that was away is told when it comes.
    let (from, since) = (bench.published.len(), bench.now);
    birth(&mut bench, "online");
    bench.run(secs(20));
    let lines = discovery(&mut bench, from, since);
    for topic in gone {
        let topic = topic.trim_start_matches("homeassistant/");
        let steps: Vec<_> = about(&lines, topic).iter().map(|line| line.split_once(' ').unwrap().1).collect();
        let unique_id = topic.split('/').nth(1).unwrap();
        assert_eq!(steps, [format!("!{topic} {unique_id}"), format!("={topic} cleared")]);
    }
}

#[test]
fn a_site_with_very_many_scenarios_is_announced_one_by_one() {
    let many = |bench: &mut Bench| {
        let one = |n| scenario(&format!("s-{n}"), &[]);
        bench.scenarios = (0..200).map(one).collect();
    };
    let mut bench = Bench::settled_with(settings(Style::Device), many);
    bench.run(secs(10));
    bench.take_log();
    let held = bench.retained();
    assert!(!held.contains_key(SITE) && held.contains_key(GATEWAY) && held.contains_key(DOOR));
    assert_eq!(held.keys().filter(|topic| topic.starts_with("homeassistant/switch/")).count(), 200);
}

#[test]
fn each_changed_config_is_said_once_more_after_half_a_minute() {
    let lines = |bench: &mut Bench, from: usize, since: Now| {
        let lines = discovery(bench, from, since).into_iter();
        lines.map(|line| line.split_once("/config").unwrap().0.to_owned()).collect::<Vec<_>>()
    };
    let all = |at: u64| {
        let devices = ["verkada2mqtt_verkada", "verkada2mqtt_door_d-1", "verkada2mqtt_site_site-1"];
        devices.map(|device| format!("{at} =device/{device}"))
    };
    let mut bench = Bench::settled();
    bench.run(secs(290));
    let since = Now { mono: bench.times[0], ..bench.now };
    assert_eq!(lines(&mut bench, 0, since), [all(0), all(30_000)].concat());
    // A change, cut off before the repeat: it comes as long after the next session has everything.
    bench.doors[0].name = Some("Main Door".to_owned());
    let (from, since) = (bench.published.len(), bench.now);
    bench.run(secs(10));
    assert_eq!(lines(&mut bench, from, since), ["9000 =device/verkada2mqtt_door_d-1"]);
    bench.link(LinkEvent::Down("cut".to_owned()));
    bench.run(secs(60));
    let (from, since) = (bench.published.len(), bench.now);
    bench.link(LinkEvent::Up { protocol: Protocol::V5, max_packet: None });
    bench.run(secs(100));
    let door = all(30_000)[1].clone();
    assert_eq!(lines(&mut bench, from, since), [all(0).to_vec(), vec![door]].concat());
    // A birth, twice.
    let (from, since) = (bench.published.len(), bench.now);
    birth(&mut bench, "online");
    bench.run(secs(10));
    birth(&mut bench, "online");
    bench.run(secs(120));
    let published = lines(&mut bench, from, since);
    assert_eq!(published.len(), 9, "two rounds and one repeat: {published:?}");
    // A new run repeats everything.
    let began = restart(&mut bench, settings(Style::Device));
    bench.run(secs(200));
    assert_eq!(lines(&mut bench, 0, began), [all(0), all(30_000)].concat());
}

#[test]
fn very_many_configs_are_repeated_some_at_a_time_and_cleared_ones_not() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.doors = (0..200).map(|n| door(&format!("d-{n}"), "Door")).collect();
    });
    let mut exclude = settings(Style::Device);
    exclude.doors.exclude.insert("d-7".parse().unwrap());
    restart(&mut bench, exclude);
    let since = bench.now;
    bench.run(secs(60));
    let lines = discovery(&mut bench, 0, since);
    let at = |line: &String| line.split_once(' ').unwrap().0.parse::<u64>().unwrap();
    let counts: Vec<_> =
        (30..36).map(|second| lines.iter().filter(|line| at(line) / 1_000 == second).count()).collect();
    assert_eq!(counts, [50, 50, 50, 50, 1, 0], "199 doors, a site and the gateway");
    assert_eq!(about(&lines, "door_d-7/").len(), 1);
}

#[test]
fn a_memory_that_names_impossible_topics_is_refused() {
    let mut bench = Bench::settled();
    let memory = String::from_utf8(bench.bridge.memory().unwrap().to_json().unwrap()).unwrap();
    assert!(Memory::from_json(memory.as_bytes()).is_ok());
    for (from, to) in [
        ("homeassistant/device/verkada2mqtt_door_d-1/config", "#"),
        ("homeassistant/device/verkada2mqtt_door_d-1/config", "zigbee/lamp/state"),
        ("homeassistant/device/verkada2mqtt_door_d-1/config", "a/+/config"),
        ("\"base_topic\":\"verkada\"", "\"base_topic\":\"#\""),
        ("\"doors\":[\"d-1\"]", "\"doors\":[\"../d\"]"),
        ("\"version\":1", "\"version\":2"),
    ] {
        let changed = memory.replace(from, to);
        assert_ne!(changed, memory, "{from}");
        assert!(Memory::from_json(changed.as_bytes()).is_err(), "{to}");
    }
}
