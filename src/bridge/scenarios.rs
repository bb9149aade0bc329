//! Scenarios: what the list last said of each. Never what was hoped.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    confirmation::Window, doors::LastCommand, drill::LastDrill, roster::Roster, settings::Selection,
};
use crate::model::{CallId, DoorId, Inventory, Now, Scenario, ScenarioId, ScenarioState};

/// How long after an activate of ours a scenario that becomes active does so because of it.
const ACTIVATE_SHOWS: SignedDuration = SignedDuration::from_mins(3);

/// What is known of one scenario.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) scenario: Scenario,
    pub(super) last_command: Option<LastCommand>,
    pub(super) last_drill: Option<LastDrill>,
    /// The last act that was sent: a list that was asked for before it proves nothing about what it did.
    last_act: Option<CallId>,
    /// When an activate was last sent.
    activate_sent: Option<Timestamp>,
    /// When it was last seen inactive.
    inactive_at: Option<Timestamp>,
    /// When it became active, while it is.
    activated: Option<Activation>,
    /// Whether it was active when its state was last known.
    last_active: bool,
    /// Which evidence confirms the present or last activation.
    window: Option<Window>,
}

/// When a scenario became active, as far as the lists tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Activation {
    /// The last reading that showed it inactive, if one did.
    pub(super) after: Option<Timestamp>,
    /// The first reading that showed it active.
    pub(super) by: Timestamp,
}

/// The active scenarios that lock one door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Coverage {
    /// When the newest of them became active.
    pub(super) newest: Activation,
    /// All of them.
    pub(super) by: BTreeSet<ScenarioId>,
}

impl Record {
    /// The first reading that showed it active, while it is.
    pub(super) fn active_since(&self) -> Option<Timestamp> {
        self.activated.map(|activation| activation.by)
    }

    /// Whether it must be taken for active: it was when its state was last known, however long ago that is.
    pub(super) const fn may_be_active(&self) -> bool {
        self.last_active
    }

    /// Which evidence confirms that it locked its doors, while it is active.
    pub(super) fn window(&self) -> Option<Window> {
        self.window.filter(|_| self.activated.is_some())
    }

    fn new(scenario: Scenario, now: Now) -> Self {
        let mut record = Self {
            scenario,
            last_command: None,
            last_drill: None,
            last_act: None,
            activate_sent: None,
            inactive_at: None,
            activated: None,
            last_active: false,
            window: None,
        };
        record.note_state(now);
        record
    }

    fn note_state(&mut self, now: Now) {
        match self.scenario.state {
            ScenarioState::Active => {
                if self.activated.is_none() {
                    let (after, by) = (self.inactive_at, now.utc);
                    let ours = |sent: &Timestamp| by.duration_since(*sent) < ACTIVATE_SHOWS;
                    self.window = Some(Window::new(self.activate_sent.take().filter(ours), after, by));
                    self.activated = Some(Activation { after, by });
                }
                self.last_active = true;
            }
            ScenarioState::Inactive => {
                self.inactive_at = Some(now.utc);
                self.activated = None;
                self.last_active = false;
            }
            ScenarioState::Unknown(_) => self.activated = None,
        }
    }
}

/// All scenarios.
#[derive(Debug, Default)]
pub(super) struct Scenarios {
    records: BTreeMap<ScenarioId, Record>,
    roster: Roster<ScenarioId>,
    changed: BTreeSet<ScenarioId>,
    announced: bool,
    gone: Vec<ScenarioId>,
    coverage_changed: bool,
}

impl Scenarios {
    /// The scenario, if it is listed.
    pub(super) fn get(&self, id: &ScenarioId) -> Option<&Record> {
        self.records.get(id)
    }

