//! Discovery: what is to be announced, when it may be, and how it is taken back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use serde_json::Value;

use super::{
    changeover::{Changeover, Given, Step},
    doors::Doors,
    ghosts::Ghosts,
    memory::Memory,
    register::{Notice, Place, Register, Told},
    scenarios::Scenarios,
    slugs::Slugs,
    view,
};
use crate::{
    hass::{Announcement, Announcer, Device, DoorFacts, Offer, ScenarioFacts, Style, retired},
    model::{Door, DoorId, ScenarioId, SiteId},
};

/// No config of a whole device may be larger: brokers exist that take little more (a door's has about 3 KB).
const LARGEST_CONFIG: usize = 100 * 1024;
/// What a packet holds beside its payload, at most: header, topic and properties.
const PACKET_OVERHEAD: usize = 1_024;
/// What it needs beside topic and payload, as the MQTT session counts it.
const LEAST_OVERHEAD: usize = 64;

/// What may have to be announced.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Announced {
    /// The gateway, the sites and their scenarios.
    Shared,
    /// A door.
    Door(DoorId),
}

/// What a turn of the changeover wants.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Topics to hold nothing.
    pub(super) cleared: Vec<String>,
    /// Topics whose present config, or lack of one, is to be published once more. Where this run has none because the
    /// device may still turn up, the message stands for it, without being retained.
    pub(super) again: Vec<(String, Value)>,
    /// Topics whose present config is to be published once more.
    pub(super) repeated: Vec<String>,
    /// Configs to be published once, without being retained.
    pub(super) calls: Vec<(String, Value)>,
}

/// What is announced, in this run and earlier ones.
#[derive(Debug)]
pub(super) struct Announcements {
    announcer: Announcer,
    slugs: Slugs,
    register: Register,
    changeover: Changeover,
    /// What waits for a session, or for its turn.
    waiting: BTreeSet<Announced>,
    /// The most bytes that the config of a whole device may have.
    limit: usize,
    /// The most bytes that a packet may have.
    packet: usize,
    /// Devices, and topics of entities, of which it was said that their config is too large.
    said_large: BTreeSet<String>,
    /// Topics whose config is another than before.
    altered: BTreeSet<String>,
    changed: bool,
}

impl Announcements {
    /// Nothing is announced yet. What earlier runs announced is known, and objects keep their slugs.
    pub(super) fn new(announcer: Announcer, memory: &Memory) -> Self {
        Self {
            announcer,
            slugs: Slugs::remembered(memory.slugs.clone()),
            register: Register::remembered(memory.devices.clone()),
            changeover: Changeover::default(),
            waiting: BTreeSet::from([Announced::Shared]),
            limit: LARGEST_CONFIG,
            packet: usize::MAX,
            said_large: BTreeSet::new(),
            altered: BTreeSet::new(),
            changed: false,
        }
    }

    /// Announces by other decisions from now on; topics and style stay.
    pub(super) fn adopt(&mut self, announcer: Announcer) {
        self.announcer = announcer;
    }

    /// Enters what a later run must know.
    pub(super) fn remember(&mut self, memory: &mut Memory) {
        self.changed = false;
        memory.slugs = self.slugs.all().clone();
        memory.devices = self.register.remember();
        memory.swept = self.changeover.swept().cloned().collect();
    }

    /// Whether that changed since it was asked for.
    pub(super) const fn is_changed(&self) -> bool {
        self.changed || self.register.is_changed()
    }

    /// What is to be cleared at the start: topics of which an earlier run left nothing, and everything where nothing
    /// is to be announced.
    pub(super) fn leftovers(&mut self) -> Vec<String> {
        if self.announcer.style == Style::Off {
            let devices: Vec<String> = self.register.devices().map(|(device, _)| device.clone()).collect();
            for device in devices {
                self.register.remove(&device, &mut self.changeover);
            }
        }
        self.register.empty_topics().cloned().collect()
    }

    /// Doors that were announced by earlier runs.
    pub(super) fn remembered_doors(&self) -> impl Iterator<Item = &DoorId> {
        self.register.devices().filter_map(|(_, told)| told.door.as_ref())
    }

    /// Asks for an announcement as soon as it may be.
    pub(super) fn want(&mut self, what: Announced) {
        self.waiting.insert(what);
    }

    /// What may be announced.
    pub(super) fn take_waiting(&mut self) -> BTreeSet<Announced> {
        std::mem::take(&mut self.waiting)
    }

    /// Whether everything that is wanted was announced.
    pub(super) fn is_settled(&self) -> bool {
        self.waiting.is_empty() && !self.changeover.holds_any()
    }

