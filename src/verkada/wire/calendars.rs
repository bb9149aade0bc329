//! Exception calendars, as they come and as they are written (`verkada-api.md` 9.1).

use jiff::civil::{Date, Time};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{MAX_TEXT_CHARS, WireTime, cut, decode, id, ids, inventory, quoted, short, time_of_day};
use crate::model::{
    Calendar, CalendarContent, CalendarId, DoorMode, Exception, ExceptionMode, Frequency, GroupId, Hours,
    Inventory, Recurrence, Weekday,
};

/// The exception calendars that the key may manage. What inside of one cannot be read is told by the calendar itself.
pub(in crate::verkada) fn calendars(body: &[u8]) -> Result<Inventory<Calendar>, String> {
    #[derive(Deserialize)]
    struct List<'a> {
        #[serde(borrow)]
        door_exception_calendars: Vec<&'a RawValue>,
    }
    let list: List<'_> = serde_json::from_slice(body).map_err(|e| short(&e))?;
    let read = |raw: &RawValue, _: &mut Vec<String>| decode::<WireCalendar>(raw)?.into_calendar();
    Ok(inventory("calendar", list.door_exception_calendars, |calendar| calendar.id.clone(), read))
}

/// One calendar: the answer when it was written.
pub(in crate::verkada) fn calendar(body: &[u8]) -> Result<Calendar, String> {
    let wire: WireCalendar = serde_json::from_slice(body).map_err(|e| short(&e))?;
    wire.into_calendar()
}

/// What is sent to write a calendar: `old` where it exists, whose exceptions then keep their ids. All members are sent,
/// since it is not known whether what is left out is kept.
pub(in crate::verkada) fn body(old: Option<&CalendarId>, content: &CalendarContent) -> Value {
    let exceptions: Vec<Value> =
        content.exceptions.iter().map(|exception| exception_body(old, exception)).collect();
    json!({ "name": content.name, "doors": content.doors, "exceptions": exceptions })
}

fn exception_body(calendar: Option<&CalendarId>, exception: &Exception) -> Value {
    let (all_day, times) = match exception.hours {
        Hours::AllDay => (true, None),
        Hours::Between(start, end) => (false, Some((time_text(start), time_text(end)))),
    };
    let (start, end) = times.unzip();
    let known = calendar.zip(exception.id.as_ref());
    let (calendar, id) = known.unzip();
    let word = match &exception.mode {
        ExceptionMode::Known(mode) => Some(mode.vendor_word()),
        // It goes back as it came.
        ExceptionMode::Unknown(word) => word.as_deref(),
    };
    let mut body = json!({
        "door_exception_id": id,
        "calendar_id": calendar,
        "date": exception.date.to_string(),
        "start_time": start,
        "end_time": end,
        "door_status": word,
        "all_day_default": all_day,
        "first_person_in": exception.first_person_in.is_some(),
        "first_person_in_group_ids": exception.first_person_in.as_deref().unwrap_or_default(),
        "double_badge": exception.double_badge.is_some(),
        "double_badge_group_ids": exception.double_badge.as_deref().unwrap_or_default(),
        "recurrence_rule": exception.recurrence.as_ref().map(recurrence_body),
    });
    // None of these members may be null; what has no value is not sent.
    if let Some(members) = body.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    body
}

fn recurrence_body(rule: &Recurrence) -> Value {
    json!({
        "frequency": rule.frequency.vendor_word(),
        "interval": rule.interval,
        "by_day": rule.by_day.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "by_month": rule.by_month,
        "by_month_day": rule.by_month_day,
        "by_set_pos": rule.by_set_pos,
        "count": rule.count,
        "until": rule.until,
        "excluded_dates": rule.excluded_dates,
    })
}

