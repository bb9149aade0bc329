//! One fault round after round, each time at another moment: kills of the gateway and connections that are away, while
//! somebody presses a lockdown or opens doors. `ROUNDS` says how often, `SEED` repeats a run.

use std::{fs, path::PathBuf, time::Duration};

use tokio::time::{Instant, sleep};
use verkada2mqtt::{
    clock,
    model::{DoorId, ScenarioId},
    rng::Rng,
    simulator::{
        fault::{Cut, Effect, ErrorBody, Fault},
        ledger::Endpoint,
        organisation::Door,
    },
};

use crate::{
    chaos::{fault, journal, judge_unlocks, lives},
    environment::number,
    mqtt::Client,
    process::{LIMIT, Process},
    rig::{Rig, eventually, ready},
    securing::Turnstile,
};

/// After so many rounds there is a new world, so that ledger and journal stay short.
const ROUNDS_OF_A_WORLD: u64 = 50;

/// A gateway that serves at the begin and at the end of each round, with what is around it.
struct World {
    rng: Rng,
    rig: Rig,
    /// Between the gateway and the broker.
    turnstile: Turnstile,
    client: Client,
    gateway: Process,
    scenario: ScenarioId,
    /// Where the scenario is told of and commanded, without the last part.
    topic: String,
    /// Names the commands of this round.
    round: u64,
    /// How many acts the vendor had executed before this round.
    already: usize,
    /// Doors that were never commanded, and those that were.
    doors: (Vec<DoorId>, Vec<DoorId>),
    /// The longest that it took from a start to a lockdown.
    slowest: Duration,
}

impl World {
    async fn start(seed: u64) -> Self {
        let mut rig = Rig::start().await;
        let turnstile = Turnstile::start(rig.broker.address()).await;
        rig.config.set("/mqtt/url", format!("mqtt://{}", turnstile.address));
        let scenario = rig.scenario("Lockdown Tern Yard");
        let world = Self {
            rng: Rng::new(seed),
            turnstile,
            client: rig.client().await,
            gateway: rig.run_ready().await,
            topic: format!("verkada/scenario/{scenario}"),
            scenario,
            round: 0,
            already: 0,
            doors: (Vec::new(), Vec::new()),
            slowest: Duration::ZERO,
            rig,
        };
        let heard = world.heard();
        eventually("it is written when the broker was heard", async || heard.exists().then_some(())).await;
        world
    }

    fn heard(&self) -> PathBuf {
        self.rig.config.path().with_file_name("state").join("securing_heard")
    }

    /// What the vendor executed in this round.
    fn acts(&self) -> Vec<Endpoint> {
        let executed = self.rig.acts().into_iter().filter(|act| act.executed);
        executed.map(|act| act.endpoint).skip(self.already).collect()
    }

