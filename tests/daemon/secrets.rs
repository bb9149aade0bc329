//! No secret leaves the program: whatever it gives out in a whole run is looked through for all of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::SocketAddr,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use verkada2mqtt::{
    demo::broker,
    simulator::{
        fault::{Effect, Fault},
        ledger::Endpoint,
    },
};

use crate::{
    authority::Authority,
    canary::{Canary, FORMS, leaks},
    mqtt::{Client, Message, Version},
    process::{Ended, LIMIT, Process},
    rig::{Rig, delivery, eventually, http_after, notification, ready},
};

// With characters that are written otherwise in JSON, in URLs and by `Debug`, where the key may have them.
const KEY: &str = r#"canary-Key"7\uQ/x+Lw%&<Vd3Zr9"#;
const PASSWORD: &str = r#"canary pass"4\hT/m+Kz%&<Bn8Yq2"#;
const SECRET: &str = r#"canary hook"5\gS/n+Jy%&<Cm7Xp1"#;
const PREVIOUS: &str = r#"canary old"6\fR/o+Ix%&<Dl6Wo0k"#;
const PIN: &str = r#"canary pin"8\eP/p+Hw%&<Ek5Vn9j"#;
const TOTP: &str = "KZXW6YTBOIZDGNBVGY3TQOJQMFRGGZDF";
/// What somebody types who is off by a key: nearly a secret.
const MISTYPED: &str = r#"canary typo"9\dO/q+Gv%&<Fj4Um8i"#;

/// What a program gave out, and the secrets that must not be in it.
struct Search {
    secrets: Vec<Canary>,
    found: BTreeSet<String>,
    places: usize,
}

impl Search {
    fn new(secrets: Vec<Canary>) -> Self {
        Self { secrets, found: BTreeSet::new(), places: 0 }
    }

    fn look(&mut self, place: &str, bytes: &[u8]) {
        self.places += usize::from(!bytes.is_empty());
        self.found.extend(leaks(&self.secrets, place, bytes));
    }

    /// What a program wrote to its end.
    fn ended(&mut self, what: &str, ended: &Ended) {
        self.look(&format!("the log of {what}"), ended.log.as_bytes());
        self.look(&format!("the output of {what}"), ended.out.as_bytes());
    }

    /// What came over MQTT, but for what the test itself published.
    fn messages(&mut self, heard: &[Message], own: &[(String, String)]) {
        for message in heard {
            if !own.iter().any(|(topic, payload)| (topic, payload) == (&message.topic, &message.payload)) {
                let text = format!("{} {}", message.topic, message.payload);
                self.look(&format!("the message on {}", message.topic), text.as_bytes());
                self.look("correlation data", message.correlation.as_deref().unwrap_or_default());
            }
        }
    }

    /// Every file below a folder, by name and content.
    fn files(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            self.look("the name of a file", path.file_name().unwrap().as_encoded_bytes());
            if path.is_dir() {
                self.files(&path);
            } else {
                self.look(&path.display().to_string(), &fs::read(&path).unwrap());
            }
        }
    }

    /// What other users of the machine may see of a process.
    fn process(&mut self, id: u32) {
        for name in ["cmdline", "environ"] {
            match fs::read(format!("/proc/{id}/{name}")) {
                Ok(bytes) => self.look(name, &bytes),
                // Not even its owner may look.
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{name}: {error}"),
            }
        }
    }

    /// What a server answers.
    async fn answer(&mut self, server: SocketAddr, request: &str) -> String {
        let exchange = async {
            let mut stream = TcpStream::connect(server).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let answer = timeout(LIMIT, exchange).await.expect("an answer in time");
        self.look(&format!("the answer to {}", request.lines().next().unwrap()), &answer);
        String::from_utf8(answer).unwrap()
    }
}

/// Between the program under test and a server: keeps what the program sent, without the TLS around it.
struct Tap {
    address: SocketAddr,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
    task: JoinHandle<()>,
}

