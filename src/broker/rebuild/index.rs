//! The key index.

use std::sync::Arc;

use quorumq_raft::node::Node;
use quorumq_raft::runtime::Runtime;
use quorumq_store::frame::{HEADER_LEN, Kind};
use quorumq_store::index_file::{Rebuild, Rebuilt};
use quorumq_store::record::records;
use quorumq_store::{PhysicalOffset, StoreError};

use super::{Came, STEP};
use crate::broker::Broker;
use crate::machine::Machine;
use crate::machine::records::has_keys;

impl<R: Runtime> Broker<R> {
    /// Makes the files of a damaged or missing segment again, if there is one.
    pub(super) async fn rebuild_index(&self) -> Came {
        let planned = self.node.derive(Machine::plan_index_rebuild);
        let Some(rebuild) = planned else { return Came::Good };
        let segment = rebuild.segment();
        tracing::warn!(%segment, "the key index of a segment is made again");
        let node = Arc::clone(&self.node);
        let made = R::offload(move || make(&node, rebuild)).await.unwrap_or(Err(StoreError::Closed));
        // In place between flushes: these remove and write files of the same directory.
        let placed = match made {
            Ok(rebuild) => self.node.write_derived(true, move || rebuild.finish()).await,
            Err(e) => Err(e),
        };
        match placed {
            Ok(rebuilt) => {
                self.take(rebuilt);
                tracing::info!(%segment, "the key index of a segment was made again from the log");
                Came::Good
            }
            Err(e) => {
                tracing::error!(%segment, "the key index of a segment cannot be made again yet: {e}");
                Came::Left
            }
        }
    }

    fn take(&self, rebuilt: Rebuilt) {
        self.node.derive(|machine| machine.index_rebuilt(rebuilt));
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
            if entry.kind != Kind::Records {
                continue;
            }
            for (at, record) in records(&entry.body) {
                let record = record.map_err(|e| StoreError::Contract(format!("entry {}: {e}", entry.id)))?;
                if has_keys(&record) {
                    let position = entry.position + HEADER_LEN + at as u64;
                    rebuild.push(position, record.store_timestamp_ms(), record.topic(), record.keys())?;
                }
            }
        }
    }
}
