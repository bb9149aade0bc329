//! One connection's life, from CONNECT to its end.
//!
//! A session is one task that waits for several things at once. It drives the client crate by one future that lives
//! until it is done, because dropping it half-way could lose state, and it asks it to publish only by calls that never
//! wait, because a driver that waits for room in its own queue waits for ever. Whatever ends the session drops the
//! client crate's state whole, so that nothing in it can outlive the connection: no old message, no wedged packet id.

use std::{
    collections::VecDeque,
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, watch};

use super::{
    Access,
    backoff::Pace,
    cause::{self, Loss},
    closing::{Close, Closing},
    delivery::Delivery,
    outbox::{Outbox, Queued},
    proof::Proof,
    settings::Session as Kind,
    wire::{self, Arrival, Driver, Incoming, NotTaken, Sender, Settled, Settling},
};
use crate::{
    clock,
    model::{LinkEvent, Message, Protocol, Receipt},
};

/// The largest payload that is handed to the core, in bytes. No command is near it.
const LARGEST_MESSAGE: usize = 64 * 1024;
/// How many packets are handled in a row. Then all tasks have their turn: the other connection may have something more
/// urgent, and the core has to take what was read before there is no room for more.
const IN_A_ROW: usize = 32;
/// What a PUBLISH needs beside topic, payload and correlation data, generously.
const PUBLISH_OVERHEAD: usize = 64;

/// What the sessions of a link share, and what outlives each of them.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) access: Access,
    pub(super) outbox: Outbox,
    pub(super) delivery: Delivery,
    pub(super) freshness: watch::Sender<Option<Instant>>,
    pub(super) closing: mpsc::Receiver<Close>,
    /// What the core gives back.
    pub(super) receipts: mpsc::Receiver<Receipt>,
    /// What a resumed session brings is younger than this, if that is known.
    pub(super) heard: watch::Sender<Option<Instant>>,
}

/// How a session ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The connection broke or was never made.
    Lost {
        /// Why.
        loss: Loss,
        /// For how long the broker had accepted us; `None` if it never did.
        lived: Option<Duration>,
    },
    /// We left.
    Closed,
}

/// Runs one session to its end.
pub(super) async fn run(shared: &mut Shared, protocol: Protocol, epoch: u64, identity: u64) -> Ended {
    let (sender, mut driver) =
        match wire::prepare(protocol, &shared.access.settings, shared.access.tls.clone()) {
            Ok(prepared) => prepared,
            Err(loss) => return Ended::Lost { loss, lived: None },
        };
    let mut session = Session::new(shared, sender, protocol, epoch, identity);
    let end = session.live(&mut driver).await;
    let lived = session.opened_at.map(|at| clock::now().mono.saturating_duration_since(at));
    shared.freshness.send_replace(None);
    shared.outbox.session_ended();
    match end {
        End::Lost(loss) => Ended::Lost { loss, lived },
        End::Closed => Ended::Closed,
    }
}

/// Why the loop of a session stops.
enum End {
    Lost(Loss),
    Closed,
}

/// What became of one `QoS` 1 publication of this session.
struct Answer {
    sent: Sent,
    settled: Settled,
}

/// What was sent.
enum Sent {
    Heartbeat,
    Publication { tag: u64, topic: String },
}

struct Session<'a> {
    shared: &'a mut Shared,
    sender: Sender,
    protocol: Protocol,
    epoch: u64,
    started_at: Instant,
    opened_at: Option<Instant>,
    /// When the broker was last heard.
    heard_at: Instant,
    max_packet: usize,
    proof: Proof,
    resubscribe_at: Option<Instant>,
    answers: FuturesUnordered<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    /// A publication that found no room.
    parked: bool,
    /// Messages to acknowledge.
    acks: VecDeque<u16>,
    /// Messages that the core has not given back, and what each is younger than; the oldest first.
    waiting: VecDeque<(u16, Option<Instant>)>,
    refusal_logged_at: Option<Instant>,
    closing: Option<Closing>,
}

