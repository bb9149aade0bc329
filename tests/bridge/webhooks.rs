//! Webhooks are evidence and news, prompt reads, and are held against polls.

use jiff::SignedDuration;
use verkada2mqtt::{
    bridge::Input,
    model::{AccessEvent, Answer, EventKind, EventPage, Fault, Push},
};

use super::bench::{Bench, call_line, event, inventory, secs, trace};

fn at(bench: &Bench, seconds_ago: i64) -> jiff::Timestamp {
    bench.now.utc - SignedDuration::from_secs(seconds_ago)
}

fn push(bench: &mut Bench, event: AccessEvent) {
    bench.input(Input::Push(Push::Event(Box::new(event))));
}

fn page(events: Vec<AccessEvent>) -> Answer {
    Answer::Events(EventPage { events, skipped: vec![], next: None })
}

/// Waits for the next poll of events and answers it; returns what came of that, and after how many seconds it was asked.
fn poll(bench: &mut Bench, events: Vec<AccessEvent>) -> (Vec<String>, u64) {
    for second in 1..=120 {
        bench.run(secs(1));
        if bench.take_log().iter().any(|line| line == ">events") {
            bench.answer("events", Ok(page(events)));
            return (bench.take_log(), second);
        }
        // The other lists are read as ever.
        while let Some(call) = bench.open.iter().find(|call| call_line(&call.request) != "events") {
            let what = call_line(&call.request);
            let answer = if what == "doors" {
                Answer::Doors(inventory(bench.doors.clone()))
            } else {
                Answer::Scenarios(inventory(bench.scenarios.clone()))
            };
            bench.answer(&what, Ok(answer));
        }
    }
    panic!("events are not polled any more");
}

/// A settled bench in which the first delivery was made long ago.
fn lively() -> Bench {
    let mut bench = Bench::settled();
    bench.auto = false;
    let first = event("w-0", EventKind::Denied, "d-1", at(&bench, 0));
    push(&mut bench, first);
    bench.expect(&[
        "!door/d-1/event access_denied",
        "=bridge/webhook healthy",
        "=door/d-1/attributes none -",
    ]);
    bench
}

#[test]
fn a_pushed_event_is_evidence_and_news_and_the_poll_does_not_tell_it_again() {
    let mut bench = lively();
    let opened = event("w-1", EventKind::Opened, "d-1", at(&bench, 0));
    push(&mut bench, opened.clone());
    bench.expect(&["!door/d-1/event other", "=door/d-1/attributes none -", "=door/d-1/position ON"]);
    push(&mut bench, opened.clone());
    bench.expect(&[]);
    assert_eq!(poll(&mut bench, vec![opened]).0, Vec::<String>::new());
}

#[test]
fn a_late_delivery_undoes_nothing_and_one_from_before_the_start_is_no_news() {
    let mut bench = lively();
    let (newer, older) = (at(&bench, 0), at(&bench, 1));
    push(&mut bench, event("w-1", EventKind::Unlocked, "d-1", newer));
    bench.expect(&["!door/d-1/event other", "=door/d-1/attributes event -", "=door/d-1/state UNLOCKED"]);
    push(&mut bench, event("w-2", EventKind::Locked, "d-1", older));
    bench.expect(&["!door/d-1/event other"]);
    let before = at(&bench, 100);
    push(&mut bench, event("w-3", EventKind::Granted, "d-1", before));
    bench.expect(&[]);
}

#[test]
fn what_was_told_is_not_told_again_after_events_could_not_be_read() {
    let mut bench = lively();
    let denied = event("w-1", EventKind::Denied, "d-1", at(&bench, 0));
    push(&mut bench, denied.clone());
    bench.run(secs(31));
    bench.answer("events", Err(Fault::Forbidden(trace())));
    bench.take_log();
    push(&mut bench, denied);
    assert!(!bench.take_log().iter().any(|line| line.starts_with("!door")));
}

