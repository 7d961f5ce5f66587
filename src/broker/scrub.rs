//! Scrub: every file of ConsumeQueues and key index is read now and then, so that damage is found before somebody needs
//! what is damaged. What is found is made again, see [`super::rebuild`].

use std::sync::Arc;
use std::time::Duration;

use quorumq_raft::node::Node;
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
            found.damaged += self.scrub_queue(&topic, queue_id, bytes_per_second).await;
        }
        let segments = self.node.machine().indexed_segments();
        for segment in segments {
            found.segments += 1;
            found.damaged += usize::from(self.scrub_index(segment, bytes_per_second).await.is_err());
        }
        found
    }

    /// Answers how many reads met damage.
    async fn scrub_queue(&self, topic: &str, queue_id: u32, bytes_per_second: u64) -> usize {
        let (mut from, mut damaged) = (QueueOffset(0), 0);
        loop {
            let planned = self.node.machine().queue(topic, queue_id).and_then(|queue| queue.plan_scrub(from, UNITS));
            let Some(read) = planned else { return damaged };
            let bytes = read.len() as u64 * quorumq_store::consume_queue::UNIT_LEN;
            from = read.end();
            let Ok(read) = R::offload(move || read.run(&mut Vec::new())).await else { return damaged };
            damaged += usize::from(matches!(read, Err(StoreError::Corrupt { .. })));
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
                Err(e @ StoreError::Corrupt { .. }) => {
                    tracing::warn!(%segment, "the key index is damaged: {e}");
                    self.node.machine().report_index_of(segment);
                    return Err(e);
                }
                // Purged or replaced meanwhile, or the log cannot be read, which is for others to tell.
                Err(_) => return Ok(()),
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
