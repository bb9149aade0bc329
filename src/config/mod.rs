//! The configuration: one YAML file, the environment and secret files, checked whole before anything starts.
//!
//! [`load`] reads everything, and either gives a [`Config`] that cannot be wrong or a [`Report`] of every fault at
//! once. A key's value comes from the environment, else from the file, else it is the default. A secret may stand in
//! the key `x`, in the file named by `x_file`, or come as a systemd credential.

mod changes;
mod document;
pub mod duration;
mod environment;
mod files;
mod keys;
mod offered;
mod reader;
mod report;
mod schema;
mod secret;
mod settings;
mod suggest;

use std::{
    mem,
    path::{Path, PathBuf},
};

pub use crate::model::Level;
pub use changes::{Change, Cost, changes};
pub use environment::Environment;
pub use offered::{NoBroker, OfferedBroker};
pub use report::{Fault, Place, Report};
pub use schema::schema;
pub use settings::{
    Asker, ClientCertificate, Code, CodedAct, Commands, Config, Discovery, DoorSettings, Doors,
    DuringLockdown, Events, Format, HoldStart, Holds, HomeAssistant, Http, Journal, Log, Mqtt, Poll, Region,
    Scenarios, Tls, UnlockAs, Verkada, Webhook,
};

use secrecy::SecretString;

use document::Value;
use reader::{Problem, Reader};

/// Where the file is looked for when nobody names it.
const USUAL_PATHS: [&str; 2] = ["/etc/verkada2mqtt/config.yaml", "./config.yaml"];

/// Where an app of Home Assistant's Supervisor has its own file, if its owner has written one, and its options as JSON,
/// which is YAML.
const APP_PATHS: [&str; 2] = ["/config/verkada2mqtt.yaml", "/data/options.json"];

/// Finds the configuration file: `arg` (`--config`), then `$VERKADA2MQTT_CONFIG`, then, where Home Assistant's
/// Supervisor gives us a token, the files of an app, then `/etc/verkada2mqtt/config.yaml`, then `./config.yaml`. A file
/// that was named is taken without looking for others.
///
/// # Errors
/// When none was named and none of the usual ones exists; the report names the paths.
pub fn find(arg: Option<&Path>, env: &Environment) -> Result<PathBuf, Report> {
    let named = arg.map(Path::to_owned).or_else(|| env.get(environment::CONFIG_FILE).map(PathBuf::from));
    let usual = || places(env).map(PathBuf::from).find(|path| path.exists());
    named.or_else(usual).ok_or_else(|| {
        let cure = format!(
            "copy config.example.yaml to {}, or name a file with --config or ${}",
            USUAL_PATHS[0],
            environment::CONFIG_FILE
        );
        let problem = format!("there is no configuration file; looked for {}", USUAL_PATHS.join(" and "));
        whole_file("verkada2mqtt", None, Problem::with_cure(problem, cure))
    })
}

/// Where to look, the first first.
fn places(env: &Environment) -> impl Iterator<Item = &'static str> {
    env.get(environment::SUPERVISOR_TOKEN).map(|_| APP_PATHS).into_iter().flatten().chain(USUAL_PATHS)
}

/// Loads the configuration from a file.
///
/// # Errors
/// A report of every fault, without a secret.
pub fn load(path: &Path, env: &Environment) -> Result<Config, Report> {
    let (text, origin) = text(path)?;
    let (mut config, holds_secret) = read(&text, &origin, env)?;
    if holds_secret && files::open_to_others(path) {
        config
            .warnings
            .push(format!("{origin} holds a secret and can be read by other users; chmod 600 {origin}"));
    }
    Ok(config)
}

/// Reads only where the HTTP server listens: whoever asks the running gateway for its health need not hold its
/// secrets. Faults of other keys do not matter to it.
///
/// # Errors
/// Where the file cannot be read, or is no YAML with keys.
pub fn load_http(path: &Path, env: &Environment) -> Result<Http, Report> {
    let (text, origin) = text(path)?;
    let value = document(&text, &origin)?;
    Ok(Reader::new(env).root(value, keys::http_alone))
}

/// Reads only the folder for what must outlive a restart; as [`load_http`].
///
/// # Errors
/// Where the file cannot be read, or is no YAML with keys.
pub fn load_state_dir(path: &Path, env: &Environment) -> Result<PathBuf, Report> {
    let (text, origin) = text(path)?;
    let value = document(&text, &origin)?;
    Ok(Reader::new(env).root(value, keys::state_dir))
}

