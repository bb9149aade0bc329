//! What the simulated vendor answers to a request, and what that does to the world (`verkada-api.md` 2 to 7).
//!
//! Pure but for the world it is given: sockets, faults and waiting are the server's.

mod access;
mod calendars;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    event::{Event, Who},
    gate::{RateLimit, Tokens, Worth},
    ledger::{Change, Endpoint, Named},
    organisation::Scenario,
    shape::{self, envelope},
    switches::{ControllerOffline, EventOrder, ExpiredToken, KeyScope, ReleasePath, Switches},
    world::World,
};
use crate::{
    model::{DoorId, Now, ScenarioId},
    rng::Rng,
};

/// The number of events on a page, where the request does not say (7.1).
const DEFAULT_PAGE: usize = 100;

/// The largest number of events on a page; more is refused (7.1).
const MAX_PAGE: usize = 200;

/// How far back events reach, where the request does not say (7.1).
const DEFAULT_SPAN_S: i64 = 3_600;

/// The vendor's side of the line: who may ask, and the world asked about.
#[derive(Debug)]
pub(super) struct Vendor {
    /// The world.
    pub world: World,
    /// The tokens it made.
    pub tokens: Tokens,
    /// How often it may be asked.
    pub limit: RateLimit,
}

/// A request, read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    /// What for.
    pub endpoint: Endpoint,
    /// What the path names.
    pub named: Named<'a>,
    /// The query, still encoded.
    pub query: &'a str,
    /// Whether `x-api-key` holds the organisation's key; `None` without the header.
    pub good_key: Option<bool>,
    /// The `x-verkada-auth` header.
    pub token: Option<&'a str>,
    /// Whether the token is the API key itself, sent in the wrong place.
    pub key_as_token: bool,
    /// The body.
    pub body: &'a [u8],
}

/// What comes of a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    /// An answer.
    Reply(Reply),
    /// None, ever.
    Silence,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Body,
    /// The `Retry-After` header.
    pub retry_after: Option<String>,
    /// Whether something changed.
    pub executed: bool,
    /// What changed in calendars.
    pub changes: Vec<Change>,
}

/// The body of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Body {
    /// JSON.
    Json(Value),
    /// Plain text.
    Plain(&'static str),
}

impl Reply {
    const fn ok(body: Value) -> Self {
        Self { status: 200, body: Body::Json(body), retry_after: None, executed: false, changes: Vec::new() }
    }

    fn error(status: u16, id: &str, message: &str) -> Self {
        Self { status, ..Self::ok(envelope(id, message)) }
    }

    fn bad_request(message: &str) -> Self {
        Self::error(400, "d910", message)
    }

    fn not_found() -> Self {
        Self::error(404, "f031", "Not found")
    }

    fn forbidden() -> Self {
        Self::error(403, "c44e", "Insufficient permissions")
    }

    fn unauthenticated(status: u16) -> Self {
        Self::error(status, "a1f3", "Failed to authenticate request")
    }
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names are the vendor's")]
struct UnlockBody {
    door_id: String,
    user_id: Option<String>,
    external_id: Option<String>,
}

/// The door that an unlock request names, for the ledger; `None` where its body cannot be read.
pub(super) fn door_named(endpoint: Endpoint, body: &[u8]) -> Option<String> {
    matches!(endpoint, Endpoint::AdminUnlock | Endpoint::UserUnlock)
        .then(|| serde_json::from_slice::<UnlockBody>(body).ok().map(|body| body.door_id))
        .flatten()
}

impl Vendor {
    /// Answers a request: rate limit, path, key or token, scope, then the endpoint.
    pub(super) fn answer(&mut self, ask: Ask<'_>, now: Now) -> Answer {
        self.world.advance(now);
        let outcome = match self.admit(ask, now) {
            Ok(()) => self.serve(ask, now),
            Err(refusal) => Ok(refusal),
        };
        match outcome {
            Ok(mut reply) => {
                if let (200, Body::Json(body)) = (reply.status, &mut reply.body) {
                    shape::bend(body, &self.world.switches);
                }
                Answer::Reply(reply)
            }
            Err(Hangs) => Answer::Silence,
        }
    }

