//! What every log must do, on every disk.

use super::rig::{Rig, SMALL, entry, id, vote};
use super::{Check, Medium, Outcome, because, holds, same};
use crate::log_store::FlushMode;
use crate::{LogId, LogIndex, PhysicalOffset, StoreError};

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check { name: "entries survive a restart", run: entries_survive_a_restart },
        Check { name: "positions are assigned at once", run: positions_are_assigned_at_once },
        Check { name: "truncated entries never come back", run: truncated_entries_never_come_back },
    ]
}

fn ids(term: u64, range: std::ops::Range<u64>) -> Vec<LogId> {
    range.map(|index| id(term, index)).collect()
}

fn entries_survive_a_restart(medium: &dyn Medium) -> Outcome {
    let rig = Rig::small(medium)?;
    rig.fill(1, 20, 500)?;
    rig.save_vote(vote(3))?;
    rig.log.save_committed(id(1, 9));
    rig.sync()?;
    rig.expect(&ids(1, 0..20))?;
    let rig = rig.kill(medium)?;
    rig.expect(&ids(1, 0..20))?;
    same(rig.recovered.vote, Some(vote(3)), "vote")?;
    same(rig.recovered.committed, Some(id(1, 9)), "committed")?;
    same(rig.recovered.clean, false, "clean")?;
    rig.close()?;
    let rig = Rig::small(medium)?;
    same(rig.recovered.clean, true, "clean")?;
    same(rig.recovered.torn_tail, None, "torn tail")?;
    rig.expect(&ids(1, 0..20))
}

fn positions_are_assigned_at_once(medium: &dyn Medium) -> Outcome {
    let rig = Rig::small(medium)?;
    let batch = vec![entry(id(1, 0), 1000), entry(id(1, 1), 1000), entry(id(1, 2), 1000), entry(id(1, 3), 1000)];
    let positions = because(rig.log.append(batch, rig.finished.done("append")), "append")?;
    same(positions, [0, 1048, 2096, 4096].map(PhysicalOffset).to_vec(), "positions")?;
    rig.expect(&ids(1, 0..4))?;
    same(rig.log.positions().pending_bytes, 4 * 1048, "pending bytes")?;
    same(rig.log.positions().synced, None, "synced")?;
    rig.run()?;
    same(rig.log.positions().pending_bytes, 0, "pending bytes")?;
    same(rig.log.positions().synced, Some(id(1, 3)), "synced")?;
    let gap = rig.log.append(vec![entry(id(1, 5), 10)], rig.finished.done("gap"));
    holds(matches!(gap, Err(StoreError::Contract(_))), "a gap must be refused")?;
    let large = rig.log.append(vec![entry(id(1, 4), 1025)], rig.finished.done("large"));
    holds(matches!(large, Err(StoreError::Contract(_))), "a too large entry must be refused")
}

fn truncated_entries_never_come_back(medium: &dyn Medium) -> Outcome {
    let rig = Rig::small(medium)?;
    rig.fill(1, 12, 700)?;
    rig.log.save_committed(id(1, 1));
    rig.truncate(Some(id(1, 4)))?;
    rig.expect(&ids(1, 0..5))?;
    let below = rig.log.truncate_after(Some(id(1, 0)), rig.finished.done("below"));
    holds(matches!(below, Err(StoreError::Contract(_))), "truncating committed entries must be refused")?;
    let rig = rig.kill(medium)?;
    rig.expect(&ids(1, 0..5))?;
    rig.fill(2, 2, 100)?;
    let rig = rig.kill(medium)?;
    rig.expect(&[ids(1, 0..5), ids(2, 5..7)].concat())?;
    let _ = (SMALL, FlushMode::Sync, LogIndex(0));
    Ok(())
}
