//! What Prometheus is told, and that its books balance.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use verkada2mqtt::simulator::ledger::Endpoint;

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

#[tokio::test]
async fn a_scrape_has_these_names_and_no_others() {
    let rig = Rig::start().await;
    let gateway = rig.run_ready().await;
    let samples = scrape(http(&gateway).await).await;
    let series: Vec<&str> =
        samples.keys().map(String::as_str).filter(|series| !series.contains("_bucket{")).collect();
    let version = format!("verkada2mqtt_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        series,
        [
            "verkada2mqtt_api_budget_left",
            "verkada2mqtt_api_up",
            version.as_str(),
            "verkada2mqtt_command_answer_seconds_count{action=\"activate\"}",
            "verkada2mqtt_command_answer_seconds_count{action=\"edit\"}",
            "verkada2mqtt_command_answer_seconds_count{action=\"hold\"}",
            "verkada2mqtt_command_answer_seconds_count{action=\"lock\"}",
            "verkada2mqtt_command_answer_seconds_count{action=\"release\"}",
            "verkada2mqtt_command_answer_seconds_count{action=\"unlock\"}",
            "verkada2mqtt_command_answer_seconds_sum{action=\"activate\"}",
            "verkada2mqtt_command_answer_seconds_sum{action=\"edit\"}",
            "verkada2mqtt_command_answer_seconds_sum{action=\"hold\"}",
            "verkada2mqtt_command_answer_seconds_sum{action=\"lock\"}",
            "verkada2mqtt_command_answer_seconds_sum{action=\"release\"}",
            "verkada2mqtt_command_answer_seconds_sum{action=\"unlock\"}",
            "verkada2mqtt_command_first_byte_seconds_count{action=\"activate\"}",
            "verkada2mqtt_command_first_byte_seconds_count{action=\"edit\"}",
            "verkada2mqtt_command_first_byte_seconds_count{action=\"hold\"}",
            "verkada2mqtt_command_first_byte_seconds_count{action=\"lock\"}",
            "verkada2mqtt_command_first_byte_seconds_count{action=\"release\"}",
            "verkada2mqtt_command_first_byte_seconds_count{action=\"unlock\"}",
            "verkada2mqtt_command_first_byte_seconds_sum{action=\"activate\"}",
            "verkada2mqtt_command_first_byte_seconds_sum{action=\"edit\"}",
            "verkada2mqtt_command_first_byte_seconds_sum{action=\"hold\"}",
            "verkada2mqtt_command_first_byte_seconds_sum{action=\"lock\"}",
            "verkada2mqtt_command_first_byte_seconds_sum{action=\"release\"}",
            "verkada2mqtt_command_first_byte_seconds_sum{action=\"unlock\"}",
            "verkada2mqtt_commands_pending",
            "verkada2mqtt_commands_received_total",
            "verkada2mqtt_journal_broken",
            "verkada2mqtt_journal_durable_records",
            "verkada2mqtt_lockdown_alarms",
            "verkada2mqtt_lockdown_alarms_raised_total",
            "verkada2mqtt_mqtt_link_proven{link=\"main\"}",
            "verkada2mqtt_mqtt_link_proven{link=\"securing\"}",
            "verkada2mqtt_mqtt_link_up{link=\"main\"}",
            "verkada2mqtt_mqtt_link_up{link=\"securing\"}",
        ]
    );
    for link in ["main", "securing"] {
        assert!((samples[&format!("verkada2mqtt_mqtt_link_proven{{link=\"{link}\"}}")] - 1.0).abs() < 0.5);
    }
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

#[tokio::test]
async fn scans_and_floods_of_the_server_change_nothing_and_hold_no_command_up() {
    let secret = "canary-of-the-webhook";
    let rig = Rig::start_with_webhooks(secret).await;
    let gateway = rig.run();
    let http = ready(&gateway).await;
    let client = rig.client().await;
    client.shows("verkada/availability", "online").await;
    let (door, scenario) = (rig.door("Workshop"), rig.scenario("Lockdown Tern Yard"));
    let names = |samples: &Samples| samples.keys().cloned().collect::<BTreeSet<_>>();
    let before = names(&scrape(http).await);

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
    let after = names(&scrape(http).await);
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.iter().all(|series| series.starts_with("verkada2mqtt_commands_ended_total{")), "{new:?}");
    assert!(after.len() <= 220, "{} series", after.len());
    for text in [door.as_str(), scenario.as_str(), secret, "Workshop"] {
        assert!(!after.iter().any(|series| series.contains(text)), "{text}");
    }
    assert_eq!(rig.acts().len(), 2, "nothing that came over HTTP was carried out");
}
