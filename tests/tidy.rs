//! What the compiler does not enforce: the pure modules stay pure, and dependencies point one way.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The modules that know no clock, network, file, task or chance.
const PURE: [&str; 4] = ["src/model", "src/hass", "src/bridge", "src/rng.rs"];
/// What they must not name.
const IMPURE: [&str; 17] = [
    "tokio",
    "reqwest",
    "rumqttc",
    "axum",
    "crate::clock",
    "std::net",
    "std::fs",
    "std::io",
    "std::env",
    "std::thread",
    "std::process",
    "std::sync::mpsc",
    "std::time::SystemTime",
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
];
/// Who must not know whom: dependencies point from the shell to the core and from the core to the model.
const ONE_WAY: [(&str, &[&str]); 8] = [
    ("src/model", &["hass", "bridge", "mqtt", "verkada", "simulator", "demo", "config", "app"]),
    ("src/hass", &["bridge", "mqtt", "verkada", "simulator", "demo", "config", "app"]),
    ("src/bridge", &["mqtt", "verkada", "simulator", "demo", "config", "app"]),
    ("src/mqtt", &["bridge", "verkada", "simulator", "demo", "config", "app"]),
    ("src/verkada", &["bridge", "mqtt", "simulator", "demo", "config", "app"]),
    ("src/journal", &["hass", "bridge", "mqtt", "verkada", "simulator", "demo", "config", "app"]),
    ("src/simulator", &["bridge", "mqtt", "demo", "app"]),
    ("src/demo/broker", &["bridge", "app"]),
];

/// The code of a file: without comments, without its tests at the end, and with imports written out in full.
fn code(text: &str) -> String {
    let code = text.find("#[cfg(test)]").map_or(text, |end| text.split_at(end).0);
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    let text = lines.collect::<Vec<_>>().join("\n");
    text + "\n" + &imports(code).join("\n")
}

/// Every import, nested ones written out in full.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for statement in code.split("use ").skip(1) {
        let statement = statement.split(';').next().unwrap_or_default();
        let flat: String = statement.chars().filter(|c| !c.is_whitespace()).collect();
        spread("", &flat, &mut found);
    }
    found
}

fn spread(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let Some((head, rest)) = tree.split_once('{') else {
        found.push(format!("{prefix}{tree}"));
        return;
    };
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let (mut depth, mut start) = (0_u32, 0);
    let prefix = format!("{prefix}{head}");
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                spread(&prefix, inner.get(start..at).unwrap_or_default(), found);
                start = at + 1;
            }
            _ => {}
        }
    }
    spread(&prefix, inner.get(start..).unwrap_or_default(), found);
}

/// Whether code names a path: not as a part of a longer word.
fn names(code: &str, path: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(path).any(|(at, _)| {
        let before = code.get(..at).and_then(|text| text.chars().next_back());
        let after = code.get(at + path.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(word) && !after.is_some_and(word)
    })
}

fn impurities(text: &str) -> Vec<&'static str> {
    let code = code(text);
    IMPURE.into_iter().filter(|path| names(&code, path)).collect()
}

fn strangers<'a>(text: &str, forbidden: &[&'a str]) -> Vec<&'a str> {
    let code = code(text);
    let named = |module: &&str| {
        ["crate", "verkada2mqtt"].iter().any(|root| names(&code, &format!("{root}::{module}")))
    };
    forbidden.iter().copied().filter(named).collect()
}

fn files(under: &Path, found: &mut Vec<PathBuf>) {
    if under.is_file() {
        found.push(under.to_owned());
        return;
    }
    let Ok(entries) = fs::read_dir(under) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !["target", ".git"].contains(&name) {
            files(&path, found);
        }
    }
}

fn sources(under: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    files(&root.join(under), &mut found);
    // A module that is all tests may use what the code may not.
    let is_code =
        |path: &PathBuf| path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs");
    let rust = found.into_iter().filter(is_code);
    rust.map(|path| (path.strip_prefix(root).unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect()
}

#[test]
fn the_pure_modules_know_no_clock_network_file_or_task() {
    for under in PURE {
        let sources = sources(under);
        assert!(!sources.is_empty(), "{under} is empty");
        for (path, text) in sources {
            assert_eq!(impurities(&text), Vec::<&str>::new(), "{}", path.display());
        }
    }
}

#[test]
fn dependencies_point_one_way() {
    for (under, forbidden) in ONE_WAY {
        let sources = sources(under);
        assert!(!sources.is_empty(), "{under} is empty");
        for (path, text) in sources {
            assert_eq!(strangers(&text, forbidden), Vec::<&str>::new(), "{}", path.display());
        }
    }
}

#[test]
fn no_file_names_the_folder_it_was_written_in() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // A folder right below the root, as containers have it, may be named by chance.
    if root.components().count() < 3 {
        return;
    }
    let mut found = Vec::new();
    files(root, &mut found);
    for path in found {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let named = text.lines().find(|line| names_place(line, env!("CARGO_MANIFEST_DIR")));
        assert_eq!(named, None, "{}", path.display());
    }
}

/// Whether a line names a folder at the root, not one of the same name below another.
fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || "._-}".contains(c))
    })
}

