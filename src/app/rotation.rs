//! Secrets that change while the gateway runs: their files are looked at, and what is new is taken without a stop.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::{sync::mpsc, task::JoinHandle};

use super::{Links, Shell};
use crate::config::{Config, Renewed, Report};

/// How often the files are looked at. One that stays as it is for this long is taken to be written to its end.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How a file looks from outside: enough to see that it was written or replaced.
type Look = Option<(Option<SystemTime>, u64, u64)>;

/// The configuration in use, and how it gets other secrets.
#[derive(Debug)]
pub(super) struct Rotation {
    present: Config,
    files: SecretFiles,
}

impl Rotation {
    pub(super) fn new(config: Config) -> Self {
        let files = SecretFiles::watch(config.secret_files.clone());
        Self { present: config, files }
    }

    /// The configuration in use, with the secrets that are.
    pub(super) const fn present(&self) -> &Config {
        &self.present
    }

    /// Waits until a secret has changed in its file. Cancel safe.
    pub(super) async fn is_due(&mut self) {
        self.files.changed().await;
    }

    /// The configuration was read again because somebody asked for it; returns the one to restart with.
    pub(super) fn reload(
        &mut self,
        read: Result<Config, Report>,
        shell: &Shell<'_>,
        links: &Links,
    ) -> Option<Config> {
        match read {
            Ok(next) if self.present.differs_only_in_secrets(&next) => {
                tracing::info!("the configuration was read again; only secrets differ");
                self.replace(&next, shell, links);
                None
            }
            Ok(next) => {
                tracing::info!("the configuration was read again; the gateway restarts with it");
                Some(next)
            }
            Err(report) => {
                tracing::error!("the configuration is left as it was: {report}");
                None
            }
        }
    }

    /// The same because a secret has changed. Nothing but secrets is taken, unless the gateway has to restart for them.
    pub(super) fn take(
        &mut self,
        read: Result<Config, Report>,
        shell: &Shell<'_>,
        links: &Links,
    ) -> Option<Config> {
        match read {
            Ok(next) if self.present.has_same_code(&next) => {
                self.replace(&next, shell, links);
                None
            }
            Ok(next) => {
                tracing::info!("the code was changed; the gateway restarts with the configuration");
                Some(next)
            }
            Err(report) => {
                tracing::error!("a secret was changed and is not taken: {report}");
                None
            }
        }
    }

    /// Connections and the token that there is stay as they are.
    fn replace(&mut self, next: &Config, shell: &Shell<'_>, links: &Links) {
        let Renewed { api_key, login, webhook } = self.present.take_secrets(next);
        let config = &self.present;
        if api_key {
            match shell.client.replace_key(config.verkada.api_key.clone()) {
                Ok(()) => tracing::info!("the API key was replaced; a token is asked for with the new one"),
                Err(error) => tracing::error!(%error, "the API key stays as it was"),
            }
        }
        if login {
            for link in [&links.main, &links.securing] {
                link.replace_login(config.mqtt.credentials.clone());
            }
            tracing::info!("the password for the broker was replaced; it counts from the next connection on");
        }
        if webhook {
            shell.webhook_secrets.replace(&config.webhook.secrets);
            tracing::info!("the secrets of webhooks were replaced");
        }
    }
}

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
