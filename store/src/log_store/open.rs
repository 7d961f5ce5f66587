//! Opening a store: lock, identity, intents, recovery.

use std::path::Path;
use std::sync::Arc;

use super::background::{forget_failure, had_failed};
use super::worker::Worker;
use super::{FlushMode, Recovered};
use crate::commit_log::Layout;
use crate::commit_log::erase::{erase_range, remove_segments, segment_starts};
use crate::commit_log::recover::Recovery;
use crate::commit_log::view::View;
use crate::disk::{Disk, DiskLock};
use crate::error::At;
use crate::frame::HEADER_LEN;
use crate::hard_state::{HardState, Intent, Mark};
use crate::identity::{GroupConstants, Identity};
use crate::{StoreError, hard_state};

/// Most bytes ever written to the log without a sync, apart from the entry that exceeds it.
pub(super) const MAX_UNSYNCED: u64 = 128 << 20;

/// Clears files that are derived from the log, during an install.
pub type OnInstall = Arc<dyn Fn() -> Result<(), StoreError> + Send + Sync>;

/// How a store is run. None of it is part of what is stored.
#[derive(Clone)]
pub struct Options {
    /// When an append counts as done.
    pub mode: FlushMode,
    /// Bytes of recent entries kept in memory beyond those that must be (default 16 MiB).
    pub tail_bytes: u64,
    /// Bytes behind the end of the log kept written with zeroes while the load is light; 0 is off (default 4 MiB).
    pub prewrite_bytes: u64,
    /// Boot of the machine (`/proc/sys/kernel/random/boot_id`), to tell a power loss from a process crash.
    pub boot_id: Option<u128>,
    /// Called on the disk thread (or inside [`super::LogStore::open`]) in an install, after the old log is gone and before
    /// the intent is cleared: whatever it removes is never seen together with the new log. Must be repeatable.
    pub on_install: Option<OnInstall>,
}

impl Default for Options {
    fn default() -> Self {
        Self { mode: FlushMode::Sync, tail_bytes: 16 << 20, prewrite_bytes: 4 << 20, boot_id: None, on_install: None }
    }
}

impl From<FlushMode> for Options {
    fn from(mode: FlushMode) -> Self {
        Self { mode, ..Self::default() }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { mode, tail_bytes, prewrite_bytes, boot_id, .. } = self;
        f.debug_struct("Options")
            .field("mode", mode)
            .field("tail_bytes", tail_bytes)
            .field("prewrite_bytes", prewrite_bytes)
            .field("boot_id", boot_id)
            .finish_non_exhaustive()
    }
}

