//! Messages come in: birth, refresh and commands, the latter through the gate.

use std::time::{Duration, Instant};

use super::{
    Bridge,
    admission::{Matter, Repeat},
    commands::{Belief, Effect, Merging, Wish},
    copies::Line,
    gate::{self, CalendarFacts, Facts, Lockdown, Passed, Refusal, TargetFacts},
    links::Bound,
    poller::List,
    report::{Origin, Response},
};
use crate::{
    hass::{
        Destination,
        payload::{Kind, Malformed, Order, Verb},
    },
    model::{Action, CalendarId, DoorId, Intent, Message, Now, Reason, ScenarioState, Target, Turn, User},
};

/// Home Assistant gets everything again this long after its birth message, at random.
const BIRTH_DELAY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// The least time between two such rounds.
const BIRTH_PAUSE: Duration = Duration::from_secs(30);
/// The least time between two readings that somebody asks for from outside.
const REFRESH_PAUSE: Duration = Duration::from_secs(10);

/// How long before the broker was last heard a lockdown was taken on that it delivers again, because a crash came before
/// we acknowledged it.
const REDELIVERED_WITHIN: Duration = Duration::from_secs(5);
/// How long a warning of a retained command counts for its topic.
const RETAINED_WARNING_LASTS: Duration = Duration::from_hours(1);
/// For how many topics such warnings are remembered; beyond it none are given.
const MAX_RETAINED_WARNINGS: usize = 100;

impl Bridge {
    pub(super) fn hear_message(&mut self, message: &Message, now: Now) {
        if message.topic == self.settings.birth.topic {
            self.hear_birth(message, now);
            return;
        }
        match self.topics.destination(&message.topic) {
            Some(Destination::Door(id)) => match id.parse() {
                Ok(id) => self.command((Target::Door(id), Kind::Door), message, Line::Main, now),
                Err(error) => tracing::info!(%error, "a command names an impossible door; refused"),
            },
            Some(Destination::Hold(id)) => match id.parse() {
                Ok(id) => self.command((Target::Door(id), Kind::Hold), message, Line::Main, now),
                Err(error) => tracing::info!(%error, "a hold names an impossible door; refused"),
            },
            Some(Destination::HoldMinutes(id)) => match id.parse() {
                Ok(id) => self.hear_hold_minutes(&id, message),
                Err(error) => {
                    tracing::info!(%error, "the minutes of a hold name an impossible door; refused");
                }
            },
            Some(Destination::Scenario(id)) => match id.parse() {
                // The copy on the securing connection may have come first.
                Ok(_)
                    if may_come_twice(message)
                        && self.copies.is_copy(Line::Main, message, self.link.bound()) => {}
                Ok(id) => self.command((Target::Scenario(id), Kind::Scenario), message, Line::Main, now),
                Err(error) => tracing::info!(%error, "a command names an impossible scenario; refused"),
            },
            Some(Destination::Calendar(id)) => match id.parse() {
                Ok(id) => self.command((Target::Calendar(id), Kind::Calendar), message, Line::Main, now),
                Err(error) => tracing::info!(%error, "a command names an impossible calendar; refused"),
            },
            Some(Destination::Refresh) if !message.retain => {
                let at = self.refresh(&List::ALL, now);
                self.access.hurry(at);
            }
            Some(Destination::LogLevel) if !message.retain => self.hear_log_level(&message.payload),
            Some(Destination::Restart) if !message.retain => self.hear_restart(&message.payload, now),
            Some(Destination::Acknowledge) if !message.retain => self.acknowledge(now),
            // The main connection hears the other one's heartbeat as well.
            Some(Destination::SecuringHeartbeat) => {}
            Some(
                Destination::Refresh
                | Destination::LogLevel
                | Destination::Restart
                | Destination::Acknowledge
                | Destination::Nowhere,
            )
            | None => {
                tracing::debug!(topic = ?message.topic, "a message that means nothing");
            }
        }
    }

