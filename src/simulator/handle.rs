//! The hand in the simulated building: acts on it and looks into it, without waiting.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{
    calendar::Broken,
    event::Event,
    fault::{Fault, FaultError},
    ledger::Entry,
    organisation::{Door, Group, Person, Scenario},
    server::{Shared, Truth},
    switches::Switches,
    world::{
        ActError, DoorState, Verdict,
        calendars::{Calendar, Content},
        passages::{Free, Unlocked},
    },
};
use crate::{
    clock,
    model::{DoorId, Now, ScenarioId},
};

/// Acts in the name of people in the building, of the installer and of the vendor. Clones act on the same building.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Shared,
}

impl Handle {
    pub(super) const fn new(shared: Shared) -> Self {
        Self { shared }
    }

    fn act<T>(&self, act: impl FnOnce(&mut Truth, Now) -> T) -> T {
        let now = clock::now();
        let done = {
            let mut truth = self.shared.truth();
            truth.vendor.world.advance(now);
            act(&mut truth, now)
        };
        self.shared.changed.notify_one();
        done
    }

    /// The doors, ordered by id.
    pub fn doors(&self) -> Vec<Arc<Door>> {
        self.act(|truth, _| truth.vendor.world.doors().cloned().collect())
    }

    /// The scenarios, ordered by id.
    pub fn scenarios(&self) -> Vec<Arc<Scenario>> {
        self.act(|truth, now| {
            truth.vendor.world.scenarios(now).map(|(scenario, _)| Arc::clone(scenario)).collect()
        })
    }

    /// The people.
    pub fn people(&self) -> Vec<Arc<Person>> {
        self.act(|truth, _| truth.vendor.world.people.clone())
    }

    /// The access groups.
    pub fn groups(&self) -> Vec<Group> {
        self.act(|truth, _| truth.vendor.world.groups.clone())
    }

    /// The state of a door.
    ///
    /// # Errors
    /// When there is no such door.
    pub fn door_state(&self, door: &DoorId) -> Result<DoorState, ActError> {
        self.act(|truth, _| truth.vendor.world.door_state(door))
    }

    /// Whether a scenario is active, whatever the list shows.
    ///
    /// # Errors
    /// When there is no such scenario.
    pub fn is_active(&self, scenario: &ScenarioId) -> Result<bool, ActError> {
        self.act(|truth, _| truth.vendor.world.is_active(scenario))
    }

    /// All events so far, whether the vendor lists them yet or not.
    pub fn events(&self) -> Vec<Arc<Event>> {
        self.act(|truth, _| truth.vendor.world.journal.all().cloned().collect())
    }

    /// A person holds a card to the reader; `None` stands for a card that nobody knows.
    ///
    /// # Errors
    /// When there is no such door or person.
    pub fn badge(&self, door: &DoorId, person: Option<&str>) -> Result<Verdict, ActError> {
        self.act(|truth, now| truth.vendor.world.badge(door, person, now))
    }

    /// Somebody inside presses the exit button.
    ///
    /// # Errors
    /// When there is no such door.
    pub fn exit(&self, door: &DoorId) -> Result<(), ActError> {
        self.act(|truth, now| truth.vendor.world.exit(door, now))
    }

    /// Somebody opens an unlocked door.
    ///
    /// # Errors
    /// When there is no such door, or when it is locked or stands open.
    pub fn open(&self, door: &DoorId) -> Result<(), ActError> {
        self.act(|truth, now| truth.vendor.world.open(door, now))
    }

    /// The door falls shut.
    ///
    /// # Errors
    /// When there is no such door, or when it is closed.
    pub fn close(&self, door: &DoorId) -> Result<(), ActError> {
        self.act(|truth, now| truth.vendor.world.close(door, now))
    }

    /// Somebody opens a locked door by force.
    ///
    /// # Errors
    /// When there is no such door, or when it is unlocked or stands open.
    pub fn force(&self, door: &DoorId) -> Result<(), ActError> {
        self.act(|truth, now| truth.vendor.world.force(door, now))
    }

    /// The schedule of a door changes to free passage, or back.
    ///
    /// # Errors
    /// When there is no such door.
    pub fn toggle_schedule(&self, door: &DoorId) -> Result<(), ActError> {
        self.act(|truth, now| truth.vendor.world.toggle_schedule(door, now))
    }

    /// The controller of a door loses its link, or gets it back and uploads its events.
    ///
    /// # Errors
    /// When there is no such door.
    pub fn set_online(&self, door: &DoorId, online: bool) -> Result<(), ActError> {
        self.act(|truth, now| truth.vendor.world.set_online(door, online, now))
    }

