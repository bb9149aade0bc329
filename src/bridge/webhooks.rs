//! How far the vendor's webhooks can be relied on: they are quick, and polls tell what they missed.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::{hass::WEBHOOK_WORDS, model::Now};

/// Without a delivery for this long, webhooks count as silent.
const LIVELY_FOR: Duration = Duration::from_mins(10);
/// After a poll found what no webhook had brought, this must pass without another before they are relied on again.
const DISTRUST: Duration = Duration::from_mins(2);
/// How long a webhook may take before its event counts as missed: the vendor tries once more at once, and events reach
/// the list about as late.
const PATIENCE: SignedDuration = SignedDuration::from_secs(15);
/// The least time between two readings that webhooks prompt.
const NUDGE_PAUSE: Duration = Duration::from_secs(1);
/// How much longer polls of events wait while webhooks can be relied on ...
const STRETCH: u32 = 6;
/// ... and the longest that they may wait then.
const LONGEST: Duration = Duration::from_mins(1);

/// How webhooks fare, as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reliance {
    /// None was ever delivered in this run.
    Off,
    /// They come, and polls find nothing that they missed.
    Healthy,
    /// None came for a while. That is no fault where nothing happens.
    Silent,
    /// A poll found events that no webhook had brought.
    Incomplete,
}

impl Reliance {
    /// The word that is published.
    pub(super) const fn word(self) -> &'static str {
        let [off, healthy, silent, incomplete] = WEBHOOK_WORDS;
        match self {
            Self::Off => off,
            Self::Healthy => healthy,
            Self::Silent => silent,
            Self::Incomplete => incomplete,
        }
    }
}

/// What is known of webhooks.
#[derive(Debug, Default)]
pub(super) struct Webhooks {
    first: Option<Timestamp>,
    last: Option<Instant>,
    last_miss: Option<Instant>,
    missed: u64,
    next_nudge: Option<Instant>,
}

impl Webhooks {
    /// One was delivered.
    pub(super) fn deliver(&mut self, now: Now) {
        self.first.get_or_insert(now.utc);
        self.last = Some(now.mono);
    }

    /// When a reading that a webhook asks for may take place, however many ask.
    pub(super) fn nudge(&mut self, now: Now) -> Instant {
        let at = self.next_nudge.map_or(now.mono, |at| at.max(now.mono));
        self.next_nudge = Some(at.max(now.mono) + NUDGE_PAUSE);
        at
    }

    /// A poll brought an event that was not known: was it for a webhook to bring it?
    pub(super) fn reconcile(&mut self, happened: Timestamp, now: Now) {
        let due =
            self.first.is_some_and(|first| happened > first) && now.utc.duration_since(happened) >= PATIENCE;
        if due {
            self.missed = self.missed.saturating_add(1);
            self.last_miss = Some(now.mono);
        }
    }

    /// How they fare.
    pub(super) fn reliance(&self, now: Now) -> Reliance {
        let within =
            |at: Option<Instant>, limit| at.is_some_and(|at| now.mono.saturating_duration_since(at) < limit);
        if self.last.is_none() {
            Reliance::Off
        } else if within(self.last_miss, DISTRUST) {
            Reliance::Incomplete
        } else if within(self.last, LIVELY_FOR) {
            Reliance::Healthy
        } else {
            Reliance::Silent
        }
    }

    /// When [`Webhooks::reliance`] may change by the passing of time alone.
    pub(super) fn next_change(&self, now: Now) -> Option<Instant> {
        let ends = [self.last.map(|at| at + LIVELY_FOR), self.last_miss.map(|at| at + DISTRUST)];
        ends.into_iter().flatten().filter(|at| *at > now.mono).min()
    }

    /// How many events polls found that they should have brought.
    pub(super) const fn missed(&self) -> u64 {
        self.missed
    }

    /// How long polls of events may wait.
    pub(super) fn poll_interval(&self, configured: Duration, now: Now) -> Duration {
        match self.reliance(now) {
            Reliance::Healthy => configured.max(configured.saturating_mul(STRETCH).min(LONGEST)),
            Reliance::Off | Reliance::Silent | Reliance::Incomplete => configured,
        }
    }
}
