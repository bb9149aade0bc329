//! The core: pure and synchronous. Inputs go in, publications, calls and the next deadline are pulled out.
//!
//! [`Bridge`] only routes and keeps the order; its parts own the state. Nothing here knows the clock, the network, a
//! file or chance: time comes in as [`Now`], jitter from a seed.

mod access;
mod admission;
mod alarm;
mod announce;
mod budget;
mod calendars;
mod calls;
mod changeover;
mod codes;
mod commands;
mod confirmation;
mod copies;
mod discovery;
mod doors;
mod drill;
mod flood;
mod gate;
mod gateway;
mod ghosts;
mod holds;
mod intake;
mod intercom;
mod links;
mod memory;
mod picture;
mod poller;
mod position;
mod problem;
mod problems;
mod publish;
mod quiet;
mod readiness;
mod recall;
mod recent;
mod records;
mod register;
mod report;
mod retained;
mod roster;
mod scenarios;
mod seen;
mod settings;
mod settlement;
mod slugs;
mod unavailable;
mod view;
mod webhooks;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use jiff::SignedDuration;

use self::{
    access::Access,
    admission::{Ids, Rates},
    alarm::Alarms,
    announce::Announcements,
    budget::Budget,
    calendars::Exceptions,
    calls::Pending,
    codes::Codes,
    commands::{Bar, Commands},
    copies::Copies,
    doors::Doors,
    drill::Drills,
    flood::Flood,
    gateway::Gateway,
    ghosts::Ghosts,
    holds::Holds,
    links::Link,
    picture::Audience,
    poller::{List, Poller, Trouble},
    quiet::Quiet,
    readiness::Readiness,
    recent::Recents,
    records::Records,
    retained::{Outbox, Rank, Retained},
    scenarios::Scenarios,
    settlement::Settlements,
    unavailable::Unavailable,
    webhooks::{Reliance, Webhooks},
};
pub use self::{
    commands::Timing,
    gate::FRESH_LINK,
    gateway::Request as ShellRequest,
    memory::{Memory, MemoryError},
    picture::{
        AlarmRow, Census, Change, CheckRow, CommandRow, DoorRow, LinkRow, Overview, ProblemRow, Pulse,
        ScenarioRow,
    },
    report::{Books, Confirmed, Ending},
    settings::{
        Birth, CalendarSettings, CodeSecret, CodeSettings, CommandSettings, DoorSettings, DuringLockdown,
        HoldSettings, HoldStart, Polls, Selection, Settings, UnlockAs,
    },
};
use crate::{
    hass::{Topics, payload},
    model::{
        Action, Call, CallId, DoorId, JournalEvent, Lane, LinkEvent, Now, Protocol, Publication, Push, Qos,
        Receipt, Record, RecordNumber, Reply, ScenarioId, Target, TokenState, Turn,
    },
    rng::Rng,
};

/// How often what changes all the time is published: not with each reading, so that a reading that changed nothing
/// publishes nothing.
const BUSY_EVERY: Duration = Duration::from_mins(1);

/// Everything that can move the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Something happened on the main connection to the broker.
    Link(LinkEvent),
    /// Something happened on the connection that carries only scenarios.
    Securing(LinkEvent),
    /// A call got its reply.
    Reply(Reply),
    /// A webhook brought something.
    Push(Push),
    /// The session token may have changed.
    Token(TokenState),
    /// An answer of the vendor told its time: by how much its clock is ahead of ours.
    VendorClock(SignedDuration),
    /// The journal wrote, or could not.
    Journal(JournalEvent),
    /// The gateway is to stop: nothing new is taken on.
    Stop,
}

/// Why the core wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wake {
    /// A call may be due.
    Call,
    /// An unlock time ends, or a door is no longer believed to stand open.
    Relock,
    /// A command may have become too old.
    Command,
    /// A hold begins or ends.
    Hold,
    /// An exception of the vendor's calendars begins or ends.
    Exception,
    /// Evidence of a command was waited for long enough.
    Settlement,
    /// An alarm is to be told again.
    Alarm,
    /// The sum of refused commands is to be told.
    Sum,
    /// Something may have gone stale.
    Stale,
    /// Home Assistant is to get everything again.
    Birth,
    /// What changes all the time is to be published.
    Busy,
    /// Discovery goes a step further.
    Discovery,
}

