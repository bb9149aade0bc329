//! The one thread that writes.

use std::{
    collections::VecDeque,
    sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::{
    CAPACITY, Limits,
    place::Place,
    replace, sentence,
    store::{Head, Store},
    trouble::Trouble,
};
use crate::model::{Record, RecordNumber};

/// How soon after a failure the next attempt is made where no new record comes.
const AGAIN: Duration = Duration::from_secs(3);
/// Old records are looked for after so many new ones ...
const REMOVE_AFTER: usize = 500;
/// ... and at least so often.
const REMOVE_EVERY: SignedDuration = SignedDuration::from_hours(1);
/// What is added to the sentence where records were lost.
const LOST: &str = "; records are lost";

/// How far the writer is.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// The newest durable record of this run.
    pub(super) number: RecordNumber,
    /// The hash at the end of the chain.
    pub(super) head: String,
    /// Why nothing can be written.
    pub(super) broken: Option<String>,
    /// How often something went wrong that does not last.
    pub(super) incidents: u64,
    /// What went wrong last.
    pub(super) incident: String,
    /// Whether records were lost since the last one was written.
    pub(super) lossy: bool,
    /// At the end: how many records could not be written.
    pub(super) unwritten: Option<usize>,
}

impl Progress {
    /// Something went wrong that does not last.
    fn note(&mut self, incident: String) {
        self.incidents += 1;
        self.incident = incident;
    }

    /// A new journal takes the place of another. It is broken until something is written into it.
    fn replace(&mut self, incident: String) {
        self.broken = Some(incident.clone());
        self.note(incident);
    }

    /// A record is lost. That is told once for each stretch of them.
    pub(super) fn lose(&mut self) {
        if std::mem::replace(&mut self.lossy, true) {
            return;
        }
        match &mut self.broken {
            Some(sentence) => sentence.push_str(LOST),
            None => {
                self.note(
                    "records for the journal are lost: they come faster than the disk takes them".to_owned(),
                );
            }
        }
    }
}

/// When old records are looked for.
#[derive(Debug)]
pub(super) struct Removal {
    /// Whether the last look left some.
    more: bool,
    added: usize,
    /// When the last look was, by the times of the records.
    at: Timestamp,
}

impl Removal {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self { more: true, added: 0, at: now }
    }

    fn is_due(&self) -> bool {
        self.more || self.added >= REMOVE_AFTER
    }

    fn note(&mut self, records: usize, at: Timestamp) {
        self.added += records;
        if at.duration_since(self.at).abs() >= REMOVE_EVERY {
            self.more = true;
        }
        self.at = if self.is_due() { at } else { self.at };
    }
}

/// Writes what comes through a queue, and keeps what cannot be written.
pub(super) struct Writer {
    pub(super) name: String,
    pub(super) place: Option<Place>,
    pub(super) run: String,
    pub(super) limits: Limits,
    /// The last record known to be durable.
    pub(super) last: Option<Head>,
    pub(super) store: Option<Store>,
    pub(super) queue: Receiver<Record>,
    pub(super) backlog: VecDeque<Record>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) removal: Removal,
}

impl Writer {
    /// Writes until nobody hands over records any more and all are written, or cannot be.
    pub(super) fn run(mut self) {
        loop {
            let is_open = self.collect();
            self.attempt();
            if !is_open {
                break;
            }
            self.remove_old();
        }
        let unwritten = self.backlog.len();
        drop(self.store.take());
        self.progress.send_modify(|progress| progress.unwritten = Some(unwritten));
    }

