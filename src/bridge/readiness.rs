//! Lockdown readiness: whether a scenario could be activated now, judged by what was last seen to work.
//!
//! Whether the key may activate cannot be read: the vendor tells it only to an activate. So that it may is never
//! claimed before one was taken; that it may not is remembered once one was refused.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    Bridge,
    links::UNPROVEN_LASTS,
    picture::CheckRow,
    poller::{List, Trouble},
    retained::Rank,
    view,
};
use crate::{
    hass::payload,
    model::{CallId, Fault, Lane, Now, TokenState},
};

/// How long the budget may keep an activate waiting: as long as the vendor's shortest interval.
const BUDGET_WAITS: Duration = Duration::from_secs(5);
/// A round trip longer than this is too slow for a lockdown.
const SLOW: Duration = Duration::from_secs(4);
/// How far this machine's clock may be behind the vendor's: beyond it commands seem to come from the future.
const MAX_BEHIND: SignedDuration = SignedDuration::from_secs(5);
/// How far it may be ahead: beyond it commands look old.
const MAX_AHEAD: SignedDuration = SignedDuration::from_secs(30);
/// Readings of the vendor's clock differ by this much although nothing changed: it is told in whole seconds.
const CLOCK_NOISE: SignedDuration = SignedDuration::from_secs(2);
/// How long something must be so before the log says it: what causes it has its own line, which shall come first.
const STANDS: Duration = Duration::from_secs(2);
/// The least time between two lines of the log.
const TOLD_EVERY: Duration = Duration::from_mins(1);
/// How many scenarios are named.
const MAX_NAMES: usize = 5;

/// One thing that a lockdown needs, in the order in which a command meets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Check {
    /// A heartbeat comes back from the broker.
    Broker,
    /// One comes back on the connection that carries only scenarios as well.
    Securing,
    /// The configuration lets scenarios be activated.
    Allowed,
    /// The clock is right, so that stamped commands are neither old nor from the future.
    Clock,
    /// The vendor takes the key.
    Token,
    /// The scenarios can be read.
    Scenarios,
    /// There is one.
    Listed,
    /// The vendor's budget has room.
    Budget,
    /// The vendor answers soon enough.
    RoundTrip,
    /// The vendor took the last activate or release, or refused it.
    Activate,
    /// How the last drill ended.
    Drill,
}

impl Check {
    /// Every check.
    const ALL: [Self; 11] = [
        Self::Broker,
        Self::Securing,
        Self::Allowed,
        Self::Clock,
        Self::Token,
        Self::Scenarios,
        Self::Listed,
        Self::Budget,
        Self::RoundTrip,
        Self::Activate,
        Self::Drill,
    ];

    /// The word in the attributes.
    const fn word(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Securing => "securing",
            Self::Allowed => "allowed",
            Self::Clock => "clock",
            Self::Token => "token",
            Self::Scenarios => "scenarios",
            Self::Listed => "listed",
            Self::Budget => "budget",
            Self::RoundTrip => "round_trip",
            Self::Activate => "activate",
            Self::Drill => "drill",
        }
    }

    /// Whether readiness is unknown until this is known. What may never be known stands against it only once it is
    /// known to be wrong.
    const fn is_needed(self) -> bool {
        match self {
            Self::Broker
            | Self::Securing
            | Self::Allowed
            | Self::Token
            | Self::Scenarios
            | Self::Listed
            | Self::Budget => true,
            Self::Clock | Self::RoundTrip | Self::Activate | Self::Drill => false,
        }
    }
}

