//! The journal as the core sees it: what is written down of commands, and what an earlier run wrote.

use jiff::Timestamp;

use super::{Action, Outcome, Reason, ScenarioId, Target};

/// Numbers the records of one run, from 1, in the order in which they are to be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordNumber(pub u64);

/// One thing to write down. What is written is never changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number in this run.
    pub number: RecordNumber,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub stage: Stage,
    /// The id of the command; `None` where it was refused before it got one, and for what is about no single command.
    pub command: Option<String>,
    /// What it is about.
    pub target: Option<Target>,
    /// The word of what was asked (`unlock`, `lock`, `activate`, `release`, `drill`), as far as it could be read.
    pub action: Option<&'static str>,
    /// Who says to have asked.
    pub by: Option<String>,
    /// When the command was received, by this machine's clock.
    pub received_at: Option<Timestamp>,
    /// How it ended, for [`Stage::Refused`] and [`Stage::Ended`].
    pub outcome: Option<Outcome>,
    /// Why.
    pub reason: Option<Reason>,
    /// A sentence for people. It holds no secret.
    pub text: String,
}

/// What happened to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The gate refused it, or merged it into another: nothing will be sent.
    Refused,
    /// The gate let it pass; it has an id, and will not be taken on again under it.
    Accepted,
    /// A request for it may be written to the vendor from now on. Durable before the first byte of an opening one.
    Sending,
    /// The vendor answered, or the attempt failed.
    Answered,
    /// A read showed what the command asked for, or the contrary.
    ReadBack,
    /// It ended.
    Ended,
    /// Later evidence settled a command that had ended as unknown.
    Resolved,
    /// A lockdown is not confirmed: somebody has to know.
    Alarm,
    /// An alarm ended: by confirmation, or because somebody acknowledged it.
    AlarmOver,
}

impl Stage {
    /// Every stage, in the order in which a command meets them.
    pub const ALL: [Self; 9] = [
        Self::Refused,
        Self::Accepted,
        Self::Sending,
        Self::Answered,
        Self::ReadBack,
        Self::Ended,
        Self::Resolved,
        Self::Alarm,
        Self::AlarmOver,
    ];

    /// The word in the journal.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Accepted => "accepted",
            Self::Sending => "sending",
            Self::Answered => "answered",
            Self::ReadBack => "read_back",
            Self::Ended => "ended",
            Self::Resolved => "resolved",
            Self::Alarm => "alarm",
            Self::AlarmOver => "alarm_over",
        }
    }
}

/// What became of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalEvent {
    /// Everything up to this record is durable, but for what an earlier [`JournalEvent::Broken`] says is lost.
    Written {
        /// The newest durable record of this run.
        number: RecordNumber,
        /// The hash at the end of the chain, in hexadecimal.
        head: String,
    },
    /// Nothing can be written; the sentence says why and where. It is told again only when the cause changes.
    Broken(String),
    /// It can be written again. What was handed over meanwhile is written then, but for what was told to be lost; it need not
    /// be handed over again.
    Mended,
}

/// A command of an earlier run, put together from its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastCommand {
    /// Its id.
    pub id: String,
    /// What it is about.
    pub target: Target,
    /// What was asked.
    pub action: Action,
    /// Who said to have asked.
    pub by: Option<String>,
    /// When it was received, by the clock of then.
    pub received_at: Timestamp,
    /// Whether a request may have been written to the vendor, and when that was recorded last.
    pub sending: Option<Timestamp>,
    /// How it ended; `None` where the run ended first.
    pub end: Option<PastEnd>,
    /// Whether later evidence settled it.
    pub resolved: bool,
}

/// How a command of an earlier run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastEnd {
    /// When.
    pub at: Timestamp,
    /// How.
    pub outcome: Outcome,
    /// Why.
    pub reason: Option<Reason>,
    /// The sentence for people.
    pub text: String,
}

/// A lockdown of an earlier run that was asked for and not confirmed, and that nobody acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastAlarm {
    /// The scenario.
    pub scenario: ScenarioId,
    /// Since when.
    pub since: Timestamp,
    /// A sentence for people.
    pub cause: String,
}

/// What the journal tells a new run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// The commands of the last 24 h whose id counts as used, oldest first: those that were taken on, and those that were
    /// merged with one of them, which have ended as that.
    pub commands: Vec<PastCommand>,
    /// The alarms that were raised in the last 24 h and are not over, by scenario.
    pub alarms: Vec<PastAlarm>,
    /// What earlier runs wrote is not known: the journal could not be used, and was set aside where that was possible. The
    /// sentence says what was wrong with it, and where it is now.
    pub replaced: Option<String>,
}
