//! What Home Assistant was told, in this run and earlier ones, so that all of it can be taken back.
//!
//! The register decides what each topic of discovery is to hold; [`super::changeover`] decides when.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::changeover::{Changeover, Step};
use crate::{
    hass::{Announcement, Config, Entity, retired},
    model::DoorId,
};

/// The most retired entities that wait for Home Assistant; beyond it the first ones are forgotten.
const MAX_RETIRED: usize = 1_000;

/// One device as it was announced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Told {
    /// The door that it is, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) door: Option<DoorId>,
    /// What it was called.
    pub(super) name: String,
    /// Its discovery topics, and the entities under each by their keys.
    pub(super) topics: BTreeMap<String, BTreeMap<String, Known>>,
}

/// One entity as it was announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    #[serde(flatten)]
    pub(super) entity: Entity,
    /// Whether it was taken back, and Home Assistant may not have heard of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) retired: bool,
    /// Whether the present config lacks it because it may still return. A Home Assistant that started since does not
    /// have it, and would not hear that it is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) absent: bool,
}

/// One entity under one topic of one device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) device: String,
    pub(super) topic: String,
    pub(super) key: String,
}

/// What discovery topics are to hold.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Notice {
    /// To be marked for migration, before anything else.
    pub(super) marked: Vec<String>,
    /// To hold a config.
    pub(super) messages: Vec<(String, Value)>,
    /// To hold nothing.
    pub(super) cleared: Vec<String>,
}

impl Notice {
    /// Takes another one in.
    pub(super) fn extend(&mut self, other: Self) {
        self.marked.extend(other.marked);
        self.messages.extend(other.messages);
        self.cleared.extend(other.cleared);
    }

    /// Under a topic that is announced no more: what was taken back is taken out while the rest may still return.
    fn thin_out(&mut self, topic: &str, known: &mut BTreeMap<String, Known>, device: (&str, &str)) {
        let gone = || known.iter().filter(|(_, known)| known.retired);
        if gone().count() == known.len() {
            self.cleared.push(topic.to_owned());
        } else if gone().next().is_some() {
            let entities = gone().map(|(key, known)| (key, &known.entity));
            self.messages.push((topic.to_owned(), retired::removals(device, entities)));
            note_absent(known, |_| false);
        }
    }
}

/// Every device that was announced and is not known to be forgotten.
#[derive(Debug, Default)]
pub(super) struct Register {
    devices: BTreeMap<String, Told>,
    changed: bool,
}

impl Register {
    /// What earlier runs announced.
    pub(super) const fn remembered(devices: BTreeMap<String, Told>) -> Self {
        Self { devices, changed: false }
    }

    /// What a later run must know.
    pub(super) fn remember(&mut self) -> BTreeMap<String, Told> {
        self.changed = false;
        self.devices.clone()
    }

    /// Whether that changed since it was asked for.
    pub(super) const fn is_changed(&self) -> bool {
        self.changed
    }

    /// All devices.
    pub(super) fn devices(&self) -> impl Iterator<Item = (&String, &Told)> {
        self.devices.iter()
    }

    /// The device, if it was announced.
    pub(super) fn device(&self, identifier: &str) -> Option<&Told> {
        self.devices.get(identifier)
    }

    /// Topics on which nothing is left: an earlier run has cleared them, or meant to.
    pub(super) fn empty_topics(&self) -> impl Iterator<Item = &String> {
        let topics = self.devices.values().flat_map(|told| &told.topics);
        topics.filter(|(_, known)| known.values().all(|known| known.retired)).map(|(topic, _)| topic)
    }

