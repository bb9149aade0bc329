//! How long a lockdown takes to leave, at rest and in a flood of unlocks.
//!
//! `cargo bench --bench lockdown` runs the built program between the simulated vendor and a Mosquitto, or the embedded
//! broker where none is installed. One client publishes unlocks, for one door and in turn for 100, in bursts; right behind
//! each burst another one publishes an activate. Measured is from that publish until the vendor sees the request, and
//! until the gateway says that it accepted. A bystander that subscribes to activates alone shows how long the broker
//! takes to hand one on: no gateway behind it could be faster. How long the gateway itself takes is what its own
//! metrics say. At the end the books must balance: every command is counted.
//!
//! `FLOOD` is the number of unlocks, `ROUNDS` that of activates at rest, and in the flood; `PAGE` names a file to which
//! the numbers are written.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints and may fail loudly")]

use std::{
    collections::BTreeMap,
    env, fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rumqttc_v4::{AsyncClient, Event, Incoming, MqttOptions, PublishOptions, QoS};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use verkada2mqtt::{
    clock,
    demo::broker,
    simulator::{self, Handle, ledger::Endpoint, organisation::Organisation, switches::Switches},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_verkada2mqtt");
const MOSQUITTO: &str = "/usr/sbin/mosquitto";
/// The bound on every wait but that for the whole flood.
const LIMIT: Duration = Duration::from_secs(30);
/// The bound on the wait for the whole flood.
const FLOOD_LIMIT: Duration = Duration::from_mins(10);
/// Between activates, so that the vendor's budget of 300 requests in a minute is not what is measured.
const PACE: Duration = Duration::from_millis(700);
/// How many doors are flooded in turn.
const DOORS: usize = 100;

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure(number("FLOOD", 100_000), number("ROUNDS", 100)));
}

/// Times in milliseconds, sorted.
struct Times(Vec<f64>);

impl Times {
    fn at(&self, percent: usize) -> f64 {
        *self.0.get((self.0.len() * percent).div_ceil(100) - 1).unwrap()
    }

    fn row(&self) -> String {
        format!("{:.1} | {:.1} | {:.1}", self.at(50), self.at(99), self.at(100))
    }

    /// Whether all but one of a hundred took at most so long.
    fn verdict(&self, wanted: f64) -> String {
        let by = self.at(99) - wanted;
        if by > 0.0 { format!("{wanted}: missed by {by:.1}") } else { format!("{wanted}: met") }
    }
}