    fn admit(&mut self, ask: Ask<'_>, now: Now) -> Result<(), Reply> {
        let switches = &self.world.switches;
        if switches.rate_limit && !self.limit.admits(now.mono) {
            return Err(too_many(switches));
        }
        if self.is_missing(ask.endpoint) {
            return Err(Reply::forbidden());
        }
        if ask.endpoint == Endpoint::Token {
            let good = ask.good_key == Some(true);
            return if good { Ok(()) } else { Err(Reply::unauthenticated(switches.bad_key.status())) };
        }
        let Some(token) = ask.token.filter(|_| !ask.key_as_token) else {
            return Err(Reply::error(switches.missing_token.status(), "b207", "API Token is required"));
        };
        match self.tokens.worth(token, switches.token_life(), now.mono) {
            Worth::Good => {}
            Worth::Unknown => return Err(Reply::unauthenticated(401)),
            Worth::Expired => return Err(Reply::error(401, "0e2d", expired_words(switches))),
        }
        if ask.endpoint.needs_management() && switches.managed_sites.as_ref().is_some_and(Vec::is_empty) {
            return Err(Reply::forbidden());
        }
        let in_scope = match switches.key_scope {
            KeyScope::ReadWrite => true,
            KeyScope::ReadOnly => !ask.endpoint.acts(),
            KeyScope::Nothing => false,
        };
        if in_scope { Ok(()) } else { Err(out_of_scope(switches)) }
    }

    /// Whether the path does not exist.
    fn is_missing(&self, endpoint: Endpoint) -> bool {
        match self.world.switches.release_path {
            ReleasePath::Both => endpoint == Endpoint::Unknown,
            ReleasePath::ReleaseOnly => matches!(endpoint, Endpoint::Unknown | Endpoint::Deactivate),
            ReleasePath::DeactivateOnly => matches!(endpoint, Endpoint::Unknown | Endpoint::Release),
        }
    }

    fn serve(&mut self, ask: Ask<'_>, now: Now) -> Result<Reply, Hangs> {
        let query = Query::of(ask.query);
        Ok(match ask.endpoint {
            Endpoint::Token => self.make_token(now),
            Endpoint::Doors => self.list_doors(&query),
            Endpoint::AdminUnlock => return self.unlock(ask, false, now),
            Endpoint::UserUnlock => return self.unlock(ask, true, now),
            Endpoint::Scenarios => self.list_scenarios(&query, now),
            Endpoint::Activate => self.set_scenario(ask.named.id, true, now),
            Endpoint::Release | Endpoint::Deactivate => self.set_scenario(ask.named.id, false, now),
            Endpoint::Events => self.list_events(&query, now).unwrap_or_else(|refusal| refusal),
            Endpoint::AccessUsers => self.list_users(&query),
            Endpoint::AccessUser => self.show_user(&query),
            Endpoint::AccessGroups => self.list_groups(),
            Endpoint::AccessGroup => self.show_group(&query),
            Endpoint::AccessLevels => self.list_levels(),
            Endpoint::AccessLevel => self.show_level(ask.named.id),
            Endpoint::Calendars
            | Endpoint::CreateCalendar
            | Endpoint::Calendar
            | Endpoint::UpdateCalendar
            | Endpoint::DeleteCalendar
            | Endpoint::CreateException
            | Endpoint::Exception
            | Endpoint::UpdateException
            | Endpoint::DeleteException => self.manage(ask, &query, now).unwrap_or_else(|refusal| refusal),
            Endpoint::Unknown => Reply::forbidden(),
        })
    }

    fn make_token(&mut self, now: Now) -> Reply {
        if self.world.switches.old_tokens_die {
            self.tokens.expire_all();
        }
        let token = format!("v2_{}", self.world.uuid());
        self.tokens.add(token.clone(), now.mono);
        Reply::ok(json!({ "token": token }))
    }

