//! Recovery checkpoints: the machine's state at a segment start, one file per retained segment.

use std::path::Path;

use bytes::Bytes;

use crate::disk::Disk;
use crate::log_store::SnapshotPosition;
use crate::{LogId, PhysicalOffset, StoreError};

/// The machine's state after every entry before a segment start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Where it stands in the log.
    pub position: SnapshotPosition,
    /// Log id of the membership in force.
    pub membership_id: Option<LogId>,
    /// The membership in force, encoded by `raft`.
    pub membership: Bytes,
    /// The machine's state, encoded by `machine`.
    pub state: Bytes,
}

impl Checkpoint {
    /// Writes the checkpoint durably under `dir/checkpoints/`: temporary file, sync, rename, directory sync.
    pub fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
        let _ = (disk, dir);
        todo!()
    }
    /// Encodes it as one self-checking blob: what a snapshot transfer carries, and the file's content.
    pub fn encode(&self) -> Bytes {
        todo!()
    }
    /// Decodes and checks a blob.
    pub fn decode(blob: &[u8]) -> Result<Self, StoreError> {
        let _ = blob;
        todo!()
    }
    /// Segment starts for which a checkpoint file exists, ascending.
    pub fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<PhysicalOffset>, StoreError> {
        let _ = (disk, dir);
        todo!()
    }
    /// Reads the checkpoint of one segment start.
    pub fn read(disk: &dyn Disk, dir: &Path, segment: PhysicalOffset) -> Result<Self, StoreError> {
        let _ = (disk, dir, segment);
        todo!()
    }
    /// Removes the checkpoint of one segment start.
    pub fn remove(disk: &dyn Disk, dir: &Path, segment: PhysicalOffset) -> Result<(), StoreError> {
        let _ = (disk, dir, segment);
        todo!()
    }
}