/// What a session waits for.
enum Wake {
    Polled(Result<Arrival, Loss>),
    Publish(Queued),
    Answered(Answer),
    CaughtUp,
    Time,
    Close(Close),
    Acknowledge(Receipt),
}

impl<'a> Session<'a> {
    fn new(shared: &'a mut Shared, sender: Sender, protocol: Protocol, epoch: u64, identity: u64) -> Self {
        let now = clock::now().mono;
        let proof = Proof::new(&shared.access.settings, identity, now);
        Self {
            shared,
            sender,
            protocol,
            epoch,
            started_at: now,
            opened_at: None,
            heard_at: now,
            max_packet: packet_limit(None),
            proof,
            resubscribe_at: None,
            answers: FuturesUnordered::new(),
            parked: false,
            acks: VecDeque::new(),
            waiting: VecDeque::new(),
            refusal_logged_at: None,
            closing: None,
        }
    }

    async fn live(&mut self, driver: &mut Driver) -> End {
        let mut in_a_row = 0;
        loop {
            if in_a_row == IN_A_ROW {
                in_a_row = 0;
                tokio::task::yield_now().await;
            }
            in_a_row += 1;
            let mut poll = pin!(driver.poll());
            loop {
                let end = match self.wake(poll.as_mut()).await {
                    Wake::Polled(Ok(arrival)) => match self.arrived(arrival) {
                        Some(end) => return end,
                        None => break,
                    },
                    Wake::Polled(Err(loss)) => return self.lost(loss),
                    Wake::Publish(queued) => self.publish(queued),
                    Wake::Answered(answer) => self.answered(answer),
                    Wake::CaughtUp => None,
                    Wake::Time => self.tick(),
                    Wake::Close(close) => self.close(close),
                    Wake::Acknowledge(receipt) => {
                        self.take_back(receipt);
                        None
                    }
                };
                if let Some(end) = end {
                    return end;
                }
            }
        }
    }

    /// Waits for the next thing to happen. Every branch is cancel safe but the poll, which lives in the caller.
    async fn wake(&mut self, poll: Pin<&mut impl Future<Output = Result<Arrival, Loss>>>) -> Wake {
        let deadline = self.deadline();
        let open = self.opened_at.is_some();
        let may_publish = open && !self.parked;
        let may_close = self.closing.is_none();
        let Shared { outbox, delivery, closing, receipts, .. } = &mut *self.shared;
        let is_behind = delivery.is_behind();
        let publications =
            async { if open { outbox.next(self.epoch).await } else { match outbox.hoard().await {} } };
        tokio::select! {
            polled = poll => Wake::Polled(polled),
            queued = publications, if may_publish || !open => Wake::Publish(queued),
            Some(answer) = self.answers.next(), if !self.answers.is_empty() => Wake::Answered(answer),
            () = delivery.catch_up(), if is_behind => Wake::CaughtUp,
            () = clock::sleep_until(deadline) => Wake::Time,
            Some(close) = closing.recv(), if may_close => Wake::Close(close),
            Some(receipt) = receipts.recv() => Wake::Acknowledge(receipt),
        }
    }

    /// When [`Self::tick`] may next have something to do.
    fn deadline(&self) -> Instant {
        let settings = &self.shared.access.settings;
        if let Some(closing) = &self.closing {
            return closing.until();
        }
        let Some(opened_at) = self.opened_at else {
            return self.started_at + settings.timings.connect_within;
        };
        let dead_at = self.heard_at.max(opened_at) + settings.dead_after();
        let resubscribe_at = self.resubscribe_at.unwrap_or(dead_at);
        dead_at.min(self.proof.deadline()).min(resubscribe_at)
    }

