//! RocketMQ's `flushDiskType`.

use std::fmt;

use quorumq_store::log_store::FlushMode;

/// When a member counts a message as held. Spelled as RocketMQ does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushDiskType {
    /// After fdatasync: an acknowledged message is on the disks of a majority.
    SyncFlush,
    /// After the write: an acknowledged message is in the page caches of a majority.
    AsyncFlush,
}

impl FlushDiskType {
    /// Every value and its spelling in a configuration.
    pub(super) const ALL: [(&'static str, Self); 2] =
        [("SYNC_FLUSH", Self::SyncFlush), ("ASYNC_FLUSH", Self::AsyncFlush)];

    /// The store's word for it.
    pub fn mode(self) -> FlushMode {
        match self {
            Self::SyncFlush => FlushMode::Sync,
            Self::AsyncFlush => FlushMode::Async,
        }
    }
}

impl fmt::Display for FlushDiskType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SyncFlush => "SYNC_FLUSH",
            Self::AsyncFlush => "ASYNC_FLUSH",
        })
    }
}
