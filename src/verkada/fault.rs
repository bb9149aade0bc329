//! Says what an answer of the vendor means: one pure function from status, headers and body to a [`Fault`].

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimeParser};
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, LOCATION, RETRY_AFTER};
use serde::Deserialize;
use url::Url;

use crate::model::{Fault, Request, Trace};

/// The longest vendor text that is quoted, in characters.
const QUOTE_CHARS: usize = 200;
/// How much of an HTML page is quoted, in characters.
const HTML_QUOTE_CHARS: usize = 80;
/// The causes of a refused key, told together because the vendor answers all of them alike (`verkada-api.md` 3.1).
const KEY_HINT: &str = "the API key may be wrong, expired, without this permission, or of another region than the base URL \
     (known: us https://api.verkada.com, eu https://api.eu.verkada.com, au https://api.au.verkada.com, \
     gov https://api.verkadagov.com)";
/// The same where the permission is another than for the rest of the gateway.
const MANAGEMENT_HINT: &str = "check that the key has Door Access Management for all sites involved, which it needs beside Access \
     Control; it may also be wrong, expired, or of another region than the base URL";

/// What to do about a user without access.
const NO_ACCESS_HINT: &str = "no access level lets this user through this door now; look at the user's groups, at their \
     levels and at the hours of these";

/// What is asked of the vendor, by the words used in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// `POST /token`.
    Token,
    /// The list of doors.
    Doors,
    /// The list of scenarios.
    Scenarios,
    /// One page of access events.
    Events,
    /// The list of exception calendars.
    Calendars,
    /// The list of access levels.
    AccessLevels,
    /// The list of access groups.
    AccessGroups,
    /// An unlock.
    Unlock,
    /// An unlock in the name of a user.
    UnlockAs,
    /// A new calendar.
    CreateCalendar,
    /// A calendar written as a whole.
    WriteCalendar,
    /// A new exception of a calendar.
    CreateException,
    /// An exception written anew.
    WriteException,
    /// An exception taken out of its calendar.
    DeleteException,
    /// The start of a scenario.
    Activate,
    /// The end of a scenario.
    Release,
    /// A read on the line for acts.
    Drill,
}

impl Operation {
    /// The operation a request belongs to.
    pub(super) const fn of(request: &Request) -> Self {
        match request {
            Request::ListDoors => Self::Doors,
            Request::ListScenarios => Self::Scenarios,
            Request::ReadEvents { .. } => Self::Events,
            Request::ListCalendars => Self::Calendars,
            Request::ListAccessLevels => Self::AccessLevels,
            Request::ListAccessGroups => Self::AccessGroups,
            Request::Unlock { .. } => Self::Unlock,
            Request::UnlockAs { .. } => Self::UnlockAs,
            Request::CreateCalendar(_) => Self::CreateCalendar,
            Request::WriteCalendar { .. } => Self::WriteCalendar,
            Request::CreateException { .. } => Self::CreateException,
            Request::WriteException { .. } => Self::WriteException,
            Request::DeleteException { .. } => Self::DeleteException,
            Request::Activate { .. } => Self::Activate,
            Request::Release { .. } => Self::Release,
            Request::Drill => Self::Drill,
        }
    }

    /// Whether it goes over the line for acts: what changes something in the real world, and the drill, which does not.
    pub(super) const fn uses_line(self) -> bool {
        match self {
            Self::Unlock
            | Self::UnlockAs
            | Self::CreateCalendar
            | Self::WriteCalendar
            | Self::CreateException
            | Self::WriteException
            | Self::DeleteException
            | Self::Activate
            | Self::Release
            | Self::Drill => true,
            Self::Token
            | Self::Doors
            | Self::Scenarios
            | Self::Events
            | Self::Calendars
            | Self::AccessLevels
            | Self::AccessGroups => false,
        }
    }

    /// Whether the body of a good answer on the line for acts is wanted whole; of the others the status line is the proof.
    pub(super) const fn wants_body(self) -> bool {
        match self {
            Self::CreateCalendar
            | Self::WriteCalendar
            | Self::CreateException
            | Self::WriteException
            | Self::Drill => true,
            Self::Token
            | Self::Doors
            | Self::Scenarios
            | Self::Events
            | Self::Calendars
            | Self::AccessLevels
            | Self::AccessGroups
            | Self::Unlock
            | Self::UnlockAs
            | Self::DeleteException
            | Self::Activate
            | Self::Release => false,
        }
    }

