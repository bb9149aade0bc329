//! Signatures that were taken, so that a delivery which somebody recorded changes nothing a second time.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Signature;

/// How many are kept, about 1 MiB: at 50 deliveries a second, all of the window.
const MAX_KEPT: usize = 16_384;

/// The signatures of the window, ordered by their own time.
///
/// Beyond [`MAX_KEPT`] the oldest are forgotten. A replay of one of those is taken again, and the core drops its event
/// by the event's id.
#[derive(Debug, Default)]
pub(super) struct Replays(BTreeSet<(i64, [u8; 32])>);

impl Replays {
    /// Whether it was taken before; those whose window has ended are forgotten.
    pub(super) fn knows(&mut self, signature: &Signature, now: Timestamp) -> bool {
        let oldest = Signature::oldest(now);
        while self.0.first().is_some_and(|(seconds, _)| *seconds < oldest) {
            self.0.pop_first();
        }
        self.0.contains(&signature.key())
    }

    /// Keeps a signature that was verified and taken.
    pub(super) fn remember(&mut self, signature: &Signature, now: Timestamp) {
        debug_assert!(signature.check_window(now).is_ok(), "outside of its window");
        self.0.insert(signature.key());
        if self.0.len() > MAX_KEPT {
            self.0.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn signature(seconds: i64, number: usize) -> Signature {
        Signature::read([format!("{seconds}|{number:064x}").as_bytes()]).unwrap()
    }

    #[test]
    fn a_signature_is_known_until_its_window_ends() {
        let mut replays = Replays::default();
        let first = signature(1000, 1);
        assert!(!replays.knows(&first, at(1000)));
        replays.remember(&first, at(1000));
        assert!(replays.knows(&first, at(1300)));
        assert!(!replays.knows(&signature(1000, 2), at(1300)), "another tag");
        assert!(!replays.knows(&signature(1001, 1), at(1300)), "another time");
        assert!(!replays.knows(&first, at(1301)));
        assert_eq!(replays.0.len(), 0);
    }

    #[test]
    fn when_full_the_oldest_go() {
        let mut replays = Replays::default();
        for number in 0..=MAX_KEPT {
            let seconds = 1000 + i64::from(number != 0);
            replays.remember(&signature(seconds, number), at(1001));
        }
        assert_eq!(replays.0.len(), MAX_KEPT);
        assert!(!replays.knows(&signature(1000, 0), at(1001)));
        assert!(replays.knows(&signature(1001, MAX_KEPT), at(1001)));
    }
}
