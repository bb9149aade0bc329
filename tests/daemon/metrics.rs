//! What Prometheus is told, and that its books balance.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use verkada2mqtt::simulator::{
    fault::{Cut, Effect, ErrorBody, Fault},
    ledger::Endpoint,
};

use crate::rig::{Rig, eventually, get, http, ready};

/// Commands of the flood.
const FLOOD: usize = 5_000;

/// Samples by series: the name with its labels.
type Samples = BTreeMap<String, f64>;

/// Scrapes, and reads each line by the form of the text: comments, or a series and a number.
async fn scrape(http: SocketAddr) -> Samples {
    let (status, body) = get(http, "/metrics").await;
    assert_eq!(status, 200);
    let text = body.as_str().unwrap().to_owned();
    let mut samples = Samples::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            name.clone_into(&mut family);
        } else if !line.starts_with("# HELP ") {
            assert!(line.starts_with(&family), "{line} does not belong to {family}");
            let (series, value) = line.rsplit_once(' ').unwrap();
            let twice = samples.insert(series.to_owned(), value.parse().unwrap());
            assert!(twice.is_none(), "{series} is there twice");
        }
    }
    samples
}

fn sum(samples: &Samples, name: &str) -> f64 {
    let of_name = |series: &str| series.split('{').next() == Some(name);
    samples.iter().filter(|(series, _)| of_name(series)).map(|(_, value)| value).sum()
}

fn balances(samples: &Samples) -> bool {
    let received = sum(samples, "verkada2mqtt_commands_received_total");
    let ended = sum(samples, "verkada2mqtt_commands_ended_total");
    (received - ended - sum(samples, "verkada2mqtt_commands_pending")).abs() < 0.5
}

/// The names of all samples.
fn names(samples: &Samples) -> BTreeSet<&str> {
    samples.keys().map(|series| series.split('{').next().unwrap()).collect()
}

