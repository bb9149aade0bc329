//! The adapter against a real Mosquitto.

use verkada2mqtt::{
    model::{LinkEvent, ProtocolChoice, Qos},
    mqtt::{Link, Settings, Timings, connect},
};

use crate::{
    BOTH, COMMAND, HEARTBEAT, SEED, down, message, mosquitto::Mosquitto, ms, now, proven, publication,
    scripted_broker::LIMIT, settings, unproven, until, up,
};

/// The times of a real link, but for the waits between two attempts.
fn real(port: u16, protocol: ProtocolChoice) -> Settings {
    let mut settings = settings(port, protocol);
    settings.timings = Timings { retry_max: ms(1_000), ..Timings::default() };
    settings
}

/// Another client of the broker.
async fn neighbour(port: u16, subscription: &str) -> Link {
    let mut settings = real(port, ProtocolChoice::V5);
    settings.client_id = format!("neighbour-of-{subscription}");
    settings.heartbeat_topic = "neighbour".into();
    settings.subscriptions =
        vec![("neighbour".into(), Qos::AtLeastOnce), (subscription.into(), Qos::AtLeastOnce)];
    settings.last_will = None;
    let mut link = connect(settings, SEED).unwrap();
    proven(&mut link).await;
    link
}

#[tokio::test]
#[ignore = "needs Mosquitto: set by .ci/run"]
async fn mosquitto_carries_commands_states_and_an_orderly_end() {
    let broker = Mosquitto::start().await;
    for protocol in BOTH {
        let mut watcher = neighbour(broker.port(), "verkada/availability").await;
        let mut link = connect(real(broker.port(), protocol), SEED).unwrap();
        proven(&mut link).await;
        watcher.publisher().try_publish(publication(COMMAND, "UNLOCK", false)).unwrap();
        let command = message(&mut link).await;
        assert_eq!((command.payload.as_ref(), command.retain), (b"UNLOCK".as_ref(), false));
        let publisher = link.publisher();
        publisher.try_publish(publication("verkada/availability", "online", true)).unwrap();
        assert_eq!(message(&mut watcher).await.payload, "online");
        let offline = publication("verkada/availability", "offline", true);
        assert_eq!(link.close(vec![offline], LIMIT).await, Ok(()));
        assert_eq!(message(&mut watcher).await.payload, "offline");
        // The next message is not a second `offline`: the last will was not published.
        watcher.publisher().try_publish(publication("verkada/availability", "marker", false)).unwrap();
        assert_eq!(message(&mut watcher).await.payload, "marker");
    }
}

#[tokio::test]
#[ignore = "needs Mosquitto: set by .ci/run"]
async fn mosquitto_publishes_the_will_of_a_link_that_is_dropped() {
    let broker = Mosquitto::start().await;
    let mut watcher = neighbour(broker.port(), "verkada/availability").await;
    let mut link = connect(real(broker.port(), ProtocolChoice::V5), SEED).unwrap();
    proven(&mut link).await;
    drop(link);
    assert_eq!(message(&mut watcher).await.payload, "offline");
}

#[tokio::test]
#[ignore = "needs Mosquitto: set by .ci/run"]
async fn mosquitto_that_forbids_reading_or_publishing_the_heartbeat_leaves_the_link_unproven() {
    let rules = [
        ("reading", "topic write verkada/#\ntopic read homeassistant/#\n"),
        ("publishing", "topic read verkada/#\ntopic read homeassistant/#\n"),
    ];
    for (forbidden, rules) in rules {
        let broker = Mosquitto::with("allow_anonymous true\nacl_file FOLDER/acl\n", &[("acl", rules)]).await;
        for protocol in BOTH {
            let mut link = connect(real(broker.port(), protocol), SEED).unwrap();
            let sentence = unproven(&mut link).await;
            // Only MQTT 5 has a word for a publication that is refused.
            let cause = if forbidden == "publishing" && protocol == ProtocolChoice::V5 {
                format!(
                    "the broker refuses to let us publish `{HEARTBEAT}` (not authorised): allow it in its rules"
                )
            } else {
                format!("the broker is stalled, or its rules forbid us to publish or to read `{HEARTBEAT}`")
            };
            assert_eq!(
                sentence,
                format!("no heartbeat has come back on this connection: {cause}"),
                "{forbidden}"
            );
        }
    }
}

#[tokio::test]
#[ignore = "needs Mosquitto: set by .ci/run"]
async fn mosquitto_that_refuses_the_password_is_told_and_tried_at_most_six_times_a_minute() {
    // No user is in the file.
    let broker =
        Mosquitto::with("allow_anonymous false\npassword_file FOLDER/users\n", &[("users", "")]).await;
    for protocol in BOTH {
        let mut settings = real(broker.port(), protocol);
        settings.credentials = Some(("verkada2mqtt".into(), "hunter2".to_owned().into()));
        let mut link = connect(settings, SEED).unwrap();
        assert_eq!(
            down(&mut link).await,
            "not authorised: 127.0.0.1 refuses user `verkada2mqtt` with client id `gateway-1`; check the password and \
             the broker's rules"
        );
    }
}