    fn arrived(&mut self, arrival: Arrival) -> Option<End> {
        let now = clock::now().mono;
        self.parked = false;
        self.acknowledge();
        match arrival {
            Arrival::Progress => {}
            Arrival::Life => self.heard_at = now,
            Arrival::Opened { max_packet, resumed } => {
                self.heard_at = now;
                self.opened(max_packet, resumed, now);
            }
            Arrival::Subscribed(answers) => {
                self.heard_at = now;
                self.subscribed(answers, now);
            }
            Arrival::Message(incoming) => {
                self.heard_at = now;
                if let Some(end) = self.message(incoming, now) {
                    return Some(end);
                }
            }
            Arrival::Farewell => return Some(self.farewell()),
        }
        self.leave_if_done()
    }

    fn opened(&mut self, max_packet: Option<u32>, resumed: bool, now: Instant) {
        let protocol = self.protocol;
        self.opened_at = Some(now);
        self.proof.opened(now);
        tracing::info!(%protocol, max_packet, resumed, "the {} is up", self.shared.access.settings.name());
        self.max_packet = packet_limit(max_packet);
        let event = if resumed {
            LinkEvent::Resumed { protocol, heard_at: *self.shared.heard.borrow() }
        } else {
            // A new session holds nothing from before it was asked for.
            self.shared.heard.send_replace(Some(self.started_at));
            LinkEvent::Up { protocol, max_packet }
        };
        self.shared.delivery.state(self.epoch, event);
        self.subscribe();
    }

    fn subscribe(&mut self) {
        // Without room, the next round asks again.
        let settings = &self.shared.access.settings;
        let wait = match self.sender.subscribe(&settings.subscriptions, settings.wants_retained) {
            Ok(()) => None,
            Err(NotTaken::Full | NotTaken::Invalid) => {
                Some(self.shared.access.settings.timings.heartbeat_every)
            }
        };
        self.resubscribe_at = wait.map(|wait| clock::now().mono + wait);
    }

    fn subscribed(&mut self, answers: Vec<Option<String>>, now: Instant) {
        let settings = Arc::clone(&self.shared.access.settings);
        let refused: Vec<_> = settings
            .subscriptions
            .iter()
            .zip(answers)
            .filter_map(|((filter, _), reason)| reason.map(|reason| format!("`{filter}` ({reason})")))
            .collect();
        if !refused.is_empty() {
            self.resubscribe_at = Some(now + settings.timings.resubscribe_every);
        }
        let event = self.proof.subscribed(&refused, now);
        self.tell(event);
        self.beat(now);
    }

    fn message(&mut self, incoming: Incoming, now: Instant) -> Option<End> {
        let packet = incoming.packet;
        let Some(message) = self.read(incoming, now) else {
            self.acks.extend(packet);
            self.acknowledge();
            return None;
        };
        let younger_than = message.echo_sent_at.or_else(|| *self.shared.heard.borrow());
        let (epoch, delivery) = (self.epoch, &mut self.shared.delivery);
        match (packet, self.shared.access.settings.session) {
            (Some(packet), _) => {
                if !delivery.waiting(epoch, message, Receipt { epoch, packet }) {
                    let sentence =
                        "commands wait here that nobody takes: the broker is to deliver them again";
                    return Some(End::Lost(Loss::new(sentence, Pace::Soon)));
                }
                self.waiting.push_back((packet, younger_than));
            }
            (None, Kind::Kept { .. }) => delivery.message_beside_waiting(epoch, message),
            (None, Kind::Clean) => delivery.message(epoch, message),
        }
        None
    }

