//! The journal: what was commanded, by whom, and what became of it, on the disk before the vendor hears of it.
//!
//! A SQLite database in the state directory. One thread writes; whoever hands records over never waits. Each record
//! carries a hash of itself and of the one before, so that a change shows. What cannot be used is set aside, never
//! removed, and a new journal begun.

mod chain;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod past;
mod place;
mod reading;
mod store;
#[cfg(test)]
mod tests;
mod trouble;
mod writer;

use std::{
    collections::VecDeque,
    fmt,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::watch;

pub use chain::Entry;
pub use reading::{Chain, Filter, Published, ReadError, path, read, set_aside, verify};
pub use store::BadRow;

use crate::{
    clock,
    model::{JournalEvent, Past, Record, RecordNumber},
};
use past::Fold;
use place::Place;
use store::Store;
use trouble::Trouble;
use writer::{Progress, Removal, Writer};

/// How many records may wait for the disk. The core hands over a few for each command, and limits those.
pub const CAPACITY: usize = 1024;
/// A disk that has not taken a record for so long is told as broken.
const PATIENCE: Duration = Duration::from_secs(2);

/// How much the journal keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Older records are removed.
    pub keep: Duration,
    /// The most records: beyond it the oldest are removed. At 200 to 500 bytes each, half a million are 100 to 250 MB.
    pub rows: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { keep: Duration::from_hours(400 * 24), rows: 500_000 }
    }
}

/// The journal of this run. Records go in, and events tell what became of them.
pub struct Journal {
    name: String,
    records: mpsc::SyncSender<Record>,
    progress: watch::Receiver<Progress>,
    /// To tell of records for which there was no room.
    teller: watch::Sender<Progress>,
    waiting: Mutex<Waiting>,
    told: Told,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("name", &self.name).field("told", &self.told).finish_non_exhaustive()
    }
}

/// Opens the journal in a directory for a run of the gateway, and tells what earlier runs did. Without a directory it lives
/// in memory. Where it cannot be used it is broken from the start, and tries again by itself.
pub fn open(directory: Option<&Path>, run: &str, now: Timestamp) -> (Journal, Past) {
    open_with(directory, run, now, Limits::default())
}

/// As [`open`], with other limits.
pub fn open_with(directory: Option<&Path>, run: &str, now: Timestamp, limits: Limits) -> (Journal, Past) {
    let place = directory.map(Place::new);
    let (opened, past) = begin(place.as_ref(), now);
    let name =
        place.as_ref().map_or_else(|| "in memory".to_owned(), |place| place.file().display().to_string());
    let broken = opened.as_ref().err().map(|trouble| sentence(&name, trouble));
    if let Some(sentence) = &broken {
        tracing::warn!("{sentence}");
    }
    let (teller, progress) = watch::channel(Progress { broken, ..Progress::default() });
    let (records, queue) = mpsc::sync_channel(CAPACITY);
    let writer = Writer {
        name: name.clone(),
        place,
        run: run.to_owned(),
        limits,
        last: opened.as_ref().ok().map(|store| store.head().clone()),
        store: opened.ok(),
        queue,
        backlog: VecDeque::new(),
        progress: teller.clone(),
        removal: Removal::new(now),
    };
    let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(|| writer.run());
    if let Err(error) = thread {
        let sentence = sentence(&name, &format!("no thread for it: {error}"));
        teller.send_modify(|progress| progress.broken = Some(sentence));
    }
    (Journal { name, records, progress, teller, waiting: Mutex::default(), told: Told::default() }, past)
}

/// Opens what is there, or sets it aside and begins anew.
fn begin(place: Option<&Place>, now: Timestamp) -> (Result<Store, Trouble>, Past) {
    let since = now.checked_sub(past::SPAN).unwrap_or(Timestamp::MIN);
    let mut fold = Fold::default();
    let mut replaced = None;
    let opened = match (Store::open(place, since, |entry| fold.add(entry)), place) {
        (Err(Trouble::Unusable(what)), Some(place)) => {
            fold = Fold::default();
            match replace(place, &what) {
                Ok(sentence) => {
                    replaced = Some(sentence);
                    Store::open(Some(place), since, |_| {})
                }
                Err(trouble) => {
                    replaced = Some(trouble.to_string());
                    Err(trouble)
                }
            }
        }
        (Err(trouble @ Trouble::Surroundings(_)), Some(place)) if place.file().exists() => {
            // It cannot be written; that its records are known is then all the more important.
            fold = Fold::default();
            if let Err(cause) = reading::recent(place, since, |entry| fold.add(entry)) {
                fold = Fold::default();
                replaced = Some(format!(
                    "what earlier runs wrote into the journal {} cannot be read: {cause}",
                    place.file().display()
                ));
            }
            Err(trouble)
        }
        (opened, _) => opened,
    };
    (opened, Past { replaced, ..fold.finish(now) })
}

