//! What must hold at every step.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::Value;
use verkada2mqtt::model::{Call, CallId, Outcome, Past, Publication, Reason, Record, Request, Stage, Target};

use crate::{
    DOORS, FICKLE, SCENARIOS, World,
    bench::{OUTCOMES, secs},
    people::Fed,
    truth::word_of,
};

/// Within this time somebody must be told of a lockdown that is not there yet.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// What became of commands, by their results and by what the vendor executed.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The command that is being handled.
    pub(crate) fed: Option<Fed>,
    /// How many the present run of the gateway was given.
    pub(crate) received: u64,
    /// All that were accepted, in all runs.
    pub(crate) accepted: BTreeMap<String, Accepted>,
    /// The newest accepted for each target, in this run.
    pub(crate) current: BTreeMap<String, String>,
    order: u64,
    /// The order of the newest accepted activate.
    last_activate: u64,
    /// Which command each act is for, by run and call: its id, and its order, for an id that was lost may come again.
    acts: BTreeMap<(u32, CallId), (String, u64)>,
    /// Scenarios with a lockdown that was sent and lost with the run: nobody knows what is under way there.
    pub(crate) disturbed: BTreeSet<String>,
    /// Scenarios with an alarm that nobody confirmed or acknowledged.
    raised: BTreeSet<String>,
    /// Which messages were handed to the present run, and which command was accepted for each.
    seen: BTreeSet<u64>,
    taken: BTreeMap<u64, String>,
    /// Lockdowns that were turned away with an alarm.
    pub(crate) turned_away: BTreeSet<u64>,
    /// Messages that were merged with another command.
    merged_messages: BTreeSet<u64>,
    /// Ids of commands that were merged with others and not lost with their run, and whether they are durable.
    merged: BTreeMap<String, bool>,
    /// Why the command that is being handled was turned away.
    pub(crate) refusal: Option<&'static str>,
    /// What somebody acknowledges right now and is not over yet.
    acknowledging: Option<BTreeSet<String>>,
    spent: Vec<Instant>,
    /// The same without the later pages of a reading.
    begun: Vec<Instant>,
    /// Results that this run published.
    results: BTreeSet<String>,
    /// Retained topics that were taken back and not filled again.
    taken_back: BTreeSet<String>,
    /// Events that this run told.
    told: BTreeSet<String>,
}

/// A command that was accepted.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Accepted {
    pub(crate) target: String,
    pub(crate) action: String,
    deadline: Instant,
    pub(crate) at: Instant,
    pub(crate) order: u64,
    pub(crate) executed: u32,
    /// Whether it was told that it is not done yet.
    told: bool,
    /// When it was received, as its results say it.
    received_at: String,
    /// How it ended, as it is written down.
    pub(crate) ended: Option<End>,
    /// Whether evidence settled it, or was waited for in vain.
    pub(crate) settled: bool,
    /// Whether the gateway ended before it was written down.
    pub(crate) lost: bool,
    /// Whether it is durable that it was accepted, how often that it may be sent, and how it ended.
    durable: bool,
    intents: u32,
    end_durable: bool,
    /// How many requests for it were let go.
    calls: u32,
    /// Whether somebody acknowledged that it is not there.
    acknowledged: bool,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) outcome: &'static str,
    pub(crate) reason: Option<&'static str>,
    pub(crate) at: Instant,
}

impl Ledger {
    /// Whether a message was handed to the present run before; notes that it is now.
    pub(crate) fn was_seen(&mut self, serial: u64) -> bool {
        !self.seen.insert(serial)
    }

    /// Whether a command was accepted for a message, and not lost.
    pub(crate) fn was_taken(&self, serial: u64) -> bool {
        self.taken.get(&serial).is_some_and(|id| !self.accepted[id].lost)
    }

    /// Whether its id was used before, or it was taken on.
    pub(crate) fn is_known(&self, fed: &Fed) -> bool {
        let used = fed.id.as_ref().and_then(|id| self.accepted.get(id)).is_some_and(|known| !known.lost);
        let merged = fed.id.as_ref().is_some_and(|id| self.merged.contains_key(id));
        used || merged || self.was_taken(fed.serial) || self.turned_away.contains(&fed.serial)
    }

