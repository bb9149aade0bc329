//! What exceptions must keep to, and the days on which they repeat (`verkada-api.md` 9.1).
//!
//! Where the vendor says no more than that its rules follow RFC 5545, weeks begin on Monday, the first day always counts,
//! and days that are left out count towards `count`.

use jiff::civil::{Date, date};

use super::{DoorMode, Exception, ExceptionMode, Frequency, Hours, Recurrence, Weekday};

/// The longest interval.
const MAX_INTERVAL: u32 = 999;
/// The most repetitions.
const MAX_COUNT: u32 = 100_000;
/// How many weeks a year can have, and so the farthest position in it.
const MAX_POSITION: i32 = 53;
/// The first day that can be named.
const FIRST_DAY: Date = date(1970, 1, 1);
/// A rule that counts its days is followed for so many years; what it says after that is not known.
const COUNTED_YEARS: i16 = 30;

/// The first rule of the vendor that an exception breaks, as a sentence that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BrokenRule(pub &'static str);

impl Exception {
    /// Whether the vendor takes it.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(&self) -> Result<(), BrokenRule> {
        let all_day = self.hours == Hours::AllDay;
        let rules = [
            (self.date < FIRST_DAY, "date must not be before 1970-01-01"),
            (matches!(self.mode, ExceptionMode::Unknown(_)), "mode must be a known one"),
            (all_day && !self.is(DoorMode::Credential), "all_day needs mode credential"),
            (
                matches!(self.hours, Hours::Between(start, end) if end <= start),
                "end must be after start; past midnight it takes two exceptions",
            ),
        ];
        let people = [
            (all_day && self.first_person_in.is_some(), "all_day allows no first_person_in"),
            (all_day && self.double_badge.is_some(), "all_day allows no double_badge"),
            (
                self.first_person_in.is_some() && self.is(DoorMode::Locked),
                "first_person_in needs mode card_and_code, credential or unlocked",
            ),
            (
                self.double_badge.is_some() && !self.is(DoorMode::Credential),
                "double_badge needs mode credential",
            ),
        ];
        first_broken(&rules)?;
        if let Some(rule) = &self.recurrence {
            rule.check(self.date)?;
        }
        first_broken(&people)
    }

    fn is(&self, mode: DoorMode) -> bool {
        self.mode == ExceptionMode::Known(mode)
    }
}

impl Recurrence {
    /// Whether the vendor takes it for an exception whose first day is `first`.
    fn check(&self, first: Date) -> Result<(), BrokenRule> {
        let weekly = self.frequency == Frequency::Weekly;
        let of_month = matches!(self.frequency, Frequency::Monthly | Frequency::Yearly);
        let (days, position) = (self.by_day.len(), self.by_set_pos);
        let until = self.until.as_deref().map(day);
        let rules = [
            (!(1..=MAX_INTERVAL).contains(&self.interval), "interval must be 1 to 999"),
            (self.by_month.is_some_and(|month| !(1..=12).contains(&month)), "by_month must be 1 to 12"),
            (self.by_month_day.is_some_and(|day| !(1..=31).contains(&day)), "by_month_day must be 1 to 31"),
            (
                position.is_some_and(|position| position.unsigned_abs() > MAX_POSITION.unsigned_abs()),
                "by_set_pos must be -53 to 53",
            ),
            (self.count.is_some_and(|count| !(1..=MAX_COUNT).contains(&count)), "count must be 1 to 100000"),
            (until == Some(None), "until must be a day as YYYY-MM-DD"),
            (
                self.excluded_dates.iter().any(|text| day(text).is_none()),
                "excluded_dates must be days as YYYY-MM-DD",
            ),
            (weekly && days == 0, "WEEKLY needs by_day"),
            (weekly && !self.names(first), "by_day must include the weekday of date"),
            (!weekly && !of_month && days > 0, "by_day needs WEEKLY, MONTHLY or YEARLY"),
            (
                of_month && days > 0 && (days != 1 || position.is_none()),
                "by_day of MONTHLY and YEARLY must be one day, with by_set_pos",
            ),
            (
                position.is_some() && !(of_month && days == 1),
                "by_set_pos needs MONTHLY or YEARLY, and one by_day",
            ),
            (position == Some(0), "by_set_pos must not be 0"),
            (self.by_month_day.is_some() && !of_month, "by_month_day needs MONTHLY or YEARLY"),
            (self.by_month_day.is_some() && days > 0, "only one of by_month_day and by_day is allowed"),
            (self.count.is_some() && until.is_some(), "only one of count and until is allowed"),
            (until.flatten().is_some_and(|until| until < first), "until must not be before date"),
        ];
        first_broken(&rules)
    }

