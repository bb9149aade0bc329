//! The gate: in which order a command is refused, codes, and what a lockdown forbids.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use proptest::prelude::*;
use serde_json::Value;
use tracing_subscriber::filter::LevelFilter;
use verkada2mqtt::{
    bridge::{CodeSecret, CodeSettings, DoorSettings, DuringLockdown, Input, Settings},
    hass::{CodeFacts, CodeShape, Style},
    model::{Answer, Fault, JournalEvent, LinkEvent, Now, Reason, ScenarioState},
};

use super::{
    UP, active,
    bench::{Bench, call_line, door, inventory, ms, secs, settings, start, trace, unlocked},
    compare_discovery,
    log::Lines,
    with,
};

const PIN: &str = "7391";
/// The seed of the test vectors of RFC 6238.
const SEED: &[u8] = b"12345678901234567890";

fn pin(settings: &mut Settings) {
    let secret = CodeSecret::Pin(PIN.into());
    settings.code = Some(CodeSettings { secret, unlock: true, release: true, hold: true });
}

fn with_pin(change: impl FnOnce(&mut Settings)) -> Settings {
    with(|settings| {
        pin(settings);
        change(settings);
    })
}

/// `{"action": ..., "code": ...}`; the code as JSON.
fn coded(action: &str, code: &str) -> String {
    format!("{{\"action\":\"{action}\",\"code\":{code}}}")
}

/// What becomes of a command: its outcome and reason.
fn outcome(bench: &mut Bench, target: &str, payload: &str) -> (String, String) {
    bench.command(target, payload);
    told(bench)
}

fn told(bench: &mut Bench) -> (String, String) {
    let result = bench.last_result();
    bench.take_log();
    let word = |name: &str| result[name].as_str().unwrap_or("-").to_owned();
    (word("outcome"), word("reason"))
}

fn refused(reason: &str) -> (String, String) {
    ("refused".to_owned(), reason.to_owned())
}

fn accepted() -> (String, String) {
    ("accepted".to_owned(), "-".to_owned())
}

/// The calls that wait for an answer.
fn calls(bench: &Bench) -> Vec<String> {
    bench.open.iter().map(|call| call_line(&call.request)).collect()
}

/// Answers an unlock and lets the second pass in which another would be merged with it.
fn finish_unlock(bench: &mut Bench, door: &str) {
    bench.answer(&format!("unlock {door}"), Ok(unlocked(Some(5))));
    bench.run(secs(2));
    bench.take_log();
}

// ---- order ---------------------------------------------------------------------------------------------------------

/// Faults that one command may have all at once, in the order of the gate.
const FAULTS: [Reason; 13] = [
    Reason::Stopping,
    Reason::Retained,
    Reason::LinkStale,
    Reason::TooLarge,
    Reason::UnknownTarget,
    Reason::Unsupported,
    Reason::NotAllowed,
    Reason::CodeWrong,
    Reason::ClockSkew,
    Reason::IdConflict,
    Reason::LockdownActive,
    Reason::JournalUnavailable,
    Reason::RateLimited,
];

