//! What a door shows, and who it was: from events, and no more than they prove.

use jiff::Timestamp;
use serde_json::{Value, json};
use verkada2mqtt::{
    bridge::DoorSettings,
    hass::Style,
    model::{AccessEvent, EventKind, Fault, Person, Privacy, Scenario, ScenarioState, Site, SiteId},
};

use super::{DOOR, active, with};
use crate::bench::{Bench, door, event, scenario, secs, settings, trace, unlocked};

/// Events as the vendor words them, one each second from now on, read by one poll.
fn happen(bench: &mut Bench, words: &[&str]) {
    for word in words {
        bench.run(secs(1));
        let id = format!("n-{}", bench.events.len());
        let at = Timestamp::from_second(bench.now.utc.as_second()).unwrap();
        let mut event = event(&id, EventKind::of_word(word), "d-1", at);
        (*word).clone_into(&mut event.word);
        bench.events.push(event);
    }
    bench.run(secs(6));
    bench.take_log();
}

#[track_caller]
fn shows(bench: &Bench, leaf: &str, word: &str) {
    assert_eq!(bench.held(&format!("door/d-1/{leaf}")).as_deref(), Some(word), "{leaf}");
}

fn attributes(bench: &Bench, target: &str) -> Value {
    serde_json::from_str(&bench.held(&format!("{target}/attributes")).unwrap()).unwrap()
}

/// The entities that the newest discovery message of the door announces.
fn entities(bench: &Bench) -> Vec<String> {
    let topic = DOOR.strip_prefix('=').unwrap();
    let config = bench.published.iter().rev().find(|p| p.topic == topic).unwrap();
    let config: Value = serde_json::from_slice(&config.payload).unwrap();
    config["components"].as_object().unwrap().keys().cloned().collect()
}

// ---- an opening during an unlock -----------------------------------------------------------------------------------

/// A door with this evidence of its lock that is unlocked for 30 s, opened 3 s later, and nothing else.
fn opened_after_unlock(general: bool, own: Option<bool>, proven: Option<EventKind>) -> Bench {
    let chosen = with(|settings| {
        settings.ignore_dpi_relock = general;
        let own = DoorSettings { ignore_dpi_relock: own, ..DoorSettings::default() };
        settings.door_settings.insert("d-1".parse().unwrap(), own);
    });
    let mut bench = Bench::settled_with(chosen, |bench| {
        bench.events.extend(proven.map(|kind| event("e-0", kind, "d-1", bench.now.utc - secs(60))));
    });
    bench.command("door/d-1", "UNLOCK");
    bench.answer("unlock d-1", Ok(unlocked(Some(30))));
    bench.run(secs(2));
    happen(&mut bench, &["door_opened"]);
    bench
}

#[test]
fn an_opening_ends_the_unlock_only_where_the_owner_says_that_it_locks_the_door() {
    use EventKind::{LockChanged, Locked, Unlocked};
    for (general, own, proven, shown) in [
        (true, None, Some(Locked), "UNLOCKED"),
        (false, Some(true), Some(Locked), "UNLOCKED"),
        (false, None, Some(Locked), "LOCKED"),
        (true, Some(false), Some(Locked), "LOCKED"),
        // Without proof of a lock below it, the end of an unlock proves none.
        (false, None, None, "None"),
        (false, None, Some(LockChanged), "None"),
        (false, None, Some(Unlocked), "UNLOCKED"),
    ] {
        let bench = opened_after_unlock(general, own, proven);
        assert_eq!(
            bench.held("door/d-1/state").as_deref(),
            Some(shown),
            "general {general}, own {own:?}, proven {proven:?}"
        );
        shows(&bench, "position", "ON");
        let ended = attributes(&bench, "door/d-1")["relock_due"].is_null();
        assert_eq!(ended, !own.unwrap_or(general), "general {general}, own {own:?}, proven {proven:?}");
    }
}

/// Unlocked for 30 s where an opening locks, with proof of a lock from before.
fn unlocked_where_openings_lock() -> Bench {
    let mut bench = Bench::settled_with(with(|settings| settings.ignore_dpi_relock = false), |bench| {
        bench.events.push(event("e-0", EventKind::Locked, "d-1", bench.now.utc - secs(60)));
    });
    bench.run(secs(10));
    bench.command("door/d-1", "UNLOCK");
    bench.answer("unlock d-1", Ok(unlocked(Some(30))));
    bench.take_log();
    bench
}

