//! Broker groups: who leads, who is a member, what they hold.

use std::time::Duration;

use futures_util::future::join_all;
use openraft_rt::{AsyncRuntime, Select2};
use quorumq_raft::runtime::tokio::Tokio;

use super::cluster::{Cluster, PATIENCE, changed, unknown};
use crate::broker::members::{GroupStatus, MemberStatus, UNREACHABLE};
use crate::cli::NameServers;
use crate::cli::error::CliError;
use crate::client::ClientError;
use crate::config::HostPort;
use crate::protocol::code::{request, response};
use crate::protocol::{Command, ExtFields, body};

/// How often [`group_add`] tells how far it is.
const TELL_AGAIN: Duration = Duration::from_millis(500);
/// Attempts in a row that may fail for want of a connection to the leader.
const MOST_NOT_SENT: u32 = 20;
/// How often [`group_ready`] looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Status of one group, or of every group the NameServers know, each with its name: or why there is none.
///
/// # Errors
/// No NameServer answered.
pub(crate) async fn group_status(namesrv: &NameServers, group: Option<&str>) -> Result<Vec<Found>, CliError> {
    let cluster = Cluster::look(namesrv).await?;
    let names = group.map_or_else(|| cluster.groups(), |group| vec![group.to_owned()]);
    let asked = names.iter().map(|name| status(&cluster, name));
    let found = names.iter().cloned().zip(join_all(asked).await).collect();
    cluster.close().await;
    Ok(found)
}

/// A group's name, and its status if one of its members answered.
pub(crate) type Found = (String, Result<GroupStatus, CliError>);

/// What the leader says, or whoever answers if nobody leads.
async fn status(cluster: &Cluster, group: &str) -> Result<GroupStatus, CliError> {
    let bad =
        |e| CliError::failed(format!("{group} answered no group status: {e}"), "Check that it is a QuoruMQ broker.");
    let answer = cluster.ask(group, request::GROUP_STATUS, ExtFields::default(), PATIENCE).await?;
    let mut status: GroupStatus = body::decode(&answer.body).map_err(bad)?;
    if status.leader.is_none() {
        // It may be alone in that: cut off from the others.
        let members = cluster.members(group)?;
        let asked = members.iter().map(|addr| cluster.ask_member(addr, request::GROUP_STATUS, ExtFields::default()));
        let told = join_all(asked).await.into_iter().flatten().flat_map(|answer| body::decode(&answer.body));
        status = told.into_iter().find(|told: &GroupStatus| told.leader.is_some()).unwrap_or(status);
    }
    if let Some(leader) = leader(&status) {
        cluster.note_leader(group, &leader.client_addr, status.term);
    }
    Ok(status)
}

fn leader(status: &GroupStatus) -> Option<&MemberStatus> {
    status.members.iter().find(|member| Some(member.id) == status.leader)
}

/// The member that leads; an election is waited for.
async fn leader_of(cluster: &Cluster, group: &str) -> Result<MemberStatus, CliError> {
    let looking = async {
        loop {
            if let Some(leader) = leader(&status(cluster, group).await?) {
                return Ok(leader.clone());
            }
            Tokio::sleep(LOOK_AGAIN).await;
        }
    };
    Tokio::timeout(PATIENCE, looking).await.unwrap_or_else(|_| {
        Err(CliError::failed(format!("{group} has no leader"), "Look at its members with: quorumq group status."))
    })
}

/// Waits until the group has a leader that is registered; its node id and term.
pub(crate) async fn group_ready(namesrv: &NameServers, group: &str) -> (u64, u64) {
    loop {
        if let Ok(found) = group_status(namesrv, Some(group)).await
            && let Some((_, Ok(status))) = found.first()
            && let Some(leader) = status.leader
        {
            return (leader, status.term);
        }
        Tokio::sleep(LOOK_AGAIN).await;
    }
}

