//! Draws the status page while somebody looks at it, and does nothing else while nobody does.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::http::Page;
use crate::{bridge::Bridge, clock, model::Now};

/// How often the page is brought up to date.
const EVERY: Duration = Duration::from_secs(1);
/// How many rows are made in a row; then every task has its turn.
const ROWS: usize = 128;

/// Those who look.
#[derive(Debug)]
pub(super) struct Onlookers {
    page: Arc<Page>,
    /// When the page is to be drawn next; `None` while nobody looks.
    due: Option<Instant>,
}

impl Onlookers {
    pub(super) const fn new(page: Arc<Page>) -> Self {
        Self { page, due: None }
    }

    /// Waits until the page is to be drawn.
    pub(super) async fn wait(&self) {
        match self.due {
            Some(at) => clock::sleep_until(at).await,
            None => self.page.heard().await,
        }
    }

    /// Draws what is new, or a part of that.
    pub(super) fn draw(&mut self, bridge: &mut Bridge, now: Now) {
        if self.page.is_unheard() {
            bridge.end_picture();
            self.page.clear();
            self.due = None;
            return;
        }
        if self.due.is_none() {
            bridge.begin_picture();
            // How everything fares is there before the first of many doors.
            self.page.sum_up(&bridge.overview(now), &bridge.last_commands(), None);
        }
        let changes: Vec<_> = std::iter::from_fn(|| bridge.next_change(now)).take(ROWS).collect();
        if !changes.is_empty() {
            self.page.take(&changes);
        }
        if changes.len() == ROWS {
            self.due = Some(now.mono);
            return;
        }
        self.page.sum_up(&bridge.overview(now), &bridge.last_commands(), Some(&bridge.pulse(now)));
        self.due = Some(now.mono + EVERY);
    }
}
