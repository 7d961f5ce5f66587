//! Who a store belongs to: written once when it is formatted, checked at every open and handshake.

use std::path::Path;

use crate::StoreError;
use crate::disk::Disk;

/// Constants that make the CommitLog's layout a function of its entries; fixed when the group is formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupConstants {
    /// Bytes of a segment file: RocketMQ's `mappedFileSizeCommitLog`, 1 GiB by default, ≥ 4 KiB.
    pub segment_size: u64,
    /// Largest entry body in bytes, at most a quarter of a segment.
    pub max_entry: u32,
    /// Version of the frame layout.
    pub frame_version: u8,
    /// Feature level of the group.
    pub feature_level: u16,
}

/// Who a store belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// RocketMQ's `brokerClusterName`.
    pub cluster: String,
    /// RocketMQ's `brokerName` (= dLegerGroup): the Raft group.
    pub group: String,
    /// Random id of the group, drawn when it was formed.
    pub group_uuid: u128,
    /// This member's node id, never reused.
    pub node_id: u64,
    /// Random number drawn when this store was formatted: tells a wiped store from the one before.
    pub incarnation: u64,
    /// The group's constants.
    pub constants: GroupConstants,
}

impl Identity {
    /// Formats an empty directory as a member's store. Durable when it returns.
    pub fn format(&self, disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
        let _ = (disk, dir);
        todo!()
    }
    /// Reads the identity of a formatted store; `None` if the directory is empty or missing.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, StoreError> {
        let _ = (disk, dir);
        todo!()
    }
}
