//! What people at a shell do through the running gateway: look, listen and command.
//!
//! They go the way of everybody else, over MQTT: each command passes the gate, is limited and written down like any other.
//! A command is published once and answered by its one result; where none comes, its fate is unknown and it is not sent again.

mod act;
mod events;
mod house;
mod line;
mod list;
mod prompt;

use std::io;

use crate::mqtt;

pub use act::{Ending, Order, run as act};
pub use events::{Wanted, run as events};
pub use list::{Listed, doors, scenarios};

/// Why a command at a shell ends early. Nothing was sent to a door or scenario then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker does not serve.
    #[error("cannot use the broker {place}: {cause}")]
    Broker {
        /// Host and port.
        place: String,
        /// What is wrong, and the cure where one is known.
        cause: String,
    },
    /// The settings of the broker cannot work.
    #[error(transparent)]
    Link(mqtt::Error),
    /// The gateway does not serve.
    #[error("nothing was sent: {0}")]
    Away(&'static str),
    /// Nothing has the id or name.
    #[error("nothing was sent: no {kind} has the id or, letter for letter, the name {wanted:?}; there are:{}", listed(.there))]
    Nobody {
        /// Door or scenario.
        kind: &'static str,
        /// What was looked for.
        wanted: String,
        /// What there is.
        there: Vec<String>,
    },
    /// Several have the name.
    #[error("nothing was sent: several {kind}s have the name {wanted:?}; give the id of one of them:{}", listed(.there))]
    Several {
        /// Door or scenario.
        kind: &'static str,
        /// What was looked for.
        wanted: String,
        /// Those that have the name.
        there: Vec<String>,
    },
    /// It was broken off, or the code cannot be had.
    #[error("nothing was sent: {0}")]
    NotSent(String),
    /// The connection was lost just then.
    #[error("nothing was sent: the connection to the broker was lost; try again")]
    Lost,
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] io::Error),
}

fn listed(there: &[String]) -> String {
    if there.is_empty() {
        return " none".to_owned();
    }
    there.iter().flat_map(|line| ["\n  ", line]).collect()
}