#[test]
fn a_planted_fault_is_found() {
    for (planted, found) in [
        ("use tokio::time::sleep;", "tokio"),
        ("use std::{collections::BTreeMap, net::{IpAddr, SocketAddr}};", "std::net"),
        ("use std::{\n    fs,\n    time::Duration,\n};", "std::fs"),
        ("use crate::{\n    clock,\n    model::Now,\n};", "crate::clock"),
        ("fn now() -> Instant { Instant::now() }", "Instant::now"),
        ("fn f() { let x = std::env::var(\"X\"); }", "std::env"),
        ("use jiff::Timestamp;\nfn f() { Timestamp::now(); }", "Timestamp::now"),
    ] {
        assert_eq!(impurities(planted), [found], "{planted}");
    }
    for harmless in [
        "// tokio would be wrong here",
        "/// Unlike `std::net`.",
        "fn tokio_like() {}",
        "use std::time::Instant;",
        "#[cfg(test)]\nmod tests { fn f() { Instant::now(); } }",
    ] {
        assert_eq!(impurities(harmless), Vec::<&str>::new(), "{harmless}");
    }
    assert_eq!(strangers("use crate::{model::Now, bridge::Input};", &["bridge", "demo"]), ["bridge"]);
    assert_eq!(strangers("fn f() { crate::demo::run() }", &["bridge", "demo"]), ["demo"]);
    assert_eq!(strangers("use verkada2mqtt::app;", &["app"]), ["app"]);
    assert_eq!(strangers("use crate::{hass::discovery, bridges::x};", &["bridge"]), Vec::<&str>::new());
    assert!(names_place("see /srv/me/gateway/x", "/srv/me/gateway"));
    assert!(!names_place("https://example.org/srv/me/gateway", "/srv/me/gateway"));
}

#[test]
fn a_planted_defect_breaks_each_invariant() {
    let faults = project("docs/faults.md");
    let (_, rows) = faults.split_once("\n## Invariants\n").unwrap();
    let names = rows.lines().filter_map(|line| line.strip_prefix("| I-")?.split(" | ").next());
    let numbers: Vec<&str> = names.flat_map(|names| names.split(", I-")).collect();
    assert_eq!(numbers.len(), 31, "the table was not read");
    let mut patches = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/defects"), &mut patches);
    for number in numbers {
        let prefix = format!("I-{number}-");
        let breaks = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(&prefix);
        assert!(patches.iter().any(breaks), "no patch in tests/defects breaks I-{number}");
    }
}

