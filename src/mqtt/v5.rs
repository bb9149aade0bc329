//! MQTT 5 through `rumqttc-v5-next`.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "foreign enums grow, and what is not named here is told as it is"
)]

use std::{fmt, pin::Pin, sync::Arc};

use rumqttc::{
    AckMode, AsyncClient, Broker, ClientError, ConnectReturnCode, ConnectionError, DisconnectReasonCode,
    Event, EventLoop, LastWill, ManualAck, MqttOptions, Outgoing, Packet, PersistedAckMode, PersistedSession,
    PubAck, PubAckReason, PublishNoticeError, PublishOptions, PublishProperties, PublishResult, QoS,
    RetainForwardRule, SessionStore, SessionStoreError, SessionStoreKey, StateError, SubscribeFilterInput,
    SubscribeReasonCode,
};
use secrecy::ExposeSecret;

use super::{
    backoff::Pace,
    cause::{self, Loss},
    dial::{Dialer, Tap},
    settings::{Session, Settings},
    wire::{self, Arrival, Incoming, NotTaken, Settled, Settling},
};
use crate::model::{Publication, Qos, Scheme};

/// What the crate is told of our side of a session that the broker kept: that nothing is under way. What we published and
/// was not acknowledged is published anew where it still matters, and the broker alone knows what it has for us. Without
/// such a word the crate takes a kept session for a fault.
#[derive(Debug)]
struct NothingOfOurs;

type Stored<'a, T> = Pin<Box<dyn Future<Output = Result<T, SessionStoreError>> + Send + 'a>>;

impl SessionStore for NothingOfOurs {
    fn load<'a>(&'a self, key: &'a SessionStoreKey) -> Stored<'a, Option<PersistedSession>> {
        Box::pin(async {
            Ok(Some(PersistedSession {
                format_version: 1,
                client_id: key.client_id().to_owned(),
                clean_start: false,
                session_expiry_interval: None,
                outgoing_inflight_upper_limit: Some(wire::IN_FLIGHT),
                ack_mode: PersistedAckMode::Manual,
                last_pkid: 0,
                last_puback: 0,
                replay: Vec::new(),
                incoming_qos2: Vec::new(),
            }))
        })
    }

    fn save<'a>(&'a self, _: &'a SessionStoreKey, _: &'a PersistedSession) -> Stored<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn clear<'a>(&'a self, _: &'a SessionStoreKey) -> Stored<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// Takes requests for one connection.
pub(super) struct Sender(AsyncClient);

/// Drives one connection.
pub(super) struct Driver {
    settings: Arc<Settings>,
    tap: Tap,
    event_loop: EventLoop,
    open: bool,
}

pub(super) fn prepare(dialer: Dialer) -> Result<(Sender, Driver), Loss> {
    let settings = Arc::clone(&dialer.settings);
    let tap = dialer.tap.clone();
    let options = options(&settings, dialer)?;
    let (client, event_loop) = AsyncClient::builder(options).capacity(wire::REQUESTS).build();
    Ok((Sender(client), Driver { settings, tap, event_loop, open: false }))
}

fn options(settings: &Settings, dialer: Dialer) -> Result<MqttOptions, Loss> {
    let mut options = target(settings)?;
    options
        .set_keep_alive(settings.keep_alive_seconds())
        .set_clean_start(true)
        .set_session_expiry_interval(Some(settings.session_seconds()))
        .set_receive_maximum(Some(wire::RECEIVE_MAXIMUM))
        .set_max_packet_size(Some(wire::LARGEST_PACKET))
        .set_outgoing_inflight_upper_limit(wire::IN_FLIGHT)
        // The session ends an attempt that takes too long; this limit only has to lie behind it.
        .set_connect_timeout(settings.timings.connect_within.saturating_mul(2));
    match settings.session {
        Session::Clean => {}
        Session::Kept { .. } => {
            options
                .set_clean_start(false)
                .set_session_store(NothingOfOurs)
                .set_receive_maximum(Some(wire::KEPT_RECEIVE_MAXIMUM))
                .set_ack_mode(AckMode::Manual);
        }
    }
    if let Some(will) = &settings.last_will {
        options.set_last_will(LastWill::new(
            will.topic.as_str(),
            will.payload.to_vec(),
            qos(will.qos),
            will.retain,
            None,
        ));
    }
    if let Some((user, password)) = &settings.credentials {
        options.set_credentials(user.as_str(), password.expose_secret().as_bytes().to_vec());
    }
    options.set_socket_connector(move |_, _| dialer.clone().dial());
    Ok(options)
}

