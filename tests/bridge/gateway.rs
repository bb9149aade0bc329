//! The gateway's own device: what it tells of itself, and what may be changed about it.

use jiff::Timestamp;
use serde_json::{Value, json};
use verkada2mqtt::{
    bridge::{Input, Settings, ShellRequest},
    hass::{GatewayFacts, Style},
    model::{Answer, EventKind, EventPage, Fault, Inventory, Level, LinkEvent, Push, TokenState},
};

use crate::{
    DOOR, GATEWAY, SITE, UP,
    bench::{Bench, START, call_line, event, inventory, ms, secs, settings, trace},
    fail_reads, with,
};

const QUIET: [&str; 3] = [
    "=bridge/problem None",
    "=bridge/problem_active OFF",
    "=bridge/problem_attributes {\"count\":0,\"kind\":null,\"since\":null}",
];

/// A settled bench whose diagnostics leave lines.
fn talkative(settings: Settings) -> Bench {
    let mut bench = Bench::settled_with(settings, |_| {});
    bench.diagnostics = true;
    bench
}

/// Answers every reading that is open but those of one list.
fn answer_all_but(bench: &mut Bench, list: &str) {
    while let Some(call) = bench.open.iter().find(|call| call_line(&call.request) != list) {
        let what = call_line(&call.request);
        let good = match what.as_str() {
            "doors" => Answer::Doors(inventory(bench.doors.clone())),
            "scenarios" => Answer::Scenarios(inventory(bench.scenarios.clone())),
            _ => Answer::Events(EventPage { events: vec![], skipped: vec![], next: None }),
        };
        bench.answer(&what, Ok(good));
    }
}

/// The kind of the problem that is shown and how many there are, after a check that all three topics agree.
#[track_caller]
fn problem(bench: &Bench) -> (Option<String>, u64) {
    let text = bench.held("bridge/problem").unwrap();
    let attributes: Value = serde_json::from_str(&bench.held("bridge/problem_attributes").unwrap()).unwrap();
    let kind = attributes["kind"].as_str().map(str::to_owned);
    let active = bench.held("bridge/problem_active").unwrap();
    assert_eq!((text != "None", active == "ON"), (kind.is_some(), kind.is_some()), "{text} {attributes}");
    assert_eq!(attributes["since"].is_string(), kind.is_some());
    assert!(text.chars().count() <= 255, "{text}");
    (kind, attributes["count"].as_u64().unwrap())
}

fn some(kind: &str, count: u64) -> (Option<String>, u64) {
    (Some(kind.to_owned()), count)
}

fn send(bench: &mut Bench, leaf: &str, payload: &str) {
    let message = bench.message(&format!("verkada/bridge/{leaf}/set"), payload);
    bench.link(LinkEvent::Message(message));
}

// ---- what it tells -------------------------------------------------------------------------------------------------

#[test]
fn a_start_replaces_all_that_an_earlier_run_told() {
    let mut bench = Bench::new(settings(Style::Device));
    bench.diagnostics = true;
    bench.auto = false;
    bench.link(UP);
    assert_eq!(bench.held("bridge/lockdown_ready").unwrap(), "None");
    bench.expect(&[
        "=bridge/budget_left 300",
        "=bridge/event_lag None",
        "=bridge/key_expires 2027-11-25T00:00:00Z",
        "=bridge/lockdown_alarm OFF",
        "=bridge/lockdown_alarm_attributes {\"scenarios\":[]}",
        "=bridge/log_level info",
        "=bridge/mqtt_unencrypted OFF",
        QUIET[0],
        QUIET[1],
        QUIET[2],
        "=bridge/started 2026-11-25T12:00:00Z",
        "=bridge/token missing",
        "=bridge/version 0.1.0",
        "=bridge/webhook off",
        "=bridge/api/availability offline",
        "=availability online",
        ">doors",
        ">scenarios",
        ">events",
    ]);
}