#[test]
fn an_opening_from_before_the_unlock_or_by_a_clock_that_runs_ahead_does_not_end_it() {
    for offset in [-5, 0, 3600] {
        let mut bench = unlocked_where_openings_lock();
        let at = bench.now.utc + jiff::SignedDuration::from_secs(offset);
        bench.events.push(event("e-1", EventKind::Opened, "d-1", at));
        bench.run(secs(6));
        shows(&bench, "state", "UNLOCKED");
        bench.run(secs(24));
        shows(&bench, "state", "LOCKED");
        bench.take_log();
    }
}

#[test]
fn an_opening_proves_nothing_about_an_unlock_that_may_have_worked_or_follows_it() {
    let mut bench = unlocked_where_openings_lock();
    bench.command("door/d-1", "UNLOCK");
    bench.run(secs(2));
    bench.command("door/d-1", "UNLOCK");
    bench.answer("unlock d-1", Err(Fault::Unclear(trace())));
    happen(&mut bench, &["door_opened"]);
    shows(&bench, "state", "None");
    bench.run(secs(60));
    bench.take_log();

    let mut bench = unlocked_where_openings_lock();
    happen(&mut bench, &["door_opened"]);
    shows(&bench, "state", "LOCKED");
    bench.command("door/d-1", "UNLOCK");
    bench.answer("unlock d-1", Ok(unlocked(Some(30))));
    bench.run(secs(10));
    shows(&bench, "state", "UNLOCKED");
    bench.take_log();
}

#[test]
fn the_event_of_our_own_unlock_does_not_outlast_it() {
    let mut bench = Bench::settled();
    bench.run(secs(2));
    bench.command("door/d-1", "UNLOCK");
    // The event is read before the answer tells that this door locks after 1 s and not after the usual 10 s.
    happen(&mut bench, &["door_remote_unlock_accepted"]);
    bench.answer("unlock d-1", Ok(unlocked(Some(1))));
    bench.run(secs(1));
    shows(&bench, "state", "None");
    bench.take_log();
}

// ---- position ------------------------------------------------------------------------------------------------------

#[test]
fn open_without_any_closing_ever_seen_falls_back_to_unknown_by_itself() {
    let mut bench = Bench::settled();
    bench.run(secs(4));
    bench.events.push(event("e-1", EventKind::Opened, "d-1", bench.now.utc - secs(60)));
    bench.run(secs(5));
    shows(&bench, "position", "ON");
    assert_eq!(attributes(&bench, "door/d-1")["position_time"], "2026-11-25T11:59:05Z");
    // 15 minutes count from when it happened: 12:14:05.
    bench.run(secs(834));
    bench.take_log();
    bench.run(secs(0));
    shows(&bench, "position", "ON");
    bench.run(secs(1));
    bench.expect(&["=door/d-1/attributes none -", "=door/d-1/position None"]);
    assert_eq!(attributes(&bench, "door/d-1")["position_time"], Value::Null);
    happen(&mut bench, &["door_opened"]);
    shows(&bench, "position", "ON");
}

#[test]
fn an_opening_that_is_too_old_when_it_is_read_is_not_shown_for_a_moment() {
    let bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.events.push(event("e-1", EventKind::Opened, "d-1", bench.now.utc - secs(900)));
    });
    let mut positions = bench.published.iter().filter(|p| p.topic == "verkada/door/d-1/position");
    assert!(positions.all(|position| position.payload == "None"));
}

#[test]
fn a_door_that_told_of_being_closed_once_stays_open_until_it_tells_again() {
    for order in [["door_closed", "door_opened"], ["door_opened", "door_opened"]] {
        let mut bench = Bench::settled();
        happen(&mut bench, &order);
        shows(&bench, "position", "ON");
        bench.run(secs(2000));
        shows(&bench, "position", if order[0] == "door_closed" { "ON" } else { "None" });
        bench.take_log();
    }
}

