//! After each input: end what is due, compare what is shown with what is known, and say what changed.

use bytes::Bytes;

use super::{
    Bridge, Health,
    announce::Announced,
    confirmation::Tally,
    doors::LastCommand,
    poller::{List, Trouble},
    problems::Problem,
    records::Draft,
    report::Report,
    retained::Rank,
    settlement::Settled,
    view,
    webhooks::Reliance,
};
use crate::{
    hass::{event, payload::Verb},
    model::{AccessEvent, DoorId, Now, Outcome, Publication, Qos, Reason, ScenarioId, Target},
};

/// So many measures wait for somebody to ask for them at most.
const MOST_CONFIRMED: usize = 1_000;
/// Events older than this are evidence, not news.
const NEWS: jiff::SignedDuration = jiff::SignedDuration::from_secs(600);

impl Bridge {
    /// Brings everything that is shown in line with what is known. Cheap where nothing changed, and safe to repeat.
    pub(super) fn settle(&mut self, now: Now) {
        self.doors.expire(now);
        self.expire_access(now);
        self.expire_drill(now);
        let effects = self.commands.expire(now);
        self.perform(effects, now);
        self.settle_unknown(now);
        self.tell_alarms(now);
        self.tell_sums(now);
        if self.scenarios.take_coverage_changed() {
            self.doors.cover(&self.scenarios.covered(), now);
            self.holds.note_doors();
        }
        self.compare_holds(now);
        self.compare_exceptions(now);
        self.follow_webhooks(now);
        self.compare_health(now);
        self.compare_problems(now);
        self.compare_readiness(now);
        let announced = self.doors.take_announced();
        let gone = self.doors.take_gone();
        if !announced.is_empty() || !gone.is_empty() {
            // Scenarios are shown with the names of doors and sites.
            self.scenarios.touch_all();
        }
        if self.scenarios.take_announced() | !announced.is_empty() | !gone.is_empty() {
            self.shown_changed = true;
            self.announcements.want(Announced::Shared);
        }
        for id in gone {
            self.retract_door(&id);
        }
        for id in self.scenarios.take_gone() {
            self.retract_scenario(id);
        }
        for id in announced {
            self.announcements.want(Announced::Door(id));
        }
        self.move_discovery_on(now);
        // Home Assistant loses what a config adds that follows another within moments: while it loads the platform of one
        // entity for the first time, it drops those behind it. So the first config has the scenarios; doors follow it.
        if !self.is_read_once(List::Scenarios) {
            return;
        }
        // A thing is announced before it is shown.
        self.announce_what_waits();
        let changed = self.doors.take_changed();
        for id in &changed {
            self.scenarios.touch(self.doors.covering(id).cloned());
        }
        // The end of a command is no reason to look at scenarios: where many are refused, that would hold up a lockdown.
        for id in changed.union(&self.doors.take_noted()) {
            self.show_door(id);
        }
        for id in self.scenarios.take_changed() {
            self.show_scenario(&id);
        }
    }

    /// Whether a list was read in this run, or its reading failed.
    pub(super) fn is_read_once(&self, list: List) -> bool {
        self.poller.last_good(list).is_some() || self.poller.trouble(list).is_some()
    }

    /// Wants a text to be retained.
    pub(super) fn show(&mut self, rank: Rank, topic: String, text: impl Into<Bytes>) {
        self.retained.set(rank, Qos::AtLeastOnce, topic, text.into());
    }

    /// Says what came of a command, and remembers it.
    pub(super) fn report(&mut self, report: &Report, now: Now) {
        self.ids.note(report);
        if report.finished_at.is_some() {
            self.books.end(&report.origin, report.outcome, report.reason);
            self.note_command(report, now);
            self.note_confirmed(report, now);
        }
        self.tell(report, now);
        if report.is_open() || report.is_provable() || report.is_denied() {
            let settled = self.settlements.add(report, self.last_call, now);
            self.resolve(settled, now);
            self.seek_evidence(now);
        }
    }

    /// Says what evidence tells of commands after they ended. They stay ended.
    pub(super) fn resolve(&mut self, settled: impl IntoIterator<Item = Settled>, now: Now) {
        for settled in settled {
            let note = Report::resolve(settled);
            self.ids.note(&note);
            self.tell(&note, now);
            self.note_confirmed(&note, now);
        }
    }

