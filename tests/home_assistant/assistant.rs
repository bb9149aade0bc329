//! A client of Home Assistant's websocket API: as much of it as the check needs.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};
use verkada2mqtt::clock;

use crate::Place;

/// How long Home Assistant may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// One authenticated connection.
pub(crate) struct Assistant {
    socket: WebSocket<TcpStream>,
    last_id: u64,
    events: VecDeque<Value>,
}

/// An entity of Home Assistant's registry.
#[derive(Debug, Clone)]
pub(crate) struct Entity {
    /// For instance `lock.front_door`.
    pub(crate) id: String,
    /// The id that the gateway gave it.
    pub(crate) unique_id: String,
    /// Whether it is disabled, by default or by a person.
    pub(crate) disabled: bool,
}

impl Assistant {
    /// Connects to `url`, for instance `http://127.0.0.1:8123`, with a long-lived access token of an administrator.
    pub(crate) fn connect(url: &str, token: &str) -> Self {
        let authority = url.strip_prefix("http://").expect("HOME_ASSISTANT_URL begins with http://");
        let authority = authority.trim_end_matches('/');
        let stream = TcpStream::connect(authority).unwrap_or_else(|e| panic!("connect to {authority}: {e}"));
        let (socket, _) = tungstenite::client(format!("ws://{authority}/api/websocket"), stream)
            .expect("Home Assistant takes a websocket");
        let mut this = Self { socket, last_id: 0, events: VecDeque::new() };
        assert_eq!(this.read_within(ANSWER_WITHIN)["type"], "auth_required");
        this.send(&json!({"type": "auth", "access_token": token}));
        let answer = this.read_within(ANSWER_WITHIN);
        assert_eq!(answer["type"], "auth_ok", "Home Assistant refused HOME_ASSISTANT_TOKEN: {answer}");
        this
    }

    /// Connects once Home Assistant is up.
    pub(crate) fn connect_within(place: &Place, limit: Duration) -> Self {
        let deadline = clock::now().mono + limit;
        let authority = place.url.trim_start_matches("http://").trim_end_matches('/');
        while TcpStream::connect(authority).is_err() {
            assert!(clock::now().mono < deadline, "Home Assistant does not come up within {limit:?}");
            std::thread::park_timeout(Duration::from_millis(200));
        }
        Self::connect(&place.url, &place.token)
    }

    /// What the devices that came by MQTT are called.
    pub(crate) fn device_names(&mut self) -> Vec<String> {
        let devices = self.command("config/device_registry/list", json!({}));
        let devices = devices.as_array().expect("the registry is a list");
        devices.iter().map(|device| text(&device["name"])).collect()
    }

    /// Runs one command of the API and gives its result.
    pub(crate) fn command(&mut self, kind: &str, arguments: Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        let mut message = arguments;
        message["id"] = id.into();
        message["type"] = kind.into();
        self.send(&message);
        loop {
            let mut answer = self.read_within(ANSWER_WITHIN);
            if answer["type"] == "event" {
                self.events.push_back(answer);
            } else if answer["id"] == id {
                assert_eq!(answer["success"], true, "{kind}: {answer}");
                return answer["result"].take();
            }
        }
    }

    /// Calls a service, for instance `lock.unlock`.
    pub(crate) fn call(&mut self, service: &str, data: &Value) {
        let (domain, name) = service.split_once('.').expect("a service has a domain");
        self.command("call_service", json!({"domain": domain, "service": name, "service_data": data}));
    }

    /// Publishes through Home Assistant's own MQTT client.
    pub(crate) fn publish(&mut self, topic: &str, payload: &str, retain: bool) {
        self.call("mqtt.publish", &json!({"topic": topic, "payload": payload, "retain": retain, "qos": 1}));
    }

    /// The next event of a subscription made on this connection; `None` if none comes until `deadline`.
    pub(crate) fn next_event(&mut self, deadline: Instant) -> Option<Value> {
        loop {
            if let Some(mut event) = self.events.pop_front() {
                return Some(event["event"].take());
            }
            let message = self.read(deadline)?;
            if message["type"] == "event" {
                self.events.push_back(message);
            }
        }
    }

    /// The state of every entity.
    pub(crate) fn states(&mut self) -> BTreeMap<String, String> {
        let states = self.command("get_states", json!({}));
        let states = states.as_array().expect("get_states gives a list");
        states.iter().map(|state| (text(&state["entity_id"]), text(&state["state"]))).collect()
    }

    /// The entities that came by MQTT.
    pub(crate) fn entities(&mut self) -> Vec<Entity> {
        let entities = self.command("config/entity_registry/list", json!({}));
        let entities = entities.as_array().expect("the registry is a list");
        let by_mqtt = entities.iter().filter(|entity| entity["platform"] == "mqtt");
        by_mqtt
            .map(|entity| Entity {
                id: text(&entity["entity_id"]),
                unique_id: text(&entity["unique_id"]),
                disabled: !entity["disabled_by"].is_null(),
            })
            .collect()
    }

    /// Warnings and errors since the log was cleared that are about MQTT or hold `word`.
    pub(crate) fn complaints(&mut self, word: &str) -> Vec<String> {
        let entries = self.command("system_log/list", json!({}));
        let entries = entries.as_array().expect("the log is a list");
        let lines = entries.iter().map(|entry| {
            format!("{} {}: {} {}", entry["level"], entry["name"], entry["message"], entry["exception"])
        });
        lines.filter(|line| line.contains("mqtt") || line.contains(word)).collect()
    }

    fn send(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).expect("Home Assistant reads what we send");
    }

    fn read_within(&mut self, limit: Duration) -> Value {
        self.read(clock::now().mono + limit).expect("Home Assistant answers in time")
    }

    fn read(&mut self, deadline: Instant) -> Option<Value> {
        loop {
            let left = deadline.saturating_duration_since(clock::now().mono);
            if left.is_zero() {
                return None;
            }
            self.socket.get_ref().set_read_timeout(Some(left)).expect("the time limit is above zero");
            match self.socket.read() {
                Ok(Message::Text(message)) => {
                    return Some(serde_json::from_str(&message).expect("Home Assistant speaks JSON"));
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(e))
                    if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(e) => panic!("the connection to Home Assistant broke: {e}"),
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
