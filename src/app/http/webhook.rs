//! The path of the webhook: reads a delivery within limits, has it verified, and answers before anybody works on it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody as _},
    extract::{Request, State},
    http::{HeaderValue, StatusCode},
};
use http_body_util::BodyExt as _;
use secrecy::SecretString;
use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};

use crate::{
    clock,
    config::Webhook,
    model::{Privacy, Push},
    verkada::webhook::{HEADER, MAX_BODY_BYTES, Refusal, Taken, WebhookHealth, WebhookReceiver},
};

/// How long a body may take in all.
const BODY_TIME: Duration = Duration::from_secs(5);
/// A body that announces no more than this many bytes needs no share of the room. All deliveries seen so far do, so that
/// none of them waits for somebody who only fills the room.
const SMALL_BODY_BYTES: usize = 16 * 1024;
/// The room in bytes for all larger bodies together; each waits for its share within [`BODY_TIME`].
const ROOM_BYTES: usize = 16 * MAX_BODY_BYTES;

/// Where deliveries are handed in.
#[derive(Debug)]
pub(super) struct Desk {
    receiver: Mutex<WebhookReceiver>,
    queue: mpsc::Sender<Push>,
    room: Semaphore,
}

impl Desk {
    pub(super) fn new(webhook: &Webhook, privacy: Privacy, queue: mpsc::Sender<Push>) -> Self {
        let receiver = WebhookReceiver::new(&webhook.secrets, webhook.organization_id.clone(), privacy);
        Self { receiver: Mutex::new(receiver), queue, room: Semaphore::new(ROOM_BYTES) }
    }

    pub(super) fn replace_secrets(&self, secrets: &[SecretString]) {
        self.receiver().replace_secrets(secrets);
    }

    pub(super) fn health(&self) -> WebhookHealth {
        self.receiver().health().clone()
    }

    async fn take(&self, request: Request) -> Result<Taken, Refusal> {
        let (head, body) = request.into_parts();
        let values = head.headers.get_all(HEADER).iter().map(HeaderValue::as_bytes);
        let signature = self.receiver().look(values, clock::now())?;
        let body =
            self.read(body).await.map_err(|refusal| self.receiver().refuse(refusal, clock::now().mono))?;
        self.receiver().take(&signature, &body, clock::now(), |pushes| self.enqueue(pushes))
    }

    async fn read(&self, body: Body) -> Result<Vec<u8>, Refusal> {
        // Where no length is announced, it may take all that a body may.
        let size = body.size_hint().upper().map_or(Ok(MAX_BODY_BYTES), usize::try_from);
        let size = size.ok().filter(|size| *size <= MAX_BODY_BYTES).ok_or(Refusal::TooLarge)?;
        let share = if size > SMALL_BODY_BYTES { size } else { 0 };
        let reading = async {
            let share = u32::try_from(share).map_err(|_| Refusal::TooLarge)?;
            let _share = self.room.acquire_many(share).await.map_err(|_| Refusal::Overflow)?;
            collect(body).await
        };
        timeout(BODY_TIME, reading).await.unwrap_or(Err(Refusal::TooSlow))
    }

    /// Puts all into the queue, or none.
    fn enqueue(&self, pushes: Vec<Push>) -> bool {
        let Ok(places) = self.queue.try_reserve_many(pushes.len()) else { return false };
        places.zip(pushes).for_each(|(place, push)| place.send(push));
        true
    }

    /// Takes the lock, never across a wait.
    fn receiver(&self) -> MutexGuard<'_, WebhookReceiver> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `POST` on the path.
pub(super) async fn deliver(State(desk): State<Arc<Desk>>, request: Request) -> (StatusCode, &'static str) {
    match desk.take(request).await {
        Ok(Taken::Accepted | Taken::Ignored | Taken::Replayed | Taken::Foreign) => (StatusCode::OK, "ok"),
        Err(refusal) => (status(refusal), refusal.word()),
    }
}

const fn status(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::Unsigned | Refusal::Stale | Refusal::Ahead | Refusal::Signature => StatusCode::UNAUTHORIZED,
        Refusal::Header | Refusal::Cut | Refusal::Body => StatusCode::BAD_REQUEST,
        Refusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Refusal::Foreign => StatusCode::OK,
        Refusal::Overflow => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn collect(mut body: Body) -> Result<Vec<u8>, Refusal> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::Cut)?;
        let Some(piece) = frame.data_ref() else { continue };
        if whole.len() + piece.len() > MAX_BODY_BYTES {
            return Err(Refusal::TooLarge);
        }
        whole.extend_from_slice(piece);
    }
    Ok(whole)
}
