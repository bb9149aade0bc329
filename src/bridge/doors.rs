//! Doors: what is known of each, from which evidence, and what is therefore shown.
//!
//! A base that only evidence moves lies under an overlay that an unlock puts on top for its duration. When the
//! overlay ends the base shows again. No evidence is shown as unknown.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{roster::Roster, scenarios::Activation, settings::Selection};
use crate::model::{AccessEvent, ControllerId, Door, DoorId, EventKind, Inventory, Now, Position};

/// The vendor's default unlock time, used where an answer or event names none (`verkada-api.md` 5.4).
const UNLOCK_TIME: Duration = Duration::from_secs(10);
/// The longest unlock time a door can have (`verkada-api.md` 5.4): as long as that an unlock without proof may last.
const LONGEST_UNLOCK: Duration = Duration::from_mins(1);
/// How many doors that are not listed may have evidence waiting for them.
const MAX_UNLISTED: usize = 1_000;

/// What is shown of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    /// The newest evidence says locked.
    Locked,
    /// The newest evidence says unlocked.
    Unlocked,
    /// An unlock was accepted and is on its way.
    Unlocking,
    /// There is no evidence, or it contradicts itself.
    Unknown,
}

/// Where a shown lock state comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A command of ours.
    Command,
    /// An access event.
    Event,
    /// A scenario that locks the door.
    Scenario,
    /// The owner's choice for doors without evidence.
    Assumed,
    /// Nothing.
    Nothing,
}

impl Source {
    /// The word used in attributes.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Event => "event",
            Self::Scenario => "scenario",
            Self::Assumed => "assumed",
            Self::Nothing => "none",
        }
    }
}

/// What is shown of a lock, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) lock: Lock,
    pub(super) source: Source,
    /// When the evidence arose.
    pub(super) at: Option<Timestamp>,
    /// When the door is due to lock again.
    pub(super) relock_due: Option<Timestamp>,
}

/// What events proved about a lock, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    Locked,
    Unlocked,
    /// It moved, the direction is not known.
    Moved,
}

impl Proof {
    const fn of(kind: EventKind) -> Option<Self> {
        match kind {
            EventKind::Unlocked => Some(Self::Unlocked),
            EventKind::Locked => Some(Self::Locked),
            EventKind::LockChanged => Some(Self::Moved),
            EventKind::Granted
            | EventKind::RemoteUnlock
            | EventKind::Opened
            | EventKind::Closed
            | EventKind::HeldOpen
            | EventKind::ForcedOpen
            | EventKind::Denied
            | EventKind::Lockdown
            | EventKind::ControllerOffline
            | EventKind::ControllerStartup
            | EventKind::Other => None,
        }
    }
}

/// What an unlock puts on top of the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overlay {
    /// The door is unlocked until then.
    Unlocked { since: Timestamp, until: Instant, until_utc: Timestamp, source: Source },
    /// A command of ours ended without proof: it may be unlocked until then.
    Unsure { since: Timestamp, until: Instant },
}

impl Overlay {
    const fn until(&self) -> Instant {
        match self {
            Self::Unlocked { until, .. } | Self::Unsure { until, .. } => *until,
        }
    }

    const fn since(&self) -> Timestamp {
        match self {
            Self::Unlocked { since, .. } | Self::Unsure { since, .. } => *since,
        }
    }
}

/// How the last command for a door or scenario ended; shown in its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LastCommand {
    pub(super) action: &'static str,
    pub(super) outcome: &'static str,
    pub(super) at: Timestamp,
}

/// What is known of one door.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// As listed; `None` where only evidence came so far.
    pub(super) door: Option<Door>,
    pub(super) assume_locked: bool,
    pub(super) last_command: Option<LastCommand>,
    proof: Option<(Proof, Timestamp)>,
    position: Option<(Position, Timestamp)>,
    /// Since when an active scenario locks it.
    covered: Option<Activation>,
    overlay: Option<Overlay>,
    /// Since when a command of ours is on its way. It lies over the overlay, which comes back if the command fails.
    unlocking: Option<Timestamp>,
    /// Whether lock events were ever seen of it, so that they are waited for instead of guessing from grants.
    speaks: bool,
    /// The door's own unlock time, once an answer named it.
    unlock_time: Option<Duration>,
}