    /// Whether a crash would lose that a message was taken on.
    pub(crate) fn is_volatile(&self, serial: u64) -> bool {
        let accepted = self.taken.get(&serial).map(|id| &self.accepted[id]);
        accepted.is_some_and(|accepted| !accepted.lost && !accepted.durable)
    }

    /// The lockdown of the scenario that is under way.
    pub(crate) fn activating(&self, target: &str) -> Option<String> {
        let id = self.current.get(target)?;
        let accepted = &self.accepted[id];
        (accepted.action == "activate" && accepted.ended.is_none()).then(|| id.clone())
    }

    /// Whether a lockdown of the scenario was accepted then, and not lost.
    pub(crate) fn was_activated(&self, target: &str, then: impl Fn(Instant) -> bool) -> bool {
        let mut accepted = self.accepted.values().filter(|one| one.action == "activate" && !one.lost);
        accepted.any(|one| one.target == target && then(one.at))
    }

    /// A lockdown that was under way counted for a message.
    pub(crate) fn merge(&mut self, serial: u64, other: &str) {
        if let Entry::Vacant(entry) = self.taken.entry(serial) {
            entry.insert(other.to_owned());
            self.merged_messages.insert(serial);
        }
    }

    pub(crate) fn is_raised(&self, scenario: &str) -> bool {
        self.raised.contains(scenario)
    }
}

impl World {
    /// A lockdown that has no name, and came before a crash or was acknowledged late, is not known any more, and neither is
    /// one that was merged right before a crash: better twice than not at all.
    fn may_come_again(&self, fed: Option<&Fed>, earlier: &Accepted) -> bool {
        let nameless = fed.is_some_and(|fed| fed.id.is_none() && fed.word == "ON");
        let late = fed.is_some_and(|fed| fed.dup) && self.now.mono - earlier.at > secs(4);
        let before = earlier.at < self.gateway.since;
        let merged = fed.is_some_and(|fed| {
            let known = fed.id.as_ref().is_some_and(|id| self.ledger.merged.contains_key(id));
            fed.word == "ON" && !known && self.ledger.merged_messages.contains(&fed.serial)
        });
        (nameless && (late || before)) || (merged && before)
    }

    /// The gateway ended, and with it all that it had not written down.
    pub(crate) fn forget_commands(&mut self) {
        let ledger = &mut self.ledger;
        ledger.received = 0;
        ledger.told.clear();
        ledger.spent.clear();
        ledger.begun.clear();
        ledger.seen.clear();
        ledger.merged.retain(|_, durable| *durable);
        ledger.current.clear();
        let mut newest: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
        let mut opened = None;
        for (id, accepted) in &mut ledger.accepted {
            if accepted.lost {
                continue;
            }
            let drill = accepted.action == "drill";
            if !accepted.durable || drill {
                // Nothing comes back to a drill.
                accepted.lost = true;
                if accepted.action == "activate" && accepted.calls > 0 {
                    ledger.disturbed.insert(accepted.target.clone());
                } else if !drill && accepted.calls > 0 {
                    opened = Some(id.clone());
                }
                continue;
            }
            if !accepted.end_durable {
                // It was told and not written down: the next run tells again.
                accepted.ended = None;
                accepted.settled = false;
            }
            let known = newest.entry(&accepted.target).or_default();
            if known.0 < accepted.order {
                *known = (accepted.order, id);
            }
        }
        let current = newest.into_iter().filter(|(_, (order, _))| *order > 0);
        let current = current.map(|(target, (_, id))| (target.to_owned(), id.to_owned())).collect();
        ledger.current = current;
        self.must(opened.is_none(), || {
            format!("{opened:?} was let go, and the next run knows nothing of it")
        });
        let scenarios: Vec<String> = self.ledger.raised.iter().cloned().collect();
        for scenario in scenarios {
            if !self.is_alarm_durable(&scenario) {
                self.ledger.raised.remove(&scenario);
            }
        }
    }