    /// On the securing connection: a lockdown is taken on whichever connection brings it first. Everything else is left to
    /// the main one, unless the broker kept it while the gateway was away: then its sender is told.
    pub(super) fn hear_securing_message(&mut self, message: &Message, now: Now) {
        let Some(Destination::Scenario(id)) = self.topics.destination(&message.topic) else { return };
        let Ok(id) = id.parse() else { return };
        let bound = self.securing.bound();
        let heard = match bound {
            Bound::Heard(heard_at) if message.echo_sent_at.is_none() => Some(heard_at),
            Bound::Heard(_) | Bound::Began(_) | Bound::None => None,
        };
        let kept = heard.is_some();
        let order = Order::read(Kind::Scenario, &message.payload).ok();
        let verb = order.as_ref().map(|order| order.verb);
        let concerns =
            matches!(verb, Some(Verb::Activate | Verb::Drill)) || (kept && verb == Some(Verb::Release));
        if !concerns || self.copies.is_copy(Line::Securing, message, bound) {
            return;
        }
        let target = Target::Scenario(id);
        let nameless = order.is_some_and(|order| order.id.is_none());
        if message.dup && nameless && self.was_activated(&target, heard.flatten()) {
            tracing::info!(
                target = target.path(),
                "the broker delivers a lockdown again that was taken on before"
            );
            return;
        }
        self.command((target, Kind::Scenario), message, Line::Securing, now);
    }

    /// Whether a lockdown of the scenario without an id was taken on right before the broker was last heard: what it then
    /// delivers again is that one, which a crash kept from being acknowledged.
    fn was_activated(&self, target: &Target, heard_at: Option<Instant>) -> bool {
        let (Target::Scenario(id), Some(heard_at)) = (target, heard_at) else { return false };
        let at = self.commands.activated_at(id);
        at.is_some_and(|at| heard_at.saturating_duration_since(at) < REDELIVERED_WITHIN)
    }

    fn hear_birth(&mut self, message: &Message, now: Now) {
        let here = message.payload == self.settings.birth.payload.as_bytes();
        self.announcements.hear(here);
        if !here {
            return;
        }
        let jitter = self.rng.between(BIRTH_DELAY.0, BIRTH_DELAY.1);
        let earliest = self.last_birth.map_or(now.mono, |last| last + BIRTH_PAUSE);
        self.birth_at.get_or_insert_with(|| earliest.max(now.mono + jitter));
    }

    /// Reads lists soon, however often it is asked for; returns when.
    pub(super) fn refresh(&mut self, lists: &[List], now: Now) -> Instant {
        let at = match self.last_refresh {
            Some(planned) if planned > now.mono => planned,
            Some(last) => now.mono.max(last + REFRESH_PAUSE),
            None => now.mono,
        };
        self.last_refresh = Some(at);
        for list in lists {
            self.poller.hurry(*list, at);
        }
        at
    }

    fn command(&mut self, (target, kind): (Target, Kind), message: &Message, line: Line, now: Now) {
        if message.retain && message.payload.is_empty() {
            // Somebody clears a retained command.
            return;
        }
        self.books.receive();
        let order = Order::read(kind, &message.payload);
        let mut origin = self.origin(target, order.as_ref(), message, now);
        // Taken out for the while, since the facts borrow the rest.
        let mut codes = std::mem::take(&mut self.codes);
        let passed = gate::judge(message, order, &self.facts(&origin, line, now), &mut codes, now);
        self.codes = codes;
        if let Ok(Passed { intent: Intent::Act(action @ (Action::Hold | Action::Lock)), .. }) = &passed {
            // Whether it opens was found out by the gate, and is what counts from here on.
            origin.verb = Some(Verb::from(*action));
        }
        let taken = passed.and_then(|passed| self.admit(&mut origin, &passed, now));
        match taken {
            Ok(effects) => self.perform(effects, now),
            Err(mut refusal) => {
                // A late copy of a command must not be told to have expired, or to bring a used code, where the first one
                // was executed.
                if refusal.may_repeat {
                    refusal = self.judge_late_copy(&origin, now).unwrap_or(refusal);
                }
                if refusal.reason == Reason::Retained {
                    self.warn_of_retained(&origin.target, now);
                }
                if refusal.reason == Reason::NotAllowed {
                    // A toggle may have been switched on since the list was read.
                    self.refresh(&[List::Doors], now);
                }
                if matches!(refusal.reason, Reason::LinkStale | Reason::ResumedSession) {
                    // It says more of the connection than of the command: the copy is judged for itself.
                    self.copies.forget(line, message);
                }
                self.refuse(&origin, refusal, now);
            }
        }
    }

