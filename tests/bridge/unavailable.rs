//! Why something is unavailable: told in its attributes, in a sentence.

use serde_json::{Value, json};
use verkada2mqtt::model::{EventKind, Fault, LinkEvent};

use crate::{
    bench::{Bench, event, secs, settings, trace},
    join_securing,
    staleness::pass,
    with,
};

/// The reasons of the door and the scenario.
fn reasons(bench: &Bench) -> [Value; 2] {
    ["door/d-1", "scenario/s-1"].map(|thing| {
        let text = bench.held(&format!("{thing}/attributes")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["unavailable_reason"].clone()
    })
}

const NONE: [Value; 2] = [Value::Null, Value::Null];

#[test]
fn what_is_available_has_no_reason_and_a_new_connection_is_none() {
    let mut bench = Bench::settled();
    assert_eq!(reasons(&bench), NONE);
    bench.link(LinkEvent::Down("cut".to_owned()));
    bench.join();
    let published = bench.published.iter().filter(|p| p.topic == "verkada/door/d-1/attributes").count();
    assert_eq!((reasons(&bench), published), (NONE, 2), "once in each session");
    bench.take_log();
}

#[test]
fn a_link_that_is_not_proven_is_the_reason_with_its_complaint() {
    let mut bench = Bench::settled();
    bench.link(LinkEvent::Unproven("the broker refuses our subscription".to_owned()));
    bench.run(secs(9));
    assert_eq!(reasons(&bench), NONE, "a short while is forgiven");
    bench.run(secs(1));
    let reason = json!("no command arrives, because the broker refuses our subscription");
    assert_eq!(reasons(&bench), [reason.clone(), reason.clone()]);
    // A lockdown arrives on the other connection.
    join_securing(&mut bench);
    assert_eq!(reasons(&bench), [reason, Value::Null]);
    bench.link(LinkEvent::Proven);
    assert_eq!(reasons(&bench), NONE);
    bench.take_log();
}

#[test]
fn a_list_that_is_out_of_date_is_the_reason_of_what_it_carries() {
    for (list, concerned) in [("doors", 0), ("scenarios", 1), ("events", 0)] {
        let polls = |settings: &mut verkada2mqtt::bridge::Settings| {
            settings.polls.doors = secs(30);
            settings.polls.scenarios = secs(10);
            settings.polls.events = secs(10);
        };
        let mut bench = Bench::settled_with(with(polls), |_| {});
        pass(&mut bench, secs(90), &[list], &Fault::Unclear(trace()));
        let mut expected = NONE;
        expected[concerned] = json!(format!("the list of {list} is out of date: {}", trace().text));
        assert_eq!(reasons(&bench), expected);
        pass(&mut bench, secs(61), &[], &Fault::Unclear(trace()));
        assert_eq!(reasons(&bench), NONE);
    }
}

#[test]
fn an_api_that_does_not_serve_is_the_reason_in_the_words_of_the_first_failure() {
    let lists = ["doors", "scenarios", "events"];
    let mut bench = Bench::settled();
    pass(&mut bench, secs(20), &lists, &Fault::Unclear(trace()));
    let reason = json!(format!("the Verkada API does not serve: {}", trace().text));
    assert_eq!(reasons(&bench), [reason.clone(), reason.clone()]);
    let mut other = trace();
    other.text = "the vendor answered 500".to_owned();
    pass(&mut bench, secs(61), &lists, &Fault::Unclear(other));
    assert_eq!(reasons(&bench), [reason.clone(), reason], "other words would publish everything again");
    pass(&mut bench, secs(61), &[], &Fault::Unclear(trace()));
    assert_eq!(reasons(&bench), NONE);
}

#[test]
fn a_controller_that_is_offline_is_the_reason_of_its_doors() {
    let mut bench = Bench::settled_with(settings(verkada2mqtt::hass::Style::Device), |_| {});
    let mut lost = event("e-1", EventKind::ControllerOffline, "d-1", bench.now.utc);
    lost.door = None;
    lost.controller = Some("acu-1".parse().unwrap());
    bench.events.push(lost);
    bench.run(secs(5));
    assert_eq!(reasons(&bench), [json!("the controller of the door is offline"), Value::Null]);
    bench.take_log();
}
