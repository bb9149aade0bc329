//! Faults on demand: what goes wrong, with which request, how often.

use std::{collections::BTreeMap, num::NonZeroU32};

use axum::http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::ledger::Endpoint;

/// How many faults can wait at a time.
const MAX_FAULTS: usize = 1_000;

/// A fault that strikes requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Strikes requests for this endpoint; every one without it.
    #[serde(default)]
    pub endpoint: Option<Endpoint>,
    /// How many requests it lets pass first.
    #[serde(default)]
    pub after: u32,
    /// How many requests it strikes.
    #[serde(default = "once")]
    pub times: u32,
    /// What it does.
    pub effect: Effect,
}

const fn once() -> u32 {
    1
}

/// What a fault does. Requests struck by it do not count into the rate limit unless they are carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// Answers with an error; nothing is carried out.
    Status {
        /// The status, 200 to 599.
        status: u16,
        /// The form of the body.
        #[serde(default)]
        body: ErrorBody,
        /// The `Retry-After` header.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// Answers with the given text.
    Answer {
        /// The status, 200 to 599.
        status: u16,
        /// The headers, for instance `location`.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// The body.
        body: String,
        /// Whether the request is carried out first.
        #[serde(default)]
        execute: bool,
    },
    /// Waits, then goes on as if nothing was.
    Delay {
        /// How long, in milliseconds.
        milliseconds: u64,
        /// When.
        moment: Moment,
    },
    /// Never answers.
    Hang {
        /// When.
        moment: Moment,
    },
    /// Ends the connection.
    Cut {
        /// When.
        moment: Cut,
    },
    /// Sends the answer slowly, from its first byte on.
    Slow {
        /// The speed.
        bytes_per_second: NonZeroU32,
    },
    /// Sends the answer under another content type.
    ContentType {
        /// The content type.
        value: String,
    },
    /// Sends the first bytes of the body as if they were all.
    Truncate {
        /// How many.
        bytes: usize,
    },
    /// Sends as many spaces in front of the body: valid JSON, but huge.
    Huge {
        /// How many.
        bytes: u64,
    },
}

/// The form of the body of an error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorBody {
    /// The vendor's envelope (`verkada-api.md` 3.6).
    #[default]
    Envelope,
    /// A page as of a proxy in maintenance.
    Html,
    /// Plain text.
    Plain,
    /// Nothing.
    Empty,
}

/// A moment in the life of a request that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Read, not carried out.
    BeforeExecute,
    /// Carried out, not answered.
    AfterExecute,
}

/// The moment at which a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// The request has arrived and no byte of it is read: a reset.
    BeforeRead,
    /// Read, not carried out: a reset.
    AfterRead,
    /// Carried out, no byte of the answer sent: a reset.
    AfterExecute,
    /// So many bytes of the answer, status line and headers included, are sent: an early end.
    AfterBytes(u64),
}

/// Why a fault was not taken.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The text is no fault; the source lists what is allowed.
    #[error("fault not taken: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The status is none that ends a request.
    #[error("fault not taken: status {0} is not allowed, 200 to 599 are")]
    Status(u16),
    /// A header name or value that HTTP does not allow.
    #[error(
        "fault not taken: {0:?} cannot be sent as part of a header; visible ASCII characters are allowed"
    )]
    Header(String),
    /// The fault would never strike.
    #[error("fault not taken: times is 0; 1 and more are allowed")]
    Never,
    /// Too many are waiting.
    #[error("fault not taken: {MAX_FAULTS} faults are waiting already")]
    Full,
}

impl Effect {
    /// What the ledger calls it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Answer { .. } => "answer",
            Self::Delay { .. } => "delay",
            Self::Hang { .. } => "hang",
            Self::Cut { moment: Cut::BeforeRead } => "cut before read",
            Self::Cut { moment: Cut::AfterRead } => "cut after read",
            Self::Cut { moment: Cut::AfterExecute } => "cut after execute",
            Self::Cut { moment: Cut::AfterBytes(_) } => "cut in the answer",
            Self::Slow { .. } => "slow",
            Self::ContentType { .. } => "content type",
            Self::Truncate { .. } => "truncate",
            Self::Huge { .. } => "huge",
        }
    }

    fn check(&self) -> Result<(), FaultError> {
        let value = |text: &String| {
            HeaderValue::from_str(text).map(drop).map_err(|_| FaultError::Header(text.clone()))
        };
        let code = |status: u16| {
            if (200..=599).contains(&status) { Ok(()) } else { Err(FaultError::Status(status)) }
        };
        match self {
            Self::Status { status, retry_after, .. } => {
                code(*status)?;
                retry_after.as_ref().map_or(Ok(()), value)
            }
            Self::Answer { status, headers, .. } => {
                code(*status)?;
                headers.iter().try_for_each(|(name, text)| {
                    let name =
                        HeaderName::from_bytes(name.as_bytes()).map_err(|_| FaultError::Header(name.clone()));
                    name.and_then(|_| value(text))
                })
            }
            Self::ContentType { value: text } => value(text),
            Self::Delay { .. }
            | Self::Hang { .. }
            | Self::Cut { .. }
            | Self::Slow { .. }
            | Self::Truncate { .. }
            | Self::Huge { .. } => Ok(()),
        }
    }

    const fn strikes_before_read(&self) -> bool {
        matches!(self, Self::Cut { moment: Cut::BeforeRead })
    }
}

