//! Why doors and scenarios are unavailable, in words.

use super::{Bridge, poller::List};
use crate::model::Now;

/// What makes things unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The vendor does not serve.
    Api,
    /// No command arrives.
    Mqtt,
    /// A list is out of date.
    List(List),
}

/// The reason for one kind of thing.
#[derive(Debug, Default)]
struct Why(Option<(Cause, String)>);

impl Why {
    /// Takes what is so now; whether that is to be shown. The words stay while the cause does: each failure may have other
    /// ones, and all things would be published again.
    fn take(&mut self, why: Option<(Cause, String)>) -> bool {
        let cause = |why: &Option<(Cause, String)>| why.as_ref().map(|(cause, _)| *cause);
        let changed = cause(&self.0) != cause(&why);
        if changed {
            self.0 = why;
        }
        changed
    }

    fn text(&self) -> Option<&str> {
        self.0.as_ref().map(|(_, text)| text.as_str())
    }
}

/// The reasons that concern all doors, and all scenarios.
#[derive(Debug, Default)]
pub(super) struct Unavailable {
    doors: Why,
    scenarios: Why,
}

impl Unavailable {
    pub(super) fn doors(&self) -> Option<&str> {
        self.doors.text()
    }

    pub(super) fn scenarios(&self) -> Option<&str> {
        self.scenarios.text()
    }
}

impl Bridge {
    /// Finds out why things are unavailable, where they are.
    pub(super) fn compare_unavailable(&mut self, now: Now) {
        let events = if self.poller.is_barred(List::Events) { None } else { Some(List::Events) };
        let lists: Vec<List> = [List::Doors].into_iter().chain(events).collect();
        let doors = self.why_unavailable(self.health.commandable, &lists, now);
        let scenarios = self.why_unavailable(self.health.securable, &[List::Scenarios], now);
        if self.unavailable.doors.take(doors) {
            self.doors.touch_all();
        }
        if self.unavailable.scenarios.take(scenarios) {
            self.scenarios.touch_all();
        }
    }

    /// Why the state of doors is not known, where it is not: that no command arrives does not hide it.
    pub(super) fn why_doors_unread(&self, now: Now) -> Option<String> {
        let events = (!self.poller.is_barred(List::Events)).then_some(List::Events);
        let lists: Vec<List> = [List::Doors].into_iter().chain(events).collect();
        self.why_unavailable(true, &lists, now).map(|(_, text)| text)
    }

    /// The same for scenarios.
    pub(super) fn why_scenarios_unread(&self, now: Now) -> Option<String> {
        self.why_unavailable(true, &[List::Scenarios], now).map(|(_, text)| text)
    }

    /// The most general cause there is.
    fn why_unavailable(&self, commandable: bool, lists: &[List], now: Now) -> Option<(Cause, String)> {
        if !self.api.online
            && let Some(trouble) = List::ALL
                .into_iter()
                .filter(|list| !self.poller.is_barred(*list))
                .find_map(|list| self.poller.trouble(list))
        {
            return Some((Cause::Api, format!("the Verkada API does not serve: {}", trouble.text())));
        }
        // A connection that was made just now has no complaint: it has to prove itself first.
        if let Some(complaint) = self.link.complaint().filter(|_| !commandable) {
            return Some((Cause::Mqtt, format!("no command arrives, because {complaint}")));
        }
        let stale =
            |list: &&List| self.poller.last_good(**list).is_some() && !self.poller.is_fresh(**list, now);
        let list = *lists.iter().find(stale)?;
        let trouble = self.poller.trouble(list).map_or("no answer comes", |trouble| trouble.text());
        Some((Cause::List(list), format!("the list of {} is out of date: {trouble}", list.word())))
    }
}