    /// Takes an announcement in. Entities that it lacks are taken back, but for those that `keeps` names: whether they
    /// are gone is not known yet.
    ///
    /// Where the device is known under other topics, they are marked first and the announcement is held; entities that
    /// another device still has are left out. The changeover says when to try again.
    pub(super) fn announce(
        &mut self,
        mut announcement: Announcement,
        door: Option<&DoorId>,
        keeps: impl Fn(&str) -> bool,
        changeover: &mut Changeover,
    ) -> Notice {
        let mut notice = Notice::default();
        let device = announcement.device.clone();
        if changeover.holds(&device) {
            return notice;
        }
        leave_out(&mut announcement.configs, &changeover.arriving(&device));
        let leaving = changeover.leaving(&device);
        let ids: BTreeSet<&str> = announcement
            .configs
            .iter()
            .flat_map(|config| config.entities.values())
            .map(|entity| entity.unique_id.as_str())
            .collect();
        let topics: BTreeSet<&str> =
            announcement.configs.iter().map(|config| config.topic.as_str()).collect();
        let told = self.devices.entry(device.clone()).or_default();
        let before = told.clone();
        let moves = |known: &Known| !known.retired && ids.contains(known.entity.unique_id.as_str());
        let elsewhere = |(topic, known): (&String, &BTreeMap<String, Known>)| {
            let old = !topics.contains(topic.as_str()) && !leaving.contains(topic);
            (old && known.values().any(moves)).then(|| topic.clone())
        };
        let old: BTreeSet<String> = told.topics.iter().filter_map(elsewhere).collect();
        if !old.is_empty() {
            notice.marked.extend(old.iter().cloned());
            changeover.begin(Step::Marked { device, topics: old });
            return notice;
        }
        let mut retired = Vec::new();
        for (topic, known) in &mut told.topics {
            if !topics.contains(topic.as_str()) && !leaving.contains(topic) {
                let place =
                    |key: &String| Place { device: device.clone(), topic: topic.clone(), key: key.clone() };
                retired.extend(retire(known, &keeps).iter().map(place));
                notice.thin_out(topic, known, (&device, &announcement.name));
            }
        }
        for config in announcement.configs {
            let known = told.topics.entry(config.topic.clone()).or_default();
            let missing = |key: &str| config.entities.contains_key(key) || keeps(key);
            let place = |key: &String| Place {
                device: device.clone(),
                topic: config.topic.clone(),
                key: key.clone(),
            };
            retired.extend(retire(known, missing).iter().map(place));
            note_absent(known, |key| config.entities.contains_key(key));
            notice.messages.push((config.topic.clone(), enter(known, config)));
        }
        told.name = announcement.name;
        told.door = door.cloned();
        self.changed |= *told != before;
        if told.topics.is_empty() {
            self.devices.remove(&device);
        }
        self.retire(retired, changeover);
        notice
    }

    /// Takes the entities of an announcement back from other devices that had them, doors apart. Where they keep their
    /// topic, its new config moves them; else they are left out until Home Assistant has let go of them.
    pub(super) fn take_over(&mut self, announcement: &Announcement, changeover: &mut Changeover) {
        let entities = announcement.configs.iter().flat_map(|config| config.entities.values());
        let ids: BTreeSet<&str> = entities.map(|entity| entity.unique_id.as_str()).collect();
        let topics: BTreeSet<&str> =
            announcement.configs.iter().map(|config| config.topic.as_str()).collect();
        let (mut places, mut freed) = (Vec::new(), BTreeSet::new());
        let others = self
            .devices
            .iter_mut()
            .filter(|(device, told)| told.door.is_none() && **device != announcement.device);
        for (device, told) in others {
            let before = told.topics.len();
            told.topics.retain(|topic, _| !topics.contains(topic.as_str()));
            self.changed |= told.topics.len() != before;
            for (topic, known) in &mut told.topics {
                // What was taken back already counts too: a crash may have come before Home Assistant heard of it.
                let same =
                    known.iter_mut().filter(|(_, known)| ids.contains(known.entity.unique_id.as_str()));
                for (key, known) in same {
                    self.changed |= !known.retired;
                    known.retired = true;
                    freed.insert(known.entity.unique_id.clone());
                    places.push(Place { device: device.clone(), topic: topic.clone(), key: key.clone() });
                }
            }
        }
        self.devices.retain(|_, told| !told.topics.is_empty());
        if !freed.is_subset(&changeover.arriving(&announcement.device)) {
            changeover.begin(Step::Removed(places));
            changeover.begin(Step::Freed { device: announcement.device.clone(), ids: freed });
        }
    }

