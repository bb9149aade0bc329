//! The vendor's side over HTTP: reads requests, lets faults strike, writes the ledger.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body as HttpBody, to_bytes},
    extract::{ConnectInfo, State},
    http::{HeaderName, HeaderValue, Request, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use futures_util::stream;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    api::{self, Answer, Ask, Body, Reply, Vendor},
    control,
    fault::{Cut, Effect, ErrorBody, Moment, Script},
    ledger::{Endpoint, Entry, EntryId, Ledger},
    shape::envelope,
    wire::Line,
};
use crate::clock;

/// The largest body of a request.
pub(super) const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// The size of the pieces in which a huge body is sent.
const PIECE_BYTES: usize = 16 * 1024;

/// What the server, the control paths and the handle share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    state: Arc<Mutex<Truth>>,
    /// Rung when the world changed, so that new deadlines are seen.
    pub changed: Arc<Notify>,
    /// Ends everything.
    pub stop: CancellationToken,
}

/// All that the simulator knows.
#[derive(Debug)]
pub(super) struct Truth {
    /// The vendor and the world.
    pub vendor: Vendor,
    /// What was asked and done.
    pub ledger: Ledger,
    /// The faults that wait.
    pub script: Script,
    /// The key that gets tokens.
    pub api_key: SecretString,
}

impl Shared {
    /// Shares `truth`.
    pub(super) fn new(truth: Truth) -> Self {
        Self {
            state: Arc::new(Mutex::new(truth)),
            changed: Arc::new(Notify::new()),
            stop: CancellationToken::new(),
        }
    }

    /// Takes the lock, never across a wait.
    pub(super) fn truth(&self) -> MutexGuard<'_, Truth> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether requests must be looked at before they are read.
    pub(super) fn awaits_unread(&self) -> bool {
        self.truth().script.awaits_unread()
    }

    /// Whether a request is cut before it is read; then the ledger says so.
    pub(super) fn strikes_unread(&self, endpoint: Endpoint) -> bool {
        let mut truth = self.truth();
        let Some(effect) = truth.script.strike_unread(endpoint) else { return false };
        let id = truth.ledger.seen(clock::now().utc, endpoint, None);
        truth.note(id, |entry| entry.fault = Some(effect.word()));
        true
    }

    fn note(&self, id: EntryId, write: impl FnOnce(&mut Entry)) {
        self.truth().note(id, write);
    }
}

impl Truth {
    fn note(&mut self, id: EntryId, write: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.ledger.entry(id) {
            write(entry);
        }
    }
}

/// The paths of the vendor, and those of the control under `/simulator/`.
pub(super) fn router(shared: Shared) -> Router {
    Router::new().nest("/simulator", control::router()).fallback(serve).with_state(shared)
}

async fn serve(
    State(shared): State<Shared>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request<HttpBody>,
) -> Response {
    line.begin();
    let (head, body) = request.into_parts();
    let body = to_bytes(body, MAX_REQUEST_BYTES).await;
    let (endpoint, named) = Endpoint::of(head.method.as_str(), head.uri.path());
    let (id, effect) = {
        let target = named.id.map(str::to_owned);
        let target = target.or_else(|| body.as_ref().ok().and_then(|body| api::door_named(endpoint, body)));
        let mut truth = shared.truth();
        let id = truth.ledger.seen(clock::now().utc, endpoint, target);
        let effect = truth.script.strike(endpoint);
        truth.note(id, |entry| entry.fault = effect.as_ref().map(Effect::word));
        (id, effect)
    };
    if let Some(response) = strike_before(effect.as_ref(), &line).await {
        let status = response.status().as_u16();
        let answered = !matches!(effect, Some(Effect::Cut { .. }));
        shared.note(id, |entry| entry.status = answered.then_some(status));
        return response;
    }
    let Ok(body) = body else {
        shared.note(id, |entry| entry.status = Some(400));
        return error(400, ErrorBody::Envelope, None);
    };
    let answer = {
        let mut truth = shared.truth();
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let token = header("x-verkada-auth");
        let key = truth.api_key.expose_secret();
        let ask = Ask {
            endpoint,
            named,
            query: head.uri.query().unwrap_or_default(),
            good_key: header("x-api-key").map(|given| given == key),
            token,
            key_as_token: token == Some(key),
            body: &body,
        };
        let answer = truth.vendor.answer(ask, clock::now());
        if let Answer::Reply(reply) = &answer {
            truth.note(id, |entry| {
                entry.executed = reply.executed;
                entry.changes.clone_from(&reply.changes);
            });
        }
        answer
    };
    shared.changed.notify_one();
    let reply = match answer {
        Answer::Reply(reply) => reply,
        Answer::Silence => std::future::pending().await,
    };
    let response = strike_after(effect, reply, &line).await;
    let status = response.as_ref().map(|response| response.status().as_u16());
    shared.note(id, |entry| entry.status = status);
    response.unwrap_or_default()
}

