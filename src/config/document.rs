//! The YAML file as a tree that forgets nothing: keys that occur twice, tags, emptiness, and where each thing stands.
//!
//! The YAML library tells places only in errors. So a place is found by reading the text once more and failing there.

use std::{cell::Cell, fmt};

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// The most keys and list elements a file may hold: enough for the settings of 2,000 doors, and few enough that a
/// full report takes less than a second. Aliases count each time they are used, so that a small file cannot grow
/// without end.
const MAX_NODES: usize = 10_000;

const TOO_MANY: &str = "the file holds more than 10000 keys and list elements";
const ODD_KEY: &str = "a key must be a plain word";

/// The number of a key or list element, counted through the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(usize);

/// A value. Holds secrets, hence no `Debug`.
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as text.
    Number(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Item>),
    /// A mapping, in the order of the file.
    Map(Vec<Entry>),
    /// A value with a YAML tag; the tag without `!`.
    Tagged(String),
}

/// An element of a list.
pub(super) struct Item {
    pub(super) id: NodeId,
    pub(super) value: Value,
}

/// A key of a mapping and its value.
pub(super) struct Entry {
    pub(super) id: NodeId,
    pub(super) key: String,
    pub(super) value: Value,
}

/// Why a text is no YAML that we read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// Where, if it can be told; counted from 1.
    pub(super) line: Option<usize>,
    /// What is wrong, without a word of the text itself.
    pub(super) problem: String,
    /// What to do about it.
    pub(super) cure: Option<&'static str>,
}

/// Reads a text whole.
pub(super) fn read(text: &str) -> Result<Value, Broken> {
    let count = Cell::new(0);
    let walk = Walk { count: &count, stop_at: None };
    ValueSeed(walk)
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(|error| broken(text, &error))
}

/// The line on which a key or list element stands, counted from 1.
pub(super) fn line_of(text: &str, id: NodeId) -> Option<usize> {
    let count = Cell::new(0);
    let walk = Walk { count: &count, stop_at: Some(id) };
    let stopped = ValueSeed(walk).deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    stopped.location().map(|place| place.line())
}

fn broken(text: &str, error: &serde_yaml::Error) -> Broken {
    let mut line = error.location().map(|place| place.line());
    let message = error.to_string();
    let indented_by_tab = |line: &str| line.trim_start_matches(' ').starts_with('\t');
    let (problem, cure) =
        if line.and_then(|line| text.lines().nth(line.saturating_sub(1))).is_some_and(indented_by_tab) {
            ("the line is indented with a tab".to_owned(), Some("indent with blanks; YAML takes no tabs"))
        } else if message.contains(TOO_MANY) {
            (TOO_MANY.to_owned(), Some("leave out what is not needed, and write aliases (*) out"))
        } else if message.contains(ODD_KEY) {
            (ODD_KEY.to_owned(), Some("begin with config.example.yaml"))
        } else if message.contains("recursion limit") {
            ("its values are nested too deep".to_owned(), Some("nest keys as config.example.yaml does"))
        } else if message.contains("more than one document") {
            line =
                (1..).zip(text.lines()).filter(|(_, line)| line.starts_with("---")).last().map(|(at, _)| at);
            (
                "the file holds more than one YAML document".to_owned(),
                Some("remove the line \"---\" and what follows"),
            )
        } else if message.contains("invalid ") {
            // The library would quote the value here, and the value may be a secret.
            ("a value does not fit its YAML tag".to_owned(), Some("remove the tag (the word after \"!!\")"))
        } else {
            (
                format!("not valid YAML: {message}"),
                Some("put quotes around texts that hold \": \" or \" #\" or begin with a special sign"),
            )
        };
    // What is missing at the end is told of the line behind the last one.
    let line = line.map(|line| line.min(text.lines().count().max(1)));
    Broken { line, problem, cure }
}

/// One walk through the text: counts what it passes and, if told so, fails at one of them.
#[derive(Clone, Copy)]
struct Walk<'w> {
    count: &'w Cell<usize>,
    stop_at: Option<NodeId>,
}

impl Walk<'_> {
    fn next(self) -> NodeId {
        let id = self.count.get();
        self.count.set(id.saturating_add(1));
        NodeId(id)
    }

    /// Whether the walk ends here, at a node whose deserializer is `d`.
    fn pass<'de, D: Deserializer<'de>>(self, d: D) -> Result<(NodeId, D), D::Error> {
        let id = self.next();
        if self.stop_at == Some(id) {
            return d.deserialize_any(Stop).map(|never| match never {});
        }
        if id.0 >= MAX_NODES {
            return Err(D::Error::custom(TOO_MANY));
        }
        Ok((id, d))
    }
}

enum Never {}

/// Takes no value at all, so that the library raises an error where it stands.
struct Stop;

