//! Retention: from which segment on the log is kept, and how old each kept segment is.

use quorumq_store::PhysicalOffset;
use serde::{Deserialize, Serialize};

use super::reply::Refusal;

/// A segment that entries were applied from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SegmentTime {
    /// A segment start.
    pub start: u64,
    /// The machine's time after the segment's last entry, in milliseconds since the epoch.
    pub last_ms: i64,
}

/// Where the log begins, as far as the replicated state says.
#[derive(Clone, Debug)]
pub(super) struct Retention {
    /// Bytes of a segment, a constant of the group.
    pub segment_size: u64,
    /// Segment start below which the log may be dropped.
    pub retained_from: PhysicalOffset,
    /// Ascending; those from `retained_from` on.
    pub segments: Vec<SegmentTime>,
}

impl Retention {
    /// Nothing was applied and nothing dropped.
    pub fn new(segment_size: u64) -> Self {
        Self { segment_size, retained_from: PhysicalOffset(0), segments: Vec::new() }
    }

    /// Start of the segment that holds `position`.
    pub fn segment_of(&self, position: PhysicalOffset) -> PhysicalOffset {
        PhysicalOffset(position.0 - position.0 % self.segment_size)
    }

    /// An entry at `position` was applied, and the machine's time is `time_ms` now.
    pub fn note(&mut self, position: PhysicalOffset, time_ms: i64) {
        let start = self.segment_of(position).0;
        match self.segments.last_mut() {
            Some(last) if last.start == start => last.last_ms = time_ms,
            _ => self.segments.push(SegmentTime { start, last_ms: time_ms }),
        }
    }

    /// Raises the boundary, by an entry at `position`; whether that is news. The entry's own segment is always kept.
    pub fn raise(&mut self, to: PhysicalOffset, position: PhysicalOffset) -> Result<bool, Refusal> {
        if self.segment_of(to) != to || to > self.segment_of(position) {
            return Err(Refusal::BadPurge);
        }
        let is_new = to > self.retained_from;
        self.retained_from = self.retained_from.max(to);
        self.segments.retain(|segment| segment.start >= self.retained_from.0);
        Ok(is_new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boundary_is_a_segment_start_and_only_rises() {
        let mut retention = Retention::new(100);
        let raise = |retention: &mut Retention, to| retention.raise(PhysicalOffset(to), PhysicalOffset(350));
        assert_eq!(raise(&mut retention, 150), Err(Refusal::BadPurge), "not a segment start");
        assert_eq!(raise(&mut retention, 400), Err(Refusal::BadPurge), "past the entry itself");
        assert_eq!(raise(&mut retention, 300), Ok(true));
        assert_eq!(raise(&mut retention, 300), Ok(false));
        assert_eq!(raise(&mut retention, 200), Ok(false));
        assert_eq!(retention.retained_from, PhysicalOffset(300));
    }

    #[test]
    fn a_segment_is_as_old_as_its_last_entry_and_forgotten_with_the_log() {
        let mut retention = Retention::new(100);
        for (position, time_ms) in [(0, 5), (60, 7), (100, 7), (250, 9), (299, 11), (300, 11)] {
            retention.note(PhysicalOffset(position), time_ms);
        }
        let times = |retention: &Retention| retention.segments.iter().map(|s| (s.start, s.last_ms)).collect::<Vec<_>>();
        assert_eq!(times(&retention), [(0, 7), (100, 7), (200, 11), (300, 11)]);
        assert_eq!(retention.raise(PhysicalOffset(200), PhysicalOffset(310)), Ok(true));
        assert_eq!(times(&retention), [(200, 11), (300, 11)]);
    }
}
