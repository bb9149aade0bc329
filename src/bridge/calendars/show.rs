//! What is shown of calendars, and of what they say of doors, where the owner wants it. It never decides anything: which of
//! several exceptions counts, and what a door makes of it, is not documented (`verkada-api.md` 9.2).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Calendars,
    outlook::{Outlook, Part, Spell},
};
use crate::{
    bridge::{Bridge, doors::Doors, holds::zone_of, poller::List, retained::Rank, view},
    hass::{calendar, name},
    model::{Calendar, CalendarId, DoorId, DoorMode, Now},
};

/// How many bytes the exceptions of a calendar take in what is shown of it; beyond it the oldest ones are left out.
const ROOM: usize = 12_000;
/// How many calendars the attributes of a door list for one time.
const MAX_LISTED_CALENDARS: usize = 3;
/// Where nothing changes by itself sooner, the days ahead are looked at again after this time.
const LOOKED_EVERY: Duration = Duration::from_hours(12);

/// What a later run must know of calendars.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::bridge) struct CalendarMemory {
    /// Those that are shown.
    pub(in crate::bridge) shown: BTreeSet<CalendarId>,
}

/// What is shown of calendars.
#[derive(Debug, Default)]
pub(in crate::bridge) struct Exceptions {
    memory: CalendarMemory,
    memory_changed: bool,
    /// By door; nothing where the calendars were not read lately.
    outlooks: BTreeMap<DoorId, Outlook>,
    /// The edition of the calendars that is shown; `None` where they were not read lately.
    shown: Option<u64>,
    /// Whether doors were listed since.
    doors_changed: bool,
    /// When an outlook changes by itself.
    changes_at: Option<Timestamp>,
}

impl Exceptions {
    pub(in crate::bridge) fn remembering(memory: CalendarMemory) -> Self {
        Self { memory, ..Self::default() }
    }

    /// What a later run must know.
    pub(in crate::bridge) fn remember(&mut self) -> CalendarMemory {
        self.memory_changed = false;
        self.memory.clone()
    }

    /// Whether that changed since it was asked for.
    pub(in crate::bridge) const fn is_memory_changed(&self) -> bool {
        self.memory_changed
    }

    /// Doors were listed.
    pub(in crate::bridge) const fn note_doors(&mut self) {
        self.doors_changed = true;
    }

    /// When [`Bridge::compare_exceptions`] has something to do.
    pub(in crate::bridge) fn next_change(&self, now: Now) -> Option<Instant> {
        self.changes_at.map(|at| now.when(at))
    }
}

/// Looks ahead for all listed doors. Most of them share their calendars, so each set of calendars is looked at once a zone.
fn look_ahead(calendars: &Calendars, doors: &Doors, now: Timestamp) -> BTreeMap<DoorId, Outlook> {
    let mut about: BTreeMap<&DoorId, Vec<&Calendar>> = BTreeMap::new();
    for calendar in calendars.iter() {
        for door in calendar.doors.iter().collect::<BTreeSet<_>>() {
            about.entry(door).or_default().push(calendar);
        }
    }
    let partial = !calendars.is_complete();
    let mut known: BTreeMap<(Option<&str>, Vec<&CalendarId>), Outlook> = BTreeMap::new();
    let mut outlooks = BTreeMap::new();
    for (id, door, _) in doors.iter() {
        let of_door = about.get(id).map(Vec::as_slice).unwrap_or_default();
        if of_door.is_empty() {
            outlooks.insert(id.clone(), Outlook::of_nothing(partial));
            continue;
        }
        let key = (door.time_zone.as_deref(), of_door.iter().map(|calendar| &calendar.id).collect());
        let outlook = known.entry(key).or_insert_with(|| {
            let zone: Option<TimeZone> = zone_of(doors, id);
            Outlook::of(zone.as_ref(), of_door, partial, now)
        });
        outlooks.insert(id.clone(), outlook.clone());
    }
    outlooks
}

