//! Why a journal cannot be used: what heals by itself, and what does not.

use std::{error::Error as _, io};

use rusqlite::{Error, ErrorCode};

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The surroundings do not let us; the file itself may be well.
    #[error("{0}")]
    Surroundings(String),
    /// What is in the file cannot be used, now or later.
    #[error("{0}")]
    Unusable(String),
}

impl Trouble {
    pub(super) fn unusable(what: impl Into<String>) -> Self {
        Self::Unusable(what.into())
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        let kind = error.kind();
        Self::Surroundings(if kind == io::ErrorKind::StorageFull {
            FULL.to_owned()
        } else if kind == io::ErrorKind::ReadOnlyFilesystem {
            READ_ONLY.to_owned()
        } else {
            error.to_string()
        })
    }
}

const FULL: &str = "the disk is full; free some space";
const READ_ONLY: &str = "the file system or the folder is read-only";

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let Error::SqliteFailure(failure, _) = error else {
            // A value that is not what its column promises.
            let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
            return Self::Unusable(format!("it is damaged: {text}{cause}"));
        };
        match failure.code {
            ErrorCode::DiskFull => Self::Surroundings(FULL.to_owned()),
            ErrorCode::ReadOnly => Self::Surroundings(READ_ONLY.to_owned()),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
                Self::Surroundings("another process holds it".to_owned())
            }
            ErrorCode::CannotOpen | ErrorCode::PermissionDenied => Self::Surroundings(
                "it cannot be opened; the gateway's user must be able to write to the folder".to_owned(),
            ),
            ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory | ErrorCode::NoLargeFileSupport => {
                Self::Surroundings(format!("{text} (code {})", failure.extended_code))
            }
            ErrorCode::NotADatabase => Self::unusable("it is no SQLite database"),
            ErrorCode::InternalMalfunction
            | ErrorCode::OperationAborted
            | ErrorCode::OperationInterrupted
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotFound
            | ErrorCode::SchemaChanged
            | ErrorCode::TooBig
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::ApiMisuse
            | ErrorCode::AuthorizationForStatementDenied
            | ErrorCode::ParameterOutOfRange
            | ErrorCode::Unknown
            | _ => Self::Unusable(format!("it is damaged: {text}")),
        }
    }
}
