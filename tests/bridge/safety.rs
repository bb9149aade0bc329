//! What is written down before anything opens, what a later run makes of it, and who is told when a lockdown is not there.

use std::time::Duration;

use serde_json::json;
use verkada2mqtt::{
    bridge::Input,
    hass::Style,
    model::{Answer, EventKind, Fault, Inventory, JournalEvent, Outcome, Past, ScenarioState, Stage},
};

use super::{
    Bench, active,
    bench::{door, event, ms, scenario, secs, settings, trace, unlocked},
};

fn stages(bench: &Bench) -> Vec<(Stage, Option<&str>)> {
    bench.records.iter().map(|record| (record.stage, record.outcome.map(Outcome::word))).collect()
}

/// A scenario that locks no door is active.
fn with_another_active(bench: &mut Bench) {
    bench.scenarios.push(scenario("s-2", &[]));
    bench.scenarios[1].state = ScenarioState::Active;
}

fn write_all(bench: &mut Bench) {
    let number = bench.records.last().unwrap().number;
    bench.input(Input::Journal(JournalEvent::Written { number, head: "aa".to_owned() }));
}

fn count(log: &[String], what: &str) -> usize {
    log.iter().filter(|line| line.contains(what)).count()
}

// ---- the journal ---------------------------------------------------------------------------------------------------

#[test]
fn nothing_opens_before_it_is_durable_that_it_may() {
    let mut bench = Bench::settled_with(settings(Style::Device), with_another_active);
    bench.journals = false;
    bench.command("door/d-1", "UNLOCK");
    bench.command("scenario/s-2", "OFF");
    bench.run(secs(3));
    assert!(bench.open.is_empty(), "{:?}", bench.open);
    let accepted = (Stage::Accepted, None);
    let sending = (Stage::Sending, None);
    assert_eq!(stages(&bench), [accepted, sending, accepted, sending]);
    write_all(&mut bench);
    let log = bench.take_log();
    assert_eq!((count(&log, ">unlock d-1"), count(&log, ">release s-2")), (1, 1), "{log:?}");
    assert_eq!(bench.open.len(), 2);
}

#[test]
fn a_part_of_what_is_written_lets_go_only_that_part() {
    let mut bench =
        Bench::settled_with(settings(Style::Device), |bench| bench.doors.push(door("d-2", "Back")));
    bench.journals = false;
    bench.command("door/d-1", "UNLOCK");
    let number = bench.records.last().unwrap().number;
    bench.command("door/d-2", "UNLOCK");
    bench.input(Input::Journal(JournalEvent::Written { number, head: "aa".to_owned() }));
    let log = bench.take_log();
    assert_eq!((count(&log, ">unlock d-1"), count(&log, ">unlock d-2")), (1, 0), "{log:?}");
}

#[test]
fn a_disk_that_hangs_lets_an_unlock_expire_and_a_lockdown_go() {
    let mut bench = Bench::settled();
    bench.journals = false;
    bench.command("door/d-1", "UNLOCK");
    bench.run(secs(11));
    let log = bench.take_log();
    assert_eq!(count(&log, "!door/d-1/result unlock expired too_old"), 1, "{log:?}");
    write_all(&mut bench);
    bench.run(secs(1));
    assert!(bench.open.is_empty(), "too late");
    bench.command("scenario/s-1", "ON");
    assert_eq!(count(&bench.take_log(), ">activate s-1"), 1);
}

#[test]
fn each_attempt_of_an_unlock_is_written_down_before_it_is_made() {
    let mut bench = Bench::settled();
    bench.command("door/d-1", "UNLOCK");
    bench.journals = false;
    bench.answer("unlock d-1", Err(Fault::NotSent(trace())));
    bench.run(secs(2));
    assert!(bench.open.is_empty());
    write_all(&mut bench);
    assert_eq!(bench.open.len(), 1);
    bench.journals = true;
    bench.answer("unlock d-1", Ok(unlocked(Some(5))));
    let sending = stages(&bench).iter().filter(|(stage, _)| *stage == Stage::Sending).count();
    assert_eq!(sending, 2);
    assert_eq!(stages(&bench).last(), Some(&(Stage::Ended, Some("done"))));
    bench.take_log();
}

