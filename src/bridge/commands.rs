//! Commands under way: when to send, whether to send again, and how each one ends.
//!
//! Unlock and release are sent at most once unless it is proven that the vendor did not take them. Activate is sent
//! until a read confirms it, a newer command takes its place, or its deadline passes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{
    admission::is_assigned,
    gate::Refusal,
    report::{Origin, Report},
};
use crate::{
    model::{
        Action, CallId, DoorId, Fault, Lane, Now, Outcome, Reason, RecordNumber, ScenarioId, ScenarioState,
        Target, Unlocked, User,
    },
    rng::Rng,
};

/// The first pause before an activate, or a request that was not sent, is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// How long an activate is tried.
const ACTIVATE_LASTS: Duration = Duration::from_mins(2);
/// An activate that is not confirmed after this long is told to be under way still.
const TELL_AFTER: Duration = Duration::from_secs(1);
/// How long reads may take to show what the vendor took.
const CONFIRM: Duration = Duration::from_secs(15);
/// How long an activate that ended without proof waits for a read before it is sent again.
const CONFIRM_UNCLEAR: Duration = Duration::from_secs(2);
/// What is said of a lockdown that the gateway leaves behind.
const ABANDONED: &str = "the gateway stopped before a read showed the scenario activated; it goes on with it at its next \
                         start, if that is within 5 minutes";
/// Distance between such reads.
pub(super) const READ_EVERY: Duration = Duration::from_secs(1);
/// Equal commands for one door within this time are one command.
const MERGE: Duration = Duration::from_secs(1);
/// How many unlocks may be under way at once.
const MAX_UNLOCKS: usize = 16;

/// An unlock under way.
#[derive(Debug)]
struct UnlockTask {
    origin: Origin,
    received: Instant,
    deadline: Instant,
    not_before: Instant,
    attempts: u32,
    /// The record that the next request is about to be written: no byte of it goes out before that is durable.
    intent: Option<RecordNumber>,
    call: Option<CallId>,
    /// Whether the time to its first request was measured.
    timed: bool,
    last_fault: Option<Fault>,
    /// Why it may not be sent again, should the request under way not reach the vendor.
    barred: Option<Bar>,
}

/// What bars an opening command that was received before from being sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bar {
    /// A scenario was activated.
    Activated,
    /// The gateway stops.
    Stopping,
    /// What is about to happen cannot be written down.
    Journal,
    /// A newer command for the same door.
    Replaced,
}

impl Bar {
    /// The end of a command of which nothing was sent.
    pub(super) fn end(self, origin: &Origin, now: Now) -> Report {
        let (outcome, text) = match self {
            Self::Activated => {
                (Outcome::Expired, "a scenario was activated before the command could be sent")
            }
            Self::Stopping => (Outcome::Refused, "the gateway is stopping; nothing was sent"),
            Self::Journal => (Outcome::Failed, "the journal cannot be written, so nothing was sent"),
            Self::Replaced => {
                (Outcome::Failed, "a newer command for the door took its place; nothing was sent")
            }
        };
        Report::end(origin, outcome, Some(self.cause().0), text.to_owned(), now.utc)
    }

    /// Why, for a command of which something may have been sent.
    pub(super) const fn cause(self) -> (Reason, &'static str) {
        match self {
            Self::Activated => (Reason::Superseded, "a scenario was activated before the command ended"),
            Self::Stopping => (Reason::Stopping, "the gateway is stopping"),
            Self::Journal => (Reason::JournalUnavailable, "the journal cannot be written"),
            Self::Replaced => (Reason::Superseded, "a newer command for the door took its place"),
        }
    }
}

/// An activate or release under way.
#[derive(Debug)]
struct ScenarioTask {
    action: Action,
    origin: Origin,
    received: Instant,
    /// From then on it is not sent any more.
    deadline: Instant,
    step: Step,
    attempts: u32,
    /// As for an unlock; only for a release, since an activate waits for no disk.
    intent: Option<RecordNumber>,
    /// Reads up to this one prove nothing: they may have been answered before the effect of a request that this task
    /// overtook.
    blind: CallId,
    /// Whether a request may have reached the vendor.
    sent: bool,
    /// Whether it was told that it is not done yet.
    told: bool,
    /// Whether the time to its first request was measured.
    timed: bool,
    /// Why it may not be sent again, should the request under way not reach the vendor; only for a release.
    barred: Option<Bar>,
}

impl ScenarioTask {
    /// When it must be told that it is not done yet, unless it is done or told before.
    fn tell_at(&self) -> Option<Instant> {
        (self.action == Action::Activate && !self.told).then(|| self.received + TELL_AFTER)
    }
}

