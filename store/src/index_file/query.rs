//! Queries: from memory at once, from files without the machine's lock.

use std::io;
use std::sync::Arc;

use super::IndexFiles;
use super::files::Files;
use super::filling::{IndexFile, Stored};
use super::layout::{HASH, Header, IndexUnit, LEN, POSITION, PREV, SECONDS, key_hash};
use crate::disk::DiskFile;
use crate::error::At;
use crate::{PhysicalOffset, StoreError};

/// Units that one query looks at. Keys that thousands of records share make long chains.
pub const MAX_STEPS: u32 = 1 << 16;

/// What a query looks for.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    hash: u32,
    begin_ms: i64,
    end_ms: i64,
    max: usize,
}

/// What a query found so far.
#[derive(Clone, Debug)]
struct Search {
    positions: Vec<PhysicalOffset>,
    steps_left: u32,
}

impl Search {
    /// Looks at a unit of a file; whether the chain may hold more.
    fn look(&mut self, wanted: &Wanted, header: &Header, unit: &IndexUnit) -> bool {
        let times = header.times_of(unit.seconds);
        let is_in_time = wanted.begin_ms <= *times.end() && *times.start() <= wanted.end_ms;
        // A record that has a key twice is one candidate.
        if unit.hash == wanted.hash && is_in_time && self.positions.last() != Some(&unit.position) {
            self.positions.push(unit.position);
        }
        self.steps_left -= 1;
        *times.end() >= wanted.begin_ms && !self.is_over(wanted)
    }

    fn is_over(&self, wanted: &Wanted) -> bool {
        self.positions.len() >= wanted.max || self.steps_left == 0
    }
}

/// A query that was prepared under the machine's lock.
#[derive(Debug)]
pub struct KeyQuery {
    files: Arc<Files>,
    wanted: Wanted,
    /// What memory holds.
    found: Search,
    /// What is in files, the newest first; all older than what memory holds.
    chains: Vec<Chain>,
}

/// The units of one file.
#[derive(Clone, Debug)]
struct Chain {
    stored: Stored,
    /// Where to go on; `None`: at the slot.
    from: Option<u32>,
}

/// Where records are that may have the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Positions of records, the newest first. Their keys are still to be compared.
    pub positions: Vec<PhysicalOffset>,
    /// Whether there is nothing behind the last of them that was not looked at (for want of room, or of steps).
    pub is_whole: bool,
    /// Whether a file was dropped or replaced since the query was prepared: what it held is to be asked for anew.
    pub is_stale: bool,
}

impl IndexFiles {
    /// Prepares a query for up to `max` records of a topic that may have a key, the newest first, stored within
    /// [`begin_ms`, `end_ms`] as far as the index tells: it knows a time as whole seconds after its file's first record,
    /// as RocketMQ's does. What is in memory is looked at now; files are read by [`KeyQuery::run`], for which no lock on
    /// the index is needed.
    pub fn plan_query(&self, topic: &str, key: &[u8], begin_ms: i64, end_ms: i64, max: usize) -> KeyQuery {
        let wanted = Wanted { hash: key_hash(topic, key), begin_ms, end_ms, max };
        let found = Search { positions: Vec::new(), steps_left: MAX_STEPS };
        let mut query = KeyQuery { files: self.files.clone(), wanted, found, chains: Vec::new() };
        if max == 0 {
            return query;
        }
        // Only the oldest of these can have units in its file: a flush takes all that came before along.
        for filling in self.filling.iter().rev() {
            let stored = Stored { file: filling.file.clone(), header: filling.header };
            let newest = filling.slots.get(stored.file.sizes.slot_of(wanted.hash));
            if stored.header.overlaps(begin_ms, end_ms) && newest != 0 {
                let mut index = newest;
                while let Some(unit) = filling.pending_unit(index) {
                    if !query.found.look(&wanted, &stored.header, &unit) || unit.prev == 0 {
                        index = 0;
                        break;
                    }
                    index = unit.prev;
                }
                if index != 0 {
                    query.chains.push(Chain { stored, from: Some(index) });
                }
            }
            if filling.header.begin_ms < begin_ms || query.found.is_over(&wanted) {
                return query;
            }
        }
        for stored in self.segments.values().rev().flat_map(|segment| segment.files.iter().rev()) {
            if stored.header.overlaps(begin_ms, end_ms) {
                query.chains.push(Chain { stored: stored.clone(), from: None });
            }
            if stored.header.begin_ms < begin_ms {
                break;
            }
        }
        query
    }
}

