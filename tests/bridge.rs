//! The core from outside: given these inputs, exactly these publications and calls, and no others.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "bridge/access.rs"]
mod access;
#[path = "support/bench.rs"]
mod bench;
#[path = "bridge/calendars.rs"]
mod calendars;
#[path = "bridge/drill.rs"]
mod drill;
#[path = "support/environment.rs"]
mod environment;
#[path = "bridge/gate.rs"]
mod gate;
#[path = "bridge/gateway.rs"]
mod gateway;
#[path = "bridge/histories.rs"]
mod histories;
#[path = "bridge/holds.rs"]
mod holds;
#[path = "support/log.rs"]
mod log;
#[cfg(test)]
#[path = "bridge/memory.rs"]
mod memory;
#[path = "bridge/picture.rs"]
mod picture;
#[path = "bridge/readiness.rs"]
mod readiness;
#[path = "bridge/registry.rs"]
mod registry;
#[path = "bridge/safety.rs"]
mod safety;
#[path = "bridge/securing.rs"]
mod securing;
#[path = "bridge/staleness.rs"]
mod staleness;
#[path = "bridge/truth.rs"]
mod truth;
#[path = "bridge/unavailable.rs"]
mod unavailable;
#[path = "bridge/unlock_as.rs"]
mod unlock_as;
#[path = "bridge/webhooks.rs"]
mod webhooks;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use verkada2mqtt::{
    bridge::{DoorSettings, Input, Settings},
    hass::Style,
    model::{
        Answer, EventKind, EventPage, Fault, Inventory, LinkEvent, Message, Outcome, Protocol, Request,
        ScenarioState, Site,
    },
};

use self::bench::{
    Bench, START, call_line, door, event, inventory, later, ms, scenario, secs, settings, trace, unlocked,
};

const UP: LinkEvent = LinkEvent::Up { protocol: Protocol::V5, max_packet: None };

fn active(bench: &mut Bench, on: bool) {
    bench.scenarios[0].state = if on { ScenarioState::Active } else { ScenarioState::Inactive };
}

/// A session of the securing connection that is proven.
fn join_securing(bench: &mut Bench) {
    bench.input(Input::Securing(UP));
    bench.input(Input::Securing(LinkEvent::Proven));
}

fn with(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = settings(Style::Device);
    change(&mut settings);
    settings
}

fn rate_limited(after: Option<u64>) -> Result<Answer, Fault> {
    Err(Fault::RateLimited { after: after.map(secs), trace: trace() })
}

// ---- start, reconnect, birth ---------------------------------------------------------------------------------------

const GATEWAY: &str = "=homeassistant/device/verkada2mqtt_verkada/config";
const DOOR: &str = "=homeassistant/device/verkada2mqtt_door_d-1/config";
const SITE: &str = "=homeassistant/device/verkada2mqtt_site_site-1/config";

#[test]
fn everything_is_published_in_an_order_that_never_shows_a_stale_value_as_live() {
    let mut bench = Bench::new(settings(Style::Device));
    bench.auto = false;
    bench.link(UP);
    bench.expect(&[
        "=bridge/lockdown_alarm OFF",
        "=bridge/version 0.1.0",
        "=bridge/webhook off",
        "=bridge/api/availability offline",
        "=availability online",
        ">doors",
        ">scenarios",
        ">events",
    ]);
    let scenarios = inventory(bench.scenarios.clone());
    bench.answer("scenarios", Ok(Answer::Scenarios(scenarios)));
    // The API is not shown as online before doors are known: an earlier run's doors would come alive unread.
    bench.expect(&[
        GATEWAY,
        SITE,
        "=scenario/s-1/attributes INACTIVE -",
        "=scenario/s-1/state OFF",
        "=scenario/s-1/availability offline",
    ]);
    bench.answer("events", Ok(Answer::Events(EventPage { events: vec![], skipped: vec![], next: None })));
    bench.expect(&[]);
    let doors = inventory(bench.doors.clone());
    bench.answer("doors", Ok(Answer::Doors(doors)));
    bench.expect(&[
        DOOR,
        SITE,
        "=door/d-1/attributes none -",
        "=door/d-1/fire None",
        "=door/d-1/forced_open None",
        "=door/d-1/held_open None",
        "=door/d-1/position None",
        "=door/d-1/state None",
        "=door/d-1/tamper None",
        "=scenario/s-1/attributes INACTIVE -",
        "=door/d-1/availability offline",
        "=bridge/api/availability online",
    ]);
    bench.link(LinkEvent::Proven);
    bench.expect(&["=door/d-1/availability online", "=scenario/s-1/availability online"]);
    bench.link(LinkEvent::Down("cut".to_owned()));
    bench.expect(&[]);
    bench.link(UP);
    let everything = [
        GATEWAY,
        DOOR,
        SITE,
        "=bridge/lockdown_alarm OFF",
        "=bridge/version 0.1.0",
        "=bridge/webhook off",
        "=door/d-1/attributes none -",
        "=door/d-1/fire None",
        "=door/d-1/forced_open None",
        "=door/d-1/held_open None",
        "=door/d-1/position None",
        "=door/d-1/state None",
        "=door/d-1/tamper None",
        "=scenario/s-1/attributes INACTIVE -",
        "=scenario/s-1/state OFF",
        "=door/d-1/availability offline",
        "=scenario/s-1/availability offline",
        "=bridge/api/availability online",
        "=availability online",
    ];
    bench.expect(&everything);
}

/// Home Assistant drops entities that are added to a device while it loads the platforms of its first ones.
#[test]
fn the_first_config_of_the_gateway_has_the_scenarios_and_a_failed_reading_does_not_hold_it_back() {
    let mut bench = Bench::new(settings(Style::Device));
    bench.auto = false;
    bench.link(UP);
    let doors = inventory(bench.doors.clone());
    bench.answer("doors", Ok(Answer::Doors(doors)));
    let announced = |bench: &Bench| bench.published.iter().filter(|p| p.topic.ends_with("/config")).count();
    assert_eq!(announced(&bench), 0, "a door follows the gateway that it hangs on");
    let mut both = scenario("s-1", &["d-1"]);
    both.sites.push("site-2".parse().unwrap());
    bench.answer("scenarios", Ok(Answer::Scenarios(inventory(vec![both]))));
    let configs = bench.published.iter().filter(|p| p.topic.ends_with("verkada2mqtt_verkada/config"));
    let configs: Vec<Value> = configs.map(|p| serde_json::from_slice(&p.payload).unwrap()).collect();
    assert_eq!(configs.len(), 1);
    assert_eq!(configs[0]["components"]["scenario_s-1"]["platform"], "switch");
    bench.take_log();

    let mut bench = Bench::new(settings(Style::Device));
    bench.auto = false;
    bench.link(UP);
    bench.take_log();
    bench.answer("scenarios", Err(Fault::Unclear(trace())));
    assert!(bench.take_log().contains(&GATEWAY.to_owned()));
}

/// How the API is shown once scenarios and events were read, and the first reading of the doors ended so.
fn api_after(doors: Fault) -> (Bench, Option<String>) {
    let mut bench = Bench::new(settings(Style::Device));
    bench.auto = false;
    bench.link(UP);
    bench.link(LinkEvent::Proven);
    let scenarios = inventory(bench.scenarios.clone());
    bench.answer("scenarios", Ok(Answer::Scenarios(scenarios)));
    bench.answer("events", Ok(Answer::Events(EventPage { events: vec![], skipped: vec![], next: None })));
    bench.answer("doors", Err(doors));
    bench.take_log();
    let api = bench.held("bridge/api/availability");
    (bench, api)
}

#[test]
fn doors_of_an_earlier_run_do_not_come_alive_while_the_list_fails() {
    let (mut bench, api) = api_after(Fault::Unclear(trace()));
    assert_eq!(api.as_deref(), Some("offline"));
    bench.auto = true;
    bench.run(secs(5));
    assert_eq!(bench.held("bridge/api/availability").as_deref(), Some("online"));
    bench.take_log();
}

#[test]
fn a_key_that_may_not_see_doors_still_serves_scenarios() {
    for fault in [Fault::Forbidden(trace()), Fault::Unauthorized(trace())] {
        let (bench, api) = api_after(fault);
        assert_eq!(api.as_deref(), Some("online"));
        assert_eq!(bench.held("scenario/s-1/availability").as_deref(), Some("online"));
    }
}

#[test]
fn home_assistants_birth_is_answered_once_after_a_random_while() {
    let mut bench = Bench::settled();
    for payload in ["online", "online", "offline"] {
        let birth = bench.message("homeassistant/status", payload);
        bench.link(LinkEvent::Message(birth));
    }
    bench.run(ms(990));
    bench.expect(&[]);
    bench.run(ms(4_010));
    let log = bench.take_log();
    assert_eq!(log.len(), 19, "{log:#?}");
    assert_eq!(log.first().map(String::as_str), Some(GATEWAY));
    assert_eq!(log.last().map(String::as_str), Some("=availability online"));
    bench.run(secs(40));
    bench.expect(&[]);
    let other = bench.message("homeassistant/status", "offline");
    bench.link(LinkEvent::Message(other));
    bench.run(secs(10));
    bench.expect(&[]);
}

#[test]
fn what_can_be_commanded_is_unavailable_after_ten_seconds_without_proof() {
    let mut bench = Bench::settled();
    bench.link(LinkEvent::Unproven("silence".to_owned()));
    bench.run(ms(9_900));
    bench.expect(&[]);
    bench.run(ms(100));
    let attributes = ["=door/d-1/attributes none -", "=scenario/s-1/attributes INACTIVE -"];
    let availability =
        |word| ["door/d-1", "scenario/s-1"].map(|thing| format!("={thing}/availability {word}"));
    let offline = availability("offline");
    bench.expect(&[attributes[0], attributes[1], &offline[0], &offline[1]]);
    bench.link(LinkEvent::Proven);
    let online = availability("online");
    bench.expect(&[attributes[0], attributes[1], &online[0], &online[1]]);
}

// ---- unlock --------------------------------------------------------------------------------------------------------

const UNLOCKING: [&str; 4] = [
    "!door/d-1/result unlock accepted -",
    "=door/d-1/attributes command -",
    "=door/d-1/state UNLOCKING",
    ">unlock d-1",
];
const UNLOCKED: [&str; 3] =
    ["!door/d-1/result unlock done -", "=door/d-1/attributes command done", "=door/d-1/state UNLOCKED"];

#[test]
fn an_unlock_is_shown_on_its_way_then_done_then_the_base_comes_back() {
    let mut bench = Bench::settled();
    bench.command("door/d-1", "UNLOCK");
    bench.expect(&UNLOCKING);
    bench.run(ms(300));
    bench.answer("unlock d-1", Ok(unlocked(Some(7))));
    bench.expect(&UNLOCKED);
    bench.run(ms(6_999));
    bench.expect(&[]);
    bench.run(ms(1));
    bench.expect(&["=door/d-1/attributes none done", "=door/d-1/state None"]);
    assert!(bench.open.is_empty());
}

