//! Payloads: the words of states, and the exact grammar of commands.

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use super::{
    calendar,
    json_fault::{is_plain, without_values},
};
use crate::model::{Action, DoorMode, Edit, Intent, User};

/// The payload that an availability topic holds when all is well.
pub const ONLINE: &str = "online";
/// The payload that an availability topic holds otherwise.
pub const OFFLINE: &str = "offline";
/// The mode of a door that no hold keeps.
pub const SCHEDULE: &str = "schedule";
/// What Home Assistant reads as *unknown* on any state topic.
pub const UNKNOWN: &str = "None";
/// The longest command that is read, in bytes.
const MAX_COMMAND_BYTES: usize = 4096;
/// The longest text member of a command, in characters.
const MAX_TEXT_CHARS: usize = 128;
/// The longest code, in characters.
const MAX_CODE_CHARS: usize = 64;
/// The most that is told of why JSON cannot be read, in characters.
const MAX_ERROR_CHARS: usize = 400;

/// The shortest hold that can be asked for: the vendor keeps whole minutes.
const SHORTEST_HOLD: SignedDuration = SignedDuration::from_mins(1);

/// What kind of target a command topic belongs to; it decides which words are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Doors take `LOCK` and `UNLOCK`.
    Door,
    /// Scenarios take `ON` and `OFF`, or `ACTIVATE` and `RELEASE`, and `DRILL`.
    Scenario,
    /// Holds take the words of modes, `SCHEDULE` and `END`.
    Hold,
    /// Calendars take JSON alone.
    Calendar,
}

/// The verb of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Unlock a door.
    Unlock,
    /// Lock a door: well-formed, although a momentary strike cannot do it.
    Lock,
    /// Start a scenario.
    Activate,
    /// End a scenario.
    Release,
    /// Try the way of an activate up to its last step; nothing is activated.
    Drill,
    /// Hold a door, or end its hold.
    Hold,
    /// Change an exception of a calendar.
    Edit,
}

impl Verb {
    /// The word used in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unlock => "unlock",
            Self::Lock => "lock",
            Self::Activate => "activate",
            Self::Release => "release",
            Self::Drill => "drill",
            Self::Hold => "hold",
            Self::Edit => "edit",
        }
    }
}

impl From<Intent> for Verb {
    fn from(intent: Intent) -> Self {
        match intent {
            Intent::Act(action) => action.into(),
            Intent::Drill => Self::Drill,
        }
    }
}

impl From<Action> for Verb {
    fn from(action: Action) -> Self {
        match action {
            Action::Unlock => Self::Unlock,
            Action::Activate => Self::Activate,
            Action::Release => Self::Release,
            Action::Hold => Self::Hold,
            Action::Lock => Self::Lock,
            Action::Edit => Self::Edit,
        }
    }
}

/// The code that came with a command; no output shows it.
#[derive(Debug, Clone)]
pub struct Code(SecretString);

impl Code {
    /// The code itself, for the comparison and nothing else.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// A well-formed command, before anything is decided about it.
#[derive(Debug, Clone)]
pub struct Order {
    /// What is asked.
    pub verb: Verb,
    /// The caller's id for it.
    pub id: Option<String>,
    /// When it was issued, by the caller's clock.
    pub issued_at: Option<Timestamp>,
    /// Who says to have issued it.
    pub by: Option<String>,
    /// The code that it brings.
    pub code: Option<Code>,
    /// In whose name the door is to be unlocked.
    pub user: Option<User>,
    /// How to hold the door; only with [`Verb::Hold`].
    pub hold: Option<HoldOrder>,
    /// What to change in a calendar; only with [`Verb::Edit`].
    pub edit: Option<Box<Edit>>,
}

/// How a door is to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldOrder {
    /// What it is to be kept at; `None` ends the hold.
    pub mode: Option<DoorMode>,
    /// For how long; `None` for as long as is usual for the door.
    pub span: Option<Span>,
}

/// For how long a door is to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// From when the command arrived.
    For(SignedDuration),
    /// Until a moment.
    Until(Timestamp),
}

/// Why a payload is no command, in a sentence for its sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Malformed {
    text: String,
    /// The caller's id, where it can be read nevertheless, so that the sender finds the answer.
    pub id: Option<String>,
    /// It is longer than any command.
    pub too_large: bool,
}

impl Malformed {
    /// On one line: it may quote what was sent.
    fn new(text: impl AsRef<str>) -> Self {
        let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        Self { text: text.as_ref().chars().map(shown).collect(), id: None, too_large: false }
    }

