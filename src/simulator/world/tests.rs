//! The physics as exact sequences of events.

use super::*;
use crate::{clock, model::DoorId};

const API: &str = "api-user";

/// A world of which the test turns the clock.
pub(super) struct Bench {
    pub(super) world: World,
    pub(super) now: Now,
}

impl Bench {
    pub(super) fn new() -> Self {
        let now = clock::now();
        Self { world: World::new(Organisation::demo(), Switches::default(), now), now }
    }

    pub(super) fn wait(&mut self, seconds: u64) -> Now {
        self.wait_ms(seconds * 1_000)
    }

    pub(super) fn wait_ms(&mut self, ms: u64) -> Now {
        let passed = Duration::from_millis(ms);
        self.now = Now { mono: self.now.mono + passed, utc: self.now.utc + passed };
        self.world.advance(self.now);
        self.now
    }

    /// A door of ten seconds at the first site.
    pub(super) fn door(&self) -> DoorId {
        let found =
            self.world.doors().find(|door| door.name == "Front Door" && door.site.name == "Heron Mill");
        found.unwrap().id.clone()
    }

    pub(super) fn unlock(&mut self, door: &DoorId) {
        let lasts = self.world.remote_unlock(door, Who::Api(API.to_owned()), self.now).unwrap();
        assert_eq!(lasts, Duration::from_secs(10));
    }

    pub(super) fn scenario(&self, name: &str) -> ScenarioId {
        let mut all = self.world.scenarios(self.now);
        all.find(|(scenario, _)| scenario.name == name).unwrap().0.id.clone()
    }

    /// Events with their age in whole seconds since the start, of one door or of none.
    pub(super) fn told(&self, door: &DoorId) -> Vec<(&'static str, i64)> {
        let start = self.world.started.utc;
        let of = |event: &&Arc<Event>| event.door.as_ref().is_none_or(|shown| shown.id == *door);
        let events = self.world.journal.all().filter(of);
        events.map(|event| (event.word, event.at.duration_since(start).as_secs())).collect()
    }

    /// How many events the list shows.
    fn listed(&self) -> usize {
        self.world.journal.listed(self.now.mono).count()
    }

    pub(super) fn person_of(&self, group: &str) -> String {
        let group = self.world.groups.iter().find(|known| known.name == group).unwrap();
        self.world.people.iter().find(|person| person.groups.contains(&group.id)).unwrap().id.clone()
    }
}

#[test]
fn an_unlock_that_nobody_uses_ends_after_the_doors_own_time() {
    let mut bench = Bench::new();
    let door = bench.door();
    bench.wait(1);
    bench.unlock(&door);
    bench.wait_ms(9_999);
    assert!(!bench.world.door_state(&door).unwrap().locked);
    bench.wait(100);
    assert!(bench.world.door_state(&door).unwrap().locked);
    assert_eq!(
        bench.told(&door),
        [("door_remote_unlock_accepted", 1), ("door_unlocked", 1), ("door_locked", 11)],
        "the relock carries the time at which it was due, however late the clock was read"
    );
}

#[test]
fn a_passage_relocks_on_opening() {
    let mut bench = Bench::new();
    let door = bench.door();
    bench.unlock(&door);
    let now = bench.wait(2);
    bench.world.open(&door, now).unwrap();
    let now = bench.wait(3);
    bench.world.close(&door, now).unwrap();
    bench.wait(100);
    assert_eq!(
        bench.told(&door),
        [
            ("door_remote_unlock_accepted", 0),
            ("door_unlocked", 0),
            ("door_opened", 2),
            ("door_locked", 2),
            ("door_closed", 5),
        ]
    );
}

#[test]
fn a_passage_does_not_relock_on_opening_where_that_is_off() {
    let mut bench = Bench::new();
    bench.world.switches.relock_on_open = false;
    let door = bench.door();
    bench.unlock(&door);
    let now = bench.wait(2);
    bench.world.open(&door, now).unwrap();
    bench.wait(100);
    let words: Vec<_> = bench.told(&door).into_iter().skip(2).collect();
    assert_eq!(words, [("door_opened", 2), ("door_locked", 10), ("door_held_open", 62)]);
}

