//! The client of Verkada's API: one call is one attempt and gets exactly one reply.
//!
//! [`Client`] turns a [`crate::model::Call`] into HTTP and the answer into a [`crate::model::Reply`]. Reads and tokens go
//! through a general HTTP client; acts go through a line of their own (see `line.rs`), which proves that none is sent
//! twice and asks for the [`Permit`] right before each write.

mod client;
mod fault;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod http;
mod line;
mod permit;
mod tally;
mod tls;
mod token;
pub mod webhook;
mod wire;

use std::time::Duration;

use secrecy::SecretString;
use url::Url;

pub use client::Client;
pub use permit::Permit;
pub use tally::Requests;
pub use token::TokenHealth;

use crate::model::{Privacy, ReleasePath};

/// What a client needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the API is, for instance `https://api.verkada.com` (`verkada-api.md` 3.1). Plain `http` only on loopback.
    pub base_url: Url,
    /// The API key, from which tokens are made.
    pub api_key: SecretString,
    /// Further CAs, as PEM, beside those of the platform.
    pub ca_pem: Option<Vec<u8>>,
    /// Which of the two claimed paths ends a scenario.
    pub release_path: ReleasePath,
    /// How much of people is decoded from access events.
    pub privacy: Privacy,
    /// All limits.
    pub limits: Limits,
}

/// Limits of time and size. The default holds the documented figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For look-up, connect and TLS together.
    pub connect: Duration,
    /// For an act from call to status line, a wait for a token included; also for a token request.
    pub act: Duration,
    /// For the body of an act's answer: its status line is the proof, the body only tells the duration.
    pub act_body: Duration,
    /// For a read from call to last byte, a wait for a token included.
    pub list: Duration,
    /// The largest body of a list, in bytes.
    pub max_body: usize,
    /// How long an unused connection is kept: shorter than the 60 s after which common load balancers drop it.
    pub pool_idle: Duration,
    /// How long a token is used (`verkada-api.md` 3.3), by the monotonic clock.
    pub token_life: Duration,
    /// The age of a token at which the next one is made in the background.
    pub token_renew: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            act: Duration::from_secs(10),
            act_body: Duration::from_secs(2),
            list: Duration::from_secs(30),
            max_body: 32 * 1024 * 1024,
            pool_idle: Duration::from_secs(50),
            token_life: Duration::from_mins(30),
            token_renew: Duration::from_mins(25),
        }
    }
}

/// Why no client can be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The base URL cannot be used.
    #[error("base URL {url}: {cause}")]
    BaseUrl {
        /// The base URL, without user, password and query.
        url: String,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// The API key holds a character that no header may hold.
    #[error(
        "the API key is empty or holds a line break or another character that cannot be sent; copy it again"
    )]
    ApiKey,
    /// The CA certificates cannot be read.
    #[error("cannot read the CA certificates: {0}")]
    Ca(String),
    /// The platform holds no CA certificates.
    #[error("this machine has no CA certificates; install them (package ca-certificates) or name a CA file")]
    NoRoots,
    /// TLS or the HTTP client cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// The warm-up did not succeed.
    #[error("cannot get ready for commands: {0}")]
    Warm(String),
}