/// What one look at a check finds.
#[derive(Debug)]
enum Finding {
    /// It is as it should be.
    Good(Cow<'static, str>),
    /// It is not.
    Bad(Cow<'static, str>),
    /// It cannot be known.
    Unproven(&'static str),
    /// It may pass: what was found last still stands.
    Pending,
}

/// What an act or a drill proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proof {
    at: Timestamp,
    /// Why it failed, if it did.
    failure: Option<String>,
}

impl Proof {
    /// It worked.
    pub(super) const fn good(now: Now) -> Self {
        Self { at: now.utc, failure: None }
    }

    /// It failed.
    pub(super) fn bad(why: impl Into<String>, now: Now) -> Self {
        Self { at: now.utc, failure: Some(why.into()) }
    }
}

/// What is shown of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    ok: Option<bool>,
    since: Timestamp,
    text: Cow<'static, str>,
}

/// All that readiness remembers.
#[derive(Debug)]
pub(super) struct Readiness {
    checks: BTreeMap<Check, Shown>,
    /// Since when no heartbeat is known to come back, while that is so.
    unproven_since: Option<Instant>,
    /// The same for the connection that carries only scenarios.
    securing_unproven_since: Option<Instant>,
    /// By how much the vendor's clock is ahead of ours.
    skew: Option<SignedDuration>,
    /// Whether the last reading contradicted it.
    skew_doubted: bool,
    /// When calls that prove something were handed out.
    begun: BTreeMap<CallId, Instant>,
    /// How long the last act, drill or reading of scenarios took that worked.
    trip: Option<Duration>,
    /// Whether the trip before the last one was slow.
    was_slow: bool,
    act: Option<Proof>,
    drill: Option<Proof>,
    /// Whether a lockdown could be started at any time since the gateway started.
    was_ready: bool,
    /// What the log said last, and when.
    told: Option<(bool, Instant)>,
    /// Since when the contrary is so.
    differs_since: Option<Instant>,
}

impl Readiness {
    pub(super) fn new(now: Now) -> Self {
        let unknown = Shown { ok: None, since: now.utc, text: Cow::Borrowed("not known yet") };
        Self {
            checks: Check::ALL.map(|check| (check, unknown.clone())).into(),
            unproven_since: Some(now.mono),
            securing_unproven_since: Some(now.mono),
            skew: None,
            skew_doubted: false,
            begun: BTreeMap::new(),
            trip: None,
            was_slow: false,
            act: None,
            drill: None,
            was_ready: false,
            told: None,
            differs_since: None,
        }
    }

    /// The answer: `None` where it is not known yet.
    pub(super) fn verdict(&self) -> Option<bool> {
        if self.checks.values().any(|shown| shown.ok == Some(false)) {
            return Some(false);
        }
        let known = self.checks.iter().all(|(check, shown)| shown.ok.is_some() || !check.is_needed());
        known.then_some(true)
    }

    /// The vendor's clock was read. What one reading says against those before counts only once the next one says the
    /// same.
    pub(super) fn note_clock(&mut self, skew: SignedDuration) {
        let agrees = self.skew.is_some_and(|known| (skew - known).abs() <= CLOCK_NOISE);
        let first = self.skew.is_none();
        if first || (!agrees && self.skew_doubted) {
            self.skew = Some(skew);
        }
        self.skew_doubted = !agrees && !first && !self.skew_doubted;
    }

    /// A call was handed out whose reply will show how long the way takes.
    pub(super) fn begin(&mut self, call: CallId, now: Now) {
        self.begun.insert(call, now.mono);
    }

    /// The reply to such a call came.
    pub(super) fn end(&mut self, call: CallId, worked: bool, now: Now) {
        let Some(begun) = self.begun.remove(&call) else { return };
        if worked {
            let took = now.mono.saturating_duration_since(begun);
            self.was_slow = self.trip.replace(took).is_some_and(|last| last > SLOW);
        }
    }

    /// The vendor took an activate or release, or answered that it may not be. Both need the same permission and
    /// toggle (`verkada-api.md` 3.5); other failures prove nothing about them.
    pub(super) fn note_act(&mut self, result: Result<(), &Fault>, now: Now) {
        match result {
            Ok(()) => {
                self.act = Some(Proof::good(now));
                // Acts go the way that drills try.
                self.drill = self.drill.take().filter(|drill| drill.failure.is_none());
            }
            Err(fault @ (Fault::Forbidden(_) | Fault::Unauthorized(_))) => {
                self.act = Some(Proof::bad(fault.to_string(), now));
            }
            Err(
                Fault::NotSent(_)
                | Fault::NoAccess(_)
                | Fault::NotFound(_)
                | Fault::Rejected(_)
                | Fault::RateLimited { .. }
                | Fault::Unclear(_)
                | Fault::Malformed(_),
            ) => {}
        }
    }

    /// A drill ended.
    pub(super) fn note_drill(&mut self, proof: Proof) {
        self.drill = Some(proof);
    }

    /// How long the last such call took, in milliseconds.
    pub(super) fn round_trip(&self) -> String {
        self.trip.map_or_else(|| payload::UNKNOWN.to_owned(), |took| took.as_millis().to_string())
    }

    /// When the answer may change although nothing happens.
    pub(super) fn next_change(&self, now: Instant) -> Option<Instant> {
        let unproven = self.unproven_since.into_iter().chain(self.securing_unproven_since);
        let unproven = unproven.map(|since| since + UNPROVEN_LASTS);
        let differs = self.differs_since.map(|since| since + STANDS);
        unproven.chain(differs).filter(|at| *at > now).min()
    }

    /// Takes what was found; says whether anything is to be shown.
    fn take(&mut self, check: Check, finding: Finding, now: Now) -> bool {
        let (ok, text) = match finding {
            Finding::Good(text) => (Some(true), text),
            Finding::Bad(text) => (Some(false), text),
            Finding::Unproven(text) => (None, Cow::Borrowed(text)),
            Finding::Pending => return false,
        };
        let Some(shown) = self.checks.get_mut(&check) else { return false };
        if shown.ok == ok && shown.text == text {
            return false;
        }
        let since = if shown.ok == ok { shown.since } else { now.utc };
        *shown = Shown { ok, since, text };
        true
    }

