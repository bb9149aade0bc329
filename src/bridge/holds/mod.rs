//! Holds: doors that are kept unlocked, locked or at a credential for a time, by an exception in a calendar of the gateway's
//! own at the vendor, which ends them even where the gateway is gone (`verkada-api.md` 9).

mod judge;
mod period;
mod plan;
mod task;
mod window;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::{
    SignedDuration, Timestamp,
    tz::{TimeZone, TimeZoneDatabase},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::task::{Sight, Wish};
pub(super) use self::{
    judge::{HoldFacts, Present, action_of, goal_of},
    period::{Period, moments},
    plan::Goal,
    task::{Asked, Tasks},
};
use super::{
    Bridge,
    calendars::Calendars,
    calls::Pending,
    commands::{Bar, Effect, READ_EVERY},
    doors::{Doors, Held},
    gate::{Passed, Refusal},
    poller::List,
    report::Origin,
    retained::Rank,
    view,
};
use crate::{
    hass::{calendar, payload},
    model::{
        Action, Answer, Calendar, CalendarId, Call, CallId, DoorId, DoorMode, Exception, ExceptionId, Fault,
        Inventory, Lane, Message, Now, Reply, ScenarioId, Target, Trace,
    },
};

/// The exception that a call deletes: its answer does not name it.
pub(super) type Deleted = (CalendarId, ExceptionId);

/// How much earlier than the minute that is stored a hold may end.
const CUT: SignedDuration = SignedDuration::from_mins(2);

/// The retained topics of a door that tell of holds.
pub(super) const HOLD_LEAVES: [&str; 2] = ["hold", "hold_minutes"];

/// What a later run must know of holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HoldMemory {
    /// The doors of which a hold was shown.
    pub(super) shown: BTreeSet<DoorId>,
    /// When the holds that are in force were written: what happened before says nothing of them.
    pub(super) begun: BTreeMap<DoorId, Timestamp>,
    /// When unlocked holds end, to the second.
    pub(super) ends: BTreeMap<DoorId, Timestamp>,
    /// How many minutes a hold of a door lasts that does not say it.
    pub(super) minutes: BTreeMap<DoorId, u32>,
}

/// All that is known of holds.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Holds {
    /// The gateway's part of the names of its calendars.
    owner: String,
    pub(super) tasks: Tasks,
    calendars: Calendars,
    memory: HoldMemory,
    memory_changed: bool,
    /// What our calendars say, by door.
    periods: BTreeMap<DoorId, Vec<Period>>,
    /// What is shown of doors that have any.
    in_force: BTreeMap<DoorId, Period>,
    /// Whether the calendars were read at all, and lately.
    was_read: bool,
    fresh: bool,
    /// Whether something was written, or read anew.
    changed: bool,
    /// When something begins or ends by itself.
    changes_at: Option<Timestamp>,
}

impl Holds {
    pub(super) fn new(owner: &str, seed: u64, memory: HoldMemory) -> Self {
        Self {
            owner: owner.to_owned(),
            tasks: Tasks::new(seed),
            calendars: Calendars::default(),
            memory,
            memory_changed: false,
            periods: BTreeMap::new(),
            in_force: BTreeMap::new(),
            was_read: false,
            fresh: false,
            changed: true,
            changes_at: None,
        }
    }

    /// The calendars that were read.
    pub(super) const fn calendars(&self) -> &Calendars {
        &self.calendars
    }

    /// Whether a calendar is the gateway's own.
    pub(super) fn owns(&self, calendar: &Calendar) -> bool {
        calendar::is_own(calendar, &self.owner)
    }

    /// What a later run must know.
    pub(super) fn remember(&mut self) -> HoldMemory {
        self.memory_changed = false;
        self.memory.clone()
    }

    /// Whether that changed since it was asked for.
    pub(super) const fn is_memory_changed(&self) -> bool {
        self.memory_changed
    }