    fn names(&self, day: Date) -> bool {
        self.by_day.contains(&Weekday(day.weekday()))
    }

    /// Whether the rule without its end and its gaps is about `day`.
    fn fits(&self, first: Date, day: Date) -> bool {
        if day <= first {
            return day == first;
        }
        let passed = match self.frequency {
            Frequency::Daily => days_between(first, day),
            Frequency::Weekly => {
                (days_between(first, day) + i32::from(first.weekday().to_monday_zero_offset())) / 7
            }
            Frequency::Monthly => months(day) - months(first),
            Frequency::Yearly => i32::from(day.year()) - i32::from(first.year()),
        };
        i32::try_from(self.interval).is_ok_and(|interval| passed % interval.max(1) == 0)
            && self.by_month.is_none_or(|month| month == day.month())
            && match (self.frequency, self.by_set_pos) {
                (Frequency::Daily, _) => true,
                (Frequency::Weekly, _) => self.names(day),
                (Frequency::Monthly | Frequency::Yearly, Some(position)) => {
                    self.names(day) && self.position(day, position < 0) == position
                }
                (Frequency::Monthly | Frequency::Yearly, None) => {
                    let same_month = self.frequency == Frequency::Monthly
                        || self.by_month.is_some()
                        || day.month() == first.month();
                    same_month && day.day() == self.by_month_day.unwrap_or_else(|| first.day())
                }
            }
    }

    /// The how-manieth of its weekday a day is in its month, or in its year where a yearly rule names no month.
    fn position(&self, day: Date, from_end: bool) -> i32 {
        let (number, length) = if self.frequency == Frequency::Yearly && self.by_month.is_none() {
            (i32::from(day.day_of_year()), i32::from(day.days_in_year()))
        } else {
            (i32::from(day.day()), i32::from(day.days_in_month()))
        };
        if from_end { -((length - number) / 7 + 1) } else { (number - 1) / 7 + 1 }
    }
}

/// The days of an exception.
#[derive(Debug, Clone)]
pub struct Days<'a> {
    exception: &'a Exception,
    /// The last day that can be one; `None` where there is no end.
    last: Option<Date>,
    excluded: Vec<Date>,
}

impl<'a> Days<'a> {
    /// Finds out on which days the exception counts, up to `horizon`. `None` where it breaks a rule, so that the vendor may
    /// take it for something else, or counts its days for longer than can be followed.
    pub fn of(exception: &'a Exception, horizon: Date) -> Option<Self> {
        exception.check().ok()?;
        let Some(rule) = &exception.recurrence else {
            return Some(Self { exception, last: Some(exception.date), excluded: Vec::new() });
        };
        let excluded = rule.excluded_dates.iter().filter_map(|text| day(text)).collect();
        let last = match rule.count {
            Some(_) if horizon.year().saturating_sub(exception.date.year()) > COUNTED_YEARS => return None,
            Some(count) => last_counted(rule, exception.date, count, horizon),
            None => rule.until.as_deref().and_then(day),
        };
        Some(Self { exception, last, excluded })
    }

    /// Whether the exception counts on a day not behind the horizon.
    pub fn is_on(&self, day: Date) -> bool {
        let first = self.exception.date;
        let rule = self.exception.recurrence.as_ref();
        day >= first
            && self.last.is_none_or(|last| day <= last)
            && rule.map_or(day == first, |rule| rule.fits(first, day))
            && !self.excluded.contains(&day)
    }
}

/// The last of `count` days, which is not 0; `None` where it lies behind the horizon.
fn last_counted(rule: &Recurrence, first: Date, count: u32, horizon: Date) -> Option<Date> {
    let days = first.series(jiff::Span::new().days(1)).take_while(|day| *day <= horizon);
    let before = usize::try_from(count).unwrap_or(usize::MAX).saturating_sub(1);
    days.filter(|day| rule.fits(first, *day)).nth(before)
}

/// A day as the vendor writes it, `YYYY-MM-DD`.
pub fn day(text: &str) -> Option<Date> {
    let shape = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let read: Option<Date> = shape.then(|| text.parse().ok()).flatten();
    read.filter(|day| *day >= FIRST_DAY)
}