    /// Somebody left a command behind: it waits for every client that subscribes.
    fn warn_of_retained(&mut self, target: &Target, now: Now) {
        self.retained_warned.retain(|_, at| now.mono.saturating_duration_since(*at) < RETAINED_WARNING_LASTS);
        if self.retained_warned.len() < MAX_RETAINED_WARNINGS && !self.retained_warned.contains_key(target) {
            self.retained_warned.insert(target.clone(), now.mono);
            let topic = self.topics.set(target);
            tracing::warn!(
                topic,
                "somebody publishes commands with retain; clear it by an empty retained message, for instance \
                 mosquitto_pub -r -n -t {topic}"
            );
        }
    }

    fn origin(
        &self,
        target: Target,
        order: Result<&Order, &Malformed>,
        message: &Message,
        now: Now,
    ) -> Origin {
        let (verb, id, by, user) = match order {
            Ok(order) => (Some(order.verb), order.id.clone(), order.by.clone(), self.user_of(order)),
            Err(malformed) => (None, malformed.id.clone(), None, None),
        };
        let waited = now.mono.saturating_duration_since(message.received_at);
        Origin {
            target,
            verb,
            passed: false,
            id,
            by,
            user,
            received_at: now.utc.checked_sub(waited).unwrap_or(now.utc),
            response: self.response(message),
        }
    }

    /// In whose name a door is to be unlocked: as the command says, or else the owner for its sender. That the sender is who
    /// it says to be is not known: this chooses who is named and whose access is checked, and never widens what is allowed.
    fn user_of(&self, order: &Order) -> Option<User> {
        let mapped = || self.settings.users.get(order.by.as_deref()?).cloned();
        (order.verb == Verb::Unlock).then(|| order.user.clone().or_else(mapped)).flatten()
    }

    /// Where else the sender wants the result, if the gateway may write there.
    fn response(&self, message: &Message) -> Option<Response> {
        let topic = message.response_topic.clone()?;
        if !self.may_answer(&topic) {
            tracing::info!(
                ?topic,
                "a command wants its result where the gateway does not answer; it stands on the result topic"
            );
            return None;
        }
        Some(Response { topic, correlation: message.correlation.clone() })
    }

