//! The broker without sockets: events of connections in, writes and closures out.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rumqttc::mqttbytes::{
    QoS,
    v5::{
        ConnAck, DisconnectReasonCode, LastWill, PubAck, PubAckReason, Publish, PublishProperties, SubAck,
        Subscribe, SubscribeFilter, SubscribeReasonCode, UnsubAck, UnsubAckReason, Unsubscribe,
    },
};

use super::{
    message::Message,
    retained::Retained,
    session::{Session, Terms, lower, wants_retained},
    topic,
    wire::{Incoming, Outgoing},
};

/// How many sessions of clients that are away are kept; beyond it the one that would end first goes.
const MAX_AWAY: usize = 64;

/// The longest time for which a session is kept.
const LONGEST_KEPT: Duration = Duration::from_hours(1);

/// Names one connection for as long as the broker runs.
pub(super) type ConnectionId = u64;

/// What happened to a connection.
#[derive(Debug)]
pub(super) enum Event {
    /// A CONNECT was accepted; the answer is `ack`.
    Connected { id: ConnectionId, terms: Box<Terms>, ack: Box<ConnAck> },
    /// A packet after the CONNECT.
    Received { id: ConnectionId, packet: Incoming },
    /// The last [`Effect::Write`] is with the socket.
    Written { id: ConnectionId },
    /// The connection ended without a DISCONNECT of the client; `reason` is what an MQTT 5 client is told.
    Lost { id: ConnectionId, reason: Option<DisconnectReasonCode> },
}

/// What the socket layer is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Write these packets in this order, then report [`Event::Written`].
    Write(ConnectionId, Vec<Outgoing>),
    /// Close, and tell an MQTT 5 client why.
    Close(ConnectionId, Option<DisconnectReasonCode>),
}

/// All sessions and the retained messages.
#[derive(Debug, Default)]
pub(super) struct Hub {
    sessions: BTreeMap<ConnectionId, Session>,
    by_client: BTreeMap<String, ConnectionId>,
    /// Sessions of clients that are away, and when they end.
    away: BTreeMap<String, (Instant, Session)>,
    retained: Retained,
    store_was_full: bool,
    closing: Vec<Effect>,
}

