//! Access levels: who may pass a door, in its attributes.

use serde_json::{Value, json};
use verkada2mqtt::{
    bridge::{Input, Settings},
    model::{
        AccessGroup, AccessHours, AccessLevel, Answer, Controller, Fault, Inventory, ScenarioState, Site,
        Weekday,
    },
};

use super::{
    Bench,
    bench::{door, inventory, scenario, secs, trace},
    log::Lines,
    with,
};

const HOUR: u64 = 3_600;
const GROUPS: &str = "access groups";
const LEVELS: &str = "access levels";

fn hourly(settings: &mut Settings) {
    settings.polls.access_levels = Some(secs(HOUR));
}

/// A bench that has asked for groups.
fn bench() -> Bench {
    let mut bench = Bench::settled_with(with(hourly), |_| {});
    bench.run(secs(2));
    assert_eq!(asked(&mut bench), [">access groups"]);
    bench
}

/// The calls for access levels and groups since the last time.
fn asked(bench: &mut Bench) -> Vec<String> {
    bench.take_log().into_iter().filter(|line| line.starts_with(">access")).collect()
}

fn level(id: &str, name: &str, groups: &[&str]) -> AccessLevel {
    let hours = |word| AccessHours {
        weekday: Weekday::of_vendor_word(word).unwrap(),
        start: "08:00:00".parse().unwrap(),
        end: "18:00:00".parse().unwrap(),
    };
    AccessLevel {
        id: id.parse().unwrap(),
        name: Some(name.to_owned()),
        groups: groups.iter().map(|id| id.parse().unwrap()).collect(),
        doors: Vec::new(),
        sites: vec!["site-1".parse().unwrap()],
        schedule: ["MO", "TU", "WE", "TH", "FR"].map(hours).to_vec(),
        partial: false,
    }
}

fn groups(names: &[(&str, &str)]) -> Answer {
    let group =
        |(id, name): &(&str, &str)| AccessGroup { id: id.parse().unwrap(), name: Some((*name).to_owned()) };
    Answer::AccessGroups(inventory(names.iter().map(group).collect()))
}

fn levels(levels: Vec<AccessLevel>) -> Answer {
    Answer::AccessLevels(inventory(levels))
}

fn attributes(bench: &Bench) -> Value {
    serde_json::from_str(&bench.held("door/d-1/attributes").unwrap()).unwrap()
}

/// What the attributes tell of access, and how many levels they leave out.
fn told(bench: &Bench) -> (Value, Value) {
    let attributes = attributes(bench);
    (attributes["access"].clone(), attributes["access_left_out"].clone())
}

/// Answers both calls that are open or come.
fn read(bench: &mut Bench, answer: Vec<AccessLevel>) {
    bench.answer(GROUPS, Ok(groups(&[("g-1", "Staff"), ("g-2", "Cleaners")])));
    bench.answer(LEVELS, Ok(levels(answer)));
}

#[test]
fn unless_the_owner_wants_it_nothing_is_read_and_nothing_is_told() {
    let mut bench = Bench::settled();
    bench.run(secs(2 * HOUR));
    assert_eq!(asked(&mut bench), Vec::<String>::new());
    assert!(!attributes(&bench).as_object().unwrap().keys().any(|member| member.starts_with("access")));
}

