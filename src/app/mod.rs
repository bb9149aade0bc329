//! The shell: one event loop and one timer around the core. It owns every task and decides nothing.

mod heard;
pub mod http;
mod lock;
mod memory;
mod onlookers;
mod reload;
mod rotation;
mod systemd;
mod usage;
pub(crate) mod wiring;

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

pub use lock::{LockError, StateLock};
use onlookers::Onlookers;
use rotation::SecretFiles;
pub(crate) use wiring::guest_settings;
pub use wiring::{client_settings, link_settings, securing_settings};

use crate::{
    bridge::{Bridge, Census, Confirmed, FRESH_LINK, Input, ShellRequest, Status},
    clock,
    config::{Config, Report},
    journal::{self, Journal},
    logging::LogHandle,
    model::{LinkEvent, Publication, Push, Reply, TokenState, Turn},
    mqtt::{self, Link, Publisher},
    signals::Signal,
    verkada::{self, Client, Permit, TokenHealth},
};

/// How long commands under way may still end after a stop was asked for; shorter than the service manager's patience.
const STOP_GRACE: Duration = Duration::from_secs(8);
/// How many messages of the main connection are handled in a row. Then all tasks have their turn: one of them reads the
/// securing connection, and another writes the request of a lockdown.
const IN_A_ROW: usize = 32;
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

/// Where what must outlast a restart is kept.
#[derive(Debug, Clone, Copy)]
pub enum State<'a> {
    /// In a directory that is ours.
    Held(&'a StateLock),
    /// Nowhere: everything ends with the process. For the demo.
    Memory,
    /// Nowhere, although it should be in this directory, which cannot be used: nothing opens without a record, so nothing
    /// opens.
    Lost(&'a Path),
}

impl State<'_> {
    fn directory(&self) -> Option<&Path> {
        match self {
            Self::Held(lock) => Some(lock.directory()),
            Self::Memory | Self::Lost(_) => None,
        }
    }

    /// Where the journal is to be; in memory without.
    fn journal(&self) -> Option<&Path> {
        match self {
            Self::Held(lock) => Some(lock.directory()),
            Self::Lost(directory) => Some(directory),
            Self::Memory => None,
        }
    }
}

/// How a run ended.
#[derive(Debug)]
pub enum End {
    /// A stop was asked for.
    Stopped,
    /// Another configuration is to be run.
    Reload {
        /// What ran until now.
        before: Box<Config>,
        /// What is to run.
        next: Box<Config>,
    },
}

