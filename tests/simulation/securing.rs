//! The connection that carries only scenarios, and what the broker keeps for it while it is away.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use verkada2mqtt::{
    bridge::Input,
    model::{LinkEvent, Protocol, Receipt},
};

use crate::{
    Happening, World,
    bench::{later, ms, secs},
    people::Fed,
};

/// How long a lockdown may wait at the broker.
const KEPT: Duration = Duration::from_mins(1);
/// An acknowledgement younger than this may be lost with the connection.
const ON_THE_WAY: Duration = Duration::from_millis(50);

/// The connection, and the session at the broker.
#[derive(Debug, Default)]
pub(crate) struct Securing {
    pub(crate) up: bool,
    since: Option<Instant>,
    stalled: Option<Instant>,
    /// When the broker was last heard before the present connection, as far as the gateway knows.
    heard: Option<Instant>,
    /// Whether the present connection resumed the session.
    resumed: bool,
    /// Whether the broker has a session, since when it is alone with it, and for how long it stays so.
    session: bool,
    lost_at: Option<Instant>,
    lasts: Duration,
    epoch: u64,
    packet: u16,
    waiting: VecDeque<Fed>,
    unacknowledged: BTreeMap<u16, Fed>,
    acknowledged: Vec<(Instant, Fed)>,
}

impl World {
    pub(crate) fn happen_on_the_securing_link(&mut self, happening: Happening) {
        match happening {
            Happening::SecuringCut => {
                if self.securing.up {
                    self.lose_securing(false);
                    self.link_securing(LinkEvent::Down("cut".to_owned()));
                    let after = if self.rng.one_in(6) {
                        self.rng.between(secs(30), secs(90))
                    } else {
                        self.rng.between(ms(50), secs(12))
                    };
                    self.plan(after, Happening::SecuringConnect);
                }
                self.again(5_000, 60_000, Happening::SecuringCut);
            }
            Happening::SecuringConnect => self.connect_securing(),
            Happening::SecuringProven => {
                if self.securing.up {
                    self.securing.stalled = None;
                    self.deliver_waiting();
                    self.link_securing(LinkEvent::Proven);
                }
            }
            Happening::SecuringUnproven => {
                if self.securing.up && !self.quiet {
                    self.securing.stalled.get_or_insert(self.now.mono);
                    self.link_securing(LinkEvent::Unproven("silence".to_owned()));
                    self.soon(1_000, 14_000, Happening::SecuringProven);
                }
                self.again(10_000, 60_000, Happening::SecuringUnproven);
            }
            other => self.must(false, || format!("{other:?} is elsewhere")),
        }
    }

    fn link_securing(&mut self, event: LinkEvent) {
        self.note(&format!("securing: {event:?}"));
        self.truth.hear_securing(&event, self.now);
        self.gateway.bridge.handle(Input::Securing(event), self.now);
        self.drain();
    }

    /// The connection ends; the broker keeps the session.
    pub(crate) fn lose_securing(&mut self, crash: bool) {
        let (now, securing) = (self.now.mono, &mut self.securing);
        if !std::mem::take(&mut securing.up) {
            return;
        }
        let silent = securing.stalled.take().unwrap_or(now);
        // Heartbeats come back each second, and a file knows of them every other second.
        let before = ms(self.rng.below(if crash { 3_000 } else { 1_000 }));
        securing.heard = silent.checked_sub(before).filter(|_| !self.rng.one_in(8));
        securing.since = None;
        securing.lost_at = Some(now);
        securing.lasts = if self.rng.one_in(4) { KEPT + secs(40) } else { KEPT };
        let on_the_way =
            self.agenda.extract_if(.., |_, happening| matches!(happening, Happening::DeliverSecuring(_)));
        let on_the_way = on_the_way.filter_map(|(_, happening)| match happening {
            Happening::DeliverSecuring(fed) => Some(fed),
            _ => None,
        });
        securing.waiting.extend(on_the_way);
        for (at, fed) in std::mem::take(&mut securing.acknowledged) {
            if now - at < ON_THE_WAY && self.rng.one_in(2) {
                securing.packet += 1;
                securing.unacknowledged.insert(securing.packet, fed);
            }
        }
    }

