//! Bytes to packets and back, for MQTT 3.1.1 and 5, on the public codecs of the two client crates.
//!
//! The rest of the broker speaks MQTT 5 only; packets of 3.1.1 are translated here.

use bytes::BytesMut;
use rumqttc::mqttbytes::{
    self, Error as V5Error, QoS,
    v5::{
        ConnAck, Connect, ConnectReturnCode, Disconnect, DisconnectReasonCode, LastWill, Packet, PubAck,
        PubComp, PubRec, Publish, SubAck, Subscribe, SubscribeFilter, SubscribeReasonCode, UnsubAck,
        Unsubscribe,
    },
};
use rumqttc_v4::mqttbytes::{Error as V4Error, v4};
use tokio_util::codec::{Decoder, Encoder};

/// The largest packet that is read, in bytes, its fixed header included. Announced to MQTT 5 clients.
pub(super) const MAX_PACKET_BYTES: u32 = 1024 * 1024;

/// The largest remaining length that MQTT can express.
const MAX_REMAINING_LENGTH: usize = 268_435_455;

/// The first byte of a CONNECT.
const CONNECT: u8 = 0x10;

/// Which protocol a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// MQTT 3.1.1.
    V4,
    /// MQTT 5.
    V5,
}

/// What a client may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Incoming {
    /// The first packet, and only the first.
    Connect(Box<Connect>, Option<Box<LastWill>>),
    Publish(Box<Publish>),
    PubAck(u16),
    /// The second half of a `QoS` 2 message, which only 3.1.1 may send here.
    PubRel(u16),
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
    Ping,
    /// Why, and for how many seconds the session is to be kept, where that changes.
    Disconnect(DisconnectReasonCode, Option<u32>),
}

/// What the broker sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outgoing {
    ConnAck(Box<ConnAck>),
    Publish(Box<Publish>),
    PubAck(PubAck),
    PubRec(u16),
    PubComp(u16),
    SubAck(SubAck),
    UnsubAck(UnsubAck),
    Pong,
    /// Only MQTT 5 has it; for 3.1.1 nothing is written.
    Disconnect(DisconnectReasonCode),
}

/// Why bytes are no packet of a client.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// The packet is larger than [`MAX_PACKET_BYTES`].
    #[error("a packet is larger than {MAX_PACKET_BYTES} bytes")]
    TooLarge,
    /// The CONNECT asks for a protocol that is not spoken here.
    #[error("the client asks for a protocol other than MQTT 3.1.1 and 5")]
    UnknownVersion,
    /// The bytes break the rules of MQTT 3.1.1.
    #[error("malformed MQTT 3.1.1 packet: {0}")]
    V4(V4Error),
    /// The bytes break the rules of MQTT 5.
    #[error("malformed MQTT 5 packet: {0}")]
    V5(V5Error),
    /// A packet that a client never sends, or not in this state.
    #[error("a packet of a kind that is not allowed here")]
    NotAllowed,
    /// The socket failed.
    #[error("the socket failed: {0}")]
    Io(#[from] std::io::Error),
}

impl WireError {
    /// The reason that an MQTT 5 client is told.
    pub(super) fn reason(&self) -> Option<DisconnectReasonCode> {
        match self {
            Self::TooLarge => Some(DisconnectReasonCode::PacketTooLarge),
            Self::V5(V5Error::ProtocolViolation(reason)) => Some(*reason),
            Self::V4(_) | Self::V5(_) => Some(DisconnectReasonCode::MalformedPacket),
            Self::UnknownVersion | Self::NotAllowed => Some(DisconnectReasonCode::ProtocolError),
            Self::Io(_) => None,
        }
    }
}

/// The codec of one connection; the first packet decides its version.
#[derive(Debug, Default)]
pub(super) struct Codec {
    version: Option<Version>,
}

impl Codec {
    /// The codec of a connection whose version is known.
    pub(super) fn of(version: Version) -> Self {
        Self { version: Some(version) }
    }

    /// The version that the CONNECT asked for; `None` before it.
    pub(super) fn version(&self) -> Option<Version> {
        self.version
    }

