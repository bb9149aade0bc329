//! The HTTP side: whether the gateway is alive, and whether it serves. It reads and changes nothing.

use std::net::SocketAddr;

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use super::Error;
use crate::bridge::Status;

/// The server; ends when it is dropped, and has ended when [`Server::stop`] returns.
#[derive(Debug)]
pub(super) struct Server {
    /// Where it listens.
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Ends the server and waits until its address is free.
    pub(super) async fn stop(mut self) {
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

/// Listens at once, so that a taken address is told at the start.
pub(super) async fn serve(address: SocketAddr, status: watch::Receiver<Status>) -> Result<Server, Error> {
    let listen = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let router =
        Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(ready)).with_state(status);
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the HTTP server ended");
        }
    });
    Ok(Server { address, task })
}

/// 200 while both links serve and everything is shown, else 503; the body tells each part.
async fn ready(State(status): State<watch::Receiver<Status>>) -> (StatusCode, Json<Value>) {
    let status = status.borrow().clone();
    let ready = status.mqtt.is_some() && status.mqtt_proven && status.api && status.settled;
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(describe(&status, ready)))
}

fn describe(status: &Status, ready: bool) -> Value {
    json!({
        "ready": ready,
        "mqtt": {
            "connected": status.mqtt.is_some(),
            "protocol": status.mqtt.map(|protocol| protocol.to_string()),
            "heartbeat": status.mqtt_proven,
        },
        "verkada": { "reachable": status.api, "trouble": status.api_trouble, "budget_left": status.budget_left },
        "doors": status.doors,
        "scenarios": status.scenarios,
        "published": status.settled,
        "commands": { "received": status.books.received(), "pending": status.books.pending() },
    })
}