    fn list_doors(&self, query: &Query) -> Reply {
        let (door_ids, site_ids) = (query.list(&["door_ids"]), query.list(&["site_ids"]));
        if door_ids.is_some() && site_ids.is_some() {
            return Reply::bad_request("only one of door_ids and site_ids is allowed");
        }
        let members = self.world.switches.door_members;
        let doors: Vec<Value> = self
            .world
            .doors()
            .filter(|door| wanted(door_ids.as_deref(), door.id.as_str()))
            .filter(|door| wanted(site_ids.as_deref(), door.site.id.as_str()))
            .map(|door| shape::door(door, members))
            .collect();
        Reply::ok(json!({ "doors": doors }))
    }

    fn list_scenarios(&self, query: &Query, now: Now) -> Reply {
        let (ids, site_ids) = (query.list(&["scenario_ids"]), query.list(&["site_ids"]));
        let types = query.list(&["types", "scenario_types"]);
        let shown_type = self.world.switches.scenario_types;
        let of_site = |scenario: &Scenario| {
            scenario.sites.iter().any(|site| wanted(site_ids.as_deref(), site.as_str())) || site_ids.is_none()
        };
        let scenarios: Vec<Value> = self
            .world
            .scenarios(now)
            .filter(|(scenario, _)| wanted(ids.as_deref(), scenario.id.as_str()) && of_site(scenario))
            .filter(|_| wanted(types.as_deref(), shape::type_word(shown_type).unwrap_or_default()))
            .map(|(scenario, active)| shape::scenario(scenario, active, shown_type))
            .collect();
        Reply::ok(json!({ "scenarios": scenarios }))
    }

    fn unlock(&mut self, ask: Ask<'_>, as_user: bool, now: Now) -> Result<Reply, Hangs> {
        let Ok(body) = serde_json::from_slice::<UnlockBody>(ask.body) else {
            return Ok(Reply::bad_request("door_id is required"));
        };
        if as_user && body.user_id.is_some() == body.external_id.is_some() {
            return Ok(Reply::bad_request("exactly one of user_id and external_id is required"));
        }
        let switches = &self.world.switches;
        let Some(door) = body.door_id.parse::<DoorId>().ok().filter(|id| self.world.door(id).is_ok()) else {
            return Ok(Reply { status: switches.unknown_door.status(), ..Reply::not_found() });
        };
        if !switches.door_control || !self.world.door(&door).is_ok_and(|door| door.api_control) {
            return Ok(self.toggle_is_off());
        }
        let who = if as_user { self.user_of(&body) } else { Some(Who::Api(self.world.api_user_id.clone())) };
        match who {
            None => Ok(Reply::not_found()),
            Some(Who::Person(person)) if !self.world.may_pass(&person, &door, now.utc) => {
                Ok(self.refuse_user(&door, Who::Person(person), now))
            }
            Some(who) => self.unlock_as(&door, who, now),
        }
    }

    fn toggle_is_off(&self) -> Reply {
        let status = self.world.switches.door_toggle_off.status();
        Reply::error(status, "e158", "Door is not enabled for management via API")
    }

    fn unlock_as(&mut self, id: &DoorId, who: Who, now: Now) -> Result<Reply, Hangs> {
        let Ok(state) = self.world.door_state(id) else { return Ok(Reply::not_found()) };
        if state.locked_down && self.world.switches.lockdown_refuses_unlock {
            return Ok(Reply::error(403, "e163", "Door is in lockdown"));
        }
        if !state.online {
            match self.world.switches.controller_offline {
                ControllerOffline::NoEffect => {}
                ControllerOffline::Status412 => return Ok(Reply::error(412, "f112", "Door is offline")),
                ControllerOffline::Status500 => {
                    return Ok(Reply::error(500, "f500", "Internal server error"));
                }
                ControllerOffline::Status504 => return Ok(Reply::error(504, "f504", "Gateway timeout")),
                ControllerOffline::Hang => return Err(Hangs),
            }
        }
        Ok(self.world.remote_unlock(id, who, now).map_or_else(
            |_| Reply::not_found(),
            |lasts| {
                let body = json!({ "door_id": id.as_str(), "unlock_duration": lasts.as_secs() });
                Reply { executed: state.online, ..Reply::ok(body) }
            },
        ))
    }

