//! The session token: made once for all callers, renewed before it ends, never shown.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::header::HeaderValue;
use tokio::{sync::watch, task::AbortHandle};

use super::{fault::TokenDoubt, http::Http};
use crate::{
    clock,
    model::{Fault, Trace},
};

/// While the key is refused, or a new token did not help, no more than one attempt is made in this time.
const RETRY_REFUSED: Duration = Duration::from_mins(1);

/// How long the background renewal waits after it failed; the token in use is good for some minutes.
const RETRY_RENEWAL: Duration = Duration::from_secs(30);

/// A token the vendor gave.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) header: HeaderValue,
    serial: u64,
    born: Instant,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("serial", &self.serial).finish_non_exhaustive()
    }
}

/// How the token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenHealth {
    /// There is none yet, or the last one was dropped.
    Missing,
    /// There is one of this age.
    Valid {
        /// Since it was made, by the monotonic clock.
        age: Duration,
    },
    /// The vendor refuses the key; calls fail at once until the next attempt, at most a minute later.
    Refused {
        /// What the vendor said.
        text: String,
    },
}

type Landing = watch::Receiver<Option<Result<Token, Fault>>>;

/// A request for a token that is under way.
#[derive(Debug)]
struct Flight {
    landing: Landing,
    task: AbortHandle,
}

#[derive(Debug, Default)]
struct State {
    current: Option<Token>,
    flight: Option<Flight>,
    refused: Option<(Instant, Fault)>,
    replaced_at: Option<Instant>,
    failed_at: Option<Instant>,
    serial: u64,
    /// How many keys there were before this one.
    key: u64,
}

/// The one holder of the token.
#[derive(Debug)]
pub(super) struct Tokens {
    http: Arc<Http>,
    life: Duration,
    renew: Duration,
    state: Mutex<State>,
    requests: AtomicU32,
    /// Told at the end of each request.
    settled: watch::Sender<()>,
}

impl Tokens {
    /// `life` is how long a token is used, `renew` the age at which the next one is made in the background.
    pub(super) fn new(http: Arc<Http>, life: Duration, renew: Duration) -> Self {
        let (requests, settled) = (AtomicU32::new(0), watch::Sender::new(()));
        Self { http, life, renew, state: Mutex::default(), requests, settled }
    }

    /// The token, making one if there is none. All callers that come meanwhile share one request.
    pub(super) async fn get(self: &Arc<Self>) -> Result<Token, Fault> {
        loop {
            let (mut landing, key) = {
                let mut state = self.lock();
                let now = clock::now().mono;
                if let Some(token) = &state.current
                    && now.saturating_duration_since(token.born) < self.life
                {
                    return Ok(token.clone());
                }
                if let Some((at, fault)) = &state.refused
                    && now.saturating_duration_since(*at) < RETRY_REFUSED
                {
                    return Err(fault.clone());
                }
                (self.flight(&mut state), state.key)
            };
            let landed = landing.wait_for(Option::is_some).await.ok().and_then(|result| result.clone());
            let result = landed.unwrap_or_else(|| {
                Err(Fault::NotSent(Trace::new("get token: given up, the program is stopping")))
            });
            // What a key gave that was replaced meanwhile decides nothing; the new one has a request under way.
            if result.is_ok() || self.lock().key == key {
                return result;
            }
        }
    }

    /// Drops `token`, which the vendor put in doubt, so that [`Tokens::get`] makes or finds another one. False where no
    /// other one may be made yet: a new token did not cure the same doubt less than a minute ago.
    pub(super) fn replace(&self, token: &Token, doubt: TokenDoubt) -> bool {
        let now = clock::now().mono;
        let mut state = self.lock();
        if state.current.as_ref().is_some_and(|current| current.serial != token.serial) {
            return true;
        }
        let recent = state.replaced_at.is_some_and(|at| now.saturating_duration_since(at) < RETRY_REFUSED);
        match doubt {
            TokenDoubt::Refused if recent && state.current.is_some() => return false,
            TokenDoubt::Refused => state.replaced_at = Some(now),
            TokenDoubt::Expired => {}
        }
        state.current = None;
        true
    }