    /// What stands in the way, in one sentence.
    pub(super) fn missing(&self) -> Option<String> {
        let (word, wrong): (_, Vec<&str>) = match self.verdict() {
            Some(true) => return None,
            Some(false) => {
                let wrong = self.checks.values().filter(|shown| shown.ok == Some(false));
                ("not ready", wrong.map(|shown| &*shown.text).collect())
            }
            None => {
                let open =
                    self.checks.iter().filter(|(check, shown)| check.is_needed() && shown.ok.is_none());
                ("not known yet", open.map(|(check, _)| check.word()).collect())
            }
        };
        Some(format!("{word}: {}", wrong.join("; ")))
    }

    /// All checks, for people who look.
    pub(super) fn rows(&self) -> Vec<CheckRow> {
        let row = |(check, shown): (&Check, &Shown)| CheckRow {
            name: check.word(),
            ok: shown.ok,
            text: shown.text.clone().into_owned(),
            since: shown.since,
        };
        self.checks.iter().map(row).collect()
    }

    fn attributes(&self) -> Bytes {
        let checks: Vec<Value> = self
            .checks
            .iter()
            .map(|(check, shown)| {
                json!({
                    "name": check.word(), "ok": shown.ok, "since": view::time(shown.since), "text": shown.text,
                })
            })
            .collect();
        view::bytes_of(&json!({ "missing": self.missing(), "checks": checks }))
    }

    fn judge_clock(&self) -> Finding {
        let Some(skew) = self.skew else {
            return Finding::Unproven("the vendor's answers do not tell its time");
        };
        let (way, by) = if skew > MAX_BEHIND {
            ("behind", skew)
        } else if skew < -MAX_AHEAD {
            ("ahead of", -skew)
        } else {
            return Finding::Good("this machine's clock agrees with the vendor's".into());
        };
        let text = format!(
            "this machine's clock is {} s {way} the vendor's, so that commands may be refused by their age; set it by \
             NTP",
            by.as_secs()
        );
        Finding::Bad(text.into())
    }

    fn judge_trip(&self) -> Finding {
        match self.trip {
            None => Finding::Unproven("no call was answered yet"),
            Some(took) if took <= SLOW => {
                Finding::Good(format!("the vendor answers within {} s", SLOW.as_secs()).into())
            }
            Some(_) if self.was_slow => {
                let text =
                    format!("the vendor took longer than {} s to answer, twice in a row", SLOW.as_secs());
                Finding::Bad(text.into())
            }
            Some(_) => Finding::Pending,
        }
    }

    fn judge_act(&self) -> Finding {
        match &self.act {
            None => Finding::Unproven(
                "the vendor tells only when a scenario is activated or released whether the key may do that",
            ),
            Some(Proof { at, failure: None }) => {
                Finding::Good(format!("the vendor took an activate or release at {}", view::time(*at)).into())
            }
            Some(Proof { failure: Some(why), .. }) => {
                Finding::Bad(format!("the vendor refused the last activate or release: {why}").into())
            }
        }
    }

    fn judge_drill(&self) -> Finding {
        match &self.drill {
            None => Finding::Unproven("nothing is known from a drill"),
            Some(Proof { at, failure: None }) => {
                Finding::Good(format!("a drill worked at {}", view::time(*at)).into())
            }
            Some(Proof { failure: Some(why), .. }) => {
                Finding::Bad(format!("the last drill failed: {why}").into())
            }
        }
    }

    /// Logs that readiness went or came back, at most once a minute. A gateway that was never ready is told more quietly:
    /// its owner may want it so, or is told the cause.
    fn tell(&mut self, now: Now) {
        let Some(ready) = self.verdict() else { return };
        self.was_ready |= ready;
        if self.told.is_none_or(|(said, _)| said) == ready {
            self.differs_since = None;
            return;
        }
        let since = *self.differs_since.get_or_insert(now.mono);
        let recent = |at: Instant, by: Duration| now.mono.saturating_duration_since(at) < by;
        if recent(since, STANDS) || self.told.is_some_and(|(_, at)| recent(at, TOLD_EVERY)) {
            return;
        }
        self.told = Some((ready, now.mono));
        self.differs_since = None;
        match self.missing() {
            None => tracing::info!("a lockdown could be started again"),
            Some(missing) if self.was_ready => {
                tracing::warn!("a lockdown could not be started now: {missing}");
            }
            Some(missing) => tracing::info!("a lockdown could not be started now: {missing}"),
        }
    }
}

impl Bridge {
    /// Shows whether a lockdown could be started, if that changed.
    pub(super) fn compare_readiness(&mut self, now: Now) {
        let readiness = &mut self.readiness;
        for (link, since) in [
            (&self.link, &mut readiness.unproven_since),
            (&self.securing, &mut readiness.securing_unproven_since),
        ] {
            *since = if link.proven { None } else { since.or(Some(now.mono)) };
        }
        let mut changed = false;
        for check in Check::ALL {
            let finding = self.find(check, now);
            changed |= self.readiness.take(check, finding, now);
        }
        if changed {
            self.show_readiness();
        }
        self.readiness.tell(now);
    }

