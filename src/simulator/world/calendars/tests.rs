//! Exceptions as exact times at which a door is free, and as exact sequences of events.

use jiff::civil::{Date, Time, date, time};

use super::super::{tests::Bench, *};
use super::*;
use crate::{
    clock,
    model::ScenarioId,
    simulator::{
        calendar::{Recurrence, recurrence::Frequency},
        switches::CalendarOverlap,
    },
};

/// A Friday in Amsterdam, at noon.
const NOON: &str = "2026-09-18T12:00:00+02:00";
const DAY: Date = date(2026, 9, 18);

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const fn minute(hour: i8, minute: i8) -> Time {
    time(hour, minute, 0, 0)
}

fn once(status: DoorStatus, day: Date, start: (i8, i8), end: (i8, i8)) -> Exception {
    Exception::once(status, day, minute(start.0, start.1), minute(end.0, end.1))
}

fn unlocked(day: Date, start: (i8, i8), end: (i8, i8)) -> Exception {
    once(DoorStatus::Unlocked, day, start, end)
}

impl Bench {
    /// A world in which it is `begin`.
    fn at(begin: &str, switches: Switches) -> Self {
        let now = Now { utc: at(begin), ..clock::now() };
        Self { world: World::new(Organisation::demo(), switches, now), now }
    }

    fn noon() -> Self {
        Self::at(NOON, Switches::default())
    }

    fn wait_until(&mut self, then: &str) {
        let passed = Duration::try_from(at(then).duration_since(self.now.utc)).unwrap();
        self.wait_ms(u64::try_from(passed.as_millis()).unwrap());
    }

    fn put(&mut self, id: Option<&str>, exceptions: Vec<Exception>) -> Result<Arc<Calendar>, Broken> {
        let old = id.and_then(|id| self.world.calendar(id)).map(|calendar| calendar.content());
        let keys = old.into_iter().flat_map(|old| old.exceptions).map(|(key, _)| key);
        let keys = keys.chain(std::iter::repeat(None));
        let exceptions = keys.zip(exceptions).collect();
        let content = Content { name: "Test".to_owned(), doors: vec![self.door()], exceptions };
        self.world.write_calendar(id, content, self.now).map(|(calendar, _)| calendar)
    }

    fn hold(&mut self, exception: Exception) -> Arc<Calendar> {
        self.put(None, vec![exception]).unwrap()
    }

    /// When the door is free, in wall-clock time at its place, in a week around now.
    fn free(&self) -> Vec<(String, String)> {
        let (door, zone) = (self.door(), TimeZone::get("Europe/Amsterdam").unwrap());
        let week = SignedDuration::from_hours(7 * 24);
        let spans = self.world.free(&door, self.now.utc - week, self.now.utc + week, self.now).unwrap();
        let text = |at: Timestamp| zone.to_datetime(at).strftime("%d %H:%M:%S").to_string();
        spans.into_iter().map(|span| (text(span.from), text(span.until))).collect()
    }

    fn is_free(&self) -> bool {
        let locked = self.world.door_state(&self.door()).unwrap().locked;
        !locked
    }
}

fn spans(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(from, until)| ((*from).to_owned(), (*until).to_owned())).collect()
}

#[test]
fn an_exception_frees_the_door_from_its_start_to_its_end_and_tells_it() {
    let mut bench = Bench::noon();
    let door = bench.door();
    bench.hold(unlocked(DAY, (12, 10), (12, 40)));
    let foreseen = bench.free();
    assert_eq!(foreseen, spans(&[("18 12:10:00", "18 12:40:00")]));
    bench.wait_until("2026-09-18T12:09:59+02:00");
    assert!(!bench.is_free());
    bench.wait_until("2026-09-18T12:10:00+02:00");
    assert!(bench.is_free());
    bench.wait_until("2026-09-18T12:39:59+02:00");
    assert!(bench.is_free());
    bench.wait_until("2026-09-19T12:00:00+02:00");
    assert_eq!(bench.free(), foreseen, "what was is what was foreseen, however late the clock was read");
    assert_eq!(
        bench.told(&door),
        [
            ("door_schedule_toggle", 600),
            ("door_unlocked", 600),
            ("door_schedule_toggle", 2_400),
            ("door_locked", 2_400),
        ]
    );
    let inputs: Vec<_> = bench.world.journal.all().filter_map(|event| event.note.input.clone()).collect();
    assert_eq!(inputs, ["unlocked", "locked"]);
    let times = bench.world.unlocked(&door).unwrap();
    let by: Vec<_> = times.iter().map(|time| (time.by, time.until.is_some())).collect();
    assert_eq!(by, [(UnlockedBy::Exception, true)]);
}