#[test]
fn a_closing_told_late_brings_back_an_opening_that_was_no_longer_believed() {
    let mut bench = Bench::settled_with(with(|settings| settings.open_unproven_after = secs(20)), |_| {});
    happen(&mut bench, &["door_closed", "door_opened"]);
    // The closing is older than the opening and comes after it lapsed.
    let closed = bench.events.remove(0);
    let mut bench = Bench::settled_with(with(|settings| settings.open_unproven_after = secs(20)), |_| {});
    happen(&mut bench, &["door_opened"]);
    bench.run(secs(20));
    shows(&bench, "position", "None");
    let late = AccessEvent { id: "late".parse().unwrap(), at: bench.events[0].at - secs(1), ..closed };
    bench.events.push(late);
    bench.run(secs(6));
    shows(&bench, "position", "ON");
    bench.run(secs(100));
    shows(&bench, "position", "ON");
    bench.take_log();
}

#[test]
fn opened_and_closed_within_one_second_is_unknown() {
    let mut bench = Bench::settled();
    let at = bench.now.utc;
    bench.events.push(event("e-1", EventKind::Opened, "d-1", at));
    bench.events.push(event("e-2", EventKind::Closed, "d-1", at));
    bench.run(secs(5));
    shows(&bench, "position", "None");
    bench.take_log();
}

// ---- problems ------------------------------------------------------------------------------------------------------

#[test]
fn problems_come_by_events_and_go_only_by_proof() {
    // Words, then held open, forced open, tamper, fire.
    for (words, expected) in [
        (&[][..], ["None", "None", "None", "None"]),
        (&["door_held_open"], ["ON", "None", "None", "None"]),
        (&["door_held_open", "door_closed"], ["OFF", "OFF", "None", "None"]),
        (&["door_forced_open"], ["None", "ON", "None", "None"]),
        (&["door_forced_open", "door_locked", "door_opened"], ["None", "ON", "None", "None"]),
        (&["door_forced_open", "door_closed"], ["OFF", "OFF", "None", "None"]),
        (&["door_closed", "door_forced_open"], ["OFF", "ON", "None", "None"]),
        (&["door_tamper", "door_closed", "door_locked"], ["OFF", "OFF", "ON", "None"]),
        (&["door_fire_alarm_triggered", "door_closed"], ["OFF", "OFF", "None", "ON"]),
        (&["door_fire_alarm_triggered", "door_fire_alarm_released"], ["None", "None", "None", "OFF"]),
        (&["door_acu_fire_alarm_triggered", "door_fire_alarm_released"], ["None", "None", "None", "ON"]),
        (&["door_acu_fire_alarm_triggered", "door_acu_fire_alarm_released"], ["None", "None", "None", "OFF"]),
    ] {
        let mut bench = Bench::settled();
        happen(&mut bench, words);
        for (leaf, word) in ["held_open", "forced_open", "tamper", "fire"].into_iter().zip(expected) {
            assert_eq!(
                bench.held(&format!("door/d-1/{leaf}")).as_deref(),
                Some(word),
                "{leaf} after {words:?}"
            );
        }
        let there: Vec<_> = ["held_open", "forced_open", "tamper", "fire"]
            .into_iter()
            .zip(expected)
            .filter(|(_, word)| *word == "ON")
            .map(|(leaf, _)| leaf)
            .collect();
        assert_eq!(attributes(&bench, "door/d-1")["problems"], json!(there));
    }
}

#[test]
fn a_door_that_is_no_longer_believed_to_be_open_is_no_longer_held_or_forced_open() {
    let mut bench = Bench::settled();
    happen(&mut bench, &["door_forced_open", "door_held_open"]);
    shows(&bench, "held_open", "ON");
    bench.run(secs(900));
    for leaf in ["position", "held_open", "forced_open"] {
        shows(&bench, leaf, "None");
    }
    bench.take_log();
}

#[test]
fn a_fire_alarm_of_a_controller_reaches_all_its_doors_and_no_others() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.doors.push(door("d-2", "Back Door"));
        let mut other = door("d-3", "Shed");
        other.controller.as_mut().unwrap().id = "acu-2".parse().unwrap();
        bench.doors.push(other);
    });
    let mut fire = event("e-1", EventKind::ControllerFireTriggered, "d-1", bench.now.utc);
    fire.door = None;
    fire.controller = Some("acu-1".parse().unwrap());
    bench.events.push(fire);
    bench.run(secs(5));
    let held = |bench: &Bench, id: &str| bench.held(&format!("door/{id}/fire")).unwrap();
    assert_eq!(["d-1", "d-2", "d-3"].map(|id| held(&bench, id)), ["ON", "ON", "None"]);
    assert_eq!(
        entities(&bench),
        ["access", "fire", "forced_open", "held_open", "lock", "position", "unlock"]
    );
    bench.take_log();
}