#[test]
fn a_second_unlock_prolongs_the_first() {
    let mut bench = Bench::new();
    let door = bench.door();
    bench.unlock(&door);
    bench.wait(6);
    bench.unlock(&door);
    bench.wait(100);
    assert_eq!(
        bench.told(&door),
        [
            ("door_remote_unlock_accepted", 0),
            ("door_unlocked", 0),
            ("door_remote_unlock_accepted", 6),
            ("door_locked", 16),
        ]
    );
}

#[test]
fn a_forced_door_stands_open_until_the_alarm_and_after_it() {
    let mut bench = Bench::new();
    let door = bench.door();
    let now = bench.now;
    bench.world.force(&door, now).unwrap();
    bench.wait_ms(59_999);
    assert!(!bench.world.door_state(&door).unwrap().held_open);
    let now = bench.wait_ms(1);
    assert!(bench.world.door_state(&door).unwrap().held_open);
    bench.world.close(&door, now).unwrap();
    assert!(!bench.world.door_state(&door).unwrap().held_open);
    assert_eq!(bench.told(&door), [("door_forced_open", 0), ("door_held_open", 60), ("door_closed", 60)]);
}

#[test]
fn a_door_closed_in_time_sounds_no_alarm() {
    let mut bench = Bench::new();
    bench.world.switches.held_open_after_ms = 5_000;
    let door = bench.door();
    let now = bench.now;
    bench.world.force(&door, now).unwrap();
    let now = bench.wait_ms(4_999);
    bench.world.close(&door, now).unwrap();
    bench.wait(100);
    assert_eq!(bench.told(&door), [("door_forced_open", 0), ("door_closed", 4)]);
}

#[test]
fn impossible_acts_are_refused_and_leave_no_event() {
    let mut bench = Bench::new();
    let (door, now) = (bench.door(), bench.now);
    assert_eq!(bench.world.open(&door, now), Err(ActError::Locked(door.clone())));
    assert_eq!(bench.world.close(&door, now), Err(ActError::Closed(door.clone())));
    bench.unlock(&door);
    assert_eq!(bench.world.force(&door, now), Err(ActError::Unlocked(door.clone())));
    bench.world.open(&door, now).unwrap();
    assert_eq!(bench.world.open(&door, now), Err(ActError::Open(door.clone())));
    assert_eq!(bench.world.force(&door, now), Err(ActError::Open(door.clone())));
    assert_eq!(bench.told(&door).len(), 4);
    let nobody: DoorId = "nobody".parse().unwrap();
    assert_eq!(bench.world.exit(&nobody, now), Err(ActError::UnknownDoor(nobody)));
}

#[test]
fn a_schedule_frees_the_door_and_takes_it_back() {
    let mut bench = Bench::new();
    let door = bench.door();
    let now = bench.now;
    bench.world.toggle_schedule(&door, now).unwrap();
    bench.wait(1);
    bench.unlock(&door);
    let now = bench.wait(20);
    assert!(!bench.world.door_state(&door).unwrap().locked);
    bench.world.toggle_schedule(&door, now).unwrap();
    assert_eq!(
        bench.told(&door),
        [
            ("door_schedule_toggle", 0),
            ("door_unlocked", 0),
            ("door_remote_unlock_accepted", 1),
            ("door_schedule_toggle", 21),
            ("door_locked", 21),
        ]
    );
}

#[test]
fn a_scenario_ends_an_unlock_and_locks_against_the_schedule_until_it_is_released() {
    let mut bench = Bench::new();
    let (door, lockdown) = (bench.door(), bench.scenario("Lockdown Heron Mill"));
    let now = bench.now;
    bench.world.toggle_schedule(&door, now).unwrap();
    let now = bench.wait(1);
    assert_eq!(bench.world.set_active(&lockdown, true, None, now), Ok(true));
    assert_eq!(bench.world.set_active(&lockdown, true, None, now), Ok(false));
    assert!(bench.world.door_state(&door).unwrap().locked);
    let now = bench.wait(1);
    assert_eq!(bench.world.set_active(&lockdown, false, None, now), Ok(true));
    assert!(!bench.world.door_state(&door).unwrap().locked);
    assert_eq!(
        bench.told(&door),
        [
            ("door_schedule_toggle", 0),
            ("door_unlocked", 0),
            ("door_lockdown", 1),
            ("door_locked", 1),
            ("door_lockdown_debounced", 1),
            ("door_lockdown", 2),
            ("door_unlocked", 2),
            ("door_lockdown_debounced", 2),
        ]
    );
}

