//! The embedded broker over real sockets: driven by both client crates, and by bare codecs where flags matter.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use rumqttc::mqttbytes::{
    QoS,
    v5::{
        self, Connect, ConnectAuth, ConnectProperties, ConnectReturnCode, Disconnect, DisconnectReasonCode,
        LastWill, Packet, PubAck, Publish, PublishProperties, RetainForwardRule, Subscribe, SubscribeFilter,
        SubscribeReasonCode, UnsubAckReason, Unsubscribe,
    },
};
use rumqttc_v4::mqttbytes::v4;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::codec::Framed;
use verkada2mqtt::demo::broker::{self, Broker};

/// The bound of every wait.
const LONG: Duration = Duration::from_secs(10);

/// The largest packet that the broker announces.
const MAX_PACKET_BYTES: usize = 1024 * 1024;

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LONG, future).await.expect("it takes too long")
}

async fn start() -> Broker {
    broker::start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap()
}

/// A bare MQTT 5 client: what it sends and gets is exactly what the test says and sees.
struct Bare(Framed<TcpStream, v5::Codec>);

impl Bare {
    async fn connect(broker: &Broker, id: &str) -> Self {
        Self::connect_with(broker, id, |_, _| {}).await.0
    }

    async fn connect_with(
        broker: &Broker,
        id: &str,
        edit: impl FnOnce(&mut Connect, &mut Option<LastWill>),
    ) -> (Self, v5::ConnAck) {
        let socket = within(TcpStream::connect(broker.address())).await.unwrap();
        let codec = v5::Codec { max_incoming_size: None, max_outgoing_size: None };
        let mut bare = Self(Framed::new(socket, codec));
        let mut connect =
            Connect { keep_alive: 30, client_id: id.to_owned(), clean_start: true, properties: None };
        let mut will = None;
        edit(&mut connect, &mut will);
        bare.send(Packet::Connect(connect, will, ConnectAuth::None)).await;
        let Packet::ConnAck(ack) = bare.next().await else { panic!("no CONNACK") };
        (bare, ack)
    }

    async fn send(&mut self, packet: Packet) {
        within(self.0.send(packet)).await.unwrap();
    }

    async fn next(&mut self) -> Packet {
        within(self.0.next()).await.expect("connection closed").unwrap()
    }

    async fn publish(&mut self, topic: &str, payload: &str, retain: bool) {
        let publish = Publish { retain, ..Publish::new(topic, QoS::AtMostOnce, payload.to_owned(), None) };
        self.send(Packet::Publish(publish)).await;
    }

    async fn subscribe_with(&mut self, filter: &str, edit: impl FnOnce(&mut SubscribeFilter)) {
        let mut options = SubscribeFilter::new(filter, QoS::AtLeastOnce);
        edit(&mut options);
        self.send(Packet::Subscribe(Subscribe { pkid: 3, filters: vec![options], properties: None })).await;
        let Packet::SubAck(ack) = self.next().await else { panic!("no SUBACK") };
        assert_eq!(ack.return_codes, [SubscribeReasonCode::Success(QoS::AtLeastOnce)]);
    }

    async fn subscribe(&mut self, filter: &str) {
        self.subscribe_with(filter, |_| {}).await;
    }

    /// The messages that came before the broker answered a ping, with their retain flags.
    async fn messages(&mut self) -> Vec<(String, String, bool)> {
        // A ping may pass messages, so the end is marked by a message of our own.
        let mark = SubscribeFilter::new("end-of-test/mark", QoS::AtMostOnce);
        self.send(Packet::Subscribe(Subscribe { pkid: 4, filters: vec![mark], properties: None })).await;
        self.publish("end-of-test/mark", "", false).await;
        let mut messages = Vec::new();
        loop {
            let packet = self.next().await;
            if let Packet::Publish(p) = packet {
                if p.topic == "end-of-test/mark" {
                    return messages;
                }
                messages.push((text(&p.topic), text(&p.payload), p.retain));
            } else {
                assert!(matches!(packet, Packet::SubAck(_)), "unexpected {packet:?}");
            }
        }
    }

