//! The gateway needs nothing that the sandbox of `systemd/verkada2mqtt.service` forbids: every system call of a run through
//! what it does is written down by `strace` and held against the unit. systemd itself is not needed, its `systemd-analyze` is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::{fs::MetadataExt, net::UnixDatagram},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;
use verkada2mqtt::clock;

use crate::{
    mosquitto::Mosquitto,
    mqtt::{Client, Version},
    process::{LIMIT, Process},
    rig::{Rig, eventually, get, http_after, ready},
};

const UNIT: &str = include_str!("../../systemd/verkada2mqtt.service");
const WEBHOOK_SECRET: &str = "secret-of-the-webhook";
/// Who runs the program where root runs the tests: nobody with a name.
const USER: &str = "65532";
/// What is denied and does no harm, with the reason.
const DENIED_WITHOUT_HARM: [(&str, &str); 1] = [
    // glibc's resolver asks which addresses the machine has, to order those of a name; it takes all where it cannot.
    ("socket", "AF_NETLINK"),
];
/// System calls whose first or second argument is the path of what they change.
const CHANGING: [&str; 21] = [
    "chmod",
    "chown",
    "creat",
    "fchmodat",
    "fchownat",
    "lchown",
    "link",
    "linkat",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "rename",
    "renameat",
    "renameat2",
    "rmdir",
    "symlink",
    "symlinkat",
    "truncate",
    "unlink",
    "unlinkat",
];

/// What a unit lets its service do.
struct Sandbox {
    calls: BTreeSet<String>,
    families: BTreeSet<String>,
    /// The one port that may be listened on, and the one folder that may be written in.
    port: u16,
    state: PathBuf,
}

impl Sandbox {
    /// Reads a unit; `groups` is what `systemd-analyze syscall-filter` prints.
    fn read(unit: &str, groups: &str, port: u16, state: &Path) -> Self {
        let groups = groups_of(groups);
        let mut calls = BTreeSet::new();
        for filter in values(unit, "SystemCallFilter") {
            match filter.strip_prefix('~') {
                None => calls.extend(expanded(filter, &groups)),
                Some(denied) => {
                    let denied = expanded(denied, &groups);
                    calls.retain(|call| !denied.contains(call));
                }
            }
        }
        let families = values(unit, "RestrictAddressFamilies").flat_map(str::split_whitespace);
        Self { calls, families: families.map(str::to_owned).collect(), port, state: state.to_owned() }
    }

    /// What a trace has that the unit would not have let happen, each once.
    fn violations(&self, trace: &str) -> BTreeSet<String> {
        calls(trace).filter_map(|call| self.violation(&call)).collect()
    }

    fn violation(&self, call: &Call<'_>) -> Option<String> {
        let Call { name, args } = *call;
        let harmless = |(denied, word): &(&str, &str)| *denied == name && args.starts_with(word);
        if DENIED_WITHOUT_HARM.iter().any(harmless) {
            return None;
        }
        let because = |what: &str| Some(format!("{what}: {name}({args}"));
        if !self.calls.contains(name) {
            return Some(format!("SystemCallFilter: {name}"));
        }
        let family = args.split(',').next().unwrap_or_default();
        match name {
            "socket" if !self.families.contains(family) => because("RestrictAddressFamilies"),
            "bind" if args.contains("AF_INET") && !args.contains(&format!("htons({})", self.port)) => {
                because("SocketBindDeny")
            }
            "mmap" if args.contains("PROT_WRITE|PROT_EXEC") => because("MemoryDenyWriteExecute"),
            "mprotect" | "pkey_mprotect" if args.contains("PROT_EXEC") => because("MemoryDenyWriteExecute"),
            "open" | "openat" if writes(args) && !self.may_write(args) => because("ProtectSystem"),
            _ if CHANGING.contains(&name) && !self.may_write(args) => because("ProtectSystem"),
            _ => None,
        }
    }

    /// Whether every path of a call is one of its own state.
    fn may_write(&self, args: &str) -> bool {
        let mut paths = args.split('"').skip(1).step_by(2).map(Path::new);
        paths.all(|path| path.starts_with(&self.state) || path == Path::new("/dev/null"))
    }
}

