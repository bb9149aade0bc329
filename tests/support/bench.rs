//! A bench for the core: a fake clock, one input at a time, and every output of it as one line of text.
//!
//! Reads of lists are answered at once from what the bench holds, unless `auto` is off. A line that no test expected
//! fails the test, at the latest when the bench is dropped.

#[path = "calendars.rs"]
pub(crate) mod calendars;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use self::calendars::{Shelf, write_line};
use verkada2mqtt::{
    bridge::{
        Birth, Bridge, CalendarSettings, CommandSettings, DuringLockdown, HoldSettings, HoldStart, Input,
        Memory, Polls, Selection, Settings, UnlockAs,
    },
    hass::{Announcer, CodeFacts, GatewayFacts, Style, Topics},
    model::{
        AccessEvent, Action, Answer, Call, CallId, Controller, Door, EventKind, EventPage, Fault, Inventory,
        JournalEvent, Level, LinkEvent, Message, Now, Outcome, Past, PastAlarm, PastCommand, PastEnd,
        Protocol, Publication, Qos, Reason, Record, Reply, Request, Scenario, ScenarioId, ScenarioState,
        Site, Stage, Target, Trace, Unlocked,
    },
};

/// When every bench begins.
pub(crate) const START: &str = "2026-11-25T12:00:00Z";

/// Both clocks at the beginning.
#[expect(clippy::disallowed_methods, reason = "a fake clock needs one real instant to count from")]
pub(crate) fn start() -> Now {
    Now { mono: Instant::now(), utc: START.parse().unwrap() }
}