#[test]
fn schedule_exception_lockdown_and_momentary_unlock_have_their_order() {
    let mut bench = Bench::noon();
    let (door, lockdown) = (bench.door(), bench.scenario("Lockdown Heron Mill"));
    let now = bench.now;
    bench.world.toggle_schedule(&door, now).unwrap();
    assert!(bench.is_free(), "the schedule");
    bench.hold(once(DoorStatus::Locked, DAY, (12, 0), (12, 10)));
    assert!(!bench.is_free(), "an exception beats the schedule");
    bench.unlock(&door);
    assert!(bench.is_free(), "a momentary unlock is on top");
    bench.wait(10);
    assert!(!bench.is_free());
    bench.hold(unlocked(DAY, (12, 0), (12, 10)));
    assert!(bench.is_free(), "the later exception");
    let now = bench.now;
    bench.world.set_active(&lockdown, true, None, now).unwrap();
    assert!(!bench.is_free(), "a lockdown beats an exception");
    bench.unlock(&door);
    assert!(bench.is_free());
    bench.wait(10);
    assert!(!bench.is_free());
    let now = bench.now;
    bench.world.set_active(&lockdown, false, None, now).unwrap();
    assert!(bench.is_free());
    bench.wait_until("2026-09-18T13:00:00+02:00");
    let by: Vec<_> = bench.world.unlocked(&door).unwrap().iter().map(|time| time.by).collect();
    assert_eq!(
        by,
        [
            UnlockedBy::Schedule,
            UnlockedBy::Momentary,
            UnlockedBy::Exception,
            UnlockedBy::Momentary,
            UnlockedBy::Exception,
            UnlockedBy::Schedule,
        ]
    );
}

#[test]
fn an_exception_beats_a_lockdown_where_that_is_so() {
    for (beats, free) in [(true, false), (false, true)] {
        let switches = Switches { lockdown_beats_exceptions: beats, ..Switches::default() };
        let mut bench = Bench::at(NOON, switches);
        let lockdown: ScenarioId = bench.scenario("Lockdown Heron Mill");
        bench.hold(unlocked(DAY, (12, 0), (12, 10)));
        let now = bench.now;
        bench.world.set_active(&lockdown, true, None, now).unwrap();
        assert_eq!(bench.is_free(), free);
        bench.wait(600);
        assert!(!bench.is_free(), "the lockdown is left");
    }
}

#[test]
fn a_start_in_the_past_counts_or_not_or_is_refused() {
    for (position, taken, expected) in [
        (ExceptionStarted::AtOnce, true, spans(&[("18 12:00:30", "18 12:10:00")])),
        (ExceptionStarted::NextStart, true, vec![]),
        (ExceptionStarted::Refused, false, vec![]),
    ] {
        let switches = Switches { exception_started: position, ..Switches::default() };
        let mut bench = Bench::at(NOON, switches);
        bench.wait(30);
        let put = bench.put(None, vec![unlocked(DAY, (12, 0), (12, 10))]);
        let refused = "start_time must not be in the past".to_owned();
        assert_eq!(put.as_ref().err(), (!taken).then_some(&refused), "{position:?}");
        assert_eq!(bench.free(), expected, "{position:?}");
        let later = bench.hold(unlocked(DAY, (12, 1), (12, 10)));
        bench.wait(60);
        let longer = bench.put(Some(&later.id), vec![unlocked(DAY, (12, 1), (12, 20))]);
        assert!(longer.is_ok(), "a start that does not move is no new one: {position:?}");
        assert_eq!(bench.free().last().unwrap().1, "18 12:20:00", "{position:?}");
    }
}

