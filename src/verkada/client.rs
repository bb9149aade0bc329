//! One call, one attempt, one reply.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use jiff::SignedDuration;
use secrecy::SecretString;
use tokio::sync::watch;

use super::{
    Error, Permit, Settings,
    fault::{self, Operation},
    http::{Handed, Http, Route, Seen},
    tally::Requests,
    token::{Token, TokenHealth, Tokens},
    wire::{self, UnlockBody},
};
use crate::{
    clock,
    model::{
        Answer, CalendarId, Call, DoorId, Drilled, ExceptionId, Fault, Privacy, ReleasePath, Reply, Request,
        ScenarioId, Trace, Unlocked,
    },
};

/// How often an act is handed to another connection after one gave it back unsent.
const MAX_CONNECTIONS: u32 = 3;

/// A client of one organisation. Cheap to clone; all clones share token and connections. Must be used inside a tokio
/// runtime.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    http: Arc<Http>,
    tokens: Arc<Tokens>,
    limits: super::Limits,
    release_path: ReleasePath,
    privacy: Privacy,
    deactivate_works: AtomicBool,
    keep_warm: AtomicBool,
    warming: AtomicBool,
}

impl Client {
    /// Prepares a client; sends nothing.
    ///
    /// # Errors
    /// Where the base URL, the key or the CA certificates cannot be used, each with its cause.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let (limits, release_path, privacy) = (settings.limits, settings.release_path, settings.privacy);
        let http = Arc::new(Http::new(settings)?);
        let tokens = Arc::new(Tokens::new(Arc::clone(&http), limits.token_life, limits.token_renew));
        let inner = Inner {
            http,
            tokens,
            limits,
            release_path,
            privacy,
            deactivate_works: AtomicBool::new(false),
            keep_warm: AtomicBool::new(false),
            warming: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Takes another API key, and gets a token with it at once. The token there is stays in use until then, and where the
    /// new key is refused.
    ///
    /// # Errors
    /// If it cannot be a key.
    pub fn replace_key(&self, key: SecretString) -> Result<(), Error> {
        self.inner.http.replace_key(key)?;
        self.inner.tokens.renew();
        Ok(())
    }

    /// Makes one attempt. Right before every write of an act `call.send_before` is checked, and the permit where the call
    /// needs it; for a read it is checked when the read is handed on, before a connection is made for it. What comes too
    /// late is [`Fault::NotSent`]. A request is repeated only after an answer that proves
    /// that it was not done: once with a new token, and for a release once on the other path.
    ///
    /// A 200 that is a page for people is [`Fault::Malformed`] also for acts, since the vendor did not write it.
    pub async fn call(&self, call: &Call, permit: &Permit) -> Reply {
        self.call_timed(call, permit).await.0
    }

    /// As [`Client::call`], with the moment at which the first request of an act was handed to a connection that was
    /// ready to write; `None` where none was, and for reads.
    pub async fn call_timed(&self, call: &Call, permit: &Permit) -> (Reply, Option<Instant>) {
        self.inner.tend();
        let operation = Operation::of(&call.request);
        let limit = if operation.uses_line() { self.inner.limits.act } else { self.inner.limits.list };
        let deadline = clock::now().mono + limit;
        let mut attempt = Attempt {
            inner: &self.inner,
            call,
            permit,
            operation,
            deadline,
            requests: 0,
            written_at: None,
            written: None,
        };
        let result = attempt.run().await;
        let requests = attempt.requests.saturating_add(self.inner.tokens.take_requests());
        (Reply { id: call.id, result, requests }, attempt.written)
    }

    /// Gets a token and opens a connection for acts, so that the first one pays no handshake, and keeps one open from
    /// then on, as long as calls are made. The token request is counted in the next reply.
    ///
    /// # Errors
    /// Where no token or no connection can be had. Later calls try again by themselves.
    pub async fn warm(&self) -> Result<(), Error> {
        self.inner.keep_warm.store(true, Ordering::Relaxed);
        self.inner.tokens.get().await.map_err(|fault| Error::Warm(fault.to_string()))?;
        self.inner.http.line.warm().await.map_err(Error::Warm)
    }

    /// By how much the vendor's clock is ahead of this machine's, if an answer told its time since this was asked last.
    pub fn take_clock(&self) -> Option<SignedDuration> {
        self.inner.http.take_clock()
    }

    /// How many requests ended how, since the client was made.
    pub fn requests(&self) -> Vec<Requests> {
        self.inner.http.tally.read()
    }

    /// Changes when a request for a token has ended, whoever asked for it: [`Self::token_health`] tells how.
    pub fn token_settled(&self) -> watch::Receiver<()> {
        self.inner.tokens.settled()
    }

    /// How the token is.
    pub fn token_health(&self) -> TokenHealth {
        self.inner.tokens.health()
    }
}

impl Inner {
    /// Does in the background what an act shall not have to wait for.
    fn tend(self: &Arc<Self>) {
        self.tokens.tend();
        if !self.keep_warm.load(Ordering::Relaxed) || self.http.line.is_warm() {
            return;
        }
        if self.warming.swap(true, Ordering::Relaxed) {
            return;
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(cause) = this.http.line.warm().await {
                tracing::debug!(%cause, "no spare connection for acts could be opened");
            }
            this.warming.store(false, Ordering::Relaxed);
        });
    }
}

