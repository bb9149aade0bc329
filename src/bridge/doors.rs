//! Doors: what is known of each, from which evidence, and what is therefore shown.
//!
//! A base that only evidence moves lies under an overlay that an unlock puts on top for its duration. When the
//! overlay ends the base shows again. No evidence is shown as unknown.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    position::Standing,
    problems::{Alarm, Problem, Problems},
    roster::Roster,
    scenarios::Coverage,
    settings::Selection,
};
use crate::model::{
    AccessEvent, ControllerId, Door, DoorId, EventId, EventKind, Inventory, Method, Now, Person, Position,
    ScenarioId, Site, SiteId,
};

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
            | EventKind::Tamper
            | EventKind::FireTriggered
            | EventKind::FireReleased
            | EventKind::ControllerFireTriggered
            | EventKind::ControllerFireReleased
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

    /// Whether it was guessed from an event that somebody was let in.
    fn is_guess(&self) -> bool {
        matches!(self, Self::Unlocked { source: Source::Event, .. })
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

/// The newest access event of a door; shown in its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LastEvent {
    pub(super) word: String,
    pub(super) at: Timestamp,
    pub(super) method: Option<Method>,
    pub(super) by: Option<Person>,
    /// Decides between two of one second, so that the order in which they arrive does not matter.
    id: EventId,
}

/// What the owner decided for one door.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Choices {
    /// Whether it is shown as locked without evidence.
    pub(super) assume_locked: bool,
    /// Whether it locks as soon as it is opened, by its setting at the vendor.
    pub(super) relocks_on_open: bool,
}

/// What is known of one door.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// As listed; `None` where only evidence came so far.
    pub(super) door: Option<Door>,
    pub(super) last_command: Option<LastCommand>,
    pub(super) last_event: Option<LastEvent>,
    choices: Choices,
    proof: Option<(Proof, Timestamp)>,
    standing: Standing,
    /// When it was last opened.
    opened: Option<Timestamp>,
    problems: Problems,
    /// Whether events ever told of tampering or fire: only then its device has an entity for it.
    tells_tamper: bool,
    tells_fire: bool,
    /// Which active scenarios lock it, and since when.
    covered: Option<Coverage>,
    overlay: Option<Overlay>,
    /// Since when a command of ours is on its way. It lies over the overlay, which comes back if the command fails.
    unlocking: Option<Timestamp>,
    /// The oldest lock event seen of it: from then on lock events are waited for instead of guessing from grants.
    speaks_since: Option<Timestamp>,
    /// The door's own unlock time, once an answer named it.
    unlock_time: Option<Duration>,
}

/// All that an event can change of what is shown of a door.
#[derive(Debug, PartialEq, Eq)]
struct Face {
    shown: Shown,
    position: Option<(Position, Timestamp)>,
    problems: [Option<bool>; 4],
    last_event: Option<LastEvent>,
}

