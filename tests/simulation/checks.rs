//! What must hold at every step.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::Value;
use verkada2mqtt::model::{Call, CallId, Publication, Request};

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
    /// Which command each act is for, by run and call.
    acts: BTreeMap<(u32, CallId), String>,
    spent: Vec<Instant>,
    /// Results that this run published.
    results: BTreeSet<String>,
    /// Retained topics that were taken back and not filled again.
    taken_back: BTreeSet<String>,
    /// Events that this run told.
    told: BTreeSet<String>,
}

/// A command that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) target: String,
    pub(crate) action: String,
    deadline: Instant,
    at: Instant,
    order: u64,
    pub(crate) executed: u32,
    /// Whether it was told that it is not done yet.
    told: bool,
    /// When it was received, as its results say it.
    received_at: Value,
    /// As its results say it.
    pub(crate) ended: Option<Value>,
    /// Whether evidence settled it, or was waited for in vain.
    pub(crate) settled: bool,
    /// Whether the gateway ended before its end was heard.
    pub(crate) lost: bool,
}

impl World {
    /// The gateway ended, and with it all that it knew of commands.
    pub(crate) fn forget_commands(&mut self) {
        let ledger = &mut self.ledger;
        ledger.received = 0;
        ledger.current.clear();
        ledger.results.clear();
        ledger.told.clear();
        ledger.spent.clear();
        for accepted in ledger.accepted.values_mut().filter(|accepted| accepted.ended.is_none()) {
            accepted.lost = true;
        }
        self.people.forget();
    }

    pub(crate) fn check_step(&self) {
        self.check_books();
        if self.broker.up {
            self.check_locks();
            self.check_availability();
            self.check_scenarios();
            self.check_lockdowns();
        }
    }

    // ---- publications ----

    pub(crate) fn publish(&mut self, publication: Publication) {
        self.publications += 1;
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
        let known = self.ledger.accepted.get(&id).filter(|known| !known.lost);
        let same = known.is_some_and(|known| known.received_at == result["received_at"]);
        if known.is_none() && outcome == "accepted" {
            self.accept(&id, &result);
        } else if same && outcome == "accepted" {
            self.ledger.accepted.get_mut(&id).unwrap().told |= !result["reason"].is_null();
        } else if same && !said {
            self.take_end(&id, &result);
        } else if let Some(known) = known.filter(|_| !same) {
            // Another message under the same id.
            let repeats = known.action == result["action"].as_str().unwrap_or_default();
            let allowed: &[&str] = if repeats { &["merged", "refused"] } else { &["refused"] };
            self.must(allowed.contains(&outcome.as_str()), || {
                format!("{id} repeats {known:?} and is {result}")
            });
        }
    }

    fn accept(&mut self, id: &str, result: &Value) {
        let fed = self.ledger.fed.clone().filter(|fed| fed.id == id);
        self.must(fed.as_ref().is_some_and(|fed| fed.may_run), || format!("{id} was accepted: {fed:?}"));
        let ledger = &mut self.ledger;
        ledger.order += 1;
        let Fed { target, deadline, .. } = fed.unwrap();
        let action = result["action"].as_str().unwrap().to_owned();
        if action == "activate" {
            ledger.last_activate = ledger.order;
        }
        if action != "drill" {
            ledger.current.insert(target.clone(), id.to_owned());
        }
        let accepted = Accepted {
            target,
            action,
            deadline,
            at: self.now.mono,
            order: ledger.order,
            executed: 0,
            told: false,
            received_at: result["received_at"].clone(),
            ended: None,
            settled: false,
            lost: false,
        };
        ledger.accepted.insert(id.to_owned(), accepted);
    }

    fn take_end(&mut self, id: &str, result: &Value) {
        let accepted = &self.ledger.accepted[id];
        self.must(accepted.ended.is_none(), || format!("{id} ended twice: {accepted:?}, then {result}"));
        if result["outcome"] == "done" && ["activate", "release"].contains(&accepted.action.as_str()) {
            let scenario = accepted.target.trim_start_matches("scenario/");
            let activate = accepted.action == "activate";
            let times = if activate { &self.vendor.last_active } else { &self.vendor.last_inactive };
            let is = self.vendor.active[scenario] == activate;
            let was = times.get(scenario).is_some_and(|at| *at >= accepted.at);
            self.must(is || was, || format!("{id} is called done, but never was"));
        }
        self.ledger.accepted.get_mut(id).unwrap().ended = Some(result.clone());
    }

    /// Evidence settled what had ended as unknown: once, and not against the truth.
    fn take_note(&mut self, id: &str, resolved: &str) {
        let accepted = &self.ledger.accepted[id];
        let unknown = accepted.ended.as_ref().is_some_and(|end| end["outcome"] == "unknown");
        self.must(unknown && !accepted.settled, || format!("{id} was settled out of turn: {accepted:?}"));
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
        }
        self.ledger.acts.insert((self.gateway.run, call.id), id.clone());
        Some(id)
    }

    pub(crate) fn count_execution(&mut self, run: u32, call: CallId) {
        let id = self.ledger.acts[&(run, call)].clone();
        let accepted = self.ledger.accepted.get_mut(&id).unwrap();
        accepted.executed += 1;
        let (times, action) = (accepted.executed, accepted.action.clone());
        self.must(action == "activate" || times == 1, || format!("{id} was executed {times} times"));
    }

    /// Somebody is told within a second that a lockdown is not there yet.
    fn check_lockdowns(&self) {
        let since = self.broker.since.unwrap();
        for id in self.ledger.current.values() {
            let accepted = &self.ledger.accepted[id];
            let waits = accepted.action == "activate" && accepted.ended.is_none();
            let late = self.now.mono - accepted.at > TOLD_WITHIN && accepted.at >= since;
            self.must(!(waits && late) || accepted.told, || format!("nobody is told of {id}: {accepted:?}"));
        }
    }

    pub(crate) fn check_budget(&mut self, call: &Call) {
        let reads =
            matches!(call.request, Request::ListDoors | Request::ListScenarios | Request::ReadEvents { .. });
        self.ledger.spent.push(self.now.mono);
        for (window, all, read) in [(secs(5), 25, 23), (secs(60), 300, 270)] {
            let spent = self.ledger.spent.iter().rev();
            let used = spent.take_while(|at| self.now.mono - **at < window).count();
            let limit = if reads { read } else { all };
            self.must(used <= limit, || format!("{used} requests within {window:?}: {:?}", call.request));
            // A second between reads while something is confirmed, and pages: far from the bound, or it spins.
            let typical = if self.quiet { 60 } else { usize::MAX };
            self.must(window == secs(60) || used * 12 <= typical.saturating_mul(4), || {
                format!("{used} requests in {window:?} of a quiet world")
            });
        }
    }

    fn check_books(&self) {
        let books = self.gateway.bridge.status(self.now).books;
        let ended: u64 = OUTCOMES.iter().map(|outcome| books.ended(*outcome)).sum();
        self.must(books.received() == self.ledger.received, || {
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