/// A time as `hh:mm`, which is how the vendor wants it. Only an old one that has seconds goes back with them: without, it
/// would be another time.
fn time_text(time: Time) -> String {
    if time.second() == 0 {
        format!("{:02}:{:02}", time.hour(), time.minute())
    } else {
        format!("{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second())
    }
}

#[derive(Deserialize)]
struct WireCalendar {
    door_exception_calendar_id: String,
    name: Option<String>,
    doors: Option<Vec<Option<String>>>,
    exceptions: Option<Vec<Box<RawValue>>>,
    last_updated_at: Option<Box<RawValue>>,
}

impl WireCalendar {
    fn into_calendar(self) -> Result<Calendar, String> {
        let id: CalendarId = id("door_exception_calendar_id", &self.door_exception_calendar_id)?;
        let mut lost = Vec::new();
        let doors = ids("a door", self.doors, &mut lost);
        if self.name.as_ref().is_some_and(|name| name.chars().count() > MAX_TEXT_CHARS) {
            lost.push(format!("the end of its name, which has more than {MAX_TEXT_CHARS} characters"));
        }
        let mut exceptions: Vec<Exception> = Vec::new();
        for (index, raw) in self.exceptions.iter().flatten().enumerate() {
            let read = decode::<WireException>(raw).and_then(|wire| wire.into_exception(index, &mut lost));
            match read {
                Ok(exception) if exceptions.iter().any(|other| other.id == exception.id) => {
                    lost.push(format!("exception {index}: it has the id of another one"));
                }
                Ok(exception) => exceptions.push(exception),
                Err(cause) => lost.push(format!("exception {index}: {cause}")),
            }
        }
        let updated_at = self.last_updated_at.and_then(|raw| decode::<WireTime>(&raw).ok()?.read().ok());
        let skipped = lost.into_iter().map(|what| format!("calendar {id} is kept without {what}")).collect();
        let name = self.name.map(|name| cut(&name));
        Ok(Calendar { id, name, doors, exceptions, updated_at, skipped })
    }
}

#[derive(Deserialize)]
struct WireException {
    door_exception_id: String,
    date: Option<String>,
    start_time: Option<String>,
    end_time: Option<String>,
    door_status: Option<String>,
    all_day_default: Option<bool>,
    first_person_in: Option<bool>,
    first_person_in_group_ids: Option<Vec<String>>,
    double_badge: Option<bool>,
    double_badge_group_ids: Option<Vec<String>>,
    recurrence_rule: Option<WireRecurrence>,
}

impl WireException {
    /// Reads it whole or not at all: what was left out of it would be lost when its calendar is written.
    fn into_exception(self, index: usize, lost: &mut Vec<String>) -> Result<Exception, String> {
        let hours = if self.all_day_default == Some(true) {
            Hours::AllDay
        } else {
            let start = time_of_day("start_time", self.start_time.as_deref())?;
            let end = time_of_day("end_time", self.end_time.as_deref())?;
            if end <= start {
                return Err(format!("its end {end} is not after its start {start}"));
            }
            Hours::Between(start, end)
        };
        let mode = match self.door_status {
            Some(word) => match DoorMode::of_vendor_word(&word.to_ascii_lowercase()) {
                Some(mode) => ExceptionMode::Known(mode),
                None => ExceptionMode::Unknown(Some(whole("door_status", word)?)),
            },
            None => ExceptionMode::Unknown(None),
        };
        let mut groups = |member: &str, flag: Option<bool>, texts: Option<Vec<String>>| {
            let groups: Result<Vec<GroupId>, String> =
                texts.iter().flatten().map(|text| id(&format!("{member}_group_ids"), text)).collect();
            let groups = groups?;
            if flag == Some(true) {
                return Ok::<_, String>(Some(groups));
            }
            if !groups.is_empty() {
                lost.push(format!("{member}_group_ids of exception {index}, which count for nothing"));
            }
            Ok(None)
        };
        Ok(Exception {
            id: Some(id("door_exception_id", &self.door_exception_id)?),
            date: date(self.date.as_deref())?,
            hours,
            mode,
            first_person_in: groups("first_person_in", self.first_person_in, self.first_person_in_group_ids)?,
            double_badge: groups("double_badge", self.double_badge, self.double_badge_group_ids)?,
            recurrence: self.recurrence_rule.map(WireRecurrence::into_recurrence).transpose()?,
        })
    }
}

#[derive(Deserialize)]
struct WireRecurrence {
    frequency: String,
    interval: u32,
    by_day: Option<Vec<String>>,
    by_month: Option<i8>,
    by_month_day: Option<i8>,
    by_set_pos: Option<i32>,
    count: Option<u32>,
    until: Option<String>,
    excluded_dates: Option<Vec<String>>,
}

impl WireRecurrence {
    fn into_recurrence(self) -> Result<Recurrence, String> {
        let unknown = |member: &str, word: &str| format!("{member}: {} is not known", quoted(word));
        let unit = Frequency::of_vendor_word(&self.frequency.to_ascii_uppercase());
        let day = |word: &String| {
            Weekday::of_vendor_word(&word.to_ascii_uppercase()).ok_or_else(|| unknown("by_day", word))
        };
        let within = |member: &str, number: Option<i8>, most: i8| match number {
            Some(number) if !(1..=most).contains(&number) => {
                Err(format!("{member}: {number} is not in 1 to {most}"))
            }
            Some(_) | None => Ok(number),
        };
        if self.interval == 0 {
            return Err("interval: 0 is not at least 1".to_owned());
        }
        let excluded_dates = self.excluded_dates.unwrap_or_default();
        Ok(Recurrence {
            frequency: unit.ok_or_else(|| unknown("frequency", &self.frequency))?,
            interval: self.interval,
            by_day: self.by_day.iter().flatten().map(day).collect::<Result<_, _>>()?,
            by_month: within("by_month", self.by_month, 12)?,
            by_month_day: within("by_month_day", self.by_month_day, 31)?,
            by_set_pos: self.by_set_pos,
            count: self.count,
            until: self.until.map(|text| whole("until", text)).transpose()?,
            excluded_dates: (excluded_dates.into_iter().map(|text| whole("excluded_dates", text)))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// Reads a day as `YYYY-MM-DD`.
fn date(text: Option<&str>) -> Result<Date, String> {
    let text = text.ok_or("date is missing")?;
    let shape = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let date = shape.then(|| text.parse().ok()).flatten();
    date.ok_or_else(|| format!("date: {} is no day", quoted(text)))
}

/// A text that goes back as it came, and therefore is not cut.
fn whole(member: &str, text: String) -> Result<String, String> {
    if text.chars().count() > MAX_TEXT_CHARS {
        return Err(format!("{member} has more than {MAX_TEXT_CHARS} characters"));
    }
    Ok(text)
}
