//! What nobody outside the vendor knows, or what differs over time, as switches (`verkada-api.md` 12).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How the simulated vendor behaves. Defaults are those of `verkada-api.md` 12; all durations are milliseconds, and count for
/// at most [`MAX_DURATION`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Switches {
    /// Which path ends a scenario.
    pub release_path: ReleasePath,
    /// What the key may do.
    pub key_scope: KeyScope,
    /// The status for a key without the scope.
    pub missing_scope: Refused,
    /// The status for a wrong key at `/token`.
    pub bad_key: Refused,
    /// The status without a token.
    pub missing_token: MissingToken,
    /// The words for an expired token.
    pub expired_token: ExpiredToken,
    /// How long a token lives.
    pub token_life_ms: u64,
    /// Whether older tokens die when a new one is made.
    pub old_tokens_die: bool,
    /// The organisation's toggle for doors.
    pub door_control: bool,
    /// The status for a door whose toggle, or that of the organisation, is off.
    pub door_toggle_off: DoorToggleOff,
    /// The organisation's toggle for scenarios.
    pub scenario_control: bool,
    /// The status for a scenario while the toggle is off.
    pub scenario_toggle_off: ScenarioToggleOff,
    /// What an unlock does while the controller is offline.
    pub controller_offline: ControllerOffline,
    /// Whether a door under an active scenario refuses an unlock by the API (403).
    pub lockdown_refuses_unlock: bool,
    /// The status for a door that does not exist.
    pub unknown_door: UnknownDoor,
    /// The status when a user has no access to the door.
    pub user_without_access: UserWithoutAccess,
    /// The answer to activate when active and release when inactive.
    pub repeated_scenario: RepeatedScenario,
    /// How long the list of scenarios lags behind.
    pub scenario_state_delay_ms: u64,
    /// What the list says as type of a scenario.
    pub scenario_types: ScenarioTypes,
    /// Whether requests are limited to 25 in 5 s.
    pub rate_limit: bool,
    /// Whether a 429 has a plain text in place of the envelope.
    pub rate_limit_plain: bool,
    /// The `Retry-After` of a 429; none without it.
    pub rate_limit_retry_after: Option<String>,
    /// The ids of the sites for which the key has Door Access Management, which calendars and access levels need; all
    /// where it is null.
    pub managed_sites: Option<Vec<String>>,
    /// What an exception does that is written after it has started.
    pub exception_started: ExceptionStarted,
    /// Which calendar wins where several have an exception in force for a door, and which exception within one.
    pub calendar_overlap: CalendarOverlap,
    /// Whether exceptions of one calendar may overlap.
    pub exception_overlap: ExceptionOverlap,
    /// How long a written exception takes to the controller.
    pub exception_delay_ms: u64,
    /// What becomes of members that a PUT leaves out.
    pub put_left_out: Put,
    /// What becomes of the exceptions of a calendar at a PUT with an empty list of them.
    pub put_no_exceptions: Put,
    /// What an end at 23:59 means.
    pub exception_end_2359: LastMinute,
    /// How long reads of calendars lag behind.
    pub calendar_state_delay_ms: u64,
    /// Whether a lockdown locks a door that an exception frees.
    pub lockdown_beats_exceptions: bool,
    /// Whether `door_unlocked` and `door_locked` come as well where a schedule or an exception moves the lock.
    pub schedule_lock_events: bool,
    /// Which members a door has.
    pub door_members: DoorMembers,
    /// The members that are null wherever they occur; `*` stands for all. Those of [`KEY_MEMBERS`] never are.
    pub null_members: Vec<String>,
    /// Whether every object has one member more than is known.
    pub extra_members: bool,
    /// The order of events in the list.
    pub event_order: EventOrder,
    /// How long an event takes into the list.
    pub event_delay_ms: u64,
    /// Whether every page of events begins with the last event of the page before.
    pub duplicate_events: bool,
    /// Whether `user_info` members in events have the case of the vendor's specification.
    pub event_user_snake_case: bool,
    /// Whether `door_unlocked`, `door_locked` and `door_closed` exist; they did not in May 2026
    /// (`verkada-api.md` 5.2).
    pub lock_events: bool,
    /// Whether a door relocks as soon as it opens; the vendor's "Ignore DPI relock" turns it off.
    pub relock_on_open: bool,
    /// How long a door stands open until `door_held_open`.
    pub held_open_after_ms: u64,
    /// What is sent when a webhook was not taken.
    pub webhook_retry: WebhookRetry,
    /// Whether every webhook is sent twice.
    pub webhook_duplicates: bool,
    /// How long an event takes into a webhook.
    pub webhook_delay_ms: u64,
}

