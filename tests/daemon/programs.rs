//! The other commands of the program, exit codes, and what is said on the terminal.

use std::{net::SocketAddr, process::Command, time::Duration};

use serde_json::Value;
use tokio::{net::TcpListener, time::Instant};
use verkada2mqtt::simulator::switches::{KeyScope, Switches};

use crate::{
    mqtt::{Client, Version},
    process::{LIMIT, Process},
    rig::{Bouncer, Rig, free_address, get, http},
};

#[tokio::test]
async fn a_bad_file_is_told_whole_and_ends_with_78() {
    let rig = Rig::start().await;
    rig.config.write_text(
        "verkada:\n  region: mars\n  api_key: k\nmqtt:\n  url: http://broker\npoll:\n  events: 0s\nlock: {}\n",
    );
    let file = rig.config.path().display().to_string();
    for command in [&["run"][..], &["check"], &["check", "--online"]] {
        let ended = rig.config.run(command).await;
        assert_eq!(ended.code(), Some(78), "{command:?}: {ended:?}");
        assert!(ended.log.starts_with("verkada2mqtt: the configuration has 4 faults"), "{}", ended.log);
        for (line, key) in [(2, "verkada.region"), (5, "mqtt.url"), (7, "poll.events"), (8, "lock")] {
            assert!(ended.log.contains(&format!("{file}:{line}: {key}")), "{key}: {}", ended.log);
        }
        assert!(ended.log.contains("us, eu, au"), "what is allowed: {}", ended.log);
    }
    let missing = Process::run(&["run", "--config", "/nowhere/config.yaml"]).await;
    assert_eq!(missing.code(), Some(78));
    assert!(missing.log.contains("/nowhere/config.yaml: the file does not exist"), "{}", missing.log);
}

#[tokio::test]
async fn a_second_instance_ends_with_75_and_the_first_goes_on() {
    let rig = Rig::start().await;
    let first = rig.run_ready().await;
    let began = Instant::now();
    let second = rig.run().end_within(Duration::from_secs(1)).await;
    assert_eq!(second.code(), Some(75), "{second:?} after {:?}", began.elapsed());
    assert!(
        second.log.contains("another instance holds the state directory")
            && second.log.contains("(state_dir)"),
        "{}",
        second.log
    );
    assert_eq!(get(http(&first).await, "/readyz").await.0, 200);
    assert_eq!(rig.retained("verkada/availability").as_deref(), Some("online"));
}

#[tokio::test]
async fn two_gateways_of_two_hosts_are_told_within_ten_seconds_and_one_alone_again() {
    let rig = Rig::start().await;
    let mut other = rig.another();
    other.set("/mqtt/client_id", "another-host");
    let first = rig.run_ready().await;
    let second = other.start(&["run"]);
    for gateway in [&first, &second] {
        gateway.logs("another gateway uses the base topic verkada on this broker").await;
    }
    rig.holds("verkada/bridge/problem_active", "ON").await;
    drop(second);
    rig.holds("verkada/bridge/problem_active", "OFF").await;
    let told = first.log().iter().filter(|line| line.contains("another gateway")).count();
    assert_eq!(told, 1, "{:#?}", first.log());
}

#[tokio::test]
async fn a_taken_http_address_ends_with_1_and_names_the_key() {
    let mut rig = Rig::start().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    rig.config.set("/http/listen", address.to_string());
    let ended = rig.config.run(&["run"]).await;
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    let sentence = format!("verkada2mqtt: cannot listen on {address} (http.listen): ");
    assert!(ended.log.contains(&sentence), "{}", ended.log);
    assert_eq!(rig.retained("verkada/availability"), None, "it has not begun to serve");
}

