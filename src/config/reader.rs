//! Reads keys out of the file and the environment, and notes on the way every fault and what every key is.
//!
//! A key is described in one place only: the statement that reads it. Names, limits and defaults in reports and in
//! the JSON Schema come from these statements, so they cannot disagree with the loader.
//!
//! A faulty key yields a stand-in, so that reading goes on; whoever finds a fault in the end throws the result away.

mod key;
mod rule;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde_json::json;

use super::{
    document::{self, Entry, Item, NodeId, Value},
    environment::{self, Environment},
    report::{Fault, Place, Report},
    suggest,
};

pub(super) use key::Key;
pub(super) use rule::{Problem, Rule, Show, kind, plain};

use rule::did_you_mean;

/// Where something stands; cheap, because most of it is never told. The order is that of a report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spot {
    /// The file as a whole.
    File,
    /// A key or list element of the file.
    Node(NodeId),
    /// A systemd credential.
    Credential(String),
    /// An environment variable.
    Variable(String),
}

/// Proof that a fault was noted; it stands in for a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faulty(());

/// A value and where it stands.
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) spot: Spot,
}

/// A key that was read or asked for, as the schema describes it.
pub(super) struct Known {
    /// From the root; `*` stands for any key.
    pub(super) path: Vec<String>,
    pub(super) about: String,
    pub(super) schema: serde_json::Value,
    /// The environment variable that sets it, if one does.
    pub(super) variable: Option<String>,
}

/// A fault whose line is not looked up yet.
struct Draft {
    spot: Spot,
    key: String,
    problem: Problem,
}

/// One reading of a configuration.
pub(super) struct Reader<'a> {
    pub(super) env: &'a Environment,
    pub(super) warnings: Vec<String>,
    /// Whether the file itself holds a secret.
    pub(super) holds_secret: bool,
    /// The files that hold one each.
    pub(super) secret_files: Vec<PathBuf>,
    drafts: Vec<Draft>,
    known: Vec<Known>,
    /// Whether maps of sections show one entry `*`, so that a schema can be made.
    describing: bool,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(env: &'a Environment) -> Self {
        Self {
            env,
            warnings: Vec::new(),
            holds_secret: false,
            secret_files: Vec::new(),
            drafts: Vec::new(),
            known: Vec::new(),
            describing: false,
        }
    }

    /// Runs `read` over nothing and tells which keys it asks for.
    pub(super) fn describe(read: impl FnOnce(&mut Section<'_, '_>)) -> Vec<Known> {
        let env = Environment::default();
        let mut reader = Reader { describing: true, ..Reader::new(&env) };
        reader.root(Value::Map(Vec::new()), read);
        reader.known
    }

    /// Reads the whole file, then looks for variables that set nothing.
    pub(super) fn root<T>(&mut self, value: Value, read: impl FnOnce(&mut Section<'_, '_>) -> T) -> T {
        let entries = self.mapping(value, &[], &Spot::File);
        let left = by_key(entries);
        let section = Section {
            reader: self,
            path: Vec::new(),
            spot: Spot::File,
            left,
            asked: Vec::new(),
            in_environment: true,
        };
        let result = section.read(read);
        self.refuse_unknown_variables();
        result
    }

    /// Forgets the faults of all sections but one.
    pub(super) fn only(mut self, section: &str) -> Self {
        self.drafts.retain(|draft| draft.key.split('.').next() == Some(section));
        self
    }

    /// The result, or every fault there is; `text` and `origin` are the file's.
    pub(super) fn finish<T>(
        mut self,
        result: Result<T, Faulty>,
        text: &str,
        origin: &str,
    ) -> Result<T, Report> {
        if let (Ok(result), true) = (result, self.drafts.is_empty()) {
            return Ok(result);
        }
        self.drafts.sort_by(|a, b| a.spot.cmp(&b.spot));
        Err(Report::of_drafts(self.drafts, |draft| Fault {
            place: match draft.spot {
                Spot::File => Place::File { name: origin.to_owned(), line: None },
                Spot::Node(id) => Place::File { name: origin.to_owned(), line: document::line_of(text, id) },
                Spot::Credential(name) => Place::File { name, line: None },
                Spot::Variable(name) => Place::Variable(name),
            },
            key: draft.key,
            problem: draft.problem.text,
            read: draft.problem.read,
            allowed: draft.problem.allowed,
            cure: draft.problem.cure,
        }))
    }

    fn refuse(&mut self, spot: &Spot, key: &str, problem: Problem) -> Faulty {
        self.drafts.push(Draft { spot: spot.clone(), key: key.to_owned(), problem });
        Faulty(())
    }

    /// The entries of what should be a mapping, each key once.
    fn mapping(&mut self, value: Value, path: &[String], spot: &Spot) -> Vec<Entry> {
        let entries = match value {
            Value::Map(entries) => entries,
            // All keys of the section are commented out.
            Value::Null => return Vec::new(),
            // What stands where a section belongs may be anything, also a secret.
            other @ (Value::Bool(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Tagged(_)) => {
                let rule =
                    Rule { show: Show::Never, ..Rule::of("keys with values", json!({"type": "object"})) };
                self.refuse(spot, &shown(path), Problem::of_type(&other, &rule));
                return Vec::new();
            }
        };
        let mut seen = BTreeSet::new();
        let (unique, repeated): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| seen.insert(entry.key.clone()));
        for entry in repeated {
            let key = dotted(path, &entry.key);
            self.refuse(
                &Spot::Node(entry.id),
                &key,
                Problem::with_cure("the key occurs twice", "remove one of the two"),
            );
        }
        unique
    }

    fn refuse_unknown_variables(&mut self) {
        let known: Vec<&str> = self.known.iter().filter_map(|key| key.variable.as_deref()).collect();
        let faults: Vec<_> = self
            .env
            .names()
            .filter(|name| *name != environment::CONFIG_FILE && !known.contains(name))
            .filter_map(|name| Some((Spot::Variable(name.to_owned()), unknown_variable(name, &known)?)))
            .collect();
        for (spot, problem) in faults {
            self.refuse(&spot, "", problem);
        }
    }
}

