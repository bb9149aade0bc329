//! The program with wrong configurations: each ends it at once, with the code for that, and says where and what to do.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use verkada2mqtt::clock;

use crate::{files_in, secret_file};

/// What must not be told of any of them.
const SECRET: &str = "s3cr3t-canary";
/// How long the program may take to say what is wrong.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Prepares `config.yaml` and what it names in a folder.
type Prepare = fn(&Path);

/// A file that is right but for what `lines` say.
fn with(folder: &Path, lines: &str) {
    let folder_name = folder.display().to_string();
    let text = format!("verkada: {{api_key: {SECRET}}}\nmqtt:\n  url: mqtts://localhost\n{lines}\n");
    write(folder, text.replace("FOLDER", &folder_name));
}

fn write(folder: &Path, content: impl AsRef<[u8]>) {
    fs::write(folder.join("config.yaml"), content).unwrap();
}

fn certificate(folder: &Path, name: &str) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    secret_file(folder, &format!("{name}.crt"), &made.cert.pem(), 0o644);
    secret_file(folder, &format!("{name}.key"), &made.signing_key.serialize_pem(), 0o600);
}

fn key_file(folder: &Path, line: &str) {
    let line = line.replace("FOLDER", &folder.display().to_string());
    write(folder, format!("verkada:\n  {line}\nmqtt: {{url: mqtts://localhost}}\n"));
}

/// A file that grows to a thousand million elements if its aliases are followed.
fn laughs(folder: &Path) {
    let level = |level: usize| {
        let item = if level == 0 { "ha".to_owned() } else { format!("*a{}", level - 1) };
        format!("a{level}: &a{level} [{}]\n", vec![item; 10].join(", "))
    };
    write(folder, (0..9).map(level).collect::<String>());
}

