//! Discovery messages: what Home Assistant is told about each device.
//!
//! Every option is written out where a consumer other than Home Assistant has another default; no templates but the
//! one that stamps commands, no nulls but the name of a main entity, no unknown keys.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Topics;
use crate::model::{DoorId, ScenarioId, SiteId, Target};

/// Renders a command as JSON with an id and an issue time, so that its age and repeats can be judged on any broker.
const STAMP: &str = "{{ {'action': value, 'id': 'ha-' ~ (now().timestamp() * 1000) | int ~ '-' ~ range(100000) | random, \
                     'issued_at': now().timestamp()} | tojson }}";

/// The same with the code that Home Assistant asked for; always as a text, so that leading zeros stay. Where nobody entered
/// one it is empty.
const STAMP_WITH_CODE: &str = "{{ {'action': value, 'code': (code or '') | string, 'id': 'ha-' ~ (now().timestamp() * 1000) | int ~ '-' ~ \
                               range(100000) | random, 'issued_at': now().timestamp()} | tojson }}";
const CODE_ALONE: &str = "{{ {'action': value, 'code': (code or '') | string} | tojson }}";
/// What sets a panel apart from the switch of the same scenario; no id has it.
const PANEL: &str = "_panel";
/// States of an alarm panel from those of a switch.
const PANEL_STATE: &str = "{{ {'ON': 'armed_away', 'OFF': 'disarmed'}.get(value, 'None') }}";

/// What Home Assistant calls the modes of a hold; as commands the labels are read like the words.
const HOLD_MODES: [(&str, &str); 5] = [
    ("schedule", "Schedule"),
    ("unlocked", "Unlocked"),
    ("locked", "Locked"),
    ("card_and_code", "Card and code"),
    ("credential", "Credential"),
];

/// Labels of modes from their words.
fn hold_label() -> String {
    let pairs: Vec<String> = HOLD_MODES.iter().map(|(word, label)| format!("'{word}': '{label}'")).collect();
    format!("{{{{ {{{}}}.get(value_json.mode, 'None') }}}}", pairs.join(", "))
}

/// How Home Assistant is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// One message a device.
    Device,
    /// One message an entity.
    Component,
    /// Not at all.
    Off,
}

/// What all discovery messages of one gateway share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcer {
    /// How Home Assistant is told.
    pub style: Style,
    /// Home Assistant's discovery prefix, `homeassistant` by default.
    pub prefix: String,
    /// The topics the entities use.
    pub topics: Topics,
    /// Whether commands from Home Assistant carry an id and an issue time.
    pub stamp_commands: bool,
    /// What the gateway's own device offers.
    pub own: GatewayFacts,
    /// Which commands need a code.
    pub code: CodeFacts,
}

/// Which commands need a code, and what it looks like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a decision of its own")]
pub struct CodeFacts {
    /// What it looks like; `None` where there is no code.
    pub shape: Option<CodeShape>,
    /// Whether unlocking needs it, where a door is not named in `doors`.
    pub unlock: bool,
    /// Whether releasing needs it, and is allowed.
    pub release: bool,
    /// Whether unlocking needs it while a scenario locks the door, even where it does not otherwise.
    pub lockdown: bool,
    /// Whether a hold that opens needs it, where a door is not named in `doors`.
    pub hold: bool,
    /// Doors that decide for themselves.
    pub doors: BTreeMap<DoorId, bool>,
}

/// What a code looks like, as far as Home Assistant's users may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeShape {
    /// So many digits.
    Digits(usize),
    /// Any text.
    Text,
}

impl CodeFacts {
    /// Whether unlocking the door always needs the code.
    fn always_for(&self, door: &DoorId) -> bool {
        self.shape.is_some() && self.doors.get(door).copied().unwrap_or(self.unlock)
    }

    /// Whether a hold of the door that opens always needs the code.
    fn always_for_hold(&self, door: &DoorId) -> bool {
        self.shape.is_some() && self.doors.get(door).copied().unwrap_or(self.hold)
    }

