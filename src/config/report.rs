//! Everything that is wrong with a configuration, in one report.

use std::fmt;

/// The most faults that are told one by one; the rest is counted.
const MAX_FAULTS: usize = 50;

/// Where a fault is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In a file.
    File {
        /// The file's name.
        name: String,
        /// The line, counted from 1, where one can be told.
        line: Option<usize>,
    },
    /// In an environment variable of this name.
    Variable(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line: Some(line) } => write!(f, "{name}:{line}"),
            Self::File { name, line: None } => f.write_str(name),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// One fault. No field holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it is.
    pub place: Place,
    /// The path of the key, for instance `mqtt.tls.ca_file`; empty where the file as a whole is meant.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What was read, shortened; `None` where the problem says it or where it may be a secret.
    pub read: Option<String>,
    /// What is allowed.
    pub allowed: Option<String>,
    /// What to do, where more can be said than what is allowed.
    pub cure: Option<String>,
}

impl Fault {
    /// What was read, what is allowed and what to do, as far as there is something to say.
    fn more(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [("read:", &self.read), ("allowed:", &self.allowed), ("cure:", &self.cure)];
        all.into_iter().filter_map(|(label, text)| Some((label, text.as_deref()?)))
    }
}

/// On several lines for people; the alternate form (`{:#}`) is on one, for a log.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)?;
        for (label, text) in self.more() {
            if f.alternate() {
                write!(f, "; {label} {text}")?;
            } else {
                write!(f, "\n    {label:8} {text}")?;
            }
        }
        Ok(())
    }
}

/// Every fault of a configuration; never empty, never with a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    faults: Vec<Fault>,
    untold: usize,
}

impl Report {
    /// The faults in the order of the file, then of the environment; at most 50.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// How many more faults there are.
    pub const fn untold(&self) -> usize {
        self.untold
    }

    /// How many faults there are, in a sentence.
    pub fn count(&self) -> String {
        match self.faults.len().saturating_add(self.untold) {
            1 => "the configuration has 1 fault".to_owned(),
            count => format!("the configuration has {count} faults"),
        }
    }

    pub(super) fn of_one(fault: Fault) -> Self {
        Self { faults: vec![fault], untold: 0 }
    }

    /// Makes a report of drafts in order; `finish` is called only for those that are told.
    pub(super) fn of_drafts<T>(drafts: Vec<T>, finish: impl Fn(T) -> Fault) -> Self {
        let untold = drafts.len().saturating_sub(MAX_FAULTS);
        Self { faults: drafts.into_iter().take(MAX_FAULTS).map(finish).collect(), untold }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.count())?;
        for fault in &self.faults {
            write!(f, "\n\n{fault}")?;
        }
        if self.untold > 0 {
            write!(f, "\n\nand {} more", self.untold)?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}
