//! The configuration, as each part wants it.

use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretSlice};

use crate::{
    bridge,
    config::{self, Config},
    hass::{Announcer, CodeFacts, CodeShape, GatewayFacts, Style, Topics, payload},
    model::{Publication, Qos},
    mqtt, verkada,
};

/// How long the broker keeps what is published for scenarios while the securing connection is cut. What is older is not
/// executed.
const SESSION_LASTS: Duration = Duration::from_mins(1);

/// For the core.
pub(crate) fn bridge_settings(config: &Config) -> bridge::Settings {
    let hass = &config.home_assistant;
    let door = |settings: &config::DoorSettings| bridge::DoorSettings {
        name: settings.name.clone(),
        unlock: settings.unlock,
        hold: settings.hold,
        code: settings.code,
        assume_locked: settings.assume_locked,
        ignore_dpi_relock: settings.ignore_dpi_relock,
    };
    bridge::Settings {
        announcer: announcer(config),
        birth: bridge::Birth { topic: hass.birth_topic.clone(), payload: hass.birth_payload.clone() },
        polls: bridge::Polls {
            doors: config.poll.doors,
            scenarios: config.poll.scenarios,
            events: config.poll.events,
            calendars: config.reads_calendars().then_some(config.poll.calendars),
            access_levels: config.poll.access_levels,
        },
        commands: command_settings(&config.commands),
        holds: bridge::HoldSettings {
            longest: config.holds.longest,
            usual: config.holds.usual,
            start: match config.holds.start {
                config::HoldStart::ThisMinute => bridge::HoldStart::ThisMinute,
                config::HoldStart::NextMinute => bridge::HoldStart::NextMinute,
            },
        },
        calendars: bridge::CalendarSettings {
            show: config.calendars.show,
            allow: config.calendars.allow.clone(),
        },
        users: config.commands.users.clone(),
        code: config.commands.code.as_ref().map(|code| bridge::CodeSettings {
            secret: match code {
                config::Code::Pin(pin) => bridge::CodeSecret::Pin(pin.clone()),
                config::Code::Totp(secret) => bridge::CodeSecret::Totp(secret.clone()),
            },
            unlock: config.commands.code_for.contains(&config::CodedAct::Unlock),
            release: config.commands.code_for.contains(&config::CodedAct::Release),
            hold: config.commands.code_for.contains(&config::CodedAct::Hold),
        }),
        doors: bridge::Selection {
            include: config.doors.include.clone(),
            exclude: config.doors.exclude.clone(),
        },
        door_settings: config
            .doors
            .settings
            .iter()
            .map(|(id, settings)| (id.clone(), door(settings)))
            .collect(),
        assume_locked: config.doors.assume_locked,
        ignore_dpi_relock: config.doors.ignore_dpi_relock,
        open_unproven_after: config.doors.open_unproven_after,
        scenarios: bridge::Selection {
            include: config.scenarios.include.clone(),
            exclude: config.scenarios.exclude.clone(),
        },
        key_expires: config.verkada.api_key_expires,
        log_level: config.log.level,
    }
}

/// What commands may do.
fn command_settings(commands: &config::Commands) -> bridge::CommandSettings {
    bridge::CommandSettings {
        read_only: commands.read_only,
        unlock: commands.unlock,
        activate: commands.activate,
        release: commands.release,
        hold: commands.hold,
        max_age: commands.max_age,
        during_lockdown: match commands.during_lockdown {
            config::DuringLockdown::Refuse => bridge::DuringLockdown::Refuse,
            config::DuringLockdown::Code => bridge::DuringLockdown::Code,
            config::DuringLockdown::Allow => bridge::DuringLockdown::Allow,
        },
        unlock_as: match commands.unlock_as {
            config::UnlockAs::Off => bridge::UnlockAs::Off,
            config::UnlockAs::Allowed => bridge::UnlockAs::Allowed,
            config::UnlockAs::Required => bridge::UnlockAs::Required,
        },
    }
}

/// What Home Assistant is told, and how.
fn announcer(config: &Config) -> Announcer {
    let hass = &config.home_assistant;
    Announcer {
        style: match hass.discovery {
            config::Discovery::Device => Style::Device,
            config::Discovery::Component => Style::Component,
            config::Discovery::Off => Style::Off,
        },
        prefix: hass.discovery_prefix.clone(),
        topics: topics(config),
        stamp_commands: hass.stamp_commands,
        own: GatewayFacts {
            mqtt_unencrypted: config.mqtt.is_exposed(),
            key_expires: config.verkada.api_key_expires.is_some(),
            restart: config.commands.restart,
            intercom: !config.webhook.secrets.is_empty(),
        },
        code: code_facts(config),
    }
}