/// What is wrong with a variable that sets no key. `None` for one that is not ours: a container engine makes variables
/// like `VERKADA2MQTT_PORT` for a service of our name.
fn unknown_variable(name: &str, known: &[&str]) -> Option<Problem> {
    let folded = |name: &str| name.replace("__", "_");
    if let Some(meant) = known.iter().find(|key| folded(key) == folded(name)) {
        let problem = did_you_mean("unknown variable", Some(meant));
        return Some(Problem::with_cure(problem, "join the words of a key's path by two underscores"));
    }
    if !name.starts_with(environment::PREFIX) {
        return None;
    }
    let mut problem =
        Problem::new(did_you_mean("unknown variable", suggest::nearest(name, known.iter().copied())));
    problem.allowed =
        Some("variables named after keys, for instance VERKADA2MQTT__MQTT__URL for mqtt.url".to_owned());
    Some(problem)
}

/// A mapping of the file, read key by key.
pub(super) struct Section<'r, 'a> {
    reader: &'r mut Reader<'a>,
    path: Vec<String>,
    spot: Spot,
    left: BTreeMap<String, Entry>,
    asked: Vec<String>,
    /// Whether variables can set its keys too.
    in_environment: bool,
}

impl<'r, 'a> Section<'r, 'a> {
    fn read<T>(mut self, read: impl FnOnce(&mut Section<'_, '_>) -> T) -> T {
        let result = read(&mut self);
        self.refuse_unknown_keys();
        result
    }

    fn refuse_unknown_keys(self) {
        for entry in self.left.into_values() {
            let problem = if entry.key == "<<" {
                Problem::with_cure("merge keys are not read", "write the keys out")
            } else {
                let meant = suggest::nearest(&entry.key, self.asked.iter().map(String::as_str));
                Problem::new(did_you_mean("unknown key", meant)).allowed(self.asked.join(", "))
            };
            let key = dotted(&self.path, &entry.key);
            self.reader.refuse(&Spot::Node(entry.id), &key, problem);
        }
    }

