//! Who may pass a door and when, in words: names of access levels and groups, and nobody's.

use std::collections::BTreeMap;

use super::name;
use crate::model::{AccessGroup, AccessLevel, GroupId};

/// What an access level says of every door that it is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pass {
    /// The name of the level.
    pub level: String,
    /// The names of the groups whose members may pass, sorted.
    pub groups: Vec<String>,
    /// When, in the time zone of the door.
    pub when: String,
    /// Whether something of the level could not be read, and is missing here.
    pub partial: bool,
}

impl Pass {
    /// Words a level. What has no name that can be shown is named after its id.
    pub fn of(level: &AccessLevel, groups: &BTreeMap<GroupId, String>) -> Self {
        let group =
            |id: &GroupId| groups.get(id).cloned().unwrap_or_else(|| named_after("Group", id.as_str()));
        let mut groups: Vec<String> = level.groups.iter().map(group).collect();
        groups.sort_unstable();
        let level_name = level.name.as_deref().and_then(name::shown);
        Self {
            level: level_name.unwrap_or_else(|| named_after("Level", level.id.as_str())),
            groups,
            when: level.when(),
            partial: level.partial,
        }
    }
}

/// The names of groups.
pub fn group_names(groups: &[AccessGroup]) -> BTreeMap<GroupId, String> {
    let name = |group: &AccessGroup| Some((group.id.clone(), name::shown(group.name.as_deref()?)?));
    groups.iter().filter_map(name).collect()
}

fn named_after(what: &str, id: &str) -> String {
    format!("{what} {}", id.chars().take(8).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fit_to_show_and_what_has_none_is_named_after_its_id() {
        let group = |id: &str, name: Option<&str>| AccessGroup {
            id: id.parse().unwrap(),
            name: name.map(str::to_owned),
        };
        let names = group_names(&[
            group("g-1", Some(" Sta\u{202e}ff\n")),
            group("g-2", None),
            group("g-3-of-a-long-id", Some(" \u{200b}")),
            group("g-4", Some("Cleaners")),
        ]);
        let level = AccessLevel {
            id: "015f2ec2-477e".parse().unwrap(),
            name: Some("\u{7}".to_owned()),
            groups: ["g-1", "g-2", "g-3-of-a-long-id", "g-4"].map(|id| id.parse().unwrap()).to_vec(),
            doors: Vec::new(),
            sites: Vec::new(),
            schedule: Vec::new(),
            partial: true,
        };
        let pass = Pass::of(&level, &names);
        assert_eq!(
            (pass.level.as_str(), pass.when.as_str(), pass.partial),
            ("Level 015f2ec2", "never", true)
        );
        assert_eq!(pass.groups, ["Cleaners", "Group g-2", "Group g-3-of-a", "Staff"]);
    }
}
