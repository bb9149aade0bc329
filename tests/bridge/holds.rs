//! Holds: what is written into the gateway's own calendars, when, and what is shown meanwhile.

use super::*;
use jiff::Timestamp;
use verkada2mqtt::bridge::DuringLockdown;
use verkada2mqtt::hass::{CodeFacts, CodeShape};
use verkada2mqtt::model::{
    Calendar, Exception, ExceptionMode, Hours, JournalEvent, RecordNumber, Request, Stage,
};

fn holding() -> Settings {
    with(|settings| {
        settings.commands.hold = true;
        settings.polls.calendars = Some(secs(60));
    })
}

fn zoned(bench: &mut Bench) {
    bench.doors[0].time_zone = Some("Europe/Amsterdam".to_owned());
}

/// A settled core that may hold doors.
fn ready() -> Bench {
    ready_with(holding())
}

fn ready_with(settings: Settings) -> Bench {
    Bench::settled_with(settings, zoned)
}

const NAME: &str = "verkada2mqtt verkada d-1";

fn hold(bench: &mut Bench, payload: &str) {
    bench.command("door/d-1/hold", payload);
}

/// A door that is held unlocked for half an hour from the beginning.
fn held() -> Bench {
    held_with(holding())
}

fn held_with(settings: Settings) -> Bench {
    let mut bench = ready_with(settings);
    hold(&mut bench, r#"{"mode":"unlocked","for":30,"id":"h-1"}"#);
    bench.carry_out("create [verkada2mqtt verkada d-1]: unlocked 2026-11-25 13:00-13:31");
    bench.take_log();
    assert_eq!(state(&bench), ("UNLOCKED".to_owned(), "unlocked".to_owned()));
    bench
}

fn shown_hold(bench: &Bench) -> Value {
    serde_json::from_str(&bench.held("door/d-1/hold").unwrap()).unwrap()
}

fn with_assumed() -> Settings {
    Settings { assume_locked: true, ..holding() }
}

/// What is shown of the lock, and of the hold.
fn state(bench: &Bench) -> (String, String) {
    let hold = shown_hold(bench);
    let mode = hold["mode"].as_str().unwrap_or("unknown").to_owned();
    (bench.held("door/d-1/state").unwrap(), mode)
}

fn until(bench: &Bench) -> Option<Timestamp> {
    shown_hold(bench)["until"].as_str().map(|text| text.parse().unwrap())
}

/// How the last command ended.
fn ended(bench: &mut Bench) -> (String, String) {
    bench.take_log();
    let result = bench.last_result();
    let word = |member: &str| result[member].as_str().unwrap_or("-").to_owned();
    (word("outcome"), word("reason"))
}

fn end(outcome: &str, reason: &str) -> (String, String) {
    (outcome.to_owned(), reason.to_owned())
}

fn open_writes(bench: &Bench) -> Vec<String> {
    bench.open.iter().map(|call| call_line(&call.request)).collect()
}

/// The entities of the door, by key; the config of its device where `style` is that of devices.
fn announced(settings: Settings) -> BTreeMap<String, Value> {
    let mut bench = ready_with(settings);
    bench.take_log();
    let configs =
        bench.published.iter().filter(|p| p.topic.starts_with("homeassistant/") && p.topic.contains("d-1"));
    configs.map(|p| (p.topic.clone(), serde_json::from_slice(&p.payload).unwrap())).collect()
}

#[test]
fn home_assistant_is_told_how_a_door_may_be_held() {
    for (style, name) in [(Style::Device, "device_with_hold"), (Style::Component, "component_with_hold")] {
        let mut settings = holding();
        settings.announcer.style = style;
        let configs = announced(settings);
        for (topic, config) in &configs {
            check_config(topic, config);
        }
        compare_discovery(name, &configs);
    }
    // A mode has no field for a code; what ends an unlocked hold needs none.
    let mut settings = holding();
    settings.announcer.code =
        CodeFacts { shape: Some(CodeShape::Digits(4)), hold: true, ..CodeFacts::default() };
    let configs = announced(settings);
    let components = configs.values().next().unwrap()["components"].as_object().unwrap().clone();
    let has = |key: &str| components.contains_key(key);
    assert_eq!(
        [has("hold"), has("hold_minutes"), has("hold_until"), has("end_hold")],
        [false, false, true, true]
    );
}

#[test]
fn a_hold_is_stored_to_the_minute_and_ends_to_the_second() {
    let mut bench = ready();
    assert_eq!(state(&bench), ("None".to_owned(), "schedule".to_owned()));
    bench.run(secs(20));
    hold(&mut bench, r#"{"mode":"unlocked","for":30}"#);
    bench.expect(&[
        "!door/d-1/result hold accepted -",
        ">create [verkada2mqtt verkada d-1]: unlocked 2026-11-25 13:00-13:31",
    ]);
    bench.carry_out("create [verkada2mqtt verkada d-1]: unlocked 2026-11-25 13:00-13:31");
    let log = bench.take_log();
    assert!(log.contains(&"!door/d-1/result hold done -".to_owned()), "{log:?}");
    assert_eq!(state(&bench), ("UNLOCKED".to_owned(), "unlocked".to_owned()));
    let ends = later(bench.now, secs(30 * 60)).utc;
    assert_eq!(until(&bench), Some(ends));
    bench.run(secs(30 * 60 - 1));
    assert_eq!(state(&bench), ("UNLOCKED".to_owned(), "unlocked".to_owned()));
    assert_eq!(open_writes(&bench), Vec::<String>::new());
    bench.run(secs(2));
    assert_eq!(open_writes(&bench), ["delete cal-1 ex-2"], "the vendor would end it 40 s later");
    bench.carry_out("delete cal-1 ex-2");
    bench.take_log();
    assert_eq!(state(&bench), ("None".to_owned(), "schedule".to_owned()));
    assert_eq!(bench.shelf.calendars[0].exceptions, []);
}

#[test]
fn a_hold_is_extended_in_place_and_ended_early() {
    let mut bench = held();
    bench.run(secs(600));
    bench.take_log();
    hold(&mut bench, r#"{"mode":"unlocked","until":"2026-11-25T23:30:00Z"}"#);
    let write = "write cal-1: unlocked 2026-11-25 13:10-23:59, unlocked 2026-11-26 00:00-00:30";
    bench.carry_out(write);
    assert_eq!(ended(&mut bench), end("done", "-"));
    let ids: Vec<_> =
        bench.shelf.calendars[0].exceptions.iter().map(|e| e.id.clone().unwrap().to_string()).collect();
    assert_eq!(ids, ["ex-2", "ex-3"], "the first one goes on, so that the door does not lock in between");
    for payload in ["END", "SCHEDULE", r#"{"mode":"schedule","id":"x"}"#] {
        assert!(state(&bench).1 == "unlocked", "{payload}");
        hold(&mut bench, payload);
        bench.carry_out("delete cal-1 ex-2");
        bench.carry_out("delete cal-1 ex-3");
        assert_eq!(ended(&mut bench), end("done", "-"), "{payload}");
        assert_eq!(bench.last_result()["action"], "lock", "it keeps people out");
        assert_eq!(state(&bench), ("None".to_owned(), "schedule".to_owned()));
        // Again for the next word.
        let shelf = bench.shelf.clone();
        bench = held();
        hold(&mut bench, r#"{"mode":"unlocked","until":"2026-11-25T23:30:00Z"}"#);
        let write = "write cal-1: unlocked 2026-11-25 13:00-23:59, unlocked 2026-11-26 00:00-00:30";
        bench.carry_out(write);
        bench.take_log();
        drop(shelf);
    }
}

#[test]
fn lock_ends_a_hold_of_ours_and_nothing_else() {
    let mut bench = held();
    bench.command("door/d-1", "LOCK");
    bench.carry_out("delete cal-1 ex-2");
    assert_eq!(ended(&mut bench), end("done", "-"));
    bench.command("door/d-1", "LOCK");
    assert_eq!(ended(&mut bench), end("refused", "unsupported"));
    // What ends a hold that keeps people out lets them in.
    hold(&mut bench, "LOCKED");
    assert_eq!(bench.last_result()["action"], "lock");
    bench.carry_out("write cal-1: locked 2026-11-25 13:00-13:31");
    assert_eq!(ended(&mut bench), end("done", "-"));
    assert_eq!(state(&bench), ("LOCKED".to_owned(), "locked".to_owned()));
    bench.command("door/d-1", "LOCK");
    assert_eq!(ended(&mut bench), end("refused", "unsupported"));
    hold(&mut bench, "END");
    assert_eq!(bench.last_result()["action"], "hold");
    bench.carry_out("delete cal-1 ex-3");
    assert_eq!(ended(&mut bench), end("done", "-"));
    assert_eq!(state(&bench), ("None".to_owned(), "schedule".to_owned()));
}

#[test]
fn a_hold_of_unknown_fate_is_looked_for_and_never_written_again() {
    let create = "create [verkada2mqtt verkada d-1]: unlocked 2026-11-25 13:00-13:31";
    for done in [true, false] {
        let mut bench = ready();
        hold(&mut bench, r#"{"mode":"unlocked","for":30}"#);
        if done {
            let request = bench.open[0].request.clone();
            bench.shelf.carry_out(&request).unwrap();
        }
        bench.answer(create, Err(Fault::Unclear(trace())));
        bench.run(secs(20));
        let expected = if done { end("done", "-") } else { end("unknown", "no_proof") };
        assert_eq!(ended(&mut bench), expected);
        assert_eq!(open_writes(&bench), Vec::<String>::new());
        let shown = if done { "unlocked" } else { "schedule" };
        assert_eq!(state(&bench).1, shown);
        // What shows up later is shown as well.
        if !done {
            bench.shelf.carry_out(&Request::CreateCalendar(content(&["unlocked"]))).unwrap();
            bench.run(secs(60));
            assert_eq!(state(&bench), ("UNLOCKED".to_owned(), "unlocked".to_owned()));
            bench.take_log();
        }
    }
}

#[test]
fn what_happened_in_the_minute_before_a_hold_says_nothing_of_it_in_a_later_run_either() {
    let mut bench = ready();
    bench.run(secs(20));
    bench.events.push(event("e-1", EventKind::Locked, "d-1", bench.now.utc));
    bench.run(secs(10));
    hold(&mut bench, r#"{"mode":"unlocked","for":30}"#);
    bench.carry_out("create [verkada2mqtt verkada d-1]: unlocked 2026-11-25 13:00-13:31");
    bench.take_log();
    assert_eq!(state(&bench), ("UNLOCKED".to_owned(), "unlocked".to_owned()));
    bench.restart(holding(), secs(5));
    bench.join();
    bench.take_log();
    assert_eq!(state(&bench), ("UNLOCKED".to_owned(), "unlocked".to_owned()));
}

fn content(modes: &[&str]) -> verkada2mqtt::model::CalendarContent {
    let one = |word: &&str| Exception {
        id: None,
        date: "2026-11-25".parse().unwrap(),
        hours: Hours::Between("13:00".parse().unwrap(), "18:00".parse().unwrap()),
        mode: ExceptionMode::Known(verkada2mqtt::model::DoorMode::of_vendor_word(word).unwrap()),
        first_person_in: None,
        double_badge: None,
        recurrence: None,
    };
    verkada2mqtt::model::CalendarContent {
        name: NAME.to_owned(),
        doors: vec!["d-1".parse().unwrap()],
        exceptions: modes.iter().map(one).collect(),
    }
}

#[test]
fn what_ends_an_unlocked_hold_is_repeated_until_a_list_shows_it() {
    let mut bench = held();
    hold(&mut bench, "END");
    for _ in 0..3 {
        bench.answer("delete cal-1 ex-2", Err(Fault::Unclear(trace())));
        bench.run(secs(4));
    }
    let request = bench.open[0].request.clone();
    bench.shelf.carry_out(&request).unwrap();
    bench.answer("delete cal-1 ex-2", Err(Fault::Unclear(trace())));
    bench.run(secs(4));
    assert_eq!(ended(&mut bench), end("done", "-"));
    assert_eq!(state(&bench).1, "schedule");
}

#[test]
fn an_end_that_does_not_come_is_told_loudly() {
    let mut bench = held();
    let (lines, _guard) = log::Lines::listen();
    hold(&mut bench, "END");
    for _ in 0..40 {
        if !bench.open.is_empty() {
            bench.answer("delete cal-1 ex-2", Err(Fault::Unclear(trace())));
        }
        bench.run(secs(4));
    }
    let lines = lines.take();
    assert_eq!(ended(&mut bench), end("failed", "not_confirmed"));
    assert_eq!(state(&bench), ("UNLOCKED".to_owned(), "unlocked".to_owned()));
    assert!(
        lines.iter().any(|line| line.contains("ERROR") && line.contains("may stay unlocked")),
        "{lines:?}"
    );
}

#[test]
fn a_write_that_was_not_sent_is_tried_again_while_it_is_young() {
    let create = "create [verkada2mqtt verkada d-1]: unlocked 2026-11-25 13:00-13:31";
    let mut bench = ready();
    hold(&mut bench, "UNLOCKED");
    bench.answer(create, Err(Fault::NotSent(trace())));
    bench.run(secs(2));
    bench.carry_out(create);
    assert_eq!(ended(&mut bench), end("done", "-"));
    let mut bench = ready();
    hold(&mut bench, "UNLOCKED");
    while !bench.open.is_empty() {
        bench.answer(create, Err(Fault::NotSent(trace())));
        bench.run(secs(2));
    }
    assert_eq!(ended(&mut bench), end("expired", "unreachable"));
}

#[test]
fn holds_are_off_by_default_and_pass_the_gate_like_every_opening_command() {
    let mut bench = Bench::settled_with(settings(Style::Device), zoned);
    hold(&mut bench, "UNLOCKED");
    assert_eq!(ended(&mut bench), end("refused", "not_allowed"));
    assert_eq!(bench.held("door/d-1/hold"), None);
    bench.command("door/d-1", "LOCK");
    assert_eq!(ended(&mut bench), end("refused", "unsupported"));

    let mut bench = ready();
    for (payload, reason) in [
        ("OPEN", "malformed"),
        (r#"{"mode":"unlocked","for":0}"#, "malformed"),
        (r#"{"mode":"unlocked","for":-5}"#, "malformed"),
        (r#"{"mode":"unlocked","for":"soon"}"#, "malformed"),
        (r#"{"mode":"unlocked","for":5,"until":"2026-11-25T13:00:00Z"}"#, "malformed"),
        (r#"{"mode":"schedule","for":5}"#, "malformed"),
        (r#"{"mode":"unlocked","for":721}"#, "not_allowed"),
        (r#"{"mode":"unlocked","for":"13h"}"#, "not_allowed"),
        (r#"{"mode":"unlocked","until":"2026-11-25T11:59:00Z"}"#, "too_old"),
        (r#"{"mode":"unlocked","issued_at":"2026-11-25T11:59:00Z"}"#, "too_old"),
        (r#"{"mode":"unlocked","issued_at":"2026-11-25T12:59:00Z"}"#, "clock_skew"),
    ] {
        hold(&mut bench, payload);
        assert_eq!(ended(&mut bench).1, reason, "{payload}: {}", bench.last_result());
    }
    bench.command_with("door/d-1/hold", "UNLOCKED", |message| message.retain = true);
    assert_eq!(ended(&mut bench), end("refused", "retained"));
    bench.command_with("door/d-1/hold", "UNLOCKED", |message| message.echo_sent_at = None);
    assert_eq!(ended(&mut bench), end("refused", "link_stale"));
    bench.command("door/d-9/hold", "UNLOCKED");
    assert_eq!(ended(&mut bench), end("refused", "unknown_target"));
    hold(&mut bench, r#"{"mode":"unlocked","id":"h-1"}"#);
    bench.carry_out("create [verkada2mqtt verkada d-1]: unlocked 2026-11-25 13:00-13:31");
    hold(&mut bench, r#"{"mode":"unlocked","id":"h-1"}"#);
    assert_eq!(ended(&mut bench), end("merged", "duplicate"));
    assert_eq!(open_writes(&bench), Vec::<String>::new());
}

#[test]
fn nobody_uses_the_budget_up_by_holds_and_an_end_is_never_held_back() {
    let mut bench = ready();
    for _ in 0..5 {
        hold(&mut bench, "END");
        assert_eq!(ended(&mut bench), end("done", "-"));
    }
    hold(&mut bench, "END");
    assert_eq!(ended(&mut bench), end("refused", "rate_limited"), "there is nothing to end");
    hold(&mut bench, "LOCKED");
    assert_eq!(ended(&mut bench), end("refused", "rate_limited"));
    let mut bench = ready();
    for _ in 0..5 {
        hold(&mut bench, "UNLOCKED");
        let write = open_writes(&bench).pop().unwrap();
        bench.carry_out(&write);
        hold(&mut bench, "END");
        let write = open_writes(&bench).pop().unwrap();
        bench.carry_out(&write);
        assert_eq!(ended(&mut bench), end("done", "-"));
    }
    hold(&mut bench, "UNLOCKED");
    assert_eq!(ended(&mut bench), end("refused", "rate_limited"));
}

#[test]
fn a_lockdown_forbids_holds_that_open_and_ends_those_of_ours() {
    let mut bench = ready();
    active(&mut bench, true);
    bench.run(secs(6));
    for mode in ["UNLOCKED", "CARD_AND_CODE", "CREDENTIAL"] {
        hold(&mut bench, mode);
        assert_eq!(ended(&mut bench), end("refused", "lockdown_active"), "{mode}");
    }
    hold(&mut bench, "LOCKED");
    bench.carry_out("create [verkada2mqtt verkada d-1]: locked 2026-11-25 13:00-13:31");
    assert_eq!(ended(&mut bench), end("done", "-"));

    let mut bench = held();
    bench.command("scenario/s-1", "ON");
    let log = bench.take_log();
    let place =
        |line: &str| log.iter().position(|known| known == line).unwrap_or_else(|| panic!("{line}: {log:?}"));
    assert!(place(">activate s-1") < place(">delete cal-1 ex-2"), "the lockdown goes first: {log:?}");
    bench.carry_out("delete cal-1 ex-2");
    bench.answer("activate s-1", Ok(Answer::Taken));
    active(&mut bench, true);
    bench.run(secs(3));
    bench.take_log();
    assert_eq!(state(&bench), ("LOCKED".to_owned(), "schedule".to_owned()));
    assert_eq!(bench.shelf.calendars[0].exceptions, [], "it must not come back with the release");
}

#[test]
fn a_hold_that_waits_or_is_under_way_gives_way_to_a_lockdown() {
    // It waits for the disk.
    let mut bench = ready();
    bench.journals = false;
    hold(&mut bench, "UNLOCKED");
    assert_eq!(open_writes(&bench), Vec::<String>::new());
    bench.command("scenario/s-1", "ON");
    let log = bench.take_log();
    assert!(log.contains(&"!door/d-1/result hold expired superseded".to_owned()), "{log:?}");
    bench.journals = true;
    bench.run(secs(1));
    assert_eq!(open_writes(&bench), ["activate s-1"]);
    bench.answer("activate s-1", Ok(Answer::Taken));
    active(&mut bench, true);
    bench.run(secs(3));
    bench.take_log();

    // Of a credential hold that is under way END ends just that.
    let mut bench = ready();
    hold(&mut bench, "CREDENTIAL");
    hold(&mut bench, "END");
    bench.carry_out("create [verkada2mqtt verkada d-1]: credential 2026-11-25 13:00-13:31");
    bench.carry_out("delete cal-1 ex-2");
    assert_eq!(ended(&mut bench), end("done", "-"));
    assert_eq!(bench.last_result()["action"], "hold");

    // It is under way: what may have come of it is taken back.
    let mut bench = ready();
    hold(&mut bench, "UNLOCKED");
    assert_eq!(bench.open[0].opening, Some(bench.bridge.turn()));
    bench.command("scenario/s-1", "ON");
    let opening = bench.open[0].opening;
    assert!(
        opening.is_some_and(|turn| turn != bench.bridge.turn()),
        "the adapter will not write it any more"
    );
    let log = bench.take_log();
    assert!(log.contains(&"!door/d-1/result hold unknown superseded".to_owned()), "{log:?}");
    bench.carry_out("create [verkada2mqtt verkada d-1]: unlocked 2026-11-25 13:00-13:31");
    bench.answer("activate s-1", Ok(Answer::Taken));
    active(&mut bench, true);
    bench.run(secs(2));
    bench.carry_out("delete cal-1 ex-2");
    bench.run(secs(2));
    bench.take_log();
    assert_eq!(bench.shelf.calendars[0].exceptions, []);
}

#[test]
fn nothing_is_held_open_before_it_is_written_down_and_ending_waits_for_no_disk() {
    let mut bench = ready();
    bench.journals = false;
    hold(&mut bench, "UNLOCKED");
    bench.run(secs(5));
    assert_eq!(open_writes(&bench), Vec::<String>::new());
    assert!(bench.records.iter().any(|record| record.stage == Stage::Sending));
    bench.journals = true;
    let number = RecordNumber(u64::try_from(bench.records.len()).unwrap());
    bench.input(Input::Journal(JournalEvent::Written { number, head: String::new() }));
    bench.carry_out("create [verkada2mqtt verkada d-1]: unlocked 2026-11-25 13:00-13:31");
    assert_eq!(ended(&mut bench), end("done", "-"));
    bench.input(Input::Journal(JournalEvent::Broken("no space".to_owned())));
    hold(&mut bench, "CREDENTIAL");
    assert_eq!(ended(&mut bench), end("refused", "journal_unavailable"));
    hold(&mut bench, "END");
    bench.carry_out("delete cal-1 ex-2");
    assert_eq!(ended(&mut bench), end("done", "-"));
}

#[test]
fn calendars_of_others_are_never_written() {
    let mut bench = ready();
    let foreign = |id: &str, name: Option<&str>| Calendar {
        id: id.parse().unwrap(),
        name: name.map(str::to_owned),
        doors: vec!["d-1".parse().unwrap()],
        exceptions: content(&["unlocked"])
            .exceptions
            .into_iter()
            .map(|exception| Exception { id: Some("ex-9".parse().unwrap()), ..exception })
            .collect(),
        updated_at: None,
        skipped: Vec::new(),
    };
    let names = [
        None,
        Some("Holidays"),
        Some("verkada2mqtt other d-1"),
        Some("verkada2mqtt verkada d-1 "),
        Some("Verkada2mqtt verkada d-1"),
    ];
    let others: Vec<Calendar> =
        names.iter().enumerate().map(|(n, name)| foreign(&format!("foreign-{n}"), *name)).collect();
    bench.shelf.calendars.clone_from(&others);
    bench.run(secs(61));
    assert_eq!(state(&bench), ("None".to_owned(), "schedule".to_owned()), "it is no hold of ours");
    hold(&mut bench, "UNLOCKED");
    bench.carry_out("create [verkada2mqtt verkada d-1]: unlocked 2026-11-25 13:01-13:32");
    hold(&mut bench, "END");
    bench.carry_out("delete cal-1 ex-2");
    assert_eq!(ended(&mut bench), end("done", "-"));
    assert_eq!(bench.shelf.calendars[..5], others);
}

/// Answers the reading of calendars that is open.
fn list(bench: &mut Bench, items: Vec<Calendar>, skipped: &[&str]) {
    let skipped = skipped.iter().map(|sentence| (*sentence).to_owned()).collect();
    bench.answer("calendars", Ok(Answer::Calendars(Inventory { items, skipped })));
}

#[test]
fn a_calendar_that_could_not_be_read_is_not_taken_to_be_gone() {
    for (payload, write) in [
        ("UNLOCKED", "write cal-1: unlocked 2026-11-25 13:00-13:31"),
        ("LOCKED", "write cal-1: locked 2026-11-25 13:00-13:31"),
        ("END", "delete cal-1 ex-2"),
    ] {
        let mut bench = ready();
        bench.shelf.carry_out(&Request::CreateCalendar(content(&["unlocked"]))).unwrap();
        bench.auto = false;
        hold(&mut bench, payload);
        for _ in 0..2 {
            list(&mut bench, Vec::new(), &["calendar 1 of the list is left out: no id"]);
            bench.run(secs(2));
            assert_eq!(ended(&mut bench), end("accepted", "-"), "{payload}");
            let writes = open_writes(&bench);
            assert!(!writes.iter().any(|line| line.starts_with("create")), "there would be two: {writes:?}");
        }
        let whole = bench.shelf.calendars.clone();
        list(&mut bench, whole, &[]);
        bench.carry_out(write);
        assert_eq!(ended(&mut bench), end("done", "-"), "{payload}");
    }
}

#[test]
fn a_list_from_before_a_write_tells_nothing_of_it() {
    let mut bench = ready();
    hold(&mut bench, "UNLOCKED");
    bench.run(secs(50));
    bench.auto = false;
    bench.run(secs(20));
    hold(&mut bench, "END");
    let create = bench.open.iter().find(|call| matches!(call.request, Request::CreateCalendar(_)));
    let request = create.unwrap().request.clone();
    bench.shelf.carry_out(&request).unwrap();
    bench.answer(
        "create [verkada2mqtt verkada d-1]: unlocked 2026-11-25 13:00-13:31",
        Err(Fault::Unclear(trace())),
    );
    list(&mut bench, Vec::new(), &[]);
    assert_eq!(ended(&mut bench), end("accepted", "-"), "the list was asked for before the door was held");
    bench.run(secs(1));
    let newer = bench.shelf.calendars.clone();
    list(&mut bench, newer, &[]);
    bench.carry_out("delete cal-1 ex-2");
    assert_eq!(ended(&mut bench), end("done", "-"));
}

#[test]
fn what_ends_an_unlocked_hold_leaves_what_keeps_the_door_locked() {
    for (topic, payload) in [("door/d-1", "LOCK"), ("door/d-1/hold", "END"), ("scenario/s-1", "ON")] {
        let mut bench = ready();
        let mut both = content(&["unlocked", "locked"]);
        both.exceptions[1].date = "2026-11-26".parse().unwrap();
        bench.shelf.carry_out(&Request::CreateCalendar(both)).unwrap();
        bench.run(secs(61));
        assert_eq!(state(&bench).1, "unlocked");
        bench.command(topic, payload);
        bench.carry_out("delete cal-1 ex-2");
        let deletes = open_writes(&bench).into_iter().filter(|line| line.starts_with("delete"));
        assert_eq!(deletes.collect::<Vec<_>>(), Vec::<String>::new(), "{payload}");
        assert_eq!(bench.shelf.calendars[0].exceptions.len(), 1, "{payload}");
        bench.take_log();
    }
}

#[test]
fn two_calendars_of_ours_are_brought_to_one_and_what_is_over_is_removed() {
    let mut bench = ready();
    bench.shelf.carry_out(&Request::CreateCalendar(content(&["locked"]))).unwrap();
    bench.shelf.carry_out(&Request::CreateCalendar(content(&["unlocked"]))).unwrap();
    hold(&mut bench, r#"{"mode":"unlocked","for":60}"#);
    bench.carry_out("write cal-1: unlocked 2026-11-25 13:00-14:01");
    bench.carry_out("delete cal-3 ex-4");
    assert_eq!(ended(&mut bench), end("done", "-"));
    // The gateway was away when it ended.
    let mut settings = holding();
    settings.announcer.stamp_commands = true;
    bench.restart(settings, secs(3 * 3600));
    bench.join();
    bench.take_log();
    assert_eq!(open_writes(&bench), ["delete cal-1 ex-2"]);
    bench.carry_out("delete cal-1 ex-2");
    bench.take_log();
    assert_eq!(state(&bench).1, "schedule");
}

#[test]
fn after_a_restart_a_hold_is_known_again_and_ends_when_it_should() {
    let mut bench = ready();
    bench.run(secs(20));
    hold(&mut bench, r#"{"mode":"unlocked","for":30}"#);
    bench.carry_out("create [verkada2mqtt verkada d-1]: unlocked 2026-11-25 13:00-13:31");
    bench.take_log();
    let ends = until(&bench).unwrap();
    bench.restart(holding(), secs(600));
    bench.link(UP);
    bench.link(LinkEvent::Proven);
    bench.run(secs(1));
    bench.take_log();
    assert_eq!(state(&bench), ("UNLOCKED".to_owned(), "unlocked".to_owned()));
    assert_eq!(until(&bench), Some(ends));
    bench.command("door/d-1", "LOCK");
    bench.carry_out("delete cal-1 ex-2");
    assert_eq!(ended(&mut bench), end("done", "-"));
}

#[test]
fn what_a_crash_left_is_never_written_again_where_it_opens_and_is_ended_where_it_secures() {
    let mut bench = ready();
    hold(&mut bench, "UNLOCKED");
    bench.books_balance = false;
    bench.take_log();
    bench.restart_with_journal(holding(), secs(10));
    bench.books_balance = false;
    bench.join();
    let log = bench.take_log();
    assert!(log.contains(&"!door/d-1/result hold unknown no_proof".to_owned()), "{log:?}");
    assert_eq!(open_writes(&bench), Vec::<String>::new());

    let mut bench = held();
    hold(&mut bench, "END");
    bench.books_balance = false;
    bench.take_log();
    bench.restart_with_journal(holding(), secs(10));
    bench.books_balance = false;
    bench.join();
    let log = bench.take_log();
    assert!(log.contains(&"!door/d-1/result lock unknown no_proof".to_owned()), "{log:?}");
    assert_eq!(open_writes(&bench), ["delete cal-1 ex-2"], "whoever asked for it gets it");
    bench.carry_out("delete cal-1 ex-2");
    bench.take_log();
}

#[test]
fn what_contradicts_a_hold_makes_the_door_unknown() {
    let mut bench = held();
    bench.run(secs(10));
    bench.events.push(event("e-1", EventKind::Locked, "d-1", bench.now.utc));
    bench.run(secs(10));
    assert_eq!(state(&bench), ("None".to_owned(), "unlocked".to_owned()));
    // The vendor tells the begin of a hold as a change without a direction; later such a change may be anything.
    let mut moved = held();
    moved.events.push(event("e-2", EventKind::LockChanged, "d-1", moved.now.utc));
    moved.run(secs(70));
    assert_eq!(state(&moved).0, "UNLOCKED");
    moved.events.push(event("e-3", EventKind::LockChanged, "d-1", moved.now.utc));
    moved.run(secs(10));
    assert_eq!(state(&moved).0, "None");
    moved.take_log();
    // So it is with its end, after which nothing is known but what the owner assumes.
    let mut over = held_with(with_assumed());
    over.run(secs(30));
    hold(&mut over, "END");
    over.events.push(event("e-4", EventKind::LockChanged, "d-1", over.now.utc));
    over.carry_out("delete cal-1 ex-2");
    over.run(secs(20));
    over.events.push(event("e-5", EventKind::LockChanged, "d-1", over.now.utc));
    over.run(secs(20));
    assert_eq!(state(&over), ("LOCKED".to_owned(), "schedule".to_owned()));
    over.take_log();
    // An event of its begin that comes after its end does not unlock the door, and one of its end locks it.
    let mut late = held();
    let begun = late.now.utc;
    late.run(secs(5));
    hold(&mut late, "END");
    late.carry_out("delete cal-1 ex-2");
    late.events.push(event("e-6", EventKind::Unlocked, "d-1", begun));
    late.run(secs(6));
    assert_eq!(state(&late).0, "None");
    late.events.push(event("e-7", EventKind::Locked, "d-1", begun + jiff::SignedDuration::from_secs(5)));
    late.run(secs(6));
    assert_eq!(state(&late).0, "LOCKED");
    late.take_log();
    let mut other = held();
    active(&mut other, true);
    other.run(secs(10));
    assert_eq!(
        state(&other),
        ("None".to_owned(), "unlocked".to_owned()),
        "which of the two wins is not documented"
    );
    assert_eq!(open_writes(&other), ["delete cal-1 ex-2"], "it must not come back when the scenario ends");
    other.carry_out("delete cal-1 ex-2");
    assert_eq!(state(&other), ("LOCKED".to_owned(), "schedule".to_owned()));
    // What was held after the scenario began, where the owner allows that, stays.
    let mut allowed = ready_with(with(|settings| {
        settings.commands.hold = true;
        settings.polls.calendars = Some(secs(60));
        settings.commands.during_lockdown = DuringLockdown::Allow;
    }));
    active(&mut allowed, true);
    allowed.run(secs(10));
    hold(&mut allowed, "UNLOCKED");
    allowed.carry_out("create [verkada2mqtt verkada d-1]: unlocked 2026-11-25 13:00-13:31");
    allowed.run(secs(120));
    assert_eq!(open_writes(&allowed), Vec::<String>::new());
    assert_eq!(state(&allowed), ("None".to_owned(), "unlocked".to_owned()));
    allowed.take_log();
    for bench in [&mut bench, &mut other] {
        bench.take_log();
    }
}

/// Answers every open reading but that of calendars, which fails.
#[expect(clippy::wildcard_enum_match_arm, reason = "nothing but lists is asked for")]
fn answer_but_calendars(bench: &mut Bench, fault: impl Fn() -> Fault) {
    for call in std::mem::take(&mut bench.open) {
        let result = match call.request {
            Request::ListCalendars => Err(fault()),
            Request::ListDoors => Ok(Answer::Doors(inventory(bench.doors.clone()))),
            Request::ListScenarios => Ok(Answer::Scenarios(inventory(bench.scenarios.clone()))),
            Request::ReadEvents { .. } => {
                Ok(Answer::Events(EventPage { events: Vec::new(), skipped: Vec::new(), next: None }))
            }
            other => panic!("nobody asked for {other:?}"),
        };
        bench.reply(call.id, result);
    }
}

#[test]
fn a_key_without_the_permission_is_told_and_spoils_nothing_else() {
    let mut bench = ready();
    bench.auto = false;
    bench.run(secs(61));
    let refuse = |bench: &mut Bench| answer_but_calendars(bench, || Fault::Unauthorized(trace()));
    refuse(&mut bench);
    for _ in 0..30 {
        bench.run(secs(5));
        refuse(&mut bench);
    }
    assert_eq!(bench.held("bridge/api/availability").unwrap(), "online");
    assert_eq!(bench.held("door/d-1/availability").unwrap(), "online");
    assert!(bench.held("bridge/problem").unwrap().contains("lacks a permission"));
    assert_eq!(state(&bench).1, "unknown");
    hold(&mut bench, "UNLOCKED");
    bench.run(secs(1));
    refuse(&mut bench);
    assert_eq!(ended(&mut bench), end("failed", "unauthorized"));
}

#[test]
fn a_hold_that_may_have_ended_is_unknown_and_never_assumed_to_be_locked() {
    let mut bench = held_with(with_assumed());
    bench.auto = false;
    bench.run(secs(400));
    assert_eq!(state(&bench), ("None".to_owned(), "unknown".to_owned()), "the calendars are out of date");
    bench.take_log();
    bench.restart(with_assumed(), secs(10));
    bench.auto = false;
    bench.join_unread();
    answer_but_calendars(&mut bench, || Fault::Unclear(trace()));
    assert_eq!(state(&bench), ("None".to_owned(), "unknown".to_owned()), "the calendars were not read yet");
    bench.take_log();
}

#[test]
fn the_minutes_of_a_hold_are_kept_for_each_door() {
    let mut bench = ready();
    assert_eq!(bench.held("door/d-1/hold_minutes").unwrap(), "30");
    for (payload, expected) in
        [("45", "45"), ("45.0", "45"), ("0", "45"), ("721", "45"), ("x", "45"), ("720", "720"), ("5", "5")]
    {
        let message = bench.message("verkada/door/d-1/hold_minutes/set", payload);
        bench.link(LinkEvent::Message(message));
        assert_eq!(bench.held("door/d-1/hold_minutes").unwrap(), expected, "{payload}");
    }
    bench.take_log();
    bench.restart(holding(), secs(10));
    bench.join();
    assert_eq!(bench.held("door/d-1/hold_minutes").unwrap(), "5");
    hold(&mut bench, "Card and code");
    bench.take_log();
    bench.carry_out("create [verkada2mqtt verkada d-1]: card_and_code 2026-11-25 13:00-13:06");
    assert_eq!(ended(&mut bench), end("done", "-"));
    bench.restart(settings(Style::Device), secs(10));
    bench.join();
    bench.take_log();
    assert!(!bench.retained().contains_key("verkada/door/d-1/hold"), "holds are not allowed any more");
    assert!(!bench.retained().contains_key("verkada/door/d-1/hold_minutes"));
}