    /// The reason that the broker gave before it closed; `None` if it gave none.
    async fn closed(&mut self) -> Option<DisconnectReasonCode> {
        let mut reason = None;
        while let Some(Ok(packet)) = within(self.0.next()).await {
            if let Packet::Disconnect(disconnect) = packet {
                reason = Some(disconnect.reason_code);
            }
        }
        reason
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn is(topic: &str, payload: &str, retain: bool) -> (String, String, bool) {
    (topic.to_owned(), payload.to_owned(), retain)
}

fn will(topic: &str) -> LastWill {
    LastWill::new(topic, "offline", QoS::AtLeastOnce, true, None)
}

/// The client crate for MQTT 5; its publications come out of the channel.
fn client_v5(broker: &Broker, id: &str) -> (rumqttc::AsyncClient, mpsc::Receiver<Publish>) {
    let options = rumqttc::MqttOptions::new(id, ("127.0.0.1", broker.address().port()));
    let (client, mut events) = rumqttc::AsyncClient::builder(options).capacity(100).build();
    let (found, inbox) = mpsc::channel(100);
    tokio::spawn(async move {
        while let Ok(event) = events.poll().await {
            if let rumqttc::Event::Incoming(Packet::Publish(publish)) = event
                && found.send(publish).await.is_err()
            {
                break;
            }
        }
    });
    (client, inbox)
}

/// The client crate for MQTT 3.1.1.
fn client_v4(broker: &Broker, id: &str) -> (rumqttc_v4::AsyncClient, mpsc::Receiver<v4::Publish>) {
    let options = rumqttc_v4::MqttOptions::new(id, ("127.0.0.1", broker.address().port()));
    let (client, mut events) = rumqttc_v4::AsyncClient::builder(options).capacity(100).build();
    let (found, inbox) = mpsc::channel(100);
    tokio::spawn(async move {
        while let Ok(event) = events.poll().await {
            if let rumqttc_v4::Event::Incoming(v4::Packet::Publish(publish)) = event
                && found.send(publish).await.is_err()
            {
                break;
            }
        }
    });
    (client, inbox)
}

#[tokio::test]
async fn only_loopback_is_served() {
    let error = broker::start("0.0.0.0:0".parse().unwrap()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the embedded broker does not listen on 0.0.0.0:0: it asks for no password; use a loopback address such as 127.0.0.1"
    );
    let broker = start().await;
    let error = broker::start(broker.address()).await.unwrap_err();
    assert!(
        error.to_string().starts_with(&format!("the embedded broker cannot listen on {}", broker.address()))
    );
}

#[tokio::test]
async fn the_two_protocols_talk_with_each_other() {
    let broker = start().await;
    let (five, mut to_five) = client_v5(&broker, "five");
    let (four, mut to_four) = client_v4(&broker, "four");
    five.subscribe("to/five", QoS::ExactlyOnce).await.unwrap();
    four.subscribe("to/four", QoS::ExactlyOnce).await.unwrap();
    // Retained, so that it does not matter who is first. MQTT 5 is told the limit, 3.1.1 is lowered to it.
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let payload = format!("five at {qos:?}");
        five.publish("to/four", payload.clone(), rumqttc::PublishOptions::new(qos).retained()).await.unwrap();
        let got = within(to_four.recv()).await.unwrap();
        assert_eq!((text(&got.payload), got.qos), (payload, qos));
    }
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let payload = format!("four at {qos:?}");
        let delivered = if qos == QoS::AtMostOnce { qos } else { QoS::AtLeastOnce };
        four.publish("to/five", payload.clone(), rumqttc_v4::PublishOptions::new(qos).retained())
            .await
            .unwrap();
        let got = within(to_five.recv()).await.unwrap();
        assert_eq!((text(&got.payload), got.qos), (payload, delivered));
    }
    broker.stop().await;
}

