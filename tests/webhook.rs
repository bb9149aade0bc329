//! The receiver of webhooks over real sockets: signed deliveries of the simulator, and everything that may come to a
//! path that the whole internet can reach.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on shall say where"
)]

use std::{
    fmt::Write as _,
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, watch},
    time::timeout,
};
use verkada2mqtt::{
    app::http::{self, MAX_WAITING, Server},
    bridge::{Books, Figures, Status},
    clock,
    config::{Http, Webhook},
    model::{Privacy, Push},
    simulator::{
        self, Simulator,
        organisation::Organisation,
        switches::{Switches, WebhookRetry},
        webhook::{WebhookTarget, signature},
    },
    verkada::webhook::{MAX_BODY_BYTES, Refusal, WebhookHealth},
};

const SECRET: &str = "canary-secret-0b64";
const OLD_SECRET: &str = "canary-old-secret-77e1";
const PATH: &str = "/webhook/verkada";
/// Whose deliveries the tests make.
const ORGANISATION: &str = "o";
/// The bound on every wait of a test.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the vendor grants for an answer.
const VENDOR_WAITS: Duration = Duration::from_secs(2);
/// The limit for a head, and for a body.
const LIMIT: Duration = Duration::from_secs(5);

/// What all tests log, down to the last trace. One subscriber for all: those of single threads miss lines while others
/// come and go.
static LOG: LazyLock<Log> = LazyLock::new(|| {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .init();
    log
});

#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Rig {
    server: Server,
    pushes: mpsc::Receiver<Push>,
    /// How many deliveries were made to see that nothing else had come.
    sentinels: u32,
    _status: watch::Sender<Status>,
}

impl Rig {
    async fn start() -> Self {
        Self::with(&[SECRET, OLD_SECRET]).await
    }

    async fn with(secrets: &[&str]) -> Self {
        LazyLock::force(&LOG);
        let webhook = Webhook {
            path: PATH.to_owned(),
            secrets: secrets.iter().map(|secret| (*secret).into()).collect(),
            organization_id: None,
        };
        let (sender, status) = watch::channel(Status {
            mqtt: None,
            mqtt_proven: false,
            securing_proven: false,
            api: false,
            api_trouble: None,
            doors: 0,
            scenarios: 0,
            budget_left: 0,
            books: Books::default(),
            settled: false,
            figures: Figures::default(),
        });
        let sources = http::Sources { status, requests: Box::new(Vec::new), census: mpsc::channel(1).0 };
        let listen = Http { listen: ([127, 0, 0, 1], 0).into() };
        let (server, pushes) = http::serve(listen, &webhook, Privacy::None, sources).await.unwrap();
        Self { server, pushes, sentinels: 0, _status: sender }
    }

    fn health(&self) -> WebhookHealth {
        self.server.webhook_health().unwrap()
    }

