//! Exception calendars on real sockets: what is sent, what comes back, and that nothing is written twice.

use jiff::civil::{date, time};
use serde_json::{Value, json};
use tokio::sync::watch;
use verkada2mqtt::{
    clock,
    model::{
        Answer, CalendarContent, Call, DoorMode, Exception, ExceptionMode, Fault, Frequency, Hours,
        Recurrence, Request, Turn, Weekday,
    },
    verkada::Permit,
};

use std::{sync::Arc, time::Duration};

use crate::{
    CutRead, DOOR, MINT, PATIENCE, Server, Step, ago, answer, ask, but, call, class, fault, good,
    openapi::OpenApi, quick, raw, says, turn_0, unlocked, users::unlock_as_call,
};

const CALENDARS: &str = "GET /access/v1/door/exception_calendar";
const CREATE: &str = "POST /access/v1/door/exception_calendar";
const WRITE: &str = "PUT /access/v1/door/exception_calendar/90fccf50-1bb0-4f8e-b925-d5494e6f7c9f";
const DELETE: &str = "DELETE /access/v1/door/exception_calendar/90fccf50-1bb0-4f8e-b925-d5494e6f7c9f/exception/\
     8cb20ea5-07ba-4200-876e-8f1df5aa45a0";
const ADD: &str = "POST /access/v1/door/exception_calendar/0f9b6834-1a39-4ff1-89cb-619a7e2ec291/exception";
const CHANGE: &str = "PUT /access/v1/door/exception_calendar/0f9b6834-1a39-4ff1-89cb-619a7e2ec291/exception/\
     2196e7b1-fefa-4af0-b8c9-0d9d70fe7dee";
const UNLOCK_AS: &str = "POST /access/v1/door/user_unlock";
const CALENDAR: &str = "90fccf50-1bb0-4f8e-b925-d5494e6f7c9f";
const EXCEPTION: &str = "8cb20ea5-07ba-4200-876e-8f1df5aa45a0";
const CREATED: &str = include_str!("../fixtures/verkada/exception-calendar-create.json");
/// An exception of the second calendar.
const SECOND: &str = include_str!("../fixtures/verkada/exception-get.json");
const SECOND_CALENDAR: &str = "0f9b6834-1a39-4ff1-89cb-619a7e2ec291";
const SECOND_EXCEPTION: &str = "2196e7b1-fefa-4af0-b8c9-0d9d70fe7dee";
const WRITTEN: &str = include_str!("../fixtures/verkada/exception-calendar-update.json");

fn exception() -> Exception {
    Exception {
        id: None,
        date: date(2026, 9, 17),
        hours: Hours::Between(time(9, 0, 0, 0), time(12, 5, 0, 0)),
        mode: ExceptionMode::Known(DoorMode::Unlocked),
        first_person_in: None,
        double_badge: None,
        recurrence: None,
    }
}

/// An old exception, a new one of a whole day, and one that repeats.
fn content() -> CalendarContent {
    let old = Exception { id: Some(EXCEPTION.parse().unwrap()), ..exception() };
    let day =
        Exception { hours: Hours::AllDay, mode: ExceptionMode::Known(DoorMode::Credential), ..exception() };
    let rule = Recurrence {
        frequency: Frequency::Monthly,
        interval: 2,
        by_day: vec![Weekday::of_vendor_word("TH").unwrap()],
        by_month: Some(9),
        by_month_day: None,
        by_set_pos: Some(-1),
        count: None,
        until: Some("2027-12-18".to_owned()),
        excluded_dates: Vec::new(),
    };
    let often = Exception {
        mode: ExceptionMode::Known(DoorMode::Credential),
        first_person_in: Some(vec!["g-1".parse().unwrap()]),
        double_badge: Some(Vec::new()),
        recurrence: Some(rule),
        ..exception()
    };
    CalendarContent {
        name: "verkada2mqtt \"lobby\"".to_owned(),
        doors: vec![DOOR.parse().unwrap()],
        exceptions: vec![old, day, often],
    }
}

