//! The two client crates behind one face: nothing above this file knows which MQTT version is spoken.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use rustls::ClientConfig;

use super::{
    cause::Loss,
    dial::{Dialer, Tap},
    settings::Settings,
    v5, v311,
};
use crate::model::{Protocol, Publication, Qos};

/// The largest packet that we take or send, in bytes.
pub(super) const LARGEST_PACKET: u32 = 1024 * 1024;
/// How many of our `QoS` 1 publications may be unacknowledged at once, unless the broker allows fewer.
pub(super) const IN_FLIGHT: u16 = 200;
/// How many `QoS` 1 messages the broker may send before we acknowledge one (MQTT 5).
pub(super) const RECEIVE_MAXIMUM: u16 = 1_000;
/// The same where the core acknowledges (MQTT 5): what it has not taken always has room in the channel of events.
pub(super) const KEPT_RECEIVE_MAXIMUM: u16 = 100;
/// How many publications the client crate may hold before it says that it is full.
pub(super) const REQUESTS: usize = 64;

/// What a connection brings.
#[derive(Debug)]
pub(super) enum Arrival {
    /// The broker accepted CONNECT.
    Opened {
        /// The largest packet that the broker takes, in bytes, where it says so.
        max_packet: Option<u32>,
        /// Whether it kept the session.
        resumed: bool,
    },
    /// The answer to SUBSCRIBE, one for each filter in the order of the settings: what is wrong with it, if anything.
    Subscribed(Vec<Option<String>>),
    /// A message.
    Message(Incoming),
    /// Some other packet: the broker is alive.
    Life,
    /// DISCONNECT is written.
    Farewell,
    /// A packet of ours is on its way: the client crate may have room again.
    Progress,
}

/// A message, as it is read.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) topic: Bytes,
    pub(super) payload: Bytes,
    pub(super) retain: bool,
    pub(super) dup: bool,
    pub(super) response_topic: Option<String>,
    pub(super) correlation: Option<Bytes>,
    /// The packet identifier, where we have to acknowledge it.
    pub(super) packet: Option<u16>,
}

/// What became of a `QoS` 1 publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Settled {
    /// The broker has it.
    Taken,
    /// The broker refuses it.
    Refused(String),
    /// The connection ended first.
    Lost,
}

/// Resolves when the broker has answered a `QoS` 1 publication.
pub(super) type Settling = Pin<Box<dyn Future<Output = Settled> + Send>>;

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// There is no room; it may fit after the next [`Arrival`].
    Full,
    /// The topic is not valid.
    Invalid,
}

/// Takes requests, never waits.
#[derive(Debug)]
pub(super) enum Sender {
    V5(v5::Sender),
    V311(v311::Sender),
}

/// Drives the connection.
pub(super) enum Driver {
    V5(Box<v5::Driver>),
    V311(Box<v311::Driver>),
}

/// Prepares one connection, which the first [`Driver::poll`] makes.
pub(super) fn prepare(
    protocol: Protocol,
    settings: &Arc<Settings>,
    tls: Option<Arc<ClientConfig>>,
) -> Result<(Sender, Driver), Loss> {
    let dialer = Dialer { settings: Arc::clone(settings), tls, tap: Tap::default() };
    match protocol {
        Protocol::V5 => {
            let (sender, driver) = v5::prepare(dialer)?;
            Ok((Sender::V5(sender), Driver::V5(Box::new(driver))))
        }
        Protocol::V311 => {
            let (sender, driver) = v311::prepare(dialer)?;
            Ok((Sender::V311(sender), Driver::V311(Box::new(driver))))
        }
    }
}

impl Sender {
    /// Hands over a publication; with `QoS` 1, what comes back tells what became of it.
    pub(super) fn publish(&self, publication: &Publication) -> Result<Option<Settling>, NotTaken> {
        match self {
            Self::V5(sender) => sender.publish(publication),
            Self::V311(sender) => sender.publish(publication),
        }
    }

    /// Hands over one SUBSCRIBE for all filters, with which the broker gives what it retains, or does not; with MQTT 3.1.1 it
    /// always does.
    pub(super) fn subscribe(&self, filters: &[(String, Qos)], wants_retained: bool) -> Result<(), NotTaken> {
        match self {
            Self::V5(sender) => sender.subscribe(filters, wants_retained),
            Self::V311(sender) => sender.subscribe(filters),
        }
    }

    /// Hands over PUBACK for a message that came with a packet identifier; none does with MQTT 3.1.1.
    pub(super) fn acknowledge(&self, packet: u16) -> Result<(), NotTaken> {
        match self {
            Self::V5(sender) => sender.acknowledge(packet),
            Self::V311(_) => Ok(()),
        }
    }

    /// Hands over DISCONNECT.
    pub(super) fn disconnect(&self) -> Result<(), NotTaken> {
        match self {
            Self::V5(sender) => sender.disconnect(),
            Self::V311(sender) => sender.disconnect(),
        }
    }
}

impl Driver {
    /// Waits for the next arrival. Not cancel safe: once dropped half-way, drop the driver too.
    pub(super) async fn poll(&mut self) -> Result<Arrival, Loss> {
        match self {
            Self::V5(driver) => driver.poll().await,
            Self::V311(driver) => driver.poll().await,
        }
    }
}

/// The URL of a websocket endpoint. Always `ws`: whether there is TLS below is the dialer's business.
pub(super) fn websocket_url(settings: &Settings) -> String {
    let Settings { host, port, path, .. } = settings;
    if host.contains(':') {
        format!("ws://[{host}]:{port}{path}")
    } else {
        format!("ws://{host}:{port}{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::tests::settings;

    #[test]
    fn a_websocket_url_carries_host_port_and_path() {
        let mut settings = settings(8080);
        settings.path = "/mqtt".into();
        assert_eq!(websocket_url(&settings), "ws://127.0.0.1:8080/mqtt");
        settings.host = "::1".into();
        assert_eq!(websocket_url(&settings), "ws://[::1]:8080/mqtt");
    }
}
