//! The chain: each record carries a hash of itself and of the record before it.
//!
//! `hash = SHA-256(hash before, in hexadecimal, then each value)`, with the values in the order of the table's columns. A
//! value is written as its length in bytes, a colon and itself, a missing one as a hyphen; numbers are decimal. The record before
//! the first one has the hash [`START`].

use std::fmt::Write as _;

use ring::digest;

/// The hash before the first record of a journal.
pub(super) const START: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A record as it stands in the journal: the words as they were written, whether this version knows them or not.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// Its place in the journal, from 1 and without gaps; it goes on over restarts.
    pub sequence: i64,
    /// The run of the gateway that wrote it.
    pub run: String,
    /// Its number in that run.
    pub number: i64,
    /// When it happened, RFC 3339 in UTC.
    pub at: String,
    /// What happened: the word of a [`Stage`](crate::model::Stage).
    pub stage: String,
    /// The id of the command.
    pub command: Option<String>,
    /// What it is about: `door/<id>` or `scenario/<id>`.
    pub target: Option<String>,
    /// What was asked.
    pub action: Option<String>,
    /// Who says to have asked.
    pub by: Option<String>,
    /// When the command was received, RFC 3339 in UTC.
    pub received_at: Option<String>,
    /// How it ended.
    pub outcome: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// A sentence for people.
    pub text: String,
    /// The hash of the record before and of this one, in hexadecimal.
    pub hash: String,
}

impl Entry {
    /// The hash that this record must carry after a record with the hash `before`.
    pub(super) fn hash_after(&self, before: &str) -> String {
        let mut text = before.to_owned();
        let (sequence, number) = (self.sequence.to_string(), self.number.to_string());
        for value in [
            Some(&sequence),
            Some(&self.run),
            Some(&number),
            Some(&self.at),
            Some(&self.stage),
            self.command.as_ref(),
            self.target.as_ref(),
            self.action.as_ref(),
            self.by.as_ref(),
            self.received_at.as_ref(),
            self.outcome.as_ref(),
            self.reason.as_ref(),
            Some(&self.text),
        ] {
            match value {
                Some(value) => {
                    text.push_str(&value.len().to_string());
                    text.push(':');
                    text.push_str(value);
                }
                None => text.push('-'),
            }
        }
        hexadecimal(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            sequence: 1,
            run: "r1".to_owned(),
            number: 7,
            at: "2026-11-25T21:27:42.871Z".to_owned(),
            stage: "accepted".to_owned(),
            command: Some("c-1".to_owned()),
            target: Some("door/d-1".to_owned()),
            action: Some("unlock".to_owned()),
            by: Some("Zoë".to_owned()),
            text: "the unlock is on its way".to_owned(),
            ..Entry::default()
        }
    }

    #[test]
    fn the_hash_can_be_made_again_from_its_description() {
        let text = format!(
            "{START}1:12:r11:724:2026-11-25T21:27:42.871Z8:accepted3:c-18:door/d-16:unlock4:Zoë---24:the unlock is on its way"
        );
        let expected = hexadecimal(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        assert_eq!(entry().hash_after(START), expected);
        assert_eq!(expected.len(), START.len());
    }

    #[test]
    fn every_value_and_the_hash_before_count() {
        let whole = entry().hash_after(START);
        let text = || Some("c".to_owned());
        let changes: [fn(&mut Entry, Option<String>); 13] = [
            |entry, _| entry.sequence += 1,
            |entry, _| entry.run.push('x'),
            |entry, _| entry.number += 1,
            |entry, _| entry.at.push('x'),
            |entry, _| entry.stage.push('x'),
            |entry, text| entry.command = text,
            |entry, text| entry.target = text,
            |entry, text| entry.action = text,
            |entry, text| entry.by = text,
            |entry, text| entry.received_at = text,
            |entry, text| entry.outcome = text,
            |entry, text| entry.reason = text,
            |entry, _| entry.text.push('x'),
        ];
        for (place, change) in changes.iter().enumerate() {
            let mut entry = entry();
            change(&mut entry, text());
            assert_ne!(entry.hash_after(START), whole, "the value at {place}");
        }
        assert_ne!(entry().hash_after(&whole), whole);
        // A text that moves from one value to the next is another record.
        let moved = Entry { outcome: text(), ..entry() };
        assert_ne!(moved.hash_after(START), Entry { reason: text(), ..entry() }.hash_after(START));
    }
}
