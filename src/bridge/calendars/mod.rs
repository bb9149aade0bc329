//! The exception calendars as the vendor listed them last, with what answers to our own writes told since; and what is
//! shown of them.

mod outlook;
mod show;

use std::collections::BTreeMap;

pub(super) use self::show::{CalendarMemory, Exceptions};
use crate::model::{Calendar, CalendarId, Exception, ExceptionId, Inventory};

/// All calendars that the key may manage.
#[derive(Debug, Default)]
pub(super) struct Calendars {
    known: BTreeMap<CalendarId, Calendar>,
    /// Whether the last list could be read whole.
    complete: bool,
    /// Grows whenever they say something else.
    edition: u64,
}

impl Calendars {
    /// Takes one list. What a list that could not be read whole leaves out may be there all the same.
    pub(super) fn observe(&mut self, list: Inventory<Calendar>) {
        let complete = list.skipped.is_empty();
        let listed = list.items.into_iter().map(|calendar| (calendar.id.clone(), calendar));
        let mut known: BTreeMap<CalendarId, Calendar> = listed.collect();
        if !complete {
            for (id, calendar) in &self.known {
                known.entry(id.clone()).or_insert_with(|| calendar.clone());
            }
        }
        if (self.complete, &self.known) != (complete, &known) {
            self.edition += 1;
        }
        (self.complete, self.known) = (complete, known);
    }

    /// Another number whenever the calendars say something else.
    pub(super) const fn edition(&self) -> u64 {
        self.edition
    }

    /// Whether the last list could be read whole, so that what is not known is not there.
    pub(super) const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Takes a calendar as the vendor answered to a write.
    pub(super) fn put(&mut self, calendar: Calendar) {
        self.edition += 1;
        self.known.insert(calendar.id.clone(), calendar);
    }

    /// Takes an exception as the vendor answered to a write.
    pub(super) fn put_exception(&mut self, calendar: &CalendarId, exception: Exception) {
        let Some(calendar) = self.known.get_mut(calendar) else { return };
        self.edition += 1;
        match calendar.exceptions.iter_mut().find(|known| known.id == exception.id) {
            Some(known) => *known = exception,
            None => calendar.exceptions.push(exception),
        }
    }

    /// The vendor deleted an exception.
    pub(super) fn delete(&mut self, calendar: &CalendarId, exception: &ExceptionId) {
        self.edition += 1;
        if let Some(calendar) = self.known.get_mut(calendar) {
            calendar.exceptions.retain(|known| known.id.as_ref() != Some(exception));
        }
    }

    /// The calendar of this id.
    pub(super) fn get(&self, id: &CalendarId) -> Option<&Calendar> {
        self.known.get(id)
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
