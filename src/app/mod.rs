//! The shell: one event loop and one timer around the core. It owns every task and decides nothing.

pub mod http;
mod lock;
mod memory;
mod systemd;
mod wiring;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

pub use lock::{LockError, StateLock};
pub use wiring::{client_settings, link_settings};

use crate::{
    bridge::{Bridge, FRESH_LINK, Input, ShellRequest, Status},
    clock,
    config::{Config, Report},
    logging::LogHandle,
    model::{LinkEvent, Publication, Push, Reply, TokenState},
    mqtt::{self, Link, Publisher},
    signals::Signal,
    verkada::{self, Client, Permit, TokenHealth},
};

/// How long commands under way may still end after a stop was asked for; shorter than the service manager's patience.
const STOP_GRACE: Duration = Duration::from_secs(8);
/// How long the last words may take to be acknowledged.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why the gateway cannot run at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the HTTP server is taken or not ours.
    #[error("cannot listen on {address} (http.listen): {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The client of the vendor's API cannot be made.
    #[error("cannot set up the client of the vendor's API: {0}")]
    Client(#[from] verkada::Error),
    /// The MQTT link cannot be made.
    #[error("cannot set up the MQTT link: {0}")]
    Link(#[from] mqtt::Error),
    /// A task ended that must not.
    #[error("a task of the gateway ended early: {0}")]
    Task(String),
}

/// How a run ended.
#[derive(Debug)]
pub enum End {
    /// A stop was asked for.
    Stopped,
    /// Another configuration is to be run.
    Reload(Box<Config>),
}

/// Runs the gateway until a signal ends it. Starts and heals with broker and vendor down.
///
/// What must outlast a restart is kept in the directory that `state` holds; without it nothing is. `reload` reads the
/// configuration again; while that fails, the present one stays whole. `log` is set where a message asks for another
/// level.
///
/// # Errors
/// Only for what cannot heal by itself.
pub async fn run(
    config: &Config,
    log: &LogHandle,
    state: Option<&StateLock>,
    signals: &mut mpsc::Receiver<Signal>,
    reload: impl Fn() -> Result<Config, Report>,
) -> Result<End, Error> {
    let now = clock::now();
    let (store, memory) = memory::Store::open(state.map(StateLock::directory), now.mono);
    let bridge = Bridge::new(wiring::bridge_settings(config), seed(), now, memory);
    let client = Client::new(client_settings(config))?;
    let (status_sender, status) = watch::channel(bridge.status(now));
    let (http, pushes) = http::serve(config.http, &config.webhook, config.events.privacy, status).await?;
    let link = mqtt::connect(link_settings(config, &config.mqtt.client_id), seed())?;
    let mut shell = Shell {
        permit: Permit::new(link.freshness(), FRESH_LINK),
        publisher: link.publisher(),
        bridge,
        store,
        client,
        token: TokenState::Missing,
        log,
        replies: JoinSet::new(),
        pushes,
        held: None,
        status: status_sender,
        watchdog: systemd::Watchdog::start(now.mono),
        stop_by: None,
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        vendor = %config.verkada.base_url,
        broker = format!("{}:{}", config.mqtt.host, config.mqtt.port),
        http = %http.address(),
        "the gateway starts"
    );
    shell.warm();
    systemd::ready();
    let (link, next) = shell.serve(config, link, signals, reload).await?;
    systemd::stopping();
    shell.leave(link).await;
    http.stop().await;
    tracing::info!("the gateway has stopped");
    Ok(next.map_or(End::Stopped, |config| End::Reload(Box::new(config))))
}

/// A seed that differs between runs and machines; it decides jitter and names, never secrets.
fn seed() -> u64 {
    let mut bytes = [0; 8];
    let filled = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    if filled.is_err() {
        let since_epoch = clock::now().utc.as_nanosecond();
        return u64::try_from(since_epoch & i128::from(u64::MAX)).unwrap_or_default();
    }
    u64::from_le_bytes(bytes)
}

/// The gateway is to stop and start again.
#[derive(Debug, PartialEq, Eq)]
struct Restart;

struct Shell<'a> {
    bridge: Bridge,
    store: memory::Store,
    client: Client,
    /// What the core was last told of the token.
    token: TokenState,
    log: &'a LogHandle,
    permit: Permit,
    publisher: Publisher,
    replies: JoinSet<Reply>,
    /// What webhooks bring.
    pushes: mpsc::Receiver<Push>,
    /// What the link had no room for.
    held: Option<Publication>,
    status: watch::Sender<Status>,
    watchdog: systemd::Watchdog,
    /// When patience with commands under way ends, once a stop was asked for.
    stop_by: Option<Instant>,
}