#[test]
fn after_an_unlock_the_base_is_what_evidence_or_the_owner_says() {
    for (locked_event, assumed, shown, source) in
        [(true, false, "LOCKED", "event"), (false, true, "LOCKED", "assumed"), (false, false, "None", "none")]
    {
        let chosen = with(|settings| settings.assume_locked = assumed);
        let mut bench = Bench::settled_with(chosen, |bench| {
            if locked_event {
                let at = bench.now.utc - secs(60);
                bench.events.push(event("e-1", EventKind::Locked, "d-1", at));
            }
        });
        assert_eq!(bench.held("door/d-1/state").as_deref(), Some(shown));
        bench.command("door/d-1", "UNLOCK");
        bench.answer("unlock d-1", Ok(unlocked(Some(5))));
        bench.take_log();
        bench.run(secs(5));
        bench.expect(&[&format!("=door/d-1/attributes {source} done"), &format!("=door/d-1/state {shown}")]);
    }
}

#[test]
fn a_lock_event_ends_the_unlock_time_early_but_an_older_one_does_not() {
    let mut bench = Bench::settled();
    bench.command("door/d-1", "UNLOCK");
    bench.answer("unlock d-1", Ok(unlocked(Some(30))));
    bench.take_log();
    let at = bench.now.utc - secs(1);
    bench.events.push(event("e-1", EventKind::Locked, "d-1", at));
    bench.run(secs(5));
    bench.expect(&["!door/d-1/event other"]);
    let at = bench.now.utc;
    bench.events.push(event("e-2", EventKind::Locked, "d-1", at));
    bench.run(secs(5));
    bench.expect(&["!door/d-1/event other", "=door/d-1/attributes event done", "=door/d-1/state LOCKED"]);
}

#[test]
fn a_refused_unlock_returns_to_what_was_shown_before() {
    for (fault, reason) in [
        (Fault::Forbidden(trace()), "forbidden"),
        (Fault::Unauthorized(trace()), "unauthorized"),
        (Fault::Rejected(trace()), "rejected"),
        (Fault::NotFound(trace()), "not_found"),
    ] {
        let mut bench = Bench::settled();
        bench.command("door/d-1", "UNLOCK");
        bench.expect(&UNLOCKING);
        bench.answer("unlock d-1", Err(fault));
        bench.expect(&[
            &format!("!door/d-1/result unlock failed {reason}"),
            "=door/d-1/attributes none failed",
            "=door/d-1/state None",
        ]);
        bench.run(secs(20));
        bench.expect(&[]);
    }
}

#[test]
fn a_second_unlock_that_fails_does_not_hide_that_the_first_still_lasts() {
    let at: jiff::Timestamp = START.parse().unwrap();
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.events.push(event("e-1", EventKind::Locked, "d-1", at - secs(60)));
    });
    bench.command("door/d-1", "UNLOCK");
    bench.answer("unlock d-1", Ok(unlocked(Some(10))));
    bench.take_log();
    bench.run(secs(2));
    bench.command("door/d-1", "UNLOCK");
    bench.take_log();
    assert_eq!(bench.held("door/d-1/state").as_deref(), Some("UNLOCKING"));
    bench.answer("unlock d-1", Err(Fault::Forbidden(trace())));
    bench.expect(&[
        "!door/d-1/result unlock failed forbidden",
        "=door/d-1/attributes command failed",
        "=door/d-1/state UNLOCKED",
    ]);
    bench.run(secs(8));
    bench.expect(&["=door/d-1/attributes event failed", "=door/d-1/state LOCKED"]);
}

#[test]
fn an_ambiguous_end_is_unknown_and_is_never_tried_again() {
    for fault in [Fault::Unclear(trace()), Fault::Malformed(trace())] {
        let at: jiff::Timestamp = START.parse().unwrap();
        let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
            bench.events.push(event("e-1", EventKind::Locked, "d-1", at - secs(60)));
        });
        bench.command("door/d-1", "UNLOCK");
        bench.take_log();
        bench.answer("unlock d-1", Err(fault));
        bench.expect(&[
            "!door/d-1/result unlock unknown no_proof",
            "=door/d-1/attributes command unknown",
            "=door/d-1/state None",
        ]);
        // A door may be set to stay unlocked for up to 60 s: as long as that, nothing is claimed.
        bench.run(ms(59_900));
        let log = bench.take_log();
        let said: Vec<_> = log.iter().filter(|line| !line.starts_with("=bridge/last_poll")).collect();
        assert_eq!(said, ["!door/d-1/result unlock unknown no_proof"], "the note that nothing was seen");
        assert_eq!(bench.last_result()["resolved"], "not_seen");
        bench.run(ms(200));
        bench.expect(&["=door/d-1/attributes event unknown", "=door/d-1/state LOCKED"]);
        assert!(bench.open.is_empty());
    }
}

#[test]
fn an_unlock_is_sent_again_only_if_it_provably_was_not_done() {
    let mut bench = Bench::settled();
    bench.command("door/d-1", "UNLOCK");
    bench.expect(&UNLOCKING);
    bench.answer("unlock d-1", Err(Fault::NotSent(trace())));
    bench.run(ms(250));
    bench.expect(&[">unlock d-1"]);
    bench.answer("unlock d-1", rate_limited(None));
    bench.run(ms(4_990));
    bench.expect(&[]);
    bench.run(ms(20));
    bench.expect(&[">unlock d-1"]);
    bench.answer("unlock d-1", Ok(unlocked(Some(5))));
    bench.expect(&UNLOCKED);
    bench.run(secs(5));
    bench.expect(&["=door/d-1/attributes none done", "=door/d-1/state None"]);
}

#[test]
fn an_unlock_that_waits_too_long_expires_unsent() {
    let mut bench = Bench::settled();
    bench.command("door/d-1", "UNLOCK");
    bench.take_log();
    bench.answer("unlock d-1", rate_limited(Some(300)));
    bench.run(ms(9_999));
    bench.expect(&[]);
    bench.run(ms(1));
    bench.expect(&[
        "!door/d-1/result unlock expired vendor_rate_limit",
        "=door/d-1/attributes none expired",
        "=door/d-1/state None",
    ]);
    bench.auto = false;
    bench.run(secs(12));
    assert!(bench.take_log().iter().all(|line| line.starts_with("=door/d-1/a")
        || line.starts_with("=scen")
        || line.starts_with("=bridge")));
}

#[test]
fn a_call_is_not_handed_out_late_even_if_nobody_woke_the_core() {
    let mut bench = Bench::settled();
    bench.command("door/d-1", "UNLOCK");
    bench.take_log();
    bench.answer("unlock d-1", rate_limited(Some(1)));
    let late = later(bench.now, secs(10));
    let calls: Vec<_> = std::iter::from_fn(|| bench.bridge.next_call(late)).collect();
    assert!(calls.iter().all(|call| call_line(&call.request) != "unlock d-1"), "{calls:?}");
    bench.run(secs(10));
    assert!(bench.take_log().contains(&"!door/d-1/result unlock expired vendor_rate_limit".to_owned()));
}

#[test]
fn the_call_carries_its_deadline_and_asks_for_a_fresh_link() {
    let mut bench = Bench::settled();
    bench.run(secs(30));
    let issued = bench.now.utc - secs(4);
    bench.command(
        "door/d-1",
        &json!({"action": "unlock", "id": "x", "issued_at": issued.to_string()}).to_string(),
    );
    let call = &bench.open[0];
    assert_eq!(call.send_before, bench.now.mono + secs(6));
    assert!(call.opening.is_some());
    bench.take_log();
    bench.answer("unlock d-1", Err(Fault::Rejected(trace())));
    bench.command("scenario/s-1", "ON");
    assert!(bench.open[0].opening.is_none());
    bench.take_log();
}

// ---- the gate ------------------------------------------------------------------------------------------------------

/// One case of the gate: settings, target, payload, a change of the message, and the whole JSON of the result.
struct Case {
    target: &'static str,
    payload: String,
    change: fn(&mut Message),
    settings: fn(&mut Settings),
    action: Option<&'static str>,
    outcome: &'static str,
    reason: &'static str,
    message: &'static str,
}

impl Case {
    fn refused(reason: &'static str, message: &'static str) -> Self {
        Self {
            target: "door/d-1",
            payload: "UNLOCK".to_owned(),
            change: |_| {},
            settings: |_| {},
            action: Some("unlock"),
            outcome: "refused",
            reason,
            message,
        }
    }
}

fn stale(message: &mut Message) {
    message.echo_sent_at = message.received_at.checked_sub(ms(2_500));
}

/// The earlier gates: retained, fresh link, well-formed.
fn earlier_cases() -> Vec<Case> {
    let base = Case::refused;
    vec![
        // Everything is wrong with the first; each later one passes one gate more.
        Case {
            change: |message| {
                message.retain = true;
                stale(message);
            },
            payload: "nonsense".to_owned(),
            action: None,
            ..base(
                "retained",
                "a retained command may be of any age and is never executed; publish it without retain",
            )
        },
        Case {
            change: stale,
            payload: "nonsense".to_owned(),
            action: None,
            target: "door/nobody",
            ..base(
                "link_stale",
                "the last heartbeat that came back from the broker was sent 2.5 s before the command arrived, so it \
                 may be that old; allowed are 2.5 s; try again",
            )
        },
        Case {
            change: |message| message.echo_sent_at = None,
            ..base(
                "link_stale",
                "no heartbeat has come back from the broker yet, so the age of the command is not known; try again",
            )
        },
        Case {
            payload: "nonsense".to_owned(),
            action: None,
            target: "door/nobody",
            ..base("malformed", "\"nonsense\" is no command here; allowed are LOCK or UNLOCK, or JSON")
        },
        Case {
            payload: String::new(),
            action: None,
            ..base("malformed", "the command is empty; allowed are LOCK or UNLOCK, or JSON")
        },
    ]
}

