//! The drill: the way of an activate, without the act.

use serde_json::{Value, json};
use verkada2mqtt::{
    bridge::Input,
    hass::Style,
    model::{Answer, Drilled, Fault, LinkEvent, Push},
};

use crate::{
    bench::{Bench, inventory, ms, scenario, secs, settings, trace},
    join_securing, rate_limited, with,
};

const BEGUN: [&str; 2] = ["!scenario/s-1/result drill accepted -", ">drill"];
const DONE: [&str; 2] = ["!scenario/s-1/result drill done -", "=scenario/s-1/attributes INACTIVE -"];

/// The answer to a drill: written and answered so long after now.
fn drilled(bench: &Bench, written: u64, answered: u64) -> Answer {
    Answer::Drilled(Drilled {
        scenarios: inventory(bench.scenarios.clone()),
        aside: ms(100),
        sent_at: bench.now.mono + ms(written),
        answered_at: bench.now.mono + ms(answered),
    })
}

fn drill(bench: &mut Bench) {
    bench.command("scenario/s-1", "DRILL");
    bench.expect(&BEGUN);
    let answer = drilled(bench, 112, 190);
    bench.answer("drill", Ok(answer));
    bench.expect(&DONE);
}

/// Time in which nothing happens but polls.
#[track_caller]
fn idle(bench: &mut Bench, seconds: u64) {
    bench.run(secs(seconds));
    let log = bench.take_log();
    assert!(log.iter().all(|line| line.starts_with("=bridge/last_poll")), "{log:?}");
}

fn attributes(bench: &Bench, id: &str) -> Value {
    serde_json::from_str(&bench.held(&format!("scenario/{id}/attributes")).unwrap()).unwrap()
}

/// Whether a lockdown could be started, and what is said to be missing.
fn readiness(bench: &Bench) -> (String, Value) {
    let attributes: Value =
        serde_json::from_str(&bench.held("bridge/lockdown_ready_attributes").unwrap()).unwrap();
    (bench.held("bridge/lockdown_ready").unwrap(), attributes["missing"].clone())
}