fn create_call() -> Call {
    call(Request::CreateCalendar(content()))
}

fn write_call() -> Call {
    call(Request::WriteCalendar { calendar: CALENDAR.parse().unwrap(), content: content() })
}

fn delete_call() -> Call {
    let (calendar, exception) = (CALENDAR.parse().unwrap(), EXCEPTION.parse().unwrap());
    call(Request::DeleteException { calendar, exception })
}

fn add_call() -> Call {
    let exception = content().exceptions.remove(2);
    call(Request::CreateException { calendar: SECOND_CALENDAR.parse().unwrap(), exception })
}

fn change_call() -> Call {
    let (calendar, id) = (SECOND_CALENDAR.parse().unwrap(), SECOND_EXCEPTION.parse().unwrap());
    call(Request::WriteException { calendar, id, exception: content().exceptions.remove(1) })
}

/// Every call of door management that writes, its request, and the body of a good answer.
fn writes() -> [(&'static str, Call, &'static str); 6] {
    [
        (CREATE, create_call(), CREATED),
        (WRITE, write_call(), WRITTEN),
        (DELETE, delete_call(), "{}"),
        (ADD, add_call(), SECOND),
        (CHANGE, change_call(), SECOND),
        (UNLOCK_AS, unlock_as_call(), "{}"),
    ]
}

/// What was sent in a request, held against the vendor's document.
fn sent(server: &Server, line: &str) -> Value {
    sent_as(server, line, "DoorExceptionCalendarWrite")
}

fn sent_as(server: &Server, line: &str, schema: &str) -> Value {
    let log = server.log.lock().unwrap();
    let got = log.got.iter().find(|got| got.line == line).unwrap();
    assert_eq!(got.headers["content-type"], "application/json");
    let sent = serde_json::from_str(&got.body).unwrap();
    let schema = format!("/components/schemas/{schema}");
    assert_eq!(OpenApi::load().faults_of(&schema, &sent), Vec::<String>::new());
    sent
}

/// What is sent of the content above, with the ids of an old calendar or without any.
fn body(old: bool) -> Value {
    let mut body = json!({
        "name": "verkada2mqtt \"lobby\"",
        "doors": [DOOR],
        "exceptions": [
            {
                "date": "2026-09-17", "start_time": "09:00", "end_time": "12:05", "door_status": "unlocked",
                "all_day_default": false, "first_person_in": false, "first_person_in_group_ids": [],
                "double_badge": false, "double_badge_group_ids": [],
            },
            {
                "date": "2026-09-17", "door_status": "access_controlled",
                "all_day_default": true, "first_person_in": false, "first_person_in_group_ids": [],
                "double_badge": false, "double_badge_group_ids": [],
            },
            {
                "date": "2026-09-17", "start_time": "09:00", "end_time": "12:05", "door_status": "access_controlled",
                "all_day_default": false, "first_person_in": true, "first_person_in_group_ids": ["g-1"],
                "double_badge": true, "double_badge_group_ids": [],
                "recurrence_rule": {
                    "frequency": "MONTHLY", "interval": 2, "by_day": ["TH"], "by_month": 9, "by_month_day": null,
                    "by_set_pos": -1, "count": null, "until": "2027-12-18", "excluded_dates": [],
                },
            },
        ],
    });
    if old {
        body["exceptions"][0]["door_exception_id"] = json!(EXCEPTION);
        body["exceptions"][0]["calendar_id"] = json!(CALENDAR);
    }
    body
}

#[tokio::test]
async fn calendars_are_read() {
    let list = include_str!("../fixtures/verkada/exception-calendars-list.json");
    let server = Server::start(but(CALENDARS, move |_| answer(200, list))).await;
    let Ok(Answer::Calendars(read)) = ask(&server.client(), &call(Request::ListCalendars)).await.result
    else {
        panic!()
    };
    assert_eq!((read.items.len(), read.skipped.len()), (2, 0));
    assert_eq!(server.lines(), [MINT, CALENDARS]);
    let path = "/access/v1/door/exception_calendar";
    let list = serde_json::from_str(list).unwrap();
    assert_eq!(OpenApi::load().faults_of_answer("GET", path, 200, &list), Vec::<String>::new());
}

