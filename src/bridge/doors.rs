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
    confirmation::Window,
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

/// What an unlock of ours puts on top of the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overlay {
    /// The door is unlocked until then.
    Unlocked { since: Timestamp, until: Instant, until_utc: Timestamp },
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

/// An event told that somebody was let in: what says nothing of the lock itself, and is only a guess about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Grant {
    at: Timestamp,
    /// Until when the door is taken to be unlocked by it; `None` once that is over.
    until: Option<(Instant, Timestamp)>,
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
    /// The newest lockdown event of it.
    lockdown: Option<Timestamp>,
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
    /// The newest grant, and when an unlock of ours last worked: earlier grants add nothing to that.
    granted: Option<Grant>,
    own_unlock: Option<Timestamp>,
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
    /// What confirms the door of an active scenario, also where it changes nothing else.
    proof: Option<(Proof, Timestamp)>,
    lockdown: Option<Timestamp>,
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
            Some(Overlay::Unlocked { since, until_utc, .. }) => Shown {
                lock: Lock::Unlocked,
                source: Source::Command,
                at: Some(since),
                relock_due: Some(until_utc),
            },
            Some(Overlay::Unsure { since, .. }) => {
                Shown { lock: Lock::Unknown, source: Source::Command, at: Some(since), relock_due: None }
            }
            None => self.guess().unwrap_or_else(|| self.base()),
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

    /// Whether evidence shows that a scenario locked it, and nothing newer says the contrary.
    fn confirms(&self, window: Window) -> bool {
        let lockdown = self.lockdown.filter(|at| *at >= window.lockdown);
        let locked = match self.proof {
            Some((Proof::Locked, at)) if at > window.locked => Some(at),
            Some((Proof::Locked | Proof::Unlocked | Proof::Moved, _)) | None => None,
        };
        let Some(newest) = lockdown.max(locked) else { return false };
        let contrary = match self.proof {
            Some((Proof::Unlocked | Proof::Moved, at)) => at >= newest,
            Some((Proof::Locked, _)) | None => false,
        };
        let let_in = self.unlocking.is_some() || self.overlay.is_some() || self.guess().is_some();
        !contrary && !let_in
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
            proof: self.proof,
            lockdown: self.lockdown,
            position: self.position(),
            problems: Problem::ALL.map(|problem| self.problem(problem)),
            last_event: self.last_event.clone(),
        }
    }

    /// Whether something about it ends by the mere passing of time, and when.
    fn next_expiry(&self) -> Option<Instant> {
        let relock = self.overlay.map(|overlay| overlay.until());
        let guess = self.granted.and_then(|grant| grant.until).map(|(until, _)| until);
        relock.into_iter().chain(guess).chain(self.standing.next_expiry()).min()
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
        if event.kind == EventKind::Lockdown {
            self.lockdown = self.lockdown.max(Some(at));
        }
        if matches!(event.kind, EventKind::Unlocked | EventKind::Locked) {
            self.speaks_since = Some(self.speaks_since.map_or(at, |known| known.min(at)));
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
        // A lock event wins over any timer, but not one from before the unlock it would contradict.
        if matches!(proof, Proof::Locked)
            && let Some(overlay) = self.overlay
            && at > overlay.since()
        {
            self.overlay = None;
        }
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
        if self.granted.is_some_and(|known| known.at >= at) {
            return;
        }
        let ends = at.saturating_add(self.unlock_time.unwrap_or(UNLOCK_TIME)).unwrap_or(at);
        let left = Duration::try_from(ends.duration_since(now.utc)).ok().filter(|left| !left.is_zero());
        self.granted = Some(Grant { at, until: left.map(|left| (now.mono + left, ends)) });
    }

    /// What the newest grant lets guess about the lock: nothing where anything from then or later says more. It is
    /// judged anew each time, so that the order in which evidence arrives does not matter.
    fn guess(&self) -> Option<Shown> {
        let Grant { at, until } = self.granted?;
        let (_, until_utc) = until?;
        let later = |known: Option<Timestamp>| known.is_some_and(|known| known > at);
        let speaks = self.speaks_since.is_some_and(|since| since <= at);
        let relocked = self.choices.relocks_on_open && later(self.opened);
        let superseded = self.own_unlock.is_some_and(|own| own >= at);
        if relocked || superseded || later(self.proof.map(|(_, known)| known)) {
            return None;
        }
        let guess = |lock, relock_due| Shown { lock, source: Source::Event, at: Some(at), relock_due };
        if speaks {
            // The door's own word is waited for; only that it is locked cannot be said meanwhile.
            return (self.base().lock == Lock::Locked).then(|| guess(Lock::Unknown, None));
        }
        Some(guess(Lock::Unlocked, Some(until_utc)))
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
    /// Doors of which something ends by itself: an overlay, a guess, or the belief that they stand open.
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

    /// Whether evidence shows that a scenario locked the door, listed or not.
    pub(super) fn confirms(&self, id: &DoorId, window: Window) -> bool {
        self.records.get(id).is_some_and(|record| record.confirms(window))
    }

    /// The active scenarios that lock the door, listed or not.
    pub(super) fn covering(&self, id: &DoorId) -> impl Iterator<Item = &ScenarioId> {
        self.covered.get(id).into_iter().flat_map(|coverage| &coverage.by)
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
            record.own_unlock = Some(now.utc);
        }
        self.overlay(id, Some(Overlay::Unlocked { since: now.utc, until, until_utc }));
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
            if record.proof.take().is_some()
                | record.lockdown.take().is_some()
                | record.standing.forget()
                | record.problems.forget()
            {
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
                record.standing.expire(now);
                record.overlay = record.overlay.filter(|overlay| overlay.until() > now.mono);
                record.granted = record.granted.map(|grant| Grant {
                    until: grant.until.filter(|(until, _)| *until > now.mono),
                    ..grant
                });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bridge::scenarios::Activation, model::Controller, rng::Rng};

    const DOOR: &str = "d-1";
    const ACU: &str = "acu-1";

    /// Seconds of event time.
    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_second(1_764_072_000).unwrap() + Duration::from_secs(seconds)
    }

    /// Both clocks, so many seconds after the beginning.
    fn after(begin: Instant, seconds: u64) -> Now {
        Now { mono: begin + Duration::from_secs(seconds), utc: at(seconds) }
    }

    fn event(id: usize, word: &str, seconds: u64) -> AccessEvent {
        AccessEvent {
            id: format!("e-{id}").parse().unwrap(),
            kind: EventKind::of_word(word),
            word: word.to_owned(),
            at: at(seconds),
            door: Some(DOOR.parse().unwrap()),
            controller: None,
            direction: None,
            message: None,
            person: None,
        }
    }

    /// One listed door, nothing known of it.
    fn listed(choices: Choices, now: Now) -> Doors {
        let door = Door {
            id: DOOR.parse().unwrap(),
            name: None,
            site: None,
            controller: Some(Controller { id: ACU.parse().unwrap(), name: None }),
            api_control: None,
            time_zone: None,
        };
        let mut doors = Doors::new(Duration::from_secs(5));
        let list = Inventory { items: vec![door], skipped: Vec::new() };
        doors.observe(list, &Selection::default(), |_| choices, now);
        doors
    }

    fn cover(doors: &mut Doors, on: bool, now: Now) {
        let newest = Activation { after: Some(now.utc), by: now.utc };
        let coverage = Coverage { newest, by: BTreeSet::from(["s-1".parse().unwrap()]) };
        let covered = if on { BTreeMap::from([(DOOR.parse().unwrap(), coverage)]) } else { BTreeMap::new() };
        doors.cover(&covered, now);
    }

    /// Everything that is shown of the door.
    fn shown(doors: &Doors) -> String {
        let id = DOOR.parse().unwrap();
        let (door, record) = doors.listed(&id).unwrap();
        let problems = Problem::ALL
            .map(|problem| (doors.problem(door, record, problem), doors.tells_of(door, record, problem)));
        let due = doors.next_expiry().map(|_| record.next_expiry());
        format!("{:?} {problems:?} {} {due:?}", record.face(), doors.is_cut_off(door))
    }

    fn lock(doors: &Doors) -> (Lock, Source) {
        let shown = doors.records[&DOOR.parse().unwrap()].shown();
        (shown.lock, shown.source)
    }

    /// Word and second of each event; whether a scenario covers the door since second 5; what is shown.
    type Case<'a> = (&'a [(&'a str, u64)], bool, (Lock, Source));

    /// The rows of `verkada-api.md` 5.2 about the lock, and what each weighs against the others. `begin` only serves to
    /// count from.
    fn check_ranks(begin: Instant) {
        use Lock::{Locked, Unknown, Unlocked};
        let (event_says, nothing) = (Source::Event, Source::Nothing);
        let cases: [Case<'_>; 21] = [
            (&[], false, (Unknown, nothing)),
            (&[("door_unlocked", 1)], false, (Unlocked, event_says)),
            (&[("door_locked", 1)], false, (Locked, event_says)),
            (&[("door_unlocked", 1), ("door_locked", 2)], false, (Locked, event_says)),
            (&[("door_unlocked", 2), ("door_locked", 2)], false, (Unknown, event_says)),
            // An opening, and somebody's name on an event, prove nothing about the lock.
            (&[("door_opened", 3), ("door_closed", 4)], false, (Unknown, nothing)),
            // A grant is a guess, and lock events are better.
            (&[("door_keycard_entered_accepted", 3)], false, (Unlocked, event_says)),
            (&[("door_press_to_exit_accepted", 3)], false, (Unlocked, event_says)),
            (&[("door_aux_unlock", 3)], false, (Unlocked, event_says)),
            (&[("door_granted", 3), ("door_locked", 4)], false, (Locked, event_says)),
            (&[("door_locked", 2), ("door_remote_unlock_accepted", 3)], false, (Unknown, event_says)),
            (&[("door_unlocked", 2), ("door_granted", 3)], false, (Unlocked, event_says)),
            (&[("door_keycard_entered_rejected", 3)], false, (Unknown, nothing)),
            // Changes without direction take away what was known, and a later event gives it back.
            (&[("door_locked", 2), ("door_lock_state_changed", 3)], false, (Unknown, event_says)),
            (&[("door_locked", 2), ("door_schedule_toggle", 3)], false, (Unknown, event_says)),
            (&[("door_schedule_override_applied", 2), ("door_locked", 3)], false, (Locked, event_says)),
            (&[("door_granted", 2), ("door_schedule_override_removed", 3)], false, (Unknown, event_says)),
            // A scenario locks the door; only what happens later says otherwise. The event of it is no proof by itself.
            (&[("door_unlocked", 4)], true, (Locked, Source::Scenario)),
            (&[("door_unlocked", 6)], true, (Unlocked, event_says)),
            (&[("door_schedule_toggle", 6)], true, (Unknown, event_says)),
            (&[("door_lockdown", 6)], false, (Unknown, nothing)),
        ];
        for (events, covered, expected) in cases {
            let mut doors = listed(Choices::default(), after(begin, 0));
            if covered {
                cover(&mut doors, true, after(begin, 5));
            }
            for (id, (word, seconds)) in events.iter().enumerate() {
                doors.apply(&event(id, word, *seconds), after(begin, 7));
            }
            assert_eq!(lock(&doors), expected, "{events:?}, covered {covered}");
        }
    }

    /// Row by row: a controller out of reach, and what proves that it is back.
    fn check_controllers(begin: Instant) {
        for (words, cut_off) in [
            (&["door_acu_offline"][..], true),
            (&["door_acu_offline", "door_acu_startup"], false),
            (&["door_acu_offline", "door_keycard_entered_rejected"], false),
            (&["door_opened", "door_acu_offline"], true),
        ] {
            let mut doors = listed(Choices::default(), after(begin, 0));
            for (id, word) in words.iter().enumerate() {
                doors.apply(&event(id, word, u64::try_from(id).unwrap()), after(begin, 9));
            }
            let id = DOOR.parse().unwrap();
            let (door, _) = doors.listed(&id).unwrap();
            assert_eq!(doors.is_cut_off(door), cut_off, "{words:?}");
        }
    }

    /// What tells how far the evidence reaches; none of it may ever go back.
    fn reach(doors: &Doors) -> [Option<Timestamp>; 4] {
        let record = &doors.records[&DOOR.parse().unwrap()];
        let controller = doors.controllers.get(&ACU.parse().unwrap());
        [
            record.proof.map(|(_, at)| at),
            record.granted.map(|grant| grant.at),
            record.last_event.as_ref().map(|last| last.at),
            controller.and_then(|heard| heard.alive),
        ]
    }

    const WORDS: [&str; 17] = [
        "door_unlocked",
        "door_locked",
        "door_opened",
        "door_closed",
        "door_held_open",
        "door_forced_open",
        "door_keycard_entered_accepted",
        "door_remote_unlock_accepted",
        "door_code_entered_rejected",
        "door_schedule_toggle",
        "door_tamper",
        "door_fire_alarm_triggered",
        "door_fire_alarm_released",
        "door_acu_fire_alarm_triggered",
        "door_acu_fire_alarm_released",
        "door_acu_offline",
        "door_acu_startup",
    ];

    /// Events of a few seconds, some of them twice, told up to a minute late.
    struct Telling {
        begin: Instant,
        choices: Choices,
        /// Whether an unlock of ours, or a scenario, comes before all of them arrive.
        unlocked: bool,
        covered: bool,
        read_at: u64,
        events: Vec<AccessEvent>,
    }

    impl Telling {
        fn random(begin: Instant, rng: &mut Rng) -> Self {
            let mut events = Vec::new();
            for id in 0..4 + usize::try_from(rng.below(4)).unwrap() {
                let word = WORDS[usize::try_from(rng.below(17)).unwrap()];
                events.push(event(id, word, 1 + rng.below(6)));
            }
            let again = usize::try_from(rng.below(4)).unwrap();
            events.push(events[again].clone());
            Self {
                begin,
                choices: Choices { assume_locked: rng.one_in(4), relocks_on_open: rng.one_in(2) },
                unlocked: rng.one_in(3),
                covered: rng.one_in(3),
                read_at: if rng.one_in(4) { 66 } else { 7 },
                events,
            }
        }

        fn shuffled(&self, rng: &mut Rng) -> Vec<&AccessEvent> {
            let mut order: Vec<_> = self.events.iter().collect();
            rng.shuffle(&mut order);
            order
        }

        /// What is shown after they came in this order. On the way no evidence goes back.
        fn told<'a>(&self, order: impl IntoIterator<Item = &'a AccessEvent>) -> String {
            let mut doors = listed(self.choices, after(self.begin, 0));
            if self.covered {
                cover(&mut doors, true, after(self.begin, 2));
            }
            if self.unlocked {
                doors.unlocked(&DOOR.parse().unwrap(), Some(Duration::from_secs(30)), after(self.begin, 3));
            }
            let now = after(self.begin, self.read_at);
            for event in order {
                let before = reach(&doors);
                doors.apply(event, now);
                let reached = reach(&doors);
                assert!(before.iter().zip(&reached).all(|(before, now)| before <= now), "{event:?}");
            }
            doors.expire(now);
            shown(&doors)
        }
    }

    #[test]
    fn known_sources_are_ranked() {
        let begin = crate::clock::now().mono;
        check_ranks(begin);
        check_controllers(begin);
    }

    #[test]
    fn no_order_of_the_same_events_shows_anything_else() {
        let begin = crate::clock::now().mono;
        for seed in 0..1_000 {
            let mut rng = Rng::new(seed);
            let telling = Telling::random(begin, &mut rng);
            let expected = telling.told(&telling.events);
            for _ in 0..100 {
                let order = telling.shuffled(&mut rng);
                let got = telling.told(order.iter().copied());
                assert_eq!(got, expected, "seed {seed}: {order:#?}");
            }
        }
    }
}
