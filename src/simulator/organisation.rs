//! What an organisation is made of: sites, controllers, doors, scenarios, access groups and people, all invented.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use jiff::civil::{DateTime, Time, Weekday, time};

use crate::{
    model::{ControllerId, DoorId, IdError, ScenarioId, SiteId},
    rng::Rng,
};

/// The seed of [`Organisation::demo`]: its ids are the same in every run, so that examples can name them.
const DEMO_SEED: u64 = 20_260_917;

/// The largest number of doors on one controller in [`Organisation::of_size`].
const DOORS_PER_CONTROLLER: usize = 8;

/// The largest number of doors in one site in [`Organisation::of_size`].
const DOORS_PER_SITE: usize = 64;

/// A simulated organisation at the moment when the simulator starts.
#[derive(Debug, Clone)]
pub struct Organisation {
    /// The vendor's id of the organisation.
    pub id: String,
    /// The user in whose name the API acts; events show it as `API` (`verkada-api.md` 5.4).
    pub api_user_id: String,
    /// The doors.
    pub doors: Vec<Door>,
    /// The scenarios.
    pub scenarios: Vec<Scenario>,
    /// The access groups.
    pub groups: Vec<Group>,
    /// The access levels.
    pub levels: Vec<Level>,
    /// The people.
    pub people: Vec<Person>,
    /// Whence ids of tokens, events and webhooks are drawn.
    pub seed: u64,
}

/// A site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The key.
    pub id: SiteId,
    /// What people call it.
    pub name: String,
}

/// An access controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// The key.
    pub id: ControllerId,
    /// What people call it.
    pub name: String,
}

/// A door with its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// The key.
    pub id: DoorId,
    /// What people call it; need not be unique.
    pub name: String,
    /// Where it is.
    pub site: Arc<Site>,
    /// What it is wired to.
    pub controller: Arc<Controller>,
    /// The API toggle of the door.
    pub api_control: bool,
    /// IANA name of the time zone.
    pub time_zone: String,
    /// How long an unlock lasts; whole seconds, 1 to 60 s at the vendor.
    pub unlock_time: Duration,
    /// The camera that looks at its outside.
    pub outside_camera_id: Option<String>,
}

/// A scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// The key.
    pub id: ScenarioId,
    /// What people call it.
    pub name: String,
    /// The emergency text shown while it is active.
    pub message: Option<String>,
    /// The sites it covers.
    pub sites: Vec<SiteId>,
    /// The doors it locks.
    pub doors_to_lock: Vec<DoorId>,
    /// The groups that may start it.
    pub groups_enable: Vec<String>,
    /// The groups that may end it.
    pub groups_disable: Vec<String>,
    /// The groups whose people still pass its doors while it is active.
    pub groups_pass: Vec<String>,
}

/// A group of people; access levels say what it may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The key.
    pub id: String,
    /// What people call it.
    pub name: String,
}

/// Which groups may pass which doors when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// The key.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The groups that it admits.
    pub groups: Vec<String>,
    /// The doors that it admits to; all doors of its sites where it names none (assumed: the vendor does not say).
    pub doors: Vec<DoorId>,
    /// The sites where it is.
    pub sites: Vec<SiteId>,
    /// When it admits.
    pub schedule: Vec<LevelHours>,
}

/// When an access level admits: on one day of the week, in the time zone of the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelHours {
    /// The key.
    pub id: String,
    /// The day.
    pub weekday: Weekday,
    /// From when, inclusive.
    pub start: Time,
    /// Until when, exclusive; 23:59 is the end of the day.
    pub end: Time,
}

impl LevelHours {
    /// Whether a moment of wall-clock time is in it.
    pub fn covers(&self, moment: DateTime) -> bool {
        let time = moment.time();
        let before_end = time < self.end || self.end >= LAST_MINUTE;
        moment.date().weekday() == self.weekday && self.start <= time && before_end
    }
}

