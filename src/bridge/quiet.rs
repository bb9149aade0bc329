//! Keeps what comes and goes from filling the log.

use std::time::{Duration, Instant};

/// How often one thing may be told within [`LASTS`].
const TELLINGS: usize = 4;
/// See [`TELLINGS`].
const LASTS: Duration = Duration::from_mins(20);

/// When one thing was told.
#[derive(Debug, Default)]
pub(super) struct Quiet(Vec<Instant>);

impl Quiet {
    /// Whether it may be told again; it then counts as told.
    pub(super) fn may_tell(&mut self, now: Instant) -> bool {
        self.0.retain(|at| now.saturating_duration_since(*at) < LASTS);
        let may = self.0.len() < TELLINGS;
        if may {
            self.0.push(now);
        }
        may
    }
}
