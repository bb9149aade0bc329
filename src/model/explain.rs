//! What each reason means, where it comes from and what to do about it: the source of `docs/commands.md`.

use std::fmt;

use super::{Outcome, Reason};

/// Where a reason is given: the checks of the gate in their order, then what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// The gateway takes commands.
    Running,
    /// The message was published live.
    Live,
    /// The age of the message is bounded.
    Link,
    /// The payload is a command.
    Grammar,
    /// The target exists.
    Target,
    /// The vendor can be asked for it.
    Ability,
    /// The configuration and the vendor's toggle allow it.
    Permission,
    /// Whoever asks knows the code, where one is needed.
    Code,
    /// The command is fresh by its sender's clock.
    Age,
    /// The command is new.
    Novelty,
    /// No lockdown forbids it.
    Lockdown,
    /// It can be written down.
    Journal,
    /// No equal command is under way.
    Equal,
    /// There were not too many.
    Rate,
    /// The command was taken on and waits to be sent.
    Waiting,
    /// The vendor was asked, or could not be.
    Vendor,
}

impl Check {
    /// Whether the gate makes it, before anything is sent.
    pub const fn is_of_gate(self) -> bool {
        !matches!(self, Self::Waiting | Self::Vendor)
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Live => "live",
            Self::Link => "link",
            Self::Grammar => "grammar",
            Self::Target => "target",
            Self::Ability => "ability",
            Self::Permission => "permission",
            Self::Code => "code",
            Self::Age => "age",
            Self::Novelty => "novelty",
            Self::Lockdown => "lockdown",
            Self::Journal => "journal",
            Self::Equal => "equal",
            Self::Rate => "rate",
            Self::Waiting => "waiting",
            Self::Vendor => "vendor",
        })
    }
}

/// All that is told about one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// Where it is given first.
    pub check: Check,
    /// The outcomes with which a command may end for this reason.
    pub outcomes: &'static [Outcome],
    /// What it means.
    pub meaning: &'static str,
    /// What to do about it.
    pub cure: &'static str,
}