/// What a fault does with a request that is read and not carried out. An answer ends the request.
async fn strike_before(effect: Option<&Effect>, line: &Line) -> Option<Response> {
    match effect? {
        Effect::Status { status, body, retry_after } => Some(error(*status, *body, retry_after.as_deref())),
        Effect::Answer { execute: false, .. } => effect.and_then(scripted),
        Effect::Hang { moment: Moment::BeforeExecute } => std::future::pending().await,
        Effect::Delay { moment: Moment::BeforeExecute, milliseconds } => {
            tokio::time::sleep(Duration::from_millis(*milliseconds)).await;
            None
        }
        Effect::Cut { moment: Cut::AfterRead } => {
            line.reset();
            Some(Response::default())
        }
        Effect::Answer { .. }
        | Effect::Hang { .. }
        | Effect::Delay { .. }
        | Effect::Cut { .. }
        | Effect::Slow { .. }
        | Effect::ContentType { .. }
        | Effect::Truncate { .. }
        | Effect::Huge { .. } => None,
    }
}

/// What a fault does with a request that is carried out; `None` where no answer is begun.
async fn strike_after(effect: Option<Effect>, reply: Reply, line: &Line) -> Option<Response> {
    let (status, retry_after) = (reply.status, reply.retry_after);
    let (mut body, mut kind) = match reply.body {
        Body::Json(body) => (Bytes::from(body.to_string()), "application/json".to_owned()),
        Body::Plain(text) => (Bytes::from_static(text.as_bytes()), "text/plain".to_owned()),
    };
    let mut spaces = 0;
    match effect {
        Some(answer @ Effect::Answer { .. }) => return scripted(&answer),
        Some(Effect::Hang { moment: Moment::AfterExecute }) => std::future::pending().await,
        Some(Effect::Delay { moment: Moment::AfterExecute, milliseconds }) => {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        }
        Some(Effect::Cut { moment: Cut::AfterExecute }) => {
            line.reset();
            return None;
        }
        Some(Effect::Cut { moment: Cut::AfterBytes(bytes) }) => line.end_after(bytes),
        Some(Effect::Slow { bytes_per_second }) => line.slow_down(bytes_per_second),
        Some(Effect::ContentType { value }) => kind = value,
        Some(Effect::Truncate { bytes }) => body.truncate(bytes),
        Some(Effect::Huge { bytes }) => spaces = bytes,
        Some(Effect::Status { .. } | Effect::Hang { .. } | Effect::Delay { .. } | Effect::Cut { .. })
        | None => {}
    }
    let body =
        if spaces == 0 { HttpBody::from(body) } else { HttpBody::from_stream(after_spaces(spaces, body)) };
    let mut response = respond(status, &kind, body);
    add_header(&mut response, "retry-after", retry_after.as_deref());
    Some(response)
}

/// A body of many spaces, piece by piece, and then what was meant.
fn after_spaces(
    spaces: u64,
    meant: Bytes,
) -> impl futures_util::Stream<Item = Result<Bytes, std::convert::Infallible>> {
    let piece = Bytes::from(vec![b' '; PIECE_BYTES]);
    stream::unfold((spaces, Some(meant)), move |(left, meant)| {
        let piece = piece.clone();
        async move {
            if left == 0 {
                return meant.map(|meant| (Ok(meant), (0, None)));
            }
            let size = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
            let sent = u64::try_from(size).unwrap_or(left);
            Some((Ok(piece.slice(..size)), (left.saturating_sub(sent), meant)))
        }
    })
}

fn scripted(effect: &Effect) -> Option<Response> {
    let Effect::Answer { status, headers, body, .. } = effect else { return None };
    let mut response = respond(*status, "application/json", HttpBody::from(body.clone()));
    for (name, value) in headers {
        add_header(&mut response, name, Some(value));
    }
    Some(response)
}

fn error(status: u16, body: ErrorBody, retry_after: Option<&str>) -> Response {
    let text =
        StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Fault");
    let mut response = match body {
        ErrorBody::Envelope => {
            let body = envelope(&format!("f{status}"), text).to_string();
            respond(status, "application/json", HttpBody::from(body))
        }
        ErrorBody::Html => {
            let body = format!("<html><head><title>{status} {text}</title></head><body>{text}</body></html>");
            respond(status, "text/html", HttpBody::from(body))
        }
        ErrorBody::Plain => respond(status, "text/plain", HttpBody::from(text)),
        ErrorBody::Empty => respond(status, "text/plain", HttpBody::empty()),
    };
    add_header(&mut response, "retry-after", retry_after);
    response
}

/// An answer of the given kind. Status and kind were checked when they were given.
pub(super) fn respond(status: u16, kind: &str, body: HttpBody) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    add_header(&mut response, header::CONTENT_TYPE.as_str(), Some(kind));
    response
}

fn add_header(response: &mut Response, name: &str, value: Option<&str>) {
    let name = HeaderName::from_bytes(name.as_bytes());
    if let (Ok(name), Some(Ok(value))) = (name, value.map(HeaderValue::from_str)) {
        response.headers_mut().insert(name, value);
    }
}
