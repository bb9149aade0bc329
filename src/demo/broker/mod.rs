//! A small MQTT broker for the demo and the tests: MQTT 3.1.1 and 5 on one port, loopback only.
//!
//! **Never for production.** It asks nobody for a name or a password, keeps nothing on disk, no session of
//! 3.1.1 beyond its connection and one of 5 for an hour at most, and cuts a client that reads too slowly. `QoS` 2 is not offered: a subscription gets 1, an
//! MQTT 5 client that publishes with 2 is disconnected, and from 3.1.1, which knows no limit, it is taken and delivered
//! with 1. Everything it holds is bounded.
//!
//! The state is a pure machine (`hub`), fed by one task per connection (`connection`) on whatever runtime calls
//! [`start`]. It sits behind a mutex that is held for one event and never across an await, because
//! [`Broker::retained`] answers at once.

mod connection;
mod hub;
mod message;
mod retained;
mod session;
mod topic;
mod wire;

use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use rumqttc::mqttbytes::v5::{ConnAck, DisconnectReasonCode};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc, oneshot},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

use self::{
    connection::Order,
    hub::{ConnectionId, Effect, Event, Hub},
    session::Terms,
};

/// How many connections there may be at a time; more are closed at once.
const MAX_CONNECTIONS: usize = 256;

/// How long [`Broker::stop`] waits for the connections to close.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// How long the listener rests after a failure such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the broker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address can be reached from other machines.
    #[error(
        "the embedded broker does not listen on {0}: it asks for no password; use a loopback address such as 127.0.0.1"
    )]
    NotLoopback(SocketAddr),
    /// The address is taken or does not exist.
    #[error("the embedded broker cannot listen on {address}: {source}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A running broker. Dropping it cuts all connections; [`Broker::stop`] says goodbye first.
pub struct Broker {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    listener: JoinHandle<()>,
}

/// Starts a broker on `listen`, which must be a loopback address; port 0 takes a free one.
///
/// # Errors
/// [`Error::NotLoopback`] for any other address, [`Error::Bind`] if the operating system refuses.
pub async fn start(listen: SocketAddr) -> Result<Broker, Error> {
    if !listen.ip().is_loopback() {
        return Err(Error::NotLoopback(listen));
    }
    let bind_error = |source| Error::Bind { address: listen, source };
    let socket = TcpListener::bind(listen).await.map_err(bind_error)?;
    let address = socket.local_addr().map_err(bind_error)?;
    let shared = Arc::new(Shared::default());
    let (stop, stopped) = oneshot::channel();
    let listener = tokio::spawn(listen_until(socket, Arc::clone(&shared), stopped));
    Ok(Broker { address, shared, stop: Some(stop), listener })
}

impl Broker {
    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Topic and payload of the retained messages that `filter` matches, in the order of their topics.
    pub fn retained(&self, filter: &str) -> Vec<(String, Bytes)> {
        self.shared.state().hub.retained(filter, crate::clock::now().mono)
    }

    /// Says goodbye to all clients and closes their connections; returns when that is done, after 2 s at most.
    pub async fn stop(mut self) {
        if self.stop.take().is_some_and(|stop| stop.send(()).is_err()) {
            tracing::debug!("embedded broker had stopped before");
        }
        if timeout(STOP_WITHIN, &mut self.listener).await.is_err() {
            tracing::debug!("embedded broker cut the connections that did not close in time");
        }
    }

    /// Cuts every connection without a word, as a crash of the network would. Wills are published.
    pub fn drop_connections(&self) {
        self.shared.close_all(None);
    }

    /// Forgets all retained messages.
    pub fn forget_retained(&self) {
        self.shared.state().hub.forget_retained();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What all connections share.
#[derive(Debug, Default)]
struct Shared(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    hub: Hub,
    writers: BTreeMap<ConnectionId, mpsc::UnboundedSender<Order>>,
}

impl Shared {
    /// A panic elsewhere leaves the state usable: each event is applied whole or not at all.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection whose CONNECT was accepted joins.
    fn join(&self, id: ConnectionId, orders: mpsc::UnboundedSender<Order>, terms: Terms, ack: ConnAck) {
        let mut state = self.state();
        state.writers.insert(id, orders);
        state.apply(Event::Connected { id, terms: Box::new(terms), ack: Box::new(ack) });
    }

    fn handle(&self, event: Event) {
        self.state().apply(event);
    }

    /// The task of a connection ends.
    fn leave(&self, id: ConnectionId) {
        self.state().writers.remove(&id);
    }

    fn close_all(&self, reason: Option<DisconnectReasonCode>) {
        let mut state = self.state();
        for id in state.hub.connections() {
            state.apply(Event::Lost { id, reason });
        }
    }
}

impl State {
    fn apply(&mut self, event: Event) {
        for effect in self.hub.handle(event, crate::clock::now().mono) {
            let (id, order) = match effect {
                Effect::Write(id, packets) => (id, Order::Write(packets)),
                Effect::Close(id, reason) => (id, Order::Close(reason)),
            };
            if let Some(writer) = self.writers.get(&id)
                && writer.send(order).is_err()
            {
                tracing::trace!(connection = id, "connection ended before its order");
            }
        }
    }
}

/// Accepts connections until it is told to stop, then closes them all.
async fn listen_until(socket: TcpListener, shared: Arc<Shared>, mut stopped: oneshot::Receiver<()>) {
    let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut tasks = JoinSet::new();
    let mut next_id: ConnectionId = 0;
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((client, _)) => {
                    let Ok(seat) = Arc::clone(&seats).try_acquire_owned() else {
                        tracing::warn!(limit = MAX_CONNECTIONS, "connection refused, there are too many");
                        continue;
                    };
                    next_id += 1;
                    let (id, shared) = (next_id, Arc::clone(&shared));
                    tasks.spawn(async move {
                        connection::serve(client, id, shared).await;
                        drop(seat);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "embedded broker cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = tasks.join_next() => {}
            _ = &mut stopped => break,
        }
    }
    drop(socket);
    shared.close_all(Some(DisconnectReasonCode::ServerShuttingDown));
    while tasks.join_next().await.is_some() {}
}