#[test]
fn a_door_tells_by_which_levels_it_is_passed_and_when() {
    let mut bench = bench();
    assert_eq!(told(&bench), (Value::Null, Value::Null), "not known yet");
    let other = AccessLevel { doors: vec!["d-2".parse().unwrap()], ..level("l-3", "Elsewhere", &["g-1"]) };
    let own = AccessLevel {
        doors: vec!["d-1".parse().unwrap()],
        schedule: Vec::new(),
        partial: true,
        ..level("l-2", "Cl\u{202e}eaners\n at night ", &["g-3", "g-2"])
    };
    read(&mut bench, vec![level("l-1", "Staff by day", &["g-1"]), other.clone(), own.clone()]);
    let expected = json!([
        {"level": "Cleaners at night", "groups": ["Cleaners", "Group g-3"], "when": "never", "partial": true},
        {"level": "Staff by day", "groups": ["Staff"], "when": "Mon-Fri 08:00-18:00"},
    ]);
    assert_eq!(told(&bench), (expected, json!(0)));
    bench.take_log();

    // What did not change is not said again, in whatever order it comes.
    bench.run(secs(HOUR));
    let before = bench.published.len();
    read(&mut bench, vec![own, level("l-1", "Staff by day", &["g-1"]), other]);
    let said = bench.published[before..].iter().filter(|p| p.topic.ends_with("/attributes")).count();
    assert_eq!(said, 0);
    assert_eq!(asked(&mut bench), [">access groups", ">access levels"], "once an hour");
    bench.run(secs(HOUR - 1));
    assert_eq!(asked(&mut bench), Vec::<String>::new());
    bench.run(secs(1));
    read(&mut bench, vec![]);
    assert_eq!(told(&bench), (json!([]), json!(0)), "nobody may pass, which is known");
    bench.take_log();
}

#[test]
fn a_key_that_may_not_read_them_is_told_once_and_is_nobody_elses_trouble() {
    let refusals = [Fault::Forbidden(trace()), Fault::Unauthorized(trace())];
    for refusal in refusals {
        let (lines, guard) = Lines::listen();
        let mut bench = bench();
        read(&mut bench, vec![level("l-1", "Staff", &["g-1"])]);
        assert_ne!(told(&bench).0, Value::Null);
        bench.take_log();
        for _ in 0..4 {
            bench.run(secs(HOUR));
            bench.answer(GROUPS, Ok(groups(&[])));
            bench.answer(LEVELS, Err(refusal.clone()));
            assert_eq!(told(&bench), (Value::Null, Value::Null), "what may not be read is not shown");
            assert_eq!(asked(&mut bench).len(), 2, "it is not asked again before the next hour");
        }
        assert_eq!(bench.held("bridge/problem").as_deref(), Some("None"));
        assert_eq!(bench.held("bridge/api/availability").as_deref(), Some("online"));
        assert_eq!(bench.held("door/d-1/availability").as_deref(), Some("online"));
        let status = bench.bridge.status(bench.now);
        assert_eq!((status.api, status.api_trouble), (true, None));
        bench.run(secs(HOUR));
        read(&mut bench, vec![level("l-1", "Staff", &["g-1"])]);
        assert_ne!(told(&bench).0, Value::Null, "it heals");
        bench.take_log();
        drop(guard);
        let lines = lines.take();
        let of_levels: Vec<_> = lines.iter().filter(|line| line.contains(LEVELS)).collect();
        assert_eq!(of_levels.len(), 2, "{lines:#?}");
        assert!(of_levels[0].contains("the vendor does not play along"), "the cause, and with it the cure");
        assert!(of_levels[0].contains("doors do not tell who may pass them"), "{lines:#?}");
        assert!(of_levels[1].contains("can be read again"), "{lines:#?}");
    }
}

#[test]
fn what_was_read_counts_until_it_is_old() {
    let mut bench = bench();
    read(&mut bench, vec![level("l-1", "Staff", &["g-1"])]);
    let end = 3 * HOUR;
    bench.run(secs(HOUR));
    let mut passed = HOUR;
    let mut reads = 0;
    while passed < end {
        assert_ne!(told(&bench).0, Value::Null, "after {passed} s");
        for what in [GROUPS, LEVELS] {
            if bench.open.iter().any(|call| super::call_line(&call.request) == what) {
                bench.answer(what, Err(Fault::Unclear(trace())));
                reads += 1;
            }
        }
        bench.run(secs(10));
        passed += 10;
    }
    assert_eq!(told(&bench), (Value::Null, Value::Null));
    assert!((8..=20).contains(&reads), "pauses grow: {reads}");
    bench.take_log();
}