impl UnlockTask {
    /// Whether its time to be sent has come.
    fn is_ready(&self, now: Now) -> bool {
        self.call.is_none() && self.not_before <= now.mono && now.mono < self.deadline
    }
}

fn is_durable(intent: Option<RecordNumber>, durable: RecordNumber) -> bool {
    intent.is_some_and(|number| number <= durable)
}

#[derive(Debug)]
enum Step {
    /// To be sent.
    Send { at: Instant },
    /// Sent.
    Sending { call: CallId },
    /// Waits for a read that was asked for after `after`.
    Confirm { after: CallId, until: Instant },
}

/// What a change of tasks wants of the rest of the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Say this.
    Report(Report),
    /// The scenarios are to be read by then.
    ReadScenarios(Instant),
    /// The events are to be read by then.
    ReadEvents(Instant),
    /// The calendars are to be read by then.
    ReadCalendars(Instant),
    /// An unlock is on its way.
    Unlocking(DoorId),
    /// The vendor unlocked the door.
    Unlocked(DoorId, Unlocked),
    /// An unlock was not done.
    NotUnlocked(DoorId),
    /// Nobody knows whether the door was unlocked.
    Unsure(DoorId),
    /// The vendor closed its gate for a while.
    RateLimited(Option<Duration>),
    /// The vendor does not know a door or scenario that is listed.
    ListsAreOld,
    /// A lockdown is not there: somebody has to know.
    Alarm(ScenarioId, Alarming),
    /// A read shows what an act on the scenario asked for.
    ReadBack(Origin, String),
}

/// Why a lockdown is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alarming {
    pub(super) origin: Origin,
    pub(super) cause: String,
    /// Whether it is not tried any more.
    pub(super) given_up: bool,
}

/// An activate or release to take on.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) scenario: ScenarioId,
    pub(super) action: Action,
    /// From then on a release is not sent any more.
    pub(super) deadline: Instant,
}

/// What a fresh list says of the scenario; `None` without one.
#[derive(Debug)]
pub(super) struct Belief {
    pub(super) state: Option<ScenarioState>,
    /// The newest call so far: only a read that is asked for later proves more.
    pub(super) as_of: CallId,
}

/// With what an unlock is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merging {
    /// With one in the same name, or like it in nobody's.
    Equal,
    /// With one in another name: the door opens, and the vendor's log names the other.
    OtherPerson,
}

/// From when on the time of a request is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// What the request asks.
    pub action: Action,
    /// When its command was received, or taken up from an earlier run.
    pub received: Instant,
    /// Whether no request of the command was written before.
    pub is_first: bool,
}

/// All commands under way.
#[derive(Debug)]
pub(super) struct Commands {
    unlocks: BTreeMap<DoorId, UnlockTask>,
    /// When a door was last unlocked, and for whom.
    last_unlock: BTreeMap<DoorId, (Instant, Option<User>)>,
    scenarios: BTreeMap<ScenarioId, ScenarioTask>,
    /// When a lockdown that brought no id was last taken on, for each scenario.
    activated: BTreeMap<ScenarioId, Instant>,
    /// Calls whose task was replaced: until their reply, no read proves what they will have done.
    orphans: BTreeMap<ScenarioId, BTreeSet<CallId>>,
    /// The newest record that is durable.
    durable: RecordNumber,
    rng: Rng,
}