    fn refuse_user(&mut self, door: &DoorId, who: Who, now: Now) -> Reply {
        let status = self.world.switches.user_without_access.status();
        self.world
            .reject_remote(door, who, now)
            .map_or_else(|_| Reply::not_found(), |()| Reply::error(status, "e162", "No permission to unlock"))
    }

    fn user_of(&self, body: &UnlockBody) -> Option<Who> {
        let same = |given: &Option<String>, own: &String| given.as_ref() == Some(own);
        let mut people = self.world.people.iter();
        let found = people
            .find(|person| same(&body.user_id, &person.id) || same(&body.external_id, &person.external_id));
        found.cloned().map(Who::Person)
    }

    fn set_scenario(&mut self, id: Option<&str>, active: bool, now: Now) -> Reply {
        let switches = &self.world.switches;
        let (toggle, status) = (switches.scenario_control, switches.scenario_toggle_off.status());
        let repeated = switches.repeated_scenario.status();
        if !toggle {
            return Reply::error(status, "e170", "Scenario control via API is not enabled");
        }
        let Some(id) = id.and_then(|id| id.parse::<ScenarioId>().ok()) else { return Reply::not_found() };
        let who = Who::Api(self.world.api_user_id.clone());
        match self.world.set_active(&id, active, Some(who), now) {
            Err(_) => Reply::not_found(),
            Ok(false) if repeated != 200 => {
                Reply::error(repeated, "e171", "Scenario is in this state already")
            }
            Ok(executed) => Reply { executed, ..Reply::ok(json!({})) },
        }
    }

    fn list_events(&self, query: &Query, now: Now) -> Result<Reply, Reply> {
        let size = query
            .number("page_size")?
            .map_or(DEFAULT_PAGE, |size| usize::try_from(size).unwrap_or(usize::MAX));
        if size > MAX_PAGE {
            return Err(Reply::bad_request("page_size must be at most 200"));
        }
        let page = query.one("page_token").filter(|token| !token.is_empty());
        let page = match page {
            None => Page { start: 0, age_ns: self.age_ns(now) },
            Some(token) => {
                Page::of_token(token).ok_or_else(|| Reply::bad_request("page_token is malformed"))?
            }
        };
        let utc = now.utc.as_second();
        let start = query.number("start_time")?.unwrap_or_else(|| utc.saturating_sub(DEFAULT_SPAN_S));
        let end = query.number("end_time")?.unwrap_or(utc);
        let mut events = self.matching(query, start..=end, page);
        self.order(&mut events, page);
        let after = page.start.saturating_add(size);
        let repeats = usize::from(self.world.switches.duplicate_events).min(page.start);
        let shown = events.iter().skip(page.start - repeats).take(size.saturating_add(repeats).min(MAX_PAGE));
        let organisation = &self.world.organisation_id;
        let shaped: Vec<Value> =
            shown.map(|event| shape::listed_event(event, organisation, &self.world.switches)).collect();
        let next = (size > 0 && after < events.len()).then(|| Page { start: after, ..page }.token());
        Ok(Reply::ok(json!({ "events": shaped, "next_page_token": next })))
    }

    /// How old the world is: pages after the first show what was known when the first was.
    fn age_ns(&self, now: Now) -> u64 {
        let age = now.mono.saturating_duration_since(self.world.started.mono);
        u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)
    }

