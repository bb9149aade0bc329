//! Whom the program trusts: servers that cannot be trusted are told by their cause and get nothing, and what is not
//! encrypted is shown.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use verkada2mqtt::simulator::ledger::Endpoint;

use crate::{
    authority::{Authority, Identity},
    process::Process,
    rig::{Config, KEY, Rig, eventually, http_after, ready},
};

const PASSWORD: &str = "password-of-the-broker";

/// What a server does that nobody should trust.
#[derive(Clone)]
enum Server {
    /// It shows a certificate.
    Tls(TlsAcceptor),
    /// It answers with these bytes, whatever it is asked.
    Says(&'static [u8]),
}

/// What reached such a server.
#[derive(Debug, Default)]
struct Reached {
    connections: usize,
    /// The names that were asked for.
    names: Vec<String>,
    /// What was sent within TLS, and what without.
    within: Vec<u8>,
    without: Vec<u8>,
}

/// A server that keeps what reaches it.
struct Trap {
    address: SocketAddr,
    reached: Arc<Mutex<Reached>>,
    task: JoinHandle<()>,
}

impl Trap {
    async fn start(server: Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reached = Arc::new(Mutex::new(Reached::default()));
        let kept = Arc::clone(&reached);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                kept.lock().unwrap().connections += 1;
                tokio::spawn(meet(client, server.clone(), Arc::clone(&kept)));
            }
        });
        Self { address, reached, task }
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn meet(mut client: TcpStream, server: Server, reached: Arc<Mutex<Reached>>) {
    match server {
        Server::Tls(acceptor) => {
            let start = tokio_rustls::LazyConfigAcceptor::new(rustls::server::Acceptor::default(), client);
            let Ok(start) = start.await else { return };
            let name = start.client_hello().server_name().map(str::to_owned);
            reached.lock().unwrap().names.extend(name);
            let Ok(mut stream) = start.into_stream(Arc::clone(acceptor.config())).await else { return };
            let mut within = Vec::new();
            drop(stream.read_to_end(&mut within).await);
            reached.lock().unwrap().within.extend(within);
        }
        Server::Says(answer) => {
            let mut buffer = vec![0; 4096];
            let Ok(length) = client.read(&mut buffer).await else { return };
            let mut without = buffer[..length].to_vec();
            drop(client.write_all(answer).await);
            drop(client.read_to_end(&mut without).await);
            reached.lock().unwrap().without.extend(without);
        }
    }
}

/// A `ServerHello` of TLS 1.1, with a random number, no session and a cipher suite of old.
const OLD_HELLO: &[u8] = &[
    22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2, // a record with a handshake message, both of TLS 1.1
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28,
    29, 30, 31, 32, 0, 0xC0, 0x13, 0,
];
/// What a server says that takes nothing newer than TLS 1.1: a fatal alert, `protocol_version`.
const OLD_ALERT: &[u8] = &[21, 3, 2, 0, 2, 2, 70];
const NO_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\r\n";

/// A configuration of vendor and broker at this port, trusting an authority.
fn config(port: u16, trusted: &Authority) -> Config {
    let mut config = Config::new("http://127.0.0.1:1", SocketAddr::from(([127, 0, 0, 1], 1)));
    let ca = config.secret_file("ca.pem", &trusted.pem);
    config.set("/verkada/base_url", format!("https://localhost:{port}"));
    config.set("/verkada/ca_file", ca.clone());
    config.set("/mqtt/url", format!("mqtts://localhost:{port}"));
    config.set("/mqtt/tls", json!({"ca_file": ca}));
    config.set("/mqtt/username", "gateway");
    config.set("/mqtt/password", PASSWORD);
    config
}

