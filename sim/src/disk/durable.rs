//! What a loss of power at this moment would leave of a store: its hard state, and the frames it may count on.

use std::ops::Range;
use std::path::Path;

use quorumq_store::PhysicalOffset;
use quorumq_store::commit_log::segment_path;
use quorumq_store::disk::MemoryDisk;
use quorumq_store::frame::{HEADER_LEN, Header};
use quorumq_store::hard_state::{self, State, state_in};

/// The hard state of the store in `dir`, as far as it is durable.
///
/// # Errors
/// There is none, or no copy of it is sound.
pub fn hard_state(medium: &MemoryDisk, dir: &Path) -> Result<State, String> {
    let kept = MemoryDisk::new();
    let path = hard_state::path(dir);
    let copied = medium.durable(&path).and_then(|bytes| {
        let disk = kept.mount();
        disk.create_dir_all(dir)?;
        disk.create(&path, bytes.len() as u64)?.write_at(0, &[&bytes])
    });
    copied.map_err(|e| e.to_string())?;
    state_in(&*kept.mount(), dir).map_err(|e| e.to_string())
}

/// The frames of one segment whose entries the durable hard state calls committed, which is never past its synced mark:
/// the ranges they take up in the file. Damage there is no torn tail, and other members have the same bytes.
#[must_use]
pub fn committed_frames(medium: &MemoryDisk, dir: &Path, start: u64) -> Vec<Range<u64>> {
    let (mut frames, mut at) = (Vec::new(), 0);
    let committed = hard_state(medium, dir).ok().and_then(|state| state.committed);
    let content = medium.durable(&segment_path(dir, PhysicalOffset(start))).unwrap_or_default();
    while let Some(bytes) = content.get(at as usize..).and_then(|rest| rest.first_chunk::<{ HEADER_LEN as usize }>())
        && let Ok((header, _)) = Header::decode(bytes, PhysicalOffset(start + at))
        && Some(header.id) <= committed
    {
        let end = header.end().0 - start;
        frames.push(at..end);
        at = end;
    }
    frames
}
