//! The retained messages, bounded in number and in bytes.

use std::{
    collections::BTreeMap,
    ops::Bound::{Included, Unbounded},
    sync::Arc,
    time::Instant,
};

use super::{message::Message, topic};

/// How many retained messages are kept.
pub(super) const MAX_MESSAGES: usize = 20_000;

/// How many bytes of topics, payloads and properties are kept.
pub(super) const MAX_BYTES: usize = 48 * 1024 * 1024;

/// The store is full; the message was not kept and what was kept under its topic is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// The last retained message of each topic.
#[derive(Debug, Default)]
pub(super) struct Retained {
    messages: BTreeMap<String, Arc<Message>>,
    bytes: usize,
}

impl Retained {
    /// Keeps `message` in place of the one before it; an empty payload clears the topic.
    pub(super) fn set(&mut self, message: &Arc<Message>) -> Result<(), Full> {
        if let Some(old) = self.messages.remove(&message.topic) {
            self.bytes = self.bytes.saturating_sub(old.size());
        }
        if message.payload.is_empty() {
            return Ok(());
        }
        let bytes = self.bytes.saturating_add(message.size());
        if self.messages.len() >= MAX_MESSAGES || bytes > MAX_BYTES {
            return Err(Full);
        }
        self.bytes = bytes;
        self.messages.insert(message.topic.clone(), Arc::clone(message));
        Ok(())
    }

    /// The kept messages that `filter` matches and whose expiry has not passed, in the order of their topics.
    pub(super) fn matching(&self, filter: &str, now: Instant) -> impl Iterator<Item = &Arc<Message>> {
        let prefix = topic::literal_prefix(filter);
        self.messages
            .range::<str, _>((Included(prefix), Unbounded))
            .take_while(move |(topic, _)| topic.starts_with(prefix))
            .filter(move |(topic, message)| topic::matches(filter, topic) && !message.is_expired(now))
            .map(|(_, message)| message)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn message(topic: &str, payload: &str) -> Arc<Message> {
        Arc::new(Message::new(topic, payload.as_bytes(), crate::clock::now().mono))
    }

    fn topics(store: &Retained, filter: &str) -> Vec<String> {
        store.matching(filter, crate::clock::now().mono).map(|m| m.topic.clone()).collect()
    }

    #[test]
    fn a_prefix_scan_finds_what_a_full_scan_finds() {
        let mut store = Retained::default();
        for topic in ["a", "a!", "a/b", "a/b/c", "ab", "b/a", "$SYS/a", "/a"] {
            store.set(&message(topic, "x")).unwrap();
        }
        assert_eq!(topics(&store, "a/#"), ["a", "a/b", "a/b/c"]);
        assert_eq!(topics(&store, "#"), ["/a", "a", "a!", "a/b", "a/b/c", "ab", "b/a"]);
        assert_eq!(topics(&store, "+/a"), ["/a", "b/a"]);
        assert_eq!(topics(&store, "a"), ["a"]);
        assert_eq!(topics(&store, "$SYS/+"), ["$SYS/a"]);
    }

    #[test]
    fn an_empty_payload_clears_one_topic() {
        let mut store = Retained::default();
        store.set(&message("a", "1")).unwrap();
        store.set(&message("b", "2")).unwrap();
        store.set(&message("a", "")).unwrap();
        assert_eq!(topics(&store, "#"), ["b"]);
        store.set(&message("b", "")).unwrap();
        assert_eq!(store.bytes, 0);
    }

    #[test]
    fn both_bounds_hold_and_replacing_does_not_count_twice() {
        let mut store = Retained::default();
        for i in 0..MAX_MESSAGES {
            store.set(&message(&format!("t/{i}"), "x")).unwrap();
        }
        assert_eq!(store.set(&message("one/more", "x")), Err(Full));
        assert_eq!(store.set(&message("t/7", "y")), Ok(()));
        store.clear();
        let large = "x".repeat(1024 * 1024);
        let kept = (0..100).take_while(|i| store.set(&message(&format!("t/{i}"), &large)).is_ok()).count();
        assert_eq!(kept, MAX_BYTES / (1024 * 1024) - 1);
    }

    #[test]
    fn an_expired_message_is_not_found() {
        let mut store = Retained::default();
        let now = crate::clock::now().mono;
        let mut short = Message::new("a", b"x", now);
        short.properties.message_expiry_interval = Some(5);
        store.set(&Arc::new(short)).unwrap();
        assert_eq!(store.matching("a", now + Duration::from_secs(4)).count(), 1);
        assert_eq!(store.matching("a", now + Duration::from_secs(5)).count(), 0);
    }
}
