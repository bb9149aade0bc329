//! The paths under `/simulator/`, by which authors of flows and tests make things happen.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, Query, State},
    response::Response,
    routing::{MethodRouter, get, post},
};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    fault::{Fault, FaultError},
    handle::Handle,
    server::{MAX_REQUEST_BYTES, Shared, respond},
    shape,
    world::ActError,
};
use crate::{
    clock,
    model::{DoorId, ScenarioId},
};

/// What can be asked, in the words of an answer to a bad request.
const ALLOWED: &str = "allowed are GET state, ledger, switches, fault, calendars, door/{id}/free; POST switches, fault, \
    door/{id}/{act}, scenario/{id}/{activate|release}, tokens/expire; DELETE fault; all under /simulator/";

/// What can be done with a door.
const DOOR_ACTS: &str = "allowed are badge (?user_id=, or nobody's card without it), exit, open, close, force, \
    schedule, offline, online, toggle_on, toggle_off, remove";

/// What a door tells.
const DOOR_LOOKS: &str = "allowed is free (?from= and until= as RFC 3339, a day back and ahead without them)";

/// What can be done with a scenario.
const SCENARIO_ACTS: &str = "allowed are activate, release";

/// The control paths, without their prefix.
pub(super) fn router() -> Router<Shared> {
    let told = |method: MethodRouter<Shared>| method.fallback(nothing_there);
    Router::new()
        .route("/state", told(get(state)))
        .route("/ledger", told(get(ledger)))
        .route("/switches", told(get(switches).post(set_switches)))
        .route("/fault", told(get(faults).post(add_fault).delete(clear_faults)))
        .route("/tokens/expire", told(post(expire_tokens)))
        .route("/calendars", told(get(calendars)))
        .route("/door/{id}/{act}", told(get(look).post(door)))
        .route("/scenario/{id}/{act}", told(post(scenario)))
        .fallback(nothing_there)
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
}

#[derive(Deserialize)]
struct Badge {
    user_id: Option<String>,
}

async fn nothing_there() -> Response {
    told(404, "nothing is there", ALLOWED)
}

async fn state(State(shared): State<Shared>) -> Response {
    let handle = Handle::new(shared);
    let doors: Vec<Value> = handle
        .doors()
        .iter()
        .map(|door| {
            let (name, site) = (&door.name, &door.site.name);
            json!({ "door_id": door.id.as_str(), "name": name, "site": site, "state": handle.door_state(&door.id).ok() })
        })
        .collect();
    let scenarios = handle.scenarios().into_iter();
    let scenarios: Vec<Value> = scenarios
        .map(|scenario| {
            let active = handle.is_active(&scenario.id).ok();
            json!({ "scenario_id": scenario.id.as_str(), "name": scenario.name, "active": active })
        })
        .collect();
    let people = handle.people().into_iter();
    let people: Vec<Value> =
        people.map(|person| json!({ "user_id": person.id, "name": person.full_name() })).collect();
    ok(&json!({ "doors": doors, "scenarios": scenarios, "people": people }))
}

async fn ledger(State(shared): State<Shared>) -> Response {
    ok(&json!({ "entries": Handle::new(shared).ledger() }))
}

async fn switches(State(shared): State<Shared>) -> Response {
    ok(&json!(Handle::new(shared).switches()))
}

async fn set_switches(State(shared): State<Shared>, body: Bytes) -> Response {
    let handle = Handle::new(shared);
    match handle.switches().changed(&body) {
        Ok(switches) => {
            handle.set_switches(switches);
            ok(&json!(handle.switches()))
        }
        Err(error) => refuse(400, &error.to_string()),
    }
}

async fn faults(State(shared): State<Shared>) -> Response {
    ok(&json!({ "waiting": shared.truth().script.waiting() }))
}

async fn add_fault(State(shared): State<Shared>, body: Bytes) -> Response {
    let fault = serde_json::from_slice::<Fault>(&body).map_err(FaultError::from);
    match fault.and_then(|fault| Handle::new(shared.clone()).inject(fault)) {
        Ok(()) => faults(State(shared)).await,
        Err(error) => refuse(400, &error.to_string()),
    }
}

async fn clear_faults(State(shared): State<Shared>) -> Response {
    Handle::new(shared.clone()).clear_faults();
    faults(State(shared)).await
}

async fn expire_tokens(State(shared): State<Shared>) -> Response {
    Handle::new(shared).expire_tokens();
    ok(&json!({}))
}

