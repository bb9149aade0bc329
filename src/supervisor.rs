//! Home Assistant's Supervisor, where it runs the gateway as one of its apps: it knows the broker and its password.
//!
//! It counts where the configuration names no broker. The password may change while the gateway runs, and nothing tells: the
//! Supervisor is asked again and again, as the files of secrets are looked at. What changed is taken over as by SIGHUP.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Request, StatusCode,
    client::conn::http1,
    header::{AUTHORIZATION, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use url::Url;

use crate::{
    config::{Environment, OfferedBroker},
    signals::Signal,
};

/// Where it is, unless `$SUPERVISOR_API` says otherwise.
const USUAL_API: &str = "http://supervisor";
/// The service for which the app's `config.yaml` asks.
const SERVICE: &str = "services/mqtt";
/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest answer; a real one has some 200 bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// The longest sentence of its that is quoted, in characters.
const MAX_QUOTE: usize = 200;
/// The waits before it is asked again, while it names no broker.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How often it is asked once it did.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often a reason that stays is told.
const REMIND_EVERY: Duration = Duration::from_mins(5);

/// Why it named no broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no connection, or it ended early.
    #[error("the Supervisor cannot be asked at {0}: {1}")]
    Unreachable(Url, String),
    /// The token is wrong, or the app has no right to the service.
    #[error("the Supervisor refuses to tell ({0}): the app needs `services: [mqtt:want]` in its config.yaml")]
    Refused(StatusCode),
    /// It says that there is none.
    #[error(
        "the Supervisor knows no broker; it said {0:?}: install and start the app Mosquitto broker, or set mqtt.url"
    )]
    NoService(String),
    /// It answered something else.
    #[error("the Supervisor's answer cannot be read: {0}")]
    Odd(String),
}

/// The Supervisor that runs this gateway.
#[derive(Debug, Clone)]
pub struct Supervisor {
    api: Url,
    authorization: SecretString,
}

impl Supervisor {
    /// `None` where none gave us a token: then the gateway is no app.
    ///
    /// # Errors
    /// Where `$SUPERVISOR_API` is no plain HTTP URL.
    pub fn of(env: &Environment) -> Result<Option<Self>, Error> {
        let Some(token) = env.get("SUPERVISOR_TOKEN") else { return Ok(None) };
        let odd = || Error::Odd("$SUPERVISOR_API is no URL that begins with http://".to_owned());
        let api: Url = env.get("SUPERVISOR_API").unwrap_or(USUAL_API).parse().map_err(|_| odd())?;
        if api.scheme() != "http" {
            return Err(odd());
        }
        Ok(Some(Self { api, authorization: format!("Bearer {token}").into() }))
    }

    /// Asks once for the broker.
    ///
    /// # Errors
    /// Where it names none.
    pub async fn broker(&self) -> Result<OfferedBroker, Error> {
        let asked = timeout(PATIENCE, self.ask()).await;
        let (status, body) = asked
            .unwrap_or_else(|_| Err("no answer in time".to_owned()))
            .map_err(|cause| Error::Unreachable(self.api.clone(), cause))?;
        read(status, &body)
    }

