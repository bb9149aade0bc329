//! The vendor: how the organisation is, what is told of it and when, and what becomes of calls.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use verkada2mqtt::{
    bridge::Input,
    model::{
        AccessEvent, Answer, Call, CallId, Controller, Door, Drilled, EventKind, EventPage, Fault, Now,
        PageToken, Reply, Request, Scenario, ScenarioState, Unlocked,
    },
};

use crate::{
    DOORS, Happening, SCENARIOS, SPEAKING, World, bench,
    bench::{door, inventory, ms, scenario, secs, trace, unlocked},
    controller_of,
};

/// Events on one page.
const PAGE: usize = 7;
/// A page token that leads to itself.
const LOOP: &str = "loop";

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Fine,
    /// Done, and answered oddly: a list is empty, lacks something, or cannot be read in parts.
    Odd,
    NotSent,
    LostAfter,
    LostBefore,
    /// Done, and answered by something that cannot be read.
    Garbled,
    /// Done, and answered as if something else had been asked for.
    Misfit,
    RateLimited,
    Refused,
    NotFound,
    Forbidden,
    Unauthorized,
}

/// The truth about the organisation.
pub(crate) struct Vendor {
    /// Whether it delivers webhooks; some get lost, some come late or twice.
    webhooks: bool,
    /// How late events can be read, at most.
    latest: Duration,
    /// Whether our token is no good.
    pub(crate) refuses: bool,
    pub(crate) listed: BTreeSet<&'static str>,
    pub(crate) unlocked_until: BTreeMap<&'static str, Instant>,
    pub(crate) active: BTreeMap<&'static str, bool>,
    /// When each scenario was last seen active.
    pub(crate) last_active: BTreeMap<&'static str, Instant>,
    pub(crate) last_inactive: BTreeMap<&'static str, Instant>,
    pub(crate) visible: Vec<AccessEvent>,
    /// The newest second in which each lock moved, and how.
    pub(crate) moved: BTreeMap<String, (Timestamp, BTreeSet<bool>)>,
    next_event: u64,
    /// What was left out of a list in this run of the gateway: each thing once, so that none is ever gone for long.
    left_out: BTreeSet<(u32, String)>,
}

impl Vendor {
    /// How many events there were.
    pub(crate) fn arisen(&self) -> usize {
        usize::try_from(self.next_event).unwrap()
    }

    pub(crate) fn new(seed: u64, now: Now) -> Self {
        Self {
            webhooks: !seed.is_multiple_of(3),
            latest: if World::is_slow(seed) { secs(120) } else { secs(40) },
            refuses: false,
            listed: DOORS.into_iter().collect(),
            unlocked_until: BTreeMap::new(),
            active: SCENARIOS.into_iter().map(|id| (id, false)).collect(),
            last_active: BTreeMap::new(),
            last_inactive: SCENARIOS.into_iter().map(|id| (id, now.mono)).collect(),
            visible: Vec::new(),
            moved: BTreeMap::new(),
            next_event: 0,
            left_out: BTreeSet::new(),
        }
    }
}

impl World {
    // ---- calls ----

    pub(crate) fn call(&mut self, call: Call) {
        let what = bench::call_line(&call.request);
        let within = call.send_before.saturating_duration_since(self.now.mono);
        self.note_act(&(call.id, &call.request, within, call.opening));
        self.check_budget(&call);
        let command = self.check_command(&call);
        // A lockdown does not wait for the answer to what it overtakes.
        let overtakes = |by: &Option<String>| {
            matches!(call.request, Request::Activate { .. }) && by.is_some() && *by != command
        };
        let rival =
            |(request, by): &(Request, Option<String>)| same_object(request, &call.request) && !overtakes(by);
        self.must(!self.gateway.calls.values().any(rival), || {
            format!("two requests are under way for {what}")
        });
        self.gateway.calls.insert(call.id, (call.request.clone(), command));
        if let Request::Activate { scenario } | Request::Release { scenario } = &call.request {
            self.truth.act(scenario, call.id);
        }
        self.truth.ask(&call.request, self.now);
        let fate = self.fate(&call.request);
        self.note(&format!("> {what} ({:?}), fate {fate:?}", call.id));
        let slow = !self.quiet && self.rng.one_in(15);
        let trip = if slow { self.rng.between(secs(1), secs(8)) } else { self.rng.between(ms(5), ms(300)) };
        // A connection may have to be made first.
        let held = if self.quiet || !self.rng.one_in(6) { Duration::ZERO } else { ms(self.rng.below(1_500)) };
        let run = self.gateway.run;
        self.plan(held, Happening::Hand(run, call, fate, trip));
    }

