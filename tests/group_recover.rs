//! `quorumq group recover`: what a power loss may have taken from a group that flushed asynchronously is told, and given up
//! only when asked for.
#![cfg(test)]

mod harness;

use std::path::Path;
use std::time::Duration;

use harness::process::{quorumq, run};
use quorumq_store::disk::RealDisk;
use quorumq_store::identity::{GroupConstants, Identity};
use quorumq_store::log_store::{FlushMode, LogStore, Options};

const LONG: Duration = Duration::from_secs(60);
const CONSTANTS: GroupConstants =
    GroupConstants { segment_size: 65_536, max_entry: 16_384, frame_version: 1, feature_level: 1 };

/// The store of a node that ran with ASYNC_FLUSH before the machine was booted.
fn from_before_the_boot(dir: &Path) {
    let disk = RealDisk::new();
    let (cluster, group) = ("c".to_owned(), "broker-a".to_owned());
    let identity = Identity { cluster, group, group_uuid: 7, node_id: 3, incarnation: 9, constants: CONSTANTS };
    identity.format(&*disk, dir).unwrap();
    assert_ne!(disk.boot_id().unwrap(), Some(1));
    let options = Options { mode: FlushMode::Async, boot_id: Some(1), ..Options::default() };
    drop(LogStore::open(disk, dir, CONSTANTS, options, Box::new(|| {})).unwrap());
}

#[test]
fn a_loss_is_told_and_accepted_only_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    from_before_the_boot(&store);
    let recover = |args: &[&str]| run(quorumq().args(["group", "recover"]).args(args).arg(&store), LONG);

    let refused = recover(&[]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stdout.contains("node 3 of broker-a was running with ASYNC_FLUSH"), "{refused:?}");
    assert!(refused.stderr.contains("--accept-loss"), "{refused:?}");
    assert_eq!(recover(&[]).status.code(), Some(1), "nothing was changed");

    let accepted = recover(&["--accept-loss"]).success();
    assert!(accepted.contains("node 3 votes with what it holds"), "{accepted}");
    let told = recover(&[]).success();
    assert!(told.contains("there is nothing to recover"), "{told}");
}

#[test]
fn a_directory_without_a_store_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let refused = run(quorumq().args(["group", "recover", "--accept-loss"]).arg(dir.path()), LONG);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("storePathRootDir"), "{refused:?}");
}