    /// What Home Assistant asks for before it unlocks; where the code is needed only during a lockdown, it may be left out.
    fn format(&self, door: &DoorId) -> Option<String> {
        let code = match self.shape? {
            CodeShape::Digits(count) => format!(r"\d{{{count}}}"),
            CodeShape::Text => ".{4,32}".to_owned(),
        };
        if self.always_for(door) {
            return Some(format!("^{code}$"));
        }
        self.lockdown.then(|| format!("^({code})?$"))
    }
}

/// What the gateway's own device offers besides what it always does.
#[expect(clippy::struct_excessive_bools, reason = "each is offered or not by itself")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GatewayFacts {
    /// Whether what is said to the broker can be read on the network.
    pub mqtt_unencrypted: bool,
    /// The day on which the API key expires.
    pub key_expires: bool,
    /// The restart of the gateway by a message, and the button for it.
    pub restart: bool,
    /// Calls at intercoms, which nothing but webhooks tells of.
    pub intercom: bool,
}

/// One device with its entities.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Identifies the device for ever: also the name of its discovery topic.
    identifier: String,
    name: String,
    facts: Map<String, Value>,
    availability: Vec<String>,
    components: Vec<Component>,
}

#[derive(Debug, Clone, PartialEq)]
struct Component {
    /// Identity within the device for ever.
    key: String,
    platform: &'static str,
    unique_id: String,
    options: Map<String, Value>,
}

/// One entity, as far as it matters when it leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// For instance `lock`.
    pub platform: String,
    /// Identifies the entity for ever, wherever it is announced.
    pub unique_id: String,
}

/// One discovery message.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where it is retained.
    pub topic: String,
    /// The entities it announces, each by its key within the device.
    pub entities: BTreeMap<String, Entity>,
    /// What it says.
    pub message: Value,
}

/// All that announces one device.
#[derive(Debug, Clone, PartialEq)]
pub struct Announcement {
    /// Identifies the device for ever.
    pub device: String,
    /// What people call it.
    pub name: String,
    /// The messages.
    pub configs: Vec<Config>,
    /// How many bytes one message for the whole device would have, where that is more than allowed and each entity
    /// therefore has its own.
    pub too_large: Option<usize>,
}

/// What is told about a door.
#[derive(Debug, Clone, Copy)]
pub struct DoorFacts<'a> {
    /// The door.
    pub id: &'a DoorId,
    /// What people call it.
    pub name: &'a str,
    /// What its entity ids are made from; unique among doors and scenarios.
    pub slug: &'a str,
    /// Which of the entities that not every door has it gets.
    pub offer: Offer,
}

/// Entities that not every door has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Offer {
    /// The momentary unlock button.
    pub unlock: bool,
    /// What holds the door.
    pub hold: Option<HoldOffer>,
    /// What exception calendars say of it.
    pub exception: bool,
    /// Tampering: only where an event told of it, since many doors never can.
    pub tamper: bool,
    /// The fire alarm: only where an event told of it.
    pub fire: bool,
}

/// What is offered where a door may be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldOffer {
    /// The longest hold, in minutes.
    pub longest: u32,
}

/// What is told about a scenario.
#[derive(Debug, Clone, Copy)]
pub struct ScenarioFacts<'a> {
    /// The scenario.
    pub id: &'a ScenarioId,
    /// What people call it.
    pub name: &'a str,
    /// What its entity ids are made from; unique among doors and scenarios.
    pub slug: &'a str,
}

impl Announcer {
    /// Identifies the gateway's device for ever; made from the base topic, which no two gateways of a broker share.
    pub fn gateway_identifier(&self) -> String {
        let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        format!("verkada2mqtt_{}", self.topics.base().chars().map(safe).collect::<String>())
    }

