//! Whether a door stands open: by the newest event about it, and only for as long as that can be believed.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::model::{Now, Position};

/// What the newest event about a position said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sighting {
    Is(Position),
    /// Event times are whole seconds: which of two contradicting events came last is not known.
    Contradicted,
}

/// What is known of a door's position.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// How long a door that never told of being closed is believed to stand open.
    open_believed: Duration,
    newest: Option<(Sighting, Timestamp)>,
    /// Whether the door ever told that it was closed. Of one that does not, nothing tells when it was closed again.
    closes: bool,
    /// Until when such a door is believed to stand open, while it is.
    believed_until: Option<Instant>,
    /// Whether that time is over.
    lapsed: bool,
}

impl Standing {
    /// Nothing known yet. A door that never told of being closed is believed to stand open for `open_believed`, by event
    /// time.
    pub(super) fn new(open_believed: Duration) -> Self {
        Self { open_believed, ..Self::default() }
    }

    /// What is shown, and when its evidence arose.
    pub(super) const fn shown(&self) -> Option<(Position, Timestamp)> {
        match self.newest {
            Some((Sighting::Is(position), at)) if !self.lapsed => Some((position, at)),
            Some(_) | None => None,
        }
    }

    /// Whether an opening is too long ago to be believed (`verkada-api.md` 5.3, rule 5).
    pub(super) const fn has_lapsed(&self) -> bool {
        self.lapsed
    }

    /// Takes what an event proves, if nothing newer is known.
    pub(super) fn see(&mut self, position: Position, at: Timestamp, now: Now) {
        self.closes |= position == Position::Closed;
        let seen = Sighting::Is(position);
        match self.newest {
            Some((_, known)) if at < known => {}
            Some((newest, known)) if at == known && newest != seen => {
                self.newest = Some((Sighting::Contradicted, at));
            }
            Some(_) | None => self.newest = Some((seen, at)),
        }
        let opened = match self.newest {
            Some((Sighting::Is(Position::Open), at)) if !self.closes => Some(at),
            Some(_) | None => None,
        };
        let left = opened.map(|at| self.open_believed.saturating_sub(age(at, now)));
        self.believed_until = left.map(|left| now.mono + left);
        self.lapsed = left.is_some_and(|left| left.is_zero());
    }

    /// Stops believing what is due. Returns whether that changed what is shown.
    pub(super) fn expire(&mut self, now: Now) -> bool {
        let due = self.believed_until.is_some_and(|until| until <= now.mono);
        due && !std::mem::replace(&mut self.lapsed, true)
    }

    /// When [`Standing::expire`] is due.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.believed_until.filter(|_| !self.lapsed)
    }

    /// Drops the evidence, but not that the door tells of being closed. Returns whether there was any.
    pub(super) fn forget(&mut self) -> bool {
        self.believed_until = None;
        self.lapsed = false;
        self.newest.take().is_some()
    }
}

fn age(at: Timestamp, now: Now) -> Duration {
    Duration::try_from(now.utc.duration_since(at)).unwrap_or_default()
}
