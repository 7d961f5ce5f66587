//! The chain of frames: how the next frame continues the last one.

use crate::frame::{HEADER_LEN, Header, HeaderBytes, Kind};
use crate::hard_state::Mark;
use crate::log_store::Entry;
use crate::{LogId, LogIndex, PhysicalOffset};

/// Where a log ends, and how its next frame chains to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// End of the last entry's frame; of an empty log, its first byte.
    pub(crate) at: PhysicalOffset,
    /// The last entry.
    pub(crate) last: Option<LogId>,
    /// CRC of the last frame's header: the entry's, or that of a filler behind it.
    pub(crate) chain: u32,
}

impl End {
    /// The next entry's index.
    pub(crate) fn next_index(&self) -> LogIndex {
        self.last.map_or(LogIndex(0), |last| last.index.next())
    }

    /// The synced mark of a log that is durable up to here.
    pub(crate) fn mark(&self) -> Mark {
        Mark { last: self.last, end: self.at }
    }

    /// The header of the next entry; the end moves behind it.
    pub(crate) fn push_entry(&mut self, entry: &Entry) -> HeaderBytes {
        let (bytes, crc) = Header {
            kind: entry.kind,
            // Checked against the group's largest entry, a u32, when it was appended.
            body_len: entry.body.len() as u32,
            id: entry.id,
            position: entry.position,
            chain: self.chain,
            body_crc: crc32fast::hash(&entry.body),
        }
        .encode();
        *self = Self { at: entry.position + entry.frame_len(), last: Some(entry.id), chain: crc };
        bytes
    }

    /// The header of the filler that covers the rest of a segment. Only the chain goes on: the last entry still ends
    /// where it did.
    pub(crate) fn push_filler(&mut self, segment_end: PhysicalOffset) -> HeaderBytes {
        let (bytes, crc) = Header {
            kind: Kind::Filler,
            // Less than a segment, and a segment is at most 2 GiB.
            body_len: (segment_end.0 - self.at.0 - HEADER_LEN) as u32,
            id: self.last.unwrap_or_default(),
            position: self.at,
            chain: self.chain,
            body_crc: 0,
        }
        .encode();
        self.chain = crc;
        bytes
    }

    /// The chain value of the segment that starts at `start`, once `entries` follow, which are all entries between.
    pub(crate) fn chain_before(mut self, start: PhysicalOffset, entries: &[Entry]) -> u32 {
        for entry in entries {
            if entry.position != self.at {
                self.push_filler(entry.position);
            }
            self.push_entry(entry);
        }
        self.push_filler(start);
        self.chain
    }
}
