//! The operator's way on when a majority of a group lost power with ASYNC_FLUSH: no leader can be elected, as nobody knows
//! whether those left hold all that was acknowledged. Whoever accepts the loss lets a member vote with what it has.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use quorumq_store::consume_queue::ConsumeQueues;
use quorumq_store::disk::Disk;
use quorumq_store::hard_state;
use quorumq_store::identity::Identity;
use quorumq_store::index_file::IndexFiles;
use quorumq_store::log_store::{FlushMode, LogStore, OnInstall, Options};
use quorumq_store::{LogId, PhysicalOffset, StoreError};

/// How the store of a stopped node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whose it is.
    pub identity: Identity,
    /// Whether it may lack what it has acknowledged, and its node does not vote.
    pub unproven: bool,
    /// The last entry it holds for certain.
    pub last: Option<LogId>,
    /// Where that ends in the CommitLog. What was acknowledged behind it may be lost.
    pub end: PhysicalOffset,
    /// Last entry it knows to be committed.
    pub committed: Option<LogId>,
}

/// Reads how a store stands. Changes nothing.
///
/// # Errors
/// `Unformatted`; `Corrupt` if identity or hard state are; `Io` if the disk fails.
pub fn standing(disk: &dyn Disk, dir: &Path) -> Result<Standing, StoreError> {
    let identity = identity(disk, dir)?;
    let state = hard_state::state_in(disk, dir)?;
    let abort = dir.join("abort");
    let io = |verb, path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Io { verb, path, source }
    };
    let stopped = !disk.exists(&abort).map_err(io("look for", &abort))?;
    let boot = disk.boot_id().map_err(io("read the boot id for", dir))?;
    // As the next start will find it.
    let rebooted = boot.is_some_and(|boot| state.boot_id != 0 && state.boot_id != boot);
    let unproven = state.unproven || (state.asynchronous && rebooted && !stopped);
    Ok(Standing { identity, unproven, last: state.mark.last, end: state.mark.end, committed: state.committed })
}

/// Recovers the log of a stopped node as its start would, and lets it vote with what that holds. Answers how it stands
/// now; `unproven` tells how it stood before.
///
/// # Errors
/// `Locked` if its node runs; what opening a store answers.
pub fn accept_loss(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Standing, StoreError> {
    let identity = identity(&**disk, dir)?;
    let (derived, root) = (Arc::clone(disk), dir.to_owned());
    let on_install: OnInstall = Arc::new(move || {
        ConsumeQueues::wipe(&*derived, &root)?;
        IndexFiles::wipe(&*derived, &root)
    });
    let boot_id = disk.boot_id().map_err(|source| StoreError::Io {
        verb: "read the boot id for",
        path: dir.to_owned(),
        source,
    })?;
    // Nothing is acknowledged meanwhile.
    let options = Options { mode: FlushMode::Sync, boot_id, on_install: Some(on_install), ..Options::default() };
    let (store, recovered) = LogStore::open(Arc::clone(disk), dir, identity.constants, options, Box::new(|| {}))?;
    let positions = store.positions();
    if recovered.unproven {
        let (tx, rx) = mpsc::channel();
        store.set_proven(Box::new(move |result| {
            // Received below, on this thread.
            let _ = tx.send(result);
        }));
        store.run_pending();
        rx.try_recv().unwrap_or(Err(StoreError::Closed))?;
    }
    // Dropped, not closed: the node's next start is to look after the derived files as after a crash.
    let (last, end) = (positions.last, positions.end);
    Ok(Standing { identity, unproven: recovered.unproven, last, end, committed: recovered.committed })
}

fn identity(disk: &dyn Disk, dir: &Path) -> Result<Identity, StoreError> {
    Identity::read(disk, dir)?.ok_or_else(|| StoreError::Unformatted { path: dir.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use quorumq_store::disk::MemoryDisk;
    use quorumq_store::frame::Kind;
    use quorumq_store::identity::GroupConstants;
    use quorumq_store::log_store::NewEntry;
    use quorumq_store::{LogIndex, Term};

    use super::*;

    const DIR: &str = "/store";

    /// A node that ran with `mode`, wrote an entry and lost power with its machine, or only its process.
    fn ended(mode: FlushMode, power: bool) -> MemoryDisk {
        let medium = MemoryDisk::new();
        let (disk, dir) = (medium.mount(), Path::new(DIR));
        let constants = GroupConstants { segment_size: 65_536, max_entry: 16_384, frame_version: 1, feature_level: 1 };
        let identity = Identity {
            cluster: "c".to_owned(),
            group: "g".to_owned(),
            group_uuid: 7,
            node_id: 3,
            incarnation: 9,
            constants,
        };
        identity.format(&*disk, dir).unwrap();
        let options = Options { mode, boot_id: disk.boot_id().unwrap(), ..Options::default() };
        let (store, _) = LogStore::open(disk, dir, constants, options, Box::new(|| {})).unwrap();
        let id = LogId { term: Term(1), index: LogIndex(0) };
        let entry = NewEntry { id, kind: Kind::Blank, body: bytes::Bytes::new() };
        store.append(vec![entry], Box::new(|result| result.unwrap())).unwrap();
        store.run_pending();
        if power {
            medium.crash()
        } else {
            medium.kill()
        }
        medium
    }

    #[test]
    fn a_member_that_lost_power_votes_once_the_loss_is_accepted() {
        let medium = ended(FlushMode::Async, true);
        let before = standing(&*medium.mount(), Path::new(DIR)).unwrap();
        assert!(before.unproven && before.last.is_none(), "{before:?}");
        assert!(accept_loss(&medium.mount(), Path::new(DIR)).unwrap().unproven);
        medium.kill();
        let after = standing(&*medium.mount(), Path::new(DIR)).unwrap();
        assert!(!after.unproven);
        let again = accept_loss(&medium.mount(), Path::new(DIR)).unwrap();
        assert_eq!((again.unproven, again.last, again.end), (false, None, PhysicalOffset(0)), "there is nothing to do");
    }

    #[test]
    fn a_member_whose_process_ended_or_that_flushes_synchronously_has_nothing_to_accept() {
        for (mode, power) in [(FlushMode::Async, false), (FlushMode::Sync, true)] {
            let medium = ended(mode, power);
            let found = accept_loss(&medium.mount(), Path::new(DIR)).unwrap();
            assert!(!found.unproven && found.last.is_some(), "{mode:?} {found:?}");
        }
    }

    #[test]
    fn a_running_node_keeps_its_store() {
        let medium = ended(FlushMode::Async, true);
        let disk = medium.mount();
        let _lock = disk.lock(&Path::new(DIR).join("lock")).unwrap();
        assert!(matches!(accept_loss(&disk, Path::new(DIR)), Err(StoreError::Locked { .. })));
    }
}
