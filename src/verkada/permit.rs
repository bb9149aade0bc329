//! The permission to send what opens: the MQTT link carried something a moment ago, and no lockdown came in between.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::model::Turn;

/// The permission to send an act, asked again right before each write. A command may only run while the MQTT link
/// that brought it is proven fresh, because then the broker cannot have held it back for long.
#[derive(Debug, Clone)]
pub struct Permit {
    facts: Option<Facts>,
    limit: Duration,
}

#[derive(Debug, Clone)]
struct Facts {
    /// When the newest heartbeat was sent whose echo came back.
    link: watch::Receiver<Option<Instant>>,
    /// The present turn.
    turn: watch::Receiver<Turn>,
}

impl Permit {
    /// The usual limit: an echo sent longer ago proves nothing about the link.
    pub const LIMIT: Duration = Duration::from_millis(2500);

    /// A permission that holds while `link` carries a time at most `limit` old, when the newest heartbeat was sent whose
    /// echo came back, and only for calls that were let go in the turn that `turn` carries.
    pub const fn new(
        link: watch::Receiver<Option<Instant>>,
        turn: watch::Receiver<Turn>,
        limit: Duration,
    ) -> Self {
        Self { facts: Some(Facts { link, turn }), limit }
    }

    /// A permission that always holds: for `check` and other commands of the shell, and for tests, which have no MQTT link.
    pub const fn always() -> Self {
        Self { facts: None, limit: Self::LIMIT }
    }

    /// Says why there is no permission at `now` for a call that was let go in `turn`.
    pub(super) fn check(&self, turn: Turn, now: Instant) -> Result<(), String> {
        let Some(Facts { link, turn: present }) = &self.facts else { return Ok(()) };
        if *present.borrow() != turn {
            return Err("a scenario was activated in the meantime".to_owned());
        }
        let Some(sent_at) = *link.borrow() else {
            return Err("the MQTT link is not proven fresh: no heartbeat has come back yet".to_owned());
        };
        let age = now.saturating_duration_since(sent_at);
        if age <= self.limit {
            return Ok(());
        }
        Err(format!(
            "the MQTT link is not proven fresh: the newest heartbeat that came back is {} ms old, the limit is {} ms",
            age.as_millis(),
            self.limit.as_millis()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn an_echo_proves_the_link_up_to_the_limit_and_not_beyond() {
        let sent = clock::now().mono;
        let (echo, link) = watch::channel(None);
        let (_turn, turn) = watch::channel(Turn(1));
        let permit = Permit::new(link, turn, Duration::from_millis(2500));
        let check = |after| permit.check(Turn(1), sent + Duration::from_millis(after));
        assert!(check(0).unwrap_err().contains("no heartbeat has come back yet"));
        echo.send_replace(Some(sent));
        assert_eq!(check(2500), Ok(()));
        assert!(check(2501).unwrap_err().contains("2501 ms old"));
        echo.send_replace(None);
        assert!(check(0).is_err(), "a link that went down proves nothing");
        assert_eq!(Permit::always().check(Turn(1), sent + Duration::from_secs(99)), Ok(()));
    }

    #[test]
    fn what_was_let_go_before_a_lockdown_is_not_sent_after_it() {
        let now = clock::now().mono;
        let (_echo, link) = watch::channel(Some(now));
        let (turn, present) = watch::channel(Turn(1));
        let permit = Permit::new(link, present, Permit::LIMIT);
        assert_eq!(permit.check(Turn(1), now), Ok(()));
        turn.send_replace(Turn(2));
        assert_eq!(permit.check(Turn(1), now).unwrap_err(), "a scenario was activated in the meantime");
        assert_eq!(permit.check(Turn(2), now), Ok(()));
    }
}