/// A person with a card.
#[derive(Clone, PartialEq, Eq)]
pub struct Person {
    /// The key.
    pub id: String,
    /// The key in the customer's own directory.
    pub external_id: String,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// Address at a name that is reserved for examples.
    pub email: String,
    /// Number of the card; its facility is [`FACILITY`].
    pub card_number: u32,
    /// The groups the person is in.
    pub groups: Vec<String>,
    /// Whether it is a visitor.
    pub visitor: bool,
}

/// The last minute of a day.
const LAST_MINUTE: Time = time(23, 59, 0, 0);

/// The facility code of all cards.
pub const FACILITY: u32 = 77;

impl fmt::Debug for Person {
    /// Shows the key alone: names and cards have no place in logs, not even invented ones.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Person").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Person {
    /// First and last name.
    pub fn full_name(&self) -> String {
        format!("{} {}", self.first_name, self.last_name)
    }

    /// The card as a reader sends it: facility and number.
    pub fn card(&self) -> String {
        format!("{FACILITY}|{}", self.card_number)
    }
}

impl Organisation {
    /// Two sites with six doors: two doors share a name, one has its API toggle off. Three scenarios: a lockdown
    /// for each site and one over both. Three access levels: caretakers pass everywhere, staff at the first site, and
    /// cleaners two of its doors in the evenings of weekdays.
    pub fn demo() -> Self {
        let mut random = Rng::new(DEMO_SEED);
        let mill = site(&mut random, "Heron Mill");
        let yard = site(&mut random, "Tern Yard");
        let mill_panel = controller(&mut random, "Panel HM-1");
        let yard_panel = controller(&mut random, "Panel TY-1");
        let places = [
            ("Front Door", &mill, &mill_panel, true, 10),
            ("Workshop", &mill, &mill_panel, true, 5),
            ("Server Room", &mill, &mill_panel, false, 5),
            ("Front Door", &yard, &yard_panel, true, 10),
            ("Delivery Gate", &yard, &yard_panel, true, 20),
            ("Roof Terrace", &yard, &yard_panel, true, 10),
        ];
        let doors: Vec<Door> = places
            .into_iter()
            .map(|(name, site, panel, api_control, seconds)| Door {
                api_control,
                unlock_time: Duration::from_secs(seconds),
                ..door(&mut random, name, site, panel)
            })
            .collect();
        let (mut groups, mut people) = people(&mut random, 8);
        let scenarios = vec![
            lockdown(&mut random, "Lockdown Heron Mill", &[&mill], &doors, &groups),
            lockdown(&mut random, "Lockdown Tern Yard", &[&yard], &doors, &groups),
            lockdown(&mut random, "Lockdown both sites", &[&mill, &yard], &doors, &groups),
        ];
        let (id, api_user_id, seed) = (random.uuid(), random.uuid(), random.bits());
        let mut levels = levels(&mut random, &groups, &[mill, yard]);
        let (group, level, cleaner) = cleaners(&mut random, doors.get(..2).unwrap_or_default());
        groups.push(group);
        levels.push(level);
        // Before the visitor, who stays the last.
        people.insert(people.len().saturating_sub(1), cleaner);
        Self { id, api_user_id, doors, scenarios, groups, levels, people, seed }
    }

    /// An organisation of a given size; equal arguments give an equal organisation. Scenarios cover the sites in
    /// turn.
    pub fn of_size(doors: usize, scenarios: usize, seed: u64) -> Self {
        let mut random = Rng::new(seed);
        let (mut sites, mut made) = (Vec::new(), Vec::with_capacity(doors));
        let mut place = (site(&mut random, "Site 1"), controller(&mut random, "Panel 1"));
        sites.push(Arc::clone(&place.0));
        for index in 0..doors {
            if index > 0 && index % DOORS_PER_SITE == 0 {
                place.0 = site(&mut random, &format!("Site {}", sites.len() + 1));
                sites.push(Arc::clone(&place.0));
            }
            if index > 0 && index % DOORS_PER_CONTROLLER == 0 {
                place.1 = controller(&mut random, &format!("Panel {}", index / DOORS_PER_CONTROLLER + 1));
            }
            made.push(door(&mut random, &format!("Door {}", index + 1), &place.0, &place.1));
        }
        let (groups, people) = people(&mut random, 20);
        let scenarios = sites
            .iter()
            .cycle()
            .take(scenarios)
            .enumerate()
            .map(|(index, site)| {
                lockdown(&mut random, &format!("Lockdown {}", index + 1), &[site], &made, &groups)
            })
            .collect();
        let (id, api_user_id, seed) = (random.uuid(), random.uuid(), random.bits());
        let levels = levels(&mut random, &groups, &sites);
        Self { id, api_user_id, doors: made, scenarios, groups, levels, people, seed }
    }
}

