//! When a heartbeat is due, which echo is ours, and how old the newest one is.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::settings::Timings;

/// How many heartbeats on the way are remembered; the echo of an older one proves nothing that anyone waits for.
const REMEMBERED: usize = 128;
/// When to try again after there was no room for a heartbeat.
const NO_ROOM: Duration = Duration::from_millis(50);

/// After how many heartbeats of another gateway it is believed. A check of the configuration sends fewer.
const BELIEVED: u32 = 8;

/// What the echoes say about the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A heartbeat came back in time.
    Proven,
    /// None did; said when it begins and again after each [`Timings::remind_every`].
    Unproven {
        /// How long ago the newest heartbeat was sent that came back; `None` where none ever did.
        echo_age: Option<Duration>,
    },
    /// Another gateway beats on the same topic; said with each of its heartbeats.
    Shared,
}

/// The heartbeats of one connection.
#[derive(Debug)]
pub(super) struct Heartbeat {
    timings: Timings,
    /// Tells our own echoes from those of other sessions and gateways.
    session: String,
    opened_at: Instant,
    /// `None` until the subscription stands that brings the echoes back.
    due_at: Option<Instant>,
    count: u64,
    on_the_way: VecDeque<(u64, Instant)>,
    echo_sent_at: Option<Instant>,
    echoed_at: Option<Instant>,
    proven: bool,
    complained_at: Option<Instant>,
    /// Whose heartbeat came last that was not ours, and how many of it in a row.
    other: Option<(String, u32)>,
}

impl Heartbeat {
    /// The heartbeats of a connection that is being made.
    pub(super) fn new(timings: Timings, session: u64, now: Instant) -> Self {
        Self {
            timings,
            session: format!("{session:016x}"),
            opened_at: now,
            due_at: None,
            count: 0,
            on_the_way: VecDeque::new(),
            echo_sent_at: None,
            echoed_at: None,
            proven: false,
            complained_at: None,
            other: None,
        }
    }

    /// The broker accepted the connection: from here on an echo is waited for.
    pub(super) const fn opened(&mut self, now: Instant) {
        self.opened_at = now;
    }

    /// The subscription stands: the first heartbeat is due.
    pub(super) const fn begin(&mut self, now: Instant) {
        self.due_at = Some(now);
    }

    /// What to publish, if it is time.
    pub(super) fn due(&self, now: Instant) -> Option<String> {
        self.due_at.is_some_and(|due_at| now >= due_at).then(|| format!("{} {}", self.session, self.count))
    }

    /// The heartbeat that was due is on its way.
    pub(super) fn sent(&mut self, now: Instant) {
        self.on_the_way.push_back((self.count, now));
        if self.on_the_way.len() > REMEMBERED {
            self.on_the_way.pop_front();
        }
        self.count = self.count.saturating_add(1);
        self.due_at = Some(now + self.timings.heartbeat_every);
    }

    /// There was no room for the heartbeat that was due.
    pub(super) fn postpone(&mut self, now: Instant) {
        self.due_at = Some(now + NO_ROOM);
    }

    /// A message came in on the heartbeat topic.
    pub(super) fn echo(&mut self, payload: &[u8], retain: bool, now: Instant) -> Option<Verdict> {
        if retain {
            return None;
        }
        let (session, count) = std::str::from_utf8(payload).ok()?.split_once(' ')?;
        let count: u64 = count.parse().ok()?;
        if session != self.session {
            return self.foreign(session);
        }
        let (_, sent_at) = *self.on_the_way.iter().find(|(sent, _)| *sent == count)?;
        self.on_the_way.retain(|(sent, _)| *sent > count);
        self.echo_sent_at = Some(sent_at);
        self.echoed_at = Some(now);
        if self.proven || !self.is_fresh(now) {
            return None;
        }
        self.proven = true;
        self.complained_at = None;
        Some(Verdict::Proven)
    }

    /// A heartbeat that is not of this session came in.
    fn foreign(&mut self, session: &str) -> Option<Verdict> {
        let is_one =
            session.len() == self.session.len() && session.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_one {
            return None;
        }
        let beats = match self.other.take() {
            Some((known, beats)) if known == session => beats.saturating_add(1),
            Some(_) | None => 1,
        };
        self.other = Some((session.to_owned(), beats));
        (beats >= BELIEVED).then_some(Verdict::Shared)
    }