impl KeyQuery {
    /// Whether it needs no file: [`KeyQuery::run`] does not block then.
    pub fn is_in_memory(&self) -> bool {
        self.chains.is_empty() || self.found.is_over(&self.wanted)
    }

    /// Looks into the files. Blocks if it is not [`KeyQuery::is_in_memory`]. Of a file that was dropped or replaced
    /// since the query was prepared nothing is told but that, see [`Candidates::is_stale`].
    ///
    /// # Errors
    /// `Corrupt` names file and byte of what cannot be so: the segment of that file is to be rebuilt, see
    /// [`IndexFiles::plan_rebuild`]. `Io` if the disk fails.
    pub fn run(&self) -> Result<Candidates, StoreError> {
        let (mut search, mut is_stale) = (self.found.clone(), false);
        for chain in &self.chains {
            if search.is_over(&self.wanted) {
                break;
            }
            let before = search.positions.len();
            let walked = self.walk(chain, &mut search);
            if chain.stored.file.is_removed() {
                search.positions.truncate(before);
                is_stale = true;
                continue;
            }
            walked?;
        }
        let is_whole = !search.is_over(&self.wanted);
        Ok(Candidates { positions: search.positions, is_whole, is_stale })
    }

    fn walk(&self, chain: &Chain, search: &mut Search) -> Result<(), StoreError> {
        let Stored { file, header } = &chain.stored;
        let reader = match self.files.handle(file) {
            // Lost under the node's feet: as damaged as a file can be.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(corrupt("IndexFile (it is missing)", file, 0)),
            opened => Reader { header, file, open: opened.at("open", &file.path)?, hash: self.wanted.hash },
        };
        let mut index = chain.from.map_or_else(|| reader.newest(), Ok)?;
        let mut at_most = header.end;
        while index != 0 {
            let unit = reader.unit(index, at_most)?;
            if !search.look(&self.wanted, header, &unit) {
                break;
            }
            (index, at_most) = (unit.prev, unit.position);
        }
        Ok(())
    }
}

fn corrupt(what: &'static str, file: &IndexFile, offset: u64) -> StoreError {
    StoreError::Corrupt { what, path: file.path.clone(), offset }
}

/// Reads the chain of one hash, and believes nothing that cannot be so.
struct Reader<'a> {
    header: &'a Header,
    file: &'a IndexFile,
    open: Arc<dyn DiskFile>,
    hash: u32,
}

impl Reader<'_> {
    /// The newest unit of the slot; 0 without one.
    fn newest(&self) -> Result<u32, StoreError> {
        let at = self.file.sizes.slot_at(self.file.sizes.slot_of(self.hash));
        let mut bytes = [0; 4];
        self.read(at, &mut bytes)?;
        let newest = u32::from_be_bytes(bytes);
        if newest < self.header.next { Ok(newest) } else { Err(corrupt("IndexFile slot", self.file, at)) }
    }

    /// A unit of the chain, of a record that is not above `at_most`.
    fn unit(&self, index: u32, at_most: PhysicalOffset) -> Result<IndexUnit, StoreError> {
        let sizes = self.file.sizes;
        let at = sizes.unit_at(index);
        let mut bytes = [0; LEN];
        self.read(at, &mut bytes)?;
        let unit = IndexUnit::from_bytes(&bytes);
        let wrong = if i32::try_from(unit.hash).is_err() || sizes.slot_of(unit.hash) != sizes.slot_of(self.hash) {
            HASH
        } else if unit.position < self.header.begin || unit.position > at_most {
            POSITION
        } else if unit.seconds < 0 {
            SECONDS
        } else if unit.prev >= index {
            PREV
        } else {
            return Ok(unit);
        };
        Err(corrupt("IndexFile unit", self.file, at + wrong))
    }

    fn read(&self, at: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        match self.open.read_at(at, buf) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(corrupt("IndexFile (it is cut)", self.file, at)),
            read => read.at("read", &self.file.path),
        }
    }
}
