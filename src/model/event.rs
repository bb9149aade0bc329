//! Access events: what happened at a door.

use jiff::Timestamp;

use super::{ControllerId, DoorId, EventId, Person};

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
    /// In whose name, as far as the owner lets people be shown.
    pub person: Option<Person>,
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
    /// `door_tamper`.
    Tamper,
    /// `door_fire_alarm_triggered`.
    FireTriggered,
    /// `door_fire_alarm_released`.
    FireReleased,
    /// `door_acu_fire_alarm_triggered`: of all doors of the controller.
    ControllerFireTriggered,
    /// `door_acu_fire_alarm_released`: of all doors of the controller.
    ControllerFireReleased,
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
            "door_tamper" => Self::Tamper,
            "door_fire_alarm_triggered" => Self::FireTriggered,
            "door_fire_alarm_released" => Self::FireReleased,
            "door_acu_fire_alarm_triggered" => Self::ControllerFireTriggered,
            "door_acu_fire_alarm_released" => Self::ControllerFireReleased,
            "door_acu_offline" => Self::ControllerOffline,
            "door_acu_startup" => Self::ControllerStartup,
            other if other.ends_with("_accepted") => Self::Granted,
            other if other.ends_with("_rejected") => Self::Denied,
            _ => Self::Other,
        }
    }

    /// Whether it tells that somebody passed, was turned away, or got past the lock.
    pub const fn tells_of_access(self) -> bool {
        match self {
            Self::Granted | Self::RemoteUnlock | Self::Denied | Self::HeldOpen | Self::ForcedOpen => true,
            Self::Unlocked
            | Self::Locked
            | Self::Opened
            | Self::Closed
            | Self::LockChanged
            | Self::Lockdown
            | Self::Tamper
            | Self::FireTriggered
            | Self::FireReleased
            | Self::ControllerFireTriggered
            | Self::ControllerFireReleased
            | Self::ControllerOffline
            | Self::ControllerStartup
            | Self::Other => false,
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
            | Self::Tamper
            | Self::FireTriggered
            | Self::FireReleased
            | Self::ControllerFireTriggered
            | Self::ControllerFireReleased
            | Self::ControllerOffline
            | Self::ControllerStartup
            | Self::Other => None,
        }
    }
}

/// How somebody asked to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// A card at the reader.
    Keycard,
    /// A phone at the reader.
    MobileNfc,
    /// A code on the keypad.
    Code,
    /// Bluetooth.
    Ble,
    /// A number plate.
    Plate,
    /// A face.
    Face,
    /// From afar: the API, the vendor's console or app.
    Remote,
    /// The exit button.
    ExitButton,
    /// An auxiliary input of the controller.
    Aux,
}

impl Method {
    /// Beginnings of the vendor's words (`verkada-api.md` 7.3) and what they tell.
    const BEGINNINGS: [(&str, Self); 9] = [
        ("door_keycard_entered_", Self::Keycard),
        ("door_mobile_nfc_scan_", Self::MobileNfc),
        ("door_code_entered_", Self::Code),
        ("door_ble_unlock_attempt_", Self::Ble),
        ("door_lp_presented_", Self::Plate),
        ("door_face_presented_", Self::Face),
        ("door_remote_unlock_", Self::Remote),
        ("door_press_to_exit_", Self::ExitButton),
        ("door_aux_unlock", Self::Aux),
    ];

    /// Reads it from the vendor's word in lower case; `None` where the word does not tell.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::BEGINNINGS.iter().find(|(start, _)| word.starts_with(start)).map(|(_, method)| *method)
    }

    /// The word used in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Keycard => "keycard",
            Self::MobileNfc => "mobile_nfc",
            Self::Code => "code",
            Self::Ble => "ble",
            Self::Plate => "plate",
            Self::Face => "face",
            Self::Remote => "remote",
            Self::ExitButton => "exit_button",
            Self::Aux => "aux",
        }
    }
}

/// What an intercom reports (`verkada-api.md` 8.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntercomEvent {
    /// `intercom_call_triggered`: somebody rings.
    Ring,
    /// `intercom_missed_call`: nobody answered.
    Missed,
    /// `intercom_receiver_admitted`: who answered let somebody in.
    Admitted,
    /// Anything else of an intercom, its status among it.
    Other,
}

impl IntercomEvent {
    /// Reads the vendor's word in lower case; `None` where it is not of an intercom.
    pub fn of_word(word: &str) -> Option<Self> {
        Some(match word.strip_prefix("intercom_")? {
            "call_triggered" => Self::Ring,
            "missed_call" => Self::Missed,
            "receiver_admitted" => Self::Admitted,
            _ => Self::Other,
        })
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
        assert_eq!(EventKind::of_word("DOOR_TAMPER"), EventKind::Tamper);
        assert_eq!(EventKind::of_word("door_fire_alarm_released"), EventKind::FireReleased);
        assert_eq!(EventKind::of_word("door_acu_fire_alarm_triggered"), EventKind::ControllerFireTriggered);
        assert_eq!(EventKind::of_word("intercom_call_triggered"), EventKind::Other);
    }

    #[test]
    fn the_method_is_read_from_the_word() {
        for (word, method) in [
            ("door_keycard_entered_accepted", Some("keycard")),
            ("door_mobile_nfc_scan_rejected", Some("mobile_nfc")),
            ("door_code_entered_accepted", Some("code")),
            ("door_ble_unlock_attempt_accepted", Some("ble")),
            ("door_lp_presented_rejected", Some("plate")),
            ("door_face_presented_accepted", Some("face")),
            ("door_remote_unlock_accepted", Some("remote")),
            ("door_press_to_exit_accepted", Some("exit_button")),
            ("door_aux_unlock", Some("aux")),
            ("door_granted", None),
            ("door_opened", None),
            ("intercom_call_triggered", None),
        ] {
            assert_eq!(Method::of_word(word).map(Method::word), method, "{word}");
        }
    }

    #[test]
    fn what_an_intercom_reports_is_told_apart_from_what_a_door_does() {
        for (word, reports) in [
            ("intercom_call_triggered", Some(IntercomEvent::Ring)),
            ("intercom_missed_call", Some(IntercomEvent::Missed)),
            ("intercom_receiver_admitted", Some(IntercomEvent::Admitted)),
            ("intercom_status", Some(IntercomEvent::Other)),
            ("door_opened", None),
        ] {
            assert_eq!(IntercomEvent::of_word(word), reports, "{word}");
        }
    }
}