    /// Without values, which may be a code.
    fn json(error: &serde_json::Error) -> Self {
        let shown: String = without_values(error).chars().take(MAX_ERROR_CHARS).collect();
        Self::new(format!("the command is no valid JSON command: {shown}"))
    }
}

impl Kind {
    const fn allowed(self) -> &'static str {
        match self {
            Self::Door => "LOCK or UNLOCK",
            Self::Scenario => "ON, OFF, ACTIVATE, RELEASE or DRILL",
            Self::Hold => "UNLOCKED, LOCKED, CARD_AND_CODE, CREDENTIAL, SCHEDULE or END",
            Self::Calendar => "the actions create, change and delete",
        }
    }

    fn verb(self, word: &str) -> Option<Verb> {
        let is = |known: &str| word.eq_ignore_ascii_case(known);
        match self {
            Self::Door if is("UNLOCK") => Some(Verb::Unlock),
            Self::Door if is("LOCK") => Some(Verb::Lock),
            Self::Scenario if is("ON") || is("ACTIVATE") => Some(Verb::Activate),
            Self::Scenario if is("OFF") || is("RELEASE") => Some(Verb::Release),
            Self::Scenario if is("DRILL") => Some(Verb::Drill),
            Self::Hold if hold_word(word).is_some() => Some(Verb::Hold),
            Self::Calendar if Edit::WORDS.iter().any(|known| is(known)) => Some(Verb::Edit),
            Self::Door | Self::Scenario | Self::Hold | Self::Calendar => None,
        }
    }
}

impl Order {
    /// Reads a plain word (white space around it and its case do not matter) or a JSON object with `action` and, all
    /// optional, `id`, `issued_at`, `code`, `by` and for an unlock `as`.
    ///
    /// # Errors
    /// Anything else; the sentence says what was read and what is allowed.
    pub fn read(kind: Kind, payload: &[u8]) -> Result<Self, Malformed> {
        if payload.len() > MAX_COMMAND_BYTES {
            let text = format!("the command has {} bytes; allowed are {MAX_COMMAND_BYTES}", payload.len());
            return Err(Malformed { too_large: true, ..Malformed::new(text) });
        }
        let text =
            std::str::from_utf8(payload).map_err(|_| Malformed::new("the command is not UTF-8 text"))?;
        let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
        if text.is_empty() {
            return Err(Malformed::new(format!(
                "the command is empty; allowed are {}, or JSON",
                kind.allowed()
            )));
        }
        if text.starts_with('{') {
            let read = match kind {
                Kind::Hold => Self::read_hold(text),
                Kind::Calendar => Self::read_edit(text),
                Kind::Door | Kind::Scenario => Self::read_json(kind, text),
            };
            read.map_err(|malformed| Malformed { id: legible_id(text), ..malformed })
        } else {
            Self::read_word(kind, text)
        }
    }

    fn read_word(kind: Kind, word: &str) -> Result<Self, Malformed> {
        let verb = kind.verb(word).ok_or_else(|| unknown_word(kind, word))?;
        if verb == Verb::Edit {
            return Err(Malformed::new("a change of a calendar needs JSON: it says which exception"));
        }
        let hold = hold_word(word).filter(|_| kind == Kind::Hold);
        Ok(Self { verb, id: None, issued_at: None, by: None, code: None, user: None, hold, edit: None })
    }

    /// Reads a JSON object with `mode` and, all optional, one of `for` and `until`, and what other commands have.
    fn read_hold(text: &str) -> Result<Self, Malformed> {
        let raw: RawHold = serde_json::from_str(text).map_err(|error| Malformed::json(&error))?;
        let mode = hold_word(&raw.mode).ok_or_else(|| unknown_word(Kind::Hold, &raw.mode))?.mode;
        check_texts(raw.id.as_deref(), raw.by.as_deref())?;
        let span = match (raw.lasts, raw.until) {
            (Some(_), Some(_)) => {
                return Err(Malformed::new("members for and until exclude each other; send one of them"));
            }
            (Some(lasts), None) if lasts.0 < SHORTEST_HOLD => {
                return Err(Malformed::new("member for must be at least 1 minute"));
            }
            (Some(lasts), None) => Some(Span::For(lasts.0)),
            (None, Some(until)) => Some(Span::Until(until.0)),
            (None, None) => None,
        };
        if mode.is_none() && span.is_some() {
            return Err(Malformed::new("a hold that ends has no member for or until"));
        }
        Ok(Self {
            verb: Verb::Hold,
            id: raw.id,
            issued_at: raw.issued_at.map(|at| at.0),
            by: raw.by,
            code: raw.code.and_then(|code| code.0),
            user: None,
            hold: Some(HoldOrder { mode, span }),
            edit: None,
        })
    }

