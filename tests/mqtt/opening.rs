//! How a session begins: what is asked for, agreed to and refused.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use verkada2mqtt::{
    model::{LinkEvent, Protocol, ProtocolChoice},
    mqtt::{Access, connect},
};

use crate::{
    BOTH, COMMAND, SEED, down, message, now, pair, patient, proven, publication,
    scripted_broker::{Broker, Hello, LIMIT, Manners, Seen, Sent},
    settings, unproven, up,
};

#[tokio::test]
async fn a_session_is_clean_bounded_and_subscribed_by_one_packet() {
    for protocol in BOTH {
        let broker = Broker::start().await;
        let mut link = connect(settings(broker.port(), protocol), SEED).unwrap();
        let mut peer = broker.accept().await;
        let hello = peer.hello().await;
        let v5 = protocol == ProtocolChoice::V5;
        assert_eq!(
            hello,
            Hello {
                version: if v5 { 5 } else { 4 },
                client_id: "gateway-1".into(),
                clean: true,
                keep_alive: 5,
                session_expiry: v5.then_some(0),
                receive_maximum: v5.then_some(1_000),
                max_packet: v5.then_some(1_048_576),
                will: Some(("verkada/availability".into(), "offline".into(), true)),
                password: None,
            }
        );
        peer.welcome().await;
        let mut client = peer.serve(Manners::default());
        assert_eq!(up(&mut link).await.0, if v5 { Protocol::V5 } else { Protocol::V311 });
        let asked = client
            .until("SUBSCRIBE", |seen| match seen {
                Seen::Subscribe(_, asked) => Some(asked.clone()),
                _ => None,
            })
            .await;
        // Filter, QoS, no local, retain as published, retain handling.
        let handling = if v5 { 2 } else { 0 };
        assert_eq!(
            asked,
            [
                ("verkada/+/+/set".to_owned(), 1, false, v5, handling),
                ("homeassistant/status".to_owned(), 1, false, v5, handling),
            ]
        );
        proven(&mut link).await;
    }
}