impl Tap {
    async fn start(behind: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&sent);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let number = kept.lock().unwrap().len();
                kept.lock().unwrap().push(Vec::new());
                let (kept, tls) = (Arc::clone(&kept), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => carry(client, behind, &kept, number).await,
                        Some(tls) => match tls.accept(client).await {
                            Ok(client) => carry(client, behind, &kept, number).await,
                            Err(error) => panic!("the program does not accept the broker: {error}"),
                        },
                    }
                });
            }
        });
        Self { address, sent, task }
    }

    fn sent(&self) -> Vec<Vec<u8>> {
        self.sent.lock().unwrap().clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(
    client: impl AsyncRead + AsyncWrite,
    server: SocketAddr,
    kept: &Mutex<Vec<Vec<u8>>>,
    number: usize,
) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let (mut from_server, mut to_server) = server.split();
    let (mut from_client, mut to_client) = split(client);
    let up = async {
        let mut buffer = vec![0; 4096];
        while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
            kept.lock().unwrap()[number].extend_from_slice(&buffer[..length]);
            if to_server.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        _ = copy(&mut from_server, &mut to_client) => {}
    }
}

/// What an MQTT client sent behind its CONNECT, which has to hold the password.
fn behind_connect(sent: &[u8]) -> &[u8] {
    let Some((0x10, rest)) = sent.split_first().map(|(first, rest)| (*first, rest)) else {
        assert_eq!(sent, b"", "CONNECT comes first");
        return sent;
    };
    let digits = rest.iter().take_while(|byte| **byte >= 0x80).count() + 1;
    let length = rest[..digits].iter().rev().fold(0, |length, byte| length << 7 | usize::from(byte & 0x7f));
    &rest[digits + length..]
}

/// What an HTTP client sent, without the two headers that have to hold a secret; and the tokens in one of them.
fn without_secret_headers(sent: &[u8]) -> (Vec<u8>, BTreeSet<String>) {
    let text = String::from_utf8(sent.to_vec()).unwrap();
    let secret = |line: &&str| line.starts_with("x-api-key: ") || line.starts_with("x-verkada-auth: ");
    let tokens = text.lines().filter_map(|line| line.strip_prefix("x-verkada-auth: "));
    let rest: Vec<&str> = text.lines().filter(|line| !secret(line)).collect();
    (rest.join("\n").into_bytes(), tokens.map(str::to_owned).collect())
}

/// Which code is asked for, and where the secrets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    /// A fixed code; each secret in a file of its own.
    InFiles,
    /// One-time codes; all in the configuration.
    InTheConfiguration,
}

/// A gateway with every secret that there is, and taps on both sides of it.
struct Watched {
    rig: Rig,
    vendor: Tap,
    broker: Tap,
    search: Search,
}