    async fn press(&self, action: &str) {
        let payload = format!(r#"{{"action": "{action}", "id": "{action} {}"}}"#, self.round);
        self.client.publish(&format!("{}/set", self.topic), payload.clone()).await;
        // The broker has it, and what came before it.
        self.client.shows(&format!("{}/set", self.topic), &payload).await;
    }

    async fn some_time(&mut self, most: Duration) {
        sleep(Duration::from_micros(self.rng.below(u64::try_from(most.as_micros()).unwrap()))).await;
    }

    async fn end(&mut self, signal: &str) {
        self.gateway.signal(signal);
        self.gateway.end_within(LIMIT).await;
    }

    /// A gateway whose connections have just been closed again and again waits longer before the next one.
    async fn forget_the_cuts(&mut self) {
        self.end("KILL").await;
        self.gateway = self.rig.run_ready().await;
    }

    /// Starts the gateway, and waits for the lockdown.
    async fn start_and_lock(&mut self) {
        let started = Instant::now();
        self.gateway = self.rig.run();
        self.is_locked().await;
        self.slowest = self.slowest.max(started.elapsed());
    }

    async fn is_locked(&self) {
        eventually("the lockdown is there", async || {
            self.rig.world.is_active(&self.scenario).unwrap().then_some(())
        })
        .await;
    }

    /// It was one activate and nothing else, and no copy of it starts the lockdown anew once it is over.
    async fn was_locked_once(&self) {
        ready(&self.gateway).await;
        self.client.shows(&format!("{}/state", self.topic), "ON").await;
        self.rig.world.set_active(&self.scenario, false).unwrap();
        self.client.shows(&format!("{}/state", self.topic), "OFF").await;
        assert_eq!(self.acts(), [Endpoint::Activate]);
        assert!(!self.rig.world.is_active(&self.scenario).unwrap());
    }

    /// What has to hold whatever the rounds were.
    async fn judge(mut self) {
        // What still comes is accepted and ends before, or not at all.
        self.end("TERM").await;
        let verified = self.rig.config.run(&["audit", "--verify"]).await;
        assert_eq!(verified.code(), Some(0), "{}{}", verified.out, verified.log);
        let aside = self.heard().with_file_name("journal.sqlite.unusable-1");
        assert!(!aside.exists(), "the journal could not be opened");
        let (lives, _) = lives(&journal(&self.rig.config).await);
        for (id, life) in &lives {
            assert_eq!(life.ends.len(), 1, "{id}: {life:?}");
        }
        judge_unlocks(&self.rig.world, &self.doors.1, &lives);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("round {}, the gateway logged\n{}", self.round, self.gateway.log().join("\n"));
        }
    }
}

/// Plays a scene `ROUNDS` times, or as often as the gate has time for.
async fn rounds(in_the_gate: u64, scene: impl AsyncFn(&mut World)) {
    let rounds = number("ROUNDS").unwrap_or(in_the_gate);
    let seed = number("SEED").unwrap_or_else(|| clock::now().utc.as_second().unsigned_abs());
    println!("ROUNDS={rounds} SEED={seed}");
    let (mut rng, mut slowest) = (Rng::new(seed), Duration::ZERO);
    let mut played = 0;
    while played < rounds {
        let mut world = World::start(rng.bits()).await;
        for _ in 0..ROUNDS_OF_A_WORLD.min(rounds - played) {
            world.round = played;
            world.already = 0;
            world.already = world.acts().len();
            scene(&mut world).await;
            played += 1;
        }
        slowest = slowest.max(world.slowest);
        world.judge().await;
    }
    println!("{played} rounds; from a start to a lockdown at most {} ms", slowest.as_millis());
}

