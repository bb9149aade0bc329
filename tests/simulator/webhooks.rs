//! Signed deliveries.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};
use verkada2mqtt::simulator::{
    Settings,
    organisation::Organisation,
    switches::{Switches, WebhookRetry},
    webhook::{WebhookTarget, signature},
};

use crate::rig::{BOUND, KEY, Rig, quick};

const SECRET: &str = "secret-of-the-test";

/// A delivery as it came.
#[derive(Debug, Clone, PartialEq)]
struct Delivery {
    signature: Option<String>,
    body: String,
}

/// A receiver that answers with the given status.
struct Receiver(TcpListener);

impl Receiver {
    /// Takes one delivery and answers it.
    async fn take(&self, status: u16) -> Delivery {
        self.take_slowly(status, Duration::ZERO).await
    }

    /// Takes one delivery and answers it after a pause.
    async fn take_slowly(&self, status: u16, pause: Duration) -> Delivery {
        timeout(BOUND, async {
            let (mut stream, _) = self.0.accept().await.unwrap();
            let mut received = Vec::new();
            let delivery = loop {
                stream.read_buf(&mut received).await.unwrap();
                if let Some(delivery) = read(&received) {
                    break delivery;
                }
            };
            tokio::time::sleep(pause).await;
            let answer =
                format!("HTTP/1.1 {status} Status\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            delivery
        })
        .await
        .expect("no delivery within the bound")
    }

    /// Whether nothing more comes.
    async fn is_quiet(&self) -> bool {
        timeout(Duration::from_millis(100), self.0.accept()).await.is_err()
    }
}

fn read(received: &[u8]) -> Option<Delivery> {
    let text = std::str::from_utf8(received).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let header = |name: &str| {
        head.lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
    };
    let length: usize = header("content-length")?.1.parse().ok()?;
    let signature = header("verkada-signature").map(|(_, value)| value.to_owned());
    (body.len() == length).then(|| Delivery { signature, body: body.to_owned() })
}

async fn rig(switches: Switches, secret: Option<&str>) -> (Rig, Receiver) {
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhook", receiver.local_addr().unwrap()).parse().unwrap();
    let webhook = Some(WebhookTarget { url, secret: secret.map(Into::into) });
    let settings = Settings { switches, webhook, ..Settings::new(Organisation::demo(), KEY) };
    (Rig::of(settings).await, Receiver(receiver))
}

#[tokio::test]
async fn deliveries_are_signed_in_order_and_fit_the_document() {
    let (rig, receiver) = rig(Switches { lock_events: true, ..quick() }, Some(SECRET)).await;
    rig.unlock(&rig.front()).await;
    rig.world.set_active(&rig.scenario("Lockdown Heron Mill").parse().unwrap(), true).unwrap();
    let mut words = Vec::new();
    for _ in 0..7 {
        let delivery = receiver.take(200).await;
        let given = delivery.signature.unwrap();
        let timestamp: i64 = given.split_once('|').unwrap().0.parse().unwrap();
        assert_eq!(given, signature(SECRET.as_bytes(), delivery.body.as_bytes(), timestamp));
        let body: Value = serde_json::from_str(&delivery.body).unwrap();
        assert_eq!(rig.api.faults_of("/components/schemas/WebhookEnvelope", &body), Vec::<String>::new());
        assert_eq!(
            rig.api.faults_of("/components/schemas/WebhookAccessData", &body["data"]),
            Vec::<String>::new()
        );
        assert_eq!(body["created_at"].as_i64().unwrap(), timestamp);
        words.push(body["data"]["notification_type"].as_str().unwrap().to_owned());
    }
    let made: Vec<_> = rig.world.events().iter().map(|event| event.word).collect();
    assert_eq!(words, made);
    words.sort();
    let expected = [
        "door_lockdown",
        "door_lockdown",
        "door_lockdown",
        "door_lockdown_debounced",
        "door_locked",
        "door_remote_unlock_accepted",
        "door_unlocked",
    ];
    assert_eq!(words, expected);
    assert!(receiver.is_quiet().await);
}

#[tokio::test]
async fn bent_deliveries_fit_the_document_too() {
    for (nulls, extra) in [(vec!["*".to_owned()], false), (Vec::new(), true), (vec!["name".to_owned()], true)]
    {
        let switches = Switches { null_members: nulls, extra_members: extra, lock_events: false, ..quick() };
        let (rig, receiver) = rig(switches, None).await;
        rig.unlock(&rig.front()).await;
        let delivery = receiver.take(200).await;
        assert_eq!(delivery.signature, None, "unsigned without a secret");
        let body: Value = serde_json::from_str(&delivery.body).unwrap();
        assert_eq!(rig.api.faults_of("/components/schemas/WebhookEnvelope", &body), Vec::<String>::new());
        assert_eq!(
            rig.api.faults_of("/components/schemas/WebhookAccessData", &body["data"]),
            Vec::<String>::new()
        );
        assert_eq!(body.get("member_of_next_year").is_some(), extra);
    }
}

#[tokio::test]
async fn a_delivery_that_is_not_taken_is_repeated_once_as_the_switches_say() {
    for retry in WebhookRetry::ALL {
        let switches = Switches { webhook_retry: *retry, lock_events: false, ..quick() };
        let (rig, receiver) = rig(switches, Some(SECRET)).await;
        rig.unlock(&rig.front()).await;
        // A signature made anew differs only in another second.
        let first = receiver.take_slowly(503, Duration::from_millis(1_100)).await;
        if *retry != WebhookRetry::Off {
            let again = receiver.take(503).await;
            assert_eq!(again.body, first.body);
            let valid = |delivery: &Delivery| {
                let given = delivery.signature.clone().unwrap();
                let timestamp = given.split_once('|').unwrap().0.parse().unwrap();
                given == signature(SECRET.as_bytes(), delivery.body.as_bytes(), timestamp)
            };
            assert!(valid(&first) && valid(&again));
            assert_eq!(again.signature == first.signature, *retry == WebhookRetry::SameSignature);
        }
        assert!(receiver.is_quiet().await, "{retry:?}");
    }
}

#[tokio::test]
async fn deliveries_are_doubled_and_delayed_as_the_switches_say() {
    let switches =
        Switches { webhook_duplicates: true, webhook_delay_ms: 300, lock_events: false, ..quick() };
    let (rig, receiver) = rig(switches, Some(SECRET)).await;
    rig.unlock(&rig.front()).await;
    assert!(receiver.is_quiet().await, "not before the delay");
    assert_eq!(receiver.take(200).await, receiver.take(200).await);
    assert!(receiver.is_quiet().await);
}

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    secret: String,
    raw_body: String,
    header_value: String,
    valid: bool,
}

#[test]
fn signatures_are_those_of_the_vectors() {
    let vectors: Vectors =
        serde_json::from_str(include_str!("../fixtures/webhook-signature-vectors.json")).unwrap();
    let only_late = ["stale", "future"];
    assert_eq!(vectors.vectors.len(), 13);
    for vector in vectors.vectors {
        let timestamp = vector.header_value.split('|').next().unwrap().parse().unwrap_or(0);
        let made = signature(vector.secret.as_bytes(), vector.raw_body.as_bytes(), timestamp);
        let same = made == vector.header_value;
        // A vector that is only too old or too new is signed well; so is one under another secret than the holder's.
        let well_signed = vector.valid || only_late.contains(&vector.name.as_str());
        assert_eq!(same, well_signed, "{}", vector.name);
    }
}
