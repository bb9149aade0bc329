//! The picture of the gateway for people who look at it: doors and scenarios row by row, and how everything fares.
//!
//! Nothing of it is made before somebody looks. Then every row is handed out once, and after that only those that may have
//! changed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    Bridge,
    confirmation::Tally,
    doors::{Doors, Lock, Record as DoorRecord},
    links::Link,
    poller::List,
    problems::Problem,
    recent::Recent,
    scenarios::Record as ScenarioRecord,
    view,
};
use crate::{
    hass::{name, payload::Verb},
    model::{Door, DoorId, Now, Position, Reason, ScenarioId, ScenarioState, Target},
};

/// What is new for those who look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A door, as it is now.
    Door(DoorRow),
    /// A scenario, as it is now.
    Scenario(ScenarioRow),
    /// It is not listed any more.
    Gone(Target),
}

/// A door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DoorRow {
    /// Its id.
    pub id: DoorId,
    /// What people call it.
    pub name: String,
    /// The name of its site.
    pub site: Option<String>,
    /// `locked`, `unlocked`, `unlocking` or `unknown`.
    pub state: &'static str,
    /// Where that comes from, in the words of the attribute `state_source`.
    pub source: &'static str,
    /// When the evidence arose.
    pub at: Option<Timestamp>,
    /// When it is due to lock again.
    pub relock_due: Option<Timestamp>,
    /// `open` or `closed`, where that is known.
    pub position: Option<&'static str>,
    /// What is wrong with it, in the words of the attribute `problems`.
    pub problems: Vec<&'static str>,
    /// Why nothing is known of it at the moment; then its state is `unknown`.
    pub unavailable: Option<String>,
}

/// A scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScenarioRow {
    /// Its id.
    pub id: ScenarioId,
    /// What people call it.
    pub name: String,
    /// The vendor's word for what it is.
    pub kind: Option<String>,
    /// `active`, `inactive` or `unknown`.
    pub state: &'static str,
    /// Since when it is active.
    pub since: Option<Timestamp>,
    /// How many doors it locks.
    pub doors: usize,
    /// How many of them are proven to be locked, while it is active.
    pub confirmed: Option<usize>,
    /// Why nothing is known of it at the moment; then its state is `unknown`.
    pub unavailable: Option<String>,
}

/// How the gateway fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// The version that runs.
    pub version: &'static str,
    /// When it started.
    pub started: Timestamp,
    /// Whether it stops.
    pub stopping: bool,
    /// The connection for everything.
    pub broker: LinkRow,
    /// The connection that carries only scenarios.
    pub securing: LinkRow,
    /// Whether the vendor's API serves; `None` before anything was read.
    pub vendor: Option<bool>,
    /// What is wrong with it, if something is.
    pub vendor_trouble: Option<String>,
    /// The word for the session token.
    pub token: &'static str,
    /// How webhooks fare, in the word that is published.
    pub webhook: &'static str,
    /// Whether a lockdown could be started.
    pub ready: Option<bool>,
    /// What is missing, as the readiness sensor says it.
    pub missing: Option<String>,
    /// What readiness consists of.
    pub checks: Vec<CheckRow>,
    /// What is wrong, the gravest first.
    pub problems: Vec<ProblemRow>,
    /// Lockdowns that were asked for and are not confirmed.
    pub alarms: Vec<AlarmRow>,
    /// How many doors are listed.
    pub doors: usize,
    /// How many scenarios are listed.
    pub scenarios: usize,
}

/// A connection to the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkRow {
    /// Whether it has a session.
    pub up: bool,
    /// Whether a heartbeat came back in it.
    pub proven: bool,
    /// The protocol it speaks.
    pub protocol: Option<String>,
    /// Why it is not proven.
    pub complaint: Option<String>,
}

