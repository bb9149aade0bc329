//! The vendor's request budget, shared by all integrations of the organisation (`verkada-api.md` 4).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::model::Lane;

/// The interval in which the vendor enforces its limit.
const SHORT: Duration = Duration::from_secs(5);
/// The interval in which the vendor states its limit.
const LONG: Duration = Duration::from_mins(1);
/// Requests within [`SHORT`].
const PER_SHORT: usize = 25;
/// Requests within [`LONG`].
const PER_LONG: usize = 300;
/// The pause after a 429 that names none.
const COOL_DOWN: Duration = Duration::from_secs(5);
/// Distance between requests for one [`SHORT`] after a cool-down.
const PACE: Duration = Duration::from_millis(200);
/// How often an activate may knock during a cool-down.
const KNOCK: Duration = Duration::from_secs(2);

/// One limiter for all calls. Reads leave room for commands: polls never use the last fifth.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// When requests were sent, oldest first, none older than [`LONG`].
    sent: VecDeque<Instant>,
    /// The vendor said too many: nothing but activate before this.
    closed_until: Option<Instant>,
}

impl Budget {
    /// When a request of this lane may go out; `now` if at once.
    pub(super) fn free_at(&self, lane: Lane, now: Instant) -> Instant {
        let mut at = now;
        if let Some(until) = self.closed_until {
            let last = self.sent.back().copied();
            if now < until && lane == Lane::Activate {
                at = at.max(last.map_or(now, |last| last + KNOCK).min(until));
            } else {
                at = at.max(until);
                if lane != Lane::Activate
                    && at < until + SHORT
                    && let Some(last) = last
                {
                    at = at.max(last + PACE);
                }
            }
        }
        at.max(self.room_at(lane, PER_SHORT, SHORT, now)).max(self.room_at(lane, PER_LONG, LONG, now))
    }

    /// Counts requests that were sent.
    pub(super) fn charge(&mut self, requests: u32, now: Instant) {
        while self.sent.front().is_some_and(|at| now.saturating_duration_since(*at) >= LONG) {
            self.sent.pop_front();
        }
        for _ in 0..requests.min(64) {
            self.sent.push_back(now);
        }
        while self.sent.len() > 2 * PER_LONG {
            self.sent.pop_front();
        }
    }

    /// The vendor said too many requests.
    pub(super) fn close(&mut self, after: Option<Duration>, now: Instant) {
        let until = now + after.unwrap_or(COOL_DOWN).max(COOL_DOWN);
        self.closed_until = Some(self.closed_until.map_or(until, |old| old.max(until)));
    }

    /// How many requests of a read may still go out in the present minute.
    pub(super) fn left(&self, now: Instant) -> usize {
        let used = self.sent.iter().filter(|at| now.saturating_duration_since(**at) < LONG).count();
        PER_LONG.saturating_sub(used)
    }

    fn room_at(&self, lane: Lane, limit: usize, window: Duration, now: Instant) -> Instant {
        let limit = match lane {
            Lane::Activate | Lane::Release | Lane::Unlock => limit,
            Lane::ReadBack => limit - limit / 10,
            Lane::Poll => limit - limit / 5,
        };
        let live = self.sent.iter().filter(|at| now.saturating_duration_since(**at) < window).count();
        if live < limit {
            return now;
        }
        // Room is there once enough of the oldest have left the window.
        let leave = self.sent.len() - live + (live - limit);
        self.sent.get(leave).map_or(now, |at| *at + window)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need a starting point")]
mod tests {
    use super::*;

    #[test]
    fn polls_leave_the_last_fifth_to_commands() {
        let start = Instant::now();
        let mut budget = Budget::default();
        for i in 0..20 {
            assert_eq!(budget.free_at(Lane::Poll, start), start, "request {i}");
            budget.charge(1, start);
        }
        assert_eq!(budget.free_at(Lane::Poll, start), start + SHORT);
        assert_eq!(budget.free_at(Lane::ReadBack, start), start);
        budget.charge(5, start);
        assert_eq!(budget.free_at(Lane::Unlock, start), start + SHORT);
        assert_eq!(
            budget.free_at(Lane::Activate, start),
            start + SHORT,
            "even activate would only earn a 429"
        );
        assert_eq!(budget.free_at(Lane::Unlock, start + SHORT), start + SHORT);
    }

    #[test]
    fn the_minute_is_kept_too() {
        let start = Instant::now();
        let mut budget = Budget::default();
        let mut now = start;
        let mut sent = 0;
        while now < start + LONG {
            let at = budget.free_at(Lane::Poll, now);
            if at > now {
                now = at;
                continue;
            }
            budget.charge(1, now);
            sent += 1;
        }
        assert!((230..=260).contains(&sent), "{sent} polls in the first minute");
    }

    #[test]
    fn after_a_429_only_activate_knocks_and_the_rest_is_paced() {
        let start = Instant::now();
        let mut budget = Budget::default();
        budget.charge(1, start);
        budget.close(None, start);
        assert_eq!(budget.free_at(Lane::Unlock, start), start + COOL_DOWN);
        assert_eq!(budget.free_at(Lane::Activate, start), start + KNOCK);
        assert_eq!(budget.free_at(Lane::Activate, start + KNOCK), start + KNOCK);
        let open = start + COOL_DOWN;
        assert_eq!(budget.free_at(Lane::Unlock, open), open);
        budget.charge(1, open);
        assert_eq!(budget.free_at(Lane::Unlock, open), open + PACE);
        budget.close(Some(Duration::from_mins(1)), open);
        assert_eq!(budget.free_at(Lane::Poll, open), open + Duration::from_mins(1));
    }
}
