//! The gateway with a real broker: Mosquitto with users, passwords and rules.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, process::Command, time::Duration};

use tempfile::TempDir;
use tokio::{net::TcpStream, time::sleep};
use verkada2mqtt::simulator::{Simulator, ledger::Endpoint};

use crate::{
    mqtt::{Client, Version},
    process::{LIMIT, Process},
    rig::{Config, door, eventually, free_address, ready, scenario, simulate},
};

/// The rules that the project recommends, where this checkout has them, else the same in short.
const RULES: &str = "examples/mosquitto/acl";
const SHORT_RULES: &str = "user gateway\ntopic readwrite verkada/#\ntopic readwrite homeassistant/#\n\
                           user shell\ntopic readwrite verkada/#\n";
/// What the tests themselves may do.
const TEST_RULES: &str = "\nuser tester\ntopic readwrite #\n";

/// A Mosquitto on a port of its own.
pub(crate) struct Mosquitto {
    folder: TempDir,
    pub(crate) address: SocketAddr,
    process: Process,
}

impl Mosquitto {
    /// One that forgets everything when it ends.
    async fn start() -> Self {
        Self::start_with("persistence false\n").await
    }

    /// One that writes what it has to keep onto the disk at each change, as far as it comes before it is killed.
    pub(crate) async fn start_that_keeps() -> Self {
        let keeps = "persistence true\npersistence_location FOLDER/kept/\nautosave_on_changes true\nautosave_interval 1\n";
        Self::start_with(keeps).await
    }

    /// One that also listens with TLS; returns at which port of `localhost`, and the certificate to trust.
    pub(crate) async fn start_with_tls() -> (Self, u16, String) {
        let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let port = free_address().port();
        let lines = format!(
            "persistence false\nlistener {port}\ncertfile FOLDER/certificate\nkeyfile FOLDER/certificate-key\n"
        );
        let (certificate, key) = (identity.cert.pem(), identity.signing_key.serialize_pem());
        let files = [("certificate", certificate.as_str()), ("certificate-key", &key)];
        (Self::start_among(&lines, &files).await, port, certificate)
    }

    async fn start_with(persistence: &str) -> Self {
        Self::start_among(persistence, &[]).await
    }

    /// With more configuration, in which `FOLDER` stands for where the files are.
    async fn start_among(more: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Mosquitto gives up root for a user of its own, which must be able to read this.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let kept = folder.path().join("kept");
        fs::create_dir(&kept).unwrap();
        fs::set_permissions(kept, fs::Permissions::from_mode(0o777)).unwrap();
        let address = free_address();
        let (rules, passwords) = (folder.path().join("acl"), folder.path().join("passwords"));
        let recommended = Path::new(env!("CARGO_MANIFEST_DIR")).join(RULES);
        let own = fs::read_to_string(recommended).map_or_else(
            |_| SHORT_RULES.to_owned(),
            |rules| rules.replace("user verkada2mqtt", "user gateway"),
        );
        fs::write(&rules, own + TEST_RULES).unwrap();
        fs::write(&passwords, "").unwrap();
        for user in ["gateway", "shell", "tester"] {
            let mut command = Command::new("mosquitto_passwd");
            assert!(command.arg("-b").arg(&passwords).args([user, "secret"]).status().unwrap().success());
        }
        let lines = format!(
            "listener {} {}\nallow_anonymous false\npassword_file {}\nacl_file {}\n",
            address.port(),
            address.ip(),
            passwords.display(),
            rules.display()
        );
        let lines = lines + &more.replace("FOLDER", folder.path().to_str().unwrap());
        fs::write(folder.path().join("mosquitto.conf"), lines).unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        for name in ["acl", "passwords"].iter().chain(files.iter().map(|(name, _)| name)) {
            fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o644)).unwrap();
        }
        let process = Self::run(&folder, address).await;
        Self { folder, address, process }
    }

    async fn run(folder: &TempDir, address: SocketAddr) -> Process {
        let process =
            Process::of(Command::new("mosquitto").arg("-c").arg(folder.path().join("mosquitto.conf")));
        eventually("Mosquitto listens", async || TcpStream::connect(address).await.ok()).await;
        process
    }

    /// Kills it and starts it again.
    async fn restart(&mut self) {
        self.restart_after(Duration::ZERO).await;
    }

    /// Kills it and starts it again a while later.
    pub(crate) async fn restart_after(&mut self, while_away: Duration) {
        self.process.signal("KILL");
        self.process.end_within(LIMIT).await;
        sleep(while_away).await;
        self.process = Self::run(&self.folder, self.address).await;
    }

    pub(crate) async fn client(&self, version: Version) -> Client {
        Client::connect_as(version, self.address, Some(("tester", "secret"))).await
    }

    pub(crate) fn config(&self, simulator: &Simulator, version: Version) -> Config {
        let mut config = Config::new(simulator.base_url().as_str(), self.address);
        config.set("/mqtt/username", "gateway");
        config.set("/mqtt/password", "secret");
        config.set("/mqtt/protocol", version.word());
        config
    }
}

