//! On which days an exception repeats: the part of RFC 5545 that the vendor takes.

use jiff::civil::{Date, Weekday};
use serde_json::{Map, Value};

use super::{Broken, read_date};

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frequency {
    /// Every so many days.
    Daily,
    /// On some days of every so many weeks; a week begins on Monday.
    Weekly,
    /// In every so many months.
    Monthly,
    /// In every so many years.
    Yearly,
}

impl Frequency {
    const ALL: [Self; 4] = [Self::Daily, Self::Weekly, Self::Monthly, Self::Yearly];

    /// The vendor's word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Daily => "DAILY",
            Self::Weekly => "WEEKLY",
            Self::Monthly => "MONTHLY",
            Self::Yearly => "YEARLY",
        }
    }
}

/// The days of the week as the vendor writes them, Monday first.
pub const DAYS: [&str; 7] = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];

/// How the vendor writes a day of the week.
pub fn day_word(day: Weekday) -> &'static str {
    let index = usize::try_from(day.to_monday_zero_offset()).unwrap_or_default();
    DAYS.get(index).copied().unwrap_or_default()
}

/// A rule; its parts have the names of RFC 5545.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recurrence {
    /// How often.
    pub frequency: Frequency,
    /// Every how many of these, at least 1.
    pub interval: i32,
    /// On which days of the week, in the vendor's words.
    pub by_day: Option<Vec<String>>,
    /// In which month alone.
    pub by_month: Option<i8>,
    /// On which day of the month; months that are too short are left out.
    pub by_month_day: Option<i8>,
    /// The how-manieth of `by_day` in the month or year; from its end where negative.
    pub by_set_pos: Option<i32>,
    /// On how many days at most; excluded ones count.
    pub count: Option<i64>,
    /// Until which day, inclusive.
    pub until: Option<Date>,
    /// On which days not.
    pub excluded_dates: Option<Vec<Date>>,
}

