//! Connections with limits: how many, how long, and how much a head may hold.
//!
//! Every connection serves one request. A proxy in front of us then never sends a delivery down a connection that is
//! just ending, which it could not safely repeat; on one machine a new connection costs next to nothing.

use std::time::{Duration, Instant};

use axum::{Router, body::Body, http::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tower_service::Service;

use crate::clock;

/// How many connections are served at the same time; further ones are closed at once.
const MAX_CONNECTIONS: usize = 64;
/// How long a head may take from the first byte of the connection's life.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// How long a connection lives, whatever it does: head, body, work and answer.
const LIFE: Duration = Duration::from_secs(15);
/// The largest head, in bytes; also what a connection buffers.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// The most header fields.
const MAX_FIELDS: usize = 64;
/// The pause after a connection could not be taken, for instance because there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often at most the same trouble is told.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Serves until it is dropped, and all connections with it.
pub(super) async fn run(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    let (mut full, mut troubled) = (Seldom::default(), Seldom::default());
    loop {
        tokio::select! {
            biased;
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "an HTTP connection ended badly");
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < MAX_CONNECTIONS => {
                    connections.spawn(serve(stream, router.clone()));
                }
                Ok((stream, peer)) => {
                    drop(stream);
                    if full.is_due() {
                        tracing::warn!(limit = MAX_CONNECTIONS, %peer, "too many HTTP connections; further ones are closed");
                    }
                }
                Err(error) => {
                    if troubled.is_due() {
                        tracing::warn!(%error, "an HTTP connection cannot be taken");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Serves one request.
async fn serve(stream: TcpStream, router: Router) {
    let service = service_fn(move |request: Request<Incoming>| router.clone().call(request.map(Body::new)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_header_size(MAX_HEAD_BYTES)
        .max_headers(MAX_FIELDS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(LIFE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection was cut"),
        Err(_) => tracing::debug!("an HTTP connection took too long and was closed"),
    }
}

/// Says at most once a minute that something is worth telling.
#[derive(Debug, Default)]
struct Seldom(Option<Instant>);

impl Seldom {
    fn is_due(&mut self) -> bool {
        let now = clock::now().mono;
        let due = self.0.is_none_or(|last| now.saturating_duration_since(last) >= TELL_EVERY);
        if due {
            self.0 = Some(now);
        }
        due
    }
}