/// What others may know of the core.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Status {
    /// The protocol of the present MQTT session, if there is one.
    pub mqtt: Option<Protocol>,
    /// Whether a heartbeat came back in it.
    pub mqtt_proven: bool,
    /// Whether a heartbeat came back on the connection that carries only scenarios.
    pub securing_proven: bool,
    /// Whether the vendor's API answers.
    pub api: bool,
    /// What is wrong with it, if something is.
    pub api_trouble: Option<String>,
    /// How many doors are listed.
    pub doors: usize,
    /// How many scenarios are listed.
    pub scenarios: usize,
    /// How many requests the present minute still allows.
    pub budget_left: usize,
    /// How commands ended.
    pub books: Books,
    /// Whether all lists were read and everything was published.
    pub settled: bool,
    /// What only the metrics tell.
    pub figures: Figures,
}

/// Figures for the metrics alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Whether the connection that carries only scenarios has a session.
    pub securing_up: bool,
    /// How many lockdowns that were asked for are not confirmed.
    pub alarms: usize,
    /// How many such alarms were raised in this run.
    pub alarms_raised: u64,
    /// How many records of this run are durable.
    pub journal_durable: u64,
    /// Whether the journal cannot be written.
    pub journal_broken: bool,
    /// Whether a lockdown could be started now; `None` while that is not known.
    pub ready: Option<bool>,
    /// How many retained topics wait to be published.
    pub waiting_topics: usize,
    /// How many results and events wait to be published.
    pub waiting_messages: usize,
    /// How many results and events were dropped, because too many waited.
    pub dropped_messages: u64,
    /// How many events polls found that no webhook had brought.
    pub webhooks_missed: u64,
    /// When each list that is read was last read whole, by its word.
    pub read_at: [(&'static str, Option<jiff::Timestamp>); List::ALL.len()],
}

/// Whether the vendor's API is shown as online, and what was last logged of it.
#[derive(Debug, Default)]
struct Api {
    online: bool,
    told: bool,
    quiet: Quiet,
}

/// What decides availability, compared after each input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Health {
    /// Whether commands arrive on the main connection.
    commandable: bool,
    /// Whether a lockdown arrives, on either connection.
    securable: bool,
    doors: bool,
    scenarios: bool,
}

/// The core.
#[derive(Debug)]
pub struct Bridge {
    settings: Settings,
    topics: Topics,
    doors: Doors,
    scenarios: Scenarios,
    commands: Commands,
    holds: Holds,
    exceptions: Exceptions,
    drills: Drills,
    readiness: Readiness,
    /// Grows with each lockdown that is taken on.
    opening: Turn,
    records: Records,
    settlements: Settlements,
    alarms: Alarms,
    /// What was wrong with a journal that was set aside at the start.
    journal_replaced: Option<String>,
    /// When a copy of what an earlier run did would be too old, if no journal tells what that was.
    forgotten_until: Option<Instant>,
    ids: Ids,
    rates: Rates,
    /// Of commands that were merged with one under way.
    merge_rates: Rates,
    flood: Flood,
    codes: Codes,
    books: Books,
    confirmed: VecDeque<Confirmed>,
    recents: Recents,
    /// Those who look at the gateway, while anybody does.
    audience: Option<Audience>,
    poller: Poller,
    webhooks: Webhooks,
    access: Access,
    shown_reliance: Option<Reliance>,
    /// Events from before it are evidence, not news.
    started: jiff::Timestamp,
    budget: Budget,
    retained: Retained,
    outbox: Outbox,
    announcements: Announcements,
    /// Doors and scenarios of earlier runs that were not seen yet.
    ghost_doors: Ghosts<DoorId>,
    ghost_scenarios: Ghosts<ScenarioId>,
    /// Whether other doors or scenarios are shown than was remembered.
    shown_changed: bool,
    link: Link,
    securing: Link,
    copies: Copies,
    /// Acknowledgements that wait until all that was written down before them is durable.
    receipts: VecDeque<(RecordNumber, Receipt)>,
    health: Health,
    unavailable: Unavailable,
    api: Api,
    calls: BTreeMap<CallId, Pending>,
    last_call: CallId,
    rng: Rng,
    /// Prefix of the ids that commands without one are given.
    run: String,
    assigned: u64,
    birth_at: Option<Instant>,
    last_birth: Option<Instant>,
    last_refresh: Option<Instant>,
    busy_at: Instant,
    gateway: Gateway,
    /// Refusals of whole lists, and elements left out, that were logged: each once.
    said: BTreeMap<List, Trouble>,
    skipped_said: BTreeSet<String>,
    lists_quiet: BTreeMap<List, Quiet>,
    /// Lists of which the log says that they cannot be read.
    lists_told: BTreeSet<List>,
    retained_warned: BTreeMap<Target, Instant>,
    stopping: bool,
}

