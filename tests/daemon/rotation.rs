//! Secrets that change while the gateway runs, with and without SIGHUP, and without a command that is lost.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinHandle},
    time::{Instant, timeout},
};
use verkada2mqtt::simulator::ledger::Endpoint;

use crate::{
    mqtt::Client,
    process::{LIMIT, Process},
    rig::{KEY, Rig, UNLOCK_TIME, delivery, eventually, notification, ready},
};

const NEW_KEY: &str = "another-key-of-the-tests";
/// How soon a new secret has to be in use.
const SOON: Duration = Duration::from_secs(5);

/// A gateway whose API key is in a file.
async fn with_key_file() -> Rig {
    let mut rig = Rig::start().await;
    rig.config.unset("/verkada/api_key");
    rig.config.set("/verkada/api_key_file", rig.config.secret_file("api_key", KEY));
    rig
}

/// Unlocks a door, which has to be done, and waits until it is locked again.
async fn unlock(rig: &Rig, client: &Client, id: &str) {
    let door = format!("door/{}", rig.door("Workshop"));
    let command = json!({"action": "unlock", "id": id}).to_string();
    client.publish(&format!("verkada/{door}/set"), command).await;
    assert_eq!(client.result(&door, id).await["outcome"], "done");
    client.shows(&format!("verkada/{door}/state"), "UNLOCKED").await;
    client.shows(&format!("verkada/{door}/state"), "LOCKED").await;
}

fn executed(rig: &Rig) -> usize {
    rig.acts().iter().filter(|act| act.executed).count()
}

fn lines(gateway: &Process, text: &str) -> usize {
    gateway.log().iter().filter(|line| line.contains(text)).count()
}