/// Its name, the server, and what is said of it as the vendor and as the broker.
type Case = (&'static str, Server, &'static [&'static str], &'static [&'static str]);

/// Every way not to be trusted by who trusts `ours`.
fn cases(ours: &Authority) -> [Case; 9] {
    let theirs = Authority::new("theirs");
    let shows = |identity: &Identity| Server::Tls(identity.acceptor(None));
    let own = |of_authority| shows(&Identity::self_signed("localhost", of_authority));
    [
        (
            "another authority",
            shows(&theirs.sign("localhost")),
            &["unknown issuer", "name its CA file"],
            &["unknown issuer", "the given CA file is not the one that signed it"],
        ),
        (
            "expired",
            shows(&ours.sign_for("localhost", [2019, 2020])),
            &["expired", "2020-01-01T00:00:00Z", "NTP"],
            &["has expired", "2020-01-01T00:00:00Z", "NTP"],
        ),
        (
            "not valid yet",
            shows(&ours.sign_for("localhost", [2090, 2100])),
            &["not valid yet", "2090-01-01T00:00:00Z", "NTP"],
            &["not valid yet", "2090-01-01T00:00:00Z", "NTP"],
        ),
        (
            "of another host",
            shows(&ours.sign("other.example")),
            &["another host", "other.example", "check the base URL"],
            &["another host", "other.example"],
        ),
        ("self-signed", own(false), &["unknown issuer"], &["unknown issuer"]),
        (
            "self-signed as an authority",
            own(true),
            &["the certificate of an authority as its own", "signed"],
            &["the certificate of an authority as its own", "signed"],
        ),
        (
            "TLS 1.1 by its hello",
            Server::Says(OLD_HELLO),
            &["only TLS 1.1 or older"],
            &["only TLS 1.1 or older", "1.2"],
        ),
        (
            "TLS 1.1 by an alert",
            Server::Says(OLD_ALERT),
            &["only TLS 1.1 or older"],
            &["only TLS 1.1 or older", "1.2"],
        ),
        (
            "no TLS",
            Server::Says(NO_TLS),
            &["does not speak TLS", "check the base URL"],
            &["does not speak TLS", "is it the port without TLS"],
        ),
    ]
}

/// Tries vendor and broker at such a server; each has to be told by its cause, and to get nothing.
async fn check_does_not_trust((name, server, vendor, broker): Case, ours: &Authority) {
    let is_tls = matches!(server, Server::Tls(_));
    let trap = Trap::start(server).await;
    let ended = config(trap.address.port(), ours).run(&["check", "--online"]).await;
    assert_eq!(ended.code(), Some(1), "{name}: {ended:?}");
    for (what, parts) in [("API token", vendor), ("MQTT broker", broker), ("MQTT broker (securing)", broker)]
    {
        let begin = format!("  FAIL {what}: ");
        let line = ended.out.lines().find(|line| line.starts_with(&begin));
        let line = line.unwrap_or_else(|| panic!("{name}: no {begin:?} in\n{}", ended.out));
        for part in parts {
            assert!(line.contains(part), "{name}: {part:?} is not in {line:?}");
        }
    }
    let reached = trap.reached.lock().unwrap();
    assert!(reached.connections >= 3, "{name}: {reached:?}");
    assert_eq!(reached.within, b"", "{name}: something was sent to a server that is not trusted");
    let names = &reached.names;
    let named = names.len() >= 3 && names.iter().all(|name| name == "localhost");
    assert!(!is_tls || named, "{name}: the handshake asks for {names:?}");
    for secret in [KEY, PASSWORD, "gateway", "x-api-key", "MQTT"] {
        let bytes = secret.as_bytes();
        let found = reached.without.windows(bytes.len()).any(|part| part == bytes);
        assert!(!found, "{name}: {secret:?} was sent in the open");
    }
}

#[tokio::test]
async fn servers_that_cannot_be_trusted_are_told_by_their_cause_and_get_nothing() {
    let ours = Authority::new("ours");
    join_all(cases(&ours).map(|case| check_does_not_trust(case, &ours))).await;
}

/// Between the program and the simulated vendor, which speaks no TLS: speaks it for it.
async fn with_tls(behind: SocketAddr, identity: &Identity) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = identity.acceptor(None);
    let task = tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let mut server = TcpStream::connect(behind).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
            });
        }
    });
    (address, task)
}