    /// Looks at the age of the newest echo.
    pub(super) fn check(&mut self, now: Instant) -> Option<Verdict> {
        let waited = now.saturating_duration_since(self.echo_sent_at.unwrap_or(self.opened_at));
        let complain_again = self
            .complained_at
            .is_none_or(|at| now.saturating_duration_since(at) >= self.timings.remind_every);
        if waited <= self.timings.proven_for || !(self.proven || complain_again) {
            return None;
        }
        self.proven = false;
        self.complained_at = Some(now);
        Some(Verdict::Unproven { echo_age: self.echo_sent_at.map(|_| waited) })
    }

    /// When [`Self::due`] or [`Self::check`] may next have something to say.
    pub(super) fn deadline(&self) -> Instant {
        let fresh_until = self.echo_sent_at.unwrap_or(self.opened_at) + self.timings.proven_for;
        let complaint = match self.complained_at {
            Some(at) if !self.proven => at + self.timings.remind_every,
            Some(_) | None => fresh_until + Duration::from_millis(1),
        };
        self.due_at.map_or(complaint, |due_at| due_at.min(complaint))
    }

    /// When the newest heartbeat was sent that came back on this connection.
    pub(super) const fn echo_sent_at(&self) -> Option<Instant> {
        self.echo_sent_at
    }

