//! Hard state: what a node must not forget, in preallocated slots of one file.
//!
//! ```text
//! page 0, 1   first copy and second copy of the state   ┐ written in turn, both copies with one write and one sync:
//! page 2, 3   the same                                  ┘ a crash tears at most the pair being written
//! page 4, 5   the synced mark, written in turn after each group sync and made durable now and then
//! ```
//!
//! Every page holds one record with a sequence number and a CRC. After an acknowledged save the state is in two
//! copies, so one damaged page never brings back an older vote. A mark counts only if it carries the state's
//! generation: truncating or replacing the log starts a new one, and no mark of before can claim what was cut.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::disk::{Disk, DiskFile};
use crate::error::At;
use crate::log_store::background::{SyncGate, sync_through};
use crate::log_store::{SnapshotPosition, Vote};
use crate::{LogId, PhysicalOffset, StoreError};

mod codec;

use codec::{Decoder, Encoder};

/// Bytes of a page: one record each, larger than any sector a disk writes as one.
const PAGE: u64 = 4096;
/// Bytes of a record; the rest of its page is zero.
const RECORD: usize = 512;
/// Bytes of the file.
const FILE_LEN: u64 = 6 * PAGE;
/// First page of the marks.
const MARKS: u64 = 4;
/// Version of the records.
const VERSION: u16 = 1;
const STATE_MAGIC: u32 = 0x514D_4853;
const MARK_MAGIC: u32 = 0x514D_534D;

/// Where the hard state of the store in `dir` lives.
pub fn path(dir: &Path) -> PathBuf {
    dir.join("hardstate")
}

/// The vote in the hard state of the store in `dir`, for those who look at a store from outside. Writes nothing.
///
/// # Errors
/// There is no hard state, or no copy of it is sound.
pub fn vote_in(disk: &dyn Disk, dir: &Path) -> Result<Option<Vote>, StoreError> {
    Ok(HardState::open(disk, dir)?.state.vote)
}

/// The whole hard state, for the same.
///
/// # Errors
/// As [`vote_in`].
pub fn state_in(disk: &dyn Disk, dir: &Path) -> Result<State, StoreError> {
    Ok(HardState::open(disk, dir)?.state)
}

/// The highest position known durable here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The last synced entry.
    pub last: Option<LogId>,
    /// Where its frame ends.
    pub end: PhysicalOffset,
}

/// A change of the log that a crash may interrupt; recovery finishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Drop everything behind the cut.
    Truncate {
        /// The last entry kept and its end.
        cut: Mark,
        /// Where the log ended: nothing stands behind it.
        end: PhysicalOffset,
    },
    /// Drop the whole log and start it behind a snapshot.
    Install(SnapshotPosition),
}

/// What a node must not forget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The last vote.
    pub vote: Option<Vote>,
    /// Last entry known committed, never past the mark.
    pub committed: Option<LogId>,
    /// The synced mark.
    pub mark: Mark,
    /// First byte of the log; a segment start.
    pub first: PhysicalOffset,
    /// The entry before it.
    pub purged: Option<LogId>,
    /// Chain value of the frame at `first`.
    pub chain: u32,
    /// An unfinished change.
    pub intent: Option<Intent>,
    /// Raised whenever the log's end is moved back.
    pub generation: u64,
    /// Boot of the machine during which the store was last opened (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: u128,
    /// Set while the node may have lost acknowledged entries: it neither votes nor stands for election.
    pub unproven: bool,
    /// Whether entries may have been acknowledged before they were synced since the store was last closed.
    pub asynchronous: bool,
}

/// The hard state's file.
#[derive(Debug)]
pub struct HardState {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// The state; changes are durable once saved.
    pub state: State,
    sequence: u64,
    mark_sequence: u64,
    mark_sync: MarkSync,
}

/// Makes the last noted mark durable, on whatever thread.
#[derive(Clone, Debug)]
pub(crate) struct MarkSync {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    gate: SyncGate,
    /// Whether a mark was written that no sync covers yet.
    dirty: Arc<AtomicBool>,
}

