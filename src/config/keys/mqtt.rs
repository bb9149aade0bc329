//! `mqtt`: the broker, the login, TLS and our place among the topics.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use url::{Host, Url};

use super::{pem, text};
use crate::{
    config::{
        offered::OfferedBroker,
        reader::{Faulty, Problem, Rule, Section, Show},
        secret::{self, SecretKeys},
        settings::{Mqtt, Tls},
    },
    model::{ProtocolChoice, Scheme},
};

const PASSWORD: SecretKeys = SecretKeys {
    name: "password",
    file: "password_file",
    credential: Some("mqtt-password"),
    about: "The password of the user.",
};

pub(super) fn mqtt(section: &mut Section<'_, '_>) -> Result<Mqtt, Faulty> {
    let protocols =
        [("auto", ProtocolChoice::Auto), ("5", ProtocolChoice::V5), ("3.1.1", ProtocolChoice::V311)];
    let (broker, offered) = read_broker(section);
    let protocol = section
        .key("protocol", "The MQTT version. auto: 5, then 3.1.1 if the broker refuses it.")
        .choice(&protocols, ProtocolChoice::Auto);
    let client_id = section
        .key("client_id", "How the broker knows us; two gateways with one id would throw each other out.")
        .parsed_or("verkada2mqtt".to_owned(), &text::client_id_rule(), text::client_id);
    let credentials = credentials(section).map(|own| own.or_else(|| offered.as_ref()?.credentials.clone()));
    let scheme = broker.as_ref().ok().map(|broker| broker.scheme);
    let tls = section.section(
        "tls",
        "What TLS uses besides the system's authorities; only with mqtts and wss.",
        |tls| read_tls(tls, scheme),
    );
    let base_topic = section.key("base_topic", "The first part of every topic of the gateway.").parsed_or(
        "verkada".to_owned(),
        &text::topic_rule(),
        text::topic,
    );
    let keep_alive = section
        .key("keep_alive", "How often an idle connection is probed.")
        .duration(Duration::from_secs(10), Duration::from_secs(5)..=Duration::from_mins(1));
    let Broker { scheme, host, port, ws_path } = broker?;
    let credentials = credentials?;
    let mqtt = Mqtt {
        scheme,
        host,
        port,
        ws_path,
        offered: offered.is_some(),
        protocol,
        client_id,
        credentials,
        tls: tls?,
        base_topic,
        keep_alive,
    };
    if mqtt.is_exposed() {
        section.warn(
            "mqtt.url is not encrypted: whoever can listen on the network reads passwords and codes \
             and can unlock doors; use mqtts or wss",
        );
    }
    Ok(mqtt)
}

pub(in crate::config) struct Broker {
    scheme: Scheme,
    host: String,
    port: u16,
    ws_path: String,
}

/// The broker, and the offer where that is it: a broker that is named goes first.
fn read_broker(section: &mut Section<'_, '_>) -> (Result<Broker, Faulty>, Option<OfferedBroker>) {
    let offered = section.env().offered();
    let key = section.key(
        "url",
        "The broker. Without a port: 1883, 8883, 80 and 443 for mqtt, mqtts, ws and wss. \
         Without a path: /mqtt for ws and wss.",
    );
    let Some(offered) = offered else { return (key.required(&url_rule(), broker), None) };
    match key.parsed(&url_rule(), broker) {
        Ok(Some(named)) => (Ok(named.value), None),
        Ok(None) => {
            let read = offered.read().map_err(|error| {
                section.refuse(&section.spot().clone(), "url", Problem::new(error.to_string()))
            });
            (read, Some(offered.clone()))
        }
        Err(faulty) => (Err(faulty), None),
    }
}

fn url_rule() -> Rule {
    Rule {
        allowed: "scheme, host and, if needed, port, for instance mqtts://broker.example:8883".to_owned(),
        schema: json!({"type": "string", "pattern": "^(mqtts?|wss?)://[^@]+$"}),
        show: Show::UnlessUser,
    }
}