#[tokio::test]
async fn freshness_is_the_send_time_of_the_newest_echo_and_ends_with_the_connection() {
    for protocol in BOTH {
        let broker = Broker::start().await;
        let before = now();
        let (link, client) = pair(settings(broker.port(), protocol), &broker).await;
        let mut freshness = link.freshness();
        let first = freshness.borrow_and_update().expect("an echo came back");
        assert!(first >= before && first <= now());
        let newer =
            timeout(LIMIT, freshness.wait_for(|at| at.is_some_and(|at| at > first))).await.unwrap().unwrap();
        assert!(newer.is_some());
        drop(newer);
        client.cut();
        timeout(LIMIT, freshness.wait_for(Option::is_none)).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_message_carries_what_the_core_needs() {
    let broker = Broker::start().await;
    let (mut link, client) = pair(settings(broker.port(), ProtocolChoice::V5), &broker).await;
    client.publish(Sent {
        qos: 1,
        retain: true,
        dup: true,
        response_topic: Some("answers".into()),
        correlation: Some(Bytes::from_static(b"\x00\xFF")),
        ..Sent::new(COMMAND, "UNLOCK")
    });
    let message = message(&mut link).await;
    assert_eq!(
        (message.topic.as_str(), message.payload.as_ref(), message.retain, message.dup),
        (COMMAND, b"UNLOCK".as_ref(), true, true)
    );
    assert_eq!(message.response_topic.as_deref(), Some("answers"));
    assert_eq!(message.correlation.as_deref(), Some(b"\x00\xFF".as_ref()));
    assert!(message.echo_sent_at.is_some_and(|at| at <= message.received_at));
}

#[tokio::test]
async fn a_message_before_the_first_echo_has_no_known_age() {
    let broker = Broker::start().await;
    let mut link = connect(settings(broker.port(), ProtocolChoice::V5), SEED).unwrap();
    let mut peer = broker.accept().await;
    peer.hello().await;
    peer.welcome().await;
    peer.publish(&Sent::new(COMMAND, "UNLOCK")).await;
    assert_eq!(message(&mut link).await.echo_sent_at, None);
}

#[tokio::test]
async fn correlation_data_is_sent_in_mqtt_5() {
    let broker = Broker::start().await;
    let (link, mut client) = pair(settings(broker.port(), ProtocolChoice::V5), &broker).await;
    let mut answer = publication("answers", "{}", false);
    answer.correlation = Some(Bytes::from_static(b"\x01\x02"));
    link.publisher().try_publish(answer).unwrap();
    assert_eq!(client.published("answers").await.correlation.as_deref(), Some(b"\x01\x02".as_ref()));
}

#[tokio::test]
async fn a_broker_that_refuses_mqtt_5_gets_3_1_1_from_then_on() {
    // The refusal as MQTT 5 words it, and as a broker words it that knows only 3.1.1.
    for refusal in [[0x20, 3, 0, 0x84, 0].as_slice(), &[0x20, 2, 0, 1]] {
        let broker = Broker::start().await;
        let mut link = connect(settings(broker.port(), ProtocolChoice::Auto), SEED).unwrap();
        let mut peer = broker.accept().await;
        assert_eq!(peer.hello().await.version, 5);
        peer.raw(refusal).await;
        drop(peer);
        for _ in 0..2 {
            let mut peer = broker.accept().await;
            assert_eq!(peer.hello().await.version, 4);
            peer.welcome().await;
            let client = peer.serve(Manners::default());
            assert_eq!(up(&mut link).await.0, Protocol::V311);
            client.cut();
        }
    }
}

#[tokio::test]
async fn a_broker_that_only_hangs_up_does_not_talk_us_out_of_mqtt_5() {
    let broker = Broker::start().await;
    let mut link = connect(settings(broker.port(), ProtocolChoice::Auto), SEED).unwrap();
    for _ in 0..6 {
        assert_eq!(broker.accept().await.hello().await.version, 5);
    }
    assert_eq!(
        down(&mut link).await,
        format!(
            "127.0.0.1:{} closed the connection instead of answering CONNECT: is it the port for TLS (mqtts) or for \
             websockets?",
            broker.port()
        )
    );
}

#[tokio::test]
async fn a_refused_password_is_told_with_user_and_host_and_without_the_secret() {
    for (protocol, reason) in [
        (ProtocolChoice::V5, 0x86),
        (ProtocolChoice::V5, 0x87),
        (ProtocolChoice::V311, 4),
        (ProtocolChoice::V311, 5),
    ] {
        let broker = Broker::start().await;
        let mut settings = settings(broker.port(), protocol);
        settings.credentials = Some(("verkada2mqtt".into(), "hunter2".to_owned().into()));
        let mut link = connect(settings, SEED).unwrap();
        let mut peer = broker.accept().await;
        peer.hello().await;
        peer.connack(false, reason, &[]).await;
        assert_eq!(
            down(&mut link).await,
            "not authorised: 127.0.0.1 refuses user `verkada2mqtt` with client id `gateway-1`; check the password and \
             the broker's rules"
        );
        assert!(!format!("{link:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn a_session_that_the_broker_kept_is_refused_before_any_message_is_read() {
    for protocol in BOTH {
        let broker = Broker::start().await;
        let mut link = connect(settings(broker.port(), protocol), SEED).unwrap();
        let mut peer = broker.accept().await;
        peer.hello().await;
        peer.connack(true, 0, &[]).await;
        peer.publish(&Sent::new(COMMAND, "UNLOCK")).await;
        assert_eq!(
            timeout(LIMIT, link.next()).await.unwrap(),
            LinkEvent::Down(
                "127.0.0.1 resumed an old session although a clean one was asked for: commands from it could be of \
                 any age"
                    .into()
            )
        );
        assert_eq!(timeout(LIMIT, peer.read()).await.unwrap(), Seen::Gone);
    }
}

#[tokio::test]
async fn a_broker_without_retained_messages_is_told_as_the_fault_it_is() {
    let broker = Broker::start().await;
    let mut link = connect(settings(broker.port(), ProtocolChoice::V5), SEED).unwrap();
    let mut peer = broker.accept().await;
    peer.hello().await;
    peer.connack(false, 0, &[0x25, 0]).await;
    assert_eq!(
        timeout(LIMIT, link.next()).await.unwrap(),
        LinkEvent::Down(
            "127.0.0.1 keeps no retained messages (Retain Available is 0): allow them there".into()
        )
    );
}

#[tokio::test]
async fn what_the_broker_says_is_too_large_is_not_sent_and_the_link_lives() {
    let broker = Broker::start().await;
    let mut link = connect(settings(broker.port(), ProtocolChoice::V5), SEED).unwrap();
    let mut peer = broker.accept().await;
    peer.hello().await;
    // Maximum Packet Size 300.
    peer.connack(false, 0, &[0x27, 0, 0, 1, 44]).await;
    let mut client = peer.serve(Manners::default());
    assert_eq!(up(&mut link).await, (Protocol::V5, Some(300)));
    link.publisher().try_publish(publication("a", &"x".repeat(300), true)).unwrap();
    link.publisher().try_publish(publication("b", "small", true)).unwrap();
    assert_eq!(client.published("b").await.payload, "small");
    let sent: Vec<_> = client
        .passed()
        .into_iter()
        .filter(|seen| matches!(seen, Seen::Publish(sent) if sent.topic == "a"))
        .collect();
    assert_eq!(sent, []);
}

#[tokio::test]
async fn receive_maximum_and_server_keep_alive_are_obeyed() {
    let broker = Broker::start().await;
    let mut link = connect(patient(broker.port(), ProtocolChoice::V5), SEED).unwrap();
    let mut peer = broker.accept().await;
    peer.hello().await;
    // Receive Maximum 1, Server Keep Alive 1.
    peer.connack(false, 0, &[0x21, 0, 1, 0x13, 0, 1]).await;
    let mut client = peer.serve(Manners { acknowledge: false, ..Manners::default() });
    up(&mut link).await;
    for number in 0..5 {
        link.publisher().try_publish(publication("state", &number.to_string(), true)).unwrap();
    }
    // One publication is in flight, and nothing else may be sent: so the client pings within a second.
    client.until("PINGREQ", |seen| (*seen == Seen::Ping).then_some(())).await;
    let in_flight =
        client.passed().iter().filter(|seen| matches!(seen, Seen::Publish(sent) if sent.qos == 1)).count();
    assert_eq!(in_flight, 1);
}

#[tokio::test]
async fn a_refused_subscription_is_told_by_its_filter_and_asked_for_again() {
    for (protocol, reason, word) in [
        (ProtocolChoice::V5, 0x87, "not authorised"),
        (ProtocolChoice::V311, 0x80, "refused without a reason"),
    ] {
        let broker = Broker::start().await;
        let mut link = connect(patient(broker.port(), protocol), SEED).unwrap();
        let mut peer = broker.accept().await;
        peer.hello().await;
        peer.welcome().await;
        let mut client = peer.serve(Manners { suback: vec![reason, 1], ..Manners::default() });
        assert_eq!(
            unproven(&mut link).await,
            format!(
                "no heartbeat has come back on this connection: the broker refuses our subscription to \
                 `verkada/+/+/set` ({word}): allow it in its rules"
            )
        );
        assert_eq!(*link.freshness().borrow(), None);
        for _ in 0..2 {
            client.until("SUBSCRIBE", |seen| matches!(seen, Seen::Subscribe(..)).then_some(())).await;
        }
        client.behave(|manners| manners.suback.clear());
        proven(&mut link).await;
    }
}

#[tokio::test]
async fn another_password_is_used_by_the_next_connection_alone() {
    for protocol in BOTH {
        let broker = Broker::start().await;
        let with = |password: &str| {
            let mut settings = settings(broker.port(), protocol);
            settings.credentials = Some(("verkada2mqtt".into(), password.to_owned().into()));
            settings
        };
        let mut link = connect(with("old"), SEED).unwrap();
        let mut peer = broker.accept().await;
        assert_eq!(peer.hello().await.password.unwrap(), "old");
        peer.welcome().await;
        up(&mut link).await;
        let mut client = peer.serve(Manners::default());
        link.adopt(Access::new(with("new")).unwrap());
        // The connection goes on: what is published on it arrives.
        let publication = publication("verkada/door/1/state", "LOCKED", true);
        link.publisher().try_publish(publication).unwrap();
        client.published("verkada/door/1/state").await;
        client.cut();
        down(&mut link).await;
        assert_eq!(broker.accept().await.hello().await.password.unwrap(), "new");
    }
}

#[tokio::test]
async fn a_link_that_waits_to_try_again_does_so_at_once_with_another_password() {
    let broker = Broker::start().await;
    let with = |password: &str| {
        let mut settings = settings(broker.port(), ProtocolChoice::V5);
        settings.credentials = Some(("verkada2mqtt".into(), password.to_owned().into()));
        // Longer than any test may take.
        (settings.timings.retry_min, settings.timings.retry_max) =
            (Duration::from_mins(10), Duration::from_mins(10));
        settings
    };
    let mut link = connect(with("wrong"), SEED).unwrap();
    let mut peer = broker.accept().await;
    peer.hello().await;
    peer.connack(false, 0x86, &[]).await;
    down(&mut link).await;
    link.adopt(Access::new(with("right")).unwrap());
    assert_eq!(broker.accept().await.hello().await.password.unwrap(), "right");
}