async fn measure(flood: usize, rounds: usize) {
    let before = load_average();
    let (base_url, world) = vendor(rounds * 2);
    let folder = tempfile::tempdir().unwrap();
    let (address, name, _broker, _embedded) = start_broker(folder.path()).await;
    let http = free_address();
    let _gateway = start_gateway(folder.path(), &base_url, address, http).await;

    let (guard, mut results) = client(address, "guard", Some("verkada/scenario/+/result"));
    // The subscription stands.
    results.recv().await.unwrap();
    let (_bystander, mut heard) = client(address, "bystander", Some("verkada/scenario/+/set"));
    heard.recv().await.unwrap();
    let (crowd, _) = client(address, "crowd", None);
    let doors: Vec<String> =
        world.doors().iter().map(|door| format!("verkada/door/{}/set", door.id)).collect();
    let scenarios: Vec<String> = world.scenarios().iter().map(|scenario| scenario.id.to_string()).collect();
    let mut published = BTreeMap::new();
    let mut accepted = [Vec::new(), Vec::new()];
    let mut handed_on = [Vec::new(), Vec::new()];
    let mut own = Vec::new();
    let mut flooded = 0;
    for (round, scenario) in scenarios.iter().enumerate() {
        if round == rounds {
            own.push(Buckets::read(&get(http, "/metrics").await));
        }
        let burst = if round < rounds { 0 } else { flood * (round - rounds + 1) / rounds - flooded };
        for _ in 0..burst {
            // Half of them for one door, half in turn for all.
            let door = if flooded % 2 == 0 { 0 } else { flooded / 2 % doors.len() };
            crowd.publish(doors.get(door).unwrap().as_str(), "unlock", once()).await.unwrap();
            flooded += 1;
        }
        let at = clock::now();
        guard.publish(format!("verkada/scenario/{scenario}/set"), "ON", once()).await.unwrap();
        published.insert(scenario.clone(), at.utc);
        let took = accepted_at(&mut results, scenario).await - at.mono;
        accepted.get_mut(usize::from(round >= rounds)).unwrap().push(took.as_secs_f64() * 1e3);
        let (heard_at, topic, _) = heard.recv().await.unwrap();
        assert!(topic.contains(scenario), "the bystander hears each activate once");
        let took = heard_at - at.mono;
        handed_on.get_mut(usize::from(round >= rounds)).unwrap().push(took.as_secs_f64() * 1e3);
        clock::sleep_until(at.mono + PACE).await;
    }
    let all = flooded + scenarios.len();
    let received = format!("verkada2mqtt_commands_received_total {all}\n");
    until(FLOOD_LIMIT, async || {
        let metrics = get(http, "/metrics").await;
        metrics.contains(&received) && metrics.contains("verkada2mqtt_commands_pending 0\n")
    })
    .await;
    let metrics = get(http, "/metrics").await;
    own.push(Buckets::read(&metrics));
    let ended = ended(&metrics);
    assert_eq!(ended, all, "the books balance");

    let left = until_request(&world, &scenarios, &published, rounds);
    let load = format!("{before} before and {} after", load_average());
    let [at_rest, in_all] = <[Buckets; 2]>::try_from(own).unwrap();
    let own = [at_rest.clone(), in_all.since(&at_rest)];
    let result = Result {
        setting: format!("{name}, {}, load average {load}", machine()),
        counts: [flooded, rounds, all],
        handed_on: handed_on.map(sorted),
        left: left.map(sorted),
        own,
        accepted: accepted.map(sorted),
    };
    result.tell();
}

/// The built program, once it is ready.
async fn start_gateway(folder: &Path, base_url: &str, broker: SocketAddr, http: SocketAddr) -> Killed {
    let config = folder.join("config.yaml");
    let text = format!(
        "verkada: {{ base_url: {base_url}, api_key: bench-key }}\nmqtt: {{ url: \"mqtt://{broker}\" }}\n\
         http: {{ listen: \"{http}\" }}\nstate_dir: {}\nlog: {{ level: error }}\n",
        folder.join("state").display()
    );
    fs::write(&config, text).unwrap();
    let gateway = Command::new(PROGRAM).args(["run", "--config"]).arg(&config).stdout(Stdio::null()).spawn();
    let gateway = Killed(gateway.unwrap());
    until(LIMIT, async || get(http, "/readyz").await.starts_with("HTTP/1.1 200")).await;
    gateway
}

/// When the gateway is heard to have accepted the activate.
async fn accepted_at(results: &mut UnboundedReceiver<Heard>, scenario: &str) -> Instant {
    let told = tokio::time::timeout(LIMIT, async {
        loop {
            let (told_at, topic, payload) = results.recv().await.unwrap();
            if topic.contains(scenario) && payload.contains("\"accepted\"") {
                return told_at;
            }
        }
    });
    told.await.unwrap()
}

/// From each publish to the first request that the vendor saw of it, in milliseconds; at rest, and in the flood.
fn until_request(
    world: &Handle,
    scenarios: &[String],
    published: &BTreeMap<String, Timestamp>,
    rounds: usize,
) -> [Vec<f64>; 2] {
    let mut left = [Vec::new(), Vec::new()];
    let ledger = world.ledger();
    for (round, scenario) in scenarios.iter().enumerate() {
        let is_own = |target: &str| target == scenario;
        let first = ledger.iter().find(|entry| {
            entry.endpoint == Endpoint::Activate && entry.target.as_deref().is_some_and(is_own)
        });
        let took = first.unwrap().at.duration_since(*published.get(scenario).unwrap());
        left.get_mut(usize::from(round >= rounds)).unwrap().push(took.as_secs_f64() * 1e3);
    }
    left
}

