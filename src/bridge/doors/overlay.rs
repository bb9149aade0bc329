//! What our own unlocks put on top of the evidence about a lock, for as long as they last.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::evidence::{Lock, Shown, Source};
use crate::model::Now;

/// The vendor's default unlock time, used where an answer or event names none (`verkada-api.md` 5.4).
const UNLOCK_TIME: Duration = Duration::from_secs(10);
/// The longest unlock time a door can have (`verkada-api.md` 5.4): as long as that an unlock without proof may last.
const LONGEST_UNLOCK: Duration = Duration::from_mins(1);

/// What an unlock of ours puts on top of the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overlay {
    /// The door is unlocked until then.
    Unlocked { since: Timestamp, until: Instant, until_utc: Timestamp },
    /// A command of ours ended without proof: it may be unlocked until then.
    Unsure { since: Timestamp, until: Instant },
}

impl Overlay {
    const fn until(&self) -> Instant {
        match self {
            Self::Unlocked { until, .. } | Self::Unsure { until, .. } => *until,
        }
    }

    const fn since(&self) -> Timestamp {
        match self {
            Self::Unlocked { since, .. } | Self::Unsure { since, .. } => *since,
        }
    }
}

/// Our own unlocks of one door.
#[derive(Debug, Default)]
pub(super) struct OwnUnlocks {
    overlay: Option<Overlay>,
    /// Since when a command is on its way. It lies over the overlay, which comes back if the command fails.
    unlocking: Option<Timestamp>,
    /// When one last worked.
    last: Option<Timestamp>,
    /// The door's own unlock time, once an answer named it.
    known_time: Option<Duration>,
}

impl OwnUnlocks {
    /// What they show, as long as they do.
    pub(super) fn shown(&self) -> Option<Shown> {
        let shown = |lock, at, relock_due| Shown { lock, source: Source::Command, at: Some(at), relock_due };
        if let Some(since) = self.unlocking {
            return Some(shown(Lock::Unlocking, since, None));
        }
        self.overlay.map(|overlay| match overlay {
            Overlay::Unlocked { since, until_utc, .. } => shown(Lock::Unlocked, since, Some(until_utc)),
            Overlay::Unsure { since, .. } => shown(Lock::Unknown, since, None),
        })
    }

    /// When one last worked.
    pub(super) const fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// How long an unlock of this door lasts, as far as that is known.
    pub(super) fn time(&self) -> Duration {
        self.known_time.unwrap_or(UNLOCK_TIME)
    }

    /// One was accepted.
    pub(super) const fn begin(&mut self, now: Now) {
        self.unlocking = Some(now.utc);
    }

    /// One worked; returns when the door is due to lock again.
    pub(super) fn succeed(&mut self, duration: Option<Duration>, now: Now) -> Instant {
        self.known_time = duration.or(self.known_time);
        let until = now.mono + self.time();
        let until_utc = now.utc.saturating_add(self.time()).unwrap_or(now.utc);
        self.unlocking = None;
        self.last = Some(now.utc);
        self.overlay = Some(Overlay::Unlocked { since: now.utc, until, until_utc });
        until
    }

    /// One ended without proof: for as long as it may have worked, nothing is claimed.
    pub(super) fn lose(&mut self, now: Now) {
        let may_last = now.mono + self.known_time.unwrap_or(LONGEST_UNLOCK);
        let until = self.overlay.map_or(may_last, |overlay| overlay.until().max(may_last));
        self.unlocking = None;
        self.overlay = Some(Overlay::Unsure { since: now.utc, until });
    }

    /// One was not done: what was shown before it comes back.
    pub(super) const fn fail(&mut self) {
        self.unlocking = None;
    }

    /// The door told that it locked: that wins over any timer, but not where it is from before the unlock.
    pub(super) fn locked(&mut self, at: Timestamp) {
        self.overlay = self.overlay.filter(|overlay| at <= overlay.since());
    }

    /// The door locked because it was opened: an unlock from before is over.
    pub(super) fn relocked(&mut self, at: Timestamp) {
        self.overlay = self.overlay.filter(|overlay| match overlay {
            Overlay::Unlocked { since, .. } => at <= *since,
            Overlay::Unsure { .. } => true,
        });
    }

    /// When what they show is over.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.overlay.map(|overlay| overlay.until())
    }

    /// Ends what is due.
    pub(super) fn expire(&mut self, now: Now) {
        self.overlay = self.overlay.filter(|overlay| overlay.until() > now.mono);
    }
}
