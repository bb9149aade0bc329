//! What becomes of publications when sessions end, and the orderly end of a link.

use std::collections::BTreeSet;

use tokio::time::timeout;
use verkada2mqtt::{
    model::ProtocolChoice,
    mqtt::{Unacknowledged, connect},
};

use crate::{
    BOTH, HEARTBEAT, SEED, down, ms, pair, patient, proven, publication,
    scripted_broker::{Broker, LIMIT, Seen},
    settings, up,
};

#[tokio::test]
async fn withheld_acknowledgements_and_a_lost_session_do_not_wedge_the_next_one() {
    for protocol in BOTH {
        let broker = Broker::start().await;
        let (mut link, mut client) = pair(patient(broker.port(), protocol), &broker).await;
        client.behave(|manners| manners.acknowledge = false);
        let publisher = link.publisher();
        let flood = async {
            for number in 0..400 {
                let mut next = publication("event", &number.to_string(), false);
                while let Err(full) = publisher.try_publish(next) {
                    next = full.0;
                    publisher.ready().await;
                }
            }
        };
        // With the window full, the last ones find no room before the session ends.
        let cut = async {
            let mut seen = 0;
            client
                .until("150 events", |packet| {
                    seen += usize::from(matches!(packet, Seen::Publish(sent) if sent.topic == "event"));
                    (seen == 150).then_some(())
                })
                .await;
            client.cut();
            let mut second = broker.serve().await;
            let mut numbers = BTreeSet::new();
            while numbers.len() < 400 {
                let payload = second.published("event").await.payload;
                numbers.insert(String::from_utf8(payload.to_vec()).unwrap().parse::<u32>().unwrap());
            }
            second
        };
        let ((), _second) = timeout(2 * LIMIT, async { tokio::join!(flood, cut) }).await.expect("no wedge");
        proven(&mut link).await;
    }
}

#[tokio::test]
async fn a_new_session_gets_unacknowledged_events_again_and_no_old_state() {
    for protocol in BOTH {
        let broker = Broker::start().await;
        let (mut link, mut client) = pair(patient(broker.port(), protocol), &broker).await;
        client.behave(|manners| manners.acknowledge = false);
        let publisher = link.publisher();
        publisher.try_publish(publication("state", "of the old session", true)).unwrap();
        publisher.try_publish(publication("event", "1", false)).unwrap();
        client.published("event").await;
        client.cut();
        down(&mut link).await;
        publisher.try_publish(publication("state", "between the sessions", true)).unwrap();
        publisher.try_publish(publication("event", "2", false)).unwrap();
        let mut second = broker.serve().await;
        second.published(HEARTBEAT).await;
        // The new session is up, but the core has not heard of it: what it says is about the old one.
        publisher.try_publish(publication("state", "late", true)).unwrap();
        publisher.try_publish(publication("event", "3", false)).unwrap();
        up(&mut link).await;
        publisher.try_publish(publication("state", "of the new session", true)).unwrap();
        second.published("state").await;
        let sent: Vec<_> = second
            .passed()
            .into_iter()
            .filter_map(|seen| match seen {
                Seen::Publish(sent) if sent.topic != HEARTBEAT => {
                    Some((sent.topic, String::from_utf8(sent.payload.to_vec()).unwrap(), sent.dup))
                }
                _ => None,
            })
            .collect();
        let expected = [("event", "1"), ("event", "2"), ("event", "3"), ("state", "of the new session")]
            .map(|(topic, payload)| (topic.to_owned(), payload.to_owned(), false));
        assert_eq!(sent, expected);
    }
}

#[tokio::test]
async fn an_orderly_end_has_offline_acknowledged_before_disconnect() {
    for protocol in BOTH {
        let broker = Broker::start().await;
        let (link, mut client) = pair(patient(broker.port(), protocol), &broker).await;
        client.behave(|manners| manners.acknowledge = false);
        link.publisher().try_publish(publication("result", "the last one", false)).unwrap();
        let offline = publication("verkada/availability", "offline", true);
        let closing = tokio::spawn(link.close(vec![offline], LIMIT));
        assert_eq!(client.published("result").await.payload, "the last one");
        let last = client.published("verkada/availability").await;
        assert_eq!((last.payload.as_ref(), last.retain), (b"offline".as_ref(), true));
        assert!(!closing.is_finished());
        client.behave(|manners| manners.acknowledge = true);
        client.until("DISCONNECT", |seen| (*seen == Seen::Disconnect).then_some(())).await;
        client.gone().await;
        assert_eq!(timeout(LIMIT, closing).await.unwrap().unwrap(), Ok(()));
    }
}

#[tokio::test]
async fn an_end_without_acknowledgement_leaves_the_last_word_to_the_will() {
    for protocol in BOTH {
        let broker = Broker::start().await;
        let (link, mut client) = pair(patient(broker.port(), protocol), &broker).await;
        client.behave(|manners| manners.acknowledge = false);
        let offline = publication("verkada/availability", "offline", true);
        assert_eq!(
            link.close(vec![offline], ms(200)).await,
            Err(Unacknowledged { publications: 1, cause: "the time was up".into() })
        );
        client.gone().await;
        assert!(!client.passed().contains(&Seen::Disconnect));
    }
}

#[tokio::test]
async fn an_end_without_a_connection_comes_at_once() {
    let broker = Broker::start().await;
    for connecting in [true, false] {
        let link = connect(settings(broker.port(), ProtocolChoice::V5), SEED).unwrap();
        let peer = broker.accept().await;
        if !connecting {
            drop(peer);
        }
        let result = timeout(ms(500), link.close(vec![publication("a", "offline", true)], LIMIT)).await;
        let unacknowledged = result.expect("at once").expect_err("nothing was acknowledged");
        assert_eq!(
            unacknowledged,
            Unacknowledged { publications: 1, cause: "there is no connection".into() }
        );
    }
}

#[tokio::test]
async fn a_dropped_link_cuts_the_connection_without_a_goodbye() {
    for protocol in BOTH {
        let broker = Broker::start().await;
        let (link, mut client) = pair(settings(broker.port(), protocol), &broker).await;
        drop(link);
        client.gone().await;
        assert!(!client.passed().contains(&Seen::Disconnect));
    }
}
