//! What a command about a hold asks for in the light of what is in force: whether it opens or secures, and what our
//! calendar is to say then.

use jiff::{SignedDuration, Timestamp, ToSpan};

use super::{
    plan::{Goal, Want},
    task::Asked,
    window::{Unfit, stretches},
    zone_named,
};
use crate::{
    bridge::{gate::Refusal, settings::HoldStart, view},
    hass::payload::{HoldOrder, Span},
    model::{Action, DoorMode, Reason},
};

/// What is known of a door when a hold of it is judged.
#[derive(Debug, Clone, Copy)]
pub(in crate::bridge) struct HoldFacts<'a> {
    /// Whether the configuration allows holds of this door.
    pub(in crate::bridge) allowed: bool,
    /// The name of its time zone.
    pub(in crate::bridge) zone: Option<&'a str>,
    pub(in crate::bridge) present: Present,
    /// How long a hold lasts that does not say it.
    pub(in crate::bridge) usual: SignedDuration,
    /// The longest one that is allowed.
    pub(in crate::bridge) longest: SignedDuration,
    pub(in crate::bridge) start: HoldStart,
}

/// What our calendar of the door says, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bridge) enum Present {
    /// It was not read yet, or too long ago.
    Unread,
    /// Nothing.
    Nothing,
    /// A hold is in force or will be, or is being written.
    Held(DoorMode),
}

/// What is asked for, and whether that opens or secures. `None` where the gateway cannot do it: only a hold of its own can
/// be locked.
pub(in crate::bridge) fn action_of(asked: &Asked, facts: &HoldFacts<'_>) -> Option<Action> {
    let may_be_unlocked = matches!(facts.present, Present::Unread | Present::Held(DoorMode::Unlocked));
    match *asked {
        Asked::Lock => (facts.allowed && may_be_unlocked).then_some(Action::Lock),
        Asked::Hold(HoldOrder { mode: Some(DoorMode::Locked), .. }) => Some(Action::Lock),
        Asked::Hold(HoldOrder { mode: Some(_), .. }) => Some(Action::Hold),
        // What ends a hold that kept the door locked lets people in.
        Asked::Hold(HoldOrder { mode: None, .. }) => Some(match facts.present {
            Present::Held(DoorMode::Unlocked) | Present::Nothing => Action::Lock,
            Present::Unread
            | Present::Held(DoorMode::Locked | DoorMode::CardAndCode | DoorMode::Credential) => Action::Hold,
        }),
        Asked::Edit(_) | Asked::Nothing => None,
    }
}

/// What our calendar is to say.
///
/// # Errors
/// The hold is over, lasts too long, or cannot be written down in the time zone of the door.
pub(in crate::bridge) fn goal_of(
    asked: &Asked,
    action: Action,
    facts: &HoldFacts<'_>,
    now: Timestamp,
) -> Result<Goal, Refusal> {
    let Asked::Hold(HoldOrder { mode: Some(mode), span }) = *asked else {
        return Ok(if action == Action::Lock { Goal::NotUnlocked } else { Goal::Schedule });
    };
    let Some(zone) = facts.zone.and_then(zone_named) else {
        let text = "the time zone of the door is not known, so no hold of it can be written down";
        return Err(Refusal::refused(Reason::Unsupported, text));
    };
    let from = match facts.start {
        HoldStart::ThisMinute => now,
        HoldStart::NextMinute => next_minute(now),
    };
    let lasts = match span {
        Some(Span::For(lasts)) => lasts,
        Some(Span::Until(until)) => until.duration_since(now),
        None => facts.usual,
    };
    if lasts > facts.longest {
        let text = format!(
            "the hold would last {}; the configuration allows at most {} (holds.longest)",
            in_words(lasts),
            in_words(facts.longest)
        );
        return Err(Refusal::refused(Reason::NotAllowed, text));
    }
    let until = now.checked_add(lasts).unwrap_or(Timestamp::MAX);
    let stretches = stretches(&zone, from, until).map_err(|unfit| match unfit {
        Unfit::Empty => Refusal::expired(format!(
            "the hold would be over before it begins: it would last from {} until {}",
            view::time(from),
            view::time(until)
        )),
        Unfit::ClockChange { .. } => Refusal::refused(Reason::Unsupported, unfit.to_string()),
    })?;
    // Only an unlocked hold is ended to the second.
    let until = if mode == DoorMode::Unlocked { until } else { next_minute(until) };
    Ok(Goal::Keep(Want { mode, stretches, until }))
}