#[tokio::test]
async fn a_gateway_that_is_killed_at_any_moment_opens_nothing_twice() {
    rounds(10, async |world| {
        let unlock = |door: &DoorId| {
            (format!("verkada/door/{door}/set"), format!(r#"{{"action": "unlock", "id": "{door}"}}"#))
        };
        let fresh: Vec<_> = std::mem::take(&mut world.doors.0);
        let commands: Vec<_> = fresh.iter().map(unlock).collect();
        world.doors.1.extend(fresh);
        if world.rng.one_in(2) {
            world.rig.world.inject(fault(&mut world.rng)).unwrap();
        }
        for (topic, payload) in commands.clone() {
            world.client.publish(&topic, payload).await;
        }
        world.some_time(Duration::from_millis(120)).await;
        world.end("KILL").await;
        world.rig.world.clear_faults();
        // Each door is commanded under one id, so that the ledger tells how often the id was executed.
        let like = world.rig.world.doors().remove(0);
        for _ in 0..2 {
            let id: DoorId = world.rng.uuid().parse().unwrap();
            world
                .rig
                .world
                .add_door(Door { id: id.clone(), api_control: true, ..Door::clone(&like) })
                .unwrap();
            world.doors.0.push(id);
        }
        world.gateway = world.rig.run_ready().await;
        // Somebody asks once more under the same ids.
        for (topic, payload) in commands {
            world.client.publish(&topic, payload).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_lockdown_whose_gateway_is_killed_while_it_tries_is_taken_up() {
    rounds(5, async |world| {
        let tried = world.rig.seen(Endpoint::Activate).len();
        let effect = match world.rng.below(3) {
            0 => Effect::Cut { moment: Cut::BeforeRead },
            1 => Effect::Cut { moment: Cut::AfterRead },
            _ => Effect::Status { status: 503, body: ErrorBody::Html, retry_after: None },
        };
        let fault = Fault { endpoint: Some(Endpoint::Activate), after: 0, times: 1_000, effect };
        world.rig.world.inject(fault).unwrap();
        world.press("activate").await;
        let rig = &world.rig;
        eventually("it is tried", async || (rig.seen(Endpoint::Activate).len() > tried).then_some(())).await;
        world.some_time(Duration::from_secs(1)).await;
        world.end("KILL").await;
        world.rig.world.clear_faults();
        world.start_and_lock().await;
        world.was_locked_once().await;
        world.client.shows("verkada/bridge/lockdown_alarm", "OFF").await;
    })
    .await;
}

#[tokio::test]
async fn a_lockdown_pressed_while_either_connection_is_away_is_done_once() {
    rounds(4, async |world| {
        let securing = world.rng.one_in(2);
        let logged = world.gateway.log().len();
        world.turnstile.bar(securing);
        let name = if securing { "the securing MQTT link is down" } else { "the MQTT link is down" };
        world.gateway.logs_after(logged, name).await;
        world.press("activate").await;
        world.is_locked().await;
        world.turnstile.open();
        // What the broker kept for the one that was away comes before it is ready.
        world.was_locked_once().await;
        world.forget_the_cuts().await;
    })
    .await;
}

#[tokio::test]
async fn a_lockdown_pressed_while_the_gateway_is_away_is_done_once_and_a_release_never() {
    rounds(6, async |world| {
        let ways = ["TERM", "KILL", "cut"];
        let way = *world.rng.pick(&ways).unwrap();
        if way == "cut" {
            world.rig.broker.drop_connections();
            world.client = world.rig.client().await;
        } else {
            world.end(way).await;
        }
        world.press("activate").await;
        if way == "cut" {
            world.is_locked().await;
        } else {
            world.press("release").await;
            world.start_and_lock().await;
        }
        world.was_locked_once().await;
        world.forget_the_cuts().await;
    })
    .await;
}

#[tokio::test]
async fn a_lockdown_of_unknown_age_is_refused_and_told_each_time() {
    rounds(4, async |world| {
        world.end("KILL").await;
        let seconds = 61 + world.rng.below(100_000);
        if world.rng.one_in(3) {
            // The one of the last round may not have been written again yet.
            fs::remove_file(world.heard()).ok();
        } else {
            let at = clock::now().utc - Duration::from_secs(seconds);
            fs::write(world.heard(), at.to_string()).unwrap();
        }
        world.press("activate").await;
        world.gateway = world.rig.run_ready().await;
        world.client.shows("verkada/bridge/lockdown_alarm", "ON").await;
        world.client.publish("verkada/bridge/acknowledge/set", "PRESS").await;
        world.client.shows("verkada/bridge/lockdown_alarm", "OFF").await;
        assert_eq!(world.acts(), []);
    })
    .await;
}

#[tokio::test]
async fn a_lockdown_whose_gateway_is_killed_as_it_comes_is_delivered_again_and_done() {
    rounds(8, async |world| {
        let payload = format!(r#"{{"action": "activate", "id": "{}"}}"#, world.round);
        world.client.publish(&format!("{}/set", world.topic), payload.clone()).await;
        world.some_time(Duration::from_millis(30)).await;
        world.end("KILL").await;
        // Where the broker was slower than the kill it has the message now.
        world.client.shows(&format!("{}/set", world.topic), &payload).await;
        world.start_and_lock().await;
        world.was_locked_once().await;
    })
    .await;
}
