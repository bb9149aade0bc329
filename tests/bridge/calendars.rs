//! Exception calendars of others: what is shown of them, and of what they say of doors.

use super::*;
use jiff::Timestamp;
use verkada2mqtt::model::{
    Calendar, DoorMode, Exception, ExceptionMode, Frequency, Hours, Recurrence, Weekday,
};

fn showing() -> Settings {
    with(|settings| {
        settings.calendars.show = true;
        settings.polls.calendars = Some(secs(60));
    })
}

fn exception(id: &str, date: &str, hours: Option<(&str, &str)>, mode: DoorMode) -> Exception {
    let between = |(start, end): (&str, &str)| Hours::Between(start.parse().unwrap(), end.parse().unwrap());
    Exception {
        id: Some(id.parse().unwrap()),
        date: date.parse().unwrap(),
        hours: hours.map_or(Hours::AllDay, between),
        mode: ExceptionMode::Known(mode),
        first_person_in: None,
        double_badge: None,
        recurrence: None,
    }
}

fn weekly(exception: Exception) -> Exception {
    let recurrence = Recurrence {
        frequency: Frequency::Weekly,
        interval: 1,
        by_day: vec![Weekday(exception.date.weekday())],
        by_month: None,
        by_month_day: None,
        by_set_pos: None,
        count: None,
        until: Some("2027-06-30".to_owned()),
        excluded_dates: vec!["2026-12-30".to_owned()],
    };
    Exception { recurrence: Some(recurrence), ..exception }
}

fn calendar(id: &str, name: &str, exceptions: Vec<Exception>) -> Calendar {
    Calendar {
        id: id.parse().unwrap(),
        name: Some(name.to_owned()),
        doors: vec!["d-1".parse().unwrap(), "d-9".parse().unwrap()],
        exceptions,
        updated_at: Some("2026-11-01T08:00:00Z".parse().unwrap()),
        skipped: Vec::new(),
    }
}

/// The opening hours of Wednesdays, and Christmas. The bench begins on a Wednesday at 13:00 in Amsterdam.
fn holidays() -> Calendar {
    let open = exception("e-1", "2026-11-18", Some(("09:00", "18:00")), DoorMode::Unlocked);
    calendar(
        "c-1",
        "Holidays",
        vec![exception("e-2", "2026-12-25", None, DoorMode::Credential), weekly(open)],
    )
}

fn zoned(bench: &mut Bench) {
    bench.doors[0].time_zone = Some("Europe/Amsterdam".to_owned());
}

fn ready() -> Bench {
    ready_with(vec![holidays()])
}

fn ready_with(calendars: Vec<Calendar>) -> Bench {
    Bench::settled_with(showing(), |bench| {
        zoned(bench);
        bench.shelf.calendars = calendars;
    })
}

fn shown(bench: &Bench, id: &str) -> Option<Value> {
    bench.held(&format!("calendar/{id}")).map(|text| serde_json::from_str(&text).unwrap())
}

/// What the attributes of the door say of exceptions: now, and next.
fn told(bench: &Bench) -> (Value, Value) {
    let attributes: Value = serde_json::from_str(&bench.held("door/d-1/attributes").unwrap()).unwrap();
    (attributes["exception"].clone(), attributes["next_exception"].clone())
}

fn mode(bench: &Bench) -> Value {
    told(bench).0["mode"].clone()
}

#[test]
fn calendars_are_shown_with_their_doors_and_exceptions() {
    let mut bench = ready();
    let expected = json!({
        "id": "c-1", "name": "Holidays", "own": false, "doors": ["d-1", "d-9"], "door_names": ["Front Door", null],
        "doors_count": 2, "exceptions": [
            {"id": "e-1", "date": "2026-11-18", "start": "09:00", "end": "18:00", "all_day": false, "mode": "unlocked",
                "recurrence": {"frequency": "WEEKLY", "interval": 1, "by_day": ["WE"], "until": "2027-06-30",
                    "excluded_dates": ["2026-12-30"]}},
            {"id": "e-2", "date": "2026-12-25", "start": null, "end": null, "all_day": true, "mode": "credential"},
        ], "exceptions_left_out": 0, "partial": false, "updated_at": "2026-11-01T08:00:00Z",
    });
    assert_eq!(shown(&bench, "c-1"), Some(expected));
    // Another edition is another payload; a calendar that is gone leaves nothing behind.
    bench.shelf.calendars[0].name = Some("Holi\u{202e}days 2".to_owned());
    bench.run(secs(61));
    assert_eq!(shown(&bench, "c-1").unwrap()["name"], "Holidays 2");
    bench.shelf.calendars.clear();
    bench.take_log();
    bench.run(secs(61));
    let log = bench.take_log();
    assert_eq!(
        log.iter().filter(|line| line.starts_with("=calendar")).collect::<Vec<_>>(),
        ["=calendar/c-1 "]
    );
    assert_eq!(mode(&bench), "schedule");
}

