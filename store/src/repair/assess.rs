//! A store that would not open because its CommitLog is damaged.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{BadRange, MAX_PIECE, Patch, Walk};
use crate::checkpoint::Checkpoint;
use crate::commit_log::reader::Follow;
use crate::commit_log::writer::Segment;
use crate::commit_log::{Layout, segment_path};
use crate::disk::{Disk, DiskLock};
use crate::error::At;
use crate::frame::Kind;
use crate::hard_state::{HardState, Mark, State};
use crate::identity::Identity;
use crate::log_store::take_lock;
use crate::{PhysicalOffset, StoreError};

/// Bad ranges after which a search ends: what is behind is found by the next.
const MAX_RANGES: usize = 1024;
/// Bytes walked before the number of ranges is looked at.
const STEP: u64 = 64 << 20;

/// A damaged CommitLog with an intact hard state: its bad ranges, and what is sound. Holds the store's lock.
#[derive(Debug)]
pub struct Damaged {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    layout: Layout,
    first: PhysicalOffset,
    end: Mark,
    bad: Mutex<Vec<BadRange>>,
    memberships: Vec<Bytes>,
    lock: Mutex<Option<Box<dyn DiskLock>>>,
}

impl Damaged {
    /// Reads the whole CommitLog of a store that [`crate::log_store::LogStore::open`] has just called corrupt. Segment
    /// files that are missing or too short are made whole, with zeroes.
    ///
    /// `None` if nothing is found that a repair could help.
    ///
    /// # Errors
    /// `Corrupt` if no copy of the hard state is sound: then nothing says what has to be there. `Unformatted`, `Locked`,
    /// `Io`.
    pub fn assess(disk: Arc<dyn Disk>, dir: &Path) -> Result<Option<Self>, StoreError> {
        let identity = Identity::read(&*disk, dir)?.ok_or_else(|| StoreError::Unformatted { path: dir.to_owned() })?;
        let lock = take_lock(&*disk, dir)?;
        let State { first, purged, chain, mark, intent, .. } = HardState::open(&*disk, dir)?.state;
        if intent.is_some() {
            return Ok(None);
        }
        let layout = Layout { segment_size: identity.constants.segment_size };
        let dir = dir.to_owned();
        let follow = Follow { chain: Some(chain), last: Some(purged) };
        let mut walk = Walk::new(Arc::clone(&disk), dir.clone(), layout, (first, follow), mark);
        let (mut bad, mut membership) = (Vec::new(), None);
        while walk.at < mark.end && bad.len() < MAX_RANGES {
            bad.extend(walk.step(mark.end, STEP, &mut |frame| {
                if frame.header.kind == Kind::Membership {
                    membership = Some(Bytes::copy_from_slice(&frame.body));
                }
            })?);
        }
        let made_whole = make_whole(&*disk, &dir, layout, first, mark.end)?;
        if bad.is_empty() && !made_whole {
            return Ok(None);
        }
        let memberships = membership.into_iter().chain(checkpointed(&*disk, &dir)?).collect();
        let (bad, lock) = (Mutex::new(bad), Mutex::new(Some(lock)));
        Ok(Some(Self { disk, dir, layout, first, end: mark, bad, memberships, lock }))
    }

    /// Gives the store's lock back, so that it can be opened.
    pub fn release(&self) {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn ranges(&self) -> MutexGuard<'_, Vec<BadRange>> {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is still bad, ascending.
    pub fn bad(&self) -> Vec<BadRange> {
        self.ranges().clone()
    }

    /// Memberships of the group as encoded by `raft`, the newest first: of the sound part of the log, and of the newest
    /// readable recovery checkpoint.
    pub fn memberships(&self) -> &[Bytes] {
        &self.memberships
    }

    /// The work of filling a range.
    pub fn patch(&self, bad: BadRange) -> Patch {
        let at = (bad.from, Follow::UNKNOWN);
        Patch::new(Walk::new(Arc::clone(&self.disk), self.dir.clone(), self.layout, at, self.end), bad)
    }

    /// Notes that a range is filled, durably and verified, and with it all that seemed bad within.
    pub fn filled(&self, range: &BadRange) {
        self.ranges().retain(|bad| !bad.overlaps(range.from, range.to));
    }

    /// The first bad range from `from` on.
    pub fn next_bad(&self, from: PhysicalOffset) -> Option<BadRange> {
        self.ranges().iter().find(|bad| bad.from >= from).cloned()
    }

    /// Bytes of the sound part, for another member.
    ///
    /// # Errors
    /// `OutOfRange`, `Quarantined`, `Contract` for more than [`MAX_PIECE`] or over a segment's end, `Io`.
    pub fn bytes(&self, from: PhysicalOffset, to: PhysicalOffset) -> Result<Bytes, StoreError> {
        if from < self.first || to > self.end.end {
            return Err(StoreError::OutOfRange { at: from, first: self.first, end: self.end.end });
        }
        if let Some(bad) = self.ranges().iter().find(|bad| bad.overlaps(from, to)) {
            return Err(StoreError::Quarantined { from: bad.from, to: bad.to });
        }
        read_piece(&*self.disk, &self.dir, self.layout, from, to)
    }
}

/// Bytes of one segment's file, as they are.
pub(crate) fn read_piece(
    disk: &dyn Disk,
    dir: &Path,
    layout: Layout,
    from: PhysicalOffset,
    to: PhysicalOffset,
) -> Result<Bytes, StoreError> {
    let len = to.0.saturating_sub(from.0);
    if len == 0 || len > MAX_PIECE || to > layout.segment_end(from) {
        return Err(StoreError::Contract(format!("bytes {from}..{to} are no piece of up to {MAX_PIECE} of a segment")));
    }
    let Segment { start, path, file } = Segment::open(disk, dir, layout.segment_of(from))?;
    let mut bytes = vec![0; len as usize];
    file.read_at(from.0 - start.0, &mut bytes).at("read", &path)?;
    Ok(bytes.into())
}

/// Makes every segment file from `first` to `end` as long as it was, durably. Returns whether there was anything to do.
fn make_whole(
    disk: &dyn Disk,
    dir: &Path,
    layout: Layout,
    first: PhysicalOffset,
    end: PhysicalOffset,
) -> Result<bool, StoreError> {
    let (mut start, mut done) = (first, false);
    while start < end {
        done |= make_segment_whole(disk, dir, layout, start)?;
        start = start + layout.segment_size;
    }
    Ok(done)
}

/// The same for one segment.
pub(super) fn make_segment_whole(
    disk: &dyn Disk,
    dir: &Path,
    layout: Layout,
    start: PhysicalOffset,
) -> Result<bool, StoreError> {
    let path = segment_path(dir, start);
    if !disk.exists(&path).at("look for", &path)? {
        Segment::create(disk, dir, start, layout.segment_size)?;
        return Ok(true);
    }
    let Segment { file, path, .. } = Segment::open(disk, dir, start)?;
    if file.len().at("look at", &path)? >= layout.segment_size {
        return Ok(false);
    }
    file.allocate(layout.segment_size).at("allocate", &path)?;
    file.sync_data().at("sync", &path)?;
    Ok(true)
}

/// The membership of the newest recovery checkpoint that can be read.
fn checkpointed(disk: &dyn Disk, dir: &Path) -> Result<Option<Bytes>, StoreError> {
    let starts = Checkpoint::list(disk, dir)?;
    Ok(starts.into_iter().rev().find_map(|start| Checkpoint::read(disk, dir, start).ok()).map(|found| found.membership))
}