/// The longest duration that a switch can ask for; longer ones are cut to it, so that no clock overflows.
pub const MAX_DURATION: Duration = Duration::from_hours(30 * 24);

const fn bounded(milliseconds: u64) -> Duration {
    let asked = Duration::from_millis(milliseconds);
    if asked.as_millis() < MAX_DURATION.as_millis() { asked } else { MAX_DURATION }
}

/// The members that are never made null: they are keys, or hold everything else.
pub const KEY_MEMBERS: [&str; 22] = [
    "access_groups",
    "access_level_id",
    "access_levels",
    "access_members",
    "data",
    "door_exception_calendar_id",
    "door_exception_calendars",
    "door_exception_id",
    "door_id",
    "doors",
    "event_id",
    "events",
    "frequency",
    "group_id",
    "interval",
    "next_page_token",
    "notification_type",
    "scenario_id",
    "scenarios",
    "token",
    "user_id",
    "webhook_type",
];

impl Default for Switches {
    fn default() -> Self {
        Self {
            release_path: ReleasePath::Both,
            key_scope: KeyScope::ReadWrite,
            missing_scope: Refused::Status401,
            bad_key: Refused::Status401,
            missing_token: MissingToken::Status400,
            expired_token: ExpiredToken::TokenExpired,
            token_life_ms: 1_800_000,
            old_tokens_die: false,
            door_control: true,
            door_toggle_off: DoorToggleOff::Status403,
            scenario_control: true,
            scenario_toggle_off: ScenarioToggleOff::Status403,
            controller_offline: ControllerOffline::Status412,
            lockdown_refuses_unlock: false,
            unknown_door: UnknownDoor::Status404,
            user_without_access: UserWithoutAccess::Status403,
            repeated_scenario: RepeatedScenario::NoEffect,
            scenario_state_delay_ms: 0,
            scenario_types: ScenarioTypes::Lockdown,
            rate_limit: true,
            rate_limit_plain: false,
            rate_limit_retry_after: None,
            managed_sites: None,
            exception_started: ExceptionStarted::AtOnce,
            calendar_overlap: CalendarOverlap::LastUpdated,
            exception_overlap: ExceptionOverlap::Taken,
            exception_delay_ms: 0,
            put_left_out: Put::Emptied,
            put_no_exceptions: Put::Emptied,
            exception_end_2359: LastMinute::Counts,
            calendar_state_delay_ms: 0,
            lockdown_beats_exceptions: true,
            schedule_lock_events: true,
            door_members: DoorMembers::Full,
            null_members: Vec::new(),
            extra_members: false,
            event_order: EventOrder::NewestFirst,
            event_delay_ms: 1_000,
            duplicate_events: false,
            event_user_snake_case: false,
            lock_events: true,
            relock_on_open: true,
            held_open_after_ms: 60_000,
            webhook_retry: WebhookRetry::SameSignature,
            webhook_duplicates: false,
            webhook_delay_ms: 0,
        }
    }
}

/// Why a change of switches was refused.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// The text is no JSON object, or a switch or position does not exist; the source lists what is allowed.
    #[error("switches not changed: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The switches are not a JSON object.
    #[error("switches not changed: allowed is a JSON object with the switches to change")]
    NoObject,
    /// A key member should be made null.
    #[error(
        "switches not changed: null_members must not hold {0:?}; allowed is every member but {KEY_MEMBERS:?}"
    )]
    KeyMember(String),
    /// A value that cannot be sent in a header.
    #[error("switches not changed: rate_limit_retry_after allows visible ASCII characters and spaces alone")]
    RetryAfter,
}

