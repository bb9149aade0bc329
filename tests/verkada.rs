//! The client of the vendor's API against a scripted server: stalls, garbage, cuts, refusals and TLS faults.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on shall say where"
)]

#[path = "verkada/calendars.rs"]
mod calendars;
#[path = "verkada/drill.rs"]
mod drill;
#[path = "support/environment.rs"]
mod environment;
#[path = "simulator/openapi.rs"]
mod openapi;
#[path = "verkada/tokens.rs"]
mod tokens;
#[path = "verkada/users.rs"]
mod users;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use secrecy::SecretString;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
};
use tokio_rustls::TlsAcceptor;
use verkada2mqtt::{
    clock,
    model::{
        Answer, Call, CallId, DoorId, Fault, PageToken, Privacy, ReleasePath, Reply, Request, ScenarioState,
        Turn, Unlocked,
    },
    verkada::{Client, Limits, Permit, Settings, TokenHealth},
};

use self::environment::number;

const KEY: &str = "canary-key-5d1f0c";
const TOKEN: &str = "v2_canary-token-93ab7e";
const DOOR: &str = "a652f4bb-3576-46c6-852a-bca7ef1764b3";
const SCENARIO: &str = "80848cd3-620a-4f11-8ac1-c96633471bc1";
/// The bound on every wait of a test.
const PATIENCE: Duration = Duration::from_secs(20);

// ---------------------------------------------------------------------------------------------- the scripted server

/// A request as the server read it.
#[derive(Debug, Clone)]
struct Got {
    /// Which connection it came on, from 1.
    connection: u64,
    /// Method and path with query, for instance `GET /access/v1/doors`.
    line: String,
    /// Headers, names in lower case.
    headers: BTreeMap<String, String>,
    body: String,
}

/// What the server does with a request.
#[derive(Debug, Clone)]
enum Step {
    /// Writes these bytes and keeps the connection.
    Keep(Vec<u8>),
    /// Writes these bytes and closes the connection.
    Close(Vec<u8>),
    /// Writes these bytes, and closes the connection after some time has passed.
    CloseAfter(Vec<u8>, Duration),
    /// Writes the first bytes at once and the others one by one, with a pause after each.
    Drip(Vec<u8>, Vec<u8>, Duration),
    /// Writes these bytes and then nothing, for ever.
    Stall(Vec<u8>),
}

/// How much of a request the server reads before it closes the connection without an answer.
type CutRead = Arc<dyn Fn(u64) -> Option<usize> + Send + Sync>;
type Script = Arc<dyn Fn(&Got) -> Step + Send + Sync>;

#[derive(Default, Debug)]
struct Log {
    connections: u64,
    got: Vec<Got>,
}

struct Server {
    address: SocketAddr,
    log: Arc<Mutex<Log>>,
    task: tokio::task::JoinHandle<()>,
    /// Ends a server that has a thread of its own.
    _stop: Option<oneshot::Sender<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(script: impl Fn(&Got) -> Step + Send + Sync + 'static) -> Self {
        Self::start_with(Arc::new(script), Arc::new(|_| None), None).await
    }

    /// Starts a server on a thread of its own, so that it truly races with the client.
    async fn start_apart(script: impl Fn(&Got) -> Step + Send + Sync + 'static) -> Self {
        let (ready, started) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let server = Self::start(script).await;
                ready.send((server.address, Arc::clone(&server.log))).unwrap();
                // Resolves when the other end is dropped.
                stopped.await.unwrap_or(());
            });
        });
        let (address, log) = started.await.unwrap();
        Self { address, log, task, _stop: Some(stop) }
    }

    async fn start_with(script: Script, cut: CutRead, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Log::default()));
        let shared = Arc::clone(&log);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let number = {
                    let mut log = shared.lock().unwrap();
                    log.connections += 1;
                    log.connections
                };
                let (script, cut, log, tls) =
                    (Arc::clone(&script), Arc::clone(&cut), Arc::clone(&shared), tls.clone());
                tokio::spawn(async move {
                    let ended = match tls {
                        None => serve(stream, number, script, cut, log).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, number, script, cut, log).await,
                            Err(e) => Err(e),
                        },
                    };
                    drop(ended);
                });
            }
        });
        Self { address, log, task, _stop: None }
    }

    fn lines(&self) -> Vec<String> {
        self.log.lock().unwrap().got.iter().map(|got| got.line.clone()).collect()
    }

    fn count(&self, line: &str) -> usize {
        self.lines().iter().filter(|other| other.as_str() == line).count()
    }

    fn connections(&self) -> u64 {
        self.log.lock().unwrap().connections
    }

    fn client(&self) -> Client {
        self.client_with(|_| {})
    }

    fn client_with(&self, change: impl FnOnce(&mut Settings)) -> Client {
        let mut settings = settings(&format!("http://{}", self.address));
        change(&mut settings);
        Client::new(settings).unwrap()
    }
}

/// Waits more finely than a timer can.
async fn spin(time: Duration) {
    let until = clock::now().mono + time;
    while clock::now().mono < until {
        tokio::task::yield_now().await;
    }
}

/// Serves one connection until it is closed by either side.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: u64,
    script: Script,
    cut: CutRead,
    log: Arc<Mutex<Log>>,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        if let Some(bytes) = cut(connection) {
            let mut part = vec![0; bytes];
            if bytes > 0 {
                stream.read_exact(&mut part).await?;
            }
            return Ok(());
        }
        let Some(got) = read_request(&mut stream, &mut buffer, connection).await? else { return Ok(()) };
        log.lock().unwrap().got.push(got.clone());
        match script(&got) {
            Step::Keep(bytes) => stream.write_all(&bytes).await?,
            Step::Close(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.shutdown().await;
            }
            Step::CloseAfter(bytes, pause) => {
                stream.write_all(&bytes).await?;
                spin(pause).await;
                return Ok(());
            }
            Step::Drip(first, rest, pause) => {
                stream.write_all(&first).await?;
                for byte in rest {
                    stream.write_all(&[byte]).await?;
                    stream.flush().await?;
                    tokio::time::sleep(pause).await;
                }
            }
            Step::Stall(bytes) => {
                stream.write_all(&bytes).await?;
                stream.flush().await?;
                std::future::pending::<()>().await;
            }
        }
        stream.flush().await?;
    }
}

async fn read_request(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    connection: u64,
) -> io::Result<Option<Got>> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let line = lines.next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    while buffer.len() < end + 4 + length {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let body = String::from_utf8(buffer[end + 4..end + 4 + length].to_vec()).unwrap();
    buffer.drain(..end + 4 + length);
    Ok(Some(Got { connection, line, headers, body }))
}

