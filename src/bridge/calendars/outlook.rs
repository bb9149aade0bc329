//! What the exceptions of all calendars say of a door: now, and next.

use jiff::{Timestamp, ToSpan, tz::TimeZone};

use crate::{
    bridge::holds::moments,
    hass::payload,
    model::{Calendar, CalendarId, Days, DoorMode, Exception, ExceptionMode},
};

/// How many days ahead the next exception is looked for.
const DAYS_AHEAD: i64 = 60;

/// What is known of the exceptions of a door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outlook {
    /// What is in force.
    pub(super) now: Option<Spell>,
    /// What comes after that, within [`DAYS_AHEAD`] days.
    pub(super) next: Option<Spell>,
    /// Whether there may be exceptions that cannot be read.
    pub(super) partial: bool,
}

/// A time in which the same exceptions are in force without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spell {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    /// By calendar.
    pub(super) parts: Vec<Part>,
}

/// What one calendar says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Part {
    pub(super) calendar: CalendarId,
    /// What the door is kept at; `None` for a word that is not documented.
    pub(super) mode: Option<DoorMode>,
    /// Whether it waits until a certain person has passed, which nobody tells.
    pub(super) waits: bool,
}

impl Spell {
    /// What the door is kept at. Which of several calendars counts is not documented, so that is known only where they agree,
    /// and wait for nobody (`verkada-api.md` 9.2).
    pub(super) fn mode(&self) -> Option<DoorMode> {
        let mode = self.parts.first()?.mode?;
        self.parts.iter().all(|part| part.mode == Some(mode) && !part.waits).then_some(mode)
    }
}

impl Outlook {
    /// What is known where no calendar is about a door.
    pub(super) const fn of_nothing(partial: bool) -> Self {
        Self { now: None, next: None, partial }
    }

    /// Looks from `now` on at the calendars that are about a door in this time zone. `partial`: others may be as well.
    pub(super) fn of(
        zone: Option<&TimeZone>,
        calendars: &[&Calendar],
        partial: bool,
        now: Timestamp,
    ) -> Self {
        let Some(zone) = zone else { return Self::of_nothing(partial || !calendars.is_empty()) };
        let today = zone.to_datetime(now).date();
        let (first, horizon) = (today.saturating_sub(1.day()), today.saturating_add(DAYS_AHEAD.days()));
        let mut outlook = Self::of_nothing(partial || calendars.iter().any(|one| !one.skipped.is_empty()));
        let mut all: Vec<(&Calendar, &Exception, Days<'_>)> = Vec::new();
        for calendar in calendars {
            for exception in &calendar.exceptions {
                match Days::of(exception, horizon) {
                    Some(days) => all.push((calendar, exception, days)),
                    None => outlook.partial = true,
                }
            }
        }
        let mut spells: Vec<Spell> = Vec::new();
        for day in first.series(1.day()).take_while(|day| *day <= horizon) {
            let of_day = all.iter().filter(|(.., days)| days.is_on(day));
            let windows = of_day.filter_map(|(calendar, exception, _)| {
                let (from, until) = moments(zone, day, exception.hours)?;
                let mode = match exception.mode {
                    ExceptionMode::Known(mode) => Some(mode),
                    ExceptionMode::Unknown(_) => None,
                };
                let waits = exception.first_person_in.is_some();
                Some((from, until, Part { calendar: calendar.id.clone(), mode, waits }))
            });
            for spell in spells_of(&windows.collect::<Vec<_>>()) {
                match spells.last_mut().filter(|last| last.until == spell.from && last.parts == spell.parts) {
                    Some(last) => last.until = spell.until,
                    None => spells.push(spell),
                }
            }
            spells.retain(|spell| now < spell.until);
            // The last one may go on the day after.
            if spells.len() > 2 {
                break;
            }
        }
        let mut spells = spells.into_iter().peekable();
        outlook.now = spells.next_if(|spell| spell.from <= now);
        outlook.next = spells.next();
        outlook
    }

    /// What the door is kept at, in a word; `None` where that is not known.
    pub(super) fn word(&self) -> Option<&'static str> {
        match &self.now {
            _ if self.partial => None,
            None => Some(payload::SCHEDULE),
            Some(spell) => spell.mode().map(DoorMode::word),
        }
    }

