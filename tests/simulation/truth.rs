//! What can be known: a second account of the evidence that reached the core, which shares no code with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use verkada2mqtt::model::{
    AccessEvent, Answer, CallId, Door, EventKind, EventPage, Fault, Inventory, LinkEvent, Now, PageToken,
    Position, Request, Scenario, ScenarioId, ScenarioState,
};

use crate::{
    DOORS, OPEN_BELIEVED, RELOCKING,
    bench::{secs, trace},
    controller_of,
};

/// How long the vendor unlocks a door where nothing says otherwise.
const UNLOCK_TIME: Duration = Duration::from_secs(10);
/// How long what was read of a list may be shown: three intervals, and never less than 15 s.
const DOORS_LAST: Duration = Duration::from_secs(30);
const SCENARIOS_LAST: Duration = Duration::from_secs(15);
const EVENTS_LAST: Duration = Duration::from_secs(15);
/// The same where webhooks let polls of events wait.
const EVENTS_LAST_BESIDE_WEBHOOKS: Duration = Duration::from_secs(90);
/// How far the late reading of events looks back.
const LATE_READS: Duration = Duration::from_hours(6);
/// How long doors and scenarios stay available after the last heartbeat came back.
const UNPROVEN_LASTS: Duration = Duration::from_secs(10);
/// From when on a reading that loses many is believed.
const LOSS_LASTS: Duration = Duration::from_mins(10);

/// What a door can be known by.
#[derive(Debug, Default, Clone)]
pub(crate) struct Evidence {
    /// The newest lock events of one second, and which ways they say it moved.
    pub(crate) lock: Option<(Timestamp, BTreeSet<bool>)>,
    position: Option<(Timestamp, BTreeSet<&'static str>)>,
    /// Whether it ever told of being closed.
    closes: bool,
    problems: BTreeMap<&'static str, Alarm>,
    /// Of which problems it ever told.
    pub(crate) told: BTreeSet<&'static str>,
    open_until: Option<(Instant, Timestamp)>,
    unsure_until: Option<(Instant, Timestamp)>,
    /// Its own unlock time, once an answer named it.
    duration: Option<Duration>,
    /// The newest grant, and when the door locks again by it.
    granted: Option<(Timestamp, Timestamp)>,
    own_unlock: Option<Timestamp>,
    opened: Option<Timestamp>,
    uncovered: Option<Timestamp>,
    /// When the scenario that locks it was last seen inactive, and first seen active.
    covered: Option<(Option<Timestamp>, Timestamp)>,
    /// When somebody last asked to be let in, or got past the lock.
    pub(crate) accessed: Option<Timestamp>,
}

/// When a problem was last raised and last ended.
#[derive(Debug, Default, Clone)]
struct Alarm {
    raised: Option<Timestamp>,
    ended: Option<Timestamp>,
}

impl Alarm {
    fn note(&mut self, on: bool, at: Timestamp) {
        let time = if on { &mut self.raised } else { &mut self.ended };
        *time = (*time).max(Some(at));
    }

    fn is_on(&self) -> Option<bool> {
        (self.raised.is_some() || self.ended.is_some()).then(|| self.raised >= self.ended)
    }
}

/// What can be known of a controller.
#[derive(Debug, Default)]
struct Heard {
    lost: Option<Timestamp>,
    alive: Option<Timestamp>,
    fire: Alarm,
    told: bool,
}

/// What the lists told of a scenario.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// Whether it is active; `None` for a word that means nothing.
    pub(crate) state: Option<bool>,
    doors: BTreeSet<String>,
    after: Option<Timestamp>,
    by: Option<Timestamp>,
    last_act: Option<CallId>,
    /// Whether a list of this run ever had it.
    seen: bool,
}

/// How the readings of one list went.
#[derive(Debug, Default)]
struct Reading {
    good: Option<Instant>,
    refused: Option<Refused>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    Unauthorized,
    Forbidden,
}

