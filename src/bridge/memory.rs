//! What outlasts a restart, and how it is written.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::EventId;

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
        Ok(whole.memory)
    }

    /// Writes it down, with its version.
    ///
    /// # Errors
    /// None that can happen: every key is text and every number is whole.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Whole { version: VERSION, memory: self })
    }
}
