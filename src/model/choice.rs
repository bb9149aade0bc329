//! Choices of the owner that both the configuration and an adapter speak of.

/// How a broker is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// TCP.
    Mqtt,
    /// TLS.
    Mqtts,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Scheme {
    /// Whether the connection is encrypted.
    pub const fn is_encrypted(self) -> bool {
        match self {
            Self::Mqtts | Self::Wss => true,
            Self::Mqtt | Self::Ws => false,
        }
    }

    /// The port where the URL names none.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Mqtt => 1883,
            Self::Mqtts => 8883,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

/// The MQTT version to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolChoice {
    /// 5, then 3.1.1 if the broker refuses it.
    Auto,
    /// Only 5.
    V5,
    /// Only 3.1.1.
    V311,
}

/// The path that ends a scenario (`verkada-api.md` 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleasePath {
    /// `/release`, and `/deactivate` where the vendor does not know that.
    Auto,
    /// Only `/release`.
    Release,
    /// Only `/deactivate`.
    Deactivate,
}

/// A level of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// We stop, or a lockdown failed.
    Error,
    /// Worth waking someone.
    Warn,
    /// Links and lists change.
    Info,
    /// Deviations.
    Debug,
    /// Each message.
    Trace,
}

impl Level {
    /// From the fewest lines to the most.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The word in the file and on MQTT.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