#[tokio::test]
async fn an_answer_finds_its_request_by_response_topic_and_correlation_data() {
    let broker = start().await;
    let mut asker = Bare::connect(&broker, "asker").await;
    let mut answerer = Bare::connect(&broker, "answerer").await;
    asker.subscribe("answers/asker").await;
    answerer.subscribe("door/+/set").await;
    let properties = PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(60),
        response_topic: Some("answers/asker".to_owned()),
        correlation_data: Some(Bytes::from_static(b"\x00\xff42")),
        user_properties: vec![("k".to_owned(), "1".to_owned()), ("k".to_owned(), "2".to_owned())],
        content_type: Some("text/plain".to_owned()),
        ..PublishProperties::default()
    };
    asker
        .send(Packet::Publish(Publish::new(
            "door/1/set",
            QoS::AtMostOnce,
            "UNLOCK",
            Some(properties.clone()),
        )))
        .await;
    let Packet::Publish(request) = answerer.next().await else { panic!("no request") };
    assert_eq!(request.properties, Some(properties.clone()));
    let answer = PublishProperties {
        correlation_data: properties.correlation_data.clone(),
        ..PublishProperties::default()
    };
    let to = request.properties.unwrap().response_topic.unwrap();
    answerer.send(Packet::Publish(Publish::new(to, QoS::AtMostOnce, "done", Some(answer.clone())))).await;
    let Packet::Publish(got) = asker.next().await else { panic!("no answer") };
    assert_eq!(
        (got.topic, got.payload, got.properties),
        ("answers/asker".into(), "done".into(), Some(answer))
    );
}

#[tokio::test]
async fn the_connack_says_what_there_is() {
    let broker = start().await;
    let (_named, ack) = Bare::connect_with(&broker, "named", |_, _| {}).await;
    assert!(!ack.session_present);
    let properties = ack.properties.unwrap();
    assert_eq!(properties.max_qos, Some(1));
    assert_eq!(properties.max_packet_size, Some(1024 * 1024));
    assert_eq!(properties.topic_alias_max, Some(0));
    assert_eq!(properties.session_expiry_interval, Some(0));
    assert_eq!(properties.shared_subscription_available, Some(0));
    assert_eq!((properties.assigned_client_identifier, properties.server_keep_alive), (None, None));
    let (_nameless, ack) = Bare::connect_with(&broker, "", |c, _| {
        c.keep_alive = 0;
        c.clean_start = false;
        c.properties =
            Some(ConnectProperties { session_expiry_interval: Some(3600), ..ConnectProperties::new() });
    })
    .await;
    assert!(!ack.session_present);
    let properties = ack.properties.unwrap();
    assert_eq!(properties.session_expiry_interval, Some(3600));
    assert_eq!(properties.server_keep_alive, Some(600));
    assert!(properties.assigned_client_identifier.is_some_and(|id| !id.is_empty()));
}

#[tokio::test]
async fn a_session_that_is_to_be_kept_is_there_again_with_what_was_published_meanwhile() {
    let broker = start().await;
    let kept = |connect: &mut Connect, _: &mut Option<LastWill>| {
        connect.clean_start = false;
        connect.properties =
            Some(ConnectProperties { session_expiry_interval: Some(60), ..ConnectProperties::new() });
    };
    let (mut client, ack) = Bare::connect_with(&broker, "kept", kept).await;
    assert!(!ack.session_present);
    client.subscribe("a").await;
    broker.drop_connections();
    client.closed().await;
    let mut other = Bare::connect(&broker, "other").await;
    let publish = Publish { pkid: 1, ..Publish::new("a", QoS::AtLeastOnce, "meanwhile", None) };
    other.send(Packet::Publish(publish)).await;
    assert!(matches!(other.next().await, Packet::PubAck(_)));
    let (mut client, ack) = Bare::connect_with(&broker, "kept", kept).await;
    assert!(ack.session_present);
    let Packet::Publish(publish) = client.next().await else { panic!("no message") };
    assert_eq!((text(&publish.payload), publish.dup), ("meanwhile".to_owned(), false));
    client.send(Packet::Disconnect(Disconnect::new(DisconnectReasonCode::NormalDisconnection))).await;
    client.closed().await;
    let (mut client, ack) = Bare::connect_with(&broker, "kept", kept).await;
    assert!(ack.session_present, "a goodbye alone does not end it");
    let Packet::Publish(publish) = client.next().await else { panic!("no message") };
    assert!(publish.dup, "it was not acknowledged");
}