#[test]
fn many_nudges_are_one_read_a_second() {
    let mut bench = lively();
    for _ in 0..50 {
        bench.input(Input::Push(Push::ReadScenarios));
    }
    bench.expect(&[">scenarios"]);
    let scenarios = verkada2mqtt::model::Inventory { items: bench.scenarios.clone(), skipped: vec![] };
    bench.answer("scenarios", Ok(Answer::Scenarios(scenarios)));
    bench.expect(&[]);
    bench.input(Input::Push(Push::ReadEvents));
    bench.expect(&[]);
}

#[test]
fn polls_of_events_wait_longer_while_webhooks_are_healthy_and_no_longer_when_they_stop() {
    let mut bench = lively();
    poll(&mut bench, vec![]);
    assert_eq!(poll(&mut bench, vec![]).1, 30);
    let mut polls = 0;
    while bench.held("bridge/webhook").as_deref() == Some("healthy") {
        poll(&mut bench, vec![]);
        polls += 1;
        assert!(polls < 30, "it never counts as silent");
    }
    assert_eq!(bench.held("bridge/webhook").as_deref(), Some("silent"));
    assert_eq!(poll(&mut bench, vec![]).1, 5);
    let event = event("w-9", EventKind::Denied, "d-1", at(&bench, 0));
    push(&mut bench, event);
    assert_eq!(bench.held("bridge/webhook").as_deref(), Some("healthy"));
    bench.take_log();
}

#[test]
fn what_only_a_poll_brings_is_counted_and_ends_the_reliance() {
    let mut bench = lively();
    poll(&mut bench, vec![]);
    // One that a webhook may still bring is no miss.
    let fresh = event("p-1", EventKind::Denied, "d-1", at(&bench, -20));
    let told = poll(&mut bench, vec![fresh]).0;
    assert_eq!(told, ["!door/d-1/event access_denied", "=door/d-1/attributes none -"]);
    let missed = event("p-2", EventKind::Denied, "d-1", at(&bench, 0));
    let told = poll(&mut bench, vec![missed]).0;
    assert_eq!(
        told,
        ["!door/d-1/event access_denied", "=bridge/webhook incomplete", "=door/d-1/attributes none -"]
    );
    assert_eq!(poll(&mut bench, vec![]).1, 5);
    for _ in 0..23 {
        poll(&mut bench, vec![]);
    }
    assert_eq!(bench.held("bridge/webhook_missed").as_deref(), Some("1"));
    assert_eq!(bench.held("bridge/webhook").as_deref(), Some("healthy"));
    bench.take_log();
}

#[test]
fn without_webhooks_nothing_is_said_of_misses() {
    let mut bench = Bench::settled();
    bench.auto = false;
    bench.run(secs(5));
    bench.take_log();
    let event = event("p-1", EventKind::Denied, "d-1", at(&bench, 20));
    bench.answer("events", Ok(page(vec![event])));
    bench.expect(&["!door/d-1/event access_denied", "=door/d-1/attributes none -"]);
    assert_eq!(bench.held("bridge/webhook").as_deref(), Some("off"));
}

#[test]
fn no_push_of_any_kind_causes_a_write() {
    let kinds = [
        EventKind::Unlocked,
        EventKind::Locked,
        EventKind::Opened,
        EventKind::ForcedOpen,
        EventKind::Granted,
        EventKind::RemoteUnlock,
        EventKind::LockChanged,
        EventKind::Lockdown,
        EventKind::ControllerOffline,
        EventKind::Other,
    ];
    let mut bench = lively();
    for (index, kind) in kinds.into_iter().enumerate() {
        let event = event(&format!("w-{}", index + 10), kind, "d-1", at(&bench, 0));
        push(&mut bench, event);
        bench.input(Input::Push(Push::ReadScenarios));
        bench.input(Input::Push(Push::ReadEvents));
        bench.run(secs(2));
    }
    let log = bench.take_log();
    let writes: Vec<_> = log
        .iter()
        .filter(|l| [">unlock", ">activate", ">release"].iter().any(|w| l.starts_with(w)))
        .collect();
    assert!(writes.is_empty(), "{writes:?}");
}
