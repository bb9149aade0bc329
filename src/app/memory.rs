//! Keeps what must outlast a restart in a file. Losing it is a nuisance, never a reason to stop.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use crate::bridge::{Memory, MemoryError};

/// Changes are collected for at least this long before they are written.
const PAUSE: Duration = Duration::from_secs(1);
/// A slow disk or a large building gets longer pauses, so that writing takes at most this share of the time.
const SHARE: u32 = 100;
/// How long after a failure the next attempt is made.
const AGAIN: Duration = Duration::from_mins(1);
/// A larger file cannot be ours.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// How many files that could not be read are kept.
const MAX_SET_ASIDE: u32 = 9;

/// The file, and when it is written next.
#[derive(Debug)]
pub(super) struct Store {
    path: Option<PathBuf>,
    due: Option<Instant>,
    not_before: Instant,
    writing: Option<Writing>,
    /// What could not be written, until it can.
    unwritten: Option<Memory>,
    warned: bool,
}

#[derive(Debug)]
struct Writing {
    since: Instant,
    task: JoinHandle<(Memory, io::Result<()>)>,
}

#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{0}")]
    Read(#[from] io::Error),
    #[error("{0}")]
    Content(#[from] MemoryError),
    #[error("it is larger than {MAX_BYTES} bytes")]
    Large,
}

impl Store {
    /// Reads what an earlier run wrote. A file that cannot be used is set aside, and all begins anew.
    /// Without a directory nothing is read or written.
    pub(super) fn open(directory: Option<&Path>, now: Instant) -> (Self, Option<Memory>) {
        let path = directory.map(|directory| directory.join("memory.json"));
        let memory = match path.as_deref().map(|path| (path, read(path))) {
            None => None,
            Some((_, Ok(memory))) => memory,
            Some((path, Err(cause))) => {
                let aside = set_aside(path);
                tracing::warn!(
                    path = %path.display(),
                    %cause,
                    kept_as = aside.as_deref().map(|aside| aside.display().to_string()),
                    "what an earlier run remembered cannot be used; the gateway begins anew"
                );
                None
            }
        };
        (Self { path, due: None, not_before: now, writing: None, unwritten: None, warned: false }, memory)
    }

    /// Something is to be written: soon, and together with what follows.
    pub(super) fn note_change(&mut self, now: Instant) {
        if self.path.is_none() {
            return;
        }
        self.due.get_or_insert_with(|| self.not_before.max(now + PAUSE));
    }

    /// When [`Store::write`] should be called.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.filter(|_| self.writing.is_none())
    }

    /// Whether it is time to write.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next().is_some_and(|due| due <= now)
    }

    /// Starts to write this, or what could not be written before, on a thread of its own: a disk may take its time.
    pub(super) fn write(&mut self, memory: Option<Memory>, now: Instant) {
        self.due = None;
        let before = self.unwritten.take();
        let Some((memory, path)) = memory.or(before).zip(self.path.clone()) else { return };
        let task = tokio::task::spawn_blocking(move || {
            let result = replace(&path, &memory);
            (memory, result)
        });
        self.writing = Some(Writing { since: now, task });
    }

    /// Waits until what was started is written; for ever where nothing was.
    pub(super) async fn written(&mut self, clock: impl Fn() -> Instant) {
        let Some(writing) = &mut self.writing else { return std::future::pending().await };
        let result = (&mut writing.task).await;
        let now = clock();
        let took = now.saturating_duration_since(writing.since);
        self.writing = None;
        self.not_before = now + PAUSE.max(took.saturating_mul(SHARE));
        match result {
            Ok((_, Ok(()))) => self.warned = false,
            Ok((memory, Err(cause))) => {
                self.unwritten = Some(memory);
                self.due = Some(now + AGAIN);
                self.tell(&cause);
            }
            Err(cause) => self.tell(&cause),
        }
    }

    /// Writes the last change, if there is one, and returns when all is written.
    pub(super) async fn close(mut self, memory: Option<Memory>, clock: impl Fn() -> Instant) {
        if self.writing.is_some() {
            self.written(&clock).await;
        }
        self.write(memory, clock());
        if self.writing.is_some() {
            self.written(&clock).await;
        }
    }

    fn tell(&mut self, cause: &dyn std::error::Error) {
        let path = self.path.as_deref().unwrap_or_else(|| Path::new(""));
        if std::mem::replace(&mut self.warned, true) {
            tracing::debug!(%cause, "what must outlast a restart still cannot be written");
        } else {
            tracing::warn!(
                path = %path.display(),
                %cause,
                "what must outlast a restart cannot be written (state_dir); the gateway goes on without"
            );
        }
    }
}