/// What it is, how it is made, where it is told (a line, `:` for none, and the key), what is said of it, and the cure.
const CASES: [(&str, Prepare, &str, &str, &str); 41] = [
    (
        "unknown key",
        |f| with(f, "poll: {secenarios: 5s}"),
        ":4: poll.secenarios",
        "did you mean scenarios?",
        "allowed:",
    ),
    ("unknown section", |f| with(f, "pol: {}"), ":4: pol", "did you mean poll?", "allowed:"),
    (
        "wrong type",
        |f| with(f, "commands: {unlock: yess}"),
        ":4: commands.unlock",
        "wrong type",
        "true or false",
    ),
    (
        "a list in place of a text",
        |f| with(f, "  client_id: [a]"),
        ":4: mqtt.client_id",
        "wrong type",
        "allowed:",
    ),
    ("out of range", |f| with(f, "poll: {doors: 1s}"), ":4: poll.doors", "out of range", "from 30s to 24h"),
    (
        "duration without a unit",
        |f| with(f, "poll: {doors: 300}"),
        ":4: poll.doors",
        "needs a unit",
        "write 300s",
    ),
    (
        "unknown unit",
        |f| with(f, "poll: {doors: 5 min}"),
        ":4: poll.doors",
        "\"min\" is not known",
        "ms, s, m, h or d",
    ),
    ("empty value", |f| with(f, "log: {level: }"), ":4: log.level", "is empty", "write a value"),
    (
        "unknown word",
        |f| with(f, "log: {level: loud}"),
        ":4: log.level",
        "loud",
        "error, warn, info, debug, trace",
    ),
    (
        "secret twice",
        |f| with(f, "  username: u\n  password: p\n  password_file: /p"),
        ":6: mqtt.password_file",
        "both given",
        "remove password",
    ),
    (
        "missing secret file",
        |f| key_file(f, "api_key_file: FOLDER/nowhere"),
        ":2: verkada.api_key_file",
        "does not exist",
        "make it, or name another",
    ),
    (
        "secret that others may read",
        |f| {
            secret_file(f, "key", SECRET, 0o644);
            key_file(f, "api_key_file: FOLDER/key");
        },
        ":2: verkada.api_key_file",
        "mode 0644",
        "chmod 600",
    ),
    (
        "secret file that is a folder",
        |f| key_file(f, "api_key_file: FOLDER"),
        ":2: verkada.api_key_file",
        "is a directory",
        "name a file in it",
    ),
    (
        "link that leads nowhere",
        |f| {
            symlink("nowhere", f.join("key")).unwrap();
            key_file(f, "api_key_file: FOLDER/key");
        },
        ":2: verkada.api_key_file",
        "the link points to a file that does not exist",
        "ls -l",
    ),
    (
        "empty secret file",
        |f| {
            secret_file(f, "key", "", 0o600);
            key_file(f, "api_key_file: FOLDER/key");
        },
        ":2: verkada.api_key_file",
        "the file is empty",
        "allowed:",
    ),
    (
        "secret in place of its file",
        |f| key_file(f, "api_key_file: s3cr3t-canary"),
        ":2: verkada.api_key_file",
        "",
        "absolute path",
    ),
    (
        "old kind of key",
        |f| key_file(f, "api_key: vkd_api_s3cr3t-canary"),
        ":2: verkada.api_key",
        "old kind",
        "make a new",
    ),
    (
        "no key at all",
        |f| write(f, "mqtt: {url: mqtts://localhost}\n"),
        ": verkada.api_key",
        "is missing",
        "api_key_file",
    ),
    (
        "no URL",
        |f| key_file(f, "api_key: s3cr3t-canary\n  base_url: nonsense"),
        ":3: verkada.base_url",
        "not a URL",
        "an https URL",
    ),
    (
        "http to another host",
        |f| key_file(f, "api_key: s3cr3t-canary\n  base_url: http://api.verkada.com"),
        ":3: verkada.base_url",
        "unencrypted",
        "write https://",
    ),
    (
        "password in the URL",
        |f| write(f, "verkada: {api_key: k}\nmqtt:\n  url: mqtts://u:s3cr3t-canary@broker\n"),
        ":3: mqtt.url",
        "",
        "username",
    ),
    (
        "unknown scheme",
        |f| write(f, "verkada: {api_key: k}\nmqtt:\n  url: tcp://broker\n"),
        ":3: mqtt.url",
        "does not begin with",
        "mqtts://broker",
    ),
    (
        "port 0",
        |f| write(f, "verkada: {api_key: k}\nmqtt:\n  url: mqtts://broker:0\n"),
        ":3: mqtt.url",
        "port 0",
        "host and, if needed, port",
    ),
    (
        "wildcard in a topic",
        |f| with(f, "  base_topic: a/+/b"),
        ":4: mqtt.base_topic",
        "wildcard",
        "without \"+\"",
    ),
    (
        "line break in a topic",
        |f| with(f, "  base_topic: \"a\\nb\\e[31m\""),
        ":4: mqtt.base_topic",
        "",
        "allowed:",
    ),
    (
        "impossible id",
        |f| with(f, "doors: {include: [../d]}"),
        ":4: doors.include[0]",
        "an id holds '.'",
        "letters, digits and hyphens",
    ),
    (
        "in and out",
        |f| with(f, "doors:\n  include: [d]\n  exclude: [d]"),
        ":6: doors.exclude",
        "also in doors.include",
        "remove it from one",
    ),
    (
        "key twice",
        |f| with(f, "poll: {doors: 5m, doors: 6m}"),
        ":4: poll.doors",
        "occurs twice",
        "remove one",
    ),
    (
        "no CA",
        |f| {
            fs::write(f.join("ca.pem"), "s3cr3t-canary").unwrap();
            with(f, "  tls: {ca_file: FOLDER/ca.pem}");
        },
        ":4: mqtt.tls.ca_file",
        "no certificate",
        "BEGIN CERTIFICATE",
    ),
    (
        "another key",
        |f| {
            certificate(f, "own");
            certificate(f, "other");
            with(f, "  tls: {cert_file: FOLDER/own.crt, key_file: FOLDER/other.key}");
        },
        ":4: mqtt.tls.cert_file",
        "does not belong to the key",
        "made for this certificate",
    ),
    (
        "certificate without key",
        |f| {
            certificate(f, "own");
            with(f, "  tls: {cert_file: FOLDER/own.crt}");
        },
        ":4: mqtt.tls.cert_file",
        "without key_file",
        "key_file",
    ),
    (
        "certificates without TLS",
        |f| {
            certificate(f, "own");
            let text = format!(
                "verkada: {{api_key: k}}\nmqtt:\n  url: mqtt://localhost\n  tls: {{ca_file: {}/own.crt}}\n",
                f.display()
            );
            write(f, text);
        },
        ":4: mqtt.tls",
        "not encrypted",
        "mqtts",
    ),
    ("not UTF-8", |f| write(f, b"verkada:\n  api_key: caf\xe9\n"), ":2:", "not UTF-8", "save it as UTF-8"),
    ("UTF-16", |f| write(f, b"\xff\xfev\0e\0r\0"), ":1:", "not UTF-8", "save it as UTF-8"),
    ("tab", |f| write(f, "verkada:\n\tapi_key: k\n"), ":2:", "indented with a tab", "indent with blanks"),
    ("nothing in it", |f| write(f, ""), ":", "the file is empty", "config.example.yaml"),
    (
        "100 MB",
        |f| fs::File::create(f.join("config.yaml")).unwrap().set_len(100_000_000).unwrap(),
        ":",
        "larger than 1 MiB",
        "the file that is meant",
    ),
    (
        "two documents",
        |f| with(f, "---\npoll: {doors: 5m}"),
        ":4:",
        "more than one YAML document",
        "remove the line",
    ),
    ("aliases that explode", laughs, ":", "more than 10000", "write aliases (*) out"),
    ("an anchor in itself", |f| with(f, "doors: &d {include: *d}"), ":", "", "cure:"),
    (
        "too deep",
        |f| with(f, &format!("poll: {}{}", "[".repeat(3000), "]".repeat(3000))),
        ":",
        "nested too deep",
        "config.example.yaml",
    ),
];

