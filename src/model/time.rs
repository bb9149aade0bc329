//! Time as the core sees it: handed in, never asked for.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic: for deadlines and ages.
    pub mono: Instant,
    /// Wall clock, UTC: for event times, cursors and what people read.
    pub utc: Timestamp,
}

impl Now {
    /// When the wall clock will show a time, by the monotonic one and unless it is set; now, where it has shown it. A timer may
    /// not end early by our clock, so it is a moment later.
    pub fn when(self, at: Timestamp) -> Instant {
        let left = Duration::try_from(at.duration_since(self.utc)).unwrap_or_default();
        self.mono + left + Duration::from_millis(1)
    }
}
