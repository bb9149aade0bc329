//! Certificates and keys: read and understood here, so that a wrong file is told by its key and not by a handshake.

use std::path::Path;

use rustls::{
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::{
    files,
    reader::{Faulty, Problem, Section, Spot},
    secret::{absolute, path_rule},
    settings::ClientCertificate,
};

/// Reads the key of a file with certificates of authorities.
pub(super) fn authorities(
    section: &mut Section<'_, '_>,
    name: &'static str,
    about: &str,
) -> Result<Option<Vec<u8>>, Faulty> {
    let found = section.key(name, about).parsed(&path_rule(), |text| certificates(&absolute(text)?))?;
    Ok(found.map(|found| found.value))
}

/// Reads the keys of a client certificate.
pub(super) fn client(section: &mut Section<'_, '_>) -> Result<Option<ClientCertificate>, Faulty> {
    let cert = section
        .key("cert_file", "Our own certificate (PEM), with the chain below it.")
        .parsed(&path_rule(), |text| certificates(&absolute(text)?));
    let key = section
        .key("key_file", "Its private key (PEM), mode 0600, not encrypted.")
        .parsed(&path_rule(), |text| private_key(&absolute(text)?));
    match (cert?, key?) {
        (None, None) => Ok(None),
        (Some(cert), None) => Err(lonely(section, &cert.spot, "cert_file", "key_file")),
        (None, Some(key)) => Err(lonely(section, &key.spot, "key_file", "cert_file")),
        (Some(cert), Some(key)) => {
            belong_together(&cert.value, &key.value)
                .map_err(|problem| section.refuse(&cert.spot, "cert_file", problem))?;
            Ok(Some(ClientCertificate { cert_pem: cert.value, key_pem: key.value }))
        }
    }
}

fn lonely(section: &mut Section<'_, '_>, spot: &Spot, given: &str, missing: &str) -> Faulty {
    let problem = Problem::with_cure(
        format!("{given} is given without {missing}"),
        format!("add {missing}, or remove {given}"),
    );
    section.refuse(spot, given, problem)
}

fn certificates(path: &Path) -> Result<Vec<u8>, Problem> {
    let pem = files::read(path)?;
    let count = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| Problem::new("the file holds broken PEM"))?
        .len();
    if count == 0 {
        return Err(Problem::with_cure(
            "the file holds no certificate",
            "it must hold \"-----BEGIN CERTIFICATE-----\"",
        ));
    }
    Ok(pem)
}

fn private_key(path: &Path) -> Result<SecretString, Problem> {
    let pem =
        String::from_utf8(files::read_private(path)?).map_err(|_| Problem::new("the file is not PEM"))?;
    if pem.contains("ENCRYPTED") {
        return Err(Problem::with_cure(
            "the key is encrypted",
            "decrypt it: openssl pkey -in old.key -out new.key",
        ));
    }
    PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| Problem::new("the file holds no private key in PEM"))?;
    Ok(pem.into())
}

fn belong_together(cert_pem: &[u8], key_pem: &SecretString) -> Result<(), Problem> {
    let chain = CertificateDer::pem_slice_iter(cert_pem).collect::<Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_slice(key_pem.expose_secret().as_bytes());
    let (Ok(chain), Ok(key)) = (chain, key) else {
        return Err(Problem::with_cure("the file holds broken PEM", "copy it again, whole"));
    };
    match CertifiedKey::from_der(chain, key, &default_provider()) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(Problem::with_cure(
            "the certificate does not belong to the key in key_file",
            "name the key that was made for this certificate",
        )),
        Err(error) => Err(Problem::new(format!("certificate or key cannot be used: {error}"))),
    }
}
