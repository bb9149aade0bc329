//! The physics: doors that lock and open, exceptions and scenarios that rule them, controllers that lose their link.
//!
//! From the lowest to the highest, a door obeys its schedule, the exceptions in force, a lockdown, and a momentary unlock.
//!
//! Pure: time is handed in, nothing is sent. Every act first lets the time pass that went by since the last one.

pub mod access;
pub mod calendars;
pub mod passages;
mod plan;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use calendars::Slot;
use jiff::{SignedDuration, tz::TimeZone};
use passages::{Passages, UnlockedBy};
use plan::Plan;
use serde::Serialize;

use super::{
    calendar::DoorStatus,
    event::{Event, Journal, Lag, Note, Who},
    organisation::{self, Door, Group, Level, Organisation, Person, Scenario},
    switches::Switches,
};
use crate::{
    model::{ControllerId, DoorId, Now, ScenarioId},
    rng::Rng,
};

/// How long a request to exit unlocks (`verkada-api.md` 5.4).
const EXIT_TIME: Duration = Duration::from_secs(3);

/// Why an act is impossible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActError {
    /// There is no such door.
    #[error("no door has the id {0}")]
    UnknownDoor(DoorId),
    /// There is no such scenario.
    #[error("no scenario has the id {0}")]
    UnknownScenario(ScenarioId),
    /// There is no such person.
    #[error("no person has the id {0:?}")]
    UnknownPerson(String),
    /// The door exists already.
    #[error("there is a door with the id {0} already")]
    DoorExists(DoorId),
    /// A door that stands open cannot be opened or forced.
    #[error("door {0} stands open already; close it first")]
    Open(DoorId),
    /// A closed door cannot be closed.
    #[error("door {0} is closed already")]
    Closed(DoorId),
    /// A locked door opens only by force.
    #[error("door {0} is locked; unlock it, or force it open")]
    Locked(DoorId),
    /// An unlocked door needs no force.
    #[error("door {0} is unlocked; open it without force")]
    Unlocked(DoorId),
}

/// What the reader at a door decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The door unlocked.
    Accepted,
    /// The door did not unlock.
    Rejected,
}

/// The state of a door as the building knows it, and no API tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "a door has that many properties, each true or false")]
pub struct DoorState {
    /// Whether it is locked.
    pub locked: bool,
    /// Whether it stands open.
    pub open: bool,
    /// Whether it has stood open for too long.
    pub held_open: bool,
    /// Whether its schedule lets everybody pass.
    pub free_by_schedule: bool,
    /// What an exception wants of it; `None` leaves it to the schedule.
    pub exception: Option<DoorStatus>,
    /// Whether a scenario locks it.
    pub locked_down: bool,
    /// Whether its controller is online.
    pub online: bool,
}

/// Doors, scenarios and events of the organisation.
#[derive(Debug)]
pub struct World {
    /// How it behaves.
    pub switches: Switches,
    /// What happened.
    pub journal: Journal,
    /// The vendor's id of the organisation.
    pub organisation_id: String,
    /// The user in whose name the API acts.
    pub api_user_id: String,
    /// The access groups.
    pub groups: Vec<Group>,
    /// The access levels.
    pub levels: Vec<Level>,
    /// The people.
    pub people: Vec<Arc<Person>>,
    /// When it began.
    pub started: Now,
    doors: BTreeMap<DoorId, Room>,
    scenarios: BTreeMap<ScenarioId, Running>,
    calendars: BTreeMap<String, Slot>,
    /// How often calendars were written.
    updates: u64,
    offline: BTreeSet<ControllerId>,
    due: BTreeSet<(Instant, DoorId, Due)>,
    random: Rng,
}

/// What happens to a door by time alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Relock,
    HeldOpen,
    /// Exceptions begin, end or reach the controller.
    Plan,
}

/// Why and for how long a door lets somebody pass.
struct Passage {
    word: &'static str,
    note: Note,
    lasts: Duration,
}