/// Reads what a command at a shell needs that goes through the running gateway: the broker, and what it should know of
/// doors and codes. Secrets of other parts are not read, since whoever asks need not hold them; faults of other keys do not
/// matter. Without a file the environment alone tells. `login` stands in for the user and the file of the password.
///
/// # Errors
/// A report of what is wrong with `mqtt`, or of why the file cannot be read.
pub fn load_asker(
    path: Option<&Path>,
    env: &Environment,
    login: Option<(&str, &Path)>,
) -> Result<Asker, Report> {
    let (text, origin) = path.map_or_else(|| Ok(("{}".to_owned(), "the environment".to_owned())), text)?;
    let value = document(&text, &origin)?;
    let env = match login {
        Some((user, password)) => {
            let set = [("username", user.to_owned()), ("password_file", password.display().to_string())];
            env.with("mqtt", &set).without("mqtt", "password")
        }
        None => env.clone(),
    };
    let mut reader = Reader::new(&env);
    let result = reader.root(value, keys::asker);
    reader.only("mqtt").finish(result, without_mark(&text), &origin)
}

/// Reads a secret from a file of its own, which only its owner may read.
///
/// # Errors
/// Where it cannot be read, others can read it, or it holds more than one line.
pub fn load_secret(path: &Path) -> Result<SecretString, Report> {
    let read = secret::secret_in(path, files::read_private, |_| Ok(()));
    read.map_err(|problem| whole_file(&path.display().to_string(), None, problem))
}

/// The text of a file, and its name for messages.
fn text(path: &Path) -> Result<(String, String), Report> {
    let origin = path.display().to_string();
    let bytes = files::read(path).map_err(|problem| whole_file(&origin, None, problem))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = valid.split(|byte| *byte == b'\n').count();
        whole_file(&origin, Some(line), Problem::with_cure("the file is not UTF-8", "save it as UTF-8"))
    })?;
    Ok((text, origin))
}

/// Reads the configuration from the text of a file; `origin` names the file in messages.
///
/// # Errors
/// A report of every fault, without a secret.
pub fn parse(text: &str, origin: &str, env: &Environment) -> Result<Config, Report> {
    read(text, origin, env).map(|(config, _)| config)
}

/// The text without the mark that some editors put at its beginning.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The text as YAML that holds keys.
fn document(text: &str, origin: &str) -> Result<Value, Report> {
    let value = document::read(without_mark(text)).map_err(|broken| {
        let problem = Problem { cure: broken.cure.map(str::to_owned), ..Problem::new(broken.problem) };
        whole_file(origin, broken.line, problem)
    })?;
    refuse_other_than_keys(&value).map_err(|problem| whole_file(origin, None, problem))?;
    Ok(value)
}

/// Tells also whether the text itself holds a secret.
fn read(text: &str, origin: &str, env: &Environment) -> Result<(Config, bool), Report> {
    let text = without_mark(text);
    let value = document(text, origin)?;
    let mut reader = Reader::new(env);
    let result = reader.root(value, keys::config);
    let (warnings, holds_secret) = (mem::take(&mut reader.warnings), reader.holds_secret);
    let secret_files = mem::take(&mut reader.secret_files);
    let config = reader.finish(result, text, origin)?;
    Ok((Config { warnings, secret_files, ..config }, holds_secret))
}

fn refuse_other_than_keys(value: &Value) -> Result<(), Problem> {
    match value {
        Value::Map(_) => Ok(()),
        Value::Null => Err(Problem::with_cure(
            "the file is empty",
            "begin with config.example.yaml; if the environment is to set everything, write {}",
        )),
        Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Tagged(_) => {
            let problem = format!("the file holds {}, not keys with values", reader::kind(value));
            Err(Problem::with_cure(problem, "begin with config.example.yaml"))
        }
    }
}

fn whole_file(origin: &str, line: Option<usize>, problem: Problem) -> Report {
    Report::of_one(Fault {
        place: Place::File { name: origin.to_owned(), line },
        key: String::new(),
        problem: problem.text,
        read: None,
        allowed: None,
        cure: problem.cure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_looks_for_its_own_file_and_then_for_its_options() {
        let usual: Vec<_> = places(&Environment::default()).collect();
        assert_eq!(usual, ["/etc/verkada2mqtt/config.yaml", "./config.yaml"]);
        let app: Environment = [("SUPERVISOR_TOKEN".to_owned(), "token".to_owned())].into_iter().collect();
        let found: Vec<_> = places(&app).collect();
        assert_eq!(found, [vec!["/config/verkada2mqtt.yaml", "/data/options.json"], usual].concat());
    }
}