impl Reading {
    fn note<T>(&mut self, result: Result<&T, &Fault>, now: Now) {
        match result {
            Ok(_) => *self = Self { good: Some(now.mono), refused: None },
            Err(Fault::Unauthorized(_)) => self.refused = Some(Refused::Unauthorized),
            Err(Fault::Forbidden(_)) => self.refused = Some(Refused::Forbidden),
            Err(_) => {}
        }
    }

    fn is_fresh(&self, lasts: Duration, now: Now) -> bool {
        self.good.is_some_and(|good| now.mono - good <= lasts)
    }

    /// Whether the key may not read it, so that nothing of it can go stale.
    fn is_barred(&self) -> bool {
        match self.refused {
            Some(Refused::Forbidden) => true,
            Some(Refused::Unauthorized) => self.good.is_none(),
            None => false,
        }
    }
}

/// Who is on a list, and who may be taken off it.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    known: BTreeSet<String>,
    missing: BTreeMap<String, (u32, Instant)>,
    /// What may be taken back, because enough readings lacked it.
    removable: BTreeSet<String>,
    /// What an earlier run had rightly decided to take back: where that may not have arrived, the next one does it again.
    decided: BTreeSet<String>,
}

impl Roster {
    /// Whether it may be taken back.
    pub(crate) fn may_go(&self, id: &str) -> bool {
        self.removable.contains(id) || self.decided.contains(id)
    }

    fn read(&mut self, listed: &BTreeSet<String>, complete: bool, now: Now) {
        self.missing.retain(|id, _| !listed.contains(id));
        self.removable.retain(|id| !listed.contains(id));
        self.known.extend(listed.iter().cloned());
        if !complete {
            return;
        }
        let absent: Vec<String> = self.known.difference(listed).cloned().collect();
        let loss = absent.len() > 1 && absent.len() * 5 > self.known.len();
        for id in absent {
            let (reads, since) = self.missing.entry(id.clone()).or_insert((0, now.mono));
            *reads += 1;
            let lasts = now.mono - *since >= LOSS_LASTS;
            if if loss { *reads >= 3 && lasts } else { *reads >= 2 } {
                self.missing.remove(&id);
                self.known.remove(&id);
                self.removable.insert(id);
            }
        }
    }
}

/// One reading of events, page by page.
#[derive(Debug, Default)]
struct Walk {
    events: Vec<AccessEvent>,
    tokens: Vec<PageToken>,
}

/// The MQTT link.
#[derive(Debug, Default)]
struct Link {
    up: bool,
    proven: bool,
    unproven_since: Option<Instant>,
}

impl Link {
    fn hear(&mut self, event: &LinkEvent, now: Now) {
        match event {
            LinkEvent::Up { .. } | LinkEvent::Resumed { .. } => *self = Self { up: true, ..Self::default() },
            LinkEvent::Down(_) => *self = Self::default(),
            LinkEvent::Proven => *self = Self { up: true, proven: true, unproven_since: None },
            LinkEvent::Unproven(_) => {
                if std::mem::take(&mut self.proven) {
                    self.unproven_since = Some(now.mono);
                }
            }
            LinkEvent::Message(_) | LinkEvent::Waiting(..) | LinkEvent::Shared => {}
        }
    }

    fn is_commandable(&self, now: Now) -> bool {
        let waits = self.unproven_since.is_some_and(|since| now.mono - since <= UNPROVEN_LASTS);
        self.up && (self.proven || waits)
    }
}

/// All that the present run of the gateway can know.
#[derive(Debug)]
pub(crate) struct Truth {
    pub(crate) doors: BTreeMap<&'static str, Evidence>,
    pub(crate) scenarios: BTreeMap<String, Listed>,
    controllers: BTreeMap<String, Heard>,
    door_list: Reading,
    scenario_list: Reading,
    event_list: Reading,
    events_last: Duration,
    /// Walks over the events by where they begin: the polls' and the late one may be under way at once.
    walks: BTreeMap<Timestamp, Walk>,
    /// Where the late one begins.
    late_from: Option<Timestamp>,
    pub(crate) door_roster: Roster,
    pub(crate) scenario_roster: Roster,
    link: Link,
    securing: Link,
}

