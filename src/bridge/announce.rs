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
    register::{Notice, Place, Register},
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
    /// Topics whose present config, or lack of one, is to be published once more.
    pub(super) again: Vec<String>,
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
    /// Devices of which it was said that their config is too large.
    said_large: BTreeSet<String>,
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
            said_large: BTreeSet::new(),
            changed: false,
        }
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
        let limit = LARGEST_CONFIG.min(packet.saturating_sub(PACKET_OVERHEAD));
        std::mem::replace(&mut self.limit, limit) != limit
    }

    /// The session ended.
    pub(super) fn end_session(&mut self) {
        self.changeover.begin_session();
    }

    /// Home Assistant says that it is there, or that it is not.
    pub(super) const fn hear(&mut self, here: bool) {
        self.changeover.hear(here);
    }

    /// Home Assistant got everything again: what left while it may have been away is next.
    pub(super) fn greet(&mut self) {
        self.changeover.greet(self.register.retired());
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
                    turn.again
                        .extend(self.register.still_retired(&places).into_keys().map(|(_, topic)| topic));
                    self.changeover.begin(Step::Removed(places));
                }
                Step::Removed(places) => {
                    for device in self.register.forget(&places) {
                        self.wait(&device);
                    }
                }
                Step::Swept(_) => self.changed = true,
            }
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
        let keeps = |key: &str| Announcer::scenario_of(key).is_some_and(|id| ghosts.may_return(&id));
        let wanted: BTreeSet<String> =
            announcements.iter().map(|(_, announcement)| announcement.device.clone()).collect();
        let (mut parent, mut children) = (Notice::default(), Notice::default());
        for (is_parent, announcement) in announcements {
            let notice = self.register.announce(announcement, None, keeps, &mut self.changeover);
            let into = if is_parent { &mut parent } else { &mut children };
            into.marked.extend(notice.marked);
            into.messages.extend(notice.messages);
            into.cleared.extend(notice.cleared);
        }
        for device in self.unwanted(&wanted, keeps) {
            children.cleared.extend(self.register.remove(&device, &mut self.changeover).cleared);
        }
        (parent, children)
    }

    /// Devices that are neither wanted nor doors, and of which nothing may still turn up.
    fn unwanted(&self, wanted: &BTreeSet<String>, keeps: impl Fn(&str) -> bool) -> Vec<String> {
        let devices = self.register.devices().filter(|(device, told)| {
            let mut entities = told.topics.values().flatten();
            told.door.is_none()
                && !wanted.contains(*device)
                && !entities.any(|(key, known)| !known.retired && keeps(key))
        });
        devices.map(|(device, _)| device.clone()).collect()
    }

    /// Asks for the announcement of a device that may be announced from here on.
    fn wait(&mut self, device: &str) {
        let door = self.register.device(device).and_then(|told| told.door.clone());
        self.want(door.map_or(Announced::Shared, Announced::Door));
    }

    fn announcement(&mut self, device: &Device) -> Announcement {
        let announcement = self.announcer.announcement(device, self.limit);
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
        announcement
    }

    fn last_calls(&self, places: &[Place]) -> Vec<(String, Value)> {
        let retired = self.register.still_retired(places);
        let calls = retired.iter().filter_map(|((device, topic), entities)| {
            let name = &self.register.device(device)?.name;
            let topics = &self.announcer.topics;
            let call = retired::last_call(topic, (device, name), topics, entities.iter())?;
            Some((topic.clone(), call))
        });
        calls.collect()
    }

    fn slug(&mut self, id: &str, name: &str) -> String {
        let known = self.slugs.all().len();
        let slug = self.slugs.of(id, name);
        self.changed |= self.slugs.all().len() > known;
        slug
    }
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
