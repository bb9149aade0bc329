//! A broker that does what a test tells it, right and wrong, for one client at a time, in MQTT 5 and 3.1.1.
//!
//! [`Broker::accept`] gives a [`Peer`], which a test drives by hand; [`Peer::serve`] turns it into a [`Client`], which
//! answers by itself in the way its [`Manners`] say.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v5;
use rumqttc_v4::mqttbytes::v4;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::{mpsc, watch},
    time::timeout,
};

/// No step of a test may take longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// Anything that carries bytes both ways.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
/// What turns a TCP connection into what MQTT is spoken on.
pub(crate) type Upgrade = Arc<
    dyn Fn(tokio::net::TcpStream) -> Pin<Box<dyn Future<Output = std::io::Result<Box<dyn Stream>>> + Send>>
        + Send
        + Sync,
>;

pub(crate) struct Broker {
    listener: TcpListener,
    upgrade: Option<Upgrade>,
}

impl Broker {
    pub(crate) async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), upgrade: None }
    }

    pub(crate) async fn start_with(upgrade: Upgrade) -> Self {
        Self { upgrade: Some(upgrade), ..Self::start().await }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// The next TCP connection; reads nothing yet.
    pub(crate) async fn accept(&self) -> Peer {
        let (tcp, _) = timeout(LIMIT, self.listener.accept()).await.expect("a connection in time").unwrap();
        tcp.set_nodelay(true).unwrap();
        let stream: Box<dyn Stream> = match &self.upgrade {
            None => Box::new(tcp),
            Some(upgrade) => upgrade(tcp).await.expect("a handshake"),
        };
        Peer { stream, input: BytesMut::new(), version: 5 }
    }

    /// The next TCP connection, if any comes within `wait`.
    pub(crate) async fn accept_within(&self, wait: Duration) -> Option<tokio::net::TcpStream> {
        timeout(wait, self.listener.accept()).await.ok().map(|accepted| accepted.unwrap().0)
    }

    /// Accepts, welcomes, and serves with good manners.
    pub(crate) async fn serve(&self) -> Client {
        let mut peer = self.accept().await;
        peer.hello().await;
        peer.welcome().await;
        peer.serve(Manners::default())
    }
}

/// What CONNECT said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) version: u8,
    pub(crate) client_id: String,
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
    pub(crate) session_expiry: Option<u32>,
    pub(crate) receive_maximum: Option<u16>,
    pub(crate) max_packet: Option<u32>,
    pub(crate) will: Option<(String, Bytes, bool)>,
    pub(crate) password: Option<Bytes>,
}

/// A subscription as SUBSCRIBE asked for it: filter, `QoS`, no local, retain as published, retain handling.
pub(crate) type Asked = (String, u8, bool, bool, u8);

/// A packet from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Publish(Sent),
    Subscribe(u16, Vec<Asked>),
    Ack(u16),
    Ping,
    Disconnect,
    Other,
    Gone,
}

/// A PUBLISH, from the client or to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) pkid: u16,
    pub(crate) response_topic: Option<String>,
    pub(crate) correlation: Option<Bytes>,
}

impl Sent {
    pub(crate) fn new(topic: &str, payload: &str) -> Self {
        Self { topic: topic.into(), payload: Bytes::from(payload.to_owned()), ..Self::default() }
    }
}

#[expect(clippy::large_enum_variant, reason = "one at a time")]
enum Packet {
    V5(v5::Packet),
    V4(v4::Packet),
}

pub(crate) struct Peer {
    stream: Box<dyn Stream>,
    input: BytesMut,
    version: u8,
}

