//! Heartbeats: what proves a link, and what happens to one that is not proven.

use std::time::Duration;

use tokio::time::timeout;
use verkada2mqtt::{
    model::{LinkEvent, ProtocolChoice},
    mqtt::connect,
};

use crate::{
    BOTH, COMMAND, HEARTBEAT, SEED, down, message, now, pair, proven, publication,
    scripted_broker::{Broker, LIMIT, Manners, Seen, Sent},
    settings, unproven,
};

#[tokio::test]
async fn heartbeats_and_their_echoes_are_not_shown_to_the_core() {
    let broker = Broker::start().await;
    let (mut link, mut client) = pair(settings(broker.port(), ProtocolChoice::V5), &broker).await;
    client.publish(Sent::new(HEARTBEAT, "0123456789abcdef 1"));
    for _ in 0..5 {
        client.published(HEARTBEAT).await;
    }
    client.publish(Sent::new(COMMAND, "UNLOCK"));
    assert_eq!(message(&mut link).await.topic, COMMAND);
}

#[tokio::test]
async fn where_no_echo_comes_back_the_link_is_unproven_and_does_not_reconnect() {
    for protocol in BOTH {
        let broker = Broker::start().await;
        let settings = settings(broker.port(), protocol);
        let dead_after = settings.timings.dead_after.unwrap();
        let remind_every = settings.timings.remind_every;
        let mut link = connect(settings, SEED).unwrap();
        let mut peer = broker.accept().await;
        peer.hello().await;
        peer.welcome().await;
        let client = peer.serve(Manners { echo: false, ..Manners::default() });
        let said = [unproven(&mut link).await, unproven(&mut link).await];
        for sentence in said {
            assert_eq!(
                sentence,
                format!(
                    "no heartbeat has come back on this connection: the broker is stalled, or its rules forbid us to \
                     publish or to read `{HEARTBEAT}`"
                )
            );
        }
        let began = now();
        let mut complaints = 0;
        let silence = timeout(2 * dead_after, async {
            loop {
                match link.next().await {
                    LinkEvent::Unproven(_) => complaints += 1,
                    other => return other,
                }
            }
        });
        assert!(silence.await.is_err(), "something else happened");
        let most = began.elapsed().as_millis() / remind_every.as_millis() + 1;
        assert!(complaints >= 1 && complaints <= most, "complained {complaints} times, {most} allowed");
        client.behave(|manners| manners.echo = true);
        proven(&mut link).await;
    }
}

#[tokio::test]
async fn a_heartbeat_that_mqtt_5_refuses_is_told_with_topic_and_reason() {
    let broker = Broker::start().await;
    let mut link = connect(settings(broker.port(), ProtocolChoice::V5), SEED).unwrap();
    let mut peer = broker.accept().await;
    peer.hello().await;
    peer.welcome().await;
    let _client = peer.serve(Manners { echo: false, puback: 0x87, ..Manners::default() });
    assert_eq!(
        unproven(&mut link).await,
        format!(
            "no heartbeat has come back on this connection: the broker refuses to let us publish `{HEARTBEAT}` (not \
             authorised): allow it in its rules"
        )
    );
}

#[tokio::test]
async fn a_link_whose_echoes_cease_is_made_anew() {
    for protocol in BOTH {
        let broker = Broker::start().await;
        let (mut link, client) = pair(settings(broker.port(), protocol), &broker).await;
        client.behave(|manners| manners.echo = false);
        unproven(&mut link).await;
        let sentence = down(&mut link).await;
        assert!(sentence.starts_with("our heartbeats stopped coming back "), "{sentence}");
        let _second = broker.serve().await;
        proven(&mut link).await;
    }
}

#[tokio::test]
async fn a_half_dead_connection_is_noticed_while_we_write_to_it() {
    for protocol in BOTH {
        let broker = Broker::start().await;
        let (mut link, client) = pair(settings(broker.port(), protocol), &broker).await;
        client.behave(|manners| manners.frozen = true);
        let publisher = link.publisher();
        // More than the buffers of both ends hold, so that the client crate is stuck in its write.
        for _ in 0..60 {
            publisher.try_publish(publication("state", &"x".repeat(500_000), true)).unwrap();
        }
        let began = now();
        let sentence = down(&mut link).await;
        assert!(sentence.starts_with("127.0.0.1 has been silent for "), "{sentence}");
        assert!(began.elapsed() < Duration::from_secs(3), "noticed after {:?}", began.elapsed());
        let _second = broker.serve().await;
        proven(&mut link).await;
    }
}

#[tokio::test]
async fn a_subscription_that_is_never_acknowledged_ends_the_connection() {
    for protocol in BOTH {
        let broker = Broker::start().await;
        let mut link = connect(settings(broker.port(), protocol), SEED).unwrap();
        let mut peer = broker.accept().await;
        peer.hello().await;
        peer.welcome().await;
        let keep_alive = tokio::spawn(async move {
            while peer.read().await != Seen::Gone {
                peer.publish(&Sent::new("noise", "")).await;
            }
        });
        assert_eq!(
            unproven(&mut link).await,
            "no heartbeat has come back on this connection: the broker has not acknowledged our subscription"
        );
        let sentence = down(&mut link).await;
        assert!(
            sentence == "127.0.0.1 does not acknowledge our subscription"
                || sentence.starts_with("127.0.0.1 has been silent for "),
            "{sentence}"
        );
        timeout(LIMIT, keep_alive).await.unwrap().unwrap();
    }
}
