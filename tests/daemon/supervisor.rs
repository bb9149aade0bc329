//! The gateway as an app of Home Assistant's Supervisor, which names the broker.

use std::{
    net::SocketAddr,
    process::Command,
    sync::{Arc, Mutex},
};

use secrecy::SecretString;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use verkada2mqtt::{
    config::{Environment, OfferedBroker},
    demo::broker,
    supervisor,
};

use crate::{
    canary::Canary,
    process::{LIMIT, Process},
    rig::{Rig, eventually, get, http_after},
};

const TOKEN: &str = "token-of-the-supervisor";
const PASSWORD: &str = "password-of-the-service";
const NEXT_PASSWORD: &str = "changed-password-of-the-service";
const NOT_ENABLED: &str = r#"{"result":"error","message":"Service not enabled"}"#;

/// Answers every question with what the test wrote down last.
struct Supervisor {
    address: SocketAddr,
    answer: Arc<Mutex<(u16, String)>>,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Supervisor {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new((400, NOT_ENABLED.to_owned())));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (say, note) = (Arc::clone(&answer), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                note.lock().unwrap().push(String::from_utf8(request).unwrap());
                let (status, body) = say.lock().unwrap().clone();
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
                // Whoever has read enough does not read on.
                drop(stream.write_all((head + &body).as_bytes()).await);
            }
        });
        Self { address, answer, asked, task }
    }

    fn say(&self, status: u16, body: impl Into<String>) {
        *self.answer.lock().unwrap() = (status, body.into());
    }

    fn name(&self, broker: SocketAddr, password: &str) {
        let data = json!({
            "host": broker.ip().to_string(), "port": broker.port().to_string(), "ssl": false, "protocol": "3.1.1",
            "username": "addons", "password": password, "addon": "core_mosquitto",
        });
        self.say(200, json!({"result": "ok", "data": data}).to_string());
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn variables(&self) -> [(String, String); 2] {
        [
            ("SUPERVISOR_TOKEN".to_owned(), TOKEN.to_owned()),
            ("SUPERVISOR_API".to_owned(), format!("http://{}", self.address)),
        ]
    }

    async fn ask(&self) -> Result<OfferedBroker, supervisor::Error> {
        let env: Environment = self.variables().into_iter().collect();
        supervisor::Supervisor::of(&env).unwrap().unwrap().broker().await
    }

    /// Starts the program as an app with the configuration of a rig.
    fn start_app(&self, rig: &Rig, command: &str) -> Process {
        let path = rig.config.path();
        let program = env!("CARGO_BIN_EXE_verkada2mqtt");
        let secrets = [("token", TOKEN), ("password", PASSWORD), ("next password", NEXT_PASSWORD)];
        let secrets = secrets.map(|(name, secret)| Canary::new(name, secret)).to_vec();
        Process::of(Command::new(program).args([command, "--config"]).arg(path).envs(self.variables()))
            .keeping(secrets)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A rig whose configuration names no broker.
async fn rig() -> Rig {
    let mut rig = Rig::start().await;
    rig.config.unset("/mqtt/url");
    rig
}

#[tokio::test]
async fn waits_for_the_service_and_takes_over_what_it_changes() {
    let (rig, supervisor) = (rig().await, Supervisor::start().await);
    let gateway = supervisor.start_app(&rig, "run");
    let told = gateway.logs("the gateway waits for a broker").await;
    assert!(told.contains("Service not enabled") && told.contains("install and start the app"), "{told}");
    supervisor.name(rig.broker.address(), PASSWORD);
    rig.holds("verkada/availability", "online").await;
    let first = &supervisor.asked()[0];
    assert!(first.starts_with("GET /services/mqtt HTTP/1.1\r\n"), "{first}");
    assert!(first.contains(&format!("authorization: Bearer {TOKEN}\r\n")), "{first}");
    // On this machine, as the Supervisor says: no word about encryption.
    assert!(!gateway.log().join("\n").contains("not encrypted"));

    let skip = gateway.log().len();
    supervisor.name(rig.broker.address(), NEXT_PASSWORD);
    let told = gateway.logs_after(skip, "a changed key is taken over").await;
    assert!(told.contains("mqtt.password") && told.contains("the next connection"), "{told}");

    let other = broker::start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    supervisor.name(other.address(), NEXT_PASSWORD);
    eventually("the other broker has it", async || {
        let held = other.retained("verkada/availability");
        held.iter().any(|(_, payload)| payload.as_ref() == b"online").then_some(())
    })
    .await;
    // What the service is now is no matter as long as the broker serves.
    supervisor.say(400, NOT_ENABLED);
    let questions = supervisor.asked().len();
    eventually("asked again", async || (supervisor.asked().len() > questions).then_some(())).await;
    assert_eq!(get(http_after(&gateway, skip).await, "/healthz").await.0, 200);
}

#[tokio::test]
async fn a_stop_ends_the_wait() {
    let (rig, supervisor) = (rig().await, Supervisor::start().await);
    let mut gateway = supervisor.start_app(&rig, "run");
    gateway.logs("the gateway waits for a broker").await;
    gateway.signal("TERM");
    assert_eq!(gateway.end_within(LIMIT).await.code(), Some(0));
}

#[tokio::test]
async fn a_broker_that_is_named_goes_first() {
    let (rig, supervisor) = (Rig::start().await, Supervisor::start().await);
    let _gateway = supervisor.start_app(&rig, "run");
    rig.holds("verkada/availability", "online").await;
    assert_eq!(supervisor.asked(), [""; 0]);
}

#[tokio::test]
async fn a_file_that_names_a_broker_no_more_is_refused_while_the_gateway_runs() {
    let (mut rig, supervisor) = (Rig::start().await, Supervisor::start().await);
    let gateway = supervisor.start_app(&rig, "run");
    rig.holds("verkada/availability", "online").await;
    rig.config.unset("/mqtt/url");
    gateway.signal("HUP");
    gateway.logs("mqtt.url").await;
    let client = rig.client().await;
    let door = format!("door/{}", rig.door("Workshop"));
    client.publish(&format!("verkada/{door}/set"), r#"{"action": "unlock", "id": "u"}"#).await;
    assert_eq!(client.result(&door, "u").await["outcome"], "done");
}

#[tokio::test]
async fn faulty_options_are_told_by_name_while_there_is_no_broker() {
    let (mut rig, supervisor) = (rig().await, Supervisor::start().await);
    rig.config.set("/poll/doors", "5 minutes");
    rig.config.set("/comands", json!({}));
    let ended = supervisor.start_app(&rig, "run").end_within(LIMIT).await;
    assert_eq!(ended.code(), Some(78));
    assert!(
        ended.log.contains("poll.doors: ") && ended.log.contains("comands: unknown key"),
        "{}",
        ended.log
    );
    assert!(!ended.log.contains("mqtt.url"), "{}", ended.log);
}

#[tokio::test]
async fn a_check_asks_once() {
    let (rig, supervisor) = (rig().await, Supervisor::start().await);
    let ended = supervisor.start_app(&rig, "check").end_within(LIMIT).await;
    assert_eq!(ended.code(), Some(78));
    assert!(
        ended.log.contains("mqtt.url: is missing") && ended.log.contains("Service not enabled"),
        "{}",
        ended.log
    );
    supervisor.name(rig.broker.address(), PASSWORD);
    let ended = supervisor.start_app(&rig, "check").end_within(LIMIT).await;
    assert_eq!((ended.code(), supervisor.asked().len()), (Some(0), 2), "{}", ended.log);
}

#[tokio::test]
async fn reads_every_answer_of_a_supervisor() {
    let supervisor = Supervisor::start().await;
    let login = |user: &str, password: &str| Some((user.to_owned(), SecretString::from(password)));
    let broker = |encrypted, host, port, login| OfferedBroker::new(encrypted, host, port, login).unwrap();
    let data = |data: &str| format!(r#"{{"result":"ok","data":{data}}}"#);
    for (told, expected) in [
        (r#"{"host":"core-mosquitto","port":1883}"#, broker(false, "core-mosquitto", 1883, None)),
        (
            r#"{"host":"b","port":"8883","ssl":true,"username":"u","password":"p","app":"x","new":[]}"#,
            broker(true, "b", 8883, login("u", "p")),
        ),
        (r#"{"host":"fd0c::1","port":1,"username":"u"}"#, broker(false, "fd0c::1", 1, login("u", ""))),
        (r#"{"host":"b","port":1,"ssl":false,"protocol":"3.1.1"}"#, broker(false, "b", 1, None)),
        (r#"{"host":"b","port":1,"username":"","password":"p"}"#, broker(false, "b", 1, None)),
        (r#"{"host":"b","port":1,"ssl":null,"username":null,"password":null}"#, broker(false, "b", 1, None)),
    ] {
        supervisor.say(200, data(told));
        let found = supervisor.ask().await.unwrap();
        assert!(found.is(&expected), "{told}: {found:?}");
    }
}

#[tokio::test]
async fn a_hostile_answer_is_no_broker_and_is_not_quoted() {
    let supervisor = Supervisor::start().await;
    let named = |host: &str, port: &str| {
        let password = PASSWORD;
        format!(r#"{{"data":{{"host":{host},"port":{port},"username":"u","password":"{password}"}}}}"#)
    };
    let odd = [
        (200, String::new()),
        (200, "[".repeat(60_000)),
        (200, format!(r#"{{"data":{}"#, r#"{"data":"#.repeat(5_000))),
        (200, named(&format!("{:?}", "a".repeat(70_000)), "1")),
        (200, named(r#""a/b""#, "1")),
        (200, named(r#""user@a""#, "1")),
        (200, named(r#""a?b""#, "1")),
        (200, named(r#""""#, "1")),
        (200, named(r#""a\nb""#, "1")),
        (200, named("7", "1")),
        (200, named(r#""a""#, "0")),
        (200, named(r#""a""#, "70000")),
        (200, named(r#""a""#, r#""1 883""#)),
        (200, named(r#""a""#, "-1")),
        (200, r#"{"data":{"port":1}}"#.to_owned()),
        (200, r#"{"data":null}"#.to_owned()),
        (302, named(r#""a""#, "1")),
        (500, named(r#""a""#, "1")),
        (403, "403: Forbidden".to_owned()),
        (401, "x".repeat(50_000)),
        (400, format!(r#"{{"message":"{}"}}"#, "m".repeat(50_000))),
    ];
    for (status, body) in odd {
        let about = body.chars().take(60).collect::<String>();
        supervisor.say(status, body);
        let error = supervisor.ask().await.unwrap_err().to_string();
        assert!(error.len() < 500 && !error.contains(PASSWORD), "{status} {about}: {error}");
        assert_eq!(error.contains("services: [mqtt:want]"), [401, 403].contains(&status), "{error}");
    }
}