    /// Does something with the tasks, in the light of what is known.
    fn with_tasks<T>(
        &mut self,
        doors: &Doors,
        as_of: CallId,
        now: Now,
        act: impl FnOnce(&mut Tasks, Sight<'_>) -> T,
    ) -> T {
        let zone = |door: &DoorId| zone_of(doors, door);
        let sight = Sight { calendars: &self.calendars, owner: &self.owner, zone: &zone, as_of, now };
        act(&mut self.tasks, sight)
    }

    /// An answer tells an exception as it was written. One that is another than what was asked for proves nothing.
    fn take_exception(&mut self, target: &Target, exception: Exception) -> Result<(), Fault> {
        let answered = self.tasks.edit(target).map_or(Ok(()), |edit| edit.check_answer(&exception));
        if let Target::Calendar(calendar) = target {
            self.calendars.put_exception(calendar, exception);
        }
        answered
    }

    /// Works out when which door is held how.
    fn work_out(&mut self, doors: &Doors) {
        let prefix = calendar::own_prefix(&self.owner);
        let mut ours: BTreeMap<DoorId, Vec<&Calendar>> = BTreeMap::new();
        for calendar in self.calendars.iter() {
            let id = calendar.name.as_deref().and_then(|name| name.strip_prefix(&prefix));
            if let Some(Ok(door)) = id.map(str::parse::<DoorId>) {
                ours.entry(door).or_default().push(calendar);
            }
        }
        let ends = &self.memory.ends;
        let periods = ours.into_iter().filter_map(|(door, calendars)| {
            let zone = zone_of(doors, &door)?;
            let mut periods = period::periods(&zone, calendars.into_iter());
            for period in periods.iter_mut().filter(|period| period.mode == DoorMode::Unlocked) {
                let cut =
                    |end: &&Timestamp| **end < period.until && period.until.duration_since(**end) <= CUT;
                period.until = ends.get(&door).filter(cut).copied().unwrap_or(period.until);
            }
            Some((door, periods))
        });
        self.periods = periods.collect();
    }

    /// Of a hold that is not there it does not matter when it began.
    fn forget_begun(&mut self, now: Timestamp) {
        if !self.fresh {
            return;
        }
        let before = self.memory.begun.len();
        let lasts =
            |door: &DoorId| self.periods.get(door).is_some_and(|all| all.iter().any(|one| now < one.until));
        self.memory.begun.retain(|door, _| lasts(door));
        self.memory_changed |= self.memory.begun.len() < before;
    }

    /// What is in force at the moment; returns the doors for which that changed.
    fn look(&mut self, now: Timestamp) -> BTreeSet<DoorId> {
        let current = self.periods.iter().filter_map(|(door, periods)| {
            let period = periods.iter().find(|period| period.from <= now && now < period.until)?;
            let begun = self.memory.begun.get(door).filter(|at| period.from < **at && **at <= now);
            Some((door.clone(), Period { from: begun.copied().unwrap_or(period.from), ..*period }))
        });
        let current: BTreeMap<DoorId, Period> = current.collect();
        let edges = self.periods.values().flatten().flat_map(|period| [period.from, period.until]);
        self.changes_at = edges.filter(|at| *at > now).min();
        let both = current.keys().chain(self.in_force.keys());
        let changed = both.filter(|door| current.get(*door) != self.in_force.get(*door)).cloned().collect();
        self.in_force = current;
        changed
    }

    /// What is believed of the hold of a door: what was read, or, before anything was, what an earlier run wrote.
    fn held(&self, door: &DoorId, now: Timestamp) -> Option<Held> {
        let read = self.in_force.get(door).map(|period| Held {
            unlocked: period.mode == DoorMode::Unlocked,
            since: period.from,
            until: period.until,
            stale: !self.fresh,
        });
        let remembered = || {
            let (since, until) = (*self.memory.begun.get(door)?, *self.memory.ends.get(door)?);
            let may_last = !self.was_read && now < until;
            may_last.then_some(Held { unlocked: true, since, until, stale: true })
        };
        read.or_else(remembered)
    }

    /// What our calendar of a door says, as far as is known.
    fn present(&self, door: &DoorId, now: Timestamp) -> Present {
        if let Some(mode) = self.tasks.wanted_mode(door) {
            return Present::Held(mode);
        }
        let mut periods = self.periods.get(door).into_iter().flatten();
        let ahead = periods.find(|period| now < period.until);
        match ahead {
            Some(period) => Present::Held(period.mode),
            None if self.fresh => Present::Nothing,
            None => Present::Unread,
        }
    }

    /// The doors whose hold kept them unlocked until now, or that a scenario has locked since; and one whose calendar has
    /// something that is over.
    fn over(&self, doors: &Doors, now: Timestamp) -> (Vec<DoorId>, Option<DoorId>) {
        let is_due = |door: &DoorId, periods: &[Period]| {
            let mut unlocked = periods.iter().filter(|period| period.mode == DoorMode::Unlocked);
            let ahead = periods.iter().any(|period| now < period.until);
            let begun = self.memory.begun.get(door);
            let locked = doors.locked_since(door).is_some_and(|since| {
                unlocked.clone().any(|period| now < period.until && *begun.unwrap_or(&period.from) < since)
            });
            locked || (!ahead && unlocked.any(|period| period.until <= now))
        };
        let due = self.periods.iter().filter(|(door, periods)| !self.is_busy(door) && is_due(door, periods));
        let due: Vec<DoorId> = due.map(|(door, _)| door.clone()).collect();
        let tidy = self
            .periods
            .keys()
            .find(|door| !self.is_busy(door) && !due.contains(door) && self.is_untidy(doors, door, now));
        (due, tidy.cloned())
    }

    fn is_busy(&self, door: &DoorId) -> bool {
        self.tasks.is_busy(&Target::Door(door.clone()))
    }

    fn is_untidy(&self, doors: &Doors, door: &DoorId, now: Timestamp) -> bool {
        let Some(zone) = zone_of(doors, door) else { return false };
        let name = task::name(&self.owner, door);
        let mut exceptions = self.calendars.named(&name).flat_map(|calendar| &calendar.exceptions);
        exceptions.any(|exception| period::is_over(&zone, exception, now))
    }

    /// Doors were listed, or are gone, or scenarios lock others than before.
    pub(super) const fn note_doors(&mut self) {
        self.changed = true;
    }

    /// The door is gone, or may not be held any more. Says whether a hold of it was shown.
    pub(super) fn forget(&mut self, door: &DoorId) -> bool {
        let (shown, ends) = (self.memory.shown.remove(door), self.memory.ends.remove(door));
        let begun = self.memory.begun.remove(door);
        self.memory_changed |= shown || ends.is_some() || begun.is_some();
        shown
    }

    /// How long a hold of the door lasts that does not say it.
    fn usual(&self, door: &DoorId, otherwise: Duration) -> SignedDuration {
        let minutes =
            self.memory.minutes.get(door).map(|minutes| SignedDuration::from_mins(i64::from(*minutes)));
        minutes.unwrap_or_else(|| SignedDuration::try_from(otherwise).unwrap_or(SignedDuration::ZERO))
    }

    /// When [`Bridge::compare_holds`] has something to do.
    pub(super) fn next_change(&self, now: Now) -> Option<Instant> {
        self.changes_at.map(|at| now.when(at))
    }
}

/// The time zone of a door, if it is known.
pub(super) fn zone_of(doors: &Doors, door: &DoorId) -> Option<TimeZone> {
    zone_named(doors.listed(door)?.0.time_zone.as_deref()?)
}

/// The time zone of this IANA name, from the data in the program.
fn zone_named(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

impl Bridge {
    /// Whether the configuration allows holds of the door.
    pub(super) fn may_hold(&self, door: &DoorId) -> bool {
        let commands = &self.settings.commands;
        let own = self.settings.door_settings.get(door).and_then(|own| own.hold);
        !commands.read_only && own.unwrap_or(commands.hold)
    }

    /// Whether any door may be held, so that calendars of the gateway's own are kept in order.
    fn holds_any(&self) -> bool {
        let commands = &self.settings.commands;
        let own = || self.settings.door_settings.values().any(|own| own.hold == Some(true));
        !commands.read_only && (commands.hold || own())
    }

    /// What the gate looks at when a hold of the door is asked for.
    pub(super) fn hold_facts(&self, door: &DoorId, now: Now) -> HoldFacts<'_> {
        let settings = &self.settings.holds;
        HoldFacts {
            allowed: self.may_hold(door),
            zone: self.doors.listed(door).and_then(|(door, _)| door.time_zone.as_deref()),
            present: self.holds.present(door, now.utc),
            usual: self.holds.usual(door, settings.usual),
            longest: SignedDuration::try_from(settings.longest).unwrap_or(SignedDuration::MAX),
            start: settings.start,
        }
    }

    /// Whether the hold counts like an opening command, lest somebody uses the vendor's budget up by it. What ends an unlocked
    /// hold never does.
    pub(super) fn is_rated(&self, door: &DoorId, passed: &Passed, now: Now) -> bool {
        match &passed.hold {
            Some((_, Goal::NotUnlocked)) => {
                self.holds.present(door, now.utc) != Present::Held(DoorMode::Unlocked)
            }
            Some((_, Goal::Keep(_) | Goal::Schedule | Goal::Tidy | Goal::Edit(_))) => true,
            None => false,
        }
    }

    /// Takes a hold or a change of a calendar on that passed the gate.
    pub(super) fn take_change(
        &mut self,
        target: Target,
        origin: &Origin,
        passed: &Passed,
        now: Now,
    ) -> Result<Vec<Effect>, Refusal> {
        let Some((asked, goal)) = passed.hold.clone() else { return Ok(Vec::new()) };
        let end = match &goal {
            Goal::Keep(want) if want.mode == DoorMode::Unlocked => Some(want.until),
            Goal::Keep(_) | Goal::Schedule | Goal::NotUnlocked | Goal::Tidy | Goal::Edit(_) => None,
        };
        let wish = Wish {
            target: target.clone(),
            action: passed.intent.judged_as(),
            goal,
            asked,
            origin: Some(origin.clone()),
            deadline: passed.deadline,
            as_of: self.last_call,
        };
        let effects = self.holds.tasks.take_on(wish, now)?;
        if let (Some(end), Target::Door(door)) = (end, target) {
            self.holds.memory.ends.insert(door, end);
            self.holds.memory_changed = true;
        }
        Ok(effects)
    }

    /// A scenario is to be activated: what is held unlocked at the doors that it locks must not come back with its release.
    pub(super) fn end_holds_under(&mut self, scenario: &ScenarioId, now: Now) {
        let bar = self.holds.tasks.bar_opening(Bar::Activated, now);
        self.perform(bar, now);
        let Some(record) = self.scenarios.get(scenario) else { return };
        let held = |door: &&DoorId| self.holds.present(door, now.utc) == Present::Held(DoorMode::Unlocked);
        let doors: Vec<DoorId> = record.scenario.doors_to_lock.iter().filter(held).cloned().collect();
        for door in doors {
            tracing::info!(door_id = %door, scenario_id = %scenario, "a scenario locks the door; its hold is ended");
            self.end_hold(door, now);
        }
    }

    /// Ends what keeps the door unlocked.
    pub(super) fn end_hold(&mut self, door: DoorId, now: Now) {
        if self.holds_any() {
            self.do_by_itself(door, Goal::NotUnlocked, now);
        }
    }

    /// Something that nobody asked for and that opens nothing.
    fn do_by_itself(&mut self, door: DoorId, goal: Goal, now: Now) {
        let wish = Wish {
            target: Target::Door(door),
            action: Action::Lock,
            goal,
            asked: Asked::Nothing,
            origin: None,
            deadline: now.mono,
            as_of: self.last_call,
        };
        // What secures is never one too many.
        let effects = self.holds.tasks.take_on(wish, now).unwrap_or_default();
        self.perform(effects, now);
    }

    pub(super) fn next_hold_call(&mut self, action: Action, now: Now) -> Option<Call> {
        let target = self.holds.tasks.next(action, now)?.clone();
        let lane = if action.opens() { Lane::Unlock } else { Lane::Release };
        let id = self.reserve(lane, now)?;
        let (write, send_before, origin) = self.holds.tasks.start(&target, id)?;
        if let Some(origin) = origin.filter(|_| !action.opens()) {
            // What secures waits for no disk.
            self.record_intent(&origin, now);
        }
        self.calls.insert(id, Pending::Calendar(target, write.deleted()));
        let request = write.request();
        Some(Call { id, request, send_before, opening: action.opens().then_some(self.opening) })
    }

    /// The reply to a write of a calendar.
    pub(super) fn finish_write(&mut self, target: &Target, deleted: Option<Deleted>, reply: Reply, now: Now) {
        let result = match (reply.result, deleted) {
            (Ok(Answer::Calendar(calendar)), None) => {
                self.holds.calendars.put(calendar, now.mono);
                if let Target::Door(door) = target
                    && !self.holds.in_force.contains_key(door)
                {
                    self.holds.memory.begun.insert(door.clone(), now.utc);
                    self.holds.memory_changed = true;
                }
                Ok(())
            }
            (Ok(Answer::Exception(exception)), None) => self.holds.take_exception(target, exception),
            (Ok(Answer::Taken), Some((calendar, exception))) => {
                self.holds.calendars.delete(&calendar, &exception, now.mono);
                Ok(())
            }
            (Ok(_), _) => Err(Fault::Malformed(Trace::new("the answer does not fit the request"))),
            (Err(fault), _) => Err(fault),
        };
        self.holds.changed = true;
        let (as_of, id) = (self.last_call, reply.id);
        let finish = |tasks: &mut Tasks, sight: Sight<'_>| tasks.finish(target, id, result, sight);
        let effects = self.holds.with_tasks(&self.doors, as_of, now, finish);
        self.perform(effects, now);
    }

    /// Takes the list of calendars.
    pub(super) fn take_calendars(&mut self, list: Inventory<Calendar>, read: CallId, now: Now) {
        self.holds.calendars.observe(list, now.mono);
        (self.holds.was_read, self.holds.changed) = (true, true);
        let as_of = self.last_call;
        let effects =
            self.holds.with_tasks(&self.doors, as_of, now, |tasks, sight| tasks.observe(read, sight));
        self.perform(effects, now);
    }

    /// The list of calendars was read, well or not.
    pub(super) fn seek_calendars(&mut self, fault: Option<&Fault>, now: Now) {
        if let Some(fault) = fault {
            let effects = self.holds.tasks.lose_list(fault, now);
            self.perform(effects, now);
        }
        if self.holds.tasks.wants_list() {
            self.poller.hurry(List::Calendars, now.mono + READ_EVERY);
        }
    }

    /// Ends what is over, and shows what changed.
    pub(super) fn compare_holds(&mut self, now: Now) {
        if !self.poller.reads(List::Calendars) {
            return;
        }
        let effects = self.holds.tasks.expire(now);
        self.perform(effects, now);
        let fresh = self.poller.is_fresh(List::Calendars, now);
        let turned = fresh != self.holds.fresh;
        let due = self.holds.changes_at.is_some_and(|at| at <= now.utc);
        if !(turned || due || std::mem::take(&mut self.holds.changed)) {
            return;
        }
        self.holds.fresh = fresh;
        self.holds.work_out(&self.doors);
        self.holds.forget_begun(now.utc);
        let mut changed = self.holds.look(now.utc);
        if turned {
            changed.extend(self.doors.iter().map(|(id, ..)| id.clone()));
        }
        if !fresh {
            changed.extend(self.holds.memory.begun.keys().cloned());
        }
        for door in changed {
            let held = self.holds.held(&door, now.utc);
            self.doors.hold(&door, held, now);
        }
        self.end_what_is_over(now);
    }

    fn end_what_is_over(&mut self, now: Now) {
        if self.stopping || !self.holds_any() {
            return;
        }
        let (due, untidy) = self.holds.over(&self.doors, now.utc);
        for door in due {
            self.do_by_itself(door, Goal::NotUnlocked, now);
        }
        if let Some(door) = untidy {
            self.do_by_itself(door, Goal::Tidy, now);
        }
    }

    /// Shows what is known of the hold of a door, where it can have one.
    pub(super) fn show_hold(&mut self, door: &DoorId) {
        if !self.may_hold(door) {
            return;
        }
        let held = self.holds.in_force.get(door).filter(|_| self.holds.fresh);
        let mode = match held {
            Some(period) => Some(period.mode.word()),
            None => self.holds.fresh.then_some(payload::SCHEDULE),
        };
        let hold = json!({
            "mode": mode,
            "since": held.map(|period| view::time(period.from)),
            "until": held.map(|period| view::time(period.until)),
        });
        let minutes = self.holds.usual(door, self.settings.holds.usual).as_mins().to_string();
        self.holds.memory_changed |= self.holds.memory.shown.insert(door.clone());
        let target = Target::Door(door.clone());
        self.show(Rank::State, self.topics.of(&target, "hold"), view::bytes_of(&hold));
        self.show(Rank::State, self.topics.of(&target, "hold_minutes"), minutes);
    }

    /// Clears what an earlier run showed of holds that this one does not allow.
    pub(super) fn sweep_holds(&mut self) -> BTreeSet<String> {
        let gone: Vec<DoorId> =
            self.holds.memory.shown.iter().filter(|door| !self.may_hold(door)).cloned().collect();
        let mut topics = BTreeSet::new();
        for door in gone {
            self.holds.forget(&door);
            let target = Target::Door(door);
            topics.extend(HOLD_LEAVES.map(|leaf| self.topics.of(&target, leaf)));
        }
        topics
    }

    /// Somebody sets how long a hold of the door lasts that does not say it.
    pub(super) fn hear_hold_minutes(&mut self, door: &DoorId, message: &Message) {
        if message.retain || !self.may_hold(door) || self.doors.listed(door).is_none() {
            tracing::info!(door_id = %door, "the minutes of a hold cannot be set: retained, not allowed, or no such door");
            return;
        }
        let most = self.settings.holds.longest.as_secs() / 60;
        let text = std::str::from_utf8(&message.payload).unwrap_or_default().trim();
        // Home Assistant writes whole numbers with a fraction of nothing.
        let whole = text.strip_suffix(".0").unwrap_or(text);
        match whole.parse::<u32>().ok().filter(|minutes| (1..=most).contains(&u64::from(*minutes))) {
            Some(minutes) => {
                self.holds.memory.minutes.insert(door.clone(), minutes);
                self.holds.memory_changed = true;
            }
            None => {
                tracing::info!(door_id = %door, "the minutes of a hold must be a whole number from 1 to {most}; they stay");
            }
        }
        let topic = self.topics.of(&Target::Door(door.clone()), "hold_minutes");
        self.show_hold(door);
        // Whoever sent something else sees what holds.
        self.retained.again(&topic);
    }
}
