//! Who signed a delivery, and when (`verkada-api.md` 8.2).

use std::fmt;

use jiff::Timestamp;
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};

use super::Refusal;

/// The header that holds the signature: `<Unix seconds>|<64 hex digits>`.
pub const HEADER: &str = "verkada-signature";

/// How old a signature may be: the vendor may send a delivery again without signing it anew.
const BACK_SECONDS: i64 = 300;
/// How far ahead of our clock the vendor's may be.
const AHEAD_SECONDS: i64 = 30;

/// The length of an HMAC-SHA256, in bytes.
const TAG_BYTES: usize = 32;
/// More digits than any time in seconds has.
const MAX_TIME_DIGITS: usize = 16;

/// A header that is well-formed; it proves nothing before it is verified.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature {
    /// As it was sent, since this text is signed.
    time: String,
    seconds: i64,
    tag: [u8; TAG_BYTES],
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signature").field("seconds", &self.seconds).finish_non_exhaustive()
    }
}

impl Signature {
    /// Reads the values of the header, of which there must be exactly one.
    pub(super) fn read<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, Refusal> {
        let mut values = values.into_iter();
        let value = values.next().ok_or(Refusal::Unsigned)?;
        if values.next().is_some() {
            return Err(Refusal::Header);
        }
        str::from_utf8(value).ok().and_then(Self::parse).ok_or(Refusal::Header)
    }

    fn parse(value: &str) -> Option<Self> {
        let (time, hex) = value.split_once('|')?;
        let digits = (1..=MAX_TIME_DIGITS).contains(&time.len()) && time.bytes().all(|b| b.is_ascii_digit());
        let seconds = digits.then(|| time.parse().ok()).flatten()?;
        Some(Self { time: time.to_owned(), seconds, tag: tag(hex)? })
    }

    /// Whether its time is near enough to `now`, both bounds included.
    pub(super) fn check_window(&self, now: Timestamp) -> Result<(), Refusal> {
        let age = now.as_second().saturating_sub(self.seconds);
        if age > BACK_SECONDS {
            Err(Refusal::Stale)
        } else if age < -AHEAD_SECONDS {
            Err(Refusal::Ahead)
        } else {
            Ok(())
        }
    }

    /// The oldest time in seconds that [`Self::check_window`] lets pass at `now`.
    pub(super) fn oldest(now: Timestamp) -> i64 {
        now.as_second().saturating_sub(BACK_SECONDS)
    }

    /// What tells one signature from another: its time, and the tag.
    pub(super) const fn key(&self) -> (i64, [u8; TAG_BYTES]) {
        (self.seconds, self.tag)
    }
}

/// Reads 64 hex digits in either case.
fn tag(hex: &str) -> Option<[u8; TAG_BYTES]> {
    let mut tag = [0; TAG_BYTES];
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if pairs.len() != TAG_BYTES || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in tag.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(tag)
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The secrets; `Debug` shows none.
pub(super) struct Keyring(Vec<hmac::Key>);

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("keys", &self.0.len()).finish()
    }
}

impl Keyring {
    pub(super) fn new(secrets: &[SecretString]) -> Self {
        let key =
            |secret: &SecretString| hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        Self(secrets.iter().map(key).collect())
    }