impl Record {
    /// What is shown of the lock.
    pub(super) fn shown(&self) -> Shown {
        if let Some(since) = self.unlocking {
            return Shown {
                lock: Lock::Unlocking,
                source: Source::Command,
                at: Some(since),
                relock_due: None,
            };
        }
        match self.overlay {
            Some(Overlay::Unlocked { since, until_utc, source, .. }) => {
                Shown { lock: Lock::Unlocked, source, at: Some(since), relock_due: Some(until_utc) }
            }
            Some(Overlay::Unsure { since, .. }) => {
                Shown { lock: Lock::Unknown, source: Source::Command, at: Some(since), relock_due: None }
            }
            None => self.base(),
        }
    }

    /// What is shown of the position.
    pub(super) const fn position(&self) -> Option<(Position, Timestamp)> {
        self.position
    }

    fn base(&self) -> Shown {
        let shown = |lock, source, at| Shown { lock, source, at, relock_due: None };
        match (self.proof, self.covered) {
            (Some((proof, at)), covered) if covered.is_none_or(|active| at > active.by) => match proof {
                Proof::Locked => shown(Lock::Locked, Source::Event, Some(at)),
                Proof::Unlocked => shown(Lock::Unlocked, Source::Event, Some(at)),
                Proof::Moved => shown(Lock::Unknown, Source::Event, Some(at)),
            },
            // Whether the lock moved before or after the scenario locked it is not known.
            (Some((Proof::Unlocked | Proof::Moved, at)), Some(active))
                if active.after.is_none_or(|after| at > after) =>
            {
                shown(Lock::Unknown, Source::Event, Some(at))
            }
            (_, Some(active)) => shown(Lock::Locked, Source::Scenario, Some(active.by)),
            (_, None) if self.assume_locked => shown(Lock::Locked, Source::Assumed, None),
            (_, None) => shown(Lock::Unknown, Source::Nothing, None),
        }
    }

    /// Takes what an event proves about the lock, if it is newer than what was known.
    fn prove(&mut self, proof: Proof, at: Timestamp) {
        match self.proof {
            Some((_, known)) if at < known => {}
            // Event times are whole seconds: which of two contradicting events came last is not known.
            Some((known, since)) if at == since && known != proof => self.proof = Some((Proof::Moved, at)),
            Some(_) | None => self.proof = Some((proof, at)),
        }
        // A lock event wins over any timer, but not one from before the unlock it would contradict.
        if matches!(proof, Proof::Locked)
            && let Some(overlay) = self.overlay
            && at > overlay.since()
        {
            self.overlay = None;
        }
    }

    fn grant(&mut self, at: Timestamp, now: Now) {
        let busy = self.overlay.is_some() || self.unlocking.is_some();
        if self.speaks || busy || self.proof.is_some_and(|(_, known)| known > at) {
            return;
        }
        let ends = at.saturating_add(self.unlock_time.unwrap_or(UNLOCK_TIME)).unwrap_or(at);
        if let Ok(left) = Duration::try_from(ends.duration_since(now.utc))
            && !left.is_zero()
        {
            let until = now.mono + left;
            self.overlay =
                Some(Overlay::Unlocked { since: at, until, until_utc: ends, source: Source::Event });
        }
    }
}

/// When a controller was last reported out of reach, and last heard of.
#[derive(Debug, Default)]
struct Heard {
    lost: Option<Timestamp>,
    alive: Option<Timestamp>,
}

impl Heard {
    fn is_lost(&self) -> bool {
        self.lost.is_some_and(|lost| self.alive.is_none_or(|alive| lost >= alive))
    }
}

/// All doors.
#[derive(Debug, Default)]
pub(super) struct Doors {
    records: BTreeMap<DoorId, Record>,
    roster: Roster<DoorId>,
    controllers: BTreeMap<ControllerId, Heard>,
    /// Doors that active scenarios lock, listed or not.
    covered: BTreeMap<DoorId, Activation>,
    /// When the last scenario that locked a door ended: evidence from before proves nothing, however late it arrives.
    uncovered: BTreeMap<DoorId, Timestamp>,
    /// Doors that only evidence came of so far, oldest first.
    unlisted: VecDeque<DoorId>,
    /// Doors that have an overlay.
    overlaid: BTreeSet<DoorId>,
    changed: BTreeSet<DoorId>,
    announced: BTreeSet<DoorId>,
    gone: Vec<DoorId>,
}

impl Doors {
    /// The door, if it is listed.
    pub(super) fn listed(&self, id: &DoorId) -> Option<(&Door, &Record)> {
        let record = self.records.get(id)?;
        record.door.as_ref().map(|door| (door, record))
    }

