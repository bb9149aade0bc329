//! What a key takes, and how a value that it does not take is told.

use serde_json::json;

use crate::config::document::Value;

/// What is wrong with a value, and what would put it right.
#[derive(Debug)]
pub(in crate::config) struct Problem {
    pub(in crate::config) text: String,
    pub(in crate::config) read: Option<String>,
    pub(in crate::config) allowed: Option<String>,
    pub(in crate::config) cure: Option<String>,
}

impl Problem {
    pub(in crate::config) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), read: None, allowed: None, cure: None }
    }

    pub(in crate::config) fn with_cure(text: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { cure: Some(cure.into()), ..Self::new(text) }
    }

    pub(in crate::config) fn allowed(self, allowed: impl Into<String>) -> Self {
        Self { allowed: Some(allowed.into()), ..self }
    }

    /// Nothing, or an empty text: whoever wrote the key meant something, and an empty value is most often a variable
    /// that was not filled in.
    pub(super) fn empty() -> Self {
        Self::with_cure("is empty", "write a value, or leave it out")
    }

    /// A tag would be dropped in silence, and the text behind it taken for the value.
    pub(super) fn tag(tag: &str) -> Self {
        let tag: String = tag.chars().filter(|c| !c.is_control()).take(32).collect();
        Self::with_cure(
            format!("the YAML tag !{tag} is not read"),
            "write the value itself; a secret goes into a file named by a *_file key",
        )
    }

    /// A value that is no text where `rule` wants one, or a text where it wants something else.
    pub(super) fn of_type(value: &Value, rule: &Rule) -> Self {
        let problem = match value {
            Value::Null => Self::empty(),
            Value::Text(text) if text.trim().is_empty() => Self::empty(),
            Value::Tagged(tag) => Self::tag(tag),
            Value::Number(text) => Self { read: Some(rule.show.number(text)), ..Self::new("wrong type") },
            Value::Text(text) => Self { read: Some(rule.show.text(text)), ..Self::new("wrong type") },
            Value::Bool(_) | Value::List(_) | Value::Map(_) => {
                Self { read: Some(kind(value).to_owned()), ..Self::new("wrong type") }
            }
        };
        problem.allowed(&rule.allowed)
    }
}

/// A question to add to a problem, if there is a word that may have been meant.
pub(super) fn did_you_mean(problem: &str, meant: Option<&str>) -> String {
    meant.map_or_else(|| problem.to_owned(), |meant| format!("{problem}; did you mean {meant}?"))
}

/// Whether a value that was read may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Show {
    /// It is no secret.
    Openly,
    /// It may hold a password before an `@`.
    UnlessUser,
    /// It should be a path; anything else may be a secret written under the wrong key.
    IfPath,
    /// It is a secret.
    Never,
}

impl Show {
    pub(super) fn text(self, text: &str) -> String {
        match self {
            Self::UnlessUser if text.contains('@') => "(hidden, because it may hold a password)".to_owned(),
            Self::IfPath if !text.starts_with('/') => {
                "(hidden, because it may be the secret itself)".to_owned()
            }
            Self::Openly | Self::UnlessUser | Self::IfPath => {
                let short: String = text.chars().take(80).collect();
                let more = if short.len() < text.len() { " ..." } else { "" };
                format!("{short:?}{more}")
            }
            Self::Never => "a text (hidden)".to_owned(),
        }
    }

    fn number(self, text: &str) -> String {
        match self {
            Self::Openly | Self::UnlessUser => format!("the number {text}"),
            Self::IfPath | Self::Never => "a number (hidden)".to_owned(),
        }
    }
}

/// What a key takes.
pub(in crate::config) struct Rule {
    /// In words, for reports.
    pub(in crate::config) allowed: String,
    /// As JSON Schema.
    pub(in crate::config) schema: serde_json::Value,
    /// Whether the value may be shown.
    pub(in crate::config) show: Show,
}

impl Rule {
    pub(in crate::config) fn text(allowed: impl Into<String>) -> Self {
        Self::of(allowed, json!({"type": "string", "minLength": 1}))
    }

    pub(in crate::config) fn of(allowed: impl Into<String>, schema: serde_json::Value) -> Self {
        Self { allowed: allowed.into(), schema, show: Show::Openly }
    }
}

/// What holds for every text: it is not empty and every character can be seen.
pub(in crate::config) fn plain(text: &str) -> Result<(), Problem> {
    if text.trim().is_empty() {
        return Err(Problem::empty());
    }
    if text.contains(char::REPLACEMENT_CHARACTER) {
        return Err(Problem::new("is not UTF-8"));
    }
    if text.contains(char::is_control) {
        return Err(Problem::new("holds a line break or another control character"));
    }
    Ok(())
}

/// What kind of value it is, without the value.
pub(in crate::config) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        Value::Number(_) => "a number",
        Value::Text(_) => "a text",
        Value::List(_) => "a list",
        Value::Map(_) => "a mapping",
        Value::Tagged(_) => "a value with a YAML tag",
    }
}
