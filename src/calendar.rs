//! `verkada2mqtt calendar`: lists the vendor's exception calendars, and changes one exception of one that is allowed.
//!
//! A change is one request, and whatever becomes of it no second one follows.

use std::io::{self, Write};

use serde_json::{Value, json, value::RawValue};

use crate::{
    app,
    ask::{NOTHING, ask, one_line, table},
    config::{Config, DuringLockdown},
    hass::{self, name},
    model::{
        Answer, Calendar, CalendarId, DoorMode, Edit, Exception, ExceptionMode, Fault, Hours, IdError,
        Request, ScenarioState,
    },
    verkada::{self, Client},
};

/// Why nothing is listed, or nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client of the API, or its token.
    #[error("{0}")]
    Client(#[from] verkada::Error),
    /// A list that is needed cannot be read, or the vendor refused.
    #[error("{0}")]
    Fault(#[from] Fault),
    /// The vendor answered something else than what was asked for.
    #[error("{0}: the answer does not fit the request")]
    Misfit(&'static str),
    /// No calendar can have this id.
    #[error("{0:?} is no id of a calendar: {1}")]
    Id(String, IdError),
    /// No calendar has this id.
    #[error("no exception calendar has the id {0}; `verkada2mqtt calendar list` tells those that there are")]
    NoCalendar(CalendarId),
    /// The configuration or the state of things forbids it; the sentence says what.
    #[error("{0}")]
    Refused(String),
    /// It was sent, and no answer proves either way.
    #[error(
        "{0}; it is not known whether it was done, and it is not sent again: look with `verkada2mqtt calendar show`"
    )]
    Unknown(Fault),
}

/// What is to be done.
#[derive(Debug)]
pub enum Task {
    /// All calendars are listed.
    List,
    /// The exceptions of one are.
    Show(CalendarId),
    /// One exception changes.
    Edit(CalendarId, Box<Edit>),
}

/// What came of it.
#[derive(Debug)]
pub struct Found {
    calendars: Vec<Told>,
    /// Whether the exceptions of the one calendar are what was asked for.
    one: bool,
    /// What came of a change.
    done: Option<String>,
    /// What could not be read.
    pub notes: Vec<String>,
}

/// A calendar, and what the configuration says of it.
#[derive(Debug)]
struct Told {
    calendar: Calendar,
    own: bool,
    allowed: bool,
}

/// Reads an argument that holds JSON.
///
/// # Errors
/// If it is none.
pub fn json(text: &str) -> Result<Box<RawValue>, String> {
    RawValue::from_string(text.to_owned()).map_err(|error| format!("the exception is no JSON: {error}"))
}

impl Task {
    /// Shows a calendar.
    ///
    /// # Errors
    /// If nothing can have this id.
    pub fn show(calendar: &str) -> Result<Self, Error> {
        id(calendar).map(Self::Show)
    }

    /// Changes an exception, if the configuration allows to.
    ///
    /// # Errors
    /// If it does not, or what is asked for breaks a rule: the sentence is that of a command over MQTT.
    pub fn edit(
        config: &Config,
        calendar: &str,
        edit: impl FnOnce() -> Result<Edit, String>,
    ) -> Result<Self, Error> {
        let calendar = id(calendar)?;
        let refused = |text: &str| Err(Error::Refused(text.to_owned()));
        if config.commands.read_only {
            return refused("the configuration allows no command (commands.read_only)");
        }
        if !config.calendars.allow.contains(&calendar) {
            return refused(
                "the configuration does not allow to change this calendar; calendars.allow names those that may be changed",
            );
        }
        edit().map(|edit| Self::Edit(calendar, Box::new(edit))).map_err(Error::Refused)
    }
}

fn id(text: &str) -> Result<CalendarId, Error> {
    text.parse().map_err(|error| Error::Id(text.to_owned(), error))
}

