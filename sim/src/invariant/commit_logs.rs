//! CommitLogs: at rest the files of all members are equal byte by byte, over the range that all of them hold.

use std::net::IpAddr;
use std::path::Path;

use quorumq_store::PhysicalOffset;
use quorumq_store::commit_log::segment_path;
use quorumq_store::disk::MemoryDisk;

use super::{GroupView, Invariant, View};
use crate::scenario::seat::DIR;

/// See the module.
#[derive(Debug, Default)]
pub struct CommitLogsEqual;

impl Invariant for CommitLogsEqual {
    fn name(&self) -> &'static str {
        "commit-logs-equal"
    }

    fn at_rest(&mut self, view: &View) -> Result<(), String> {
        view.groups.iter().try_for_each(|group| check(group).map_err(|what| format!("{}: {what}", group.name)))
    }
}

/// A member's log on its disk: its address, its disk, first byte and end.
struct Log<'a> {
    ip: IpAddr,
    disk: &'a MemoryDisk,
    first: u64,
    end: u64,
}

fn check(group: &GroupView) -> Result<(), String> {
    let logs = group.members().into_iter().map(|(seat, member)| {
        let positions = member.positions();
        Log { ip: seat.ip, disk: &seat.disk, first: positions.first.0, end: positions.end.0 }
    });
    compare(&logs.collect::<Vec<_>>(), group.segment_size)
}

fn compare(logs: &[Log<'_>], segment_size: u64) -> Result<(), String> {
    let Some((one, others)) = logs.split_first() else { return Ok(()) };
    let from = logs.iter().map(|log| log.first).max().unwrap_or_default();
    if let Some(other) = others.iter().find(|other| other.end != one.end) {
        return Err(format!("the log of {} ends at {}, that of {} at {}", one.ip, one.end, other.ip, other.end));
    }
    let mut start = from - from % segment_size;
    while start < one.end {
        let expected = segment(one, start)?;
        for other in others {
            let found = segment(other, start)?;
            if let Some(at) = expected.iter().zip(&found).position(|(a, b)| a != b) {
                return Err(format!("the CommitLogs of {} and {} differ at {}", one.ip, other.ip, start + at as u64));
            }
            if expected.len() != found.len() {
                return Err(format!("segment {start} of {} and {} has different lengths", one.ip, other.ip));
            }
        }
        start += segment_size;
    }
    Ok(())
}

/// A segment's bytes. Behind the log's end they are zero, on all alike.
fn segment(log: &Log<'_>, start: u64) -> Result<Vec<u8>, String> {
    let path = segment_path(Path::new(DIR), PhysicalOffset(start));
    log.disk.content(&path).map_err(|e| format!("{}: {}: {e}", log.ip, path.display()))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn disk(segments: &[&[u8]]) -> MemoryDisk {
        let disk = MemoryDisk::new();
        for (n, bytes) in (0..).zip(segments) {
            let path = segment_path(Path::new(DIR), PhysicalOffset(n * 4));
            disk.mount().create_dir_all(path.parent().unwrap()).unwrap();
            disk.mount().create(&path, 4).unwrap().write_at(0, &[bytes]).unwrap();
        }
        disk
    }

    fn log(disk: &MemoryDisk, n: u8, first: u64, end: u64) -> Log<'_> {
        Log { ip: Ipv4Addr::new(10, 0, 0, n).into(), disk, first, end }
    }

    #[test]
    fn the_common_range_is_compared() {
        let (one, two) = (disk(&[b"abcd", b"efgh", b"i"]), disk(&[b"xxxx", b"efgh", b"i"]));
        assert_eq!(compare(&[log(&one, 1, 0, 9), log(&two, 2, 4, 9)], 4), Ok(()));
        let all = compare(&[log(&one, 1, 0, 9), log(&two, 2, 0, 9)], 4).unwrap_err();
        assert_eq!(all, "the CommitLogs of 10.0.0.1 and 10.0.0.2 differ at 0");
        let shorter = compare(&[log(&one, 1, 0, 9), log(&two, 2, 4, 8)], 4).unwrap_err();
        assert_eq!(shorter, "the log of 10.0.0.1 ends at 9, that of 10.0.0.2 at 8");
        let three = disk(&[b"abcd", b"efgH", b"i"]);
        assert!(compare(&[log(&one, 1, 0, 9), log(&three, 3, 0, 9)], 4).unwrap_err().ends_with("differ at 7"));
        let less = disk(&[b"abcd", b"efgh"]);
        assert!(compare(&[log(&one, 1, 0, 9), log(&less, 3, 0, 9)], 4).unwrap_err().contains("10.0.0.3"));
    }
}
