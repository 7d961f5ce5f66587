//! A node that may have lost what it had acknowledged neither votes nor stands for election.
//!
//! With ASYNC_FLUSH it acknowledges from the page cache; when the machine goes down, the last of that is gone. The entries
//! were counted for majorities all the same: with this node's vote, a leader could be elected that lacks them. So it waits
//! until a leader that lives tells how far its log goes, and votes again once it holds that, committed and synced. A leader
//! that can tell was elected without this node's vote, and holds all that was committed with its help.
//!
//! What is committed at that moment would not do: a leader may count this node for more than that, by what it had
//! acknowledged before it went down, and commit it later. None of that is behind the end of the leader's log.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use quorumq_store::LogIndex;
use quorumq_store::mutant::{Mutant, planted};

use crate::health::Bar;
use crate::log_storage::finish;
use crate::machine::Machine;
use crate::runtime::Runtime;
use crate::service::Core;

/// Pause between looks.
const LOOK: Duration = Duration::from_millis(100);

impl<R: Runtime, M: Machine> Core<R, M> {
    /// Whether this node may lack entries that it has acknowledged.
    pub fn is_unproven(&self) -> bool {
        self.store.is_unproven() && !planted(Mutant::UnprovenVotes)
    }

    /// Whether the log holds everything up to `index`, committed and synced.
    fn holds(&self, index: LogIndex) -> bool {
        let positions = self.store.positions();
        let reached = |at: Option<quorumq_store::LogId>| at.is_some_and(|at| at.index >= index);
        reached(positions.committed) && reached(positions.synced)
    }

    /// How far the log of a leader goes that a majority confirms after it has told; not before its own first entry is
    /// committed.
    async fn told_by_a_leader(&self) -> Option<Told> {
        let leader = self.raft.server_metrics().borrow_watched().current_leader.filter(|leader| *leader != self.id)?;
        let status = self.ask_status(leader, &self.member(leader)?).await.ok()?;
        let read = self.ask_read_index(leader).await.ok()??;
        let leads = status.leader == Some(leader) && status.term == read.0;
        let last = status.last.filter(|_| leads)?;
        Some(Told { term: status.term, index: LogIndex(last.1) })
    }

    /// Whether a later leader may have cut what this one told of.
    fn is_outdated(&self, told: Told) -> bool {
        self.raft.server_metrics().borrow_watched().vote.leader_id.term != told.term
    }
}

/// What a leader told of itself.
#[derive(Clone, Copy)]
struct Told {
    term: u64,
    /// Its last entry.
    index: LogIndex,
}

/// Ends when the node is proven.
pub async fn prove<R: Runtime, M: Machine>(core: Arc<Core<R, M>>) {
    if !core.is_unproven() {
        return;
    }
    tracing::warn!(
        "the machine went down while ASYNC_FLUSH was on: what this node had acknowledged may be lost. It neither votes nor \
         leads until it holds what the group has committed. If no leader can be elected: quorumq group recover"
    );
    let mut told: Option<Told> = None;
    let index = loop {
        match told {
            Some(told) if core.holds(told.index) => break told.index,
            Some(known) if !core.is_outdated(known) => {}
            _ => told = core.told_by_a_leader().await,
        }
        R::sleep(LOOK).await;
    };
    let proven = finish(|done| {
        core.store.set_proven(done);
        Ok(())
    });
    if let Err(e) = proven.await {
        (core.on_fatal)(e.to_string());
        return;
    }
    core.bar(Bar::Unproven, false);
    tracing::info!(%index, "this node holds what the group has committed: it votes again");
}