impl Hub {
    /// Takes one event and says what is to be done, in this order.
    pub(super) fn handle(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        self.away.retain(|_, (until, _)| *until > now);
        match event {
            Event::Connected { id, terms, ack } => self.connected(id, *terms, ack, now),
            Event::Received { id, packet } => self.received(id, packet, now),
            Event::Written { id } => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.written();
                }
            }
            Event::Lost { id, reason } => self.end(id, reason, true, now),
        }
        self.end_slow(now);
        let mut effects = std::mem::take(&mut self.closing);
        for (id, session) in &mut self.sessions {
            let batch = session.next_batch(now);
            if !batch.is_empty() {
                effects.push(Effect::Write(*id, batch));
            }
        }
        effects
    }

    /// The retained messages that `filter` matches.
    pub(super) fn retained(&self, filter: &str, now: Instant) -> Vec<(String, Bytes)> {
        self.retained.matching(filter, now).map(|m| (m.topic.clone(), m.payload.clone())).collect()
    }

    /// Forgets all retained messages.
    pub(super) fn forget_retained(&mut self) {
        self.retained.clear();
    }

    /// The connections there are.
    pub(super) fn connections(&self) -> Vec<ConnectionId> {
        self.sessions.keys().copied().collect()
    }

    fn connected(&mut self, id: ConnectionId, terms: Terms, mut ack: Box<ConnAck>, now: Instant) {
        if let Some(&old) = self.by_client.get(&terms.client_id) {
            tracing::info!(
                client = terms.client_id,
                "client connected again, its older connection is closed"
            );
            self.end(old, Some(DisconnectReasonCode::SessionTakenOver), true, now);
        }
        self.by_client.insert(terms.client_id.clone(), id);
        let kept = self.away.remove(&terms.client_id).filter(|_| !terms.clean_start);
        ack.session_present = kept.is_some();
        let mut session = match kept {
            Some((_, session)) => session.resume(terms),
            None => Session::new(terms),
        };
        session.reply(Outgoing::ConnAck(ack));
        self.sessions.insert(id, session);
    }

    fn received(&mut self, id: ConnectionId, packet: Incoming, now: Instant) {
        // A packet may arrive after its connection was closed from here.
        let Some(session) = self.sessions.get_mut(&id) else { return };
        match packet {
            Incoming::Ping => session.reply(Outgoing::Pong),
            Incoming::PubAck(packet_id) => session.acknowledged(packet_id),
            Incoming::PubRel(packet_id) => {
                session.released(packet_id);
                session.reply(Outgoing::PubComp(packet_id));
            }
            Incoming::Publish(publish) => self.published(id, *publish, now),
            Incoming::Subscribe(subscribe) => self.subscribe(id, subscribe, now),
            Incoming::Unsubscribe(packet) => {
                let ack = unsubscribe(session, &packet);
                session.reply(ack);
            }
            Incoming::Disconnect(reason, expiry) => {
                if let Some(seconds) = expiry {
                    session.keep_for(kept_for(seconds));
                }
                self.end(id, None, reason != DisconnectReasonCode::NormalDisconnection, now);
            }
            Incoming::Connect(..) => self.end(id, Some(DisconnectReasonCode::ProtocolError), true, now),
        }
    }

    fn published(&mut self, id: ConnectionId, mut publish: Publish, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let (packet_id, qos) = (publish.pkid, publish.qos);
        if qos == QoS::ExactlyOnce && session.may_use_qos_2() {
            publish.qos = QoS::AtLeastOnce;
            session.reply(Outgoing::PubRec(packet_id));
            if !session.begin(packet_id) {
                return;
            }
        }
        let message = match message(publish, now) {
            Ok(message) => message,
            Err(reason) => return self.end(id, Some(reason), true, now),
        };
        let kept = self.deliver(Some(id), message);
        if qos == QoS::AtLeastOnce
            && let Some(session) = self.sessions.get_mut(&id)
        {
            let mut ack = PubAck::new(packet_id, None);
            if !kept {
                ack.reason = PubAckReason::QuotaExceeded;
            }
            session.reply(Outgoing::PubAck(ack));
        }
    }

    /// Retains `message` if it asks for that and queues it for every subscriber; false if it could not be retained.
    fn deliver(&mut self, from: Option<ConnectionId>, message: Message) -> bool {
        let message = Arc::new(message);
        let kept = !message.retain || self.retained.set(&message).is_ok();
        if !kept && !self.store_was_full {
            tracing::warn!(topic = message.topic, "retained store is full, further messages are not kept");
        }
        self.store_was_full |= !kept;
        for (id, session) in &mut self.sessions {
            session.offer(&message, from == Some(*id));
        }
        for (_, session) in self.away.values_mut() {
            session.offer(&message, false);
        }
        kept
    }

    fn subscribe(&mut self, id: ConnectionId, subscribe: Subscribe, now: Instant) {
        if subscribe.filters.iter().any(|options| !topic::is_filter(&options.path)) {
            return self.end(id, Some(DisconnectReasonCode::TopicFilterInvalid), true, now);
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let identifier = subscribe.properties.and_then(|properties| properties.id);
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        for mut options in subscribe.filters {
            if let Some(refusal) = refusal(session, &options) {
                codes.push(refusal);
                continue;
            }
            options.qos = lower(options.qos, QoS::AtLeastOnce);
            codes.push(SubscribeReasonCode::Success(options.qos));
            let (filter, qos, rule) =
                (options.path.clone(), options.qos, options.retain_forward_rule.clone());
            let new = session.subscribe(options, identifier);
            if wants_retained(&rule, new) {
                for message in self.retained.matching(&filter, now) {
                    session.offer_retained(message, qos, identifier);
                }
            }
        }
        // Acknowledgements pass messages, so the client sees this one first.
        session.reply(Outgoing::SubAck(SubAck {
            pkid: subscribe.pkid,
            return_codes: codes,
            properties: None,
        }));
    }

    /// Ends a connection, publishes the will, and keeps the session if it is to be kept.
    fn end(&mut self, id: ConnectionId, reason: Option<DisconnectReasonCode>, will: bool, now: Instant) {
        let Some(mut session) = self.sessions.remove(&id) else { return };
        self.by_client.remove(session.client_id());
        tracing::debug!(client = session.client_id(), ?reason, will, "client gone");
        self.closing.push(Effect::Close(id, reason));
        if will && let Some(mut message) = session.take_will() {
            message.received = now;
            self.deliver(None, message);
        }
        if !session.kept_for().is_zero() {
            session.leave();
            let until = now + session.kept_for();
            self.away.insert(session.client_id().to_owned(), (until, session));
        }
        if self.away.len() > MAX_AWAY
            && let Some(first) =
                self.away.iter().min_by_key(|(_, (until, _))| *until).map(|(id, _)| id.clone())
        {
            self.away.remove(&first);
        }
    }

    /// Ends every session that more waits for than may wait; a will may bring others there.
    fn end_slow(&mut self, now: Instant) {
        while let Some(id) =
            self.sessions.iter().find_map(|(id, session)| session.is_too_slow().then_some(*id))
        {
            if let Some(session) = self.sessions.get(&id) {
                tracing::warn!(client = session.client_id(), "client reads too slowly and is disconnected");
            }
            self.end(id, Some(DisconnectReasonCode::QuotaExceeded), true, now);
        }
    }
}

