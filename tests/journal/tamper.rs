//! Somebody changes what was written.

use std::{path::Path, process::Output};

use verkada2mqtt::journal::{self, BadRow, Published};

use crate::{audit::audit, database, entries, fill};

/// The first bad row, after some SQL on a journal of ten records.
async fn bad_row(sql: &str) -> BadRow {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path(), 10).await;
    database(directory.path()).execute_batch(sql).unwrap();
    let chain = journal::verify(directory.path(), None).unwrap();
    let bad = chain.bad.clone().unwrap();
    assert!(!chain.is_whole());
    assert_eq!(chain.records, u64::try_from(bad.sequence - 1).unwrap(), "what comes before is whole");
    let Output { status, stdout, .. } = audit(directory.path(), &["--verify"]);
    let out = String::from_utf8(stdout).unwrap();
    assert_eq!(status.code(), Some(1), "{out}");
    let line = format!("  FAIL chain: record {} is the first bad one: {}", bad.sequence, bad.what);
    assert!(out.lines().any(|said| said == line), "{line:?} is not in\n{out}");
    bad
}

#[tokio::test]
async fn the_first_bad_row_is_named() {
    let changed = "it is not what was written there";
    let swap = "CREATE TEMP TABLE a AS SELECT * FROM record WHERE sequence = 4; \
                DELETE FROM record WHERE sequence = 4; \
                UPDATE record SET sequence = 4 WHERE sequence = 5; \
                UPDATE temp.a SET sequence = 5; INSERT INTO record SELECT * FROM temp.a;";
    let append = "INSERT INTO record SELECT 11, run, number + 1, at, stage, command, target, action, asked_by, received_at, \
                  outcome, reason, text, hash FROM record WHERE sequence = 10";
    let before = "INSERT INTO record SELECT 0, run, number + 1, at, stage, command, target, action, asked_by, received_at, \
                  outcome, reason, text, hash FROM record WHERE sequence = 1";
    let bad = |sequence, what: &str| BadRow { sequence, what: what.to_owned() };
    for (sql, expected) in [
        ("UPDATE record SET text = 'nothing' WHERE sequence = 4", bad(4, changed)),
        ("UPDATE record SET asked_by = NULL WHERE sequence = 10", bad(10, changed)),
        ("UPDATE record SET hash = upper(hash) WHERE sequence = 7", bad(7, changed)),
        ("UPDATE record SET outcome = reason, reason = 'x' WHERE sequence = 1", bad(1, changed)),
        ("DELETE FROM record WHERE sequence = 4", bad(4, "it is missing")),
        ("DELETE FROM record WHERE sequence < 4", bad(1, "it is missing")),
        ("UPDATE anchor SET hash = lower(hex(randomblob(32)))", bad(1, changed)),
        (swap, bad(4, changed)),
        (append, bad(11, changed)),
    ] {
        assert_eq!(bad_row(sql).await, expected, "{sql}");
    }
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path(), 3).await;
    database(directory.path()).execute_batch(before).unwrap();
    let chain = journal::verify(directory.path(), None).unwrap();
    assert_eq!(chain.bad, Some(bad(0, "it stands before the first record that is kept")));
}

#[tokio::test]
async fn a_head_that_was_published_shows_an_end_that_was_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path(), 10).await;
    let hashes: Vec<_> = entries(directory.path()).into_iter().map(|entry| entry.hash).collect();
    let at = |hash: &str| journal::verify(directory.path(), Some(hash)).unwrap().published;
    assert_eq!(at(&hashes[9]), Some(Published::At(10)));
    assert_eq!(at(&hashes[5].to_uppercase()), Some(Published::At(6)));

    database(directory.path()).execute_batch("DELETE FROM record WHERE sequence > 8").unwrap();
    let chain = journal::verify(directory.path(), None).unwrap();
    assert!(chain.is_whole(), "the chain alone does not show it");
    let chain = journal::verify(directory.path(), Some(&hashes[9])).unwrap();
    assert_eq!((chain.bad.clone(), chain.published), (None, Some(Published::Nowhere)));
    assert!(!chain.is_whole());
    assert_eq!(verified(directory.path(), &hashes[9]).0, Some(1));
    assert_eq!(verified(directory.path(), &hashes[7]).0, Some(0));
}

fn verified(directory: &Path, head: &str) -> (Option<i32>, String) {
    let output = audit(directory, &["--verify", "--head", head]);
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}
