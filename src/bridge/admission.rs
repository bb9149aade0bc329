//! What is remembered of earlier commands: their ids, and how many there were.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    gate::Refusal,
    report::{Origin, Report},
    settlement::Finding,
};
use crate::{
    hass::payload::Verb,
    model::{Intent, Now, Outcome, PastCommand, Reason, Stage, Target, User},
};

/// How long an id is remembered.
const REMEMBERED: Duration = Duration::from_hours(24);
/// How many ids of opening commands are remembered: more than [`Rates`] lets through in [`REMEMBERED`], merged ones included,
/// so that none is forgotten early.
const MAX_OPENING: usize = 400_000;
/// How many ids of activates are remembered; beyond it the oldest are forgotten, for an activate that comes again opens
/// nothing.
const MAX_SECURING: usize = 10_000;
/// Of how many commands all that was reported is kept; of older ones only how they ended.
const MAX_IN_FULL: usize = 1_000;
/// How many opening commands one door or scenario may get within [`WINDOW`].
const PER_TARGET: usize = 5;
/// How many opening commands there may be in all within [`WINDOW`].
const IN_ALL: usize = 20;
/// The interval in which opening commands are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// Whether an id was made by the gateway, in whichever run, for a command that brought none.
pub(super) fn is_assigned(id: &str) -> bool {
    let all = |text: &str, is: fn(&u8) -> bool| !text.is_empty() && text.bytes().all(|byte| is(&byte));
    id.split_once('-').is_some_and(|(run, number)| {
        run.len() == 8 && all(run, u8::is_ascii_hexdigit) && all(number, u8::is_ascii_digit)
    })
}

/// A command that was seen before under the same id.
#[derive(Debug, Clone)]
struct Known {
    matter: Matter,
    at: Instant,
    told: Told,
}

/// What a command asks for, of what, and in whose name.
#[derive(Debug, Clone)]
pub(super) struct Matter {
    intent: Intent,
    target: Target,
    whose: Whose,
}

/// In whose name a command was to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Whose {
    /// In nobody's.
    Nobody,
    /// In that of a user; boxed, since there may be many commands and most are in nobody's name.
    User(Box<User>),
    /// It is of an earlier run, and not known any more.
    Unknown,
}

impl Matter {
    pub(super) fn of(intent: impl Into<Intent>, origin: &Origin) -> Self {
        let whose = origin.user.as_ref().map_or(Whose::Nobody, |user| Whose::User(Box::new(user.clone())));
        Self { intent: intent.into(), target: origin.target.clone(), whose }
    }
}

/// The last thing that was reported of a command.
#[derive(Debug, Clone)]
enum Told {
    Nothing,
    InFull(Box<Report>),
    InShort(Short),
}

/// What stays of a report.
#[derive(Debug, Clone, Copy)]
struct Short {
    outcome: Outcome,
    reason: Option<Reason>,
    received_at: Timestamp,
    finished_at: Option<Timestamp>,
    resolved: Option<Finding>,
}

impl Known {
    fn report(&self, id: &str) -> Option<Report> {
        match &self.told {
            Told::Nothing => None,
            Told::InFull(report) => Some((**report).clone()),
            Told::InShort(short) => {
                let origin = Origin {
                    verb: Some(Verb::from(self.matter.intent)),
                    passed: true,
                    id: Some(id.to_owned()),
                    ..Origin::of_nobody(self.matter.target.clone(), short.received_at)
                };
                Some(Report {
                    stage: Stage::Ended,
                    origin,
                    outcome: short.outcome,
                    reason: short.reason,
                    message: "how the command ended is remembered, the sentence is not".to_owned(),
                    finished_at: short.finished_at,
                    resolved: short.resolved,
                    evidence: None,
                })
            }
        }
    }

    fn shorten(&mut self) {
        if let Told::InFull(report) = &self.told {
            self.told = Told::InShort(Short {
                outcome: report.outcome,
                reason: report.reason,
                received_at: report.origin.received_at,
                finished_at: report.finished_at,
                resolved: report.resolved,
            });
        }
    }
}

