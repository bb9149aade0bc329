use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{clock, model::EventKind, simulator::webhook::signature};

const SECRET: &str = "secret-of-the-test";
const T: i64 = 1_789_632_250;

fn at(seconds: i64) -> Now {
    Now { mono: clock::now().mono, utc: Timestamp::from_second(seconds).unwrap() }
}

fn receiver(organisation: Option<&str>) -> WebhookReceiver {
    let secrets = [SECRET.into(), "secret-before".into()];
    WebhookReceiver::new(&secrets, organisation.map(|text| text.parse().unwrap()), Privacy::None)
}

fn body(organisation: &str, event: &str, word: &str) -> String {
    json!({"org_id": organisation, "webhook_type": "notification", "data": {
        "event_id": event, "notification_type": word, "device_type": "access_control", "door_id": "d", "created": T - 2,
    }})
    .to_string()
}

/// Delivers a body as the vendor does; returns what was queued as well.
fn deliver(
    receiver: &mut WebhookReceiver,
    secret: &str,
    body: &str,
    signed: i64,
    now: i64,
) -> (Result<Taken, Refusal>, Vec<Push>) {
    let header = signature(secret.as_bytes(), body.as_bytes(), signed);
    let mut queued = Vec::new();
    let taken = receiver.look([header.as_bytes()], at(now)).and_then(|signature| {
        receiver.take(&signature, body.as_bytes(), at(now), |pushes| {
            queued = pushes;
            true
        })
    });
    (taken, queued)
}

fn ids(pushes: &[Push]) -> Vec<String> {
    let id = |push: &Push| match push {
        Push::Event(event) => event.id.to_string(),
        Push::ReadScenarios | Push::ReadEvents => format!("{push:?}"),
    };
    pushes.iter().map(id).collect()
}

/// All that came, and how it ended, told apart.
fn balance(health: &WebhookHealth) -> (u64, u64) {
    let ended = health.accepted + health.ignored + health.replayed + health.refused.values().sum::<u64>();
    (health.received, ended)
}

#[test]
fn both_secrets_are_taken_while_one_is_being_changed() {
    let mut receiver = receiver(None);
    for number in 0..1000 {
        let secret = if number % 2 == 0 { SECRET } else { "secret-before" };
        let event = format!("e-{number}");
        let (taken, queued) =
            deliver(&mut receiver, secret, &body("o", &event, "door_opened"), T, T + number % 5);
        assert_eq!((taken, ids(&queued)), (Ok(Taken::Accepted), vec![event]));
    }
    let (refused, queued) = deliver(&mut receiver, "third", &body("o", "e", "door_opened"), T, T);
    assert_eq!((refused, queued), (Err(Refusal::Signature), Vec::new()));
    let health = receiver.health();
    assert_eq!(balance(health), (1001, 1001));
    assert_eq!((health.accepted, health.lag), (1000, Some(std::time::Duration::from_secs(6))));
    assert_eq!(health.last_delivery.unwrap().as_second(), T + 4);
}

#[test]
fn an_exact_replay_changes_nothing_and_a_new_signature_gives_the_same_event() {
    let mut receiver = receiver(None);
    let opened = body("o", "e-1", "door_opened");
    assert_eq!(deliver(&mut receiver, SECRET, &opened, T, T).0, Ok(Taken::Accepted));
    for now in [T, T + 1, T + 300] {
        let (taken, queued) = deliver(&mut receiver, SECRET, &opened, T, now);
        assert_eq!((taken, queued), (Ok(Taken::Replayed), Vec::new()));
    }
    assert_eq!(deliver(&mut receiver, SECRET, &opened, T, T + 301).0, Err(Refusal::Stale));
    let (taken, queued) = deliver(&mut receiver, SECRET, &opened, T + 1, T + 301);
    assert_eq!((taken, ids(&queued)), (Ok(Taken::Accepted), vec!["e-1".to_owned()]));
    assert_eq!(receiver.health().replayed, 3);
    assert_eq!(balance(receiver.health()), (6, 6));
}

#[test]
fn what_had_no_room_is_taken_at_the_second_try() {
    let mut receiver = receiver(None);
    let opened = body("o", "e-1", "door_opened");
    let header = signature(SECRET.as_bytes(), opened.as_bytes(), T);
    let given = receiver.look([header.as_bytes()], at(T)).unwrap();
    assert_eq!(receiver.take(&given, opened.as_bytes(), at(T), |_| false), Err(Refusal::Overflow));
    assert_eq!((receiver.health().accepted, receiver.health().last_delivery), (0, None));
    let (taken, queued) = deliver(&mut receiver, SECRET, &opened, T, T);
    assert_eq!((taken, ids(&queued)), (Ok(Taken::Accepted), vec!["e-1".to_owned()]));
    assert_eq!(receiver.health().refused.get(&Refusal::Overflow), Some(&1));
}

