//! How long it takes from a webhook of the vendor to the state of the door on MQTT.
//!
//! `cargo bench --bench webhook` runs the built program between the simulated vendor and the embedded broker, both in
//! this process, opens a door after the other, and prints how long each change of position took: from the event in the
//! simulated building, so that delivery, check, core, broker and client are all in it. `ROUNDS` changes the number.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints and may fail loudly")]

use std::{
    env, fs,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use verkada2mqtt::{
    clock,
    demo::broker,
    simulator::{self, organisation::Organisation, switches::Switches, webhook::WebhookTarget},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_verkada2mqtt");
const SECRET: &str = "bench-secret";
/// The bound on every wait.
const LIMIT: Duration = Duration::from_secs(20);
/// Doors that are opened before anything is measured, so that all is at its working heat.
const WARM_UP: usize = 10;

struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a benchmark is set by its environment")]
    let rounds = env::var("ROUNDS").map_or(500, |text| text.parse().unwrap());
    runtime.block_on(measure(rounds));
}

async fn measure(rounds: usize) {
    let http = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let url = format!("http://{http}/webhook/verkada").parse().unwrap();
    let settings = simulator::Settings {
        switches: Switches { rate_limit: false, event_delay_ms: 0, ..Switches::default() },
        webhook: Some(WebhookTarget { url, secret: Some(SECRET.to_owned().into()) }),
        ..simulator::Settings::new(Organisation::of_size(rounds + WARM_UP, 1, 1), "bench-key".to_owned())
    };
    let simulator = simulator::start(settings).await.unwrap();
    let broker = broker::start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    let text = format!(
        "verkada: {{ base_url: {}, api_key: bench-key }}\nmqtt: {{ url: \"mqtt://{}\" }}\nhttp: {{ listen: \"{http}\" }}\n\
         webhook: {{ secret: {SECRET} }}\npoll: {{ events: 10m }}\nstate_dir: {}\nlog: {{ level: error }}\n",
        simulator.base_url(),
        broker.address(),
        folder.path().join("state").display()
    );
    fs::write(&config, text).unwrap();
    let gateway =
        Command::new(PROGRAM).args(["run", "--config"]).arg(&config).stdout(Stdio::null()).spawn().unwrap();
    let _gateway = Gateway(gateway);

    let world = simulator.handle();
    let mut positions = listen(broker.address(), "verkada/door/+/position");
    let mut took = Vec::with_capacity(rounds);
    // A door each, since events have whole seconds and two of one second prove nothing.
    for (round, door) in world.doors().iter().enumerate() {
        let wanted = (format!("verkada/door/{}/position", door.id), "ON".to_owned());
        is_shown(&broker, &wanted.0).await;
        let begun = clock::now().mono;
        world.exit(&door.id).unwrap();
        world.open(&door.id).unwrap();
        tokio::time::timeout(LIMIT, async { while positions.recv().await.unwrap() != wanted {} })
            .await
            .unwrap();
        if round >= WARM_UP {
            took.push(clock::now().mono - begun);
        }
    }
    took.sort_unstable();
    let at = |percent: usize| {
        took.get((took.len() * percent / 100).min(took.len() - 1)).unwrap().as_secs_f64() * 1e3
    };
    println!("webhook to MQTT, {} doors opened one after the other", took.len());
    println!(
        "  p50 {:>7.2} ms   p99 {:>7.2} ms   max {:>7.2} ms   (wanted: p99 below 100 ms)",
        at(50),
        at(99),
        at(100)
    );
}

/// Waits until the door is shown at all, which it is once everything was announced.
async fn is_shown(broker: &broker::Broker, topic: &str) {
    let shown = async {
        while broker.retained(topic).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, shown).await.unwrap();
}

/// Topics and payloads as they come.
fn listen(broker: SocketAddr, filter: &str) -> tokio::sync::mpsc::Receiver<(String, String)> {
    let (sender, receiver) = tokio::sync::mpsc::channel(4096);
    let options = rumqttc::MqttOptions::new("bench", (broker.ip().to_string(), broker.port()));
    let (client, mut events) = rumqttc::AsyncClient::builder(options).capacity(8).build();
    client.try_subscribe(filter, rumqttc::QoS::AtLeastOnce).unwrap();
    tokio::spawn(async move {
        let _client = client;
        while let Ok(event) = events.poll().await {
            if let rumqttc::Event::Incoming(rumqttc::Incoming::Publish(publish)) = event {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                if sender.send((text(&publish.topic), text(&publish.payload))).await.is_err() {
                    return;
                }
            }
        }
    });
    receiver
}