#[test]
fn a_reading_that_changed_nothing_publishes_nothing() {
    let mut bench = ready();
    bench.run(secs(1_000));
    let log = bench.take_log();
    assert!(!log.iter().any(|line| line.starts_with("=calendar") || line.starts_with("=door")), "{log:?}");
    assert!(bench.reads["calendars"] > 10, "{:?}", bench.reads);
}

#[test]
fn what_is_shown_of_a_calendar_is_bounded_and_says_what_is_missing() {
    let many = |count: i32| {
        let day = |n: i32| (jiff::civil::date(2026, 1, 1) + jiff::Span::new().days(n)).to_string();
        let one = |n| exception(&format!("e-{n}"), &day(n), Some(("09:00", "18:00")), DoorMode::Unlocked);
        Calendar {
            doors: (0..300).map(|n| format!("d-{n}").parse().unwrap()).collect(),
            ..calendar("c-1", "N", (0..count).map(one).collect())
        }
    };
    let mut bench = ready_with(vec![many(1_000)]);
    let text = bench.held("calendar/c-1").unwrap();
    let told: Value = serde_json::from_str(&text).unwrap();
    assert!(text.len() < 24_000, "{}", text.len());
    let listed = told["exceptions"].as_array().unwrap();
    assert_eq!(told["exceptions_left_out"], 1_000 - listed.len());
    assert_eq!(listed[0]["id"], "e-999", "the oldest ones are left out");
    assert_eq!((told["doors"].as_array().unwrap().len(), &told["doors_count"]), (200, &json!(300)));
    bench.shelf.calendars[0].skipped = vec!["calendar c-1 is kept without a door: \"#\"".to_owned()];
    bench.run(secs(61));
    assert_eq!(shown(&bench, "c-1").unwrap()["partial"], true);
    bench.take_log();
}

#[test]
fn a_door_tells_the_exception_in_force_and_the_next_one_to_the_second() {
    let mut bench = ready();
    let of_holidays =
        |mode: &str| json!([{"id": "c-1", "name": "Holidays", "mode": mode, "first_person_in": false}]);
    let (now, next) = told(&bench);
    assert_eq!(
        now,
        json!({"mode": "unlocked", "until": "2026-11-25T17:00:00Z", "calendars": of_holidays("unlocked")})
    );
    let wednesday = json!({"mode": "unlocked", "from": "2026-12-02T08:00:00Z", "until": "2026-12-02T17:00:00Z",
        "calendars": of_holidays("unlocked")});
    assert_eq!(next, wednesday);
    let end: Timestamp = "2026-11-25T17:00:00Z".parse().unwrap();
    let left = u64::try_from(end.duration_since(bench.now.utc).as_secs()).unwrap();
    bench.run(secs(left - 1));
    assert_eq!(mode(&bench), "unlocked");
    bench.run(secs(2));
    assert_eq!(told(&bench), (json!({"mode": "schedule", "until": null, "calendars": []}), wednesday));
    assert_eq!(
        bench.held("door/d-1/state").as_deref(),
        Some("None"),
        "the lock shows what is proven, not what was planned"
    );
    bench.take_log();
}

