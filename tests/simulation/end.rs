//! What must hold at the end, when the world was quiet for long: what is shown is what is.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    DOORS, FICKLE, SCENARIOS, SPEAKING, TOKEN_LIFE, World, bench::secs, checks::Accepted, truth::word_of,
};

impl World {
    pub(crate) fn judge_the_end(&mut self) {
        let status = self.gateway.bridge.status(self.now);
        self.must(status.settled && status.api, || format!("{status:?}"));
        self.must(status.books.pending() == 0, || {
            format!("commands are still under way: {:?}", status.books)
        });
        self.must(self.gateway.calls.len() <= 3, || "calls without replies".to_owned());
        let (published, arisen) = (self.publications, self.vendor.arisen());
        self.run_until(self.now.mono + secs(59));
        // Once a minute: the last reading, the lag of events, the requests left, the last round trip. A door that nobody
        // closes may be told to be held open: as event, problem and attributes.
        let most = published + 4 + 3 * (self.vendor.arisen() - arisen);
        self.must(self.publications <= most, || "a quiet world is published about".to_owned());
        self.broker.let_through(0, self.now.mono);
        self.judge_commands();
        self.judge_gateway();
        self.judge_roster();
        if Self::is_stepping(self.seed) {
            return;
        }
        self.judge_evidence();
        for id in DOORS.into_iter().filter(|id| *id != FICKLE) {
            self.judge_door(id);
        }
    }

    fn judge_commands(&self) {
        for (id, accepted) in &self.ledger.accepted {
            let Some(end) = &accepted.ended else {
                self.must(accepted.lost, || format!("{id} never ended: {accepted:?}"));
                continue;
            };
            let lasted = end.at - accepted.at;
            let (outcome, reason) = (end.outcome, end.reason);
            if accepted.action == "activate" {
                let fine = match outcome {
                    "done" => true,
                    "failed" | "unknown" if reason == Some("superseded") => self.is_superseded(accepted),
                    // By a wall clock that was set forward the gateway was away for too long.
                    "failed" if reason == Some("stopping") => Self::is_stepping(self.seed),
                    "failed" if ["unauthorized", "forbidden", "not_found"].contains(&reason.unwrap()) => true,
                    "failed" => lasted.as_secs() >= 120,
                    _ => false,
                };
                self.must(fine, || format!("{id} ended quietly: {accepted:?}"));
                continue;
            }
            if accepted.action == "unlock" && outcome == "done" {
                self.must(accepted.executed == 1, || format!("{id} is called done: {accepted:?}"));
            }
            if ["failed", "expired", "refused"].contains(&outcome) {
                self.must(accepted.executed == 0, || format!("{id} is called not done: {accepted:?}"));
            }
        }
        for scenario in &SCENARIOS[..2] {
            let Some(id) = self.ledger.current.get(&format!("scenario/{scenario}")) else { continue };
            let accepted = &self.ledger.accepted[id];
            let disturbed = self.ledger.disturbed.contains(&accepted.target);
            if !disturbed && accepted.ended.as_ref().is_some_and(|end| end.outcome == "done") {
                let wanted = accepted.action == "activate";
                self.must(self.vendor.active[scenario] == wanted, || {
                    format!("the last accepted, {id}, does not win")
                });
            }
        }
    }

    fn is_superseded(&self, by_whom: &Accepted) -> bool {
        let newer = |other: &&Accepted| other.target == by_whom.target && other.order > by_whom.order;
        self.ledger.accepted.values().filter(|other| other.action != "drill").any(|other| newer(&other))
    }

    /// All that locks told has reached the core. What is older than an hour is not read again after a start or a time
    /// in which events could not be read.
    fn judge_evidence(&self) {
        let read_back = self.utc() - SignedDuration::from_hours(1);
        for id in SPEAKING {
            let (known, is) = (&self.truth.doors[id].lock, self.vendor.moved.get(id));
            if known.is_none() && is.is_some_and(|(at, _)| *at < read_back) {
                continue;
            }
            self.must(known.as_ref() == is, || format!("{id} told {is:?}, and known is {known:?}"));
        }
    }

    #[track_caller]
    fn holds(&self, topic: &str, wanted: &str) {
        let held = self.held(topic);
        self.must(held.as_deref() == Some(wanted), || format!("{topic} holds {held:?}, not {wanted}"));
    }

    fn held(&self, topic: &str) -> Option<String> {
        let payload = self.broker.retained.get(&format!("verkada/{topic}"))?;
        Some(String::from_utf8(payload.to_vec()).unwrap())
    }

    fn judge_gateway(&self) {
        self.holds("availability", "online");
        self.holds("bridge/api/availability", "online");
        self.holds("bridge/problem", "None");
        self.holds("bridge/problem_active", "OFF");
        self.holds("bridge/lockdown_alarm", "OFF");
        for id in SCENARIOS {
            self.holds(&format!("scenario/{id}/state"), word_of(Some(self.vendor.active[id])));
            self.holds(&format!("scenario/{id}/availability"), "online");
        }
    }

    /// Shown is who is listed.
    fn judge_roster(&self) {
        let mut wanted: BTreeSet<&str> = self.vendor.listed.iter().copied().collect();
        let mut found: BTreeSet<&str> = self
            .broker
            .retained
            .keys()
            .filter_map(|topic| topic.strip_prefix("verkada/door/")?.split('/').next())
            .collect();
        let mut announced: BTreeSet<&str> = self
            .broker
            .retained
            .keys()
            .filter_map(|topic| {
                topic.strip_prefix("homeassistant/device/verkada2mqtt_door_")?.split('/').next()
            })
            .collect();
        if self.gateway.forgot {
            // What was shown in the moment before a crash, and is gone since, nobody knows of.
            for all in [&mut wanted, &mut found, &mut announced] {
                all.remove(FICKLE);
            }
        }
        self.must(found == wanted, || format!("the broker holds {found:?}, listed are {wanted:?}"));
        self.must(announced == wanted, || format!("announced are {announced:?}, listed {wanted:?}"));
    }

    fn judge_door(&self, id: &str) {
        let evidence = &self.truth.doors[id];
        let state = match evidence.base() {
            Some(true) => "LOCKED",
            Some(false) => "UNLOCKED",
            None => "None",
        };
        self.holds(&format!("door/{id}/state"), state);
        let availability = if self.truth.is_lost(id) { "offline" } else { "online" };
        self.holds(&format!("door/{id}/availability"), availability);
        self.holds(&format!("door/{id}/position"), evidence.position(self.now).0);
        let attributes: Value =
            serde_json::from_str(&self.held(&format!("door/{id}/attributes")).unwrap()).unwrap();
        let accessed = attributes["last_event"]["time"].as_str().map(|at| at.parse::<Timestamp>().unwrap());
        self.must(accessed == evidence.accessed, || format!("{id}: {attributes}, and {evidence:?}"));
        let config = format!("homeassistant/device/verkada2mqtt_door_{id}/config");
        let config: Value = serde_json::from_slice(&self.broker.retained[&config]).unwrap();
        for problem in ["held_open", "forced_open", "tamper", "fire"] {
            self.holds(&format!("door/{id}/{problem}"), self.truth.problem(id, problem, self.now));
            let has = config["components"].get(problem).is_some();
            // An earlier run may have been told of it, too long ago to be read again.
            let earlier = has && self.span.busy > TOKEN_LIFE;
            self.must(earlier || has == self.truth.tells_of(id, problem), || {
                format!("{id} has an entity for {problem} without evidence, or none with it")
            });
        }
    }
}