impl Switches {
    /// These switches with the changes of a JSON object, which names only the ones to change.
    ///
    /// # Errors
    /// When the object names a switch or position that does not exist; the message lists the allowed ones.
    pub fn changed(&self, changes: &[u8]) -> Result<Self, SwitchError> {
        let changes: serde_json::Value = serde_json::from_slice(changes)?;
        let mut merged = serde_json::to_value(self)?;
        let (Some(all), serde_json::Value::Object(changes)) = (merged.as_object_mut(), changes) else {
            return Err(SwitchError::NoObject);
        };
        all.extend(changes);
        let switches: Self = serde_json::from_value(merged)?;
        if let Some(key) = switches.null_members.iter().find(|name| KEY_MEMBERS.contains(&name.as_str())) {
            return Err(SwitchError::KeyMember(key.clone()));
        }
        let visible = |text: &String| text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if !switches.rate_limit_retry_after.as_ref().is_none_or(visible) {
            return Err(SwitchError::RetryAfter);
        }
        Ok(switches)
    }

    /// [`Self::token_life_ms`].
    pub const fn token_life(&self) -> Duration {
        bounded(self.token_life_ms)
    }

    /// [`Self::scenario_state_delay_ms`].
    pub const fn scenario_state_delay(&self) -> Duration {
        bounded(self.scenario_state_delay_ms)
    }

    /// [`Self::exception_delay_ms`].
    pub const fn exception_delay(&self) -> Duration {
        bounded(self.exception_delay_ms)
    }

    /// [`Self::calendar_state_delay_ms`].
    pub const fn calendar_state_delay(&self) -> Duration {
        bounded(self.calendar_state_delay_ms)
    }

    /// [`Self::event_delay_ms`].
    pub const fn event_delay(&self) -> Duration {
        bounded(self.event_delay_ms)
    }

    /// [`Self::held_open_after_ms`].
    pub const fn held_open_after(&self) -> Duration {
        bounded(self.held_open_after_ms)
    }

    /// [`Self::webhook_delay_ms`].
    pub const fn webhook_delay(&self) -> Duration {
        bounded(self.webhook_delay_ms)
    }
}

macro_rules! positions {
    ($(#[$doc:meta])* $name:ident { $($(#[$position_doc:meta])* $position:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$position_doc])* #[serde(rename = $word)] $position,)*
        }

        impl $name {
            /// Every position.
            pub const ALL: &'static [Self] = &[$(Self::$position),*];
        }
    };
}