/// Runs the gateway until a signal ends it. Starts and heals with broker and vendor down.
///
/// `state` says where what must outlast a restart is kept. `reload` reads the
/// configuration again; while that fails, the present one stays whole. `log` is set where a message asks for another
/// level.
///
/// # Errors
/// Only for what cannot heal by itself.
pub async fn run(
    config: &Config,
    log: &LogHandle,
    state: State<'_>,
    signals: &mut mpsc::Receiver<Signal>,
    reload: impl Fn() -> Result<Config, Report>,
) -> Result<End, Error> {
    let now = clock::now();
    let (store, memory) = memory::Store::open(state.directory(), now.mono);
    let seed_of_run = seed();
    let mut bridge = Bridge::new(wiring::bridge_settings(config), seed_of_run, now, memory);
    let limits = journal::Limits { keep: config.journal.keep, ..journal::Limits::default() };
    let run = format!("{seed_of_run:016x}");
    let (journal, past) = journal::open_with(state.journal(), &run, now.utc, limits);
    bridge.recall(past, now);
    let client = Client::new(client_settings(config))?;
    let (status_sender, status) = watch::channel(bridge.status(now));
    let (census, censuses) = mpsc::channel(4);
    let (http, pushes) = {
        let client = client.clone();
        let sources = http::Sources { status, requests: Box::new(move || client.requests()), census };
        http::serve(config.http, &config.webhook, config.events.privacy, sources).await?
    };
    let heard = heard::Heard::new(state.directory());
    let securing = wiring::securing_client_id(config);
    let securing = mqtt::connect(securing_settings(config, &securing, heard.read(now)), seed())?;
    let heard = heard.keep(securing.heard());
    let link = mqtt::connect(link_settings(config, &config.mqtt.client_id), seed())?;
    let (turns, _) = watch::channel(bridge.turn());
    let mut shell = Shell {
        permit: Permit::new(link.freshness(), turns.subscribe(), FRESH_LINK),
        turns,
        publisher: link.publisher(),
        bridge,
        store,
        journal,
        token_settled: client.token_settled(),
        client,
        token: TokenState::Missing,
        log,
        replies: JoinSet::new(),
        meters: http.meters(),
        onlookers: Onlookers::new(http.page()),
        censuses,
        pushes,
        held: None,
        status: status_sender,
        watchdog: systemd::Watchdog::start(now.mono),
        stop_by: None,
        next: None,
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
    let mut links = Links { main: link, securing };
    let mut config = config.clone();
    let next = shell.serve(&mut config, (&mut links, &http), signals, reload).await?;
    systemd::stopping();
    heard.stop().await;
    shell.leave(links).await;
    http.stop().await;
    tracing::info!("the gateway has stopped");
    Ok(next.map_or(End::Stopped, |next| End::Reload { before: Box::new(config), next: Box::new(next) }))
}

/// A seed that differs between runs and machines; it decides jitter and names, never secrets.
pub(crate) fn seed() -> u64 {
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

/// The two connections to the broker.
struct Links {
    main: Link,
    /// For lockdowns alone, so that nothing stands before them.
    securing: Link,
}

struct Shell<'a> {
    bridge: Bridge,
    store: memory::Store,
    journal: Journal,
    client: Client,
    /// Changes when a request for a token has ended.
    token_settled: watch::Receiver<()>,
    /// What the core was last told of the token.
    token: TokenState,
    log: &'a LogHandle,
    permit: Permit,
    /// The turn in which calls that open may be sent.
    turns: watch::Sender<Turn>,
    publisher: Publisher,
    /// Each with the moment at which its act was written.
    replies: JoinSet<(Reply, Option<Instant>)>,
    meters: http::Meters,
    onlookers: Onlookers,
    /// Those who want doors and scenarios counted.
    censuses: mpsc::Receiver<oneshot::Sender<Census>>,
    /// What webhooks bring.
    pushes: mpsc::Receiver<Push>,
    /// What the link had no room for.
    held: Option<Publication>,
    status: watch::Sender<Status>,
    watchdog: systemd::Watchdog,
    /// When patience with commands under way ends, once a stop was asked for.
    stop_by: Option<Instant>,
    /// What is to run after the stop, if anything.
    next: Option<Config>,
}

impl Shell<'_> {
    /// The event loop: pull what the core wants, wait for whatever comes first, hand it in.
    async fn serve(
        &mut self,
        config: &mut Config,
        (links, http): (&mut Links, &http::Server),
        signals: &mut mpsc::Receiver<Signal>,
        reload: impl Fn() -> Result<Config, Report>,
    ) -> Result<Option<Config>, Error> {
        let mut secrets = SecretFiles::watch(config.secret_files.clone());
        loop {
            while let Some(event) = links.securing.next().now_or_never() {
                self.bridge.handle(Input::Securing(event), clock::now());
            }
            self.pull();
            while let Some(receipt) = self.bridge.next_receipt() {
                links.securing.acknowledge(receipt);
            }
            if self.obey() == Some(Restart) {
                self.next = Some(reload::for_a_restart(config, &reload));
                self.stop();
            }
            let now = clock::now();
            if let Some(stop_by) = self.stop_by
                && (self.bridge.is_idle() || stop_by <= now.mono)
            {
                return Ok(self.next.take());
            }
            let deadlines = [
                self.bridge.next_deadline(now).map(|(at, _)| at),
                self.store.next(),
                self.watchdog.next(),
                self.stop_by,
            ];
            let wake = deadlines.into_iter().flatten().min();
            tokio::select! {
                signal = signals.recv() => {
                    self.heed(signal, config, (links, http), &reload);
                    secrets = SecretFiles::watch(config.secret_files.clone());
                }
                event = links.securing.next() => self.bridge.handle(Input::Securing(event), clock::now()),
                event = links.main.next() => {
                    self.hear_burst(event, &mut links.main);
                    // What a command asks for is under way before the next message is looked at.
                    self.pull();
                    tokio::task::yield_now().await;
                }
                Some(reply) = self.replies.join_next(), if !self.replies.is_empty() => {
                    let (reply, written) = reply.map_err(|error| Error::Task(error.to_string()))?;
                    self.measure(&reply, written);
                    // First, because the core judges a refused call by it.
                    self.tell_token();
                    if let Some(skew) = self.client.take_clock() {
                        self.bridge.handle(Input::VendorClock(skew), clock::now());
                    }
                    self.bridge.handle(Input::Reply(reply), clock::now());
                }
                Ok(()) = self.token_settled.changed() => self.tell_token(),
                Some(push) = self.pushes.recv() => self.bridge.handle(Input::Push(push), clock::now()),
                event = self.journal.next() => self.bridge.handle(Input::Journal(event), clock::now()),
                () = self.publisher.ready(), if self.held.is_some() => {}
                () = self.store.written(|| clock::now().mono) => {}
                // Whoever asked may have gone.
                Some(asked) = self.censuses.recv() => drop(asked.send(self.bridge.census())),
                () = self.onlookers.wait() => {
                    self.onlookers.draw(&mut self.bridge, clock::now());
                    tokio::task::yield_now().await;
                }
                () = secrets.changed(), if self.stop_by.is_none() => {
                    self.take_secrets(config, links, http, &reload);
                }
                () = sleep_until(wake) => self.bridge.handle_timeout(clock::now()),
            }
            self.watchdog.feed(clock::now().mono);
        }
    }

    /// Does what a signal asks for.
    fn heed(
        &mut self,
        signal: Option<Signal>,
        config: &mut Config,
        (links, http): (&Links, &http::Server),
        read: impl Fn() -> Result<Config, Report>,
    ) {
        match signal {
            Some(Signal::Reload) if self.stop_by.is_some() => {
                tracing::info!("the gateway stops already; the configuration is not read again");
            }
            Some(Signal::Reload) => {
                if let Some(next) = self.reload(config, links, http, read) {
                    self.next = Some(next);
                    self.stop();
                }
            }
            Some(Signal::Stop) | None => {
                self.next = None;
                self.stop();
            }
        }
    }

    /// Takes what waits on the main connection, but not all of a flood at once.
    fn hear_burst(&mut self, first: LinkEvent, main: &mut Link) {
        self.hear(first);
        for _ in 1..IN_A_ROW {
            let Some(event) = main.next().now_or_never() else { return };
            self.hear(event);
        }
    }

    fn hear(&mut self, event: LinkEvent) {
        if matches!(event, LinkEvent::Up { .. }) && self.held.as_ref().is_some_and(|held| held.retain) {
            // The core publishes what is true again; an older value must not come before it.
            self.held = None;
        }
        self.bridge.handle(Input::Link(event), clock::now());
    }

    /// Notes how long an act took from the receipt of its command.
    fn measure(&mut self, reply: &Reply, written: Option<Instant>) {
        let Some(written) = written else { return };
        let Some(timing) = self.bridge.time_call(reply.id) else { return };
        if timing.is_first {
            self.meters.write(timing.action, written.saturating_duration_since(timing.received));
        }
        if reply.result.is_ok() {
            let took = clock::now().mono.saturating_duration_since(timing.received);
            self.meters.answer(timing.action, took);
        }
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
        // First, so that what a lockdown overtook is not written by a task that runs before this returns.
        self.turns.send_if_modified(|turn| std::mem::replace(turn, self.bridge.turn()) != self.bridge.turn());
        while let Some(call) = self.bridge.next_call(now) {
            let (client, permit) = (self.client.clone(), self.permit.clone());
            self.replies.spawn(async move { client.call_timed(&call, &permit).await });
        }
        while let Some(record) = self.bridge.next_record() {
            self.journal.write(record);
        }
        while let Some(Confirmed { action, took }) = self.bridge.next_confirmed() {
            self.meters.confirmed(action, took);
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
            self.meters.published();
        }
    }

    /// Ends what is left, says goodbye to the broker, and waits for it a little.
    async fn leave(mut self, links: Links) {
        let Links { main: link, securing } = links;
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
        // The broker keeps its session: what is pressed from now on is delivered to the next run.
        if let Err(error) = securing.close(Vec::new(), FAREWELL).await {
            tracing::debug!(%error, "the securing connection did not say goodbye");
        }
        if let Err(error) = link.close(vec![self.bridge.farewell()], FAREWELL).await {
            tracing::warn!(%error, "the broker did not acknowledge the goodbye; its last will says it");
        }
        self.replies.shutdown().await;
        while let Some(record) = self.bridge.next_record() {
            self.journal.write(record);
        }
        self.journal.close(FAREWELL).await;
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
        Some(at) => clock::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
