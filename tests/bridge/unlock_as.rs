//! Unlocks in the name of a person: who is named, what is refused, and that they are as safe as any unlock.

use std::collections::BTreeSet;

use serde_json::json;
use tracing_subscriber::filter::LevelFilter;
use verkada2mqtt::{
    bridge::{CodeSecret, CodeSettings, Input, Settings, UnlockAs},
    hass::Style,
    model::{
        AccessEvent, EventKind, Fault, JournalEvent, Outcome, Person, Privacy, Record, Request, Stage, User,
    },
};

use super::{
    Bench, active,
    bench::{event, ms, secs, settings, trace, unlocked},
    log::Lines,
    with,
};

const ANNEKE: &str = r#"{"action":"unlock","as":{"user_id":"anneke-7"}}"#;
const BY_ANNEKE: &str = "unlock d-1 as anneke-7";

fn allowed(settings: &mut Settings) {
    settings.commands.unlock_as = UnlockAs::Allowed;
}

fn bench() -> Bench {
    Bench::settled_with(with(allowed), |_| {})
}

/// An unlock with an id, in the name of a user.
fn command(id: &str, user: &str) -> String {
    json!({ "action": "unlock", "id": id, "as": { "user_id": user } }).to_string()
}

fn calls(bench: &mut Bench) -> Vec<String> {
    bench.take_log().into_iter().filter(|line| line.starts_with('>')).collect()
}

/// What a command led to: the calls, and the last result's outcome and reason.
fn led_to(bench: &mut Bench, payload: &str) -> (Vec<String>, String) {
    bench.command("door/d-1", payload);
    let result = bench.last_result();
    let word = |name: &str| result[name].as_str().unwrap_or("-").to_owned();
    (calls(bench), format!("{} {}", word("outcome"), word("reason")))
}

fn sent(call: &str) -> (Vec<String>, String) {
    (vec![format!(">{call}")], "accepted -".to_owned())
}

fn turned_away(told: &str) -> (Vec<String>, String) {
    (Vec::new(), told.to_owned())
}

/// The notes on what evidence showed, as `id finding event`.
fn notes(bench: &Bench) -> Vec<String> {
    let results = bench.published.iter().filter(|p| p.topic.ends_with("/result"));
    let results = results.map(|p| serde_json::from_slice::<serde_json::Value>(&p.payload).unwrap());
    let notes = results.filter(|result| !result["resolved"].is_null());
    let word = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    notes
        .map(|note| {
            format!("{} {} {}", word(&note["id"]), word(&note["resolved"]), word(&note["evidence"]["id"]))
        })
        .collect()
}

/// The vendor's log of an unlock from afar, done or turned away.
fn from_afar(bench: &Bench, id: &str, kind: EventKind) -> AccessEvent {
    let word = if kind == EventKind::Denied { "rejected" } else { "accepted" };
    AccessEvent { word: format!("door_remote_unlock_{word}"), ..event(id, kind, "d-1", bench.now.utc) }
}

fn of_person(event: AccessEvent, id: &str) -> AccessEvent {
    AccessEvent { person: Person::cut_down(Privacy::Id, Some(id.to_owned()), None, None), ..event }
}

// ---- who is named --------------------------------------------------------------------------------------------------

#[test]
fn a_command_names_the_person_in_whose_name_the_vendor_is_asked() {
    let mut bench = bench();
    assert_eq!(led_to(&mut bench, ANNEKE), sent(BY_ANNEKE));
    assert_eq!(
        bench.open[0].request,
        Request::UnlockAs { door: "d-1".parse().unwrap(), user: User::Id("anneke-7".to_owned()) }
    );
    assert_eq!(bench.open[0].opening, Some(bench.bridge.turn()), "it opens like any unlock");
    bench.answer(BY_ANNEKE, Ok(unlocked(Some(5))));
    assert_eq!(bench.last_result()["outcome"], "done");
    bench.run(secs(10));
    let external = r#"{"action":"unlock","as":{"external_id":"hr 7/ä"}}"#;
    assert_eq!(led_to(&mut bench, external), sent("unlock d-1 as hr 7/ä"));
    bench.take_log();
}

