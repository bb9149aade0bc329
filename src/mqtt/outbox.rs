//! What waits to be published, and what outlives the session it was meant for.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
};

use tokio::sync::mpsc;

use crate::model::{Publication, Qos};

/// How many publications are kept for a later session.
pub(super) const KEPT: usize = 1_000;

/// A publication and the session that its publisher knew of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Queued {
    pub(super) epoch: u64,
    pub(super) publication: Publication,
}

impl Queued {
    /// Retained ones describe a session that is gone: the core publishes the truth again. `QoS` 0 is lost rather than late.
    fn outlives_its_session(&self) -> bool {
        !self.publication.retain && self.publication.qos == Qos::AtLeastOnce
    }
}

/// Publications on their way to the broker.
#[derive(Debug)]
pub(super) struct Outbox {
    published: mpsc::Receiver<Queued>,
    /// To be sent before what comes from the channel.
    first: VecDeque<Queued>,
    /// Handed to the connection and not acknowledged, in order.
    unsettled: BTreeMap<u64, Option<Queued>>,
    next_tag: u64,
    lost: u64,
}

impl Outbox {
    pub(super) const fn new(published: mpsc::Receiver<Queued>) -> Self {
        Self { published, first: VecDeque::new(), unsettled: BTreeMap::new(), next_tag: 0, lost: 0 }
    }

    /// The next publication for the session `epoch`. What was meant for an older one and does not outlive it is
    /// skipped. Cancel safe. Never ends.
    pub(super) async fn next(&mut self, epoch: u64) -> Queued {
        loop {
            let queued = match self.first.pop_front() {
                Some(queued) => queued,
                None => match self.published.recv().await {
                    Some(queued) => queued,
                    None => std::future::pending().await,
                },
            };
            if queued.epoch == epoch || queued.outlives_its_session() {
                return queued;
            }
        }
    }

    /// Takes what comes while there is no session. Cancel safe. Never ends.
    pub(super) async fn hoard(&mut self) -> Infallible {
        while let Some(queued) = self.published.recv().await {
            self.keep(queued);
        }
        std::future::pending().await
    }

    /// Puts a publication back that found no room.
    pub(super) fn put_back(&mut self, queued: Queued) {
        self.first.push_front(queued);
    }

    /// Adds the last publications of all, behind everything that was published before.
    pub(super) fn close(&mut self, epoch: u64, last: Vec<Publication>) {
        self.published.close();
        while let Ok(queued) = self.published.try_recv() {
            self.first.push_back(queued);
        }
        self.first.extend(last.into_iter().map(|publication| Queued { epoch, publication }));
        self.first.retain(|queued| queued.epoch == epoch || queued.outlives_its_session());
    }

    /// A `QoS` 1 publication is on its way; the tag names it when it is settled.
    pub(super) fn sent(&mut self, queued: Queued) -> u64 {
        let tag = self.next_tag;
        self.next_tag = self.next_tag.saturating_add(1);
        self.unsettled.insert(tag, queued.outlives_its_session().then_some(queued));
        tag
    }

    /// The broker answered.
    pub(super) fn settled(&mut self, tag: u64) {
        self.unsettled.remove(&tag);
    }

    /// How many publications are not with the broker yet.
    pub(super) fn open(&self) -> usize {
        self.first.len() + self.unsettled.len()
    }

    /// The session is over: keeps, in order, what outlives it.
    pub(super) fn session_ended(&mut self) {
        let sent = std::mem::take(&mut self.unsettled).into_values().flatten();
        let waiting = std::mem::take(&mut self.first);
        for queued in sent.chain(waiting).collect::<Vec<_>>() {
            self.keep(queued);
        }
    }

    fn keep(&mut self, queued: Queued) {
        if !queued.outlives_its_session() {
            return;
        }
        self.first.push_back(queued);
        if self.first.len() > KEPT {
            self.first.pop_front();
            self.lost = self.lost.saturating_add(1);
            if self.lost.is_power_of_two() {
                tracing::warn!(
                    lost = self.lost,
                    kept = KEPT,
                    "too many results and events wait for the broker: the oldest are lost"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(epoch: u64, topic: &str, qos: Qos, retain: bool) -> Queued {
        let publication =
            Publication { topic: topic.into(), payload: bytes::Bytes::new(), qos, retain, correlation: None };
        Queued { epoch, publication }
    }

    async fn drain(outbox: &mut Outbox, epoch: u64) -> Vec<String> {
        let mut topics = Vec::new();
        while let Ok(queued) =
            tokio::time::timeout(std::time::Duration::from_millis(1), outbox.next(epoch)).await
        {
            topics.push(queued.publication.topic);
        }
        topics
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_of_an_old_session_slips_into_a_new_one_but_unretained_qos_1() {
        let (sender, published) = mpsc::channel(8);
        let mut outbox = Outbox::new(published);
        for old in [
            queued(1, "old state", Qos::AtLeastOnce, true),
            queued(1, "old event", Qos::AtMostOnce, false),
            queued(1, "old result", Qos::AtLeastOnce, false),
            queued(2, "new state", Qos::AtLeastOnce, true),
            queued(2, "new event", Qos::AtMostOnce, false),
        ] {
            sender.try_send(old).unwrap();
        }
        assert_eq!(drain(&mut outbox, 2).await, ["old result", "new state", "new event"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_acknowledged_is_sent_again_in_order() {
        let (sender, published) = mpsc::channel(8);
        let mut outbox = Outbox::new(published);
        let acknowledged = outbox.sent(queued(1, "a", Qos::AtLeastOnce, false));
        outbox.sent(queued(1, "b", Qos::AtLeastOnce, false));
        outbox.sent(queued(1, "state", Qos::AtLeastOnce, true));
        outbox.put_back(queued(1, "c", Qos::AtLeastOnce, false));
        outbox.settled(acknowledged);
        assert_eq!(outbox.open(), 3);
        outbox.session_ended();
        sender.try_send(queued(1, "d", Qos::AtLeastOnce, false)).unwrap();
        assert_eq!(drain(&mut outbox, 2).await, ["b", "c", "d"]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_session_a_thousand_are_kept_and_the_oldest_are_lost() {
        let (sender, published) = mpsc::channel(2 * KEPT + 20);
        let mut outbox = Outbox::new(published);
        for number in 0..KEPT + 10 {
            sender.try_send(queued(1, &number.to_string(), Qos::AtLeastOnce, false)).unwrap();
            sender.try_send(queued(1, "state", Qos::AtLeastOnce, true)).unwrap();
        }
        while sender.capacity() < 2 * KEPT + 20 {
            let hoarding = tokio::time::timeout(std::time::Duration::from_millis(1), outbox.hoard()).await;
            assert!(hoarding.is_err(), "hoarding never ends");
        }
        let topics = drain(&mut outbox, 2).await;
        assert_eq!(topics.len(), KEPT);
        assert_eq!((topics[0].as_str(), outbox.lost), ("10", 10));
    }
}