fn read(path: &Path) -> Result<Option<Memory>, Unusable> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|bytes| bytes > MAX_BYTES) {
        return Err(Unusable::Large);
    }
    Ok(Some(Memory::from_json(&text)?))
}

/// Moves the file out of the way under the first free name; the last one is used again and again.
fn set_aside(path: &Path) -> Option<PathBuf> {
    let name = |n: u32| path.with_file_name(format!("memory.json.bad-{n}"));
    let free = (1..MAX_SET_ASIDE).map(name).find(|name| !name.exists());
    let aside = free.unwrap_or_else(|| name(MAX_SET_ASIDE));
    fs::rename(path, &aside).ok().map(|()| aside)
}

/// Writes beside the file and renames: whoever reads, at whatever moment the power fails, finds the old or the new.
fn replace(path: &Path, memory: &Memory) -> io::Result<()> {
    let draft = path.with_file_name("memory.json.new");
    let mut file = File::create(&draft)?;
    file.write_all(&memory.to_json()?)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need a starting point")]
mod tests {
    use super::*;

    fn bad(directory: &Path) -> Vec<String> {
        let names =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut bad: Vec<_> = names.filter(|name| name.contains("bad")).collect();
        bad.sort();
        bad
    }

    #[tokio::test]
    async fn what_was_written_is_read_again_and_no_draft_is_left() {
        let (directory, now) = (tempfile::tempdir().unwrap(), Instant::now());
        let (mut store, nothing) = Store::open(Some(directory.path()), now);
        assert!(nothing.is_none());
        store.note_change(now);
        assert!(!store.is_due(now) && store.is_due(now + PAUSE));
        store.close(Some(Memory::default()), Instant::now).await;
        let (_, memory) = Store::open(Some(directory.path()), now);
        assert_eq!(memory, Some(Memory::default()));
        assert!(!directory.path().join("memory.json.new").exists());
    }

    #[tokio::test]
    async fn while_one_change_is_written_the_next_one_waits() {
        let (directory, now) = (tempfile::tempdir().unwrap(), Instant::now());
        let (mut store, _) = Store::open(Some(directory.path()), now);
        store.write(Some(Memory::default()), now);
        store.note_change(now);
        assert_eq!(store.next(), None);
        store.written(|| now + Duration::from_secs(2)).await;
        assert!(!store.is_due(now + PAUSE / 2));
        store.note_change(now + Duration::from_secs(2));
        assert!(store.next().is_some());
        let slow = Duration::from_secs(2) * SHARE;
        store.due = None;
        store.note_change(now + Duration::from_secs(3));
        assert_eq!(
            store.next(),
            Some(now + Duration::from_secs(2) + slow),
            "a slow disk is left alone for a while"
        );
    }

    #[test]
    fn whatever_cannot_be_used_is_set_aside_and_counted() {
        let (directory, now) = (tempfile::tempdir().unwrap(), Instant::now());
        let file = directory.path().join("memory.json");
        let whole = String::from_utf8(Memory::default().to_json().unwrap()).unwrap();
        let newer = whole.replace("\"version\":1", "\"version\":2");
        let torn = whole.get(..whole.len() / 2).unwrap();
        for (n, text) in ["", torn, newer.as_str(), "[]", "{\"version\":1}"].into_iter().enumerate() {
            fs::write(&file, text).unwrap();
            assert!(Store::open(Some(directory.path()), now).1.is_none(), "{text}");
            assert!(!file.exists(), "{text}");
            assert_eq!(bad(directory.path()).len(), n + 1, "{text}");
        }
        for _ in 0..20 {
            fs::write(&file, "?").unwrap();
            Store::open(Some(directory.path()), now);
        }
        let names: Vec<_> = (1..=MAX_SET_ASIDE).map(|n| format!("memory.json.bad-{n}")).collect();
        assert_eq!(bad(directory.path()), names);
    }

    #[tokio::test]
    async fn without_a_directory_nothing_is_written() {
        let now = Instant::now();
        let (mut store, memory) = Store::open(None, now);
        assert!(memory.is_none());
        store.note_change(now);
        assert_eq!(store.next(), None);
        store.close(Some(Memory::default()), Instant::now).await;
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_is_told_once_and_breaks_nothing() {
        let (directory, now) = (tempfile::tempdir().unwrap(), Instant::now());
        let nowhere = directory.path().join("nowhere");
        let (mut store, _) = Store::open(Some(&nowhere), now);
        for memory in [Some(Memory::default()), None] {
            store.write(memory, now);
            store.written(Instant::now).await;
            assert!(store.warned && store.next().is_some_and(|next| next > now + PAUSE));
        }
        fs::create_dir(&nowhere).unwrap();
        store.close(None, Instant::now).await;
        assert!(Store::open(Some(&nowhere), now).1.is_some(), "what could not be written was kept");
    }
}
