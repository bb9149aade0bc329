//! Exceptions of calendars as JSON, in our own words.

use jiff::civil::Time;
use serde_json::{Map, Value, json};

use crate::model::{Calendar, DoorMode, Exception, ExceptionMode, Hours, Recurrence};

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

/// A time of day as `hh:mm`, with seconds only where it has some.
fn time(at: Time) -> String {
    let form = if at.second() == 0 { "%H:%M" } else { "%H:%M:%S" };
    at.strftime(form).to_string()
}
