//! Documents that are made from the code say what the code says. `UPDATE_EXPECTED=1 cargo test --test docs` writes them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{env, fmt::Write, fs, path::Path};

use verkada2mqtt::model::{Outcome, Reason};

/// What `docs/commands.md` has to say.
fn commands() -> String {
    let mut text = "\
<!-- Made from src/model/explain.rs: UPDATE_EXPECTED=1 cargo test --test docs -->

# Why a command was not done

The gate makes its checks in the order of this table, and the first fault that it finds is the `reason` of the result. One
exception serves senders: a repeat of a command with the same `id` that comes too late, or with a one-time code that is used up
by now, is answered as the repeat that it is. Which outcome means what tells [the README](../README.md#commands-and-results).

## In the gate: nothing was sent

"
    .to_owned();
    let head = "| reason | check | outcome | meaning | cure |\n|---|---|---|---|---|\n";
    text += head;
    let mut in_gate = true;
    for reason in Reason::ALL {
        let told = reason.explanation();
        if in_gate && !told.check.is_of_gate() {
            in_gate = false;
            text += "\n## After the gate\n\nThe command was taken on; its result with outcome *accepted* came before.\n\n";
            text += head;
        }
        let outcomes: Vec<&str> = told.outcomes.iter().copied().map(Outcome::word).collect();
        let (word, check, outcomes) = (reason.word(), told.check, outcomes.join(", "));
        writeln!(text, "| `{word}` | {check} | {outcomes} | {} | {} |", told.meaning, told.cure).unwrap();
    }
    text
}

#[test]
fn the_table_of_reasons_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/commands.md");
    let wanted = commands();
    if env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let held = fs::read_to_string(&path).unwrap_or_default();
    assert!(held == wanted, "docs/commands.md is old; run UPDATE_EXPECTED=1 cargo test --test docs");
}