#[test]
fn a_recurrence_that_has_started_waits_for_its_next_day() {
    let daily = Recurrence { frequency: Frequency::Daily, ..weekly() };
    let daily = Exception { recurrence: Some(daily), ..unlocked(DAY, (11, 0), (13, 0)) };
    for (position, first) in
        [(ExceptionStarted::AtOnce, "18 12:00:00"), (ExceptionStarted::NextStart, "19 11:00:00")]
    {
        let switches = Switches { exception_started: position, ..Switches::default() };
        let mut bench = Bench::at(NOON, switches);
        bench.hold(daily.clone());
        assert_eq!(bench.free().first().unwrap().0, first, "{position:?}");
    }
}

fn weekly() -> Recurrence {
    Recurrence {
        frequency: Frequency::Weekly,
        interval: 1,
        by_day: None,
        by_month: None,
        by_month_day: None,
        by_set_pos: None,
        count: None,
        until: None,
        excluded_dates: None,
    }
}

#[test]
fn of_two_calendars_the_position_says_which_one_wins() {
    for (position, first, second) in [
        (CalendarOverlap::LastUpdated, true, false),
        (CalendarOverlap::MostLocked, false, false),
        (CalendarOverlap::MostOpen, true, true),
    ] {
        let switches = Switches { calendar_overlap: position, ..Switches::default() };
        let mut bench = Bench::at(NOON, switches);
        let open = bench.hold(once(DoorStatus::CardAndCode, DAY, (12, 0), (13, 0)));
        bench.hold(once(DoorStatus::AccessControlled, DAY, (12, 0), (13, 0)));
        bench.put(Some(&open.id), vec![unlocked(DAY, (12, 0), (13, 0))]).unwrap();
        assert_eq!(bench.is_free(), first, "the opening one was updated last: {position:?}");
        bench.hold(once(DoorStatus::Locked, DAY, (12, 0), (13, 0)));
        assert_eq!(bench.is_free(), second, "the locking one was updated last: {position:?}");
    }
}

#[test]
fn exceptions_of_one_calendar_may_overlap_or_not() {
    let two = || vec![unlocked(DAY, (12, 0), (12, 30)), unlocked(DAY, (12, 20), (12, 40))];
    let mut bench = Bench::noon();
    bench.put(None, two()).unwrap();
    assert_eq!(bench.free(), spans(&[("18 12:00:00", "18 12:40:00")]));
    let switches = Switches { exception_overlap: ExceptionOverlap::Refused, ..Switches::default() };
    let mut bench = Bench::at(NOON, switches);
    let told = bench.put(None, two()).unwrap_err();
    assert_eq!(told, "exceptions of a calendar must not overlap");
    let apart = vec![unlocked(DAY, (12, 0), (12, 20)), unlocked(DAY, (12, 20), (12, 40))];
    bench.put(None, apart).unwrap();
    assert_eq!(bench.free(), spans(&[("18 12:00:00", "18 12:40:00")]), "no gap between them");
}

#[test]
fn writes_reach_the_controller_after_the_delay() {
    let switches = Switches { exception_delay_ms: 5_000, ..Switches::default() };
    let mut bench = Bench::at(NOON, switches);
    let calendar = bench.hold(unlocked(DAY, (12, 0), (12, 10)));
    assert_eq!(bench.free(), spans(&[("18 12:00:05", "18 12:10:00")]));
    bench.wait_ms(4_999);
    assert!(!bench.is_free());
    bench.wait_ms(1);
    assert!(bench.is_free());
    let now = bench.now;
    bench.world.delete_calendar(&calendar.id, now);
    assert!(bench.is_free());
    assert_eq!(bench.free(), spans(&[("18 12:00:05", "18 12:00:10")]), "the end is foreseen");
    bench.wait(5);
    assert!(!bench.is_free());
    assert_eq!(bench.free(), spans(&[("18 12:00:05", "18 12:00:10")]));
}

#[test]
fn an_offline_controller_keeps_the_end_and_hears_of_changes_when_it_is_back() {
    let mut bench = Bench::noon();
    let (door, now) = (bench.door(), bench.now);
    let calendar = bench.hold(unlocked(DAY, (12, 0), (12, 10)));
    bench.world.set_online(&door, false, now).unwrap();
    bench.put(Some(&calendar.id), vec![unlocked(DAY, (12, 0), (12, 30))]).unwrap();
    let now = bench.wait(600);
    assert!(!bench.is_free(), "it ends as the controller knows it");
    bench.world.set_online(&door, true, now).unwrap();
    assert!(bench.is_free());
    bench.wait(1_200);
    assert!(!bench.is_free());
    assert_eq!(bench.free(), spans(&[("18 12:00:00", "18 12:30:00")]), "no moment between them");
}