async fn watched(given: Given) -> Watched {
    let mut rig = Rig::start_with_webhooks(SECRET).await;
    rig.world.set_api_key(KEY);
    let authority = Authority::new("of the broker");
    let broker =
        Tap::start(rig.broker.address(), Some(authority.sign("127.0.0.1").acceptor(Some(&authority)))).await;
    let simulator = rig.simulator.base_url();
    let simulator = SocketAddr::from(([127, 0, 0, 1], simulator.port().unwrap()));
    let vendor = Tap::start(simulator, None).await;
    let ours = authority.sign("gateway");
    let der = PrivateKeyDer::from_pem_slice(ours.key.as_bytes()).unwrap();
    let mut secrets = vec![
        Canary::new("the API key", KEY),
        Canary::new("the MQTT password", PASSWORD),
        Canary::new("the webhook secret", SECRET),
        Canary::new("the previous webhook secret", PREVIOUS),
        Canary::new("the code", PIN),
        Canary::new("the secret of one-time codes", TOTP),
        Canary::new("a mistyped code", MISTYPED),
        // What makes the key secret begins behind 36 bytes that each of its kind begins with, and ends before the public key.
        Canary::new("the client key", &der.secret_der()[36..68]),
    ];
    secrets.extend(ours.key.lines().skip(1).step_by(2).map(|line| Canary::new("the client key", line)));
    let config = &mut rig.config;
    let key = config.secret_file("key.pem", &ours.key);
    let cert = config.secret_file("cert.pem", &ours.chain);
    let ca = config.secret_file("ca.pem", &authority.pem);
    config.set("/mqtt/url", format!("mqtts://{}", broker.address));
    config.set("/mqtt/tls", json!({"ca_file": ca, "cert_file": cert, "key_file": key}));
    config.set("/mqtt/username", "gateway");
    config.set("/verkada/base_url", format!("http://{}/", vendor.address));
    config.set("/commands/hold", true);
    config.set("/poll/calendars", "10s");
    config.set("/calendars", json!({"show": true}));
    config.set("/log/level", "trace");
    let of = |config: &crate::rig::Config, section: &str, name: &str, secret: &str| match given {
        Given::InFiles => {
            (format!("{section}/{name}_file"), config.secret_file(name, &format!("{secret}\n")))
        }
        Given::InTheConfiguration => (format!("{section}/{name}"), secret.to_owned()),
    };
    config.set("/verkada", json!({"base_url": format!("http://{}/", vendor.address)}));
    config.set("/webhook", json!({}));
    let code = if given == Given::InFiles { ("code", PIN) } else { ("totp_secret", TOTP) };
    for (section, (name, secret)) in [
        ("/verkada", ("api_key", KEY)),
        ("/mqtt", ("password", PASSWORD)),
        ("/webhook", ("secret", SECRET)),
        ("/webhook", ("previous_secret", PREVIOUS)),
        ("/commands", code),
    ] {
        let (key, value) = of(config, section, name, secret);
        config.set(&key, value);
    }
    Watched { rig, vendor, broker, search: Search::new(secrets) }
}

/// Commands with the right code, with a wrong one, and with either where none belongs; returns what was published.
async fn command(rig: &Rig, client: &Client, given: Given) -> Vec<(String, String)> {
    let door = format!("door/{}", rig.door("Workshop"));
    let scenario = format!("scenario/{}", rig.scenario("Lockdown Tern Yard"));
    let (set, hold) = (format!("verkada/{door}/set"), format!("verkada/{door}/hold/set"));
    let lockdown = format!("verkada/{scenario}/set");
    let mut own = Vec::new();
    let mut say = async |topic: &str, payload: String| {
        client.publish(topic, payload.clone()).await;
        own.push((topic.to_owned(), payload));
    };
    let right = |action: &str, id: &str| json!({"action": action, "id": id, "code": PIN}).to_string();
    let outcome = if given == Given::InFiles { "done" } else { "refused" };
    say(&set, right("unlock", "u1")).await;
    assert_eq!(client.result(&door, "u1").await["outcome"], outcome);
    let wrong = json!({"action": "unlock", "id": "u2", "code": MISTYPED}).to_string();
    say(&set, wrong).await;
    assert_eq!(client.result(&door, "u2").await["outcome"], "refused");
    say(&hold, json!({"mode": "unlocked", "for": 5, "id": "h1", "code": PIN}).to_string()).await;
    assert_eq!(client.result(&door, "h1").await["outcome"], outcome);
    say(&lockdown, json!({"action": "activate", "id": "a1"}).to_string()).await;
    assert_eq!(client.result(&scenario, "a1").await["outcome"], "done");
    say(&lockdown, right("release", "r1")).await;
    assert_eq!(client.result(&scenario, "r1").await["outcome"], outcome);
    for (number, body) in
        [format!("you sent {KEY}"), json!({"message": KEY}).to_string()].into_iter().enumerate()
    {
        let headers = BTreeMap::new();
        let echo = Effect::Answer { status: 400, headers, body, execute: false };
        rig.world.inject(Fault::once(Endpoint::AdminUnlock, echo)).unwrap();
        let id = format!("e{number}");
        say(&set, right("unlock", &id)).await;
        assert_ne!(client.result(&door, &id).await["outcome"], "done");
    }
    for misplaced in [
        PIN.to_owned(),
        MISTYPED.to_owned(),
        format!("UNLOCK {PIN}"),
        json!(PIN).to_string(),
        json!([PIN]).to_string(),
        json!({"action": PIN}).to_string(),
        json!({"action": "unlock", "cod": PIN}).to_string(),
        json!({"action": "unlock", "code": [PIN]}).to_string(),
        json!({"action": "unlock", "issued_at": PIN}).to_string(),
        format!("{{\"action\": \"unlock\", \"code\": {}", json!(PIN)),
    ] {
        for topic in [&set, &hold, &lockdown] {
            let before = client.count();
            say(topic, misplaced.clone()).await;
            let result = topic.replace("/hold/set", "/result").replace("/set", "/result");
            client.next_result(before, &result).await;
        }
    }
    own
}

