//! What the journal of an earlier run tells: ids that were used, and commands that nobody saw the end of.

use std::{collections::BTreeMap, time::Duration};

use jiff::SignedDuration;

use super::{
    Bridge,
    admission::is_assigned,
    commands::Alarming,
    report::{Origin, Report},
};
use crate::{
    hass::payload::Verb,
    model::{Action, Now, Outcome, Past, PastCommand, PastEnd, Reason, Target},
};

/// A lockdown that was left behind longer ago is not taken up any more: people will have acted otherwise.
const RESUMED_FOR: SignedDuration = SignedDuration::from_secs(300);

impl Bridge {
    /// Takes what the journal tells of earlier runs. To be called once, before any input.
    pub fn recall(&mut self, past: Past, now: Now) {
        self.forgotten_until = past.replaced.as_ref().map(|_| now.mono + self.settings.commands.max_age);
        self.journal_replaced = past.replaced;
        for alarm in past.alarms {
            self.alarms.recall(alarm, now);
        }
        let newest = newest_of_each(&past.commands);
        for (place, command) in past.commands.iter().enumerate() {
            self.ids.recall(command, now);
            if let (Action::Activate, Target::Scenario(scenario)) = (command.action, &command.target) {
                let age = Duration::try_from(now.utc.duration_since(command.received_at)).unwrap_or_default();
                if let Some(at) = now.mono.checked_sub(age).filter(|_| is_assigned(&command.id)) {
                    self.commands.recall_activate(scenario, at);
                }
            }
            match &command.end {
                Some(end) => self.ids.note(&end_of_past(command, end)),
                None => self.end_past(command, newest.get(&command.target) > Some(&place), now),
            }
        }
        self.settle(now);
    }

    /// A command that was under way when an earlier run ended.
    fn end_past(&mut self, command: &PastCommand, superseded: bool, now: Now) {
        self.books.receive();
        let origin = origin_of(command);
        let end = |outcome, reason, text: &str| {
            Report::end(&origin, outcome, Some(reason), text.to_owned(), now.utc)
        };
        if let (Action::Activate, Target::Scenario(scenario)) = (command.action, &command.target) {
            // Of one that lies ahead of a clock that was set back nobody knows how old it is.
            let young = now.utc.duration_since(command.received_at).abs() < RESUMED_FOR;
            if superseded {
                let text = "a newer command for the scenario took its place";
                self.report(&end(Outcome::Unknown, Reason::Superseded, text), now);
            } else if young {
                tracing::warn!(scenario_id = %scenario, id = command.id, "a lockdown that the last run left is taken up");
                let effects = self.commands.resume(scenario.clone(), origin, now);
                self.perform(effects, now);
            } else {
                let text = "the gateway was away for too long to go on with it";
                let alarming = Alarming { origin: origin.clone(), cause: text.to_owned(), given_up: true };
                self.raise(&scenario.clone(), &alarming, now);
                self.report(&end(Outcome::Failed, Reason::Stopping, text), now);
            }
            return;
        }
        if let (Action::Lock, Target::Door(door)) = (command.action, &command.target)
            && !superseded
        {
            // What keeps people out is finished, whether it was sent or not.
            tracing::warn!(door_id = %door, id = command.id, "the last run left a hold to be ended; it is ended");
            self.end_hold(door.clone(), now);
        }
        let report = if command.sending.is_some() {
            let text =
                "the gateway ended before it knew whether the vendor had taken it; it is not sent again";
            end(Outcome::Unknown, Reason::NoProof, text)
        } else {
            end(Outcome::Failed, Reason::Stopping, "the gateway ended before it was sent; nothing was sent")
        };
        self.report(&report, now);
    }
}

/// Whether another command was carried out in its place: then only its id counts.
fn is_merged(command: &PastCommand) -> bool {
    command.end.as_ref().is_some_and(|end| end.outcome == Outcome::Merged)
}

/// Where the newest command for each target stands. Times do not tell: the clock may have been set between two commands.
fn newest_of_each(commands: &[PastCommand]) -> BTreeMap<&Target, usize> {
    let carried_out = commands.iter().enumerate().filter(|(_, command)| !is_merged(command));
    carried_out.map(|(place, command)| (&command.target, place)).collect()
}

fn origin_of(command: &PastCommand) -> Origin {
    Origin {
        target: command.target.clone(),
        verb: Some(Verb::from(command.action)),
        passed: true,
        id: Some(command.id.clone()),
        by: command.by.clone(),
        // It is not sent again, whoever it was for.
        user: None,
        received_at: command.received_at,
        response: None,
    }
}

fn end_of_past(command: &PastCommand, end: &PastEnd) -> Report {
    Report::end(&origin_of(command), end.outcome, end.reason, end.text.clone(), end.at)
}
