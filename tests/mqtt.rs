//! The MQTT adapter against a broker that does what the test tells it, and against Mosquitto.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "what helps a test may fail like a test, and looks for one thing among many"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::timeout;
use verkada2mqtt::{
    clock,
    model::{LinkEvent, Message, Protocol, ProtocolChoice, Publication, Qos, Scheme},
    mqtt::{Link, Session, Settings, Timings, Tls, connect},
};

#[path = "mqtt/against_mosquitto.rs"]
mod against_mosquitto;
#[path = "mqtt/damage.rs"]
mod damage;
#[path = "mqtt/messages.rs"]
mod messages;
#[path = "mqtt/opening.rs"]
mod opening;
#[path = "mqtt/proof.rs"]
mod proof;
#[path = "mqtt/publications.rs"]
mod publications;
#[path = "mqtt/securing.rs"]
mod securing;
#[path = "mqtt/transports.rs"]
mod transports;
#[path = "mqtt/trouble.rs"]
mod trouble;

#[path = "support/authority.rs"]
mod authority;
#[path = "support/environment.rs"]
mod environment;
#[path = "support/log.rs"]
mod log;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/scripted_broker.rs"]
mod scripted_broker;
#[path = "support/websocket.rs"]
mod websocket;

use scripted_broker::{Broker, Client, LIMIT};

const HEARTBEAT: &str = "verkada/bridge/heartbeat/set";
const COMMAND: &str = "verkada/door/front/set";
const BOTH: [ProtocolChoice; 2] = [ProtocolChoice::V5, ProtocolChoice::V311];
const SEED: u64 = 7;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn now() -> Instant {
    clock::now().mono
}

fn publication(topic: &str, payload: &str, retain: bool) -> Publication {
    Publication {
        topic: topic.into(),
        payload: Bytes::from(payload.to_owned()),
        qos: Qos::AtLeastOnce,
        retain,
        correlation: None,
    }
}

fn settings(port: u16, protocol: ProtocolChoice) -> Settings {
    Settings {
        scheme: Scheme::Mqtt,
        host: "127.0.0.1".into(),
        port,
        path: String::new(),
        protocol,
        client_id: "gateway-1".into(),
        credentials: None,
        tls: Tls::default(),
        keep_alive: Duration::from_secs(5),
        subscriptions: vec![
            ("verkada/+/+/set".into(), Qos::AtLeastOnce),
            ("homeassistant/status".into(), Qos::AtLeastOnce),
        ],
        wants_retained: false,
        heartbeat_topic: HEARTBEAT.into(),
        last_will: Some(publication("verkada/availability", "offline", true)),
        session: Session::Clean,
        timings: Timings {
            connect_within: ms(2_000),
            heartbeat_every: ms(40),
            proven_for: ms(400),
            dead_after: Some(ms(1_200)),
            retry_min: ms(10),
            retry_max: ms(60),
            retry_taken_over: ms(500),
            healthy_after: ms(60_000),
            resubscribe_every: ms(100),
            remind_every: ms(300),
        },
    }
}

/// Settings under which no connection is given up.
fn patient(port: u16, protocol: ProtocolChoice) -> Settings {
    let mut settings = settings(port, protocol);
    settings.timings.dead_after = Some(Duration::from_mins(1));
    settings
}

async fn until<T>(link: &mut Link, what: &str, mut wanted: impl FnMut(LinkEvent) -> Option<T>) -> T {
    let mut passed = Vec::new();
    let waiting = async {
        loop {
            let event = link.next().await;
            passed.push(format!("{event:?}"));
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    };
    let found = timeout(LIMIT, waiting).await;
    found.unwrap_or_else(|_| panic!("no {what} in time, only {passed:#?}"))
}

async fn up(link: &mut Link) -> (Protocol, Option<u32>) {
    until(link, "Up", |event| match event {
        LinkEvent::Up { protocol, max_packet } => Some((protocol, max_packet)),
        _ => None,
    })
    .await
}

async fn proven(link: &mut Link) {
    until(link, "Proven", |event| (event == LinkEvent::Proven).then_some(())).await;
}

async fn unproven(link: &mut Link) -> String {
    until(link, "Unproven", |event| match event {
        LinkEvent::Unproven(sentence) => Some(sentence),
        _ => None,
    })
    .await
}

async fn down(link: &mut Link) -> String {
    until(link, "Down", |event| match event {
        LinkEvent::Down(sentence) => Some(sentence),
        _ => None,
    })
    .await
}

async fn message(link: &mut Link) -> Message {
    until(link, "a message", |event| match event {
        LinkEvent::Message(message) => Some(message),
        _ => None,
    })
    .await
}

/// A link that is proven, and the client that the broker sees.
async fn pair(settings: Settings, broker: &Broker) -> (Link, Client) {
    let mut link = connect(settings, SEED).unwrap();
    let client = broker.serve().await;
    proven(&mut link).await;
    (link, client)
}
