//! After an activate: which doors of an active scenario are proven to be locked, door by door. That the list calls the
//! scenario active proves no door.

use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use super::{Bridge, doors::Doors, report::Report, scenarios::Record};
use crate::{
    hass::{
        name,
        payload::{self, Verb},
    },
    model::{DoorId, Outcome, Target},
};

/// How many bytes unconfirmed doors take in the attributes of a scenario, of the 16 KiB that Home Assistant records ...
const ROOM: usize = 9_000;
/// ... less this for each door that the scenario locks, whose ids stand there too ...
const LISTED: usize = 39;
/// ... as far as they are listed.
const MAX_LISTED: usize = 200;
/// What one of them takes beside its name.
const NAMELESS: usize = 64;

/// From when on evidence confirms that a scenario locked a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// Lockdown events from then on do: they happen only because of a scenario.
    pub(super) lockdown: Timestamp,
    /// Lock events do only after this: the door may have locked for another reason right before it.
    pub(super) locked: Timestamp,
}

impl Window {
    /// `sent` is when an activate of ours was sent that led to it, `after` the last reading that showed the scenario
    /// inactive, and `by` the first that showed it active.
    pub(super) fn new(sent: Option<Timestamp>, after: Option<Timestamp>, by: Timestamp) -> Self {
        let earliest = sent.or(after).unwrap_or(by);
        // Event times are whole seconds.
        let cut = i64::from(earliest.subsec_nanosecond());
        let lockdown = earliest.checked_sub(cut.nanoseconds()).unwrap_or(earliest);
        Self { lockdown, locked: sent.unwrap_or(by) }
    }
}

/// The doors of an active scenario.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tally<'a> {
    total: usize,
    unconfirmed: Vec<&'a DoorId>,
}

impl<'a> Tally<'a> {
    /// Counts the doors that the scenario locks; `None` unless it is active and locks any.
    pub(super) fn of(record: &'a Record, doors: &Doors) -> Option<Self> {
        let window = record.window()?;
        let to_lock = &record.scenario.doors_to_lock;
        let unconfirmed = to_lock.iter().filter(|door| !doors.confirms(door, window)).collect();
        (!to_lock.is_empty()).then_some(Self { total: to_lock.len(), unconfirmed })
    }

    /// How many doors are confirmed.
    pub(super) const fn confirmed(&self) -> usize {
        self.total - self.unconfirmed.len()
    }

    /// For instance `3/7`.
    pub(super) fn word(this: Option<&Self>) -> String {
        this.map_or_else(
            || payload::UNKNOWN.to_owned(),
            |tally| format!("{}/{}", tally.confirmed(), tally.total),
        )
    }

    fn sentence(&self) -> String {
        format!("{} of {} doors are confirmed locked so far", self.confirmed(), self.total)
    }

    /// How many doors are confirmed, and how many and which are not; `null` where there is nothing to confirm.
    pub(super) fn members(this: Option<&Self>, doors: &Doors) -> [(&'static str, Value); 3] {
        let name = |id: &DoorId| name::shown(doors.listed(id)?.0.name.as_deref()?);
        let named = |tally: &Self| {
            let mut room = ROOM.saturating_sub(LISTED * tally.total.min(MAX_LISTED));
            let one = |id: &&DoorId| {
                let name = name(id);
                room = room.checked_sub(NAMELESS + name.as_ref().map_or(0, String::len))?;
                Some(json!({ "id": id.as_str(), "name": name }))
            };
            tally.unconfirmed.iter().map_while(one).collect::<Vec<_>>()
        };
        [
            ("doors_confirmed", json!(this.map(Self::confirmed))),
            ("doors_unconfirmed_count", json!(this.map(|tally| tally.unconfirmed.len()))),
            ("doors_unconfirmed", json!(this.map(named))),
        ]
    }
}

impl Bridge {
    /// Adds to the result of an activate which doors are proven to be locked.
    pub(super) fn with_tally(&self, mut report: Report) -> Report {
        if let (Some(Verb::Activate), Outcome::Done) = (report.origin.verb, report.outcome)
            && let Target::Scenario(id) = &report.origin.target
            && let Some(tally) = self.scenarios.get(id).and_then(|record| Tally::of(record, &self.doors))
        {
            report.message.push_str("; ");
            report.message.push_str(&tally.sentence());
        }
        report
    }
}
