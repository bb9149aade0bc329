//! Doors: what is known of each, from which evidence, and what is therefore shown.
//!
//! A base that only evidence moves lies under an overlay that an unlock puts on top for its duration. When the
//! overlay ends the base shows again. No evidence is shown as unknown.

mod controllers;
mod evidence;
mod overlay;
mod record;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use self::{
    controllers::{Change, Controllers, Heard},
    overlay::OwnUnlocks,
};
pub(super) use self::{
    evidence::{Held, Lock, Source},
    record::{Choices, LastCommand, LastEvent, Record},
};
use super::{
    confirmation::Window,
    problems::{Alarm, Problem},
    roster::Roster,
    scenarios::Coverage,
    settings::Selection,
};
use crate::model::{
    AccessEvent, ControllerId, Door, DoorId, EventKind, Inventory, Now, ScenarioId, Site, SiteId,
};

/// How many doors that are not listed may have evidence waiting for them.
const MAX_UNLISTED: usize = 1_000;

/// All doors.
#[derive(Debug)]
pub(super) struct Doors {
    /// How long a door that never told of being closed is believed to stand open.
    open_believed: Duration,
    records: BTreeMap<DoorId, Record>,
    roster: Roster<DoorId>,
    controllers: Controllers,
    /// Doors that active scenarios lock, listed or not.
    covered: BTreeMap<DoorId, Coverage>,
    /// When the last scenario that locked a door ended: evidence from before proves nothing, however late it arrives.
    uncovered: BTreeMap<DoorId, Timestamp>,
    /// Doors that only evidence came of so far, oldest first.
    unlisted: VecDeque<DoorId>,
    /// Doors of which something ends by itself: an overlay, a guess, or the belief that they stand open.
    timed: BTreeSet<DoorId>,
    changed: BTreeSet<DoorId>,
    /// Doors of which a command ended, which proves nothing of the scenarios that lock them.
    noted: BTreeSet<DoorId>,
    announced: BTreeSet<DoorId>,
    gone: Vec<DoorId>,
}

impl Doors {
    /// None known yet. A door that never told of being closed is believed to stand open for `open_believed`.
    pub(super) fn new(open_believed: Duration) -> Self {
        Self {
            open_believed,
            records: BTreeMap::new(),
            roster: Roster::default(),
            controllers: Controllers::default(),
            covered: BTreeMap::new(),
            uncovered: BTreeMap::new(),
            unlisted: VecDeque::new(),
            timed: BTreeSet::new(),
            changed: BTreeSet::new(),
            noted: BTreeSet::new(),
            announced: BTreeSet::new(),
            gone: Vec::new(),
        }
    }

    /// The door, if it is listed.
    pub(super) fn listed(&self, id: &DoorId) -> Option<(&Door, &Record)> {
        let record = self.records.get(id)?;
        record.door.as_ref().map(|door| (door, record))
    }

