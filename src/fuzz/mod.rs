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

    /// Hands a target everything that is kept for it; the last input is printed where it fails.
    fn replay(target: &str, check: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
        let mut inputs: Vec<_> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        inputs.sort();
        assert!(inputs.len() >= 20, "{} holds {} inputs", corpus.display(), inputs.len());
        for input in inputs {
            println!("{}", input.display());
            check(&fs::read(input).unwrap());
        }
    }

    macro_rules! replays {
        ($($target:ident)*) => {
            $(
                #[test]
                fn $target() {
                    replay(stringify!($target), super::$target);
                }
            )*

            #[test]
            fn every_corpus_is_replayed() {
                let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
                let mut names: Vec<_> = fs::read_dir(corpora).unwrap().map(|entry| entry.unwrap().file_name()).collect();
                names.sort();
                assert_eq!(names, [$(stringify!($target)),*]);
            }
        };
    }

    replays! { command config discovery events journal lists retry_after webhook }
}