#[test]
fn what_a_controller_told_through_a_door_that_is_not_listed_yet_waits_for_all_its_doors() {
    let mut bench = Bench::settled();
    for (id, kind) in [("e-1", EventKind::ControllerFireTriggered), ("e-2", EventKind::ControllerOffline)] {
        bench.events.push(event(id, kind, "d-8", bench.now.utc));
        bench.run(secs(5));
    }
    bench.expect(&[]);
    for id in ["d-8", "d-9"] {
        let mut late = door(id, "Cellar");
        late.controller.as_mut().unwrap().id = "acu-2".parse().unwrap();
        bench.doors.push(late);
    }
    bench.run(secs(300));
    let held = |id: &str, leaf: &str| bench.held(&format!("door/{id}/{leaf}")).unwrap();
    for (id, availability, fire) in
        [("d-1", "online", "None"), ("d-8", "offline", "ON"), ("d-9", "offline", "ON")]
    {
        assert_eq!(held(id, "availability"), availability, "{id}");
        assert_eq!(held(id, "fire"), fire, "{id}");
    }
    bench.take_log();
}

#[test]
fn a_controller_without_a_name_is_that_of_the_one_door_that_told_of_it() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        for door in [&mut door("d-1", "Front Door"), &mut door("d-2", "Back Door")] {
            door.controller = None;
            bench.doors.retain(|known| known.id != door.id);
            bench.doors.push(door.clone());
        }
    });
    bench.events.push(event("e-1", EventKind::ControllerOffline, "d-1", bench.now.utc));
    bench.run(secs(5));
    let held = |bench: &Bench, id: &str| bench.held(&format!("door/{id}/availability")).unwrap();
    assert_eq!(["d-1", "d-2"].map(|id| held(&bench, id)), ["offline", "online"]);
    bench.run(secs(2));
    bench.events.push(event("e-2", EventKind::Opened, "d-1", bench.now.utc));
    bench.run(secs(5));
    assert_eq!(["d-1", "d-2"].map(|id| held(&bench, id)), ["online", "online"]);
    bench.take_log();
}

#[test]
fn tampering_and_fire_are_announced_once_they_were_seen_and_then_stay() {
    let mut bench = Bench::settled();
    let always = ["access", "forced_open", "held_open", "lock", "position", "unlock"];
    assert_eq!(entities(&bench), always);
    happen(&mut bench, &["door_opened", "door_closed", "door_held_open"]);
    assert_eq!(entities(&bench), always);
    bench.events.push(event("t-1", EventKind::Tamper, "d-1", bench.now.utc));
    bench.run(secs(5));
    let log = bench.take_log();
    assert!(log.contains(&DOOR.to_owned()) && log.contains(&"=door/d-1/tamper ON".to_owned()), "{log:?}");
    let with_tamper = ["access", "forced_open", "held_open", "lock", "position", "tamper", "unlock"];
    assert_eq!(entities(&bench), with_tamper);
    // A second one announces nothing anew.
    bench.run(secs(2));
    bench.events.push(event("t-2", EventKind::Tamper, "d-1", bench.now.utc));
    bench.run(secs(5));
    bench.expect(&["!door/d-1/event other"]);
    assert_eq!(entities(&bench), with_tamper);
}

#[test]
fn what_events_proved_is_not_shown_once_they_may_not_be_read() {
    let mut bench = Bench::settled();
    happen(&mut bench, &["door_forced_open", "door_tamper", "door_acu_fire_alarm_triggered"]);
    bench.auto = false;
    bench.run(secs(6));
    bench.answer("events", Err(Fault::Forbidden(trace())));
    for leaf in ["position", "held_open", "forced_open", "tamper", "fire"] {
        shows(&bench, leaf, "None");
    }
    bench.take_log();
}

// ---- access events and people --------------------------------------------------------------------------------------

/// What was published last on the event topic of the door.
fn last_event(bench: &Bench) -> Value {
    let last = bench.published.iter().rev().find(|p| p.topic == "verkada/door/d-1/event").unwrap();
    assert!(!last.retain);
    serde_json::from_slice(&last.payload).unwrap()
}

