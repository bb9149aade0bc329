//! The drill on real sockets: the connection of acts, and a harmless read in place of the act.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::SignedDuration;
use verkada2mqtt::{
    clock,
    model::{Answer, Call, Drilled, Fault, Request},
    verkada::Client,
};

use crate::{
    MINT, PATIENCE, SCENARIO, SCENARIOS, Server, Step, activate_call, ago, answer, ask, but, call, class,
    fault, good, quick, raw, says, unlock_call, wait_for_async,
};

fn drill_call() -> Call {
    call(Request::Drill)
}

async fn drill(client: &Client) -> Drilled {
    match ask(client, &drill_call()).await.result {
        Ok(Answer::Drilled(drilled)) => drilled,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_drill_reads_on_the_connection_that_acts_use() {
    let server = Server::start(good).await;
    let client = server.client();
    client.warm().await.unwrap();
    assert!(ask(&client, &unlock_call()).await.result.is_ok());
    let before = clock::now().mono;
    let drilled = drill(&client).await;
    let after = clock::now().mono;
    assert!(before + drilled.aside <= drilled.sent_at && drilled.sent_at <= drilled.answered_at);
    assert!(drilled.answered_at <= after);
    assert_eq!(drilled.scenarios.items[0].id.as_str(), SCENARIO);
    assert!(ask(&client, &activate_call()).await.result.is_ok());
    let log = server.log.lock().unwrap();
    let got: Vec<_> = log.got.iter().filter(|got| got.line != MINT).collect();
    let lines: Vec<&str> = got.iter().map(|got| got.line.as_str()).collect();
    let activate = format!("POST /access/v1/scenarios/{SCENARIO}/activate");
    assert_eq!(lines, ["POST /access/v1/door/admin_unlock", SCENARIOS, &activate]);
    assert_eq!(got[0].connection, got[1].connection, "the very connection that acts use");
    assert!(!got[1].headers.contains_key("content-length") && got[1].body.is_empty());
    assert!(got[1].headers.contains_key("x-verkada-auth"));
}

#[tokio::test]
async fn an_act_waits_neither_for_a_drill_nor_for_a_new_connection() {
    let server = Server::start(but(SCENARIOS, |_| Step::Stall(Vec::new()))).await;
    let client = server.client();
    client.warm().await.unwrap();
    let running = {
        let client = client.clone();
        tokio::spawn(async move { drill(&client).await })
    };
    wait_for_async(|| async { server.count(SCENARIOS) == 1 }).await;
    let connections = server.connections();
    assert!(ask(&client, &activate_call()).await.result.is_ok());
    assert_eq!(server.connections(), connections, "one was set aside for it");
    running.abort();
}

#[tokio::test]
async fn a_drill_takes_long_lists_and_says_what_failed() {
    // Longer than the answer of an act may be.
    let name = "n".repeat(100_000);
    let list = format!(
        r#"{{"scenarios":[{{"scenario_id":"{SCENARIO}","name":"{name}","type":"lockdown","state":"INACTIVE"}}]}}"#
    );
    let server = Server::start(but(SCENARIOS, move |_| answer(200, &list))).await;
    assert_eq!(drill(&server.client()).await.scenarios.items.len(), 1);

    for (step, expected) in [
        (says(403, "no"), "forbidden"),
        (says(401, "no"), "unauthorized"),
        (says(400, "no"), "rejected"),
        (says(429, "Too Many Requests"), "rate limited"),
        (says(500, "no"), "unclear"),
        (answer(200, "[]"), "malformed"),
        (answer(200, "<html>"), "malformed"),
        (Step::Close(Vec::new()), "unclear"),
        (Step::Stall(Vec::new()), "unclear"),
    ] {
        let server = Server::start(but(SCENARIOS, move |_| step.clone())).await;
        let client = server.client_with(quick);
        let result = ask(&client, &drill_call()).await.result;
        assert_eq!(class(&result), expected, "{result:?}");
        let acts = server.lines().iter().filter(|line| line.starts_with("POST /access")).count();
        assert_eq!(acts, 0, "whatever happens, nothing acts");
    }
}

#[tokio::test]
async fn a_drill_with_a_token_that_ended_gets_a_new_one_as_an_act_does() {
    let first = Arc::new(Mutex::new(true));
    let server = Server::start(but(SCENARIOS, move |got| {
        if std::mem::take(&mut *first.lock().unwrap()) { says(403, "token expired") } else { good(got) }
    }))
    .await;
    drill(&server.client()).await;
    assert_eq!((server.count(MINT), server.count(SCENARIOS)), (2, 2));
}

#[tokio::test]
async fn a_drill_that_comes_too_late_is_not_sent() {
    let server = Server::start(good).await;
    let client = server.client();
    let late = Call { send_before: ago(Duration::from_millis(1)), ..drill_call() };
    assert!(matches!(fault(&client, &late).await, Fault::NotSent(_)));
    assert_eq!(server.count(SCENARIOS), 0);
}

#[tokio::test]
async fn the_vendors_clock_is_read_from_every_answer() {
    let dated = |skew: i64| {
        let date = clock::now().utc + SignedDuration::from_secs(skew);
        jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap()
    };
    for (what, scenarios) in [("a read", call(Request::ListScenarios)), ("an act", drill_call())] {
        for skew in [0, 3_600, -90] {
            let server = Server::start(but(SCENARIOS, move |_| {
                let headers = [("content-type", "application/json"), ("date", &*dated(skew))];
                Step::Keep(raw(200, &headers, r#"{"scenarios":[]}"#))
            }))
            .await;
            let client = server.client();
            let asked = Call { send_before: clock::now().mono + PATIENCE, ..scenarios.clone() };
            assert!(ask(&client, &asked).await.result.is_ok());
            let seen = client.take_clock().unwrap();
            let error = (seen - SignedDuration::from_secs(skew)).abs();
            assert!(error <= SignedDuration::from_millis(1_500), "{what} {skew}: {seen:?}");
            assert_eq!(client.take_clock(), None, "told once");
        }
    }
    // Without a date, or with nonsense, nothing is said.
    for date in ["yesterday", ""] {
        let server = Server::start(but(SCENARIOS, move |_| {
            let headers = [("content-type", "application/json"), ("date", date)];
            Step::Keep(raw(200, &headers, r#"{"scenarios":[]}"#))
        }))
        .await;
        let client = server.client();
        assert!(ask(&client, &call(Request::ListScenarios)).await.result.is_ok());
        assert_eq!(client.take_clock(), None);
    }
}
