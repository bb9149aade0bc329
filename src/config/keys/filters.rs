//! `doors`, `scenarios` and `events`: which ones, what of them, and settings of single doors.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    str::FromStr,
    time::Duration,
};

use super::text;
use crate::config::{
    reader::{Problem, Section, Spot},
    settings::{DoorSettings, Doors, Events, Scenarios},
};
use crate::model::Privacy;

pub(super) fn doors(section: &mut Section<'_, '_>) -> Doors {
    let (include, exclude) = filters(section, "doors");
    Doors {
        include,
        exclude,
        assume_locked: section
            .key(
                "assume_locked",
                "Whether a door of which nothing is known shows as locked in place of \
                 unknown; a door's own setting wins.",
            )
            .boolean(false),
        ignore_dpi_relock: section
            .key(
                "ignore_dpi_relock",
                "Whether an unlock lasts its whole time although the door is opened, as with the \
                 option of this name in Verkada Command; a door's own setting wins.",
            )
            .boolean(true),
        open_unproven_after: section
            .key(
                "open_unproven_after",
                "How long a door that never told of being closed is shown as open; then its \
                 position is unknown.",
            )
            .duration(Duration::from_mins(15), Duration::from_mins(1)..=Duration::from_hours(24)),
        settings: section.sections(
            "settings",
            "Settings of single doors, by id; only in the \
             file.",
            |door| DoorSettings {
                name: door
                    .key("name", "Shown in place of Verkada's name.")
                    .parsed(&text::name_rule(), text::name)
                    .ok()
                    .flatten()
                    .map(|found| found.value),
                unlock: door.key("unlock", "In place of commands.unlock.").optional_boolean(),
                hold: door.key("hold", "In place of commands.hold.").optional_boolean(),
                code: door
                    .key("code", "Whether unlocking or holding this door needs the code, in place of commands.code_for.")
                    .optional_boolean(),
                assume_locked: door
                    .key("assume_locked", "In place of doors.assume_locked.")
                    .optional_boolean(),
                ignore_dpi_relock: door
                    .key("ignore_dpi_relock", "In place of doors.ignore_dpi_relock.")
                    .optional_boolean(),
            },
        ),
    }
}

pub(super) fn scenarios(section: &mut Section<'_, '_>) -> Scenarios {
    let (include, exclude) = filters(section, "scenarios");
    Scenarios { include, exclude }
}

pub(super) fn events(section: &mut Section<'_, '_>) -> Events {
    let words =
        [("none", Privacy::None), ("id", Privacy::Id), ("name", Privacy::Name), ("full", Privacy::Full)];
    Events {
        privacy: section
            .key(
                "privacy",
                "What access events tell of people. none: nothing. id: Verkada's id of the person. \
                 name: also the name. full: also the e-mail address. Card numbers and PINs are never told.",
            )
            .choice(&words, Privacy::None),
    }
}

fn filters<T: FromStr<Err: Display> + Ord + Display>(
    section: &mut Section<'_, '_>,
    what: &str,
) -> (BTreeSet<T>, BTreeSet<T>) {
    let include: BTreeMap<T, Spot> =
        section.key("include", &format!("If not empty, only the {what} with these ids.")).ids();
    let exclude: BTreeMap<T, Spot> =
        section.key("exclude", &format!("Never the {what} with these ids.")).ids();
    for (id, spot) in exclude.iter().filter(|(id, _)| include.contains_key(id)) {
        let problem =
            Problem::with_cure(format!("{id} is also in {what}.include"), "remove it from one of the two");
        section.refuse(spot, "exclude", problem);
    }
    (include.into_keys().collect(), exclude.into_keys().collect())
}