#[tokio::test]
async fn a_calendar_is_written_as_documented_and_the_answer_tells_what_it_holds() {
    let api = OpenApi::load();
    let at = "/access/v1/door/exception_calendar";
    for (method, path, text) in [("POST", at, CREATED), ("PUT", &*format!("{at}/{CALENDAR}"), WRITTEN)] {
        let text = serde_json::from_str(text).unwrap();
        assert_eq!(api.faults_of_answer(method, path, 200, &text), Vec::<String>::new());
    }
    let server = Server::start(move |got| match got.line.as_str() {
        CREATE => answer(200, CREATED),
        WRITE => answer(200, WRITTEN),
        DELETE => answer(200, "{}"),
        _ => good(got),
    })
    .await;
    let client = server.client();
    let Ok(Answer::Calendar(created)) = ask(&client, &create_call()).await.result else { panic!() };
    assert_eq!((created.id.as_str(), created.exceptions.len()), (CALENDAR, 0));
    let reply = ask(&client, &write_call()).await;
    let Ok(Answer::Calendar(written)) = reply.result else { panic!("{reply:?}") };
    assert_eq!((written.id.as_str(), reply.requests), (CALENDAR, 1));
    assert_eq!(written.exceptions[0].id.as_ref().unwrap().as_str(), EXCEPTION);
    assert_eq!(written.exceptions[0].hours, Hours::Between(time(9, 0, 0, 0), time(12, 0, 0, 0)));
    assert_eq!(ask(&client, &delete_call()).await.result, Ok(Answer::Taken));
    assert_eq!(server.lines(), [MINT, CREATE, WRITE, DELETE]);
    assert_eq!(sent(&server, CREATE), body(false), "a new calendar has no ids in it");
    assert_eq!(sent(&server, WRITE), body(true));
    let log = server.log.lock().unwrap();
    let (mint, deletion) = (&log.got[0], &log.got[3]);
    assert!(deletion.body.is_empty() && !deletion.headers.contains_key("content-type"));
    assert!(log.got[1..].iter().all(|got| got.connection == deletion.connection), "on the line for acts");
    assert_ne!(mint.connection, deletion.connection);
}

#[tokio::test]
async fn an_exception_is_written_alone_and_the_answer_tells_what_it_says() {
    let api = OpenApi::load();
    let at = format!("/access/v1/door/exception_calendar/{SECOND_CALENDAR}/exception");
    let second = serde_json::from_str(SECOND).unwrap();
    for (method, path) in [("POST", at.clone()), ("PUT", format!("{at}/{SECOND_EXCEPTION}"))] {
        assert_eq!(api.faults_of_answer(method, &path, 200, &second), Vec::<String>::new());
    }
    let server = Server::start(move |got| match got.line.as_str() {
        ADD | CHANGE => answer(200, SECOND),
        _ => good(got),
    })
    .await;
    let client = server.client();
    for (line, request) in [(ADD, add_call()), (CHANGE, change_call())] {
        let Ok(Answer::Exception(written)) = ask(&client, &request).await.result else { panic!("{line}") };
        assert_eq!(written.id.as_ref().unwrap().as_str(), SECOND_EXCEPTION);
        assert_eq!(written.hours, Hours::Between(time(7, 30, 0, 0), time(18, 0, 0, 0)));
        assert_eq!(written.recurrence.unwrap().until.as_deref(), Some("2026-12-18"));
    }
    assert_eq!(server.lines(), [MINT, ADD, CHANGE]);
    let exceptions = &body(false)["exceptions"];
    assert_eq!(sent_as(&server, ADD, "DoorExceptionWrite"), exceptions[2], "it has no ids");
    assert_eq!(sent_as(&server, CHANGE, "DoorExceptionWrite"), exceptions[1]);
}