#[test]
fn an_end_at_23_59_lasts_through_the_day_or_not() {
    let tomorrow = DAY.tomorrow().unwrap();
    for (position, expected) in [
        (LastMinute::Counts, vec![("18 12:00:00", "19 01:00:00")]),
        (LastMinute::Exclusive, vec![("18 12:00:00", "18 23:59:00"), ("19 00:00:00", "19 01:00:00")]),
    ] {
        let switches = Switches { exception_end_2359: position, ..Switches::default() };
        let mut bench = Bench::at(NOON, switches);
        let halves = vec![unlocked(DAY, (12, 0), (23, 59)), unlocked(tomorrow, (0, 0), (1, 0))];
        bench.put(None, halves).unwrap();
        assert_eq!(bench.free(), spans(&expected), "{position:?}");
        bench.wait_until("2026-09-19T12:00:00+02:00");
        assert_eq!(bench.free(), spans(&expected), "{position:?}");
        let toggles =
            bench.told(&bench.door()).iter().filter(|(word, _)| *word == "door_schedule_toggle").count();
        assert_eq!(toggles, 2 * expected.len());
    }
}

#[test]
fn changes_of_the_clocks_count_by_the_wall() {
    let hours = |bench: &Bench| {
        let free = bench.world.free(
            &bench.door(),
            bench.now.utc,
            bench.now.utc + Duration::from_hours(24),
            bench.now,
        );
        free.unwrap().iter().map(|span| span.until.duration_since(span.from).as_mins()).sum::<i64>()
    };
    for (begin, day, end, minutes) in [
        // 02:00 to 03:00 does not exist.
        ("2026-03-28T12:00:00+01:00", date(2026, 3, 29), (4, 0), 120),
        ("2026-03-28T12:00:00+01:00", date(2026, 3, 29), (2, 30), 60),
        // 02:00 to 03:00 comes twice.
        ("2026-10-24T12:00:00+02:00", date(2026, 10, 25), (4, 0), 240),
        ("2026-10-24T12:00:00+02:00", date(2026, 10, 25), (2, 30), 120),
    ] {
        let mut bench = Bench::at(begin, Switches::default());
        bench.hold(unlocked(day, (1, 0), end));
        assert_eq!(hours(&bench), minutes, "{day} {end:?}");
        let start = bench.now.utc;
        bench.wait(24 * 3_600);
        let was = bench.world.free(&bench.door(), start, bench.now.utc, bench.now).unwrap();
        let was: i64 = was.iter().map(|span| span.until.duration_since(span.from).as_mins()).sum();
        assert_eq!(was, minutes, "what was is what was foreseen: {day} {end:?}");
    }
}

#[test]
fn an_exception_is_in_the_zone_of_its_door() {
    let mut bench = Bench::noon();
    let door = bench.door();
    bench.hold(unlocked(DAY, (12, 30), (13, 0)));
    bench.world.edit_door(&door, |door| door.time_zone = "America/New_York".to_owned()).unwrap();
    let now = bench.now;
    bench.world.follow_exceptions(&door, now);
    assert_eq!(bench.free(), spans(&[("18 18:30:00", "18 19:00:00")]), "seen from Amsterdam");
    bench.wait_until("2026-09-18T18:30:00+02:00");
    assert!(bench.is_free());
}

#[test]
fn a_supervisor_brings_an_exception_into_force() {
    let mut bench = Bench::noon();
    let (door, caretaker, staff) = (bench.door(), bench.person_of("Caretakers"), bench.person_of("Staff"));
    let leaders = bench.world.person(&caretaker).unwrap().groups.clone();
    let exception = Exception {
        first_person_in: true,
        first_person_in_groups: leaders,
        ..unlocked(DAY, (12, 0), (13, 0))
    };
    bench.hold(exception);
    let now = bench.now;
    assert_eq!(bench.world.badge(&door, Some(&staff), now), Ok(Verdict::Accepted));
    let now = bench.wait(60);
    assert!(!bench.is_free());
    assert_eq!(bench.world.badge(&door, Some(&caretaker), now), Ok(Verdict::Accepted));
    bench.wait(60);
    assert!(bench.is_free());
    bench.wait_until("2026-09-18T13:00:00+02:00");
    assert!(!bench.is_free());
}

