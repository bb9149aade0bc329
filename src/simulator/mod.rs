//! A simulated organisation behind the API of the vendor, for the demo, for tests and for authors of flows.
//!
//! [`start`] serves it; the [`Handle`] acts in the building. The physics ([`world`]) and the answers (`api`) are pure;
//! [`switches`] choose between what is not known of the vendor, [`fault`]s break requests on demand, and the
//! [`ledger`] tells what was carried out. Authors of flows do the same over HTTP under `/simulator/`.

mod api;
pub mod calendar;
mod control;
pub mod event;
pub mod fault;
mod gate;
mod handle;
pub mod ledger;
pub mod organisation;
pub mod people;
mod server;
mod shape;
pub mod switches;
pub mod webhook;
mod wire;
pub mod world;

use std::{io, net::SocketAddr};

use secrecy::SecretString;
use tokio::{net::TcpListener, task::JoinHandle};
use url::Url;

pub use handle::Handle;
use organisation::Organisation;
use switches::Switches;
use webhook::{Courier, WebhookTarget};

use crate::clock;

/// How to start the simulator.
#[derive(Debug)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one. It has no protection: keep it on loopback.
    pub listen: SocketAddr,
    /// What is simulated.
    pub organisation: Organisation,
    /// How it behaves.
    pub switches: Switches,
    /// The key that gets tokens.
    pub api_key: SecretString,
    /// Where webhooks go.
    pub webhook: Option<WebhookTarget>,
}

impl Settings {
    /// On a free port of the loopback interface, with the default switches and without webhooks.
    pub fn new(organisation: Organisation, api_key: impl Into<SecretString>) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            organisation,
            switches: Switches::default(),
            api_key: api_key.into(),
            webhook: None,
        }
    }
}

/// A running simulator; ends when it is stopped or dropped.
#[derive(Debug)]
pub struct Simulator {
    shared: server::Shared,
    base_url: Url,
    serving: JoinHandle<()>,
    watching: JoinHandle<()>,
}

/// Starts a simulator in the background of the current runtime.
///
/// # Errors
/// When the address cannot be listened on, or the webhook target is not plain HTTP.
pub async fn start(settings: Settings) -> io::Result<Simulator> {
    let socket = TcpListener::bind(settings.listen).await?;
    let address = socket.local_addr()?;
    let base_url = Url::parse(&format!("http://{address}")).map_err(io::Error::other)?;
    let courier = settings.webhook.map(Courier::new).transpose()?;
    let mut world = world::World::new(settings.organisation, settings.switches, clock::now());
    world.journal.pushing = courier.is_some();
    let shared = server::Shared::new(server::Truth {
        vendor: api::Vendor { world, tokens: gate::Tokens::default(), limit: gate::RateLimit::default() },
        ledger: ledger::Ledger::default(),
        script: fault::Script::default(),
        api_key: settings.api_key,
    });
    let listener = wire::WireListener { socket, shared: shared.clone() };
    let service = server::router(shared.clone()).into_make_service_with_connect_info::<wire::Line>();
    let stop = shared.stop.clone();
    let serving = tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            ended = axum::serve(listener, service).into_future() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "simulator: serving ended");
                }
            }
        }
    });
    let watching = tokio::spawn(webhook::run(shared.clone(), courier));
    Ok(Simulator { shared, base_url, serving, watching })
}

impl Simulator {
    /// The address to give to a client of the API, without a path.
    pub const fn base_url(&self) -> &Url {
        &self.base_url
    }

    /// The hand in the building.
    pub fn handle(&self) -> Handle {
        Handle::new(self.shared.clone())
    }

    /// Cuts all connections and waits until the port is free.
    pub async fn stop(mut self) {
        self.shared.stop.cancel();
        for task in [&mut self.serving, &mut self.watching] {
            if let Err(error) = task.await {
                tracing::debug!(%error, "simulator: a task ended badly");
            }
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}
