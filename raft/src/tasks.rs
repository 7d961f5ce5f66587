//! A node's background tasks, all ended with it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::async_runtime::watch::WatchReceiver;
use quorumq_store::log_store::{BackgroundSync, FlushMode};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::fatal::{told, told_async};
use crate::machine::Machine;
use crate::node::leadership_of;
use crate::peer::message::Purpose;
use crate::runtime::{Runtime, Serial};
use crate::service::Core;
use crate::state_machine::OnFatal;
use crate::types::from_raft_log_id;

/// Pause between looks at the links to peers.
const LINK_PAUSE: Duration = Duration::from_millis(250);
/// The synced mark becomes durable at least this often.
const MARK_INTERVAL: Duration = Duration::from_millis(1000);
/// Retention is looked at this often even if nobody asks.
const RETAIN_INTERVAL: Duration = Duration::from_secs(5);

/// Spawns tasks that end when the node stops. A panic in one of them ends the node.
pub struct Tasks<R> {
    stop: CancellationToken,
    on_fatal: OnFatal,
    _runtime: std::marker::PhantomData<fn() -> R>,
}

impl<R: Runtime> Tasks<R> {
    pub fn new(stop: CancellationToken, on_fatal: OnFatal) -> Self {
        Self { stop, on_fatal, _runtime: std::marker::PhantomData }
    }
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let (stop, on_fatal) = (self.stop.clone(), Arc::clone(&self.on_fatal));
        drop(R::spawn(async move {
            let _ = R::select2(stop.cancelled(), told_async(on_fatal, "a task of the node", task)).await;
        }));
    }
}

/// Keeps a control connection to every peer, so that a lost one tells of a dead process.
pub async fn keep_links<R: Runtime, M: Machine>(core: Arc<Core<R, M>>) {
    loop {
        let others: Vec<_> = core.members().into_iter().filter(|(id, ..)| *id != core.id).collect();
        join_all(others.iter().map(|(id, member, _)| {
            let core = &core;
            async move {
                if let Ok((_, process)) = core.peers.link(*id, member, Purpose::Control).await {
                    core.processes.note(*id, process);
                }
            }
        }))
        .await;
        R::sleep(LINK_PAUSE).await;
    }
}

/// Ends the process when the Raft core has stopped: a panic or a storage error inside leaves the process up otherwise.
/// Once `stop` is cancelled the core is meant to stop.
pub async fn watch_fatal<R: Runtime, M: Machine>(core: Arc<Core<R, M>>, stop: CancellationToken) {
    let mut metrics = core.raft.metrics();
    let tell = |reason: String| {
        if !stop.is_cancelled() {
            (core.on_fatal)(reason);
        }
    };
    loop {
        let state = metrics.borrow_watched().running_state.clone();
        if let Err(fatal) = state {
            // The disk's own words, where it is the cause.
            let failure = core.store.failure().map(|e| e.to_string());
            tell(failure.unwrap_or_else(|| format!("the Raft core has stopped: {fatal}")));
            return;
        }
        if metrics.changed().await.is_err() {
            tell("the Raft core has gone".to_owned());
            return;
        }
    }
}

/// Syncs on a timer in ASYNC_FLUSH, and keeps the durable synced mark fresh in both modes.
pub async fn persist_marks<R: Runtime, M: Machine>(core: Arc<Core<R, M>>, flush: FlushMode, interval_ms: u64) {
    // One of its own: the disk thread has appends to write.
    let thread = (flush == FlushMode::Async).then(|| R::serial("quorumq-sync"));
    loop {
        match &thread {
            Some(thread) => {
                R::sleep(Duration::from_millis(interval_ms)).await;
                sync_beside(&core, thread).await;
                core.store.retry_room();
            }
            None => {
                R::sleep(MARK_INTERVAL).await;
                core.store.persist_mark();
            }
        }
        // The next append would end the node too; without one it would lead on, and could acknowledge nothing.
        if let Some(e) = core.store.failure() {
            (core.on_fatal)(e.to_string());
            return;
        }
    }
}

/// Makes durable what is written, while the disk thread goes on with appends.
async fn sync_beside<R: Runtime, M: Machine>(core: &Arc<Core<R, M>>, thread: &R::Serial) {
    let (done, waiting) = oneshot::channel();
    let (store, on_fatal) = (Arc::clone(&core.store), Arc::clone(&core.on_fatal));
    thread.submit(Box::new(move || {
        told(&on_fatal, "the sync thread", || {
            // A failure has poisoned the store, and is found there.
            let _ = store.sync_mark().and_then(|()| store.begin_sync().map_or(Ok(()), BackgroundSync::run));
        });
        let _ = done.send(());
    }));
    // An error means that the thread is gone with the node.
    let _ = waiting.await;
}

/// Logs elections: one line when the leader or term this node knows of changes.
pub async fn log_elections<R: Runtime, M: Machine>(core: Arc<Core<R, M>>) {
    let mut metrics = core.raft.server_metrics();
    let mut known = (0, None);
    loop {
        let now = {
            let metrics = metrics.borrow_watched();
            leadership_of(&metrics.vote, metrics.current_leader)
        };
        if now != known {
            match now.1 {
                Some(leader) => tracing::info!(term = now.0, leader, me = core.id, "leader elected"),
                None => tracing::info!(term = now.0, me = core.id, "no leader"),
            }
            known = now;
        }
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

/// Cuts the log at the machine's retention boundary: snapshot first, then purge up to it.
pub async fn retain<R: Runtime, M: Machine>(core: Arc<Core<R, M>>, asked: Arc<Notify>) {
    loop {
        let boundary = core.shared.read().retained_from();
        if boundary > core.store.positions().first {
            let before = core.raft.metrics().borrow_watched().snapshot;
            if core.raft.trigger().snapshot().await.is_err() {
                return;
            }
            R::sleep(LINK_PAUSE).await;
            let snapshot = core.raft.metrics().borrow_watched().snapshot;
            if let Some(snapshot) = snapshot.filter(|s| Some(*s) >= before) {
                let upto = from_raft_log_id(&snapshot);
                if Some(upto) > core.store.positions().purged {
                    tracing::info!(%upto, "purging the log");
                    let _ = core.raft.trigger().purge_log(upto.index.0).await;
                }
            }
        }
        let _ = R::timeout(RETAIN_INTERVAL, asked.notified()).await;
    }
}
