//! Connections with limits: how many, how long, and how much a head may hold.
//!
//! Every connection serves one request. A proxy in front of us then never sends a delivery down a connection that is
//! just ending, which it could not safely repeat; on one machine a new connection costs next to nothing. A peer that takes
//! nothing of what is sent is cut off, so that whoever stops to read holds no place.

use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::{Router, body::Body, http::Request};
use futures_util::TryFutureExt as _;
use hyper::{body::Incoming, rt::ReadBufCursor, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Sleep, sleep, timeout},
};
use tower_service::Service;

use crate::clock;

/// How many connections are served at the same time; further ones are closed at once.
const MAX_CONNECTIONS: usize = 64;
/// How long a head may take from the first byte of the connection's life.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// How long a connection lives, whatever it does: head, body, work and answer ...
const LIFE: Duration = Duration::from_secs(15);
/// ... and how much longer one whose answer is [`Lasting`]; longer than any such answer.
const LASTING_LIFE: Duration = Duration::from_mins(11);
/// How long a peer may take nothing while something is there for it.
const TAKE_TIME: Duration = Duration::from_secs(10);
/// The largest head, in bytes; also what a connection buffers.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// The most header fields.
const MAX_FIELDS: usize = 64;
/// The pause after a connection could not be taken, for instance because there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often at most the same trouble is told.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Marks an answer that goes on for minutes. Whoever gives one bounds how many there are at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lasting;

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
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Serves one request.
async fn serve(stream: TcpStream, router: Router) {
    let lasts = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&lasts);
    let service = service_fn(move |request: Request<Incoming>| {
        let noted = Arc::clone(&noted);
        router.clone().call(request.map(Body::new)).inspect_ok(move |answer| {
            noted.store(answer.extensions().get::<Lasting>().is_some(), Ordering::Relaxed);
        })
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_header_size(MAX_HEAD_BYTES)
        .max_headers(MAX_FIELDS)
        .keep_alive(false)
        .serve_connection(Impatient::new(TokioIo::new(stream)), service);
    let mut connection = pin!(connection);
    let mut served = timeout(LIFE, connection.as_mut()).await;
    if served.is_err() && lasts.load(Ordering::Relaxed) {
        served = timeout(LASTING_LIFE, connection).await;
    }
    match served {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection was cut"),
        Err(_) => tracing::debug!("an HTTP connection took too long and was closed"),
    }
}

/// A connection whose writes fail once the peer has taken nothing for [`TAKE_TIME`].
#[derive(Debug)]
struct Impatient<T> {
    io: T,
    patience: Option<Pin<Box<Sleep>>>,
}

impl<T> Impatient<T> {
    const fn new(io: T) -> Self {
        Self { io, patience: None }
    }

    /// Takes what a write came to.
    fn judge<R>(&mut self, came: Poll<io::Result<R>>, context: &mut Context<'_>) -> Poll<io::Result<R>> {
        if came.is_ready() {
            self.patience = None;
            return came;
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(TAKE_TIME)));
        ready!(patience.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))
    }
}

impl<T: hyper::rt::Read + Unpin> hyper::rt::Read for Impatient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<T: hyper::rt::Write + Unpin> hyper::rt::Write for Impatient<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let came = Pin::new(&mut self.io).poll_write(context, bytes);
        self.judge(came, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let came = Pin::new(&mut self.io).poll_flush(context);
        self.judge(came, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let came = Pin::new(&mut self.io).poll_shutdown(context);
        self.judge(came, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let came = Pin::new(&mut self.io).poll_write_vectored(context, bytes);
        self.judge(came, context)
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use hyper::rt::Write as _;
    use tokio::{io::AsyncReadExt as _, time::Instant};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_cut_off_and_a_slow_one_is_not() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut connection = Impatient::new(TokioIo::new(ours));
        let mut write =
            async || poll_fn(|context| Pin::new(&mut connection).poll_write(context, &[0; 16])).await;
        assert_eq!(write().await.unwrap(), 16, "there is room");
        // Together longer than a peer may take nothing.
        for _ in 0..3 {
            let take = async {
                sleep(TAKE_TIME / 2).await;
                theirs.read_exact(&mut [0; 16]).await.unwrap();
            };
            let (written, ()) = tokio::join!(write(), take);
            assert_eq!(written.unwrap(), 16);
        }
        let begun = Instant::now();
        assert_eq!(write().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), TAKE_TIME.as_secs());
    }
}