#[tokio::test]
async fn retained_messages_wait_for_subscribers_until_cleared() {
    let broker = start().await;
    let mut publisher = Bare::connect(&broker, "publisher").await;
    publisher.publish("door/1/state", "LOCKED", true).await;
    publisher.publish("door/2/state", "UNLOCKED", true).await;
    publisher.publish("door/3/state", "not kept", false).await;
    publisher.publish("door/2/state", "None", true).await;
    assert_eq!(publisher.messages().await, []);
    let mut subscriber = Bare::connect(&broker, "subscriber").await;
    subscriber.subscribe("door/+/state").await;
    let expected = [is("door/1/state", "LOCKED", true), is("door/2/state", "None", true)];
    assert_eq!(subscriber.messages().await, expected);
    publisher.publish("door/1/state", "", true).await;
    assert_eq!(publisher.messages().await, []);
    assert_eq!(subscriber.messages().await, [is("door/1/state", "", false)]);
    assert_eq!(broker.retained("#"), [("door/2/state".to_owned(), Bytes::from("None"))]);
    broker.forget_retained();
    assert_eq!(broker.retained("#"), []);
}

#[tokio::test]
async fn retain_handling_as_published_and_no_local_hold_on_the_wire() {
    let broker = start().await;
    let mut publisher = Bare::connect(&broker, "publisher").await;
    publisher.publish("a", "kept", true).await;
    assert_eq!(publisher.messages().await, []);
    for (rule, first, again) in [
        (RetainForwardRule::OnEverySubscribe, 1, 1),
        (RetainForwardRule::OnNewSubscribe, 1, 0),
        (RetainForwardRule::Never, 0, 0),
    ] {
        for preserve in [false, true] {
            let mut subscriber = Bare::connect(&broker, "subscriber").await;
            for expected in [first, again] {
                subscriber
                    .subscribe_with("a", |o| {
                        o.retain_forward_rule = rule.clone();
                        o.preserve_retain = preserve;
                        o.nolocal = true;
                    })
                    .await;
                assert_eq!(subscriber.messages().await, vec![is("a", "kept", true); expected], "{rule:?}");
            }
            publisher.publish("a", "kept", true).await;
            assert_eq!(publisher.messages().await, []);
            subscriber.publish("a", "kept", true).await;
            assert_eq!(subscriber.messages().await, [is("a", "kept", preserve)], "{rule:?} {preserve}");
        }
    }
}

#[tokio::test]
async fn wills_and_take_over() {
    let broker = start().await;
    let mut watcher = Bare::connect(&broker, "watcher").await;
    watcher.subscribe("gone/#").await;
    let connect = |id: &'static str, topic: &'static str| {
        Bare::connect_with(&broker, id, move |_, slot| *slot = Some(will(topic)))
    };

    let (lost, _) = connect("lost", "gone/lost").await;
    drop(lost);
    assert_eq!(next_topic(&mut watcher).await, "gone/lost");

    let (mut older, _) = connect("same", "gone/older").await;
    let (mut newer, _) = connect("same", "gone/newer").await;
    assert_eq!(older.closed().await, Some(DisconnectReasonCode::SessionTakenOver));
    assert_eq!(next_topic(&mut watcher).await, "gone/older");

    newer.send(Packet::Disconnect(Disconnect::new(DisconnectReasonCode::DisconnectWithWillMessage))).await;
    assert_eq!(newer.closed().await, None);
    assert_eq!(next_topic(&mut watcher).await, "gone/newer");

    let (mut polite, _) = connect("polite", "gone/polite").await;
    polite.send(Packet::Disconnect(Disconnect::new(DisconnectReasonCode::NormalDisconnection))).await;
    assert_eq!(polite.closed().await, None);
    assert_eq!(watcher.messages().await, []);
    let kept: Vec<String> = broker.retained("gone/#").into_iter().map(|(topic, _)| topic).collect();
    assert_eq!(kept, ["gone/lost", "gone/newer", "gone/older"]);
}