#[test]
fn the_lag_of_the_newest_event_is_told_once_a_minute_and_only_if_it_changed() {
    let mut bench = talkative(settings(Style::Device));
    // The reading at 5 s sees both; the older one comes from a controller that was offline.
    let start: Timestamp = START.parse().unwrap();
    bench.events.push(event("e-1", EventKind::Denied, "d-1", start + ms(1_250)));
    bench.events.push(event("e-0", EventKind::Denied, "d-1", start - secs(40)));
    bench.run(secs(50));
    let log = bench.take_log();
    let denied = "!door/d-1/event access_denied";
    assert_eq!(log, [denied, denied, "=door/d-1/attributes none -"]);
    bench.run(secs(10));
    let lag = |bench: &mut Bench| {
        let log = bench.take_log();
        log.into_iter().filter(|line| line.contains("event_lag")).collect::<Vec<_>>()
    };
    assert_eq!(lag(&mut bench), ["=bridge/event_lag 3.7"]);
    bench.run(secs(300));
    assert_eq!(lag(&mut bench), Vec::<String>::new());
    // A clock that runs ahead is no lag below zero.
    bench.events.push(event("e-2", EventKind::Denied, "d-1", bench.now.utc + secs(30)));
    bench.run(secs(60));
    assert_eq!(lag(&mut bench), ["=bridge/event_lag 0.0"]);
}

#[test]
fn the_requests_left_are_told_once_a_minute_and_only_if_they_changed() {
    let mut bench = talkative(settings(Style::Device));
    bench.run(secs(600));
    let log = bench.take_log();
    let told: Vec<_> = log.iter().filter(|line| line.contains("budget_left")).collect();
    // Scenarios and events each 5 s, doors now and then.
    let left: u64 = bench.held("bridge/budget_left").unwrap().parse().unwrap();
    assert!((276..=278).contains(&left), "{left}");
    assert!((1..=10).contains(&told.len()), "{told:?}");
    assert!(told.windows(2).all(|pair| pair[0] != pair[1]), "{told:?}");
    assert!(
        log.iter()
            .all(|line| line.starts_with("=bridge/budget_left") || line.starts_with("=bridge/last_poll"))
    );
}

#[test]
fn the_token_is_shown_as_it_is() {
    let mut bench = talkative(settings(Style::Device));
    bench.input(Input::Token(TokenState::Valid));
    bench.expect(&["=bridge/token valid"]);
    bench.input(Input::Token(TokenState::Valid));
    bench.expect(&[]);
    bench.input(Input::Token(TokenState::Missing));
    bench.expect(&["=bridge/token missing"]);
    bench.input(Input::Token(TokenState::Refused));
    bench.expect(&[
        "=bridge/problem Verkada refuses the API key",
        "=bridge/problem_active ON",
        "=bridge/problem_attributes {\"count\":1,\"kind\":\"key_refused\",\"since\":\"2026-11-25T12:00:01Z\"}",
        "=bridge/token refused",
    ]);
    bench.run(secs(3));
    bench.input(Input::Token(TokenState::Valid));
    bench.expect(&[QUIET[0], QUIET[1], QUIET[2], "=bridge/token valid"]);
}

#[test]
fn a_key_that_is_taken_again_has_every_list_read_at_once() {
    let mut bench = Bench::settled();
    bench.input(Input::Token(TokenState::Refused));
    let before = bench.reads.clone();
    for _ in 0..2 {
        bench.input(Input::Token(TokenState::Valid));
        for list in ["doors", "scenarios", "events"] {
            assert_eq!(bench.reads[list], before[list] + 1, "{list}");
        }
    }
    bench.take_log();
}

