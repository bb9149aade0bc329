//! The gateway's own device: how it is, and what may be changed about it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use super::{
    Bridge,
    poller::List,
    problem::{self, Problem},
    retained::Rank,
    view,
    webhooks::Reliance,
};
use crate::{
    hass::payload,
    model::{Level, Now, TokenState},
};

/// Between two restarts, and between start and restart: whoever asks again and again must not keep the gateway away.
const RESTART_PAUSE: Duration = Duration::from_mins(1);
/// From when on the end of the key is a problem.
const EXPIRY_NEAR: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How often it is then told in the log.
const EXPIRY_TOLD_EVERY: Duration = Duration::from_hours(24);
/// How much of a payload that means nothing is logged, in characters.
const MAX_LOGGED_CHARS: usize = 40;

/// What the shell is to do with the process itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Write the log at this level until the next start.
    SetLogLevel(Level),
    /// Stop in order and start again.
    Restart,
}

/// What is known about the gateway itself.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) token: TokenState,
    /// When the newest event that was told happened, and how much later it was first seen.
    newest_event: Option<(Timestamp, SignedDuration)>,
    /// How many elements the last good reading of a list left out.
    pub(super) left_out: BTreeMap<List, usize>,
    /// What is wrong, and what is said of it.
    pub(super) wrong: BTreeMap<Problem, String>,
    /// Since when.
    pub(super) since: BTreeMap<Problem, Timestamp>,
    expiry_told_at: Option<Instant>,
    started_at: Instant,
    wanted_level: Option<Level>,
    wants_restart: bool,
}

impl Gateway {
    pub(super) const fn new(now: Now) -> Self {
        Self {
            token: TokenState::Missing,
            newest_event: None,
            left_out: BTreeMap::new(),
            wrong: BTreeMap::new(),
            since: BTreeMap::new(),
            expiry_told_at: None,
            started_at: now.mono,
            wanted_level: None,
            wants_restart: false,
        }
    }

    /// The owner decided anew: the level of the log is as the file says, and another end of the key is told anew.
    pub(super) const fn adopt(&mut self, other_expiry: bool, level: Level) {
        self.wanted_level = Some(level);
        if other_expiry {
            self.expiry_told_at = None;
        }
    }

    /// An event is told for the first time. One that is older than an event told before says nothing about the lag: its
    /// controller was offline.
    pub(super) fn note_lag(&mut self, at: Timestamp, now: Now) {
        if self.newest_event.is_none_or(|(newest, _)| newest <= at) {
            // A controller's clock may run ahead.
            self.newest_event = Some((at, now.utc.duration_since(at).max(SignedDuration::ZERO)));
        }
    }

    /// A list was read, without this many of its elements.
    pub(super) fn note_left_out(&mut self, list: List, count: usize) {
        self.left_out.insert(list, count);
    }

    pub(super) fn next_request(&mut self) -> Option<Request> {
        if let Some(level) = self.wanted_level.take() {
            return Some(Request::SetLogLevel(level));
        }
        std::mem::take(&mut self.wants_restart).then_some(Request::Restart)
    }

    /// In seconds, with tenths.
    fn lag(&self) -> String {
        self.newest_event.map_or_else(
            || payload::UNKNOWN.to_owned(),
            |(_, lag)| format!("{}.{}", lag.as_secs(), lag.subsec_millis() / 100),
        )
    }
}

impl Bridge {
    /// Shows what is known at the start, so that nothing of an earlier run stands for it.
    pub(super) fn show_gateway(&mut self, now: Now) {
        self.show_own("started", view::time(now.utc));
        self.show_settings();
        self.show_own("token", self.gateway.token.word().to_owned());
        let unencrypted = if self.settings.announcer.own.mqtt_unencrypted { "ON" } else { "OFF" };
        self.show_own("mqtt_unencrypted", unencrypted.to_owned());
        self.show_own("event_lag", self.gateway.lag());
        self.show_own("budget_left", self.budget.left(now.mono).to_string());
        self.tell_expiry(now);
        self.show_own("round_trip", self.readiness.round_trip());
        self.show_readiness();
        self.show_problems();
        self.compare_problems(now);
    }

    /// Shows what the owner decided.
    pub(super) fn show_settings(&mut self) {
        let expires = self.settings.key_expires.map_or_else(|| payload::UNKNOWN.to_owned(), view::time);
        self.show_own("key_expires", expires);
        self.show_own("log_level", self.settings.log_level.word().to_owned());
    }