#[test]
fn a_broken_journal_refuses_what_opens_tells_why_and_holds_no_lockdown_back() {
    let mut bench = Bench::settled_with(settings(Style::Device), with_another_active);
    bench.journals = false;
    bench.command("door/d-1", "UNLOCK");
    bench.take_log();
    bench.input(Input::Journal(JournalEvent::Broken("/var/lib/x/journal.sqlite: no space".to_owned())));
    let log = bench.take_log();
    assert_eq!(log[0], "!door/d-1/result unlock failed journal_unavailable", "{log:?}");
    bench.command("door/d-1", "UNLOCK");
    bench.command("scenario/s-2", "OFF");
    let log = bench.take_log();
    assert_eq!(count(&log, "unlock refused journal_unavailable"), 1, "{log:?}");
    assert_eq!(count(&log, "release refused journal_unavailable"), 1, "{log:?}");
    assert!(bench.last_result()["message"].as_str().unwrap().contains("no space"));
    let problem = bench.held("bridge/problem").unwrap();
    assert!(problem.contains("journal cannot be written: /var/lib/x/journal.sqlite: no space"), "{problem}");
    bench.command("scenario/s-1", "ON");
    assert_eq!(count(&bench.take_log(), ">activate s-1"), 1);
    bench.journals = true;
    bench.input(Input::Journal(JournalEvent::Mended));
    assert_eq!(bench.held("bridge/problem").as_deref(), Some("None"));
    active(&mut bench, true);
    bench.answer("activate s-1", Ok(Answer::Taken));
    active(&mut bench, false);
    bench.run(secs(5));
    bench.take_log();
    bench.command("door/d-1", "UNLOCK");
    assert_eq!(count(&bench.take_log(), ">unlock d-1"), 1);
}

#[test]
fn what_was_let_go_before_a_lockdown_is_of_an_earlier_turn() {
    let mut bench = Bench::settled();
    bench.command("door/d-1", "UNLOCK");
    assert_eq!(bench.open[0].opening, Some(bench.bridge.turn()));
    bench.command("scenario/s-1", "ON");
    assert_ne!(bench.open[0].opening, Some(bench.bridge.turn()), "the adapter will not write it any more");
    assert_eq!(bench.open[1].opening, None, "a lockdown is of no turn");
    bench.take_log();
}

