//! Exception calendars: what the vendor keeps doors at on some days, in place of their schedules (`verkada-api.md` 9).

use std::fmt;

use jiff::{
    Timestamp,
    civil::{Date, Time, time},
};

use super::{CalendarId, DoorId, ExceptionId, Fault, GroupId, Request, Trace};

/// What a door is kept at: the vendor's `door_status` (`verkada-api.md` 9.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DoorMode {
    /// Everybody passes.
    Unlocked,
    /// Nobody passes.
    Locked,
    /// A card and a code are needed.
    CardAndCode,
    /// A credential is needed: `access_controlled`.
    Credential,
}

impl DoorMode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Unlocked, Self::Locked, Self::CardAndCode, Self::Credential];

    /// The word used in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unlocked => "unlocked",
            Self::Locked => "locked",
            Self::CardAndCode => "card_and_code",
            Self::Credential => "credential",
        }
    }

    /// What is said of a door that is kept so.
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Unlocked => "unlocked",
            Self::Locked => "locked",
            Self::CardAndCode => "at card and code",
            Self::Credential => "at credential only",
        }
    }

    /// The vendor's word.
    pub const fn vendor_word(self) -> &'static str {
        match self {
            Self::Unlocked => "unlocked",
            Self::Locked => "locked",
            Self::CardAndCode => "card_and_code",
            Self::Credential => "access_controlled",
        }
    }

    /// The mode that the vendor's word means.
    pub fn of_vendor_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.vendor_word() == word)
    }
}

/// A calendar as the vendor lists it (`verkada-api.md` 9.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    /// The only safe key.
    pub id: CalendarId,
    /// What people call it; not unique.
    pub name: Option<String>,
    /// The doors that it is about.
    pub doors: Vec<DoorId>,
    /// When they are kept at what.
    pub exceptions: Vec<Exception>,
    /// When it was last changed.
    pub updated_at: Option<Timestamp>,
    /// One sentence for each door, exception or part of them that could not be read and was left out. Such a calendar must
    /// not be written as a whole: what was left out would be lost.
    pub skipped: Vec<String>,
}

/// An exception of a calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// The only safe key; `None` in what is to be written anew.
    pub id: Option<ExceptionId>,
    /// The day, or the first one; in the time zone of each door.
    pub date: Date,
    /// When on that day.
    pub hours: Hours,
    /// What the doors are kept at.
    pub mode: ExceptionMode,
    /// The groups one of whose members has to pass first; `None` where that is not asked for, and then it takes effect at
    /// once.
    pub first_person_in: Option<Vec<GroupId>>,
    /// The groups of which two members have to pass together; `None` where that is not asked for.
    pub double_badge: Option<Vec<GroupId>>,
    /// Its repetitions.
    pub recurrence: Option<Recurrence>,
}

/// A change of one exception of a calendar, which leaves everything else in it alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// It is added; it has no id yet.
    Create(Exception),
    /// It says something else from now on.
    Change(ExceptionId, Exception),
    /// It goes.
    Delete(ExceptionId),
}

impl Edit {
    /// The words used in JSON.
    pub const WORDS: [&'static str; 3] = ["create", "change", "delete"];

    /// What is asked of the vendor.
    pub fn request(&self, calendar: CalendarId) -> Request {
        match self {
            Self::Create(exception) => Request::CreateException { calendar, exception: exception.clone() },
            Self::Change(id, exception) => {
                Request::WriteException { calendar, id: id.clone(), exception: exception.clone() }
            }
            Self::Delete(exception) => Request::DeleteException { calendar, exception: exception.clone() },
        }
    }

    /// Whether the calendar is as it asks for: an exception that is to be created is recognised by what it says.
    pub fn is_done(&self, calendar: &Calendar) -> bool {
        let mut known = calendar.exceptions.iter();
        match self {
            Self::Create(wanted) => known.any(|exception| exception.says_the_same_as(wanted)),
            Self::Change(id, wanted) => {
                known.any(|exception| exception.id.as_ref() == Some(id) && exception.says_the_same_as(wanted))
            }
            Self::Delete(id) => !known.any(|exception| exception.id.as_ref() == Some(id)),
        }
    }

    /// What the exception is to say; `None` where it is to go.
    pub const fn wanted(&self) -> Option<&Exception> {
        match self {
            Self::Create(wanted) | Self::Change(_, wanted) => Some(wanted),
            Self::Delete(_) => None,
        }
    }

    /// Whether the vendor's answer tells of what was asked for.
    ///
    /// # Errors
    /// One that tells of another exception proves nothing.
    pub fn check_answer(&self, written: &Exception) -> Result<(), Fault> {
        if self.wanted().is_some_and(|wanted| !wanted.says_the_same_as(written)) {
            let text = "the answer tells of another exception than the one that was asked for";
            return Err(Fault::Malformed(Trace::new(text)));
        }
        Ok(())
    }

    /// The exception that must be there for it.
    pub const fn needs(&self) -> Option<&ExceptionId> {
        match self {
            Self::Create(_) => None,
            Self::Change(id, _) | Self::Delete(id) => Some(id),
        }
    }
}

impl Exception {
    /// Whether the vendor would do the same by both: ids and the order of lists do not matter, and the vendor adds seconds to
    /// the times that it keeps.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        self.in_order() == other.in_order()
    }

