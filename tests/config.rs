//! The configuration: every file in `config/valid` loads, every file in `config/invalid` gives exactly the report
//! beside it, and example, schema and loader know the same keys.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use proptest::prelude::*;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use verkada2mqtt::{
    config::{self, Config, Cost, Environment, Place, Report},
    model::{DoorId, ProtocolChoice},
};

#[cfg(unix)]
#[path = "config/program.rs"]
mod program;

const LEAST: &str = "verkada: {api_key: test-key}\nmqtt: {url: mqtt://localhost}\n";

fn env(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn parse(text: &str) -> Result<Config, Report> {
    config::parse(text, "config.yaml", &Environment::default())
}

/// The report on the least configuration with these variables.
fn report(variables: &[(&str, &str)]) -> String {
    config::parse(LEAST, "config.yaml", &env(variables)).unwrap_err().to_string()
}

fn files_in(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

fn example() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.yaml")).unwrap()
}

#[cfg(unix)]
fn secret_file(folder: &Path, name: &str, content: &str, mode: u32) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;

    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn every_valid_file_loads() {
    let files = files_in("valid");
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let config = config::load(&file, &Environment::default());
        let config = config.unwrap_or_else(|report| panic!("{}: {report}", file.display()));
        assert_eq!(config.verkada.api_key.expose_secret(), "test-key", "{}", file.display());
    }
}

/// Compares a text with the one that is kept in `file`. Set `UPDATE_EXPECTED` to write the files anew, and read them
/// before they are committed.
fn compare(told: &str, file: &Path) {
    if std::env::vars_os().any(|(name, _)| name == "UPDATE_EXPECTED") {
        fs::write(file, told).unwrap();
    }
    assert_eq!(told, fs::read_to_string(file).unwrap_or_default(), "{}", file.display());
}

#[test]
fn every_invalid_file_gives_its_report() {
    let files = files_in("invalid");
    assert!(files.len() >= 30, "{}", files.len());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let report = parse(&text).expect_err(&format!("{} loads", file.display()));
        let told = format!("{report}\n");
        assert!(!told.contains("s3cr3t") && !told.contains("5318008"), "{}: {told}", file.display());
        assert!(!format!("{report:?}").contains("s3cr3t"), "{}", file.display());
        compare(&told, &file.with_extension("txt"));
    }
}

#[test]
fn a_full_file_sets_everything() {
    let file = files_in("valid").into_iter().find(|file| file.ends_with("everything.yaml")).unwrap();
    let config = parse(&fs::read_to_string(&file).unwrap()).unwrap();
    let told = format!("{config:#?}\n");
    compare(&told, &file.with_extension("txt"));
    assert!(!told.contains("test-key") && !told.contains("1234"), "{told}");
    let secrets: Vec<&str> = config.webhook.secrets.iter().map(SecretString::expose_secret).collect();
    assert_eq!(secrets, ["new", "old"]);
    let (user, password) = config.mqtt.credentials.unwrap();
    assert_eq!((user.as_str(), password.expose_secret()), ("user", "1234"));
}

