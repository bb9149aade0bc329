//! `webhook`: the path and the secrets of the receiver, and whose webhooks it takes.

use serde_json::json;

use crate::{
    config::{
        reader::{Faulty, Problem, Rule, Section},
        secret::{self, SecretKeys},
        settings::Webhook,
    },
    model::IdError,
};

const SECRET: SecretKeys = SecretKeys {
    name: "secret",
    file: "secret_file",
    credential: Some("webhook-secret"),
    about: "The shared secret written in Verkada Command beside the webhook.",
};

const PREVIOUS: SecretKeys = SecretKeys {
    name: "previous_secret",
    file: "previous_secret_file",
    credential: None,
    about: "The secret before the last change, still taken while the change is under way.",
};

/// Paths of the HTTP server that mean something else.
const TAKEN: [&str; 8] =
    ["/", "/healthz", "/readyz", "/metrics", "/events", "/status.css", "/status.js", "/status.svg"];

pub(super) fn webhook(section: &mut Section<'_, '_>) -> Result<Webhook, Faulty> {
    let rule = Rule {
        schema: json!({"type": "string", "pattern": "^/[A-Za-z0-9_./~-]+$"}),
        ..Rule::text(format!(
            "\"/\" and letters, digits or any of _ - . ~ /, but none of {}",
            TAKEN.join(", ")
        ))
    };
    let path = section.key("path", "The path on the HTTP server to which Verkada sends.").parsed_or(
        "/webhook/verkada".to_owned(),
        &rule,
        path,
    );
    let current = secret::read(section, &SECRET, |_| Ok(()));
    let previous = secret::read(section, &PREVIOUS, |_| Ok(()));
    let organization_id = section
        .key(
            "organization_id",
            "The organisation whose webhooks are taken; without it, that of the first one after the start.",
        )
        .parsed(&organization_rule(), |text| {
            text.parse().map_err(|error: IdError| Problem::new(error.to_string()))
        });
    let (current, previous) = (current?, previous?);
    if let (None, Some(previous)) = (&current, &previous) {
        let problem = Problem::with_cure(
            "a previous secret is given without a current one",
            "move it to webhook.secret_file",
        );
        return Err(section.refuse(&previous.spot, PREVIOUS.name, problem));
    }
    Ok(Webhook {
        path,
        secrets: [current, previous].into_iter().flatten().map(|found| found.value).collect(),
        organization_id: organization_id?.map(|found| found.value),
    })
}

fn organization_rule() -> Rule {
    Rule::of("an id as Verkada gives it", json!({"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"}))
}

fn path(text: &str) -> Result<String, Problem> {
    let problem = if !text.starts_with('/') {
        "it does not begin with \"/\""
    } else if TAKEN.contains(&text) {
        "the path is taken"
    } else if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.~/".contains(&b)) {
        "it holds a character that is not allowed"
    } else {
        return Ok(text.to_owned());
    };
    Err(Problem::new(problem))
}
