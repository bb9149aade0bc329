//! The gate: whether a command may go on, judged in a fixed order, that of `Reason::ALL`: the first fault is told.
//!
//! It decides and changes nothing, but that it counts wrong codes and uses one-time codes up.

use std::time::{Duration, Instant};

use jiff::SignedDuration;

use super::{
    codes::{Codes, Verdict},
    holds::{Asked, Goal, HoldFacts, action_of, goal_of},
    links::Bound,
    settings::{CodeSettings, CommandSettings, DoorSettings, DuringLockdown, UnlockAs},
};
use crate::{
    hass::payload::{Malformed, Order, Verb},
    model::{Action, Door, Intent, Message, Now, Outcome, Reason, ScenarioId, Target},
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
    /// What bounds the age of a message that came before any heartbeat.
    pub(super) bound: Bound,
    pub(super) allowed: &'a CommandSettings,
    pub(super) code: Option<&'a CodeSettings>,
    pub(super) name: &'a Target,
    /// Whether somebody is named in whose name a door is to be unlocked, by the command or by the owner.
    pub(super) in_a_name: bool,
    pub(super) target: TargetFacts<'a>,
}

/// What is known of the target.
#[derive(Debug, Clone, Copy)]
pub(super) enum TargetFacts<'a> {
    /// No door or scenario has this id.
    Unknown,
    /// The scenarios were not read yet, and this one may exist: a lockdown does not wait for that.
    Unread,
    /// A door.
    Door { door: &'a Door, settings: Option<&'a DoorSettings>, lockdown: Lockdown<'a>, hold: HoldFacts<'a> },
    /// A scenario.
    Scenario,
    /// An exception calendar, read or not.
    Calendar(CalendarFacts<'a>),
}

/// What is known of a calendar.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct CalendarFacts<'a> {
    /// Whether the configuration allows to change it.
    pub(super) allowed: bool,
    /// Whether it was read.
    pub(super) known: bool,
    /// Whether it is one that the gateway keeps for holds.
    pub(super) own: bool,
    /// What is known of scenarios that lock one of its doors.
    pub(super) lockdown: Lockdown<'a>,
    /// Whether one of its doors asks for the code.
    pub(super) coded: bool,
}

/// What is known of the scenarios that lock a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lockdown<'a> {
    /// None is active, or none can be known of: the key may not list them.
    None,
    /// This one is active, as far as is known, or is being activated.
    By(&'a ScenarioId),
    /// They were not read yet in this run: one may be active.
    Unread,
}

/// A command that passed.
#[derive(Debug, Clone)]
pub(super) struct Passed {
    pub(super) intent: Intent,
    /// The moment from which it is too old to be sent.
    pub(super) deadline: Instant,
    /// What was asked of a hold, and what our calendar is to say then.
    pub(super) hold: Option<(Asked, Goal)>,
}

/// A command that did not, and why: a word for programs and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) outcome: Outcome,
    pub(super) reason: Reason,
    pub(super) message: String,
    /// Whether the cause is that the command came before: its age, or that its one-time code was used.
    pub(super) may_repeat: bool,
    /// Whether its id counts as used all the same: then it is written down, whatever else is turned away.
    pub(super) uses_id: bool,
}

impl Refusal {
    pub(super) fn refused(reason: Reason, message: impl Into<String>) -> Self {
        Self { outcome: Outcome::Refused, reason, message: message.into(), may_repeat: false, uses_id: false }
    }

    pub(super) fn expired(message: String) -> Self {
        Self { outcome: Outcome::Expired, may_repeat: true, ..Self::refused(Reason::TooOld, message) }
    }

    pub(super) fn merged(reason: Reason, message: impl Into<String>) -> Self {
        Self { outcome: Outcome::Merged, ..Self::refused(reason, message) }
    }
}