struct Attempt<'a> {
    inner: &'a Inner,
    call: &'a Call,
    permit: &'a Permit,
    operation: Operation,
    deadline: Instant,
    requests: u32,
    /// When a request was last handed to the line for acts.
    written_at: Option<Instant>,
    /// When the first request of an act was handed over, if one was.
    written: Option<Instant>,
}

impl Attempt<'_> {
    async fn run(&mut self) -> Result<Answer, Fault> {
        self.gate()?;
        let http = &self.inner.http;
        match &self.call.request {
            Request::ListDoors => self.list(http.doors(), |b| wire::doors(b).map(Answer::Doors)).await,
            Request::ListScenarios => {
                self.list(http.scenarios(), |b| wire::scenarios(b).map(Answer::Scenarios)).await
            }
            Request::ReadEvents { since, page } => {
                self.list(http.events(*since, page.as_ref()), |b| {
                    wire::events(b, self.inner.privacy).map(Answer::Events)
                })
                .await
            }
            Request::ListCalendars => {
                self.list(http.calendars(), |b| wire::calendars(b).map(Answer::Calendars)).await
            }
            Request::ListAccessLevels => {
                self.list(http.access_levels(), |b| wire::access_levels(b).map(Answer::AccessLevels)).await
            }
            Request::ListAccessGroups => {
                self.list(http.access_groups(), |b| wire::access_groups(b).map(Answer::AccessGroups)).await
            }
            Request::Unlock { door } => self.unlock(http.unlock(door), door).await,
            Request::UnlockAs { door, user } => self.unlock(http.unlock_as(door, user), door).await,
            Request::CreateCalendar(content) => self.write(http.create_calendar(content), None).await,
            Request::WriteCalendar { calendar, content } => {
                self.write(http.write_calendar(calendar, content), Some(calendar)).await
            }
            Request::CreateException { calendar, exception } => {
                self.write_exception(http.create_exception(calendar, exception), (calendar, None)).await
            }
            Request::WriteException { calendar, id, exception } => {
                self.write_exception(http.write_exception(calendar, id, exception), (calendar, Some(id)))
                    .await
            }
            Request::DeleteException { calendar, exception } => {
                self.authorised(&http.delete_exception(calendar, exception)).await?;
                Ok(Answer::Taken)
            }
            Request::Activate { scenario } => {
                self.authorised(&http.scenario(self.operation, scenario, "activate")).await?;
                Ok(Answer::Taken)
            }
            Request::Release { scenario } => self.release(scenario).await,
            Request::Drill => self.drill().await,
        }
    }

    async fn list(
        &mut self,
        route: Route,
        decode: impl FnOnce(&[u8]) -> Result<Answer, String>,
    ) -> Result<Answer, Fault> {
        let seen = self.authorised(&route).await?;
        self.decoded(&seen, decode)
    }

    fn decoded<T>(&self, seen: &Seen, decode: impl FnOnce(&[u8]) -> Result<T, String>) -> Result<T, Fault> {
        let decoded = match &seen.flaw {
            Some(flaw) => Err(flaw.clone()),
            None => decode(&seen.body),
        };
        decoded.map_err(|cause| {
            let text = format!("{}: the answer cannot be read: {cause}", self.operation.words());
            Fault::Malformed(Trace { status: Some(seen.status), text })
        })
    }

    /// Goes the way of an activate, on the connection that the next act would get, and reads where that would act.
    async fn drill(&mut self) -> Result<Answer, Fault> {
        let begun = clock::now().mono;
        let until = self.deadline.min(self.call.send_before);
        if clock::timeout_at(until, self.inner.http.line.set_one_aside()).await.is_err() {
            return Err(self.not_sent("no second connection was ready in time"));
        }
        let aside = clock::now().mono.saturating_duration_since(begun);
        let route = self.inner.http.drill();
        let seen = self.authorised(&route).await?;
        let answered_at = clock::now().mono;
        let sent_at = self.written_at.unwrap_or(answered_at);
        self.decoded(&seen, |body| {
            let scenarios = wire::scenarios(body)?;
            Ok(Answer::Drilled(Drilled { scenarios, aside, sent_at, answered_at }))
        })
    }

    async fn unlock(&mut self, route: Route, door: &DoorId) -> Result<Answer, Fault> {
        let seen = self.authorised(&route).await?;
        if let Some(flaw) = &seen.flaw {
            tracing::debug!(%door, %flaw, "the body of the answer to an unlock could not be read; its status is the proof");
            return Ok(Answer::Unlocked(Unlocked { duration: None }));
        }
        match wire::unlock(&seen.body, door) {
            UnlockBody::Fits(duration) => Ok(Answer::Unlocked(Unlocked { duration })),
            UnlockBody::AnotherDoor => Err(Fault::Unclear(Trace {
                status: Some(seen.status),
                text: format!(
                    "{}: the answer names another door than the one that was asked for",
                    self.operation.words()
                ),
            })),
        }
    }

    /// Writes a calendar, `asked` where it is an old one. A 200 proves that something was written, and only its body tells
    /// what: without one, the calendar has to be read back.
    async fn write(&mut self, route: Route, asked: Option<&CalendarId>) -> Result<Answer, Fault> {
        let seen = self.authorised(&route).await?;
        let written = self.decoded(&seen, wire::calendar)?;
        if asked.is_some_and(|asked| written.id != *asked) {
            return Err(self.names_another("calendar", &seen));
        }
        Ok(Answer::Calendar(written))
    }

    /// Writes an exception of a calendar, `asked` with its id where it is an old one. Only the body proves what was written.
    async fn write_exception(
        &mut self,
        route: Route,
        (calendar, asked): (&CalendarId, Option<&ExceptionId>),
    ) -> Result<Answer, Fault> {
        let seen = self.authorised(&route).await?;
        let (of, written) = self.decoded(&seen, wire::exception)?;
        if of.is_some_and(|of| of != *calendar)
            || asked.is_some_and(|asked| written.id.as_ref() != Some(asked))
        {
            return Err(self.names_another("exception", &seen));
        }
        Ok(Answer::Exception(written))
    }

    fn names_another(&self, what: &str, seen: &Seen) -> Fault {
        let words = self.operation.words();
        let text = format!("{words}: the answer names another {what} than the one that was asked for");
        Fault::Unclear(Trace { status: Some(seen.status), text })
    }

    /// A path that does not exist answers 403 like a missing permission, so the other path is tried before anything is
    /// concluded (`verkada-api.md` 6.3). Both answers prove that nothing was done.
    async fn release(&mut self, scenario: &ScenarioId) -> Result<Answer, Fault> {
        let memory = &self.inner.deactivate_works;
        let (first, second) = match self.inner.release_path {
            ReleasePath::Release => ("release", None),
            ReleasePath::Deactivate => ("deactivate", None),
            ReleasePath::Auto if memory.load(Ordering::Relaxed) => ("deactivate", Some("release")),
            ReleasePath::Auto => ("release", Some("deactivate")),
        };
        let http = &self.inner.http;
        let refused = match self.authorised(&http.scenario(self.operation, scenario, first)).await {
            Ok(_) => return Ok(Answer::Taken),
            Err(fault @ (Fault::Forbidden(_) | Fault::NotFound(_))) => fault,
            Err(fault) => return Err(fault),
        };
        let Some(second) = second else { return Err(refused) };
        match self.authorised(&http.scenario(self.operation, scenario, second)).await {
            Ok(_) => {
                memory.store(second == "deactivate", Ordering::Relaxed);
                tracing::debug!(path = second, "the vendor knows this path to end a scenario");
                Ok(Answer::Taken)
            }
            // The answer that is not the one for a missing path tells more.
            Err(Fault::Forbidden(_)) => Err(refused),
            Err(fault) => Err(fault),
        }
    }

    /// Sends a request with a token (`verkada-api.md` 3.6); once more with another one where the answer puts the token in doubt. Gives only
    /// answers that are a 200.
    async fn authorised(&mut self, route: &Route) -> Result<Seen, Fault> {
        let token = self.token().await?;
        let seen = self.send(route, &token).await?;
        let Some(fault) = self.inner.http.judge(route, &seen, &token.header) else {
            return Ok(seen);
        };
        let Some(doubt) = fault::token_doubt(seen.status, &seen.body) else { return Err(fault) };
        if !self.inner.tokens.replace(&token, doubt) {
            return Err(fault);
        }
        let token = self.token().await?;
        let seen = self.send(route, &token).await?;
        match self.inner.http.judge(route, &seen, &token.header) {
            None => Ok(seen),
            Some(fault) => Err(fault),
        }
    }

    async fn token(&self) -> Result<Token, Fault> {
        let until = self.deadline.min(self.call.send_before);
        match clock::timeout_at(until, self.inner.tokens.get()).await {
            Ok(result) => result,
            Err(_) => Err(self.not_sent("no token came in time")),
        }
    }

    async fn send(&mut self, route: &Route, token: &Token) -> Result<Seen, Fault> {
        if self.operation.uses_line() {
            return self.act(route, token).await;
        }
        self.gate()?;
        self.requests = self.requests.saturating_add(1);
        self.inner.http.read(route, &token.header, self.deadline).await
    }

    async fn act(&mut self, route: &Route, token: &Token) -> Result<Seen, Fault> {
        let http = &self.inner.http;
        for _ in 0..MAX_CONNECTIONS {
            let until = self.deadline.min(self.call.send_before);
            let sender = match clock::timeout_at(until, http.line.take()).await {
                Ok(Ok(sender)) => sender,
                Ok(Err(cause)) => return Err(self.not_sent(&cause)),
                Err(_) => return Err(self.not_sent("no connection was ready in time")),
            };
            self.gate()?;
            let handed_at = clock::now().mono;
            self.written_at = Some(handed_at);
            match http.act(route, &token.header, sender, self.deadline).await {
                Handed::Answered(seen) => {
                    self.written.get_or_insert(handed_at);
                    self.requests = self.requests.saturating_add(1);
                    return Ok(seen);
                }
                Handed::Lost(fault) => {
                    self.written.get_or_insert(handed_at);
                    self.requests = self.requests.saturating_add(1);
                    return Err(fault);
                }
                Handed::GivenBack => {}
            }
        }
        Err(self.not_sent("each connection was closed by the other side before anything was written"))
    }

    /// Says whether a request may be written at this very moment.
    fn gate(&self) -> Result<(), Fault> {
        let now = clock::now().mono;
        if now > self.call.send_before {
            return Err(self.not_sent("its deadline for sending has passed"));
        }
        if let Some(turn) = self.call.opening {
            self.permit.check(turn, now).map_err(|cause| self.not_sent(&cause))?;
        }
        Ok(())
    }

    fn not_sent(&self, cause: &str) -> Fault {
        Fault::NotSent(Trace::new(format!("{}: not sent: {cause}", self.operation.words())))
    }
}