async fn next_topic(client: &mut Bare) -> String {
    let Packet::Publish(publish) = client.next().await else { panic!("no message") };
    if publish.pkid != 0 {
        client.send(Packet::PubAck(PubAck::new(publish.pkid, None))).await;
    }
    text(&publish.topic)
}

#[tokio::test]
async fn silence_for_one_and_a_half_keep_alives_ends_a_connection() {
    let broker = start().await;
    let mut watcher = Bare::connect(&broker, "watcher").await;
    watcher.subscribe("gone").await;
    let begin = Instant::now();
    let (mut silent, _) = Bare::connect_with(&broker, "silent", |connect, slot| {
        connect.keep_alive = 1;
        *slot = Some(will("gone"));
    })
    .await;
    assert_eq!(silent.closed().await, Some(DisconnectReasonCode::KeepAliveTimeout));
    assert!(begin.elapsed() >= Duration::from_millis(1_500), "{:?}", begin.elapsed());
    assert_eq!(next_topic(&mut watcher).await, "gone");
}

#[tokio::test]
async fn unsubscribing_ends_delivery() {
    let broker = start().await;
    let mut client = Bare::connect(&broker, "client").await;
    client.subscribe("a/#").await;
    let filters = vec!["a/#".to_owned(), "never".to_owned()];
    client.send(Packet::Unsubscribe(Unsubscribe { pkid: 8, filters, properties: None })).await;
    let Packet::UnsubAck(ack) = client.next().await else { panic!("no UNSUBACK") };
    assert_eq!(
        (ack.pkid, ack.reasons),
        (8, vec![UnsubAckReason::Success, UnsubAckReason::NoSubscriptionExisted])
    );
    client.publish("a/b", "x", false).await;
    assert_eq!(client.messages().await, []);
}

#[tokio::test]
async fn garbage_ends_only_the_connection_it_came_by() {
    let broker = start().await;
    let mut bystander = Bare::connect(&broker, "bystander").await;
    let mut too_large = vec![0x30, 0xff, 0xff, 0xff, 0x7f];
    too_large.extend_from_slice(&[0; 100]);
    let packets: [(&[u8], DisconnectReasonCode); 7] = [
        (&[0x00, 0x00], DisconnectReasonCode::MalformedPacket),
        (&[0x30, 0xff, 0xff, 0xff, 0xff, 0xff], DisconnectReasonCode::MalformedPacket),
        (&[0x36, 0x05, 0x00, 0x01, b'a', 0x00, 0x01], DisconnectReasonCode::MalformedPacket),
        (&[0x32, 0x06, 0x00, 0x01, b'a', 0x00, 0x00, 0x00], DisconnectReasonCode::MalformedPacket),
        (&[0x30, 0x06, 0x00, 0x03, b'a', b'/', b'#', 0x00], DisconnectReasonCode::MalformedPacket),
        (&[0x90, 0x04, 0x00, 0x01, 0x00, 0x00], DisconnectReasonCode::ProtocolError),
        (&too_large, DisconnectReasonCode::PacketTooLarge),
    ];
    for (bytes, reason) in packets {
        let mut client = Bare::connect(&broker, "client").await;
        within(client.0.get_mut().write_all(bytes)).await.unwrap();
        assert_eq!(client.closed().await, Some(reason), "{bytes:02x?}");
    }
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &[0xc0, 0x00]] {
        let mut socket = within(TcpStream::connect(broker.address())).await.unwrap();
        within(socket.write_all(bytes)).await.unwrap();
        let mut answer = Vec::new();
        // A reset is as good an end as an orderly one.
        if within(socket.read_to_end(&mut answer)).await.is_ok() {
            assert!(answer.is_empty(), "{bytes:02x?}");
        }
    }
    bystander.send(Packet::PingReq).await;
    assert_eq!(bystander.next().await, Packet::PingResp);
}

