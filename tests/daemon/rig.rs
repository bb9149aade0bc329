//! A simulated organisation, a broker and a configuration for the program under test.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use verkada2mqtt::{
    clock,
    demo::broker::{self, Broker},
    model::{DoorId, ScenarioId},
    simulator::{
        self, Handle, Simulator,
        ledger::{Endpoint, Entry},
        organisation::Organisation,
        switches::Switches,
        webhook::{WebhookTarget, signature},
    },
};

use crate::{
    canary::Canary,
    environment,
    mqtt::{Client, Version},
    process::{Ended, LIMIT, Process},
};

/// The API key that the simulated vendor takes.
pub(crate) const KEY: &str = "key-of-the-tests";
/// The keys that hold a secret.
const SECRETS: [&str; 6] = ["api_key", "password", "secret", "previous_secret", "code", "totp_secret"];
/// How long an unlock lasts in the tests.
pub(crate) const UNLOCK_TIME: Duration = Duration::from_secs(2);

/// Everything around the program.
pub(crate) struct Rig {
    pub(crate) simulator: Simulator,
    pub(crate) world: Handle,
    pub(crate) broker: Broker,
    pub(crate) config: Config,
}

impl Rig {
    /// The demo organisation with short unlock times, and a broker.
    pub(crate) async fn start() -> Self {
        Self::around(simulate(SocketAddr::from(([127, 0, 0, 1], 0))).await).await
    }

    /// The same with another organisation.
    pub(crate) async fn of(organisation: Organisation) -> Self {
        Self::around(simulate_with(SocketAddr::from(([127, 0, 0, 1], 0)), None, organisation).await).await
    }

    /// The same with a vendor that delivers webhooks to the gateway, signed with a secret.
    pub(crate) async fn start_with_webhooks(secret: &str) -> Self {
        let http = free_address();
        let url = format!("http://{http}/webhook/verkada").parse().unwrap();
        let webhook = WebhookTarget { url, secret: Some(secret.into()) };
        let mut rig =
            Self::around(simulate_with(SocketAddr::from(([127, 0, 0, 1], 0)), Some(webhook), quick()).await)
                .await;
        rig.config.set("/http/listen", http.to_string());
        rig.config.set("/webhook/secret", secret);
        rig
    }

    async fn around(simulator: Simulator) -> Self {
        let broker = broker::start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let config = Config::new(simulator.base_url().as_str(), broker.address());
        Self { world: simulator.handle(), simulator, broker, config }
    }

    /// Starts the gateway with the present configuration.
    pub(crate) fn run(&self) -> Process {
        self.config.start(&["run"])
    }

    /// Starts the gateway and waits until it serves.
    pub(crate) async fn run_ready(&self) -> Process {
        let gateway = self.run();
        ready(&gateway).await;
        gateway
    }

    /// The configuration of a gateway on another host, for the same organisation and broker.
    pub(crate) fn another(&self) -> Config {
        Config::new(self.simulator.base_url().as_str(), self.broker.address())
    }

    /// A client of the broker.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(Version::V5, self.broker.address()).await
    }

    /// The first door of this name.
    pub(crate) fn door(&self, name: &str) -> DoorId {
        door(&self.world, name)
    }

    /// The scenario of this name.
    pub(crate) fn scenario(&self, name: &str) -> ScenarioId {
        scenario(&self.world, name)
    }

    /// The requests for an endpoint that the vendor saw.
    pub(crate) fn seen(&self, endpoint: Endpoint) -> Vec<Entry> {
        seen(&self.world, endpoint)
    }

    /// The requests that would have changed something in the building.
    pub(crate) fn acts(&self) -> Vec<Entry> {
        self.world.ledger().into_iter().filter(|entry| entry.endpoint.acts()).collect()
    }

    /// Waits until the broker holds this payload under a topic.
    pub(crate) async fn holds(&self, topic: &str, payload: &str) {
        let what = format!("{topic} {payload} is retained");
        eventually(&what, async || (self.retained(topic).as_deref() == Some(payload)).then_some(())).await;
    }

    /// All that the broker holds of doors, scenarios and discovery; how the gateway itself is changes by the minute.
    pub(crate) fn held(&self) -> BTreeMap<String, Vec<u8>> {
        let all = self.broker.retained("#").into_iter();
        let told = all.filter(|(topic, _)| !topic.starts_with("verkada/bridge/"));
        told.map(|(topic, payload)| (topic, payload.to_vec())).collect()
    }

    /// Waits until every door and scenario, the API and the gateway are shown as available: what they show came before.
    pub(crate) async fn all_is_shown(&self) {
        let doors = self.world.doors().into_iter().map(|door| format!("door/{}", door.id));
        let scenarios =
            self.world.scenarios().into_iter().map(|scenario| format!("scenario/{}", scenario.id));
        for target in doors.chain(scenarios).chain(["bridge/api".to_owned()]) {
            self.holds(&format!("verkada/{target}/availability"), "online").await;
        }
        self.holds("verkada/availability", "online").await;
    }

    /// The retained payload of a topic.
    pub(crate) fn retained(&self, topic: &str) -> Option<String> {
        let (_, payload) = self.broker.retained(topic).into_iter().next()?;
        Some(String::from_utf8(payload.to_vec()).unwrap())
    }
}