    /// The device of a door: lock, momentary button, position, access events.
    pub fn door(&self, door: DoorFacts<'_>) -> Device {
        let DoorFacts { id, name, slug, offer } = door;
        let target = Target::Door(id.clone());
        let mut device = Device::new(
            Self::door_identifier(id),
            name,
            ("Verkada", "Access-controlled door"),
            Some(&self.gateway_identifier()),
            self.availability(Some(&target)),
        );
        let unique = |what: &str| format!("verkada2mqtt_{id}_{what}");
        let format = self.code.format(id);
        let mut lock = self.templated(
            format.is_some(),
            json!({
                "object_id": slug,
                "name": null,
                "state_topic": self.topics.of(&target, "state"),
                "command_topic": self.topics.set(&target),
                "json_attributes_topic": self.topics.of(&target, "attributes"),
                "payload_lock": "LOCK", "payload_unlock": "UNLOCK",
                "state_locked": "LOCKED", "state_unlocked": "UNLOCKED", "state_unlocking": "UNLOCKING",
                "optimistic": false, "retain": false, "qos": 0,
            }),
        );
        if let (Some(format), Some(lock)) = (format, lock.as_object_mut()) {
            lock.insert("code_format".to_owned(), json!(format));
        }
        device.add("lock", "lock", unique("lock"), lock);
        // A button has no field for a code.
        if offer.unlock && !self.code.always_for(id) {
            device.add(
                "unlock",
                "button",
                unique("unlock"),
                self.stamped(json!({
                "object_id": format!("{slug}_unlock"),
                    "name": "Unlock", "icon": "mdi:lock-open-variant",
                    "command_topic": self.topics.set(&target), "payload_press": "UNLOCK",
                    "enabled_by_default": false, "retain": false, "qos": 0,
                })),
            );
        }
        device.add("position", "binary_sensor", unique("position"), json!({
"object_id": format!("{slug}_position"),
            "name": "Position", "device_class": "door",
            "state_topic": self.topics.of(&target, "position"), "payload_on": "ON", "payload_off": "OFF", "qos": 1,
        }));
        if let Some(hold) = offer.hold {
            self.add_hold(&mut device, door, hold);
        }
        if offer.exception {
            self.add_exception(&mut device, door);
        }
        self.add_problems(&mut device, door);
        device.add(
            "access",
            "event",
            unique("access"),
            json!({
            "object_id": format!("{slug}_access"),
                "name": "Access", "icon": "mdi:badge-account",
                "event_types": super::event::TYPES,
                "state_topic": self.topics.of(&target, "event"), "qos": 1,
            }),
        );
        device
    }

    /// Adds what holds the door. Its mode has no field for a code, and is not offered where one is needed; what ends a hold
    /// that keeps the door unlocked never needs one.
    fn add_hold(&self, device: &mut Device, door: DoorFacts<'_>, hold: HoldOffer) {
        let DoorFacts { id, slug, .. } = door;
        let target = Target::Door(id.clone());
        let unique = |what: &str| format!("verkada2mqtt_{id}_{what}");
        let (state, command) = (self.topics.of(&target, "hold"), self.topics.of(&target, "hold/set"));
        let mode = |options: Value| {
            let mut options = self.stamped(options);
            if let Some(template) = options.get_mut("command_template") {
                *template = json!(STAMP.replace("'action': value", "'mode': value"));
            }
            options
        };
        if !self.code.always_for_hold(id) {
            let labels: Vec<&str> = HOLD_MODES.iter().map(|(_, label)| *label).collect();
            device.add(
                "hold",
                "select",
                unique("hold"),
                mode(json!({
                    "object_id": format!("{slug}_mode"),
                    "name": "Mode", "icon": "mdi:lock-clock",
                    "state_topic": state, "value_template": hold_label(), "command_topic": command,
                    "options": labels, "optimistic": false, "retain": false, "qos": 0,
                })),
            );
            device.add(
                "hold_minutes",
                "number",
                unique("hold_minutes"),
                json!({
                    "object_id": format!("{slug}_hold_minutes"),
                    "name": "Hold minutes", "icon": "mdi:timer-outline", "entity_category": "config",
                    "state_topic": self.topics.of(&target, "hold_minutes"),
                    "command_topic": self.topics.of(&target, "hold_minutes/set"),
                    "min": 1, "max": hold.longest, "step": 1, "mode": "box", "unit_of_measurement": "min",
                    "optimistic": false, "retain": false, "qos": 0,
                }),
            );
        }
        device.add(
            "hold_until",
            "sensor",
            unique("hold_until"),
            json!({
                "object_id": format!("{slug}_hold_until"),
                "name": "Hold until", "icon": "mdi:timer-lock-outline", "device_class": "timestamp",
                "state_topic": state, "value_template": "{{ value_json.until }}", "qos": 1,
            }),
        );
        device.add(
            "end_hold",
            "button",
            unique("end_hold"),
            mode(json!({
                "object_id": format!("{slug}_end_hold"),
                "name": "End hold", "icon": "mdi:lock-check",
                "command_topic": command, "payload_press": "END", "retain": false, "qos": 0,
            })),
        );
    }

