//! A message that is heard on both connections is one message: whichever copy comes first counts.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use ring::digest::{Context, SHA256};

use super::links::Bound;
use crate::model::Message;

/// How far apart the copies of a live message may come.
const LIVE: Duration = Duration::from_secs(5);
/// How much later the copy may come that the broker kept for a connection that was away.
const KEPT: Duration = Duration::from_mins(2);
/// How many messages wait for their copy; beyond it the oldest does no longer.
const MAX_WAITING: usize = 1_000;

/// A connection to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// It carries everything.
    Main,
    /// It carries only what raises security.
    Securing,
}

/// One message, whose copy did not come yet.
#[derive(Debug)]
struct Heard {
    line: Line,
    at: Instant,
    /// What it says: a code in it must not be kept.
    digest: [u8; 32],
}

/// Equal for copies of one message.
fn digest(message: &Message) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    let correlation = message.correlation.as_deref().unwrap_or_default();
    for part in [message.topic.as_bytes(), &message.payload, correlation] {
        // Where one part ends is a part of it.
        context.update(&part.len().to_le_bytes());
        context.update(part);
    }
    // What is retained is never executed, and must not stand for what was published live.
    context.update(&[u8::from(message.retain)]);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

/// The messages whose copy did not come yet. Equal messages on one connection are several messages.
#[derive(Debug, Default)]
pub(super) struct Copies(VecDeque<Heard>);

impl Copies {
    /// Whether the other connection brought this message before. `bound` is that of the connection that brings it now.
    pub(super) fn is_copy(&mut self, line: Line, message: &Message, bound: Bound) -> bool {
        let now = message.received_at;
        self.0.retain(|heard| now.saturating_duration_since(heard.at) < KEPT);
        // No copy came before the message was published: after a stall that may be as long ago as the bound says.
        let age = |since: Instant| LIVE.max(now.saturating_duration_since(since));
        let window = match (message.echo_sent_at, bound) {
            (Some(since), _) | (None, Bound::Began(since)) => age(since),
            (None, Bound::Heard(_)) => KEPT,
            (None, Bound::None) => LIVE,
        };
        let digest = digest(message);
        let copy = self.0.iter().position(|heard| {
            heard.line != line && heard.digest == digest && now.saturating_duration_since(heard.at) < window
        });
        if let Some(index) = copy {
            self.0.remove(index);
            return true;
        }
        if self.0.len() >= MAX_WAITING {
            self.0.pop_front();
        }
        self.0.push_back(Heard { line, at: now, digest });
        false
    }

    /// The message was not taken, for a reason that its copy may not have: the copy is no longer waited for.
    pub(super) fn forget(&mut self, line: Line, message: &Message) {
        let digest = digest(message);
        let index = self.0.iter().rposition(|heard| heard.line == line && heard.digest == digest);
        if let Some(index) = index {
            self.0.remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::clock;

    fn message(payload: u8, at: Instant) -> Message {
        Message {
            topic: "verkada/scenario/s-1/set".to_owned(),
            payload: Bytes::copy_from_slice(&[payload]),
            retain: false,
            dup: false,
            response_topic: None,
            correlation: None,
            received_at: at,
            echo_sent_at: None,
        }
    }

    #[test]
    fn two_presses_are_two_messages_on_each_connection() {
        let (mut copies, now) = (Copies::default(), clock::now().mono);
        let mut hear = |line| copies.is_copy(line, &message(1, now), Bound::None);
        assert!(!hear(Line::Main));
        assert!(!hear(Line::Main), "pressed twice");
        assert!(hear(Line::Securing));
        assert!(hear(Line::Securing));
        assert!(!hear(Line::Securing), "a third press, heard here first");
        assert!(hear(Line::Main));
    }

    #[test]
    fn a_lost_copy_hides_a_later_press_for_five_seconds_at_most() {
        let (mut copies, now) = (Copies::default(), clock::now().mono);
        assert!(!copies.is_copy(Line::Main, &message(1, now), Bound::None));
        let later = now + LIVE;
        assert!(!copies.is_copy(Line::Securing, &message(1, later), Bound::None));
    }

    #[test]
    fn what_the_broker_kept_is_known_for_longer_and_other_content_is_another_message() {
        let (mut copies, now) = (Copies::default(), clock::now().mono);
        assert!(!copies.is_copy(Line::Main, &message(1, now), Bound::None));
        assert!(!copies.is_copy(Line::Securing, &message(2, now), Bound::Heard(None)));
        assert!(copies.is_copy(
            Line::Securing,
            &message(1, now + Duration::from_mins(1)),
            Bound::Heard(None)
        ));
    }

    proptest! {
        /// However copies are lost, late and reordered, no message is lost and none counts twice while both connections
        /// deliver within the window.
        #[test]
        fn each_message_counts_once(
            sent in prop::collection::vec((0_u8..3, 0_u64..20_000, 0_u64..4_000, 0_u64..4_000, 0_u8..4), 1..40),
        ) {
            let start = clock::now().mono;
            let at = |millis| start + Duration::from_millis(millis);
            let mut deliveries = Vec::new();
            for (payload, sent_at, main, securing, lost) in &sent {
                if *lost != 1 {
                    deliveries.push((at(sent_at + main), Line::Main, *payload));
                }
                if *lost != 2 {
                    deliveries.push((at(sent_at + securing), Line::Securing, *payload));
                }
            }
            deliveries.sort_by_key(|(at, ..)| *at);
            let mut copies = Copies::default();
            let mut counted = [0_usize; 3];
            for (at, line, payload) in &deliveries {
                if !copies.is_copy(*line, &message(*payload, *at), Bound::None) {
                    counted[usize::from(*payload)] += 1;
                }
            }
            for payload in 0..3_u8 {
                let mine = || sent.iter().filter(|(sent, ..)| *sent == payload);
                let on = |lost: u8| mine().filter(|(.., gone)| *gone != lost).count();
                let all = mine().count();
                let counted = counted[usize::from(payload)];
                // Where copies were lost, one message may stand for the copy of another of the same content.
                prop_assert!(counted >= on(1).max(on(2)), "{counted} of {all}");
                prop_assert!(counted <= all + usize::from(all > 0) * all, "{counted} of {all}");
                if mine().all(|(.., gone)| *gone != 1 && *gone != 2) && mine().count() <= 1 {
                    prop_assert_eq!(counted, all);
                }
            }
        }
    }
}
