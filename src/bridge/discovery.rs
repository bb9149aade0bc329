//! Discovery as the core does it: announce in a session, take back what is gone, clean up behind earlier runs.

use std::{collections::BTreeSet, time::Instant};

use super::{
    Bridge, announce::Announced, changeover::Given, holds::HOLD_LEAVES, memory::Memory, problems::Problem,
    register::Notice, retained::Rank, view,
};
use crate::{
    hass::{HoldOffer, Offer, Topics, payload, retired},
    model::{DoorId, Now, Publication, Qos, ScenarioId, Target},
};

/// The topics of a door or scenario that are retained.
const DOOR_LEAVES: [&str; 8] =
    ["state", "availability", "position", "held_open", "forced_open", "tamper", "fire", "attributes"];
const SCENARIO_LEAVES: [&str; 4] = ["state", "availability", "doors_confirmed", "attributes"];
/// The gateway's own.
const BRIDGE_LEAVES: [&str; 20] = [
    "journal_head",
    "lockdown_alarm",
    "lockdown_alarm_attributes",
    "version",
    "last_poll",
    "started",
    "key_expires",
    "mqtt_unencrypted",
    "token",
    "log_level",
    "event_lag",
    "budget_left",
    "problem",
    "problem_active",
    "problem_attributes",
    "webhook",
    "webhook_missed",
    "lockdown_ready",
    "lockdown_ready_attributes",
    "round_trip",
];

impl Bridge {
    /// Clears what earlier runs left behind and nothing of this one replaces.
    pub(super) fn sweep_leftovers(&mut self, memory: &Memory) {
        for topic in self.announcements.leftovers() {
            self.retained.clear(Rank::Leaving, &topic);
        }
        let mut topics = memory.swept.clone();
        topics.extend(self.sweep_holds());
        topics.extend(self.sweep_calendars());
        if !memory.base_topic.is_empty() && memory.base_topic != self.topics.base() {
            topics.extend(former_topics(memory));
        }
        // Last of all: entities must not lose what they show before they are announced with other topics.
        for topic in &topics {
            self.retained.clear(Rank::Gateway, topic);
        }
        self.announcements.sweep(topics);
    }

    /// Moves changes of topics on, while there is a session.
    pub(super) fn move_discovery_on(&mut self, now: Now) {
        if self.link.session_since.is_none() {
            return;
        }
        let given = self.given();
        let turn = self.announcements.turn(given, now.mono);
        for topic in turn.cleared {
            self.retained.clear(Rank::Leaving, &topic);
        }
        for topic in turn.repeated {
            self.retained.again(&topic);
        }
        let mut again = turn.again;
        again.retain(|(topic, _)| !self.retained.again(topic));
        for (topic, message) in turn.calls.into_iter().chain(again) {
            let payload = view::bytes_of(&message);
            self.outbox.push(Publication {
                topic,
                payload,
                qos: Qos::AtLeastOnce,
                retain: false,
                correlation: None,
            });
        }
    }

    /// Announces what waits for it, while there is a session.
    pub(super) fn announce_what_waits(&mut self) {
        if self.link.session_since.is_none() {
            return;
        }
        for what in self.announcements.take_waiting() {
            match what {
                Announced::Shared => {
                    let (parent, children) =
                        self.announcements.scenarios(&self.scenarios, &self.doors, &self.ghost_scenarios);
                    self.publish_notice(Rank::Parent, parent);
                    self.publish_notice(Rank::Discovery, children);
                }
                Announced::Door(id) => self.announce_door(&id),
            }
        }
        self.announcements.repeat_changed();
    }

    /// When [`Bridge::move_discovery_on`] has something to do.
    pub(super) fn next_turn(&self, now: Now) -> Option<Instant> {
        self.link.session_since?;
        self.announcements.next_turn(self.given(), now.mono)
    }

    fn given(&self) -> Given {
        if self.has_publication() {
            Given::Partly
        } else if self.link.proven {
            Given::Proven
        } else {
            Given::Wholly
        }
    }

    /// Everything is to be announced anew.
    pub(super) fn announce_all(&mut self) {
        self.announcements.want(Announced::Shared);
        for (id, ..) in self.doors.iter() {
            self.announcements.want(Announced::Door(id.clone()));
        }
    }

    /// A door is gone.
    pub(super) fn retract_door(&mut self, id: &DoorId) {
        tracing::info!(door_id = %id, "a door is gone");
        let notice = self.announcements.retract_door(id);
        self.publish_notice(Rank::Discovery, notice);
        let target = Target::Door(id.clone());
        self.note_gone(&target);
        if self.holds.forget(id) {
            self.sweep(&target, &HOLD_LEAVES);
        }
        self.sweep(&target, &DOOR_LEAVES);
    }

