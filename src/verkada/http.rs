//! Single exchanges with the vendor: reads and tokens through a general client, acts on the line of their own.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use jiff::SignedDuration;
use reqwest::{
    Method,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use url::Url;

use super::{
    Error, Limits, Settings,
    fault::{self, Operation},
    line::{Line, Sender},
    tally::Tally,
    tls, wire,
};
use crate::{
    clock,
    model::{
        CalendarContent, CalendarId, DoorId, Exception, ExceptionId, Fault, PageToken, ScenarioId, Trace,
        User,
    },
};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const AUTH: HeaderName = HeaderName::from_static("x-verkada-auth");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The length of no body. Said aloud, because some proxies refuse a POST that does not say it.
const NOTHING: HeaderValue = HeaderValue::from_static("0");
/// The largest body that is read where only a short one is expected, in bytes.
const MAX_SMALL_BODY: usize = 64 * 1024;
/// How often an unused HTTP/2 connection is pinged, and how long the answer may take.
const PING_EVERY: Duration = Duration::from_secs(15);
const PING_LIMIT: Duration = Duration::from_secs(5);
/// The beginning of keys that know no tokens (`verkada-api.md` 3.4).
const LEGACY_KEY: &str = "vkd_api_";
/// Events on one page, the most the vendor allows (`verkada-api.md` 7.1).
const PAGE_SIZE: &str = "200";

/// Where exception calendars are (`verkada-api.md` 9.1).
const CALENDARS: [&str; 4] = ["access", "v1", "door", "exception_calendar"];

/// Where a request goes.
pub(super) struct Route {
    pub(super) operation: Operation,
    method: Method,
    url: Url,
    body: Option<Bytes>,
    /// Who is named in it: no answer that names them is quoted as it is.
    person: Option<String>,
}

/// An answer as far as it was read.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Why the body is not whole.
    pub(super) flaw: Option<String>,
}

/// What came of handing an act to a connection.
pub(super) enum Handed {
    /// An answer came.
    Answered(Seen),
    /// The connection gave the request back whole: nothing of it was encoded or written.
    GivenBack,
    /// It may have been written and no answer came.
    Lost(Fault),
}

/// The API key.
struct Key {
    text: SecretString,
    header: HeaderValue,
}

impl Key {
    fn new(text: SecretString) -> Result<Self, Error> {
        let mut header = HeaderValue::from_str(text.expose_secret()).map_err(|_| Error::ApiKey)?;
        if header.is_empty() {
            return Err(Error::ApiKey);
        }
        header.set_sensitive(true);
        Ok(Self { text, header })
    }
}

/// The HTTP side of the client.
pub(super) struct Http {
    reads: reqwest::Client,
    pub(super) line: Line,
    base: Url,
    host: HeaderValue,
    key: Mutex<Key>,
    limits: Limits,
    /// By how much the vendor's clock was ahead of ours at the last answer.
    skew: Mutex<Option<SignedDuration>>,
    pub(super) tally: Tally,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Http {
    pub(super) fn new(settings: Settings) -> Result<Self, Error> {
        let Settings { base_url: base, api_key: key, ca_pem, release_path: _, privacy: _, limits } = settings;
        let encrypted = check_base(&base)?;
        let key = Mutex::new(Key::new(key)?);
        let tls = tls::config(ca_pem.as_deref(), encrypted)?;
        let mut reads_tls = tls.clone();
        reads_tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let reads = reqwest::Client::builder()
            .tls_backend_preconfigured(reads_tls)
            .https_only(encrypted)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(limits.connect)
            .timeout(limits.list)
            .pool_idle_timeout(limits.pool_idle)
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_LIMIT)
            .http2_keep_alive_while_idle(true)
            .build()
            .map_err(|e| Error::Tls(tls::cause(&e)))?;
        let unusable = |cause| Error::BaseUrl { url: shown(&base), cause };
        let target = base.as_str().parse().map_err(|_| unusable("it cannot be used in a request"))?;
        let host = host_header(&base).ok_or_else(|| unusable("it names no host"))?;
        let line = Line::new(tls, target, limits.connect, limits.pool_idle);
        Ok(Self { reads, line, base, host, key, limits, skew: Mutex::new(None), tally: Tally::default() })
    }

