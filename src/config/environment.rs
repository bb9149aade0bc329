//! The part of the process environment that concerns us.

use std::{collections::BTreeMap, fmt};

use super::offered::OfferedBroker;

/// What the name of every variable that sets a key begins with.
pub(super) const PREFIX: &str = "VERKADA2MQTT__";

/// Names the configuration file; it is not a key of the file.
pub(super) const CONFIG_FILE: &str = "VERKADA2MQTT_CONFIG";

/// Names the folder in which systemd puts credentials.
pub(super) const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Home Assistant's Supervisor gives it to its apps.
pub(super) const SUPERVISOR_TOKEN: &str = "SUPERVISOR_TOKEN";
/// Asks for output without colours, whatever it says.
const NO_COLOR: &str = "NO_COLOR";

/// Environment variables, handed in so that nothing else reads the process's own.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    offered: Option<OfferedBroker>,
}

impl Environment {
    /// Reads the process's environment; the one place that does. Text that is not UTF-8 gets the replacement
    /// character U+FFFD, which the loader refuses.
    pub fn from_process() -> Self {
        std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .collect()
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Whether nobody asked for output without colours (<https://no-color.org>).
    pub fn wants_colours(&self) -> bool {
        self.get(NO_COLOR).is_none_or(str::is_empty)
    }

    /// The same with keys of a section set.
    pub(super) fn with(&self, section: &str, keys: &[(&str, String)]) -> Self {
        let mut environment = self.clone();
        for (key, value) in keys {
            environment.variables.insert(variable(&[section.to_owned(), (*key).to_owned()]), value.clone());
        }
        environment
    }

    /// The same without a key of a section.
    pub(super) fn without(mut self, section: &str, key: &str) -> Self {
        self.variables.remove(&variable(&[section.to_owned(), key.to_owned()]));
        self
    }

    /// The same with the broker set.
    #[must_use]
    pub fn with_broker(&self, url: &str) -> Self {
        self.with("mqtt", &[("url", url.to_owned())])
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str)
    }

    /// The same with a broker for a configuration that names none.
    #[must_use]
    pub fn offering(self, broker: OfferedBroker) -> Self {
        Self { offered: Some(broker), ..self }
    }

    pub(super) const fn offered(&self) -> Option<&OfferedBroker> {
        self.offered.as_ref()
    }
}

impl FromIterator<(String, String)> for Environment {
    /// Keeps the variables whose names concern us.
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        let others = [CREDENTIALS, NO_COLOR, SUPERVISOR_TOKEN, "SUPERVISOR_API"];
        let ours = |name: &str| name.starts_with("VERKADA2MQTT") || others.contains(&name);
        Self { variables: variables.into_iter().filter(|(name, _)| ours(name)).collect(), offered: None }
    }
}

impl fmt::Debug for Environment {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

/// The variable that sets the key at this path.
pub(super) fn variable(path: &[String]) -> String {
    let words: Vec<_> = path.iter().map(|word| word.to_ascii_uppercase()).collect();
    format!("{PREFIX}{}", words.join("__"))
}
