//! Every key of the file: what it is for, what it takes, its default, and which of them do not go together.

mod commands;
mod filters;
pub(super) mod mqtt;
mod pem;
mod text;
mod verkada;
mod webhook;

use std::{path::PathBuf, time::Duration};

use super::{
    reader::{Faulty, Problem, Rule, Section},
    secret,
    settings::{
        Asker, Calendars, Config, Discovery, Format, HoldStart, Holds, HomeAssistant, Http, Journal, Log,
        Poll,
    },
};
use crate::model::Level;

/// Reads the whole file. Every key is asked for before any fault ends it, so that all faults are found.
pub(super) fn config(root: &mut Section<'_, '_>) -> Result<Config, Faulty> {
    let verkada = root.section("verkada", "Where and as whom to ask Verkada.", verkada::verkada);
    let mqtt = root.section("mqtt", "The MQTT broker and our place on it.", mqtt::mqtt);
    let home_assistant =
        root.section("home_assistant", "How Home Assistant finds the gateway.", home_assistant);
    let poll = root.section("poll", "How often Verkada is asked.", poll);
    let commands = root.section("commands", "What may be commanded over MQTT.", commands::commands);
    let holds = root.section("holds", "How doors may be held, where commands.hold allows it.", holds);
    let calendars = root.section("calendars", "What is done with exception calendars.", calendars);
    let doors = root.section("doors", "Which doors, and settings of single doors.", filters::doors);
    if let Ok(commands) = &commands {
        commands::refuse_missing_code(root, commands, &doors);
    }
    let scenarios = root.section("scenarios", "Which scenarios.", filters::scenarios);
    let events = root.section("events", "What access events tell.", filters::events);
    let webhook = root.section(
        "webhook",
        "The receiver of Verkada's webhooks; off without a secret.",
        webhook::webhook,
    );
    let http = http_alone(root);
    let state_dir = state_dir(root);
    let journal = root.section("journal", "The journal of commands, in the state_dir.", journal);
    let log = root.section("log", "The log.", log);
    Ok(Config {
        verkada: verkada?,
        mqtt: mqtt?,
        home_assistant,
        poll,
        commands: commands?,
        holds: holds?,
        calendars,
        doors,
        scenarios,
        events,
        webhook: webhook?,
        http,
        state_dir,
        journal,
        log,
        warnings: Vec::new(),
        secret_files: Vec::new(),
    })
}

/// Reads what a command at a shell needs that goes through the running gateway.
pub(super) fn asker(root: &mut Section<'_, '_>) -> Result<Asker, Faulty> {
    let mqtt = root.section("mqtt", "The MQTT broker and our place on it.", mqtt::mqtt);
    let coded = root.section("commands", "What may be commanded over MQTT.", commands::coded);
    let doors = root.section("doors", "Which doors, and settings of single doors.", filters::doors);
    Ok(Asker { mqtt: mqtt?, coded, doors: doors.settings })
}

fn home_assistant(section: &mut Section<'_, '_>) -> HomeAssistant {
    let words = [("device", Discovery::Device), ("component", Discovery::Component), ("off", Discovery::Off)];
    HomeAssistant {
        discovery: section
            .key(
                "discovery",
                "device: one message a device, for Home Assistant 2024.12 or later. \
                 component: one message an entity. off: none.",
            )
            .choice(&words, Discovery::Device),
        discovery_prefix: section
            .key("discovery_prefix", "The discovery prefix set in Home Assistant's MQTT integration.")
            .parsed_or("homeassistant".to_owned(), &text::topic_rule(), text::topic),
        birth_topic: section
            .key("birth_topic", "The topic of the birth message set in Home Assistant's MQTT integration.")
            .parsed_or("homeassistant/status".to_owned(), &text::topic_rule(), text::topic),
        birth_payload: section.key("birth_payload", "The payload of that birth message.").parsed_or(
            "online".to_owned(),
            &Rule::text("a text"),
            |text| Ok(text.to_owned()),
        ),
        stamp_commands: section
            .key(
                "stamp_commands",
                "Whether commands from Home Assistant carry an id and the time they \
                 were issued, so that old and repeated ones are told apart on any broker.",
            )
            .boolean(true),
    }
}

