//! Exceptions of calendars as JSON, in our own words: how they are told, and how they are read.

use jiff::civil::Time;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::json_fault::without_values;
use crate::model::{
    Calendar, DoorMode, Edit, Exception, ExceptionId, ExceptionMode, Frequency, GroupId, Hours, Recurrence,
    Weekday, day,
};

/// What an exception says. Members that say nothing are left out, but for those of every exception.
pub fn exception(exception: &Exception) -> Value {
    let (start, end) = match exception.hours {
        Hours::AllDay => (None, None),
        Hours::Between(start, end) => (Some(time(start)), Some(time(end))),
    };
    let mode = match exception.mode {
        ExceptionMode::Known(mode) => Some(mode),
        ExceptionMode::Unknown(_) => None,
    };
    let mut told = Map::new();
    let mut tell = |member: &str, value: Value| told.insert(member.to_owned(), value);
    tell("id", json!(exception.id));
    tell("date", json!(exception.date.to_string()));
    tell("start", json!(start));
    tell("end", json!(end));
    tell("all_day", json!(exception.hours == Hours::AllDay));
    tell("mode", json!(mode.map(DoorMode::word)));
    for (member, of_groups, groups) in [
        ("first_person_in", "first_person_in_groups", &exception.first_person_in),
        ("double_badge", "double_badge_groups", &exception.double_badge),
    ] {
        if let Some(groups) = groups {
            tell(member, json!(true));
            if !groups.is_empty() {
                tell(of_groups, json!(groups));
            }
        }
    }
    if let Some(rule) = &exception.recurrence {
        tell("recurrence", recurrence(rule));
    }
    if let Err(broken) = exception.check() {
        tell("problem", json!(broken.to_string()));
    }
    Value::Object(told)
}

fn recurrence(rule: &Recurrence) -> Value {
    let days: Vec<String> = rule.by_day.iter().map(ToString::to_string).collect();
    let mut all = json!({
        "frequency": rule.frequency.vendor_word(),
        "interval": rule.interval,
        "by_day": (!days.is_empty()).then_some(days),
        "by_month": rule.by_month,
        "by_month_day": rule.by_month_day,
        "by_set_pos": rule.by_set_pos,
        "count": rule.count,
        "until": rule.until,
        "excluded_dates": (!rule.excluded_dates.is_empty()).then_some(&rule.excluded_dates),
    });
    if let Some(members) = all.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    all
}

/// The exceptions of a calendar in the order in which they are told: those that repeat, then the newest day first.
pub fn in_order(calendar: &Calendar) -> Vec<&Exception> {
    let mut exceptions: Vec<&Exception> = calendar.exceptions.iter().collect();
    exceptions.sort_by(|one, other| {
        let order = |exception: &Exception| (exception.recurrence.is_some(), exception.date);
        order(other).cmp(&order(one)).then_with(|| one.id.cmp(&other.id))
    });
    exceptions
}

/// What the names of all calendars of the gateway begin with; no other calendar of the organisation has such a name.
pub fn own_prefix(base_topic: &str) -> String {
    format!("verkada2mqtt {base_topic} ")
}

/// Whether a calendar is the gateway's own.
pub fn is_own(calendar: &Calendar, base_topic: &str) -> bool {
    calendar.name.as_deref().is_some_and(|name| name.starts_with(&own_prefix(base_topic)))
}

/// How an exception repeats, in the terms of RFC 5545.
pub fn rule(rule: &Recurrence) -> String {
    let days: Vec<String> = rule.by_day.iter().map(ToString::to_string).collect();
    let text = |number: Option<i64>| number.map(|number| number.to_string());
    let parts = [
        ("FREQ", Some(rule.frequency.vendor_word().to_owned())),
        ("INTERVAL", Some(rule.interval.to_string())),
        ("BYDAY", (!days.is_empty()).then(|| days.join(","))),
        ("BYMONTH", text(rule.by_month.map(i64::from))),
        ("BYMONTHDAY", text(rule.by_month_day.map(i64::from))),
        ("BYSETPOS", text(rule.by_set_pos.map(i64::from))),
        ("COUNT", text(rule.count.map(i64::from))),
        ("UNTIL", rule.until.clone()),
        ("EXDATE", (!rule.excluded_dates.is_empty()).then(|| rule.excluded_dates.join(","))),
    ];
    let told = parts.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
    told.collect::<Vec<_>>().join(";")
}