/// Simulates the demo organisation with short unlock times, events at once and no rate limit.
pub(crate) async fn simulate(listen: SocketAddr) -> Simulator {
    simulate_with(listen, None, quick()).await
}

/// The demo organisation with short unlock times.
fn quick() -> Organisation {
    let mut organisation = Organisation::demo();
    for door in &mut organisation.doors {
        door.unlock_time = UNLOCK_TIME;
    }
    organisation
}

async fn simulate_with(
    listen: SocketAddr,
    webhook: Option<WebhookTarget>,
    organisation: Organisation,
) -> Simulator {
    let switches = Switches { rate_limit: false, event_delay_ms: 0, ..Switches::default() };
    let settings =
        simulator::Settings { listen, switches, webhook, ..simulator::Settings::new(organisation, KEY) };
    simulator::start(settings).await.unwrap()
}

/// The first door of this name.
pub(crate) fn door(world: &Handle, name: &str) -> DoorId {
    world.doors().into_iter().find(|door| door.name == name).unwrap().id.clone()
}

/// The scenario of this name.
pub(crate) fn scenario(world: &Handle, name: &str) -> ScenarioId {
    world.scenarios().into_iter().find(|scenario| scenario.name == name).unwrap().id.clone()
}

/// The requests for an endpoint that the vendor saw.
pub(crate) fn seen(world: &Handle, endpoint: Endpoint) -> Vec<Entry> {
    world.ledger().into_iter().filter(|entry| entry.endpoint == endpoint).collect()
}

/// A configuration file in a folder of its own, written as JSON, which is YAML too.
pub(crate) struct Config {
    folder: TempDir,
    keys: Value,
}

impl Config {
    /// The least waiting that the configuration allows. With `TRACE=1` in the environment the program tells all it can.
    pub(crate) fn new(base_url: &str, broker: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = json!({
            "verkada": { "base_url": base_url, "api_key": KEY },
            "mqtt": { "url": format!("mqtt://{broker}"), "keep_alive": "5s" },
            "poll": { "doors": "30s", "scenarios": "1s", "events": "1s" },
            "http": { "listen": "127.0.0.1:0" },
            "state_dir": folder.path().join("state"),
            "log": { "level": if environment::number("TRACE") == Some(1) { "trace" } else { "debug" } },
        });
        let config = Self { folder, keys };
        config.write();
        config
    }

