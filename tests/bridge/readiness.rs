//! Lockdown readiness, and which doors are confirmed after an activate.

use jiff::SignedDuration;
use serde_json::{Value, json};
use verkada2mqtt::{
    bridge::Input,
    hass::Style,
    model::{Answer, EventKind, Fault, LinkEvent, TokenState},
};

use crate::{
    UP, active,
    bench::{Bench, event, later, ms, scenario, secs, settings, trace},
    fail_reads, join_securing,
    log::Lines,
    with,
};

fn ready() -> Bench {
    let mut bench = Bench::settled();
    join_securing(&mut bench);
    bench.input(Input::Token(TokenState::Valid));
    bench.take_log();
    assert_eq!(shown(&bench), "ON", "{}", attributes(&bench));
    bench
}

fn shown(bench: &Bench) -> String {
    bench.held("bridge/lockdown_ready").unwrap()
}

fn attributes(bench: &Bench) -> Value {
    serde_json::from_str(&bench.held("bridge/lockdown_ready_attributes").unwrap()).unwrap()
}

fn missing(bench: &Bench) -> String {
    attributes(bench)["missing"].as_str().unwrap_or("-").to_owned()
}

fn check(bench: &Bench, name: &str) -> Value {
    let checks = attributes(bench)["checks"].as_array().unwrap().clone();
    checks.into_iter().find(|check| check["name"] == name).unwrap()
}

/// How often anything about readiness was published.
fn tellings(bench: &Bench) -> usize {
    bench.published.iter().filter(|p| p.topic.starts_with("verkada/bridge/lockdown_ready")).count()
}

fn skew(bench: &mut Bench, seconds: i64) {
    bench.input(Input::VendorClock(SignedDuration::from_secs(seconds)));
}