#[tokio::test]
async fn an_answer_that_names_another_exception_proves_nothing() {
    for (line, request) in [(ADD, add_call()), (CHANGE, change_call())] {
        let other_calendar = SECOND.replace(SECOND_CALENDAR, "another");
        let other_exception = SECOND.replace(SECOND_EXCEPTION, "another");
        let no_calendar = SECOND.replace("calendar_id", "x");
        for (body, wanted) in [
            (other_calendar, "unclear"),
            (other_exception, if line == CHANGE { "unclear" } else { "ok" }),
            (no_calendar, "ok"),
            ("{}".to_owned(), "malformed"),
            (String::new(), "malformed"),
        ] {
            let server = Server::start(but(line, move |_| answer(200, &body))).await;
            let result = ask(&server.client(), &request).await.result;
            assert_eq!(class(&result), wanted, "{line}: {result:?}");
            assert!(result.err().is_none_or(|fault| !fault.proves_not_done()), "{line}");
            assert_eq!(server.lines(), [MINT, line]);
        }
    }
}

#[tokio::test]
async fn an_empty_calendar_says_that_it_is_empty() {
    let server = Server::start(but(CREATE, |_| answer(200, CREATED))).await;
    let empty = CalendarContent { name: "N".to_owned(), doors: Vec::new(), exceptions: Vec::new() };
    assert!(ask(&server.client(), &call(Request::CreateCalendar(empty))).await.result.is_ok());
    assert_eq!(sent(&server, CREATE), json!({"name": "N", "doors": [], "exceptions": []}));
}

#[tokio::test]
async fn a_long_calendar_is_read_whole() {
    let mut long: Value = serde_json::from_str(WRITTEN).unwrap();
    let one = long["exceptions"][0].clone();
    let many: Vec<Value> = (0..1000)
        .map(|n| {
            let mut one = one.clone();
            one["door_exception_id"] = json!(format!("e-{n}"));
            one
        })
        .collect();
    long["exceptions"] = json!(many);
    let long = long.to_string();
    assert!(long.len() > 100_000, "longer than the answer of an act may be");
    let server = Server::start(but(WRITE, move |_| answer(200, &long))).await;
    let Ok(Answer::Calendar(read)) = ask(&server.client(), &write_call()).await.result else { panic!() };
    assert_eq!((read.exceptions.len(), read.skipped.len()), (1000, 0));
}

#[tokio::test]
async fn an_answer_that_does_not_tell_what_was_written_proves_nothing() {
    let half = WRITTEN.split_at(WRITTEN.len() / 2).0;
    let whole = raw(200, &[], WRITTEN);
    let cut = whole[..whole.len() - 5].to_vec();
    let another = WRITTEN.replace(CALENDAR, "another");
    for (step, wanted) in [
        (answer(200, ""), "malformed"),
        (answer(200, "{}"), "malformed"),
        (answer(200, half), "malformed"),
        (answer(200, "<html>"), "malformed"),
        (Step::Close(cut.clone()), "malformed"),
        (Step::Stall(cut), "malformed"),
        (answer(204, ""), "malformed"),
        (answer(200, &another), "unclear"),
    ] {
        let server = Server::start(but(WRITE, move |_| step.clone())).await;
        let result = ask(&server.client_with(quick), &write_call()).await.result;
        assert_eq!(class(&result), wanted, "{result:?}");
        let fault = result.unwrap_err();
        assert!(!fault.proves_not_done() && fault.to_string().starts_with("write calendar: "), "{fault:?}");
        assert_eq!(server.lines(), [MINT, WRITE]);
    }
}

