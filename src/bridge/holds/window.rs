//! From "keep it so until then" to the wall-clock times that the vendor keeps: minutes of days in the door's time zone.
//!
//! An exception counts while the clock on the wall shows its hours, as far as is known (`verkada-api.md` 9). Where clocks
//! go back, an hour is shown twice, and hours that end within it would come again: such a hold is refused rather than
//! opened a second time. Whatever is made here is compared, minute by minute, with what was asked for.

use jiff::{
    Timestamp,
    civil::{Date, Time, time},
    tz::TimeZone,
};

/// What stands for the end of a day, since no later time can be written.
const END_OF_DAY: Time = time(23, 59, 0, 0);
/// The latest begin of a stretch: no hours end when they begin.
const LATEST_START: Time = time(23, 58, 0, 0);
const MINUTE: i64 = 60;

/// Whether a time stands for the end of its day; the vendor may add seconds.
pub(super) fn is_end_of_day(at: Time) -> bool {
    (at.hour(), at.minute()) == (END_OF_DAY.hour(), END_OF_DAY.minute())
}

/// A stretch of one day on the clock of the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) date: Date,
    pub(super) start: Time,
    /// The first minute that does not belong to it; 23:59 stands for the end of the day.
    pub(super) end: Time,
}

/// Why a hold cannot be written down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    /// Its end, or a part of it, would come twice.
    #[error(
        "the clocks of {zone} are changed at about that time, and the hold would not end when it should, or come a second \
         time; let it end an hour earlier or an hour later"
    )]
    ClockChange { zone: String },
    /// The end is not after the begin.
    #[error("the hold would be over before it begins")]
    Empty,
}

impl Stretch {
    /// Whether the door is held when its clock shows this.
    fn shows(&self, date: Date, at: Time) -> bool {
        date == self.date && self.start <= at && (at < self.end || self.end == END_OF_DAY)
    }
}

/// The minute in which the moment lies.
fn minute_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(MINUTE)
}

/// The stretches that hold a door from the minute of `from` to the end of the minute before `until`, which is rounded up to
/// a full one; 23:59 to the end of the day.
pub(super) fn stretches(zone: &TimeZone, from: Timestamp, until: Timestamp) -> Result<Vec<Stretch>, Unfit> {
    let first = minute_of(from);
    let end = last_minute(zone, until);
    if end <= first {
        return Err(Unfit::Empty);
    }
    let unfit = || Unfit::ClockChange { zone: zone.iana_name().unwrap_or("the door").to_owned() };
    let mut stretches = Vec::new();
    let mut minute = first;
    while minute < end {
        let begin = moment(minute).ok_or(Unfit::Empty)?.to_zoned(zone.clone());
        let next_day = begin.tomorrow().and_then(|day| day.start_of_day()).map_err(|_| unfit())?;
        let next_day = minute_of(next_day.timestamp());
        if next_day <= minute {
            return Err(unfit());
        }
        let stop = moment(end.min(next_day)).ok_or(Unfit::Empty)?.to_zoned(zone.clone());
        let until = if end < next_day { stop.time() } else { END_OF_DAY };
        let start = begin
            .time()
            .min(LATEST_START)
            .min(shown_again(zone, &begin, stop.timestamp()).unwrap_or(Time::MAX));
        stretches.push(Stretch { date: begin.date(), start, end: until });
        minute = next_day;
    }
    if is_exact(zone, &stretches, first, end) { Ok(stretches) } else { Err(unfit()) }
}

/// The minute before which a hold until then ends.
fn last_minute(zone: &TimeZone, until: Timestamp) -> i64 {
    let full = minute_of(until) + i64::from(until.as_nanosecond().rem_euclid(60_000_000_000) != 0);
    let shown = moment(full).map(|at| zone.to_datetime(at).time());
    full + i64::from(shown == Some(END_OF_DAY))
}

/// From when on the clock is shown a second time within the stretch: the whole of what comes twice has to be within it.
fn shown_again(zone: &TimeZone, begin: &jiff::Zoned, stop: Timestamp) -> Option<Time> {
    let change = zone.following(begin.timestamp()).next()?;
    let after = change.timestamp().to_zoned(zone.clone());
    let goes_back = change.offset() < begin.offset();
    (goes_back && change.timestamp() < stop && after.date() == begin.date()).then(|| after.time())
}

