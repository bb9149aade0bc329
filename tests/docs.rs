//! Documents that are made from the code say what the code says. `UPDATE_EXPECTED=1 cargo test --test docs` writes them.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use verkada2mqtt::{
    config,
    model::{Outcome, Reason},
};

/// What `docs/commands.md` has to say.
fn commands() -> String {
    let mut text = "\
<!-- Made from src/model/explain.rs: UPDATE_EXPECTED=1 cargo test --test docs -->

# Why a command was not done

The gate makes its checks in the order of this table, and the first fault that it finds is the `reason` of the result. One
exception serves senders: a repeat of a command with the same `id` that comes too late, or with a one-time code that is used up
by now, is answered as the repeat that it is. Which outcome means what stands in [Commands and results](results.md).

## In the gate: nothing was sent

"
    .to_owned();
    let head = "| reason | check | outcome | meaning | cure |\n|---|---|---|---|---|\n";
    text += head;
    let mut in_gate = true;
    for reason in Reason::ALL {
        let told = reason.explanation();
        if in_gate && !told.check.is_of_gate() {
            in_gate = false;
            text += "\n## After the gate\n\nThe command was taken on; its result with outcome *accepted* came before.\n\n";
            text += head;
        }
        let outcomes: Vec<&str> = told.outcomes.iter().copied().map(Outcome::word).collect();
        let (word, check, outcomes) = (reason.word(), told.check, outcomes.join(", "));
        writeln!(text, "| `{word}` | {check} | {outcomes} | {} | {} |", told.meaning, told.cure).unwrap();
    }
    text
}

/// What `docs/configuration.md` has to say.
fn configuration() -> String {
    let schema = config::schema();
    let mut text = "\
<!-- Made from src/config/keys: UPDATE_EXPECTED=1 cargo test --test docs -->

# Every key of the configuration

[`config.example.yaml`](../config.example.yaml) shows them in place, with what to think of; `verkada2mqtt schema` prints the same
for editors, and `verkada2mqtt check` says which key is wrong, where, and what is allowed. A key with dots stands in a section: `mqtt.url` is `url`
below `mqtt`. Every key outside `doors.settings` and `commands.users` can also come from the environment, as `VERKADA2MQTT__` and
its path in capitals with two underscores in place of each dot: `VERKADA2MQTT__MQTT__URL`. What a change of a key costs while the gateway runs
stands under [Command line](command-line.md).
"
    .to_owned();
    let mut root = vec![];
    for (name, about) in schema["properties"].as_object().unwrap() {
        if about["type"] == "object" {
            let about_it = about["description"].as_str().unwrap();
            write!(text, "\n## {name}\n\n{about_it}\n\n").unwrap();
            let mut keys = Vec::new();
            keys_of(about, name, &mut keys);
            table(&mut text, &keys);
        } else {
            root.push((name.clone(), about));
        }
    }
    text += "\n## Outside all sections\n\n";
    table(&mut text, &root);
    text
}

/// The keys of a section and of the sections in it.
fn keys_of<'s>(section: &'s Value, path: &str, keys: &mut Vec<(String, &'s Value)>) {
    for (name, about) in section["properties"].as_object().unwrap() {
        let path = format!("{path}.{name}");
        if about["type"] == "object" { keys_of(about, &path, keys) } else { keys.push((path, about)) }
    }
    let each = &section["additionalProperties"];
    if each.is_object() {
        keys_of(each, &format!("{path}.<id>"), keys);
    }
}

fn table(text: &mut String, keys: &[(String, &Value)]) {
    *text += "| key | default | allowed | what |\n|---|---|---|---|\n";
    for (path, about) in keys {
        let default = about.get("default").map_or_else(|| "none".to_owned(), quoted);
        let what = about["description"].as_str().unwrap().replace('|', "\\|");
        writeln!(text, "| `{path}` | {default} | {} | {what} |", allowed(about)).unwrap();
    }
}

