//! Names as people see them, and the slugs that entity ids are made from.

/// The longest name that is shown, in characters.
const MAX_NAME_CHARS: usize = 255;
/// The longest slug, in characters: an entity id holds 64 beside its domain and our suffix.
const MAX_SLUG_CHARS: usize = 48;

/// Makes a vendor's name fit to show: no control or direction-changing characters, single spaces, a bounded length.
/// `None` where nothing readable is left.
pub fn shown(name: &str) -> Option<String> {
    let clean: String =
        name.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|c| is_readable(*c)).collect();
    let text = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String = text.chars().take(MAX_NAME_CHARS).collect();
    text.chars().any(char::is_alphanumeric).then(|| text.trim_end().to_owned())
}

/// Makes the part of an entity id that Home Assistant would make from the name: lower case ASCII letters and digits,
/// everything else one underscore. `None` where nothing is left.
pub fn slug(name: &str) -> Option<String> {
    let mut slug = String::new();
    for c in name.chars() {
        if slug.len() >= MAX_SLUG_CHARS {
            break;
        }
        match c {
            c if c.is_ascii_alphanumeric() => slug.push(c.to_ascii_lowercase()),
            c => match plain(c) {
                Some(text) => slug.push_str(text),
                None if !slug.is_empty() && !slug.ends_with('_') => slug.push('_'),
                None => {}
            },
        }
    }
    let slug = slug.trim_end_matches('_');
    (!slug.is_empty()).then(|| slug.to_owned())
}

/// Letters of western European languages as Home Assistant transliterates them.
const fn plain(c: char) -> Option<&'static str> {
    Some(match c {
        'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' | 'À' | 'Á' | 'Â' | 'Ã' | 'Ä' | 'Å' => "a",
        'ç' | 'Ç' => "c",
        'è' | 'é' | 'ê' | 'ë' | 'È' | 'É' | 'Ê' | 'Ë' => "e",
        'ì' | 'í' | 'î' | 'ï' | 'Ì' | 'Í' | 'Î' | 'Ï' => "i",
        'ñ' | 'Ñ' => "n",
        'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ø' | 'Ò' | 'Ó' | 'Ô' | 'Õ' | 'Ö' | 'Ø' => "o",
        'ù' | 'ú' | 'û' | 'ü' | 'Ù' | 'Ú' | 'Û' | 'Ü' => "u",
        'ý' | 'ÿ' | 'Ý' => "y",
        'ß' => "ss",
        'æ' | 'Æ' => "ae",
        _ => return None,
    })
}

fn is_readable(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{ffff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_cleaned_and_slugs_follow_home_assistant() {
        assert_eq!(shown("  Front\n\u{202e}Door\u{7}  ").as_deref(), Some("Front Door"));
        assert_eq!(shown("\u{200b} - "), None);
        assert_eq!(slug("Front Door (2)").as_deref(), Some("front_door_2"));
        assert_eq!(slug("Tür Süd – Straße").as_deref(), Some("tur_sud_strasse"));
        assert_eq!(slug("门"), None);
    }

    proptest! {
        #[test]
        fn any_name_gives_a_readable_text_and_a_valid_slug_or_nothing(name in "\\PC{0,600}|.{0,600}") {
            if let Some(text) = shown(&name) {
                prop_assert!(text.chars().count() <= MAX_NAME_CHARS && !text.chars().any(char::is_control));
                prop_assert_eq!(text.trim(), text.as_str());
            }
            if let Some(slug) = slug(&name) {
                prop_assert!(slug.len() <= MAX_SLUG_CHARS + 1);
                prop_assert!(slug.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
                prop_assert!(!slug.starts_with('_') && !slug.ends_with('_') && !slug.contains("__"));
            }
        }
    }
}
