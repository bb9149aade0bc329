//! `verkada2mqtt access`: asks the vendor which access levels and groups may pass which doors, and when.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde_json::json;

use crate::{
    app,
    ask::{self, NOTHING, one_line, table},
    config::Config,
    hass::{
        access::{Pass, group_names},
        name,
    },
    model::{AccessLevel, Answer, Door, Fault, GroupId, Inventory, Request},
    verkada::{self, Client},
};

/// The heads of the columns.
const HEADS: [&str; COLUMNS] = ["DOOR", "SITE", "LEVEL", "GROUPS", "WHEN", "TIME ZONE"];
const COLUMNS: usize = 6;

/// Why nothing is listed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client of the API, or its token.
    #[error("{0}")]
    Client(#[from] verkada::Error),
    /// A list that is needed cannot be read.
    #[error("{0}")]
    Fault(#[from] Fault),
    /// The vendor answered something else than what was asked for.
    #[error("{0}: the answer does not fit the request")]
    Misfit(&'static str),
    /// No door is meant.
    #[error("no door has the id or the exact name {0:?}; without --door all {1} doors are listed")]
    NoDoor(String, usize),
}

/// What the vendor told.
#[derive(Debug)]
pub struct Found {
    /// The doors that were asked for, and by which levels each may be passed, by name.
    doors: Vec<(Door, Vec<Pass>)>,
    /// What could not be read.
    pub notes: Vec<String>,
}

/// Asks for all doors, or for those with an id or a name.
///
/// # Errors
/// If the doors or their access levels cannot be read, or no door is meant.
pub async fn ask(config: &Config, door: Option<&str>) -> Result<Found, Error> {
    let client = Client::new(app::client_settings(config))?;
    let Answer::Doors(doors) = ask::ask(&client, 1, Request::ListDoors).await? else {
        return Err(Error::Misfit("list doors"));
    };
    let mut notes = doors.skipped;
    let all = doors.items.len();
    let chosen = |door: &Door| config.doors.settings.get(&door.id).and_then(|own| own.name.as_deref());
    let mut doors = doors.items;
    if let Some(wanted) = door {
        let is_meant = |name: Option<&str>| name.and_then(name::shown).as_deref() == Some(wanted);
        doors.retain(|door| {
            door.id.as_str() == wanted || is_meant(door.name.as_deref()) || is_meant(chosen(door))
        });
        if doors.is_empty() {
            return Err(Error::NoDoor(wanted.to_owned(), all));
        }
    }
    let Answer::AccessLevels(levels) = ask::ask(&client, 2, Request::ListAccessLevels).await? else {
        return Err(Error::Misfit("list access levels"));
    };
    let groups = match ask::ask(&client, 3, Request::ListAccessGroups).await {
        Ok(Answer::AccessGroups(groups)) => {
            notes.extend(groups.skipped);
            group_names(&groups.items)
        }
        Ok(_) => return Err(Error::Misfit("list access groups")),
        Err(fault) => {
            notes.push(format!("groups are named after their ids: {fault}"));
            BTreeMap::new()
        }
    };
    notes.extend(levels.skipped.iter().cloned());
    let mut doors: Vec<_> = doors.into_iter().map(|door| with_passes(door, &levels, &groups)).collect();
    doors.sort_by_cached_key(|(door, _)| (door_name(door), site_name(door), door.id.clone()));
    Ok(Found { doors, notes: notes.into_iter().map(|note| one_line(&note)).collect() })
}

fn with_passes(
    door: Door,
    levels: &Inventory<AccessLevel>,
    groups: &BTreeMap<GroupId, String>,
) -> (Door, Vec<Pass>) {
    let covering = levels.items.iter().filter(|level| level.covers(&door));
    let mut passes: Vec<Pass> = covering.map(|level| Pass::of(level, groups)).collect();
    passes.sort_unstable();
    (door, passes)
}

impl Found {
    /// Writes a table: a line for each level of each door.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn table(&self, out: &mut impl Write) -> io::Result<()> {
        let heads = [HEADS.map(str::to_owned)].into_iter();
        table(&heads.chain(self.doors.iter().flat_map(rows)).collect::<Vec<_>>(), out)
    }

    /// Writes an object a door.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn json(&self, out: &mut impl Write) -> io::Result<()> {
        for (door, passes) in &self.doors {
            let pass = |pass: &Pass| {
                let Pass { level, groups, when, partial } = pass;
                json!({ "level": level, "groups": groups, "when": when, "partial": partial })
            };
            let told = json!({
                "door_id": door.id.as_str(),
                "door": door.name.as_deref().and_then(name::shown),
                "site": site_name(door),
                "time_zone": door.time_zone.as_deref(),
                "access": passes.iter().map(pass).collect::<Vec<_>>(),
            });
            writeln!(out, "{told}")?;
        }
        Ok(())
    }
}

fn rows((door, passes): &(Door, Vec<Pass>)) -> Vec<[String; COLUMNS]> {
    let nothing = || NOTHING.to_owned();
    let zone = || door.time_zone.as_deref().and_then(name::shown).unwrap_or_else(nothing);
    let row = |level, groups, when, zone| {
        [door_name(door), site_name(door).unwrap_or_else(nothing), level, groups, when, zone]
    };
    if passes.is_empty() {
        return vec![row(nothing(), nothing(), "never".to_owned(), nothing())];
    }
    let of = |pass: &Pass| {
        let mark = if pass.partial { " (in part: the rest cannot be read)" } else { "" };
        let groups = if pass.groups.is_empty() { nothing() } else { pass.groups.join(", ") };
        row(pass.level.clone(), groups, format!("{}{mark}", pass.when), zone())
    };
    passes.iter().map(of).collect()
}

fn door_name(door: &Door) -> String {
    door.name.as_deref().and_then(name::shown).unwrap_or_else(|| door.id.as_str().to_owned())
}

fn site_name(door: &Door) -> Option<String> {
    door.site.as_ref()?.name.as_deref().and_then(name::shown)
}