/// All that the HTTP server knows, and what it does not.
async fn ask(search: &mut Search, http: SocketAddr) {
    for path in ["/", "/healthz", "/readyz", "/metrics", "/webhook/verkada", "/webhook", "/debug", "/..%2f"] {
        for method in ["GET", "POST", "PUT", "OPTIONS"] {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}"
            );
            search.answer(http, &request).await;
        }
    }
    for (secret, status) in [(SECRET, 200), (PREVIOUS, 200), (MISTYPED, 401)] {
        let request = delivery(http, secret, &notification());
        let answer = search.answer(http, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

/// A new configuration, a broken one, and the present one again; returns where the HTTP server is now.
async fn reload(search: &mut Search, rig: &mut Rig, gateway: &Process) -> SocketAddr {
    let logged = gateway.log().len();
    rig.config.set("/journal/keep", "30d");
    gateway.signal("HUP");
    let http = http_after(gateway, logged).await;
    eventually("it serves again", async || {
        (rig.retained("verkada/availability").as_deref() == Some("online")).then_some(())
    })
    .await;
    let whole = fs::read_to_string(rig.config.path()).unwrap();
    let (key, password) = (json!(KEY), json!(PASSWORD));
    for broken in [
        format!("verkada:\n  api_key: {key}\n  api_kee: {key}\n  api_key_file: {key}\n"),
        format!("verkada: {key}\nmqtt:\n  password: [{password}]\n  passwort: {password}\n"),
        format!("verkada:\n  api_key: {key}\n mqtt: {{ password: {password}\n"),
        "mqtt:\n  url: \"mqtts://gateway:canary%20pass%224%5ChT%2Fm%2BKz@broker\"\n".to_owned(),
    ] {
        let logged = gateway.log().len();
        rig.config.write_text(&broken);
        gateway.signal("HUP");
        gateway.logs_after(logged, "the configuration is left as it was").await;
        for command in [&["check"][..], &["run"]] {
            let ended = rig.config.run(command).await;
            assert_eq!(ended.code(), Some(78), "{ended:?}");
            search.ended("a broken configuration", &ended);
        }
    }
    rig.config.write_text(&whole);
    http
}

/// The other commands of the program.
async fn run_commands(search: &mut Search, rig: &Rig) {
    for command in [
        &["check"][..],
        &["check", "--online"],
        &["access"],
        &["access", "--json"],
        &["calendar", "list"],
        &["audit"],
        &["audit", "--json"],
        &["audit", "--verify"],
        &["healthcheck"],
        &["doors", "--json"],
        &["scenarios", "--json"],
        &["events", "--json"],
        &["unlock", "Workshop"],
        &["schema", "x"],
    ] {
        search.ended(&command.join(" "), &rig.config.run(command).await);
    }
}

/// A whole life of a gateway, and everything that came out of it.
async fn live(given: Given) {
    let Watched { mut rig, vendor, broker, mut search } = watched(given).await;
    let mut gateway = rig.config.start(&["run"]);
    let http = ready(&gateway).await;
    let client = rig.client().await;
    search.process(gateway.id());
    let own = command(&rig, &client, given).await;
    let door = rig.door("Workshop");
    rig.world.exit(&door).unwrap();
    rig.world.open(&door).unwrap();
    client.shows(&format!("verkada/door/{door}/position"), "ON").await;
    ask(&mut search, http).await;
    let http = reload(&mut search, &mut rig, &gateway).await;
    run_commands(&mut search, &rig).await;

    // The vendor refuses the key that it took before.
    rig.world.set_api_key("another");
    rig.world.expire_tokens();
    client.shows("verkada/bridge/token", "refused").await;
    ask(&mut search, http).await;
    search.ended("check --online", &rig.config.run(&["check", "--online"]).await);
    gateway.signal("TERM");
    let ended = gateway.end_within(LIMIT).await;
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert!(ended.log.contains("TRACE"), "the log tells everything it can");

    let mut tokens = BTreeSet::new();
    for sent in vendor.sent() {
        let (rest, more) = without_secret_headers(&sent);
        search.look("a request to the vendor", &rest);
        tokens.extend(more);
    }
    assert!(!tokens.is_empty(), "no token was seen");
    search.secrets.extend(tokens.iter().map(|token| Canary::new("a token", token)));
    for sent in broker.sent() {
        search.look("what the broker was sent", behind_connect(&sent));
    }
    for (topic, payload) in rig.broker.retained("#") {
        search.look(&format!("{topic}, which is retained"), &payload);
    }
    search.messages(&client.heard(), &own);
    search.ended("the gateway", &ended);
    search.files(&rig.config.path().with_file_name("state"));
    assert!(search.places > 200, "only {} places were looked at", search.places);
    assert_eq!(search.found, BTreeSet::new());
}

#[tokio::test]
async fn no_secret_from_files_leaves_a_whole_run() {
    live(Given::InFiles).await;
}

#[tokio::test]
async fn no_secret_from_the_configuration_leaves_a_whole_run() {
    live(Given::InTheConfiguration).await;
}

#[tokio::test]
async fn a_secret_file_that_others_may_read_is_refused_by_its_key_and_with_the_cure() {
    let Watched { mut rig, search, vendor: _vendor, broker: _broker } = watched(Given::InFiles).await;
    let whole = fs::read_to_string(rig.config.path()).unwrap();
    let keys: Value = serde_json::from_str(&whole).unwrap();
    let code = keys["commands"]["code_file"].clone();
    for (pointer, key) in [
        ("/verkada/api_key_file", "verkada.api_key_file"),
        ("/mqtt/password_file", "mqtt.password_file"),
        ("/mqtt/tls/key_file", "mqtt.tls.key_file"),
        ("/webhook/secret_file", "webhook.secret_file"),
        ("/webhook/previous_secret_file", "webhook.previous_secret_file"),
        ("/commands/code_file", "commands.code_file"),
        ("/commands/totp_secret_file", "commands.totp_secret_file"),
    ] {
        if key == "commands.totp_secret_file" {
            rig.config.unset("/commands/code_file");
            rig.config.set(pointer, code.clone());
        }
        let path = keys.pointer(pointer).unwrap_or(&code).as_str().unwrap();
        for (mode, told) in [(0o644, "read"), (0o640, "read"), (0o604, "read"), (0o622, "changed")] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            for command in
                [&["run"][..], &["check"], &["check", "--online"], &["access"], &["calendar", "list"]]
            {
                let ended = rig.config.run(command).await;
                assert_eq!(ended.code(), Some(78), "{key}, {command:?}: {ended:?}");
                let problem = format!("{key}: the file can be {told} by other users (mode {mode:04o})");
                for part in
                    [&problem, &format!("chmod 600 {path}"), &format!("{}:", rig.config.path().display())]
                {
                    assert!(ended.log.contains(part.as_str()), "{part:?} is not in {}", ended.log);
                }
                assert_eq!(leaks(&search.secrets, "the report", ended.log.as_bytes()), [""; 0]);
            }
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    rig.config.write_text(&whole);
    let gateway = rig.run_ready().await;
    let logged = gateway.log().len();
    let path = keys["verkada"]["api_key_file"].as_str().unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    gateway.signal("HUP");
    gateway.logs_after(logged, "the configuration is left as it was").await;
    gateway.logs_after(logged, "the file can be read by other users (mode 0644)").await;
}

/// Starts a program where it may leave a core dump of any size, in a folder of its own.
fn start_with_cores(folder: &Path, program: &[&str]) -> Process {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh"]).args(program).current_dir(folder);
    Process::of(&mut shell)
}

#[tokio::test]
async fn a_gateway_that_is_ended_by_a_fault_leaves_no_core() {
    let mut rig = Rig::start().await;
    rig.world.set_api_key(KEY);
    rig.config.set("/verkada/api_key_file", rig.config.secret_file("api_key", KEY));
    rig.config.unset("/verkada/api_key");
    let config = rig.config.path();
    for fault in ["SEGV", "ABRT"] {
        let folder = tempfile::tempdir().unwrap();
        let mut other = start_with_cores(folder.path(), &["sleep", "60"]);
        eventually("it has become the other program", async || {
            let name = fs::read_to_string(format!("/proc/{}/comm", other.id())).unwrap();
            (name.trim() == "sleep").then_some(())
        })
        .await;
        other.signal(fault);
        let machine_dumps = other.end_within(LIMIT).await.left_a_core();

        let folder = tempfile::tempdir().unwrap();
        let program = [env!("CARGO_BIN_EXE_verkada2mqtt"), "run", "--config", config.to_str().unwrap()];
        let mut gateway = start_with_cores(folder.path(), &program);
        ready(&gateway).await;
        let limits = fs::read_to_string(format!("/proc/{}/limits", gateway.id())).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        let figures: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
        assert_eq!(figures, ["0", "0"], "{core}");
        let memory = fs::metadata(format!("/proc/{}/mem", gateway.id())).unwrap();
        assert_eq!(memory.uid(), 0, "its user may look into its memory");
        // Rust's own handler lets the first SIGSEGV pass that does not come from a stack that is used up.
        eventually("the signal ends it", async || {
            gateway.signal(fault);
            gateway.has_closed().then_some(())
        })
        .await;
        let ended = gateway.end_within(LIMIT).await;
        assert_eq!(ended.code(), None);
        assert!(!ended.left_a_core(), "{fault}; others leave one here: {machine_dumps}");
        let mut search = Search::new(vec![Canary::new("the API key", KEY)]);
        search.files(folder.path());
        search.files(&config.with_file_name("state"));
        assert_eq!(search.found, BTreeSet::new());
    }
}

/// A child that shows a text on every way that a process has, and what is found of the secret on each.
async fn plant_in_a_process(leak: &str, search: impl Fn() -> Search) -> Vec<(&'static str, Search)> {
    let script = "printf '%s\\n' \"$1\"; printf '%s\\n' \"$1\" >&2; exec sleep 60";
    let mut sleeper = Command::new("/bin/sh");
    let child = Process::of(sleeper.args(["-c", script, "sh", leak]).env("LEAK", leak));
    child.logs(leak).await;
    child.says(leak).await;
    let (mut log, mut out, mut process) = (search(), search(), search());
    log.look("the log", child.log().join("\n").as_bytes());
    out.look("the output", child.out().join("\n").as_bytes());
    eventually("the child shows its environment", async || {
        (!fs::read(format!("/proc/{}/environ", child.id())).unwrap().is_empty()).then_some(())
    })
    .await;
    process.process(child.id());
    vec![("the log", log), ("the output", out), ("environ", process)]
}

/// The same for a message, and for a file.
async fn plant_outside(
    leak: &str,
    broker: SocketAddr,
    search: impl Fn() -> Search,
) -> Vec<(&'static str, Search)> {
    let client = Client::connect(Version::V5, broker).await;
    client.publish("leak", leak.to_owned()).await;
    client.publish("own", leak.to_owned()).await;
    client.until("both", |heard| (heard.len() >= 2).then_some(())).await;
    let (mut messages, mut files) = (search(), search());
    messages.messages(&client.heard(), &[("own".to_owned(), leak.to_owned())]);
    assert!(!messages.found.iter().any(|told| told.contains("own")), "{:?}", messages.found);
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    fs::write(folder.path().join("in/journal.db"), [b"\xff\0", leak.as_bytes(), b"\0"].concat()).unwrap();
    files.files(folder.path());
    vec![("the message on leak", messages), ("journal.db", files)]
}

#[tokio::test]
async fn a_planted_leak_is_found_in_every_form_and_place() {
    let broker = broker::start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let body = Arc::new(Mutex::new(String::new()));
    let answered = Arc::clone(&body);
    let serves = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
            let answer = format!("HTTP/1.1 200 OK\r\n\r\n{}", answered.lock().unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    for secret in [KEY, PASSWORD, SECRET, PREVIOUS, PIN, TOTP, MISTYPED] {
        for (form, write) in FORMS {
            let whole = write(secret.as_bytes()).remove(0);
            let (_, half) = whole.split_at(whole.len() / 2);
            let leak = format!("...={}...", half.to_ascii_uppercase());
            let search = || Search::new(vec![Canary::new("the secret", secret)]);
            body.lock().unwrap().clone_from(&leak);
            let mut http = search();
            http.answer(server, "GET /metrics HTTP/1.1\r\n\r\n").await;
            let mut places = vec![("the answer to GET /metrics", http)];
            places.extend(plant_in_a_process(&leak, search).await);
            places.extend(plant_outside(&leak, broker.address(), search).await);
            for (place, search) in places {
                let told = search.found.iter().any(|told| told.contains(form) && told.contains(place));
                assert!(told, "{leak} is not found as {form} in {place}, but {:?}", search.found);
            }
        }
    }
    serves.abort();
}

#[test]
fn what_has_to_hold_a_secret_is_left_out_and_no_more() {
    let nothing = leaks(&[Canary::new("the secret", KEY)], "a text", b"canary-Kex nothing of it");
    assert_eq!(nothing, [""; 0]);
    let connect = [&[0x10, 0x82, 0x01][..], &[0; 130], b"\x30\x03abc"].concat();
    assert_eq!(behind_connect(&connect), b"\x30\x03abc");
    let sent = b"GET / HTTP/1.1\r\nx-verkada-auth: t0ken\r\nhost: x\r\n\r\n";
    let (rest, tokens) = without_secret_headers(sent);
    assert_eq!((&rest[..], tokens.len()), (&b"GET / HTTP/1.1\nhost: x\n"[..], 1));
}

#[tokio::test]
#[should_panic(expected = "api_key, as it is, in what the program wrote")]
async fn a_program_that_shows_a_secret_of_its_configuration_fails_its_test() {
    let rig = Rig::start().await;
    let secrets = vec![Canary::new("api_key", crate::rig::KEY)];
    let shown = Process::of(Command::new("/bin/sh").args(["-c", "echo key-of-the-tests >&2; exec sleep 60"]));
    shown.logs(crate::rig::KEY).await;
    drop(shown.keeping(secrets));
    drop(rig);
}