    fn in_order(&self) -> Self {
        let minute = |at: Time| time(at.hour(), at.minute(), 0, 0);
        let mut plain = Self { id: None, ..self.clone() };
        if let Hours::Between(start, end) = plain.hours {
            plain.hours = Hours::Between(minute(start), minute(end));
        }
        for groups in [&mut plain.first_person_in, &mut plain.double_badge].into_iter().flatten() {
            groups.sort_unstable();
            groups.dedup();
        }
        if let Some(rule) = &mut plain.recurrence {
            rule.by_day.sort_by_key(|day| day.0.to_monday_zero_offset());
            rule.by_day.dedup();
            rule.excluded_dates.sort_unstable();
            rule.excluded_dates.dedup();
        }
        plain
    }
}

/// When on its day an exception counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hours {
    /// The whole day, in place of the door's schedule: `all_day_default`.
    AllDay,
    /// From a time to another on the same day. Whether 23:59 stands for the end of the day is not documented.
    Between(Time, Time),
}

/// What an exception says that its doors are kept at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExceptionMode {
    /// A documented word.
    Known(DoorMode),
    /// A word that is not documented, or none.
    Unknown(Option<String>),
}

/// How an exception repeats: after RFC 5545, with limits (`verkada-api.md` 9.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recurrence {
    /// The unit of `interval`.
    pub frequency: Frequency,
    /// Every how many of them; at least 1.
    pub interval: u32,
    /// On which days of the week.
    pub by_day: Vec<Weekday>,
    /// In which month, 1 to 12.
    pub by_month: Option<i8>,
    /// On which day of the month, 1 to 31; months that are too short are left out.
    pub by_month_day: Option<i8>,
    /// On which of the days that fit, -1 for the last one.
    pub by_set_pos: Option<i32>,
    /// How many times.
    pub count: Option<u32>,
    /// The last day, as the vendor writes it.
    pub until: Option<String>,
    /// The days on which it does not count, as the vendor writes them.
    pub excluded_dates: Vec<String>,
}

/// The unit in which an exception repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frequency {
    /// Days.
    Daily,
    /// Weeks.
    Weekly,
    /// Months.
    Monthly,
    /// Years.
    Yearly,
}

impl Frequency {
    /// Every unit.
    pub const ALL: [Self; 4] = [Self::Daily, Self::Weekly, Self::Monthly, Self::Yearly];

    /// The vendor's word.
    pub const fn vendor_word(self) -> &'static str {
        match self {
            Self::Daily => "DAILY",
            Self::Weekly => "WEEKLY",
            Self::Monthly => "MONTHLY",
            Self::Yearly => "YEARLY",
        }
    }

    /// The unit that the vendor's word means.
    pub fn of_vendor_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.vendor_word() == word)
    }
}

/// A day of the week, by the vendor's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weekday(pub jiff::civil::Weekday);

impl Weekday {
    const WORDS: [(&'static str, jiff::civil::Weekday); 7] = [
        ("SU", jiff::civil::Weekday::Sunday),
        ("MO", jiff::civil::Weekday::Monday),
        ("TU", jiff::civil::Weekday::Tuesday),
        ("WE", jiff::civil::Weekday::Wednesday),
        ("TH", jiff::civil::Weekday::Thursday),
        ("FR", jiff::civil::Weekday::Friday),
        ("SA", jiff::civil::Weekday::Saturday),
    ];

    /// The day that the vendor's word means.
    pub fn of_vendor_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, day)| Self(*day))
    }
}

impl fmt::Display for Weekday {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::WORDS.iter().find(|(_, day)| *day == self.0).map_or("", |(word, _)| word);
        f.write_str(word)
    }
}