fn person(privacy: Privacy) -> Option<Person> {
    let text = |text: &str| Some(text.to_owned());
    Person::cut_down(privacy, text("u-1"), text("Ada Example"), text("ada@example.org"))
}

fn badge(id: &str, bench: &Bench, privacy: Privacy) -> AccessEvent {
    AccessEvent {
        word: "door_keycard_entered_accepted".to_owned(),
        direction: Some("inbound".to_owned()),
        message: Some("Keycard Entered".to_owned()),
        person: person(privacy),
        ..event(id, EventKind::Granted, "d-1", bench.now.utc)
    }
}

#[test]
fn an_access_event_tells_how_and_which_way_and_of_the_person_what_the_owner_allows() {
    for (privacy, expected) in [
        (Privacy::None, None),
        (Privacy::Id, Some(json!({"id": "u-1"}))),
        (Privacy::Name, Some(json!({"id": "u-1", "name": "Ada Example"}))),
        (Privacy::Full, Some(json!({"id": "u-1", "name": "Ada Example", "email": "ada@example.org"}))),
    ] {
        let mut bench = Bench::settled();
        let event = badge("e-1", &bench, privacy);
        bench.events.push(event);
        bench.run(secs(5));
        bench.take_log();
        let mut told = json!({
            "event_type": "access_granted", "id": "e-1", "type": "door_keycard_entered_accepted",
            "time": "2026-11-25T12:00:01Z", "method": "keycard", "direction": "inbound", "message": "Keycard Entered",
        });
        if let Some(person) = &expected {
            told["person"] = person.clone();
        }
        assert_eq!(last_event(&bench), told);
        let kept = json!({
            "type": "door_keycard_entered_accepted", "time": "2026-11-25T12:00:01Z", "method": "keycard", "by": expected,
        });
        assert_eq!(attributes(&bench, "door/d-1")["last_event"], kept);
        if privacy == Privacy::None {
            let all = bench.published.iter().map(|p| String::from_utf8_lossy(&p.payload)).collect::<String>();
            assert!(!all.contains("Ada") && !all.contains("u-1"));
        }
    }
}

#[test]
fn nobody_of_an_earlier_event_stands_at_a_later_one_or_comes_back() {
    let mut bench = Bench::settled();
    bench.run(secs(10));
    let by_ada = badge("e-1", &bench, Privacy::Full);
    bench.run(secs(2));
    let denied = AccessEvent {
        word: "door_code_entered_rejected".to_owned(),
        ..event("e-2", EventKind::Denied, "d-1", bench.now.utc)
    };
    bench.events.push(denied);
    bench.run(secs(5));
    assert_eq!(last_event(&bench).get("person"), None);
    let kept = attributes(&bench, "door/d-1")["last_event"].clone();
    assert_eq!((&kept["method"], &kept["by"]), (&json!("code"), &Value::Null));
    // The older event comes late: it is told, and does not stand for the newest.
    bench.events.push(by_ada);
    bench.run(secs(5));
    assert_eq!(last_event(&bench)["person"]["name"], "Ada Example");
    assert_eq!(attributes(&bench, "door/d-1")["last_event"], kept);
    // What happens without anybody changes nothing about it.
    bench.take_log();
    happen(&mut bench, &["door_closed"]);
    assert_eq!(attributes(&bench, "door/d-1")["last_event"], kept);
    bench.take_log();
}

#[test]
fn words_without_a_meaning_here_are_told_as_they_are() {
    for word in ["intercom_call_triggered", "intercom_missed_call", "door_dances", "door_low_battery"] {
        let mut bench = Bench::settled();
        happen(&mut bench, &[word]);
        let told = last_event(&bench);
        assert_eq!((&told["event_type"], &told["type"]), (&json!("other"), &json!(word)));
        assert_eq!(told.get("method"), None);
    }
}

// ---- scenarios -----------------------------------------------------------------------------------------------------

fn two_sites() -> Scenario {
    let mut both = scenario("s-2", &["d-1", "d-9"]);
    both.sites.push("site-9".parse().unwrap());
    both
}

