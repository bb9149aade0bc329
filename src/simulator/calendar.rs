//! Exceptions to the schedule of doors as people write them, and the rules that they must keep (`verkada-api.md` 9.1).

pub mod recurrence;

use jiff::{
    Span,
    civil::{Date, DateTime, Time, date, time},
};
use serde::Serialize;
use serde_json::{Map, Value};

pub use recurrence::Recurrence;
use recurrence::{flag, text, texts};

/// The last moment that a time of day can name: exceptions of a whole day end with it.
const LAST_SECOND: Time = time(23, 59, 59, 0);

/// The last minute of a day.
const LAST_MINUTE: Time = time(23, 59, 0, 0);

/// What a door does while an exception is in force, the most locked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DoorStatus {
    /// Nobody passes.
    Locked,
    /// Card and code are needed.
    CardAndCode,
    /// A credential is needed.
    AccessControlled,
    /// Everybody passes.
    Unlocked,
}

impl DoorStatus {
    /// Every status, the most locked first.
    pub const ALL: [Self; 4] = [Self::Locked, Self::CardAndCode, Self::AccessControlled, Self::Unlocked];

    /// The vendor's word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::CardAndCode => "card_and_code",
            Self::AccessControlled => "access_controlled",
            Self::Unlocked => "unlocked",
        }
    }
}

/// An exception: on one day, or on the days of a rule, from a time of day to another, in the time zone of the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// The first day.
    pub date: Date,
    /// When it begins, inclusive.
    pub start: Time,
    /// When it ends, exclusive; see [`Self::covers`] for the end of the day.
    pub end: Time,
    /// What the door does meanwhile.
    pub status: DoorStatus,
    /// Whether it replaces the schedule of the whole day.
    pub all_day_default: bool,
    /// Whether it waits until a supervisor has badged.
    pub first_person_in: bool,
    /// The groups of these supervisors.
    pub first_person_in_groups: Vec<String>,
    /// Whether two people have to badge; kept and shown, without effect.
    pub double_badge: bool,
    /// The groups of these people.
    pub double_badge_groups: Vec<String>,
    /// On which further days it repeats.
    pub recurrence: Option<Recurrence>,
}

/// The rule that a body breaks, in words.
pub type Broken = String;

impl Exception {
    /// On one day, from one time to another.
    pub const fn once(status: DoorStatus, date: Date, start: Time, end: Time) -> Self {
        Self {
            date,
            start,
            end,
            status,
            all_day_default: false,
            first_person_in: false,
            first_person_in_groups: Vec::new(),
            double_badge: false,
            double_badge_groups: Vec::new(),
            recurrence: None,
        }
    }

    /// Reads an exception as it is sent.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn read(body: &Map<String, Value>) -> Result<Self, Broken> {
        let date = read_date("date", text(body, "date")?.ok_or("date is required")?)?;
        let word = text(body, "door_status")?.ok_or("door_status is required")?;
        let status = DoorStatus::ALL.into_iter().find(|status| status.word() == word);
        let status = status.ok_or_else(|| {
            format!("door_status must be one of {}", DoorStatus::ALL.map(DoorStatus::word).join(", "))
        })?;
        let all_day_default = flag(body, "all_day_default")?;
        let (start, end) = if all_day_default { all_day(body, status)? } else { times(body)? };
        let exception = Self {
            date,
            start,
            end,
            status,
            all_day_default,
            first_person_in: flag(body, "first_person_in")?,
            first_person_in_groups: texts(body, "first_person_in_group_ids")?.unwrap_or_default(),
            double_badge: flag(body, "double_badge")?,
            double_badge_groups: texts(body, "double_badge_group_ids")?.unwrap_or_default(),
            recurrence: match body.get("recurrence_rule") {
                None | Some(Value::Null) => None,
                Some(Value::Object(rule)) => Some(Recurrence::read(rule, date)?),
                Some(_) => return Err("recurrence_rule must be an object".to_owned()),
            },
        };
        exception.check_people()?;
        Ok(exception)
    }

    fn check_people(&self) -> Result<(), Broken> {
        let rules = [
            (self.first_person_in && self.all_day_default, "all_day_default needs first_person_in false"),
            (self.double_badge && self.all_day_default, "all_day_default needs double_badge false"),
            (
                self.first_person_in && self.status == DoorStatus::Locked,
                "first_person_in needs door_status card_and_code, access_controlled or unlocked",
            ),
            (
                !self.first_person_in && !self.first_person_in_groups.is_empty(),
                "first_person_in_group_ids needs first_person_in",
            ),
            (
                self.double_badge && self.status != DoorStatus::AccessControlled,
                "double_badge needs door_status access_controlled",
            ),
            (
                !self.double_badge && !self.double_badge_groups.is_empty(),
                "double_badge_group_ids needs double_badge",
            ),
        ];
        let broken = rules.into_iter().find(|(broken, _)| *broken);
        broken.map_or(Ok(()), |(_, rule)| Err(rule.to_owned()))
    }

    /// Whether it is a rule for a day.
    pub fn is_on(&self, day: Date) -> bool {
        self.recurrence.as_ref().map_or(day == self.date, |rule| rule.is_on(self.date, day))
    }

    /// Whether it ends with its day: it covers the day, or ends at 23:59 where this means the whole of that minute.
    pub fn ends_with_day(&self, last_minute_counts: bool) -> bool {
        self.all_day_default || (last_minute_counts && self.end >= LAST_MINUTE)
    }

    /// Whether a moment of wall-clock time is in it.
    pub fn covers(&self, moment: DateTime, last_minute_counts: bool) -> bool {
        let time = moment.time();
        self.start <= time
            && (time < self.end || self.ends_with_day(last_minute_counts))
            && self.is_on(moment.date())
    }

    /// Whether both are in force at some moment; days are compared for four years from the later first day on.
    pub fn overlaps(&self, other: &Self, last_minute_counts: bool) -> bool {
        let before = |one: &Self, two: &Self| one.start < two.end || two.ends_with_day(last_minute_counts);
        if !before(self, other) || !before(other, self) {
            return false;
        }
        match (&self.recurrence, &other.recurrence) {
            (None, _) => other.is_on(self.date),
            (_, None) => self.is_on(other.date),
            (Some(_), Some(_)) => {
                let days = self.date.max(other.date).series(Span::new().days(1));
                days.take(DAYS_COMPARED).any(|day| self.is_on(day) && other.is_on(day))
            }
        }
    }
}