/// The faults that wait, in the order in which they were given.
#[derive(Debug, Default)]
pub struct Script(Vec<Fault>);

impl Script {
    /// Adds a fault.
    ///
    /// # Errors
    /// When it could not be carried out, or too many wait.
    pub fn add(&mut self, fault: Fault) -> Result<(), FaultError> {
        fault.effect.check()?;
        if fault.times == 0 {
            return Err(FaultError::Never);
        }
        if self.0.len() >= MAX_FAULTS {
            return Err(FaultError::Full);
        }
        self.0.push(fault);
        Ok(())
    }

    /// Takes all faults back.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The faults that wait.
    pub fn waiting(&self) -> &[Fault] {
        &self.0
    }

    /// Whether a fault waits that strikes before a request is read.
    pub fn awaits_unread(&self) -> bool {
        self.0.iter().any(|fault| fault.effect.strikes_before_read())
    }

    /// What strikes a request of which no byte is read yet.
    pub fn strike_unread(&mut self, endpoint: Endpoint) -> Option<Effect> {
        self.take(|fault| fault.effect.strikes_before_read() && fault.matches(endpoint))
    }

    /// What strikes a request that was read.
    pub fn strike(&mut self, endpoint: Endpoint) -> Option<Effect> {
        self.take(|fault| !fault.effect.strikes_before_read() && fault.matches(endpoint))
    }

    fn take(&mut self, applies: impl Fn(&Fault) -> bool) -> Option<Effect> {
        for (index, fault) in self.0.iter_mut().enumerate() {
            if !applies(fault) {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            let effect = fault.effect.clone();
            fault.times -= 1;
            if fault.times == 0 {
                self.0.remove(index);
            }
            return Some(effect);
        }
        None
    }
}

impl Fault {
    /// A fault that strikes the next request for `endpoint`.
    pub const fn once(endpoint: Endpoint, effect: Effect) -> Self {
        Self { endpoint: Some(endpoint), after: 0, times: 1, effect }
    }

    fn matches(&self, endpoint: Endpoint) -> bool {
        self.endpoint.is_none_or(|only| only == endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANG: Effect = Effect::Hang { moment: Moment::BeforeExecute };

    #[test]
    fn strikes_its_endpoint_after_and_for_as_many_requests_as_it_says() {
        let mut script = Script::default();
        let fault = Fault { endpoint: Some(Endpoint::Doors), after: 1, times: 2, effect: HANG };
        script.add(fault).unwrap();
        assert_eq!(script.strike(Endpoint::Events), None);
        let struck: Vec<bool> = (0..4).map(|_| script.strike(Endpoint::Doors).is_some()).collect();
        assert_eq!(struck, [false, true, true, false]);
        assert_eq!(script.waiting(), []);
    }

    #[test]
    fn a_cut_before_read_strikes_unread_requests_alone() {
        let mut script = Script::default();
        let cut = Effect::Cut { moment: Cut::BeforeRead };
        script.add(Fault::once(Endpoint::Token, cut.clone())).unwrap();
        assert_eq!(script.strike(Endpoint::Token), None);
        assert!(script.awaits_unread());
        assert_eq!(script.strike_unread(Endpoint::Doors), None);
        assert_eq!(script.strike_unread(Endpoint::Token), Some(cut));
        assert!(!script.awaits_unread());
    }

    #[test]
    fn refuses_what_it_could_not_do() {
        let mut script = Script::default();
        let mut told = |effect| script.add(Fault::once(Endpoint::Doors, effect)).unwrap_err().to_string();
        let status = Effect::Status { status: 100, body: ErrorBody::Empty, retry_after: None };
        assert_eq!(told(status), "fault not taken: status 100 is not allowed, 200 to 599 are");
        assert!(told(Effect::ContentType { value: "a\nb".to_owned() }).contains("cannot be sent"));
        let never = script.add(Fault { times: 0, ..Fault::once(Endpoint::Doors, HANG) });
        assert!(matches!(never, Err(FaultError::Never)));
    }

    #[test]
    fn reads_the_json_of_the_handbook() {
        let text =
            r#"{"endpoint": "admin_unlock", "times": 3, "effect": {"cut": {"moment": {"after_bytes": 20}}}}"#;
        let effect = Effect::Cut { moment: Cut::AfterBytes(20) };
        let fault = Fault { times: 3, ..Fault::once(Endpoint::AdminUnlock, effect) };
        assert_eq!(serde_json::from_str::<Fault>(text).unwrap(), fault);
    }
}
