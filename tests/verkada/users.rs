//! Unlocks in the name of a user, and who may pass: access levels and groups.

use std::time::Duration;

use verkada2mqtt::model::{Answer, Call, DoorId, Fault, Request, Turn, User};

use crate::{
    DOOR, MINT, Server, Step, answer, ask, but, call, class, fault, good, openapi::OpenApi, quick, raw, says,
    unlocked,
};

const UNLOCK_AS: &str = "POST /access/v1/door/user_unlock";
const LEVELS: &str = "GET /access/v1/door/access_level";
const GROUPS: &str = "GET /access/v1/access_groups";
const USER: &str = "c366b9e6-cd83-4dc6-8a88-ea5329935120";

fn unlock_as(user: User) -> Call {
    call(Request::UnlockAs { door: DOOR.parse().unwrap(), user })
}

pub(crate) fn unlock_as_call() -> Call {
    unlock_as(User::Id(USER.to_owned()))
}

#[tokio::test]
async fn an_unlock_as_a_user_names_the_user_by_exactly_one_id() {
    let done = include_str!("../fixtures/verkada/door-user-unlock.json");
    let door: DoorId = "7b29a43e-d9e1-431e-8f48-bba036bebc44".parse().unwrap();
    for (user, member) in
        [(User::Id(USER.to_owned()), "user_id"), (User::External("e 5\"".to_owned()), "external_id")]
    {
        let server = Server::start(but(UNLOCK_AS, move |_| answer(200, done))).await;
        let asked = call(Request::UnlockAs { door: door.clone(), user: user.clone() });
        let reply = ask(&server.client(), &asked).await;
        assert_eq!((reply.result, reply.requests), (unlocked(Some(5)), 2));
        assert_eq!(server.lines(), [MINT, UNLOCK_AS]);
        let sent: serde_json::Value = serde_json::from_str(&server.log.lock().unwrap().got[1].body).unwrap();
        assert_eq!(sent, serde_json::json!({"door_id": door, member: user.name()}));
        let schema = "/components/schemas/UserUnlockRequest";
        assert_eq!(OpenApi::load().faults_of(schema, &sent), Vec::<String>::new());
    }
}

#[tokio::test]
async fn the_status_line_of_an_unlock_as_a_user_is_the_proof_unless_another_door_is_named() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 80\r\n\r\n{\"door_id\":";
    for step in [answer(200, "garbage"), Step::Close(head.into()), Step::Stall(head.into())] {
        let server = Server::start(but(UNLOCK_AS, move |_| step.clone())).await;
        let client = server.client_with(|s| s.limits.act_body = Duration::from_millis(100));
        assert_eq!(ask(&client, &unlock_as_call()).await.result, unlocked(None));
        assert_eq!(server.count(UNLOCK_AS), 1);
    }
    let another = include_str!("../fixtures/verkada/door-user-unlock.json");
    let server = Server::start(but(UNLOCK_AS, move |_| answer(200, another))).await;
    let fault = fault(&server.client(), &unlock_as_call()).await;
    assert!(matches!(fault, Fault::Unclear(_)), "{fault:?}");
    assert!(fault.to_string().starts_with("unlock as a user: the answer names another door"), "{fault}");
}

#[tokio::test]
async fn refusals_of_an_unlock_as_a_user_are_classed_and_not_repeated() {
    let no_access = include_str!("../fixtures/verkada/error-403-user-no-access.assumed.json");
    let off = include_str!("../fixtures/verkada/error-403-door-api-disabled.assumed.json");
    let unknown = include_str!("../fixtures/verkada/error-404-not-found.assumed.json");
    let table: [(Step, &str, &[&str]); 6] = [
        (
            answer(403, no_access),
            "no access",
            &["No permission to unlock", "no access level lets this user through this door now"],
        ),
        (answer(403, off), "forbidden", &["no access level lets", "the organisation, the site and the door"]),
        (says(400, "bad"), "rejected", &["bad"]),
        (
            answer(404, unknown),
            "not found",
            &["Not found", "it knows no user with this user_id or external_id"],
        ),
        (Step::Keep(raw(429, &[("retry-after", "7")], "")), "rate limited", &["429"]),
        (says(500, "no"), "unclear", &["500"]),
    ];
    for (step, wanted, parts) in table {
        let server = Server::start(but(UNLOCK_AS, move |_| step.clone())).await;
        let result = ask(&server.client(), &unlock_as_call()).await.result;
        assert_eq!(class(&result), wanted, "{result:?}");
        let text = result.unwrap_err().to_string();
        assert!(parts.iter().all(|part| text.contains(part)) && !text.contains('\n'), "{text}");
        assert_eq!(server.lines(), [MINT, UNLOCK_AS]);
    }
}