    /// All listed scenarios.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&ScenarioId, &Record)> {
        self.records.iter()
    }

    /// How many scenarios are listed.
    pub(super) fn count(&self) -> usize {
        self.records.len()
    }

    /// Scenarios whose shown state may have changed since the last time.
    pub(super) fn take_changed(&mut self) -> BTreeSet<ScenarioId> {
        mem::take(&mut self.changed)
    }

    /// Whether scenarios came, went, or got another name or site since the last time.
    pub(super) fn take_announced(&mut self) -> bool {
        mem::take(&mut self.announced)
    }

    /// Scenarios that are gone since the last time.
    pub(super) fn take_gone(&mut self) -> Vec<ScenarioId> {
        mem::take(&mut self.gone)
    }

    /// Whether other doors are locked by scenarios than the last time.
    pub(super) fn take_coverage_changed(&mut self) -> bool {
        mem::take(&mut self.coverage_changed)
    }

    /// These scenarios may look different.
    pub(super) fn touch(&mut self, ids: impl Iterator<Item = ScenarioId>) {
        self.changed.extend(ids.filter(|id| self.records.contains_key(id)));
    }

    /// All scenarios may look different.
    pub(super) fn touch_all(&mut self) {
        self.changed.extend(self.records.keys().cloned());
    }

    /// The doors that active scenarios lock, each with all of them and the newest activation.
    pub(super) fn covered(&self) -> BTreeMap<DoorId, Coverage> {
        let mut covered: BTreeMap<DoorId, Coverage> = BTreeMap::new();
        for (id, record) in &self.records {
            let Some(newest) = record.activated else { continue };
            for door in &record.scenario.doors_to_lock {
                let known = covered.entry(door.clone()).or_insert(Coverage { newest, by: BTreeSet::new() });
                if (known.newest.by, known.newest.after) < (newest.by, newest.after) {
                    known.newest = newest;
                }
                known.by.insert(id.clone());
            }
        }
        covered
    }

    /// Takes one complete list; `read` names the call that asked for it.
    pub(super) fn observe(
        &mut self,
        list: Inventory<Scenario>,
        takes: &Selection<ScenarioId>,
        read: CallId,
        now: Now,
    ) {
        let complete = list.skipped.is_empty();
        let listed: BTreeSet<ScenarioId> = list.items.iter().map(|scenario| scenario.id.clone()).collect();
        for mut scenario in list.items.into_iter().filter(|scenario| takes.takes(&scenario.id)) {
            let id = scenario.id.clone();
            let Some(record) = self.records.get_mut(&id) else {
                self.coverage_changed |= scenario.state == ScenarioState::Active;
                self.announced = true;
                self.changed.insert(id.clone());
                self.records.insert(id, Record::new(scenario, now));
                continue;
            };
            let old = &record.scenario;
            if record.last_act.is_some_and(|act| read < act) {
                scenario.state = old.state.clone();
            }
            if *old == scenario {
                // A list from before an act shows nothing that is still true.
                if record.last_act.is_none_or(|act| read > act) {
                    record.note_state(now);
                }
                continue;
            }
            self.coverage_changed |=
                old.state != scenario.state || old.doors_to_lock != scenario.doors_to_lock;
            self.announced |= old.name != scenario.name || old.sites != scenario.sites;
            record.scenario = scenario;
            record.note_state(now);
            self.changed.insert(id);
        }
        if !complete {
            self.roster.see(&listed);
            return;
        }
        for id in self.roster.observe(self.records.keys(), &listed, now.mono) {
            self.records.remove(&id);
            self.coverage_changed = true;
            self.announced = true;
            self.gone.push(id);
        }
    }

    /// An activate or release was sent.
    pub(super) fn note_act(&mut self, id: &ScenarioId, call: CallId) {
        if let Some(record) = self.records.get_mut(id) {
            record.last_act = Some(call);
        }
    }

    /// Remembers how a command ended.
    pub(super) fn note_command(&mut self, id: &ScenarioId, last: LastCommand) {
        if let Some(record) = self.records.get_mut(id) {
            record.last_command = Some(last);
            self.changed.insert(id.clone());
        }
    }
    /// Remembers how a drill ended.
    pub(super) fn note_drill(&mut self, id: &ScenarioId, last: LastDrill) {
        if let Some(record) = self.records.get_mut(id) {
            record.last_drill = Some(last);
            self.changed.insert(id.clone());
        }
    }

    /// An activate is sent; repeats of it add nothing.
    pub(super) fn note_activate(&mut self, id: &ScenarioId, now: Now) {
        if let Some(record) = self.records.get_mut(id) {
            let earlier = record.activate_sent.filter(|sent| now.utc.duration_since(*sent) < ACTIVATE_SHOWS);
            record.activate_sent = earlier.or(Some(now.utc));
        }
    }
}