#[tokio::test]
async fn the_schema_is_json_and_knows_the_keys() {
    let ended = Process::run(&["schema"]).await;
    assert_eq!((ended.code(), ended.log.as_str()), (Some(0), ""));
    let schema: Value = serde_json::from_str(&ended.out).unwrap();
    for key in [
        "verkada",
        "mqtt",
        "home_assistant",
        "poll",
        "commands",
        "doors",
        "scenarios",
        "webhook",
        "http",
        "state_dir",
        "log",
    ] {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
}

#[tokio::test]
async fn a_wrong_command_line_is_told_with_what_is_allowed() {
    let ended = Process::run(&["chek"]).await;
    assert_eq!(ended.code(), Some(2), "{ended:?}");
    assert!(ended.log.contains("'chek'") && ended.log.contains("'check'"), "{}", ended.log);
    let version = Process::run(&["--version"]).await;
    assert_eq!(
        (version.code(), version.out),
        (Some(0), format!("verkada2mqtt {}", env!("CARGO_PKG_VERSION")))
    );
}

#[tokio::test]
async fn the_health_check_tells_whether_the_gateway_runs() {
    let mut rig = Rig::start().await;
    let address = free_address();
    rig.config.set("/http/listen", address.to_string());
    let ended = rig.config.run(&["healthcheck"]).await;
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(ended.log.contains(&format!("no health at http://{address}/healthz: ")), "{}", ended.log);
    let gateway = rig.run();
    http(&gateway).await;
    let ended = rig.config.run(&["healthcheck"]).await;
    assert_eq!((ended.code(), ended.log.as_str(), ended.out.as_str()), (Some(0), "", ""));
    // Whoever asks need not hold the secrets that the rest of the file needs.
    let config = rig.config.path().with_file_name("asks.yaml");
    std::fs::write(&config, format!("http: {{ listen: \"{address}\" }}\n")).unwrap();
    let ended = Process::run(&["healthcheck", "--config", config.to_str().unwrap()]).await;
    assert_eq!((ended.code(), ended.log.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn a_check_says_what_is_well() {
    let rig = Rig::start().await;
    let offline = rig.config.run(&["check"]).await;
    let file = rig.config.path();
    assert_eq!(
        (offline.code(), offline.out),
        (Some(0), format!("{}: the configuration is valid", file.display()))
    );
    assert_eq!(rig.world.ledger(), [], "it asks nobody");

    let online = rig.config.run(&["check", "--online"]).await;
    assert_eq!(online.code(), Some(0), "{online:?}");
    let base_url = rig.simulator.base_url();
    for line in [
        &format!("  ok   API token: the key is accepted at {base_url}"),
        "  ok   doors: 6 can be read",
        "  ok   scenarios: 3 can be read, 0 active",
        "  ok   access events: can be read",
        &format!("  ok   MQTT broker: {} is connected with MQTT 5", rig.broker.address()),
        "  ok   MQTT rights: a heartbeat came back: publishing and reading commands work",
        &format!("  ok   MQTT broker (securing): {} is connected with MQTT 5", rig.broker.address()),
        "  ok   MQTT rights (securing): a heartbeat came back: publishing and reading commands work",
    ] {
        assert!(online.out.lines().any(|said| said == line), "{line:?} is not in\n{}", online.out);
    }
    let cells = |begins: &str| -> Vec<&str> {
        let line = online.out.lines().map(str::trim).find(|line| line.starts_with(begins)).unwrap();
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
    };
    let (workshop, server) = (rig.door("Workshop").to_string(), rig.door("Server Room").to_string());
    assert_eq!(cells("door "), ["door", "site", "API toggle", "unlock", "id", "what to do"]);
    assert_eq!(cells("Workshop"), ["Workshop", "Heron Mill", "on", "yes", workshop.as_str(), "-"]);
    assert_eq!(cells("Server Room")[..5], ["Server Room", "Heron Mill", "off", "no", server.as_str()]);
    assert!(cells("Server Room")[5].contains("Enable Door Management via API"), "{}", online.out);
    let lockdown = rig.scenario("Lockdown Tern Yard").to_string();
    let expected = ["Lockdown Tern Yard", "inactive", "3", "allowed", "allowed", lockdown.as_str(), "-"];
    assert_eq!(cells("Lockdown Tern Yard"), expected);
    assert!(!format!("{online:?}").contains("\\u{1b}"), "no colours and no progress: {online:?}");
    assert_eq!(rig.acts(), []);
    assert_eq!(rig.broker.retained("#"), [], "it leaves nothing behind");
}

#[tokio::test]
async fn a_check_tells_which_key_forbids_what() {
    let mut rig = Rig::start().await;
    let (door, hidden) = (rig.door("Workshop"), rig.door("Roof Terrace"));
    rig.config.set(&format!("/doors/settings/{door}/unlock"), false);
    rig.config.set("/doors/exclude", vec![hidden.to_string()]);
    rig.config.set("/commands/release", false);
    let online = rig.config.run(&["check", "--online"]).await;
    assert_eq!(online.code(), Some(0), "{online:?}");
    for (begins, ends) in [
        ("Workshop", format!("doors.settings.{door}.unlock forbids it")),
        ("Roof Terrace", "take it out of doors.exclude to show it".to_owned()),
        ("Lockdown Tern Yard", "commands.release forbids to end it".to_owned()),
    ] {
        let line = online.out.lines().map(str::trim).find(|line| line.starts_with(begins)).unwrap();
        assert!(line.contains("  no  ") && line.ends_with(&ends), "{line}");
    }
}

#[tokio::test]
async fn a_check_does_not_disturb_the_running_gateway() {
    let rig = Rig::start().await;
    let gateway = rig.run_ready().await;
    rig.all_is_shown().await;
    let logged = gateway.log().len();
    let before = rig.held();
    assert_eq!(rig.config.run(&["check", "--online"]).await.code(), Some(0));
    assert_eq!(rig.held(), before);
    assert!(!gateway.log()[logged..].join("\n").contains("MQTT link"), "{:#?}", gateway.log());
}

#[tokio::test]
async fn a_check_says_what_is_wrong_and_ends_with_1() {
    let mut rig = Rig::start().await;
    rig.world.set_switches(Switches { key_scope: KeyScope::Nothing, ..rig.world.switches() });
    let scope = rig.config.run(&["check", "--online"]).await;
    assert_eq!(scope.code(), Some(1), "{scope:?}");
    assert!(scope.out.contains("  ok   API token"), "{}", scope.out);
    for what in ["doors", "scenarios", "access events"] {
        assert!(scope.out.contains(&format!("  FAIL {what}: ")), "{what}: {}", scope.out);
    }
    assert!(scope.out.contains("  ok   MQTT rights"), "the rest is checked too: {}", scope.out);

    let bouncer = Bouncer::start(rig.broker.address()).await;
    rig.config.set("/verkada/api_key", "canary-of-a-wrong-key");
    rig.config.set("/mqtt/url", format!("mqtt://{}", bouncer.address));
    rig.config.set("/mqtt/username", "gateway");
    rig.config.set("/mqtt/password", "canary-of-a-password");
    let wrong = rig.config.run(&["check", "--online"]).await;
    assert_eq!(wrong.code(), Some(1), "{wrong:?}");
    let key = "  FAIL API token: ";
    assert!(
        wrong.out.contains(key) && wrong.out.contains("the API key may be wrong, expired"),
        "{}",
        wrong.out
    );
    let broker = "  FAIL MQTT broker: not authorised: 127.0.0.1 refuses user `gateway` with client id \
                  `verkada2mqtt-check`; check the password and the broker's rules";
    assert!(wrong.out.lines().any(|line| line == broker), "{}", wrong.out);
    assert!(!format!("{wrong:?}").contains("canary"), "{wrong:?}");
}

#[tokio::test]
async fn the_simulator_serves_and_stops() {
    let address = free_address();
    let listen = address.to_string();
    let mut simulator = Process::start(&[
        "simulate",
        "--listen",
        &listen,
        "--doors",
        "12",
        "--scenarios",
        "2",
        "--api-key",
        "k",
        "--quiet",
        "--switches",
        r#"{"scenario_control": false}"#,
    ]);
    let line = simulator.says("simulated API on").await;
    assert!(line.contains(&format!("http://{address}/simulator/state")), "{line}");
    let (status, state) = get(address, "/simulator/state").await;
    assert_eq!((status, state["doors"].as_array().unwrap().len()), (200, 12));
    let (_, switches) = get(address, "/simulator/switches").await;
    assert_eq!(switches["scenario_control"], Value::Bool(false));
    simulator.signal("INT");
    let ended = simulator.end_within(Duration::from_secs(2)).await;
    assert_eq!(ended.code(), Some(0), "{ended:?}");

    let wrong =
        Process::run(&["simulate", "--listen", &listen, "--switches", r#"{"key_scope": "all"}"#]).await;
    assert_eq!(wrong.code(), Some(1));
    assert!(wrong.log.contains("--switches: unknown variant `all`"), "{}", wrong.log);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|address| (taken, address.to_string())).unwrap();
    let ended = Process::run(&["simulate", "--listen", &taken.1]).await;
    assert_eq!(ended.code(), Some(1));
    assert!(ended.log.contains(&format!("cannot simulate on {}: ", taken.1)), "{}", ended.log);
}

/// The address of the broker, a door that is unlocked for a short time and a scenario, as the demo prints them.
async fn introduced(demo: &Process) -> (SocketAddr, String, String) {
    demo.says("Node-RED").await;
    let out = demo.out();
    let word = |label: &str, text: &str| {
        let line = out.iter().find(|line| line.trim_start().starts_with(label) && line.contains(text));
        let rest = line.and_then(|line| line.trim_start().strip_prefix(label));
        rest.and_then(|rest| rest.split_whitespace().next())
            .unwrap_or_else(|| panic!("{label} {text}: {out:#?}"))
            .to_owned()
    };
    (word("MQTT broker", "").parse().unwrap(), word("door", "Workshop"), word("scenario", "Tern Yard"))
}

#[tokio::test]
async fn the_demo_does_what_it_promises() {
    let began = Instant::now();
    let mut demo = Process::start(&["demo", "--port", "0"]);
    let (broker, door, scenario) = introduced(&demo).await;
    let client = Client::connect(Version::V311, broker).await;
    let (door, scenario) = (format!("verkada/door/{door}"), format!("verkada/scenario/{scenario}"));
    for thing in [&door, &scenario] {
        client.shows(&format!("{thing}/availability"), "online").await;
    }
    client.shows(&format!("{scenario}/state"), "OFF").await;
    let online = |heard: &[crate::mqtt::Message], kind: &str| {
        let topic =
            |topic: &str| topic.starts_with(&format!("verkada/{kind}/")) && topic.ends_with("/availability");
        heard.iter().filter(|message| topic(&message.topic) && message.payload == "online").count()
    };
    client
        .until("all doors and scenarios", |heard| {
            let announced =
                heard.iter().filter(|message| message.topic.starts_with("homeassistant/device/")).count();
            (online(heard, "door") >= 6 && online(heard, "scenario") >= 3 && announced >= 9).then_some(())
        })
        .await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let suggestion = demo.says("mosquitto_pub").await;
    assert!(
        suggestion.contains(&format!("-h 127.0.0.1 -p {} -t verkada/door/", broker.port())),
        "{suggestion}"
    );

    let page = demo.says("status page").await;
    let page = page.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap().parse().unwrap();
    assert_eq!(get(page, "/").await.0, 200);
    // Only its own heartbeats are written to these topics, each second.
    assert!(demo.says("mosquitto_sub").await.contains("-T 'verkada/bridge/+/set'"));

    client.publish(&format!("{door}/set"), "UNLOCK").await;
    client.shows(&format!("{door}/state"), "LOCKED").await;
    let states = client.payloads(&format!("{door}/state"));
    assert_eq!(states[states.len() - 3..], ["UNLOCKING", "UNLOCKED", "LOCKED"]);
    client.publish(&format!("{door}/hold/set"), r#"{"mode": "unlocked", "for": 5}"#).await;
    client.shows(&format!("{door}/state"), "UNLOCKED").await;
    client.publish(&format!("{door}/set"), "LOCK").await;
    client.shows(&format!("{door}/state"), "LOCKED").await;
    client.publish(&format!("{scenario}/set"), "ON").await;
    client.shows(&format!("{scenario}/state"), "ON").await;
    client.publish(&format!("{scenario}/set"), "OFF").await;
    client.shows(&format!("{scenario}/state"), "OFF").await;

    demo.signal("INT");
    let ended = demo.end_within(Duration::from_secs(3)).await;
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    for level in [" WARN ", "ERROR "] {
        assert!(!ended.log.contains(level), "{}", ended.log);
    }
}

#[tokio::test]
async fn a_second_demo_takes_another_port() {
    let port = free_address().port().to_string();
    let demos = [Process::start(&["demo", "--port", &port]), Process::start(&["demo", "--port", &port])];
    let mut ports = Vec::new();
    for demo in &demos {
        let (broker, door, _) = introduced(demo).await;
        Client::connect(Version::V5, broker)
            .await
            .shows(&format!("verkada/door/{door}/availability"), "online")
            .await;
        ports.push(broker.port().to_string());
    }
    assert!(ports.contains(&port) && ports[0] != ports[1], "{ports:?}");
    for mut demo in demos {
        demo.signal("TERM");
        assert_eq!(demo.end_within(LIMIT).await.code(), Some(0));
    }
}

/// The long options that a command's help lists, and the commands below it.
async fn told_by_help(command: &[&str]) -> (Vec<String>, Vec<String>) {
    let help = Process::run(&[command, &["--help"]].concat()).await;
    assert_eq!(help.code(), Some(0), "{help:?}");
    let listed = |line: &&str| line.trim_start().starts_with('-') && line.starts_with("  ");
    let options = help.out.lines().filter(listed).flat_map(str::split_whitespace);
    let options = options.filter(|word| word.starts_with("--")).map(str::to_owned).collect();
    let below = help.out.lines().skip_while(|line| *line != "Commands:").skip(1);
    let below = below.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("    "));
    let below = below.filter_map(|line| line.split_whitespace().next().map(str::to_owned));
    (options, below.filter(|command| command != "help").collect())
}

#[tokio::test]
async fn every_command_and_option_is_in_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let ended = Process::run(&["man", folder.path().to_str().unwrap()]).await;
    assert_eq!((ended.code(), ended.out.as_str(), ended.log.as_str()), (Some(0), "", ""));
    let mut left = vec![Vec::<String>::new()];
    let (mut pages, mut options) = (0, 0);
    while let Some(command) = left.pop() {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let (own, below) = told_by_help(&words).await;
        let name = [&["verkada2mqtt"], &words[..]].concat().join("-");
        let page = std::fs::read_to_string(folder.path().join(format!("{name}.1")));
        let page = page.unwrap_or_else(|error| panic!("{name}: {error}")).replace("\\-", "-");
        assert!(
            own.iter().chain(&below).all(|word| page.contains(word.as_str())),
            "{own:?} {below:?}\n{page}"
        );
        pages += 1;
        options += own.len();
        left.extend(below.into_iter().map(|word| [command.clone(), vec![word]].concat()));
    }
    assert!(pages > 20 && options > 80, "hardly anything was looked at: {pages} {options}");
    let page = Process::run(&["man"]).await;
    assert!(page.out.contains("verkada2mqtt") && page.out.contains("lockdown"), "{page:?}");
    let nowhere = Process::run(&["man", "/nowhere"]).await;
    assert_eq!(nowhere.code(), Some(1));
    assert!(nowhere.log.contains("cannot write /nowhere/verkada2mqtt.1: "), "{nowhere:?}");
}

#[tokio::test]
async fn completions_are_what_the_shell_can_read() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = Process::run(&["completions", shell]).await;
        assert_eq!((ended.code(), ended.log.as_str()), (Some(0), ""), "{shell}");
        assert!(ended.out.contains("healthcheck") && ended.out.contains("code-file"), "{shell}");
        if shell == "bash" {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("completions");
            std::fs::write(&file, ended.out).unwrap();
            let parsed = Process::of(Command::new("bash").arg("-n").arg(&file)).end_within(LIMIT).await;
            assert_eq!((parsed.code(), parsed.log.as_str()), (Some(0), ""));
        }
    }
}
