//! What has to be written next, so that our calendar of a door says what is wanted. Other calendars are never looked at.
//!
//! Each plan is made from what was last read or answered, so whatever became of an earlier write, the next one only
//! closes what distance is left: nothing is written where there is none.

use jiff::{
    Timestamp,
    civil::{Time, time},
};

use super::window::Stretch;
use crate::model::{
    Calendar, CalendarContent, CalendarId, DoorId, DoorMode, Edit, Exception, ExceptionId, ExceptionMode,
    Hours, Request,
};

/// What our calendar of a door is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::bridge) enum Goal {
    /// The door is kept so.
    Keep(Want),
    /// Nothing: the door follows its schedule.
    Schedule,
    /// Nothing that unlocks the door.
    NotUnlocked,
    /// Nothing that is over.
    Tidy,
    /// A calendar of others, with one exception changed.
    Edit(Edit),
}

/// How a door is to be kept, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::bridge) struct Want {
    pub(super) mode: DoorMode,
    pub(super) stretches: Vec<Stretch>,
    /// When the hold ends, to the second; the stretches end with the minute.
    pub(super) until: Timestamp,
}

/// One request that changes a calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::bridge) enum Write {
    Create(CalendarContent),
    Replace(CalendarId, CalendarContent),
    Delete(CalendarId, ExceptionId),
    /// One exception of a calendar of others.
    Edit(CalendarId, Box<Edit>),
}

impl Write {
    /// The exception that goes, if one does.
    pub(in crate::bridge) fn deleted(&self) -> Option<(CalendarId, ExceptionId)> {
        match self {
            Self::Delete(calendar, exception) => Some((calendar.clone(), exception.clone())),
            Self::Edit(calendar, edit) => match &**edit {
                Edit::Delete(exception) => Some((calendar.clone(), exception.clone())),
                Edit::Create(_) | Edit::Change(..) => None,
            },
            Self::Create(_) | Self::Replace(..) => None,
        }
    }

    pub(in crate::bridge) fn request(self) -> Request {
        match self {
            Self::Create(content) => Request::CreateCalendar(content),
            Self::Replace(calendar, content) => Request::WriteCalendar { calendar, content },
            Self::Delete(calendar, exception) => Request::DeleteException { calendar, exception },
            Self::Edit(calendar, edit) => edit.request(calendar),
        }
    }
}

/// Our calendars of a door: one, unless the fate of a creation was not known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ours<'a> {
    /// The name that only our calendar of this door has.
    pub(super) name: &'a str,
    pub(super) door: &'a DoorId,
    /// Those of that name. The first one counts; the others are emptied.
    pub(super) calendars: &'a [&'a Calendar],
}

/// Our calendar holds something that cannot be read, and would be lost by writing it as a whole. The sentence says what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spoilt(pub(super) String);

/// The next write, if one is needed. `is_over` tells exceptions that lie in the past.
pub(super) fn next_write(
    ours: Ours<'_>,
    goal: &Goal,
    is_over: impl Fn(&Exception) -> bool,
) -> Result<Option<Write>, Spoilt> {
    match goal {
        Goal::Keep(want) => next_to_keep(ours, want, is_over),
        Goal::Schedule => Ok(delete_one(ours.calendars, |_| true)),
        Goal::NotUnlocked => Ok(delete_one(ours.calendars, |exception| may_unlock(&exception.mode))),
        Goal::Tidy => Ok(delete_one(ours.calendars, is_over)),
        // It is about no calendar of ours.
        Goal::Edit(_) => Ok(None),
    }
}

fn next_to_keep(
    ours: Ours<'_>,
    want: &Want,
    is_over: impl Fn(&Exception) -> bool,
) -> Result<Option<Write>, Spoilt> {
    let Some((first, others)) = ours.calendars.split_first() else {
        return Ok(Some(Write::Create(content(ours, want, &[]))));
    };
    let missing = want.stretches.iter().any(|one| !first.exceptions.iter().any(|e| want.is(e, one)));
    if missing || first.doors != [ours.door.clone()] {
        return match first.skipped.first() {
            Some(sentence) => Err(Spoilt(sentence.clone())),
            None => Ok(Some(Write::Replace(first.id.clone(), content(ours, want, &first.exceptions)))),
        };
    }
    // What the vendor kept although it was left out, and what is there twice.
    let mut left: Vec<&Stretch> = want.stretches.iter().collect();
    let surplus = |exception: &Exception| match left.iter().position(|one| want.is(exception, one)) {
        Some(index) => {
            left.swap_remove(index);
            false
        }
        None => !is_over(exception),
    };
    Ok(delete_one(&[first], surplus).or_else(|| delete_one(others, |_| true)))
}

/// Whether it keeps a door unlocked. A word that is not known may.
pub(super) const fn may_unlock(mode: &ExceptionMode) -> bool {
    match mode {
        ExceptionMode::Known(DoorMode::Unlocked) | ExceptionMode::Unknown(_) => true,
        ExceptionMode::Known(DoorMode::Locked | DoorMode::CardAndCode | DoorMode::Credential) => false,
    }
}

/// Deletes the first exception that is to go. One without an id cannot be named, and was never read from the vendor.
fn delete_one(calendars: &[&Calendar], mut goes: impl FnMut(&Exception) -> bool) -> Option<Write> {
    let all = calendars.iter().flat_map(|calendar| calendar.exceptions.iter().map(move |e| (*calendar, e)));
    let mut going = all.filter(|(_, exception)| exception.id.is_some() && goes(exception));
    let (calendar, exception) = going.next()?;
    Some(Write::Delete(calendar.id.clone(), exception.id.clone()?))
}

/// The whole calendar. What is there already keeps its id; so does what only changes its hours, so that the door does not
/// relock in between.
fn content(ours: Ours<'_>, want: &Want, present: &[Exception]) -> CalendarContent {
    let mut left: Vec<&Exception> = present.iter().collect();
    let mut take = |fits: &dyn Fn(&Exception) -> bool| {
        let index = left.iter().position(|exception| fits(exception))?;
        left.swap_remove(index).id.clone()
    };
    let mut ids: Vec<Option<ExceptionId>> =
        want.stretches.iter().map(|one| take(&|exception| want.is(exception, one))).collect();
    for (id, one) in ids.iter_mut().zip(&want.stretches) {
        if id.is_none() {
            *id = take(&|exception| exception.date == one.date && exception.recurrence.is_none());
        }
    }
    let exceptions = want.stretches.iter().zip(ids).map(|(one, id)| want.exception(one, id)).collect();
    CalendarContent { name: ours.name.to_owned(), doors: vec![ours.door.clone()], exceptions }
}

impl Want {
    /// All of it as exceptions to be written anew.
    #[cfg(test)]
    pub(super) fn exceptions(&self) -> Vec<Exception> {
        self.stretches.iter().map(|one| self.exception(one, None)).collect()
    }

    fn exception(&self, stretch: &Stretch, id: Option<ExceptionId>) -> Exception {
        Exception {
            id,
            date: stretch.date,
            hours: Hours::Between(stretch.start, stretch.end),
            mode: ExceptionMode::Known(self.mode),
            first_person_in: None,
            double_badge: None,
            recurrence: None,
        }
    }

    /// Whether the exception says just this. The vendor may add seconds.
    fn is(&self, exception: &Exception, stretch: &Stretch) -> bool {
        let Hours::Between(start, end) = exception.hours else { return false };
        let minute = |at: Time| time(at.hour(), at.minute(), 0, 0);
        let hours = Hours::Between(minute(start), minute(end));
        Exception { hours, ..exception.clone() } == self.exception(stretch, exception.id.clone())
    }
}