/// Ids of commands that were admitted.
#[derive(Debug, Default)]
pub(super) struct Ids {
    known: BTreeMap<Arc<str>, Known>,
    opening: VecDeque<(Instant, Arc<str>)>,
    securing: VecDeque<(Instant, Arc<str>)>,
    /// Those of which all is kept, oldest first.
    in_full: VecDeque<Arc<str>>,
}

/// What an id says about a command.
#[derive(Debug)]
pub(super) enum Repeat {
    /// The id is new.
    New,
    /// The same command again: what was reported of it last.
    Same(Option<Box<Report>>),
    /// Another command under the same id.
    Conflict(Refusal),
}

impl Ids {
    /// Looks an id up.
    pub(super) fn check(&mut self, id: &str, matter: &Matter, now: Now) -> Repeat {
        self.forget(now.mono);
        let Some(known) = self.known.get(id) else { return Repeat::New };
        let Matter { intent, target, whose } = &known.matter;
        let text = if *intent != matter.intent || *target != matter.target {
            let path = target.path();
            format!("the id was used before to {intent} {path}; every command needs an id of its own")
        } else if *whose != Whose::Unknown && *whose != matter.whose {
            "the id was used before to unlock the door for another person or without one; every command needs an id of \
             its own"
                .to_owned()
        } else {
            return Repeat::Same(known.report(id).map(Box::new));
        };
        Repeat::Conflict(Refusal::refused(Reason::IdConflict, text))
    }

    /// Remembers the id of a command that was admitted.
    pub(super) fn remember(&mut self, id: &str, matter: Matter, now: Now) {
        let id: Arc<str> = id.into();
        let opens = matter.intent.judged_as().opens();
        self.known.insert(Arc::clone(&id), Known { matter, at: now.mono, told: Told::Nothing });
        let order = if opens { &mut self.opening } else { &mut self.securing };
        order.push_back((now.mono, id));
        self.forget(now.mono);
    }

    /// Remembers the id of a command of an earlier run.
    pub(super) fn recall(&mut self, command: &PastCommand, now: Now) {
        let age = Duration::try_from(now.utc.duration_since(command.received_at)).unwrap_or_default();
        // On a machine that started after the command was admitted it counts as younger, and is remembered for longer.
        let mono = now.mono.checked_sub(age).unwrap_or(now.mono);
        let now = Now { mono, ..now };
        let (intent, target) = (command.action.into(), command.target.clone());
        self.remember(&command.id, Matter { intent, target, whose: Whose::Unknown }, now);
    }

    /// Remembers what was reported of a command.
    pub(super) fn note(&mut self, report: &Report) {
        let Some(id) = report.origin.id.as_deref() else { return };
        let Some(known) = self.known.get_mut(id) else { return };
        match known.told {
            // What turned a repeat away says nothing of the command itself.
            Told::InFull(_) | Told::InShort(_) if report.stage == Stage::Refused => return,
            Told::InFull(_) => {}
            Told::Nothing | Told::InShort(_) => self.in_full.push_back(id.into()),
        }
        known.told = Told::InFull(Box::new(report.clone()));
        if self.in_full.len() > MAX_IN_FULL
            && let Some(oldest) = self.in_full.pop_front()
            && let Some(known) = self.known.get_mut(&oldest)
        {
            known.shorten();
        }
    }

    fn forget(&mut self, now: Instant) {
        for (order, most) in [(&mut self.opening, MAX_OPENING), (&mut self.securing, MAX_SECURING)] {
            while let Some((at, id)) = order.front() {
                if order.len() <= most && now.saturating_duration_since(*at) < REMEMBERED {
                    break;
                }
                if self.known.get(id).is_some_and(|known| known.at == *at) {
                    self.known.remove(id);
                }
                order.pop_front();
            }
        }
    }
}

/// How many opening commands there were.
#[derive(Debug, Default)]
pub(super) struct Rates {
    all: VecDeque<Instant>,
    of: BTreeMap<Target, VecDeque<Instant>>,
}

