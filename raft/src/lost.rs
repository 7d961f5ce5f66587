//! A dead leader is noticed by its lost connection, not by a timeout.
//!
//! openraft refuses votes until the leader's lease (= election_timeout_max) has run out. When the leader's process
//! is gone for certain (its port refuses connections, or another process answers there), waiting is of no use: this
//! node drops its own lease and, after a short random pause, asks for pre-votes. A voter that still hears the leader
//! keeps its lease and refuses, so one node that lost only its own connection deposes nobody. Reads use ReadIndex,
//! never a lease, so dropping one is safe.

use std::sync::Arc;
use std::time::Duration;

use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::TransferLeaderRequest;
use rand::RngExt;
use tokio::sync::mpsc;

use crate::health::Fitness;
use crate::machine::Machine;
use crate::peer::handshake::DialError;
use crate::peer::message::Purpose;
use crate::peer::peers::Peers;
use crate::peer::server::Processes;
use crate::runtime::Runtime;
use crate::state_machine::Shell;
use crate::types::{Member, NodeId, Types};

/// Random pause before asking for votes, so that two followers do not split them.
const MAX_PAUSE_MS: u64 = 30;
/// Shortest pause between attempts while no other leader is known: an election that goes well is over by then.
const RETRY_MS: u64 = 40;
/// Random addition to it, so that votes that were split once are not split again.
const RETRY_JITTER_MS: u64 = 60;
/// Attempts before the ordinary election timeout is left to do its work.
const ATTEMPTS: usize = 25;

/// Watches for the leader's death.
pub struct LeaderWatch<R: Runtime, M: Machine> {
    pub raft: Raft<Types<R, M>, Shell<R, M>>,
    pub peers: Arc<Peers<R>>,
    pub processes: Arc<Processes>,
    pub fitness: Arc<Fitness>,
    pub me: NodeId,
}

impl<R: Runtime, M: Machine> LeaderWatch<R, M> {
    /// Handles lost connections until the sender is gone.
    pub async fn run(self, mut lost: mpsc::Receiver<NodeId>) {
        while let Some(id) = lost.recv().await {
            if id == self.me || !self.follows(id) {
                continue;
            }
            if let Some(member) = self.member(id)
                && self.is_gone(id, &member).await
            {
                tracing::info!(leader = id, "the leader's process is gone; asking for votes");
                self.succeed(id).await;
            }
        }
    }

    fn follows(&self, id: NodeId) -> bool {
        self.raft.metrics().borrow_watched().current_leader == Some(id)
    }

    fn member(&self, id: NodeId) -> Option<Member> {
        self.raft.metrics().borrow_watched().membership_config.membership().get_node(&id).cloned()
    }

    /// Whether the process is gone for certain; a timeout or a lost route proves nothing.
    async fn is_gone(&self, id: NodeId, member: &Member) -> bool {
        match self.peers.dial(id, member, Purpose::Control).await {
            Err(DialError::Gone { .. }) => true,
            Ok(dialed) => self.processes.note(id, dialed.process).is_some(),
            Err(_) => false,
        }
    }

    /// Asks for votes until somebody leads.
    async fn succeed(&self, dead: NodeId) {
        self.pause(0, MAX_PAUSE_MS).await;
        let mut before = None;
        for _ in 0..ATTEMPTS {
            let (vote, leader, last) = {
                let metrics = self.raft.metrics();
                let metrics = metrics.borrow_watched();
                (metrics.vote, metrics.current_leader, metrics.last_applied)
            };
            let asks = match leader {
                Some(leader) if leader != dead => return,
                Some(_) => {
                    // Naming another node only drops this node's own lease.
                    let drop_lease = TransferLeaderRequest::new(vote, dead, last);
                    if self.raft.handle_transfer_leader(drop_lease).await.is_err() {
                        return;
                    }
                    true
                }
                // An election is under way, unless it was already at the last look: then votes were split.
                None => before == Some(vote),
            };
            // One that must not lead leaves it to the others.
            if asks && !self.fitness.is_barred() && self.raft.trigger().elect(true).await.is_err() {
                return;
            }
            before = Some(vote);
            self.pause(RETRY_MS, RETRY_MS + RETRY_JITTER_MS).await;
        }
    }

    async fn pause(&self, from_ms: u64, to_ms: u64) {
        let pause = R::thread_rng().random_range(from_ms..=to_ms);
        R::sleep(Duration::from_millis(pause)).await;
    }
}
