//! Lockdowns that were asked for and are not confirmed: somebody has to know, and it stays told until a read shows the
//! scenario active or somebody acknowledges.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use serde_json::json;

use super::{Bridge, commands::Alarming, records::Draft, report::Origin, retained::Rank, view};
use crate::{
    hass::{LOCKDOWN_NEWS, name, payload::Verb},
    model::{Action, Now, PastAlarm, Publication, Qos, Reason, ScenarioId, ScenarioState, Stage, Target},
};

/// How often the log repeats what was given up and nobody acknowledged.
const REPEAT: Duration = Duration::from_secs(10);
/// How many scenarios are told apart; anybody can ask for one that does not exist.
const MAX_RAISED: usize = 100;

/// Why a lockdown is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Alarm {
    /// Since when.
    pub(super) since: Timestamp,
    /// A sentence for people: the newest cause.
    pub(super) cause: String,
    /// Whether it is not tried any more.
    pub(super) given_up: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    raised: BTreeMap<ScenarioId, Alarm>,
    repeat_at: Option<Instant>,
    changed: bool,
    /// How many were raised in this run.
    count: u64,
}

impl Alarms {
    /// Those that an earlier run left: whatever it tried, it tries no more.
    pub(super) fn remembered(earlier: BTreeMap<ScenarioId, Alarm>, now: Now) -> Self {
        let raised: BTreeMap<_, _> =
            earlier.into_iter().map(|(id, alarm)| (id, Alarm { given_up: true, ..alarm })).collect();
        Self { repeat_at: (!raised.is_empty()).then_some(now.mono), raised, changed: false, count: 0 }
    }

    /// One that the journal knows of; the memory may have been written before it.
    pub(super) fn recall(&mut self, alarm: PastAlarm, now: Now) {
        if self.raised.len() >= MAX_RAISED {
            return;
        }
        let PastAlarm { scenario, since, cause } = alarm;
        self.raised.entry(scenario).or_insert_with(|| {
            self.changed = true;
            Alarm { since, cause, given_up: true }
        });
        self.repeat_at.get_or_insert(now.mono);
    }

    /// Raises it, or says the newest cause of one that is raised. Returns whether it is news: raised, or given up.
    pub(super) fn raise(&mut self, id: &ScenarioId, cause: &str, given_up: bool, now: Now) -> bool {
        if self.raised.len() >= MAX_RAISED && !self.raised.contains_key(id) {
            return false;
        }
        let known = self.raised.get(id);
        let since = known.map_or(now.utc, |alarm| alarm.since);
        let is_news = known.is_none_or(|alarm| given_up && !alarm.given_up);
        let alarm = Alarm { since, cause: cause.to_owned(), given_up };
        self.changed |= known != Some(&alarm);
        self.count += u64::from(known.is_none());
        self.raised.insert(id.clone(), alarm);
        if given_up {
            self.repeat_at.get_or_insert(now.mono + REPEAT);
        }
        is_news
    }

    /// A read shows the scenario active. Returns the alarm that this ends.
    pub(super) fn confirm(&mut self, id: &ScenarioId) -> Option<Alarm> {
        let over = self.raised.remove(id);
        self.changed |= over.is_some();
        over
    }

    /// Somebody knows. Returns what this ends.
    pub(super) fn acknowledge(&mut self) -> BTreeMap<ScenarioId, Alarm> {
        self.changed |= !self.raised.is_empty();
        std::mem::take(&mut self.raised)
    }

    /// What is raised.
    pub(super) const fn raised(&self) -> &BTreeMap<ScenarioId, Alarm> {
        &self.raised
    }

    /// How many were raised in this run.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// Whether something changed since the last time.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whether what was given up is to be logged again.
    pub(super) fn is_repeat_due(&mut self, now: Instant) -> bool {
        let due = self.repeat_at.is_some_and(|at| at <= now);
        if due {
            let given_up = self.raised.values().any(|alarm| alarm.given_up);
            self.repeat_at = given_up.then(|| now + REPEAT);
            return given_up;
        }
        false
    }

    /// When [`Alarms::is_repeat_due`] should be asked.
    pub(super) const fn next_repeat(&self) -> Option<Instant> {
        self.repeat_at
    }
}

/// What is said once of an alarm.
#[derive(Debug, Clone, Copy)]
enum News {
    Raised,
    GivenUp,
    Confirmed,
    Acknowledged,
}

impl News {
    /// The event type in Home Assistant.
    const fn word(self) -> &'static str {
        let [raised, given_up, confirmed, acknowledged] = LOCKDOWN_NEWS;
        match self {
            Self::Raised => raised,
            Self::GivenUp => given_up,
            Self::Confirmed => confirmed,
            Self::Acknowledged => acknowledged,
        }
    }
}

