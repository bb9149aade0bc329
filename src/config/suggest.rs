//! Finds the word that was most likely meant.

/// The candidate nearest to `word`, if one is near enough to be worth asking about.
pub(super) fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let word: Vec<char> = word.chars().take(128).collect();
    let limit = if word.len() < 2 { 0 } else { (word.len() / 3).clamp(1, 3) };
    candidates
        .map(|candidate| (distance(&word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be put in, left out or changed to make one word of the other.
fn distance(a: &[char], b: &str) -> usize {
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (i, b) in b.chars().enumerate() {
        let mut left = i.saturating_add(1);
        let mut next = vec![left];
        for (a, (above_left, above)) in a.iter().zip(row.iter().zip(row.iter().skip(1))) {
            let change = above_left.saturating_add(usize::from(!a.eq_ignore_ascii_case(&b)));
            left = change.min(above.saturating_add(1)).min(left.saturating_add(1));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_word_that_was_meant() {
        let keys = ["url", "protocol", "client_id", "base_topic"];
        let meant = |word| nearest(word, keys.into_iter());
        assert_eq!(meant("protocoll"), Some("protocol"));
        assert_eq!(meant("clientid"), Some("client_id"));
        assert_eq!(meant("base-topic"), Some("base_topic"));
        assert_eq!(meant("uri"), Some("url"));
        assert_eq!(meant("zone"), None);
        assert_eq!(meant(""), None);
        assert_eq!(nearest("4", ["5"].into_iter()), None);
    }

    #[test]
    fn counts_letters() {
        let count = |a: &str, b| distance(&a.chars().collect::<Vec<_>>(), b);
        assert_eq!(count("kitten", "sitting"), 3);
        assert_eq!(count("", "abc"), 3);
        assert_eq!(count("abc", ""), 3);
        assert_eq!(count("URL", "url"), 0);
    }
}