/// How long a session is kept that is to be kept for so many seconds.
pub(super) fn kept_for(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into()).min(LONGEST_KEPT)
}

/// The will of a CONNECT as a message, or why it cannot be one.
pub(super) fn will_message(will: LastWill, now: Instant) -> Result<Message, DisconnectReasonCode> {
    let properties = will.properties.map(|p| PublishProperties {
        payload_format_indicator: p.payload_format_indicator,
        message_expiry_interval: p.message_expiry_interval,
        response_topic: p.response_topic,
        correlation_data: p.correlation_data,
        user_properties: p.user_properties,
        content_type: p.content_type,
        ..PublishProperties::default()
    });
    let publish = Publish {
        dup: false,
        qos: will.qos,
        retain: will.retain,
        topic: will.topic,
        pkid: 0,
        payload: will.message,
        properties,
    };
    message(publish, now)
}

/// A PUBLISH as a message, or why the rules forbid it.
fn message(publish: Publish, now: Instant) -> Result<Message, DisconnectReasonCode> {
    if publish.qos == QoS::ExactlyOnce {
        return Err(DisconnectReasonCode::QoSNotSupported);
    }
    let mut properties = publish.properties.unwrap_or_default();
    if properties.topic_alias.is_some() {
        return Err(DisconnectReasonCode::TopicAliasInvalid);
    }
    let response_topic_is_valid = properties.response_topic.as_deref().is_none_or(topic::is_topic);
    if !properties.subscription_identifiers.is_empty() || !response_topic_is_valid {
        return Err(DisconnectReasonCode::ProtocolError);
    }
    let topic = std::str::from_utf8(&publish.topic).map_err(|_| DisconnectReasonCode::TopicNameInvalid)?;
    if !topic::is_topic(topic) {
        return Err(DisconnectReasonCode::TopicNameInvalid);
    }
    properties.correlation_data = properties.correlation_data.map(|bytes| Bytes::copy_from_slice(&bytes));
    let message = Message::new(topic, &publish.payload, now);
    Ok(Message { qos: publish.qos, retain: publish.retain, properties, ..message })
}

/// Why a well-formed filter is refused, if it is.
fn refusal(session: &Session, options: &SubscribeFilter) -> Option<SubscribeReasonCode> {
    if topic::is_shared(&options.path) {
        Some(SubscribeReasonCode::SharedSubscriptionsNotSupported)
    } else if session.has_room_for(&options.path) {
        None
    } else {
        Some(SubscribeReasonCode::QuotaExceeded)
    }
}

/// Ends the subscriptions and makes the acknowledgement.
fn unsubscribe(session: &mut Session, packet: &Unsubscribe) -> Outgoing {
    let reasons = packet.filters.iter().map(|filter| {
        if session.unsubscribe(filter) {
            UnsubAckReason::Success
        } else {
            UnsubAckReason::NoSubscriptionExisted
        }
    });
    Outgoing::UnsubAck(UnsubAck { pkid: packet.pkid, reasons: reasons.collect(), properties: None })
}

