//! `doors` and `scenarios`: what there is, and how it is.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{
    Error,
    house::{House, Thing},
    line::{Line, Patience},
};
use crate::{
    ask::{NOTHING, table},
    config::Asker,
    hass::Topics,
    model::{DoorId, Qos, ScenarioId},
};

/// What stands for a state that nobody knows.
const UNKNOWN: &str = "unknown";

/// What was found.
#[derive(Debug)]
pub struct Listed {
    heads: &'static [&'static str],
    rows: Vec<Vec<String>>,
    objects: Vec<Value>,
    /// Why nothing of it is known to be true now, if that is so.
    pub doubt: Option<&'static str>,
}

impl Listed {
    /// Writes a table.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn table(&self, out: &mut impl Write) -> io::Result<()> {
        let heads: Vec<String> = self.heads.iter().map(|head| (*head).to_owned()).collect();
        let rows: Vec<&Vec<String>> = [&heads].into_iter().chain(&self.rows).collect();
        table(&rows, out)
    }

    /// Writes one object a line.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn json(&self, out: &mut impl Write) -> io::Result<()> {
        self.objects.iter().try_for_each(|object| writeln!(out, "{object}"))
    }
}

/// Looks at the doors.
///
/// # Errors
/// If the broker does not serve.
pub async fn doors(asker: &Asker) -> Result<Listed, Error> {
    let house = look(asker, "doors", "door").await?;
    let name = |id: &DoorId, door: &Thing| shown_door(asker, id, door);
    let mut doors: Vec<_> = house.doors.iter().map(|(id, door)| (name(id, door), id, door)).collect();
    doors.sort_unstable_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
    let row = |(name, id, door): &(Option<String>, &DoorId, &Thing)| {
        vec![
            name.clone().unwrap_or_else(|| NOTHING.to_owned()),
            door.text("site").unwrap_or(NOTHING).to_owned(),
            door.state(&house).unwrap_or_else(|| UNKNOWN.to_owned()),
            door.position(&house).map_or(UNKNOWN, |word| position(&word)).to_owned(),
            control(door).to_owned(),
            id.as_str().to_owned(),
        ]
    };
    let object = |(name, id, door): &(Option<String>, &DoorId, &Thing)| {
        json!({
            "id": id.as_str(),
            "name": name,
            "site": door.attribute("site"),
            "available": door.is_available(&house),
            "state": door.state(&house),
            "position": door.position(&house).map(|word| position(&word)),
            "api_control_enabled": door.attribute("api_control_enabled"),
            "unavailable_reason": unavailable(door, &house),
        })
    };
    Ok(Listed {
        heads: &["door", "site", "state", "position", "control", "id"],
        rows: doors.iter().map(row).collect(),
        objects: doors.iter().map(object).collect(),
        doubt: house.doubt(),
    })
}

/// Looks at the scenarios.
///
/// # Errors
/// If the broker does not serve.
pub async fn scenarios(asker: &Asker) -> Result<Listed, Error> {
    let house = look(asker, "scenarios", "scenario").await?;
    let mut scenarios: Vec<_> = house
        .scenarios
        .iter()
        .map(|(id, scenario)| (scenario.text("name").map(str::to_owned), id, scenario))
        .collect();
    scenarios.sort_unstable_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
    let state = |scenario: &Thing| {
        scenario.state(&house).map(|word| if word == "on" { "active" } else { "inactive" })
    };
    let row = |(name, id, scenario): &(Option<String>, &ScenarioId, &Thing)| {
        vec![
            name.clone().unwrap_or_else(|| NOTHING.to_owned()),
            state(scenario).unwrap_or(UNKNOWN).to_owned(),
            scenario.attribute("doors_to_lock_count").to_string().replace("null", NOTHING),
            id.as_str().to_owned(),
        ]
    };
    let object = |(name, id, scenario): &(Option<String>, &ScenarioId, &Thing)| {
        json!({
            "id": id.as_str(),
            "name": name,
            "available": scenario.is_available(&house),
            "state": state(scenario),
            "doors_to_lock_count": scenario.attribute("doors_to_lock_count"),
            "unavailable_reason": unavailable(scenario, &house),
        })
    };
    Ok(Listed {
        heads: &["scenario", "state", "doors", "id"],
        rows: scenarios.iter().map(row).collect(),
        objects: scenarios.iter().map(object).collect(),
        doubt: house.doubt(),
    })
}

/// The topics that tell how things of a kind are.
fn filters(topics: &Topics, kind: &str) -> Vec<(String, Qos)> {
    let leaves = ["availability", "state", "position", "attributes"];
    let wanted = leaves.into_iter().filter(|leaf| kind == "door" || *leaf != "position");
    wanted.map(|leaf| (format!("{}/{kind}/+/{leaf}", topics.base()), Qos::AtLeastOnce)).collect()
}

async fn look(asker: &Asker, word: &str, kind: &str) -> Result<House, Error> {
    let mut line = Line::open(asker, word, |topics| filters(topics, kind))?;
    line.look(Patience::Short, |_| false, |_| ()).await?;
    let house = std::mem::take(&mut line.house);
    line.close().await;
    Ok(house)
}

/// The name that is shown of a door: the owner's, else the vendor's.
pub(super) fn shown_door(asker: &Asker, id: &DoorId, door: &Thing) -> Option<String> {
    let chosen = asker.doors.get(id).and_then(|settings| settings.name.clone());
    chosen.or_else(|| door.text("name").map(str::to_owned))
}

fn unavailable(thing: &Thing, house: &House) -> Option<String> {
    if thing.is_available(house) {
        return None;
    }
    let told = thing.text("unavailable_reason").map(str::to_owned);
    house
        .doubt()
        .map(str::to_owned)
        .or(told)
        .or_else(|| Some("it is not in the list of the vendor now".to_owned()))
}

fn position(word: &str) -> &'static str {
    if word == "on" { "open" } else { "closed" }
}

fn control(door: &Thing) -> &'static str {
    match door.attribute("api_control_enabled").as_bool() {
        Some(true) => "yes",
        Some(false) => "no",
        None => UNKNOWN,
    }
}