#[tokio::test]
async fn an_old_protocol_is_refused_in_its_own_words() {
    let broker = start().await;
    let mut socket = within(TcpStream::connect(broker.address())).await.unwrap();
    let connect =
        [&[0x10, 0x0f, 0x00, 0x06][..], b"MQIsdp", &[0x03, 0x02, 0x00, 0x1e, 0x00, 0x01, b'a']].concat();
    within(socket.write_all(&connect)).await.unwrap();
    let mut answer = Vec::new();
    within(socket.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, [0x20, 0x02, 0x00, 0x01]);
}

#[tokio::test]
async fn a_nameless_client_of_3_1_1_must_ask_for_a_clean_session() {
    let broker = start().await;
    for (clean, code) in [(0x02, 0x00), (0x00, 0x02)] {
        let mut socket = within(TcpStream::connect(broker.address())).await.unwrap();
        let connect =
            [&[0x10, 0x0c, 0x00, 0x04][..], b"MQTT", &[0x04, clean, 0x00, 0x1e, 0x00, 0x00]].concat();
        within(socket.write_all(&connect)).await.unwrap();
        let mut answer = [0; 4];
        within(socket.read_exact(&mut answer)).await.unwrap();
        assert_eq!(answer, [0x20, 0x02, 0x00, code], "clean session flag {clean:#04x}");
    }
}

#[tokio::test]
async fn packets_up_to_the_announced_size_pass() {
    let broker = start().await;
    let mut client = Bare::connect(&broker, "client").await;
    client.subscribe("a").await;
    // 1 for the type, 3 for the length, 2 and 1 for the topic, 1 for no properties.
    let payload = "x".repeat(MAX_PACKET_BYTES - 8);
    client.publish("a", &payload, false).await;
    assert_eq!(client.messages().await, [is("a", &payload, false)]);
    let large = Publish::new("a", QoS::AtMostOnce, format!("{payload}x"), None);
    // The broker may close while this is still being sent.
    let sent = within(client.0.send(Packet::Publish(large))).await;
    assert!(sent.is_err() || client.closed().await.is_none_or(|r| r == DisconnectReasonCode::PacketTooLarge));
}

