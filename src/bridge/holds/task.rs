//! Holds and changes of calendars under way: what is read and written next, whether anything is written again, and how each
//! one ends.
//!
//! Every write is planned from a list that was asked for after whatever came before it. What opens is written at most once
//! unless the vendor provably did not take it; what secures is repeated until a list shows it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::tz::TimeZone;

use super::{
    period,
    plan::{Goal, Ours, Spoilt, Write, next_write},
};
use crate::{
    bridge::{
        calendars::Calendars,
        commands::{Bar, Effect, READ_EVERY, Timing, end_of_fault, reason_of},
        gate::Refusal,
        report::{Origin, Report},
        view,
    },
    hass::{calendar, payload::HoldOrder},
    model::{
        Action, Calendar, CalendarId, CallId, DoorId, DoorMode, Edit, Fault, Lane, Now, Outcome, Reason,
        RecordNumber, Target,
    },
    rng::Rng,
};

/// How long what secures is tried.
const SECURING_LASTS: Duration = Duration::from_mins(2);
/// How long lists may take to show what was written without a proof.
const CONFIRM: Duration = Duration::from_secs(15);
/// The same for what secures, which is then written again.
const CONFIRM_SECURING: Duration = Duration::from_secs(2);
/// The first pause before a write that was not sent is tried again; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// How many writes one hold may take: more than a hold of a week has days and left-over calendars.
const MAX_WRITES: u32 = 64;
/// How many holds may be under way at once.
const MAX_HOLDS: usize = 16;

/// What was asked, in the words of who asked; equal ones under way are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::bridge) enum Asked {
    /// To hold the door, or to end its hold.
    Hold(HoldOrder),
    /// To lock the door, which the gateway can only by ending a hold of its own.
    Lock,
    /// To change an exception of a calendar of others.
    Edit(Edit),
    /// Nobody asked: it is the gateway's own.
    Nothing,
}

/// A change of what our calendar of a door says, or a calendar of others.
#[derive(Debug)]
pub(in crate::bridge) struct Wish {
    pub(in crate::bridge) target: Target,
    pub(in crate::bridge) action: Action,
    pub(in crate::bridge) goal: Goal,
    pub(in crate::bridge) asked: Asked,
    /// Whose command it is; `None` for what the gateway does by itself, which only ever secures.
    pub(in crate::bridge) origin: Option<Origin>,
    /// From then on nothing that opens is sent.
    pub(in crate::bridge) deadline: Instant,
    /// The newest call so far.
    pub(in crate::bridge) as_of: CallId,
}

/// What is known when something is planned.
#[derive(Clone, Copy)]
pub(in crate::bridge) struct Sight<'a> {
    pub(in crate::bridge) calendars: &'a Calendars,
    /// The gateway's part of the names of its calendars.
    pub(in crate::bridge) owner: &'a str,
    pub(in crate::bridge) zone: &'a dyn Fn(&DoorId) -> Option<TimeZone>,
    /// The newest call so far.
    pub(in crate::bridge) as_of: CallId,
    pub(in crate::bridge) now: Now,
}

/// What our calendar of a door is called, and no other.
pub(super) fn name(owner: &str, door: &DoorId) -> String {
    format!("{}{door}", calendar::own_prefix(owner))
}

