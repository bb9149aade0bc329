//! The command `audit`, as it is typed.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use jiff::Timestamp;
use serde_json::Value;
use verkada2mqtt::{
    clock,
    journal::{self, Entry},
    model::{Outcome, Reason, Record, RecordNumber, Stage, Target},
};

use crate::{LIMIT, entries, open, record, written};

/// Runs `audit` on a state directory.
pub(crate) fn audit(directory: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_verkada2mqtt"))
        .args(["audit", "--state-dir"])
        .arg(directory)
        .args(args)
        .output()
        .unwrap()
}

/// What it says, when all is well.
fn said(directory: &Path, args: &[&str]) -> String {
    let output = audit(directory, args);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(directory: &Path) -> String {
    let output = audit(directory, &[]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// A small day: an unlock that was done, one that was refused, and a lockdown.
fn day() -> Vec<Record> {
    let at = |text: &str| -> Timestamp { format!("2026-11-25T{text}Z").parse().unwrap() };
    let lockdown = || Some(Target::Scenario("s-1".parse().unwrap()));
    let records = [
        Record {
            at: at("08:00:00.120"),
            received_at: Some(at("08:00:00.119")),
            text: "the unlock is on its way".to_owned(),
            ..record(1)
        },
        Record {
            at: at("08:00:00.121"),
            stage: Stage::Sending,
            by: None,
            text: "the request may be written from now on".to_owned(),
            ..record(1)
        },
        Record {
            at: at("08:00:00.480"),
            stage: Stage::Ended,
            by: None,
            outcome: Some(Outcome::Done),
            text: "the vendor unlocked the door".to_owned(),
            ..record(1)
        },
        Record {
            at: at("08:03:00"),
            stage: Stage::Refused,
            command: None,
            by: Some("Zoë \u{1b}[2J\n\u{202e}x".to_owned()),
            outcome: Some(Outcome::Refused),
            reason: Some(Reason::LinkStale),
            text: "it may be of any age\r\nreally".to_owned(),
            ..record(1)
        },
        Record {
            at: at("23:59:59.999"),
            command: Some("x".repeat(100)),
            target: lockdown(),
            action: Some("activate"),
            by: Some("a very long name that somebody chose".to_owned()),
            text: "the lockdown is on its way".to_owned(),
            ..record(1)
        },
    ];
    records.into_iter().zip(1..).map(|(record, n)| Record { number: RecordNumber(n), ..record }).collect()
}

async fn write_day(directory: &Path) {
    let (journal, _) = open(directory);
    for record in day() {
        journal.write(record);
    }
    journal.close(LIMIT).await;
}

#[tokio::test]
async fn the_table_is_aligned_and_says_which_time_it_tells() {
    let directory = tempfile::tempdir().unwrap();
    write_day(directory.path()).await;
    let expected = "\
TIME (UTC)               STAGE     ACTION    TARGET        RESULT              COMMAND                                   BY                        TEXT
2026-11-25 08:00:00.120  accepted  unlock    door/d-1      -                   c-1                                       a flow                    the unlock is on its way
2026-11-25 08:00:00.121  sending   unlock    door/d-1      -                   c-1                                       -                         the request may be written from now on
2026-11-25 08:00:00.480  ended     unlock    door/d-1      done                c-1                                       -                         the vendor unlocked the door
2026-11-25 08:03:00.000  refused   unlock    door/d-1      refused link_stale  -                                         Zoë \\u{1b}[2J\\n\\u{202e}x  it may be of any age\\r\\nreally
2026-11-25 23:59:59.999  accepted  activate  scenario/s-1  -                   xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…  a very long name that s…  the lockdown is on its way
";
    assert_eq!(said(directory.path(), &[]), expected);
}

#[tokio::test]
async fn one_target_alone_can_be_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    write_day(directory.path()).await;
    let table = said(directory.path(), &["--target", "scenario/s-1"]);
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.contains("scenario/s-1") && !table.contains("door/"), "{table}");
    assert_eq!(
        said(directory.path(), &["--target", "door/d-9"]),
        format!("the journal {} holds no record about door/d-9\n", journal::path(directory.path()).display())
    );
}

#[tokio::test]
async fn only_the_last_time_can_be_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let now = clock::now().utc;
    let (journal, _) = open(directory.path());
    for (number, hours) in [(1, 50), (2, 25), (3, 23), (4, 1)] {
        journal.write(Record { at: now - jiff::SignedDuration::from_hours(hours), ..record(number) });
    }
    journal.close(LIMIT).await;
    let rows = |args: &[&str]| said(directory.path(), args).lines().count() - 1;
    assert_eq!((rows(&[]), rows(&["--since", "24h"]), rows(&["--since", "2d"])), (4, 2, 3));
    let nothing = said(directory.path(), &["--since", "30m"]);
    assert!(nothing.contains("holds no record since 20") && nothing.ends_with(" UTC\n"), "{nothing}");
}

#[tokio::test]
async fn json_is_one_object_a_line_and_whole() {
    let directory = tempfile::tempdir().unwrap();
    write_day(directory.path()).await;
    let out = said(directory.path(), &["--json"]);
    let objects: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let read: Vec<Entry> = entries(directory.path());
    let expected: Vec<Value> = read.iter().map(|entry| serde_json::to_value(entry).unwrap()).collect();
    assert_eq!(objects, expected);
    assert_eq!(objects[3]["by"], "Zoë \u{1b}[2J\n\u{202e}x");
    assert_eq!(objects[3]["command"], Value::Null);
    let verified: Value = serde_json::from_str(&said(directory.path(), &["--verify", "--json"])).unwrap();
    assert_eq!(
        verified,
        serde_json::json!({
            "journal": journal::path(directory.path()),
            "whole": true,
            "records": 5,
            "removed": 0,
            "last": 5,
            "head": read[4].hash,
            "bad": null,
            "published_at": null,
        })
    );
}

#[tokio::test]
async fn a_whole_chain_is_told_with_its_head() {
    let directory = tempfile::tempdir().unwrap();
    write_day(directory.path()).await;
    let read = entries(directory.path());
    fs::write(directory.path().join("journal.sqlite.unusable-1"), "").unwrap();
    let out = said(directory.path(), &["--verify", "--head", &read[2].hash]);
    let path = journal::path(directory.path());
    assert_eq!(
        out,
        format!(
            "{path}\n  ok   chain: 5 records, none changed, missing or added in between\n       head: {} (record 5)\n  ok   \
             published head: it is that of record 3; everything up to there is as it was\n       set aside before: \
             {path}.unusable-1\n",
            read[4].hash,
            path = path.display(),
        )
    );
}

#[tokio::test]
async fn an_empty_a_missing_and_an_unreadable_journal_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = journal::path(directory.path());
    assert_eq!(
        refused(directory.path()),
        format!(
            "verkada2mqtt: there is no journal at {}: the gateway has not run with this state_dir\n",
            path.display()
        )
    );
    assert!(!path.exists(), "looking makes none");
    open(directory.path()).0.close(LIMIT).await;
    let empty = format!("the journal {} holds no record\n", path.display());
    assert_eq!(said(directory.path(), &[]), empty);
    assert_eq!(said(directory.path(), &["--json"]), "");
    assert!(said(directory.path(), &["--verify"]).contains("  ok   chain: no record"));
    fs::write(&path, "not a database".repeat(100)).unwrap();
    assert_eq!(
        refused(directory.path()),
        format!("verkada2mqtt: cannot read the journal {}: it is no SQLite database\n", path.display())
    );
}