#[test]
fn it_is_unknown_until_all_that_can_be_proven_is() {
    let mut bench = Bench::new(settings(Style::Device));
    bench.link(UP);
    assert_eq!(shown(&bench), "None");
    bench.link(LinkEvent::Proven);
    let open = "not known yet: securing; token";
    assert_eq!((shown(&bench).as_str(), missing(&bench).as_str()), ("None", open));
    join_securing(&mut bench);
    assert_eq!((shown(&bench).as_str(), missing(&bench).as_str()), ("None", "not known yet: token"));
    bench.input(Input::Token(TokenState::Valid));
    assert_eq!((shown(&bench).as_str(), missing(&bench).as_str()), ("ON", "-"));
    let names: Vec<_> = attributes(&bench)["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| (check["name"].as_str().unwrap().to_owned(), check["ok"].clone()))
        .collect();
    let expected = [
        ("broker", json!(true)),
        ("securing", json!(true)),
        ("allowed", json!(true)),
        ("clock", json!(null)),
        ("token", json!(true)),
        ("scenarios", json!(true)),
        ("listed", json!(true)),
        ("budget", json!(true)),
        ("round_trip", json!(true)),
        ("activate", json!(null)),
        ("drill", json!(null)),
    ];
    assert_eq!(names, expected.map(|(name, ok)| (name.to_owned(), ok)));
    let text = check(&bench, "activate")["text"].as_str().unwrap().to_owned();
    assert!(text.contains("only when a scenario is activated or released"), "it claims nothing: {text}");
    bench.take_log();
}

#[test]
fn what_is_missing_is_named() {
    let mut bench = ready();
    bench.input(Input::Token(TokenState::Refused));
    bench.take_log();
    assert_eq!(
        (shown(&bench).as_str(), missing(&bench).as_str()),
        ("OFF", "not ready: the vendor refuses the API key")
    );
    assert_eq!(check(&bench, "token")["since"], "2026-11-25T12:00:01Z");
    // A renewal lies between, in which nothing is known anew.
    bench.input(Input::Token(TokenState::Missing));
    assert_eq!(shown(&bench), "OFF");
    bench.input(Input::Token(TokenState::Valid));
    bench.input(Input::Token(TokenState::Missing));
    assert_eq!(shown(&bench), "ON");

    let mut bench = ready();
    bench.scenarios.clear();
    bench.run(secs(20));
    bench.take_log();
    assert!(missing(&bench).starts_with("not ready: no scenario is listed"), "{}", missing(&bench));

    let mut bench = Bench::settled_with(with(|settings| settings.commands.activate = false), |_| {});
    assert_eq!(
        (shown(&bench).as_str(), missing(&bench).as_str()),
        ("OFF", "not ready: commands.activate is false")
    );
    bench.take_log();

    let mut bench = ready();
    bench.link(LinkEvent::Unproven("no heartbeat for 5 s".to_owned()));
    bench.run(ms(9_900));
    assert_eq!(shown(&bench), "ON");
    bench.run(ms(200));
    bench.take_log();
    assert_eq!(missing(&bench), "not ready: no heartbeat comes back from the broker");
    bench.link(LinkEvent::Proven);
    bench.take_log();
    assert_eq!(shown(&bench), "ON");

    let mut bench = ready();
    bench.auto = false;
    bench.run(secs(5));
    bench.answer("scenarios", Err(Fault::RateLimited { after: Some(secs(60)), trace: trace() }));
    bench.take_log();
    assert_eq!(missing(&bench), "not ready: the vendor's request budget has no room for an activate");
    bench.auto = true;
    fail_reads(&mut bench, &Fault::Unclear(trace()));
    bench.run(secs(60));
    bench.take_log();
    assert_eq!(shown(&bench), "ON");
}

#[test]
fn without_a_connection_of_its_own_no_lockdown_is_ready() {
    let text = "not ready: no heartbeat comes back on the connection for lockdowns, so that other messages may hold \
                one up";
    // One that never came, one that was lost, and one that is there and proves nothing.
    let mut bench = Bench::settled();
    bench.input(Input::Token(TokenState::Valid));
    assert_eq!((shown(&bench).as_str(), missing(&bench).as_str()), ("None", "not known yet: securing"));
    bench.run(secs(10));
    bench.take_log();
    assert_eq!((shown(&bench).as_str(), missing(&bench).as_str()), ("OFF", text));
    join_securing(&mut bench);
    bench.take_log();
    assert_eq!((shown(&bench).as_str(), missing(&bench).as_str()), ("ON", "-"));
    for trouble in [LinkEvent::Down("cut".to_owned()), LinkEvent::Unproven("no heartbeat for 5 s".to_owned())]
    {
        bench.input(Input::Securing(trouble));
        bench.run(ms(9_900));
        assert_eq!(shown(&bench), "ON", "it is being made anew");
        // Attempts that prove nothing do not begin the wait anew.
        bench.input(Input::Securing(UP));
        bench.run(ms(200));
        assert_eq!((shown(&bench).as_str(), missing(&bench).as_str()), ("OFF", text));
        assert_eq!(check(&bench, "broker")["ok"], true);
        join_securing(&mut bench);
        bench.take_log();
        assert_eq!(shown(&bench), "ON");
    }
}

#[test]
fn a_missing_permission_is_found_at_the_start_and_while_it_runs() {
    for fault in [Fault::Forbidden(trace()), Fault::Unauthorized(trace())] {
        let mut bench = Bench::new(settings(Style::Device));
        bench.auto = false;
        bench.link(UP);
        bench.link(LinkEvent::Proven);
        bench.answer("scenarios", Err(fault.clone()));
        bench.take_log();
        let text = "not ready: the vendor refuses to list scenarios: the vendor does not play along";
        assert_eq!((shown(&bench).as_str(), missing(&bench).as_str()), ("OFF", text));

        let mut bench = ready();
        bench.auto = false;
        bench.run(secs(5));
        bench.answer("scenarios", Err(fault));
        bench.take_log();
        assert_eq!((shown(&bench).as_str(), missing(&bench).as_str()), ("OFF", text));
    }
}

#[test]
fn one_failure_blinks_nothing_and_unchanged_polls_tell_nothing() {
    let mut bench = ready();
    let before = tellings(&bench);
    bench.auto = false;
    bench.run(secs(5));
    fail_reads(&mut bench, &Fault::Unclear(trace()));
    bench.auto = true;
    bench.run(secs(600));
    // One slow answer, and one reading of the clock that is far off.
    bench.auto = false;
    bench.run(secs(5));
    bench.now = later(bench.now, secs(6));
    let list = bench.scenarios.clone();
    bench.answer("scenarios", Ok(Answer::Scenarios(crate::inventory(list))));
    bench.auto = true;
    bench.run(secs(20));
    assert_eq!(tellings(&bench), before);
    skew(&mut bench, 0);
    let before = tellings(&bench);
    for odd in [400, 0, -400, 1, -1, 2] {
        skew(&mut bench, odd);
    }
    bench.run(secs(20));
    bench.take_log();
    assert_eq!(tellings(&bench), before);
    // What changes with each poll is told once a minute.
    let trips = bench.published.iter().filter(|p| p.topic == "verkada/bridge/round_trip").count();
    assert!((2..=12).contains(&trips), "{trips}");
}

#[test]
fn two_slow_answers_in_a_row_are_too_slow_for_a_lockdown() {
    let mut bench = ready();
    bench.auto = false;
    for _ in 0..2 {
        bench.run(secs(5));
        bench.now = later(bench.now, secs(5));
        let list = bench.scenarios.clone();
        bench.answer("scenarios", Ok(Answer::Scenarios(crate::inventory(list))));
    }
    bench.take_log();
    assert_eq!(missing(&bench), "not ready: the vendor took longer than 4 s to answer, twice in a row");
    bench.auto = true;
    bench.run(secs(10));
    bench.take_log();
    assert_eq!(shown(&bench), "ON");
}

#[test]
fn a_clock_that_would_make_commands_look_old_or_early_is_told() {
    let mut bench = ready();
    for (seconds, text) in [(90, "90 s behind the vendor's"), (-45, "45 s ahead of the vendor's")] {
        skew(&mut bench, seconds);
        skew(&mut bench, seconds);
        assert_eq!(shown(&bench), "OFF");
        assert!(missing(&bench).contains(text), "{}", missing(&bench));
    }
    // Our clock may be ahead for a while: commands may be a minute old.
    skew(&mut bench, -20);
    skew(&mut bench, -20);
    assert_eq!(shown(&bench), "ON");
    skew(&mut bench, 6);
    skew(&mut bench, 6);
    assert_eq!(shown(&bench), "OFF", "stamped commands would come from the future");
}

#[test]
fn a_refused_activate_stands_until_the_vendor_takes_an_act() {
    let mut bench = ready();
    bench.command("scenario/s-1", "ON");
    bench.answer("activate s-1", Err(Fault::Forbidden(trace())));
    bench.run(secs(61));
    bench.take_log();
    let text = "not ready: the vendor refused the last activate or release: the vendor does not play along";
    assert_eq!((shown(&bench).as_str(), missing(&bench).as_str()), ("OFF", text));
    // A drill cannot prove the contrary.
    bench.command("scenario/s-1", "DRILL");
    let drilled = Answer::Drilled(verkada2mqtt::model::Drilled {
        scenarios: crate::inventory(bench.scenarios.clone()),
        aside: ms(0),
        sent_at: bench.now.mono,
        answered_at: bench.now.mono,
    });
    bench.answer("drill", Ok(drilled));
    assert_eq!(shown(&bench), "OFF");
    active(&mut bench, true);
    bench.run(secs(5));
    bench.command("scenario/s-1", "OFF");
    bench.answer("release s-1", Ok(Answer::Taken));
    bench.take_log();
    assert_eq!(shown(&bench), "ON");
    assert_eq!(check(&bench, "activate")["ok"], true);
    active(&mut bench, false);
    bench.run(secs(5));
    // What failed on the way proves nothing about the permission.
    bench.command("scenario/s-1", "ON");
    bench.answer("activate s-1", Err(Fault::Unclear(trace())));
    bench.take_log();
    assert_eq!(shown(&bench), "ON");
}

#[test]
fn the_log_tells_once_a_minute_at_most() {
    let mut bench = ready();
    let (lines, _guard) = Lines::listen();
    let about = |lines: &Lines| -> Vec<String> {
        lines.take().into_iter().filter(|line| line.contains("lockdown could")).collect()
    };
    bench.input(Input::Token(TokenState::Refused));
    bench.run(ms(1_900));
    assert_eq!(about(&lines), [""; 0], "what causes it is told first");
    bench.run(ms(100));
    for _ in 0..5 {
        bench.input(Input::Token(TokenState::Valid));
        bench.run(secs(3));
        bench.input(Input::Token(TokenState::Refused));
        bench.run(secs(3));
    }
    bench.input(Input::Token(TokenState::Valid));
    let told = about(&lines);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("WARN") && told[0].contains("the vendor refuses the API key"), "{told:?}");
    bench.run(secs(29));
    assert_eq!(about(&lines), [""; 0]);
    bench.run(secs(10));
    let told = about(&lines);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("INFO") && told[0].contains("could be started again"), "{told:?}");
    bench.take_log();
    // Where it never was, nobody needs to be woken.
    let mut bench = Bench::settled_with(with(|settings| settings.commands.activate = false), |_| {});
    bench.run(secs(10));
    let told = about(&lines);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("INFO") && told[0].contains("commands.activate is false"), "{told:?}");
    bench.take_log();
}