/// A system call as it was made: without its result.
#[derive(Clone, Copy)]
struct Call<'a> {
    name: &'a str,
    args: &'a str,
}

/// The calls of a trace. Those that others interrupt stand there twice: where they begin, with what they were asked, and where they end.
fn calls(trace: &str) -> impl Iterator<Item = Call<'_>> {
    trace.lines().filter_map(|line| {
        let call = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        let (name, args) = call.split_once('(')?;
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        (is_name && !name.is_empty()).then_some(Call { name, args })
    })
}

fn writes(args: &str) -> bool {
    ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| args.contains(flag))
}

/// The values of a setting, in their order.
fn values<'a>(unit: &'a str, setting: &str) -> impl Iterator<Item = &'a str> {
    unit.lines().filter_map(move |line| line.strip_prefix(setting)?.strip_prefix('='))
}

/// The groups by name, each with its calls and further groups.
fn groups_of(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut group = "";
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        if line.starts_with('@') {
            group = line.trim();
        } else if !line.trim().is_empty() {
            groups.entry(group).or_default().push(line.trim());
        }
    }
    groups
}

/// All calls of a list of calls and groups.
fn expanded(list: &str, groups: &BTreeMap<&str, Vec<&str>>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = list.split_whitespace().collect();
    while let Some(word) = open.pop() {
        if word.starts_with('@') {
            open.extend(groups.get(word).unwrap_or_else(|| panic!("systemd knows no group {word}")));
        } else {
            found.insert(word.to_owned());
        }
    }
    found
}

#[test]
fn the_checker_finds_what_the_unit_forbids() {
    let groups = "@basic\n    # What everybody needs\n    read\n    openat\n    @net\n\n@net\n    socket\n    bind\n    connect\n\n\
                  @memory\n    mmap\n    mprotect\n    unlink\n\n# Ungrouped:\n#   other\n";
    let unit = "[Service]\nRestrictAddressFamilies=AF_INET AF_UNIX\nSystemCallFilter=@basic @memory\nSystemCallFilter=~connect\n";
    let sandbox = Sandbox::read(unit, groups, 9463, Path::new("/state"));
    for (line, found) in [
        ("7 read(3, \"\"..., 8) = 8", None),
        ("7 write(1, \"\"..., 8) = 8", Some("SystemCallFilter: write")),
        ("7 connect(3, {sa_family=AF_INET <unfinished ...>", Some("SystemCallFilter: connect")),
        ("7 <... connect resumed>) = 0", None),
        ("7 --- SIGHUP {si_signo=SIGHUP} ---", None),
        ("7 +++ exited with 0 +++", None),
        ("7 socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 3", None),
        ("7 socket(AF_PACKET, SOCK_RAW) = 3", Some("RestrictAddressFamilies: ")),
        ("7 bind(3, {sa_family=AF_INET, sin_port=htons(9463)}, 16) = 0", None),
        ("7 bind(3, {sa_family=AF_INET, sin_port=htons(80)}, 16) = 0", Some("SocketBindDeny: ")),
        ("7 mmap(NULL, 8, PROT_READ|PROT_EXEC, MAP_PRIVATE, 3, 0) = 0", None),
        ("7 mmap(NULL, 8, PROT_READ|PROT_WRITE|PROT_EXEC, 0) = 0", Some("MemoryDenyWriteExecute: ")),
        ("7 mprotect(0x7, 8, PROT_READ|PROT_EXEC) = 0", Some("MemoryDenyWriteExecute: ")),
        ("7 openat(AT_FDCWD, \"/etc/hosts\", O_RDONLY) = 3", None),
        ("7 openat(AT_FDCWD, \"/state/a\", O_WRONLY|O_CREAT, 0600) = 3", None),
        ("7 openat(AT_FDCWD, \"/states\", O_RDWR) = 3", Some("ProtectSystem: ")),
        ("7 unlink(\"/etc/hosts\") = 0", Some("ProtectSystem: ")),
    ] {
        let violations = sandbox.violations(line);
        let found: Vec<&str> = found.into_iter().collect();
        assert_eq!(violations.len(), found.len(), "{line}: {violations:?}");
        assert!(
            violations.iter().zip(found).all(|(one, begin)| one.starts_with(begin)),
            "{line}: {violations:?}"
        );
    }
}

