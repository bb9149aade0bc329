//! What has to be written next, so that our calendar of a door says what is wanted. Other calendars are never written.
//!
//! Each plan is made from what was last read or answered, so whatever became of an earlier write, the next one only
//! closes what distance is left: nothing is written where there is none.

use jiff::civil::{Time, time};

use super::window::Stretch;
use crate::model::{
    Calendar, CalendarContent, CalendarId, DoorId, DoorMode, Exception, ExceptionId, ExceptionMode, Hours,
};

/// What our calendar of a door is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) mode: DoorMode,
    pub(super) stretches: Vec<Stretch>,
}

/// One request that changes a calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Write {
    Create(CalendarContent),
    Replace(CalendarId, CalendarContent),
    Delete(CalendarId, ExceptionId),
}

/// The next write, if one is needed. `name` is that of our calendar of the door; `calendars` may hold others as well.
pub(super) fn next_write(
    name: &str,
    door: &DoorId,
    calendars: &[Calendar],
    want: Option<&Want>,
) -> Option<Write> {
    let mut ours: Vec<&Calendar> = calendars.iter().filter(|calendar| is_ours(calendar, name)).collect();
    // After a creation of unknown fate there may be two: the one with the lowest id counts.
    ours.sort_by(|a, b| a.id.cmp(&b.id));
    let Some(want) = want else { return ours.into_iter().find_map(|calendar| delete(calendar, |_| true)) };
    let Some((first, others)) = ours.split_first() else {
        return Some(Write::Create(content(name, door, want, &[])));
    };
    let missing = want.stretches.iter().any(|one| !first.exceptions.iter().any(|e| want.is(e, one)));
    if missing || first.doors != [door.clone()] {
        return Some(Write::Replace(first.id.clone(), content(name, door, want, &first.exceptions)));
    }
    // What the vendor kept although it was left out, and what is there twice.
    let mut left: Vec<&Stretch> = want.stretches.iter().collect();
    let surplus = |exception: &Exception| match left.iter().position(|one| want.is(exception, one)) {
        Some(index) => {
            left.swap_remove(index);
            false
        }
        None => true,
    };
    delete(first, surplus).or_else(|| others.iter().find_map(|calendar| delete(calendar, |_| true)))
}

/// Whether the calendar is the one that we made for the door.
pub(super) fn is_ours(calendar: &Calendar, name: &str) -> bool {
    calendar.name.as_deref() == Some(name)
}

/// Deletes the first exception that is to go. One without an id cannot be named, and was never read from the vendor.
fn delete(calendar: &Calendar, mut goes: impl FnMut(&Exception) -> bool) -> Option<Write> {
    let exception = calendar.exceptions.iter().find(|exception| exception.id.is_some() && goes(exception))?;
    Some(Write::Delete(calendar.id.clone(), exception.id.clone()?))
}

/// The whole calendar. What is there already keeps its id; so does what only changes its hours, so that the door does not
/// relock in between.
fn content(name: &str, door: &DoorId, want: &Want, present: &[Exception]) -> CalendarContent {
    let mut left: Vec<&Exception> = present.iter().collect();
    let mut take = |fits: &dyn Fn(&Exception) -> bool| {
        let index = left.iter().position(|exception| fits(exception))?;
        left.swap_remove(index).id.clone()
    };
    let mut ids: Vec<Option<ExceptionId>> =
        want.stretches.iter().map(|one| take(&|exception| want.is(exception, one))).collect();
    for (id, one) in ids.iter_mut().zip(&want.stretches) {
        if id.is_none() {
            *id = take(&|exception| exception.date == one.date);
        }
    }
    let exceptions = want.stretches.iter().zip(ids).map(|(one, id)| want.exception(one, id)).collect();
    CalendarContent { name: name.to_owned(), doors: vec![door.clone()], exceptions }
}

impl Want {
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