    /// When it says something else by itself.
    pub(super) fn changes_at(&self) -> Option<Timestamp> {
        let edges = self.now.iter().map(|spell| spell.until).chain(self.next.iter().map(|spell| spell.from));
        edges.min()
    }
}

/// Splits windows of one day, which may overlap, into times in which the same of them are in force.
fn spells_of(windows: &[(Timestamp, Timestamp, Part)]) -> Vec<Spell> {
    let mut edges: Vec<Timestamp> = windows.iter().flat_map(|(from, until, _)| [*from, *until]).collect();
    edges.sort_unstable();
    edges.dedup();
    let mut spells: Vec<Spell> = Vec::new();
    for (from, until) in edges.iter().zip(edges.iter().skip(1)) {
        let covering = windows.iter().filter(|(begin, end, _)| begin <= from && until <= end);
        let mut parts: Vec<Part> = covering.map(|(.., part)| part.clone()).collect();
        parts.sort_unstable();
        parts.dedup();
        if parts.is_empty() {
            continue;
        }
        match spells.last_mut().filter(|last| last.until == *from && last.parts == parts) {
            Some(last) => last.until = *until,
            None => spells.push(Spell { from: *from, until: *until, parts }),
        }
    }
    spells
}

#[cfg(test)]
mod tests {
    use jiff::{
        civil::{Date, DateTime, Time},
        tz::TimeZoneDatabase,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Frequency, Hours, Recurrence, Weekday};

    const ZONES: [&str; 6] = [
        "UTC",
        "Europe/Amsterdam",
        "America/New_York",
        "America/Havana",
        "Australia/Lord_Howe",
        "Pacific/Chatham",
    ];