/// Does what was asked for.
///
/// # Errors
/// If the calendars cannot be read, or a change is refused, fails, or may have failed.
pub async fn run(config: &Config, task: &Task) -> Result<Found, Error> {
    let client = Client::new(app::client_settings(config))?;
    let mut found = list(&client, config, 1).await?;
    let (id, edit) = match task {
        Task::List => return Ok(found),
        Task::Show(id) => (id, None),
        Task::Edit(id, edit) => (id, Some(edit)),
    };
    found.keep_only(id)?;
    let Some(edit) = edit else { return Ok(found) };
    let told = found.calendars.first().ok_or_else(|| Error::NoCalendar(id.clone()))?;
    refuse(told, edit)?;
    if edit.is_done(&told.calendar) {
        let done = hass::calendar::done(edit, Some(&told.calendar));
        return Ok(Found { done: Some(format!("{done}; nothing had to be written")), ..found });
    }
    refuse_under_lockdown(&client, config, &told.calendar).await?;
    write(&client, config, id, edit).await
}

async fn list(client: &Client, config: &Config, call: u64) -> Result<Found, Error> {
    let Answer::Calendars(list) = ask(client, call, Request::ListCalendars).await? else {
        return Err(Error::Misfit("list calendars"));
    };
    let told = |calendar: Calendar| Told {
        own: hass::calendar::is_own(&calendar, &config.mqtt.base_topic),
        allowed: config.calendars.allow.contains(&calendar.id) && !config.commands.read_only,
        calendar,
    };
    let mut calendars: Vec<Told> = list.items.into_iter().map(told).collect();
    calendars.sort_by_cached_key(|told| {
        (told.calendar.name.as_deref().and_then(name::shown), told.calendar.id.clone())
    });
    let inner = calendars.iter().flat_map(|told| told.calendar.skipped.iter().cloned());
    let notes = list.skipped.into_iter().chain(inner).map(|note| one_line(&note)).collect();
    Ok(Found { calendars, one: false, done: None, notes })
}

/// Whether the calendar may be changed so.
fn refuse(told: &Told, edit: &Edit) -> Result<(), Error> {
    if told.own {
        let text = "the gateway keeps this calendar for holds, and it is changed by them alone";
        return Err(Error::Refused(text.to_owned()));
    }
    let is_there = |id| told.calendar.exceptions.iter().any(|exception| exception.id.as_ref() == Some(id));
    match edit.needs().filter(|id| !is_there(id)) {
        Some(id) => Err(Error::Refused(format!("the calendar has no exception {id} that can be read"))),
        None => Ok(()),
    }
}

/// What comes of a change is not known, so it waits while a scenario locks a door of the calendar. A key that may not list
/// scenarios knows of none.
async fn refuse_under_lockdown(client: &Client, config: &Config, calendar: &Calendar) -> Result<(), Error> {
    if config.commands.during_lockdown == DuringLockdown::Allow {
        return Ok(());
    }
    let scenarios = match ask(client, 2, Request::ListScenarios).await {
        Ok(Answer::Scenarios(scenarios)) => scenarios.items,
        Ok(_) => return Err(Error::Misfit("list scenarios")),
        Err(Fault::Forbidden(_)) => Vec::new(),
        Err(fault) => return Err(fault.into()),
    };
    let locks = scenarios.iter().find(|scenario| {
        scenario.state != ScenarioState::Inactive
            && scenario.doors_to_lock.iter().any(|door| calendar.doors.contains(door))
    });
    match locks {
        Some(scenario) => Err(Error::Refused(format!(
            "scenario {} locks a door of this calendar and is active, or may be; release it first",
            scenario.id
        ))),
        None => Ok(()),
    }
}

/// Sends the one request. Where no answer proves anything the calendars are read once more.
async fn write(client: &Client, config: &Config, id: &CalendarId, edit: &Edit) -> Result<Found, Error> {
    let sent = ask(client, 3, edit.request(id.clone())).await;
    let doubt = match sent {
        Ok(Answer::Exception(written)) => edit.check_answer(&written).err(),
        Ok(Answer::Taken) => None,
        Ok(_) => return Err(Error::Misfit("change an exception")),
        Err(fault) if fault.proves_not_done() => return Err(fault.into()),
        Err(fault @ (Fault::Unclear(_) | Fault::Malformed(_))) => Some(fault),
        Err(fault) => return Err(fault.into()),
    };
    let read = list(client, config, 4).await.and_then(|mut found| {
        found.keep_only(id)?;
        Ok(found)
    });
    let calendar = read.as_ref().ok().and_then(|found| found.calendars.first()).map(|told| &told.calendar);
    let shows = calendar.is_some_and(|calendar| edit.is_done(calendar) && calendar.skipped.is_empty());
    if let Some(fault) = doubt.filter(|_| !shows) {
        return Err(Error::Unknown(fault));
    }
    let done = Some(hass::calendar::done(edit, calendar));
    let nothing = Found { calendars: Vec::new(), one: true, done: None, notes: Vec::new() };
    Ok(Found { done, ..read.unwrap_or(nothing) })
}

