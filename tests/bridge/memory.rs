//! What outlasts a restart.

use verkada2mqtt::{
    hass::Style,
    model::{AccessEvent, EventKind},
};

use crate::bench::{Bench, START, door, event, secs, settings};

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
    bench.events.push(at("e-2", EventKind::Opened, 300));
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
    assert_eq!(bench.held("door/d-1/position").as_deref(), Some("ON"));
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
        let config: serde_json::Value = serde_json::from_slice(&last.payload).unwrap();
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
