//! `unlock`, `activate` and `release`: one command, and what becomes of it.

use std::{
    io::Write,
    str::FromStr,
    time::{Duration, Instant},
};

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    Error,
    house::{House, Thing},
    line::{Heard, Line, Patience},
    list, prompt,
};
use crate::{
    app,
    ask::one_line,
    clock,
    config::{Asker, CodedAct},
    hass::Topics,
    model::{Action, DoorId, Outcome, Publication, Qos, Reason, ScenarioId, Target},
    rng::Rng,
    signals::{Signal, stopped},
};

/// Whoever waits for a command is told after this long that nothing was heard.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// What is wanted.
#[derive(Debug)]
pub struct Order {
    /// Unlock, activate or release; nothing else is sent.
    pub action: Action,
    /// The id or the exact name of a door or scenario.
    pub target: String,
    /// The code, where it was given.
    pub code: Option<SecretString>,
    /// Whether to ask for a code although the configuration tells of no need for one.
    pub ask_code: bool,
    /// Who says to command it.
    pub by: Option<String>,
    /// How long to wait for the result.
    pub wait: Duration,
    /// Whether results are written as they come, one JSON object a line.
    pub json: bool,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It is done.
    Done,
    /// It was not carried out, and nothing was sent to the vendor for it: refused, expired or merged.
    Refused,
    /// The vendor, or the way to it, refused.
    Failed,
    /// It was sent to the vendor, and no answer proves either way.
    Unknown,
    /// The gateway did not answer, or not to the end: nobody here knows.
    NoAnswer,
}

