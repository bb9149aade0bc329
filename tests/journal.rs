//! The journal on real files: what was told as written stays, what is damaged is set aside, and nothing blocks.
//!
//! `KILLS` and `SEED` in the environment ask for more kills, and for those of another seed.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "what helps a test may fail like a test"
)]

use std::{path::Path, time::Duration};

use jiff::Timestamp;
use rusqlite::Connection;
use tokio::time::timeout;
use verkada2mqtt::{
    journal::{self, Entry, Filter, Journal},
    model::{JournalEvent, Outcome, Past, Reason, Record, RecordNumber, Stage, Target},
};

#[path = "journal/audit.rs"]
mod audit;
#[path = "journal/damage.rs"]
mod damage;
#[path = "support/environment.rs"]
mod environment;
#[path = "journal/kill.rs"]
mod kill;
#[path = "journal/tamper.rs"]
mod tamper;
#[path = "journal/trouble.rs"]
mod trouble;

/// No wait of a test may take longer.
const LIMIT: Duration = Duration::from_secs(30);

fn start() -> Timestamp {
    "2026-11-25T21:00:00Z".parse().unwrap()
}

fn target() -> Target {
    Target::Door("d-1".parse().unwrap())
}

/// A record of something, one second after the one before.
fn record(number: u64) -> Record {
    Record {
        number: RecordNumber(number),
        at: start() + Duration::from_secs(number),
        stage: Stage::Accepted,
        command: Some(format!("c-{number}")),
        target: Some(target()),
        action: Some("unlock"),
        by: Some("a flow".to_owned()),
        received_at: Some(start() + Duration::from_secs(number)),
        outcome: None,
        reason: None,
        text: format!("the unlock {number} is on its way"),
    }
}

fn open(directory: &Path) -> (Journal, Past) {
    journal::open(Some(directory), "run-1", start())
}

async fn event(journal: &mut Journal) -> JournalEvent {
    timeout(LIMIT, journal.next()).await.expect("no event comes")
}

/// Waits until everything up to a record is durable; says what else happened meanwhile.
async fn written(journal: &mut Journal, number: u64) -> Vec<JournalEvent> {
    let mut others = Vec::new();
    loop {
        match event(journal).await {
            JournalEvent::Written { number: newest, .. } if newest >= RecordNumber(number) => return others,
            JournalEvent::Written { .. } => {}
            other @ (JournalEvent::Broken(_) | JournalEvent::Mended) => others.push(other),
        }
    }
}

/// Writes records 1 to `count` and closes the journal.
async fn fill(directory: &Path, count: u64) -> Past {
    let (mut journal, past) = open(directory);
    for number in 1..=count {
        journal.write(record(number));
    }
    assert_eq!(written(&mut journal, count).await, []);
    journal.close(LIMIT).await;
    past
}

fn entries(directory: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    journal::read(directory, &Filter::default(), |entry| {
        entries.push(entry.clone());
        Ok(())
    })
    .unwrap();
    entries
}

/// The database as anybody could open it.
fn database(directory: &Path) -> Connection {
    Connection::open(journal::path(directory)).unwrap()
}

#[tokio::test]
async fn what_was_written_is_read_again_word_for_word() {
    let directory = tempfile::tempdir().unwrap();
    let odd = Record {
        number: RecordNumber(2),
        at: "2026-11-25T21:27:42.871123456Z".parse().unwrap(),
        stage: Stage::Refused,
        command: Some("ü".repeat(5000)),
        target: None,
        action: None,
        by: Some("\u{202e}Zoë \0\u{1b}[31m\n日本".to_owned()),
        received_at: None,
        outcome: Some(Outcome::Refused),
        reason: Some(Reason::Duplicate),
        text: String::new(),
    };
    let (mut journal, past) = open(directory.path());
    assert_eq!(past, Past::default());
    journal.write(record(1));
    journal.write(odd.clone());
    assert_eq!(written(&mut journal, 2).await, []);
    let entries = entries(directory.path());
    let [first, second] = &entries[..] else { panic!("{entries:?}") };
    let expected = Entry {
        sequence: 1,
        run: "run-1".to_owned(),
        number: 1,
        at: "2026-11-25T21:00:01Z".to_owned(),
        stage: "accepted".to_owned(),
        command: Some("c-1".to_owned()),
        target: Some("door/d-1".to_owned()),
        action: Some("unlock".to_owned()),
        by: Some("a flow".to_owned()),
        received_at: Some("2026-11-25T21:00:01Z".to_owned()),
        outcome: None,
        reason: None,
        text: "the unlock 1 is on its way".to_owned(),
        hash: first.hash.clone(),
    };
    assert_eq!(*first, expected);
    let expected = Entry {
        sequence: 2,
        run: "run-1".to_owned(),
        number: 2,
        at: "2026-11-25T21:27:42.871123456Z".to_owned(),
        stage: "refused".to_owned(),
        command: odd.command,
        by: odd.by,
        outcome: Some("refused".to_owned()),
        reason: Some("duplicate".to_owned()),
        hash: second.hash.clone(),
        ..Entry::default()
    };
    assert_eq!(*second, expected);
}