#[tokio::test]
async fn ten_thousand_retained_messages_reach_a_fresh_subscriber() {
    const COUNT: usize = 10_000;
    let broker = start().await;
    let mut publisher = Bare::connect(&broker, "publisher").await;
    let payload = "x".repeat(2048);
    for i in 0..COUNT {
        let publish = Publish {
            retain: true,
            ..Publish::new(format!("t/{i:05}"), QoS::AtMostOnce, payload.clone(), None)
        };
        within(publisher.0.feed(Packet::Publish(publish))).await.unwrap();
    }
    assert_eq!(publisher.messages().await, []);
    let mut subscriber = Bare::connect(&broker, "subscriber").await;
    let begin = Instant::now();
    subscriber.subscribe("t/#").await;
    let mut topics = Vec::new();
    while topics.len() < COUNT {
        let Packet::Publish(publish) = subscriber.next().await else { panic!("no message") };
        assert_eq!(publish.payload.len(), 2048);
        topics.push(text(&publish.topic));
    }
    let took = begin.elapsed();
    println!("{COUNT} retained messages in {took:?}");
    assert_eq!(topics, (0..COUNT).map(|i| format!("t/{i:05}")).collect::<Vec<_>>());
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut() {
    let broker = start().await;
    let mut watcher = Bare::connect(&broker, "watcher").await;
    watcher.subscribe("gone").await;
    let (mut slow, _) = Bare::connect_with(&broker, "slow", |_, slot| *slot = Some(will("gone"))).await;
    slow.subscribe("flood").await;
    let mut publisher = Bare::connect(&broker, "publisher").await;
    let payload = "x".repeat(900 * 1024);
    // What the bound is plus what the kernel's buffers may take.
    let mut sent = 0;
    while sent < 200 && broker.retained("gone").is_empty() {
        publisher.publish("flood", &payload, false).await;
        sent += 1;
    }
    assert_eq!(next_topic(&mut watcher).await, "gone");
    println!("cut after {sent} messages");
    publisher.publish("gone/not", "", false).await;
    assert_eq!(publisher.messages().await, [], "the publisher is untouched");
}

#[tokio::test]
async fn messages_of_one_publisher_keep_their_order() {
    let broker = start().await;
    let (client, _inbox) = client_v4(&broker, "publisher");
    let mut subscriber = Bare::connect(&broker, "subscriber").await;
    subscriber.subscribe("t").await;
    for i in 0..2_000 {
        let qos = if i % 2 == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        within(client.publish("t", i.to_string(), rumqttc_v4::PublishOptions::new(qos))).await.unwrap();
        if i % 50 == 49 {
            for expected in i - 49..=i {
                let Packet::Publish(publish) = subscriber.next().await else { panic!("no message") };
                assert_eq!(text(&publish.payload), expected.to_string());
                if publish.pkid != 0 {
                    subscriber.send(Packet::PubAck(PubAck::new(publish.pkid, None))).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn stopping_says_goodbye_and_frees_the_port() {
    let broker = start().await;
    let address = broker.address();
    let mut client = Bare::connect(&broker, "client").await;
    within(broker.stop()).await;
    assert_eq!(client.closed().await, Some(DisconnectReasonCode::ServerShuttingDown));
    let error = within(TcpStream::connect(address)).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn dropped_connections_end_without_a_word_and_may_come_back() {
    let broker = start().await;
    let (mut client, _) = Bare::connect_with(&broker, "client", |_, slot| *slot = Some(will("gone"))).await;
    broker.drop_connections();
    assert_eq!(client.closed().await, None);
    assert_eq!(broker.retained("gone"), [("gone".to_owned(), Bytes::from("offline"))]);
    let (_again, ack) = Bare::connect_with(&broker, "client", |_, _| {}).await;
    assert_eq!(ack.code, ConnectReturnCode::Success);
}

#[tokio::test]
async fn connections_are_bounded() {
    let broker = start().await;
    let mut clients = Vec::new();
    for i in 0..256 {
        clients.push(Bare::connect(&broker, &format!("client-{i}")).await);
    }
    let mut one_more = within(TcpStream::connect(broker.address())).await.unwrap();
    let mut answer = Vec::new();
    within(one_more.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.is_empty());
    let mut last = clients.pop().unwrap();
    last.send(Packet::Disconnect(Disconnect::new(DisconnectReasonCode::NormalDisconnection))).await;
    assert_eq!(last.closed().await, None);
    let address = broker.address();
    let served = within(async {
        loop {
            let mut socket = TcpStream::connect(address).await.unwrap();
            let connect =
                [&[0x10, 0x0d, 0x00, 0x04][..], b"MQTT", &[0x04, 0x02, 0x00, 0x1e, 0x00, 0x01, b'a']]
                    .concat();
            let mut answer = [0; 4];
            if socket.write_all(&connect).await.is_ok() && socket.read_exact(&mut answer).await.is_ok() {
                return answer;
            }
        }
    })
    .await;
    assert_eq!(served, [0x20, 0x02, 0x00, 0x00], "the seat of a client that left is free again");
}
