//! The replicated state machine: what the entries of the log mean.
//!
//! `apply(entry) → reply + effects`. Pure: a function of the entries so far and of the group's constants, equal on
//! every member. No clock (time comes in as data: store timestamps of records, the time of a batch of commands), no
//! chance, ordered maps only. It writes no file and, while it applies, reads none: its ConsumeQueues are written by the
//! disk thread and read by handlers.
//!
//! One file a concept: [`topics`], [`groups`], [`command`], [`reply`], [`effect`], [`names`], [`mod@bootstrap`]; queues,
//! offsets, node ids, retention and the encoded state are inside; `view` is what handlers read under the read lock.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use quorumq_raft::machine::MachineError;
use quorumq_store::consume_queue::ConsumeQueues;
use quorumq_store::derived::{Covered, DerivedFlush};
use quorumq_store::disk::Disk;
use quorumq_store::frame::Kind;
use quorumq_store::index_file::{IndexFiles, IndexSizes};
use quorumq_store::log_store::Entry;
use quorumq_store::mutant::{Mutant, planted};
use quorumq_store::{LogId, PhysicalOffset, StoreError};

pub mod bootstrap;
pub mod command;
mod digest;
pub mod effect;
pub mod groups;
mod index;
mod members;
pub mod names;
mod offsets;
mod queues;
pub mod rebuild;
pub mod records;
pub mod reply;
mod retention;
mod state;
#[cfg(test)]
mod tests;
pub mod topics;
mod verify;
mod view;

pub use bootstrap::bootstrap;
pub use command::{Command, CommandBatch, OffsetCommit};
pub use effect::{Arrival, Effect};
pub use groups::SubscriptionGroupConfig;
pub use index::Rebuilding;
pub use reply::{Appended, Outcome, Refusal, Reply};
pub use topics::{DataVersion, TopicConfig, TopicFilterType};
pub use verify::VerifiedQueues;
pub use view::{Counts, QueueView, Segment};

use digest::Digest;
use effect::Gathered;
use groups::Groups;
use members::Members;
use offsets::Offsets;
use retention::Retention;
use topics::Topics;

/// The replicated state of a group of brokers.
#[derive(Debug)]
pub struct Machine {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    queues: ConsumeQueues,
    /// `None` without one, and before [`quorumq_raft::machine::Machine::start`].
    index: Option<IndexFiles>,
    /// Of index files that are begun from now on; `None` keeps no index.
    index_sizes: Option<IndexSizes>,
    topics: Topics,
    groups: Groups,
    offsets: Offsets,
    members: Members,
    retention: Retention,
    /// The latest time any entry carried, in milliseconds since the epoch.
    time_ms: i64,
    /// Of what is derived: what its files cover since the last flush. Nothing that is applied depends on it.
    covered: Covered,
    applied: Option<LogId>,
    digest: Digest,
}

impl Machine {
    /// The state before the first entry. ConsumeQueues lie below `dir/consumequeue/`; `segment_size` is the group's
    /// constant.
    ///
    /// # Errors
    /// The ConsumeQueues there have an unknown format version, or the disk answers an error.
    ///
    /// # Panics
    /// If `segment_size` is 0.
    pub fn new(disk: Arc<dyn Disk>, dir: &Path, segment_size: u64) -> Result<Self, StoreError> {
        assert!(segment_size > 0, "a segment has bytes");
        Ok(Self {
            queues: ConsumeQueues::new(disk.clone(), dir)?,
            index: None,
            index_sizes: None,
            disk,
            dir: dir.to_path_buf(),
            topics: Topics::new(),
            groups: Groups::default(),
            offsets: Offsets::default(),
            members: Members::default(),
            retention: Retention::new(segment_size),
            time_ms: 0,
            covered: Covered::default(),
            applied: None,
            digest: Digest::default(),
        })
    }

    /// The same with a key index below `dir/index/`.
    #[must_use]
    pub fn with_index(self, sizes: IndexSizes) -> Self {
        Self { index_sizes: Some(sizes), ..self }
    }

    fn check_order(&self, id: LogId) -> Result<(), MachineError> {
        let expected = self.applied.map_or(0, |applied| applied.index.0 + 1);
        if id.index.0 == expected || planted(Mutant::AppliedPositionNotRestored) {
            return Ok(());
        }
        Err(MachineError(format!("entry {id} was given to apply where index {expected} comes next")))
    }