    /// For how long echoes have ceased, once there were any.
    pub(super) fn silent_for(&self, now: Instant) -> Option<Duration> {
        self.echoed_at.map(|at| now.saturating_duration_since(at))
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.echo_sent_at.is_some_and(|at| now.saturating_duration_since(at) <= self.timings.proven_for)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rig {
        heartbeat: Heartbeat,
        start: Instant,
    }

    impl Rig {
        fn new() -> Self {
            let start = crate::clock::now().mono;
            let mut heartbeat = Heartbeat::new(Timings::default(), 0xABCD, start);
            heartbeat.begin(start);
            Self { heartbeat, start }
        }

        fn at(&self, millis: u64) -> Instant {
            self.start + Duration::from_millis(millis)
        }

        fn send(&mut self, millis: u64) -> String {
            let payload = self.heartbeat.due(self.at(millis)).expect("due");
            self.heartbeat.sent(self.at(millis));
            payload
        }

        fn echo(&mut self, payload: &str, millis: u64) -> Option<Verdict> {
            self.heartbeat.echo(payload.as_bytes(), false, self.at(millis))
        }
    }

    #[test]
    fn is_due_at_once_and_then_each_second() {
        let mut rig = Rig::new();
        assert_eq!(rig.send(0), "000000000000abcd 0");
        assert_eq!(rig.heartbeat.due(rig.at(999)), None);
        assert_eq!(rig.send(1_000), "000000000000abcd 1");
    }

    #[test]
    fn is_not_due_before_the_subscription_stands() {
        let start = crate::clock::now().mono;
        let mut heartbeat = Heartbeat::new(Timings::default(), 0xABCD, start);
        heartbeat.opened(start);
        assert_eq!(heartbeat.due(start + Duration::from_secs(5)), None);
        heartbeat.begin(start + Duration::from_secs(6));
        assert!(heartbeat.due(start + Duration::from_secs(6)).is_some());
    }

    #[test]
    fn without_room_is_due_again_soon() {
        let mut rig = Rig::new();
        rig.heartbeat.postpone(rig.at(0));
        assert_eq!(rig.heartbeat.due(rig.at(49)), None);
        assert_eq!(rig.send(50), "000000000000abcd 0");
    }

    #[test]
    fn the_first_echo_proves_and_carries_its_send_time() {
        let mut rig = Rig::new();
        let payload = rig.send(0);
        assert_eq!(rig.heartbeat.echo_sent_at(), None);
        assert_eq!(rig.echo(&payload, 40), Some(Verdict::Proven));
        assert_eq!(rig.heartbeat.echo_sent_at(), Some(rig.at(0)));
    }

    #[test]
    fn foreign_retained_repeated_and_broken_echoes_prove_nothing() {
        let mut rig = Rig::new();
        let payload = rig.send(0);
        assert_eq!(rig.echo("000000000000abce 0", 1), None);
        assert_eq!(rig.echo("000000000000abcd 1", 1), None, "not sent yet");
        assert_eq!(rig.echo("000000000000abcd", 1), None);
        assert_eq!(rig.heartbeat.echo(&[0xFF, 0x20, 0x30], false, rig.at(1)), None);
        assert_eq!(rig.heartbeat.echo(payload.as_bytes(), true, rig.at(1)), None);
        assert_eq!(rig.heartbeat.echo_sent_at(), None);
        assert_eq!(rig.echo(&payload, 2), Some(Verdict::Proven));
        let newer = rig.send(1_000);
        assert_eq!(rig.echo(&newer, 1_010), None);
        assert_eq!(rig.echo(&payload, 1_020), None);
        assert_eq!(
            rig.heartbeat.echo_sent_at(),
            Some(rig.at(1_000)),
            "an old echo does not set the age back"
        );
    }

    #[test]
    fn another_gateway_is_told_once_it_goes_on_and_nothing_else_is() {
        let mut rig = Rig::new();
        for beat in 0..7 {
            assert_eq!(rig.echo(&format!("000000000000abce {beat}"), beat * 1_000), None);
        }
        assert_eq!(rig.echo("000000000000abce 7", 7_000), Some(Verdict::Shared));
        assert_eq!(rig.echo("000000000000abce 8", 8_000), Some(Verdict::Shared));
        for beat in 0..20 {
            assert_eq!(rig.echo(&format!("not a gateway {beat}"), 9_000), None);
            assert_eq!(rig.echo(&format!("00000000{beat:08x} 0"), 9_000), None, "each session once");
        }
        assert_eq!(rig.heartbeat.echo_sent_at(), None, "and it proves nothing");
    }

    #[test]
    fn is_unproven_once_the_newest_echo_is_too_old_and_proven_again_by_a_new_one() {
        let mut rig = Rig::new();
        let payload = rig.send(0);
        rig.echo(&payload, 10);
        assert_eq!(rig.heartbeat.check(rig.at(2_500)), None);
        let age = Duration::from_millis(2_501);
        assert_eq!(rig.heartbeat.check(rig.at(2_501)), Some(Verdict::Unproven { echo_age: Some(age) }));
        assert_eq!(rig.heartbeat.check(rig.at(2_600)), None, "said once");
        let payload = rig.send(2_700);
        assert_eq!(rig.echo(&payload, 2_710), Some(Verdict::Proven));
    }

    #[test]
    fn an_echo_that_comes_too_late_does_not_prove() {
        let mut rig = Rig::new();
        let payload = rig.send(0);
        assert_eq!(rig.echo(&payload, 2_501), None);
        assert_eq!(rig.heartbeat.echo_sent_at(), Some(rig.at(0)), "but what came after it has a known age");
    }

    #[test]
    fn never_proven_is_said_at_most_once_a_minute() {
        let mut rig = Rig::new();
        let never = Some(Verdict::Unproven { echo_age: None });
        assert_eq!(rig.heartbeat.check(rig.at(2_501)), never);
        assert_eq!(rig.heartbeat.check(rig.at(62_500)), None);
        assert_eq!(rig.heartbeat.check(rig.at(62_501)), never);
    }

    #[test]
    fn what_is_on_the_way_is_bounded() {
        let mut rig = Rig::new();
        for second in 0..1_000 {
            rig.send(second * 1_000);
        }
        assert_eq!(rig.heartbeat.on_the_way.len(), REMEMBERED);
    }

    #[test]
    fn the_deadline_is_never_missed_nor_in_the_past_after_it_was_served() {
        let mut rig = Rig::new();
        let mut now = rig.at(0);
        let mut said = 0;
        for _ in 0..200 {
            if rig.heartbeat.due(now).is_some() {
                rig.heartbeat.sent(now);
            }
            said += usize::from(rig.heartbeat.check(now).is_some());
            assert!(rig.heartbeat.deadline() > now);
            now = rig.heartbeat.deadline();
        }
        assert!(said >= 2, "complained {said} times");
    }
}
