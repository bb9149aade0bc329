//! A day on which nothing is wrong.

use verkada2mqtt::simulator::world::Verdict;

use crate::{
    process::LIMIT,
    rig::{Rig, ready},
};

/// Secrets that no line may show.
const KEY: &str = "canary-of-the-api-key";
const PASSWORD: &str = "canary-of-the-password";

#[tokio::test]
async fn a_normal_day_worries_nobody_and_names_nobody() {
    let mut rig = Rig::start().await;
    rig.world.set_api_key(KEY);
    rig.config.set("/verkada/api_key", KEY);
    rig.config.set("/mqtt/username", "gateway");
    rig.config.set("/mqtt/password", PASSWORD);
    rig.config.set("/log/level", "trace");
    let mut gateway = rig.run();
    ready(&gateway).await;
    let client = rig.client().await;
    let (door, scenario) = (rig.door("Workshop"), rig.scenario("Lockdown Tern Yard"));
    let people = rig.world.people();

    let caretaker = people.iter().find(|person| !person.groups.is_empty()).unwrap();
    assert_eq!(rig.world.badge(&door, Some(&caretaker.id)).unwrap(), Verdict::Accepted);
    let event = format!("verkada/door/{door}/event");
    client.until("the badge", |heard| heard.iter().any(|message| message.topic == event).then_some(())).await;
    client.shows(&format!("verkada/door/{door}/state"), "LOCKED").await;
    assert_ne!(rig.world.badge(&door, None).unwrap(), Verdict::Accepted);
    client
        .until("the denial", |heard| {
            heard
                .iter()
                .any(|message| message.topic == event && message.payload.contains("denied"))
                .then_some(())
        })
        .await;

    client.publish(&format!("verkada/door/{door}/set"), "UNLOCK").await;
    client.shows(&format!("verkada/door/{door}/state"), "UNLOCKED").await;
    client.shows(&format!("verkada/door/{door}/state"), "LOCKED").await;
    for (command, state) in [("ON", "ON"), ("OFF", "OFF")] {
        client.publish(&format!("verkada/scenario/{scenario}/set"), command).await;
        client.shows(&format!("verkada/scenario/{scenario}/state"), state).await;
    }
    assert_eq!(rig.acts().len(), 3);
    gateway.signal("TERM");
    let ended = gateway.end_within(LIMIT).await;
    assert_eq!(ended.code(), Some(0));
    assert!(ended.log.contains("TRACE"), "the log tells everything it can");
    let worries: Vec<&str> =
        ended.log.lines().filter(|line| line.contains(" WARN ") || line.contains("ERROR ")).collect();
    assert_eq!(worries, [""; 0]);
    for secret in [KEY, PASSWORD] {
        assert!(!ended.log.contains(secret), "{secret} is in the log");
    }
    for person in &people {
        for text in [&person.last_name, &person.email, &person.external_id, &person.card_number.to_string()] {
            let word = |line: &str| {
                line.split(|c: char| !c.is_alphanumeric() && !"-.@".contains(c)).any(|word| word == text)
            };
            let told = ended.log.lines().find(|line| word(line));
            assert_eq!(told, None, "{text}");
        }
    }
}