/// A door and its state.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "a door has that many properties, each true or false")]
struct Room {
    door: Arc<Door>,
    locked: bool,
    open: bool,
    held_open: bool,
    free_by_schedule: bool,
    /// What the controller last heard of exceptions.
    plan: Plan,
    /// What it will hear of them, and when.
    plans_on_the_way: Vec<(Instant, Plan)>,
    /// What the exceptions in force want.
    exception: Option<DoorStatus>,
    /// When that may change.
    edge_at: Option<Instant>,
    passages: Passages,
    /// What the controller last heard of scenarios.
    locked_down: bool,
    relock_at: Option<Instant>,
    held_at: Option<Instant>,
    /// Who passed last: `door_locked` and `door_closed` name them (`verkada-api.md` 5.2).
    who: Option<Who>,
}

/// A scenario and its state.
#[derive(Debug)]
struct Running {
    scenario: Arc<Scenario>,
    active: bool,
    /// What the list showed before the last change.
    shown_before: bool,
    /// When the list follows the last change.
    shown_at: Instant,
}

impl Room {
    fn new(door: Door) -> Self {
        Self {
            door: Arc::new(door),
            locked: true,
            open: false,
            held_open: false,
            free_by_schedule: false,
            plan: Plan::default(),
            plans_on_the_way: Vec::new(),
            exception: None,
            edge_at: None,
            passages: Passages::default(),
            locked_down: false,
            relock_at: None,
            held_at: None,
            who: None,
        }
    }

    /// Whether everybody passes without a credential.
    fn is_free(&self, switches: &Switches) -> bool {
        self.is_free_with(self.exception, switches)
    }

    /// Whether everybody would pass if this were what exceptions want.
    fn is_free_with(&self, exception: Option<DoorStatus>, switches: &Switches) -> bool {
        let free = exception.map_or(self.free_by_schedule, |status| status == DoorStatus::Unlocked);
        let locked_down = self.locked_down && (switches.lockdown_beats_exceptions || exception.is_none());
        free && !locked_down
    }

    /// What unlocks it.
    fn unlocked_by(&self, switches: &Switches) -> Option<UnlockedBy> {
        match (self.locked, self.is_free(switches), self.exception) {
            (true, ..) => None,
            (false, true, Some(_)) => Some(UnlockedBy::Exception),
            (false, true, None) => Some(UnlockedBy::Schedule),
            (false, false, _) => Some(UnlockedBy::Momentary),
        }
    }
}

impl World {
    /// All doors locked and closed, all scenarios inactive, all controllers online.
    pub fn new(organisation: Organisation, switches: Switches, now: Now) -> Self {
        let running = |scenario: Scenario| Running {
            scenario: Arc::new(scenario),
            active: false,
            shown_before: false,
            shown_at: now.mono,
        };
        Self {
            switches,
            journal: Journal::default(),
            organisation_id: organisation.id,
            api_user_id: organisation.api_user_id,
            groups: organisation.groups,
            levels: organisation.levels,
            people: organisation.people.into_iter().map(Arc::new).collect(),
            started: now,
            doors: organisation.doors.into_iter().map(|door| (door.id.clone(), Room::new(door))).collect(),
            scenarios: organisation.scenarios.into_iter().map(|s| (s.id.clone(), running(s))).collect(),
            calendars: BTreeMap::new(),
            updates: 0,
            offline: BTreeSet::new(),
            due: BTreeSet::new(),
            random: Rng::new(organisation.seed),
        }
    }

    /// Lets the time pass until `now`: doors relock and alarms sound at their own moment, in order.
    pub fn advance(&mut self, now: Now) {
        while let Some((at, id, due)) = self.due.first().cloned().filter(|(at, ..)| *at <= now.mono) {
            self.due.pop_first();
            let late = SignedDuration::try_from(now.mono.saturating_duration_since(at)).unwrap_or_default();
            let then = Now { mono: at, utc: now.utc.checked_sub(late).unwrap_or(now.utc) };
            match due {
                Due::Relock => self.relock(&id, then),
                Due::HeldOpen => self.hold(&id, then),
                Due::Plan => self.hear_of_exceptions(&id, then),
            }
        }
    }

    /// When something next happens by time alone, pushes included.
    pub fn next_deadline(&self) -> Option<Instant> {
        let due = self.due.first().map(|(at, ..)| *at);
        [due, self.journal.next_push()].into_iter().flatten().min()
    }

