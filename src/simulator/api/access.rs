//! Who may pass: users, groups and access levels (`verkada-api.md` 10).

use serde_json::{Value, json};

use super::{Query, Reply, Vendor};
use crate::simulator::{organisation::Level, shape};

impl Vendor {
    pub(super) fn list_users(&self, query: &Query) -> Reply {
        let visitors = query.one("include_visitors") == Some("true");
        let shown = self.world.people.iter().filter(|person| visitors || !person.visitor);
        Reply::ok(json!({ "access_members": shown.map(|person| shape::member(person)).collect::<Vec<_>>() }))
    }

    pub(super) fn show_user(&self, query: &Query) -> Reply {
        let keys = ["user_id", "external_id", "email", "employee_id"];
        let mut given = keys.into_iter().filter_map(|key| query.one(key).map(|value| (key, value)));
        let (Some((key, value)), None) = (given.next(), given.next()) else {
            return Reply::bad_request(
                "exactly one of user_id, external_id, email and employee_id is required",
            );
        };
        let found = self.world.people.iter().find(|person| match key {
            "user_id" => person.id == value,
            "external_id" => person.external_id == value,
            "email" => person.email == value,
            _ => false,
        });
        found.map_or_else(Reply::not_found, |person| Reply::ok(shape::user(person, &self.world.groups)))
    }

    pub(super) fn show_group(&self, query: &Query) -> Reply {
        let Some(id) = query.one("group_id") else { return Reply::bad_request("group_id is required") };
        let Some(group) = self.world.groups.iter().find(|group| group.id == id) else {
            return Reply::not_found();
        };
        let people = self.world.people.iter().filter(|person| person.groups.contains(&group.id));
        let user_ids: Vec<&str> = people.map(|person| person.id.as_str()).collect();
        Reply::ok(json!({ "group_id": group.id, "name": group.name, "user_ids": user_ids }))
    }

    pub(super) fn list_groups(&self) -> Reply {
        let groups: Vec<Value> = self.world.groups.iter().map(shape::group).collect();
        Reply::ok(json!({ "access_groups": groups }))
    }

    pub(super) fn list_levels(&self) -> Reply {
        let levels = self.world.levels.iter().filter(|level| self.manages_level(level));
        let levels: Vec<Value> = levels.map(|level| shape::level(level, self.world.started.utc)).collect();
        Reply::ok(json!({ "access_levels": levels }))
    }

    pub(super) fn show_level(&self, id: Option<&str>) -> Reply {
        match self.world.levels.iter().find(|level| Some(level.id.as_str()) == id) {
            None => Reply::not_found(),
            Some(level) if !self.manages_level(level) => Reply::forbidden(),
            Some(level) => Reply::ok(shape::level(level, self.world.started.utc)),
        }
    }

    fn manages_level(&self, level: &Level) -> bool {
        level.sites.iter().all(|site| self.manages(site))
    }
}