    /// Adds what exception calendars keep the door at. An empty state would be ignored, so what is not known is a word.
    fn add_exception(&self, device: &mut Device, door: DoorFacts<'_>) {
        let DoorFacts { id, slug, .. } = door;
        let attributes = self.topics.of(&Target::Door(id.clone()), "attributes");
        device.add(
            "exception",
            "sensor",
            format!("verkada2mqtt_{id}_exception"),
            json!({
                "object_id": format!("{slug}_exception"),
                "name": "Exception", "icon": "mdi:calendar-lock", "entity_category": "diagnostic",
                "device_class": "enum", "options": HOLD_MODES.map(|(word, _)| word),
                "state_topic": attributes,
                "value_template": "{{ value_json.exception.mode if value_json.exception else none }}",
                "json_attributes_topic": attributes,
                "json_attributes_template":
                    "{{ {'exception': value_json.exception, 'next_exception': value_json.next_exception} | tojson }}",
                "qos": 1,
            }),
        );
    }

    fn add_problems(&self, device: &mut Device, door: DoorFacts<'_>) {
        let DoorFacts { id, slug, offer, .. } = door;
        let target = Target::Door(id.clone());
        let problems = [
            ("held_open", "Held open", "problem", true),
            ("forced_open", "Forced open", "problem", true),
            ("tamper", "Tamper", "tamper", offer.tamper),
            ("fire", "Fire alarm", "safety", offer.fire),
        ];
        for (key, name, class, offered) in problems {
            if offered {
                device.add(
                    key,
                    "binary_sensor",
                    format!("verkada2mqtt_{id}_{key}"),
                    json!({
                        "object_id": format!("{slug}_{key}"),
                        "name": name, "device_class": class, "entity_category": "diagnostic",
                        "state_topic": self.topics.of(&target, key),
                        "payload_on": "ON", "payload_off": "OFF", "qos": 1,
                    }),
                );
            }
        }
    }

    /// The device of a site, for the scenarios that cover this site alone.
    pub fn site(&self, id: &SiteId, name: &str) -> Device {
        Device::new(
            format!("verkada2mqtt_site_{id}"),
            &format!("{name} access scenarios"),
            ("Verkada", "Access site"),
            Some(&self.gateway_identifier()),
            self.availability(None),
        )
    }