fn raw(status: u16, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Words\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

fn answer(status: u16, body: &str) -> Step {
    Step::Keep(raw(status, &[("content-type", "application/json")], body))
}

fn says(status: u16, message: &str) -> Step {
    answer(status, &format!(r#"{{"id":"0000","message":"{message}","data":null}}"#))
}

/// The answers of a vendor in good order.
fn good(got: &Got) -> Step {
    match got.line.as_str() {
        "POST /token" => answer(200, &format!(r#"{{"token":"{TOKEN}"}}"#)),
        "GET /access/v1/doors" => answer(200, include_str!("fixtures/verkada/doors-list.json")),
        "GET /access/v1/scenarios" => answer(200, include_str!("fixtures/verkada/scenarios-list.json")),
        "POST /access/v1/door/admin_unlock" => {
            let door = got.body.split('"').nth(3).unwrap();
            answer(200, &format!(r#"{{"door_id":"{door}","unlock_duration":10}}"#))
        }
        line if line.ends_with("/activate") || line.ends_with("/release") => answer(200, "{}"),
        _ => answer(403, include_str!("fixtures/verkada/error-403-insufficient-permissions.json")),
    }
}

/// A vendor in good order but for one request.
fn but(line: &'static str, step: impl Fn(&Got) -> Step + Send + Sync + 'static) -> impl Fn(&Got) -> Step {
    move |got| if got.line == line { step(got) } else { good(got) }
}

const UNLOCK: &str = "POST /access/v1/door/admin_unlock";
const DOORS: &str = "GET /access/v1/doors";
const SCENARIOS: &str = "GET /access/v1/scenarios";
const MINT: &str = "POST /token";

fn settings(base: &str) -> Settings {
    Settings {
        base_url: base.parse().unwrap(),
        api_key: SecretString::from(KEY),
        ca_pem: None,
        release_path: ReleasePath::Auto,
        privacy: Privacy::None,
        limits: Limits::default(),
    }
}

fn quick(settings: &mut Settings) {
    settings.limits.act = Duration::from_secs(1);
    settings.limits.list = Duration::from_secs(1);
    settings.limits.act_body = Duration::from_millis(100);
}

// -------------------------------------------------------------------------------------------------------- the calls

fn call(request: Request) -> Call {
    Call { id: CallId(7), request, send_before: clock::now().mono + PATIENCE, opening: None }
}

/// Nothing overtakes a call.
fn turn_0() -> watch::Receiver<Turn> {
    watch::channel(Turn::default()).1
}

fn unlock_call() -> Call {
    call(Request::Unlock { door: DOOR.parse().unwrap() })
}

fn activate_call() -> Call {
    call(Request::Activate { scenario: SCENARIO.parse().unwrap() })
}

fn release_call() -> Call {
    call(Request::Release { scenario: SCENARIO.parse().unwrap() })
}

fn ago(time: Duration) -> Instant {
    clock::now().mono.checked_sub(time).unwrap()
}

async fn ask(client: &Client, call: &Call) -> Reply {
    let reply = tokio::time::timeout(PATIENCE, client.call(call, &Permit::always())).await.unwrap();
    assert_eq!(reply.id, call.id);
    reply
}

async fn fault(client: &Client, call: &Call) -> Fault {
    ask(client, call).await.result.unwrap_err()
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with the result of a reply")]
fn unlocked(seconds: Option<u64>) -> Result<Answer, Fault> {
    Ok(Answer::Unlocked(Unlocked { duration: seconds.map(Duration::from_secs) }))
}

fn class(result: &Result<Answer, Fault>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(Fault::NotSent(_)) => "not sent",
        Err(Fault::Unauthorized(_)) => "unauthorized",
        Err(Fault::Forbidden(_)) => "forbidden",
        Err(Fault::NoAccess(_)) => "no access",
        Err(Fault::NotFound(_)) => "not found",
        Err(Fault::Rejected(_)) => "rejected",
        Err(Fault::RateLimited { .. }) => "rate limited",
        Err(Fault::Unclear(_)) => "unclear",
        Err(Fault::Malformed(_)) => "malformed",
    }
}

#[tokio::test]
async fn a_call_can_be_spawned() {
    let server = Server::start(good).await;
    let client = server.client();
    let task = tokio::spawn(async move { client.call(&unlock_call(), &Permit::always()).await });
    assert_eq!(task.await.unwrap().result, unlocked(Some(10)));
}

#[tokio::test]
async fn calls_go_out_as_documented_and_answers_come_in() {
    let server = Server::start(good).await;
    let client = server.client();
    assert_eq!(client.token_health(), TokenHealth::Missing);
    let Ok(Answer::Doors(doors)) = ask(&client, &call(Request::ListDoors)).await.result else { panic!() };
    assert_eq!((doors.items.len(), doors.skipped.len()), (4, 0));
    let door = &doors.items[0];
    assert_eq!(door.id.as_str(), DOOR);
    assert_eq!(door.name.as_deref(), Some("Lobby East"));
    assert_eq!(door.site.as_ref().unwrap().name.as_deref(), Some("Kestrel Works"));
    assert_eq!(door.controller.as_ref().unwrap().name.as_deref(), Some("Panel KW-1"));
    assert_eq!(door.time_zone.as_deref(), Some("Europe/Amsterdam"));
    assert_eq!(
        doors.items.iter().map(|d| d.api_control.unwrap()).collect::<Vec<_>>(),
        [true, true, false, true]
    );
    let Ok(Answer::Scenarios(scenarios)) = ask(&client, &call(Request::ListScenarios)).await.result else {
        panic!()
    };
    assert_eq!(scenarios.items[0].state, ScenarioState::Inactive);
    assert_eq!(scenarios.items[0].doors_to_lock.len(), 2);
    assert_eq!(ask(&client, &unlock_call()).await.result, unlocked(Some(10)));
    assert_eq!(ask(&client, &activate_call()).await.result, Ok(Answer::Taken));
    let released = ask(&client, &release_call()).await;
    assert_eq!((released.result, released.requests), (Ok(Answer::Taken), 1));

    let got = server.log.lock().unwrap().got.clone();
    assert_eq!(
        server.lines(),
        [
            MINT,
            DOORS,
            SCENARIOS,
            UNLOCK,
            &format!("POST /access/v1/scenarios/{SCENARIO}/activate"),
            &format!("POST /access/v1/scenarios/{SCENARIO}/release"),
        ]
    );
    assert_eq!(got[0].headers["x-api-key"], KEY);
    for empty in [&got[0], &got[4], &got[5]] {
        assert_eq!(empty.headers["content-length"], "0", "{}", empty.line);
    }
    assert_eq!(got[3].body, format!(r#"{{"door_id":"{DOOR}"}}"#));
    assert_eq!(got[3].headers["content-type"], "application/json");
    for got in &got[1..] {
        assert_eq!(got.headers["x-verkada-auth"], TOKEN, "{}", got.line);
        assert!(!got.headers.contains_key("x-api-key"), "{}", got.line);
        assert_eq!(got.headers["host"], server.address.to_string());
    }
    assert!(matches!(client.token_health(), TokenHealth::Valid { age } if age < PATIENCE));
}

#[tokio::test]
async fn the_base_url_may_hold_a_path_and_events_are_asked_page_by_page() {
    let server = Server::start(|got| match got.line.as_str() {
        "POST /proxy/token" => answer(200, &format!(r#"{{"token":"{TOKEN}"}}"#)),
        "GET /proxy/events/v1/access?start_time=1789632000&page_size=200" => {
            answer(200, include_str!("fixtures/verkada/access-events-page-1.json"))
        }
        "GET /proxy/events/v1/access?start_time=1789632000&page_size=200&page_token=a%26b" => {
            answer(200, include_str!("fixtures/verkada/access-events-last-page.json"))
        }
        _ => says(403, "Insufficient permissions"),
    })
    .await;
    let client = server.client_with(|s| s.base_url.set_path("/proxy/"));
    let since = Timestamp::from_second(1_789_632_000).unwrap();
    let Ok(Answer::Events(page)) =
        ask(&client, &call(Request::ReadEvents { since, page: None })).await.result
    else {
        panic!()
    };
    assert_eq!((page.events.len(), page.skipped.len()), (3, 0));
    assert_eq!(page.next, Some(PageToken("eyJvIjoyLCJrIjoiOTMxIn0".to_owned())));
    let page = Some(PageToken("a&b".to_owned()));
    let Ok(Answer::Events(page)) = ask(&client, &call(Request::ReadEvents { since, page })).await.result
    else {
        panic!()
    };
    assert_eq!(page.next, None);
}

// ---------------------------------------------------------------------------------------------------------- tokens

#[tokio::test]
async fn a_hundred_calls_at_once_share_one_token_request() {
    let server = Server::start(good).await;
    let client = server.client();
    let list = call(Request::ListScenarios);
    let replies = futures_util::future::join_all((0..100).map(|_| ask(&client, &list))).await;
    assert!(replies.iter().all(|reply| reply.result.is_ok()));
    assert_eq!(server.count(MINT), 1);
    assert_eq!(replies.iter().map(|reply| reply.requests).sum::<u32>(), 101, "each request is counted once");
}

/// Answers every request that does not carry the newest token with `refusal`.
fn only_the_newest(refusal: impl Fn() -> Step + Send + Sync) -> impl Fn(&Got) -> Step {
    let made = AtomicU64::new(0);
    move |got| {
        if got.line == MINT {
            let number = made.fetch_add(1, Ordering::SeqCst) + 1;
            return answer(200, &format!(r#"{{"token":"{TOKEN}-{number}"}}"#));
        }
        // The first token counts as over.
        let newest = made.load(Ordering::SeqCst);
        let good_one = newest >= 2 && got.headers["x-verkada-auth"] == format!("{TOKEN}-{newest}");
        if good_one { good(got) } else { refusal() }
    }
}

#[tokio::test]
async fn a_token_that_is_over_is_replaced_once_for_all() {
    for (status, message) in [
        (401, "Token expired"),
        (401, "API TOKEN EXPIRED"),
        (400, "API Token is required"),
        (401, "Failed to authenticate request"),
    ] {
        let server = Server::start(only_the_newest(move || says(status, message))).await;
        let client = server.client();
        let calls: Vec<Call> =
            (0..100).map(|n| if n == 0 { unlock_call() } else { call(Request::ListScenarios) }).collect();
        let replies = futures_util::future::join_all(calls.iter().map(|c| ask(&client, c))).await;
        for reply in &replies {
            assert!(reply.result.is_ok(), "{status} {message}: {:?}", reply.result);
        }
        assert_eq!(server.count(MINT), 2, "{status} {message}");
        assert_eq!(server.count(UNLOCK), 2, "{status} {message}: refused once, done once");
        let requests: u32 = replies.iter().map(|reply| reply.requests).sum();
        assert_eq!(usize::try_from(requests).unwrap(), server.lines().len());
    }
}

/// Gives tokens for one key alone; a request with another is not answered.
fn only_for(key: &'static str) -> impl Fn(&Got) -> Step + Send + Sync {
    move |got: &Got| match (got.line.as_str(), got.headers.get("x-api-key").map(String::as_str)) {
        (MINT, Some(given)) if given != key => Step::Stall(Vec::new()),
        _ => good(got),
    }
}

#[tokio::test]
async fn who_waits_for_a_token_gets_it_with_a_key_that_is_replaced_meanwhile() {
    let server = Server::start(only_for("another-key")).await;
    let client = server.client();
    let asked = client.clone();
    let waiting = tokio::spawn(async move { ask(&asked, &unlock_call()).await });
    while server.count(MINT) == 0 {
        tokio::task::yield_now().await;
    }
    client.replace_key("another-key".into()).unwrap();
    assert_eq!(waiting.await.unwrap().result, unlocked(Some(10)));
    assert_eq!(server.lines(), [MINT, MINT, UNLOCK]);
}

#[tokio::test]
async fn a_new_key_is_used_at_once_and_the_token_of_the_old_one_until_then() {
    let server = Server::start(but(MINT, |got| match got.headers["x-api-key"].as_str() {
        "refused-key" => says(401, "no such key"),
        _ => good(got),
    }))
    .await;
    let client = server.client();
    assert!(ask(&client, &unlock_call()).await.result.is_ok());
    let mut settled = client.token_settled();
    client.replace_key("refused-key".into()).unwrap();
    settled.changed().await.unwrap();
    assert!(matches!(client.token_health(), TokenHealth::Refused { .. }));
    assert!(ask(&client, &unlock_call()).await.result.is_ok(), "the token there is serves on");
    client.replace_key("another-key".into()).unwrap();
    settled.changed().await.unwrap();
    assert!(matches!(client.token_health(), TokenHealth::Valid { .. }));
    assert!(client.replace_key("a\nb".into()).is_err());
    assert!(ask(&client, &unlock_call()).await.result.is_ok());
    let keys: Vec<String> = server
        .log
        .lock()
        .unwrap()
        .got
        .iter()
        .filter_map(|got| got.headers.get("x-api-key").cloned())
        .collect();
    assert_eq!(keys, [KEY, "refused-key", "another-key"]);
}

#[tokio::test]
async fn an_answer_that_goes_on_saying_expired_is_repeated_once_only() {
    let server = Server::start(but(UNLOCK, |_| says(401, "Token expired"))).await;
    let client = server.client();
    let reply = ask(&client, &unlock_call()).await;
    assert_eq!((class(&reply.result), reply.requests), ("unauthorized", 4));
    assert_eq!(server.lines(), [MINT, UNLOCK, MINT, UNLOCK]);
}

#[tokio::test]
async fn a_missing_scope_costs_at_most_one_new_token_a_minute() {
    let server = Server::start(but(DOORS, |_| says(401, "Failed to authenticate request"))).await;
    let client = server.client();
    for _ in 0..5 {
        let fault = fault(&client, &call(Request::ListDoors)).await;
        assert!(matches!(&fault, Fault::Unauthorized(trace) if trace.status == Some(401)), "{fault:?}");
    }
    assert_eq!(server.count(MINT), 2);
    assert_eq!(server.count(DOORS), 6);
    assert!(ask(&client, &call(Request::ListScenarios)).await.result.is_ok(), "the other calls go on");
}

#[tokio::test]
async fn a_refused_key_fails_fast_without_http_and_a_new_client_starts_clean() {
    for status in [401, 403] {
        let bad = Arc::new(AtomicBool::new(true));
        let switch = Arc::clone(&bad);
        let server = Server::start(but(MINT, move |got| {
            if switch.load(Ordering::SeqCst) {
                says(status, "Failed to authenticate request")
            } else {
                good(got)
            }
        }))
        .await;
        let client = server.client();
        let first = fault(&client, &unlock_call()).await;
        assert!(matches!(&first, Fault::Unauthorized(trace) if trace.status == Some(status)), "{first:?}");
        for part in ["key", "region", "base URL", "https://api.eu.verkada.com"] {
            assert!(first.to_string().contains(part), "{first}");
        }
        for _ in 0..20 {
            let reply = ask(&client, &unlock_call()).await;
            assert_eq!((class(&reply.result), reply.requests), ("unauthorized", 0));
        }
        assert_eq!(server.lines(), [MINT]);
        assert!(matches!(client.token_health(), TokenHealth::Refused { .. }));
        bad.store(false, Ordering::SeqCst);
        assert_eq!(
            class(&ask(&client, &unlock_call()).await.result),
            "unauthorized",
            "the minute is not over"
        );
        assert!(ask(&server.client(), &unlock_call()).await.result.is_ok());
    }
}

#[tokio::test]
async fn an_old_kind_of_key_is_named() {
    let server = Server::start(but(MINT, |_| says(401, "Failed to authenticate request"))).await;
    let client = server.client_with(|s| s.api_key = SecretString::from("vkd_api_0123456789"));
    let fault = fault(&client, &call(Request::ListDoors)).await;
    assert!(fault.to_string().contains("before November 2024"), "{fault}");
}

#[tokio::test]
async fn a_token_is_renewed_early_while_nobody_waits() {
    let hang = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&hang);
    let server = Server::start(but(MINT, move |got| {
        if switch.load(Ordering::SeqCst) { Step::Stall(Vec::new()) } else { good(got) }
    }))
    .await;
    let client = server.client_with(|s| s.limits.token_renew = Duration::ZERO);
    assert!(ask(&client, &unlock_call()).await.result.is_ok());
    hang.store(true, Ordering::SeqCst);
    let started = clock::now().mono;
    assert_eq!(ask(&client, &unlock_call()).await.result, unlocked(Some(10)));
    assert!(clock::now().mono - started < Duration::from_secs(5), "the unlock waited for a token");
    wait_for(|| server.count(MINT) == 2).await;
}

#[tokio::test]
async fn a_token_is_not_used_beyond_its_life() {
    let server = Server::start(good).await;
    let client = server.client_with(|s| s.limits.token_life = Duration::ZERO);
    for _ in 0..3 {
        assert_eq!(ask(&client, &unlock_call()).await.requests, 2);
    }
    assert_eq!(server.count(MINT), 3);
}

#[tokio::test]
async fn a_token_that_cannot_be_had_means_not_sent() {
    let steps: [(Step, &str, &str); 7] = [
        (says(500, "Internal server error"), "not sent", "500"),
        (says(404, "Not found"), "not sent", "https://api.au.verkada.com"),
        (Step::Close(Vec::new()), "not sent", "get token"),
        (Step::Stall(Vec::new()), "not sent", "in time"),
        (answer(200, r#"{"token":5}"#), "not sent", "no text member `token`"),
        (answer(200, r#"{"token":"a\nb"}"#), "not sent", "cannot be sent as a header"),
        (says(429, "Too Many Requests"), "rate limited", "Too Many Requests"),
    ];
    for (step, wanted, part) in steps {
        let shown = format!("{step:?}");
        let server = Server::start(but(MINT, move |_| step.clone())).await;
        let result = ask(&server.client_with(quick), &unlock_call()).await.result;
        assert_eq!(class(&result), wanted, "{shown}: {result:?}");
        assert!(result.as_ref().unwrap_err().to_string().contains(part), "{shown}: {result:?}");
        assert_eq!(server.count(UNLOCK), 0);
    }
}

async fn wait_for(condition: impl Fn() -> bool) {
    tokio::time::timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("the condition came true in time");
}

// ------------------------------------------------------------------------------------------------- releasing, refusals

const RELEASE: &str = "POST /access/v1/scenarios/80848cd3-620a-4f11-8ac1-c96633471bc1/release";
const DEACTIVATE: &str = "POST /access/v1/scenarios/80848cd3-620a-4f11-8ac1-c96633471bc1/deactivate";

#[tokio::test]
async fn a_release_finds_the_path_that_works_and_remembers_it() {
    for status in [403, 404] {
        let server = Server::start(move |got| match got.line.as_str() {
            RELEASE => says(status, "Insufficient permissions"),
            DEACTIVATE => answer(200, "{}"),
            _ => good(got),
        })
        .await;
        let client = server.client();
        let reply = ask(&client, &release_call()).await;
        assert_eq!((reply.result, reply.requests), (Ok(Answer::Taken), 3));
        let reply = ask(&client, &release_call()).await;
        assert_eq!((reply.result, reply.requests), (Ok(Answer::Taken), 1));
        assert_eq!(server.lines(), [MINT, RELEASE, DEACTIVATE, DEACTIVATE]);
    }
}

#[tokio::test]
async fn a_release_that_both_paths_refuse_names_the_toggle() {
    let server = Server::start(move |got| match got.line.as_str() {
        RELEASE | DEACTIVATE => says(403, "Insufficient permissions"),
        _ => good(got),
    })
    .await;
    let fault = fault(&server.client(), &release_call()).await;
    assert!(matches!(fault, Fault::Forbidden(_)), "{fault:?}");
    assert!(fault.to_string().contains("Enable Lockdown and Scenario Control via API"), "{fault}");
    assert_eq!(server.lines(), [MINT, RELEASE, DEACTIVATE]);
}

#[tokio::test]
async fn a_release_whose_path_is_set_uses_no_other() {
    for (path, line) in [(ReleasePath::Release, RELEASE), (ReleasePath::Deactivate, DEACTIVATE)] {
        let server = Server::start(but(line, |_| says(403, "Insufficient permissions"))).await;
        let client = server.client_with(|s| s.release_path = path);
        assert_eq!(class(&ask(&client, &release_call()).await.result), "forbidden");
        assert_eq!(server.lines(), [MINT, line]);
    }
}

#[tokio::test]
async fn a_release_that_may_have_been_taken_is_not_sent_on_the_other_path() {
    for step in [says(500, "Internal server error"), says(429, "Too Many Requests"), Step::Close(Vec::new())]
    {
        let server = Server::start(but(RELEASE, move |_| step.clone())).await;
        assert!(ask(&server.client(), &release_call()).await.result.is_err());
        assert_eq!(server.lines(), [MINT, RELEASE]);
    }
}

#[tokio::test]
async fn refusals_of_an_act_are_classed_and_not_repeated() {
    let too_many = Step::Keep(raw(429, &[("retry-after", "7")], "Too Many Requests"));
    let table: [(Step, &str, &str); 10] = [
        (says(400, "bad"), "rejected", "it said \"bad\""),
        (says(403, "Door is not enabled"), "forbidden", "Enable Door Management via API"),
        (says(404, "Not found"), "not found", "Not found"),
        (says(409, "Conflict"), "rejected", "Conflict"),
        (
            answer(412, include_str!("fixtures/verkada/error-412-door-offline.assumed.json")),
            "rejected",
            "offline",
        ),
        (too_many, "rate limited", "Too Many Requests"),
        (
            answer(500, include_str!("fixtures/verkada/error-500.assumed.json")),
            "unclear",
            "Internal server error",
        ),
        (answer(502, "<html>bad gateway</html>"), "unclear", "bad gateway"),
        (answer(200, "<!doctype html><title>Portal</title>"), "malformed", "the answer is HTML"),
        (answer(204, ""), "malformed", "not documented"),
    ];
    for (step, wanted, part) in table {
        let server = Server::start(but(UNLOCK, move |_| step.clone())).await;
        let result = ask(&server.client(), &unlock_call()).await.result;
        assert_eq!(class(&result), wanted, "{result:?}");
        assert!(result.as_ref().unwrap_err().to_string().contains(part), "{result:?}");
        if let Err(Fault::RateLimited { after, .. }) = result {
            assert_eq!(after, Some(Duration::from_secs(7)));
        }
        assert_eq!(server.lines(), [MINT, UNLOCK]);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_no_secret_reaches_the_other_host() {
    let other = Server::start(good).await;
    for status in [301, 302, 307, 308] {
        for (line, request) in [(DOORS, call(Request::ListDoors)), (UNLOCK, unlock_call())] {
            let target = format!("http://{}/elsewhere", other.address);
            let server =
                Server::start(but(line, move |_| Step::Keep(raw(status, &[("location", &target)], ""))));
            let server = server.await;
            let fault = fault(&server.client(), &request).await;
            assert!(matches!(fault, Fault::Malformed(_)), "{fault:?}");
            assert!(fault.to_string().contains("points to host 127.0.0.1"), "{fault}");
            assert_eq!(server.lines(), [MINT, line]);
        }
    }
    assert_eq!(other.connections(), 0);
}

// ----------------------------------------------------------------------------------------------- acts, at most once

#[tokio::test]
async fn the_status_line_of_an_unlock_is_the_proof() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 80\r\n\r\n{\"door_id\":";
    let table: [(Step, Option<u64>); 9] = [
        (answer(200, ""), None),
        (answer(200, "garbage"), None),
        (answer(200, r#"{"unlock_duration":null}"#), None),
        (answer(200, r#"{"duration":5}"#), Some(5)),
        (answer(200, r#"{"door_id":null,"unlock_duration":0}"#), Some(1)),
        (answer(200, r#"{"unlock_duration":1e300}"#), Some(60)),
        (Step::Keep(raw(200, &[], &" ".repeat(100_000))), None),
        (Step::Close(head.into()), None),
        (Step::Stall(head.into()), None),
    ];
    for (step, seconds) in table {
        let server = Server::start(but(UNLOCK, move |_| step.clone())).await;
        let client = server.client_with(|s| s.limits.act_body = Duration::from_millis(100));
        assert_eq!(ask(&client, &unlock_call()).await.result, unlocked(seconds));
        assert_eq!(server.count(UNLOCK), 1);
    }
}

#[tokio::test]
async fn an_unlock_answered_for_another_door_is_unclear() {
    let another = r#"{"door_id":"7b29a43e-d9e1-431e-8f48-bba036bebc44","unlock_duration":10}"#;
    let server = Server::start(but(UNLOCK, move |_| answer(200, another))).await;
    let fault = fault(&server.client(), &unlock_call()).await;
    assert!(matches!(fault, Fault::Unclear(_)), "{fault:?}");
}

#[tokio::test]
async fn acts_reuse_one_connection_and_a_warm_client_pays_no_handshake() {
    let server = Server::start(good).await;
    let client = server.client();
    client.warm().await.unwrap();
    assert_eq!(server.connections(), 2, "one for reads and tokens, one for acts");
    for act in [unlock_call(), activate_call(), release_call(), unlock_call()] {
        assert!(ask(&client, &act).await.result.is_ok());
    }
    for _ in 0..20 {
        assert!(ask(&client, &call(Request::ListDoors)).await.result.is_ok());
    }
    assert_eq!(server.connections(), 2);
    let log = server.log.lock().unwrap();
    let on = |line: &str| log.got.iter().find(|got| got.line == line).unwrap().connection;
    assert_eq!(on(MINT), on(DOORS));
    assert_ne!(on(UNLOCK), on(DOORS));
}

#[tokio::test]
async fn a_warm_client_replaces_a_spare_connection_that_was_closed() {
    let server = Server::start(but(UNLOCK, |got| {
        let Step::Keep(bytes) = good(got) else { panic!() };
        Step::Close(bytes)
    }))
    .await;
    let client = server.client();
    client.warm().await.unwrap();
    assert!(ask(&client, &unlock_call()).await.result.is_ok());
    wait_for_async(|| async {
        ask(&client, &call(Request::ListDoors)).await;
        server.connections() == 3
    })
    .await;
    assert!(ask(&client, &unlock_call()).await.result.is_ok());
    assert_eq!(server.connections(), 3, "the spare one was used");
}

#[tokio::test]
async fn an_old_spare_connection_is_not_used_for_an_act() {
    let server = Server::start(good).await;
    let client = server.client_with(|s| s.limits.pool_idle = Duration::ZERO);
    for _ in 0..3 {
        assert!(ask(&client, &unlock_call()).await.result.is_ok());
    }
    assert!(server.connections() >= 4, "each unlock opened its own");
}

/// Numbers that look random and repeat.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// How often each door was unlocked: the server had read the whole request.
fn executions(server: &Server) -> BTreeMap<String, u32> {
    let mut ledger = BTreeMap::new();
    for got in &server.log.lock().unwrap().got {
        if got.line == UNLOCK {
            *ledger.entry(got.body.split('"').nth(3).unwrap().to_owned()).or_default() += 1;
        }
    }
    ledger
}

/// Unlocks door after door and holds every reply against the ledger.
async fn unlock_many(
    server: &Server,
    client: &Client,
    rounds: u32,
    mut pause: impl FnMut() -> Duration,
) -> BTreeMap<&'static str, u32> {
    let mut replies = Vec::new();
    for round in 0..rounds {
        spin(pause()).await;
        let door: DoorId = format!("door-{round}").parse().unwrap();
        replies.push(ask(client, &call(Request::Unlock { door })).await);
    }
    let ledger = executions(server);
    let mut classes = BTreeMap::new();
    for (round, reply) in replies.iter().enumerate() {
        let times = ledger.get(&format!("door-{round}")).copied().unwrap_or(0);
        let class = class(&reply.result);
        *classes.entry(class).or_default() += 1;
        match class {
            "ok" => assert_eq!(times, 1, "round {round}: {reply:?}"),
            "not sent" => assert_eq!(times, 0, "round {round}: {reply:?}"),
            "unclear" => assert!(times <= 1, "round {round}: {reply:?}"),
            other => panic!("round {round}: {other}: {reply:?}"),
        }
    }
    classes
}

#[tokio::test]
async fn an_idle_connection_that_closes_as_we_write_never_doubles_an_unlock() {
    let (rounds, seed) = (number("CUTS").unwrap_or(3000), number("SEED").unwrap_or(63));
    println!("CUTS={rounds} SEED={seed}");
    let rounds = u32::try_from(rounds).unwrap();
    let dice = Mutex::new(Dice(seed));
    let server = Server::start_apart(but(UNLOCK, move |got| {
        let Step::Keep(bytes) = good(got) else { panic!() };
        let mut dice = dice.lock().unwrap();
        match dice.below(8) {
            // Executed, and the answer is lost.
            0 => Step::Close(Vec::new()),
            _ => Step::CloseAfter(bytes, Duration::from_micros(100 + dice.below(200))),
        }
    }))
    .await;
    let mut dice = Dice(seed + 1);
    let pause = || Duration::from_micros(dice.below(400));
    let classes = unlock_many(&server, &server.client(), rounds, pause).await;
    println!("{classes:?}");
    assert!(classes["ok"] > rounds / 4, "{classes:?}");
    assert!(classes["unclear"] > 0, "no close met a write: {classes:?}");
}

#[tokio::test]
async fn an_idle_connection_whose_close_has_arrived_costs_no_unlock() {
    let server = Server::start(but(UNLOCK, |got| {
        let Step::Keep(bytes) = good(got) else { panic!() };
        Step::Close(bytes)
    }))
    .await;
    let client = server.client();
    let classes = unlock_many(&server, &client, 200, || Duration::ZERO).await;
    assert_eq!(classes, BTreeMap::from([("ok", 200)]));
}

#[tokio::test]
async fn a_connection_cut_at_any_byte_of_the_request_never_doubles_an_unlock() {
    // Reads and tokens go to the first connection, each act then finds a connection that is cut after so many bytes.
    for bytes in (0..220).step_by(3) {
        let cut: CutRead = Arc::new(move |connection| (connection > 1).then_some(bytes));
        let server = Server::start_with(Arc::new(good), cut, None).await;
        let client = server.client();
        assert!(ask(&client, &call(Request::ListDoors)).await.result.is_ok());
        let reply = ask(&client, &unlock_call()).await;
        assert!(matches!(class(&reply.result), "unclear" | "not sent"), "{bytes}: {reply:?}");
        assert_eq!(server.count(UNLOCK), 0, "{bytes}");
        if bytes > 0 {
            assert_eq!((class(&reply.result), reply.requests), ("unclear", 1), "{bytes}");
            assert_eq!(server.connections(), 2, "{bytes}: no second attempt");
        }
    }
}

/// What the server does with an unlock that it has read.
fn random_fate(dice: &mut Dice, whole: Vec<u8>) -> (bool, Step) {
    let part = usize::try_from(dice.below(u64::try_from(whole.len()).unwrap())).unwrap();
    match dice.below(5) {
        0 => (false, Step::Close(Vec::new())),
        1 => (true, Step::Close(Vec::new())),
        2 => (true, Step::Close(whole[..part].to_vec())),
        3 => (true, Step::Close(whole)),
        _ => (true, Step::Keep(whole)),
    }
}

#[tokio::test]
async fn connections_cut_at_random_never_double_an_unlock_or_tell_a_wrong_outcome() {
    let (cuts, seed) = (number("CUTS").unwrap_or(300), number("SEED").unwrap_or(62));
    println!("CUTS={cuts} SEED={seed}");
    let carried_out = Arc::new(Mutex::new(BTreeMap::<String, u32>::new()));
    let (ledger, dice) = (Arc::clone(&carried_out), Mutex::new(Dice(seed)));
    let script = but(UNLOCK, move |got| {
        let Step::Keep(whole) = good(got) else { panic!() };
        let (executed, step) = random_fate(&mut dice.lock().unwrap(), whole);
        if executed {
            let door = got.body.split('"').nth(3).unwrap().to_owned();
            *ledger.lock().unwrap().entry(door).or_default() += 1;
        }
        step
    });
    // Reads and tokens go to the first connection. The others end before a request or within it, now and then.
    let dice = Mutex::new(Dice(seed + 1));
    let cut: CutRead = Arc::new(move |connection| {
        let mut dice = dice.lock().unwrap();
        let ends = connection > 1 && dice.below(4) == 0;
        ends.then(|| usize::try_from(dice.below(2) * dice.below(200)).unwrap())
    });
    let server = Server::start_with(Arc::new(script), cut, None).await;
    let client = server.client();
    assert!(ask(&client, &call(Request::ListDoors)).await.result.is_ok());
    let mut met = BTreeMap::<(&str, u32), u32>::new();
    for round in 0..cuts {
        let door = format!("door-{round}");
        let reply = ask(&client, &call(Request::Unlock { door: door.parse().unwrap() })).await;
        let times = carried_out.lock().unwrap().get(&door).copied().unwrap_or(0);
        let class = class(&reply.result);
        match (class, times, reply.requests) {
            ("ok", 1, 1) | ("unclear", 0 | 1, 1) | ("not sent", 0, 0) => {}
            wrong => panic!("SEED={seed}, round {round}: {wrong:?}: {reply:?}"),
        }
        *met.entry((class, times)).or_default() += 1;
    }
    println!("{met:?}");
    assert!(executions(&server).values().all(|times| *times == 1), "no request came twice");
    for wanted in [("ok", 1), ("unclear", 0), ("unclear", 1)] {
        assert!(cuts < 100 || met.contains_key(&wanted), "{wanted:?} did not happen: {met:?}");
    }
}

#[tokio::test]
async fn an_answer_cut_at_any_byte_gives_done_or_unclear_and_never_doubles_an_unlock() {
    let Step::Keep(whole) = answer(200, include_str!("fixtures/verkada/door-admin-unlock.json")) else {
        panic!()
    };
    let head = whole.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    for bytes in 0..=whole.len() {
        let part = whole[..bytes].to_vec();
        let server = Server::start(but(UNLOCK, move |_| Step::Close(part.clone()))).await;
        let result = ask(&server.client(), &unlock_call()).await.result;
        if bytes < head {
            assert_eq!(class(&result), "unclear", "{bytes}: {result:?}");
        } else {
            assert_eq!(result, unlocked((bytes == whole.len()).then_some(10)), "{bytes}");
        }
        assert_eq!(server.count(UNLOCK), 1, "{bytes}");
    }
}

#[tokio::test]
async fn an_act_without_an_answer_is_unclear_when_its_time_ends() {
    let drip = Step::Drip(Vec::new(), vec![b'H'; 10_000], Duration::from_millis(5));
    for step in [Step::Stall(Vec::new()), drip] {
        let server = Server::start(but(UNLOCK, move |_| step.clone())).await;
        let client = server.client_with(quick);
        let started = clock::now().mono;
        let fault = fault(&client, &unlock_call()).await;
        assert!(matches!(fault, Fault::Unclear(_)), "{fault:?}");
        assert!(clock::now().mono - started < Duration::from_secs(5));
        assert_eq!(server.count(UNLOCK), 1);
    }
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_is_ended_by_the_total_time() {
    // No byte is late, and no limit of size is near.
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n".to_vec();
    let drip = Step::Drip(head, vec![b' '; 10_000], Duration::from_millis(20));
    for line in [DOORS, UNLOCK] {
        let (step, slow) = (drip.clone(), Arc::new(AtomicBool::new(true)));
        let switch = Arc::clone(&slow);
        let script =
            but(line, move |got| if switch.load(Ordering::SeqCst) { step.clone() } else { good(got) });
        let server = Server::start(script).await;
        let client = server.client_with(quick);
        let request = if line == DOORS { call(Request::ListDoors) } else { unlock_call() };
        let started = clock::now().mono;
        let result = ask(&client, &request).await.result;
        assert!(clock::now().mono - started < Duration::from_mins(1), "the whole body takes three");
        if line == DOORS {
            // The time for the whole answer may end first.
            let ends = ["the time for the body ended", "operation timed out"];
            let text = result.unwrap_err().to_string();
            let cause = text.strip_prefix("list doors: the answer cannot be read: ").unwrap();
            assert!(ends.contains(&cause), "{cause}");
        } else {
            assert_eq!(result, unlocked(None), "its status line is the proof");
        }
        slow.store(false, Ordering::SeqCst);
        assert!(ask(&client, &request).await.result.is_ok(), "the next call does not wait behind it");
    }
}

// ------------------------------------------------------------------------------------------------ permission to send

#[tokio::test]
async fn nothing_is_sent_after_the_deadline_for_sending() {
    let server = Server::start(good).await;
    let client = server.client();
    for request in [unlock_call(), activate_call(), release_call(), call(Request::ListDoors)] {
        let late = Call { send_before: ago(Duration::from_millis(1)), ..request };
        let reply = ask(&client, &late).await;
        assert_eq!((class(&reply.result), reply.requests), ("not sent", 0));
        assert!(reply.result.unwrap_err().to_string().contains("deadline for sending has passed"));
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_wait_for_a_token_ends_with_the_deadline_for_sending() {
    let server = Server::start(but(MINT, |_| Step::Stall(Vec::new()))).await;
    let short = Call { send_before: clock::now().mono + Duration::from_millis(50), ..unlock_call() };
    let started = clock::now().mono;
    let fault = fault(&server.client(), &short).await;
    assert!(clock::now().mono - started < Duration::from_secs(5));
    assert_eq!(fault.to_string(), "unlock: not sent: no token came in time");
    assert!(matches!(fault, Fault::NotSent(_)));
}

#[tokio::test]
async fn without_a_fresh_link_nothing_is_sent() {
    let server = Server::start(good).await;
    let client = server.client();
    for (echo, part) in [(None, "no heartbeat"), (Some(ago(Duration::from_secs(3))), "the limit is 2500 ms")]
    {
        let (_echo, link) = watch::channel(echo);
        let permit = Permit::new(link, turn_0(), Permit::LIMIT);
        let needs = Call { opening: Some(Turn::default()), ..unlock_call() };
        let reply = client.call(&needs, &permit).await;
        assert_eq!((class(&reply.result), reply.requests), ("not sent", 0));
        assert!(reply.result.unwrap_err().to_string().contains(part));
        let needs_not = Call { opening: None, ..unlock_call() };
        assert!(client.call(&needs_not, &permit).await.result.is_ok());
    }
    let (_echo, link) = watch::channel(Some(clock::now().mono));
    let needs = Call { opening: Some(Turn::default()), ..unlock_call() };
    assert!(client.call(&needs, &Permit::new(link, turn_0(), PATIENCE)).await.result.is_ok());
}

#[tokio::test]
async fn the_link_is_looked_at_again_before_each_write() {
    // The link is lost while the call waits for a token, for a new token, and for the refusal of the first path.
    let cases: [(&str, Call, u16, usize); 3] =
        [(MINT, unlock_call(), 200, 0), (UNLOCK, unlock_call(), 401, 1), (RELEASE, release_call(), 403, 1)];
    for (line, request, status, sent) in cases {
        let (echo, link) = watch::channel(Some(clock::now().mono));
        let server = Server::start(but(line, move |got| {
            echo.send_replace(None);
            if status == 200 { good(got) } else { says(status, "refused") }
        }))
        .await;
        let call = Call { opening: Some(Turn::default()), ..request };
        let reply = server.client().call(&call, &Permit::new(link, turn_0(), PATIENCE)).await;
        let fault = reply.result.unwrap_err();
        assert!(matches!(fault, Fault::NotSent(_)), "{line}: {fault:?}");
        assert!(fault.to_string().contains("no heartbeat"), "{line}: {fault}");
        let acts = server.lines().iter().filter(|line| line.as_str() != MINT).count();
        assert_eq!(acts, sent, "{line}");
    }
}

// ---------------------------------------------------------------------------------------------- lists out of the order

#[tokio::test]
async fn a_list_that_is_not_whole_is_refused_whole() {
    let doors = include_str!("fixtures/verkada/doors-list.json");
    let whole = raw(200, &[], doors);
    let mut too_deep = "[".repeat(100_000);
    too_deep.push_str(&"]".repeat(100_000));
    let table: [(Step, &str); 9] = [
        (Step::Close(whole[..whole.len() - 1].to_vec()), "malformed"),
        (Step::Stall(whole[..whole.len() - 1].to_vec()), "malformed"),
        // The head takes about a tenth of the limit, the body several times the limit.
        (Step::Drip(Vec::new(), whole, Duration::from_millis(2)), "malformed"),
        (answer(200, doors.trim_end().trim_end_matches('}')), "malformed"),
        (answer(200, r#"{"doors":null}"#), "malformed"),
        (answer(200, r#"{"door":[]}"#), "malformed"),
        (answer(200, &format!(r#"{{"doors":{too_deep}"#)), "malformed"),
        (answer(200, ""), "malformed"),
        (Step::Stall(Vec::new()), "unclear"),
    ];
    for (step, wanted) in table {
        let server = Server::start(but(DOORS, move |_| step.clone())).await;
        let result = ask(&server.client_with(quick), &call(Request::ListDoors)).await.result;
        assert_eq!(class(&result), wanted, "{result:?}");
        assert!(result.unwrap_err().to_string().starts_with("list doors: "));
    }
}

#[tokio::test]
async fn a_list_over_the_limit_is_given_up() {
    let server = Server::start(but(DOORS, |_| Step::Keep(raw(200, &[], &"x".repeat(1001))))).await;
    let client = server.client_with(|s| s.limits.max_body = 1000);
    let fault = fault(&client, &call(Request::ListDoors)).await;
    assert_eq!(fault.to_string(), "list doors: the answer cannot be read: it is larger than 1000 bytes");
    // One that does not say how long it is, and does not end, is given up at the limit and not at the time limit.
    let endless = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n7d0\r\n{}\r\n",
        "x".repeat(2000)
    );
    let server = Server::start(but(DOORS, move |_| Step::Stall(endless.clone().into_bytes()))).await;
    let client = server.client_with(|s| s.limits.max_body = 1000);
    let fault = ask(&client, &call(Request::ListDoors)).await.result.unwrap_err();
    assert_eq!(fault.to_string(), "list doors: the answer cannot be read: it is larger than 1000 bytes");
    // What was not asked for in a compressed form is not unpacked, whatever it would grow to.
    let packed = [("content-encoding", "gzip")];
    let server = Server::start(but(DOORS, move |_| Step::Keep(raw(200, &packed, "\u{1f}\u{8}bomb")))).await;
    let fault = ask(&server.client(), &call(Request::ListDoors)).await.result.unwrap_err();
    assert!(matches!(fault, Fault::Malformed(_)), "{fault}");
    let head = &server.log.lock().unwrap().got[1].headers;
    assert!(head.get("accept-encoding").is_none(), "{head:?}");
}

#[tokio::test]
async fn a_page_for_people_is_told_from_an_answer() {
    for headers in [[("content-type", "text/html; charset=utf-8")], [("content-type", "application/json")]] {
        let page = "<html><body>We are down for maintenance</body></html>";
        let server = Server::start(but(DOORS, move |_| Step::Keep(raw(200, &headers, page)))).await;
        let fault = fault(&server.client(), &call(Request::ListDoors)).await;
        assert!(matches!(fault, Fault::Malformed(_)));
        assert!(fault.to_string().contains("the base URL is wrong or this is a maintenance page"), "{fault}");
    }
}

// -------------------------------------------------------------------------------------------------- no connection, TLS

#[tokio::test]
async fn what_cannot_be_reached_is_not_sent_and_says_why() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for (base, part) in
        [(refused.as_str(), "connection refused"), ("https://does-not-exist.invalid", "looked up")]
    {
        let client = Client::new(settings(base));
        let client = match client {
            Ok(client) => client,
            Err(e) => panic!("{base}: {e}"),
        };
        let fault = fault(&client, &unlock_call()).await;
        assert!(matches!(fault, Fault::NotSent(_)), "{fault:?}");
        assert!(fault.to_string().contains(part), "{fault}");
    }
}

#[tokio::test]
async fn an_act_whose_connection_is_refused_is_not_sent() {
    let server = Server::start(good).await;
    let client = server.client_with(|s| s.limits.pool_idle = Duration::from_secs(50));
    assert!(ask(&client, &call(Request::ListDoors)).await.result.is_ok());
    server.task.abort();
    wait_for_async(|| async { TcpStream::connect(server.address).await.is_err() }).await;
    let reply = ask(&client, &unlock_call()).await;
    assert_eq!((class(&reply.result), reply.requests), ("not sent", 0));
    assert!(reply.result.unwrap_err().to_string().contains("connection refused"));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for (base, part) in [
        ("http://api.verkada.com", "use https"),
        ("ftp://api.verkada.com", "begin with https"),
        ("https://me:secret-word@api.verkada.com", "user or password"),
        ("https://api.verkada.com/?org_id=secret-word", "query"),
    ] {
        let text = Client::new(settings(base)).unwrap_err().to_string();
        assert!(text.contains(part) && !text.contains("secret-word"), "{text}");
    }
    for key in ["", "a\nb"] {
        let mut bad = settings("http://127.0.0.1:1");
        bad.api_key = SecretString::from(key);
        assert!(Client::new(bad).unwrap_err().to_string().contains("API key"));
    }
    for (pem, part) in
        [("", "no certificate"), ("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n", "")]
    {
        let mut bad = settings("https://127.0.0.1:1");
        bad.ca_pem = Some(pem.into());
        let text = Client::new(bad).unwrap_err().to_string();
        assert!(text.starts_with("cannot read the CA certificates") && text.contains(part), "{text}");
    }
}

/// A CA and a server certificate that it signed, for `name`, valid from one year to another.
fn certificate(ca_name: &str, name: &str, years: [i32; 2], alpn: &[&str]) -> (String, TlsAcceptor) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, ca_name);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut leaf = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    leaf.not_before = rcgen::date_time_ymd(years[0], 1, 1);
    leaf.not_after = rcgen::date_time_ymd(years[1], 1, 1);
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    (ca_pem, TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn tls_accepts_our_own_ca_and_names_the_cause_of_what_it_refuses() {
    /// Name and years of the certificate, the CA that is trusted in place of its own, words of the fault.
    type Case = (&'static str, i32, i32, Option<&'static str>, &'static [&'static str]);
    let table: [Case; 6] = [
        ("localhost", 2020, 2090, None, &[]),
        ("localhost", 2020, 2090, Some("Other CA"), &["unknown issuer"]),
        ("localhost", 2020, 2090, Some("Test CA"), &["of the same name", "may be an old one"]),
        (
            "localhost",
            2020,
            2021,
            None,
            &["expired", "2021-01-01T00:00:00Z", "clock of this machine shows", "NTP"],
        ),
        ("localhost", 2089, 2090, None, &["not valid yet", "2089-01-01T00:00:00Z", "NTP"]),
        ("other.example", 2020, 2090, None, &["another host name", "localhost", "other.example"]),
    ];
    for (name, from, to, trusted, parts) in table {
        let (own_ca, acceptor) = certificate("Test CA", name, [from, to], &[]);
        let ca_pem = trusted.map_or(own_ca, |ca_name| certificate(ca_name, name, [from, to], &[]).0);
        let server = Server::start_with(Arc::new(good), Arc::new(|_| None), Some(acceptor)).await;
        let client = server.client_with(|s| {
            s.base_url = format!("https://localhost:{}", server.address.port()).parse().unwrap();
            s.ca_pem = Some(ca_pem.into_bytes());
        });
        let reply = ask(&client, &unlock_call()).await;
        if parts.is_empty() {
            assert_eq!(reply.result, unlocked(Some(10)), "{name}");
            assert!(ask(&client, &call(Request::ListDoors)).await.result.is_ok());
            continue;
        }
        let fault = reply.result.unwrap_err();
        assert!(matches!(fault, Fault::NotSent(_)), "{fault:?}");
        for part in parts {
            assert!(fault.to_string().contains(part), "{part}: {fault}");
        }
        let today = clock::now().utc.strftime("%Y-%m-%d").to_string();
        assert!(!parts.contains(&"NTP") || fault.to_string().contains(&today), "{fault}");
        assert!(server.lines().is_empty(), "no HTTP byte was sent");
    }
}

// -------------------------------------------------------------------------------------------------------- no secrets

/// Collects everything that is logged.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_key_and_no_token_shows_in_logs_faults_or_debug() {
    let sink = Sink::default();
    let writer = sink.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // For all threads, since a level that one thread finds disabled may be remembered for the others.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let mut shown = String::new();
    let echo = |got: &Got| {
        let auth = got.headers.get("x-verkada-auth").cloned().unwrap_or_default();
        let key = got.headers.get("x-api-key").cloned().unwrap_or_default();
        format!("you sent {key} {auth}")
    };
    for status in [200, 302, 400, 401, 403, 404, 429, 500] {
        for line in [MINT, DOORS, UNLOCK, RELEASE] {
            let server = Server::start(but(line, move |got| says(status, &echo(got)))).await;
            let client = server.client();
            for request in [call(Request::ListDoors), unlock_call(), release_call()] {
                let reply = ask(&client, &request).await;
                write!(shown, "{reply:?} {client:?} {:?}", client.token_health()).unwrap();
                if let Err(fault) = reply.result {
                    write!(shown, "{fault}").unwrap();
                }
            }
        }
    }
    let (ca_pem, acceptor) = certificate("Test CA", "localhost", [2020, 2090], &[]);
    let server = Server::start_with(Arc::new(good), Arc::new(|_| None), Some(acceptor)).await;
    let mut secure = settings(&format!("https://localhost:{}", server.address.port()));
    secure.ca_pem = Some(ca_pem.into_bytes());
    write!(shown, "{secure:?}").unwrap();
    let client = Client::new(secure).unwrap();
    for request in [call(Request::ListDoors), unlock_call()] {
        write!(shown, "{:?}", ask(&client, &request).await).unwrap();
    }
    let (ca_pem, acceptor) = certificate("Test CA", "localhost", [2020, 2090], &["h2"]);
    let (port, connections, task) = http2_server(acceptor).await;
    let mut secure = settings(&format!("https://localhost:{port}"));
    secure.ca_pem = Some(ca_pem.into_bytes());
    let client = Client::new(secure).unwrap();
    for _ in 0..3 {
        let reply = ask(&client, &call(Request::ListDoors)).await;
        assert!(matches!(reply.result, Ok(Answer::Doors(_))), "{reply:?}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    task.abort();
    let logs = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    assert!(logs.contains("the vendor answered an act"), "the logs were captured");
    assert!(logs.contains("h2::"), "the logs of HTTP/2 were captured");
    assert!(shown.contains("[secret]"), "the vendor's echo was blotted out");
    for (name, text) in [("logs", &logs), ("faults and debug", &shown)] {
        for canary in ["canary-key", "canary-token"] {
            assert!(!text.contains(canary), "{canary} shows in the {name}");
        }
    }
}

/// Serves HTTP/2 alone over TLS; counts the connections.
async fn http2_server(acceptor: TlsAcceptor) -> (u16, Arc<AtomicU64>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&connections);
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = acceptor.accept(stream).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
            counter.fetch_add(1, Ordering::SeqCst);
            let service =
                hyper::service::service_fn(async |request: hyper::Request<hyper::body::Incoming>| {
                    let body = match request.uri().path() {
                        "/token" if request.headers()["x-api-key"] == KEY => {
                            format!(r#"{{"token":"{TOKEN}"}}"#)
                        }
                        "/access/v1/doors" if request.headers()["x-verkada-auth"] == TOKEN => {
                            include_str!("fixtures/verkada/doors-list.json").to_owned()
                        }
                        other => panic!("{other}"),
                    };
                    Ok::<_, std::convert::Infallible>(hyper::Response::new(body))
                });
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (port, connections, task)
}

async fn wait_for_async<F: Future<Output = bool>>(condition: impl Fn() -> F) {
    tokio::time::timeout(PATIENCE, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("the condition came true in time");
}
