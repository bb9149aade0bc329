//! Failures of the vendor's API, classified once at the edge.

use std::{fmt, time::Duration};

/// Why a call to the vendor did not give an answer. The core decides by the class alone; the text is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No byte of the request left this machine: name lookup, connect or TLS failed, or the deadline or the
    /// permission to send ended before. Repeating is harmless.
    NotSent(Trace),
    /// The vendor refused the key or the token, also after a new token was made (401, or 403 at `/token`).
    Unauthorized(Trace),
    /// The vendor refused the act: permission, feature toggle or path (403). It was not done.
    Forbidden(Trace),
    /// The vendor says that the user in whose name it was asked has no access. It was not done, and says nothing of the key.
    NoAccess(Trace),
    /// The vendor does not know the object (404). It was not done.
    NotFound(Trace),
    /// The vendor refused the request for another reason (400, 409, 412 and the like). It was not done.
    Rejected(Trace),
    /// Too many requests (429). It was not done.
    RateLimited {
        /// How long to wait, from `Retry-After`, clamped to 1..300 s; `None` where the vendor does not say.
        after: Option<Duration>,
        /// What was seen.
        trace: Trace,
    },
    /// The vendor failed or the connection did after the request was sent. Whether it was done is not known.
    Unclear(Trace),
    /// The answer came but could not be read: HTML, wrong JSON, too large, a redirect, endless pages.
    /// Whether an act was done is not known.
    Malformed(Trace),
}

/// What was seen, in words that hold no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// HTTP status, if an answer came.
    pub status: Option<u16>,
    /// One lower-case sentence fragment that names operation and cause; no secret, no line break.
    pub text: String,
}

impl Trace {
    /// Describes a failure without an HTTP status.
    pub fn new(text: impl Into<String>) -> Self {
        Self { status: None, text: text.into() }
    }
}

impl Fault {
    /// What was seen.
    pub const fn trace(&self) -> &Trace {
        match self {
            Self::NotSent(trace)
            | Self::Unauthorized(trace)
            | Self::Forbidden(trace)
            | Self::NoAccess(trace)
            | Self::NotFound(trace)
            | Self::Rejected(trace)
            | Self::RateLimited { trace, .. }
            | Self::Unclear(trace)
            | Self::Malformed(trace) => trace,
        }
    }

    /// Whether it is proven that the vendor did not carry out the request.
    pub const fn proves_not_done(&self) -> bool {
        match self {
            Self::NotSent(_)
            | Self::Unauthorized(_)
            | Self::Forbidden(_)
            | Self::NoAccess(_)
            | Self::NotFound(_)
            | Self::Rejected(_)
            | Self::RateLimited { .. } => true,
            Self::Unclear(_) | Self::Malformed(_) => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.trace().text)
    }
}

impl std::error::Error for Fault {}
