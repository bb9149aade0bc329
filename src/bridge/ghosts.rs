//! What earlier runs showed and this one has not seen yet: it may turn up, or be gone.

use std::{collections::BTreeSet, time::Instant};

use super::roster::Roster;

/// Doors or scenarios of earlier runs.
#[derive(Debug)]
pub(super) struct Ghosts<K> {
    ids: BTreeSet<K>,
    roster: Roster<K>,
}

impl<K: Ord + Clone> Ghosts<K> {
    /// What earlier runs showed.
    pub(super) fn of(ids: BTreeSet<K>) -> Self {
        Self { ids, roster: Roster::default() }
    }

    /// Whether it is not decided yet.
    pub(super) fn may_return(&self, id: &K) -> bool {
        self.ids.contains(id)
    }

    /// All that is not decided.
    pub(super) const fn ids(&self) -> &BTreeSet<K> {
        &self.ids
    }

    /// Takes one reading and says which of them are gone for good or not wanted any more. What it lists is no ghost any
    /// more; what `takes` turns away is gone at once; the rest goes as slowly as what is known, counted from the first
    /// complete reading. `known` is what this run knows, if the reading is complete: whether it lost much is judged by all.
    pub(super) fn observe(
        &mut self,
        listed: &BTreeSet<K>,
        known: Option<BTreeSet<K>>,
        takes: impl Fn(&K) -> bool,
        now: Instant,
    ) -> Vec<K> {
        if self.ids.is_empty() {
            return Vec::new();
        }
        let mut gone: Vec<K> = self.ids.iter().filter(|id| !takes(id)).cloned().collect();
        if let Some(known) = known {
            let all: BTreeSet<K> = self.ids.union(listed).cloned().chain(known).collect();
            let vanished = self.roster.observe(all.iter(), listed, now);
            gone.extend(vanished.into_iter().filter(|id| takes(id) && self.ids.contains(id)));
        }
        self.ids.retain(|id| !listed.contains(id) && !gone.contains(id));
        gone
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need a starting point")]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_goes_at_the_second_complete_reading_and_what_is_not_wanted_at_once() {
        let now = Instant::now();
        let mut ghosts = Ghosts::of(BTreeSet::from([1, 2, 3]));
        let listed: BTreeSet<u32> = (2..12).collect();
        let takes = |id: &u32| *id != 3;
        assert_eq!(
            ghosts.observe(&listed, None, takes, now),
            [3],
            "an incomplete list proves nothing missing"
        );
        assert!(ghosts.may_return(&1) && !ghosts.may_return(&2));
        assert_eq!(ghosts.observe(&listed, Some(BTreeSet::new()), takes, now), [0; 0]);
        assert_eq!(ghosts.observe(&listed, Some(BTreeSet::new()), takes, now), [1]);
        assert_eq!(ghosts.observe(&BTreeSet::new(), Some(BTreeSet::new()), takes, now), [0; 0]);
    }

    #[test]
    fn an_empty_list_after_a_restart_takes_nothing_away_for_ten_minutes() {
        let now = Instant::now();
        let mut ghosts = Ghosts::of((0..1_000).collect::<BTreeSet<u32>>());
        for minute in 0..10 {
            let at = now + std::time::Duration::from_mins(minute);
            assert_eq!(ghosts.observe(&BTreeSet::new(), Some(BTreeSet::new()), |_| true, at), [0; 0]);
        }
        let at = now + std::time::Duration::from_mins(10);
        assert_eq!(ghosts.observe(&BTreeSet::new(), Some(BTreeSet::new()), |_| true, at).len(), 1_000);
    }
    #[test]
    fn a_reading_that_lost_what_is_known_takes_no_ghost_away() {
        let now = Instant::now();
        let mut ghosts = Ghosts::of(BTreeSet::from([0]));
        let (listed, known) = (BTreeSet::from([1, 2, 3]), BTreeSet::from([1, 2, 3, 4]));
        for _ in 0..5 {
            assert_eq!(ghosts.observe(&listed, Some(known.clone()), |_| true, now), [0; 0]);
        }
        assert_eq!(ghosts.observe(&known, Some(known.clone()), |_| true, now), [0]);
    }
}
