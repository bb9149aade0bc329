//! What two configurations differ in, and what it costs to go from one to the other while the gateway runs.

use std::collections::BTreeSet;

use secrecy::{ExposeSecret, SecretString};

use super::settings::{
    Calendars, ClientCertificate, Code, Commands, Config, DoorSettings, Doors, Events, Holds, HomeAssistant,
    Http, Journal, Log, Mqtt, Poll, Scenarios, Tls, Verkada, Webhook,
};

/// What it costs to take over a changed key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cost {
    /// It holds at once, and no connection is touched.
    Nothing,
    /// The next connection to the broker uses it; the present ones go on.
    NextConnection,
    /// A new token; the one that there is serves on until then.
    Token,
    /// A new session with the vendor; the broker is not touched.
    Session,
    /// The gateway starts again within its process: all connections are made anew.
    Restart,
    /// It waits for the next start of the process.
    NextStart,
}

impl Cost {
    /// The cost in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Nothing => "nothing: it holds from now on",
            Self::NextConnection => "nothing: the next connection to the broker uses it",
            Self::Token => "a new token; the one that there is serves until then",
            Self::Session => "a new session with the vendor; the broker is not touched",
            Self::Restart => "a new start within the process: all connections are made anew",
            Self::NextStart => "it waits for the next start of the program",
        }
    }
}

/// A key whose value is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key as the file spells it. A secret goes by its own key, also where a file of its own holds it.
    pub key: String,
    /// What it costs.
    pub cost: Cost,
}

/// Every key in which they differ. Warnings are no key.
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    // Each structure is taken apart, so that no key can be added without a cost.
    let Config {
        verkada,
        mqtt,
        home_assistant,
        poll,
        commands,
        holds,
        calendars,
        doors,
        scenarios,
        events: Events { privacy },
        webhook,
        http: Http { listen },
        state_dir,
        journal: Journal { keep },
        log: Log { level, format },
        warnings: _,
        secret_files: _,
    } = old;
    let mut found = Changes::default();
    found.verkada(verkada, &new.verkada);
    found.mqtt(mqtt, &new.mqtt);
    found.home_assistant(home_assistant, &new.home_assistant);
    found.poll(*poll, new.poll);
    found.commands(commands, &new.commands);
    found.holds(*holds, new.holds);
    found.calendars(calendars, &new.calendars);
    found.doors(doors, &new.doors);
    let Scenarios { include, exclude } = scenarios;
    found.compare("scenarios.include", Cost::Restart, include, &new.scenarios.include);
    found.compare("scenarios.exclude", Cost::Restart, exclude, &new.scenarios.exclude);
    found.compare("events.privacy", Cost::Restart, privacy, &new.events.privacy);
    found.webhook(webhook, &new.webhook);
    found.compare("http.listen", Cost::Restart, listen, &new.http.listen);
    found.compare("state_dir", Cost::NextStart, state_dir, &new.state_dir);
    found.compare("journal.keep", Cost::Restart, keep, &new.journal.keep);
    found.compare("log.level", Cost::Nothing, level, &new.log.level);
    found.compare("log.format", Cost::NextStart, format, &new.log.format);
    found.0
}