impl Visitor<'_> for Stop {
    type Value = Never;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}

struct KeySeed<'w>(Walk<'w>);

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = (NodeId, String);

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        let (id, d) = self.0.pass(d)?;
        match d.deserialize_any(ValueVisitor(self.0))? {
            Value::Null => Ok((id, "~".to_owned())),
            Value::Bool(value) => Ok((id, value.to_string())),
            Value::Number(text) | Value::Text(text) => Ok((id, text)),
            Value::List(_) | Value::Map(_) | Value::Tagged(_) => Err(D::Error::custom(ODD_KEY)),
        }
    }
}

struct ItemSeed<'w>(Walk<'w>);

impl<'de> DeserializeSeed<'de> for ItemSeed<'_> {
    type Value = Item;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Item, D::Error> {
        let (id, d) = self.0.pass(d)?;
        Ok(Item { id, value: d.deserialize_any(ValueVisitor(self.0))? })
    }
}

struct ValueSeed<'w>(Walk<'w>);

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(ValueVisitor(self.0))
    }
}

struct ValueVisitor<'w>(Walk<'w>);

impl<'de> Visitor<'de> for ValueVisitor<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(ItemSeed(self.0))? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some((id, key)) = entries.next_key_seed(KeySeed(self.0))? {
            let value = entries.next_value_seed(ValueSeed(self.0))?;
            map.push(Entry { id, key, value });
        }
        Ok(Value::Map(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Value, A::Error> {
        let (tag, content) = tagged.variant::<String>()?;
        content.newtype_variant_seed(ValueSeed(self.0))?;
        Ok(Value::Tagged(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(value: Value) -> Vec<Entry> {
        match value {
            Value::Map(entries) => entries,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Tagged(_) => panic!("no mapping"),
        }
    }

    #[test]
    fn tells_the_line_of_every_key_and_element() {
        let text = "# head\na:\n  b: 1\n  c:\n    - x\n\n    - y\nd: {e: 1,\n  f: [1, 2]}\na: !t\n  z: \
             1\n\"q\": |\n  r\n";
        let mut lines = Vec::new();
        let mut todo = vec![read(text).unwrap()];
        while let Some(value) = todo.pop() {
            match value {
                Value::Map(entries) => {
                    for entry in entries {
                        lines.push((line_of(text, entry.id).unwrap(), entry.key));
                        todo.push(entry.value);
                    }
                }
                Value::List(items) => {
                    for item in items {
                        lines.push((line_of(text, item.id).unwrap(), "-".to_owned()));
                        todo.push(item.value);
                    }
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Tagged(_) => {}
            }
        }
        lines.sort();
        let expected = [
            (2, "a"),
            (3, "b"),
            (4, "c"),
            (5, "-"),
            (7, "-"),
            (8, "d"),
            (8, "e"),
            (9, "-"),
            (9, "-"),
            (9, "f"),
        ]
        .into_iter()
        .chain([(10, "a"), (12, "q")])
        .map(|(line, key)| (line, key.to_owned()))
        .collect::<Vec<_>>();
        assert_eq!(lines, expected);
    }

    #[test]
    fn keeps_duplicates_and_tags_and_emptiness() {
        let map = entries(read("a: 1\na: ~\nb:\nc: !secret x\n").unwrap());
        assert_eq!(map.iter().map(|e| e.key.as_str()).collect::<Vec<_>>(), ["a", "a", "b", "c"]);
        assert!(matches!(map[1].value, Value::Null));
        assert!(matches!(map[2].value, Value::Null));
        assert!(matches!(&map[3].value, Value::Tagged(tag) if tag == "secret"));
    }

    #[test]
    fn bounds_what_aliases_can_grow_to() {
        let level = |level: usize| {
            let items =
                if level == 0 { vec!["x".to_owned(); 10] } else { vec![format!("*a{}", level - 1); 10] };
            format!("a{level}: &a{level} [{}]\n", items.join(", "))
        };
        let text: String = (0..9).map(level).collect();
        assert_eq!(read(&text).err().unwrap().problem, TOO_MANY);
    }

    #[test]
    fn never_quotes_a_value() {
        let broken = read("api_key: !!int hunter2\n").err().unwrap();
        assert!(!format!("{broken:?}").contains("hunter2"));
        assert_eq!(broken.line, Some(1));
    }

    #[test]
    fn what_is_missing_at_the_end_is_told_of_the_last_line() {
        let broken = read("mqtt:\n  url: x\nlog").err().unwrap();
        assert_eq!(broken.line, Some(3), "{broken:?}");
    }

    #[test]
    fn explains_a_tab() {
        let broken = read("mqtt:\n\turl: mqtt://localhost\n").err().unwrap();
        assert_eq!((broken.line, broken.problem.as_str()), (Some(2), "the line is indented with a tab"));
    }
}