impl Bridge {
    /// A lockdown that was asked for is not there.
    pub(super) fn raise(&mut self, scenario: &ScenarioId, alarming: &Alarming, now: Now) {
        let Alarming { origin, cause, given_up } = alarming;
        if !self.alarms.raise(scenario, cause, *given_up, now) {
            return;
        }
        tracing::error!(scenario_id = %scenario, given_up, cause, "a lockdown was asked for and is not confirmed");
        self.record_alarm(Stage::Alarm, origin, cause, now);
        self.tell_lockdown(if *given_up { News::GivenUp } else { News::Raised }, scenario, cause, now);
    }

    /// The gate turned an activate away: it does not happen, and whoever asked may not look at the result.
    pub(super) fn raise_refused(&mut self, origin: &Origin, reason: Reason, cause: &str, now: Now) {
        let Target::Scenario(scenario) = &origin.target else { return };
        let asked = origin.verb == Some(Verb::Activate);
        if !asked || matches!(reason, Reason::Merged | Reason::Duplicate) {
            return;
        }
        let scenario = scenario.clone();
        let alarming = Alarming { origin: origin.clone(), cause: cause.to_owned(), given_up: true };
        self.raise(&scenario, &alarming, now);
    }

    /// A list of scenarios was read: what it shows active and what nothing contrary is under way for, is confirmed.
    pub(super) fn confirm_lockdowns(&mut self, listed: &BTreeSet<ScenarioId>, now: Now) {
        let is_active = |id: &&ScenarioId| {
            listed.contains(*id)
                && self.scenarios.get(id).is_some_and(|record| record.scenario.state == ScenarioState::Active)
                && !self.commands.merges_scenario(id, Action::Activate)
        };
        let confirmed: Vec<ScenarioId> = self.alarms.raised().keys().filter(is_active).cloned().collect();
        for id in confirmed {
            if self.alarms.confirm(&id).is_some() {
                let text = "a read shows the scenario active";
                tracing::info!(scenario_id = %id, "the lockdown that was asked for is confirmed");
                self.end_alarm(&id, News::Confirmed, text, now);
            }
        }
    }

    /// Somebody knows.
    pub(super) fn acknowledge(&mut self, now: Now) {
        for (id, alarm) in self.alarms.acknowledge() {
            tracing::info!(scenario_id = %id, cause = alarm.cause, "somebody acknowledged that a lockdown is not confirmed");
            self.end_alarm(&id, News::Acknowledged, &alarm.cause, now);
        }
    }

    /// Shows what changed, and repeats in the log what nobody acknowledged.
    pub(super) fn tell_alarms(&mut self, now: Now) {
        if self.alarms.is_repeat_due(now.mono) {
            let given_up = self.alarms.raised().iter().filter(|(_, alarm)| alarm.given_up);
            let scenarios: Vec<&str> = given_up.map(|(id, _)| id.as_str()).take(10).collect();
            tracing::error!(
                ?scenarios,
                "lockdowns that were asked for did not happen, and nobody has acknowledged it"
            );
        }
        if self.alarms.take_changed() {
            self.shown_changed = true;
            self.show_alarms();
        }
    }

    pub(super) fn show_alarms(&mut self) {
        let raised = self.alarms.raised();
        let word = if raised.is_empty() { "OFF" } else { "ON" };
        let entries: Vec<_> = raised
            .iter()
            .map(|(id, alarm)| {
                json!({
                    "scenario_id": id.as_str(),
                    "name": self.scenario_name(id),
                    "since": view::time(alarm.since),
                    "cause": alarm.cause,
                    "given_up": alarm.given_up,
                })
            })
            .collect();
        let attributes = view::bytes_of(&json!({ "scenarios": entries }));
        self.show(Rank::State, self.topics.bridge("lockdown_alarm_attributes"), attributes);
        self.show(Rank::State, self.topics.bridge("lockdown_alarm"), word);
    }

    fn end_alarm(&mut self, id: &ScenarioId, news: News, text: &str, now: Now) {
        let origin = Origin::of_nobody(Target::Scenario(id.clone()), now.utc);
        self.record_alarm(Stage::AlarmOver, &origin, &format!("{}: {text}", news.word()), now);
        self.tell_lockdown(news, id, text, now);
    }

    fn record_alarm(&mut self, stage: Stage, origin: &Origin, text: &str, now: Now) {
        self.records.add(&Draft { stage, origin, outcome: None, reason: None, text }, now.utc);
    }

    fn tell_lockdown(&mut self, news: News, id: &ScenarioId, text: &str, now: Now) {
        let payload = view::bytes_of(&json!({
            "event_type": news.word(),
            "scenario_id": id.as_str(),
            "name": self.scenario_name(id),
            "message": text,
            "time": view::time(now.utc),
        }));
        let topic = self.topics.bridge("lockdown_event");
        let (qos, retain) = (Qos::AtLeastOnce, false);
        self.outbox.push_first(Publication { topic, payload, qos, retain, correlation: None });
    }

    fn scenario_name(&self, id: &ScenarioId) -> Option<String> {
        self.scenarios.get(id)?.scenario.name.as_deref().and_then(name::shown)
    }
}
