//! The adapter to the MQTT broker.
//!
//! MQTT is a lossy pipe here. A [`Link`] makes connection after connection, for ever. Each begins a clean session,
//! which [`LinkEvent::Up`] announces: the broker holds nothing of ours that we have not published again. Only a link
//! whose settings say so lets the broker keep its session for a while; [`LinkEvent::Resumed`] announces it, and
//! messages come with a [`Receipt`], by which the core has them acknowledged. Heartbeats of
//! ours that come back over our own subscription prove that the broker lets us publish and read, and bound the age of
//! every command: see [`Message::echo_sent_at`].
//!
//! [`Message::echo_sent_at`]: crate::model::Message::echo_sent_at

mod backoff;
mod cause;
mod closing;
mod delivery;
mod dial;
mod heartbeat;
mod link;
mod outbox;
mod proof;
mod session;
mod settings;
mod tls;
mod v311;
mod v5;
mod wire;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustls::ClientConfig;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

pub use self::closing::Unacknowledged;
pub use self::settings::{ClientCertificate, Error, Session, Settings, Timings, Tls};
use self::{
    backoff::Backoff,
    closing::{Answer, Close},
    delivery::Delivery,
    link::{Keeper, Trouble},
    outbox::{Outbox, Queued},
    session::Shared,
};
use crate::{
    model::{LinkEvent, Publication, Receipt},
    rng::Rng,
};

/// How many events wait for the core; messages beyond are dropped, changes of state are not.
const EVENTS: usize = 1_024;
/// How many publications wait for the link.
const PUBLICATIONS: usize = 64;
/// What [`Link::close`] adds to the time it was given before it stops to wait for its own task.
const GRACE: Duration = Duration::from_secs(2);

/// Starts to connect and returns at once; the link goes on trying until it is closed or dropped.
///
/// `seed` decides the jitter of the waits and the names of the heartbeats, so it has to differ between gateways. Must be called inside a tokio runtime.
///
/// # Errors
///
/// If the settings cannot work, or a certificate or key among them cannot be used.
pub fn connect(settings: Settings, seed: u64) -> Result<Link, Error> {
    let access = Access::new(settings)?;
    let settings = Arc::clone(&access.settings);
    let (event_sender, events) = mpsc::channel(EVENTS);
    let (publication_sender, publications) = mpsc::channel(PUBLICATIONS);
    let (close_sender, closing) = mpsc::channel(1);
    let (freshness_sender, freshness) = watch::channel(None);
    let (receipt_sender, receipts) = mpsc::channel(EVENTS);
    let heard_at = match settings.session {
        Session::Clean => None,
        Session::Kept { heard_at, .. } => heard_at,
    };
    let (heard_sender, heard) = watch::channel(heard_at);
    let (access_sender, next_access) = watch::channel(access.clone());
    let mut identities = Rng::new(seed);
    let keeper = Keeper {
        backoff: Backoff::new(settings.timings.clone(), identities.bits()),
        protocol: link::first_protocol(settings.protocol),
        trouble: Trouble::default(),
        identities,
        next_access,
        shared: Shared {
            access,
            outbox: Outbox::new(publications),
            delivery: Delivery::new(event_sender),
            freshness: freshness_sender,
            closing,
            receipts,
            heard: heard_sender,
        },
    };
    Ok(Link {
        events,
        publisher: Publisher { publications: publication_sender, epoch: Arc::new(AtomicU64::new(0)) },
        freshness,
        heard,
        receipts: receipt_sender,
        access: access_sender,
        close: close_sender,
        task: tokio::spawn(keeper.run()),
    })
}

/// Settings that were found to work, as far as that shows without a broker.
#[derive(Debug, Clone)]
pub struct Access {
    settings: Arc<Settings>,
    tls: Option<Arc<ClientConfig>>,
}

impl Access {
    /// Checks settings.
    ///
    /// # Errors
    ///
    /// If the settings cannot work, or a certificate or key among them cannot be used.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        settings.check()?;
        let tls = settings.scheme.is_encrypted().then(|| tls::client_config(&settings.tls)).transpose()?;
        Ok(Self { settings: Arc::new(settings), tls })
    }
}

/// A link to a broker. Dropping it cuts the connection, so that the broker publishes the last will.
#[derive(Debug)]
pub struct Link {
    events: mpsc::Receiver<delivery::Event>,
    publisher: Publisher,
    freshness: watch::Receiver<Option<Instant>>,
    heard: watch::Receiver<Option<Instant>>,
    receipts: mpsc::Sender<Receipt>,
    access: watch::Sender<Access>,
    close: mpsc::Sender<Close>,
    task: JoinHandle<()>,
}

impl Link {
    /// The next event; waits for ever once there is nothing more to come. Cancel safe.
    ///
    /// Handing out [`LinkEvent::Up`] or [`LinkEvent::Resumed`] marks what is published from then on as meant for the new session.
    pub async fn next(&mut self) -> LinkEvent {
        let Some((epoch, event)) = self.events.recv().await else {
            return std::future::pending().await;
        };
        if matches!(event, LinkEvent::Up { .. } | LinkEvent::Resumed { .. }) {
            self.publisher.epoch.store(epoch, Ordering::Relaxed);
        }
        event
    }

    /// Acknowledges a message that [`LinkEvent::Waiting`] brought: the broker forgets it. Never waits; a receipt of an
    /// older session does nothing, since the broker delivers its message again.
    pub fn acknowledge(&self, receipt: Receipt) {
        if self.receipts.try_send(receipt).is_err() {
            tracing::debug!(?receipt, "a receipt finds no room; the broker will deliver its message again");
        }
    }