impl Peer {
    /// Reads CONNECT.
    pub(crate) async fn hello(&mut self) -> Hello {
        while self.input.len() < 9 {
            assert!(self.fill().await, "the client left before CONNECT");
        }
        // Fixed header, length of the rest (one byte or two), then "MQTT" with its length, then the version.
        let header = 1 + self.input[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
        while self.input.len() < header + 7 {
            assert!(self.fill().await, "the client left before CONNECT");
        }
        self.version = self.input[header + 6];
        match self.packet().await {
            Some(Packet::V5(v5::Packet::Connect(connect, will, auth))) => {
                let properties = connect.properties.unwrap_or_default();
                Hello {
                    version: 5,
                    client_id: connect.client_id,
                    clean: connect.clean_start,
                    keep_alive: connect.keep_alive,
                    session_expiry: properties.session_expiry_interval,
                    receive_maximum: properties.receive_maximum,
                    max_packet: properties.max_packet_size,
                    will: will.map(|will| {
                        (String::from_utf8(will.topic.to_vec()).unwrap(), will.message, will.retain)
                    }),
                    password: match auth {
                        v5::ConnectAuth::Password { password }
                        | v5::ConnectAuth::UsernamePassword { password, .. } => Some(password),
                        v5::ConnectAuth::None | v5::ConnectAuth::Username { .. } => None,
                    },
                }
            }
            Some(Packet::V4(v4::Packet::Connect(connect))) => Hello {
                version: 4,
                client_id: connect.client_id,
                clean: connect.clean_session,
                keep_alive: connect.keep_alive,
                session_expiry: None,
                receive_maximum: None,
                max_packet: None,
                will: connect.last_will.map(|will| (will.topic, will.message, will.retain)),
                password: match connect.auth {
                    v4::ConnectAuth::UsernamePassword { password, .. } => Some(password),
                    v4::ConnectAuth::None | v4::ConnectAuth::Username { .. } => None,
                },
            },
            _ => panic!("the first packet is not CONNECT"),
        }
    }

    /// CONNACK, success, no properties.
    pub(crate) async fn welcome(&mut self) {
        self.connack(false, 0, &[]).await;
    }

    /// CONNACK with the given reason; `properties` as they stand on the wire (MQTT 5).
    pub(crate) async fn connack(&mut self, session_present: bool, reason: u8, properties: &[u8]) {
        let mut packet = vec![0x20, 2, u8::from(session_present), reason];
        if self.version == 5 {
            packet[1] = u8::try_from(3 + properties.len()).unwrap();
            packet.push(u8::try_from(properties.len()).unwrap());
            packet.extend_from_slice(properties);
        }
        self.raw(&packet).await;
    }

    /// Bytes as they are. A client that has left is no fault here.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        if self.stream.write_all(bytes).await.is_ok() {
            self.stream.flush().await.ok();
        }
    }

    /// The next packet from the client.
    pub(crate) async fn read(&mut self) -> Seen {
        match self.packet().await {
            None => Seen::Gone,
            Some(Packet::V5(packet)) => seen_v5(packet),
            Some(Packet::V4(packet)) => seen_v4(packet),
        }
    }

    pub(crate) async fn publish(&mut self, sent: &Sent) {
        let bytes = encode_publish(self.version, sent);
        self.raw(&bytes).await;
    }

    pub(crate) async fn puback(&mut self, pkid: u16, reason: u8) {
        let [high, low] = pkid.to_be_bytes();
        if reason == 0 {
            self.raw(&[0x40, 2, high, low]).await;
        } else {
            self.raw(&[0x40, 3, high, low, reason]).await;
        }
    }

    pub(crate) async fn suback(&mut self, pkid: u16, reasons: &[u8]) {
        let [high, low] = pkid.to_be_bytes();
        let properties: &[u8] = if self.version == 5 { &[0] } else { &[] };
        let length = u8::try_from(2 + properties.len() + reasons.len()).unwrap();
        self.raw(&[&[0x90, length, high, low], properties, reasons].concat()).await;
    }

    /// Answers by itself from here on.
    pub(crate) fn serve(self, manners: Manners) -> Client {
        let (seen_sender, seen) = mpsc::unbounded_channel();
        let (orders, order_receiver) = mpsc::unbounded_channel();
        let (manners_sender, manners) = watch::channel(manners);
        let served = Served {
            peer: self,
            seen: seen_sender,
            orders: order_receiver,
            manners,
            next_pkid: 1,
            owed: Vec::new(),
        };
        tokio::spawn(served.run());
        Client { seen, orders, manners: manners_sender, passed: Arc::default() }
    }

    async fn packet(&mut self) -> Option<Packet> {
        loop {
            let parsed = if self.version == 5 {
                v5::Packet::read(&mut self.input, None).map(Packet::V5).map_err(|error| match error {
                    rumqttc::mqttbytes::Error::InsufficientBytes(_) => None,
                    other => Some(format!("{other:?}")),
                })
            } else {
                v4::Packet::read(&mut self.input, usize::MAX).map(Packet::V4).map_err(|error| match error {
                    rumqttc_v4::mqttbytes::Error::InsufficientBytes(_) => None,
                    other => Some(format!("{other:?}")),
                })
            };
            match parsed {
                Ok(packet) => return Some(packet),
                Err(None) => {
                    if !self.fill().await {
                        return None;
                    }
                }
                Err(Some(fault)) => panic!("the client sent a broken packet: {fault}"),
            }
        }
    }

    /// Reads what there is; `false` at the end.
    async fn fill(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.input).await, Ok(read) if read > 0)
    }
}