    /// All listed doors.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&DoorId, &Door, &Record)> {
        self.records.iter().filter_map(|(id, record)| record.door.as_ref().map(|door| (id, door, record)))
    }

    /// How many doors are listed.
    pub(super) fn count(&self) -> usize {
        self.records.values().filter(|record| record.door.is_some()).count()
    }

    /// Doors whose shown state may have changed since the last time.
    pub(super) fn take_changed(&mut self) -> BTreeSet<DoorId> {
        std::mem::take(&mut self.changed)
    }

    /// Doors that are new or were renamed or moved since the last time.
    pub(super) fn take_announced(&mut self) -> BTreeSet<DoorId> {
        std::mem::take(&mut self.announced)
    }

    /// Doors that are gone since the last time.
    pub(super) fn take_gone(&mut self) -> Vec<DoorId> {
        std::mem::take(&mut self.gone)
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
        assume_locked: impl Fn(&DoorId) -> bool,
        now: Now,
    ) {
        let complete = list.skipped.is_empty();
        let listed: BTreeSet<DoorId> = list.items.iter().map(|door| door.id.clone()).collect();
        for door in list.items.into_iter().filter(|door| takes.takes(&door.id)) {
            let id = door.id.clone();
            self.unlisted.retain(|waiting| *waiting != id);
            let record = self.records.entry(id.clone()).or_default();
            if record.door.as_ref() != Some(&door) {
                record.assume_locked = assume_locked(&id);
                record.door = Some(door);
                self.announced.insert(id.clone());
                self.changed.insert(id);
            }
        }
        if !complete {
            return;
        }
        let known = self.records.iter().filter(|(_, record)| record.door.is_some()).map(|(id, _)| id);
        for id in self.roster.observe(known, &listed, now.mono) {
            self.records.remove(&id);
            self.overlaid.remove(&id);
            self.gone.push(id);
        }
    }

    /// Takes one access event; older evidence never undoes newer. A controller's clock that runs ahead must not make
    /// its evidence outlive what comes later, so no evidence is younger than its arrival.
    pub(super) fn apply(&mut self, event: &AccessEvent, now: Now) {
        let at = event.at.min(now.utc);
        let wired_to = |id| self.controller_of(id);
        if let Some(controller) = event.controller.clone().or_else(|| event.door.as_ref().and_then(wired_to))
        {
            self.hear_controller(event.kind, &controller, at);
        }
        let Some(id) = &event.door else { return };
        let void = self.uncovered.get(id).is_some_and(|ended| at <= *ended);
        let Some(record) = self.record_for_evidence(id) else { return };
        let before = (record.shown(), record.position);
        if let Some(position) = event.kind.position()
            && record.position.is_none_or(|(_, known)| at >= known)
        {
            record.position = Some((position, at));
        }
        if let Some(proof) = Proof::of(event.kind).filter(|_| !void) {
            record.prove(proof, at);
        }
        record.speaks |= matches!(event.kind, EventKind::Unlocked | EventKind::Locked);
        if matches!(event.kind, EventKind::Granted | EventKind::RemoteUnlock) {
            record.grant(at, now);
        }
        let overlaid = record.overlay.is_some();
        if before != (record.shown(), record.position) {
            self.changed.insert(id.clone());
        }
        if overlaid {
            self.overlaid.insert(id.clone())
        } else {
            self.overlaid.remove(id)
        };
    }

    /// Whether the controller of the door is known to be out of reach.
    pub(super) fn is_cut_off(&self, door: &Door) -> bool {
        door.controller
            .as_ref()
            .and_then(|controller| self.controllers.get(&controller.id))
            .is_some_and(Heard::is_lost)
    }

    /// Which doors active scenarios lock. Once a scenario ends, evidence from before its end proves nothing: the
    /// door returns to whatever its schedule says by then.
    pub(super) fn cover(&mut self, covered: &BTreeMap<DoorId, Activation>, now: Now) {
        for id in self.covered.keys().filter(|id| !covered.contains_key(*id)) {
            self.uncovered.insert(id.clone(), now.utc);
        }
        self.covered.clone_from(covered);
        for (id, record) in &mut self.records {
            let active = covered.get(id).copied();
            if record.covered == active {
                continue;
            }
            if active.is_none() {
                record.proof = record.proof.filter(|(_, at)| *at > now.utc);
            }
            record.covered = active;
            self.changed.insert(id.clone());
        }
    }

    /// An unlock was accepted.
    pub(super) fn unlocking(&mut self, id: &DoorId, now: Now) {
        if let Some(record) = self.records.get_mut(id) {
            record.unlocking = Some(now.utc);
            self.changed.insert(id.clone());
        }
    }

    /// The vendor unlocked the door, so its controller is there; returns when it is due to lock again.
    pub(super) fn unlocked(&mut self, id: &DoorId, duration: Option<Duration>, now: Now) -> Instant {
        if let Some(controller) = self.controller_of(id) {
            self.hear_controller(EventKind::Unlocked, &controller, now.utc);
        }
        let known = self.records.get(id).and_then(|record| record.unlock_time);
        let lasts = duration.or(known).unwrap_or(UNLOCK_TIME);
        let until = now.mono + lasts;
        let until_utc = now.utc.saturating_add(lasts).unwrap_or(now.utc);
        if let Some(record) = self.records.get_mut(id) {
            record.unlock_time = duration.or(known);
            record.unlocking = None;
        }
        self.overlay(
            id,
            Some(Overlay::Unlocked { since: now.utc, until, until_utc, source: Source::Command }),
        );
        until
    }

    /// An unlock ended without proof: for as long as it may have worked, nothing is claimed.
    pub(super) fn unsure(&mut self, id: &DoorId, now: Now) {
        let Some(record) = self.records.get_mut(id) else { return };
        record.unlocking = None;
        let may_last = now.mono + record.unlock_time.unwrap_or(LONGEST_UNLOCK);
        let until = record.overlay.map_or(may_last, |overlay| overlay.until().max(may_last));
        self.overlay(id, Some(Overlay::Unsure { since: now.utc, until }));
    }

    /// An unlock was not done: what was shown before it comes back.
    pub(super) fn not_unlocked(&mut self, id: &DoorId) {
        if let Some(record) = self.records.get_mut(id) {
            record.unlocking = None;
            self.changed.insert(id.clone());
        }
    }

    /// Remembers how a command ended.
    pub(super) fn note_command(&mut self, id: &DoorId, last: LastCommand) {
        if let Some(record) = self.records.get_mut(id) {
            record.last_command = Some(last);
            self.changed.insert(id.clone());
        }
    }

    /// The events that carry the evidence cannot be read: what they proved earlier is no longer shown.
    pub(super) fn forget_evidence(&mut self) {
        for (id, record) in &mut self.records {
            if record.proof.take().is_some() | record.position.take().is_some() {
                self.changed.insert(id.clone());
            }
        }
    }

    /// Ends overlays that are due.
    pub(super) fn expire(&mut self, now: Now) {
        let ended: Vec<DoorId> = self
            .overlaid
            .iter()
            .filter(|id| self.overlay_end(id).is_some_and(|until| until <= now.mono))
            .cloned()
            .collect();
        for id in ended {
            self.overlay(&id, None);
        }
    }

    /// When the next overlay ends.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.overlaid.iter().filter_map(|id| self.overlay_end(id)).min()
    }

    fn controller_of(&self, id: &DoorId) -> Option<ControllerId> {
        self.listed(id)?.0.controller.as_ref().map(|controller| controller.id.clone())
    }

    fn overlay_end(&self, id: &DoorId) -> Option<Instant> {
        Some(self.records.get(id)?.overlay?.until())
    }

    fn overlay(&mut self, id: &DoorId, overlay: Option<Overlay>) {
        let Some(record) = self.records.get_mut(id) else { return };
        record.overlay = overlay;
        self.changed.insert(id.clone());
        if overlay.is_some() {
            self.overlaid.insert(id.clone())
        } else {
            self.overlaid.remove(id)
        };
    }

    fn record_for_evidence(&mut self, id: &DoorId) -> Option<&mut Record> {
        if !self.records.contains_key(id) {
            if self.unlisted.len() >= MAX_UNLISTED
                && let Some(oldest) = self.unlisted.pop_front()
            {
                self.records.remove(&oldest);
            }
            self.unlisted.push_back(id.clone());
            self.records.insert(id.clone(), Record::default());
        }
        self.records.get_mut(id)
    }

    fn hear_controller(&mut self, kind: EventKind, controller: &ControllerId, at: Timestamp) {
        let heard = self.controllers.entry(controller.clone()).or_default();
        let before = heard.is_lost();
        let mark = if kind == EventKind::ControllerOffline { &mut heard.lost } else { &mut heard.alive };
        *mark = (*mark).max(Some(at));
        if heard.is_lost() != before {
            let of = |door: &Door| door.controller.as_ref().is_some_and(|c| c.id == *controller);
            let wired = self
                .records
                .iter()
                .filter(|(_, r)| r.door.as_ref().is_some_and(of))
                .map(|(id, _)| id.clone());
            self.changed.extend(wired);
        }
    }
}
