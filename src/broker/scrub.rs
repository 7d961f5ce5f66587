//! Scrub: every file of ConsumeQueues and key index is read now and then, so that damage is found before somebody needs
//! what is damaged. What is found is made again, see [`super::rebuild`].

use std::sync::Arc;
use std::time::Duration;

use quorumq_raft::node::Node;
use quorumq_raft::repair::is_damage;
use quorumq_raft::runtime::Runtime;
use quorumq_store::index_file::SegmentCheck;
use quorumq_store::{LogIndex, PhysicalOffset, QueueOffset, StoreError};

use super::Broker;
use crate::machine::Machine;
use crate::machine::records::each_keyed;

/// Units of a queue read at a time: whole chunks of 4 KiB.
const UNITS: u64 = 204 * 50;
/// Bytes of the log read at a time.
const STEP: u64 = 1 << 20;

/// What a pass over the derived files found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// ConsumeQueues read.
    pub queues: usize,
    /// Segments whose index files were compared with the log.
    pub segments: usize,
    /// Reads that met damage.
    pub damaged: usize,
    /// Reads that the disk answered with an error: what it holds there is not known.
    pub unreadable: usize,
}

impl Scrubbed {
    /// Counts what came of a read. The first one that the disk refused is told.
    fn count(&mut self, read: Result<(), StoreError>) {
        match read {
            Err(StoreError::Corrupt { .. }) => self.damaged += 1,
            Err(e @ StoreError::Io { .. }) => {
                if self.unreadable == 0 {
                    tracing::warn!("a scrub met a file that cannot be read, told once a pass: {e}");
                }
                self.unreadable += 1;
            }
            // Purged or replaced meanwhile, or in quarantine, which is for others to tell.
            Ok(()) | Err(_) => {}
        }
    }
}

/// Passes over the derived files as long as the broker runs.
pub(super) async fn run<R: Runtime>(broker: Arc<Broker<R>>) {
    let options = broker.options.scrub;
    if options.bytes_per_second == 0 {
        return;
    }
    loop {
        R::sleep(options.interval).await;
        let found = broker.scrub_derived(options.bytes_per_second).await;
        tracing::info!(?found, "ConsumeQueues and key index were read");
    }
}

/// Waits as long as reading so many bytes may take.
async fn pace<R: Runtime>(bytes: u64, bytes_per_second: u64) {
    R::sleep(Duration::from_micros(bytes.saturating_mul(1_000_000) / bytes_per_second.max(1))).await;
}

impl<R: Runtime> Broker<R> {
    /// Reads every file of ConsumeQueues and key index once. Damage is noted, to be made good in the background.
    pub async fn scrub_derived(&self, bytes_per_second: u64) -> Scrubbed {
        let mut found = Scrubbed::default();
        let queues: Vec<_> = {
            let machine = self.node.machine();
            machine.queues().map(|(topic, queue_id, _)| (topic.to_owned(), queue_id)).collect()
        };
        for (topic, queue_id) in queues {
            found.queues += 1;
            self.scrub_queue(&topic, queue_id, bytes_per_second, &mut found).await;
        }
        let segments = self.node.machine().indexed_segments();
        for segment in segments {
            found.segments += 1;
            found.count(self.scrub_index(segment, bytes_per_second).await);
        }
        found
    }

    /// Reads what files hold of a queue.
    async fn scrub_queue(&self, topic: &str, queue_id: u32, bytes_per_second: u64, found: &mut Scrubbed) {
        let mut from = QueueOffset(0);
        loop {
            let planned = self.node.machine().queue(topic, queue_id).and_then(|queue| queue.plan_scrub(from, UNITS));
            let Some(read) = planned else { return };
            let bytes = read.len() as u64 * quorumq_store::consume_queue::UNIT_LEN;
            from = read.end();
            let Ok(read) = R::offload(move || read.run(&mut Vec::new())).await else { return };
            found.count(read);
            pace::<R>(bytes, bytes_per_second).await;
        }
    }

    /// Compares the index files of a segment with its records.
    async fn scrub_index(&self, segment: PhysicalOffset, bytes_per_second: u64) -> Result<(), StoreError> {
        let Some(mut check) = self.node.machine().plan_index_check(segment) else { return Ok(()) };
        let mut next = None;
        loop {
            let node = Arc::clone(&self.node);
            let step = R::offload(move || compare(&node, check, next)).await.map_err(|_| StoreError::Closed)?;
            match step {
                Ok(Some((going_on, from, bytes))) => {
                    (check, next) = (going_on, Some(from));
                    pace::<R>(bytes, bytes_per_second).await;
                }
                Ok(None) => return Ok(()),
                Err(e) => {
                    // What is wrong with the log itself is told by who read it, and says nothing of the index.
                    if matches!(e, StoreError::Corrupt { .. }) && !is_damage(&e) {
                        tracing::warn!(%segment, "the key index is damaged: {e}");
                        self.node.machine().report_index_of(segment);
                    }
                    return Err(e);
                }
            }
        }
    }
}

/// Compares the keys of some more entries. `None` once all of the segment are done; else where it goes on, and bytes read.
fn compare<R: Runtime>(
    node: &Node<R, Machine>,
    mut check: SegmentCheck,
    next: Option<LogIndex>,
) -> Result<Option<(SegmentCheck, LogIndex, u64)>, StoreError> {
    let segment = check.segment();
    let end = segment.0 + node.identity().constants.segment_size;
    let mut next = next.map_or_else(|| node.first_index_of(segment), Ok)?;
    let mut bytes = 0;
    let entries = node.applied_entries(next, STEP)?;
    if entries.first().is_none_or(|entry| entry.position.0 >= end) {
        return check.finish().map(|()| None);
    }
    for entry in entries.iter().take_while(|entry| entry.position.0 < end) {
        next = entry.id.index.next();
        bytes += entry.frame_len();
        each_keyed(entry, |position, record| {
            check.push(position, record.store_timestamp_ms(), record.topic(), record.keys())
        })?;
    }
    Ok(Some((check, next, bytes)))
}