    /// Starts (`true`) or ends a scenario, as somebody at the vendor's console does; returns whether that changed
    /// anything.
    ///
    /// # Errors
    /// When there is no such scenario.
    pub fn set_active(&self, scenario: &ScenarioId, active: bool) -> Result<bool, ActError> {
        self.act(|truth, now| truth.vendor.world.set_active(scenario, active, None, now))
    }

    /// Adds a door, locked and closed.
    ///
    /// # Errors
    /// When there is a door with this id.
    pub fn add_door(&self, door: Door) -> Result<(), ActError> {
        self.act(|truth, _| truth.vendor.world.add_door(door))
    }

    /// Removes a door.
    ///
    /// # Errors
    /// When there is no such door.
    pub fn remove_door(&self, door: &DoorId) -> Result<(), ActError> {
        self.act(|truth, _| truth.vendor.world.remove_door(door))
    }

    /// Changes the settings of a door, all but its id.
    ///
    /// # Errors
    /// When there is no such door.
    pub fn edit_door(&self, door: &DoorId, edit: impl FnOnce(&mut Door)) -> Result<(), ActError> {
        self.act(|truth, now| {
            truth.vendor.world.edit_door(door, edit)?;
            // Its time zone may be another.
            truth.vendor.world.follow_exceptions(door, now);
            Ok(())
        })
    }

    /// Gives a door another name.
    ///
    /// # Errors
    /// When there is no such door.
    pub fn rename_door(&self, door: &DoorId, name: &str) -> Result<(), ActError> {
        self.edit_door(door, |door| name.clone_into(&mut door.name))
    }

    /// When a door was unlocked, and by what, oldest first.
    ///
    /// # Errors
    /// When there is no such door.
    pub fn unlocked(&self, door: &DoorId) -> Result<Vec<Unlocked>, ActError> {
        self.act(|truth, _| truth.vendor.world.unlocked(door))
    }

    /// When everybody passes a door without a credential, in a span of time: as it was up to now, and as schedule,
    /// exceptions and lockdowns want it from now on.
    ///
    /// # Errors
    /// When there is no such door.
    pub fn free(&self, door: &DoorId, from: Timestamp, until: Timestamp) -> Result<Vec<Free>, ActError> {
        self.act(|truth, now| truth.vendor.world.free(door, from, until, now))
    }

    /// Whether everybody passes a door at a moment, as [`Self::free`] has it.
    ///
    /// # Errors
    /// When there is no such door.
    pub fn is_free(&self, door: &DoorId, at: Timestamp) -> Result<bool, ActError> {
        let next = at.saturating_add(SignedDuration::from_nanos(1)).unwrap_or(at);
        self.free(door, at, next).map(|spans| !spans.is_empty())
    }

    /// The exception calendars, whatever reads show, ordered by id.
    pub fn calendars(&self) -> Vec<Arc<Calendar>> {
        self.act(|truth, _| truth.vendor.world.calendars().cloned().collect())
    }

    /// Writes a calendar as somebody at the vendor's console does: a new one, or the one with this key.
    ///
    /// # Errors
    /// The rule that the content breaks.
    pub fn write_calendar(&self, id: Option<&str>, content: Content) -> Result<Arc<Calendar>, Broken> {
        let written = self.act(|truth, now| truth.vendor.world.write_calendar(id, content, now));
        written.map(|(calendar, _)| calendar)
    }

    /// Deletes a calendar as somebody at the vendor's console does.
    pub fn delete_calendar(&self, id: &str) {
        self.act(|truth, now| truth.vendor.world.delete_calendar(id, now));
    }

    /// How the vendor behaves.
    pub fn switches(&self) -> Switches {
        self.act(|truth, _| truth.vendor.world.switches.clone())
    }

    /// Makes the vendor behave in another way. Events that were made already keep their delays.
    pub fn set_switches(&self, switches: Switches) {
        self.act(|truth, _| truth.vendor.world.switches = switches);
    }

    /// Lets a fault wait for its requests.
    ///
    /// # Errors
    /// When it could not be carried out, or too many wait.
    pub fn inject(&self, fault: Fault) -> Result<(), FaultError> {
        self.act(|truth, _| truth.script.add(fault))
    }

    /// Takes all waiting faults back.
    pub fn clear_faults(&self) {
        self.act(|truth, _| truth.script.clear());
    }

    /// Ends all tokens there are.
    pub fn expire_tokens(&self) {
        self.act(|truth, _| truth.vendor.tokens.expire_all());
    }

    /// Replaces the API key: the old one no longer gets a token. Tokens live on until they expire.
    pub fn set_api_key(&self, key: &str) {
        self.act(|truth, _| truth.api_key = key.to_owned().into());
    }

    /// Every request that was seen, oldest first.
    pub fn ledger(&self) -> Vec<Entry> {
        self.act(|truth, _| truth.ledger.entries().cloned().collect())
    }
}
