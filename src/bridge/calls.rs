//! Calls go out in the order of their lanes, and each reply finds its way back.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Bridge,
    access::Part,
    commands::{Effect, READ_EVERY},
    holds::Deleted,
    poller::{List, Trouble},
    records::Draft,
    report::Origin,
};
use crate::model::{
    AccessEvent, Action, Answer, Call, CallId, DoorId, EventKind, EventPage, Fault, Lane, Now, Push,
    RecordNumber, Reply, Request, ScenarioId, Stage, Target, Trace, User,
};

/// How long a read may wait before it is sent.
const READ_WAITS: Duration = Duration::from_secs(30);

/// What a call under way is for.
#[derive(Debug, Clone)]
pub(super) enum Pending {
    Read(List),
    /// The last hours of events once more.
    Late,
    Unlock(DoorId),
    Scenario(ScenarioId),
    /// A write into our calendar of a door, or into a calendar of others; with what it deletes.
    Calendar(Target, Option<Deleted>),
    Drill,
    /// Who may pass which door.
    Access(Part),
}

impl Bridge {
    pub(super) fn next_scenario_call(&mut self, action: Action, now: Now) -> Option<Call> {
        let lane = if action == Action::Activate { Lane::Activate } else { Lane::Release };
        let scenario = self.commands.next_scenario(action, now)?.clone();
        let id = self.reserve(lane, now)?;
        let (send_before, origin) = self.commands.start_scenario(&scenario, id)?;
        if !action.opens() {
            // A lockdown waits for no disk; what is written down of it may come after it.
            self.record_intent(&origin, now);
        }
        self.scenarios.note_act(&scenario, id);
        if action == Action::Activate {
            self.scenarios.note_activate(&scenario, now);
        }
        self.calls.insert(id, Pending::Scenario(scenario.clone()));
        self.readiness.begin(id, now);
        let request = if action == Action::Activate {
            Request::Activate { scenario }
        } else {
            Request::Release { scenario }
        };
        Some(Call { id, request, send_before, opening: action.opens().then_some(self.opening) })
    }

    pub(super) fn next_unlock_call(&mut self, now: Now) -> Option<Call> {
        let door = self.commands.next_door(now)?.clone();
        let id = self.reserve(Lane::Unlock, now)?;
        let user = self.commands.user_of(&door).cloned();
        let send_before = self.commands.start_unlock(&door, id)?;
        self.calls.insert(id, Pending::Unlock(door.clone()));
        let request = match user {
            Some(user) => Request::UnlockAs { door, user },
            None => Request::Unlock { door },
        };
        Some(Call { id, request, send_before, opening: Some(self.opening) })
    }

    pub(super) fn next_read(&mut self, now: Now) -> Option<Call> {
        if self.stopping && self.is_idle() {
            return None;
        }
        let (id, request, pending) = if let Some((list, lane)) = self.poller.next_due(now) {
            let id = self.reserve(lane, now)?;
            if list == List::Scenarios {
                self.readiness.begin(id, now);
            }
            (id, self.poller.start(list, id, now), Pending::Read(list))
        } else if self.poller.is_late_due(now) {
            let id = self.reserve(Lane::Poll, now)?;
            (id, self.poller.start_late(now), Pending::Late)
        } else {
            return None;
        };
        self.calls.insert(id, pending);
        Some(Call { id, request, send_before: now.mono + READ_WAITS, opening: None })
    }

    /// Writes down that requests of opening commands may go out, as soon as they may. Each goes out once that is durable.
    pub(super) fn write_intents(&mut self, now: Now) {
        for origin in self.commands.unrecorded(now) {
            let number = self.record_intent(&origin, now);
            self.commands.record_intent(&origin.target, number);
        }
        for origin in self.holds.tasks.unrecorded(now) {
            let number = self.record_intent(&origin, now);
            self.holds.tasks.record_intent(&origin.target, number);
        }
    }

    pub(super) fn record_intent(&mut self, origin: &Origin, now: Now) -> RecordNumber {
        let text = "a request to the vendor may be written from now on";
        // The vendor's log will name this person, and whoever compares the two needs to know which.
        let text = match &origin.user {
            None => text.to_owned(),
            Some(User::Id(id)) => format!("{text}, in the name of user {id}"),
            Some(User::External(id)) => format!("{text}, in the name of the user with external id {id:?}"),
        };
        let draft = Draft { stage: Stage::Sending, origin, outcome: None, reason: None, text: &text };
        self.records.add(&draft, now.utc)
    }

    /// Takes a share of the budget, if the lane has one at once.
    pub(super) fn reserve(&mut self, lane: Lane, now: Now) -> Option<CallId> {
        if self.budget.free_at(lane, now.mono) > now.mono {
            return None;
        }
        self.budget.charge(1, now.mono);
        self.last_call = CallId(self.last_call.0 + 1);
        Some(self.last_call)
    }