fn target(settings: &Settings) -> Result<MqttOptions, Loss> {
    let id = settings.client_id.as_str();
    match settings.scheme {
        Scheme::Mqtt | Scheme::Mqtts => Ok(MqttOptions::new(id, (settings.host.as_str(), settings.port))),
        Scheme::Ws | Scheme::Wss => {
            let url = wire::websocket_url(settings);
            match Broker::websocket(url.as_str()) {
                Ok(broker) => Ok(MqttOptions::new(id, broker)),
                Err(cause) => Err(Loss::new(format!("{url}: {cause}"), Pace::Slow)),
            }
        }
    }
}

const fn qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("v5::Sender")
    }
}

impl Sender {
    pub(super) fn publish(&self, publication: &Publication) -> Result<Option<Settling>, NotTaken> {
        let mut options = PublishOptions::new(qos(publication.qos)).retain(publication.retain);
        if let Some(correlation) = &publication.correlation {
            options = options.properties(PublishProperties {
                correlation_data: Some(correlation.clone()),
                ..PublishProperties::default()
            });
        }
        let notice = self
            .0
            .try_publish_tracked(publication.topic.as_str(), publication.payload.clone(), options)
            .map_err(|error| not_taken(&error))?;
        Ok(match publication.qos {
            Qos::AtMostOnce => None,
            Qos::AtLeastOnce => Some(Box::pin(async move { settled(notice.wait_async().await) })),
        })
    }

    pub(super) fn subscribe(&self, filters: &[(String, Qos)], wants_retained: bool) -> Result<(), NotTaken> {
        let filters = filters.iter().map(|(filter, wanted)| {
            let rule =
                if wants_retained { RetainForwardRule::OnEverySubscribe } else { RetainForwardRule::Never };
            SubscribeFilterInput::new(filter.as_str(), qos(*wanted))
                .no_local(false)
                .preserve_retain(true)
                .retain_forward_rule(rule)
        });
        self.0.try_subscribe_many(filters).map_err(|error| not_taken(&error))
    }

    pub(super) fn acknowledge(&self, packet: u16) -> Result<(), NotTaken> {
        let ack = ManualAck::PubAck(PubAck::new(packet, None));
        self.0.try_manual_ack(ack).map_err(|error| not_taken(&error))
    }

    pub(super) fn disconnect(&self) -> Result<(), NotTaken> {
        self.0.try_disconnect().map_err(|error| not_taken(&error))
    }
}

const fn not_taken(error: &ClientError) -> NotTaken {
    match error {
        ClientError::RequestChannelFull(_) | ClientError::RequestChannelDisconnected(_) => NotTaken::Full,
        _ => NotTaken::Invalid,
    }
}

fn settled(result: Result<PublishResult, PublishNoticeError>) -> Settled {
    match result {
        Ok(PublishResult::Qos1(ack)) => match ack.reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Settled::Taken,
            PubAckReason::NotAuthorized => Settled::Refused("not authorised".to_owned()),
            other => Settled::Refused(format!("{other:?}")),
        },
        Ok(_) => Settled::Taken,
        Err(PublishNoticeError::RetainNotSupported) => {
            Settled::Refused("it keeps no retained messages".to_owned())
        }
        Err(_) => Settled::Lost,
    }
}

impl Driver {
    pub(super) async fn poll(&mut self) -> Result<Arrival, Loss> {
        match self.event_loop.poll().await {
            Ok(Event::Incoming(packet)) => self.arrived(packet),
            Ok(Event::Outgoing(Outgoing::Disconnect)) => Ok(Arrival::Farewell),
            Ok(Event::Outgoing(_) | Event::Auth(_)) => Ok(Arrival::Progress),
            Err(error) => Err(self.loss(&error)),
        }
    }

