//! When to read which list, and how fresh each one is.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use super::settings::Polls;
use crate::{
    model::{AccessEvent, CallId, EventId, EventPage, Fault, Lane, Now, PageToken, Request},
    rng::Rng,
};

/// The first pause after a failed reading; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after failed readings.
const MAX_PAUSE: Duration = Duration::from_mins(1);
/// A list is stale after this many intervals without a good reading ...
const STALE_INTERVALS: u32 = 3;
/// ... and never sooner than this, so that one refused or failed request blinks nothing.
const STALE_AT_LEAST: Duration = Duration::from_secs(15);
/// How far the first reading of events looks back: the vendor's own default (`verkada-api.md` 7.1).
const HISTORY: SignedDuration = SignedDuration::from_secs(3600);
/// How far each later reading of events overlaps the one before, for events that arrive late.
const OVERLAP: SignedDuration = SignedDuration::from_secs(60);
/// The most pages one walk over the events may have.
const MAX_PAGES: u32 = 1_000;

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum List {
    Doors,
    Scenarios,
    Events,
}

impl List {
    pub(super) const ALL: [Self; 3] = [Self::Scenarios, Self::Events, Self::Doors];

    /// The word used in logs and readiness.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Doors => "doors",
            Self::Scenarios => "scenarios",
            Self::Events => "events",
        }
    }
}

/// Why the last reading failed, as far as it matters to what is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The key or token is refused.
    Unauthorized(String),
    /// The key may not read this list.
    Forbidden(String),
    /// Anything else, which may pass.
    Passing(String),
}

impl Trouble {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Unauthorized(text) | Self::Forbidden(text) | Self::Passing(text) => text,
        }
    }
}

#[derive(Debug)]
struct Poll {
    interval: Duration,
    due: Instant,
    /// Asked for by a command that waits for it.
    urgent: bool,
    in_flight: Option<CallId>,
    failures: u32,
    fresh_until: Option<Instant>,
    last_good: Option<Timestamp>,
    trouble: Option<Trouble>,
}

/// A walk over the pages of one reading of events.
#[derive(Debug)]
struct Walk {
    since: Timestamp,
    page: Option<PageToken>,
    pages: u32,
    events: Vec<AccessEvent>,
    seen_tokens: BTreeSet<String>,
}

/// All readings.
#[derive(Debug)]
pub(super) struct Poller {
    polls: BTreeMap<List, Poll>,
    rng: Rng,
    walk: Option<Walk>,
    /// The time of the newest event seen.
    cursor: Option<Timestamp>,
    seen: BTreeMap<EventId, Timestamp>,
}

/// The events of one complete walk that were not seen before, oldest first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fresh {
    pub(super) events: Vec<AccessEvent>,
    /// Whether this is the look back at start: its events are history, not news.
    pub(super) history: bool,
}

impl Poller {
    pub(super) fn new(polls: Polls, seed: u64, now: Now) -> Self {
        let poll = |interval| Poll {
            interval,
            due: now.mono,
            urgent: false,
            in_flight: None,
            failures: 0,
            fresh_until: None,
            last_good: None,
            trouble: None,
        };
        let polls = BTreeMap::from([
            (List::Doors, poll(polls.doors)),
            (List::Scenarios, poll(polls.scenarios)),
            (List::Events, poll(polls.events)),
        ]);
        Self { polls, rng: Rng::new(seed), walk: None, cursor: None, seen: BTreeMap::new() }
    }

    /// The next reading that is due, if any, with its lane.
    pub(super) fn next_due(&self, now: Now) -> Option<(List, Lane)> {
        let ready =
            |list: &List| self.polls.get(list).is_some_and(|p| p.in_flight.is_none() && p.due <= now.mono);
        let mut due: Vec<(Lane, List)> =
            List::ALL.into_iter().filter(ready).map(|list| (self.lane(list), list)).collect();
        due.sort_unstable();
        due.first().map(|(lane, list)| (*list, *lane))
    }

    /// The lane of the next reading of a list.
    pub(super) fn lane(&self, list: List) -> Lane {
        if self.polls.get(&list).is_some_and(|poll| poll.urgent) { Lane::ReadBack } else { Lane::Poll }
    }