/// How a served client is answered.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a habit of its own")]
pub(crate) struct Manners {
    /// PUBACK is sent; what was withheld is sent once it is.
    pub(crate) acknowledge: bool,
    /// What the client publishes comes back where it subscribed.
    pub(crate) echo: bool,
    /// PINGRESP is sent.
    pub(crate) pong: bool,
    /// Nothing is read and nothing is sent.
    pub(crate) frozen: bool,
    /// The reasons in SUBACK; empty grants everything.
    pub(crate) suback: Vec<u8>,
    /// The reason in PUBACK.
    pub(crate) puback: u8,
}

impl Default for Manners {
    fn default() -> Self {
        Self { acknowledge: true, echo: true, pong: true, frozen: false, suback: Vec::new(), puback: 0 }
    }
}

enum Order {
    Publish(Sent),
    Raw(Vec<u8>),
    Cut,
}

/// A client that is served.
pub(crate) struct Client {
    seen: mpsc::UnboundedReceiver<Seen>,
    orders: mpsc::UnboundedSender<Order>,
    manners: watch::Sender<Manners>,
    passed: Arc<Mutex<Vec<Seen>>>,
}

impl Client {
    /// Waits until the client has sent what `wanted` looks for.
    pub(crate) async fn until<T>(&mut self, what: &str, mut wanted: impl FnMut(&Seen) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let Some(seen) = self.seen.recv().await else { panic!("the client left before {what}") };
                let found = wanted(&seen);
                self.passed.lock().unwrap().push(seen);
                if let Some(found) = found {
                    return found;
                }
            }
        };
        timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("no {what} in time"))
    }

    /// Waits for a publication on a topic.
    pub(crate) async fn published(&mut self, topic: &str) -> Sent {
        self.until(topic, |seen| match seen {
            Seen::Publish(sent) if sent.topic == topic => Some(sent.clone()),
            _ => None,
        })
        .await
    }

    /// Waits until the client is gone.
    pub(crate) async fn gone(&mut self) {
        self.until("the end", |seen| (*seen == Seen::Gone).then_some(())).await;
    }

    /// What was seen and waited for so far, in order.
    pub(crate) fn passed(&self) -> Vec<Seen> {
        self.passed.lock().unwrap().clone()
    }

    pub(crate) fn publish(&self, sent: Sent) {
        self.orders.send(Order::Publish(sent)).ok();
    }

    pub(crate) fn raw(&self, bytes: &[u8]) {
        self.orders.send(Order::Raw(bytes.to_vec())).ok();
    }

    pub(crate) fn cut(&self) {
        self.orders.send(Order::Cut).ok();
    }

    pub(crate) fn behave(&self, change: impl FnOnce(&mut Manners)) {
        self.manners.send_modify(change);
    }
}

struct Served {
    peer: Peer,
    seen: mpsc::UnboundedSender<Seen>,
    orders: mpsc::UnboundedReceiver<Order>,
    manners: watch::Receiver<Manners>,
    next_pkid: u16,
    /// PUBLISH packets whose PUBACK is withheld.
    owed: Vec<u16>,
}

impl Served {
    async fn run(mut self) {
        loop {
            if self.manners.wait_for(|manners| !manners.frozen).await.is_err() {
                return;
            }
            if self.manners.borrow().acknowledge {
                for pkid in std::mem::take(&mut self.owed) {
                    self.peer.puback(pkid, 0).await;
                }
            }
            let seen = tokio::select! {
                seen = self.peer.read() => seen,
                order = self.orders.recv() => match order {
                    Some(Order::Publish(sent)) => { self.send(sent).await; continue }
                    Some(Order::Raw(bytes)) => { self.peer.raw(&bytes).await; continue }
                    Some(Order::Cut) | None => return,
                },
                changed = self.manners.changed() => if changed.is_ok() { continue } else { return },
            };
            self.answer(&seen).await;
            let gone = seen == Seen::Gone;
            self.seen.send(seen).ok();
            if gone {
                return;
            }
        }
    }