#[test]
fn what_several_calendars_say_of_a_door_is_known_where_they_agree() {
    let other =
        |mode| calendar("c-2", "Other", vec![exception("e-9", "2026-11-25", Some(("10:00", "15:00")), mode)]);
    let mut bench = ready_with(vec![holidays(), other(DoorMode::Locked)]);
    let (now, _) = told(&bench);
    assert_eq!((&now["mode"], &now["until"]), (&json!(null), &json!("2026-11-25T14:00:00Z")));
    let told_of = |now: &Value| -> Vec<String> {
        let parts = now["calendars"].as_array().unwrap().iter();
        parts
            .map(|part| format!("{} {}", part["name"].as_str().unwrap(), part["mode"].as_str().unwrap()))
            .collect()
    };
    assert_eq!(told_of(&now), ["Holidays unlocked", "Other locked"]);
    bench.shelf.calendars[1] = other(DoorMode::Unlocked);
    bench.run(secs(61));
    assert_eq!(mode(&bench), "unlocked");
    bench.shelf.calendars[1].exceptions[0].first_person_in = Some(Vec::new());
    bench.run(secs(61));
    assert_eq!(mode(&bench), json!(null), "nobody tells whether the first person came");
    bench.take_log();
}

#[test]
fn what_was_not_read_is_not_shown() {
    let mut bench = ready();
    bench.auto = false;
    for _ in 0..400 {
        bench.run(secs(1));
        if bench.open.iter().any(|call| call_line(&call.request) == "calendars") {
            bench.answer("calendars", Err(Fault::Unclear(trace())));
        }
        bench.auto = true;
        for line in ["doors", "scenarios", "events"] {
            while bench.open.iter().any(|call| call_line(&call.request) == line) {
                let answer = match line {
                    "doors" => Answer::Doors(inventory(bench.doors.clone())),
                    "scenarios" => Answer::Scenarios(inventory(bench.scenarios.clone())),
                    _ => Answer::Events(EventPage { events: Vec::new(), skipped: Vec::new(), next: None }),
                };
                bench.answer(line, Ok(answer));
            }
        }
        bench.auto = false;
    }
    assert_eq!((shown(&bench, "c-1"), told(&bench)), (None, (json!(null), json!(null))));
    bench.auto = true;
    bench.open.clear();
    bench.take_log();
}

#[test]
fn a_list_that_could_not_be_read_whole_leaves_modes_unknown() {
    let mut bench = ready();
    bench.auto = false;
    bench.run(secs(61));
    let whole =
        Inventory { items: vec![holidays()], skipped: vec!["calendar 1 of the list is left out".to_owned()] };
    bench.answer("calendars", Ok(Answer::Calendars(whole)));
    let (now, next) = told(&bench);
    assert_eq!((&now["mode"], &now["calendars"][0]["mode"]), (&json!(null), &json!("unlocked")));
    assert_eq!(next["from"], "2026-12-02T08:00:00Z");
    bench.auto = true;
    bench.open.clear();
    bench.take_log();
}

#[test]
fn a_later_run_clears_what_an_earlier_one_showed() {
    let mut bench = ready();
    bench.take_log();
    let shows = |bench: &Bench| bench.retained().contains_key("verkada/calendar/c-1");
    assert!(shows(&bench));
    // It is shown again as soon as it is read, and not before.
    bench.restart(showing(), secs(5));
    bench.auto = false;
    bench.link(UP);
    assert!(!shows(&bench));
    bench.auto = true;
    bench.open.clear();
    bench.take_log();
    bench.restart(showing(), secs(60));
    bench.join();
    assert!(shows(&bench));
    bench.take_log();
    // Where they are not wanted any more nothing stays.
    bench.restart(with(|_| {}), secs(5));
    bench.join();
    assert!(!shows(&bench));
    let attributes: Value = serde_json::from_str(&bench.held("door/d-1/attributes").unwrap()).unwrap();
    assert!(attributes.get("exception").is_none(), "{attributes}");
    let config = bench.retained()["homeassistant/device/verkada2mqtt_door_d-1/config"].clone();
    assert!(!String::from_utf8_lossy(&config).contains("_exception"), "the sensor is gone");
    bench.take_log();
}

#[test]
fn calendars_that_are_only_shown_are_never_written() {
    let mut settings = showing();
    settings.commands.read_only = true;
    // What an earlier run held, and is over.
    let ours = Calendar {
        doors: vec!["d-1".parse().unwrap()],
        exceptions: vec![exception("e-1", "2026-11-24", Some(("09:00", "18:00")), DoorMode::Unlocked)],
        ..calendar("c-1", "verkada2mqtt verkada d-1", Vec::new())
    };
    for read_only in [true, false] {
        settings.commands.read_only = read_only;
        let mut bench = Bench::settled_with(settings.clone(), |bench| {
            zoned(bench);
            bench.shelf.calendars = vec![ours.clone()];
        });
        bench.run(secs(3_600));
        assert_eq!(shown(&bench, "c-1").unwrap()["own"], true);
        assert_eq!(bench.open.len(), 0, "{:?}", bench.open);
        bench.take_log();
    }
}