/// Runs the program to its end; gives its code, what it wrote, and how long it took.
fn run(file: &Path) -> (Option<i32>, String, Duration) {
    let begun = clock::now().mono;
    let mut command = Command::new(env!("CARGO_BIN_EXE_verkada2mqtt"));
    let ended =
        command.arg("run").arg("--config").arg(file).env_clear().stdin(Stdio::null()).output().unwrap();
    let text = [ended.stdout, ended.stderr].concat();
    (ended.status.code(), String::from_utf8(text).unwrap(), begun.elapsed())
}

/// What it says. It is run once or twice more if a busy machine held it up.
fn refused(file: &Path, what: &str) -> String {
    let once = || {
        let (code, text, took) = run(file);
        assert_eq!(code, Some(78), "{what}: {text}");
        assert!(!text.contains(SECRET) && !text.contains("s3cr3t"), "{what}: {text}");
        let strange = |c: char| c.is_control() && c != '\n';
        assert!(!text.contains(strange), "{what}: {text:?}");
        (took, text)
    };
    let mut fastest = once();
    for _ in 0..2 {
        if fastest.0 > AT_ONCE {
            fastest = fastest.min(once());
        }
    }
    assert!(fastest.0 <= AT_ONCE, "{what}: it took {:?}", fastest.0);
    fastest.1
}

#[test]
fn each_kind_of_wrong_configuration_ends_the_program_with_place_and_cure() {
    let mut wrong = Vec::new();
    for (what, prepare, place, problem, cure) in CASES {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let file = folder.path().join("config.yaml");
        let text = refused(&file, what);
        let told = text.contains(&format!("{}{place}", file.display()));
        if !(told && text.contains(problem) && text.contains(cure)) {
            wrong.push(format!("{what}: wanted {place:?}, {problem:?} and {cure:?}\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_configuration_that_is_no_file_ends_the_program_too() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link.yaml");
    symlink("nowhere", &link).unwrap();
    let pipe = folder.path().join("pipe.yaml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (file, problem) in [
        (folder.path().to_owned(), "is a directory, not a file"),
        (folder.path().join("nowhere.yaml"), "the file does not exist"),
        (link, "the link points to a file that does not exist"),
        (pipe, "is not a regular file"),
    ] {
        let text = refused(&file, problem);
        assert!(text.contains(&format!("{}: {problem}\n    cure:", file.display())), "{text}");
    }
}

#[test]
fn every_invalid_file_ends_the_program() {
    for file in files_in("invalid") {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = refused(&file, &name);
        assert!(text.contains("allowed:") || text.contains("cure:"), "{name}: {text}");
    }
}
