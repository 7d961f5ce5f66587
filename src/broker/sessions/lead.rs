//! What the leader does with the clients of all nodes: waits for every node's report, drops silent nodes, tells all
//! nodes which groups changed.

use std::sync::Arc;
use std::time::Duration;

use quorumq_raft::peer::mux::CallError;
use quorumq_raft::runtime::Runtime;
use quorumq_raft::types::NodeId;

use super::union::Heard;
use crate::broker::Broker;

/// Pause after a look, in which changes gather.
const GATHER: Duration = Duration::from_millis(10);
/// How often it is looked without a cause: for silent nodes, and while reports are waited for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_UNSETTLED: Duration = Duration::from_millis(100);
/// How often the other nodes are asked whether they live.
const ASK_EVERY_MS: u64 = 1000;

/// Leads, while this node does, until the broker stops.
pub(super) async fn run<R: Runtime>(broker: &Arc<Broker<R>>) {
    let sessions = &broker.sessions;
    // The term in which the other nodes were asked whether they live, and when.
    let mut asked = None;
    loop {
        let me = broker.node.id();
        if broker.leadership.leader_id() != Some(me) {
            sessions.union().clear();
            sessions.lead.notified().await;
            continue;
        }
        let term = broker.leadership.term();
        let members: Vec<NodeId> = broker.node.members().iter().map(|(id, ..)| *id).collect();
        let now_ms = sessions.now_ms();
        if asked.is_none_or(|(in_term, at_ms)| in_term != term || now_ms >= at_ms + ASK_EVERY_MS) {
            asked = Some((term, now_ms));
            members.iter().filter(|id| **id != me).for_each(|id| ask(broker, *id, term));
        }
        let (changed, settled) = {
            let mut union = sessions.union();
            union.begin(term, now_ms);
            union.expire(now_ms);
            let settled = union.settle(members.iter().copied(), now_ms);
            (union.take_changed(), settled)
        };
        if settled {
            sessions.settled.notify_waiters();
        }
        if !changed.is_empty() {
            broker.notify_all(&members, &changed);
        }
        R::sleep(GATHER).await;
        let look = if settled { LOOK_EVERY } else { LOOK_UNSETTLED };
        let _ = R::timeout(look, sessions.lead.notified()).await;
    }
}

/// Asks a member whether it lives. It answers within a second or counts as not heard.
fn ask<R: Runtime>(broker: &Arc<Broker<R>>, id: NodeId, term: u64) {
    let asking = Arc::clone(broker);
    broker.spawn(async move {
        let heard = match asking.node.status_of(id).await {
            Ok(_) => Heard::Answer,
            Err(CallError::Unknown(_)) => Heard::Nothing,
            Err(CallError::NotSent(_)) => Heard::NotReached,
        };
        let sessions = &asking.sessions;
        {
            let mut union = sessions.union();
            if union.term() == Some(term) {
                union.asked(id, heard);
            }
        }
        if heard != Heard::Answer {
            tracing::debug!(node = id, ?heard, "asked a member whether it lives");
            sessions.lead.notify_one();
        }
    });
}