#[test]
fn home_assistant_gets_a_sensor_that_is_never_left_without_a_word() {
    let bench = &mut ready();
    let config = bench.retained()["homeassistant/device/verkada2mqtt_door_d-1/config"].clone();
    let config: Value = serde_json::from_slice(&config).unwrap();
    let expected = json!({
        "platform": "sensor", "unique_id": "verkada2mqtt_d-1_exception", "name": "Exception",
        "object_id": "front_door_exception", "default_entity_id": "sensor.front_door_exception",
        "icon": "mdi:calendar-lock", "entity_category": "diagnostic", "device_class": "enum",
        "options": ["schedule", "unlocked", "locked", "card_and_code", "credential"],
        "state_topic": "verkada/door/d-1/attributes",
        "value_template": "{{ value_json.exception.mode if value_json.exception else none }}",
        "json_attributes_topic": "verkada/door/d-1/attributes",
        "json_attributes_template":
            "{{ {'exception': value_json.exception, 'next_exception': value_json.next_exception} | tojson }}",
        "qos": 1,
    });
    assert_eq!(config["components"]["exception"], expected);
}

// ---- changes -------------------------------------------------------------------------------------------------------

fn editing() -> Settings {
    with(|settings| {
        settings.calendars.allow = ["c-1", "c-2", "c-own"].map(|id| id.parse().unwrap()).into();
        settings.calendars.show = true;
        settings.polls.calendars = Some(secs(60));
    })
}

/// A core that may change `c-1`, `c-2`, which is not there, and by mistake one of its own, but not `c-3`.
fn editable() -> Bench {
    editable_with(editing())
}

fn editable_with(settings: Settings) -> Bench {
    Bench::settled_with(settings, |bench| {
        zoned(bench);
        let own =
            Calendar { exceptions: Vec::new(), ..calendar("c-own", "verkada2mqtt verkada d-1", Vec::new()) };
        bench.shelf.calendars = vec![holidays(), calendar("c-3", "Not ours", Vec::new()), own];
    })
}

const NOON: &str = r#"{"action":"create","id":"x-1","exception":{"date":"2026-11-27","start":"12:00","end":"13:00","mode":"unlocked"}}"#;
const ADD_NOON: &str = "add c-1: unlocked 2026-11-27 12:00-13:00";

