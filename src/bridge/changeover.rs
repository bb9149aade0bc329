//! When discovery topics change over, so that Home Assistant loses nothing that its users made of an entity, and keeps
//! nothing that is gone.
//!
//! Every step waits until what it published was given to the session, and then for a while. After a crash at any
//! point the register leads to the same steps again, which does no harm.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::register::Place;

/// When a config is repeated: Home Assistant has loaded its platforms by then.
const REPEATED_AFTER: Duration = Duration::from_secs(30);
/// How many configs are repeated at once, and how long the next ones wait.
const REPEATED_AT_ONCE: usize = 50;
const REPEATED_EVERY: Duration = Duration::from_secs(1);

/// Whether Home Assistant listens.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// Nobody has said so.
    #[default]
    Unknown,
    /// It said goodbye, or is not up yet.
    Away,
    /// It said hello in this session.
    Here,
}

/// What was done last; the next step follows after a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Old topics were marked for migration; the device is announced under others next.
    Marked { device: String, topics: BTreeSet<String> },
    /// The device was announced under other topics; the old ones are cleared next.
    Moved { device: String, topics: BTreeSet<String> },
    /// They were cleared; they are forgotten next.
    Cleared { device: String, topics: BTreeSet<String> },
    /// Other devices gave up entities, here by unique id; this device is announced with them next.
    Freed { device: String, ids: BTreeSet<String> },
    /// Home Assistant is back and got everything again; what left meanwhile is announced once more next.
    Greeted(Vec<Place>),
    /// That was done; it is taken back next.
    Called(Vec<Place>),
    /// Home Assistant was told that these are gone; they are forgotten next.
    Removed(Vec<Place>),
    /// Topics without meaning for discovery were cleared; they are forgotten next.
    Swept(BTreeSet<String>),
    /// Configs were published; they are repeated next.
    Told { topics: BTreeSet<String>, pause: Duration },
}

impl Step {
    /// How far what was published for it must have got before its time begins. What is forgotten next must not get lost
    /// on a link that stalls.
    const fn needs(&self) -> Given {
        match self {
            Self::Cleared { .. } | Self::Removed(_) | Self::Swept(_) => Given::Proven,
            Self::Marked { .. }
            | Self::Moved { .. }
            | Self::Freed { .. }
            | Self::Greeted(_)
            | Self::Called(_)
            | Self::Told { .. } => Given::Wholly,
        }
    }

    /// How long Home Assistant is given to follow. One second and one and a half are what a loss-free change of style
    /// needs; the others are its own pace with a margin.
    const fn lasts(&self) -> Duration {
        match self {
            Self::Marked { .. } | Self::Cleared { .. } | Self::Greeted(_) | Self::Swept(_) => {
                Duration::from_secs(1)
            }
            Self::Moved { .. } => Duration::from_millis(1_500),
            Self::Freed { .. } | Self::Called(_) | Self::Removed(_) => Duration::from_secs(2),
            Self::Told { pause, .. } => *pause,
        }
    }
}

/// How far what is published has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Given {
    /// Something waits to be given to the session.
    Partly,
    /// The session was given all there is.
    Wholly,
    /// The same, and heartbeats come back: it reaches the broker, as far as anybody can know.
    Proven,
}

#[derive(Debug)]
struct Running {
    step: Step,
    /// When all that was published for it had been given to the session.
    given: Option<Instant>,
}

/// All changes under way.
#[derive(Debug, Default)]
pub(super) struct Changeover {
    running: Vec<Running>,
    presence: Presence,
}

impl Changeover {
    /// Something was published; what follows is to come after a while.
    pub(super) fn begin(&mut self, step: Step) {
        self.running.push(Running { step, given: None });
    }

    /// Whether the device must not be announced yet.
    pub(super) fn holds(&self, identifier: &str) -> bool {
        self.held().any(|device| device == identifier)
    }

    /// Entities, by unique id, that the device may not be announced with yet.
    pub(super) fn arriving(&self, identifier: &str) -> BTreeSet<String> {
        let ids = self.running.iter().filter_map(|running| match &running.step {
            Step::Freed { device, ids } => (device == identifier).then_some(ids),
            Step::Marked { .. }
            | Step::Moved { .. }
            | Step::Cleared { .. }
            | Step::Greeted(_)
            | Step::Called(_)
            | Step::Removed(_)
            | Step::Swept(_)
            | Step::Told { .. } => None,
        });
        ids.flatten().cloned().collect()
    }

    /// Whether anything must not be announced yet.
    pub(super) fn holds_any(&self) -> bool {
        self.held().next().is_some()
            || self.running.iter().any(|running| matches!(running.step, Step::Freed { .. }))
    }

    fn held(&self) -> impl Iterator<Item = &str> {
        self.running.iter().filter_map(|running| match &running.step {
            Step::Marked { device, .. } => Some(device.as_str()),
            Step::Moved { .. }
            | Step::Freed { .. }
            | Step::Cleared { .. }
            | Step::Greeted(_)
            | Step::Called(_)
            | Step::Removed(_)
            | Step::Swept(_)
            | Step::Told { .. } => None,
        })
    }

