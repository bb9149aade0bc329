//! Chaos: faults at the vendor, cut connections to the broker and kills of the gateway, all at once and at random, while
//! people command. What the vendor executed and what the journal says is then held against each other.

use std::{collections::BTreeMap, time::Duration};

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
    mqtt::Client,
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

/// People, faults and kills around one gateway.
struct Chaos {
    rng: Rng,
    rig: Rig,
    client: Client,
    gateway: Process,
    doors: Vec<String>,
    scenarios: Vec<String>,
    /// Commands that were sent: topic and payload.
    sent: Vec<(String, String)>,
}

impl Chaos {
    async fn start(seed: u64) -> Self {
        let rig = Rig::start().await;
        let gateway = rig.run_ready().await;
        Self {
            rng: Rng::new(seed),
            doors: DOORS.iter().map(|name| rig.door(name).to_string()).collect(),
            scenarios: SCENARIOS.iter().map(|name| rig.scenario(name).to_string()).collect(),
            sent: Vec::new(),
            client: rig.client().await,
            rig,
            gateway,
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.rng.below(u64::try_from(limit).unwrap())).unwrap()
    }

    async fn step(&mut self) {
        match self.rng.below(40) {
            0 => self.kill().await,
            1 => {
                self.rig.broker.drop_connections();
                self.client = self.rig.client().await;
            }
            2..=9 => drop(self.rig.world.inject(fault(&mut self.rng))),
            10..=19 => {
                let action = if self.rng.one_in(3) { "release" } else { "activate" };
                let index = self.below(self.scenarios.len());
                self.command(&format!("scenario/{}", self.scenarios[index]), action);
                self.send(0).await;
            }
            _ => {
                if self.sent.is_empty() || !self.rng.one_in(4) {
                    let index = self.below(self.doors.len());
                    self.command(&format!("door/{}", self.doors[index]), "unlock");
                }
                // Sometimes one that was sent before: an id that was used runs never again.
                let again = self.below(6);
                self.send(again).await;
            }
        }
    }

    fn command(&mut self, target: &str, action: &str) {
        let payload = format!(r#"{{"action": "{action}", "id": "c-{}"}}"#, self.sent.len());
        self.sent.push((format!("verkada/{target}/set"), payload));
    }

    /// Sends the newest command, or one of those before.
    async fn send(&self, back: usize) {
        let (topic, payload) = self.sent[self.sent.len().saturating_sub(1 + back)].clone();
        self.client.publish(&topic, payload).await;
    }

    async fn kill(&mut self) {
        self.gateway.signal("KILL");
        self.gateway.end_within(LIMIT).await;
        self.gateway = self.rig.run();
    }

    /// What the vendor executed against what was accepted.
    fn judge(&self, lives: &BTreeMap<String, Life>, last: &BTreeMap<String, String>) {
        for (id, life) in lives {
            assert_eq!(life.ends.len(), 1, "{id}: {life:?}");
        }
        for door in &self.doors {
            let target = format!("door/{door}");
            let accepted = lives.values().filter(|life| life.target == target).count();
            let unlocks = self.rig.seen(Endpoint::AdminUnlock).into_iter();
            let executed =
                unlocks.filter(|entry| entry.executed && entry.target.as_ref() == Some(door)).count();
            assert!(executed <= accepted, "{target} was unlocked {executed} times by {accepted} commands");
        }
        let alarm = self.rig.retained("verkada/bridge/lockdown_alarm_attributes").unwrap();
        for name in SCENARIOS {
            let scenario = self.rig.scenario(name);
            let Some(id) = last.get(&format!("scenario/{scenario}")) else { continue };
            let life = &lives[id];
            let active = self.rig.world.is_active(&scenario).unwrap();
            if life.action == "activate" {
                assert!(active || alarm.contains(scenario.as_str()), "{id}: {life:?}, and {alarm}");
            } else if life.ends == ["done"] {
                assert!(!active, "{id}: {life:?}");
            }
        }
    }
}

#[tokio::test]
#[ignore = "it takes a minute; CHAOS_SECONDS makes it shorter or longer, SEED repeats a run"]
async fn nothing_opens_twice_and_every_lockdown_ends_active_or_told_in_any_chaos() {
    let seed = number("SEED", verkada2mqtt::clock::now().utc.as_second().unsigned_abs());
    println!("SEED={seed}");
    let mut chaos = Chaos::start(seed).await;
    let until = Instant::now() + Duration::from_secs(number("CHAOS_SECONDS", 60));
    while Instant::now() < until {
        sleep(Duration::from_millis(chaos.rng.below(120))).await;
        chaos.step().await;
    }
    chaos.rig.world.clear_faults();
    chaos.kill().await;
    ready(&chaos.gateway).await;
    eventually("every command has ended", async || {
        let (lives, _) = lives(&journal(&chaos.rig).await);
        lives.values().all(|life| !life.ends.is_empty()).then_some(())
    })
    .await;
    let verified = chaos.rig.config.run(&["audit", "--verify"]).await;
    assert_eq!(verified.code(), Some(0), "{}{}", verified.out, verified.log);
    let (lives, last) = lives(&journal(&chaos.rig).await);
    assert!(lives.len() > 10, "hardly anything happened: {lives:?}");
    chaos.judge(&lives, &last);
}