/// What was measured; of each pair the first is at rest and the second in the flood.
struct Result {
    setting: String,
    /// Unlocks, activates of each kind, commands in all.
    counts: [usize; 3],
    /// From publish to a bystander.
    handed_on: [Times; 2],
    /// From publish to the vendor.
    left: [Times; 2],
    /// From receipt by the gateway to its request, as it says itself.
    own: [Buckets; 2],
    /// From publish until `accepted` is heard.
    accepted: [Times; 2],
}

impl Result {
    fn tell(&self) {
        let [flooded, rounds, all] = self.counts;
        let profile = if cfg!(debug_assertions) { "dev (not optimised)" } else { "release" };
        let rows = [
            ("publish to a bystander, at rest", self.handed_on[0].row(), String::new()),
            ("publish to a bystander, in the flood", self.handed_on[1].row(), String::new()),
            ("publish to request at the API, at rest", self.left[0].row(), String::new()),
            ("publish to request at the API, in the flood", self.left[1].row(), self.left[1].verdict(100.0)),
            ("receipt by the gateway to its request, at rest", self.own[0].row(), String::new()),
            ("receipt by the gateway to its request, in the flood", self.own[1].row(), String::new()),
            ("publish to `accepted`, at rest", self.accepted[0].row(), String::new()),
            ("publish to `accepted`, in the flood", self.accepted[1].row(), self.accepted[1].verdict(50.0)),
        ];
        let rows = rows.map(|(what, row, verdict)| format!("| {what} | {row} | {verdict} |\n")).concat();
        let text = format!(
            "{rounds} activates at rest and {rounds} in a flood of {flooded} unlocks; {}; profile {profile}. Times in \
             milliseconds; the gateway's own are the upper bounds of its histogram.\n\n\
             | from | p50 | p99 | max | wanted: p99 |\n|---|---|---|---|---|\n{rows}\n\
             Books at the end: {all} commands received, {all} ended, 0 pending.\n",
            self.setting,
        );
        println!("{text}");
        #[expect(clippy::disallowed_methods, reason = "a benchmark is set by its environment")]
        if let Ok(page) = env::var("PAGE") {
            let head = "# Performance\n\nThe numbers are written by `PAGE=docs/performance.md cargo bench --bench lockdown`; \
                        `benches/lockdown.rs` tells what is measured.\n\n";
            // What people wrote about the numbers stays below them.
            let old = fs::read_to_string(&page).unwrap_or_default();
            let prose = old.find("\n## ").and_then(|at| old.get(at..)).unwrap_or_default();
            fs::write(page, format!("{head}{text}{prose}")).unwrap();
        }
    }
}

/// The histogram of the gateway: upper bounds in milliseconds, and how many activates took at most that long.
#[derive(Debug, Clone)]
struct Buckets(Vec<(f64, usize)>);

impl Buckets {
    /// From the answer of `/metrics`.
    fn read(metrics: &str) -> Self {
        let name = "verkada2mqtt_command_first_byte_seconds_bucket{";
        let own = metrics.lines().filter_map(|line| line.strip_prefix(name));
        let own = own.filter(|line| line.contains("action=\"activate\""));
        let bucket = |line: &str| {
            let bound = line.split("le=\"").nth(1).unwrap().split('"').next().unwrap();
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse::<f64>().unwrap() * 1e3 };
            (bound, line.rsplit(' ').next().unwrap().parse().unwrap())
        };
        Self(own.map(bucket).collect())
    }

    fn since(&self, earlier: &Self) -> Self {
        let both = self.0.iter().zip(&earlier.0);
        Self(both.map(|((bound, count), (_, before))| (*bound, count - before)).collect())
    }

    fn row(&self) -> String {
        let all = self.0.last().unwrap().1;
        let at = |percent: usize| {
            let within = |(_, count): &&(f64, usize)| *count >= (all * percent).div_ceil(100);
            self.0.iter().find(within).unwrap().0
        };
        format!("{:.1} | {:.1} | {:.1}", at(50), at(99), at(100))
    }
}

/// The processors, as the system names them.
fn machine() -> String {
    let told = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = told.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let count = thread::available_parallelism().map_or(0, usize::from);
    format!("{count} processors ({})", model.unwrap_or("of a kind that is not told"))
}

