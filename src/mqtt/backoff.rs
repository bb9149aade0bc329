//! How long to wait before the next connection.

use std::time::Duration;

use super::settings::Timings;
use crate::rng::Rng;

/// How many connections in a row must die young before we suspect that another client uses our id.
const SUSPICIOUS_DEATHS: u32 = 3;

/// What the end of a connection says about the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// It may work at once.
    Soon,
    /// Somebody has to change something first.
    Slow,
    /// Another client uses our client id: to hurry would throw it out again, and it us.
    TakenOver,
}

/// Full jitter between the shortest wait and a ceiling that doubles; a healthy spell brings it down again.
#[derive(Debug)]
pub(super) struct Backoff {
    timings: Timings,
    random: Rng,
    failures: u32,
    young_deaths: u32,
}

impl Backoff {
    pub(super) const fn new(timings: Timings, seed: u64) -> Self {
        Self { timings, random: Rng::new(seed), failures: 0, young_deaths: 0 }
    }

    /// The wait after a connection that lived for `lived`, or that was never accepted.
    pub(super) fn next(&mut self, lived: Option<Duration>, pace: Pace) -> Duration {
        match lived {
            Some(lived) if lived >= self.timings.healthy_after => {
                self.failures = 0;
                self.young_deaths = 0;
            }
            Some(_) => self.young_deaths = self.young_deaths.saturating_add(1),
            // A broker that cannot be reached is in trouble of its own.
            None => self.young_deaths = 0,
        }
        self.failures = self.failures.saturating_add(1);
        match pace {
            Pace::TakenOver => self.above(self.timings.retry_taken_over),
            // A bad network ends connections early as well, and a lockdown may be waiting for the next one: six a minute
            // are few enough for a fight.
            Pace::Slow => self.above(self.timings.retry_max),
            Pace::Soon if self.dies_young() => self.above(self.timings.retry_max),
            Pace::Soon => {
                let ceiling = self.timings.retry_min.saturating_mul(2_u32.saturating_pow(self.failures));
                self.random.between(self.timings.retry_min, ceiling.min(self.timings.retry_max))
            }
        }
    }

    /// Whether the broker keeps closing connections that it has just accepted, as it does when another client comes
    /// with our id and the protocol has no word for it.
    pub(super) const fn dies_young(&self) -> bool {
        self.young_deaths >= SUSPICIOUS_DEATHS
    }

    fn above(&mut self, least: Duration) -> Duration {
        self.random.between(least, least.saturating_add(least / 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 0x5EED;

    fn backoff() -> Backoff {
        Backoff::new(Timings::default(), SEED)
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_longest_wait() {
        for seed in 0..500 {
            let mut backoff = Backoff::new(Timings::default(), seed);
            for ceiling in [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
                let wait = backoff.next(None, Pace::Soon);
                assert!(
                    wait >= millis(250) && wait <= millis(ceiling),
                    "seed {seed}: {wait:?} above {ceiling} ms"
                );
            }
        }
    }

    #[test]
    fn the_jitter_uses_the_whole_span() {
        let mut backoff = backoff();
        for _ in 0..10 {
            backoff.next(None, Pace::Soon);
        }
        let waits: Vec<_> = (0..200).map(|_| backoff.next(None, Pace::Soon)).collect();
        assert!(waits.iter().any(|wait| *wait < millis(1_500)), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait > millis(9_000)), "{waits:?}");
    }

    /// After an outage this long, when each of 100 gateways is back, in order and counted from the end of the outage.
    fn returns(outage: Duration) -> Vec<Duration> {
        let one = |seed| {
            let mut backoff = Backoff::new(Timings::default(), seed);
            let mut at = Duration::ZERO;
            while at < outage {
                at += backoff.next(None, Pace::Soon);
            }
            at.saturating_sub(outage)
        };
        let mut all: Vec<_> = (0..100).map(one).collect();
        all.sort();
        all
    }

    #[test]
    fn a_hundred_gateways_that_lose_one_broker_come_back_one_after_the_other() {
        for outage in [10_000, 20_000, 60_000, 600_000] {
            let returns = returns(millis(outage));
            let within = |from: Duration| {
                returns.iter().filter(|at| (from..from + millis(1_000)).contains(*at)).count()
            };
            let most = returns.iter().map(|from| within(*from)).max().unwrap();
            assert!(most <= 30, "after {outage} ms: {most} within a second");
            let middle = returns[97].saturating_sub(returns[2]);
            assert!(middle >= millis(5_000), "after {outage} ms: 95 of 100 within {middle:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_waits() {
        let waits =
            |mut backoff: Backoff| (0..20).map(|_| backoff.next(None, Pace::Soon)).collect::<Vec<_>>();
        assert_eq!(waits(backoff()), waits(backoff()));
    }

    #[test]
    fn only_a_healthy_spell_brings_the_ceiling_down() {
        let mut backoff = backoff();
        for _ in 0..10 {
            backoff.next(None, Pace::Soon);
        }
        backoff.next(Some(millis(29_999)), Pace::Soon);
        assert_eq!(backoff.failures, 11);
        let wait = backoff.next(Some(millis(30_000)), Pace::Soon);
        assert_eq!(backoff.failures, 1);
        assert!(wait <= millis(500), "{wait:?}");
    }

    #[test]
    fn a_takeover_waits_at_least_thirty_seconds() {
        let mut backoff = backoff();
        for _ in 0..100 {
            let wait = backoff.next(Some(millis(5)), Pace::TakenOver);
            assert!(wait >= millis(30_000) && wait <= millis(45_000), "{wait:?}");
        }
    }

    #[test]
    fn three_young_deaths_in_a_row_look_like_a_takeover() {
        let mut backoff = backoff();
        assert!(backoff.next(Some(millis(5)), Pace::Soon) <= millis(10_000));
        assert!(backoff.next(Some(millis(5)), Pace::Soon) <= millis(10_000));
        assert!(!backoff.dies_young());
        let wait = backoff.next(Some(millis(5)), Pace::Soon);
        assert!(wait >= millis(10_000) && wait <= millis(15_000), "a lockdown may wait for it: {wait:?}");
        assert!(backoff.dies_young());
        assert!(backoff.next(None, Pace::Soon) <= millis(10_000), "the broker is away");
        assert!(!backoff.dies_young());
        for _ in 0..3 {
            backoff.next(Some(millis(5)), Pace::Soon);
        }
        assert!(backoff.dies_young());
        assert!(backoff.next(Some(millis(60_000)), Pace::Soon) <= millis(10_000));
        assert!(!backoff.dies_young());
    }

    #[test]
    fn a_refusal_is_tried_at_most_six_times_a_minute() {
        let mut backoff = backoff();
        for _ in 0..100 {
            assert!(backoff.next(None, Pace::Slow) >= millis(10_000));
        }
    }
}
