//! A store under check, driven by hand: the caller is its disk thread.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::{Failure, Medium, Outcome, because, holds, same};
use crate::commit_log::segment_path;
use crate::disk::Disk;
use crate::frame::{Kind, VERSION};
use crate::identity::{GroupConstants, Identity};
use crate::log_store::{Done, Entry, LogStore, NewEntry, Options, Recovered, Vote};
use crate::{LogId, LogIndex, PhysicalOffset, StoreError, Term};

/// Segments small enough to roll often.
pub const SMALL: GroupConstants =
    GroupConstants { segment_size: 4096, max_entry: 1024, frame_version: VERSION, feature_level: 1 };

/// An identity for checks; the same group on every node.
pub fn identity(constants: GroupConstants) -> Identity {
    Identity {
        cluster: "DefaultCluster".to_owned(),
        group: "broker-a".to_owned(),
        group_uuid: 0x5EED,
        node_id: 1,
        incarnation: 7,
        constants,
    }
}

/// A log id.
pub fn id(term: u64, index: u64) -> LogId {
    LogId { term: Term(term), index: LogIndex(index) }
}

/// A vote for node 1.
pub fn vote(term: u64) -> Vote {
    Vote { term: Term(term), node: 1, committed: false }
}

/// A body that only this entry has.
pub fn body(id: LogId, len: usize) -> Bytes {
    let seed = id.term.0.wrapping_mul(0x0100_0000_01B3) ^ id.index.0;
    Bytes::from((0..len).map(|i| (seed.wrapping_mul(i as u64 + 1) >> 7) as u8 | 1).collect::<Vec<_>>())
}

/// A records entry with a body of `len` bytes.
pub fn entry(id: LogId, len: usize) -> NewEntry {
    NewEntry { id, kind: Kind::Records, body: body(id, len) }
}

/// The name of a finished operation, and its outcome.
pub type Notice = (String, Result<(), String>);

/// Finished operations, in order.
#[derive(Clone, Debug, Default)]
pub struct Finished(Arc<Mutex<Vec<Notice>>>);

impl Finished {
    /// A callback that notes `name`.
    pub fn done(&self, name: impl Into<String>) -> Done {
        let (list, name) = (Arc::clone(&self.0), name.into());
        Box::new(move |result| {
            let result = result.map_err(|e| e.to_string());
            list.lock().unwrap_or_else(PoisonError::into_inner).push((name, result));
        })
    }

    /// Everything noted since the last call.
    pub fn take(&self) -> Vec<Notice> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The names noted since the last call; fails if one of them failed.
    pub fn names(&self) -> Result<Vec<String>, Failure> {
        self.take().into_iter().map(|(name, result)| result.map(|()| name)).collect()
    }
}

/// An open store.
#[derive(Debug)]
pub struct Rig {
    pub log: Arc<LogStore>,
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub recovered: Recovered,
    pub finished: Finished,
}

impl Rig {
    /// Formats the medium if it is empty, and opens the store.
    pub fn open(
        medium: &dyn Medium,
        constants: GroupConstants,
        options: impl Into<Options>,
    ) -> Result<Self, StoreError> {
        let (disk, dir) = (medium.mount(), medium.root());
        if Identity::read(&*disk, &dir)?.is_none() {
            identity(constants).format(&*disk, &dir)?;
        }
        let (log, recovered) = LogStore::open(Arc::clone(&disk), &dir, constants, options, Box::new(|| {}))?;
        Ok(Self { log, disk, dir, recovered, finished: Finished::default() })
    }

    /// Opens a store of small segments that syncs.
    pub fn small(medium: &dyn Medium) -> Result<Self, Failure> {
        because(Self::open(medium, SMALL, crate::log_store::FlushMode::Sync), "open")
    }

    /// Ends the process without closing the store, and opens it again.
    pub fn kill(self, medium: &dyn Medium) -> Result<Self, Failure> {
        drop(self);
        medium.kill();
        Self::small(medium)
    }

    /// Works off the FIFO and fails if anything in it failed.
    pub fn run(&self) -> Outcome {
        self.log.run_pending();
        self.finished.names().map(drop)
    }

    /// Appends entries and waits for them.
    pub fn append(&self, entries: Vec<NewEntry>) -> Result<Vec<PhysicalOffset>, Failure> {
        let positions = because(self.log.append(entries, self.finished.done("append")), "append")?;
        self.run()?;
        Ok(positions)
    }

    /// Appends `count` entries of term `term` behind the last one, each with `len` bytes, one by one.
    pub fn fill(&self, term: u64, count: u64, len: usize) -> Outcome {
        for _ in 0..count {
            let next = self.log.positions().last.map_or(0, |last| last.index.0 + 1);
            self.append(vec![entry(id(term, next), len)])?;
        }
        Ok(())
    }

    /// Truncates and waits.
    pub fn truncate(&self, last: Option<LogId>) -> Outcome {
        because(self.log.truncate_after(last, self.finished.done("truncate")), "truncate")?;
        self.run()
    }

    /// Purges and waits.
    pub fn purge(&self, upto: LogId) -> Outcome {
        because(self.log.purge(upto, self.finished.done("purge")), "purge")?;
        self.run()
    }

    /// Saves a vote and waits.
    pub fn save_vote(&self, vote: Vote) -> Outcome {
        self.log.save_vote(vote, self.finished.done("vote"));
        self.run()
    }

    /// Makes all durable.
    pub fn sync(&self) -> Outcome {
        self.log.sync(self.finished.done("sync"));
        self.run()
    }

    /// Closes the store.
    pub fn close(self) -> Outcome {
        self.log.close(self.finished.done("close"));
        self.run()
    }

    /// Every entry held.
    pub fn all(&self) -> Result<Vec<Entry>, Failure> {
        let positions = self.log.positions();
        let first = positions.purged.map_or(LogIndex(0), |purged| purged.index.next());
        because(self.log.entries(first..LogIndex(u64::MAX), u64::MAX), "read all")
    }

    /// Fails unless the log holds exactly these entries behind the purged one, with the bodies of [`body`].
    pub fn must_hold(&self, ids: &[LogId]) -> Outcome {
        let all = self.all()?;
        same(all.iter().map(|entry| entry.id).collect::<Vec<_>>(), ids.to_vec(), "entries")?;
        for entry in &all {
            holds(entry.body == body(entry.id, entry.body.len()), &format!("body of {} differs", entry.id))?;
        }
        same(self.log.positions().last, ids.last().copied().or(self.log.positions().purged), "last")
    }

    /// The segment files as they are: start and bytes.
    pub fn files(&self) -> Result<Vec<(PhysicalOffset, Vec<u8>)>, Failure> {
        self.log
            .segments()
            .into_iter()
            .map(|start| Ok((start, read(&*self.disk, &segment_path(&self.dir, start))?)))
            .collect()
    }
}

/// A file's bytes.
pub fn read(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, Failure> {
    let file = because(disk.open(path), "open file")?;
    let mut bytes = vec![0; because(file.len(), "file length")? as usize];
    because(file.read_at(0, &mut bytes), "read file")?;
    Ok(bytes)
}