/// An identifier of the domain in the shape of a UUID.
pub(super) fn new_id<T: FromStr<Err = IdError>>(random: &mut Rng) -> T {
    #[expect(clippy::expect_used, reason = "a UUID is 36 hex digits and hyphens, which every id accepts")]
    random.uuid().parse().expect("a UUID is an id")
}

fn site(random: &mut Rng, name: &str) -> Arc<Site> {
    Arc::new(Site { id: new_id(random), name: name.to_owned() })
}

fn controller(random: &mut Rng, name: &str) -> Arc<Controller> {
    Arc::new(Controller { id: new_id(random), name: name.to_owned() })
}

fn door(random: &mut Rng, name: &str, site: &Arc<Site>, controller: &Arc<Controller>) -> Door {
    Door {
        id: new_id(random),
        name: name.to_owned(),
        site: Arc::clone(site),
        controller: Arc::clone(controller),
        api_control: true,
        time_zone: "Europe/Amsterdam".to_owned(),
        unlock_time: Duration::from_secs(10),
        outside_camera_id: (random.below(2) == 0).then(|| random.uuid()),
    }
}

fn lockdown(
    random: &mut Rng,
    name: &str,
    sites: &[&Arc<Site>],
    doors: &[Door],
    groups: &[Group],
) -> Scenario {
    let responders: Vec<String> = groups.iter().take(1).map(|group| group.id.clone()).collect();
    Scenario {
        id: new_id(random),
        name: name.to_owned(),
        message: Some("Stay in the nearest room and lock it.".to_owned()),
        sites: sites.iter().map(|site| site.id.clone()).collect(),
        doors_to_lock: doors
            .iter()
            .filter(|door| sites.iter().any(|site| site.id == door.site.id))
            .map(|door| door.id.clone())
            .collect(),
        groups_enable: groups.iter().map(|group| group.id.clone()).collect(),
        groups_disable: responders.clone(),
        groups_pass: responders,
    }
}

/// An access level for the first group over all sites, and one for the second over the first site alone, always.
fn levels(random: &mut Rng, groups: &[Group], sites: &[Arc<Site>]) -> Vec<Level> {
    let all_sites: Vec<SiteId> = sites.iter().map(|site| site.id.clone()).collect();
    let first_site = all_sites.get(..1).unwrap_or_default().to_vec();
    let mut level = |name: &str, group: Option<&Group>, sites| Level {
        id: random.uuid(),
        name: name.to_owned(),
        groups: group.map(|group| group.id.clone()).into_iter().collect(),
        doors: Vec::new(),
        sites,
        schedule: hours(random, Weekday::Monday.cycle_forward().take(7), (Time::midnight(), LAST_MINUTE)),
    };
    vec![
        level("Caretakers everywhere", groups.first(), all_sites),
        level("Staff at the first site", groups.get(1), first_site),
    ]
}

fn hours(
    random: &mut Rng,
    days: impl Iterator<Item = Weekday>,
    (start, end): (Time, Time),
) -> Vec<LevelHours> {
    days.map(|weekday| LevelHours { id: random.uuid(), weekday, start, end }).collect()
}

