//! Retention: from which segment on the log is kept.

use quorumq_store::PhysicalOffset;

use super::reply::Refusal;

/// Where the log begins, as far as the replicated state says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    /// Bytes of a segment, a constant of the group.
    pub segment_size: u64,
    /// Segment start below which the log may be dropped.
    pub retained_from: PhysicalOffset,
}

impl Retention {
    /// Start of the segment that holds `position`.
    pub fn segment_of(&self, position: PhysicalOffset) -> PhysicalOffset {
        PhysicalOffset(position.0 - position.0 % self.segment_size)
    }

    /// Raises the boundary, by an entry at `position`; whether that is news. The entry's own segment is always kept.
    pub fn raise(&mut self, to: PhysicalOffset, position: PhysicalOffset) -> Result<bool, Refusal> {
        if self.segment_of(to) != to || to > self.segment_of(position) {
            return Err(Refusal::BadPurge);
        }
        let is_new = to > self.retained_from;
        self.retained_from = self.retained_from.max(to);
        Ok(is_new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boundary_is_a_segment_start_and_only_rises() {
        let mut retention = Retention { segment_size: 100, retained_from: PhysicalOffset(0) };
        let raise = |retention: &mut Retention, to| retention.raise(PhysicalOffset(to), PhysicalOffset(350));
        assert_eq!(raise(&mut retention, 150), Err(Refusal::BadPurge), "not a segment start");
        assert_eq!(raise(&mut retention, 400), Err(Refusal::BadPurge), "past the entry itself");
        assert_eq!(raise(&mut retention, 300), Ok(true));
        assert_eq!(raise(&mut retention, 300), Ok(false));
        assert_eq!(raise(&mut retention, 200), Ok(false));
        assert_eq!(retention.retained_from, PhysicalOffset(300));
    }
}