#[tokio::test]
#[ignore = "needs mosquitto; .ci/run runs it"]
async fn people_at_a_shell_have_a_user_of_their_own_and_the_gateways_may_not_command() {
    for version in [Version::V5, Version::V311] {
        let mosquitto = Mosquitto::start().await;
        let simulator = simulate(SocketAddr::from(([127, 0, 0, 1], 0))).await;
        let config = mosquitto.config(&simulator, version);
        let gateway = config.start(&["run"]);
        ready(&gateway).await;
        let password = config.secret_file("password", "secret");
        let own = ["--username", "shell", "--password-file", &password];
        for command in [
            &["doors"][..],
            &["scenarios"],
            &["events"],
            &["unlock", "Workshop"],
            &["activate", "Lockdown Tern Yard"],
            &["release", "Lockdown Tern Yard"],
        ] {
            let ended = config.run(&[command, &own[..]].concat()).await;
            assert_eq!(ended.code(), Some(0), "{version:?} {command:?} {ended:?}");
        }
        let done = [Endpoint::AdminUnlock, Endpoint::Activate, Endpoint::Release];
        assert_eq!(acts(&simulator), done, "{version:?}");
        let ended = config.run(&["unlock", "Workshop"]).await;
        assert_eq!(ended.code(), Some(1), "{ended:?}");
        assert!(ended.log.contains("--username"), "{ended:?}");
        assert_eq!(acts(&simulator), done, "{version:?}");
    }
}

/// What a new subscriber is given: every retained topic with its payload, in the order of topics, without the time of
/// the last poll.
async fn retained(mosquitto: &Mosquitto, version: Version) -> Vec<(String, String)> {
    let client = mosquitto.client(version).await;
    // A message of our own comes back behind everything that the broker had to give before.
    client.publish("test/mark", "end").await;
    client.shows("test/mark", "end").await;
    let mut retained: Vec<(String, String)> = client
        .heard()
        .into_iter()
        .filter(|message| message.retain && !message.topic.ends_with("/last_poll"))
        .map(|message| (message.topic, message.payload))
        .collect();
    retained.sort();
    retained
}

#[tokio::test]
#[ignore = "needs mosquitto; .ci/run runs it"]
async fn doors_and_scenarios_work_by_mqtt_5() {
    doors_and_scenarios_work(Version::V5).await;
}

#[tokio::test]
#[ignore = "needs mosquitto; .ci/run runs it"]
async fn doors_and_scenarios_work_by_mqtt_3_1_1() {
    doors_and_scenarios_work(Version::V311).await;
}

