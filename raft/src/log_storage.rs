//! openraft's log storage over [`LogStore`]: one FIFO for vote, truncation and appends.

use std::fmt::Debug;
use std::io;
use std::marker::PhantomData;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use quorumq_store::log_store::{Done, Entry, LogStore, NewEntry};
use quorumq_store::mutant::{Mutant, planted};
use quorumq_store::{LogIndex, StoreError};
use tokio::sync::oneshot;

use crate::machine::Machine;
use crate::pace::{CatchUp, Pace};
use crate::peer::append::{payload_from, payload_parts};
use crate::repair::{Suspects, is_damage};
use crate::runtime::Runtime;
use crate::types::{
    RaftEntryOf, RaftLogId, RaftVote, Types, from_raft_log_id, from_raft_vote, to_raft_log_id, to_raft_vote,
};

/// Bytes of entry bodies that one replication read takes: openraft counts entries, we cap bytes.
const REPLICATION_READ: u64 = 1024 * 1024;
/// Bytes of entry bodies that one read for apply takes.
const APPLY_READ: u64 = 8 * 1024 * 1024;

/// Longest a read waits for the repair of what it met, and how often it looks.
const REPAIR_PATIENCE: Duration = Duration::from_secs(30);
/// The same for a follower: it is told in between that this node still leads, if it does.
const FOLLOWERS_PATIENCE: Duration = Duration::from_secs(5);
const REPAIR_PAUSE: Duration = Duration::from_millis(50);

/// The log as openraft sees it.
pub struct LogStorage<R: Runtime, M> {
    store: Arc<LogStore>,
    pace: Arc<Pace<R::Instant>>,
    suspects: Suspects,
    _types: PhantomData<fn() -> M>,
}

impl<R: Runtime, M> Clone for LogStorage<R, M> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            pace: Arc::clone(&self.pace),
            suspects: self.suspects.clone(),
            _types: PhantomData,
        }
    }
}

impl<R: Runtime, M> LogStorage<R, M> {
    /// Catch-up is not limited, and nobody repairs damage.
    pub fn new(store: Arc<LogStore>) -> Self {
        Self::with(store, Arc::new(Pace::new(CatchUp::Unlimited)), Suspects::new().0)
    }

    /// What replication reads from old segments goes at this pace. Reads that meet damage tell where, and wait for its
    /// repair.
    pub fn with(store: Arc<LogStore>, pace: Arc<Pace<R::Instant>>, suspects: Suspects) -> Self {
        Self { store, pace, suspects, _types: PhantomData }
    }
}

impl<R: Runtime, M: Machine> LogStorage<R, M> {
    /// Reads entries for a follower. Those of the live tail never wait. None of them if there is damage and nobody has a
    /// sound copy yet: the follower goes without, and this node goes on with the others.
    async fn read_to_replicate(&self, range: Range<u64>) -> io::Result<Vec<RaftEntryOf>> {
        let is_live = self.store.in_memory(LogIndex(range.start));
        if !is_live {
            self.pace.wait::<R>(|| self.store.positions()).await;
        }
        let max_bytes = if is_live { REPLICATION_READ } else { self.pace.read_size(REPLICATION_READ) };
        // What was in memory a moment ago may have to be read from files by now.
        let entries = match self.read(range, max_bytes, FOLLOWERS_PATIENCE).await? {
            Ok(entries) => entries,
            Err(e) if is_damage(&e) && self.suspects.is_attended() => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        };
        if !is_live {
            self.pace.took(entries.iter().map(|entry| payload_parts(&entry.payload).1.len() as u64).sum());
        }
        Ok(entries)
    }

    /// Reads entries that have to be had.
    async fn read_some(&self, range: Range<u64>) -> io::Result<Vec<RaftEntryOf>> {
        self.read(range, APPLY_READ, REPAIR_PATIENCE).await?.map_err(Into::into)
    }

    /// Reads entries; a read that memory cannot answer runs off the runtime's threads.
    async fn read(
        &self,
        range: Range<u64>,
        max_bytes: u64,
        patience: Duration,
    ) -> io::Result<Result<Vec<RaftEntryOf>, StoreError>> {
        let indexes = LogIndex(range.start)..LogIndex(range.end);
        let read = match self.store.in_memory(indexes.start) {
            true => self.store.entries(indexes, max_bytes),
            false => self.read_files(indexes, max_bytes, patience).await?,
        };
        match read {
            Ok(entries) => entries.into_iter().map(stored_entry).collect::<io::Result<_>>().map(Ok),
            Err(e) => Ok(Err(e)),
        }
    }

    /// Only what is committed is read from files. Where it is damaged, a sound copy is on its way from another member.
    async fn read_files(
        &self,
        indexes: Range<LogIndex>,
        max_bytes: u64,
        patience: Duration,
    ) -> io::Result<Result<Vec<Entry>, StoreError>> {
        let deadline = <R::Instant as openraft_rt::Instant>::now() + patience;
        loop {
            let (store, range) = (Arc::clone(&self.store), indexes.clone());
            let e = match R::offload(move || store.entries(range, max_bytes)).await? {
                Ok(entries) => return Ok(Ok(entries)),
                Err(e) => e,
            };
            self.suspects.tell(&e);
            let is_over = <R::Instant as openraft_rt::Instant>::now() >= deadline;
            if is_over || !is_damage(&e) || !self.suspects.is_attended() {
                return Ok(Err(e));
            }
            R::sleep(REPAIR_PAUSE).await;
        }
    }