impl Bridge {
    /// Shows what changed of calendars, and of what they say of doors.
    pub(in crate::bridge) fn compare_exceptions(&mut self, now: Now) {
        if !self.settings.calendars.show {
            return;
        }
        let edition = self.holds.calendars().edition();
        let shown = self.poller.is_fresh(List::Calendars, now).then_some(edition);
        let due = self.exceptions.changes_at.is_some_and(|at| at <= now.utc);
        let told = shown != self.exceptions.shown || std::mem::take(&mut self.exceptions.doors_changed);
        if !(told || due) {
            return;
        }
        self.exceptions.shown = shown;
        let outlooks = match shown {
            Some(_) => look_ahead(self.holds.calendars(), &self.doors, now.utc),
            None => BTreeMap::new(),
        };
        let edges = outlooks.values().filter_map(Outlook::changes_at);
        let again = shown.and_then(|_| now.utc.checked_add(LOOKED_EVERY).ok());
        self.exceptions.changes_at = edges.chain(again).min();
        let old = std::mem::replace(&mut self.exceptions.outlooks, outlooks);
        let new = &self.exceptions.outlooks;
        for door in old.keys().chain(new.keys()).filter(|door| old.get(*door) != new.get(*door)) {
            self.doors.touch(door);
        }
        if told {
            self.show_calendars(shown.is_some());
        }
    }

    /// Shows the calendars, or nothing of any while they are not known.
    fn show_calendars(&mut self, known: bool) {
        let calendars = self.holds.calendars().iter().filter(|_| known);
        let told: BTreeMap<CalendarId, Value> =
            calendars.map(|calendar| (calendar.id.clone(), self.told(calendar))).collect();
        let ids: BTreeSet<CalendarId> = told.keys().cloned().collect();
        for (id, told) in told {
            self.show(Rank::State, self.topics.calendar(&id), view::bytes_of(&told));
        }
        let before = &self.exceptions.memory.shown;
        if *before == ids {
            return;
        }
        let gone: BTreeSet<String> = before.difference(&ids).map(|id| self.topics.calendar(id)).collect();
        for topic in &gone {
            self.retained.clear(Rank::State, topic);
        }
        self.announcements.sweep(gone);
        self.exceptions.memory.shown = ids;
        self.exceptions.memory_changed = true;
    }

    fn told(&self, calendar: &Calendar) -> Value {
        let mut room = ROOM;
        let in_order = calendar::in_order(calendar);
        let listed: Vec<Value> = in_order
            .iter()
            .map_while(|exception| {
                let told = calendar::exception(exception);
                room = room.checked_sub(told.to_string().len() + 1)?;
                Some(told)
            })
            .collect();
        json!({
            "id": calendar.id,
            "name": calendar.name.as_deref().and_then(name::shown),
            "own": self.holds.owns(calendar),
            "doors": calendar.doors.iter().take(view::MAX_LISTED_DOORS).collect::<Vec<_>>(),
            "door_names": view::door_names(&calendar.doors, &self.doors),
            "doors_count": calendar.doors.len(),
            "exceptions_left_out": in_order.len() - listed.len(),
            "exceptions": listed,
            "partial": !calendar.skipped.is_empty(),
            "updated_at": calendar.updated_at.map(view::time),
        })
    }

    /// What the attributes of a door tell of exceptions: what is in force, and what comes next.
    pub(in crate::bridge) fn exception_members(&self, door: &DoorId) -> Vec<(&'static str, Value)> {
        if !self.settings.calendars.show {
            return Vec::new();
        }
        let outlook = self.exceptions.outlooks.get(door);
        let now = outlook.map(|outlook| {
            let spell = outlook.now.as_ref();
            json!({
                "mode": outlook.word(),
                "until": spell.map(|spell| view::time(spell.until)),
                "calendars": spell.map(|spell| self.parts(spell)).unwrap_or_default(),
            })
        });
        let next = outlook.and_then(|outlook| outlook.next.as_ref()).map(|spell| {
            json!({
                "mode": spell.mode().map(DoorMode::word),
                "from": view::time(spell.from),
                "until": view::time(spell.until),
                "calendars": self.parts(spell),
            })
        });
        vec![("exception", json!(now)), ("next_exception", json!(next))]
    }

    fn parts(&self, spell: &Spell) -> Vec<Value> {
        let name = |id: &CalendarId| {
            let calendar = self.holds.calendars().get(id)?;
            calendar.name.as_deref().and_then(name::shown)
        };
        let told = |part: &Part| {
            let mode = part.mode.map(DoorMode::word);
            json!({ "id": part.calendar, "name": name(&part.calendar), "mode": mode, "first_person_in": part.waits })
        };
        spell.parts.iter().take(MAX_LISTED_CALENDARS).map(told).collect()
    }

    /// Clears the calendars that an earlier run showed: what is still so is shown again once it is read.
    pub(in crate::bridge) fn sweep_calendars(&mut self) -> BTreeSet<String> {
        let shown = std::mem::take(&mut self.exceptions.memory.shown);
        self.exceptions.memory_changed |= !shown.is_empty();
        shown.iter().map(|id| self.topics.calendar(id)).collect()
    }
}