/// The later gates: target, permission, age.
fn later_cases() -> Vec<Case> {
    let at: jiff::Timestamp = START.parse().unwrap();
    let issued = |seconds: i64| {
        let at = at + jiff::SignedDuration::from_secs(1 + seconds);
        json!({"action": "unlock", "issued_at": at.to_string()}).to_string()
    };
    let base = Case::refused;
    vec![
        Case {
            target: "door/nobody",
            settings: |settings| settings.commands.unlock = false,
            ..base("unknown_target", "no door or scenario of this gateway has this id")
        },
        Case {
            payload: "LOCK".to_owned(),
            action: Some("lock"),
            ..base(
                "unsupported",
                "the vendor has no lock command: the door locks by itself when its unlock time ends",
            )
        },
        Case {
            settings: |settings| settings.commands.unlock = false,
            payload: issued(-11),
            ..base("not_allowed", "the configuration does not allow this door to be unlocked")
        },
        Case {
            target: "scenario/s-1",
            payload: "OFF".to_owned(),
            action: Some("release"),
            settings: |settings| settings.commands.release = false,
            ..base("not_allowed", "the configuration does not allow commands to release a scenario")
        },
        Case {
            target: "scenario/s-1",
            payload: "ON".to_owned(),
            action: Some("activate"),
            settings: |settings| settings.commands.activate = false,
            ..base("not_allowed", "the configuration does not allow commands to activate a scenario")
        },
        Case {
            payload: issued(-11),
            outcome: "expired",
            ..base("too_old", "the command was issued 11.0 s ago; allowed are 10.0 s")
        },
        Case {
            payload: issued(6),
            ..base(
                "clock_skew",
                "issued_at lies 6.0 s in the future of this machine's clock; allowed are 5 s; set both clocks by NTP",
            )
        },
    ]
}

#[test]
fn the_gate_answers_each_refusal_by_its_first_reason_and_calls_nobody() {
    for case in earlier_cases().into_iter().chain(later_cases()) {
        let mut bench = Bench::settled_with(with(case.settings), |_| {});
        bench.auto = false;
        bench.command_with(case.target, &case.payload, case.change);
        let now = bench.now.utc.to_string();
        let expected = json!({
            "id": null, "action": case.action, "outcome": case.outcome, "reason": case.reason,
            "message": case.message, "received_at": now, "finished_at": now, "by": null, "resolved": null,
            "evidence": null,
        });
        assert_eq!(bench.last_result(), expected);
        let log = bench.take_log();
        let result = format!(
            "!{}/result {} {} {}",
            case.target,
            case.action.unwrap_or("-"),
            case.outcome,
            case.reason
        );
        // A refused door may have been allowed since: the list is read again. A refused lockdown is told to everybody.
        let mut allowed = vec![result.as_str()];
        if case.action == Some("activate") {
            allowed = vec!["!bridge/lockdown_event given_up", &result, "=bridge/lockdown_alarm ON"];
        }
        if case.reason == "not_allowed" {
            allowed.push(">doors");
        }
        assert_eq!(log, allowed, "{}", case.reason);
    }
}

#[test]
fn the_doors_toggle_at_the_vendor_refuses_too_and_leads_to_another_look() {
    let mut bench =
        Bench::settled_with(settings(Style::Device), |bench| bench.doors[0].api_control = Some(false));
    bench.doors[0].api_control = Some(true);
    bench.command("door/d-1", "UNLOCK");
    let mut log = bench.take_log();
    assert_eq!(log.remove(0), "!door/d-1/result unlock refused not_allowed");
    assert!(bench.open.is_empty());
    bench.command("door/d-1", "UNLOCK");
    assert_eq!(bench.open.len(), 1, "the toggle was seen to be on");
    bench.take_log();
}

#[test]
fn a_door_setting_overrules_the_general_one() {
    for (general, own, passes) in [(false, Some(true), true), (true, Some(false), false)] {
        let chosen = with(|settings| {
            settings.commands.unlock = general;
            let own = DoorSettings { unlock: own, ..DoorSettings::default() };
            settings.door_settings.insert("d-1".parse().unwrap(), own);
        });
        let mut bench = Bench::settled_with(chosen, |_| {});
        bench.command("door/d-1", "UNLOCK");
        assert_eq!(bench.open.len(), usize::from(passes));
        bench.take_log();
    }
}

#[test]
fn the_age_of_a_command_is_judged_to_a_tenth_of_a_second() {
    for (age_ms, opens) in [(9_900, true), (10_000, false), (-5_000, true), (-5_100, false)] {
        let mut bench = Bench::settled();
        let issued = bench.now.utc - jiff::SignedDuration::from_millis(age_ms);
        let payload = json!({"action": "unlock", "issued_at": issued.to_string()}).to_string();
        bench.command("door/d-1", &payload);
        assert_eq!(bench.open.len(), usize::from(opens), "{age_ms}");
        bench.take_log();
    }
    for (age_s, passes) in [(59, true), (60, false)] {
        let mut bench = Bench::settled();
        let issued = bench.now.utc - secs(age_s);
        bench.command("scenario/s-1", &json!({"action": "ON", "issued_at": issued.to_string()}).to_string());
        assert_eq!(bench.open.len(), usize::from(passes), "{age_s}");
        bench.take_log();
    }
}

#[test]
fn time_spent_waiting_to_be_handled_counts_as_age() {
    for (target, word, limit) in [("door/d-1", "UNLOCK", 10), ("scenario/s-1", "ON", 60)] {
        for (waited, passes) in [(limit * 1000 - 100, true), (limit * 1000, false)] {
            let mut bench = Bench::settled();
            let then = bench.now.mono;
            bench.auto = false;
            bench.now = later(bench.now, ms(waited));
            bench.command_with(target, word, |message| {
                message.received_at = then;
                message.echo_sent_at = then.checked_sub(secs(1));
            });
            let sent = bench.open.iter().filter(|call| call_line(&call.request).ends_with("-1")).count();
            assert_eq!(sent, usize::from(passes), "{target} {waited}");
            if !passes {
                assert_eq!(bench.last_result()["reason"], "too_old");
            }
            bench.take_log();
        }
    }
}

#[test]
fn a_clock_that_is_set_back_makes_no_command_younger() {
    for (target, word, limit) in [("door/d-1", "unlock", 10), ("scenario/s-1", "activate", 60)] {
        // Within what the clocks of senders may differ by, and far beyond.
        for back in [4, 3_600] {
            let mut bench = Bench::settled();
            let then = bench.now;
            let payload = json!({"action": word, "issued_at": then.utc.to_string()}).to_string();
            bench.auto = false;
            bench.now = later(then, secs(limit));
            bench.now.utc -= secs(back);
            bench.command_with(target, &payload, |message| {
                message.received_at = then.mono;
                message.echo_sent_at = then.mono.checked_sub(secs(1));
            });
            let sent = bench.open.iter().filter(|call| call_line(&call.request).ends_with("-1")).count();
            assert_eq!(sent, 0, "{target} after {back} s back");
            assert_eq!(bench.last_result()["reason"], "too_old", "{target} after {back} s back");
            bench.take_log();
        }
    }
}

#[test]
fn an_activate_runs_on_a_link_that_was_proven_within_a_minute_or_began_within_it() {
    for (echo, passes) in [(Some(59_900), true), (Some(60_000), false), (None, true)] {
        let mut bench = Bench::settled();
        bench.run(secs(50));
        bench.take_log();
        bench.command_with("scenario/s-1", "ON", |message| {
            message.echo_sent_at = echo.and_then(|age| message.received_at.checked_sub(ms(age)));
        });
        assert_eq!(bench.open.len(), usize::from(passes), "{echo:?}");
        bench.take_log();
    }
    let mut bench = Bench::settled();
    bench.command_with("scenario/s-1", "OFF", |message| message.echo_sent_at = None);
    bench.expect(&["!scenario/s-1/result release refused link_stale"]);
}

#[test]
fn a_retained_command_that_is_cleared_is_no_command() {
    let mut bench = Bench::settled();
    let mut clearing = bench.message("verkada/door/d-1/set", "");
    clearing.retain = true;
    bench.link(LinkEvent::Message(clearing));
    for topic in ["verkada/door/a+b/set", "verkada/door/d-1/state", "verkada/bridge/heartbeat/set", "other"] {
        let message = bench.message(topic, "UNLOCK");
        bench.link(LinkEvent::Message(message));
    }
    bench.expect(&[]);
}

