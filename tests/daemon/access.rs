//! Who may pass which door, and when: in attributes and on the terminal.

use serde_json::{Value, json};
use verkada2mqtt::simulator::{
    ledger::Endpoint,
    switches::{KeyScope, Switches},
};

use crate::rig::{Rig, eventually};

/// What the attributes of a door tell of access, once they tell what is wanted.
async fn told(rig: &Rig, door: &str, wanted: &Value) {
    let topic = format!("verkada/door/{door}/attributes");
    eventually(&format!("{topic} tells {wanted}"), async || {
        let attributes: Value = serde_json::from_str(&rig.retained(&topic)?).unwrap();
        (attributes["access"] == *wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn doors_tell_who_may_pass_them_where_the_owner_wants_it_and_the_key_may_read_it() {
    let mut rig = Rig::start().await;
    rig.config.set("/poll/access_levels", "1h");
    let gateway = rig.run_ready().await;
    let caretakers = json!({"level": "Caretakers everywhere", "groups": ["Caretakers"], "when": "always"});
    let cleaners =
        json!({"level": "Cleaners in the evening", "groups": ["Cleaners"], "when": "Mon-Fri 18:00-22:00"});
    let staff = json!({"level": "Staff at the first site", "groups": ["Staff"], "when": "always"});
    let (front, gate) = (rig.door("Front Door").to_string(), rig.door("Delivery Gate").to_string());
    let all = json!([caretakers, cleaners, staff]);
    told(&rig, &front, &all).await;
    told(&rig, &gate, &json!([caretakers])).await;
    let read = rig.seen(Endpoint::AccessLevels).len();
    assert_eq!(read, 1);

    let client = rig.client().await;
    rig.world.set_switches(Switches { managed_sites: Some(Vec::new()), ..rig.world.switches() });
    client.publish("verkada/bridge/refresh/set", "").await;
    let line = gateway.logs("doors do not tell who may pass them").await;
    assert!(line.contains("Door Access Management for all sites involved"), "the cure: {line}");
    told(&rig, &front, &Value::Null).await;
    assert_eq!(rig.retained("verkada/bridge/api/availability").as_deref(), Some("online"));
    assert_eq!(rig.retained("verkada/bridge/problem").as_deref(), Some("None"));
    assert_eq!(rig.retained("verkada/bridge/token").as_deref(), Some("valid"));
    for endpoint in [Endpoint::AccessUsers, Endpoint::AccessUser, Endpoint::AccessGroup] {
        assert_eq!(rig.seen(endpoint), [], "people are not read");
    }
    assert_eq!(rig.acts(), []);
}

#[tokio::test]
async fn by_default_no_access_level_is_read() {
    let rig = Rig::start().await;
    let gateway = rig.run_ready().await;
    let client = rig.client().await;
    rig.all_is_shown().await;
    let reads = rig.seen(Endpoint::Doors).len();
    client.publish("verkada/bridge/refresh/set", "").await;
    eventually("all lists are read again", async || (rig.seen(Endpoint::Doors).len() > reads).then_some(()))
        .await;
    assert_eq!(rig.seen(Endpoint::AccessLevels), [], "{:#?}", gateway.log());
    assert_eq!(rig.seen(Endpoint::AccessGroups), []);
}

#[tokio::test]
async fn access_lists_who_may_pass_which_door_when() {
    let rig = Rig::start().await;
    let ended = rig.config.run(&["access"]).await;
    assert_eq!((ended.code(), ended.log.as_str()), (Some(0), ""), "{ended:?}");
    let expected = "\
DOOR           SITE        LEVEL                    GROUPS      WHEN                 TIME ZONE
Delivery Gate  Tern Yard   Caretakers everywhere    Caretakers  always               Europe/Amsterdam
Front Door     Heron Mill  Caretakers everywhere    Caretakers  always               Europe/Amsterdam
Front Door     Heron Mill  Cleaners in the evening  Cleaners    Mon-Fri 18:00-22:00  Europe/Amsterdam
Front Door     Heron Mill  Staff at the first site  Staff       always               Europe/Amsterdam
Front Door     Tern Yard   Caretakers everywhere    Caretakers  always               Europe/Amsterdam
Roof Terrace   Tern Yard   Caretakers everywhere    Caretakers  always               Europe/Amsterdam
Server Room    Heron Mill  Caretakers everywhere    Caretakers  always               Europe/Amsterdam
Server Room    Heron Mill  Staff at the first site  Staff       always               Europe/Amsterdam
Workshop       Heron Mill  Caretakers everywhere    Caretakers  always               Europe/Amsterdam
Workshop       Heron Mill  Cleaners in the evening  Cleaners    Mon-Fri 18:00-22:00  Europe/Amsterdam
Workshop       Heron Mill  Staff at the first site  Staff       always               Europe/Amsterdam";
    assert_eq!(ended.out, expected);

    let workshop = rig.door("Workshop").to_string();
    for door in ["Workshop", &workshop] {
        let one = rig.config.run(&["access", "--door", door]).await;
        let lines: Vec<&str> = one.out.lines().collect();
        assert_eq!((one.code(), lines.len()), (Some(0), 4), "{one:?}");
        assert!(lines[1..].iter().all(|line| line.starts_with("Workshop")), "{}", one.out);
    }
    let both = rig.config.run(&["access", "--door", "Front Door", "--json"]).await;
    let told: Vec<Value> = both.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told.len(), 2, "a name need not be unique: {}", both.out);
    assert_eq!((&told[0]["site"], &told[1]["site"]), (&json!("Heron Mill"), &json!("Tern Yard")));
    let doors = rig.world.doors();
    let yard = doors.iter().find(|door| door.name == "Front Door" && door.site.name == "Tern Yard");
    let expected = json!({
        "door_id": yard.unwrap().id.to_string(),
        "door": "Front Door",
        "site": "Tern Yard",
        "time_zone": "Europe/Amsterdam",
        "access": [{"level": "Caretakers everywhere", "groups": ["Caretakers"], "when": "always", "partial": false}],
    });
    assert_eq!(told[1], expected);
    assert_eq!(rig.acts(), []);
    assert_eq!(rig.broker.retained("#"), [], "it asks nobody but the vendor");
}

#[tokio::test]
async fn access_finds_a_door_by_the_name_that_the_owner_chose() {
    let mut rig = Rig::start().await;
    let workshop = rig.door("Workshop").to_string();
    rig.config.set(&format!("/doors/settings/{workshop}/name"), "Werkstatt");
    let ended = rig.config.run(&["access", "--door", "Werkstatt", "--json"]).await;
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    let told: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(told["door_id"], workshop.as_str());
}

#[tokio::test]
async fn access_says_in_a_sentence_why_it_cannot_tell() {
    let mut rig = Rig::start().await;
    let ended = rig.config.run(&["access", "--door", "workshop"]).await;
    assert_eq!((ended.code(), ended.out.as_str()), (Some(1), ""));
    let sentence = "verkada2mqtt: no door has the id or the exact name \"workshop\"; without --door all 6 doors are listed";
    assert_eq!(ended.log, sentence);

    rig.world.set_switches(Switches { managed_sites: Some(Vec::new()), ..rig.world.switches() });
    let ended = rig.config.run(&["access"]).await;
    assert_eq!((ended.code(), ended.out.as_str()), (Some(1), ""));
    assert!(
        ended.log.starts_with("verkada2mqtt: list access levels: the vendor answered 403"),
        "{}",
        ended.log
    );
    assert!(ended.log.contains("Door Access Management for all sites involved"), "{}", ended.log);
    assert_eq!(ended.log.lines().count(), 1, "{}", ended.log);

    rig.world.set_switches(Switches { key_scope: KeyScope::Nothing, ..Switches::default() });
    let ended = rig.config.run(&["access"]).await;
    assert_eq!(ended.code(), Some(1));
    assert!(ended.log.starts_with("verkada2mqtt: list doors: the vendor answered 401"), "{}", ended.log);

    rig.config.set("/verkada/api_key", "canary-of-a-wrong-key");
    let ended = rig.config.run(&["access"]).await;
    assert_eq!(ended.code(), Some(1));
    assert!(ended.log.contains("the API key may be wrong, expired"), "{}", ended.log);
    assert!(!format!("{ended:?}").contains("canary"), "{ended:?}");

    rig.config.write_text("mqtt: {}\n");
    let ended = rig.config.run(&["access"]).await;
    assert_eq!(ended.code(), Some(78), "{ended:?}");
}

#[tokio::test]
async fn a_check_tries_what_the_configuration_wants_of_access_levels() {
    let mut rig = Rig::start().await;
    rig.config.set("/poll/access_levels", "1h");
    let well = rig.config.run(&["check", "--online"]).await;
    assert_eq!(well.code(), Some(0), "{well:?}");
    for line in ["  ok   access levels: 3 can be read", "  ok   access groups: 3 can be read"] {
        assert!(well.out.lines().any(|said| said == line), "{line:?} is not in\n{}", well.out);
    }
    rig.world.set_switches(Switches { managed_sites: Some(Vec::new()), ..rig.world.switches() });
    let refused = rig.config.run(&["check", "--online"]).await;
    assert_eq!(refused.code(), Some(1), "{refused:?}");
    assert!(
        refused.out.contains("  FAIL access levels: list access levels: the vendor answered 403"),
        "{}",
        refused.out
    );
}