    /// The gateway's own device.
    pub fn gateway(&self) -> Device {
        let identifier = self.gateway_identifier();
        let mut device = Device::new(
            identifier.clone(),
            "Verkada Gateway",
            ("verkada2mqtt", "MQTT gateway"),
            None,
            vec![self.topics.availability()],
        );
        device.facts.insert("sw_version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
        let unique = |what: &str| format!("{identifier}_{what}");
        device.add("connection", "binary_sensor", unique("connection"), json!({
"object_id": "verkada_gateway_connection",
            "name": "Connection", "device_class": "connectivity", "entity_category": "diagnostic",
            "state_topic": self.topics.availability(), "payload_on": "online", "payload_off": "offline", "qos": 1,
            "availability": [],
        }));
        device.add("api", "binary_sensor", unique("api"), json!({
"object_id": "verkada_gateway_verkada_api",
            "name": "Verkada API", "device_class": "connectivity", "entity_category": "diagnostic",
            "state_topic": self.topics.api_availability(), "payload_on": "online", "payload_off": "offline", "qos": 1,
        }));
        device.add(
            "version",
            "sensor",
            unique("version"),
            json!({
            "object_id": "verkada_gateway_version",
                "name": "Version", "icon": "mdi:tag-outline", "entity_category": "diagnostic",
                "state_topic": self.topics.bridge("version"), "qos": 1,
            }),
        );
        device.add(
            "last_poll",
            "sensor",
            unique("last_poll"),
            json!({
            "object_id": "verkada_gateway_last_poll",
                "name": "Last poll", "device_class": "timestamp", "entity_category": "diagnostic",
                "enabled_by_default": false, "state_topic": self.topics.bridge("last_poll"), "qos": 0,
            }),
        );
        device.add("refresh", "button", unique("refresh"), json!({
"object_id": "verkada_gateway_refresh",
            "name": "Refresh", "icon": "mdi:refresh", "entity_category": "diagnostic",
            "command_topic": self.topics.bridge("refresh/set"), "payload_press": "PRESS", "retain": false, "qos": 0,
        }));
        self.add_lockdown_alarm(&mut device);
        self.add_diagnostics(&mut device);
        device
    }

    /// Adds the switch of a scenario, its drill and its doors to the device of its site, or of the gateway where it covers several sites.
    pub fn add_scenario(&self, device: &mut Device, scenario: ScenarioFacts<'_>) {
        let ScenarioFacts { id, name, slug } = scenario;
        let target = Target::Scenario(id.clone());
        device.add(
            &format!("scenario_{id}"),
            "switch",
            format!("verkada2mqtt_{id}_scenario"),
            self.stamped(json!({
            "object_id": slug,
                "name": name, "icon": "mdi:lock-alert",
                "state_topic": self.topics.of(&target, "state"),
                "command_topic": self.topics.set(&target),
                "json_attributes_topic": self.topics.of(&target, "attributes"),
                "payload_on": "ON", "payload_off": "OFF", "state_on": "ON", "state_off": "OFF",
                "optimistic": false, "retain": false, "qos": 1,
                "availability": entries(&self.availability(Some(&target))), "availability_mode": "all",
            })),
        );
        if self.code.release
            && let Some(shape) = self.code.shape
        {
            self.add_panel(device, scenario, shape);
        }
        self.add_drill(device, scenario);
        self.add_doors_confirmed(device, scenario);
    }

    /// A switch has no field for a code, an alarm panel has one: arming is activating, without a code, and disarming is
    /// releasing, with it.
    fn add_panel(&self, device: &mut Device, scenario: ScenarioFacts<'_>, shape: CodeShape) {
        let ScenarioFacts { id, name, slug } = scenario;
        let target = Target::Scenario(id.clone());
        let code = match shape {
            CodeShape::Digits(_) => "REMOTE_CODE",
            CodeShape::Text => "REMOTE_CODE_TEXT",
        };
        let template = if self.stamp_commands { STAMP_WITH_CODE } else { CODE_ALONE };
        device.add(
            &format!("scenario_{id}{PANEL}"),
            "alarm_control_panel",
            format!("verkada2mqtt_{id}{PANEL}"),
            json!({
                "object_id": format!("{slug}{PANEL}"),
                "name": format!("{name} panel"), "icon": "mdi:shield-lock",
                "state_topic": self.topics.of(&target, "state"), "value_template": PANEL_STATE,
                "command_topic": self.topics.set(&target),
                // This platform calls the payload `action`.
                "command_template": template.replace("'action': value", "'action': action"),
                "payload_arm_away": "ACTIVATE", "payload_disarm": "RELEASE",
                "supported_features": ["arm_away"],
                "code": code, "code_arm_required": false, "code_disarm_required": true,
                "retain": false, "qos": 1,
                "availability": entries(&self.availability(Some(&target))), "availability_mode": "all",
            }),
        );
    }

    /// Adds the button that tries the way of an activate without activating anything. Its presses go the same way, by
    /// topic and quality of service.
    fn add_drill(&self, device: &mut Device, scenario: ScenarioFacts<'_>) {
        let ScenarioFacts { id, name, slug } = scenario;
        let target = Target::Scenario(id.clone());
        device.add(
            &format!("drill_{id}"),
            "button",
            format!("verkada2mqtt_{id}_drill"),
            self.stamped(json!({
                "object_id": format!("{slug}_drill"),
                "name": format!("{name} drill"), "icon": "mdi:clipboard-check-outline",
                "entity_category": "diagnostic", "enabled_by_default": false,
                "command_topic": self.topics.set(&target), "payload_press": "DRILL", "retain": false, "qos": 1,
                "availability": entries(&self.availability(Some(&target))), "availability_mode": "all",
            })),
        );
    }

    fn add_doors_confirmed(&self, device: &mut Device, scenario: ScenarioFacts<'_>) {
        let ScenarioFacts { id, name, slug } = scenario;
        let target = Target::Scenario(id.clone());
        device.add(
            &format!("doors_confirmed_{id}"),
            "sensor",
            format!("verkada2mqtt_{id}_doors_confirmed"),
            json!({
                "object_id": format!("{slug}_doors_confirmed"),
                "name": format!("{name} doors confirmed"), "icon": "mdi:lock-check", "entity_category": "diagnostic",
                "state_topic": self.topics.of(&target, "doors_confirmed"), "qos": 1,
                "availability": entries(&self.availability(Some(&target))), "availability_mode": "all",
            }),
        );
    }

    /// The scenario one of whose entities has this key within its device.
    pub fn scenario_of(key: &str) -> Option<ScenarioId> {
        let id =
            ["scenario_", "drill_", "doors_confirmed_"].iter().find_map(|kind| key.strip_prefix(kind))?;
        id.strip_suffix(PANEL).unwrap_or(id).parse().ok()
    }

    /// Identifies the device of a door for ever.
    pub fn door_identifier(id: &DoorId) -> String {
        format!("verkada2mqtt_door_{id}")
    }

    /// The retained messages that announce a device; no message for a whole device has more than `limit` bytes.
    pub fn announcement(&self, device: &Device, limit: usize) -> Announcement {
        let mut announcement = Announcement {
            device: device.identifier.clone(),
            name: device.name.clone(),
            configs: Vec::new(),
            too_large: None,
        };
        match self.style {
            Style::Off => return announcement,
            Style::Device => {
                let message = device.message();
                let bytes = message.to_string().len();
                if bytes <= limit {
                    let entities = device.components.iter().map(Component::entity).collect();
                    let topic = self.device_topic(&device.identifier);
                    announcement.configs.push(Config { topic, entities, message });
                    return announcement;
                }
                announcement.too_large = Some(bytes);
            }
            Style::Component => {}
        }
        announcement.configs.extend(device.components.iter().map(|component| Config {
            topic: format!("{}/{}/{}/config", self.prefix, component.platform, component.unique_id),
            entities: BTreeMap::from([component.entity()]),
            message: device.component_message(component),
        }));
        announcement
    }

    /// Door or scenario (if any), API and gateway, in the order in which consumers that read only the last one are
    /// served best.
    fn availability(&self, target: Option<&Target>) -> Vec<String> {
        let own = target.map(|target| self.topics.of(target, "availability"));
        own.into_iter().chain([self.topics.api_availability(), self.topics.availability()]).collect()
    }

    fn device_topic(&self, identifier: &str) -> String {
        format!("{}/device/{identifier}/config", self.prefix)
    }

    fn stamped(&self, options: Value) -> Value {
        self.templated(false, options)
    }

    fn templated(&self, with_code: bool, mut options: Value) -> Value {
        let template = match (self.stamp_commands, with_code) {
            (true, true) => Some(STAMP_WITH_CODE),
            (true, false) => Some(STAMP),
            (false, true) => Some(CODE_ALONE),
            (false, false) => None,
        };
        if let Some(template) = template
            && let Some(options) = options.as_object_mut()
        {
            options.insert("command_template".to_owned(), json!(template));
        }
        options
    }
}

impl Device {
    fn new(
        identifier: String,
        name: &str,
        maker: (&str, &str),
        via: Option<&str>,
        availability: Vec<String>,
    ) -> Self {
        let facts = facts(&identifier, name, maker, via);
        Self { identifier, name: name.to_owned(), facts, availability, components: Vec::new() }
    }

