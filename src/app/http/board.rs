//! What the status page shows at the moment, part by part, so that each listener can be given what it lacks.
//!
//! Nothing waits here for anybody: a listener is a number, the version up to which it was served. Whoever reads slowly is
//! given fewer and later pictures, never more memory.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use crate::{
    bridge::Change,
    model::{DoorId, ScenarioId, Target},
};

/// How many parts one piece of a stream holds.
const MAX_PARTS: usize = 256;

/// A part of the page.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Gateway,
    Commands,
    Scenario(ScenarioId),
    Door(DoorId),
    /// The time and what else changes with it. It says that everything before it is complete.
    Pulse,
}

impl Part {
    /// The name of its event on the stream.
    const fn event(&self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Commands => "commands",
            Self::Scenario(_) => "scenarios",
            Self::Door(_) => "doors",
            Self::Pulse => "pulse",
        }
    }
}

/// Up to where a listener was served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    epoch: u64,
    version: u64,
}

/// All parts, each with the version in which it last changed.
#[derive(Debug)]
pub(super) struct Board {
    /// Grows where something is taken away: then every listener begins anew.
    epoch: u64,
    version: u64,
    parts: BTreeMap<Part, (u64, Arc<str>)>,
    order: BTreeMap<u64, Part>,
}

impl Default for Board {
    fn default() -> Self {
        Self { epoch: 1, version: 0, parts: BTreeMap::new(), order: BTreeMap::new() }
    }
}

impl Board {
    /// Shows a row, or takes one away.
    pub(super) fn take(&mut self, change: &Change) {
        match change {
            Change::Door(row) => self.put(Part::Door(row.id.clone()), &json(row)),
            Change::Scenario(row) => self.put(Part::Scenario(row.id.clone()), &json(row)),
            Change::Gone(Target::Door(id)) => self.remove(&Part::Door(id.clone())),
            Change::Gone(Target::Scenario(id)) => self.remove(&Part::Scenario(id.clone())),
            Change::Gone(Target::Calendar(_)) => {}
        }
    }

    /// Shows a part, if it is another than before.
    pub(super) fn put(&mut self, part: Part, json: &str) {
        if let Some((version, shown)) = self.parts.get(&part) {
            if &**shown == json {
                return;
            }
            self.order.remove(version);
        }
        self.version += 1;
        self.order.insert(self.version, part.clone());
        self.parts.insert(part, (self.version, json.into()));
    }

    /// Shows nothing.
    pub(super) fn clear(&mut self) {
        self.parts.clear();
        self.order.clear();
        self.epoch += 1;
    }

    /// Some of what a listener lacks, as events of a stream; empty where it lacks nothing.
    pub(super) fn news(&self, seen: &mut Seen) -> String {
        let mut text = String::new();
        if seen.epoch != self.epoch {
            *seen = Seen { epoch: self.epoch, version: 0 };
            event(&mut text, "begin", &format!("\"{}\"", env!("CARGO_PKG_VERSION")));
        }
        let mut rows: Option<(&str, String)> = None;
        for (version, part) in
            self.order.range((Bound::Excluded(seen.version), Bound::Unbounded)).take(MAX_PARTS)
        {
            seen.version = *version;
            let Some((_, json)) = self.parts.get(part) else { continue };
            match (part, &mut rows) {
                (Part::Scenario(_) | Part::Door(_), Some((name, list))) if *name == part.event() => {
                    list.push(',');
                    list.push_str(json);
                    continue;
                }
                (Part::Scenario(_) | Part::Door(_) | Part::Gateway | Part::Commands | Part::Pulse, _) => {}
            }
            close(&mut text, rows.take());
            match part {
                Part::Scenario(_) | Part::Door(_) => rows = Some((part.event(), json.to_string())),
                Part::Gateway | Part::Commands | Part::Pulse => event(&mut text, part.event(), json),
            }
        }
        close(&mut text, rows);
        text
    }

    fn remove(&mut self, part: &Part) {
        if let Some((version, _)) = self.parts.remove(part) {
            self.order.remove(&version);
            self.epoch += 1;
        }
    }
}

/// JSON in one line: line breaks in texts are escaped, so that no name can begin an event of its own.
pub(super) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn close(text: &mut String, rows: Option<(&str, String)>) {
    if let Some((name, list)) = rows {
        event(text, name, &format!("[{list}]"));
    }
}

fn event(text: &mut String, name: &str, data: &str) {
    text.extend(["event: ", name, "\ndata: ", data, "\n\n"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(id: &str) -> Part {
        Part::Door(id.parse().unwrap())
    }

    #[test]
    fn a_listener_gets_all_once_and_then_only_differences() {
        let (mut board, mut seen) = (Board::default(), Seen::default());
        board.put(door("a"), "{1}");
        board.put(door("b"), "{2}");
        board.put(Part::Pulse, "{t}");
        let first = board.news(&mut seen);
        assert_eq!(
            first,
            format!(
                "event: begin\ndata: \"{}\"\n\nevent: doors\ndata: [{{1}},{{2}}]\n\nevent: pulse\ndata: {{t}}\n\n",
                env!("CARGO_PKG_VERSION")
            )
        );
        board.put(door("a"), "{1}");
        assert_eq!(board.news(&mut seen), "", "the same again is no difference");
        board.put(door("a"), "{3}");
        board.put(door("a"), "{4}");
        assert_eq!(board.news(&mut seen), "event: doors\ndata: [{4}]\n\n");
        let mut late = Seen::default();
        assert!(board.news(&mut late).contains("[{2}]"), "whoever comes later gets all");
    }

    #[test]
    fn what_is_gone_makes_everybody_begin_anew() {
        let (mut board, mut seen) = (Board::default(), Seen::default());
        board.put(door("a"), "{1}");
        board.put(door("b"), "{2}");
        board.news(&mut seen);
        board.take(&Change::Gone(Target::Door("a".parse().unwrap())));
        let again = board.news(&mut seen);
        assert!(again.starts_with("event: begin\n") && again.ends_with("data: [{2}]\n\n"), "{again}");
        board.take(&Change::Gone(Target::Door("a".parse().unwrap())));
        assert_eq!(board.news(&mut seen), "", "it was gone already");
        board.clear();
        assert!(board.news(&mut seen).starts_with("event: begin\n"));
    }

    #[test]
    fn a_piece_is_bounded_and_nothing_is_left_out() {
        let (mut board, mut seen) = (Board::default(), Seen::default());
        for number in 0..2 * MAX_PARTS {
            board.put(door(&format!("d{number}")), "{}");
        }
        assert_eq!(board.news(&mut seen).matches("{}").count(), MAX_PARTS);
        assert_eq!(board.news(&mut seen).matches("{}").count(), MAX_PARTS);
        assert_eq!(board.news(&mut seen), "");
    }
}
