//! `verkada2mqtt check --online`: tries what the configuration says, one step after the other, and says for each what
//! is well and what to do where it is not.

use std::{
    io::{self, Write},
    time::Duration,
};

use crate::{
    app,
    ask::{NOTHING, ask, table},
    clock,
    config::Config,
    hass::name,
    model::{Answer, Door, LinkEvent, Request, Scenario, ScenarioState},
    mqtt,
    verkada::{self, Client},
};

/// How long the broker may take to let a heartbeat come back ...
const BROKER_WAITS: Duration = Duration::from_secs(15);
/// ... and how long once there was trouble: long enough for the other MQTT version and a second attempt.
const TROUBLE_WAITS: Duration = Duration::from_secs(3);

/// What to do about a door whose toggle is off.
const TOGGLE: &str = "in Verkada Command, switch on \"Enable Door Management via API\" for the organisation, the site and the door \
                      (Installer Settings)";

/// Tries everything and writes a line for each step; says whether all went well.
///
/// # Errors
/// Only if the output cannot be written.
pub async fn online(config: &Config, paper: &mut Paper<impl Write>) -> io::Result<bool> {
    let vendor = check_vendor(config, paper).await?;
    let name = format!("{}-check", config.mqtt.client_id);
    // The running gateway's availability is not ours to touch, and its session stays with it.
    let main = mqtt::Settings { last_will: None, ..app::link_settings(config, &name) };
    let name = format!("{}-securing-check", config.mqtt.client_id);
    let securing =
        mqtt::Settings { session: mqtt::Session::Clean, ..app::securing_settings(config, &name, None) };
    let broker = check_broker("", main, paper).await?;
    let securing = check_broker(" (securing)", securing, paper).await?;
    Ok(vendor && broker && securing)
}

async fn check_vendor(config: &Config, paper: &mut Paper<impl Write>) -> io::Result<bool> {
    paper.busy("asking Verkada for a token")?;
    let client = match Client::new(app::client_settings(config)) {
        Ok(client) => client,
        Err(error) => return bad(paper, "API client", &error),
    };
    match client.warm().await {
        Ok(()) => {}
        Err(verkada::Error::Warm(cause)) => return bad(paper, "API token", &cause),
        Err(error) => return bad(paper, "API token", &error),
    }
    good(paper, "API token", &format!("the key is accepted at {}", config.verkada.base_url))?;
    let mut well = true;
    let since = clock::now().utc;
    let mut requests =
        vec![Request::ListDoors, Request::ListScenarios, Request::ReadEvents { since, page: None }];
    if config.reads_calendars() {
        requests.push(Request::ListCalendars);
    }
    if config.poll.access_levels.is_some() {
        requests.extend([Request::ListAccessLevels, Request::ListAccessGroups]);
    }
    for (id, request) in (1..).zip(requests) {
        let what = match request {
            Request::ListDoors => "doors",
            Request::ListScenarios => "scenarios",
            Request::ListAccessLevels => "access levels",
            Request::ListAccessGroups => "access groups",
            Request::ListCalendars => "exception calendars",
            Request::ReadEvents { .. }
            | Request::Unlock { .. }
            | Request::UnlockAs { .. }
            | Request::CreateCalendar(_)
            | Request::WriteCalendar { .. }
            | Request::CreateException { .. }
            | Request::WriteException { .. }
            | Request::DeleteException { .. }
            | Request::Activate { .. }
            | Request::Drill
            | Request::Release { .. } => "access events",
        };
        paper.busy(&format!("reading {what}"))?;
        match ask(&client, id, request).await {
            Ok(answer) => well &= describe(paper, config, what, &answer)?,
            Err(fault) => well &= bad(paper, what, &fault)?,
        }
    }
    Ok(well)
}