    /// Reads a JSON object with `action`, and with `exception`, `exception_id` or both, beside what other commands have.
    fn read_edit(text: &str) -> Result<Self, Malformed> {
        let raw: RawEdit<'_> = serde_json::from_str(text).map_err(|error| Malformed::json(&error))?;
        check_texts(raw.id.as_deref(), raw.by.as_deref())?;
        let edit = match raw.action.to_ascii_lowercase().as_str() {
            "create" => calendar::create(raw.exception_id.as_deref(), raw.exception),
            "change" => calendar::change(raw.exception_id.as_deref(), raw.exception),
            "delete" => calendar::delete(raw.exception_id.as_deref(), raw.exception),
            _ => return Err(unknown_word(Kind::Calendar, &raw.action)),
        };
        Ok(Self {
            verb: Verb::Edit,
            id: raw.id,
            issued_at: raw.issued_at.map(|at| at.0),
            by: raw.by,
            code: raw.code.and_then(|code| code.0),
            user: None,
            hold: None,
            edit: Some(Box::new(edit.map_err(Malformed::new)?)),
        })
    }

    fn read_json(kind: Kind, text: &str) -> Result<Self, Malformed> {
        let raw: Raw<'_> = serde_json::from_str(text).map_err(|error| Malformed::json(&error))?;
        let verb = kind.verb(&raw.action).ok_or_else(|| unknown_word(kind, &raw.action))?;
        check_texts(raw.id.as_deref(), raw.by.as_deref())?;
        let code = raw.code.and_then(|code| code.0);
        let user = raw.user.map(|raw| read_user(verb, raw)).transpose()?;
        Ok(Self {
            verb,
            id: raw.id,
            issued_at: raw.issued_at.map(|at| at.0),
            by: raw.by,
            code,
            user,
            hold: None,
            edit: None,
        })
    }
}

/// What a word says of a hold. Blanks and hyphens stand for underscores, so that the labels of Home
/// Assistant are words as well.
fn hold_word(word: &str) -> Option<HoldOrder> {
    let plain: String = word.trim().to_ascii_lowercase().replace([' ', '-'], "_");
    if matches!(plain.as_str(), "schedule" | "end") {
        return Some(HoldOrder { mode: None, span: None });
    }
    let mode = DoorMode::ALL.into_iter().find(|mode| mode.word() == plain)?;
    Some(HoldOrder { mode: Some(mode), span: None })
}

fn check_texts(id: Option<&str>, by: Option<&str>) -> Result<(), Malformed> {
    for (name, text) in [("id", id), ("by", by)] {
        if let Some(text) = text
            && !is_text(text)
        {
            return Err(Malformed::new(format!(
                "member {name} must have 1 to {MAX_TEXT_CHARS} characters and no control characters"
            )));
        }
    }
    Ok(())
}

fn is_text(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= MAX_TEXT_CHARS && !text.chars().any(char::is_control)
}

/// The person in whose name a door is to be unlocked. What is wrong with it is told without a word of it.
fn read_user(verb: Verb, raw: &RawValue) -> Result<User, Malformed> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct RawUser {
        user_id: Option<String>,
        external_id: Option<String>,
    }
    if verb != Verb::Unlock {
        return Err(Malformed::new(
            "member as goes with unlock alone: it says in whose name a door is unlocked",
        ));
    }
    let named = serde_json::from_str(raw.get()).ok().and_then(|RawUser { user_id, external_id }| {
        match (user_id, external_id) {
            (Some(id), None) => User::of_id(&id),
            (None, Some(id)) => User::of_external_id(&id),
            (Some(_), Some(_)) | (None, None) => None,
        }
    });
    named.ok_or_else(|| {
        let allowed = User::ALLOWED;
        Malformed::new(format!(
            "member as must be an object that names one person by exactly one member: {allowed} without control characters"
        ))
    })
}

/// A member that is there, whatever it holds: `null` is a value like any other that names nobody, and must not pass for a
/// command without the member.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The id of a command that is malformed elsewhere.
fn legible_id(text: &str) -> Option<String> {
    let command: serde_json::Value = serde_json::from_str(text).ok()?;
    command.get("id")?.as_str().filter(|id| is_text(id)).map(str::to_owned)
}

