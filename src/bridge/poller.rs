//! When to read which list, and how fresh each one is.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use super::{memory::EventMemory, seen::Seen, settings::Polls};
use crate::{
    model::{AccessEvent, CallId, EventPage, Fault, Lane, Now, PageToken, Request, Trace},
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
/// How far the first reading after a restart looks back at most, however long the gateway was down.
const LONGEST_HISTORY: SignedDuration = SignedDuration::from_hours(24);
/// The most pages one walk over the events may have.
const MAX_PAGES: u32 = 1_000;
/// How often the last hours are read again, for events of controllers that were offline when they happened.
const LATE_EVERY: Duration = Duration::from_mins(10);
/// How far such a reading looks back.
const LATE_HISTORY: SignedDuration = SignedDuration::from_hours(6);
/// The most pages of such a reading; the pages beyond are left out.
const LATE_PAGES: u32 = 50;

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum List {
    Doors,
    Scenarios,
    Events,
    Calendars,
}

impl List {
    pub(super) const ALL: [Self; 4] = [Self::Scenarios, Self::Events, Self::Doors, Self::Calendars];

    /// The word used in logs and readiness.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Doors => "doors",
            Self::Scenarios => "scenarios",
            Self::Events => "events",
            Self::Calendars => "exception calendars",
        }
    }

    /// The word used in metrics.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Doors => "doors",
            Self::Scenarios => "scenarios",
            Self::Events => "events",
            Self::Calendars => "calendars",
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
    /// Until when the first good reading is waited for without a word.
    first_by: Instant,
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

impl Walk {
    const fn from(since: Timestamp) -> Self {
        Self { since, page: None, pages: 0, events: Vec::new(), seen_tokens: BTreeSet::new() }
    }

    fn request(&self) -> Request {
        Request::ReadEvents { since: self.since, page: self.page.clone() }
    }

    /// Takes one page; says whether another one is to come.
    fn take(&mut self, page: EventPage) -> Result<bool, Fault> {
        self.pages += 1;
        self.events.extend(page.events);
        let Some(next) = page.next else { return Ok(false) };
        if self.pages >= MAX_PAGES || !self.seen_tokens.insert(next.0.clone()) {
            let text = format!("read access events: the pages do not end (stopped after {})", self.pages);
            return Err(Fault::Malformed(Trace::new(text)));
        }
        self.page = Some(next);
        Ok(true)
    }

    /// All events, oldest first. Pages are taken to run from new to old (`verkada-api.md` 1, inferred 7); ties keep
    /// the order of happening.
    fn into_events(self) -> Vec<AccessEvent> {
        let mut events = self.events;
        events.reverse();
        events.sort_by_key(|event| event.at);
        events
    }
}

/// The reading of the last hours that comes beside the polls and waits for each of them.
#[derive(Debug)]
struct Late {
    due: Instant,
    in_flight: bool,
    walk: Option<Walk>,
}

/// All readings.
#[derive(Debug)]
pub(super) struct Poller {
    polls: BTreeMap<List, Poll>,
    rng: Rng,
    walk: Option<Walk>,
    late: Late,
    /// The time of the newest event seen.
    cursor: Option<Timestamp>,
    seen: Seen,
    /// What an earlier run had read, or this one before it was refused to read on.
    earlier: EventMemory,
    /// Whether a walk was completed in this run.
    walked: bool,
    memory_changed: bool,
}

/// The events of one complete walk that were not seen before, oldest first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fresh {
    pub(super) events: Vec<AccessEvent>,
    /// Whether this is the look back at start: its events are history, not news.
    pub(super) history: bool,
}

