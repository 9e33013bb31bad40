//! What can be wrong with a log.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::chain::Anchor;

/// Why a log cannot be written, as the operator is told.
#[derive(Debug, Error)]
pub(super) enum LogFault {
    #[error("{0}: its records differ from what its head says; run `tenantry audit verify`")]
    Differs(PathBuf),
    #[error("{0}: the head is not readable")]
    HeadUnreadable(PathBuf),
    #[error("{path}: {error}")]
    Io {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    #[error("{0}: another process has the log open")]
    Locked(PathBuf),
    #[error("{0}: it names no file")]
    NoFileName(PathBuf),
    #[error("{0}: there are records, but no head that says which one is the last")]
    NoHead(PathBuf),
    #[error("{0}: it is no plain file")]
    NotAFile(PathBuf),
    #[error("the log is not open")]
    NotOpen,
    #[error("{0}: there is such a file already")]
    Occupied(PathBuf),
    #[error("{0}: somebody put another file in its place")]
    Replaced(PathBuf),
    #[error("{path}: its length is {found}, not {expected}: somebody else wrote to it")]
    Resized {
        path: PathBuf,
        expected: u64,
        found: u64,
    },
    #[error("{path}: a record does not follow from the one before, {last}")]
    Torn { path: PathBuf, last: Anchor },
    #[error("{path}: the last record is {last}, but the head says {head}: the end is missing")]
    Truncated {
        path: PathBuf,
        last: Anchor,
        head: Anchor,
    },
    #[error("{0}: others than its owner may write it")]
    WritableByOthers(PathBuf),
}

impl LogFault {
    pub(super) fn io(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        Self::Io { path, error }
    }
}
