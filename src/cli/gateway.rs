//! The commands that go through the running gateway.

use std::{
    io::{self, Write},
    path::{self, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use secrecy::SecretString;

use super::{Failure, block_on};
use crate::{
    config::{self, Asker, Environment, duration},
    model::Action,
    shell::{self, Ending},
    signals,
};

/// A command was not carried out, and nothing was sent to the vendor for it.
const REFUSED: u8 = 3;
/// The vendor, or the way to it, refused a command.
const FAILED: u8 = 4;
/// A command was sent, and nothing proves what became of it.
const UNKNOWN: u8 = 5;
/// The gateway did not answer a command.
const NO_ANSWER: u8 = 6;

/// How the gateway is reached.
#[derive(Debug, Args)]
struct Way {
    /// The configuration file, of which only the broker and what doors are called is read [default:
    /// `$VERKADA2MQTT_CONFIG`, /etc/verkada2mqtt/config.yaml, ./config.yaml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The broker, for instance `mqtt://127.0.0.1:1883`, in place of a configuration file.
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    broker: Option<String>,
    /// The broker's user, in place of the gateway's.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,
    /// The file that holds the password of --username; only its owner may read it.
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
}

impl Way {
    fn load(&self, environment: &Environment) -> Result<Asker, Failure> {
        let file = match &self.broker {
            Some(_) => None,
            None => Some(config::find(self.config.as_deref(), environment)?),
        };
        let environment =
            self.broker.as_ref().map_or_else(|| environment.clone(), |url| environment.with_broker(url));
        let password = self.password_file.as_ref().map(path::absolute).transpose()?;
        let login = self.username.as_deref().zip(password.as_deref());
        Ok(config::load_asker(file.as_deref(), &environment, login)?)
    }
}

/// `doors` and `scenarios`.
#[derive(Debug, Args)]
pub(super) struct Look {
    #[command(flatten)]
    way: Way,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

impl Look {
    pub(super) fn doors(&self, environment: &Environment) -> Result<ExitCode, Failure> {
        let asker = self.way.load(environment)?;
        self.show(&block_on(async { Ok(shell::doors(&asker).await?) })?)
    }

    pub(super) fn scenarios(&self, environment: &Environment) -> Result<ExitCode, Failure> {
        let asker = self.way.load(environment)?;
        self.show(&block_on(async { Ok(shell::scenarios(&asker).await?) })?)
    }

    fn show(&self, listed: &shell::Listed) -> Result<ExitCode, Failure> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let written = if self.json { listed.json(&mut out) } else { listed.table(&mut out) };
        match written.and_then(|()| out.flush()) {
            // Whoever reads it has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            result => result?,
        }
        let Some(doubt) = listed.doubt else { return Ok(ExitCode::SUCCESS) };
        Err(Failure::new(&format!("{doubt}: no state is known now")))
    }
}

/// `events`.
#[derive(Debug, Args)]
pub(super) struct Events {
    #[command(flatten)]
    way: Way,
    /// Print events as they come, one a line, until Ctrl-C, in place of the last one of each door.
    #[arg(long, short)]
    follow: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

impl Events {
    pub(super) fn run(&self, environment: &Environment) -> Result<ExitCode, Failure> {
        let asker = self.way.load(environment)?;
        let mut signals = signals::listen()?;
        let wanted = shell::Wanted { follow: self.follow, json: self.json };
        let (mut out, mut notes) = (io::stdout(), io::stderr());
        block_on(async {
            match shell::events(&asker, wanted, &mut signals, &mut out, &mut notes).await {
                Ok(true) => Ok(ExitCode::SUCCESS),
                Ok(false) => Ok(ExitCode::FAILURE),
                // Whoever reads it has read enough.
                Err(shell::Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                    Ok(ExitCode::SUCCESS)
                }
                Err(error) => Err(Failure::new(&error)),
            }
        })
    }
}

/// What all commands for doors and scenarios have.
#[derive(Debug, Args)]
struct Act {
    #[command(flatten)]
    way: Way,
    /// Who commands it, for the journal and the result; nobody checks it.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// One JSON object a line: what is heard of the command until its result.
    #[arg(long)]
    json: bool,
}

/// The code that opening commands may need.
#[derive(Debug, Args)]
struct Coded {
    /// The file that holds the code; only its owner may read it. Without it the code is asked for at the terminal where
    /// the configuration says that one is needed.
    #[arg(long, value_name = "FILE", conflicts_with = "ask_code")]
    code_file: Option<PathBuf>,
    /// Ask for the code in any case.
    #[arg(long)]
    ask_code: bool,
}

/// `unlock`.
#[derive(Debug, Args)]
pub(super) struct Unlock {
    /// The id of the door, or its exact name where only one door has it.
    #[arg(value_name = "DOOR")]
    door: String,
    #[command(flatten)]
    act: Act,
    #[command(flatten)]
    coded: Coded,
    /// How long to wait for the result.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "20s")]
    wait: Duration,
}

/// `activate`.
#[derive(Debug, Args)]
pub(super) struct Activate {
    /// The id of the scenario, or its exact name where only one scenario has it.
    #[arg(value_name = "SCENARIO")]
    scenario: String,
    #[command(flatten)]
    act: Act,
    /// How long to try to reach the broker, and then how long to wait for the result.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "150s")]
    wait: Duration,
}

/// `release`.
#[derive(Debug, Args)]
pub(super) struct Release {
    /// The id of the scenario, or its exact name where only one scenario has it.
    #[arg(value_name = "SCENARIO")]
    scenario: String,
    #[command(flatten)]
    act: Act,
    #[command(flatten)]
    coded: Coded,
    /// How long to wait for the result.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "60s")]
    wait: Duration,
}

impl Unlock {
    pub(super) fn run(self, environment: &Environment) -> Result<ExitCode, Failure> {
        let (code, ask_code) = self.coded.read()?;
        self.act.run(environment, (Action::Unlock, self.door), (code, ask_code), self.wait)
    }
}

impl Activate {
    pub(super) fn run(self, environment: &Environment) -> Result<ExitCode, Failure> {
        self.act.run(environment, (Action::Activate, self.scenario), (None, false), self.wait)
    }
}

impl Release {
    pub(super) fn run(self, environment: &Environment) -> Result<ExitCode, Failure> {
        let (code, ask_code) = self.coded.read()?;
        self.act.run(environment, (Action::Release, self.scenario), (code, ask_code), self.wait)
    }
}

impl Coded {
    /// The code that was given, and whether to ask for it.
    fn read(&self) -> Result<(Option<SecretString>, bool), Failure> {
        let code = self.code_file.as_deref().map(config::load_secret).transpose()?;
        Ok((code, self.ask_code))
    }
}

impl Act {
    fn run(
        self,
        environment: &Environment,
        (action, target): (Action, String),
        (code, ask_code): (Option<SecretString>, bool),
        wait: Duration,
    ) -> Result<ExitCode, Failure> {
        let asker = self.way.load(environment)?;
        let order = shell::Order { action, target, code, ask_code, by: self.by, wait, json: self.json };
        let mut signals = signals::listen()?;
        let (mut out, mut notes) = (io::stdout(), io::stderr());
        block_on(async {
            let ending = shell::act(&asker, order, &mut signals, &mut out, &mut notes).await?;
            Ok(match ending {
                Ending::Done => ExitCode::SUCCESS,
                Ending::Refused => ExitCode::from(REFUSED),
                Ending::Failed => ExitCode::from(FAILED),
                Ending::Unknown => ExitCode::from(UNKNOWN),
                Ending::NoAnswer => ExitCode::from(NO_ANSWER),
            })
        })
    }
}

impl From<shell::Error> for Failure {
    fn from(error: shell::Error) -> Self {
        Self::new(&error)
    }
}