impl Sight<'_> {
    /// The next write, if one is needed. `unproven`: one may have been taken.
    fn plan(&self, target: &Target, goal: &Goal, unproven: bool) -> Result<Option<Write>, Verdict> {
        match (target, goal) {
            (Target::Calendar(calendar), Goal::Edit(edit)) => self.plan_edit(calendar, edit, unproven),
            (Target::Door(door), _) => self.plan_hold(door, goal).map_err(|Spoilt(cause)| {
                let text = format!(
                    "our calendar of the door holds something that cannot be read ({cause}), and would be lost; delete \
                     the calendar in Command"
                );
                Verdict(Outcome::Failed, Some(Reason::Rejected), text)
            }),
            (Target::Calendar(_) | Target::Scenario(_), _) => Ok(None),
        }
    }

    /// What the calendar holds beside the one exception is never looked at.
    fn plan_edit(&self, id: &CalendarId, edit: &Edit, unproven: bool) -> Result<Option<Write>, Verdict> {
        let failed = |reason, text: &str| Err(Verdict(Outcome::Failed, Some(reason), text.to_owned()));
        let Some(calendar) = self.calendars.get(id) else {
            return failed(Reason::NotFound, "the vendor lists the calendar no more");
        };
        if calendar::is_own(calendar, self.owner) {
            let text = "the gateway keeps this calendar for holds".to_owned();
            return Err(Verdict(Outcome::Refused, Some(Reason::NotAllowed), text));
        }
        let is_there =
            |wanted| calendar.exceptions.iter().any(|exception| exception.id.as_ref() == Some(wanted));
        if let Some(missing) = edit.needs().filter(|wanted| !is_there(wanted)) {
            // What cannot be read may be just this one.
            if unproven && matches!(edit, Edit::Delete(_)) && calendar.skipped.is_empty() {
                return Ok(None);
            }
            return failed(
                Reason::NotFound,
                &format!("the calendar has no exception {missing} that can be read"),
            );
        }
        Ok((!edit.is_done(calendar)).then(|| Write::Edit(id.clone(), Box::new(edit.clone()))))
    }

    fn plan_hold(&self, door: &DoorId, goal: &Goal) -> Result<Option<Write>, Spoilt> {
        let name = name(self.owner, door);
        let calendars: Vec<&Calendar> = self.calendars.named(&name).collect();
        let zone = (self.zone)(door);
        let ours = Ours { name: &name, door, calendars: &calendars };
        next_write(ours, goal, |exception| {
            zone.as_ref().is_some_and(|zone| period::is_over(zone, exception, self.now.utc))
        })
    }
}

#[derive(Debug)]
enum Step {
    /// Waits for the reply to a write of the task that it replaced.
    Wait { call: CallId },
    /// Waits for a list that was asked for after `after`; after a write without proof, until `patience` ends.
    Read { after: CallId, patience: Option<Instant> },
    /// To be written.
    Send { at: Instant, write: Write },
    /// Being written.
    Sending { call: CallId },
}

#[derive(Debug)]
struct Task {
    action: Action,
    goal: Goal,
    asked: Asked,
    origin: Option<Origin>,
    received: Instant,
    deadline: Instant,
    step: Step,
    /// Failed attempts since the last write that was taken.
    attempts: u32,
    /// Writes that the vendor took.
    taken: u32,
    /// The record that the next request is about to be written; only for what opens.
    intent: Option<RecordNumber>,
    /// Whether a request may have reached the vendor without a proof.
    unproven: bool,
    barred: Option<Bar>,
    /// Whether the time to its first request was measured.
    timed: bool,
    last_fault: Option<Fault>,
}

/// How something ended, why, and in words.
struct Verdict(Outcome, Option<Reason>, String);

impl Task {
    const fn call(&self) -> Option<CallId> {
        match self.step {
            Step::Wait { call } | Step::Sending { call } => Some(call),
            Step::Read { .. } | Step::Send { .. } => None,
        }
    }

    fn is_ready(&self, now: Now) -> bool {
        matches!(self.step, Step::Send { at, .. } if at <= now.mono) && now.mono < self.deadline
    }

    /// Whether anything of it may have come about.
    fn may_show(&self) -> bool {
        self.unproven || self.taken > 0 || matches!(self.step, Step::Sending { .. })
    }

    /// Its end, told to whoever asked; of what nobody asked, a failure goes to the log.
    fn end(&self, target: &Target, verdict: Verdict, now: Now) -> Vec<Effect> {
        let Verdict(outcome, reason, text) = verdict;
        if let Some(origin) = &self.origin {
            return vec![Effect::Report(Report::end(origin, outcome, reason, text, now.utc))];
        }
        if outcome == Outcome::Done {
            tracing::info!(target = target.path(), "{text}");
        } else {
            tracing::error!(target = target.path(), "a hold of the gateway could not be ended: {text}");
        }
        Vec::new()
    }