#[test]
fn a_scenario_cuts_a_momentary_unlock_short() {
    let mut bench = Bench::new();
    let (door, lockdown) = (bench.door(), bench.scenario("Lockdown both sites"));
    bench.unlock(&door);
    let now = bench.wait(1);
    bench.world.set_active(&lockdown, true, None, now).unwrap();
    assert!(bench.world.door_state(&door).unwrap().locked);
    bench.wait(100);
    let words: Vec<_> = bench.told(&door).into_iter().skip(2).collect();
    assert_eq!(words, [("door_lockdown", 1), ("door_locked", 1), ("door_lockdown_debounced", 1)]);
}

#[test]
fn of_two_scenarios_over_a_door_the_last_one_frees_it() {
    let mut bench = Bench::new();
    let (site, both) = (bench.scenario("Lockdown Heron Mill"), bench.scenario("Lockdown both sites"));
    let (door, now) = (bench.door(), bench.now);
    bench.world.set_active(&site, true, None, now).unwrap();
    bench.world.set_active(&both, true, None, now).unwrap();
    bench.world.set_active(&site, false, None, now).unwrap();
    assert!(bench.world.door_state(&door).unwrap().locked_down);
    bench.world.set_active(&both, false, None, now).unwrap();
    assert!(!bench.world.door_state(&door).unwrap().locked_down);
}

#[test]
fn the_list_follows_a_scenario_after_the_delay() {
    let mut bench = Bench::new();
    bench.world.switches.scenario_state_delay_ms = 3_000;
    let (lockdown, now) = (bench.scenario("Lockdown Heron Mill"), bench.now);
    let shown = |bench: &Bench| {
        bench.world.scenarios(bench.now).any(|(shown, active)| shown.id == lockdown && active)
    };
    bench.world.set_active(&lockdown, true, None, now).unwrap();
    bench.wait_ms(2_999);
    assert_eq!((bench.world.is_active(&lockdown), shown(&bench)), (Ok(true), false));
    let now = bench.wait_ms(1);
    assert!(shown(&bench));
    bench.world.set_active(&lockdown, false, None, now).unwrap();
    assert!(shown(&bench), "what was shown before is shown until the delay is over");
    bench.wait(3);
    assert!(!shown(&bench));
}

#[test]
fn cards_open_by_group_and_under_a_scenario_only_by_the_excepted_group() {
    let mut bench = Bench::new();
    let (door, now) = (bench.door(), bench.now);
    let (caretaker, staff) = (bench.person_of("Caretakers"), bench.person_of("Staff"));
    let visitor = bench.world.people.iter().find(|person| person.visitor).unwrap().id.clone();
    let lockdown = bench.scenario("Lockdown Heron Mill");
    let mut badge = |person: Option<&str>| bench.world.badge(&door, person, now);
    assert_eq!(badge(Some(&staff)), Ok(Verdict::Accepted));
    assert_eq!(badge(Some(&visitor)), Ok(Verdict::Rejected));
    assert_eq!(badge(None), Ok(Verdict::Rejected));
    assert_eq!(badge(Some("nobody")), Err(ActError::UnknownPerson("nobody".to_owned())));
    bench.world.set_active(&lockdown, true, None, now).unwrap();
    assert_eq!(bench.world.badge(&door, Some(&staff), now), Ok(Verdict::Rejected));
    assert_eq!(bench.world.badge(&door, Some(&caretaker), now), Ok(Verdict::Accepted));
    let words: Vec<_> = bench.told(&door).into_iter().map(|(word, _)| word).collect();
    assert_eq!(
        words,
        [
            "door_keycard_entered_accepted",
            "door_unlocked",
            "door_keycard_entered_rejected",
            "door_keycard_entered_rejected",
            "door_lockdown",
            "door_locked",
            "door_lockdown_debounced",
            "door_keycard_entered_rejected",
            "door_keycard_entered_accepted",
            "door_unlocked",
        ]
    );
}

#[test]
fn staff_passes_only_the_doors_of_its_site() {
    let bench = Bench::new();
    let staff = bench.world.person(&bench.person_of("Staff")).unwrap();
    let passed: Vec<_> =
        bench.world.doors().filter(|door| bench.world.may_pass(&staff, &door.id, bench.now.utc)).collect();
    assert_eq!(passed.len(), 3);
    assert!(passed.iter().all(|door| door.site.name == "Heron Mill"));
}

