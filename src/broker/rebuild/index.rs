//! The key index.

use std::sync::Arc;

use quorumq_raft::node::Node;
use quorumq_raft::runtime::Runtime;
use quorumq_store::index_file::{Rebuild, Rebuilt};
use quorumq_store::{PhysicalOffset, StoreError};

use super::{Came, STEP};
use crate::broker::Broker;
use crate::machine::Machine;
use crate::machine::records::each_keyed;

impl<R: Runtime> Broker<R> {
    /// Makes the files of damaged or missing segments again, if there are any.
    pub(super) async fn rebuild_index(&self) -> Came {
        let mut is_flushed = false;
        while self.node.machine().has_damaged_index() {
            let planned = self.node.derive(Machine::plan_index_rebuild);
            let made = match planned {
                Some(rebuild) => self.rebuild_segment(rebuild).await,
                // Something waits for a flush, which nothing else may ask for.
                None if !is_flushed => {
                    is_flushed = true;
                    self.node.flush_derived().await
                }
                None => return Came::Left,
            };
            if let Err(e) = made {
                tracing::error!("the key index cannot be made again yet: {e}");
                return Came::Left;
            }
        }
        Came::Good
    }

    async fn rebuild_segment(&self, rebuild: Rebuild) -> Result<(), StoreError> {
        let segment = rebuild.segment();
        tracing::warn!(%segment, "the key index of a segment is damaged or missing: it is made again");
        let node = Arc::clone(&self.node);
        let made = R::offload(move || make(&node, rebuild)).await.unwrap_or(Err(StoreError::Closed))?;
        // In place between flushes: these remove and write files of the same directory.
        let rebuilt: Rebuilt = self.node.write_derived(true, move || made.finish()).await?;
        self.node.derive(|machine| machine.index_rebuilt(rebuilt));
        tracing::info!(%segment, "the key index of a segment was made again from the log");
        Ok(())
    }
}

/// Reads the records of the segment.
fn make<R: Runtime>(node: &Node<R, Machine>, mut rebuild: Rebuild) -> Result<Rebuild, StoreError> {
    let end = PhysicalOffset(rebuild.segment().0 + node.identity().constants.segment_size);
    let mut next = node.first_index_of(rebuild.segment())?;
    loop {
        let entries = node.applied_entries(next, STEP)?;
        if entries.is_empty() {
            return Ok(rebuild);
        }
        for entry in entries {
            if entry.position >= end {
                return Ok(rebuild);
            }
            next = entry.id.index.next();
            each_keyed(&entry, |position, record| {
                rebuild.push(position, record.store_timestamp_ms(), record.topic(), record.keys())
            })?;
        }
    }
}
