//! The one place that asks the clocks, and that waits for a time.
//!
//! The clock of the operating system behind [`Instant`] stands still while a machine is suspended. What waited in a
//! connection meanwhile would look as fresh as before, and so open a door. Ours counts that time too.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::time::error::Elapsed;

use crate::model::Now;

/// For how long this process was suspended with its machine.
static SUSPENDED: Suspended = Suspended::new();

/// Reads both clocks. Inside a tokio runtime with paused time the monotonic one follows the pause, so that tests
/// of timers need not wait. Moments of it are for [`sleep_until`] and [`timeout_at`], and not for timers of others.
#[expect(clippy::disallowed_methods, reason = "this is the one place that asks the clocks")]
pub fn now() -> Now {
    let mono = tokio::time::Instant::now().into_std();
    Now { mono: mono + SUSPENDED.update(readings), utc: Timestamp::now() }
}

/// Waits until a moment of [`now`]'s monotonic clock. Cancel safe.
#[expect(clippy::disallowed_methods, reason = "the moment is put back into the time of the timers")]
pub async fn sleep_until(at: Instant) {
    tokio::time::sleep_until(awake(at)).await;
}

/// Gives a future until a moment of [`now`]'s monotonic clock.
///
/// # Errors
/// If it is not done by then.
#[expect(clippy::disallowed_methods, reason = "the moment is put back into the time of the timers")]
pub async fn timeout_at<T>(at: Instant, future: impl Future<Output = T>) -> Result<T, Elapsed> {
    tokio::time::timeout_at(awake(at), future).await
}

/// A moment in the time of the timers, which stand still while the machine is suspended.
fn awake(at: Instant) -> tokio::time::Instant {
    at.checked_sub(SUSPENDED.told()).unwrap_or(at).into()
}

/// Two clocks of the operating system at the same moment: one that stands still during a suspend, one that goes on.
#[cfg(target_os = "linux")]
fn readings() -> (Duration, Duration) {
    use rustix::time::{ClockId, clock_gettime};
    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    (read(ClockId::Monotonic), read(ClockId::Boottime))
}

/// Without a second clock no suspend is noticed.
#[cfg(not(target_os = "linux"))]
const fn readings() -> (Duration, Duration) {
    (Duration::ZERO, Duration::ZERO)
}

/// Shorter ones are not told from a process that had to wait between two readings.
const SHORTEST_SUSPEND: Duration = Duration::from_millis(100);
/// How often it is read anew when the clocks seem to differ.
const READINGS: usize = 3;

/// The time of suspends, in nanoseconds, by how far two clocks have drifted apart. It never gets less.
#[derive(Debug)]
struct Suspended {
    /// What they differed by at first, and one more; 0 before that.
    first: AtomicU64,
    told: AtomicU64,
}

impl Suspended {
    const fn new() -> Self {
        Self { first: AtomicU64::new(0), told: AtomicU64::new(0) }
    }

    fn told(&self) -> Duration {
        Duration::from_nanos(self.told.load(Ordering::Relaxed))
    }

    /// Compares the clocks, the one that stands still first.
    fn update(&self, read: impl Fn() -> (Duration, Duration)) -> Duration {
        let apart = || {
            let (still, going) = read();
            u64::try_from(going.saturating_sub(still).as_nanos()).unwrap_or(u64::MAX - 1)
        };
        let now = apart();
        let first = match self.first.compare_exchange(0, now + 1, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => now,
            Err(first) => first - 1,
        };
        let told = self.told();
        let since = |apart: u64| Duration::from_nanos(apart.saturating_sub(first));
        if since(now) < told + SHORTEST_SUSPEND {
            return told;
        }
        let least = (1..READINGS).map(|_| apart()).fold(now, u64::min);
        if since(least) < told + SHORTEST_SUSPEND {
            return told;
        }
        let nanos = u64::try_from(since(least).as_nanos()).unwrap_or(u64::MAX);
        self.told.fetch_max(nanos, Ordering::Relaxed);
        self.told()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// Feeds readings, in milliseconds, and what was told after the last one.
    fn told(suspended: &Suspended, readings: &[(u64, u64)]) -> Duration {
        let left = RefCell::new(readings.iter().copied());
        let mut told = suspended.told();
        while left.borrow().len() > 0 {
            told = suspended.update(|| {
                let next = left.borrow_mut().next();
                next.map(|(still, going)| (MS(still), MS(going))).expect("a reading")
            });
        }
        told
    }

    #[test]
    fn the_time_of_a_suspend_counts_from_the_first_reading_after_it() {
        let suspended = Suspended::new();
        // The machine slept before this process began: no matter.
        assert_eq!(told(&suspended, &[(1_000, 5_000), (2_000, 6_000)]), MS(0));
        let slept = (2_500, 306_500);
        assert_eq!(told(&suspended, &[slept, slept, slept]), MS(300_000));
        assert_eq!(told(&suspended, &[(9_000, 313_000)]), MS(300_000));
        let again = (9_500, 314_500);
        assert_eq!(told(&suspended, &[again, again, again]), MS(301_000));
    }

    #[test]
    fn a_process_that_waits_between_two_readings_is_not_taken_for_one_that_was_suspended() {
        let suspended = Suspended::new();
        assert_eq!(told(&suspended, &[(0, 0), (1_000, 1_099), (2_000, 2_000)]), MS(0));
        assert_eq!(told(&suspended, &[(3_000, 3_900), (4_000, 4_700), (5_000, 5_001)]), MS(0));
    }

    #[test]
    fn it_never_gets_less() {
        let suspended = Suspended::new();
        let slept = (1_000, 11_000);
        assert_eq!(told(&suspended, &[(0, 0), slept, slept, slept, (2_000, 2_000)]), MS(10_000));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_with_the_moment_that_it_waits_for() {
        let at = now().mono + MS(500);
        sleep_until(at).await;
        assert!(now().mono >= at);
        let late = timeout_at(now().mono + MS(10), std::future::pending::<()>()).await;
        assert!(late.is_err());
        assert_eq!(timeout_at(now().mono + MS(10), async { 1 }).await.unwrap(), 1);
    }
}