impl Truth {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            doors: DOORS.into_iter().map(|id| (id, Evidence::default())).collect(),
            scenarios: BTreeMap::new(),
            controllers: BTreeMap::new(),
            door_list: Reading::default(),
            scenario_list: Reading::default(),
            event_list: Reading::default(),
            events_last: if seed.is_multiple_of(3) { EVENTS_LAST } else { EVENTS_LAST_BESIDE_WEBHOOKS },
            walks: BTreeMap::new(),
            late_from: None,
            door_roster: Roster::default(),
            scenario_roster: Roster::default(),
            link: Link::default(),
            securing: Link::default(),
        }
    }

    /// The gateway ended: it knows nothing any more, but who was shown.
    pub(crate) fn forget(&mut self) {
        self.doors = DOORS.into_iter().map(|id| (id, Evidence::default())).collect();
        self.scenarios.clear();
        self.controllers.clear();
        (self.door_list, self.scenario_list, self.event_list) = Default::default();
        self.walks.clear();
        self.link = Link::default();
        self.securing = Link::default();
        for roster in [&mut self.door_roster, &mut self.scenario_roster] {
            roster.missing.clear();
            roster.decided.append(&mut roster.removable.clone());
        }
    }

    // ---- what comes in ----

    pub(crate) fn hear(&mut self, event: &LinkEvent, now: Now) {
        self.link.hear(event, now);
    }

    pub(crate) fn hear_securing(&mut self, event: &LinkEvent, now: Now) {
        self.securing.hear(event, now);
    }

    /// An activate or release is sent.
    pub(crate) fn act(&mut self, scenario: &ScenarioId, call: CallId) {
        self.scenarios.entry(scenario.to_string()).or_default().last_act = Some(call);
    }

    /// The core asks for something.
    pub(crate) fn ask(&mut self, request: &Request, now: Now) {
        if let Request::ReadEvents { since, page: None } = request
            && *since == now.utc - LATE_READS
        {
            self.late_from = Some(*since);
        }
    }

    pub(crate) fn learn(&mut self, id: CallId, request: &Request, result: Result<Answer, Fault>, now: Now) {
        let misfit = || Fault::Malformed(trace());
        match request {
            Request::Unlock { door } => self.learn_unlock(door.as_str(), result, now),
            Request::Activate { .. } | Request::Release { .. } | Request::Drill => {}
            Request::ListDoors => {
                let list = result.and_then(|answer| match answer {
                    Answer::Doors(list) => Ok(list),
                    _ => Err(misfit()),
                });
                self.door_list.note(list.as_ref(), now);
                if let Ok(list) = list {
                    let (ids, complete) = listed(&list, |door: &Door| door.id.to_string());
                    self.door_roster.read(&ids, complete, now);
                }
            }
            Request::ListScenarios => {
                let list = result.and_then(|answer| match answer {
                    Answer::Scenarios(list) => Ok(list),
                    _ => Err(misfit()),
                });
                self.scenario_list.note(list.as_ref(), now);
                if let Ok(list) = list {
                    let (ids, complete) = listed(&list, |scenario: &Scenario| scenario.id.to_string());
                    self.scenario_roster.read(&ids, complete, now);
                    self.learn_scenarios(id, &list.items, now);
                }
            }
            Request::ReadEvents { since, page } => {
                let read = result.and_then(|answer| match answer {
                    Answer::Events(page) => Ok(page),
                    _ => Err(misfit()),
                });
                self.learn_page(*since, page.is_none(), read, now);
            }
            _ => panic!("the core does not ask this: {request:?}"),
        }
    }

    fn learn_unlock(&mut self, door: &str, result: Result<Answer, Fault>, now: Now) {
        let Some(evidence) = self.doors.get_mut(door) else { return };
        match result {
            Ok(Answer::Unlocked(unlocked)) => {
                evidence.duration = unlocked.duration.or(evidence.duration);
                let lasts = evidence.duration.unwrap_or(secs(1));
                evidence.open_until = Some((now.mono + lasts, now.utc));
                // The newer unlock starts the door's own timer anew.
                evidence.unsure_until = None;
                evidence.own_unlock = Some(now.utc);
                let heard = self.controllers.entry(controller_of(door).to_owned()).or_default();
                heard.alive = heard.alive.max(Some(now.utc));
            }
            Err(fault) if fault.proves_not_done() => {}
            Ok(_) | Err(_) => {
                let lasts = if evidence.duration.is_some() { secs(1) } else { secs(60) };
                evidence.unsure_until = Some((now.mono + lasts, now.utc));
            }
        }
    }

    fn learn_page(&mut self, since: Timestamp, first: bool, read: Result<EventPage, Fault>, now: Now) {
        let late = self.late_from == Some(since);
        let mut walk = if first { Walk::default() } else { self.walks.remove(&since).unwrap_or_default() };
        let fault = match read {
            Err(fault) => Some(fault),
            // Pages that lead back to themselves are no list.
            Ok(page) if page.next.as_ref().is_some_and(|next| walk.tokens.contains(next)) => {
                Some(Fault::Malformed(trace()))
            }
            Ok(page) => {
                walk.events.extend(page.events);
                if let Some(next) = page.next {
                    walk.tokens.push(next);
                    self.walks.insert(since, walk);
                    return;
                }
                None
            }
        };
        if !late {
            self.event_list.note(fault.as_ref().map_or(Ok(&()), Err), now);
        }
        match fault {
            None => walk.events.iter().for_each(|event| self.learn_event(event, now)),
            Some(Fault::Forbidden(_)) if !late => {
                for evidence in self.doors.values_mut() {
                    evidence.lock = None;
                    evidence.position = None;
                    evidence.problems.clear();
                }
                self.controllers.values_mut().for_each(|heard| heard.fire = Alarm::default());
            }
            Some(_) => {}
        }
    }

    pub(crate) fn learn_event(&mut self, event: &AccessEvent, now: Now) {
        let kind = event.kind;
        if let Some(controller) = &event.controller {
            let heard = self.controllers.entry(controller.to_string()).or_default();
            let time = if kind == EventKind::ControllerOffline { &mut heard.lost } else { &mut heard.alive };
            *time = (*time).max(Some(event.at));
            if matches!(kind, EventKind::ControllerFireTriggered | EventKind::ControllerFireReleased) {
                heard.fire.note(kind == EventKind::ControllerFireTriggered, event.at);
                heard.told = true;
            }
        }
        let Some(id) = &event.door else { return };
        if let Some(evidence) = self.doors.get_mut(id.as_str()) {
            evidence.learn_lock(kind, event.at);
            evidence.learn_passage(id.as_str(), kind, event.at, now);
            evidence.learn_problems(kind, event.at);
        }
    }

    /// Follows which doors the scenarios cover, by the lists that were asked for after the last act.
    fn learn_scenarios(&mut self, read: CallId, list: &[Scenario], now: Now) {
        for scenario in list {
            let known = self.scenarios.entry(scenario.id.to_string()).or_default();
            known.doors = scenario.doors_to_lock.iter().map(ToString::to_string).collect();
            // One that is seen for the first time has no state to keep.
            if known.seen && known.last_act.is_some_and(|act| read < act) {
                continue;
            }
            known.seen = true;
            known.state = match scenario.state {
                ScenarioState::Active => Some(true),
                ScenarioState::Inactive => Some(false),
                ScenarioState::Unknown(_) => None,
            };
            match known.state {
                Some(true) => known.by = known.by.or(Some(now.utc)),
                Some(false) => (known.by, known.after) = (None, Some(now.utc)),
                None => known.by = None,
            }
        }
        for (id, evidence) in &mut self.doors {
            let active = self.scenarios.values().filter(|known| known.doors.contains(*id));
            let covered = active.filter_map(|known| Some((known.by?, known.after))).max();
            if evidence.covered.is_some() && covered.is_none() {
                evidence.uncovered = Some(now.utc);
            }
            evidence.covered = covered.map(|(by, after)| (after, by));
        }
    }

    // ---- what follows from it ----

    /// Why a door must not be shown as locked now.
    pub(crate) fn speaks_against_locked(&self, id: &str, now: Now) -> Option<String> {
        let evidence = &self.doors[id];
        let lasts = |window: Option<(Instant, Timestamp)>| window.is_some_and(|(until, _)| now.mono < until);
        let why = if lasts(evidence.open_until) {
            "while our unlock lasts"
        } else if lasts(evidence.unsure_until) {
            "while it may be open"
        } else if evidence.is_granted(id, now) {
            "while somebody was let in"
        } else if evidence.base() != Some(true) {
            "against the evidence"
        } else {
            return None;
        };
        Some(format!("{why}: {evidence:?}"))
    }

    /// Why a door must not be shown as available now.
    pub(crate) fn speaks_against_door(&self, id: &str, now: Now) -> Option<&'static str> {
        let events = &self.event_list;
        if !self.link.is_commandable(now) {
            Some("no command would arrive")
        } else if !self.door_list.is_fresh(DOORS_LAST, now) {
            Some("the list of doors is stale")
        } else if !events.is_fresh(self.events_last, now) && !events.is_barred() {
            Some("events are stale")
        } else if self.is_lost(id) {
            Some("its controller is out of reach")
        } else {
            None
        }
    }

    /// Why a scenario must not be shown as available now.
    pub(crate) fn speaks_against_scenario(&self, now: Now) -> Option<&'static str> {
        if !self.link.is_commandable(now) && !self.securing.is_commandable(now) {
            Some("no command would arrive")
        } else if !self.scenario_list.is_fresh(SCENARIOS_LAST, now) {
            Some("the list of scenarios is stale")
        } else {
            None
        }
    }

    /// Whether the controller of a door was last heard of being out of reach.
    pub(crate) fn is_lost(&self, door: &str) -> bool {
        let heard = self.controllers.get(controller_of(door));
        heard.is_some_and(|heard| heard.lost.is_some() && heard.lost >= heard.alive)
    }

    /// The word of a problem of a door.
    pub(crate) fn problem(&self, door: &str, problem: &str, now: Now) -> &'static str {
        let evidence = &self.doors[door];
        let own = evidence.problems.get(problem).and_then(Alarm::is_on);
        let shared = self.controllers.get(controller_of(door)).and_then(|heard| heard.fire.is_on());
        let shared = shared.filter(|_| problem == "fire");
        let lapsed = problem.ends_with("_open") && evidence.position(now).1;
        match (own, shared) {
            (Some(true), _) if lapsed => "None",
            (Some(true), _) | (_, Some(true)) => "ON",
            (Some(false), _) | (_, Some(false)) => "OFF",
            (None, None) => "None",
        }
    }

    /// Whether a door has an entity for a problem.
    pub(crate) fn tells_of(&self, door: &str, problem: &str) -> bool {
        let shared = self.controllers.get(controller_of(door)).is_some_and(|heard| heard.told);
        problem.ends_with("_open") || self.doors[door].told.contains(problem) || (problem == "fire" && shared)
    }
}

