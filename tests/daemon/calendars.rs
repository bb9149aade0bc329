//! Exception calendars of others, from the message or the shell to the vendor and back.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp, ToSpan, tz::TimeZoneDatabase};
use serde_json::{Value, json};
use verkada2mqtt::{
    clock,
    simulator::{
        calendar::{DoorStatus, Exception},
        fault::{Effect, Fault},
        ledger::Endpoint,
        world::calendars::Content,
    },
};

use crate::rig::{Rig, eventually};

/// A rig whose vendor keeps two calendars of one door, of which the first may be changed; with their ids.
async fn rig() -> (Rig, String, String) {
    let mut rig = Rig::start().await;
    let calendar = |name: &str, exceptions: Vec<Exception>| {
        let content = Content {
            name: name.to_owned(),
            doors: vec![rig.door("Workshop")],
            exceptions: exceptions.into_iter().map(|exception| (None, exception)).collect(),
        };
        rig.world.write_calendar(None, content).unwrap().id.clone()
    };
    let today =
        TimeZoneDatabase::bundled().get("Europe/Amsterdam").unwrap().to_datetime(clock::now().utc).date();
    let all_day = Exception::once(
        DoorStatus::AccessControlled,
        today,
        "00:00".parse().unwrap(),
        "23:59".parse().unwrap(),
    );
    let (ours, theirs) = (calendar("Holidays", vec![all_day]), calendar("Not ours", Vec::new()));
    rig.config.set("/calendars/show", true);
    rig.config.set("/calendars/allow", json!([ours]));
    rig.config.set("/poll/calendars", "10s");
    (rig, ours, theirs)
}

fn day() -> String {
    (clock::now().utc + SignedDuration::from_hours(72)).strftime("%Y-%m-%d").to_string()
}

fn noon() -> Value {
    json!({ "date": day(), "start": "12:00", "end": "13:00", "mode": "unlocked" })
}

fn exceptions(rig: &Rig, calendar: &str) -> usize {
    let calendars = rig.world.calendars();
    calendars.iter().find(|known| known.id == calendar).unwrap().exceptions.len()
}

/// Writes to calendars that the vendor was asked for.
fn writes(rig: &Rig) -> Vec<Endpoint> {
    rig.acts().iter().map(|act| act.endpoint).collect()
}

#[tokio::test]
async fn calendars_are_shown_and_doors_tell_what_is_in_force() {
    let (rig, ours, theirs) = rig().await;
    let _gateway = rig.run_ready().await;
    let door = rig.door("Workshop");
    let shown: Value = eventually("the calendar is shown", async || {
        let text = rig.retained(&format!("verkada/calendar/{ours}"))?;
        Some(serde_json::from_str(&text).unwrap())
    })
    .await;
    assert_eq!((&shown["name"], &shown["own"]), (&json!("Holidays"), &json!(false)));
    assert_eq!((&shown["doors"], &shown["door_names"]), (&json!([door]), &json!(["Workshop"])));
    assert_eq!(shown["exceptions"][0]["mode"], "credential");
    let told: Value = eventually("the door tells the exception", async || {
        let text = rig.retained(&format!("verkada/door/{door}/attributes"))?;
        let attributes: Value = serde_json::from_str(&text).unwrap();
        Some(attributes["exception"].clone()).filter(|told| told["mode"] == "credential")
    })
    .await;
    let until: Timestamp = told["until"].as_str().unwrap().parse().unwrap();
    assert!(until > clock::now().utc && until < clock::now().utc + 25.hours(), "{told}");
    let client = rig.client().await;
    rig.world.delete_calendar(&theirs);
    client.publish("verkada/bridge/refresh/set", "").await;
    eventually("what is gone is cleared", async || {
        rig.retained(&format!("verkada/calendar/{theirs}")).is_none().then_some(())
    })
    .await;
    assert_eq!(writes(&rig), []);
}

#[tokio::test]
async fn an_exception_is_changed_over_mqtt_and_only_where_it_is_allowed() {
    let (rig, ours, theirs) = rig().await;
    let _gateway = rig.run_ready().await;
    let client = rig.client().await;
    let order = |id: &str| json!({ "action": "create", "id": id, "exception": noon() }).to_string();
    client.publish(&format!("verkada/calendar/{theirs}/set"), order("a")).await;
    let refused = client.result(&format!("calendar/{theirs}"), "a").await;
    assert_eq!((&refused["outcome"], &refused["reason"]), (&json!("refused"), &json!("not_allowed")));
    client.publish(&format!("verkada/calendar/{ours}/set"), order("b")).await;
    let done = client.result(&format!("calendar/{ours}"), "b").await;
    assert_eq!((&done["outcome"], &done["action"]), (&json!("done"), &json!("edit")), "{done}");
    let id = done["message"].as_str().unwrap().rsplit(' ').next().unwrap().to_owned();
    let changed = json!({ "action": "change", "id": "c", "exception_id": id, "exception": {
        "date": day(), "start": "12:00", "end": "14:00", "mode": "locked" } });
    client.publish(&format!("verkada/calendar/{ours}/set"), changed.to_string()).await;
    assert_eq!(client.result(&format!("calendar/{ours}"), "c").await["outcome"], "done");
    assert_eq!((exceptions(&rig, &ours), exceptions(&rig, &theirs)), (2, 0));
    let delete = json!({ "action": "delete", "id": "d", "exception_id": id });
    client.publish(&format!("verkada/calendar/{ours}/set"), delete.to_string()).await;
    assert_eq!(client.result(&format!("calendar/{ours}"), "d").await["outcome"], "done");
    assert_eq!(exceptions(&rig, &ours), 1);
    let endpoints = [Endpoint::CreateException, Endpoint::UpdateException, Endpoint::DeleteException];
    assert_eq!(writes(&rig), endpoints);
}