/// What becomes of a command with these faults.
fn judged(faults: &[Reason]) -> (String, String) {
    let has = |fault| faults.contains(&fault);
    let others = ["d-2", "d-3", "d-4", "d-5", "d-6"];
    let mut bench = Bench::settled_with(
        with_pin(|settings| {
            for id in others {
                let own = DoorSettings { code: Some(false), ..DoorSettings::default() };
                settings.door_settings.insert(id.parse().unwrap(), own);
            }
        }),
        |bench| {
            bench.doors.extend(others.map(|id| door(id, id)));
            bench.doors[0].api_control = Some(!has(Reason::NotAllowed));
            active(bench, has(Reason::LockdownActive));
        },
    );
    bench.command("door/d-2", "{\"action\":\"unlock\",\"id\":\"used\"}");
    bench.answer("unlock d-2", Ok(unlocked(Some(5))));
    if has(Reason::RateLimited) {
        for _ in 0..4 {
            bench.run(ms(1_001));
            for id in others {
                bench.command(&format!("door/{id}"), "UNLOCK");
                while let Some(call) = bench.open.pop() {
                    bench.reply(call.id, Ok(unlocked(Some(5))));
                }
            }
        }
    }
    if has(Reason::JournalUnavailable) {
        bench.journals = false;
        bench.input(Input::Journal(JournalEvent::Broken("no space".to_owned())));
    }
    if has(Reason::Stopping) {
        bench.input(Input::Stop);
    }
    let payload = serde_json::json!({
        "action": if has(Reason::Unsupported) { "lock" } else { "unlock" },
        "id": if has(Reason::IdConflict) { "used" } else { "new" },
        "code": if has(Reason::CodeWrong) { "0000" } else { PIN },
        "issued_at": (bench.now.utc + secs(if has(Reason::ClockSkew) { 60 } else { 0 })).to_string(),
    });
    let room = if has(Reason::TooLarge) { 4_096 } else { 0 };
    let target = if has(Reason::UnknownTarget) { "door/d-9" } else { "door/d-1" };
    bench.take_log();
    bench.command_with(target, &format!("{payload}{}", " ".repeat(room)), |message| {
        message.retain = has(Reason::Retained);
        if has(Reason::LinkStale) {
            message.echo_sent_at = None;
        }
    });
    told(&mut bench)
}

#[test]
fn every_fault_alone_is_told_as_itself() {
    assert_eq!(judged(&[]), accepted());
    for fault in FAULTS {
        assert_eq!(judged(&[fault]), refused(fault.word()));
    }
    assert!(FAULTS.iter().map(|fault| fault.explanation().check).is_sorted());
}

proptest! {
    #[test]
    fn of_several_faults_the_earliest_is_told(first in 0..FAULTS.len(), further in any::<[bool; 13]>()) {
        let faults: Vec<Reason> = FAULTS
            .into_iter()
            .zip(further)
            .enumerate()
            .filter(|(at, (_, more))| *at == first || (*at > first && *more))
            .map(|(_, (fault, _))| fault)
            .collect();
        prop_assert_eq!(judged(&faults), refused(FAULTS[first].word()), "{:?}", faults);
    }
}

#[test]
fn read_only_refuses_everything_and_offers_no_button() {
    let settings = with(|settings| settings.commands.read_only = true);
    let mut bench = Bench::settled_with(settings, |bench| bench.doors[0].api_control = Some(false));
    for (target, word) in [("door/d-1", "UNLOCK"), ("scenario/s-1", "ON"), ("scenario/s-1", "OFF")] {
        assert_eq!(outcome(&mut bench, target, word), refused("read_only"));
    }
    let config = bench.retained()["homeassistant/device/verkada2mqtt_door_d-1/config"].clone();
    assert!(!String::from_utf8(config.to_vec()).unwrap().contains("\"button\""));
}