#[test]
fn the_same_id_is_never_executed_twice() {
    let mut bench = Bench::settled();
    let payload = r#"{"action":"unlock","id":"x","by":"desk"}"#;
    bench.command("door/d-1", payload);
    bench.expect(&UNLOCKING);
    bench.command("door/d-1", payload);
    bench.expect(&["!door/d-1/result unlock accepted -", "!door/d-1/result unlock merged duplicate"]);
    bench.answer("unlock d-1", Ok(unlocked(Some(5))));
    bench.expect(&UNLOCKED);
    bench.run(secs(20));
    bench.take_log();
    bench.command("door/d-1", payload);
    bench.expect(&["!door/d-1/result unlock done -", "!door/d-1/result unlock merged duplicate"]);
    bench.command("scenario/s-1", r#"{"action":"ON","id":"x"}"#);
    bench.expect(&[
        "!bridge/lockdown_event given_up",
        "!scenario/s-1/result activate refused id_conflict",
        "=bridge/lockdown_alarm ON",
        "=scenario/s-1/attributes INACTIVE refused",
    ]);
    assert_eq!(
        bench.last_result()["message"],
        "the id was used before to unlock door/d-1; every command needs an id of its own"
    );
    bench.run(secs(24 * 3600));
    bench.take_log();
    bench.command("door/d-1", payload);
    assert!(bench.take_log().contains(&">unlock d-1".to_owned()), "forgotten after a day");
}

#[test]
fn the_id_of_a_merged_command_is_remembered_too() {
    let mut bench = Bench::settled();
    bench.command("door/d-1", r#"{"action":"unlock","id":"x"}"#);
    bench.expect(&UNLOCKING);
    bench.command("door/d-1", r#"{"action":"unlock","id":"y"}"#);
    bench.expect(&["!door/d-1/result unlock merged merged"]);
    bench.answer("unlock d-1", Ok(unlocked(Some(5))));
    bench.expect(&UNLOCKED);
    bench.run(secs(10));
    bench.take_log();
    bench.command("door/d-1", r#"{"action":"unlock","id":"y"}"#);
    bench.expect(&["!door/d-1/result unlock merged merged", "!door/d-1/result unlock merged duplicate"]);
    assert!(bench.open.is_empty());
}

#[test]
fn equal_unlocks_within_a_second_are_one() {
    let mut bench = Bench::settled();
    bench.command("door/d-1", "UNLOCK");
    bench.expect(&UNLOCKING);
    bench.answer("unlock d-1", Ok(unlocked(Some(5))));
    bench.expect(&UNLOCKED);
    bench.run(ms(999));
    bench.command("door/d-1", "UNLOCK");
    bench.expect(&["!door/d-1/result unlock merged merged"]);
    bench.run(ms(1));
    bench.command("door/d-1", "UNLOCK");
    bench.expect(&[
        "!door/d-1/result unlock accepted -",
        "=door/d-1/attributes command done",
        "=door/d-1/state UNLOCKING",
        ">unlock d-1",
    ]);
}

#[test]
fn opening_commands_are_counted_for_each_door_and_in_all() {
    let mut bench = Bench::settled();
    for i in 0..6 {
        bench.command("door/d-1", "UNLOCK");
        if i < 5 {
            bench.answer("unlock d-1", Err(Fault::Rejected(trace())));
        }
        bench.run(ms(1_000));
    }
    assert_eq!(bench.last_result()["reason"], "rate_limited");
    assert_eq!(bench.last_result()["outcome"], "refused");
    bench.take_log();
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.doors = (0..30).map(|i| door(&format!("d-{i}"), "Door")).collect();
    });
    for i in 0..30 {
        bench.command(&format!("door/d-{i}"), "UNLOCK");
        if i % 2 == 0 && i < 20 {
            bench.answer(&format!("unlock d-{i}"), Err(Fault::Rejected(trace())));
        }
    }
    let books = bench.bridge.status(bench.now).books;
    assert_eq!((books.ended(Outcome::Refused), books.ended(Outcome::Failed)), (10, 10));
    bench.take_log();
}

#[test]
fn the_result_goes_to_the_response_topic_too_but_never_where_only_the_gateway_writes() {
    let ask = |topic: &'static str| {
        move |message: &mut Message| {
            message.response_topic = Some(topic.to_owned());
            message.correlation = Some(Bytes::from_static(b"c-1"));
        }
    };
    let mut bench = Bench::settled();
    bench.command_with("door/d-1", "LOCK", ask("desk/7"));
    bench.expect(&["!door/d-1/result lock refused unsupported", "!desk/7 lock refused unsupported"]);
    let copies: Vec<_> = bench.published.iter().rev().filter(|p| !p.retain).take(2).collect();
    assert_eq!(copies[0].correlation.as_deref(), Some(&b"c-1"[..]));
    assert_eq!((copies[0].retain, copies[1].correlation.as_ref()), (false, None));
    assert_eq!(copies[0].payload, copies[1].payload);
    bench.command_with("door/d-1", "LOCK", ask("verkada/response/desk"));
    bench.expect(&["!door/d-1/result lock refused unsupported", "!response/desk lock refused unsupported"]);
    for forbidden in [
        "verkada/door/d-1/state",
        "verkada/response/d-1/set",
        "verkada/response/",
        "verkada",
        "homeassistant/lock/x/config",
        "a/+",
        "a/#",
        "$SYS/x",
        "",
        "a\u{1}b",
        "a\0",
    ] {
        bench.command_with("door/d-1", "LOCK", ask(forbidden));
        bench.expect(&["!door/d-1/result lock refused unsupported"]);
    }
}

#[test]
fn the_next_press_after_a_failure_is_no_repeat() {
    let mut bench = Bench::settled();
    bench.command("door/d-1", "UNLOCK");
    bench.expect(&UNLOCKING);
    bench.answer("unlock d-1", Err(Fault::Forbidden(trace())));
    bench.take_log();
    bench.command("door/d-1", "UNLOCK");
    assert!(bench.take_log().contains(&">unlock d-1".to_owned()));
}

/// The list of doors stays fresh for a quarter of an hour; what is read each five seconds tells sooner.
#[test]
fn a_vendor_that_is_gone_is_shown_by_the_lists_that_are_read_often() {
    let mut bench = Bench::settled();
    bench.auto = false;
    for _ in 0..30 {
        bench.run(secs(1));
        for what in ["scenarios", "events"] {
            if bench.open.iter().any(|call| call_line(&call.request) == what) {
                bench.answer(what, Err(Fault::NotSent(trace())));
            }
        }
    }
    bench.take_log();
    assert_eq!(bench.held("bridge/api/availability").as_deref(), Some("offline"));
}

#[test]
fn a_late_copy_is_answered_by_what_came_of_the_first_and_not_by_its_age() {
    let mut bench = Bench::settled();
    let payload = json!({"action": "unlock", "id": "x", "issued_at": bench.now.utc.to_string()}).to_string();
    bench.command("door/d-1", &payload);
    bench.expect(&UNLOCKING);
    bench.answer("unlock d-1", Ok(unlocked(Some(5))));
    bench.run(secs(20));
    bench.take_log();
    bench.command("door/d-1", &payload);
    bench.expect(&["!door/d-1/result unlock done -", "!door/d-1/result unlock merged duplicate"]);
    let other = payload.replace("\"x\"", "\"y\"");
    bench.command("door/d-1", &other);
    bench.expect(&["!door/d-1/result unlock expired too_old"]);
}

#[test]
fn a_repeated_request_is_answered_where_it_asks_for_it() {
    let mut bench = Bench::settled();
    let payload = r#"{"action":"unlock","id":"x"}"#;
    bench.command_with("door/d-1", payload, |message| message.response_topic = Some("first".to_owned()));
    bench.answer("unlock d-1", Ok(unlocked(None)));
    bench.take_log();
    bench.command_with("door/d-1", payload, |message| message.response_topic = Some("second".to_owned()));
    bench.expect(&[
        "!door/d-1/result unlock done -",
        "!second unlock done -",
        "!door/d-1/result unlock merged duplicate",
        "!second unlock merged duplicate",
    ]);
}

#[test]
fn a_flood_of_refused_commands_neither_reads_often_nor_kills_the_refresh() {
    let mut bench = Bench::settled_with(with(|settings| settings.commands.unlock = false), |_| {});
    let before = bench.reads["doors"];
    for _ in 0..1_000 {
        bench.command("door/d-1", "UNLOCK");
    }
    bench.run(secs(20));
    assert!(bench.reads["doors"] <= before + 3, "{:?}", bench.reads);
    bench.run(secs(10));
    let before = bench.reads["doors"];
    let press = bench.message("verkada/bridge/refresh/set", "PRESS");
    bench.link(LinkEvent::Message(press));
    bench.run(secs(10));
    assert_eq!(bench.reads["doors"], before + 1, "the refresh still works");
    bench.take_log();
}

// ---- scenarios -----------------------------------------------------------------------------------------------------

const ACTIVATING: [&str; 2] = ["!scenario/s-1/result activate accepted -", ">activate s-1"];
const ACTIVE: [&str; 5] = [
    "!scenario/s-1/result activate done -",
    "=door/d-1/attributes scenario -",
    "=door/d-1/state LOCKED",
    "=scenario/s-1/attributes ACTIVE done",
    "=scenario/s-1/state ON",
];

const NOT_YET: [&str; 3] = [
    "!bridge/lockdown_event not_confirmed",
    "!scenario/s-1/result activate accepted not_confirmed",
    "=bridge/lockdown_alarm ON",
];
/// What follows once a read shows it after all.
const AFTER_ALL: [&str; 7] = [
    "!scenario/s-1/result activate done -",
    "!bridge/lockdown_event confirmed",
    "=bridge/lockdown_alarm OFF",
    "=door/d-1/attributes scenario -",
    "=door/d-1/state LOCKED",
    "=scenario/s-1/attributes ACTIVE done",
    "=scenario/s-1/state ON",
];

#[test]
fn somebody_is_told_within_a_second_that_a_lockdown_is_not_there_whatever_holds_it_up() {
    let mut bench = Bench::settled();
    bench.command("scenario/s-1", "ON");
    bench.expect(&ACTIVATING);
    bench.run(ms(999));
    bench.expect(&[]);
    bench.run(ms(1));
    bench.expect(&NOT_YET);
    assert_eq!(bench.last_result()["message"], "not done yet: the vendor has not answered");
    bench.run(secs(5));
    bench.expect(&[]);
    active(&mut bench, true);
    bench.answer("activate s-1", Ok(Answer::Taken));
    bench.expect(&AFTER_ALL);
}

#[test]
fn an_activate_is_done_only_when_a_later_read_shows_it() {
    let mut bench = Bench::settled();
    bench.command("scenario/s-1", "ON");
    bench.expect(&ACTIVATING);
    let before = bench.reads["scenarios"];
    bench.answer("activate s-1", Ok(Answer::Taken));
    bench.expect(&[]);
    bench.run(secs(3));
    bench.expect(&NOT_YET);
    assert_eq!(bench.reads["scenarios"], before + 4, "at once, then once a second");
    active(&mut bench, true);
    bench.run(secs(1));
    bench.expect(&AFTER_ALL);
}

#[test]
fn a_read_that_was_asked_for_before_the_act_proves_nothing() {
    let mut bench = Bench::settled();
    bench.auto = false;
    bench.run(secs(4));
    bench.expect(&[">scenarios", ">events"]);
    bench.command("scenario/s-1", "ON");
    bench.expect(&ACTIVATING);
    bench.answer("activate s-1", Ok(Answer::Taken));
    let mut before = bench.scenarios.clone();
    before[0].state = ScenarioState::Active;
    bench.answer("scenarios", Ok(Answer::Scenarios(inventory(before.clone()))));
    bench.expect(&[">scenarios"]);
    bench.answer("scenarios", Ok(Answer::Scenarios(inventory(before))));
    bench.expect(&ACTIVE);
}

#[test]
fn an_activate_is_repeated_after_a_look_and_its_first_failure_is_told_at_once() {
    for (fault, reason, looks) in [
        (Fault::NotSent(trace()), "unreachable", false),
        (Fault::Unclear(trace()), "no_proof", true),
        (Fault::Malformed(trace()), "no_proof", true),
        (Fault::Rejected(trace()), "rejected", true),
    ] {
        let mut bench = Bench::settled();
        bench.command("scenario/s-1", "ON");
        bench.expect(&ACTIVATING);
        let before = bench.reads["scenarios"];
        bench.answer("activate s-1", Err(fault));
        bench.expect(&[
            "!bridge/lockdown_event not_confirmed",
            &format!("!scenario/s-1/result activate accepted {reason}"),
            "=bridge/lockdown_alarm ON",
        ]);
        bench.run(secs(2));
        bench.expect(&[">activate s-1"]);
        assert_eq!(bench.reads["scenarios"] > before, looks, "{reason}");
        active(&mut bench, true);
        bench.answer("activate s-1", Ok(Answer::Taken));
        bench.expect(&AFTER_ALL);
    }
}

#[test]
fn an_unclear_activate_that_worked_is_found_by_the_look() {
    for fault in [Fault::Unclear(trace()), Fault::Rejected(trace())] {
        let mut bench = Bench::settled();
        bench.command("scenario/s-1", "ON");
        bench.take_log();
        active(&mut bench, true);
        bench.answer("activate s-1", Err(fault));
        let log = bench.take_log();
        assert_eq!(log[3..], AFTER_ALL, "{log:?}");
        bench.run(secs(30));
        bench.expect(&[]);
    }
}

#[test]
fn an_activate_that_never_works_is_given_up_loudly_after_two_minutes() {
    let mut bench = Bench::settled();
    bench.command("scenario/s-1", "ON");
    let began = bench.now;
    let mut sent = 0;
    while !bench.bridge.is_idle() {
        while !bench.open.is_empty() {
            sent += 1;
            bench.answer("activate s-1", Err(Fault::NotSent(trace())));
        }
        bench.run(ms(50));
    }
    let lasted = bench.now.mono - began.mono;
    assert!(lasted >= secs(120) && lasted <= ms(120_100), "{lasted:?}");
    assert!((60..150).contains(&sent), "{sent} attempts");
    let log = bench.take_log();
    assert!(log.contains(&"!scenario/s-1/result activate failed unreachable".to_owned()));
    assert_eq!(bench.last_result()["message"], "the vendor could not be asked in time; nothing was sent");
    assert_eq!(bench.held("scenario/s-1/state").as_deref(), Some("OFF"));
}

#[test]
fn a_door_that_the_vendor_does_not_know_is_looked_for_at_once_and_goes_only_by_the_list() {
    let mut bench =
        Bench::settled_with(settings(Style::Device), |bench| bench.doors.push(door("d-2", "Back")));
    let reads = |bench: &Bench| bench.reads["doors"];
    let before = reads(&bench);
    let gone = bench.doors.pop().unwrap();
    bench.command("door/d-2", "UNLOCK");
    bench.answer("unlock d-2", Err(Fault::NotFound(trace())));
    assert_eq!(bench.last_result()["reason"], "not_found");
    assert_eq!(reads(&bench), before + 1, "the list is read again");
    assert_eq!(bench.held("door/d-2/availability").as_deref(), Some("online"), "one reading is not enough");
    bench.doors.push(gone);
    bench.run(secs(300));
    bench.doors.pop();
    bench.run(secs(300));
    assert_eq!(bench.held("door/d-2/availability").as_deref(), Some("online"), "it begins anew");
    bench.run(secs(300));
    assert_eq!(bench.held("door/d-2/availability"), None);
    bench.take_log();
}

#[test]
fn an_activate_that_the_vendor_forbids_ends_at_once() {
    for (fault, reason) in [
        (Fault::Forbidden(trace()), "forbidden"),
        (Fault::Unauthorized(trace()), "unauthorized"),
        (Fault::NotFound(trace()), "not_found"),
    ] {
        let mut bench = Bench::settled();
        bench.command("scenario/s-1", "ON");
        bench.expect(&ACTIVATING);
        bench.answer("activate s-1", Err(fault));
        bench.expect(&[
            "!bridge/lockdown_event given_up",
            &format!("!scenario/s-1/result activate failed {reason}"),
            "=bridge/lockdown_alarm ON",
            "=scenario/s-1/attributes INACTIVE failed",
        ]);
    }
}

#[test]
fn what_is_active_already_is_looked_at_and_not_sent() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| active(bench, true));
    bench.command("scenario/s-1", "ON");
    bench.expect(&[
        "!scenario/s-1/result activate accepted -",
        "!scenario/s-1/result activate done -",
        "=scenario/s-1/attributes ACTIVE done",
    ]);
    assert_eq!(
        bench.last_result()["message"],
        "the scenario was activated already; nothing was sent; 0 of 1 doors are confirmed locked so far"
    );
    // Where the look shows something else, it is sent.
    active(&mut bench, false);
    bench.command("scenario/s-1", "ON");
    let log = bench.take_log();
    assert!(log.contains(&">activate s-1".to_owned()), "{log:?}");
}

