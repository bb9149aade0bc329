//! What the link needs to be told, and the check that it makes sense.

use std::time::{Duration, Instant};

use secrecy::{SecretSlice, SecretString};

use crate::model::{ProtocolChoice, Publication, Qos, Scheme};

/// How a link reaches its broker, who it is there, and how patient it is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Transport to the broker.
    pub scheme: Scheme,
    /// Name or address of the broker; an IPv6 address without brackets.
    pub host: String,
    /// TCP port of the broker.
    pub port: u16,
    /// Path of the websocket endpoint, such as `/mqtt`; ignored by `mqtt` and `mqtts`.
    pub path: String,
    /// Which MQTT version to speak.
    pub protocol: ProtocolChoice,
    /// Client id; must not be empty, and unique among the clients of the broker.
    pub client_id: String,
    /// User name and password.
    pub credentials: Option<(String, SecretString)>,
    /// Trust and identity for `mqtts` and `wss`.
    pub tls: Tls,
    /// Keep-alive interval, whole seconds from 1 to 65,535.
    pub keep_alive: Duration,
    /// Filters to subscribe to in each session; one of them must match [`Self::heartbeat_topic`].
    pub subscriptions: Vec<(String, Qos)>,
    /// Whether the broker is to give what it retains under the filters; with MQTT 3.1.1 it does in any case.
    pub wants_retained: bool,
    /// Where heartbeats are published; messages on it are never handed on.
    pub heartbeat_topic: String,
    /// What the broker publishes when the link breaks without a goodbye.
    pub last_will: Option<Publication>,
    /// What the broker keeps for us while the link is down.
    pub session: Session,
    /// How long to wait for what.
    pub timings: Timings,
}

/// What the broker keeps for a link while it is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// Nothing: each connection begins anew.
    Clean,
    /// With MQTT 5, what is published meanwhile, and what was not acknowledged. With 3.1.1, where a session has no end,
    /// nothing.
    Kept {
        /// How long after the connection broke; whole seconds from 1 to 3,600.
        lasts: Duration,
        /// What an earlier run knows of [`LinkEvent::Resumed`]'s `heard_at`.
        ///
        /// [`LinkEvent::Resumed`]: crate::model::LinkEvent::Resumed
        heard_at: Option<Instant>,
    },
}

/// Whom to trust and who we are, for encrypted transports.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// PEM certificates of the only authorities to trust; `None` trusts those of the platform.
    pub ca_pem: Option<Vec<u8>>,
    /// Our certificate, where the broker asks for one.
    pub client: Option<ClientCertificate>,
}

/// A client certificate and its key.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// PEM certificate chain, our own first.
    pub chain_pem: Vec<u8>,
    /// PEM private key.
    pub key_pem: SecretSlice<u8>,
}

/// How long to wait for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timings {
    /// From the name look-up to CONNACK. Default 5 s.
    pub connect_within: Duration,
    /// Between two heartbeats. Default 1 s.
    pub heartbeat_every: Duration,
    /// The link is proven while the newest heartbeat that came back was sent less than this ago. Default 2.5 s.
    pub proven_for: Duration,
    /// A connection that was silent for this long, or on which echoes ceased for this long, is dropped.
    /// Default (`None`): three times the keep-alive interval, at least 10 s.
    pub dead_after: Option<Duration>,
    /// The shortest wait before a new connection. Default 250 ms.
    pub retry_min: Duration,
    /// The longest wait before a new connection in ordinary trouble, and the shortest one where connections keep ending early.
    /// Default 10 s.
    pub retry_max: Duration,
    /// The shortest wait where the broker says that another client uses our client id. Default 30 s.
    pub retry_taken_over: Duration,
    /// A connection that lived this long ends a spell of trouble. Default 30 s.
    pub healthy_after: Duration,
    /// Between two attempts to subscribe to a filter that was refused. Default 30 s.
    pub resubscribe_every: Duration,
    /// Between two complaints about one and the same trouble. Default 60 s.
    pub remind_every: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            connect_within: Duration::from_secs(5),
            heartbeat_every: Duration::from_secs(1),
            proven_for: Duration::from_millis(2_500),
            dead_after: None,
            retry_min: Duration::from_millis(250),
            retry_max: Duration::from_secs(10),
            retry_taken_over: Duration::from_secs(30),
            healthy_after: Duration::from_secs(30),
            resubscribe_every: Duration::from_secs(30),
            remind_every: Duration::from_mins(1),
        }
    }
}

