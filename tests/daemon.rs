//! The built program as its users meet it: started as a child, with a simulated vendor and a broker around it.
//!
//! The modules are marked `cfg(test)` because that is how the lints tell test code.

#[cfg(test)]
#[path = "daemon/access.rs"]
mod access;
#[cfg(test)]
#[path = "support/authority.rs"]
mod authority;
#[cfg(test)]
#[path = "daemon/browser.rs"]
mod browser;
#[cfg(test)]
#[path = "daemon/calendars.rs"]
mod calendars;
#[cfg(test)]
#[path = "support/canary.rs"]
mod canary;
#[cfg(test)]
#[path = "daemon/chaos.rs"]
mod chaos;
#[cfg(test)]
#[path = "daemon/commands.rs"]
mod commands;
#[cfg(test)]
#[path = "daemon/container.rs"]
mod container;
#[cfg(test)]
#[path = "daemon/day.rs"]
mod day;
#[cfg(test)]
#[path = "daemon/diagnostics.rs"]
mod diagnostics;
#[cfg(test)]
#[path = "daemon/documents.rs"]
mod documents;
#[cfg(test)]
#[path = "daemon/end.rs"]
mod end;
#[cfg(test)]
#[path = "support/environment.rs"]
mod environment;
#[cfg(test)]
#[path = "daemon/holds.rs"]
mod holds;
#[cfg(test)]
#[path = "daemon/host.rs"]
mod host;
#[cfg(test)]
#[path = "daemon/hostile.rs"]
mod hostile;
#[cfg(test)]
#[path = "daemon/memory.rs"]
mod memory;
#[cfg(test)]
#[path = "daemon/metrics.rs"]
mod metrics;
#[cfg(test)]
#[path = "daemon/mosquitto.rs"]
mod mosquitto;
#[cfg(test)]
#[path = "daemon/mqtt.rs"]
mod mqtt;
#[cfg(test)]
#[path = "daemon/node_red.rs"]
mod node_red;
#[cfg(test)]
#[path = "daemon/page.rs"]
mod page;
#[cfg(test)]
#[path = "daemon/process.rs"]
mod process;
#[cfg(test)]
#[path = "daemon/programs.rs"]
mod programs;
#[cfg(test)]
#[path = "daemon/proxy.rs"]
mod proxy;
#[cfg(test)]
#[path = "daemon/readiness.rs"]
mod readiness;
#[cfg(test)]
#[path = "daemon/reload.rs"]
mod reload;
#[cfg(test)]
#[path = "daemon/rig.rs"]
mod rig;
#[cfg(test)]
#[path = "daemon/rotation.rs"]
mod rotation;
#[cfg(test)]
#[path = "daemon/rounds.rs"]
mod rounds;
#[cfg(test)]
#[path = "daemon/sandbox.rs"]
mod sandbox;
#[cfg(test)]
#[path = "daemon/secrets.rs"]
mod secrets;
#[cfg(test)]
#[path = "daemon/securing.rs"]
mod securing;
#[cfg(test)]
#[path = "daemon/shell.rs"]
mod shell;
#[cfg(test)]
#[path = "daemon/soak.rs"]
mod soak;
#[cfg(test)]
#[path = "daemon/start.rs"]
mod start;
#[cfg(test)]
#[path = "daemon/supervisor.rs"]
mod supervisor;
#[cfg(test)]
#[path = "daemon/trouble.rs"]
mod trouble;
#[cfg(test)]
#[path = "daemon/trust.rs"]
mod trust;
#[cfg(test)]
#[path = "daemon/unlock_as.rs"]
mod unlock_as;
#[cfg(test)]
#[path = "daemon/webhooks.rs"]
mod webhooks;