// ---- which doors are confirmed -------------------------------------------------------------------------------------

fn of_scenario(bench: &Bench) -> Value {
    serde_json::from_str(&bench.held("scenario/s-1/attributes").unwrap()).unwrap()
}

/// What the topic says, and the ids of the doors that are not confirmed.
fn confirmed(bench: &Bench) -> (String, Vec<String>) {
    let unconfirmed = of_scenario(bench)["doors_unconfirmed"].as_array().cloned().unwrap_or_default();
    let ids = unconfirmed.iter().map(|door| door["id"].as_str().unwrap().to_owned()).collect();
    (bench.held("scenario/s-1/doors_confirmed").unwrap(), ids)
}

fn pair(word: &str, ids: &[&str]) -> (String, Vec<String>) {
    (word.to_owned(), ids.iter().map(|id| (*id).to_owned()).collect())
}

/// A scenario of three doors, the last of which is not listed, that our activate made active.
fn activated() -> Bench {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.scenarios = vec![scenario("s-1", &["d-1", "d-2", "d-3"])];
        bench.doors.push(crate::door("d-2", "Back Door"));
    });
    assert_eq!(confirmed(&bench), pair("None", &[]));
    assert_eq!(of_scenario(&bench)["doors_confirmed"], Value::Null);
    bench.run(ms(2_300));
    bench.command("scenario/s-1", "ON");
    active(&mut bench, true);
    bench.run(ms(700));
    bench.answer("activate s-1", Ok(Answer::Taken));
    bench.take_log();
    bench
}