    /// The doors, ordered by id.
    pub fn doors(&self) -> impl Iterator<Item = &Arc<Door>> {
        self.doors.values().map(|room| &room.door)
    }

    /// One door.
    ///
    /// # Errors
    /// When there is no such door.
    pub fn door(&self, id: &DoorId) -> Result<&Arc<Door>, ActError> {
        self.doors.get(id).map(|room| &room.door).ok_or_else(|| ActError::UnknownDoor(id.clone()))
    }

    /// The state of a door.
    ///
    /// # Errors
    /// When there is no such door.
    pub fn door_state(&self, id: &DoorId) -> Result<DoorState, ActError> {
        let room = self.doors.get(id).ok_or_else(|| ActError::UnknownDoor(id.clone()))?;
        Ok(DoorState {
            locked: room.locked,
            open: room.open,
            held_open: room.held_open,
            free_by_schedule: room.free_by_schedule,
            exception: room.exception,
            locked_down: room.locked_down,
            online: !self.offline.contains(&room.door.controller.id),
        })
    }

    /// The scenarios with what the list shows at `now`, ordered by id.
    pub fn scenarios(&self, now: Now) -> impl Iterator<Item = (&Arc<Scenario>, bool)> {
        self.scenarios.values().map(move |running| (&running.scenario, running.shown(now)))
    }

    /// Whether a scenario is active, whatever the list shows.
    ///
    /// # Errors
    /// When there is no such scenario.
    pub fn is_active(&self, id: &ScenarioId) -> Result<bool, ActError> {
        let running = self.scenarios.get(id).ok_or_else(|| ActError::UnknownScenario(id.clone()))?;
        Ok(running.active)
    }

    /// A person holds a card to the reader; `None` stands for a card that nobody knows.
    ///
    /// # Errors
    /// When there is no such door or person.
    pub fn badge(&mut self, id: &DoorId, person: Option<&str>, now: Now) -> Result<Verdict, ActError> {
        self.advance(now);
        let person = person.map(|person| self.person(person)).transpose()?;
        let unlock_time = self.door(id)?.unlock_time;
        // A card alone is too little where nobody may pass, or a code is needed as well.
        let card_passes =
            !matches!(self.door_state(id)?.exception, Some(DoorStatus::Locked | DoorStatus::CardAndCode));
        let passes = |person: &Arc<Person>| card_passes && self.may_pass(person, id, now.utc);
        let Some(person) = person.filter(passes) else {
            let input = Some(format!("{}|99999", organisation::FACILITY));
            let note = Note { input, direction: Some("Inbound"), accepted: Some(false), ..Note::default() };
            self.emit("door_keycard_entered_rejected", Some(id), note, now);
            return Ok(Verdict::Rejected);
        };
        let note = Note {
            input: Some(person.card()),
            direction: Some("Inbound"),
            accepted: Some(true),
            who: Some(Who::Person(Arc::clone(&person))),
            ..Note::default()
        };
        self.grant(id, Passage { word: "door_keycard_entered_accepted", note, lasts: unlock_time }, now);
        if let Some(room) = self.doors.get_mut(id) {
            room.plan.arrive(&person.groups, now.utc, &zone_of(&room.door), &self.switches);
            self.follow_exceptions(id, now);
        }
        Ok(Verdict::Accepted)
    }

    /// Somebody inside presses the exit button.
    ///
    /// # Errors
    /// When there is no such door.
    pub fn exit(&mut self, id: &DoorId, now: Now) -> Result<(), ActError> {
        self.advance(now);
        self.door(id)?;
        let note = Note { direction: Some("Outbound"), accepted: Some(true), ..Note::default() };
        self.grant(id, Passage { word: "door_press_to_exit_accepted", note, lasts: EXIT_TIME }, now);
        Ok(())
    }

