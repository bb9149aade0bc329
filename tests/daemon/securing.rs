//! The connection for lockdowns: what happens while one of the two is away, or busy.

use std::{
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinHandle},
};
use verkada2mqtt::{clock, simulator::ledger::Endpoint};

use crate::{
    process::LIMIT,
    rig::{Rig, eventually, get, http, ready},
};

/// Stands between the gateway and the broker, tells the two connections apart, and keeps one of them away.
pub(crate) struct Turnstile {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// Which one is kept away: the securing one or the main one.
    barred: Option<bool>,
    open: Vec<(bool, AbortHandle)>,
}

impl Turnstile {
    pub(crate) async fn start(behind: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                // A CONNECT of ours is short and comes at once.
                let mut hello = vec![0; 512];
                let Ok(length) = client.read(&mut hello).await else { continue };
                hello.truncate(length);
                let securing = hello.windows(9).any(|part| part == b"-securing");
                let mut state = shared.lock().unwrap();
                if state.barred == Some(securing) {
                    continue;
                }
                let link = tokio::spawn(async move {
                    let mut broker = TcpStream::connect(behind).await.unwrap();
                    broker.write_all(&hello).await.unwrap();
                    // Either end may go first.
                    copy_bidirectional(&mut client, &mut broker).await.ok();
                });
                state.open.push((securing, link.abort_handle()));
            }
        });
        Self { address, state, task }
    }

    /// Cuts one connection and keeps it away.
    pub(crate) fn bar(&self, securing: bool) {
        let mut state = self.state.lock().unwrap();
        state.barred = Some(securing);
        for (_, link) in state.open.iter().filter(|(which, _)| *which == securing) {
            link.abort();
        }
    }

    /// Lets both through again.
    pub(crate) fn open(&self) {
        self.state.lock().unwrap().barred = None;
    }
}

impl Drop for Turnstile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn acts(rig: &Rig) -> Vec<Endpoint> {
    rig.acts().into_iter().filter(|act| act.executed).map(|act| act.endpoint).collect()
}