#[tokio::test]
async fn an_event_tells_the_head_of_the_chain() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(directory.path());
    journal.write(record(1));
    let JournalEvent::Written { number, head } = event(&mut journal).await else { panic!("not written") };
    assert_eq!(number, RecordNumber(1));
    let chain = journal::verify(directory.path(), Some(&head)).unwrap();
    assert_eq!((chain.head, chain.published), (head, Some(journal::Published::At(1))));
    journal.close(LIMIT).await;
}

#[tokio::test]
async fn the_next_run_goes_on_where_the_last_one_ended() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path(), 3).await;
    let (mut journal, past) = journal::open(Some(directory.path()), "run-2", start());
    let ids: Vec<_> = past.commands.iter().map(|command| command.id.as_str()).collect();
    assert_eq!((ids, past.replaced), (vec!["c-1", "c-2", "c-3"], None));
    journal.write(record(1));
    written(&mut journal, 1).await;
    let entries = entries(directory.path());
    let places: Vec<_> =
        entries.iter().map(|entry| (entry.sequence, entry.run.as_str(), entry.number)).collect();
    assert_eq!(places, [(1, "run-1", 1), (2, "run-1", 2), (3, "run-1", 3), (4, "run-2", 1)]);
    assert!(journal::verify(directory.path(), None).unwrap().is_whole());
}

#[tokio::test]
async fn only_the_owner_may_read_any_file_of_it() {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    let directory = tempfile::tempdir().unwrap();
    let modes = || {
        let files = fs::read_dir(directory.path()).unwrap().map(Result::unwrap);
        let mut modes: Vec<_> = files
            .map(|file| {
                (
                    file.file_name().into_string().unwrap(),
                    file.metadata().unwrap().permissions().mode() & 0o777,
                )
            })
            .collect();
        modes.sort();
        modes
    };
    let private: Vec<_> = ["journal.sqlite", "journal.sqlite-shm", "journal.sqlite-wal"]
        .map(|name| (name.to_owned(), 0o600))
        .into();
    let (mut journal, _) = open(directory.path());
    journal.write(record(1));
    written(&mut journal, 1).await;
    assert_eq!(modes(), private);
    for (name, _) in &private {
        fs::set_permissions(directory.path().join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let (mut second, _) = open(directory.path());
    second.write(record(1));
    written(&mut second, 1).await;
    assert_eq!(modes(), private, "what others may read is closed to them");
}

#[tokio::test]
async fn without_a_directory_it_lives_in_memory() {
    let (mut journal, past) = journal::open(None, "run-1", start());
    assert_eq!(past, Past::default());
    journal.write(record(1));
    assert_eq!(written(&mut journal, 1).await, []);
    journal.close(LIMIT).await;
}

#[tokio::test]
async fn what_waits_is_written_before_it_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = open(directory.path());
    for number in 1..=500 {
        journal.write(record(number));
    }
    journal.close(LIMIT).await;
    let beside = ["-wal", "-shm"].map(|ending| directory.path().join(format!("journal.sqlite{ending}")));
    assert!(!beside.iter().any(|path| path.exists()), "all is in the one file");
    assert_eq!(entries(directory.path()).len(), 500);
}

#[tokio::test]
async fn old_records_go_and_the_chain_stays_whole() {
    let directory = tempfile::tempdir().unwrap();
    let limits = journal::Limits { keep: Duration::from_secs(1000), rows: 1_000_000 };
    let (mut journal, _) = journal::open_with(Some(directory.path()), "run-1", start(), limits);
    let mut head = String::new();
    // One after the other, since only a record that is written lets older ones be removed.
    for last in [500, 1000, 1500, 2000, 2500] {
        for number in last - 499..=last {
            journal.write(record(number));
        }
        loop {
            if let JournalEvent::Written { number, head: newest } = event(&mut journal).await
                && number == RecordNumber(last)
            {
                head = newest;
                break;
            }
        }
    }
    journal.close(LIMIT).await;
    // And at the next start, as the time has come.
    let now = start() + Duration::from_secs(2600);
    let (mut journal, _) = journal::open_with(Some(directory.path()), "run-2", now, limits);
    journal.write(Record { at: now, ..record(1) });
    written(&mut journal, 1).await;
    journal.write(Record { at: now, ..record(2) });
    written(&mut journal, 2).await;
    journal.close(LIMIT).await;
    let chain = journal::verify(directory.path(), Some(&head)).unwrap();
    assert!(chain.is_whole(), "{chain:?}");
    assert_eq!((chain.removed, chain.last), (1599, 2502));
    assert_eq!(entries(directory.path())[0].number, 1600);
}

#[tokio::test]
async fn more_records_than_the_cap_push_out_the_oldest() {
    let directory = tempfile::tempdir().unwrap();
    let limits = journal::Limits { rows: 100, ..journal::Limits::default() };
    for run in ["run-1", "run-2", "run-3"] {
        let (mut journal, _) = journal::open_with(Some(directory.path()), run, start(), limits);
        for number in 1..=600 {
            journal.write(record(number));
        }
        assert_eq!(written(&mut journal, 600).await, []);
        journal.close(LIMIT).await;
    }
    // The next start looks again, before it writes.
    let (mut journal, _) = journal::open_with(Some(directory.path()), "run-4", start(), limits);
    for number in 1.. {
        journal.write(record(number));
        written(&mut journal, number).await;
        let chain = journal::verify(directory.path(), None).unwrap();
        assert!(chain.is_whole(), "{chain:?}");
        if chain.records <= 101 {
            return;
        }
    }
}