#[test]
fn before_the_clock_is_set_a_stamped_command_opens_nothing_and_says_by_how_much_it_is_off() {
    let set = start();
    let unset = Now { utc: "1970-01-01T00:00:20Z".parse().unwrap(), ..set };
    let mut bench = Bench::remembering(settings(Style::Device), unset, None);
    bench.join();
    bench.run(secs(5));
    bench.take_log();
    let stamped = |id: &str, at: jiff::Timestamp| {
        format!(r#"{{"action": "unlock", "id": "{id}", "issued_at": "{at}"}}"#)
    };
    bench.command("door/d-1", &stamped("early", set.utc));
    let text = bench.last_result()["message"].as_str().unwrap().to_owned();
    assert!(text.contains("1795"), "it tells by how many seconds: {text}");
    assert_eq!(told(&mut bench), refused("clock_skew"));
    assert_eq!(calls(&bench), Vec::<String>::new());
    // The clock is set by the network's.
    bench.now.utc = set.utc + secs(30);
    bench.run(ms(100));
    bench.take_log();
    let at = bench.now.utc;
    assert_eq!(outcome(&mut bench, "door/d-1", &stamped("right", at)), accepted());
    finish_unlock(&mut bench, "d-1");
    assert_eq!(told(&mut bench).0, "done");
}

/// The time of a suspended machine counts as soon as it is awake.
#[test]
fn what_waited_while_the_machine_was_suspended_opens_nothing() {
    let mut bench = Bench::settled();
    let before = bench.now.mono;
    bench.now.mono += secs(300);
    bench.now.utc += secs(300);
    bench.command_with("door/d-1", "UNLOCK", |message| message.echo_sent_at = Some(before));
    assert_eq!(told(&mut bench), refused("link_stale"));
    assert_eq!(calls(&bench), Vec::<String>::new());
}

// ---- codes ---------------------------------------------------------------------------------------------------------

#[test]
fn another_decision_of_the_owner_holds_for_what_comes_then() {
    let mut bench = Bench::settled();
    let lock = |bench: &Bench| {
        let config = bench.retained()["homeassistant/device/verkada2mqtt_door_d-1/config"].clone();
        String::from_utf8(config.to_vec()).unwrap()
    };
    assert!(!lock(&bench).contains("code_format"));
    assert_eq!(outcome(&mut bench, "door/d-1", "UNLOCK"), accepted());
    bench.adopt(with_pin(|settings| {
        settings.commands.release = false;
        settings.announcer.code =
            CodeFacts { shape: Some(CodeShape::Digits(4)), unlock: true, ..CodeFacts::default() };
    }));
    finish_unlock(&mut bench, "d-1");
    assert_eq!(told(&mut bench).0, "done", "what was accepted is not judged again");
    assert!(lock(&bench).contains(r#""code_format":"^\\d{4}$""#), "{}", lock(&bench));
    assert_eq!(outcome(&mut bench, "door/d-1", "UNLOCK"), refused("code_required"));
    assert_eq!(outcome(&mut bench, "scenario/s-1", "OFF"), refused("not_allowed"));
    assert_eq!(outcome(&mut bench, "door/d-1", &coded("unlock", "7391")), accepted());
    finish_unlock(&mut bench, "d-1");
    bench.adopt(with(|_| {}));
    assert!(!lock(&bench).contains("code_format"));
    assert_eq!(outcome(&mut bench, "door/d-1", "UNLOCK"), accepted());
}

#[test]
fn opening_needs_the_code_and_an_activate_never_does() {
    let settings = with_pin(|settings| {
        let own = DoorSettings { code: Some(false), ..DoorSettings::default() };
        settings.door_settings.insert("d-2".parse().unwrap(), own);
    });
    let mut bench = Bench::settled_with(settings, |bench| bench.doors.push(door("d-2", "Back Door")));
    assert_eq!(outcome(&mut bench, "door/d-1", "UNLOCK"), refused("code_required"));
    assert_eq!(outcome(&mut bench, "door/d-1", &coded("unlock", "\"\"")), refused("code_required"));
    assert_eq!(outcome(&mut bench, "door/d-1", &coded("unlock", "\"73910\"")), refused("code_wrong"));
    assert_eq!(outcome(&mut bench, "scenario/s-1", "OFF"), refused("code_required"));
    assert_eq!(calls(&bench), Vec::<String>::new());
    for code in ["\"7391\"", "7391"] {
        assert_eq!(outcome(&mut bench, "door/d-1", &coded("unlock", code)), accepted());
        finish_unlock(&mut bench, "d-1");
    }
    assert_eq!(outcome(&mut bench, "door/d-2", "UNLOCK"), accepted(), "a door that is exempt");
    finish_unlock(&mut bench, "d-2");
    assert_eq!(outcome(&mut bench, "scenario/s-1", &coded("release", "\"7391\"")).0, "done");
    bench.run(secs(5));
    assert_eq!(outcome(&mut bench, "scenario/s-1", &coded("activate", "\"0000\"")), accepted());
    assert_eq!(calls(&bench), ["activate s-1"]);
}

#[test]
fn wrong_codes_lock_their_target_for_longer_each_time_but_never_an_activate() {
    let mut bench = Bench::settled_with(with_pin(|_| {}), |bench| bench.doors.push(door("d-2", "Back Door")));
    let (right, wrong) = (coded("unlock", "\"7391\""), coded("unlock", "\"0000\""));
    for lasts in [60, 120, 240, 480, 900, 900] {
        for _ in 0..5 {
            assert_eq!(outcome(&mut bench, "door/d-1", &wrong), refused("code_wrong"));
        }
        bench.run(ms(lasts * 1_000 - 1));
        assert_eq!(outcome(&mut bench, "door/d-1", &right), refused("code_locked"), "{lasts} s");
        assert_eq!(bench.last_result()["message"], "too many wrong codes came; none is looked at for 1 s");
        bench.take_log();
        bench.run(ms(1));
        assert_eq!(outcome(&mut bench, "door/d-1", &right), accepted(), "{lasts} s");
        finish_unlock(&mut bench, "d-1");
    }
    for _ in 0..5 {
        bench.command("door/d-1", &wrong);
    }
    assert_eq!(outcome(&mut bench, "door/d-2", &right), accepted(), "the lock is of one door");
    finish_unlock(&mut bench, "d-2");
    for _ in 0..5 {
        bench.command("door/d-2", &wrong);
    }
    // Ten in all: nothing that needs a code goes, and an activate does.
    assert_eq!(outcome(&mut bench, "scenario/s-1", &coded("release", "\"7391\"")), refused("code_locked"));
    assert_eq!(outcome(&mut bench, "scenario/s-1", &coded("activate", "\"0000\"")), accepted());
    assert_eq!(calls(&bench), ["activate s-1"]);
}

#[test]
fn wrong_codes_that_come_slowly_do_not_lock_and_old_locks_are_forgiven() {
    let mut bench = Bench::settled_with(with_pin(|_| {}), |_| {});
    let (right, wrong) = (coded("unlock", "\"7391\""), coded("unlock", "\"0000\""));
    for _ in 0..10 {
        assert_eq!(outcome(&mut bench, "door/d-1", &wrong), refused("code_wrong"));
        bench.run(secs(15));
    }
    for _ in 0..2 {
        bench.run(secs(3_600));
        for _ in 0..5 {
            bench.command("door/d-1", &wrong);
        }
        bench.run(secs(60));
        assert_eq!(outcome(&mut bench, "door/d-1", &right), accepted());
        finish_unlock(&mut bench, "d-1");
    }
}

/// A bench with one-time codes that began so long before a moment of the test vectors of RFC 6238.
fn totp_bench(before: Duration) -> Bench {
    let settings = with(|settings| {
        let secret = CodeSecret::Totp(SEED.to_vec().into());
        settings.code = Some(CodeSettings { secret, unlock: true, release: true, hold: true });
    });
    let mut now = start();
    now.utc = jiff::Timestamp::from_second(1_111_111_109).unwrap() - before;
    let mut bench = Bench::remembering(settings, now, None);
    bench.join();
    bench.run(before.checked_sub(secs(1)).unwrap());
    bench.take_log();
    bench
}

#[test]
fn a_one_time_code_is_taken_once_and_one_step_to_either_side() {
    // Its codes: 081804 until the next second but one, then 050471.
    let mut bench = totp_bench(secs(100));
    let unlock = |code: &str| coded("unlock", code);
    assert_eq!(outcome(&mut bench, "door/d-1", &unlock("81804")), refused("code_wrong"), "a zero is missing");
    assert_eq!(outcome(&mut bench, "door/d-1", &unlock("\"081804\"")), accepted());
    finish_unlock(&mut bench, "d-1");
    assert_eq!(outcome(&mut bench, "door/d-1", &unlock("\"081804\"")), refused("code_wrong"), "used");
    assert!(bench.last_result()["message"].as_str().unwrap().contains("used already"));
    assert_eq!(outcome(&mut bench, "door/d-1", &unlock("\"050471\"")), accepted());
    finish_unlock(&mut bench, "d-1");
    // Used codes are no wrong ones: they lock nothing.
    for _ in 0..10 {
        assert_eq!(outcome(&mut bench, "door/d-1", &unlock("\"050471\"")), refused("code_wrong"));
    }

    let mut bench = totp_bench(secs(100));
    bench.run(secs(30));
    bench.take_log();
    assert_eq!(outcome(&mut bench, "door/d-1", &unlock("\"081804\"")), accepted(), "one step late");
    let mut bench = totp_bench(secs(100));
    bench.run(secs(31));
    bench.take_log();
    assert_eq!(outcome(&mut bench, "door/d-1", &unlock("\"081804\"")), refused("code_wrong"), "two steps");
}

#[test]
fn a_restart_does_not_make_a_used_code_good_again() {
    let mut bench = totp_bench(secs(2));
    for code in ["\"081804\"", "\"050471\""] {
        assert_eq!(outcome(&mut bench, "door/d-1", &coded("unlock", code)), refused("code_wrong"));
    }
}

#[test]
fn a_second_copy_of_a_command_with_a_one_time_code_is_a_duplicate() {
    let mut bench = totp_bench(secs(100));
    let command = "{\"action\":\"unlock\",\"id\":\"a\",\"code\":\"081804\"}";
    assert_eq!(outcome(&mut bench, "door/d-1", command), accepted());
    finish_unlock(&mut bench, "d-1");
    assert_eq!(outcome(&mut bench, "door/d-1", command), ("merged".to_owned(), "duplicate".to_owned()));
    assert_eq!(calls(&bench), Vec::<String>::new());
}

#[test]
fn no_code_is_told_anywhere() {
    let (lines, guard) = Lines::listen_at(LevelFilter::TRACE);
    let settings = with_pin(|_| {});
    let mut told = format!("{settings:?}");
    let mut bench = Bench::settled_with(settings, |_| {});
    for code in ["\"7391\"", "7391", "\"73910000\"", "[7391]", "-7391", "7391.5", "{\"7391\":1}"] {
        for target in ["door/d-1", "scenario/s-1", "door/d-9"] {
            let verb = if target.starts_with("door") { "unlock" } else { "release" };
            for payload in [coded(verb, code), coded("7391", code), coded(verb, code) + "x"] {
                bench.command(target, &payload);
                bench.run(secs(2));
            }
        }
        bench.command("door/d-1", "7391");
    }
    for misplaced in [
        r#""issued_at":"7391""#,
        r#""issued_at":-7391.5"#,
        r#""issued_at":{"7391":1}"#,
        r#""by":7391"#,
        r#""id":["7391"]"#,
        r#""id":7391"#,
        r#""as":"7391""#,
        r#""7391":1"#,
        r#""cod7391":1"#,
        r#""code 7391, expected one":1"#,
        r#""issued_at":"7391, expected a code""#,
        r#""id":"7391\u0007""#,
    ] {
        for (topic, action) in [("", r#""action":"unlock""#), ("/hold", r#""mode":"unlocked""#)] {
            bench.command(&format!("door/d-1{topic}"), &format!("{{{action},{misplaced}}}"));
            bench.command(&format!("door/d-1{topic}"), &format!("{{{misplaced},{action}}}"));
            bench.run(secs(60));
        }
    }
    for span in [r#""for":"7391""#, r#""for":-7391"#, r#""for":0.7391"#, r#""until":"7391""#] {
        bench.command("door/d-1/hold", &format!(r#"{{"mode":"unlocked",{span}}}"#));
        bench.run(secs(60));
    }
    for _ in 0..5 {
        bench.command("door/d-1", &coded("unlock", "\"73910000\""));
    }
    bench.input(Input::Securing(LinkEvent::Message(
        bench.message("verkada/scenario/s-1/set", &coded("release", "\"7391\"")),
    )));
    write!(told, "{:?} {:?}", bench.bridge, bench.records).unwrap();
    let message = bench.message("verkada/door/d-1/set", &coded("unlock", "\"7391\""));
    write!(told, "{:?}", Input::Link(LinkEvent::Message(message))).unwrap();
    assert!(!bench.records.is_empty());
    for publication in &bench.published {
        told += std::str::from_utf8(&publication.payload).unwrap();
    }
    told += &lines.take().join("\n");
    drop(guard);
    assert!(told.contains("code_wrong") && told.contains("too many wrong codes"));
    assert_eq!(told.find(PIN), None);
    bench.take_log();
}

// ---- repeats and rates ---------------------------------------------------------------------------------------------

#[test]
fn merged_commands_are_bounded_and_what_is_beyond_is_not_remembered() {
    let mut bench = Bench::settled();
    assert_eq!(outcome(&mut bench, "door/d-1", "UNLOCK"), accepted());
    let merged = || ("merged".to_owned(), "merged".to_owned());
    for number in 1..=5 {
        let command = format!("{{\"action\":\"unlock\",\"id\":\"m-{number}\"}}");
        assert_eq!(outcome(&mut bench, "door/d-1", &command), merged());
    }
    let beyond = "{\"action\":\"unlock\",\"id\":\"m-6\"}";
    assert_eq!(outcome(&mut bench, "door/d-1", beyond), refused("rate_limited"));
    assert_eq!(calls(&bench), ["unlock d-1"]);
    finish_unlock(&mut bench, "d-1");
    let duplicate = ("merged".to_owned(), "duplicate".to_owned());
    let within = "{\"action\":\"unlock\",\"id\":\"m-5\"}";
    assert_eq!(outcome(&mut bench, "door/d-1", within), duplicate);
    assert_eq!(outcome(&mut bench, "door/d-1", beyond), accepted());
}

#[test]
fn a_lockdown_under_way_is_never_told_to_be_refused() {
    let mut bench = Bench::settled();
    assert_eq!(outcome(&mut bench, "scenario/s-1", "ON"), accepted());
    for _ in 0..15 {
        let merged = ("merged".to_owned(), "merged".to_owned());
        assert_eq!(outcome(&mut bench, "scenario/s-1", "ON"), merged);
    }
    assert_eq!(bench.retained()["verkada/bridge/lockdown_alarm"], "OFF");
    assert_eq!(calls(&bench), ["activate s-1"]);
}

#[test]
fn what_turned_a_repeat_away_does_not_hide_how_the_command_ended() {
    let mut bench = Bench::settled_with(with_pin(|_| {}), |_| {});
    let command = |code: &str| format!("{{\"action\":\"unlock\",\"id\":\"a\",\"code\":\"{code}\"}}");
    assert_eq!(outcome(&mut bench, "door/d-1", &command(PIN)), accepted());
    finish_unlock(&mut bench, "d-1");
    assert_eq!(outcome(&mut bench, "door/d-1", &command("0000")), refused("code_wrong"));
    bench.command("door/d-1", &command(PIN));
    let results: Vec<String> =
        bench.take_log().into_iter().filter(|line| line.contains("/result ")).collect();
    assert_eq!(results, ["!door/d-1/result unlock done -", "!door/d-1/result unlock merged duplicate"]);
}

#[test]
fn wrong_codes_raise_no_alarm_of_a_lockdown() {
    let mut bench = Bench::settled_with(with_pin(|_| {}), |_| {});
    for _ in 0..12 {
        bench.command("scenario/s-1", &coded("release", "\"0000\""));
    }
    assert_eq!(told(&mut bench), refused("code_locked"));
    assert_eq!(bench.retained()["verkada/bridge/lockdown_alarm"], "OFF");
}

// ---- lockdown ------------------------------------------------------------------------------------------------------

#[test]
fn a_door_that_a_lockdown_locks_is_not_unlocked() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.doors.push(door("d-2", "Back Door"));
        active(bench, true);
    });
    assert_eq!(outcome(&mut bench, "door/d-1", "UNLOCK"), refused("lockdown_active"));
    assert_eq!(outcome(&mut bench, "door/d-2", "UNLOCK"), accepted(), "a door that it does not lock");
    finish_unlock(&mut bench, "d-2");
    // A state that nobody can read is taken for the last one that somebody could.
    bench.scenarios[0].state = ScenarioState::Unknown(Some("PENDING".to_owned()));
    bench.run(secs(6));
    bench.take_log();
    assert_eq!(outcome(&mut bench, "door/d-1", "UNLOCK"), refused("lockdown_active"));
    bench.auto = false;
    bench.run(secs(600));
    assert_eq!(outcome(&mut bench, "door/d-1", "UNLOCK"), refused("lockdown_active"), "stale");
    bench.open.clear();
    bench.auto = true;
    assert_eq!(calls(&bench), Vec::<String>::new());

    let mut bench = Bench::settled_with(settings(Style::Device), |bench| active(bench, true));
    active(&mut bench, false);
    bench.run(secs(6));
    bench.take_log();
    assert_eq!(outcome(&mut bench, "door/d-1", "UNLOCK"), accepted(), "it was released");
}

/// A core whose doors were read, and whose scenarios were answered like this.
fn with_scenarios_answered(settings: Settings, result: Option<Result<Answer, Fault>>) -> Bench {
    let mut bench = Bench::new(settings);
    bench.auto = false;
    bench.link(UP);
    bench.link(LinkEvent::Proven);
    let doors = inventory(bench.doors.clone());
    bench.answer("doors", Ok(Answer::Doors(doors)));
    if let Some(result) = result {
        bench.answer("scenarios", result);
    }
    bench.take_log();
    bench
}

#[test]
fn before_the_scenarios_were_read_a_lockdown_may_be_active() {
    let unlock = r#"{"action":"unlock","id":"x"}"#;
    let failed = || Some(Err(Fault::Unclear(trace())));
    for result in [None, failed()] {
        let mut bench = with_scenarios_answered(settings(Style::Device), result);
        assert_eq!(outcome(&mut bench, "door/d-1", unlock), refused("lockdown_unknown"));
        bench.auto = true;
        if bench.open.iter().any(|call| call_line(&call.request) == "scenarios") {
            let list = inventory(bench.scenarios.clone());
            bench.answer("scenarios", Ok(Answer::Scenarios(list)));
        }
        bench.run(secs(10));
        bench.take_log();
        assert_eq!(outcome(&mut bench, "door/d-1", unlock), accepted(), "the id was not used up");
    }
    // An empty list has none, and who may not list scenarios never knows of any.
    let empty = Ok(Answer::Scenarios(inventory(Vec::new())));
    for result in [empty, Err(Fault::Forbidden(trace()))] {
        let mut bench = with_scenarios_answered(settings(Style::Device), Some(result));
        assert_eq!(outcome(&mut bench, "door/d-1", unlock), accepted());
    }
    // The owner decides otherwise.
    let allow = with(|settings| settings.commands.during_lockdown = DuringLockdown::Allow);
    let mut bench = with_scenarios_answered(allow, failed());
    assert_eq!(outcome(&mut bench, "door/d-1", unlock), accepted());
    let code = with_pin(|settings| {
        settings.commands.during_lockdown = DuringLockdown::Code;
        settings.code.as_mut().unwrap().unlock = false;
    });
    let mut bench = with_scenarios_answered(code, failed());
    assert_eq!(outcome(&mut bench, "door/d-1", unlock), refused("code_required"));
    assert_eq!(outcome(&mut bench, "door/d-1", &coded("unlock", "\"7391\"")), accepted());
}

#[test]
fn an_activate_that_is_under_way_forbids_at_once_what_it_locks() {
    let mut bench = Bench::settled();
    assert_eq!(outcome(&mut bench, "scenario/s-1", "ON"), accepted());
    assert_eq!(outcome(&mut bench, "door/d-1", "UNLOCK"), refused("lockdown_active"));
    assert_eq!(calls(&bench), ["activate s-1"]);
    bench.answer("activate s-1", Ok(Answer::Taken));
    bench.run(secs(2));
    assert_eq!(outcome(&mut bench, "door/d-1", "UNLOCK"), refused("lockdown_active"), "no read shows it yet");
}

#[test]
fn a_lockdown_can_be_opened_with_the_code_or_not_at_all_or_freely() {
    let mut bench = Bench::settled_with(
        with(|settings| settings.commands.during_lockdown = DuringLockdown::Allow),
        |bench| active(bench, true),
    );
    assert_eq!(outcome(&mut bench, "door/d-1", "UNLOCK"), accepted());

    let settings = with_pin(|settings| {
        settings.commands.during_lockdown = DuringLockdown::Code;
        settings.code.as_mut().unwrap().unlock = false;
    });
    let mut bench = Bench::settled_with(settings, |bench| {
        bench.doors.push(door("d-2", "Back Door"));
        active(bench, true);
    });
    assert_eq!(outcome(&mut bench, "door/d-2", "UNLOCK"), accepted(), "not locked by it");
    assert_eq!(outcome(&mut bench, "door/d-1", "UNLOCK"), refused("code_required"));
    assert_eq!(outcome(&mut bench, "door/d-1", &coded("unlock", "\"1111\"")), refused("code_wrong"));
    assert_eq!(outcome(&mut bench, "door/d-1", &coded("unlock", "\"7391\"")), accepted());

    let mut bench = Bench::settled_with(with_pin(|_| {}), |bench| active(bench, true));
    assert_eq!(outcome(&mut bench, "door/d-1", &coded("unlock", "\"7391\"")), refused("lockdown_active"));
}

// ---- Home Assistant ------------------------------------------------------------------------------------------------

fn announced(style: Style, code: CodeFacts) -> BTreeMap<String, Value> {
    let mut settings = settings(style);
    settings.announcer.code = code;
    let mut bench = Bench::settled_with(settings, |bench| bench.doors.push(door("d-2", "Back Door")));
    bench.take_log();
    let configs = bench.published.iter().filter(|p| p.topic.starts_with("homeassistant/"));
    configs.map(|p| (p.topic.clone(), serde_json::from_slice(&p.payload).unwrap())).collect()
}

#[test]
fn home_assistant_asks_for_the_code_where_it_is_needed() {
    let code = CodeFacts {
        shape: Some(CodeShape::Digits(4)),
        unlock: true,
        release: true,
        hold: true,
        lockdown: true,
        doors: BTreeMap::from([("d-2".parse().unwrap(), false)]),
    };
    for (style, name) in [(Style::Device, "device_with_code"), (Style::Component, "component_with_code")] {
        compare_discovery(name, &announced(style, code.clone()));
    }
    let device = announced(Style::Device, code);
    let entity = |device_name: &str, key: &str| {
        let topic = format!("homeassistant/device/verkada2mqtt_{device_name}/config");
        device[&topic]["components"][key].clone()
    };
    assert_eq!(entity("door_d-1", "lock")["code_format"], r"^\d{4}$");
    assert_eq!(entity("door_d-1", "unlock"), Value::Null, "a button has no field for a code");
    assert_eq!(entity("door_d-2", "lock")["code_format"], r"^(\d{4})?$", "only during a lockdown");
    assert_eq!(entity("door_d-2", "unlock")["platform"], "button");
    assert_eq!(entity("site_site-1", "scenario_s-1")["platform"], "switch");
    let panel = entity("site_site-1", "scenario_s-1_panel");
    assert_eq!(panel["platform"], "alarm_control_panel");
    assert_eq!(panel["supported_features"], serde_json::json!(["arm_away"]));
    assert_eq!(panel["code"], "REMOTE_CODE");

    let text = CodeFacts { shape: Some(CodeShape::Text), unlock: true, ..CodeFacts::default() };
    let device = announced(Style::Device, text);
    let lock = &device["homeassistant/device/verkada2mqtt_door_d-1/config"]["components"]["lock"];
    assert_eq!(lock["code_format"], "^.{4,32}$");
    let site = &device["homeassistant/device/verkada2mqtt_site_site-1/config"]["components"];
    assert_eq!(site["scenario_s-1_panel"], Value::Null, "release needs none");
}
