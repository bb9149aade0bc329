//! The HTTP side: whether the gateway is alive, whether it serves, the status page, and what the vendor's webhooks bring.
//!
//! It reads and changes nothing; a webhook only gets as far as a queue, which the event loop empties.

mod board;
mod metrics;
mod page;
mod server;
mod webhook;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::Error;
use crate::{
    bridge::Status,
    config::{Http, Webhook},
    model::{Privacy, Push},
    verkada::webhook::WebhookHealth,
};
use metrics::Metrics;
pub use metrics::{Meters, Sources};
pub use page::Page;
use webhook::Desk;

/// How many pushes wait for the event loop; a delivery for which there is no room is refused, and the vendor tries once
/// more.
pub const MAX_WAITING: usize = 1_024;

/// The server; ends when it is dropped, and has ended when [`Server::stop`] returns.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
    desk: Option<Arc<Desk>>,
    meters: Meters,
    page: Arc<Page>,
}

impl Server {
    /// Where to note what the shell measures.
    pub fn meters(&self) -> Meters {
        self.meters.clone()
    }

    /// Where to draw the status page, while somebody looks.
    pub fn page(&self) -> Arc<Page> {
        Arc::clone(&self.page)
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How deliveries fare; `None` without a secret, since none are taken then.
    pub fn webhook_health(&self) -> Option<WebhookHealth> {
        self.desk.as_ref().map(|desk| desk.health())
    }

    /// Takes deliveries of webhooks that are signed with any of these from now on. Whether there is a receiver at all was
    /// decided at the start.
    pub fn adopt(&self, secrets: &[SecretString]) {
        if let Some(desk) = &self.desk {
            desk.adopt(secrets);
        }
    }

    /// Ends the server and waits until its address is free.
    pub async fn stop(mut self) {
        self.task.abort();
        if let Err(error) = (&mut self.task).await
            && !error.is_cancelled()
        {
            tracing::error!(%error, "the HTTP server ended badly");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens at once, so that a taken address is told at the start. The receiver hands out what webhooks bring; it ends
/// at once where no secret is configured, and so does the path of the webhook: it is not found.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    http: Http,
    webhook: &Webhook,
    privacy: Privacy,
    sources: Sources,
) -> Result<(Server, mpsc::Receiver<Push>), Error> {
    let listen = |source| Error::Listen { address: http.listen, source };
    let listener = TcpListener::bind(http.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let (sender, pushes) = mpsc::channel(MAX_WAITING);
    let desk = (!webhook.secrets.is_empty()).then(|| Arc::new(Desk::new(webhook, privacy, sender)));
    let meters = Meters::default();
    let status = sources.status.clone();
    let metrics = Metrics::new(sources, desk.clone(), meters.clone());
    let page = Arc::new(Page::default());
    let router = router(&webhook.path, desk.clone(), status, metrics).merge(page::routes(Arc::clone(&page)));
    let task = tokio::spawn(server::run(listener, router));
    Ok((Server { address, task, desk, meters, page }, pushes))
}

fn router(path: &str, desk: Option<Arc<Desk>>, status: watch::Receiver<Status>, metrics: Metrics) -> Router {
    let shown = Shown { status, desk: desk.clone() };
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(Arc::new(shown))
        .route("/metrics", get(metrics::scrape).with_state(Arc::new(metrics)));
    match desk {
        Some(desk) => router.route(path, post(webhook::deliver).with_state(desk)),
        None => router,
    }
}

/// What `/readyz` looks at.
#[derive(Debug)]
struct Shown {
    status: watch::Receiver<Status>,
    desk: Option<Arc<Desk>>,
}

/// 200 while broker, by both links, and vendor serve and everything is shown, else 503; the body tells each part.
async fn ready(State(shown): State<Arc<Shown>>) -> (StatusCode, Json<Value>) {
    let status = shown.status.borrow().clone();
    let ready =
        status.mqtt.is_some() && status.mqtt_proven && status.securing_proven && status.api && status.settled;
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let webhook = shown.desk.as_ref().map(|desk| desk.health());
    (code, Json(describe(&status, ready, webhook.as_ref())))
}

fn describe(status: &Status, ready: bool, webhook: Option<&WebhookHealth>) -> Value {
    json!({
        "ready": ready,
        "mqtt": {
            "connected": status.mqtt.is_some(),
            "protocol": status.mqtt.map(|protocol| protocol.to_string()),
            "heartbeat": status.mqtt_proven,
        },
        "securing": { "heartbeat": status.securing_proven },
        "verkada": { "reachable": status.api, "trouble": status.api_trouble, "budget_left": status.budget_left },
        "doors": status.doors,
        "scenarios": status.scenarios,
        "published": status.settled,
        "commands": { "received": status.books.received(), "pending": status.books.pending() },
        "webhook": webhook.map_or_else(|| json!({ "enabled": false }), describe_webhook),
    })
}

fn describe_webhook(health: &WebhookHealth) -> Value {
    let refused: serde_json::Map<_, _> =
        health.refused.iter().map(|(cause, count)| (cause.word().to_owned(), json!(count))).collect();
    json!({
        "enabled": true,
        "received": health.received,
        "accepted": health.accepted,
        "ignored": health.ignored,
        "replayed": health.replayed,
        "refused": refused,
        "last_delivery": health.last_delivery.map(|at| at.to_string()),
        "lag_seconds": health.lag.map(|lag| lag.as_secs_f64()),
    })
}
