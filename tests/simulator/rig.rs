//! A simulator under test and a plain client, which shows what really came over the wire.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use verkada2mqtt::simulator::{
    Handle, Settings, Simulator, ledger::Entry, organisation::Organisation, start, switches::Switches,
};

use crate::openapi::OpenApi;

pub(crate) const KEY: &str = "key-of-the-test";

/// No test waits for longer than this on anything.
pub(crate) const BOUND: Duration = Duration::from_secs(10);

pub(crate) struct Rig {
    pub(crate) simulator: Simulator,
    pub(crate) world: Handle,
    pub(crate) api: OpenApi,
    pub(crate) token: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn message(&self) -> (u16, String) {
        (self.status, self.json()["message"].as_str().unwrap_or_default().to_owned())
    }
}

/// Switches as tests want them: no rate limit, and events in the list at once.
pub(crate) fn quick() -> Switches {
    Switches { rate_limit: false, event_delay_ms: 0, ..Switches::default() }
}

impl Rig {
    pub(crate) async fn start(switches: Switches) -> Self {
        Self::of(Settings { switches, ..Settings::new(Organisation::demo(), KEY) }).await
    }

    pub(crate) async fn of(settings: Settings) -> Self {
        let simulator = start(settings).await.unwrap();
        let world = simulator.handle();
        let mut rig = Self { simulator, world, api: OpenApi::load(), token: String::new() };
        rig.renew().await;
        rig
    }

    /// Gets a new token.
    pub(crate) async fn renew(&mut self) {
        let answer = self.ask("POST", "/token", &[("x-api-key", KEY)], "").await;
        self.token = answer.json()["token"].as_str().unwrap().to_owned();
    }

    pub(crate) fn switch(&self, change: impl FnOnce(&mut Switches)) {
        let mut switches = self.world.switches();
        change(&mut switches);
        self.world.set_switches(switches);
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[("x-verkada-auth", &self.token)], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, body).await
    }

    /// A request with a body, or without one where it is null.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.ask(method, path, &[("x-verkada-auth", &self.token)], &body).await
    }

    pub(crate) async fn unlock(&self, door: &str) -> Answer {
        self.post("/access/v1/door/admin_unlock", &json!({ "door_id": door })).await
    }

    /// Asks and checks the answer against the document.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let answer = self.raw(method, path, headers, body).await.unwrap();
        let bare = path.split('?').next().unwrap();
        let faults = self.api.faults_of_answer(method, bare, answer.status, &answer.json());
        assert_eq!(faults, Vec::<String>::new(), "{method} {path}");
        answer
    }

    /// Asks without checking; an answer that is not whole is an error with what came of it.
    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, Vec<u8>> {
        let headers: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let headers = headers.concat();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: simulator\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut received = Vec::new();
        let ended = timeout(BOUND, stream.read_to_end(&mut received)).await.expect("no end within the bound");
        match (ended, parse(&received)) {
            (Ok(_), Some(answer)) => Ok(answer),
            _ => Err(received),
        }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.simulator.base_url().socket_addrs(|| None).unwrap()[0]).await.unwrap()
    }

    pub(crate) async fn control(&self, method: &str, path: &str, body: &str) -> Answer {
        self.raw(method, &format!("/simulator/{path}"), &[], body).await.unwrap()
    }

    pub(crate) fn last_entry(&self) -> Entry {
        self.world.ledger().pop().unwrap()
    }

    /// The door with this name at this site.
    pub(crate) fn door(&self, site: &str, name: &str) -> String {
        let doors = self.world.doors();
        doors.iter().find(|door| door.site.name == site && door.name == name).unwrap().id.to_string()
    }

    pub(crate) fn front(&self) -> String {
        self.door("Heron Mill", "Front Door")
    }

    pub(crate) fn scenario(&self, name: &str) -> String {
        let scenarios = self.world.scenarios();
        scenarios.iter().find(|scenario| scenario.name == name).unwrap().id.to_string()
    }

    /// Waits until something is true, within the bound.
    pub(crate) async fn until<T>(&self, what: &str, mut look: impl FnMut(&Handle) -> Option<T>) -> T {
        let looking = async {
            loop {
                if let Some(found) = look(&self.world) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(BOUND, looking).await.unwrap_or_else(|_| panic!("not within the bound: {what}"))
    }
}

/// Reads a whole answer; `None` where it is not whole.
pub(crate) fn parse(received: &[u8]) -> Option<Answer> {
    let end = received.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&received[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let rest = &received[end + 4..];
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let body = match length {
        Some((_, length)) => rest.get(..length.parse().ok()?)?.to_vec(),
        None => unchunk(rest)?,
    };
    Some(Answer { status, headers, body })
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|bytes| bytes == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(end + 2..end + 2 + size)?);
        rest = &rest[end + 4 + size..];
    }
}