/// Both clocks, later.
pub(crate) fn later(now: Now, by: Duration) -> Now {
    Now { mono: now.mono + by, utc: now.utc + by }
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn settings(style: Style) -> Settings {
    Settings {
        announcer: Announcer {
            style,
            prefix: "homeassistant".to_owned(),
            topics: Topics::new("verkada"),
            stamp_commands: true,
            own: GatewayFacts { key_expires: true, restart: true, ..GatewayFacts::default() },
            code: CodeFacts::default(),
        },
        birth: Birth { topic: "homeassistant/status".to_owned(), payload: "online".to_owned() },
        polls: Polls {
            doors: secs(300),
            scenarios: secs(5),
            events: secs(5),
            calendars: None,
            access_levels: None,
        },
        commands: CommandSettings {
            read_only: false,
            unlock: true,
            activate: true,
            release: true,
            hold: false,
            max_age: secs(10),
            during_lockdown: DuringLockdown::Refuse,
            unlock_as: UnlockAs::Off,
        },
        holds: HoldSettings { longest: secs(12 * 3600), usual: secs(1800), start: HoldStart::ThisMinute },
        calendars: CalendarSettings::default(),
        users: BTreeMap::new(),
        code: None,
        doors: Selection::default(),
        door_settings: BTreeMap::new(),
        assume_locked: false,
        ignore_dpi_relock: true,
        open_unproven_after: secs(900),
        scenarios: Selection::default(),
        key_expires: Some("2027-11-25T00:00:00Z".parse().unwrap()),
        log_level: Level::Info,
    }
}

pub(crate) fn door(id: &str, name: &str) -> Door {
    Door {
        id: id.parse().unwrap(),
        name: Some(name.to_owned()),
        site: Some(Site { id: "site-1".parse().unwrap(), name: Some("HQ".to_owned()) }),
        controller: Some(Controller { id: "acu-1".parse().unwrap(), name: Some("ACU".to_owned()) }),
        api_control: Some(true),
        time_zone: None,
    }
}

pub(crate) fn scenario(id: &str, doors: &[&str]) -> Scenario {
    Scenario {
        id: id.parse().unwrap(),
        name: Some("Lockdown".to_owned()),
        kind: Some("lockdown".to_owned()),
        state: ScenarioState::Inactive,
        sites: vec!["site-1".parse().unwrap()],
        doors_to_lock: doors.iter().map(|id| id.parse().unwrap()).collect(),
        message: None,
    }
}

pub(crate) fn event(id: &str, kind: EventKind, door: &str, at: Timestamp) -> AccessEvent {
    AccessEvent {
        id: id.parse().unwrap(),
        kind,
        word: format!("{kind:?}").to_lowercase(),
        at,
        door: Some(door.parse().unwrap()),
        controller: None,
        direction: None,
        message: None,
        person: None,
    }
}

pub(crate) fn inventory<T>(items: Vec<T>) -> Inventory<T> {
    Inventory { items, skipped: Vec::new() }
}

pub(crate) fn trace() -> Trace {
    Trace::new("the vendor does not play along")
}

pub(crate) fn unlocked(seconds: Option<u64>) -> Answer {
    Answer::Unlocked(Unlocked { duration: seconds.map(secs) })
}

/// One line for one call.
pub(crate) fn call_line(request: &Request) -> String {
    match request {
        Request::ListDoors => "doors".to_owned(),
        Request::ListScenarios => "scenarios".to_owned(),
        Request::ReadEvents { .. } => "events".to_owned(),
        Request::Unlock { door } => format!("unlock {door}"),
        Request::UnlockAs { door, user } => format!("unlock {door} as {}", user.name()),
        Request::Activate { scenario } => format!("activate {scenario}"),
        Request::Release { scenario } => format!("release {scenario}"),
        Request::Drill => "drill".to_owned(),
        Request::ListCalendars => "calendars".to_owned(),
        Request::CreateCalendar(_)
        | Request::WriteCalendar { .. }
        | Request::CreateException { .. }
        | Request::WriteException { .. }
        | Request::DeleteException { .. } => write_line(request),
        Request::ListAccessLevels => "access levels".to_owned(),
        Request::ListAccessGroups => "access groups".to_owned(),
    }
}

/// One line for one publication: `=` retained, `!` not; JSON is shortened to what tells cases apart.
pub(crate) fn line(publication: &Publication) -> String {
    let mark = if publication.retain { '=' } else { '!' };
    let topic = publication.topic.strip_prefix("verkada/").unwrap_or(&publication.topic);
    let text = String::from_utf8(publication.payload.to_vec()).unwrap();
    assert_eq!(publication.qos, Qos::AtLeastOnce, "{topic}");
    let json = || serde_json::from_str::<Value>(&text).unwrap();
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    if topic.starts_with("homeassistant/") {
        return format!("{mark}{topic}{}", if text.is_empty() { " cleared" } else { "" });
    }
    if topic.ends_with("/attributes") && !text.is_empty() {
        let json = json();
        let state = if topic.starts_with("door") { &json["state_source"] } else { &json["vendor_state"] };
        return format!("{mark}{topic} {} {}", word(state), word(&json["last_command"]["outcome"]));
    }
    if topic.ends_with("/result") || text.starts_with("{\"action\"") {
        let json = json();
        check_explained(&json);
        return format!(
            "{mark}{topic} {} {} {}",
            word(&json["action"]),
            word(&json["outcome"]),
            word(&json["reason"])
        );
    }
    if topic.ends_with("event") {
        return format!("{mark}{topic} {}", word(&json()["event_type"]));
    }
    format!("{mark}{topic} {text}")
}

/// A result has a reason only with an outcome that the documentation tells for it.
fn check_explained(result: &Value) {
    let reason = Reason::ALL.into_iter().find(|reason| result["reason"] == reason.word());
    let Some(reason) = reason else { return assert!(result["reason"].is_null(), "{result}") };
    let outcomes = reason.explanation().outcomes;
    let told = outcomes.iter().any(|outcome| result["outcome"] == outcome.word());
    assert!(told || result["finished_at"].is_null(), "{result}");
}

/// What the journal tells a run that begins now, where these records are durable.
pub(crate) fn past_of(records: &[Record], now: Timestamp) -> Past {
    let mut commands: Vec<PastCommand> = Vec::new();
    let mut alarms: BTreeMap<ScenarioId, PastAlarm> = BTreeMap::new();
    for record in records {
        if let (Stage::Alarm, Some(Target::Scenario(scenario))) = (record.stage, &record.target) {
            let (scenario, since, cause) = (scenario.clone(), record.at, record.text.clone());
            alarms.insert(scenario.clone(), PastAlarm { scenario, since, cause });
        }
        if let (Stage::AlarmOver, Some(Target::Scenario(scenario))) = (record.stage, &record.target) {
            alarms.remove(scenario);
        }
        let Some(id) = &record.command else { continue };
        let merged = record.stage == Stage::Refused && record.reason == Some(Reason::Merged);
        if record.stage == Stage::Accepted || merged {
            // A drill is nothing to come back to.
            let action = Action::ALL.into_iter().find(|action| Some(action.word()) == record.action);
            commands.extend(action.map(|action| PastCommand {
                id: id.clone(),
                target: record.target.clone().unwrap(),
                action,
                by: record.by.clone(),
                received_at: record.received_at.unwrap(),
                sending: None,
                end: merged.then(|| end_of(record)),
                resolved: false,
            }));
            continue;
        }
        let Some(command) = commands.iter_mut().rev().find(|command| command.id == *id) else { continue };
        match record.stage {
            Stage::Sending => command.sending = Some(record.at),
            Stage::Ended => command.end = Some(end_of(record)),
            Stage::Resolved => command.resolved = true,
            Stage::Accepted
            | Stage::Refused
            | Stage::Answered
            | Stage::ReadBack
            | Stage::Alarm
            | Stage::AlarmOver => {}
        }
    }
    let day = jiff::SignedDuration::from_hours(24);
    commands.retain(|command| now.duration_since(command.received_at) <= day);
    Past { commands, alarms: alarms.into_values().collect(), replaced: None }
}

fn end_of(record: &Record) -> PastEnd {
    let (at, outcome, reason) = (record.at, record.outcome.unwrap(), record.reason);
    PastEnd { at, outcome, reason, text: record.text.clone() }
}

/// Whether a topic tells how the gateway itself is, and nothing of doors, scenarios and links.
fn is_diagnostic(topic: &str) -> bool {
    topic.strip_prefix("verkada/bridge/").is_some_and(|leaf| DIAGNOSTICS.contains(&leaf))
}

/// Whether a topic tells of readiness and confirmed doors, which tests look up and do not list.
fn is_quiet(topic: &str) -> bool {
    let leaf = topic.rsplit('/').next().unwrap();
    ["doors_confirmed", "lockdown_ready", "lockdown_ready_attributes", "round_trip"].contains(&leaf)
}

const DIAGNOSTICS: [&str; 12] = [
    "journal_head",
    "lockdown_alarm_attributes",
    "budget_left",
    "event_lag",
    "key_expires",
    "log_level",
    "mqtt_unencrypted",
    "problem",
    "problem_active",
    "problem_attributes",
    "started",
    "token",
];

/// The core under a fake clock.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Bench {
    pub(crate) bridge: Bridge,
    pub(crate) now: Now,
    /// What the lists answer.
    pub(crate) doors: Vec<Door>,
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) events: Vec<AccessEvent>,
    pub(crate) shelf: Shelf,
    /// Whether reads of lists are answered at once and leave no line.
    pub(crate) auto: bool,
    /// Whether the gateway's own diagnostics leave lines.
    pub(crate) diagnostics: bool,
    /// Everything that was to be written down.
    pub(crate) records: Vec<Record>,
    /// Whether it is written at once.
    pub(crate) journals: bool,
    /// Whether the books must balance; not after a stop that leaves something to the next run.
    pub(crate) books_balance: bool,
    /// Calls that wait for their reply.
    pub(crate) open: Vec<Call>,
    /// How many reads were answered.
    pub(crate) reads: BTreeMap<String, usize>,
    /// Every publication so far.
    pub(crate) published: Vec<Publication>,
    /// When each of them came.
    pub(crate) times: Vec<Instant>,
    /// What the broker held before this core began.
    inherited: BTreeMap<String, Bytes>,
    log: Vec<String>,
    /// What the last core remembered.
    memory: Option<Memory>,
    /// Commands fed, and terminal results seen on result topics.
    fed: u64,
}