macro_rules! statuses {
    ($(#[$doc:meta])* $name:ident { $($position:ident = $word:literal = $status:literal,)* }) => {
        positions! {
            $(#[$doc])*
            $name { $(#[doc = concat!("Answers ", $word, ".")] $position = $word,)* }
        }

        impl $name {
            /// The HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(Self::$position => $status,)* }
            }
        }
    };
}

positions! {
    /// Which path ends a scenario (`verkada-api.md` 6.3).
    ReleasePath {
        /// `/release` and `/deactivate`.
        Both = "both",
        /// `/release` alone.
        ReleaseOnly = "release_only",
        /// `/deactivate` alone.
        DeactivateOnly = "deactivate_only",
    }
}
positions! {
    /// What the key may do.
    KeyScope {
        /// Read and act.
        ReadWrite = "read_write",
        /// Read alone.
        ReadOnly = "read_only",
        /// Nothing but get a token.
        Nothing = "nothing",
    }
}
statuses! {
    /// How a key is refused.
    Refused { Status401 = "401" = 401, Status403 = "403" = 403, }
}
statuses! {
    /// The status without a token.
    MissingToken { Status400 = "400" = 400, Status401 = "401" = 401, }
}
positions! {
    /// The words for an expired token.
    ExpiredToken {
        /// `Token expired`.
        TokenExpired = "token_expired",
        /// `API token expired`.
        ApiTokenExpired = "api_token_expired",
    }
}
statuses! {
    /// The status for a door whose toggle is off.
    DoorToggleOff {
        Status403 = "403" = 403, Status400 = "400" = 400, Status404 = "404" = 404, Status412 = "412" = 412,
    }
}
statuses! {
    /// The status for a scenario while the toggle is off.
    ScenarioToggleOff { Status403 = "403" = 403, Status400 = "400" = 400, }
}
positions! {
    /// What an unlock does while the controller is offline.
    ControllerOffline {
        /// Answers 412.
        Status412 = "412",
        /// Answers 200 as if it had been done.
        NoEffect = "no_effect",
        /// Answers 500.
        Status500 = "500",
        /// Answers 504.
        Status504 = "504",
        /// Never answers.
        Hang = "hang",
    }
}
statuses! {
    /// The status for a door that does not exist.
    UnknownDoor { Status404 = "404" = 404, Status400 = "400" = 400, Status403 = "403" = 403, }
}
statuses! {
    /// The status when a user has no access to the door.
    UserWithoutAccess { Status403 = "403" = 403, Status400 = "400" = 400, }
}
statuses! {
    /// The answer to activate when active and release when inactive; nothing changes in any case.
    RepeatedScenario { NoEffect = "no_effect" = 200, Status400 = "400" = 400, Status409 = "409" = 409, }
}
positions! {
    /// What the list says as type of a scenario.
    ScenarioTypes {
        /// `lockdown`.
        Lockdown = "lockdown",
        /// A word that no client knows.
        Unknown = "unknown",
        /// Null.
        Null = "null",
    }
}
positions! {
    /// What an exception does that is written after it has started. Times have no seconds, so that one which starts
    /// in the minute of the writing has started.
    ExceptionStarted {
        /// It is in force at once.
        AtOnce = "at_once",
        /// What has started is missed; a recurrence is in force from its next start on.
        NextStart = "next_start",
        /// It is refused with 400.
        Refused = "refused",
    }
}
positions! {
    /// Which exception wins where several are in force for a door.
    CalendarOverlap {
        /// That of the calendar that was updated last, and in it the one that was.
        LastUpdated = "last_updated",
        /// The one that locks most.
        MostLocked = "most_locked",
        /// The one that opens most.
        MostOpen = "most_open",
    }
}
positions! {
    /// Whether exceptions of one calendar may overlap.
    ExceptionOverlap {
        /// They may.
        Taken = "taken",
        /// They are refused with 400.
        Refused = "refused",
    }
}
positions! {
    /// What becomes of what a PUT does not give.
    Put {
        /// It is emptied.
        Emptied = "emptied",
        /// It stays.
        Kept = "kept",
    }
}
positions! {
    /// What an end at 23:59 means.
    LastMinute {
        /// That minute counts: the exception lasts through the end of the day.
        Counts = "counts",
        /// It ends as that minute begins.
        Exclusive = "exclusive",
    }
}
positions! {
    /// Which members a door has.
    DoorMembers {
        /// All that are known.
        Full = "full",
        /// Those of August 2025: without `api_control_enabled`, `camera_info` and `timezone`.
        August2025 = "august_2025",
    }
}
positions! {
    /// The order of events in the list.
    EventOrder {
        /// Newest first.
        NewestFirst = "newest_first",
        /// Oldest first.
        OldestFirst = "oldest_first",
        /// In an order of its own, the same for one walk over the pages.
        Shuffled = "shuffled",
    }
}
positions! {
    /// What is sent when a webhook was not taken: one more try at once (`verkada-api.md` 8.1, 8.2).
    WebhookRetry {
        /// With the signature of the first try.
        SameSignature = "same_signature",
        /// Signed anew.
        NewSignature = "new_signature",
        /// Nothing.
        Off = "off",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_names_only_what_it_changes() {
        let changed = Switches::default().changed(br#"{"event_order": "shuffled"}"#).unwrap();
        assert_eq!(changed, Switches { event_order: EventOrder::Shuffled, ..Switches::default() });
    }

    #[test]
    fn durations_are_bounded() {
        let endless = Switches { event_delay_ms: u64::MAX, ..Switches::default() };
        assert_eq!(endless.event_delay(), MAX_DURATION);
        assert_eq!(Switches::default().event_delay(), Duration::from_secs(1));
    }

    #[test]
    fn a_wrong_change_is_told_what_is_allowed() {
        let told = |changes: &str| Switches::default().changed(changes.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            told(r#"{"release_path": "none"}"#),
            "switches not changed: unknown variant `none`, expected one of `both`, `release_only`, `deactivate_only`"
        );
        assert!(
            told(r#"{"relase_path": "both"}"#)
                .contains("unknown field `relase_path`, expected one of `release_path`")
        );
        assert_eq!(told("[]"), "switches not changed: allowed is a JSON object with the switches to change");
        assert!(told(r#"{"null_members": ["door_id"]}"#).contains(r#"must not hold "door_id""#));
        assert!(told(r#"{"rate_limit_retry_after": "5\r\n"}"#).contains("visible ASCII"));
    }
}