    /// A scenario is gone.
    pub(super) fn retract_scenario(&mut self, id: ScenarioId) {
        tracing::info!(scenario_id = %id, "a scenario is gone");
        let target = Target::Scenario(id);
        self.note_gone(&target);
        self.sweep(&target, &SCENARIO_LEAVES);
    }

    /// Nothing of what earlier runs left on the broker is shown as if it were alive before it was read in this one.
    pub(super) fn show_ghosts(&mut self) {
        let doors = self.ghost_doors.ids().iter().cloned().map(Target::Door);
        let scenarios = self.ghost_scenarios.ids().iter().cloned().map(Target::Scenario);
        for target in doors.chain(scenarios).collect::<Vec<_>>() {
            self.show(Rank::Availability, self.topics.of(&target, "availability"), payload::OFFLINE);
        }
    }

    /// Takes back doors of earlier runs that are gone.
    pub(super) fn judge_ghost_doors(&mut self, listed: &BTreeSet<DoorId>, complete: bool, now: Now) {
        let takes = |id: &DoorId| self.settings.doors.takes(id);
        let known = complete.then(|| self.doors.iter().map(|(id, ..)| id.clone()).collect());
        for id in self.ghost_doors.observe(listed, known, takes, now.mono) {
            self.shown_changed = true;
            self.retract_door(&id);
        }
    }

    /// The same for scenarios. The devices that had them are announced without them.
    pub(super) fn judge_ghost_scenarios(&mut self, listed: &BTreeSet<ScenarioId>, complete: bool, now: Now) {
        let takes = |id: &ScenarioId| self.settings.scenarios.takes(id);
        let had = !self.ghost_scenarios.ids().is_empty();
        let known = complete.then(|| self.scenarios.iter().map(|(id, _)| id.clone()).collect());
        for id in self.ghost_scenarios.observe(listed, known, takes, now.mono) {
            self.shown_changed = true;
            self.retract_scenario(id);
        }
        if had {
            self.announcements.want(Announced::Shared);
        }
    }

    fn announce_door(&mut self, id: &DoorId) {
        let Some((door, record)) = self.doors.listed(id) else { return };
        let settings = self.settings.door_settings.get(id);
        let chosen = settings.and_then(|settings| settings.name.as_deref());
        let offer = Offer {
            unlock: !self.settings.commands.read_only
                && settings.and_then(|settings| settings.unlock).unwrap_or(self.settings.commands.unlock),
            hold: self.may_hold(id).then(|| HoldOffer {
                longest: u32::try_from(self.settings.holds.longest.as_secs() / 60).unwrap_or(u32::MAX),
            }),
            exception: self.settings.calendars.show,
            tamper: self.doors.tells_of(door, record, Problem::Tamper),
            fire: self.doors.tells_of(door, record, Problem::Fire),
        };
        let notice = self.announcements.door(door, chosen, offer);
        self.publish_notice(Rank::Discovery, notice);
    }

    fn sweep(&mut self, target: &Target, leaves: &[&str]) {
        let topics: BTreeSet<String> = leaves.iter().map(|leaf| self.topics.of(target, leaf)).collect();
        for topic in &topics {
            self.retained.clear(Rank::State, topic);
        }
        self.announcements.sweep(topics);
    }

    fn publish_notice(&mut self, rank: Rank, notice: Notice) {
        for topic in notice.marked {
            self.show(Rank::Leaving, topic, view::bytes_of(&retired::migration()));
        }
        for topic in notice.cleared {
            self.retained.clear(Rank::Leaving, &topic);
        }
        for (topic, message) in notice.messages {
            if self.retained.set(rank, Qos::AtLeastOnce, topic.clone(), view::bytes_of(&message)) {
                self.announcements.note_changed(topic);
            }
        }
    }
}

/// What is retained under a base topic that is not used any more.
fn former_topics(memory: &Memory) -> BTreeSet<String> {
    let former = Topics::new(memory.base_topic.clone());
    let doors = memory.doors.iter().map(|id| (Target::Door(id.clone()), &DOOR_LEAVES[..]));
    let holds = memory.holds.shown.iter().map(|id| (Target::Door(id.clone()), &HOLD_LEAVES[..]));
    let doors = doors.chain(holds);
    let scenarios = memory.scenarios.iter().map(|id| (Target::Scenario(id.clone()), &SCENARIO_LEAVES[..]));
    let things = doors.chain(scenarios).flat_map(|(target, leaves)| {
        let former = &former;
        leaves.iter().map(move |leaf| former.of(&target, leaf))
    });
    let calendars = memory.calendars.shown.iter().map(|id| former.calendar(id));
    let own = BRIDGE_LEAVES.iter().map(|leaf| former.bridge(leaf));
    things.chain(calendars).chain(own).chain([former.availability(), former.api_availability()]).collect()
}
