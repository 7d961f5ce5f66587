//! Repair of the CommitLog below Raft: which bytes are bad, and how sound ones of another member take their place.
//!
//! ```text
//! frame frame ▒▒▒▒▒▒▒▒▒▒▒▒▒ frame frame
//!             from          to
//! ```
//!
//! A bad range starts behind the last sound frame and ends at the next one, or at the synced mark. Bytes for it are taken
//! only if they are frames, whole and sound, that chain to the frame before and that the frame behind chains to; at the
//! mark, if they end with the entry it names. Then they are the bytes that stood there, whoever sent them: no leader is
//! needed, and nothing has to be known of what is committed.

use std::path::Path;

use crate::{PhysicalOffset, StoreError, commit_log};

mod assess;
mod patch;
mod range;
mod scrub;

pub use assess::Damaged;
pub(crate) use assess::read_piece;
pub use patch::{Patch, PatchError};
pub use range::BadRange;
pub(crate) use range::Walk;
pub use scrub::Scrub;

/// Most bytes asked for, and answered, at once: they lie in one segment.
pub const MAX_PIECE: u64 = 1 << 20;

/// Where in the CommitLog an error found corrupt bytes; `None` for other errors, and for other files.
pub fn corrupt_position(e: &StoreError) -> Option<PhysicalOffset> {
    let StoreError::Corrupt { path, offset, .. } = e else { return None };
    let is_segment = path.parent().and_then(Path::file_name).is_some_and(|dir| dir == commit_log::DIR);
    let start = path.file_name().and_then(|name| commit_log::segment_start(name.to_str()?)).filter(|_| is_segment)?;
    Some(start + *offset)
}
