//! A door that is held from Home Assistant: it is free at the vendor for exactly the time that was asked for, and shows it.

use jiff::{SignedDuration, Timestamp};

use super::*;

/// How long the shortest hold lasts, and how much later Home Assistant may show its end.
const HELD: Duration = Duration::from_mins(1);

/// The entities that hold the door.
struct Entities {
    mode: String,
    minutes: String,
    until: String,
    end: String,
    lock: String,
    /// What the calendars say of the door.
    exception: String,
}

pub(crate) fn check(place: &Place, building: &Building) {
    let mut assistant = Assistant::connect(&place.url, &place.token);
    let base_topic = "verkada-check-holds";
    withdraw(place, &mut assistant, base_topic);
    assistant.call("system_log.clear", &json!({}));
    let setup = Setup {
        api: building.vendor.base_url().as_str(),
        api_key: API_KEY,
        broker: &place.broker,
        discovery: "device",
        base_topic,
        door: building.door.as_str(),
    };
    let mut gateway = Gateway::start(&setup);
    let shown = Shown::wait_for(place, &mut assistant, building, "device", base_topic);
    let entities = Entities::find(&mut assistant, building);

    lasts_as_long_as_asked(&mut assistant, building, &entities);
    ends_early(&mut assistant, building, &entities);
    outlasts_the_gateway(&mut assistant, building, &mut gateway, &entities);

    gateway.stop();
    shown.wait_until_unavailable(&mut assistant);
    withdraw(place, &mut assistant, base_topic);
    let complaints = assistant.complaints("verkada");
    assert!(complaints.is_empty(), "Home Assistant's log complains:\n{}", complaints.join("\n"));
}

impl Entities {
    fn find(assistant: &mut Assistant, building: &Building) -> Self {
        let ours = assistant.entities();
        let find = |what: &str| {
            let unique_id = format!("verkada2mqtt_{}_{what}", building.door);
            let entity = ours.iter().find(|entity| entity.unique_id == unique_id);
            entity.unwrap_or_else(|| panic!("there is no {unique_id}")).id.clone()
        };
        Self {
            mode: find("hold"),
            minutes: find("hold_minutes"),
            until: find("hold_until"),
            end: find("end_hold"),
            lock: find("lock"),
            exception: find("exception"),
        }
    }

    /// Sets the minutes, chooses the mode, and waits until lock, mode and end show it; returns when it was asked for.
    fn unlock_for(&self, assistant: &mut Assistant, minutes: i64) -> Timestamp {
        assistant.call("number.set_value", &json!({"entity_id": self.minutes, "value": minutes}));
        shows(assistant, &self.minutes, &minutes.to_string());
        let asked = clock::now().utc;
        assistant.call("select.select_option", &json!({"entity_id": self.mode, "option": "Unlocked"}));
        shows(assistant, &self.lock, "unlocked");
        shows(assistant, &self.mode, "Unlocked");
        shows(assistant, &self.exception, "unlocked");
        let until = assistant.states().get(&self.until).cloned().unwrap_or_default();
        let until: Timestamp = until.parse().unwrap_or_else(|_| panic!("{until:?} is no time"));
        let lasts = until.duration_since(asked);
        let off = lasts - SignedDuration::from_mins(minutes);
        assert!(off.abs() <= SignedDuration::from_secs(3), "Hold until is {until}, asked at {asked}");
        asked
    }

    fn is_over(&self, assistant: &mut Assistant) {
        shows(assistant, &self.lock, "locked");
        shows(assistant, &self.mode, "Schedule");
        shows(assistant, &self.exception, "schedule");
        shows(assistant, &self.until, "unknown");
    }
}

fn shows(assistant: &mut Assistant, entity: &str, state: &str) {
    let limit = HELD + DONE_WITHIN;
    wait(assistant, limit, &format!("{entity} to show {state}"), |assistant| {
        let states = assistant.states();
        let is = states.get(entity)?;
        // Numbers come with or without a fraction of nothing.
        (is == state || is.strip_suffix(".0") == Some(state)).then_some(())
    });
}

/// When the door is free from now on, as its calendars say.
fn free(building: &Building, from: Timestamp) -> Vec<(Timestamp, Timestamp)> {
    let until = from + SignedDuration::from_hours(24);
    let free = building.vendor.handle().free(&building.door, from, until).expect("the door is there");
    free.iter().map(|free| (free.from, free.until)).collect()
}

fn is_free(building: &Building) -> bool {
    building.vendor.handle().is_free(&building.door, clock::now().utc).expect("the door is there")
}

fn lasts_as_long_as_asked(assistant: &mut Assistant, building: &Building, entities: &Entities) {
    let asked = entities.unlock_for(assistant, 1);
    assert!(is_free(building));
    let ended = wait(assistant, HELD + DONE_WITHIN, "the door to lock", |_| {
        (!is_free(building)).then(|| clock::now().utc)
    });
    let off = ended.duration_since(asked) - SignedDuration::from_secs(60);
    assert!(off.abs() <= SignedDuration::from_secs(3), "it was held for a minute and {off}");
    entities.is_over(assistant);
}

fn ends_early(assistant: &mut Assistant, building: &Building, entities: &Entities) {
    for how in ["button.press", "lock.lock", "select.select_option"] {
        let asked = entities.unlock_for(assistant, 30);
        let stored = free(building, asked);
        let [(_, until)] = stored.as_slice() else { panic!("{stored:?}") };
        let over = until.duration_since(asked) - SignedDuration::from_mins(30);
        assert!(SignedDuration::ZERO <= over && over <= SignedDuration::from_secs(63), "{stored:?}");
        match how {
            "button.press" => assistant.call(how, &json!({"entity_id": entities.end})),
            "lock.lock" => assistant.call(how, &json!({"entity_id": entities.lock})),
            _ => assistant.call(how, &json!({"entity_id": entities.mode, "option": "Schedule"})),
        }
        entities.is_over(assistant);
        assert!(!is_free(building), "{how} ends it");
        assert_eq!(free(building, clock::now().utc), []);
    }
}

/// The end stands at the vendor, and the next run knows the hold.
fn outlasts_the_gateway(
    assistant: &mut Assistant,
    building: &Building,
    gateway: &mut Gateway,
    entities: &Entities,
) {
    let asked = entities.unlock_for(assistant, 30);
    gateway.kill();
    let stored = free(building, asked);
    let [(_, until)] = stored.as_slice() else { panic!("{stored:?}") };
    let lasts = until.duration_since(asked);
    assert!(lasts >= SignedDuration::from_mins(30) && lasts <= SignedDuration::from_mins(31), "{stored:?}");
    shows(assistant, &entities.lock, "unavailable");
    gateway.start_again();
    shows(assistant, &entities.lock, "unlocked");
    shows(assistant, &entities.mode, "Unlocked");
    assistant.call("button.press", &json!({"entity_id": entities.end}));
    entities.is_over(assistant);
    assert!(!is_free(building));
}