impl Poller {
    pub(super) fn new(polls: Polls, seed: u64, now: Now, earlier: EventMemory) -> Self {
        let poll = |interval| Poll {
            interval,
            due: now.mono,
            urgent: false,
            in_flight: None,
            failures: 0,
            fresh_until: None,
            first_by: now.mono + stale_after(interval),
            last_good: None,
            trouble: None,
        };
        let calendars = polls.calendars.map(|interval| (List::Calendars, poll(interval)));
        let polls = [
            (List::Doors, poll(polls.doors)),
            (List::Scenarios, poll(polls.scenarios)),
            (List::Events, poll(polls.events)),
        ];
        let polls = polls.into_iter().chain(calendars).collect();
        Self {
            polls,
            rng: Rng::new(seed),
            walk: None,
            late: Late { due: now.mono + LATE_EVERY, in_flight: false, walk: None },
            // A clock that was set back must not keep the cursor from ever moving.
            cursor: earlier.cursor.map(|cursor| cursor.min(now.utc)),
            seen: Seen::default(),
            earlier,
            walked: false,
            memory_changed: false,
        }
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

    /// Whether a list is read at all.
    pub(super) fn reads(&self, list: List) -> bool {
        self.polls.contains_key(&list)
    }

    /// The lane of the next reading of a list.
    pub(super) fn lane(&self, list: List) -> Lane {
        if self.polls.get(&list).is_some_and(|poll| poll.urgent) { Lane::ReadBack } else { Lane::Poll }
    }

    /// When readings are due that are not under way, with their lanes.
    pub(super) fn next_deadlines(&self) -> impl Iterator<Item = (Instant, Lane)> {
        let late = self.late_may_start().then_some((self.late.due, Lane::Poll));
        let lists = List::ALL.into_iter().filter_map(|list| {
            let poll = self.polls.get(&list)?;
            poll.in_flight.is_none().then_some((poll.due, self.lane(list)))
        });
        lists.chain(late)
    }

    /// Whether the last hours are to be read again, page by page, where nothing else is due.
    pub(super) fn is_late_due(&self, now: Now) -> bool {
        self.late_may_start() && self.late.due <= now.mono
    }

    /// Starts or continues that reading.
    pub(super) fn start_late(&mut self, now: Now) -> Request {
        self.late.in_flight = true;
        self.late.due = now.mono + LATE_EVERY;
        let since = now.utc.saturating_sub(LATE_HISTORY).unwrap_or(now.utc);
        self.late.walk.get_or_insert_with(|| Walk::from(since)).request()
    }

    /// Takes one page of that reading, or drops it where the page could not be read: the next one tries again. Gives
    /// the events that were not seen before, oldest first, once it is complete.
    pub(super) fn take_late(&mut self, page: Result<EventPage, Fault>, now: Now) -> Vec<AccessEvent> {
        self.late.in_flight = false;
        let Some(mut walk) = self.late.walk.take() else { return Vec::new() };
        match page.and_then(|page| walk.take(page)) {
            Ok(true) if walk.pages < LATE_PAGES => {
                self.late.due = now.mono;
                self.late.walk = Some(walk);
                Vec::new()
            }
            Ok(_) => {
                let mut events = walk.into_events();
                events.retain(|event| self.seen.insert(event));
                self.memory_changed |= !events.is_empty();
                events
            }
            Err(fault) => {
                tracing::debug!(cause = %fault, "the events of the last hours cannot be read again; later they can");
                Vec::new()
            }
        }
    }

    /// Whether an event can be news, its age apart: an earlier run has told what it had read, and events that reach
    /// back behind its end are evidence only.
    pub(super) fn is_news(&self, event: &AccessEvent) -> bool {
        self.earlier.cursor.is_none_or(|cursor| event.at > cursor)
            && !self.earlier.ids.contains_key(&event.id)
    }

    /// What a later run must know of the events, and whether it changed since it was asked for.
    pub(super) fn event_memory(&mut self) -> EventMemory {
        self.memory_changed = false;
        let window = self.cursor.and_then(|cursor| cursor.checked_sub(OVERLAP + OVERLAP).ok());
        let earlier = self.earlier.ids.iter().map(|(id, at)| (id.clone(), *at));
        let ids =
            earlier.chain(self.seen.since(window)).filter(|(_, at)| window.is_none_or(|from| *at >= from));
        EventMemory { cursor: self.cursor, ids: ids.collect() }
    }

    /// Whether [`Poller::event_memory`] changed since it was asked for.
    pub(super) const fn is_memory_changed(&self) -> bool {
        self.memory_changed
    }

    /// Only while the polls read events well and do not read just then, and one page at a time.
    fn late_may_start(&self) -> bool {
        let reads_well =
            |poll: &Poll| poll.in_flight.is_none() && poll.trouble.is_none() && poll.last_good.is_some();
        !self.late.in_flight && self.walk.is_none() && self.polls.get(&List::Events).is_some_and(reads_well)
    }

    /// Where a new walk begins. The first one of a run looks back for evidence as well, which no run remembers.
    fn walk_from(&self, now: Now) -> Timestamp {
        let ago = |time: Timestamp, by| time.saturating_sub(by).unwrap_or(time);
        match self.cursor {
            None => ago(now.utc, HISTORY),
            Some(cursor) if self.walked => ago(cursor, OVERLAP),
            Some(cursor) => {
                ago(cursor, OVERLAP).min(ago(now.utc, HISTORY)).max(ago(now.utc, LONGEST_HISTORY))
            }
        }
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
            List::Calendars => Request::ListCalendars,
            List::Events => {
                let since = self.walk_from(now);
                self.walk.get_or_insert_with(|| Walk::from(since)).request()
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
        self.seen.insert(event)
    }

    /// Whether an event was seen, whichever way it came.
    pub(super) fn has_seen(&self, event: &AccessEvent) -> bool {
        self.seen.holds(event)
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
            | Fault::NoAccess(_)
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

    /// What events proved was forgotten: once they can be read again, the last hour of them counts anew. What was told
    /// stays told.
    pub(super) fn forget_events(&mut self) {
        self.cursor = None;
        self.earlier.ids.extend(std::mem::take(&mut self.seen).since(None));
        self.memory_changed = true;
    }

    /// Whether the last good reading is young enough to be shown as the truth.
    pub(super) fn is_fresh(&self, list: List, now: Now) -> bool {
        self.polls.get(&list).and_then(|poll| poll.fresh_until).is_some_and(|until| now.mono < until)
    }

    /// When the next list goes stale, or is not read for the first time when it should be.
    pub(super) fn next_stale(&self, now: Now) -> Option<Instant> {
        let patience = |poll: &Poll| poll.fresh_until.unwrap_or(poll.first_by);
        self.polls.values().map(patience).filter(|until| *until > now.mono).min()
    }

    /// Whether nothing failed, and yet no good reading came for as long as one counts: a call hangs, or waits for room
    /// in the vendor's limit.
    pub(super) fn is_overdue(&self, list: List, now: Now) -> bool {
        self.polls.get(&list).is_some_and(|poll| {
            poll.trouble.is_none() && poll.fresh_until.unwrap_or(poll.first_by) <= now.mono
        })
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
            // Of a key that is refused altogether the other lists tell.
            Some(Trouble::Unauthorized(_)) => list == List::Calendars || self.last_good(list).is_none(),
            Some(Trouble::Passing(_)) | None => false,
        }
    }

    /// Whether the key could read this list, and is refused since: it expired or was taken back.
    pub(super) fn is_revoked(&self, list: List) -> bool {
        matches!(self.trouble(list), Some(Trouble::Unauthorized(_))) && !self.is_barred(list)
    }

    /// Takes one page of events. `None` while more pages are to come; the next one is then due at once.
    ///
    /// # Errors
    /// A walk that does not end is dropped.
    pub(super) fn take_page(&mut self, page: EventPage, now: Now) -> Result<Option<Fresh>, Fault> {
        let Some(walk) = self.walk.as_mut() else {
            return Ok(Some(Fresh { events: Vec::new(), history: false }));
        };
        if walk.take(page)? {
            if let Some(poll) = self.polls.get_mut(&List::Events) {
                poll.in_flight = None;
                poll.due = now.mono;
            }
            return Ok(None);
        }
        let mut events = self.walk.take().map(Walk::into_events).unwrap_or_default();
        let history = self.cursor.is_none();
        self.walked = true;
        events.retain(|event| self.seen.insert(event));
        // A controller's clock that runs ahead must not carry the cursor past events still to come.
        let newest = events.last().map(|event| event.at.min(now.utc));
        let cursor = self.cursor.max(newest).unwrap_or(now.utc);
        self.memory_changed |= self.cursor.replace(cursor) != Some(cursor) || !events.is_empty();
        if let Ok(keep) = cursor.min(now.utc).checked_sub(LATE_HISTORY + OVERLAP) {
            self.seen.forget_before(keep);
        }
        Ok(Some(Fresh { events, history }))
    }
}

/// How long after a good reading a list counts as fresh.
pub(super) fn stale_after(interval: Duration) -> Duration {
    interval.saturating_mul(STALE_INTERVALS).max(STALE_AT_LEAST)
}
