//! Topics: built from ids, never from names, and parsed back.

use crate::model::{CalendarId, Target};

/// Builds and parses the topics below one base topic. Changing any of them is a breaking change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    base: String,
}

/// Where a message on one of the subscribed command topics is headed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination<'a> {
    /// `<base>/door/<id>/set`; the id is not checked yet.
    Door(&'a str),
    /// `<base>/door/<id>/hold/set`; the id is not checked yet.
    Hold(&'a str),
    /// `<base>/door/<id>/hold_minutes/set`; the id is not checked yet.
    HoldMinutes(&'a str),
    /// `<base>/scenario/<id>/set`; the id is not checked yet.
    Scenario(&'a str),
    /// `<base>/calendar/<id>/set`; the id is not checked yet.
    Calendar(&'a str),
    /// `<base>/bridge/refresh/set`.
    Refresh,
    /// `<base>/bridge/log_level/set`.
    LogLevel,
    /// `<base>/bridge/restart/set`.
    Restart,
    /// `<base>/bridge/acknowledge/set`.
    Acknowledge,
    /// `<base>/bridge/heartbeat_securing/set`, which the main connection hears as well.
    SecuringHeartbeat,
    /// A topic of the command filter that means nothing.
    Nowhere,
}

impl Topics {
    /// Takes a base topic without wildcards and without a slash at either end.
    pub fn new(base: impl Into<String>) -> Self {
        Self { base: base.into() }
    }

    /// The base topic.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The last will: whether the gateway runs.
    pub fn availability(&self) -> String {
        format!("{}/availability", self.base)
    }

    /// Whether the vendor's API answers.
    pub fn api_availability(&self) -> String {
        self.bridge("api/availability")
    }

    /// A topic of the gateway itself.
    pub fn bridge(&self, leaf: &str) -> String {
        format!("{}/bridge/{leaf}", self.base)
    }

    /// A topic of a door or scenario.
    pub fn of(&self, target: &Target, leaf: &str) -> String {
        format!("{}/{}/{leaf}", self.base, target.path())
    }

    /// What an exception calendar says.
    pub fn calendar(&self, id: &CalendarId) -> String {
        format!("{}/calendar/{id}", self.base)
    }

    /// Where commands for a target arrive.
    pub fn set(&self, target: &Target) -> String {
        self.of(target, "set")
    }

    /// The one filter for all commands, heartbeat included: what proves one of them proves all.
    pub fn command_filter(&self) -> String {
        format!("{}/+/+/set", self.base)
    }

    /// The filter for what is asked of holds, beside [`Topics::command_filter`].
    pub fn hold_filter(&self) -> String {
        format!("{}/door/+/+/set", self.base)
    }

    /// Where the gateway hears its own heartbeat; matches [`Topics::command_filter`].
    pub fn heartbeat(&self) -> String {
        self.bridge("heartbeat/set")
    }

    /// The filter of the securing connection: commands for scenarios.
    pub fn scenario_filter(&self) -> String {
        format!("{}/scenario/+/set", self.base)
    }

    /// Where the gateway hears its own heartbeat over the securing connection.
    pub fn securing_heartbeat(&self) -> String {
        self.bridge("heartbeat_securing/set")
    }

    /// Where commands at a shell hear their own heartbeats; no filter of the gateway matches it.
    pub fn shell_heartbeat(&self) -> String {
        format!("{}/shell/heartbeat", self.base)
    }

    /// Whether a topic lies at or below the base topic.
    pub fn owns(&self, topic: &str) -> bool {
        topic.strip_prefix(self.base.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether a topic lies below `<base>/response`, where senders may have their results put.
    pub fn is_answer(&self, topic: &str) -> bool {
        let rest = topic.strip_prefix(self.base.as_str()).and_then(|rest| rest.strip_prefix("/response/"));
        rest.is_some_and(|rest| !rest.is_empty() && !rest.ends_with("/set"))
    }

    /// Reads the topic of a message that matched [`Topics::command_filter`] or [`Topics::hold_filter`].
    pub fn destination<'a>(&self, topic: &'a str) -> Option<Destination<'a>> {
        let rest = topic.strip_prefix(self.base.as_str())?.strip_prefix('/')?;
        let mut levels = rest.split('/');
        let (kind, name, leaf) = (levels.next()?, levels.next()?, levels.next()?);
        if leaf != "set" {
            if kind != "door" || levels.next() != Some("set") || levels.next().is_some() {
                return None;
            }
            return Some(match leaf {
                "hold" => Destination::Hold(name),
                "hold_minutes" => Destination::HoldMinutes(name),
                _ => Destination::Nowhere,
            });
        }
        if levels.next().is_some() {
            return None;
        }
        Some(match (kind, name) {
            ("door", id) => Destination::Door(id),
            ("scenario", id) => Destination::Scenario(id),
            ("calendar", id) => Destination::Calendar(id),
            ("bridge", "refresh") => Destination::Refresh,
            ("bridge", "log_level") => Destination::LogLevel,
            ("bridge", "heartbeat_securing") => Destination::SecuringHeartbeat,
            ("bridge", "restart") => Destination::Restart,
            ("bridge", "acknowledge") => Destination::Acknowledge,
            _ => Destination::Nowhere,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_topics_round_trip() {
        let topics = Topics::new("site/verkada");
        let door = Target::Door("d-1".parse().unwrap());
        let scenario = Target::Scenario("s-1".parse().unwrap());
        assert_eq!(topics.set(&door), "site/verkada/door/d-1/set");
        assert_eq!(topics.destination(&topics.set(&door)), Some(Destination::Door("d-1")));
        assert_eq!(topics.destination(&topics.set(&scenario)), Some(Destination::Scenario("s-1")));
        let calendar = Target::Calendar("c-1".parse().unwrap());
        assert_eq!(topics.destination(&topics.set(&calendar)), Some(Destination::Calendar("c-1")));
        assert_eq!(topics.destination("site/verkada/bridge/refresh/set"), Some(Destination::Refresh));
        assert_eq!(topics.destination(&topics.heartbeat()), Some(Destination::Nowhere));
        for foreign in [
            "site/verkada/door/d-1/state",
            "site/verkada/scenario/a/hold/set",
            "site/verkada/door/a/hold/b/set",
            "verkada/door/d-1/set",
            "site/verkadax/door/d-1/set",
        ] {
            assert_eq!(topics.destination(foreign), None, "{foreign}");
        }
        assert_eq!(topics.destination("site/verkada/door/d-1/hold/set"), Some(Destination::Hold("d-1")));
        assert_eq!(
            topics.destination("site/verkada/door/d-1/hold_minutes/set"),
            Some(Destination::HoldMinutes("d-1"))
        );
        assert_eq!(topics.destination("site/verkada/door/d-1/other/set"), Some(Destination::Nowhere));
        assert!(topics.owns("site/verkada/door/d-1/set") && topics.owns("site/verkada"));
        assert!(!topics.owns("site/verkadax"));
        assert!(topics.is_answer("site/verkada/response/desk"));

        assert!(
            !topics.is_answer("site/verkada/response/x/set")
                && !topics.is_answer("site/verkada/door/d-1/result")
        );
    }
}
