//! The exception calendars: what the vendor holds, when it shows it, and how controllers hear of it.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use jiff::{SignedDuration, Timestamp};

use super::{
    ActError, Due, Note, Now, Room, World,
    passages::{Free, Unlocked, join},
    plan::{Plan, Planned},
    zone_of,
};
use crate::{
    model::DoorId,
    simulator::{
        calendar::{Broken, DoorStatus, Exception},
        ledger::{Change, Changed},
        switches::{ExceptionOverlap, ExceptionStarted, LastMinute},
    },
};

/// How many calendars there can be.
const MAX_CALENDARS: usize = 1_000;

/// How many exceptions a calendar can hold.
const MAX_EXCEPTIONS: usize = 1_000;

/// How many edges are looked at for a span of time.
const MAX_EDGES: usize = 100_000;

/// A calendar of exceptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    /// The key.
    pub id: String,
    /// What people call it; need not be unique.
    pub name: String,
    /// The doors to which it applies.
    pub doors: Vec<DoorId>,
    /// Its exceptions.
    pub exceptions: Vec<Kept>,
    /// When it or one of its exceptions was written last.
    pub last_updated_at: Timestamp,
    updated: u64,
}

/// An exception in a calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The key.
    pub id: String,
    /// What it says.
    pub exception: Exception,
    known_at: Timestamp,
    updated: u64,
}

/// Exceptions as they are written: existing ones with their key, new ones without.
pub type Exceptions = Vec<(Option<String>, Exception)>;

/// What a calendar shall say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// What people call it.
    pub name: String,
    /// The doors to which it applies; all must exist.
    pub doors: Vec<DoorId>,
    /// Its exceptions.
    pub exceptions: Exceptions,
}

impl Calendar {
    /// What it says now.
    pub fn content(&self) -> Content {
        let exceptions = self.exceptions.iter();
        Content {
            name: self.name.clone(),
            doors: self.doors.clone(),
            exceptions: exceptions.map(|kept| (Some(kept.id.clone()), kept.exception.clone())).collect(),
        }
    }

    /// One of its exceptions.
    pub fn exception(&self, id: &str) -> Option<&Kept> {
        self.exceptions.iter().find(|kept| kept.id == id)
    }
}

/// A calendar as the vendor holds and shows it; `None` where it is not or no longer there.
#[derive(Debug)]
pub(super) struct Slot {
    current: Option<Arc<Calendar>>,
    /// What was shown before the last write.
    shown_before: Option<Arc<Calendar>>,
    /// When reads follow the last write.
    shown_at: Instant,
}

impl Slot {
    fn shown(&self, now: Now) -> Option<&Arc<Calendar>> {
        if now.mono >= self.shown_at { self.current.as_ref() } else { self.shown_before.as_ref() }
    }
}

impl World {
    /// The calendars that reads show at `now`, ordered by id.
    pub fn shown_calendars(&self, now: Now) -> impl Iterator<Item = &Arc<Calendar>> {
        self.calendars.values().filter_map(move |slot| slot.shown(now))
    }

    /// A calendar, whatever reads show.
    pub fn calendar(&self, id: &str) -> Option<&Arc<Calendar>> {
        self.calendars.get(id).and_then(|slot| slot.current.as_ref())
    }

    /// All calendars, whatever reads show, ordered by id.
    pub fn calendars(&self) -> impl Iterator<Item = &Arc<Calendar>> {
        self.calendars.values().filter_map(|slot| slot.current.as_ref())
    }

    /// Writes a calendar: a new one, or the one with this key. Tells which exceptions came, changed and went.
    ///
    /// # Errors
    /// The rule that the content breaks.
    pub fn write_calendar(
        &mut self,
        id: Option<&str>,
        content: Content,
        now: Now,
    ) -> Result<(Arc<Calendar>, Vec<Change>), Broken> {
        self.advance(now);
        let before = id.and_then(|id| self.calendar(id)).cloned();
        if before.is_none() && self.calendars.len() >= MAX_CALENDARS {
            return Err(format!("there are {MAX_CALENDARS} calendars already"));
        }
        self.check(&content, before.as_deref(), now)?;
        self.updates += 1;
        let updated = self.updates;
        let id = id.map_or_else(|| self.random.uuid(), str::to_owned);
        let mut changes = Vec::new();
        let mut told = |exception: &str, what| {
            changes.push(Change { calendar: id.clone(), exception: Some(exception.to_owned()), what });
        };
        let mut exceptions = Vec::with_capacity(content.exceptions.len());
        for (key, exception) in content.exceptions {
            let old = key.as_deref().and_then(|key| before.as_ref()?.exception(key));
            let kept = match (old, key) {
                (Some(old), _) if old.exception == exception => old.clone(),
                (Some(old), _) => {
                    told(&old.id, Changed::Changed);
                    let known_at =
                        if same_start(&old.exception, &exception) { old.known_at } else { now.utc };
                    Kept { id: old.id.clone(), exception, known_at, updated }
                }
                (None, key) => {
                    let id = key.unwrap_or_else(|| self.random.uuid());
                    told(&id, Changed::Created);
                    Kept { id, exception, known_at: now.utc, updated }
                }
            };
            exceptions.push(kept);
        }
        for old in before.iter().flat_map(|before| &before.exceptions) {
            if !exceptions.iter().any(|kept| kept.id == old.id) {
                told(&old.id, Changed::Deleted);
            }
        }
        let (name, doors) = (content.name, content.doors);
        let calendar = Arc::new(Calendar { id, name, doors, exceptions, last_updated_at: now.utc, updated });
        self.shelve(&calendar.id, Some(Arc::clone(&calendar)), now);
        Ok((calendar, changes))
    }