fn describe(paper: &mut Paper<impl Write>, config: &Config, what: &str, answer: &Answer) -> io::Result<bool> {
    match answer {
        Answer::Doors(doors) => {
            good(paper, what, &format!("{} can be read", doors.items.len()))?;
            paper.table(&doors_table(config, &doors.items))?;
            left_out(paper, &doors.skipped)
        }
        Answer::Scenarios(scenarios) => {
            let active =
                scenarios.items.iter().filter(|scenario| scenario.state == ScenarioState::Active).count();
            good(paper, what, &format!("{} can be read, {active} active", scenarios.items.len()))?;
            paper.table(&scenarios_table(config, &scenarios.items))?;
            left_out(paper, &scenarios.skipped)
        }
        Answer::Events(page) => {
            good(paper, what, "can be read")?;
            left_out(paper, &page.skipped)
        }
        Answer::Calendars(calendars) => {
            good(paper, what, &format!("{} can be read", calendars.items.len()))?;
            let inner = calendars.items.iter().flat_map(|calendar| &calendar.skipped);
            left_out(paper, &calendars.skipped.iter().chain(inner).cloned().collect::<Vec<_>>())
        }
        Answer::AccessLevels(levels) => {
            good(paper, what, &format!("{} can be read", levels.items.len()))?;
            left_out(paper, &levels.skipped)
        }
        Answer::AccessGroups(groups) => {
            good(paper, what, &format!("{} can be read", groups.items.len()))?;
            left_out(paper, &groups.skipped)
        }
        Answer::Calendar(_)
        | Answer::Exception(_)
        | Answer::Unlocked(_)
        | Answer::Taken
        | Answer::Drilled(_) => Ok(true),
    }
}

fn left_out(paper: &mut Paper<impl Write>, skipped: &[String]) -> io::Result<bool> {
    for cause in skipped {
        paper.line(&format!("       left out: {cause:?}"))?;
    }
    Ok(skipped.is_empty())
}

async fn check_broker(
    which: &str,
    settings: mqtt::Settings,
    paper: &mut Paper<impl Write>,
) -> io::Result<bool> {
    let (broker, rights) = (format!("MQTT broker{which}"), format!("MQTT rights{which}"));
    let (host, port, heartbeat) = (settings.host.clone(), settings.port, settings.heartbeat_topic.clone());
    paper.busy(&format!("waiting for a heartbeat over {host}:{port}{which}"))?;
    let mut link = match mqtt::connect(settings, 1) {
        Ok(link) => link,
        Err(error) => return bad(paper, &broker, &error),
    };
    let mut trouble = "it does not answer".to_owned();
    let mut until = clock::now().mono + BROKER_WAITS;
    let well = loop {
        let Ok(event) = clock::timeout_at(until, link.next()).await else {
            break bad(paper, &broker, &trouble)?;
        };
        match event {
            LinkEvent::Up { protocol, .. } => {
                trouble = format!(
                    "connected with MQTT {protocol}, but no heartbeat comes back; the broker must let this user publish \
                     and read {heartbeat}"
                );
                good(paper, &broker, &format!("{host}:{port} is connected with MQTT {protocol}"))?;
            }
            LinkEvent::Proven => {
                break good(paper, &rights, "a heartbeat came back: publishing and reading commands work")?;
            }
            LinkEvent::Unproven(cause) | LinkEvent::Down(cause) => {
                trouble = cause;
                until = until.min(clock::now().mono + TROUBLE_WAITS);
            }
            LinkEvent::Message(_)
            | LinkEvent::Resumed { .. }
            | LinkEvent::Waiting(..)
            | LinkEvent::Shared => {}
        }
    };
    if let Err(error) = link.close(Vec::new(), Duration::from_secs(2)).await {
        tracing::debug!(%error, "the check did not say goodbye to the broker");
    }
    Ok(well)
}

/// What is known of each door, and what to do where it cannot be controlled.
fn doors_table(config: &Config, doors: &[Door]) -> Vec<Vec<String>> {
    let heads = ["door", "site", "API toggle", "unlock", "id", "what to do"].map(str::to_owned);
    let row = |door: &Door| {
        let toggle = match door.api_control {
            Some(true) => "on",
            Some(false) => "off",
            None => "unknown",
        };
        let (can, cure) = unlockable(config, door);
        let site = door.site.as_ref().and_then(|site| site.name.as_deref());
        vec![
            readable(door.name.as_deref()),
            readable(site),
            toggle.to_owned(),
            can.to_owned(),
            door.id.to_string(),
            cure,
        ]
    };
    std::iter::once(heads.to_vec()).chain(doors.iter().map(row)).collect()
}

/// Whether a door can be unlocked, and what to do where not.
fn unlockable(config: &Config, door: &Door) -> (&'static str, String) {
    let own = config.doors.settings.get(&door.id).and_then(|own| own.unlock);
    let excluded = config.doors.exclude.contains(&door.id);
    let not_included = !config.doors.include.is_empty() && !config.doors.include.contains(&door.id);
    let cure = if excluded {
        "take it out of doors.exclude to show it".to_owned()
    } else if not_included {
        "name it in doors.include to show it".to_owned()
    } else if config.commands.read_only {
        "commands.read_only allows no command".to_owned()
    } else if own == Some(false) {
        format!("doors.settings.{}.unlock forbids it", door.id)
    } else if own.is_none() && !config.commands.unlock {
        "commands.unlock forbids it".to_owned()
    } else {
        return match door.api_control {
            Some(true) => ("yes", NOTHING.to_owned()),
            Some(false) => ("no", TOGGLE.to_owned()),
            None => ("unknown", "Verkada does not tell of the toggle; try it".to_owned()),
        };
    };
    ("no", cure)
}