impl Bridge {
    /// Starts with nothing known but what an earlier run remembered. `seed` feeds jitter and the ids of commands that
    /// bring none.
    pub fn new(settings: Settings, seed: u64, now: Now, memory: Option<Memory>) -> Self {
        let mut rng = Rng::new(seed);
        let memory = memory.unwrap_or_default();
        let topics = settings.announcer.topics.clone();
        let announcements = Announcements::new(settings.announcer.clone(), &memory);
        let mut bridge = Self {
            doors: Doors::new(settings.open_unproven_after),
            scenarios: Scenarios::default(),
            commands: Commands::new(rng.bits()),
            holds: Holds::new(topics.base(), rng.bits(), memory.holds.clone()),
            exceptions: Exceptions::remembering(memory.calendars.clone()),
            drills: Drills::default(),
            readiness: Readiness::new(now),
            opening: Turn::default(),
            records: Records::default(),
            settlements: Settlements::default(),
            alarms: Alarms::remembered(memory.alarms.clone(), now),
            journal_replaced: None,
            forgotten_until: None,
            ids: Ids::default(),
            rates: Rates::default(),
            merge_rates: Rates::default(),
            flood: Flood::default(),
            codes: Codes::new(seed, now.utc),
            books: Books::default(),
            confirmed: VecDeque::new(),
            recents: Recents::default(),
            audience: None,
            poller: Poller::new(settings.polls, rng.bits(), now, memory.events.clone()),
            webhooks: Webhooks::default(),
            access: Access::new(settings.polls.access_levels, now),
            shown_reliance: None,
            started: now.utc,
            budget: Budget::default(),
            retained: Retained::default(),
            outbox: Outbox::default(),
            ghost_doors: Ghosts::of(announcements.remembered_doors().chain(&memory.doors).cloned().collect()),
            ghost_scenarios: Ghosts::of(memory.scenarios.clone()),
            shown_changed: memory.base_topic != topics.base(),
            announcements,
            link: Link::default(),
            securing: Link::default(),
            copies: Copies::default(),
            receipts: VecDeque::new(),
            health: Health::default(),
            unavailable: Unavailable::default(),
            api: Api::default(),
            lists_quiet: BTreeMap::new(),
            lists_told: BTreeSet::new(),
            calls: BTreeMap::new(),
            last_call: CallId(0),
            run: format!("{:08x}", rng.bits() >> 32),
            assigned: 0,
            birth_at: None,
            last_birth: None,
            last_refresh: None,
            busy_at: now.mono + BUSY_EVERY,
            gateway: Gateway::new(now),
            said: BTreeMap::new(),
            skipped_said: BTreeSet::new(),
            retained_warned: BTreeMap::new(),
            stopping: false,
            rng,
            topics,
            settings,
        };
        bridge.show_at_start(&memory, now);
        bridge
    }