#[test]
fn a_scenario_tells_since_when_and_where_and_a_door_which_ones_lock_it() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| bench.scenarios.push(two_sites()));
    let told = attributes(&bench, "scenario/s-2");
    assert_eq!(told["active_since"], Value::Null);
    assert_eq!(
        (&told["site_ids"], &told["site_names"]),
        (&json!(["site-1", "site-9"]), &json!(["HQ", null]))
    );
    assert_eq!(
        (&told["doors_to_lock"], &told["door_names"]),
        (&json!(["d-1", "d-9"]), &json!(["Front Door", null]))
    );
    assert_eq!(attributes(&bench, "door/d-1")["covered_by"], json!([]));

    bench.scenarios[1].state = ScenarioState::Active;
    bench.run(secs(5));
    let since = attributes(&bench, "scenario/s-2")["active_since"].clone();
    assert!(since.as_str().is_some_and(|since| since.starts_with("2026-11-25T12:00:0")), "{since}");
    assert_eq!(attributes(&bench, "door/d-1")["covered_by"], json!(["s-2"]));
    // The second one shows although the door is locked already, and the first keeps its time.
    active(&mut bench, true);
    bench.run(secs(60));
    assert_eq!(attributes(&bench, "door/d-1")["covered_by"], json!(["s-1", "s-2"]));
    assert_eq!(attributes(&bench, "scenario/s-2")["active_since"], since);
    // A state that nobody documented covers nothing, and is not called inactive.
    bench.scenarios[1].state = ScenarioState::Unknown(Some("ARMING".to_owned()));
    active(&mut bench, false);
    bench.run(secs(5));
    assert_eq!(attributes(&bench, "door/d-1")["covered_by"], json!([]));
    assert_eq!(attributes(&bench, "scenario/s-2")["active_since"], Value::Null);
    assert_eq!(attributes(&bench, "scenario/s-2")["vendor_state"], "ARMING");
    assert_eq!(bench.held("scenario/s-2/state").as_deref(), Some("None"));
    bench.take_log();
}

#[test]
fn names_of_sites_and_doors_follow_the_list_of_doors() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| bench.scenarios.push(two_sites()));
    let mut cellar = door("d-9", "Cellar");
    cellar.site = Some(Site { id: "site-9".parse::<SiteId>().unwrap(), name: Some("Annex".to_owned()) });
    bench.doors.push(cellar);
    bench.run(secs(300));
    let told = attributes(&bench, "scenario/s-2");
    assert_eq!(
        (&told["site_names"], &told["door_names"]),
        (&json!(["HQ", "Annex"]), &json!(["Front Door", "Cellar"]))
    );
    bench.take_log();
}

#[test]
fn the_attributes_of_a_scenario_fit_into_home_assistants_recorder() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.doors = (0..300).map(|n| door(&format!("{n:036}"), &"door ".repeat(60))).collect();
        let ids: Vec<_> = bench.doors.iter().map(|door| door.id.to_string()).collect();
        bench.scenarios = vec![scenario("s-1", &ids.iter().map(String::as_str).collect::<Vec<_>>())];
    });
    let told = attributes(&bench, "scenario/s-1");
    assert_eq!(told["doors_to_lock_count"], 300);
    let names = told["door_names"].as_array().unwrap().len();
    assert!(names > 5 && names < 200, "{names}");
    assert!(told.to_string().len() < 16 * 1024, "{}", told.to_string().len());
    bench.take_log();
}

#[test]
fn of_two_scenarios_that_are_seen_active_at_once_the_one_that_was_seen_inactive_says_more() {
    let mut bench = Bench::settled_with(settings(Style::Device), |bench| {
        bench.scenarios.push(scenario("s-2", &["d-1"]));
        // Nobody knows whether it is active all the time.
        bench.scenarios[0].state = ScenarioState::Unknown(Some("PAUSED".to_owned()));
        bench.events.push(event("e-1", EventKind::Unlocked, "d-1", bench.now.utc));
    });
    assert_eq!(bench.held("door/d-1/state").as_deref(), Some("UNLOCKED"));
    bench.run(secs(10));
    for scenario in &mut bench.scenarios {
        scenario.state = ScenarioState::Active;
    }
    bench.run(secs(6));
    bench.take_log();
    assert_eq!(bench.held("door/d-1/state").as_deref(), Some("LOCKED"), "it was unlocked before s-2 began");
}