    /// Begins to read a key. `about` is its description in the schema: what it is for, in one or two sentences.
    pub(super) fn key<'k>(&'k mut self, name: &str, about: &str) -> Key<'k, 'r, 'a> {
        let path = dotted(&self.path, name);
        Key { section: self, name: name.to_owned(), path, about: about.to_owned() }
    }

    /// Reads a section inside this one.
    pub(super) fn section<T>(
        &mut self,
        name: &str,
        about: &str,
        read: impl FnOnce(&mut Section<'_, '_>) -> T,
    ) -> T {
        let path = self.below(name);
        self.asked.push(name.to_owned());
        let schema = json!({"type": "object"});
        self.reader.known.push(Known { path: path.clone(), about: about.to_owned(), schema, variable: None });
        let (entries, spot) = match self.left.remove(name) {
            Some(entry) => {
                let spot = Spot::Node(entry.id);
                (self.reader.mapping(entry.value, &path, &spot), spot)
            }
            None => (Vec::new(), self.spot.clone()),
        };
        let left = by_key(entries);
        let in_environment = self.in_environment;
        Section { reader: self.reader, path, spot, left, asked: Vec::new(), in_environment }.read(read)
    }

    /// Reads a section whose keys are identifiers, each with a section of its own. Not settable from the environment.
    pub(super) fn sections<K: FromStr<Err: Display> + Ord, T>(
        &mut self,
        name: &str,
        about: &str,
        mut read: impl FnMut(&mut Section<'_, '_>) -> T,
    ) -> BTreeMap<K, T> {
        let describing = self.reader.describing;
        self.section(name, about, |outer| {
            outer.in_environment = false;
            let mut sections = BTreeMap::new();
            let ids: Vec<String> =
                if describing { vec!["*".to_owned()] } else { outer.left.keys().cloned().collect() };
            for id in ids {
                let spot = outer.left.get(&id).map_or(Spot::File, |entry| Spot::Node(entry.id));
                let value = outer.section(&id, "Settings of one, under its id.", &mut read);
                match id.parse::<K>() {
                    Ok(key) => _ = sections.insert(key, value),
                    Err(error) => _ = outer.refuse(&spot, &id, Problem::new(error.to_string())),
                }
            }
            sections
        })
    }

    /// Where this section begins.
    pub(super) const fn spot(&self) -> &Spot {
        &self.spot
    }

    /// Adds a sentence that the program logs at each start.
    pub(super) fn warn(&mut self, sentence: impl Into<String>) {
        self.reader.warnings.push(sentence.into());
    }

    /// Notes that a secret is in this file, and may change there.
    pub(super) fn note_secret_file(&mut self, path: &Path) {
        self.reader.secret_files.push(path.to_owned());
    }

    /// Notes that a secret stands open where others may read it; `file_key` is the better place.
    pub(super) fn warn_of_open_secret(&mut self, spot: &Spot, file_key: &str) {
        match spot {
            Spot::Variable(name) => self.warn(format!(
                "the environment variable {name} holds a secret, and other programs of this user can read it; \
                 better set {}",
                environment::variable(&self.below(file_key)),
            )),
            Spot::Node(_) => self.reader.holds_secret = true,
            Spot::File | Spot::Credential(_) => {}
        }
    }

    /// The environment.
    pub(super) const fn env(&self) -> &'a Environment {
        self.reader.env
    }

    /// Notes a fault that concerns the key `name` of this section.
    pub(super) fn refuse(&mut self, spot: &Spot, name: &str, problem: Problem) -> Faulty {
        let key = dotted(&self.path, name);
        self.reader.refuse(spot, &key, problem)
    }

    /// Notes a fault that concerns this section as a whole.
    pub(super) fn refuse_whole(&mut self, problem: Problem) -> Faulty {
        let spot = self.spot.clone();
        self.reader.refuse(&spot, &shown(&self.path), problem)
    }

    /// Takes two keys of which one is enough, out of one layer: the environment if it sets any of them, else the
    /// file. So a variable can put `x_file` in place of the file's `x`.
    pub(super) fn alternatives(&mut self, keys: [(&str, &str, &Rule); 2]) -> [Option<Found<Value>>; 2] {
        for (name, about, rule) in keys {
            self.note(name, about, rule.schema.clone());
        }
        let from_env = keys.map(|(name, ..)| self.variable(name));
        let from_file = keys.map(|(name, ..)| self.left.remove(name).map(Found::from));
        if from_env.iter().any(Option::is_some) { from_env } else { from_file }
    }

    /// Checks a value that [`Self::alternatives`] took.
    pub(super) fn text<T>(
        &mut self,
        name: &str,
        found: Found<Value>,
        rule: &Rule,
        parse: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Result<Found<T>, Faulty> {
        self.key(name, "").check(found, rule, parse)
    }

    fn variable(&self, name: &str) -> Option<Found<Value>> {
        let variable = self.variable_name(name)?;
        let text = self.reader.env.get(&variable)?;
        Some(Found { value: Value::Text(text.to_owned()), spot: Spot::Variable(variable) })
    }

    fn variable_name(&self, name: &str) -> Option<String> {
        self.in_environment.then(|| environment::variable(&self.below(name)))
    }

    fn below(&self, name: &str) -> Vec<String> {
        self.path.iter().map(String::as_str).chain([name]).map(str::to_owned).collect()
    }

    fn note(&mut self, name: &str, about: &str, schema: serde_json::Value) {
        let (path, variable) = (self.below(name), self.variable_name(name));
        self.asked.push(name.to_owned());
        self.reader.known.push(Known { path, about: about.to_owned(), schema, variable });
    }
}

impl From<Entry> for Found<Value> {
    fn from(entry: Entry) -> Self {
        Self { value: entry.value, spot: Spot::Node(entry.id) }
    }
}

impl From<Item> for Found<Value> {
    fn from(item: Item) -> Self {
        Self { value: item.value, spot: Spot::Node(item.id) }
    }
}

fn by_key(entries: Vec<Entry>) -> BTreeMap<String, Entry> {
    entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect()
}

fn dotted(path: &[String], name: &str) -> String {
    shown(path.iter().map(String::as_str).chain([name]))
}

/// A path as it is told: any part of it may be what somebody wrote.
fn shown<P: AsRef<str>>(path: impl IntoIterator<Item = P>) -> String {
    let part = |part: P| part.as_ref().chars().filter(|c| !c.is_control()).take(64).collect::<String>();
    path.into_iter().map(part).collect::<Vec<_>>().join(".")
}