    /// Goes on with other decisions of the owner. What was accepted before is not judged again. Topics, the style of
    /// discovery, which doors and scenarios are shown, what is believed of doors, holds and calendars must be as before:
    /// these need a new start.
    pub fn adopt(&mut self, settings: Settings, now: Now) {
        let calendars = settings.polls.calendars.map(|interval| (List::Calendars, interval));
        // Events follow how far webhooks can be relied on.
        let polls = [(List::Doors, settings.polls.doors), (List::Scenarios, settings.polls.scenarios)];
        for (list, interval) in polls.into_iter().chain(calendars) {
            self.poller.pace(list, interval, now);
        }
        self.announcements.adopt(settings.announcer.clone());
        self.gateway.adopt(self.settings.key_expires != settings.key_expires, settings.log_level);
        self.settings = settings;
        self.show_settings();
        self.tell_expiry(now);
        self.announce_all();
        if self.audience.is_some() {
            self.begin_picture();
        }
        // What was refused to the key as it was may be allowed by now.
        self.refresh(&List::ALL, now);
        self.settle(now);
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::Link(event) => self.hear_link(event, now),
            Input::Securing(event) => self.hear_securing(event, now),
            Input::Reply(reply) => self.take_reply(reply, now),
            Input::Push(push) => {
                self.hear_intercom(&push, now);
                self.take_push(push, now);
            }
            Input::Token(token) => self.hear_token(token, now),
            Input::VendorClock(skew) => self.readiness.note_clock(skew),
            Input::Journal(event) => self.hear_journal(event, now),
            Input::Stop => {
                self.stopping = true;
                let effects = self.commands.stop(now);
                self.perform(effects, now);
                let effects = self.holds.tasks.bar_opening(Bar::Stopping, now);
                self.perform(effects, now);
                self.stop_drill(now);
            }
        }
        self.settle(now);
    }

    /// Does what is due by now.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.birth_at.is_some_and(|at| at <= now.mono) {
            self.birth_at = None;
            self.last_birth = Some(now.mono);
            self.retained.repeat();
            self.announcements.greet(&self.ghost_scenarios);
        }
        if self.busy_at <= now.mono {
            self.busy_at = now.mono + BUSY_EVERY;
            self.show_busy(now);
        }
        self.settle(now);
    }

    /// The grace of the stop is over: whatever is still under way ends without proof.
    pub fn abandon(&mut self, now: Now) {
        let effects = self.commands.abandon(now);
        self.perform(effects, now);
        let effects = self.holds.tasks.abandon(now);
        self.perform(effects, now);
        self.abandon_drill(now);
        self.settle(now);
    }

    /// The last words of the gateway, to be published before it disconnects.
    pub fn farewell(&self) -> Publication {
        Publication {
            topic: self.topics.availability(),
            payload: Bytes::from_static(payload::OFFLINE.as_bytes()),
            qos: Qos::AtLeastOnce,
            retain: true,
            correlation: None,
        }
    }

    /// Whether no command is under way.
    pub fn is_idle(&self) -> bool {
        self.commands.count() == 0 && self.holds.tasks.count() == 0 && self.drills.is_idle()
    }

    /// The next message to publish, if a session is there to take it. What is said once goes first.
    pub fn next_publication(&mut self) -> Option<Publication> {
        self.link.session_since?;
        self.outbox.pop().or_else(|| self.retained.next())
    }

    /// Whether [`Bridge::next_publication`] may have something.
    pub fn has_publication(&self) -> bool {
        self.link.session_since.is_some() && !(self.outbox.is_empty() && self.retained.is_settled())
    }

    /// The next call to make, if one is due and the vendor's budget has room for its lane.
    pub fn next_call(&mut self, now: Now) -> Option<Call> {
        self.write_intents(now);
        self.next_scenario_call(Action::Activate, now)
            .or_else(|| self.next_drill_call(now))
            .or_else(|| self.next_hold_call(Action::Lock, now))
            .or_else(|| self.next_scenario_call(Action::Release, now))
            .or_else(|| self.next_unlock_call(now))
            .or_else(|| self.next_hold_call(Action::Hold, now))
            .or_else(|| self.next_hold_call(Action::Edit, now))
            .or_else(|| self.next_read(now))
            .or_else(|| self.next_access_call(now))
    }

    /// Whose request a call is that was written, for the measure of its time; to be asked once, before its reply is
    /// handed in.
    pub fn time_call(&mut self, call: CallId) -> Option<Timing> {
        self.commands.time_call(call).or_else(|| self.holds.tasks.time_call(call))
    }

    /// What was seen to have come about, for the measure of its time.
    pub fn next_confirmed(&mut self) -> Option<Confirmed> {
        self.confirmed.pop_front()
    }

    /// The next thing to write down. What opens waits until what is written of it is durable.
    pub fn next_record(&mut self) -> Option<Record> {
        self.records.next()
    }

    /// The present turn: a call that opens and was let go in an earlier one must not be sent any more.
    pub const fn turn(&self) -> Turn {
        self.opening
    }

    /// The next message to acknowledge on the securing connection: what came of it is durable, or cannot be written.
    pub fn next_receipt(&mut self) -> Option<Receipt> {
        let (durable, broken) = (self.records.durable(), self.records.broken().is_some());
        self.receipts.pop_front_if(|(number, _)| *number <= durable || broken).map(|(_, receipt)| receipt)
    }

    /// What the shell is to do with the process itself, if something.
    pub fn next_request(&mut self) -> Option<ShellRequest> {
        self.gateway.next_request()
    }

    /// When [`Bridge::handle_timeout`] and [`Bridge::next_call`] should be asked next, and why. The answer may change
    /// after every call of any other method.
    pub fn next_deadline(&self, now: Now) -> Option<(Instant, Wake)> {
        let in_lane = |at: Instant, lane| at.max(self.budget.free_at(lane, now.mono));
        let commands = self.commands.next_deadlines().chain(self.drills.next_deadlines());
        let commands = commands.chain(self.holds.tasks.next_deadlines()).map(|(at, lane)| match lane {
            Some(lane) => (in_lane(at, lane), Wake::Call),
            None => (at, Wake::Command),
        });
        let reads = self.poller.next_deadlines().filter(|_| !self.stopping || !self.is_idle());
        let access = self.access.due().filter(|_| !self.stopping).map(|at| (at, Lane::Poll));
        let reads = reads.chain(access).map(|(at, lane)| (in_lane(at, lane), Wake::Call));
        let unproven = self.link.lapses_at().filter(|_| self.health.commandable);
        let unproven = unproven
            .into_iter()
            .chain(self.securing.lapses_at())
            .chain(self.securing.missed_at())
            .chain(self.link.shared_until())
            // While the main connection serves, the other one may lack for long.
            .filter(|at| *at > now.mono);
        let reliance = self.webhooks.next_change(now);
        let stale = self.poller.next_stale(now).into_iter().chain(unproven).chain(reliance);
        let stale = stale.chain(self.readiness.next_change(now.mono)).chain(self.access.stale_at());
        let stale = stale.map(|at| (at, Wake::Stale));
        commands
            .chain(reads)
            .chain(stale)
            .chain(self.doors.next_expiry().map(|at| (at, Wake::Relock)))
            .chain(self.holds.next_change(now).map(|at| (at, Wake::Hold)))
            .chain(self.exceptions.next_change(now).map(|at| (at, Wake::Exception)))
            .chain(self.settlements.next_expiry().map(|at| (at, Wake::Settlement)))
            .chain(self.flood.next_sum().map(|at| (at, Wake::Sum)))
            .chain(self.alarms.next_repeat().map(|at| (at, Wake::Alarm)))
            .chain(self.birth_at.map(|at| (at, Wake::Birth)))
            .chain([(self.busy_at, Wake::Busy)])
            .chain(self.next_turn(now).map(|at| (at, Wake::Discovery)))
            .min()
    }

    /// What a later run must know, if that changed since it was asked for. May be asked for as seldom as one likes.
    pub fn memory(&mut self) -> Option<Memory> {
        if !self.is_memory_changed() {
            return None;
        }
        self.shown_changed = false;
        let mut memory = Memory {
            events: self.poller.event_memory(),
            base_topic: self.topics.base().to_owned(),
            doors: self.doors.iter().map(|(id, ..)| id).chain(self.ghost_doors.ids()).cloned().collect(),
            scenarios: self
                .scenarios
                .iter()
                .map(|(id, _)| id)
                .chain(self.ghost_scenarios.ids())
                .cloned()
                .collect(),
            alarms: self.alarms.raised().clone(),
            holds: self.holds.remember(),
            calendars: self.exceptions.remember(),
            ..Memory::default()
        };
        self.announcements.remember(&mut memory);
        // What came back meanwhile is not to be cleared by the next run.
        memory.swept.retain(|topic| !self.retained.wants(topic));
        Some(memory)
    }

    /// Whether [`Bridge::memory`] has something.
    pub const fn is_memory_changed(&self) -> bool {
        self.shown_changed
            || self.poller.is_memory_changed()
            || self.announcements.is_changed()
            || self.holds.is_memory_changed()
            || self.exceptions.is_memory_changed()
    }

    /// What others may know.
    pub fn status(&self, now: Now) -> Status {
        let trouble = List::ALL.into_iter().find_map(|list| self.poller.trouble(list));
        let trouble = trouble.map(|trouble| trouble.text().to_owned());
        let overdue = || List::ALL.into_iter().find(|list| self.poller.is_overdue(*list, now));
        let hangs = || overdue().map(|list| format!("nothing answers for {}", list.word()));
        Status {
            mqtt: self.link.protocol,
            mqtt_proven: self.link.proven,
            securing_proven: self.securing.proven,
            api: self.api.online,
            api_trouble: trouble.or_else(hangs),
            doors: self.doors.count(),
            scenarios: self.scenarios.count(),
            budget_left: self.budget.left(now.mono),
            books: self.books.clone(),
            settled: self.health.doors
                && self.health.scenarios
                && !self.has_publication()
                && self.announcements.is_settled(),
            figures: Figures {
                securing_up: self.securing.session_since.is_some(),
                alarms: self.alarms.raised().len(),
                alarms_raised: self.alarms.count(),
                journal_durable: self.records.durable().0,
                journal_broken: self.records.broken().is_some(),
                ready: self.readiness.verdict(),
                waiting_topics: self.retained.waiting(),
                waiting_messages: self.outbox.waiting(),
                dropped_messages: self.outbox.dropped(),
                webhooks_missed: self.webhooks.missed(),
                read_at: List::ALL.map(|list| (list.label(), self.poller.last_good(list))),
            },
        }
    }

    fn show_at_start(&mut self, memory: &Memory, now: Now) {
        self.show(Rank::State, self.topics.bridge("version"), env!("CARGO_PKG_VERSION"));
        self.show(Rank::Api, self.topics.api_availability(), payload::OFFLINE);
        self.show(Rank::Gateway, self.topics.availability(), payload::ONLINE);
        self.show_gateway(now);
        self.show_alarms();
        self.show_ghosts();
        self.sweep_leftovers(memory);
    }

    fn hear_journal(&mut self, event: JournalEvent, now: Now) {
        let broke = matches!(event, JournalEvent::Broken(_));
        self.records.hear(event);
        self.commands.note_durable(self.records.durable());
        self.holds.tasks.note_durable(self.records.durable());
        if let Some(head) = self.records.head() {
            // Whoever keeps what is published can tell later whether the journal was rewritten.
            self.show(Rank::State, self.topics.bridge("journal_head"), head.to_owned());
        }
        if broke {
            let effects = self.commands.lose_journal(now);
            self.perform(effects, now);
            let effects = self.holds.tasks.bar_opening(Bar::Journal, now);
            self.perform(effects, now);
        }
    }

    fn hear_link(&mut self, event: LinkEvent, now: Now) {
        let was_shared = self.link.is_shared(now.mono);
        self.link.hear(&event, now.mono);
        match event {
            LinkEvent::Up { max_packet, .. } => {
                self.retained.begin_session();
                if self.announcements.begin_session(max_packet) {
                    self.announce_all();
                }
            }
            LinkEvent::Message(message) | LinkEvent::Waiting(message, _) => self.hear_message(&message, now),
            LinkEvent::Down(_) => self.announcements.end_session(),
            LinkEvent::Shared if !was_shared => tracing::warn!("{}", self.second_gateway()),
            LinkEvent::Shared => {}
            LinkEvent::Resumed { .. } | LinkEvent::Proven | LinkEvent::Unproven(_) => {}
        }
    }

    fn hear_securing(&mut self, event: LinkEvent, now: Now) {
        self.securing.hear(&event, now.mono);
        match event {
            LinkEvent::Message(message) => self.hear_securing_message(&message, now),
            LinkEvent::Waiting(message, receipt) => {
                self.hear_securing_message(&message, now);
                self.receipts.push_back((self.records.last(), receipt));
            }
            LinkEvent::Up { .. }
            | LinkEvent::Resumed { .. }
            | LinkEvent::Proven
            | LinkEvent::Unproven(_)
            | LinkEvent::Shared
            | LinkEvent::Down(_) => {}
        }
    }
}