impl Commands {
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            unlocks: BTreeMap::new(),
            last_unlock: BTreeMap::new(),
            scenarios: BTreeMap::new(),
            activated: BTreeMap::new(),
            orphans: BTreeMap::new(),
            durable: RecordNumber(0),
            rng: Rng::new(seed),
        }
    }

    /// Whether an unlock of the door is under way or was just done: one opening serves all who ask for it, whoever it is
    /// for.
    pub(super) fn merges_unlock(&self, door: &DoorId, user: Option<&User>, now: Instant) -> Option<Merging> {
        let under_way = self.unlocks.get(door).map(|task| task.origin.user.as_ref());
        let last = self.last_unlock.get(door);
        let last = last.filter(|(at, _)| now.saturating_duration_since(*at) < MERGE);
        let whose = under_way.or_else(|| last.map(|(_, whose)| whose.as_ref()))?;
        Some(if whose == user { Merging::Equal } else { Merging::OtherPerson })
    }

    /// Whether the same act on the scenario is under way.
    pub(super) fn merges_scenario(&self, scenario: &ScenarioId, action: Action) -> bool {
        self.scenarios.get(scenario).is_some_and(|task| task.action == action)
    }

    /// Takes on an unlock.
    ///
    /// # Errors
    /// Too many are under way.
    pub(super) fn unlock(
        &mut self,
        door: DoorId,
        origin: Origin,
        deadline: Instant,
        now: Now,
    ) -> Result<Vec<Effect>, Refusal> {
        if self.unlocks.len() >= MAX_UNLOCKS {
            let text = format!("more than {MAX_UNLOCKS} unlocks are under way");
            return Err(Refusal::refused(Reason::RateLimited, text));
        }
        self.last_unlock.retain(|_, (at, _)| now.mono.saturating_duration_since(*at) < MERGE);
        self.last_unlock.insert(door.clone(), (now.mono, origin.user.clone()));
        let effects = vec![
            Effect::Report(Report::accepted(&origin, "the unlock is on its way")),
            Effect::Unlocking(door.clone()),
        ];
        let task = UnlockTask {
            origin,
            received: now.mono,
            deadline,
            not_before: now.mono,
            attempts: 0,
            intent: None,
            call: None,
            timed: false,
            last_fault: None,
            barred: None,
        };
        self.unlocks.insert(door, task);
        Ok(effects)
    }

    /// Takes on an activate or release. Where a fresh list already shows what is wanted, a read comes before any
    /// request.
    pub(super) fn scenario(&mut self, wish: Wish, origin: Origin, belief: &Belief, now: Now) -> Vec<Effect> {
        let Wish { scenario, action, deadline } = wish;
        let mut effects = Vec::new();
        // Whether a contrary request may still take effect: then no read proves that nothing needs to be sent.
        let mut contested = self.orphans.contains_key(&scenario);
        if let Some(old) = self.scenarios.remove(&scenario) {
            let in_flight = if let Step::Sending { call } = old.step {
                self.orphans.entry(scenario.clone()).or_default().insert(call);
                true
            } else {
                false
            };
            contested |= old.sent || in_flight;
            let outcome = if old.sent || in_flight { Outcome::Unknown } else { Outcome::Failed };
            let text = format!("a newer command to {action} the scenario took its place");
            effects.push(Effect::Report(Report::end(
                &old.origin,
                outcome,
                Some(Reason::Superseded),
                text,
                now.utc,
            )));
        }
        if action == Action::Activate {
            if origin.id.as_deref().is_none_or(is_assigned) {
                self.note_nameless(&scenario, now.mono);
            }
            effects.extend(self.bar_opening(Bar::Activated, now));
        }
        effects.push(Effect::Report(Report::accepted(
            &origin,
            format!("the scenario is to be {}", past(action)),
        )));
        let shown = belief.state.as_ref().is_some_and(|state| *state == wanted(action));
        let step = if shown && !contested {
            effects.push(Effect::ReadScenarios(now.mono));
            Step::Confirm { after: belief.as_of, until: now.mono + CONFIRM_UNCLEAR }
        } else {
            Step::Send { at: now.mono }
        };
        let deadline = if action == Action::Activate { now.mono + ACTIVATE_LASTS } else { deadline };
        let task = ScenarioTask {
            action,
            origin,
            received: now.mono,
            deadline,
            step,
            attempts: 0,
            intent: None,
            blind: CallId(0),
            sent: false,
            told: false,
            timed: false,
            barred: None,
        };
        self.scenarios.insert(scenario, task);
        effects
    }

    /// Takes up a lockdown that an earlier run left: whether it was sent is not known, so a read comes first.
    pub(super) fn resume(&mut self, scenario: ScenarioId, origin: Origin, now: Now) -> Vec<Effect> {
        let task = ScenarioTask {
            action: Action::Activate,
            origin,
            received: now.mono,
            deadline: now.mono + ACTIVATE_LASTS,
            step: Step::Confirm { after: CallId(0), until: now.mono + CONFIRM_UNCLEAR },
            attempts: 0,
            intent: None,
            blind: CallId(0),
            sent: true,
            told: false,
            timed: false,
            barred: None,
        };
        self.scenarios.insert(scenario, task);
        vec![Effect::ReadScenarios(now.mono)]
    }

    /// A lockdown that brought no id is taken on, or merged with one under way.
    pub(super) fn note_nameless(&mut self, scenario: &ScenarioId, now: Instant) {
        self.activated.insert(scenario.clone(), now);
    }

    /// A lockdown that brought no id was taken on then, by an earlier run.
    pub(super) fn recall_activate(&mut self, scenario: &ScenarioId, at: Instant) {
        let known = self.activated.entry(scenario.clone()).or_insert(at);
        *known = at.max(*known);
    }

    /// When a lockdown of the scenario that brought no id was last taken on.
    pub(super) fn activated_at(&self, scenario: &ScenarioId) -> Option<Instant> {
        self.activated.get(scenario).copied()
    }

    /// Opening commands that could be sent now if it were written down that they are.
    pub(super) fn unrecorded(&self, now: Now) -> Vec<Origin> {
        let unlocks = self.unlocks.values().filter(|task| task.is_ready(now) && task.intent.is_none());
        let releases = self.scenarios.iter().filter(|(id, task)| {
            task.action.opens() && self.is_ready(id, task, now) && task.intent.is_none()
        });
        let unlocks = unlocks.map(|task| (task.received, &task.origin));
        let releases = releases.map(|(_, task)| (task.received, &task.origin));
        let mut origins: Vec<_> = unlocks.chain(releases).collect();
        origins.sort_by_key(|(received, _)| *received);
        origins.into_iter().map(|(_, origin)| origin.clone()).collect()
    }

    /// It is being written down under this number that a request for the target may go out.
    pub(super) fn record_intent(&mut self, target: &Target, number: RecordNumber) {
        match target {
            Target::Door(id) => self.unlocks.get_mut(id).map(|task| task.intent = Some(number)),
            Target::Scenario(id) => self.scenarios.get_mut(id).map(|task| task.intent = Some(number)),
            Target::Calendar(_) => None,
        };
    }

    /// All records up to this one are durable.
    pub(super) fn note_durable(&mut self, number: RecordNumber) {
        self.durable = number;
    }

    /// Nothing can be written down: what was not sent will not be.
    pub(super) fn lose_journal(&mut self, now: Now) -> Vec<Effect> {
        self.bar_opening(Bar::Journal, now)
    }

    /// The next act that may be sent in a lane, first come first served.
    pub(super) fn next_door(&self, now: Now) -> Option<&DoorId> {
        let ready = |task: &UnlockTask| task.is_ready(now) && is_durable(task.intent, self.durable);
        let waiting = self.unlocks.iter().filter(|(_, task)| ready(task));
        waiting.min_by_key(|(_, task)| task.received).map(|(door, _)| door)
    }

    /// In whose name the unlock of a door that is under way is asked.
    pub(super) fn user_of(&self, door: &DoorId) -> Option<&User> {
        self.unlocks.get(door)?.origin.user.as_ref()
    }

    /// The next activate or release that may be sent, first come first served.
    pub(super) fn next_scenario(&self, action: Action, now: Now) -> Option<&ScenarioId> {
        let ready = |id: &ScenarioId, task: &ScenarioTask| {
            task.action == action
                && self.is_ready(id, task, now)
                && (!action.opens() || is_durable(task.intent, self.durable))
        };
        let waiting = self.scenarios.iter().filter(|(id, task)| ready(id, task));
        waiting.min_by_key(|(_, task)| task.received).map(|(scenario, _)| scenario)
    }

    /// Whether its time to be sent has come. A lockdown does not wait for the answer to an earlier release.
    fn is_ready(&self, id: &ScenarioId, task: &ScenarioTask, now: Now) -> bool {
        matches!(task.step, Step::Send { at } if at <= now.mono)
            && now.mono < task.deadline
            && !(task.action.opens() && self.orphans.contains_key(id))
    }

    /// An unlock goes out; returns the moment from which it may not.
    pub(super) fn start_unlock(&mut self, door: &DoorId, call: CallId) -> Option<Instant> {
        let task = self.unlocks.get_mut(door)?;
        task.call = Some(call);
        task.attempts += 1;
        Some(task.deadline)
    }

    /// An activate or release goes out; returns the moment from which it may not, and whose it is.
    pub(super) fn start_scenario(
        &mut self,
        scenario: &ScenarioId,
        call: CallId,
    ) -> Option<(Instant, Origin)> {
        let task = self.scenarios.get_mut(scenario)?;
        task.step = Step::Sending { call };
        task.attempts += 1;
        Some((task.deadline, task.origin.clone()))
    }

    /// Whose request this call under way is, for the measure of its time. `None` where another command took its place.
    pub(super) fn time_call(&mut self, call: CallId) -> Option<Timing> {
        let unlock = self.unlocks.values_mut().find(|task| task.call == Some(call));
        let unlock = unlock.map(|task| (Action::Unlock, task.received, &mut task.timed));
        let is_sending =
            |task: &&mut ScenarioTask| matches!(task.step, Step::Sending { call: own } if own == call);
        let scenario = self.scenarios.values_mut().find(is_sending);
        let scenario = scenario.map(|task| (task.action, task.received, &mut task.timed));
        let (action, received, timed) = unlock.or(scenario)?;
        Some(Timing { action, received, is_first: !std::mem::replace(timed, true) })
    }

    /// The reply to an unlock.
    pub(super) fn finish_unlock(
        &mut self,
        door: &DoorId,
        result: Result<Unlocked, Fault>,
        now: Now,
    ) -> Vec<Effect> {
        let Some(mut task) = self.unlocks.remove(door) else { return Vec::new() };
        task.call = None;
        let fault = match result {
            Ok(unlocked) => {
                let text = "the vendor unlocked the door".to_owned();
                return vec![
                    Effect::Unlocked(door.clone(), unlocked),
                    Effect::Report(Report::end(&task.origin, Outcome::Done, None, text, now.utc)),
                ];
            }
            Err(fault) => fault,
        };
        let mut effects = Vec::new();
        let again = match &fault {
            Fault::NotSent(_) => Some(self.pause(task.attempts)),
            Fault::RateLimited { after, .. } => {
                effects.push(Effect::RateLimited(*after));
                Some(Duration::ZERO)
            }
            Fault::NotFound(_) => {
                effects.push(Effect::ListsAreOld);
                None
            }
            Fault::Unauthorized(_) | Fault::Forbidden(_) | Fault::NoAccess(_) | Fault::Rejected(_) => None,
            Fault::Unclear(_) | Fault::Malformed(_) => {
                effects.push(Effect::Unsure(door.clone()));
                effects.push(Effect::ReadEvents(now.mono + READ_EVERY));
                effects.push(Effect::Report(end_of_fault(&task.origin, &fault, now)));
                return effects;
            }
        };
        if let (Some(bar), Some(_)) = (task.barred, again) {
            effects.push(Effect::NotUnlocked(door.clone()));
            effects.push(Effect::Report(bar.end(&task.origin, now)));
            return effects;
        }
        if let Some(pause) = again
            && now.mono + pause < task.deadline
        {
            task.not_before = now.mono + pause;
            task.intent = None;
            task.last_fault = Some(fault);
            self.unlocks.insert(door.clone(), task);
            return effects;
        }
        // Nothing was done that the next press could repeat.
        self.last_unlock.remove(door);
        effects.push(Effect::NotUnlocked(door.clone()));
        effects.push(Effect::Report(end_of_fault(&task.origin, &fault, now)));
        effects
    }

    /// The reply to an activate or release that a newer command replaced, if it is one; `newest` is the newest call so far.
    pub(super) fn finish_replaced(
        &mut self,
        scenario: &ScenarioId,
        call: CallId,
        newest: CallId,
        now: Now,
    ) -> Option<Effect> {
        let calls = self.orphans.get_mut(scenario)?;
        if !calls.remove(&call) {
            return None;
        }
        if calls.is_empty() {
            self.orphans.remove(scenario);
        }
        if let Some(task) = self.scenarios.get_mut(scenario) {
            task.blind = newest;
        }
        Some(Effect::ReadScenarios(now.mono))
    }

    /// The reply to an activate or release.
    pub(super) fn finish_scenario(
        &mut self,
        scenario: &ScenarioId,
        call: CallId,
        result: Result<(), Fault>,
        now: Now,
    ) -> Vec<Effect> {
        let Some(mut task) = self.scenarios.remove(scenario) else { return Vec::new() };
        let pause = self.pause(task.attempts);
        let mut effects = Vec::new();
        let fault = match result {
            Ok(()) => {
                task.sent = true;
                task.step = Step::Confirm { after: call, until: now.mono + CONFIRM };
                self.scenarios.insert(scenario.clone(), task);
                return vec![Effect::ReadScenarios(now.mono)];
            }
            Err(fault) => fault,
        };
        if task.action == Action::Activate {
            tracing::error!(scenario_id = %scenario, attempt = task.attempts, cause = %fault, "an activate failed");
            effects.push(alarm(scenario, &task.origin, fault.to_string(), is_final(&fault)));
        }
        if let Fault::RateLimited { after, .. } = &fault {
            effects.push(Effect::RateLimited(*after));
        }
        match &fault {
            Fault::NotSent(_) | Fault::RateLimited { .. } => {
                if let Some(bar) = task.barred {
                    effects.push(Effect::Report(bar.end(&task.origin, now)));
                    return effects;
                }
                task.intent = None;
                task.step = Step::Send { at: now.mono + pause };
            }
            // The vendor may refuse to activate what is active: only a read tells.
            Fault::Rejected(_) if task.action == Action::Activate => {
                task.sent = true;
                task.step = Step::Confirm { after: call, until: now.mono + CONFIRM_UNCLEAR };
                effects.push(Effect::ReadScenarios(now.mono));
            }
            Fault::Unclear(_) | Fault::Malformed(_) => {
                task.sent = true;
                let patience = if task.action == Action::Activate { CONFIRM_UNCLEAR } else { CONFIRM };
                task.step = Step::Confirm { after: call, until: now.mono + patience };
                effects.push(Effect::ReadScenarios(now.mono));
            }
            Fault::Unauthorized(_)
            | Fault::Forbidden(_)
            | Fault::NoAccess(_)
            | Fault::NotFound(_)
            | Fault::Rejected(_) => {
                if matches!(fault, Fault::NotFound(_)) {
                    effects.push(Effect::ListsAreOld);
                }
                effects.push(Effect::ReadScenarios(now.mono));
                effects.push(Effect::Report(end_of_fault(&task.origin, &fault, now)));
                return effects;
            }
        }
        if !task.told {
            task.told = true;
            let text = format!("not done yet: {fault}");
            effects.push(Effect::Report(Report::setback(&task.origin, reason_of(&fault), text)));
        }
        self.scenarios.insert(scenario.clone(), task);
        effects
    }

    /// A complete list of scenarios was read; `state_of` says what it shows of one.
    pub(super) fn confirm(
        &mut self,
        read: CallId,
        state_of: impl Fn(&ScenarioId) -> Option<ScenarioState>,
        now: Now,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut done = Vec::new();
        let mut rng = self.rng.clone();
        for (id, task) in &mut self.scenarios {
            let Step::Confirm { after, until } = task.step else { continue };
            if read <= after.max(task.blind) {
                continue;
            }
            if self.orphans.contains_key(id) {
                // What an earlier request will have done shows only after its reply.
                effects.push(Effect::ReadScenarios(now.mono + READ_EVERY));
                continue;
            }
            if state_of(id) == Some(wanted(task.action)) {
                let text = if task.sent {
                    format!("a read shows the scenario {}", past(task.action))
                } else {
                    format!("the scenario was {} already; nothing was sent", past(task.action))
                };
                effects.push(Effect::ReadBack(task.origin.clone(), text.clone()));
                effects.push(Effect::Report(Report::end(&task.origin, Outcome::Done, None, text, now.utc)));
                done.push(id.clone());
            } else if !task.sent {
                task.step = Step::Send { at: now.mono };
            } else if task.action == Action::Activate && now.mono + READ_EVERY >= until {
                task.step = Step::Send { at: now.mono + rng.between(FIRST_PAUSE / 2, FIRST_PAUSE) };
            } else {
                effects.push(Effect::ReadScenarios(now.mono + READ_EVERY));
            }
        }
        self.rng = rng;
        for id in done {
            self.scenarios.remove(&id);
        }
        effects
    }

    /// Ends what is over, and moves on what waited for a read that did not come.
    pub(super) fn expire(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        let over = |task: &UnlockTask| task.call.is_none() && now.mono >= task.deadline;
        let doors: Vec<DoorId> =
            self.unlocks.iter().filter(|(_, task)| over(task)).map(|(door, _)| door.clone()).collect();
        for door in doors {
            let Some(task) = self.unlocks.remove(&door) else { continue };
            let cause = task
                .last_fault
                .as_ref()
                .map_or_else(|| "the vendor's budget had no room".to_owned(), Fault::to_string);
            let reason = task.last_fault.as_ref().map_or(Reason::TooOld, reason_of);
            let text = format!("the command grew too old before it could be sent: {cause}");
            effects.push(Effect::NotUnlocked(door));
            effects.push(Effect::Report(Report::end(
                &task.origin,
                Outcome::Expired,
                Some(reason),
                text,
                now.utc,
            )));
        }
        effects.extend(self.tell_of_slow_activates(now));
        let ids: Vec<ScenarioId> = self.scenarios.keys().cloned().collect();
        for id in ids {
            effects.extend(self.expire_scenario(&id, now));
        }
        effects
    }

    /// When the next task has something to do, and in which lane; tasks that wait for a reply have nothing.
    pub(super) fn next_deadlines(&self) -> impl Iterator<Item = (Instant, Option<Lane>)> {
        let blocked = |id: &ScenarioId| self.orphans.contains_key(id);
        let unlocks = self.unlocks.values().filter(|task| task.call.is_none());
        let held = |intent: Option<RecordNumber>| intent.is_some_and(|number| number > self.durable);
        let unlocks = unlocks.flat_map(move |task| {
            let send = (!held(task.intent)).then_some((task.not_before, Some(Lane::Unlock)));
            [send, Some((task.deadline, None))]
        });
        let untold = self.scenarios.values().filter_map(|task| task.tell_at().map(|at| (at, None)));
        let scenarios = self.scenarios.iter().flat_map(move |(id, task)| {
            let lane = if task.action == Action::Activate { Lane::Activate } else { Lane::Release };
            match task.step {
                Step::Send { .. } if task.action.opens() && (blocked(id) || held(task.intent)) => {
                    [None, Some((task.deadline, None))]
                }
                Step::Send { at } => [Some((at, Some(lane))), Some((task.deadline, None))],
                Step::Sending { .. } => [None, None],
                Step::Confirm { until, .. } => [Some((until, None)), None],
            }
        });
        unlocks.flatten().chain(scenarios.flatten()).chain(untold)
    }

    /// Whether a scenario is being activated.
    pub(super) fn is_activating(&self) -> bool {
        self.scenarios.values().any(|task| task.action == Action::Activate)
    }

    /// How many commands are under way.
    pub(super) fn count(&self) -> usize {
        self.unlocks.len() + self.scenarios.len()
    }

    /// The gateway stops: opening commands that were not sent are refused. An activate goes on as long as the stop
    /// lasts.
    pub(super) fn stop(&mut self, now: Now) -> Vec<Effect> {
        self.bar_opening(Bar::Stopping, now)
    }

    /// The stop lasts no longer: what is still under way ends without proof, but for lockdowns, which the next run takes
    /// up again.
    pub(super) fn abandon(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        let end = |origin: &Origin, sent: bool| {
            let outcome = if sent { Outcome::Unknown } else { Outcome::Failed };
            let text = "the gateway stopped before the command ended".to_owned();
            Effect::Report(Report::end(origin, outcome, Some(Reason::Stopping), text, now.utc))
        };
        for (id, task) in std::mem::take(&mut self.scenarios) {
            if task.action == Action::Activate {
                effects.push(alarm(&id, &task.origin, ABANDONED.to_owned(), true));
                effects.push(Effect::Report(Report::setback(&task.origin, Reason::Stopping, ABANDONED)));
            } else {
                effects.push(end(&task.origin, task.sent || matches!(task.step, Step::Sending { .. })));
            }
        }
        for (door, task) in std::mem::take(&mut self.unlocks) {
            effects.push(end(&task.origin, task.call.is_some()));
            effects.push(if task.call.is_some() { Effect::Unsure(door) } else { Effect::NotUnlocked(door) });
        }
        effects
    }

    /// Opening commands that were received so far and are not sent yet will not be; those under way are not repeated.
    fn bar_opening(&mut self, bar: Bar, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        for task in self.unlocks.values_mut().filter(|task| task.call.is_some()) {
            task.barred = task.barred.or(Some(bar));
        }
        for (door, task) in self.unlocks.extract_if(.., |_, task| task.call.is_none()) {
            // Nothing was done that the next press could repeat.
            self.last_unlock.remove(&door);
            effects.push(Effect::NotUnlocked(door));
            effects.push(Effect::Report(bar.end(&task.origin, now)));
        }
        for task in self.scenarios.values_mut().filter(|task| task.action.opens()) {
            task.barred = task.barred.or(Some(bar));
        }
        let waits = |task: &ScenarioTask| {
            task.action.opens() && !task.sent && !matches!(task.step, Step::Sending { .. })
        };
        for (_, task) in self.scenarios.extract_if(.., |_, task| waits(task)) {
            effects.push(Effect::Report(bar.end(&task.origin, now)));
        }
        effects
    }

    /// Somebody must know within a second that a lockdown is not there yet, whatever holds it up.
    fn tell_of_slow_activates(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (id, task) in &mut self.scenarios {
            if task.tell_at().is_none_or(|at| now.mono < at) {
                continue;
            }
            task.told = true;
            let text = match task.step {
                Step::Send { .. } => "not done yet: the request waits to be sent",
                Step::Sending { .. } => "not done yet: the vendor has not answered",
                Step::Confirm { .. } => "not done yet: no read shows the scenario activated",
            };
            tracing::error!(scenario_id = %id, attempt = task.attempts, "an activate is {text}");
            effects.push(alarm(id, &task.origin, text.to_owned(), false));
            effects.push(Effect::Report(Report::setback(&task.origin, Reason::NotConfirmed, text)));
        }
        effects
    }

    fn expire_scenario(&mut self, id: &ScenarioId, now: Now) -> Vec<Effect> {
        let Some(task) = self.scenarios.get_mut(id) else { return Vec::new() };
        let end = match task.step {
            Step::Sending { .. } => return Vec::new(),
            Step::Send { .. } => now.mono >= task.deadline,
            Step::Confirm { until, .. } if now.mono >= until => {
                let again = !task.sent || task.action == Action::Activate;
                if again && now.mono < task.deadline {
                    task.step = Step::Send { at: now.mono };
                    return Vec::new();
                }
                true
            }
            Step::Confirm { .. } => false,
        };
        if !end {
            return Vec::new();
        }
        let Some(task) = self.scenarios.remove(id) else { return Vec::new() };
        let outcome = match task.action {
            Action::Activate => Outcome::Failed,
            Action::Unlock | Action::Release | Action::Hold | Action::Lock | Action::Edit if task.sent => {
                Outcome::Unknown
            }
            Action::Unlock | Action::Release | Action::Hold | Action::Lock | Action::Edit => Outcome::Expired,
        };
        let text = if task.sent {
            format!("the vendor was asked, but no read shows the scenario {}", past(task.action))
        } else {
            "the vendor could not be asked in time; nothing was sent".to_owned()
        };
        let mut effects = Vec::new();
        if task.action == Action::Activate {
            tracing::error!(scenario_id = %id, attempts = task.attempts, "an activate was given up: {text}");
            effects.push(alarm(id, &task.origin, text.clone(), true));
        }
        let reason = if task.sent { Reason::NotConfirmed } else { Reason::Unreachable };
        effects.push(Effect::Report(Report::end(&task.origin, outcome, Some(reason), text, now.utc)));
        effects
    }

    fn pause(&mut self, attempts: u32) -> Duration {
        let ceiling = FIRST_PAUSE.saturating_mul(1 << attempts.saturating_sub(1).min(4)).min(MAX_PAUSE);
        self.rng.between(ceiling / 2, ceiling)
    }
}