/// One check of readiness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckRow {
    /// Its word.
    pub name: &'static str,
    /// Whether it holds; `None` where that is not known.
    pub ok: Option<bool>,
    /// What was found, in a sentence.
    pub text: String,
    /// Since when.
    pub since: Timestamp,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProblemRow {
    /// The kind, in the word that is published.
    pub kind: &'static str,
    /// What is wrong, in a sentence.
    pub text: String,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// A lockdown that was asked for and is not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AlarmRow {
    /// The name of the scenario, or its id where it has none.
    pub name: String,
    /// Since when.
    pub since: Timestamp,
    /// Why, in a sentence.
    pub cause: String,
    /// Whether it is not tried any more.
    pub given_up: bool,
}

/// A command and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommandRow {
    /// Grows with each command.
    pub number: u64,
    /// When it came.
    pub at: Timestamp,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// What it was for: `door`, `scenario` or `calendar`, and the id.
    pub target: String,
    /// The name of the door or scenario, if it is listed.
    pub name: Option<String>,
    /// What was asked; `None` where that could not be read.
    pub action: Option<&'static str>,
    /// How it ended, or that it is under way.
    pub outcome: &'static str,
    /// Why.
    pub reason: Option<&'static str>,
    /// What the reason means.
    pub meaning: Option<&'static str>,
    /// What evidence said of it afterwards.
    pub resolved: Option<&'static str>,
}

/// What changes all the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pulse {
    /// The gateway's time.
    pub now: Timestamp,
    /// When scenarios were last read.
    pub scenarios_read: Option<Timestamp>,
    /// When access events were last read.
    pub events_read: Option<Timestamp>,
    /// How many requests the present minute still allows.
    pub budget_left: usize,
    /// How many commands have not ended.
    pub pending: u64,
}

/// What those who look do not know yet.
#[derive(Debug, Default)]
pub(super) struct Audience {
    gone: VecDeque<Target>,
    scenarios: BTreeSet<ScenarioId>,
    doors: BTreeSet<DoorId>,
    /// The way through all doors, which is gone once.
    pass: Pass,
}

#[derive(Debug, Default)]
enum Pass {
    #[default]
    AtStart,
    Behind(DoorId),
    Done,
}

impl Pass {
    fn next(&mut self, doors: &Doors) -> Option<DoorId> {
        let last = match self {
            Self::AtStart => None,
            Self::Behind(id) => Some(&*id),
            Self::Done => return None,
        };
        let next = doors.first_behind(last).cloned();
        *self = next.clone().map_or(Self::Done, Self::Behind);
        next
    }

    /// Whether it will not come to this door any more.
    fn has_left(&self, id: &DoorId) -> bool {
        match self {
            Self::AtStart => false,
            Self::Behind(last) => id <= last,
            Self::Done => true,
        }
    }
}

/// How many doors and scenarios are in which state, by the words of their rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// Every state of a door, with the count of doors.
    pub doors: BTreeMap<&'static str, u64>,
    /// Every state of a scenario, with the count of scenarios.
    pub scenarios: BTreeMap<&'static str, u64>,
}

