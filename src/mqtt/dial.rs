//! The way to the broker: name, TCP, TLS, and a tap on what comes back.
//!
//! TLS is ours and not the client crates', so that every transport is trusted in one place and fails in words.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, lookup_host},
};
use tokio_rustls::TlsConnector;

use super::settings::Settings;

/// Opens the connections of one session.
#[derive(Debug, Clone)]
pub(super) struct Dialer {
    pub(super) settings: Arc<Settings>,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) tap: Tap,
}

impl Dialer {
    /// Resolves the name, connects to each address in turn, and shakes hands where TLS is wanted.
    pub(super) async fn dial(self) -> io::Result<Tapped> {
        let tcp = connect(&self.settings).await?;
        let stream: Box<dyn Stream> = match self.tls {
            None => Box::new(tcp),
            Some(config) => {
                let name = ServerName::try_from(self.settings.host.clone()).map_err(io::Error::other)?;
                Box::new(TlsConnector::from(config).connect(name, tcp).await?)
            }
        };
        Ok(Tapped { stream, tap: self.tap })
    }
}

async fn connect(settings: &Settings) -> io::Result<TcpStream> {
    let addresses = lookup_host((settings.host.as_str(), settings.port))
        .await
        .map_err(|cause| io::Error::new(io::ErrorKind::NotFound, cause.to_string()))?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Small packets go out at once: a command's answer must not wait for an acknowledgement of TCP.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(cause) => last = cause,
        }
    }
    Err(last)
}

/// The first and the last bytes that came from the broker.
///
/// MQTT 5 lets a broker leave out empty properties, and a broker that knows only 3.1.1 has none to send. The client
/// crate for MQTT 5 waits for them and then sees nothing but a closed connection; the bytes tell why it was closed.
#[derive(Debug, Clone, Default)]
pub(super) struct Tap(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    first: Vec<u8>,
    last: Vec<u8>,
}

/// How many bytes a CONNACK of MQTT 3.1.1 has; no shorter packet tells anything.
const ENOUGH: usize = 4;

impl Tap {
    /// Whether the first packet is a CONNACK of MQTT 3.1.1 that refuses the version.
    pub(super) fn refuses_version(&self) -> bool {
        matches!(self.seen().first[..], [0x20, 2, _, 1])
    }

    /// The reason of a DISCONNECT without properties, if that was the last packet.
    pub(super) fn farewell(&self) -> Option<u8> {
        match self.seen().last[..] {
            [.., 0xE0, 1, reason] => Some(reason),
            _ => None,
        }
    }

    fn took(&self, bytes: &[u8]) {
        let mut seen = self.seen();
        let missing = ENOUGH - seen.first.len();
        seen.first.extend(bytes.iter().take(missing));
        seen.last.extend(bytes.iter().skip(bytes.len().saturating_sub(ENOUGH)));
        let surplus = seen.last.len().saturating_sub(ENOUGH);
        seen.last.drain(..surplus);
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Anything that carries bytes both ways.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection to the broker whose incoming bytes are looked at.
pub(super) struct Tapped {
    stream: Box<dyn Stream>,
    tap: Tap,
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.tap.took(buf.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::tests::settings;

    #[tokio::test]
    async fn small_packets_go_out_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = connect(&settings(listener.local_addr().unwrap().port())).await.unwrap();
        assert!(stream.nodelay().unwrap());
    }

    #[test]
    fn the_tap_keeps_the_first_and_the_last_bytes_however_they_come() {
        let tap = Tap::default();
        assert!(!tap.refuses_version());
        for byte in [0x20, 2, 0] {
            tap.took(&[byte]);
        }
        assert!(!tap.refuses_version());
        tap.took(&[1, 9, 9, 9, 9, 9]);
        assert!(tap.refuses_version());
        assert_eq!(tap.farewell(), None);
        tap.took(&[0xE0]);
        tap.took(&[1, 0x8E]);
        assert_eq!(tap.farewell(), Some(0x8E));
        tap.took(&[0xD0, 0]);
        assert_eq!(tap.farewell(), None);
    }
}