#[tokio::test]
#[ignore = "needs Mosquitto: set by .ci/run"]
async fn mosquitto_that_is_killed_and_started_again_is_found_again() {
    let mut broker = Mosquitto::start().await;
    for protocol in BOTH {
        let mut link = connect(real(broker.port(), protocol), SEED).unwrap();
        proven(&mut link).await;
        broker.kill();
        down(&mut link).await;
        broker.run().await;
        up(&mut link).await;
        proven(&mut link).await;
    }
}

#[tokio::test]
#[ignore = "needs Mosquitto: set by .ci/run"]
async fn mosquitto_takeover_is_guessed_and_calmed() {
    let broker = Mosquitto::start().await;
    let mut first = connect(real(broker.port(), ProtocolChoice::V5), SEED).unwrap();
    proven(&mut first).await;
    let mut second = connect(real(broker.port(), ProtocolChoice::V5), SEED + 1).unwrap();
    let said = |event| match event {
        LinkEvent::Down(sentence) if sentence.contains("client id `gateway-1`") => Some(()),
        _ => None,
    };
    tokio::select! {
        () = until(&mut first, "the guess", said) => {}
        () = until(&mut second, "the guess", said) => {}
    }
}

#[tokio::test]
#[ignore = "needs Mosquitto: set by .ci/run"]
async fn mosquitto_shows_a_retained_command_as_retained() {
    let broker = Mosquitto::start().await;
    let other = neighbour(broker.port(), "nothing").await;
    other.publisher().try_publish(publication(COMMAND, "stored before", true)).unwrap();
    let mut probe = neighbour(broker.port(), COMMAND).await;
    // Stored by now, because the next message of the same client arrives. MQTT 5 asked for no stored messages.
    other.publisher().try_publish(publication(COMMAND, "marker", false)).unwrap();
    until(&mut probe, "the marker", |event| match event {
        LinkEvent::Message(message) if message.payload == "marker" => Some(()),
        _ => None,
    })
    .await;
    let mut old = connect(real(broker.port(), ProtocolChoice::V311), SEED).unwrap();
    let stored = message(&mut old).await;
    assert_eq!((stored.payload.as_ref(), stored.retain), (b"stored before".as_ref(), true));
    let mut new = connect(real(broker.port(), ProtocolChoice::V5), SEED).unwrap();
    drop(old);
    proven(&mut new).await;
    other.publisher().try_publish(publication(COMMAND, "stored now", true)).unwrap();
    let live = message(&mut new).await;
    assert_eq!(
        (live.payload.as_ref(), live.retain),
        (b"stored now".as_ref(), true),
        "nothing stored came before"
    );
}

#[tokio::test]
#[ignore = "needs Mosquitto: set by .ci/run"]
async fn mosquitto_shows_a_retained_command_that_comes_over_a_bridge_as_retained() {
    let hub = Mosquitto::start().await;
    let bridge = format!(
        "allow_anonymous true\nconnection leaf\naddress 127.0.0.1:{}\ntopic verkada/# out 1\nrestart_timeout 1\n",
        hub.port()
    );
    let mut link = connect(real(hub.port(), ProtocolChoice::V5), SEED).unwrap();
    proven(&mut link).await;
    let leaf = Mosquitto::with(&bridge, &[]).await;
    let far = neighbour(leaf.port(), "nothing").await;
    far.publisher().try_publish(publication(COMMAND, "UNLOCK", true)).unwrap();
    let first = message(&mut link).await;
    assert_eq!((first.payload.as_ref(), first.retain), (b"UNLOCK".as_ref(), true));
}

#[tokio::test]
#[ignore = "needs Mosquitto: set by .ci/run"]
async fn mosquitto_takes_ten_thousand_retained_states_in_a_breath() {
    const COUNT: usize = 10_000;
    let broker = Mosquitto::start().await;
    for protocol in BOTH {
        let mut link = connect(real(broker.port(), protocol), SEED).unwrap();
        proven(&mut link).await;
        let began = now();
        let publisher = link.publisher();
        for number in 0..COUNT {
            let mut next = publication(&format!("verkada/door/{number}/state"), &"x".repeat(2_000), true);
            while let Err(full) = publisher.try_publish(next) {
                next = full.0;
                publisher.ready().await;
            }
        }
        assert_eq!(link.close(Vec::new(), LIMIT).await, Ok(()));
        println!("{COUNT} retained publications acknowledged after {:?}", began.elapsed());
    }
}
