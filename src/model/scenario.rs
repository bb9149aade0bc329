//! Scenarios: lockdown and its relatives.

use std::fmt;

use super::{DoorId, ScenarioId, SiteId};

/// A scenario as the vendor lists it (`verkada-api.md` 6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// The only safe key.
    pub id: ScenarioId,
    /// What people call it.
    pub name: Option<String>,
    /// The vendor's word, `lockdown` in what is published; others are kept as they are.
    pub kind: Option<String>,
    /// What the list says.
    pub state: ScenarioState,
    /// The sites it covers.
    pub sites: Vec<SiteId>,
    /// The doors it locks while active.
    pub doors_to_lock: Vec<DoorId>,
    /// The emergency text shown while active.
    pub message: Option<String>,
}

/// The state of a scenario as the list says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScenarioState {
    /// The list says `ACTIVE`.
    Active,
    /// The list says `INACTIVE`.
    Inactive,
    /// The list says a word that is not documented, or nothing. Never treated as inactive.
    Unknown(Option<String>),
}

impl fmt::Display for ScenarioState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Active => f.write_str("ACTIVE"),
            Self::Inactive => f.write_str("INACTIVE"),
            Self::Unknown(Some(word)) => write!(f, "unknown ({word:?})"),
            Self::Unknown(None) => f.write_str("unknown"),
        }
    }
}