/// What is known of each scenario, and what to do where it cannot be controlled. Whether the key may control scenarios at
/// all shows only when one is.
fn scenarios_table(config: &Config, scenarios: &[Scenario]) -> Vec<Vec<String>> {
    let heads = ["scenario", "state", "doors", "activate", "release", "id", "what to do"].map(str::to_owned);
    let commands = &config.commands;
    let row = |scenario: &Scenario| {
        let state = match &scenario.state {
            ScenarioState::Active => "active",
            ScenarioState::Inactive => "inactive",
            ScenarioState::Unknown(_) => "unknown",
        };
        let excluded = config.scenarios.exclude.contains(&scenario.id);
        let include = &config.scenarios.include;
        let hidden = excluded || !include.is_empty() && !include.contains(&scenario.id);
        let may = |allowed: bool| allowed && !hidden && !commands.read_only;
        let (activate, release) = (may(commands.activate), may(commands.release));
        let cure = if excluded {
            "take it out of scenarios.exclude to show it"
        } else if hidden {
            "name it in scenarios.include to show it"
        } else if commands.read_only {
            "commands.read_only allows no command"
        } else {
            match (activate, release) {
                (true, true) => NOTHING,
                (true, false) => "commands.release forbids to end it",
                (false, true) => "commands.activate forbids to start it",
                (false, false) => "commands.activate and commands.release forbid it",
            }
        };
        let word = |may: bool| if may { "allowed" } else { "no" }.to_owned();
        vec![
            readable(scenario.name.as_deref()),
            state.to_owned(),
            scenario.doors_to_lock.len().to_string(),
            word(activate),
            word(release),
            scenario.id.to_string(),
            cure.to_owned(),
        ]
    };
    std::iter::once(heads.to_vec()).chain(scenarios.iter().map(row)).collect()
}

fn readable(name: Option<&str>) -> String {
    name.and_then(name::shown).unwrap_or_else(|| NOTHING.to_owned())
}

fn good(paper: &mut Paper<impl Write>, what: &str, text: &str) -> io::Result<bool> {
    paper.step(true, &format!("{what}: {text}"))?;
    Ok(true)
}

fn bad(paper: &mut Paper<impl Write>, what: &str, cause: &dyn std::fmt::Display) -> io::Result<bool> {
    paper.step(false, &format!("{what}: {cause}"))?;
    Ok(false)
}

/// Where the check writes, and how.
#[derive(Debug)]
pub struct Paper<W> {
    /// The lines that stay.
    pub out: W,
    /// Whether whoever reads them sees colours.
    pub colours: bool,
    /// Whether somebody at a terminal is to see on standard error what is being waited for.
    pub progress: bool,
}

impl<W: Write> Paper<W> {
    /// Says what is being waited for, until the next line.
    fn busy(&self, what: &str) -> io::Result<()> {
        self.transient(&format!("  ...  {what}"))
    }

    fn step(&mut self, well: bool, text: &str) -> io::Result<()> {
        let (word, colour) = if well { ("ok  ", "\x1b[32m") } else { ("FAIL", "\x1b[31m") };
        let (colour, end) = if self.colours { (colour, "\x1b[0m") } else { ("", "") };
        self.line(&format!("  {colour}{word}{end} {text}"))
    }

    fn table(&mut self, rows: &[Vec<String>]) -> io::Result<()> {
        let mut text = Vec::new();
        if rows.len() > 1 {
            table(rows, &mut text)?;
        }
        String::from_utf8_lossy(&text).lines().try_for_each(|line| self.line(&format!("       {line}")))
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        self.transient("")?;
        writeln!(self.out, "{text}")
    }

    /// What stands in the last line of the terminal until something else does.
    fn transient(&self, text: &str) -> io::Result<()> {
        if !self.progress {
            return Ok(());
        }
        let mut terminal = io::stderr();
        write!(terminal, "\r\x1b[K{text}")?;
        terminal.flush()
    }
}
