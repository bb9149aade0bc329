//! The kept session of the securing connection: what is resumed, and what is acknowledged when.

use verkada2mqtt::{
    model::{LinkEvent, Message, Protocol, ProtocolChoice, Qos, Receipt},
    mqtt::{Link, Session, Settings, connect},
};

use crate::{
    SEED, down, ms, now, patient, proven, publication,
    scripted_broker::{Broker, Client, Hello, LIMIT, Manners, Seen, Sent},
    unproven, until, up,
};

const HEARTBEAT: &str = "verkada/bridge/heartbeat_securing/set";
const SCENARIO: &str = "verkada/scenario/s-1/set";

fn kept(port: u16, protocol: ProtocolChoice) -> Settings {
    Settings {
        client_id: "gateway-1-securing".into(),
        subscriptions: vec![
            ("verkada/scenario/+/set".into(), Qos::AtLeastOnce),
            (HEARTBEAT.into(), Qos::AtLeastOnce),
        ],
        heartbeat_topic: HEARTBEAT.into(),
        last_will: None,
        session: Session::Kept { lasts: ms(60_000), heard_at: None },
        ..patient(port, protocol)
    }
}

fn activate(payload: &str, dup: bool) -> Sent {
    Sent { qos: 1, dup, ..Sent::new(SCENARIO, payload) }
}

async fn waiting(link: &mut Link) -> (Message, Receipt) {
    until(link, "a message with a receipt", |event| match event {
        LinkEvent::Waiting(message, receipt) => Some((message, receipt)),
        _ => None,
    })
    .await
}

/// The broker takes the next connection and says whether it kept the session.
async fn serve(broker: &Broker, present: bool) -> Client {
    let mut peer = broker.accept().await;
    peer.hello().await;
    peer.connack(present, 0, &[]).await;
    peer.serve(Manners::default())
}

async fn acknowledged(client: &mut Client) -> u16 {
    client.until("PUBACK", |seen| if let Seen::Ack(packet) = seen { Some(*packet) } else { None }).await
}

#[tokio::test]
async fn the_broker_is_asked_to_keep_the_session_for_a_minute_and_gets_no_will() {
    for protocol in [ProtocolChoice::V5, ProtocolChoice::V311] {
        let broker = Broker::start().await;
        let mut link = connect(kept(broker.port(), protocol), SEED).unwrap();
        let mut peer = broker.accept().await;
        let v5 = protocol == ProtocolChoice::V5;
        assert_eq!(
            peer.hello().await,
            Hello {
                version: if v5 { 5 } else { 4 },
                client_id: "gateway-1-securing".into(),
                clean: !v5,
                keep_alive: 5,
                session_expiry: v5.then_some(60),
                receive_maximum: v5.then_some(100),
                max_packet: v5.then_some(1_048_576),
                will: None,
                password: None,
            }
        );
        peer.welcome().await;
        let _client = peer.serve(Manners::default());
        up(&mut link).await;
        proven(&mut link).await;
    }
}

#[tokio::test]
async fn a_session_that_is_there_is_resumed_subscribed_again_and_says_when_it_was_heard() {
    let broker = Broker::start().await;
    let mut link = connect(kept(broker.port(), ProtocolChoice::V5), SEED).unwrap();
    let client = serve(&broker, false).await;
    up(&mut link).await;
    proven(&mut link).await;
    let echo = link.freshness().borrow().unwrap();
    client.cut();
    down(&mut link).await;
    let mut client = serve(&broker, true).await;
    client.publish(activate("ON", false));
    let heard_at = until(&mut link, "Resumed", |event| match event {
        LinkEvent::Resumed { protocol: Protocol::V5, heard_at } => Some(heard_at),
        _ => None,
    })
    .await
    .expect("it was heard");
    assert!(heard_at >= echo && heard_at <= now());
    let asked = client
        .until(
            "SUBSCRIBE",
            |seen| if let Seen::Subscribe(_, asked) = seen { Some(asked.clone()) } else { None },
        )
        .await;
    assert_eq!(asked[0], ("verkada/scenario/+/set".to_owned(), 1, false, true, 2));
    let (message, _) = waiting(&mut link).await;
    assert_eq!(message.payload, "ON");
    proven(&mut link).await;
}

