//! Stores on disk.

use std::path::Path;

use super::missing;
use crate::cli::error::CliError;

/// What a store on disk was found to hold.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    pub group: String,
    pub node: u64,
    /// Byte range of the CommitLog that was read.
    pub range: (u64, u64),
    pub segments: u64,
    pub entries: u64,
    pub records: u64,
    /// ConsumeQueues that were rebuilt and compared.
    pub queues: u64,
    /// Digest chain value of the machine after the last applied entry, and that entry's index.
    pub digest: (u64, u64),
}

/// Reads a whole store and checks it: frames, chain, records, ConsumeQueues against the log.
pub(crate) async fn store_verify(dir: &Path) -> Result<Verified, CliError> {
    let _ = dir;
    missing("store verify")
}
