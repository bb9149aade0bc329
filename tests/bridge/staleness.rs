//! Staleness: what is too old to be shown says so, by the age of the reading that carries it, and says it quietly.

use std::time::Duration;

use verkada2mqtt::model::{Answer, EventPage, Fault, Inventory};

use crate::{
    bench::{Bench, call_line, inventory, ms, secs, settings, trace},
    join_securing,
    log::Lines,
    with,
};

/// Answers what is open: the lists named in `failing` with `fault`, the others well.
fn answer(bench: &mut Bench, failing: &[&str], fault: &Fault) {
    while let Some(call) = bench.open.first() {
        let what = call_line(&call.request);
        if failing.contains(&what.as_str()) {
            bench.answer(&what, Err(fault.clone()));
        } else {
            answer_one(bench, &what);
        }
    }
}

/// Answers one reading well.
fn answer_one(bench: &mut Bench, what: &str) {
    let good = match what {
        "doors" => Answer::Doors(inventory(bench.doors.clone())),
        "scenarios" => Answer::Scenarios(inventory(bench.scenarios.clone())),
        "events" => Answer::Events(EventPage { events: vec![], skipped: vec![], next: None }),
        other => panic!("{other}"),
    };
    bench.answer(what, Ok(good));
}

/// Lets time pass with readings that are answered so.
pub(crate) fn pass(bench: &mut Bench, time: Duration, failing: &[&str], fault: &Fault) {
    bench.auto = false;
    let mut left = time;
    while !left.is_zero() {
        let step = left.min(ms(500));
        bench.run(step);
        answer(bench, failing, fault);
        left = left.saturating_sub(step);
    }
    bench.take_log();
}

/// Whether door, scenario and API are shown as available.
fn shown(bench: &Bench) -> [bool; 3] {
    ["door/d-1/availability", "scenario/s-1/availability", "bridge/api/availability"]
        .map(|topic| bench.held(topic).as_deref() == Some("online"))
}

fn passing() -> [Fault; 3] {
    [Fault::Unclear(trace()), Fault::RateLimited { after: None, trace: trace() }, Fault::NotSent(trace())]
}

#[test]
fn each_thing_goes_stale_with_the_list_that_carries_it_after_three_intervals_and_comes_back_with_it() {
    // List, its interval, and what is left of door, scenario and API once it is stale.
    for (list, interval, left) in [
        ("doors", 30, [false, true, true]),
        ("scenarios", 10, [true, false, true]),
        ("events", 10, [false, true, true]),
    ] {
        for fault in passing() {
            let polls = |settings: &mut verkada2mqtt::bridge::Settings| {
                settings.polls.doors = secs(30);
                settings.polls.scenarios = secs(10);
                settings.polls.events = secs(10);
            };
            let mut bench = Bench::settled_with(with(polls), |_| {});
            // The last good reading is as old as the bench is, and that is one second.
            pass(&mut bench, secs(3 * interval - 2), &[list], &fault);
            assert_eq!(shown(&bench), [true; 3], "{list} is too early stale by {fault}");
            pass(&mut bench, secs(2), &[list], &fault);
            assert_eq!(shown(&bench), left, "{list} is not stale by {fault}");
            // The longest pause between two attempts is a minute.
            pass(&mut bench, secs(61), &[], &fault);
            assert_eq!(shown(&bench), [true; 3], "{list} does not come back from {fault}");
        }
    }
}

#[test]
fn the_api_as_a_whole_is_stale_with_the_lists_that_are_read_often() {
    for fault in passing() {
        let mut bench = Bench::settled();
        pass(&mut bench, secs(13), &["doors", "scenarios", "events"], &fault);
        assert_eq!(shown(&bench), [true, true, true]);
        pass(&mut bench, secs(7), &["doors", "scenarios", "events"], &fault);
        assert_eq!(shown(&bench), [false, false, false], "however young the list of doors is");
        pass(&mut bench, secs(61), &[], &fault);
        assert_eq!(shown(&bench), [true; 3]);
    }
}

#[test]
fn one_429_or_one_failure_of_every_list_blinks_nothing_even_with_the_shortest_intervals() {
    for fault in passing() {
        let quick = |settings: &mut verkada2mqtt::bridge::Settings| {
            settings.polls.scenarios = secs(1);
            settings.polls.events = secs(1);
        };
        let mut bench = Bench::settled_with(with(quick), |_| {});
        join_securing(&mut bench);
        let before = bench.published.len();
        bench.auto = false;
        bench.run(ms(1_500));
        answer(&mut bench, &["doors", "scenarios", "events"], &fault);
        pass(&mut bench, secs(30), &[], &fault);
        let news = bench.published[before..].iter().filter(|p| !p.topic.starts_with("homeassistant/"));
        let news: Vec<_> = news.map(|p| p.topic.clone()).collect();
        assert_eq!(news, Vec::<String>::new(), "{fault}");
    }
}

