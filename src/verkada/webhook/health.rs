//! Counts and times of deliveries, and the warnings about those that were refused.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::lag;

/// How often at most the refusals of one cause are told.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Why a delivery was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// It has no signature.
    #[error("it is not signed; set a shared secret for the webhook in Verkada Command")]
    Unsigned,
    /// Its signature header is malformed, or there are several.
    #[error("its signature header is malformed")]
    Header,
    /// Its signature is too old.
    #[error("its signature is more than 300 s old; compare the clock of this machine with the true time")]
    Stale,
    /// Its signature is of a time to come.
    #[error("its signature is more than 30 s ahead; compare the clock of this machine with the true time")]
    Ahead,
    /// Its signature was made with another secret, or over other bytes.
    #[error(
        "its signature does not fit; compare webhook.secret_file with the shared secret in Verkada Command, and let no \
         proxy change bodies"
    )]
    Signature,
    /// Its body is larger than [`super::MAX_BODY_BYTES`].
    #[error("its body is larger than 256 KiB")]
    TooLarge,
    /// Its body did not come in time.
    #[error("its body did not come in time")]
    TooSlow,
    /// Its body ended early.
    #[error("its body ended early")]
    Cut,
    /// Its signature is good and its body is not the vendor's JSON.
    #[error("its signature is good, but its body is not JSON as Verkada sends it")]
    Body,
    /// It is of another organisation, or names none.
    #[error("it is of another organisation, or names none; webhook.organization_id says which one is ours")]
    Foreign,
    /// The core does not keep up.
    #[error("too many wait; the next poll brings what they say")]
    Overflow,
}

impl Refusal {
    /// One word, for counts.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Header => "header",
            Self::Stale => "stale",
            Self::Ahead => "ahead",
            Self::Signature => "signature",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Cut => "cut",
            Self::Body => "body",
            Self::Foreign => "foreign",
            Self::Overflow => "overflow",
        }
    }
}

/// Counts since the start, and the last delivery. `received` is the sum of all other counts and of those under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebhookHealth {
    /// Requests to the path, signed or not.
    pub received: u64,
    /// What they say is in the queue.
    pub accepted: u64,
    /// Verified, but not about doors and scenarios.
    pub ignored: u64,
    /// Verified, and taken before.
    pub replayed: u64,
    /// Not taken, by cause; a cause that never was is missing.
    pub refused: BTreeMap<Refusal, u64>,
    /// When the last one of our organisation was taken, replays apart.
    pub last_delivery: Option<Timestamp>,
    /// How long after its event the last accepted one was here, by two clocks.
    pub lag: Option<Duration>,
}

/// Writes [`WebhookHealth`] and the warnings.
#[derive(Debug, Default)]
pub(super) struct Books {
    health: WebhookHealth,
    told: BTreeMap<Refusal, Told>,
}

/// When a cause was told, and how many of it came since.
#[derive(Debug)]
struct Told {
    at: Instant,
    untold: u64,
}

impl Books {
    pub(super) const fn health(&self) -> &WebhookHealth {
        &self.health
    }

    pub(super) const fn begin(&mut self) {
        self.health.received += 1;
    }

    pub(super) fn accept(&mut self, created: Option<Timestamp>, now: Timestamp) {
        self.health.accepted += 1;
        self.health.last_delivery = Some(now);
        self.health.lag = created.map(|created| lag(created, now)).or(self.health.lag);
    }

    pub(super) const fn ignore(&mut self, now: Timestamp) {
        self.health.ignored += 1;
        self.health.last_delivery = Some(now);
    }

    pub(super) const fn replay(&mut self) {
        self.health.replayed += 1;
    }

    pub(super) fn refuse(&mut self, refusal: Refusal, at: Instant) {
        *self.health.refused.entry(refusal).or_default() += 1;
        if let Some(count) = self.untold(refusal, at) {
            tracing::warn!(cause = %refusal, count, "webhook deliveries are refused");
        }
    }

    /// How many are to be told, if it is time to tell.
    fn untold(&mut self, refusal: Refusal, at: Instant) -> Option<u64> {
        let Some(told) = self.told.get_mut(&refusal) else {
            self.told.insert(refusal, Told { at, untold: 0 });
            return Some(1);
        };
        told.untold += 1;
        if at.saturating_duration_since(told.at) < TELL_EVERY {
            return None;
        }
        told.at = at;
        Some(std::mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_told_once_a_minute_with_its_count() {
        let start = crate::clock::now().mono;
        let mut books = Books::default();
        let mut tell = |refusal, seconds| books.untold(refusal, start + Duration::from_secs(seconds));
        assert_eq!(tell(Refusal::Overflow, 0), Some(1));
        assert_eq!(tell(Refusal::Overflow, 1), None);
        assert_eq!(tell(Refusal::Signature, 1), Some(1));
        assert_eq!(tell(Refusal::Overflow, 59), None);
        assert_eq!(tell(Refusal::Overflow, 60), Some(3));
        assert_eq!(tell(Refusal::Overflow, 119), None);
        assert_eq!(tell(Refusal::Overflow, 120), Some(2));
    }

    #[test]
    fn a_clock_that_runs_ahead_gives_no_lag_below_zero() {
        let mut books = Books::default();
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        books.accept(Some(at(100)), at(103));
        assert_eq!(books.health.lag, Some(Duration::from_secs(3)));
        books.accept(Some(at(100)), at(97));
        assert_eq!(books.health.lag, Some(Duration::ZERO));
        books.accept(None, at(110));
        assert_eq!((books.health.lag, books.health.last_delivery), (Some(Duration::ZERO), Some(at(110))));
    }
}