#[test]
fn without_names_of_groups_levels_are_told_all_the_same() {
    let mut bench = bench();
    bench.answer(GROUPS, Err(Fault::Forbidden(trace())));
    bench.answer(LEVELS, Ok(levels(vec![level("l-1", "Staff by day", &["g-1"])])));
    assert_eq!(told(&bench).0[0]["groups"], json!(["Group g-1"]));
    bench.take_log();
}

#[test]
fn an_answer_to_something_else_tells_nothing() {
    let mut bench = bench();
    bench.answer(GROUPS, Ok(levels(vec![])));
    bench.answer(LEVELS, Ok(groups(&[])));
    assert_eq!(told(&bench), (Value::Null, Value::Null));
    bench.take_log();
}

#[test]
fn a_wish_to_read_all_lists_reads_these_too_and_a_stop_does_not() {
    let mut bench = bench();
    read(&mut bench, vec![]);
    bench.run(secs(60));
    bench.take_log();
    let message = bench.message("verkada/bridge/refresh/set", "");
    bench.link(verkada2mqtt::model::LinkEvent::Message(message));
    assert_eq!(asked(&mut bench), [">access groups"]);
    bench.input(Input::Stop);
    bench.answer(GROUPS, Ok(groups(&[])));
    bench.run(secs(2 * HOUR));
    assert_eq!(asked(&mut bench), Vec::<String>::new());
}

#[test]
fn the_attributes_of_a_door_fit_into_home_assistants_recorder() {
    let long = |c: char| c.to_string().repeat(255);
    let mut bench = Bench::settled_with(with(hourly), |bench| {
        bench.doors[0].name = Some(long('\u{1f6aa}'));
        bench.doors[0].site = Some(Site { id: "site-1".parse().unwrap(), name: Some(long('\u{1f3e2}')) });
        bench.doors[0].controller =
            Some(Controller { id: "acu-1".parse().unwrap(), name: Some(long('\u{1f4e6}')) });
        bench.doors.push(door("d-2", "Back"));
        bench.scenarios = (0..60)
            .map(|number| scenario(&format!("{number:0>64}"), &["d-1"]))
            .map(|scenario| verkada2mqtt::model::Scenario { state: ScenarioState::Active, ..scenario })
            .collect();
    });
    bench.run(secs(2));
    let names: Vec<String> = (0..30).map(|number| format!("g-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let many = |name: &str| (0..500).map(|id| level(&format!("l-{id}"), name, &names)).collect::<Vec<_>>();
    for name in ["Staff".to_owned(), long('\"'), long('\u{1f511}')] {
        bench.answer(GROUPS, Ok(groups(&[])));
        bench.answer(LEVELS, Ok(levels(many(&name))));
        let (listed, left_out) = told(&bench);
        let listed = listed.as_array().unwrap();
        assert!(!listed.is_empty());
        assert_eq!(left_out, json!(500 - listed.len()));
        assert_eq!(listed[0]["groups"].as_array().unwrap().len(), 20);
        assert_eq!(listed[0]["groups_left_out"], 10);
        let bytes = bench.held("door/d-1/attributes").unwrap().len();
        assert!(bytes < 16 * 1024, "{bytes}");
        bench.run(secs(HOUR));
    }
    bench.open.clear();
    bench.take_log();
}

#[test]
fn levels_that_cannot_be_read_are_told() {
    let (lines, guard) = Lines::listen();
    let mut bench = bench();
    bench.answer(GROUPS, Ok(groups(&[])));
    let skipped = vec!["access level 3 of the list is left out: no id".to_owned()];
    bench.answer(LEVELS, Ok(Answer::AccessLevels(Inventory { items: Vec::new(), skipped })));
    bench.take_log();
    drop(guard);
    assert!(lines.take().iter().any(|line| line.contains("access level 3 of the list is left out")));
}
