//! The gateway as a process of its own, as people run it.

use std::{
    fs::{self, File, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::json;
use tempfile::TempDir;
use verkada2mqtt::clock;

/// How the gateway is set up for one part of the check.
pub(crate) struct Setup<'a> {
    /// Address of the simulated vendor.
    pub(crate) api: &'a str,
    /// The key that the simulated vendor takes.
    pub(crate) api_key: &'a str,
    /// `host:port` of the broker.
    pub(crate) broker: &'a str,
    /// `device` or `component`.
    pub(crate) discovery: &'a str,
    /// The first level of all topics but those of discovery.
    pub(crate) base_topic: &'a str,
    /// The door that may be taken for locked, so that its states can be told beforehand.
    pub(crate) door: &'a str,
}

/// A running gateway; killed when it is dropped.
pub(crate) struct Gateway {
    process: Child,
    folder: TempDir,
}

impl Gateway {
    /// Writes a configuration and starts the program on it.
    pub(crate) fn start(setup: &Setup<'_>) -> Self {
        let folder = tempfile::tempdir().expect("a folder for configuration, state and log");
        let configuration = folder.path().join("config.yaml");
        fs::write(&configuration, setup.to_yaml(folder.path())).expect("the configuration can be written");
        // It holds a secret, and the gateway rightly minds who may read it.
        fs::set_permissions(&configuration, Permissions::from_mode(0o600)).expect("its mode can be set");
        Self { process: spawn(folder.path()), folder }
    }

    /// Starts the program again on the same configuration and state.
    pub(crate) fn start_again(&mut self) {
        self.process = spawn(self.folder.path());
    }

    /// Stops the program and starts it with another configuration on the same state.
    pub(crate) fn start_again_with(&mut self, setup: &Setup<'_>) {
        self.end();
        fs::write(self.folder.path().join("config.yaml"), setup.to_yaml(self.folder.path()))
            .expect("the configuration can be written");
        self.start_again();
    }

    /// Waits until the program has logged this.
    pub(crate) fn wait_for_log(&self, text: &str) {
        self.wait(text, || self.log().contains(text));
    }

    /// Waits until what it must know after a restart is written and stays as it is for a while.
    pub(crate) fn wait_until_remembered(&self) {
        let read = || fs::read(self.folder.path().join("state/memory.json")).unwrap_or_default();
        self.wait("a retired entity in its memory", || {
            String::from_utf8_lossy(&read()).contains("\"retired\":true")
        });
    }

    fn wait(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = clock::now().mono + Duration::from_secs(90);
        while !is_so() {
            assert!(clock::now().mono < deadline, "waited in vain for {what}:\n{}", self.log());
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }

    /// Ends the program without any warning, as a crash or a power cut would.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("the gateway runs");
        self.process.wait().expect("the gateway ends");
    }

    /// Asks the program to stop and wants it to end well within ten seconds.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success(), "the gateway ended by itself:\n{}", self.log());
        let deadline = clock::now().mono + Duration::from_secs(10);
        while clock::now().mono < deadline {
            if let Some(status) = self.process.try_wait().expect("the gateway is our child") {
                assert!(status.success(), "the gateway ended with {status}:\n{}", self.log());
                return;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        panic!("the gateway did not stop:\n{}", self.log());
    }

    /// What the program has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already; that is what is wanted.
        drop(self.process.kill());
        drop(self.process.wait());
        if std::thread::panicking() {
            eprintln!("the gateway's log:\n{}", self.log());
        }
    }
}

impl Setup<'_> {
    /// JSON is YAML, and leaves quoting to a library.
    fn to_yaml(&self, folder: &Path) -> String {
        json!({
            "verkada": {"base_url": self.api, "api_key": self.api_key},
            "mqtt": {
                "url": format!("mqtt://{}", self.broker),
                "client_id": self.base_topic,
                "base_topic": self.base_topic,
            },
            "home_assistant": {"discovery": self.discovery},
            "poll": {"doors": "30s", "scenarios": "1s", "events": "1s"},
            "doors": {"settings": {self.door: {"assume_locked": true, "hold": true}}},
            "calendars": {"show": true},
            "http": {"listen": format!("127.0.0.1:{}", free_port())},
            "state_dir": folder.join("state"),
        })
        .to_string()
    }
}

fn spawn(folder: &Path) -> Child {
    fs::create_dir_all(folder.join("state")).expect("the state folder can be made");
    let log =
        File::options().create(true).append(true).open(folder.join("log")).expect("the log can be opened");
    Command::new(env!("CARGO_BIN_EXE_verkada2mqtt"))
        .args(["run", "--config"])
        .arg(folder.join("config.yaml"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle of the log"))
        .stderr(log)
        .spawn()
        .expect("the gateway starts")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}
