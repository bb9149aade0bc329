//! The program around the core: it crashes, stops and starts again with what it had written.

use std::{collections::BTreeMap, time::Instant};

use serde_json::Value;
use verkada2mqtt::{
    bridge::{Bridge, DoorSettings, Input, Memory, Settings},
    hass::Style,
    model::{CallId, Now, Outcome, Request},
};

use crate::{
    Happening, OPEN_BELIEVED, RELOCKING, World,
    bench::{OUTCOMES, ms, secs, settings},
};

/// The runs of the program, one after the other.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Gateway {
    pub(crate) bridge: Bridge,
    /// Which run it is, from 0.
    pub(crate) run: u32,
    pub(crate) down: bool,
    pub(crate) stopping: bool,
    /// What the disk holds.
    memory: Option<Vec<u8>>,
    write_planned: bool,
    /// When this run began.
    pub(crate) since: Instant,
    /// Whether a crash ever came before all that was shown was written.
    pub(crate) forgot: bool,
    /// Calls of this run under way, with the command that each is for.
    pub(crate) calls: BTreeMap<CallId, (Request, Option<String>)>,
    /// How commands of earlier runs ended.
    ended: BTreeMap<Outcome, u64>,
}

impl Gateway {
    pub(crate) fn first(seed: u64, now: Now) -> Self {
        Self {
            bridge: Bridge::new(decisions(), seed, now, None),
            run: 0,
            down: false,
            stopping: false,
            memory: None,
            write_planned: false,
            since: now.mono,
            forgot: false,
            calls: BTreeMap::new(),
            ended: BTreeMap::new(),
        }
    }

    /// Whether what was written down before the last crash names a door or scenario.
    pub(crate) fn wrote(&self, thing: &str) -> bool {
        let id = thing.rsplit('/').next().unwrap();
        let text = self.memory.as_deref().map(|text| std::str::from_utf8(text).unwrap());
        text.is_some_and(|text| text.contains(&format!("\"{id}\"")))
    }

    /// The scenarios with an alarm that the disk remembers beside the journal.
    pub(crate) fn remembered_alarms(&self) -> Vec<String> {
        let Some(memory) = &self.memory else { return Vec::new() };
        let memory: Value = serde_json::from_slice(memory).unwrap();
        memory["memory"]["alarms"].as_object().unwrap().keys().cloned().collect()
    }

    /// How many commands ended like this, in all runs.
    pub(crate) fn ended(&self, outcome: Outcome, now: Now) -> u64 {
        self.ended.get(&outcome).copied().unwrap_or_default() + self.bridge.status(now).books.ended(outcome)
    }
}

impl World {
    /// What changed of the memory is written soon.
    pub(crate) fn plan_write(&mut self) {
        if self.gateway.bridge.is_memory_changed() && !self.gateway.write_planned {
            self.gateway.write_planned = true;
            let after = self.rng.between(ms(0), secs(2));
            let run = self.gateway.run;
            self.plan(after, Happening::Write(run));
        }
    }

    pub(crate) fn write_memory(&mut self, run: u32) {
        if run != self.gateway.run || self.gateway.down {
            return;
        }
        self.gateway.write_planned = false;
        if let Some(memory) = self.gateway.bridge.memory() {
            self.gateway.memory = Some(memory.to_json().unwrap());
        }
    }

    pub(crate) fn crash(&mut self) {
        if self.gateway.down || self.quiet {
            return;
        }
        self.note("the gateway crashes");
        self.gateway.forgot |= self.gateway.bridge.is_memory_changed();
        let through = self.pick(&[0, 1, 20]);
        if !self.broker.stalled {
            self.broker.let_through(through, self.now.mono);
        }
        self.broker.lose(false);
        self.end_run(true);
    }

    pub(crate) fn stop(&mut self) {
        if self.gateway.down || self.gateway.stopping || self.quiet {
            return;
        }
        self.note("the gateway stops");
        self.gateway.stopping = true;
        let run = self.gateway.run;
        self.plan(secs(8), Happening::Leave(run));
        self.gateway.bridge.handle(Input::Stop, self.now);
        self.drain();
    }

    pub(crate) fn leave_if_idle(&mut self) {
        if self.gateway.stopping && self.gateway.bridge.is_idle() {
            self.leave(self.gateway.run);
        }
    }

    pub(crate) fn leave(&mut self, run: u32) {
        if run != self.gateway.run || self.gateway.down {
            return;
        }
        self.note("the gateway leaves");
        self.gateway.stopping = false;
        self.gateway.bridge.abandon(self.now);
        self.must(self.gateway.bridge.is_idle(), || "a command outlives the gateway".to_owned());
        self.take_records();
        while let Some(publication) = self.gateway.bridge.next_publication() {
            self.publish(publication);
        }
        if self.broker.up {
            let farewell = self.gateway.bridge.farewell();
            self.broker.take(farewell, self.now.mono);
            if !self.broker.stalled {
                self.broker.let_through(0, self.now.mono);
            }
        }
        self.write_memory(run);
        self.broker.lose(false);
        self.end_run(false);
    }

    fn end_run(&mut self, crash: bool) {
        self.take_records();
        self.close_disk(crash);
        self.lose_securing(crash);
        let books = self.gateway.bridge.status(self.now).books;
        for outcome in OUTCOMES {
            *self.gateway.ended.entry(outcome).or_default() += books.ended(outcome);
        }
        self.gateway.down = true;
        self.gateway.stopping = false;
        self.gateway.write_planned = false;
        self.break_off_calls();
        self.gateway.run += 1;
        self.gateway.calls.clear();
        self.forget_commands();
        self.truth.forget();
        let after = self.rng.between(ms(100), secs(15));
        self.plan(after, Happening::Start);
    }

    pub(crate) fn start(&mut self) {
        let memory = self.gateway.memory.as_ref().map(|text| Memory::from_json(text).unwrap());
        self.note("the gateway starts");
        let seed = self.rng.bits();
        self.gateway.bridge = Bridge::new(decisions(), seed, self.now, memory);
        self.gateway.down = false;
        self.gateway.since = self.now.mono;
        self.broker.own.clear();
        let past = self.read_disk();
        self.recall_commands(&past);
        self.gateway.bridge.recall(past, self.now);
        self.find_disk();
        for happening in [Happening::Connect, Happening::SecuringConnect] {
            let after = self.rng.between(ms(1), secs(3));
            self.plan(after, happening);
        }
        self.drain();
    }
}

/// What the owner decided.
fn decisions() -> Settings {
    let mut settings = settings(Style::Device);
    settings.polls.doors = secs(10);
    settings.open_unproven_after = OPEN_BELIEVED;
    for door in RELOCKING {
        let own = DoorSettings { ignore_dpi_relock: Some(false), ..DoorSettings::default() };
        settings.door_settings.insert(door.parse().unwrap(), own);
    }
    settings
}