#[test]
fn entities_that_are_not_offered_are_left_out_and_those_that_are_have_a_topic_each() {
    let offered = |own| {
        let bench = {
            let mut bench = Bench::settled_with(with(|settings| settings.announcer.own = own), |_| {});
            bench.take_log();
            bench
        };
        let topic = GATEWAY.trim_start_matches('=');
        let config = bench.published.iter().find(|p| p.topic == topic).unwrap();
        let config: Value = serde_json::from_slice(&config.payload).unwrap();
        // Each entity shows something from the start, but for what is said once, and when a list was read.
        for (key, entity) in config["components"].as_object().unwrap() {
            if let Some(topic) = entity["state_topic"].as_str() {
                let held = bench.held(topic.trim_start_matches("verkada/"));
                let shows = !["last_poll", "lockdown_event", "intercom"].contains(&key.as_str());
                assert_eq!(held.is_some(), shows, "{topic}");
            }
        }
        ["key_expires", "restart", "intercom", "mqtt_unencrypted"]
            .map(|key| config["components"][key].clone())
    };
    let none = offered(GatewayFacts::default());
    assert_eq!(none, [const { Value::Null }; 4], "what was never announced needs no removal");
    let all =
        offered(GatewayFacts { key_expires: true, restart: true, intercom: true, mqtt_unencrypted: true });
    assert_eq!(
        (&all[3]["platform"], &all[3]["device_class"], &all[3]["state_topic"]),
        (&json!("binary_sensor"), &json!("problem"), &json!("verkada/bridge/mqtt_unencrypted"))
    );
    assert_eq!(all[0]["state_topic"], "verkada/bridge/key_expires");
    assert_eq!(all[1]["command_topic"], "verkada/bridge/restart/set");
    assert_eq!(all[2]["state_topic"], "verkada/bridge/intercom");
    assert_eq!((&all[2]["platform"], &all[2]["device_class"]), (&json!("event"), &json!("doorbell")));
}

#[test]
fn a_call_at_an_intercom_is_told_once_while_somebody_may_stand_there() {
    let mut bench = talkative(settings(Style::Device));
    bench.run(secs(60));
    bench.take_log();
    let rings = |id: &str, word: &str, at| {
        let mut event = event(id, EventKind::Other, "d-1", at);
        (event.door, event.word, event.message) = (None, word.to_owned(), Some("Lobby intercom".to_owned()));
        Input::Push(Push::Event(Box::new(event)))
    };
    for (count, id, word, kind) in [
        (1, "i-1", "intercom_call_triggered", "ring"),
        (2, "i-2", "intercom_missed_call", "missed"),
        (3, "i-3", "intercom_receiver_admitted", "admitted"),
        (4, "i-4", "intercom_status", "other"),
    ] {
        let at = bench.now.utc;
        bench.input(rings(id, word, at));
        bench.input(rings(id, word, at));
        bench.take_log();
        let told: Vec<_> = bench.published.iter().filter(|p| p.topic.ends_with("/intercom")).collect();
        assert_eq!((told.len(), told.iter().any(|p| p.retain)), (count, false));
        let payload: Value = serde_json::from_slice(&told[count - 1].payload).unwrap();
        assert_eq!(
            payload,
            json!({"event_type": kind, "id": id, "type": word, "time": at.to_string(), "intercom": "Lobby intercom"})
        );
    }
    bench.input(rings("i-5", "intercom_call_triggered", bench.now.utc - secs(61)));
    bench.input(rings("i-6", "intercom_call_triggered", START.parse::<Timestamp>().unwrap() - secs(1)));
    let told: Vec<_> = bench.take_log().into_iter().filter(|line| line.contains("/intercom")).collect();
    assert_eq!(told, [""; 0], "nobody stands there any more");
}

#[test]
fn without_a_day_of_expiry_none_is_shown() {
    let mut bench = Bench::settled_with(with(|settings| settings.key_expires = None), |_| {});
    assert_eq!(bench.held("bridge/key_expires").as_deref(), Some("None"));
    bench.run(secs(86_400));
    assert_eq!(problem(&bench), (None, 0));
    bench.take_log();
}

// ---- what is wrong -------------------------------------------------------------------------------------------------

#[test]
fn a_key_that_expires_soon_is_a_problem_from_thirty_days_on() {
    let start: Timestamp = START.parse().unwrap();
    let expires = start + secs(30 * 86_400 + 3_600);
    let mut bench = Bench::settled_with(with(|settings| settings.key_expires = Some(expires)), |_| {});
    bench.run(secs(3_500));
    assert_eq!(problem(&bench), (None, 0));
    bench.run(secs(160));
    assert_eq!(problem(&bench), some("key_expires", 1));
    let soon = "the API key expires on 2026-12-25: make a new one in Verkada Command";
    assert_eq!(bench.held("bridge/problem").as_deref(), Some(soon));
    bench.take_log();
    let over = Some(start - secs(86_400));
    let bench = Bench::settled_with(with(|settings| settings.key_expires = over), |_| {});
    let text = bench.held("bridge/problem").unwrap();
    assert!(text.contains("expired on 2026-11-24"), "{text}");
}

