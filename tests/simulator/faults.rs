//! Faults on demand, each held against the ledger and against what really came over the wire.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use verkada2mqtt::{
    model::DoorId,
    simulator::{
        fault::{Cut, Effect, ErrorBody, Fault, Moment},
        ledger::Endpoint,
    },
};

use crate::rig::{Answer, Rig, parse, quick};

const UNLOCK: &str = "/access/v1/door/admin_unlock";

impl Rig {
    fn strike_unlock(&self, effect: Effect) {
        self.world.inject(Fault::once(Endpoint::AdminUnlock, effect)).unwrap();
    }

    async fn struck_unlock(&self) -> Result<Answer, Vec<u8>> {
        let body = json!({ "door_id": self.front() }).to_string();
        self.raw("POST", UNLOCK, &[("x-verkada-auth", &self.token)], &body).await
    }

    fn is_unlocked(&self) -> bool {
        let id: DoorId = self.front().parse().unwrap();
        !self.world.door_state(&id).unwrap().locked
    }
}

#[tokio::test]
async fn a_cut_executes_or_not_by_its_moment_and_sends_what_it_says() {
    for (moment, executed, status, sent) in [
        (Cut::BeforeRead, false, None, 0),
        (Cut::AfterRead, false, None, 0),
        (Cut::AfterExecute, true, None, 0),
        (Cut::AfterBytes(0), true, Some(200), 0),
        (Cut::AfterBytes(30), true, Some(200), 30),
    ] {
        let rig = Rig::start(quick()).await;
        rig.strike_unlock(Effect::Cut { moment });
        let received = rig.struck_unlock().await.expect_err("the answer is not whole");
        assert_eq!(received.len(), sent, "{moment:?}");
        let entry = rig.last_entry();
        assert_eq!((entry.executed, entry.status), (executed, status), "{moment:?}");
        assert_eq!(entry.fault, Some(Effect::Cut { moment }.word()));
        assert_eq!(rig.is_unlocked(), executed, "{moment:?}");
        assert_eq!(rig.world.ledger().len(), 2, "one token, one unlock: {moment:?}");
        assert_eq!(rig.unlock(&rig.front()).await.status, 200, "the next one passes");
    }
}

