//! Whether the vendor takes our key.

/// How the session token is that the vendor gives for the API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState {
    /// There is none yet, or the last one was dropped.
    Missing,
    /// There is one.
    Valid,
    /// The vendor refuses the key.
    Refused,
}

impl TokenState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Valid, Self::Missing, Self::Refused];

    /// The word on MQTT.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Valid => "valid",
            Self::Refused => "refused",
        }
    }
}