#[test]
fn a_body_that_comes_after_the_window_is_refused() {
    let mut receiver = receiver(None);
    let opened = body("o", "e-1", "door_opened");
    let header = signature(SECRET.as_bytes(), opened.as_bytes(), T);
    let given = receiver.look([header.as_bytes()], at(T + 300)).unwrap();
    let late = receiver.take(&given, opened.as_bytes(), at(T + 301), |_| panic!("queued"));
    assert_eq!(late, Err(Refusal::Stale));
}

#[test]
fn only_one_organisation_is_heard() {
    let mut learning = receiver(None);
    let mut configured = receiver(Some("OURS"));
    for (receiver, taken) in [(&mut learning, Ok(Taken::Accepted)), (&mut configured, Ok(Taken::Foreign))] {
        let first = deliver(receiver, SECRET, &body("first", "e-1", "door_opened"), T, T);
        assert_eq!((first.0, first.1.len()), (taken, usize::from(taken == Ok(Taken::Accepted))));
    }
    for (receiver, ours, foreign) in [(&mut learning, "first", "ours"), (&mut configured, "ours", "first")] {
        let (taken, queued) = deliver(receiver, SECRET, &body(foreign, "e-2", "door_lockdown"), T, T);
        assert_eq!((taken, queued), (Ok(Taken::Foreign), Vec::new()));
        let nameless = r#"{"webhook_type":"notification","data":{"notification_type":"door_lockdown"}}"#;
        let (taken, queued) = deliver(receiver, SECRET, nameless, T, T);
        assert_eq!((taken, queued), (Ok(Taken::Foreign), Vec::new()));
        assert_eq!(deliver(receiver, SECRET, &body(ours, "e-3", "door_opened"), T, T).0, Ok(Taken::Accepted));
        let (received, ended) = balance(receiver.health());
        assert_eq!(received, ended);
    }
    assert_eq!(configured.health().refused.get(&Refusal::Foreign), Some(&3));
    assert_eq!(configured.foreign.len(), 1, "each is told by name once");
}

#[test]
fn a_lockdown_prompts_a_read_of_scenarios_and_an_unreadable_event_one_of_events() {
    let mut receiver = receiver(None);
    let (_, queued) = deliver(&mut receiver, SECRET, &body("o", "e-1", "door_lockdown"), T, T);
    assert_eq!(ids(&queued), ["e-1", "ReadScenarios"]);
    let Some(Push::Event(event)) = queued.first() else { panic!("{queued:?}") };
    assert_eq!(event.kind, EventKind::Lockdown);
    let (taken, queued) = deliver(&mut receiver, SECRET, &body("o", "a/b", "door_lockdown"), T, T);
    assert_eq!(
        (taken, ids(&queued)),
        (Ok(Taken::Accepted), vec!["ReadEvents".into(), "ReadScenarios".into()])
    );
    let (_, queued) = deliver(&mut receiver, SECRET, &body("o", "e-2", "door_dances"), T, T);
    assert_eq!(ids(&queued), ["e-2"]);
    let plate = r#"{"org_id":"o","webhook_type":"lpr","data":{}}"#;
    let (taken, queued) = deliver(&mut receiver, SECRET, plate, T, T);
    assert_eq!((taken, queued), (Ok(Taken::Ignored), Vec::new()));
    let (taken, queued) = deliver(&mut receiver, SECRET, "{\"org_id\":", T, T);
    assert_eq!((taken, queued), (Err(Refusal::Body), Vec::new()));
    assert_eq!(balance(receiver.health()), (5, 5));
}

/// Text that is near enough to a delivery to get far.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let near = (r"(door_lockdown|door_opened|intercom_x|[a-z_]{0,12})", r#"[a-z0-9":,{}\[\]]{0,40}"#, any::<bool>())
        .prop_map(|(word, more, cut)| {
            let text = format!(
                r#"{{"org_id":"o","webhook_type":"notification","data":{{"created":5,"notification_type":"{word}"{}{more}}}}}"#,
                if cut { "" } else { "," },
            );
            text.into_bytes()
        });
    prop_oneof![near, proptest::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #[test]
    fn whatever_comes_only_verified_pushes_leave(
        deliveries in proptest::collection::vec((bodies(), -400_i64..100, 0..4_u8, any::<bool>()), 1..20)
    ) {
        let mut receiver = receiver(None);
        for (body, age, way, room) in deliveries {
            let good = signature(SECRET.as_bytes(), &body, T + age);
            let header = match way {
                0 | 1 => good,
                2 => signature(b"guess", &body, T + age),
                _ => good.replace('a', "b"),
            };
            let genuine = header == signature(SECRET.as_bytes(), &body, T + age) && (-300..=30).contains(&age);
            let mut queued = Vec::new();
            let given = receiver.look([header.as_bytes()], at(T));
            let taken = given.and_then(|given| receiver.take(&given, &body, at(T), |pushes| {
                queued = pushes;
                room
            }));
            prop_assert!(queued.len() <= MAX_PUSHES);
            prop_assert!(queued.is_empty() || genuine);
            prop_assert_eq!(taken == Ok(Taken::Accepted), !queued.is_empty() && room);
            let (received, ended) = balance(receiver.health());
            prop_assert_eq!(received, ended);
        }
    }
}
