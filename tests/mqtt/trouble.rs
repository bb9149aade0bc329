//! Trouble: how often a link tries again, and what it says.

use tokio::time::timeout;
use verkada2mqtt::{
    model::{LinkEvent, ProtocolChoice},
    mqtt::connect,
};

use crate::{
    BOTH, SEED, down, log::Lines, ms, now, pair, proven, scripted_broker::Broker, settings, until, up,
};

#[tokio::test]
async fn a_broker_that_hangs_up_at_once_does_not_make_a_hot_loop() {
    let broker = Broker::start().await;
    let mut settings = settings(broker.port(), ProtocolChoice::V5);
    (settings.timings.retry_min, settings.timings.retry_max) = (ms(50), ms(100));
    let _link = connect(settings, SEED).unwrap();
    let until = now() + ms(1_000);
    let mut attempts = 0;
    while let Some(wait) = until.checked_duration_since(now()) {
        attempts += usize::from(broker.accept_within(wait).await.is_some());
    }
    assert!((5..=21).contains(&attempts), "{attempts} attempts in a second");
}

#[tokio::test]
async fn where_nothing_listens_the_link_says_so_once_and_never_gives_up() {
    let broker = Broker::start().await;
    let port = broker.port();
    drop(broker);
    let mut link = connect(settings(port, ProtocolChoice::V5), SEED).unwrap();
    assert_eq!(
        down(&mut link).await,
        format!("nothing listens at 127.0.0.1:{port}: is the broker running, and is the port right?")
    );
    assert!(timeout(ms(400), link.next()).await.is_err(), "said again");
}

#[tokio::test]
async fn a_broker_that_does_not_answer_is_given_up_in_time() {
    for protocol in BOTH {
        let broker = Broker::start().await;
        let mut settings = settings(broker.port(), protocol);
        settings.timings.connect_within = ms(300);
        let mut link = connect(settings, SEED).unwrap();
        let _silent = broker.accept().await;
        assert_eq!(
            down(&mut link).await,
            format!(
                "127.0.0.1:{} did not answer within 0.3 s: is it an MQTT broker, is it stalled, or does a firewall drop \
                 our packets?",
                broker.port()
            )
        );
        let _next_attempt = broker.accept().await;
    }
}

#[tokio::test]
async fn a_takeover_is_told_by_the_client_id_and_not_answered_by_another_at_once() {
    // With properties, and without them as MQTT 5 allows.
    for farewell in [[0xE0, 2, 0x8E, 0].as_slice(), &[0xE0, 1, 0x8E]] {
        let broker = Broker::start().await;
        let settings = settings(broker.port(), ProtocolChoice::V5);
        let calm = settings.timings.retry_taken_over;
        let (mut link, client) = pair(settings, &broker).await;
        client.raw(farewell);
        client.cut();
        assert_eq!(
            down(&mut link).await,
            "another client connected with the client id `gateway-1`: two gateways must not share one"
        );
        let began = now();
        broker.accept().await;
        assert!(began.elapsed() + ms(20) >= calm, "came back after {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_takeover_without_a_word_is_guessed_from_three_early_ends() {
    for protocol in BOTH {
        let broker = Broker::start().await;
        let settings = settings(broker.port(), protocol);
        let calm = settings.timings.retry_max;
        let mut link = connect(settings, SEED).unwrap();
        for _ in 0..3 {
            let client = broker.serve().await;
            up(&mut link).await;
            client.cut();
        }
        let began = now();
        let sentence = until(&mut link, "the guess", |event| match event {
            LinkEvent::Down(sentence) if sentence.contains("perhaps another client") => Some(sentence),
            _ => None,
        })
        .await;
        assert_eq!(
            sentence,
            format!(
                "127.0.0.1:{} closed the connection; the broker has closed several connections soon after it accepted \
                 them: perhaps another client uses the client id `gateway-1`",
                broker.port()
            )
        );
        broker.accept().await;
        assert!(began.elapsed() + ms(20) >= calm, "came back after {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn an_outage_is_told_when_it_begins_and_ends_and_between_only_as_a_reminder() {
    // What a port says in place of CONNACK: nothing, nonsense, and that it knows no version of ours.
    for answer in [&b""[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x20\x02\x00\x01"] {
        let (lines, _log) = Lines::listen();
        let broker = Broker::start().await;
        let settings = settings(broker.port(), ProtocolChoice::Auto);
        let remind_every = settings.timings.remind_every;
        let (mut link, client) = pair(settings, &broker).await;
        lines.take();
        let began = now();
        client.cut();
        for _ in 0..40 {
            let mut peer = broker.accept().await;
            peer.hello().await;
            peer.raw(answer).await;
        }
        let told = lines.take();
        let reminders = began.elapsed().as_millis() / remind_every.as_millis();
        // Besides them the line of the beginning and, once, that the other version is tried.
        assert!(u128::try_from(told.len()).unwrap() <= reminders + 2, "{reminders} reminders: {told:#?}");
        assert!(told.first().is_some_and(|line| line.contains("the MQTT link is down")), "{told:#?}");
        // The attempt under way may be answered as before.
        let _client = loop {
            let mut peer = broker.accept().await;
            if peer.hello().await.version == 5 {
                peer.welcome().await;
                break peer.serve(crate::scripted_broker::Manners::default());
            }
            peer.raw(answer).await;
        };
        proven(&mut link).await;
        let end = lines.take();
        let ups = end.iter().filter(|line| line.contains("the MQTT link is up")).count();
        assert_eq!(ups, 1, "{end:#?}");
        assert!(end.len() <= 4, "{end:#?}");
    }
}
