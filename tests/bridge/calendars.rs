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
