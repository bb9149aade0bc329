//! The orderly end of a link.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::model::Publication;

/// How long DISCONNECT may take once everything is acknowledged.
const FAREWELL_WITHIN: Duration = Duration::from_secs(1);

/// What a broker had not acknowledged when the link was closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("mqtt: {publications} publications are not acknowledged: {cause}")]
pub struct Unacknowledged {
    /// How many publications may not have reached it.
    pub publications: usize,
    /// Why.
    pub cause: String,
}

/// The wish to end the link.
#[derive(Debug)]
pub(super) struct Close {
    pub(super) last: Vec<Publication>,
    pub(super) within: Duration,
    pub(super) answer: Answer,
}

/// Where the one who closes waits.
#[derive(Debug)]
pub(super) struct Answer(pub(super) oneshot::Sender<Result<(), Unacknowledged>>);

impl Answer {
    pub(super) fn give(self, result: Result<(), Unacknowledged>) {
        if self.0.send(result).is_err() {
            tracing::debug!("nobody waited for the end of the MQTT link");
        }
    }
}

/// The last steps of a session.
#[derive(Debug)]
pub(super) struct Closing {
    until: Instant,
    disconnecting: bool,
    refused: usize,
    answer: Option<Answer>,
}

impl Closing {
    pub(super) fn new(within: Duration, answer: Answer, now: Instant) -> Self {
        Self { until: now + within, disconnecting: false, refused: 0, answer: Some(answer) }
    }

    /// When the patience ends.
    pub(super) const fn until(&self) -> Instant {
        self.until
    }

    /// The broker refused a publication.
    pub(super) const fn refused(&mut self) {
        self.refused += 1;
    }

    /// Whether DISCONNECT may be asked for while `open` publications are not acknowledged.
    pub(super) const fn may_disconnect(&self, open: usize) -> bool {
        open == 0 && !self.disconnecting
    }

    /// DISCONNECT is asked for.
    pub(super) fn disconnecting(&mut self, now: Instant) {
        self.disconnecting = true;
        self.until = now + FAREWELL_WITHIN;
    }

    /// DISCONNECT is written.
    pub(super) fn said_goodbye(&mut self) {
        if self.refused > 0 {
            self.give_up(0, "the broker refused them");
        } else if let Some(answer) = self.answer.take() {
            answer.give(Ok(()));
        }
    }

    /// It ends here, with `open` publications not acknowledged.
    pub(super) fn give_up(&mut self, open: usize, cause: &str) {
        if let Some(answer) = self.answer.take() {
            let publications = open + self.refused;
            answer.give(Err(Unacknowledged { publications, cause: cause.to_owned() }));
        }
    }
}