fn edit(bench: &mut Bench, payload: &str) {
    bench.command("calendar/c-1", payload);
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

fn message(bench: &Bench) -> String {
    bench.last_result()["message"].as_str().unwrap().to_owned()
}

fn open_writes(bench: &Bench) -> Vec<String> {
    bench.open.iter().map(|call| call_line(&call.request)).collect()
}

#[test]
fn an_exception_is_created_changed_and_deleted_each_by_one_request() {
    let mut bench = editable();
    bench.take_log();
    edit(&mut bench, NOON);
    bench.expect(&["!calendar/c-1/result edit accepted -", &format!(">{ADD_NOON}")]);
    assert!(bench.open[0].opening.is_some(), "it needs a fresh link when it is sent");
    bench.carry_out(ADD_NOON);
    assert_eq!(ended(&mut bench), end("done", "-"));
    assert_eq!(message(&bench), "the calendar has the exception; its id is ex-1");
    let listed = shown(&bench, "c-1").unwrap()["exceptions"].clone();
    assert!(
        listed.as_array().unwrap().iter().any(|one| one["id"] == "ex-1"),
        "it is shown at once: {listed}"
    );

    let later = r#"{"action":"change","exception_id":"ex-1","exception":{"date":"2026-11-27","start":"12:00","end":"14:30","mode":"locked"}}"#;
    edit(&mut bench, later);
    bench.carry_out("change c-1 ex-1: locked 2026-11-27 12:00-14:30");
    assert_eq!(ended(&mut bench), end("done", "-"));
    assert_eq!(message(&bench), "exception ex-1 of the calendar says what was asked for");
    edit(&mut bench, r#"{"action":"delete","exception_id":"ex-1"}"#);
    bench.carry_out("delete c-1 ex-1");
    assert_eq!(ended(&mut bench), end("done", "-"));
    assert_eq!(message(&bench), "the calendar has no exception ex-1 any more");
    assert_eq!(bench.shelf.calendars[0], holidays(), "nothing else was touched");
    assert_eq!(open_writes(&bench), Vec::<String>::new());
}

#[test]
fn what_is_there_already_is_not_written() {
    let mut bench = editable();
    let same = r#"{"action":"create","exception":{"date":"2026-12-25","all_day":true,"mode":"credential"}}"#;
    edit(&mut bench, same);
    assert_eq!(ended(&mut bench), end("done", "-"));
    assert_eq!(message(&bench), "the calendar has the exception; its id is e-2; nothing had to be written");
    let same =
        same.replace("create", "change").replace("\"exception\":", "\"exception_id\":\"e-2\",\"exception\":");
    edit(&mut bench, &same);
    assert_eq!(ended(&mut bench), end("done", "-"));
    for payload in [same.replace("e-2", "e-9"), r#"{"action":"delete","exception_id":"e-9"}"#.to_owned()] {
        edit(&mut bench, &payload);
        assert_eq!(ended(&mut bench), end("failed", "not_found"), "{payload}");
        assert_eq!(message(&bench), "the calendar has no exception e-9 that can be read");
    }
    assert_eq!(open_writes(&bench), Vec::<String>::new());
}

#[test]
fn only_calendars_that_are_allowed_and_not_the_gateways_own_are_changed() {
    let refused = |settings: Settings, id: &str| {
        let mut bench = editable_with(settings);
        bench.command(&format!("calendar/{id}"), NOON);
        assert_eq!(open_writes(&bench), Vec::<String>::new(), "{id}");
        (ended(&mut bench), message(&bench))
    };
    let (end_of, text) = refused(editing(), "c-3");
    assert_eq!(end_of, end("refused", "not_allowed"));
    assert!(text.contains("calendars.allow"), "{text}");
    let (end_of, text) = refused(editing(), "c-own");
    assert_eq!(
        (end_of, text.as_str()),
        (
            end("refused", "not_allowed"),
            "the gateway keeps this calendar for holds, and it is changed by them alone"
        )
    );
    assert_eq!(refused(editing(), "c-2").0, end("refused", "unknown_target"));
    assert_eq!(refused(editing(), "c-9").0, end("refused", "not_allowed"));
    assert_eq!(refused(showing(), "c-1").0, end("refused", "not_allowed"));
    let mut read_only = editing();
    read_only.commands.read_only = true;
    assert_eq!(refused(read_only, "c-1").0, end("refused", "read_only"));
}

#[test]
fn a_calendar_that_becomes_the_gateways_own_before_the_write_is_left_alone() {
    let mut bench = editable();
    bench.shelf.calendars[0].name = Some("verkada2mqtt verkada d-7".to_owned());
    edit(&mut bench, NOON);
    assert_eq!(ended(&mut bench), end("refused", "not_allowed"));
    assert_eq!(open_writes(&bench), Vec::<String>::new());
}

#[test]
fn a_broken_rule_is_named_and_nothing_is_sent() {
    let mut bench = editable();
    for (rule, told) in [
        (r#""frequency":"WEEKLY","interval":1"#, "WEEKLY needs by_day"),
        (r#""frequency":"WEEKLY","interval":1,"by_day":["MO"]"#, "by_day must include the weekday of date"),
        (
            r#""frequency":"DAILY","interval":1,"count":2,"until":"2026-12-01""#,
            "only one of count and until is allowed",
        ),
    ] {
        let payload = format!(
            r#"{{"action":"create","id":"r","exception":{{"date":"2026-11-27","start":"12:00","end":"13:00","mode":"unlocked","recurrence":{{{rule}}}}}}}"#
        );
        edit(&mut bench, &payload);
        assert_eq!(ended(&mut bench), end("refused", "malformed"));
        assert_eq!(message(&bench), format!("member exception: {told}"));
        assert_eq!(bench.last_result()["id"], "r", "the sender finds the answer");
    }
    for payload in [
        "CREATE",
        "create",
        "",
        "{}",
        r#"{"action":"unlock"}"#,
        r#"{"action":"delete","exception_id":"e-1","as":{}}"#,
    ] {
        edit(&mut bench, payload);
        assert_eq!(ended(&mut bench), end("refused", "malformed"), "{payload}");
    }
    assert_eq!(open_writes(&bench), Vec::<String>::new());
}

#[test]
fn it_passes_the_gate_of_what_opens() {
    let mut bench = editable();
    bench.command_with("calendar/c-1", NOON, |message| message.retain = true);
    assert_eq!(ended(&mut bench), end("refused", "retained"));
    bench.command_with("calendar/c-1", NOON, |message| message.echo_sent_at = None);
    assert_eq!(ended(&mut bench), end("refused", "link_stale"));
    let old = NOON.replace("\"id\":\"x-1\"", "\"issued_at\":\"2026-11-25T11:59:00Z\"");
    edit(&mut bench, &old);
    assert_eq!(ended(&mut bench), end("expired", "too_old"));
    // A scenario that locks one of its doors.
    active(&mut bench, true);
    bench.run(secs(6));
    edit(&mut bench, NOON);
    assert_eq!(ended(&mut bench), end("refused", "lockdown_active"));
    active(&mut bench, false);
    bench.run(secs(6));
    // The same id is never taken twice.
    edit(&mut bench, NOON);
    bench.carry_out(ADD_NOON);
    assert_eq!(ended(&mut bench), end("done", "-"));
    edit(&mut bench, NOON);
    let (outcome, reason) = ended(&mut bench);
    assert_eq!((outcome.as_str(), reason.as_str()), ("merged", "duplicate"));
    assert_eq!(open_writes(&bench), Vec::<String>::new());
}

#[test]
fn it_needs_the_code_where_holds_do_or_one_of_its_doors() {
    use secrecy::SecretString;
    use verkada2mqtt::bridge::{CodeSecret, CodeSettings};
    for (hold, own, needed) in
        [(true, None, true), (false, Some(true), true), (false, None, false), (true, Some(false), true)]
    {
        let mut settings = editing();
        let secret = CodeSecret::Pin(SecretString::from("4711".to_owned()));
        settings.code = Some(CodeSettings { secret, unlock: true, release: true, hold });
        settings
            .door_settings
            .insert("d-9".parse().unwrap(), DoorSettings { code: own, ..DoorSettings::default() });
        let mut bench = editable_with(settings);
        edit(&mut bench, NOON);
        if needed {
            assert_eq!(ended(&mut bench), end("refused", "code_required"), "{hold} {own:?}");
            edit(&mut bench, &NOON.replace("x-1", "x-2").replacen('{', r#"{"code":"4711","#, 1));
        }
        assert_eq!(open_writes(&bench), [ADD_NOON], "{hold} {own:?}");
        bench.carry_out(ADD_NOON);
        bench.take_log();
    }
}

#[test]
fn a_write_of_unknown_fate_is_looked_for_and_never_sent_again() {
    for done in [true, false] {
        let mut bench = editable();
        edit(&mut bench, NOON);
        if done {
            let request = bench.open[0].request.clone();
            bench.shelf.carry_out(&request).unwrap();
        }
        bench.answer(ADD_NOON, Err(Fault::Unclear(trace())));
        bench.run(secs(20));
        let expected = if done { end("done", "-") } else { end("unknown", "no_proof") };
        assert_eq!(ended(&mut bench), expected);
        bench.run(secs(120));
        assert_eq!(open_writes(&bench), Vec::<String>::new());
        bench.take_log();
    }
    // A deletion is proven by what is not there any more, as far as the calendar can be read.
    for (skipped, expected) in [(false, end("done", "-")), (true, end("unknown", "no_proof"))] {
        let mut bench = editable();
        edit(&mut bench, r#"{"action":"delete","exception_id":"e-2"}"#);
        bench.shelf.calendars[0].exceptions.remove(0);
        if skipped {
            bench.shelf.calendars[0].skipped = vec!["calendar c-1 is kept without exception 0".to_owned()];
        }
        bench.answer("delete c-1 e-2", Err(Fault::Unclear(trace())));
        bench.run(secs(20));
        assert_eq!(ended(&mut bench), expected, "{skipped}");
        assert_eq!(open_writes(&bench), Vec::<String>::new());
    }
}

#[test]
fn an_answer_that_tells_of_another_exception_proves_nothing() {
    let mut bench = editable();
    edit(&mut bench, NOON);
    let other = exception("ex-7", "2026-11-27", Some(("12:00", "23:00")), DoorMode::Unlocked);
    bench.answer(ADD_NOON, Ok(Answer::Exception(other)));
    bench.run(secs(20));
    assert_eq!(ended(&mut bench), end("unknown", "no_proof"));
    assert_eq!(open_writes(&bench), Vec::<String>::new());
}

#[test]
fn what_the_vendor_provably_did_not_take_is_tried_until_it_is_too_old() {
    let mut bench = editable();
    edit(&mut bench, NOON);
    bench.answer(ADD_NOON, Err(Fault::NotSent(trace())));
    bench.run(secs(2));
    bench.carry_out(ADD_NOON);
    assert_eq!(ended(&mut bench), end("done", "-"));
    edit(&mut bench, r#"{"action":"delete","exception_id":"e-2"}"#);
    for _ in 0..11 {
        if !open_writes(&bench).is_empty() {
            bench.answer("delete c-1 e-2", Err(Fault::NotSent(trace())));
        }
        bench.run(secs(1));
    }
    assert_eq!(ended(&mut bench), end("expired", "unreachable"));
    let mut bench = editable();
    edit(&mut bench, NOON);
    for fault in [Fault::Rejected(trace()), Fault::Forbidden(trace())] {
        if open_writes(&bench).is_empty() {
            edit(&mut bench, &NOON.replace("x-1", "x-2"));
        }
        bench.answer(ADD_NOON, Err(fault));
        assert_eq!(ended(&mut bench).0, "failed");
        assert_eq!(open_writes(&bench), Vec::<String>::new());
    }
}

#[test]
fn two_changes_of_one_calendar_do_not_cross() {
    let mut bench = editable();
    edit(&mut bench, NOON);
    edit(&mut bench, &NOON.replace("x-1", "x-2"));
    assert_eq!(ended(&mut bench), end("merged", "merged"), "an equal one is one with it");
    edit(&mut bench, r#"{"action":"delete","exception_id":"e-2"}"#);
    assert_eq!(ended(&mut bench), end("refused", "rate_limited"));
    bench.carry_out(ADD_NOON);
    assert_eq!(ended(&mut bench), end("done", "-"));
    edit(&mut bench, r#"{"action":"delete","exception_id":"e-2"}"#);
    bench.carry_out("delete c-1 e-2");
    assert_eq!(ended(&mut bench), end("done", "-"));
}

#[test]
fn nothing_is_written_before_the_journal_has_it_nor_behind_a_lockdown() {
    let mut bench = editable();
    bench.journals = false;
    edit(&mut bench, NOON);
    assert_eq!(open_writes(&bench), Vec::<String>::new(), "the record is not durable yet");
    bench.command("scenario/s-1", "ON");
    bench.journals = true;
    bench.run(secs(1));
    let activate = ["activate s-1"];
    assert_eq!(open_writes(&bench), activate, "a lockdown came in between");
    bench.scenarios[0].state = ScenarioState::Active;
    bench.answer("activate s-1", Ok(Answer::Taken));
    bench.run(secs(1));
    let results: Vec<Value> = bench
        .published
        .iter()
        .filter(|p| p.topic == "verkada/calendar/c-1/result")
        .map(|p| serde_json::from_slice(&p.payload).unwrap())
        .collect();
    let last = results.last().unwrap();
    assert_eq!((&last["outcome"], &last["reason"]), (&json!("expired"), &json!("superseded")), "{last}");
    bench.take_log();
}

#[test]
fn a_change_that_a_crash_cut_off_is_not_sent_again() {
    let mut bench = editable();
    edit(&mut bench, NOON);
    assert_eq!(open_writes(&bench), [ADD_NOON]);
    bench.take_log();
    bench.restart_with_journal(editing(), secs(5));
    bench.join();
    let log = bench.take_log();
    assert!(log.contains(&"!calendar/c-1/result edit unknown no_proof".to_owned()), "{log:?}");
    edit(&mut bench, NOON);
    assert_eq!(ended(&mut bench), end("merged", "duplicate"), "its id counts as used");
    assert_eq!(open_writes(&bench), Vec::<String>::new());
}