    /// An unlock from afar, by the API; returns how long it lasts. Nothing happens while the controller is
    /// offline.
    ///
    /// # Errors
    /// When there is no such door.
    pub fn remote_unlock(&mut self, id: &DoorId, who: Who, now: Now) -> Result<Duration, ActError> {
        self.advance(now);
        let unlock_time = self.door(id)?.unlock_time;
        if self.door_state(id)?.online {
            let note =
                Note { method: method_of(&who), who: Some(who), accepted: Some(true), ..Note::default() };
            self.grant(id, Passage { word: "door_remote_unlock_accepted", note, lasts: unlock_time }, now);
        }
        Ok(unlock_time)
    }

    /// A refused unlock from afar is written down.
    ///
    /// # Errors
    /// When there is no such door.
    pub fn reject_remote(&mut self, id: &DoorId, who: Who, now: Now) -> Result<(), ActError> {
        self.advance(now);
        self.door(id)?;
        let note = Note { method: method_of(&who), who: Some(who), accepted: Some(false), ..Note::default() };
        self.emit("door_remote_unlock_rejected", Some(id), note, now);
        Ok(())
    }

    /// Somebody opens an unlocked door; by default that relocks it (`verkada-api.md` 5.4).
    ///
    /// # Errors
    /// When there is no such door, or when it is locked or stands open.
    pub fn open(&mut self, id: &DoorId, now: Now) -> Result<(), ActError> {
        self.advance(now);
        let state = self.door_state(id)?;
        if state.open {
            return Err(ActError::Open(id.clone()));
        }
        if state.locked {
            return Err(ActError::Locked(id.clone()));
        }
        self.swing_open(id, "door_opened", now);
        if self.switches.relock_on_open {
            self.relock(id, now);
        }
        Ok(())
    }

    /// Somebody opens a locked door by force.
    ///
    /// # Errors
    /// When there is no such door, or when it is unlocked or stands open.
    pub fn force(&mut self, id: &DoorId, now: Now) -> Result<(), ActError> {
        self.advance(now);
        let state = self.door_state(id)?;
        if state.open {
            return Err(ActError::Open(id.clone()));
        }
        if !state.locked {
            return Err(ActError::Unlocked(id.clone()));
        }
        self.swing_open(id, "door_forced_open", now);
        Ok(())
    }

    /// The door falls shut.
    ///
    /// # Errors
    /// When there is no such door, or when it is closed.
    pub fn close(&mut self, id: &DoorId, now: Now) -> Result<(), ActError> {
        self.advance(now);
        let room = self.doors.get_mut(id).ok_or_else(|| ActError::UnknownDoor(id.clone()))?;
        if !room.open {
            return Err(ActError::Closed(id.clone()));
        }
        room.open = false;
        room.held_open = false;
        if let Some(at) = room.held_at.take() {
            self.due.remove(&(at, id.clone(), Due::HeldOpen));
        }
        let who = room.who.clone();
        if self.switches.lock_events {
            self.emit("door_closed", Some(id), Note { who, ..Note::default() }, now);
        }
        Ok(())
    }

    /// The schedule of a door changes to free passage, or back.
    ///
    /// # Errors
    /// When there is no such door.
    pub fn toggle_schedule(&mut self, id: &DoorId, now: Now) -> Result<(), ActError> {
        self.advance(now);
        let room = self.doors.get_mut(id).ok_or_else(|| ActError::UnknownDoor(id.clone()))?;
        room.free_by_schedule = !room.free_by_schedule;
        let word = if room.free_by_schedule { "unlocked" } else { "locked" };
        let note = Note { input: Some(word.to_owned()), ..Note::default() };
        self.emit("door_schedule_toggle", Some(id), note, now);
        self.settle(id, self.switches.schedule_lock_events, now);
        Ok(())
    }

