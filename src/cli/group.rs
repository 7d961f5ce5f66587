//! `quorumq group status|add|remove|purge`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::backend::{self, GroupStatus, MemberStatus};
use super::error::CliError;
use super::{NameServers, duration, output};
use crate::config::{HostPort, PeerId};

#[derive(Debug, Subcommand)]
pub(super) enum GroupCommand {
    /// Show leader, term and each member's place in the log.
    Status(StatusArgs),
    /// Add a node that was started with join=true.
    Add(AddArgs),
    /// Remove a member; its node id is never used again.
    Remove(RemoveArgs),
    /// Drop old messages, up to a file boundary of the CommitLog.
    Purge(PurgeArgs),
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Broker group. Default: all that the NameServers know.
    group: Option<String>,
    #[command(flatten)]
    namesrv: NameServers,
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// Broker group.
    group: String,
    /// The node's dLegerSelfId, e.g. n3: never used before in this group.
    #[arg(long, value_parser = peer_id)]
    id: PeerId,
    /// The node's Raft address, as in its dLegerPeers.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    raft: HostPort,
    /// How long the node may take to catch up.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse)]
    timeout: Duration,
    #[command(flatten)]
    namesrv: NameServers,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// Broker group.
    group: String,
    /// The member's dLegerSelfId, e.g. n1.
    #[arg(long, value_parser = peer_id)]
    id: PeerId,
    #[command(flatten)]
    namesrv: NameServers,
}

#[derive(Debug, Args)]
pub(super) struct PurgeArgs {
    /// Broker group.
    group: String,
    /// Physical offset: files of the CommitLog that end at or below it go.
    #[arg(long, value_name = "OFFSET")]
    before: u64,
    #[command(flatten)]
    namesrv: NameServers,
}

fn peer_id(text: &str) -> Result<PeerId, String> {
    PeerId::parse(text).ok_or_else(|| "must be a letter and a number, e.g. n3".to_owned())
}

fn host_port(text: &str) -> Result<HostPort, String> {
    HostPort::parse(text).ok_or_else(|| "must be host:port, e.g. 10.0.0.4:40911".to_owned())
}

impl GroupCommand {
    pub(super) async fn run(self) -> Result<(), CliError> {
        match self {
            GroupCommand::Status(args) => {
                let groups = backend::group_status(&args.namesrv, args.group.as_deref()).await?;
                if groups.is_empty() {
                    let what = format!("no broker is registered at {}", args.namesrv.list);
                    return Err(CliError::failed(what, "Start one, or name other NameServers with -n."));
                }
                output::line(groups.iter().map(status_table).collect::<Vec<_>>().join("\n\n"))
            }
            GroupCommand::Add(AddArgs { group, id, raft, timeout, namesrv }) => {
                backend::group_add(&namesrv, &group, id, &raft, timeout).await?;
                output::line(format!("{id} ({raft}) is a member of {group} and holds every retained message"))
            }
            GroupCommand::Remove(args) => {
                backend::group_remove(&args.namesrv, &args.group, args.id).await?;
                output::line(format!("{} is no longer a member of {}; its id is not used again", args.id, args.group))
            }
            GroupCommand::Purge(args) => {
                let first = backend::group_purge(&args.namesrv, &args.group, args.before).await?;
                output::line(format!("{}: the CommitLog now starts at {first}", args.group))
            }
        }
    }
}

fn status_table(status: &GroupStatus) -> String {
    let leader = status.members.iter().find(|member| member.role == "leader");
    let leader = leader.map_or_else(|| "none".to_owned(), |member| format!("{} ({})", member.id, member.address));
    let table = output::table(
        ["NODE", "ADDRESS", "ROLE", "LAST", "COMMITTED", "APPLIED", "LAG"],
        status.members.iter().map(member_row),
    );
    format!("group {}  leader {leader}  term {}\n{table}", status.group, status.term)
}

fn member_row(member: &MemberStatus) -> [String; 7] {
    let [last, committed, applied, lag] = match member.positions {
        Some(at) => [at.last, at.committed, at.applied, at.lag].map(|index| index.to_string()),
        None => ["-"; 4].map(str::to_owned),
    };
    [member.id.to_string(), member.address.clone(), member.role.clone(), last, committed, applied, lag]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::backend::MemberPositions;

    #[test]
    fn status_names_leader_term_and_a_member_that_does_not_answer() {
        let positions = Some(MemberPositions { last: 120, committed: 119, applied: 119, lag: 0 });
        let member = |id, role: &str, positions| MemberStatus {
            id,
            address: format!("10.0.0.{id}:10911"),
            role: role.to_owned(),
            positions,
        };
        let members = vec![member(1, "leader", positions), member(2, "unreachable", None)];
        let text = status_table(&GroupStatus { group: "broker-a".to_owned(), term: 7, members });
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "group broker-a  leader 1 (10.0.0.1:10911)  term 7",
                "NODE  ADDRESS         ROLE         LAST  COMMITTED  APPLIED  LAG",
                "1     10.0.0.1:10911  leader       120   119        119      0",
                "2     10.0.0.2:10911  unreachable  -     -          -        -",
            ]
        );
    }
}
