//! Unlock as a person, and who may pass: users, groups and access levels.

use std::sync::Arc;

use serde_json::{Value, json};
use verkada2mqtt::{
    model::DoorId,
    simulator::{ledger::Endpoint, organisation::Person, switches::UserWithoutAccess},
};

use crate::{
    calendars::{self, CALENDARS},
    rig::{Rig, quick},
};

/// Bodies as the vendor's are believed to be.
const EXAMPLES: [(&str, &str); 7] = [
    ("calendar", include_str!("../fixtures/verkada/exception-calendar-get.json")),
    ("exception", include_str!("../fixtures/verkada/exception-get.json")),
    ("level", include_str!("../fixtures/verkada/access-level-get.json")),
    ("users", include_str!("../fixtures/verkada/access-users-list.json")),
    ("user", include_str!("../fixtures/verkada/access-user-get.json")),
    ("groups", include_str!("../fixtures/verkada/access-groups-list.json")),
    ("group", include_str!("../fixtures/verkada/access-group-get.json")),
];

const USER_UNLOCK: &str = "/access/v1/door/user_unlock";
const LEVELS: &str = "/access/v1/door/access_level";

fn person_of(rig: &Rig, group: &str) -> Arc<Person> {
    let people = rig.world.people();
    let groups = rig.world.groups();
    let group = groups.iter().find(|known| known.name == group).unwrap();
    Arc::clone(people.iter().find(|person| person.groups.contains(&group.id)).unwrap())
}

#[tokio::test]
async fn an_unlock_as_a_person_is_told_in_the_name_of_the_person() {
    let rig = Rig::start(quick()).await;
    let (door, caretaker) = (rig.front(), person_of(&rig, "Caretakers"));
    for key in [json!({ "user_id": caretaker.id }), json!({ "external_id": caretaker.external_id })] {
        let mut body = key;
        body["door_id"] = json!(door);
        let answer = rig.post(USER_UNLOCK, &body).await;
        assert_eq!(answer.json(), json!({ "door_id": door, "unlock_duration": 10 }));
        let entry = rig.last_entry();
        assert_eq!(
            (entry.endpoint, entry.target.as_deref(), entry.executed),
            (Endpoint::UserUnlock, Some(door.as_str()), true)
        );
    }
    let listed = rig.get("/events/v1/access?event_type=door_remote_unlock_accepted").await.json();
    let info = &listed["events"][0]["event_info"];
    assert_eq!(info["userId"], caretaker.id.as_str());
    assert_eq!(info["userName"], caretaker.full_name());
    assert_eq!(info["message"], "User Unlock API");
    rig.unlock(&door).await;
    let listed = rig.get("/events/v1/access?event_type=door_remote_unlock_accepted").await.json();
    let info = &listed["events"][0]["event_info"];
    assert_eq!((&info["userName"], &info["message"]), (&json!("API"), &json!("Remote Unlock")));
}

#[tokio::test]
async fn a_person_without_access_is_refused_and_the_log_says_so() {
    let rig = Rig::start(quick()).await;
    let staff = person_of(&rig, "Staff");
    let elsewhere = rig.door("Tern Yard", "Front Door");
    for position in UserWithoutAccess::ALL {
        rig.switch(|switches| switches.user_without_access = *position);
        let asked = json!({ "door_id": elsewhere, "user_id": staff.id });
        let told = (position.status(), "No permission to unlock".to_owned());
        assert_eq!(rig.post(USER_UNLOCK, &asked).await.message(), told);
        assert!(!rig.last_entry().executed);
    }
    let listed = rig.get("/events/v1/access").await.json();
    for event in listed["events"].as_array().unwrap() {
        assert_eq!(event["event_type"], "DOOR_REMOTE_UNLOCK_REJECTED");
        assert_eq!(event["event_info"]["userId"], staff.id.as_str());
        assert_eq!(event["event_info"]["accepted"], false);
    }
    assert_eq!(listed["events"].as_array().unwrap().len(), UserWithoutAccess::ALL.len());
    let id: DoorId = elsewhere.parse().unwrap();
    assert!(rig.world.door_state(&id).unwrap().locked);
}

#[tokio::test]
async fn exactly_one_name_of_the_person_is_wanted() {
    let rig = Rig::start(quick()).await;
    let (door, person) = (rig.front(), person_of(&rig, "Caretakers"));
    for body in [
        json!({ "door_id": door }),
        json!({ "door_id": door, "user_id": person.id, "external_id": person.external_id }),
    ] {
        let told = "exactly one of user_id and external_id is required".to_owned();
        assert_eq!(rig.post(USER_UNLOCK, &body).await.message(), (400, told));
    }
    let nobody = json!({ "door_id": door, "external_id": "hr-9999" });
    assert_eq!(rig.post(USER_UNLOCK, &nobody).await.status, 404);
}