/// What an edit came to: with the id of the exception, which whoever asked for it may not know yet.
pub fn done(edit: &Edit, calendar: Option<&Calendar>) -> String {
    match edit {
        Edit::Create(wanted) => {
            let mut exceptions = calendar.into_iter().flat_map(|calendar| &calendar.exceptions);
            let known = exceptions.find(|exception| exception.says_the_same_as(wanted));
            match known.and_then(|exception| exception.id.as_ref()) {
                Some(id) => format!("the calendar has the exception; its id is {id}"),
                None => "the calendar has the exception".to_owned(),
            }
        }
        Edit::Change(id, _) => format!("exception {id} of the calendar says what was asked for"),
        Edit::Delete(id) => format!("the calendar has no exception {id} any more"),
    }
}

/// A time of day as `hh:mm`, with seconds only where it has some.
pub fn time(at: Time) -> String {
    let form = if at.second() == 0 { "%H:%M" } else { "%H:%M:%S" };
    at.strftime(form).to_string()
}

/// What adds an exception.
///
/// # Errors
/// A sentence that says what is wrong, with the rule of the vendor that is broken.
pub fn create(id: Option<&str>, exception: Option<&RawValue>) -> Result<Edit, String> {
    let (own, exception) = read(exception)?;
    if id.is_some() || own.is_some() {
        return Err("an exception that is created has no id yet; leave out exception_id and id".to_owned());
    }
    Ok(Edit::Create(exception))
}

/// What makes an exception say something else.
///
/// # Errors
/// As for [`create`].
pub fn change(id: Option<&str>, exception: Option<&RawValue>) -> Result<Edit, String> {
    let (own, exception) = read(exception)?;
    let id = id.map(exception_id).transpose()?;
    match (id, own) {
        (Some(id), Some(own)) if id != own => {
            Err("exception_id and the id of the exception name different ones".to_owned())
        }
        (Some(id), _) | (None, Some(id)) => Ok(Edit::Change(id, exception)),
        (None, None) => Err("change needs exception_id: it says which exception".to_owned()),
    }
}

/// What takes an exception away.
///
/// # Errors
/// As for [`create`].
pub fn delete(id: Option<&str>, exception: Option<&RawValue>) -> Result<Edit, String> {
    if exception.is_some() {
        return Err("delete takes exception_id alone, and no exception".to_owned());
    }
    let id = id.ok_or("delete needs exception_id: it says which exception")?;
    exception_id(id).map(Edit::Delete)
}