#[derive(Debug, Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn compare<T: PartialEq>(&mut self, key: &str, cost: Cost, old: &T, new: &T) {
        self.note(key, cost, old != new);
    }

    fn note(&mut self, key: &str, cost: Cost, changed: bool) {
        if changed {
            self.0.push(Change { key: key.to_owned(), cost });
        }
    }

    fn verkada(&mut self, old: &Verkada, new: &Verkada) {
        let Verkada { base_url, region, api_key, api_key_expires, ca_pem, release_path } = old;
        let named = if new.region.is_some() { "verkada.region" } else { "verkada.base_url" };
        self.note(named, Cost::Restart, *base_url != new.base_url || *region != new.region);
        self.note("verkada.api_key", Cost::Token, differ(Some(api_key), Some(&new.api_key)));
        self.compare("verkada.api_key_expires", Cost::Nothing, api_key_expires, &new.api_key_expires);
        self.compare("verkada.ca_file", Cost::Session, ca_pem, &new.ca_pem);
        self.compare("verkada.release_path", Cost::Session, release_path, &new.release_path);
    }

    fn mqtt(&mut self, old: &Mqtt, new: &Mqtt) {
        let Mqtt {
            scheme,
            host,
            port,
            ws_path,
            offered,
            protocol,
            client_id,
            credentials,
            tls,
            base_topic,
            keep_alive,
        } = old;
        let place = (scheme, host, port, ws_path, offered);
        let new_place = (&new.scheme, &new.host, &new.port, &new.ws_path, &new.offered);
        self.compare("mqtt.url", Cost::Restart, &place, &new_place);
        self.compare("mqtt.protocol", Cost::Restart, protocol, &new.protocol);
        self.compare("mqtt.client_id", Cost::Restart, client_id, &new.client_id);
        let user = |credentials: &Option<(String, _)>| credentials.as_ref().map(|(user, _)| user.clone());
        self.compare("mqtt.username", Cost::NextConnection, &user(credentials), &user(&new.credentials));
        // Where there is no user there is no password to compare: the user is the change.
        let both = credentials.as_ref().zip(new.credentials.as_ref());
        let password = both.is_some_and(|((_, old), (_, new))| differ(Some(old), Some(new)));
        self.note("mqtt.password", Cost::NextConnection, password);
        self.tls(tls, &new.tls);
        self.compare("mqtt.base_topic", Cost::Restart, base_topic, &new.base_topic);
        self.compare("mqtt.keep_alive", Cost::Restart, keep_alive, &new.keep_alive);
    }

    fn tls(&mut self, old: &Tls, new: &Tls) {
        let Tls { ca_pem, client } = old;
        self.compare("mqtt.tls.ca_file", Cost::NextConnection, ca_pem, &new.ca_pem);
        let (old, new) = (parts(client.as_ref()), parts(new.client.as_ref()));
        self.compare("mqtt.tls.cert_file", Cost::NextConnection, &old.0, &new.0);
        self.note("mqtt.tls.key_file", Cost::NextConnection, differ(old.1, new.1));
    }

    fn home_assistant(&mut self, old: &HomeAssistant, new: &HomeAssistant) {
        let HomeAssistant { discovery, discovery_prefix, birth_topic, birth_payload, stamp_commands } = old;
        self.compare("home_assistant.discovery", Cost::Restart, discovery, &new.discovery);
        let prefix = &new.discovery_prefix;
        self.compare("home_assistant.discovery_prefix", Cost::Restart, discovery_prefix, prefix);
        self.compare("home_assistant.birth_topic", Cost::Restart, birth_topic, &new.birth_topic);
        self.compare("home_assistant.birth_payload", Cost::Nothing, birth_payload, &new.birth_payload);
        self.compare("home_assistant.stamp_commands", Cost::Nothing, stamp_commands, &new.stamp_commands);
    }

    fn poll(&mut self, old: Poll, new: Poll) {
        let Poll { doors, scenarios, events, calendars, access_levels } = old;
        self.compare("poll.doors", Cost::Nothing, &doors, &new.doors);
        self.compare("poll.scenarios", Cost::Nothing, &scenarios, &new.scenarios);
        self.compare("poll.events", Cost::Nothing, &events, &new.events);
        self.compare("poll.calendars", Cost::Nothing, &calendars, &new.calendars);
        self.compare("poll.access_levels", Cost::Restart, &access_levels, &new.access_levels);
    }

    fn commands(&mut self, old: &Commands, new: &Commands) {
        let Commands {
            read_only,
            unlock,
            activate,
            release,
            hold,
            max_age,
            during_lockdown,
            code,
            code_for,
            unlock_as,
            users,
            restart,
        } = old;
        self.compare("commands.read_only", Cost::Restart, read_only, &new.read_only);
        self.compare("commands.unlock", Cost::Nothing, unlock, &new.unlock);
        self.compare("commands.activate", Cost::Nothing, activate, &new.activate);
        self.compare("commands.release", Cost::Nothing, release, &new.release);
        self.compare("commands.hold", Cost::Restart, hold, &new.hold);
        self.compare("commands.max_age", Cost::Nothing, max_age, &new.max_age);
        self.compare("commands.during_lockdown", Cost::Nothing, during_lockdown, &new.during_lockdown);
        let (code, new_code) = (code.as_ref(), new.code.as_ref());
        self.compare("commands.code", Cost::Nothing, &pin(code), &pin(new_code));
        let (secret, new_secret) = (one_time_secret(code), one_time_secret(new_code));
        self.compare("commands.totp_secret", Cost::Nothing, &secret, &new_secret);
        self.compare("commands.code_for", Cost::Nothing, code_for, &new.code_for);
        self.compare("commands.unlock_as", Cost::Nothing, unlock_as, &new.unlock_as);
        self.compare("commands.users", Cost::Nothing, users, &new.users);
        self.compare("commands.restart", Cost::Nothing, restart, &new.restart);
    }

    fn holds(&mut self, old: Holds, new: Holds) {
        let Holds { longest, usual, start } = old;
        self.compare("holds.longest", Cost::Restart, &longest, &new.longest);
        self.compare("holds.usual", Cost::Restart, &usual, &new.usual);
        self.compare("holds.start", Cost::Nothing, &start, &new.start);
    }

    fn calendars(&mut self, old: &Calendars, new: &Calendars) {
        let Calendars { show, allow } = old;
        self.compare("calendars.show", Cost::Restart, show, &new.show);
        self.compare("calendars.allow", Cost::Restart, allow, &new.allow);
    }

    fn doors(&mut self, old: &Doors, new: &Doors) {
        let Doors { include, exclude, assume_locked, ignore_dpi_relock, open_unproven_after, settings } = old;
        self.compare("doors.include", Cost::Restart, include, &new.include);
        self.compare("doors.exclude", Cost::Restart, exclude, &new.exclude);
        self.compare("doors.assume_locked", Cost::Restart, assume_locked, &new.assume_locked);
        self.compare("doors.ignore_dpi_relock", Cost::Restart, ignore_dpi_relock, &new.ignore_dpi_relock);
        let after = &new.open_unproven_after;
        self.compare("doors.open_unproven_after", Cost::Restart, open_unproven_after, after);
        let ids: BTreeSet<_> = settings.keys().chain(new.settings.keys()).collect();
        for id in ids {
            let of = |settings: Option<&DoorSettings>| settings.cloned().unwrap_or_default();
            let (old, new) = (of(settings.get(id)), of(new.settings.get(id)));
            let DoorSettings { name, unlock, hold, code, assume_locked, ignore_dpi_relock } = &old;
            let key = |leaf| format!("doors.settings.{id}.{leaf}");
            self.compare(&key("name"), Cost::Nothing, name, &new.name);
            self.compare(&key("unlock"), Cost::Nothing, unlock, &new.unlock);
            self.compare(&key("hold"), Cost::Restart, hold, &new.hold);
            self.compare(&key("code"), Cost::Nothing, code, &new.code);
            self.compare(&key("assume_locked"), Cost::Restart, assume_locked, &new.assume_locked);
            self.compare(&key("ignore_dpi_relock"), Cost::Restart, ignore_dpi_relock, &new.ignore_dpi_relock);
        }
    }

    fn webhook(&mut self, old: &Webhook, new: &Webhook) {
        let Webhook { path, secrets, organization_id } = old;
        self.compare("webhook.path", Cost::Restart, path, &new.path);
        let on = |secrets: &[SecretString]| !secrets.is_empty();
        // With the first secret the receiver comes, and goes with the last one.
        let cost = if on(secrets) == on(&new.secrets) { Cost::Nothing } else { Cost::Restart };
        for (key, index) in [("webhook.secret", 0), ("webhook.previous_secret", 1)] {
            self.note(key, cost, differ(secrets.get(index), new.secrets.get(index)));
        }
        self.compare("webhook.organization_id", Cost::Restart, organization_id, &new.organization_id);
    }
}

/// Certificate and key, where there are any.
fn parts(client: Option<&ClientCertificate>) -> (Option<&[u8]>, Option<&SecretString>) {
    client.map(|ClientCertificate { cert_pem, key_pem }| (cert_pem.as_slice(), key_pem)).unzip()
}

/// Both are ours and came from files of the owner, so that how long the comparison takes tells nobody anything.
fn differ(old: Option<&SecretString>, new: Option<&SecretString>) -> bool {
    old.map(ExposeSecret::expose_secret) != new.map(ExposeSecret::expose_secret)
}

fn pin(code: Option<&Code>) -> Option<&[u8]> {
    match code {
        Some(Code::Pin(pin)) => Some(pin.expose_secret().as_bytes()),
        Some(Code::Totp(_)) | None => None,
    }
}

fn one_time_secret(code: Option<&Code>) -> Option<&[u8]> {
    match code {
        Some(Code::Totp(secret)) => Some(secret.expose_secret()),
        Some(Code::Pin(_)) | None => None,
    }
}
