//! Counts of requests and of what came back, for whoever watches the gateway.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::fault::Operation;

/// How many requests of one kind ended in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requests {
    /// What was asked, in words that go together with underscores.
    pub operation: &'static str,
    /// The status, where it is one that means something of its own (`verkada-api.md` 3.6), else its class; `none` without
    /// an answer.
    pub answer: &'static str,
    /// How many there were.
    pub count: u64,
}

/// All requests that were handed to a connection, or for which none could be had.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<BTreeMap<(&'static str, &'static str), u64>>);

impl Tally {
    /// A request ended, with this status if an answer came.
    pub(super) fn note(&self, operation: Operation, status: Option<u16>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry((operation.label(), answer(status))).or_default();
        *count = count.saturating_add(1);
    }

    /// What was counted so far.
    pub(super) fn read(&self) -> Vec<Requests> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .iter()
            .map(|((operation, answer), count)| Requests { operation, answer, count: *count })
            .collect()
    }
}

const fn answer(status: Option<u16>) -> &'static str {
    match status {
        None => "none",
        Some(200) => "200",
        Some(401) => "401",
        Some(403) => "403",
        Some(404) => "404",
        Some(429) => "429",
        Some(201..300) => "2xx",
        Some(300..400) => "3xx",
        Some(400..500) => "4xx",
        Some(500..600) => "5xx",
        Some(_) => "other",
    }
}
