//! Many refused commands: the first ones are answered one by one, the rest once a second by their sum. They are counted
//! exactly all the same.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    Bridge,
    gate::Refusal,
    report::{Origin, Report},
};
use crate::model::{Now, Reason, Target};

/// How many refusals of one target are answered one by one within [`WINDOW`].
const IN_FULL: u32 = 20;
/// The interval in which they are counted.
const WINDOW: Duration = Duration::from_mins(1);
/// How often the sum of the rest is told.
const SUM_EVERY: Duration = Duration::from_secs(1);
/// How many targets are told apart; anybody can name ones that do not exist.
const MAX_TARGETS: usize = 256;

#[derive(Debug)]
struct Refused {
    since: Instant,
    in_full: u32,
    /// What was not answered, by reason, since the last sum.
    rest: BTreeMap<Reason, u64>,
    sum_at: Instant,
}

/// The refusals of the last minute, by target.
#[derive(Debug, Default)]
pub(super) struct Flood(BTreeMap<Target, Refused>);

impl Flood {
    /// Whether another refusal of the target is answered.
    pub(super) fn answers(&self, target: &Target, now: Instant) -> bool {
        match self.0.get(target) {
            Some(refused) => {
                refused.in_full < IN_FULL || now.saturating_duration_since(refused.since) >= WINDOW
            }
            None => self.0.len() < MAX_TARGETS,
        }
    }

    /// Counts a refusal; returns whether it is answered. Where too many targets are refused at once, those that come last
    /// get no answer at all.
    fn count(&mut self, target: &Target, reason: Reason, now: Instant) -> bool {
        let answers = self.answers(target, now);
        if !answers && !self.0.contains_key(target) {
            return false;
        }
        let fresh = || Refused { since: now, in_full: 0, rest: BTreeMap::new(), sum_at: now + SUM_EVERY };
        let refused = self.0.entry(target.clone()).or_insert_with(fresh);
        if now.saturating_duration_since(refused.since) >= WINDOW {
            (refused.since, refused.in_full) = (now, 0);
        }
        if answers {
            refused.in_full += 1;
        } else {
            if refused.rest.is_empty() {
                refused.sum_at = now + SUM_EVERY;
            }
            *refused.rest.entry(reason).or_default() += 1;
        }
        answers
    }

    /// The sums that are due.
    fn take_sums(&mut self, now: Instant) -> Vec<(Target, BTreeMap<Reason, u64>)> {
        let mut sums = Vec::new();
        for (target, refused) in &mut self.0 {
            if !refused.rest.is_empty() && refused.sum_at <= now {
                sums.push((target.clone(), std::mem::take(&mut refused.rest)));
            }
        }
        let live = |refused: &Refused| {
            !refused.rest.is_empty() || now.saturating_duration_since(refused.since) < WINDOW
        };
        self.0.retain(|_, refused| live(refused));
        sums
    }

    /// When the next sum is due.
    pub(super) fn next_sum(&self) -> Option<Instant> {
        self.0.values().filter(|refused| !refused.rest.is_empty()).map(|refused| refused.sum_at).min()
    }
}

impl Bridge {
    /// Answers a command that the gate turned away, or only counts it.
    pub(super) fn refuse(&mut self, origin: &Origin, refusal: Refusal, now: Now) {
        self.raise_refused(origin, refusal.reason, &refusal.message, now);
        let answers = self.flood.count(&origin.target, refusal.reason, now.mono);
        let uses_id = refusal.uses_id;
        let report = Report::refusal(origin, refusal, now.utc);
        if answers {
            self.report(&report, now);
            return;
        }
        self.books.end(origin, report.outcome, report.reason);
        if uses_id {
            // The next run has to know the id.
            self.ids.note(&report);
            self.record(&report, now);
        }
    }

    /// Tells the sums that are due.
    pub(super) fn tell_sums(&mut self, now: Now) {
        for (target, rest) in self.flood.take_sums(now.mono) {
            let parts: Vec<String> =
                rest.iter().map(|(reason, count)| format!("{} {count}", reason.word())).collect();
            let count: u64 = rest.values().sum();
            let text = format!("{count} more commands were turned away: {}", parts.join(", "));
            let origin = Origin::of_nobody(target, now.utc);
            let refusal = Refusal::refused(Reason::Flood, text);
            self.tell(&Report::refusal(&origin, refusal, now.utc), now);
        }
    }
}