    /// Tells what was taken back of a device that is not announced, because the rest of it may still return.
    pub(super) fn thin_out(&mut self, device: &str, changeover: &Changeover) -> Notice {
        let mut notice = Notice::default();
        let Some(told) = self.devices.get_mut(device).filter(|_| !changeover.holds(device)) else {
            return notice;
        };
        let leaving = changeover.leaving(device);
        let before = told.topics.clone();
        for (topic, known) in told.topics.iter_mut().filter(|(topic, _)| !leaving.contains(*topic)) {
            notice.thin_out(topic, known, (device, &told.name));
        }
        self.changed |= told.topics != before;
        notice
    }

    /// Takes a whole device back.
    pub(super) fn remove(&mut self, device: &str, changeover: &mut Changeover) -> Notice {
        let mut places = Vec::new();
        let mut notice = Notice::default();
        for (topic, known) in self.devices.get_mut(device).into_iter().flat_map(|told| &mut told.topics) {
            let place =
                |key: &String| Place { device: device.to_owned(), topic: topic.clone(), key: key.clone() };
            places.extend(retire(known, |_| false).iter().map(place));
            notice.cleared.push(topic.clone());
        }
        self.retire(places, changeover);
        notice
    }

    /// The entities that were taken back while Home Assistant may have been away, but for those that live on under
    /// another device: to announce them here once more would take them from it.
    pub(super) fn retired(&self) -> Vec<Place> {
        if self.all().all(|known| !known.retired) {
            return Vec::new();
        }
        let live = self.live();
        let mut places = Vec::new();
        for (device, told) in &self.devices {
            for (topic, known) in &told.topics {
                let gone = known
                    .iter()
                    .filter(|(_, known)| known.retired && !live.contains(&known.entity.unique_id));
                let place =
                    |key: &String| Place { device: device.clone(), topic: topic.clone(), key: key.clone() };
                places.extend(gone.map(|(key, _)| place(key)));
            }
        }
        places
    }

    /// The unique ids of all entities that are announced and not taken back.
    pub(super) fn live(&self) -> BTreeSet<String> {
        self.all().filter(|known| !known.retired).map(|known| known.entity.unique_id.clone()).collect()
    }

    /// Of these places, those that are still taken back, by device and topic.
    pub(super) fn still_retired(
        &self,
        places: &[Place],
    ) -> BTreeMap<(String, String), BTreeMap<String, Entity>> {
        let mut found: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for place in places {
            let told = self.devices.get(&place.device);
            let known = told.and_then(|told| told.topics.get(&place.topic)?.get(&place.key));
            if let Some(known) = known.filter(|known| known.retired) {
                let topic = found.entry((place.device.clone(), place.topic.clone())).or_default();
                topic.insert(place.key.clone(), known.entity.clone());
            }
        }
        found
    }

    /// Forgets what is still taken back of these places. Gives the devices of which others stay: their configs hold
    /// marks that have done their work.
    pub(super) fn forget(&mut self, places: &[Place]) -> BTreeSet<String> {
        let mut stay = BTreeSet::new();
        for ((device, topic), entities) in self.still_retired(places) {
            self.changed = true;
            let Some(told) = self.devices.get_mut(&device) else { continue };
            if let Some(known) = told.topics.get_mut(&topic) {
                known.retain(|key, _| !entities.contains_key(key));
                if !known.is_empty() {
                    stay.insert(device.clone());
                    continue;
                }
            }
            told.topics.remove(&topic);
            if told.topics.is_empty() {
                self.devices.remove(&device);
            }
        }
        stay
    }

