//! Exception calendars over the API: rights, bodies and what a PUT leaves out (`verkada-api.md` 9).

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Ask, Query, Reply, Vendor};
use crate::{
    model::{DoorId, Now, SiteId},
    simulator::{
        calendar::Exception,
        ledger::{Change, Changed, Endpoint},
        shape,
        switches::Put,
        world::calendars::{Calendar, Content, Exceptions, Kept},
    },
};

impl Vendor {
    /// Reads and writes calendars; an error is a refusal.
    pub(super) fn manage(&mut self, ask: Ask<'_>, query: &Query, now: Now) -> Result<Reply, Reply> {
        if !self.world.switches.door_control {
            return Err(self.toggle_is_off());
        }
        if ask.endpoint == Endpoint::Calendars {
            return self.list_calendars(query, now);
        }
        if ask.endpoint == Endpoint::CreateCalendar {
            return self.create_calendar(ask, now);
        }
        let id = ask.named.id.unwrap_or_default();
        if !ask.endpoint.acts() {
            let shown = self.world.shown_calendars(now).find(|calendar| calendar.id == id);
            let calendar = Arc::clone(shown.ok_or_else(Reply::not_found)?);
            self.check_doors(&calendar.doors)?;
            return match ask.named.exception {
                None => Ok(Reply::ok(shape::calendar(&calendar))),
                Some(one) => kept(&calendar, one).map(|kept| Reply::ok(shape::exception(kept, id))),
            };
        }
        let calendar = Arc::clone(self.world.calendar(id).ok_or_else(Reply::not_found)?);
        self.check_doors(&calendar.doors)?;
        match (ask.endpoint, ask.named.exception) {
            (Endpoint::UpdateCalendar, _) => self.update_calendar(&calendar, ask, now),
            (Endpoint::DeleteCalendar, _) => {
                self.world.delete_calendar(id, now);
                let deleted = change(&calendar.id, None, Changed::Deleted);
                Ok(Reply { executed: true, changes: vec![deleted], ..Reply::ok(json!({})) })
            }
            (Endpoint::CreateException, _) => self.create_exception(&calendar, ask, now),
            (_, None) => Err(Reply::not_found()),
            (Endpoint::DeleteException, Some(one)) => {
                kept(&calendar, one)?;
                let mut content = calendar.content();
                content.exceptions.retain(|(key, _)| key.as_deref() != Some(one));
                self.write(&calendar, content, now).map(|(_, reply)| Reply { body: empty(), ..reply })
            }
            (_, Some(one)) => self.update_exception(&calendar, one, ask, now),
        }
    }

    fn list_calendars(&self, query: &Query, now: Now) -> Result<Reply, Reply> {
        let after = query.number("last_updated_after")?;
        let shown = self.world.shown_calendars(now);
        let calendars: Vec<Value> = shown
            .filter(|calendar| after.is_none_or(|after| calendar.last_updated_at.as_second() > after))
            .filter(|calendar| self.check_doors(&calendar.doors).is_ok())
            .map(|calendar| shape::calendar(calendar))
            .collect();
        Ok(Reply::ok(json!({ "door_exception_calendars": calendars })))
    }

    fn create_calendar(&mut self, ask: Ask<'_>, now: Now) -> Result<Reply, Reply> {
        let body = object(ask.body)?;
        let content = Content {
            name: name(&body)?,
            doors: self.doors(&body)?.unwrap_or_default(),
            exceptions: self.exceptions(&body, None)?.unwrap_or_default(),
        };
        let (calendar, mut changes) =
            self.world.write_calendar(None, content, now).map_err(|broken| Reply::bad_request(&broken))?;
        changes.insert(0, change(&calendar.id, None, Changed::Created));
        Ok(Reply { executed: true, changes, ..Reply::ok(shape::calendar(&calendar)) })
    }