    fn end_by(&self, target: &Target, fault: &Fault, now: Now) -> Vec<Effect> {
        match &self.origin {
            Some(origin) => vec![Effect::Report(end_of_fault(origin, fault, now))],
            None => self.end(target, Verdict(Outcome::Failed, None, fault.to_string()), now),
        }
    }

    /// Nothing is left to be written.
    fn finish(&self, target: &Target, sight: Sight<'_>) -> Vec<Effect> {
        let now = sight.now;
        let nothing = if self.taken == 0 && !self.unproven { "; nothing had to be written" } else { "" };
        let text = match (&self.goal, &self.asked) {
            (Goal::NotUnlocked, Asked::Lock) if !nothing.is_empty() => {
                let text =
                    "no hold of the gateway keeps the door unlocked, and the vendor has no lock command";
                return self.end(
                    target,
                    Verdict(Outcome::Failed, Some(Reason::Unsupported), text.to_owned()),
                    now,
                );
            }
            (Goal::Keep(want), _) => {
                format!(
                    "the vendor keeps the door {} until {}{nothing}",
                    want.mode.phrase(),
                    view::time(want.until)
                )
            }
            (Goal::Schedule, _) => {
                format!("no hold of the gateway is left; the door follows its schedule{nothing}")
            }
            (Goal::NotUnlocked, _) => format!("no hold of the gateway keeps the door unlocked{nothing}"),
            (Goal::Tidy, _) => "holds that are over were removed from the calendar of the door".to_owned(),
            (Goal::Edit(edit), _) => {
                let calendar = match target {
                    Target::Calendar(id) => sight.calendars.get(id),
                    Target::Door(_) | Target::Scenario(_) => None,
                };
                format!("{}{nothing}", calendar::done(edit, calendar))
            }
        };
        let mut effects = Vec::new();
        if self.unproven
            && let Some(origin) = &self.origin
        {
            effects.push(Effect::ReadBack(origin.clone(), text.clone()));
        }
        effects.extend(self.end(target, Verdict(Outcome::Done, None, text), now));
        effects
    }

    /// It is barred, or another one takes its place.
    fn give_way(&self, target: &Target, bar: Bar, now: Now) -> Vec<Effect> {
        let Some(origin) = &self.origin else { return Vec::new() };
        if self.may_show() {
            let (reason, text) = bar.cause();
            let text = format!("{text}; a request may have reached the vendor before");
            return self.end(target, Verdict(Outcome::Unknown, Some(reason), text), now);
        }
        vec![Effect::Report(bar.end(origin, now))]
    }
}

/// All holds and changes of calendars under way, one a door and one a calendar.
#[derive(Debug)]
pub(in crate::bridge) struct Tasks {
    open: BTreeMap<Target, Task>,
    durable: RecordNumber,
    rng: Rng,
}

impl Tasks {
    pub(in crate::bridge) const fn new(seed: u64) -> Self {
        Self { open: BTreeMap::new(), durable: RecordNumber(0), rng: Rng::new(seed) }
    }

    /// Whether the same was asked and is under way.
    pub(in crate::bridge) fn merges(&self, target: &Target, asked: &Asked) -> bool {
        self.open.get(target).is_some_and(|task| task.origin.is_some() && task.asked == *asked)
    }

    /// What the door is about to be kept at.
    pub(in crate::bridge) fn wanted_mode(&self, door: &DoorId) -> Option<DoorMode> {
        match &self.open.get(&Target::Door(door.clone()))?.goal {
            Goal::Keep(want) => Some(want.mode),
            Goal::Schedule | Goal::NotUnlocked | Goal::Tidy | Goal::Edit(_) => None,
        }
    }

    /// Whether anything is under way for the door or calendar.
    pub(in crate::bridge) fn is_busy(&self, target: &Target) -> bool {
        self.open.contains_key(target)
    }

    /// How an exception of the calendar is being changed.
    pub(in crate::bridge) fn edit(&self, target: &Target) -> Option<&Edit> {
        match &self.open.get(target)?.goal {
            Goal::Edit(edit) => Some(edit),
            Goal::Keep(_) | Goal::Schedule | Goal::NotUnlocked | Goal::Tidy => None,
        }
    }

