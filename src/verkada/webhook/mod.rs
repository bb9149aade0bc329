//! The vendor's webhooks: from a signature header and a raw body to what the core hears (`verkada-api.md` 8).
//!
//! Pure: sockets and queues belong to the HTTP server. A webhook changes what is shown and may prompt a read; it never
//! causes a write, since a [`Push`] is all that leaves this module.

mod delivery;
mod health;
mod replays;
mod signature;

use std::{collections::BTreeSet, time::Instant};

use jiff::Timestamp;
use secrecy::SecretString;

pub use health::{Refusal, WebhookHealth};
pub use signature::{HEADER, Signature};

use super::wire;
use crate::model::{Now, OrganisationId, Privacy, Push};
use delivery::{Content, Delivery};
use health::Books;
use replays::Replays;
use signature::Keyring;

/// The largest body that is read, in bytes. Deliveries seen so far have less than 2 KiB.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// How many pushes one delivery gives at most: an event, and a nudge.
pub const MAX_PUSHES: usize = 2;

/// How many foreign organisations are told by name.
const MAX_FOREIGN_TOLD: usize = 16;

/// What became of a verified delivery. Each is answered with 200, so that the vendor does not send it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is in the queue.
    Accepted,
    /// It is not about doors and scenarios.
    Ignored,
    /// The very same delivery was taken before; nothing changed.
    Replayed,
    /// It is of another organisation; nothing changed.
    ///
    /// It is answered with 200 because the answer to a second try would be the same: the fault is in what was set up,
    /// and a warning and the count of [`Refusal::Foreign`] tell it where the operator of this gateway looks.
    Foreign,
}

/// Verifies and reads deliveries, and keeps count of them.
///
/// The organisation is the configured one. Where none is configured, it is that of the first verified delivery after
/// the start: if several organisations sign with the same secret, the first to deliver wins until the next start, and
/// only `webhook.organization_id` decides it for good.
#[derive(Debug)]
pub struct WebhookReceiver {
    keyring: Keyring,
    organisation: Option<OrganisationId>,
    privacy: Privacy,
    /// Foreign ones of which a warning was written.
    foreign: BTreeSet<OrganisationId>,
    replays: Replays,
    books: Books,
}

impl WebhookReceiver {
    /// A receiver for deliveries signed with any of `secrets` (two while the secret is being changed).
    pub fn new(secrets: &[SecretString], organisation: Option<OrganisationId>, privacy: Privacy) -> Self {
        Self {
            keyring: Keyring::new(secrets),
            organisation,
            privacy,
            foreign: BTreeSet::new(),
            replays: Replays::default(),
            books: Books::default(),
        }
    }

    /// Takes deliveries that are signed with these secrets from now on, and with no others.
    pub fn replace_secrets(&mut self, secrets: &[SecretString]) {
        self.keyring = Keyring::new(secrets);
    }

