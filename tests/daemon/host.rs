//! What the machine does to the gateway: no file descriptors, a log that nobody reads, a process that stands still.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::net::UnixDatagram,
    process::Command,
    time::Duration,
};

use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use verkada2mqtt::{
    config::{Format, Level, Log},
    logging,
};

use crate::{
    process::{LIMIT, Process},
    rig::{Rig, eventually, free_address, get, ready},
};

/// The program under test with this configuration, after shell commands that change what it is given.
fn after(shell: &str, rig: &Rig) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("{shell}; exec \"$0\" run --config \"$1\"")]);
    command.arg(env!("CARGO_BIN_EXE_verkada2mqtt")).arg(rig.config.path());
    command
}

/// Seconds of processor time that a process has used.
fn processor_time(id: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // User and system time (proc(5)), in hundredths of a second on every Linux.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[tokio::test]
async fn without_file_descriptors_commands_go_on_and_the_server_waits_and_heals() {
    let mut rig = Rig::start().await;
    // The spare connection of the acts is made before they run out.
    rig.config.set("/log/level", "info");
    let gateway = Process::of(&mut after("ulimit -n 32", &rig));
    let http = ready(&gateway).await;
    let client = rig.client().await;
    let door = format!("door/{}", rig.door("Workshop"));
    let mut idle = Vec::new();
    while !gateway.log().iter().any(|line| line.contains("an HTTP connection cannot be taken")) {
        idle.push(TcpStream::connect(http).await.unwrap());
        assert!(idle.len() < 200, "they never ran out");
        tokio::task::yield_now().await;
    }
    let (began, used) = (Instant::now(), processor_time(gateway.id()));
    client.publish(&format!("verkada/{door}/set"), r#"{"action": "unlock", "id": "u"}"#).await;
    assert_eq!(client.result(&door, "u").await["outcome"], "done");
    client.shows(&format!("verkada/{door}/state"), "UNLOCKED").await;
    client.shows(&format!("verkada/{door}/state"), "LOCKED").await;
    let used = processor_time(gateway.id()) - used;
    assert!(used < began.elapsed().as_secs_f64() / 2.0, "it spins: {used} s of {:?}", began.elapsed());
    drop(idle);
    eventually("the server takes connections again", async || {
        (get(http, "/readyz").await.0 == 200).then_some(())
    })
    .await;
    let told = gateway.log().iter().filter(|line| line.contains("cannot be taken")).count();
    assert_eq!(told, 1, "once a minute: {:#?}", gateway.log());
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_nothing_up() {
    let mut rig = Rig::start().await;
    let http = free_address();
    rig.config.set("/http/listen", http.to_string());
    rig.config.set("/log/level", "trace");
    let (mut reader, mut writer) = io::pipe().unwrap();
    // All that a pipe holds on Linux: the first line of the gateway finds no room.
    writer.write_all(&vec![b'\n'; 64 * 1024]).unwrap();
    let mut gateway = Process::logging_to(writer, &mut after("true", &rig));
    eventually("ready", async || {
        let open = TcpStream::connect(http).await.is_ok();
        (open && get(http, "/readyz").await.0 == 200).then_some(())
    })
    .await;
    let client = rig.client().await;
    let (door, scenario) = (rig.door("Workshop"), rig.scenario("Lockdown Tern Yard"));
    let door = format!("door/{door}");
    // Each is worth a line.
    for _ in 0..2_000 {
        client.publish("verkada/bridge/log_level/set", "loud").await;
    }
    client.publish(&format!("verkada/{door}/set"), r#"{"action": "unlock", "id": "u"}"#).await;
    assert_eq!(client.result(&door, "u").await["outcome"], "done");
    client.publish(&format!("verkada/scenario/{scenario}/set"), "ON").await;
    client.shows(&format!("verkada/scenario/{scenario}/state"), "ON").await;

    // Read at last, it says what is missing.
    let reading = tokio::task::spawn_blocking(move || {
        let mut log = String::new();
        reader.read_to_string(&mut log).unwrap();
        log
    });
    gateway.signal("TERM");
    let ended = gateway.end_within(LIMIT).await;
    let log = timeout(LIMIT, reading).await.expect("it ends").unwrap();
    assert_eq!(ended.code(), Some(0), "{log}");
    assert!(log.contains("the gateway starts") && log.contains("the gateway has stopped"), "{log}");
    assert!(log.contains("lines of the log were dropped, because nobody read them dropped="), "{log}");
}

/// A stop of the whole process stands for a machine that was suspended: time goes on, and nothing is done.
#[tokio::test]
async fn what_comes_while_the_gateway_stands_still_opens_nothing_and_the_watchdog_hears_nothing() {
    let mut rig = Rig::start().await;
    rig.config.set("/commands/max_age", "5s");
    let folder = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    manager.set_nonblocking(true).unwrap();
    let told = || {
        let mut bytes = [0; 1_024];
        manager.recv(&mut bytes).ok().map(|length| String::from_utf8_lossy(&bytes[..length]).into_owned())
    };
    let alive = async || {
        let fed = async || std::iter::from_fn(told).any(|said| said.contains("WATCHDOG=1")).then_some(());
        for _ in 0..3 {
            eventually("the watchdog is fed", fed).await;
        }
    };
    let mut command = after("true", &rig);
    command.env("NOTIFY_SOCKET", folder.path().join("notify")).env("WATCHDOG_USEC", "600000");
    let gateway = Process::of(&mut command);
    ready(&gateway).await;
    eventually("the service manager is told", async || told().filter(|said| said.contains("READY=1"))).await;
    alive().await;
    let client = rig.client().await;
    client.shows("verkada/availability", "online").await;
    let door = format!("door/{}", rig.door("Workshop"));

    let heard = client.count();
    gateway.signal("STOP");
    while told().is_some() {}
    client.publish(&format!("verkada/{door}/set"), r#"{"action": "unlock", "id": "stale"}"#).await;
    // The broker gives it up after one and a half of its keep-alive times.
    client.shows_after(heard, "verkada/availability", "offline").await;
    assert_eq!(told(), None, "nobody feeds the watchdog while nothing is done");
    let heard = client.count();
    gateway.signal("CONT");
    client.shows_after(heard, "verkada/availability", "online").await;
    alive().await;
    client.publish(&format!("verkada/{door}/set"), r#"{"action": "unlock", "id": "fresh"}"#).await;
    assert_eq!(client.result(&door, "fresh").await["outcome"], "done");
    assert_eq!(rig.acts().len(), 1, "{:#?}", gateway.log());
    assert!(!client.outcomes(&door, "stale").contains(&"done".to_owned()));
}

/// Where in the process a fault may be.
const PLACES: [&str; 3] = ["task", "thread", "blocking"];
const PLACE: &str = "VERKADA2MQTT_TEST_FAULT";

/// Not a test of its own: what the next one runs as a process.
#[tokio::test]
async fn a_process_with_a_fault() {
    let Some(place) = std::env::vars_os().find_map(|(name, value)| (name == PLACE).then_some(value)) else {
        return;
    };
    let _log = logging::start(Log { level: Level::Info, format: Format::Text }).unwrap();
    tracing::warn!("the last line before it");
    match place.to_str().unwrap() {
        "task" => drop(tokio::spawn(async { panic!("a planted\nfault") })),
        "blocking" => drop(tokio::task::spawn_blocking(|| panic!("a planted\nfault"))),
        _ => drop(std::thread::Builder::new().spawn(|| panic!("a planted\nfault")).unwrap()),
    }
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_fault_in_any_task_or_thread_is_logged_and_ends_the_process() {
    for place in PLACES {
        let began = Instant::now();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "host::a_process_with_a_fault", "--nocapture"]).env(PLACE, place);
        let ended = Process::of(&mut command).end_within(Duration::from_secs(10)).await;
        assert_eq!(ended.code(), None, "{place}: a signal ends it: {ended:?}");
        assert!(ended.log.contains("the last line before it"), "{place}: {}", ended.log);
        let line =
            ended.log.lines().find(|line| line.contains("ERROR a fault in the program ends it")).unwrap();
        assert!(line.contains("host.rs:") && line.contains(r#"cause="a planted\nfault""#), "{place}: {line}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