#[tokio::test]
async fn a_running_gateway_tells_why_it_does_not_trust_and_serves_once_it_may() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let mut rig = Rig::start().await;
    let simulator = SocketAddr::from(([127, 0, 0, 1], rig.simulator.base_url().port().unwrap()));
    let (vendor, _vendor) = with_tls(simulator, &ours.sign("localhost")).await;
    let (broker, _broker) = with_tls(rig.broker.address(), &ours.sign("localhost")).await;
    let (right, wrong) =
        (rig.config.secret_file("right.pem", &ours.pem), rig.config.secret_file("wrong.pem", &theirs.pem));
    rig.config.set("/verkada/base_url", format!("https://localhost:{}", vendor.port()));
    rig.config.set("/verkada/ca_file", wrong.clone());
    let gateway = rig.run();
    let client = rig.client().await;
    client.shows("verkada/bridge/api/availability", "offline").await;
    let told = eventually("the problem names the cause", async || {
        rig.retained("verkada/bridge/problem").filter(|text| text.contains("unknown issuer"))
    })
    .await;
    assert!(told.contains("name its CA file"), "{told}");
    gateway.logs("unknown issuer").await;
    assert_eq!(rig.seen(Endpoint::Token), [], "no key was sent");

    rig.config.set("/verkada/ca_file", right.clone());
    rig.config.set("/mqtt/url", format!("mqtts://localhost:{}", broker.port()));
    rig.config.set("/mqtt/tls", json!({"ca_file": wrong}));
    let logged = gateway.log().len();
    gateway.signal("HUP");
    let line = gateway.logs_after(logged, "the MQTT link is down").await;
    assert!(line.contains("comes from an unknown issuer: the given CA file is not the one"), "{line}");

    rig.config.set("/mqtt/tls", json!({"ca_file": right}));
    gateway.signal("HUP");
    client.shows("verkada/bridge/api/availability", "online").await;
    client.shows("verkada/availability", "online").await;
    rig.holds("verkada/bridge/mqtt_unencrypted", "OFF").await;
}

fn warnings(gateway: &Process) -> usize {
    gateway.log().iter().filter(|line| line.contains("WARN mqtt.url is not encrypted")).count()
}

#[tokio::test]
async fn an_unencrypted_broker_is_a_problem_in_home_assistant_and_a_warning_at_every_start() {
    let mut rig = Rig::start().await;
    let device = async |rig: &Rig, shows: bool| {
        eventually("discovery tells of it", async || {
            let device = rig.retained("homeassistant/device/verkada2mqtt_verkada/config")?;
            let device: Value = serde_json::from_str(&device).unwrap();
            let entity = device["components"]["mqtt_unencrypted"].clone();
            (entity["device_class"].is_string() == shows).then_some(entity)
        })
        .await
    };
    // An address of this machine that is none of its loopback addresses, as another machine's would be.
    let broker = rig.broker.address();
    rig.config.set("/mqtt/url", format!("mqtt://0.0.0.0:{}", broker.port()));
    let mut gateway = rig.run();
    ready(&gateway).await;
    rig.holds("verkada/bridge/mqtt_unencrypted", "ON").await;
    let entity = device(&rig, true).await;
    assert_eq!(
        (&entity["platform"], &entity["device_class"], &entity["state_topic"]),
        (&json!("binary_sensor"), &json!("problem"), &json!("verkada/bridge/mqtt_unencrypted"))
    );
    assert_eq!(warnings(&gateway), 1, "{:#?}", gateway.log());
    let logged = gateway.log().len();
    rig.config.set("/journal/keep", "30d");
    gateway.signal("HUP");
    http_after(&gateway, logged).await;
    assert_eq!(warnings(&gateway), 2, "{:#?}", gateway.log());
    gateway.signal("TERM");
    assert_eq!(gateway.end_within(crate::process::LIMIT).await.code(), Some(0));
    let ended = rig.config.run(&["check"]).await;
    assert!(ended.out.contains("  note mqtt.url is not encrypted"), "{}", ended.out);
    let gateway = rig.run();
    ready(&gateway).await;
    assert_eq!(warnings(&gateway), 1);
    drop(gateway);

    rig.config.set("/mqtt/url", format!("mqtt://{broker}"));
    let gateway = rig.run();
    ready(&gateway).await;
    rig.holds("verkada/bridge/mqtt_unencrypted", "OFF").await;
    device(&rig, false).await;
    assert_eq!(warnings(&gateway), 0);
}
