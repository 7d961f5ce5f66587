//! Repair of a damaged CommitLog, below Raft: sound bytes are fetched by position from whatever member has them.
//!
//! The member asked need not lead, nor even run: one that is itself being repaired answers for what is sound. The asker
//! proves every byte before it writes one, see [`quorumq_store::repair`].

use std::time::Duration;

use bytes::Bytes;
use quorumq_store::repair::{BadRange, Patch, PatchError};
use quorumq_store::{PhysicalOffset, StoreError};

use crate::peer::message::{Purpose, Request, Response};
use crate::peer::peers::Peers;
use crate::runtime::Runtime;
use crate::types::{Member, NodeId};

pub mod running;
pub mod scrub;
pub mod start;
mod suspects;

pub use suspects::{Suspects, Told, is_damage};

/// Longest a member may take to answer with a piece.
const PIECE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a range is not filled.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// The member asked has no sound copy.
    #[error("node {0}: {1}")]
    Member(NodeId, String),
    /// The member asked did not answer.
    #[error("node {0}: {1}")]
    Silent(NodeId, String),
    /// This node's own disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Fills a range with the bytes of one member. Returns what was filled: more, where something within the range had looked
/// like its end.
///
/// # Errors
/// See [`FillError`].
pub async fn fill_from<R: Runtime>(
    peers: &Peers<R>,
    (id, member): (NodeId, &Member),
    mut patch: Patch,
) -> Result<BadRange, FillError> {
    loop {
        let wanted = patch.wanted();
        let bytes = ask(peers, (id, member), wanted.start, wanted.end).await?;
        let taken = R::offload(move || {
            let taken = patch.take(bytes);
            (patch, taken)
        });
        let (rest, taken) = taken.await.map_err(|e| FillError::Member(id, e.to_string()))?;
        patch = rest;
        match taken {
            Ok(true) => return Ok(patch.range().clone()),
            Ok(false) => {}
            Err(PatchError::Store(e)) => return Err(e.into()),
            Err(e @ PatchError::Refused { .. }) => return Err(FillError::Member(id, e.to_string())),
        }
    }
}

async fn ask<R: Runtime>(
    peers: &Peers<R>,
    (id, member): (NodeId, &Member),
    from: PhysicalOffset,
    to: PhysicalOffset,
) -> Result<Bytes, FillError> {
    let request = Request::Bytes { from: from.0, to: to.0 };
    match peers.call((id, member), Purpose::Repair, request, &[], PIECE_TIMEOUT).await {
        Ok((Response::Bytes, bytes)) => Ok(bytes),
        Ok((Response::Error(why), _)) => Err(FillError::Member(id, why)),
        Ok((other, _)) => Err(FillError::Member(id, format!("unexpected answer {other:?}"))),
        Err(e) => Err(FillError::Silent(id, e.to_string())),
    }
}

/// Answers a member that asks for bytes: `read` gives them.
pub async fn answer<R: Runtime>(
    read: impl FnOnce() -> Result<Bytes, StoreError> + Send + 'static,
) -> (Response, Vec<Bytes>) {
    match R::offload(read).await {
        Ok(Ok(bytes)) => (Response::Bytes, vec![bytes]),
        Ok(Err(e)) => (Response::Error(e.to_string()), Vec::new()),
        Err(e) => (Response::Error(e.to_string()), Vec::new()),
    }
}