/// What Home Assistant must know of the code: its shape, not the code.
fn code_facts(config: &Config) -> CodeFacts {
    let commands = &config.commands;
    let needs = |act| commands.code_for.contains(&act);
    let doors = config.doors.settings.iter();
    CodeFacts {
        shape: commands.code.as_ref().map(|code| match code {
            config::Code::Totp(_) => CodeShape::Digits(6),
            config::Code::Pin(pin) => {
                let pin = pin.expose_secret();
                let digits = pin.bytes().all(|byte| byte.is_ascii_digit());
                if digits { CodeShape::Digits(pin.len()) } else { CodeShape::Text }
            }
        }),
        unlock: needs(config::CodedAct::Unlock),
        release: needs(config::CodedAct::Release) && commands.release && !commands.read_only,
        hold: needs(config::CodedAct::Hold),
        lockdown: commands.during_lockdown == config::DuringLockdown::Code,
        doors: doors.filter_map(|(id, door)| Some((id.clone(), door.code?))).collect(),
    }
}

/// For the client of the vendor's API.
pub fn client_settings(config: &Config) -> verkada::Settings {
    verkada::Settings {
        base_url: config.verkada.base_url.clone(),
        api_key: config.verkada.api_key.clone(),
        ca_pem: config.verkada.ca_pem.clone(),
        release_path: config.verkada.release_path,
        privacy: config.events.privacy,
        limits: verkada::Limits::default(),
    }
}

/// For the MQTT link, under a client id of its own where it is not the gateway's.
pub fn link_settings(config: &Config, client_id: &str) -> mqtt::Settings {
    let topics = topics(config);
    let will = Publication {
        topic: topics.availability(),
        payload: payload::OFFLINE.into(),
        qos: Qos::AtLeastOnce,
        retain: true,
        correlation: None,
    };
    let subscriptions = subscriptions(config, &topics);
    mqtt::Settings {
        last_will: Some(will),
        ..guest_settings(&config.mqtt, client_id, subscriptions, topics.heartbeat())
    }
}

/// For an MQTT link that leaves nothing behind.
pub(crate) fn guest_settings(
    broker: &config::Mqtt,
    client_id: &str,
    subscriptions: Vec<(String, Qos)>,
    heartbeat_topic: String,
) -> mqtt::Settings {
    let certificate = broker.tls.client.as_ref().map(|client| mqtt::ClientCertificate {
        chain_pem: client.cert_pem.clone(),
        key_pem: SecretSlice::from(client.key_pem.expose_secret().as_bytes().to_vec()),
    });
    mqtt::Settings {
        scheme: broker.scheme,
        host: broker.host.clone(),
        port: broker.port,
        path: broker.ws_path.clone(),
        protocol: broker.protocol,
        client_id: client_id.to_owned(),
        credentials: broker.credentials.clone(),
        tls: mqtt::Tls { ca_pem: broker.tls.ca_pem.clone(), client: certificate },
        keep_alive: broker.keep_alive,
        subscriptions,
        wants_retained: false,
        heartbeat_topic,
        session: mqtt::Session::Clean,
        last_will: None,
        timings: mqtt::Timings::default(),
    }
}

/// What the main link listens to: to holds only where they are allowed, for a broker may not let the gateway read them.
fn subscriptions(config: &Config, topics: &Topics) -> Vec<(String, Qos)> {
    let holds = config.holds_any_door().then(|| topics.hold_filter());
    let birth = config.home_assistant.birth_topic.clone();
    [topics.command_filter(), birth].into_iter().chain(holds).map(|topic| (topic, Qos::AtLeastOnce)).collect()
}

/// The client id of the securing MQTT link.
pub(super) fn securing_client_id(config: &Config) -> String {
    format!("{}-securing", config.mqtt.client_id)
}

/// For the securing MQTT link, the same but for what comes over it. `heard_at` is what an earlier run knows of it.
pub fn securing_settings(config: &Config, client_id: &str, heard_at: Option<Instant>) -> mqtt::Settings {
    let topics = topics(config);
    mqtt::Settings {
        subscriptions: vec![
            (topics.scenario_filter(), Qos::AtLeastOnce),
            (topics.securing_heartbeat(), Qos::AtLeastOnce),
        ],
        heartbeat_topic: topics.securing_heartbeat(),
        last_will: None,
        session: mqtt::Session::Kept { lasts: SESSION_LASTS, heard_at },
        ..link_settings(config, client_id)
    }
}

fn topics(config: &Config) -> Topics {
    Topics::new(config.mqtt.base_topic.clone())
}
