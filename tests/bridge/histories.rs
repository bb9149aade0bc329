//! Random histories of holds and of changes of calendars, with faults, crashes and people who edit calendars at the vendor: no
//! write ever touches a calendar that is neither the gateway's own nor allowed, nothing that opens is written again after an end
//! of unknown fate, and in the end no door is left unlocked.
//!
//! `HISTORIES=n` runs that many, `SEED=n` one; a failure prints its seed.

#![expect(clippy::wildcard_enum_match_arm, reason = "only writes matter here")]

use jiff::{SignedDuration, Timestamp, tz::TimeZoneDatabase};
use verkada2mqtt::{
    model::{
        Calendar, CalendarContent, CalendarId, Call, DoorMode, Exception, ExceptionMode, Hours, Request,
    },
    rng::Rng,
};

use super::{bench::Bench, environment::number, *};

const DOORS: [&str; 2] = ["d-1", "d-2"];
const ZONES: [&str; 5] =
    ["UTC", "Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe", "Pacific/Chatham"];
/// What others keep, and commands may change.
const ALLOWED: [&str; 2] = ["allowed-0", "allowed-1"];
const STEPS: u64 = 24;
const LONGEST: u64 = 12 * 3600;

struct History {
    seed: u64,
    rng: Rng,
    bench: Bench,
    zone: &'static str,
    /// What others keep in their calendars.
    foreign: Vec<Calendar>,
    /// Doors of which a write that opens ended without proof, since the last command for them.
    barred: BTreeSet<String>,
    /// The newest call when a hold of a door was last asked for.
    asked: BTreeMap<String, u64>,
    /// The newest call that was seen.
    newest: u64,
    /// Changes of which a write ended without proof.
    unproven: Vec<Request>,
    writes: Writes,
}

/// Writes that were looked at.
#[derive(Debug, Default, Clone, Copy)]
struct Writes {
    own: usize,
    allowed: usize,
}

fn name_of(door: &str) -> String {
    format!("verkada2mqtt verkada {door}")
}

fn exception(id: &str, mode: DoorMode, at: Timestamp) -> Exception {
    let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
    Exception {
        id: Some(id.parse().unwrap()),
        date,
        hours: Hours::Between("00:00".parse().unwrap(), "23:59".parse().unwrap()),
        mode: ExceptionMode::Known(mode),
        first_person_in: None,
        double_badge: None,
        recurrence: None,
    }
}

