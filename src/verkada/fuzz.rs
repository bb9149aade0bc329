//! Any answer or delivery of the vendor: what is read of it is bounded and its own, and only what is signed counts.

#![expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "what fails here is what fuzzing looks for"
)]

use std::{collections::BTreeSet, fmt::Debug, time::Duration};

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use ring::digest;
use serde_json::Value;

use super::{
    fault::{self, Operation},
    webhook::{MAX_PUSHES, Refusal, Taken, WebhookReceiver},
    wire,
};
use crate::{
    clock, hass,
    model::{Fault, Inventory, Now, Privacy, Trace},
};

/// The longest text that is kept of anything, in characters.
const MAX_TEXT_CHARS: usize = 255;
/// The longest sentence about what was left out, in characters.
const MAX_SENTENCE_CHARS: usize = 300;
/// The longest sentence about a failed call, in characters.
const MAX_TRACE_CHARS: usize = 1500;

/// `data` is the body of any of the lists, and of the answers to writes.
pub fn lists(data: &[u8]) {
    let value: Option<Value> = serde_json::from_slice(data).ok();
    let count = |name: &str| value.as_ref().and_then(|value| Some(value.get(name)?.as_array()?.len()));
    if let Ok(list) = wire::doors(data) {
        check(&list, count("doors"), |door| door.id.to_string());
        assert!(count("doors").is_none_or(|count| list.items.len() + list.skipped.len() <= count));
        for door in &list.items {
            let controller = door.controller.as_ref().and_then(|controller| controller.name.as_ref());
            let site = door.site.as_ref().and_then(|site| site.name.as_ref());
            are_short([door.name.as_ref(), door.time_zone.as_ref(), site, controller]);
        }
    }
    if let Ok(list) = wire::scenarios(data) {
        check(&list, count("scenarios"), |scenario| scenario.id.to_string());
        for scenario in &list.items {
            are_short([scenario.name.as_ref(), scenario.kind.as_ref(), scenario.message.as_ref()]);
        }
    }
    if let Ok(list) = wire::access_levels(data) {
        check(&list, count("access_levels"), |level| level.id.to_string());
    }
    if let Ok(list) = wire::access_groups(data) {
        check(&list, count("access_groups"), |group| group.id.to_string());
    }
    if let Ok(list) = wire::calendars(data) {
        check(&list, count("door_exception_calendars"), |calendar| calendar.id.to_string());
        list.items.iter().flat_map(|calendar| &calendar.exceptions).for_each(comes_back);
    }
    if let Ok((_, exception)) = wire::exception(data) {
        comes_back(&exception);
    }
    if let Ok(token) = wire::token(data) {
        assert!(!token.is_empty());
    }
    if let wire::UnlockBody::Fits(Some(lasts)) = wire::unlock(data, &"d-1".parse().unwrap()) {
        assert!((Duration::from_secs(1)..=Duration::from_mins(1)).contains(&lasts));
    }
}

/// What is read of an exception and written again is read as the same: no write changes what it does not mean to.
fn comes_back(exception: &crate::model::Exception) {
    let body = wire::exception_body(Some(&"c".parse().unwrap()), exception).to_string();
    let again = wire::exception(body.as_bytes()).map(|(_, exception)| exception);
    assert_eq!(again.as_ref(), Ok(exception));
}

