//! Entity ids that are unique and stay: the first name decides, later names change nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::hass::name;

/// Slugs that were given out, in this run or an earlier one.
#[derive(Debug, Default)]
pub(super) struct Slugs {
    of: BTreeMap<String, String>,
    taken: BTreeSet<String>,
}

impl Slugs {
    /// Those that an earlier run gave out.
    pub(super) fn remembered(of: BTreeMap<String, String>) -> Self {
        let taken = of.values().cloned().collect();
        Self { of, taken }
    }

    /// The slug of each object that ever got one.
    pub(super) const fn all(&self) -> &BTreeMap<String, String> {
        &self.of
    }

    /// The slug of the object `id`, made from `name` the first time and kept from then on. Where another object has
    /// it, the beginning of the id is appended, then all of it, then a number.
    pub(super) fn of(&mut self, id: &str, name: &str) -> String {
        if let Some(slug) = self.of.get(id) {
            return slug.clone();
        }
        let short: String =
            id.chars().filter(char::is_ascii_alphanumeric).take(8).collect::<String>().to_ascii_lowercase();
        let stem = name::slug(name).unwrap_or_else(|| format!("verkada_{short}"));
        let full = name::slug(id).unwrap_or_else(|| short.clone());
        let named = [stem.clone(), format!("{stem}_{short}"), format!("{stem}_{full}")].into_iter();
        let numbered = (2..=u32::MAX).map(|number| format!("{stem}_{full}_{number}"));
        let slug = named.chain(numbered).find(|slug| !self.taken.contains(slug)).unwrap_or(full);
        self.taken.insert(slug.clone());
        self.of.insert(id.to_owned(), slug.clone());
        slug
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_get_different_slugs_and_renames_change_nothing() {
        let mut slugs = Slugs::default();
        assert_eq!(slugs.of("aaaa1111-1", "Main"), "main");
        assert_eq!(slugs.of("bbbb2222-1", "Main"), "main_bbbb2222");
        assert_eq!(slugs.of("bbbb2222-2", "Main"), "main_bbbb2222_2");
        assert_eq!(slugs.of("aaaa1111-1", "Side"), "main");
        assert_eq!(slugs.of("cccc", "门"), "verkada_cccc");
        let alike: Vec<_> = ["a-b", "A-B", "a--b", "-a-b", "A-b"].map(|id| slugs.of(id, "Door")).into();
        assert_eq!(alike, ["door", "door_ab", "door_a_b", "door_a_b_2", "door_a_b_3"]);
        let all: BTreeSet<_> = (0..1000).map(|i| slugs.of(&format!("door-{i}"), "Same")).collect();
        assert_eq!(all.len(), 1000);
    }
}