#[test]
fn a_release_is_sent_at_most_once() {
    for fault in [Fault::Unclear(trace()), Fault::Malformed(trace())] {
        let mut bench = Bench::settled_with(settings(Style::Device), |bench| active(bench, true));
        bench.command("scenario/s-1", "OFF");
        bench.expect(&["!scenario/s-1/result release accepted -", ">release s-1"]);
        bench.answer("release s-1", Err(fault));
        bench.expect(&["!scenario/s-1/result release accepted no_proof"]);
        bench.run(secs(14));
        bench.expect(&[]);
        bench.run(secs(2));
        bench.expect(&[
            "!scenario/s-1/result release unknown not_confirmed",
            "=scenario/s-1/attributes ACTIVE unknown",
        ]);
        assert!(bench.open.is_empty());
    }
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| active(bench, true));
    bench.command("scenario/s-1", "OFF");
    bench.answer("release s-1", Err(Fault::NotSent(trace())));
    bench.run(ms(250));
    active(&mut bench, false);
    bench.answer("release s-1", Ok(Answer::Taken));
    bench.expect(&[
        "!scenario/s-1/result release accepted -",
        ">release s-1",
        "!scenario/s-1/result release accepted unreachable",
        ">release s-1",
        "!scenario/s-1/result release done -",
        "=door/d-1/attributes none -",
        "=door/d-1/state None",
        "=scenario/s-1/attributes INACTIVE done",
        "=scenario/s-1/state OFF",
    ]);
}

#[test]
fn a_newer_contrary_command_takes_over_and_waits_for_the_reply_of_the_older() {
    let mut bench = Bench::settled();
    bench.command("scenario/s-1", "ON");
    bench.expect(&ACTIVATING);
    bench.command("scenario/s-1", "ON");
    bench.expect(&["!scenario/s-1/result activate merged merged"]);
    bench.command("scenario/s-1", "OFF");
    bench.expect(&[
        "!scenario/s-1/result activate unknown superseded",
        "!scenario/s-1/result release accepted -",
        "=scenario/s-1/attributes INACTIVE unknown",
    ]);
    bench.run(secs(2));
    bench.expect(&[]);
    active(&mut bench, true);
    bench.answer("activate s-1", Ok(Answer::Taken));
    let log = bench.take_log();
    assert!(log.contains(&">release s-1".to_owned()), "{log:?}");
    active(&mut bench, false);
    bench.answer("release s-1", Ok(Answer::Taken));
    assert!(bench.take_log().contains(&"!scenario/s-1/result release done -".to_owned()));
}

#[test]
fn a_lockdown_does_not_wait_for_the_answer_to_a_release_and_is_not_confirmed_before_it() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| active(bench, true));
    bench.command("scenario/s-1", "OFF");
    bench.command("scenario/s-1", "ON");
    bench.expect(&[
        "!scenario/s-1/result release accepted -",
        ">release s-1",
        "!scenario/s-1/result release unknown superseded",
        "!scenario/s-1/result activate accepted -",
        "=scenario/s-1/attributes ACTIVE unknown",
        ">activate s-1",
    ]);
    // The list still shows it active, but the release may take effect later.
    bench.answer("activate s-1", Ok(Answer::Taken));
    bench.run(ms(500));
    bench.expect(&[]);
    assert!(!bench.bridge.is_idle());
    active(&mut bench, false);
    bench.answer("release s-1", Err(Fault::Unclear(trace())));
    bench.run(secs(20));
    let log = bench.take_log();
    assert!(log.contains(&">activate s-1".to_owned()), "{log:?}");
    assert!(!bench.bridge.is_idle());
    active(&mut bench, true);
    bench.answer("activate s-1", Ok(Answer::Taken));
    let log = bench.take_log();
    assert!(log.contains(&"!scenario/s-1/result activate done -".to_owned()), "{log:?}");
}

#[test]
fn a_read_from_before_the_answer_to_a_release_confirms_no_lockdown_that_overtook_it() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| active(bench, true));
    bench.auto = false;
    bench.command("scenario/s-1", "OFF");
    bench.command("scenario/s-1", "ON");
    bench.run(secs(5));
    assert!(bench.take_log().contains(&">scenarios".to_owned()));
    bench.answer("release s-1", Ok(Answer::Taken));
    bench.answer("activate s-1", Ok(Answer::Taken));
    let before = inventory(bench.scenarios.clone());
    bench.answer("scenarios", Ok(Answer::Scenarios(before)));
    let log = bench.take_log();
    assert!(!log.iter().any(|line| line.contains("activate done")), "{log:?}");
    let after = inventory(bench.scenarios.clone());
    bench.answer("scenarios", Ok(Answer::Scenarios(after)));
    let log = bench.take_log();
    assert!(log.iter().any(|line| line.contains("activate done")), "{log:?}");
}

#[test]
fn a_lockdown_whose_release_never_reached_the_vendor_is_confirmed_by_the_next_read() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| active(bench, true));
    bench.command("scenario/s-1", "OFF");
    bench.command("scenario/s-1", "ON");
    bench.answer("activate s-1", Ok(Answer::Taken));
    bench.answer("release s-1", Err(Fault::NotSent(trace())));
    let log = bench.take_log();
    assert_eq!(log.iter().filter(|line| line.starts_with(">activate")).count(), 1, "{log:?}");
    assert!(log.contains(&"!scenario/s-1/result activate done -".to_owned()), "{log:?}");
}

#[test]
fn a_lockdown_drains_what_would_open() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.doors.push(door("d-2", "Back Door"));
        bench.scenarios.push(scenario("s-2", &[]));
        bench.scenarios[1].state = ScenarioState::Active;
    });
    bench.command("door/d-1", "UNLOCK");
    bench.take_log();
    bench.answer("unlock d-1", rate_limited(Some(5)));
    bench.command("door/d-2", "UNLOCK");
    bench.command("scenario/s-2", "OFF");
    bench.take_log();
    assert!(bench.open.is_empty(), "the vendor asked for a pause");
    bench.command("scenario/s-1", "ON");
    let log = bench.take_log();
    assert_eq!(
        log,
        [
            "!scenario/s-2/result release expired superseded",
            "!scenario/s-1/result activate accepted -",
            "!door/d-1/result unlock expired superseded",
            "!door/d-2/result unlock expired superseded",
            "=door/d-1/attributes none expired",
            "=door/d-1/state None",
            "=door/d-2/attributes none expired",
            "=door/d-2/state None",
            "=scenario/s-2/attributes ACTIVE expired",
        ]
    );
    bench.run(secs(2));
    bench.expect(&[NOT_YET[0], NOT_YET[1], NOT_YET[2], ">activate s-1"]);
    active(&mut bench, true);
    bench.answer("activate s-1", Ok(Answer::Taken));
    bench.run(secs(20));
    assert!(!bench.take_log().iter().any(|line| line.contains(">unlock") || line.contains(">release")));
}

#[test]
fn an_opening_command_under_way_is_not_repeated_after_a_lockdown() {
    for fault in [Fault::NotSent(trace()), Fault::RateLimited { after: None, trace: trace() }] {
        let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
            bench.scenarios.push(scenario("s-2", &[]));
            bench.scenarios[1].state = ScenarioState::Active;
        });
        bench.command("door/d-1", "UNLOCK");
        bench.command("scenario/s-2", "OFF");
        bench.command("scenario/s-1", "ON");
        active(&mut bench, true);
        bench.answer("activate s-1", Ok(Answer::Taken));
        bench.take_log();
        bench.answer("unlock d-1", Err(fault.clone()));
        bench.answer("release s-2", Err(fault));
        bench.run(secs(15));
        bench.expect(&[
            "!door/d-1/result unlock expired superseded",
            "=door/d-1/attributes scenario expired",
            "=door/d-1/state LOCKED",
            "!scenario/s-2/result release expired superseded",
            "=scenario/s-2/attributes ACTIVE expired",
        ]);
        assert!(bench.open.is_empty());
    }
}

