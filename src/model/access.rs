//! Access levels: who may pass which doors, and when (`verkada-api.md` 9.3, 10). The gateway reads them and changes none.

use jiff::civil::Time;

use super::{Door, DoorId, GroupId, LevelId, SiteId, Weekday};

/// When a day ends, in seconds from its beginning.
const DAY: u32 = 24 * 60 * 60;
/// From this second on an end is taken for that of the day: 23:59 (assumed, the vendor does not say).
const LAST_MINUTE: u32 = DAY - 60;
/// Days of the week as people shorten them.
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// An access level as the vendor lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLevel {
    /// The only safe key.
    pub id: LevelId,
    /// What people call it.
    pub name: Option<String>,
    /// The groups whose members it concerns.
    pub groups: Vec<GroupId>,
    /// The doors that they may pass.
    pub doors: Vec<DoorId>,
    /// Where it is. Where it names no door it is about all doors of these sites (assumed, the vendor does not say).
    pub sites: Vec<SiteId>,
    /// When. Without any, at no time.
    pub schedule: Vec<AccessHours>,
    /// Whether something of it could not be read and was left out.
    pub partial: bool,
}

impl AccessLevel {
    /// Whether it is about the door.
    pub fn covers(&self, door: &Door) -> bool {
        if self.doors.is_empty() {
            door.site.as_ref().is_some_and(|site| self.sites.contains(&site.id))
        } else {
            self.doors.contains(&door.id)
        }
    }

