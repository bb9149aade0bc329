//! A client of the broker, in both versions of the protocol, that remembers everything it hears.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering},
};

use bytes::Bytes;
use rumqttc::{RetainForwardRule, SubscribeFilterInput};
use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::process::LIMIT;

/// The version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V5,
    V311,
}

impl Version {
    /// The word in the configuration.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::V5 => "5",
            Self::V311 => "3.1.1",
        }
    }
}

/// A message that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) retain: bool,
    pub(crate) correlation: Option<Bytes>,
}

/// A connected client that has subscribed to everything.
pub(crate) struct Client {
    sender: Sender,
    heard: watch::Receiver<Vec<Message>>,
    task: JoinHandle<()>,
}

enum Sender {
    V5(rumqttc::AsyncClient),
    V311(rumqttc_v4::AsyncClient),
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Client {
    /// Connects without a name, and waits until its subscription stands.
    pub(crate) async fn connect(version: Version, broker: SocketAddr) -> Self {
        Self::connect_as(version, broker, None).await
    }

    /// Connects with a name and a password.
    pub(crate) async fn connect_as(version: Version, broker: SocketAddr, user: Option<(&str, &str)>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let id = format!("test-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let (heard_sender, heard) = watch::channel(Vec::new());
        let (ready_sender, mut ready) = watch::channel(false);
        let (sender, task) = match version {
            Version::V5 => {
                let mut options = rumqttc::MqttOptions::new(id, (broker.ip().to_string(), broker.port()));
                options.set_max_packet_size(Some(1 << 20));
                if let Some((user, password)) = user {
                    options.set_credentials(user, password.to_owned());
                }
                let (client, events) = rumqttc::AsyncClient::builder(options).capacity(64).build();
                let filter = SubscribeFilterInput::new("#", rumqttc::QoS::AtLeastOnce)
                    .preserve_retain(true)
                    .retain_forward_rule(RetainForwardRule::OnEverySubscribe);
                client.try_subscribe_many([filter]).unwrap();
                (Sender::V5(client), tokio::spawn(listen_v5(events, heard_sender, ready_sender)))
            }
            Version::V311 => {
                let mut options = rumqttc_v4::MqttOptions::new(id, (broker.ip().to_string(), broker.port()));
                options.set_max_packet_size(1 << 20, 1 << 20);
                if let Some((user, password)) = user {
                    options.set_credentials(user, password.to_owned());
                }
                let (client, events) = rumqttc_v4::AsyncClient::builder(options).capacity(64).build();
                client.try_subscribe("#", rumqttc_v4::QoS::AtLeastOnce).unwrap();
                (Sender::V311(client), tokio::spawn(listen_v311(events, heard_sender, ready_sender)))
            }
        };
        timeout(LIMIT, ready.wait_for(|ready| *ready))
            .await
            .expect("a subscription in time")
            .expect("a broker");
        Self { sender, heard, task }
    }

    /// Publishes with `QoS` 1.
    pub(crate) async fn publish(&self, topic: &str, payload: impl Into<Bytes>) {
        self.send(topic, payload.into(), false).await;
    }

    /// Publishes a retained message with `QoS` 1.
    pub(crate) async fn retain(&self, topic: &str, payload: impl Into<Bytes>) {
        self.send(topic, payload.into(), true).await;
    }

    async fn send(&self, topic: &str, payload: Bytes, retain: bool) {
        let sent = async {
            match &self.sender {
                Sender::V5(client) => {
                    let options = rumqttc::PublishOptions::new(rumqttc::QoS::AtLeastOnce).retain(retain);
                    client.publish(topic, payload, options).await.unwrap();
                }
                Sender::V311(client) => {
                    let options =
                        rumqttc_v4::PublishOptions::new(rumqttc_v4::QoS::AtLeastOnce).retain(retain);
                    client.publish(topic, payload, options).await.unwrap();
                }
            }
        };
        timeout(LIMIT, sent).await.expect("room for a message in time");
    }

    /// Publishes with a response topic and correlation data, which MQTT 5 alone has.
    pub(crate) async fn ask(&self, topic: &str, payload: &str, response: &str, correlation: &'static [u8]) {
        let Sender::V5(client) = &self.sender else { panic!("MQTT 3.1.1 has no response topic") };
        let properties = rumqttc::PublishProperties {
            response_topic: Some(response.to_owned()),
            correlation_data: Some(Bytes::from_static(correlation)),
            ..rumqttc::PublishProperties::default()
        };
        let options = rumqttc::PublishOptions::new(rumqttc::QoS::AtLeastOnce).properties(properties);
        timeout(LIMIT, client.publish(topic, payload.to_owned(), options))
            .await
            .expect("room in time")
            .unwrap();
    }

    /// Everything heard so far.
    pub(crate) fn heard(&self) -> Vec<Message> {
        self.heard.borrow().clone()
    }

    /// How many messages were heard so far.
    pub(crate) fn count(&self) -> usize {
        self.heard.borrow().len()
    }

    /// The payloads heard on a topic, oldest first.
    pub(crate) fn payloads(&self, topic: &str) -> Vec<String> {
        let heard = self.heard.borrow();
        heard.iter().filter(|message| message.topic == topic).map(|message| message.payload.clone()).collect()
    }

    /// Waits until what was heard holds something.
    pub(crate) async fn until<T>(&self, what: &str, find: impl Fn(&[Message]) -> Option<T>) -> T {
        let mut heard = self.heard.clone();
        let found = timeout(LIMIT, heard.wait_for(|heard| find(heard).is_some())).await.map(drop);
        let heard = heard.borrow();
        if let Some(found) = found.ok().and_then(|()| find(&heard)) {
            return found;
        }
        let start = heard.len().saturating_sub(40);
        let last: Vec<String> =
            heard[start..].iter().map(|message| format!("{} {}", message.topic, message.payload)).collect();
        panic!("nobody heard {what}, but\n{}", last.join("\n"));
    }

    /// Waits until the last message on a topic is `payload`.
    pub(crate) async fn shows(&self, topic: &str, payload: &str) {
        self.shows_after(0, topic, payload).await;
    }

    /// Waits until the last message on a topic that came after the first `skip` messages is `payload`.
    pub(crate) async fn shows_after(&self, skip: usize, topic: &str, payload: &str) {
        let last = |heard: &[Message]| {
            let last = heard.iter().skip(skip).rev().find(|message| message.topic == topic)?;
            (last.payload == payload).then_some(())
        };
        self.until(&format!("{topic} {payload}"), last).await;
    }

    /// Waits for the result that ends the command `id` of a door or scenario, and returns it.
    pub(crate) async fn result(&self, target: &str, id: &str) -> Value {
        let topic = format!("verkada/{target}/result");
        self.until(&format!("a result of {id} on {topic}"), |heard| {
            results(heard, &topic)
                .into_iter()
                .find(|result| result["id"] == *id && !result["finished_at"].is_null())
        })
        .await
    }

    /// Waits for the note that evidence showed what a command had asked for.
    pub(crate) async fn proof(&self, target: &str, id: &str) -> Value {
        self.note(target, id, "seen").await
    }

    /// Waits for the note on what evidence showed of a command.
    pub(crate) async fn note(&self, target: &str, id: &str, resolved: &str) -> Value {
        let topic = format!("verkada/{target}/result");
        self.until(&format!("a note of {id} on {topic}: {resolved}"), |heard| {
            let mut results = results(heard, &topic).into_iter();
            results.find(|result| result["id"] == *id && result["resolved"] == resolved)
        })
        .await
    }

    /// Waits for the next result on a topic after the first `skip` messages.
    pub(crate) async fn next_result(&self, skip: usize, topic: &str) -> Value {
        self.until(&format!("a result on {topic}"), |heard| {
            results(heard.get(skip..)?, topic).into_iter().find(|result| !result["finished_at"].is_null())
        })
        .await
    }

    /// The outcomes that were heard of a command, oldest first, without the notes on what evidence showed afterwards.
    pub(crate) fn outcomes(&self, target: &str, id: &str) -> Vec<String> {
        results(&self.heard(), &format!("verkada/{target}/result"))
            .into_iter()
            .filter(|result| result["id"] == *id && result["resolved"].is_null())
            .map(|result| result["outcome"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn results(heard: &[Message], topic: &str) -> Vec<Value> {
    let on_topic = heard.iter().filter(|message| message.topic == topic);
    on_topic.map(|message| serde_json::from_str(&message.payload).unwrap()).collect()
}

async fn listen_v5(
    mut events: rumqttc::EventLoop,
    heard: watch::Sender<Vec<Message>>,
    ready: watch::Sender<bool>,
) {
    while let Ok(event) = events.poll().await {
        let rumqttc::Event::Incoming(packet) = event else { continue };
        if let rumqttc::Packet::SubAck(_) = packet {
            ready.send_replace(true);
        } else if let rumqttc::Packet::Publish(publish) = packet {
            let correlation = publish.properties.and_then(|properties| properties.correlation_data);
            let message = message(&publish.topic, &publish.payload, publish.retain, correlation);
            heard.send_modify(|heard| heard.push(message));
        }
    }
}

async fn listen_v311(
    mut events: rumqttc_v4::EventLoop,
    heard: watch::Sender<Vec<Message>>,
    ready: watch::Sender<bool>,
) {
    while let Ok(event) = events.poll().await {
        let rumqttc_v4::Event::Incoming(packet) = event else { continue };
        if let rumqttc_v4::Packet::SubAck(_) = packet {
            ready.send_replace(true);
        } else if let rumqttc_v4::Packet::Publish(publish) = packet {
            let message = message(&publish.topic, &publish.payload, publish.retain, None);
            heard.send_modify(|heard| heard.push(message));
        }
    }
}

fn message(topic: &[u8], payload: &[u8], retain: bool, correlation: Option<Bytes>) -> Message {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Message { topic: text(topic), payload: text(payload), retain, correlation }
}