    /// Shows what changes all the time.
    pub(super) fn show_busy(&mut self, now: Now) {
        let last = List::ALL.into_iter().filter_map(|list| self.poller.last_good(list)).max();
        self.show_own("last_poll", last.map_or_else(|| payload::UNKNOWN.to_owned(), |at| at.to_string()));
        self.show_own("event_lag", self.gateway.lag());
        self.show_own("budget_left", self.budget.left(now.mono).to_string());
        if self.webhooks.reliance(now) != Reliance::Off {
            self.show_own("webhook_missed", self.webhooks.missed().to_string());
        }
        self.show_own("round_trip", self.readiness.round_trip());
        self.tell_expiry(now);
    }

    pub(super) fn hear_token(&mut self, token: TokenState, now: Now) {
        let before = std::mem::replace(&mut self.gateway.token, token);
        if (before, token) == (TokenState::Refused, TokenState::Valid) {
            // What was refused with it is asked for again, and not only when its turn comes.
            self.refresh(&List::ALL, now);
        }
        self.show_own("token", token.word().to_owned());
    }

    pub(super) fn hear_log_level(&mut self, payload: &[u8]) {
        let word = payload.trim_ascii();
        let level = Level::ALL.into_iter().find(|level| word.eq_ignore_ascii_case(level.word().as_bytes()));
        let Some(level) = level else {
            let allowed = Level::ALL.map(Level::word).join(", ");
            tracing::info!(read = ?shown(payload), allowed, "this is no level of the log; it stays as it is");
            return;
        };
        tracing::info!(level = level.word(), "the level of the log is changed until the next start");
        self.gateway.wanted_level = Some(level);
        self.show_own("log_level", level.word().to_owned());
    }

    pub(super) fn hear_restart(&mut self, payload: &[u8], now: Now) {
        let refused = if !self.settings.announcer.own.restart {
            Some("commands.restart is false")
        } else if payload != b"PRESS" {
            Some("only PRESS restarts the gateway")
        } else if self.stopping || self.gateway.wants_restart {
            Some("the gateway stops already")
        } else if now.mono.saturating_duration_since(self.gateway.started_at) < RESTART_PAUSE {
            Some("the last start was less than a minute ago")
        } else if self.is_idle() {
            None
        } else {
            Some("a command is under way")
        };
        if let Some(cause) = refused {
            tracing::info!(read = ?shown(payload), cause, "a restart is refused");
            return;
        }
        tracing::info!("a restart was asked for");
        self.gateway.wants_restart = true;
    }

    /// What is said of the end of the key, once it is near.
    pub(super) fn expiry(&self, now: Now) -> Option<String> {
        let expires = self.settings.key_expires?;
        let left = expires.duration_since(now.utc);
        if left >= EXPIRY_NEAR {
            return None;
        }
        let day = expires.strftime("%Y-%m-%d");
        Some(if left.is_positive() {
            format!("the API key expires on {day}: make a new one in Verkada Command")
        } else {
            format!(
                "by verkada.api_key_expires the API key expired on {day}: make a new one in Verkada Command"
            )
        })
    }

    /// Logs that the end of the key is near, at the start and then once a day.
    pub(super) fn tell_expiry(&mut self, now: Now) {
        let Some(sentence) = self.expiry(now) else { return };
        let told = self.gateway.expiry_told_at;
        if told.is_none_or(|at| now.mono.saturating_duration_since(at) >= EXPIRY_TOLD_EVERY) {
            self.gateway.expiry_told_at = Some(now.mono);
            tracing::warn!("{sentence}");
        }
    }

    /// Shows what is wrong, the gravest first, or that nothing is.
    pub(super) fn show_problems(&mut self) {
        let gravest = self.gateway.wrong.first_key_value();
        let text = gravest.map_or(payload::UNKNOWN, |(_, text)| text.as_str()).to_owned();
        let kind = gravest.map(|(kind, _)| *kind);
        let since = kind.and_then(|kind| self.gateway.since.get(&kind)).copied();
        let attributes = problem::attributes(kind, since, self.gateway.wrong.len());
        let active = if kind.is_some() { "ON" } else { "OFF" };
        self.show_own("problem", text);
        self.show(Rank::State, self.topics.bridge("problem_attributes"), attributes);
        self.show_own("problem_active", active.to_owned());
    }

    fn show_own(&mut self, leaf: &str, text: String) {
        self.show(Rank::State, self.topics.bridge(leaf), text);
    }
}

/// The beginning of a payload, for the log.
fn shown(payload: &[u8]) -> String {
    let beginning = payload.get(..4 * MAX_LOGGED_CHARS).unwrap_or(payload);
    String::from_utf8_lossy(beginning).chars().take(MAX_LOGGED_CHARS).collect()
}
