//! `verkada2mqtt access`: asks the vendor which access levels and groups may pass which doors, and when.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use serde_json::json;

use crate::{
    app, clock,
    config::Config,
    hass::{
        access::{Pass, group_names},
        name,
    },
    model::{AccessLevel, Answer, Call, CallId, Door, Fault, GroupId, Inventory, Request},
    verkada::{self, Client, Permit},
};

/// How long a read may take before it is sent.
const WAITS: Duration = Duration::from_secs(10);
/// The heads of the columns.
const HEADS: [&str; COLUMNS] = ["DOOR", "SITE", "LEVEL", "GROUPS", "WHEN", "TIME ZONE"];
const COLUMNS: usize = 6;
/// What stands for nothing.
const NOTHING: &str = "-";

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
    let Answer::Doors(doors) = read(&client, 1, Request::ListDoors).await? else {
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
    let Answer::AccessLevels(levels) = read(&client, 2, Request::ListAccessLevels).await? else {
        return Err(Error::Misfit("list access levels"));
    };
    let groups = match read(&client, 3, Request::ListAccessGroups).await {
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

async fn read(client: &Client, id: u64, request: Request) -> Result<Answer, Fault> {
    let call = Call { id: CallId(id), request, send_before: clock::now().mono + WAITS, opening: None };
    client.call(&call, &Permit::always()).await.result
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
        let rows: Vec<[String; COLUMNS]> = self.doors.iter().flat_map(rows).collect();
        let mut widths = HEADS.map(width);
        for row in &rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = width(cell).max(*widest);
            }
        }
        for row in [HEADS.map(str::to_owned)].iter().chain(&rows) {
            let mut line = String::new();
            for (cell, widest) in row.iter().zip(widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', widest.saturating_sub(width(cell)) + 2));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
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

/// A sentence that may quote the vendor, on one line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn width(text: &str) -> usize {
    text.chars().count()
}
