//! The permission to send: proof that the MQTT link carried something a moment ago.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// The permission to send an act, asked again right before each write. A command may only run while the MQTT link
/// that brought it is proven fresh, because then the broker cannot have held it back for long.
#[derive(Debug, Clone)]
pub struct Permit {
    link: Option<watch::Receiver<Option<Instant>>>,
    limit: Duration,
}

impl Permit {
    /// The usual limit: an echo sent longer ago proves nothing about the link.
    pub const LIMIT: Duration = Duration::from_millis(2500);

    /// A permission that holds while `link` carries a time at most `limit` old: when the newest heartbeat was sent
    /// whose echo came back.
    pub const fn new(link: watch::Receiver<Option<Instant>>, limit: Duration) -> Self {
        Self { link: Some(link), limit }
    }

    /// A permission that always holds: for `check` and for tests, which have no MQTT link.
    pub const fn always() -> Self {
        Self { link: None, limit: Self::LIMIT }
    }

    /// Says why there is no permission at `now`.
    pub(super) fn check(&self, now: Instant) -> Result<(), String> {
        let Some(link) = &self.link else { return Ok(()) };
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
        let permit = Permit::new(link, Duration::from_millis(2500));
        assert!(permit.check(sent).unwrap_err().contains("no heartbeat has come back yet"));
        echo.send_replace(Some(sent));
        assert_eq!(permit.check(sent + Duration::from_millis(2500)), Ok(()));
        assert!(permit.check(sent + Duration::from_millis(2501)).unwrap_err().contains("2501 ms old"));
        echo.send_replace(None);
        assert!(permit.check(sent).is_err(), "a link that went down proves nothing");
        assert_eq!(Permit::always().check(sent + Duration::from_secs(99)), Ok(()));
    }
}
