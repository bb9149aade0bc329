//! The command line: what the program is asked to do, and how it ends.

mod gateway;
mod pages;

use std::{
    io::{self, IsTerminal, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::{self, Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use tokio::sync::mpsc;

use crate::{
    access,
    app::{self, End, LockError, State, StateLock},
    audit, calendar, check, clock,
    config::{self, Config, Environment, OfferedBroker, duration},
    demo, dump, hass, journal,
    logging::{self, LogHandle},
    signals::{self, Signal, stopped},
    simulator,
    supervisor::Supervisor,
};

/// The configuration is wrong.
const BAD_CONFIGURATION: u8 = 78;
/// Another instance holds the state directory.
const ALREADY_RUNNING: u8 = 75;
/// How long the health endpoint may take.
const HEALTH_WAITS: Duration = Duration::from_secs(3);

/// Joins Verkada's cloud access control to MQTT: every door a lock, every scenario a switch.
#[derive(Debug, Parser)]
#[command(name = "verkada2mqtt", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Run(ConfigFile),
    /// Run a simulated organisation, an MQTT broker and the gateway in one process; needs nothing else.
    Demo(Demo),
    /// Check the configuration, and with --online what it leads to.
    Check(Check),
    /// Run the simulated API of the vendor alone.
    Simulate(Simulate),
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Ask the running gateway whether it is alive; for container health checks.
    Healthcheck(ConfigFile),
    /// List what was commanded and what became of it, or verify that nobody changed that list.
    Audit(Audit),
    /// Ask the vendor which access levels and groups may pass which doors, and when.
    Access(Access),
    /// List the doors as the running gateway shows them.
    Doors(gateway::Look),
    /// List the scenarios as the running gateway shows them.
    Scenarios(gateway::Look),
    /// List the last event of each door, or with --follow print events as they come.
    Events(gateway::Events),
    /// Unlock a door, by the running gateway, and wait for the result.
    Unlock(gateway::Unlock),
    /// Start a scenario such as a lockdown, by the running gateway, and wait for the result.
    Activate(gateway::Activate),
    /// End a scenario, by the running gateway, and wait for the result.
    Release(gateway::Release),
    /// Print what a shell reads to complete commands and options.
    Completions(pages::Completions),
    /// Print the manual page, or write the pages of all commands into a folder.
    Man(pages::Man),
    /// Ask the vendor for its exception calendars, or change one exception of one that calendars.allow names.
    Calendar(Calendar),
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file [default: `$VERKADA2MQTT_CONFIG`, /etc/verkada2mqtt/config.yaml, ./config.yaml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    file: ConfigFile,
    /// Also try the vendor's API and the broker.
    #[arg(long)]
    online: bool,
}

#[derive(Debug, Args)]
struct Audit {
    #[command(flatten)]
    file: ConfigFile,
    /// The folder that holds the journal, in place of the configuration's `state_dir`.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    state_dir: Option<PathBuf>,
    /// Only what happened in this time, for instance 30m, 24h or 400d.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, conflicts_with = "verify")]
    since: Option<Duration>,
    /// Only what is about this door or scenario, for instance `door/0c81dca6-8fe9-40fa-b924-f3d07e920b6b`.
    #[arg(long, conflicts_with = "verify")]
    target: Option<String>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// Check the chain of hashes in place of listing; exit code 1 where it is broken.
    #[arg(long)]
    verify: bool,
    /// With --verify: a head of the chain that was published; it must be found.
    #[arg(long, value_name = "HEX", requires = "verify")]
    head: Option<String>,
}

#[derive(Debug, Args)]
struct Access {
    #[command(flatten)]
    file: ConfigFile,
    /// Only this door, by its id or by its exact name.
    #[arg(long, value_name = "ID|NAME")]
    door: Option<String>,
    /// One JSON object a door and line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Calendar {
    /// The configuration file [default: `$VERKADA2MQTT_CONFIG`, /etc/verkada2mqtt/config.yaml, ./config.yaml]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// One JSON object a line.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    task: CalendarTask,
}

#[derive(Debug, Subcommand)]
enum CalendarTask {
    /// List all calendars that the key may manage.
    List,
    /// List the exceptions of a calendar.
    Show {
        /// The id of the calendar.
        calendar: String,
    },
    /// Add an exception.
    Add {
        /// The id of the calendar.
        calendar: String,
        /// The exception as JSON, for instance
        /// `{"date": "2026-12-24", "start": "08:00", "end": "12:00", "mode": "unlocked"}`.
        exception: String,
    },
    /// Make an exception say something else.
    Change {
        /// The id of the calendar.
        calendar: String,
        /// The id of the exception.
        id: String,
        /// The whole exception as JSON.
        exception: String,
    },
    /// Take an exception away.
    Remove {
        /// The id of the calendar.
        calendar: String,
        /// The id of the exception.
        id: String,
    },
}

#[derive(Debug, Args)]
struct Demo {
    /// The port of the broker on this machine; another one is taken where it is in use.
    #[arg(long, default_value_t = 1883)]
    port: u16,
    /// How many doors to simulate, in place of the small organisation.
    #[arg(long)]
    doors: Option<usize>,
    /// How many scenarios to simulate, in place of the small organisation.
    #[arg(long)]
    scenarios: Option<usize>,
}

#[derive(Debug, Args)]
struct Simulate {
    /// Where to listen.
    #[arg(long, default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)))]
    listen: SocketAddr,
    /// How many doors to simulate, in place of the small organisation.
    #[arg(long)]
    doors: Option<usize>,
    /// How many scenarios to simulate, in place of the small organisation.
    #[arg(long)]
    scenarios: Option<usize>,
    /// The API key that is accepted.
    #[arg(long, default_value = "demo-key")]
    api_key: String,
    /// Switches of the simulated vendor as a JSON object; GET /simulator/switches shows all.
    #[arg(long, value_name = "JSON")]
    switches: Option<String>,
    /// Deliver webhooks to this URL.
    #[arg(long, value_name = "URL", requires = "webhook_secret")]
    webhook_url: Option<url::Url>,
    /// Sign webhooks with this secret.
    #[arg(long, value_name = "SECRET")]
    webhook_secret: Option<String>,
    /// Nobody uses the doors.
    #[arg(long)]
    quiet: bool,
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    // First, because what comes next reads secrets.
    let guarded = dump::forbid();
    let environment = Environment::from_process();
    let result = match Cli::parse().command {
        Command::Run(file) => run(&file, &environment, guarded),
        Command::Demo(demo) => run_demo(&demo),
        Command::Check(check) => run_check(&check, &environment),
        Command::Simulate(simulate) => run_simulator(simulate),
        Command::Schema => print(&format!("{:#}", config::schema())),
        Command::Healthcheck(file) => healthcheck(&file, &environment),
        Command::Audit(audit) => run_audit(audit, &environment),
        Command::Access(access) => run_access(&access, &environment),
        Command::Doors(look) => look.doors(&environment),
        Command::Scenarios(look) => look.scenarios(&environment),
        Command::Events(events) => events.run(&environment),
        Command::Unlock(unlock) => unlock.run(&environment),
        Command::Activate(activate) => activate.run(&environment),
        Command::Release(release) => release.run(&environment),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
        Command::Calendar(wanted) => run_calendar(&wanted, &environment),
    };
    result.unwrap_or_else(|failure| {
        // Nobody is left to be told where standard error is closed.
        drop(writeln!(io::stderr(), "verkada2mqtt: {}", failure.text));
        ExitCode::from(failure.code)
    })
}

/// Why the program ends early, and with which exit code.
#[derive(Debug)]
struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    fn new(error: &impl ToString) -> Self {
        Self { code: 1, text: error.to_string() }
    }
}

impl From<config::Report> for Failure {
    fn from(report: config::Report) -> Self {
        Self { code: BAD_CONFIGURATION, text: report.to_string() }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(&error)
    }
}

fn run(file: &ConfigFile, environment: &Environment, guarded: io::Result<()>) -> Result<ExitCode, Failure> {
    let path = config::find(file.config.as_deref(), environment)?;
    let supervisor = Supervisor::of(environment).map_err(|error| Failure::new(&error))?;
    // Faults are told at once, whenever a broker is there.
    let judged = match supervisor {
        Some(_) => environment.clone().offering(OfferedBroker::unknown()),
        None => environment.clone(),
    };
    let config = config::load(&path, &judged)?;
    let supervisor = supervisor.filter(|_| config.mqtt.offered);
    let log = logging::start(config.log)?;
    if let Err(error) = guarded {
        tracing::warn!(%error, "core dumps cannot be forbidden; one would hold every secret");
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let state = match StateLock::take(&config.state_dir) {
        Ok(lock) => Some(lock),
        Err(error @ LockError::Taken(_)) => {
            return Err(Failure { code: ALREADY_RUNNING, text: error.to_string() });
        }
        Err(error @ LockError::Unusable { .. }) => {
            tracing::warn!(
                "{error}; a second instance cannot be noticed, nothing outlasts a restart, and no door is unlocked and no \
                 scenario released, because nothing opens without a record"
            );
            None
        }
    };
    let lost = config.state_dir.clone();
    let state = state.as_ref().map_or(State::Lost(&lost), State::Held);
    let (within, mut signals) = signals::listen_and_send()?;
    block_on(async {
        let Some(supervisor) = supervisor else {
            // Without a broker in the file there would be none: such a file is refused.
            return serve(config, state, log, signals, || config::load(&path, environment)).await;
        };
        let offers = tokio::select! {
            offers = supervisor.follow(within) => offers,
            () = stopped(&mut signals) => return Ok(ExitCode::SUCCESS),
        };
        let load = || config::load(&path, &offers.in_environment(environment));
        serve(load()?, state, log, signals, load).await
    })
}

/// The configuration for a command that ends by itself.
fn load(path: &Path, environment: &Environment) -> Result<Config, Failure> {
    let Some(supervisor) = Supervisor::of(environment).map_err(|error| Failure::new(&error))? else {
        return Ok(config::load(path, environment)?);
    };
    match block_on(async { Ok(supervisor.broker().await) })? {
        Ok(broker) => Ok(config::load(path, &environment.clone().offering(broker))?),
        Err(error) => config::load(path, environment).map_err(|report| {
            let failure = Failure::from(report);
            Failure { text: format!("{}\n\n{error}", failure.text), ..failure }
        }),
    }
}

/// Runs the gateway, with another configuration after each reload. One that cannot be run is told and put back.
async fn serve(
    mut config: Config,
    state: State<'_>,
    log: LogHandle,
    mut signals: mpsc::Receiver<Signal>,
    reload: impl Fn() -> Result<Config, config::Report>,
) -> Result<ExitCode, Failure> {
    let mut before = None;
    loop {
        match Box::pin(app::run(&config, &log, state, &mut signals, &reload)).await {
            Ok(End::Stopped) => return Ok(ExitCode::SUCCESS),
            Ok(End::Reload { before: ran, next }) => {
                log.set(next.log.level);
                before = Some(*ran);
                config = *next;
            }
            Err(error @ app::Error::Task(_)) => return Err(Failure::new(&error)),
            Err(error @ (app::Error::Listen { .. } | app::Error::Client(_) | app::Error::Link(_))) => {
                config = before.take().ok_or_else(|| Failure::new(&error))?;
                log.set(config.log.level);
                tracing::error!(
                    "the configuration stays as it was, because the new one cannot be run: {error}"
                );
            }
        }
    }
}

fn run_demo(demo: &Demo) -> Result<ExitCode, Failure> {
    let log = logging::start(config::Log { level: config::Level::Info, format: config::Format::Text })?;
    let settings = demo::Settings { port: demo.port, size: size(demo.doors, demo.scenarios) };
    let mut signals = signals::listen()?;
    block_on(async move {
        Box::pin(demo::run(settings, &log, &mut signals)).await.map_err(|error| Failure::new(&error))?;
        Ok(ExitCode::SUCCESS)
    })
}

fn run_check(check: &Check, environment: &Environment) -> Result<ExitCode, Failure> {
    let path = config::find(check.file.config.as_deref(), environment)?;
    let config = load(&path, environment)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}: the configuration is valid", path.display())?;
    for warning in &config.warnings {
        writeln!(out, "  note {warning}")?;
    }
    if !check.online {
        return Ok(ExitCode::SUCCESS);
    }
    let colours = io::stdout().is_terminal() && environment.wants_colours();
    let mut paper = check::Paper { out, colours, progress: io::stderr().is_terminal() };
    let well = block_on(async { Ok(check::online(&config, &mut paper).await?) })?;
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_simulator(simulate: Simulate) -> Result<ExitCode, Failure> {
    let _log = logging::start(config::Log { level: config::Level::Info, format: config::Format::Text })?;
    let switches = match &simulate.switches {
        Some(json) => {
            serde_json::from_str(json).map_err(|error| Failure::new(&format!("--switches: {error}")))?
        }
        None => simulator::switches::Switches::default(),
    };
    let organisation = size(simulate.doors, simulate.scenarios)
        .map_or_else(simulator::organisation::Organisation::demo, |(doors, scenarios)| {
            simulator::organisation::Organisation::of_size(doors, scenarios, 1)
        });
    let webhook = simulate.webhook_url.zip(simulate.webhook_secret);
    let settings = simulator::Settings {
        listen: simulate.listen,
        organisation,
        switches,
        api_key: simulate.api_key.into(),
        webhook: webhook
            .map(|(url, secret)| simulator::webhook::WebhookTarget { url, secret: Some(secret.into()) }),
    };
    let mut signals = signals::listen()?;
    block_on(async move {
        let running = simulator::start(settings)
            .await
            .map_err(|error| Failure::new(&format!("cannot simulate on {}: {error}", simulate.listen)))?;
        print(&format!(
            "simulated API on {0}, control under {0}simulator/state. Ctrl-C ends it.",
            running.base_url()
        ))?;
        let people = simulator::people::live(running.handle(), 1, Duration::from_secs(20));
        tokio::select! {
            () = people, if !simulate.quiet => {}
            () = stopped(&mut signals) => {}
        }
        running.stop().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn healthcheck(file: &ConfigFile, environment: &Environment) -> Result<ExitCode, Failure> {
    let path = config::find(file.config.as_deref(), environment)?;
    let address = reachable(config::load_http(&path, environment)?.listen);
    let failed = |cause: &dyn std::fmt::Display| {
        Failure::new(&format!("no health at http://{address}/healthz: {cause}"))
    };
    let mut stream = TcpStream::connect_timeout(&address, HEALTH_WAITS).map_err(|error| failed(&error))?;
    stream.set_read_timeout(Some(HEALTH_WAITS))?;
    stream.set_write_timeout(Some(HEALTH_WAITS))?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    stream.write_all(request.as_bytes()).map_err(|error| failed(&error))?;
    stream.take(4096).read_to_end(&mut answer).map_err(|error| failed(&error))?;
    if answer.starts_with(b"HTTP/1.1 200 ") {
        return Ok(ExitCode::SUCCESS);
    }
    let status: String = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
    Err(failed(&format!("the answer was {status:?}")))
}

fn run_audit(wanted: Audit, environment: &Environment) -> Result<ExitCode, Failure> {
    let directory = if let Some(directory) = wanted.state_dir {
        path::absolute(directory)?
    } else {
        let path = config::find(wanted.file.config.as_deref(), environment)?;
        config::load_state_dir(&path, environment)?
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let result = if wanted.verify {
        audit::verify(&directory, wanted.head.as_deref(), wanted.json, &mut out)
    } else {
        let since = wanted.since.and_then(|since| clock::now().utc.checked_sub(since).ok());
        audit::list(&directory, &audit::Listing { since, target: wanted.target, json: wanted.json }, &mut out)
            .map(|()| true)
    };
    match result.and_then(|well| Ok(out.flush().map(|()| well)?)) {
        Ok(well) => Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        // Whoever reads it has read enough.
        Err(journal::ReadError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(Failure::new(&error)),
    }
}

fn run_access(wanted: &Access, environment: &Environment) -> Result<ExitCode, Failure> {
    let path = config::find(wanted.file.config.as_deref(), environment)?;
    let config = load(&path, environment)?;
    let found = block_on(async {
        access::ask(&config, wanted.door.as_deref()).await.map_err(|error| Failure::new(&error))
    })?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = if wanted.json { found.json(&mut out) } else { found.table(&mut out) };
    match written.and_then(|()| out.flush()) {
        // Whoever reads it has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        result => result?,
    }
    for note in &found.notes {
        writeln!(io::stderr(), "verkada2mqtt: {note}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn run_calendar(wanted: &Calendar, environment: &Environment) -> Result<ExitCode, Failure> {
    use calendar::Task;
    let path = config::find(wanted.config.as_deref(), environment)?;
    let config = load(&path, environment)?;
    let task = match &wanted.task {
        CalendarTask::List => Ok(Task::List),
        CalendarTask::Show { calendar } => Task::show(calendar),
        CalendarTask::Add { calendar, exception } => {
            Task::edit(&config, calendar, || hass::calendar::create(None, Some(&*calendar::json(exception)?)))
        }
        CalendarTask::Change { calendar, id, exception } => Task::edit(&config, calendar, || {
            hass::calendar::change(Some(id), Some(&*calendar::json(exception)?))
        }),
        CalendarTask::Remove { calendar, id } => {
            Task::edit(&config, calendar, || hass::calendar::delete(Some(id), None))
        }
    };
    let task = task.map_err(|error| Failure::new(&error))?;
    let found =
        block_on(async { calendar::run(&config, &task).await.map_err(|error| Failure::new(&error)) })?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = if wanted.json { found.json(&mut out) } else { found.text(&mut out) };
    match written.and_then(|()| out.flush()) {
        // Whoever reads it has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        result => result?,
    }
    for note in &found.notes {
        writeln!(io::stderr(), "verkada2mqtt: {note}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A listener on every address is asked on loopback.
const fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn size(doors: Option<usize>, scenarios: Option<usize>) -> Option<(usize, usize)> {
    (doors.is_some() || scenarios.is_some()).then(|| (doors.unwrap_or(6), scenarios.unwrap_or(3)))
}

fn print(text: &str) -> Result<ExitCode, Failure> {
    match writeln!(io::stdout(), "{text}") {
        // Whoever reads it has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        result => Ok(result.map(|()| ExitCode::SUCCESS)?),
    }
}

fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(future)
}