    /// The message for the core, if it is one.
    fn read(&mut self, incoming: Incoming, now: Instant) -> Option<Message> {
        let topic = String::from_utf8(incoming.topic.into()).ok()?;
        if self.proof.is_heartbeat(&topic) {
            let event = self.proof.echo(&incoming.payload, incoming.retain, now);
            self.tell(event);
            return None;
        }
        if incoming.payload.len() > LARGEST_MESSAGE {
            tracing::debug!(%topic, bytes = incoming.payload.len(), "a message is too large to be a command");
            return None;
        }
        let echo_sent_at = self.proof.echo_sent_at();
        let Incoming { payload, retain, dup, response_topic, correlation, .. } = incoming;
        Some(Message {
            topic,
            payload,
            retain,
            dup,
            response_topic,
            correlation,
            received_at: now,
            echo_sent_at,
        })
    }

    /// The core gives a receipt back; one of an older session names nothing any more.
    fn take_back(&mut self, receipt: Receipt) {
        if receipt.epoch == self.epoch {
            self.waiting.retain(|(packet, _)| *packet != receipt.packet);
            self.note_heard();
            self.acks.push_back(receipt.packet);
            self.acknowledge();
        }
    }

    /// The broker would deliver what waits again: as long as it does, no later heartbeat bounds the age of that.
    fn note_heard(&self) {
        let oldest = self.waiting.front().map(|(_, younger_than)| *younger_than);
        let heard =
            oldest.unwrap_or_else(|| self.proof.echo_sent_at().or_else(|| *self.shared.heard.borrow()));
        self.shared.heard.send_if_modified(|known| std::mem::replace(known, heard) != heard);
    }

    /// Acknowledges what there is room for; the next arrival makes more.
    fn acknowledge(&mut self) {
        while let Some(packet) = self.acks.front() {
            if self.sender.acknowledge(*packet) == Err(NotTaken::Full) {
                return;
            }
            self.acks.pop_front();
        }
    }

    fn tick(&mut self) -> Option<End> {
        let now = clock::now().mono;
        let settings = Arc::clone(&self.shared.access.settings);
        if let Some(closing) = &self.closing {
            return (now >= closing.until()).then(|| self.give_up("the time was up"));
        }
        let Some(opened_at) = self.opened_at else {
            let limit = settings.timings.connect_within;
            return (now >= self.started_at + limit).then(|| End::Lost(cause::no_answer(&settings)));
        };
        let silent = now.saturating_duration_since(self.heard_at.max(opened_at));
        if silent >= settings.dead_after() {
            let sentence = format!("{} has been silent for {} s", settings.host, silent.as_secs());
            return Some(End::Lost(Loss::new(sentence, Pace::Soon)));
        }
        if let Some(silent) = self.proof.silent_for(now)
            && silent >= settings.dead_after()
        {
            let sentence = format!("our heartbeats stopped coming back {} s ago", silent.as_secs());
            return Some(End::Lost(Loss::new(sentence, Pace::Soon)));
        }
        if self.proof.awaits_subscription()
            && now.saturating_duration_since(opened_at) >= settings.dead_after()
        {
            let sentence = format!("{} does not acknowledge our subscription", settings.host);
            return Some(End::Lost(Loss::new(sentence, Pace::Soon)));
        }
        if self.resubscribe_at.is_some_and(|at| now >= at) {
            self.subscribe();
        }
        self.beat(now);
        None
    }

    /// Publishes the heartbeat that is due, and looks at the age of the newest echo.
    fn beat(&mut self, now: Instant) {
        if let Some(heartbeat) = self.proof.due(now) {
            let taken = self.sender.publish(&heartbeat);
            self.proof.handed_over(taken.is_ok(), now);
            if let Ok(Some(settling)) = taken {
                self.await_answer(Sent::Heartbeat, settling);
            }
        }
        let event = self.proof.check(now);
        self.tell(event);
    }

    fn tell(&mut self, event: Option<LinkEvent>) {
        let newest = self.proof.echo_sent_at();
        self.note_heard();
        self.shared.freshness.send_if_modified(|known| std::mem::replace(known, newest) != newest);
        if let Some(event) = event {
            self.shared.delivery.state(self.epoch, event);
        }
    }

