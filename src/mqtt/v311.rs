//! MQTT 3.1.1 through `rumqttc-v4-next`.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "foreign enums grow, and what is not named here is told as it is"
)]

use std::{fmt, sync::Arc};

use rumqttc_v4::{
    AsyncClient, Broker, ClientError, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill,
    MqttOptions, Outgoing, Packet, PublishOptions, QoS, StateError, SubscribeFilter, SubscribeReasonCode,
};
use secrecy::ExposeSecret;

use super::{
    backoff::Pace,
    cause::{self, Loss},
    dial::Dialer,
    settings::Settings,
    wire::{self, Arrival, Incoming, NotTaken, Settled, Settling},
};
use crate::model::{Publication, Qos, Scheme};

/// [`wire::LARGEST_PACKET`] as this crate counts.
const LARGEST_PACKET: usize = 1024 * 1024;

/// Takes requests for one connection.
pub(super) struct Sender(AsyncClient);

/// Drives one connection.
pub(super) struct Driver {
    settings: Arc<Settings>,
    event_loop: EventLoop,
    open: bool,
}

pub(super) fn prepare(dialer: Dialer) -> Result<(Sender, Driver), Loss> {
    let settings = Arc::clone(&dialer.settings);
    let options = options(&settings, dialer)?;
    let (client, mut event_loop) = AsyncClient::builder(options).capacity(wire::REQUESTS).build();
    // The session ends an attempt that takes too long; this limit only has to lie behind it.
    let limit = settings.timings.connect_within.as_secs().saturating_mul(2).max(2);
    event_loop.network_options.set_connection_timeout(limit);
    Ok((Sender(client), Driver { settings, event_loop, open: false }))
}

fn options(settings: &Settings, dialer: Dialer) -> Result<MqttOptions, Loss> {
    let mut options = target(settings)?;
    options
        .set_keep_alive(settings.keep_alive_seconds())
        .set_clean_session(true)
        .set_inflight(wire::IN_FLIGHT)
        .set_max_packet_size(LARGEST_PACKET, LARGEST_PACKET);
    if let Some(will) = &settings.last_will {
        options.set_last_will(LastWill::new(
            will.topic.as_str(),
            will.payload.to_vec(),
            qos(will.qos),
            will.retain,
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
        f.write_str("v311::Sender")
    }
}

impl Sender {
    pub(super) fn publish(&self, publication: &Publication) -> Result<Option<Settling>, NotTaken> {
        let options = PublishOptions::new(qos(publication.qos)).retain(publication.retain);
        let notice = self
            .0
            .try_publish_tracked(publication.topic.as_str(), publication.payload.clone(), options)
            .map_err(|error| not_taken(&error))?;
        Ok(match publication.qos {
            Qos::AtMostOnce => None,
            Qos::AtLeastOnce => Some(Box::pin(async move {
                if notice.wait_async().await.is_ok() { Settled::Taken } else { Settled::Lost }
            })),
        })
    }

    pub(super) fn subscribe(&self, filters: &[(String, Qos)]) -> Result<(), NotTaken> {
        let filters =
            filters.iter().map(|(filter, wanted)| SubscribeFilter::new(filter.clone(), qos(*wanted)));
        self.0.try_subscribe_many(filters).map_err(|error| not_taken(&error))
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

impl Driver {
    pub(super) async fn poll(&mut self) -> Result<Arrival, Loss> {
        match self.event_loop.poll().await {
            Ok(Event::Incoming(packet)) => Ok(self.arrived(packet)),
            Ok(Event::Outgoing(Outgoing::Disconnect)) => Ok(Arrival::Farewell),
            Ok(Event::Outgoing(_)) => Ok(Arrival::Progress),
            Err(error) => Err(self.loss(&error)),
        }
    }

    fn arrived(&mut self, packet: Packet) -> Arrival {
        match packet {
            Packet::ConnAck(_) => {
                self.open = true;
                Arrival::Opened { max_packet: None, resumed: false }
            }
            Packet::SubAck(ack) => Arrival::Subscribed(ack.return_codes.into_iter().map(refusal).collect()),
            Packet::Publish(publish) => Arrival::Message(Incoming {
                topic: publish.topic,
                payload: publish.payload,
                retain: publish.retain,
                dup: publish.dup,
                response_topic: None,
                correlation: None,
                packet: None,
            }),
            _ => Arrival::Life,
        }
    }

    fn loss(&self, error: &ConnectionError) -> Loss {
        let settings = &self.settings;
        match error {
            ConnectionError::ConnectionRefused(code) => refused(settings, *code),
            ConnectionError::Websocket(fault) => cause::of_websocket(fault, settings, self.open),
            ConnectionError::ResponseValidation(fault) => cause::of_websocket(fault, settings, self.open),
            ConnectionError::SessionStateMismatch { .. } => cause::session_present(settings),
            ConnectionError::MqttState(StateError::AwaitPingResp) => Loss::new(
                format!("{} did not answer a ping within the keep-alive interval", settings.host),
                Pace::Soon,
            ),
            ConnectionError::MqttState(StateError::ConnectionAborted) => cause::closed(settings, self.open),
            ConnectionError::MqttState(StateError::Deserialization(
                rumqttc_v4::mqttbytes::Error::PayloadSizeLimitExceeded(_),
            )) => cause::too_large(wire::LARGEST_PACKET),
            ConnectionError::MqttState(StateError::Deserialization(rumqttc_v4::mqttbytes::Error::Io(io))) => {
                cause::of_transport(io, settings, self.open)
            }
            ConnectionError::MqttState(StateError::Deserialization(fault)) if !self.open => {
                Loss::of_version(format!("{} does not answer in MQTT 3.1.1: {fault}", settings.host))
            }
            other => cause::of_transport(other, settings, self.open),
        }
    }
}

fn refusal(code: SubscribeReasonCode) -> Option<String> {
    match code {
        SubscribeReasonCode::Success(_) => None,
        SubscribeReasonCode::Failure => Some("refused without a reason".to_owned()),
    }
}

fn refused(settings: &Settings, code: ConnectReturnCode) -> Loss {
    match code {
        ConnectReturnCode::RefusedProtocolVersion => {
            Loss::of_version(format!("{} does not speak MQTT 3.1.1", settings.host))
        }
        ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => {
            cause::not_authorised(settings)
        }
        ConnectReturnCode::BadClientId => {
            cause::refused(settings, &format!("it does not like the client id `{}`", settings.client_id))
        }
        other @ (ConnectReturnCode::Success | ConnectReturnCode::ServiceUnavailable) => {
            cause::refused(settings, &format!("{other:?}"))
        }
    }
}
