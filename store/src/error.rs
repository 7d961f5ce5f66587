//! Errors of the store: what object, which verb, where.

use std::io;
use std::path::{Path, PathBuf};

use crate::{LogIndex, PhysicalOffset};

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message names its fields")]
pub enum StoreError {
    /// The disk answered an error. After a failed write or sync of the log the store is poisoned.
    #[error("{verb} {}: {source}", path.display())]
    Io { verb: &'static str, path: PathBuf, source: io::Error },
    /// Bytes that were durable once no longer check.
    #[error("corrupt {what} in {} at byte {offset}", path.display())]
    Corrupt { what: &'static str, path: PathBuf, offset: u64 },
    /// A file of a format this build does not know.
    #[error("{} has {what} format version {found}; this build reads version {known}", path.display())]
    UnknownVersion { what: &'static str, path: PathBuf, found: u32, known: u32 },
    /// The directory is in use by another process.
    #[error("{} is in use by another process; stop it, or give this node its own storePathRootDir", path.display())]
    Locked { path: PathBuf },
    /// The directory holds no formatted store.
    #[error("{} holds no formatted store", path.display())]
    Unformatted { path: PathBuf },
    /// A setting differs from what the group was formed with.
    #[error("{} was formed with {what} {stored}, but the configuration says {asked}", path.display())]
    Differs { what: &'static str, path: PathBuf, stored: u64, asked: u64 },
    /// An earlier write or sync failed; nothing more is acknowledged.
    #[error("the store is poisoned: {reason}")]
    Poisoned { reason: String },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// Bytes of the CommitLog no longer check and wait for another member's copy.
    #[error("bytes {from}..{to} of the CommitLog are damaged and wait for repair")]
    Quarantined { from: PhysicalOffset, to: PhysicalOffset },
    /// The asked position is not (or no longer) in the log.
    #[error("position {at} is outside the log, which holds [{first}, {end})")]
    OutOfRange { at: PhysicalOffset, first: PhysicalOffset, end: PhysicalOffset },
    /// The asked entry is not (or no longer) in the log.
    #[error("entry {index} is outside the log, which holds [{first}, {next})")]
    NoEntry { index: LogIndex, first: LogIndex, next: LogIndex },
    /// A caller broke the store's contract; a bug, not a state of the disk.
    #[error("broken contract: {0}")]
    Contract(String),
}

impl StoreError {
    /// Whether it says that the volume has no room.
    pub fn is_full(&self) -> bool {
        let full = |e: &io::Error| matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        matches!(self, Self::Io { source, .. } if full(source))
    }
}

/// Names verb and object of a failed disk call.
pub(crate) trait At<T> {
    /// Turns the disk's error into a [`StoreError::Io`].
    fn at(self, verb: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, verb: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { verb, path: path.to_owned(), source })
    }
}

impl From<StoreError> for io::Error {
    fn from(e: StoreError) -> Self {
        match e {
            // Callers tell a full volume from other failures by its kind.
            StoreError::Io { ref source, .. } => io::Error::new(source.kind(), e),
            _ => io::Error::other(e),
        }
    }
}
