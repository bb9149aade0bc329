//! The status page as it is served: files that can do nothing but show, and a stream of what changes.

use std::{collections::BTreeMap, net::SocketAddr};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};
use verkada2mqtt::simulator::{
    fault::{Effect, ErrorBody, Fault},
    organisation::Organisation,
};

use crate::{
    process::LIMIT,
    rig::{Rig, eventually, get, http, ready},
};

/// The paths of the page, with the type of each.
const FILES: [(&str, &str); 4] = [
    ("/", "text/html; charset=utf-8"),
    ("/status.css", "text/css; charset=utf-8"),
    ("/status.js", "text/javascript; charset=utf-8"),
    ("/status.svg", "image/svg+xml"),
];
/// How many may listen at the same time.
const MAX_LISTENERS: usize = 16;

/// Asks and returns head and body.
async fn ask(server: SocketAddr, method: &str, path: &str) -> (String, String) {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await.unwrap();
        stream.write_all(format!("{method} {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), body.to_owned())
    };
    timeout(LIMIT, exchange).await.expect("an answer in time")
}

/// Somebody who looks.
struct Listener {
    stream: BufReader<TcpStream>,
    head: String,
    /// Everything that came.
    text: String,
    /// Doors and scenarios by id, and everything else by its name, as they were last told.
    rows: BTreeMap<String, Value>,
    told: BTreeMap<String, Value>,
}

impl Listener {
    /// HTTP/1.0 brings the stream as it is, without chunks.
    async fn connect(server: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(server).await.unwrap();
        stream.write_all(b"GET /events HTTP/1.0\r\n\r\n").await.unwrap();
        let mut this = Self {
            stream: BufReader::new(stream),
            head: String::new(),
            text: String::new(),
            rows: BTreeMap::new(),
            told: BTreeMap::new(),
        };
        while let Some(line) = this.line().await.filter(|line| !line.is_empty()) {
            this.head += &line.to_ascii_lowercase();
            this.head.push('\n');
        }
        this
    }

    /// `None` at the end of the stream.
    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = timeout(LIMIT, self.stream.read_line(&mut line)).await.expect("something in time");
        (read.unwrap() > 0).then(|| line.trim_end().to_owned())
    }

    /// The next event: its name and data.
    async fn event(&mut self) -> (String, Value) {
        let (mut name, mut data) = (String::new(), Value::Null);
        loop {
            let line = self.line().await.expect("the stream goes on");
            self.text += &line;
            self.text.push('\n');
            match line.split_once(": ") {
                Some(("event", word)) => word.clone_into(&mut name),
                Some(("data", text)) => data = serde_json::from_str(text).unwrap(),
                Some(("retry", _)) => {}
                None if line.is_empty() && !name.is_empty() => return (name, data),
                None if line.is_empty() => {}
                other => panic!("no line of a stream: {other:?}"),
            }
        }
    }

    /// Takes events until what they made of the page has something.
    async fn sees<T>(&mut self, what: &str, find: impl Fn(&Self) -> Option<T>) -> T {
        let wait = async {
            loop {
                if let Some(found) = find(self) {
                    return found;
                }
                self.take().await;
            }
        };
        timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("it did not come to this: {what}"))
    }

    /// Takes one event as the page does; returns its name.
    async fn take(&mut self) -> String {
        let (name, data) = self.event().await;
        match (name.as_str(), data) {
            ("begin", version) => {
                assert_eq!(version, env!("CARGO_PKG_VERSION"));
                self.rows.clear();
            }
            ("doors" | "scenarios", Value::Array(rows)) => {
                self.rows.extend(rows.into_iter().map(|row| (row["id"].as_str().unwrap().to_owned(), row)));
            }
            ("gateway" | "commands" | "pulse", data) => drop(self.told.insert(name.clone(), data)),
            (name, data) => panic!("nobody knows {name}: {data}"),
        }
        name
    }

    /// Waits until a row is in a state, and returns it.
    async fn row(&mut self, id: &str, state: &str) -> Value {
        let find = |this: &Self| this.rows.get(id).filter(|row| row["state"] == state).cloned();
        self.sees(&format!("{id} {state}"), find).await
    }

    /// Takes everything up to the end of the next pulse.
    async fn pulse(&mut self) -> Value {
        while self.take().await != "pulse" {}
        self.told["pulse"].clone()
    }
}

