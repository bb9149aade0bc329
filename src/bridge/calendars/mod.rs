//! The exception calendars as the vendor listed them last, with what answers to our own writes told since; and what is
//! shown of them.
//!
//! Lists may lag behind writes: for a while what an answer told is believed rather than an older list.

mod outlook;
mod show;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

pub(super) use self::show::{CalendarMemory, Exceptions};
use crate::model::{Calendar, CalendarId, Exception, ExceptionId, Inventory};

/// How long after a write a list may still be older than its answer.
const LAG: Duration = Duration::from_secs(30);

/// All calendars that the key may manage.
#[derive(Debug, Default)]
pub(super) struct Calendars {
    known: BTreeMap<CalendarId, Calendar>,
    /// Calendars as answers to our writes told them.
    written: BTreeMap<CalendarId, (Calendar, Instant)>,
    /// Exceptions that we deleted; their ids are never given again.
    deleted: BTreeMap<ExceptionId, Instant>,
    /// Whether the last list could be read whole.
    complete: bool,
    /// Grows whenever they say something else.
    edition: u64,
}

impl Calendars {
    /// Takes one list. What a list that could not be read whole leaves out may be there all the same.
    pub(super) fn observe(&mut self, list: Inventory<Calendar>, now: Instant) {
        let is_young = |at: &Instant| now.saturating_duration_since(*at) < LAG;
        self.written.retain(|_, (_, at)| is_young(at));
        self.deleted.retain(|_, at| is_young(at));
        let complete = list.skipped.is_empty();
        let mut known = if complete { BTreeMap::new() } else { self.known.clone() };
        for mut calendar in list.items {
            calendar.exceptions.retain(|one| one.id.as_ref().is_none_or(|id| !self.deleted.contains_key(id)));
            known.insert(calendar.id.clone(), calendar);
        }
        for (id, (calendar, _)) in &self.written {
            let is_older = |listed: &Calendar| listed.updated_at < calendar.updated_at;
            if known.get(id).is_none_or(is_older) {
                known.insert(id.clone(), calendar.clone());
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
    pub(super) fn put(&mut self, calendar: Calendar, now: Instant) {
        self.edition += 1;
        self.written.insert(calendar.id.clone(), (calendar.clone(), now));
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
    pub(super) fn delete(&mut self, calendar: &CalendarId, exception: &ExceptionId, now: Instant) {
        self.edition += 1;
        self.deleted.insert(exception.clone(), now);
        let written = self.written.get_mut(calendar).map(|(written, _)| written);
        for calendar in self.known.get_mut(calendar).into_iter().chain(written) {
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        clock,
        model::{Exception, ExceptionMode, Hours},
    };

    fn calendar(id: &str, exceptions: &[&str], updated_at: Option<i64>) -> Calendar {
        let exception = |id: &&str| Exception {
            id: Some(id.parse().unwrap()),
            date: jiff::civil::date(2026, 11, 25),
            hours: Hours::AllDay,
            mode: ExceptionMode::Unknown(None),
            first_person_in: None,
            double_badge: None,
            recurrence: None,
        };
        Calendar {
            id: id.parse().unwrap(),
            name: Some("ours".to_owned()),
            doors: Vec::new(),
            exceptions: exceptions.iter().map(exception).collect(),
            updated_at: updated_at.map(|at| Timestamp::from_second(at).unwrap()),
            skipped: Vec::new(),
        }
    }

    fn told(calendars: &Calendars) -> Vec<String> {
        let exceptions = calendars.named("ours").flat_map(|calendar| &calendar.exceptions);
        exceptions.map(|exception| exception.id.clone().unwrap().to_string()).collect()
    }

    #[test]
    fn a_list_that_lags_behind_undoes_no_write_of_ours() {
        let now = clock::now().mono;
        let list = |items: Vec<Calendar>| Inventory { items, skipped: Vec::new() };
        let mut calendars = Calendars::default();
        calendars.put(calendar("c", &["new"], Some(20)), now);
        calendars.observe(list(Vec::new()), now);
        assert_eq!(told(&calendars), ["new"], "it was just made");
        calendars.observe(list(vec![calendar("c", &["old"], Some(10))]), now);
        assert_eq!(told(&calendars), ["new"], "the list is older");
        calendars.observe(list(vec![calendar("c", &["newer"], Some(30))]), now);
        assert_eq!(told(&calendars), ["newer"], "somebody else wrote since");
        let (id, exception) = ("c".parse().unwrap(), "newer".parse().unwrap());
        calendars.delete(&id, &exception, now);
        calendars.observe(list(vec![calendar("c", &["newer"], Some(30))]), now);
        assert_eq!(told(&calendars), Vec::<String>::new());
        // What stays like that for long is so.
        calendars.observe(list(vec![calendar("c", &["newer"], Some(30))]), now + LAG);
        assert_eq!(told(&calendars), ["newer"]);
        calendars.observe(list(Vec::new()), now + LAG);
        assert_eq!(told(&calendars), Vec::<String>::new());
    }
}