    /// The next run counts what the last one left.
    pub(crate) fn recall_commands(&mut self, past: &Past) {
        // One whose end did not reach the disk is raised again.
        self.ledger.raised.extend(past.alarms.iter().map(|alarm| alarm.scenario.to_string()));
        self.ledger.raised.extend(self.gateway.remembered_alarms());
        let open = past.commands.iter().filter(|command| command.end.is_none());
        self.ledger.received = u64::try_from(open.clone().count()).unwrap();
        for command in open {
            let known = self.ledger.accepted.get(&command.id).is_some_and(|known| !known.lost);
            self.must(known, || format!("{command:?} is nowhere"));
        }
    }

    pub(crate) fn check_step(&self) {
        self.check_books();
        self.check_lockdowns();
        if self.broker.up {
            self.check_scenarios();
        }
        if self.broker.up && !Self::is_stepping(self.seed) {
            self.check_locks();
            self.check_availability();
        }
    }

    // ---- publications ----

    pub(crate) fn publish(&mut self, publication: Publication) {
        self.publications += 1;
        self.note_act(&publication);
        let text = String::from_utf8(publication.payload.to_vec()).unwrap();
        let topic = publication.topic.as_str();
        if topic.ends_with("/state") || topic.ends_with("/result") || topic.ends_with("availability") {
            self.note(&format!("{topic} {text}"));
        }
        self.must(!(publication.retain && topic.ends_with("/set")), || "a retained command".to_owned());
        if publication.retain && text.is_empty() {
            // What was rightly taken back may be once more, by a later run too.
            if !self.ledger.taken_back.contains(topic) {
                self.check_removal(topic);
            }
            self.ledger.taken_back.insert(topic.to_owned());
        } else if publication.retain {
            self.ledger.taken_back.remove(topic);
        }
        if topic.ends_with("/result") {
            self.take_result(&text);
        } else if topic.ends_with("/event") {
            let event: Value = serde_json::from_str(&text).unwrap();
            let id = event["id"].as_str().unwrap().to_owned();
            self.must(!self.ledger.told.contains(&id), || format!("{id} is told twice"));
            self.ledger.told.insert(id);
        }
        self.broker.take(publication, self.now.mono);
    }

    /// Nothing is taken back before enough readings lacked it.
    fn check_removal(&self, topic: &str) {
        let id = |prefix: &str| topic.strip_prefix(prefix)?.split('/').next();
        let announced = |prefix: &str| id(prefix)?.strip_prefix("verkada2mqtt_door_");
        let roster = &self.truth.door_roster;
        if let Some(id) = id("verkada/door/").or_else(|| announced("homeassistant/device/")) {
            // An older memory may know it as taken back.
            let may = roster.may_go(id) || (self.gateway.forgot && id == FICKLE);
            self.must(may, || format!("{topic} is taken back too early"));
        }
        if let Some(id) = id("verkada/scenario/") {
            let roster = &self.truth.scenario_roster;
            self.must(roster.may_go(id), || format!("{topic} is taken back too early"));
        }
    }

    // ---- commands ----

    /// The core wants something to be written down.
    pub(crate) fn take_record(&mut self, record: &Record) {
        match (record.stage, &record.command, &record.target) {
            (Stage::Accepted, Some(id), _) => self.accept(id, record),
            (Stage::Ended, Some(id), _) => self.take_end(id, record),
            (Stage::Refused, id, _) => {
                self.ledger.refusal = record.reason.map(Reason::word);
                if let Some(id) = id {
                    self.take_repeat(id, record);
                    if record.outcome == Some(Outcome::Merged) {
                        self.ledger.merged.entry(id.clone()).or_default();
                    }
                }
            }
            (Stage::Alarm, _, Some(Target::Scenario(scenario))) => {
                self.note(&format!("alarm for {scenario}: {}", record.text));
                self.ledger.raised.insert(scenario.to_string());
            }
            (Stage::AlarmOver, _, Some(Target::Scenario(scenario))) => {
                self.note(&format!("alarm for {scenario} is over: {}", record.text));
                self.ledger.raised.remove(scenario.as_str());
                let active = self.truth.scenarios.get(scenario.as_str()).and_then(|known| known.state);
                let left = self.ledger.acknowledging.as_mut();
                let may = left.is_some_and(|left| left.remove(scenario.as_str())) || active == Some(true);
                self.must(may, || format!("the alarm for {scenario} ends by itself"));
            }
            _ => {}
        }
    }