#[tokio::test]
#[ignore = "needs mosquitto, strace, systemd-analyze and root; .ci/run runs it"]
async fn the_unit_allows_what_the_gateway_does() {
    let run = traced_run().await;
    let groups =
        Command::new("systemd-analyze").arg("syscall-filter").output().expect("systemd-analyze is there");
    let groups = String::from_utf8(groups.stdout).unwrap();
    let violations = |unit: &str| Sandbox::read(unit, &groups, run.port, &run.state).violations(&run.trace);
    let seen: BTreeSet<&str> = calls(&run.trace).map(|call| call.name).collect();
    println!("{} system calls were used: {seen:?}", seen.len());
    // What each part of the run cannot do without: the whole program, a network, a disk, a service manager.
    for call in ["execve", "bind", "connect", "recvfrom", "fsync", "rename", "sendto", "exit_group"] {
        assert!(seen.contains(call), "{call} is not in the trace; was all of it written?");
    }
    assert_eq!(
        calls(&run.trace).filter(|call| call.name == "execve").count(),
        1,
        "it starts no other program"
    );
    assert_eq!(violations(UNIT), BTreeSet::new());

    // The same trace is too much for a unit that forbids what the program needs.
    for (shipped, less, missed) in [
        (
            "SystemCallFilter=~@privileged",
            "SystemCallFilter=~@network-io @privileged",
            "SystemCallFilter: connect",
        ),
        ("SystemCallFilter=@system-service", "SystemCallFilter=@basic-io", "SystemCallFilter: fsync"),
        ("AF_INET AF_INET6 AF_UNIX", "AF_INET6 AF_UNIX", "RestrictAddressFamilies: socket(AF_INET"),
        ("AF_INET AF_INET6 AF_UNIX", "AF_INET AF_INET6", "RestrictAddressFamilies: socket(AF_UNIX"),
    ] {
        let unit = UNIT.replace(shipped, less);
        assert_ne!(unit, UNIT, "{shipped} is not in the unit");
        let found = violations(&unit);
        assert!(found.iter().any(|one| one.starts_with(missed)), "{less}: {found:?}");
    }
    let elsewhere = Sandbox::read(UNIT, &groups, 1, Path::new("/nowhere")).violations(&run.trace);
    for missed in ["SocketBindDeny", "ProtectSystem"] {
        assert!(elsewhere.iter().any(|one| one.starts_with(missed)), "{missed}: {elsewhere:?}");
    }
}

/// What a run did, and where.
struct Run {
    trace: String,
    port: u16,
    state: PathBuf,
}

/// Starts the gateway as the unit does, lets it do all that it is there for, and stops it.
async fn traced_run() -> Run {
    let (mosquitto, tls_port, certificate) = Mosquitto::start_with_tls().await;
    let mut rig = Rig::start_with_webhooks(WEBHOOK_SECRET).await;
    let folder = rig.config.path().parent().unwrap().to_owned();
    let state = folder.join("state");
    fs::write(folder.join("ca"), certificate).unwrap();
    fs::create_dir(folder.join("credentials")).unwrap();
    fs::write(folder.join("credentials/mqtt-password"), "secret").unwrap();
    rig.config.set("/mqtt/url", format!("mqtts://localhost:{tls_port}"));
    rig.config.set("/mqtt/username", "gateway");
    rig.config.set("/mqtt/tls", json!({ "ca_file": folder.join("ca") }));
    rig.config.set("/poll/events", "10m");
    rig.config.set("/commands/hold", true);
    let manager = UnixDatagram::bind(folder.join("notify")).unwrap();
    let mut gateway = traced(&rig, &folder);
    let http = ready(&gateway).await;
    let client = mosquitto.client(Version::V5).await;
    everything(&rig, &client).await;
    let opened = rig.door("Roof Terrace");
    rig.world.exit(&opened).unwrap();
    rig.world.open(&opened).unwrap();
    client.shows(&format!("verkada/door/{opened}/position"), "ON").await;
    assert!(get(http, "/readyz").await.1["webhook"]["accepted"].as_u64() > Some(0));
    assert_eq!(get(http, "/metrics").await.0, 200);

    let logged = gateway.log().len();
    // The second needs a new start within the process.
    rig.config.set("/poll/scenarios", "2s");
    own(&folder);
    gateway.signal("HUP");
    gateway.logs_after(logged, "key=\"poll.scenarios\"").await;
    rig.config.set("/journal/keep", "30d");
    own(&folder);
    gateway.signal("HUP");
    let http = http_after(&gateway, logged).await;
    eventually("ready again", async || (get(http, "/readyz").await.0 == 200).then_some(())).await;
    everything(&rig, &client).await;
    eventually("it is written when the broker was heard", async || {
        state.join("securing_heard").exists().then_some(())
    })
    .await;
    gateway.signal("TERM");
    let ended = gateway.end_within(LIMIT).await;
    assert_eq!(ended.code(), Some(0), "{}", ended.log);
    let mut told = [0; 256];
    let length = manager.recv(&mut told).unwrap();
    assert!(told[..length].starts_with(b"READY=1"), "the service manager was told first that it serves");
    let trace = fs::read_to_string(folder.join("trace")).unwrap();
    // The first program is setpriv, which gives its rights away.
    let mut starts = trace.lines().enumerate().filter(|(_, line)| line.contains("execve("));
    let (begin, _) = starts.nth(1).expect("the program was started");
    let trace = trace.lines().skip(begin).collect::<Vec<_>>().join("\n");
    Run { trace, port: http.port(), state }
}

