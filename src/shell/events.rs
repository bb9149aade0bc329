//! `events`: what happened at the doors, last or from now on.

use std::io::Write;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    Error,
    house::{Thing, parts},
    line::{Heard, Line, Patience},
    list,
};
use crate::{
    ask::{NOTHING, one_line, table},
    config::Asker,
    model::{DoorId, Qos},
    signals::{Signal, stopped},
};

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Events as they come, until somebody stops it, in place of the last one of each door.
    pub follow: bool,
    /// One JSON object a line.
    pub json: bool,
}

/// Writes events to `out`, and trouble to `notes`. Says whether what was written is certain to be up to date.
///
/// # Errors
/// If the broker does not serve, or `out` cannot be written.
pub async fn run(
    asker: &Asker,
    wanted: Wanted,
    signals: &mut mpsc::Receiver<Signal>,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<bool, Error> {
    let mut line = Line::open(asker, "events", |topics| {
        let leaves: &[&str] = if wanted.follow { &["attributes", "event"] } else { &["attributes"] };
        leaves.iter().map(|leaf| (format!("{}/door/+/{leaf}", topics.base()), Qos::AtLeastOnce)).collect()
    })?;
    line.look(Patience::Short, |_| false, |_| ()).await?;
    if let Some(doubt) = line.house.doubt() {
        writeln!(notes, "verkada2mqtt: {doubt}: no event comes from it now")?;
    }
    if wanted.follow {
        tokio::select! {
            end = follow(asker, wanted.json, &mut line, out, notes) => match end? {},
            () = stopped(signals) => {}
        }
        line.close().await;
        return Ok(true);
    }
    last(asker, wanted.json, &line, out)?;
    let certain = line.house.doubt().is_none();
    line.close().await;
    Ok(certain)
}

/// The last event of each door, the newest at the end.
fn last(asker: &Asker, as_json: bool, line: &Line, out: &mut impl Write) -> Result<(), Error> {
    let mut events: Vec<(&DoorId, &Thing, &Value)> = line
        .house
        .doors
        .iter()
        .map(|(id, door)| (id, door, door.attribute("last_event")))
        .filter(|(_, _, event)| event.is_object())
        .collect();
    events.sort_by_key(|(_, _, event)| {
        event.get("time").and_then(Value::as_str).unwrap_or_default().to_owned()
    });
    if as_json {
        for (id, door, event) in events {
            writeln!(out, "{}", with_door(asker, id, Some(door), event))?;
        }
        return Ok(());
    }
    let heads = [["time", "door", "event", "method", "by"].map(str::to_owned)].into_iter();
    let rows = events.into_iter().map(|(id, door, event)| {
        let text = |member: &str| one_line(event.get(member).and_then(Value::as_str).unwrap_or(NOTHING));
        [text("time"), name(asker, id, Some(door)), text("type"), text("method"), person(event.get("by"))]
    });
    Ok(table(&heads.chain(rows).collect::<Vec<_>>(), out)?)
}

/// Writes a line for each event, for ever.
async fn follow(
    asker: &Asker,
    as_json: bool,
    line: &mut Line,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<std::convert::Infallible, Error> {
    let mut lost = false;
    loop {
        match line.next().await {
            Heard::Message(message) if !message.retain => {
                let Some(("door", id, "event")) = parts(&line.topics, &message.topic) else { continue };
                let (Ok(id), Ok(event)) =
                    (id.parse::<DoorId>(), serde_json::from_slice::<Value>(&message.payload))
                else {
                    continue;
                };
                let door = line.house.doors.get(&id);
                if as_json {
                    writeln!(out, "{}", with_door(asker, &id, door, &event))?;
                } else {
                    writeln!(out, "{}", sentence(&name(asker, &id, door), &event))?;
                }
                out.flush()?;
            }
            Heard::Trouble => {
                if !std::mem::replace(&mut lost, true) {
                    writeln!(notes, "verkada2mqtt: events are missed from now on: {}", line.trouble())?;
                }
            }
            Heard::Proven => {
                if std::mem::take(&mut lost) {
                    writeln!(notes, "verkada2mqtt: events are heard again")?;
                }
            }
            Heard::Message(_) | Heard::Nothing => {}
        }
    }
}

fn sentence(door: &str, event: &Value) -> String {
    let text = |member: &str| event.get(member).and_then(Value::as_str).map(one_line);
    let mut line = format!(
        "{}  {door}  {}",
        text("time").unwrap_or_else(|| NOTHING.to_owned()),
        text("type").or_else(|| text("event_type")).unwrap_or_else(|| NOTHING.to_owned())
    );
    let who = event.get("person").map(|by| person(Some(by)));
    for detail in [text("method"), text("direction"), who].into_iter().flatten() {
        line.push_str("  ");
        line.push_str(&detail);
    }
    line
}

fn with_door(asker: &Asker, id: &DoorId, door: Option<&Thing>, event: &Value) -> Value {
    let mut told = json!({
        "door_id": id.as_str(),
        "door": door.and_then(|door| list::shown_door(asker, id, door)),
    });
    if let (Some(told), Some(event)) = (told.as_object_mut(), event.as_object()) {
        told.extend(event.clone());
    }
    told
}

fn name(asker: &Asker, id: &DoorId, door: Option<&Thing>) -> String {
    let shown = door.and_then(|door| list::shown_door(asker, id, door));
    shown.map_or_else(|| id.as_str().to_owned(), |name| one_line(&name))
}

/// A person as far as the gateway shows them.
fn person(by: Option<&Value>) -> String {
    let member = |name: &str| by.and_then(|by| by.get(name)).and_then(Value::as_str);
    member("name")
        .or_else(|| member("email"))
        .or_else(|| member("id"))
        .map_or_else(|| NOTHING.to_owned(), one_line)
}
