//! One application message as the broker holds it, whichever version of the protocol it came by.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::mqttbytes::{
    QoS,
    v5::{Publish, PublishProperties},
};

/// What a message costs beyond its bytes; keeps many empty messages from being free.
const OVERHEAD_BYTES: usize = 128;

/// An application message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// What MQTT 5 passes on; no alias and no subscription identifiers.
    pub(super) properties: PublishProperties,
    /// When it arrived: its expiry counts from here.
    pub(super) received: Instant,
}

impl Message {
    /// A `QoS` 0 message without properties. The payload is copied, so that a small message that is kept does not
    /// keep the buffer that it was read into.
    pub(super) fn new(topic: &str, payload: &[u8], received: Instant) -> Self {
        Self {
            topic: topic.to_owned(),
            payload: Bytes::copy_from_slice(payload),
            qos: QoS::AtMostOnce,
            retain: false,
            properties: PublishProperties::default(),
            received,
        }
    }

    /// The bytes it is charged with against every bound.
    pub(super) fn size(&self) -> usize {
        let properties = &self.properties;
        let texts = [&properties.response_topic, &properties.content_type];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        let user: usize = properties.user_properties.iter().map(|(key, value)| key.len() + value.len()).sum();
        let correlation = properties.correlation_data.as_ref().map_or(0, Bytes::len);
        OVERHEAD_BYTES + self.topic.len() + self.payload.len() + texts + user + correlation
    }

    /// Whether its expiry interval has passed.
    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.properties
            .message_expiry_interval
            .is_some_and(|seconds| self.age(now) >= Duration::from_secs(seconds.into()))
    }

    /// The packet that hands it to a subscriber, with what is left of the expiry interval; `None` if nothing is.
    pub(super) fn to_publish(&self, now: Instant) -> Option<Publish> {
        if self.is_expired(now) {
            return None;
        }
        let mut properties = self.properties.clone();
        let waited = u32::try_from(self.age(now).as_secs()).unwrap_or(u32::MAX);
        properties.message_expiry_interval =
            properties.message_expiry_interval.map(|seconds| seconds.saturating_sub(waited));
        Some(Publish {
            dup: false,
            qos: self.qos,
            retain: self.retain,
            topic: Bytes::copy_from_slice(self.topic.as_bytes()),
            pkid: 0,
            payload: self.payload.clone(),
            properties: Some(properties),
        })
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.received)
    }
}