#[test]
fn one_failure_is_no_problem_and_an_outage_is_one_until_it_ends() {
    for fault in [Fault::Unclear(trace()), Fault::RateLimited { after: None, trace: trace() }] {
        let mut bench = Bench::settled();
        bench.auto = false;
        bench.run(secs(5));
        fail_reads(&mut bench, &fault);
        assert_eq!(problem(&bench), (None, 0));
        for _ in 0..30 {
            bench.run(secs(1));
            fail_reads(&mut bench, &fault);
        }
        assert_eq!(problem(&bench), some("api_unreachable", 1));
        for _ in 0..1_000 {
            bench.run(secs(1));
            fail_reads(&mut bench, &fault);
        }
        assert_eq!(problem(&bench), some("api_unreachable", 1));
        bench.auto = true;
        bench.run(secs(120));
        assert_eq!(problem(&bench), (None, 0));
        bench.take_log();
    }
}

#[test]
fn a_list_whose_reading_hangs_is_a_problem_once_it_is_out_of_date() {
    let polls = |settings: &mut Settings| settings.polls.doors = secs(30);
    for (list, stale, kind) in [
        ("doors", 90, "list_unreadable"),
        ("scenarios", 15, "list_unreadable"),
        ("events", 15, "list_unreadable"),
    ] {
        let mut bench = Bench::settled_with(with(polls), |_| {});
        bench.auto = false;
        let mut left = stale - 2;
        let step = |bench: &mut Bench, by| {
            bench.run(secs(by));
            answer_all_but(bench, list);
        };
        while left > 0 {
            step(&mut bench, 1);
            left -= 1;
        }
        assert_eq!(problem(&bench), (None, 0), "{list}");
        step(&mut bench, 2);
        step(&mut bench, 1);
        assert_eq!(problem(&bench), some(kind, 1), "{list}");
        let text = format!("a list is out of date: nothing answers for {list}");
        assert_eq!(bench.held("bridge/problem"), Some(text), "{list}");
        assert_eq!(bench.bridge.status(bench.now).api_trouble, Some(format!("nothing answers for {list}")));
        let thing = if list == "scenarios" { "scenario/s-1" } else { "door/d-1" };
        assert_eq!(bench.held(&format!("{thing}/availability")).as_deref(), Some("offline"), "{list}");
        bench.auto = true;
        answer_all_but(&mut bench, "none");
        assert_eq!(problem(&bench), (None, 0), "{list}");
        assert_eq!(bench.held(&format!("{thing}/availability")).as_deref(), Some("online"), "{list}");
        bench.take_log();
    }
}

#[test]
fn a_vendor_that_never_answers_is_a_problem_from_the_start_on() {
    let mut bench = Bench::new(settings(Style::Device));
    bench.auto = false;
    bench.link(UP);
    bench.link(LinkEvent::Proven);
    bench.run(ms(14_900));
    assert_eq!(problem(&bench), (None, 0));
    bench.run(ms(200));
    assert_eq!(problem(&bench), some("api_unreachable", 1));
    let text = bench.held("bridge/problem").unwrap();
    assert_eq!(text, "the Verkada API does not serve: nothing answers for scenarios");
    bench.take_log();
}

#[test]
fn a_refused_key_and_a_missing_permission_are_told_apart() {
    let mut bench = Bench::settled();
    bench.auto = false;
    bench.run(secs(5));
    bench.answer("scenarios", Err(Fault::Forbidden(trace())));
    assert_eq!(problem(&bench), some("permission_missing", 1));
    assert_eq!(
        bench.held("bridge/problem").unwrap(),
        "the API key lacks a permission: the vendor does not play along"
    );
    bench.answer("events", Err(Fault::Unauthorized(trace())));
    assert_eq!(problem(&bench), some("key_refused", 2), "the gravest is shown");
    bench.auto = true;
    bench.run(secs(120));
    assert_eq!(problem(&bench), (None, 0));
    bench.take_log();
}