fn unknown_word(kind: Kind, word: &str) -> Malformed {
    let shown = if is_plain(word) { format!("{word:?}") } else { "the payload".to_owned() };
    Malformed::new(format!("{shown} is no command here; allowed are {}, or JSON", kind.allowed()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw<'a> {
    action: String,
    id: Option<String>,
    issued_at: Option<IssuedAt>,
    code: Option<RawCode>,
    by: Option<String>,
    #[serde(borrow, default, rename = "as", deserialize_with = "present")]
    user: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHold {
    mode: String,
    #[serde(rename = "for")]
    lasts: Option<Lasts>,
    until: Option<IssuedAt>,
    id: Option<String>,
    issued_at: Option<IssuedAt>,
    code: Option<RawCode>,
    by: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEdit<'a> {
    action: String,
    exception_id: Option<String>,
    #[serde(borrow)]
    exception: Option<&'a RawValue>,
    id: Option<String>,
    issued_at: Option<IssuedAt>,
    code: Option<RawCode>,
    by: Option<String>,
}

/// How long a hold lasts: a whole number of minutes, or a text such as `90m` or `1h 30m`.
struct Lasts(SignedDuration);

impl<'de> Deserialize<'de> for Lasts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LastsVisitor)
    }
}

struct LastsVisitor;

impl de::Visitor<'_> for LastsVisitor {
    type Value = Lasts;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("for as a whole number of minutes, or as a text such as \"90m\" or \"1h 30m\"")
    }

    fn visit_u64<E: de::Error>(self, minutes: u64) -> Result<Lasts, E> {
        let wrong = || E::invalid_value(de::Unexpected::Unsigned(minutes), &self);
        let whole = i64::try_from(minutes).map_err(|_| wrong())?;
        SignedDuration::try_from_mins(whole).map(Lasts).ok_or_else(wrong)
    }

    fn visit_i64<E: de::Error>(self, minutes: i64) -> Result<Lasts, E> {
        Err(E::invalid_value(de::Unexpected::Signed(minutes), &self))
    }

    /// Home Assistant's numbers come as floats where a template made them.
    fn visit_f64<E: de::Error>(self, minutes: f64) -> Result<Lasts, E> {
        let wrong = || E::invalid_value(de::Unexpected::Float(minutes), &self);
        if minutes.fract() != 0.0 {
            return Err(wrong());
        }
        SignedDuration::try_from_secs_f64(minutes * 60.0).map(Lasts).map_err(|_| wrong())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Lasts, E> {
        text.parse().map(Lasts).map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

/// A code as it was sent; `None` for an empty text, which templates make of a code that nobody entered.
struct RawCode(Option<Code>);

impl<'de> Deserialize<'de> for RawCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CodeVisitor)
    }
}

/// Its errors quote nothing: what is wrong may still be most of a code.
struct CodeVisitor;

const CODE_SHAPE: &str =
    "member code must be a text of at most 64 characters, or a whole number without leading zeros";

impl<'de> de::Visitor<'de> for CodeVisitor {
    type Value = RawCode;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a code")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<RawCode, E> {
        if text.chars().count() > MAX_CODE_CHARS {
            return Err(E::custom(CODE_SHAPE));
        }
        Ok(RawCode((!text.is_empty()).then(|| Code(text.into()))))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<RawCode, E> {
        Ok(RawCode(Some(Code(number.to_string().into()))))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<RawCode, E> {
        Err(E::custom(CODE_SHAPE))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<RawCode, E> {
        Err(E::custom(CODE_SHAPE))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<RawCode, E> {
        Err(E::custom(CODE_SHAPE))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, _: A) -> Result<RawCode, A::Error> {
        Err(de::Error::custom(CODE_SHAPE))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, _: A) -> Result<RawCode, A::Error> {
        Err(de::Error::custom(CODE_SHAPE))
    }
}

struct IssuedAt(Timestamp);

impl<'de> Deserialize<'de> for IssuedAt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IssuedAtVisitor)
    }
}

struct IssuedAtVisitor;

