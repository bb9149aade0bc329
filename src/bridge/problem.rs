//! What is wrong at the moment, decided by what is so and never by the passing of time.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;

use super::{
    Bridge,
    poller::{List, Trouble},
    view,
};
use crate::model::{Now, TokenState};

/// The longest state that Home Assistant takes, in characters.
const MAX_CHARS: usize = 255;

/// A kind of problem, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Problem {
    /// The vendor refuses the key.
    KeyRefused,
    /// The key may not read a list.
    PermissionMissing,
    /// Nothing can be read.
    ApiUnreachable,
    /// One list cannot be read, and is out of date.
    ListUnreadable,
    /// The journal cannot be written, so that nothing opens.
    JournalUnavailable,
    /// The broker returns no heartbeat, so that no command runs.
    MqttUnproven,
    /// The connection for lockdowns returns no heartbeat.
    SecuringUnproven,
    /// Another gateway does everything a second time.
    SecondGateway,
    /// The key expires soon.
    KeyExpires,
    /// Elements of a list could not be read.
    ElementsLeftOut,
    /// The journal of earlier runs could not be used and was set aside.
    JournalReplaced,
}

impl Problem {
    /// The word on MQTT.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::KeyRefused => "key_refused",
            Self::PermissionMissing => "permission_missing",
            Self::ApiUnreachable => "api_unreachable",
            Self::ListUnreadable => "list_unreadable",
            Self::JournalUnavailable => "journal_unavailable",
            Self::MqttUnproven => "mqtt_unproven",
            Self::SecuringUnproven => "securing_unproven",
            Self::SecondGateway => "second_gateway",
            Self::KeyExpires => "key_expires",
            Self::ElementsLeftOut => "elements_left_out",
            Self::JournalReplaced => "journal_replaced",
        }
    }
}

/// The attributes of the problem that is shown.
pub(super) fn attributes(kind: Option<Problem>, since: Option<Timestamp>, count: usize) -> Bytes {
    view::bytes_of(
        &json!({ "kind": kind.map(Problem::word), "since": since.map(view::time), "count": count }),
    )
}

impl Bridge {
    /// Shows what is wrong, if that changed.
    pub(super) fn compare_problems(&mut self, now: Now) {
        let wrong = self.wrong(now);
        if wrong == self.gateway.wrong {
            return;
        }
        self.gateway.since.retain(|kind, _| wrong.contains_key(kind));
        for kind in wrong.keys() {
            self.gateway.since.entry(*kind).or_insert(now.utc);
        }
        self.gateway.wrong = wrong;
        self.show_problems();
    }

    fn wrong(&self, now: Now) -> BTreeMap<Problem, String> {
        let mut wrong = BTreeMap::new();
        let mut say = |kind, text: String| {
            wrong.entry(kind).or_insert_with(|| text.chars().take(MAX_CHARS).collect());
        };
        let refused = self.gateway.token == TokenState::Refused
            || List::ALL.into_iter().any(|list| self.poller.is_revoked(list));
        if refused {
            let cause = List::ALL.into_iter().find_map(|list| match self.poller.trouble(list)? {
                Trouble::Unauthorized(text) => Some(format!(": {text}")),
                Trouble::Forbidden(_) | Trouble::Passing(_) => None,
            });
            say(Problem::KeyRefused, format!("Verkada refuses the API key{}", cause.unwrap_or_default()));
        }
        for list in List::ALL {
            if self.poller.is_overdue(list, now) {
                let word = list.word();
                if self.api.online {
                    say(
                        Problem::ListUnreadable,
                        format!("a list is out of date: nothing answers for {word}"),
                    );
                } else {
                    let text = format!("the Verkada API does not serve: nothing answers for {word}");
                    say(Problem::ApiUnreachable, text);
                }
            }
            let Some(trouble) = self.poller.trouble(list) else { continue };
            let text = trouble.text();
            match trouble {
                Trouble::Unauthorized(_) if refused => {}
                Trouble::Unauthorized(_) | Trouble::Forbidden(_) => {
                    say(Problem::PermissionMissing, format!("the API key lacks a permission: {text}"));
                }
                // One failure is no problem as long as the last good reading is young.
                Trouble::Passing(_) if self.poller.is_fresh(list, now) => {}
                Trouble::Passing(_) if self.api.online => {
                    say(Problem::ListUnreadable, format!("a list is out of date: {text}"));
                }
                Trouble::Passing(_) => {
                    say(Problem::ApiUnreachable, format!("the Verkada API does not serve: {text}"));
                }
            }
        }
        for (kind, text) in self.wrong_with_commands(now) {
            say(kind, text);
        }
        if let Some(sentence) = self.expiry(now) {
            say(Problem::KeyExpires, sentence);
        }
        for (list, count) in self.gateway.left_out.iter().filter(|(_, count)| **count > 0) {
            let word = list.word();
            let text = format!("{count} elements of the list of {word} are left out; the log says why");
            say(Problem::ElementsLeftOut, text);
        }
        wrong
    }

    /// What keeps commands from being taken on.
    fn wrong_with_commands(&self, now: Now) -> impl Iterator<Item = (Problem, String)> {
        let broken = self.records.broken().map(|cause| {
            let text = format!("nothing opens, because the journal cannot be written: {cause}");
            (Problem::JournalUnavailable, text)
        });
        let replaced = self.journal_replaced.as_ref().map(|cause| {
            let text = format!("a new journal was begun, and the old one kept aside: {cause}");
            (Problem::JournalReplaced, text)
        });
        let main = self.link.complaint().filter(|_| !self.health.commandable);
        let main = main.map(|cause| (Problem::MqttUnproven, format!("no command runs, because {cause}")));
        let securing = self.securing.missed_at().filter(|at| *at <= now.mono).map(|_| {
            let text = "a lockdown has no connection of its own and may be held up by other messages";
            let cause = self.securing.complaint().unwrap_or("no heartbeat has come back on it");
            (Problem::SecuringUnproven, format!("{text}, because {cause}"))
        });
        let shared = self.link.is_shared(now.mono);
        let shared = shared.then(|| (Problem::SecondGateway, self.second_gateway()));
        [broken, replaced, main, securing, shared].into_iter().flatten()
    }

    /// What is wrong where another gateway is heard.
    pub(super) fn second_gateway(&self) -> String {
        format!(
            "another gateway uses the base topic {} on this broker, so that each command is executed twice: stop one of \
             them, or change its mqtt.base_topic",
            self.topics.base()
        )
    }
}