#[tokio::test]
async fn the_page_can_only_show_and_only_what_is_from_here() {
    let rig = Rig::start().await;
    let gateway = rig.run();
    let server = http(&gateway).await;
    for (path, kind) in FILES {
        let (head, body) = ask(server, "GET", path).await;
        for line in [
            " 200 ok",
            &format!("content-type: {kind}"),
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
             connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; \
             require-trusted-types-for 'script'",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "referrer-policy: no-referrer",
        ] {
            assert!(head.contains(line), "{path} without {line:?}: {head}");
        }
        assert!(!head.contains("access-control") && !head.contains("set-cookie"), "{head}");
        // Another host would be named with its scheme; one place is the name of a language of XML.
        let foreign = body.replace("http://www.w3.org/2000/svg", "");
        assert!(
            !foreign.contains("//www") && !foreign.contains("http:") && !foreign.contains("https:"),
            "{path}"
        );
        for gate in
            ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(", "<form"]
        {
            assert!(!body.contains(gate), "{path} has {gate}");
        }
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let (head, body) = ask(server, method, path).await;
            assert!(head.contains(" 405 ") && body.is_empty(), "{method} {path}: {head}");
        }
    }
    let (head, _) = ask(server, "POST", "/events").await;
    assert!(head.contains(" 405 "), "{head}");

    let (_, page) = ask(server, "GET", "/").await;
    for rooted in ["href=\"/", "src=\"/", "href='/", "src='/", " style=", " onclick=", " onload=", "<base"] {
        assert!(
            !page.contains(rooted),
            "behind a prefix this would break, or the policy forbids it: {rooted}"
        );
    }
    assert_eq!(page.matches("<script").count(), page.matches("<script src=").count());
    for landmark in
        ["<html lang=", "<header>", "<main>", "<footer>", "role=\"alert\"", "role=\"status\"", "viewport"]
    {
        assert!(page.contains(landmark), "{landmark}");
    }
}

#[tokio::test]
async fn the_stream_tells_all_there_is_and_then_what_changes() {
    let mut rig = Rig::of(Organisation::demo()).await;
    rig.config.set("/events/privacy", "name");
    let gateway = rig.run_ready().await;
    let client = rig.client().await;
    let mut listener = Listener::connect(http(&gateway).await).await;
    for line in [
        "content-type: text/event-stream",
        "cache-control: no-store",
        "x-accel-buffering: no",
        "content-security-policy: default-src 'none';",
    ] {
        assert!(listener.head.contains(line), "{}", listener.head);
    }
    assert_eq!(listener.take().await, "begin");
    let pulse = listener.pulse().await;
    assert!(pulse["budget_left"].as_u64().unwrap() > 0 && pulse["now"].is_string(), "{pulse}");
    let states = |state: &str| listener.rows.values().filter(|row| row["state"] == state).count();
    assert_eq!((listener.rows.len(), states("inactive"), states("unknown")), (9, 3, 6));
    let told = &listener.told["gateway"];
    for link in ["broker", "securing"] {
        assert_eq!((&told[link]["up"], &told[link]["proven"]), (&json!(true), &json!(true)), "{told}");
    }
    for (member, value) in [("vendor", json!(true)), ("problems", json!([])), ("alarms", json!([]))] {
        assert_eq!(told[member], value, "{told}");
    }
    assert_eq!(listener.told["commands"], json!([]));

    let door = rig.door("Workshop");
    let unlock = r#"{"action": "unlock", "id": "u", "by": "Ada Example"}"#;
    client.publish(&format!("verkada/door/{door}/set"), unlock).await;
    let row = listener.row(door.as_str(), "unlocked").await;
    assert_eq!(row["source"], "command");
    assert!(row["at"].is_string() && row["relock_due"].is_string(), "{row}");
    let done = |this: &Listener| {
        let last = &this.told["commands"][0];
        (last["outcome"] == "done").then(|| last.clone())
    };
    let command = listener.sees("an unlock that is done", done).await;
    assert_eq!((&command["action"], &command["name"]), (&json!("unlock"), &json!("Workshop")));
    let row = listener.row(door.as_str(), "locked").await;
    assert_eq!((&row["source"], &row["relock_due"]), (&json!("event"), &Value::Null));

    let scenario = rig.scenario("Lockdown Tern Yard");
    client.publish(&format!("verkada/scenario/{scenario}/set"), "ON").await;
    let row = listener.row(scenario.as_str(), "active").await;
    assert!(row["since"].is_string() && row["doors"] == 3, "{row}");
    let person = rig.world.people()[0].clone();
    rig.world.badge(&door, Some(&person.id)).unwrap();
    let named = |payload: &str| payload.contains(&person.full_name()).then_some(());
    client
        .until("an event that names somebody", |heard| {
            heard.iter().find_map(|message| named(&message.payload))
        })
        .await;
    // Nothing of the event is still on its way behind two more pictures.
    listener.pulse().await;
    listener.pulse().await;
    for name in ["Ada", person.full_name().as_str(), person.id.as_str()] {
        assert!(!listener.text.contains(name), "{name} in {}", listener.text);
    }
}