#[cfg(test)]
mod tests {
    use rumqttc::mqttbytes::v5::{ConnectReturnCode, RetainForwardRule};

    use super::*;
    use crate::demo::broker::session::{
        MAX_FILTER_BYTES, MAX_KEPT_MESSAGES, MAX_QUEUED_PACKETS, MAX_SUBSCRIPTIONS,
    };

    /// A hub with the time stopped. Every write is reported as written unless a client is `stuck`.
    struct Bench {
        hub: Hub,
        now: Instant,
        stuck: Option<ConnectionId>,
        written: Vec<(ConnectionId, Outgoing)>,
        closed: Vec<(ConnectionId, Option<DisconnectReasonCode>)>,
    }

    impl Bench {
        fn new() -> Self {
            let now = crate::clock::now().mono;
            Self { hub: Hub::default(), now, stuck: None, written: Vec::new(), closed: Vec::new() }
        }

        fn event(&mut self, event: Event) {
            let mut effects = self.hub.handle(event, self.now);
            while !effects.is_empty() {
                let mut written = Vec::new();
                for effect in effects {
                    match effect {
                        Effect::Write(id, packets) => {
                            self.written.extend(packets.into_iter().map(|packet| (id, packet)));
                            if self.stuck != Some(id) {
                                written.push(id);
                            }
                        }
                        Effect::Close(id, reason) => self.closed.push((id, reason)),
                    }
                }
                effects = written
                    .into_iter()
                    .flat_map(|id| self.hub.handle(Event::Written { id }, self.now))
                    .collect();
            }
        }

        fn connect(&mut self, id: ConnectionId, edit: impl FnOnce(&mut Terms)) {
            let mut terms = Terms {
                client_id: format!("client-{id}"),
                will: None,
                clean_start: true,
                kept_for: Duration::ZERO,
                receive_maximum: None,
                may_use_qos_2: false,
                max_packet_bytes: None,
            };
            edit(&mut terms);
            let ack = ConnAck { session_present: false, code: ConnectReturnCode::Success, properties: None };
            self.event(Event::Connected { id, terms: Box::new(terms), ack: Box::new(ack) });
        }

        fn receive(&mut self, id: ConnectionId, packet: Incoming) {
            self.event(Event::Received { id, packet });
        }

        fn subscribe(&mut self, id: ConnectionId, filter: &str, edit: impl FnOnce(&mut SubscribeFilter)) {
            let mut options = SubscribeFilter::new(filter, QoS::AtLeastOnce);
            edit(&mut options);
            self.receive(
                id,
                Incoming::Subscribe(Subscribe { pkid: 7, filters: vec![options], properties: None }),
            );
        }

        fn publish(&mut self, id: ConnectionId, topic: &str, payload: &str, edit: impl FnOnce(&mut Publish)) {
            let mut publish = Publish::new(topic, QoS::AtMostOnce, payload.to_owned(), None);
            edit(&mut publish);
            self.receive(id, Incoming::Publish(Box::new(publish)));
        }