    /// Sets a key, named by its path with a slash before each part, and writes the file.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<Value>) {
        let (parent, last) = key.rsplit_once('/').unwrap();
        if !parent.is_empty() && self.keys.pointer(parent).is_none() {
            self.set(parent, json!({}));
        }
        self.keys.pointer_mut(parent).unwrap()[last] = value.into();
        self.write();
    }

    /// Takes a key away, named as for [`Config::set`], and writes the file.
    pub(crate) fn unset(&mut self, key: &str) {
        let (parent, last) = key.rsplit_once('/').unwrap();
        self.keys.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(last).unwrap();
        self.write();
    }

    /// The file.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("config.yaml")
    }

    /// Writes a secret into a file of its own beside the configuration, as editors do it; returns its path.
    pub(crate) fn secret_file(&self, name: &str, secret: &str) -> String {
        let path = self.folder.path().join(name);
        self.replace(&path, secret);
        path.to_str().unwrap().to_owned()
    }

    /// Starts the program under test with this file. It must show none of the secrets that the file holds or names.
    pub(crate) fn start(&self, command: &[&str]) -> Process {
        let path = self.path();
        Process::start(&[command, &["--config", path.to_str().unwrap()]].concat()).keeping(self.secrets())
    }

    /// The secrets that the file holds or names.
    fn secrets(&self) -> Vec<Canary> {
        let sections = self.keys.as_object().unwrap().values().filter_map(Value::as_object);
        let keys = sections.flat_map(|section| section.iter());
        let secret = |(key, value): (&String, &Value)| {
            let text = value.as_str()?;
            let name = key.strip_suffix("_file").unwrap_or(key);
            let held = if name == key { text.to_owned() } else { fs::read_to_string(text).ok()? };
            SECRETS.contains(&name).then(|| Canary::new(name, held.trim_end()))
        };
        keys.filter_map(secret).collect()
    }

    /// Runs the program under test with this file to its end.
    pub(crate) async fn run(&self, command: &[&str]) -> Ended {
        self.start(command).end_within(LIMIT).await
    }

    /// Replaces the file by a text that is not what the tests believe it to be.
    pub(crate) fn write_text(&self, text: &str) {
        self.replace(&self.path(), text);
    }

    fn replace(&self, path: &Path, text: &str) {
        // A rename, as editors do it: nobody can read half a file.
        let draft = self.folder.path().join("draft");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        fs::rename(draft, path).unwrap();
    }

    fn write(&self) {
        self.write_text(&format!("{:#}", self.keys));
    }
}

/// A broker that refuses everybody ("not authorized") until it lets them through to the one behind it.
pub(crate) struct Bouncer {
    pub(crate) address: SocketAddr,
    lets_through: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Bouncer {
    pub(crate) async fn start(behind: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let lets_through = Arc::new(AtomicBool::new(false));
        let open = Arc::clone(&lets_through);
        let task = tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                if open.load(Ordering::Relaxed) {
                    let mut broker = TcpStream::connect(behind).await.unwrap();
                    tokio::spawn(async move { copy_bidirectional(&mut client, &mut broker).await });
                    continue;
                }
                assert_eq!(client.read_u8().await.unwrap(), 0x10, "CONNECT comes first");
                // CONNACK of MQTT 5: no session, reason 0x87, no properties.
                client.write_all(&[0x20, 0x03, 0x00, 0x87, 0x00]).await.unwrap();
            }
        });
        Self { address, lets_through, task }
    }

    pub(crate) fn let_through(&self) {
        self.lets_through.store(true, Ordering::Relaxed);
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits until a running gateway serves; returns the address of its HTTP server.
pub(crate) async fn ready(gateway: &Process) -> SocketAddr {
    let http = http(gateway).await;
    let (status, body) = eventually("ready", async || {
        let (status, body) = get(http, "/readyz").await;
        (status == 200).then_some((status, body))
    })
    .await;
    assert_eq!((status, &body["ready"]), (200, &json!(true)));
    http
}

/// The address of the HTTP server of a running gateway.
pub(crate) async fn http(gateway: &Process) -> SocketAddr {
    http_after(gateway, 0).await
}

/// As [`http`], of a start that was logged after the first `skip` lines.
pub(crate) async fn http_after(gateway: &Process, skip: usize) -> SocketAddr {
    let line = gateway.logs_after(skip, "the gateway starts").await;
    let address = line.split_once("http=").unwrap().1.split_whitespace().next().unwrap();
    address.parse().unwrap()
}

/// Asks an HTTP server; the body is JSON, or the text as a JSON string.
pub(crate) async fn get(server: SocketAddr, path: &str) -> (u16, Value) {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(LIMIT, exchange).await.expect("an answer in time");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|_| json!(body)))
}

/// A delivery of the vendor as HTTP, signed now with a secret.
pub(crate) fn delivery(server: SocketAddr, secret: &str, body: &Value) -> String {
    let (body, now) = (body.to_string(), clock::now().utc.as_second());
    let signature = signature(secret.as_bytes(), body.as_bytes(), now);
    format!(
        "POST /webhook/verkada HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nVerkada-Signature: {signature}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A notification that says nothing, as the body of a delivery.
pub(crate) fn notification() -> Value {
    let now = clock::now().utc.as_second();
    json!({"org_id": "x", "webhook_type": "notification", "created_at": now, "data": {}})
}

/// Looks again and again until there is something.
pub(crate) async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let until = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "it did not come to this: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A port of the loopback interface on which nobody listens.
pub(crate) fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
