//! A bad network between the program under test and what it talks to: a TCP proxy that delays, stalls, cuts and refuses.

use std::{
    future::pending,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinHandle},
    time::sleep,
};
use verkada2mqtt::rng::Rng;

/// Longer than the network ever holds anything back, and shorter than anybody waits for an answer.
const SLOWEST_MILLISECONDS: u64 = 300;

/// What becomes of one direction of a connection.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// All comes through at once.
    Good,
    /// Each part is held back for up to so many milliseconds.
    Slow(u64),
    /// The connection ends behind so many bytes, wherever in a message that is.
    Cut(usize),
    /// Behind so many bytes nothing comes through any more, and nobody is told.
    Stall(usize),
}

impl Fate {
    fn draw(rng: &mut Rng) -> Self {
        // As likely within the first bytes as within the first thousands.
        let magnitude = rng.below(17);
        let bytes = usize::try_from(rng.below(1 << magnitude)).unwrap();
        match rng.below(20) {
            0 => Self::Cut(bytes),
            1 => Self::Stall(bytes),
            2 | 3 => Self::Slow(rng.below(SLOWEST_MILLISECONDS)),
            _ => Self::Good,
        }
    }

    /// How many bytes more it lets through.
    const fn limit(self) -> usize {
        match self {
            Self::Good | Self::Slow(_) => usize::MAX,
            Self::Cut(bytes) | Self::Stall(bytes) => bytes,
        }
    }
}

/// The proxy. It listens until it is dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

struct State {
    rng: Rng,
    calm: bool,
    refuses: bool,
    open: Vec<Open>,
}

/// A connection through it.
struct Open {
    stalled: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Proxy {
    /// Starts between whoever connects to its address and the server `behind`; the fate of each connection is drawn.
    pub(crate) async fn start(behind: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { rng: Rng::new(seed), calm: false, refuses: false, open: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                shared.lock().unwrap().take(client, behind);
            }
        });
        Self { address, state, task }
    }

    /// Ends every connection at once; what is on its way is lost.
    pub(crate) fn cut(&self) {
        self.state.lock().unwrap().cut();
    }

    /// From now on nothing comes through the connections that there are, and neither end is told.
    pub(crate) fn stall(&self) {
        for open in &self.state.lock().unwrap().open {
            open.stalled.store(true, Ordering::Relaxed);
        }
    }

    /// Whether whoever connects is turned away.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.state.lock().unwrap().refuses = refuses;
    }

    /// A good network from now on, with connections that are made anew.
    pub(crate) fn calm(&self) {
        let mut state = self.state.lock().unwrap();
        (state.calm, state.refuses) = (true, false);
        state.cut();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

impl State {
    fn cut(&mut self) {
        self.open.drain(..).for_each(|open| open.task.abort());
    }

    fn take(&mut self, client: TcpStream, behind: SocketAddr) {
        if self.refuses {
            return;
        }
        let (mut up, mut down) = (Fate::Good, Fate::Good);
        if !self.calm {
            (up, down) = (Fate::draw(&mut self.rng), Fate::draw(&mut self.rng));
        }
        let (up_dice, down_dice) = (Rng::new(self.rng.bits()), Rng::new(self.rng.bits()));
        let stalled = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stalled);
        let task = tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(behind).await else { return };
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            let (client_in, client_out) = client.into_split();
            let (server_in, server_out) = server.into_split();
            // Both directions end with either.
            tokio::select! {
                () = carry(client_in, server_out, up, up_dice, &flag) => {}
                () = carry(server_in, client_out, down, down_dice, &flag) => {}
            }
        });
        self.open.retain(|open| !open.task.is_finished());
        self.open.push(Open { stalled, task: task.abort_handle() });
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    fate: Fate,
    mut dice: Rng,
    stalled: &AtomicBool,
) {
    let mut left = fate.limit();
    let mut buffer = vec![0; 4096];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        if let Fate::Slow(most) = fate {
            sleep(Duration::from_millis(dice.below(most))).await;
        }
        if stalled.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
        let through = length.min(left);
        left -= through;
        if to.write_all(&buffer[..through]).await.is_err() {
            return;
        }
        match fate {
            Fate::Cut(_) if left == 0 => return,
            Fate::Stall(_) if left == 0 => pending().await,
            Fate::Good | Fate::Slow(_) | Fate::Cut(_) | Fate::Stall(_) => {}
        }
    }
}