    /// Decides the version by the level that the CONNECT in `source` names. `None`: not all of it is there yet.
    fn recognise(source: &BytesMut) -> Result<Option<Version>, WireError> {
        if source.first().is_some_and(|first| *first != CONNECT) {
            return Err(WireError::NotAllowed);
        }
        match mqttbytes::check(source.iter(), Some(MAX_PACKET_BYTES)) {
            Ok(_) => {}
            Err(V5Error::InsufficientBytes(_)) => return Ok(None),
            Err(error) => return Err(from_v5(error)),
        }
        match Packet::read(&mut source.clone(), Some(MAX_PACKET_BYTES)) {
            Ok(_) => Ok(Some(Version::V5)),
            Err(V5Error::InvalidProtocolLevel(4)) => Ok(Some(Version::V4)),
            Err(V5Error::InvalidProtocol | V5Error::InvalidProtocolLevel(_)) => {
                Err(WireError::UnknownVersion)
            }
            Err(error) => Err(from_v5(error)),
        }
    }
}

impl Decoder for Codec {
    type Item = Incoming;
    type Error = WireError;

    fn decode(&mut self, source: &mut BytesMut) -> Result<Option<Incoming>, WireError> {
        let Some(version) = self.version else {
            let Some(version) = Self::recognise(source)? else { return Ok(None) };
            self.version = Some(version);
            return self.decode(source);
        };
        match version {
            Version::V4 => {
                // The fixed header is the same in both versions, but the limit of the older codec leaves it out.
                if let Err(V5Error::PayloadSizeLimitExceeded { .. }) =
                    mqttbytes::check(source.iter(), Some(MAX_PACKET_BYTES))
                {
                    return Err(WireError::TooLarge);
                }
                match v4::Packet::read(source, limit()) {
                    Ok(packet) => incoming_v4(packet).map(Some),
                    Err(V4Error::InsufficientBytes(missing)) => Ok(wait(source, missing)),
                    Err(error) => Err(from_v4(error)),
                }
            }
            Version::V5 => match Packet::read(source, Some(MAX_PACKET_BYTES)) {
                Ok(packet) => incoming_v5(packet).map(Some),
                Err(V5Error::InsufficientBytes(missing)) => Ok(wait(source, missing)),
                Err(error) => Err(from_v5(error)),
            },
        }
    }
}

impl Encoder<Outgoing> for Codec {
    type Error = WireError;

    fn encode(&mut self, packet: Outgoing, target: &mut BytesMut) -> Result<(), WireError> {
        match self.version {
            Some(Version::V5) => {
                outgoing_v5(packet).write(target, None).map_err(WireError::V5)?;
            }
            // A client whose version is unknown is refused in 3.1.1, which all understand.
            Some(Version::V4) | None => {
                if let Some(packet) = outgoing_v4(packet) {
                    packet.write(target, MAX_REMAINING_LENGTH).map_err(WireError::V4)?;
                }
            }
        }
        Ok(())
    }
}

fn limit() -> usize {
    usize::try_from(MAX_PACKET_BYTES).unwrap_or(usize::MAX)
}

/// Makes room for the rest of a packet; its size was checked against the limit before.
fn wait(source: &mut BytesMut, missing: usize) -> Option<Incoming> {
    source.reserve(missing);
    None
}

fn from_v5(error: V5Error) -> WireError {
    if matches!(error, V5Error::PayloadSizeLimitExceeded { .. }) {
        WireError::TooLarge
    } else {
        WireError::V5(error)
    }
}

fn from_v4(error: V4Error) -> WireError {
    if matches!(error, V4Error::PayloadSizeLimitExceeded(_)) {
        WireError::TooLarge
    } else {
        WireError::V4(error)
    }
}