    /// The controller of a door loses its link, or gets it back and uploads what it wrote meanwhile. All doors of
    /// the controller are concerned; the events name the given door.
    ///
    /// # Errors
    /// When there is no such door.
    pub fn set_online(&mut self, id: &DoorId, online: bool, now: Now) -> Result<(), ActError> {
        self.advance(now);
        let controller = self.door(id)?.controller.id.clone();
        if self.offline.contains(&controller) != online {
            return Ok(());
        }
        if online {
            self.offline.remove(&controller);
            self.journal.upload(&controller, now, self.lag());
            self.emit("door_acu_startup", Some(id), Note::default(), now);
            let wired = |room: &&Room| room.door.controller.id == controller;
            let ids: Vec<DoorId> =
                self.doors.values().filter(wired).map(|room| room.door.id.clone()).collect();
            for id in ids {
                self.hear_of_scenarios(&id, now);
                self.hear_of_exceptions(&id, now);
            }
        } else {
            self.emit("door_acu_offline", Some(id), Note::default(), now);
            self.offline.insert(controller);
        }
        Ok(())
    }

    /// Starts (`true`) or ends a scenario; returns whether that changed anything.
    ///
    /// # Errors
    /// When there is no such scenario.
    pub fn set_active(
        &mut self,
        id: &ScenarioId,
        active: bool,
        who: Option<Who>,
        now: Now,
    ) -> Result<bool, ActError> {
        self.advance(now);
        let delay = self.switches.scenario_state_delay();
        let running = self.scenarios.get_mut(id).ok_or_else(|| ActError::UnknownScenario(id.clone()))?;
        if running.active == active {
            return Ok(false);
        }
        running.shown_before = running.shown(now);
        running.shown_at = now.mono + delay;
        running.active = active;
        let scenario = Arc::clone(&running.scenario);
        let note = Note { who, scenario: Some((Arc::clone(&scenario), active)), ..Note::default() };
        for door in &scenario.doors_to_lock {
            if self.door_state(door).is_ok_and(|state| state.online) {
                self.emit("door_lockdown", Some(door), note.clone(), now);
                self.hear_of_scenarios(door, now);
            }
        }
        self.emit("door_lockdown_debounced", None, note, now);
        Ok(true)
    }

    /// Adds a door, locked and closed.
    ///
    /// # Errors
    /// When there is a door with this id.
    pub fn add_door(&mut self, door: Door) -> Result<(), ActError> {
        if self.doors.contains_key(&door.id) {
            return Err(ActError::DoorExists(door.id));
        }
        self.doors.insert(door.id.clone(), Room::new(door));
        Ok(())
    }

    /// Removes a door; its events stay.
    ///
    /// # Errors
    /// When there is no such door.
    pub fn remove_door(&mut self, id: &DoorId) -> Result<(), ActError> {
        self.doors.remove(id).ok_or_else(|| ActError::UnknownDoor(id.clone()))?;
        self.due.retain(|(_, door, _)| door != id);
        self.forget_door(id);
        Ok(())
    }

    /// Changes the settings of a door: its name, its toggle. Its id stays.
    ///
    /// # Errors
    /// When there is no such door.
    pub fn edit_door(&mut self, id: &DoorId, edit: impl FnOnce(&mut Door)) -> Result<(), ActError> {
        let room = self.doors.get_mut(id).ok_or_else(|| ActError::UnknownDoor(id.clone()))?;
        let door = Arc::make_mut(&mut room.door);
        edit(door);
        door.id = id.clone();
        Ok(())
    }

    /// A person by id.
    ///
    /// # Errors
    /// When there is no such person.
    pub fn person(&self, id: &str) -> Result<Arc<Person>, ActError> {
        let found = self.people.iter().find(|person| person.id == id);
        found.cloned().ok_or_else(|| ActError::UnknownPerson(id.to_owned()))
    }

    /// Something random in the shape of a UUID.
    pub fn uuid(&mut self) -> String {
        self.random.uuid()
    }

    const fn lag(&self) -> Lag {
        Lag { list: self.switches.event_delay(), push: self.switches.webhook_delay() }
    }

    fn emit(&mut self, word: &'static str, door: Option<&DoorId>, note: Note, now: Now) {
        let door = door.and_then(|id| self.doors.get(id)).map(|room| Arc::clone(&room.door));
        let online = door.as_ref().is_none_or(|door| !self.offline.contains(&door.controller.id));
        let id = organisation::new_id(&mut self.random);
        let number = self.journal.next_number();
        let lag = self.lag();
        self.journal.write(Event { id, number, word, at: now.utc, door, note }, now, online, lag);
    }