#[test]
fn the_exit_button_unlocks_for_three_seconds() {
    let mut bench = Bench::new();
    let (door, now) = (bench.door(), bench.now);
    bench.world.exit(&door, now).unwrap();
    bench.wait(100);
    assert_eq!(
        bench.told(&door),
        [("door_press_to_exit_accepted", 0), ("door_unlocked", 0), ("door_locked", 3)]
    );
}

#[test]
fn without_lock_events_three_words_are_missing() {
    let mut bench = Bench::new();
    bench.world.switches.lock_events = false;
    let door = bench.door();
    bench.unlock(&door);
    let now = bench.wait(2);
    bench.world.open(&door, now).unwrap();
    bench.world.close(&door, now).unwrap();
    assert_eq!(bench.told(&door), [("door_remote_unlock_accepted", 0), ("door_opened", 2)]);
    assert!(bench.world.door_state(&door).unwrap().locked, "the door itself works as ever");
}

#[test]
fn an_offline_controller_works_on_and_uploads_its_events_late() {
    let mut bench = Bench::new();
    let (door, now) = (bench.door(), bench.now);
    bench.world.set_online(&door, false, now).unwrap();
    let now = bench.wait(10);
    assert_eq!(bench.listed(), 1, "that it went offline is known");
    bench.world.exit(&door, now).unwrap();
    bench.unlock(&door);
    let now = bench.wait(10);
    assert_eq!(bench.listed(), 1, "what happened since is not");
    bench.world.set_online(&door, true, now).unwrap();
    bench.wait_ms(999);
    assert_eq!(bench.listed(), 1, "the list lags");
    bench.wait_ms(1);
    assert_eq!(bench.listed(), 5);
    assert_eq!(
        bench.told(&door),
        [
            ("door_acu_offline", 0),
            ("door_press_to_exit_accepted", 10),
            ("door_unlocked", 10),
            ("door_locked", 13),
            ("door_acu_startup", 20),
        ],
        "the unlock from afar did not reach it"
    );
}

#[test]
fn a_controller_hears_of_a_scenario_when_it_is_back() {
    let mut bench = Bench::new();
    let (door, now, lockdown) = (bench.door(), bench.now, bench.scenario("Lockdown Heron Mill"));
    bench.world.toggle_schedule(&door, now).unwrap();
    bench.world.set_online(&door, false, now).unwrap();
    bench.world.set_active(&lockdown, true, None, now).unwrap();
    assert!(!bench.world.door_state(&door).unwrap().locked);
    let now = bench.wait(1);
    bench.world.set_online(&door, true, now).unwrap();
    assert!(bench.world.door_state(&door).unwrap().locked);
}

#[test]
fn pushes_fall_due_by_their_own_delay_and_in_order() {
    let mut bench = Bench::new();
    bench.world.journal.pushing = true;
    bench.world.switches.webhook_delay_ms = 2_000;
    let door = bench.door();
    bench.unlock(&door);
    let now = bench.wait_ms(1_999);
    assert_eq!(bench.world.journal.take_pushes(now.mono).len(), 0);
    assert_eq!(bench.world.next_deadline(), Some(now.mono + Duration::from_millis(1)));
    let now = bench.wait_ms(1);
    let words: Vec<_> = bench.world.journal.take_pushes(now.mono).iter().map(|event| event.word).collect();
    assert_eq!(words, ["door_remote_unlock_accepted", "door_unlocked"]);
}

#[test]
fn a_removed_door_does_nothing_more_and_a_renamed_one_keeps_its_id() {
    let mut bench = Bench::new();
    let (door, now) = (bench.door(), bench.now);
    bench.world.edit_door(&door, |door| door.name = "Side Door".to_owned()).unwrap();
    assert_eq!(bench.world.door(&door).unwrap().name, "Side Door");
    let copy = Door::clone(bench.world.door(&door).unwrap());
    assert_eq!(bench.world.add_door(copy.clone()), Err(ActError::DoorExists(door.clone())));
    bench.unlock(&door);
    bench.world.remove_door(&door).unwrap();
    bench.wait(100);
    assert_eq!(bench.told(&door).len(), 2, "it does not relock");
    assert_eq!(bench.world.open(&door, now), Err(ActError::UnknownDoor(door)));
    assert_eq!(bench.world.add_door(copy), Ok(()));
}