#[tokio::test]
async fn refusals_of_writes_are_classed_and_not_repeated() {
    let unknown = include_str!("../fixtures/verkada/error-404-not-found.assumed.json");
    let off = include_str!("../fixtures/verkada/error-403-door-api-disabled.assumed.json");
    let table: [(Step, &str, &str); 10] = [
        (says(400, "end_time must be after start_time"), "rejected", "end_time must be after start_time"),
        (says(403, "Insufficient permissions"), "forbidden", "Insufficient permissions"),
        (answer(403, off), "forbidden", "not enabled for management"),
        (answer(404, unknown), "not found", "Not found"),
        (says(409, "Conflict"), "rejected", "Conflict"),
        (says(412, "no"), "rejected", "412"),
        (Step::Keep(raw(429, &[("retry-after", "7")], "")), "rate limited", "429"),
        (says(500, "no"), "unclear", "500"),
        (answer(502, "<html>bad gateway"), "unclear", "bad gateway"),
        (Step::Close(Vec::new()), "unclear", "no answer came"),
    ];
    for (line, request, _) in writes() {
        for (step, wanted, part) in &table {
            let step = step.clone();
            let server = Server::start(but(line, move |_| step.clone())).await;
            let result = ask(&server.client(), &request).await.result;
            assert_eq!(class(&result), *wanted, "{line}: {result:?}");
            let text = result.unwrap_err().to_string();
            assert!(text.contains(part), "{line}: {text}");
            let cures =
                ["Door Access Management for all sites involved", "\"Enable Door Management via API\""];
            let cured = cures.iter().all(|cure| text.contains(cure));
            assert!(cured || *wanted != "forbidden" || line == UNLOCK_AS, "{line}: {text}");
            assert_eq!(server.lines(), [MINT, line]);
        }
        let server = Server::start(but(line, |_| says(401, "Failed to authenticate request"))).await;
        let text = fault(&server.client(), &request).await.to_string();
        assert!(text.contains("Door Access Management for all sites") || line == UNLOCK_AS, "{line}: {text}");
    }
}