    fn apply_batch(&mut self, entry: &Entry, effects: &mut Vec<Effect>) -> Result<Reply, MachineError> {
        let batch = CommandBatch::decode(&entry.body)?;
        self.time_ms = self.time_ms.max(batch.time_ms);
        let mut gathered = Gathered::default();
        let outcomes = batch
            .commands
            .into_iter()
            .map(|command| self.apply_command(command, entry.position, &mut gathered).unwrap_or_else(Outcome::Refused));
        let reply = Reply::Commands(outcomes.collect());
        gathered.push_to(effects);
        Ok(reply)
    }

    fn apply_command(
        &mut self,
        command: Command,
        position: PhysicalOffset,
        gathered: &mut Gathered,
    ) -> Result<Outcome, Refusal> {
        let time_ms = self.time_ms;
        match command {
            Command::UpdateTopic { config, if_absent } => {
                let changed = self.topics.update(config, if_absent, time_ms)?;
                Ok(noted(changed, &mut gathered.topics))
            }
            Command::DeleteTopic { topic } => {
                let deleted = self.topics.delete(&topic, time_ms, &mut self.queues)?;
                self.offsets.remove_topic(&topic);
                Ok(noted(Some(deleted), &mut gathered.topics))
            }
            Command::UpdateGroup { config, if_absent } => {
                let changed = self.groups.update(config, if_absent, time_ms)?;
                Ok(noted(changed, &mut gathered.groups))
            }
            Command::DeleteGroup { group, clean_offsets } => {
                let cleaned = clean_offsets && self.offsets.remove_group(&group);
                match self.groups.delete(&group, time_ms) {
                    Ok(deleted) => Ok(noted(Some(deleted), &mut gathered.groups)),
                    // A group that never had settings can have offsets all the same.
                    Err(_) if cleaned => Ok(Outcome::Done),
                    Err(refusal) => Err(refusal),
                }
            }
            Command::CommitOffsets { commits } => Ok(self.commit_offsets(&commits)),
            Command::ResetOffsets { group, topic, offsets } => {
                let results = offsets.iter().map(|&(queue, offset)| self.set_offset(&group, &topic, queue, offset));
                results.collect::<Result<(), _>>().map(|()| Outcome::Done)
            }
            Command::EnsureRetryTopic { group } => self.ensure_retry_topic(&group, gathered),
            Command::AllocNodeId { request } => Ok(Outcome::NodeId(self.members.alloc(request))),
            Command::ReserveNodeIds { up_to } => Ok(done_if(self.members.reserve(up_to))),
            Command::PurgeTo { segment } => self.purge_to(PhysicalOffset(segment), position, gathered),
        }
    }

    fn commit_offsets(&mut self, commits: &[OffsetCommit]) -> Outcome {
        let (mut taken, mut refused) = (0, 0);
        for commit in commits {
            match self.set_offset(&commit.group, &commit.topic, commit.queue_id, commit.offset) {
                Ok(()) => taken += 1,
                Err(_) => refused += 1,
            }
        }
        Outcome::Committed { taken, refused }
    }

    /// Sets a consumer offset as given, but never above the queue's next: a group must not skip what is still to come.
    fn set_offset(&mut self, group: &str, topic: &str, queue_id: u32, offset: u64) -> Result<(), Refusal> {
        if !names::is_group_name(group) {
            return Err(Refusal::BadGroupName);
        }
        let topic = self.topics.get(topic).ok_or(Refusal::TopicNotExist)?;
        if !topic.has_queue(queue_id) {
            return Err(Refusal::QueueNotExist);
        }
        let next = topic.queue(queue_id).map_or(0, |queue| self.queues.next(queue.handle).0);
        self.offsets.set(group, &topic.name, queue_id, offset.min(next))
    }

    fn ensure_retry_topic(&mut self, group: &str, gathered: &mut Gathered) -> Result<Outcome, Refusal> {
        if !names::is_group_name(group) {
            return Err(Refusal::BadGroupName);
        }
        let queues = self.groups.get(group).map_or(1, |config| config.retry_queue_nums);
        if queues == 0 {
            return Ok(Outcome::Unchanged); // Such a group has no retries.
        }
        let perm = topics::perm::READ | topics::perm::WRITE;
        let config = TopicConfig::new(&names::retry_topic(group), queues, queues, perm);
        let changed = self.topics.update(config, true, self.time_ms)?;
        Ok(noted(changed, &mut gathered.topics))
    }

