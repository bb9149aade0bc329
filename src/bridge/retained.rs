//! What the broker should hold, against what this MQTT session was given; and the queue of what is said once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::model::{Publication, Qos};

/// The order in which retained topics are published after a connect, so that Home Assistant never shows a stale
/// value as live: what an entity is, then its value, then whether it can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// A discovery topic that another replaces, or that nothing is left of.
    Leaving,
    /// A discovery config that others name as their parent.
    Parent,
    /// Any other discovery config.
    Discovery,
    /// States and attributes.
    State,
    /// Availability of a door or scenario.
    Availability,
    /// Availability of the vendor's API.
    Api,
    /// Availability of the gateway.
    Gateway,
}

#[derive(Debug)]
struct Entry {
    rank: Rank,
    qos: Qos,
    /// What the broker should hold; `None` to withdraw the topic.
    wanted: Option<Bytes>,
    /// What this session was given; `None` if nothing.
    given: Option<Bytes>,
}

/// Retained topics as a desired map. Reconnect, broker loss and Home Assistant's restart are one thing to it: forget
/// what the session was given, and let the difference be published.
#[derive(Debug, Default)]
pub(super) struct Retained {
    topics: BTreeMap<String, Entry>,
    dirty: BTreeSet<(Rank, String)>,
}

impl Retained {
    /// Wants `payload` to be held under `topic`. Says whether that is another than before.
    pub(super) fn set(&mut self, rank: Rank, qos: Qos, topic: String, payload: Bytes) -> bool {
        if let Some(entry) = self.topics.get_mut(&topic) {
            if entry.wanted.as_ref() == Some(&payload) {
                return false;
            }
            let old = std::mem::replace(&mut entry.rank, rank);
            entry.qos = qos;
            entry.wanted = Some(payload);
            if old != rank {
                self.dirty.remove(&(old, topic.clone()));
            }
        } else {
            let entry = Entry { rank, qos, wanted: Some(payload), given: None };
            self.topics.insert(topic.clone(), entry);
        }
        self.dirty.insert((rank, topic));
        true
    }

    /// Whether something is wanted to be held under `topic`.
    pub(super) fn wants(&self, topic: &str) -> bool {
        self.topics.get(topic).is_some_and(|entry| entry.wanted.is_some())
    }

    /// Wants nothing to be held under `topic`.
    pub(super) fn withdraw(&mut self, topic: &str) {
        if let Some(entry) = self.topics.get_mut(topic)
            && entry.wanted.take().is_some()
        {
            self.dirty.insert((entry.rank, topic.to_owned()));
        }
    }

    /// Wants nothing to be held under `topic`, which an earlier run may have left there.
    pub(super) fn clear(&mut self, rank: Rank, topic: &str) {
        if self.topics.contains_key(topic) {
            self.withdraw(topic);
            return;
        }
        let entry = Entry { rank, qos: Qos::AtLeastOnce, wanted: None, given: None };
        self.topics.insert(topic.to_owned(), entry);
        self.dirty.insert((rank, topic.to_owned()));
    }

    /// Publishes what is wanted of `topic` once more. Says whether anything is known to be wanted of it.
    pub(super) fn again(&mut self, topic: &str) -> bool {
        let Some(entry) = self.topics.get_mut(topic) else { return false };
        entry.given = None;
        self.dirty.insert((entry.rank, topic.to_owned()));
        true
    }

    /// A new session: what an earlier one was given may never have reached the broker, withdrawals included.
    pub(super) fn begin_session(&mut self) {
        for (topic, entry) in &mut self.topics {
            entry.given = None;
            self.dirty.insert((entry.rank, topic.clone()));
        }
    }

    /// Publishes all that is wanted again, for a consumer that lost it. Withdrawals are not repeated: to such a
    /// consumer they would name things it does not know.
    pub(super) fn repeat(&mut self) {
        for (topic, entry) in self.topics.iter_mut().filter(|(_, entry)| entry.wanted.is_some()) {
            entry.given = None;
            self.dirty.insert((entry.rank, topic.clone()));
        }
    }

    /// The next difference, which then counts as given.
    pub(super) fn next(&mut self) -> Option<Publication> {
        while let Some((_, topic)) = self.dirty.pop_first() {
            let Some(entry) = self.topics.get_mut(&topic) else { continue };
            if entry.wanted.is_some() && entry.wanted == entry.given {
                continue;
            }
            let qos = entry.qos;
            // A withdrawn topic is kept, to be withdrawn once more in the next session.
            entry.given.clone_from(&entry.wanted);
            let payload = entry.wanted.clone().unwrap_or_default();
            return Some(Publication { topic, payload, qos, retain: true, correlation: None });
        }
        None
    }

    /// How many topics may differ from what was given.
    pub(super) fn waiting(&self) -> usize {
        self.dirty.len()
    }

    /// Whether something waits to be published.
    pub(super) fn is_settled(&self) -> bool {
        self.dirty.is_empty()
    }
}

/// Messages that are said once and not retained: results and access events. Those of scenarios go first: nobody who
/// waits for the answer to a lockdown waits behind what doors were refused.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    first: VecDeque<Publication>,
    queue: VecDeque<Publication>,
    dropped: u64,
}

impl Outbox {
    /// More than any burst the vendor's budget allows within an outage worth waiting for.
    const CAPACITY: usize = 10_000;

    /// Queues a message; at the bound the oldest one is dropped and counted.
    pub(super) fn push(&mut self, publication: Publication) {
        enqueue(&mut self.queue, publication, &mut self.dropped);
    }