/// A group with one person, whom an access level admits to some doors in the evenings of weekdays.
fn cleaners(random: &mut Rng, doors: &[Door]) -> (Group, Level, Person) {
    let group = Group { id: random.uuid(), name: "Cleaners".to_owned() };
    let mut sites: Vec<SiteId> = doors.iter().map(|door| door.site.id.clone()).collect();
    sites.dedup();
    let level = Level {
        id: random.uuid(),
        name: "Cleaners in the evening".to_owned(),
        groups: vec![group.id.clone()],
        doors: doors.iter().map(|door| door.id.clone()).collect(),
        sites,
        schedule: hours(
            random,
            Weekday::Monday.cycle_forward().take(5),
            (time(18, 0, 0, 0), time(22, 0, 0, 0)),
        ),
    };
    let person = Person {
        id: random.uuid(),
        external_id: "hr-1001".to_owned(),
        first_name: "Ines".to_owned(),
        last_name: "Moreau".to_owned(),
        email: "ines.moreau@example.org".to_owned(),
        card_number: 21_001,
        groups: vec![group.id.clone()],
        visitor: false,
    };
    (group, level, person)
}

/// Two groups, and people spread over both; the last person is a visitor in no group, whom every door turns away.
fn people(random: &mut Rng, count: u32) -> (Vec<Group>, Vec<Person>) {
    const FIRST: [&str; 8] = ["Anneke", "Bo", "Chidi", "Dara", "Emre", "Freya", "Goran", "Hana"];
    const LAST: [&str; 7] = ["Visser", "Lindqvist", "Okafor", "Quinn", "Yilmaz", "Storm", "Petrov"];
    let groups = vec![
        Group { id: random.uuid(), name: "Caretakers".to_owned() },
        Group { id: random.uuid(), name: "Staff".to_owned() },
    ];
    let people = (1..=count)
        .map(|number| {
            let first_name = (*random.pick(&FIRST).unwrap_or(&"Anneke")).to_owned();
            let last_name = (*random.pick(&LAST).unwrap_or(&"Visser")).to_owned();
            let visitor = number == count;
            let member_of = if visitor { None } else { random.pick(&groups) };
            Person {
                id: random.uuid(),
                external_id: format!("hr-{number:04}"),
                email: format!("{first_name}.{last_name}{number}@example.org").to_lowercase(),
                first_name,
                last_name,
                card_number: 20_000 + number,
                groups: member_of.map(|group| group.id.clone()).into_iter().collect(),
                visitor,
            }
        })
        .collect();
    (groups, people)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_demo_is_what_it_says_and_the_same_in_every_run() {
        let demo = Organisation::demo();
        let names: BTreeSet<_> = demo.doors.iter().map(|door| &door.name).collect();
        let sites: BTreeSet<_> = demo.doors.iter().map(|door| &door.site.id).collect();
        assert_eq!((demo.doors.len(), names.len(), sites.len()), (6, 5, 2));
        assert_eq!(demo.doors.iter().filter(|door| !door.api_control).count(), 1);
        let covered: Vec<usize> =
            demo.scenarios.iter().map(|scenario| scenario.doors_to_lock.len()).collect();
        assert_eq!(covered, [3, 3, 6]);
        assert_eq!(demo.doors, Organisation::demo().doors);
    }

    #[test]
    fn a_seed_makes_one_organisation_and_every_id_is_used_once() {
        let made = Organisation::of_size(1_000, 40, 3);
        let ids: BTreeSet<_> = made.doors.iter().map(|door| &door.id).collect();
        assert_eq!((ids.len(), made.scenarios.len()), (1_000, 40));
        assert_eq!(made.doors, Organisation::of_size(1_000, 40, 3).doors);
        assert_ne!(made.doors, Organisation::of_size(1_000, 40, 4).doors);
        let wired: BTreeSet<_> = made.doors.iter().map(|door| (&door.controller.id, &door.site.id)).collect();
        let controllers: BTreeSet<_> = made.doors.iter().map(|door| &door.controller.id).collect();
        assert_eq!(wired.len(), controllers.len(), "a controller serves one site");
    }
}