async fn door(
    State(shared): State<Shared>,
    Path((id, act)): Path<(String, String)>,
    Query(badge): Query<Badge>,
) -> Response {
    let handle = Handle::new(shared);
    let id: DoorId = match id.parse() {
        Ok(id) => id,
        Err(error) => return refuse(400, &error.to_string()),
    };
    let outcome = match act.as_str() {
        "badge" => {
            return match handle.badge(&id, badge.user_id.as_deref()) {
                Ok(verdict) => ok(&json!({ "verdict": verdict, "state": handle.door_state(&id).ok() })),
                Err(error) => refuse_act(&error),
            };
        }
        "remove" => {
            return handle.remove_door(&id).map_or_else(|error| refuse_act(&error), |()| ok(&json!({})));
        }
        "exit" => handle.exit(&id),
        "open" => handle.open(&id),
        "close" => handle.close(&id),
        "force" => handle.force(&id),
        "schedule" => handle.toggle_schedule(&id),
        "offline" => handle.set_online(&id, false),
        "online" => handle.set_online(&id, true),
        "toggle_on" => handle.edit_door(&id, |door| door.api_control = true),
        "toggle_off" => handle.edit_door(&id, |door| door.api_control = false),
        _ => return told(404, "a door cannot do that", DOOR_ACTS),
    };
    match outcome.and_then(|()| handle.door_state(&id)) {
        Ok(state) => ok(&json!({ "state": state })),
        Err(error) => refuse_act(&error),
    }
}

/// A span of time as a query gives it, RFC 3339; without it, the last day and the next.
#[derive(Deserialize)]
struct Span {
    from: Option<Timestamp>,
    until: Option<Timestamp>,
}

async fn look(
    State(shared): State<Shared>,
    Path((id, what)): Path<(String, String)>,
    Query(span): Query<Span>,
) -> Response {
    if what != "free" {
        return told(404, "a door does not tell that", DOOR_LOOKS);
    }
    let id: DoorId = match id.parse() {
        Ok(id) => id,
        Err(error) => return refuse(400, &error.to_string()),
    };
    let (handle, now) = (Handle::new(shared), clock::now().utc);
    let day = SignedDuration::from_hours(24);
    let from = span.from.or_else(|| now.saturating_sub(day).ok()).unwrap_or(now);
    let until = span.until.or_else(|| now.saturating_add(day).ok()).unwrap_or(now);
    match handle.free(&id, from, until).and_then(|free| Ok((free, handle.unlocked(&id)?))) {
        Ok((free, unlocked)) => ok(&json!({ "free": free, "unlocked": unlocked })),
        Err(error) => refuse_act(&error),
    }
}

async fn calendars(State(shared): State<Shared>) -> Response {
    let calendars = Handle::new(shared).calendars();
    ok(&json!({ "calendars": calendars.iter().map(|one| shape::calendar(one)).collect::<Vec<_>>() }))
}

async fn scenario(State(shared): State<Shared>, Path((id, act)): Path<(String, String)>) -> Response {
    let id: ScenarioId = match id.parse() {
        Ok(id) => id,
        Err(error) => return refuse(400, &error.to_string()),
    };
    let active = match act.as_str() {
        "activate" => true,
        "release" => false,
        _ => return told(404, "a scenario cannot do that", SCENARIO_ACTS),
    };
    match Handle::new(shared).set_active(&id, active) {
        Ok(changed) => ok(&json!({ "active": active, "changed": changed })),
        Err(error) => refuse_act(&error),
    }
}

fn ok(body: &Value) -> Response {
    respond(200, "application/json", Body::from(body.to_string()))
}

fn refuse_act(error: &ActError) -> Response {
    let status = match error {
        ActError::UnknownDoor(_) | ActError::UnknownScenario(_) | ActError::UnknownPerson(_) => 404,
        ActError::DoorExists(_)
        | ActError::Open(_)
        | ActError::Closed(_)
        | ActError::Locked(_)
        | ActError::Unlocked(_) => 409,
    };
    refuse(status, &format!("{error}; GET /simulator/state lists doors, scenarios and people"))
}

fn told(status: u16, what: &str, allowed: &str) -> Response {
    refuse(status, &format!("{what}; {allowed}"))
}

fn refuse(status: u16, message: &str) -> Response {
    respond(status, "application/json", Body::from(json!({ "error": message }).to_string()))
}
