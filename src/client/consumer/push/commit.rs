//! Commits offsets: every 5 s, when a queue is given up, and on close.

use std::sync::Arc;

use futures_util::future::join_all;
use openraft_rt::Select2;
use quorumq_raft::runtime::Runtime;
use quorumq_store::QueueOffset;

use super::Shared;
use crate::client::consumer::process_queue::ProcessQueue;
use crate::client::queue::MessageQueue;

/// Commits every queue's offset each interval.
pub(super) async fn keep_up<R: Runtime>(shared: Arc<Shared<R>>) {
    let stop = shared.core.stopped();
    loop {
        let round = async {
            R::sleep(shared.options.commit_interval).await;
            let held = || shared.queues().iter().map(|(queue, process)| (queue.clone(), Arc::clone(process))).collect();
            let queues: Vec<_> = held();
            join_all(queues.iter().map(|(queue, process)| shared.commit(queue, process, process.due()))).await;
        };
        match R::select2(stop.cancelled(), round).await {
            Select2::First(()) => return,
            Select2::Second(()) => {}
        }
    }
}

impl<R: Runtime> Shared<R> {
    /// Commits an offset of a queue, if there is one to commit.
    pub(super) async fn commit(&self, queue: &MessageQueue, process: &ProcessQueue, offset: Option<QueueOffset>) {
        let Some(offset) = offset else { return };
        match self.core.commit(&self.options.group, queue, offset).await {
            Ok(_) => process.committed(offset),
            // Tried again with the next round; until then some messages might come twice.
            Err(error) => tracing::info!(%queue, %offset, %error, "an offset was not committed"),
        }
    }

    /// Gives a queue up: nothing more is pulled, listeners at work may end, what is consumed is committed.
    pub(super) async fn release(&self, queue: &MessageQueue, process: &ProcessQueue) {
        process.drop_it();
        if R::timeout(self.options.patience, process.idle()).await.is_err() {
            tracing::info!(%queue, "a listener is still at work while its queue is given up");
        }
        self.commit(queue, process, process.to_commit()).await;
    }
}