#[tokio::test]
async fn what_cannot_be_read_any_more_is_told_as_unknown() {
    let rig = Rig::start().await;
    let gateway = rig.run_ready().await;
    let client = rig.client().await;
    let (door, scenario) = (rig.door("Workshop"), rig.scenario("Lockdown Tern Yard"));
    client.publish(&format!("verkada/door/{door}/set"), "UNLOCK").await;
    let mut listener = Listener::connect(http(&gateway).await).await;
    listener.row(door.as_str(), "locked").await;
    listener.row(scenario.as_str(), "inactive").await;
    let effect = Effect::Status { status: 500, body: ErrorBody::Envelope, retry_after: None };
    rig.world.inject(Fault { endpoint: None, after: 0, times: 1_000_000, effect }).unwrap();
    for id in [door.as_str(), scenario.as_str()] {
        let row = listener.row(id, "unknown").await;
        assert!(row["unavailable"].is_string(), "{row}");
    }
    let told = |this: &Listener| {
        let gateway = &this.told["gateway"];
        (gateway["vendor"] == false && gateway["problems"] != json!([])).then_some(())
    };
    listener.sees("a vendor that does not serve", told).await;
    rig.world.clear_faults();
    listener.row(scenario.as_str(), "inactive").await;
}

#[tokio::test]
async fn names_that_mean_harm_stay_in_their_place() {
    let rig = Rig::start().await;
    let names = [
        ("\n\nevent: pulse\ndata: {}\n\n", "event: pulse data: {}"),
        ("</script><script>alert(1)</script>", "</script><script>alert(1)</script>"),
        ("Lab\r\nretry: 1\r\n", "Lab retry: 1"),
        ("\u{202e}rood\u{2028}x\u{0}", "rood x"),
    ];
    let doors = rig.world.doors();
    for (door, (name, _)) in doors.iter().zip(names) {
        rig.world.rename_door(&door.id, name).unwrap();
    }
    let gateway = rig.run_ready().await;
    let mut listener = Listener::connect(http(&gateway).await).await;
    let pulse = listener.pulse().await;
    assert!(pulse["now"].is_string(), "this is one of the gateway's own: {pulse}");
    for (door, (_, shown)) in doors.iter().zip(names) {
        assert_eq!(listener.rows[door.id.as_str()]["name"], shown);
    }
    assert_eq!(listener.rows.len(), doors.len() + rig.world.scenarios().len());
}

#[tokio::test]
async fn listeners_are_bounded_and_outlive_what_an_answer_may_take() {
    let rig = Rig::start().await;
    let gateway = rig.run();
    let server = ready(&gateway).await;
    let mut listeners = vec![];
    for _ in 0..MAX_LISTENERS {
        let listener = Listener::connect(server).await;
        assert!(listener.head.contains(" 200 ok"), "{}", listener.head);
        listeners.push(listener);
    }
    let (head, _) = ask(server, "GET", "/events").await;
    assert!(head.contains(" 503 ") && head.contains("retry-after: "), "{head}");
    assert_eq!(get(server, "/healthz").await.0, 200, "others are served");
    // An ordinary answer is cut after 15 s; time is what the gateway tells.
    let second =
        |pulse: &Value| pulse["now"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    let mut last = listeners.pop().unwrap();
    let begun = second(&last.pulse().await);
    while second(&last.pulse().await) < begun + 17 {}
    drop(last);
    eventually("a place is free again", async || {
        let listener = Listener::connect(server).await;
        listener.head.contains(" 200 ok").then_some(())
    })
    .await;
    drop(listeners);
    assert_eq!(get(server, "/readyz").await.0, 200);
    let log = gateway.log().join("\n");
    assert!(!log.contains("badly") && !log.contains("panicked"), "{log}");
}