pub(in crate::config) fn broker(text: &str) -> Result<Broker, Problem> {
    let schemes =
        [("mqtt", Scheme::Mqtt), ("mqtts", Scheme::Mqtts), ("ws", Scheme::Ws), ("wss", Scheme::Wss)];
    let url = Url::parse(text).map_err(|error| Problem::new(format!("not a URL ({error})")))?;
    let Some((_, scheme)) = schemes.into_iter().find(|(name, _)| *name == url.scheme()) else {
        return Err(Problem::new("it does not begin with mqtt://, mqtts://, ws:// or wss://"));
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Problem::with_cure(
            "it holds a user or a password",
            "move them to mqtt.username and mqtt.password_file",
        ));
    }
    let host = match url.host() {
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        Some(Host::Domain(name)) if is_name(name) => name.to_owned(),
        Some(Host::Domain(_)) => return Err(Problem::new("the host is no name and no address")),
        None => return Err(Problem::new("the host is missing")),
    };
    let port = url.port().unwrap_or_else(|| scheme.default_port());
    if port == 0 {
        return Err(Problem::new("port 0 cannot be reached"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Problem::new("it holds a query or a fragment"));
    }
    let ws_path = match (scheme, url.path()) {
        (Scheme::Ws | Scheme::Wss, "" | "/") => "/mqtt",
        (Scheme::Ws | Scheme::Wss, path) => path,
        (Scheme::Mqtt | Scheme::Mqtts, "" | "/") => "/",
        (Scheme::Mqtt | Scheme::Mqtts, _) => {
            return Err(Problem::new("a path has no meaning for mqtt and mqtts"));
        }
    };
    Ok(Broker { scheme, host, port, ws_path: ws_path.to_owned() })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

type Login = Option<(String, SecretString)>;

fn credentials(section: &mut Section<'_, '_>) -> Result<Login, Faulty> {
    let username = section
        .key("username", "The user known to the broker.")
        .parsed(&Rule::text("a text"), |text| Ok(text.to_owned()));
    let password = secret::read(section, &PASSWORD, |_| Ok(()));
    match (username?, password?) {
        (Some(user), Some(password)) => Ok(Some((user.value, password.value))),
        (Some(user), None) => {
            section.warn("mqtt.username is given without a password; an empty password is sent");
            Ok(Some((user.value, String::new().into())))
        }
        (None, Some(found)) => {
            let problem = Problem::with_cure("a password is given without a user", "add mqtt.username");
            Err(section.refuse(&found.spot, "username", problem))
        }
        (None, None) => Ok(None),
    }
}

/// `scheme` is `None` if the URL is missing or faulty.
fn read_tls(section: &mut Section<'_, '_>, scheme: Option<Scheme>) -> Result<Tls, Faulty> {
    let ca_pem = pem::authorities(section, "ca_file", "Authorities (PEM) to trust in place of the system's.");
    let client = pem::client(section);
    let (ca_pem, client) = (ca_pem?, client?);
    let given = ca_pem.is_some() || client.is_some();
    if given && scheme.is_some_and(|scheme| !scheme.is_encrypted()) {
        let problem = Problem::with_cure(
            "certificates are given, but mqtt.url is not encrypted",
            "write mqtts:// or wss:// in mqtt.url, or remove mqtt.tls",
        );
        return Err(section.refuse_whole(problem));
    }
    Ok(Tls { ca_pem, client })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Scheme, String, u16, String) {
        let broker = broker(text).unwrap_or_else(|problem| panic!("{text}: {problem:?}"));
        (broker.scheme, broker.host, broker.port, broker.ws_path)
    }

    #[test]
    fn reads_every_scheme() {
        assert_eq!(read("mqtt://broker"), (Scheme::Mqtt, "broker".to_owned(), 1883, "/".to_owned()));
        assert_eq!(read("mqtts://10.0.0.1/"), (Scheme::Mqtts, "10.0.0.1".to_owned(), 8883, "/".to_owned()));
        assert_eq!(read("mqtt://[::1]:1884"), (Scheme::Mqtt, "::1".to_owned(), 1884, "/".to_owned()));
        assert_eq!(read("ws://b.example"), (Scheme::Ws, "b.example".to_owned(), 80, "/mqtt".to_owned()));
        assert_eq!(read("wss://b/a/b"), (Scheme::Wss, "b".to_owned(), 443, "/a/b".to_owned()));
    }

    #[test]
    fn refuses_what_cannot_be_a_broker() {
        for bad in [
            "broker:1883",
            "mqtt://",
            "mqtt://b:0",
            "mqtt://b:70000",
            "mqtt://b/x",
            "mqtt://u@b",
            "mqtt://u:p@b",
            "mqtt://b?x",
            "mqtt://b c",
            "mqtt:b",
            "http://b",
            "",
        ] {
            assert!(broker(bad).is_err(), "{bad}");
        }
    }
}