#[tokio::test]
async fn the_list_of_calendars_says_what_failed_and_what_cures_it() {
    for (step, wanted) in [
        (says(401, "Failed to authenticate request"), "unauthorized"),
        (says(403, "Insufficient permissions"), "forbidden"),
        (answer(200, r#"{"door_exception_calendars":null}"#), "malformed"),
        (answer(200, "<html>"), "malformed"),
        (says(503, "no"), "unclear"),
    ] {
        let server = Server::start(but(CALENDARS, move |_| step.clone())).await;
        let result = ask(&server.client(), &call(Request::ListCalendars)).await.result;
        assert_eq!(class(&result), wanted, "{result:?}");
        let text = result.unwrap_err().to_string();
        assert!(text.starts_with("list calendars: "), "{text}");
        let rights = matches!(wanted, "unauthorized" | "forbidden");
        assert!(!rights || text.contains("Door Access Management for all sites involved"), "{text}");
    }
}

// ----------------------------------------------------------------------------------------------------- at most once

#[tokio::test]
async fn a_connection_cut_at_any_byte_of_the_request_never_doubles_a_write() {
    for (line, request, _) in writes() {
        // One that ends is asked for its length first: all of it, head and body, is cut in each third byte.
        let server = Server::start(but(line, |_| Step::Close(Vec::new()))).await;
        drop(ask(&server.client(), &request).await);
        let length = {
            let log = server.log.lock().unwrap();
            let got = &log.got[1];
            let head: usize = got.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
            got.line.len() + " HTTP/1.1\r\n".len() + head + 2 + got.body.len()
        };
        for bytes in (0..length).step_by(3) {
            let cut: CutRead = Arc::new(move |connection| (connection > 1).then_some(bytes));
            let server = Server::start_with(Arc::new(good), cut, None).await;
            let client = server.client();
            assert!(ask(&client, &call(Request::ListDoors)).await.result.is_ok());
            let reply = ask(&client, &request).await;
            assert!(matches!(class(&reply.result), "unclear" | "not sent"), "{line} {bytes}: {reply:?}");
            assert_eq!(server.count(line), 0, "{line} {bytes}");
            if bytes > 0 {
                assert_eq!((class(&reply.result), reply.requests), ("unclear", 1), "{line} {bytes}");
                assert_eq!(server.connections(), 2, "{line} {bytes}: no second attempt");
            }
        }
    }
}

#[tokio::test]
async fn an_answer_cut_at_any_byte_never_doubles_a_write_and_proves_it_only_whole() {
    for (line, request, good_body) in writes() {
        let Step::Keep(whole) = answer(200, good_body) else { panic!() };
        let head = whole.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        for bytes in (0..whole.len()).step_by(3).chain([head - 1, head, whole.len()]) {
            let part = whole[..bytes].to_vec();
            let server = Server::start(but(line, move |_| Step::Close(part.clone()))).await;
            let result = ask(&server.client(), &request).await.result;
            let wanted = match (line, bytes) {
                _ if bytes < head => "unclear",
                (CREATE | WRITE | ADD | CHANGE, _) if bytes < whole.len() => "malformed",
                _ => "ok",
            };
            assert_eq!(class(&result), wanted, "{line} {bytes}: {result:?}");
            assert_eq!(server.count(line), 1, "{line} {bytes}");
            if line == UNLOCK_AS && wanted == "ok" {
                assert_eq!(result, unlocked(None));
            }
        }
    }
}

#[tokio::test]
async fn a_write_without_an_answer_is_unclear_when_its_time_ends() {
    for (line, request, _) in writes() {
        let server = Server::start(but(line, |_| Step::Stall(Vec::new()))).await;
        let result = ask(&server.client_with(quick), &request).await.result;
        assert_eq!(class(&result), "unclear", "{line}: {result:?}");
        assert_eq!(server.count(line), 1);
    }
}

#[tokio::test]
async fn a_write_is_repeated_once_after_a_token_that_is_over() {
    for (line, request, _) in writes() {
        let server = Server::start(but(line, |_| says(401, "Token expired"))).await;
        let reply = ask(&server.client(), &request).await;
        assert_eq!((class(&reply.result), reply.requests), ("unauthorized", 4), "{line}");
        assert_eq!(server.lines(), [MINT, line, MINT, line]);
    }
}

#[tokio::test]
async fn a_write_is_not_sent_late_or_without_a_fresh_link() {
    for (line, request, good_body) in writes() {
        let server = Server::start(but(line, move |_| answer(200, good_body))).await;
        let client = server.client();
        let late = Call { send_before: ago(Duration::from_millis(1)), ..request.clone() };
        let reply = ask(&client, &late).await;
        assert_eq!((class(&reply.result), reply.requests), ("not sent", 0));
        assert_eq!(server.connections(), 0);
        let opening = Call { opening: Some(Turn::default()), ..request.clone() };
        for echo in [None, Some(ago(Duration::from_secs(3)))] {
            let permit = Permit::new(watch::channel(echo).1, turn_0(), Permit::LIMIT);
            let reply = client.call(&opening, &permit).await;
            assert_eq!((class(&reply.result), reply.requests), ("not sent", 0), "{line}");
            assert!(matches!(reply.result, Err(Fault::NotSent(_))));
        }
        // An earlier turn: a lockdown came in between.
        let fresh = watch::channel(Some(clock::now().mono)).1;
        let permit = Permit::new(fresh.clone(), watch::channel(Turn(1)).1, PATIENCE);
        assert_eq!(class(&client.call(&opening, &permit).await.result), "not sent", "{line}");
        assert_eq!(server.count(line), 0);
        let permit = Permit::new(fresh, turn_0(), PATIENCE);
        assert_eq!(class(&client.call(&opening, &permit).await.result), "ok", "{line}");
        assert_eq!(server.count(line), 1);
    }
}

#[tokio::test]
async fn the_link_is_looked_at_right_before_a_write() {
    // It is lost while the call waits for a token, and for a new token.
    for (line, request, _) in writes() {
        for (at, status, sent) in [(MINT, 200, 0), (line, 401, 1)] {
            let (echo, link) = watch::channel(Some(clock::now().mono));
            let server = Server::start(but(at, move |got| {
                echo.send_replace(None);
                if status == 200 { good(got) } else { says(status, "refused") }
            }))
            .await;
            let opening = Call { opening: Some(Turn::default()), ..request.clone() };
            let reply = server.client().call(&opening, &Permit::new(link, turn_0(), PATIENCE)).await;
            assert_eq!(class(&reply.result), "not sent", "{line}");
            assert_eq!(server.count(line), sent, "{line}");
        }
    }
}