fn check<T: Debug>(list: &Inventory<T>, count: Option<usize>, id: impl Fn(&T) -> String) {
    let ids: BTreeSet<_> = list.items.iter().map(&id).collect();
    assert_eq!(ids.len(), list.items.len(), "an id is there twice");
    assert!(ids.iter().all(|id| is_id(id)));
    assert!(count.is_none_or(|count| list.items.len() <= count));
    list.skipped.iter().for_each(|sentence| is_sentence(sentence, MAX_SENTENCE_CHARS));
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn are_short<const N: usize>(texts: [Option<&String>; N]) {
    assert!(texts.into_iter().flatten().all(|text| text.chars().count() <= MAX_TEXT_CHARS));
}

fn is_sentence(text: &str, most: usize) {
    assert!(!text.contains(char::is_control) && text.chars().count() <= most, "{text:?}");
}

/// `data` is one page of access events.
pub fn events(data: &[u8]) {
    let Ok(page) = wire::events(data, Privacy::Full) else {
        assert!(wire::events(data, Privacy::None).is_err());
        return;
    };
    page.skipped.iter().for_each(|sentence| is_sentence(sentence, MAX_SENTENCE_CHARS));
    let mut nobody = wire::events(data, Privacy::None).unwrap();
    assert!(nobody.events.iter().all(|event| event.person.is_none()));
    for (event, of_nobody) in page.events.iter().zip(&mut nobody.events) {
        assert!(is_id(event.id.as_str()));
        assert!(event.door.as_ref().is_none_or(|door| is_id(door.as_str())));
        are_short([Some(&event.word), event.direction.as_ref(), event.message.as_ref()]);
        let told = hass::event::payload(event).to_string();
        assert!(serde_json::from_str::<Value>(&told).is_ok() && !told.contains('\n'), "{told}");
        of_nobody.person.clone_from(&event.person);
    }
    assert_eq!(page, nobody, "but for people, privacy changes nothing");
}

/// What the vendor must not make us say.
const SECRET: &str = "canary";

/// `data` is a status byte, the value of `Retry-After` and of other headers up to a line feed, and a body.
pub fn retry_after(data: &[u8]) {
    const STATUSES: [u16; 16] =
        [200, 201, 301, 308, 400, 401, 403, 404, 408, 409, 429, 499, 500, 503, 599, 700];
    let Some((&status, rest)) = data.split_first() else { return };
    let at = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (value, body) = rest.split_at(at);
    let Ok(header) = HeaderValue::from_bytes(value) else { return };
    let status = STATUSES.iter().cycle().nth(usize::from(status)).copied().unwrap_or(429);
    let mut headers = HeaderMap::new();
    headers.insert(RETRY_AFTER, header.clone());
    if status & 1 == 0 {
        headers.insert(CONTENT_TYPE, header);
    }
    for operation in [Operation::Doors, Operation::Unlock, Operation::UnlockAs, Operation::Token] {
        let blot = |text: String| text.replace(SECRET, "[secret]");
        let judged = fault::classify(operation, status, &headers, (body, blot), now().utc);
        let Some(fault) = judged else {
            assert_eq!(status, 200);
            continue;
        };
        let Trace { text, .. } = fault.trace();
        is_sentence(text, MAX_TRACE_CHARS);
        assert!(!text.contains(SECRET), "{text}");
        if let Fault::RateLimited { after, .. } = &fault {
            assert_eq!(status, 429);
            assert_eq!(*after, wanted(value, *after));
        }
    }
}

/// How long to wait by a value of digits alone; of any other, only that it is within bounds.
fn wanted(value: &[u8], read: Option<Duration>) -> Option<Duration> {
    let text = value.trim_ascii();
    if !text.is_empty() && text.iter().all(u8::is_ascii_digit) {
        let seconds = text.iter().fold(0_u64, |sum, digit| (sum * 10 + u64::from(digit - b'0')).min(300));
        return Some(Duration::from_secs(seconds.max(1)));
    }
    read.filter(|after| (Duration::from_secs(1)..=Duration::from_mins(5)).contains(after))
}

/// Both clocks: that of people stands still.
fn now() -> Now {
    Now { utc: Timestamp::from_second(NOW).unwrap(), ..clock::now() }
}

const NOW: i64 = 1_764_072_000;
const KEY: &[u8] = b"key of the webhooks";

/// `data` is a byte of circumstances, the header up to a line feed, and the body. In some circumstances the header is the
/// right one for the body, or that with one bit changed.
pub fn webhook(data: &[u8]) {
    let Some((&circumstances, rest)) = data.split_first() else { return };
    let at = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (given, body) = (rest.get(..at).unwrap_or_default(), rest.get(at + 1..).unwrap_or_default());
    let mut header = given.to_vec();
    if circumstances & 1 == 1 {
        let time = i64::from_be_bytes([0, 0, 0, 0, 0, 0, 0, circumstances >> 2]) - 40 + NOW;
        header = [time.to_string().as_bytes(), b"|", hexadecimal(&hmac(body, &time.to_string())).as_bytes()]
            .concat();
        if circumstances & 2 == 2 {
            let bit = given.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31) + usize::from(*byte));
            let length = header.len();
            if let Some(byte) = header.get_mut(bit / 8 % length) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }
    let signed = is_signed(&header, body);
    let mut receiver = WebhookReceiver::new(
        &["another key".into(), str::from_utf8(KEY).unwrap().into()],
        None,
        Privacy::Full,
    );
    let mut pushed = 0;
    for turn in 0..2 {
        let taken = receiver.look([header.as_slice()], now()).and_then(|signature| {
            receiver.take(&signature, body, now(), |pushes| {
                assert!(signed && turn == 0 && (1..=MAX_PUSHES).contains(&pushes.len()));
                pushed += pushes.len();
                true
            })
        });
        match taken {
            Ok(Taken::Replayed) => assert!(signed && turn == 1),
            Ok(Taken::Accepted | Taken::Ignored | Taken::Foreign) => assert!(signed && turn == 0),
            Err(Refusal::Body) => assert!(signed && pushed == 0),
            Err(refusal) => assert!(!signed, "{refusal:?} although it is signed"),
        }
    }
}

/// Whether a header is the vendor's for a body: by the words of its documentation, and with an HMAC of our own.
fn is_signed(header: &[u8], body: &[u8]) -> bool {
    let Ok(header) = str::from_utf8(header) else { return false };
    let Some((time, tag)) = header.split_once('|') else { return false };
    if time.is_empty() || !time.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let near = time.parse::<i64>().is_ok_and(|time| (NOW - 300..=NOW + 30).contains(&time));
    near && time.len() <= 16 && tag.eq_ignore_ascii_case(&hexadecimal(&hmac(body, time)))
}

/// HMAC-SHA256 after RFC 2104 over what the vendor signs.
fn hmac(body: &[u8], time: &str) -> Vec<u8> {
    let pad = |with: u8| (0..64).map(move |at| KEY.get(at).unwrap_or(&0) ^ with).collect::<Vec<_>>();
    let hash = |parts: &[&[u8]]| digest::digest(&digest::SHA256, &parts.concat()).as_ref().to_vec();
    hash(&[&pad(0x5c), &hash(&[&pad(0x36), body, b"|", time.as_bytes()])])
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}