impl Found {
    fn keep_only(&mut self, id: &CalendarId) -> Result<(), Error> {
        self.calendars.retain(|told| told.calendar.id == *id);
        self.one = true;
        if self.calendars.is_empty() { Err(Error::NoCalendar(id.clone())) } else { Ok(()) }
    }

    /// Writes a table, or what came of a change.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn text(&self, out: &mut impl Write) -> io::Result<()> {
        if let Some(done) = &self.done {
            return writeln!(out, "{done}");
        }
        let rows: Vec<Vec<String>> = if self.one {
            let heads = ["ID", "DATE", "START", "END", "MODE", "REPEATS"].map(str::to_owned).to_vec();
            let exceptions =
                self.calendars.iter().flat_map(|told| hass::calendar::in_order(&told.calendar)).map(row);
            [heads].into_iter().chain(exceptions).collect()
        } else {
            let heads = ["ID", "NAME", "DOORS", "EXCEPTIONS", "CHANGES"].map(str::to_owned).to_vec();
            [heads].into_iter().chain(self.calendars.iter().map(Told::row)).collect()
        };
        table(&rows, out)
    }

    /// Writes an object a calendar, or one that says what came of a change.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn json(&self, out: &mut impl Write) -> io::Result<()> {
        if let Some(done) = &self.done {
            let calendar = self.calendars.first().map(Told::json);
            return writeln!(out, "{}", json!({ "outcome": "done", "message": done, "calendar": calendar }));
        }
        for told in &self.calendars {
            writeln!(out, "{}", told.json())?;
        }
        Ok(())
    }
}

impl Told {
    fn row(&self) -> Vec<String> {
        let calendar = &self.calendar;
        let changes = match (self.own, self.allowed) {
            (true, _) => "by holds",
            (false, true) => "allowed",
            (false, false) => "not allowed",
        };
        vec![
            calendar.id.to_string(),
            calendar.name.as_deref().and_then(name::shown).unwrap_or_else(|| NOTHING.to_owned()),
            calendar.doors.len().to_string(),
            calendar.exceptions.len().to_string(),
            changes.to_owned(),
        ]
    }

    fn json(&self) -> Value {
        let calendar = &self.calendar;
        let exceptions = hass::calendar::in_order(calendar);
        json!({
            "id": calendar.id,
            "name": calendar.name.as_deref().and_then(name::shown),
            "own": self.own,
            "allowed": self.allowed && !self.own,
            "doors": calendar.doors,
            "exceptions": exceptions.into_iter().map(hass::calendar::exception).collect::<Vec<_>>(),
            "partial": !calendar.skipped.is_empty(),
            "updated_at": calendar.updated_at.map(|at| at.to_string()),
        })
    }
}

fn row(exception: &Exception) -> Vec<String> {
    let nothing = || NOTHING.to_owned();
    let (start, end) = match exception.hours {
        Hours::AllDay => ("all day".to_owned(), nothing()),
        Hours::Between(start, end) => (hass::calendar::time(start), hass::calendar::time(end)),
    };
    let mode = match exception.mode {
        ExceptionMode::Known(mode) => DoorMode::word(mode),
        ExceptionMode::Unknown(_) => "unknown",
    };
    vec![
        exception.id.as_ref().map_or_else(nothing, ToString::to_string),
        exception.date.to_string(),
        start,
        end,
        mode.to_owned(),
        exception.recurrence.as_ref().map_or_else(nothing, |rule| one_line(&hass::calendar::rule(rule))),
    ]
}