    /// A session began or ended. Says whether the broker takes other sizes than before, so that all must be announced
    /// anew.
    pub(super) fn begin_session(&mut self, max_packet: Option<u32>) -> bool {
        self.changeover.begin_session();
        let packet = max_packet.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX);
        self.packet = packet;
        let limit = LARGEST_CONFIG.min(packet.saturating_sub(PACKET_OVERHEAD));
        std::mem::replace(&mut self.limit, limit) != limit
    }

    /// The session ended.
    pub(super) fn end_session(&mut self) {
        self.changeover.begin_session();
    }

    /// Home Assistant says that it is there, or that it is not.
    pub(super) fn hear(&mut self, here: bool) {
        self.changeover.hear(here);
    }

    /// Home Assistant got everything again: what left while it may have been away is next.
    /// Scenarios of earlier runs that may still turn up are not called gone.
    pub(super) fn greet(&mut self, ghosts: &Ghosts<ScenarioId>) {
        let mut retired = self.register.retired();
        retired.retain(|place| !may_return(ghosts, &place.key));
        self.changeover.greet(retired);
        let standing = self.standing().cloned().collect();
        self.changeover.repeat_later(standing);
    }

    /// A config is wanted that is another than before.
    pub(super) fn note_changed(&mut self, topic: String) {
        self.altered.insert(topic);
    }

    /// Those are published, and will be once more.
    pub(super) fn repeat_changed(&mut self) {
        let topics = std::mem::take(&mut self.altered);
        self.changeover.repeat_later(topics);
    }

    /// Topics that hold a config and are not on their way out.
    fn standing(&self) -> impl Iterator<Item = &String> {
        self.register.devices().flat_map(|(device, told)| {
            let leaving = self.changeover.leaving(device);
            let topics = told.topics.iter().filter(|(_, known)| known.values().any(|known| !known.retired));
            topics.map(|(topic, _)| topic).filter(move |topic| !leaving.contains(*topic))
        })
    }

    /// Topics without meaning for discovery were cleared; remembered until that is through.
    pub(super) fn sweep(&mut self, topics: BTreeSet<String>) {
        if !topics.is_empty() {
            self.changed = true;
            self.changeover.begin(Step::Swept(topics));
        }
    }

    /// When [`Announcements::turn`] should be called next.
    pub(super) fn next_turn(&self, given: Given, now: Instant) -> Option<Instant> {
        self.changeover.next(given, now)
    }

    /// Does what is due.
    pub(super) fn turn(&mut self, given: Given, now: Instant) -> Turn {
        let mut turn = Turn::default();
        let mut told = BTreeSet::new();
        for step in self.changeover.advance(given, now) {
            match step {
                Step::Marked { device, topics } => {
                    self.wait(&device);
                    self.changeover.begin(Step::Moved { device, topics });
                }
                Step::Moved { device, topics } => {
                    turn.cleared.extend(topics.iter().cloned());
                    self.changeover.begin(Step::Cleared { device, topics });
                }
                Step::Cleared { device, topics } => self.register.forget_topics(&device, &topics),
                Step::Freed { device, .. } => self.wait(&device),
                Step::Greeted(places) => {
                    turn.calls.extend(self.last_calls(&places));
                    self.changeover.begin(Step::Called(places));
                }
                Step::Called(places) => {
                    for ((device, topic), entities) in self.register.still_retired(&places) {
                        let name = self.register.device(&device).map_or("", |told| &told.name);
                        turn.again.push((topic, retired::removals((&device, name), entities.iter())));
                    }
                    self.changeover.begin(Step::Removed(places));
                }
                Step::Removed(places) => {
                    for device in self.register.forget(&places) {
                        self.wait(&device);
                    }
                }
                Step::Swept(_) => self.changed = true,
                Step::Told { topics, .. } => told.extend(topics),
            }
        }
        if !told.is_empty() {
            let now = self.changeover.pace(told);
            turn.repeated.extend(self.standing().filter(|topic| now.contains(*topic)).cloned());
        }
        turn
    }

    /// Announces a door.
    pub(super) fn door(&mut self, door: &Door, chosen_name: Option<&str>, offer: Offer) -> Notice {
        let name = view::door_name(door, chosen_name);
        let slug = self.slug(door.id.as_str(), &name);
        let device = self.announcer.door(DoorFacts { id: &door.id, name: &name, slug: &slug, offer });
        let announcement = self.announcement(&device);
        self.register.announce(announcement, Some(&door.id), |_| false, &mut self.changeover)
    }

    /// Takes a door back.
    pub(super) fn retract_door(&mut self, id: &DoorId) -> Notice {
        self.register.remove(&Announcer::door_identifier(id), &mut self.changeover)
    }

    /// Announces the gateway and all scenarios: each on the device of its only site, or on the gateway's where it
    /// covers several. `ghosts` are scenarios of earlier runs that may still turn up; they keep what they have.
    pub(super) fn scenarios(
        &mut self,
        scenarios: &Scenarios,
        doors: &Doors,
        ghosts: &Ghosts<ScenarioId>,
    ) -> (Notice, Notice) {
        let sites = site_names(doors);
        let mut devices: BTreeMap<Option<SiteId>, Device> =
            BTreeMap::from([(None, self.announcer.gateway())]);
        for (id, record) in scenarios.iter() {
            let home = match record.scenario.sites.as_slice() {
                [site] => Some(site.clone()),
                [] | [_, _, ..] => None,
            };
            let name = view::scenario_name(record);
            // The name alone: sites get their names from doors, which may be listed later.
            let slug = self.slug(id.as_str(), &name);
            let announcer = &self.announcer;
            let device = devices.entry(home).or_insert_with_key(|home| match home {
                Some(site) => announcer.site(site, sites.get(site).map_or("Verkada", String::as_str)),
                None => announcer.gateway(),
            });
            announcer.add_scenario(device, ScenarioFacts { id, name: &name, slug: &slug });
        }
        let announcements: Vec<(bool, Announcement)> =
            devices.into_iter().map(|(home, device)| (home.is_none(), self.announcement(&device))).collect();
        for (_, announcement) in &announcements {
            self.register.take_over(announcement, &mut self.changeover);
        }
        let keeps = |key: &str| may_return(ghosts, key);
        let wanted: BTreeSet<String> =
            announcements.iter().map(|(_, announcement)| announcement.device.clone()).collect();
        let (mut parent, mut children) = (Notice::default(), Notice::default());
        for (is_parent, announcement) in announcements {
            let notice = self.register.announce(announcement, None, keeps, &mut self.changeover);
            if is_parent { &mut parent } else { &mut children }.extend(notice);
        }
        for (device, returns) in self.unwanted(&wanted, keeps) {
            children.extend(if returns {
                self.register.thin_out(&device, &self.changeover)
            } else {
                self.register.remove(&device, &mut self.changeover)
            });
        }
        (parent, children)
    }

    /// Devices that are neither wanted nor doors, and whether something of them may still turn up.
    fn unwanted(&self, wanted: &BTreeSet<String>, keeps: impl Fn(&str) -> bool) -> Vec<(String, bool)> {
        let devices =
            self.register.devices().filter(|(device, told)| told.door.is_none() && !wanted.contains(*device));
        let returns =
            |told: &Told| told.topics.values().flatten().any(|(key, known)| !known.retired && keeps(key));
        devices.map(|(device, told)| (device.clone(), returns(told))).collect()
    }

    /// Asks for the announcement of a device that may be announced from here on.
    fn wait(&mut self, device: &str) {
        let door = self.register.device(device).and_then(|told| told.door.clone());
        self.want(door.map_or(Announced::Shared, Announced::Door));
    }

    fn announcement(&mut self, device: &Device) -> Announcement {
        let mut announcement = self.announcer.announcement(device, self.limit);
        if let Some(bytes) = announcement.too_large
            && self.said_large.insert(announcement.device.clone())
        {
            tracing::warn!(
                device = announcement.device,
                bytes,
                limit = self.limit,
                "the discovery config of a device is too large for one message; each of its entities gets its own"
            );
        }
        self.leave_out_too_large(&mut announcement);
        announcement
    }

    /// What no packet can hold is not wanted of the broker: it would be refused again in each session.
    fn leave_out_too_large(&mut self, announcement: &mut Announcement) {
        if self.packet > LARGEST_CONFIG + PACKET_OVERHEAD {
            return;
        }
        let limit = self.packet;
        let said = &mut self.said_large;
        announcement.configs.retain(|config| {
            let bytes = config.message.to_string().len() + config.topic.len() + LEAST_OVERHEAD;
            let fits = bytes <= limit;
            if !fits && said.insert(config.topic.clone()) {
                let entity = config.entities.values().next().map(|entity| &entity.unique_id);
                tracing::warn!(
                    entity,
                    bytes,
                    limit,
                    "the discovery config of an entity is larger than the broker takes; the entity is not announced"
                );
            }
            fits
        });
    }

    /// One for each entity: it may have been taken back from several places, and Home Assistant complains of a second
    /// source, as it would for one that is announced again by now.
    fn last_calls(&self, places: &[Place]) -> Vec<(String, Value)> {
        let mut known = self.register.live();
        let mut calls = Vec::new();
        for ((device, topic), mut entities) in self.register.still_retired(places) {
            entities.retain(|_, entity| known.insert(entity.unique_id.clone()));
            let Some(told) = self.register.device(&device).filter(|_| !entities.is_empty()) else { continue };
            let topics = &self.announcer.topics;
            if let Some(call) = retired::last_call(&topic, (&device, &told.name), topics, entities.iter()) {
                calls.push((topic, call));
            }
        }
        calls
    }

    fn slug(&mut self, id: &str, name: &str) -> String {
        let known = self.slugs.all().len();
        let slug = self.slugs.of(id, name);
        self.changed |= self.slugs.all().len() > known;
        slug
    }
}

/// Whether an entity, by its key, is a scenario that may still turn up.
fn may_return(ghosts: &Ghosts<ScenarioId>, key: &str) -> bool {
    Announcer::scenario_of(key).is_some_and(|id| ghosts.may_return(&id))
}

/// Sites have names only by their doors: the vendor lists no sites.
fn site_names(doors: &Doors) -> BTreeMap<SiteId, String> {
    doors
        .iter()
        .filter_map(|(_, door, _)| {
            let site = door.site.as_ref()?;
            Some((site.id.clone(), crate::hass::name::shown(site.name.as_deref()?)?))
        })
        .collect()
}
