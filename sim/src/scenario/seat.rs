//! Where a node of the product runs: a host of the world and the disk in it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use quorumq_raft::state_machine::Place;

use super::address;
use crate::disk::SimDisk;
use crate::runtime::SimRng;
use crate::tally::Fault;
use crate::world::{Death, Node, World};

/// The store's directory on every disk.
pub const DIR: &str = "/store";
/// Bytes that a node keeps free on its volume: diskSpaceReserveBytes.
pub const RESERVE: u64 = 64 << 10;

/// A host and its disk. The disk outlives the host's processes.
#[derive(Clone, Debug)]
pub struct Seat {
    host: Node,
    disk: SimDisk,
}

impl Seat {
    /// The `n`-th host of a scenario, with an empty disk.
    #[must_use]
    pub fn new(world: &World, n: u8) -> Self {
        Self::at(world, address(n))
    }

    /// A host at an address, with an empty disk.
    #[must_use]
    pub fn at(world: &World, ip: IpAddr) -> Self {
        Self { host: world.add_node(ip), disk: SimDisk::new(ip, RESERVE) }
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Node {
        &self.host
    }

    /// The disk as a process that starts now finds it.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { disk: self.disk.mount(), dir: PathBuf::from(DIR), reserve_bytes: RESERVE }
    }

    /// The disk.
    #[must_use]
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// From now on the disk fails after `operations` more changes: the process is about to end in the middle of them.
    pub fn doom(&self, operations: u64) {
        self.disk.crash_after(operations);
    }

    /// Whether [`Seat::doom`] has come true: what the node says of its disk is no news then.
    pub fn is_doomed(&self) -> bool {
        self.disk.is_frozen()
    }

    /// Everything on the disk is lost. Its host is down.
    pub fn wipe(&self) {
        self.disk.wipe();
    }

    /// Ends the host's process or its power. What the disk had not synced survives the first, and of the second what
    /// `rng` spares.
    pub fn kill(&self, death: Death, rng: &mut SimRng) {
        self.host.kill(death);
        self.end_disk(death, rng);
    }

    /// As [`Seat::kill`], as a part of `fault`.
    pub fn kill_for(&self, fault: Fault, death: Death, rng: &mut SimRng) {
        self.host.kill_for(fault, death);
        self.end_disk(death, rng);
    }

    fn end_disk(&self, death: Death, rng: &mut SimRng) {
        match death {
            Death::Crash => self.disk.kill(),
            Death::PowerLoss => {
                self.disk.lose_power(rng);
            }
        }
    }

    /// Bytes `from..to` of the CommitLog as they are on the disk.
    ///
    /// # Errors
    /// A segment is missing or too short.
    pub fn commit_log(&self, from: u64, to: u64, segment_size: u64) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        for start in (from / segment_size * segment_size..to).step_by(usize::try_from(segment_size).unwrap_or(1)) {
            let path = Path::new(DIR).join("commitlog").join(format!("{start:020}"));
            let segment = self.disk.medium().content(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            let range = from.saturating_sub(start) as usize..(to - start).min(segment_size) as usize;
            let wanted = segment.get(range).ok_or_else(|| format!("{} is too short", path.display()))?;
            bytes.extend_from_slice(wanted);
        }
        Ok(bytes)
    }
}

/// Compares the CommitLogs of `seats` on the range that all of them hold, given each one's first and end offset.
///
/// # Errors
/// Where the first difference is, or that there is no common range.
pub fn compare_commit_logs(seats: &[(&Seat, u64, u64)], segment_size: u64) -> Result<u64, String> {
    let from = seats.iter().map(|(_, first, _)| *first).max().unwrap_or_default();
    let to = seats.iter().map(|(_, _, end)| *end).min().unwrap_or_default();
    if from >= to {
        return Err(format!("no common range of the CommitLog: {from}..{to}"));
    }
    let mut logs = Vec::new();
    for (seat, ..) in seats {
        logs.push((seat.host().ip(), seat.commit_log(from, to, segment_size)?));
    }
    let Some(((one, expected), others)) = logs.split_first() else { return Ok(0) };
    for (other, found) in others {
        if let Some(at) = expected.iter().zip(found).position(|(a, b)| a != b) {
            return Err(format!("the CommitLogs of {one} and {other} differ at {}", from + at as u64));
        }
    }
    Ok(to - from)
}
