//! Codes of opening commands: whether one is right, and when none is looked at because too many were wrong.
//!
//! Nothing here tells a code: not in a message, a log line or by `Debug`. What is compared are digests of equal length, in
//! constant time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use ring::hmac;
use secrecy::ExposeSecret;

use super::settings::{CodeSecret, CodeSettings};
use crate::{
    hass::payload::Code,
    model::{Now, Target},
    rng::Rng,
};

/// How long one code of RFC 6238 is shown, in seconds.
const STEP: i64 = 30;
/// The interval in which wrong codes are counted.
const WINDOW: Duration = Duration::from_mins(1);
/// How many wrong codes one door or scenario takes within [`WINDOW`].
const PER_TARGET: usize = 5;
/// How many wrong codes there may be in all within [`WINDOW`].
const IN_ALL: usize = 10;
/// How long the first lock lasts; each further one lasts twice as long.
const FIRST_LOCK: Duration = Duration::from_mins(1);
/// The longest lock.
const LONGEST_LOCK: Duration = Duration::from_mins(15);
/// After so long without a wrong code the next lock is a first one again.
const FORGIVEN: Duration = Duration::from_hours(1);

/// What a code is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Right; a one-time code is used up now.
    Right,
    /// Wrong, and counted.
    Wrong,
    /// A one-time code that was used before, or may have been in an earlier run.
    Used,
    /// Not looked at: too many were wrong. For so long.
    Locked(Duration),
}

/// What is remembered of codes.
#[derive(Default)]
pub(super) struct Codes {
    /// Digests are made with it; of this run only.
    key: [u8; 32],
    used: Used,
    all: Throttle,
    of: BTreeMap<Target, Throttle>,
}

impl fmt::Debug for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codes").field("all", &self.all).field("of", &self.of).finish_non_exhaustive()
    }
}

impl Codes {
    /// Nothing was tried yet. One-time codes that an earlier run may have taken are used up.
    pub(super) fn new(seed: u64, now: Timestamp) -> Self {
        let mut rng = Rng::new(seed ^ 0x0063_6f64_6573);
        let mut key = [0; 32];
        for part in key.chunks_exact_mut(8) {
            part.copy_from_slice(&rng.bits().to_be_bytes());
        }
        Self {
            key,
            used: Used { up_to: step_of(now).saturating_add(1), steps: BTreeSet::new() },
            all: Throttle::default(),
            of: BTreeMap::new(),
        }
    }

    /// Judges a code for a target, and remembers what it was.
    pub(super) fn judge(
        &mut self,
        code: &Code,
        settings: &CodeSettings,
        target: &Target,
        now: Now,
    ) -> Verdict {
        self.of.retain(|_, throttle| !throttle.is_forgotten(now.mono));
        let own = self.of.get(target).and_then(|throttle| throttle.locked_for(now.mono));
        if let Some(left) = own.max(self.all.locked_for(now.mono)) {
            return Verdict::Locked(left);
        }
        let verdict = match &settings.secret {
            CodeSecret::Pin(pin) if self.equals(code, pin.expose_secret()) => Verdict::Right,
            CodeSecret::Pin(_) => Verdict::Wrong,
            CodeSecret::Totp(secret) => self.judge_totp(code, secret.expose_secret(), now.utc),
        };
        if verdict == Verdict::Wrong {
            let own = self.of.entry(target.clone()).or_default().note(PER_TARGET, now.mono);
            if let Some(lasts) = own.max(self.all.note(IN_ALL, now.mono)) {
                tracing::warn!(
                    target_path = target.path(),
                    seconds = lasts.as_secs(),
                    "too many wrong codes: none is looked at for a while"
                );
            }
        }
        verdict
    }

