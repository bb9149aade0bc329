//! Discovery of what is known, remembering what was announced so that it can be taken back.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{doors::Doors, scenarios::Scenarios, slugs::Slugs, view};
use crate::{
    hass::{Announcer, Device, DoorFacts, ScenarioFacts},
    model::{Door, DoorId, ScenarioId, SiteId},
};

/// What was announced in this run.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    slugs: Slugs,
    changed: bool,
    /// Topics of each door.
    doors: BTreeMap<DoorId, BTreeSet<String>>,
    /// Topics of the gateway's and the sites' devices.
    shared: BTreeSet<String>,
    /// The device each scenario that ever was announced belongs to: a site, or the gateway.
    homes: BTreeMap<ScenarioId, Option<SiteId>>,
}

/// What is to be published: messages to retain, topics to clear.
#[derive(Debug, Default)]
pub(super) struct Notice {
    pub(super) messages: Vec<(String, Value)>,
    pub(super) cleared: Vec<String>,
}

impl Announcements {
    /// Nothing is announced yet; objects of an earlier run keep their slugs.
    pub(super) fn new(slugs: BTreeMap<String, String>) -> Self {
        Self { slugs: Slugs::remembered(slugs), ..Self::default() }
    }

    /// What a later run must know.
    pub(super) fn remember(&mut self) -> BTreeMap<String, String> {
        self.changed = false;
        self.slugs.all().clone()
    }

    /// Whether that changed since it was asked for.
    pub(super) const fn is_changed(&self) -> bool {
        self.changed
    }

    fn slug(&mut self, id: &str, name: &str) -> String {
        let known = self.slugs.all().len();
        let slug = self.slugs.of(id, name);
        self.changed |= self.slugs.all().len() > known;
        slug
    }

    /// Announces a door.
    pub(super) fn door(
        &mut self,
        announcer: &Announcer,
        door: &Door,
        chosen_name: Option<&str>,
        unlock: bool,
    ) -> Notice {
        let name = view::door_name(door, chosen_name);
        let slug = self.slug(door.id.as_str(), &name);
        let device = announcer.door(DoorFacts { id: &door.id, name: &name, slug: &slug, unlock });
        let known = self.doors.entry(door.id.clone()).or_default();
        notice(announcer.messages(&device), known)
    }

    /// Takes a door back.
    pub(super) fn retract_door(&mut self, id: &DoorId) -> Notice {
        let cleared = self.doors.remove(id).unwrap_or_default().into_iter().collect();
        Notice { messages: Vec::new(), cleared }
    }

    /// Announces the gateway and all scenarios: each on the device of its only site, or on the gateway's where it
    /// covers several. Scenarios that are gone stay as removal marks on a device that stays.
    pub(super) fn scenarios(
        &mut self,
        announcer: &Announcer,
        scenarios: &Scenarios,
        doors: &Doors,
    ) -> (Notice, Notice) {
        let sites = site_names(doors);
        let mut devices: BTreeMap<Option<SiteId>, Device> = BTreeMap::from([(None, announcer.gateway())]);
        let gone: Vec<_> = self.homes.keys().filter(|id| scenarios.get(id).is_none()).cloned().collect();
        for (id, record) in scenarios.iter() {
            let home = match record.scenario.sites.as_slice() {
                [site] => Some(site.clone()),
                [] | [_, _, ..] => None,
            };
            let name = view::scenario_name(record);
            // The name alone: sites get their names from doors, which may be listed later.
            let slug = self.slug(id.as_str(), &name);
            let device = devices.entry(home.clone()).or_insert_with_key(|home| match home {
                Some(site) => announcer.site(site, sites.get(site).map_or("Verkada", String::as_str)),
                None => announcer.gateway(),
            });
            announcer.add_scenario(device, ScenarioFacts { id, name: &name, slug: &slug });
            self.homes.insert(id.clone(), home);
        }
        for id in gone {
            if let Some(device) = self.homes.get(&id).and_then(|home| devices.get_mut(home)) {
                announcer.remove_scenario(device, &id);
            }
        }
        let mut parent = Vec::new();
        let mut children = Vec::new();
        for (home, device) in &devices {
            let messages = announcer.messages(device);
            if home.is_none() { parent.extend(messages) } else { children.extend(messages) }
        }
        let topics: BTreeSet<String> =
            parent.iter().chain(&children).map(|(topic, _)| topic.clone()).collect();
        let cleared = self.shared.difference(&topics).cloned().collect();
        self.shared = topics;
        let (parent, mut children) = (split(parent), split(children));
        children.cleared.extend::<Vec<String>>(cleared);
        (parent, children)
    }
}

fn notice(messages: Vec<(String, Option<Value>)>, known: &mut BTreeSet<String>) -> Notice {
    let topics: BTreeSet<String> = messages.iter().map(|(topic, _)| topic.clone()).collect();
    let mut notice = split(messages);
    notice.cleared.extend(known.difference(&topics).cloned());
    *known = topics;
    notice
}

fn split(messages: Vec<(String, Option<Value>)>) -> Notice {
    let mut notice = Notice::default();
    for (topic, message) in messages {
        match message {
            Some(message) => notice.messages.push((topic, message)),
            None => notice.cleared.push(topic),
        }
    }
    notice
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