impl Bench {
    /// A core that was just made.
    pub(crate) fn new(settings: Settings) -> Self {
        Self::remembering(settings, start(), None)
    }

    /// A core that was just made with what an earlier one remembered, which went over the disk.
    pub(crate) fn remembering(settings: Settings, now: Now, memory: Option<&Memory>) -> Self {
        let memory = memory.map(|memory| Memory::from_json(&memory.to_json().unwrap()).unwrap());
        Self {
            bridge: Bridge::new(settings, 7, now, memory),
            now,
            doors: vec![door("d-1", "Front Door")],
            scenarios: vec![scenario("s-1", &["d-1"])],
            events: Vec::new(),
            shelf: Shelf::default(),
            auto: true,
            diagnostics: false,
            records: Vec::new(),
            journals: true,
            books_balance: true,
            open: Vec::new(),
            reads: BTreeMap::new(),
            published: Vec::new(),
            times: Vec::new(),
            inherited: BTreeMap::new(),
            log: Vec::new(),
            memory: None,
            fed: 0,
        }
    }

    /// A core that has read all lists and has a proven session; what it said on the way is dropped.
    pub(crate) fn settled() -> Self {
        Self::settled_with(settings(Style::Device), |_| {})
    }

    pub(crate) fn settled_with(settings: Settings, prepare: impl FnOnce(&mut Self)) -> Self {
        let mut bench = Self::new(settings);
        prepare(&mut bench);
        bench.join();
        assert!(bench.bridge.status(bench.now).settled, "{:?}", bench.bridge.status(bench.now));
        bench.log.clear();
        bench
    }

