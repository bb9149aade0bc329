//! What the owner decided, as the core needs it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use secrecy::{SecretSlice, SecretString};

use super::doors::Choices;
use crate::{
    hass::Announcer,
    model::{Action, CalendarId, DoorId, Level, ScenarioId, User},
};

/// What the owner decided.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Topics and discovery.
    pub announcer: Announcer,
    /// Where Home Assistant says that it is there.
    pub birth: Birth,
    /// How often the vendor is asked.
    pub polls: Polls,
    /// What commands may do.
    pub commands: CommandSettings,
    /// How doors may be held.
    pub holds: HoldSettings,
    /// What is done with the vendor's exception calendars.
    pub calendars: CalendarSettings,
    /// In whose name doors are unlocked for whom, by what commands say of `by`.
    pub users: BTreeMap<String, User>,
    /// The code that opening commands need; `None` where there is none.
    pub code: Option<CodeSettings>,
    /// Which doors are shown.
    pub doors: Selection<DoorId>,
    /// Per-door decisions.
    pub door_settings: BTreeMap<DoorId, DoorSettings>,
    /// Whether a door without evidence is shown as locked.
    pub assume_locked: bool,
    /// Whether an unlock lasts its whole time although the door is opened.
    pub ignore_dpi_relock: bool,
    /// How long a door that never told of being closed is believed to stand open.
    pub open_unproven_after: Duration,
    /// Which scenarios are shown.
    pub scenarios: Selection<ScenarioId>,
    /// When the API key expires, if the owner says it.
    pub key_expires: Option<Timestamp>,
    /// The level of the log at the start.
    pub log_level: Level,
}

impl Settings {
    /// What applies to one door.
    pub(super) fn choices(&self, id: &DoorId) -> Choices {
        let own = self.door_settings.get(id);
        let assume_locked = own.and_then(|own| own.assume_locked).unwrap_or(self.assume_locked);
        let ignore = own.and_then(|own| own.ignore_dpi_relock).unwrap_or(self.ignore_dpi_relock);
        Choices { assume_locked, relocks_on_open: !ignore }
    }
}

impl CodeSettings {
    /// Whether the act needs the code, before any lockdown is looked at. An activate never does.
    pub(super) fn is_needed(&self, action: Action, door: Option<&DoorSettings>) -> bool {
        match action {
            Action::Unlock => door.and_then(|door| door.code).unwrap_or(self.unlock),
            Action::Release => self.release,
            Action::Hold => door.and_then(|door| door.code).unwrap_or(self.hold),
            Action::Edit => self.hold,
            Action::Activate | Action::Lock => false,
        }
    }
}

/// Home Assistant's birth message.
#[derive(Debug, Clone)]
pub struct Birth {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: String,
}

/// Poll intervals.
#[derive(Debug, Clone, Copy)]
pub struct Polls {
    /// Of the list of doors.
    pub doors: Duration,
    /// Of the list of scenarios.
    pub scenarios: Duration,
    /// Of access events.
    pub events: Duration,
    /// Of exception calendars; `None` where nothing needs them, for the key may lack the permission.
    pub calendars: Option<Duration>,
    /// Of access levels; `None` where they are not read.
    pub access_levels: Option<Duration>,
}

/// How doors may be held.
#[derive(Debug, Clone, Copy)]
pub struct HoldSettings {
    /// The longest hold.
    pub longest: Duration,
    /// How long one lasts that does not say it.
    pub usual: Duration,
    /// With which minute one begins.
    pub start: HoldStart,
}

/// What is done with the vendor's exception calendars.
#[derive(Debug, Clone, Default)]
pub struct CalendarSettings {
    /// Whether they are shown, and what they say of doors.
    pub show: bool,
    /// Those whose exceptions may be changed by commands.
    pub allow: BTreeSet<CalendarId>,
}

/// With which minute a hold begins: whether the vendor takes a time that has begun is not documented (`verkada-api.md` 9.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HoldStart {
    /// With the present one, which began some seconds ago.
    #[default]
    ThisMinute,
    /// With the next one.
    NextMinute,
}

/// What commands may do.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a decision of its own")]
pub struct CommandSettings {
    /// Whether no command is taken at all.
    pub read_only: bool,
    /// Whether doors may be unlocked.
    pub unlock: bool,
    /// Whether scenarios may be activated.
    pub activate: bool,
    /// Whether scenarios may be released.
    pub release: bool,
    /// Whether doors may be held, where a door has no setting of its own.
    pub hold: bool,
    /// How old an opening command may be when it is sent.
    pub max_age: Duration,
    /// What becomes of the unlock of a door that an active scenario locks.
    pub during_lockdown: DuringLockdown,
    /// Whether commands may name the person in whose name a door is unlocked.
    pub unlock_as: UnlockAs,
}

/// Whether commands may name the person in whose name a door is unlocked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnlockAs {
    /// They may not; only [`Settings::users`] says it.
    #[default]
    Off,
    /// They may.
    Allowed,
    /// They may, and a door is unlocked in somebody's name or not at all.
    Required,
}

/// What becomes of the unlock of a door that an active scenario locks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DuringLockdown {
    /// It is refused.
    #[default]
    Refuse,
    /// It needs the code, even where none is needed otherwise.
    Code,
    /// It is judged like any other.
    Allow,
}

/// The code, and what needs it.
#[derive(Debug, Clone)]
pub struct CodeSettings {
    /// What a code is compared with.
    pub secret: CodeSecret,
    /// Whether unlocking needs it, where a door has no setting of its own.
    pub unlock: bool,
    /// Whether releasing needs it.
    pub release: bool,
    /// Whether a hold that opens needs it, where a door has no setting of its own, and a change of a calendar.
    pub hold: bool,
}

/// What a code is compared with. `Debug` does not show it.
#[derive(Debug, Clone)]
pub enum CodeSecret {
    /// Always the same code.
    Pin(SecretString),
    /// The secret of one-time codes (RFC 6238: SHA-1, six digits, 30 s).
    Totp(SecretSlice<u8>),
}

/// Decisions for one door; `None` follows the general one.
#[derive(Debug, Clone, Default)]
pub struct DoorSettings {
    /// The name to show.
    pub name: Option<String>,
    /// Whether it may be unlocked.
    pub unlock: Option<bool>,
    /// Whether it may be held.
    pub hold: Option<bool>,
    /// Whether unlocking it, or a hold of it that opens, needs the code.
    pub code: Option<bool>,
    /// Whether it is shown as locked without evidence.
    pub assume_locked: Option<bool>,
    /// Whether an unlock lasts its whole time although the door is opened.
    pub ignore_dpi_relock: Option<bool>,
}

/// A filter by id.
#[derive(Debug, Clone)]
pub struct Selection<K> {
    /// Only these; all where empty.
    pub include: BTreeSet<K>,
    /// Never these.
    pub exclude: BTreeSet<K>,
}

impl<K> Default for Selection<K> {
    fn default() -> Self {
        Self { include: BTreeSet::new(), exclude: BTreeSet::new() }
    }
}

impl<K: Ord> Selection<K> {
    /// Whether the id passes.
    pub fn takes(&self, id: &K) -> bool {
        !self.exclude.contains(id) && (self.include.is_empty() || self.include.contains(id))
    }
}
