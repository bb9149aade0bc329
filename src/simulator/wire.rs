//! Connections that can be cut, slowed and ended after so many bytes.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    num::NonZeroU32,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::Sleep,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{ledger::Endpoint, server::Shared};

/// How many bytes of a request are looked at before it is read.
const PEEK_BYTES: usize = 1_024;

/// How long to wait after a failed accept, for instance without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often in a second a slow answer moves on.
const STEPS_PER_SECOND: u32 = 20;

/// Accepts connections as [`Wire`].
#[derive(Debug)]
pub(super) struct WireListener {
    /// The socket.
    pub socket: TcpListener,
    /// Asked before a request is read.
    pub shared: Shared,
}

impl Listener for WireListener {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok((stream, peer)) => return (Wire::new(stream, self.shared.clone()), peer),
                Err(error) => {
                    tracing::debug!(%error, "simulator: a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// The handle on a connection that its requests get.
#[derive(Debug, Clone)]
pub(super) struct Line {
    cut: CancellationToken,
    flow: Arc<Mutex<Flow>>,
}

/// How the answer flows.
#[derive(Debug, Default)]
struct Flow {
    /// How many bytes may still be sent.
    left: Option<u64>,
    /// How fast.
    bytes_per_second: Option<NonZeroU32>,
    /// Whether the end is a reset.
    reset: bool,
}

impl Line {
    /// Takes back what the request before had set.
    pub(super) fn begin(&self) {
        *self.flow() = Flow::default();
    }

    /// Resets the connection.
    pub(super) fn reset(&self) {
        self.flow().reset = true;
        self.cut.cancel();
    }

    /// Ends the connection once `bytes` more are sent.
    pub(super) fn end_after(&self, bytes: u64) {
        self.flow().left = Some(bytes);
    }

    /// Sends no faster than this.
    pub(super) fn slow_down(&self, bytes_per_second: NonZeroU32) {
        self.flow().bytes_per_second = Some(bytes_per_second);
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connected<IncomingStream<'_, WireListener>> for Line {
    fn connect_info(stream: IncomingStream<'_, WireListener>) -> Self {
        stream.io().line.clone()
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    shared: Shared,
    line: Line,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    fn new(stream: TcpStream, shared: Shared) -> Self {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "simulator: a connection cannot send at once");
        }
        let cut = shared.stop.child_token();
        let line = Line { cut: cut.clone(), flow: Arc::default() };
        Self { stream, shared, line, cut: Box::pin(cut.cancelled_owned()), pause: None }
    }

    /// The error that makes the server drop the connection.
    fn cut_off(&self) -> io::Error {
        if self.line.flow().reset
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::debug!(%error, "simulator: a connection ends without reset");
        }
        io::ErrorKind::ConnectionReset.into()
    }

    /// Whether the request that has arrived is cut before it is read.
    fn poll_struck(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if !self.shared.awaits_unread() {
            return Poll::Ready(Ok(false));
        }
        let mut space = [0; PEEK_BYTES];
        let mut head = ReadBuf::new(&mut space);
        ready!(self.stream.poll_peek(cx, &mut head))?;
        let struck =
            endpoint_of_head(head.filled()).is_some_and(|endpoint| self.shared.strikes_unread(endpoint));
        Poll::Ready(Ok(struck))
    }

    /// How many of `wanted` bytes may be sent at a time.
    fn allowance(&self, wanted: usize) -> usize {
        let flow = self.line.flow();
        let left = flow.left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let step = flow.bytes_per_second.map_or(usize::MAX, |speed| {
            usize::try_from((speed.get() / STEPS_PER_SECOND).max(1)).unwrap_or(usize::MAX)
        });
        wanted.min(left).min(step)
    }

    fn sent(&mut self, bytes: usize) {
        let mut flow = self.line.flow();
        if let Some(left) = &mut flow.left {
            *left = left.saturating_sub(u64::try_from(bytes).unwrap_or(u64::MAX));
        }
        if let Some(speed) = flow.bytes_per_second {
            let steps = u32::try_from(bytes).unwrap_or(u32::MAX);
            let pause = Duration::from_secs(1).saturating_mul(steps) / speed.get();
            self.pause = Some(Box::pin(tokio::time::sleep(pause)));
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(self.cut_off()));
        }
        if ready!(self.poll_struck(cx))? {
            self.line.reset();
            return Poll::Ready(Err(self.cut_off()));
        }
        Pin::new(&mut self.stream).poll_read(cx, space)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let allowed = self.allowance(bytes.len());
        if self.line.cut.is_cancelled() || (allowed == 0 && !bytes.is_empty()) {
            self.line.cut.cancel();
            return Poll::Ready(Err(self.cut_off()));
        }
        let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes.get(..allowed).unwrap_or(bytes)))?;
        self.sent(sent);
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An orderly end before a reset would hide the reset.
        if self.line.flow().reset {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What a request is for, by its first line; `None` where the bytes do not begin with a whole one.
fn endpoint_of_head(head: &[u8]) -> Option<Endpoint> {
    let line = head.split(|byte| *byte == b'\r').next().filter(|line| line.len() < head.len())?;
    let mut words = str::from_utf8(line).ok()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let path = target.split('?').next()?;
    version.starts_with("HTTP/1.").then(|| Endpoint::of(method, path).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_endpoint_by_the_first_line_alone() {
        let of = |head: &str| endpoint_of_head(head.as_bytes());
        assert_eq!(of("GET /access/v1/doors?site_ids=a HTTP/1.1\r\nhost: h\r\n"), Some(Endpoint::Doors));
        assert_eq!(of("GET /access/v1/doors HTTP/1.1"), None);
        assert_eq!(of("{\"door_id\": \"a\"}\r\n"), None);
    }
}
