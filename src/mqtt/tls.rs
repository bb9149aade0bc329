//! Trust and identity for encrypted transports.

use std::sync::Arc;

use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore,
    client::WantsClientCert,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use rustls_platform_verifier::BuilderVerifierExt;
use secrecy::ExposeSecret;

use super::settings::{Error, Tls};

/// Builds what a TLS handshake needs. Certificates are always verified.
pub(super) fn client_config(tls: &Tls) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|cause| unusable("TLS versions", &cause))?;
    let builder = match &tls.ca_pem {
        Some(pem) => builder.with_root_certificates(authorities(pem)?),
        None => builder
            .with_platform_verifier()
            .map_err(|cause| unusable("platform's CA certificates", &cause))?,
    };
    Ok(Arc::new(with_identity(builder, tls)?))
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, "CA certificate")? {
        roots.add(certificate).map_err(|cause| unusable("CA certificate", &cause))?;
    }
    Ok(roots)
}

fn with_identity(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    tls: &Tls,
) -> Result<ClientConfig, Error> {
    let Some(client) = &tls.client else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(&client.chain_pem, "client certificate")?;
    let key = PrivateKeyDer::from_pem_slice(client.key_pem.expose_secret())
        .map_err(|cause| unusable("client key", &cause))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|cause| unusable("client certificate with its key", &cause))
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|cause| unusable(what, &cause))?;
    if certificates.is_empty() {
        return Err(unusable(what, &"the file holds no PEM certificate"));
    }
    Ok(certificates)
}

fn unusable(what: &'static str, cause: &dyn std::fmt::Display) -> Error {
    Error::Certificate { what, cause: cause.to_string() }
}