    pub(super) fn take_reply(&mut self, reply: Reply, now: Now) {
        self.budget.charge(reply.requests.saturating_sub(1), now.mono);
        self.readiness.end(reply.id, reply.result.is_ok(), now);
        let Some(pending) = self.calls.remove(&reply.id) else { return };
        let misfit = || Fault::Malformed(Trace::new("the answer does not fit the request"));
        match pending {
            Pending::Unlock(door) => {
                let result = reply.result.and_then(|answer| {
                    let Answer::Unlocked(unlocked) = answer else { return Err(misfit()) };
                    Ok(unlocked)
                });
                let effects = self.commands.finish_unlock(&door, result, now);
                self.perform(effects, now);
            }
            Pending::Scenario(scenario) => {
                let result = reply.result.and_then(|answer| {
                    let Answer::Taken = answer else { return Err(misfit()) };
                    Ok(())
                });
                self.readiness.note_act(result.as_ref().copied(), now);
                let effects = match self.commands.finish_replaced(&scenario, reply.id, self.last_call, now) {
                    Some(effect) => {
                        if let Err(Fault::RateLimited { after, .. }) = &result {
                            self.budget.close(*after, now.mono);
                        }
                        vec![effect]
                    }
                    None => self.commands.finish_scenario(&scenario, reply.id, result, now),
                };
                self.perform(effects, now);
            }
            Pending::Calendar(target, deleted) => self.finish_write(&target, deleted, reply, now),
            Pending::Drill => self.finish_drill(reply, now),
            Pending::Access(part) => self.take_access(part, reply.id, reply.result, now),
            Pending::Late => {
                if let Err(Fault::RateLimited { after, .. }) = &reply.result {
                    self.budget.close(*after, now.mono);
                }
                let page = reply.result.and_then(|answer| {
                    let Answer::Events(page) = answer else { return Err(misfit()) };
                    Ok(page)
                });
                for event in self.poller.take_late(page, now) {
                    let settled = self.settlements.learn(&event);
                    self.resolve(settled, now);
                    self.learn(&event, now);
                }
            }
            Pending::Read(list) => {
                let result = reply.result.and_then(|answer| self.take_list(list, answer, reply.id, now));
                let fault = result.as_ref().err().cloned();
                match result {
                    Ok(complete) => self.read_well(list, complete, now),
                    Err(fault) => self.read_badly(list, &fault, now),
                }
                if list == List::Calendars {
                    self.seek_calendars(fault.as_ref(), now);
                }
                self.seek_evidence(now);
            }
        }
    }

    /// Takes what a reading gave; says whether the reading is complete.
    fn take_list(&mut self, list: List, answer: Answer, read: CallId, now: Now) -> Result<bool, Fault> {
        match (list, answer) {
            (List::Doors, Answer::Doors(doors)) => {
                self.note_skipped("doors", &doors.skipped);
                self.gateway.note_left_out(list, doors.skipped.len());
                let settings = &self.settings;
                let choices = |id: &DoorId| settings.choices(id);
                let listed = doors.items.iter().map(|door| door.id.clone()).collect();
                let complete = doors.skipped.is_empty();
                self.doors.observe(doors, &settings.doors, choices, now);
                self.doors.cover(&self.scenarios.covered(), now);
                self.judge_ghost_doors(&listed, complete, now);
                self.holds.note_doors();
                self.exceptions.note_doors();
                Ok(true)
            }
            (List::Scenarios, Answer::Scenarios(scenarios)) => {
                self.note_skipped("scenarios", &scenarios.skipped);
                self.gateway.note_left_out(list, scenarios.skipped.len());
                let listed: BTreeSet<ScenarioId> =
                    scenarios.items.iter().map(|scenario| scenario.id.clone()).collect();
                let complete = scenarios.skipped.is_empty();
                self.scenarios.observe(scenarios, &self.settings.scenarios, read, now);
                self.judge_ghost_scenarios(&listed, complete, now);
                let known = &self.scenarios;
                // What this list left out, it says nothing of, whatever an earlier one said.
                let record = |id: &ScenarioId| known.get(id).filter(|_| listed.contains(id));
                let state = |id: &ScenarioId| record(id).map(|record| record.scenario.state.clone());
                let effects = self.commands.confirm(read, state, now);
                let settled = self.settlements.observe(read, state);
                self.perform(effects, now);
                self.resolve(settled, now);
                self.confirm_lockdowns(&listed, now);
                Ok(true)
            }
            (List::Events, Answer::Events(page)) => self.take_events(page, now),
            (List::Calendars, Answer::Calendars(calendars)) => {
                self.note_skipped("exception calendars", &calendars.skipped);
                self.gateway.note_left_out(list, calendars.skipped.len());
                self.take_calendars(calendars, read, now);
                Ok(true)
            }
            _ => Err(Fault::Malformed(Trace::new("the answer does not fit the request"))),
        }
    }

    fn take_events(&mut self, page: EventPage, now: Now) -> Result<bool, Fault> {
        self.note_skipped("events", &page.skipped);
        let Some(fresh) = self.poller.take_page(page, now)? else { return Ok(false) };
        for event in &fresh.events {
            let settled = self.settlements.learn(event);
            self.resolve(settled, now);
            if fresh.history {
                self.doors.apply(event, now);
                continue;
            }
            self.webhooks.reconcile(event.at, now);
            if event.kind == EventKind::Lockdown {
                self.poller.hurry(List::Scenarios, now.mono);
            }
            self.learn(event, now);
        }
        Ok(true)
    }

