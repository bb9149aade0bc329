//! Commands, from the message to the building and back.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::time::Instant;
use verkada2mqtt::{clock, rng::Rng, simulator::ledger::Endpoint};

use crate::{
    chaos::{fault, journal, judge_unlocks, lives},
    environment::number,
    mqtt::{Client, Version},
    process::LIMIT,
    rig::{Rig, eventually},
};

#[tokio::test]
async fn commands_are_carried_out_once_and_told_by_mqtt_5() {
    commands_are_carried_out_once_and_told(Version::V5).await;
}

#[tokio::test]
async fn commands_are_carried_out_once_and_told_by_mqtt_3_1_1() {
    commands_are_carried_out_once_and_told(Version::V311).await;
}

async fn commands_are_carried_out_once_and_told(version: Version) {
    let mut rig = Rig::start().await;
    rig.config.set("/mqtt/protocol", version.word());
    let gateway = rig.run_ready().await;
    gateway.logs(&format!("the MQTT link is up protocol={}", version.word())).await;
    let client = Client::connect(version, rig.broker.address()).await;

    let door = rig.door("Workshop");
    let (target, topic) = (format!("door/{door}"), format!("verkada/door/{door}"));
    client.publish(&format!("{topic}/set"), r#"{"action": "unlock", "id": "u1", "by": "test"}"#).await;
    let result = client.result(&target, "u1").await;
    assert_eq!(
        (&result["outcome"], &result["action"], &result["by"]),
        (&json!("done"), &json!("unlock"), &json!("test"))
    );
    client.shows(&format!("{topic}/state"), "LOCKED").await;
    assert_eq!(client.payloads(&format!("{topic}/state")), ["None", "UNLOCKING", "UNLOCKED", "LOCKED"]);
    let proof = client.proof(&target, "u1").await;
    assert_eq!(
        (&proof["outcome"], &proof["evidence"]["event_type"]),
        (&json!("done"), &json!("remote_unlock"))
    );
    assert_eq!(client.outcomes(&target, "u1"), ["accepted", "done"]);
    let unlocks = rig.seen(Endpoint::AdminUnlock);
    assert_eq!(unlocks.len(), 1);
    assert_eq!((unlocks[0].executed, unlocks[0].target.as_deref()), (true, Some(door.as_str())));

    let scenario = rig.scenario("Lockdown Tern Yard");
    let (target, topic) = (format!("scenario/{scenario}"), format!("verkada/scenario/{scenario}"));
    let reads = rig.seen(Endpoint::Scenarios).len();
    client.publish(&format!("{topic}/set"), "ON").await;
    client.shows(&format!("{topic}/state"), "ON").await;
    assert!(rig.world.is_active(&scenario).unwrap());
    assert!(rig.seen(Endpoint::Scenarios).len() > reads, "the state comes from a read");
    client.publish(&format!("{topic}/set"), r#"{"action": "RELEASE", "id": "r1"}"#).await;
    assert_eq!(client.result(&target, "r1").await["outcome"], "done");
    client.shows(&format!("{topic}/state"), "OFF").await;
    assert!(!rig.world.is_active(&scenario).unwrap());
    assert_eq!(client.payloads(&format!("{topic}/state")), ["OFF", "ON", "OFF"]);
    assert_eq!(client.outcomes(&target, "r1"), ["accepted", "done"]);
    let acts: Vec<(Endpoint, bool)> = rig.acts().iter().map(|act| (act.endpoint, act.executed)).collect();
    let expected = [(Endpoint::AdminUnlock, true), (Endpoint::Activate, true), (Endpoint::Release, true)];
    assert_eq!(acts, expected);
    assert_eq!(rig.retained(&format!("{topic}/result")), None, "results are not retained");
}

/// Sends a command and checks that its result, on the topic of results and on the response topic, is what is expected.
async fn refused(
    client: &Client,
    target: &str,
    payload: impl Into<bytes::Bytes>,
    expected: (&str, &str),
) -> Value {
    let (skip, payload) = (client.count(), payload.into());
    client.publish(&format!("verkada/{target}/set"), payload.clone()).await;
    let result = client.next_result(skip, &format!("verkada/{target}/result")).await;
    let judged = (result["outcome"].as_str().unwrap(), result["reason"].as_str().unwrap());
    assert_eq!(judged, expected, "{target} {payload:?}: {result}");
    assert!(result["message"].as_str().unwrap().len() > 10, "{result}");
    result
}

#[tokio::test]
async fn what_must_not_be_done_never_reaches_the_vendor_and_is_answered_by_its_reason() {
    let mut rig = Rig::start().await;
    let (door, forbidden, toggle_off) =
        (rig.door("Workshop"), rig.door("Roof Terrace"), rig.door("Server Room"));
    rig.config.set(&format!("/doors/settings/{forbidden}/unlock"), false);
    rig.config.set("/commands/release", false);
    let _gateway = rig.run_ready().await;
    let client = rig.client().await;
    let workshop = format!("door/{door}");
    let scenario = format!("scenario/{}", rig.scenario("Lockdown Tern Yard"));
    let now = clock::now().utc.as_second();

    for malformed in
        ["", " ", "OPEN", "0", "{", "{}", "[]", r#"{"action": 1}"#, r#"{"action": "unlock", "x": 1}"#]
    {
        refused(&client, &workshop, malformed, ("refused", "malformed")).await;
    }
    refused(&client, &workshop, vec![0xFF, 0x00], ("refused", "malformed")).await;
    refused(&client, &workshop, "ON", ("refused", "malformed")).await;
    refused(&client, &scenario, "UNLOCK", ("refused", "malformed")).await;
    let unknown = "door/00000000-0000-4000-8000-000000000000";
    refused(&client, unknown, "UNLOCK", ("refused", "unknown_target")).await;
    refused(&client, &unknown.replace("door", "scenario"), "ON", ("refused", "unknown_target")).await;
    let lock = refused(&client, &workshop, "LOCK", ("refused", "unsupported")).await;
    assert!(lock["message"].as_str().unwrap().contains("locks by itself"), "{lock}");
    let not_allowed =
        refused(&client, &format!("door/{forbidden}"), "UNLOCK", ("refused", "not_allowed")).await;
    assert!(
        not_allowed["message"].as_str().unwrap().contains("the configuration does not allow"),
        "{not_allowed}"
    );
    let toggle = refused(&client, &format!("door/{toggle_off}"), "UNLOCK", ("refused", "not_allowed")).await;
    assert!(toggle["message"].as_str().unwrap().contains("Enable Door Management via API"), "{toggle}");
    refused(&client, &scenario, "OFF", ("refused", "not_allowed")).await;
    let issued = |at: i64| json!({ "action": "unlock", "issued_at": at }).to_string();
    refused(&client, &workshop, issued(now - 60), ("expired", "too_old")).await;
    let old = json!({ "action": "unlock", "issued_at": "2026-01-01T00:00:00Z" }).to_string();
    refused(&client, &workshop, old, ("expired", "too_old")).await;
    refused(&client, &workshop, issued(now + 60), ("refused", "clock_skew")).await;

    let skip = client.count();
    client.retain(&format!("verkada/{workshop}/set"), "UNLOCK").await;
    let result = client.next_result(skip, &format!("verkada/{workshop}/result")).await;
    assert_eq!((&result["outcome"], &result["reason"]), (&json!("refused"), &json!("retained")));
    let skip = client.count();
    client.retain(&format!("verkada/{workshop}/set"), "").await;
    client.shows_after(skip, &format!("verkada/{workshop}/set"), "").await;

    // What is allowed comes after all of it, so nothing of it can still be on its way.
    client.publish(&format!("verkada/{workshop}/set"), r#"{"action": "unlock", "id": "last"}"#).await;
    assert_eq!(client.result(&workshop, "last").await["outcome"], "done");
    let acts = rig.acts();
    assert_eq!(acts.len(), 1, "{acts:#?}");
    assert_eq!((acts[0].endpoint, acts[0].target.as_deref()), (Endpoint::AdminUnlock, Some(door.as_str())));
}

#[tokio::test]
async fn an_id_is_used_once() {
    let rig = Rig::start().await;
    let _gateway = rig.run_ready().await;
    let client = rig.client().await;
    let (door, other) =
        (format!("door/{}", rig.door("Workshop")), format!("door/{}", rig.door("Roof Terrace")));
    let command = r#"{"action": "unlock", "id": "once"}"#;
    client.publish(&format!("verkada/{door}/set"), command).await;
    assert_eq!(client.result(&door, "once").await["outcome"], "done");
    client.proof(&door, "once").await;
    let (skip, topic) = (client.count(), format!("verkada/{door}/result"));
    client.publish(&format!("verkada/{door}/set"), command).await;
    let again = client.next_result(skip, &topic).await;
    assert_eq!(
        (&again["outcome"], &again["resolved"]),
        (&json!("done"), &json!("seen")),
        "what is known of it"
    );
    eventually("the repeated command is answered", async || {
        (client.outcomes(&door, "once").len() == 3).then_some(())
    })
    .await;
    assert_eq!(client.outcomes(&door, "once"), ["accepted", "done", "merged"]);
    refused(&client, &other, command, ("refused", "id_conflict")).await;
    assert_eq!(rig.acts().len(), 1);
}

#[tokio::test]
async fn mqtt_5_gets_the_result_where_it_asks_for_it() {
    let rig = Rig::start().await;
    let _gateway = rig.run_ready().await;
    let client = rig.client().await;
    let door = format!("door/{}", rig.door("Workshop"));
    let set = format!("verkada/{door}/set");
    let replies = async |response: &str, count: usize| {
        client
            .until(&format!("{count} replies on {response}"), |heard| {
                let replies: Vec<_> =
                    heard.iter().filter(|message| message.topic == response).cloned().collect();
                (replies.len() == count).then_some(replies)
            })
            .await
    };
    client.ask(&set, "LOCK", "replies/1", b"\x00one\xFF").await;
    let reply = replies("replies/1", 1).await.remove(0);
    assert_eq!(reply.correlation.as_deref(), Some(b"\x00one\xFF".as_slice()));
    let shared = client.next_result(0, &format!("verkada/{door}/result")).await;
    assert_eq!(serde_json::from_str::<Value>(&reply.payload).unwrap(), shared);
    client.ask(&set, "UNLOCK", "replies/2", b"two").await;
    let outcomes: Vec<Value> = replies("replies/2", 2)
        .await
        .iter()
        .map(|reply| {
            assert_eq!((reply.correlation.as_deref(), reply.retain), (Some(b"two".as_slice()), false));
            serde_json::from_str::<Value>(&reply.payload).unwrap()["outcome"].clone()
        })
        .collect();
    assert_eq!(outcomes, ["accepted", "done"]);
    // A reply must not become a command or an announcement of ours.
    for response in ["verkada/availability", "homeassistant/lock/x/config"] {
        let skip = client.count();
        client.ask(&set, "LOCK", response, b"three").await;
        client.next_result(skip, &format!("verkada/{door}/result")).await;
        let said = client.heard().into_iter().skip(skip).any(|message| message.topic == response);
        assert!(!said, "{response}");
    }
}

#[tokio::test]
async fn a_retained_command_from_before_the_start_is_never_executed() {
    for version in [Version::V5, Version::V311] {
        let mut rig = Rig::start().await;
        rig.config.set("/mqtt/protocol", version.word());
        let client = rig.client().await;
        let door = format!("door/{}", rig.door("Workshop"));
        client.retain(&format!("verkada/{door}/set"), "UNLOCK").await;
        let scenario = format!("scenario/{}", rig.scenario("Lockdown Tern Yard"));
        client.retain(&format!("verkada/{scenario}/set"), "ON").await;
        client.shows(&format!("verkada/{scenario}/set"), "ON").await;
        let _gateway = rig.run_ready().await;
        if version == Version::V311 {
            let result = client.next_result(0, &format!("verkada/{door}/result")).await;
            assert_eq!(result["reason"], "retained");
        }
        client.publish(&format!("verkada/{door}/set"), r#"{"action": "unlock", "id": "live"}"#).await;
        assert_eq!(client.result(&door, "live").await["outcome"], "done");
        let acts: Vec<Endpoint> = rig.acts().iter().map(|act| act.endpoint).collect();
        assert_eq!(acts, [Endpoint::AdminUnlock], "{version:?}");
    }
}

/// Unlocks each door that can be unlocked; returns the ids of the commands with their targets.
async fn open_each(rig: &Rig, client: &Client) -> BTreeMap<String, String> {
    let mut sent = BTreeMap::new();
    for door in rig.world.doors().into_iter().filter(|door| door.api_control) {
        let (target, id) = (format!("door/{}", door.id), format!("first-{}", door.id));
        client
            .publish(&format!("verkada/{target}/set"), format!(r#"{{"action": "unlock", "id": "{id}"}}"#))
            .await;
        let result = client.result(&target, &id).await;
        assert_eq!(result["outcome"], "done", "{result}");
        sent.insert(id, target);
    }
    sent
}

/// Random commands, known and unknown, with faults of the vendor; what was told, what was written down and what the vendor
/// did are one account.
#[tokio::test]
async fn results_journal_and_ledger_tell_the_same() {
    let seed = number("SEED").unwrap_or_else(|| clock::now().utc.as_second().unsigned_abs());
    println!("SEED={seed}");
    let mut rng = Rng::new(seed);
    let rig = Rig::start().await;
    let _gateway = rig.run_ready().await;
    let client = rig.client().await;
    let doors: Vec<_> = rig.world.doors().iter().map(|door| door.id.clone()).collect();
    let scenarios: Vec<_> = rig.world.scenarios().iter().map(|scenario| scenario.id.clone()).collect();
    let pick = |rng: &mut Rng, count: usize| usize::try_from(rng.below(count.try_into().unwrap())).unwrap();
    // A lockdown may come first below and refuse what follows it.
    let mut sent = open_each(&rig, &client).await;
    let opened = sent.len();
    for round in 0..60 {
        let (target, action) = match rng.below(6) {
            0 => (format!("scenario/{}", scenarios[pick(&mut rng, scenarios.len())]), "activate"),
            1 => (format!("scenario/{}", scenarios[pick(&mut rng, scenarios.len())]), "release"),
            2 => (format!("door/no-such-door-{round}"), "unlock"),
            3 => (format!("door/{}", doors[pick(&mut rng, doors.len())]), "open sesame"),
            _ => (format!("door/{}", doors[pick(&mut rng, doors.len())]), "unlock"),
        };
        if rng.one_in(4) {
            rig.world.inject(fault(&mut rng)).unwrap();
        }
        let id = format!("b-{round}");
        client
            .publish(&format!("verkada/{target}/set"), format!(r#"{{"action": "{action}", "id": "{id}"}}"#))
            .await;
        // The others go on beside the next ones.
        if target.starts_with("door/") && rng.one_in(3) {
            client.result(&target, &id).await;
        }
        sent.insert(id, target);
    }
    rig.world.clear_faults();
    let ends = || -> BTreeMap<String, Vec<String>> {
        let ends = |target, id| {
            let mut outcomes = client.outcomes(target, id);
            outcomes.retain(|outcome| outcome != "accepted");
            outcomes
        };
        sent.iter().map(|(id, target)| (id.clone(), ends(target, id))).collect()
    };
    // A release of which no answer came is looked for in the list for a while.
    let patience = Instant::now() + 3 * LIMIT;
    while ends().values().any(Vec::is_empty) && Instant::now() < patience {
        let count = client.count();
        client.until("the next message", |heard| (heard.len() > count).then_some(())).await;
    }
    let told = ends();

    let records = journal(&rig.config).await;
    let (lives, _) = lives(&records);
    let mut written: BTreeMap<String, Vec<String>> =
        lives.iter().map(|(id, life)| (id.clone(), life.ends.clone())).collect();
    for record in records.iter().filter(|record| record["stage"] == "refused") {
        let text = |member: &str| record[member].as_str().unwrap().to_owned();
        written.entry(text("command")).or_default().push(text("outcome"));
    }
    assert_eq!(told, written, "each command has one end, and it is the same in both");
    assert!(told.values().all(|ends| ends.len() == 1), "{told:?}");
    judge_unlocks(&rig.world, &doors, &lives);
    let executed = rig.acts().iter().filter(|act| act.executed).count();
    assert!(
        executed >= opened && lives.len() > opened,
        "hardly anything happened: {executed} {}",
        lives.len()
    );
}
