use super::*;
use crate::{bridge::scenarios::Activation, model::Controller, rng::Rng};

const DOOR: &str = "d-1";
const ACU: &str = "acu-1";

/// Seconds of event time.
fn at(seconds: u64) -> Timestamp {
    Timestamp::from_second(1_764_072_000).unwrap() + Duration::from_secs(seconds)
}

/// Both clocks, so many seconds after the beginning.
fn after(begin: Instant, seconds: u64) -> Now {
    Now { mono: begin + Duration::from_secs(seconds), utc: at(seconds) }
}

fn event(id: usize, word: &str, seconds: u64) -> AccessEvent {
    AccessEvent {
        id: format!("e-{id}").parse().unwrap(),
        kind: EventKind::of_word(word),
        word: word.to_owned(),
        at: at(seconds),
        door: Some(DOOR.parse().unwrap()),
        controller: None,
        direction: None,
        message: None,
        person: None,
    }
}

fn wired_door() -> Door {
    Door {
        id: DOOR.parse().unwrap(),
        name: None,
        site: None,
        controller: Some(Controller { id: ACU.parse().unwrap(), name: None }),
        api_control: None,
        time_zone: None,
    }
}

/// One listed door, nothing known of it.
fn listed(choices: Choices, now: Now) -> Doors {
    let mut doors = Doors::new(Duration::from_secs(5));
    let list = Inventory { items: vec![wired_door()], skipped: Vec::new() };
    doors.observe(list, &Selection::default(), |_| choices, now);
    doors
}

fn cover(doors: &mut Doors, on: bool, now: Now) {
    let newest = Activation { after: Some(now.utc), by: now.utc };
    let coverage = Coverage { newest, by: BTreeSet::from(["s-1".parse().unwrap()]) };
    let covered = if on { BTreeMap::from([(DOOR.parse().unwrap(), coverage)]) } else { BTreeMap::new() };
    doors.cover(&covered, now);
}

/// Everything that is shown of the door.
fn shown(doors: &Doors) -> String {
    let id = DOOR.parse().unwrap();
    let (door, record) = doors.listed(&id).unwrap();
    let problems = Problem::ALL
        .map(|problem| (doors.problem(door, record, problem), doors.tells_of(door, record, problem)));
    let due = doors.next_expiry().map(|_| record.next_expiry());
    format!("{:?} {problems:?} {} {due:?}", record.face(), doors.is_cut_off(door))
}

fn lock(doors: &Doors) -> (Lock, Source) {
    let shown = doors.records[&DOOR.parse().unwrap()].shown();
    (shown.lock, shown.source)
}