    fn arrived(&mut self, packet: Packet) -> Result<Arrival, Loss> {
        Ok(match packet {
            Packet::ConnAck(ack) => {
                self.open = true;
                let limits = ack.properties.as_ref();
                if limits.and_then(|limits| limits.retain_available) == Some(0) {
                    let host = &self.settings.host;
                    return Err(Loss::new(
                        format!(
                            "{host} keeps no retained messages (Retain Available is 0): allow them there"
                        ),
                        Pace::Slow,
                    ));
                }
                if limits.and_then(|limits| limits.max_qos) == Some(0) {
                    return Err(Loss::new(
                        format!("{} takes no QoS 1 (Maximum QoS is 0): allow it there", self.settings.host),
                        Pace::Slow,
                    ));
                }
                Arrival::Opened {
                    max_packet: limits.and_then(|limits| limits.max_packet_size),
                    resumed: ack.session_present,
                }
            }
            Packet::SubAck(ack) => Arrival::Subscribed(ack.return_codes.into_iter().map(refusal).collect()),
            Packet::Publish(publish) => {
                let properties = publish.properties.unwrap_or_default();
                let kept = matches!(self.settings.session, Session::Kept { .. });
                Arrival::Message(Incoming {
                    topic: publish.topic,
                    payload: publish.payload,
                    retain: publish.retain,
                    dup: publish.dup,
                    response_topic: properties.response_topic,
                    correlation: properties.correlation_data,
                    packet: (kept && publish.qos == QoS::AtLeastOnce).then_some(publish.pkid),
                })
            }
            _ => Arrival::Life,
        })
    }

    fn loss(&self, error: &ConnectionError) -> Loss {
        let settings = &self.settings;
        if !self.open && self.tap.refuses_version() {
            return refused(settings, ConnectReturnCode::UnsupportedProtocolVersion);
        }
        if self.open
            && let Some(Ok(reason)) = self.tap.farewell().map(DisconnectReasonCode::try_from)
        {
            return ended_by_broker(settings, reason);
        }
        match error {
            ConnectionError::ConnectionRefused(code) => refused(settings, *code),
            ConnectionError::Websocket(fault) => cause::of_websocket(fault, settings, self.open),
            ConnectionError::ResponseValidation(fault) => cause::of_websocket(fault, settings, self.open),
            ConnectionError::SessionStateMismatch { .. } => cause::session_present(settings),
            ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
                ended_by_broker(settings, *reason_code)
            }
            ConnectionError::MqttState(StateError::AwaitPingResp) => Loss::new(
                format!("{} did not answer a ping within the keep-alive interval", settings.host),
                Pace::Soon,
            ),
            ConnectionError::MqttState(StateError::ConnectionAborted) => cause::closed(settings, self.open),
            ConnectionError::MqttState(
                StateError::IncomingPacketTooLarge { .. }
                | StateError::Deserialization(rumqttc::mqttbytes::Error::PayloadSizeLimitExceeded { .. }),
            ) => cause::too_large(wire::LARGEST_PACKET),
            ConnectionError::MqttState(StateError::Deserialization(rumqttc::mqttbytes::Error::Io(io))) => {
                cause::of_transport(io, settings, self.open)
            }
            ConnectionError::MqttState(StateError::Deserialization(fault)) if !self.open => {
                Loss::of_version(format!("{} does not answer in MQTT 5: {fault}", settings.host))
            }
            other => cause::of_transport(other, settings, self.open),
        }
    }
}

fn ended_by_broker(settings: &Settings, reason: DisconnectReasonCode) -> Loss {
    match reason {
        DisconnectReasonCode::SessionTakenOver => cause::taken_over(settings),
        other => Loss::new(format!("{} ended the session: {other:?}", settings.host), Pace::Soon),
    }
}

fn refusal(code: SubscribeReasonCode) -> Option<String> {
    match code {
        SubscribeReasonCode::Success(_) => None,
        SubscribeReasonCode::NotAuthorized => Some("not authorised".to_owned()),
        other => Some(format!("{other:?}")),
    }
}

fn refused(settings: &Settings, code: ConnectReturnCode) -> Loss {
    match code {
        ConnectReturnCode::UnsupportedProtocolVersion | ConnectReturnCode::RefusedProtocolVersion => {
            Loss::of_version(format!("{} does not speak MQTT 5", settings.host))
        }
        ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => {
            cause::not_authorised(settings)
        }
        ConnectReturnCode::ClientIdentifierNotValid | ConnectReturnCode::BadClientId => {
            cause::refused(settings, &format!("it does not like the client id `{}`", settings.client_id))
        }
        ConnectReturnCode::RetainNotSupported => {
            cause::refused(settings, "it keeps no retained messages: allow them there")
        }
        other => cause::refused(settings, &format!("{other:?}")),
    }
}
