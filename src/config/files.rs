//! Reading the small files that a configuration is made of: bounded, regular files only, private where they must be.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _},
    path::{Component, Path},
};

use super::reader::Problem;

/// The largest configuration or certificate file, in bytes.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 20;

/// Reads a whole file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    read_checked(path, |_| Ok(()))
}

/// Reads a whole file that nobody but its owner may read or write, unless a container engine or systemd put it there.
pub(super) fn read_private(path: &Path) -> Result<Vec<u8>, Problem> {
    read_checked(path, |metadata| check_mode(path, metadata))
}

/// Whether users other than the owner can read a file.
#[cfg(unix)]
pub(super) fn open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o044 != 0)
}

/// Whether users other than the owner can read a file; not known on this system.
#[cfg(not(unix))]
pub(super) fn open_to_others(_path: &Path) -> bool {
    false
}

fn read_checked(
    path: &Path,
    check: impl FnOnce(&Metadata) -> Result<(), Problem>,
) -> Result<Vec<u8>, Problem> {
    let failed = |error: io::Error| explain(path, &error);
    // Looked at before it is opened, because opening a pipe waits for its other end.
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(Problem::with_cure("is a directory, not a file", "name a file in it"));
    }
    if !metadata.is_file() {
        return Err(Problem::with_cure("is not a regular file", "name a file, no pipe, socket or device"));
    }
    check(&metadata)?;
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > MAX_FILE_BYTES) {
        return Err(Problem::with_cure(
            "the file is larger than 1 MiB",
            "look whether this is the file that is meant",
        ));
    }
    Ok(bytes)
}

fn explain(path: &Path, error: &io::Error) -> Problem {
    if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_ok() {
        return Problem::with_cure(
            "the link points to a file that does not exist",
            format!("see with ls -l {} where it leads", path.display()),
        );
    }
    if error.kind() == io::ErrorKind::NotFound {
        return Problem::with_cure("the file does not exist", "make it, or name another one");
    }
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Problem::with_cure("the file may not be read", "give it to the user that runs verkada2mqtt");
    }
    Problem::new(format!("the file cannot be read ({error})"))
}

#[cfg(unix)]
fn check_mode(path: &Path, metadata: &Metadata) -> Result<(), Problem> {
    use std::os::unix::fs::PermissionsExt as _;

    judge_mode(path, metadata.permissions().mode() & 0o777)
}

#[cfg(unix)]
fn judge_mode(path: &Path, mode: u32) -> Result<(), Problem> {
    let forbidden = if mounted_by_engine(path) { 0o022 } else { 0o077 };
    if mode & forbidden == 0 {
        return Ok(());
    }
    let what = if mode & 0o022 == 0 { "read" } else { "changed" };
    Err(Problem::with_cure(
        format!("the file can be {what} by other users (mode {mode:04o})"),
        format!("chmod 600 {}", path.display()),
    ))
}

#[cfg(not(unix))]
fn check_mode(_path: &Path, _metadata: &Metadata) -> Result<(), Problem> {
    Ok(())
}

/// Whether a container engine mounts its secrets here. Docker and Podman give them mode 0444 and offer no other by
/// default, and only the container's own processes see them: readable for all is as private there as it gets.
/// Writable for others is not.
fn mounted_by_engine(path: &Path) -> bool {
    let below = path.starts_with("/run/secrets") || path.starts_with("/var/run/secrets");
    below && !path.components().any(|part| part == Component::ParentDir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn lets_only_engines_leave_secrets_readable() {
        let allowed = |path, mode| judge_mode(Path::new(path), mode).is_ok();
        assert!(allowed("/etc/key", 0o600));
        assert!(!allowed("/etc/key", 0o440));
        assert!(!allowed("/etc/key", 0o444));
        assert!(allowed("/run/secrets/key", 0o444));
        assert!(!allowed("/run/secrets/key", 0o664));
        assert!(!allowed("/run/secrets/key", 0o646));
    }

    #[test]
    fn knows_where_container_engines_mount_secrets() {
        assert!(mounted_by_engine(Path::new("/run/secrets/verkada_api_key")));
        assert!(mounted_by_engine(Path::new("/var/run/secrets/verkada/key")));
        assert!(!mounted_by_engine(Path::new("/run/secrets/../../etc/key")));
        assert!(!mounted_by_engine(Path::new("/run/secretsx/key")));
        assert!(!mounted_by_engine(Path::new("/etc/verkada2mqtt/key")));
    }
}