    fn update_calendar(&mut self, calendar: &Calendar, ask: Ask<'_>, now: Now) -> Result<Reply, Reply> {
        let body = object(ask.body)?;
        let kept = self.world.switches.put_left_out == Put::Kept;
        let before = calendar.content();
        let doors = self.doors(&body)?;
        let given = self.exceptions(&body, Some(calendar))?;
        let given =
            given.filter(|given| !given.is_empty() || self.world.switches.put_no_exceptions == Put::Emptied);
        let left_out = !body.contains_key("exceptions");
        let exceptions = match given {
            Some(given) => given,
            None if left_out && !kept => Vec::new(),
            None => before.exceptions,
        };
        let doors = doors.unwrap_or_else(|| if kept { before.doors } else { Vec::new() });
        let content = Content { name: name(&body)?, doors, exceptions };
        let (_, mut reply) = self.write(calendar, content, now)?;
        reply.changes.insert(0, change(&calendar.id, None, Changed::Changed));
        Ok(reply)
    }

    fn create_exception(&mut self, calendar: &Calendar, ask: Ask<'_>, now: Now) -> Result<Reply, Reply> {
        let body = object(ask.body)?;
        if body.contains_key("door_exception_id") || body.contains_key("calendar_id") {
            return Err(Reply::bad_request("a new exception has no door_exception_id and no calendar_id"));
        }
        let exception = Exception::read(&body).map_err(|broken| Reply::bad_request(&broken))?;
        let mut content = calendar.content();
        content.exceptions.push((None, exception));
        let (written, reply) = self.write(calendar, content, now)?;
        let added = written.exceptions.last().ok_or_else(Reply::not_found)?;
        Ok(Reply { body: super::Body::Json(shape::exception(added, &calendar.id)), ..reply })
    }

    fn update_exception(
        &mut self,
        calendar: &Calendar,
        id: &str,
        ask: Ask<'_>,
        now: Now,
    ) -> Result<Reply, Reply> {
        let (old, body) = (kept(calendar, id)?, object(ask.body)?);
        check_ids(&body, id, &calendar.id)?;
        let exception = self.exception(&body, Some(old))?;
        let mut content = calendar.content();
        for (_, held) in content.exceptions.iter_mut().filter(|(key, _)| key.as_deref() == Some(id)) {
            held.clone_from(&exception);
        }
        let (written, mut reply) = self.write(calendar, content, now)?;
        if reply.changes.is_empty() {
            reply.changes.push(change(&calendar.id, Some(id), Changed::Changed));
        }
        reply.body = super::Body::Json(shape::exception(kept(&written, id)?, &calendar.id));
        Ok(reply)
    }

    fn write(
        &mut self,
        calendar: &Calendar,
        content: Content,
        now: Now,
    ) -> Result<(Arc<Calendar>, Reply), Reply> {
        let written = self.world.write_calendar(Some(&calendar.id), content, now);
        let (written, changes) = written.map_err(|broken| Reply::bad_request(&broken))?;
        let reply = Reply { executed: true, changes, ..Reply::ok(shape::calendar(&written)) };
        Ok((written, reply))
    }

    /// The doors that a body names, if it does; all must be there and manageable.
    fn doors(&self, body: &Map<String, Value>) -> Result<Option<Vec<DoorId>>, Reply> {
        let Some(doors) = list(body, "doors")? else { return Ok(None) };
        let mut found = Vec::with_capacity(doors.len());
        for door in doors {
            let door = door.as_str().ok_or_else(|| Reply::bad_request("doors must be a list of door ids"))?;
            let known = door.parse::<DoorId>().ok().filter(|id| self.world.door(id).is_ok());
            let unknown = Reply { status: self.world.switches.unknown_door.status(), ..Reply::not_found() };
            let known = known.ok_or(unknown)?;
            if !found.contains(&known) {
                found.push(known);
            }
        }
        self.check_doors(&found)?;
        Ok(Some(found))
    }

