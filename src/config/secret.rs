//! Secrets: written down, in a file of their own, or handed over by systemd.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde_json::json;

use super::{
    environment::CREDENTIALS,
    files,
    reader::{Faulty, Found, Problem, Rule, Section, Show, Spot, plain},
};

/// The keys of one secret.
pub(super) struct SecretKeys {
    /// The key that holds it.
    pub(super) name: &'static str,
    /// The key that names the file it is in.
    pub(super) file: &'static str,
    /// The systemd credential that is taken if neither is given.
    pub(super) credential: Option<&'static str>,
    /// Its description in the schema.
    pub(super) about: &'static str,
}

/// Reads a secret; `check` refuses what cannot be right. `None` if none is given.
pub(super) fn read(
    section: &mut Section<'_, '_>,
    keys: &SecretKeys,
    check: impl FnOnce(&str) -> Result<(), Problem>,
) -> Result<Option<Found<SecretString>>, Faulty> {
    let in_file = format!("{} As a file: absolute path, mode 0600, only the secret in it.", keys.about);
    let value = Rule {
        allowed: format!("a text on one line, or better its file under {}", keys.file),
        schema: json!({"type": "string", "minLength": 1, "writeOnly": true}),
        show: Show::Never,
    };
    let [inline, file] =
        section.alternatives([(keys.name, keys.about, &value), (keys.file, &in_file, &path_rule())]);
    match (inline, file) {
        (Some(_), Some(file)) => {
            let problem = format!("{} and {} are both given", keys.name, keys.file);
            let cure = format!("remove {}", keys.name);
            Err(section.refuse(&file.spot, keys.file, Problem::with_cure(problem, cure)))
        }
        (Some(text), None) => {
            let found = section.text(keys.name, text, &value, |text| check(text).map(|()| text.into()))?;
            section.warn_of_open_secret(&found.spot, keys.file);
            Ok(Some(found))
        }
        (None, Some(path)) => {
            let mut file = None;
            let found = section.text(keys.file, path, &path_rule(), |path| {
                let path = file.insert(absolute_secret(path, keys.name)?);
                secret_in(path, files::read_private, check)
            })?;
            if let Some(path) = &file {
                section.note_secret_file(path);
            }
            Ok(Some(found))
        }
        (None, None) => from_systemd(section, keys, check),
    }
}

fn from_systemd(
    section: &mut Section<'_, '_>,
    keys: &SecretKeys,
    check: impl FnOnce(&str) -> Result<(), Problem>,
) -> Result<Option<Found<SecretString>>, Faulty> {
    let (Some(credential), Some(folder)) = (keys.credential, section.env().get(CREDENTIALS)) else {
        return Ok(None);
    };
    let path = Path::new(folder).join(credential);
    if std::fs::symlink_metadata(&path).is_err() {
        return Ok(None);
    }
    let spot = Spot::Credential(path.display().to_string());
    // systemd guards credentials itself, and gives them modes of its own.
    match secret_in(&path, files::read, check) {
        Ok(value) => Ok(Some(Found { value, spot })),
        Err(problem) => Err(section.refuse(&spot, keys.name, problem)),
    }
}

/// The secret in a file, without the line break that editors put at its end.
pub(super) fn secret_in(
    path: &Path,
    read: impl FnOnce(&Path) -> Result<Vec<u8>, Problem>,
    check: impl FnOnce(&str) -> Result<(), Problem>,
) -> Result<SecretString, Problem> {
    let text = String::from_utf8(read(path)?).map_err(|_| Problem::new("the file is not UTF-8"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(Problem::with_cure("the file is empty", "write the secret into it"));
    }
    plain(text).map_err(|problem| {
        Problem::with_cure(
            format!("the file {}", problem.text),
            "write the secret alone into it, on one line",
        )
    })?;
    check(text)?;
    Ok(text.into())
}

/// The rule for the path of any file.
pub(super) fn path_rule() -> Rule {
    Rule {
        allowed: "the absolute path of a file".to_owned(),
        schema: json!({"type": "string", "pattern": "^/"}),
        show: Show::IfPath,
    }
}

/// As [`absolute`]; most often the secret itself was written in place of its file.
fn absolute_secret(text: &str, key: &str) -> Result<PathBuf, Problem> {
    absolute(text).map_err(|problem| {
        let cure = format!("name the file that holds the secret; the secret itself goes under {key}");
        Problem::with_cure(problem.text, cure)
    })
}

/// A path that means the same whatever folder the program starts in.
pub(super) fn absolute(text: &str) -> Result<PathBuf, Problem> {
    let path = Path::new(text);
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    Err(Problem::new("not an absolute path"))
}