    /// Takes one on; what was under way for the door or calendar gives way.
    ///
    /// # Errors
    /// Too many are under way.
    pub(in crate::bridge) fn take_on(&mut self, wish: Wish, now: Now) -> Result<Vec<Effect>, Refusal> {
        let Wish { target, action, goal, asked, origin, deadline, as_of } = wish;
        if action.opens() && self.open.values().filter(|task| task.action.opens()).count() >= MAX_HOLDS {
            let text = format!("more than {MAX_HOLDS} holds and changes of calendars are under way");
            return Err(Refusal::refused(Reason::RateLimited, text));
        }
        let mut effects = Vec::new();
        let mut step = Step::Read { after: as_of, patience: None };
        if let Some(old) = self.open.remove(&target) {
            if let Some(call) = old.call() {
                step = Step::Wait { call };
            }
            effects.extend(old.give_way(&target, Bar::Replaced, now));
        }
        if matches!(step, Step::Read { .. }) {
            effects.push(Effect::ReadCalendars(now.mono));
        }
        if let Some(origin) = &origin {
            let text = match &goal {
                Goal::Keep(want) => {
                    format!("the door is to be kept {} until {}", want.mode.phrase(), view::time(want.until))
                }
                Goal::Schedule | Goal::NotUnlocked | Goal::Tidy => {
                    "the hold of the door is to end".to_owned()
                }
                Goal::Edit(Edit::Create(_)) => "the calendar is to have one exception more".to_owned(),
                Goal::Edit(Edit::Change(id, _)) => format!("exception {id} of the calendar is to change"),
                Goal::Edit(Edit::Delete(id)) => format!("exception {id} of the calendar is to go"),
            };
            effects.push(Effect::Report(Report::accepted(origin, text)));
        }
        let deadline = if action.opens() { deadline } else { now.mono + SECURING_LASTS };
        let task = Task {
            action,
            goal,
            asked,
            origin,
            received: now.mono,
            deadline,
            step,
            attempts: 0,
            taken: 0,
            intent: None,
            unproven: false,
            barred: None,
            timed: false,
            last_fault: None,
        };
        self.open.insert(target, task);
        Ok(effects)
    }

    /// A list of calendars was read whole, or all of it that can be.
    pub(in crate::bridge) fn observe(&mut self, read: CallId, sight: Sight<'_>) -> Vec<Effect> {
        let waits = |task: &Task| matches!(task.step, Step::Read { after, .. } if after < read);
        let targets: Vec<Target> =
            self.open.iter().filter(|(_, task)| waits(task)).map(|(target, _)| target.clone()).collect();
        targets.into_iter().flat_map(|target| self.plan(&target, Some(read), sight)).collect()
    }