    fn await_answer(&self, sent: Sent, settling: Settling) {
        self.answers.push(Box::pin(async { Answer { sent, settled: settling.await } }));
    }

    fn publish(&mut self, queued: Queued) -> Option<End> {
        let publication = &queued.publication;
        let size = publication.topic.len()
            + publication.payload.len()
            + publication.correlation.as_ref().map_or(0, bytes::Bytes::len)
            + PUBLISH_OVERHEAD;
        if size > self.max_packet {
            let limit = self.max_packet;
            tracing::error!(topic = %publication.topic, bytes = size, limit, "a publication is too large for the broker");
            return self.leave_if_done();
        }
        match self.sender.publish(publication) {
            Ok(None) => {}
            Ok(Some(settling)) => {
                let topic = publication.topic.clone();
                let tag = self.shared.outbox.sent(queued);
                self.await_answer(Sent::Publication { tag, topic }, settling);
            }
            Err(NotTaken::Full) => {
                self.parked = true;
                self.shared.outbox.put_back(queued);
            }
            Err(NotTaken::Invalid) => {
                tracing::error!(topic = %publication.topic, "a publication has no valid topic");
            }
        }
        self.leave_if_done()
    }

    fn answered(&mut self, answer: Answer) -> Option<End> {
        match (answer.sent, answer.settled) {
            (Sent::Heartbeat, settled) => self.proof.settled(settled),
            (Sent::Publication { tag, .. }, Settled::Taken) => self.shared.outbox.settled(tag),
            (Sent::Publication { tag, topic }, Settled::Refused(reason)) => {
                self.shared.outbox.settled(tag);
                self.log_refusal(&topic, &reason);
                if let Some(closing) = &mut self.closing {
                    closing.refused();
                }
            }
            // The session is about to end; what is unsettled stays so.
            (Sent::Publication { .. }, Settled::Lost) => {}
        }
        self.leave_if_done()
    }

    fn log_refusal(&mut self, topic: &str, reason: &str) {
        let now = clock::now().mono;
        let every = self.shared.access.settings.timings.remind_every;
        if self.refusal_logged_at.is_none_or(|at| now.saturating_duration_since(at) >= every) {
            self.refusal_logged_at = Some(now);
            tracing::error!(topic, reason, "the broker refuses a publication: allow it in its rules");
        }
    }

    fn close(&mut self, close: Close) -> Option<End> {
        let Close { last, within, answer } = close;
        self.shared.outbox.close(self.epoch, last);
        self.closing = Some(Closing::new(within, answer, clock::now().mono));
        self.parked = false;
        if self.opened_at.is_none() {
            return Some(self.give_up("there is no connection"));
        }
        self.leave_if_done()
    }

    /// Says goodbye once everything is with the broker.
    fn leave_if_done(&mut self) -> Option<End> {
        let closing = self.closing.as_mut()?;
        if closing.may_disconnect(self.shared.outbox.open()) && self.sender.disconnect().is_ok() {
            closing.disconnecting(clock::now().mono);
        }
        None
    }

    fn farewell(&mut self) -> End {
        match &mut self.closing {
            Some(closing) => {
                closing.said_goodbye();
                End::Closed
            }
            None => End::Lost(Loss::new("the connection was closed on our side", Pace::Soon)),
        }
    }

    /// The connection is gone; what was still to be acknowledged never will be.
    fn lost(&mut self, loss: Loss) -> End {
        if self.closing.is_some() { self.give_up(&loss.sentence) } else { End::Lost(loss) }
    }

    fn give_up(&mut self, cause: &str) -> End {
        if let Some(closing) = &mut self.closing {
            closing.give_up(self.shared.outbox.open(), cause);
        }
        End::Closed
    }
}

fn packet_limit(broker: Option<u32>) -> usize {
    let limit = broker.unwrap_or(wire::LARGEST_PACKET).min(wire::LARGEST_PACKET);
    usize::try_from(limit).unwrap_or(usize::MAX)
}