    /// Asks until it names a broker, and goes on asking afterwards: `changed` is sent a wish for a reload when it names
    /// another one or another password.
    pub async fn follow(self, changed: mpsc::Sender<Signal>) -> Offers {
        let (sender, newest) = watch::channel(self.first().await);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { self.watch(&sender, &changed).await });
        Offers { newest, _tasks: tasks }
    }

    async fn first(&self) -> OfferedBroker {
        let (mut wait, mut told, mut since) = (RETRY_MIN, None, Duration::ZERO);
        loop {
            match self.broker().await {
                Ok(offered) => {
                    tracing::info!(broker = %offered, "the Supervisor names the broker");
                    return offered;
                }
                Err(error) => {
                    if told.as_ref() != Some(&error) || since >= REMIND_EVERY {
                        tracing::warn!("the gateway waits for a broker: {error}");
                        (told, since) = (Some(error), Duration::ZERO);
                    }
                }
            }
            sleep(wait).await;
            since += wait;
            wait = wait.saturating_mul(2).min(RETRY_MAX);
        }
    }

    async fn watch(&self, newest: &watch::Sender<OfferedBroker>, changed: &mpsc::Sender<Signal>) {
        loop {
            sleep(LOOK_EVERY).await;
            match self.broker().await {
                Ok(offered) if newest.borrow().is(&offered) => {}
                Ok(offered) => {
                    tracing::info!(broker = %offered, "the Supervisor names another broker or password");
                    newest.send_replace(offered);
                    if changed.send(Signal::Reload).await.is_err() {
                        return;
                    }
                }
                // The broker that we have may still be the right one; if not, its link says so.
                Err(error) => tracing::debug!("{error}"),
            }
        }
    }

    async fn ask(&self) -> Result<(StatusCode, Bytes), String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let host = self.api.host_str().unwrap_or_default();
        let port = self.api.port_or_known_default().unwrap_or_default();
        // The brackets of an IPv6 address belong to the URL.
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((plain, port)).await.map_err(|error| text(&error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| text(&error))?;
        // Ends with this question.
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        let mut authorization = HeaderValue::from_str(self.authorization.expose_secret())
            .map_err(|_| "the token cannot be sent".to_owned())?;
        authorization.set_sensitive(true);
        let request = Request::get(format!("{}/{SERVICE}", self.api.path().trim_end_matches('/')))
            .header(HOST, format!("{host}:{port}"))
            .header(AUTHORIZATION, authorization)
            .body(Empty::<Bytes>::new())
            .map_err(|error| text(&error))?;
        let answer = sender.send_request(request).await.map_err(|error| text(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
    }
}

/// What a Supervisor names, now and later; it is asked until this is dropped.
#[derive(Debug)]
pub struct Offers {
    newest: watch::Receiver<OfferedBroker>,
    _tasks: JoinSet<()>,
}

impl Offers {
    /// The environment, with the broker that was named last.
    pub fn in_environment(&self, env: &Environment) -> Environment {
        env.clone().offering(self.newest.borrow().clone())
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    message: String,
    data: Option<Service>,
}

/// Without what is not needed. Holds a password, hence no `Debug`.
#[derive(Deserialize)]
struct Service {
    host: String,
    port: Port,
    #[serde(default)]
    ssl: Option<bool>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<SecretString>,
}

/// Apps write it as they like.
#[derive(Deserialize)]
#[serde(untagged)]
enum Port {
    Number(u16),
    Text(String),
}

fn read(status: StatusCode, body: &[u8]) -> Result<OfferedBroker, Error> {
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        return Err(Error::Refused(status));
    }
    // What the library says of JSON that it cannot read may quote it, and so a password.
    let answer: Option<Answer> = serde_json::from_slice(body).ok();
    let odd = |what: &str| Error::Odd(format!("{what} ({status}, {} bytes)", body.len()));
    let Some(answer) = answer else { return Err(odd("it is no JSON about a broker")) };
    if status == StatusCode::BAD_REQUEST {
        return Err(Error::NoService(answer.message.chars().take(MAX_QUOTE).collect()));
    }
    let (StatusCode::OK, Some(service)) = (status, answer.data) else {
        return Err(odd("it is not about a broker"));
    };
    let port = match service.port {
        Port::Number(port) => Some(port),
        Port::Text(text) => text.parse().ok(),
    };
    let port = port.ok_or_else(|| odd("the port is none"))?;
    let user = service.username.filter(|user| !user.is_empty());
    let password = service.password.unwrap_or_default();
    OfferedBroker::new(service.ssl.unwrap_or(false), &service.host, port, user.map(|user| (user, password)))
        .map_err(|error| odd(&error.to_string()))
}
