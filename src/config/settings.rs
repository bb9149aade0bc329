//! The configuration after every check: types that cannot hold a wrong value.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use jiff::Timestamp;
use secrecy::{SecretSlice, SecretString};
use url::Url;

use crate::model::{
    CalendarId, DoorId, Level, OrganisationId, Privacy, ProtocolChoice, ReleasePath, ScenarioId, Scheme, User,
};

/// The whole configuration. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where and as whom to ask the vendor.
    pub verkada: Verkada,
    /// The broker and our place on it.
    pub mqtt: Mqtt,
    /// How Home Assistant finds us.
    pub home_assistant: HomeAssistant,
    /// How often the vendor is asked.
    pub poll: Poll,
    /// What may be commanded.
    pub commands: Commands,
    /// How doors may be held.
    pub holds: Holds,
    /// What is done with exception calendars.
    pub calendars: Calendars,
    /// Which doors, and settings of single doors.
    pub doors: Doors,
    /// Which scenarios.
    pub scenarios: Scenarios,
    /// What access events tell.
    pub events: Events,
    /// The receiver of the vendor's webhooks.
    pub webhook: Webhook,
    /// The HTTP server.
    pub http: Http,
    /// The folder for what must outlive a restart; absolute.
    pub state_dir: PathBuf,
    /// The journal of commands.
    pub journal: Journal,
    /// The log.
    pub log: Log,
    /// Sentences to log at each start: allowed, but better done otherwise. They hold no secret.
    pub warnings: Vec<String>,
    /// The files that hold one secret each, which may change there.
    pub secret_files: Vec<PathBuf>,
}

impl Config {
    /// This configuration with the secrets of another one that can be taken over without a new start, and nothing else of it.
    #[must_use]
    pub fn with_secrets_of(&self, other: &Self) -> Self {
        let mut next = self.clone();
        next.verkada.api_key = other.verkada.api_key.clone();
        if let (Some((_, password)), Some((_, new))) = (&mut next.mqtt.credentials, &other.mqtt.credentials) {
            password.clone_from(new);
        }
        if let (Some(code), Some(new)) = (&mut next.commands.code, &other.commands.code) {
            code.clone_from(new);
        }
        // The first one would open the receiver, and without one there is none.
        if !next.webhook.secrets.is_empty() && !other.webhook.secrets.is_empty() {
            next.webhook.secrets.clone_from(&other.webhook.secrets);
        }
        next
    }

    /// Whether anything needs exception calendars: the key may lack the permission for them.
    pub fn reads_calendars(&self) -> bool {
        let edits = !self.commands.read_only && !self.calendars.allow.is_empty();
        self.holds_any_door() || self.calendars.show || edits
    }

    /// Whether any door may be held.
    pub fn holds_any_door(&self) -> bool {
        let doors = self.doors.settings.values().any(|door| door.hold == Some(true));
        !self.commands.read_only && (self.commands.hold || doors)
    }
}

/// Where and as whom to ask the vendor.
#[derive(Debug, Clone)]
pub struct Verkada {
    /// The root of the API: `https`, or `http` on a loopback address; no user, query or fragment.
    pub base_url: Url,
    /// The region; `None` where `base_url` was given in its place.
    pub region: Option<Region>,
    /// The API key.
    pub api_key: SecretString,
    /// When the key expires, at the beginning of that day in UTC, as the owner says: the API does not tell.
    pub api_key_expires: Option<Timestamp>,
    /// Certificates (PEM) of authorities to trust besides the system's; at least one certificate.
    pub ca_pem: Option<Vec<u8>>,
    /// The path that ends a scenario.
    pub release_path: ReleasePath,
}

/// A region of the vendor's service; an organisation never changes it (`verkada-api.md` 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Region {
    /// United States.
    Us,
    /// Europe.
    Eu,
    /// Australia.
    Au,
    /// United States government cloud.
    Gov,
}

impl Region {
    /// The root of the API there (`verkada-api.md` 3.1).
    ///
    /// # Panics
    /// Never: the URLs are constants, and a test parses each.
    #[expect(clippy::expect_used, reason = "constants, each parsed by a test")]
    pub fn base_url(self) -> Url {
        let text = match self {
            Self::Us => "https://api.verkada.com",
            Self::Eu => "https://api.eu.verkada.com",
            Self::Au => "https://api.au.verkada.com",
            Self::Gov => "https://api.verkadagov.com",
        };
        Url::parse(text).expect("a constant URL")
    }
}

