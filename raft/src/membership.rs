//! Changing who is a member of the group, and how fast one that is new to it catches up.

use std::collections::BTreeSet;

use openraft::ChangeMembers;
use openraft::errors::{ClientWriteError, RaftError};

use crate::machine::Machine;
use crate::node::Node;
use crate::pace::CatchUp;
use crate::runtime::Runtime;
use crate::types::{Member, NodeId};

/// Why a change of the membership was not seen to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// It was not made, and will not be.
    #[error("{0}")]
    Refused(String),
    /// It, or its first half, is in a log: it may have been made, or may yet be.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

impl<R: Runtime, M: Machine> Node<R, M> {
    /// Adds a formatted node as a learner and waits until it has caught up. An error other than an unknown outcome leaves
    /// it a learner, or no member at all.
    ///
    /// # Errors
    /// This node does not lead, another change is under way, or the learner does not catch up.
    pub async fn add_learner(&self, id: NodeId, member: Member) -> Result<(), ChangeError> {
        let added = self.core.raft.add_learner(id, member, false).await;
        added.map_err(|e| change_error(e, true))?;
        self.core.caught_up(id).await.map_err(ChangeError::Refused)
    }

    /// Makes a learner a voter.
    ///
    /// # Errors
    /// This node does not lead, or another change is under way, or the outcome is unknown.
    pub async fn promote(&self, id: NodeId) -> Result<(), ChangeError> {
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id]))).await
    }

    /// Removes a member.
    ///
    /// # Errors
    /// As [`Self::promote`].
    pub async fn remove(&self, id: NodeId) -> Result<(), ChangeError> {
        let voter = self.members().iter().any(|(member, _, voter)| *member == id && *voter);
        let ids = BTreeSet::from([id]);
        self.change(if voter { ChangeMembers::RemoveVoters(ids) } else { ChangeMembers::RemoveNodes(ids) }).await
    }

    async fn change(&self, change: ChangeMembers<NodeId, Member>) -> Result<(), ChangeError> {
        // Voters change in two entries, with both majorities in between; whoever leads no more may have written the first.
        let single = matches!(change, ChangeMembers::RemoveNodes(_));
        let led = self.is_leader();
        let changed = self.core.raft.change_membership(change, false).await;
        changed.map(drop).map_err(|e| change_error(e, single || !led))
    }

    /// How fast this node, where it leads, catches up members that are far behind.
    pub fn catch_up(&self) -> CatchUp {
        self.core.pace.rate()
    }

    /// What its settings say of that.
    pub fn configured_catch_up(&self) -> CatchUp {
        self.core.pace.configured()
    }

    /// Changes it until the process ends.
    pub fn set_catch_up(&self, rate: CatchUp) {
        tracing::info!(?rate, "members that are far behind are caught up with at another rate");
        self.core.pace.set(rate);
    }
}

/// `untouched`: where this node does not lead, nothing of the change is in a log.
fn change_error<C>(e: RaftError<C, ClientWriteError<C>>, untouched: bool) -> ChangeError
where
    C: openraft::RaftTypeConfig,
{
    match e {
        RaftError::APIError(ClientWriteError::ForwardToLeader(to)) if untouched => ChangeError::Refused(to.to_string()),
        RaftError::APIError(ClientWriteError::ChangeMembershipError(e)) => ChangeError::Refused(e.to_string()),
        e => ChangeError::Unknown(e.to_string()),
    }
}