    /// Takes another key for the tokens from now on.
    pub(super) fn replace_key(&self, key: SecretString) -> Result<(), Error> {
        *self.key() = Key::new(key)?;
        Ok(())
    }

    /// Takes the lock, never across a wait.
    fn key(&self) -> MutexGuard<'_, Key> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gets a new token. A fault other than a refused key or too many requests is [`Fault::NotSent`]: whatever the token
    /// was wanted for was not sent.
    pub(super) async fn mint(&self) -> Result<HeaderValue, Fault> {
        let deadline = clock::now().mono + self.limits.act;
        let request = self
            .reads
            .post(self.url(&["token"]))
            .header(API_KEY, self.key().header.clone())
            .header(CONTENT_LENGTH, NOTHING);
        let made = match self.exchange(Operation::Token, request, deadline).await {
            Ok(seen) => self.token_in(&seen),
            Err(fault) => Err(fault),
        };
        made.map_err(|fault| match fault {
            Fault::Unauthorized(trace) => Fault::Unauthorized(self.with_legacy_hint(trace)),
            Fault::RateLimited { .. } => fault,
            Fault::NotSent(trace)
            | Fault::Forbidden(trace)
            | Fault::NoAccess(trace)
            | Fault::NotFound(trace)
            | Fault::Rejected(trace)
            | Fault::Unclear(trace)
            | Fault::Malformed(trace) => Fault::NotSent(trace),
        })
    }

    /// Reads something, with the token `auth`, until `deadline`.
    pub(super) async fn read(
        &self,
        route: &Route,
        auth: &HeaderValue,
        deadline: Instant,
    ) -> Result<Seen, Fault> {
        let request = self.reads.get(route.url.clone()).header(AUTH, auth.clone());
        self.exchange(route.operation, request, deadline).await
    }

    /// Hands an act to a connection, once, and reads the answer. The status line has until `deadline`.
    pub(super) async fn act(
        &self,
        route: &Route,
        auth: &HeaderValue,
        sender: Sender,
        deadline: Instant,
    ) -> Handed {
        let handed = self.hand(route, auth, sender, deadline).await;
        match &handed {
            Handed::Answered(seen) => self.tally.note(route.operation, Some(seen.status)),
            Handed::Lost(_) => self.tally.note(route.operation, None),
            Handed::GivenBack => {}
        }
        handed
    }