/// Whether the clock shows the stretches exactly in these minutes, and in no later ones.
fn is_exact(zone: &TimeZone, stretches: &[Stretch], first: i64, end: i64) -> bool {
    // No clock is set back by more than a day.
    (first..end + 2 * 24 * 60).all(|minute| {
        let Some(at) = moment(minute) else { return false };
        let shown = zone.to_datetime(at);
        let held = stretches.iter().any(|stretch| stretch.shows(shown.date(), shown.time()));
        held == (minute < end)
    })
}

fn moment(minute: i64) -> Option<Timestamp> {
    Timestamp::from_second(minute.checked_mul(MINUTE)?).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::{ToSpan, tz::TimeZoneDatabase};
    use proptest::prelude::*;

    use super::*;

    const ZONES: [&str; 12] = [
        "UTC",
        "Europe/Amsterdam",
        "America/New_York",
        "America/Los_Angeles",
        "America/Havana",
        "America/Santiago",
        "Africa/Cairo",
        "Asia/Beirut",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",
        "Pacific/Chatham",
        "America/St_Johns",
    ];

    fn zone(name: &str) -> TimeZone {
        TimeZoneDatabase::bundled().get(name).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn told(zone_name: &str, from: &str, until: &str) -> Vec<String> {
        match stretches(&zone(zone_name), at(from), at(until)) {
            Ok(stretches) => stretches
                .iter()
                .map(|one| {
                    format!("{} {}-{}", one.date, one.start.strftime("%H:%M"), one.end.strftime("%H:%M"))
                })
                .collect(),
            Err(unfit) => vec![unfit.to_string()],
        }
    }

    #[test]
    fn a_hold_begins_with_the_present_minute_and_ends_with_a_full_one() {
        let zone = "Europe/Amsterdam";
        assert_eq!(told(zone, "2026-11-25T09:00:00Z", "2026-11-25T09:30:00Z"), ["2026-11-25 10:00-10:30"]);
        assert_eq!(
            told(zone, "2026-11-25T09:00:59.9Z", "2026-11-25T09:30:00.1Z"),
            ["2026-11-25 10:00-10:31"]
        );
        assert_eq!(told(zone, "2026-11-25T09:00:10Z", "2026-11-25T09:00:20Z"), ["2026-11-25 10:00-10:01"]);
        assert_eq!(
            told(zone, "2026-11-25T09:00:10Z", "2026-11-25T09:00:00Z"),
            ["the hold would be over before it begins"]
        );
    }

    #[test]
    fn midnight_divides_a_hold() {
        let zone = "Europe/Amsterdam";
        assert_eq!(
            told(zone, "2026-11-25T22:50:00Z", "2026-11-25T23:10:00Z"),
            ["2026-11-25 23:50-23:59", "2026-11-26 00:00-00:10"]
        );
        assert_eq!(told(zone, "2026-11-25T22:50:00Z", "2026-11-25T23:00:00Z"), ["2026-11-25 23:50-23:59"]);
        // The last minute of a day cannot be told from its end, and no hours end when they begin.
        assert_eq!(told(zone, "2026-11-25T22:50:00Z", "2026-11-25T22:59:00Z"), ["2026-11-25 23:50-23:59"]);
        assert_eq!(told(zone, "2026-11-25T22:59:30Z", "2026-11-25T23:00:00Z"), ["2026-11-25 23:58-23:59"]);
        assert_eq!(
            told("UTC", "2026-11-25T22:00:00Z", "2026-11-27T01:00:00Z"),
            ["2026-11-25 22:00-23:59", "2026-11-26 00:00-23:59", "2026-11-27 00:00-01:00"]
        );
    }

    #[test]
    fn what_would_come_twice_when_the_clocks_go_back_is_refused_and_nothing_else() {
        // 03:00 becomes 02:00 at 01:00 UTC.
        let zone = "Europe/Amsterdam";
        let refused = "the clocks of Europe/Amsterdam are changed at about that time, and the hold would not end when it \
                       should, or come a second time; let it end an hour earlier or an hour later";
        for (from, until, expected) in [
            ("2026-10-24T23:30:00Z", "2026-10-25T00:00:00Z", "2026-10-25 01:30-02:00"),
            ("2026-10-24T23:30:00Z", "2026-10-25T00:20:00Z", refused),
            ("2026-10-24T23:30:00Z", "2026-10-25T01:00:00Z", refused),
            ("2026-10-24T23:30:00Z", "2026-10-25T01:20:00Z", refused),
            ("2026-10-24T23:30:00Z", "2026-10-25T02:00:00Z", "2026-10-25 01:30-03:00"),
            ("2026-10-25T00:30:00Z", "2026-10-25T02:10:00Z", "2026-10-25 02:00-03:10"),
            ("2026-10-25T00:30:00Z", "2026-10-25T00:50:00Z", refused),
            ("2026-10-25T01:10:00Z", "2026-10-25T01:50:00Z", "2026-10-25 02:10-02:50"),
        ] {
            assert_eq!(told(zone, from, until), [expected], "{from} {until}");
        }
    }

    #[test]
    fn hours_that_the_clock_leaves_out_do_not_count() {
        // 02:00 becomes 03:00 at 01:00 UTC.
        let zone = "Europe/Amsterdam";
        assert_eq!(told(zone, "2026-03-29T00:50:00Z", "2026-03-29T01:20:00Z"), ["2026-03-29 01:50-03:20"]);
        assert_eq!(told(zone, "2026-03-29T00:50:00Z", "2026-03-29T01:00:00Z"), ["2026-03-29 01:50-03:00"]);
    }

    #[test]
    fn where_midnight_itself_is_shown_twice_a_hold_that_lasts_through_both_is_exact() {
        // 24:00 becomes 23:00 on 30 October 2026 in Cairo, 21:00 UTC.
        let whole = told("Africa/Cairo", "2026-10-29T19:30:00Z", "2026-10-29T22:30:00Z");
        assert_eq!(whole, ["2026-10-29 22:30-23:59", "2026-10-30 00:00-00:30"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        /// Near clock changes and midnights of many zones: the minutes held are the minutes asked for, or the hold is
        /// refused, and that only where clocks go back within a day.
        #[test]
        fn the_minutes_held_are_those_asked_for(
            zone_index in 0..ZONES.len(),
            year in 2026_i16..2036,
            nth in 0_usize..3,
            before in 0_i64..2_000,
            seconds in 0_i64..60,
            lasts in 1_i64..1_500,
        ) {
            let zone = zone(ZONES[zone_index]);
            let january = jiff::civil::date(year, 1, 1).to_zoned(zone.clone()).unwrap().timestamp();
            let change = zone.following(january).take(nth).last().map_or(january, |change| change.timestamp());
            let from = change - (before * 60 - seconds).seconds();
            let until = from + lasts.minutes();
            let held = stretches(&zone, from, until);
            let full = minute_of(until) + i64::from(seconds != 0);
            // What ends at 23:59 is stored until the end of the day.
            let shown = zone.to_datetime(moment(full).unwrap()).time();
            let (first, end) = (minute_of(from), full + i64::from(shown == time(23, 59, 0, 0)));
            match held {
                Ok(held) => {
                    // Looked at from the other side: which minutes of the days around does the clock show as held?
                    let shown: BTreeSet<i64> = (first - 60..end + 3_000)
                        .filter(|minute| {
                            let shown = moment(*minute).unwrap().to_zoned(zone.clone()).datetime();
                            held.iter().any(|one| {
                                let over = if one.end == END_OF_DAY { time(23, 59, 59, 0) } else { one.end };
                                let on_day = shown.date() == one.date;
                                on_day && one.start <= shown.time() && (shown.time() < over)
                            })
                        })
                        .filter(|minute| *minute >= first)
                        .collect();
                    prop_assert_eq!(shown, (first..end).collect::<BTreeSet<_>>());
                }
                Err(unfit) => {
                    let back = (first - 1_500..end + 1_500).any(|minute| {
                        let offset = |minute| zone.to_offset(moment(minute).unwrap());
                        offset(minute + 1) < offset(minute)
                    });
                    prop_assert!(back, "{}", unfit);
                }
            }
        }
    }
}
