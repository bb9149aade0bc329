//! One connected client: its subscriptions and what waits to be sent to it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use rumqttc::mqttbytes::{
    QoS,
    v5::{Publish, RetainForwardRule, SubscribeFilter, SubscribeReasonCode},
};

use super::{message::Message, topic, wire::Outgoing};

/// How many filters one client may hold.
pub(super) const MAX_SUBSCRIPTIONS: usize = 10_000;

/// The longest filter, in bytes; with the number of filters it bounds what a client's subscriptions hold.
pub(super) const MAX_FILTER_BYTES: usize = 1_024;

/// How many packets may wait for one client. Twice what is retained, so that a fresh subscriber gets all of it.
pub(super) const MAX_QUEUED_PACKETS: usize = 2 * super::retained::MAX_MESSAGES;

/// How many bytes may wait for one client. Payloads are shared between clients and with the retained store.
pub(super) const MAX_QUEUED_BYTES: usize = 64 * 1024 * 1024;

/// How many `QoS` 1 messages may be unacknowledged, whatever the client allows.
const MAX_IN_FLIGHT: usize = 1_024;

/// How many messages wait for a client that is away; what comes later is dropped.
pub(super) const MAX_KEPT_MESSAGES: usize = 1_000;

/// How many packets and bytes go to the socket in one write.
const BATCH_PACKETS: usize = 256;
const BATCH_BYTES: usize = 256 * 1024;

/// What a CONNECT says about a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) client_id: String,
    pub(super) will: Option<Message>,
    /// Whether what was kept of an earlier session is dropped.
    pub(super) clean_start: bool,
    /// How long the session is kept after the connection ends.
    pub(super) kept_for: Duration,
    /// The client's receive maximum; 3.1.1 has none.
    pub(super) receive_maximum: Option<u16>,
    /// Whether the client may publish with `QoS` 2: 3.1.1 has no way to tell it not to.
    pub(super) may_use_qos_2: bool,
    /// The largest packet that the client takes, in bytes.
    pub(super) max_packet_bytes: Option<u32>,
}

#[derive(Debug, Clone)]
struct Subscription {
    options: SubscribeFilter,
    identifier: Option<usize>,
}

#[derive(Debug, Clone)]
struct Queued {
    message: Arc<Message>,
    qos: QoS,
    retain: bool,
    identifiers: Vec<usize>,
    /// The packet id under which it was sent before on another connection.
    sent_as: Option<u16>,
}

/// A client, connected or away for a while.
#[derive(Debug)]
pub(super) struct Session {
    terms: Terms,
    /// Filters without wildcards, found by the topic itself.
    exact: BTreeMap<String, Subscription>,
    wild: BTreeMap<String, Subscription>,
    /// Acknowledgements; they pass messages, which may wait for the client's own acknowledgements.
    replies: VecDeque<Outgoing>,
    messages: VecDeque<Queued>,
    queued_bytes: usize,
    /// `QoS` 1 messages that the client has not acknowledged, the oldest first; with what is sent again if it may return.
    in_flight: VecDeque<(u16, Option<Queued>)>,
    last_packet_id: u16,
    /// `QoS` 2 messages of the client that it has not released yet.
    unreleased: BTreeSet<u16>,
    /// A batch is on its way to the socket.
    writing: bool,
    /// The connection ended and the session is kept.
    away: bool,
}

impl Session {
    pub(super) fn new(terms: Terms) -> Self {
        Self {
            terms,
            exact: BTreeMap::new(),
            wild: BTreeMap::new(),
            replies: VecDeque::new(),
            messages: VecDeque::new(),
            queued_bytes: 0,
            in_flight: VecDeque::new(),
            last_packet_id: 0,
            unreleased: BTreeSet::new(),
            writing: false,
            away: false,
        }
    }

    pub(super) fn client_id(&self) -> &str {
        &self.terms.client_id
    }

    /// How long it is kept after the connection ends.
    pub(super) const fn kept_for(&self) -> Duration {
        self.terms.kept_for
    }

    /// The client says goodbye and wants it kept for another time. One that was not to be kept stays so.
    pub(super) fn keep_for(&mut self, time: Duration) {
        if !self.terms.kept_for.is_zero() {
            self.terms.kept_for = time;
        }
    }