    async fn hand(&self, route: &Route, auth: &HeaderValue, mut sender: Sender, deadline: Instant) -> Handed {
        let lost = |cause: String| {
            let operation = route.operation.words();
            Handed::Lost(Fault::Unclear(Trace::new(format!(
                "{operation}: sent, but no answer came: {cause}"
            ))))
        };
        let request = match self.act_request(route, auth) {
            Ok(request) => request,
            Err(fault) => return Handed::Lost(fault),
        };
        let answer = match clock::timeout_at(deadline, sender.try_send_request(request)).await {
            Err(_) => return lost("the time for it ended".to_owned()),
            Ok(Err(mut error)) => {
                return match error.take_message() {
                    Some(_) => Handed::GivenBack,
                    None => lost(tls::cause(error.error())),
                };
            }
            Ok(Ok(answer)) => answer,
        };
        let (head, mut body) = answer.into_parts();
        let mut seen =
            Seen { status: head.status.as_u16(), headers: head.headers, body: Vec::new(), flaw: None };
        let (until, limit) = if route.operation.wants_body() && seen.status == 200 {
            (deadline, self.limits.max_body)
        } else {
            (clock::now().mono + self.limits.act_body, MAX_SMALL_BODY)
        };
        self.note_clock(&seen.headers);
        let read = clock::timeout_at(until, async {
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|e| tls::cause(&e))?;
                if let Ok(part) = frame.into_data() {
                    append(&mut seen.body, &part, limit)?;
                }
            }
            Ok::<(), String>(())
        });
        match read.await {
            Ok(Ok(())) => self.line.give_back(sender),
            Ok(Err(cause)) => seen.flaw = Some(cause),
            Err(_) => seen.flaw = Some("the time for the body ended".to_owned()),
        }
        tracing::trace!(
            operation = route.operation.words(),
            status = seen.status,
            "the vendor answered an act"
        );
        Handed::Answered(seen)
    }

    /// By how much the vendor's clock is ahead of ours, if an answer told its time since this was asked last.
    pub(super) fn take_clock(&self) -> Option<SignedDuration> {
        self.skew.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note_clock(&self, headers: &HeaderMap) {
        if let Some(skew) = fault::clock_skew(headers, clock::now().utc) {
            *self.skew.lock().unwrap_or_else(PoisonError::into_inner) = Some(skew);
        }
    }

    /// Says what is wrong with an answer; secrets and people that the vendor might echo are blotted out first.
    pub(super) fn judge(&self, route: &Route, seen: &Seen, auth: &HeaderValue) -> Option<Fault> {
        self.judge_of(route.operation, seen, Some(auth), route.person.as_deref())
    }

    fn judge_of(
        &self,
        operation: Operation,
        seen: &Seen,
        auth: Option<&HeaderValue>,
        person: Option<&str>,
    ) -> Option<Fault> {
        let blot = |text: String| self.blot(&text, auth, person);
        fault::classify(operation, seen.status, &seen.headers, (&seen.body, blot), clock::now().utc)
    }

    pub(super) fn doors(&self) -> Route {
        self.route(Operation::Doors, &["access", "v1", "doors"])
    }

    pub(super) fn scenarios(&self) -> Route {
        self.route(Operation::Scenarios, &["access", "v1", "scenarios"])
    }

    pub(super) fn drill(&self) -> Route {
        self.route(Operation::Drill, &["access", "v1", "scenarios"])
    }

    pub(super) fn events(&self, since: jiff::Timestamp, page: Option<&PageToken>) -> Route {
        let mut route = self.route(Operation::Events, &["events", "v1", "access"]);
        let mut query = route.url.query_pairs_mut();
        query.append_pair("start_time", &since.as_second().to_string()).append_pair("page_size", PAGE_SIZE);
        if let Some(PageToken(token)) = page {
            query.append_pair("page_token", token);
        }
        drop(query);
        route
    }

    pub(super) fn calendars(&self) -> Route {
        self.route(Operation::Calendars, &CALENDARS)
    }

    pub(super) fn access_levels(&self) -> Route {
        self.route(Operation::AccessLevels, &["access", "v1", "door", "access_level"])
    }

    pub(super) fn access_groups(&self) -> Route {
        self.route(Operation::AccessGroups, &["access", "v1", "access_groups"])
    }

    pub(super) fn unlock(&self, door: &DoorId) -> Route {
        self.route(Operation::Unlock, &["access", "v1", "door", "admin_unlock"])
            .with(&json!({ "door_id": door }))
    }

    pub(super) fn unlock_as(&self, door: &DoorId, user: &User) -> Route {
        let body = match user {
            User::Id(name) => json!({ "door_id": door, "user_id": name }),
            User::External(name) => json!({ "door_id": door, "external_id": name }),
        };
        let mut route = self.route(Operation::UnlockAs, &["access", "v1", "door", "user_unlock"]).with(&body);
        route.person = Some(user.name().to_owned());
        route
    }

    pub(super) fn create_calendar(&self, content: &CalendarContent) -> Route {
        self.route(Operation::CreateCalendar, &CALENDARS).with(&wire::calendar_body(None, content))
    }

    pub(super) fn write_calendar(&self, calendar: &CalendarId, content: &CalendarContent) -> Route {
        let path = [&CALENDARS[..], &[calendar.as_str()]].concat();
        self.route(Operation::WriteCalendar, &path).with(&wire::calendar_body(Some(calendar), content))
    }

    pub(super) fn create_exception(&self, calendar: &CalendarId, exception: &Exception) -> Route {
        let path = [&CALENDARS[..], &[calendar.as_str(), "exception"]].concat();
        self.route(Operation::CreateException, &path).with(&wire::exception_body(None, exception))
    }

    pub(super) fn write_exception(
        &self,
        calendar: &CalendarId,
        id: &ExceptionId,
        exception: &Exception,
    ) -> Route {
        let path = [&CALENDARS[..], &[calendar.as_str(), "exception", id.as_str()]].concat();
        self.route(Operation::WriteException, &path).with(&wire::exception_body(None, exception))
    }

    pub(super) fn delete_exception(&self, calendar: &CalendarId, exception: &ExceptionId) -> Route {
        let path = [&CALENDARS[..], &[calendar.as_str(), "exception", exception.as_str()]].concat();
        self.route(Operation::DeleteException, &path)
    }

    /// `verb` is `activate`, `release` or `deactivate`.
    pub(super) fn scenario(&self, operation: Operation, scenario: &ScenarioId, verb: &str) -> Route {
        self.route(operation, &["access", "v1", "scenarios", scenario.as_str(), verb])
    }

    fn route(&self, operation: Operation, path: &[&str]) -> Route {
        let method = match operation {
            Operation::Token
            | Operation::Unlock
            | Operation::UnlockAs
            | Operation::CreateCalendar
            | Operation::CreateException
            | Operation::Activate
            | Operation::Release => Method::POST,
            Operation::WriteCalendar | Operation::WriteException => Method::PUT,
            Operation::DeleteException => Method::DELETE,
            Operation::Doors
            | Operation::Scenarios
            | Operation::Events
            | Operation::Calendars
            | Operation::AccessLevels
            | Operation::AccessGroups
            | Operation::Drill => Method::GET,
        };
        Route { operation, method, url: self.url(path), body: None, person: None }
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    fn act_request(&self, route: &Route, auth: &HeaderValue) -> Result<hyper::Request<Full<Bytes>>, Fault> {
        let body = route.body.clone();
        let mut request = hyper::Request::builder()
            .method(route.method.clone())
            .uri(route.url.path())
            .header(HOST, self.host.clone())
            .header(ACCEPT, JSON)
            .header(AUTH, auth.clone());
        request = match body {
            Some(_) => request.header(CONTENT_TYPE, JSON),
            None if route.method == Method::POST => request.header(CONTENT_LENGTH, NOTHING),
            None => request,
        };
        request.body(Full::new(body.unwrap_or_default())).map_err(|e| {
            Fault::NotSent(Trace::new(format!("{}: cannot make the request: {e}", route.operation.words())))
        })
    }

    async fn exchange(
        &self,
        operation: Operation,
        request: reqwest::RequestBuilder,
        deadline: Instant,
    ) -> Result<Seen, Fault> {
        let result = self.ask(operation, request, deadline).await;
        self.tally.note(operation, result.as_ref().ok().map(|seen| seen.status));
        result
    }

    async fn ask(
        &self,
        operation: Operation,
        request: reqwest::RequestBuilder,
        deadline: Instant,
    ) -> Result<Seen, Fault> {
        let limit = if operation == Operation::Token { MAX_SMALL_BODY } else { self.limits.max_body };
        let answer = match clock::timeout_at(deadline, request.header(ACCEPT, JSON).send()).await {
            Err(_) => return Err(failed(operation, false, "no answer in time")),
            Ok(Err(error)) => {
                let error = error.without_url();
                let cause = if error.is_timeout() && error.is_connect() {
                    format!("no connection within {} ms", self.limits.connect.as_millis())
                } else {
                    tls::cause(&error)
                };
                return Err(failed(operation, error.is_connect(), &cause));
            }
            Ok(Ok(answer)) => answer,
        };
        let mut answer = answer;
        let mut seen = Seen {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: Vec::new(),
            flaw: None,
        };
        self.note_clock(&seen.headers);
        // An error is told in few words; a page of any size in its place is not read to the end.
        let limit = if seen.status == 200 { limit } else { MAX_SMALL_BODY };
        let read = clock::timeout_at(deadline, async {
            while let Some(part) = answer.chunk().await.map_err(|e| tls::cause(&e.without_url()))? {
                append(&mut seen.body, &part, limit)?;
            }
            Ok::<(), String>(())
        });
        match read.await {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => seen.flaw = Some(cause),
            Err(_) => seen.flaw = Some("the time for the body ended".to_owned()),
        }
        tracing::trace!(operation = operation.words(), status = seen.status, "the vendor answered");
        Ok(seen)
    }

    fn token_in(&self, seen: &Seen) -> Result<HeaderValue, Fault> {
        if let Some(fault) = self.judge_of(Operation::Token, seen, None, None) {
            return Err(fault);
        }
        let unreadable = |cause: &str| {
            let text = format!("get token: the answer cannot be read: {cause}");
            Fault::Malformed(Trace { status: Some(seen.status), text })
        };
        if let Some(flaw) = &seen.flaw {
            return Err(unreadable(flaw));
        }
        let text = wire::token(&seen.body).map_err(|cause| unreadable(&cause))?;
        let mut header =
            HeaderValue::from_str(&text).map_err(|_| unreadable("its token cannot be sent as a header"))?;
        header.set_sensitive(true);
        Ok(header)
    }

    fn with_legacy_hint(&self, mut trace: Trace) -> Trace {
        if self.key().text.expose_secret().starts_with(LEGACY_KEY) {
            trace.text.push_str(
                "; the key begins with vkd_api_ as keys from before November 2024 do, which know no \
                 tokens: make a new one",
            );
        }
        trace
    }

    fn blot(&self, text: &str, auth: Option<&HeaderValue>, person: Option<&str>) -> String {
        let mut text = text.replace(self.key().text.expose_secret(), "[secret]");
        if let Some(token) = auth.and_then(|token| token.to_str().ok()) {
            text = text.replace(token, "[secret]");
        }
        match person {
            Some(person) => without(&text, person),
            None => text,
        }
    }
}

/// A text without a person, in whatever case they are named: addresses of e-mail often come back in another one.
fn without(text: &str, person: &str) -> String {
    if person.is_empty() {
        return text.to_owned();
    }
    let (mut left, mut rest) = (String::new(), text);
    while let Some(at) = rest.to_ascii_lowercase().find(&person.to_ascii_lowercase()) {
        left.push_str(rest.get(..at).unwrap_or_default());
        left.push_str("[user]");
        rest = rest.get(at + person.len()..).unwrap_or_default();
    }
    left + rest
}

impl Route {
    fn with(mut self, body: &serde_json::Value) -> Self {
        self.body = Some(body.to_string().into());
        self
    }
}

/// Appends to a body that may hold `limit` bytes.
fn append(body: &mut Vec<u8>, part: &[u8], limit: usize) -> Result<(), String> {
    if part.len() > limit.saturating_sub(body.len()) {
        return Err(format!("it is larger than {limit} bytes"));
    }
    body.extend_from_slice(part);
    Ok(())
}

fn failed(operation: Operation, connecting: bool, cause: &str) -> Fault {
    let text = format!("{}: {cause}", operation.words());
    if connecting { Fault::NotSent(Trace::new(text)) } else { Fault::Unclear(Trace::new(text)) }
}

/// Says whether the connection is encrypted, and refuses what cannot be used.
fn check_base(base: &Url) -> Result<bool, Error> {
    let refuse = |cause| Err(Error::BaseUrl { url: shown(base), cause });
    if !base.username().is_empty() || base.password().is_some() {
        return refuse("it must not hold a user or password");
    }
    if base.query().is_some() || base.fragment().is_some() {
        return refuse("it must not hold a query or fragment");
    }
    match (base.scheme(), base.host()) {
        ("https", Some(_)) => Ok(true),
        ("http", Some(url::Host::Ipv4(ip))) if ip.is_loopback() => Ok(false),
        ("http", Some(url::Host::Ipv6(ip))) if ip.is_loopback() => Ok(false),
        ("http", Some(url::Host::Domain("localhost"))) => Ok(false),
        ("http", Some(_)) => refuse("http is allowed only for this very machine (loopback); use https"),
        _ => refuse("it must begin with https:// and name a host"),
    }
}

/// A base URL without what may be secret in it.
fn shown(base: &Url) -> String {
    format!("{}://{}{}", base.scheme(), base.host_str().unwrap_or_default(), base.path())
}

fn host_header(base: &Url) -> Option<HeaderValue> {
    let host = base.host_str()?;
    let text = base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Privacy, ReleasePath};

    #[test]
    fn headers_with_secrets_hide_themselves() {
        let http = Http::new(Settings {
            base_url: "http://127.0.0.1:1".parse().unwrap(),
            api_key: SecretString::from("canary-key"),
            ca_pem: None,
            release_path: ReleasePath::Auto,
            privacy: Privacy::None,
            limits: Limits::default(),
        })
        .unwrap();
        let body = br#"{"token":"canary-token"}"#.to_vec();
        let token =
            http.token_in(&Seen { status: 200, headers: HeaderMap::new(), body, flaw: None }).unwrap();
        let request = http.act_request(&http.doors(), &token).unwrap();
        let shown = format!("{http:?} {:?} {token:?} {request:?}", http.key().header);
        assert_eq!(token, "canary-token");
        assert!(shown.contains("Sensitive") && !shown.contains("canary"), "{shown}");
    }
}