    /// The operation in words.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Token => "get token",
            Self::Doors => "list doors",
            Self::Scenarios => "list scenarios",
            Self::Events => "read events",
            Self::Calendars => "list calendars",
            Self::AccessLevels => "list access levels",
            Self::AccessGroups => "list access groups",
            Self::Unlock => "unlock",
            Self::UnlockAs => "unlock as a user",
            Self::CreateCalendar => "create calendar",
            Self::WriteCalendar => "write calendar",
            Self::CreateException => "create exception",
            Self::WriteException => "write exception",
            Self::DeleteException => "delete exception",
            Self::Activate => "activate",
            Self::Release => "release",
            Self::Drill => "drill (list scenarios)",
        }
    }

    /// The operation as a label of a metric.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Doors => "doors",
            Self::Scenarios => "scenarios",
            Self::Events => "events",
            Self::Calendars => "calendars",
            Self::AccessLevels => "access_levels",
            Self::AccessGroups => "access_groups",
            Self::Unlock => "unlock",
            Self::UnlockAs => "unlock_as",
            Self::CreateCalendar => "create_calendar",
            Self::WriteCalendar => "write_calendar",
            Self::CreateException => "create_exception",
            Self::WriteException => "write_exception",
            Self::DeleteException => "delete_exception",
            Self::Activate => "activate",
            Self::Release => "release",
            Self::Drill => "drill",
        }
    }

    /// What to look at in the vendor's console when it answers 403 (`verkada-api.md` 3.2, 3.5).
    const fn forbidden_hint(self) -> &'static str {
        match self {
            Self::Unlock => {
                "check that the key has Access Control read/write and that \"Enable Door Management via API\" is on \
                 for the organisation, the site and the door"
            }
            Self::UnlockAs => {
                "either no access level lets this user through this door, or the key may not do it: check the user's \
                 access, that the key has Access Control read/write, and that \"Enable Door Management via API\" is on \
                 for the organisation, the site and the door"
            }
            Self::Calendars
            | Self::AccessLevels
            | Self::CreateCalendar
            | Self::WriteCalendar
            | Self::CreateException
            | Self::WriteException
            | Self::DeleteException => {
                "check that the key has Door Access Management for all sites involved and that \"Enable Door Management \
                 via API\" is on for the organisation, each site and each door involved"
            }
            Self::Activate | Self::Release => {
                "check that the key has Access Control read/write and that \"Enable Lockdown and Scenario Control via \
                 API\" is on for the organisation"
            }
            Self::Doors | Self::Events | Self::AccessGroups => {
                "check that the key has Access Control read, and the base URL"
            }
            Self::Scenarios | Self::Drill => {
                "check that the key has Access Control or Access Scenario Management read, and the base URL"
            }
            Self::Token => KEY_HINT,
        }
    }

    /// What to look at when it answers 404.
    const fn not_found_hint(self) -> &'static str {
        match self {
            Self::Token => KEY_HINT,
            Self::UnlockAs => {
                "most likely it knows no user with this user_id or external_id; or the door is gone"
            }
            Self::Doors
            | Self::Scenarios
            | Self::Events
            | Self::Calendars
            | Self::AccessLevels
            | Self::AccessGroups
            | Self::Unlock
            | Self::CreateCalendar
            | Self::WriteCalendar
            | Self::CreateException
            | Self::WriteException
            | Self::DeleteException
            | Self::Activate
            | Self::Release
            | Self::Drill => "",
        }
    }

    /// What to look at when the vendor refuses key or token (401), which it also does where only a permission is
    /// missing.
    const fn unauthorized_hint(self) -> &'static str {
        match self {
            Self::Calendars
            | Self::AccessLevels
            | Self::CreateCalendar
            | Self::WriteCalendar
            | Self::CreateException
            | Self::WriteException
            | Self::DeleteException => MANAGEMENT_HINT,
            Self::Token
            | Self::Doors
            | Self::Scenarios
            | Self::Events
            | Self::AccessGroups
            | Self::Unlock
            | Self::UnlockAs
            | Self::Activate
            | Self::Release
            | Self::Drill => KEY_HINT,
        }
    }
}

/// Why the token of a request may be at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenDoubt {
    /// The vendor says that the token is over or missing: a new one cures it.
    Expired,
    /// The vendor refuses without saying why: a new token may cure it.
    Refused,
}

/// Says whether an answer puts the token in doubt (`verkada-api.md` 3.6). The words decide before the status: the
/// vendor answers the same cause with 401 or 403.
pub(super) fn token_doubt(status: u16, body: &[u8]) -> Option<TokenDoubt> {
    if !matches!(status, 400 | 401 | 403) {
        return None;
    }
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    match status {
        400 if text.contains("token is required") => Some(TokenDoubt::Expired),
        401 | 403 if text.contains("token expired") => Some(TokenDoubt::Expired),
        401 => Some(TokenDoubt::Refused),
        _ => None,
    }
}