    /// The exceptions that a body holds, if it does; those with a key must be in the calendar.
    fn exceptions(
        &self,
        body: &Map<String, Value>,
        calendar: Option<&Calendar>,
    ) -> Result<Option<Exceptions>, Reply> {
        let Some(items) = list(body, "exceptions")? else { return Ok(None) };
        let read = |item: &Value| {
            let item =
                item.as_object().ok_or_else(|| Reply::bad_request("exceptions must be a list of objects"))?;
            let id = item.get("door_exception_id").and_then(Value::as_str);
            let old = match (id, calendar) {
                (None, _) => None,
                (Some(_), None) => {
                    return Err(Reply::bad_request("a new calendar has no door_exception_id"));
                }
                (Some(id), Some(calendar)) => {
                    check_ids(item, id, &calendar.id)?;
                    Some(kept(calendar, id)?)
                }
            };
            Ok((old.map(|old| old.id.clone()), self.exception(item, old)?))
        };
        items.iter().map(read).collect::<Result<_, _>>().map(Some)
    }

    /// An exception as a body gives it; what it leaves out is empty, or as it was.
    fn exception(&self, body: &Map<String, Value>, old: Option<&Kept>) -> Result<Exception, Reply> {
        let merged = match old.filter(|_| self.world.switches.put_left_out == Put::Kept) {
            Some(old) => merged(body, &old.exception),
            None => body.clone(),
        };
        Exception::read(&merged).map_err(|broken| Reply::bad_request(&broken))
    }

    /// Whether the key may manage doors of a site.
    pub(super) fn manages(&self, site: &SiteId) -> bool {
        let sites = self.world.switches.managed_sites.as_ref();
        sites.is_none_or(|sites| sites.iter().any(|managed| managed == site.as_str()))
    }

    fn check_doors(&self, doors: &[DoorId]) -> Result<(), Reply> {
        let doors = || doors.iter().filter_map(|id| self.world.door(id).ok());
        if !doors().all(|door| self.manages(&door.site.id)) {
            return Err(Reply::forbidden());
        }
        if doors().all(|door| door.api_control) { Ok(()) } else { Err(self.toggle_is_off()) }
    }
}

/// What was held, with what is given in its place.
fn merged(given: &Map<String, Value>, old: &Exception) -> Map<String, Value> {
    let mut members = shape::exception_members(old);
    let all_day = given.get("all_day_default").map_or(old.all_day_default, |all_day| all_day == true);
    if all_day {
        members.retain(|name, _| name != "start_time" && name != "end_time");
    }
    members.extend(given.clone());
    members
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Reply> {
    let object = serde_json::from_slice(body);
    object.map_err(|_| Reply::bad_request("the body must be a JSON object"))
}

fn list<'a>(body: &'a Map<String, Value>, name: &str) -> Result<Option<&'a Vec<Value>>, Reply> {
    match body.get(name) {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(_) => Err(Reply::bad_request(&format!("{name} must be a list"))),
    }
}

fn name(body: &Map<String, Value>) -> Result<String, Reply> {
    let name = body.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    name.map(str::to_owned).ok_or_else(|| Reply::bad_request("name is required"))
}

/// The keys that a body repeats must be those of the exception.
fn check_ids(body: &Map<String, Value>, exception: &str, calendar: &str) -> Result<(), Reply> {
    for (name, id) in [("door_exception_id", exception), ("calendar_id", calendar)] {
        if body.get(name).is_some_and(|given| given.as_str() != Some(id)) {
            return Err(Reply::bad_request(&format!("{name} names another one")));
        }
    }
    Ok(())
}

fn kept<'a>(calendar: &'a Calendar, id: &str) -> Result<&'a Kept, Reply> {
    calendar.exception(id).ok_or_else(Reply::not_found)
}

fn change(calendar: &str, exception: Option<&str>, what: Changed) -> Change {
    Change { calendar: calendar.to_owned(), exception: exception.map(str::to_owned), what }
}

fn empty() -> super::Body {
    super::Body::Json(json!({}))
}