fn first_broken(rules: &[(bool, &'static str)]) -> Result<(), BrokenRule> {
    let broken = rules.iter().find(|(broken, _)| *broken);
    broken.map_or(Ok(()), |(_, rule)| Err(BrokenRule(rule)))
}

fn days_between(from: Date, to: Date) -> i32 {
    i32::try_from(to.duration_since(from).as_hours() / 24).unwrap_or(i32::MAX)
}

fn months(day: Date) -> i32 {
    i32::from(day.year()) * 12 + i32::from(day.month())
}

#[cfg(test)]
mod tests {
    use jiff::{Span, civil::time};
    use proptest::prelude::*;

    use super::*;

    const WORDS: [&str; 7] = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];

    fn weekdays(words: &[&str]) -> Vec<Weekday> {
        words.iter().map(|word| Weekday::of_vendor_word(word).unwrap()).collect()
    }

    fn rule(frequency: Frequency) -> Recurrence {
        let by_day = if frequency == Frequency::Weekly { weekdays(&["FR"]) } else { Vec::new() };
        Recurrence {
            frequency,
            interval: 1,
            by_day,
            by_month: None,
            by_month_day: None,
            by_set_pos: None,
            count: None,
            until: None,
            excluded_dates: Vec::new(),
        }
    }

    /// On a Friday.
    fn exception(recurrence: Option<Recurrence>) -> Exception {
        Exception {
            id: None,
            date: date(2026, 9, 18),
            hours: Hours::Between(time(7, 30, 0, 0), time(18, 0, 0, 0)),
            mode: ExceptionMode::Known(DoorMode::Unlocked),
            first_person_in: None,
            double_badge: None,
            recurrence,
        }
    }

    fn broken(change: impl Fn(&mut Exception)) -> Option<&'static str> {
        let mut exception = exception(None);
        change(&mut exception);
        exception.check().err().map(|rule| rule.0)
    }

    #[test]
    fn each_rule_of_an_exception_is_named_when_it_is_broken() {
        use DoorMode::{CardAndCode, Credential, Locked, Unlocked};
        let known = ExceptionMode::Known;
        assert_eq!(broken(|_| {}), None);
        assert_eq!(broken(|e| e.date = date(1969, 12, 31)), Some("date must not be before 1970-01-01"));
        assert_eq!(broken(|e| e.mode = ExceptionMode::Unknown(None)), Some("mode must be a known one"));
        for (mode, taken) in [(Unlocked, false), (Locked, false), (CardAndCode, false), (Credential, true)] {
            let rule = (!taken).then_some("all_day needs mode credential");
            assert_eq!(broken(|e| (e.hours, e.mode) = (Hours::AllDay, known(mode))), rule, "{mode:?}");
            let rule = (!taken).then_some("double_badge needs mode credential");
            assert_eq!(
                broken(|e| (e.double_badge, e.mode) = (Some(Vec::new()), known(mode))),
                rule,
                "{mode:?}"
            );
            let rule = (mode == Locked)
                .then_some("first_person_in needs mode card_and_code, credential or unlocked");
            assert_eq!(
                broken(|e| (e.first_person_in, e.mode) = (Some(Vec::new()), known(mode))),
                rule,
                "{mode:?}"
            );
        }
        for (start, end) in [((7, 30), (7, 30)), ((22, 0), (6, 0))] {
            let at = |(hour, minute)| time(hour, minute, 0, 0);
            let told = broken(|e| e.hours = Hours::Between(at(start), at(end)));
            assert_eq!(told, Some("end must be after start; past midnight it takes two exceptions"));
        }
        let whole = |e: &mut Exception| (e.hours, e.mode) = (Hours::AllDay, known(Credential));
        let told = broken(|e| {
            whole(e);
            e.first_person_in = Some(Vec::new());
        });
        assert_eq!(told, Some("all_day allows no first_person_in"));
        let told = broken(|e| {
            whole(e);
            e.double_badge = Some(Vec::new());
        });
        assert_eq!(told, Some("all_day allows no double_badge"));
    }

    type Change = fn(&mut Recurrence);

    #[test]
    fn each_rule_of_a_repetition_is_named_when_it_is_broken() {
        use Frequency::{Daily, Monthly, Weekly, Yearly};
        let one_day = |rule: &mut Recurrence| rule.by_day = weekdays(&["FR"]);
        let table: [(Frequency, Change, &str); 22] = [
            (Daily, |r| r.interval = 0, "interval must be 1 to 999"),
            (Daily, |r| r.interval = 1_000, "interval must be 1 to 999"),
            (Yearly, |r| r.by_month = Some(13), "by_month must be 1 to 12"),
            (Monthly, |r| r.by_month_day = Some(0), "by_month_day must be 1 to 31"),
            (Monthly, |r| r.by_month_day = Some(32), "by_month_day must be 1 to 31"),
            (Monthly, |r| r.by_set_pos = Some(i32::MIN), "by_set_pos must be -53 to 53"),
            (Daily, |r| r.count = Some(0), "count must be 1 to 100000"),
            (Daily, |r| r.count = Some(100_001), "count must be 1 to 100000"),
            (Daily, |r| r.until = Some("20261218".to_owned()), "until must be a day as YYYY-MM-DD"),
            (
                Daily,
                |r| r.excluded_dates = vec!["tomorrow".to_owned()],
                "excluded_dates must be days as YYYY-MM-DD",
            ),
            (Weekly, |r| r.by_day.clear(), "WEEKLY needs by_day"),
            (Weekly, |r| r.by_day = weekdays(&["SA", "SU"]), "by_day must include the weekday of date"),
            (Daily, |r| r.by_day = weekdays(&["FR"]), "by_day needs WEEKLY, MONTHLY or YEARLY"),
            (
                Monthly,
                |r| r.by_day = weekdays(&["FR"]),
                "by_day of MONTHLY and YEARLY must be one day, with by_set_pos",
            ),
            (Weekly, |r| r.by_set_pos = Some(1), "by_set_pos needs MONTHLY or YEARLY, and one by_day"),
            (Monthly, |r| r.by_set_pos = Some(1), "by_set_pos needs MONTHLY or YEARLY, and one by_day"),
            (Daily, |r| r.by_month_day = Some(1), "by_month_day needs MONTHLY or YEARLY"),
            (Weekly, |r| r.by_month_day = Some(1), "by_month_day needs MONTHLY or YEARLY"),
            (
                Daily,
                |r| (r.count, r.until) = (Some(1), Some("2026-12-18".to_owned())),
                "only one of count and until is allowed",
            ),
            (Daily, |r| r.until = Some("2026-09-17".to_owned()), "until must not be before date"),
            (
                Monthly,
                |r| (r.by_day, r.by_set_pos) = (weekdays(&["MO", "FR"]), Some(1)),
                "by_day of MONTHLY and YEARLY must be one day, with by_set_pos",
            ),
            (
                Yearly,
                |r| (r.by_day, r.by_set_pos, r.by_month_day) = (weekdays(&["FR"]), Some(1), Some(1)),
                "only one of by_month_day and by_day is allowed",
            ),
        ];
        for (frequency, change, told) in table {
            let mut rule = rule(frequency);
            assert_eq!(exception(Some(rule.clone())).check(), Ok(()), "{frequency:?}");
            change(&mut rule);
            assert_eq!(exception(Some(rule)).check(), Err(BrokenRule(told)), "{frequency:?}");
        }
        let mut zero = Recurrence { by_set_pos: Some(0), ..rule(Monthly) };
        one_day(&mut zero);
        assert_eq!(exception(Some(zero)).check(), Err(BrokenRule("by_set_pos must not be 0")));
    }

    /// The days of a rule, by going through its periods one after the other: what is in each, and of that what counts.
    fn naive(exception: &Exception, horizon: Date) -> Vec<Date> {
        let Some(rule) = &exception.recurrence else { return vec![exception.date] };
        let first = exception.date;
        let mut days = vec![first];
        let one = Span::new().days(1);
        for number in 0_i64.. {
            let steps = number * i64::from(rule.interval);
            let (begin, end) = match rule.frequency {
                Frequency::Daily => (first + Span::new().days(steps), first + Span::new().days(steps)),
                Frequency::Weekly => {
                    let monday = first - Span::new().days(i64::from(first.weekday().to_monday_zero_offset()));
                    (monday + Span::new().weeks(steps), monday + Span::new().days(steps * 7 + 6))
                }
                Frequency::Monthly => {
                    let month = first.first_of_month() + Span::new().months(steps);
                    (month, month.last_of_month())
                }
                Frequency::Yearly => {
                    let year = first.first_of_year() + Span::new().years(steps);
                    (year, year.last_of_year())
                }
            };
            if begin > horizon {
                break;
            }
            let period = begin.series(one).take_while(|day| *day <= end);
            let in_month = period.filter(|day| rule.by_month.is_none_or(|month| month == day.month()));
            let named = |day: &Date| rule.by_day.iter().any(|named| named.0 == day.weekday());
            let mut set: Vec<Date> = match rule.frequency {
                Frequency::Daily => in_month.collect(),
                Frequency::Weekly => in_month.filter(named).collect(),
                Frequency::Monthly | Frequency::Yearly if rule.by_set_pos.is_some() => {
                    in_month.filter(named).collect()
                }
                Frequency::Monthly | Frequency::Yearly => in_month
                    .filter(|day| day.day() == rule.by_month_day.unwrap_or_else(|| first.day()))
                    .filter(|day| {
                        rule.frequency == Frequency::Monthly
                            || day.month() == rule.by_month.unwrap_or_else(|| first.month())
                    })
                    .collect(),
            };
            if let Some(position) = rule.by_set_pos {
                let length = i32::try_from(set.len()).unwrap();
                let at = if position > 0 { position - 1 } else { length + position };
                set = usize::try_from(at).ok().and_then(|at| set.get(at).copied()).into_iter().collect();
            }
            days.extend(set.into_iter().filter(|day| *day > first));
        }
        let until: Option<Date> = rule.until.as_deref().map(|text| text.parse().unwrap());
        let count = rule.count.map_or(usize::MAX, |count| usize::try_from(count).unwrap());
        days.retain(|day| *day <= horizon && until.is_none_or(|until| *day <= until));
        days.truncate(count);
        days.retain(|day| !rule.excluded_dates.contains(&day.to_string()));
        days
    }

    prop_compose! {
        fn any_rule(first: Date)(
            unit in 0..4_usize, interval in 1..5_u32, more in proptest::collection::vec(0..7_usize, 0..3),
            month in proptest::option::weighted(0.3, 1..=12_i8), month_day in proptest::option::of(1..=31_i8),
            position in proptest::option::of(prop::sample::select(vec![-5, -2, -1, 1, 2, 3, 5, 20])),
            end in proptest::option::of((any::<bool>(), 1..40_u32)), gaps in proptest::collection::vec(0..200_i64, 0..4),
        ) -> Recurrence {
            let day = |days: i64| (first + Span::new().days(days)).to_string();
            let own = usize::try_from(first.weekday().to_monday_zero_offset()).unwrap();
            let frequency = Frequency::ALL[unit];
            let by_month = frequency == Frequency::Monthly || frequency == Frequency::Yearly;
            let by_set_pos = position.filter(|_| by_month);
            let words: Vec<&str> = match frequency {
                Frequency::Weekly => more.into_iter().chain([own]).map(|day| WORDS[day]).collect(),
                Frequency::Monthly | Frequency::Yearly if by_set_pos.is_some() => vec![WORDS[own]],
                Frequency::Daily | Frequency::Monthly | Frequency::Yearly => Vec::new(),
            };
            Recurrence {
                frequency, interval, by_day: weekdays(&words), by_month: month, by_set_pos,
                by_month_day: month_day.filter(|_| by_month && by_set_pos.is_none()),
                count: end.and_then(|(counts, number)| counts.then_some(number)),
                until: end.and_then(|(counts, number)| (!counts).then(|| day(i64::from(number) * 7))),
                excluded_dates: gaps.into_iter().map(day).collect(),
            }
        }
    }

    fn any_first_day() -> impl Strategy<Value = Date> {
        (0..800_i64).prop_map(|days| date(2026, 1, 1) + Span::new().days(days))
    }

    proptest! {
        #[test]
        fn days_are_those_that_the_periods_of_the_rule_hold(
            (first, rule) in any_first_day().prop_flat_map(|first| (Just(first), any_rule(first))),
        ) {
            let exception = Exception { date: first, ..exception(Some(rule)) };
            prop_assert_eq!(exception.check(), Ok(()));
            let horizon = first + Span::new().days(800);
            let days = Days::of(&exception, horizon).unwrap();
            let found: Vec<Date> =
                (first - Span::new().days(9)).series(Span::new().days(1)).take(809).filter(|day| days.is_on(*day)).collect();
            let mut expected = naive(&exception, horizon - Span::new().days(1));
            expected.retain(|day| *day < horizon);
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_breaks_a_rule_or_counts_too_long_has_no_known_days() {
        let horizon = date(2026, 12, 1);
        let mut counted = exception(Some(Recurrence { count: Some(5), ..rule(Frequency::Daily) }));
        assert!(Days::of(&counted, horizon).is_some());
        counted.date = date(1980, 1, 1);
        assert!(Days::of(&counted, horizon).is_none());
        let mut endless = exception(Some(rule(Frequency::Daily)));
        endless.date = date(1980, 1, 1);
        assert!(Days::of(&endless, horizon).unwrap().is_on(horizon));
        endless.hours = Hours::AllDay;
        assert!(Days::of(&endless, horizon).is_none());
    }
}