impl MarkSync {
    fn new(path: PathBuf, file: Arc<dyn DiskFile>) -> Self {
        Self { path, file, gate: SyncGate::default(), dirty: Arc::default() }
    }

    /// Syncs if there is something to sync.
    pub(crate) fn run(&self) -> Result<(), StoreError> {
        if self.dirty.load(Ordering::Acquire) { self.sync() } else { Ok(()) }
    }

    /// Syncs the file. Fails once it has failed.
    fn sync(&self) -> Result<(), StoreError> {
        // Before the sync: a mark noted while it runs may be left out.
        self.dirty.store(false, Ordering::Release);
        sync_through(&self.gate, &*self.file, &self.path)
    }
}

impl HardState {
    /// Creates the file. Not durable before the directory is synced.
    pub(crate) fn create(disk: &dyn Disk, dir: &Path, state: State) -> Result<Self, StoreError> {
        let path = path(dir);
        let file = disk.create(&path, FILE_LEN).at("create", &path)?;
        let mark_sync = MarkSync::new(path.clone(), Arc::clone(&file));
        let mut hard = Self { path, file, state, sequence: 0, mark_sequence: 0, mark_sync };
        hard.save()?;
        hard.save()?;
        Ok(hard)
    }

    /// Reads the newest sound copy, and the newest mark of its generation.
    pub(crate) fn open(disk: &dyn Disk, dir: &Path) -> Result<Self, StoreError> {
        let path = path(dir);
        let file = disk.open(&path).at("open", &path)?;
        if file.len().at("look at", &path)? < FILE_LEN {
            return Err(StoreError::Corrupt { what: "hard state (the file is too short)", path, offset: 0 });
        }
        let mark_sync = MarkSync::new(path.clone(), Arc::clone(&file));
        let mut hard = Self { path, file, state: State::default(), sequence: 0, mark_sequence: 0, mark_sync };
        for page in 0..MARKS {
            if let Some((sequence, state)) = hard.read_page(page, STATE_MAGIC, State::decode)?
                && sequence > hard.sequence
            {
                (hard.sequence, hard.state) = (sequence, state);
            }
        }
        if hard.sequence == 0 {
            return Err(StoreError::Corrupt { what: "hard state (no copy is sound)", path: hard.path, offset: 0 });
        }
        for page in MARKS..MARKS + 2 {
            let Some((sequence, mark)) = hard.read_page(page, MARK_MAGIC, MarkRecord::decode)? else {
                continue;
            };
            if mark.generation == hard.state.generation && sequence > hard.mark_sequence {
                hard.mark_sequence = sequence;
                hard.raise(mark.mark, mark.committed);
            }
        }
        Ok(hard)
    }