    /// Deletes a calendar with its exceptions; one that is not there stays so.
    pub fn delete_calendar(&mut self, id: &str, now: Now) {
        self.advance(now);
        self.shelve(id, None, now);
    }

    fn check(&self, content: &Content, before: Option<&Calendar>, now: Now) -> Result<(), Broken> {
        if content.exceptions.len() > MAX_EXCEPTIONS {
            return Err(format!("a calendar holds at most {MAX_EXCEPTIONS} exceptions"));
        }
        let counts = self.switches.exception_end_2359 == LastMinute::Counts;
        let old = |key: &Option<String>| key.as_deref().and_then(|key| before?.exception(key));
        for (index, (key, exception)) in content.exceptions.iter().enumerate() {
            let old = old(key).map(|kept| &kept.exception);
            if old == Some(exception) {
                continue;
            }
            let moved = !old.is_some_and(|old| same_start(old, exception));
            if self.switches.exception_started == ExceptionStarted::Refused
                && moved
                && content.doors.iter().any(|door| self.has_started(exception, door, now))
            {
                return Err("start_time must not be in the past".to_owned());
            }
            let mut others = content.exceptions.iter().enumerate().filter(|(other, _)| *other != index);
            if self.switches.exception_overlap == ExceptionOverlap::Refused
                && others.any(|(_, (_, other))| exception.overlaps(other, counts))
            {
                return Err("exceptions of a calendar must not overlap".to_owned());
            }
        }
        Ok(())
    }

    fn has_started(&self, exception: &Exception, door: &DoorId, now: Now) -> bool {
        let start = exception.date.to_datetime(exception.start);
        self.doors
            .get(door)
            .is_some_and(|room| zone_of(&room.door).to_timestamp(start).is_ok_and(|start| start < now.utc))
    }

    /// Puts a calendar in the place of what was there, and tells the doors of both.
    fn shelve(&mut self, id: &str, calendar: Option<Arc<Calendar>>, now: Now) {
        let shown_before = self.calendars.get(id).and_then(|slot| slot.shown(now)).cloned();
        let before = self.calendars.get(id).and_then(|slot| slot.current.clone());
        let doors = [&before, &calendar].into_iter().flatten().flat_map(|one| one.doors.iter().cloned());
        let doors: BTreeSet<DoorId> = doors.collect();
        let shown_at = now.mono + self.switches.calendar_state_delay();
        if calendar.is_none() && shown_at <= now.mono {
            self.calendars.remove(id);
        } else {
            self.calendars.insert(id.to_owned(), Slot { current: calendar, shown_before, shown_at });
        }
        self.calendars.retain(|_, slot| slot.current.is_some() || slot.shown_at > now.mono);
        let heard_at = now.mono + self.switches.exception_delay();
        for door in doors {
            let plan = self.plan_of(&door);
            let Some(room) = self.doors.get_mut(&door) else { continue };
            room.plans_on_the_way.push((heard_at, plan));
            if heard_at > now.mono {
                self.due.insert((heard_at, door, Due::Plan));
            } else {
                self.hear_of_exceptions(&door, now);
            }
        }
    }

    /// The calendars no longer name a door that is gone.
    pub(super) fn forget_door(&mut self, door: &DoorId) {
        for slot in self.calendars.values_mut() {
            for calendar in [&mut slot.current, &mut slot.shown_before].into_iter().flatten() {
                if calendar.doors.contains(door) {
                    Arc::make_mut(calendar).doors.retain(|known| known != door);
                }
            }
        }
    }