fn exception_id(text: &str) -> Result<ExceptionId, String> {
    text.parse().map_err(|error| format!("exception_id: {error}"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawException {
    id: Option<String>,
    date: Option<String>,
    start: Option<String>,
    end: Option<String>,
    all_day: Option<bool>,
    mode: Option<String>,
    first_person_in: Option<bool>,
    first_person_in_groups: Option<Vec<String>>,
    double_badge: Option<bool>,
    double_badge_groups: Option<Vec<String>>,
    recurrence: Option<RawRecurrence>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRecurrence {
    frequency: Option<String>,
    interval: Option<u32>,
    by_day: Option<Vec<String>>,
    by_month: Option<i8>,
    by_month_day: Option<i8>,
    by_set_pos: Option<i32>,
    count: Option<u32>,
    until: Option<String>,
    excluded_dates: Option<Vec<String>>,
}

fn read(text: Option<&RawValue>) -> Result<(Option<ExceptionId>, Exception), String> {
    let text = text.ok_or("member exception is missing: it says what the doors are kept at, and when")?;
    let raw: RawException = serde_json::from_str(text.get())
        .map_err(|error| format!("member exception: {}", without_values(&error)))?;
    let told = |broken: &dyn std::fmt::Display| format!("member exception: {broken}");
    let id =
        raw.id.as_deref().map(str::parse).transpose().map_err(|error| told(&format_args!("id: {error}")))?;
    let exception = raw.into_exception().map_err(|broken| told(&broken))?;
    exception.check().map_err(|broken| told(&broken))?;
    Ok((id, exception))
}

impl RawException {
    fn into_exception(self) -> Result<Exception, String> {
        let date = self.date.ok_or("date is required")?;
        let date = day(&date).ok_or("date must be a day as YYYY-MM-DD, from 1970 on")?;
        let hours = match (self.all_day, self.start, self.end) {
            (Some(true), None, None) => Hours::AllDay,
            (Some(true), ..) => return Err("all_day allows no start and no end".to_owned()),
            (_, Some(start), Some(end)) => Hours::Between(time_of("start", &start)?, time_of("end", &end)?),
            (_, None, _) => return Err("start is required where all_day is not true".to_owned()),
            (_, _, None) => return Err("end is required where all_day is not true".to_owned()),
        };
        let words = || DoorMode::ALL.map(DoorMode::word).join(", ");
        let mode = self.mode.ok_or_else(|| format!("mode is required: {}", words()))?;
        let mode = DoorMode::ALL.into_iter().find(|known| known.word() == mode);
        let mode = mode.ok_or_else(|| format!("mode must be one of {}", words()))?;
        Ok(Exception {
            id: None,
            date,
            hours,
            mode: ExceptionMode::Known(mode),
            first_person_in: groups("first_person_in", self.first_person_in, self.first_person_in_groups)?,
            double_badge: groups("double_badge", self.double_badge, self.double_badge_groups)?,
            recurrence: self.recurrence.map(RawRecurrence::into_recurrence).transpose()?,
        })
    }
}

impl RawRecurrence {
    fn into_recurrence(self) -> Result<Recurrence, String> {
        let words = || Frequency::ALL.map(Frequency::vendor_word).join(", ");
        let frequency = self.frequency.ok_or_else(|| format!("frequency is required: {}", words()))?;
        let frequency = Frequency::of_vendor_word(&frequency.to_ascii_uppercase())
            .ok_or_else(|| format!("frequency must be one of {}", words()))?;
        let weekday = |word: &String| Weekday::of_vendor_word(&word.to_ascii_uppercase());
        let by_day: Option<Vec<Weekday>> = self.by_day.iter().flatten().map(weekday).collect();
        Ok(Recurrence {
            frequency,
            interval: self.interval.ok_or("interval is required")?,
            by_day: by_day.ok_or("by_day must be a list of SU, MO, TU, WE, TH, FR, SA")?,
            by_month: self.by_month,
            by_month_day: self.by_month_day,
            by_set_pos: self.by_set_pos,
            count: self.count,
            until: self.until,
            excluded_dates: self.excluded_dates.unwrap_or_default(),
        })
    }
}

fn groups(
    member: &str,
    flag: Option<bool>,
    ids: Option<Vec<String>>,
) -> Result<Option<Vec<GroupId>>, String> {
    let ids = ids.unwrap_or_default();
    if flag != Some(true) {
        let unused = format!("{member}_groups needs {member} true");
        return if ids.is_empty() { Ok(None) } else { Err(unused) };
    }
    let read = ids.iter().map(|id| id.parse().map_err(|error| format!("{member}_groups: {error}")));
    read.collect::<Result<_, _>>().map(Some)
}

fn time_of(member: &str, text: &str) -> Result<Time, String> {
    let shape = matches!(text.len(), 5 | 8) && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
    let read = shape.then(|| text.parse().ok()).flatten();
    read.ok_or_else(|| format!("{member} must be hh:mm, from 00:00 to 23:59"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &Value) -> Box<RawValue> {
        RawValue::from_string(text.to_string()).unwrap()
    }

    /// A good exception with some members changed; `null` leaves one out.
    fn with(changes: &Value) -> Result<Edit, String> {
        let mut text = json!({"date": "2026-09-18", "start": "07:30", "end": "18:00", "mode": "unlocked"});
        for (member, value) in changes.as_object().unwrap() {
            text.as_object_mut().unwrap().insert(member.clone(), value.clone());
        }
        create(None, Some(&raw(&text)))
    }

    #[test]
    fn what_is_told_of_an_exception_is_read_as_the_same() {
        for changes in [
            json!({}),
            json!({"start": null, "end": null, "all_day": true, "mode": "credential"}),
            json!({"first_person_in": true, "first_person_in_groups": ["g-1"], "end": "23:59:59"}),
            json!({"double_badge": true, "mode": "credential"}),
            json!({"recurrence": {"frequency": "weekly", "interval": 2, "by_day": ["fr", "MO"], "until": "2026-12-18",
                "excluded_dates": ["2026-10-30"]}}),
            json!({"recurrence": {"frequency": "YEARLY", "interval": 1, "by_day": ["FR"], "by_set_pos": -1, "by_month": 9,
                "count": 3}}),
        ] {
            let Ok(Edit::Create(read)) = with(&changes) else { panic!("{changes}: {:?}", with(&changes)) };
            let told = raw(&exception(&read));
            assert_eq!(create(None, Some(&told)), Ok(Edit::Create(read.clone())), "{changes}");
            let known = Exception { id: Some("e-1".parse().unwrap()), ..read.clone() };
            let told = raw(&exception(&known));
            let id = known.id.unwrap();
            assert_eq!(change(None, Some(&told)), Ok(Edit::Change(id.clone(), read.clone())));
            assert_eq!(change(Some("e-1"), Some(&told)), Ok(Edit::Change(id, read)));
            assert!(change(Some("e-2"), Some(&told)).unwrap_err().contains("name different ones"));
        }
    }

    #[test]
    fn what_is_wrong_with_an_exception_is_named() {
        let rule = |changes: Value| {
            let mut rule = json!({"frequency": "WEEKLY", "interval": 1, "by_day": ["FR"]});
            rule.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            json!({ "recurrence": rule })
        };
        for (changes, told) in [
            (json!({"date": null}), "date is required"),
            (json!({"date": "18.09.2026"}), "date must be a day as YYYY-MM-DD"),
            (json!({"start": null}), "start is required where all_day is not true"),
            (json!({"end": null}), "end is required where all_day is not true"),
            (json!({"start": "7:30"}), "start must be hh:mm"),
            (json!({"end": "24:00"}), "end must be hh:mm"),
            (json!({"end": "07:30"}), "end must be after start"),
            (json!({"mode": null}), "mode is required: unlocked, locked, card_and_code, credential"),
            (
                json!({"mode": "access_controlled"}),
                "mode must be one of unlocked, locked, card_and_code, credential",
            ),
            (json!({"all_day": true, "mode": "credential"}), "all_day allows no start and no end"),
            (json!({"all_day": true, "start": null, "end": null}), "all_day needs mode credential"),
            (json!({"first_person_in_groups": ["g"]}), "first_person_in_groups needs first_person_in true"),
            (
                json!({"double_badge": false, "double_badge_groups": ["g"]}),
                "double_badge_groups needs double_badge true",
            ),
            (
                json!({"first_person_in": true, "first_person_in_groups": ["#"]}),
                "first_person_in_groups: an id holds '#'",
            ),
            (json!({"double_badge": true}), "double_badge needs mode credential"),
            (json!({"id": "e-1"}), "an exception that is created has no id yet"),
            (json!({"id": "e/1"}), "id: an id holds '/'"),
            (json!({"colour": 1}), "unknown field `colour`"),
            // Somebody may have written a code in the wrong place.
            (json!({"73519": 1}), "unknown field, expected one of `id`"),
            (json!({"all_day": "73519"}), "invalid type: string, expected a boolean"),
            (rule(json!({"frequency": null})), "frequency is required: DAILY, WEEKLY, MONTHLY, YEARLY"),
            (rule(json!({"frequency": "HOURLY"})), "frequency must be one of DAILY"),
            (rule(json!({"interval": null})), "interval is required"),
            (rule(json!({"interval": -1})), "invalid value: integer, expected u32"),
            (rule(json!({"by_day": ["friday"]})), "by_day must be a list of SU, MO"),
            (rule(json!({"by_day": ["MO"]})), "by_day must include the weekday of date"),
            (rule(json!({"count": 1, "until": "2026-12-18"})), "only one of count and until is allowed"),
        ] {
            let error = with(&changes).unwrap_err();
            assert!(error.contains(told), "{changes}: {error}");
            assert!(!error.contains('\n') && !error.contains("73519"), "{error}");
        }
        let good = raw(&json!({"date": "2026-09-18", "start": "07:30", "end": "18:00", "mode": "locked"}));
        assert!(create(None, None).unwrap_err().contains("member exception is missing"));
        assert!(create(Some("e-1"), Some(&good)).unwrap_err().contains("has no id yet"));
        assert!(change(None, Some(&good)).unwrap_err().contains("change needs exception_id"));
        assert!(change(Some("e/1"), Some(&good)).unwrap_err().contains("exception_id: an id holds '/'"));
        assert!(delete(None, None).unwrap_err().contains("delete needs exception_id"));
        assert!(delete(Some("e-1"), Some(&good)).unwrap_err().contains("no exception"));
        assert_eq!(delete(Some("e-1"), None), Ok(Edit::Delete("e-1".parse().unwrap())));
    }
}
