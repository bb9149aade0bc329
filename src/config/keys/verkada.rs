//! `verkada`: region or base URL, API key, authorities, release path.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use secrecy::SecretString;
use serde_json::json;
use url::{Host, Url};

use super::pem;
use crate::{
    config::{
        reader::{Faulty, Problem, Rule, Section, Show},
        secret::{self, SecretKeys},
        settings::{Region, Verkada},
    },
    model::ReleasePath,
};

const API_KEY: SecretKeys = SecretKeys {
    name: "api_key",
    file: "api_key_file",
    credential: Some("verkada-api-key"),
    about: "The API key, made in Verkada Command under Admin, API & Integrations.",
};

pub(super) fn verkada(section: &mut Section<'_, '_>) -> Result<Verkada, Faulty> {
    let regions = [("us", Region::Us), ("eu", Region::Eu), ("au", Region::Au), ("gov", Region::Gov)];
    let paths = [
        ("auto", ReleasePath::Auto),
        ("release", ReleasePath::Release),
        ("deactivate", ReleasePath::Deactivate),
    ];
    let region = section
        .key("region", "Where the organisation was created; a key works only there.")
        .choice(&regions, Region::Us);
    let base_url = section
        .key("base_url", "The root of the API, in place of the region; for tests and proxies.")
        .parsed(&base_url_rule(), base_url);
    let api_key = api_key(section);
    let api_key_expires = section
        .key(
            "api_key_expires",
            "The day on which the API key expires, as Verkada Command shows it; the API does not tell.",
        )
        .parsed(&day_rule(), day);
    let ca_pem = pem::authorities(
        section,
        "ca_file",
        "Authorities (PEM) to trust besides the system's, for a proxy that opens TLS.",
    );
    let release_path = section
        .key(
            "release_path",
            "The path that ends a scenario. auto: /release, and /deactivate where \
             Verkada does not know that.",
        )
        .choice(&paths, ReleasePath::Auto);
    let (base_url, region) = match base_url? {
        Some(found) => (found.value, None),
        None => (region.base_url(), Some(region)),
    };
    let (api_key, api_key_expires) = (api_key?, api_key_expires?.map(|found| found.value));
    Ok(Verkada { base_url, region, api_key, api_key_expires, ca_pem: ca_pem?, release_path })
}

fn api_key(section: &mut Section<'_, '_>) -> Result<SecretString, Faulty> {
    if let Some(found) = secret::read(section, &API_KEY, check_api_key)? {
        return Ok(found.value);
    }
    let spot = section.spot().clone();
    let cure = "name the file that holds the key (mode 0600) under verkada.api_key_file, or load the systemd \
                credential verkada-api-key";
    Err(section.refuse(&spot, API_KEY.name, Problem::with_cure("is missing", cure)))
}

fn check_api_key(text: &str) -> Result<(), Problem> {
    if text.starts_with("vkd_api_") {
        return Err(Problem::with_cure(
            "this is a key of the old kind (vkd_api_...), which the current API does not take",
            "make a new key in Verkada Command under Admin, API & Integrations",
        ));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Problem::with_cure(
            "the key holds a blank or a character that no key holds",
            "copy the key again, without quotes around it",
        ));
    }
    Ok(())
}

fn day_rule() -> Rule {
    let schema = json!({"type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"});
    Rule::of("a day as YYYY-MM-DD", schema)
}

/// The beginning of a day in UTC.
fn day(text: &str) -> Result<Timestamp, Problem> {
    let not_a_day = || Problem::new("not a day of the calendar");
    let date: Date = text.parse().map_err(|_| not_a_day())?;
    // Other spellings of ISO 8601 are read as well, and would surprise.
    if date.to_string() != text {
        return Err(not_a_day());
    }
    date.to_zoned(TimeZone::UTC).map(|midnight| midnight.timestamp()).map_err(|_| not_a_day())
}

fn base_url_rule() -> Rule {
    Rule {
        allowed: "an https URL without user, query and fragment; http only for a loopback address".to_owned(),
        schema: json!({"type": "string", "format": "uri", "pattern": "^https?://"}),
        show: Show::UnlessUser,
    }
}

fn base_url(text: &str) -> Result<Url, Problem> {
    let url = Url::parse(text).map_err(|error| Problem::new(format!("not a URL ({error})")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Problem::new("it holds a user or a password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Problem::new("it holds a query or a fragment"));
    }
    if url.port() == Some(0) {
        return Err(Problem::new("port 0 cannot be reached"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err(Problem::with_cure("the API key would travel unencrypted", "write https://")),
        other => Err(Problem::new(format!("the scheme {other:?} is not known"))),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_a_day_and_nothing_else() {
        assert_eq!(day("2027-03-01").unwrap().to_string(), "2027-03-01T00:00:00Z");
        for bad in ["2027-02-29", "2027-3-1", "20270301", "2027-03-01T00:00", "01.03.2027", "soon"] {
            assert!(day(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn takes_http_only_on_this_machine() {
        for good in [
            "https://api.verkada.com",
            "http://127.0.0.1:8080",
            "http://[::1]:1/",
            "http://localhost/p",
            "http://127.9.9.9",
        ] {
            assert!(base_url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://api.verkada.com",
            "http://localhost.evil.example",
            "http://0.0.0.0",
            "http://10.0.0.1",
            "ftp://x",
            "api.verkada.com",
            "https://u:p@x",
            "https://x?y",
            "https://x#y",
            "https://x:0",
        ] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
    }
}
