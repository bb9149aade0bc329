//! The line on which acts are sent: HTTP/1.1 connections kept open for unlock, activate and release.
//!
//! An act must be executed at most once and must be permitted at the instant of writing. A general client can promise
//! neither: it may repeat a request by itself, and it may look up, connect and shake hands for seconds between our check
//! and the write. So acts use hyper's bare connection: first the connection is made ready, then the gate is asked, then
//! the request is handed over, once. hyper either gives it back whole, which proves that nothing of it was encoded, or
//! it counts as sent. HTTP/1.1, because there one request is one write and nothing queues behind streams or windows.
//!
//! No act pays a handshake: a spare connection is kept and replaced in the background before it is old enough for the
//! other side, or a firewall in between, to have dropped it.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Uri, client::conn::http1};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::ClientConfig;
use tower_service::Service;

use super::tls;
use crate::clock;

/// A connection that takes one request at a time.
pub(super) type Sender = http1::SendRequest<Full<Bytes>>;

/// The largest number of spare connections; more than one only after acts that ran at the same time.
const MAX_SPARES: usize = 4;
/// TCP keep-alive: keeps the way through firewalls open and finds dead connections.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long written bytes may stay unacknowledged before the connection counts as dead.
#[cfg(target_os = "linux")]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// Open connections to the vendor, for acts alone.
#[derive(Debug)]
pub(super) struct Line {
    connector: HttpsConnector<HttpConnector>,
    target: Uri,
    connect: Duration,
    idle: Duration,
    spares: Mutex<Vec<Spare>>,
}

#[derive(Debug)]
struct Spare {
    sender: Sender,
    since: Instant,
}

impl Line {
    /// Prepares a line to the host of `target`; `connect` bounds look-up, connect and TLS together, `idle` the age of a
    /// spare connection.
    pub(super) fn new(tls: ClientConfig, target: Uri, connect: Duration, idle: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(connect));
        tcp.set_keepalive(Some(TCP_KEEP_ALIVE));
        tcp.set_keepalive_interval(Some(TCP_KEEP_ALIVE));
        tcp.set_keepalive_retries(Some(3));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Self { connector, target, connect, idle, spares: Mutex::new(Vec::new()) }
    }

    /// Takes a connection that is ready to write: a spare one, or else a new one. The error says why there is none.
    pub(super) async fn take(&self) -> Result<Sender, String> {
        while let Some(mut sender) = self.pop() {
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        self.open().await
    }

    /// Gives back a connection whose answer was read to the end.
    pub(super) fn give_back(&self, sender: Sender) {
        let spare = Spare { sender, since: clock::now().mono };
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        if !spare.sender.is_closed() && spares.len() < MAX_SPARES {
            spares.push(spare);
        }
    }

    /// Whether a spare connection is open that will stay young for at least a fifth of the allowed age.
    pub(super) fn is_warm(&self) -> bool {
        let now = clock::now().mono;
        let limit = self.idle.saturating_sub(self.idle / 5);
        let spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        spares
            .iter()
            .any(|spare| !spare.sender.is_closed() && now.saturating_duration_since(spare.since) < limit)
    }

    /// Makes sure that a young spare connection is open. The error says why there is none.
    pub(super) async fn warm(&self) -> Result<(), String> {
        if !self.is_warm() {
            let mut sender = self.open().await?;
            sender.ready().await.map_err(|e| tls::cause(&e))?;
            self.give_back_first(sender);
        }
        Ok(())
    }

    /// Opens a second connection where only one is spare, to wait behind it: what takes the first one for something else
    /// than an act leaves one to acts. Where none is spare there is nothing to leave.
    pub(super) async fn set_one_aside(&self) {
        if self.count() != 1 {
            return;
        }
        if let Ok(mut sender) = self.open().await
            && sender.ready().await.is_ok()
        {
            let spare = Spare { sender, since: clock::now().mono };
            self.spares.lock().unwrap_or_else(PoisonError::into_inner).insert(0, spare);
        }
    }

    /// How many spare connections are open and not too old.
    fn count(&self) -> usize {
        let now = clock::now().mono;
        let spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        let usable = |spare: &&Spare| {
            !spare.sender.is_closed() && now.saturating_duration_since(spare.since) < self.idle
        };
        spares.iter().filter(usable).count()
    }

    /// Keeps a fresh connection in place of those that are closed or nearly too old.
    fn give_back_first(&self, sender: Sender) {
        let now = clock::now().mono;
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        spares.retain(|spare| {
            !spare.sender.is_closed() && now.saturating_duration_since(spare.since) < self.idle
        });
        if spares.len() >= MAX_SPARES {
            spares.remove(0);
        }
        spares.push(Spare { sender, since: now });
    }

    /// The youngest spare connection that is open and not too old.
    fn pop(&self) -> Option<Sender> {
        let now = clock::now().mono;
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(spare) = spares.pop() {
            if !spare.sender.is_closed() && now.saturating_duration_since(spare.since) < self.idle {
                return Some(spare.sender);
            }
        }
        None
    }

    async fn open(&self) -> Result<Sender, String> {
        let mut connector = self.connector.clone();
        let stream = tokio::time::timeout(self.connect, connector.call(self.target.clone()))
            .await
            .map_err(|_| format!("no connection within {} ms", self.connect.as_millis()))?
            .map_err(|e| tls::cause(&*e))?;
        let (sender, connection) = http1::handshake(stream).await.map_err(|e| tls::cause(&e))?;
        tokio::spawn(async move {
            if let Err(cause) = connection.await {
                tracing::trace!(%cause, "a connection to the vendor ended");
            }
        });
        Ok(sender)
    }
}