#[test]
fn readings_that_are_never_answered_go_stale_too() {
    let mut bench = Bench::settled_with(settings(verkada2mqtt::hass::Style::Device), |_| {});
    bench.auto = false;
    bench.run(secs(13));
    assert_eq!(shown(&bench), [true; 3]);
    bench.run(secs(2));
    assert_eq!(shown(&bench), [false, false, false]);
    bench.take_log();
}

// ---- the log -------------------------------------------------------------------------------------------------------

#[test]
fn an_hour_without_the_api_is_told_when_it_goes_and_when_it_comes_and_hardly_between() {
    let all = ["doors", "scenarios", "events"];
    for fault in passing().into_iter().chain([Fault::Unauthorized(trace()), Fault::Forbidden(trace())]) {
        let (lines, _log) = Lines::listen();
        // Readiness for a lockdown has a line of its own.
        let take = || -> Vec<String> {
            lines.take().into_iter().filter(|line| !line.contains("a lockdown could")).collect()
        };
        let mut bench = Bench::settled();
        pass(&mut bench, secs(60), &[], &fault);
        lines.take();
        pass(&mut bench, secs(3_600), &all, &fault);
        let outage = take();
        let down = outage.iter().filter(|line| line.contains("the vendor's API does not answer")).count();
        assert_eq!(down, 1, "{outage:#?}");
        assert!(outage.len() <= 4, "each list once and the whole once: {outage:#?}");
        assert!(outage.iter().all(|line| line.contains("WARN")), "{outage:#?}");
        pass(&mut bench, secs(120), &[], &fault);
        let end = take();
        let up = end.iter().filter(|line| line.contains("the vendor's API answers")).count();
        assert_eq!(up, 1, "{end:#?}");
        assert!(end.len() <= 4, "{end:#?}");
        pass(&mut bench, secs(600), &[], &fault);
        assert_eq!(take(), Vec::<String>::new());
    }
}

#[test]
fn an_api_that_comes_and_goes_for_an_hour_fills_no_log() {
    let fault = Fault::Unclear(trace());
    let (lines, _log) = Lines::listen();
    let mut bench = Bench::settled();
    lines.take();
    // Lists go stale and come back for moments, and with them the API as a whole.
    for _ in 0..360 {
        pass(&mut bench, secs(5), &["doors", "scenarios", "events"], &fault);
        pass(&mut bench, secs(5), &[], &fault);
    }
    let told = lines.take();
    assert!(told.len() <= 70, "{told:#?}");
    let of_api = told.iter().filter(|line| line.contains("the vendor's API")).count();
    assert!((1..=12).contains(&of_api), "four in twenty minutes: {told:#?}");
}

#[test]
fn an_element_that_cannot_be_read_is_told_once_however_often_the_list_is_read() {
    let (lines, _log) = Lines::listen();
    let mut bench = Bench::settled();
    lines.take();
    bench.auto = false;
    let mut readings = 0;
    while readings < 100 {
        bench.run(secs(60));
        while let Some(call) = bench.open.first() {
            let what = call_line(&call.request);
            if what == "doors" {
                readings += 1;
                let skipped = vec!["door 500 of the list is left out: invalid type".to_owned()];
                bench.answer(&what, Ok(Answer::Doors(Inventory { items: bench.doors.clone(), skipped })));
            } else {
                answer_one(&mut bench, &what);
            }
        }
    }
    let told: Vec<_> = lines.take().into_iter().filter(|line| line.contains("is left out")).collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains("WARN") && told[0].contains("door 500"), "{told:#?}");
    bench.take_log();
}

#[test]
fn the_end_of_the_key_is_told_at_the_start_and_once_a_day() {
    let (lines, _log) = Lines::listen();
    let expires = "2026-11-28T00:00:00Z".parse().unwrap();
    let mut bench = Bench::settled_with(with(|settings| settings.key_expires = Some(expires)), |_| {});
    let told = |lines: &Lines| {
        let lines = lines.take().into_iter().filter(|line| line.contains("the API key expire"));
        lines.inspect(|line| assert!(line.contains("WARN"), "{line}")).count()
    };
    assert_eq!(told(&lines), 1);
    bench.run(secs(86_000));
    assert_eq!(told(&lines), 0);
    bench.run(secs(2 * 86_400));
    assert_eq!(told(&lines), 2);
    bench.take_log();
}
