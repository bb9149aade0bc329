//! Why a connection ended, in a sentence that names the cure where one is known.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "foreign enums grow, and what is not named here is told as it is"
)]

use std::{error::Error, io};

use jiff::Timestamp;
use rustls::{AlertDescription, CertificateError, PeerIncompatible, pki_types::UnixTime};

use super::{backoff::Pace, settings::Settings};
use crate::model::Scheme;

/// The end of a connection, or of the attempt to make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loss {
    /// The cause, as people read it; never a secret.
    pub(super) sentence: String,
    /// How soon to try again.
    pub(super) pace: Pace,
    /// Whether the other MQTT version may fare better.
    pub(super) try_other_protocol: bool,
}

impl Loss {
    pub(super) fn new(sentence: impl Into<String>, pace: Pace) -> Self {
        Self { sentence: sentence.into(), pace, try_other_protocol: false }
    }

    /// The broker does not know our MQTT version, or may not.
    pub(super) fn of_version(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), pace: Pace::Soon, try_other_protocol: true }
    }
}

/// The broker refused CONNECT because it does not know or trust us.
pub(super) fn not_authorised(settings: &Settings) -> Loss {
    let Settings { host, client_id, .. } = settings;
    let sentence = match &settings.credentials {
        Some((user, _)) => format!(
            "not authorised: {host} refuses user `{user}` with client id `{client_id}`; check the password and the \
             broker's rules"
        ),
        None => format!("not authorised: {host} wants a user name and a password, or a client certificate"),
    };
    Loss::new(sentence, Pace::Slow)
}

/// The broker refused CONNECT for another reason.
pub(super) fn refused(settings: &Settings, reason: &str) -> Loss {
    Loss::new(format!("{} refuses the connection: {reason}", settings.host), Pace::Slow)
}

/// Another client came with our client id.
pub(super) fn taken_over(settings: &Settings) -> Loss {
    Loss::new(
        format!(
            "another client connected with the client id `{}`: two gateways must not share one",
            settings.client_id
        ),
        Pace::TakenOver,
    )
}

/// The broker resumed a session that we asked it to forget.
pub(super) fn session_present(settings: &Settings) -> Loss {
    Loss::new(
        format!(
            "{} resumed an old session although a clean one was asked for: commands from it could be of any age",
            settings.host
        ),
        Pace::Slow,
    )
}

/// A message above our limit came in.
pub(super) fn too_large(limit: u32) -> Loss {
    Loss::new(
        format!(
            "a message above our limit of {limit} bytes came in: find who publishes it, and clear it if retained"
        ),
        Pace::Soon,
    )
}

/// CONNECT was not answered in time.
pub(super) fn no_answer(settings: &Settings) -> Loss {
    let Settings { host, port, .. } = settings;
    let limit = settings.timings.connect_within;
    Loss::new(
        format!(
            "{host}:{port} did not answer within {:.1} s: is it an MQTT broker, is it stalled, or does a firewall drop \
             our packets?",
            limit.as_secs_f64()
        ),
        Pace::Soon,
    )
}

/// What the network or TLS says; `open` once the broker has accepted CONNECT.
pub(super) fn of_transport(error: &(dyn Error + 'static), settings: &Settings, open: bool) -> Loss {
    if let Some(tls) = find::<rustls::Error>(error) {
        return Loss::new(of_tls(tls, settings), Pace::Soon);
    }
    let Settings { host, port, .. } = settings;
    let Some(io) = find::<io::Error>(error) else {
        return Loss::new(format!("{host}:{port}: {error}"), Pace::Soon);
    };
    match io.kind() {
        io::ErrorKind::ConnectionRefused => Loss::new(
            format!("nothing listens at {host}:{port}: is the broker running, and is the port right?"),
            Pace::Soon,
        ),
        io::ErrorKind::NotFound => Loss::new(format!("cannot find {host}: {io}"), Pace::Soon),
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => closed(settings, open),
        _ => Loss::new(format!("the connection to {host}:{port} failed: {io}"), Pace::Soon),
    }
}

/// What the websocket handshake says.
pub(super) fn of_websocket(error: &(dyn Error + 'static), settings: &Settings, open: bool) -> Loss {
    if find::<io::Error>(error).is_some() {
        return of_transport(error, settings, open);
    }
    let Settings { host, port, path, .. } = settings;
    Loss::new(format!("{host}:{port}{path} does not take a websocket: {error}"), Pace::Soon)
}

/// The broker closed the connection without a word.
pub(super) fn closed(settings: &Settings, open: bool) -> Loss {
    let Settings { host, port, .. } = settings;
    if open {
        return Loss::new(format!("{host}:{port} closed the connection"), Pace::Soon);
    }
    let guess = match settings.scheme {
        Scheme::Mqtt => "CONNECT: is it the port for TLS (mqtts) or for websockets?",
        Scheme::Ws => "a websocket request: is it a websocket port, and without TLS?",
        Scheme::Mqtts | Scheme::Wss => {
            "the TLS handshake or CONNECT: is it the port without TLS, or does the broker want a client certificate?"
        }
    };
    Loss::new(format!("{host}:{port} closed the connection instead of answering {guess}"), Pace::Soon)
}

fn of_tls(error: &rustls::Error, settings: &Settings) -> String {
    let Settings { host, port, .. } = settings;
    match error {
        rustls::Error::InvalidCertificate(fault) => of_certificate(fault, settings),
        rustls::Error::InvalidMessage(_) => {
            format!("{host}:{port} does not speak TLS: is it the port without TLS (mqtt or ws)?")
        }
        rustls::Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13)
        | rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            format!(
                "{host}:{port} speaks only TLS 1.1 or older, which is not safe: let the broker speak TLS 1.2 or 1.3"
            )
        }
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied),
        ) => {
            format!("{host} does not accept our client certificate, or wants one ({alert:?})")
        }
        other => format!("TLS with {host}:{port} failed: {other}"),
    }
}

fn of_certificate(fault: &CertificateError, settings: &Settings) -> String {
    let host = &settings.host;
    match fault {
        CertificateError::UnknownIssuer => {
            let cure = if settings.tls.ca_pem.is_some() {
                "the given CA file is not the one that signed it"
            } else {
                "give the CA file that signed it"
            };
            format!("the certificate of {host} comes from an unknown issuer: {cure}")
        }
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the certificate of {host} has expired: it was valid until {}, and our clock shows {}; renew it, and check that \
             our clock is right (NTP)",
            date(*not_after),
            date(*time)
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the certificate of {host} is not valid yet: it is valid from {}, and our clock shows {}; check that our clock is \
             right (NTP)",
            date(*not_before),
            date(*time)
        ),
        CertificateError::NotValidForName => {
            format!("the certificate of {host} is for another host: use the name that it names")
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            format!("the certificate of {host} is for another host: it names {}", presented.join(", "))
        }
        other if other.to_string().contains("CaUsedAsEndEntity") => format!(
            "{host} shows the certificate of an authority as its own: give the broker one that an authority signed, and name \
             that authority's as the CA file"
        ),
        other => format!("the certificate of {host} is not acceptable: {other}"),
    }
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| format!("Unix time {seconds}"), |time| time.to_string())
}

/// Looks for a cause of one kind in the chain. An `io::Error` hides what it wraps from `source`, so both ways are gone.
fn find<'a, Cause: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a Cause> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(cause) = error.downcast_ref::<Cause>() {
            return Some(cause);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}