    /// A record outlasts the run.
    pub(crate) fn note_durable(&mut self, record: &Record) {
        if record.reason == Some(Reason::Merged)
            && let Some(durable) = record.command.as_ref().and_then(|id| self.ledger.merged.get_mut(id))
        {
            *durable = true;
        }
        let Some(accepted) = record.command.as_ref().and_then(|id| self.ledger.accepted.get_mut(id)) else {
            return;
        };
        match record.stage {
            Stage::Accepted => accepted.durable = true,
            Stage::Sending => accepted.intents += 1,
            Stage::Ended => accepted.end_durable = true,
            _ => {}
        }
    }

    fn accept(&mut self, id: &str, record: &Record) {
        let fed = self.ledger.fed.clone().filter(|fed| fed.id.as_deref().is_none_or(|own| own == id));
        self.must(fed.as_ref().is_some_and(|fed| fed.may_run), || format!("{id} was accepted: {fed:?}"));
        let opens = fed.as_ref().is_some_and(|fed| ["OFF", "UNLOCK"].contains(&fed.word));
        let by_securing = fed.as_ref().is_some_and(|fed| fed.by_securing);
        self.must(!(opens && by_securing), || format!("the securing connection opens: {fed:?}"));
        let serial = fed.as_ref().map_or(0, |fed| fed.serial);
        let earlier = self.ledger.taken.get(&serial).map(|id| &self.ledger.accepted[id]);
        let again = earlier.is_none_or(|earlier| earlier.lost || self.may_come_again(fed.as_ref(), earlier));
        self.must(again, || format!("{fed:?} was taken on as {earlier:?}"));
        let known = self.ledger.accepted.get(id).filter(|known| !known.lost);
        self.must(known.is_none(), || format!("{id} was accepted twice: {known:?}"));
        let merged = self.ledger.merged.contains_key(id);
        self.must(!merged, || format!("{id} was accepted after it had been merged with another command"));
        let ledger = &mut self.ledger;
        ledger.order += 1;
        ledger.taken.insert(serial, id.to_owned());
        let Fed { target, deadline, .. } = fed.unwrap();
        let action = record.action.unwrap().to_owned();
        if action == "activate" {
            ledger.last_activate = ledger.order;
        }
        if action != "drill" {
            ledger.current.insert(target.clone(), id.to_owned());
            ledger.disturbed.remove(&target);
        }
        let accepted = Accepted {
            target,
            action,
            deadline,
            at: self.now.mono,
            order: ledger.order,
            executed: 0,
            told: false,
            received_at: told_time(record.received_at.unwrap()),
            ended: None,
            settled: false,
            lost: false,
            durable: false,
            intents: 0,
            end_durable: false,
            calls: 0,
            acknowledged: false,
        };
        ledger.accepted.insert(id.to_owned(), accepted);
    }

    fn take_end(&mut self, id: &str, record: &Record) {
        let accepted = &self.ledger.accepted[id];
        self.must(accepted.ended.is_none() && !accepted.lost, || {
            format!("{id} ended twice: {accepted:?}, then {record:?}")
        });
        let end = End {
            outcome: record.outcome.unwrap().word(),
            reason: record.reason.map(Reason::word),
            at: self.now.mono,
        };
        let scenario = accepted.target.trim_start_matches("scenario/");
        if end.outcome == "done" && ["activate", "release"].contains(&accepted.action.as_str()) {
            let activate = accepted.action == "activate";
            let times = if activate { &self.vendor.last_active } else { &self.vendor.last_inactive };
            let is = self.vendor.active[scenario] == activate;
            let was = times.get(scenario).is_some_and(|at| *at >= accepted.at);
            self.must(is || was, || format!("{id} is called done, but never was"));
        }
        if accepted.action == "activate" && end.outcome != "done" && end.reason != Some("superseded") {
            self.must(self.ledger.is_raised(scenario), || {
                format!("{id} did not happen, and there is no alarm: {end:?}")
            });
        }
        self.ledger.accepted.get_mut(id).unwrap().ended = Some(end);
    }

