//! The drill: the way of an activate, gone up to its last step. Where the activate would be sent, a harmless read goes
//! over the same connection. Nothing is activated.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{
    Bridge,
    calls::Pending,
    commands::{Effect, reason_of},
    gate::Refusal,
    readiness::Proof,
    report::{Origin, Report},
};
use crate::model::{
    Answer, Call, CallId, Drilled, Fault, Intent, Lane, Now, Outcome, Reason, Reply, Request, ScenarioId,
    Target, Trace,
};

/// The least time between two drills.
const PAUSE: Duration = Duration::from_mins(1);
/// How long a drill may wait to be sent.
const WAITS: Duration = Duration::from_secs(10);
/// What every message about a drill begins with.
const MARK: &str = "drill: nothing was activated";

/// The drill under way, and when the last one began.
#[derive(Debug, Default)]
pub(super) struct Drills {
    task: Option<Task>,
    began: Option<Instant>,
}

#[derive(Debug)]
struct Task {
    scenario: ScenarioId,
    origin: Origin,
    received: Instant,
    deadline: Instant,
    call: Option<CallId>,
}

/// How the last drill of a scenario ended; shown in its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LastDrill {
    pub(super) at: Timestamp,
    pub(super) outcome: Outcome,
    /// From the receipt of the command to the vendor's answer.
    pub(super) took: Option<Duration>,
}

impl Drills {
    /// Whether none is under way.
    pub(super) const fn is_idle(&self) -> bool {
        self.task.is_none()
    }

    /// When the drill under way has something to do, and in which lane.
    pub(super) fn next_deadlines(&self) -> impl Iterator<Item = (Instant, Option<Lane>)> {
        let waiting = self.task.as_ref().filter(|task| task.call.is_none());
        waiting.into_iter().flat_map(|task| [(task.received, Some(LANE)), (task.deadline, None)])
    }

    fn take_unsent(&mut self) -> Option<Task> {
        self.task.take_if(|task| task.call.is_none())
    }
}

/// A drill asks for a share of the budget as reads do that belong to commands, which leave the last tenth to acts: it
/// must not use up the room that it looks for.
const LANE: Lane = Lane::ReadBack;

impl Bridge {
    /// The part of the gate that remembers, for drills. Then the drill is taken on.
    pub(super) fn admit_drill(
        &mut self,
        origin: &mut Origin,
        deadline: Instant,
        now: Now,
    ) -> Result<Vec<Effect>, Refusal> {
        let Target::Scenario(scenario) = origin.target.clone() else {
            return Err(Refusal::refused(Reason::Unsupported, format!("{MARK}; only a scenario has drills")));
        };
        if self.commands.is_activating() {
            let text = format!("{MARK}; a scenario is being activated at this moment");
            return Err(Refusal::refused(Reason::Superseded, text));
        }
        let recent = |began: Instant| now.mono.saturating_duration_since(began) < PAUSE;
        if !self.drills.is_idle() || self.drills.began.is_some_and(recent) {
            let text = format!("{MARK}; there is at most one drill a minute, for all scenarios together");
            return Err(Refusal::refused(Reason::RateLimited, text));
        }
        self.enter(origin, Intent::Drill, now);
        let waited = now.utc.duration_since(origin.received_at);
        let waited = Duration::try_from(waited).unwrap_or_default();
        self.drills.began = Some(now.mono);
        self.drills.task = Some(Task {
            scenario,
            origin: origin.clone(),
            received: now.mono.checked_sub(waited).unwrap_or(now.mono),
            deadline: deadline.min(now.mono + WAITS),
            call: None,
        });
        let text = "drill: nothing will be activated; the way of an activate is tried up to its last step";
        Ok(vec![Effect::Report(Report::accepted(origin, text))])
    }

