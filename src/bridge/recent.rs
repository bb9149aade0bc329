//! The last commands and what became of them, for whoever looks at the gateway. Bounded, and without people: neither who
//! sent a command nor in whose name a door was unlocked is kept.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::report::Report;
use crate::{
    hass::payload::Verb,
    model::{Outcome, Reason, Target},
};

/// How many commands are kept of scenarios, and as many of everything else: a flood of refused unlocks drives no lockdown out.
const KEPT: usize = 20;

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recent {
    /// Grows with each command.
    pub(super) number: u64,
    pub(super) target: Target,
    pub(super) verb: Option<Verb>,
    pub(super) received_at: Timestamp,
    pub(super) finished_at: Option<Timestamp>,
    pub(super) outcome: Outcome,
    pub(super) reason: Option<Reason>,
    /// The word for what evidence said after it had ended.
    pub(super) resolved: Option<&'static str>,
    id: Option<String>,
}

/// The last commands.
#[derive(Debug, Default)]
pub(super) struct Recents {
    scenarios: VecDeque<Recent>,
    others: VecDeque<Recent>,
    count: u64,
}

impl Recents {
    /// Takes what is told of a command: the first of it, or what became of it.
    pub(super) fn note(&mut self, report: &Report) {
        let Report { origin, outcome, reason, finished_at, resolved, .. } = report;
        let kept = match origin.target {
            Target::Scenario(_) => &mut self.scenarios,
            Target::Door(_) | Target::Calendar(_) => &mut self.others,
        };
        let same = |recent: &&mut Recent| {
            recent.target == origin.target
                && recent.received_at == origin.received_at
                && recent.id == origin.id
                && recent.verb == origin.verb
        };
        if let Some(recent) = kept.iter_mut().rev().find(same) {
            (recent.outcome, recent.reason) = (*outcome, *reason);
            recent.finished_at = finished_at.or(recent.finished_at);
            recent.resolved = resolved.map(super::settlement::Finding::word);
            return;
        }
        self.count += 1;
        kept.push_back(Recent {
            number: self.count,
            target: origin.target.clone(),
            verb: origin.verb,
            received_at: origin.received_at,
            finished_at: *finished_at,
            outcome: *outcome,
            reason: *reason,
            resolved: resolved.map(super::settlement::Finding::word),
            id: origin.id.clone(),
        });
        if kept.len() > KEPT {
            kept.pop_front();
        }
    }

    /// All that are kept, the newest first.
    pub(super) fn newest_first(&self) -> Vec<&Recent> {
        let mut all: Vec<&Recent> = self.scenarios.iter().chain(&self.others).collect();
        all.sort_unstable_by_key(|recent| std::cmp::Reverse(recent.number));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::report::Origin;

    fn end(target: Target, second: i64, outcome: Outcome) -> Report {
        let at = Timestamp::from_second(second).unwrap();
        let origin = Origin { id: Some(second.to_string()), ..Origin::of_nobody(target, at) };
        Report::end(&origin, outcome, None, String::new(), at)
    }

    #[test]
    fn a_flood_of_doors_drives_no_scenario_out() {
        let mut recents = Recents::default();
        recents.note(&end(Target::Scenario("s".parse().unwrap()), 0, Outcome::Done));
        for second in 1..1_000 {
            recents.note(&end(Target::Door("d".parse().unwrap()), second, Outcome::Refused));
        }
        let kept = recents.newest_first();
        assert_eq!(kept.len(), KEPT + 1);
        assert_eq!(kept[0].id.as_deref(), Some("999"));
        assert_eq!(kept[KEPT].outcome, Outcome::Done);
    }

    #[test]
    fn what_becomes_of_a_command_is_told_in_its_row() {
        let mut recents = Recents::default();
        let door = Target::Door("d".parse().unwrap());
        let ended = end(door.clone(), 1, Outcome::Unknown);
        recents.note(&Report::accepted(&ended.origin, ""));
        recents.note(&end(door, 2, Outcome::Done));
        recents.note(&ended);
        let rows: Vec<_> = recents.newest_first().iter().map(|row| (row.number, row.outcome)).collect();
        assert_eq!(rows, [(2, Outcome::Done), (1, Outcome::Unknown)]);
    }
}