impl Reason {
    /// What it means, where it comes from and what to do about it.
    #[expect(clippy::too_many_lines, reason = "a table")]
    pub const fn explanation(self) -> Explanation {
        use Outcome::{Expired, Failed, Merged, Refused, Unknown};
        const REFUSED: &[Outcome] = &[Refused];
        const FAILED: &[Outcome] = &[Failed];
        let (check, outcomes, meaning, cure): (_, &'static [Outcome], _, _) = match self {
            Self::Stopping => (
                Check::Running,
                &[Refused, Failed, Unknown],
                "The gateway is stopping; `unknown` where a request may have reached Verkada.",
                "send again when it is back",
            ),
            Self::Retained => (
                Check::Live,
                REFUSED,
                "The message was retained and may be of any age.",
                "publish without the retain flag; clear the topic with an empty retained message",
            ),
            Self::LinkStale => (
                Check::Link,
                REFUSED,
                "No heartbeat sent in the last 2.5 s (60 s for an activate) had come back from the broker, so the age of the command is \
                 not known.",
                "try again; if it stays, see [the heartbeat](troubleshooting.md#the-heartbeat-does-not-come-back)",
            ),
            Self::ResumedSession => (
                Check::Link,
                REFUSED,
                "The broker kept the message while the gateway was away: for more than a minute, for an unknown time, or it is no \
                 activate.",
                "send again",
            ),
            Self::Malformed => (
                Check::Grammar,
                REFUSED,
                "It is neither a word nor a JSON command that is known here, or it asks for an exception that Verkada would not take.",
                "the message says what is allowed",
            ),
            Self::TooLarge => {
                (Check::Grammar, REFUSED, "It has more than 4096 bytes.", "send a command and nothing else")
            }
            Self::UnknownTarget => (
                Check::Target,
                REFUSED,
                "The gateway knows no door or scenario with this id, or could not read a calendar with it.",
                "take the id from the topics; look at `doors.include` and `doors.exclude`; press *Refresh*",
            ),
            Self::Unsupported => (
                Check::Ability,
                &[Refused, Failed],
                "Verkada has no command to lock a door, and no hold of the gateway keeps it unlocked; or the hold cannot be written \
                 down, because the door's time zone is not known or its clocks change at that time.",
                "none: the door locks by itself; let a hold end an hour earlier or later",
            ),
            Self::ReadOnly => (
                Check::Permission,
                REFUSED,
                "The configuration allows no command at all.",
                "`commands.read_only`",
            ),
            Self::NotAllowed => (
                Check::Permission,
                REFUSED,
                "The configuration forbids this act or so long a hold, forbids to name a person in it or wants one named, or the \
                 door's API toggle is off; or the calendar is not one of `calendars.allow`, or is the gateway's own.",
                "`commands`, among it `unlock_as`, `holds.longest`, `calendars.allow` and `doors.settings`; or the \
                 [toggles](set-up.md#1-allow-control-in-verkada-command)",
            ),
            Self::CodeRequired => (
                Check::Code,
                REFUSED,
                "The command needs a code and brings none.",
                "send the member `code`; see `commands.code_for` and `commands.during_lockdown`",
            ),
            Self::CodeWrong => (
                Check::Code,
                REFUSED,
                "The code is not the right one, or a one-time code that was used already or belongs to an earlier run.",
                "send the right code; with one-time codes set the clocks by NTP and wait for the next code",
            ),
            Self::CodeLocked => (
                Check::Code,
                REFUSED,
                "Too many wrong codes came for this target or in all; for a while none is looked at.",
                "wait as long as the message says; find out who sends wrong codes",
            ),
            Self::TooOld => (
                Check::Age,
                &[Expired],
                "It was issued longer ago than allowed, became too old while waiting, or asks for a hold that would be over before it \
                 begins.",
                "send again; set clocks by NTP; `commands.max_age`",
            ),
            Self::ClockSkew => (
                Check::Age,
                REFUSED,
                "`issued_at` lies more than 5 s in the future; the message tells by how much.",
                "set the clocks of sender and gateway by NTP",
            ),
            Self::Duplicate => (
                Check::Novelty,
                &[Merged],
                "The id was used before for the same command.",
                "none; the earlier result was published again",
            ),
            Self::IdConflict => (
                Check::Novelty,
                REFUSED,
                "The id was used before for another command, or to unlock the door as another person.",
                "use a new id for each command",
            ),
            Self::LockdownActive => (
                Check::Lockdown,
                REFUSED,
                "A scenario that locks the door, or a door of the calendar, is active, was active when it was last seen, or is being activated.",
                "release the scenario; `commands.during_lockdown`",
            ),
            Self::LockdownUnknown => (
                Check::Lockdown,
                REFUSED,
                "The scenarios were not read since the gateway started, so one that locks the door may be active. A key that may not \
                 list scenarios (403) knows of none, and an empty list has none: then doors are unlocked.",
                "try again in a moment; if it stays, see the problem of the gateway; `commands.during_lockdown`",
            ),
            Self::JournalUnavailable => (
                Check::Journal,
                &[Refused, Failed, Unknown],
                "The journal cannot be written, and nothing opens without a record. Or it was lost, and until `commands.max_age` has \
                 passed since the start nobody knows what was carried out before.",
                "see the problem of the gateway: most often the disk is full, or `state_dir` belongs to somebody else; after a \
                 start with a lost journal, send it again",
            ),
            Self::Merged => (
                Check::Equal,
                &[Merged],
                "An equal command is under way, or the door was unlocked less than 1 s ago. Where that one was for another person the message \
                 says so, and this one is not sent.",
                "none; wait for the other result, and send again if it was not for you",
            ),
            Self::RateLimited => (
                Check::Rate,
                REFUSED,
                "More than 5 opening commands for one target or 20 in all came within 10 s, or so many were merged, or 16 unlocks or \
                 holds are under way, or another change of the calendar is.",
                "wait; find out who sends so many",
            ),
            Self::Flood => (
                Check::Rate,
                REFUSED,
                "The sum of a second: after 20 refusals of one target in a minute the rest are counted and not answered one by one.",
                "find out who sends so many",
            ),
            Self::Superseded => (
                Check::Waiting,
                &[Expired, Failed, Refused, Unknown],
                "A newer command for the scenario or for the hold of the door, or a lockdown, took its place; `refused` for a drill while a scenario is being activated.",
                "none",
            ),
            Self::Unauthorized => (
                Check::Vendor,
                FAILED,
                "Verkada refuses the key or token.",
                "[the key](troubleshooting.md#verkada-refuses-the-key), its end date, its permission, the region",
            ),
            Self::Forbidden => (
                Check::Vendor,
                FAILED,
                "Verkada refuses the act.",
                "permission of the key and the [toggles](set-up.md#1-allow-control-in-verkada-command)",
            ),
            Self::NoAccess => (
                Check::Vendor,
                FAILED,
                "Verkada says that the person in whose name the door was to be unlocked has no access to it now.",
                "`verkada2mqtt access --door` lists who may pass the door when; see \
                 [who may pass a door](doors.md#who-may-pass-a-door)",
            ),
            Self::NotFound => (
                Check::Vendor,
                &[Failed, Expired],
                "Verkada does not know the door, scenario or calendar any more, or not the person who was named; or the calendar has no such \
                 exception.",
                "the lists are read again; look in Command; check the id of the person",
            ),
            Self::Rejected => (
                Check::Vendor,
                FAILED,
                "Verkada refused for another reason, for instance because the door is offline.",
                "the message quotes Verkada",
            ),
            Self::VendorRateLimit => (
                Check::Vendor,
                &[Failed, Expired],
                "Verkada said: too many requests.",
                "other integrations share the limit of 300 a minute; poll less often",
            ),
            Self::Unreachable => (
                Check::Vendor,
                &[Failed, Expired],
                "Verkada could not be reached, and nothing was sent.",
                "network, DNS, firewall to the API's host on port 443",
            ),
            Self::NoProof => (
                Check::Vendor,
                &[Unknown, Failed],
                "It was sent, and no answer proves either way; `failed` for a drill.",
                "look at the door, or the calendar",
            ),
            Self::NotConfirmed => (
                Check::Vendor,
                &[Failed, Unknown],
                "The deadline passed before a read showed the wanted state.",
                "look in Command; act there if it matters",
            ),
        };
        Explanation { check, outcomes, meaning, cure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_in_the_order_of_the_checks() {
        let checks: Vec<Check> = Reason::ALL.into_iter().map(|reason| reason.explanation().check).collect();
        assert!(checks.is_sorted(), "{checks:?}");
    }

    #[test]
    fn every_reason_is_explained() {
        for reason in Reason::ALL {
            let explanation = reason.explanation();
            assert!(explanation.meaning.ends_with('.'), "{reason:?}");
            assert!(!explanation.cure.is_empty() && !explanation.outcomes.is_empty(), "{reason:?}");
            if explanation.check.is_of_gate() {
                assert_ne!(explanation.outcomes, [Outcome::Failed], "{reason:?}");
            }
        }
    }
}