/// What a command at a shell needs that goes through the running gateway.
#[derive(Debug, Clone)]
pub struct Asker {
    /// The broker and our place on it.
    pub mqtt: Mqtt,
    /// What the code is needed for, as far as this file tells.
    pub coded: BTreeSet<CodedAct>,
    /// Settings of single doors.
    pub doors: BTreeMap<DoorId, DoorSettings>,
}

/// The broker and our place on it.
#[derive(Debug, Clone)]
pub struct Mqtt {
    /// How the broker is reached.
    pub scheme: Scheme,
    /// A host name or an IP address; an IPv6 address without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
    /// The path of a WebSocket, beginning with `/`; without meaning for the other schemes.
    pub ws_path: String,
    /// Whether nobody named this broker, but who runs the gateway offered it: it is on this machine.
    pub offered: bool,
    /// The protocol version.
    pub protocol: ProtocolChoice,
    /// `[A-Za-z0-9_-]{1,64}`.
    pub client_id: String,
    /// User and password; the password is empty where only a user was given.
    pub credentials: Option<(String, SecretString)>,
    /// What TLS uses; empty for the plain schemes.
    pub tls: Tls,
    /// The first part of every topic of ours: no wildcard, no empty level.
    pub base_topic: String,
    /// How often an idle connection is probed, 5 to 60 s.
    pub keep_alive: Duration,
}

impl Mqtt {
    /// Whether what is said to the broker can be read on the network: it goes to another machine without encryption.
    pub fn is_exposed(&self) -> bool {
        let is_near = self.offered
            || self.host == "localhost"
            || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        !self.scheme.is_encrypted() && !is_near
    }
}

/// What TLS to the broker uses besides the system's authorities.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Certificates (PEM) of the authorities to trust in place of the system's; at least one certificate.
    pub ca_pem: Option<Vec<u8>>,
    /// Our own certificate.
    pub client: Option<ClientCertificate>,
}

/// A certificate with its key; they belong together.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// The chain (PEM), our own certificate first.
    pub cert_pem: Vec<u8>,
    /// The private key (PEM), not encrypted.
    pub key_pem: SecretString,
}

/// How Home Assistant finds us.
#[derive(Debug, Clone)]
pub struct HomeAssistant {
    /// The style of discovery.
    pub discovery: Discovery,
    /// The first part of discovery topics.
    pub discovery_prefix: String,
    /// The topic on which Home Assistant tells that it has started.
    pub birth_topic: String,
    /// The payload it sends then.
    pub birth_payload: String,
    /// Whether commands from Home Assistant carry an id and an issue time.
    pub stamp_commands: bool,
}

/// The style of discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discovery {
    /// One message a device; Home Assistant 2024.12 or later.
    Device,
    /// One message an entity.
    Component,
    /// None.
    Off,
}

/// How often the vendor is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Poll {
    /// For the list of doors, 30 s to 24 h.
    pub doors: Duration,
    /// For the list of scenarios, 1 s to 10 min.
    pub scenarios: Duration,
    /// For access events, 1 s to 10 min.
    pub events: Duration,
    /// For exception calendars, 10 s to 1 h; only where doors may be held or calendars are used.
    pub calendars: Duration,
    /// For access levels, 5 min to 24 h; `None`: not at all.
    pub access_levels: Option<Duration>,
}

/// What is done with exception calendars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendars {
    /// Whether they are shown, and what they say of doors.
    pub show: bool,
    /// Those whose exceptions may be changed by commands.
    pub allow: BTreeSet<CalendarId>,
}

/// How doors may be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holds {
    /// The longest hold, 1 min to 7 days.
    pub longest: Duration,
    /// How long one lasts that does not say it; not longer than `longest`.
    pub usual: Duration,
    /// With which minute one begins.
    pub start: HoldStart,
}

/// With which minute a hold begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldStart {
    /// With the present one, which began some seconds ago.
    ThisMinute,
    /// With the next one.
    NextMinute,
}