/// How many days are looked at for an overlap of two rules: a leap year comes once in them.
const DAYS_COMPARED: usize = 4 * 366;

fn all_day(body: &Map<String, Value>, status: DoorStatus) -> Result<(Time, Time), Broken> {
    if status != DoorStatus::AccessControlled {
        return Err("all_day_default needs door_status access_controlled".to_owned());
    }
    if text(body, "start_time")?.is_some() || text(body, "end_time")?.is_some() {
        return Err("all_day_default allows no start_time and no end_time".to_owned());
    }
    Ok((Time::midnight(), LAST_SECOND))
}

fn times(body: &Map<String, Value>) -> Result<(Time, Time), Broken> {
    let read = |name: &str| {
        let given = text(body, name)?.ok_or_else(|| format!("{name} is required"))?;
        time_of(given).ok_or_else(|| format!("{name} must be hh:mm"))
    };
    let (start, end) = (read("start_time")?, read("end_time")?);
    if end > start { Ok((start, end)) } else { Err("end_time must be after start_time".to_owned()) }
}

/// A time of day as `hh:mm`, or as `hh:mm:ss`, which is how it comes back.
fn time_of(given: &str) -> Option<Time> {
    let mut parts = given.split(':').map(|part| {
        let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse::<i8>().ok()).flatten()
    });
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    parts.next().is_none().then(|| Time::new(hour, minute, second, 0).ok()).flatten()
}

