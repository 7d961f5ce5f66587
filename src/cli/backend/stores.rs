//! Stores on disk.

use std::path::Path;

use quorumq_raft::runtime::Runtime;
use quorumq_raft::runtime::tokio::Tokio;
use quorumq_store::disk::RealDisk;
use quorumq_store::{LogIndex, StoreError};

use crate::cli::error::CliError;
use crate::verify::{VerifiedStore, verify_store};

/// Reads a whole store and checks it: frames, chain, records, checkpoints, ConsumeQueues against the log.
pub(crate) async fn store_verify(dir: &Path, until: Option<u64>) -> Result<VerifiedStore, CliError> {
    let owned = dir.to_owned();
    let checked = Tokio::offload(move || verify_store(&RealDisk::new(), &owned, until.map(LogIndex))).await;
    let checked = checked.map_err(|e| CliError::failed(e.to_string(), "Try it again."))?;
    checked.map_err(|e| CliError::failed(e.to_string(), hint(&e)))
}

fn hint(error: &StoreError) -> &'static str {
    match error {
        StoreError::Locked { .. } => "Stop its broker first: a store is checked while nobody writes to it.",
        StoreError::Unformatted { .. } => "Name the node's storePathRootDir, the directory that holds commitlog/.",
        StoreError::Corrupt { .. } => {
            "This member's copy is damaged; the others hold the messages. Remove it with `quorumq group remove`, give it \
             an empty directory, start it with join=true and add it with `quorumq group add`."
        }
        StoreError::UnknownVersion { .. } => "Check it with the build that wrote it.",
        _ => "Look at the disk, and at who may read the directory.",
    }
}