#[test]
fn another_gateway_on_the_same_base_topic_is_a_problem_as_long_as_it_is_heard() {
    let mut bench = Bench::settled();
    for _ in 0..3 {
        bench.link(LinkEvent::Shared);
        assert_eq!(problem(&bench), some("second_gateway", 1));
        bench.run(secs(1));
    }
    assert_eq!(
        bench.held("bridge/problem").unwrap(),
        "another gateway uses the base topic verkada on this broker, so that each command is executed twice: stop one of \
         them, or change its mqtt.base_topic"
    );
    bench.run(ms(8_900));
    assert_eq!(problem(&bench), some("second_gateway", 1));
    bench.run(ms(200));
    assert_eq!(problem(&bench), (None, 0));
    bench.take_log();
}

#[test]
fn a_link_without_proof_is_a_problem_once_commands_do_not_run() {
    let mut bench = Bench::settled();
    bench.link(LinkEvent::Unproven("no heartbeat for 3 s".to_owned()));
    bench.run(ms(9_900));
    assert_eq!(problem(&bench), (None, 0));
    bench.run(ms(200));
    assert_eq!(problem(&bench), some("mqtt_unproven", 1));
    bench.link(LinkEvent::Unproven("no heartbeat for 13 s".to_owned()));
    assert_eq!(
        bench.held("bridge/problem").unwrap(),
        "no command runs, because no heartbeat for 3 s",
        "the figure alone is no news"
    );
    bench.link(LinkEvent::Proven);
    assert_eq!(problem(&bench), (None, 0));
    bench.link(LinkEvent::Down("cut".to_owned()));
    bench.link(UP);
    assert_eq!(problem(&bench), (None, 0), "a new session has its time");
    bench.take_log();
}

#[test]
fn elements_left_out_are_a_problem_until_a_reading_is_whole() {
    let mut bench = Bench::settled();
    bench.auto = false;
    bench.run(secs(5));
    let skipped = vec!["scenario 1 has no id".to_owned(), "scenario 2 has no id".to_owned()];
    let items = bench.scenarios.clone();
    bench.answer("scenarios", Ok(Answer::Scenarios(Inventory { items, skipped })));
    assert_eq!(problem(&bench), some("elements_left_out", 1));
    let text = bench.held("bridge/problem").unwrap();
    assert_eq!(text, "2 elements of the list of scenarios are left out; the log says why");
    bench.auto = true;
    answer_all_but(&mut bench, "none");
    bench.run(secs(20));
    assert_eq!(problem(&bench), (None, 0));
    bench.take_log();
}

#[test]
fn a_long_cause_fits_into_a_state() {
    let mut bench = Bench::settled();
    bench.auto = false;
    bench.run(secs(5));
    let text = "ü".repeat(1_000);
    bench.answer("scenarios", Err(Fault::Forbidden(verkada2mqtt::model::Trace::new(text))));
    assert_eq!(problem(&bench), some("permission_missing", 1));
    assert_eq!(bench.held("bridge/problem").unwrap().chars().count(), 255);
    bench.take_log();
}

// ---- what may be changed -------------------------------------------------------------------------------------------

#[test]
fn the_level_of_the_log_is_changed_by_its_word_and_by_nothing_else() {
    let mut bench = talkative(settings(Style::Device));
    for (payload, level) in [("debug", Level::Debug), (" ERROR\n", Level::Error), ("info", Level::Info)] {
        send(&mut bench, "log_level", payload);
        assert_eq!(bench.bridge.next_request(), Some(ShellRequest::SetLogLevel(level)));
        assert_eq!(bench.bridge.next_request(), None);
        bench.expect(&[&format!("=bridge/log_level {}", level.word())]);
    }
    for payload in ["", "off", "debug,hyper=trace", "5", "{\"level\": \"debug\"}", "\u{fffd}"] {
        send(&mut bench, "log_level", payload);
    }
    let mut retained = bench.message("verkada/bridge/log_level/set", "trace");
    retained.retain = true;
    bench.link(LinkEvent::Message(retained));
    assert_eq!(bench.bridge.next_request(), None);
    bench.expect(&[]);
}