fn poll(section: &mut Section<'_, '_>) -> Poll {
    let (second, minute) = (Duration::from_secs, Duration::from_mins);
    Poll {
        doors: section
            .key("doors", "How often the list of doors is read.")
            .duration(minute(5), second(30)..=Duration::from_hours(24)),
        scenarios: section
            .key(
                "scenarios",
                "How often the list of scenarios is read, and so how soon a lockdown \
                 started elsewhere shows.",
            )
            .duration(second(5), second(1)..=minute(10)),
        events: section
            .key("events", "How often access events are read, and so how soon a door used by badge shows.")
            .duration(second(5), second(1)..=minute(10)),
        calendars: section
            .key(
                "calendars",
                "How often exception calendars are read, where doors may be held, or calendars shown or changed, and so how soon \
                 a change made elsewhere shows.",
            )
            .duration(minute(1), second(10)..=Duration::from_hours(1)),
        access_levels: section
            .key(
                "access_levels",
                "How often access levels are read, so that doors tell who may pass them when: off, or a \
                 duration.",
            )
            .duration_or_off(Duration::from_hours(1), minute(5)..=Duration::from_hours(24)),
    }
}

fn holds(section: &mut Section<'_, '_>) -> Result<Holds, Faulty> {
    let (minute, hour) = (Duration::from_mins, Duration::from_hours);
    let longest =
        section.key("longest", "Longer holds are refused.").duration(hour(12), minute(1)..=hour(7 * 24));
    let usual = section
        .key("usual", "How long a hold lasts that does not say it; Home Assistant can set it for each door.")
        .duration(minute(30).min(longest), minute(1)..=hour(7 * 24));
    let words = [("this_minute", HoldStart::ThisMinute), ("next_minute", HoldStart::NextMinute)];
    let start = section
        .key(
            "start",
            "With which minute a hold begins. this_minute: at once, by a time that began some seconds ago. next_minute: \
             with the next full minute, should Verkada not take the present one.",
        )
        .choice(&words, HoldStart::ThisMinute);
    if usual > longest {
        let problem =
            Problem::with_cure("usual is longer than longest", "make longest longer, or usual shorter");
        return Err(section.refuse_whole(problem));
    }
    Ok(Holds { longest, usual, start })
}

fn calendars(section: &mut Section<'_, '_>) -> Calendars {
    Calendars {
        show: section
            .key(
                "show",
                "Whether exception calendars are shown, and what they say of each door. The key needs the permission Door \
                 Access Management.",
            )
            .boolean(false),
        allow: section
            .key("allow", "The ids of the calendars whose exceptions may be changed by commands; no other one is.")
            .ids()
            .into_keys()
            .collect(),
    }
}

/// Reads the part about the HTTP server.
pub(super) fn http_alone(root: &mut Section<'_, '_>) -> Http {
    root.section("http", "The HTTP server for health, metrics, status page and webhooks.", http)
}

fn http(section: &mut Section<'_, '_>) -> Http {
    let rule = Rule::text("an IP address and a port, for instance 127.0.0.1:9463 or [::]:9463");
    let listen = section
        .key("listen", "Where it listens. Port 0 takes a free port, which the log tells.")
        .parsed_or(([127, 0, 0, 1], 9463).into(), &rule, |text| {
            text.parse().map_err(|_| Problem::new("not an address with a port"))
        });
    Http { listen }
}

/// Reads the folder for what must outlive a restart.
pub(super) fn state_dir(root: &mut Section<'_, '_>) -> PathBuf {
    let rule = Rule::of("the absolute path of a folder", secret::path_rule().schema);
    let check = |text: &str| secret::absolute(text).map(|_| text.to_owned());
    root.key(
        "state_dir",
        "The folder for what must outlive a restart; the program must be able to write there.",
    )
    .parsed_or("/var/lib/verkada2mqtt".to_owned(), &rule, check)
    .into()
}

fn journal(section: &mut Section<'_, '_>) -> Journal {
    let days = |days: u64| Duration::from_hours(24 * days);
    Journal {
        keep: section.key("keep", "Older records are removed.").duration(days(400), days(1)..=days(3650)),
    }
}

fn log(section: &mut Section<'_, '_>) -> Log {
    let levels = Level::ALL.map(|level| (level.word(), level));
    Log {
        level: section.key("level", "The least grave level that is written.").choice(&levels, Level::Info),
        format: section
            .key("format", "text for people, json for programs.")
            .choice(&[("text", Format::Text), ("json", Format::Json)], Format::Text),
    }
}
