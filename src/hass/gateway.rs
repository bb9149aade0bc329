//! The diagnostics of the gateway's own device.

use serde_json::{Map, Value, json};

use super::{Announcer, Device};
use crate::model::{Level, TokenState};

impl Announcer {
    /// Adds what tells how the gateway itself is, and what changes that.
    pub(super) fn add_diagnostics(&self, device: &mut Device) {
        let timestamp = |icon: &str| json!({ "device_class": "timestamp", "icon": icon });
        self.add_own(device, "sensor", ("started", "Started"), timestamp("mdi:clock-start"));
        let lag = json!({
            "device_class": "duration", "unit_of_measurement": "s", "state_class": "measurement",
            "suggested_display_precision": 1, "enabled_by_default": false,
        });
        self.add_own(device, "sensor", ("event_lag", "Event lag"), lag);
        let budget =
            json!({ "icon": "mdi:counter", "state_class": "measurement", "enabled_by_default": false });
        self.add_own(device, "sensor", ("budget_left", "Requests left"), budget);
        let trip = json!({
            "device_class": "duration", "unit_of_measurement": "ms", "state_class": "measurement",
            "enabled_by_default": false,
        });
        self.add_own(device, "sensor", ("round_trip", "Round trip"), trip);
        let words = TokenState::ALL.map(TokenState::word);
        let token = json!({ "device_class": "enum", "options": words, "icon": "mdi:key-wireless" });
        self.add_own(device, "sensor", ("token", "Token"), token);
        let webhook =
            json!({ "device_class": "enum", "options": super::WEBHOOK_WORDS, "icon": "mdi:webhook" });
        self.add_own(device, "sensor", ("webhook", "Webhooks"), webhook);
        let problem = json!({
            "icon": "mdi:alert-circle-outline", "json_attributes_topic": self.topics.bridge("problem_attributes"),
        });
        self.add_own(device, "sensor", ("problem", "Problem"), problem);
        let active = json!({ "device_class": "problem", "payload_on": "ON", "payload_off": "OFF" });
        self.add_own(device, "binary_sensor", ("problem_active", "Problem active"), active);
        // The class makes Home Assistant call it a problem when the topic says that no lockdown could be started.
        let ready = json!({
            "device_class": "problem", "payload_on": "OFF", "payload_off": "ON",
            "json_attributes_topic": self.topics.bridge("lockdown_ready_attributes"),
        });
        self.add_own(device, "binary_sensor", ("lockdown_ready", "Lockdown readiness"), ready);
        let level = json!({
            "icon": "mdi:math-log", "entity_category": "config", "options": Level::ALL.map(Level::word),
            "command_topic": self.topics.bridge("log_level/set"), "optimistic": false, "retain": false,
        });
        self.add_own(device, "select", ("log_level", "Log level"), level);
        if self.own.mqtt_unencrypted {
            let exposed = json!({
                "device_class": "problem", "payload_on": "ON", "payload_off": "OFF", "icon": "mdi:lock-open-alert",
            });
            self.add_own(device, "binary_sensor", ("mqtt_unencrypted", "MQTT unencrypted"), exposed);
        }
        if self.own.key_expires {
            self.add_own(device, "sensor", ("key_expires", "API key expires"), timestamp("mdi:key-alert"));
        }
        if self.own.intercom {
            let options = json!({
                "object_id": "verkada_gateway_intercom", "name": "Intercom", "device_class": "doorbell",
                "event_types": super::event::INTERCOM_TYPES, "state_topic": self.topics.bridge("intercom"), "qos": 1,
            });
            device.add("intercom", "event", self.own_id("intercom"), options);
        }
        if self.own.restart {
            let options = json!({
                "object_id": "verkada_gateway_restart", "name": "Restart", "device_class": "restart",
                "entity_category": "config", "command_topic": self.topics.bridge("restart/set"),
                "payload_press": "PRESS", "retain": false, "qos": 0,
            });
            device.add("restart", "button", self.own_id("restart"), options);
        }
    }

    /// Adds what tells everybody that a lockdown was asked for and is not confirmed, and what ends that.
    pub(super) fn add_lockdown_alarm(&self, device: &mut Device) {
        let alarm = json!({
            "device_class": "problem", "payload_on": "ON", "payload_off": "OFF", "entity_category": null,
            "icon": "mdi:alarm-light", "json_attributes_topic": self.topics.bridge("lockdown_alarm_attributes"),
        });
        self.add_own(device, "binary_sensor", ("lockdown_alarm", "Lockdown alarm"), alarm);
        let event = json!({ "entity_category": null, "icon": "mdi:alarm-light-outline", "event_types": super::LOCKDOWN_NEWS });
        self.add_own(device, "event", ("lockdown_event", "Lockdown"), event);
        let options = json!({
            "object_id": "verkada_gateway_acknowledge", "name": "Acknowledge lockdown alarm", "icon": "mdi:check-decagram",
            "command_topic": self.topics.bridge("acknowledge/set"),
            "payload_press": "PRESS", "retain": false, "qos": 1,
        });
        device.add("acknowledge", "button", self.own_id("acknowledge"), options);
    }

    /// Adds an entity whose key, topic and ids are one word, which comes with its name; `own` adds to the options that
    /// all share, and wins; `null` takes one away.
    fn add_own(&self, device: &mut Device, platform: &'static str, word: (&str, &str), own: Value) {
        let (key, name) = word;
        let mut options = Map::new();
        for (option, value) in [
            ("object_id", json!(format!("verkada_gateway_{key}"))),
            ("name", json!(name)),
            ("entity_category", json!("diagnostic")),
            ("state_topic", json!(self.topics.bridge(key))),
            ("qos", json!(1)),
        ] {
            options.insert(option.to_owned(), value);
        }
        if let Value::Object(own) = own {
            options.extend(own);
            options.retain(|_, value| !value.is_null());
        }
        device.add(key, platform, self.own_id(key), Value::Object(options));
    }

    fn own_id(&self, key: &str) -> String {
        format!("{}_{key}", self.gateway_identifier())
    }
}
