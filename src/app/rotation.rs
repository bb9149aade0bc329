//! Files that hold a secret, and that may change while the gateway runs: whoever rotates secrets often cannot send a signal.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::{sync::mpsc, task::JoinHandle};

/// How often the files are looked at. One that stays as it is for this long is taken to be written to its end.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How a file looks from outside: enough to see that it was written or replaced.
type Look = Option<(Option<SystemTime>, u64, u64)>;

/// Watches the files that hold a secret, until it is dropped.
#[derive(Debug)]
pub(super) struct SecretFiles {
    changes: mpsc::Receiver<()>,
    task: JoinHandle<()>,
}

impl SecretFiles {
    pub(super) fn watch(paths: Vec<PathBuf>) -> Self {
        let (sender, changes) = mpsc::channel(1);
        Self { changes, task: tokio::spawn(watch(paths, sender)) }
    }

    /// Waits until a file has changed and is written to its end; for ever without files. Cancel safe.
    pub(super) async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for SecretFiles {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(paths: Vec<PathBuf>, changes: mpsc::Sender<()>) {
    if paths.is_empty() {
        return;
    }
    // Nothing at first, so that no change between the first reading and the first look is missed.
    let (mut taken, mut seen) = (None, None);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let paths = paths.clone();
        // A disk may stand still, and the event loop must not.
        let looks =
            tokio::task::spawn_blocking(move || paths.iter().map(|path| look(path)).collect::<Vec<_>>());
        let Ok(looks) = looks.await else { return };
        let looks = Some(looks);
        if seen == looks && taken != looks {
            taken.clone_from(&looks);
            if changes.send(()).await.is_err() {
                return;
            }
        }
        seen = looks;
    }
}

fn look(path: &Path) -> Look {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok(), metadata.len(), number(&metadata)))
}

/// What tells a file from another one in its place.
#[cfg(unix)]
fn number(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

/// What tells a file from another one in its place; not known on this system.
#[cfg(not(unix))]
fn number(_metadata: &fs::Metadata) -> u64 {
    0
}