    pub(crate) fn link(&mut self, event: LinkEvent) {
        self.input(Input::Link(event));
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.bridge.handle(input, self.now);
        self.drain();
    }

    /// The owner decides anew.
    pub(crate) fn adopt(&mut self, settings: Settings) {
        self.bridge.adopt(settings, self.now);
        self.drain();
    }

    /// Feeds a command, fresh and live.
    pub(crate) fn command(&mut self, target: &str, payload: &str) {
        self.command_with(target, payload, |_| {});
    }

    pub(crate) fn command_with(&mut self, target: &str, payload: &str, change: impl FnOnce(&mut Message)) {
        let mut message = self.message(&format!("verkada/{target}/set"), payload);
        change(&mut message);
        self.fed += 1;
        self.link(LinkEvent::Message(message));
    }

    /// A command that is fed in another way than by [`Bench::command`].
    pub(crate) const fn count_command(&mut self) {
        self.fed += 1;
    }

    pub(crate) fn message(&self, topic: &str, payload: &str) -> Message {
        Message {
            topic: topic.to_owned(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            retain: false,
            dup: false,
            response_topic: None,
            correlation: None,
            received_at: self.now.mono,
            echo_sent_at: Some(self.now.mono.checked_sub(secs(1)).unwrap()),
        }
    }

    /// Begins a session that is proven at once.
    pub(crate) fn join_unread(&mut self) {
        self.link(LinkEvent::Up { protocol: Protocol::V5, max_packet: None });
        self.link(LinkEvent::Proven);
    }

    /// Begins such a session, and lets all lists be read.
    pub(crate) fn join(&mut self) {
        self.join_unread();
        self.run(secs(1));
    }

    /// Ends this core after `by` and gives the next one the same world and what this one remembered.
    pub(crate) fn restart(&mut self, settings: Settings, by: Duration) {
        if let Some(memory) = self.bridge.memory() {
            self.memory = Some(memory);
        }
        let mut next = Self::remembering(settings, later(self.now, by), self.memory.as_ref());
        next.memory = self.memory.take();
        next.inherited = self.retained();
        next.doors = std::mem::take(&mut self.doors);
        next.scenarios = std::mem::take(&mut self.scenarios);
        next.events = std::mem::take(&mut self.events);
        next.shelf = std::mem::take(&mut self.shelf);
        *self = next;
    }

    /// What the journal would tell a run that begins `by` later.
    pub(crate) fn past(&self, by: Duration) -> Past {
        past_of(&self.records, later(self.now, by).utc)
    }

    /// As [`Bench::restart`], with what the journal tells.
    pub(crate) fn restart_with_journal(&mut self, settings: Settings, by: Duration) {
        let past = self.past(by);
        let records = std::mem::take(&mut self.records);
        self.restart(settings, by);
        self.fed +=
            u64::try_from(past.commands.iter().filter(|command| command.end.is_none()).count()).unwrap();
        self.bridge.recall(past, self.now);
        self.records = records;
        self.drain();
    }

    /// Lets time pass, waking the core exactly when it asks for it.
    pub(crate) fn run(&mut self, by: Duration) {
        let until = later(self.now, by);
        let mut wakes = 0;
        while let Some((at, why)) = self.bridge.next_deadline(self.now)
            && at <= until.mono
        {
            wakes += 1;
            assert!(wakes < 1_000 + 10 * by.as_secs(), "it spins: {why:?}");
            self.now = later(self.now, at.saturating_duration_since(self.now.mono));
            self.bridge.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
        self.bridge.handle_timeout(self.now);
        self.drain();
    }

    /// Answers the oldest open call of this line.
    pub(crate) fn answer(&mut self, what: &str, result: Result<Answer, Fault>) {
        let index = self.open.iter().position(|call| call_line(&call.request) == what);
        let index = index.unwrap_or_else(|| panic!("no call {what} is open: {:?}", self.open));
        let id = self.open.remove(index).id;
        self.reply(id, result);
    }

    /// Does what the oldest open write of this line asks for, and answers it.
    pub(crate) fn carry_out(&mut self, what: &str) {
        let open = self.open.iter().find(|call| call_line(&call.request) == what);
        let request =
            open.unwrap_or_else(|| panic!("no call {what} is open: {:?}", self.open)).request.clone();
        let result = self.shelf.carry_out(&request);
        self.answer(what, result);
    }

    pub(crate) fn reply(&mut self, id: CallId, result: Result<Answer, Fault>) {
        self.input(Input::Reply(Reply { id, result, requests: 1 }));
    }

    /// Exactly these lines and no others since the last time.
    #[track_caller]
    pub(crate) fn expect(&mut self, lines: &[&str]) {
        let log = std::mem::take(&mut self.log);
        assert_eq!(log, lines);
    }

    /// The lines since the last time.
    pub(crate) fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    /// What the broker holds under a topic.
    pub(crate) fn held(&self, topic: &str) -> Option<String> {
        let topic = format!("verkada/{topic}");
        let last = self.published.iter().rev().find(|p| p.retain && p.topic == topic)?;
        Some(String::from_utf8(last.payload.to_vec()).unwrap()).filter(|text| !text.is_empty())
    }

    /// Everything that the broker holds, from earlier cores too.
    pub(crate) fn retained(&self) -> BTreeMap<String, Bytes> {
        let mut held = self.inherited.clone();
        for publication in self.published.iter().filter(|publication| publication.retain) {
            held.insert(publication.topic.clone(), publication.payload.clone());
        }
        held.retain(|_, payload| !payload.is_empty());
        held
    }

    /// The last result as JSON.
    pub(crate) fn last_result(&self) -> Value {
        let last = self.published.iter().rev().find(|p| p.topic.ends_with("/result")).unwrap();
        serde_json::from_slice(&last.payload).unwrap()
    }

    fn drain(&mut self) {
        loop {
            let mut moved = false;
            while let Some(publication) = self.bridge.next_publication() {
                let topic = &publication.topic;
                let told = self.diagnostics || !is_diagnostic(topic);
                if !is_quiet(topic) && told && !self.is_repeat(&publication) {
                    self.log.push(line(&publication));
                }
                self.published.push(publication);
                self.times.push(self.now.mono);
            }
            while let Some(call) = self.bridge.next_call(self.now) {
                moved = true;
                assert!(call.send_before > self.now.mono, "{call:?} comes too late");
                self.take(call);
            }
            moved |= self.keep_journal();
            if !moved {
                break;
            }
        }
        self.check_books();
    }

    /// Lets the journal write what there is to write, unless it is held up; returns whether it wrote.
    fn keep_journal(&mut self) -> bool {
        let mut newest = None;
        while let Some(record) = self.bridge.next_record() {
            newest = Some(record.number);
            self.records.push(record);
        }
        let Some(number) = newest.filter(|_| self.journals) else { return false };
        let written = JournalEvent::Written { number, head: String::new() };
        self.bridge.handle(Input::Journal(written), self.now);
        true
    }

    /// Whether it is a config that is said once more, 30 s after the first time: such leave no line.
    fn is_repeat(&self, publication: &Publication) -> bool {
        let mut earlier = self.times.iter().zip(&self.published).rev();
        publication.topic.starts_with("homeassistant/")
            && publication.retain
            && earlier.find(|(_, p)| p.topic == publication.topic).is_some_and(|(at, p)| {
                p.payload == publication.payload && self.now.mono.saturating_duration_since(*at) == secs(30)
            })
    }

    fn take(&mut self, call: Call) {
        let what = call_line(&call.request);
        let answer = match &call.request {
            Request::ListDoors => Answer::Doors(inventory(self.doors.clone())),
            Request::ListScenarios => Answer::Scenarios(inventory(self.scenarios.clone())),
            Request::ReadEvents { since, .. } => {
                let mut events: Vec<_> = self.events.iter().filter(|e| e.at >= *since).cloned().collect();
                events.reverse();
                Answer::Events(EventPage { events, skipped: Vec::new(), next: None })
            }
            Request::ListCalendars => Answer::Calendars(inventory(self.shelf.calendars.clone())),
            Request::Unlock { .. }
            | Request::Activate { .. }
            | Request::Release { .. }
            | Request::Drill
            | Request::ListAccessLevels
            | Request::ListAccessGroups
            | Request::UnlockAs { .. }
            | Request::CreateCalendar(_)
            | Request::WriteCalendar { .. }
            | Request::CreateException { .. }
            | Request::WriteException { .. }
            | Request::DeleteException { .. } => {
                self.log.push(format!(">{what}"));
                self.open.push(call);
                return;
            }
        };
        if self.auto {
            *self.reads.entry(what).or_default() += 1;
            self.bridge
                .handle(Input::Reply(Reply { id: call.id, result: Ok(answer), requests: 1 }), self.now);
        } else {
            self.log.push(format!(">{what}"));
            self.open.push(call);
        }
    }

    /// Books balance: what came in is what ended plus what is under way.
    fn check_books(&self) {
        if !self.books_balance {
            return;
        }
        let books = self.bridge.status(self.now).books;
        let ended: u64 = OUTCOMES.iter().map(|outcome| books.ended(*outcome)).sum();
        assert_eq!(books.received(), self.fed);
        assert_eq!(books.received(), ended + books.pending());
        assert_eq!(books.ended(Outcome::Accepted), 0);
        assert_eq!(self.bridge.is_idle(), books.pending() == 0, "{books:?}");
    }
}

pub(crate) const OUTCOMES: [Outcome; 7] = [
    Outcome::Accepted,
    Outcome::Done,
    Outcome::Failed,
    Outcome::Refused,
    Outcome::Expired,
    Outcome::Merged,
    Outcome::Unknown,
];

impl Drop for Bench {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.log, Vec::<String>::new(), "lines that no test expected");
        }
    }
}