    fn note_confirmed(&mut self, report: &Report, now: Now) {
        let Some(confirmed) = report.confirmed(now.utc) else { return };
        // Nobody need ask for them.
        if self.confirmed.len() < MOST_CONFIRMED {
            self.confirmed.push_back(confirmed);
        }
    }

    /// Writes it down, logs it, and publishes it.
    pub(super) fn tell(&mut self, report: &Report, now: Now) {
        self.recents.note(report);
        self.record(report, now);
        log(report);
        self.say(report);
    }

    /// Writes down what is reported.
    pub(super) fn record(&mut self, report: &Report, now: Now) {
        let draft = Draft {
            stage: report.stage,
            origin: &report.origin,
            outcome: report.finished_at.map(|_| report.outcome),
            reason: report.reason,
            text: &report.message,
        };
        self.records.add(&draft, now.utc);
    }

    /// Publishes a result where its sender and everybody else looks for it.
    pub(super) fn say(&mut self, report: &Report) {
        let result = |topic, correlation| Publication {
            topic,
            payload: report.payload(),
            qos: Qos::AtLeastOnce,
            retain: false,
            correlation,
        };
        let response = report.origin.response.as_ref();
        let response = response.map(|response| result(response.topic.clone(), response.correlation.clone()));
        let results = [Some(result(self.topics.of(&report.origin.target, "result"), None)), response];
        for result in results.into_iter().flatten() {
            match report.origin.target {
                Target::Scenario(_) => self.outbox.push_first(result),
                Target::Door(_) | Target::Calendar(_) => self.outbox.push(result),
            }
        }
    }

    /// Publishes an access event that is news.
    pub(super) fn tell_event(&mut self, event: &AccessEvent, now: Now) {
        let Some(door) = event.door.as_ref().filter(|door| self.doors.listed(door).is_some()) else { return };
        if now.utc.duration_since(event.at) > NEWS {
            return;
        }
        self.gateway.note_lag(event.at, now);
        self.outbox.push(Publication {
            topic: self.topics.of(&Target::Door(door.clone()), "event"),
            payload: view::bytes_of(&event::payload(event)),
            qos: Qos::AtLeastOnce,
            retain: false,
            correlation: None,
        });
    }

    /// Polls of events wait longer while webhooks can be relied on.
    fn follow_webhooks(&mut self, now: Now) {
        let interval = self.webhooks.poll_interval(self.settings.polls.events, now);
        self.poller.pace(List::Events, interval, now);
        let reliance = self.webhooks.reliance(now);
        if self.shown_reliance.replace(reliance) != Some(reliance) {
            self.show(Rank::State, self.topics.bridge("webhook"), reliance.word());
            if reliance == Reliance::Incomplete {
                tracing::warn!(
                    missed = self.webhooks.missed(),
                    "a poll found access events that no webhook had brought; events are polled as if there were none"
                );
            }
        }
    }

    fn compare_health(&mut self, now: Now) {
        let fresh = |list| self.poller.is_fresh(list, now);
        // Where the key may not read events there is no evidence to go stale, and the doors are still there.
        let events = fresh(List::Events) || self.poller.is_barred(List::Events);
        let commandable = self.link.is_commandable(now.mono);
        let health = Health {
            commandable,
            securable: commandable || self.securing.is_commandable(now.mono),
            doors: fresh(List::Doors) && events,
            scenarios: fresh(List::Scenarios),
        };
        // Doors and scenarios that an earlier run left on the broker must not come alive before they were read.
        let settled = |list| self.poller.last_good(list).is_some() || self.poller.is_barred(list);
        let api_online = !List::ALL.into_iter().any(|list| self.poller.is_revoked(list))
            && self.is_answering(now)
            && [List::Doors, List::Scenarios].into_iter().all(settled);
        let old = std::mem::replace(&mut self.health, health);
        if std::mem::replace(&mut self.api.online, api_online) != api_online {
            self.show(Rank::Api, self.topics.api_availability(), view::online_word(api_online));
        }
        self.tell_api(now);
        if (old.commandable, old.doors) != (health.commandable, health.doors) {
            self.doors.touch_all();
        }
        if (old.securable, old.scenarios) != (health.securable, health.scenarios) {
            self.scenarios.touch_all();
        }
        self.compare_unavailable(now);
    }

