//! The disk under the journal: it takes records late and in parts, hangs, breaks and mends. A crash loses what it did not
//! take yet.

use std::collections::VecDeque;

use verkada2mqtt::{
    bridge::Input,
    model::{JournalEvent, Past, Record, RecordNumber, Stage},
};

use crate::{
    Happening, World,
    bench::{ms, past_of, secs},
};

/// The disk.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// What is durable of all runs, oldest first.
    records: Vec<Record>,
    /// What the present run handed over and may lose.
    waiting: VecDeque<Record>,
    broken: bool,
    sync_planned: bool,
}

impl World {
    /// Takes what the core wants to be written down, and looks at it.
    pub(crate) fn take_records(&mut self) {
        while let Some(record) = self.gateway.bridge.next_record() {
            self.note_act(&record);
            self.take_record(&record);
            self.disk.waiting.push_back(record);
        }
    }

    /// What waits is written soon, or much later.
    pub(crate) fn plan_sync(&mut self) {
        let disk = &self.disk;
        if disk.broken || disk.sync_planned || disk.waiting.is_empty() || self.gateway.down {
            return;
        }
        self.disk.sync_planned = true;
        let after = match self.rng.below(30) {
            _ if self.quiet => ms(5),
            0 => self.rng.between(secs(1), secs(9)),
            1..8 => self.rng.between(ms(15), ms(400)),
            _ => ms(self.rng.below(15)),
        };
        let run = self.gateway.run;
        self.plan(after, Happening::Sync(run));
    }

    pub(crate) fn sync(&mut self, run: u32) {
        if run != self.gateway.run || self.gateway.down || self.disk.broken {
            return;
        }
        self.disk.sync_planned = false;
        let part = if self.rng.one_in(4) { self.rng.below(8) + 1 } else { u64::MAX };
        if let Some(number) = self.keep(part) {
            let event = JournalEvent::Written { number, head: String::new() };
            self.gateway.bridge.handle(Input::Journal(event), self.now);
        }
        self.drain();
    }

    /// So many records are durable; returns the number of the last one.
    fn keep(&mut self, part: u64) -> Option<RecordNumber> {
        let mut newest = None;
        for _ in 0..part {
            let Some(record) = self.disk.waiting.pop_front() else { break };
            newest = Some(record.number);
            self.note_durable(&record);
            self.disk.records.push(record);
        }
        newest
    }

    pub(crate) fn break_disk(&mut self) {
        if self.gateway.down || self.quiet || self.disk.broken {
            return;
        }
        self.disk.broken = true;
        self.disk.sync_planned = false;
        self.tell_broken();
        let after = if self.rng.one_in(4) { secs(15) } else { secs(3) };
        let after = self.rng.between(ms(100), after);
        self.plan(after, Happening::Mend);
    }

    fn tell_broken(&mut self) {
        self.note("the journal cannot be written");
        let event = JournalEvent::Broken("no space".to_owned());
        self.gateway.bridge.handle(Input::Journal(event), self.now);
        self.drain();
    }

    pub(crate) fn mend_disk(&mut self) {
        if !std::mem::take(&mut self.disk.broken) || self.gateway.down {
            return;
        }
        self.note("the journal can be written again");
        self.gateway.bridge.handle(Input::Journal(JournalEvent::Mended), self.now);
        self.drain();
    }

    /// Whether nothing can be written.
    pub(crate) const fn is_broken(&self) -> bool {
        self.disk.broken
    }

    /// The run ends: after a crash any part of what waited may be there, after a stop all that could be written.
    pub(crate) fn close_disk(&mut self, crash: bool) {
        if !self.disk.broken {
            let some = self.rng.below(6);
            let part = if crash { self.pick(&[0, 0, some, u64::MAX]) } else { u64::MAX };
            self.keep(part);
        }
        self.disk.waiting.clear();
        self.disk.sync_planned = false;
    }

    /// What the journal tells the next run.
    pub(crate) fn read_disk(&self) -> Past {
        past_of(&self.disk.records, self.now.utc)
    }

    /// The next run finds the disk as it is.
    pub(crate) fn find_disk(&mut self) {
        if self.disk.broken {
            self.tell_broken();
        }
    }

    /// Whether an alarm of this kind is written down as the last one of the scenario.
    pub(crate) fn is_alarm_durable(&self, scenario: &str) -> bool {
        let mut about = self.disk.records.iter().rev().filter(|record| {
            matches!(record.stage, Stage::Alarm | Stage::AlarmOver)
                && record
                    .target
                    .as_ref()
                    .is_some_and(|target| target.path() == format!("scenario/{scenario}"))
        });
        about.next().is_some_and(|record| record.stage == Stage::Alarm)
    }
}