    fn purge_to(
        &mut self,
        segment: PhysicalOffset,
        position: PhysicalOffset,
        gathered: &mut Gathered,
    ) -> Result<Outcome, Refusal> {
        if !self.retention.raise(segment, position)? {
            return Ok(Outcome::Unchanged);
        }
        let queues = self.topics.by_name.values_mut().flat_map(|topic| topic.queues.iter_mut().flatten());
        if !planted(Mutant::PurgeLeavesQueues) {
            queues.for_each(|queue| queue.purge(segment, &mut self.queues));
        }
        if let Some(index) = &mut self.index {
            index.drop_below(segment);
        }
        gathered.purged = Some(segment);
        Ok(Outcome::Done)
    }
}

/// Notes what changed, once.
fn noted(changed: Option<Arc<str>>, names: &mut Vec<Arc<str>>) -> Outcome {
    let is_change = changed.is_some();
    names.extend(changed.filter(|name| !names.contains(name)));
    done_if(is_change)
}

fn done_if(is_change: bool) -> Outcome {
    if is_change { Outcome::Done } else { Outcome::Unchanged }
}

impl quorumq_raft::machine::Machine for Machine {
    type Reply = Reply;
    type Effect = Effect;

    fn apply(&mut self, entry: &Entry, effects: &mut Vec<Effect>) -> Result<Reply, MachineError> {
        self.check_order(entry.id)?;
        self.digest.word(entry.id.term.0);
        self.digest.word(entry.id.index.0);
        self.digest.word(entry.position.0);
        self.digest.word((entry.kind as u64) << 32 | entry.body.len() as u64);
        if entry.kind != Kind::Records {
            self.digest.word(u64::from(crc32fast::hash(&entry.body)));
        }
        let reply = match entry.kind {
            Kind::Filler => {
                return Err(MachineError(format!("entry {} is a filler, which takes no index", entry.id)));
            }
            Kind::Blank | Kind::Membership => Reply::Nothing,
            Kind::Records => self.apply_records(entry, effects)?,
            Kind::Command => self.apply_batch(entry, effects)?,
        };
        reply.digest(&mut self.digest);
        self.retention.note(entry.position, self.time_ms);
        self.applied = Some(entry.id);
        Ok(reply)
    }

    fn encode(&self) -> Bytes {
        self.encode_state()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), MachineError> {
        self.restore_state(state)
    }

    fn start(&mut self, log_first: PhysicalOffset, replay_from: PhysicalOffset) -> Result<(), MachineError> {
        self.take_stock(log_first).map_err(|e| MachineError(format!("look at the ConsumeQueues: {e}")))?;
        // A state that is restored was written down after the files of all that it covers.
        self.covered.logics_ms = self.time_ms;
        let Some(sizes) = self.index_sizes else { return Ok(()) };
        let first = log_first.max(self.retention.retained_from);
        let (disk, size) = (Arc::clone(&self.disk), self.retention.segment_size);
        let index = IndexFiles::open(disk, &self.dir, sizes, size, first, replay_from);
        let index = index.map_err(|e| MachineError(format!("open the key index: {e}")))?;
        self.covered.index_ms = index.last().map_or(0, |(ms, _)| ms);
        self.index = Some(index);
        Ok(())
    }

    fn enter(&mut self, segment: PhysicalOffset) {
        if let Some(index) = &mut self.index {
            index.roll(segment);
        }
    }

    fn digest(&self) -> u64 {
        self.digest.0
    }

    fn retained_from(&self) -> PhysicalOffset {
        self.retention.retained_from
    }

    fn unflushed(&self) -> usize {
        self.queues.unflushed() + self.index.as_ref().map_or(0, IndexFiles::unflushed)
    }

    fn plan_flush(&mut self, whole: bool) -> Option<DerivedFlush> {
        DerivedFlush::plan(&mut self.queues, self.index.as_mut(), whole, self.time_ms)
    }

    fn flushed(&mut self, plan: DerivedFlush) {
        if let Some(covered) = plan.flushed(&mut self.queues, self.index.as_mut()) {
            self.covered = covered;
        }
    }
}