    /// Forgets topics of a device that others have replaced. What did not move with them was unloaded by the mark for
    /// migration, not removed: Home Assistant is to be told at its next birth.
    pub(super) fn forget_topics(&mut self, device: &str, topics: &BTreeSet<String>) {
        self.changed = true;
        let moved: BTreeSet<String> = self
            .devices
            .iter()
            .flat_map(|(other, told)| told.topics.iter().map(move |(topic, known)| (other, topic, known)))
            .filter(|(other, topic, _)| *other != device || !topics.contains(*topic))
            .flat_map(|(.., known)| known.values())
            .filter(|known| !known.retired)
            .map(|known| known.entity.unique_id.clone())
            .collect();
        let Some(told) = self.devices.get_mut(device) else { return };
        for known in
            told.topics.iter_mut().filter(|(topic, _)| topics.contains(*topic)).map(|(_, known)| known)
        {
            known.retain(|_, known| !moved.contains(&known.entity.unique_id));
            for known in known.values_mut() {
                known.retired = true;
            }
        }
        told.topics.retain(|_, known| !known.is_empty());
        if told.topics.is_empty() {
            self.devices.remove(device);
        }
    }

    fn all(&self) -> impl Iterator<Item = &Known> {
        self.devices.values().flat_map(|told| told.topics.values()).flat_map(BTreeMap::values)
    }

    fn retire(&mut self, places: Vec<Place>, changeover: &mut Changeover) {
        if places.is_empty() {
            return;
        }
        self.changed = true;
        let is_absent = |place: &Place| {
            let told = self.devices.get(&place.device);
            told.and_then(|told| told.topics.get(&place.topic)?.get(&place.key))
                .is_some_and(|known| known.absent)
        };
        let (absent, present): (Vec<Place>, Vec<Place>) = places.into_iter().partition(is_absent);
        changeover.retire(present);
        changeover.greet(absent);
        let waiting = self.retired();
        if let Some(beyond) = waiting.len().checked_sub(MAX_RETIRED).filter(|beyond| *beyond > 0) {
            self.forget(waiting.get(..beyond).unwrap_or_default());
        }
    }
}

/// Takes back what stays neither by key nor already is taken back; gives the keys.
fn retire(known: &mut BTreeMap<String, Known>, stays: impl Fn(&str) -> bool) -> Vec<String> {
    let mut keys = Vec::new();
    for (key, known) in known.iter_mut().filter(|(key, known)| !known.retired && !stays(key)) {
        known.retired = true;
        keys.push(key.clone());
    }
    keys
}

/// Notes what a config lacks though it was not taken back, where there is one that replaces the last.
fn note_absent(known: &mut BTreeMap<String, Known>, has: impl Fn(&str) -> bool) {
    for (_, known) in known.iter_mut().filter(|(key, known)| !known.retired && !has(key)) {
        known.absent = true;
    }
}

/// Leaves entities out of configs, and out those of which nothing is left.
fn leave_out(configs: &mut Vec<Config>, ids: &BTreeSet<String>) {
    if ids.is_empty() {
        return;
    }
    for config in configs.iter_mut() {
        let out: Vec<String> = config
            .entities
            .extract_if(.., |_, entity| ids.contains(&entity.unique_id))
            .map(|(key, _)| key)
            .collect();
        if let Some(components) = config.message.get_mut("components").and_then(Value::as_object_mut) {
            components.retain(|key, _| !out.contains(key));
        }
    }
    configs.retain(|config| !config.entities.is_empty());
}

/// Enters a config, and gives its message with a mark for each entity that was taken back.
fn enter(known: &mut BTreeMap<String, Known>, config: Config) -> Value {
    for (key, entity) in config.entities {
        known.insert(key, Known { entity, retired: false, absent: false });
    }
    let mut message = config.message;
    if let Some(components) = message.get_mut("components").and_then(Value::as_object_mut) {
        for (key, known) in known.iter().filter(|(_, known)| known.retired) {
            components.insert(key.clone(), retired::removal(&known.entity));
        }
    }
    message
}