#[test]
fn a_drill_goes_the_way_of_an_activate_and_activates_nothing() {
    let mut bench = Bench::settled();
    bench.command("scenario/s-1", r#"{"action":"drill","id":"x","by":"desk"}"#);
    bench.expect(&BEGUN);
    let call = bench.open.first().unwrap();
    assert_eq!(call.send_before, bench.now.mono + secs(10));
    assert_eq!(call.opening, None, "as for an activate");
    assert!(!bench.bridge.is_idle());
    let answer = drilled(&bench, 112, 190);
    bench.answer("drill", Ok(answer));
    bench.expect(&DONE);
    let result = bench.last_result();
    assert_eq!(
        result["message"],
        "drill: nothing was activated; the request was written 12 ms after the command came, and answered after 90 \
         ms; whether the key may activate is not proven by it"
    );
    assert_eq!(
        (&result["id"], &result["by"], &result["action"]),
        (&json!("x"), &json!("desk"), &json!("drill"))
    );
    let shown = attributes(&bench, "s-1");
    assert_eq!(shown["last_drill"], json!({ "time": "2026-11-25T12:00:01Z", "outcome": "done", "ms": 90 }));
    assert_eq!(shown["last_command"], Value::Null, "a drill is no command to the scenario");
    assert_eq!(bench.held("scenario/s-1/state").unwrap(), "OFF");
    idle(&mut bench, 60);
}

#[test]
fn the_time_that_a_drill_waited_before_the_core_saw_it_counts() {
    let mut bench = Bench::settled();
    let received_at = bench.now.mono.checked_sub(ms(40)).unwrap();
    bench.command_with("scenario/s-1", "drill", |message| message.received_at = received_at);
    let answer = drilled(&bench, 110, 120);
    bench.answer("drill", Ok(answer));
    bench.take_log();
    let text = bench.last_result()["message"].as_str().unwrap().to_owned();
    assert!(text.contains("written 50 ms after the command came, and answered after 60 ms"), "{text}");
}

#[test]
fn the_gate_judges_a_drill_as_an_activate() {
    let refused = |target: &str, payload: &str, change: fn(&mut Bench, &mut verkada2mqtt::model::Message)| {
        let mut bench = Bench::settled();
        let mut message = bench.message(&format!("verkada/{target}/set"), payload);
        change(&mut bench, &mut message);
        bench.command_with(target, payload, |own| *own = message);
        let log = bench.take_log();
        assert!(!log.iter().any(|line| line.starts_with(">drill")), "{log:?}");
        bench.last_result()["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(refused("scenario/s-1", "DRILL", |_, message| message.retain = true), "retained");
    assert_eq!(refused("scenario/s-9", "DRILL", |_, _| {}), "unknown_target");
    assert_eq!(refused("door/d-1", "DRILL", |_, _| {}), "malformed");
    assert_eq!(refused("scenario/s-1", "DRILLS", |_, _| {}), "malformed");
    let old = r#"{"action":"drill","issued_at":"2026-11-25T11:58:00Z"}"#;
    assert_eq!(refused("scenario/s-1", old, |_, _| {}), "too_old");
    let early = r#"{"action":"drill","issued_at":"2026-11-25T12:02:00Z"}"#;
    assert_eq!(refused("scenario/s-1", early, |_, _| {}), "clock_skew");
    // An activate may be older than an opening command, and so may a drill.
    let mut bench = Bench::settled();
    bench.run(secs(30));
    let echo = bench.now.mono.checked_sub(secs(20));
    bench.command_with("scenario/s-1", "DRILL", |message| message.echo_sent_at = echo);
    bench.expect(&BEGUN);
    let mut bench = Bench::settled_with(with(|settings| settings.commands.activate = false), |_| {});
    bench.command("scenario/s-1", "DRILL");
    bench.expect(&["!scenario/s-1/result drill refused not_allowed"]);
}

#[test]
fn an_id_is_for_one_drill_and_never_for_an_activate_too() {
    let mut bench = Bench::settled();
    let payload = r#"{"action":"drill","id":"x"}"#;
    bench.command("scenario/s-1", payload);
    bench.expect(&BEGUN);
    let answer = drilled(&bench, 1, 2);
    bench.answer("drill", Ok(answer));
    bench.expect(&DONE);
    bench.command("scenario/s-1", payload);
    bench.expect(&[DONE[0], "!scenario/s-1/result drill merged duplicate"]);
    bench.command("scenario/s-1", r#"{"action":"activate","id":"x"}"#);
    let log = bench.take_log();
    assert!(log.contains(&"!scenario/s-1/result activate refused id_conflict".to_owned()), "{log:?}");
    assert!(!log.iter().any(|line| line.starts_with(">activate")), "{log:?}");
}

#[test]
fn there_is_one_drill_a_minute_for_all_scenarios_together() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.scenarios.push(scenario("s-2", &[]));
    });
    bench.command("scenario/s-1", "DRILL");
    bench.expect(&BEGUN);
    for target in ["scenario/s-1", "scenario/s-2"] {
        bench.command(target, "DRILL");
        bench.expect(&[&format!("!{target}/result drill refused rate_limited")]);
    }
    let answer = drilled(&bench, 1, 2);
    bench.answer("drill", Ok(answer));
    bench.expect(&DONE);
    idle(&mut bench, 59);
    bench.command("scenario/s-2", "DRILL");
    bench.expect(&["!scenario/s-2/result drill refused rate_limited"]);
    idle(&mut bench, 1);
    bench.command("scenario/s-2", "DRILL");
    bench.expect(&["!scenario/s-2/result drill accepted -", ">drill"]);
    // Refused drills do not count as drills.
    assert_eq!(attributes(&bench, "s-2")["last_drill"], Value::Null);
}

#[test]
fn an_activate_waits_for_no_drill() {
    // Under way: the activate goes out beside it.
    let mut bench = Bench::settled();
    bench.command("scenario/s-1", "DRILL");
    bench.expect(&BEGUN);
    bench.command("scenario/s-1", "ON");
    bench.expect(&["!scenario/s-1/result activate accepted -", ">activate s-1"]);
    let answer = drilled(&bench, 1, 2);
    bench.answer("drill", Ok(answer));
    bench.expect(&DONE);
    // While one is under way there is none.
    bench.run(secs(60));
    bench.take_log();
    bench.command("scenario/s-1", "DRILL");
    bench.expect(&["!scenario/s-1/result drill refused superseded"]);
    // Not sent yet: it gives way.
    let mut bench = Bench::settled();
    bench.auto = false;
    bench.run(secs(5));
    bench.answer("scenarios", rate_limited(None));
    bench.take_log();
    bench.command("scenario/s-1", "DRILL");
    bench.expect(&["!scenario/s-1/result drill accepted -"]);
    bench.command("scenario/s-1", "ON");
    bench.expect(&[
        "!scenario/s-1/result drill expired superseded",
        "!scenario/s-1/result activate accepted -",
    ]);
    let text = bench.published.iter().rev().filter(|p| p.topic.ends_with("/result")).nth(1).unwrap();
    assert!(String::from_utf8_lossy(&text.payload).contains("drill: nothing was activated; a scenario was"));
    bench.run(secs(2));
    assert!(bench.take_log().contains(&">activate s-1".to_owned()));
    assert_eq!(attributes(&bench, "s-1")["last_drill"], Value::Null);
}

#[test]
fn a_drill_leaves_the_last_of_the_budget_to_acts() {
    let mut bench = Bench::settled();
    // Reads that somebody prompts take all they may have: 23 of 25 in 5 s.
    for _ in 0..40 {
        bench.input(Input::Push(Push::ReadScenarios));
        bench.input(Input::Push(Push::ReadEvents));
        bench.run(ms(50));
    }
    bench.take_log();
    let sent = 300 - bench.bridge.status(bench.now).budget_left;
    if sent < 23 {
        // Pushes are paced; unlocks are not.
        for _ in sent..23 {
            bench.command("door/d-1", "UNLOCK");
            if bench
                .open
                .iter()
                .any(|call| matches!(call.request, verkada2mqtt::model::Request::Unlock { .. }))
            {
                bench.answer("unlock d-1", Err(Fault::Rejected(trace())));
            }
        }
        bench.take_log();
    }
    bench.command("scenario/s-1", "DRILL");
    let log = bench.take_log();
    let left = 300 - bench.bridge.status(bench.now).budget_left;
    assert!(left <= 23, "{left} {log:?}");
    bench.command("scenario/s-1", "ON");
    assert!(bench.take_log().contains(&">activate s-1".to_owned()), "there is room for an activate");
}

#[test]
fn a_failed_drill_says_why_and_makes_the_gateway_not_ready() {
    let forbidden = Fault::Forbidden(trace());
    for (fault, reason) in [
        (forbidden, "forbidden"),
        (Fault::Unauthorized(trace()), "unauthorized"),
        (Fault::NotSent(trace()), "unreachable"),
        (Fault::Unclear(trace()), "no_proof"),
        (Fault::Malformed(trace()), "no_proof"),
        (Fault::RateLimited { after: None, trace: trace() }, "vendor_rate_limit"),
    ] {
        let mut bench = Bench::settled();
        join_securing(&mut bench);
        bench.input(Input::Token(verkada2mqtt::model::TokenState::Valid));
        bench.take_log();
        assert_eq!(readiness(&bench).0, "ON");
        bench.command("scenario/s-1", "DRILL");
        bench.expect(&BEGUN);
        bench.answer("drill", Err(fault));
        bench.expect(&[&format!("!scenario/s-1/result drill failed {reason}"), DONE[1]]);
        let text = bench.last_result()["message"].as_str().unwrap().to_owned();
        assert!(text.starts_with("drill: nothing was activated; the vendor"), "{text}");
        assert_eq!(attributes(&bench, "s-1")["last_drill"]["outcome"], "failed");
        assert_eq!(attributes(&bench, "s-1")["last_drill"]["ms"], Value::Null);
        let (ready, missing) = readiness(&bench);
        assert_eq!(
            (ready.as_str(), missing.as_str().unwrap()),
            ("OFF", "not ready: the last drill failed: the vendor does not play along")
        );
        // It is not repeated, and stays so until one works.
        idle(&mut bench, 61);
        assert_eq!(readiness(&bench).0, "OFF");
        drill(&mut bench);
        assert_eq!(readiness(&bench), ("ON".to_owned(), Value::Null));
    }
}

#[test]
fn a_scenario_that_the_vendor_does_not_list_fails_its_drill() {
    let mut bench = Bench::settled();
    bench.command("scenario/s-1", "DRILL");
    bench.expect(&BEGUN);
    bench.scenarios[0].id = "s-3".parse().unwrap();
    let answer = drilled(&bench, 1, 2);
    bench.answer("drill", Ok(answer));
    bench.expect(&["!scenario/s-1/result drill failed not_found", DONE[1]]);
}

#[test]
fn a_drill_that_finds_no_room_fails_in_time() {
    let mut bench = Bench::settled();
    bench.auto = false;
    bench.run(secs(5));
    bench.answer("scenarios", rate_limited(Some(60)));
    bench.take_log();
    bench.command("scenario/s-1", "DRILL");
    bench.expect(&["!scenario/s-1/result drill accepted -"]);
    bench.run(secs(10));
    let log = bench.take_log();
    assert!(log.contains(&"!scenario/s-1/result drill failed unreachable".to_owned()), "{log:?}");
    assert!(!log.contains(&">drill".to_owned()));
}

#[test]
fn a_stop_ends_a_drill() {
    let mut bench = Bench::settled();
    bench.auto = false;
    bench.run(secs(5));
    bench.answer("scenarios", rate_limited(None));
    bench.command("scenario/s-1", "DRILL");
    bench.take_log();
    bench.input(Input::Stop);
    bench.expect(&["!scenario/s-1/result drill refused stopping"]);
    assert!(bench.bridge.is_idle());
    // Sent: its answer is waited for as long as the stop lasts.
    let mut bench = Bench::settled();
    bench.command("scenario/s-1", "DRILL");
    bench.expect(&BEGUN);
    bench.input(Input::Stop);
    bench.expect(&[]);
    assert!(!bench.bridge.is_idle());
    bench.bridge.abandon(bench.now);
    bench.link(LinkEvent::Proven);
    bench.expect(&["!scenario/s-1/result drill failed stopping"]);
}
