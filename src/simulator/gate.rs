//! Who may ask, and how often: tokens and the rate limit.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// How many requests fit into one [`WINDOW`] (`verkada-api.md` 4).
const REQUESTS_PER_WINDOW: u32 = 25;

/// The step in which the limit is enforced.
const WINDOW: Duration = Duration::from_secs(5);

/// How long requests are refused after an excess.
const COOL_DOWN: Duration = Duration::from_secs(5);

/// How many tokens are remembered; the oldest are forgotten first.
const MAX_TOKENS: usize = 10_000;

/// Counts requests: 25 in 5 s, then 5 s of refusals that do not count.
#[derive(Debug, Default)]
pub(super) struct RateLimit {
    window_ends: Option<Instant>,
    count: u32,
    refuses_until: Option<Instant>,
}

impl RateLimit {
    /// Counts one request; whether it is let through.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        if self.refuses_until.is_some_and(|until| now < until) {
            return false;
        }
        if self.refuses_until.take().is_some() || self.window_ends.is_none_or(|ends| now >= ends) {
            self.window_ends = Some(now + WINDOW);
            self.count = 0;
        }
        self.count += 1;
        if self.count <= REQUESTS_PER_WINDOW {
            return true;
        }
        self.refuses_until = Some(now + COOL_DOWN);
        false
    }
}

/// What a token is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    /// It is good.
    Good,
    /// It was good.
    Expired,
    /// It never was one.
    Unknown,
}

/// The tokens that were made.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    made: BTreeMap<String, Token>,
    order: VecDeque<String>,
}

#[derive(Debug)]
struct Token {
    made_at: Instant,
    dead: bool,
}

impl Tokens {
    /// Takes a new token into the books.
    pub(super) fn add(&mut self, token: String, now: Instant) {
        self.order.push_back(token.clone());
        self.made.insert(token, Token { made_at: now, dead: false });
        if self.order.len() > MAX_TOKENS
            && let Some(oldest) = self.order.pop_front()
        {
            self.made.remove(&oldest);
        }
    }

    /// Ends all tokens there are.
    pub(super) fn expire_all(&mut self) {
        for token in self.made.values_mut() {
            token.dead = true;
        }
    }

    /// What a token is worth when tokens live for `life`.
    pub(super) fn worth(&self, token: &str, life: Duration, now: Instant) -> Worth {
        match self.made.get(token) {
            None => Worth::Unknown,
            Some(token) if token.dead || now.saturating_duration_since(token.made_at) >= life => {
                Worth::Expired
            }
            Some(_) => Worth::Good,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_26th_request_in_5_s_starts_5_s_of_refusals_and_then_a_new_window() {
        let (mut limit, start) = (RateLimit::default(), crate::clock::now().mono);
        let at = |ms| start + Duration::from_millis(ms);
        assert!((0..25).all(|n| limit.admits(at(n * 100))));
        assert!(!limit.admits(at(3_000)));
        assert!(!limit.admits(at(7_999)), "a refused request does not count, nor end the cool-down");
        assert!((0..25).all(|_| limit.admits(at(8_000))));
        assert!(!limit.admits(at(8_001)));
    }

    #[test]
    fn a_steady_pace_inside_the_limit_is_never_refused() {
        let (mut limit, start) = (RateLimit::default(), crate::clock::now().mono);
        assert!((0..1_000).all(|n| limit.admits(start + Duration::from_millis(n * 200))));
    }

    #[test]
    fn tokens_expire_by_age_and_by_order() {
        let (mut tokens, start) = (Tokens::default(), crate::clock::now().mono);
        let life = Duration::from_secs(10);
        tokens.add("a".to_owned(), start);
        assert_eq!(
            tokens.worth("a", life, start + life.saturating_sub(Duration::from_millis(1))),
            Worth::Good
        );
        assert_eq!(tokens.worth("a", life, start + life), Worth::Expired);
        assert_eq!(tokens.worth("b", life, start), Worth::Unknown);
        tokens.expire_all();
        assert_eq!(tokens.worth("a", life, start), Worth::Expired);
    }
}
