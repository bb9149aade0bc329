//! Looks for secrets in what a program gives out, in every form in which one could get there.

use std::fmt::Write as _;

/// From this length on, in characters, half of a secret is a leak as well.
const HALVED: usize = 24;
/// Shorter texts are in anything by chance.
const SHORTEST: usize = 8;

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const FOR_URLS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The name of a form, and the texts that a secret is written as in it, any of which is a leak.
pub(crate) type Form = (&'static str, fn(&[u8]) -> Vec<String>);

/// Every form that is looked for; upper and lower case are one in all of them.
pub(crate) const FORMS: [Form; 10] = [
    ("as it is", |secret| vec![text(secret)]),
    ("reversed", |secret| vec![text(secret).chars().rev().collect()]),
    ("in hex", |secret| vec![each(secret, |hex, byte| write!(hex, "{byte:02x}"))]),
    ("as a list of bytes", |secret| {
        let list = format!("{secret:?}");
        vec![list.trim_matches(['[', ']']).to_owned()]
    }),
    ("in base64", |secret| base64(secret, STANDARD)),
    ("in base64 for URLs", |secret| base64(secret, FOR_URLS)),
    ("URL-encoded", |secret| {
        vec![each(secret, |url, byte| match char::from(*byte) {
            plain if plain.is_ascii_alphanumeric() || "-._~".contains(plain) => write!(url, "{plain}"),
            _ => write!(url, "%{byte:02x}"),
        })]
    }),
    ("URL-encoded throughout", |secret| vec![each(secret, |url, byte| write!(url, "%{byte:02x}"))]),
    ("JSON-escaped", |secret| {
        let json = serde_json::to_string(&text(secret)).unwrap();
        vec![json.trim_matches('"').to_owned(), text(secret).escape_debug().collect()]
    }),
    ("JSON-escaped throughout", |secret| vec![each(secret, |json, byte| write!(json, "\\u{byte:04x}"))]),
];

/// A secret that nothing may show.
#[derive(Debug, Clone)]
pub(crate) struct Canary {
    name: String,
    needles: Vec<(&'static str, String)>,
}

impl Canary {
    /// Under this name it is told where it is found. Printable ASCII, or bytes that are a secret only where they are encoded.
    pub(crate) fn new(name: &str, secret: impl AsRef<[u8]>) -> Self {
        let secret = secret.as_ref();
        let written = FORMS.iter().flat_map(|(form, write)| {
            let texts = write(secret).into_iter();
            texts.map(|text| (*form, text.to_ascii_lowercase()))
        });
        let parts = written.flat_map(|(form, text)| {
            let halves = text.split_at_checked(text.len() / 2).filter(|_| secret.len() >= HALVED);
            let parts = halves
                .map_or_else(|| vec![text.clone()], |(one, other)| vec![one.to_owned(), other.to_owned()]);
            parts.into_iter().map(move |part| (form, part))
        });
        let needles = parts.filter(|(_, part)| part.len() >= SHORTEST).collect();
        Self { name: name.to_owned(), needles }
    }
}

/// What of the secrets is in some bytes, in words; `place` says where these are from.
pub(crate) fn leaks(canaries: &[Canary], place: &str, bytes: &[u8]) -> Vec<String> {
    let shown = text(bytes).to_ascii_lowercase();
    let found = canaries.iter().flat_map(|canary| canary.needles.iter().map(|needle| (&canary.name, needle)));
    let mut told: Vec<String> = found
        .filter(|(_, (_, part))| shown.contains(part))
        .map(|(name, (form, _))| format!("{name}, {form}, in {place}"))
        .collect();
    told.dedup();
    told
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn each(bytes: &[u8], mut write: impl FnMut(&mut String, &u8) -> std::fmt::Result) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write(&mut text, byte).unwrap();
        text
    })
}

/// What is certain of its base64 wherever it stands in what is encoded: behind none, one or two bytes, and before any.
fn base64(secret: &[u8], alphabet: &[u8; 64]) -> Vec<String> {
    let digits = |before: usize| -> String {
        let bits: Vec<u8> = std::iter::repeat_n(0, before)
            .chain(secret.iter().copied())
            .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
            .collect();
        let whole = bits.chunks_exact(6).skip((before * 8).div_ceil(6));
        whole
            .map(|six| six.iter().fold(0, |digit, bit| digit << 1 | usize::from(*bit)))
            .map(|digit| char::from(alphabet[digit]))
            .collect()
    };
    (0..3).map(digits).collect()
}