    /// A delivery begins: looks at the values of its [`HEADER`], before anything of its body is read.
    ///
    /// # Errors
    /// When there is not exactly one, when it is malformed, or when its time is outside the window.
    pub fn look<'a>(
        &mut self,
        values: impl IntoIterator<Item = &'a [u8]>,
        now: Now,
    ) -> Result<Signature, Refusal> {
        self.books.begin();
        let read = Signature::read(values).and_then(|signature| {
            signature.check_window(now.utc)?;
            Ok(signature)
        });
        read.map_err(|refusal| self.refuse(refusal, now.mono))
    }

    /// Counts what was refused, here or by the server; warns at most once a minute for each cause.
    pub fn refuse(&mut self, refusal: Refusal, at: Instant) -> Refusal {
        self.books.refuse(refusal, at);
        refusal
    }

    /// Verifies and reads a whole delivery and hands what it says to `queue`, which takes all or, with `false`, nothing.
    ///
    /// # Errors
    /// When the signature is not ours or its window has ended meanwhile, when a verified body is not the vendor's JSON,
    /// or when `queue` has no room: then the vendor's second try may find some, with the same signature or a new one.
    pub fn take(
        &mut self,
        signature: &Signature,
        body: &[u8],
        now: Now,
        queue: impl FnOnce(Vec<Push>) -> bool,
    ) -> Result<Taken, Refusal> {
        // The window is looked at again: a body that trickled in must not outlive what is known of replays.
        let verified = signature.check_window(now.utc).and_then(|()| self.keyring.verify(signature, body));
        verified.map_err(|refusal| self.refuse(refusal, now.mono))?;
        if self.replays.knows(signature, now.utc) {
            self.books.replay();
            tracing::debug!("a webhook was delivered again with the same signature");
            return Ok(Taken::Replayed);
        }
        let delivery = match delivery::decode(body, self.privacy) {
            Ok(delivery) => delivery,
            Err(cause) => {
                tracing::debug!(%cause, "a signed webhook cannot be read");
                return Err(self.refuse(Refusal::Body, now.mono));
            }
        };
        let taken = if self.is_ours(delivery.organisation.as_ref()) {
            self.hand_on(delivery, now, queue)?
        } else {
            self.refuse(Refusal::Foreign, now.mono);
            Taken::Foreign
        };
        self.replays.remember(signature, now.utc);
        Ok(taken)
    }

    /// Counts and times so far.
    pub const fn health(&self) -> &WebhookHealth {
        self.books.health()
    }

    /// Compares with the organisation, or makes it the organisation where there is none yet.
    fn is_ours(&mut self, organisation: Option<&OrganisationId>) -> bool {
        let Some(given) = organisation else { return false };
        let Some(ours) = &self.organisation else {
            tracing::info!(organisation = %given, "webhooks of this organisation are taken from here on");
            self.organisation = Some(given.clone());
            return true;
        };
        if ours.as_str().eq_ignore_ascii_case(given.as_str()) {
            return true;
        }
        if self.foreign.len() < MAX_FOREIGN_TOLD && self.foreign.insert(given.clone()) {
            tracing::warn!(organisation = %given, expected = %ours, "webhooks of another organisation are ignored");
        }
        false
    }

    fn hand_on(
        &mut self,
        delivery: Delivery,
        now: Now,
        queue: impl FnOnce(Vec<Push>) -> bool,
    ) -> Result<Taken, Refusal> {
        let (created, pushes) = match delivery.content {
            Content::Event { event, scenarios } => {
                tracing::trace!(event = %event.id, word = %event.word, "a webhook brought an event");
                let created = event.at;
                // An alert names the rule and not the occurrence. The list of events brings the same one under an id of
                // its own, and one occurrence must not be told twice.
                let push =
                    if wire::is_made(&event.id) { Push::ReadEvents } else { Push::Event(Box::new(event)) };
                (Some(created), [push].into_iter().chain(scenarios.then_some(Push::ReadScenarios)).collect())
            }
            Content::Unread { cause, scenarios } => {
                tracing::debug!(%cause, "the event of a webhook cannot be read; the list of events may tell it");
                (
                    None,
                    [Push::ReadEvents].into_iter().chain(scenarios.then_some(Push::ReadScenarios)).collect(),
                )
            }
            Content::Other(what) => {
                tracing::debug!(%what, "a webhook is about something else than doors and scenarios");
                self.books.ignore(now.utc);
                return Ok(Taken::Ignored);
            }
        };
        if !queue(pushes) {
            return Err(self.refuse(Refusal::Overflow, now.mono));
        }
        self.books.accept(created, now.utc);
        Ok(Taken::Accepted)
    }
}

/// How long after `created` it is at `now`; nothing if the controller's clock is ahead of ours.
fn lag(created: Timestamp, now: Timestamp) -> std::time::Duration {
    std::time::Duration::try_from(now.duration_since(created)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