    fn refused(&self, cause: Refusal) -> u64 {
        self.health().refused.get(&cause).copied().unwrap_or(0)
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.server.address()).await.unwrap()
    }

    async fn ask(&self, request: &[u8]) -> Answer {
        ask(self.server.address(), request).await
    }

    /// Delivers a body signed with `secret` at this moment.
    async fn deliver(&self, secret: &str, body: &str) -> Answer {
        self.ask(&post(&signed(secret, body, 0), body)).await
    }

    async fn next(&mut self) -> Push {
        timeout(PATIENCE, self.pushes.recv()).await.expect("nothing came").unwrap()
    }

    async fn next_event(&mut self) -> String {
        loop {
            match self.next().await {
                Push::Event(event) => return event.id.to_string(),
                Push::ReadScenarios | Push::ReadEvents => {}
            }
        }
    }

    async fn until(&self, what: &str, is: impl Fn(&WebhookHealth) -> bool) {
        let looking = async {
            while !is(&self.health()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, looking)
            .await
            .unwrap_or_else(|_| panic!("not in time: {what}: {:?}", self.health()));
    }

    /// Checks that nothing came since the last push: what is delivered now is the next.
    async fn nothing_else_came(&mut self) {
        self.nothing_else_came_to(ORGANISATION).await;
    }

    /// The same where another organisation delivered before.
    async fn nothing_else_came_to(&mut self, organisation: &str) {
        self.sentinels += 1;
        let id = format!("sentinel-{}", self.sentinels);
        assert_eq!(self.deliver(SECRET, &event_of(organisation, &id)).await.status, 200);
        match self.next().await {
            Push::Event(event) => assert_eq!(event.id.as_str(), id),
            other @ (Push::ReadScenarios | Push::ReadEvents) => panic!("{other:?}"),
        }
    }

    /// A simulated organisation that delivers here.
    async fn simulate(&self, switches: Switches) -> Simulator {
        let url = format!("http://{}{PATH}", self.server.address()).parse().unwrap();
        let webhook = Some(WebhookTarget { url, secret: Some(SECRET.into()) });
        let settings = simulator::Settings::new(Organisation::demo(), "key");
        simulator::start(simulator::Settings { switches, webhook, ..settings }).await.unwrap()
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    text: String,
    took: Duration,
}

async fn ask(address: SocketAddr, request: &[u8]) -> Answer {
    let begun = clock::now().mono;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    answer(&mut stream, begun).await.expect("no answer")
}

/// Reads to the end of the connection; `None` where it ends without an answer.
async fn answer(stream: &mut TcpStream, begun: Instant) -> Option<Answer> {
    let mut received = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut received)).await;
    if ended.expect("the connection does not end").is_err() && received.is_empty() {
        return None;
    }
    let text = String::from_utf8(received).unwrap();
    let status = text.split(' ').nth(1)?.parse().unwrap();
    Some(Answer { status, text, took: clock::now().mono - begun })
}

fn count(items: usize) -> u64 {
    u64::try_from(items).unwrap()
}

fn signed(secret: &str, body: &str, age: i64) -> String {
    signature(secret.as_bytes(), body.as_bytes(), clock::now().utc.as_second() - age)
}

fn head(signature: &str, more: &str) -> String {
    format!("POST {PATH} HTTP/1.1\r\nhost: gateway\r\nverkada-signature: {signature}\r\n{more}\r\n")
}

fn post(signature: &str, body: &str) -> Vec<u8> {
    (head(signature, &format!("content-length: {}\r\n", body.len())) + body).into_bytes()
}

fn event(id: &str) -> String {
    event_of(ORGANISATION, id)
}

fn event_of(organisation: &str, id: &str) -> String {
    json!({"org_id": organisation, "webhook_type": "notification", "data": {
        "event_id": id, "notification_type": "door_opened", "door_id": "d", "created": 1_789_632_250,
    }})
    .to_string()
}

#[tokio::test]
async fn other_paths_and_methods_and_a_receiver_without_a_secret_are_refused() {
    let mut off = Rig::with(&[]).await;
    assert_eq!(off.deliver("", &event("e")).await.status, 404);
    assert_eq!(off.ask(format!("GET {PATH} HTTP/1.1\r\nhost: g\r\n\r\n").as_bytes()).await.status, 404);
    assert_eq!(off.server.webhook_health(), None);
    assert_eq!(timeout(PATIENCE, off.pushes.recv()).await.unwrap(), None);

    let on = Rig::start().await;
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD"] {
        let answer = on.ask(format!("{method} {PATH} HTTP/1.1\r\nhost: g\r\n\r\n").as_bytes()).await;
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.text.to_lowercase().contains("allow: post"), "{}", answer.text);
    }
    for path in ["/webhook", "/webhook/verkada/", "/webhook/verkada/x", "/Webhook/verkada"] {
        let request = String::from_utf8(post(&signed(SECRET, "", 0), "")).unwrap().replace(PATH, path);
        assert_eq!(on.ask(request.as_bytes()).await.status, 404, "{path}");
    }
    for path in ["/", "/events"] {
        let request = String::from_utf8(post(&signed(SECRET, "", 0), "")).unwrap().replace(PATH, path);
        assert_eq!(on.ask(request.as_bytes()).await.status, 405, "{path}");
    }
    assert_eq!(on.ask(b"GET /healthz HTTP/1.1\r\nhost: g\r\n\r\n").await.status, 200);
    assert_eq!(on.health(), WebhookHealth::default());
}