    fn plan_of(&self, door: &DoorId) -> Plan {
        let calendars = self.calendars().filter(|calendar| calendar.doors.contains(door));
        let entries = calendars.flat_map(|calendar| {
            calendar.exceptions.iter().map(|kept| Planned {
                id: kept.id.clone(),
                updated: (calendar.updated, kept.updated),
                known_at: kept.known_at,
                exception: kept.exception.clone(),
            })
        });
        Plan::of(entries.collect())
    }

    /// The controller takes what has reached it, unless it is offline: then it works on as it knows.
    pub(super) fn hear_of_exceptions(&mut self, id: &DoorId, now: Now) {
        let Some(room) = self.doors.get_mut(id) else { return };
        if !self.offline.contains(&room.door.controller.id) {
            let arrived = room.plans_on_the_way.extract_if(.., |(at, _)| *at <= now.mono).last();
            if let Some((_, plan)) = arrived {
                room.plan = plan.following(&room.plan);
            }
        }
        self.follow_exceptions(id, now);
    }

    /// Brings a door into the state that its exceptions want now, and waits for the next edge.
    pub fn follow_exceptions(&mut self, id: &DoorId, now: Now) {
        let Some(room) = self.doors.get_mut(id) else { return };
        let zone = zone_of(&room.door);
        if let Some(at) = room.edge_at.take() {
            self.due.remove(&(at, id.clone(), Due::Plan));
        }
        if let Some(edge) = room.plan.next_edge(now.utc, &zone) {
            let at = now.mono + edge.duration_since(now.utc).unsigned_abs();
            room.edge_at = Some(at);
            self.due.insert((at, id.clone(), Due::Plan));
        }
        let wanted = room.plan.in_force(now.utc, &zone, &self.switches);
        if wanted == room.exception {
            return;
        }
        room.exception = wanted;
        let word =
            wanted.unwrap_or(if room.free_by_schedule { DoorStatus::Unlocked } else { DoorStatus::Locked });
        let note = Note { input: Some(word.word().to_owned()), ..Note::default() };
        self.emit("door_schedule_toggle", Some(id), note, now);
        self.settle(id, self.switches.schedule_lock_events, now);
    }

    /// When a door was unlocked, and by what, oldest first.
    ///
    /// # Errors
    /// When there is no such door.
    pub fn unlocked(&self, id: &DoorId) -> Result<Vec<Unlocked>, ActError> {
        let room = self.doors.get(id).ok_or_else(|| ActError::UnknownDoor(id.clone()))?;
        Ok(room.passages.all().copied().collect())
    }

    /// When everybody passes a door in a span of time: as it was up to now, and as schedule, exceptions and
    /// lockdowns want it from now on.
    ///
    /// # Errors
    /// When there is no such door.
    pub fn free(
        &self,
        id: &DoorId,
        from: Timestamp,
        until: Timestamp,
        now: Now,
    ) -> Result<Vec<Free>, ActError> {
        let room = self.doors.get(id).ok_or_else(|| ActError::UnknownDoor(id.clone()))?;
        let mut found = room.passages.free(from, until.min(now.utc));
        let zone = zone_of(&room.door);
        let on_the_way = |after: Timestamp| {
            let heard = room.plans_on_the_way.iter().map(|(at, _)| wall_clock(*at, now));
            heard.filter(move |at| *at > after).min()
        };
        let mut at = from.max(now.utc);
        for _ in 0..MAX_EDGES {
            if at >= until {
                break;
            }
            let plan = self.plan_at(room, at, now);
            let next = [plan.next_edge(at, &zone), on_the_way(at)].into_iter().flatten().min();
            let next = next.unwrap_or(until).min(until);
            if room.is_free_with(plan.in_force(at, &zone, &self.switches), &self.switches) {
                join(&mut found, Free { from: at, until: next });
            }
            at = next;
        }
        Ok(found)
    }

    /// The plan that the controller will have at a moment.
    fn plan_at<'a>(&self, room: &'a Room, at: Timestamp, now: Now) -> &'a Plan {
        let online = !self.offline.contains(&room.door.controller.id);
        let heard = room.plans_on_the_way.iter().rev().filter(|_| online);
        let latest = heard.map(|(when, plan)| (wall_clock(*when, now), plan)).find(|(when, _)| *when <= at);
        latest.map_or(&room.plan, |(_, plan)| plan)
    }
}

/// Whether both begin at the same time of the same day.
fn same_start(one: &Exception, other: &Exception) -> bool {
    (one.date, one.start) == (other.date, other.start)
}

fn wall_clock(at: Instant, now: Now) -> Timestamp {
    let ahead = SignedDuration::try_from(at.saturating_duration_since(now.mono)).unwrap_or_default();
    now.utc.saturating_add(ahead).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
