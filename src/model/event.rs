//! Access events: what happened at a door.

use jiff::Timestamp;

use super::{ControllerId, DoorId, EventId};

/// One access event, without credentials: PINs and card numbers are dropped where it is decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessEvent {
    /// Key by which repeats are dropped.
    pub id: EventId,
    /// What happened.
    pub kind: EventKind,
    /// The vendor's word in lower case, for instance `door_opened`; kept for words that are not known.
    pub word: String,
    /// When it happened, by the controller's clock, whole seconds.
    pub at: Timestamp,
    /// Where; missing for events of a controller or of the whole organisation.
    pub door: Option<DoorId>,
    /// The controller, where the vendor names it.
    pub controller: Option<ControllerId>,
    /// `inbound` or `outbound`, where the vendor says it.
    pub direction: Option<String>,
    /// The vendor's short English text.
    pub message: Option<String>,
}

/// What an access event means for the gateway (`verkada-api.md` 5.2, 7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// `door_unlocked`.
    Unlocked,
    /// `door_locked`.
    Locked,
    /// `door_opened`.
    Opened,
    /// `door_closed`.
    Closed,
    /// `door_held_open`.
    HeldOpen,
    /// `door_forced_open`.
    ForcedOpen,
    /// Somebody was let in on the spot: `*_accepted`, `door_granted`, `door_aux_unlock`, exit button.
    Granted,
    /// `door_remote_unlock_accepted`: unlocked from afar, by the API or from the vendor's console.
    RemoteUnlock,
    /// Somebody was turned away: `*_rejected`.
    Denied,
    /// `door_lock_state_changed`, schedule and override changes: the lock moved, the direction is not known.
    LockChanged,
    /// `door_lockdown`, `door_lockdown_debounced`: read the scenarios now.
    Lockdown,
    /// `door_acu_offline`: the controller cannot be reached.
    ControllerOffline,
    /// `door_acu_startup`: the controller is back.
    ControllerStartup,
    /// Anything else, known or not.
    Other,
}

/// Whether a door stands open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// It stands open.
    Open,
    /// It is closed.
    Closed,
}

impl EventKind {
    /// Reads the vendor's word in either case; words that are not known are [`EventKind::Other`].
    pub fn of_word(word: &str) -> Self {
        let word = word.to_ascii_lowercase();
        match word.as_str() {
            "door_unlocked" => Self::Unlocked,
            "door_locked" => Self::Locked,
            "door_opened" => Self::Opened,
            "door_closed" => Self::Closed,
            "door_held_open" => Self::HeldOpen,
            "door_forced_open" => Self::ForcedOpen,
            "door_remote_unlock_accepted" => Self::RemoteUnlock,
            "door_granted" | "door_aux_unlock" | "all_access_granted" => Self::Granted,
            "door_rejected" | "all_access_rejected" | "door_deactivated_credential_used" => Self::Denied,
            "door_lock_state_changed"
            | "door_schedule_toggle"
            | "door_schedule_override_applied"
            | "door_schedule_override_removed" => Self::LockChanged,
            "door_lockdown" | "door_lockdown_debounced" => Self::Lockdown,
            "door_acu_offline" => Self::ControllerOffline,
            "door_acu_startup" => Self::ControllerStartup,
            other if other.ends_with("_accepted") => Self::Granted,
            other if other.ends_with("_rejected") => Self::Denied,
            _ => Self::Other,
        }
    }

    /// What the event proves about the door's position.
    pub const fn position(self) -> Option<Position> {
        match self {
            Self::Opened | Self::HeldOpen | Self::ForcedOpen => Some(Position::Open),
            Self::Closed => Some(Position::Closed),
            Self::Unlocked
            | Self::Locked
            | Self::Granted
            | Self::RemoteUnlock
            | Self::Denied
            | Self::LockChanged
            | Self::Lockdown
            | Self::ControllerOffline
            | Self::ControllerStartup
            | Self::Other => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_words_of_either_case_and_keeps_unknown_ones_apart() {
        assert_eq!(EventKind::of_word("DOOR_KEYCARD_ENTERED_ACCEPTED"), EventKind::Granted);
        assert_eq!(EventKind::of_word("door_keycard_entered_rejected"), EventKind::Denied);
        assert_eq!(EventKind::of_word("DOOR_CLOSED"), EventKind::Closed);
        assert_eq!(EventKind::of_word("door_remote_unlock_accepted"), EventKind::RemoteUnlock);
        assert_eq!(EventKind::of_word("door_dances"), EventKind::Other);
    }
}