    /// One record, if its CRC matches.
    fn read_page<T>(
        &self,
        page: u64,
        magic: u32,
        decode: fn(&mut Decoder<'_>) -> Option<T>,
    ) -> Result<Option<(u64, T)>, StoreError> {
        let mut bytes = [0; RECORD];
        self.file.read_at(page * PAGE, &mut bytes).at("read", &self.path)?;
        let (body, crc) = bytes.split_at(RECORD - 4);
        if crc32fast::hash(body).to_be_bytes() != crc {
            return Ok(None);
        }
        let mut decoder = Decoder(body);
        if decoder.u32() != Some(magic) {
            return Ok(None);
        }
        match decoder.u16() {
            Some(VERSION) => {}
            version => {
                return Err(StoreError::UnknownVersion {
                    what: "hard state",
                    path: self.path.clone(),
                    found: u32::from(version.unwrap_or(0)),
                    known: u32::from(VERSION),
                });
            }
        }
        let sequence = decoder.u64();
        Ok(sequence.zip(decode(&mut decoder)))
    }

    /// Raises mark and committed position in memory.
    fn raise(&mut self, mark: Mark, committed: Option<LogId>) {
        if mark.end > self.state.mark.end {
            self.state.mark = mark;
        }
        self.state.committed = committed.max_by_index(self.state.committed);
    }

    /// Makes the state durable, in two copies.
    pub(crate) fn save(&mut self) -> Result<(), StoreError> {
        self.write()?;
        self.mark_sync.sync()
    }

    /// Writes the state behind the last one. Not yet durable.
    pub(crate) fn write(&mut self) -> Result<(), StoreError> {
        self.sequence += 1;
        self.write_pair()
    }

    /// Writes the state where it already is, durably: what a start has read may be in the page cache alone, and must not
    /// be acted upon before a power loss can no longer take it back. The older pair stays as it is meanwhile.
    pub(crate) fn make_durable(&mut self) -> Result<(), StoreError> {
        self.write_pair()?;
        self.mark_sync.sync()
    }

    /// Writes the two copies of the present sequence number.
    fn write_pair(&self) -> Result<(), StoreError> {
        let mut pages = vec![0; 2 * PAGE as usize];
        let record = record(STATE_MAGIC, self.sequence, |encoder| self.state.encode(encoder));
        pages[..RECORD].copy_from_slice(&record);
        pages[PAGE as usize..][..RECORD].copy_from_slice(&record);
        let offset = (self.sequence % 2) * 2 * PAGE;
        self.file.write_at(offset, &[&pages]).at("write", &self.path)
    }

    /// Starts a new generation: marks written so far no longer count. Durable with the next [`HardState::save`].
    pub(crate) fn new_generation(&mut self, mark: Mark) {
        self.state.generation += 1;
        self.state.mark = mark;
    }

    /// Writes the mark. It survives the process at once, and a power loss after [`HardState::sync_mark`].
    pub(crate) fn note_mark(&mut self, mark: Mark, committed: Option<LogId>) -> Result<(), StoreError> {
        let before = (self.state.mark, self.state.committed);
        self.raise(mark, committed);
        if before == (self.state.mark, self.state.committed) {
            return Ok(());
        }
        self.mark_sequence += 1;
        let content =
            MarkRecord { generation: self.state.generation, mark: self.state.mark, committed: self.state.committed };
        let record = record(MARK_MAGIC, self.mark_sequence, |encoder| content.encode(encoder));
        let page = MARKS + self.mark_sequence % 2;
        self.file.write_at(page * PAGE, &[&record]).at("write", &self.path)?;
        self.mark_sync.dirty.store(true, Ordering::Release);
        Ok(())
    }

    /// Makes the last noted mark durable.
    pub(crate) fn sync_mark(&mut self) -> Result<(), StoreError> {
        self.mark_sync.run()
    }

    /// The same on another thread.
    pub(crate) fn mark_sync(&self) -> MarkSync {
        self.mark_sync.clone()
    }
}

/// A record's bytes: magic, version, sequence, content, zeroes, CRC.
fn record(magic: u32, sequence: u64, encode: impl FnOnce(&mut Encoder)) -> [u8; RECORD] {
    let mut encoder = Encoder::default();
    encoder.u32(magic);
    encoder.u16(VERSION);
    encoder.u64(sequence);
    encode(&mut encoder);
    let mut bytes = [0; RECORD];
    bytes[..encoder.0.len()].copy_from_slice(&encoder.0);
    let crc = crc32fast::hash(&bytes[..RECORD - 4]);
    bytes[RECORD - 4..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// What a mark's page holds.
struct MarkRecord {
    generation: u64,
    mark: Mark,
    committed: Option<LogId>,
}

trait MaxByIndex {
    fn max_by_index(self, other: Self) -> Self;
}

impl MaxByIndex for Option<LogId> {
    fn max_by_index(self, other: Self) -> Self {
        match (self, other) {
            (Some(a), Some(b)) if b.index > a.index => Some(b),
            (None, b) => b,
            (a, _) => a,
        }
    }
}

#[cfg(test)]
mod tests;
