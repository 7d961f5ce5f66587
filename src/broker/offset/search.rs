//! Offsets by store time. Store times never go back along the log, so a queue can be searched by halves.

use quorumq_raft::runtime::Runtime;
use quorumq_store::record::{BadRecord, Record};
use quorumq_store::{QueueOffset, StoreError};

use crate::broker::units::{Units, UnitsError, partition_point};

/// Which of the messages around a time is wanted (BoundaryType.java).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// The first one stored at or after it; the queue's max if none is.
    Lower,
    /// The last one stored at or before it; the queue's min if none is.
    Upper,
}

/// Why a queue cannot be searched.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    #[error(transparent)]
    Units(#[from] UnitsError),
    #[error("the messages cannot be read: {0}")]
    Store(#[from] StoreError),
    #[error("the messages cannot be read: {0}")]
    Record(#[from] BadRecord),
}

/// When the message at an offset was stored.
fn store_time<R: Runtime>(units: &Units<R>, offset: u64) -> Result<i64, SearchError> {
    let unit = units.at(offset)?;
    let record = units.node.bytes(unit.position, unit.size)?;
    Ok(Record::parse(&record)?.store_timestamp_ms())
}

/// The offset a time stands for. Blocks.
///
/// # Errors
/// The disk failed, or the topic went.
pub fn by_time<R: Runtime>(
    units: &Units<R>,
    timestamp_ms: i64,
    boundary: Boundary,
) -> Result<QueueOffset, SearchError> {
    units.attempt(|bounds| search(bounds, timestamp_ms, boundary, |offset| store_time(units, offset))).map(QueueOffset)
}

/// When the first message was stored; `None` for a queue without messages. Blocks.
///
/// # Errors
/// As [`by_time`].
pub fn earliest<R: Runtime>(units: &Units<R>) -> Result<Option<i64>, SearchError> {
    units.attempt(|(min, max)| (min < max).then(|| store_time(units, min)).transpose())
}

/// Finds a time among the messages from `min` to below `max`, whose times `at` tells.
fn search<E>(
    (min, max): (u64, u64),
    timestamp_ms: i64,
    boundary: Boundary,
    at: impl Fn(u64) -> Result<i64, E>,
) -> Result<u64, E> {
    let low = partition_point((min, max), |offset| {
        let time = at(offset)?;
        Ok(match boundary {
            Boundary::Lower => time < timestamp_ms,
            Boundary::Upper => time <= timestamp_ms,
        })
    })?;
    Ok(match boundary {
        Boundary::Lower => low,
        Boundary::Upper => low.saturating_sub(1).max(min),
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Offsets 3 to 8; 4, 5 and 6 were stored in one millisecond.
    const TIMES: [i64; 6] = [100, 200, 200, 200, 300, 400];

    fn found(timestamp_ms: i64, boundary: Boundary) -> u64 {
        let at = |offset: u64| Ok::<_, Infallible>(TIMES[offset as usize - 3]);
        search((3, 9), timestamp_ms, boundary, at).unwrap()
    }

    #[test]
    fn the_lower_boundary_is_the_first_message_at_or_after_the_time() {
        for (time, offset) in [(i64::MIN, 3), (100, 3), (101, 4), (200, 4), (201, 7), (400, 8), (401, 9)] {
            assert_eq!(found(time, Boundary::Lower), offset, "{time}");
        }
    }

    #[test]
    fn the_upper_boundary_is_the_last_message_at_or_before_the_time() {
        for (time, offset) in [(99, 3), (100, 3), (199, 3), (200, 6), (299, 6), (300, 7), (i64::MAX, 8)] {
            assert_eq!(found(time, Boundary::Upper), offset, "{time}");
        }
    }

    #[test]
    fn a_queue_without_messages_is_its_own_answer() {
        let never = |_| -> Result<i64, ()> { Err(()) };
        assert_eq!(search((5, 5), 0, Boundary::Lower, never), Ok(5));
        assert_eq!(search((5, 5), 0, Boundary::Upper, never), Ok(5));
        assert_eq!(search((0, 0), 0, Boundary::Upper, never), Ok(0));
    }

    #[test]
    fn a_message_that_cannot_be_read_is_an_error() {
        assert_eq!(search((0, 4), 0, Boundary::Lower, |_| Err::<i64, _>("EIO")), Err("EIO"));
    }
}