/// The next full minute, or this one where it begins just now.
fn next_minute(now: Timestamp) -> Timestamp {
    let over = now.as_nanosecond().rem_euclid(60_000_000_000);
    if over == 0 {
        return now;
    }
    let whole = now.as_second().div_euclid(60) * 60;
    Timestamp::from_second(whole).ok().and_then(|at| at.checked_add(1.minute()).ok()).unwrap_or(now)
}

/// In minutes, rounded up, and in hours where there are several.
fn in_words(lasts: SignedDuration) -> String {
    let minutes = lasts.as_secs().saturating_add(59) / 60;
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn facts(present: Present) -> HoldFacts<'static> {
        HoldFacts {
            allowed: true,
            zone: Some("UTC"),
            present,
            usual: SignedDuration::from_mins(30),
            longest: SignedDuration::from_hours(12),
            start: HoldStart::ThisMinute,
        }
    }

    fn hold(mode: Option<DoorMode>, span: Option<Span>) -> Asked {
        Asked::Hold(HoldOrder { mode, span })
    }

    #[test]
    fn what_lets_people_in_opens_and_what_keeps_them_out_secures() {
        use DoorMode::{CardAndCode, Credential, Locked, Unlocked};
        let action = |asked: Asked, present| action_of(&asked, &facts(present));
        for present in [Present::Unread, Present::Nothing, Present::Held(Locked), Present::Held(Unlocked)] {
            for mode in [Unlocked, CardAndCode, Credential] {
                assert_eq!(
                    action(hold(Some(mode), None), present),
                    Some(Action::Hold),
                    "{mode:?} {present:?}"
                );
            }
            assert_eq!(action(hold(Some(Locked), None), present), Some(Action::Lock), "{present:?}");
        }
        let end = hold(None, None);
        assert_eq!(action(end.clone(), Present::Held(Unlocked)), Some(Action::Lock));
        assert_eq!(action(end.clone(), Present::Nothing), Some(Action::Lock));
        for present in [Present::Unread, Present::Held(Locked), Present::Held(Credential)] {
            assert_eq!(action(end.clone(), present), Some(Action::Hold), "{present:?}");
        }
        assert_eq!(action(Asked::Lock, Present::Held(Unlocked)), Some(Action::Lock));
        assert_eq!(action(Asked::Lock, Present::Unread), Some(Action::Lock));
        assert_eq!(action(Asked::Lock, Present::Nothing), None);
        assert_eq!(action(Asked::Lock, Present::Held(Locked)), None, "it would end what keeps people out");
        let off = HoldFacts { allowed: false, ..facts(Present::Unread) };
        assert_eq!(action_of(&Asked::Lock, &off), None);
    }

    #[test]
    fn a_hold_that_cannot_be_is_refused_with_what_is_allowed() {
        let now = at("2026-11-25T10:00:20Z");
        let goal = |span, facts: &HoldFacts<'_>| {
            let asked = hold(Some(DoorMode::Unlocked), Some(span));
            goal_of(&asked, Action::Hold, facts, now).map_err(|refusal| (refusal.reason, refusal.message))
        };
        let usual = facts(Present::Nothing);
        let minutes = |minutes| Span::For(SignedDuration::from_mins(minutes));
        assert!(goal(minutes(720), &usual).is_ok());
        let (reason, text) = goal(minutes(721), &usual).unwrap_err();
        assert_eq!(reason, Reason::NotAllowed);
        assert_eq!(
            text,
            "the hold would last 12 h 1 min; the configuration allows at most 12 h (holds.longest)"
        );
        let (reason, text) = goal(Span::Until(at("2026-11-25T09:59:00Z")), &usual).unwrap_err();
        assert_eq!(reason, Reason::TooOld);
        assert!(text.contains("would be over before it begins"), "{text}");
        let nowhere = HoldFacts { zone: None, ..usual };
        assert_eq!(goal(minutes(5), &nowhere).unwrap_err().0, Reason::Unsupported);
        let next = HoldFacts { start: HoldStart::NextMinute, ..usual };
        let Ok(Goal::Keep(want)) = goal(minutes(5), &next) else { panic!("a hold") };
        assert_eq!(want.stretches[0].start, jiff::civil::time(10, 1, 0, 0));
        assert_eq!(want.until, at("2026-11-25T10:05:20Z"));
        let asked = hold(Some(DoorMode::Credential), Some(minutes(5)));
        let Ok(Goal::Keep(want)) = goal_of(&asked, Action::Hold, &next, now) else { panic!("a hold") };
        assert_eq!(want.until, at("2026-11-25T10:06:00Z"), "what the vendor keeps is told");
    }
}
