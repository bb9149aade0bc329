//! Identifiers of the vendor, checked once at the border.

use std::{fmt, str::FromStr, sync::Arc};

/// The longest identifier that is accepted, in bytes.
const MAX_ID_BYTES: usize = 64;

/// Why a text is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("an id is empty; allowed are 1 to {MAX_ID_BYTES} letters, digits and hyphens")]
    Empty,
    /// The text is longer than 64 bytes.
    #[error("an id has {0} bytes; allowed are 1 to {MAX_ID_BYTES} letters, digits and hyphens")]
    TooLong(usize),
    /// The text holds a character that could change the meaning of a topic, path or file name.
    #[error("an id holds {0:?}; allowed are 1 to {MAX_ID_BYTES} letters, digits and hyphens")]
    Character(char),
}

/// Accepts `[A-Za-z0-9-]{1,64}`: safe as part of an MQTT topic, a URL path and a file name.
pub(super) fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > MAX_ID_BYTES {
        return Err(IdError::TooLong(text.len()));
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '-')) {
        Some(c) => Err(IdError::Character(c)),
        None => Ok(()),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The identifier as the vendor writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// Identifies a door; the only safe key, since names repeat and change.
    DoorId
}
id! {
    /// Identifies a site.
    SiteId
}
id! {
    /// Identifies a scenario.
    ScenarioId
}
id! {
    /// Identifies an access controller, to which doors are wired.
    ControllerId
}
id! {
    /// Identifies one occurrence of an access event; the key by which repeats are dropped.
    EventId
}
id! {
    /// Identifies an organisation at the vendor.
    OrganisationId
}
id! {
    /// Identifies an exception calendar.
    CalendarId
}
id! {
    /// Identifies an exception in a calendar.
    ExceptionId
}
id! {
    /// Identifies a group of people who may pass doors.
    GroupId
}
id! {
    /// Identifies an access level: who may pass which doors, and when.
    LevelId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_vendors_ids_and_nothing_that_could_escape_a_topic() {
        assert!("0c81dca6-8fe9-40fa-b924-f3d07e920b6b".parse::<DoorId>().is_ok());
        assert_eq!("".parse::<DoorId>(), Err(IdError::Empty));
        assert_eq!("x".repeat(65).parse::<DoorId>(), Err(IdError::TooLong(65)));
        for bad in ["a/b", "a+", "#", "../a", "%2e", "a b", "a\n", "tür", "a\u{202e}"] {
            assert!(matches!(bad.parse::<DoorId>(), Err(IdError::Character(_))), "{bad:?}");
            assert!(serde_json::from_value::<DoorId>(bad.into()).is_err(), "{bad:?}");
        }
        let id: DoorId = "d-1".parse().unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"d-1\"");
        assert_eq!(serde_json::from_str::<DoorId>("\"d-1\"").unwrap(), id);
    }
}