#[tokio::test]
async fn levels_are_listed_and_shown_where_the_key_may_see_them() {
    let rig = Rig::start(quick()).await;
    let levels = rig.get(LEVELS).await.json()["access_levels"].clone();
    let names: Vec<_> =
        levels.as_array().unwrap().iter().map(|level| level["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Caretakers everywhere", "Staff at the first site", "Cleaners in the evening"]);
    let cleaners = &levels[2];
    assert_eq!(cleaners["doors"].as_array().unwrap().len(), 2);
    let event = &cleaners["access_schedule_events"][0];
    assert_eq!(
        (&event["weekday"], &event["start_time"], &event["end_time"], &event["door_status"]),
        (&json!("MO"), &json!("18:00"), &json!("22:00"), &json!("access_granted"))
    );
    let path = format!("{LEVELS}/{}", cleaners["access_level_id"].as_str().unwrap());
    assert_eq!(&rig.get(&path).await.json(), cleaners);
    assert_eq!(rig.get(&format!("{LEVELS}/none")).await.status, 404);
    let yard =
        rig.world.doors().iter().find(|door| door.site.name == "Tern Yard").unwrap().site.id.to_string();
    rig.switch(|switches| switches.managed_sites = Some(vec![yard]));
    assert_eq!(rig.get(LEVELS).await.json(), json!({ "access_levels": [] }));
    assert_eq!(rig.get(&path).await.message(), (403, "Insufficient permissions".to_owned()));
    rig.switch(|switches| switches.managed_sites = Some(Vec::new()));
    assert_eq!(rig.get(LEVELS).await.message(), (403, "Insufficient permissions".to_owned()));
}

#[tokio::test]
async fn users_and_groups_are_found_by_their_keys() {
    let rig = Rig::start(quick()).await;
    let cleaner = person_of(&rig, "Cleaners");
    let user = async |query: String| rig.get(&format!("/access/v1/access_users/user?{query}")).await;
    let by_id = user(format!("user_id={}", cleaner.id)).await.json();
    assert_eq!(by_id, user(format!("external_id={}", cleaner.external_id)).await.json());
    assert_eq!(by_id["access_groups"][0]["name"], "Cleaners");
    let both = user(format!("user_id={}&external_id={}", cleaner.id, cleaner.external_id)).await;
    assert_eq!(both.status, 400);
    let groups = rig.get("/access/v1/access_groups").await.json()["access_groups"].clone();
    let names: Vec<&Value> = groups.as_array().unwrap().iter().map(|group| &group["name"]).collect();
    assert_eq!(names, ["Caretakers", "Staff", "Cleaners"]);
    let group = format!("/access/v1/access_groups/group?group_id={}", cleaner.groups[0]);
    assert_eq!(rig.get(&group).await.json()["user_ids"], json!([cleaner.id]));
}

/// A body with the kinds of its values in their place, and one element of each list.
fn form(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            members.iter().map(|(name, member)| (name.clone(), form(member))).collect::<Value>()
        }
        Value::Array(items) => items.first().map(form).into_iter().collect(),
        Value::Bool(_) => json!("flag"),
        Value::Number(_) => json!("number"),
        // Where a value may be null, an example has it so by chance.
        Value::String(_) | Value::Null => json!("text or null"),
    }
}

#[tokio::test]
async fn bodies_have_the_form_of_the_examples() {
    let rig = Rig::start(quick()).await;
    let example = |name: &str| -> Value {
        serde_json::from_str(EXAMPLES.iter().find(|(known, _)| *known == name).unwrap().1).unwrap()
    };
    // The calendar of the example is written as it was, but for keys and for what a day without times may not hold.
    let mut written = example("calendar");
    let person = person_of(&rig, "Caretakers");
    written["doors"] = json!([rig.front()]);
    for exception in written["exceptions"].as_array_mut().unwrap() {
        let members = exception.as_object_mut().unwrap();
        members.retain(|name, _| !["door_exception_id", "calendar_id"].contains(&name.as_str()));
        if members["all_day_default"] == true {
            members.retain(|name, _| !["start_time", "end_time"].contains(&name.as_str()));
        }
    }
    let id = calendars::create(&rig, &written).await;
    let calendar = rig.get(&format!("{CALENDARS}/{id}")).await.json();
    let mut same = calendar.clone();
    let known = example("calendar");
    same["door_exception_calendar_id"] = known["door_exception_calendar_id"].clone();
    (same["doors"], same["last_updated_at"]) = (known["doors"].clone(), known["last_updated_at"].clone());
    for (index, exception) in known["exceptions"].as_array().unwrap().iter().enumerate() {
        for key in ["door_exception_id", "calendar_id"] {
            same["exceptions"][index][key] = exception[key].clone();
        }
    }
    assert_eq!(same, known);
    let one = calendar["exceptions"][1]["door_exception_id"].as_str().unwrap();
    let levels = rig.get(LEVELS).await.json();
    for (name, body) in [
        ("exception", rig.get(&format!("{CALENDARS}/{id}/exception/{one}")).await.json()),
        ("level", levels["access_levels"][2].clone()),
        ("users", rig.get("/access/v1/access_users").await.json()),
        ("user", rig.get(&format!("/access/v1/access_users/user?user_id={}", person.id)).await.json()),
        ("groups", rig.get("/access/v1/access_groups").await.json()),
        (
            "group",
            rig.get(&format!("/access/v1/access_groups/group?group_id={}", person.groups[0])).await.json(),
        ),
    ] {
        assert_eq!(form(&body), form(&example(name)), "{name}");
    }
}
