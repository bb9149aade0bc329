//! What earlier runs did, put together from their records.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::chain::Entry;
use crate::model::{
    Action, Outcome, Past, PastAlarm, PastCommand, PastEnd, Reason, ScenarioId, Stage, Target,
};

/// How far back commands are told: as long as their ids count.
pub(super) const SPAN: SignedDuration = SignedDuration::from_hours(24);

/// Collects commands from records, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Fold {
    commands: Vec<PastCommand>,
    /// Where in `commands` the newest command with an id is.
    newest: BTreeMap<String, usize>,
    /// Alarms that are not over.
    alarms: BTreeMap<ScenarioId, PastAlarm>,
}

impl Fold {
    /// Takes a record. What this version does not know is passed over.
    pub(super) fn add(&mut self, entry: Entry) {
        let (Some(stage), Ok(at)) = (stage(&entry.stage), entry.at.parse()) else { return };
        if matches!(stage, Stage::Alarm | Stage::AlarmOver) {
            self.add_alarm(stage, entry, at);
            return;
        }
        let Some(id) = &entry.command else { return };
        if stage == Stage::Accepted || is_merged(stage, &entry) {
            if let Some(command) = received(&entry, id, at) {
                self.newest.insert(id.clone(), self.commands.len());
                let end = (stage == Stage::Refused).then(|| end(entry, at));
                self.commands.push(PastCommand { end, ..command });
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

    fn add_alarm(&mut self, stage: Stage, entry: Entry, at: Timestamp) {
        let Some(Target::Scenario(scenario)) = entry.target.as_deref().and_then(target) else { return };
        if stage == Stage::AlarmOver {
            self.alarms.remove(&scenario);
            return;
        }
        let since = self.alarms.get(&scenario).map_or(at, |alarm| alarm.since);
        self.alarms.insert(scenario.clone(), PastAlarm { scenario, since, cause: entry.text });
    }

    /// The commands received in the last 24 h, the oldest first. What a clock that was ahead wrote counts as well. And the
    /// alarms that are not over.
    pub(super) fn finish(self, now: Timestamp) -> Past {
        let mut commands = self.commands;
        commands.retain(|command| now.duration_since(command.received_at) <= SPAN);
        Past { commands, alarms: self.alarms.into_values().collect(), replaced: None }
    }
}

/// Whether it tells of a command that was merged with one under way: its id counts as used. The repeat of a command is
/// called merged as well, but has no id of its own.
fn is_merged(stage: Stage, entry: &Entry) -> bool {
    stage == Stage::Refused && entry.reason.as_deref() == Some(Reason::Merged.word())
}

fn received(entry: &Entry, id: &str, at: Timestamp) -> Option<PastCommand> {
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
        ("calendar", id) => id.parse().ok().map(Target::Calendar),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `at stage command target action [outcome [reason]]`; the time is in hours before now.
    fn entries(table: &str) -> Vec<Entry> {
        let row = |row: &str| {
            let cells: Vec<_> = row.split_whitespace().collect();
            let cell =
                |place: usize| cells.get(place).filter(|cell| **cell != "-").map(|cell| (*cell).to_owned());
            let hours: i64 = cells[0].parse().unwrap();
            Entry {
                at: (now() - SignedDuration::from_hours(hours)).to_string(),
                stage: cells[1].to_owned(),
                command: cell(2),
                target: cell(3),
                action: cell(4),
                outcome: cell(5),
                reason: cell(6),
                by: Some("me".to_owned()),
                text: row.trim().to_owned(),
                ..Entry::default()
            }
        };
        table.lines().filter(|line| !line.trim().is_empty()).map(row).collect()
    }

    fn now() -> Timestamp {
        "2026-11-25T12:00:00Z".parse().unwrap()
    }

    fn told(table: &str) -> Vec<String> {
        let mut fold = Fold::default();
        for entry in entries(table) {
            fold.add(entry);
        }
        let ago = |at: Timestamp| now().duration_since(at).as_hours();
        let tell = |command: PastCommand| {
            let sending =
                command.sending.map_or_else(|| "not sent".to_owned(), |at| format!("sent {}", ago(at)));
            let end = command.end.map_or_else(
                || "no end".to_owned(),
                |end| format!("{} {} {:?}", ago(end.at), end.outcome.word(), end.reason.map(Reason::word)),
            );
            let (id, target, action) = (&command.id, command.target.path(), command.action);
            format!(
                "{id} {target} {action} {} | {sending} | {end} | {}",
                ago(command.received_at),
                command.resolved
            )
        };
        fold.finish(now()).commands.into_iter().map(tell).collect()
    }

    #[test]
    fn records_become_the_commands_they_are_about() {
        let cases: [(&str, &[&str]); 12] = [
            ("", &[]),
            ("1 accepted a door/d unlock", &["a door/d unlock 1 | not sent | no end | false"]),
            (
                "3 accepted a door/d unlock
                 2 sending a door/d unlock
                 1 sending a door/d unlock",
                &["a door/d unlock 3 | sent 1 | no end | false"],
            ),
            (
                "3 accepted a scenario/s release
                 2 sending a
                 1 ended a - - failed not_found",
                &["a scenario/s release 3 | sent 2 | 1 failed Some(\"not_found\") | false"],
            ),
            (
                "3 accepted a scenario/s activate
                 2 ended a - - unknown no_proof
                 1 resolved a",
                &["a scenario/s activate 3 | not sent | 2 unknown Some(\"no_proof\") | true"],
            ),
            // Older than a day, exactly a day, and by a clock that was ahead.
            (
                "25 accepted a door/d unlock
                 24 accepted b door/d unlock
                 -9 accepted c door/d unlock
                 1 ended a - - done",
                &[
                    "b door/d unlock 24 | not sent | no end | false",
                    "c door/d unlock -9 | not sent | no end | false",
                ],
            ),
            // Two at the same time.
            (
                "4 accepted a door/d unlock
                 3 accepted b door/e unlock
                 2 sending b
                 1 ended a - - expired",
                &[
                    "a door/d unlock 4 | not sent | 1 expired None | false",
                    "b door/e unlock 3 | sent 2 | no end | false",
                ],
            ),
            // Never accepted, or accepted under no id.
            (
                "4 refused a door/d unlock refused duplicate
                 3 sending a door/d unlock
                 2 accepted - door/d unlock
                 1 alarm - scenario/s activate",
                &[],
            ),
            // An id that came back counts anew.
            (
                "4 accepted a door/d unlock
                 3 ended a - - done
                 2 accepted a door/e unlock
                 1 sending a",
                &[
                    "a door/d unlock 4 | not sent | 3 done None | false",
                    "a door/e unlock 2 | sent 1 | no end | false",
                ],
            ),
            // Words of another version: what can be told is told.
            (
                "3 accepted a door/d unlock
                 2 pondered a
                 1 ended a - - vanished because",
                &["a door/d unlock 3 | not sent | 1 unknown None | false"],
            ),
            ("1 accepted a window/w unlock", &[]),
            ("1 accepted a door/d drill", &[]),
        ];
        for (table, expected) in cases {
            assert_eq!(told(table), expected, "{table}");
        }
    }

    #[test]
    fn a_merged_command_has_ended_as_that_and_its_repeats_are_none() {
        let table = "4 accepted a door/d unlock
                     3 refused b door/d unlock merged merged
                     2 ended a - - done
                     1 refused b door/d unlock merged duplicate
                     0 refused - door/d unlock merged merged";
        let expected = [
            "a door/d unlock 4 | not sent | 2 done None | false",
            "b door/d unlock 3 | not sent | 3 merged Some(\"merged\") | false",
        ];
        assert_eq!(told(table), expected);
    }

    #[test]
    fn a_command_was_received_before_it_was_written_down() {
        let mut entry = entries("1 accepted a door/d unlock").remove(0);
        entry.received_at = Some("2026-11-25T10:59:58Z".to_owned());
        let mut fold = Fold::default();
        fold.add(entry);
        let expected = PastCommand {
            id: "a".to_owned(),
            target: Target::Door("d".parse().unwrap()),
            action: Action::Unlock,
            by: Some("me".to_owned()),
            received_at: "2026-11-25T10:59:58Z".parse().unwrap(),
            sending: None,
            end: None,
            resolved: false,
        };
        assert_eq!(fold.finish(now()).commands, [expected]);
    }

    #[test]
    fn an_alarm_lasts_until_it_is_over_and_tells_the_newest_cause() {
        let mut fold = Fold::default();
        for entry in entries(
            "6 alarm a scenario/s-1 activate
             5 alarm - scenario/s-2 activate
             4 alarm a scenario/s-1 activate
             3 alarm - scenario/s-3
             2 alarm_over - scenario/s-2
             1 alarm - door/d",
        ) {
            fold.add(entry);
        }
        let told = |alarm: PastAlarm| {
            format!("{} {} {}", alarm.scenario, now().duration_since(alarm.since).as_hours(), alarm.cause)
        };
        let alarms: Vec<_> = fold.finish(now()).alarms.into_iter().map(told).collect();
        assert_eq!(alarms, ["s-1 6 4 alarm a scenario/s-1 activate", "s-3 3 3 alarm - scenario/s-3"]);
    }

    #[test]
    fn every_word_of_this_version_is_read_again() {
        for word in Stage::ALL {
            assert_eq!(stage(word.word()), Some(word));
        }
        for outcome in Outcome::ALL {
            for reason in Reason::ALL {
                let entry = Entry {
                    outcome: Some(outcome.word().to_owned()),
                    reason: Some(reason.word().to_owned()),
                    ..Entry::default()
                };
                let end = end(entry, now());
                assert_eq!((end.outcome, end.reason), (outcome, Some(reason)));
            }
        }
    }
}