async fn doors_and_scenarios_work(version: Version) {
    let mosquitto = Mosquitto::start().await;
    let simulator = simulate(SocketAddr::from(([127, 0, 0, 1], 0))).await;
    let world = simulator.handle();
    let (door, scenario) = (door(&world, "Workshop"), scenario(&world, "Lockdown Tern Yard"));
    let (door, scenario) = (format!("verkada/door/{door}"), format!("verkada/scenario/{scenario}"));
    let client = mosquitto.client(version).await;
    client.retain(&format!("{door}/set"), "UNLOCK").await;
    client.shows(&format!("{door}/set"), "UNLOCK").await;

    let config = mosquitto.config(&simulator, version);
    let mut gateway = config.start(&["run"]);
    ready(&gateway).await;
    gateway.logs(&format!("the MQTT link is up protocol={}", version.word())).await;
    client.publish(&format!("{door}/set"), r#"{"action": "unlock", "id": "u"}"#).await;
    client.shows(&format!("{door}/state"), "UNLOCKED").await;
    client.shows(&format!("{door}/state"), "LOCKED").await;
    assert_eq!(client.payloads(&format!("{door}/state")), ["None", "UNLOCKING", "UNLOCKED", "LOCKED"]);
    for (command, state) in [("ON", "ON"), ("OFF", "OFF")] {
        client.publish(&format!("{scenario}/set"), command).await;
        client.shows(&format!("{scenario}/state"), state).await;
    }
    let acts = world.ledger().into_iter().filter(|entry| entry.endpoint.acts());
    let acts: Vec<(Endpoint, bool)> = acts.map(|act| (act.endpoint, act.executed)).collect();
    let expected = [(Endpoint::AdminUnlock, true), (Endpoint::Activate, true), (Endpoint::Release, true)];
    assert_eq!(acts, expected, "the retained command was not executed");
    gateway.signal("TERM");
    let ended = gateway.end_within(LIMIT).await;
    assert_eq!(ended.code(), Some(0), "{}", ended.log);
    client.shows("verkada/availability", "offline").await;
}

#[tokio::test]
#[ignore = "needs mosquitto; .ci/run runs it"]
async fn a_broker_that_is_killed_and_forgets_everything_is_filled_again() {
    for version in [Version::V5, Version::V311] {
        let mut mosquitto = Mosquitto::start().await;
        let simulator = simulate(SocketAddr::from(([127, 0, 0, 1], 0))).await;
        let config = mosquitto.config(&simulator, version);
        let gateway = config.start(&["run"]);
        ready(&gateway).await;
        // What a start tells last.
        eventually("a lockdown could be started", async || {
            let held = retained(&mosquitto, version).await;
            held.iter().any(|(_, payload)| payload.contains("\"missing\":null")).then_some(())
        })
        .await;
        let complete = retained(&mosquitto, version).await;
        assert!(complete.len() > 40, "{:?}", complete.iter().map(|(topic, _)| topic).collect::<Vec<_>>());
        let logged = gateway.log().len();
        mosquitto.restart().await;
        gateway.logs_after(logged, "the MQTT link is proven").await;
        eventually("the retained tree is complete again", async || {
            (retained(&mosquitto, version).await == complete).then_some(())
        })
        .await;
    }
}

/// Which requests that act the vendor executed.
fn acts(simulator: &Simulator) -> Vec<Endpoint> {
    let ledger = simulator.handle().ledger();
    ledger
        .into_iter()
        .filter(|entry| entry.endpoint.acts() && entry.executed)
        .map(|act| act.endpoint)
        .collect()
}

#[tokio::test]
#[ignore = "needs mosquitto; .ci/run runs it"]
async fn a_lockdown_that_is_pressed_while_the_gateway_restarts_is_done_once_and_a_release_never() {
    let mosquitto = Mosquitto::start().await;
    let simulator = simulate(SocketAddr::from(([127, 0, 0, 1], 0))).await;
    let scenario = format!("verkada/scenario/{}", scenario(&simulator.handle(), "Lockdown Tern Yard"));
    let client = mosquitto.client(Version::V5).await;
    let config = mosquitto.config(&simulator, Version::V5);
    for end in ["TERM", "KILL"] {
        let already = acts(&simulator).len();
        let mut gateway = config.start(&["run"]);
        ready(&gateway).await;
        eventually("it is written when the broker was heard", async || {
            config.path().with_file_name("state").join("securing_heard").exists().then_some(())
        })
        .await;
        gateway.signal(end);
        gateway.end_within(LIMIT).await;
        client
            .publish(&format!("{scenario}/set"), format!(r#"{{"action": "activate", "id": "{end}"}}"#))
            .await;
        let release = r#"{"action": "release"}"#;
        client.publish(&format!("{scenario}/set"), release).await;
        client.shows(&format!("{scenario}/set"), release).await;
        let gateway = config.start(&["run"]);
        ready(&gateway).await;
        eventually("the lockdown is done", async || (acts(&simulator).len() > already).then_some(())).await;
        client.shows(&format!("{scenario}/state"), "ON").await;
        gateway.logs("reason=\"resumed_session\"").await;
        assert_eq!(acts(&simulator)[already..], [Endpoint::Activate], "after SIG{end}");
        client.publish(&format!("{scenario}/set"), "OFF").await;
        client.shows(&format!("{scenario}/state"), "OFF").await;
    }
}

#[tokio::test]
#[ignore = "needs mosquitto; .ci/run runs it"]
async fn a_lockdown_that_may_be_older_than_a_minute_is_refused_and_told() {
    let mosquitto = Mosquitto::start().await;
    let simulator = simulate(SocketAddr::from(([127, 0, 0, 1], 0))).await;
    let scenario = format!("verkada/scenario/{}", scenario(&simulator.handle(), "Lockdown Tern Yard"));
    let client = mosquitto.client(Version::V5).await;
    let config = mosquitto.config(&simulator, Version::V5);
    let heard = config.path().with_file_name("state").join("securing_heard");
    for before in [Some(61), None] {
        let mut gateway = config.start(&["run"]);
        ready(&gateway).await;
        gateway.signal("TERM");
        gateway.end_within(LIMIT).await;
        match before {
            Some(seconds) => {
                let at = verkada2mqtt::clock::now().utc - Duration::from_secs(seconds);
                fs::write(&heard, at.to_string()).unwrap();
            }
            None => fs::remove_file(&heard).unwrap(),
        }
        let activate = format!(r#"{{"action": "activate", "id": "{before:?}"}}"#);
        client.publish(&format!("{scenario}/set"), activate.clone()).await;
        client.shows(&format!("{scenario}/set"), &activate).await;
        let gateway = config.start(&["run"]);
        gateway.logs("reason=\"resumed_session\"").await;
        ready(&gateway).await;
        assert_eq!(acts(&simulator), []);
    }
}