impl de::Visitor<'_> for IssuedAtVisitor {
    type Value = IssuedAt;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a time as Unix seconds or an RFC 3339 text with zone")
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<IssuedAt, E> {
        let seconds =
            i64::try_from(seconds).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(seconds), &self))?;
        self.visit_i64(seconds)
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<IssuedAt, E> {
        Timestamp::from_second(seconds)
            .map(IssuedAt)
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(seconds), &self))
    }

    fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<IssuedAt, E> {
        SignedDuration::try_from_secs_f64(seconds)
            .and_then(Timestamp::from_duration)
            .map(IssuedAt)
            .map_err(|_| E::invalid_value(de::Unexpected::Float(seconds), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<IssuedAt, E> {
        text.parse().map(IssuedAt).map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verb(kind: Kind, payload: &str) -> Result<Verb, String> {
        Order::read(kind, payload.as_bytes()).map(|order| order.verb).map_err(|error| error.to_string())
    }

    #[test]
    fn plain_words_are_read_exactly() {
        for word in ["UNLOCK", "unlock", " Unlock\n"] {
            assert_eq!(verb(Kind::Door, word), Ok(Verb::Unlock), "{word:?}");
        }
        assert_eq!(verb(Kind::Door, "LOCK"), Ok(Verb::Lock));
        assert_eq!(verb(Kind::Scenario, "on"), Ok(Verb::Activate));
        assert_eq!(verb(Kind::Scenario, "OFF"), Ok(Verb::Release));
        assert_eq!(verb(Kind::Scenario, "Drill"), Ok(Verb::Drill));
        for word in [
            "UNLOCKED",
            "ON",
            "DRILL",
            "OPEN",
            "1",
            "true",
            "UNLOCK DOOR",
            "\u{feff}UNLOCK",
            "[]",
            "\"UNLOCK\"",
        ] {
            assert!(verb(Kind::Door, word).unwrap_err().contains("allowed are LOCK or UNLOCK"), "{word:?}");
        }
        assert!(verb(Kind::Scenario, "UNLOCK").is_err());
        assert_eq!(
            verb(Kind::Door, " ").unwrap_err(),
            "the command is empty; allowed are LOCK or UNLOCK, or JSON"
        );
    }

    #[test]
    fn json_commands_carry_id_time_and_sender() {
        let order = Order::read(
            Kind::Door,
            br#"{"action": "unlock", "id": "a1", "issued_at": 1764100000.25, "code": null, "by": "desk"}"#,
        )
        .unwrap();
        assert_eq!(order.id.as_deref(), Some("a1"));
        assert_eq!(order.by.as_deref(), Some("desk"));
        assert_eq!(order.issued_at.unwrap().as_millisecond(), 1_764_100_000_250);
        let text = r#"{"action":"OFF","issued_at":"2026-11-25T20:00:00+01:00"}"#;
        assert_eq!(
            Order::read(Kind::Scenario, text.as_bytes()).unwrap().issued_at.unwrap().to_string(),
            "2026-11-25T19:00:00Z"
        );
    }

    #[test]
    fn a_code_is_a_text_or_a_whole_number_and_is_never_told() {
        let read = |code: &str| {
            Order::read(Kind::Door, format!("{{\"action\":\"unlock\",\"code\":{code}}}").as_bytes())
        };
        let code = |text: &str| read(text).unwrap().code.map(|code| code.expose().to_owned());
        assert_eq!(code("\"0123\"").as_deref(), Some("0123"));
        assert_eq!(code("\"pass wörd\"").as_deref(), Some("pass wörd"));
        assert_eq!(code("4711").as_deref(), Some("4711"));
        assert_eq!(code("\"\""), None, "what a template makes of no code");
        assert_eq!(code("null"), None);
        let long = format!("\"{}\"", "7".repeat(65));
        for wrong in ["-4711", "4711.5", "1e400", "true", "[4711]", "{\"4711\":4711}", &long] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(!error.contains("471") && !error.contains("777"), "{error}");
        }
        assert!(!format!("{:?}", read("\"4711\"").unwrap()).contains("4711"));
        for word in ["4711", "UNLOCK 4711", "{\"action\":\"4711\"}"] {
            assert!(!verb(Kind::Door, word).unwrap_err().contains("4711"), "{word}");
        }
    }

    #[test]
    fn an_unlock_names_one_person_by_one_id_and_what_is_wrong_is_never_told() {
        let read = |action: &str, user: &str| {
            Order::read(Kind::Door, format!("{{\"action\":\"{action}\",\"as\":{user}}}").as_bytes())
        };
        let user = |text: &str| read("unlock", text).unwrap().user.unwrap();
        assert_eq!(user(r#"{"user_id":"c366b9e6-cd83"}"#), User::Id("c366b9e6-cd83".to_owned()));
        assert_eq!(user(r#"{"external_id":"Än 7/#\"+"}"#), User::External("Än 7/#\"+".to_owned()));
        assert_eq!(user(r#"{"external_id":null,"user_id":"a"}"#), User::Id("a".to_owned()));
        let long = |count| format!("{{\"external_id\":\"{}\"}}", "ä".repeat(count));
        assert_eq!(user(&long(128)).name().chars().count(), 128);
        let long_id = format!("{{\"user_id\":\"{}\"}}", "a".repeat(65));
        for wrong in [
            "null",
            "true",
            "7",
            "\"Anneke\"",
            "[\"Anneke\"]",
            "{}",
            r#"{"user_id":null}"#,
            r#"{"user_id":""}"#,
            r#"{"user_id":7}"#,
            r#"{"user_id":"Anneke Visser"}"#,
            r#"{"user_id":"a/b"}"#,
            &long_id,
            r#"{"external_id":""}"#,
            r#"{"external_id":" "}"#,
            r#"{"external_id":"Anneke\u0000"}"#,
            &long(129),
            r#"{"user_id":"Anneke","external_id":"Anneke"}"#,
            r#"{"user_id":"Anneke","user_id":"Bo"}"#,
            r#"{"email":"Anneke@example.org"}"#,
            r#"{"user_id":"Anneke","more":1}"#,
        ] {
            let error = read("unlock", wrong).expect_err(wrong).to_string();
            assert!(
                error.starts_with("member as must be an object that names one person"),
                "{wrong}: {error}"
            );
            assert!(!error.contains("Anneke") && !error.contains("email"), "{error}");
        }
        let anneke = r#"{"user_id":"Anneke"}"#;
        let error = read("lock", anneke).unwrap_err().to_string();
        assert_eq!(error, "member as goes with unlock alone: it says in whose name a door is unlocked");
        for action in ["ON", "OFF", "DRILL"] {
            let command = format!("{{\"action\":\"{action}\",\"as\":{anneke}}}");
            let error = Order::read(Kind::Scenario, command.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("member as goes with unlock alone"), "{error}");
        }
        let malformed = Order::read(Kind::Door, br#"{"action":"unlock","id":"a1","as":null}"#).unwrap_err();
        assert_eq!(malformed.id.as_deref(), Some("a1"), "the sender finds the answer");
        assert!(!format!("{:?}", read("unlock", anneke).unwrap()).contains("Anneke"));
    }

    #[test]
    fn wrong_json_is_refused_with_what_is_allowed() {
        for (payload, part) in [
            (r#"{"action":"unlock","colour":1}"#, "unknown field `colour`, expected one of"),
            (r#"{"action":"unlock","action":"lock"}"#, "duplicate field `action`"),
            (r#"{"id":"x"}"#, "missing field `action`"),
            (r#"{"action":"unlock","issued_at":"yesterday"}"#, "expected a time as Unix seconds"),
            (
                r#"{"action":"unlock","issued_at":1e300}"#,
                "invalid value: floating point, expected a time as Unix seconds",
            ),
            (r#"{"action":"unlock","by":7}"#, "invalid type: integer, expected a string at line 1"),
            (r#"{"action":"unlock","c0de":1}"#, "unknown field, expected one of `action`"),
            (r#"{"action":"unlock","id":""}"#, "member id must have 1 to 128 characters"),
            (r#"{"action":"unlock"} {}"#, "trailing characters"),
            ("{", "EOF"),
            ("{\"a\\nb\\u001b[31m\":1}", "unknown field, expected one of `action`"),
        ] {
            let error = verb(Kind::Door, payload).unwrap_err();
            assert!(error.contains(part), "{payload}: {error}");
        }
        let malformed = Order::read(Kind::Door, br#"{"action":"open","id":"a1"}"#).unwrap_err();
        assert_eq!(malformed.id.as_deref(), Some("a1"), "the sender finds the answer");
        let long = verb(Kind::Door, &format!("{{\"{}\":1}}", "x".repeat(4000))).unwrap_err();
        assert!(long.len() < 500, "{long}");
        let deep = format!("{{\"action\":{}", "[".repeat(4000));
        assert!(verb(Kind::Door, &deep).is_err());
        assert!(Order::read(Kind::Door, &[b'x'; 5000]).unwrap_err().to_string().contains("allowed are 4096"));
        assert!(Order::read(Kind::Door, &[0xff, 0xfe]).is_err());
    }

    proptest! {
        #[test]
        fn no_payload_panics_and_only_documented_words_pass(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(order) = Order::read(Kind::Door, &payload) {
                prop_assert!(matches!(order.verb, Verb::Lock | Verb::Unlock));
            }
        }
    }
}
