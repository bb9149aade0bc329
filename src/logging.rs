//! The log: lines on standard error, for people or as JSON.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

use crate::config::{Format, Level, Log};

/// Changes the level of the log while it runs.
#[derive(Debug, Clone)]
pub struct LogHandle(reload::Handle<EnvFilter, Registry>);

/// Starts the log of this process.
///
/// # Panics
/// If it is started twice.
pub fn start(log: Log) -> LogHandle {
    let (filter, handle) = reload::Layer::new(filter(log.level));
    let registry = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).with_target(false);
    match log.format {
        Format::Text => registry.with(lines).init(),
        Format::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
    LogHandle(handle)
}

impl LogHandle {
    /// Sets the level.
    pub fn set(&self, level: Level) {
        if let Err(error) = self.0.reload(filter(level)) {
            tracing::warn!(%error, "the level of the log cannot be changed");
        }
    }
}

/// Our own lines at the chosen level; those of the libraries only when they warn.
fn filter(level: Level) -> EnvFilter {
    EnvFilter::new(format!("warn,verkada2mqtt={}", level.word()))
}