/// Over the last minute.
fn load_average() -> String {
    let told = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    told.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("unknown").to_owned()
}

fn sorted(mut times: Vec<f64>) -> Times {
    times.sort_unstable_by(f64::total_cmp);
    Times(times)
}

/// The simulated vendor, in a thread of its own so that its stamps do not wait for the clients.
#[expect(clippy::disallowed_methods, reason = "a benchmark keeps what it measures out of its own thread")]
fn vendor(scenarios: usize) -> (String, Handle) {
    let settings = simulator::Settings {
        switches: Switches { rate_limit: false, ..Switches::default() },
        ..simulator::Settings::new(Organisation::of_size(DOORS, scenarios, 1), "bench-key")
    };
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let simulator = simulator::start(settings).await.unwrap();
            sender.send((simulator.base_url().to_string(), simulator.handle())).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().unwrap()
}

async fn start_broker(folder: &Path) -> (SocketAddr, String, Option<Killed>, Option<broker::Broker>) {
    if !Path::new(MOSQUITTO).exists() {
        let broker = broker::start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        return (broker.address(), "embedded broker".to_owned(), None, Some(broker));
    }
    let address = free_address();
    let file = folder.join("mosquitto.conf");
    // No limit on what waits for a client, or the broker drops a part of the flood and nobody can count it; and without
    // Nagle's algorithm, which would add its 40 ms to every second message.
    let text = format!(
        "listener {} 127.0.0.1\npersistence false\nlog_dest none\nallow_anonymous true\nmax_queued_messages 0\n\
         set_tcp_nodelay true\n",
        address.port()
    );
    fs::write(&file, text).unwrap();
    let child =
        Command::new(MOSQUITTO).arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = Killed(child.unwrap());
    until(LIMIT, async || TcpStream::connect(address).is_ok()).await;
    (address, "Mosquitto with set_tcp_nodelay".to_owned(), Some(child), None)
}

type Heard = (Instant, String, String);

/// A client in a thread of its own, which hands on what it hears; an empty message once its subscription stands.
#[expect(clippy::disallowed_methods, reason = "a benchmark keeps what it measures out of its own thread")]
fn client(broker: SocketAddr, id: &str, filter: Option<&str>) -> (AsyncClient, UnboundedReceiver<Heard>) {
    let options = MqttOptions::new(id, (broker.ip().to_string(), broker.port()));
    let (client, events) = AsyncClient::builder(options).capacity(64).build();
    if let Some(filter) = filter {
        client.try_subscribe(filter, QoS::AtLeastOnce).unwrap();
    }
    let (sender, receiver) = unbounded_channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(hear(events, &sender));
    });
    (client, receiver)
}

async fn hear(mut events: rumqttc_v4::EventLoop, sender: &UnboundedSender<Heard>) {
    while let Ok(event) = events.poll().await {
        if let Event::Incoming(Incoming::SubAck(_)) = event {
            drop(sender.send((clock::now().mono, String::new(), String::new())));
        } else if let Event::Incoming(Incoming::Publish(publish)) = event {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let heard = (clock::now().mono, text(publish.topic.as_ref()), text(&publish.payload));
            if sender.send(heard).is_err() {
                return;
            }
        }
    }
}

fn ended(metrics: &str) -> usize {
    let lines = metrics.lines().filter(|line| line.starts_with("verkada2mqtt_commands_ended_total{"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum()
}

async fn until(limit: Duration, is_so: impl AsyncFn() -> bool) {
    let reached = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(limit, reached).await.unwrap();
}

/// The whole answer; nothing while nobody listens.
async fn get(http: SocketAddr, path: &'static str) -> String {
    let ask = move || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(http)?;
        stream.write_all(
            format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").as_bytes(),
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    tokio::task::spawn_blocking(ask).await.unwrap().unwrap_or_default()
}

const fn once() -> PublishOptions {
    PublishOptions::new(QoS::AtLeastOnce)
}

fn number(variable: &str, default: usize) -> usize {
    #[expect(clippy::disallowed_methods, reason = "a benchmark is set by its environment")]
    env::var(variable).map_or(default, |text| text.parse().unwrap())
}

fn free_address() -> SocketAddr {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap()
}
