//! RocketMQ's `checkpoint` file: 4096 bytes, of which the first 24 are three timestamps. Written for the tools that look
//! at it; recovery never reads it.

use std::path::Path;

use crate::StoreError;
use crate::disk::Disk;
use crate::error::At;

/// Bytes of the file.
const LEN: usize = 4096;

/// Newest store timestamps covered by the files, in milliseconds since the Unix epoch: `physicMsgTimestamp`,
/// `logicsMsgTimestamp` and `indexMsgTimestamp` of RocketMQ's StoreCheckpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreTimes {
    /// Of the newest record in the CommitLog.
    pub physic_ms: i64,
    /// Of the newest record in the ConsumeQueues.
    pub logics_ms: i64,
    /// Of the newest record in the key index.
    pub index_ms: i64,
}

impl StoreTimes {
    /// Writes the file in place. Not synced: nothing depends on it.
    pub(super) fn write(self, disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
        let path = dir.join("checkpoint");
        let file = if disk.exists(&path).at("look for", &path)? {
            disk.open(&path).at("open", &path)?
        } else {
            disk.create(&path, LEN as u64).at("create", &path)?
        };
        let mut bytes = [0; 24];
        bytes[0..8].copy_from_slice(&self.physic_ms.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.logics_ms.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.index_ms.to_be_bytes());
        file.write_at(0, &[&bytes]).at("write", &path)
    }
}