    /// Decides what comes next, after a list or (`read` is `None`) after an answer that tells as much.
    fn plan(&mut self, target: &Target, read: Option<CallId>, sight: Sight<'_>) -> Vec<Effect> {
        let now = sight.now;
        let Some(task) = self.open.get_mut(target) else { return Vec::new() };
        let plan = sight.plan(target, &task.goal, task.unproven);
        // The calendar may be among what could not be read.
        let is_missing = match &plan {
            Ok(None) => matches!(target, Target::Door(_)),
            Ok(Some(Write::Create(_))) | Err(Verdict(_, Some(Reason::NotFound), _)) => true,
            Ok(Some(Write::Replace(..) | Write::Delete(..) | Write::Edit(..))) | Err(_) => false,
        };
        if let Some(read) = read.filter(|_| is_missing)
            && !sight.calendars.is_complete()
            && let Step::Read { after, .. } = &mut task.step
        {
            *after = read;
            return vec![Effect::ReadCalendars(now.mono + READ_EVERY)];
        }
        let patience = match task.step {
            Step::Read { patience, .. } => patience,
            Step::Wait { .. } | Step::Send { .. } | Step::Sending { .. } => None,
        };
        let write = match plan {
            Ok(Some(write)) => write,
            Ok(None) => {
                let effects = task.finish(target, sight);
                self.open.remove(target);
                return effects;
            }
            // Whether it was done before that is not known.
            Err(Verdict(.., text)) if task.unproven && matches!(target, Target::Calendar(_)) => {
                let text = format!("a request may have reached the vendor; now {text}");
                let effects = task.end(target, Verdict(Outcome::Unknown, Some(Reason::NoProof), text), now);
                self.open.remove(target);
                return effects;
            }
            Err(verdict) => {
                let effects = task.end(target, verdict, now);
                self.open.remove(target);
                return effects;
            }
        };
        if let (Some(until), Some(read)) = (patience, read)
            && (task.action.opens() || now.mono < until)
        {
            // Nothing that opens is written again: it shows until then, or its end is not known.
            task.step = Step::Read { after: read, patience };
            return vec![Effect::ReadCalendars(now.mono + READ_EVERY)];
        }
        if task.taken >= MAX_WRITES {
            let text = format!("{} requests did not bring the calendar to what was asked", task.taken);
            let effects = task.end(target, Verdict(Outcome::Unknown, Some(Reason::NotConfirmed), text), now);
            self.open.remove(target);
            return effects;
        }
        task.intent = None;
        task.step = Step::Send { at: now.mono, write };
        Vec::new()
    }

    /// Whether a list is waited for.
    pub(in crate::bridge) fn wants_list(&self) -> bool {
        self.open.values().any(|task| matches!(task.step, Step::Read { .. }))
    }

    /// The list cannot be read, and that will not pass by itself.
    pub(in crate::bridge) fn lose_list(&mut self, fault: &Fault, now: Now) -> Vec<Effect> {
        if !matches!(fault, Fault::Unauthorized(_) | Fault::Forbidden(_)) {
            return Vec::new();
        }
        let lost = |task: &Task| matches!(task.step, Step::Read { patience: None, .. });
        let mut effects = Vec::new();
        for (target, task) in self.open.extract_if(.., |_, task| lost(task)) {
            effects.extend(task.end_by(&target, fault, now));
        }
        effects
    }

    /// What opens and could be written now, if it were written down that it is.
    pub(in crate::bridge) fn unrecorded(&self, now: Now) -> Vec<Origin> {
        let ready = |task: &Task| task.action.opens() && task.is_ready(now) && task.intent.is_none();
        self.open.values().filter(|task| ready(task)).filter_map(|task| task.origin.clone()).collect()
    }

    /// It is being written down under this number that a request may go out.
    pub(in crate::bridge) fn record_intent(&mut self, target: &Target, number: RecordNumber) {
        if let Some(task) = self.open.get_mut(target) {
            task.intent = Some(number);
        }
    }

    /// All records up to this one are durable.
    pub(in crate::bridge) const fn note_durable(&mut self, number: RecordNumber) {
        self.durable = number;
    }

    /// The next door or calendar for which something may be written, first come first served.
    pub(in crate::bridge) fn next(&self, action: Action, now: Now) -> Option<&Target> {
        let waiting = self.open.iter().filter(|(_, task)| {
            task.action == action && task.is_ready(now) && (!action.opens() || self.is_recorded(task))
        });
        waiting.min_by_key(|(_, task)| task.received).map(|(target, _)| target)
    }

    fn is_recorded(&self, task: &Task) -> bool {
        task.intent.is_some_and(|number| number <= self.durable)
    }

    /// It goes out; returns what is written, the moment from which it may not be, and whose it is.
    pub(in crate::bridge) fn start(
        &mut self,
        target: &Target,
        call: CallId,
    ) -> Option<(Write, Instant, Option<Origin>)> {
        let task = self.open.get_mut(target)?;
        let Step::Send { write, .. } = std::mem::replace(&mut task.step, Step::Sending { call }) else {
            return None;
        };
        Some((write, task.deadline, task.origin.clone()))
    }