#[test]
fn the_environment_goes_before_the_file() {
    let env = env(&[
        ("VERKADA2MQTT__MQTT__URL", "mqtts://broker.example"),
        ("VERKADA2MQTT__POLL__DOORS", "1m"),
        ("VERKADA2MQTT__DOORS__INCLUDE", "a, b"),
        ("VERKADA2MQTT__COMMANDS__UNLOCK", "false"),
        ("VERKADA2MQTT__MQTT__PROTOCOL", "5"),
        ("VERKADA2MQTT_CONFIG", "/elsewhere.yaml"),
        ("HOME", "/root"),
    ]);
    let text = format!("{LEAST}poll: {{doors: 2m}}\ndoors: {{include: [c]}}\n");
    let config = config::parse(&text, "config.yaml", &env).unwrap();
    assert_eq!((config.mqtt.host.as_str(), config.mqtt.port), ("broker.example", 8883));
    assert_eq!(config.poll.doors, Duration::from_mins(1));
    assert_eq!(config.doors.include.iter().map(DoorId::as_str).collect::<Vec<_>>(), ["a", "b"]);
    assert!(!config.commands.unlock);
    assert_eq!(config.mqtt.protocol, ProtocolChoice::V5);
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn faults_in_the_environment_name_the_variable() {
    let told = report(&[
        ("VERKADA2MQTT__POLL__DOORS", "5"),
        ("VERKADA2MQTT__MQTT__USERNAME", ""),
        ("VERKADA2MQTT__DOORS__EXCLUDE", "a,b/c"),
        ("VERKADA2MQTT__DOORS__SETTINGS__A__UNLOCK", "true"),
        ("VERKADA2MQTT__MQTT__URI", "mqtt://u:s3cr3t@x"),
        ("VERKADA2MQTT_MQTT_URL", "mqtt://x"),
        ("VERKADA2MQTT_PORT_9463_TCP", "tcp://10.0.0.1:9463"),
        ("VERKADA2MQTT__COMMANDS__RELEASE", "no"),
        ("VERKADA2MQTT__LOG__FORMAT", "js\u{fffd}n"),
    ]);
    compare(
        &format!("{told}\n"),
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/environment.txt"),
    );
}

#[test]
fn settings_of_doors_come_from_the_file_alone() {
    let variable = "VERKADA2MQTT__DOORS__SETTINGS__A__UNLOCK";
    let text = format!("{LEAST}doors: {{settings: {{a: {{unlock: false}}}}}}\n");
    let report = config::parse(&text, "config.yaml", &env(&[(variable, "true")])).unwrap_err();
    assert_eq!(report.faults().len(), 1, "{report}");
    assert_eq!(report.faults()[0].place, Place::Variable(variable.to_owned()));
    assert_eq!(report.faults()[0].problem, "unknown variable");
}

#[test]
fn a_secret_in_the_environment_is_taken_and_warned_of() {
    let env = env(&[("VERKADA2MQTT__VERKADA__API_KEY", "from-env")]);
    let config = config::parse("mqtt: {url: mqtt://localhost}", "config.yaml", &env).unwrap();
    assert_eq!(config.verkada.api_key.expose_secret(), "from-env");
    assert_eq!(
        config.warnings,
        [
            "the environment variable VERKADA2MQTT__VERKADA__API_KEY holds a secret, and other programs of this user \
          can read it; better set VERKADA2MQTT__VERKADA__API_KEY_FILE"
        ]
    );
    assert!(!format!("{env:?} {config:?}").contains("from-env"));
}

#[test]
fn warns_of_a_broker_to_which_all_travels_in_the_open() {
    let warned = |url: &str| {
        let login = ["", ", username: u, password: p"].map(|login| {
            let config =
                parse(&format!("verkada: {{api_key: k}}\nmqtt: {{url: \"{url}\"{login}}}\n")).unwrap();
            assert_eq!(config.mqtt.is_exposed(), !config.warnings.is_empty(), "{url}");
            config.mqtt.is_exposed()
        });
        assert_eq!(login[0], login[1], "{url}");
        login[0]
    };
    assert!(warned("mqtt://broker.example"));
    assert!(warned("ws://10.0.0.1"));
    assert!(!warned("mqtts://broker.example"));
    assert!(!warned("mqtt://[::1]"));
}

#[cfg(unix)]
#[test]
fn secret_files_must_be_private() {
    let folder = tempfile::tempdir().unwrap();
    let load = |name: &str, content: &str, mode| {
        let path = secret_file(folder.path(), name, content, mode);
        let text =
            format!("verkada: {{api_key_file: {}}}\nmqtt: {{url: mqtt://localhost}}\n", path.display());
        parse(&text).map(|config| config.verkada.api_key.expose_secret().to_owned()).map_err(|report| {
            assert_eq!(report.faults().len(), 1, "{report}");
            let fault = report.faults()[0].clone();
            assert_eq!(fault.key, "verkada.api_key_file");
            assert!(!report.to_string().contains("hunter"), "{report}");
            fault.problem
        })
    };
    assert_eq!(load("a", "hunter2\n", 0o600), Ok("hunter2".to_owned()));
    assert_eq!(load("b", "hunter2\r\n", 0o400), Ok("hunter2".to_owned()));
    for (mode, problem) in [
        (0o640, "the file can be read by other users (mode 0640)"),
        (0o604, "the file can be read by other users (mode 0604)"),
        (0o602, "the file can be changed by other users (mode 0602)"),
        (0o610, "the file can be read by other users (mode 0610)"),
    ] {
        assert_eq!(load("c", "hunter2", mode), Err(problem.to_owned()));
    }
    assert_eq!(load("d", "", 0o600), Err("the file is empty".to_owned()));
    assert_eq!(load("e", " \n", 0o600), Err("the file is empty".to_owned()));
    assert_eq!(
        load("f", "hunter2\nhunter3\n", 0o600),
        Err("the file holds a line break or another control character".to_owned())
    );
    assert_eq!(
        load("g", "vkd_api_hunter2", 0o600),
        Err("this is a key of the old kind (vkd_api_...), which the current API does not take".to_owned())
    );
    let report = parse("verkada: {api_key_file: /dev/null}\nmqtt: {url: mqtt://localhost}\n").unwrap_err();
    assert_eq!(report.faults()[0].problem, "is not a regular file");
    std::os::unix::fs::symlink("nowhere", folder.path().join("h")).unwrap();
    let text = format!(
        "verkada: {{api_key_file: {}/h}}\nmqtt: {{url: mqtt://localhost}}\n",
        folder.path().display()
    );
    let report = parse(&text).unwrap_err();
    assert_eq!(report.faults()[0].problem, "the link points to a file that does not exist");
}

#[cfg(unix)]
#[test]
fn systemd_credentials_come_last_and_may_have_any_mode() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in
        [("verkada-api-key", "key-c"), ("mqtt-password", "password-c"), ("webhook-secret", "secret-c")]
    {
        secret_file(folder.path(), name, content, 0o444);
    }
    let env = env(&[("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())]);
    let text = "mqtt: {url: mqtt://localhost, username: u}";
    let config = config::parse(text, "config.yaml", &env).unwrap();
    assert_eq!(config.verkada.api_key.expose_secret(), "key-c");
    assert_eq!(config.mqtt.credentials.unwrap().1.expose_secret(), "password-c");
    assert_eq!(config.webhook.secrets[0].expose_secret(), "secret-c");

    let text = "verkada: {api_key: key-f}\nmqtt: {url: mqtt://localhost, username: u, password: password-f}";
    let config = config::parse(text, "config.yaml", &env).unwrap();
    assert_eq!(config.verkada.api_key.expose_secret(), "key-f");
    assert_eq!(config.mqtt.credentials.unwrap().1.expose_secret(), "password-f");

    secret_file(folder.path(), "verkada-api-key", "", 0o444);
    let report =
        config::parse("mqtt: {url: mqtt://localhost, username: u}", "config.yaml", &env).unwrap_err();
    let path = folder.path().join("verkada-api-key").display().to_string();
    assert_eq!(report.faults()[0].place, Place::File { name: path, line: None });
    assert_eq!(report.faults()[0].problem, "the file is empty");
}

#[cfg(unix)]
#[test]
fn a_variable_can_put_a_file_in_place_of_a_written_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = secret_file(folder.path(), "key", "from-file", 0o600);
    let env = env(&[("VERKADA2MQTT__VERKADA__API_KEY_FILE", path.to_str().unwrap())]);
    let config = config::parse(LEAST, "config.yaml", &env).unwrap();
    assert_eq!(config.verkada.api_key.expose_secret(), "from-file");
}

#[cfg(unix)]
#[test]
fn certificates_are_read_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(["client".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap();
    let write =
        |name: &str, text: &str, mode| secret_file(folder.path(), name, text, mode).display().to_string();
    let cert = write("cert.pem", &own.cert.pem(), 0o644);
    let key = write("key.pem", &own.signing_key.serialize_pem(), 0o600);
    let open_key = write("open.pem", &own.signing_key.serialize_pem(), 0o644);
    let other_key = write("other.pem", &other.signing_key.serialize_pem(), 0o600);
    let junk = write("junk.pem", "junk", 0o600);
    let read = |tls: &str, scheme: &str| {
        let text = format!("verkada: {{api_key: k}}\nmqtt:\n  url: {scheme}://localhost\n  tls: {{{tls}}}\n");
        parse(&text).map(|config| config.mqtt.tls).map_err(|report| {
            let faults = report.faults().iter();
            faults.map(|fault| format!("{}: {}", fault.key, fault.problem)).collect::<Vec<_>>().join("; ")
        })
    };
    let both = |cert: &str, key: &str| format!("cert_file: {cert}, key_file: {key}");

    let tls = read(&format!("ca_file: {cert}, {}", both(&cert, &key)), "mqtts").unwrap();
    let client = tls.client.unwrap();
    assert_eq!(client.cert_pem, own.cert.pem().into_bytes());
    assert_eq!(client.key_pem.expose_secret(), own.signing_key.serialize_pem());
    assert_eq!(tls.ca_pem, Some(own.cert.pem().into_bytes()));

    for (tls, scheme, expected) in [
        (
            both(&cert, &other_key),
            "mqtts",
            "mqtt.tls.cert_file: the certificate does not belong to the key in key_file",
        ),
        (both(&cert, &open_key), "wss", "mqtt.tls.key_file: the file can be read by other users (mode 0644)"),
        (both(&cert, &junk), "mqtts", "mqtt.tls.key_file: the file holds no private key in PEM"),
        (both(&junk, &key), "mqtts", "mqtt.tls.cert_file: the file holds no certificate"),
        (format!("ca_file: {key}"), "mqtts", "mqtt.tls.ca_file: the file holds no certificate"),
        (format!("cert_file: {cert}"), "mqtts", "mqtt.tls.cert_file: cert_file is given without key_file"),
        (format!("key_file: {key}"), "mqtts", "mqtt.tls.key_file: key_file is given without cert_file"),
        (
            format!("ca_file: {cert}"),
            "mqtt",
            "mqtt.tls: certificates are given, but mqtt.url is not encrypted",
        ),
        (format!("ca_file: {cert}"), "ws", "mqtt.tls: certificates are given, but mqtt.url is not encrypted"),
    ] {
        assert_eq!(read(&tls, scheme).unwrap_err(), expected, "{tls}");
    }
}

#[cfg(unix)]
#[test]
fn tells_what_is_wrong_with_the_file_itself() {
    let folder = tempfile::tempdir().unwrap();
    let problem = |path: &Path| {
        let report = config::load(path, &Environment::default()).unwrap_err();
        assert_eq!(report.faults().len(), 1);
        let fault = &report.faults()[0];
        let Place::File { name, line } = &fault.place else { panic!("{report}") };
        assert_eq!(*name, path.display().to_string());
        (*line, fault.problem.clone())
    };
    let path = folder.path().join("config.yaml");
    assert_eq!(problem(&path), (None, "the file does not exist".to_owned()));
    assert_eq!(problem(folder.path()), (None, "is a directory, not a file".to_owned()));
    fs::write(&path, b"verkada:\n  # caf\xe9\n").unwrap();
    assert_eq!(problem(&path), (Some(2), "the file is not UTF-8".to_owned()));
    fs::write(&path, b"\xff\xfev\0").unwrap();
    assert_eq!(problem(&path), (Some(1), "the file is not UTF-8".to_owned()));
    fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
    assert_eq!(problem(&path), (None, "the file is larger than 1 MiB".to_owned()));

    secret_file(folder.path(), "config.yaml", LEAST, 0o644);
    let config = config::load(&path, &Environment::default()).unwrap();
    let name = path.display();
    assert_eq!(
        config.warnings,
        [format!("{name} holds a secret and can be read by other users; chmod 600 {name}")]
    );
    secret_file(folder.path(), "config.yaml", LEAST, 0o600);
    assert_eq!(config::load(&path, &Environment::default()).unwrap().warnings, Vec::<String>::new());
}

#[test]
fn finds_the_file_that_was_named() {
    let named = env(&[("VERKADA2MQTT_CONFIG", "/b.yaml")]);
    assert_eq!(config::find(Some(Path::new("/a.yaml")), &named), Ok("/a.yaml".into()));
    assert_eq!(config::find(None, &named), Ok("/b.yaml".into()));
    // Tests run in the package's folder, which holds no config.yaml.
    let report = config::find(None, &Environment::default()).unwrap_err();
    assert_eq!(
        report.faults()[0].problem,
        "there is no configuration file; looked for /etc/verkada2mqtt/config.yaml and ./config.yaml"
    );
}

/// The paths of all keys of a schema; sections end with a dot, and `*` stands for any id.
fn schema_keys(schema: &Value, path: &str, keys: &mut BTreeSet<String>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for (name, schema) in schema["properties"].as_object().unwrap() {
        assert!(schema["description"].as_str().is_some_and(|about| about.ends_with('.')), "{}", below(name));
        if schema["type"] == "object" {
            schema_keys(schema, &below(name), keys);
        } else {
            keys.insert(below(name));
        }
    }
    if schema["additionalProperties"].is_object() {
        schema_keys(&schema["additionalProperties"], &below("*"), keys);
    } else {
        assert_eq!(schema["additionalProperties"], false, "{path}");
    }
}

/// The paths of all keys of a file.
fn file_keys(value: &serde_yaml::Value, path: &str, keys: &mut BTreeSet<String>) {
    let Some(map) = value.as_mapping() else {
        keys.insert(path.to_owned());
        return;
    };
    for (key, value) in map {
        let key =
            if ["doors.settings", "commands.users"].contains(&path) { "*" } else { key.as_str().unwrap() };
        file_keys(value, &if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }, keys);
    }
}

/// The example with the keys behind `#` uncommented.
fn example_with_all_keys() -> String {
    let uncomment = |line: &str| {
        let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
        match rest.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c.is_ascii_alphanumeric()) => format!("{indent}{key}\n"),
            _ => format!("{line}\n"),
        }
    };
    example().lines().map(uncomment).collect()
}