    fn matching(&self, query: &Query, span: std::ops::RangeInclusive<i64>, page: Page) -> Vec<&Event> {
        let at = self.world.started.mono + std::time::Duration::from_nanos(page.age_ns);
        let (words, sites) = (query.list(&["event_type"]), query.list(&["site_id"]));
        let (devices, users) = (query.list(&["device_id"]), query.list(&["user_id"]));
        let site = |event: &Event| event.door.as_ref().map(|door| door.site.id.to_string());
        let device = |event: &Event| event.door.as_ref().map(|door| door.id.to_string());
        let user = |event: &Event| match &event.note.who {
            Some(Who::Person(person)) => Some(person.id.clone()),
            Some(Who::Api(id)) => Some(id.clone()),
            None => None,
        };
        let fits = |filter: &Option<Vec<String>>, value: Option<String>| {
            filter.is_none() || wanted(filter.as_deref(), &value.unwrap_or_default())
        };
        self.world
            .journal
            .listed(at)
            .map(AsRef::as_ref)
            .filter(|event| span.contains(&event.at.as_second()) && wanted(words.as_deref(), event.word))
            .filter(|event| {
                fits(&sites, site(event)) && fits(&devices, device(event)) && fits(&users, user(event))
            })
            .collect()
    }

    fn order(&self, events: &mut [&Event], page: Page) {
        events.sort_unstable_by_key(|event| (event.at, event.number));
        match self.world.switches.event_order {
            EventOrder::OldestFirst => {}
            EventOrder::NewestFirst => events.reverse(),
            EventOrder::Shuffled => Rng::new(page.age_ns).shuffle(events),
        }
    }
}

/// No answer is ever given.
struct Hangs;

fn too_many(switches: &Switches) -> Reply {
    let reply = Reply {
        retry_after: switches.rate_limit_retry_after.clone(),
        ..Reply::error(429, "f429", "Too Many Requests")
    };
    if switches.rate_limit_plain { Reply { body: Body::Plain("Too Many Requests"), ..reply } } else { reply }
}

fn out_of_scope(switches: &Switches) -> Reply {
    match switches.missing_scope.status() {
        403 => Reply::forbidden(),
        status => Reply::unauthenticated(status),
    }
}

const fn expired_words(switches: &Switches) -> &'static str {
    match switches.expired_token {
        ExpiredToken::TokenExpired => "Token expired",
        ExpiredToken::ApiTokenExpired => "API token expired",
    }
}

/// Whether a filter lets a value through; no filter does.
fn wanted(filter: Option<&[String]>, value: &str) -> bool {
    filter.is_none_or(|allowed| allowed.iter().any(|one| one == value))
}

/// Where a page of events begins, and how old the world was when the first page was asked for.
#[derive(Debug, Clone, Copy)]
struct Page {
    start: usize,
    age_ns: u64,
}

impl Page {
    fn token(self) -> String {
        format!("{:x}-{:x}", self.age_ns, self.start)
    }

    fn of_token(token: &str) -> Option<Self> {
        let (age_ns, start) = token.split_once('-')?;
        Some(Self {
            start: usize::from_str_radix(start, 16).ok()?,
            age_ns: u64::from_str_radix(age_ns, 16).ok()?,
        })
    }
}

/// The parameters of a query.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(query: &str) -> Self {
        Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    fn one(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The values of a parameter that was repeated, or whose values are joined by commas, or both.
    fn list(&self, names: &[&str]) -> Option<Vec<String>> {
        let given = self.0.iter().filter(|(name, _)| names.contains(&name.as_str()));
        let values: Vec<String> =
            given.flat_map(|(_, value)| value.split(',').map(|one| one.trim().to_owned())).collect();
        (!values.is_empty()).then_some(values)
    }

    fn number(&self, name: &str) -> Result<Option<i64>, Reply> {
        let number = self.one(name).map(|text| text.parse::<i64>().ok().filter(|number| *number >= 0));
        match number {
            None => Ok(None),
            Some(Some(number)) => Ok(Some(number)),
            Some(None) => Err(Reply::bad_request(&format!("{name} must be a whole number, 0 or more"))),
        }
    }
}