impl History {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let zone = *rng.pick(&ZONES).unwrap();
        let bench = Bench::settled_with(settings_of(), |bench| {
            bench.doors = DOORS
                .iter()
                .map(|id| verkada2mqtt::model::Door { time_zone: Some(zone.to_owned()), ..door(id, "Door") })
                .collect();
            bench.scenarios = vec![scenario("s-1", &["d-1"])];
        });
        let names =
            [None, Some("Holidays"), Some("verkada2mqtt verkada d-3"), Some("verkada2mqtt verkada d-1 2")];
        let calendar = |(n, name): (usize, Option<&str>)| Calendar {
            id: format!("foreign-{n}").parse().unwrap(),
            name: name.map(str::to_owned),
            doors: DOORS.map(|id| id.parse().unwrap()).to_vec(),
            exceptions: vec![exception(&format!("f-{n}"), DoorMode::Unlocked, bench.now.utc)],
            updated_at: None,
            skipped: Vec::new(),
        };
        let foreign: Vec<Calendar> = names.into_iter().enumerate().map(calendar).collect();
        let mut history = Self {
            seed,
            rng,
            bench,
            zone,
            foreign,
            barred: BTreeSet::new(),
            asked: BTreeMap::new(),
            newest: 0,
            unproven: Vec::new(),
            writes: Writes::default(),
        };
        history.bench.shelf.calendars.clone_from(&history.foreign);
        history.bench.shelf.calendars.extend(ALLOWED.map(|id| Calendar {
            id: id.parse().unwrap(),
            exceptions: vec![exception(&format!("{id}-e"), DoorMode::Locked, history.bench.now.utc)],
            ..history.foreign[1].clone()
        }));
        history
    }

    fn play(mut self) -> Writes {
        for step in 0..STEPS {
            self.step(step);
            self.look();
        }
        // Whoever was away is back, and the longest hold is over.
        for _ in 0..14 {
            self.bench.run(secs(3_600));
            self.look();
            while !self.bench.open.is_empty() {
                self.answer(true);
            }
        }
        self.bench.take_log();
        for door in DOORS {
            assert!(
                !self.is_free(door),
                "seed {}: {door} is left unlocked: {:?}",
                self.seed,
                self.bench.shelf
            );
        }
        self.writes
    }

    fn step(&mut self, step: u64) {
        let door = *self.rng.pick(&DOORS).unwrap();
        match self.rng.below(15) {
            0..=3 => {
                let mode = self.rng.pick(&["UNLOCKED", "CREDENTIAL", "CARD_AND_CODE", "LOCKED"]).unwrap();
                let minutes = 1 + self.rng.below(720);
                let payload = format!(r#"{{"mode":"{mode}","for":{minutes},"id":"h-{step}"}}"#);
                self.barred.remove(door);
                self.asked.insert(door.to_owned(), self.newest);
                self.bench.command(&format!("door/{door}/hold"), &payload);
            }
            4 => self.bench.command(&format!("door/{door}/hold"), "END"),
            5 => self.bench.command(&format!("door/{door}"), "LOCK"),
            6 => {
                let on = self.rng.below(2) == 0;
                self.bench.scenarios[0].state =
                    if on { ScenarioState::Active } else { ScenarioState::Inactive };
                if on {
                    self.bench.command("scenario/s-1", "ON");
                }
            }
            7 => self.meddle(door, step),
            12..=14 => self.edit(step),
            8 if self.rng.below(3) == 0 => self.crash(),
            9 => {
                self.bench.journals = self.rng.below(4) > 0;
                self.bench.run(secs(1));
            }
            _ => {
                let by = *self.rng.pick(&[1, 5, 30, 600, 3_600]).unwrap();
                self.bench.run(secs(by));
            }
        }
        while !self.bench.open.is_empty() && self.rng.below(5) > 0 {
            self.look();
            self.answer(false);
        }
    }

    /// Every write that is open: what it touches, and how far it reaches.
    fn look(&mut self) {
        self.bench.take_log();
        for call in &self.bench.open {
            self.newest = self.newest.max(call.id.0);
            let seed = self.seed;
            let (calendar, content) = match &call.request {
                Request::CreateCalendar(content) => (None, Some(content)),
                Request::WriteCalendar { calendar, content } => (Some(calendar), Some(content)),
                Request::DeleteException { calendar, .. } if !is_allowed(calendar) => (Some(calendar), None),
                Request::CreateException { calendar, .. }
                | Request::WriteException { calendar, .. }
                | Request::DeleteException { calendar, .. } => {
                    self.writes.allowed += 1;
                    assert!(is_allowed(calendar), "seed {seed}: {:?}", call.request);
                    assert!(call.opening.is_some(), "seed {seed}: {:?}", call.request);
                    continue;
                }
                _ => continue,
            };
            self.writes.own += 1;
            if let Some(id) = calendar {
                let is_foreign = self.foreign.iter().any(|known| known.id == *id) || is_allowed(id);
                assert!(!is_foreign, "seed {seed}: {:?}", call.request);
            }
            if let Some(content) = content {
                let door = content.doors.first().unwrap().to_string();
                assert_eq!(content.doors.len(), 1, "seed {seed}: {content:?}");
                assert_eq!(content.name, name_of(&door), "seed {seed}");
                assert_eq!(call.opening.is_some(), opens(content), "seed {seed}: {content:?}");
                self.check_reach(content);
            }
        }
        for known in &self.foreign {
            assert!(self.bench.shelf.calendars.contains(known), "seed {}: {known:?} was changed", self.seed);
        }
    }

    fn check_reach(&self, content: &CalendarContent) {
        let zone = TimeZoneDatabase::bundled().get(self.zone).unwrap();
        let latest = self.bench.now.utc + SignedDuration::from_secs(i64::try_from(LONGEST).unwrap() + 120);
        for exception in &content.exceptions {
            let Hours::Between(_, end) = exception.hours else { panic!("{exception:?}") };
            let end = exception.date.to_datetime(end).to_zoned(zone.clone()).unwrap().timestamp();
            assert!(end <= latest, "seed {}: {exception:?} reaches beyond {latest}", self.seed);
        }
    }

    /// Answers the oldest call; `well` without a fault.
    fn answer(&mut self, well: bool) {
        let call = self.bench.open.remove(0);
        if self.answer_edit(&call, well) {
            return;
        }
        let is_write = matches!(
            call.request,
            Request::CreateCalendar(_) | Request::WriteCalendar { .. } | Request::DeleteException { .. }
        );
        if !is_write {
            if matches!(call.request, Request::Activate { .. }) {
                self.bench.scenarios[0].state = ScenarioState::Active;
            }
            self.bench.reply(call.id, Ok(Answer::Taken));
            return;
        }
        let door = match &call.request {
            Request::CreateCalendar(content) | Request::WriteCalendar { content, .. } => {
                content.doors.first().map(ToString::to_string)
            }
            _ => None,
        };
        if let Some(door) = door.as_ref().filter(|_| call.opening.is_some()) {
            assert!(
                !self.barred.contains(door),
                "seed {}: it is written again: {:?}",
                self.seed,
                call.request
            );
        }
        let fate = if well { 0 } else { self.rng.below(10) };
        let result = match fate {
            0..=4 => self.bench.shelf.carry_out(&call.request),
            5 | 6 => {
                if fate == 5 {
                    drop(self.bench.shelf.carry_out(&call.request));
                }
                // A command that came since then may write what it asks for.
                let is_last = |door: &String| self.asked.get(door).is_none_or(|asked| *asked < call.id.0);
                if let Some(door) = door.filter(|door| call.opening.is_some() && is_last(door)) {
                    self.barred.insert(door);
                }
                Err(Fault::Unclear(trace()))
            }
            7 => Err(Fault::NotSent(trace())),
            8 => Err(Fault::RateLimited { after: Some(secs(1)), trace: trace() }),
            _ => Err(Fault::Forbidden(trace())),
        };
        self.bench.reply(call.id, result);
    }

    /// Somebody asks for a change of a calendar: one that is allowed, or not, or the gateway's own.
    fn edit(&mut self, step: u64) {
        let (id, known) = {
            let one = self.rng.pick(&self.bench.shelf.calendars).unwrap();
            let known = one.exceptions.first().and_then(|exception| exception.id.clone());
            (one.id.clone(), known.map_or_else(|| "e-0".to_owned(), |id| id.to_string()))
        };
        let hour = self.rng.below(23);
        let exception = format!(
            r#"{{"date":"2026-12-0{}","start":"{hour:02}:00","end":"{hour:02}:30","mode":"locked"}}"#,
            1 + self.rng.below(9)
        );
        let what = match self.rng.below(3) {
            0 => format!(r#""action":"create","exception":{exception}"#),
            1 => format!(r#""action":"change","exception_id":"{known}","exception":{exception}"#),
            _ => format!(r#""action":"delete","exception_id":"{known}""#),
        };
        self.unproven.retain(|request| of(request) != Some(&id));
        self.bench.command(&format!("calendar/{id}"), &format!(r#"{{"id":"x-{step}",{what}}}"#));
    }

    /// Answers the change of a calendar that is allowed; says whether the call was one.
    fn answer_edit(&mut self, call: &Call, well: bool) -> bool {
        if !of(&call.request).is_some_and(is_allowed) {
            return false;
        }
        assert!(
            !self.unproven.contains(&call.request),
            "seed {}: it is sent again: {:?}",
            self.seed,
            call.request
        );
        let result = match if well { 0 } else { self.rng.below(8) } {
            0..=3 => self.bench.shelf.carry_out(&call.request),
            fate @ (4 | 5) => {
                if fate == 4 {
                    drop(self.bench.shelf.carry_out(&call.request));
                }
                self.unproven.push(call.request.clone());
                Err(Fault::Unclear(trace()))
            }
            6 => Err(Fault::NotSent(trace())),
            _ => Err(Fault::Rejected(trace())),
        };
        self.bench.reply(call.id, result);
        true
    }

    /// Somebody edits our calendars in Command.
    fn meddle(&mut self, door: &str, step: u64) {
        let name = name_of(door);
        let at = self.bench.now.utc;
        let calendars = &mut self.bench.shelf.calendars;
        let ours = calendars.iter().position(|calendar| calendar.name.as_deref() == Some(&name));
        let Some(ours) = ours else { return };
        match self.rng.below(4) {
            0 => drop(calendars.remove(ours)),
            1 => calendars[ours].exceptions.clear(),
            2 => calendars[ours].doors.push("d-9".parse().unwrap()),
            _ => calendars[ours].exceptions.push(exception(&format!("m-{step}"), DoorMode::Locked, at)),
        }
    }

    fn crash(&mut self) {
        self.bench.books_balance = false;
        self.bench.take_log();
        self.bench.restart_with_journal(settings_of(), secs(20));
        self.bench.books_balance = false;
        self.bench.join();
        self.bench.take_log();
    }

    /// Whether one of our exceptions keeps the door unlocked now.
    fn is_free(&self, door: &str) -> bool {
        let zone = TimeZoneDatabase::bundled().get(self.zone).unwrap();
        let shown = zone.to_datetime(self.bench.now.utc);
        let name = name_of(door);
        let ours =
            self.bench.shelf.calendars.iter().filter(|calendar| calendar.name.as_deref() == Some(&name));
        ours.flat_map(|calendar| &calendar.exceptions).any(|exception| {
            let Hours::Between(start, end) = exception.hours else { return false };
            exception.mode == ExceptionMode::Known(DoorMode::Unlocked)
                && exception.date == shown.date()
                && (start..end).contains(&shown.time())
        })
    }
}

/// The calendar of which a request changes one exception.
fn of(request: &Request) -> Option<&CalendarId> {
    match request {
        Request::CreateException { calendar, .. }
        | Request::WriteException { calendar, .. }
        | Request::DeleteException { calendar, .. } => Some(calendar),
        _ => None,
    }
}

fn is_allowed(id: &CalendarId) -> bool {
    ALLOWED.contains(&id.as_str())
}

fn settings_of() -> Settings {
    with(|settings| {
        settings.commands.hold = true;
        settings.calendars.show = true;
        // By mistake the gateway's own ones as well.
        settings.calendars.allow =
            ALLOWED.into_iter().chain(["cal-1", "cal-2"]).map(|id| id.parse().unwrap()).collect();
        settings.polls.calendars = Some(secs(300));
        settings.polls.events = secs(600);
        settings.polls.scenarios = secs(300);
        settings.polls.doors = secs(3_600);
    })
}

/// Whether a content lets anybody in that a locked door would not.
fn opens(content: &CalendarContent) -> bool {
    content.exceptions.iter().any(|exception| exception.mode != ExceptionMode::Known(DoorMode::Locked))
}

#[test]
fn no_history_touches_calendars_that_are_neither_ours_nor_allowed_or_opens_twice() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("HISTORIES").unwrap_or(100),
    };
    let mut all = Writes::default();
    for seed in seeds {
        let writes = std::panic::catch_unwind(|| History::new(seed).play())
            .unwrap_or_else(|_| panic!("seed {seed} failed: SEED={seed} runs it alone"));
        all = Writes { own: all.own + writes.own, allowed: all.allowed + writes.allowed };
    }
    assert!(all.own > 0 && all.allowed > 0, "nothing was written: {all:?}");
    println!("{all:?} were looked at");
}