    pub(crate) fn connect_securing(&mut self) {
        if self.securing.up || self.gateway.down {
            return;
        }
        let (now, securing) = (self.now.mono, &mut self.securing);
        let over = securing.lost_at.is_some_and(|at| now - at > securing.lasts);
        if over || !securing.session {
            securing.session = false;
            securing.waiting.clear();
            securing.unacknowledged.clear();
        }
        securing.up = true;
        securing.since = Some(now);
        securing.epoch += 1;
        securing.resumed = securing.session;
        let event = if securing.resumed {
            LinkEvent::Resumed { protocol: Protocol::V5, heard_at: securing.heard }
        } else {
            LinkEvent::Up { protocol: Protocol::V5, max_packet: None }
        };
        securing.session = true;
        self.link_securing(event);
        for (_, mut fed) in std::mem::take(&mut self.securing.unacknowledged) {
            fed.dup = true;
            self.feed_securing(fed);
        }
        self.deliver_waiting();
        let after = self.rng.between(ms(10), ms(900));
        self.plan(after, Happening::SecuringProven);
    }

    /// A message is published that the securing connection is subscribed to.
    pub(crate) fn publish_securing(&mut self, fed: Fed) {
        let securing = &mut self.securing;
        let over = securing.lost_at.is_some_and(|at| !securing.up && self.now.mono - at > securing.lasts);
        if !securing.session || over {
            return;
        }
        if securing.up && securing.stalled.is_none() {
            let late = self.rng.one_in(6);
            let delay = if late { self.rng.between(ms(100), secs(3)) } else { ms(self.rng.below(100)) };
            self.plan(delay, Happening::DeliverSecuring(fed));
        } else {
            securing.waiting.push_back(fed);
        }
    }

    pub(crate) fn deliver_securing(&mut self, fed: Fed) {
        if self.securing.up && self.securing.stalled.is_none() {
            self.feed_securing(fed);
        } else {
            self.securing.waiting.push_back(fed);
        }
    }

    fn deliver_waiting(&mut self) {
        while let Some(fed) = self.securing.waiting.pop_front() {
            self.feed_securing(fed);
        }
    }

    fn feed_securing(&mut self, mut fed: Fed) {
        // No two messages are read at the same moment: results tell them apart by it.
        self.now = later(self.now, ms(1));
        fed.by_securing = true;
        let securing = &mut self.securing;
        securing.packet += 1;
        let receipt = Receipt { epoch: securing.epoch, packet: securing.packet };
        securing.unacknowledged.insert(receipt.packet, fed.clone());
        let since = securing.since;
        let message = self.message_of(&fed, since);
        let (now, securing) = (self.now.mono, &self.securing);
        let kept = securing.resumed && message.echo_sent_at.is_none();
        let bound = !kept || securing.heard.is_some_and(|at| now - at <= KEPT);
        fed.deadline = now;
        fed.may_run = bound;
        let fresh = bound && now - fed.published < secs(40) && fed.is_issued_lately(now, self.now);
        // Without a name it is taken for the one that was taken on right before.
        let again = fed.dup && fed.id.is_none();
        self.feed(fed, fresh && !again, Input::Securing(LinkEvent::Waiting(message, receipt)));
    }

    /// Whether the broker may seem to deliver a lockdown once more that was taken on right before it was last heard: without
    /// a name it cannot be told from it.
    pub(crate) fn seems_delivered_again(&self, fed: &Fed) -> bool {
        let Some(heard) = self.securing.heard.filter(|_| fed.by_securing && fed.dup && fed.id.is_none())
        else {
            return false;
        };
        self.ledger.was_activated(&fed.target, |at| heard.saturating_duration_since(at) < secs(5))
    }

    /// Gives the broker the receipts that the core lets go.
    pub(crate) fn take_receipts(&mut self) {
        while let Some(receipt) = self.gateway.bridge.next_receipt() {
            self.note_act(&receipt);
            if receipt.epoch != self.securing.epoch || !self.securing.up {
                continue;
            }
            let Some(fed) = self.securing.unacknowledged.remove(&receipt.packet) else { continue };
            // What opens is left to the other connection, and may be lost; of what was turned away somebody was told.
            let concerns = fed.word == "ON" && !self.ledger.turned_away.contains(&fed.serial);
            self.must(!concerns || self.is_broken() || !self.ledger.is_volatile(fed.serial), || {
                format!("{fed:?} is acknowledged, and a crash would lose it")
            });
            self.securing.acknowledged.push((self.now.mono, fed));
            if self.securing.acknowledged.len() > 8 {
                self.securing.acknowledged.remove(0);
            }
        }
    }
}