impl Recurrence {
    /// Reads a rule for an exception whose first day is `date`.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn read(body: &Map<String, Value>, date: Date) -> Result<Self, Broken> {
        let word = text(body, "frequency")?.ok_or("frequency is required")?;
        let frequency = Frequency::ALL.into_iter().find(|one| one.word() == word);
        let frequency = frequency.ok_or_else(|| {
            format!("frequency must be one of {}", Frequency::ALL.map(Frequency::word).join(", "))
        })?;
        let interval = number(body, "interval", 1..=999)?.ok_or("interval is required")?;
        let until = text(body, "until")?.map(|given| read_date("until", given)).transpose()?;
        let excluded = texts(body, "excluded_dates")?;
        let excluded = excluded.map(|days| days.iter().map(|day| read_date("excluded_dates", day)).collect());
        let rule = Self {
            frequency,
            interval: i32::try_from(interval).unwrap_or(1),
            by_day: texts(body, "by_day")?,
            by_month: small(number(body, "by_month", 1..=12)?),
            by_month_day: small(number(body, "by_month_day", 1..=31)?),
            by_set_pos: number(body, "by_set_pos", -53..=53)?.and_then(|pos| i32::try_from(pos).ok()),
            count: number(body, "count", 1..=100_000)?,
            until,
            excluded_dates: excluded.transpose()?,
        };
        rule.check(date)?;
        Ok(rule)
    }

    fn check(&self, date: Date) -> Result<(), Broken> {
        let days = self.by_day.as_deref().unwrap_or_default();
        if !days.iter().all(|day| DAYS.contains(&day.as_str())) {
            return Err("by_day must be a list of SU, MO, TU, WE, TH, FR, SA".to_owned());
        }
        let weekday = day_word(date.weekday()).to_owned();
        let weekly = self.frequency == Frequency::Weekly;
        let of_month = matches!(self.frequency, Frequency::Monthly | Frequency::Yearly);
        let rules = [
            (weekly && days.is_empty(), "WEEKLY needs by_day"),
            (weekly && !days.contains(&weekday), "by_day must include the weekday of date"),
            (!weekly && !of_month && !days.is_empty(), "by_day is for WEEKLY, MONTHLY and YEARLY"),
            (
                of_month && !days.is_empty() && (days.len() != 1 || self.by_set_pos.is_none()),
                "by_day of MONTHLY and YEARLY needs one day and by_set_pos",
            ),
            (
                self.by_set_pos.is_some() && !(of_month && days.len() == 1),
                "by_set_pos needs MONTHLY or YEARLY and one by_day",
            ),
            (self.by_set_pos == Some(0), "by_set_pos must not be 0"),
            (self.by_month_day.is_some() && !of_month, "by_month_day needs MONTHLY or YEARLY"),
            (
                self.by_month_day.is_some() && !days.is_empty(),
                "only one of by_month_day and by_day is allowed",
            ),
            (self.count.is_some() && self.until.is_some(), "only one of count and until is allowed"),
            (self.until.is_some_and(|until| until < date), "until must not be before date"),
        ];
        let broken = rules.into_iter().find(|(broken, _)| *broken);
        broken.map_or(Ok(()), |(_, rule)| Err(rule.to_owned()))
    }

    /// Whether an exception with the first day `first` is on `day`. The first day counts always.
    pub fn is_on(&self, first: Date, day: Date) -> bool {
        let excluded = self.excluded_dates.as_ref().is_some_and(|days| days.contains(&day));
        !excluded
            && self.is_candidate(first, day)
            && self.count.is_none_or(|count| self.is_among(first, day, count))
    }

    /// Whether `day` is one of the first `count` days.
    fn is_among(&self, first: Date, day: Date, count: i64) -> bool {
        let mut left = count;
        let mut seen = first;
        while seen < day && left > 0 {
            left -= i64::from(self.is_candidate(first, seen));
            let Ok(next) = seen.tomorrow() else { return false };
            seen = next;
        }
        left > 0
    }

    fn is_candidate(&self, first: Date, day: Date) -> bool {
        if day <= first || self.until.is_some_and(|until| day > until) {
            return day == first;
        }
        let month = i32::from(day.year()) * 12 + i32::from(day.month());
        let first_month = i32::from(first.year()) * 12 + i32::from(first.month());
        let passed = match self.frequency {
            Frequency::Daily => days_between(first, day),
            Frequency::Weekly => {
                days_between(first, day) + i32::from(first.weekday().to_monday_zero_offset())
            }
            Frequency::Monthly => month - first_month,
            Frequency::Yearly => i32::from(day.year()) - i32::from(first.year()),
        };
        let steps = if self.frequency == Frequency::Weekly { passed / 7 } else { passed };
        let month = match self.frequency {
            // A yearly rule stays in the month of its first day, unless it counts days of the week over the year.
            Frequency::Yearly if self.by_set_pos.is_none() => {
                Some(self.by_month.unwrap_or_else(|| first.month()))
            }
            Frequency::Daily | Frequency::Weekly | Frequency::Monthly | Frequency::Yearly => self.by_month,
        };
        steps % self.interval == 0
            && month.is_none_or(|month| month == day.month())
            && self.is_day_of_period(first, day)
    }

    fn is_day_of_period(&self, first: Date, day: Date) -> bool {
        let named = || {
            let word = day_word(day.weekday());
            self.by_day.as_ref().is_some_and(|days| days.iter().any(|one| one == word))
        };
        match (self.frequency, self.by_set_pos) {
            (Frequency::Daily, _) => true,
            (Frequency::Weekly, _) => named(),
            (Frequency::Monthly | Frequency::Yearly, None) => {
                day.day() == self.by_month_day.unwrap_or_else(|| first.day())
            }
            (Frequency::Monthly | Frequency::Yearly, Some(position)) => {
                named() && position == self.position(day, position < 0)
            }
        }
    }

    /// The how-manieth of its weekday a day is in its month, or in its year where a yearly rule names no month.
    fn position(&self, day: Date, from_end: bool) -> i32 {
        let over_year = self.frequency == Frequency::Yearly && self.by_month.is_none();
        let (number, length) = if over_year {
            (i32::from(day.day_of_year()), i32::from(day.days_in_year()))
        } else {
            (i32::from(day.day()), i32::from(day.days_in_month()))
        };
        if from_end { -((length - number) / 7 + 1) } else { (number - 1) / 7 + 1 }
    }
}

fn days_between(from: Date, to: Date) -> i32 {
    i32::try_from(to.duration_since(from).as_hours() / 24).unwrap_or(i32::MAX)
}

fn small(number: Option<i64>) -> Option<i8> {
    number.and_then(|number| i8::try_from(number).ok())
}