    /// When members of its groups may pass, in a few words: `always`, `never`, or the like of `Mon-Fri 08:00-18:00, Sat all day`.
    /// Times are those of the door.
    pub fn when(&self) -> String {
        let days: [String; 7] = std::array::from_fn(|day| hours_of(&self.schedule, day));
        let mut told: Vec<(Vec<usize>, &str)> = Vec::new();
        for (day, hours) in days.iter().enumerate().filter(|(_, hours)| !hours.is_empty()) {
            match told.iter_mut().find(|(_, known)| known == hours) {
                Some((with, _)) => with.push(day),
                None => told.push((vec![day], hours)),
            }
        }
        match told.as_slice() {
            [] => "never".to_owned(),
            [(every, ALL_DAY)] if every.len() == DAYS.len() => "always".to_owned(),
            told => {
                let one = |(days, hours): &(Vec<usize>, &str)| format!("{} {hours}", runs(days));
                told.iter().map(one).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// A day without an hour in which nobody passes.
const ALL_DAY: &str = "all day";

/// The hours of one day of the week, counted from Monday, those that meet as one; empty where there are none.
fn hours_of(schedule: &[AccessHours], day: usize) -> String {
    let of_day = |hours: &&AccessHours| usize::try_from(hours.weekday.0.to_monday_zero_offset()) == Ok(day);
    let mut spans: Vec<(u32, u32)> = schedule.iter().filter(of_day).map(AccessHours::span).collect();
    spans.sort_unstable();
    let mut joined: Vec<(u32, u32)> = Vec::new();
    for (start, end) in spans {
        match joined.last_mut() {
            // What ends before it begins is told as it is.
            Some((first, last)) if start <= *last && *first < *last && start < end => *last = end.max(*last),
            _ => joined.push((start, end)),
        }
    }
    if joined == [(0, DAY)] {
        return ALL_DAY.to_owned();
    }
    let span = |(start, end): &(u32, u32)| format!("{}-{}", clock(*start), clock(*end));
    joined.iter().map(span).collect::<Vec<_>>().join(" ")
}

fn clock(seconds: u32) -> String {
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if second == 0 { format!("{hour:02}:{minute:02}") } else { format!("{hour:02}:{minute:02}:{second:02}") }
}

/// Days in their order, those that follow each other as `Mon-Fri`.
fn runs(days: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for day in days {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *day => *last = *day,
            _ => runs.push((*day, *day)),
        }
    }
    let name = |day: usize| DAYS.get(day).copied().unwrap_or_default();
    let run = |(first, last): &(usize, usize)| {
        if first == last { name(*first).to_owned() } else { format!("{}-{}", name(*first), name(*last)) }
    };
    runs.iter().map(run).collect::<Vec<_>>().join(" ")
}

/// When members of a group may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessHours {
    /// On which day of the week.
    pub weekday: Weekday,
    /// From when on, in the time zone of the door.
    pub start: Time,
    /// Until when.
    pub end: Time,
}

impl AccessHours {
    /// Seconds from the beginning of the day.
    fn span(&self) -> (u32, u32) {
        let seconds = |time: Time| {
            let [hour, minute, second] = [time.hour(), time.minute(), time.second()];
            [(hour, 3_600), (minute, 60), (second, 1)]
                .into_iter()
                .map(|(count, worth)| u32::try_from(count).unwrap_or(0) * worth)
                .sum()
        };
        let end = seconds(self.end);
        (seconds(self.start), if end >= LAST_MINUTE { DAY } else { end })
    }
}

/// A group of people, by name alone: who belongs to it is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessGroup {
    /// The only safe key.
    pub id: GroupId,
    /// What people call it.
    pub name: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Site;

    fn level(hours: &[(&str, &str, &str)]) -> AccessLevel {
        let schedule = hours.iter().map(|(day, start, end)| AccessHours {
            weekday: Weekday::of_vendor_word(day).unwrap(),
            start: start.parse().unwrap(),
            end: end.parse().unwrap(),
        });
        AccessLevel {
            id: "l-1".parse().unwrap(),
            name: None,
            groups: Vec::new(),
            doors: Vec::new(),
            sites: Vec::new(),
            schedule: schedule.collect(),
            partial: false,
        }
    }

    #[test]
    fn hours_are_told_in_a_few_words() {
        const WEEK: [&str; 7] = ["SU", "MO", "TU", "WE", "TH", "FR", "SA"];
        let of =
            |days: &[&'static str], start, end| days.iter().map(|day| (*day, start, end)).collect::<Vec<_>>();
        let mixed = [of(&WEEK[1..6], "08:00:00", "18:00:00"), of(&["SA"], "09:00:00", "12:30:00")].concat();
        for (hours, told) in [
            (Vec::new(), "never"),
            (of(&WEEK, "00:00:00", "23:59:00"), "always"),
            (of(&WEEK, "00:00:00", "23:59:59"), "always"),
            (of(&WEEK[1..6], "00:00:00", "23:59:00"), "Mon-Fri all day"),
            (of(&WEEK, "00:00:00", "23:58:00"), "Mon-Sun 00:00-23:58"),
            (mixed, "Mon-Fri 08:00-18:00, Sat 09:00-12:30"),
            (of(&["MO", "TU", "FR", "SU"], "08:00:00", "23:59:00"), "Mon-Tue Fri Sun 08:00-24:00"),
            (
                vec![("MO", "13:00:00", "17:00:00"), ("MO", "08:00:00", "12:00:00")],
                "Mon 08:00-12:00 13:00-17:00",
            ),
            // What meets or overlaps is one, and so is what is inside of another.
            (vec![("MO", "12:00:00", "17:00:00"), ("MO", "08:00:00", "12:00:00")], "Mon 08:00-17:00"),
            (vec![("MO", "08:00:00", "17:00:00"), ("MO", "09:00:00", "10:00:00")], "Mon 08:00-17:00"),
            (vec![("MO", "00:00:00", "12:00:00"), ("MO", "11:00:00", "23:59:00")], "Mon all day"),
            // What it means is not known.
            (
                vec![("MO", "22:00:00", "06:00:00"), ("MO", "23:00:00", "23:30:00")],
                "Mon 22:00-06:00 23:00-23:30",
            ),
            (vec![("TU", "08:00:30", "09:00:00")], "Tue 08:00:30-09:00"),
        ] {
            assert_eq!(level(&hours).when(), told, "{hours:?}");
        }
    }

    #[test]
    fn a_level_is_about_its_doors_or_where_it_names_none_about_its_sites() {
        let door = |id: &str, site: Option<&str>| Door {
            id: id.parse().unwrap(),
            name: None,
            site: site.map(|id| Site { id: id.parse().unwrap(), name: None }),
            controller: None,
            api_control: None,
            time_zone: None,
        };
        let at_site = AccessLevel { sites: vec!["site-1".parse().unwrap()], ..level(&[]) };
        let at_door = AccessLevel { doors: vec!["d-1".parse().unwrap()], ..at_site.clone() };
        let cases = [(door("d-1", Some("site-1")), true, true), (door("d-2", Some("site-1")), true, false)];
        let others = [(door("d-1", None), false, true), (door("d-3", Some("site-2")), false, false)];
        for (door, by_site, by_door) in cases.into_iter().chain(others) {
            assert_eq!((at_site.covers(&door), at_door.covers(&door)), (by_site, by_door), "{door:?}");
        }
        assert!(!level(&[]).covers(&door("d-1", Some("site-1"))));
    }
}
