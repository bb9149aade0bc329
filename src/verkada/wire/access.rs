//! Access levels and groups: who may pass which doors, and when (`verkada-api.md` 9.3, 10). Nobody's name is in them.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{cut, decode, id, ids, inventory, quoted, short, time_of_day};
use crate::model::{AccessGroup, AccessHours, AccessLevel, Inventory, Weekday};

/// The only word that lets people pass; no other is documented (`verkada-api.md` 9.3).
const GRANTED: &str = "access_granted";

/// The access levels. What inside of one cannot be read is left out alone.
pub(in crate::verkada) fn access_levels(body: &[u8]) -> Result<Inventory<AccessLevel>, String> {
    #[derive(Deserialize)]
    struct List<'a> {
        #[serde(borrow)]
        access_levels: Vec<&'a RawValue>,
    }
    let list: List<'_> = serde_json::from_slice(body).map_err(|e| short(&e))?;
    let read = |raw: &RawValue, lost: &mut Vec<String>| decode::<WireLevel>(raw)?.into_level(lost);
    Ok(inventory("access level", list.access_levels, |level| level.id.clone(), read))
}

/// The access groups.
pub(in crate::verkada) fn access_groups(body: &[u8]) -> Result<Inventory<AccessGroup>, String> {
    #[derive(Deserialize)]
    struct List<'a> {
        #[serde(borrow)]
        access_groups: Vec<&'a RawValue>,
    }
    let list: List<'_> = serde_json::from_slice(body).map_err(|e| short(&e))?;
    let read = |raw: &RawValue, _: &mut Vec<String>| decode::<WireGroup>(raw)?.into_group();
    Ok(inventory("access group", list.access_groups, |group| group.id.clone(), read))
}

#[derive(Deserialize)]
struct WireLevel {
    access_level_id: String,
    name: Option<String>,
    access_groups: Option<Vec<Option<String>>>,
    doors: Option<Vec<Option<String>>>,
    sites: Option<Vec<Option<String>>>,
    access_schedule_events: Option<Vec<Box<RawValue>>>,
}

impl WireLevel {
    fn into_level(self, lost: &mut Vec<String>) -> Result<AccessLevel, String> {
        let id = id("access_level_id", &self.access_level_id)?;
        let mut schedule = Vec::new();
        for (index, raw) in self.access_schedule_events.iter().flatten().enumerate() {
            match decode::<WireHours>(raw).and_then(|wire| wire.read()) {
                Ok(hours) => schedule.push(hours),
                Err(cause) => lost.push(format!("entry {index} of its schedule: {cause}")),
            }
        }
        let names_doors = self.doors.as_ref().is_some_and(|doors| !doors.is_empty());
        let doors = ids("a door", self.doors, lost);
        if names_doors && doors.is_empty() {
            // Without its doors it would pass for one about all doors of its sites.
            return Err("none of its doors can be read".to_owned());
        }
        Ok(AccessLevel {
            id,
            name: self.name.map(|name| cut(&name)),
            groups: ids("a group", self.access_groups, lost),
            doors,
            sites: ids("a site", self.sites, lost),
            schedule,
            partial: !lost.is_empty(),
        })
    }
}

#[derive(Deserialize)]
struct WireHours {
    weekday: Option<String>,
    start_time: Option<String>,
    end_time: Option<String>,
    door_status: Option<String>,
}

impl WireHours {
    fn read(&self) -> Result<AccessHours, String> {
        // Nobody is said to pass by a word whose meaning is not known.
        match self.door_status.as_deref() {
            Some(word) if word.eq_ignore_ascii_case(GRANTED) => {}
            Some(word) => return Err(format!("door_status: {} is not known", quoted(word))),
            None => return Err("door_status is missing".to_owned()),
        }
        let word = self.weekday.as_deref().ok_or("weekday is missing")?;
        let weekday = Weekday::of_vendor_word(&word.to_ascii_uppercase());
        Ok(AccessHours {
            weekday: weekday.ok_or_else(|| format!("weekday: {} is no day of the week", quoted(word)))?,
            start: time_of_day("start_time", self.start_time.as_deref())?,
            end: time_of_day("end_time", self.end_time.as_deref())?,
        })
    }
}

#[derive(Deserialize)]
struct WireGroup {
    group_id: Option<String>,
    name: Option<String>,
}

