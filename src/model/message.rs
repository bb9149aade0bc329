//! MQTT as the core sees it: publications, messages and the state of the link.

use std::{fmt, time::Instant};

use bytes::Bytes;

/// MQTT quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    /// Quality of service 0: lost rather than late.
    AtMostOnce,
    /// Quality of service 1: delivered at least once.
    AtLeastOnce,
}

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The topic.
    pub topic: String,
    /// The payload; empty and retained withdraws what the broker holds.
    pub payload: Bytes,
    /// Quality of service.
    pub qos: Qos,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
    /// MQTT 5 correlation data to send along; ignored on 3.1.1.
    pub correlation: Option<Bytes>,
}

/// A message that arrived on a subscribed topic. `Debug` does not show its payload, which may hold a code.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
    /// Whether the broker marked it as retained: it may then be of any age.
    pub retain: bool,
    /// Whether the broker marked it as sent before.
    pub dup: bool,
    /// MQTT 5: where the sender wants the result.
    pub response_topic: Option<String>,
    /// MQTT 5: what the sender wants sent back with the result.
    pub correlation: Option<Bytes>,
    /// When it was read from the socket.
    pub received_at: Instant,
    /// When the newest heartbeat was *sent* whose echo had come back on this very connection before this message:
    /// the broker forwarded the message after that heartbeat, so it is no older than that. `None` before the first echo.
    pub echo_sent_at: Option<Instant>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic)
            .field("bytes", &self.payload.len())
            .field("retain", &self.retain)
            .field("dup", &self.dup)
            .finish_non_exhaustive()
    }
}

/// Names a message whose acknowledgement is held back; worth nothing after its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Receipt {
    /// The session.
    pub epoch: u64,
    /// The packet identifier.
    pub packet: u16,
}

/// What happened to the MQTT link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// A new session began: nothing is retained for us there that we have not published again.
    Up {
        /// The protocol the broker agreed to.
        protocol: Protocol,
        /// The largest packet the broker takes, in bytes, where it says so.
        max_packet: Option<u32>,
    },
    /// The session of the securing connection was resumed: what the broker kept for it meanwhile comes before the first
    /// heartbeat that comes back.
    Resumed {
        /// The protocol the broker agreed to.
        protocol: Protocol,
        /// When the broker was last heard in this session, if that is known: what it kept is younger.
        heard_at: Option<Instant>,
    },
    /// A heartbeat of ours came back on this connection: publishing and the subscription are proven to work.
    Proven,
    /// No heartbeat came back in time; the sentence says for how long and what that may mean.
    Unproven(String),
    /// Another gateway uses the same base topic; comes with each of its heartbeats.
    Shared,
    /// A message arrived.
    Message(Message),
    /// A message arrived that the broker delivers again after a crash unless the receipt is given back.
    Waiting(Message, Receipt),
    /// The connection ended or could not be made; the sentence names the cause and, where one is known, the cure.
    Down(String),
}

/// The MQTT protocol version in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT 5.
    V5,
    /// MQTT 3.1.1.
    V311,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V5 => "5",
            Self::V311 => "3.1.1",
        })
    }
}
