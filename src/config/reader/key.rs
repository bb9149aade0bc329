//! One key: each method reads another kind of value.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    ops::RangeInclusive,
    str::FromStr,
    time::Duration,
};

use serde_json::json;

use super::{
    Faulty, Found, Problem, Rule, Section, Spot,
    rule::{did_you_mean, plain},
};
use crate::config::{document::Value, duration, suggest};

/// A key about to be read. Each reading method notes what the key takes and then takes the value.
pub(in crate::config) struct Key<'k, 'r, 'a> {
    pub(super) section: &'k mut Section<'r, 'a>,
    pub(super) name: String,
    /// From the root, for reports.
    pub(super) path: String,
    /// For the schema.
    pub(super) about: String,
}

impl Key<'_, '_, '_> {
    /// A text that `parse` understands; `None` if it is missing.
    pub(in crate::config) fn parsed<T>(
        mut self,
        rule: &Rule,
        parse: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Result<Option<Found<T>>, Faulty> {
        self.note(rule.schema.clone());
        self.take().map(|found| self.check(found, rule, parse)).transpose()
    }

    /// A text that `parse` understands; missing is a fault.
    pub(in crate::config) fn required<T>(
        mut self,
        rule: &Rule,
        parse: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Result<T, Faulty> {
        self.note(rule.schema.clone());
        if let Some(found) = self.take() {
            return self.check(found, rule, parse).map(|found| found.value);
        }
        let mut problem = Problem::new("is missing").allowed(&rule.allowed);
        problem.cure = self
            .section
            .variable_name(&self.name)
            .map(|name| format!("write it into the file, or set {name}"));
        let spot = self.section.spot.clone();
        Err(self.refuse(&spot, problem))
    }

    /// A text that `parse` understands, or the default.
    pub(in crate::config) fn parsed_or<T: Display>(
        mut self,
        default: T,
        rule: &Rule,
        parse: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> T {
        self.note_default(rule.schema.clone(), &json!(default.to_string()));
        self.take().and_then(|found| self.check(found, rule, parse).ok()).map_or(default, |found| found.value)
    }

    /// One of some words, or the default.
    pub(in crate::config) fn choice<T: Copy + PartialEq>(mut self, words: &[(&str, T)], default: T) -> T {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let default_word = words.iter().find(|(_, value)| *value == default).map(|(word, _)| *word);
        // A word of digits is a number to YAML unless it is quoted.
        let numbers = names.iter().filter_map(|name| name.parse::<u64>().ok());
        let allowed: Vec<_> = names.iter().map(|name| json!(name)).chain(numbers.map(|n| json!(n))).collect();
        self.note_default(json!({ "enum": allowed }), &json!(default_word));
        let Some(mut found) = self.take() else { return default };
        if let Value::Number(text) = found.value {
            found.value = Value::Text(text);
        }
        let rule = Rule::text(format!("one of {}", names.join(", ")));
        self.check(found, &rule, |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
                Problem::new(did_you_mean("unknown word", suggest::nearest(text, names.iter().copied())))
            })
        })
        .map_or(default, |found| found.value)
    }

    /// `true` or `false`, or the default.
    pub(in crate::config) fn boolean(mut self, default: bool) -> bool {
        self.note_default(json!({"type": "boolean"}), &json!(default));
        self.take_boolean().unwrap_or(default)
    }

    /// `true` or `false`, or `None`.
    pub(in crate::config) fn optional_boolean(mut self) -> Option<bool> {
        self.note(json!({"type": "boolean"}));
        self.take_boolean()
    }

    fn take_boolean(&mut self) -> Option<bool> {
        let Found { value, spot } = self.take()?;
        let in_variable = matches!(spot, Spot::Variable(_));
        let read = match &value {
            Value::Bool(value) => Some(*value),
            Value::Text(text) if in_variable => text.parse().ok(),
            Value::Null
            | Value::Number(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Map(_)
            | Value::Tagged(_) => None,
        };
        if read.is_none() {
            let rule = Rule::of("true or false", json!({"type": "boolean"}));
            self.refuse(&spot, Problem::of_type(&value, &rule));
        }
        read
    }

    /// A duration within limits, or the default.
    pub(in crate::config) fn duration(
        mut self,
        default: Duration,
        limits: RangeInclusive<Duration>,
    ) -> Duration {
        let [least, most, usual] = [*limits.start(), *limits.end(), default].map(duration::format);
        let schema =
            json!({"type": "string", "pattern": "^[0-9]+ ?(ms|s|m|h|d)$", "examples": [least, most]});
        self.note_default(schema.clone(), &json!(usual));
        let Some(found) = self.take() else { return default };
        let allowed =
            format!("a whole number with ms, s, m, h or d, from {least} to {most}, for instance {usual}");
        if let Value::Number(number) = &found.value {
            let cure = format!("if seconds are meant, write {number}s");
            let problem =
                Problem::with_cure(duration::DurationError::NoUnit.to_string(), cure).allowed(allowed);
            self.refuse(&found.spot, Problem { read: Some(number.clone()), ..problem });
            return default;
        }
        self.check(found, &Rule::of(allowed, schema), |text| {
            let read = duration::parse(text).map_err(|error| Problem::new(error.to_string()))?;
            if limits.contains(&read) { Ok(read) } else { Err(Problem::new("out of range")) }
        })
        .map_or(default, |found| found.value)
    }

    /// A duration within limits, or `off`, which is the default; `usual` is an example.
    pub(in crate::config) fn duration_or_off(
        mut self,
        usual: Duration,
        limits: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        const OFF: &str = "off";
        let [least, most, usual] = [*limits.start(), *limits.end(), usual].map(duration::format);
        let pattern = "^(off|[0-9]+ ?(ms|s|m|h|d))$";
        let schema = json!({"type": "string", "pattern": pattern, "examples": [OFF, usual]});
        self.note_default(schema.clone(), &json!(OFF));
        let found = self.take()?;
        let allowed = format!(
            "off, or a whole number with ms, s, m, h or d, from {least} to {most}, for instance {usual}"
        );
        self.check(found, &Rule::of(allowed, schema), |text| {
            if text == OFF {
                return Ok(None);
            }
            let read = duration::parse(text).map_err(|error| Problem::new(error.to_string()))?;
            if limits.contains(&read) { Ok(Some(read)) } else { Err(Problem::new("out of range")) }
        })
        .map_or(None, |found| found.value)
    }

    /// A set of identifiers, each with the place where it stands; empty by default.
    pub(in crate::config) fn ids<T: FromStr<Err: Display> + Ord>(mut self) -> BTreeMap<T, Spot> {
        let item_rule = Rule::of(
            "ids as Verkada gives them",
            json!({"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"}),
        );
        let rule = Rule::of("a list of ids", json!({"type": "array", "items": item_rule.schema}));
        self.note_default(rule.schema.clone(), &json!([]));
        let Some(found) = self.take() else { return BTreeMap::new() };
        let parse = |text: &str| text.parse().map_err(|error: T::Err| Problem::new(error.to_string()));
        let ids = self.items(found, &rule, &item_rule, parse).unwrap_or_default();
        ids.into_iter().map(|Found { value, spot }| (value, spot)).collect()
    }

    /// A set of words; all of them by default.
    pub(in crate::config) fn choices<T: Copy + Ord>(mut self, words: &[(&str, T)]) -> BTreeSet<T> {
        let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let item_rule = Rule::of(format!("any of {}", allowed.join(", ")), json!({ "enum": allowed }));
        let rule = Rule::of(
            format!("a list of any of {}", allowed.join(", ")),
            json!({"type": "array", "items": item_rule.schema}),
        );
        self.note_default(rule.schema.clone(), &json!(allowed));
        let all = || words.iter().map(|(_, value)| *value).collect();
        let Some(found) = self.take() else { return all() };
        let parse = |text: &str| {
            let known = words.iter().find(|(word, _)| *word == text);
            known.map(|(_, value)| *value).ok_or_else(|| Problem::new("unknown word"))
        };
        self.items(found, &rule, &item_rule, parse)
            .map_or_else(all, |items| items.into_iter().map(|found| found.value).collect())
    }

    /// The elements of a list that are right; `None` where it is no list.
    fn items<T>(
        &mut self,
        Found { value, spot }: Found<Value>,
        rule: &Rule,
        item_rule: &Rule,
        parse: impl Fn(&str) -> Result<T, Problem>,
    ) -> Option<Vec<Found<T>>> {
        let in_variable = matches!(spot, Spot::Variable(_));
        let items: Vec<Found<Value>> = match value {
            Value::List(items) => items.into_iter().map(Found::from).collect(),
            Value::Text(text) if in_variable && !text.trim().is_empty() => text
                .split(',')
                .map(|word| Found { value: Value::Text(word.trim().to_owned()), spot: spot.clone() })
                .collect(),
            other @ (Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::Map(_)
            | Value::Tagged(_)) => {
                self.refuse(&spot, Problem::of_type(&other, rule));
                return None;
            }
        };
        let list = self.path.clone();
        let mut right = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            self.path = format!("{list}[{index}]");
            right.extend(self.check(item, item_rule, &parse));
        }
        Some(right)
    }

    /// Takes the value out of the environment, else out of the file.
    fn take(&mut self) -> Option<Found<Value>> {
        let from_file = self.section.left.remove(&self.name).map(Found::from);
        self.section.variable(&self.name).or(from_file)
    }

    /// Checks one text.
    pub(super) fn check<T>(
        &mut self,
        Found { value, spot }: Found<Value>,
        rule: &Rule,
        parse: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Result<Found<T>, Faulty> {
        let Value::Text(text) = value else {
            let mut problem = Problem::of_type(&value, rule);
            if let Value::Number(text) = &value
                && parse(text).is_ok()
            {
                problem.cure = Some("put it in quotes".to_owned());
            }
            return Err(self.refuse(&spot, problem));
        };
        match plain(&text).and_then(|()| parse(&text)) {
            Ok(value) => Ok(Found { value, spot }),
            Err(problem) => {
                let read = (!text.trim().is_empty()).then(|| rule.show.text(&text));
                Err(self.refuse(&spot, Problem { read, ..problem }.allowed(&rule.allowed)))
            }
        }
    }

    fn refuse(&mut self, spot: &Spot, problem: Problem) -> Faulty {
        self.section.reader.refuse(spot, &self.path, problem)
    }

    fn note(&mut self, schema: serde_json::Value) {
        self.section.note(&self.name, &self.about, schema);
    }

    fn note_default(&mut self, mut schema: serde_json::Value, default: &serde_json::Value) {
        if let Some(members) = schema.as_object_mut() {
            members.insert("default".to_owned(), default.clone());
        }
        self.note(schema);
    }
}