#[tokio::test]
async fn what_an_earlier_run_knows_is_told_and_nothing_is_unknown() {
    for earlier in [None, Some(now())] {
        let broker = Broker::start().await;
        let mut settings = kept(broker.port(), ProtocolChoice::V5);
        settings.session = Session::Kept { lasts: ms(60_000), heard_at: earlier };
        let mut link = connect(settings, SEED).unwrap();
        let _client = serve(&broker, true).await;
        let resumed = LinkEvent::Resumed { protocol: Protocol::V5, heard_at: earlier };
        until(&mut link, "Resumed", |event| (event == resumed).then_some(())).await;
    }
}

#[tokio::test]
async fn a_message_is_acknowledged_when_its_receipt_comes_back_and_heartbeats_at_once() {
    let broker = Broker::start().await;
    let mut link = connect(kept(broker.port(), ProtocolChoice::V5), SEED).unwrap();
    let mut client = serve(&broker, false).await;
    proven(&mut link).await;
    client.publish(activate("ON", false));
    let (_, receipt) = waiting(&mut link).await;
    // Heartbeats go on, and are acknowledged in the meantime.
    for _ in 0..5 {
        assert_ne!(acknowledged(&mut client).await, receipt.packet);
    }
    link.acknowledge(receipt);
    client.until("the PUBACK", |seen| (*seen == Seen::Ack(receipt.packet)).then_some(())).await;
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_and_its_old_receipt_does_nothing() {
    let broker = Broker::start().await;
    let mut link = connect(kept(broker.port(), ProtocolChoice::V5), SEED).unwrap();
    let client = serve(&broker, false).await;
    client.publish(activate("ON", false));
    let (_, old) = waiting(&mut link).await;
    client.cut();
    down(&mut link).await;
    let mut client = serve(&broker, true).await;
    client.publish(activate("ON", true));
    let (message, new) = waiting(&mut link).await;
    assert!(message.dup && message.echo_sent_at.is_none() && old != new);
    link.acknowledge(old);
    proven(&mut link).await;
    let acks =
        |client: &Client| client.passed().iter().filter(|seen| **seen == Seen::Ack(new.packet)).count();
    client.published(HEARTBEAT).await;
    assert_eq!(acks(&client), 0);
    link.acknowledge(new);
    client.until("the PUBACK", |seen| (*seen == Seen::Ack(new.packet)).then_some(())).await;
}

#[tokio::test]
async fn a_core_that_takes_nothing_holds_up_neither_reading_nor_heartbeats() {
    let broker = Broker::start().await;
    let mut link = connect(kept(broker.port(), ProtocolChoice::V5), SEED).unwrap();
    let mut client = serve(&broker, false).await;
    proven(&mut link).await;
    for number in 0..100 {
        client.publish(activate(&number.to_string(), false));
    }
    for _ in 0..3_000 {
        client.publish(Sent::new(SCENARIO, "not to be delivered again"));
    }
    for _ in 0..3 {
        client.published(HEARTBEAT).await;
        acknowledged(&mut client).await;
    }
    for number in 0..100 {
        assert_eq!(waiting(&mut link).await.0.payload, number.to_string());
    }
}

#[tokio::test]
async fn a_refused_subscription_of_the_securing_connection_leaves_it_unproven() {
    let broker = Broker::start().await;
    let mut link = connect(kept(broker.port(), ProtocolChoice::V5), SEED).unwrap();
    let mut peer = broker.accept().await;
    peer.hello().await;
    peer.welcome().await;
    let client = peer.serve(Manners { suback: vec![0x87, 1], ..Manners::default() });
    let sentence = unproven(&mut link).await;
    assert!(sentence.contains("refuses our subscription to `verkada/scenario/+/set`"), "{sentence}");
    client.behave(|manners| manners.suback = Vec::new());
    proven(&mut link).await;
}

#[tokio::test]
async fn an_orderly_end_leaves_the_session_with_the_broker() {
    let broker = Broker::start().await;
    let mut link = connect(kept(broker.port(), ProtocolChoice::V5), SEED).unwrap();
    let mut client = serve(&broker, false).await;
    proven(&mut link).await;
    assert_eq!(link.close(Vec::new(), LIMIT).await, Ok(()));
    client.until("DISCONNECT", |seen| (*seen == Seen::Disconnect).then_some(())).await;
}

/// A real broker keeps what is published meanwhile, for a run that is cut and for one that ends in order.
#[tokio::test]
#[ignore = "needs Mosquitto: set by .ci/run"]
async fn mosquitto_keeps_a_lockdown_for_a_securing_connection_that_is_away() {
    for orderly in [true, false] {
        let mosquitto = crate::mosquitto::Mosquitto::start().await;
        let mut settings = kept(mosquitto.port(), ProtocolChoice::V5);
        let mut link = connect(settings.clone(), SEED).unwrap();
        up(&mut link).await;
        proven(&mut link).await;
        let heard_at = *link.freshness().borrow();
        if orderly {
            assert_eq!(link.close(Vec::new(), LIMIT).await, Ok(()));
        } else {
            drop(link);
        }
        let other = Settings { client_id: "desk".into(), session: Session::Clean, ..settings.clone() };
        let mut desk = connect(other, SEED + 1).unwrap();
        proven(&mut desk).await;
        desk.publisher().try_publish(publication(SCENARIO, "ON", false)).unwrap();
        until(&mut desk, "its own message", |event| matches!(event, LinkEvent::Message(_)).then_some(()))
            .await;
        settings.session = Session::Kept { lasts: ms(60_000), heard_at };
        let mut link = connect(settings.clone(), SEED + 2).unwrap();
        let resumed = LinkEvent::Resumed { protocol: Protocol::V5, heard_at };
        until(&mut link, "Resumed", |event| (event == resumed).then_some(())).await;
        let (message, receipt) = waiting(&mut link).await;
        assert_eq!(
            (message.payload.as_ref(), message.dup, message.echo_sent_at),
            (b"ON".as_ref(), false, None)
        );
        link.acknowledge(receipt);
        proven(&mut link).await;
    }
}

#[tokio::test]
async fn what_waits_for_its_receipt_bounds_the_age_of_what_comes_again() {
    let broker = Broker::start().await;
    let mut link = connect(kept(broker.port(), ProtocolChoice::V5), SEED).unwrap();
    let mut client = serve(&broker, false).await;
    proven(&mut link).await;
    client.publish(activate("ON", false));
    let (message, receipt) = waiting(&mut link).await;
    let bound = message.echo_sent_at.expect("a heartbeat had come back");
    let mut freshness = link.freshness();
    freshness.wait_for(|newest| newest.is_some_and(|newest| newest > bound)).await.unwrap();
    assert_eq!(*link.heard().borrow(), Some(bound), "the broker would deliver it again");
    link.acknowledge(receipt);
    client.until("the PUBACK", |seen| (*seen == Seen::Ack(receipt.packet)).then_some(())).await;
    link.heard().wait_for(|heard| heard.is_some_and(|heard| heard > bound)).await.unwrap();
}

#[tokio::test]
async fn what_is_no_command_is_acknowledged_by_the_link_itself() {
    let broker = Broker::start().await;
    let mut link = connect(kept(broker.port(), ProtocolChoice::V5), SEED).unwrap();
    let mut client = serve(&broker, false).await;
    up(&mut link).await;
    for _ in 0..5 {
        client.publish(activate(&"x".repeat(65 * 1024), false));
    }
    // The heartbeats between them are acknowledged too, so that no packet id is left out.
    let mut acked = Vec::new();
    while acked.len() < 10 {
        acked.push(acknowledged(&mut client).await);
    }
    let first = acked[0];
    assert_eq!(acked, (first..first + 10).collect::<Vec<_>>());
    client.publish(activate("ON", false));
    assert_eq!(waiting(&mut link).await.0.payload, "ON");
}
