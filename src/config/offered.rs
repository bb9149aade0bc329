//! A broker that somebody else knows, for a configuration that names none.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use super::keys::mqtt::{self, Broker};

/// The broker on this machine that whoever runs the gateway offers to it.
#[derive(Debug, Clone)]
pub struct OfferedBroker {
    pub(super) url: String,
    /// User and password; the password is empty where only a user is known.
    pub(super) credentials: Option<(String, SecretString)>,
}

/// What is offered cannot be a broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the broker offered cannot be one: {0}")]
pub struct NoBroker(String);

impl OfferedBroker {
    /// A broker at a host name or an IP address.
    ///
    /// # Errors
    /// Where these cannot be the name and the port of a host.
    pub fn new(
        encrypted: bool,
        host: &str,
        port: u16,
        credentials: Option<(String, SecretString)>,
    ) -> Result<Self, NoBroker> {
        // A URL would leave some of these out.
        if host.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(NoBroker("the host is no name and no address".to_owned()));
        }
        let scheme = if encrypted { "mqtts" } else { "mqtt" };
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let offered = Self { url: format!("{scheme}://{host}:{port}"), credentials };
        offered.read()?;
        Ok(offered)
    }

    /// Stands for one that is not known yet, so that all else of a configuration can be judged. Nothing is there.
    pub fn unknown() -> Self {
        Self { url: "mqtt://broker.invalid".to_owned(), credentials: None }
    }

    /// Whether the other one is reached alike.
    pub fn is(&self, other: &Self) -> bool {
        let open = |credentials: &Option<(String, SecretString)>| {
            credentials.as_ref().map(|(user, password)| (user.clone(), password.expose_secret().to_owned()))
        };
        self.url == other.url && open(&self.credentials) == open(&other.credentials)
    }

    pub(super) fn read(&self) -> Result<Broker, NoBroker> {
        mqtt::broker(&self.url).map_err(|problem| NoBroker(problem.text))
    }
}

impl fmt::Display for OfferedBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}