impl Shell<'_> {
    /// The event loop: pull what the core wants, wait for whatever comes first, hand it in.
    async fn serve(
        &mut self,
        config: &Config,
        mut link: Link,
        signals: &mut mpsc::Receiver<Signal>,
        reload: impl Fn() -> Result<Config, Report>,
    ) -> Result<(Link, Option<Config>), Error> {
        let mut next_config = None;
        loop {
            self.pull();
            if self.obey() == Some(Restart) {
                next_config = Some(reload().unwrap_or_else(|report| {
                    tracing::error!("the gateway restarts with the configuration as it was: {report}");
                    config.clone()
                }));
                self.stop();
            }
            let now = clock::now();
            if let Some(stop_by) = self.stop_by
                && (self.bridge.is_idle() || stop_by <= now.mono)
            {
                return Ok((link, next_config));
            }
            let deadlines = [
                self.bridge.next_deadline(now).map(|(at, _)| at),
                self.store.next(),
                self.watchdog.next(),
                self.stop_by,
            ];
            let wake = deadlines.into_iter().flatten().min();
            tokio::select! {
                signal = signals.recv() => match signal {
                    Some(Signal::Reload) => match reload() {
                        Ok(config) => {
                            tracing::info!("the configuration was read again; the gateway restarts with it");
                            next_config = Some(config);
                            self.stop();
                        }
                        Err(report) => tracing::error!("the configuration is left as it was: {report}"),
                    },
                    Some(Signal::Stop) | None => {
                        next_config = None;
                        self.stop();
                    }
                },
                event = link.next() => self.hear(event),
                Some(reply) = self.replies.join_next(), if !self.replies.is_empty() => {
                    let reply = reply.map_err(|error| Error::Task(error.to_string()))?;
                    // First, because the core judges a refused call by it.
                    self.tell_token();
                    if let Some(skew) = self.client.take_clock() {
                        self.bridge.handle(Input::VendorClock(skew), clock::now());
                    }
                    self.bridge.handle(Input::Reply(reply), clock::now());
                }
                Some(push) = self.pushes.recv() => self.bridge.handle(Input::Push(push), clock::now()),
                () = self.publisher.ready(), if self.held.is_some() => {}
                () = self.store.written(|| clock::now().mono) => {}
                () = sleep_until(wake) => self.bridge.handle_timeout(clock::now()),
            }
            self.watchdog.feed(clock::now().mono);
        }
    }

    fn hear(&mut self, event: LinkEvent) {
        if matches!(event, LinkEvent::Up { .. }) && self.held.as_ref().is_some_and(|held| held.retain) {
            // The core publishes what is true again; an older value must not come before it.
            self.held = None;
        }
        self.bridge.handle(Input::Link(event), clock::now());
    }

    /// Hands in how the token is, where that changed.
    fn tell_token(&mut self) {
        let token = match self.client.token_health() {
            TokenHealth::Missing => TokenState::Missing,
            TokenHealth::Valid { .. } => TokenState::Valid,
            TokenHealth::Refused { .. } => TokenState::Refused,
        };
        if std::mem::replace(&mut self.token, token) != token {
            self.bridge.handle(Input::Token(token), clock::now());
        }
    }

    /// Does what the core asks of the process; a restart is left to the caller.
    fn obey(&mut self) -> Option<Restart> {
        let mut restart = None;
        while let Some(request) = self.bridge.next_request() {
            match request {
                ShellRequest::SetLogLevel(level) => self.log.set(level),
                ShellRequest::Restart => restart = Some(Restart),
            }
        }
        restart
    }

    fn stop(&mut self) {
        let now = clock::now();
        if self.stop_by.is_none() {
            tracing::info!("the gateway stops; commands under way may still end");
            self.stop_by = Some(now.mono + STOP_GRACE);
            self.bridge.handle(Input::Stop, now);
        }
    }

    /// Takes from the core what it wants to happen, as far as there is room.
    fn pull(&mut self) {
        let now = clock::now();
        while let Some(call) = self.bridge.next_call(now) {
            let (client, permit) = (self.client.clone(), self.permit.clone());
            self.replies.spawn(async move { client.call(&call, &permit).await });
        }
        self.publish();
        self.remember(now.mono);
        let status = self.bridge.status(now);
        self.status.send_if_modified(|shown| {
            let changed = *shown != status;
            *shown = status;
            changed
        });
    }

    fn remember(&mut self, now: Instant) {
        if self.bridge.is_memory_changed() {
            self.store.note_change(now);
        }
        if self.store.is_due(now) {
            self.store.write(self.bridge.memory(), now);
        }
    }

    fn publish(&mut self) {
        while let Some(publication) = self.held.take().or_else(|| self.bridge.next_publication()) {
            if let Err(mqtt::Full(publication)) = self.publisher.try_publish(publication) {
                self.held = Some(publication);
                return;
            }
        }
    }

    /// Ends what is left, says goodbye to the broker, and waits for it a little.
    async fn leave(mut self, link: Link) {
        self.bridge.abandon(clock::now());
        let drained = tokio::time::timeout(FAREWELL, async {
            self.publish();
            while self.held.is_some() {
                self.publisher.ready().await;
                self.publish();
            }
        });
        if drained.await.is_err() {
            tracing::warn!("the broker does not take what is left to publish");
        }
        if let Err(error) = link.close(vec![self.bridge.farewell()], FAREWELL).await {
            tracing::warn!(%error, "the broker did not acknowledge the goodbye; its last will says it");
        }
        self.replies.shutdown().await;
        let written = self.store.close(self.bridge.memory(), || clock::now().mono);
        if tokio::time::timeout(FAREWELL, written).await.is_err() {
            tracing::warn!("the disk does not take what must outlast a restart");
        }
    }

    /// Gets token and connection before the first command needs them.
    fn warm(&self) {
        let client = self.client.clone();
        tokio::spawn(async move {
            if let Err(error) = client.warm().await {
                tracing::debug!(%error, "the connection for commands is not ready yet");
            }
        });
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