    /// When readings are due that are not under way, with their lanes.
    pub(super) fn next_deadlines(&self) -> impl Iterator<Item = (Instant, Lane)> {
        List::ALL.into_iter().filter_map(|list| {
            let poll = self.polls.get(&list)?;
            poll.in_flight.is_none().then_some((poll.due, self.lane(list)))
        })
    }

    /// Starts a reading.
    pub(super) fn start(&mut self, list: List, call: CallId, now: Now) -> Request {
        if let Some(poll) = self.polls.get_mut(&list) {
            poll.in_flight = Some(call);
            poll.urgent = false;
            // From here on only a hurry brings it forward.
            poll.due = now.mono + poll.interval;
        }
        match list {
            List::Doors => Request::ListDoors,
            List::Scenarios => Request::ListScenarios,
            List::Events => {
                let cursor = self.cursor;
                let walk = self.walk.get_or_insert_with(|| Walk {
                    since: cursor
                        .map_or_else(
                            || now.utc.saturating_sub(HISTORY),
                            |cursor| cursor.saturating_sub(OVERLAP),
                        )
                        .unwrap_or(now.utc),
                    page: None,
                    pages: 0,
                    events: Vec::new(),
                    seen_tokens: BTreeSet::new(),
                });
                Request::ReadEvents { since: walk.since, page: walk.page.clone() }
            }
        }
    }

    /// Asks for a reading at `at` or sooner, ahead of ordinary polls.
    pub(super) fn hurry(&mut self, list: List, at: Instant) {
        if let Some(poll) = self.polls.get_mut(&list) {
            poll.due = poll.due.min(at);
            poll.urgent = true;
        }
    }

    /// Changes how often a list is read. A pause after failures stays as long as it is.
    pub(super) fn pace(&mut self, list: List, interval: Duration, now: Now) {
        if let Some(poll) = self.polls.get_mut(&list)
            && poll.interval != interval
        {
            poll.interval = interval;
            if poll.failures == 0 {
                poll.due = poll.due.min(now.mono + interval);
            }
        }
    }

    /// Whether an event that came another way than by a reading is seen for the first time.
    pub(super) fn is_first(&mut self, event: &AccessEvent) -> bool {
        self.seen.insert(event.id.clone(), event.at).is_none()
    }

    /// A reading succeeded.
    pub(super) fn succeed(&mut self, list: List, now: Now) {
        if let Some(poll) = self.polls.get_mut(&list) {
            poll.in_flight = None;
            poll.failures = 0;
            poll.trouble = None;
            poll.last_good = Some(now.utc);
            poll.fresh_until = Some(now.mono + stale_after(poll.interval));
            // A reading that was hurried while this one was under way keeps its time.
            if !poll.urgent {
                poll.due = now.mono + poll.interval;
            }
        }
    }

    /// A reading failed.
    pub(super) fn fail(&mut self, list: List, fault: &Fault, now: Now) {
        if list == List::Events {
            self.walk = None;
        }
        let Some(poll) = self.polls.get_mut(&list) else { return };
        poll.in_flight = None;
        let ceiling = FIRST_PAUSE.saturating_mul(1 << poll.failures.min(6)).min(MAX_PAUSE);
        poll.failures = poll.failures.saturating_add(1);
        let text = fault.to_string();
        let (pause, trouble) = match fault {
            Fault::Unauthorized(_) => (MAX_PAUSE, Trouble::Unauthorized(text)),
            Fault::Forbidden(_) => (MAX_PAUSE, Trouble::Forbidden(text)),
            Fault::NotSent(_)
            | Fault::NotFound(_)
            | Fault::Rejected(_)
            | Fault::RateLimited { .. }
            | Fault::Unclear(_)
            | Fault::Malformed(_) => (self.rng.between(ceiling / 4, ceiling), Trouble::Passing(text)),
        };
        if let Trouble::Unauthorized(_) | Trouble::Forbidden(_) = trouble {
            poll.fresh_until = None;
        }
        // What was refused stays refused until it can be read again, whatever else happens on the way.
        let refused = matches!(poll.trouble, Some(Trouble::Unauthorized(_) | Trouble::Forbidden(_)));
        if !(refused && matches!(trouble, Trouble::Passing(_))) {
            poll.trouble = Some(trouble);
        }
        poll.due = now.mono + pause;
    }

