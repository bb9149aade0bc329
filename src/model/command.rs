//! Commands: what somebody asks of a door or scenario, and how it ends.

use std::fmt;

use super::{CalendarId, DoorId, ScenarioId};

/// What a command asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Unlock a door for its own unlock time. Opens: lowers security.
    Unlock,
    /// Start a scenario. Secures: raises security.
    Activate,
    /// End a scenario. Opens: lowers security.
    Release,
    /// Hold a door open to all or some, or end a hold that kept it locked. Opens: lowers security.
    Hold,
    /// Hold a door locked, or end a hold of ours that kept it unlocked. Secures: raises security.
    Lock,
    /// Change an exception calendar of others. What comes of it is not known beforehand, so it counts as what opens.
    Edit,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 6] =
        [Self::Unlock, Self::Activate, Self::Release, Self::Hold, Self::Lock, Self::Edit];

    /// Whether the action lowers security: it is then sent at most once and only while it is fresh.
    pub const fn opens(self) -> bool {
        match self {
            Self::Unlock | Self::Release | Self::Hold | Self::Edit => true,
            Self::Activate | Self::Lock => false,
        }
    }

    /// The word used in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unlock => "unlock",
            Self::Activate => "activate",
            Self::Release => "release",
            Self::Hold => "hold",
            Self::Lock => "lock",
            Self::Edit => "edit",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a command that passed the gate asks for. A drill is no [`Action`], so nothing that acts can be handed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Intent {
    /// Something is to be done.
    Act(Action),
    /// The way of an activate is to be tried up to its last step. Nothing is done.
    Drill,
}

impl Intent {
    /// The action by whose rules the gate judges it.
    pub const fn judged_as(self) -> Action {
        match self {
            Self::Act(action) => action,
            Self::Drill => Action::Activate,
        }
    }

    /// The word used in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Act(action) => action.word(),
            Self::Drill => "drill",
        }
    }
}

impl From<Action> for Intent {
    fn from(action: Action) -> Self {
        Self::Act(action)
    }
}

impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a command is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A door.
    Door(DoorId),
    /// A scenario.
    Scenario(ScenarioId),
    /// An exception calendar.
    Calendar(CalendarId),
}

impl Target {
    /// The part of a topic that names the target: `door/<id>`, `scenario/<id>` or
    /// `calendar/<id>`.
    pub fn path(&self) -> String {
        match self {
            Self::Door(id) => format!("door/{id}"),
            Self::Scenario(id) => format!("scenario/{id}"),
            Self::Calendar(id) => format!("calendar/{id}"),
        }
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Taken on; a terminal outcome follows.
    Accepted,
    /// The vendor did it; for a scenario, a read showed it.
    Done,
    /// The vendor, or the way to it, refused. It was not done.
    Failed,
    /// The gate refused. Nothing was sent.
    Refused,
    /// It grew too old before it could be sent. It was not sent.
    Expired,
    /// An equal command was under way; that one's result counts.
    Merged,
    /// It was sent and no answer proves either way. It is not sent again.
    Unknown,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 7] =
        [Self::Accepted, Self::Done, Self::Failed, Self::Refused, Self::Expired, Self::Merged, Self::Unknown];

