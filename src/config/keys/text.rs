//! Texts with rules of their own: topics, client ids, names.

use serde_json::json;

use crate::config::reader::{Problem, Rule};

/// The longest topic part a user may choose, in bytes; topics of ours add less than 150.
const MAX_TOPIC_BYTES: usize = 128;

pub(super) fn topic_rule() -> Rule {
    let schema = json!({"type": "string", "pattern": "^[^/+#$\\s][^+#\\s]*$", "maxLength": MAX_TOPIC_BYTES});
    let allowed = format!(
        "words joined by \"/\", without \"+\", \"#\", blanks or empty words, not begun by \"$\", at \
             most {MAX_TOPIC_BYTES} bytes"
    );
    Rule { schema, ..Rule::text(allowed) }
}

pub(super) fn topic(text: &str) -> Result<String, Problem> {
    let problem = if text.contains(['+', '#']) {
        "a wildcard has no place here"
    } else if text.starts_with('/') {
        "it begins with \"/\""
    } else if text.ends_with('/') {
        "it ends with \"/\""
    } else if text.contains("//") {
        "it has an empty word between two \"/\""
    } else if text.starts_with('$') {
        "topics that begin with \"$\" belong to the broker"
    } else if text.contains(char::is_whitespace) {
        "it holds a blank"
    } else if text.len() > MAX_TOPIC_BYTES {
        "it is too long"
    } else {
        return Ok(text.to_owned());
    };
    Err(Problem::new(problem))
}

pub(super) fn client_id_rule() -> Rule {
    let schema = json!({"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"});
    Rule { schema, ..Rule::text("1 to 64 letters, digits, \"_\" and \"-\"") }
}

pub(super) fn client_id(text: &str) -> Result<String, Problem> {
    if text.len() > 64 {
        return Err(Problem::new("it is too long"));
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))) {
        Some(odd) => Err(Problem::new(format!("it holds {odd:?}"))),
        None => Ok(text.to_owned()),
    }
}

pub(super) fn name_rule() -> Rule {
    let schema = json!({"type": "string", "minLength": 1, "maxLength": 64});
    Rule { schema, ..Rule::text("a text of 1 to 64 characters") }
}

pub(super) fn name(text: &str) -> Result<String, Problem> {
    if text.chars().count() > 64 {
        return Err(Problem::new("it is too long"));
    }
    Ok(text.trim().to_owned())
}
