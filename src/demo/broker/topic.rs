//! Which topics and filters are valid, and which filter matches which topic (MQTT 5, section 4.7).

/// The prefix of a shared subscription, which this broker refuses.
const SHARED: &str = "$share/";

/// Whether a message may be published to `topic`: not empty, no wildcard, no NUL.
pub(super) fn is_topic(topic: &str) -> bool {
    !topic.is_empty() && !topic.contains(['+', '#', '\0'])
}

/// Whether `filter` is well-formed: wildcards fill a whole level, `#` only the last one.
pub(super) fn is_filter(filter: &str) -> bool {
    !filter.contains('\0') && rumqttc::mqttbytes::valid_filter(filter)
}

/// Whether `filter` asks for a shared subscription.
pub(super) fn is_shared(filter: &str) -> bool {
    filter.starts_with(SHARED)
}

/// Whether `filter` holds a wildcard; without one it matches exactly the topic of the same name.
pub(super) fn has_wildcard(filter: &str) -> bool {
    filter.contains(['+', '#'])
}

/// The part of `filter` that every matching topic starts with.
pub(super) fn literal_prefix(filter: &str) -> &str {
    let end = filter.find(['+', '#']).unwrap_or(filter.len());
    let head = filter.get(..end).unwrap_or_default();
    // `a/#` matches `a` as well.
    head.strip_suffix('/').unwrap_or(head)
}

/// Whether the valid `filter` matches the valid `topic`. Both are compared level by level; a leading wildcard does
/// not match a topic that starts with `$`.
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            Some(_) | None => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        let table = [
            ("a", "a", true),
            ("a", "b", false),
            ("a", "A", false),
            ("a", "/a", false),
            ("/a", "/a", true),
            ("a/b", "a", false),
            ("a", "a/b", false),
            ("a/", "a", false),
            ("+", "a", true),
            ("+", "a/b", false),
            ("+", "/a", false),
            ("+/+", "/a", true),
            ("/+", "/a", true),
            ("a/+", "a", false),
            ("a/+", "a/", true),
            ("a/+", "a/b", true),
            ("a/+", "a/b/c", false),
            ("a/+/c", "a/b/c", true),
            ("a/+/c", "a//c", true),
            ("a/+/c", "a/b/d", false),
            ("#", "a", true),
            ("#", "/", true),
            ("#", "a/b/c", true),
            ("a/#", "a", true),
            ("a/#", "a/", true),
            ("a/#", "a/b/c", true),
            ("a/#", "ab", false),
            ("a/#", "b/a", false),
            ("+/b/#", "a/b", true),
            ("+/b/#", "a/b/c/d", true),
            ("+/b/#", "a/c/b", false),
            ("#", "$SYS/uptime", false),
            ("+/uptime", "$SYS/uptime", false),
            ("+/#", "$SYS/uptime", false),
            ("$SYS/#", "$SYS/uptime", true),
            ("$SYS/+", "$SYS/uptime", true),
            ("$SYS/uptime", "$SYS/uptime", true),
            ("a/#", "a/$b", true),
        ];
        for (filter, topic, expected) in table {
            assert!(is_filter(filter), "{filter}");
            assert!(is_topic(topic), "{topic}");
            assert_eq!(matches(filter, topic), expected, "filter {filter}, topic {topic}");
            if expected {
                assert!(topic.starts_with(literal_prefix(filter)), "prefix of {filter} for {topic}");
            }
        }
    }

    #[test]
    fn malformed_topics_and_filters_are_refused() {
        for topic in ["", "a/+", "#", "a\0b"] {
            assert!(!is_topic(topic), "{topic:?}");
        }
        for filter in ["", "a#", "a/#/b", "#/a", "a+", "+a/b", "a/b+/c", "a\0b"] {
            assert!(!is_filter(filter), "{filter:?}");
        }
    }
}