#[test]
fn doors_are_confirmed_by_evidence_newer_than_the_activation() {
    let mut bench = activated();
    assert_eq!(
        bench.last_result()["message"],
        "a read shows the scenario activated; 0 of 3 doors are confirmed locked so far"
    );
    assert_eq!(confirmed(&bench), pair("0/3", &["d-1", "d-2", "d-3"]));
    let named = json!([{ "id": "d-1", "name": "Front Door" }, { "id": "d-2", "name": "Back Door" },
                       { "id": "d-3", "name": null }]);
    assert_eq!(of_scenario(&bench)["doors_unconfirmed"], named);
    // 12:00:03 is the second in which it was activated: a lockdown event of it proves, a lock event may be older.
    let second = "2026-11-25T12:00:03Z".parse().unwrap();
    bench.events.push(event("e-1", EventKind::Lockdown, "d-1", second));
    bench.events.push(event("e-2", EventKind::Locked, "d-2", second));
    bench.run(secs(5));
    assert_eq!(confirmed(&bench), pair("1/3", &["d-2", "d-3"]));
    let at = bench.now.utc;
    bench.events.push(event("e-3", EventKind::Locked, "d-2", at));
    bench.events.push(event("e-4", EventKind::Lockdown, "d-3", at));
    bench.run(secs(5));
    assert_eq!(confirmed(&bench), pair("3/3", &[]));
    assert_eq!(of_scenario(&bench)["doors_confirmed"], 3);
    assert_eq!(of_scenario(&bench)["doors_unconfirmed_count"], 0);
    // What is newer and says the contrary counts more.
    let at = bench.now.utc;
    bench.events.push(event("e-5", EventKind::Unlocked, "d-1", at));
    bench.run(secs(5));
    assert_eq!(confirmed(&bench), pair("2/3", &["d-1"]));
    let at = bench.now.utc;
    bench.events.push(event("e-6", EventKind::Granted, "d-3", at));
    bench.run(secs(5));
    assert_eq!(confirmed(&bench), pair("1/3", &["d-1", "d-3"]));
    bench.run(secs(10));
    assert_eq!(confirmed(&bench), pair("2/3", &["d-1"]), "the door has locked behind whoever was let in");
    active(&mut bench, false);
    bench.run(secs(5));
    assert_eq!(confirmed(&bench), pair("None", &[]));
    bench.take_log();
}