/// Carries the order out, once. Results go to `out`, what people are to know meanwhile to `notes`.
///
/// # Errors
/// If nothing was published.
pub async fn run(
    asker: &Asker,
    order: Order,
    signals: &mut mpsc::Receiver<Signal>,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<Ending, Error> {
    let began = clock::now().mono;
    let kind = if order.action == Action::Unlock { "door" } else { "scenario" };
    let mut line = Line::open(asker, order.action.word(), |topics| {
        let leaves = ["attributes", "result"].into_iter();
        leaves.map(|leaf| (format!("{}/{kind}/+/{leaf}", topics.base()), Qos::AtLeastOnce)).collect()
    })?;
    let ready = tokio::select! {
        ready = prepare(asker, &order, &mut line, began, notes) => ready?,
        () = stopped(signals) => return Err(Error::NotSent("it was broken off".to_owned())),
    };
    let id = publish(&line, &order, &ready)?;
    let mut watch = Watch { id: &id, target: &ready.0, order: &order, accepted: false };
    let ending = tokio::select! {
        ending = watch.wait(&mut line, out, notes) => ending,
        () = stopped(signals) => None,
    };
    let ending = match ending {
        Some(ending) => ending,
        None => watch.unanswered(out, notes),
    };
    line.close().await;
    Ok(ending)
}

type Ready = (Target, Option<SecretString>);

/// Finds the target, and the code where one is needed.
async fn prepare(
    asker: &Asker,
    order: &Order,
    line: &mut Line,
    began: Instant,
    notes: &mut impl Write,
) -> Result<Ready, Error> {
    let raises = !order.action.opens();
    let patience = if raises { Patience::Until(began + order.wait) } else { Patience::Short };
    let by_id = |house: &House| match (raises, order.target.parse::<ScenarioId>()) {
        (true, Ok(id)) => house.scenarios.contains_key(&id),
        _ => false,
    };
    line.look(patience, by_id, |trouble| {
        if raises {
            say(notes, format_args!("not sent yet: {trouble}"));
        }
    })
    .await?;
    let doubt = line.house.doubt();
    if let Some(doubt) = doubt
        && !raises
        && line.house.gateway != Some(true)
    {
        return Err(Error::Away(doubt));
    }
    let target = resolve(asker, order, &line.house)?;
    if let Some(doubt) = doubt
        && raises
    {
        // The broker may keep it for a gateway that comes back at once.
        say(notes, format_args!("{doubt}; the command is published all the same"));
    }
    let code = if order.code.is_none() && (order.ask_code || needs_code(asker, order.action, &target)) {
        Some(ask_code(line).await?)
    } else {
        order.code.clone()
    };
    Ok((target, code))
}

/// Whether the configuration tells that a code is needed.
fn needs_code(asker: &Asker, action: Action, target: &Target) -> bool {
    match (action, target) {
        (Action::Unlock, Target::Door(id)) => {
            let own = asker.doors.get(id).and_then(|door| door.code);
            own.unwrap_or_else(|| asker.coded.contains(&CodedAct::Unlock))
        }
        (Action::Release, _) => asker.coded.contains(&CodedAct::Release),
        _ => false,
    }
}

/// Asks at the terminal, and keeps the connection going meanwhile.
async fn ask_code(line: &mut Line) -> Result<SecretString, Error> {
    let mut asking = tokio::task::spawn_blocking(|| prompt::secret("Code: "));
    let code = loop {
        tokio::select! {
            asked = &mut asking => break asked,
            _ = line.next() => {}
        }
    };
    let code = code.map_err(|error| Error::NotSent(error.to_string()))?;
    let code = code.map_err(|error| Error::NotSent(format!("{error}; give it with --code-file")))?;
    line.look(Patience::Short, |_| true, |_| ()).await?;
    Ok(code)
}

/// Tells somebody, if he is there to hear it: a command goes on without.
fn say(to: &mut impl Write, what: std::fmt::Arguments<'_>) {
    drop(writeln!(to, "{what}"));
}

/// The one thing that is meant.
fn resolve(asker: &Asker, order: &Order, house: &House) -> Result<Target, Error> {
    let wanted = order.target.as_str();
    if order.action == Action::Unlock {
        let names = |id: &DoorId, door: &Thing| {
            let chosen = asker.doors.get(id).and_then(|settings| settings.name.clone());
            [chosen, door.text("name").map(str::to_owned)]
        };
        let shown = |id: &DoorId, door: &Thing| {
            let name = list::shown_door(asker, id, door).unwrap_or_default();
            let site = door.text("site").map(|site| format!(", {site}")).unwrap_or_default();
            format!("{id}  {name}{site}")
        };
        return Ok(Target::Door(pick("door", wanted, &house.doors, names, shown)?));
    }
    // An id is taken at its word: a lockdown does not fail for a list that is not there, or not whole.
    if !order.action.opens()
        && is_uuid(wanted)
        && let Ok(id) = wanted.parse()
    {
        return Ok(Target::Scenario(id));
    }
    let names = |_: &ScenarioId, scenario: &Thing| [scenario.text("name").map(str::to_owned), None];
    let shown =
        |id: &ScenarioId, scenario: &Thing| format!("{id}  {}", scenario.text("name").unwrap_or_default());
    Ok(Target::Scenario(pick("scenario", wanted, &house.scenarios, names, shown)?))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.split('-').map(str::len).eq([8, 4, 4, 4, 12])
}

fn pick<K: Ord + Clone + FromStr>(
    kind: &'static str,
    wanted: &str,
    things: &std::collections::BTreeMap<K, Thing>,
    names: impl Fn(&K, &Thing) -> [Option<String>; 2],
    shown: impl Fn(&K, &Thing) -> String,
) -> Result<K, Error> {
    if let Some((id, _)) = wanted.parse().ok().and_then(|id: K| things.get_key_value(&id)) {
        return Ok(id.clone());
    }
    let named: Vec<(&K, &Thing)> = things
        .iter()
        .filter(|(id, thing)| names(id, thing).iter().flatten().any(|name| name == wanted))
        .collect();
    let (wanted, line) = (wanted.to_owned(), |(id, thing): (&K, &Thing)| one_line(&shown(id, thing)));
    match *named {
        [(id, _)] => Ok(id.clone()),
        [] => Err(Error::Nobody { kind, wanted, there: things.iter().map(line).collect() }),
        _ => Err(Error::Several { kind, wanted, there: named.into_iter().map(line).collect() }),
    }
}

/// Publishes the command, once; returns its id. What opens is never sent a second time by the connection either.
fn publish(line: &Line, order: &Order, (target, code): &Ready) -> Result<String, Error> {
    let id = format!("shell-{}", Rng::new(app::seed()).uuid());
    let mut command = json!({
        "action": order.action.word(),
        "id": id,
        "issued_at": clock::now().utc.to_string(),
    });
    for (member, text) in
        [("code", code.as_ref().map(ExposeSecret::expose_secret)), ("by", order.by.as_deref())]
    {
        if let (Some(text), Some(object)) = (text, command.as_object_mut()) {
            object.insert(member.to_owned(), text.into());
        }
    }
    let qos = if order.action.opens() { Qos::AtMostOnce } else { Qos::AtLeastOnce };
    let topic = line.topics.set(target);
    let publication =
        Publication { topic, payload: command.to_string().into(), qos, retain: false, correlation: None };
    line.publish(publication).map_err(|_| Error::Lost)?;
    Ok(id)
}

/// Waits for the result of a command that was published.
struct Watch<'a> {
    id: &'a str,
    target: &'a Target,
    order: &'a Order,
    accepted: bool,
}

