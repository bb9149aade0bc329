//! Who is on a list: newcomers count at once, the vanished only slowly.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// Complete readings without an element before it counts as gone.
const READS: u32 = 2;
/// The same for a reading that loses a large share at once, which looks more like a fault of the vendor.
const READS_OF_LOSS: u32 = 3;
/// How long such a loss must last.
const LOSS_LASTS: Duration = Duration::from_mins(10);

/// Remembers which elements were missing, and for how long.
#[derive(Debug)]
pub(super) struct Roster<K> {
    missing: BTreeMap<K, Missing>,
}

#[derive(Debug)]
struct Missing {
    reads: u32,
    since: Instant,
}

impl<K> Default for Roster<K> {
    fn default() -> Self {
        Self { missing: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Roster<K> {
    /// Takes a reading that is not complete: what it lists is there, and what it lacks may be.
    pub(super) fn see(&mut self, listed: &BTreeSet<K>) {
        self.missing.retain(|key, _| !listed.contains(key));
    }

    /// Takes one complete reading and says which of the known elements count as gone.
    ///
    /// A reading that loses more than a fifth of them, and more than one, needs more readings over ten minutes.
    pub(super) fn observe<'a>(
        &mut self,
        known: impl Iterator<Item = &'a K>,
        listed: &BTreeSet<K>,
        now: Instant,
    ) -> Vec<K>
    where
        K: 'a,
    {
        self.see(listed);
        let mut total = 0_usize;
        let mut absent = Vec::new();
        for key in known {
            total += 1;
            if !listed.contains(key) {
                absent.push(key.clone());
            }
        }
        let loss = absent.len() > 1 && absent.len() * 5 > total;
        let mut gone = Vec::new();
        for key in absent {
            let missing = self.missing.entry(key.clone()).or_insert(Missing { reads: 0, since: now });
            missing.reads += 1;
            let lasts = now.saturating_duration_since(missing.since);
            let is_gone = if loss {
                missing.reads >= READS_OF_LOSS && lasts >= LOSS_LASTS
            } else {
                missing.reads >= READS
            };
            if is_gone {
                gone.push(key);
            }
        }
        for key in &gone {
            self.missing.remove(key);
        }
        gone
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need a starting point")]
mod tests {
    use super::*;

    fn set(keys: std::ops::Range<u32>) -> BTreeSet<u32> {
        keys.collect()
    }

    #[test]
    fn one_element_goes_after_two_readings_and_returns_at_once() {
        let now = Instant::now();
        let (mut roster, known) = (Roster::default(), set(0..10));
        assert!(roster.observe(known.iter(), &set(1..10), now).is_empty());
        assert!(roster.observe(known.iter(), &set(0..10), now).is_empty());
        assert!(roster.observe(known.iter(), &set(1..10), now).is_empty(), "the count starts again");
        assert_eq!(roster.observe(known.iter(), &set(1..10), now), [0]);
    }

    #[test]
    fn an_incomplete_list_shows_who_is_there_and_nobody_gone() {
        let now = Instant::now();
        let (mut roster, known) = (Roster::default(), set(0..10));
        assert!(roster.observe(known.iter(), &set(1..10), now).is_empty());
        roster.see(&set(0..5));
        assert!(roster.observe(known.iter(), &set(1..10), now).is_empty(), "it was seen between");
        roster.see(&set(5..10));
        assert_eq!(roster.observe(known.iter(), &set(1..10), now), [0]);
    }

    #[test]
    fn an_empty_list_removes_nothing_before_the_third_reading_and_ten_minutes() {
        let now = Instant::now();
        let (mut roster, known) = (Roster::default(), set(0..1000));
        for _ in 0..5 {
            assert!(roster.observe(known.iter(), &set(0..0), now).is_empty());
        }
        assert_eq!(roster.observe(known.iter(), &set(0..0), now + LOSS_LASTS).len(), 1000);
    }
}
