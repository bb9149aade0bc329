//! How large the program is and how much memory it takes while nothing happens.
//!
//! `cargo bench --bench footprint` runs the built program with 100 simulated doors on an embedded broker, both in
//! this process, and prints the size of its file and its memory. `DOORS` and `IDLE_SECONDS` change the numbers.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints and may fail loudly")]

use std::{
    env, fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use verkada2mqtt::{
    clock,
    demo::broker,
    simulator::{self, organisation::Organisation},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_verkada2mqtt");
const READY_WITHIN: Duration = Duration::from_secs(30);

struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure(number("DOORS", 100), number("IDLE_SECONDS", 20)));
}

async fn measure(doors: u64, idle_seconds: u64) {
    let size = fs::metadata(PROGRAM).unwrap().len();
    println!("program file               {:>8.2} MiB", mebibytes(size));

    let organisation = Organisation::of_size(usize::try_from(doors).unwrap(), 5, 1);
    let simulator = simulator::start(simulator::Settings::new(organisation, "bench-key")).await.unwrap();
    let broker = broker::start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let http = free_address();
    let config = folder.path().join("config.yaml");
    let text = format!(
        "verkada: {{ base_url: {}, api_key: bench-key }}\nmqtt: {{ url: \"mqtt://{}\" }}\nhttp: {{ listen: \"{http}\" }}\n\
         state_dir: {}\nlog: {{ level: error }}\n",
        simulator.base_url(),
        broker.address(),
        folder.path().join("state").display()
    );
    fs::write(&config, text).unwrap();

    let started = clock::now().mono;
    let gateway =
        Command::new(PROGRAM).args(["run", "--config"]).arg(&config).stdout(Stdio::null()).spawn().unwrap();
    let gateway = Gateway(gateway);
    while !is_ready(http).await {
        assert!(clock::now().mono - started < READY_WITHIN, "the gateway is not ready");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!(
        "start to ready             {:>8.2} s   ({doors} doors)",
        (clock::now().mono - started).as_secs_f64()
    );
    println!("memory when ready          {:>8.2} MiB (resident)", resident(&gateway));
    let cpu = cpu_ticks(&gateway);
    tokio::time::sleep(Duration::from_secs(idle_seconds)).await;
    println!("memory after {idle_seconds:>3} s idle     {:>8.2} MiB (resident)", resident(&gateway));
    println!(
        "processor time meanwhile   {:>8}     ticks of 10 ms, default intervals",
        cpu_ticks(&gateway) - cpu
    );
}

fn number(variable: &str, default: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a benchmark is set by its environment")]
    env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "a figure with two decimals")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

fn free_address() -> SocketAddr {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap()
}

/// Asks in a thread: the answers of broker and simulator come from this one.
async fn is_ready(http: SocketAddr) -> bool {
    let ask = move || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(http)?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.split(' ').nth(1) == Some("200"))
    };
    tokio::task::spawn_blocking(ask).await.unwrap().unwrap_or(false)
}

fn resident(gateway: &Gateway) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.0.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    mebibytes(kibibytes * 1024)
}

fn cpu_ticks(gateway: &Gateway) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", gateway.0.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    [11, 12].iter().map(|field: &usize| fields.get(*field).unwrap().parse::<u64>().unwrap()).sum()
}