#[test]
fn a_restart_is_for_press_alone_once_a_minute_and_only_where_it_is_allowed() {
    let mut bench = talkative(settings(Style::Device));
    send(&mut bench, "restart", "PRESS");
    assert_eq!(bench.bridge.next_request(), None, "it has just started");
    bench.run(secs(60));
    bench.take_log();
    for payload in ["", "press", "ON", "PRESS "] {
        send(&mut bench, "restart", payload);
        assert_eq!(bench.bridge.next_request(), None, "{payload:?}");
    }
    let mut retained = bench.message("verkada/bridge/restart/set", "PRESS");
    retained.retain = true;
    bench.link(LinkEvent::Message(retained));
    assert_eq!(bench.bridge.next_request(), None);
    send(&mut bench, "restart", "PRESS");
    send(&mut bench, "restart", "PRESS");
    assert_eq!(bench.bridge.next_request(), Some(ShellRequest::Restart));
    assert_eq!(bench.bridge.next_request(), None);
    bench.expect(&[]);

    let own = GatewayFacts { restart: false, ..GatewayFacts::default() };
    let mut bench = Bench::settled_with(with(|settings| settings.announcer.own = own), |_| {});
    bench.run(secs(61));
    send(&mut bench, "restart", "PRESS");
    assert_eq!(bench.bridge.next_request(), None);
    bench.take_log();
}

#[test]
fn a_restart_does_not_cut_a_command_off() {
    let mut bench = Bench::settled();
    bench.run(secs(60));
    bench.command("scenario/s-1", "ON");
    bench.take_log();
    send(&mut bench, "restart", "PRESS");
    assert_eq!(bench.bridge.next_request(), None);
    bench.scenarios[0].state = verkada2mqtt::model::ScenarioState::Active;
    bench.answer("activate s-1", Ok(Answer::Taken));
    bench.run(secs(5));
    assert!(bench.bridge.is_idle());
    send(&mut bench, "restart", "PRESS");
    assert_eq!(bench.bridge.next_request(), Some(ShellRequest::Restart));
    bench.take_log();
}

#[test]
fn diagnostics_of_a_new_session_come_before_availability() {
    let mut bench = talkative(settings(Style::Device));
    bench.link(LinkEvent::Down("cut".to_owned()));
    bench.link(UP);
    let log = bench.take_log();
    let at = |line: &str| log.iter().position(|known| known == line).unwrap();
    assert!(at(GATEWAY) < at(QUIET[0]) && at(DOOR) < at(QUIET[0]) && at(SITE) < at(QUIET[0]));
    assert!(at(QUIET[2]) < at("=availability online"));
}

#[test]
fn another_decision_of_the_owner_is_shown_and_followed() {
    let mut bench = talkative(settings(Style::Device));
    bench.take_log();
    let before = ["doors", "scenarios"].map(|list| bench.reads[list]);
    let expires: Timestamp = "2031-02-03T00:00:00Z".parse().unwrap();
    bench.adopt(with(|settings| {
        settings.key_expires = Some(expires);
        settings.announcer.own.key_expires = true;
        settings.log_level = Level::Debug;
        settings.polls.scenarios = secs(300);
    }));
    assert_eq!(bench.held("bridge/key_expires").as_deref(), Some("2031-02-03T00:00:00Z"));
    assert_eq!(bench.held("bridge/log_level").as_deref(), Some("debug"));
    assert_eq!(bench.bridge.next_request(), Some(ShellRequest::SetLogLevel(Level::Debug)));
    let gateway = bench.retained()["homeassistant/device/verkada2mqtt_verkada/config"].clone();
    assert!(String::from_utf8(gateway.to_vec()).unwrap().contains("key_expires"));
    // Each list is read at once, and then scenarios as seldom as they are to be.
    bench.run(secs(1));
    let [doors, scenarios] = ["doors", "scenarios"].map(|list| bench.reads[list]);
    assert!(doors > before[0] && scenarios > before[1], "{before:?} {doors} {scenarios}");
    bench.run(secs(200));
    assert_eq!(bench.reads["scenarios"], scenarios);
    bench.run(secs(200));
    assert_eq!(bench.reads["scenarios"], scenarios + 1);
    bench.take_log();
}
