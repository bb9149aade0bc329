//! Chaos: faults at the vendor, cut connections to the broker and kills of the gateway, all at once and at random, while
//! people command. What the vendor executed and what the journal says is then held against each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;
use tokio::time::{Instant, sleep};
use verkada2mqtt::{
    rng::Rng,
    simulator::{
        fault::{Cut, Effect, ErrorBody, Fault, Moment},
        ledger::Endpoint,
    },
};

use crate::{
    process::{LIMIT, Process},
    rig::{Rig, eventually, ready},
};

const DOORS: [&str; 3] = ["Workshop", "Roof Terrace", "Delivery Gate"];
const SCENARIOS: [&str; 2] = ["Lockdown Tern Yard", "Lockdown Heron Mill"];

fn number(name: &str, default: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a test is told from outside how long it lasts")]
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap())
}

/// Everything that the journal holds, oldest first.
async fn journal(rig: &Rig) -> Vec<Value> {
    let ended = rig.config.run(&["audit", "--json"]).await;
    assert_eq!(ended.code(), Some(0), "{}", ended.log);
    ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What became of each command that was accepted: its target, what it asks for, and its ends.
#[derive(Debug, Default)]
struct Life {
    target: String,
    action: String,
    ends: Vec<String>,
}

fn lives(journal: &[Value]) -> (BTreeMap<String, Life>, BTreeMap<String, String>) {
    let (mut lives, mut last) = (BTreeMap::<String, Life>::new(), BTreeMap::new());
    for record in journal {
        let text = |member: &str| record[member].as_str().unwrap_or_default().to_owned();
        let id = text("command");
        match text("stage").as_str() {
            "accepted" => {
                let life = Life { target: text("target"), action: text("action"), ends: Vec::new() };
                last.insert(life.target.clone(), id.clone());
                assert!(lives.insert(id.clone(), life).is_none(), "{id} was accepted twice");
            }
            "ended" => lives.get_mut(&id).unwrap().ends.push(text("outcome")),
            _ => {}
        }
    }
    (lives, last)
}

fn fault(rng: &mut Rng) -> Fault {
    let endpoint = match rng.below(5) {
        0 => Some(Endpoint::Activate),
        1 => Some(Endpoint::Release),
        2 => None,
        _ => Some(Endpoint::AdminUnlock),
    };
    let effect = match rng.below(7) {
        0 => Effect::Cut { moment: Cut::BeforeRead },
        1 => Effect::Cut { moment: Cut::AfterRead },
        2 => Effect::Cut { moment: Cut::AfterExecute },
        3 => Effect::Cut { moment: Cut::AfterBytes(rng.below(200)) },
        4 => Effect::Delay { milliseconds: rng.below(1_500), moment: Moment::AfterExecute },
        5 => Effect::Hang { moment: Moment::AfterExecute },
        _ => Effect::Status { status: 503, body: ErrorBody::Html, retry_after: None },
    };
    Fault { endpoint, after: 0, times: 1, effect }
}

async fn kill(rig: &Rig, gateway: &mut Process) {
    gateway.signal("KILL");
    gateway.end_within(LIMIT).await;
    *gateway = rig.run();
}

#[tokio::test]
#[ignore = "it takes a minute; CHAOS_SECONDS makes it shorter or longer, SEED repeats a run"]
async fn nothing_opens_twice_and_every_lockdown_ends_active_or_told_in_any_chaos() {
    #[expect(clippy::disallowed_methods, reason = "each run is another one, unless it is told its seed")]
    let now = verkada2mqtt::clock::now().utc.as_second();
    let seed = number("SEED", now.unsigned_abs());
    println!("SEED={seed}");
    let mut rng = Rng::new(seed);
    let rig = Rig::start().await;
    let mut gateway = rig.run_ready().await;
    let doors = DOORS.map(|name| rig.door(name).to_string());
    let scenarios = SCENARIOS.map(|name| rig.scenario(name).to_string());
    let mut sent: Vec<(String, String)> = Vec::new();
    let until = Instant::now() + Duration::from_secs(number("CHAOS_SECONDS", 60));
    while Instant::now() < until {
        sleep(Duration::from_millis(rng.below(120))).await;
        let pick = |rng: &mut Rng, from: &[String]| {
            from[usize::try_from(rng.below(from.len() as u64)).unwrap()].clone()
        };
        match rng.below(40) {
            0 => kill(&rig, &mut gateway).await,
            1 => rig.broker.drop_connections(),
            2..10 => drop(rig.world.inject(fault(&mut rng))),
            11..20 => {
                let action = if rng.one_in(3) { "release" } else { "activate" };
                let topic = format!("verkada/scenario/{}/set", pick(&mut rng, &scenarios));
                let payload = format!(r#"{{"action": "{action}", "id": "s-{}"}}"#, sent.len());
                sent.push((topic, payload));
                let (topic, payload) = sent.last().cloned().unwrap();
                rig.client().await.publish(&topic, payload).await;
            }
            _ => {
                if sent.is_empty() || !rng.one_in(4) {
                    let topic = format!("verkada/door/{}/set", pick(&mut rng, &doors));
                    sent.push((topic, format!(r#"{{"action": "unlock", "id": "u-{}"}}"#, sent.len())));
                }
                // Sometimes one that was sent before: an id that was used runs never again.
                let again = usize::try_from(rng.below(6)).unwrap();
                let (topic, payload) = sent[sent.len().saturating_sub(1 + again)].clone();
                rig.client().await.publish(&topic, payload).await;
            }
        }
    }
    rig.world.clear_faults();
    kill(&rig, &mut gateway).await;
    ready(&gateway).await;
    eventually("every command has ended", async || {
        let (lives, _) = lives(&journal(&rig).await);
        lives.values().all(|life| !life.ends.is_empty()).then_some(())
    })
    .await;

    let verified = rig.config.run(&["audit", "--verify"]).await;
    assert_eq!(verified.code(), Some(0), "{}{}", verified.out, verified.log);
    let (lives, last) = lives(&journal(&rig).await);
    assert!(lives.len() > 10, "hardly anything happened: {lives:?}");
    for (id, life) in &lives {
        assert_eq!(life.ends.len(), 1, "{id}: {life:?}");
    }
    for door in &doors {
        let target = format!("door/{door}");
        let ids: BTreeSet<_> = lives
            .iter()
            .filter(|(_, life)| life.target == target)
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        let executed = rig
            .seen(Endpoint::AdminUnlock)
            .into_iter()
            .filter(|entry| entry.executed && entry.target.as_deref() == Some(door))
            .count();
        assert!(executed <= ids.len(), "{target} was unlocked {executed} times by {ids:?}");
    }
    let alarm = rig.retained("verkada/bridge/lockdown_alarm_attributes").unwrap();
    for name in SCENARIOS {
        let scenario = rig.scenario(name);
        let Some(id) = last.get(&format!("scenario/{scenario}")) else { continue };
        let life = &lives[id];
        let active = rig.world.is_active(&scenario).unwrap();
        if life.action == "activate" {
            assert!(active || alarm.contains(scenario.as_str()), "{id}: {life:?}, and {alarm}");
        } else if life.ends == ["done"] {
            assert!(!active, "{id}: {life:?}");
        }
    }
}