impl Record {
    fn new(open_believed: Duration) -> Self {
        Self { standing: Standing::new(open_believed), ..Self::default() }
    }

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
        self.standing.shown()
    }

    /// The active scenarios that lock it.
    pub(super) fn covered_by(&self) -> impl Iterator<Item = &ScenarioId> {
        self.covered.iter().flat_map(|coverage| &coverage.by)
    }

    /// What its own events tell of a problem. Nothing holds a door open of which it is not known whether it is open.
    fn problem(&self, problem: Problem) -> Option<bool> {
        let on = self.problems.is_on(problem);
        match problem {
            Problem::HeldOpen | Problem::ForcedOpen => on.filter(|on| !(*on && self.standing.has_lapsed())),
            Problem::Tamper | Problem::Fire => on,
        }
    }

    fn face(&self) -> Face {
        Face {
            shown: self.shown(),
            position: self.position(),
            problems: Problem::ALL.map(|problem| self.problem(problem)),
            last_event: self.last_event.clone(),
        }
    }

    /// Whether something about it ends by the mere passing of time, and when.
    fn next_expiry(&self) -> Option<Instant> {
        let relock = self.overlay.map(|overlay| overlay.until());
        relock.into_iter().chain(self.standing.next_expiry()).min()
    }

    /// Takes an event that happened at `at`; `void` where that proves nothing about the lock.
    fn take(&mut self, event: &AccessEvent, at: Timestamp, void: bool, now: Now) {
        if let Some(position) = event.kind.position() {
            self.standing.see(position, at, now);
        }
        self.problems.take(event.kind, at);
        self.tells_tamper |= event.kind == EventKind::Tamper;
        self.tells_fire |= matches!(event.kind, EventKind::FireTriggered | EventKind::FireReleased);
        if let Some(proof) = Proof::of(event.kind).filter(|_| !void) {
            self.prove(proof, at);
        }
        if matches!(event.kind, EventKind::Unlocked | EventKind::Locked) {
            self.speak(at);
        }
        if matches!(event.kind, EventKind::Granted | EventKind::RemoteUnlock) {
            self.grant(at, now);
        }
        // By a clock that runs ahead, an opening from before an unlock would seem to follow it.
        if event.kind == EventKind::Opened && event.at <= now.utc {
            self.open(at);
        }
        self.note_event(event, at);
    }

    fn base(&self) -> Shown {
        let shown = |lock, source, at| Shown { lock, source, at, relock_due: None };
        match (self.proof, self.covered.as_ref().map(|coverage| coverage.newest)) {
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
            (_, None) if self.choices.assume_locked => shown(Lock::Locked, Source::Assumed, None),
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
        // A lock event wins over any timer, but not one from before the unlock it would contradict. What was guessed
        // from a grant falls with any newer proof.
        if let Some(overlay) = self.overlay
            && (proof == Proof::Locked || overlay.is_guess())
            && at > overlay.since()
        {
            self.overlay = None;
        }
    }

    /// From its first lock event on, the door is taken at its word: what was guessed from grants since then falls.
    fn speak(&mut self, at: Timestamp) {
        let since = self.speaks_since.map_or(at, |known| known.min(at));
        self.speaks_since = Some(since);
        self.overlay = self.overlay.filter(|overlay| !overlay.is_guess() || overlay.since() < since);
    }

    /// The door was opened. Where that locks it, an unlock from before is over.
    fn open(&mut self, at: Timestamp) {
        self.opened = self.opened.max(Some(at));
        if let Some(Overlay::Unlocked { since, .. }) = self.overlay
            && self.choices.relocks_on_open
            && at > since
        {
            self.overlay = None;
        }
    }

    fn grant(&mut self, at: Timestamp, now: Now) {
        let later = |known: Option<Timestamp>| known.is_some_and(|known| known > at);
        // An unlock of ours, or a later grant, says more.
        let busy = self.unlocking.is_some()
            || self.overlay.is_some_and(|overlay| !overlay.is_guess() || overlay.since() >= at);
        let speaks = self.speaks_since.is_some_and(|since| since <= at);
        let relocked = self.choices.relocks_on_open && later(self.opened);
        if speaks || busy || relocked || later(self.proof.map(|(_, known)| known)) {
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

    /// Remembers the newest event that tells of somebody, whole: nothing of an older one stays.
    fn note_event(&mut self, event: &AccessEvent, at: Timestamp) {
        let newer = match &self.last_event {
            Some(last) => (last.at, &last.id) < (at, &event.id),
            None => true,
        };
        if newer && event.kind.tells_of_access() {
            self.last_event = Some(LastEvent {
                word: event.word.clone(),
                at,
                method: Method::of_word(&event.word),
                by: event.person.clone(),
                id: event.id.clone(),
            });
        }
    }
}

/// When a controller was last reported out of reach, and last heard of; and its fire alarm.
#[derive(Debug, Default)]
struct Heard {
    lost: Option<Timestamp>,
    alive: Option<Timestamp>,
    fire: Alarm,
    /// Whether it ever told of a fire alarm.
    tells_fire: bool,
}

impl Heard {
    fn is_lost(&self) -> bool {
        self.lost.is_some_and(|lost| self.alive.is_none_or(|alive| lost >= alive))
    }
}

/// All doors.
#[derive(Debug)]
pub(super) struct Doors {
    /// How long a door that never told of being closed is believed to stand open.
    open_believed: Duration,
    records: BTreeMap<DoorId, Record>,
    roster: Roster<DoorId>,
    controllers: BTreeMap<ControllerId, Heard>,
    /// Doors that active scenarios lock, listed or not.
    covered: BTreeMap<DoorId, Coverage>,
    /// When the last scenario that locked a door ended: evidence from before proves nothing, however late it arrives.
    uncovered: BTreeMap<DoorId, Timestamp>,
    /// Doors that only evidence came of so far, oldest first.
    unlisted: VecDeque<DoorId>,
    /// Doors of which something ends by itself: an overlay, or the belief that they stand open.
    timed: BTreeSet<DoorId>,
    changed: BTreeSet<DoorId>,
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
            controllers: BTreeMap::new(),
            covered: BTreeMap::new(),
            uncovered: BTreeMap::new(),
            unlisted: VecDeque::new(),
            timed: BTreeSet::new(),
            changed: BTreeSet::new(),
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
        choices: impl Fn(&DoorId) -> Choices,
        now: Now,
    ) {
        let complete = list.skipped.is_empty();
        let listed: BTreeSet<DoorId> = list.items.iter().map(|door| door.id.clone()).collect();
        for door in list.items.into_iter().filter(|door| takes.takes(&door.id)) {
            let id = door.id.clone();
            self.unlisted.retain(|waiting| *waiting != id);
            let record = self.records.entry(id.clone()).or_insert_with(|| Record::new(self.open_believed));
            if record.door.as_ref() != Some(&door) {
                record.choices = choices(&id);
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
            self.timed.remove(&id);
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
        let (before, told) = (record.face(), (record.tells_tamper, record.tells_fire));
        record.take(event, at, void, now);
        let changed = before != record.face();
        let tells = record.door.is_some() && told != (record.tells_tamper, record.tells_fire);
        if changed {
            self.changed.insert(id.clone());
        }
        if tells {
            self.announced.insert(id.clone());
        }
        self.time(id);
    }

    /// Whether the controller of the door is known to be out of reach.
    pub(super) fn is_cut_off(&self, door: &Door) -> bool {
        self.controller_heard(door).is_some_and(Heard::is_lost)
    }

    /// What is known of a problem of a listed door, its controller's fire alarm included.
    pub(super) fn problem(&self, door: &Door, record: &Record, problem: Problem) -> Option<bool> {
        let own = record.problem(problem);
        match problem {
            Problem::Fire => {
                Alarm::either(own, self.controller_heard(door).and_then(|heard| heard.fire.is_on()))
            }
            Problem::HeldOpen | Problem::ForcedOpen | Problem::Tamper => own,
        }
    }

    /// Whether events ever could tell of a problem of a listed door. It never becomes false again.
    pub(super) fn tells_of(&self, door: &Door, record: &Record, problem: Problem) -> bool {
        match problem {
            Problem::HeldOpen | Problem::ForcedOpen => true,
            Problem::Tamper => record.tells_tamper,
            Problem::Fire => {
                record.tells_fire || self.controller_heard(door).is_some_and(|heard| heard.tells_fire)
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
        }
        self.covered.clone_from(covered);
        for (id, record) in &mut self.records {
            let active = covered.get(id);
            if record.covered.as_ref() == active {
                continue;
            }
            if active.is_none() {
                record.proof = record.proof.filter(|(_, at)| *at > now.utc);
            }
            record.covered = active.cloned();
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
            if record.proof.take().is_some() | record.standing.forget() | record.problems.forget() {
                self.changed.insert(id.clone());
            }
        }
        let mut silenced = BTreeSet::new();
        for (controller, heard) in &mut self.controllers {
            if heard.fire.forget() {
                silenced.insert(controller.clone());
            }
        }
        for controller in silenced {
            let wired = self.wired_to(&controller);
            self.changed.extend(wired);
        }
    }

    /// Ends what is due: overlays, and beliefs that a door stands open.
    pub(super) fn expire(&mut self, now: Now) {
        let due: Vec<DoorId> = self
            .timed
            .iter()
            .filter(|id| self.expiry_of(id).is_some_and(|until| until <= now.mono))
            .cloned()
            .collect();
        for id in due {
            if let Some(record) = self.records.get_mut(&id) {
                record.standing.expire(now);
                record.overlay = record.overlay.filter(|overlay| overlay.until() > now.mono);
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

    fn controller_heard(&self, door: &Door) -> Option<&Heard> {
        self.controllers.get(&door.controller.as_ref()?.id)
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

    fn overlay(&mut self, id: &DoorId, overlay: Option<Overlay>) {
        let Some(record) = self.records.get_mut(id) else { return };
        record.overlay = overlay;
        self.changed.insert(id.clone());
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
        let heard = self.controllers.entry(controller.clone()).or_default();
        let before = (heard.is_lost(), heard.fire.is_on(), heard.tells_fire);
        let mark = if kind == EventKind::ControllerOffline { &mut heard.lost } else { &mut heard.alive };
        *mark = (*mark).max(Some(at));
        if let EventKind::ControllerFireTriggered | EventKind::ControllerFireReleased = kind {
            heard.fire.note(kind == EventKind::ControllerFireTriggered, at);
            heard.tells_fire = true;
        }
        let after = (heard.is_lost(), heard.fire.is_on(), heard.tells_fire);
        if after != before {
            let wired = self.wired_to(controller);
            if after.2 != before.2 {
                self.announced.extend(wired.iter().cloned());
            }
            self.changed.extend(wired);
        }
    }
}
