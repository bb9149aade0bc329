//! One gateway per state directory.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

/// Holds the state directory until it is dropped.
#[derive(Debug)]
pub struct StateLock {
    directory: PathBuf,
    _file: File,
}

/// Why the state directory cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another instance holds it.
    #[error(
        "another instance holds the state directory {0} (state_dir); stop it first, or give each its own"
    )]
    Taken(PathBuf),
    /// The directory cannot be used.
    #[error("cannot use the state directory {path} (state_dir): {source}")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl StateLock {
    /// Makes the directory if need be and holds it.
    ///
    /// # Errors
    /// If another instance holds it, or it cannot be written.
    pub fn take(directory: &Path) -> Result<Self, LockError> {
        let unusable = |source| LockError::Unusable { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(unusable)?;
        let file = File::create(directory.join("lock")).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { directory: directory.to_owned(), _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::Taken(directory.to_owned())),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    /// The directory that is held.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_instance_is_told_and_a_later_one_gets_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let first = StateLock::take(&path).unwrap();
        assert_eq!(first.directory(), path);
        assert!(matches!(StateLock::take(&path), Err(LockError::Taken(_))));
        drop(first);
        assert!(StateLock::take(&path).is_ok());
        fs::write(directory.path().join("file"), "").unwrap();
        assert!(matches!(StateLock::take(&directory.path().join("file")), Err(LockError::Unusable { .. })));
    }
}