    fn zone(name: &str) -> TimeZone {
        TimeZoneDatabase::bundled().get(name).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn exception(date: &str, hours: Option<(&str, &str)>, mode: DoorMode) -> Exception {
        let between =
            |(start, end): (&str, &str)| Hours::Between(start.parse().unwrap(), end.parse().unwrap());
        Exception {
            id: None,
            date: date.parse().unwrap(),
            hours: hours.map_or(Hours::AllDay, between),
            mode: ExceptionMode::Known(mode),
            first_person_in: None,
            double_badge: None,
            recurrence: None,
        }
    }

    fn calendar(id: &str, exceptions: Vec<Exception>) -> Calendar {
        let id = id.parse().unwrap();
        Calendar { id, name: None, doors: Vec::new(), exceptions, updated_at: None, skipped: Vec::new() }
    }

    fn weekly(date: &str, hours: (&str, &str), mode: DoorMode) -> Exception {
        let exception = exception(date, Some(hours), mode);
        let recurrence = Recurrence {
            frequency: Frequency::Weekly,
            interval: 1,
            by_day: vec![Weekday(exception.date.weekday())],
            by_month: None,
            by_month_day: None,
            by_set_pos: None,
            count: None,
            until: None,
            excluded_dates: Vec::new(),
        };
        Exception { recurrence: Some(recurrence), ..exception }
    }

    fn told(spell: Option<&Spell>) -> String {
        spell.map_or_else(
            || "nothing".to_owned(),
            |spell| {
                let mode = spell.mode().map_or("?", DoorMode::word);
                let calendars: Vec<&str> = spell.parts.iter().map(|part| part.calendar.as_str()).collect();
                format!("{mode} {} {} {}", spell.from, spell.until, calendars.join("+"))
            },
        )
    }

    #[test]
    fn what_is_in_force_and_next_is_found_over_all_calendars_of_the_door() {
        use DoorMode::{Credential, Locked, Unlocked};
        let zone = zone("Europe/Amsterdam");
        let one = calendar(
            "a",
            vec![
                exception("2026-11-25", Some(("09:00", "23:59")), Unlocked),
                exception("2026-11-26", Some(("00:00", "06:00")), Unlocked),
                exception("2026-12-25", None, Credential),
            ],
        );
        let other = calendar("b", vec![weekly("2026-11-18", ("12:00", "13:00"), Locked)]);
        let look = |calendars: &[&Calendar], now: &str| {
            let outlook = Outlook::of(Some(&zone), calendars, false, at(now));
            (told(outlook.now.as_ref()), told(outlook.next.as_ref()))
        };
        let told = |now: &str, next: &str| (now.to_owned(), next.to_owned());
        let over_midnight = "unlocked 2026-11-25T08:00:00Z 2026-11-26T05:00:00Z a";
        let christmas = "credential 2026-12-24T23:00:00Z 2026-12-25T23:00:00Z a";
        assert_eq!(look(&[&one], "2026-11-25T07:59:59Z"), told("nothing", over_midnight));
        for now in ["2026-11-25T08:00:00Z", "2026-11-25T23:00:00Z", "2026-11-26T04:59:59Z"] {
            assert_eq!(look(&[&one], now).1, christmas, "{now}");
        }
        assert_eq!(look(&[&one], "2026-11-25T12:00:00Z").0, over_midnight);
        assert_eq!(look(&[&one], "2026-11-26T05:00:00Z"), told("nothing", christmas));
        let both = "? 2026-11-25T11:00:00Z 2026-11-25T12:00:00Z a+b";
        assert_eq!(
            look(&[&one, &other], "2026-11-25T10:00:00Z"),
            told("unlocked 2026-11-25T08:00:00Z 2026-11-25T11:00:00Z a", both)
        );
        assert_eq!(
            look(&[&one, &other], "2026-11-25T11:30:00Z"),
            told(both, "unlocked 2026-11-25T12:00:00Z 2026-11-26T05:00:00Z a")
        );
        let far = "2027-06-01T00:00:00Z";
        assert_eq!(look(&[&one], far), told("nothing", "nothing"));
        assert_eq!(look(&[&other], far).1, "locked 2027-06-02T10:00:00Z 2027-06-02T11:00:00Z b");
        assert_eq!(look(&[], far), told("nothing", "nothing"));
    }

    #[test]
    fn what_is_not_known_is_told_as_that() {
        let utc = TimeZone::UTC;
        let now = at("2026-11-25T12:00:00Z");
        let unlocked = exception("2026-11-25", Some(("09:00", "18:00")), DoorMode::Unlocked);
        let mode = |calendars: &[&Calendar], partial| Outlook::of(Some(&utc), calendars, partial, now).word();
        let good = calendar("a", vec![unlocked.clone()]);
        assert_eq!(mode(&[&good], false), Some("unlocked"));
        assert_eq!(mode(&[], false), Some("schedule"), "no exception is in force");
        assert_eq!(mode(&[&good], true), None, "another calendar may be about the door");
        let skipped = Calendar { skipped: vec!["left out".to_owned()], ..good.clone() };
        assert_eq!(mode(&[&skipped], false), None);
        let broken = Exception { hours: Hours::AllDay, ..unlocked.clone() };
        assert_eq!(mode(&[&good, &calendar("b", vec![broken])], false), None);
        let waits = Exception { first_person_in: Some(Vec::new()), ..unlocked.clone() };
        assert_eq!(mode(&[&calendar("a", vec![waits])], false), None, "nobody tells whether somebody came");
        let same = calendar("b", vec![unlocked]);
        assert_eq!(mode(&[&good, &same], false), Some("unlocked"), "they agree");
        assert_eq!(Outlook::of(None, &[&good], false, now).word(), None, "the time zone is not known");
        assert_eq!(Outlook::of(None, &[], false, now).word(), Some("schedule"));
    }

    prop_compose! {
        fn any_exception()(
            day in 0..9_i64, from in 0..95_i64, lasts in 1..40_i64, mode in 0..4_usize, repeats in any::<bool>(),
            waits in proptest::bool::weighted(0.1),
        ) -> Exception {
            let quarter = |number: i64| {
                let number = number.min(95);
                let part = |number: i64| i8::try_from(number).unwrap();
                Time::new(part(number / 4), part(number % 4 * 15), 0, 0).unwrap()
            };
            let date: Date = jiff::civil::date(2026, 10, 20) + day.days();
            let hours = Hours::Between(quarter(from), if from + lasts > 95 { Time::constant(23, 59, 0, 0) } else { quarter(from + lasts) });
            let recurrence = repeats.then(|| weekly("2026-10-20", ("00:00", "01:00"), DoorMode::Locked).recurrence.unwrap());
            let recurrence = recurrence.map(|rule| Recurrence { frequency: Frequency::Daily, interval: 3, by_day: Vec::new(), ..rule });
            Exception {
                id: None, date, hours, mode: ExceptionMode::Known(DoorMode::ALL[mode]),
                first_person_in: (waits && DoorMode::ALL[mode] != DoorMode::Locked).then(Vec::new), double_badge: None, recurrence,
            }
        }
    }

    /// What is in force at a moment, by the wall clock of the door.
    fn naive(zone: &TimeZone, calendars: &[Calendar], at: Timestamp) -> Vec<Part> {
        let shown: DateTime = zone.to_datetime(at);
        let mut parts = Vec::new();
        for calendar in calendars {
            for exception in &calendar.exceptions {
                let Hours::Between(start, end) = exception.hours else { panic!() };
                let end_of_day = end == Time::constant(23, 59, 0, 0);
                let days = Days::of(exception, shown.date()).unwrap();
                if days.is_on(shown.date()) && start <= shown.time() && (shown.time() < end || end_of_day) {
                    let ExceptionMode::Known(mode) = exception.mode else { panic!() };
                    let waits = exception.first_person_in.is_some();
                    parts.push(Part { calendar: calendar.id.clone(), mode: Some(mode), waits });
                }
            }
        }
        parts.sort_unstable();
        parts.dedup();
        parts
    }

    proptest! {
        /// Against the wall clock, minute by minute; hours that are shown twice or never are left out, where the two may differ.
        #[test]
        fn an_outlook_agrees_with_a_look_at_the_clock(
            name in prop::sample::select(ZONES.to_vec()),
            first in proptest::collection::vec(any_exception(), 0..4),
            second in proptest::collection::vec(any_exception(), 0..3),
            minute in 0..14_i64 * 24 * 60,
        ) {
            let zone = zone(name);
            let calendars = [calendar("a", first), calendar("b", second)];
            let all: Vec<&Calendar> = calendars.iter().collect();
            let now = at("2026-10-19T00:00:00Z") + minute.minutes();
            let outlook = Outlook::of(Some(&zone), &all, false, now);
            let mut seen: Vec<(Timestamp, Vec<Part>)> = Vec::new();
            for step in 0..4 * 24 * 12 {
                let moment = now + (step * 5).minutes();
                let is_plain = |offset: i64| {
                    let moment = moment + offset.hours();
                    zone.to_offset(moment) == zone.to_offset(now)
                };
                if ![-2, 0, 2].into_iter().all(is_plain) {
                    break;
                }
                seen.push((moment, naive(&zone, &calendars, moment)));
            }
            let spell_at = |moment: Timestamp| {
                let spells = [&outlook.now, &outlook.next];
                let spell = spells.into_iter().flatten().find(|spell| spell.from <= moment && moment < spell.until);
                spell.map(|spell| spell.parts.clone()).unwrap_or_default()
            };
            // Up to the end of the next spell the two say the same.
            let end = outlook.next.as_ref().map(|spell| spell.until);
            for (moment, parts) in seen.into_iter().take_while(|(moment, _)| end.is_none_or(|end| *moment < end)) {
                prop_assert_eq!(spell_at(moment), parts, "{} in {}: {:?}", moment, name, outlook);
            }
        }
    }
}