fn quoted(value: &Value) -> String {
    match value {
        Value::Array(items) if items.is_empty() => "empty".to_owned(),
        Value::Array(items) => items.iter().map(quoted).collect::<Vec<_>>().join(", "),
        Value::String(text) => format!("`{text}`"),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => format!("`{other}`"),
    }
}

fn allowed(about: &Value) -> String {
    if let Some(words) = about["enum"].as_array() {
        return words.iter().map(quoted).collect::<Vec<_>>().join(", ");
    }
    if about["writeOnly"] == true {
        return "a secret; better in a file".to_owned();
    }
    match (about["type"].as_str().unwrap(), &about["examples"], about["pattern"].as_str()) {
        ("boolean", ..) => "`true`, `false`".to_owned(),
        ("array", ..) => format!("a list: {}", allowed(&about["items"])),
        (_, Value::Array(bounds), _) => {
            let [least, most] = &bounds[..] else { panic!("{about}") };
            match least.as_str() {
                Some("off") => format!("`off`, or {} and more", quoted(most)),
                _ => format!("{} to {}", quoted(least), quoted(most)),
            }
        }
        (_, _, Some("^/")) => "an absolute path".to_owned(),
        (_, _, Some("^[A-Za-z0-9-]{1,64}$")) => "ids, as Verkada gives them".to_owned(),
        (_, _, Some(pattern)) => format!("`{}`", pattern.replace('|', "\\|")),
        (_, _, None) => match about["maxLength"].as_u64() {
            Some(most) => format!("a text of up to {most} characters"),
            None => "a text".to_owned(),
        },
    }
}

fn is_as_made(name: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&path, wanted).unwrap();
    }
    let held = fs::read_to_string(&path).unwrap_or_default();
    assert!(held == wanted, "{name} is old; run UPDATE_EXPECTED=1 cargo test --test docs");
}

#[test]
fn the_table_of_reasons_is_that_of_the_code() {
    is_as_made("docs/commands.md", &commands());
}

#[test]
fn the_tables_of_keys_are_those_of_the_code() {
    is_as_made("docs/configuration.md", &configuration());
}

/// The documents, by their path in the project.
fn documents() -> BTreeMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries(root).collect();
    let mut open = ["docs", "examples", "packaging"].map(|folder| root.join(folder)).to_vec();
    while let Some(folder) = open.pop() {
        let (folders, files): (Vec<_>, Vec<_>) = entries(&folder).partition(|path| path.is_dir());
        open.extend(folders);
        found.extend(files);
    }
    found
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| (path.canonicalize().unwrap(), fs::read_to_string(&path).unwrap()))
        .collect()
}

/// Lines that are no code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    })
}

/// What a heading is linked by, on a forge and in the book alike.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let kept = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let slug = |line: &str| line.trim_start_matches('#').trim().to_lowercase().replace(|c| !kept(c), "");
    headings.map(|line| slug(line).replace(' ', "-")).collect()
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let documents = documents();
    let (mut seen, mut lost) = (0, Vec::new());
    for (path, text) in &documents {
        for link in
            prose(text).flat_map(|line| line.split("](").skip(1)).filter_map(|rest| rest.split(')').next())
        {
            if link.contains("://") {
                continue;
            }
            seen += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let to = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let leads = to.canonicalize().is_ok_and(|to| {
                anchor.is_empty() || documents.get(&to).is_some_and(|text| anchors(text).contains(anchor))
            });
            if !leads {
                lost.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(seen > 100, "hardly any link was seen: {seen}");
    assert_eq!(lost, [""; 0]);
}

#[test]
fn the_book_holds_every_page() {
    let summary = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/SUMMARY.md")).unwrap();
    let documents = documents();
    let pages = documents.keys().filter(|path| path.parent().unwrap().ends_with("docs"));
    let names =
        pages.map(|path| path.file_name().unwrap().to_str().unwrap()).filter(|name| *name != "SUMMARY.md");
    let missing: Vec<_> = names.filter(|name| !summary.contains(&format!("]({name})"))).collect();
    assert_eq!(missing, [""; 0]);
}
