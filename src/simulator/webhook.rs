//! Signed deliveries of events (`verkada-api.md` 8).

use std::{fmt::Write as _, io, sync::Arc, time::Duration};

use jiff::Timestamp;
use reqwest::{Client, header::CONTENT_TYPE};
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use tokio::{sync::mpsc, time::Instant};
use url::Url;

use super::{
    event::Event,
    server::Shared,
    shape::{bend, pushed_event},
    switches::{Switches, WebhookRetry},
};
use crate::clock;

/// The header that holds the signature.
pub const SIGNATURE_HEADER: &str = "Verkada-Signature";

/// How long a receiver may take (8.1).
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How many deliveries wait for the receiver; further ones are lost, as they are at the vendor.
const MAX_WAITING: usize = 1_000;

/// Where webhooks go.
#[derive(Debug, Clone)]
pub struct WebhookTarget {
    /// The address; plain HTTP alone, since the simulator serves tests and demonstrations on one machine.
    pub url: Url,
    /// The shared secret; deliveries are unsigned without it.
    pub secret: Option<SecretString>,
}

/// The signature of `body` at `timestamp` (Unix seconds): `<timestamp>|<64 hex digits>`, an HMAC-SHA256 over the body,
/// a pipe and the timestamp (8.2).
pub fn signature(secret: &[u8], body: &[u8], timestamp: i64) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    context.update(body);
    context.update(b"|");
    context.update(timestamp.to_string().as_bytes());
    let mut header = format!("{timestamp}|");
    for byte in context.sign().as_ref() {
        // Writing to a text cannot fail.
        let _infallible = write!(header, "{byte:02x}");
    }
    header
}

/// Delivers events, one after the other, in the order in which they became known.
#[derive(Debug)]
pub struct Courier {
    client: Client,
    target: WebhookTarget,
}

impl Courier {
    /// A courier to `target`.
    ///
    /// # Errors
    /// When the address is not plain HTTP, or the HTTP client cannot be made.
    pub fn new(target: WebhookTarget) -> io::Result<Self> {
        if target.url.scheme() != "http" {
            let told = "webhook target not taken: the simulator delivers to http:// addresses alone";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, told));
        }
        let roots = rustls::RootCertStore::empty();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(ANSWER_WITHIN)
            .build()
            .map_err(io::Error::other)?;
        Ok(Self { client, target })
    }

    async fn deliver(&self, delivery: Delivery) {
        let first = self.header(&delivery.body, delivery.made_at);
        let copies = if delivery.duplicated { 2 } else { 1 };
        for _ in 0..copies {
            if self.post(&delivery.body, first.clone()).await {
                continue;
            }
            let again = match delivery.retry {
                WebhookRetry::Off => continue,
                WebhookRetry::SameSignature => first.clone(),
                WebhookRetry::NewSignature => self.header(&delivery.body, clock::now().utc),
            };
            if !self.post(&delivery.body, again).await {
                tracing::debug!("simulator: a webhook is lost, the receiver did not take it twice");
            }
        }
    }

    fn header(&self, body: &str, at: Timestamp) -> Option<String> {
        let secret = self.target.secret.as_ref()?;
        Some(signature(secret.expose_secret().as_bytes(), body.as_bytes(), at.as_second()))
    }

    /// Whether the receiver took it.
    async fn post(&self, body: &str, signature: Option<String>) -> bool {
        let request = self.client.post(self.target.url.clone()).header(CONTENT_TYPE, "application/json");
        let request = match signature {
            Some(signature) => request.header(SIGNATURE_HEADER, signature),
            None => request,
        };
        let answer = request.body(body.to_owned()).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }
}

/// One event on its way.
#[derive(Debug)]
struct Delivery {
    body: String,
    made_at: Timestamp,
    duplicated: bool,
    retry: WebhookRetry,
}

impl Delivery {
    fn of(
        event: &Event,
        organisation_id: &str,
        webhook_id: &str,
        at: Timestamp,
        switches: &Switches,
    ) -> Self {
        let mut body = pushed_event(event, organisation_id, webhook_id, at, switches);
        bend(&mut body, switches);
        Self {
            body: body.to_string(),
            made_at: at,
            duplicated: switches.webhook_duplicates,
            retry: switches.webhook_retry,
        }
    }
}

/// Lets time pass in the world and hands events to the courier as they fall due, until the simulator stops.
pub(super) async fn run(shared: Shared, courier: Option<Courier>) {
    let (sender, mut waiting) = mpsc::channel::<Delivery>(MAX_WAITING);
    let delivering = async {
        while let Some(delivery) = waiting.recv().await {
            if let Some(courier) = &courier {
                courier.deliver(delivery).await;
            }
        }
    };
    tokio::select! {
        () = shared.stop.cancelled() => {}
        () = delivering => {}
        () = watch(&shared, sender) => {}
    }
}

async fn watch(shared: &Shared, sender: mpsc::Sender<Delivery>) {
    loop {
        let (due, next) = due(shared);
        for delivery in due {
            if sender.try_send(delivery).is_err() {
                tracing::debug!("simulator: a webhook is lost, too many wait for the receiver");
            }
        }
        let changed = shared.changed.notified();
        match next {
            Some(at) => tokio::select! {
                () = changed => {}
                () = clock::sleep_until(at.into_std()) => {}
            },
            None => changed.await,
        }
    }
}

/// The deliveries that are due, and when to look again.
fn due(shared: &Shared) -> (Vec<Delivery>, Option<Instant>) {
    let now = clock::now();
    let world = &mut shared.truth().vendor.world;
    world.advance(now);
    let mut due = Vec::new();
    for event in world.journal.take_pushes(now.mono) {
        let webhook_id = world.uuid();
        due.push(Delivery::of(&event, &world.organisation_id, &webhook_id, now.utc, &world.switches));
    }
    (due, world.next_deadline().map(Instant::from_std))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delivers_to_plain_http_alone() {
        let target = |url: &str| WebhookTarget { url: url.parse().unwrap(), secret: None };
        assert!(Courier::new(target("http://127.0.0.1:1/webhook")).is_ok());
        let told = Courier::new(target("https://example.org/webhook")).unwrap_err().to_string();
        assert_eq!(told, "webhook target not taken: the simulator delivers to http:// addresses alone");
    }
}
