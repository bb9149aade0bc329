//! The JSON Schema of the file, made of what the loader asks for.

use serde_json::{Map, Value, json};

use super::{
    keys,
    reader::{Known, Reader},
};

/// The JSON Schema (draft 2020-12) of the configuration file, for editors: every key with its description, what it
/// takes and its default.
pub fn schema() -> Value {
    let mut root = object("The configuration of verkada2mqtt.");
    for known in Reader::describe(|section| _ = keys::config(section)) {
        insert(&mut root, &known);
    }
    let mut document = Map::new();
    document.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    document.insert("title".to_owned(), json!("verkada2mqtt"));
    document.append(&mut root);
    Value::Object(document)
}

fn object(about: &str) -> Map<String, Value> {
    Map::from_iter([
        ("type".to_owned(), json!("object")),
        ("description".to_owned(), json!(about)),
        ("properties".to_owned(), json!({})),
        ("additionalProperties".to_owned(), json!(false)),
    ])
}

/// Puts a key into the schema of the section that holds it, which was asked for before.
fn insert(root: &mut Map<String, Value>, known: &Known) {
    let Some((name, parents)) = known.path.split_last() else { return };
    let section = parents.iter().try_fold(root, |section, word| member(section, word)?.as_object_mut());
    let Some(section) = section else { return };
    let mut schema = known.schema.as_object().cloned().unwrap_or_default();
    if schema.get("type") == Some(&json!("object")) {
        schema = object(&known.about);
    } else {
        schema.insert("description".to_owned(), json!(known.about));
    }
    if let Some(place) = member(section, name) {
        *place = Value::Object(schema);
    }
}

/// The schema of a key of a section; `*` stands for all keys.
fn member<'s>(section: &'s mut Map<String, Value>, name: &str) -> Option<&'s mut Value> {
    if name == "*" {
        return section.get_mut("additionalProperties");
    }
    Some(section.get_mut("properties")?.as_object_mut()?.entry(name).or_insert(Value::Null))
}