fn number(
    body: &Map<String, Value>,
    name: &str,
    range: std::ops::RangeInclusive<i64>,
) -> Result<Option<i64>, Broken> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let number = value.as_i64().filter(|number| range.contains(number));
            let broken = || format!("{name} must be a whole number, {} to {}", range.start(), range.end());
            number.map(Some).ok_or_else(broken)
        }
    }
}

/// A member that is a text, if it is given.
pub(super) fn text<'a>(body: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Broken> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or_else(|| format!("{name} must be a text")),
    }
}

/// A member that is a list of texts, if it is given.
pub(super) fn texts(body: &Map<String, Value>, name: &str) -> Result<Option<Vec<String>>, Broken> {
    let broken = || format!("{name} must be a list of texts");
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(broken));
            texts.collect::<Result<_, _>>().map(Some)
        }
        Some(_) => Err(broken()),
    }
}

/// A member that is true or false; false where it is not given.
pub(super) fn flag(body: &Map<String, Value>, name: &str) -> Result<bool, Broken> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(value) => value.as_bool().ok_or_else(|| format!("{name} must be true or false")),
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use serde_json::json;

    use super::*;

    fn read(rule: &Value, first: Date) -> Result<Recurrence, Broken> {
        Recurrence::read(rule.as_object().unwrap(), first)
    }

    /// The first days of a rule, in three years.
    fn days(rule: &Value, first: Date, most: usize) -> Vec<String> {
        let rule = read(rule, first).unwrap();
        let all = first.series(jiff::Span::new().days(1)).take(3 * 366);
        all.filter(|day| rule.is_on(first, *day)).take(most).map(|day| day.to_string()).collect()
    }

    #[test]
    fn rules_are_expanded_as_rfc_5545_says() {
        let friday = date(2026, 9, 18);
        for (rule, first, expected) in [
            (
                json!({ "frequency": "DAILY", "interval": 3 }),
                friday,
                vec!["2026-09-18", "2026-09-21", "2026-09-24"],
            ),
            (
                json!({ "frequency": "WEEKLY", "interval": 2, "by_day": ["FR", "MO"] }),
                friday,
                vec!["2026-09-18", "2026-09-28", "2026-10-02", "2026-10-12"],
            ),
            (
                json!({ "frequency": "WEEKLY", "interval": 2, "by_day": ["FR"], "until": "2026-12-18",
                    "excluded_dates": ["2026-10-30"] }),
                friday,
                vec!["2026-09-18", "2026-10-02", "2026-10-16", "2026-11-13", "2026-11-27", "2026-12-11"],
            ),
            (
                json!({ "frequency": "DAILY", "interval": 1, "count": 3, "excluded_dates": ["2026-09-19"] }),
                friday,
                vec!["2026-09-18", "2026-09-20"],
            ),
            (
                json!({ "frequency": "MONTHLY", "interval": 1, "by_month_day": 31 }),
                date(2026, 1, 31),
                vec!["2026-01-31", "2026-03-31", "2026-05-31", "2026-07-31"],
            ),
            (
                json!({ "frequency": "MONTHLY", "interval": 1 }),
                date(2026, 1, 30),
                vec!["2026-01-30", "2026-03-30", "2026-04-30"],
            ),
            (
                json!({ "frequency": "MONTHLY", "interval": 1, "by_day": ["FR"], "by_set_pos": -1 }),
                date(2026, 9, 25),
                vec!["2026-09-25", "2026-10-30", "2026-11-27"],
            ),
            (
                json!({ "frequency": "YEARLY", "interval": 1, "by_month": 11, "by_day": ["TH"], "by_set_pos": 4 }),
                date(2026, 11, 26),
                vec!["2026-11-26", "2027-11-25", "2028-11-23"],
            ),
            (
                json!({ "frequency": "YEARLY", "interval": 1, "by_day": ["MO"], "by_set_pos": 20 }),
                date(2026, 5, 18),
                vec!["2026-05-18", "2027-05-17", "2028-05-15"],
            ),
            (
                json!({ "frequency": "YEARLY", "interval": 1 }),
                date(2026, 12, 25),
                vec!["2026-12-25", "2027-12-25", "2028-12-25"],
            ),
            (
                json!({ "frequency": "YEARLY", "interval": 2, "by_month": 12, "by_month_day": 24 }),
                date(2026, 12, 24),
                vec!["2026-12-24", "2028-12-24"],
            ),
        ] {
            // A rule with an end is seen whole, one without as far as it is written here.
            let ends = rule.get("until").is_some() || rule.get("count").is_some();
            let most = if ends { usize::MAX } else { expected.len() };
            assert_eq!(days(&rule, first, most), expected, "{rule}");
        }
    }

    #[test]
    fn each_broken_rule_of_days_of_the_week_is_named() {
        assert_broken(&[
            (json!({ "interval": 1 }), "frequency is required"),
            (
                json!({ "frequency": "HOURLY", "interval": 1 }),
                "frequency must be one of DAILY, WEEKLY, MONTHLY, YEARLY",
            ),
            (json!({ "frequency": "DAILY" }), "interval is required"),
            (json!({ "frequency": "DAILY", "interval": 0 }), "interval must be a whole number, 1 to 999"),
            (json!({ "frequency": "WEEKLY", "interval": 1 }), "WEEKLY needs by_day"),
            (
                json!({ "frequency": "WEEKLY", "interval": 1, "by_day": ["XX"] }),
                "by_day must be a list of SU, MO, TU, WE, TH, FR, SA",
            ),
            (
                json!({ "frequency": "WEEKLY", "interval": 1, "by_day": ["MO"] }),
                "by_day must include the weekday of date",
            ),
            (
                json!({ "frequency": "DAILY", "interval": 1, "by_day": ["FR"] }),
                "by_day is for WEEKLY, MONTHLY and YEARLY",
            ),
            (
                json!({ "frequency": "MONTHLY", "interval": 1, "by_day": ["FR"] }),
                "by_day of MONTHLY and YEARLY needs one day and by_set_pos",
            ),
            (
                json!({ "frequency": "YEARLY", "interval": 1, "by_day": ["FR", "SA"], "by_set_pos": 1 }),
                "by_day of MONTHLY and YEARLY needs one day and by_set_pos",
            ),
            (
                json!({ "frequency": "MONTHLY", "interval": 1, "by_set_pos": 1 }),
                "by_set_pos needs MONTHLY or YEARLY and one by_day",
            ),
            (
                json!({ "frequency": "MONTHLY", "interval": 1, "by_day": ["FR"], "by_set_pos": 0 }),
                "by_set_pos must not be 0",
            ),
        ]);
    }

    #[test]
    fn each_broken_rule_of_months_and_ends_is_named() {
        assert_broken(&[
            (
                json!({ "frequency": "YEARLY", "interval": 1, "by_month": 13 }),
                "by_month must be a whole number, 1 to 12",
            ),
            (
                json!({ "frequency": "MONTHLY", "interval": 1, "by_month_day": 32 }),
                "by_month_day must be a whole number, 1 to 31",
            ),
            (
                json!({ "frequency": "DAILY", "interval": 1, "by_month_day": 3 }),
                "by_month_day needs MONTHLY or YEARLY",
            ),
            (
                json!({ "frequency": "MONTHLY", "interval": 1, "by_month_day": 3, "by_day": ["FR"], "by_set_pos": 1 }),
                "only one of by_month_day and by_day is allowed",
            ),
            (
                json!({ "frequency": "DAILY", "interval": 1, "count": 0 }),
                "count must be a whole number, 1 to 100000",
            ),
            (
                json!({ "frequency": "DAILY", "interval": 1, "count": 2, "until": "2026-10-01" }),
                "only one of count and until is allowed",
            ),
            (
                json!({ "frequency": "DAILY", "interval": 1, "until": "2026-09-17" }),
                "until must not be before date",
            ),
            (
                json!({ "frequency": "DAILY", "interval": 1, "until": "tomorrow" }),
                "until must be a date as YYYY-MM-DD",
            ),
            (
                json!({ "frequency": "DAILY", "interval": 1, "excluded_dates": ["x"] }),
                "excluded_dates must be a date as YYYY-MM-DD",
            ),
        ]);
    }

    fn assert_broken(rules: &[(Value, &str)]) {
        for (rule, told) in rules {
            assert_eq!(read(rule, date(2026, 9, 18)), Err((*told).to_owned()), "{rule}");
        }
    }
}
