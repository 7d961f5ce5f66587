//! Stores on disk.

use std::path::Path;
use std::time::Duration;

use quorumq_raft::runtime::Runtime;
use quorumq_raft::runtime::tokio::Tokio;
use quorumq_store::disk::RealDisk;
use quorumq_store::{LogId, LogIndex, StoreError};

use super::brokers::local_hour;
use crate::broker::retention::policy::{Age, Moment, Policy, Verdict};
use crate::cli::error::CliError;
use crate::config::{BrokerConfig, Input};
use crate::inspect::{Dump, Inspected, Wanted, dump, inspect};
use crate::kept::kept;
use crate::recover::{Standing, accept_loss, standing};
use crate::verify::{VerifiedStore, verify_store};

/// Reads a whole store and checks it: frames, chain, records, checkpoints, ConsumeQueues against the log.
pub(crate) async fn store_verify(dir: &Path, until: Option<u64>) -> Result<VerifiedStore, CliError> {
    let owned = dir.to_owned();
    looked(Tokio::offload(move || verify_store(&RealDisk::new(), &owned, until.map(LogIndex))).await)
}

/// What a store says of itself.
pub(crate) async fn store_inspect(dir: &Path) -> Result<Inspected, CliError> {
    let owned = dir.to_owned();
    looked(Tokio::offload(move || inspect(&*RealDisk::new(), &owned)).await)
}

/// How the store of a stopped node stands, and whether its node votes.
pub(crate) async fn store_standing(dir: &Path) -> Result<Standing, CliError> {
    let owned = dir.to_owned();
    looked(Tokio::offload(move || standing(&*RealDisk::new(), &owned)).await)
}

/// Lets the node of a store vote with what it holds.
pub(crate) async fn store_accept_loss(dir: &Path) -> Result<Standing, CliError> {
    let owned = dir.to_owned();
    looked(Tokio::offload(move || accept_loss(&RealDisk::new(), &owned)).await)
}

/// Frames and records of a store's log.
pub(crate) async fn store_dump(dir: &Path, wanted: Wanted) -> Result<Dump, CliError> {
    let owned = dir.to_owned();
    looked(Tokio::offload(move || dump(&*RealDisk::new(), &owned, &wanted)).await)
}

fn looked<T, E: std::fmt::Display>(read: Result<Result<T, StoreError>, E>) -> Result<T, CliError> {
    let read = read.map_err(|e| CliError::failed(e.to_string(), "Try it again."))?;
    read.map_err(|e| CliError::failed(e.to_string(), hint(&e)))
}

/// What retention would do with the store's files now, with the volume they lie on, and what that is judged by.
pub(crate) async fn store_retention(dir: &Path, config: Option<&Path>) -> Result<(Vec<Verdict>, AsOf), CliError> {
    let policy = match config {
        Some(file) => {
            let input = Input::gather(Some(file), Vec::new())?;
            BrokerConfig::resolve(&input)?.config.retention()
        }
        None => Policy::default(),
    };
    let owned = dir.to_owned();
    let read = looked(
        Tokio::offload(move || -> Result<_, StoreError> {
            let disk = RealDisk::new();
            Ok((kept(&*disk, &owned)?, disk.space(&owned).map_err(|source| io_error(&owned, source))?))
        })
        .await,
    );
    let (kept, space) = read?;
    let now_ms = Tokio::wall_clock_ms();
    let moment = Moment { now_ms, hour: local_hour(now_ms), space, is_asked: false, is_pending: false };
    let age = Duration::from_millis(now_ms.saturating_sub(kept.time_ms).max(0).cast_unsigned());
    let as_of = kept.applied.map(|applied| (applied, Age(age)));
    Ok((policy.judge(&kept.segments, &moment), as_of))
}

/// The last entry that a store knows committed, and how old it is.
pub(crate) type AsOf = Option<(LogId, Age)>;

fn io_error(dir: &Path, source: std::io::Error) -> StoreError {
    StoreError::Io { verb: "look at the volume of", path: dir.to_owned(), source }
}

fn hint(error: &StoreError) -> &'static str {
    match error {
        StoreError::Locked { .. } => "Stop its broker first: a store is checked while nobody writes to it.",
        StoreError::Unformatted { .. } => "Name the node's storePathRootDir, the directory that holds commitlog/.",
        StoreError::Corrupt { what, .. } if is_needed_to_start(what) => {
            "Its node does not start without it; the others hold the messages. Remove it with `quorumq group remove`, give \
             it an empty directory, start it with join=true and add it with `quorumq group add`."
        }
        StoreError::Corrupt { what, .. } if what.starts_with("checkpoint") => {
            "Start the node: it goes on from an older recovery checkpoint, or says that there is none."
        }
        StoreError::Corrupt { .. } => {
            "Start the node: it heals from the other members. Meanwhile `quorumq group status` shows a column LOG."
        }
        StoreError::UnknownVersion { .. } => "Check it with the build that wrote it.",
        _ => "Look at the disk, and at who may read the directory.",
    }
}

/// Whether no start goes on without a file of this kind, which nobody else has.
fn is_needed_to_start(what: &str) -> bool {
    ["hard state", "identity"].iter().any(|kind| what.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_given_up_only_where_its_start_cannot_heal_it() {
        let of = |what| hint(&StoreError::Corrupt { what, path: "/d".into(), offset: 0 });
        for healed in ["frame", "record", "ConsumeQueue (units are missing)", "IndexFile"] {
            assert!(of(healed).starts_with("Start the node: it heals"), "{healed}");
        }
        assert!(of("checkpoint (its state is not the log's)").contains("an older recovery checkpoint"));
        for lost in ["hard state", "hard state (no copy is sound)", "identity"] {
            assert!(of(lost).contains("`quorumq group remove`"), "{lost}");
        }
    }
}
