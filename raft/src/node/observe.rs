//! What a node tells of itself: without a wait, and without a change.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use quorumq_store::identity::Identity;
use quorumq_store::log_store::{Entry, Positions, Promise, StoreTimes, Vote};
use quorumq_store::{LogId, LogIndex, StoreError};

use super::{Node, leadership_of};
use crate::machine::Machine;
use crate::peer::handshake::LocalPeer;
use crate::runtime::Runtime;
use crate::service::AppHandler;
use crate::state_machine::Shared;
use crate::types::{Member, NodeId, Types, from_raft_vote};
use crate::wire::store_id;

impl<R: Runtime, M: Machine> Node<R, M> {
    /// Who this node is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
    /// This node's id.
    pub fn id(&self) -> NodeId {
        self.core.id
    }
    /// Where it listens for peers.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer_addr
    }
    /// The machine, for reads. Hold the guard briefly, never over an await.
    pub fn machine(&self) -> std::sync::RwLockReadGuard<'_, M> {
        self.core.shared.read()
    }
    /// The machine's shell.
    pub fn shared(&self) -> Arc<Shared<M>> {
        Arc::clone(&self.core.shared)
    }
    /// Reads record bytes at or below applied.
    ///
    /// # Errors
    /// Out of the log's range, damaged there (which is repaired), or the disk failed.
    pub fn bytes(&self, at: quorumq_store::PhysicalOffset, len: u32) -> Result<Bytes, StoreError> {
        self.core.store.bytes(at, len).inspect_err(|e| self.core.suspects.tell(e))
    }
    /// Whether a read of record bytes at `at` is answered from memory or page cache.
    pub fn is_hot(&self, at: quorumq_store::PhysicalOffset) -> bool {
        self.core.store.is_hot(at)
    }
    /// Room for an entry with a body of `bytes`. Asked for before its proposal, kept until its outcome.
    ///
    /// # Errors
    /// Why there is none.
    pub fn room(&self, bytes: u64) -> Result<Promise, String> {
        self.core.room(bytes)
    }

    /// The same without the reserve: for small entries that go on while the volume is nearly full. What is allocated is
    /// there for them, once [`Node::room`] keeps the large ones away.
    ///
    /// # Errors
    /// Why there is none.
    pub fn room_at_all(&self, bytes: u64) -> Result<Promise, String> {
        self.core.room_at_all(bytes)
    }
    /// Why this node, if it leads, cannot get an entry stored by a majority: too many others have no room.
    pub fn no_majority(&self) -> Option<String> {
        self.core.no_majority()
    }
    /// Notes the times for RocketMQ's `checkpoint` file; see [`LogStore::note_times`].
    pub fn note_times(&self, times: StoreTimes) {
        self.core.store.note_times(times);
    }
    /// Where the log stands.
    pub fn positions(&self) -> Positions {
        self.core.store.positions()
    }
    /// How often entries were dropped from the end of the log since the process started.
    pub fn truncations(&self) -> u64 {
        self.core.store.truncations()
    }

    /// Whether the start of this process cut a torn tail off the log.
    pub fn had_torn_tail(&self) -> bool {
        self.core.store.had_torn_tail()
    }
    /// Entries of the log that are in memory; see [`LogStore::entries_in_memory`].
    pub fn entries_in_memory(&self, range: Range<LogIndex>) -> Vec<Entry> {
        self.core.store.entries_in_memory(range)
    }
    /// Who this process is, for handshakes of its own.
    pub fn local_peer(&self) -> LocalPeer {
        self.core.peers.local().clone()
    }
    /// Answers calls of peers' applications.
    pub fn set_handler(&self, handler: AppHandler) {
        // A second handler would be a bug of the caller; the first stays.
        let _ = self.core.handler.set(handler);
    }

    /// The last vote this node has taken in, durable or not yet.
    pub fn vote(&self) -> Option<Vote> {
        self.core.store.vote()
    }
    /// The last vote this node has made durable.
    pub fn durable_vote(&self) -> Vote {
        let metrics = self.core.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        from_raft_vote(&metrics.vote)
    }
    /// The term and the leader this node knows of.
    pub fn leadership(&self) -> (u64, Option<NodeId>) {
        let metrics = self.core.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        leadership_of(&metrics.vote, metrics.current_leader)
    }
    /// Whether this node leads, by its own knowledge.
    pub fn is_leader(&self) -> bool {
        self.leadership().1 == Some(self.core.id)
    }
    /// What the membership knows of a node.
    pub fn member(&self, id: NodeId) -> Option<Member> {
        self.core.member(id)
    }
    /// Members of the group: id, member, whether it votes.
    pub fn members(&self) -> Vec<(NodeId, Member, bool)> {
        self.core.members()
    }
    /// The sets of voters a majority of each of which decides: two while a change of membership is under way.
    pub fn voter_sets(&self) -> Vec<BTreeSet<NodeId>> {
        let metrics = self.core.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().get_joint_config().clone()
    }
    /// Changes of term, leader, state or membership.
    pub fn leadership_changes(
        &self,
    ) -> openraft::alias::WatchReceiverOf<Types<R, M>, openraft::metrics::RaftServerMetrics<Types<R, M>>> {
        self.core.raft.server_metrics()
    }

    /// Last applied entry.
    pub fn applied(&self) -> Option<LogId> {
        let metrics = self.core.raft.data_metrics();
        let metrics = metrics.borrow_watched();
        store_id(metrics.last_applied.as_ref())
    }
}