#[tokio::test]
async fn it_reads_beside_a_gateway_that_writes() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(directory.path());
    let mut number = 0;
    for _ in 0..10 {
        for _ in 0..50 {
            number += 1;
            journal.write(record(number));
        }
        // Nothing waits for the writer: it may be half-way.
        said(directory.path(), &["--verify"]);
        let others = written(&mut journal, number).await;
        assert_eq!(others, []);
        let listed = said(directory.path(), &["--json"]).lines().count();
        assert_eq!(u64::try_from(listed).unwrap(), number);
    }
    journal.close(LIMIT).await;
}

#[tokio::test]
async fn the_configuration_says_where_it_is_and_needs_no_secret_for_that() {
    let directory = tempfile::tempdir().unwrap();
    write_day(directory.path()).await;
    let config = directory.path().join("config.yaml");
    fs::write(&config, format!("state_dir: {}\nmqtt: {{ url: nonsense }}\n", directory.path().display()))
        .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_verkada2mqtt"))
        .args(["audit", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), said(directory.path(), &[]));
    let wrong = audit(directory.path(), &["--since", "yesterday"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    let nothing = audit(directory.path(), &["--head", "00"]);
    assert_eq!(nothing.status.code(), Some(2), "--head needs --verify: {nothing:?}");
}

#[tokio::test]
async fn a_copy_on_a_read_only_disk_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    write_day(directory.path()).await;
    let Some(disk) = crate::trouble::Disk::small() else { return };
    fs::copy(journal::path(directory.path()), journal::path(disk.path())).unwrap();
    disk.remount("ro");
    assert_eq!(said(disk.path(), &[]), said(directory.path(), &[]));
    assert!(said(disk.path(), &["--verify"]).contains("  ok   chain: 5 records"));
}