    /// The same for a message of a scenario.
    pub(super) fn push_first(&mut self, publication: Publication) {
        enqueue(&mut self.first, publication, &mut self.dropped);
    }

    /// The oldest message of scenarios, or else of the others.
    pub(super) fn pop(&mut self) -> Option<Publication> {
        self.first.pop_front().or_else(|| self.queue.pop_front())
    }

    /// How many messages wait.
    pub(super) fn waiting(&self) -> usize {
        self.first.len() + self.queue.len()
    }

    /// How many messages were dropped.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.queue.is_empty()
    }
}

fn enqueue(queue: &mut VecDeque<Publication>, publication: Publication, dropped: &mut u64) {
    queue.push_back(publication);
    if queue.len() <= Outbox::CAPACITY {
        return;
    }
    queue.pop_front();
    if *dropped == 0 {
        tracing::warn!(
            capacity = Outbox::CAPACITY,
            "too many unsent results and events; the oldest are dropped"
        );
    }
    *dropped += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(retained: &mut Retained, rank: Rank, topic: &str, payload: &'static str) {
        retained.set(rank, Qos::AtLeastOnce, topic.to_owned(), Bytes::from_static(payload.as_bytes()));
    }

    fn drain(retained: &mut Retained) -> Vec<(String, String)> {
        std::iter::from_fn(|| retained.next())
            .map(|p| (p.topic, String::from_utf8(p.payload.to_vec()).unwrap()))
            .collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(t, p)| ((*t).to_owned(), (*p).to_owned())).collect()
    }

    #[test]
    fn publishes_differences_only_and_by_rank() {
        let mut retained = Retained::default();
        set(&mut retained, Rank::Gateway, "a", "online");
        set(&mut retained, Rank::State, "z", "LOCKED");
        set(&mut retained, Rank::Discovery, "m", "{}");
        assert_eq!(drain(&mut retained), pairs(&[("m", "{}"), ("z", "LOCKED"), ("a", "online")]));
        set(&mut retained, Rank::State, "z", "LOCKED");
        assert_eq!(drain(&mut retained), pairs(&[]));
        set(&mut retained, Rank::State, "z", "UNLOCKED");
        set(&mut retained, Rank::State, "z", "LOCKED");
        assert_eq!(drain(&mut retained), pairs(&[]), "there and back is no difference");
    }

    #[test]
    fn a_forgotten_session_is_filled_again_and_withdrawn_topics_are_cleared_once() {
        let mut retained = Retained::default();
        set(&mut retained, Rank::State, "a", "1");
        set(&mut retained, Rank::State, "b", "2");
        drain(&mut retained);
        retained.withdraw("b");
        retained.withdraw("never");
        assert_eq!(drain(&mut retained), pairs(&[("b", "")]));
        retained.repeat();
        assert_eq!(drain(&mut retained), pairs(&[("a", "1")]));
        retained.begin_session();
        assert_eq!(
            drain(&mut retained),
            pairs(&[("a", "1"), ("b", "")]),
            "the withdrawal may have been lost"
        );
        set(&mut retained, Rank::State, "b", "3");
        assert_eq!(drain(&mut retained), pairs(&[("b", "3")]));
    }

    #[test]
    fn what_an_earlier_run_left_is_cleared_in_each_session_and_again_if_asked_for() {
        let mut retained = Retained::default();
        set(&mut retained, Rank::State, "a", "1");
        retained.clear(Rank::Leaving, "z");
        retained.clear(Rank::Leaving, "a");
        assert_eq!(drain(&mut retained), pairs(&[("z", ""), ("a", "")]));
        retained.clear(Rank::Leaving, "z");
        assert_eq!(drain(&mut retained), pairs(&[]));
        assert!(retained.again("z") && !retained.again("never"));
        assert_eq!(drain(&mut retained), pairs(&[("z", "")]));
        retained.begin_session();
        assert_eq!(drain(&mut retained), pairs(&[("z", ""), ("a", "")]));
    }

    #[test]
    fn a_topic_withdrawn_before_it_was_given_is_still_cleared() {
        let mut retained = Retained::default();
        set(&mut retained, Rank::State, "a", "1");
        retained.withdraw("a");
        assert_eq!(drain(&mut retained), pairs(&[("a", "")]));
    }

    #[test]
    fn what_is_said_of_scenarios_goes_first_and_in_order() {
        let mut outbox = Outbox::default();
        let said = |topic: &str| Publication {
            topic: topic.to_owned(),
            payload: Bytes::new(),
            qos: Qos::AtLeastOnce,
            retain: false,
            correlation: None,
        };
        outbox.push(said("door"));
        outbox.push_first(said("accepted"));
        outbox.push_first(said("done"));
        let order: Vec<String> = std::iter::from_fn(|| outbox.pop()).map(|said| said.topic).collect();
        assert_eq!(order, ["accepted", "done", "door"]);
        assert!(outbox.is_empty());
    }

    #[test]
    fn the_outbox_is_bounded_and_keeps_the_newest() {
        let mut outbox = Outbox::default();
        for i in 0..=Outbox::CAPACITY {
            outbox.push(Publication {
                topic: i.to_string(),
                payload: Bytes::new(),
                qos: Qos::AtLeastOnce,
                retain: false,
                correlation: None,
            });
        }
        assert_eq!(outbox.pop().unwrap().topic, "1");
        assert_eq!(outbox.dropped, 1);
    }
}