/// Word and second of each event; whether a scenario covers the door since second 5; what is shown.
type Case<'a> = (&'a [(&'a str, u64)], bool, (Lock, Source));

/// The rows of `verkada-api.md` 5.2 about the lock, and what each weighs against the others. `begin` only serves to
/// count from.
fn check_ranks(begin: Instant) {
    use Lock::{Locked, Unknown, Unlocked};
    let (event_says, nothing) = (Source::Event, Source::Nothing);
    let cases: [Case<'_>; 21] = [
        (&[], false, (Unknown, nothing)),
        (&[("door_unlocked", 1)], false, (Unlocked, event_says)),
        (&[("door_locked", 1)], false, (Locked, event_says)),
        (&[("door_unlocked", 1), ("door_locked", 2)], false, (Locked, event_says)),
        (&[("door_unlocked", 2), ("door_locked", 2)], false, (Unknown, event_says)),
        // An opening, and somebody's name on an event, prove nothing about the lock.
        (&[("door_opened", 3), ("door_closed", 4)], false, (Unknown, nothing)),
        // A grant is a guess, and lock events are better.
        (&[("door_keycard_entered_accepted", 3)], false, (Unlocked, event_says)),
        (&[("door_press_to_exit_accepted", 3)], false, (Unlocked, event_says)),
        (&[("door_aux_unlock", 3)], false, (Unlocked, event_says)),
        (&[("door_granted", 3), ("door_locked", 4)], false, (Locked, event_says)),
        (&[("door_locked", 2), ("door_remote_unlock_accepted", 3)], false, (Unknown, event_says)),
        (&[("door_unlocked", 2), ("door_granted", 3)], false, (Unlocked, event_says)),
        (&[("door_keycard_entered_rejected", 3)], false, (Unknown, nothing)),
        // Changes without direction take away what was known, and a later event gives it back.
        (&[("door_locked", 2), ("door_lock_state_changed", 3)], false, (Unknown, event_says)),
        (&[("door_locked", 2), ("door_schedule_toggle", 3)], false, (Unknown, event_says)),
        (&[("door_schedule_override_applied", 2), ("door_locked", 3)], false, (Locked, event_says)),
        (&[("door_granted", 2), ("door_schedule_override_removed", 3)], false, (Unknown, event_says)),
        // A scenario locks the door; only what happens later says otherwise. The event of it is no proof by itself.
        (&[("door_unlocked", 4)], true, (Locked, Source::Scenario)),
        (&[("door_unlocked", 6)], true, (Unlocked, event_says)),
        (&[("door_schedule_toggle", 6)], true, (Unknown, event_says)),
        (&[("door_lockdown", 6)], false, (Unknown, nothing)),
    ];
    for (events, covered, expected) in cases {
        let mut doors = listed(Choices::default(), after(begin, 0));
        if covered {
            cover(&mut doors, true, after(begin, 5));
        }
        for (id, (word, seconds)) in events.iter().enumerate() {
            doors.apply(&event(id, word, *seconds), after(begin, 7));
        }
        assert_eq!(lock(&doors), expected, "{events:?}, covered {covered}");
    }
}

/// Row by row: a controller out of reach, and what proves that it is back.
fn check_controllers(begin: Instant) {
    for (words, cut_off) in [
        (&["door_acu_offline"][..], true),
        (&["door_acu_offline", "door_acu_startup"], false),
        (&["door_acu_offline", "door_keycard_entered_rejected"], false),
        (&["door_opened", "door_acu_offline"], true),
    ] {
        let mut doors = listed(Choices::default(), after(begin, 0));
        for (id, word) in words.iter().enumerate() {
            doors.apply(&event(id, word, u64::try_from(id).unwrap()), after(begin, 9));
        }
        let id = DOOR.parse().unwrap();
        let (door, _) = doors.listed(&id).unwrap();
        assert_eq!(doors.is_cut_off(door), cut_off, "{words:?}");
    }
}

/// What tells how far the evidence reaches; none of it may ever go back.
fn reach(doors: &Doors) -> [Option<Timestamp>; 4] {
    let record = &doors.records[&DOOR.parse().unwrap()];
    let [proof, grant] = record.evidence.reach();
    let event = record.last_event.as_ref().map(|last| last.at);
    let controller = doors.controllers.get(&ACU.parse().unwrap());
    [proof, grant, event, controller.and_then(Heard::alive)]
}

const WORDS: [&str; 17] = [
    "door_unlocked",
    "door_locked",
    "door_opened",
    "door_closed",
    "door_held_open",
    "door_forced_open",
    "door_keycard_entered_accepted",
    "door_remote_unlock_accepted",
    "door_code_entered_rejected",
    "door_schedule_toggle",
    "door_tamper",
    "door_fire_alarm_triggered",
    "door_fire_alarm_released",
    "door_acu_fire_alarm_triggered",
    "door_acu_fire_alarm_released",
    "door_acu_offline",
    "door_acu_startup",
];

/// Events of a few seconds, some of them twice, told up to a minute late.
struct Telling {
    begin: Instant,
    choices: Choices,
    /// Whether an unlock of ours, or a scenario, comes before all of them arrive.
    unlocked: bool,
    covered: bool,
    read_at: u64,
    events: Vec<AccessEvent>,
}

impl Telling {
    fn random(begin: Instant, rng: &mut Rng) -> Self {
        let mut events = Vec::new();
        for id in 0..4 + usize::try_from(rng.below(4)).unwrap() {
            let word = WORDS[usize::try_from(rng.below(17)).unwrap()];
            events.push(event(id, word, 1 + rng.below(6)));
        }
        let again = usize::try_from(rng.below(4)).unwrap();
        events.push(events[again].clone());
        Self {
            begin,
            choices: Choices { assume_locked: rng.one_in(4), relocks_on_open: rng.one_in(2) },
            unlocked: rng.one_in(3),
            covered: rng.one_in(3),
            read_at: if rng.one_in(4) { 66 } else { 7 },
            events,
        }
    }

    fn shuffled(&self, rng: &mut Rng) -> Vec<&AccessEvent> {
        let mut order: Vec<_> = self.events.iter().collect();
        rng.shuffle(&mut order);
        order
    }

    /// What is shown after they came in this order. On the way no evidence goes back.
    fn told<'a>(&self, order: impl IntoIterator<Item = &'a AccessEvent>) -> String {
        let mut doors = listed(self.choices, after(self.begin, 0));
        if self.covered {
            cover(&mut doors, true, after(self.begin, 2));
        }
        if self.unlocked {
            doors.unlocked(&DOOR.parse().unwrap(), Some(Duration::from_secs(30)), after(self.begin, 3));
        }
        let now = after(self.begin, self.read_at);
        for event in order {
            let before = reach(&doors);
            doors.apply(event, now);
            let reached = reach(&doors);
            assert!(before.iter().zip(&reached).all(|(before, now)| before <= now), "{event:?}");
        }
        doors.expire(now);
        shown(&doors)
    }
}

#[test]
fn known_sources_are_ranked() {
    let begin = crate::clock::now().mono;
    check_ranks(begin);
    check_controllers(begin);
}

#[test]
fn no_order_of_the_same_events_shows_anything_else() {
    let begin = crate::clock::now().mono;
    for seed in 0..1_000 {
        let mut rng = Rng::new(seed);
        let telling = Telling::random(begin, &mut rng);
        let expected = telling.told(&telling.events);
        for _ in 0..100 {
            let order = telling.shuffled(&mut rng);
            let got = telling.told(order.iter().copied());
            assert_eq!(got, expected, "seed {seed}: {order:#?}");
        }
    }
}

#[test]
fn a_scenario_that_ends_ends_the_evidence_of_doors_that_were_not_listed_when_it_began() {
    let begin = crate::clock::now().mono;
    let mut doors = Doors::new(Duration::from_secs(5));
    cover(&mut doors, true, after(begin, 1));
    doors.apply(&event(0, "door_locked", 2), after(begin, 3));
    cover(&mut doors, false, after(begin, 4));
    let list = Inventory { items: vec![wired_door()], skipped: Vec::new() };
    doors.observe(list, &Selection::default(), |_| Choices::default(), after(begin, 5));
    assert_eq!(lock(&doors), (Lock::Unknown, Source::Nothing));
}

#[test]
fn the_end_of_a_command_is_shown_at_its_door_and_changes_nothing_else() {
    let begin = crate::clock::now().mono;
    let mut doors = Doors::new(Duration::from_secs(5));
    let list = Inventory { items: vec![wired_door()], skipped: Vec::new() };
    doors.observe(list, &Selection::default(), |_| Choices::default(), after(begin, 0));
    let id = wired_door().id;
    assert_eq!(doors.take_changed(), BTreeSet::from([id.clone()]));
    let last = LastCommand { action: "unlock", outcome: "refused", at: after(begin, 1).utc };
    doors.note_command(&id, last);
    assert_eq!((doors.take_changed(), doors.take_noted()), (BTreeSet::new(), BTreeSet::from([id])));
}