    /// The adapter writes a call, unless its time or its turn is over.
    pub(crate) fn hand(&mut self, run: u32, call: Call, fate: Fate, trip: Duration) {
        if run != self.gateway.run || self.gateway.down {
            return;
        }
        let overtaken = call.opening.is_some_and(|turn| turn != self.gateway.bridge.turn());
        if overtaken || call.send_before <= self.now.mono {
            self.note(&format!("{:?} is not written", call.id));
            self.reply(run, call.id, Err(Fault::NotSent(trace())));
            return;
        }
        self.check_written(&call);
        self.plan(trip, Happening::Execute(run, call, fate, trip));
    }

    /// The gateway is gone: what it had written reached the vendor, or did not.
    pub(crate) fn break_off_calls(&mut self) {
        let run = self.gateway.run;
        let written = self
            .agenda
            .extract_if(.., |_, happening| matches!(happening, Happening::Execute(of, ..) if *of == run));
        for (_, happening) in written.collect::<Vec<_>>() {
            if let Happening::Execute(run, call, fate, rest) = happening
                && self.rng.one_in(2)
            {
                self.execute(run, &call, fate, rest);
            }
        }
    }

    fn fate(&mut self, request: &Request) -> Fate {
        if self.vendor.refuses {
            return Fate::Unauthorized;
        }
        if self.quiet || !self.rng.one_in(4) {
            return Fate::Fine;
        }
        let acts =
            matches!(request, Request::Unlock { .. } | Request::Activate { .. } | Request::Release { .. });
        match self.rng.below(12) {
            0 | 1 => Fate::NotSent,
            2 => Fate::LostAfter,
            3 => Fate::LostBefore,
            4 => Fate::Garbled,
            5 => Fate::Misfit,
            6 => Fate::RateLimited,
            7 if acts => Fate::Refused,
            8 if acts => Fate::NotFound,
            7..10 => Fate::Odd,
            10 if self.rng.one_in(4) => Fate::Unauthorized,
            11 if self.rng.one_in(4) => Fate::Forbidden,
            _ => Fate::Fine,
        }
    }

    pub(crate) fn execute(&mut self, run: u32, call: &Call, fate: Fate, rest: Duration) {
        let done = matches!(fate, Fate::Fine | Fate::Odd | Fate::LostAfter | Fate::Garbled | Fate::Misfit);
        let answer = if done { Some(self.carry_out(run, call, fate == Fate::Odd)) } else { None };
        let result = match fate {
            Fate::Fine | Fate::Odd => Ok(answer.unwrap()),
            Fate::Misfit => Ok(match call.request {
                Request::ListDoors => Answer::Scenarios(inventory(Vec::new())),
                Request::ListScenarios => Answer::Doors(inventory(Vec::new())),
                Request::Activate { .. } | Request::Release { .. } => {
                    Answer::Unlocked(Unlocked { duration: None })
                }
                Request::ReadEvents { .. } | Request::Unlock { .. } | Request::Drill => Answer::Taken,
                _ => unasked(&call.request),
            }),
            Fate::NotSent => Err(Fault::NotSent(trace())),
            Fate::LostAfter | Fate::LostBefore => Err(Fault::Unclear(trace())),
            Fate::Garbled => Err(Fault::Malformed(trace())),
            Fate::RateLimited => {
                let after = [None, Some(secs(1)), Some(secs(8))];
                Err(Fault::RateLimited { after: self.pick(&after), trace: trace() })
            }
            Fate::Refused => Err(Fault::Rejected(trace())),
            Fate::NotFound => Err(Fault::NotFound(trace())),
            Fate::Forbidden => Err(Fault::Forbidden(trace())),
            Fate::Unauthorized => Err(Fault::Unauthorized(trace())),
        };
        self.plan(rest, Happening::Reply(run, call.id, result));
    }

    fn carry_out(&mut self, run: u32, call: &Call, odd: bool) -> Answer {
        match &call.request {
            Request::ListDoors => {
                let mut list = inventory(self.doors());
                if odd {
                    self.spoil(&mut list.items, &mut list.skipped, |door| door.id.to_string());
                }
                Answer::Doors(list)
            }
            Request::ListScenarios => {
                let mut list = inventory(self.scenarios());
                if odd && self.rng.one_in(2) {
                    let index = usize::try_from(self.rng.below(3)).unwrap();
                    list.items[index].state = ScenarioState::Unknown(Some("PAUSED".to_owned()));
                } else if odd {
                    self.spoil(&mut list.items, &mut list.skipped, |scenario| scenario.id.to_string());
                }
                Answer::Scenarios(list)
            }
            Request::Drill => Answer::Drilled(Drilled {
                scenarios: inventory(self.scenarios()),
                aside: Duration::ZERO,
                sent_at: self.now.mono,
                answered_at: self.now.mono,
            }),
            Request::ReadEvents { since, page } => Answer::Events(self.page(*since, page.as_ref(), odd)),
            Request::Unlock { door } => {
                self.count_execution(run, call.id);
                let id = DOORS.into_iter().find(|id| *id == door.as_str()).unwrap();
                let duration = secs(2 + self.rng.below(9));
                self.open(id, duration);
                if self.rng.one_in(2) {
                    self.tell(EventKind::RemoteUnlock, id);
                }
                unlocked(Some(duration.as_secs()).filter(|_| id != "d-3"))
            }
            Request::Activate { scenario } => {
                self.count_execution(run, call.id);
                let id = SCENARIOS.into_iter().find(|id| *id == scenario.as_str()).unwrap();
                self.set_scenario(id, true);
                Answer::Taken
            }
            Request::Release { scenario } => {
                self.count_execution(run, call.id);
                let id = SCENARIOS.into_iter().find(|id| *id == scenario.as_str()).unwrap();
                self.set_scenario(id, false);
                Answer::Taken
            }
            _ => unasked(&call.request),
        }
    }

