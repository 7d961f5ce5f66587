//! Stores on disk.

use std::path::Path;
use std::sync::Arc;

use quorumq_raft::machine::Machine as _;
use quorumq_raft::runtime::Runtime;
use quorumq_raft::runtime::tokio::Tokio;
use quorumq_store::checkpoint::Checkpoint;
use quorumq_store::disk::{Disk, MemoryDisk, RealDisk};
use quorumq_store::identity::Identity;
use quorumq_store::{LogIndex, PhysicalOffset, StoreError};

use super::brokers::local_hour;
use crate::broker::retention::policy::{Moment, Policy, Verdict};
use crate::cli::error::CliError;
use crate::config::{BrokerConfig, Input};
use crate::inspect::{Dump, Inspected, Wanted, dump, inspect};
use crate::machine::{Machine, Segment};
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

/// What retention would do with the store's segments now. Reads the newest recovery checkpoint, which is at most a
/// segment old; what was written since never goes.
pub(crate) async fn store_retention(dir: &Path, config: Option<&Path>) -> Result<Vec<Verdict>, CliError> {
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
            Ok((kept_segments(&disk, &owned)?, disk.space(&owned).map_err(|source| io_error(&owned, source))?))
        })
        .await,
    );
    let (segments, space) = read?;
    let now_ms = Tokio::wall_clock_ms();
    let moment = Moment { now_ms, hour: local_hour(now_ms), space, is_asked: false, is_pending: false };
    Ok(policy.judge(&segments, &moment))
}

fn io_error(dir: &Path, source: std::io::Error) -> StoreError {
    StoreError::Io { verb: "look at the volume of", path: dir.to_owned(), source }
}

fn kept_segments(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Vec<Segment>, StoreError> {
    let identity = Identity::read(&**disk, dir)?.ok_or_else(|| StoreError::Unformatted { path: dir.to_owned() })?;
    let Some(newest) = Checkpoint::list(&**disk, dir)?.pop() else {
        let first = Segment { start: PhysicalOffset(0), last_ms: Tokio::wall_clock_ms(), reserved: None };
        return Ok(vec![first]);
    };
    let checkpoint = Checkpoint::read(&**disk, dir, newest)?;
    // A machine of its own, without the ConsumeQueues: nobody reads a message.
    let medium = MemoryDisk::new().mount();
    let mut machine = Machine::new(medium, Path::new("/"), identity.constants.segment_size)?;
    machine.restore(&checkpoint.state).map_err(|e| StoreError::Contract(e.to_string()))?;
    let mut segments = machine.segments();
    segments.push(Segment { start: checkpoint.position.next, last_ms: machine.time_ms(), reserved: None });
    Ok(segments)
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