#[test]
fn a_scenario_state_that_nobody_documented_is_unknown_never_off() {
    let mut bench = Bench::settled();
    bench.scenarios[0].state = ScenarioState::Unknown(Some("ARMED".to_owned()));
    bench.run(secs(5));
    bench.expect(&["=scenario/s-1/attributes ARMED -", "=scenario/s-1/state None"]);
    bench.scenarios[0].state = ScenarioState::Unknown(None);
    bench.run(secs(5));
    bench.expect(&["=scenario/s-1/attributes - -"]);
}

#[test]
fn what_is_activated_elsewhere_is_shown_by_the_next_poll() {
    let mut bench = Bench::settled();
    active(&mut bench, true);
    bench.run(secs(5));
    bench.expect(&[
        "=door/d-1/attributes scenario -",
        "=door/d-1/state LOCKED",
        "=scenario/s-1/attributes ACTIVE -",
        "=scenario/s-1/state ON",
    ]);
    active(&mut bench, false);
    bench.run(secs(5));
    bench.expect(&[
        "=door/d-1/attributes none -",
        "=door/d-1/state None",
        "=scenario/s-1/attributes INACTIVE -",
        "=scenario/s-1/state OFF",
    ]);
}

// ---- stop ----------------------------------------------------------------------------------------------------------

#[test]
fn a_stop_refuses_what_waits_and_lets_end_what_is_under_way() {
    let mut bench =
        Bench::settled_with(settings(Style::Device), |bench| bench.doors.push(door("d-2", "Back")));
    bench.command("door/d-1", "UNLOCK");
    bench.take_log();
    bench.answer("unlock d-1", rate_limited(Some(5)));
    bench.input(Input::Stop);
    bench.expect(&[
        "!door/d-1/result unlock refused stopping",
        "=door/d-1/attributes none refused",
        "=door/d-1/state None",
    ]);
    bench.command("door/d-2", "UNLOCK");
    bench.expect(&["!door/d-2/result unlock refused stopping"]);
    assert!(bench.bridge.is_idle());
    bench.auto = false;
    bench.run(secs(10));
    let log = bench.take_log();
    assert!(!log.iter().any(|line| line.starts_with('>')), "no new calls: {log:?}");
    let farewell = bench.bridge.farewell();
    assert_eq!((farewell.topic.as_str(), &farewell.payload[..]), ("verkada/availability", &b"offline"[..]));
}

#[test]
fn after_a_stop_nothing_that_opens_is_tried_again_and_the_abandoned_is_unknown() {
    let mut bench =
        Bench::settled_with(settings(Style::Device), |bench| bench.doors.push(door("d-2", "Back")));
    bench.command("door/d-1", "UNLOCK");
    bench.command("door/d-2", "UNLOCK");
    bench.input(Input::Stop);
    bench.take_log();
    bench.answer("unlock d-1", Err(Fault::NotSent(trace())));
    bench.expect(&[
        "!door/d-1/result unlock refused stopping",
        "=door/d-1/attributes none refused",
        "=door/d-1/state None",
    ]);
    bench.bridge.abandon(bench.now);
    bench.run(ms(1));
    bench.expect(&[
        "!door/d-2/result unlock unknown stopping",
        "=door/d-2/attributes command unknown",
        "=door/d-2/state None",
    ]);
    bench.answer("unlock d-2", Ok(unlocked(None)));
    bench.expect(&[]);
}

// ---- doors ---------------------------------------------------------------------------------------------------------

#[test]
fn events_out_of_order_late_and_doubled_never_undo_newer_evidence() {
    let mut bench = Bench::settled();
    let at = |seconds: i64| bench_start() + jiff::SignedDuration::from_secs(seconds);
    bench.run(secs(40));
    bench.take_log();
    bench.events.push(event("e-4", EventKind::Closed, "d-1", at(30)));
    bench.events.push(event("e-3", EventKind::Unlocked, "d-1", at(29)));
    bench.run(secs(5));
    bench.expect(&[
        "!door/d-1/event other",
        "!door/d-1/event other",
        "=door/d-1/attributes event -",
        "=door/d-1/forced_open OFF",
        "=door/d-1/held_open OFF",
        "=door/d-1/position OFF",
        "=door/d-1/state UNLOCKED",
    ]);
    bench.events.push(event("e-1", EventKind::Locked, "d-1", at(20)));
    bench.events.push(event("e-2", EventKind::Opened, "d-1", at(25)));
    bench.run(secs(5));
    bench.expect(&["!door/d-1/event other", "!door/d-1/event other"]);
    assert_eq!(bench.held("door/d-1/state").as_deref(), Some("UNLOCKED"));
    assert_eq!(bench.held("door/d-1/position").as_deref(), Some("OFF"));
}

fn bench_start() -> jiff::Timestamp {
    START.parse().unwrap()
}

#[test]
fn contradicting_events_of_one_second_are_unknown() {
    let mut bench = Bench::settled();
    let at = bench.now.utc;
    bench.events.push(event("e-1", EventKind::Unlocked, "d-1", at));
    bench.run(secs(5));
    bench.events.push(event("e-2", EventKind::Locked, "d-1", at));
    bench.take_log();
    bench.run(secs(5));
    assert_eq!(bench.held("door/d-1/state").as_deref(), Some("None"));
    bench.take_log();
}

#[test]
fn a_clock_that_runs_ahead_does_not_make_locked_last_for_ever() {
    let mut bench = Bench::settled();
    let ahead = bench.now.utc + secs(86_400);
    bench.events.push(event("e-1", EventKind::Locked, "d-1", ahead));
    bench.run(secs(5));
    assert_eq!(bench.held("door/d-1/state").as_deref(), Some("LOCKED"));
    bench.events.push(event("e-2", EventKind::Unlocked, "d-1", bench.now.utc));
    bench.run(secs(5));
    assert_eq!(bench.held("door/d-1/state").as_deref(), Some("UNLOCKED"));
    bench.take_log();
}

#[test]
fn evidence_of_a_door_that_is_not_listed_yet_waits_for_it() {
    let mut bench = Bench::settled();
    bench.events.push(event("e-1", EventKind::Opened, "d-9", bench.now.utc));
    bench.run(secs(5));
    bench.expect(&[]);
    bench.doors.push(door("d-9", "Cellar"));
    bench.run(secs(300));
    let log = bench.take_log();
    assert!(log.contains(&"=door/d-9/position ON".to_owned()), "{log:?}");
}

#[test]
fn a_controller_out_of_reach_takes_its_doors_along_until_it_is_heard_again() {
    let mut bench = Bench::settled();
    let mut lost = event("e-1", EventKind::ControllerOffline, "d-1", bench.now.utc);
    lost.door = None;
    lost.controller = Some("acu-1".parse().unwrap());
    bench.events.push(lost);
    bench.run(secs(5));
    bench.expect(&["=door/d-1/attributes none -", "=door/d-1/availability offline"]);
    bench.events.push(event("e-2", EventKind::Denied, "d-1", bench.now.utc));
    bench.run(secs(5));
    bench.expect(&[
        "!door/d-1/event access_denied",
        "=door/d-1/attributes none -",
        "=door/d-1/availability online",
    ]);
}

#[test]
fn an_unlock_that_works_shows_that_the_controller_is_there() {
    let mut bench = Bench::settled();
    bench.events.push(event("e-1", EventKind::ControllerOffline, "d-1", bench.now.utc));
    bench.run(secs(5));
    assert_eq!(bench.held("door/d-1/availability").as_deref(), Some("offline"));
    bench.command("door/d-1", "UNLOCK");
    bench.answer("unlock d-1", Ok(unlocked(None)));
    assert_eq!(bench.held("door/d-1/availability").as_deref(), Some("online"));
    bench.take_log();
}

#[test]
fn after_a_release_the_door_is_unknown_until_newer_evidence() {
    let mut bench = Bench::settled();
    bench.events.push(event("e-1", EventKind::Locked, "d-1", bench.now.utc));
    bench.run(secs(5));
    active(&mut bench, true);
    bench.run(secs(5));
    active(&mut bench, false);
    bench.take_log();
    bench.run(secs(5));
    assert_eq!(bench.held("door/d-1/state").as_deref(), Some("None"));
    bench.run(secs(2));
    bench.events.push(event("e-2", EventKind::Locked, "d-1", bench.now.utc));
    bench.run(secs(5));
    assert_eq!(bench.held("door/d-1/state").as_deref(), Some("LOCKED"));
    bench.take_log();
}

#[test]
fn a_covered_door_that_is_unlocked_after_all_is_shown_so() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| active(bench, true));
    assert_eq!(bench.held("door/d-1/state").as_deref(), Some("LOCKED"));
    bench.run(secs(2));
    bench.events.push(event("e-1", EventKind::Unlocked, "d-1", bench.now.utc));
    bench.run(secs(5));
    assert_eq!(bench.held("door/d-1/state").as_deref(), Some("UNLOCKED"));
    bench.take_log();
}

#[test]
fn renamed_new_and_vanished_doors_are_followed_slowly_where_they_vanish() {
    let mut bench = Bench::settled();
    bench.doors[0].name = Some("Main Door".to_owned());
    bench.run(secs(300));
    let log = bench.take_log();
    let own: Vec<_> = log.iter().filter(|line| !line.contains("last_poll")).collect();
    assert_eq!(own, [DOOR, "=door/d-1/attributes none -", "=scenario/s-1/attributes INACTIVE -"]);
    bench.doors.push(door("d-2", "Back Door"));
    bench.run(secs(300));
    assert_eq!(bench.held("door/d-2/availability").as_deref(), Some("online"));
    bench.doors.pop();
    bench.run(secs(300));
    assert_eq!(bench.held("door/d-2/availability").as_deref(), Some("online"), "one reading is not enough");
    bench.take_log();
    bench.run(secs(300));
    let log = bench.take_log();
    let own: Vec<_> = log.iter().filter(|line| !line.contains("last_poll")).collect();
    assert_eq!(
        own,
        [
            "=homeassistant/device/verkada2mqtt_door_d-2/config cleared",
            "=door/d-2/attributes ",
            "=door/d-2/fire ",
            "=door/d-2/forced_open ",
            "=door/d-2/held_open ",
            "=door/d-2/position ",
            "=door/d-2/state ",
            "=door/d-2/tamper ",
            "=door/d-2/availability ",
        ]
    );
    bench.command("door/d-2", "UNLOCK");
    bench.expect(&["!door/d-2/result unlock refused unknown_target"]);
}