#[tokio::test]
async fn a_key_is_replaced_at_the_vendor_and_in_its_file_and_no_command_is_lost() {
    for signal in [None, Some("HUP")] {
        let rig = with_key_file().await;
        let gateway = rig.run_ready().await;
        let client = rig.client().await;
        unlock(&rig, &client, "before").await;
        let tokens = rig.seen(Endpoint::Token).len();
        rig.world.set_api_key(NEW_KEY);
        let replaced = Instant::now();
        rig.config.secret_file("api_key", NEW_KEY);
        if let Some(name) = signal {
            gateway.signal(name);
        }
        let mut pressed = 1;
        while rig.seen(Endpoint::Token).len() == tokens {
            unlock(&rig, &client, &format!("meanwhile-{pressed}")).await;
            pressed += 1;
        }
        assert!(replaced.elapsed() < SOON + UNLOCK_TIME, "{:?}", replaced.elapsed());
        gateway.logs(r#"key="verkada.api_key" cost="a new token"#).await;
        rig.world.expire_tokens();
        unlock(&rig, &client, "after").await;
        assert_eq!(executed(&rig), pressed + 1, "each was executed once");
        let asked = rig.seen(Endpoint::Token);
        assert!(asked.iter().all(|entry| entry.status == Some(200)), "{asked:#?}");
        assert_eq!((lines(&gateway, "the gateway starts"), lines(&gateway, "link is up")), (1, 2));
        assert_eq!((lines(&gateway, " WARN "), lines(&gateway, "ERROR ")), (0, 0), "{:#?}", gateway.log());
    }
}

#[tokio::test]
async fn a_right_key_in_the_file_heals_a_wrong_one_by_itself() {
    let rig = with_key_file().await;
    rig.config.secret_file("api_key", "not-the-key-of-anybody");
    let gateway = rig.run();
    let client = rig.client().await;
    client.shows("verkada/bridge/token", "refused").await;
    client.shows("verkada/bridge/api/availability", "offline").await;
    let written = Instant::now();
    rig.config.secret_file("api_key", KEY);
    client.shows("verkada/bridge/api/availability", "online").await;
    assert!(written.elapsed() < SOON, "{:?}", written.elapsed());
    client.shows("verkada/bridge/token", "valid").await;
    client.shows("verkada/bridge/problem", "None").await;
    unlock(&rig, &client, "after").await;
    assert_eq!(lines(&gateway, "the gateway starts"), 1);
}

#[tokio::test]
async fn a_new_key_that_is_refused_is_told_and_the_token_there_is_serves_on() {
    let rig = with_key_file().await;
    let _gateway = rig.run_ready().await;
    let client = rig.client().await;
    rig.config.secret_file("api_key", "not-the-key-of-anybody");
    client.shows("verkada/bridge/token", "refused").await;
    client.shows("verkada/bridge/problem_active", "ON").await;
    unlock(&rig, &client, "with-the-token-there-is").await;
    rig.config.secret_file("api_key", KEY);
    client.shows("verkada/bridge/token", "valid").await;
    client.shows("verkada/bridge/problem_active", "OFF").await;
}

#[tokio::test]
async fn a_file_that_cannot_be_taken_leaves_the_secret_as_it_was_and_is_told() {
    let rig = with_key_file().await;
    let gateway = rig.run_ready().await;
    let client = rig.client().await;
    let path = rig.config.secret_file("api_key", "\n");
    let line = gateway.logs("ERROR a secret was changed and is not taken").await;
    gateway.logs("verkada.api_key_file: the file is empty").await;
    assert!(!line.contains(KEY), "{line}");
    rig.world.expire_tokens();
    unlock(&rig, &client, "with-the-key-there-was").await;
    std::fs::remove_file(path).unwrap();
    gateway.logs("the file does not exist").await;
    rig.world.set_api_key(NEW_KEY);
    rig.config.secret_file("api_key", NEW_KEY);
    gateway.logs(r#"key="verkada.api_key""#).await;
    rig.world.expire_tokens();
    unlock(&rig, &client, "after").await;
}

#[tokio::test]
async fn a_new_code_counts_within_seconds() {
    let mut rig = Rig::start().await;
    rig.config.set("/commands/code_file", rig.config.secret_file("code", "code-before"));
    let gateway = rig.run_ready().await;
    let client = rig.client().await;
    rig.config.secret_file("code", "code-afterwards");
    gateway.logs(r#"key="commands.code""#).await;
    let door = format!("door/{}", rig.door("Workshop"));
    for (id, code, outcome) in [("c1", "code-before", "refused"), ("c2", "code-afterwards", "done")] {
        let command = json!({"action": "unlock", "id": id, "code": code}).to_string();
        client.publish(&format!("verkada/{door}/set"), command).await;
        assert_eq!(client.result(&door, id).await["outcome"], outcome);
    }
    assert_eq!(lines(&gateway, "the gateway starts"), 1);
}

#[tokio::test]
async fn the_secret_of_webhooks_is_replaced_while_it_runs() {
    let (before, after) = ("secret-of-before", "secret-of-afterwards");
    let mut rig = Rig::start_with_webhooks(before).await;
    rig.config.unset("/webhook/secret");
    rig.config.set("/webhook/secret_file", rig.config.secret_file("webhook", before));
    let gateway = rig.run();
    let http = ready(&gateway).await;
    let deliver = async |secret: &str| {
        let request = delivery(http, secret, &notification());
        let mut stream = TcpStream::connect(http).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!((deliver(before).await, deliver(after).await), ("200".to_owned(), "401".to_owned()));
    let replaced = Instant::now();
    rig.config.secret_file("webhook", after);
    gateway.logs(r#"key="webhook.secret""#).await;
    assert!(replaced.elapsed() < SOON, "{:?}", replaced.elapsed());
    assert_eq!((deliver(before).await, deliver(after).await), ("401".to_owned(), "200".to_owned()));
    assert_eq!(lines(&gateway, "the gateway starts"), 1);
}

/// Before a broker that asks for no password: lets in whoever brings the present one.
struct Doorman {
    address: SocketAddr,
    password: Arc<Mutex<&'static str>>,
    let_in: Arc<Mutex<Vec<AbortHandle>>>,
    turned_away: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Doorman {
    async fn start(behind: SocketAddr, password: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let password = Arc::new(Mutex::new(password));
        let let_in = Arc::new(Mutex::new(Vec::new()));
        let turned_away = Arc::new(AtomicUsize::new(0));
        let (wanted, inside, outside) =
            (Arc::clone(&password), Arc::clone(&let_in), Arc::clone(&turned_away));
        let task = tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                // One read holds a CONNECT of this size whole.
                let mut connect = vec![0; 4096];
                let length = client.read(&mut connect).await.unwrap();
                connect.truncate(length);
                let wanted = *wanted.lock().unwrap();
                if !connect.windows(wanted.len()).any(|part| part == wanted.as_bytes()) {
                    // CONNACK of MQTT 5: no session, bad user name or password, no properties.
                    client.write_all(&[0x20, 0x03, 0x00, 0x86, 0x00]).await.unwrap();
                    outside.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let carry = async move {
                    let mut broker = TcpStream::connect(behind).await.unwrap();
                    broker.write_all(&connect).await.unwrap();
                    drop(copy_bidirectional(&mut client, &mut broker).await);
                };
                inside.lock().unwrap().push(tokio::spawn(carry).abort_handle());
            }
        });
        Self { address, password, let_in, turned_away, task }
    }

    fn want(&self, password: &'static str) {
        *self.password.lock().unwrap() = password;
    }

    /// Throws everybody out.
    fn cut(&self) {
        self.let_in.lock().unwrap().drain(..).for_each(|connection| connection.abort());
    }
}

impl Drop for Doorman {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

#[tokio::test]
async fn the_password_for_the_broker_is_replaced_on_either_side_first_and_no_command_is_lost() {
    let mut rig = Rig::start().await;
    let doorman = Doorman::start(rig.broker.address(), "password-of-before").await;
    rig.config.set("/mqtt/url", format!("mqtt://{}", doorman.address));
    rig.config.set("/mqtt/protocol", "5");
    rig.config.set("/mqtt/username", "gateway");
    rig.config.set("/mqtt/password_file", rig.config.secret_file("password", "password-of-before"));
    let gateway = rig.run_ready().await;
    let client = rig.client().await;
    let proven = async |times: usize| {
        let line = "the MQTT link is proven";
        eventually("the link is proven", async || (lines(&gateway, line) == times).then_some(())).await;
    };
    proven(1).await;

    // The file first: nothing happens to the connections, and the next ones bring the new password.
    rig.config.secret_file("password", "password-of-afterwards");
    gateway.logs(r#"key="mqtt.password""#).await;
    unlock(&rig, &client, "between").await;
    assert_eq!(lines(&gateway, "link is down"), 0, "{:#?}", gateway.log());
    doorman.want("password-of-afterwards");
    doorman.cut();
    proven(2).await;
    unlock(&rig, &client, "after-the-first").await;

    // The broker first: it is told, and heals within seconds of the file, however long the next attempt was to wait.
    doorman.want("password-number-three");
    unlock(&rig, &client, "still-in").await;
    doorman.cut();
    eventually("both connections were turned away", async || {
        (doorman.turned_away.load(Ordering::Relaxed) >= 2).then_some(())
    })
    .await;
    let written = Instant::now();
    rig.config.secret_file("password", "password-number-three");
    proven(3).await;
    assert!(written.elapsed() < SOON, "{:?}", written.elapsed());
    client.shows("verkada/availability", "online").await;
    unlock(&rig, &client, "after-the-second").await;
    assert_eq!(executed(&rig), 4, "each was executed once");
    assert_eq!(lines(&gateway, "the gateway starts"), 1);
}