    async fn answer(&mut self, seen: &Seen) {
        let manners = self.manners.borrow().clone();
        match seen {
            Seen::Subscribe(pkid, asked) => {
                let granted = vec![1; asked.len()];
                let reasons = if manners.suback.is_empty() { granted } else { manners.suback };
                self.peer.suback(*pkid, &reasons).await;
            }
            Seen::Publish(sent) => {
                match (sent.qos, manners.acknowledge) {
                    (0, _) => {}
                    (_, true) => self.peer.puback(sent.pkid, manners.puback).await,
                    (_, false) => self.owed.push(sent.pkid),
                }
                if manners.echo && sent.topic.ends_with("/set") {
                    self.send(Sent { pkid: 0, dup: false, retain: false, ..sent.clone() }).await;
                }
            }
            Seen::Ping => {
                if manners.pong {
                    self.peer.raw(&[0xD0, 0]).await;
                }
            }
            Seen::Ack(_) | Seen::Disconnect | Seen::Other | Seen::Gone => {}
        }
    }

    async fn send(&mut self, mut sent: Sent) {
        if sent.qos > 0 {
            sent.pkid = self.next_pkid;
            self.next_pkid = self.next_pkid.checked_add(1).unwrap_or(1);
        }
        self.peer.publish(&sent).await;
    }
}

pub(crate) fn encode_publish(version: u8, sent: &Sent) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    if version == 5 {
        let qos = if sent.qos == 0 { rumqttc::QoS::AtMostOnce } else { rumqttc::QoS::AtLeastOnce };
        let properties = v5::PublishProperties {
            response_topic: sent.response_topic.clone(),
            correlation_data: sent.correlation.clone(),
            ..v5::PublishProperties::default()
        };
        let mut publish = v5::Publish::new(sent.topic.as_str(), qos, sent.payload.clone(), Some(properties));
        (publish.pkid, publish.retain, publish.dup) = (sent.pkid, sent.retain, sent.dup);
        publish.write(&mut bytes).unwrap();
    } else {
        let qos = if sent.qos == 0 { rumqttc_v4::QoS::AtMostOnce } else { rumqttc_v4::QoS::AtLeastOnce };
        let mut publish = v4::Publish::new(sent.topic.as_str(), qos, sent.payload.to_vec());
        (publish.pkid, publish.retain, publish.dup) = (sent.pkid, sent.retain, sent.dup);
        publish.write(&mut bytes).unwrap();
    }
    bytes.to_vec()
}

fn seen_v5(packet: v5::Packet) -> Seen {
    match packet {
        v5::Packet::Publish(publish) => {
            let properties = publish.properties.unwrap_or_default();
            Seen::Publish(Sent {
                topic: String::from_utf8(publish.topic.to_vec()).unwrap(),
                payload: publish.payload,
                qos: u8::from(publish.qos != rumqttc::QoS::AtMostOnce),
                retain: publish.retain,
                dup: publish.dup,
                pkid: publish.pkid,
                response_topic: properties.response_topic,
                correlation: properties.correlation_data,
            })
        }
        v5::Packet::Subscribe(subscribe) => Seen::Subscribe(
            subscribe.pkid,
            subscribe
                .filters
                .into_iter()
                .map(|filter| {
                    let handling = match filter.retain_forward_rule {
                        v5::RetainForwardRule::OnEverySubscribe => 0,
                        v5::RetainForwardRule::OnNewSubscribe => 1,
                        v5::RetainForwardRule::Never => 2,
                    };
                    let qos = u8::from(filter.qos != rumqttc::QoS::AtMostOnce);
                    (filter.path, qos, filter.nolocal, filter.preserve_retain, handling)
                })
                .collect(),
        ),
        v5::Packet::PubAck(ack) => Seen::Ack(ack.pkid),
        v5::Packet::PingReq => Seen::Ping,
        v5::Packet::Disconnect(_) => Seen::Disconnect,
        _ => Seen::Other,
    }
}

fn seen_v4(packet: v4::Packet) -> Seen {
    match packet {
        v4::Packet::Publish(publish) => Seen::Publish(Sent {
            topic: String::from_utf8(publish.topic.to_vec()).unwrap(),
            payload: publish.payload,
            qos: u8::from(publish.qos != rumqttc_v4::QoS::AtMostOnce),
            retain: publish.retain,
            dup: publish.dup,
            pkid: publish.pkid,
            response_topic: None,
            correlation: None,
        }),
        v4::Packet::Subscribe(subscribe) => Seen::Subscribe(
            subscribe.pkid,
            subscribe
                .filters
                .into_iter()
                .map(|filter| {
                    (filter.path, u8::from(filter.qos != rumqttc_v4::QoS::AtMostOnce), false, false, 0)
                })
                .collect(),
        ),
        v4::Packet::PubAck(ack) => Seen::Ack(ack.pkid),
        v4::Packet::PingReq => Seen::Ping,
        v4::Packet::Disconnect => Seen::Disconnect,
        _ => Seen::Other,
    }
}