    /// Clips openraft's range to what the log holds.
    fn clip(&self, range: &impl RangeBounds<u64>) -> Range<u64> {
        let start = match range.start_bound() {
            Bound::Included(&at) => at,
            Bound::Excluded(&at) => at + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&at) => at + 1,
            Bound::Excluded(&at) => at,
            Bound::Unbounded => u64::MAX,
        };
        let positions = self.store.positions();
        let first = positions.purged.map_or(0, |id| id.index.0 + 1);
        let next = positions.last.map_or(0, |id| id.index.0 + 1);
        start.max(first)..end.min(next)
    }

    /// Only where such a bug is planted.
    fn acks_before_sync(&self) -> bool {
        let me = self.store.identity().node_id;
        let leads = || self.store.vote().is_some_and(|vote| vote.committed && vote.node == me);
        planted(Mutant::LeaderAcksBeforeSync) && leads() || planted(Mutant::FollowerAcksBeforeSync) && !leads()
    }

    async fn read_all(&self, range: Range<u64>) -> io::Result<Vec<RaftEntryOf>> {
        let mut entries = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let chunk = self.read_some(at..range.end).await?;
            at = match chunk.last() {
                Some(last) => last.id.index.0 + 1,
                None => return Err(missing(at)),
            };
            entries.extend(chunk);
        }
        Ok(entries)
    }
}

fn missing(index: u64) -> io::Error {
    io::Error::other(format!("entry {index} is not in the log although its positions say so"))
}

fn stored_entry(entry: Entry) -> io::Result<RaftEntryOf> {
    let payload = payload_from(entry.kind, entry.body)?;
    Ok(RaftEntryOf::stored(entry.id, entry.position, payload))
}

/// Waits for an operation of the store's FIFO.
pub async fn finish(start: impl FnOnce(Done) -> Result<(), StoreError>) -> io::Result<()> {
    let (tx, rx) = oneshot::channel();
    start(Box::new(move |result| {
        // The receiver is gone only when openraft was dropped in the middle: the node is stopping.
        let _ = tx.send(result);
    }))?;
    let result = rx.await.map_err(|_| io::Error::other("the store dropped an operation"))?;
    Ok(result?)
}

impl<R: Runtime, M: Machine> RaftLogReader<Types<R, M>> for LogStorage<R, M> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<RaftEntryOf>> {
        let range = self.clip(&range);
        self.read_all(range).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<RaftEntryOf>> {
        self.read_to_replicate(start..end).await
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<RaftEntryOf>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let reader = self.clone();
        let range = self.clip(&range);
        stream::unfold((reader, range), |(reader, range)| async move {
            if range.is_empty() {
                return None;
            }
            match reader.read_some(range.clone()).await {
                Ok(chunk) => {
                    let next = chunk.last().map_or(range.end, |last| last.id.index.0 + 1);
                    let chunk: Vec<_> = chunk.into_iter().map(Ok).collect();
                    Some((stream::iter(chunk), (reader, next..range.end)))
                }
                Err(e) => Some((stream::iter(vec![Err(e)]), (reader, range.end..range.end))),
            }
        })
        .flatten()
    }

    async fn read_vote(&mut self) -> io::Result<Option<RaftVote>> {
        Ok(self.store.vote().map(to_raft_vote))
    }
}

impl<R: Runtime, M: Machine> RaftLogStorage<Types<R, M>> for LogStorage<R, M> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types<R, M>>> {
        let positions = self.store.positions();
        Ok(LogState {
            last_purged_log_id: positions.purged.map(to_raft_log_id),
            last_log_id: positions.last.map(to_raft_log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> io::Result<()> {
        let vote = from_raft_vote(vote);
        finish(|done| {
            self.store.save_vote(vote, done);
            Ok(())
        })
        .await
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> io::Result<()> {
        if let Some(committed) = committed {
            self.store.save_committed(from_raft_log_id(&committed));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<RaftLogId>> {
        let positions = self.store.positions();
        if planted(Mutant::ReadAboveCommitted) {
            return Ok(positions.last.map(to_raft_log_id));
        }
        // Never past the surviving tail: openraft would take the difference for a hole and purge the log.
        Ok(positions.committed.min(positions.last).map(to_raft_log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types<R, M>>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntryOf> + Send,
        I::IntoIter: Send,
    {
        let mut new = Vec::new();
        for entry in entries {
            let (kind, body) = payload_parts(&entry.payload);
            new.push(NewEntry { id: entry.id, kind, body });
        }
        if self.acks_before_sync() {
            self.store.append(new, Box::new(|_| {}))?;
            callback.io_completed(Ok(()));
            return Ok(());
        }
        let done: Done = Box::new(move |result| callback.io_completed(result.map_err(io::Error::from)));
        self.store.append(new, done)?;
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> io::Result<()> {
        let last = last.as_ref().map(from_raft_log_id);
        finish(|done| self.store.truncate_after(last, done)).await
    }

    async fn purge(&mut self, upto: RaftLogId) -> io::Result<()> {
        let upto = from_raft_log_id(&upto);
        finish(|done| self.store.purge(upto, done)).await
    }
}
