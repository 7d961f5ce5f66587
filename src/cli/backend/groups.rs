//! Broker groups: who leads, who is a member, what they hold.

use std::time::Duration;

use openraft_rt::AsyncRuntime;
use quorumq_raft::runtime::tokio::Tokio;

use super::cluster::{Cluster, PATIENCE};
use crate::broker::members::{GroupStatus, MemberStatus, UNREACHABLE};
use crate::cli::NameServers;
use crate::cli::error::CliError;
use crate::config::HostPort;
use crate::protocol::code::request;
use crate::protocol::{Command, ExtFields, body};

/// How often [`group_add`] tells how far it is.
const TELL_AGAIN: Duration = Duration::from_millis(500);
/// How often [`group_ready`] looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Status of one group, or of every group the NameServers know.
///
/// # Errors
/// No such group, or one of them has no leader.
pub(crate) async fn group_status(namesrv: &NameServers, group: Option<&str>) -> Result<Vec<GroupStatus>, CliError> {
    let cluster = Cluster::look(namesrv).await?;
    let names = group.map_or_else(|| cluster.groups(), |group| vec![group.to_owned()]);
    let mut found = Vec::new();
    for name in names {
        found.push(status(&cluster, &name).await?);
    }
    cluster.close().await;
    Ok(found)
}

async fn status(cluster: &Cluster, group: &str) -> Result<GroupStatus, CliError> {
    let answer = cluster.ask(group, request::GROUP_STATUS, ExtFields::default(), PATIENCE).await?;
    let bad =
        |e| CliError::failed(format!("{group} answered no group status: {e}"), "Check that it is a QuoruMQ broker.");
    body::decode(&answer.body).map_err(bad)
}

/// Waits until the group has a leader that is registered; its node id and term.
pub(crate) async fn group_ready(namesrv: &NameServers, group: &str) -> (u64, u64) {
    loop {
        if let Ok(found) = group_status(namesrv, Some(group)).await
            && let Some((leader, term)) = found.first().and_then(|status| Some((status.leader?, status.term)))
        {
            return (leader, term);
        }
        Tokio::sleep(LOOK_AGAIN).await;
    }
}

/// Adds the node that waits at this Raft address; answers the node id it got. `tell` gets what it still lacks, again and
/// again.
///
/// # Errors
/// The group refuses, or it is not done within `timeout`, or nobody knows whether it was.
pub(crate) async fn group_add(
    namesrv: &NameServers,
    group: &str,
    raft: &HostPort,
    timeout: Duration,
    mut tell: impl FnMut(&MemberStatus),
) -> Result<String, CliError> {
    let unknown = |e| CliError::failed(format!("{raft}: {e}"), "Give the host:port of the new node's Raft port.");
    let peer = raft.resolve().map_err(unknown)?.to_string();
    let cluster = Cluster::look(namesrv).await?;
    let ext = std::iter::once(("peer", peer.as_str())).collect();
    let adding = cluster.change(group, request::GROUP_ADD_MEMBER, ext, timeout);
    let telling = async {
        loop {
            Tokio::sleep(TELL_AGAIN).await;
            // It may not be a member yet, or the group between two leaders.
            let Ok(found) = status(&cluster, group).await else { continue };
            found.members.iter().filter(|member| member.peer_addr == peer).for_each(&mut tell);
        }
    };
    let added = match futures_util::future::select(std::pin::pin!(adding), std::pin::pin!(telling)).await {
        futures_util::future::Either::Left((added, _)) => added,
        futures_util::future::Either::Right((never, _)) => never,
    };
    cluster.close().await;
    Ok(added?.ext.get("nodeId").unwrap_or("?").to_owned())
}

/// Removes a member.
///
/// # Errors
/// The group refuses, or nobody answered, or nobody knows whether it was done.
pub(crate) async fn group_remove(namesrv: &NameServers, group: &str, id: u64) -> Result<(), CliError> {
    let id = id.to_string();
    let cluster = Cluster::look(namesrv).await?;
    let ext = std::iter::once(("nodeId", id.as_str())).collect();
    let removed = cluster.change(group, request::GROUP_REMOVE_MEMBER, ext, PATIENCE).await;
    cluster.close().await;
    removed.map(drop)
}

/// Hands leadership to the member `to`, or to the healthiest one; answers the node id of who leads then.
///
/// # Errors
/// The group refuses, or nobody answered, or nobody was seen to take over.
pub(crate) async fn group_transfer(namesrv: &NameServers, group: &str, to: Option<u64>) -> Result<String, CliError> {
    let to = to.map(|id| id.to_string());
    let cluster = Cluster::look(namesrv).await?;
    let ext = to.iter().map(|id| ("nodeId", id.as_str())).collect();
    let done = cluster.change(group, request::GROUP_TRANSFER, ext, PATIENCE).await;
    cluster.close().await;
    Ok(done?.ext.get("nodeId").unwrap_or("?").to_owned())
}

/// Drops whole CommitLog files below `before`, or the older half without it; answers where the log now starts.
///
/// # Errors
/// The group refuses, or nobody answered.
pub(crate) async fn group_purge(namesrv: &NameServers, group: &str, before: Option<u64>) -> Result<String, CliError> {
    let before = before.map(|offset| offset.to_string());
    let ext: Vec<_> = before.iter().map(|offset| ("offset", offset.as_str())).collect();
    let answer = ask(namesrv, group, request::PURGE_LOG, &ext, PATIENCE).await?;
    Ok(answer.ext.get("purgedTo").unwrap_or("?").to_owned())
}

/// Tells every member at which rate it is to catch up others while it leads, or only asks; id, address and rate of each.
///
/// # Errors
/// No such group, the rate is refused, or the leader does not answer.
pub(crate) async fn group_catch_up(
    namesrv: &NameServers,
    group: &str,
    rate: Option<&str>,
) -> Result<Vec<(u64, String, String)>, CliError> {
    let cluster = Cluster::look(namesrv).await?;
    let found = status(&cluster, group).await?;
    let mut told = Vec::new();
    for member in &found.members {
        let ext = rate.iter().map(|rate| ("rate", *rate)).collect();
        let answer = cluster.ask_member(&member.client_addr, request::GROUP_CATCH_UP, ext).await;
        let rate = match answer {
            Ok(answer) => answer.ext.get("rate").unwrap_or("?").to_owned(),
            // It is told again when the command is run again; what it does matters once it leads.
            Err(_) if Some(member.id) != found.leader => UNREACHABLE.to_owned(),
            Err(e) => return Err(e),
        };
        told.push((member.id, member.client_addr.clone(), rate));
    }
    cluster.close().await;
    Ok(told)
}

async fn ask(
    namesrv: &NameServers,
    group: &str,
    code: i32,
    ext: &[(&'static str, &str)],
    patience: Duration,
) -> Result<Command, CliError> {
    let cluster = Cluster::look(namesrv).await?;
    let answer = cluster.ask(group, code, ext.iter().copied().collect(), patience).await;
    cluster.close().await;
    answer
}
