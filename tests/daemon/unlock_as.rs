//! Unlocks in the name of a person, from the message to the vendor's log.

use std::sync::Arc;

use serde_json::{Value, json};
use verkada2mqtt::simulator::{
    event::{Event, Who},
    ledger::Endpoint,
    organisation::Person,
    switches::{Switches, UserWithoutAccess},
};

use crate::{chaos::journal, mqtt::Client, rig::Rig};

/// Somebody of a group.
fn person_of(rig: &Rig, group: &str) -> Arc<Person> {
    let group = rig.world.groups().into_iter().find(|known| known.name == group).unwrap().id;
    rig.world.people().into_iter().find(|person| person.groups.contains(&group)).unwrap()
}

/// Sends an unlock and waits for how it ends.
async fn unlock(client: &Client, door: &str, id: &str, more: Value) -> Value {
    let mut command = json!({ "action": "unlock", "id": id });
    command.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.publish(&format!("verkada/{door}/set"), command.to_string()).await;
    client.result(door, id).await
}

fn ended(result: &Value) -> (&str, &str) {
    (result["outcome"].as_str().unwrap(), result["reason"].as_str().unwrap_or("-"))
}

/// What the vendor's log says of unlocks from afar: the word, and in whose name.
fn told(rig: &Rig) -> Vec<(&'static str, Option<String>)> {
    let of = |event: &Event| match &event.note.who {
        Some(Who::Person(person)) => Some(person.id.clone()),
        Some(Who::Api(_)) | None => None,
    };
    let events = rig.world.events();
    let from_afar = events.iter().filter(|event| event.word.starts_with("door_remote_unlock"));
    from_afar.map(|event| (event.word, of(event))).collect()
}

#[tokio::test]
async fn an_unlock_as_a_person_is_told_in_the_vendors_log_in_the_name_of_the_person() {
    let mut rig = Rig::start().await;
    let (caretaker, staff) = (person_of(&rig, "Caretakers"), person_of(&rig, "Staff"));
    rig.config.set("/commands/unlock_as", "allowed");
    rig.config.set("/commands/users/desk", json!({ "external_id": staff.external_id }));
    let gateway = rig.run_ready().await;
    let client = rig.client().await;
    let door = format!("door/{}", rig.door("Workshop"));
    let other = format!("door/{}", rig.door("Front Door"));

    let named = json!({ "as": { "user_id": caretaker.id } });
    assert_eq!(ended(&unlock(&client, &door, "a", named).await), ("done", "-"));
    let proof = client.proof(&door, "a").await;
    assert_eq!(proof["evidence"]["event_type"], "remote_unlock");
    assert_eq!(ended(&unlock(&client, &other, "b", json!({ "by": "desk" })).await), ("done", "-"));
    let granted = "door_remote_unlock_accepted";
    assert_eq!(told(&rig), [(granted, Some(caretaker.id.clone())), (granted, Some(staff.id.clone()))]);
    let acts: Vec<(Endpoint, bool)> = rig.acts().iter().map(|act| (act.endpoint, act.executed)).collect();
    assert_eq!(acts, [(Endpoint::UserUnlock, true); 2]);

    let log = gateway.log().join("\n");
    let heard = client.heard().into_iter();
    let said: String =
        heard.filter(|message| !message.topic.ends_with("/set")).map(|message| message.payload).collect();
    let journal = journal(&rig.config).await;
    for name in [&caretaker.id, &staff.external_id] {
        assert!(!log.contains(name.as_str()) && !said.contains(name.as_str()), "{log}\n{said}");
        let naming = journal.iter().filter(|record| record.to_string().contains(name.as_str()));
        let stages: Vec<&Value> = naming.map(|record| &record["stage"]).collect();
        assert_eq!(stages, ["sending"], "{journal:#?}");
    }
}

#[tokio::test]
async fn who_has_no_access_is_turned_away_with_a_reason_and_its_event() {
    let mut rig = Rig::start().await;
    let staff = person_of(&rig, "Staff");
    rig.config.set("/commands/unlock_as", "allowed");
    let _gateway = rig.run_ready().await;
    let client = rig.client().await;
    let door = format!("door/{}", rig.door("Delivery Gate"));
    for (id, status) in UserWithoutAccess::ALL.iter().enumerate() {
        rig.world.set_switches(Switches { user_without_access: *status, ..rig.world.switches() });
        let id = id.to_string();
        let result = unlock(&client, &door, &id, json!({ "as": { "user_id": staff.id } })).await;
        assert_eq!(ended(&result), ("failed", "no_access"), "{result}");
        assert!(result["message"].as_str().unwrap().contains("no access level lets this user"), "{result}");
        let note = client.note(&door, &id, "denied").await;
        assert_eq!((&note["outcome"], &note["evidence"]["method"]), (&json!("failed"), &json!("remote")));
    }
    let nobody = unlock(&client, &door, "n", json!({ "as": { "external_id": "hr-9999" } })).await;
    assert_eq!(ended(&nobody), ("failed", "not_found"));
    assert!(nobody["message"].as_str().unwrap().contains("knows no user with this user_id"), "{nobody}");
    assert!(rig.acts().iter().all(|act| act.endpoint == Endpoint::UserUnlock && !act.executed));
    assert_eq!(rig.acts().len(), 3, "each was asked once");
    let refused = ("door_remote_unlock_rejected", Some(staff.id.clone()));
    assert_eq!(told(&rig), [refused.clone(), refused]);
    rig.holds("verkada/bridge/problem", "None").await;
    assert_eq!(rig.retained("verkada/bridge/api/availability").as_deref(), Some("online"));
}

#[tokio::test]
async fn nobody_is_named_unless_the_owner_lets_it_and_somebody_is_where_the_owner_wants_it() {
    for (unlock_as, named, unnamed) in [
        (None, ("refused", "not_allowed"), ("done", "-")),
        (Some("required"), ("done", "-"), ("refused", "not_allowed")),
    ] {
        let mut rig = Rig::start().await;
        let caretaker = person_of(&rig, "Caretakers");
        if let Some(unlock_as) = unlock_as {
            rig.config.set("/commands/unlock_as", unlock_as);
        }
        let _gateway = rig.run_ready().await;
        let client = rig.client().await;
        let first = format!("door/{}", rig.door("Workshop"));
        let second = format!("door/{}", rig.door("Delivery Gate"));
        let by_id = json!({ "as": { "user_id": caretaker.id } });
        let (wanted, unwanted) = if unlock_as.is_some() { (by_id, json!({})) } else { (json!({}), by_id) };
        client.publish(&format!("verkada/{first}/set"), unlock_command(&unwanted)).await;
        let refused = client.next_result(0, &format!("verkada/{first}/result")).await;
        assert_eq!(ended(&refused), if unlock_as.is_some() { unnamed } else { named }, "{refused}");
        assert!(refused["message"].as_str().unwrap().contains("commands.unlock_as"), "{refused}");
        let done = unlock(&client, &second, "b", wanted).await;
        assert_eq!(ended(&done), if unlock_as.is_some() { named } else { unnamed }, "{done}");
        let endpoint = if unlock_as.is_some() { Endpoint::UserUnlock } else { Endpoint::AdminUnlock };
        let acts: Vec<Endpoint> = rig.acts().iter().map(|act| act.endpoint).collect();
        assert_eq!(acts, [endpoint], "what is refused never reaches the vendor");
    }
}

fn unlock_command(more: &Value) -> String {
    let mut command = json!({ "action": "unlock" });
    command.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    command.to_string()
}