/// What may be commanded.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "one for each key of the file")]
pub struct Commands {
    /// Nothing at all.
    pub read_only: bool,
    /// Unlocking doors, where a door has no setting of its own.
    pub unlock: bool,
    /// Starting scenarios.
    pub activate: bool,
    /// Ending scenarios.
    pub release: bool,
    /// Holding doors, where a door has no setting of its own.
    pub hold: bool,
    /// Older commands are refused; 1 to 60 s.
    pub max_age: Duration,
    /// What becomes of the unlock of a door that an active scenario locks; `Code` only where there is a code.
    pub during_lockdown: DuringLockdown,
    /// The code that opening commands need.
    pub code: Option<Code>,
    /// The acts that need it, where there is a code; only opening ones.
    pub code_for: BTreeSet<CodedAct>,
    /// Whether commands may name the person in whose name a door is unlocked.
    pub unlock_as: UnlockAs,
    /// In whose name a door is unlocked for a sender, by the `by` of its commands: 1 to 128 characters.
    pub users: BTreeMap<String, User>,
    /// Restarting the gateway.
    pub restart: bool,
}

/// Whether commands may name the person in whose name a door is unlocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnlockAs {
    /// They may not.
    Off,
    /// They may.
    Allowed,
    /// They may, and a door is unlocked in somebody's name or not at all.
    Required,
}

/// What becomes of the unlock of a door that an active scenario locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DuringLockdown {
    /// It is refused.
    Refuse,
    /// It needs the code.
    Code,
    /// It is judged like any other.
    Allow,
}

/// The code that opening commands need.
#[derive(Debug, Clone)]
pub enum Code {
    /// Always the same: 4 to 32 printable characters.
    Pin(SecretString),
    /// One-time codes (RFC 6238): the secret, 10 to 128 bytes.
    Totp(SecretSlice<u8>),
}

/// An act that may need a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CodedAct {
    /// Unlocking a door.
    Unlock,
    /// Ending a scenario.
    Release,
    /// Holding a door so that more people may pass.
    Hold,
}

/// Which doors, and settings of single doors.
#[derive(Debug, Clone)]
pub struct Doors {
    /// If not empty, only these.
    pub include: BTreeSet<DoorId>,
    /// Never these; no id is in both sets.
    pub exclude: BTreeSet<DoorId>,
    /// Whether a door of which nothing is known shows as locked, where a door has no setting of its own.
    pub assume_locked: bool,
    /// Whether an unlock lasts its whole time although the door is opened, where a door has no setting of its own.
    pub ignore_dpi_relock: bool,
    /// How long a door that never told of being closed is believed to stand open, 1 min to 24 h.
    pub open_unproven_after: Duration,
    /// Settings of single doors.
    pub settings: BTreeMap<DoorId, DoorSettings>,
}

/// Settings of one door.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DoorSettings {
    /// Shown in place of the vendor's name; 1 to 64 characters.
    pub name: Option<String>,
    /// In place of `commands.unlock`.
    pub unlock: Option<bool>,
    /// In place of `commands.hold`.
    pub hold: Option<bool>,
    /// In place of `commands.code_for`; `Some(true)` only where there is a code.
    pub code: Option<bool>,
    /// In place of `doors.assume_locked`.
    pub assume_locked: Option<bool>,
    /// In place of `doors.ignore_dpi_relock`.
    pub ignore_dpi_relock: Option<bool>,
}

/// Which scenarios.
#[derive(Debug, Clone)]
pub struct Scenarios {
    /// If not empty, only these.
    pub include: BTreeSet<ScenarioId>,
    /// Never these; no id is in both sets.
    pub exclude: BTreeSet<ScenarioId>,
}

/// What access events tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Events {
    /// How much of the people in them.
    pub privacy: Privacy,
}

/// The receiver of the vendor's webhooks.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// The path on the HTTP server, beginning with `/`.
    pub path: String,
    /// The secrets with which a message may be signed, the newest first; none: the receiver is off.
    pub secrets: Vec<SecretString>,
    /// The organisation whose webhooks are taken; `None`: that of the first one after the start.
    pub organization_id: Option<OrganisationId>,
}

/// The HTTP server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
}

/// The journal of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Journal {
    /// Older records are removed; 1 to 3650 days.
    pub keep: Duration,
}

/// The log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The least grave level that is written.
    pub level: Level,
    /// The form of its lines.
    pub format: Format,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_has_a_url() {
        for region in [Region::Us, Region::Eu, Region::Au, Region::Gov] {
            assert_eq!(region.base_url().scheme(), "https");
        }
    }
}
