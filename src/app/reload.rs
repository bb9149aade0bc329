//! A configuration that was read again: what it changes, and taking over what needs no new start.

use super::{Error, Links, Shell, http, wiring};
use crate::{
    clock,
    config::{self, Change, Config, Cost, Report},
    mqtt,
    verkada::Client,
};

impl Shell<'_> {
    /// Reads the configuration again and goes on with it; returns it where that needs a new start.
    pub(super) fn reload(
        &mut self,
        config: &mut Config,
        links: &Links,
        http: &http::Server,
        read: impl Fn() -> Result<Config, Report>,
    ) -> Option<Config> {
        let next = match read() {
            Ok(next) => next,
            Err(report) => {
                tell_faults("the configuration is left as it was", &report);
                return None;
            }
        };
        match self.adopt((config, &next), links, http) {
            Ok(Adopted::Whole) => *config = next,
            Ok(Adopted::Nothing) => return Some(next),
            Err(error) => tracing::error!("the configuration is left as it was: {error}"),
        }
        None
    }

    /// A secret may have changed in its file: takes the secrets over, and nothing else of what the configuration says by now.
    pub(super) fn take_secrets(
        &mut self,
        config: &mut Config,
        links: &Links,
        http: &http::Server,
        read: impl Fn() -> Result<Config, Report>,
    ) {
        let next = match read() {
            Ok(next) => config.with_secrets_of(&next),
            Err(report) => {
                tell_faults("a secret was changed and is not taken", &report);
                return;
            }
        };
        if config::changes(config, &next).is_empty() {
            return;
        }
        match self.adopt((config, &next), links, http) {
            Ok(Adopted::Whole) => *config = next,
            // Not of a secret.
            Ok(Adopted::Nothing) => {}
            Err(error) => tracing::error!("a secret was changed and is not taken: {error}"),
        }
    }

    /// Takes a configuration over where nothing has to start again for it, and says of each changed key what it costs.
    ///
    /// # Errors
    /// Where a part cannot be made from it; then nothing has changed.
    fn adopt(
        &mut self,
        (old, new): (&Config, &Config),
        links: &Links,
        http: &http::Server,
    ) -> Result<Adopted, Error> {
        let changes = config::changes(old, new);
        let costs = |cost| changes.iter().any(|change| change.cost == cost);
        if costs(Cost::Restart) {
            tell(&changes, new);
            return Ok(Adopted::Nothing);
        }
        // First everything that can fail.
        let client = costs(Cost::Session).then(|| Client::new(wiring::client_settings(new))).transpose()?;
        let access = costs(Cost::NextConnection).then(|| Access::of(new)).transpose()?;
        if let Some(client) = client {
            // Calls under way end with the client that they began with.
            self.token_settled = client.token_settled();
            self.client = client;
            self.warm();
            self.tell_token();
        } else if costs(Cost::Token) {
            self.client.replace_key(new.verkada.api_key.clone())?;
        }
        tell(&changes, new);
        if let Some(Access { main, securing }) = access {
            links.main.adopt(main);
            links.securing.adopt(securing);
        }
        http.adopt(&new.webhook.secrets);
        self.bridge.adopt(wiring::bridge_settings(new), clock::now());
        Ok(Adopted::Whole)
    }
}

/// How much of a configuration was taken over.
enum Adopted {
    Whole,
    /// It needs a new start.
    Nothing,
}

/// The configuration for a start that was asked for without one: what the file says by now, or what ran until now.
pub(super) fn for_a_restart(config: &Config, read: impl Fn() -> Result<Config, Report>) -> Config {
    let next = read().unwrap_or_else(|report| {
        tell_faults("the gateway restarts with the configuration as it was", &report);
        config.clone()
    });
    tell(&config::changes(config, &next), &next);
    next
}

/// How both links reach the broker.
struct Access {
    main: mqtt::Access,
    securing: mqtt::Access,
}

impl Access {
    fn of(config: &Config) -> Result<Self, mqtt::Error> {
        let securing = wiring::securing_client_id(config);
        Ok(Self {
            main: mqtt::Access::new(wiring::link_settings(config, &config.mqtt.client_id))?,
            securing: mqtt::Access::new(wiring::securing_settings(config, &securing, None))?,
        })
    }
}

/// Says of each changed key what it costs, and what the new configuration warns of.
fn tell(changes: &[Change], config: &Config) {
    if changes.is_empty() {
        tracing::info!("the configuration was read again; no key has changed");
    }
    for Change { key, cost } in changes {
        match cost {
            Cost::NextStart => {
                tracing::warn!(key, "a change of this key takes effect at the next start of the program");
            }
            Cost::Nothing | Cost::NextConnection | Cost::Token | Cost::Session | Cost::Restart => {
                tracing::info!(key, cost = cost.words(), "a changed key is taken over");
            }
        }
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
}

/// Says why a configuration is not taken: each fault is an event of its own.
fn tell_faults(what: &str, report: &Report) {
    tracing::error!("{what}: {}", report.count());
    for fault in report.faults() {
        tracing::error!("{fault:#}");
    }
    if report.untold() > 0 {
        tracing::error!("and {} more", report.untold());
    }
}
