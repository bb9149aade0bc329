//! Who may pass which door, and when: the vendor's access levels, read now and then where the owner wants it. They decide
//! nothing here; they are shown, so that whoever was turned away finds out why.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Bridge, calls::Pending};
use crate::{
    hass::access::{Pass, group_names},
    model::{
        AccessGroup, AccessLevel, Answer, Call, CallId, Door, Fault, GroupId, Inventory, Lane, Now, Request,
        Trace,
    },
};

/// The first reading waits until those have begun that doors and scenarios need.
const FIRST_AFTER: Duration = Duration::from_secs(2);
/// The first pause after a reading that failed in a way that may pass; it doubles up to the interval.
const FIRST_PAUSE: Duration = Duration::from_mins(1);
/// What was read counts for so many intervals.
const STALE_INTERVALS: u32 = 3;
/// How long a call may wait before it is sent.
const WAITS: Duration = Duration::from_secs(30);
/// How many bytes the levels take in the attributes of a door, of the 16 KiB that Home Assistant records.
const ROOM: usize = 5_000;
/// How many groups of one level are listed there.
const MAX_LISTED_GROUPS: usize = 20;

/// What is read, in its order: levels name groups by their ids alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Groups,
    Levels,
}

impl Part {
    const fn word(self) -> &'static str {
        match self {
            Self::Groups => "access groups",
            Self::Levels => "access levels",
        }
    }

    const fn request(self) -> Request {
        match self {
            Self::Groups => Request::ListAccessGroups,
            Self::Levels => Request::ListAccessLevels,
        }
    }
}

/// What is known of the access levels.
#[derive(Debug)]
pub(super) struct Access {
    /// How often they are read; `None` where the owner does not want it.
    every: Option<Duration>,
    due: Instant,
    next: Part,
    in_flight: bool,
    failures: u32,
    groups: BTreeMap<GroupId, String>,
    /// Each level and what it says, by name; `None` where they could not be read, or not for a long time.
    levels: Option<Vec<(Pass, AccessLevel)>>,
    fresh_until: Option<Instant>,
    /// What the log says cannot be read.
    told: BTreeSet<Part>,
}

impl Access {
    pub(super) fn new(every: Option<Duration>, now: Now) -> Self {
        Self {
            every,
            due: now.mono + FIRST_AFTER,
            next: Part::Groups,
            in_flight: false,
            failures: 0,
            groups: BTreeMap::new(),
            levels: None,
            fresh_until: None,
            told: BTreeSet::new(),
        }
    }

    /// When the next call is due, unless one is under way.
    pub(super) fn due(&self) -> Option<Instant> {
        self.every.filter(|_| !self.in_flight).map(|_| self.due)
    }

    /// When what is known counts no more.
    pub(super) const fn stale_at(&self) -> Option<Instant> {
        self.fresh_until
    }

    /// Asks for a reading at `at` or sooner.
    pub(super) fn hurry(&mut self, at: Instant) {
        self.due = self.due.min(at);
    }

    fn start(&mut self) -> Request {
        self.in_flight = true;
        self.next.request()
    }

    /// Takes names of groups. They are shown with the next levels.
    fn take_groups(&mut self, groups: &Inventory<AccessGroup>) {
        self.groups = group_names(&groups.items);
        self.told.remove(&Part::Groups);
    }

    /// Takes levels; says whether they say something else than before.
    fn take_levels(&mut self, levels: Inventory<AccessLevel>, now: Now) -> bool {
        let mut levels: Vec<_> =
            levels.items.into_iter().map(|level| (Pass::of(&level, &self.groups), level)).collect();
        levels.sort_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.id.cmp(&other.id)));
        self.failures = 0;
        self.told.remove(&Part::Levels);
        self.fresh_until = self.every.map(|every| now.mono + every * STALE_INTERVALS);
        let changed = self.levels.as_ref() != Some(&levels);
        self.levels = Some(levels);
        changed
    }

    /// A call ended, well or not: the next one follows at once, or the next reading when it is time.
    fn go_on(&mut self, fault: Option<&Fault>, now: Now) {
        self.in_flight = false;
        let every = self.every.unwrap_or_default();
        (self.next, self.due) = match (self.next, fault) {
            (Part::Groups, _) => (Part::Levels, now.mono),
            // A refusal stays for long, and asking again does no good.
            (Part::Levels, None | Some(Fault::Unauthorized(_) | Fault::Forbidden(_))) => {
                (Part::Groups, now.mono + every)
            }
            (Part::Levels, Some(_)) => {
                let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(every);
                self.failures = self.failures.saturating_add(1);
                (Part::Groups, now.mono + pause)
            }
        };
    }

    /// Forgets the levels; says whether any were known.
    fn forget(&mut self) -> bool {
        self.fresh_until = None;
        self.levels.take().is_some()
    }

    /// What attributes of a door tell: by which levels it may be passed, and how many are left out there.
    pub(super) fn members(&self, door: &Door) -> Vec<(&'static str, Value)> {
        if self.every.is_none() {
            return Vec::new();
        }
        let told = self.levels.as_ref().map(|levels| {
            let mut room = ROOM;
            let of_door: Vec<&Pass> =
                levels.iter().filter(|(_, level)| level.covers(door)).map(|(pass, _)| pass).collect();
            let listed: Vec<Value> = of_door
                .iter()
                .map_while(|pass| {
                    let told = told(pass);
                    room = room.checked_sub(told.to_string().len() + 1)?;
                    Some(told)
                })
                .collect();
            (of_door.len() - listed.len(), listed)
        });
        let (left_out, listed) = told.unzip();
        vec![("access", json!(listed)), ("access_left_out", json!(left_out))]
    }
}