#[test]
fn example_schema_and_loader_know_the_same_keys() {
    let (mut in_schema, mut in_example) = (BTreeSet::new(), BTreeSet::new());
    schema_keys(&config::schema(), "", &mut in_schema);
    file_keys(&serde_yaml::from_str(&example_with_all_keys()).unwrap(), "", &mut in_example);
    assert_eq!(in_schema, in_example);
    assert!(in_schema.len() > 40, "{in_schema:?}");

    let report = parse(&example_with_all_keys()).unwrap_err();
    let unknown: Vec<_> = report.faults().iter().filter(|fault| fault.problem.contains("unknown")).collect();
    assert!(unknown.is_empty(), "{report}");
}

/// The base of [`COSTS`], in which every key can be changed alone.
fn whole(folder: &Path) -> Value {
    let file = |name: &str| folder.join(name).display().to_string();
    json!({
        "verkada": { "region": "us", "api_key": "k", "ca_file": file("one.pem") },
        "mqtt": {
            "url": "mqtts://broker", "username": "u", "password": "p",
            "tls": { "ca_file": file("one.pem"), "cert_file": file("one.pem"), "key_file": file("one.key") },
        },
        "commands": { "code": "1234", "code_for": ["unlock"] },
        "doors": { "settings": { "a": {} } },
        "webhook": { "secret": "s", "previous_secret": "t" },
    })
}