    /// Logs that the API went or came back. One that comes and goes is not told each time, but its present state is told
    /// once there is room again.
    fn tell_api(&mut self, now: Now) {
        if self.api.told == self.api.online || !self.api.quiet.may_tell(now.mono) {
            return;
        }
        self.api.told = self.api.online;
        if self.api.online {
            tracing::info!("the vendor's API answers");
        } else {
            let cause = List::ALL.into_iter().find_map(|list| self.poller.trouble(list)).map(Trouble::text);
            tracing::warn!(
                cause,
                "the vendor's API does not answer; doors and scenarios are shown as unavailable"
            );
        }
    }

    /// Whether the vendor answers: told by the lists that are read often, if the key may read any of them, since the list
    /// of doors stays fresh for long after the last answer.
    fn is_answering(&self, now: Now) -> bool {
        let often = [List::Scenarios, List::Events];
        let readable = |list: &List| !self.poller.is_barred(*list);
        if often.iter().any(readable) {
            often.iter().any(|list| self.poller.is_fresh(*list, now))
        } else {
            self.poller.is_fresh(List::Doors, now)
        }
    }

    fn show_door(&mut self, id: &DoorId) {
        let Some((door, record)) = self.doors.listed(id) else { return };
        let cut_off = self.doors.is_cut_off(door);
        let online = self.health.commandable && self.health.doors && !cut_off;
        let state = view::lock_word(record.shown().lock);
        let position = view::position_word(record);
        let more = self.access.members(door).into_iter().chain(self.exception_members(id)).collect();
        let attributes = view::door_attributes(&self.doors, door, record, self.unavailable.doors(), more);
        let problems = Problem::ALL
            .map(|problem| (problem, view::problem_word(self.doors.problem(door, record, problem))));
        let target = Target::Door(id.clone());
        self.show(Rank::State, self.topics.of(&target, "state"), state);
        self.show(Rank::State, self.topics.of(&target, "position"), position);
        for (problem, word) in problems {
            self.show(Rank::State, self.topics.of(&target, problem.word()), word);
        }
        self.show(Rank::State, self.topics.of(&target, "attributes"), attributes);
        self.show_hold(id);
        self.note_row(&target);
        self.show(Rank::Availability, self.topics.of(&target, "availability"), view::online_word(online));
    }

    fn show_scenario(&mut self, id: &ScenarioId) {
        let Some(record) = self.scenarios.get(id) else { return };
        let online = self.health.securable && self.health.scenarios;
        let state = view::scenario_word(&record.scenario.state);
        let tally = Tally::of(record, &self.doors);
        let unavailable = self.unavailable.scenarios();
        let attributes = view::scenario_attributes(record, tally.as_ref(), &self.doors, unavailable);
        let confirmed = Tally::word(tally.as_ref());
        let target = Target::Scenario(id.clone());
        self.show(Rank::State, self.topics.of(&target, "state"), state);
        self.show(Rank::State, self.topics.of(&target, "doors_confirmed"), confirmed);
        self.note_row(&target);
        self.show(Rank::State, self.topics.of(&target, "attributes"), attributes);
        self.show(Rank::Availability, self.topics.of(&target, "availability"), view::online_word(online));
    }

    fn note_command(&mut self, report: &Report, now: Now) {
        let counts = report.origin.passed && report.outcome != Outcome::Merged;
        // A drill is remembered apart: it changes nothing.
        let Some(verb) = report.origin.verb.filter(|verb| counts && *verb != Verb::Drill) else { return };
        let last = LastCommand { action: verb.word(), outcome: report.outcome.word(), at: now.utc };
        match &report.origin.target {
            Target::Door(id) => self.doors.note_command(id, last),
            Target::Scenario(id) => self.scenarios.note_command(id, last),
            Target::Calendar(_) => {}
        }
    }
}

fn log(report: &Report) {
    let action = report.origin.verb.map_or("?", Verb::word);
    let (target, outcome) = (report.origin.target.path(), report.outcome.word());
    let (id, by) = (report.origin.id.as_deref(), report.origin.by.as_deref());
    let (reason, message) = (report.reason.map(Reason::word), &report.message);
    match report.outcome {
        Outcome::Accepted | Outcome::Done | Outcome::Refused | Outcome::Expired | Outcome::Merged => {
            tracing::info!(%target, action, outcome, id, by, reason, "{message}");
        }
        Outcome::Failed | Outcome::Unknown => {
            tracing::warn!(%target, action, outcome, id, by, reason, "{message}");
        }
    }
}