    /// A result says what is written down.
    fn take_result(&mut self, text: &str) {
        let result: Value = serde_json::from_str(text).unwrap();
        let id = result["id"].as_str().unwrap_or_default().to_owned();
        let outcome = result["outcome"].as_str().unwrap().to_owned();
        let said = !self.ledger.results.insert(text.to_owned());
        if let Some(resolved) = result["resolved"].as_str() {
            if !said {
                self.take_note(&id, resolved);
            }
            return;
        }
        let Some(known) = self.ledger.accepted.get_mut(&id).filter(|known| !known.lost) else { return };
        let same = result["received_at"] == known.received_at.as_str();
        if same && outcome == "accepted" {
            known.told |= !result["reason"].is_null();
        } else if same {
            let known = &self.ledger.accepted[&id];
            let fits = known.ended.as_ref().is_some_and(|end| end.outcome == outcome);
            self.must(fits || said, || format!("{known:?} is told to be {result}"));
        }
    }

    /// Another message under the id of a command that was taken on.
    fn take_repeat(&self, id: &str, record: &Record) {
        let Some(known) = self.ledger.accepted.get(id).filter(|known| !known.lost) else { return };
        let allowed: &[Outcome] = if record.action == Some(known.action.as_str()) {
            &[Outcome::Merged, Outcome::Refused]
        } else {
            &[Outcome::Refused]
        };
        let fits = record.outcome.is_some_and(|outcome| allowed.contains(&outcome));
        self.must(fits, || format!("{id} repeats {known:?} and is {record:?}"));
    }

    /// Evidence settled what had ended as unknown, or showed an unlock that was done: once, and not against the truth.
    fn take_note(&mut self, id: &str, resolved: &str) {
        let accepted = &self.ledger.accepted[id];
        let open = accepted.ended.as_ref().is_some_and(|end| {
            let shown = end.outcome == "done" && accepted.action == "unlock" && resolved == "seen";
            end.outcome == "unknown" || shown
        });
        self.must(open && !accepted.settled, || format!("{id} was settled out of turn: {accepted:?}"));
        if resolved == "seen" && accepted.action == "release" {
            let scenario = accepted.target.trim_start_matches("scenario/");
            let was = self.vendor.last_inactive.get(scenario).is_some_and(|at| *at >= accepted.at);
            self.must(was || !self.vendor.active[scenario], || format!("{id} was seen, and never was"));
        }
        // Of an unlock nothing can be said: another key may have unlocked the door, and the log does not tell them apart.
        self.ledger.accepted.get_mut(id).unwrap().settled = true;
    }