    /// The word used in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Merged => "merged",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a command ended as it did: one word for programs, one sentence for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The gateway is stopping.
    Stopping,
    /// The message was retained: it may be of any age.
    Retained,
    /// The age of the message cannot be bounded: no heartbeat of ours came back in time.
    LinkStale,
    /// The broker kept the message while the gateway was away, for longer than a lockdown may wait or for an unknown time,
    /// or it is no lockdown.
    ResumedSession,
    /// The payload is none of the documented forms.
    Malformed,
    /// The payload is longer than any command.
    TooLarge,
    /// No door, scenario or calendar has this id.
    UnknownTarget,
    /// A momentary strike cannot be locked by command.
    Unsupported,
    /// The configuration allows no command at all.
    ReadOnly,
    /// Not allowed by the configuration or by the door's API toggle.
    NotAllowed,
    /// The command needs a code and has none.
    CodeRequired,
    /// The code is not the right one, or was used already.
    CodeWrong,
    /// Too many wrong codes came: none is looked at for a while.
    CodeLocked,
    /// Older than `commands.max_age`.
    TooOld,
    /// Issued in the future by more than the tolerated clock difference.
    ClockSkew,
    /// The id was used before for the same command; its result is published again.
    Duplicate,
    /// The id was used before for another command.
    IdConflict,
    /// A scenario that locks the door is active, or is being activated.
    LockdownActive,
    /// The scenarios were not read yet, so that one which locks the door may be active.
    LockdownUnknown,
    /// The journal cannot be written, and nothing opens without a record.
    JournalUnavailable,
    /// An equal command is under way.
    Merged,
    /// Too many commands for this door or scenario, or in all.
    RateLimited,
    /// The sum of a second's refusals beyond those that were answered one by one.
    Flood,
    /// A newer command for the same scenario took its place.
    Superseded,
    /// The vendor refused the key or token.
    Unauthorized,
    /// The vendor refused the act: permission or toggle.
    Forbidden,
    /// The vendor says that the person in whose name it was asked has no access to the door.
    NoAccess,
    /// The vendor does not know the door, scenario or calendar, the exception, or the person.
    NotFound,
    /// The vendor refused for another reason.
    Rejected,
    /// The vendor said too many requests.
    VendorRateLimit,
    /// The vendor could not be reached, and nothing was sent.
    Unreachable,
    /// It was sent, and no answer proves either way.
    NoProof,
    /// The deadline passed before a read showed the wanted state.
    NotConfirmed,
}

impl Reason {
    /// Every reason, in the order in which the gate and then the vendor's side can give them.
    pub const ALL: [Self; 33] = [
        Self::Stopping,
        Self::Retained,
        Self::LinkStale,
        Self::ResumedSession,
        Self::Malformed,
        Self::TooLarge,
        Self::UnknownTarget,
        Self::Unsupported,
        Self::ReadOnly,
        Self::NotAllowed,
        Self::CodeRequired,
        Self::CodeWrong,
        Self::CodeLocked,
        Self::TooOld,
        Self::ClockSkew,
        Self::Duplicate,
        Self::IdConflict,
        Self::LockdownActive,
        Self::LockdownUnknown,
        Self::JournalUnavailable,
        Self::Merged,
        Self::RateLimited,
        Self::Flood,
        Self::Superseded,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NoAccess,
        Self::NotFound,
        Self::Rejected,
        Self::VendorRateLimit,
        Self::Unreachable,
        Self::NoProof,
        Self::NotConfirmed,
    ];

    /// The word used in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::Retained => "retained",
            Self::LinkStale => "link_stale",
            Self::ResumedSession => "resumed_session",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::UnknownTarget => "unknown_target",
            Self::Unsupported => "unsupported",
            Self::ReadOnly => "read_only",
            Self::NotAllowed => "not_allowed",
            Self::CodeRequired => "code_required",
            Self::CodeWrong => "code_wrong",
            Self::CodeLocked => "code_locked",
            Self::TooOld => "too_old",
            Self::ClockSkew => "clock_skew",
            Self::Duplicate => "duplicate",
            Self::IdConflict => "id_conflict",
            Self::LockdownActive => "lockdown_active",
            Self::LockdownUnknown => "lockdown_unknown",
            Self::JournalUnavailable => "journal_unavailable",
            Self::Merged => "merged",
            Self::RateLimited => "rate_limited",
            Self::Flood => "flood",
            Self::Superseded => "superseded",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NoAccess => "no_access",
            Self::NotFound => "not_found",
            Self::Rejected => "rejected",
            Self::VendorRateLimit => "vendor_rate_limit",
            Self::Unreachable => "unreachable",
            Self::NoProof => "no_proof",
            Self::NotConfirmed => "not_confirmed",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_word_of_its_own() {
        let words: BTreeSet<_> = Reason::ALL.iter().map(|r| r.word()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
    }
}