#[test]
fn a_door_that_is_missing_from_every_other_list_does_not_flap() {
    let all: Vec<_> = (0..10).map(|i| door(&format!("d-{i}"), "Door")).collect();
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| bench.doors.clone_from(&all));
    for poll in 0..100 {
        bench.doors.clone_from(&all);
        if poll % 2 == 0 {
            bench.doors.remove(poll / 2 % 10);
        }
        bench.run(secs(300));
        assert_eq!(bench.bridge.status(bench.now).doors, 10, "poll {poll}");
    }
    assert!(bench.reads["doors"] > 100);
    let log = bench.take_log();
    let told: Vec<_> = log.iter().filter(|line| !line.starts_with("=bridge/")).collect();
    assert_eq!(told, [""; 0]);
}

#[test]
fn a_list_that_loses_more_than_a_fifth_removes_nothing_for_ten_minutes_and_an_incomplete_one_nothing_at_all()
{
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.doors = (0..9).map(|i| door(&format!("d-{i}"), "Door")).collect();
    });
    bench.doors.truncate(7);
    bench.run(secs(600));
    assert_eq!(bench.bridge.status(bench.now).doors, 9);
    bench.run(secs(600));
    assert_eq!(bench.bridge.status(bench.now).doors, 7);
    bench.take_log();
    bench.auto = false;
    for _ in 0..4 {
        bench.run(secs(300));
        while let Some(index) = bench.open.iter().position(|call| call_line(&call.request) == "doors") {
            let id = bench.open.remove(index).id;
            let skipped = vec!["a door has no id".to_owned()];
            bench.reply(id, Ok(Answer::Doors(Inventory { items: vec![], skipped })));
        }
    }
    assert_eq!(bench.bridge.status(bench.now).doors, 7);
    bench.take_log();
}

#[test]
fn a_vanished_scenario_is_marked_removed_on_a_device_that_stays() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        let second = scenario("s-2", &[]);
        bench.scenarios.push(second);
    });
    bench.scenarios.pop();
    bench.run(secs(5));
    bench.expect(&[]);
    bench.run(secs(5));
    bench.expect(&[SITE, "=scenario/s-2/attributes ", "=scenario/s-2/state ", "=scenario/s-2/availability "]);
    let topic = SITE.trim_start_matches('=');
    let last = bench.published.iter().rev().find(|p| p.topic == topic).unwrap();
    let config: Value = serde_json::from_slice(&last.payload).unwrap();
    assert_eq!(config["components"]["scenario_s-2"], json!({"platform": "switch"}));
    // The removal may have been lost with the connection: the next session gets it again, a birth does not.
    let removed = |bench: &mut Bench| {
        bench.take_log().into_iter().filter(|line| line.starts_with("=scenario/s-2/")).collect::<Vec<_>>()
    };
    bench.link(LinkEvent::Down("cut".to_owned()));
    bench.link(UP);
    let withdrawn = ["=scenario/s-2/attributes ", "=scenario/s-2/state ", "=scenario/s-2/availability "];
    assert_eq!(removed(&mut bench), withdrawn);
    let birth = bench.message("homeassistant/status", "online");
    bench.link(LinkEvent::Message(birth));
    bench.run(secs(6));
    assert_eq!(removed(&mut bench), Vec::<String>::new());
}

#[test]
fn a_poll_that_changes_nothing_publishes_nothing_also_with_ten_thousand_doors() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.doors = (0..10_000).map(|i| door(&format!("d-{i}"), &format!("Door {}", i % 500))).collect();
    });
    assert_eq!(bench.bridge.status(bench.now).doors, 10_000);
    // Every config is said once more, some at a time.
    bench.run(secs(301));
    bench.take_log();
    let before = bench.reads["doors"];
    bench.run(secs(301));
    assert_eq!(bench.reads["doors"], before + 1);
    let log = bench.take_log();
    assert!(log.iter().all(|line| line.starts_with("=bridge/last_poll")) && log.len() <= 6, "{}", log.len());
}

// ---- polls ---------------------------------------------------------------------------------------------------------

fn fail_reads(bench: &mut Bench, fault: &Fault) {
    while let Some(call) = bench.open.first() {
        let what = call_line(&call.request);
        bench.answer(&what, Err(fault.clone()));
    }
}

#[test]
fn one_failed_request_blinks_nothing_and_a_long_outage_shows() {
    for fault in [Fault::Unclear(trace()), Fault::RateLimited { after: None, trace: trace() }] {
        let mut bench = Bench::settled();
        bench.auto = false;
        bench.run(secs(5));
        fail_reads(&mut bench, &fault);
        bench.auto = true;
        bench.run(secs(20));
        let log = bench.take_log();
        assert!(log.iter().all(|line| line.starts_with('>')), "{log:?}");
        bench.auto = false;
        let mut waited = 0;
        while bench.held("bridge/api/availability").as_deref() == Some("online")
            || bench.held("scenario/s-1/availability").as_deref() == Some("online")
        {
            bench.run(secs(1));
            fail_reads(&mut bench, &fault);
            waited += 1;
            assert!(waited < 1_000, "it never shows");
        }
        assert_eq!(bench.held("door/d-1/availability").as_deref(), Some("offline"));
        bench.auto = true;
        bench.run(secs(120));
        assert_eq!(bench.held("door/d-1/availability").as_deref(), Some("online"));
        assert_eq!(bench.held("bridge/api/availability").as_deref(), Some("online"));
        bench.take_log();
    }
}

#[test]
fn a_refused_key_takes_the_api_offline_at_once_and_until_a_reading_succeeds() {
    let mut bench = Bench::settled();
    bench.auto = false;
    bench.run(secs(4));
    bench.take_log();
    bench.answer("scenarios", Err(Fault::Unauthorized(trace())));
    bench.expect(&[
        "=door/d-1/attributes none -",
        "=scenario/s-1/attributes INACTIVE -",
        "=scenario/s-1/availability offline",
        "=bridge/api/availability offline",
    ]);
    assert_eq!(bench.bridge.status(bench.now).api_trouble.as_deref(), Some(trace().text.as_str()));
    bench.answer("events", Ok(Answer::Events(EventPage { events: vec![], skipped: vec![], next: None })));
    // Another failure does not bring it back.
    bench.run(secs(61));
    bench.take_log();
    bench.answer("scenarios", Err(Fault::Unclear(trace())));
    assert_eq!(bench.held("bridge/api/availability").as_deref(), Some("offline"));
    bench.auto = true;
    bench.run(secs(61));
    assert_eq!(bench.held("bridge/api/availability").as_deref(), Some("online"));
    bench.take_log();
}

#[test]
fn a_key_that_may_not_read_events_still_commands_doors_and_claims_nothing_about_them() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.events.push(event("e-1", EventKind::Locked, "d-1", bench_start() - secs(60)));
    });
    assert_eq!(bench.held("door/d-1/state").as_deref(), Some("LOCKED"));
    bench.auto = false;
    bench.run(secs(4));
    bench.take_log();
    bench.answer("events", Err(Fault::Forbidden(trace())));
    bench.expect(&["=door/d-1/attributes none -", "=door/d-1/state None"]);
    // A passing failure of what is refused anyway blinks nothing.
    bench.run(secs(61));
    while bench.open.iter().any(|call| call_line(&call.request) == "events") {
        bench.answer("events", Err(Fault::Unclear(trace())));
    }
    assert_eq!(bench.held("door/d-1/availability").as_deref(), Some("online"));
    bench.take_log();
    // Once events can be read again, the evidence of the last hour is back, and is no news.
    bench.auto = true;
    bench.run(secs(61));
    while let Some(index) = bench.open.iter().position(|call| call_line(&call.request) == "events") {
        let (id, events) = (bench.open.remove(index).id, bench.events.clone());
        bench.reply(id, Ok(Answer::Events(EventPage { events, skipped: vec![], next: None })));
    }
    assert_eq!(bench.held("door/d-1/state").as_deref(), Some("LOCKED"));
    assert!(!bench.take_log().iter().any(|line| line.contains("/event ")));
}

#[test]
fn commands_keep_their_share_of_the_budget_and_an_activate_knocks_through_a_429() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.scenarios.extend((2..12).map(|i| scenario(&format!("s-{i}"), &[])));
    });
    // Reads at the bound of their lane ...
    bench.auto = false;
    bench.run(secs(5));
    bench.take_log();
    let mut pages = 0;
    while bench.open.iter().any(|call| call_line(&call.request) == "events") {
        pages += 1;
        let next = Some(verkada2mqtt::model::PageToken(pages.to_string()));
        bench.answer("events", Ok(Answer::Events(EventPage { events: vec![], skipped: vec![], next })));
    }
    assert!((15..=20).contains(&pages), "{pages} pages at once");
    // ... leave room for five commands at once.
    for i in 1..=5 {
        bench.command(&format!("scenario/s-{i}"), "ON");
    }
    bench.command("door/d-1", "UNLOCK");
    let sent: Vec<_> = bench.take_log().into_iter().filter(|line| line.starts_with(">a")).collect();
    assert_eq!(sent.len(), 5);
    for i in 1..=5 {
        bench.answer(&format!("activate s-{i}"), rate_limited(Some(60)));
    }
    bench.take_log();
    let began = bench.now.mono;
    let mut knocks = 0;
    while bench.now.mono < began + secs(30) {
        bench.run(secs(1));
        while let Some(call) = bench.open.iter().find(|call| call_line(&call.request).starts_with("act")) {
            knocks += 1;
            let what = call_line(&call.request);
            bench.answer(&what, rate_limited(Some(60)));
        }
    }
    assert!((14..=16).contains(&knocks), "{knocks} knocks in 30 s");
    let log = bench.take_log();
    assert!(!log.iter().any(|line| [">scen", ">eve", ">unl"].iter().any(|s| line.starts_with(s))), "{log:?}");
}