impl Bridge {
    /// Counts all doors and scenarios.
    pub fn census(&self) -> Census {
        let none = |words: &[&'static str]| words.iter().map(|word| (*word, 0)).collect();
        let locks = [Lock::Locked, Lock::Unlocked, Lock::Unlocking, Lock::Unknown].map(lock_word);
        let mut census = Census { doors: none(&locks), scenarios: none(&["active", "inactive", "unknown"]) };
        for (_, door, record) in self.doors.iter() {
            *census.doors.entry(self.door_state(door, record)).or_default() += 1;
        }
        for (_, record) in self.scenarios.iter() {
            *census.scenarios.entry(self.scenario_state(record)).or_default() += 1;
        }
        census
    }

    /// Somebody looks from now on: every row is handed out, and then what changes. Again, and all are handed out again.
    pub fn begin_picture(&mut self) {
        let scenarios = self.scenarios.iter().map(|(id, _)| id.clone()).collect();
        // Whoever looked already still has to hear what went away.
        let gone = self.audience.take().map(|audience| audience.gone).unwrap_or_default();
        self.audience = Some(Audience { gone, scenarios, ..Audience::default() });
    }

    /// Nobody looks any more.
    pub fn end_picture(&mut self) {
        self.audience = None;
    }

    /// The next row that may be new to those who look.
    pub fn next_change(&mut self, now: Now) -> Option<Change> {
        loop {
            let audience = self.audience.as_mut()?;
            if let Some(target) = audience.gone.pop_front() {
                return Some(Change::Gone(target));
            }
            if let Some(id) = audience.scenarios.pop_first() {
                if let Some(row) = self.scenario_row(&id, now) {
                    return Some(Change::Scenario(row));
                }
                continue;
            }
            let id = audience.doors.pop_first().or_else(|| audience.pass.next(&self.doors))?;
            if let Some(row) = self.door_row(&id, now) {
                return Some(Change::Door(row));
            }
        }
    }

    /// How everything fares.
    pub fn overview(&self, now: Now) -> Overview {
        let status = self.status(now);
        let since = |kind| self.gateway.since.get(kind).copied();
        let problems = self.gateway.wrong.iter().map(|(kind, text)| ProblemRow {
            kind: kind.word(),
            text: text.clone(),
            since: since(kind),
        });
        let alarms = self.alarms.raised().iter().map(|(id, alarm)| AlarmRow {
            name: self.name_of(&Target::Scenario(id.clone())).unwrap_or_else(|| id.to_string()),
            since: alarm.since,
            cause: alarm.cause.clone(),
            given_up: alarm.given_up,
        });
        let is_asked = List::ALL.into_iter().any(|list| self.is_read_once(list));
        Overview {
            version: env!("CARGO_PKG_VERSION"),
            started: self.started,
            stopping: self.stopping,
            broker: link_row(&self.link),
            securing: link_row(&self.securing),
            vendor: (status.api || is_asked).then_some(status.api),
            vendor_trouble: status.api_trouble,
            token: self.gateway.token.word(),
            webhook: self.webhooks.reliance(now).word(),
            ready: self.readiness.verdict(),
            missing: self.readiness.missing(),
            checks: self.readiness.rows(),
            problems: problems.collect(),
            alarms: alarms.collect(),
            doors: status.doors,
            scenarios: status.scenarios,
        }
    }

    /// The last commands, the newest first.
    pub fn last_commands(&self) -> Vec<CommandRow> {
        let row = |recent: &Recent| CommandRow {
            number: recent.number,
            at: recent.received_at,
            finished: recent.finished_at,
            target: recent.target.path(),
            name: self.name_of(&recent.target),
            action: recent.verb.map(Verb::word),
            outcome: recent.outcome.word(),
            reason: recent.reason.map(Reason::word),
            meaning: recent.reason.map(|reason| reason.explanation().meaning),
            resolved: recent.resolved,
        };
        self.recents.newest_first().into_iter().map(row).collect()
    }

    /// What changes all the time.
    pub fn pulse(&self, now: Now) -> Pulse {
        Pulse {
            now: now.utc,
            scenarios_read: self.poller.last_good(List::Scenarios),
            events_read: self.poller.last_good(List::Events),
            budget_left: self.budget.left(now.mono),
            pending: self.books.pending(),
        }
    }

    /// A door may look different.
    pub(super) fn note_row(&mut self, target: &Target) {
        let Some(audience) = &mut self.audience else { return };
        match target {
            Target::Door(id) if audience.pass.has_left(id) => drop(audience.doors.insert(id.clone())),
            Target::Scenario(id) => drop(audience.scenarios.insert(id.clone())),
            Target::Door(_) | Target::Calendar(_) => {}
        }
    }

    /// A door or scenario is not listed any more.
    pub(super) fn note_gone(&mut self, target: &Target) {
        if let Some(audience) = &mut self.audience {
            audience.gone.push_back(target.clone());
        }
    }

    fn door_row(&self, id: &DoorId, now: Now) -> Option<DoorRow> {
        let (door, record) = self.doors.listed(id)?;
        let chosen = self.settings.door_settings.get(id).and_then(|settings| settings.name.as_deref());
        let shown = record.shown();
        let unavailable = if self.doors.is_cut_off(door) {
            Some("the controller of the door is offline".to_owned())
        } else if self.health.doors {
            None
        } else {
            Some(self.why_doors_unread(now).unwrap_or_else(|| "it was not read yet".to_owned()))
        };
        let there = |problem: &&Problem| self.doors.problem(door, record, **problem) == Some(true);
        let is_known = unavailable.is_none();
        Some(DoorRow {
            id: id.clone(),
            name: view::door_name(door, chosen),
            site: door.site.as_ref().and_then(|site| site.name.as_deref()).and_then(name::shown),
            state: self.door_state(door, record),
            source: shown.source.word(),
            at: shown.at,
            relock_due: shown.relock_due.filter(|_| is_known),
            position: record.position().filter(|_| is_known).map(|(position, _)| position_word(position)),
            problems: Problem::ALL
                .iter()
                .filter(|problem| is_known && there(problem))
                .map(|problem| problem.word())
                .collect(),
            unavailable,
        })
    }

    /// What is known of a door at the moment; nothing, where it is unavailable.
    fn door_state(&self, door: &Door, record: &DoorRecord) -> &'static str {
        let is_known = self.health.doors && !self.doors.is_cut_off(door);
        lock_word(if is_known { record.shown().lock } else { Lock::Unknown })
    }