    /// A sender must not make the gateway write where only the gateway may: discovery, and its own topics but for the
    /// one place kept for answers.
    fn may_answer(&self, topic: &str) -> bool {
        let prefix = &self.settings.announcer.prefix;
        let in_discovery = topic.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.starts_with('/'));
        let is_topic = !topic.is_empty()
            && topic.len() <= 512
            && !topic.contains(|c: char| matches!(c, '+' | '#') || c.is_control());
        is_topic
            && !topic.starts_with('$')
            && !in_discovery
            && (!self.topics.owns(topic) || self.topics.is_answer(topic))
    }

    fn facts<'a>(&'a self, origin: &'a Origin, line: Line, now: Now) -> Facts<'a> {
        let name = &origin.target;
        let target = match name {
            Target::Door(id) => {
                self.doors.listed(id).map_or(TargetFacts::Unknown, |(door, _)| TargetFacts::Door {
                    door,
                    settings: self.settings.door_settings.get(id),
                    lockdown: self.lockdown_over(id),
                    hold: self.hold_facts(id, now),
                })
            }
            Target::Scenario(id) if self.scenarios.get(id).is_some() => TargetFacts::Scenario,
            Target::Scenario(id)
                if self.poller.last_good(List::Scenarios).is_none() && self.settings.scenarios.takes(id) =>
            {
                TargetFacts::Unread
            }
            Target::Scenario(_) => TargetFacts::Unknown,
            Target::Calendar(id) => TargetFacts::Calendar(self.calendar_facts(id)),
        };
        Facts {
            stopping: self.stopping,
            bound: match line {
                Line::Main => self.link.bound(),
                Line::Securing => self.securing.bound(),
            },
            allowed: &self.settings.commands,
            code: self.settings.code.as_ref(),
            name,
            in_a_name: origin.user.is_some(),
            target,
        }
    }

    fn calendar_facts(&self, id: &CalendarId) -> CalendarFacts<'_> {
        let calendar = self.holds.calendars().get(id);
        let doors = || calendar.into_iter().flat_map(|calendar| &calendar.doors);
        let lockdowns = || doors().map(|door| self.lockdown_over(door));
        let coded =
            |door: &DoorId| self.settings.door_settings.get(door).and_then(|own| own.code) == Some(true);
        CalendarFacts {
            allowed: self.settings.calendars.allow.contains(id),
            known: calendar.is_some(),
            own: calendar.is_some_and(|calendar| self.holds.owns(calendar)),
            lockdown: lockdowns().find(|lockdown| *lockdown != Lockdown::None).unwrap_or(Lockdown::None),
            coded: doors().any(coded),
        }
    }

    /// A scenario that locks the door: one that was active when it was last seen, or whose activation is under way. What an
    /// earlier run saw is not known, so before the first reading there may be one; a key that may not list scenarios
    /// never knows of any.
    fn lockdown_over(&self, door: &DoorId) -> Lockdown<'_> {
        if self.poller.last_good(List::Scenarios).is_none() && !self.poller.is_barred(List::Scenarios) {
            return Lockdown::Unread;
        }
        let locks = self.scenarios.iter().find(|(id, record)| {
            record.scenario.doors_to_lock.contains(door)
                && (record.may_be_active() || self.commands.merges_scenario(id, Action::Activate))
        });
        locks.map_or(Lockdown::None, |(id, _)| Lockdown::By(id))
    }

    /// A command under an id that is known is not executed again, whatever its age: what came of it is said again.
    fn judge_repeat(&mut self, origin: &Origin, intent: Intent, now: Now) -> Result<(), Refusal> {
        let Some(id) = &origin.id else { return Ok(()) };
        match self.ids.check(id, &Matter::of(intent, origin), now) {
            Repeat::New => Ok(()),
            Repeat::Same(earlier) => {
                if let Some(mut earlier) = earlier.filter(|_| self.flood.answers(&origin.target, now.mono)) {
                    earlier.origin.response.clone_from(&origin.response);
                    self.say(&earlier);
                }
                let text = "the id was used before for the same command; its result was published again";
                Err(Refusal::merged(Reason::Duplicate, text))
            }
            Repeat::Conflict(refusal) => Err(refusal),
        }
    }

    /// Whether a command that comes too late, or with a used code, is a copy of one that was taken on. Whether what ends a
    /// hold opened when it was taken on is not known any more.
    fn judge_late_copy(&mut self, origin: &Origin, now: Now) -> Option<Refusal> {
        let intent = gate::plain_intent(origin.verb?);
        let refusal = self.judge_repeat(origin, intent, now).err()?;
        if refusal.reason == Reason::IdConflict && origin.verb == Some(Verb::Hold) {
            return self.judge_repeat(origin, Action::Lock.into(), now).err();
        }
        Some(refusal)
    }

    /// The part of the gate that remembers: repeats, lockdowns, the journal, equal commands under way, rates. Then the command
    /// is taken on.
    fn admit(&mut self, origin: &mut Origin, passed: &Passed, now: Now) -> Result<Vec<Effect>, Refusal> {
        origin.passed = true;
        self.judge_repeat(origin, passed.intent, now)?;
        let action = match passed.intent {
            Intent::Act(action) => action,
            Intent::Drill => return self.admit_drill(origin, passed.deadline, now),
        };
        gate::judge_lockdown(action, &self.facts(origin, Line::Main, now))?;
        if action.opens()
            && let Some(cause) = self.records.broken()
        {
            let text = format!("the journal cannot be written, and nothing opens without a record: {cause}");
            return Err(Refusal::refused(Reason::JournalUnavailable, text));
        }
        if action.opens() && self.forgotten_until.is_some_and(|until| now.mono < until) {
            let text = "the journal of earlier runs is lost, so that this may be a copy of a command that was carried \
                        out; send it again a few seconds from now";
            return Err(Refusal::refused(Reason::JournalUnavailable, text));
        }
        self.judge_equal(origin, passed, action, now)?;
        let believed = self.believed(&origin.target, now);
        // An activate is never held back, unless it only asks for a look at what is active already.
        let rated = matches!(&origin.target, Target::Door(door) if self.is_rated(door, passed, now));
        if action.opens() || rated || believed == Some(ScenarioState::Active) {
            self.rates.admit(&origin.target, now.mono)?;
        }
        self.enter(origin, action, now);
        match origin.target.clone() {
            target @ Target::Door(_) if passed.hold.is_some() => {
                self.take_change(target, origin, passed, now)
            }
            target @ Target::Calendar(_) => self.take_change(target, origin, passed, now),
            Target::Door(door) => self.commands.unlock(door, origin.clone(), passed.deadline, now),
            Target::Scenario(scenario) => {
                if action == Action::Activate {
                    self.interrupt_drill(now);
                }
                let wish = Wish { scenario: scenario.clone(), action, deadline: passed.deadline };
                let belief = Belief { state: believed, as_of: self.last_call };
                if action == Action::Activate {
                    self.opening = Turn(self.opening.0 + 1);
                }
                let effects = self.commands.scenario(wish, origin.clone(), &belief, now);
                if action == Action::Activate {
                    self.end_holds_under(&scenario, now);
                }
                Ok(effects)
            }
        }
    }

    /// An equal command under way counts for this one too, and another change of the same calendar has to end first.
    fn judge_equal(
        &mut self,
        origin: &mut Origin,
        passed: &Passed,
        action: Action,
        now: Now,
    ) -> Result<(), Refusal> {
        let merges_change = |asked| self.holds.tasks.merges(&origin.target, asked).then_some(Merging::Equal);
        let merges = match &origin.target {
            Target::Calendar(_) => passed.hold.as_ref().and_then(|(asked, _)| merges_change(asked)),
            Target::Door(door) => match &passed.hold {
                Some((asked, _)) => merges_change(asked),
                None => self.commands.merges_unlock(door, origin.user.as_ref(), now.mono),
            },
            Target::Scenario(scenario) => {
                self.commands.merges_scenario(scenario, action).then_some(Merging::Equal)
            }
        };
        if let Some(merging) = merges {
            if let (Action::Activate, None, Target::Scenario(scenario)) = (action, &origin.id, &origin.target)
            {
                // The broker may deliver it again, in this run or after a crash.
                self.commands.note_nameless(scenario, now.mono);
                origin.id = Some(self.new_id());
            }
            let within = self.merge_rates.admit(&origin.target, now.mono);
            // A lockdown that is under way is never told to be refused; beyond the rate its id is not remembered, and a
            // repeat is merged again.
            let is_counted = within.is_ok();
            if action.opens() {
                within?;
            }
            let id = origin.id.as_ref().filter(|_| is_counted);
            if let Some(id) = id {
                self.ids.remember(id, Matter::of(action, origin), now);
            }
            let text = match merging {
                Merging::Equal => "an equal command is under way; its result counts for this one too",
                Merging::OtherPerson => {
                    "the door is being unlocked, or was just now, for another person or without one; this command was not \
                     sent, so the vendor checks no access for it, and its log names the other alone"
                }
            };
            return Err(Refusal { uses_id: id.is_some(), ..Refusal::merged(Reason::Merged, text) });
        }
        if matches!(origin.target, Target::Calendar(_)) && self.holds.tasks.is_busy(&origin.target) {
            let text = "another change of the calendar is under way; try again when it has ended";
            return Err(Refusal::refused(Reason::RateLimited, text));
        }
        Ok(())
    }

    /// What a fresh list says of a scenario.
    fn believed(&self, target: &Target, now: Now) -> Option<ScenarioState> {
        match target {
            Target::Scenario(id) if self.poller.is_fresh(List::Scenarios, now) => {
                self.scenarios.get(id).map(|record| record.scenario.state.clone())
            }
            Target::Scenario(_) | Target::Door(_) | Target::Calendar(_) => None,
        }
    }

    /// Gives a command an id, if it has none, and remembers it.
    pub(super) fn enter(&mut self, origin: &mut Origin, intent: impl Into<Intent>, now: Now) {
        let matter = Matter::of(intent, origin);
        let own = self.new_id();
        self.ids.remember(origin.id.get_or_insert(own), matter, now);
    }

    /// An id for a command that brought none.
    fn new_id(&mut self) -> String {
        self.assigned += 1;
        format!("{}-{}", self.run, self.assigned)
    }
}

/// Whether the securing connection may take the message on as well.
fn may_come_twice(message: &Message) -> bool {
    Order::read(Kind::Scenario, &message.payload)
        .is_ok_and(|order| matches!(order.verb, Verb::Activate | Verb::Release | Verb::Drill))
}