    /// Lets somebody pass: the event, then the lock.
    fn grant(&mut self, id: &DoorId, Passage { word, note, lasts }: Passage, now: Now) {
        let who = note.who.clone();
        self.emit(word, Some(id), note, now);
        let Some(room) = self.doors.get_mut(id) else { return };
        room.who = who;
        if room.is_free(&self.switches) {
            return;
        }
        let relock_at = now.mono + lasts;
        if let Some(old) = room.relock_at.replace(relock_at) {
            self.due.remove(&(old, id.clone(), Due::Relock));
        }
        self.due.insert((relock_at, id.clone(), Due::Relock));
        self.set_locked(id, false, self.switches.lock_events, now);
    }

    /// Ends a momentary unlock, if there is one.
    fn relock(&mut self, id: &DoorId, now: Now) {
        let Some(room) = self.doors.get_mut(id) else { return };
        if let Some(at) = room.relock_at.take() {
            self.due.remove(&(at, id.clone(), Due::Relock));
            self.settle(id, true, now);
        }
    }

    /// Brings the lock into the state that schedule, exceptions and scenarios want, unless a momentary unlock is on
    /// top; `told` says whether an event tells it.
    fn settle(&mut self, id: &DoorId, told: bool, now: Now) {
        let Some(room) = self.doors.get(id) else { return };
        let locked = !room.is_free(&self.switches);
        if room.relock_at.is_none() || !locked {
            self.set_locked(id, locked, told && self.switches.lock_events, now);
        } else {
            self.note_passage(id, now);
        }
    }

    fn note_passage(&mut self, id: &DoorId, now: Now) {
        if let Some(room) = self.doors.get_mut(id) {
            room.passages.note(room.unlocked_by(&self.switches), now.utc);
        }
    }

    fn set_locked(&mut self, id: &DoorId, locked: bool, told: bool, now: Now) {
        let Some(room) = self.doors.get_mut(id) else { return };
        let changes = room.locked != locked;
        room.locked = locked;
        let note = Note { who: room.who.clone(), ..Note::default() };
        self.note_passage(id, now);
        if changes && told {
            self.emit(if locked { "door_locked" } else { "door_unlocked" }, Some(id), note, now);
        }
    }

    fn swing_open(&mut self, id: &DoorId, word: &'static str, now: Now) {
        let held_at = now.mono + self.switches.held_open_after();
        let Some(room) = self.doors.get_mut(id) else { return };
        room.open = true;
        room.held_at = Some(held_at);
        self.due.insert((held_at, id.clone(), Due::HeldOpen));
        self.emit(word, Some(id), Note::default(), now);
    }

    fn hold(&mut self, id: &DoorId, now: Now) {
        let Some(room) = self.doors.get_mut(id) else { return };
        room.held_at = None;
        room.held_open = true;
        self.emit("door_held_open", Some(id), Note::default(), now);
    }

    /// The controller learns which scenarios lock a door; a scenario that begins ends a momentary unlock.
    fn hear_of_scenarios(&mut self, id: &DoorId, now: Now) {
        let locked_down = self.scenarios.values().any(|running| running.locks(id));
        let Some(room) = self.doors.get_mut(id) else { return };
        let begins = locked_down && !room.locked_down;
        room.locked_down = locked_down;
        if begins {
            self.relock(id, now);
        }
        self.settle(id, true, now);
    }
}

/// What the vendor's log says of the way in which the API unlocked (`verkada-api.md` 5.4).
const fn method_of(who: &Who) -> Option<&'static str> {
    match who {
        Who::Person(_) => Some("User Unlock API"),
        Who::Api(_) => None,
    }
}

/// The time zone of a door; UTC where its name is none.
fn zone_of(door: &Door) -> TimeZone {
    TimeZone::get(&door.time_zone).unwrap_or(TimeZone::UTC)
}

impl Running {
    fn shown(&self, now: Now) -> bool {
        if now.mono >= self.shown_at { self.active } else { self.shown_before }
    }

    fn locks(&self, door: &DoorId) -> bool {
        self.active && self.scenario.doors_to_lock.contains(door)
    }
}

#[cfg(test)]
mod tests;