pub(super) fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    constants: GroupConstants,
    options: Options,
) -> Result<(Identity, View, Worker, Recovered), StoreError> {
    constants.check()?;
    let identity = Identity::read(&*disk, dir)?.ok_or_else(|| StoreError::Unformatted { path: dir.to_owned() })?;
    check_constants(&identity, constants, dir)?;
    let lock = take_lock(&*disk, dir)?;
    let hard_path = hard_state::path(dir);
    if !disk.exists(&hard_path).at("look for", &hard_path)? {
        return Err(StoreError::Corrupt { what: "hard state (the file is missing)", path: hard_path, offset: 0 });
    }
    let mut hard = HardState::open(&*disk, dir)?;
    hard.make_durable()?;
    let abort = dir.join("abort");
    let clean = !disk.exists(&abort).at("look for", &abort)?;
    if clean {
        disk.create(&abort, 0).at("create", &abort)?;
    }
    // The last process may have ended between making an entry and syncing it: what is there now has to stay.
    let log = dir.join(crate::commit_log::DIR);
    disk.sync_dir(&log).at("sync", &log)?;
    disk.sync_dir(dir).at("sync", dir)?;
    let layout = Layout { segment_size: constants.segment_size };
    let same_boot = options.boot_id.is_some_and(|boot_id| boot_id == hard.state.boot_id);
    let rebooted = options.boot_id.is_some_and(|boot_id| boot_id != hard.state.boot_id && hard.state.boot_id != 0);
    let installed = finish_intent(&*disk, dir, layout, &mut hard, &options)?;
    let recovery = Recovery {
        disk: &disk,
        dir,
        layout,
        state: &hard.state,
        tail_limit: options.tail_bytes,
        // A process that ended leaves at most one write cut short; a power loss any part of what was not synced.
        gap: if same_boot { 0 } else { MAX_UNSYNCED } + 2 * HEADER_LEN + u64::from(constants.max_entry),
        clean,
    };
    let found = recovery.run()?;
    let (view, writer) = (found.view, found.writer);
    // One state with the boot id: a crash before it is durable finds the same again.
    let failed = had_failed(&*disk, dir)?;
    hard.state.unproven |= (failed || rebooted && !clean) && hard.state.asynchronous;
    // Recovery has synced what earlier processes have acknowledged.
    hard.state.asynchronous = options.mode == FlushMode::Async;
    // What was found is durable now, whatever it was before.
    hard.state.boot_id = options.boot_id.unwrap_or(hard.state.boot_id);
    hard.state.mark = writer.end.mark();
    hard.state.committed = view.committed;
    hard.save()?;
    if failed {
        forget_failure(&*disk, dir)?;
    }
    let recovered = Recovered {
        vote: hard.state.vote,
        committed: view.committed,
        torn_tail: found.torn_tail,
        clean,
        rebooted,
        unproven: hard.state.unproven,
        installed,
    };
    let worker = Worker::new(disk, dir, options, writer, hard, lock, view.epoch);
    Ok((identity, view, worker, recovered))
}

fn check_constants(identity: &Identity, asked: GroupConstants, dir: &Path) -> Result<(), StoreError> {
    let stored = identity.constants;
    let pairs = [
        ("segment size (mappedFileSizeCommitLog)", stored.segment_size, asked.segment_size),
        ("largest entry", stored.max_entry.into(), asked.max_entry.into()),
        ("frame version", stored.frame_version.into(), asked.frame_version.into()),
        ("feature level", stored.feature_level.into(), asked.feature_level.into()),
    ];
    match pairs.into_iter().find(|(_, stored, asked)| stored != asked) {
        None => Ok(()),
        Some((what, stored, asked)) => Err(StoreError::Differs { what, path: dir.to_owned(), stored, asked }),
    }
}

/// Takes the store's lock, or says who has it.
pub(crate) fn take_lock(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn DiskLock>, StoreError> {
    match disk.lock(&dir.join("lock")) {
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => Err(StoreError::Locked { path: dir.to_owned() }),
        other => other.at("lock", dir),
    }
}

/// Finishes a truncation or an install that a crash interrupted. Returns the install's position.
fn finish_intent(
    disk: &dyn Disk,
    dir: &Path,
    layout: Layout,
    hard: &mut HardState,
    options: &Options,
) -> Result<Option<super::SnapshotPosition>, StoreError> {
    match hard.state.intent {
        None => Ok(None),
        Some(Intent::Truncate { cut, end }) => {
            erase_range(disk, dir, layout, cut.end, end)?;
            hard.state.intent = None;
            hard.save()?;
            Ok(None)
        }
        Some(Intent::Install(at)) => {
            remove_segments(disk, dir, segment_starts(disk, dir)?.into_iter().rev())?;
            if let Some(on_install) = &options.on_install {
                on_install()?;
            }
            installed(hard, at);
            hard.save()?;
            Ok(Some(at))
        }
    }
}

/// The hard state of a log that starts behind a snapshot.
pub(super) fn installed(hard: &mut HardState, at: super::SnapshotPosition) {
    hard.new_generation(Mark { last: Some(at.last), end: at.next });
    let state = &mut hard.state;
    (state.first, state.purged, state.chain) = (at.next, Some(at.last), at.chain);
    state.committed = Some(at.last);
    state.intent = None;
}
