//! What earlier runs did, put together from their records.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::chain::Entry;
use crate::model::{Action, Outcome, PastCommand, PastEnd, Reason, Stage, Target};

/// How far back commands are told: as long as their ids count.
pub(super) const SPAN: SignedDuration = SignedDuration::from_hours(24);

/// Collects commands from records, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Fold {
    commands: Vec<PastCommand>,
    /// Where in `commands` the newest command with an id is.
    newest: BTreeMap<String, usize>,
}

impl Fold {
    /// Takes a record. What this version does not know is passed over.
    pub(super) fn add(&mut self, entry: Entry) {
        let (Some(stage), Ok(at)) = (stage(&entry.stage), entry.at.parse()) else { return };
        let Some(id) = &entry.command else { return };
        if stage == Stage::Accepted {
            if let Some(command) = accepted(&entry, id, at) {
                self.newest.insert(id.clone(), self.commands.len());
                self.commands.push(command);
            }
            return;
        }
        let Some(command) = self.newest.get(id).and_then(|place| self.commands.get_mut(*place)) else {
            return;
        };
        match stage {
            Stage::Sending => command.sending = Some(at),
            Stage::Ended => command.end = Some(end(entry, at)),
            Stage::Resolved => command.resolved = true,
            Stage::Accepted
            | Stage::Refused
            | Stage::Answered
            | Stage::ReadBack
            | Stage::Alarm
            | Stage::AlarmOver => {}
        }
    }

    /// The commands received in the last 24 h, the oldest first. What a clock that was ahead wrote counts as well.
    pub(super) fn finish(self, now: Timestamp) -> Vec<PastCommand> {
        let mut commands = self.commands;
        commands.retain(|command| now.duration_since(command.received_at) <= SPAN);
        commands
    }
}

fn accepted(entry: &Entry, id: &str, at: Timestamp) -> Option<PastCommand> {
    Some(PastCommand {
        id: id.to_owned(),
        target: target(entry.target.as_deref()?)?,
        action: Action::ALL.into_iter().find(|action| Some(action.word()) == entry.action.as_deref())?,
        by: entry.by.clone(),
        received_at: entry.received_at.as_deref().and_then(|at| at.parse().ok()).unwrap_or(at),
        sending: None,
        end: None,
        resolved: false,
    })
}

/// An outcome that this version does not know is unknown.
fn end(entry: Entry, at: Timestamp) -> PastEnd {
    let known = |outcome: &Outcome| Some(outcome.word()) == entry.outcome.as_deref();
    PastEnd {
        at,
        outcome: Outcome::ALL.into_iter().find(known).unwrap_or(Outcome::Unknown),
        reason: Reason::ALL.into_iter().find(|reason| Some(reason.word()) == entry.reason.as_deref()),
        text: entry.text,
    }
}

fn stage(word: &str) -> Option<Stage> {
    Stage::ALL.into_iter().find(|stage| stage.word() == word)
}

fn target(path: &str) -> Option<Target> {
    match path.split_once('/')? {
        ("door", id) => id.parse().ok().map(Target::Door),
        ("scenario", id) => id.parse().ok().map(Target::Scenario),
        _ => None,
    }
}