#[tokio::test]
async fn a_delivery_is_answered_by_what_is_wrong_with_it() {
    let mut rig = Rig::start().await;
    let body = event("e-1");
    let good = signed(SECRET, &body, 0);
    let bare = head("", "content-length: 0\r\n").replace("verkada-signature: \r\n", "");
    let twice = head(&good, &format!("verkada-signature: {good}\r\ncontent-length: 0\r\n"));
    for (request, status) in [
        (bare.into_bytes(), 401),
        (twice.into_bytes(), 400),
        (post("odd", &body), 400),
        (post(&signed("guess", &body, 0), &body), 401),
        (post(&good, &event("e-2")), 401),
        (post(&signed(SECRET, &body, 302), &body), 401),
        (post(&signed(SECRET, &body, -33), &body), 401),
        (post(&signed(SECRET, "{", 0), "{"), 400),
        (post(&good, &body), 200),
    ] {
        let answer = rig.ask(&request).await;
        assert_eq!(answer.status, status, "{}", answer.text);
        assert!(answer.took < VENDOR_WAITS, "{answer:?}");
    }
    assert_eq!(rig.next_event().await, "e-1");
    let health = rig.health();
    let refused: Vec<_> = health.refused.iter().map(|(cause, count)| (cause.word(), *count)).collect();
    assert_eq!(
        refused,
        [("unsigned", 1), ("header", 2), ("stale", 1), ("ahead", 1), ("signature", 2), ("body", 1)]
    );
    assert_eq!((health.received, health.accepted), (9, 1));

    let answer = rig.ask(b"GET /readyz HTTP/1.1\r\nhost: g\r\n\r\n").await;
    let shown: Value = serde_json::from_str(answer.text.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((answer.status, &shown["webhook"]["enabled"]), (503, &json!(true)));
    assert_eq!(shown["webhook"]["refused"]["signature"], 2);
    assert_eq!(shown["webhook"]["last_delivery"], health.last_delivery.unwrap().to_string());
    assert!(shown["webhook"]["lag_seconds"].as_f64().unwrap() > 0.0);
    rig.nothing_else_came().await;
}

#[tokio::test]
async fn what_happens_in_the_building_is_here_soon_and_in_order() {
    let mut rig = Rig::start().await;
    let simulator = rig.simulate(Switches { rate_limit: false, ..Switches::default() }).await;
    let world = simulator.handle();
    let door = world.doors()[0].id.clone();
    let begun = clock::now().mono;
    world.badge(&door, Some(&world.people()[0].id)).unwrap();
    let Push::Event(first) = rig.next().await else { panic!("no event") };
    assert!(clock::now().mono - begun < VENDOR_WAITS);
    let scenario = world.scenarios()[0].id.clone();
    world.set_active(&scenario, true).unwrap();
    let made: Vec<_> = world.events().iter().map(|event| event.id.to_string()).collect();
    let mut ids = vec![first.id.to_string()];
    while ids.len() < made.len() {
        ids.push(rig.next_event().await);
    }
    assert_eq!(ids, made, "the ids that the list of events has too");
    assert!(made.len() > 2, "{made:?}");
    assert_eq!(rig.next().await, Push::ReadScenarios);
    rig.nothing_else_came_to(&Organisation::demo().id).await;
}

#[tokio::test]
async fn duplicates_of_the_vendor_change_nothing() {
    let mut rig = Rig::start().await;
    let switches = Switches { rate_limit: false, webhook_duplicates: true, ..Switches::default() };
    let simulator = rig.simulate(switches).await;
    let world = simulator.handle();
    world.badge(&world.doors()[0].id, None).unwrap();
    world.badge(&world.doors()[1].id, None).unwrap();
    let made: Vec<_> = world.events().iter().map(|event| event.id.to_string()).collect();
    for id in &made {
        assert_eq!(&rig.next_event().await, id);
    }
    rig.until("each came twice", |health| health.replayed == count(made.len())).await;
    rig.nothing_else_came_to(&Organisation::demo().id).await;
}

#[tokio::test]
async fn what_has_no_room_is_refused_told_and_tried_again() {
    for retry in [WebhookRetry::SameSignature, WebhookRetry::NewSignature] {
        let mut rig = Rig::start().await;
        let switches = Switches { rate_limit: false, webhook_retry: retry, ..Switches::default() };
        let simulator = rig.simulate(switches).await;
        let world = simulator.handle();
        let door = world.doors()[0].id.clone();
        let mut expected = 0;
        while expected < MAX_WAITING {
            // Fewer than the simulator keeps for delivery.
            for _ in 0..256 {
                world.badge(&door, None).unwrap();
            }
            expected += 256;
            rig.until("all are queued", |health| health.accepted == count(expected)).await;
        }
        world.badge(&door, None).unwrap();
        rig.until("refused twice", |health| health.refused.get(&Refusal::Overflow) == Some(&2)).await;
        assert_eq!((rig.health().accepted, rig.health().replayed), (count(MAX_WAITING), 0));
        for event in &world.events()[..MAX_WAITING] {
            assert_eq!(rig.next_event().await, event.id.as_str());
        }
        world.badge(&door, None).unwrap();
        assert_eq!(rig.next_event().await, world.events().pop().unwrap().id.as_str());
    }
}

#[tokio::test]
async fn the_second_try_is_taken_under_either_signature() {
    let mut rig = Rig::start().await;
    for number in 0..MAX_WAITING {
        assert_eq!(rig.deliver(SECRET, &event(&format!("e-{number}"))).await.status, 200);
    }
    let late = event("late");
    let signature = signed(SECRET, &late, 1);
    let answer = rig.ask(&post(&signature, &late)).await;
    assert_eq!(answer.status, 503);
    assert!(answer.took < VENDOR_WAITS, "{answer:?}");
    assert_eq!(rig.next_event().await, "e-0");
    assert_eq!(rig.ask(&post(&signature, &late)).await.status, 200);
    assert_eq!(rig.next_event().await, "e-1");
    // The answer to that got lost: the vendor signs anew, and the core knows the event by its id.
    assert_eq!(rig.deliver(SECRET, &late).await.status, 200);
    for number in 2..MAX_WAITING {
        assert_eq!(rig.next_event().await, format!("e-{number}"));
    }
    assert_eq!((rig.next_event().await, rig.next_event().await), ("late".to_owned(), "late".to_owned()));
    rig.nothing_else_came().await;
}

#[tokio::test]
async fn a_burst_during_a_change_of_the_secret_is_taken_whole() {
    let mut rig = Rig::start().await;
    let mut taken = Vec::new();
    for round in 0..20 {
        let bodies: Vec<_> = (0..50).map(|number| event(&format!("e-{round}-{number}"))).collect();
        let deliveries = bodies
            .iter()
            .enumerate()
            .map(|(number, body)| rig.deliver(if number % 2 == 0 { SECRET } else { OLD_SECRET }, body));
        taken.extend(join_all(deliveries).await);
    }
    let slowest = taken.iter().map(|answer| answer.took).max().unwrap();
    assert!(taken.iter().all(|answer| answer.status == 200) && slowest < VENDOR_WAITS, "{slowest:?}");
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..1000 {
        ids.insert(rig.next_event().await);
    }
    assert_eq!(ids.len(), 1000);
    rig.nothing_else_came().await;
}

#[tokio::test]
async fn a_recorded_delivery_is_worth_nothing() {
    let mut rig = Rig::start().await;
    let body = event("e-1");
    let recorded = post(&signed(SECRET, &body, 0), &body);
    for _ in 0..50 {
        assert_eq!(rig.ask(&recorded).await.status, 200);
    }
    assert_eq!(rig.next_event().await, "e-1");
    assert_eq!((rig.health().accepted, rig.health().replayed), (1, 49));
    rig.nothing_else_came().await;
}

#[tokio::test]
async fn bodies_are_read_up_to_the_limit_and_no_further() {
    let mut rig = Rig::start().await;
    let mut whole = event("e-1");
    whole += &" ".repeat(MAX_BODY_BYTES - whole.len());
    assert_eq!(rig.deliver(SECRET, &whole).await.status, 200);
    assert_eq!(rig.next_event().await, "e-1");

    let good = signed(SECRET, &whole, 0);
    for length in [MAX_BODY_BYTES + 1, 1 << 30] {
        let answer = rig.ask(head(&good, &format!("content-length: {length}\r\n")).as_bytes()).await;
        assert_eq!(answer.status, 413);
        assert!(answer.took < LIMIT, "{answer:?}");
    }

    let mut stream = rig.connect().await;
    stream.write_all(head(&good, "transfer-encoding: chunked\r\n").as_bytes()).await.unwrap();
    let piece = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let mut sent = 0_usize;
    let sending = async {
        while stream.write_all(piece.as_bytes()).await.is_ok() {
            sent += 0x10000;
        }
    };
    timeout(PATIENCE, sending).await.expect("an endless body is read without end");
    // What the sockets buffer comes on top of what is read.
    assert!(sent < 16 << 20, "{sent} bytes were taken");
    assert_eq!(rig.refused(Refusal::TooLarge), 3);
    rig.nothing_else_came().await;
}

#[tokio::test]
async fn slow_senders_are_ended_and_hold_nobody_up() {
    let mut rig = Rig::start().await;
    let body = event("slow");
    let request = post(&signed(SECRET, &body, 0), &body);
    let (slow_body, slow_head) = (request.len() - 20, 40);
    let begun = clock::now().mono;
    let trickle = |at_once: usize| {
        let (address, request) = (rig.server.address(), request.clone());
        async move {
            let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
            writer.write_all(&request[..at_once]).await.unwrap();
            let writing = async {
                for byte in &request[at_once..] {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    if writer.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                }
            };
            let mut received = Vec::new();
            let reading = timeout(PATIENCE, reader.read_to_end(&mut received));
            tokio::select! {
                ended = reading => drop(ended.expect("a slow sender is not ended")),
                () = async { writing.await; std::future::pending::<()>().await } => {}
            }
            (clock::now().mono - begun, String::from_utf8(received).unwrap())
        }
    };
    let quick = async {
        let mut all = Vec::new();
        for number in 0..20 {
            all.push(rig.deliver(SECRET, &event(&format!("e-{number}"))).await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        all
    };
    let (body, head, quick) = tokio::join!(trickle(slow_body), trickle(slow_head), quick);
    for (took, _) in [&body, &head] {
        assert!((LIMIT..LIMIT * 2).contains(took), "{took:?}");
    }
    assert!(body.1.starts_with("HTTP/1.1 408 "), "{}", body.1);
    assert!(!head.1.contains("200"), "{}", head.1);
    assert!(quick.iter().all(|answer| answer.status == 200 && answer.took < VENDOR_WAITS), "{quick:?}");
    assert_eq!(rig.refused(Refusal::TooSlow), 1);
    for number in 0..20 {
        assert_eq!(rig.next_event().await, format!("e-{number}"));
    }
    rig.nothing_else_came().await;
}

#[tokio::test]
async fn who_fills_the_room_for_large_bodies_holds_no_common_delivery_up() {
    let rig = Rig::start().await;
    let large = event("large") + &" ".repeat(MAX_BODY_BYTES / 2);
    let begun = clock::now().mono;
    let mut idle = Vec::new();
    for _ in 0..16 {
        let mut stream = rig.connect().await;
        let promise = head(&signed(SECRET, "", 0), &format!("content-length: {MAX_BODY_BYTES}\r\n"));
        stream.write_all(promise.as_bytes()).await.unwrap();
        idle.push(stream);
    }
    rig.until("all have begun", |health| health.received == 16).await;
    // Its own time must end well after that of those before it.
    tokio::time::sleep(LIMIT / 5).await;
    let common = event("small");
    let (waiting, small) = tokio::join!(rig.deliver(SECRET, &large), rig.deliver(SECRET, &common));
    assert_eq!(small.status, 200);
    assert!(small.took < VENDOR_WAITS, "{small:?}");
    // It gets its share when those before it are ended.
    assert_eq!(waiting.status, 200);
    assert!(waiting.took > LIMIT / 2, "{waiting:?}");
    for mut stream in idle {
        assert_eq!(answer(&mut stream, begun).await.unwrap().status, 408);
    }
}

#[tokio::test]
async fn large_heads_are_refused() {
    let rig = Rig::start().await;
    let large = format!("GET /healthz HTTP/1.1\r\nhost: g\r\nx: {}\r\n\r\n", "y".repeat(20 * 1024));
    assert_eq!(rig.ask(large.as_bytes()).await.status, 431);
    let many = format!("GET /healthz HTTP/1.1\r\nhost: g\r\n{}\r\n", "x: y\r\n".repeat(100));
    assert_eq!(rig.ask(many.as_bytes()).await.status, 431);
    let answer = rig.ask(b"GET /healthz HTTP/1.1\r\nhost: g\r\n\r\n").await;
    assert_eq!(answer.status, 200);
    assert!(answer.text.to_lowercase().contains("connection: close"), "{}", answer.text);
}

#[tokio::test]
async fn of_300_connections_64_are_served_and_then_all_is_well() {
    let rig = Rig::start().await;
    let begun = clock::now().mono;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(rig.connect().await);
    }
    let ends = idle.into_iter().map(|mut stream| async move {
        let answered = answer(&mut stream, begun).await;
        assert!(answered.is_none(), "{answered:?}");
        clock::now().mono - begun
    });
    let ends = join_all(ends).await;
    let at_once = ends.iter().filter(|took| **took < LIMIT / 2).count();
    let limited = ends.iter().filter(|took| (LIMIT..LIMIT * 2).contains(took)).count();
    assert_eq!((at_once, limited), (236, 64), "{ends:?}");
    assert_eq!(rig.ask(b"GET /healthz HTTP/1.1\r\nhost: g\r\n\r\n").await.status, 200);
    assert_eq!(rig.deliver(SECRET, &event("e-1")).await.status, 200);
}

#[tokio::test]
async fn no_secret_person_or_credential_is_logged_or_answered() {
    let mut rig = Rig::start().await;
    let mut shown = String::new();
    let mut examples = 0;
    for entry in
        std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/verkada")).unwrap()
    {
        let path = entry.unwrap().path();
        if !path.file_name().unwrap().to_str().unwrap().starts_with("webhook-") {
            continue;
        }
        examples += 1;
        let body = std::fs::read_to_string(&path).unwrap();
        let cut: String = body.chars().take(200).collect();
        let foreign = body.replace("fa341524", "foreign0");
        let odd = body.replace("\"created\": ", "\"created\": [\"482915\"], \"x\": ");
        for body in [&body, &cut, &foreign, &odd] {
            for secret in [SECRET, OLD_SECRET, "canary-guess"] {
                shown += &rig.deliver(secret, body).await.text;
            }
        }
    }
    shown += &rig.ask(b"GET /readyz HTTP/1.1\r\nhost: g\r\n\r\n").await.text;
    assert_eq!(examples, 17);
    write!(shown, "{:?} {:?}", rig.server, rig.health()).unwrap();
    while let Ok(push) = rig.pushes.try_recv() {
        write!(shown, "{push:?}").unwrap();
    }
    let logged = LOG.text();
    for sentence in ["a webhook brought an event", "cannot be read", "are refused", "of another organisation"]
    {
        assert!(logged.contains(sentence), "not logged: {sentence}");
    }
    shown += &logged;
    let shown = shown.to_lowercase();
    for canary in ["canary", "482915", "77|99999", "anneke", "visser", "example.org", "c366b9e6"] {
        assert!(!shown.contains(canary), "{canary} is shown");
    }
}