impl Evidence {
    fn learn_lock(&mut self, kind: EventKind, at: Timestamp) {
        let ways: &[bool] = match kind {
            EventKind::Locked => &[true],
            EventKind::Unlocked => &[false],
            EventKind::LockChanged => &[true, false],
            _ => return,
        };
        let (known, moved) = self.lock.get_or_insert((at, BTreeSet::new()));
        if *known < at {
            (*known, *moved) = (at, BTreeSet::new());
        }
        if *known == at {
            moved.extend(ways);
        }
        if kind == EventKind::Locked {
            self.open_until = self.open_until.filter(|(_, since)| at <= *since);
            self.unsure_until = self.unsure_until.filter(|(_, since)| at <= *since);
        }
    }

    fn learn_passage(&mut self, id: &str, kind: EventKind, at: Timestamp, now: Now) {
        self.closes |= kind == EventKind::Closed;
        if let Some(position) = kind.position() {
            let word = if position == Position::Open { "ON" } else { "OFF" };
            let (known, words) = self.position.get_or_insert((at, BTreeSet::new()));
            if *known < at {
                (*known, *words) = (at, BTreeSet::new());
            }
            if *known == at {
                words.insert(word);
            }
        }
        if kind == EventKind::Opened {
            self.opened = self.opened.max(Some(at));
            if RELOCKING.contains(&id) {
                self.open_until = self.open_until.filter(|(_, since)| at <= *since);
            }
        }
        let granted = matches!(kind, EventKind::Granted | EventKind::RemoteUnlock);
        if granted && self.granted.is_none_or(|(known, _)| known < at) {
            let ends = at + self.duration.unwrap_or(UNLOCK_TIME);
            self.granted = Some((at, if ends > now.utc { ends } else { at }));
        }
        if kind.tells_of_access() {
            self.accessed = self.accessed.max(Some(at));
        }
    }

