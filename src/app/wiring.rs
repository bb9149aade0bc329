//! The configuration, as each part wants it.

use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretSlice};

use crate::{
    bridge,
    config::{self, Config},
    hass::{Announcer, GatewayFacts, Style, Topics, payload},
    model::{Publication, Qos},
    mqtt, verkada,
};

/// How long the broker keeps what is published for scenarios while the securing connection is cut. What is older is not
/// executed.
const SESSION_LASTS: Duration = Duration::from_mins(1);

/// For the core.
pub(super) fn bridge_settings(config: &Config) -> bridge::Settings {
    let hass = &config.home_assistant;
    let door = |settings: &config::DoorSettings| bridge::DoorSettings {
        name: settings.name.clone(),
        unlock: settings.unlock,
        assume_locked: settings.assume_locked,
        ignore_dpi_relock: settings.ignore_dpi_relock,
    };
    bridge::Settings {
        announcer: Announcer {
            style: match hass.discovery {
                config::Discovery::Device => Style::Device,
                config::Discovery::Component => Style::Component,
                config::Discovery::Off => Style::Off,
            },
            prefix: hass.discovery_prefix.clone(),
            topics: topics(config),
            stamp_commands: hass.stamp_commands,
            own: GatewayFacts {
                key_expires: config.verkada.api_key_expires.is_some(),
                restart: config.commands.restart,
            },
        },
        birth: bridge::Birth { topic: hass.birth_topic.clone(), payload: hass.birth_payload.clone() },
        polls: bridge::Polls {
            doors: config.poll.doors,
            scenarios: config.poll.scenarios,
            events: config.poll.events,
        },
        commands: bridge::CommandSettings {
            unlock: config.commands.unlock,
            activate: config.commands.activate,
            release: config.commands.release,
            max_age: config.commands.max_age,
        },
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
    let (broker, topics) = (&config.mqtt, topics(config));
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
        subscriptions: vec![
            (topics.command_filter(), Qos::AtLeastOnce),
            (config.home_assistant.birth_topic.clone(), Qos::AtLeastOnce),
        ],
        heartbeat_topic: topics.heartbeat(),
        session: mqtt::Session::Clean,
        last_will: Some(Publication {
            topic: topics.availability(),
            payload: payload::OFFLINE.into(),
            qos: Qos::AtLeastOnce,
            retain: true,
            correlation: None,
        }),
        timings: mqtt::Timings::default(),
    }
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