#[test]
fn pages_that_go_on_for_ever_are_given_up_at_the_thousandth() {
    let mut bench = Bench::settled();
    bench.auto = false;
    let (mut pages, mut since) = (0, BTreeMap::<jiff::Timestamp, u32>::new());
    while pages < 1_000 {
        bench.run(secs(1));
        while let Some(call) = bench.open.first().cloned() {
            let answer = match &call.request {
                Request::ListDoors => Answer::Doors(inventory(bench.doors.clone())),
                Request::ReadEvents { since: from, .. } => {
                    pages += 1;
                    *since.entry(*from).or_default() += 1;
                    let event = event(&format!("e-{pages}"), EventKind::Locked, "d-1", bench.now.utc);
                    let next = Some(verkada2mqtt::model::PageToken(pages.to_string()));
                    Answer::Events(EventPage { events: vec![event], skipped: vec![], next })
                }
                Request::ListScenarios => Answer::Scenarios(inventory(bench.scenarios.clone())),
                act @ (Request::Unlock { .. }
                | Request::Activate { .. }
                | Request::Release { .. }
                | Request::Drill
                | Request::ListCalendars
                | Request::ListAccessLevels
                | Request::ListAccessGroups
                | Request::UnlockAs { .. }
                | Request::CreateCalendar(_)
                | Request::WriteCalendar { .. }
                | Request::CreateException { .. }
                | Request::WriteException { .. }
                | Request::DeleteException { .. }) => {
                    panic!("{act:?}")
                }
            };
            bench.answer(&call_line(&call.request), Ok(answer));
        }
    }
    assert_eq!(since.values().max(), Some(&1_000), "one reading, and no page more of it");
    assert_eq!(bench.held("door/d-1/state").as_deref(), Some("None"));
    let trouble = bench.bridge.status(bench.now).api_trouble.unwrap();
    assert!(trouble.contains("the pages do not end (stopped after 1000)"), "{trouble}");
    bench.take_log();
}

#[test]
fn pages_that_do_not_end_change_nothing() {
    let mut bench = Bench::settled();
    bench.auto = false;
    bench.run(secs(4));
    bench.take_log();
    let page = |n: u32| {
        let event = event(&format!("e-{n}"), EventKind::Locked, "d-1", bench_start());
        let next = Some(verkada2mqtt::model::PageToken("same".to_owned()));
        Ok(Answer::Events(EventPage { events: vec![event], skipped: vec![], next }))
    };
    bench.answer("events", page(1));
    bench.answer("events", page(2));
    assert_eq!(bench.held("door/d-1/state").as_deref(), Some("None"));
    bench.take_log();
}

#[test]
fn an_event_from_before_a_release_proves_nothing_however_late_it_comes() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| active(bench, true));
    let during = bench.now.utc;
    active(&mut bench, false);
    bench.run(secs(5));
    bench.events.push(event("e-1", EventKind::Locked, "d-1", during));
    bench.run(secs(5));
    assert_eq!(bench.held("door/d-1/state").as_deref(), Some("None"));
    bench.take_log();
}

// ---- discovery -----------------------------------------------------------------------------------------------------

/// The discovery messages of a small organisation, by topic.
fn discovery(style: Style) -> BTreeMap<String, Value> {
    let mut bench = Bench::settled_with(settings(style), |bench| {
        bench.doors.push(door("d-2", "Back Door"));
        // Only of this door it is known that there can be evidence of tampering and fire.
        bench.events.push(event("e-1", EventKind::Tamper, "d-2", bench.now.utc));
        bench.events.push(event("e-2", EventKind::FireReleased, "d-2", bench.now.utc));
        let mut everywhere = scenario("s-2", &["d-2"]);
        everywhere.name = Some("Evacuation".to_owned());
        everywhere.sites.push("site-2".parse().unwrap());
        bench.scenarios.push(everywhere);
    });
    bench.take_log();
    let configs = bench.published.iter().filter(|p| p.topic.starts_with("homeassistant/"));
    configs.map(|p| (p.topic.clone(), serde_json::from_slice(&p.payload).unwrap())).collect()
}

/// Compares with a file under `tests/fixtures/discovery`.
fn compare_discovery(name: &str, discovery: &BTreeMap<String, Value>) {
    let path = format!("{}/tests/fixtures/discovery/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = serde_json::to_string_pretty(discovery).unwrap() + "\n";
    let version = format!("\"sw_version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    let text = text.replace(&version, "\"sw_version\": \"VERSION\"");
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    if golden != text {
        let other = std::env::temp_dir().join(format!("discovery-{name}.json"));
        std::fs::write(&other, &text).unwrap();
        panic!("{path} differs; if it should, copy {} over it", other.display());
    }
}

#[test]
fn discovery_is_what_it_was() {
    compare_discovery("device", &discovery(Style::Device));
    compare_discovery("component", &discovery(Style::Component));
    assert!(discovery(Style::Off).is_empty());
}

#[test]
fn both_styles_announce_the_same_entities() {
    let unique = |config: &Value| config["unique_id"].as_str().unwrap().to_owned();
    let device: BTreeSet<String> = discovery(Style::Device)
        .values()
        .flat_map(|config| config["components"].as_object().unwrap().values().map(unique).collect::<Vec<_>>())
        .collect();
    let component: BTreeSet<String> = discovery(Style::Component).values().map(unique).collect();
    assert_eq!(device, component);
    assert_eq!(device.len(), 20 + 2 * 6 + 2 * 3 + 2);
}

/// Only known keys, and no null but a name.
fn check_keys(topic: &str, value: &Value, allowed: &[&str]) {
    for (key, value) in value.as_object().unwrap() {
        assert!(allowed.contains(&key.as_str()), "{topic}: {key}");
        assert!(!value.is_null() || key == "name", "{topic}: {key} is null");
    }
}

/// One entity of a discovery message.
#[expect(clippy::too_many_lines, reason = "a table")]
fn check_entity(topic: &str, platform: &str, entity: &Value) {
    let common = [
        "availability",
        "availability_mode",
        "default_entity_id",
        "device",
        "enabled_by_default",
        "entity_category",
        "icon",
        "name",
        "object_id",
        "origin",
        "platform",
        "qos",
        "unique_id",
    ];
    let own: &[&str] = match platform {
        "lock" => &[
            "command_template",
            "command_topic",
            "json_attributes_topic",
            "optimistic",
            "payload_lock",
            "payload_unlock",
            "retain",
            "state_locked",
            "state_topic",
            "state_unlocked",
            "state_unlocking",
        ],
        "switch" => &[
            "command_template",
            "command_topic",
            "json_attributes_topic",
            "optimistic",
            "payload_off",
            "payload_on",
            "retain",
            "state_off",
            "state_on",
            "state_topic",
        ],
        "button" => &["command_template", "command_topic", "device_class", "payload_press", "retain"],
        "binary_sensor" => {
            &["device_class", "json_attributes_topic", "payload_off", "payload_on", "state_topic"]
        }
        "event" => &["event_types", "state_topic"],
        "sensor" => &[
            "device_class",
            "json_attributes_topic",
            "options",
            "state_class",
            "state_topic",
            "suggested_display_precision",
            "unit_of_measurement",
            "value_template",
        ],
        "select" => &[
            "command_template",
            "command_topic",
            "optimistic",
            "options",
            "retain",
            "state_topic",
            "value_template",
        ],
        "number" => &[
            "command_topic",
            "max",
            "min",
            "mode",
            "optimistic",
            "retain",
            "state_topic",
            "step",
            "unit_of_measurement",
        ],
        other => panic!("{topic}: {other}"),
    };
    check_keys(topic, entity, &[&common[..], own].concat());
    let slug = entity["default_entity_id"].as_str().unwrap();
    let (domain, slug) = slug.split_once('.').unwrap();
    assert_eq!(domain, platform);
    assert!(!slug.is_empty() && slug.len() <= 128, "{slug}");
    assert!(slug.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{slug}");
    assert_eq!(entity["object_id"], slug);
    assert!(entity["name"].as_str().is_none_or(|name| !name.trim().is_empty()));
}

/// What Home Assistant refuses or warns of in a discovery message, by its own rules.
fn check_config(topic: &str, config: &Value) {
    let parts: Vec<&str> = topic.split('/').collect();
    let legal = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    assert!(
        matches!(parts[..], ["homeassistant", platform, id, "config"] if legal(platform) && legal(id)),
        "{topic}"
    );
    assert!(topic.len() <= 200, "{topic}");
    check_keys(topic, &config["origin"], &["name", "sw_version", "support_url"]);
    let facts =
        ["identifiers", "name", "manufacturer", "model", "sw_version", "via_device", "configuration_url"];
    check_keys(topic, &config["device"], &facts);
    assert!(!config["device"]["name"].as_str().unwrap().is_empty());
    match config.get("components") {
        Some(components) => {
            check_keys(
                topic,
                config,
                &["availability", "availability_mode", "components", "device", "origin"],
            );
            for entity in components.as_object().unwrap().values() {
                check_entity(topic, entity["platform"].as_str().unwrap(), entity);
            }
        }
        None => check_entity(topic, parts[1], config),
    }
}

#[test]
fn discovery_holds_nothing_that_home_assistant_refuses() {
    for style in [Style::Device, Style::Component] {
        for (topic, config) in discovery(style) {
            check_config(&topic, &config);
        }
    }
}

fn hostile_name() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,20}",
        "\\PC{0,600}",
        Just(String::new()),
        Just("Door".to_owned()),
        Just("+/#\0\u{1b}\u{202e}\n".to_owned()),
        Just("🚪🔒".to_owned()),
        Just("None".to_owned()),
        Just("{{ states('x') }}".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_things_are_called_the_messages_are_legal_and_the_entities_distinct(
        doors in proptest::collection::btree_map("[A-Za-z0-9-]{1,64}", hostile_name(), 1..12),
        scenarios in proptest::collection::btree_map("[A-Za-z0-9-]{1,64}", hostile_name(), 0..6),
        site in hostile_name(),
        device in any::<bool>(),
    ) {
        let style = if device { Style::Device } else { Style::Component };
        let mut bench = Bench::settled_with(settings(style), |bench| {
            bench.doors = doors.iter().map(|(id, name)| {
                let mut door = door(id, name);
                door.site = Some(Site { id: "site-1".parse().unwrap(), name: Some(site.clone()) });
                door
            }).collect();
            bench.scenarios = scenarios.iter().map(|(id, name)| {
                let mut scenario = scenario(id, &[]);
                scenario.name = Some(name.clone());
                scenario
            }).collect();
        });
        bench.take_log();
        let mut seen = BTreeSet::new();
        let mut entities = BTreeSet::new();
        // The last message of each topic counts.
        for publication in bench.published.iter().rev().filter(|p| p.topic.starts_with("homeassistant/")) {
            if !seen.insert(publication.topic.clone()) {
                continue;
            }
            let config: Value = serde_json::from_slice(&publication.payload).unwrap();
            check_config(&publication.topic, &config);
            prop_assert!(publication.payload.len() <= 32 * 1024);
            let components = config["components"].as_object();
            let all = components.map_or_else(|| vec![&config], |all| all.values().collect());
            for entity in all {
                prop_assert!(entities.insert(entity["unique_id"].to_string()), "{}", entity["unique_id"]);
                prop_assert!(entities.insert(entity["default_entity_id"].to_string()), "{}", entity["default_entity_id"]);
            }
        }
        prop_assert_eq!(entities.len(), 2 * (20 + 6 * doors.len() + 3 * scenarios.len()));
        for publication in &bench.published {
            let topic = &publication.topic;
            prop_assert!(topic.len() <= 200 && !topic.contains(['+', '#']) && !topic.chars().any(char::is_control));
        }
    }
}
