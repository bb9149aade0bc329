//! Access events as the simulated world writes them down.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::organisation::{Door, Person, Scenario};
use crate::model::{ControllerId, EventId, Now};

/// How many events are kept; the oldest are forgotten first.
const MAX_EVENTS: usize = 50_000;

/// How many events wait for the webhook; beyond it new ones are not pushed.
const MAX_PUSHES: usize = 1_000;

/// One access event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The key.
    pub id: EventId,
    /// The order in which events were made.
    pub number: u64,
    /// The vendor's word in lower case.
    pub word: &'static str,
    /// When it happened, by the controller's clock.
    pub at: Timestamp,
    /// The door as it was then; `None` for events of the whole organisation.
    pub door: Option<Arc<Door>>,
    /// What else is known.
    pub note: Note,
}

/// What an event tells beyond what, where and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Note {
    /// In whose name.
    pub who: Option<Who>,
    /// What was put in: a card or PIN, or the state that a schedule set.
    pub input: Option<String>,
    /// The way through the door.
    pub direction: Option<&'static str>,
    /// How the API unlocked, where the event says it.
    pub method: Option<&'static str>,
    /// Whether somebody was let in.
    pub accepted: Option<bool>,
    /// The scenario that began (`true`) or ended (`false`).
    pub scenario: Option<(Arc<Scenario>, bool)>,
}

/// In whose name something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// The API, with the user id that stands for it.
    Api(String),
    /// A person.
    Person(Arc<Person>),
}

/// All events, with the time at which the vendor's cloud shows them.
#[derive(Debug, Default)]
pub struct Journal {
    events: VecDeque<Logged>,
    pushes: Vec<(Instant, Arc<Event>)>,
    written: u64,
    /// Whether anybody takes pushes.
    pub pushing: bool,
}

#[derive(Debug)]
struct Logged {
    event: Arc<Event>,
    /// `None` while the controller has not uploaded it.
    listed_at: Option<Instant>,
}

/// How long an event takes to be seen, once the cloud knows it.
#[derive(Debug, Clone, Copy)]
pub struct Lag {
    /// Into the list.
    pub list: Duration,
    /// Into a webhook.
    pub push: Duration,
}

impl Journal {
    /// Writes an event down. The cloud knows it at once, or with [`Self::upload`] where its controller is offline.
    pub fn write(&mut self, event: Event, now: Now, online: bool, lag: Lag) {
        let event = Arc::new(event);
        if online {
            self.push(&event, now, lag);
        }
        let listed_at = online.then(|| now.mono + lag.list);
        self.events.push_back(Logged { event, listed_at });
        if self.events.len() > MAX_EVENTS {
            self.events.pop_front();
        }
    }

    /// The number of the next event.
    pub const fn next_number(&mut self) -> u64 {
        self.written += 1;
        self.written
    }

    /// Makes known what a controller wrote while it was offline.
    pub fn upload(&mut self, controller: &ControllerId, now: Now, lag: Lag) {
        let mut late = Vec::new();
        for logged in &mut self.events {
            let of_it = logged.event.door.as_ref().is_some_and(|door| door.controller.id == *controller);
            if of_it && logged.listed_at.is_none() {
                logged.listed_at = Some(now.mono + lag.list);
                late.push(Arc::clone(&logged.event));
            }
        }
        for event in late {
            self.push(&event, now, lag);
        }
    }

    /// The events that the list shows at `at`, in the order in which they were made.
    pub fn listed(&self, at: Instant) -> impl Iterator<Item = &Arc<Event>> {
        self.events
            .iter()
            .filter(move |logged| logged.listed_at.is_some_and(|listed_at| listed_at <= at))
            .map(|logged| &logged.event)
    }

    /// All events, known to the cloud or not, in the order in which they were made.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Event>> {
        self.events.iter().map(|logged| &logged.event)
    }

    /// Takes the events that are due for the webhook.
    pub fn take_pushes(&mut self, at: Instant) -> Vec<Arc<Event>> {
        self.pushes.extract_if(.., |(due, _)| *due <= at).map(|(_, event)| event).collect()
    }

    /// When the next event is due for the webhook.
    pub fn next_push(&self) -> Option<Instant> {
        self.pushes.iter().map(|(due, _)| *due).min()
    }

    fn push(&mut self, event: &Arc<Event>, now: Now, lag: Lag) {
        if self.pushing && self.pushes.len() < MAX_PUSHES {
            self.pushes.push((now.mono + lag.push, Arc::clone(event)));
        }
    }
}