    /// The request of a drill that waits, behind every activate.
    pub(super) fn next_drill_call(&mut self, now: Now) -> Option<Call> {
        self.drills.task.as_ref().filter(|task| task.call.is_none() && now.mono < task.deadline)?;
        let id = self.reserve(LANE, now)?;
        let task = self.drills.task.as_mut()?;
        task.call = Some(id);
        self.calls.insert(id, Pending::Drill);
        self.readiness.begin(id, now);
        Some(Call { id, request: Request::Drill, send_before: task.deadline, opening: None })
    }

    /// A scenario is to be activated in earnest: a drill that was not sent gives way.
    pub(super) fn interrupt_drill(&mut self, now: Now) {
        if let Some(task) = self.drills.take_unsent() {
            let text = format!("{MARK}; a scenario was activated before the drill could be sent");
            let reason = Some(Reason::Superseded);
            self.report(&Report::end(&task.origin, Outcome::Expired, reason, text, now.utc), now);
        }
    }

    /// The gateway stops: a drill that was not sent will not be.
    pub(super) fn stop_drill(&mut self, now: Now) {
        if let Some(task) = self.drills.take_unsent() {
            let text = format!("{MARK}; the gateway is stopping");
            let reason = Some(Reason::Stopping);
            self.report(&Report::end(&task.origin, Outcome::Refused, reason, text, now.utc), now);
        }
    }

    /// The stop lasts no longer.
    pub(super) fn abandon_drill(&mut self, now: Now) {
        if let Some(task) = self.drills.task.take() {
            let text = format!("{MARK}; the gateway stopped before the drill ended");
            let reason = Some(Reason::Stopping);
            self.report(&Report::end(&task.origin, Outcome::Failed, reason, text, now.utc), now);
        }
    }

    /// Ends a drill that could not be sent in time.
    pub(super) fn expire_drill(&mut self, now: Now) {
        let over = |task: &mut Task| task.call.is_none() && now.mono >= task.deadline;
        if let Some(task) = self.drills.task.take_if(over) {
            let cause = "it could not be sent in time: the vendor's budget had no room";
            self.end_drill(&task, Err((Reason::Unreachable, cause.to_owned())), now);
        }
    }

    /// The reply to a drill.
    pub(super) fn finish_drill(&mut self, reply: Reply, now: Now) {
        let call = reply.id;
        let result = reply.result.and_then(|answer| {
            let Answer::Drilled(drilled) = answer else {
                return Err(Fault::Malformed(Trace::new("the answer does not fit the request")));
            };
            Ok(drilled)
        });
        if let Err(Fault::RateLimited { after, .. }) = &result {
            self.budget.close(*after, now.mono);
        }
        let Some(task) = self.drills.task.take_if(|task| task.call == Some(call)) else { return };
        let found = match result {
            Ok(drilled) if drilled.scenarios.items.iter().any(|listed| listed.id == task.scenario) => {
                Ok(drilled)
            }
            Ok(_) => Err((Reason::NotFound, "the vendor's list does not have the scenario".to_owned())),
            Err(fault) => Err((reason_of(&fault), fault.to_string())),
        };
        self.end_drill(&task, found, now);
    }

    fn end_drill(&mut self, task: &Task, found: Result<Drilled, (Reason, String)>, now: Now) {
        let (outcome, reason, text, took) = match &found {
            Ok(drilled) => {
                let since =
                    |at: Instant| at.saturating_duration_since(task.received).saturating_sub(drilled.aside);
                let (written, took) = (since(drilled.sent_at), since(drilled.answered_at));
                let text = format!(
                    "the request was written {} ms after the command came, and answered after {} ms; whether the key \
                     may activate is not proven by it",
                    written.as_millis(),
                    took.as_millis()
                );
                (Outcome::Done, None, text, Some(took))
            }
            Err((reason, text)) => (Outcome::Failed, Some(*reason), text.clone(), None),
        };
        self.readiness.note_drill(match found {
            Ok(_) => Proof::good(now),
            Err((_, text)) => Proof::bad(text, now),
        });
        self.scenarios.note_drill(&task.scenario, LastDrill { at: now.utc, outcome, took });
        let text = format!("{MARK}; {text}");
        self.report(&Report::end(&task.origin, outcome, reason, text, now.utc), now);
    }
}