    pub(crate) fn check_command(&mut self, call: &Call) -> Option<String> {
        let target = match &call.request {
            Request::Unlock { door } => format!("door/{door}"),
            Request::Activate { scenario } | Request::Release { scenario } => format!("scenario/{scenario}"),
            Request::ListDoors | Request::ListScenarios | Request::ReadEvents { .. } | Request::Drill => {
                return None;
            }
            _ => panic!("the core does not ask this: {call:?}"),
        };
        let id = self.ledger.current.get(&target).cloned();
        self.must(id.is_some(), || format!("nobody asked for {:?}", call.request));
        let id = id?;
        let accepted = &self.ledger.accepted[&id];
        let asked = match &call.request {
            Request::Unlock { .. } => "unlock",
            Request::Activate { .. } => "activate",
            _ => "release",
        };
        self.must(accepted.action == asked, || format!("the last accepted is {accepted:?}, not to {asked}"));
        self.must(accepted.ended.is_none(), || {
            format!("{id} has ended already, and still: {:?}", call.request)
        });
        if asked != "activate" {
            let deadline = accepted.deadline;
            self.must(self.now.mono < deadline, || format!("{id} is sent after its deadline"));
            self.must(call.send_before <= deadline, || format!("{id} may be sent after its deadline"));
            self.must(accepted.order > self.ledger.last_activate, || {
                format!("{id} opens after a later lockdown")
            });
            self.must(call.opening == Some(self.gateway.bridge.turn()), || {
                "an opening call of no turn".to_owned()
            });
            self.must(!self.gateway.stopping, || format!("{id} opens while the gateway stops"));
            self.must(accepted.intents > accepted.calls, || {
                format!("it is not durable that {id} may be sent: {accepted:?}")
            });
            self.must(!self.is_broken(), || format!("{id} opens while the journal is broken"));
        }
        let order = accepted.order;
        self.ledger.acts.insert((self.gateway.run, call.id), (id.clone(), order));
        self.ledger.accepted.entry(id.clone()).and_modify(|accepted| accepted.calls += 1);
        Some(id)
    }

    /// The adapter writes a call: nothing from before a lockdown opens any more.
    pub(crate) fn check_written(&self, call: &Call) {
        if call.opening.is_some() {
            let (id, order) = &self.ledger.acts[&(self.gateway.run, call.id)];
            self.must(*order > self.ledger.last_activate, || {
                format!("{id} is written to the vendor after a later lockdown")
            });
        }
    }

    pub(crate) fn count_execution(&mut self, run: u32, call: CallId) {
        let (id, order) = self.ledger.acts[&(run, call)].clone();
        let accepted = self.ledger.accepted.get_mut(&id).unwrap();
        if accepted.order != order {
            return;
        }
        accepted.executed += 1;
        let (times, action) = (accepted.executed, accepted.action.clone());
        self.must(action == "activate" || times == 1, || format!("{id} was executed {times} times"));
    }

    /// Somebody is told within a second that a lockdown is not there yet, and no alarm ends by itself.
    fn check_lockdowns(&self) {
        let up = self.broker.since;
        for id in self.ledger.current.values() {
            let accepted = &self.ledger.accepted[id];
            if accepted.action != "activate" || accepted.ended.is_some() {
                continue;
            }
            let since = accepted.at.max(self.gateway.since);
            if self.now.mono - since <= TOLD_WITHIN {
                continue;
            }
            let scenario = accepted.target.trim_start_matches("scenario/");
            let alarmed = self.ledger.is_raised(scenario) || accepted.acknowledged;
            self.must(alarmed, || format!("there is no alarm for {id}: {accepted:?}"));
            self.must(accepted.told || up.is_none_or(|up| accepted.at < up), || {
                format!("nobody is told of {id}: {accepted:?}")
            });
        }
        if up.is_some() && self.broker.is_own("bridge/lockdown_alarm") && !self.ledger.raised.is_empty() {
            let shown = self.broker.shows("bridge/lockdown_alarm");
            self.must(shown == Some("ON"), || format!("the alarm for {:?} is {shown:?}", self.ledger.raised));
        }
    }

    /// Somebody acknowledges what is raised.
    pub(crate) fn note_acknowledged(&mut self) {
        let raised = &self.ledger.raised;
        for accepted in self.ledger.accepted.values_mut().filter(|accepted| accepted.ended.is_none()) {
            accepted.acknowledged |= raised.contains(accepted.target.trim_start_matches("scenario/"));
        }
        self.ledger.acknowledging = Some(raised.clone());
    }

    /// What was raised before is over; in the same step another may be raised.
    pub(crate) fn check_acknowledged(&mut self) {
        let left = self.ledger.acknowledging.take().unwrap_or_default();
        self.must(left.is_empty(), || format!("{left:?} is acknowledged"));
    }

