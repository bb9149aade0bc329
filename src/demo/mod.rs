//! The demo: simulated organisation, embedded broker and gateway in one process, with nothing to install.

pub mod broker;

use std::{
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use tokio::sync::mpsc;

use crate::{
    app::{self, End, State},
    config::{self, Config, Environment},
    hass::Topics,
    logging::LogHandle,
    model::Target,
    signals::Signal,
    simulator::{self, Simulator, organisation::Organisation, people},
};

/// The key of the simulated organisation; it opens nothing else.
const API_KEY: &str = "demo-key";
/// About how often somebody uses a door.
const PACE: Duration = Duration::from_secs(20);

/// How the demo is started.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The port of the embedded broker on loopback; another free one is taken where it is in use.
    pub port: u16,
    /// How many doors and scenarios; `None` for a small organisation with believable names.
    pub size: Option<(usize, usize)>,
}

/// Why the demo cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The embedded broker cannot start.
    #[error("cannot start the embedded broker: {0}")]
    Broker(#[from] broker::Error),
    /// The simulated API cannot start.
    #[error("cannot start the simulated API: {0}")]
    Simulator(io::Error),
    /// There is no port for the status page.
    #[error("cannot find a port for the status page: {0}")]
    Page(io::Error),
    /// The configuration of the demo is not what the gateway takes.
    #[error("cannot configure the demo: {0}")]
    Config(config::Report),
    /// The gateway cannot run.
    #[error(transparent)]
    Gateway(#[from] app::Error),
    /// Nobody can be told.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

/// Runs until a signal ends it.
///
/// # Errors
/// Where a part cannot start.
pub async fn run(
    settings: Settings,
    log: &LogHandle,
    signals: &mut mpsc::Receiver<Signal>,
) -> Result<(), Error> {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, settings.port));
    let broker = match broker::start(wanted).await {
        Err(broker::Error::Bind { .. }) => broker::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?,
        other => other?,
    };
    let organisation = settings
        .size
        .map_or_else(Organisation::demo, |(doors, scenarios)| Organisation::of_size(doors, scenarios, 1));
    let simulator =
        simulator::start(simulator::Settings::new(organisation, API_KEY)).await.map_err(Error::Simulator)?;
    let page = free_address().map_err(Error::Page)?;
    let config = configuration(broker.address(), page, &simulator).map_err(Error::Config)?;
    introduce(&mut io::stdout().lock(), broker.address(), page, &simulator).map_err(Error::Output)?;
    let living = tokio::spawn(people::live(simulator.handle(), 1, PACE));
    while let End::Reload { next, .. } =
        Box::pin(app::run(&config, log, State::Memory, signals, || Ok(config.clone()))).await?
    {
        log.set(next.log.level);
    }
    living.abort();
    simulator.stop().await;
    broker.stop().await;
    Ok(())
}

/// An address on loopback at which nobody listens, so that it can be told before the gateway starts.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// The configuration goes the way of every other one, so that the demo shows what a file can do.
fn configuration(
    broker: SocketAddr,
    page: SocketAddr,
    simulator: &Simulator,
) -> Result<Config, config::Report> {
    let text = format!(
        "verkada: {{ base_url: {}, api_key: {API_KEY} }}\n\
         mqtt: {{ url: \"mqtt://{broker}\" }}\n\
         commands: {{ hold: true }}\n\
         http: {{ listen: \"{page}\" }}\n",
        simulator.base_url()
    );
    config::parse(&text, "demo", &Environment::default())
}

/// Says where everything is, and what to try.
fn introduce(
    out: &mut impl Write,
    broker: SocketAddr,
    page: SocketAddr,
    simulator: &Simulator,
) -> io::Result<()> {
    let (host, port) = (broker.ip(), broker.port());
    let topics = Topics::new("verkada");
    let handle = simulator.handle();
    writeln!(
        out,
        "verkada2mqtt demo: a simulated organisation on an embedded MQTT broker. Ctrl-C ends it.\n"
    )?;
    writeln!(out, "  MQTT broker     {host}:{port}  (MQTT 5 and 3.1.1, no password, this machine only)")?;
    writeln!(out, "  status page     http://{page}/  (in a browser on this machine)")?;
    writeln!(out, "  simulated API   {}simulator/state", simulator.base_url())?;
    for door in handle.doors().iter().take(10) {
        writeln!(out, "  door            {}  {}, {}", door.id, door.name, door.site.name)?;
    }
    for scenario in handle.scenarios().iter().take(5) {
        writeln!(out, "  scenario        {}  {}", scenario.id, scenario.name)?;
    }
    writeln!(out, "\nTry:")?;
    if let Some(door) = handle.doors().first() {
        let set = topics.set(&Target::Door(door.id.clone()));
        writeln!(
            out,
            "  watch and unlock   mosquitto_sub -h {host} -p {port} -v -t 'verkada/#' -T 'verkada/bridge/+/set'"
        )?;
        writeln!(out, "                     mosquitto_pub -h {host} -p {port} -t {set} -m UNLOCK")?;
    }
    if let Some(scenario) = handle.scenarios().first() {
        let set = topics.set(&Target::Scenario(scenario.id.clone()));
        writeln!(
            out,
            "  lock down          mosquitto_pub -h {host} -p {port} -t {set} -m ON   (OFF ends it)"
        )?;
    }
    writeln!(out, "  at a shell         verkada2mqtt doors --broker mqtt://{host}:{port}")?;
    writeln!(
        out,
        "  Home Assistant     on this machine, add the MQTT integration with broker {host}, port {port}"
    )?;
    writeln!(
        out,
        "  Node-RED           import examples/node-red/flow.json, set its broker to {host}:{port}, and put in the ids above\n"
    )?;
    out.flush()
}