    pub(crate) fn reply(&mut self, run: u32, id: CallId, result: Result<Answer, Fault>) {
        if run != self.gateway.run || self.gateway.down {
            return;
        }
        let (request, _) = self.gateway.calls.remove(&id).unwrap();
        self.note(&format!("< {id:?} {}", in_short(&result)));
        let requests = if self.rng.one_in(10) { 2 } else { 1 };
        self.gateway.bridge.handle(Input::Reply(Reply { id, result: result.clone(), requests }), self.now);
        self.truth.learn(id, &request, result, self.now);
        self.drain();
    }

    // ---- lists ----

    fn doors(&self) -> Vec<Door> {
        let wired = |id: &&'static str| {
            let mut door = door(id, "Door");
            door.controller = Some(Controller { id: controller_of(id).parse().unwrap(), name: None });
            door
        };
        self.vendor.listed.iter().map(wired).collect()
    }

    fn scenarios(&self) -> Vec<Scenario> {
        let doors: [&[&str]; 3] = [&["d-0", "d-3"], &["d-1"], &["d-2", "d-3"]];
        let one = |(id, doors): (&&str, &[&str])| {
            let mut scenario = scenario(id, doors);
            if self.vendor.active[*id] {
                scenario.state = ScenarioState::Active;
            }
            scenario
        };
        SCENARIOS.iter().zip(doors).map(one).collect()
    }

    /// A list as it can be after all: empty, with some missing between pages, or with some that cannot be read.
    fn spoil<T>(&mut self, items: &mut Vec<T>, skipped: &mut Vec<String>, id: impl Fn(&T) -> String) {
        let run = self.gateway.run;
        match self.rng.below(3) {
            0 | 1 => {
                let share = self.pick(&[1, 3]);
                let mut kept = Vec::new();
                for item in items.drain(..) {
                    let missing = self.rng.one_in(share) && self.vendor.left_out.insert((run, id(&item)));
                    if !missing {
                        kept.push(item);
                    }
                }
                *items = kept;
            }
            _ => {
                let index = usize::try_from(self.rng.below(u64::try_from(items.len()).unwrap())).unwrap();
                let odd = items.remove(index);
                skipped.push(format!("{} has a number for a name", id(&odd)));
            }
        }
    }

    /// One page of events, new to old, as the vendor gives them.
    fn page(&mut self, since: Timestamp, page: Option<&PageToken>, odd: bool) -> EventPage {
        let looping = page.is_some_and(|token| token.0 == LOOP);
        let from: usize = page.filter(|_| !looping).map_or(0, |token| token.0.parse().unwrap());
        let mut events: Vec<_> = self.vendor.visible.iter().filter(|event| event.at >= since).collect();
        events.sort_by_key(|event| event.at);
        let rest = events.len().saturating_sub(from);
        let events: Vec<_> = events.into_iter().rev().skip(from).take(PAGE).cloned().collect();
        let mut next = (rest > PAGE).then(|| PageToken((from + PAGE).to_string()));
        let mut skipped = Vec::new();
        if looping || (odd && self.rng.one_in(2)) {
            next = Some(PageToken(LOOP.to_owned()));
        } else if odd {
            skipped.push("an event has no id".to_owned());
        }
        EventPage { events, skipped, next }
    }

    // ---- what happens ----

    pub(crate) fn open(&mut self, id: &'static str, duration: Duration) {
        let until = self.now.mono + duration;
        self.vendor.unlocked_until.insert(id, until);
        self.note(&format!("the vendor unlocks {id} for {duration:?}"));
        self.lock_event(id, EventKind::Unlocked);
        self.plan(duration, Happening::Relock(id));
    }

    pub(crate) fn relock(&mut self, id: &'static str) {
        if self.vendor.unlocked_until.get(id).is_some_and(|until| *until <= self.now.mono) {
            self.vendor.unlocked_until.remove(id);
            self.lock_event(id, EventKind::Locked);
        }
    }

    fn lock_event(&mut self, id: &'static str, kind: EventKind) {
        if SPEAKING.contains(&id) {
            self.tell(kind, id);
        }
    }

    /// An event of a door arises.
    pub(crate) fn tell(&mut self, kind: EventKind, id: &str) {
        let event = self.arise(kind, id);
        let ways: &[bool] = match kind {
            EventKind::Locked => &[true],
            EventKind::Unlocked => &[false],
            EventKind::LockChanged => &[true, false],
            _ => &[],
        };
        if !ways.is_empty() {
            let (at, moved) = self.vendor.moved.entry(id.to_owned()).or_insert((event.at, BTreeSet::new()));
            if *at < event.at {
                (*at, *moved) = (event.at, BTreeSet::new());
            }
            moved.extend(ways);
        }
        self.send(event);
    }

    /// An event of the controller of a door arises.
    pub(crate) fn tell_of_controller(&mut self, kind: EventKind, id: &str) {
        let mut event = self.arise(kind, id);
        event.door = None;
        self.send(event);
    }

    fn arise(&mut self, kind: EventKind, id: &str) -> AccessEvent {
        self.vendor.next_event += 1;
        let at = Timestamp::from_second(self.utc().as_second()).unwrap();
        let mut event = bench::event(&format!("e-{}", self.vendor.next_event), kind, id, at);
        event.controller = Some(controller_of(id).parse().unwrap());
        event
    }

    /// It can be read a while later, and a webhook may bring it.
    fn send(&mut self, event: AccessEvent) {
        let delay = if self.rng.one_in(5) {
            self.rng.between(secs(1), self.vendor.latest)
        } else {
            ms(self.rng.below(900))
        };
        if self.vendor.webhooks && !self.rng.one_in(8) {
            let late = if self.rng.one_in(10) {
                self.rng.between(secs(1), secs(60))
            } else {
                ms(self.rng.below(300))
            };
            self.plan(late, Happening::Push(event.clone()));
        }
        self.plan(delay, Happening::Visible(event));
    }

    /// An event can be read from now on, one of six twice.
    pub(crate) fn let_be_read(&mut self, event: AccessEvent) {
        // Nobody asks for older ones.
        let old = event.at - SignedDuration::from_hours(26);
        self.vendor.visible.retain(|event| event.at > old);
        if self.rng.one_in(6) {
            self.vendor.visible.push(event.clone());
        }
        self.vendor.visible.push(event);
    }

    pub(crate) fn set_scenario(&mut self, id: &'static str, active: bool) {
        self.note(&format!("the vendor sets {id} to {active}"));
        self.touch_scenarios();
        self.vendor.active.insert(id, active);
        self.touch_scenarios();
    }

    fn touch_scenarios(&mut self) {
        for (id, active) in &self.vendor.active {
            let times = if *active { &mut self.vendor.last_active } else { &mut self.vendor.last_inactive };
            times.insert(id, self.now.mono);
        }
    }
}