    /// Waits until there is something to do, and takes all that waits; says whether more can come.
    fn collect(&mut self) -> bool {
        let first = if self.store.is_none() || !self.backlog.is_empty() {
            self.queue.recv_timeout(AGAIN)
        } else if self.removal.is_due() {
            self.queue.try_recv().map_err(|error| match error {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            })
        } else {
            self.queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        match first {
            Ok(record) => self.keep(record),
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        while self.backlog.len() < CAPACITY {
            match self.queue.try_recv() {
                Ok(record) => self.keep(record),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        true
    }

    fn keep(&mut self, record: Record) {
        if self.backlog.len() < CAPACITY {
            self.backlog.push_back(record);
        } else {
            self.progress.send_modify(Progress::lose);
        }
    }

    /// Writes what waits. A journal that turns out to be unusable is replaced at once.
    fn attempt(&mut self) {
        let was_open = self.store.is_some();
        let result = match self.write() {
            // Where another file or another end is found there, opening it again is all it needs.
            Err(Trouble::Surroundings(_)) if was_open => self.write(),
            result => result,
        };
        let result = match result {
            Err(Trouble::Unusable(what)) => self.replace(&what).and_then(|()| self.write()),
            result => result,
        };
        if let Err(trouble) = result {
            self.fail(&trouble);
        }
    }

    fn write(&mut self) -> Result<(), Trouble> {
        let mut store = match self.store.take() {
            Some(store) => store,
            None => self.reopen()?,
        };
        let Some((number, at)) = self.backlog.back().map(|newest| (newest.number, newest.at)) else {
            self.store = Some(store);
            self.tell_written(None);
            return Ok(());
        };
        match store.append(&self.run, self.backlog.iter()) {
            Ok(head) => self.last = Some(head.clone()),
            Err(trouble) => {
                if matches!(trouble, Trouble::Unusable(_)) {
                    store.leave_as_it_is();
                }
                return Err(trouble);
            }
        }
        self.store = Some(store);
        self.removal.note(self.backlog.len(), at);
        self.backlog.clear();
        self.tell_written(Some(number));
        Ok(())
    }

    /// Opens the journal again. What was durable has to be there.
    fn reopen(&mut self) -> Result<Store, Trouble> {
        let store = Store::open(self.place.as_ref(), Timestamp::MAX, |_| {})?;
        let is_whole = match &self.last {
            Some(last) => store.holds(last)?,
            None => true,
        };
        if is_whole {
            return Ok(store);
        }
        if store.head().sequence > 0 {
            store.leave_as_it_is();
            return Err(Trouble::unusable("records that had been written are gone from it"));
        }
        let sentence = format!("the journal {} was removed while it was in use; a new one begins", self.name);
        tracing::warn!("{sentence}");
        self.progress.send_modify(|progress| progress.replace(sentence));
        self.last = None;
        Ok(store)
    }

    fn replace(&mut self, what: &str) -> Result<(), Trouble> {
        self.store = None;
        let Some(place) = &self.place else { return Err(Trouble::Surroundings(what.to_owned())) };
        let sentence = replace(place, what)?;
        self.last = None;
        self.progress.send_modify(|progress| progress.replace(sentence));
        Ok(())
    }

    fn tell_written(&self, number: Option<RecordNumber>) {
        let head = self.last.as_ref().map(|head| head.hash.clone()).unwrap_or_default();
        self.progress.send_if_modified(|progress| {
            let was_broken = progress.broken.take().is_some();
            if was_broken {
                tracing::info!("the journal {} can be written again", self.name);
            }
            if let Some(number) = number {
                progress.number = progress.number.max(number);
                progress.head = head;
                progress.lossy = false;
            }
            was_broken || number.is_some()
        });
    }

    fn fail(&self, trouble: &Trouble) {
        let sentence = sentence(&self.name, trouble);
        self.progress.send_if_modified(|progress| {
            let lost = if progress.lossy { LOST } else { "" };
            let sentence = format!("{sentence}{lost}");
            let is_new = progress.broken.as_ref() != Some(&sentence);
            if is_new {
                tracing::warn!("{sentence}");
                progress.broken = Some(sentence);
            }
            is_new
        });
    }

    /// Removes some old records. Where that fails, the next record that is written tells of it.
    fn remove_old(&mut self) {
        if !self.removal.is_due() {
            return;
        }
        let Some(store) = &mut self.store else { return };
        let result = store.thin_out(&self.limits, self.removal.at);
        self.removal.added = 0;
        self.removal.more = matches!(result, Ok(true));
        match result {
            Ok(_) => {}
            Err(Trouble::Unusable(what)) => {
                if let Some(store) = self.store.take() {
                    store.leave_as_it_is();
                }
                if let Err(trouble) = self.replace(&what) {
                    self.fail(&trouble);
                }
            }
            Err(Trouble::Surroundings(cause)) => {
                tracing::debug!(cause, "old records cannot be removed from the journal yet");
            }
        }
    }
}