impl Watch<'_> {
    /// `None` where no result comes in time.
    async fn wait(
        &mut self,
        line: &mut Line,
        out: &mut impl Write,
        notes: &mut impl Write,
    ) -> Option<Ending> {
        let sent = clock::now().mono;
        let limit = sent + self.order.wait;
        let mut silent = true;
        loop {
            let at = if silent { limit.min(sent + TELL_AFTER) } else { limit };
            match clock::timeout_at(at, line.next()).await {
                Err(_) if at == limit => return None,
                Err(_) => {
                    silent = false;
                    say(notes, format_args!("nothing was heard from the gateway yet; waiting on"));
                }
                Ok(Heard::Message(message)) => {
                    let Some(result) = self.result(&line.topics, &message.topic, &message.payload) else {
                        continue;
                    };
                    silent = false;
                    if let Some(ending) = self.told(&result, out, notes) {
                        return Some(ending);
                    }
                }
                Ok(Heard::Trouble) => {
                    say(notes, format_args!("the result may be missed: {}", line.trouble()));
                }
                Ok(Heard::Proven | Heard::Nothing) => {}
            }
        }
    }

    /// A result of this command.
    fn result(&self, topics: &Topics, topic: &str, payload: &[u8]) -> Option<Value> {
        if topic != topics.of(self.target, "result") {
            return None;
        }
        let result: Value = serde_json::from_slice(payload).ok()?;
        (result.get("id")?.as_str()? == self.id).then_some(result)
    }

    fn told(&mut self, result: &Value, out: &mut impl Write, notes: &mut impl Write) -> Option<Ending> {
        let text = |member: &str| result.get(member).and_then(Value::as_str);
        if self.order.json {
            say(out, format_args!("{result}"));
        }
        let outcome =
            text("outcome").and_then(|word| Outcome::ALL.into_iter().find(|one| one.word() == word));
        let message = one_line(text("message").unwrap_or_default());
        let ending = match outcome {
            Some(Outcome::Accepted) => {
                self.accepted = true;
                if !self.order.json {
                    say(notes, format_args!("accepted: {message}"));
                }
                return None;
            }
            Some(Outcome::Done) => Ending::Done,
            Some(Outcome::Refused | Outcome::Expired | Outcome::Merged) => Ending::Refused,
            Some(Outcome::Failed) => Ending::Failed,
            Some(Outcome::Unknown) | None => Ending::Unknown,
        };
        if !self.order.json {
            let word = outcome.map_or("unknown", Outcome::word);
            say(out, format_args!("{word}: {message}"));
            let reason = Reason::ALL.into_iter().find(|reason| text("reason") == Some(reason.word()));
            if let Some(reason) = reason {
                say(notes, format_args!("{}", cure(reason)));
            }
            if ending == Ending::Unknown {
                say(notes, format_args!("look before you try again"));
            }
        }
        Some(ending)
    }

    /// Nobody said what became of it.
    fn unanswered(&self, out: &mut impl Write, notes: &mut impl Write) -> Ending {
        let message = if self.accepted {
            "the gateway took the command on, and its result was not heard"
        } else {
            "the gateway did not answer; the command may be carried out all the same"
        };
        if self.order.json {
            let result = json!({
                "id": self.id,
                "action": self.order.action.word(),
                "outcome": "unknown",
                "reason": "no_answer",
                "message": message,
            });
            say(out, format_args!("{result}"));
        } else {
            say(out, format_args!("unknown: {message}; look before you try again"));
            let topic = self.target.path() + "/set";
            say(
                notes,
                format_args!(
                    "it was not sent a second time. Where nothing is ever answered, look whether this user may publish to \
                     {topic} and read the results (examples/mosquitto/acl)"
                ),
            );
        }
        Ending::NoAnswer
    }
}

/// What to do about a reason, for somebody at a shell.
fn cure(reason: Reason) -> String {
    if reason == Reason::CodeRequired {
        return "what to do: give the code with --code-file, or --ask-code to type it".to_owned();
    }
    format!("what to do: {} ({}, docs/commands.md)", plain(reason.explanation().cure), reason.word())
}

/// Without the links that Markdown has.
fn plain(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        let Some((label, after)) = link.split_once("](") else { break };
        let Some((_, after)) = after.split_once(')') else { break };
        shown.push_str(before);
        shown.push_str(label);
        rest = after;
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cures_are_told_without_markdown() {
        assert_eq!(plain("see [the key](../README.md#x), or [that](y)."), "see the key, or that.");
        for reason in Reason::ALL {
            assert!(!cure(reason).contains("]("), "{}", cure(reason));
        }
    }
}