/// Judges a command: running, published live, fresh link, well-formed, known target, possible, allowed, code, age. What
/// follows is judged where it is remembered: repeats, [`judge_lockdown`], the journal, equal commands
/// under way, rates.
pub(super) fn judge(
    message: &Message,
    order: Result<Order, Malformed>,
    facts: &Facts<'_>,
    codes: &mut Codes,
    now: Now,
) -> Result<Passed, Refusal> {
    let activates = order.as_ref().is_ok_and(|order| order.verb == Verb::Activate);
    // A lockdown is taken on even then: what this run cannot finish, the next one does.
    if facts.stopping && !activates {
        return Err(Refusal::refused(Reason::Stopping, "the gateway is stopping"));
    }
    if message.retain {
        let text = "a retained command may be of any age and is never executed; publish it without retain";
        return Err(Refusal::refused(Reason::Retained, text));
    }
    judge_link(message, order.as_ref().ok(), facts)?;
    let order = order.map_err(|error| {
        let reason = if error.too_large { Reason::TooLarge } else { Reason::Malformed };
        Refusal::refused(reason, error.to_string())
    })?;
    if matches!(facts.target, TargetFacts::Unknown)
        || (matches!(facts.target, TargetFacts::Unread) && !activates)
    {
        let text = "no door or scenario of this gateway has this id";
        return Err(Refusal::refused(Reason::UnknownTarget, text));
    }
    if let TargetFacts::Calendar(CalendarFacts { allowed: true, known: false, .. }) = facts.target {
        let text = "no exception calendar of this id could be read";
        return Err(Refusal::refused(Reason::UnknownTarget, text));
    }
    let asked = asked(&order);
    let Some(intent) = intent(order.verb, asked.as_ref(), facts) else {
        let text = "the vendor has no lock command: the door locks by itself when its unlock time ends";
        return Err(Refusal::refused(Reason::Unsupported, text));
    };
    judge_allowed(intent.judged_as(), facts)?;
    judge_name(intent.judged_as(), &order, facts)?;
    judge_code(intent.judged_as(), &order, facts, codes, now)?;
    let deadline = judge_age(intent.judged_as(), &order, message, facts.allowed, now)?;
    let hold = match (&facts.target, asked) {
        (TargetFacts::Door { hold, .. }, Some(asked)) => {
            let goal = goal_of(&asked, intent.judged_as(), hold, now.utc)?;
            Some((asked, goal))
        }
        (TargetFacts::Calendar(_), Some(Asked::Edit(edit))) => {
            Some((Asked::Edit(edit.clone()), Goal::Edit(edit)))
        }
        _ => None,
    };
    Ok(Passed { intent, deadline, hold })
}

/// What is asked of the hold of a door or of a calendar, if something is.
fn asked(order: &Order) -> Option<Asked> {
    match (order.verb, order.hold) {
        (Verb::Hold, Some(hold)) => Some(Asked::Hold(hold)),
        (Verb::Lock, _) => Some(Asked::Lock),
        (Verb::Edit, _) => order.edit.as_deref().cloned().map(Asked::Edit),
        (Verb::Hold | Verb::Unlock | Verb::Activate | Verb::Release | Verb::Drill, _) => None,
    }
}

/// What can be done about an order. The vendor has no command to lock, but a hold of ours can be ended.
fn intent(verb: Verb, asked: Option<&Asked>, facts: &Facts<'_>) -> Option<Intent> {
    match (asked, &facts.target) {
        (Some(asked), TargetFacts::Door { hold, .. }) => action_of(asked, hold).map(Intent::Act),
        (Some(Asked::Edit(_)), TargetFacts::Calendar(_)) => Some(Intent::Act(Action::Edit)),
        (
            Some(_),
            TargetFacts::Scenario | TargetFacts::Calendar(_) | TargetFacts::Unread | TargetFacts::Unknown,
        ) => None,
        (None, _) => Some(plain_intent(verb)),
    }
}

/// What a verb asks for, as far as that does not depend on what is in force.
pub(super) const fn plain_intent(verb: Verb) -> Intent {
    match verb {
        Verb::Unlock => Intent::Act(Action::Unlock),
        Verb::Activate => Intent::Act(Action::Activate),
        Verb::Release => Intent::Act(Action::Release),
        Verb::Hold => Intent::Act(Action::Hold),
        Verb::Lock => Intent::Act(Action::Lock),
        Verb::Edit => Intent::Act(Action::Edit),
        Verb::Drill => Intent::Drill,
    }
}