#[test]
fn a_card_alone_does_not_pass_where_nobody_may_or_a_code_is_needed() {
    for (status, verdict) in [
        (DoorStatus::Locked, Verdict::Rejected),
        (DoorStatus::CardAndCode, Verdict::Rejected),
        (DoorStatus::AccessControlled, Verdict::Accepted),
    ] {
        let mut bench = Bench::noon();
        let (door, caretaker) = (bench.door(), bench.person_of("Caretakers"));
        bench.hold(once(status, DAY, (12, 0), (13, 0)));
        let now = bench.now;
        assert_eq!(bench.world.badge(&door, Some(&caretaker), now), Ok(verdict), "{status:?}");
    }
}

#[test]
fn without_events_of_schedules_the_lock_moves_in_silence() {
    let switches = Switches { schedule_lock_events: false, ..Switches::default() };
    let mut bench = Bench::at(NOON, switches);
    let door = bench.door();
    bench.hold(unlocked(DAY, (12, 0), (12, 10)));
    assert!(bench.is_free());
    bench.wait(600);
    let now = bench.now;
    bench.world.toggle_schedule(&door, now).unwrap();
    assert!(bench.is_free());
    let toggle = "door_schedule_toggle";
    assert_eq!(bench.told(&door), [(toggle, 0), (toggle, 600), (toggle, 600)]);
}

#[test]
fn a_door_that_is_gone_is_in_no_calendar() {
    let mut bench = Bench::noon();
    let door = bench.door();
    let calendar = bench.hold(unlocked(DAY, (12, 0), (12, 10)));
    bench.world.remove_door(&door).unwrap();
    assert_eq!(bench.world.calendar(&calendar.id).unwrap().doors, []);
    assert_eq!(bench.world.unlocked(&door), Err(ActError::UnknownDoor(door)));
}

#[test]
fn reads_follow_a_write_after_the_delay() {
    let switches = Switches { calendar_state_delay_ms: 3_000, ..Switches::default() };
    let mut bench = Bench::at(NOON, switches);
    let shown = |bench: &Bench| {
        let mut shown = bench.world.shown_calendars(bench.now);
        shown.next().map(|calendar| calendar.exceptions.len())
    };
    let calendar = bench.hold(unlocked(DAY, (13, 0), (14, 0)));
    bench.wait_ms(2_999);
    assert_eq!((bench.world.calendars().count(), shown(&bench)), (1, None));
    bench.wait_ms(1);
    assert_eq!(shown(&bench), Some(1));
    let now = bench.now;
    bench.world.delete_calendar(&calendar.id, now);
    assert_eq!((bench.world.calendars().count(), shown(&bench)), (0, Some(1)));
    bench.wait(3);
    assert_eq!(shown(&bench), None);
}

#[test]
fn levels_admit_by_group_door_day_and_hour_in_the_zone_of_the_door() {
    let mut bench = Bench::at("2026-09-18T17:59:59+02:00", Switches::default());
    let cleaner = bench.world.person(&bench.person_of("Cleaners")).unwrap();
    let passed = |bench: &Bench| {
        let doors =
            bench.world.doors().filter(|door| bench.world.may_pass(&cleaner, &door.id, bench.now.utc));
        doors.count()
    };
    assert_eq!(passed(&bench), 0);
    bench.wait(1);
    assert_eq!(passed(&bench), 2, "the two doors that the level names, on a Friday");
    bench.wait_until("2026-09-18T22:00:00+02:00");
    assert_eq!(passed(&bench), 0);
    bench.wait(24 * 3_600 - 3_600);
    assert_eq!(passed(&bench), 0, "on a Saturday");
    bench.wait_until("2026-09-21T18:00:00+02:00");
    let (door, zone) = (bench.door(), "Asia/Tokyo".to_owned());
    bench.world.edit_door(&door, |door| door.time_zone = zone).unwrap();
    assert_eq!(passed(&bench), 1, "where the other one is it is night");
}
