//! What the service manager is told; nothing happens where there is none.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// The gateway serves.
pub(super) fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// The gateway stops.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Proof of life: fed by the turns of the event loop, so that a loop that hangs is noticed.
#[derive(Debug)]
pub(super) struct Watchdog {
    every: Option<Duration>,
    last: Instant,
}

impl Watchdog {
    /// Asks whether the service manager wants proof of life, and how often.
    pub(super) fn start(now: Instant) -> Self {
        Self { every: sd_notify::watchdog_enabled().map(|limit| limit / 3), last: now }
    }

    /// When the loop should turn at the latest.
    pub(super) fn next(&self) -> Option<Instant> {
        self.every.map(|every| self.last + every)
    }

    /// The loop turned.
    pub(super) fn feed(&mut self, now: Instant) {
        if self.next().is_some_and(|due| due <= now) {
            self.last = now;
            tell(&[NotifyState::Watchdog]);
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}
