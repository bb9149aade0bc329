//! Disks that are full, read-only or gone, and files that vanish while they are used.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use verkada2mqtt::{
    journal::{self, CAPACITY, Journal},
    model::JournalEvent,
};

use crate::{LIMIT, entries, event, fill, open, record, start, written};

/// A disk of one megabyte, for which one has to be root.
pub(crate) struct Disk(tempfile::TempDir);

impl Disk {
    pub(crate) fn small() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(directory.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(directory)),
            other => {
                eprintln!("SKIPPED: no small disk can be mounted: {other:?}");
                None
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn remount(&self, how: &str) {
        let option = format!("remount,{how}");
        let status = Command::new("mount").args(["-o", &option]).arg(self.path()).status().unwrap();
        assert!(status.success(), "{option}");
    }

    /// Takes all the room there is.
    fn fill(&self) {
        for block in [65536, 4096, 1] {
            let name = self.path().join(format!("ballast-{block}"));
            drop(fs::write(&name, vec![0; 2 << 20]));
            assert!(name.exists(), "{block}");
        }
    }

    fn make_room(&self) {
        for block in [65536, 4096, 1] {
            fs::remove_file(self.path().join(format!("ballast-{block}"))).unwrap();
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.path().display());
    }
}

async fn broken(journal: &mut Journal) -> String {
    match event(journal).await {
        JournalEvent::Broken(sentence) => sentence,
        other @ (JournalEvent::Written { .. } | JournalEvent::Mended) => panic!("{other:?}"),
    }
}

fn cannot_write(directory: &Path) -> String {
    format!("the journal {} (state_dir) cannot be written: ", journal::path(directory).display())
}

#[tokio::test]
async fn a_disk_that_gets_full_is_told_and_nothing_is_lost() {
    let Some(disk) = Disk::small() else { return };
    let (mut journal, _) = open(disk.path());
    journal.write(record(1));
    assert_eq!(written(&mut journal, 1).await, []);
    disk.fill();
    let mut number = 1;
    let sentence = loop {
        number += 1;
        journal.write(record(number));
        match event(&mut journal).await {
            JournalEvent::Broken(sentence) => break sentence,
            JournalEvent::Written { .. } => {}
            JournalEvent::Mended => panic!("mended"),
        }
    };
    assert_eq!(sentence, cannot_write(disk.path()) + "the disk is full; free some space");
    disk.make_room();
    number += 1;
    journal.write(record(number));
    assert_eq!(written(&mut journal, number).await, [JournalEvent::Mended]);
    let numbers: Vec<_> = entries(disk.path()).into_iter().map(|entry| entry.number).collect();
    let all: Vec<_> = (1..=i64::try_from(number).unwrap()).collect();
    assert_eq!(numbers, all);
    assert!(journal::verify(disk.path(), None).unwrap().is_whole());
    journal.close(LIMIT).await;
}

#[tokio::test]
async fn it_mends_without_a_new_record() {
    let Some(disk) = Disk::small() else { return };
    fill(disk.path(), 3).await;
    disk.remount("ro");
    let (mut journal, past) = open(disk.path());
    assert_eq!(
        broken(&mut journal).await,
        cannot_write(disk.path()) + "the file system or the folder is read-only"
    );
    assert_eq!((past.commands.len(), past.replaced), (3, None), "what is there is known all the same");
    journal.write(record(1));
    disk.remount("rw");
    assert_eq!(written(&mut journal, 1).await, [JournalEvent::Mended]);
    journal.close(LIMIT).await;
}

#[tokio::test]
async fn a_disk_that_is_full_at_the_start_hides_nothing() {
    let Some(disk) = Disk::small() else { return };
    // After a crash, part of the journal is in the log beside it, and there is no room for the index of that.
    for (name, bytes) in crate::damage::running().await.into_iter().take(2) {
        fs::write(disk.path().join(name), bytes).unwrap();
    }
    disk.fill();
    let (mut journal, past) = open(disk.path());
    let sentence = broken(&mut journal).await;
    assert!(sentence.starts_with(&cannot_write(disk.path())), "{sentence}");
    assert_eq!((past.commands.len(), past.replaced), (60, None));
    disk.make_room();
    journal.write(record(1));
    assert_eq!(written(&mut journal, 1).await, [JournalEvent::Mended]);
    assert_eq!(entries(disk.path()).len(), 61);
    journal.close(LIMIT).await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_told_until_it_can() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    fs::write(&state, "a file").unwrap();
    let (mut journal, past) = open(&state);
    assert_eq!(past.commands, []);
    let sentence = broken(&mut journal).await;
    assert!(sentence.starts_with(&cannot_write(&state)), "{sentence}");
    fs::remove_file(&state).unwrap();
    journal.write(record(1));
    assert_eq!(written(&mut journal, 1).await, [JournalEvent::Mended]);
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    journal.close(LIMIT).await;
}

#[tokio::test]
async fn handing_over_never_waits_and_what_is_lost_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    fs::write(&state, "a file").unwrap();
    let (mut journal, _) = open(&state);
    let first = broken(&mut journal).await;
    // Far more than the queue and what the writer keeps.
    for number in 1..=u64::try_from(5 * CAPACITY).unwrap() {
        journal.write(record(number));
    }
    let second = broken(&mut journal).await;
    assert_eq!(second, first + "; records are lost");
    fs::remove_file(&state).unwrap();
    // Those of the queue are taken now, after the ones that were kept.
    let JournalEvent::Mended = event(&mut journal).await else { panic!("not mended") };
    journal.close(LIMIT).await;
    let numbers: Vec<_> = entries(&state).into_iter().map(|entry| entry.number).collect();
    let kept: Vec<_> = (1..=i64::try_from(CAPACITY).unwrap()).collect();
    assert_eq!(numbers[..CAPACITY], kept, "the oldest are kept");
    assert!(journal::verify(&state, None).unwrap().is_whole());
}