#[test]
fn evidence_from_before_the_activation_confirms_nothing() {
    let mut bench = Bench::settled();
    let before = bench.now.utc;
    bench.events.push(event("e-1", EventKind::Locked, "d-1", before));
    bench.events.push(event("e-2", EventKind::Lockdown, "d-1", before));
    bench.run(secs(60));
    active(&mut bench, true);
    bench.run(secs(5));
    assert_eq!(bench.held("scenario/s-1/state").unwrap(), "ON");
    assert_eq!(confirmed(&bench), pair("0/1", &["d-1"]), "that the list calls it active proves no door");
    // Somebody else activated it: between the last two readings.
    let since = bench.now.utc.checked_sub(SignedDuration::from_secs(4)).unwrap();
    bench.events.push(event("e-3", EventKind::Locked, "d-1", since));
    bench.run(secs(5));
    assert_eq!(confirmed(&bench), pair("0/1", &["d-1"]));
    bench.events.push(event("e-4", EventKind::Lockdown, "d-1", since));
    bench.run(secs(5));
    assert_eq!(confirmed(&bench), pair("1/1", &[]));
    bench.take_log();
}

#[test]
fn a_lock_event_after_our_activate_counts_before_a_read_shows_it() {
    let mut bench = Bench::settled();
    bench.run(ms(2_300));
    bench.command("scenario/s-1", "ON");
    bench.run(secs(3));
    bench.answer("activate s-1", Ok(Answer::Taken));
    active(&mut bench, true);
    bench.run(secs(1));
    assert_eq!(confirmed(&bench), pair("0/1", &["d-1"]));
    assert_eq!(of_scenario(&bench)["active_since"], "2026-11-25T12:00:07.300Z");
    let at = "2026-11-25T12:00:05Z".parse().unwrap();
    bench.events.push(event("e-1", EventKind::Locked, "d-1", at));
    bench.run(secs(5));
    assert_eq!(confirmed(&bench), pair("1/1", &[]));
    bench.take_log();
}

#[test]
fn many_unconfirmed_doors_are_counted_and_some_named() {
    for (count, length, named) in [(40, 20, 40), (100, 20, 60), (100, 200, 19), (300, 20, 14), (300, 200, 4)]
    {
        let ids: Vec<String> = (0..count).map(|i| format!("{i:036}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
            bench.scenarios = vec![scenario("s-1", &ids)];
            bench.doors = ids.iter().map(|id| crate::door(id, &"n".repeat(length))).collect();
            active(bench, true);
        });
        bench.take_log();
        assert_eq!(confirmed(&bench).0, format!("0/{count}"));
        assert_eq!(confirmed(&bench).1.len(), named);
        assert_eq!(of_scenario(&bench)["doors_unconfirmed_count"], count);
        let bytes = bench.held("scenario/s-1/attributes").unwrap().len();
        assert!(bytes <= 16_384, "{bytes}: more than Home Assistant records");
    }
}