    /// Whose request this call under way is, for the measure of its time.
    pub(in crate::bridge) fn time_call(&mut self, call: CallId) -> Option<Timing> {
        let is_own = |task: &&mut Task| matches!(task.step, Step::Sending { call: own } if own == call);
        let task = self.open.values_mut().filter(|task| task.origin.is_some()).find(is_own)?;
        let is_first = !std::mem::replace(&mut task.timed, true);
        Some(Timing { action: task.action, received: task.received, is_first })
    }

    /// The reply to a write; what it tells of calendars is known already.
    pub(in crate::bridge) fn finish(
        &mut self,
        target: &Target,
        call: CallId,
        result: Result<(), Fault>,
        sight: Sight<'_>,
    ) -> Vec<Effect> {
        let Sight { now, as_of, .. } = sight;
        let mut effects = Vec::new();
        if let Err(Fault::RateLimited { after, .. }) = &result {
            effects.push(Effect::RateLimited(*after));
        }
        let Some(task) = self.open.get_mut(target).filter(|task| task.call() == Some(call)) else {
            return effects;
        };
        if matches!(task.step, Step::Wait { .. }) {
            task.step = Step::Read { after: as_of, patience: None };
            effects.push(Effect::ReadCalendars(now.mono));
            return effects;
        }
        let fault = match result {
            Ok(()) => {
                task.taken += 1;
                task.attempts = 0;
                // It was the one write that there is.
                if matches!(task.goal, Goal::Edit(_)) {
                    effects.extend(self.remove(target, |task| task.finish(target, sight)));
                    return effects;
                }
                // Where nothing is left to be written, it is done all the same.
                if let (Some(bar), Ok(Some(_))) = (task.barred, sight.plan(target, &task.goal, false)) {
                    effects.extend(self.remove(target, |task| task.give_way(target, bar, now)));
                    return effects;
                }
                effects.extend(self.plan(target, None, sight));
                return effects;
            }
            Err(fault) => fault,
        };
        task.attempts += 1;
        let attempts = task.attempts;
        match &fault {
            Fault::Unclear(_) | Fault::Malformed(_) => {
                task.unproven = true;
                let patience = if task.action.opens() { CONFIRM } else { CONFIRM_SECURING };
                task.step = Step::Read { after: as_of, patience: Some(now.mono + patience) };
                effects.push(Effect::ReadCalendars(now.mono));
                return effects;
            }
            Fault::Unauthorized(_) | Fault::Forbidden(_) | Fault::NoAccess(_) | Fault::Rejected(_) => {
                effects.extend(self.remove(target, |task| task.end_by(target, &fault, now)));
                return effects;
            }
            Fault::NotSent(_) | Fault::RateLimited { .. } | Fault::NotFound(_) => {}
        }
        if let Some(bar) = task.barred {
            task.step = Step::Read { after: as_of, patience: None };
            effects.extend(self.remove(target, |task| task.give_way(target, bar, now)));
            return effects;
        }
        // Somebody else deleted it in between, or an earlier request of unknown fate did: the list tells what is left. What opens
        // and is not found again and again is something else.
        if matches!(fault, Fault::NotFound(_)) && task.action.opens() && attempts > 2 {
            effects.push(Effect::ListsAreOld);
            effects.extend(self.remove(target, |task| task.end_by(target, &fault, now)));
            return effects;
        }
        let pause = self.pause(attempts, &fault);
        if let Some(task) = self.open.get_mut(target) {
            task.last_fault = Some(fault);
            task.step = Step::Read { after: as_of, patience: None };
            effects.push(Effect::ReadCalendars(now.mono + pause));
        }
        effects
    }

    fn remove(&mut self, target: &Target, end: impl FnOnce(&Task) -> Vec<Effect>) -> Vec<Effect> {
        self.open.remove(target).map_or_else(Vec::new, |task| end(&task))
    }

