//! Messages come in: birth, refresh and commands, the latter through the gate.

use std::time::Duration;

use super::{
    Bridge,
    admission::Repeat,
    commands::{Belief, Effect, Wish},
    gate::{self, Facts, Passed, Refusal, TargetFacts},
    poller::List,
    report::{Origin, Report, Response},
};
use crate::{
    hass::{
        Destination,
        payload::{Kind, Malformed, Order},
    },
    model::{Action, Intent, Message, Now, Outcome, Reason, ScenarioState, Target},
};

/// Home Assistant gets everything again this long after its birth message, at random.
const BIRTH_DELAY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// The least time between two such rounds.
const BIRTH_PAUSE: Duration = Duration::from_secs(30);
/// The least time between two readings that somebody asks for from outside.
const REFRESH_PAUSE: Duration = Duration::from_secs(10);

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
                Ok(id) => self.command(Kind::Door, Target::Door(id), message, now),
                Err(error) => tracing::info!(%error, "a command names an impossible door; refused"),
            },
            Some(Destination::Scenario(id)) => match id.parse() {
                Ok(id) => self.command(Kind::Scenario, Target::Scenario(id), message, now),
                Err(error) => tracing::info!(%error, "a command names an impossible scenario; refused"),
            },
            Some(Destination::Refresh) if !message.retain => self.refresh(&List::ALL, now),
            Some(Destination::LogLevel) if !message.retain => self.hear_log_level(&message.payload),
            Some(Destination::Restart) if !message.retain => self.hear_restart(&message.payload, now),
            Some(
                Destination::Refresh | Destination::LogLevel | Destination::Restart | Destination::Nowhere,
            )
            | None => {
                tracing::debug!(topic = ?message.topic, "a message that means nothing");
            }
        }
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

    /// Reads lists soon, however often it is asked for.
    pub(super) fn refresh(&mut self, lists: &[List], now: Now) {
        let at = match self.last_refresh {
            Some(planned) if planned > now.mono => planned,
            Some(last) => now.mono.max(last + REFRESH_PAUSE),
            None => now.mono,
        };
        self.last_refresh = Some(at);
        for list in lists {
            self.poller.hurry(*list, at);
        }
    }

    fn command(&mut self, kind: Kind, target: Target, message: &Message, now: Now) {
        if message.retain && message.payload.is_empty() {
            // Somebody clears a retained command.
            return;
        }
        self.books.receive();
        let order = Order::read(kind, &message.payload);
        let mut origin = self.origin(target, order.as_ref(), message, now);
        let passed = gate::judge(message, order, &self.facts(&origin.target), now);
        let taken = passed.and_then(|passed| self.admit(&mut origin, &passed, now));
        match taken {
            Ok(effects) => self.perform(effects, now),
            Err(mut refusal) => {
                // A late copy of a command must not be told to have expired where the first one was executed.
                if let (Reason::TooOld, Some(intent)) = (refusal.reason, origin.verb.and_then(gate::intent)) {
                    refusal = self.judge_repeat(&origin, intent, now).err().unwrap_or(refusal);
                }
                if refusal.reason == Reason::Retained {
                    self.warn_of_retained(&origin.target, now);
                }
                if refusal.reason == Reason::NotAllowed {
                    // A toggle may have been switched on since the list was read.
                    self.refresh(&[List::Doors], now);
                }
                self.report(&Report::refusal(&origin, refusal, now.utc), now);
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
        let (verb, id, by) = match order {
            Ok(order) => (Some(order.verb), order.id.clone(), order.by.clone()),
            Err(malformed) => (None, malformed.id.clone(), None),
        };
        let waited = now.mono.saturating_duration_since(message.received_at);
        Origin {
            target,
            verb,
            passed: false,
            id,
            by,
            received_at: now.utc.checked_sub(waited).unwrap_or(now.utc),
            response: self.response(message),
        }
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

    fn facts(&self, target: &Target) -> Facts<'_> {
        let target = match target {
            Target::Door(id) => self.doors.listed(id).map_or(TargetFacts::Unknown, |(door, _)| {
                TargetFacts::Door { door, settings: self.settings.door_settings.get(id) }
            }),
            Target::Scenario(id) if self.scenarios.get(id).is_some() => TargetFacts::Scenario,
            Target::Scenario(_) => TargetFacts::Unknown,
        };
        Facts {
            stopping: self.stopping,
            session_since: self.link.session_since,
            allowed: &self.settings.commands,
            target,
        }
    }

    /// A command under an id that is known is not executed again, whatever its age: what came of it is said again.
    fn judge_repeat(&mut self, origin: &Origin, intent: Intent, now: Now) -> Result<(), Refusal> {
        let Some(id) = &origin.id else { return Ok(()) };
        match self.ids.check(id, intent, &origin.target, now) {
            Repeat::New => Ok(()),
            Repeat::Same(earlier) => {
                if let Some(mut earlier) = earlier {
                    earlier.origin.response.clone_from(&origin.response);
                    self.say(&earlier);
                }
                let message =
                    "the id was used before for the same command; its result was published again".to_owned();
                Err(Refusal { outcome: Outcome::Merged, reason: Reason::Duplicate, message })
            }
            Repeat::Conflict(refusal) => Err(refusal),
        }
    }

    /// The part of the gate that remembers: duplicates, equal commands under way, rates. Then the command is taken on.
    fn admit(&mut self, origin: &mut Origin, passed: &Passed, now: Now) -> Result<Vec<Effect>, Refusal> {
        origin.passed = true;
        self.judge_repeat(origin, passed.intent, now)?;
        let action = match passed.intent {
            Intent::Act(action) => action,
            Intent::Drill => return self.admit_drill(origin, passed.deadline, now),
        };
        let merges = match &origin.target {
            Target::Door(door) => self.commands.merges_unlock(door, now.mono),
            Target::Scenario(scenario) => self.commands.merges_scenario(scenario, action),
        };
        if merges {
            if let Some(id) = &origin.id {
                self.ids.remember(id, action, &origin.target, now);
            }
            let text = "an equal command is under way; its result counts for this one too";
            return Err(Refusal {
                outcome: Outcome::Merged,
                reason: Reason::Merged,
                message: text.to_owned(),
            });
        }
        let believed = match &origin.target {
            Target::Scenario(id) if self.poller.is_fresh(List::Scenarios, now) => {
                self.scenarios.get(id).map(|record| record.scenario.state.clone())
            }
            Target::Scenario(_) | Target::Door(_) => None,
        };
        // An activate is never held back, unless it only asks for a look at what is active already.
        if action.opens() || believed == Some(ScenarioState::Active) {
            self.rates.admit(&origin.target, now.mono)?;
        }
        self.enter(origin, action, now);
        match origin.target.clone() {
            Target::Door(door) => self.commands.unlock(door, origin.clone(), passed.deadline, now),
            Target::Scenario(scenario) => {
                if action == Action::Activate {
                    self.interrupt_drill(now);
                }
                let wish = Wish { scenario, action, deadline: passed.deadline };
                let belief = Belief { state: believed, as_of: self.last_call };
                Ok(self.commands.scenario(wish, origin.clone(), &belief, now))
            }
        }
    }
    /// Gives a command an id, if it has none, and remembers it.
    pub(super) fn enter(&mut self, origin: &mut Origin, intent: impl Into<Intent>, now: Now) {
        self.assigned += 1;
        let id = origin.id.get_or_insert_with(|| format!("{}-{}", self.run, self.assigned));
        self.ids.remember(id, intent, &origin.target, now);
    }
}