    /// Shows whether a lockdown could be started.
    pub(super) fn show_readiness(&mut self) {
        let word = match self.readiness.verdict() {
            Some(true) => "ON",
            Some(false) => "OFF",
            None => payload::UNKNOWN,
        };
        self.show(Rank::State, self.topics.bridge("lockdown_ready"), word);
        let attributes = self.readiness.attributes();
        self.show(Rank::State, self.topics.bridge("lockdown_ready_attributes"), attributes);
    }

    fn find(&self, check: Check, now: Now) -> Finding {
        match check {
            Check::Broker => judge_link(
                self.readiness.unproven_since,
                "heartbeats come back from the broker",
                "no heartbeat comes back from the broker",
                now,
            ),
            Check::Securing => judge_link(
                self.readiness.securing_unproven_since,
                "heartbeats come back on the connection for lockdowns",
                "no heartbeat comes back on the connection for lockdowns, so that other messages may hold one up",
                now,
            ),
            Check::Allowed if self.settings.commands.activate => {
                Finding::Good("the configuration lets scenarios be activated".into())
            }
            Check::Allowed => Finding::Bad("commands.activate is false".into()),
            Check::Clock => self.readiness.judge_clock(),
            Check::Token => match self.gateway.token {
                TokenState::Valid => Finding::Good("the vendor takes the key".into()),
                TokenState::Refused => Finding::Bad("the vendor refuses the API key".into()),
                TokenState::Missing => Finding::Pending,
            },
            Check::Scenarios => self.judge_scenarios(now),
            Check::Listed => self.judge_listed(),
            Check::Budget => self.judge_budget(now),
            Check::RoundTrip => self.readiness.judge_trip(),
            Check::Activate => self.readiness.judge_act(),
            Check::Drill => self.readiness.judge_drill(),
        }
    }

    fn judge_scenarios(&self, now: Now) -> Finding {
        let list = List::Scenarios;
        match self.poller.trouble(list) {
            Some(Trouble::Unauthorized(text) | Trouble::Forbidden(text)) => {
                Finding::Bad(format!("the vendor refuses to list scenarios: {text}").into())
            }
            _ if self.poller.is_fresh(list, now) => Finding::Good("the scenarios can be read".into()),
            Some(Trouble::Passing(text)) => {
                Finding::Bad(format!("the scenarios cannot be read: {text}").into())
            }
            None if self.poller.last_good(list).is_some() => {
                Finding::Bad("the scenarios were not read for too long".into())
            }
            None => Finding::Pending,
        }
    }

    fn judge_listed(&self) -> Finding {
        if self.poller.last_good(List::Scenarios).is_none() {
            return Finding::Pending;
        }
        let count = self.scenarios.count();
        if count == 0 {
            return Finding::Bad(
                "no scenario is listed: make one in Verkada Command, or let scenarios.include have it".into(),
            );
        }
        let names: Vec<String> =
            self.scenarios.iter().take(MAX_NAMES).map(|(_, record)| view::scenario_name(record)).collect();
        let more = if count > MAX_NAMES { ", ..." } else { "" };
        Finding::Good(format!("listed scenarios: {count} ({}{more})", names.join(", ")).into())
    }

    fn judge_budget(&self, now: Now) -> Finding {
        // An activate may knock while the vendor closed its gate, but that is no room.
        let free = self.budget.free_at(Lane::Release, now.mono);
        if free.saturating_duration_since(now.mono) > BUDGET_WAITS {
            return Finding::Bad("the vendor's request budget has no room for an activate".into());
        }
        Finding::Good("the vendor's request budget has room".into())
    }
}

/// A connection that is being made anew changes nothing for a while.
fn judge_link(unproven_since: Option<Instant>, good: &'static str, bad: &'static str, now: Now) -> Finding {
    match unproven_since {
        None => Finding::Good(good.into()),
        Some(since) if now.mono.saturating_duration_since(since) < UNPROVEN_LASTS => Finding::Pending,
        Some(_) => Finding::Bad(bad.into()),
    }
}