/// A file of the project.
fn project(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// What is wrong with the image that a Dockerfile makes.
fn image_faults(dockerfile: &str) -> Vec<String> {
    let code: Vec<&str> = dockerfile.lines().filter(|line| !line.starts_with('#')).collect();
    let mut faults = Vec::new();
    let bases = code.iter().filter_map(|line| line.strip_prefix("FROM "));
    for base in bases.filter_map(|base| base.split_whitespace().next()).filter(|base| *base != "scratch") {
        let tag = base.rsplit_once(':').map_or("", |(_, tag)| tag);
        if tag.split(['.', '-']).filter(|part| part.bytes().any(|byte| byte.is_ascii_digit())).count() < 3 {
            faults.push(format!("the base {base} is not of one version"));
        }
    }
    let last = code.iter().rposition(|line| line.starts_with("FROM ")).unwrap_or_default();
    let image: Vec<_> = code.iter().skip(last).filter_map(|line| line.split_once(' ')).collect();
    let all = |name: &str| -> Vec<&str> {
        image.iter().filter(|(word, _)| *word == name).map(|(_, rest)| *rest).collect()
    };
    if all("FROM") != ["scratch"] {
        faults.push("the image is not made from nothing".to_owned());
    }
    for (name, what) in
        [("RUN", "runs a command"), ("ADD", "adds what is not named"), ("EXPOSE", "opens a port")]
    {
        if !all(name).is_empty() {
            faults.push(format!("the image {what}"));
        }
    }
    let is_number = |id: &str| id.parse::<u32>().is_ok_and(|id| id > 0);
    let users = all("USER");
    if !users.last().is_some_and(|user| user.split(':').count() == 2 && user.split(':').all(is_number)) {
        faults.push(format!("the user is not a number: {users:?}"));
    }
    let check =
        all("HEALTHCHECK").into_iter().filter_map(|check| Some(check.split_once("CMD ")?.1)).collect();
    for (name, values) in [("ENTRYPOINT", all("ENTRYPOINT")), ("CMD", all("CMD")), ("HEALTHCHECK", check)] {
        if !matches!(&values[..], [one] if one.starts_with('[')) {
            faults.push(format!("{name} is not a list of words, for which no shell is needed"));
        }
    }
    faults
}

#[test]
fn the_image_is_one_program_of_nobody_from_nothing() {
    let shipped = project("Dockerfile");
    assert_eq!(image_faults(&shipped), Vec::<String>::new());
    for (shipped_line, planted) in [
        ("FROM rust:1.95.0-alpine3.22", "FROM rust:latest"),
        ("FROM rust:1.95.0-alpine3.22", "FROM rust:1-alpine"),
        ("FROM scratch", "FROM alpine:3.22.1"),
        ("USER 65532:65532", "USER nobody"),
        ("USER 65532:65532", "USER 0:0"),
        ("USER 65532:65532", "#"),
        ("USER 65532:65532", "USER 65532:65532\nRUN chmod 777 /"),
        ("ENTRYPOINT [\"/verkada2mqtt\"]", "ENTRYPOINT /verkada2mqtt"),
        ("CMD [\"/verkada2mqtt\", \"healthcheck\"]", "CMD wget localhost"),
    ] {
        let text = shipped.replacen(shipped_line, planted, 1);
        assert_ne!(text, shipped, "{shipped_line}");
        assert_eq!(image_faults(&text).len(), 1, "{planted}: {:?}", image_faults(&text));
    }
    for told in [shipped, project("docs/set-up.md")] {
        for flag in [
            "--read-only",
            "--cap-drop ALL",
            "--security-opt no-new-privileges",
            "--memory ",
            "--pids-limit ",
        ] {
            assert!(told.contains(flag), "nobody is told of {flag}");
        }
    }
}

#[test]
fn the_documents_paste_the_shipped_access_list() {
    assert!(project("docs/set-up.md").contains(project("examples/mosquitto/acl").trim()));
}

#[test]
fn the_documents_tell_every_outcome_and_command() {
    let (results, commands) = (project("docs/results.md"), project("docs/command-line.md"));
    for outcome in ["accepted", "done", "failed", "refused", "expired", "merged", "unknown"] {
        assert!(results.contains(&format!("**{outcome}**")), "{outcome}");
    }
    for command in
        ["run", "demo", "check", "simulate", "schema", "healthcheck", "audit", "doors", "unlock", "man"]
    {
        assert!(commands.contains(&format!("verkada2mqtt {command}")), "{command}");
    }
}

#[test]
fn every_crate_has_its_reason() {
    let (manifest, reasons) = (project("Cargo.toml"), project("docs/dependencies.md"));
    let sections = manifest
        .split("\n[")
        .filter(|section| section.starts_with("dependencies]") || section.starts_with("dev-dependencies]"));
    let crates = sections.flat_map(|section| section.lines().filter_map(|line| line.split_once(" = ")));
    let mut count = 0;
    for (name, rest) in crates {
        count += 1;
        let package = rest.split("package = \"").nth(1).and_then(|rest| rest.split('"').next());
        let name = package.unwrap_or(name);
        assert!(
            reasons.contains(&format!("`{name}`")),
            "docs/dependencies.md does not say why {name} is here"
        );
    }
    assert!(count > 20, "the manifest was not read");
}

/// The tests that a text names as `` `file::test` ``.
fn tests_named(text: &str) -> Vec<(&str, &str)> {
    let codes = text.split('`').skip(1).step_by(2);
    codes
        .filter_map(|code| code.split_once(".rs::"))
        .filter(|(file, _)| ["src/", "tests/", "benches/"].iter().any(|root| file.starts_with(root)))
        .collect()
}

/// Whether a file has a test of this name: a function right below its attributes, one of which says so.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.iter().enumerate().any(|(at, line)| {
        let function = line.trim_start_matches("async ").strip_prefix("fn ");
        let begins =
            function.and_then(|rest| rest.strip_prefix(name)).is_some_and(|rest| rest.starts_with('('));
        let mut above =
            lines.iter().take(at).rev().take_while(|line| line.starts_with("#[") || line.ends_with(")]"));
        begins && above.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

#[test]
fn the_faults_name_tests_that_exist() {
    let faults = project("docs/faults.md");
    let named = tests_named(&faults);
    assert!(named.len() > 100, "the table was not read");
    for (file, test) in named {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{file}.rs"));
        let text = fs::read_to_string(path).unwrap_or_default();
        assert!(has_test(&text, test), "docs/faults.md names {file}.rs::{test}, which is not there");
    }
    for (planted, found) in [
        ("#[test]\nfn it() {}", true),
        ("    #[tokio::test]\n    #[ignore = \"long (very)\"]\n    async fn it() {}", true),
        ("fn it() {}", false),
        ("#[test]\nfn it_not() {}", false),
        ("#[test]\n\nfn other() {}\nfn it() {}", false),
    ] {
        assert_eq!(has_test(planted, "it"), found, "{planted}");
    }
    assert_eq!(tests_named("| `src/a.rs::b`, `tests/c/d.rs::e` | `f.rs::g` |").len(), 2);
}