    /// Ends what is over.
    pub(in crate::bridge) fn expire(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        let is_over = |task: &Task| over_at(task).is_some_and(|at| at <= now.mono);
        for (target, task) in self.open.extract_if(.., |_, task| is_over(task)) {
            let cause = task.last_fault.as_ref().map(Fault::to_string);
            let (outcome, reason, text) = if !task.action.opens() {
                let cause = cause.unwrap_or_else(|| "no list showed it".to_owned());
                let text =
                    format!("the hold could not be changed within {} s: {cause}", SECURING_LASTS.as_secs());
                if task.origin.is_some() {
                    tracing::error!(target = target.path(), "a door may stay unlocked: {text}");
                }
                (Outcome::Failed, Reason::NotConfirmed, text)
            } else if task.unproven {
                let text = "the request was sent without an answer that proves anything, and no list shows what it asked \
                            for; it is not sent again";
                (Outcome::Unknown, Reason::NoProof, text.to_owned())
            } else if task.taken > 0 {
                let text = "a part of it was written, the rest grew too old before it could be";
                (Outcome::Unknown, Reason::NotConfirmed, text.to_owned())
            } else {
                let cause = cause.unwrap_or_else(|| "the calendars could not be read in time".to_owned());
                let text = format!("the command grew too old before it could be sent: {cause}");
                let reason = task.last_fault.as_ref().map_or(Reason::TooOld, reason_of);
                (Outcome::Expired, reason, text)
            };
            effects.extend(task.end(&target, Verdict(outcome, Some(reason), text), now));
        }
        effects
    }

    /// When something is to be done, and in which lane; tasks that wait for a reply have nothing.
    pub(in crate::bridge) fn next_deadlines(&self) -> impl Iterator<Item = (Instant, Option<Lane>)> {
        self.open.values().flat_map(|task| {
            let send = match task.step {
                Step::Send { at, .. } if !task.action.opens() => Some((at, Some(Lane::Release))),
                // Before its intent is asked for it has to be looked at as well.
                Step::Send { at, .. } if task.intent.is_none() || self.is_recorded(task) => {
                    Some((at, Some(Lane::Unlock)))
                }
                Step::Send { .. } | Step::Wait { .. } | Step::Read { .. } | Step::Sending { .. } => None,
            };
            send.into_iter().chain(over_at(task).map(|at| (at, None)))
        })
    }

    /// How many commands are under way. What the gateway does by itself goes on at its next start.
    pub(in crate::bridge) fn count(&self) -> usize {
        self.open.values().filter(|task| task.origin.is_some()).count()
    }

    /// What opens and is not sent yet will not be; what is under way is not repeated.
    pub(in crate::bridge) fn bar_opening(&mut self, bar: Bar, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        for task in self.open.values_mut().filter(|task| task.action.opens()) {
            task.barred = task.barred.or(Some(bar));
        }
        let waits = |task: &Task| task.action.opens() && task.call().is_none();
        for (target, task) in self.open.extract_if(.., |_, task| waits(task)) {
            effects.extend(task.give_way(&target, bar, now));
        }
        effects
    }

    /// The stop lasts no longer: what is still under way ends without proof.
    pub(in crate::bridge) fn abandon(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (target, task) in std::mem::take(&mut self.open) {
            if task.origin.is_some() {
                let outcome = if task.may_show() { Outcome::Unknown } else { Outcome::Failed };
                let text = "the gateway stopped before the command ended".to_owned();
                effects.extend(task.end(&target, Verdict(outcome, Some(Reason::Stopping), text), now));
            }
        }
        effects
    }

    fn pause(&mut self, attempts: u32, fault: &Fault) -> Duration {
        if matches!(fault, Fault::RateLimited { .. }) {
            return Duration::ZERO;
        }
        let ceiling = FIRST_PAUSE.saturating_mul(1 << attempts.saturating_sub(1).min(4)).min(MAX_PAUSE);
        self.rng.between(ceiling / 2, ceiling)
    }
}

/// When a task is given up; one that waits for a reply is not.
const fn over_at(task: &Task) -> Option<Instant> {
    match task.step {
        Step::Sending { .. } | Step::Wait { .. } => None,
        Step::Read { patience: Some(until), .. } if task.action.opens() => Some(until),
        Step::Read { .. } | Step::Send { .. } => Some(task.deadline),
    }
}
