//! Any file as the configuration: it is whole, or each fault says where it is.

#![expect(clippy::missing_panics_doc, clippy::panic, reason = "what fails here is what fuzzing looks for")]

use crate::config::{self, Environment, Fault, Place};

/// The most characters that any part of a fault may have, so that a report stays readable.
const MOST_CHARS: usize = 1000;

/// `data` is the file.
pub fn config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match config::parse(text, "config.yaml", &Environment::default()) {
        Ok(config) => {
            assert!(!config.mqtt.base_topic.contains(['+', '#']) && !config.mqtt.base_topic.is_empty());
            assert!(config.mqtt.port != 0);
            let poll = config.poll;
            assert!([poll.doors, poll.scenarios, poll.events].iter().all(|every| !every.is_zero()));
            assert!(config.warnings.iter().all(|warning| !warning.contains(char::is_control)));
            let _shown = format!("{config:?}");
        }
        Err(report) => {
            assert!((1..=50).contains(&report.faults().len()));
            // To YAML each of these ends a line.
            let lines = text.matches(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() + 1;
            for fault in report.faults() {
                says_where(fault, lines);
                is_one_line_each(fault);
            }
        }
    }
}

fn says_where(fault: &Fault, lines: usize) {
    let Place::File { name, line } = &fault.place else { panic!("{fault:?}") };
    // The file may name other files, of which a fault may be told in turn.
    assert!(name == "config.yaml" || std::path::Path::new(name).is_absolute(), "{fault:?}");
    match line {
        Some(line) => assert!((1..=lines).contains(line), "{fault:?} of {lines} lines"),
        // Only the file as a whole, and what it does not mention, stand on no line.
        None => assert!(fault.key.is_empty() || !fault.problem.contains("unknown"), "{fault:?}"),
    }
}

fn is_one_line_each(fault: &Fault) {
    let parts = [
        Some(&fault.key),
        Some(&fault.problem),
        fault.read.as_ref(),
        fault.allowed.as_ref(),
        fault.cure.as_ref(),
    ];
    for part in parts.into_iter().flatten() {
        assert!(!part.contains(char::is_control), "{fault:?}");
        assert!(part.chars().count() <= MOST_CHARS, "{fault:?}");
    }
}
