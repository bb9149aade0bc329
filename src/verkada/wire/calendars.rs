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

/// One exception, and the calendar that it is of, where that is told: the answer when it was written.
pub(in crate::verkada) fn exception(body: &[u8]) -> Result<(Option<CalendarId>, Exception), String> {
    #[derive(Deserialize)]
    struct Of {
        calendar_id: Option<String>,
    }
    let of: Of = serde_json::from_slice(body).map_err(|e| short(&e))?;
    let of = of.calendar_id.map(|text| id("calendar_id", &text)).transpose()?;
    let wire: WireException = serde_json::from_slice(body).map_err(|e| short(&e))?;
    // What counts for nothing in it is no part of what was asked for either.
    Ok((of, wire.into_exception(0, &mut Vec::new())?))
}

/// What is sent to write a calendar: `old` where it exists, whose exceptions then keep their ids. All members are sent,
/// since it is not known whether what is left out is kept.
pub(in crate::verkada) fn body(old: Option<&CalendarId>, content: &CalendarContent) -> Value {
    let exceptions: Vec<Value> =
        content.exceptions.iter().map(|exception| exception_body(old, exception)).collect();
    json!({ "name": content.name, "doors": content.doors, "exceptions": exceptions })
}

/// What is sent to write an exception; with ids only where it is an old one inside of its calendar.
pub(in crate::verkada) fn exception_body(calendar: Option<&CalendarId>, exception: &Exception) -> Value {
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

#[cfg(test)]
mod tests {
    use jiff::civil::{date, time};
    use proptest::prelude::*;

    use super::*;

    fn list() -> Inventory<Calendar> {
        calendars(include_bytes!("../../../tests/fixtures/verkada/exception-calendars-list.json")).unwrap()
    }

    /// A calendar with one exception that was changed.
    fn with_exception(change: impl Fn(&mut Value)) -> Calendar {
        let mut exception = json!({
            "door_exception_id": "e", "calendar_id": "c", "date": "2026-09-18", "start_time": "07:30:00",
            "end_time": "18:00:00", "door_status": "unlocked",
            "recurrence_rule": {"frequency": "WEEKLY", "interval": 1, "by_day": ["FR"]},
        });
        change(&mut exception);
        let body = json!({"door_exception_calendar_id": "c", "exceptions": [exception]});
        calendar(body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn calendars_are_read_as_the_vendor_lists_them() {
        let list = list();
        assert_eq!((list.items.len(), list.skipped.len()), (2, 0), "{list:?}");
        let hold = &list.items[0];
        assert_eq!(hold.id.as_str(), "90fccf50-1bb0-4f8e-b925-d5494e6f7c9f");
        assert_eq!(hold.name.as_deref(), Some("verkada2mqtt a652f4bb"));
        assert_eq!(hold.doors.len(), 1);
        assert_eq!(hold.updated_at.unwrap().as_second(), 1_789_628_400);
        assert!(hold.skipped.is_empty());
        let expected = Exception {
            id: Some("8cb20ea5-07ba-4200-876e-8f1df5aa45a0".parse().unwrap()),
            date: date(2026, 9, 17),
            hours: Hours::Between(time(9, 0, 0, 0), time(12, 0, 0, 0)),
            mode: ExceptionMode::Known(DoorMode::Unlocked),
            first_person_in: None,
            double_badge: None,
            recurrence: None,
        };
        assert_eq!(hold.exceptions, [expected]);
        let [day, friday] = list.items[1].exceptions.as_slice() else { panic!("{list:?}") };
        assert_eq!((day.hours, &day.mode), (Hours::AllDay, &ExceptionMode::Known(DoorMode::Credential)));
        let group: GroupId = "7e8ea066-0052-4037-bacb-eddb7eea0595".parse().unwrap();
        assert_eq!((&friday.first_person_in, &friday.double_badge), (&Some(vec![group]), &None));
        let rule = Recurrence {
            frequency: Frequency::Weekly,
            interval: 2,
            by_day: vec![Weekday::of_vendor_word("FR").unwrap()],
            by_month: None,
            by_month_day: None,
            by_set_pos: None,
            count: None,
            until: Some("2026-12-18".to_owned()),
            excluded_dates: vec!["2026-10-30".to_owned()],
        };
        assert_eq!(friday.recurrence, Some(rule));
    }

    #[test]
    fn a_calendar_that_cannot_be_read_costs_that_calendar() {
        let body = json!({"door_exception_calendars": [
            {"door_exception_calendar_id": "a", "name": null, "doors": null, "exceptions": null, "last_updated_at": null},
            {"door_exception_calendar_id": "b", "last_updated_at": {"new": 1}},
            {"door_exception_calendar_id": "c", "last_updated_at": i64::MAX},
            {"door_exception_calendar_id": "a", "name": "again"},
            {"door_exception_calendar_id": null},
            {"door_exception_calendar_id": "../d"},
            {"door_exception_calendar_id": "e", "exceptions": {}},
            null,
        ]});
        let list = calendars(body.to_string().as_bytes()).unwrap();
        let read: Vec<_> = list.items.iter().map(|one| (one.id.as_str(), one.updated_at)).collect();
        assert_eq!(read, [("a", None), ("b", None), ("c", None)]);
        assert!(list.items.iter().all(|calendar| calendar.skipped.is_empty()), "{list:?}");
        let starts: Vec<_> = list.skipped.iter().map(|text| text.split(':').next().unwrap()).collect();
        assert_eq!(starts, [4, 5, 6, 7].map(|n| format!("calendar {n} of the list is left out")));
    }

    #[test]
    fn an_exception_that_cannot_be_read_whole_is_left_out_and_told() {
        let table: [(&str, Value, &str); 21] = [
            ("/door_exception_id", json!(null), "invalid type: null"),
            ("/door_exception_id", json!("e/#"), "door_exception_id: an id holds '/'"),
            ("/date", json!(null), "date is missing"),
            ("/date", json!("2026-02-30"), "date: \"2026-02-30\" is no day"),
            ("/date", json!("2026-09-18T07:00"), "is no day"),
            ("/start_time", json!(null), "start_time is missing"),
            ("/start_time", json!("7:30"), "start_time: \"7:30\" is no time of day"),
            ("/start_time", json!("07:30:00.5"), "is no time of day"),
            ("/start_time", json!("07:30:00:00"), "is no time of day"),
            ("/end_time", json!("24:00"), "end_time: \"24:00\" is no time of day"),
            ("/end_time", json!("07:30"), "its end 07:30:00 is not after its start 07:30:00"),
            ("/door_status", json!("x".repeat(256)), "door_status has more than 255 characters"),
            ("/first_person_in_group_ids", json!(["a", "#"]), "first_person_in_group_ids: an id holds '#'"),
            ("/double_badge_group_ids", json!([null]), "invalid type: null"),
            ("/recurrence_rule/frequency", json!("HOURLY"), "frequency: \"HOURLY\" is not known"),
            ("/recurrence_rule/interval", json!(0), "interval: 0 is not at least 1"),
            ("/recurrence_rule/interval", json!(null), "invalid type: null"),
            ("/recurrence_rule/by_day", json!(["1FR"]), "by_day: \"1FR\" is not known"),
            ("/recurrence_rule/by_month", json!(13), "by_month: 13 is not in 1 to 12"),
            ("/recurrence_rule/by_month_day", json!(-1), "by_month_day: -1 is not in 1 to 31"),
            ("/recurrence_rule/until", json!("x".repeat(256)), "until has more than 255 characters"),
        ];
        for (pointer, value, cause) in table {
            let read = with_exception(|exception| {
                let (parent, name) = pointer.rsplit_once('/').unwrap();
                exception.pointer_mut(parent).unwrap()[name] = value.clone();
            });
            assert!(read.exceptions.is_empty(), "{pointer} {value}");
            let [told] = read.skipped.as_slice() else { panic!("{pointer} {value}: {:?}", read.skipped) };
            assert!(told.starts_with("calendar c is kept without exception 0: "), "{told}");
            assert!(told.contains(cause) && !told.contains('\n'), "{told}");
        }
        assert_eq!(with_exception(|_| {}).exceptions.len(), 1);
    }

    #[test]
    fn what_is_lost_of_a_calendar_is_told_and_the_rest_is_kept() {
        let read = with_exception(|exception| exception["first_person_in_group_ids"] = json!(["g"]));
        assert_eq!(read.exceptions[0].first_person_in, None);
        assert_eq!(
            read.skipped,
            ["calendar c is kept without first_person_in_group_ids of exception 0, which count for nothing"]
        );
        let exception = json!({"door_exception_id": "e", "date": "2026-09-18", "all_day_default": true});
        let body = json!({"door_exception_calendar_id": "c", "name": "n".repeat(256), "doors": ["d", "#", null],
            "exceptions": [exception, exception]});
        let read = calendar(body.to_string().as_bytes()).unwrap();
        assert_eq!((read.doors.len(), read.exceptions.len()), (1, 1));
        assert_eq!(read.name.unwrap().len(), 255);
        assert_eq!(
            read.skipped,
            [
                "calendar c is kept without a door: an id holds '#'; allowed are 1 to 64 letters, digits and hyphens",
                "calendar c is kept without the end of its name, which has more than 255 characters",
                "calendar c is kept without exception 1: it has the id of another one",
            ]
        );
    }

    #[test]
    fn words_are_known_in_either_case_and_unknown_ones_are_kept() {
        let read = with_exception(|exception| {
            exception["door_status"] = json!("CARD_AND_CODE");
            exception["recurrence_rule"]["frequency"] = json!("weekly");
            exception["recurrence_rule"]["by_day"] = json!(["fr"]);
        });
        assert_eq!(read.exceptions[0].mode, ExceptionMode::Known(DoorMode::CardAndCode));
        assert!(read.skipped.is_empty());
        for (value, word) in [(json!("ajar"), Some("ajar")), (json!(null), None)] {
            let read = with_exception(|exception| exception["door_status"] = value.clone());
            let [exception] = read.exceptions.as_slice() else { panic!("{:?}", read.skipped) };
            assert_eq!(exception.mode, ExceptionMode::Unknown(word.map(str::to_owned)));
            let body = exception_body(None, exception);
            assert_eq!(
                body.get("door_status"),
                word.map(|word| json!(word)).as_ref(),
                "it goes back as it came"
            );
        }
    }

    #[test]
    fn an_old_time_with_seconds_goes_back_with_them() {
        let read = with_exception(|exception| exception["end_time"] = json!("23:59:59"));
        let body = exception_body(None, &read.exceptions[0]);
        assert_eq!((&body["start_time"], &body["end_time"]), (&json!("07:30"), &json!("23:59:59")));
    }

    prop_compose! {
        fn any_rule()(
            unit in 0..4_usize, interval in 1..99_u32, days in proptest::collection::vec(0..7_usize, 0..3),
            month in proptest::option::of(1..=12_i8), day in proptest::option::of(1..=31_i8),
            position in proptest::option::of(-5..5_i32), count in proptest::option::of(0..9_u32),
            until in proptest::option::of("[0-9-]{0,12}"), excluded_dates in proptest::collection::vec("[0-9-]{10}", 0..3),
        ) -> Recurrence {
            let words = ["SU", "MO", "TU", "WE", "TH", "FR", "SA"];
            Recurrence {
                frequency: Frequency::ALL[unit],
                interval,
                by_day: days.into_iter().map(|day| Weekday::of_vendor_word(words[day]).unwrap()).collect(),
                by_month: month,
                by_month_day: day,
                by_set_pos: position,
                count,
                until,
                excluded_dates,
            }
        }
    }

    fn any_groups() -> impl Strategy<Value = Option<Vec<GroupId>>> {
        let group = "[a-z0-9-]{1,9}".prop_map(|text| text.parse().unwrap());
        proptest::option::of(proptest::collection::vec(group, 0..3))
    }

    prop_compose! {
        fn any_exception()(
            old in any::<bool>(), day in 0..20_000_i64, from in 0..86_399_i32, lasts in 1..86_400_i32,
            all_day in any::<bool>(), mode in 0..4_usize, first_person_in in any_groups(), double_badge in any_groups(),
            recurrence in proptest::option::of(any_rule()),
        ) -> Exception {
            let at = |second: i32| {
                let part = |number: i32| i8::try_from(number).unwrap();
                time(part(second / 3600), part(second / 60 % 60), part(second % 60), 0)
            };
            let hours = Hours::Between(at(from), at((from + lasts).min(86_399)));
            Exception {
                id: old.then(|| "e".parse().unwrap()),
                date: date(2000, 1, 1).saturating_add(jiff::Span::new().days(day)),
                hours: if all_day { Hours::AllDay } else { hours },
                mode: ExceptionMode::Known(DoorMode::ALL[mode]),
                first_person_in,
                double_badge,
                recurrence,
            }
        }
    }

    prop_compose! {
        /// Mostly near the rules: the weekday of the day, few members at once.
        fn exception_near_the_rules()(
            exception in any_exception(), named in any::<bool>(), keep in proptest::collection::vec(any::<bool>(), 8),
            until in 0..3_usize, position in -2..3_i32,
        ) -> Exception {
            let mut exception = exception;
            exception.id = None;
            let own = Weekday(exception.date.weekday());
            if let Some(rule) = &mut exception.recurrence {
                if named {
                    rule.by_day = vec![own];
                }
                if keep[0] {
                    rule.by_day.clear();
                }
                rule.by_set_pos = Some(position).filter(|_| keep[1]);
                rule.by_month_day = rule.by_month_day.filter(|_| keep[2]);
                rule.count = rule.count.filter(|_| keep[3]);
                rule.until = [None, Some("2060-01-01".to_owned()), rule.until.clone()][until].clone();
                if keep[4] {
                    rule.excluded_dates.clear();
                }
            }
            exception.first_person_in = exception.first_person_in.filter(|_| keep[5]);
            exception.double_badge = exception.double_badge.filter(|_| keep[6]);
            if keep[7] {
                exception.hours = Hours::Between(time(7, 30, 0, 0), time(18, 0, 0, 0));
            }
            exception
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        /// What passes our rules passes those of the simulated vendor, and nothing else does.
        #[test]
        fn our_rules_are_those_of_the_simulated_vendor(exception in exception_near_the_rules()) {
            let body = exception_body(None, &exception);
            let theirs = crate::simulator::calendar::Exception::read(body.as_object().unwrap());
            let ours = exception.check();
            prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?} {}", ours, theirs, body);
        }
    }

    proptest! {
        /// Nothing of an exception is lost or changed on its way to the vendor and back.
        #[test]
        fn what_is_written_comes_back(exception in any_exception()) {
            let id: CalendarId = "c".parse().unwrap();
            let doors = vec!["d-1".parse().unwrap(), "d-2".parse().unwrap()];
            let content = CalendarContent { name: "N".to_owned(), doors, exceptions: vec![exception] };
            let sent = body(Some(&id), &content);
            let mut answer = sent.clone();
            answer["door_exception_calendar_id"] = json!("c");
            answer["exceptions"][0]["door_exception_id"] = json!("e");
            let read = calendar(answer.to_string().as_bytes()).unwrap();
            prop_assert_eq!(&read.skipped, &Vec::<String>::new());
            let mut exception = content.exceptions[0].clone();
            prop_assert_eq!(sent["exceptions"][0].get("door_exception_id").is_some(), exception.id.is_some());
            exception.id = Some("e".parse().unwrap());
            prop_assert_eq!(read.exceptions, vec![exception]);
            prop_assert_eq!((read.name, read.doors), (Some(content.name), content.doors));
        }
    }
}
