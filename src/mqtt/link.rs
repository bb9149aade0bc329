//! The link as a whole: session after session, for ever.

use std::{
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    backoff::{Backoff, Pace},
    cause::Loss,
    closing::Unacknowledged,
    session::{self, Ended, Shared},
    settings::{Login, Settings},
};
use crate::{
    clock,
    model::{LinkEvent, Protocol, ProtocolChoice},
    rng::Rng,
};

/// Keeps a link up until it is closed.
pub(super) struct Keeper {
    pub(super) shared: Shared,
    pub(super) backoff: Backoff,
    pub(super) identities: Rng,
    pub(super) protocol: Protocol,
    pub(super) trouble: Trouble,
    /// Who we are to the broker, where that changes.
    pub(super) login: watch::Receiver<Login>,
}

/// The protocol to try first.
pub(super) const fn first_protocol(choice: ProtocolChoice) -> Protocol {
    match choice {
        ProtocolChoice::Auto | ProtocolChoice::V5 => Protocol::V5,
        ProtocolChoice::V311 => Protocol::V311,
    }
}

impl Keeper {
    /// Runs until [`super::Link::close`].
    pub(super) async fn run(mut self) {
        let mut epoch = 0_u64;
        loop {
            epoch = epoch.saturating_add(1);
            let identity = self.identities.bits();
            self.log_in_anew();
            match session::run(&mut self.shared, self.protocol, epoch, identity).await {
                Ended::Closed => return,
                Ended::Lost { loss, lived } => {
                    let wait = self.backoff.next(lived, loss.pace);
                    self.tell(&loss, lived.is_some(), epoch);
                    self.choose_protocol(&loss);
                    if self.wait(clock::now().mono + wait).await.is_break() {
                        return;
                    }
                }
            }
        }
    }

    /// Takes the user and password that were given last for the next connection.
    fn log_in_anew(&mut self) {
        if !self.login.has_changed().unwrap_or(false) {
            return;
        }
        let credentials = self.login.borrow_and_update().clone();
        self.shared.settings = Arc::new(Settings { credentials, ..Settings::clone(&self.shared.settings) });
    }

    fn tell(&mut self, loss: &Loss, was_up: bool, epoch: u64) {
        let settings = &self.shared.settings;
        let sentence = if self.backoff.dies_young() && loss.pace != Pace::TakenOver {
            format!(
                "{}; the broker has closed several connections soon after it accepted them: perhaps another client uses \
                 the client id `{}`",
                loss.sentence, settings.client_id
            )
        } else {
            loss.sentence.clone()
        };
        self.trouble.version_told &= !was_up;
        if self.trouble.is_worth_a_line(was_up, settings.timings.remind_every, clock::now().mono) {
            tracing::warn!(
                attempts = self.trouble.attempts,
                cause = sentence,
                "the {} is down",
                settings.name()
            );
        }
        if was_up || self.trouble.told.as_ref() != Some(&sentence) {
            self.trouble.told = Some(sentence.clone());
            self.shared.delivery.state(epoch, LinkEvent::Down(sentence));
        }
    }

    /// Takes the other version where the broker may not know this one. The version that the broker accepted stays.
    fn choose_protocol(&mut self, loss: &Loss) {
        if self.shared.settings.protocol != ProtocolChoice::Auto || !loss.try_other_protocol {
            return;
        }
        self.protocol = match self.protocol {
            Protocol::V5 => Protocol::V311,
            Protocol::V311 => Protocol::V5,
        };
        // A port that is no broker takes neither version, and both are tried in turn.
        if std::mem::replace(&mut self.trouble.version_told, true) {
            tracing::debug!(protocol = %self.protocol, "trying the other MQTT version again");
        } else {
            tracing::info!(protocol = %self.protocol, "the broker does not know our MQTT version: trying the other one");
        }
    }

    /// Waits for the next attempt, and meanwhile keeps what has to outlive the trouble.
    async fn wait(&mut self, until: Instant) -> ControlFlow<()> {
        let login = &mut self.login;
        let Shared { outbox, delivery, closing, .. } = &mut self.shared;
        loop {
            let is_behind = delivery.is_behind();
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => return ControlFlow::Continue(()),
                Ok(()) = login.changed() => {
                    // The trouble may be over with it.
                    login.mark_changed();
                    return ControlFlow::Continue(());
                }
                never = outbox.hoard() => match never {},
                () = delivery.catch_up(), if is_behind => {}
                Some(close) = closing.recv() => {
                    outbox.close(0, close.last);
                    let cause = "there is no connection".to_owned();
                    close.answer.give(Err(Unacknowledged { publications: outbox.open(), cause }));
                    return ControlFlow::Break(());
                }
            }
        }
    }
}

/// What was said about the link being down.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    told: Option<String>,
    logged_at: Option<Instant>,
    attempts: u32,
    /// Whether another protocol version was tried since the link was up.
    version_told: bool,
}

impl Trouble {
    /// At once when the link goes down, and then after each `remind_every`.
    fn is_worth_a_line(&mut self, was_up: bool, remind_every: Duration, now: Instant) -> bool {
        self.attempts = if was_up { 1 } else { self.attempts.saturating_add(1) };
        let quiet = self.logged_at.is_some_and(|at| now.saturating_duration_since(at) < remind_every);
        if quiet && !was_up {
            return false;
        }
        self.logged_at = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_logged_at_once_and_then_once_a_minute() {
        let start = clock::now().mono;
        let mut trouble = Trouble::default();
        let lines: Vec<_> = (0..180_u64)
            .filter(|second| {
                let now = start + Duration::from_secs(*second);
                trouble.is_worth_a_line(*second == 90, Duration::from_mins(1), now)
            })
            .collect();
        assert_eq!(lines, [0, 60, 90, 150]);
        assert_eq!(trouble.attempts, 90);
    }
}