    /// Connects with these settings from the next connection on; one that is up stays. A link that waits to try again does so
    /// at once. Only credentials and TLS may be others than before.
    pub fn adopt(&self, access: Access) {
        self.access.send_replace(access);
    }

    /// A handle to publish with.
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// When the newest heartbeat was sent that came back on the connection that is up; `None` while there is none.
    pub fn freshness(&self) -> watch::Receiver<Option<Instant>> {
        self.freshness.clone()
    }

    /// What [`LinkEvent::Resumed`] would tell now as its `heard_at`: for the next run.
    pub fn heard(&self) -> watch::Receiver<Option<Instant>> {
        self.heard.clone()
    }

    /// Publishes what was published before and then `last`, waits until the broker has acknowledged it all, and says
    /// goodbye, so that no last will is published. Without a connection it ends at once: the last will has spoken.
    ///
    /// # Errors
    ///
    /// If the broker did not acknowledge everything within `within`. The connection is then cut without a goodbye, and
    /// the broker publishes the last will.
    pub async fn close(mut self, last: Vec<Publication>, within: Duration) -> Result<(), Unacknowledged> {
        let ended = Unacknowledged { publications: last.len(), cause: "the link had ended".to_owned() };
        let (answer, answered) = oneshot::channel();
        if self.close.send(Close { last, within, answer: Answer(answer) }).await.is_err() {
            return Err(ended);
        }
        let result = match tokio::time::timeout(within.saturating_add(GRACE), answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(ended),
        };
        self.events.close();
        result
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Publishes on a [`Link`]; cheap to clone.
#[derive(Debug, Clone)]
pub struct Publisher {
    publications: mpsc::Sender<Queued>,
    /// The session that the core knows of.
    epoch: Arc<AtomicU64>,
}

impl Publisher {
    /// Hands over a publication, never waits.
    ///
    /// It is meant for the session that the newest [`LinkEvent::Up`] announced. If that session ends first, a retained
    /// one is dropped, because the core publishes the truth again; one of `QoS` 0 is lost; one of `QoS` 1 that is not
    /// retained is kept and sent again, the newest 1,000 of them.
    ///
    /// # Errors
    ///
    /// If there is no room. [`Self::ready`] waits for it.
    pub fn try_publish(&self, publication: Publication) -> Result<(), Full> {
        let queued = Queued { epoch: self.epoch.load(Ordering::Relaxed), publication };
        self.publications.try_send(queued).map_err(|error| Full(error.into_inner().publication))
    }

    /// Waits until there is room, for ever once the link is closed. Cancel safe.
    pub async fn ready(&self) {
        if self.publications.reserve().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// There is no room for a publication, which is handed back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("mqtt: too many publications wait for the broker")]
pub struct Full(pub Publication);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ProtocolChoice, Qos, Scheme};

    /// Settings for a broker on this machine.
    pub(super) fn settings(port: u16) -> Settings {
        Settings {
            scheme: Scheme::Mqtt,
            host: "127.0.0.1".into(),
            port,
            path: String::new(),
            protocol: ProtocolChoice::Auto,
            client_id: "gateway".into(),
            credentials: None,
            tls: Tls::default(),
            keep_alive: Duration::from_secs(5),
            subscriptions: vec![("verkada/+/+/set".into(), Qos::AtLeastOnce)],
            wants_retained: false,
            heartbeat_topic: "verkada/bridge/heartbeat/set".into(),
            session: Session::Clean,
            last_will: Some(Publication {
                topic: "verkada/availability".into(),
                payload: "offline".into(),
                qos: Qos::AtLeastOnce,
                retain: true,
                correlation: None,
            }),
            timings: Timings::default(),
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        type Breakage = fn(&mut Settings);
        let broken: [(Breakage, &str); 8] = [
            (|s| s.host.clear(), "mqtt: the host is empty"),
            (|s| s.client_id.clear(), "mqtt: the client id is empty"),
            (
                |s| s.keep_alive = Duration::from_millis(999),
                "mqtt: the keep-alive interval is not from 1 to 65535 seconds",
            ),
            (|s| s.tls.ca_pem = Some(Vec::new()), "mqtt: a CA certificate needs mqtts or wss"),
            (|s| s.heartbeat_topic = "a/#".into(), "mqtt: the heartbeat topic is no valid topic"),
            (
                |s| s.heartbeat_topic = "verkada/heartbeat".into(),
                "mqtt: no subscription matches the heartbeat topic `verkada/heartbeat`",
            ),
            (|s| s.subscriptions[0].0 = "a/#/b".into(), "mqtt: a subscription is no valid filter"),
            (
                |s| s.timings.retry_max = Duration::from_millis(249),
                "mqtt: the longest wait before a new connection is below the shortest",
            ),
        ];
        assert_eq!(settings(1883).check(), Ok(()));
        for (break_it, complaint) in broken {
            let mut settings = settings(1883);
            break_it(&mut settings);
            assert_eq!(settings.check().unwrap_err().to_string(), complaint);
        }
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let mut settings = settings(1883);
        settings.credentials = Some(("user".into(), "hunter2".to_owned().into()));
        settings.tls.client =
            Some(ClientCertificate { chain_pem: b"chain".to_vec(), key_pem: b"PRIVATE".to_vec().into() });
        let shown = format!("{settings:?}");
        assert!(!shown.contains("hunter2") && !shown.contains(&format!("{:?}", b"PRIVATE")), "{shown}");
    }
}