    /// The topics of the device that are on their way out.
    pub(super) fn leaving(&self, identifier: &str) -> BTreeSet<String> {
        let topics = self.running.iter().filter_map(|running| match &running.step {
            Step::Marked { device, topics }
            | Step::Moved { device, topics }
            | Step::Cleared { device, topics } => (device == identifier).then_some(topics),
            Step::Freed { .. }
            | Step::Greeted(_)
            | Step::Called(_)
            | Step::Removed(_)
            | Step::Swept(_)
            | Step::Told { .. } => None,
        });
        topics.flatten().cloned().collect()
    }

    /// Topics without meaning for discovery that may still have to be cleared.
    pub(super) fn swept(&self) -> impl Iterator<Item = &String> {
        let topics = self.running.iter().filter_map(|running| match &running.step {
            Step::Swept(topics) => Some(topics),
            Step::Marked { .. }
            | Step::Moved { .. }
            | Step::Cleared { .. }
            | Step::Freed { .. }
            | Step::Greeted(_)
            | Step::Called(_)
            | Step::Removed(_)
            | Step::Told { .. } => None,
        });
        topics.flatten()
    }

    /// Configs were published that Home Assistant did not have, or may have lost. Until it has loaded the platform of an
    /// entity it drops what stands behind this one in another config of the same device; so each is said once more.
    pub(super) fn repeat_later(&mut self, topics: BTreeSet<String>) {
        for running in &mut self.running {
            if let Step::Told { topics: earlier, .. } = &mut running.step {
                earlier.retain(|topic| !topics.contains(topic));
            }
        }
        self.running
            .retain(|running| !matches!(&running.step, Step::Told { topics, .. } if topics.is_empty()));
        if !topics.is_empty() {
            self.begin(Step::Told { topics, pause: REPEATED_AFTER });
        }
    }

    /// Of the configs whose time has come, those to be repeated now; the others follow.
    pub(super) fn pace(&mut self, mut topics: BTreeSet<String>) -> BTreeSet<String> {
        if let Some(beyond) = topics.iter().nth(REPEATED_AT_ONCE).cloned() {
            let others = topics.split_off(&beyond);
            self.begin(Step::Told { topics: others, pause: REPEATED_EVERY });
        }
        topics
    }

    /// Entities were taken back. Home Assistant hears it if it is there; else it is told when it comes.
    pub(super) fn retire(&mut self, places: Vec<Place>) {
        if self.presence == Presence::Here && !places.is_empty() {
            self.begin(Step::Removed(places));
        }
    }

    /// Home Assistant says that it is there, or that it is not.
    pub(super) fn hear(&mut self, here: bool) {
        self.presence = if here { Presence::Here } else { Presence::Away };
        if !here {
            self.forget_talks();
        }
    }

    /// Home Assistant got everything again; these left while it may have been away. Where it may be away once more, they
    /// wait for its next birth.
    pub(super) fn greet(&mut self, retired: Vec<Place>) {
        if self.presence != Presence::Here {
            return;
        }
        let under_way: BTreeSet<&Place> = self
            .running
            .iter()
            .filter_map(|running| match &running.step {
                Step::Greeted(places) | Step::Called(places) | Step::Removed(places) => Some(places),
                Step::Marked { .. }
                | Step::Moved { .. }
                | Step::Cleared { .. }
                | Step::Freed { .. }
                | Step::Swept(_)
                | Step::Told { .. } => None,
            })
            .flatten()
            .collect();
        let waiting: Vec<Place> = retired.into_iter().filter(|place| !under_way.contains(place)).collect();
        if !waiting.is_empty() {
            self.begin(Step::Greeted(waiting));
        }
    }

    /// A session began or ended: what an earlier one was given counts for nothing, and whether Home Assistant heard
    /// that something is gone is not known. It is told at its next birth.
    pub(super) fn begin_session(&mut self) {
        self.presence = Presence::Unknown;
        self.forget_talks();
        for running in &mut self.running {
            running.given = None;
        }
    }

    /// What Home Assistant was being told is told anew at its next birth.
    fn forget_talks(&mut self) {
        self.running.retain(|running| match running.step {
            Step::Greeted(_) | Step::Called(_) | Step::Removed(_) => false,
            Step::Marked { .. }
            | Step::Moved { .. }
            | Step::Cleared { .. }
            | Step::Freed { .. }
            | Step::Swept(_)
            | Step::Told { .. } => true,
        });
    }

    /// Moves on: gives the steps whose time is over.
    pub(super) fn advance(&mut self, given: Given, now: Instant) -> Vec<Step> {
        let mut over = Vec::new();
        self.running.retain_mut(|running| {
            if given >= running.step.needs() {
                running.given.get_or_insert(now);
            } else if given == Given::Wholly {
                // Heartbeats stopped coming back: it may be lost after all.
                running.given = None;
            }
            let ends = running.given.is_some_and(|since| since + running.step.lasts() <= now);
            if ends {
                over.push(running.step.clone());
            }
            !ends
        });
        over
    }

    /// When [`Changeover::advance`] should be called next.
    pub(super) fn next(&self, given: Given, now: Instant) -> Option<Instant> {
        let next = |running: &Running| match running.given {
            Some(since) => Some(since + running.step.lasts()),
            None => (given >= running.step.needs()).then_some(now),
        };
        self.running.iter().filter_map(next).min()
    }
}
