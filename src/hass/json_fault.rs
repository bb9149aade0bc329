//! What is wrong with a JSON text of somebody, without what he wrote.

/// What is wrong with a JSON text, without a value of it: somebody may have written a code in the wrong place.
pub(super) fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // What is wanted stands last and holds no value.
    let Some((read, wanted)) = text.rsplit_once(", expected ") else { return text };
    let kind = read.split(['"', '`']).next().unwrap_or_default().trim_end();
    let member = read.strip_prefix("unknown field `").and_then(|rest| rest.strip_suffix('`'));
    match member.filter(|member| is_plain(member)) {
        Some(member) => format!("{kind} `{member}`, expected {wanted}"),
        None => format!("{kind}, expected {wanted}"),
    }
}

/// Whether a word cannot hold a code that somebody wrote in the wrong place.
pub(super) fn is_plain(word: &str) -> bool {
    word.len() <= 40 && word.chars().all(|c| c.is_ascii_alphabetic() || c == '_')
}
