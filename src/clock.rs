//! The one place that asks the clocks.

use jiff::Timestamp;

use crate::model::Now;

/// Reads both clocks. Inside a tokio runtime with paused time the monotonic one follows the pause, so that tests
/// of timers need not wait.
#[expect(clippy::disallowed_methods, reason = "this is the one place that asks the clocks")]
pub fn now() -> Now {
    Now { mono: tokio::time::Instant::now().into_std(), utc: Timestamp::now() }
}