/// Sets aside what cannot be used; says so in a sentence.
fn replace(place: &Place, what: &str) -> Result<String, Trouble> {
    let file = place.file().display();
    match place.set_aside() {
        Ok(aside) => {
            let aside = aside.display();
            let sentence = format!(
                "the journal {file} cannot be used: {what}; it was set aside as {aside}, and a new one begins"
            );
            tracing::warn!("{sentence}");
            Ok(sentence)
        }
        Err(trouble) => Err(Trouble::Surroundings(format!(
            "it cannot be used: {what}; nor can it be set aside: {trouble}"
        ))),
    }
}

/// The sentence for people about a journal that cannot be written.
fn sentence(name: &str, cause: &dyn fmt::Display) -> String {
    format!("the journal {name} (state_dir) cannot be written: {cause}")
}

impl Journal {
    /// Hands over a record. Never waits: where [`CAPACITY`] records wait for the disk already the record is lost, and
    /// [`Journal::next`] says so.
    pub fn write(&self, record: Record) {
        let number = record.number;
        if self.records.try_send(record).is_ok() {
            self.waiting().note(number, clock::now().mono);
        } else {
            self.teller.send_modify(Progress::lose);
        }
    }

    /// Waits for the next event. May be dropped and called again: nothing is lost by it.
    pub async fn next(&mut self) -> JournalEvent {
        loop {
            let progress = self.progress.borrow_and_update().clone();
            let now = clock::now().mono;
            let too_long = self.waiting().settle(progress.number, now).map(|since| since + PATIENCE);
            let stuck = too_long.is_some_and(|at| at <= now);
            let stuck_sentence = stuck.then(|| {
                sentence(&self.name, &format!("the disk has taken nothing for {} s", PATIENCE.as_secs()))
            });
            if let Some(event) = self.told.next(&progress, stuck_sentence) {
                return event;
            }
            let wake = too_long.filter(|_| !stuck);
            tokio::select! {
                // We hold a sender, so it cannot end.
                _changed = self.progress.changed() => {}
                () = clock::sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
            }
        }
    }

    /// Writes what waits and closes the file, if the disk does so in time.
    pub async fn close(self, within: Duration) {
        let Self { name, records, mut progress, .. } = self;
        drop(records);
        match tokio::time::timeout(within, progress.wait_for(|progress| progress.unwritten.is_some())).await {
            Ok(Ok(progress)) if progress.unwritten == Some(0) => {}
            Ok(Ok(progress)) => {
                tracing::warn!(
                    records = progress.unwritten,
                    cause = progress.broken,
                    "the end of the journal is lost"
                );
            }
            Ok(Err(_)) | Err(_) => {
                tracing::warn!("the journal {name} was not closed in time; its end may be lost");
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Since when records wait for the disk.
#[derive(Debug, Default)]
struct Waiting {
    newest: RecordNumber,
    written: RecordNumber,
    since: Option<Instant>,
}

impl Waiting {
    fn note(&mut self, number: RecordNumber, now: Instant) {
        self.newest = number;
        self.since.get_or_insert(now);
    }

    /// Takes what is written, and says since when nothing was although something waits.
    fn settle(&mut self, written: RecordNumber, now: Instant) -> Option<Instant> {
        if written >= self.newest {
            self.since = None;
        } else if written > self.written {
            self.since = Some(now);
        }
        self.written = written;
        self.since
    }
}

/// What was told in events.
#[derive(Debug, Default)]
struct Told {
    number: RecordNumber,
    incidents: u64,
    broken: Option<String>,
}

impl Told {
    /// The next event that is due.
    fn next(&mut self, progress: &Progress, stuck: Option<String>) -> Option<JournalEvent> {
        if progress.incidents != self.incidents {
            self.incidents = progress.incidents;
            self.broken = Some(progress.incident.clone());
            return self.broken.clone().map(JournalEvent::Broken);
        }
        if self.broken.is_none() && progress.number > self.number {
            self.number = progress.number;
            return Some(JournalEvent::Written { number: progress.number, head: progress.head.clone() });
        }
        match progress.broken.clone().or(stuck) {
            Some(cause) if self.broken.as_ref() == Some(&cause) => None,
            Some(cause) => {
                self.broken = Some(cause.clone());
                Some(JournalEvent::Broken(cause))
            }
            None => self.broken.take().map(|_| JournalEvent::Mended),
        }
    }
}