    fn learn_problems(&mut self, kind: EventKind, at: Timestamp) {
        let problems: &[(&str, bool)] = match kind {
            EventKind::HeldOpen => &[("held_open", true)],
            EventKind::ForcedOpen => &[("forced_open", true)],
            EventKind::Closed => &[("held_open", false), ("forced_open", false)],
            EventKind::Tamper => &[("tamper", true)],
            EventKind::FireTriggered => &[("fire", true)],
            EventKind::FireReleased => &[("fire", false)],
            _ => &[],
        };
        for (problem, on) in problems {
            self.problems.entry(problem).or_default().note(*on, at);
            self.told.insert(problem);
        }
    }

    /// Whether somebody was let in and the door may still be unlocked by that: nothing newer says otherwise.
    fn is_granted(&self, id: &str, now: Now) -> bool {
        let Some((at, until)) = self.granted.filter(|(_, until)| now.utc < *until) else { return false };
        let moved = self.lock.as_ref().is_some_and(|(moved, _)| *moved > at);
        let relocked = RELOCKING.contains(&id) && self.opened > Some(at);
        let superseded = self.own_unlock >= Some(at);
        until > at && !moved && !relocked && !superseded
    }

    /// What the evidence says of the lock under any unlock of ours.
    pub(crate) fn base(&self) -> Option<bool> {
        let lock = self.lock.as_ref().filter(|(at, _)| self.uncovered.is_none_or(|ended| *at > ended));
        let said = |ways: &BTreeSet<bool>| if ways.len() == 1 { ways.first().copied() } else { None };
        match (lock, self.covered) {
            (Some((at, ways)), covered) if covered.is_none_or(|(_, by)| *at > by) => said(ways),
            (Some((at, ways)), Some((after, _)))
                if said(ways) != Some(true) && after.is_none_or(|after| *at > after) =>
            {
                None
            }
            (_, covered) => covered.map(|_| true),
        }
    }

    /// What the evidence says of the position, and whether an opening is too long ago to be believed.
    pub(crate) fn position(&self, now: Now) -> (&'static str, bool) {
        let Some((at, words)) = &self.position else { return ("None", false) };
        let open = words.len() == 1 && words.contains("ON");
        let lapsed = open && !self.closes && now.utc >= *at + OPEN_BELIEVED;
        (if words.len() > 1 || lapsed { "None" } else { words.first().unwrap() }, lapsed)
    }
}

fn listed<T>(list: &Inventory<T>, id: impl Fn(&T) -> String) -> (BTreeSet<String>, bool) {
    (list.items.iter().map(id).collect(), list.skipped.is_empty())
}

/// The scenario's word.
pub(crate) const fn word_of(state: Option<bool>) -> &'static str {
    match state {
        Some(true) => "ON",
        Some(false) => "OFF",
        None => "None",
    }
}
