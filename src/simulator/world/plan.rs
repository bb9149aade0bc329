//! What the controller of a door knows of exceptions, and which of them is in force when.

use std::collections::BTreeSet;

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::super::{
    calendar::{DoorStatus, Exception},
    switches::{CalendarOverlap, ExceptionStarted, LastMinute, Switches},
};

/// The exceptions for one door.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    /// The exceptions of all calendars of the door.
    entries: Vec<Planned>,
    /// The exceptions, with the day, for which a supervisor has badged.
    arrived: BTreeSet<(String, Date)>,
}

/// An exception in a plan.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    /// The key.
    pub(super) id: String,
    /// How new its calendar and it are: the higher of two was updated later.
    pub(super) updated: (u64, u64),
    /// When the vendor was told of its first day and its start.
    pub(super) known_at: Timestamp,
    /// What it says.
    pub(super) exception: Exception,
}

impl Plan {
    /// A plan for which nobody has badged yet.
    pub(super) const fn of(entries: Vec<Planned>) -> Self {
        Self { entries, arrived: BTreeSet::new() }
    }

    /// Takes the arrivals of supervisors over from the plan before.
    pub(super) fn following(mut self, before: &Self) -> Self {
        self.arrived.clone_from(&before.arrived);
        self
    }

    /// What the exceptions want of the door at a moment; `None` leaves it to the schedule.
    pub(super) fn in_force(&self, at: Timestamp, zone: &TimeZone, switches: &Switches) -> Option<DoorStatus> {
        let counts = switches.exception_end_2359 == LastMinute::Counts;
        let moment = zone.to_datetime(at);
        let in_force = self.entries.iter().filter(|planned| {
            let exception = &planned.exception;
            let day = moment.date();
            let missed = switches.exception_started == ExceptionStarted::NextStart
                && zone
                    .to_timestamp(day.to_datetime(exception.start))
                    .is_ok_and(|start| start < planned.known_at);
            let waits = exception.first_person_in && !self.arrived.contains(&(planned.id.clone(), day));
            exception.covers(moment, counts) && !missed && !waits
        });
        let chosen = match switches.calendar_overlap {
            CalendarOverlap::LastUpdated => in_force.max_by_key(|planned| planned.updated),
            CalendarOverlap::MostLocked => in_force.min_by_key(|planned| planned.exception.status),
            CalendarOverlap::MostOpen => in_force.max_by_key(|planned| planned.exception.status),
        };
        chosen.map(|planned| planned.exception.status)
    }

    /// The next moment after `after` at which another exception may be in force: an edge of one, the end of the
    /// day, or a change of the clocks. `None` without exceptions.
    pub(super) fn next_edge(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        if self.entries.is_empty() {
            return None;
        }
        let today = zone.to_datetime(after).date();
        let of_today = self.entries.iter().map(|planned| &planned.exception).filter(|one| one.is_on(today));
        let times = of_today.flat_map(|one| [today.to_datetime(one.start), today.to_datetime(one.end)]);
        let midnight = today.tomorrow().ok().map(|day| day.to_datetime(jiff::civil::Time::midnight()));
        let instants = times.chain(midnight).flat_map(|time| {
            // A time of day that comes twice is an edge both times.
            let of_clock = zone.to_ambiguous_timestamp(time);
            [of_clock.earlier().ok(), of_clock.later().ok()].into_iter().flatten()
        });
        let clock_change = zone.following(after).next().map(|change| change.timestamp());
        instants.chain(clock_change).filter(|edge| *edge > after).min()
    }

    /// A person of these groups has badged: the exceptions of now that wait for such a one begin.
    pub(super) fn arrive(&mut self, groups: &[String], at: Timestamp, zone: &TimeZone, switches: &Switches) {
        let counts = switches.exception_end_2359 == LastMinute::Counts;
        let moment = zone.to_datetime(at);
        for planned in &self.entries {
            let (exception, day) = (&planned.exception, moment.date());
            let leads = exception.first_person_in_groups.iter().any(|group| groups.contains(group));
            if exception.first_person_in && leads && exception.covers(moment, counts) {
                self.arrived.insert((planned.id.clone(), day));
            }
        }
    }
}
