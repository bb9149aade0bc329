//! Time as the core sees it: handed in, never asked for.

use std::time::Instant;

use jiff::Timestamp;

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic: for deadlines and ages.
    pub mono: Instant,
    /// Wall clock, UTC: for event times, cursors and what people read.
    pub utc: Timestamp,
}