        /// Topic, payload, retain flag and `QoS` of what `id` was given since the last call.
        fn given(&mut self, id: ConnectionId) -> Vec<(String, String, bool, QoS)> {
            let (mine, others): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.written).into_iter().partition(|(to, _)| *to == id);
            self.written = others;
            mine.into_iter()
                .filter_map(|(_, packet)| match packet {
                    Outgoing::Publish(p) => Some((
                        String::from_utf8(p.topic.to_vec()).unwrap(),
                        String::from_utf8(p.payload.to_vec()).unwrap(),
                        p.retain,
                        p.qos,
                    )),
                    Outgoing::ConnAck(_)
                    | Outgoing::PubAck(_)
                    | Outgoing::PubRec(_)
                    | Outgoing::PubComp(_)
                    | Outgoing::SubAck(_)
                    | Outgoing::UnsubAck(_)
                    | Outgoing::Pong
                    | Outgoing::Disconnect(_) => None,
                })
                .collect()
        }
    }

    fn one(topic: &str, payload: &str, retain: bool, qos: QoS) -> Vec<(String, String, bool, QoS)> {
        vec![(topic.to_owned(), payload.to_owned(), retain, qos)]
    }

    fn will(topic: &str) -> Message {
        Message { retain: true, ..Message::new(topic, b"offline", crate::clock::now().mono) }
    }

    #[test]
    fn retain_handling_and_retain_as_published() {
        for (rule, first, again) in [
            (RetainForwardRule::OnEverySubscribe, 1, 1),
            (RetainForwardRule::OnNewSubscribe, 1, 0),
            (RetainForwardRule::Never, 0, 0),
        ] {
            for preserve in [false, true] {
                let mut bench = Bench::new();
                bench.connect(1, |_| {});
                bench.publish(1, "a", "kept", |p| p.retain = true);
                bench.connect(2, |_| {});
                let edit = |o: &mut SubscribeFilter| {
                    o.retain_forward_rule = rule.clone();
                    o.preserve_retain = preserve;
                };
                for expected in [first, again] {
                    bench.subscribe(2, "+", edit);
                    let given = bench.given(2);
                    assert_eq!(given.len(), expected, "{rule:?}");
                    assert!(given.iter().all(|m| m.2), "what was retained is marked so");
                }
                bench.publish(1, "a", "live", |p| p.retain = true);
                assert_eq!(bench.given(2), one("a", "live", preserve, QoS::AtMostOnce));
            }
        }
    }

    #[test]
    fn overlapping_subscriptions_deliver_once_with_the_highest_qos() {
        let mut bench = Bench::new();
        bench.connect(1, |_| {});
        bench.subscribe(1, "a/#", |o| o.qos = QoS::AtMostOnce);
        bench.subscribe(1, "a/b", |o| o.qos = QoS::ExactlyOnce);
        bench.subscribe(1, "+/b", |o| o.qos = QoS::AtMostOnce);
        bench.publish(1, "a/b", "x", |p| (p.qos, p.pkid) = (QoS::AtLeastOnce, 9));
        assert_eq!(bench.given(1), one("a/b", "x", false, QoS::AtLeastOnce));
        bench.publish(1, "a/b", "y", |_| {});
        assert_eq!(bench.given(1), one("a/b", "y", false, QoS::AtMostOnce));
    }

    #[test]
    fn a_repeated_qos_2_message_of_an_old_client_is_delivered_once() {
        let mut bench = Bench::new();
        bench.connect(1, |t| t.may_use_qos_2 = true);
        bench.connect(2, |_| {});
        bench.subscribe(2, "a", |_| {});
        bench.written.clear();
        for _ in 0..2 {
            bench.publish(1, "a", "x", |p| (p.qos, p.pkid) = (QoS::ExactlyOnce, 5));
        }
        assert_eq!(bench.given(2), one("a", "x", false, QoS::AtLeastOnce));
        bench.receive(1, Incoming::PubRel(5));
        let expected =
            [Outgoing::PubRec(5), Outgoing::PubRec(5), Outgoing::PubComp(5)].map(|packet| (1, packet));
        assert_eq!(std::mem::take(&mut bench.written), expected);
        bench.publish(1, "a", "y", |p| (p.qos, p.pkid) = (QoS::ExactlyOnce, 5));
        assert_eq!(bench.given(2), one("a", "y", false, QoS::AtLeastOnce));
    }

    #[test]
    fn no_local_holds_back_only_what_the_subscriber_published() {
        let mut bench = Bench::new();
        bench.connect(1, |_| {});
        bench.connect(2, |_| {});
        for id in [1, 2] {
            bench.subscribe(id, "a", |o| o.nolocal = true);
        }
        bench.publish(1, "a", "x", |_| {});
        assert_eq!(bench.given(1), []);
        assert_eq!(bench.given(2), one("a", "x", false, QoS::AtMostOnce));
    }

    #[test]
    fn a_will_is_published_unless_the_client_said_goodbye() {
        type End = fn(&mut Bench);
        let ends: [(&str, End, usize); 6] = [
            ("lost", |b| b.event(Event::Lost { id: 1, reason: None }), 1),
            (
                "silent",
                |b| b.event(Event::Lost { id: 1, reason: Some(DisconnectReasonCode::KeepAliveTimeout) }),
                1,
            ),
            ("taken over", |b| b.connect(3, |t| t.client_id = "client-1".to_owned()), 1),
            ("invalid", |b| b.publish(1, "a/#", "x", |_| {}), 1),
            (
                "with will",
                |b| b.receive(1, Incoming::Disconnect(DisconnectReasonCode::DisconnectWithWillMessage, None)),
                1,
            ),
            (
                "normal",
                |b| b.receive(1, Incoming::Disconnect(DisconnectReasonCode::NormalDisconnection, None)),
                0,
            ),
        ];
        for (name, end, expected) in ends {
            let mut bench = Bench::new();
            bench.connect(2, |_| {});
            bench.subscribe(2, "#", |_| {});
            bench.connect(1, |t| t.will = Some(will("w")));
            end(&mut bench);
            assert_eq!(bench.given(2).len(), expected, "{name}");
            assert_eq!(bench.hub.retained("w", bench.now).len(), expected, "{name}");
            assert_eq!(bench.closed.iter().filter(|(id, _)| *id == 1).count(), 1, "{name}");
            bench.event(Event::Lost { id: 1, reason: None });
            assert_eq!(bench.given(2), [], "{name}: at most once");
        }
    }

    #[test]
    fn a_client_that_reads_nothing_is_cut_and_the_others_get_everything() {
        let mut bench = Bench::new();
        for id in 1..=3 {
            bench.connect(id, |_| {});
        }
        bench.stuck = Some(2);
        bench.subscribe(2, "#", |_| {});
        bench.subscribe(3, "#", |_| {});
        let count = MAX_QUEUED_PACKETS + 2_000;
        for i in 0..count {
            bench.publish(1, "t", &i.to_string(), |_| {});
        }
        assert_eq!(bench.closed, [(2, Some(DisconnectReasonCode::QuotaExceeded))]);
        let given: Vec<String> = bench.given(3).into_iter().map(|m| m.1).collect();
        assert_eq!(given, (0..count).map(|i| i.to_string()).collect::<Vec<_>>(), "all of them, in order");
    }

    #[test]
    fn a_client_that_only_asks_and_never_reads_is_cut_by_the_bytes_of_the_answers() {
        let mut bench = Bench::new();
        bench.stuck = Some(1);
        bench.connect(1, |_| {});
        let filters = vec![String::new(); 100_000];
        let unsubscribe = Unsubscribe { pkid: 1, filters, properties: None };
        let asked = (0..1_000)
            .take_while(|_| {
                bench.receive(1, Incoming::Unsubscribe(unsubscribe.clone()));
                bench.closed.is_empty()
            })
            .count();
        assert!((100..1_000).contains(&asked), "{asked} answers waited");
        assert_eq!(bench.closed, [(1, Some(DisconnectReasonCode::QuotaExceeded))]);
    }

    #[test]
    fn no_more_is_in_flight_than_the_client_allows_and_order_is_kept() {
        let mut bench = Bench::new();
        bench.connect(1, |t| t.receive_maximum = Some(2));
        bench.subscribe(1, "#", |_| {});
        for payload in ["1", "2", "3", "4"] {
            bench.publish(1, "t", payload, |p| (p.qos, p.pkid) = (QoS::AtLeastOnce, 1));
        }
        bench.publish(1, "t", "5", |_| {});
        let payloads = |bench: &mut Bench| bench.given(1).into_iter().map(|m| m.1).collect::<Vec<_>>();
        assert_eq!(payloads(&mut bench), ["1", "2"]);
        bench.receive(1, Incoming::PubAck(1));
        assert_eq!(payloads(&mut bench), ["3"]);
        bench.receive(1, Incoming::PubAck(2));
        assert_eq!(payloads(&mut bench), ["4", "5"]);
    }

    #[test]
    fn the_expiry_interval_shrinks_while_a_message_waits_and_then_ends_it() {
        let mut bench = Bench::new();
        bench.connect(1, |_| {});
        bench.publish(1, "a", "x", |p| {
            p.retain = true;
            p.properties =
                Some(PublishProperties { message_expiry_interval: Some(10), ..PublishProperties::default() });
        });
        bench.now += Duration::from_secs(4);
        bench.subscribe(1, "a", |_| {});
        let left = bench.written.iter().find_map(|(_, packet)| match packet {
            Outgoing::Publish(p) => p.properties.as_ref()?.message_expiry_interval,
            Outgoing::ConnAck(_)
            | Outgoing::PubAck(_)
            | Outgoing::PubRec(_)
            | Outgoing::PubComp(_)
            | Outgoing::SubAck(_)
            | Outgoing::UnsubAck(_)
            | Outgoing::Pong
            | Outgoing::Disconnect(_) => None,
        });
        assert_eq!(left, Some(6));
        bench.given(1);
        bench.now += Duration::from_secs(6);
        bench.subscribe(1, "a", |_| {});
        assert_eq!(bench.given(1), []);
    }

    #[test]
    fn a_message_larger_than_the_client_takes_is_left_out() {
        let mut bench = Bench::new();
        bench.connect(1, |t| t.max_packet_bytes = Some(50));
        bench.subscribe(1, "#", |_| {});
        bench.publish(1, "t", &"x".repeat(50), |_| {});
        bench.publish(1, "t", "small", |_| {});
        assert_eq!(bench.given(1), one("t", "small", false, QoS::AtMostOnce));
    }

    #[test]
    fn subscriptions_are_bounded_and_shared_ones_refused() {
        let mut bench = Bench::new();
        bench.connect(1, |_| {});
        bench.subscribe(1, "$share/g/a", |_| {});
        for i in 0..MAX_SUBSCRIPTIONS {
            bench.subscribe(1, &format!("t/{i}"), |_| {});
        }
        bench.subscribe(1, "one/more", |_| {});
        bench.subscribe(1, "t/0", |_| {});
        bench.connect(2, |_| {});
        bench.subscribe(2, &"x".repeat(MAX_FILTER_BYTES), |_| {});
        bench.subscribe(2, &"x".repeat(MAX_FILTER_BYTES + 1), |_| {});
        let codes: Vec<_> = bench
            .written
            .iter()
            .filter_map(|(_, packet)| match packet {
                Outgoing::SubAck(ack) => ack.return_codes.first().copied(),
                Outgoing::ConnAck(_)
                | Outgoing::Publish(_)
                | Outgoing::PubAck(_)
                | Outgoing::PubRec(_)
                | Outgoing::PubComp(_)
                | Outgoing::UnsubAck(_)
                | Outgoing::Pong
                | Outgoing::Disconnect(_) => None,
            })
            .collect();
        let (granted, full) =
            (SubscribeReasonCode::Success(QoS::AtLeastOnce), SubscribeReasonCode::QuotaExceeded);
        assert_eq!(codes[0], SubscribeReasonCode::SharedSubscriptionsNotSupported);
        assert_eq!(codes[1..=MAX_SUBSCRIPTIONS], vec![granted; MAX_SUBSCRIPTIONS]);
        assert_eq!(codes[MAX_SUBSCRIPTIONS + 1..], [full, granted, granted, full]);
    }

    /// A client whose session is kept for ten seconds, on a connection of this number.
    fn return_as(bench: &mut Bench, id: ConnectionId, clean_start: bool) -> bool {
        bench.written.clear();
        bench.connect(id, |t| {
            t.client_id = "kept".to_owned();
            (t.clean_start, t.kept_for) = (clean_start, Duration::from_secs(10));
        });
        let Some((_, Outgoing::ConnAck(ack))) = bench.written.first() else { panic!("no CONNACK first") };
        ack.session_present
    }

    fn say(bench: &mut Bench, payload: &str) {
        bench.publish(1, "a", payload, |p| (p.qos, p.pkid) = (QoS::AtLeastOnce, 9));
    }

    /// Packet id, payload and whether it is marked as sent before.
    fn sent(bench: &mut Bench, to: ConnectionId) -> Vec<(u16, String, bool)> {
        let written = std::mem::take(&mut bench.written);
        let mut sent = Vec::new();
        for (id, packet) in written {
            if let Outgoing::Publish(p) = packet
                && id == to
            {
                sent.push((p.pkid, String::from_utf8(p.payload.to_vec()).unwrap(), p.dup));
            }
        }
        sent
    }

    #[test]
    fn a_kept_session_delivers_what_was_not_acknowledged_again_and_then_what_came_meanwhile() {
        let mut bench = Bench::new();
        bench.connect(1, |_| {});
        assert!(!return_as(&mut bench, 2, false));
        bench.subscribe(2, "a", |_| {});
        for payload in ["1", "2", "3"] {
            say(&mut bench, payload);
        }
        let live = |packet_id, payload: &str| (packet_id, payload.to_owned(), false);
        let again = |packet_id, payload: &str| (packet_id, payload.to_owned(), true);
        assert_eq!(sent(&mut bench, 2), [live(1, "1"), live(2, "2"), live(3, "3")]);
        bench.receive(2, Incoming::PubAck(2));
        bench.event(Event::Lost { id: 2, reason: None });
        say(&mut bench, "4");
        bench.publish(1, "a", "of QoS 0", |_| {});
        assert!(return_as(&mut bench, 3, false));
        assert_eq!(sent(&mut bench, 3), [again(1, "1"), again(3, "3"), live(4, "4")]);
        // A second connection of the same client takes it over.
        assert!(return_as(&mut bench, 4, false));
        assert_eq!(sent(&mut bench, 4), [again(1, "1"), again(3, "3"), again(4, "4")]);
        assert!(!return_as(&mut bench, 5, true), "it wants none of it");
        say(&mut bench, "5");
        assert_eq!(sent(&mut bench, 5), []);
    }

    #[test]
    fn a_kept_session_ends_by_time_by_a_goodbye_for_ever_and_by_number_and_holds_a_thousand_messages() {
        let goodbye = |seconds| Incoming::Disconnect(DisconnectReasonCode::NormalDisconnection, seconds);
        for (end, millis, there) in
            [(None, 9_999, true), (None, 10_000, false), (Some(0), 0, false), (Some(20), 19_999, true)]
        {
            let mut bench = Bench::new();
            return_as(&mut bench, 2, false);
            bench.receive(2, goodbye(end));
            bench.now += Duration::from_millis(millis);
            assert_eq!(return_as(&mut bench, 3, false), there, "{end:?} {millis}");
        }
        let mut bench = Bench::new();
        bench.connect(1, |_| {});
        bench.receive(1, goodbye(Some(10)));
        assert_eq!(bench.hub.away.len(), 0, "it was not to be kept");
        bench.connect(1, |_| {});
        return_as(&mut bench, 2, false);
        bench.subscribe(2, "a", |_| {});
        bench.receive(2, goodbye(None));
        for _ in 0..MAX_KEPT_MESSAGES + 10 {
            say(&mut bench, "x");
        }
        assert!(return_as(&mut bench, 3, false));
        assert_eq!(sent(&mut bench, 3).len(), MAX_KEPT_MESSAGES);
        bench.receive(3, goodbye(None));
        for id in 10..10 + ConnectionId::try_from(MAX_AWAY).unwrap() {
            bench.connect(id, |t| t.kept_for = Duration::from_secs(20));
            bench.receive(id, goodbye(None));
        }
        assert_eq!(bench.hub.away.len(), MAX_AWAY);
        assert!(!return_as(&mut bench, 4, false), "it would have ended first");
    }

    #[test]
    fn what_the_rules_forbid_ends_that_connection_only() {
        type Edit = fn(&mut Publish);
        let table: [(Edit, DisconnectReasonCode); 5] = [
            (|p| p.topic = Bytes::from_static(b"a/+"), DisconnectReasonCode::TopicNameInvalid),
            (|p| p.topic = Bytes::new(), DisconnectReasonCode::TopicNameInvalid),
            (|p| p.qos = QoS::ExactlyOnce, DisconnectReasonCode::QoSNotSupported),
            (
                |p| {
                    p.properties =
                        Some(PublishProperties { topic_alias: Some(1), ..PublishProperties::default() });
                },
                DisconnectReasonCode::TopicAliasInvalid,
            ),
            (
                |p| {
                    p.properties = Some(PublishProperties {
                        response_topic: Some("a/#".to_owned()),
                        ..PublishProperties::default()
                    });
                },
                DisconnectReasonCode::ProtocolError,
            ),
        ];
        for (edit, reason) in table {
            let mut bench = Bench::new();
            bench.connect(1, |_| {});
            bench.connect(2, |_| {});
            bench.publish(1, "a", "x", edit);
            assert_eq!(bench.closed, [(1, Some(reason))]);
            assert_eq!(bench.hub.connections(), [2]);
        }
    }
}