    /// Whether `signature` was made over these raw bytes with one of the secrets. All are tried in constant time, so
    /// that how long it takes does not tell which one fits.
    pub(super) fn verify(&self, signature: &Signature, body: &[u8]) -> Result<(), Refusal> {
        let message = [body, b"|", signature.time.as_bytes()].concat();
        let fitting = self.0.iter().filter(|key| hmac::verify(key, &message, &signature.tag).is_ok()).count();
        if fitting == 0 { Err(Refusal::Signature) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    const TAG: &str = "720bfa3560495ef9c5645af3321d40a4e1528ba3ea69d31199ae96ceb2377653";

    #[derive(Deserialize)]
    struct Vectors {
        vectors: Vec<Vector>,
    }

    #[derive(Deserialize)]
    struct Vector {
        name: String,
        secret: String,
        raw_body: String,
        header_value: String,
        now: i64,
        valid: bool,
    }

    impl Vector {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(self.now).unwrap()
        }
    }

    fn check(vector: &Vector, secrets: &[SecretString]) -> Result<(), Refusal> {
        let signature = Signature::read([vector.header_value.as_bytes()])?;
        signature.check_window(vector.now())?;
        Keyring::new(secrets).verify(&signature, vector.raw_body.as_bytes())
    }

    #[test]
    fn every_vector_gives_what_it_says() {
        let text = include_str!("../../../tests/fixtures/webhook-signature-vectors.json");
        let vectors = serde_json::from_str::<Vectors>(text).unwrap().vectors;
        let mut outcomes = Vec::new();
        for vector in &vectors {
            let (own, other) = (vector.secret.as_str().into(), "other".into());
            let outcome = check(vector, &[own]);
            assert_eq!(outcome.is_ok(), vector.valid, "{}", vector.name);
            let (own, another): (SecretString, SecretString) = (vector.secret.as_str().into(), other);
            assert_eq!(check(vector, &[another.clone(), own.clone()]), outcome, "{}", vector.name);
            assert_eq!(check(vector, &[own, another.clone()]), outcome, "{}", vector.name);
            assert!(check(vector, &[another]).is_err(), "{}", vector.name);
            assert!(check(vector, &[]).is_err(), "{}", vector.name);
            outcomes.push((vector.name.as_str(), outcome.map_or_else(Refusal::word, |()| "good")));
        }
        let expected = [
            ("good", "good"),
            ("good-non-ascii", "good"),
            ("good-at-tolerance", "good"),
            ("stale", "stale"),
            ("future", "ahead"),
            ("wrong-secret", "signature"),
            ("body-only-digest", "signature"),
            ("timestamp-first-digest", "signature"),
            ("changed-timestamp", "signature"),
            ("reserialised-body", "signature"),
            ("no-pipe", "header"),
            ("empty-digest", "header"),
            ("not-a-number", "header"),
        ];
        assert_eq!(outcomes, expected);
    }

    #[test]
    fn the_window_is_exact_at_both_ends() {
        let signature = Signature::read([format!("1000|{TAG}").as_bytes()]).unwrap();
        let at = |seconds| signature.check_window(Timestamp::from_second(seconds).unwrap());
        assert_eq!((at(1300), at(1301)), (Ok(()), Err(Refusal::Stale)));
        assert_eq!((at(970), at(969)), (Ok(()), Err(Refusal::Ahead)));
    }

    #[test]
    fn odd_headers_are_told_from_missing_ones() {
        let read = |values: &[&str]| Signature::read(values.iter().map(|value| value.as_bytes())).map(|_| ());
        let good = format!("1000|{TAG}");
        assert_eq!(read(&[&good]), Ok(()));
        assert_eq!(read(&[&good.to_uppercase()]), Ok(()));
        assert_eq!(read(&[]), Err(Refusal::Unsigned));
        assert_eq!(read(&[&good, &good]), Err(Refusal::Header));
        for odd in [
            String::new(),
            "|".to_owned(),
            TAG.to_owned(),
            format!("|{TAG}"),
            format!("+1|{TAG}"),
            format!("-1|{TAG}"),
            format!("1.5|{TAG}"),
            format!(" 1|{TAG}"),
            format!("99999999999999999999|{TAG}"),
            format!("1000|{TAG}|{TAG}"),
            format!("1000|{TAG}0"),
            format!("1000|{TAG}00"),
            format!("1000|{}", TAG.get(1..).unwrap()),
            format!("1000|{}", TAG.replace('7', "g")),
            format!("1000|{}", TAG.replace("72", "+7")),
            "1000|é".to_owned(),
        ] {
            assert_eq!(read(&[&odd]), Err(Refusal::Header), "{odd}");
        }
    }

    #[test]
    fn nothing_of_a_secret_is_shown() {
        let secret: SecretString = "canary-secret".into();
        let signature = Signature::read([format!("1000|{TAG}").as_bytes()]).unwrap();
        let shown = format!("{:?} {signature:?}", Keyring::new(&[secret]));
        assert!(!shown.contains("canary") && !shown.contains(TAG.get(..8).unwrap()), "{shown}");
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(value in proptest::collection::vec(any::<u8>(), 0..100), digits in "[0-9]{0,22}", hex in "[0-9a-fA-F]{62,66}") {
            for value in [value.clone(), [digits.as_bytes(), b"|", hex.as_bytes()].concat(), [digits.as_bytes(), b"|", &value].concat()] {
                if let Ok(signature) = Signature::read([value.as_slice()]) {
                    for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
                        prop_assert!(signature.check_window(now).is_err() || signature.seconds.abs_diff(now.as_second()) <= 300);
                    }
                }
            }
        }

        #[test]
        fn one_changed_bit_is_refused(body in proptest::collection::vec(any::<u8>(), 1..200), bit in any::<proptest::sample::Index>()) {
            let secret: SecretString = "secret".into();
            let header = crate::simulator::webhook::signature(b"secret", &body, 1000);
            let signature = Signature::read([header.as_bytes()]).unwrap();
            let keyring = Keyring::new(&[secret]);
            prop_assert_eq!(keyring.verify(&signature, &body), Ok(()));
            let mut changed = body.clone();
            let bit = bit.index(body.len() * 8);
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(keyring.verify(&signature, &changed), Err(Refusal::Signature));
        }
    }
}