/// Whether a node is a member of a group.
///
/// # Errors
/// No such group, or none of its members answered.
pub(crate) async fn group_has(namesrv: &NameServers, group: &str, id: u64) -> Result<bool, CliError> {
    let cluster = Cluster::look(namesrv).await?;
    let found = status(&cluster, group).await;
    cluster.close().await;
    Ok(found?.members.iter().any(|member| member.id == id))
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
    tell: impl FnMut(&MemberStatus) + Send,
) -> Result<String, CliError> {
    let no_address = |e| CliError::failed(format!("{raft}: {e}"), "Give the host:port of the new node's Raft port.");
    let peer = raft.resolve().map_err(no_address)?.to_string();
    let cluster = Cluster::look(namesrv).await?;
    let added = Tokio::timeout(timeout, add(&cluster, group, &peer, timeout, tell)).await;
    cluster.close().await;
    let late = |_| {
        let what = format!("{raft} is not a voting member of {group} after {timeout:?}");
        let hint = "The leader goes on until the node has taken nothing for a minute: see quorumq group status, or run \
                    the command again.";
        CliError::failed(what, hint)
    };
    Ok(added.map_err(late)??.ext.get("nodeId").unwrap_or("?").to_owned())
}

/// Asks the leader itself: a member that passed the request on would not wait so long for its answer. Where leadership
/// changes, its successor is asked, and goes on with what has been done.
async fn add(
    cluster: &Cluster,
    group: &str,
    peer: &str,
    timeout: Duration,
    mut tell: impl FnMut(&MemberStatus) + Send,
) -> Result<Command, CliError> {
    let mut attempts = Attempts::default();
    loop {
        let leader = leader_of(cluster, group).await?;
        let ext = std::iter::once(("peer", peer)).collect();
        let asking = cluster.try_member(&leader.client_addr, request::GROUP_ADD_MEMBER, ext, timeout);
        let watching = async {
            loop {
                Tokio::sleep(TELL_AGAIN).await;
                let Ok(found) = status(cluster, group).await else { continue };
                match found.leader {
                    Some(id) if id != leader.id => return,
                    Some(_) => found.members.iter().filter(|member| member.peer_addr == peer).for_each(&mut tell),
                    None => {}
                }
            }
        };
        match Tokio::select2(asking, watching).await {
            Select2::First(answered) => match answered.and_then(changed) {
                Ok(answer) => return Ok(answer),
                Err(e) => {
                    Tokio::sleep(TELL_AGAIN).await;
                    let still_leads = leader_of(cluster, group).await?.id == leader.id;
                    attempts.failed(e, still_leads)?;
                }
            },
            Select2::Second(()) => attempts.lost = Some(format!("node {} leads no more", leader.id)),
        }
    }
}

/// Attempts to add a member that came to nothing.
#[derive(Default)]
struct Attempts {
    /// Why nobody knows what came of one that was sent.
    lost: Option<String>,
    /// How many in a row were not sent.
    not_sent: u32,
}