/// Whether an activate is not tried again after this.
const fn is_final(fault: &Fault) -> bool {
    match fault {
        Fault::NotSent(_)
        | Fault::RateLimited { .. }
        | Fault::Rejected(_)
        | Fault::Unclear(_)
        | Fault::Malformed(_) => false,
        Fault::Unauthorized(_) | Fault::Forbidden(_) | Fault::NoAccess(_) | Fault::NotFound(_) => true,
    }
}

fn alarm(scenario: &ScenarioId, origin: &Origin, cause: String, given_up: bool) -> Effect {
    Effect::Alarm(scenario.clone(), Alarming { origin: origin.clone(), cause, given_up })
}

const fn wanted(action: Action) -> ScenarioState {
    match action {
        Action::Activate => ScenarioState::Active,
        Action::Release | Action::Unlock | Action::Hold | Action::Lock | Action::Edit => {
            ScenarioState::Inactive
        }
    }
}

const fn past(action: Action) -> &'static str {
    match action {
        Action::Activate => "activated",
        Action::Release => "released",
        Action::Unlock => "unlocked",
        Action::Hold => "held",
        Action::Lock => "locked",
        Action::Edit => "changed",
    }
}

pub(super) fn reason_of(fault: &Fault) -> Reason {
    match fault {
        Fault::NotSent(_) => Reason::Unreachable,
        Fault::Unauthorized(_) => Reason::Unauthorized,
        Fault::Forbidden(_) => Reason::Forbidden,
        Fault::NoAccess(_) => Reason::NoAccess,
        Fault::NotFound(_) => Reason::NotFound,
        Fault::Rejected(_) => Reason::Rejected,
        Fault::RateLimited { .. } => Reason::VendorRateLimit,
        Fault::Unclear(_) | Fault::Malformed(_) => Reason::NoProof,
    }
}

pub(super) fn end_of_fault(origin: &Origin, fault: &Fault, now: Now) -> Report {
    let outcome = match fault {
        Fault::NotSent(_) => Outcome::Expired,
        Fault::Unclear(_) | Fault::Malformed(_) => Outcome::Unknown,
        Fault::Unauthorized(_)
        | Fault::Forbidden(_)
        | Fault::NotFound(_)
        | Fault::NoAccess(_)
        | Fault::Rejected(_)
        | Fault::RateLimited { .. } => Outcome::Failed,
    };
    Report::end(origin, outcome, Some(reason_of(fault)), fault.to_string(), now.utc)
}
