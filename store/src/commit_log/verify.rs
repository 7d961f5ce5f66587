//! Offline check of a whole CommitLog: every header, body, chain value and blank byte. Changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chain::End;
use super::reader::{Follow, FrameReader};
use super::{Layout, segment_path};
use crate::disk::{Disk, DiskFile};
use crate::error::At;
use crate::frame::{Flaw, Kind, is_blank};
use crate::hard_state::{HardState, Intent, State};
use crate::identity::Identity;
use crate::log_store::{Entry, Vote};
use crate::{LogId, PhysicalOffset, StoreError};

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// What a CommitLog that checks holds.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Whose log it is.
    pub identity: Identity,
    /// First byte held.
    pub first: PhysicalOffset,
    /// The entry before it.
    pub purged: Option<LogId>,
    /// End of the last entry's frame.
    pub end: PhysicalOffset,
    /// The last entry.
    pub last: Option<LogId>,
    /// Entries held.
    pub entries: u64,
    /// CRC of the last frame's header. As every header covers the one before, equal values at equal positions mean equal
    /// logs: the log's digest.
    pub chain: u32,
    /// The synced mark: everything before it must check.
    pub synced: PhysicalOffset,
    /// Last entry known committed.
    pub committed: Option<LogId>,
    /// The last vote.
    pub vote: Option<Vote>,
    /// What stands behind the end and will be cut when the store is next opened, as after a crash: what, file, offset.
    pub torn_tail: Option<(&'static str, PathBuf, u64)>,
}

/// Checks the CommitLog of the stopped store in `dir`, and shows every entry to `visit`, in order.
///
/// # Errors
/// `Locked` while a broker runs on it, `Unformatted`; `Corrupt` names file and offset of the first byte range that was
/// durable and no longer checks; whatever `visit` answers.
pub fn verify(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    visit: &mut dyn FnMut(Entry) -> Result<(), StoreError>,
) -> Result<Verified, StoreError> {
    let identity = Identity::read(&**disk, dir)?.ok_or_else(|| StoreError::Unformatted { path: dir.to_owned() })?;
    let _lock = crate::log_store::take_lock(&**disk, dir)?;
    let state = HardState::open(&**disk, dir)?.state;
    let mut walk = Walk::new(&**disk, dir, &identity, &state);
    walk.run(visit)?;
    let End { at, last, chain } = walk.end;
    if at < state.mark.end && !matches!(state.intent, Some(Intent::Install(_))) {
        return Err(walk.corrupt_before_mark());
    }
    let torn_tail = walk.torn_tail()?;
    Ok(Verified {
        first: state.first,
        purged: state.purged,
        end: at,
        last,
        entries: walk.entries,
        chain,
        synced: state.mark.end,
        committed: state.committed,
        vote: state.vote,
        torn_tail,
        identity,
    })
}

/// A walk over all frames.
struct Walk<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    layout: Layout,
    /// Where an interrupted truncation or install cut the log.
    limit: PhysicalOffset,
    follow: Follow,
    end: End,
    entries: u64,
    /// Why the walk ended, and where.
    stop: (Flaw, PhysicalOffset),
}

impl<'a> Walk<'a> {
    fn new(disk: &'a dyn Disk, dir: &'a Path, identity: &Identity, state: &State) -> Self {
        let State { first, purged, chain, .. } = *state;
        let limit = match state.intent {
            Some(Intent::Truncate { cut, .. }) => cut.end,
            Some(Intent::Install(_)) => first,
            None => PhysicalOffset(u64::MAX),
        };
        Self {
            disk,
            dir,
            layout: Layout { segment_size: identity.constants.segment_size },
            limit,
            follow: Follow { chain: Some(chain), last: Some(purged) },
            end: End { at: first, last: purged, chain },
            entries: 0,
            stop: (Flaw::Blank, first),
        }
    }

    /// Follows the chain until the first frame that does not check.
    fn run(&mut self, visit: &mut dyn FnMut(Entry) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut start = self.end.at;
        while start < self.limit {
            let path = segment_path(self.dir, start);
            if !self.disk.exists(&path).at("look for", &path)? {
                self.stop = (Flaw::Blank, start);
                return Ok(());
            }
            let file = self.disk.open(&path).at("open", &path)?;
            let len = file.len().at("look at", &path)?.min(self.layout.segment_size);
            let mut reader = FrameReader::copied(file, path, self.layout, start, start + len, CHUNK);
            let segment_end = start + self.layout.segment_size;
            let mut at = start;
            while at < segment_end && at < self.limit {
                let frame = match reader.frame(at)? {
                    Ok(frame) => self.follow.step(&frame.header, frame.crc).map(|()| frame),
                    Err(flaw) => Err(flaw),
                };
                let frame = match frame {
                    Ok(frame) => frame,
                    Err(flaw) => {
                        self.stop = (flaw, at);
                        return Ok(());
                    }
                };
                let (header, crc) = (frame.header, frame.crc);
                at = header.end();
                if header.kind != Kind::Filler {
                    self.entries += 1;
                    self.end = End { at, last: Some(header.id), chain: crc };
                    visit(Entry { id: header.id, kind: header.kind, position: header.position, body: frame.body })?;
                }
            }
            self.stop = (Flaw::Blank, at);
            start = segment_end;
        }
        Ok(())
    }

    fn corrupt_before_mark(&self) -> StoreError {
        let (flaw, at) = self.stop;
        let start = self.layout.segment_of(at);
        let path = segment_path(self.dir, start);
        // Only ever told apart in words: any answer but "it is there" makes the log corrupt.
        let there = self.disk.exists(&path).unwrap_or(false);
        let what = if there { flaw.what() } else { "log (a segment file is missing)" };
        StoreError::Corrupt { what, path, offset: at.0 - start.0 }
    }

    /// The first byte behind the end that is not zero.
    fn torn_tail(&self) -> Result<Option<(&'static str, PathBuf, u64)>, StoreError> {
        let mut start = self.layout.segment_of(self.end.at);
        let mut from = self.end.at.0 - start.0;
        loop {
            let path = segment_path(self.dir, start);
            if !self.disk.exists(&path).at("look for", &path)? {
                return Ok(None);
            }
            let file = self.disk.open(&path).at("open", &path)?;
            if let Some(at) = first_byte(&*file, &path, from)? {
                let what = if self.stop.0 == Flaw::Blank { "bytes behind the end" } else { self.stop.0.what() };
                return Ok(Some((what, path, at)));
            }
            (start, from) = (start + self.layout.segment_size, 0);
        }
    }
}

/// The first byte of a file from `from` on that is not zero.
fn first_byte(file: &dyn DiskFile, path: &Path, from: u64) -> Result<Option<u64>, StoreError> {
    let mut buffer = vec![0; CHUNK];
    for range in file.data_ranges(from).at("search", path)? {
        let mut at = range.start;
        while at < range.end {
            let n = (range.end - at).min(CHUNK as u64);
            let chunk = &mut buffer[..n as usize];
            file.read_at(at, chunk).at("read", path)?;
            if !is_blank(chunk) {
                return Ok(chunk.iter().position(|b| *b != 0).map(|i| at + i as u64));
            }
            at += n;
        }
    }
    Ok(None)
}
