//! What retention decides: which segments go, and why the others stay. A function of what it is given.

use std::fmt;
use std::time::Duration;

use quorumq_store::PhysicalOffset;
use quorumq_store::disk::Space;

use crate::machine::Segment;

const HOUR: Duration = Duration::from_secs(3600);

/// The settings of retention.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How long messages are kept (RocketMQ's fileReservedTime, 72 hours).
    pub reserved: Duration,
    /// Hours of the day, 0 to 23, at which expired segments go (RocketMQ's deleteWhen, 04).
    pub delete_when: Vec<u8>,
    /// Percentage of the volume in use above which expired segments go at any hour (diskMaxUsedSpaceRatio, 75).
    pub max_used_percent: u8,
    /// When the oldest segment goes whatever its age (cleanFileForciblyEnable); `None`: never, sends are refused
    /// instead.
    pub force: Option<Force>,
}

/// How little room makes the oldest segment go before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Force {
    /// From this percentage of the volume in use on (diskSpaceCleanForciblyRatio, 85).
    pub used_percent: u8,
    /// With less than twice the bytes that are kept free (diskSpaceReserveBytes).
    pub reserve_bytes: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { reserved: 72 * HOUR, delete_when: vec![4], max_used_percent: 75, force: None }
    }
}

/// The moment for which is decided.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// In milliseconds since the epoch.
    pub now_ms: i64,
    /// Hour of the day where the broker is.
    pub hour: u8,
    /// The member's volume with the least room.
    pub space: Space,
    /// Whether somebody asked for expired segments to go now.
    pub is_asked: bool,
    /// Whether files that were dropped before still lie on that volume.
    pub is_pending: bool,
}

/// Why a segment goes or stays.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants' texts name their fields")]
pub enum Reason {
    /// Goes.
    Expired {
        age: Age,
        kept: Age,
    },
    /// Goes.
    DiskPressure {
        used_percent: u8,
        available: u64,
    },
    NotExpired {
        age: Age,
        kept: Age,
    },
    Reserved {
        topic: String,
        age: Age,
        kept: Age,
    },
    NotTheHour {
        age: Age,
        delete_when: Vec<u8>,
    },
    Written,
    BehindOneThatStays,
    NextSweep,
    Pending,
}

/// What becomes of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The segment's first byte.
    pub start: PhysicalOffset,
    /// Why.
    pub reason: Reason,
}

/// A time as an operator reads it: in hours, or in seconds below one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age(pub Duration);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            secs if secs < 3600 => write!(f, "{secs} s"),
            secs => write!(f, "{} h", secs / 3600),
        }
    }
}

impl Reason {
    /// Whether the segment goes.
    pub fn goes(&self) -> bool {
        matches!(self, Self::Expired { .. } | Self::DiskPressure { .. })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { age, kept } | Self::NotExpired { age, kept } => {
                write!(f, "its last message is {age} old, kept are {kept}")
            }
            Self::DiskPressure { used_percent, available } => {
                write!(f, "the volume is in use to {used_percent} % and has {available} bytes left")
            }
            Self::Reserved { topic, age, kept } => {
                write!(f, "its last message is {age} old, topic {topic} keeps {kept} (reserve.time)")
            }
            Self::NotTheHour { age, delete_when } => {
                let when: Vec<_> = delete_when.iter().map(|hour| format!("{hour:02}")).collect();
                write!(f, "expired, its last message is {age} old; goes at {} (deleteWhen)", when.join(";"))
            }
            Self::Written => f.write_str("it is still written"),
            Self::BehindOneThatStays => f.write_str("an older one stays"),
            Self::Pending => {
                f.write_str("what was dropped before still lies on the volume: nothing more goes for its sake")
            }
            Self::NextSweep => f.write_str("one at a time goes for the volume's sake; the next sweep looks again"),
        }
    }
}

/// How much of the volume is in use, in percent.
fn used_percent(space: Space) -> u8 {
    let used = space.total.saturating_sub(space.available);
    (u128::from(used) * 100).checked_div(u128::from(space.total)).map_or(0, |percent| percent.min(100) as u8)
}

