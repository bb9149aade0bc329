//! What is known of the two connections to the broker: the main one, which carries everything, and the securing one, which
//! carries only scenarios, so that a flood of other messages cannot hold a lockdown up.

use std::time::{Duration, Instant};

use crate::model::{LinkEvent, Protocol};

/// How long a proven link may be unproven before what can be commanded is shown as unavailable.
pub(super) const UNPROVEN_LASTS: Duration = Duration::from_secs(10);

/// How long after its last heartbeat another gateway is believed to be there.
const SHARED_LASTS: Duration = Duration::from_secs(10);

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// When its session began here.
    pub(super) session_since: Option<Instant>,
    /// Whether the broker kept messages for it while it was away.
    resumed: Option<Resumed>,
    pub(super) protocol: Option<Protocol>,
    pub(super) proven: bool,
    unproven_since: Option<Instant>,
    /// Why no heartbeat comes back, as long as none does.
    complaint: Option<String>,
    /// Whether anything was heard of it at all.
    known: bool,
    /// Since when it is not proven, over however many connections.
    missed_since: Option<Instant>,
    /// Until when another gateway is believed to use the same base topic.
    shared_until: Option<Instant>,
}

/// A session that went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Resumed {
    /// When the broker was last heard in it, if that is known.
    heard_at: Option<Instant>,
}

/// What bounds the age of a message that comes before any heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// Nothing does: there is no session.
    None,
    /// The session was new: what it delivers was published later than this.
    Began(Instant),
    /// The session went on: what it delivers was published after the broker was last heard, if that is known.
    Heard(Option<Instant>),
}

impl Link {
    /// Takes what is no message; those are for others.
    pub(super) fn hear(&mut self, event: &LinkEvent, now: Instant) {
        let missed_since = self.missed_since;
        self.known = true;
        match event {
            LinkEvent::Up { protocol, .. } => *self = Self::opened(*protocol, None, now),
            LinkEvent::Resumed { protocol, heard_at } => {
                *self = Self::opened(*protocol, Some(Resumed { heard_at: *heard_at }), now);
            }
            LinkEvent::Proven => {
                self.proven = true;
                self.unproven_since = None;
                self.complaint = None;
            }
            LinkEvent::Unproven(complaint) => {
                self.complaint.get_or_insert_with(|| complaint.clone());
                if std::mem::take(&mut self.proven) {
                    self.unproven_since = Some(now);
                }
            }
            LinkEvent::Down(cause) => {
                *self = Self { known: true, complaint: Some(cause.clone()), ..Self::default() };
            }
            LinkEvent::Shared => self.shared_until = Some(now + SHARED_LASTS),
            LinkEvent::Message(_) | LinkEvent::Waiting(..) => {}
        }
        self.missed_since = if self.proven { None } else { missed_since.or(Some(now)) };
    }

    fn opened(protocol: Protocol, resumed: Option<Resumed>, now: Instant) -> Self {
        let (session_since, protocol) = (Some(now), Some(protocol));
        Self { session_since, resumed, protocol, known: true, ..Self::default() }
    }

    /// Whether commands can be expected to arrive and be fresh.
    pub(super) fn is_commandable(&self, now: Instant) -> bool {
        self.session_since.is_some()
            && (self.proven
                || self
                    .unproven_since
                    .is_some_and(|since| now.saturating_duration_since(since) < UNPROVEN_LASTS))
    }

    /// When it stops to be commandable, unless a heartbeat comes back.
    pub(super) fn lapses_at(&self) -> Option<Instant> {
        self.unproven_since.map(|since| since + UNPROVEN_LASTS)
    }

    /// When it is a problem that it is not proven, unless it is by then: a connection may be made anew without alarm.
    pub(super) fn missed_at(&self) -> Option<Instant> {
        self.missed_since.map(|since| since + UNPROVEN_LASTS)
    }

    /// Whether another gateway is believed to use the same base topic.
    pub(super) fn is_shared(&self, now: Instant) -> bool {
        self.shared_until.is_some_and(|until| now < until)
    }

    /// Until when that is believed.
    pub(super) const fn shared_until(&self) -> Option<Instant> {
        self.shared_until
    }

    /// Why it is not proven, if it was heard of and is not.
    pub(super) fn complaint(&self) -> Option<&str> {
        let unproven = self.known && !self.proven;
        self.complaint.as_deref().filter(|_| unproven)
    }

    /// What bounds the age of a message that comes before any heartbeat.
    pub(super) fn bound(&self) -> Bound {
        match (self.session_since, self.resumed) {
            (None, _) => Bound::None,
            (Some(since), None) => Bound::Began(since),
            (Some(_), Some(resumed)) => Bound::Heard(resumed.heard_at),
        }
    }
}