#[test]
fn without_leave_no_command_names_a_person() {
    let mut bench = Bench::settled();
    assert_eq!(led_to(&mut bench, ANNEKE), turned_away("refused not_allowed"));
    let message = bench.last_result()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("commands.unlock_as to allowed or required"), "{message}");
    bench.run(secs(30));
    assert_eq!(calls(&mut bench), Vec::<String>::new());
    assert_eq!(led_to(&mut bench, "UNLOCK"), sent("unlock d-1"));
    bench.take_log();
}

#[test]
fn what_the_owner_says_of_a_sender_counts_whatever_commands_may_name() {
    for unlock_as in [UnlockAs::Off, UnlockAs::Allowed, UnlockAs::Required] {
        let settings = with(|settings| {
            settings.commands.unlock_as = unlock_as;
            settings.users.insert("desk".to_owned(), User::External("1001".to_owned()));
        });
        let mut bench = Bench::settled_with(settings, |_| {});
        assert_eq!(led_to(&mut bench, r#"{"action":"unlock","by":"desk"}"#), sent("unlock d-1 as 1001"));
        bench.answer("unlock d-1 as 1001", Ok(unlocked(Some(5))));
        bench.run(secs(10));
        bench.take_log();
        let both = r#"{"action":"unlock","by":"desk","as":{"user_id":"anneke-7"}}"#;
        if unlock_as == UnlockAs::Off {
            assert_eq!(led_to(&mut bench, both), turned_away("refused not_allowed"));
        } else {
            assert_eq!(led_to(&mut bench, both), sent(BY_ANNEKE), "the command's own word goes first");
            bench.answer(BY_ANNEKE, Ok(unlocked(Some(5))));
            bench.run(secs(10));
            bench.take_log();
        }
        for nobody in [r#"{"action":"unlock","by":"Desk"}"#, "UNLOCK"] {
            if unlock_as == UnlockAs::Required {
                assert_eq!(led_to(&mut bench, nobody), turned_away("refused not_allowed"), "{nobody}");
                continue;
            }
            assert_eq!(led_to(&mut bench, nobody), sent("unlock d-1"), "{nobody}");
            bench.answer("unlock d-1", Ok(unlocked(Some(5))));
            bench.run(secs(10));
            bench.take_log();
        }
        bench.command("scenario/s-1", r#"{"action":"activate","by":"desk"}"#);
        assert_eq!(calls(&mut bench), [">activate s-1"], "a lockdown is in nobody's name");
    }
}

#[test]
fn where_a_person_is_required_nothing_opens_in_nobodys_name() {
    let required = with(|settings| settings.commands.unlock_as = UnlockAs::Required);
    let mut bench = Bench::settled_with(required, |bench| active(bench, false));
    for nobody in ["UNLOCK", r#"{"action":"unlock","id":"x","by":"desk"}"#] {
        assert_eq!(led_to(&mut bench, nobody), turned_away("refused not_allowed"), "{nobody}");
        let message = bench.last_result()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("commands.unlock_as: required"), "{message}");
    }
    assert_eq!(led_to(&mut bench, "LOCK"), turned_away("refused unsupported"));
    assert_eq!(led_to(&mut bench, ANNEKE), sent(BY_ANNEKE));
    bench.command("scenario/s-1", "ON");
    assert_eq!(calls(&mut bench), [">activate s-1"]);
}

// ---- as safe as any unlock -----------------------------------------------------------------------------------------

#[test]
fn an_unlock_in_a_name_is_never_sent_a_second_time_without_proof() {
    for fault in [Fault::Unclear(trace()), Fault::Malformed(trace())] {
        let mut bench = bench();
        assert_eq!(led_to(&mut bench, ANNEKE), sent(BY_ANNEKE));
        bench.answer(BY_ANNEKE, Err(fault));
        assert_eq!(bench.last_result()["outcome"], "unknown");
        bench.run(secs(120));
        assert_eq!(calls(&mut bench), Vec::<String>::new());
    }
    for fault in [
        Fault::Unauthorized(trace()),
        Fault::Forbidden(trace()),
        Fault::NoAccess(trace()),
        Fault::NotFound(trace()),
        Fault::Rejected(trace()),
    ] {
        let mut bench = bench();
        led_to(&mut bench, ANNEKE);
        bench.answer(BY_ANNEKE, Err(fault));
        assert_eq!(bench.last_result()["outcome"], "failed");
        bench.run(secs(120));
        assert_eq!(calls(&mut bench), Vec::<String>::new());
    }
    let mut bench = bench();
    led_to(&mut bench, ANNEKE);
    bench.answer(BY_ANNEKE, Err(Fault::NotSent(trace())));
    bench.run(secs(2));
    assert_eq!(calls(&mut bench), [format!(">{BY_ANNEKE}")], "again in the same name, never in another");
    let sending = bench.records.iter().filter(|record| record.stage == Stage::Sending);
    assert!(sending.clone().count() == 2 && sending.clone().all(names_anneke), "{:?}", bench.records);
}

fn names_anneke(record: &Record) -> bool {
    record.text.contains("in the name of user anneke-7")
}

#[test]
fn an_unlock_in_a_name_waits_for_the_journal_and_never_passes_a_lockdown() {
    let mut bench = bench();
    bench.journals = false;
    assert_eq!(led_to(&mut bench, ANNEKE), turned_away("accepted -"), "not before it is durable");
    bench.input(Input::Journal(JournalEvent::Broken("no space".to_owned())));
    assert_eq!(bench.last_result()["reason"], "journal_unavailable");
    assert_eq!(led_to(&mut bench, ANNEKE), turned_away("refused journal_unavailable"));
    bench.journals = true;
    bench.input(Input::Journal(JournalEvent::Mended));
    led_to(&mut bench, ANNEKE);
    bench.command("scenario/s-1", "ON");
    assert_ne!(bench.open[0].opening, Some(bench.bridge.turn()), "the adapter will not write it any more");
    bench.answer(BY_ANNEKE, Err(Fault::NotSent(trace())));
    let result = bench.last_result();
    assert_eq!(json!([result["outcome"], result["reason"]]), json!(["expired", "superseded"]));
    bench.take_log();
    assert_eq!(led_to(&mut bench, ANNEKE), turned_away("refused lockdown_active"));
}

#[test]
fn a_name_is_no_code() {
    let mut bench = Bench::settled_with(
        with(|settings| {
            allowed(settings);
            let secret = CodeSecret::Pin("7391".into());
            settings.code = Some(CodeSettings { secret, unlock: true, release: true, hold: true });
        }),
        |_| {},
    );
    assert_eq!(led_to(&mut bench, ANNEKE), turned_away("refused code_required"));
    let coded = r#"{"action":"unlock","code":"7391","as":{"user_id":"anneke-7"}}"#;
    assert_eq!(led_to(&mut bench, coded), sent(BY_ANNEKE));
}

// ---- who shows where -----------------------------------------------------------------------------------------------

#[test]
fn the_person_stands_in_the_journal_and_nowhere_else() {
    let (lines, guard) = Lines::listen_at(LevelFilter::TRACE);
    let mut bench = bench();
    let payload = r#"{"action":"unlock","id":"x","by":"desk","as":{"external_id":"anneke@example.org"}}"#;
    assert_eq!(led_to(&mut bench, payload), sent("unlock d-1 as anneke@example.org"));
    bench.answer("unlock d-1 as anneke@example.org", Ok(unlocked(Some(5))));
    let event = of_person(from_afar(&bench, "e-1", EventKind::RemoteUnlock), "u-1");
    bench.events.push(event);
    bench.run(secs(20));
    for publication in &bench.published {
        let text = String::from_utf8(publication.payload.to_vec()).unwrap();
        assert!(!text.contains("anneke"), "{}: {text}", publication.topic);
    }
    drop(guard);
    let log = lines.take();
    assert!(log.len() > 2 && !log.concat().contains("anneke"), "{log:#?}");
    let naming: BTreeSet<_> =
        bench.records.iter().filter(|record| record.text.contains("anneke")).map(|r| r.stage).collect();
    assert_eq!(naming.into_iter().collect::<Vec<_>>(), [Stage::Sending]);
    let text = "in the name of the user with external id \"anneke@example.org\"";
    assert!(bench.records.iter().any(|record| record.text.ends_with(text)), "{:?}", bench.records);
    bench.take_log();
}

// ---- denied --------------------------------------------------------------------------------------------------------

#[test]
fn a_person_without_access_is_turned_away_and_nothing_is_wrong_with_the_key() {
    let mut bench = bench();
    bench.command("door/d-1", ANNEKE);
    bench.take_log();
    bench.answer(BY_ANNEKE, Err(Fault::NoAccess(trace())));
    bench.expect(&[
        "!door/d-1/result unlock failed no_access",
        "=door/d-1/attributes none failed",
        "=door/d-1/state None",
    ]);
    assert_eq!(bench.held("bridge/problem").as_deref(), Some("None"));
    let status = bench.bridge.status(bench.now);
    assert_eq!((status.api, status.api_trouble), (true, None));
    assert_eq!(status.books.ended(Outcome::Failed), 1);
    assert_eq!(led_to(&mut bench, "UNLOCK"), sent("unlock d-1"), "the next one is no repeat");
}

#[test]
fn the_event_of_a_denial_is_attached_to_its_result() {
    for (early, fault) in [
        (false, Fault::NoAccess(trace())),
        (true, Fault::NoAccess(trace())),
        (false, Fault::Forbidden(trace())),
    ] {
        let mut bench = bench();
        bench.command("door/d-1", &command("x", "anneke-7"));
        let denial = from_afar(&bench, "e-1", EventKind::Denied);
        if early {
            bench.events.push(denial.clone());
            bench.run(secs(6));
        }
        bench.answer(BY_ANNEKE, Err(fault));
        if !early {
            bench.events.push(denial.clone());
        }
        bench.run(secs(20));
        assert_eq!(notes(&bench), ["x denied e-1"], "early {early}");
        let note = bench.last_result();
        assert_eq!(note["outcome"], "failed", "it stays ended as it did");
        let expected = format!(
            "the vendor's log shows that the person was turned away: door_remote_unlock_rejected at {}, event e-1",
            denial.at
        );
        assert_eq!(note["message"], expected.as_str());
        bench.run(secs(120));
        assert_eq!(notes(&bench).len(), 1);
        bench.take_log();
    }
}

#[test]
fn evidence_is_of_the_person_who_was_named() {
    // What ended as unknown, in whose name, which event comes, of whom, and what is said.
    let cases = [
        (Some("anneke-7"), EventKind::Denied, None, "x denied e-1"),
        (Some("anneke-7"), EventKind::Denied, Some("anneke-7"), "x denied e-1"),
        (Some("anneke-7"), EventKind::Denied, Some("goran-2"), "x not_seen -"),
        (Some("anneke-7"), EventKind::RemoteUnlock, Some("anneke-7"), "x seen e-1"),
        (Some("anneke-7"), EventKind::RemoteUnlock, Some("goran-2"), "x not_seen -"),
        (None, EventKind::RemoteUnlock, Some("api"), "x seen e-1"),
        (None, EventKind::Denied, Some("goran-2"), "x not_seen -"),
        (None, EventKind::Denied, None, "x not_seen -"),
    ];
    for early in [false, true] {
        for (user, kind, person, expected) in cases {
            let mut bench = bench();
            let payload = user.map_or_else(
                || json!({ "action": "unlock", "id": "x" }).to_string(),
                |user| command("x", user),
            );
            bench.command("door/d-1", &payload);
            let call = if user.is_some() { BY_ANNEKE } else { "unlock d-1" };
            let event = from_afar(&bench, "e-1", kind);
            let event = match person {
                Some(id) => of_person(event, id),
                None => event,
            };
            if early {
                bench.events.push(event.clone());
                bench.run(secs(6));
            }
            bench.answer(call, Err(Fault::Unclear(trace())));
            if !early {
                bench.events.push(event);
            }
            bench.run(secs(30));
            assert_eq!(notes(&bench), [expected], "{user:?} {kind:?} {person:?} early {early}");
            bench.take_log();
        }
    }
}

#[test]
fn a_denial_says_nothing_of_an_unlock_that_was_done() {
    let mut bench = bench();
    bench.command("door/d-1", &command("x", "anneke-7"));
    bench.answer(BY_ANNEKE, Ok(unlocked(Some(5))));
    let denial = from_afar(&bench, "e-1", EventKind::Denied);
    bench.events.push(denial);
    bench.run(secs(70));
    assert_eq!(notes(&bench), Vec::<String>::new());
    bench.take_log();
}

// ---- one door, several people --------------------------------------------------------------------------------------

#[test]
fn one_opening_serves_all_and_who_is_not_named_is_told() {
    let mut bench = bench();
    let merged = turned_away("merged merged");
    assert_eq!(led_to(&mut bench, &command("x", "anneke-7")), sent(BY_ANNEKE));
    assert_eq!(led_to(&mut bench, &command("y", "anneke-7")), merged);
    assert_eq!(
        bench.last_result()["message"],
        "an equal command is under way; its result counts for this one too"
    );
    for other in [command("z", "goran-2"), r#"{"action":"unlock","id":"n"}"#.to_owned()] {
        assert_eq!(led_to(&mut bench, &other), merged, "{other}");
        let message = bench.last_result()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("this command was not sent") && message.contains("its log names the other"));
    }
    bench.answer(BY_ANNEKE, Ok(unlocked(Some(5))));
    bench.take_log();
    assert_eq!(led_to(&mut bench, &command("a", "goran-2")), merged, "the door is open");
    assert!(bench.last_result()["message"].as_str().unwrap().contains("this command was not sent"));
    assert_eq!(led_to(&mut bench, &command("b", "anneke-7")), merged);
    assert!(bench.last_result()["message"].as_str().unwrap().contains("an equal command"));
    bench.run(ms(1_000));
    assert_eq!(led_to(&mut bench, &command("c", "goran-2")), sent("unlock d-1 as goran-2"));
    bench.take_log();
}

#[test]
fn who_has_access_does_not_wait_for_who_was_turned_away() {
    let mut bench = bench();
    led_to(&mut bench, &command("x", "anneke-7"));
    bench.answer(BY_ANNEKE, Err(Fault::NoAccess(trace())));
    bench.take_log();
    assert_eq!(led_to(&mut bench, &command("y", "goran-2")), sent("unlock d-1 as goran-2"));
}

#[test]
fn an_id_is_of_one_person() {
    let mut bench = bench();
    led_to(&mut bench, &command("x", "anneke-7"));
    bench.answer(BY_ANNEKE, Ok(unlocked(Some(5))));
    bench.run(secs(10));
    bench.take_log();
    let conflict = turned_away("refused id_conflict");
    assert_eq!(led_to(&mut bench, &command("x", "anneke-7")), turned_away("merged duplicate"));
    assert_eq!(led_to(&mut bench, &command("x", "goran-2")), conflict);
    assert_eq!(led_to(&mut bench, r#"{"action":"unlock","id":"x"}"#), conflict);
    let message = bench.last_result()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("for another person") && !message.contains("anneke"), "{message}");
    assert_eq!(led_to(&mut bench, r#"{"action":"unlock","id":"n"}"#), sent("unlock d-1"));
    assert_eq!(led_to(&mut bench, &command("n", "goran-2")), conflict);
    bench.answer("unlock d-1", Ok(unlocked(Some(5))));
    // Over a restart the id is known, and its person is not: it is executed for nobody.
    bench.take_log();
    bench.restart_with_journal(settings(Style::Device), secs(60));
    bench.join();
    bench.take_log();
    for payload in [r#"{"action":"unlock","id":"x"}"#, r#"{"action":"unlock","id":"n"}"#] {
        assert_eq!(led_to(&mut bench, payload), turned_away("merged duplicate"));
    }
}
