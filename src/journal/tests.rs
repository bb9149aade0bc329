//! What events tell of the writer, and how the file is written.

use super::*;

#[expect(clippy::disallowed_methods, reason = "tests need a starting point")]
fn now() -> Instant {
    Instant::now()
}

fn progress(number: u64) -> Progress {
    Progress { number: RecordNumber(number), head: format!("h{number}"), ..Progress::default() }
}

fn broken(number: u64, sentence: &str) -> Progress {
    Progress { broken: Some(sentence.to_owned()), ..progress(number) }
}

fn written(number: u64) -> JournalEvent {
    JournalEvent::Written { number: RecordNumber(number), head: format!("h{number}") }
}

fn is_broken(sentence: &str) -> JournalEvent {
    JournalEvent::Broken(sentence.to_owned())
}

/// All events that are due one after the other.
fn due(told: &mut Told, progress: &Progress, stuck: Option<&str>) -> Vec<JournalEvent> {
    std::iter::from_fn(|| told.next(progress, stuck.map(str::to_owned))).take(9).collect()
}

#[test]
fn each_change_is_told_once_and_in_an_order_that_can_be_relied_on() {
    let mut told = Told::default();
    assert_eq!(due(&mut told, &progress(0), None), []);
    assert_eq!(due(&mut told, &progress(2), None), [written(2)]);
    assert_eq!(due(&mut told, &progress(2), None), []);
    // What was written before it broke was written.
    assert_eq!(due(&mut told, &broken(3, "full"), None), [written(3), is_broken("full")]);
    assert_eq!(due(&mut told, &broken(3, "full"), None), []);
    assert_eq!(due(&mut told, &broken(3, "gone"), None), [is_broken("gone")]);
    assert_eq!(due(&mut told, &progress(5), None), [JournalEvent::Mended, written(5)]);
    // A disk that stands still is told like one that fails.
    assert_eq!(due(&mut told, &progress(5), Some("stuck")), [is_broken("stuck")]);
    assert_eq!(due(&mut told, &progress(5), Some("stuck")), []);
    assert_eq!(due(&mut told, &progress(6), None), [JournalEvent::Mended, written(6)]);
}

#[test]
fn lost_records_are_told_before_later_ones_are_called_written() {
    let mut told = Told::default();
    let mut progress = progress(3);
    progress.lose();
    progress.lose();
    assert_eq!(progress.incidents, 1, "a stretch of them is one incident");
    let sentence = "records for the journal are lost: they come faster than the disk takes them";
    assert_eq!(due(&mut told, &progress, None), [is_broken(sentence), JournalEvent::Mended, written(3)]);
    let mut progress = broken(3, "full");
    progress.lose();
    progress.lose();
    assert_eq!(progress.broken.as_deref(), Some("full; records are lost"));
}

#[test]
fn a_disk_that_takes_nothing_is_noticed_and_one_that_is_slow_is_not() {
    let (mut waiting, start) = (Waiting::default(), now());
    let after = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(waiting.settle(RecordNumber(0), start), None);
    waiting.note(RecordNumber(1), after(1));
    waiting.note(RecordNumber(9), after(2));
    assert_eq!(waiting.settle(RecordNumber(0), after(3)), Some(after(1)));
    assert_eq!(waiting.settle(RecordNumber(4), after(4)), Some(after(4)), "it takes some");
    assert_eq!(waiting.settle(RecordNumber(4), after(5)), Some(after(4)));
    assert_eq!(waiting.settle(RecordNumber(9), after(6)), None);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_stands_still_is_told_after_a_while() {
    // A writer that never gets on: nobody takes from the queue.
    let (records, _queue) = mpsc::sync_channel(CAPACITY);
    let (teller, progress) = watch::channel(Progress::default());
    let mut journal = Journal {
        name: "x".to_owned(),
        records,
        progress,
        teller: teller.clone(),
        waiting: Mutex::new(Waiting {
            newest: RecordNumber(1),
            since: now().checked_sub(PATIENCE),
            ..Waiting::default()
        }),
        told: Told::default(),
    };
    let sentence = "the journal x (state_dir) cannot be written: the disk has taken nothing for 2 s";
    assert_eq!(journal.next().await, is_broken(sentence));
    teller.send_modify(|progress| progress.number = RecordNumber(1));
    assert_eq!(journal.next().await, JournalEvent::Mended);
    let JournalEvent::Written { number, .. } = journal.next().await else { panic!("not written") };
    assert_eq!(number, RecordNumber(1));
}

#[test]
fn what_is_committed_is_on_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(Some(&Place::new(directory.path())), Timestamp::MIN, |_| {}).unwrap();
    // EXTRA is 3: every commit waits for the disk.
    assert_eq!(store.setting("synchronous"), "3");
    assert_eq!(store.setting("journal_mode"), "wal");
    assert_eq!(store.setting("secure_delete"), "1");
}
