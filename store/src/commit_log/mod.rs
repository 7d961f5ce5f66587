//! The CommitLog: entry frames in segment files of one fixed size.
//!
//! ```text
//! commitlog/00000000000000000000   frame frame … frame filler │
//! commitlog/00000000001073741824   frame frame … frame│zeroes │   current
//! commitlog/00000000002147483648   zeroes                     │   next, allocated ahead
//! ```
//!
//! A file is named by the 20-digit [`PhysicalOffset`] of its first byte, as RocketMQ's are. Past the end of the log
//! every byte of every file is zero (but for what a crash tore): truncation and recovery zero what they drop, so the
//! files of two members are equal byte for byte over their common range, the room behind fillers included.

use std::path::{Path, PathBuf};

use crate::PhysicalOffset;
use crate::frame::HEADER_LEN;

pub(crate) mod chain;
pub mod dump;
pub(crate) mod erase;
pub(crate) mod reader;
pub(crate) mod recover;
pub mod verify;
pub(crate) mod view;
pub(crate) mod writer;

/// Directory of the segment files below the store's.
pub const DIR: &str = "commitlog";

/// Bytes between two points of the sparse index → position table.
pub(crate) const POINT_GAP: u64 = 64 << 10;

/// Where the segment file that starts at `start` lives.
pub fn segment_path(dir: &Path, start: PhysicalOffset) -> PathBuf {
    dir.join(DIR).join(format!("{start:020}"))
}

/// The start offset a segment file's name stands for.
pub(crate) fn segment_start(name: &str) -> Option<PhysicalOffset> {
    let digits = name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit());
    name.parse().ok().filter(|_| digits).map(PhysicalOffset)
}

/// Where frames go: a pure function of the entries before them and of the segment size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) segment_size: u64,
}

impl Layout {
    /// Start of the segment that holds `at`.
    pub(crate) fn segment_of(self, at: PhysicalOffset) -> PhysicalOffset {
        PhysicalOffset(at.0 - at.0 % self.segment_size)
    }

    /// First byte behind the segment that holds `at`.
    pub(crate) fn segment_end(self, at: PhysicalOffset) -> PhysicalOffset {
        self.segment_of(at) + self.segment_size
    }

    /// Where a frame of `frame_len` bytes goes if the frames before end at `end`. It stays in `end`'s segment if room
    /// for a filler's header is left behind it, else a filler takes the rest and the frame starts the next segment.
    pub(crate) fn place(self, end: PhysicalOffset, frame_len: u64) -> PhysicalOffset {
        let segment_end = self.segment_end(end);
        if end + (frame_len + HEADER_LEN) <= segment_end { end } else { segment_end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_rolls_exactly_when_no_filler_would_fit_behind_it() {
        let layout = Layout { segment_size: 4096 };
        let place = |end: u64, len: u64| layout.place(PhysicalOffset(end), len).0;
        assert_eq!(place(0, 4096 - 48), 0);
        assert_eq!(place(4000, 48), 4000);
        assert_eq!(place(4001, 48), 4096);
        assert_eq!(place(4048, 48), 4096);
        assert_eq!(place(4096, 100), 4096);
        assert_eq!(place(8192 - 148, 100), 8192 - 148);
        assert_eq!(place(8192 - 147, 100), 8192);
    }

    #[test]
    fn segment_names_are_twenty_digits() {
        assert_eq!(
            segment_path(Path::new("d"), PhysicalOffset(1 << 30)),
            Path::new("d/commitlog/00000000001073741824")
        );
        assert_eq!(segment_start("00000000001073741824"), Some(PhysicalOffset(1 << 30)));
        assert_eq!(segment_start("+0000000001073741824"), None);
        assert_eq!(segment_start("1073741824"), None);
        assert_eq!(segment_start("99999999999999999999"), None);
    }
}