impl WireGroup {
    fn into_group(self) -> Result<AccessGroup, String> {
        let text = self.group_id.ok_or("group_id is missing")?;
        Ok(AccessGroup { id: id("group_id", &text)?, name: self.name.map(|name| cut(&name)) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn levels_and_groups_are_read_as_the_vendor_lists_them() {
        let body = include_bytes!("../../../tests/fixtures/verkada/access-levels-list.json");
        let list = access_levels(body).unwrap();
        assert_eq!((list.items.len(), list.skipped.len()), (1, 0), "{list:?}");
        let level = &list.items[0];
        assert_eq!(level.id.as_str(), "015f2ec2-477e-494f-ba0c-7ba1b06e485e");
        assert_eq!(level.name.as_deref(), Some("Facilities weekdays"));
        assert_eq!((level.groups.len(), level.doors.len(), level.sites.len()), (1, 2, 1));
        let hours: Vec<_> =
            level.schedule.iter().map(|one| format!("{} {} {}", one.weekday, one.start, one.end)).collect();
        assert_eq!(hours, ["MO 06:00:00 20:00:00", "TU 06:00:00 20:00:00"]);

        let body = include_bytes!("../../../tests/fixtures/verkada/access-groups-list.json");
        let list = access_groups(body).unwrap();
        let groups: Vec<_> =
            list.items.iter().map(|group| (group.id.as_str(), group.name.as_deref())).collect();
        assert_eq!(
            groups,
            [
                ("06531b2f-dee8-441d-bab6-e60dcb32f715", Some("Security")),
                ("7e8ea066-0052-4037-bacb-eddb7eea0595", Some("Facilities")),
                ("87098a5d-9fa8-44f9-b7aa-f673fb46bcf4", Some("Everyone")),
            ]
        );
        assert!(list.skipped.is_empty());
    }

    #[test]
    fn what_cannot_be_read_of_a_level_costs_itself_and_is_told() {
        let hours = |change: fn(&mut serde_json::Value)| {
            let mut hours = json!({"weekday": "MO", "start_time": "06:00:00", "end_time": "20:00", "door_status": GRANTED});
            change(&mut hours);
            hours
        };
        let body = json!({"access_levels": [
            {"access_level_id": "a", "name": null, "access_groups": null, "doors": ["d", null, "#"], "sites": null,
             "access_schedule_events": [
                hours(|_| {}),
                hours(|one| one["weekday"] = json!("XX")),
                hours(|one| one["weekday"] = json!(null)),
                hours(|one| one["start_time"] = json!("25:00")),
                hours(|one| one["end_time"] = json!(null)),
                hours(|one| one["door_status"] = json!("access_denied")),
                hours(|one| one["door_status"] = json!(null)),
                json!(null),
             ]},
            {"access_level_id": "b"},
            {"access_level_id": "a", "name": "again"},
            {"access_level_id": 5},
            {"access_level_id": "c/#"},
            {"access_level_id": "d", "doors": ["#", null], "sites": ["s"]},
        ]});
        let list = access_levels(body.to_string().as_bytes()).unwrap();
        assert_eq!(list.items.iter().map(|level| level.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((list.items[0].schedule.len(), list.items[0].doors.len()), (1, 1));
        assert_eq!((list.items[0].partial, list.items[1].partial), (true, false));
        let kept = "access level 0 of the list is kept without";
        assert_eq!(
            list.skipped[..8],
            [
                format!("{kept} entry 1 of its schedule: weekday: \"XX\" is no day of the week"),
                format!("{kept} entry 2 of its schedule: weekday is missing"),
                format!("{kept} entry 3 of its schedule: start_time: \"25:00\" is no time of day"),
                format!("{kept} entry 4 of its schedule: end_time is missing"),
                format!("{kept} entry 5 of its schedule: door_status: \"access_denied\" is not known"),
                format!("{kept} entry 6 of its schedule: door_status is missing"),
                format!(
                    "{kept} entry 7 of its schedule: invalid type: null, expected struct WireHours at line 1 column 4"
                ),
                format!("{kept} a door: an id holds '#'; allowed are 1 to 64 letters, digits and hyphens"),
            ]
        );
        let starts: Vec<_> = list.skipped[8..].iter().map(|text| text.split(':').next().unwrap()).collect();
        assert_eq!(starts, [3, 4, 5].map(|n| format!("access level {n} of the list is left out")));
        assert!(list.skipped[10].ends_with(": none of its doors can be read"), "{}", list.skipped[10]);

        let body = json!({"access_groups": [
            {"group_id": "a", "name": null, "user_ids": ["u"]}, {"group_id": null, "name": "N"}, {"group_id": "+"}, 5,
        ]});
        let list = access_groups(body.to_string().as_bytes()).unwrap();
        assert_eq!((list.items.len(), list.items[0].name.as_ref()), (1, None));
        assert_eq!(list.skipped[0], "access group 1 of the list is left out: group_id is missing");
        assert_eq!(list.skipped.len(), 3, "{:?}", list.skipped);
    }
}