#[tokio::test]
async fn a_scrape_has_these_names_and_no_others() {
    let rig = Rig::start_with_webhooks("canary-of-the-webhook").await;
    let gateway = rig.run();
    let samples = scrape(ready(&gateway).await).await;
    let histogram = |name: &str| ["bucket", "count", "sum"].map(|part| format!("{name}_{part}"));
    let histograms = ["answer", "confirmed", "first_byte"];
    let mut expected: BTreeSet<String> =
        histograms.iter().flat_map(|of| histogram(&format!("verkada2mqtt_command_{of}_seconds"))).collect();
    expected.extend(
        [
            "process_cpu_seconds_total",
            "process_open_fds",
            "process_resident_memory_bytes",
            "process_start_time_seconds",
            "verkada2mqtt_api_budget_left",
            "verkada2mqtt_api_requests_total",
            "verkada2mqtt_api_up",
            "verkada2mqtt_build_info",
            "verkada2mqtt_commands_pending",
            "verkada2mqtt_commands_received_total",
            "verkada2mqtt_journal_broken",
            "verkada2mqtt_journal_durable_records",
            "verkada2mqtt_list_read_timestamp_seconds",
            "verkada2mqtt_doors",
            "verkada2mqtt_lockdown_alarms",
            "verkada2mqtt_lockdown_alarms_raised_total",
            "verkada2mqtt_lockdown_ready",
            "verkada2mqtt_mqtt_dropped_total",
            "verkada2mqtt_mqtt_link_proven",
            "verkada2mqtt_mqtt_link_up",
            "verkada2mqtt_mqtt_published_total",
            "verkada2mqtt_mqtt_waiting",
            "verkada2mqtt_scenarios",
            "verkada2mqtt_webhook_deliveries_total",
            "verkada2mqtt_webhook_missed_events_total",
        ]
        .map(str::to_owned),
    );
    assert_eq!(names(&samples), expected.iter().map(String::as_str).collect());
    let version = format!("verkada2mqtt_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert!(samples.contains_key(&version));
    for of in histograms {
        for action in ["activate", "edit", "hold", "lock", "release", "unlock"] {
            let series = format!("verkada2mqtt_command_{of}_seconds_count{{action=\"{action}\"}}");
            assert!(samples[&series].abs() < 0.5, "{series}");
        }
    }
    for link in ["main", "securing"] {
        for is in ["up", "proven"] {
            let series = format!("verkada2mqtt_mqtt_link_{is}{{link=\"{link}\"}}");
            assert!((samples[&series] - 1.0).abs() < 0.5, "{series}");
        }
    }
}

/// What people watch: dashboards and alerts must not ask for what is not there.
#[tokio::test]
async fn dashboards_and_alerts_name_only_what_a_scrape_has() {
    let rig = Rig::start_with_webhooks("canary-of-the-webhook").await;
    let gateway = rig.run();
    let http = ready(&gateway).await;
    let client = rig.client().await;
    let door = format!("door/{}", rig.door("Workshop"));
    client.publish(&format!("verkada/{door}/set"), r#"{"action": "unlock", "id": "u"}"#).await;
    assert_eq!(client.result(&door, "u").await["outcome"], "done");
    rig.world.badge(&rig.door("Workshop"), None).unwrap();
    let samples = eventually("a webhook has brought something", async || {
        let samples = scrape(http).await;
        samples.contains_key("verkada2mqtt_webhook_lag_seconds").then_some(samples)
    })
    .await;
    let scraped = names(&samples);
    for file in ["examples/grafana/dashboard.json", "examples/prometheus/alerts.yaml"] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let asked: BTreeSet<_> =
            words.filter(|word| word.starts_with("verkada2mqtt_") || word.starts_with("process_")).collect();
        assert!(asked.len() >= 5, "{file} watches hardly anything: {asked:?}");
        let missing: Vec<_> = asked.difference(&scraped).collect();
        assert_eq!(missing, [&""; 0], "{file}");
    }
}

#[tokio::test]
async fn requests_are_counted_by_what_came_back() {
    let rig = Rig::start().await;
    let gateway = rig.run_ready().await;
    let http = http(&gateway).await;
    let client = rig.client().await;
    // An unlock of a door that is open already would be merged with the one before.
    let doors: Vec<_> = rig.world.doors().into_iter().filter(|door| door.api_control).collect();
    let effects = [
        Effect::Status { status: 429, body: ErrorBody::Html, retry_after: None },
        Effect::Status { status: 503, body: ErrorBody::Html, retry_after: None },
        Effect::Cut { moment: Cut::AfterExecute },
    ];
    assert!(doors.len() >= effects.len());
    for (door, effect) in doors.iter().zip(effects) {
        rig.world
            .inject(Fault { endpoint: Some(Endpoint::AdminUnlock), after: 0, times: 1, effect })
            .unwrap();
        let (door, id) = (format!("door/{}", door.id), format!("unlock-{}", door.id));
        let command = format!(r#"{{"action": "unlock", "id": "{id}"}}"#);
        client.publish(&format!("verkada/{door}/set"), command).await;
        let result = client.result(&door, &id).await;
        assert_ne!(result["outcome"], "refused", "{result}");
    }
    let samples = scrape(http).await;
    let counted = |answer: &str| {
        let labels = format!("{{operation=\"unlock\",answer=\"{answer}\"}}");
        samples.get(&format!("verkada2mqtt_api_requests_total{labels}")).copied().unwrap_or_default()
    };
    let of_unlocks = |series: &&String| series.contains("operation=\"unlock\"");
    let all: f64 = samples.iter().filter(|(series, _)| of_unlocks(series)).map(|(_, count)| count).sum();
    let seen = f64::from(u32::try_from(rig.seen(Endpoint::AdminUnlock).len()).unwrap());
    assert!((all - seen).abs() < 0.5, "{all} were counted and {seen} were seen");
    for answer in ["429", "5xx", "none"] {
        assert!(counted(answer) > 0.5, "{answer} was not counted in {samples:?}");
    }
    let read = samples["verkada2mqtt_list_read_timestamp_seconds{list=\"doors\"}"];
    let now = f64::from(u32::try_from(verkada2mqtt::clock::now().utc.as_second()).unwrap());
    assert!((now - read).abs() < 60.0, "{read} is not about {now}");
}

#[tokio::test]
async fn the_way_to_a_confirmed_state_is_measured() {
    let rig = Rig::start().await;
    let gateway = rig.run_ready().await;
    let http = http(&gateway).await;
    let client = rig.client().await;
    let (door, scenario) = (rig.door("Workshop"), rig.scenario("Lockdown Tern Yard"));
    for (target, action) in [(format!("door/{door}"), "unlock"), (format!("scenario/{scenario}"), "activate")]
    {
        let command = format!(r#"{{"action": "{action}", "id": "{action}"}}"#);
        client.publish(&format!("verkada/{target}/set"), command).await;
        assert_eq!(client.result(&target, action).await["outcome"], "done");
    }
    let samples = scrape(http).await;
    let states = |kind: &str, states: &[&str]| -> Vec<f64> {
        states.iter().map(|state| samples[&format!("verkada2mqtt_{kind}{{state=\"{state}\"}}")]).collect()
    };
    let doors: f64 = states("doors", &["locked", "unlocked", "unlocking", "unknown"]).iter().sum();
    let [active, inactive, unknown] = states("scenarios", &["active", "inactive", "unknown"])[..] else {
        panic!()
    };
    assert!((doors - 6.0).abs() < 0.5 && (active - 1.0).abs() < 0.5, "{doors} {active}");
    assert!((inactive - 2.0).abs() < 0.5 && unknown.abs() < 0.5, "{inactive} {unknown}");
    // Of an unlock the vendor's log tells later.
    eventually("both are confirmed", async || {
        let samples = scrape(http).await;
        let count = |of: &str, action: &str| {
            samples[&format!("verkada2mqtt_command_{of}_seconds_count{{action=\"{action}\"}}")]
        };
        let both = ["unlock", "activate"].map(|action| count("confirmed", action));
        assert!(both.into_iter().all(|count| count < 1.5), "{both:?}");
        both.into_iter().all(|count| count > 0.5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn books_balance_after_a_flood_and_name_nobody() {
    let rig = Rig::start().await;
    let gateway = rig.run_ready().await;
    let http = http(&gateway).await;
    let client = rig.client().await;
    let (door, scenario) = (rig.door("Workshop"), rig.scenario("Lockdown Tern Yard"));
    client
        .publish(&format!("verkada/scenario/{scenario}/set"), r#"{"action": "activate", "id": "a1"}"#)
        .await;
    assert_eq!(client.result(&format!("scenario/{scenario}"), "a1").await["outcome"], "done");
    for _ in 0..FLOOD {
        client.publish(&format!("verkada/door/{door}/set"), "unlock").await;
    }
    client.publish("verkada/scenario/no-such-scenario/set", "ON").await;
    let all = f64::from(u32::try_from(FLOOD + 2).unwrap());
    let samples = eventually("all commands are counted and have ended", async || {
        let samples = scrape(http).await;
        assert!(balances(&samples), "{samples:?}");
        let ended = sum(&samples, "verkada2mqtt_commands_ended_total");
        ((ended - all).abs() < 0.5).then_some(samples)
    })
    .await;
    let is = |series: &str, value: u32| {
        let found = samples.get(series).unwrap_or_else(|| panic!("no {series} in {samples:?}"));
        assert!((found - f64::from(value)).abs() < 0.5, "{series} is {found}");
    };
    is("verkada2mqtt_commands_ended_total{action=\"activate\",outcome=\"done\",reason=\"none\"}", 1);
    is("verkada2mqtt_command_first_byte_seconds_count{action=\"activate\"}", 1);
    is("verkada2mqtt_command_first_byte_seconds_bucket{action=\"activate\",le=\"+Inf\"}", 1);
    is("verkada2mqtt_command_answer_seconds_count{action=\"activate\"}", 1);
    let unlocks = u32::try_from(rig.seen(Endpoint::AdminUnlock).len()).unwrap();
    is("verkada2mqtt_command_first_byte_seconds_count{action=\"unlock\"}", unlocks);
    is("verkada2mqtt_lockdown_alarms_raised_total", 1);
    is("verkada2mqtt_lockdown_alarms", 1);
    assert!(samples["verkada2mqtt_journal_durable_records"] > 0.5);
    let named = |series: &&String| series.contains(door.as_str()) || series.contains(scenario.as_str());
    assert_eq!(samples.keys().find(named), None);
}

/// Asks the server for something, on a connection of its own; `None` where it does not answer, as it may in a flood.
async fn ask(server: SocketAddr, request: &str, body: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(server).await.ok()?;
    let head =
        format!("{request} HTTP/1.1\r\nHost: {server}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(head.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

/// Asks for what is not there, and in ways that are not allowed.
async fn scan(http: SocketAddr, door: &str) {
    let paths = [
        "//",
        "/../../etc/passwd",
        "/%2e%2e/",
        "/metrics/",
        "/healthz/x",
        "/webhook",
        "/admin",
        "/api/unlock",
    ];
    for path in paths {
        for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT"] {
            let status = ask(http, &format!("{method} {path}?door={door}"), "").await;
            assert!(status.is_none_or(|status| (400..500).contains(&status)), "{method} {path}: {status:?}");
        }
    }
    for (request, status) in [
        ("POST /", 405),
        ("POST /events", 405),
        ("PUT /status.js", 405),
        ("POST /metrics", 405),
        ("DELETE /readyz", 405),
        ("POST /webhook/verkada", 401),
    ] {
        assert_eq!(ask(http, request, "{}").await, Some(status), "{request}");
    }
}

#[tokio::test]
async fn scans_and_floods_of_the_server_change_nothing_and_hold_no_command_up() {
    let secret = "canary-of-the-webhook";
    let rig = Rig::start_with_webhooks(secret).await;
    let gateway = rig.run();
    let http = ready(&gateway).await;
    let client = rig.client().await;
    client.shows("verkada/availability", "online").await;
    let (door, scenario) = (rig.door("Workshop"), rig.scenario("Lockdown Tern Yard"));
    let series = |samples: &Samples| samples.keys().cloned().collect::<BTreeSet<_>>();
    let before = series(&scrape(http).await);

    scan(http, door.as_str()).await;
    let mut flood = JoinSet::new();
    for _ in 0..100 {
        flood.spawn(async move {
            let mut answered = 0;
            for _ in 0..40 {
                answered += usize::from(ask(http, "POST /webhook/verkada", "{}").await == Some(401));
            }
            answered
        });
    }
    let unlock = format!("door/{door}");
    client.publish(&format!("verkada/{unlock}/set"), r#"{"action": "unlock", "id": "u"}"#).await;
    assert_eq!(client.result(&unlock, "u").await["outcome"], "done");
    let lockdown = format!("scenario/{scenario}");
    client.publish(&format!("verkada/{lockdown}/set"), r#"{"action": "activate", "id": "a"}"#).await;
    assert_eq!(client.result(&lockdown, "a").await["outcome"], "done");
    let mut answered = 0;
    while let Some(served) = flood.join_next().await {
        answered += served.unwrap();
    }
    assert!(answered > 500, "it was a flood: {answered}");

    eventually("it is ready", async || (get(http, "/readyz").await.0 == 200).then_some(())).await;
    let after = series(&scrape(http).await);
    let new: Vec<_> = after.difference(&before).collect();
    let expected = [
        "verkada2mqtt_commands_ended_total{",
        "verkada2mqtt_api_requests_total{",
        "verkada2mqtt_webhook_deliveries_total{result=\"unsigned\"}",
        "verkada2mqtt_webhook_lag_seconds",
    ];
    let is_expected = |series: &str| expected.iter().any(|start| series.starts_with(start));
    assert!(new.iter().all(|series| is_expected(series)), "{new:?}");
    assert!(after.len() <= 400, "{} series", after.len());
    for text in [door.as_str(), scenario.as_str(), secret, "Workshop"] {
        assert!(!after.iter().any(|series| series.contains(text)), "{text}");
    }
    assert_eq!(rig.acts().len(), 2, "nothing that came over HTTP was carried out");
}
