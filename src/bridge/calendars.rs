//! The exception calendars as the vendor listed them last, with what answers to our own writes told since.

use std::collections::BTreeMap;

use crate::model::{Calendar, CalendarId, ExceptionId, Inventory};

/// All calendars that the key may manage.
#[derive(Debug, Default)]
pub(super) struct Calendars {
    known: BTreeMap<CalendarId, Calendar>,
    /// Whether the last list could be read whole.
    complete: bool,
}

impl Calendars {
    /// Takes one list. What a list that could not be read whole leaves out may be there all the same.
    pub(super) fn observe(&mut self, list: Inventory<Calendar>) {
        self.complete = list.skipped.is_empty();
        let listed = list.items.into_iter().map(|calendar| (calendar.id.clone(), calendar));
        if self.complete {
            self.known = listed.collect();
        } else {
            self.known.extend(listed);
        }
    }

    /// Whether the last list could be read whole, so that what is not known is not there.
    pub(super) const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Takes a calendar as the vendor answered to a write.
    pub(super) fn put(&mut self, calendar: Calendar) {
        self.known.insert(calendar.id.clone(), calendar);
    }

    /// The vendor deleted an exception.
    pub(super) fn delete(&mut self, calendar: &CalendarId, exception: &ExceptionId) {
        if let Some(calendar) = self.known.get_mut(calendar) {
            calendar.exceptions.retain(|known| known.id.as_ref() != Some(exception));
        }
    }

    /// Those of just this name, by their ids.
    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Calendar> {
        self.known.values().filter(move |calendar| calendar.name.as_deref() == Some(name))
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Calendar> {
        self.known.values()
    }
}
