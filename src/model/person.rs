//! People in access events, as far as the owner lets them be shown.

use std::fmt;

/// How much of a person is taken out of an access event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Privacy {
    /// Nothing: people are not even decoded.
    None,
    /// The vendor's id.
    Id,
    /// The id and the name.
    Name,
    /// The id, the name and the e-mail address.
    Full,
}

/// A person in whose name something happened. `Debug` shows nothing of it, so that no log can.
#[derive(Clone, PartialEq, Eq)]
pub struct Person {
    id: Option<String>,
    name: Option<String>,
    email: Option<String>,
}

impl Person {
    /// Keeps what `privacy` allows; `None` where that is nothing.
    pub fn cut_down(
        privacy: Privacy,
        id: Option<String>,
        name: Option<String>,
        email: Option<String>,
    ) -> Option<Self> {
        let person = Self {
            id: id.filter(|_| privacy >= Privacy::Id),
            name: name.filter(|_| privacy >= Privacy::Name),
            email: email.filter(|_| privacy >= Privacy::Full),
        };
        (person.id.is_some() || person.name.is_some() || person.email.is_some()).then_some(person)
    }

    /// The vendor's id.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The name; `API` where an API key unlocked (`verkada-api.md` 5.4).
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The e-mail address.
    pub fn email(&self) -> Option<&str> {
        self.email.as_deref()
    }
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Person(..)")
    }
}