    /// Starts the renewal in the background if the token has the age for it.
    pub(super) fn tend(self: &Arc<Self>) {
        let mut state = self.lock();
        let now = clock::now().mono;
        let due = state
            .current
            .as_ref()
            .is_some_and(|token| now.saturating_duration_since(token.born) >= self.renew);
        let within = |at: Instant, time| now.saturating_duration_since(at) < time;
        let waits = state.refused.as_ref().is_some_and(|(at, _)| within(*at, RETRY_REFUSED))
            || state.failed_at.is_some_and(|at| within(at, RETRY_RENEWAL));
        if due && !waits {
            // Nobody waits for it: the token in use is good for some time.
            drop(self.flight(&mut state));
        }
    }

    /// Makes a token with a new key. What was said of the old one counts no more.
    pub(super) fn renew(self: &Arc<Self>) {
        let mut state = self.lock();
        state.key = state.key.wrapping_add(1);
        if let Some(flight) = &state.flight {
            flight.task.abort();
        }
        (state.flight, state.refused, state.replaced_at, state.failed_at) = (None, None, None, None);
        // Nobody waits for it: who needs a token has one, or asks for it.
        drop(self.flight(&mut state));
    }

    /// How the token is.
    pub(super) fn health(&self) -> TokenHealth {
        let state = self.lock();
        if let Some((_, fault)) = &state.refused {
            return TokenHealth::Refused { text: fault.trace().text.clone() };
        }
        state.current.as_ref().map_or(TokenHealth::Missing, |token| TokenHealth::Valid {
            age: clock::now().mono.saturating_duration_since(token.born),
        })
    }

    /// Changes when a request for a token has ended, whoever asked for it.
    pub(super) fn settled(&self) -> watch::Receiver<()> {
        self.settled.subscribe()
    }

    /// The token requests made since this was last asked, so that each is counted in one reply.
    pub(super) fn take_requests(&self) -> u32 {
        self.requests.swap(0, Ordering::Relaxed)
    }

    /// Joins the request that is under way or starts one. It runs in a task of its own, so that it outlives a caller
    /// whose time is up.
    fn flight(self: &Arc<Self>, state: &mut State) -> Landing {
        if let Some(Flight { landing, .. }) = &state.flight
            && landing.has_changed().is_ok()
        {
            return landing.clone();
        }
        let (land, landing) = watch::channel(None);
        let this = Arc::clone(self);
        let key = state.key;
        let task = tokio::spawn(async move {
            this.requests.fetch_add(1, Ordering::Relaxed);
            let made = this.http.mint().await;
            let result = this.settle(made, key);
            land.send_replace(Some(result));
            this.settled.send_replace(());
        });
        state.flight = Some(Flight { landing: landing.clone(), task: task.abort_handle() });
        landing
    }

    /// `key` is how many keys there were before the one that was used.
    fn settle(&self, made: Result<HeaderValue, Fault>, key: u64) -> Result<Token, Fault> {
        let now = clock::now().mono;
        let mut state = self.lock();
        if key != state.key {
            // Nothing of it counts for the key that is in use now, whose own request is under way.
            let fault = Fault::NotSent(Trace::new("get token: the API key was replaced meanwhile"));
            return Err(made.err().unwrap_or(fault));
        }
        state.flight = None;
        match made {
            Ok(header) => {
                state.serial = state.serial.wrapping_add(1);
                let token = Token { header, serial: state.serial, born: now };
                state.current = Some(token.clone());
                state.refused = None;
                state.failed_at = None;
                tracing::debug!("a new token was made");
                Ok(token)
            }
            Err(fault) => {
                state.failed_at = Some(now);
                if matches!(fault, Fault::Unauthorized(_)) {
                    state.refused = Some((now, fault.clone()));
                }
                tracing::debug!(%fault, "no token could be made");
                Err(fault)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