#[tokio::test]
async fn the_shell_lists_calendars_and_changes_those_that_are_allowed() {
    let (rig, ours, theirs) = rig().await;
    let listed = rig.config.run(&["calendar", "list"]).await;
    assert_eq!((listed.code(), listed.log.as_str()), (Some(0), ""), "{listed:?}");
    let lines: Vec<Vec<&str>> = listed.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["ID", "NAME", "DOORS", "EXCEPTIONS", "CHANGES"]);
    assert_eq!(lines[1], [&*ours, "Holidays", "1", "1", "allowed"]);
    assert_eq!(lines[2], [&*theirs, "Not", "ours", "1", "0", "not", "allowed"]);

    let noon = noon().to_string();
    let added = rig.config.run(&["calendar", "add", &ours, &noon]).await;
    assert_eq!((added.code(), added.log.as_str()), (Some(0), ""), "{added:?}");
    let id = added.out.rsplit(' ').next().unwrap().to_owned();
    assert_eq!(added.out, format!("the calendar has the exception; its id is {id}"));
    let again = rig.config.run(&["calendar", "add", &ours, &noon]).await;
    assert_eq!(
        again.out,
        format!("the calendar has the exception; its id is {id}; nothing had to be written")
    );
    let changed = noon.replace("13:00", "15:00");
    let changed = rig.config.run(&["calendar", "--json", "change", &ours, &id, &changed]).await;
    let told: Value = serde_json::from_str(&changed.out).unwrap();
    assert_eq!((&told["outcome"], &told["calendar"]["allowed"]), (&json!("done"), &json!(true)), "{told}");
    let shown = rig.config.run(&["calendar", "show", &ours]).await;
    let line = shown.out.lines().find(|line| line.starts_with(&id)).unwrap();
    let cells: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(cells, [&*id, &*day(), "12:00", "15:00", "unlocked", "-"]);
    let removed = rig.config.run(&["calendar", "remove", &ours, &id]).await;
    assert_eq!(removed.out, format!("the calendar has no exception {id} any more"));
    assert_eq!(exceptions(&rig, &ours), 1);
    let endpoints = [Endpoint::CreateException, Endpoint::UpdateException, Endpoint::DeleteException];
    assert_eq!(writes(&rig), endpoints);
    assert_eq!(rig.broker.retained("#"), [], "it asks nobody but the vendor");
}

#[tokio::test]
async fn the_shell_refuses_in_a_sentence_what_is_not_allowed_or_breaks_a_rule() {
    let (mut rig, ours, theirs) = rig().await;
    let noon = noon().to_string();
    let weekly = noon.replace('}', r#","recurrence":{"frequency":"WEEKLY","interval":1}}"#);
    let table: [(&[&str], &str); 6] = [
        (
            &["add", &theirs, &noon],
            "the configuration does not allow to change this calendar; calendars.allow names those that may be changed",
        ),
        (&["add", &ours, &weekly], "member exception: WEEKLY needs by_day"),
        (&["add", &ours, "{"], "the exception is no JSON: EOF while parsing an object at line 1 column 1"),
        (&["remove", &ours, "nobody"], "the calendar has no exception nobody that can be read"),
        (
            &["show", "nobody"],
            "no exception calendar has the id nobody; `verkada2mqtt calendar list` tells those that there are",
        ),
        (
            &["show", "a/b"],
            "\"a/b\" is no id of a calendar: an id holds '/'; allowed are 1 to 64 letters, digits and hyphens",
        ),
    ];
    for (args, told) in table {
        let ended = rig.config.run(&[&["calendar"], args].concat()).await;
        assert_eq!((ended.code(), ended.out.as_str()), (Some(1), ""), "{args:?}");
        assert_eq!(ended.log, format!("verkada2mqtt: {told}"), "{args:?}");
    }
    let lockdown = rig.scenario("Lockdown Heron Mill");
    rig.world.set_active(&lockdown, true).unwrap();
    let ended = rig.config.run(&["calendar", "add", &ours, &noon]).await;
    assert_eq!(ended.code(), Some(1));
    assert!(ended.log.contains("locks a door of this calendar"), "{}", ended.log);
    rig.config.set("/commands/read_only", true);
    let ended = rig.config.run(&["calendar", "add", &ours, &noon]).await;
    assert_eq!(ended.log, "verkada2mqtt: the configuration allows no command (commands.read_only)");
    assert_eq!(writes(&rig), []);
}

#[tokio::test]
async fn a_change_of_unknown_fate_is_looked_for_and_never_sent_again() {
    let (rig, ours, _) = rig().await;
    for (execute, code) in [(true, 0), (false, 1)] {
        let effect = Effect::Answer { status: 200, headers: BTreeMap::new(), body: "{}".to_owned(), execute };
        rig.world.inject(Fault::once(Endpoint::CreateException, effect)).unwrap();
        let exception = noon().to_string().replace("13:00", if execute { "14:00" } else { "15:00" });
        let (before, held) = (writes(&rig).len(), exceptions(&rig, &ours));
        let ended = rig.config.run(&["calendar", "add", &ours, &exception]).await;
        assert_eq!(ended.code(), Some(code), "{ended:?}");
        assert_eq!(writes(&rig).len(), before + 1);
        assert_eq!(exceptions(&rig, &ours), held + usize::from(execute));
        assert!(execute || ended.log.contains("it is not known whether it was done"), "{ended:?}");
    }
}