    pub(crate) fn check_budget(&mut self, call: &Call) {
        let reads =
            matches!(call.request, Request::ListDoors | Request::ListScenarios | Request::ReadEvents { .. });
        self.ledger.spent.push(self.now.mono);
        if !matches!(call.request, Request::ReadEvents { page: Some(_), .. }) {
            self.ledger.begun.push(self.now.mono);
        }
        // A second between reads while something is confirmed: far from the bound, or it spins.
        let begun = self.ledger.begun.iter().rev();
        let begun = begun.take_while(|at| self.now.mono - **at < secs(5)).count();
        self.must(!self.quiet || begun <= 15, || format!("{begun} requests in 5 s of a quiet world"));
        for (window, all, read) in [(secs(5), 25, 23), (secs(60), 300, 270)] {
            let spent = self.ledger.spent.iter().rev();
            let used = spent.take_while(|at| self.now.mono - **at < window).count();
            let limit = if reads { read } else { all };
            self.must(used <= limit, || format!("{used} requests within {window:?}: {:?}", call.request));
        }
    }

    fn check_books(&self) {
        let books = self.gateway.bridge.status(self.now).books;
        let ended: u64 = OUTCOMES.iter().map(|outcome| books.ended(*outcome)).sum();
        // Of a message that both connections bring one copy counts.
        let new = books.received().checked_sub(self.ledger.received);
        self.must(new.is_some_and(|new| new <= u64::from(self.ledger.fed.is_some())), || {
            format!("{} of {} are counted", books.received(), self.ledger.received)
        });
        self.must(books.received() == ended + books.pending(), || format!("{books:?}"));
        self.must(self.gateway.bridge.is_idle() == (books.pending() == 0), || format!("{books:?}"));
    }

    // ---- what is shown ----

    /// Whether Home Assistant shows anything as available.
    fn is_alive(&self) -> bool {
        ["availability", "bridge/api/availability"]
            .iter()
            .all(|layer| self.broker.shows(layer) == Some("online"))
    }

    /// Whether it shows a thing as available. What was shown in the moment before a crash, and is not listed since, nobody
    /// knows of.
    fn is_available(&self, thing: &str) -> bool {
        let topic = format!("{thing}/availability");
        let unknown = thing.ends_with(FICKLE) || !self.gateway.wrote(thing);
        if self.gateway.forgot && unknown && !self.broker.is_own(&topic) {
            return false;
        }
        self.broker.shows(&topic) == Some("online")
    }

    /// LOCKED is shown only if the newest evidence says so. What an earlier run left counts where it looks alive.
    fn check_locks(&self) {
        let alive = self.is_alive();
        for id in DOORS {
            let topic = format!("door/{id}/state");
            if self.broker.shows(&topic) != Some("LOCKED") {
                continue;
            }
            if self.broker.is_own(&topic) || (alive && self.is_available(&format!("door/{id}"))) {
                let why = self.truth.speaks_against_locked(id, self.now);
                self.must(why.is_none(), || format!("{id} LOCKED {}", why.clone().unwrap()));
            }
        }
    }

    /// What is stale is not shown as available.
    fn check_availability(&self) {
        if !self.is_alive() {
            return;
        }
        for id in DOORS {
            if self.is_available(&format!("door/{id}")) {
                let why = self.truth.speaks_against_door(id, self.now);
                self.must(why.is_none(), || format!("{id} is available, but {why:?}"));
            }
        }
        for id in SCENARIOS {
            if self.is_available(&format!("scenario/{id}")) {
                let why = self.truth.speaks_against_scenario(self.now);
                self.must(why.is_none(), || format!("{id} is available, but {why:?}"));
            }
        }
    }

    /// A scenario is what the last list that counts said: one that was asked for after the last act.
    fn check_scenarios(&self) {
        for (id, known) in &self.truth.scenarios {
            let topic = format!("scenario/{id}/state");
            if self.broker.is_own(&topic) {
                let (shown, word) = (self.broker.shows(&topic), word_of(known.state));
                self.must(shown == Some(word), || format!("{id} is shown {shown:?}, and is {known:?}"));
            }
        }
    }
}

/// A time as results tell it.
fn told_time(at: Timestamp) -> String {
    if at.subsec_nanosecond() == 0 { at.to_string() } else { format!("{at:.3}") }
}
