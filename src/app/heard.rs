//! Keeps when the securing connection was last heard, so that the next run knows how old what the broker kept for it may
//! be. It is written often and never forced to the disk: what is lost makes that age unknown or longer, never shorter.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{sync::watch, task::JoinHandle};

use crate::{clock, model::Now};

/// How often it is written while heartbeats come back.
const EVERY: Duration = Duration::from_secs(2);
/// A longer file is not ours.
const MAX_BYTES: usize = 64;

/// The file.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    path: Option<PathBuf>,
}

impl Heard {
    /// In this directory; without one nothing is kept.
    pub(super) fn new(directory: Option<&Path>) -> Self {
        Self { path: directory.map(|directory| directory.join("securing_heard")) }
    }

    /// What an earlier run wrote. Unknown where the clock went back since.
    pub(super) fn read(&self, now: Now) -> Option<Instant> {
        let text = fs::read_to_string(self.path.as_ref()?).ok().filter(|text| text.len() <= MAX_BYTES)?;
        let at: Timestamp = text.trim_end().parse().ok()?;
        let ago = Duration::try_from(now.utc.duration_since(at)).ok()?;
        now.mono.checked_sub(ago)
    }

    /// Writes what the connection tells, again and again, until it is stopped.
    pub(super) fn keep(self, told: watch::Receiver<Option<Instant>>) -> Keeping {
        let (file, heard) = (self.clone(), told.clone());
        let task = tokio::spawn(async move {
            let mut written = None;
            let mut warned = false;
            loop {
                tokio::time::sleep(EVERY).await;
                let newest = *heard.borrow();
                if newest.is_none() || newest == written {
                    continue;
                }
                match file.write(newest).await {
                    Ok(()) => (written, warned) = (newest, false),
                    Err(cause) => {
                        if !std::mem::replace(&mut warned, true) {
                            tracing::warn!(
                                %cause,
                                "when the securing connection was last heard cannot be written (state_dir); a lockdown \
                                 that is pressed during a restart will be refused"
                            );
                        }
                    }
                }
            }
        });
        Keeping { file: self, told, task }
    }

    async fn write(&self, heard_at: Option<Instant>) -> io::Result<()> {
        let (Some(path), Some(heard_at)) = (self.path.clone(), heard_at) else { return Ok(()) };
        let now = clock::now();
        let ago = now.mono.saturating_duration_since(heard_at);
        let at = now.utc.checked_sub(ago).unwrap_or(now.utc);
        let written = tokio::task::spawn_blocking(move || {
            let draft = path.with_extension("new");
            fs::write(&draft, format!("{at}\n"))?;
            fs::rename(&draft, &path)
        });
        written.await.unwrap_or_else(|cause| Err(io::Error::other(cause)))
    }
}

/// Writes until it is stopped.
#[derive(Debug)]
pub(super) struct Keeping {
    file: Heard,
    told: watch::Receiver<Option<Instant>>,
    task: JoinHandle<()>,
}

impl Keeping {
    /// Writes once more.
    pub(super) async fn stop(self) {
        self.task.abort();
        let newest = *self.told.borrow();
        if let Err(cause) = self.file.write(newest).await {
            tracing::debug!(%cause, "when the securing connection was last heard was not written");
        }
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_restart_knows_when_it_was_and_nothing_else_does() {
        let directory = tempfile::tempdir().unwrap();
        let file = Heard::new(Some(directory.path()));
        let now = clock::now();
        assert_eq!(file.read(now), None, "nothing was written yet");
        let heard_at = now.mono.checked_sub(Duration::from_secs(20)).unwrap();
        file.write(Some(heard_at)).await.unwrap();
        let read = file.read(clock::now()).unwrap();
        let error = read.max(heard_at) - read.min(heard_at);
        assert!(error < Duration::from_secs(1), "{error:?} off");
        let earlier = Now { mono: now.mono, utc: now.utc - Duration::from_mins(1) };
        assert_eq!(file.read(earlier), None, "the clock went back");
        for text in ["", "soon", "2026-11-25T12:00:00Z and so on and so on and so on and so on and so on"] {
            fs::write(directory.path().join("securing_heard"), text).unwrap();
            assert_eq!(file.read(clock::now()), None, "{text:?}");
        }
        assert_eq!(Heard::new(None).read(now), None);
    }

    #[tokio::test]
    async fn what_is_heard_when_the_gateway_stops_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = Heard::new(Some(directory.path()));
        let (sender, told) = watch::channel(None);
        let keeping = file.clone().keep(told);
        sender.send_replace(Some(clock::now().mono));
        keeping.stop().await;
        assert!(file.read(clock::now()).is_some());
    }
}
