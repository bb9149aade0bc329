//! The gate: whether a command may go on, judged in a fixed order. It decides and changes nothing.

use std::time::{Duration, Instant};

use jiff::SignedDuration;

use super::settings::{CommandSettings, DoorSettings};
use crate::{
    hass::payload::{Malformed, Order, Verb},
    model::{Action, Door, Intent, Message, Now, Outcome, Reason},
};

/// An opening command runs only if a heartbeat sent less than this ago had come back before it.
pub const FRESH_LINK: Duration = Duration::from_millis(2_500);
/// How old an activate may be: a late lockdown is worth more than none.
pub(super) const ACTIVATE_MAX_AGE: Duration = Duration::from_mins(1);
/// How far ahead the caller's clock may be.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

/// What the gate looks at beside the message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) stopping: bool,
    /// When the present MQTT session began.
    pub(super) session_since: Option<Instant>,
    pub(super) allowed: &'a CommandSettings,
    pub(super) target: TargetFacts<'a>,
}

/// What is known of the target.
#[derive(Debug, Clone, Copy)]
pub(super) enum TargetFacts<'a> {
    /// No door or scenario has this id.
    Unknown,
    /// A door.
    Door { door: &'a Door, settings: Option<&'a DoorSettings> },
    /// A scenario.
    Scenario,
}

/// A command that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Passed {
    pub(super) intent: Intent,
    pub(super) order: Order,
    /// The moment from which it is too old to be sent.
    pub(super) deadline: Instant,
}

/// A command that did not, and why: a word for programs and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) outcome: Outcome,
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn refused(reason: Reason, message: impl Into<String>) -> Self {
        Self { outcome: Outcome::Refused, reason, message: message.into() }
    }
}

/// Judges a command: stopping, retained, fresh link, well-formed, known target, allowed, age. Duplicates and rates
/// are judged after it, where they are remembered.
pub(super) fn judge(
    message: &Message,
    order: Result<Order, Malformed>,
    facts: &Facts<'_>,
    now: Now,
) -> Result<Passed, Refusal> {
    if facts.stopping {
        return Err(Refusal::refused(Reason::Stopping, "the gateway is stopping"));
    }
    if message.retain {
        let text = "a retained command may be of any age and is never executed; publish it without retain";
        return Err(Refusal::refused(Reason::Retained, text));
    }
    judge_link(message, order.as_ref().ok(), facts)?;
    let order = order.map_err(|error| Refusal::refused(Reason::Malformed, error.to_string()))?;
    if matches!(facts.target, TargetFacts::Unknown) {
        let text = "no door or scenario of this gateway has this id";
        return Err(Refusal::refused(Reason::UnknownTarget, text));
    }
    let Some(intent) = intent(order.verb) else {
        let text = "the vendor has no lock command: the door locks by itself when its unlock time ends";
        return Err(Refusal::refused(Reason::Unsupported, text));
    };
    judge_allowed(intent.judged_as(), facts)?;
    let deadline = judge_age(intent.judged_as(), &order, message, facts.allowed, now)?;
    Ok(Passed { intent, order, deadline })
}

/// What can be done about a verb; the vendor has no command to lock.
pub(super) const fn intent(verb: Verb) -> Option<Intent> {
    match verb {
        Verb::Unlock => Some(Intent::Act(Action::Unlock)),
        Verb::Activate => Some(Intent::Act(Action::Activate)),
        Verb::Release => Some(Intent::Act(Action::Release)),
        Verb::Drill => Some(Intent::Drill),
        Verb::Lock => None,
    }
}

/// How old a command may be when it is sent.
pub(super) fn max_age(action: Action, allowed: &CommandSettings) -> Duration {
    if action.opens() { allowed.max_age } else { allowed.max_age.max(ACTIVATE_MAX_AGE) }
}

/// The broker forwarded the message after the newest heartbeat whose echo came before it, and not before the session
/// began: that bounds its age on any broker.
fn judge_link(message: &Message, order: Option<&Order>, facts: &Facts<'_>) -> Result<(), Refusal> {
    let secures = order
        .and_then(|order| intent(order.verb))
        .is_some_and(|intent| intent.judged_as() == Action::Activate);
    let proof = if secures { message.echo_sent_at.or(facts.session_since) } else { message.echo_sent_at };
    let limit = if secures { ACTIVATE_MAX_AGE } else { FRESH_LINK };
    let Some(proof) = proof else {
        let text = "no heartbeat has come back from the broker yet, so the age of the command is not known; try again";
        return Err(Refusal::refused(Reason::LinkStale, text));
    };
    let bound = message.received_at.saturating_duration_since(proof);
    if bound < limit {
        return Ok(());
    }
    let text = format!(
        "the last heartbeat that came back from the broker was sent {:.1} s before the command arrived, so it may be \
         that old; allowed are {:.1} s; try again",
        bound.as_secs_f64(),
        limit.as_secs_f64()
    );
    Err(Refusal::refused(Reason::LinkStale, text))
}

fn judge_allowed(action: Action, facts: &Facts<'_>) -> Result<(), Refusal> {
    let refused = |text: &str| Err(Refusal::refused(Reason::NotAllowed, text));
    let general = match action {
        Action::Unlock => facts.allowed.unlock,
        Action::Activate => facts.allowed.activate,
        Action::Release => facts.allowed.release,
    };
    match facts.target {
        TargetFacts::Door { door, settings } => {
            if !settings.and_then(|settings| settings.unlock).unwrap_or(general) {
                return refused("the configuration does not allow this door to be unlocked");
            }
            if door.api_control == Some(false) {
                return refused(
                    "the door's API toggle is off at the vendor; switch on \"Enable Door Management via API\" for the \
                     organisation, the site and the door (Installer Settings)",
                );
            }
            Ok(())
        }
        TargetFacts::Scenario if !general => {
            refused(&format!("the configuration does not allow commands to {action} a scenario"))
        }
        TargetFacts::Scenario | TargetFacts::Unknown => Ok(()),
    }
}

fn judge_age(
    action: Action,
    order: &Order,
    message: &Message,
    allowed: &CommandSettings,
    now: Now,
) -> Result<Instant, Refusal> {
    let limit = max_age(action, allowed);
    let waited = now.mono.saturating_duration_since(message.received_at);
    if waited >= limit {
        let message = format!(
            "the command waited {:.1} s in the gateway; allowed are {:.1} s",
            waited.as_secs_f64(),
            limit.as_secs_f64()
        );
        return Err(Refusal { outcome: Outcome::Expired, reason: Reason::TooOld, message });
    }
    let Some(issued_at) = order.issued_at else { return Ok(message.received_at + limit) };
    let age =
        now.utc.duration_since(issued_at) - SignedDuration::try_from(waited).unwrap_or(SignedDuration::ZERO);
    if age < -CLOCK_TOLERANCE {
        let text = format!(
            "issued_at lies {:.1} s in the future of this machine's clock; allowed are {} s; set both clocks by NTP",
            -age.as_secs_f64(),
            CLOCK_TOLERANCE.as_secs()
        );
        return Err(Refusal::refused(Reason::ClockSkew, text));
    }
    let age = Duration::try_from(age).unwrap_or(Duration::ZERO);
    if age + waited >= limit {
        let message = format!(
            "the command was issued {:.1} s ago; allowed are {:.1} s",
            (age + waited).as_secs_f64(),
            limit.as_secs_f64()
        );
        return Err(Refusal { outcome: Outcome::Expired, reason: Reason::TooOld, message });
    }
    Ok(message.received_at + limit.saturating_sub(age))
}