/// What the core of this world never asks.
fn unasked(request: &Request) -> ! {
    panic!("the core does not ask this: {request:?}")
}

/// An answer in one line.
fn in_short(result: &Result<Answer, Fault>) -> String {
    match result {
        Ok(Answer::Doors(list)) => {
            let ids: Vec<_> = list.items.iter().map(|door| door.id.as_str()).collect();
            format!("doors {ids:?} {:?}", list.skipped)
        }
        Ok(Answer::Scenarios(list)) => {
            let states: Vec<_> = list.items.iter().map(|one| format!("{} {}", one.id, one.state)).collect();
            format!("scenarios {states:?} {:?}", list.skipped)
        }
        Ok(Answer::Events(page)) => {
            let ids: Vec<_> = page.events.iter().map(|event| event.id.as_str()).collect();
            format!("events {ids:?} {:?}", page.next)
        }
        Ok(
            Answer::Unlocked(_)
            | Answer::Drilled(_)
            | Answer::Taken
            | Answer::Calendars(_)
            | Answer::AccessLevels(_)
            | Answer::AccessGroups(_)
            | Answer::Calendar(_)
            | Answer::Exception(_),
        )
        | Err(_) => format!("{result:?}"),
    }
}

fn same_object(a: &Request, b: &Request) -> bool {
    let key = |request: &Request| match request {
        Request::ListDoors => "doors".to_owned(),
        Request::ListScenarios => "scenarios".to_owned(),
        Request::Drill => "drill".to_owned(),
        Request::ReadEvents { since, .. } => format!("events {since}"),
        Request::Unlock { door } => format!("door {door}"),
        Request::Activate { scenario } | Request::Release { scenario } => format!("scenario {scenario}"),
        _ => unasked(request),
    };
    key(a) == key(b)
}
