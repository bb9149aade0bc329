//! The status page: four files and a stream of what changes. It reads, and there is nothing in it that could change a thing.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use futures_util::stream;
use tokio::{
    sync::watch,
    time::{Sleep, sleep},
};

use super::{
    board::{Board, Part, Seen, json},
    server::Lasting,
};
use crate::bridge::{Change, CommandRow, Overview, Pulse};

/// How many may listen at the same time; a fraction of the connections, so that there is room for webhooks and probes.
const MAX_LISTENERS: usize = 16;
/// How long a stream lives. Browsers come back by themselves, and those that are gone without a word make room.
const STREAM_LIFE: Duration = Duration::from_mins(10);
/// Nothing comes from another host or is sent to one, nothing runs that is not a file of ours, and nobody can frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'";

/// The files of the page: path, type and content.
const FILES: [(&str, &str, &str); 4] = [
    ("/", "text/html; charset=utf-8", include_str!("page/status.html")),
    ("/status.css", "text/css; charset=utf-8", include_str!("page/status.css")),
    ("/status.js", "text/javascript; charset=utf-8", include_str!("page/status.js")),
    ("/status.svg", "image/svg+xml", include_str!("page/status.svg")),
];

/// What the page shows, and who listens. Empty while nobody does.
#[derive(Debug)]
pub struct Page {
    board: Mutex<Board>,
    /// Told whenever the board may have changed.
    news: watch::Sender<()>,
    listeners: watch::Sender<usize>,
}

impl Default for Page {
    fn default() -> Self {
        Self { board: Mutex::default(), news: watch::Sender::new(()), listeners: watch::Sender::new(0) }
    }
}

impl Page {
    /// Waits until somebody listens.
    pub(in crate::app) async fn heard(&self) {
        // The sender lives as long as this wait.
        drop(self.listeners.subscribe().wait_for(|count| *count > 0).await);
    }

    /// Whether nobody listens.
    pub(in crate::app) fn is_unheard(&self) -> bool {
        *self.listeners.borrow() == 0
    }

    /// Shows rows that are new.
    pub(in crate::app) fn take(&self, changes: &[Change]) {
        let mut board = self.board();
        for change in changes {
            board.take(change);
        }
        drop(board);
        self.news.send_replace(());
    }

    /// Shows how everything fares. With a pulse, all rows were taken before.
    pub(in crate::app) fn sum_up(&self, overview: &Overview, commands: &[CommandRow], pulse: Option<&Pulse>) {
        let mut board = self.board();
        board.put(Part::Gateway, &json(overview));
        board.put(Part::Commands, &json(&commands));
        if let Some(pulse) = pulse {
            board.put(Part::Pulse, &json(pulse));
        }
        drop(board);
        self.news.send_replace(());
    }

    /// Shows nothing.
    pub(in crate::app) fn clear(&self) {
        self.board().clear();
        self.news.send_replace(());
    }

    /// Takes the lock, never across a wait.
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The paths of the page.
pub(super) fn routes(page: Arc<Page>) -> Router {
    let files = FILES.into_iter().fold(Router::new(), |router, (path, kind, content)| {
        router.route(path, get(async move || guarded(kind, Body::from(content))))
    });
    files.route("/events", get(listen).with_state(page))
}

/// `GET /events`: first all there is, then what changes.
async fn listen(State(page): State<Arc<Page>>) -> Response {
    let Some(listener) = Listener::come(page) else {
        let full = (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "10")], "too many listen already\n");
        return full.into_response();
    };
    let stream = stream::unfold(listener, async |mut listener| {
        let piece = listener.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(piece)), listener))
    });
    let mut response = guarded("text/event-stream", Body::from_stream(stream));
    // Proxies hold back what they take for an ordinary answer.
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response.extensions_mut().insert(Lasting);
    response
}

fn guarded(kind: &'static str, body: Body) -> Response {
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    (headers, body).into_response()
}

/// Somebody who listens; counted until it is dropped, which its connection does.
#[derive(Debug)]
struct Listener {
    page: Arc<Page>,
    news: watch::Receiver<()>,
    seen: Seen,
    began: bool,
    end: Pin<Box<Sleep>>,
}

impl Listener {
    /// `None` where too many listen.
    fn come(page: Arc<Page>) -> Option<Self> {
        let came = page.listeners.send_if_modified(|count| {
            let room = *count < MAX_LISTENERS;
            *count += usize::from(room);
            room
        });
        came.then(|| Self {
            news: page.news.subscribe(),
            page,
            seen: Seen::default(),
            began: false,
            end: Box::pin(sleep(STREAM_LIFE)),
        })
    }

    /// Waits until there is something to say; `None` at the end of the stream.
    async fn next(&mut self) -> Option<String> {
        if !self.began {
            self.began = true;
            // How soon a browser comes back, in milliseconds. It also opens the stream before anything is drawn.
            return Some("retry: 1000\n\n".to_owned());
        }
        loop {
            self.news.mark_unchanged();
            let news = self.page.board().news(&mut self.seen);
            if !news.is_empty() {
                return Some(news);
            }
            tokio::select! {
                changed = self.news.changed() => changed.ok()?,
                () = &mut self.end => return None,
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.page.listeners.send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn listeners_are_bounded_and_make_room() {
        let page = Arc::new(Page::default());
        assert!(page.is_unheard());
        let mut all: Vec<_> =
            (0..MAX_LISTENERS).map(|_| Listener::come(Arc::clone(&page)).unwrap()).collect();
        assert!(Listener::come(Arc::clone(&page)).is_none());
        page.heard().await;
        all.pop();
        assert!(Listener::come(Arc::clone(&page)).is_some());
        all.clear();
        assert!(page.is_unheard());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_by_itself() {
        let mut listener = Listener::come(Arc::new(Page::default())).unwrap();
        let begun = Instant::now();
        assert_eq!(listener.next().await.unwrap(), "retry: 1000\n\n");
        assert!(listener.next().await.unwrap().starts_with("event: begin\n"));
        assert_eq!(listener.next().await, None);
        assert_eq!(begun.elapsed().as_secs(), STREAM_LIFE.as_secs());
    }
}
