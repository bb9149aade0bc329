//! `verkada2mqtt check --online`: tries what the configuration says, one step after the other, and says for each what
//! is well and what to do where it is not.

use std::{
    io::{self, Write},
    time::Duration,
};

use crate::{
    app,
    ask::ask,
    clock,
    config::Config,
    model::{Answer, LinkEvent, Request, ScenarioState},
    mqtt,
    verkada::{self, Client},
};

/// How long the broker may take to let a heartbeat come back ...
const BROKER_WAITS: Duration = Duration::from_secs(15);
/// ... and how long once there was trouble: long enough for the other MQTT version and a second attempt.
const TROUBLE_WAITS: Duration = Duration::from_secs(3);

/// Tries everything and writes a line for each step; says whether all went well.
///
/// # Errors
/// Only if `out` cannot be written.
pub async fn online(config: &Config, out: &mut impl Write) -> io::Result<bool> {
    let vendor = check_vendor(config, out).await?;
    let name = format!("{}-check", config.mqtt.client_id);
    // The running gateway's availability is not ours to touch, and its session stays with it.
    let main = mqtt::Settings { last_will: None, ..app::link_settings(config, &name) };
    let name = format!("{}-securing-check", config.mqtt.client_id);
    let securing =
        mqtt::Settings { session: mqtt::Session::Clean, ..app::securing_settings(config, &name, None) };
    let broker = check_broker("", main, out).await?;
    let securing = check_broker(" (securing)", securing, out).await?;
    Ok(vendor && broker && securing)
}

async fn check_vendor(config: &Config, out: &mut impl Write) -> io::Result<bool> {
    let client = match Client::new(app::client_settings(config)) {
        Ok(client) => client,
        Err(error) => return bad(out, "API client", &error),
    };
    match client.warm().await {
        Ok(()) => {}
        Err(verkada::Error::Warm(cause)) => return bad(out, "API token", &cause),
        Err(error) => return bad(out, "API token", &error),
    }
    good(out, "API token", &format!("the key is accepted at {}", config.verkada.base_url))?;
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
        match ask(&client, id, request).await {
            Ok(answer) => well &= describe(out, what, &answer)?,
            Err(fault) => well &= bad(out, what, &fault)?,
        }
    }
    Ok(well)
}

fn describe(out: &mut impl Write, what: &str, answer: &Answer) -> io::Result<bool> {
    match answer {
        Answer::Doors(doors) => {
            good(out, what, &format!("{} can be read", doors.items.len()))?;
            for door in doors.items.iter().filter(|door| door.api_control == Some(false)) {
                let name = door.name.as_deref().unwrap_or("without a name");
                writeln!(
                    out,
                    "       {} ({name:?}) cannot be unlocked or held: in Verkada Command, switch on \"Enable Door Management via \
                     API\" for the organisation, the site and the door (Installer Settings)",
                    door.id
                )?;
            }
            left_out(out, &doors.skipped)
        }
        Answer::Scenarios(scenarios) => {
            let active =
                scenarios.items.iter().filter(|scenario| scenario.state == ScenarioState::Active).count();
            good(out, what, &format!("{} can be read, {active} active", scenarios.items.len()))?;
            left_out(out, &scenarios.skipped)
        }
        Answer::Events(page) => {
            good(out, what, "can be read")?;
            left_out(out, &page.skipped)
        }
        Answer::Calendars(calendars) => {
            good(out, what, &format!("{} can be read", calendars.items.len()))?;
            let inner = calendars.items.iter().flat_map(|calendar| &calendar.skipped);
            left_out(out, &calendars.skipped.iter().chain(inner).cloned().collect::<Vec<_>>())
        }
        Answer::AccessLevels(levels) => {
            good(out, what, &format!("{} can be read", levels.items.len()))?;
            left_out(out, &levels.skipped)
        }
        Answer::AccessGroups(groups) => {
            good(out, what, &format!("{} can be read", groups.items.len()))?;
            left_out(out, &groups.skipped)
        }
        Answer::Calendar(_)
        | Answer::Exception(_)
        | Answer::Unlocked(_)
        | Answer::Taken
        | Answer::Drilled(_) => Ok(true),
    }
}

fn left_out(out: &mut impl Write, skipped: &[String]) -> io::Result<bool> {
    for cause in skipped {
        writeln!(out, "       left out: {cause:?}")?;
    }
    Ok(skipped.is_empty())
}

async fn check_broker(which: &str, settings: mqtt::Settings, out: &mut impl Write) -> io::Result<bool> {
    let (broker, rights) = (format!("MQTT broker{which}"), format!("MQTT rights{which}"));
    let (host, port, heartbeat) = (settings.host.clone(), settings.port, settings.heartbeat_topic.clone());
    let mut link = match mqtt::connect(settings, 1) {
        Ok(link) => link,
        Err(error) => return bad(out, &broker, &error),
    };
    let mut trouble = "it does not answer".to_owned();
    let mut until = clock::now().mono + BROKER_WAITS;
    let well = loop {
        let Ok(event) = clock::timeout_at(until, link.next()).await else {
            break bad(out, &broker, &trouble)?;
        };
        match event {
            LinkEvent::Up { protocol, .. } => {
                trouble = format!(
                    "connected with MQTT {protocol}, but no heartbeat comes back; the broker must let this user publish \
                     and read {heartbeat}"
                );
                good(out, &broker, &format!("{host}:{port} is connected with MQTT {protocol}"))?;
            }
            LinkEvent::Proven => {
                break good(out, &rights, "a heartbeat came back: publishing and reading commands work")?;
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

fn good(out: &mut impl Write, what: &str, text: &str) -> io::Result<bool> {
    writeln!(out, "  ok   {what}: {text}")?;
    Ok(true)
}

fn bad(out: &mut impl Write, what: &str, cause: &dyn std::fmt::Display) -> io::Result<bool> {
    writeln!(out, "  FAIL {what}: {cause}")?;
    Ok(false)
}
