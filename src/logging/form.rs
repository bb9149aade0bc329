//! One event is one line, whatever stands in it.

use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

/// The colours of the layer above: bold, dim, slanted, red to magenta, and their end.
const COLOURS: [&str; 9] = ["0m", "1m", "2m", "3m", "31m", "32m", "33m", "34m", "35m"];

/// Makes a line of each event, whatever stands in it: the layer above writes an event whole, and leaves in its fields what
/// breaks a line, moves a terminal or turns the direction of a text.
pub(super) struct OneLine<M> {
    pub(super) to: M,
    /// Whether the layer above colours what it writes.
    pub(super) colours: bool,
}

/// Writes one event.
pub(super) struct Line<W> {
    to: W,
    colours: bool,
}

impl<'a, M: Fn() -> W, W: Write> MakeWriter<'a> for OneLine<M> {
    type Writer = Line<W>;

    fn make_writer(&'a self) -> Line<W> {
        Line { to: (self.to)(), colours: self.colours }
    }
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.to.write_all(one_line(&String::from_utf8_lossy(event), self.colours).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// An event on one line. What is escaped is written as JSON does it, so that an event that is JSON stays JSON.
fn one_line(event: &str, colours: bool) -> String {
    let (event, end) = event.strip_suffix('\n').map_or((event, ""), |event| (event, "\n"));
    let mut line = String::with_capacity(event.len() + 1);
    for (at, c) in event.char_indices() {
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push(c),
            '\u{1b}' if colours && is_colour(event, at) => line.push(c),
            c if c.is_control() || turns(c) => line.extend(escaped(c)),
            c => line.push(c),
        }
    }
    line + end
}

fn escaped(c: char) -> impl Iterator<Item = char> {
    format!("\\u{:04x}", u32::from(c)).into_bytes().into_iter().map(char::from)
}

/// Whether an escape sequence is none but a colour.
fn is_colour(event: &str, at: usize) -> bool {
    let sequence = event.get(at..).and_then(|rest| rest.strip_prefix("\u{1b}["));
    sequence.is_some_and(|sequence| COLOURS.iter().any(|colour| sequence.starts_with(colour)))
}

/// Whether a character ends a line or changes the direction of what follows, without being a control character.
const fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use proptest::prelude::*;
    use serde_json::Value;
    use tracing::subscriber;
    use tracing_subscriber::{fmt, layer::SubscriberExt as _};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What two events look like that tell of a door with this name.
    fn logged(name: &str, json: bool, colours: bool) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let lines =
            fmt::layer().with_writer(OneLine { to: move || writer.clone(), colours }).with_ansi(colours);
        let tell = || {
            tracing::info!(door = %name, other = ?name, "a door is new");
            tracing::warn!("the door {name} is gone");
        };
        let registry = tracing_subscriber::registry();
        if json {
            subscriber::with_default(registry.with(lines.json().flatten_event(true)), tell);
        } else {
            subscriber::with_default(registry.with(lines), tell);
        }
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn what_breaks_a_line_or_turns_it_round_is_escaped() {
        let text = logged("a\r\nERROR b\u{1b}[31m\u{202e}\u{2028}c", false, false);
        assert!(text.contains("door=a\\r\\nERROR b\\u001b[31m\\u202e\\u2028c"), "{text}");
        assert!(text.contains("the door a\\r\\nERROR b\\x1b[31m\\u202e\\u2028c is gone"), "{text}");
        let text = logged("a\u{1b}[2J\u{1b}[8m", false, true);
        assert!(text.contains("a\\u001b[2J\\u001b[8m"), "{text:?}");
        assert!(text.contains("\u{1b}[32m INFO"), "our own colours stay: {text:?}");
        let json = logged("\u{202e}\n", true, false);
        let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!(first["door"], "\u{202e}\n", "a program reads what it was");
        assert!(!json.contains('\u{202e}'), "{json}");
    }

    proptest! {
        #[test]
        fn one_event_is_one_line(name in "(.|[\\x00-\\x1f\\x7f-\\x{9f}\\x{200e}\\x{2028}-\\x{202e}]){0,40}") {
            for json in [false, true] {
                let text = logged(&name, json, false);
                prop_assert_eq!(text.lines().count(), 2, "{}", text);
                let foreign = |c: char| (c.is_control() && c != '\n' && c != '\t') || turns(c);
                prop_assert!(!text.contains(foreign), "{:?}", text);
            }
        }
    }
}
