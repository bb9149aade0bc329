//! Messages: flood, delay, and the end of the connection they came over.

use tokio::time::timeout;
use verkada2mqtt::{
    model::{LinkEvent, ProtocolChoice},
    mqtt::connect,
};

use crate::{
    BOTH, COMMAND, HEARTBEAT, SEED, down, message, now, pair, patient, proven, publication,
    scripted_broker::{Broker, LIMIT, Seen, Sent},
    settings, unproven, until, up,
};

#[tokio::test]
async fn a_flood_both_ways_does_not_lock_up() {
    const COUNT: usize = 5_000;
    for protocol in BOTH {
        let broker = Broker::start().await;
        let (mut link, mut client) = pair(patient(broker.port(), protocol), &broker).await;
        let publisher = link.publisher();
        let publishing = async {
            for number in 0..COUNT {
                let mut next = publication("state", &number.to_string(), true);
                while let Err(full) = publisher.try_publish(next) {
                    next = full.0;
                    publisher.ready().await;
                }
            }
        };
        let receiving = async {
            for number in 0..COUNT {
                client.publish(Sent { qos: 1, ..Sent::new(COMMAND, &number.to_string()) });
            }
            for number in 0..COUNT {
                assert_eq!(client.published("state").await.payload, number.to_string());
            }
        };
        let handling = async {
            for number in 0..COUNT {
                assert_eq!(message(&mut link).await.payload, number.to_string());
            }
        };
        timeout(3 * LIMIT, async { tokio::join!(publishing, receiving, handling) })
            .await
            .expect("no lock-up");
    }
}

#[tokio::test]
async fn what_comes_all_at_once_is_handed_on_in_parts_so_that_the_core_keeps_up() {
    const COUNT: usize = 3_000;
    for protocol in BOTH {
        let broker = Broker::start().await;
        let (mut link, client) = pair(patient(broker.port(), protocol), &broker).await;
        let mut all_at_once = Vec::new();
        for number in 0..COUNT {
            let properties = if protocol == ProtocolChoice::V5 { "\0" } else { "" };
            let length = char::from(u8::try_from(COMMAND.len()).unwrap());
            let rest = format!("\0{length}{COMMAND}{properties}{number:04}");
            all_at_once.extend([0x30, u8::try_from(rest.len()).unwrap()]);
            all_at_once.extend(rest.as_bytes());
        }
        client.raw(&all_at_once);
        for number in 0..COUNT {
            assert_eq!(message(&mut link).await.payload, format!("{number:04}"), "none is dropped");
        }
    }
}

#[tokio::test]
async fn a_core_that_does_not_listen_stops_neither_reading_nor_heartbeats_nor_news_of_the_link() {
    const COUNT: usize = 5_000;
    for protocol in BOTH {
        let broker = Broker::start().await;
        let (mut link, mut client) = pair(patient(broker.port(), protocol), &broker).await;
        for number in 0..COUNT {
            client.publish(Sent { qos: 1, ..Sent::new(COMMAND, &number.to_string()) });
        }
        let mut acknowledged = 0;
        client
            .until("all acknowledgements", |seen| {
                acknowledged += usize::from(matches!(seen, Seen::Ack(_)));
                (acknowledged == COUNT).then_some(())
            })
            .await;
        client.published(HEARTBEAT).await;
        client.cut();
        let mut second = broker.serve().await;
        second.published(HEARTBEAT).await;
        let mut messages = 0;
        let mut news = Vec::new();
        until(&mut link, "the second Proven", |event| match event {
            LinkEvent::Message(_) => {
                messages += 1;
                None
            }
            LinkEvent::Proven => Some(()),
            other => {
                news.push(other);
                None
            }
        })
        .await;
        assert!(messages > 0 && messages < COUNT, "{messages} of {COUNT} were queued");
        assert!(matches!(news[..], [LinkEvent::Down(_), LinkEvent::Up { .. }]), "{news:?}");
    }
}

#[tokio::test]
async fn commands_that_a_stalled_broker_held_back_show_their_age() {
    for protocol in BOTH {
        let broker = Broker::start().await;
        let settings = patient(broker.port(), protocol);
        let limit = settings.timings.proven_for;
        let (mut link, client) = pair(settings, &broker).await;
        client.behave(|manners| manners.frozen = true);
        let sentence = unproven(&mut link).await;
        assert!(sentence.contains("the broker is stalled, or its rules forbid us"), "{sentence}");
        for _ in 0..20 {
            client.publish(Sent::new(COMMAND, "UNLOCK"));
        }
        client.behave(|manners| (manners.frozen, manners.echo) = (false, false));
        for _ in 0..20 {
            let message = message(&mut link).await;
            let age = message.received_at - message.echo_sent_at.expect("an echo came before the stall");
            assert!(age > limit, "looks {age:?} old");
        }
        client.behave(|manners| manners.echo = true);
        proven(&mut link).await;
        client.publish(Sent::new(COMMAND, "UNLOCK"));
        let message = message(&mut link).await;
        assert!(message.received_at - message.echo_sent_at.unwrap() <= limit);
    }
}

#[tokio::test]
async fn no_message_of_an_old_connection_comes_after_the_new_one_is_up() {
    for protocol in BOTH {
        let broker = Broker::start().await;
        let settings = settings(broker.port(), protocol);
        let mut link = connect(settings, SEED).unwrap();
        for round in 0..15 {
            let client = broker.serve().await;
            assert_eq!(up(&mut link).await.1, None);
            for number in 0..50 {
                client.publish(Sent::new(COMMAND, &format!("{round} {number}")));
            }
            client.cut();
            until(&mut link, "Down", |event| match event {
                LinkEvent::Message(message) => {
                    let payload = String::from_utf8(message.payload.to_vec()).unwrap();
                    assert!(payload.starts_with(&format!("{round} ")), "round {round} got {payload}");
                    None
                }
                LinkEvent::Down(_) => Some(()),
                _ => None,
            })
            .await;
        }
    }
}

#[tokio::test]
async fn each_new_session_is_subscribed_again() {
    for protocol in BOTH {
        let broker = Broker::start().await;
        let mut link = connect(settings(broker.port(), protocol), SEED).unwrap();
        for _ in 0..3 {
            let mut client = broker.serve().await;
            client.until("SUBSCRIBE", |seen| matches!(seen, Seen::Subscribe(..)).then_some(())).await;
            proven(&mut link).await;
            client.cut();
            down(&mut link).await;
        }
    }
}

#[tokio::test]
async fn a_message_above_the_limit_is_named_and_does_not_make_a_loop() {
    for protocol in BOTH {
        let broker = Broker::start().await;
        let settings = settings(broker.port(), protocol);
        let calm = settings.timings.retry_max;
        let mut link = connect(settings, SEED).unwrap();
        let mut opened = Vec::new();
        for _ in 0..5 {
            let client = broker.serve().await;
            opened.push(now());
            up(&mut link).await;
            // A PUBLISH of 2 MiB begins.
            client.raw(&[0x30, 0x80, 0x80, 0x80, 0x01]);
            client.raw(&[0; 64]);
            let sentence = down(&mut link).await;
            assert!(
                sentence.starts_with(
                    "a message above our limit of 1048576 bytes came in: find who publishes it, and clear it if \
                     retained"
                ),
                "{sentence}"
            );
        }
        assert!(opened[3] - opened[2] >= calm, "the fourth connection came too soon");
        assert!(opened[4] - opened[3] >= calm, "the fifth connection came too soon");
    }
}
