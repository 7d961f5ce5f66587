//! Bounds: what waits in a node's memory stays below its limits, however long a disk stalls or a member is gone.

use quorumq_raft::machine::Machine as _;

use super::{Invariant, View};

/// Bytes of frames appended and not done: what the proposer's gate lets in (16 MiB by default), and what one message may
/// be beyond it.
const PENDING_BYTES: u64 = 20 << 20;
/// ConsumeQueue units in memory: a flush is queued at 100,000, and what is applied until it is done comes on top.
const UNFLUSHED_UNITS: usize = 200_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Bounds;

fn check(pending_bytes: u64, unflushed: usize) -> Result<(), String> {
    if pending_bytes > PENDING_BYTES {
        return Err(format!("{pending_bytes} bytes wait for the disk; at most {PENDING_BYTES} may"));
    }
    if unflushed > UNFLUSHED_UNITS {
        return Err(format!("{unflushed} ConsumeQueue units are in memory alone; at most {UNFLUSHED_UNITS} may be"));
    }
    Ok(())
}

impl Invariant for Bounds {
    fn name(&self) -> &'static str {
        "bounds"
    }

    fn step(&mut self, view: &View) -> Result<(), String> {
        for (_, group, seat, member) in view.running() {
            let checked = check(member.positions().pending_bytes, member.machine().unflushed());
            checked.map_err(|what| format!("{} at {}: {what}", group.name, seat.ip))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_in_memory_is_noticed() {
        assert_eq!(check(PENDING_BYTES, UNFLUSHED_UNITS), Ok(()));
        assert!(check(PENDING_BYTES + 1, 0).unwrap_err().contains("wait for the disk"));
        assert!(check(0, UNFLUSHED_UNITS + 1).unwrap_err().contains("in memory alone"));
    }
}