/// Why a link cannot be set up at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A setting that cannot work.
    #[error("mqtt: {0}")]
    Setting(&'static str),
    /// No subscription covers the heartbeat topic.
    #[error("mqtt: no subscription matches the heartbeat topic `{0}`")]
    HeartbeatNotSubscribed(String),
    /// A certificate or key cannot be used.
    #[error("mqtt: cannot use the {what}: {cause}")]
    Certificate {
        /// Which of them.
        what: &'static str,
        /// What is wrong with it.
        cause: String,
    },
}

impl Settings {
    /// How long a connection may be silent.
    pub(super) fn dead_after(&self) -> Duration {
        self.timings
            .dead_after
            .unwrap_or_else(|| (self.keep_alive.saturating_mul(3)).max(Duration::from_secs(10)))
    }

    /// What the log calls the link.
    pub(super) const fn name(&self) -> &'static str {
        match self.session {
            Session::Clean => "MQTT link",
            Session::Kept { .. } => "securing MQTT link",
        }
    }

    /// For how many seconds the broker keeps the session; 0 for a clean one.
    pub(super) fn session_seconds(&self) -> u32 {
        match self.session {
            Session::Clean => 0,
            Session::Kept { lasts, .. } => u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX),
        }
    }

    /// The keep-alive interval as CONNECT carries it, in seconds.
    pub(super) fn keep_alive_seconds(&self) -> u16 {
        u16::try_from(self.keep_alive.as_secs()).unwrap_or(u16::MAX)
    }

    /// Finds what cannot work.
    pub(super) fn check(&self) -> Result<(), Error> {
        let timings = &self.timings;
        let rules = [
            (self.host.is_empty(), "the host is empty"),
            (self.port == 0, "the port is 0"),
            (self.client_id.is_empty(), "the client id is empty"),
            (
                self.keep_alive.as_secs() == 0 || self.keep_alive.as_secs() > u64::from(u16::MAX),
                "the keep-alive interval is not from 1 to 65535 seconds",
            ),
            (
                !self.scheme.is_encrypted() && self.tls.client.is_some(),
                "a client certificate needs mqtts or wss",
            ),
            (!self.scheme.is_encrypted() && self.tls.ca_pem.is_some(), "a CA certificate needs mqtts or wss"),
            (
                !self.path.is_empty() && !self.path.starts_with('/'),
                "the websocket path does not start with `/`",
            ),
            (
                !rumqttc::mqttbytes::valid_topic(&self.heartbeat_topic),
                "the heartbeat topic is no valid topic",
            ),
            (
                self.last_will.as_ref().is_some_and(|will| !rumqttc::mqttbytes::valid_topic(&will.topic)),
                "the topic of the last will is no valid topic",
            ),
            (
                matches!(self.session, Session::Kept { lasts, .. } if !(1..=3_600).contains(&lasts.as_secs())),
                "the session is not kept from 1 to 3600 seconds",
            ),
            (timings.connect_within.is_zero(), "the time to connect is zero"),
            (timings.heartbeat_every.is_zero(), "the heartbeat interval is zero"),
            (
                timings.proven_for <= timings.heartbeat_every,
                "the echo time is not above the heartbeat interval",
            ),
            (timings.retry_min.is_zero(), "the shortest wait before a new connection is zero"),
            (
                timings.retry_max < timings.retry_min,
                "the longest wait before a new connection is below the shortest",
            ),
            (timings.resubscribe_every.is_zero(), "the wait before a new subscription is zero"),
        ];
        if let Some((_, fault)) = rules.into_iter().find(|(broken, _)| *broken) {
            return Err(Error::Setting(fault));
        }
        if self.subscriptions.iter().any(|(filter, _)| !rumqttc::mqttbytes::valid_filter(filter)) {
            return Err(Error::Setting("a subscription is no valid filter"));
        }
        if !self
            .subscriptions
            .iter()
            .any(|(filter, _)| rumqttc::mqttbytes::matches(&self.heartbeat_topic, filter))
        {
            return Err(Error::HeartbeatNotSubscribed(self.heartbeat_topic.clone()));
        }
        Ok(())
    }
}