/// Starts the program below `strace`, as a user without rights.
fn traced(rig: &Rig, folder: &Path) -> Process {
    // Where it is built may be closed to others.
    let program = folder.join("verkada2mqtt");
    fs::copy(env!("CARGO_BIN_EXE_verkada2mqtt"), &program).unwrap();
    // The tracer stays root: the program lets nobody else look into its memory, where the paths are.
    assert!(own(folder), "the tests must be run by root");
    let mut command = Command::new("strace");
    // The tracer stands aside, so that the program is our own child and gets our signals; no text is written but paths.
    command.args(["-D", "-f", "-qq", "-s", "0", "-o"]).arg(folder.join("trace"));
    command.arg("-E").arg(format!("NOTIFY_SOCKET={}", folder.join("notify").display()));
    command.args(["-E", "WATCHDOG_USEC=3000000", "-E"]);
    command.arg(format!("CREDENTIALS_DIRECTORY={}", folder.join("credentials").display()));
    command.arg("setpriv").args(["--reuid", USER, "--regid", USER, "--clear-groups"]);
    command.args(["--no-new-privs", "--bounding-set=-all"]);
    Process::of(command.arg(program).args(["run", "--config"]).arg(rig.config.path()))
}

/// Gives a folder to the user that runs the program; `false` where the tests are not run by root.
fn own(folder: &Path) -> bool {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return false;
    }
    let owner = format!("{USER}:{USER}");
    assert!(Command::new("chown").args(["-R", &owner]).arg(folder).status().unwrap().success());
    true
}

/// An unlock, a lockdown and its release, and a hold.
async fn everything(rig: &Rig, client: &Client) {
    let (door, held) = (rig.door("Workshop"), rig.door("Front Door"));
    let scenario = format!("verkada/scenario/{}", rig.scenario("Lockdown Tern Yard"));
    let skip = client.count();
    client.publish(&format!("verkada/door/{door}/set"), "UNLOCK").await;
    client.shows_after(skip, &format!("verkada/door/{door}/state"), "UNLOCKED").await;
    for (command, state) in [("ON", "ON"), ("OFF", "OFF")] {
        let skip = client.count();
        client.publish(&format!("{scenario}/set"), command).await;
        client.shows_after(skip, &format!("{scenario}/state"), state).await;
    }
    let id = format!("hold-{skip}");
    let until = clock::now().utc + std::time::Duration::from_hours(1);
    let order = json!({ "mode": "unlocked", "until": until.to_string(), "id": id });
    client.publish(&format!("verkada/door/{held}/hold/set"), order.to_string()).await;
    assert_eq!(client.result(&format!("door/{held}"), &id).await["outcome"], "done");
}
