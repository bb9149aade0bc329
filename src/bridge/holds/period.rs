//! From the wall-clock times that a calendar keeps to moments: the other way round than `window`.

use jiff::{
    Timestamp, ToSpan,
    civil::{Date, Time},
    tz::TimeZone,
};

use super::window::is_end_of_day;
use crate::model::{Calendar, DoorMode, Exception, ExceptionMode, Hours};

/// How a door is kept from a moment to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bridge) struct Period {
    pub(in crate::bridge) mode: DoorMode,
    pub(in crate::bridge) from: Timestamp,
    pub(in crate::bridge) until: Timestamp,
}

/// When our calendars keep a door at what, in order; what follows without a gap is one period. Repetitions and modes that
/// are not known are left out: they are never ours.
pub(super) fn periods<'a>(zone: &TimeZone, calendars: impl Iterator<Item = &'a Calendar>) -> Vec<Period> {
    let exceptions = calendars.flat_map(|calendar| &calendar.exceptions);
    let mut periods: Vec<Period> = exceptions.filter_map(|exception| period(zone, exception)).collect();
    periods.sort_by_key(|period| (period.from, period.until));
    let mut merged: Vec<Period> = Vec::new();
    for period in periods {
        match merged.last_mut().filter(|last| last.mode == period.mode && period.from <= last.until) {
            Some(last) => last.until = last.until.max(period.until),
            None => merged.push(period),
        }
    }
    merged
}

/// Whether an exception that does not repeat ended before the moment.
pub(super) fn is_over(zone: &TimeZone, exception: &Exception, now: Timestamp) -> bool {
    exception.recurrence.is_none() && ends(zone, exception).is_some_and(|end| end <= now)
}

fn period(zone: &TimeZone, exception: &Exception) -> Option<Period> {
    let ExceptionMode::Known(mode) = exception.mode else { return None };
    if exception.recurrence.is_some() {
        return None;
    }
    let (from, until) = moments(zone, exception.date, exception.hours)?;
    Some(Period { mode, from, until })
}

fn ends(zone: &TimeZone, exception: &Exception) -> Option<Timestamp> {
    end(zone, exception.date, exception.hours)
}

/// From when until when an exception with these hours counts on a day; `None` where the clock leaves all of it out.
pub(in crate::bridge) fn moments(zone: &TimeZone, day: Date, hours: Hours) -> Option<(Timestamp, Timestamp)> {
    let from = match hours {
        Hours::AllDay => moment(zone, day, Time::midnight())?,
        Hours::Between(start, _) => moment(zone, day, start)?,
    };
    let until = end(zone, day, hours)?;
    (from < until).then_some((from, until))
}

fn end(zone: &TimeZone, day: Date, hours: Hours) -> Option<Timestamp> {
    let next = match hours {
        Hours::Between(_, end) if !is_end_of_day(end) => return moment(zone, day, end),
        Hours::Between(..) | Hours::AllDay => day.checked_add(1.day()).ok()?,
    };
    moment(zone, next, Time::midnight())
}

/// Of a time that is shown twice the first one, and of one that is left out the moment at which the clock passes it.
fn moment(zone: &TimeZone, date: Date, at: Time) -> Option<Timestamp> {
    date.to_datetime(at).to_zoned(zone.clone()).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZoneDatabase;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        bridge::holds::{plan::Want, window},
        model::{CalendarId, DoorId},
    };

    fn calendar(exceptions: Vec<Exception>) -> Calendar {
        let id: CalendarId = "c-1".parse().unwrap();
        let doors: Vec<DoorId> = vec!["d-1".parse().unwrap()];
        Calendar { id, name: None, doors, exceptions, updated_at: None, skipped: Vec::new() }
    }

    proptest! {
        /// What was asked for is what is read back, over midnights and clock changes of many zones.
        #[test]
        fn what_is_written_is_read_back_as_the_same_time(
            zone in prop::sample::select(vec!["UTC", "Europe/Amsterdam", "America/New_York", "America/Havana",
                "Africa/Cairo", "Australia/Lord_Howe", "Pacific/Chatham"]),
            minute in 0_i64..(366 * 24 * 60),
            lasts in 1_i64..3_000,
        ) {
            let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
            let from = Timestamp::from_second(1_798_761_600 + minute * 60).unwrap();
            let until = from + lasts.minutes();
            if let Ok(stretches) = window::stretches(&zone, from, until) {
                let want = Want { mode: DoorMode::Unlocked, stretches, until };
                let calendar = calendar(want.exceptions());
                let read = periods(&zone, [&calendar].into_iter());
                prop_assert_eq!(read.len(), 1);
                let end = until.to_zoned(zone.clone()).time();
                let end = if is_end_of_day(end) { until + 1.minute() } else { until };
                prop_assert_eq!(read[0].until, end);
                // Where the hour before is shown twice, the written hours begin with the first time.
                prop_assert!(read[0].from <= from && from.duration_since(read[0].from) <= jiff::SignedDuration::from_hours(1));
                prop_assert!(calendar.exceptions.iter().all(|e| is_over(&zone, e, end)));
                prop_assert!(!calendar.exceptions.iter().all(|e| is_over(&zone, e, end - 1.second())));
            }
        }
    }
}