/// A date as `YYYY-MM-DD`.
fn read_date(name: &str, given: &str) -> Result<Date, Broken> {
    let broken = || format!("{name} must be a date as YYYY-MM-DD");
    let shape = given.len() == 10 && given.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let read = shape.then(|| given.parse::<Date>().ok()).flatten();
    read.filter(|read| *read >= date(1970, 1, 1)).ok_or_else(broken)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(changes: &Value) -> Result<Exception, Broken> {
        let mut body = json!({
            "date": "2026-09-18", "start_time": "07:30", "end_time": "18:00", "door_status": "unlocked",
        });
        for (name, value) in changes.as_object().unwrap() {
            let members = body.as_object_mut().unwrap();
            if value == "left out" {
                members.remove(name);
            } else {
                members.insert(name.clone(), value.clone());
            }
        }
        Exception::read(body.as_object().unwrap())
    }

    #[test]
    fn a_good_exception_is_taken_in_every_form() {
        let plain =
            Exception::once(DoorStatus::Unlocked, date(2026, 9, 18), time(7, 30, 0, 0), time(18, 0, 0, 0));
        assert_eq!(read(&json!({})), Ok(plain.clone()));
        assert_eq!(read(&json!({ "start_time": "07:30:00", "end_time": "18:00:00" })), Ok(plain));
        for good in [
            json!({ "first_person_in": true, "first_person_in_group_ids": ["g"] }),
            json!({ "double_badge": true, "double_badge_group_ids": ["g"], "door_status": "access_controlled" }),
            json!({ "all_day_default": true, "door_status": "access_controlled", "start_time": "left out",
                "end_time": "left out" }),
            json!({ "recurrence_rule": null, "first_person_in": null, "first_person_in_group_ids": null }),
        ] {
            assert!(read(&good).is_ok(), "{good}");
        }
    }

    #[test]
    fn each_broken_rule_is_named() {
        let all_day = |changes: Value| {
            let mut body = json!({ "all_day_default": true, "door_status": "access_controlled",
                "start_time": "left out", "end_time": "left out" });
            body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            body
        };
        for (changes, told) in [
            (json!({ "date": "left out" }), "date is required"),
            (json!({ "date": "18.09.2026" }), "date must be a date as YYYY-MM-DD"),
            (json!({ "date": "2026-02-29" }), "date must be a date as YYYY-MM-DD"),
            (json!({ "date": 5 }), "date must be a text"),
            (json!({ "start_time": "left out" }), "start_time is required"),
            (json!({ "end_time": "left out" }), "end_time is required"),
            (json!({ "start_time": "7:30" }), "start_time must be hh:mm"),
            (json!({ "end_time": "24:00" }), "end_time must be hh:mm"),
            (json!({ "end_time": "18:00:00:00" }), "end_time must be hh:mm"),
            (json!({ "end_time": "07:30" }), "end_time must be after start_time"),
            (json!({ "door_status": "left out" }), "door_status is required"),
            (
                json!({ "door_status": "open" }),
                "door_status must be one of locked, card_and_code, access_controlled, unlocked",
            ),
            (
                all_day(json!({ "door_status": "unlocked" })),
                "all_day_default needs door_status access_controlled",
            ),
            (
                all_day(json!({ "start_time": "00:00" })),
                "all_day_default allows no start_time and no end_time",
            ),
            (all_day(json!({ "first_person_in": true })), "all_day_default needs first_person_in false"),
            (all_day(json!({ "double_badge": true })), "all_day_default needs double_badge false"),
            (json!({ "all_day_default": "yes" }), "all_day_default must be true or false"),
            (
                json!({ "first_person_in": true, "door_status": "locked" }),
                "first_person_in needs door_status card_and_code, access_controlled or unlocked",
            ),
            (
                json!({ "first_person_in_group_ids": ["g"] }),
                "first_person_in_group_ids needs first_person_in",
            ),
            (
                json!({ "first_person_in": true, "first_person_in_group_ids": "g" }),
                "first_person_in_group_ids must be a list of texts",
            ),
            (json!({ "double_badge": true }), "double_badge needs door_status access_controlled"),
            (json!({ "double_badge_group_ids": ["g"] }), "double_badge_group_ids needs double_badge"),
            (json!({ "recurrence_rule": [] }), "recurrence_rule must be an object"),
        ] {
            assert_eq!(read(&changes), Err(told.to_owned()), "{changes}");
        }
    }

    #[test]
    fn the_end_is_outside_and_the_last_minute_counts_or_not() {
        let at = |hour, minute| date(2026, 9, 18).at(hour, minute, 59, 0);
        let plain = read(&json!({})).unwrap();
        assert!(plain.covers(at(7, 30), true) && plain.covers(at(17, 59), true));
        assert!(!plain.covers(at(7, 29), true) && !plain.covers(at(18, 0), true));
        let late = read(&json!({ "end_time": "23:59" })).unwrap();
        assert_eq!((late.covers(at(23, 59), true), late.covers(at(23, 59), false)), (true, false));
        let all_day = read(&json!({ "all_day_default": true, "door_status": "access_controlled",
            "start_time": "left out", "end_time": "left out" }));
        assert!(all_day.unwrap().covers(at(23, 59), false));
    }

    #[test]
    fn overlaps_are_seen_on_single_days_and_between_rules() {
        let weekly = |day: &str, date: &str, start: &str, end: &str| {
            read(&json!({ "date": date, "start_time": start, "end_time": end,
                "recurrence_rule": { "frequency": "WEEKLY", "interval": 1, "by_day": [day] } }))
            .unwrap()
        };
        let friday = weekly("FR", "2026-09-18", "07:30", "18:00");
        let single = |date: &str, start: &str, end: &str| {
            read(&json!({ "date": date, "start_time": start, "end_time": end })).unwrap()
        };
        for (other, overlaps) in [
            (single("2026-09-25", "17:59", "19:00"), true),
            (single("2026-09-25", "18:00", "19:00"), false),
            (single("2026-09-26", "08:00", "09:00"), false),
            (single("2026-09-11", "08:00", "09:00"), false),
            (weekly("FR", "2026-10-02", "06:00", "07:31"), true),
            (weekly("SA", "2026-09-19", "08:00", "09:00"), false),
        ] {
            assert_eq!(friday.overlaps(&other, true), overlaps, "{other:?}");
            assert_eq!(other.overlaps(&friday, true), overlaps, "{other:?}");
        }
    }
}