    /// What events proved was forgotten: once they can be read again, the last hour of them counts anew.
    pub(super) fn forget_events(&mut self) {
        self.cursor = None;
        self.seen.clear();
    }

    /// Whether the last good reading is young enough to be shown as the truth.
    pub(super) fn is_fresh(&self, list: List, now: Now) -> bool {
        self.polls.get(&list).and_then(|poll| poll.fresh_until).is_some_and(|until| now.mono < until)
    }

    /// When the next list goes stale.
    pub(super) fn next_stale(&self, now: Now) -> Option<Instant> {
        self.polls.values().filter_map(|poll| poll.fresh_until).filter(|until| *until > now.mono).min()
    }

    /// When a list was last read well.
    pub(super) fn last_good(&self, list: List) -> Option<Timestamp> {
        self.polls.get(&list).and_then(|poll| poll.last_good)
    }

    /// Why the last reading of a list failed.
    pub(super) fn trouble(&self, list: List) -> Option<&Trouble> {
        self.polls.get(&list).and_then(|poll| poll.trouble.as_ref())
    }

    /// Whether the key never could read this list: it lacks the permission, and what it can read goes on. A missing
    /// permission is answered by 403 or 401 (`verkada-api.md` 3.6).
    pub(super) fn is_barred(&self, list: List) -> bool {
        match self.trouble(list) {
            Some(Trouble::Forbidden(_)) => true,
            Some(Trouble::Unauthorized(_)) => self.last_good(list).is_none(),
            Some(Trouble::Passing(_)) | None => false,
        }
    }

    /// Whether the key could read this list, and is refused since: it expired or was taken back.
    pub(super) fn is_revoked(&self, list: List) -> bool {
        matches!(self.trouble(list), Some(Trouble::Unauthorized(_))) && self.last_good(list).is_some()
    }

    /// Takes one page of events. `None` while more pages are to come; the next one is then due at once.
    ///
    /// # Errors
    /// A walk that does not end is dropped.
    pub(super) fn take_page(&mut self, page: EventPage, now: Now) -> Result<Option<Fresh>, Fault> {
        let Some(walk) = self.walk.as_mut() else {
            return Ok(Some(Fresh { events: Vec::new(), history: false }));
        };
        walk.pages += 1;
        walk.events.extend(page.events);
        if let Some(next) = page.next {
            if walk.pages >= MAX_PAGES || !walk.seen_tokens.insert(next.0.clone()) {
                let text = format!("read access events: the pages do not end (stopped after {})", walk.pages);
                return Err(Fault::Malformed(crate::model::Trace::new(text)));
            }
            walk.page = Some(next);
            if let Some(poll) = self.polls.get_mut(&List::Events) {
                poll.in_flight = None;
                poll.due = now.mono;
            }
            return Ok(None);
        }
        let mut events = self.walk.take().map(|walk| walk.events).unwrap_or_default();
        // Pages are taken to run from new to old (verkada-api.md 1, inferred 7); ties keep the order of happening.
        events.reverse();
        events.sort_by_key(|event| event.at);
        let history = self.cursor.is_none();
        events.retain(|event| self.seen.insert(event.id.clone(), event.at).is_none());
        // A controller's clock that runs ahead must not carry the cursor past events still to come.
        let newest = events.last().map(|event| event.at.min(now.utc));
        let cursor = self.cursor.max(newest).unwrap_or(now.utc);
        self.cursor = Some(cursor);
        if let Ok(keep) = cursor.checked_sub(OVERLAP + OVERLAP) {
            self.seen.retain(|_, at| *at >= keep);
        }
        Ok(Some(Fresh { events, history }))
    }
}

/// How long after a good reading a list counts as fresh.
pub(super) fn stale_after(interval: Duration) -> Duration {
    interval.saturating_mul(STALE_INTERVALS).max(STALE_AT_LEAST)
}
