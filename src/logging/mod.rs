//! The log: lines on standard error, for people or as JSON.

mod form;
mod lines;

use std::{
    io::{self, IsTerminal},
    panic, process,
    time::Duration,
};

use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

use self::{form::OneLine, lines::Lines};
use crate::config::{Format, Level, Log};

/// How long the last lines may take at the end of the process.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Changes the level of the log while it runs. Dropping it waits for a second until all lines are written.
#[derive(Debug)]
pub struct LogHandle {
    level: reload::Handle<EnvFilter, Registry>,
    lines: Lines,
}

/// Starts the log of this process. From then on a panic in any thread or task is logged and ends the process at once, with
/// SIGABRT: a gateway that is half dead would be believed.
///
/// # Errors
/// If the operating system does not let us have the thread that writes.
///
/// # Panics
/// If it is started twice.
pub fn start(log: Log) -> io::Result<LogHandle> {
    let lines = Lines::to(io::stderr())?;
    let (filter, level) = reload::Layer::new(filter(log.level));
    let registry = tracing_subscriber::registry().with(filter);
    let writer = lines.clone();
    let colours = io::stderr().is_terminal();
    let layer = fmt::layer()
        .with_writer(OneLine { to: move || writer.clone(), colours })
        .with_ansi(colours)
        .with_target(false);
    match log.format {
        Format::Text => registry.with(layer).init(),
        Format::Json => registry.with(layer.json().flatten_event(true)).init(),
    }
    let last = lines.clone();
    panic::set_hook(Box::new(move |fault| {
        let place = fault.location().map(ToString::to_string).unwrap_or_default();
        let cause = fault.payload_as_str().unwrap_or("not told");
        tracing::error!(place, cause, "a fault in the program ends it");
        last.flush(LAST_LINES);
        process::abort();
    }));
    Ok(LogHandle { level, lines })
}

impl LogHandle {
    /// Sets the level.
    pub fn set(&self, level: Level) {
        if let Err(error) = self.level.reload(filter(level)) {
            tracing::warn!(%error, "the level of the log cannot be changed");
        }
    }
}

impl Drop for LogHandle {
    fn drop(&mut self) {
        self.lines.flush(LAST_LINES);
    }
}

/// Our own lines at the chosen level; those of the libraries only when they warn.
fn filter(level: Level) -> EnvFilter {
    EnvFilter::new(format!("warn,verkada2mqtt={}", level.word()))
}