    /// All listed doors.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&DoorId, &Door, &Record)> {
        self.records.iter().filter_map(|(id, record)| record.door.as_ref().map(|door| (id, door, record)))
    }

    /// The first listed door behind this one in the order of ids, or of all.
    pub(super) fn first_behind(&self, id: Option<&DoorId>) -> Option<&DoorId> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.records.range((from, Bound::Unbounded));
        rest.find(|(_, record)| record.door.is_some()).map(|(id, _)| id)
    }

    /// How many doors are listed.
    pub(super) fn count(&self) -> usize {
        self.records.values().filter(|record| record.door.is_some()).count()
    }

    /// Doors whose shown state may have changed since the last time.
    pub(super) fn take_changed(&mut self) -> BTreeSet<DoorId> {
        std::mem::take(&mut self.changed)
    }

    /// Doors of which a command ended since the last time.
    pub(super) fn take_noted(&mut self) -> BTreeSet<DoorId> {
        std::mem::take(&mut self.noted)
    }

    /// Doors that are new or were renamed or moved since the last time.
    pub(super) fn take_announced(&mut self) -> BTreeSet<DoorId> {
        std::mem::take(&mut self.announced)
    }

    /// Doors that are gone since the last time.
    pub(super) fn take_gone(&mut self) -> Vec<DoorId> {
        std::mem::take(&mut self.gone)
    }

    /// Whether evidence shows that a scenario locked the door, listed or not.
    pub(super) fn confirms(&self, id: &DoorId, window: Window) -> bool {
        self.records.get(id).is_some_and(|record| record.confirms(window))
    }

    /// The active scenarios that lock the door, listed or not.
    pub(super) fn covering(&self, id: &DoorId) -> impl Iterator<Item = &ScenarioId> {
        self.covered.get(id).into_iter().flat_map(|coverage| &coverage.by)
    }

    /// Since when the newest scenario that locks the door is active, listed or not.
    pub(super) fn locked_since(&self, id: &DoorId) -> Option<Timestamp> {
        self.covered.get(id).map(|coverage| coverage.newest.by)
    }

    /// All doors may look different: what carries their evidence went stale or came back.
    pub(super) fn touch_all(&mut self) {
        self.changed.extend(self.records.keys().cloned());
    }

    /// Takes one complete list.
    pub(super) fn observe(
        &mut self,
        list: Inventory<Door>,
        takes: &Selection<DoorId>,
        choices: impl Fn(&DoorId) -> Choices,
        now: Now,
    ) {
        let complete = list.skipped.is_empty();
        let listed: BTreeSet<DoorId> = list.items.iter().map(|door| door.id.clone()).collect();
        let mut wired = Vec::new();
        for door in list.items.into_iter().filter(|door| takes.takes(&door.id)) {
            let id = door.id.clone();
            self.unlisted.retain(|waiting| *waiting != id);
            let record = self.records.entry(id.clone()).or_insert_with(|| Record::new(self.open_believed));
            if record.door.as_ref() != Some(&door) {
                record.choices = choices(&id);
                if let Some(controller) = &door.controller {
                    wired.push((controller.id.clone(), std::mem::take(&mut record.nameless)));
                }
                record.door = Some(door);
                self.announced.insert(id.clone());
                self.changed.insert(id);
            }
        }
        for (controller, heard) in wired {
            let change = self.controllers.join(&controller, heard);
            self.show_wired(&controller, change);
        }
        if !complete {
            self.roster.see(&listed);
            return;
        }
        let known = self.records.iter().filter(|(_, record)| record.door.is_some()).map(|(id, _)| id);
        for id in self.roster.observe(known, &listed, now.mono) {
            self.records.remove(&id);
            self.timed.remove(&id);
            self.gone.push(id);
        }
    }

    /// Takes one access event; older evidence never undoes newer. A controller's clock that runs ahead must not make
    /// its evidence outlive what comes later, so no evidence is younger than its arrival.
    pub(super) fn apply(&mut self, event: &AccessEvent, now: Now) {
        let at = event.at.min(now.utc);
        let wired_to = |id| self.controller_of(id);
        let controller = event.controller.clone().or_else(|| event.door.as_ref().and_then(wired_to));
        if let Some(controller) = &controller {
            self.hear_controller(event.kind, controller, at);
        }
        let Some(id) = &event.door else { return };
        let void = self.uncovered.get(id).is_some_and(|ended| at <= *ended);
        let Some(record) = self.record_for_evidence(id) else { return };
        let (before, told) = (record.face(), (record.tells_tamper, record.tells_fire));
        record.take(event, at, void, now);
        let mut changed = before != record.face();
        let mut tells = told != (record.tells_tamper, record.tells_fire);
        if controller.is_none() {
            let change = record.nameless.hear(event.kind, at);
            changed |= change.shown;
            tells |= change.tells_fire;
        }
        let tells = tells && record.door.is_some();
        if changed {
            self.changed.insert(id.clone());
        }
        if tells {
            self.announced.insert(id.clone());
        }
        self.time(id);
    }

    /// Whether the controller of a listed door is known to be out of reach.
    pub(super) fn is_cut_off(&self, door: &Door) -> bool {
        let record = self.records.get(&door.id);
        record.and_then(|record| self.controller_heard(door, record)).is_some_and(Heard::is_lost)
    }

    /// What is known of a problem of a listed door, its controller's fire alarm included.
    pub(super) fn problem(&self, door: &Door, record: &Record, problem: Problem) -> Option<bool> {
        let own = record.problem(problem);
        match problem {
            Problem::Fire => Alarm::either(own, self.controller_heard(door, record).and_then(Heard::fire)),
            Problem::HeldOpen | Problem::ForcedOpen | Problem::Tamper => own,
        }
    }

    /// Whether events ever could tell of a problem of a listed door. It never becomes false again.
    pub(super) fn tells_of(&self, door: &Door, record: &Record, problem: Problem) -> bool {
        match problem {
            Problem::HeldOpen | Problem::ForcedOpen => true,
            Problem::Tamper => record.tells_tamper,
            Problem::Fire => {
                record.tells_fire || self.controller_heard(door, record).is_some_and(Heard::tells_fire)
            }
        }
    }

    /// The names of sites, as their doors tell them: the vendor lists no sites.
    pub(super) fn site_names(&self) -> BTreeMap<&SiteId, &str> {
        self.iter()
            .filter_map(|(_, door, _)| {
                let Site { id, name } = door.site.as_ref()?;
                Some((id, name.as_deref()?))
            })
            .collect()
    }

    /// Which doors active scenarios lock. Once a scenario ends, evidence from before its end proves nothing: the
    /// door returns to whatever its schedule says by then.
    pub(super) fn cover(&mut self, covered: &BTreeMap<DoorId, Coverage>, now: Now) {
        for id in self.covered.keys().filter(|id| !covered.contains_key(*id)) {
            self.uncovered.insert(id.clone(), now.utc);
            // It may have been listed only after the scenario began, and then was never marked as covered.
            if let Some(record) = self.records.get_mut(id) {
                record.evidence.uncover(now);
                self.changed.insert(id.clone());
            }
        }
        self.covered.clone_from(covered);
        for (id, record) in &mut self.records {
            if record.evidence.cover(covered.get(id)) {
                self.changed.insert(id.clone());
            }
        }
    }

    /// An unlock was accepted.
    pub(super) fn unlocking(&mut self, id: &DoorId, now: Now) {
        if let Some(record) = self.records.get_mut(id) {
            record.own.begin(now);
            self.changed.insert(id.clone());
        }
    }

    /// The vendor unlocked the door, so its controller is there; returns when it is due to lock again.
    pub(super) fn unlocked(&mut self, id: &DoorId, duration: Option<Duration>, now: Now) -> Instant {
        if let Some(controller) = self.controller_of(id) {
            self.hear_controller(EventKind::Unlocked, &controller, now.utc);
        } else if let Some(record) = self.records.get_mut(id) {
            record.nameless.hear(EventKind::Unlocked, now.utc);
        }
        let until = match self.records.get_mut(id) {
            Some(record) => record.own.succeed(duration, now),
            None => OwnUnlocks::default().succeed(duration, now),
        };
        self.touch(id);
        until
    }

    /// An unlock ended without proof: for as long as it may have worked, nothing is claimed.
    pub(super) fn unsure(&mut self, id: &DoorId, now: Now) {
        if let Some(record) = self.records.get_mut(id) {
            record.own.lose(now);
        }
        self.touch(id);
    }

    /// An unlock was not done: what was shown before it comes back.
    pub(super) fn not_unlocked(&mut self, id: &DoorId) {
        if let Some(record) = self.records.get_mut(id) {
            record.own.fail();
            self.changed.insert(id.clone());
        }
    }

    /// A hold of ours is in force, or none is any more.
    pub(super) fn hold(&mut self, id: &DoorId, held: Option<Held>, now: Now) {
        if let Some(record) = self.records.get_mut(id) {
            record.evidence.hold(held, now);
            self.changed.insert(id.clone());
        }
    }

    /// Remembers how a command ended.
    pub(super) fn note_command(&mut self, id: &DoorId, last: LastCommand) {
        if let Some(record) = self.records.get_mut(id) {
            record.last_command = Some(last);
            self.noted.insert(id.clone());
        }
    }

    /// The events that carry the evidence cannot be read: what they proved earlier is no longer shown.
    pub(super) fn forget_evidence(&mut self) {
        for (id, record) in &mut self.records {
            if record.forget() {
                self.changed.insert(id.clone());
            }
        }
        for controller in self.controllers.forget_fire() {
            let wired = self.wired_to(&controller);
            self.changed.extend(wired);
        }
    }

    /// Ends what is due: overlays, guesses, and beliefs that a door stands open.
    pub(super) fn expire(&mut self, now: Now) {
        let due: Vec<DoorId> = self
            .timed
            .iter()
            .filter(|id| self.expiry_of(id).is_some_and(|until| until <= now.mono))
            .cloned()
            .collect();
        for id in due {
            if let Some(record) = self.records.get_mut(&id) {
                record.expire(now);
                self.changed.insert(id.clone());
            }
            self.time(&id);
        }
    }

    /// When [`Doors::expire`] is due.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.timed.iter().filter_map(|id| self.expiry_of(id)).min()
    }

    fn controller_of(&self, id: &DoorId) -> Option<ControllerId> {
        self.listed(id)?.0.controller.as_ref().map(|controller| controller.id.clone())
    }

    fn controller_heard<'a>(&'a self, door: &Door, record: &'a Record) -> Option<&'a Heard> {
        match &door.controller {
            Some(controller) => self.controllers.get(&controller.id),
            None => Some(&record.nameless),
        }
    }

    /// The listed doors that are wired to a controller.
    fn wired_to(&self, controller: &ControllerId) -> Vec<DoorId> {
        let of = |door: &Door| door.controller.as_ref().is_some_and(|wired| wired.id == *controller);
        self.iter().filter(|(_, door, _)| of(door)).map(|(id, _, _)| id.clone()).collect()
    }

    fn expiry_of(&self, id: &DoorId) -> Option<Instant> {
        self.records.get(id)?.next_expiry()
    }

    /// Keeps the door among those of which something ends by itself, or drops it from them.
    fn time(&mut self, id: &DoorId) {
        if self.expiry_of(id).is_some() {
            self.timed.insert(id.clone());
        } else {
            self.timed.remove(id);
        }
    }

    /// What is shown of it changed, and when that ends by itself may have as well.
    pub(super) fn touch(&mut self, id: &DoorId) {
        if self.records.contains_key(id) {
            self.changed.insert(id.clone());
        }
        self.time(id);
    }

    fn record_for_evidence(&mut self, id: &DoorId) -> Option<&mut Record> {
        if !self.records.contains_key(id) {
            if self.unlisted.len() >= MAX_UNLISTED
                && let Some(oldest) = self.unlisted.pop_front()
            {
                self.records.remove(&oldest);
            }
            self.unlisted.push_back(id.clone());
            self.records.insert(id.clone(), Record::new(self.open_believed));
        }
        self.records.get_mut(id)
    }

    fn hear_controller(&mut self, kind: EventKind, controller: &ControllerId, at: Timestamp) {
        let change = self.controllers.hear(kind, controller, at);
        self.show_wired(controller, change);
    }

    /// What was heard of a controller changes what is shown of its doors.
    fn show_wired(&mut self, controller: &ControllerId, change: Change) {
        if change.shown {
            let wired = self.wired_to(controller);
            if change.tells_fire {
                self.announced.extend(wired.iter().cloned());
            }
            self.changed.extend(wired);
        }
    }
}

#[cfg(test)]
mod tests;