#[tokio::test]
async fn a_journal_that_vanishes_is_told_and_a_new_one_begins() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(directory.path());
    journal.write(record(1));
    written(&mut journal, 1).await;
    fs::remove_file(journal::path(directory.path())).unwrap();
    journal.write(record(2));
    let others = written(&mut journal, 2).await;
    let [.., JournalEvent::Broken(sentence), JournalEvent::Mended] = &others[..] else {
        panic!("{others:?}")
    };
    assert!(sentence.ends_with("was removed while it was in use; a new one begins"), "{sentence}");
    let numbers: Vec<_> = entries(directory.path()).into_iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, [2]);
    journal.close(LIMIT).await;
}

#[tokio::test]
async fn an_end_cut_off_under_the_gateway_is_told_and_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(directory.path());
    for number in 1..=5 {
        journal.write(record(number));
    }
    written(&mut journal, 5).await;
    crate::database(directory.path()).execute("DELETE FROM record WHERE sequence > 3", []).unwrap();
    journal.write(record(6));
    let others = written(&mut journal, 6).await;
    let told = others.iter().any(|other| {
        matches!(other, JournalEvent::Broken(sentence) if sentence.contains("records that had been written are gone from it"))
    });
    assert!(told, "{others:?}");
    assert_eq!(journal::set_aside(directory.path()).len(), 1);
    assert_eq!(entries(directory.path()).len(), 1);
    journal.close(LIMIT).await;
}

#[tokio::test]
async fn what_another_writer_added_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let (mut first, _) = open(directory.path());
    let (mut second, _) = journal::open(Some(directory.path()), "run-2", start());
    for number in 1..=5 {
        first.write(record(number));
        written(&mut first, number).await;
        second.write(record(number));
        written(&mut second, number).await;
    }
    assert_eq!(entries(directory.path()).len(), 10);
    assert!(journal::verify(directory.path(), None).unwrap().is_whole());
    assert!(journal::set_aside(directory.path()).is_empty());
}