#[tokio::test]
async fn a_kept_connection_is_cut_before_its_next_request_is_read() {
    let rig = Rig::start(quick()).await;
    let mut stream = rig.connect().await;
    let token = &rig.token;
    let list = format!("GET /access/v1/doors HTTP/1.1\r\nhost: s\r\nx-verkada-auth: {token}\r\n\r\n");
    let unlock = format!(
        "POST {UNLOCK} HTTP/1.1\r\nhost: s\r\nx-verkada-auth: {token}\r\ncontent-length: 53\r\n\r\n{}",
        json!({ "door_id": rig.front() })
    );
    stream.write_all(list.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    while parse(&received).is_none() {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
    }
    rig.strike_unlock(Effect::Cut { moment: Cut::BeforeRead });
    stream.write_all(unlock.as_bytes()).await.unwrap();
    let ended = stream.read_to_end(&mut Vec::new()).await;
    assert!(ended.is_err(), "a reset, not an end");
    let entry = rig.last_entry();
    assert_eq!((entry.endpoint, entry.executed), (Endpoint::AdminUnlock, false));
    assert!(!rig.is_unlocked());
}

#[tokio::test]
async fn a_hang_executes_or_not_by_its_moment_and_never_answers() {
    for (moment, executed) in [(Moment::BeforeExecute, false), (Moment::AfterExecute, true)] {
        let rig = Rig::start(quick()).await;
        rig.strike_unlock(Effect::Hang { moment });
        tokio::select! {
            answer = rig.struck_unlock() => panic!("{answer:?}"),
            () = rig.until("it is seen", |world| {
                world.ledger().last().filter(|entry| entry.fault == Some("hang") && entry.executed == executed).map(drop)
            }) => {}
        }
        assert_eq!((rig.last_entry().executed, rig.last_entry().status), (executed, None));
        assert_eq!(rig.is_unlocked(), executed);
    }
}

#[tokio::test]
async fn a_delay_answers_later_and_executes_once() {
    for moment in [Moment::BeforeExecute, Moment::AfterExecute] {
        let rig = Rig::start(quick()).await;
        rig.strike_unlock(Effect::Delay { milliseconds: 100, moment });
        let begun = tokio::time::Instant::now();
        assert_eq!(rig.struck_unlock().await.unwrap().status, 200);
        assert!(begun.elapsed() >= Duration::from_millis(100));
        assert_eq!(rig.world.ledger().iter().filter(|entry| entry.executed).count(), 1);
    }
}

#[tokio::test]
async fn a_status_comes_in_each_form_and_executes_nothing() {
    let rig = Rig::start(quick()).await;
    for (body, kind, begins) in [
        (
            ErrorBody::Envelope,
            "application/json",
            r#"{"data":null,"id":"f503","message":"Service Unavailable"}"#,
        ),
        (ErrorBody::Html, "text/html", "<html>"),
        (ErrorBody::Plain, "text/plain", "Service Unavailable"),
        (ErrorBody::Empty, "text/plain", ""),
    ] {
        rig.strike_unlock(Effect::Status { status: 503, body, retry_after: Some("7".to_owned()) });
        let answer = rig.struck_unlock().await.unwrap();
        assert_eq!((answer.status, answer.header("content-type")), (503, Some(kind)));
        assert_eq!(answer.header("retry-after"), Some("7"));
        assert!(String::from_utf8_lossy(&answer.body).starts_with(begins), "{body:?}");
        assert_eq!((rig.last_entry().executed, rig.last_entry().status), (false, Some(503)));
    }
    assert!(!rig.is_unlocked());
}

#[tokio::test]
async fn a_given_answer_is_sent_as_it_is() {
    for execute in [false, true] {
        let rig = Rig::start(quick()).await;
        let headers = BTreeMap::from([("location".to_owned(), "http://elsewhere.example/".to_owned())]);
        rig.strike_unlock(Effect::Answer { status: 307, headers, body: "[]".to_owned(), execute });
        let answer = rig.struck_unlock().await.unwrap();
        assert_eq!((answer.status, answer.header("location")), (307, Some("http://elsewhere.example/")));
        assert_eq!(answer.body, b"[]");
        assert_eq!((rig.last_entry().executed, rig.is_unlocked()), (execute, execute));
    }
}

#[tokio::test]
async fn a_slow_answer_takes_as_long_as_its_bytes() {
    let rig = Rig::start(quick()).await;
    rig.strike_unlock(Effect::Slow { bytes_per_second: NonZeroU32::new(1_000).unwrap() });
    let begun = tokio::time::Instant::now();
    let answer = rig.struck_unlock().await.unwrap();
    let took = begun.elapsed();
    assert_eq!(answer.json()["unlock_duration"], 10);
    assert!((Duration::from_millis(100)..Duration::from_secs(2)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn bodies_come_under_another_type_cut_short_or_huge() {
    let rig = Rig::start(quick()).await;
    rig.strike_unlock(Effect::ContentType { value: "text/html".to_owned() });
    let answer = rig.struck_unlock().await.unwrap();
    assert_eq!(
        (answer.header("content-type"), answer.json()["unlock_duration"].as_u64()),
        (Some("text/html"), Some(10))
    );
    rig.strike_unlock(Effect::Truncate { bytes: 12 });
    assert_eq!(rig.struck_unlock().await.unwrap().body, br#"{"door_id":""#);
    rig.strike_unlock(Effect::Huge { bytes: 3_000_000 });
    let answer = rig.struck_unlock().await.unwrap();
    assert!(answer.body.len() > 3_000_000 && answer.body[..3_000_000].iter().all(|byte| *byte == b' '));
    assert_eq!(answer.json()["unlock_duration"], 10);
}

#[tokio::test]
async fn stopping_cuts_what_hangs() {
    let rig = Rig::start(quick()).await;
    rig.strike_unlock(Effect::Hang { moment: Moment::AfterExecute });
    let mut stream = rig.connect().await;
    let body = json!({ "door_id": rig.front() }).to_string();
    let head = format!("POST {UNLOCK} HTTP/1.1\r\nhost: s\r\nx-verkada-auth: {}\r\n", rig.token);
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    rig.until("it hangs", |world| world.ledger().last().filter(|entry| entry.executed).map(drop)).await;
    let address = rig.simulator.base_url().socket_addrs(|| None).unwrap()[0];
    rig.simulator.stop().await;
    let mut received = Vec::new();
    let ended = tokio::time::timeout(crate::rig::BOUND, stream.read_to_end(&mut received)).await;
    assert!(ended.is_ok() && received.is_empty());
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens");
}