#[tokio::test]
async fn a_user_shows_in_no_fault_and_no_debug() {
    for user in [User::Id("U-Anneke-7".to_owned()), User::External("Änneke.Visser@example.org".to_owned())] {
        let asked = Call { opening: Some(Turn::default()), ..unlock_as(user.clone()) };
        let shown = format!("{asked:?} {user:?} {:?}", Some(&asked.request));
        assert!(shown.contains("User(..)") && !shown.to_lowercase().contains("anneke"), "{shown}");
        // The vendor says it back: as it is, in another case, escaped, and not as JSON.
        let lower = user.name().to_ascii_lowercase();
        let escaped = lower.replace('Ä', "\\u00c4");
        for step in [
            says(403, &format!("{} is not {lower}", user.name())),
            says(403, &format!("{escaped} is not allowed")),
            Step::Keep(raw(404, &[], &lower)),
        ] {
            let server = Server::start(but(UNLOCK_AS, move |_| step.clone())).await;
            let text = fault(&server.client(), &unlock_as(user.clone())).await.to_string();
            assert!(text.contains("[user]") && !text.to_lowercase().contains("anneke"), "{text}");
        }
    }
}

#[tokio::test]
async fn access_levels_and_groups_are_read() {
    let levels = include_str!("../fixtures/verkada/access-levels-list.json");
    let groups = include_str!("../fixtures/verkada/access-groups-list.json");
    let server = Server::start(move |got| match got.line.as_str() {
        LEVELS => answer(200, levels),
        GROUPS => answer(200, groups),
        _ => good(got),
    })
    .await;
    let client = server.client();
    let Ok(Answer::AccessLevels(list)) = ask(&client, &call(Request::ListAccessLevels)).await.result else {
        panic!()
    };
    assert_eq!((list.items.len(), list.items[0].schedule.len(), list.skipped.len()), (1, 2, 0));
    let Ok(Answer::AccessGroups(list)) = ask(&client, &call(Request::ListAccessGroups)).await.result else {
        panic!()
    };
    assert_eq!((list.items.len(), list.skipped.len()), (3, 0));
    assert_eq!(server.lines(), [MINT, LEVELS, GROUPS]);
    for (path, body) in [("/access/v1/door/access_level", levels), ("/access/v1/access_groups", groups)] {
        let body = serde_json::from_str(body).unwrap();
        assert_eq!(OpenApi::load().faults_of_answer("GET", path, 200, &body), Vec::<String>::new());
    }
}

#[tokio::test]
async fn lists_of_access_say_what_failed_and_what_cures_it() {
    let management = "Door Access Management for all sites involved";
    for (line, request, cure) in [
        (LEVELS, Request::ListAccessLevels, management),
        (GROUPS, Request::ListAccessGroups, "Access Control read"),
    ] {
        for (step, wanted) in [
            (says(403, "Insufficient permissions"), "forbidden"),
            (says(404, "no"), "not found"),
            (says(500, "no"), "unclear"),
            (answer(200, "{}"), "malformed"),
            (answer(200, "<html>"), "malformed"),
            (Step::Stall(Vec::new()), "unclear"),
        ] {
            let server = Server::start(but(line, move |_| step.clone())).await;
            let result = ask(&server.client_with(quick), &call(request.clone())).await.result;
            assert_eq!(class(&result), wanted, "{result:?}");
            let text = result.unwrap_err().to_string();
            assert!(text.starts_with("list access "), "{text}");
            assert!(wanted != "forbidden" || text.contains(cure), "{text}");
        }
    }
    let server = Server::start(but(LEVELS, |_| says(401, "Failed to authenticate request"))).await;
    let text = fault(&server.client(), &call(Request::ListAccessLevels)).await.to_string();
    assert!(text.contains(management), "the vendor says so to keys without the permission: {text}");
}