#[test]
fn the_journal_tells_the_whole_life_of_a_lockdown() {
    let mut bench = Bench::settled();
    bench.command("scenario/s-1", r#"{"action":"ON","id":"a-1","by":"desk"}"#);
    bench.answer("activate s-1", Err(Fault::Unclear(trace())));
    active(&mut bench, true);
    bench.run(secs(2));
    let told: Vec<_> = bench.records.iter().map(|record| record.stage.word()).collect();
    assert_eq!(
        told,
        ["accepted", "sending", "alarm", "answered", "read_back", "ended", "alarm_over"],
        "{:#?}",
        bench.records
    );
    for record in &bench.records[..6] {
        assert_eq!((record.command.as_deref(), record.by.as_deref()), (Some("a-1"), Some("desk")));
    }
    bench.take_log();
}

// ---- after a crash -------------------------------------------------------------------------------------------------

/// The next run begins so much later and joins; what it says at once is passed over.
fn next_run(bench: &mut Bench, by: Duration) {
    bench.restart_with_journal(settings(Style::Device), by);
    bench.join();
    bench.take_log();
}

#[test]
fn an_id_is_known_for_a_day_over_any_number_of_restarts() {
    let payload = r#"{"action":"unlock","id":"x"}"#;
    let mut bench = Bench::settled();
    bench.command("door/d-1", payload);
    bench.answer("unlock d-1", Ok(unlocked(Some(5))));
    for _ in 0..2 {
        bench.take_log();
        next_run(&mut bench, secs(11 * 3_600));
        bench.command("door/d-1", payload);
        let log = bench.take_log();
        assert_eq!(log[..2], ["!door/d-1/result unlock done -", "!door/d-1/result unlock merged duplicate"]);
    }
    bench.take_log();
    next_run(&mut bench, secs(3 * 3_600));
    bench.command("door/d-1", payload);
    assert_eq!(count(&bench.take_log(), ">unlock d-1"), 1, "after a day it is forgotten");
}

#[test]
fn where_the_journal_is_lost_nothing_opens_before_every_copy_is_too_old() {
    let lost = || {
        let mut bench = Bench::new(settings(Style::Device));
        bench.bridge.recall(Past { replaced: Some("it is torn".to_owned()), ..Past::default() }, bench.now);
        bench.join();
        bench.take_log();
        bench
    };
    let mut bench = lost();
    let payload = r#"{"action":"unlock","id":"x"}"#;
    bench.command("door/d-1", payload);
    bench.expect(&[
        "!door/d-1/result unlock refused journal_unavailable",
        "=door/d-1/attributes none refused",
    ]);
    // Ten seconds after the start, the largest age of a command.
    bench.run(ms(8_999));
    bench.take_log();
    bench.command("door/d-1", "UNLOCK");
    assert_eq!(bench.take_log()[0], "!door/d-1/result unlock refused journal_unavailable");
    bench.run(ms(1));
    bench.take_log();
    bench.command("door/d-1", payload);
    assert_eq!(count(&bench.take_log(), ">unlock d-1"), 1, "what was refused may be sent again");

    let mut bench = lost();
    bench.command("scenario/s-1", "OFF");
    assert_eq!(bench.take_log()[0], "!scenario/s-1/result release refused journal_unavailable");
    bench.command("scenario/s-1", "ON");
    assert_eq!(count(&bench.take_log(), ">activate s-1"), 1, "a lockdown does not wait");
}

#[test]
fn the_id_of_a_merged_command_is_known_for_a_day_over_restarts() {
    let mut bench = Bench::settled();
    bench.command("door/d-1", r#"{"action":"unlock","id":"x"}"#);
    bench.command("door/d-1", r#"{"action":"unlock","id":"y"}"#);
    bench.answer("unlock d-1", Ok(unlocked(Some(5))));
    for _ in 0..2 {
        bench.take_log();
        next_run(&mut bench, secs(11 * 3_600));
        bench.command("door/d-1", r#"{"action":"unlock","id":"y"}"#);
        let log = bench.take_log();
        let result = ["!door/d-1/result unlock merged merged", "!door/d-1/result unlock merged duplicate"];
        assert_eq!(log, result);
        bench.command("door/d-1", r#"{"action":"unlock","id":"x"}"#);
        assert_eq!(bench.take_log().last().unwrap(), "!door/d-1/result unlock merged duplicate");
    }
    next_run(&mut bench, secs(3 * 3_600));
    bench.command("door/d-1", r#"{"action":"unlock","id":"y"}"#);
    assert_eq!(count(&bench.take_log(), ">unlock d-1"), 1, "after a day it is forgotten");
}

#[test]
fn a_merged_command_is_written_down_in_a_flood_too() {
    let mut bench = Bench::settled();
    for _ in 0..30 {
        bench.command("door/d-1", "nonsense");
    }
    bench.command("door/d-1", "UNLOCK");
    bench.command("door/d-1", r#"{"action":"unlock","id":"y"}"#);
    let log = bench.take_log();
    assert_eq!(count(&log, "merged"), 0, "it is not answered: {log:?}");
    bench.answer("unlock d-1", Ok(unlocked(Some(5))));
    bench.run(secs(120));
    bench.take_log();
    next_run(&mut bench, secs(5));
    bench.command("door/d-1", r#"{"action":"unlock","id":"y"}"#);
    let result = ["!door/d-1/result unlock merged merged", "!door/d-1/result unlock merged duplicate"];
    bench.expect(&result);
}

#[test]
fn a_merged_lockdown_does_not_take_the_place_of_the_one_that_is_taken_up() {
    let mut bench = Bench::settled();
    bench.command("scenario/s-1", r#"{"action":"activate","id":"x"}"#);
    bench.command("scenario/s-1", r#"{"action":"activate","id":"y"}"#);
    bench.take_log();
    bench.restart_with_journal(settings(Style::Device), secs(5));
    bench.join();
    bench.run(secs(3));
    let log = bench.take_log();
    assert_eq!(count(&log, ">activate s-1"), 1, "{log:?}");
}

#[test]
fn a_hundred_lockdowns_at_once_go_in_the_order_of_their_presses() {
    let ids: Vec<String> = (0..100).map(|number| format!("s-{:02}", number * 37 % 100)).collect();
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.scenarios = ids.iter().map(|id| scenario(id, &["d-1"])).collect();
    });
    bench.run(secs(60));
    bench.take_log();
    let began = bench.now.mono;
    let mut sent = Vec::new();
    let mut take = |bench: &mut Bench| {
        let log = bench.take_log();
        sent.extend(log.iter().filter_map(|line| line.strip_prefix(">activate ").map(str::to_owned)));
        sent.len()
    };
    for id in &ids {
        bench.command(&format!("scenario/{id}"), "ON");
        bench.run(ms(1));
    }
    // The vendor takes 25 requests in 5 s, of which a reading may have had one.
    assert!(take(&mut bench) >= 20);
    while take(&mut bench) < ids.len() {
        bench.run(ms(100));
        assert!(bench.now.mono - began < secs(25), "what the budget allows goes out");
    }
    assert_eq!(sent, ids);
}

#[test]
fn an_unlock_that_a_crash_cut_off_is_unknown_and_is_never_sent_again() {
    let mut bench = Bench::settled();
    bench.command("door/d-1", r#"{"action":"unlock","id":"x"}"#);
    assert_eq!(bench.open.len(), 1);
    bench.take_log();
    bench.restart_with_journal(settings(Style::Device), secs(2));
    bench.join();
    let log = bench.take_log();
    assert_eq!(count(&log, "!door/d-1/result unlock unknown no_proof"), 1, "{log:?}");
    bench.command("door/d-1", r#"{"action":"unlock","id":"x"}"#);
    bench.run(secs(30));
    assert!(bench.open.is_empty());
    let log = bench.take_log();
    assert_eq!(count(&log, "merged duplicate"), 1, "{log:?}");
}

#[test]
fn an_unlock_that_was_not_let_go_before_a_crash_has_failed() {
    let mut bench = Bench::settled();
    bench.journals = false;
    bench.command("door/d-1", r#"{"action":"unlock","id":"x"}"#);
    bench.records.retain(|record| record.stage == Stage::Accepted);
    bench.take_log();
    bench.restart_with_journal(settings(Style::Device), secs(2));
    bench.join();
    let log = bench.take_log();
    assert_eq!(count(&log, "!door/d-1/result unlock failed stopping"), 1, "{log:?}");
    assert!(bench.open.is_empty());
}

#[test]
fn a_lockdown_is_taken_up_after_a_crash_unless_it_is_old_or_overtaken() {
    // Young: a look comes first, then it is sent again.
    let mut bench = Bench::settled();
    bench.command("scenario/s-1", r#"{"action":"ON","id":"x"}"#);
    bench.take_log();
    bench.restart_with_journal(settings(Style::Device), secs(290));
    bench.join();
    bench.run(secs(3));
    assert_eq!(count(&bench.take_log(), ">activate s-1"), 1);
    active(&mut bench, true);
    bench.answer("activate s-1", Ok(Answer::Taken));
    let log = bench.take_log();
    assert_eq!(count(&log, "!scenario/s-1/result activate done -"), 1, "{log:?}");
    assert_eq!(bench.last_result()["id"], "x");
    assert_eq!(bench.held("bridge/lockdown_alarm").as_deref(), Some("OFF"));

    // It worked before the crash: the look shows it, and nothing is sent.
    let mut bench = Bench::settled();
    bench.command("scenario/s-1", "ON");
    active(&mut bench, true);
    bench.take_log();
    bench.restart_with_journal(settings(Style::Device), secs(5));
    bench.join();
    let log = bench.take_log();
    assert_eq!((count(&log, ">activate"), count(&log, "result activate done -")), (0, 1), "{log:?}");

    // Old: nobody would expect it any more, and everybody is told.
    let mut bench = Bench::settled();
    bench.command("scenario/s-1", "ON");
    bench.take_log();
    bench.restart_with_journal(settings(Style::Device), secs(301));
    bench.join();
    bench.run(secs(5));
    let log = bench.take_log();
    assert_eq!((count(&log, ">activate"), count(&log, "result activate failed stopping")), (0, 1), "{log:?}");
    assert_eq!(bench.held("bridge/lockdown_alarm").as_deref(), Some("ON"));

    // The clock was set back since: nobody knows how old it is.
    let mut bench = Bench::settled();
    bench.command("scenario/s-1", "ON");
    bench.take_log();
    bench.now.utc -= secs(3_600);
    bench.restart_with_journal(settings(Style::Device), secs(5));
    bench.join();
    bench.run(secs(5));
    let log = bench.take_log();
    assert_eq!((count(&log, ">activate"), count(&log, "result activate failed stopping")), (0, 1), "{log:?}");
    assert_eq!(bench.held("bridge/lockdown_alarm").as_deref(), Some("ON"));

    // Overtaken by a release.
    let mut bench = Bench::settled();
    bench.command("scenario/s-1", "ON");
    bench.run(ms(10));
    bench.command("scenario/s-1", "OFF");
    bench.records.retain(|record| record.stage != Stage::Ended);
    bench.take_log();
    bench.restart_with_journal(settings(Style::Device), secs(5));
    bench.join();
    bench.run(secs(5));
    let log = bench.take_log();
    assert_eq!((count(&log, ">activate"), count(&log, "activate unknown superseded")), (0, 1), "{log:?}");
}

#[test]
fn a_clock_that_was_set_back_makes_no_earlier_command_the_newest() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| active(bench, true));
    bench.command("scenario/s-1", "OFF");
    active(&mut bench, false);
    bench.answer("release s-1", Ok(Answer::Taken));
    bench.run(secs(2));
    bench.now.utc -= secs(3_600);
    bench.command("scenario/s-1", r#"{"action":"ON","id":"x"}"#);
    bench.take_log();
    bench.restart_with_journal(settings(Style::Device), secs(5));
    bench.join();
    bench.run(secs(3));
    assert_eq!(count(&bench.take_log(), ">activate s-1"), 1, "it is taken up again");
}

#[test]
fn a_lockdown_under_way_at_a_stop_is_left_to_the_next_start_and_told() {
    let mut bench = Bench::settled();
    bench.command("scenario/s-1", r#"{"action":"ON","id":"x"}"#);
    bench.input(Input::Stop);
    bench.bridge.abandon(bench.now);
    bench.books_balance = false;
    bench.input(Input::Stop);
    let log = bench.take_log();
    assert_eq!(count(&log, "!scenario/s-1/result activate accepted stopping"), 1, "{log:?}");
    assert_eq!(count(&log, "=bridge/lockdown_alarm ON"), 1, "{log:?}");
    bench.restart_with_journal(settings(Style::Device), secs(5));
    bench.join();
    bench.run(secs(3));
    assert_eq!(count(&bench.take_log(), ">activate s-1"), 1);
}

// ---- evidence of what ended as unknown -----------------------------------------------------------------------------

fn notes(bench: &Bench) -> Vec<String> {
    let results = bench.published.iter().filter(|p| p.topic.ends_with("/result"));
    let json = results.map(|p| serde_json::from_slice::<serde_json::Value>(&p.payload).unwrap());
    json.filter_map(|json| Some(format!("{} {}", json["id"].as_str()?, json["resolved"].as_str()?))).collect()
}

#[test]
fn an_unlock_of_unknown_fate_is_seen_in_the_log_of_the_vendor_or_not_seen() {
    for (kind, after, expected) in [
        (EventKind::RemoteUnlock, 3, "x seen"),
        (EventKind::RemoteUnlock, -1, "x seen"),
        (EventKind::RemoteUnlock, -60, "x not_seen"),
        (EventKind::Granted, 3, "x not_seen"),
        (EventKind::Unlocked, 3, "x not_seen"),
    ] {
        let mut bench = Bench::settled();
        bench.command("door/d-1", r#"{"action":"unlock","id":"x"}"#);
        bench.answer("unlock d-1", Err(Fault::Unclear(trace())));
        let at = bench.now.utc + jiff::SignedDuration::from_secs(after);
        bench.run(secs(4));
        bench.events.push(event("e-1", kind, "d-1", at));
        bench.run(secs(10));
        let early = if expected.ends_with(" seen") { vec![expected.to_owned()] } else { vec![] };
        assert_eq!(notes(&bench), early, "{kind:?} {after}");
        bench.run(secs(30));
        assert_eq!(notes(&bench), [expected], "{kind:?} {after}");
        assert!(bench.open.is_empty(), "never a second request");
        assert_eq!(bench.bridge.status(bench.now).books.ended(Outcome::Unknown), 1);
        bench.take_log();
    }
}

#[test]
fn evidence_that_came_before_the_end_counts_and_one_event_settles_one_command() {
    let mut bench = Bench::settled();
    bench.command("door/d-1", r#"{"action":"unlock","id":"x"}"#);
    bench.events.push(event("e-1", EventKind::RemoteUnlock, "d-1", bench.now.utc));
    bench.run(secs(6));
    bench.answer("unlock d-1", Err(Fault::Unclear(trace())));
    assert_eq!(notes(&bench), ["x seen"]);
    bench.command("door/d-1", r#"{"action":"unlock","id":"y"}"#);
    bench.answer("unlock d-1", Err(Fault::Unclear(trace())));
    bench.run(secs(20));
    assert_eq!(notes(&bench), ["x seen", "y not_seen"]);
    bench.take_log();
}

#[test]
fn the_event_of_an_unlock_that_was_done_is_attached_to_its_result() {
    let mut bench = Bench::settled();
    bench.command("door/d-1", r#"{"action":"unlock","id":"x","by":"desk"}"#);
    bench.answer("unlock d-1", Ok(unlocked(Some(5))));
    assert_eq!(bench.last_result()["resolved"], json!(null));
    assert_eq!(bench.last_result()["evidence"], json!(null));
    let at = bench.now.utc;
    bench.events.push(event("e-1", EventKind::RemoteUnlock, "d-1", at));
    bench.run(secs(20));
    let result = bench.last_result();
    let told = json!([result["id"], result["outcome"], result["by"], result["resolved"]]);
    assert_eq!(told, json!(["x", "done", "desk", "seen"]));
    let expected =
        json!({"event_type": "remote_unlock", "id": "e-1", "type": "remoteunlock", "time": at.to_string()});
    assert_eq!(result["evidence"], expected);
    let noted = bench.records.iter().filter(|record| record.stage == Stage::Resolved);
    let noted: Vec<_> = noted.map(|record| record.text.clone()).collect();
    assert_eq!(noted, [format!("the vendor's log shows it: remoteunlock at {at}, event e-1")]);
    assert_eq!(bench.bridge.status(bench.now).books.ended(Outcome::Done), 1, "it ended once");
    bench.run(secs(120));
    assert_eq!(notes(&bench), ["x seen"]);
    bench.take_log();
}

#[test]
fn an_unlock_that_was_done_and_whose_event_does_not_come_is_not_told_about_again() {
    let mut bench = Bench::settled();
    bench.command("door/d-1", r#"{"action":"unlock","id":"x"}"#);
    bench.answer("unlock d-1", Ok(unlocked(Some(5))));
    bench.run(secs(61));
    bench.events.push(event("e-1", EventKind::RemoteUnlock, "d-1", bench.now.utc));
    bench.run(secs(60));
    assert!(notes(&bench).is_empty(), "an unlock a minute later is another one");
    bench.take_log();
}

#[test]
fn the_event_of_an_unlock_that_was_done_does_not_settle_a_later_one() {
    for early in [true, false] {
        let mut bench = Bench::settled();
        bench.command("door/d-1", r#"{"action":"unlock","id":"x"}"#);
        let e_1 = event("e-1", EventKind::RemoteUnlock, "d-1", bench.now.utc);
        if early {
            bench.events.push(e_1.clone());
            bench.run(secs(6));
        }
        bench.answer("unlock d-1", Ok(unlocked(Some(5))));
        bench.run(ms(1_500));
        bench.command("door/d-1", r#"{"action":"unlock","id":"y"}"#);
        bench.answer("unlock d-1", Err(Fault::Unclear(trace())));
        if !early {
            bench.events.push(e_1);
        }
        bench.run(secs(30));
        assert_eq!(notes(&bench), ["x seen", "y not_seen"], "early {early}");
        bench.take_log();
    }
}

#[test]
fn a_release_of_unknown_fate_is_settled_by_the_list() {
    for (shows, expected) in [(true, "x seen"), (false, "x not_seen")] {
        let mut bench = Bench::settled_with(settings(Style::Device), |bench| active(bench, true));
        bench.command("scenario/s-1", r#"{"action":"OFF","id":"x"}"#);
        bench.answer("release s-1", Err(Fault::Unclear(trace())));
        bench.run(secs(17));
        assert_eq!(bench.last_result()["outcome"], "unknown");
        active(&mut bench, !shows);
        bench.run(secs(20));
        assert_eq!(notes(&bench), [expected]);
        assert!(bench.open.is_empty());
        bench.take_log();
    }
}

// ---- the alarm -----------------------------------------------------------------------------------------------------

#[test]
fn an_alarm_stays_until_a_read_shows_the_lockdown_or_somebody_acknowledges() {
    let acknowledge = |bench: &mut Bench| {
        let message = bench.message("verkada/bridge/acknowledge/set", "PRESS");
        bench.link(verkada2mqtt::model::LinkEvent::Message(message));
    };
    let mut bench = Bench::settled();
    bench.command("scenario/s-1", "ON");
    bench.answer("activate s-1", Err(Fault::Forbidden(trace())));
    bench.take_log();
    bench.run(secs(600));
    assert_eq!(bench.held("bridge/lockdown_alarm").as_deref(), Some("ON"), "time ends no alarm");
    bench.take_log();
    bench.restart_with_journal(settings(Style::Device), secs(600));
    bench.join();
    assert_eq!(bench.held("bridge/lockdown_alarm").as_deref(), Some("ON"), "nor does a restart");
    let attributes = bench.held("bridge/lockdown_alarm_attributes").unwrap();
    assert!(attributes.contains("\"cause\":\"") && attributes.contains("\"given_up\":true"), "{attributes}");
    bench.take_log();
    acknowledge(&mut bench);
    bench.expect(&["!bridge/lockdown_event acknowledged", "=bridge/lockdown_alarm OFF"]);
    bench.run(secs(30));
    bench.take_log();

    bench.command("scenario/s-1", "ON");
    bench.answer("activate s-1", Err(Fault::Forbidden(trace())));
    bench.take_log();
    active(&mut bench, true);
    bench.run(secs(5));
    let log = bench.take_log();
    assert_eq!(count(&log, "!bridge/lockdown_event confirmed"), 1, "activated by somebody else: {log:?}");
    assert_eq!(bench.held("bridge/lockdown_alarm").as_deref(), Some("OFF"));
}

/// The vendor's list may leave a scenario out because it cannot be read: what an earlier list said of it is no proof.
#[test]
fn a_list_that_leaves_a_scenario_out_confirms_nothing_of_it() {
    let mut bench = Bench::settled();
    bench.auto = false;
    bench.command("scenario/s-1", "ON");
    bench.answer("activate s-1", Ok(Answer::Taken));
    // The last list showed it inactive, from before the activate.
    bench.command("scenario/s-1", "OFF");
    bench.answer("release s-1", Err(Fault::Unclear(trace())));
    for _ in 0..2 {
        bench.run(secs(2));
        let left_out =
            Inventory { items: Vec::new(), skipped: vec!["s-1 has a number for a name".to_owned()] };
        bench.answer("scenarios", Ok(Answer::Scenarios(left_out)));
    }
    let log = bench.take_log();
    assert_eq!(count(&log, "result release done"), 0, "{log:?}");
    let whole = bench.scenarios.clone();
    bench.run(secs(2));
    bench.answer("scenarios", Ok(Answer::Scenarios(Inventory { items: whole, skipped: Vec::new() })));
    let log = bench.take_log();
    assert_eq!(count(&log, "result release done"), 1, "{log:?}");
}

#[test]
fn an_alarm_that_only_the_journal_knows_of_outlasts_a_crash() {
    let mut bench = Bench::settled();
    bench.command("scenario/s-1", "ON");
    bench.answer("activate s-1", Err(Fault::Forbidden(trace())));
    bench.take_log();
    let past = bench.past(secs(1));
    // The crash came before what is remembered was written.
    let mut next = Bench::remembering(settings(Style::Device), bench.now, None);
    next.bridge.recall(past, next.now);
    next.join();
    assert_eq!(next.held("bridge/lockdown_alarm").as_deref(), Some("ON"));
    let attributes = next.held("bridge/lockdown_alarm_attributes").unwrap();
    assert!(attributes.contains("\"given_up\":true"), "{attributes}");
    next.take_log();
}

#[test]
fn a_lockdown_that_the_gate_turns_away_is_told_to_everybody() {
    let mut bench = Bench::settled();
    bench.command_with("scenario/s-1", "ON", |message| message.retain = true);
    bench.command("scenario/s-9", "ON");
    let attributes = bench.held("bridge/lockdown_alarm_attributes").unwrap();
    for part in ["s-1", "publish it without retain", "s-9", "no door or scenario of this gateway has this id"]
    {
        assert!(attributes.contains(part), "{part}: {attributes}");
    }
    bench.take_log();
    // What opens raises no alarm, and neither does a copy.
    let mut bench = Bench::settled();
    bench.command_with("scenario/s-1", "OFF", |message| message.retain = true);
    bench.command_with("door/d-1", "UNLOCK", |message| message.retain = true);
    bench.command("scenario/s-1", r#"{"action":"ON","id":"x"}"#);
    bench.command("scenario/s-1", r#"{"action":"ON","id":"x"}"#);
    assert_eq!(bench.held("bridge/lockdown_alarm").as_deref(), Some("OFF"));
    bench.take_log();
}

// ---- floods --------------------------------------------------------------------------------------------------------

#[test]
fn a_flood_is_answered_in_part_and_counted_in_full() {
    const FLOOD: u64 = 5_000;
    let mut bench =
        Bench::settled_with(settings(Style::Device), |bench| bench.doors.push(door("d-2", "Back")));
    bench.auto = false;
    let written = bench.records.len();
    for _ in 0..FLOOD {
        bench.command("door/d-1", "UNLOCK");
    }
    bench.command("door/d-2", "LOCK");
    let log = bench.take_log();
    assert_eq!(count(&log, "!door/d-1/result unlock merged merged"), 5);
    assert_eq!(count(&log, "!door/d-1/result unlock refused rate_limited"), 15);
    assert_eq!(count(&log, "!door/d-2/result lock refused unsupported"), 1, "another door is answered");
    assert!(bench.records.len() - written < 30);
    bench.run(secs(1));
    let log = bench.take_log();
    assert_eq!(count(&log, "!door/d-1/result - refused flood"), 1, "{log:?}");
    let message = bench.last_result()["message"].as_str().unwrap().to_owned();
    let parts = message.strip_prefix("4979 more commands were turned away: ").unwrap();
    let sum: u64 =
        parts.split(", ").map(|part| part.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum();
    assert_eq!(sum, 4_979, "{message}");
    assert_eq!(bench.bridge.status(bench.now).books.received(), FLOOD + 1);
    // A minute later refusals are answered again.
    bench.run(secs(61));
    bench.take_log();
    bench.command("door/d-1", "LOCK");
    assert_eq!(count(&bench.take_log(), "!door/d-1/result lock refused unsupported"), 1);
}

#[test]
fn names_that_nobody_knows_fill_no_memory_and_are_counted() {
    let mut bench = Bench::settled();
    for number in 0..2_000 {
        bench.command(&format!("door/x-{number}"), "UNLOCK");
    }
    let answered = count(&bench.take_log(), "refused unknown_target");
    assert_eq!(answered, 256);
    assert_eq!(bench.bridge.status(bench.now).books.ended(Outcome::Refused), 2_000);
    bench.run(secs(2));
    bench.take_log();
}
