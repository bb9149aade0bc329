//! Hands events to the core: in order, without ever waiting for it.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::wire::KEPT_RECEIVE_MAXIMUM;
use crate::model::{LinkEvent, Message, Receipt};

/// An event and the session it belongs to.
pub(super) type Event = (u64, LinkEvent);

/// The sending side of the events channel.
#[derive(Debug)]
pub(super) struct Delivery {
    events: mpsc::Sender<Event>,
    /// Changes of state that found no room. They are never dropped, only superseded.
    waiting: VecDeque<Event>,
    dropped: u64,
}

impl Delivery {
    pub(super) const fn new(events: mpsc::Sender<Event>) -> Self {
        Self { events, waiting: VecDeque::new(), dropped: 0 }
    }

    /// Tells a change of state. What waits and is superseded by it is forgotten: at most [Down, Up, (Un)Proven, Shared] wait.
    pub(super) fn state(&mut self, epoch: u64, event: LinkEvent) {
        match &event {
            LinkEvent::Down(_) => self.waiting.clear(),
            LinkEvent::Proven | LinkEvent::Unproven(_) => {
                self.waiting
                    .retain(|(_, older)| !matches!(older, LinkEvent::Proven | LinkEvent::Unproven(_)));
            }
            LinkEvent::Shared => self.waiting.retain(|(_, older)| *older != LinkEvent::Shared),
            LinkEvent::Up { .. }
            | LinkEvent::Resumed { .. }
            | LinkEvent::Message(_)
            | LinkEvent::Waiting(..) => {}
        }
        self.waiting.push_back((epoch, event));
        while let Some(event) = self.waiting.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
                self.waiting.push_front(event);
                break;
            }
        }
    }

    /// Hands a message on, or drops it where the core is that far behind: a command from before that jam is not one
    /// to run after it, and to wait here would make the broker drop others unseen.
    pub(super) fn message(&mut self, epoch: u64, message: Message) {
        if self.waiting.is_empty() && self.events.try_send((epoch, LinkEvent::Message(message))).is_ok() {
            return;
        }
        self.dropped = self.dropped.saturating_add(1);
        if self.dropped == 1 {
            tracing::warn!("messages come faster than they are handled: some are dropped");
        }
    }

    /// The same on a kept session for a message that the broker does not deliver again: it leaves room for those that it
    /// does.
    pub(super) fn message_beside_waiting(&mut self, epoch: u64, message: Message) {
        if self.events.capacity() > usize::from(KEPT_RECEIVE_MAXIMUM) {
            self.message(epoch, message);
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// Hands on a message that the broker delivers again unless it is acknowledged; whether there was room.
    pub(super) fn waiting(&self, epoch: u64, message: Message, receipt: Receipt) -> bool {
        self.waiting.is_empty() && self.events.try_send((epoch, LinkEvent::Waiting(message, receipt))).is_ok()
    }

    /// Waits until the changes of state that wait are told. Cancel safe.
    pub(super) async fn catch_up(&mut self) {
        while let Some(event) = self.waiting.front().cloned() {
            let Ok(room) = self.events.reserve().await else {
                self.waiting.clear();
                return;
            };
            room.send(event);
            self.waiting.pop_front();
        }
        if self.dropped > 0 {
            tracing::warn!(dropped = self.dropped, "messages were dropped because they came too fast");
            self.dropped = 0;
        }
    }

    /// Whether [`Self::catch_up`] has anything to do.
    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;

    fn up() -> LinkEvent {
        LinkEvent::Up { protocol: Protocol::V5, max_packet: None }
    }

    fn down(cause: &str) -> LinkEvent {
        LinkEvent::Down(cause.into())
    }

    fn message(topic: &str) -> Message {
        Message {
            topic: topic.into(),
            payload: bytes::Bytes::new(),
            retain: false,
            dup: false,
            response_topic: None,
            correlation: None,
            received_at: crate::clock::now().mono,
            echo_sent_at: None,
        }
    }

    #[tokio::test]
    async fn a_full_channel_drops_messages_but_no_change_of_state() {
        let (sender, mut events) = mpsc::channel(2);
        let mut delivery = Delivery::new(sender);
        delivery.state(1, up());
        delivery.message(1, message("a"));
        delivery.message(1, message("b"));
        assert_eq!(delivery.dropped, 1);
        for round in 0..100 {
            delivery.state(1, down(&format!("cause {round}")));
            delivery.state(2, up());
            delivery.state(2, LinkEvent::Unproven("so".into()));
            delivery.state(2, LinkEvent::Proven);
        }
        assert_eq!(delivery.waiting.len(), 3, "what is superseded is forgotten");
        delivery.message(2, message("c"));
        assert_eq!(events.recv().await, Some((1, up())));
        delivery.message(2, message("would overtake what waits"));
        assert!(
            matches!(events.recv().await, Some((1, LinkEvent::Message(message))) if message.topic == "a")
        );
        let mut seen = Vec::new();
        while delivery.is_behind() {
            tokio::select! {
                () = delivery.catch_up() => {}
                event = events.recv() => seen.extend(event),
            }
        }
        while let Ok(event) = events.try_recv() {
            seen.push(event);
        }
        assert_eq!(seen, [(1, down("cause 99")), (2, up()), (2, LinkEvent::Proven)]);
        assert_eq!(delivery.dropped, 0, "reported");
        delivery.message(2, message("d"));
        assert!(
            matches!(events.recv().await, Some((2, LinkEvent::Message(message))) if message.topic == "d")
        );
    }
}
