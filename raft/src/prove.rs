//! A node that may have lost what it had acknowledged neither votes nor stands for election.
//!
//! With ASYNC_FLUSH it acknowledges from the page cache; when the machine goes down, the last of that is gone. The entries
//! were counted for majorities all the same: with this node's vote, a leader could be elected that lacks them. So it waits
//! until a leader that lives tells what is committed, and votes again once it holds that, synced. A leader that can tell
//! was elected without this node's vote, and holds all that was committed with its help.

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

    /// What a leader says, confirmed by a majority, of how far the log is committed; not before its own first entry.
    async fn told_by_a_leader(&self) -> Option<LogIndex> {
        let leader = self.raft.server_metrics().borrow_watched().current_leader.filter(|leader| *leader != self.id)?;
        let told = self.ask_read_index(leader).await.ok()??;
        Some(LogIndex(told.1))
    }
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
    let mut committed = None;
    loop {
        match committed {
            None => committed = core.told_by_a_leader().await,
            Some(index) if core.holds(index) => break,
            Some(_) => {}
        }
        R::sleep(LOOK).await;
    }
    let proven = finish(|done| {
        core.store.set_proven(done);
        Ok(())
    });
    if let Err(e) = proven.await {
        (core.on_fatal)(e.to_string());
        return;
    }
    core.bar(Bar::Unproven, false);
    tracing::info!(
        index = committed.map(|index| index.0),
        "this node holds what the group has committed: it votes again"
    );
}