/// What an owner edits, and the keys and costs that it is told by.
type Edit = (&'static [(&'static str, &'static str)], &'static [(&'static str, Cost)]);

#[rustfmt::skip]
const COSTS: &[Edit] = &[
    (&[("/verkada/region", r#""eu""#)], &[("verkada.region", Cost::Restart)]),
    (&[("/verkada/region", "null"), ("/verkada/base_url", r#""http://127.0.0.1:1""#)], &[("verkada.base_url", Cost::Restart)]),
    (&[("/verkada/api_key", r#""other""#)], &[("verkada.api_key", Cost::Token)]),
    (&[("/verkada/api_key_expires", r#""2030-01-01""#)], &[("verkada.api_key_expires", Cost::Nothing)]),
    (&[("/verkada/ca_file", r#""two.pem""#)], &[("verkada.ca_file", Cost::Session)]),
    (&[("/verkada/release_path", r#""deactivate""#)], &[("verkada.release_path", Cost::Session)]),
    (&[("/mqtt/url", r#""mqtts://other""#)], &[("mqtt.url", Cost::Restart)]),
    (&[("/mqtt/url", r#""mqtts://broker:9000""#)], &[("mqtt.url", Cost::Restart)]),
    (&[("/mqtt/protocol", r#""5""#)], &[("mqtt.protocol", Cost::Restart)]),
    (&[("/mqtt/client_id", r#""other""#)], &[("mqtt.client_id", Cost::Restart)]),
    (&[("/mqtt/username", r#""other""#)], &[("mqtt.username", Cost::NextConnection)]),
    (&[("/mqtt/password", r#""other""#)], &[("mqtt.password", Cost::NextConnection)]),
    (&[("/mqtt/tls/ca_file", r#""two.pem""#)], &[("mqtt.tls.ca_file", Cost::NextConnection)]),
    (
        &[("/mqtt/tls/cert_file", r#""two.pem""#), ("/mqtt/tls/key_file", r#""two.key""#)],
        &[("mqtt.tls.cert_file", Cost::NextConnection), ("mqtt.tls.key_file", Cost::NextConnection)],
    ),
    (&[("/mqtt/base_topic", r#""other""#)], &[("mqtt.base_topic", Cost::Restart)]),
    (&[("/mqtt/keep_alive", r#""20s""#)], &[("mqtt.keep_alive", Cost::Restart)]),
    (&[("/home_assistant/discovery", r#""off""#)], &[("home_assistant.discovery", Cost::Restart)]),
    (&[("/home_assistant/discovery_prefix", r#""ha""#)], &[("home_assistant.discovery_prefix", Cost::Restart)]),
    (&[("/home_assistant/birth_topic", r#""ha""#)], &[("home_assistant.birth_topic", Cost::Restart)]),
    (&[("/home_assistant/birth_payload", r#""here""#)], &[("home_assistant.birth_payload", Cost::Nothing)]),
    (&[("/home_assistant/stamp_commands", "false")], &[("home_assistant.stamp_commands", Cost::Nothing)]),
    (&[("/poll/doors", r#""1m""#)], &[("poll.doors", Cost::Nothing)]),
    (&[("/poll/scenarios", r#""1m""#)], &[("poll.scenarios", Cost::Nothing)]),
    (&[("/poll/events", r#""1m""#)], &[("poll.events", Cost::Nothing)]),
    (&[("/poll/calendars", r#""2m""#)], &[("poll.calendars", Cost::Nothing)]),
    (&[("/poll/access_levels", r#""2h""#)], &[("poll.access_levels", Cost::Restart)]),
    (&[("/commands/read_only", "true")], &[("commands.read_only", Cost::Restart)]),
    (&[("/commands/unlock", "false")], &[("commands.unlock", Cost::Nothing)]),
    (&[("/commands/activate", "false")], &[("commands.activate", Cost::Nothing)]),
    (&[("/commands/release", "false")], &[("commands.release", Cost::Nothing)]),
    (&[("/commands/hold", "true")], &[("commands.hold", Cost::Restart)]),
    (&[("/commands/max_age", r#""5s""#)], &[("commands.max_age", Cost::Nothing)]),
    (&[("/commands/during_lockdown", r#""code""#)], &[("commands.during_lockdown", Cost::Nothing)]),
    (&[("/commands/code", r#""4321""#)], &[("commands.code", Cost::Nothing)]),
    (
        &[("/commands/code", "null"), ("/commands/totp_secret", r#""JBSWY3DPEHPK3PXPJBSWY3DP""#)],
        &[("commands.code", Cost::Nothing), ("commands.totp_secret", Cost::Nothing)],
    ),
    (&[("/commands/code_for", r#"["unlock", "release"]"#)], &[("commands.code_for", Cost::Nothing)]),
    (&[("/commands/unlock_as", r#""allowed""#)], &[("commands.unlock_as", Cost::Nothing)]),
    (&[("/commands/users", r#"{"desk": {"user_id": "u-1"}}"#)], &[("commands.users", Cost::Nothing)]),
    (&[("/commands/restart", "true")], &[("commands.restart", Cost::Nothing)]),
    (&[("/holds/longest", r#""2h""#)], &[("holds.longest", Cost::Restart)]),
    (&[("/holds/usual", r#""2m""#)], &[("holds.usual", Cost::Restart)]),
    (&[("/holds/start", r#""next_minute""#)], &[("holds.start", Cost::Nothing)]),
    (&[("/calendars/show", "true")], &[("calendars.show", Cost::Restart)]),
    (&[("/calendars/allow", r#"["c"]"#)], &[("calendars.allow", Cost::Restart)]),
    (&[("/doors/include", r#"["a"]"#)], &[("doors.include", Cost::Restart)]),
    (&[("/doors/exclude", r#"["b"]"#)], &[("doors.exclude", Cost::Restart)]),
    (&[("/doors/assume_locked", "true")], &[("doors.assume_locked", Cost::Restart)]),
    (&[("/doors/ignore_dpi_relock", "false")], &[("doors.ignore_dpi_relock", Cost::Restart)]),
    (&[("/doors/open_unproven_after", r#""1m""#)], &[("doors.open_unproven_after", Cost::Restart)]),
    (&[("/doors/settings/a/name", r#""A""#)], &[("doors.settings.a.name", Cost::Nothing)]),
    (&[("/doors/settings/a/unlock", "false")], &[("doors.settings.a.unlock", Cost::Nothing)]),
    (&[("/doors/settings/a/hold", "true")], &[("doors.settings.a.hold", Cost::Restart)]),
    (&[("/doors/settings/a/code", "false")], &[("doors.settings.a.code", Cost::Nothing)]),
    (&[("/doors/settings/a/assume_locked", "true")], &[("doors.settings.a.assume_locked", Cost::Restart)]),
    (&[("/doors/settings/a/ignore_dpi_relock", "false")], &[("doors.settings.a.ignore_dpi_relock", Cost::Restart)]),
    (&[("/doors/settings/b", r#"{"name": "B"}"#)], &[("doors.settings.b.name", Cost::Nothing)]),
    (&[("/scenarios/include", r#"["a"]"#)], &[("scenarios.include", Cost::Restart)]),
    (&[("/scenarios/exclude", r#"["b"]"#)], &[("scenarios.exclude", Cost::Restart)]),
    (&[("/events/privacy", r#""full""#)], &[("events.privacy", Cost::Restart)]),
    (&[("/webhook/path", r#""/other""#)], &[("webhook.path", Cost::Restart)]),
    (&[("/webhook/secret", r#""n""#)], &[("webhook.secret", Cost::Nothing)]),
    (&[("/webhook/previous_secret", r#""n""#)], &[("webhook.previous_secret", Cost::Nothing)]),
    (&[("/webhook", "{}")], &[("webhook.secret", Cost::Restart), ("webhook.previous_secret", Cost::Restart)]),
    (&[("/webhook/organization_id", r#""o""#)], &[("webhook.organization_id", Cost::Restart)]),
    (&[("/http/listen", r#""127.0.0.1:1""#)], &[("http.listen", Cost::Restart)]),
    (&[("/state_dir", r#""/elsewhere""#)], &[("state_dir", Cost::NextStart)]),
    (&[("/journal/keep", r#""9d""#)], &[("journal.keep", Cost::Restart)]),
    (&[("/log/level", r#""trace""#)], &[("log.level", Cost::Nothing)]),
    (&[("/log/format", r#""json""#)], &[("log.format", Cost::NextStart)]),
];

/// Sets a key by its path, or takes it out where the value is null, with the sections that it needs; paths of files are of this folder.
fn set(config: &mut Value, path: &str, json: &str, folder: &Path) {
    let (parent, last) = path.rsplit_once('/').unwrap();
    if !parent.is_empty() && config.pointer(parent).is_none() {
        set(config, parent, "{}", folder);
    }
    if json == "null" {
        config.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(last);
        return;
    }
    let mut value: Value = serde_json::from_str(json).unwrap();
    if last.ends_with("_file") {
        value = folder.join(value.as_str().unwrap()).display().to_string().into();
    }
    config.pointer_mut(parent).unwrap()[last] = value;
}

#[cfg(unix)]
#[test]
fn every_key_says_what_its_change_costs() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        let own = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        secret_file(folder.path(), &format!("{name}.pem"), &own.cert.pem(), 0o644);
        secret_file(folder.path(), &format!("{name}.key"), &own.signing_key.serialize_pem(), 0o600);
    }
    let load = |config: &Value| parse(&config.to_string()).unwrap_or_else(|report| panic!("{report}"));
    let base = whole(folder.path());
    let old = load(&base);
    assert_eq!(config::changes(&old, &load(&base)), []);
    let mut covered = BTreeSet::new();
    for (edits, expected) in COSTS {
        let mut edited = base.clone();
        for (path, json) in *edits {
            set(&mut edited, path, json, folder.path());
        }
        let there = load(&edited);
        for (from, to) in [(&old, &there), (&there, &old)] {
            let found = config::changes(from, to);
            let found: Vec<_> = found.iter().map(|change| (change.key.as_str(), change.cost)).collect();
            let back = found.first().is_some_and(|(key, _)| *key == "verkada.region") && edits.len() == 2;
            assert!(back || found == *expected, "{edits:?}: {found:?}");
        }
        covered.extend(expected.iter().map(|(key, _)| key.replace(".a.", ".*.").replace(".b.", ".*.")));
    }
    let mut keys = BTreeSet::new();
    schema_keys(&config::schema(), "", &mut keys);
    let file_of_another = |key: &String| key.strip_suffix("_file").is_some_and(|key| covered.contains(key));
    keys.retain(|key| !file_of_another(key) && !key.starts_with("commands.users."));
    covered.remove("commands.users");
    assert_eq!(keys, covered);
}

/// The documents list each key by what its change costs, but for those that need a new start.
#[test]
fn the_readme_tells_what_a_change_of_each_key_costs() {
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/command-line.md")).unwrap();
    let mut known: BTreeMap<String, Cost> = BTreeMap::new();
    for (key, cost) in COSTS.iter().flat_map(|(_, expected)| *expected) {
        let key = key.replace(".a.", ".<id>.").replace(".b.", ".<id>.");
        known.entry(key).and_modify(|least| *least = (*cost).min(*least)).or_insert(*cost);
    }
    for cost in [Cost::Nothing, Cost::NextConnection, Cost::Token, Cost::Session, Cost::NextStart] {
        let row = format!(" | {} |", cost.words());
        let row = readme.lines().find(|line| line.ends_with(&row)).unwrap_or_else(|| panic!("no row:{row}"));
        let told: BTreeSet<&str> = row.split('`').skip(1).step_by(2).collect();
        let keys: BTreeSet<&str> =
            known.iter().filter(|(_, known)| **known == cost).map(|(key, _)| key.as_str()).collect();
        assert_eq!(told, keys, "{cost:?}");
    }
    assert!(readme.contains(&format!("| all others | {} |", Cost::Restart.words())));
}

#[test]
fn the_example_is_nothing_but_defaults() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("verkada-api-key"), "test-key").unwrap();
    let env = env(&[("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())]);
    let example = config::parse(&example(), "config.example.yaml", &env).unwrap();
    let least = config::parse("mqtt: {url: mqtt://127.0.0.1}", "config.yaml", &env).unwrap();
    assert_eq!(format!("{example:#?}"), format!("{least:#?}"));
    assert_eq!(example.warnings, Vec::<String>::new());
}

#[test]
fn the_example_says_how_to_give_the_key() {
    let report = config::parse(&example(), "config.example.yaml", &Environment::default()).unwrap_err();
    assert_eq!(report.faults().len(), 1, "{report}");
    assert_eq!(report.faults()[0].key, "verkada.api_key");
    assert!(
        report.faults()[0].cure.as_deref().is_some_and(|cure| cure.contains("verkada.api_key_file")),
        "{report}"
    );
}

/// An editor must not find fault with what the loader takes.
#[test]
fn the_schema_allows_each_unit_of_its_own_durations() {
    fn look(schema: &Value, seen: &mut usize) {
        for schema in schema["properties"].as_object().unwrap().values() {
            if schema["type"] == "object" {
                look(schema, seen);
            }
            let Some((_, units)) = schema["pattern"].as_str().and_then(|text| text.split_once("(ms|")) else {
                continue;
            };
            let units: Vec<&str> = units.trim_end_matches([')', '$']).split('|').chain(["ms"]).collect();
            let bounds = schema["examples"].as_array().unwrap();
            for text in bounds.iter().chain(schema.get("default")).filter_map(Value::as_str) {
                let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
                assert!(text == "off" || units.contains(&unit), "{text} does not fit {units:?}");
                *seen += 1;
            }
        }
    }
    let mut seen = 0;
    look(&config::schema(), &mut seen);
    assert!(seen > 20, "{seen}");
}

#[test]
fn every_default_of_the_schema_is_taken_by_the_loader() {
    fn defaults(schema: &Value) -> Value {
        let properties = schema["properties"].as_object().unwrap().iter();
        let value = |schema: &Value| match (&schema["type"], &schema["default"]) {
            (kind, Value::Null) if kind == "object" => Some(defaults(schema)),
            (_, Value::Null) => None,
            (_, default) => Some(default.clone()),
        };
        properties.filter_map(|(name, schema)| Some((name.clone(), value(schema)?))).collect()
    }
    let mut file = defaults(&config::schema());
    file["verkada"]["api_key"] = "test-key".into();
    file["mqtt"]["url"] = "mqtt://localhost".into();
    let from_schema = parse(&file.to_string()).unwrap();
    assert_eq!(format!("{from_schema:#?}"), format!("{:#?}", parse(LEAST).unwrap()));
}

#[test]
fn a_large_faulty_file_is_told_in_time() {
    let text = (0..9_990).map(|index| format!("k{index}: x")).collect::<Vec<_>>().join("\n");
    let started = verkada2mqtt::clock::now().mono;
    let report = parse(&text).unwrap_err();
    assert_eq!(report.faults().len() + report.untold(), 9_992);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

const YAML_WORDS: [&str; 47] = [
    "verkada",
    "mqtt",
    "tls",
    "doors",
    "settings",
    "include",
    "api_key",
    "api_key_file",
    "url",
    "poll",
    "log",
    "level",
    ": ",
    ":\n  ",
    "\n",
    "\n  ",
    "\n    ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "\"",
    "'",
    "|\n",
    ">\n",
    "&a ",
    "*a",
    "!t ",
    "!!int ",
    "<<",
    "? ",
    "#",
    "~",
    "---\n",
    "\t",
    "5m",
    "mqtt://u:p@h",
    "true",
    "1e5",
    "0x1",
    "%",
    "@",
    "\u{feff}",
    "\0",
    "ü",
];

/// Text that looks much like a configuration.
fn yaml_like() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&YAML_WORDS[..]), 0..40).prop_map(|words| words.concat())
}

/// Keys under which somebody may write a secret.
const SECRET_KEYS: [&str; 5] =
    ["verkada.api_key", "verkada.api_key_file", "mqtt.password", "mqtt.url", "webhook.secret"];

/// Right and wrong ways to write it; `@` is the secret.
const SHAPES: [&str; 8] =
    ["@", "[@]", "{@: 1}", "!x @", "!!int @", "!!bool @", "\"@ \\n@\"", "|\n    @\n    @"];

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in prop_oneof![any::<String>(), yaml_like()]) {
        if let Err(report) = parse(&text) {
            prop_assert!(!report.faults().is_empty());
            prop_assert!(report.to_string().starts_with("the configuration has "));
        }
    }

    #[test]
    fn a_secret_is_never_told(
        key in prop::sample::select(&SECRET_KEYS[..]),
        shape in prop::sample::select(&SHAPES[..]),
    ) {
        let (section, name) = key.split_once('.').unwrap();
        let secret = if key == "mqtt.url" { "mqtt:/u:hunter2@h" } else { "hunter2" };
        let text = format!("{section}:\n  {name}: {}\n", shape.replace('@', secret));
        if let Err(report) = parse(&text) {
            prop_assert!(!format!("{report} {report:?}").contains("hunter2"), "{text}\n{report}");
        }
    }

    #[test]
    fn durations_are_written_as_they_are_read(millis in 1_u64..10_000_000_000) {
        let duration = Duration::from_millis(millis);
        prop_assert_eq!(config::duration::parse(&config::duration::format(duration)), Ok(duration));
    }
}
