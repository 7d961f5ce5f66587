//! Heartbeats (34): how brokers know their clients; and leave (35).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use openraft_rt::Select2;
use quorumq_raft::runtime::Runtime;

use super::core::Core;
use super::route::Group;
use crate::protocol::Command;
use crate::protocol::ExtFields;
use crate::protocol::body;
use crate::protocol::body::heartbeat::HeartbeatData;
use crate::protocol::code::{request, response};
use crate::protocol::header::consumer::UnregisterClientRequest;

/// When the first heartbeat is sent: by then a producer has sent something and knows its groups (RocketMQ: 1 s).
const FIRST: Duration = Duration::from_secs(1);

/// How long leaving may take: a client that is closed does not wait for a broker that hangs.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);

/// Who hears the heartbeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// The leaders: enough for a producer.
    Leaders,
    /// All members: any of them may have to tell a consumer of a change.
    Members,
}

/// Sends heartbeats until the client is closed.
pub(super) async fn keep_up<R: Runtime>(core: Arc<Core<R>>, whom: Whom, data: HeartbeatData) {
    let stop = core.stopped();
    let mut pause = FIRST.min(core.options.heartbeat_interval);
    loop {
        let round = async {
            R::sleep(pause).await;
            beat(&core, whom, &data).await;
        };
        match R::select2(stop.cancelled(), round).await {
            Select2::First(()) => return,
            Select2::Second(()) => {}
        }
        pause = core.options.heartbeat_interval;
    }
}

/// Sends one round of heartbeats, to all at once: one broker that hangs delays nobody's.
pub(super) async fn beat<R: Runtime>(core: &Core<R>, whom: Whom, data: &HeartbeatData) {
    let heartbeat = core.request(request::HEART_BEAT, ExtFields::default()).with_body(body::encode(data));
    let groups = core.routes.groups();
    let timeout = core.options.api_timeout;
    join_all(targets(&groups, whom).map(|(group, addr)| tell(core, group, addr, &heartbeat, timeout))).await;
}

/// Takes leave of every broker.
pub(super) async fn leave<R: Runtime>(core: &Core<R>, producer_group: Option<&str>, consumer_group: Option<&str>) {
    let header = UnregisterClientRequest { client_id: &core.client_id, producer_group, consumer_group };
    let leaving = core.request(request::UNREGISTER_CLIENT, header.encode());
    let groups = core.routes.groups();
    // A producer is known to leaders, but who leads may have changed since.
    join_all(targets(&groups, Whom::Members).map(|(group, addr)| tell(core, group, addr, &leaving, LEAVE_TIMEOUT)))
        .await;
}

fn targets<R: Runtime>(groups: &[Arc<Group<R>>], whom: Whom) -> impl Iterator<Item = (&Arc<Group<R>>, SocketAddr)> {
    let of = move |group: &Arc<Group<R>>| match whom {
        Whom::Leaders => group.leader().into_iter().collect(),
        Whom::Members => group.members(),
    };
    groups.iter().flat_map(move |group| of(group).into_iter().map(move |addr| (group, addr)))
}

async fn tell<R: Runtime>(core: &Core<R>, group: &Group<R>, addr: SocketAddr, what: &Command, timeout: Duration) {
    match core.connections.get(addr).call(what, timeout).await {
        Ok(answer) => {
            group.learn(&answer.ext);
            if answer.code != response::SUCCESS {
                tracing::debug!(%addr, code = answer.code, remark = answer.remark, "a heartbeat was refused");
            }
        }
        // The next one is due soon, and requests notice a dead broker by themselves.
        Err(error) => tracing::debug!(%error, "a heartbeat got no answer"),
    }
}