    fn judge_totp(&mut self, code: &Code, secret: &[u8], now: Timestamp) -> Verdict {
        let present = step_of(now);
        let steps = [present.saturating_sub(1), present, present.saturating_add(1)];
        // All of them are looked at, so that the time tells nothing.
        let hits = steps.map(|step| self.equals(code, &totp(secret, step)));
        let mut verdict = Verdict::Wrong;
        for (step, _) in steps.into_iter().zip(hits).filter(|(_, hit)| *hit) {
            if self.used.take(step, present) {
                return Verdict::Right;
            }
            verdict = Verdict::Used;
        }
        verdict
    }

    /// Whether the code is this one, in a time that depends on neither.
    fn equals(&self, code: &Code, right: &str) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.key);
        let tag = hmac::sign(&key, right.as_bytes());
        hmac::verify(&key, code.expose().as_bytes(), tag.as_ref()).is_ok()
    }
}

/// The six digits of RFC 6238 for one step.
fn totp(secret: &[u8], step: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let digest = hmac::sign(&key, &step.to_be_bytes());
    let bytes = digest.as_ref();
    let offset = usize::from(bytes.last().copied().unwrap_or(0) & 0x0f);
    let number = (offset..offset.saturating_add(4))
        .fold(0_u32, |number, at| (number << 8) | u32::from(bytes.get(at).copied().unwrap_or(0)));
    format!("{:06}", (number & 0x7fff_ffff) % 1_000_000)
}

fn step_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(STEP)
}

/// The steps of one-time codes that were accepted.
#[derive(Debug, Default)]
struct Used {
    /// All of these are used up.
    up_to: i64,
    steps: BTreeSet<i64>,
}

impl Used {
    /// Takes a step, unless it was taken before. What is too old to be asked for again is forgotten by its number alone, so
    /// that a clock that is set back brings nothing back.
    fn take(&mut self, step: i64, present: i64) -> bool {
        if step <= self.up_to || !self.steps.insert(step) {
            return false;
        }
        while let Some(oldest) =
            self.steps.first().copied().filter(|oldest| *oldest < present.saturating_sub(1))
        {
            self.steps.remove(&oldest);
            self.up_to = oldest;
        }
        true
    }
}

/// How many wrong codes there were lately, and since when none is looked at.
#[derive(Debug, Default)]
struct Throttle {
    wrong: VecDeque<Instant>,
    last: Option<Instant>,
    locked_until: Option<Instant>,
    locks: u32,
}

impl Throttle {
    fn locked_for(&self, now: Instant) -> Option<Duration> {
        self.locked_until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// Counts a wrong code. Says for how long none is looked at from now on.
    fn note(&mut self, limit: usize, now: Instant) -> Option<Duration> {
        if self.is_forgotten(now) {
            *self = Self::default();
        }
        self.last = Some(now);
        self.wrong.push_back(now);
        while self.wrong.front().is_some_and(|at| now.saturating_duration_since(*at) >= WINDOW) {
            self.wrong.pop_front();
        }
        if self.wrong.len() < limit {
            return None;
        }
        let lasts = FIRST_LOCK.saturating_mul(1 << self.locks.min(4)).min(LONGEST_LOCK);
        self.wrong.clear();
        self.locks = self.locks.saturating_add(1);
        self.locked_until = Some(now + lasts);
        Some(lasts)
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| now.saturating_duration_since(last) >= FORGIVEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_time_codes_are_those_of_the_standard() {
        // RFC 6238, appendix B, the last six of its eight digits.
        for (second, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let at = Timestamp::from_second(second).unwrap();
            assert_eq!(totp(b"12345678901234567890", step_of(at)), code, "{second}");
        }
    }

    #[test]
    fn a_step_is_taken_once_even_if_the_clock_is_set_back() {
        let mut used = Used { up_to: 10, steps: BTreeSet::new() };
        assert!(!used.take(10, 11));
        assert!(used.take(12, 11));
        assert!(used.take(11, 11));
        assert!(!used.take(11, 11));
        assert!(used.take(20, 20));
        assert_eq!(used.up_to, 12);
        assert!(!used.take(12, 12));
    }
}