fn incoming_v5(packet: Packet) -> Result<Incoming, WireError> {
    match packet {
        Packet::Connect(connect, will, _) => Ok(Incoming::Connect(Box::new(connect), will.map(Box::new))),
        Packet::Publish(publish) => Ok(Incoming::Publish(Box::new(publish))),
        Packet::PubAck(ack) => Ok(Incoming::PubAck(ack.pkid)),
        Packet::Subscribe(subscribe) => Ok(Incoming::Subscribe(subscribe)),
        Packet::Unsubscribe(unsubscribe) => Ok(Incoming::Unsubscribe(unsubscribe)),
        Packet::PingReq => Ok(Incoming::Ping),
        Packet::Disconnect(disconnect) => {
            let expiry = disconnect.properties.and_then(|properties| properties.session_expiry_interval);
            Ok(Incoming::Disconnect(disconnect.reason_code, expiry))
        }
        Packet::Auth(_)
        | Packet::ConnAck(_)
        | Packet::PingResp
        | Packet::SubAck(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::UnsubAck(_) => Err(WireError::NotAllowed),
    }
}

fn incoming_v4(packet: v4::Packet) -> Result<Incoming, WireError> {
    match packet {
        v4::Packet::Connect(connect) => Ok(connect_v4(connect)),
        v4::Packet::Publish(publish) => Ok(Incoming::Publish(Box::new(Publish {
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            topic: publish.topic,
            pkid: publish.pkid,
            payload: publish.payload,
            properties: None,
        }))),
        v4::Packet::PubAck(ack) => Ok(Incoming::PubAck(ack.pkid)),
        v4::Packet::PubRel(release) => Ok(Incoming::PubRel(release.pkid)),
        v4::Packet::Subscribe(subscribe) => {
            let filters =
                subscribe.filters.into_iter().map(|f| SubscribeFilter::new(f.path, f.qos)).collect();
            Ok(Incoming::Subscribe(Subscribe { pkid: subscribe.pkid, filters, properties: None }))
        }
        v4::Packet::Unsubscribe(unsubscribe) => Ok(Incoming::Unsubscribe(Unsubscribe {
            pkid: unsubscribe.pkid,
            filters: unsubscribe.topics,
            properties: None,
        })),
        v4::Packet::PingReq => Ok(Incoming::Ping),
        v4::Packet::Disconnect => Ok(Incoming::Disconnect(DisconnectReasonCode::NormalDisconnection, None)),
        v4::Packet::ConnAck(_)
        | v4::Packet::PingResp
        | v4::Packet::SubAck(_)
        | v4::Packet::PubRec(_)
        | v4::Packet::PubComp(_)
        | v4::Packet::UnsubAck(_) => Err(WireError::NotAllowed),
    }
}

fn connect_v4(connect: v4::Connect) -> Incoming {
    let will = connect.last_will.map(|will| {
        // 3.1.1 knows no way to refuse a will of QoS 2, so it is lowered.
        let qos = if will.qos == QoS::AtMostOnce { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        Box::new(LastWill {
            topic: will.topic.into(),
            message: will.message,
            qos,
            retain: will.retain,
            properties: None,
        })
    });
    let connect = Connect {
        keep_alive: connect.keep_alive,
        client_id: connect.client_id,
        clean_start: connect.clean_session,
        properties: None,
    };
    Incoming::Connect(Box::new(connect), will)
}

fn outgoing_v5(packet: Outgoing) -> Packet {
    match packet {
        Outgoing::ConnAck(ack) => Packet::ConnAck(*ack),
        Outgoing::Publish(publish) => Packet::Publish(*publish),
        Outgoing::PubAck(ack) => Packet::PubAck(ack),
        Outgoing::PubRec(packet_id) => Packet::PubRec(PubRec::new(packet_id, None)),
        Outgoing::PubComp(packet_id) => Packet::PubComp(PubComp::new(packet_id, None)),
        Outgoing::SubAck(ack) => Packet::SubAck(ack),
        Outgoing::UnsubAck(ack) => Packet::UnsubAck(ack),
        Outgoing::Pong => Packet::PingResp,
        Outgoing::Disconnect(reason) => Packet::Disconnect(Disconnect::new(reason)),
    }
}

fn outgoing_v4(packet: Outgoing) -> Option<v4::Packet> {
    let packet = match packet {
        Outgoing::ConnAck(ack) => v4::Packet::ConnAck(v4::ConnAck::new(code_v4(ack.code), false)),
        Outgoing::Publish(publish) => v4::Packet::Publish(v4::Publish {
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            topic: publish.topic,
            pkid: publish.pkid,
            payload: publish.payload,
        }),
        Outgoing::PubAck(ack) => v4::Packet::PubAck(v4::PubAck::new(ack.pkid)),
        Outgoing::PubRec(packet_id) => v4::Packet::PubRec(v4::PubRec::new(packet_id)),
        Outgoing::PubComp(packet_id) => v4::Packet::PubComp(v4::PubComp::new(packet_id)),
        Outgoing::SubAck(ack) => {
            let codes = ack.return_codes.into_iter().map(|code| match code {
                SubscribeReasonCode::Success(qos) => v4::SubscribeReasonCode::Success(qos),
                SubscribeReasonCode::Failure
                | SubscribeReasonCode::Unspecified
                | SubscribeReasonCode::ImplementationSpecific
                | SubscribeReasonCode::NotAuthorized
                | SubscribeReasonCode::TopicFilterInvalid
                | SubscribeReasonCode::PkidInUse
                | SubscribeReasonCode::QuotaExceeded
                | SubscribeReasonCode::SharedSubscriptionsNotSupported
                | SubscribeReasonCode::SubscriptionIdNotSupported
                | SubscribeReasonCode::WildcardSubscriptionsNotSupported => v4::SubscribeReasonCode::Failure,
            });
            v4::Packet::SubAck(v4::SubAck::new(ack.pkid, codes.collect()))
        }
        Outgoing::UnsubAck(ack) => v4::Packet::UnsubAck(v4::UnsubAck::new(ack.pkid)),
        Outgoing::Pong => v4::Packet::PingResp,
        Outgoing::Disconnect(_) => return None,
    };
    Some(packet)
}

/// The codes of MQTT 5 that this broker uses, in the words of 3.1.1.
fn code_v4(code: ConnectReturnCode) -> v4::ConnectReturnCode {
    if code == ConnectReturnCode::Success {
        v4::ConnectReturnCode::Success
    } else if code == ConnectReturnCode::UnsupportedProtocolVersion {
        v4::ConnectReturnCode::RefusedProtocolVersion
    } else if code == ConnectReturnCode::ClientIdentifierNotValid {
        v4::ConnectReturnCode::BadClientId
    } else {
        v4::ConnectReturnCode::ServiceUnavailable
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use rumqttc::mqttbytes::v5::{ConnectAuth, PublishProperties};

    use super::*;

    fn connect(level: u8) -> BytesMut {
        let mut bytes = BytesMut::new();
        let packet =
            Connect { keep_alive: 30, client_id: "a".to_owned(), clean_start: true, properties: None };
        Packet::Connect(packet, None, ConnectAuth::None).write(&mut bytes, None).unwrap();
        if level != 5 {
            bytes.clear();
            v4::Packet::Connect(v4::Connect::new("a")).write(&mut bytes, 100).unwrap();
            bytes[8] = level;
        }
        bytes
    }

    #[test]
    fn the_level_in_the_connect_decides_the_version_even_byte_by_byte() {
        for (level, expected) in [(4, Some(Version::V4)), (5, Some(Version::V5)), (3, None), (6, None)] {
            let mut codec = Codec::default();
            let mut source = BytesMut::new();
            let bytes = connect(level);
            let (last, head) = bytes.split_last().unwrap();
            for byte in head {
                source.extend_from_slice(&[*byte]);
                assert!(codec.decode(&mut source).unwrap().is_none());
            }
            source.extend_from_slice(&[*last]);
            match codec.decode(&mut source) {
                Ok(packet) => assert!(matches!(packet, Some(Incoming::Connect(..)))),
                Err(error) => assert!(matches!(error, WireError::UnknownVersion), "level {level}: {error}"),
            }
            assert_eq!(codec.version(), expected, "level {level}");
        }
    }

    #[test]
    fn a_publish_means_the_same_in_both_versions() {
        let properties =
            PublishProperties { response_topic: Some("r".to_owned()), ..PublishProperties::default() };
        let publish = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: true,
            topic: Bytes::from_static(b"a/b"),
            pkid: 9,
            payload: Bytes::from_static(b"x"),
            properties: Some(properties),
        };
        for version in [Version::V4, Version::V5] {
            let mut codec = Codec::of(version);
            let mut bytes = BytesMut::new();
            codec.encode(Outgoing::Publish(Box::new(publish.clone())), &mut bytes).unwrap();
            let properties = publish.properties.clone().filter(|_| version == Version::V5);
            let expected = Publish { properties, ..publish.clone() };
            assert_eq!(codec.decode(&mut bytes).unwrap(), Some(Incoming::Publish(Box::new(expected))));
        }
    }

    #[test]
    fn a_packet_above_the_limit_is_refused_before_it_is_read() {
        for version in [Version::V4, Version::V5] {
            // 1 byte of type and 3 of length come on top: 1 MiB in all, then one more.
            for (length, refused) in [([0xfc, 0xff, 0x3f], false), ([0xfd, 0xff, 0x3f], true)] {
                let mut source = BytesMut::from(&[&[0x30][..], &length].concat()[..]);
                let result = Codec::of(version).decode(&mut source);
                assert_eq!(matches!(result, Err(WireError::TooLarge)), refused, "{version:?} {length:02x?}");
            }
        }
    }

    proptest! {
        /// The release build aborts on a panic, so no bytes may make the codecs do that.
        #[test]
        fn no_bytes_panic(
            five in any::<bool>(),
            first in any::<u8>(),
            body in proptest::collection::vec(any::<u8>(), 0..127),
        ) {
            let mut source = BytesMut::from(&[&[first, u8::try_from(body.len()).unwrap()][..], &body].concat()[..]);
            let mut codec = Codec::of(if five { Version::V5 } else { Version::V4 });
            while let Ok(Some(_)) = codec.decode(&mut source) {}
        }
    }
}