#[tokio::test]
async fn a_lockdown_pressed_during_a_stop_or_a_crash_is_done_once_and_a_release_never() {
    let rig = Rig::start().await;
    let scenario = format!("verkada/scenario/{}", rig.scenario("Lockdown Tern Yard"));
    let client = rig.client().await;
    for end in ["TERM", "KILL"] {
        let already = acts(&rig).len();
        let mut gateway = rig.run_ready().await;
        let heard = rig.config.path().with_file_name("state").join("securing_heard");
        eventually("it is written when the broker was heard", async || heard.exists().then_some(())).await;
        gateway.signal(end);
        gateway.end_within(LIMIT).await;
        for action in ["activate", "release"] {
            let payload = format!(r#"{{"action": "{action}", "id": "{action} {end}"}}"#);
            client.publish(&format!("{scenario}/set"), payload.clone()).await;
            client.shows(&format!("{scenario}/set"), &payload).await;
        }
        let gateway = rig.run_ready().await;
        gateway.logs("reason=\"resumed_session\"").await;
        eventually("the lockdown is done", async || (acts(&rig).len() > already).then_some(())).await;
        client.shows(&format!("{scenario}/state"), "ON").await;
        assert_eq!(acts(&rig)[already..], [Endpoint::Activate], "after SIG{end}");
        client.publish(&format!("{scenario}/set"), "OFF").await;
        client.shows(&format!("{scenario}/state"), "OFF").await;
    }
}

#[tokio::test]
async fn a_lockdown_that_may_be_older_than_a_minute_is_refused_and_somebody_is_told() {
    let rig = Rig::start().await;
    let scenario = format!("verkada/scenario/{}", rig.scenario("Lockdown Tern Yard"));
    let client = rig.client().await;
    let heard = rig.config.path().with_file_name("state").join("securing_heard");
    for written in [Some(61), None] {
        let mut gateway = rig.run_ready().await;
        gateway.signal("TERM");
        gateway.end_within(LIMIT).await;
        match written {
            Some(ago) => {
                fs::write(&heard, (clock::now().utc - Duration::from_secs(ago)).to_string()).unwrap();
            }
            None => fs::remove_file(&heard).unwrap(),
        }
        let activate = format!(r#"{{"action": "activate", "id": "{written:?}"}}"#);
        client.publish(&format!("{scenario}/set"), activate.clone()).await;
        client.shows(&format!("{scenario}/set"), &activate).await;
        let gateway = rig.run_ready().await;
        gateway.logs("reason=\"resumed_session\"").await;
        client.shows("verkada/bridge/lockdown_alarm", "ON").await;
        assert_eq!(acts(&rig), []);
    }
}

#[tokio::test]
async fn a_lockdown_pressed_during_a_reload_is_not_lost() {
    let mut rig = Rig::start().await;
    let scenario = format!("verkada/scenario/{}", rig.scenario("Lockdown Tern Yard"));
    let client = rig.client().await;
    let gateway = rig.run_ready().await;
    let logged = gateway.log().len();
    // Needs a new start within the process.
    rig.config.set("/journal/keep", "30d");
    gateway.signal("HUP");
    for round in 0..20 {
        // Whatever part of the restart each falls into.
        client.publish(&format!("{scenario}/set"), format!(r#"{{"action": "ON", "id": "{round}"}}"#)).await;
    }
    gateway.logs_after(logged, "the gateway starts").await;
    client.shows(&format!("{scenario}/state"), "ON").await;
    assert!(rig.world.is_active(&rig.scenario("Lockdown Tern Yard")).unwrap());
}

#[tokio::test]
async fn either_connection_may_be_away_and_lockdowns_are_done_once_each() {
    let mut rig = Rig::start().await;
    let turnstile = Turnstile::start(rig.broker.address()).await;
    rig.config.set("/mqtt/url", format!("mqtt://{}", turnstile.address));
    let scenario = rig.scenario("Lockdown Tern Yard");
    let topic = format!("verkada/scenario/{scenario}");
    let client = rig.client().await;
    let gateway = rig.run_ready().await;
    for (securing, name) in [(true, "the securing MQTT link is down"), (false, "the MQTT link is down")] {
        let already = acts(&rig).len();
        turnstile.bar(securing);
        gateway.logs(name).await;
        let command = |action: &str| format!(r#"{{"action": "{action}", "id": "{action} {securing}"}}"#);
        client.publish(&format!("{topic}/set"), command("activate")).await;
        eventually("the lockdown is there", async || rig.world.is_active(&scenario).unwrap().then_some(()))
            .await;
        turnstile.open();
        ready(&gateway).await;
        client.shows(&format!("{topic}/state"), "ON").await;
        // What the broker kept for the one that was away came before it was ready.
        client.publish(&format!("{topic}/set"), command("release")).await;
        client.shows(&format!("{topic}/state"), "OFF").await;
        assert_eq!(acts(&rig)[already..], [Endpoint::Activate, Endpoint::Release], "{name}");
    }
}

#[tokio::test]
async fn a_lockdown_does_not_wait_behind_hundreds_of_unlocks() {
    let rig = Rig::start().await;
    let door = format!("verkada/door/{}", rig.door("Workshop"));
    let scenario = rig.scenario("Lockdown Tern Yard");
    let client = rig.client().await;
    let gateway = rig.run_ready().await;
    let http = http(&gateway).await;
    for number in 0..500 {
        let unlock = format!(r#"{{"action": "unlock", "id": "{number}"}}"#);
        client.publish(&format!("{door}/set"), unlock).await;
    }
    client.publish(&format!("verkada/scenario/{scenario}/set"), "ON").await;
    eventually("the lockdown is there", async || rig.world.is_active(&scenario).unwrap().then_some(())).await;
    assert_eq!(acts(&rig).iter().filter(|act| **act == Endpoint::Activate).count(), 1);
    let (status, body) = get(http, "/readyz").await;
    assert_eq!((status, &body["securing"]["heartbeat"]), (200, &true.into()));
}
