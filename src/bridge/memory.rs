//! What outlasts a restart, and how it is written.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{alarm::Alarm, calendars::CalendarMemory, holds::HoldMemory, register::Told};
use crate::model::{DoorId, EventId, ScenarioId};

/// The form of what is written. A change that an older program could misunderstand gets another number.
const VERSION: u32 = 1;

/// What a later run must know to go on where this one ended. It holds no secret and no person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// How far events were read.
    pub(super) events: EventMemory,
    /// What the entity ids of doors and scenarios are made from, by id.
    pub(super) slugs: BTreeMap<String, String>,
    /// The base topic under which doors and scenarios are shown.
    pub(super) base_topic: String,
    /// The doors that are shown.
    pub(super) doors: BTreeSet<DoorId>,
    /// The scenarios that are shown.
    pub(super) scenarios: BTreeSet<ScenarioId>,
    /// What is announced, by device.
    pub(super) devices: BTreeMap<String, Told>,
    /// Topics that were to be cleared and may still hold something.
    pub(super) swept: BTreeSet<String>,
    /// Lockdowns that were asked for and not confirmed, and that nobody acknowledged.
    #[serde(default)]
    pub(super) alarms: BTreeMap<ScenarioId, Alarm>,
    /// Holds of doors.
    #[serde(default)]
    pub(super) holds: HoldMemory,
    /// Exception calendars.
    #[serde(default)]
    pub(super) calendars: CalendarMemory,
}

/// How far events were read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventMemory {
    /// The time of the newest event, by our clock where the event's was ahead.
    pub(super) cursor: Option<Timestamp>,
    /// The events that the next reading would show again, and when they happened.
    pub(super) ids: BTreeMap<EventId, Timestamp>,
}

/// Why a memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// It is torn, damaged, or never was ours.
    #[error("it does not hold what this program writes: {0}")]
    Foreign(#[from] serde_json::Error),
    /// It names a topic that the gateway cannot have published.
    #[error("it names the impossible topic {0:?}")]
    Topic(String),
    /// Another version of the program wrote it.
    #[error("it is of version {0}, and this program knows version {VERSION}")]
    Version(u32),
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Whole<M> {
    version: u32,
    memory: M,
}

impl Memory {
    /// Reads what [`Memory::to_json`] wrote.
    ///
    /// # Errors
    /// Where it is anything else.
    pub fn from_json(text: &[u8]) -> Result<Self, MemoryError> {
        let head: Head = serde_json::from_slice(text)?;
        if head.version != VERSION {
            return Err(MemoryError::Version(head.version));
        }
        let whole: Whole<Self> = serde_json::from_slice(text)?;
        whole.memory.check()?;
        Ok(whole.memory)
    }

    /// What stands here will be cleared on the broker: it must not be anything but topics.
    fn check(&self) -> Result<(), MemoryError> {
        let wild = |topic: &String| {
            topic.is_empty()
                || topic.len() > 512
                || topic.starts_with('$')
                || topic.contains(|c: char| matches!(c, '+' | '#') || c.is_control())
        };
        let configs = self.devices.values().flat_map(|told| told.topics.keys());
        let foreign = configs.clone().find(|topic| !topic.ends_with("/config"));
        let bases = Some(&self.base_topic).filter(|base| !base.is_empty());
        let wild = configs.chain(&self.swept).chain(bases).find(|topic| wild(topic));
        foreign.or(wild).map_or(Ok(()), |topic| Err(MemoryError::Topic(topic.clone())))
    }

    /// Writes it down, with its version.
    ///
    /// # Errors
    /// None that can happen: every key is text and every number is whole.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Whole { version: VERSION, memory: self })
    }
}
