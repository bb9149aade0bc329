//! What must hold for any bytes from outside: one function a fuzz target, which panics where it does not.
//!
//! `fuzz/` hands them what libFuzzer makes up, and the tests what is kept of that in `tests/corpus`. Where a parser is private
//! to its adapter, its function stands beside it.

mod command;
mod config;
mod discovery;
mod world;

pub use self::{command::command, config::config, discovery::discovery};
pub use crate::{
    journal::fuzz::journal,
    verkada::fuzz::{events, lists, retry_after, webhook},
};

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// The name of a target, which is that of its corpus too, and what it checks.
    type Target = (&'static str, fn(&[u8]));

    const TARGETS: [Target; 8] = [
        ("command", command),
        ("config", config),
        ("discovery", discovery),
        ("events", events),
        ("journal", journal),
        ("lists", lists),
        ("retry_after", retry_after),
        ("webhook", webhook),
    ];

    fn entries(of: &Path) -> Vec<String> {
        let names = fs::read_dir(of).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn every_input_that_is_kept_holds() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
        assert_eq!(entries(&corpora), TARGETS.map(|(name, _)| name));
        for (name, check) in TARGETS {
            let corpus = corpora.join(name);
            let inputs = entries(&corpus);
            assert!(inputs.len() >= 20, "{name} has {} inputs", inputs.len());
            for input in inputs {
                // Where it fails, the last one that is printed is to blame.
                println!("{name}/{input}");
                check(&fs::read(corpus.join(input)).unwrap());
            }
        }
    }
}