/// How old a command may be when it is sent.
pub(super) fn max_age(action: Action, allowed: &CommandSettings) -> Duration {
    if action == Action::Activate { allowed.max_age.max(ACTIVATE_MAX_AGE) } else { allowed.max_age }
}

/// The broker forwarded the message after the newest heartbeat whose echo came before it, and not before the session
/// began: that bounds its age on any broker. What a session that went on delivers first was published after the broker
/// was last heard in it.
fn judge_link(message: &Message, order: Option<&Order>, facts: &Facts<'_>) -> Result<(), Refusal> {
    let secures = order.is_some_and(|order| plain_intent(order.verb).judged_as() == Action::Activate);
    let age = |since: Instant| message.received_at.saturating_duration_since(since);
    let (bound, limit) = match (message.echo_sent_at, facts.bound) {
        (Some(sent_at), _) => (age(sent_at), if secures { ACTIVATE_MAX_AGE } else { FRESH_LINK }),
        (None, Bound::Heard(heard_at)) => return judge_kept(secures, heard_at.map(age)),
        (None, Bound::Began(since)) if secures => (age(since), ACTIVATE_MAX_AGE),
        (None, Bound::Began(_) | Bound::None) => {
            let text = "no heartbeat has come back from the broker yet, so the age of the command is not known; try again";
            return Err(Refusal::refused(Reason::LinkStale, text));
        }
    };
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

/// The broker kept the message while the connection was away.
fn judge_kept(secures: bool, age: Option<Duration>) -> Result<(), Refusal> {
    let text = match age {
        _ if !secures => {
            "the broker kept the command while the gateway was away; only a lockdown is taken then".to_owned()
        }
        Some(age) if age <= ACTIVATE_MAX_AGE => return Ok(()),
        Some(age) => format!(
            "the broker kept the command while the gateway was away, so it may be {:.0} s old; allowed are {:.0} s",
            age.as_secs_f64(),
            ACTIVATE_MAX_AGE.as_secs_f64()
        ),
        None => {
            "the broker kept the command while the gateway was away, and nobody knows for how long".to_owned()
        }
    };
    Err(Refusal::refused(Reason::ResumedSession, text))
}

fn judge_allowed(action: Action, facts: &Facts<'_>) -> Result<(), Refusal> {
    if facts.allowed.read_only {
        let text = "the configuration allows no command (commands.read_only)";
        return Err(Refusal::refused(Reason::ReadOnly, text));
    }
    let refused = |text: &str| Err(Refusal::refused(Reason::NotAllowed, text));
    let general = match action {
        Action::Unlock => facts.allowed.unlock,
        Action::Activate => facts.allowed.activate,
        Action::Release => facts.allowed.release,
        Action::Hold | Action::Lock => facts.allowed.hold,
        // Calendars are allowed one by one.
        Action::Edit => true,
    };
    match &facts.target {
        TargetFacts::Door { hold, .. } if matches!(action, Action::Hold | Action::Lock) && !hold.allowed => {
            refused("the configuration does not allow this door to be held (commands.hold)")
        }
        TargetFacts::Door { door, settings, .. } => {
            if action == Action::Unlock && !settings.and_then(|settings| settings.unlock).unwrap_or(general) {
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
        TargetFacts::Calendar(calendar) if !calendar.allowed => refused(
            "the configuration does not allow to change this calendar; calendars.allow names those that may be changed",
        ),
        TargetFacts::Calendar(calendar) if calendar.own => {
            refused("the gateway keeps this calendar for holds, and it is changed by them alone")
        }
        TargetFacts::Scenario | TargetFacts::Unread if !general => {
            refused(&format!("the configuration does not allow commands to {action} a scenario"))
        }
        TargetFacts::Scenario | TargetFacts::Calendar(_) | TargetFacts::Unread | TargetFacts::Unknown => {
            Ok(())
        }
    }
}

/// In whose name: a command chooses a person only where the owner lets it.
fn judge_name(action: Action, order: &Order, facts: &Facts<'_>) -> Result<(), Refusal> {
    if action != Action::Unlock {
        return Ok(());
    }
    let refused = |text| Err(Refusal::refused(Reason::NotAllowed, text));
    match facts.allowed.unlock_as {
        UnlockAs::Off if order.user.is_some() => refused(
            "the configuration does not allow a command to name a person (member as); set commands.unlock_as to allowed or \
             required to allow it",
        ),
        UnlockAs::Required if !facts.in_a_name => refused(
            "the configuration asks for a person in whose name the door is unlocked (commands.unlock_as: required); name one by \
             member as, or send a by that commands.users knows",
        ),
        UnlockAs::Off | UnlockAs::Allowed | UnlockAs::Required => Ok(()),
    }
}

/// An activate never needs a code and never has one looked at: wrong codes cannot hold it back.
fn judge_code(
    action: Action,
    order: &Order,
    facts: &Facts<'_>,
    codes: &mut Codes,
    now: Now,
) -> Result<(), Refusal> {
    let (door, lockdown, coded) = match facts.target {
        TargetFacts::Door { settings, lockdown, .. } => (settings, lockdown, false),
        TargetFacts::Calendar(CalendarFacts { lockdown, coded, .. }) => (None, lockdown, coded),
        TargetFacts::Scenario | TargetFacts::Unread | TargetFacts::Unknown => (None, Lockdown::None, false),
    };
    let by_lockdown = yields_to_lockdown(action)
        && lockdown != Lockdown::None
        && facts.allowed.during_lockdown == DuringLockdown::Code;
    if !by_lockdown && !facts.code.is_some_and(|code| coded || code.is_needed(action, door)) {
        return Ok(());
    }
    let refused = |reason, text: &str| Err(Refusal::refused(reason, text));
    let (Some(settings), Some(code)) = (facts.code, &order.code) else {
        return refused(
            Reason::CodeRequired,
            if by_lockdown && lockdown == Lockdown::Unread {
                "the scenarios were not read yet, so one may lock this door, and the configuration then asks for the \
                 code; send it as member code"
            } else if by_lockdown {
                "a scenario locks this door, and the configuration then asks for the code; send it as member code"
            } else {
                "the configuration asks for the code; send it as member code"
            },
        );
    };
    match codes.judge(code, settings, facts.name, now) {
        Verdict::Right => Ok(()),
        Verdict::Wrong => refused(Reason::CodeWrong, "the code is wrong"),
        Verdict::Used => {
            let text = "the one-time code was used already, or may have been before the gateway started; wait for the next";
            Err(Refusal { may_repeat: true, ..Refusal::refused(Reason::CodeWrong, text) })
        }
        Verdict::Locked(left) => {
            let text = format!("too many wrong codes came; none is looked at for {} s", left.as_secs() + 1);
            refused(Reason::CodeLocked, &text)
        }
    }
}

/// Whether a scenario that locks the door stands against it.
const fn yields_to_lockdown(action: Action) -> bool {
    match action {
        Action::Unlock | Action::Hold | Action::Edit => true,
        Action::Activate | Action::Release | Action::Lock => false,
    }
}

/// The unlock of a door that a scenario locks; where it needs the code, that was judged before.
pub(super) fn judge_lockdown(action: Action, facts: &Facts<'_>) -> Result<(), Refusal> {
    let (lockdown, what) = match facts.target {
        TargetFacts::Door { lockdown, .. } => (lockdown, "this door"),
        TargetFacts::Calendar(calendar) => (calendar.lockdown, "a door of this calendar"),
        TargetFacts::Scenario | TargetFacts::Unread | TargetFacts::Unknown => return Ok(()),
    };
    if !yields_to_lockdown(action) || facts.allowed.during_lockdown != DuringLockdown::Refuse {
        return Ok(());
    }
    match lockdown {
        Lockdown::None => Ok(()),
        Lockdown::By(scenario) => {
            let text = format!(
                "scenario {scenario} locks {what} and is active, or was when it was last seen; release it first"
            );
            Err(Refusal::refused(Reason::LockdownActive, text))
        }
        Lockdown::Unread => {
            let text = format!(
                "the scenarios were not read since the gateway started, so one that locks {what} may be active; try again \
                 in a moment"
            );
            Err(Refusal::refused(Reason::LockdownUnknown, text))
        }
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
        return Err(Refusal::expired(message));
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
        return Err(Refusal::expired(message));
    }
    Ok(message.received_at + limit.saturating_sub(age))
}