    /// A webhook is evidence like any other and may prompt a read. It is never a command.
    pub(super) fn take_push(&mut self, push: Push, now: Now) {
        self.webhooks.deliver(now);
        match push {
            Push::Event(event) => {
                if !self.poller.is_first(&event) {
                    return;
                }
                let settled = self.settlements.learn(&event);
                self.resolve(settled, now);
                self.doors.apply(&event, now);
                // A delivery from before the start may have been told by the run before.
                if event.at >= self.started && self.poller.is_news(&event) {
                    self.tell_event(&event, now);
                }
            }
            Push::ReadScenarios => {
                let at = self.webhooks.nudge(now);
                self.poller.hurry(List::Scenarios, at);
            }
            Push::ReadEvents => {
                let at = self.webhooks.nudge(now);
                self.poller.hurry(List::Events, at);
            }
        }
    }

    /// Takes an event as evidence, and tells it where it is news.
    fn learn(&mut self, event: &AccessEvent, now: Now) {
        self.doors.apply(event, now);
        if self.poller.is_news(event) {
            self.tell_event(event, now);
        }
    }

    fn read_well(&mut self, list: List, complete: bool, now: Now) {
        if !complete {
            return;
        }
        self.poller.succeed(list, now);
        if self.said.remove(&list).is_some() && self.lists_told.remove(&list) {
            tracing::info!(list = list.word(), "the vendor's list can be read again");
        }
    }

    fn read_badly(&mut self, list: List, fault: &Fault, now: Now) {
        if let Fault::RateLimited { after, .. } = fault {
            self.budget.close(*after, now.mono);
        }
        self.poller.fail(list, fault, now);
        if list == List::Events && matches!(fault, Fault::Forbidden(_)) {
            self.doors.forget_evidence();
            self.poller.forget_events();
        }
        let Some(trouble) = self.poller.trouble(list).cloned() else { return };
        let passing = matches!(trouble, Trouble::Passing(_));
        let known = match self.said.get(&list) {
            Some(Trouble::Passing(_)) if passing => true,
            said => said == Some(&trouble),
        };
        // One cause is one sentence, however many lists it spoils.
        let told = self.said.values().any(|said| said.text() == trouble.text());
        let news = !(known || told || (passing && self.poller.is_fresh(list, now)));
        if !(news && self.lists_quiet.entry(list).or_default().may_tell(now.mono)) {
            tracing::debug!(list = list.word(), cause = %fault, "a reading failed; it is repeated");
        } else if passing {
            self.lists_told.insert(list);
            tracing::warn!(list = list.word(), cause = %fault, "the vendor's list cannot be read; it is asked for again and again");
        } else {
            self.lists_told.insert(list);
            tracing::warn!(list = list.word(), cause = %fault, "the vendor refuses to show a list; it is asked again each minute");
        }
        if !passing || !self.poller.is_fresh(list, now) {
            self.said.insert(list, trouble);
        }
    }

    /// Does what the tasks of commands want.
    pub(super) fn perform(&mut self, effects: Vec<Effect>, now: Now) {
        for effect in effects {
            match effect {
                Effect::Report(report) => self.report(&self.with_tally(report), now),
                Effect::ReadScenarios(at) => self.poller.hurry(List::Scenarios, at),
                Effect::ReadEvents(at) => self.poller.hurry(List::Events, at),
                Effect::ReadCalendars(at) => self.poller.hurry(List::Calendars, at),
                Effect::Unlocking(door) => self.doors.unlocking(&door, now),
                Effect::Unlocked(door, unlocked) => {
                    let relock = self.doors.unlocked(&door, unlocked.duration, now);
                    self.poller.hurry(List::Events, relock + READ_EVERY);
                }
                Effect::NotUnlocked(door) => self.doors.not_unlocked(&door),
                Effect::Unsure(door) => self.doors.unsure(&door, now),
                Effect::RateLimited(after) => self.budget.close(after, now.mono),
                Effect::ListsAreOld => {
                    self.refresh(&[List::Doors, List::Scenarios], now);
                }
                Effect::Alarm(scenario, alarming) => self.raise(&scenario, &alarming, now),
                Effect::ReadBack(origin, text) => {
                    let stage = Stage::ReadBack;
                    let draft = Draft { stage, origin: &origin, outcome: None, reason: None, text: &text };
                    self.records.add(&draft, now.utc);
                }
            }
        }
    }

    pub(super) fn note_skipped(&mut self, what: &'static str, skipped: &[String]) {
        for sentence in skipped.iter().take(8) {
            if self.skipped_said.len() < 256 && self.skipped_said.insert(sentence.clone()) {
                tracing::warn!(what, cause = ?sentence, "an element of a list cannot be read and is left out");
            }
        }
    }
}
