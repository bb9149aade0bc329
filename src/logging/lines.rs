//! Lines on their way to whoever reads them. Nobody waits for a reader who does not read: a door would wait with them.

use std::{
    io::{self, Write},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

/// How many lines may wait; further ones are dropped.
const MAX_WAITING: usize = 1_024;

/// Takes lines, one with each `write`, and never waits. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    waiting: SyncSender<Vec<u8>>,
    progress: Arc<Progress>,
}

/// How many lines came and went.
#[derive(Debug, Default)]
struct Progress {
    taken: AtomicU64,
    dropped: AtomicU64,
    written: Mutex<u64>,
    moved: Condvar,
}

impl Lines {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// If the operating system does not let us.
    pub(super) fn to(writer: impl Write + Send + 'static) -> io::Result<Self> {
        let (waiting, lines) = sync_channel(MAX_WAITING);
        let progress = Arc::new(Progress::default());
        let shared = Arc::clone(&progress);
        thread::Builder::new().name("log".to_owned()).spawn(move || write_all(writer, &lines, &shared))?;
        Ok(Self { waiting, progress })
    }

    /// Waits until everything that was taken before is written, but not longer than `within`.
    pub(super) fn flush(&self, within: Duration) {
        let taken = self.progress.taken.load(Ordering::Relaxed);
        let written = self.progress.written.lock().unwrap_or_else(PoisonError::into_inner);
        // Who does not read within this time does not get the rest.
        drop(self.progress.moved.wait_timeout_while(written, within, |written| *written < taken));
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let count = match self.waiting.try_send(line.to_vec()) {
            Ok(()) => &self.progress.taken,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => &self.progress.dropped,
        };
        count.fetch_add(1, Ordering::Relaxed);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what comes; once the reader reads again, it is told how many lines it never gets.
fn write_all(mut writer: impl Write, lines: &Receiver<Vec<u8>>, progress: &Progress) {
    let mut told = 0;
    for line in lines {
        // Nobody is left to be told where standard error is closed.
        drop(writer.write_all(&line));
        *progress.written.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        progress.moved.notify_all();
        let dropped = progress.dropped.load(Ordering::Relaxed);
        if dropped != told {
            told = dropped;
            tracing::warn!(dropped, "lines of the log were dropped, because nobody read them");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A writer that stands still until it is let go.
    #[derive(Debug, Clone, Default)]
    struct Gate(Arc<Doorway>);

    #[derive(Debug, Default)]
    struct Doorway {
        open: Mutex<bool>,
        changed: Condvar,
        written: Mutex<Vec<u8>>,
    }

    impl Gate {
        fn open(&self) {
            *self.0.open.lock().unwrap() = true;
            self.0.changed.notify_all();
        }

        fn written(&self) -> String {
            String::from_utf8(self.0.written.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Gate {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.0.changed.wait_while(open, |open| !*open));
            self.0.written.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_logs_never_waits_and_what_has_no_room_is_counted() {
        let gate = Gate::default();
        let mut lines = Lines::to(gate.clone()).unwrap();
        for number in 0..5_000 {
            lines.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        let dropped = usize::try_from(lines.progress.dropped.load(Ordering::Relaxed)).unwrap();
        gate.open();
        lines.flush(LIMIT);
        let kept: Vec<usize> = gate.written().lines().map(|line| line.parse().unwrap()).collect();
        // The writer may hold one line in its hand, taken sooner or later.
        assert!((MAX_WAITING..=MAX_WAITING + 1).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept.len() + dropped, 5_000);
        assert!(kept.iter().copied().take(MAX_WAITING).eq(0..MAX_WAITING), "{kept:?}");
    }

    #[test]
    fn the_end_does_not_wait_for_who_does_not_read() {
        let mut lines = Lines::to(Gate::default()).unwrap();
        lines.write_all(b"never read").unwrap();
        lines.flush(Duration::from_millis(50));
        assert_eq!(*lines.progress.written.lock().unwrap(), 0);
    }
}