/// One level as attributes tell it.
fn told(pass: &Pass) -> Value {
    let groups: Vec<&String> = pass.groups.iter().take(MAX_LISTED_GROUPS).collect();
    let more = pass.groups.len() - groups.len();
    let mut told = json!({ "level": pass.level, "groups": groups, "when": pass.when });
    if let Some(members) = told.as_object_mut() {
        if more > 0 {
            members.insert("groups_left_out".to_owned(), json!(more));
        }
        if pass.partial {
            members.insert("partial".to_owned(), json!(true));
        }
    }
    told
}

impl Bridge {
    /// The next call for access levels: after everything else, and only while the budget has room.
    pub(super) fn next_access_call(&mut self, now: Now) -> Option<Call> {
        if self.stopping || self.access.due()? > now.mono {
            return None;
        }
        let id = self.reserve(Lane::Poll, now)?;
        let part = self.access.next;
        let request = self.access.start();
        self.calls.insert(id, Pending::Access(part));
        Some(Call { id, request, send_before: now.mono + WAITS, opening: None })
    }

    /// What a call for access levels gave. That the key may not read them is nobody else's trouble: it needs another
    /// permission than all the rest (`verkada-api.md` 3.2).
    pub(super) fn take_access(&mut self, part: Part, id: CallId, result: Result<Answer, Fault>, now: Now) {
        let misfit = || Fault::Malformed(Trace::new("the answer does not fit the request"));
        let was_told = self.access.told.contains(&part);
        let result = result.and_then(|answer| match (part, answer) {
            (Part::Groups, Answer::AccessGroups(groups)) => {
                self.note_skipped(part.word(), &groups.skipped);
                self.access.take_groups(&groups);
                Ok(false)
            }
            (Part::Levels, Answer::AccessLevels(levels)) => {
                self.note_skipped(part.word(), &levels.skipped);
                Ok(self.access.take_levels(levels, now))
            }
            _ => Err(misfit()),
        });
        let changed = match &result {
            Ok(changed) => {
                if was_told {
                    tracing::info!(list = part.word(), "the vendor's list can be read again");
                }
                *changed
            }
            Err(fault) => self.miss_access(part, id, fault, now),
        };
        self.access.go_on(result.as_ref().err(), now);
        if changed {
            self.doors.touch_all();
        }
    }

    fn miss_access(&mut self, part: Part, id: CallId, fault: &Fault, now: Now) -> bool {
        if let Fault::RateLimited { after, .. } = fault {
            self.budget.close(*after, now.mono);
        }
        let refused = matches!(fault, Fault::Unauthorized(_) | Fault::Forbidden(_));
        let known = part == Part::Levels && self.access.levels.is_some();
        if (refused || !known) && self.access.told.insert(part) {
            let result = match part {
                Part::Groups => "groups are shown by their ids",
                Part::Levels => "doors do not tell who may pass them",
            };
            tracing::warn!(
                list = part.word(),
                cause = %fault,
                "the vendor's list cannot be read, and {result}; poll.access_levels: off ends the attempts"
            );
        } else {
            tracing::debug!(list = part.word(), call = id.0, cause = %fault, "a reading failed; it is repeated");
        }
        // What may not be read any more is not shown any more.
        part == Part::Levels && refused && self.access.forget()
    }

    /// What was read long ago is not shown any more.
    pub(super) fn expire_access(&mut self, now: Now) {
        if self.access.fresh_until.is_some_and(|until| until <= now.mono) && self.access.forget() {
            self.doors.touch_all();
        }
    }
}