impl Policy {
    /// What becomes of each segment, oldest first. Whole segments go from the oldest on, consumed or not.
    pub fn judge(&self, segments: &[Segment], moment: &Moment) -> Vec<Verdict> {
        let mut verdicts: Vec<Verdict> = Vec::with_capacity(segments.len());
        let mut forced = 0;
        for (at, segment) in segments.iter().enumerate() {
            let reason = match verdicts.last() {
                Some(older) if !older.reason.goes() => Reason::BehindOneThatStays,
                _ if at + 1 == segments.len() => Reason::Written,
                _ => self.of_one(segment, moment, forced),
            };
            forced += usize::from(matches!(reason, Reason::DiskPressure { .. }));
            verdicts.push(Verdict { start: segment.start, reason });
        }
        verdicts
    }

    fn of_one(&self, segment: &Segment, moment: &Moment, forced: usize) -> Reason {
        // A clock that was set back makes messages of the future; they are new.
        let age = Duration::from_millis(moment.now_ms.saturating_sub(segment.last_ms).max(0).cast_unsigned());
        // A floor: not even a full volume takes what a topic reserves.
        if let Some((topic, hours)) = &segment.reserved
            && age < HOUR * *hours
        {
            return Reason::Reserved { topic: topic.clone(), age: Age(age), kept: Age(HOUR * *hours) };
        }
        let used_percent = used_percent(moment.space);
        let at_any_hour = moment.is_asked || used_percent >= self.max_used_percent;
        let is_full = self.force.is_some_and(|force| {
            used_percent >= force.used_percent || moment.space.available < force.reserve_bytes.saturating_mul(2)
        });
        let (age, kept) = (Age(age), Age(self.reserved));
        match (age >= kept, is_full) {
            (true, _) if at_any_hour || is_full || self.delete_when.contains(&moment.hour) => {
                Reason::Expired { age, kept }
            }
            (true, _) => Reason::NotTheHour { age, delete_when: self.delete_when.clone() },
            (false, true) if moment.is_pending => Reason::Pending,
            (false, true) if forced == 0 => Reason::DiskPressure { used_percent, available: moment.space.available },
            (false, true) => Reason::NextSweep,
            (false, false) => Reason::NotExpired { age, kept },
        }
    }
}