/// What the vendor is believed to say where the user has no access to the door (`verkada-api.md` 5.4, assumed).
const NO_ACCESS: [&str; 3] = ["no permission to unlock", "no access to", "not have access to"];

/// Whether an answer says that the user in whose name it was asked has no access. The words decide, since the status is the
/// same where the key may not ask, or a toggle is off.
fn denies_user(operation: Operation, status: u16, body: &[u8]) -> bool {
    if operation != Operation::UnlockAs || !matches!(status, 400 | 403) {
        return false;
    }
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    NO_ACCESS.iter().any(|words| text.contains(words))
}

/// Says what is wrong with an answer; `None` where it is a 200 that is not HTML. What is quoted of the
/// body goes through `blot` first. `now` is only used to understand a `Retry-After` that is a date.
pub(super) fn classify(
    operation: Operation,
    status: u16,
    headers: &HeaderMap,
    (body, blot): (&[u8], impl Fn(String) -> String),
    now: Timestamp,
) -> Option<Fault> {
    let html = is_html(headers, body);
    if status == 200 && !html {
        return None;
    }
    let said = if html { html_sentence(body, blot) } else { vendor_sentence(body, blot) };
    let trace = |hint: &str| {
        let mut text = format!("{}: the vendor answered {status}", operation.words());
        for part in [said.as_str(), hint] {
            if !part.is_empty() {
                text.push_str("; ");
                text.push_str(part);
            }
        }
        Trace { status: Some(status), text }
    };
    let in_doubt = token_doubt(status, body).is_some();
    Some(match status {
        300..=399 => Fault::Malformed(trace(&redirect_sentence(headers))),
        _ if in_doubt => Fault::Unauthorized(trace(operation.unauthorized_hint())),
        403 if matches!(operation, Operation::Token) => Fault::Unauthorized(trace(KEY_HINT)),
        _ if denies_user(operation, status, body) => Fault::NoAccess(trace(NO_ACCESS_HINT)),
        403 => Fault::Forbidden(trace(operation.forbidden_hint())),
        404 => Fault::NotFound(trace(operation.not_found_hint())),
        408 | 499 => Fault::Unclear(trace("")),
        429 => Fault::RateLimited { after: retry_after(headers, now), trace: trace("") },
        400..=498 => Fault::Rejected(trace("")),
        500..=599 => Fault::Unclear(trace("")),
        200 => Fault::Malformed(trace("")),
        _ => Fault::Malformed(trace("this status is not documented")),
    })
}

/// By how much the vendor's clock is ahead of `now`, as its answer tells.
pub(super) fn clock_skew(headers: &HeaderMap, now: Timestamp) -> Option<SignedDuration> {
    let text = headers.get(DATE)?.to_str().ok()?.trim();
    let date = DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok()?;
    // The date has whole seconds: half of one is the best guess for the rest.
    Some(date.duration_since(now) + SignedDuration::from_millis(500))
}

/// Reads `Retry-After` as seconds or as an HTTP date and clamps it to 1..300 s; nonsense is `None`.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let seconds = if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        // A number that does not fit is as long as it gets.
        text.parse::<i64>().unwrap_or_else(|_| if text.starts_with('-') { 0 } else { i64::MAX })
    } else {
        let date = DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok()?;
        date.as_second().saturating_sub(now.as_second())
    };
    u64::try_from(seconds.clamp(1, 300)).ok().map(Duration::from_secs)
}

/// Whether the answer is a page for people: a portal, a firewall, the web console or a maintenance page.
fn is_html(headers: &HeaderMap, body: &[u8]) -> bool {
    let named = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.to_ascii_lowercase().starts_with("text/html"));
    named || body.trim_ascii_start().starts_with(b"<")
}

fn html_sentence(body: &[u8], blot: impl Fn(String) -> String) -> String {
    let start = quote(&blot(String::from_utf8_lossy(body).into_owned()), HTML_QUOTE_CHARS);
    format!("the answer is HTML: the base URL is wrong or this is a maintenance page; it begins {start}")
}

fn redirect_sentence(headers: &HeaderMap) -> String {
    let target = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    match target.map(Url::parse) {
        Some(Ok(url)) => match url.host_str() {
            Some(host) => {
                format!("it points to host {host}; redirects are never followed, check the base URL")
            }
            None => "it points to no host; redirects are never followed, check the base URL".to_owned(),
        },
        Some(Err(_)) => {
            "it points to another path of this host; redirects are never followed, check the base URL"
                .to_owned()
        }
        None => "it points nowhere; redirects are never followed, check the base URL".to_owned(),
    }
}