impl Rates {
    /// Counts an opening command for the target, or refuses it.
    pub(super) fn admit(&mut self, target: &Target, now: Instant) -> Result<(), Refusal> {
        drop_old(&mut self.all, now);
        self.of.retain(|_, times| {
            drop_old(times, now);
            !times.is_empty()
        });
        let own = self.of.get(target).map_or(0, VecDeque::len);
        for (count, limit, whose) in
            [(own, PER_TARGET, "this door or scenario"), (self.all.len(), IN_ALL, "all together")]
        {
            if count >= limit {
                let text =
                    format!("more than {limit} opening commands in {} s for {whose}", WINDOW.as_secs());
                return Err(Refusal::refused(Reason::RateLimited, text));
            }
        }
        self.all.push_back(now);
        self.of.entry(target.clone()).or_default().push_back(now);
        Ok(())
    }
}

fn drop_old(times: &mut VecDeque<Instant>, now: Instant) {
    while times.front().is_some_and(|at| now.saturating_duration_since(*at) >= WINDOW) {
        times.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Action;
    use crate::{clock, model::ScenarioId};

    const DAY: u64 = 24 * 60 * 60;

    fn now_at(start: Now, millis: u64) -> Now {
        let by = Duration::from_millis(millis);
        Now { mono: start.mono + by, utc: start.utc + by }
    }

    fn door() -> Target {
        Target::Door("d-1".parse().unwrap())
    }

    fn scenario() -> Target {
        Target::Scenario("s-1".parse::<ScenarioId>().unwrap())
    }

    fn matter(action: Action, target: Target) -> Matter {
        Matter { intent: action.into(), target, whose: Whose::Nobody }
    }

    fn is_known(ids: &mut Ids, id: &str, action: Action, target: &Target, now: Now) -> bool {
        !matches!(ids.check(id, &matter(action, target.clone()), now), Repeat::New)
    }

    #[test]
    fn every_opening_command_of_a_day_is_remembered_for_a_day() {
        let start = clock::now();
        // Those that are taken on and those that are merged.
        let windows = DAY / WINDOW.as_secs();
        let count = 2 * u64::try_from(IN_ALL).unwrap() * windows;
        let every = DAY * 1_000 / count;
        let mut ids = Ids::default();
        for number in 0..count {
            let now = now_at(start, number * every);
            ids.remember(&number.to_string(), matter(Action::Unlock, door()), now);
        }
        for number in 0..20_000 {
            let now = now_at(start, (count - 1) * every);
            ids.remember(&format!("s-{number}"), matter(Action::Activate, scenario()), now);
        }
        let now = now_at(start, DAY * 1_000 - 1);
        assert!(is_known(&mut ids, "0", Action::Unlock, &door(), now));
        assert!(!is_known(&mut ids, "s-9999", Action::Activate, &scenario(), now));
        assert!(is_known(&mut ids, "s-10000", Action::Activate, &scenario(), now));
        let now = now_at(start, DAY * 1_000);
        assert!(!is_known(&mut ids, "0", Action::Unlock, &door(), now));
        assert!(is_known(&mut ids, "1", Action::Unlock, &door(), now));
    }

    #[test]
    fn of_old_commands_only_the_end_is_kept() {
        let now = clock::now();
        let mut ids = Ids::default();
        for number in 0..=MAX_IN_FULL {
            let id = number.to_string();
            ids.remember(&id, matter(Action::Unlock, door()), now);
            let origin = Origin {
                verb: Some(Verb::Unlock),
                passed: true,
                id: Some(id),
                ..Origin::of_nobody(door(), now.utc)
            };
            ids.note(&Report::accepted(&origin, "taken on"));
            let reason = Some(Reason::NoProof);
            ids.note(&Report::end(&origin, Outcome::Unknown, reason, "a sentence".to_owned(), now.utc));
        }
        let mut report = |id: &str| match ids.check(id, &matter(Action::Unlock, door()), now) {
            Repeat::Same(Some(report)) => *report,
            Repeat::New | Repeat::Same(None) | Repeat::Conflict(_) => panic!("{id}"),
        };
        let (first, second) = (report("0"), report("1"));
        assert_eq!(first.message, "how the command ended is remembered, the sentence is not");
        assert_eq!(second.message, "a sentence");
        let with_number = |id: &str, message: &str| Report {
            origin: Origin { id: Some(id.to_owned()), ..second.origin.clone() },
            message: message.to_owned(),
            ..second.clone()
        };
        assert_eq!(first, with_number("0", &first.message));
    }
}