/// From where on the log stays, if any segment goes.
pub fn boundary(verdicts: &[Verdict]) -> Option<PhysicalOffset> {
    let going = verdicts.iter().take_while(|verdict| verdict.reason.goes()).count();
    (going > 0).then(|| verdicts.get(going).map(|verdict| verdict.start)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Space = Space { available: 500 << 30, total: 1000 << 30 };

    /// Segments of 100 bytes whose last messages are so many hours old; the moment is 04:00.
    fn segments(hours: &[i64]) -> Vec<Segment> {
        let segment = |(at, hours): (usize, &i64)| Segment {
            start: PhysicalOffset(at as u64 * 100),
            last_ms: -hours * 3_600_000,
            reserved: None,
        };
        hours.iter().enumerate().map(segment).collect()
    }

    const AT_FOUR: Moment = Moment { now_ms: 0, hour: 4, space: ROOM, is_asked: false, is_pending: false };

    /// RocketMQ's usual settings.
    fn forcing() -> Policy {
        Policy { force: Some(Force { used_percent: 85, reserve_bytes: 256 << 20 }), ..Policy::default() }
    }

    fn cut(segments: &[Segment], moment: Moment) -> Option<u64> {
        boundary(&forcing().judge(segments, &moment)).map(|at| at.0)
    }

    #[test]
    fn segments_go_when_their_last_message_is_older_than_is_kept() {
        assert_eq!(cut(&segments(&[100, 72, 71, 1]), AT_FOUR), Some(200));
        assert_eq!(cut(&segments(&[71, 1]), AT_FOUR), None);
        assert_eq!(cut(&[], AT_FOUR), None);
    }

    #[test]
    fn the_segment_that_is_written_never_goes() {
        assert_eq!(cut(&segments(&[900, 800]), AT_FOUR), Some(100));
        assert_eq!(cut(&segments(&[900]), AT_FOUR), None);
        let full = Moment { space: Space { available: 0, total: 100 }, ..AT_FOUR };
        assert_eq!(cut(&segments(&[1]), full), None);
    }

    #[test]
    fn nothing_more_goes_for_a_full_volumes_sake_before_the_last_cut_has_freed_its_files() {
        let full = Moment { space: Space { available: 10, total: 100 }, ..AT_FOUR };
        assert_eq!(cut(&segments(&[5, 4, 1]), full), Some(100));
        let pending = Moment { is_pending: true, ..full };
        assert_eq!(cut(&segments(&[5, 4, 1]), pending), None);
        assert_eq!(cut(&segments(&[100, 4, 1]), pending), Some(100), "what is expired goes");
    }

    #[test]
    fn expired_segments_wait_for_the_hour_unless_asked_or_the_volume_is_used() {
        let old = segments(&[100, 1]);
        let at_five = Moment { hour: 5, ..AT_FOUR };
        assert_eq!(cut(&old, at_five), None);
        assert_eq!(cut(&old, Moment { is_asked: true, ..at_five }), Some(100));
        let used = |gib: u64| Moment { space: Space { available: gib << 30, total: 100 << 30 }, ..at_five };
        assert_eq!(cut(&old, used(26)), None);
        assert_eq!(cut(&old, used(25)), Some(100));
    }

    #[test]
    fn a_full_volume_takes_the_oldest_segment_whatever_its_age_one_a_sweep() {
        let young = segments(&[3, 2, 1]);
        let used = |available| Moment { hour: 5, space: Space { available, total: 100 << 30 }, ..AT_FOUR };
        assert_eq!(cut(&young, used(16 << 30)), None);
        assert_eq!(cut(&young, used(15 << 30)), Some(100));
        let small = Moment { hour: 5, space: Space { available: 511 << 20, total: 1 << 30 }, ..AT_FOUR };
        assert_eq!(cut(&young, small), Some(100), "less than twice the reserve");
        // What is expired goes beside it.
        assert_eq!(cut(&segments(&[90, 80, 3, 2, 1]), used(15 << 30)), Some(300));
    }

    #[test]
    fn without_force_a_full_volume_takes_nothing_before_its_time() {
        let full = Moment { hour: 5, space: Space { available: 0, total: 1 << 30 }, ..AT_FOUR };
        let policy = Policy::default();
        assert_eq!(boundary(&policy.judge(&segments(&[3, 2, 1]), &full)), None);
        assert_eq!(boundary(&policy.judge(&segments(&[90, 2, 1]), &full)), Some(PhysicalOffset(100)));
    }

    #[test]
    fn a_topics_reserve_time_is_a_floor_for_the_segments_that_hold_its_messages() {
        let mut old = segments(&[100, 90, 80, 1]);
        old[1].reserved = Some(("audit".to_owned(), 91));
        assert_eq!(cut(&old, AT_FOUR), Some(100));
        old[1].reserved = Some(("audit".to_owned(), 90));
        assert_eq!(cut(&old, AT_FOUR), Some(300));
        old[1].reserved = Some(("audit".to_owned(), 1));
        assert_eq!(cut(&segments(&[71, 1]), AT_FOUR), None, "a shorter one changes nothing");
        old[0].reserved = Some(("audit".to_owned(), 8760));
        let full = Moment { space: Space { available: 0, total: 100 }, ..AT_FOUR };
        assert_eq!(cut(&old, full), None, "not even for a full volume");
    }

    #[test]
    fn every_segment_has_its_reason() {
        let mut all = segments(&[100, 90, 80, 1]);
        all[1].reserved = Some(("audit".to_owned(), 200));
        let told: Vec<_> = Policy::default()
            .judge(&all, &AT_FOUR)
            .into_iter()
            .map(|verdict| format!("{} {} {}", verdict.start, verdict.reason.goes(), verdict.reason))
            .collect();
        assert_eq!(
            told,
            [
                "0 true its last message is 100 h old, kept are 72 h",
                "100 false its last message is 90 h old, topic audit keeps 200 h (reserve.time)",
                "200 false an older one stays",
                "300 false an older one stays",
            ]
        );
    }
}