/// The `message` of the error envelope, or else the beginning of the body.
fn vendor_sentence(body: &[u8], blot: impl Fn(String) -> String) -> String {
    #[derive(Deserialize)]
    struct Envelope {
        message: String,
    }
    let text = match serde_json::from_slice::<Envelope>(body) {
        Ok(envelope) => envelope.message,
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let text = blot(text);
    if text.trim().is_empty() {
        String::new()
    } else {
        format!("it said {}", quote(text.trim(), QUOTE_CHARS))
    }
}

/// Quotes foreign text: cut, and with everything escaped that could move a terminal or break a line.
fn quote(text: &str, chars: usize) -> String {
    let cut: String = text.chars().take(chars).collect();
    format!("{cut:?}")
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn now() -> Timestamp {
        "2026-09-17T08:00:00Z".parse().unwrap()
    }

    fn as_is(text: String) -> String {
        text
    }

    fn class(fault: Option<&Fault>) -> &'static str {
        match fault {
            None => "fine",
            Some(Fault::NotSent(_)) => "not sent",
            Some(Fault::Unauthorized(_)) => "unauthorized",
            Some(Fault::Forbidden(_)) => "forbidden",
            Some(Fault::NoAccess(_)) => "no access",
            Some(Fault::NotFound(_)) => "not found",
            Some(Fault::Rejected(_)) => "rejected",
            Some(Fault::RateLimited { .. }) => "rate limited",
            Some(Fault::Unclear(_)) => "unclear",
            Some(Fault::Malformed(_)) => "malformed",
        }
    }

    #[test]
    fn every_answer_of_the_documented_table_has_its_class() {
        use Operation::{Doors, Release, Token, Unlock, UnlockAs};
        let denied = r#"{"id":"e162","message":"No Permission to unlock","data":null}"#;
        let expired = r#"{"id":"0e2d","message":"Token expired","data":null}"#;
        let table: &[(Operation, u16, &str, &str, Option<TokenDoubt>)] = &[
            (Doors, 200, r#"{"doors":[]}"#, "fine", None),
            (Doors, 200, "<html>", "malformed", None),
            (Unlock, 204, "", "malformed", None),
            (Doors, 400, r#"{"id":"x","message":"page_size must be at most 200"}"#, "rejected", None),
            (Doors, 400, r#"{"message":"API Token is required"}"#, "unauthorized", Some(TokenDoubt::Expired)),
            (Doors, 401, expired, "unauthorized", Some(TokenDoubt::Expired)),
            (Unlock, 401, r#"{"message":"API token EXPIRED"}"#, "unauthorized", Some(TokenDoubt::Expired)),
            (Unlock, 403, expired, "unauthorized", Some(TokenDoubt::Expired)),
            (
                Doors,
                401,
                r#"{"message":"Failed to authenticate request"}"#,
                "unauthorized",
                Some(TokenDoubt::Refused),
            ),
            (Doors, 401, "", "unauthorized", Some(TokenDoubt::Refused)),
            (Unlock, 403, r#"{"message":"Insufficient permissions"}"#, "forbidden", None),
            // The words tell what the status does not.
            (UnlockAs, 403, denied, "no access", None),
            (UnlockAs, 400, denied, "no access", None),
            (UnlockAs, 403, r#"{"message":"Insufficient permissions"}"#, "forbidden", None),
            (UnlockAs, 403, "", "forbidden", None),
            (UnlockAs, 401, denied, "unauthorized", Some(TokenDoubt::Refused)),
            (UnlockAs, 500, denied, "unclear", None),
            (Unlock, 403, denied, "forbidden", None),
            (Token, 403, r#"{"message":"Insufficient permissions"}"#, "unauthorized", None),
            (Release, 404, r#"{"message":"Not found"}"#, "not found", None),
            (Unlock, 408, "", "unclear", None),
            (Unlock, 409, "", "rejected", None),
            (Unlock, 412, r#"{"message":"Door is offline"}"#, "rejected", None),
            (Unlock, 429, "Too Many Requests", "rate limited", None),
            (Unlock, 500, r#"{"message":"Internal server error"}"#, "unclear", None),
            (Unlock, 502, "<html>", "unclear", None),
            (Doors, 503, "", "unclear", None),
            (Unlock, 504, "", "unclear", None),
            (Doors, 302, "", "malformed", None),
            (Doors, 101, "", "malformed", None),
            (Doors, 777, "", "malformed", None),
        ];
        for (operation, status, body, wanted, doubt) in table {
            let fault = classify(*operation, *status, &HeaderMap::new(), (body.as_bytes(), as_is), now());
            assert_eq!(class(fault.as_ref()), *wanted, "{operation:?} {status} {body}");
            assert_eq!(token_doubt(*status, body.as_bytes()), *doubt, "{operation:?} {status} {body}");
            if let Some(fault) = fault {
                assert_eq!(fault.trace().status, Some(*status));
                assert!(!fault.trace().text.contains('\n'), "{fault}");
            }
        }
    }

    #[test]
    fn texts_name_the_cause_and_the_cure() {
        let text = |operation, status, body: &str| {
            classify(operation, status, &HeaderMap::new(), (body.as_bytes(), as_is), now())
                .unwrap()
                .trace()
                .text
                .clone()
        };
        let unlock = text(Operation::Unlock, 403, r#"{"message":"Insufficient permissions"}"#);
        assert!(unlock.contains("Enable Door Management via API"), "{unlock}");
        assert!(unlock.contains("organisation, the site and the door"), "{unlock}");
        let activate = text(Operation::Activate, 403, "");
        assert!(activate.contains("Enable Lockdown and Scenario Control via API"), "{activate}");
        let token = text(Operation::Token, 401, "");
        for part in ["key", "region", "base URL", "api.eu.verkada.com", "api.verkadagov.com"] {
            assert!(token.contains(part), "{token}");
        }
        let calendar = [
            Operation::Calendars,
            Operation::AccessLevels,
            Operation::CreateCalendar,
            Operation::WriteCalendar,
            Operation::CreateException,
            Operation::WriteException,
            Operation::DeleteException,
        ];
        for operation in calendar {
            let forbidden = text(operation, 403, r#"{"message":"Insufficient permissions"}"#);
            for part in [
                operation.words(),
                "Door Access Management for all sites involved",
                "\"Enable Door Management via API\" is on for the organisation, each site and each door",
            ] {
                assert!(forbidden.contains(part), "{forbidden}");
            }
            let refused = text(operation, 401, r#"{"message":"Failed to authenticate request"}"#);
            assert!(refused.contains("Door Access Management for all sites involved"), "{refused}");
        }
        let denied = text(Operation::UnlockAs, 403, r#"{"message":"No permission to unlock"}"#);
        assert!(denied.contains("no access level lets this user through this door now"), "{denied}");
        assert!(!denied.contains("key"), "{denied}");
        let nobody = text(Operation::UnlockAs, 404, r#"{"message":"Not found"}"#);
        assert!(
            nobody.contains("it knows no user with this user_id or external_id; or the door"),
            "{nobody}"
        );
        assert!(!text(Operation::Unlock, 404, "").contains("user"));
        let user = text(Operation::UnlockAs, 403, r#"{"message":"Insufficient permissions"}"#);
        for part in [
            "no access level lets this user through this door",
            "Access Control read/write",
            "\"Enable Door Management via API\" is on for the organisation, the site and the door",
        ] {
            assert!(user.contains(part), "{user}");
        }
        let html = text(Operation::Doors, 200, &format!("<html>\n\u{1b}[31m{}", "x".repeat(500)));
        assert!(html.contains("the base URL is wrong or this is a maintenance page"), "{html}");
        assert!(html.len() < 250 && !html.contains(['\n', '\u{1b}']), "{html}");
    }

    #[test]
    fn a_redirect_names_only_the_host_it_points_to() {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_static("https://evil.example/take?secret=1"));
        let fault = classify(Operation::Doors, 307, &headers, (b"", as_is), now()).unwrap();
        assert!(fault.trace().text.contains("host evil.example;"), "{fault}");
        assert!(!fault.trace().text.contains("secret"), "{fault}");
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_date_and_clamped() {
        let table = [
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("0", Some(1)),
            ("-5", Some(1)),
            ("300", Some(300)),
            ("1000000000", Some(300)),
            ("99999999999999999999999", Some(300)),
            ("-99999999999999999999999", Some(1)),
            ("Thu, 17 Sep 2026 08:00:20 GMT", Some(20)),
            ("Thu, 17 Sep 2026 07:00:00 GMT", Some(1)),
            ("Thu, 17 Sep 2027 07:00:00 GMT", Some(300)),
            ("1e9", None),
            ("soon", None),
            ("", None),
            ("-", None),
        ];
        for (text, wanted) in table {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            assert_eq!(retry_after(&headers, now()), wanted.map(Duration::from_secs), "{text:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now()), None);
    }
}