    /// Adds an entity; its options name the `object_id` that its entity id is made from.
    pub(super) fn add(&mut self, key: &str, platform: &'static str, unique_id: String, options: Value) {
        let Value::Object(mut options) = options else { return };
        // `object_id` is the older spelling, for Home Assistant before 2025.10; with both present no version warns.
        if let Some(object_id) = options.get("object_id").and_then(Value::as_str) {
            let entity_id = format!("{platform}.{object_id}");
            options.insert("default_entity_id".to_owned(), json!(entity_id));
        }
        self.components.push(Component { key: key.to_owned(), platform, unique_id, options });
    }

    fn message(&self) -> Value {
        let components: Map<String, Value> = self
            .components
            .iter()
            .map(|component| {
                let mut options = component.options.clone();
                options.insert("unique_id".to_owned(), json!(component.unique_id));
                options.insert("platform".to_owned(), json!(component.platform));
                (component.key.clone(), Value::Object(options))
            })
            .collect();
        json!({
            "device": self.facts, "origin": origin(), "components": components,
            "availability": entries(&self.availability), "availability_mode": "all",
        })
    }

    fn component_message(&self, component: &Component) -> Value {
        let mut options = component.options.clone();
        options.insert("unique_id".to_owned(), json!(component.unique_id));
        options.insert("device".to_owned(), json!(self.facts));
        options.insert("origin".to_owned(), origin());
        if !options.contains_key("availability") {
            options.insert("availability".to_owned(), entries(&self.availability));
            options.insert("availability_mode".to_owned(), json!("all"));
        }
        Value::Object(options)
    }
}

impl Component {
    fn entity(&self) -> (String, Entity) {
        (self.key.clone(), Entity { platform: self.platform.to_owned(), unique_id: self.unique_id.clone() })
    }
}

fn facts(identifier: &str, name: &str, maker: (&str, &str), via: Option<&str>) -> Map<String, Value> {
    let (manufacturer, model) = maker;
    let mut facts = Map::new();
    facts.insert("identifiers".to_owned(), json!([identifier]));
    facts.insert("name".to_owned(), json!(name));
    facts.insert("manufacturer".to_owned(), json!(manufacturer));
    facts.insert("model".to_owned(), json!(model));
    if let Some(via) = via {
        facts.insert("via_device".to_owned(), json!(via));
        facts.insert("configuration_url".to_owned(), json!("https://command.verkada.com/"));
    }
    facts
}

pub(super) fn origin() -> Value {
    json!({ "name": "verkada2mqtt", "sw_version": env!("CARGO_PKG_VERSION") })
}

fn entries(topics: &[String]) -> Value {
    let entry = |topic: &String| json!({ "topic": topic, "payload_available": "online", "payload_not_available": "offline" });
    Value::Array(topics.iter().map(entry).collect())
}