    fn scenario_state(&self, record: &ScenarioRecord) -> &'static str {
        match &record.scenario.state {
            ScenarioState::Active if self.health.scenarios => "active",
            ScenarioState::Inactive if self.health.scenarios => "inactive",
            ScenarioState::Active | ScenarioState::Inactive | ScenarioState::Unknown(_) => "unknown",
        }
    }

    fn scenario_row(&self, id: &ScenarioId, now: Now) -> Option<ScenarioRow> {
        let record = self.scenarios.get(id)?;
        let unavailable = (!self.health.scenarios)
            .then(|| self.why_scenarios_unread(now).unwrap_or_else(|| "it was not read yet".to_owned()));
        let state = self.scenario_state(record);
        Some(ScenarioRow {
            id: id.clone(),
            name: view::scenario_name(record),
            kind: record.scenario.kind.as_deref().and_then(name::shown),
            state,
            since: record.active_since().filter(|_| state == "active"),
            doors: record.scenario.doors_to_lock.len(),
            confirmed: Tally::of(record, &self.doors)
                .filter(|_| state == "active")
                .map(|tally| tally.confirmed()),
            unavailable,
        })
    }

    fn name_of(&self, target: &Target) -> Option<String> {
        match target {
            Target::Door(id) => {
                let (door, _) = self.doors.listed(id)?;
                let settings = self.settings.door_settings.get(id);
                Some(view::door_name(door, settings.and_then(|settings| settings.name.as_deref())))
            }
            Target::Scenario(id) => self.scenarios.get(id).map(view::scenario_name),
            Target::Calendar(_) => None,
        }
    }
}

fn link_row(link: &Link) -> LinkRow {
    LinkRow {
        up: link.session_since.is_some(),
        proven: link.proven,
        protocol: link.protocol.map(|protocol| protocol.to_string()),
        complaint: link.complaint().map(str::to_owned),
    }
}

const fn lock_word(lock: Lock) -> &'static str {
    match lock {
        Lock::Locked => "locked",
        Lock::Unlocked => "unlocked",
        Lock::Unlocking => "unlocking",
        Lock::Unknown => "unknown",
    }
}

const fn position_word(position: Position) -> &'static str {
    match position {
        Position::Open => "open",
        Position::Closed => "closed",
    }
}
