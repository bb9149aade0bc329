//! A core with its doors and scenarios, driven without a shell: lists are answered at once, acts are noted.

#![expect(clippy::unwrap_used, reason = "what fails here is what fuzzing looks for")]

use std::{collections::VecDeque, sync::OnceLock, time::Duration};

use bytes::Bytes;

use crate::{
    app::wiring,
    bridge::{Bridge, Input},
    clock,
    config::{self, Environment},
    model::{
        Answer, Calendar, Door, EventPage, Inventory, JournalEvent, LinkEvent, Message, Now, Protocol,
        Publication, Reply, Request, Scenario, Stage,
    },
};

/// What the vendor holds.
#[derive(Debug, Default)]
pub(super) struct Vendor {
    pub(super) doors: Vec<Door>,
    pub(super) scenarios: Vec<Scenario>,
    pub(super) calendars: Vec<Calendar>,
}

/// The core and everything that it did.
pub(super) struct World {
    bridge: Bridge,
    vendor: Vendor,
    now: Now,
    pub(super) published: VecDeque<Publication>,
    /// Every request that is no reading of a list.
    pub(super) acts: Vec<Request>,
    /// How many records say that something may be sent now, and are durable.
    intents: usize,
    opened: usize,
}

/// The same moment for every input: what is younger or older than it stands in the input.
fn start() -> Now {
    static START: OnceLock<Now> = OnceLock::new();
    *START.get_or_init(|| Now { utc: "2026-11-25T12:00:00Z".parse().unwrap(), ..clock::now() })
}

impl World {
    /// A core that is connected and has read all lists.
    pub(super) fn new(config: &str, vendor: Vendor) -> Self {
        let config = config::parse(config, "config.yaml", &Environment::default()).unwrap();
        let now = start();
        let mut world = Self {
            bridge: Bridge::new(wiring::bridge_settings(&config), 7, now, None),
            vendor,
            now,
            published: VecDeque::new(),
            acts: Vec::new(),
            intents: 0,
            opened: 0,
        };
        for event in [LinkEvent::Up { protocol: Protocol::V5, max_packet: None }, LinkEvent::Proven] {
            world.input(Input::Securing(event.clone()));
            world.input(Input::Link(event));
        }
        world.run(Duration::from_secs(1));
        assert!(world.bridge.status(world.now).settled);
        world
    }

    /// A message that is read now, on a connection whose heartbeat came back a second ago if it is `fresh`.
    pub(super) fn message(&self, topic: &str, payload: &[u8], fresh: bool) -> Message {
        Message {
            topic: topic.to_owned(),
            payload: Bytes::copy_from_slice(payload),
            retain: false,
            dup: false,
            response_topic: None,
            correlation: None,
            received_at: self.now.mono,
            echo_sent_at: fresh.then(|| self.now.mono.checked_sub(Duration::from_secs(1))).flatten(),
        }
    }

    pub(super) fn input(&mut self, input: Input) {
        self.bridge.handle(input, self.now);
        self.settle();
    }

    fn run(&mut self, by: Duration) {
        let end = self.now.mono + by;
        while let Some((at, _)) = self.bridge.next_deadline(self.now)
            && at <= end
        {
            let passed = at.saturating_duration_since(self.now.mono);
            self.now = Now { mono: self.now.mono + passed, utc: self.now.utc + passed };
            self.bridge.handle_timeout(self.now);
            self.settle();
        }
    }

    /// Takes what the core has to say until it is still. Nothing that opens comes before its record is durable.
    fn settle(&mut self) {
        loop {
            self.published.extend(std::iter::from_fn(|| self.bridge.next_publication()));
            let mut still = true;
            while let Some(call) = self.bridge.next_call(self.now) {
                still = false;
                self.opened += usize::from(call.opening.is_some());
                assert!(self.opened <= self.intents, "{call:?} is let go before it is written down");
                match self.answer(&call.request) {
                    Some(answer) => {
                        let reply = Reply { id: call.id, result: Ok(answer), requests: 1 };
                        self.bridge.handle(Input::Reply(reply), self.now);
                    }
                    None => self.acts.push(call.request),
                }
            }
            let mut newest = None;
            while let Some(record) = self.bridge.next_record() {
                newest = Some(record.number);
                self.intents += usize::from(record.stage == Stage::Sending);
            }
            if let Some(number) = newest {
                still = false;
                let written = JournalEvent::Written { number, head: String::new() };
                self.bridge.handle(Input::Journal(written), self.now);
            }
            if still {
                return;
            }
        }
    }

    fn answer(&self, request: &Request) -> Option<Answer> {
        Some(match request {
            Request::ListDoors => Answer::Doors(inventory(&self.vendor.doors)),
            Request::ListScenarios => Answer::Scenarios(inventory(&self.vendor.scenarios)),
            Request::ListCalendars => Answer::Calendars(inventory(&self.vendor.calendars)),
            Request::ReadEvents { .. } => {
                Answer::Events(EventPage { events: Vec::new(), skipped: Vec::new(), next: None })
            }
            Request::ListAccessLevels => Answer::AccessLevels(inventory(&[])),
            Request::ListAccessGroups => Answer::AccessGroups(inventory(&[])),
            Request::Unlock { .. }
            | Request::UnlockAs { .. }
            | Request::CreateCalendar(_)
            | Request::WriteCalendar { .. }
            | Request::CreateException { .. }
            | Request::WriteException { .. }
            | Request::DeleteException { .. }
            | Request::Activate { .. }
            | Request::Drill
            | Request::Release { .. } => return None,
        })
    }
}

fn inventory<T: Clone>(items: &[T]) -> Inventory<T> {
    Inventory { items: items.to_vec(), skipped: Vec::new() }
}

/// Whether a text would stay on its line and show what it says.
pub(super) fn is_legible(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}