impl Attempts {
    /// Whether another one makes sense after this error: the leader was lost, or leads no more. One that does what was
    /// done already changes nothing.
    fn failed(&mut self, error: ClientError, still_leads: bool) -> Result<(), ClientError> {
        self.not_sent = if matches!(error, ClientError::NotSent(_)) { self.not_sent + 1 } else { 0 };
        match error {
            ClientError::NotSent(_) if self.not_sent < MOST_NOT_SENT => {}
            ClientError::NoAnswer(call) => self.lost = Some(call.to_string()),
            ClientError::Refused { code: response::SERVICE_NOT_AVAILABLE, .. } => {}
            ClientError::Unknown { detail, .. } if !still_leads => self.lost = Some(detail),
            ClientError::Refused { .. } if !still_leads => {}
            error => {
                return Err(match self.lost.take() {
                    Some(lost) if !error.is_unknown() => unknown(format!("{lost}; then {error}")),
                    _ => error,
                });
            }
        }
        Ok(())
    }
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
/// The group refuses, or nobody answered, or another than `to` took over, or nobody was seen to.
pub(crate) async fn group_transfer(namesrv: &NameServers, group: &str, to: Option<u64>) -> Result<String, CliError> {
    let cluster = Cluster::look(namesrv).await?;
    let done = transfer(&cluster, group, to).await;
    cluster.close().await;
    let leader = done?.ext.get("nodeId").unwrap_or("?").to_owned();
    taken_over(group, to, leader)
}

async fn transfer(cluster: &Cluster, group: &str, to: Option<u64>) -> Result<Command, CliError> {
    if let Some(to) = to {
        let to = to.to_string();
        let ext = std::iter::once(("nodeId", to.as_str())).collect();
        return cluster.change(group, request::GROUP_TRANSFER, ext, PATIENCE).await;
    }
    // Asked once: whoever leads after an attempt without an answer would only hand leadership on again.
    let leader = leader_of(cluster, group).await?;
    let asked = cluster.try_member(&leader.client_addr, request::GROUP_TRANSFER, ExtFields::default(), PATIENCE).await;
    Ok(asked.map_err(may_have_been).and_then(changed)?)
}

/// A request without an answer may have been carried out.
fn may_have_been(error: ClientError) -> ClientError {
    match error {
        ClientError::NoAnswer(call) => unknown(call.to_string()),
        other => other,
    }
}

/// `leader`, if it is who was wanted.
fn taken_over(group: &str, to: Option<u64>, leader: String) -> Result<String, CliError> {
    match to.map(|to| to.to_string()).filter(|to| *to != leader) {
        Some(to) => {
            let what = format!("node {leader} leads {group} now, and not node {to}");
            Err(CliError::failed(what, "It was elected meanwhile. Run the command again."))
        }
        None => Ok(leader),
    }
}

/// Drops whole CommitLog files below `before`, or the older half without it; answers where the log now starts.
///
/// # Errors
/// The group refuses, or nobody answered, or nobody knows whether it was done.
pub(crate) async fn group_purge(namesrv: &NameServers, group: &str, before: Option<u64>) -> Result<String, CliError> {
    let cluster = Cluster::look(namesrv).await?;
    let before = match before {
        Some(before) => before,
        // Looked up once: the older half of what an attempt has left is not asked for.
        None => middle(&leader_of(&cluster, group).await?),
    };
    let before = before.to_string();
    let ext = std::iter::once(("offset", before.as_str())).collect();
    let purged = cluster.change(group, request::PURGE_LOG, ext, PATIENCE).await;
    cluster.close().await;
    Ok(purged?.ext.get("purgedTo").unwrap_or("?").to_owned())
}

/// Where the older half of a member's log ends.
fn middle(member: &MemberStatus) -> u64 {
    member.first_offset + member.end_offset.saturating_sub(member.first_offset) / 2
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::remoting::{CallError, NotSent};

    #[test]
    fn a_transfer_to_a_member_fails_if_another_one_was_elected() {
        assert_eq!(taken_over("g", Some(2), "2".to_owned()).unwrap(), "2");
        assert_eq!(taken_over("g", None, "3".to_owned()).unwrap(), "3", "whoever is healthiest");
        let failed = taken_over("g", Some(2), "3".to_owned()).unwrap_err();
        assert_eq!(failed.to_string(), "node 3 leads g now, and not node 2");
    }

    #[test]
    fn a_member_is_added_by_the_next_leader_where_one_was_lost_and_a_refusal_ends_it() {
        let refused = |code| ClientError::Refused { code, remark: "why".to_owned() };
        let unreached = || {
            let reason = NotSent::Connect { kind: std::io::ErrorKind::ConnectionRefused, detail: String::new() };
            ClientError::NotSent(CallError::NotSent { addr: ([127, 0, 0, 1], 1).into(), reason })
        };
        let mut attempts = Attempts::default();
        assert!(matches!(attempts.failed(refused(1), true), Err(ClientError::Refused { .. })), "the leader refuses");
        assert!(attempts.failed(refused(1), false).is_ok() && attempts.failed(refused(14), true).is_ok());
        assert!((1..MOST_NOT_SENT).all(|_| attempts.failed(unreached(), true).is_ok()));
        assert!(matches!(attempts.failed(unreached(), true), Err(ClientError::NotSent(_))), "it cannot be reached");
        assert!(attempts.failed(unknown("the leader was deposed".to_owned()), false).is_ok());
        let ended = attempts.failed(refused(1), true).unwrap_err();
        assert!(ended.is_unknown(), "an earlier attempt may come to something yet: {ended}");
    }

    #[test]
    fn the_older_half_is_of_what_is_still_held() {
        let held = |first_offset, end_offset| MemberStatus { first_offset, end_offset, ..MemberStatus::default() };
        assert_eq!([middle(&held(0, 1000)), middle(&held(600, 1000)), middle(&held(600, 600))], [500, 800, 600]);
    }
}
