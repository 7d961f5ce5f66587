//! Errors of the store: what object, which verb, where.

use std::io;
use std::path::PathBuf;

use crate::PhysicalOffset;

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk answered an error. After a failed write or sync of the log the store is poisoned.
    #[error("{verb} {}: {source}", path.display())]
    Io {
        verb: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Bytes that were durable once no longer check.
    #[error("corrupt {what} in {} at byte {offset}", path.display())]
    Corrupt {
        what: &'static str,
        path: PathBuf,
        offset: u64,
    },
    /// A file of a format this build does not know.
    #[error("{} has {what} format version {found}; this build reads version {known}", path.display())]
    UnknownVersion {
        what: &'static str,
        path: PathBuf,
        found: u32,
        known: u32,
    },
    /// The directory is in use by another process.
    #[error("{} is in use by another process; stop it, or give this node its own storePathRootDir", path.display())]
    Locked { path: PathBuf },
    /// The directory holds no formatted store.
    #[error("{} holds no formatted store", path.display())]
    Unformatted { path: PathBuf },
    /// An earlier write or sync failed; nothing more is acknowledged.
    #[error("the store is poisoned: {reason}")]
    Poisoned { reason: String },
    /// The asked position is not (or no longer) in the log.
    #[error("position {at} is outside the log, which holds [{first}, {end})")]
    OutOfRange {
        at: PhysicalOffset,
        first: PhysicalOffset,
        end: PhysicalOffset,
    },
    /// A caller broke the store's contract; a bug, not a state of the disk.
    #[error("broken contract: {0}")]
    Contract(String),
}