    /// The connection ended: subscriptions stay, and `QoS` 1 messages wait, those first that were not acknowledged.
    pub(super) fn leave(&mut self) {
        (self.away, self.writing) = (true, false);
        self.replies.clear();
        self.unreleased.clear();
        self.messages.retain(|queued| queued.qos != QoS::AtMostOnce);
        for (packet_id, queued) in self.in_flight.drain(..).rev() {
            if let Some(queued) = queued {
                self.messages.push_front(Queued { sent_as: Some(packet_id), ..queued });
            }
        }
        self.queued_bytes = self.messages.iter().map(|queued| queued.message.size()).sum();
    }

    /// The client is back.
    pub(super) fn resume(self, terms: Terms) -> Self {
        Self { terms, away: false, ..self }
    }

    /// Takes the will out: it is published at most once.
    pub(super) fn take_will(&mut self) -> Option<Message> {
        self.terms.will.take()
    }

    /// Whether `filter` is short enough, and held already or one that still fits.
    pub(super) fn has_room_for(&self, filter: &str) -> bool {
        if filter.len() > MAX_FILTER_BYTES {
            return false;
        }
        let held = self.exact.len() + self.wild.len();
        held < MAX_SUBSCRIPTIONS || self.exact.contains_key(filter) || self.wild.contains_key(filter)
    }

    /// Adds or replaces a subscription; whether it is new.
    pub(super) fn subscribe(&mut self, options: SubscribeFilter, identifier: Option<usize>) -> bool {
        let filter = options.path.clone();
        let map = if topic::has_wildcard(&filter) { &mut self.wild } else { &mut self.exact };
        map.insert(filter, Subscription { options, identifier }).is_none()
    }

    /// Ends a subscription; whether there was one.
    pub(super) fn unsubscribe(&mut self, filter: &str) -> bool {
        self.exact.remove(filter).is_some() || self.wild.remove(filter).is_some()
    }

    /// Queues `message` once if any subscription matches, with the highest `QoS` that these allow. `own`: this client
    /// published it.
    pub(super) fn offer(&mut self, message: &Arc<Message>, own: bool) {
        let wild = self.wild.iter().filter(|(filter, _)| topic::matches(filter, &message.topic));
        let matching =
            self.exact.get(&message.topic).into_iter().chain(wild.map(|(_, subscription)| subscription));
        let mut queued: Option<Queued> = None;
        for Subscription { options, identifier } in matching.filter(|s| !(own && s.options.nolocal)) {
            let queued = queued.get_or_insert_with(|| Queued {
                message: Arc::clone(message),
                qos: QoS::AtMostOnce,
                retain: false,
                identifiers: Vec::new(),
                sent_as: None,
            });
            queued.qos = higher(queued.qos, lower(options.qos, message.qos));
            queued.retain |= options.preserve_retain && message.retain;
            queued.identifiers.extend(*identifier);
        }
        if let Some(queued) = queued {
            self.queue(queued);
        }
    }

    /// Queues a retained message because of a subscription just made.
    pub(super) fn offer_retained(&mut self, message: &Arc<Message>, qos: QoS, identifier: Option<usize>) {
        self.queue(Queued {
            message: Arc::clone(message),
            qos: lower(qos, message.qos),
            retain: true,
            identifiers: identifier.into_iter().collect(),
            sent_as: None,
        });
    }

    pub(super) fn reply(&mut self, reply: Outgoing) {
        self.queued_bytes = self.queued_bytes.saturating_add(reply_size(&reply));
        self.replies.push_back(reply);
    }

    /// The client acknowledged the message with this packet id.
    pub(super) fn acknowledged(&mut self, packet_id: u16) {
        self.in_flight.retain(|(sent, _)| *sent != packet_id);
    }

    pub(super) fn may_use_qos_2(&self) -> bool {
        self.terms.may_use_qos_2
    }

    /// The client sent a `QoS` 2 message; whether it is new and no repetition.
    pub(super) fn begin(&mut self, packet_id: u16) -> bool {
        self.unreleased.insert(packet_id)
    }

    /// The client released its `QoS` 2 message: its packet id may be used again.
    pub(super) fn released(&mut self, packet_id: u16) {
        self.unreleased.remove(&packet_id);
    }

    /// The last batch is with the socket.
    pub(super) fn written(&mut self) {
        self.writing = false;
    }

    /// Whether more waits than may wait.
    pub(super) fn is_too_slow(&self) -> bool {
        self.replies.len() + self.messages.len() > MAX_QUEUED_PACKETS || self.queued_bytes > MAX_QUEUED_BYTES
    }

