//! TLS towards the vendor, and the exact cause of a connection that could not be made.

use std::{error::Error as StdError, io, sync::Arc};

use jiff::Timestamp;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, PeerIncompatible, RootCertStore,
    pki_types::{CertificateDer, UnixTime, pem::PemObject},
};

use super::Error;

/// How deep a chain of causes is followed.
const MAX_CAUSES: usize = 16;

/// Makes the TLS settings: ring, TLS 1.2 and 1.3, the CAs of the platform and those of `ca_pem`. Without `encrypted`
/// no CA is loaded, so that a plain loopback base URL works on a machine that has none.
pub(super) fn config(ca_pem: Option<&[u8]>, encrypted: bool) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    if encrypted {
        let native = rustls_native_certs::load_native_certs();
        for cause in native.errors {
            tracing::debug!(%cause, "some certificates of the platform could not be loaded");
        }
        roots.add_parsable_certificates(native.certs);
    }
    if let Some(pem) = ca_pem {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|e| Error::Ca(e.to_string()))?;
            roots.add(certificate).map_err(|e| Error::Ca(e.to_string()))?;
        }
        if roots.len() == before {
            return Err(Error::Ca("it holds no certificate".to_owned()));
        }
    }
    if encrypted && roots.is_empty() {
        return Err(Error::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Tls(e.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Names the cause of a failed connection or exchange from the chain of its errors, with the cure where one is known.
pub(super) fn cause(error: &(dyn StdError + 'static)) -> String {
    let mut deepest = error.to_string();
    let mut lookup = false;
    let mut next = Some(error);
    for _ in 0..MAX_CAUSES {
        let Some(link) = next else { break };
        if let Some(tls) = link.downcast_ref::<rustls::Error>() {
            return tls_cause(tls);
        }
        deepest = link.to_string();
        lookup |= deepest == "dns error";
        next = match link.downcast_ref::<io::Error>() {
            // An io::Error shows the source of what it wraps, not the wrapped error itself.
            Some(wrapping) => match wrapping.get_ref() {
                Some(inner) => {
                    let inner: &(dyn StdError + 'static) = inner;
                    Some(inner)
                }
                None => return io_cause(wrapping, lookup),
            },
            None => link.source(),
        };
    }
    if lookup { lookup_cause(&deepest) } else { deepest }
}

fn io_cause(error: &io::Error, lookup: bool) -> String {
    if lookup {
        return lookup_cause(&error.to_string());
    }
    if error.kind() == io::ErrorKind::ConnectionRefused {
        return "connection refused: nothing listens there, check the base URL and the firewall".to_owned();
    }
    error.to_string()
}

fn lookup_cause(detail: &str) -> String {
    format!("the host name could not be looked up ({detail}); check the base URL and the DNS of this machine")
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that may grow")]
fn tls_cause(error: &rustls::Error) -> String {
    let certificate = match error {
        rustls::Error::InvalidCertificate(certificate) => certificate,
        rustls::Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13)
        | rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            return "the server speaks only TLS 1.1 or older, which is not safe: a proxy on the way may be too old"
                .to_owned();
        }
        rustls::Error::InvalidMessage(_) => {
            return format!("the server does not speak TLS ({error}); check the base URL and its port");
        }
        other => return format!("TLS failed: {other}"),
    };
    match certificate {
        CertificateError::UnknownIssuer => {
            "the certificate comes from an unknown issuer: none of the trusted CAs signed it; if that is meant, name \
             its CA file"
                .to_owned()
        }
        CertificateError::BadSignature => "the certificate does not fit the trusted CA of the same name as its issuer: the CA file may be an old one"
            .to_owned(),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the certificate expired: it was valid until {}, the clock of this machine shows {}; check the clock (NTP)",
            date(*not_after),
            date(*time)
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the certificate is not valid yet: it is valid from {}, the clock of this machine shows {}; check the \
             clock (NTP)",
            date(*not_before),
            date(*time)
        ),
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the certificate is for another host name: wanted {}, it names {}; check the base URL",
            expected.to_str(),
            presented.join(", ")
        ),
        other if other.to_string().contains("CaUsedAsEndEntity") => {
            "the server shows the certificate of an authority as its own: it needs one that an authority signed, whose \
             certificate is then named as the CA file"
                .to_owned()
        }
        other => format!("the certificate is refused: {other}"),
    }
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| format!("Unix time {seconds}"), |time| time.to_string())
}