    /// The next packets for the socket; empty while a batch is on its way or nothing may be sent.
    pub(super) fn next_batch(&mut self, now: Instant) -> Vec<Outgoing> {
        if self.writing {
            return Vec::new();
        }
        let mut batch: Vec<Outgoing> = self.replies.drain(..self.replies.len().min(BATCH_PACKETS)).collect();
        let mut bytes = batch.iter().map(reply_size).sum();
        self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
        while batch.len() < BATCH_PACKETS && bytes < BATCH_BYTES && self.window_is_open() {
            let Some(queued) = self.messages.pop_front() else { break };
            let size = queued.message.size();
            self.queued_bytes = self.queued_bytes.saturating_sub(size);
            if let Some(publish) = self.publish(queued, now) {
                bytes += size;
                batch.push(Outgoing::Publish(Box::new(publish)));
            }
        }
        self.writing = !batch.is_empty();
        batch
    }

    fn queue(&mut self, queued: Queued) {
        if self.away && (queued.qos == QoS::AtMostOnce || self.messages.len() >= MAX_KEPT_MESSAGES) {
            return;
        }
        self.queued_bytes = self.queued_bytes.saturating_add(queued.message.size());
        self.messages.push_back(queued);
    }

    /// Whether the first waiting message may be sent: order is kept, so a full window holds all behind it.
    fn window_is_open(&self) -> bool {
        let window = self.terms.receive_maximum.map_or(MAX_IN_FLIGHT, usize::from).min(MAX_IN_FLIGHT);
        self.messages
            .front()
            .is_some_and(|queued| queued.qos == QoS::AtMostOnce || self.in_flight.len() < window)
    }

    /// The packet for a waiting message; `None` if it expired or the client takes no packet of that size.
    fn publish(&mut self, queued: Queued, now: Instant) -> Option<Publish> {
        let mut publish = queued.message.to_publish(now)?;
        let again = (!self.terms.kept_for.is_zero()).then(|| queued.clone());
        publish.qos = queued.qos;
        publish.dup = queued.sent_as.is_some();
        publish.retain = queued.retain;
        if let Some(properties) = &mut publish.properties {
            properties.subscription_identifiers = queued.identifiers;
        }
        if publish.qos != QoS::AtMostOnce {
            publish.pkid = queued.sent_as.unwrap_or_else(|| self.free_packet_id());
        }
        let limit = self.terms.max_packet_bytes.and_then(|bytes| usize::try_from(bytes).ok());
        if limit.is_some_and(|limit| publish.size() > limit) {
            tracing::debug!(
                client = self.client_id(),
                topic = queued.message.topic,
                "message larger than the client takes"
            );
            return None;
        }
        if publish.qos != QoS::AtMostOnce {
            self.in_flight.push_back((publish.pkid, again));
        }
        Some(publish)
    }

    /// A packet id that is not in flight; the window is far smaller than the ids there are. What is sent again goes first,
    /// so that its id is in flight by then.
    fn free_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            if self.in_flight.iter().all(|(sent, _)| *sent != self.last_packet_id) {
                return self.last_packet_id;
            }
        }
    }
}

/// What a waiting acknowledgement is charged with, in bytes: one of many filters is long.
fn reply_size(reply: &Outgoing) -> usize {
    let codes = match reply {
        Outgoing::SubAck(ack) => ack.return_codes.len(),
        Outgoing::UnsubAck(ack) => ack.reasons.len(),
        Outgoing::ConnAck(_)
        | Outgoing::Publish(_)
        | Outgoing::PubAck(_)
        | Outgoing::PubRec(_)
        | Outgoing::PubComp(_)
        | Outgoing::Pong
        | Outgoing::Disconnect(_) => 0,
    };
    codes.saturating_mul(size_of::<SubscribeReasonCode>()).saturating_add(size_of::<Outgoing>())
}

/// Whether the retained messages are wanted on a subscription that is `new` or replaces an equal one.
pub(super) fn wants_retained(rule: &RetainForwardRule, new: bool) -> bool {
    match rule {
        RetainForwardRule::OnEverySubscribe => true,
        RetainForwardRule::OnNewSubscribe => new,
        RetainForwardRule::Never => false,
    }
}

/// The lower of two levels.
pub(super) fn lower(a: QoS, b: QoS) -> QoS {
    if a < b { a } else { b }
}

fn higher(a: QoS, b: QoS) -> QoS {
    if a < b { b } else { a }
}
