//! `quorumq group status|add|remove|replace|transfer|purge|catch-up|recover`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::catch_up::CatchUpProgress;
use super::error::CliError;
use super::recover::RecoverArgs;
use super::{NameServers, backend, duration, output};
use crate::broker::catch_up;
use crate::broker::members::{GroupStatus, MemberStatus};
use crate::config::HostPort;

#[derive(Debug, Subcommand)]
pub(super) enum GroupCommand {
    /// Show leader, term and each member's place in the log.
    Status(StatusArgs),
    /// Add a node that was started with join=true.
    Add(AddArgs),
    /// Remove a member; its node id is never used again.
    Remove(RemoveArgs),
    /// Add a node in a member's place, then remove that member.
    Replace(ReplaceArgs),
    /// Hand leadership to another member while traffic runs.
    Transfer(TransferArgs),
    /// Drop old messages, consumed or not, up to a file boundary of the CommitLog. A topic's reserve.time does not hold
    /// them.
    Purge(PurgeArgs),
    /// Show or change how fast members that are far behind are caught up with.
    CatchUp(CatchUpArgs),
    /// Let stopped members of a group that cannot elect a leader go on with what they hold.
    Recover(RecoverArgs),
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Broker group. Default: all that the NameServers know.
    group: Option<String>,
    /// Print a JSON array, with more fields.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    namesrv: NameServers,
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// Broker group.
    group: String,
    /// The new node's Raft address: its own entry of its dLegerPeers.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    raft: HostPort,
    /// How long to wait for the node to catch up. The leader gives up by itself once it takes nothing for a minute.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration::parse)]
    timeout: Duration,
    #[command(flatten)]
    namesrv: NameServers,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// Broker group.
    group: String,
    /// The member's node id, as `quorumq group status` shows it.
    #[arg(long)]
    id: u64,
    #[command(flatten)]
    namesrv: NameServers,
}

#[derive(Debug, Args)]
pub(super) struct ReplaceArgs {
    #[command(flatten)]
    add: AddArgs,
    /// Node id of the member to be removed, as `quorumq group status` shows it.
    #[arg(long)]
    id: u64,
}

#[derive(Debug, Args)]
pub(super) struct TransferArgs {
    /// Broker group.
    group: String,
    /// Node id of the member that is to lead. Default: the voter with a working disk that is furthest along.
    #[arg(long, value_name = "ID")]
    to: Option<u64>,
    #[command(flatten)]
    namesrv: NameServers,
}

#[derive(Debug, Args)]
pub(super) struct PurgeArgs {
    /// Broker group.
    group: String,
    /// Physical offset: files of the CommitLog that end at or below it go. Default: the older half.
    #[arg(long, value_name = "OFFSET")]
    before: Option<u64>,
    #[command(flatten)]
    namesrv: NameServers,
}

#[derive(Debug, Args)]
pub(super) struct CatchUpArgs {
    /// Broker group.
    group: String,
    /// Bytes a second, over all members that are behind; 0 for no limit.
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["pause", "resume"])]
    rate: Option<u64>,
    /// Not at all, for now. While the group commits nothing it goes on all the same. The log is not purged meanwhile.
    #[arg(long, conflicts_with = "resume")]
    pause: bool,
    /// As catchUpBytesPerSecond says.
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    namesrv: NameServers,
}

fn host_port(text: &str) -> Result<HostPort, String> {
    HostPort::parse(text).ok_or_else(|| "must be host:port, e.g. 10.0.0.4:40911".to_owned())
}

impl GroupCommand {
    pub(super) async fn run(self) -> Result<(), CliError> {
        match self {
            GroupCommand::Status(args) => args.run().await,
            GroupCommand::Add(args) => args.run().await,
            GroupCommand::Remove(args) => args.run().await,
            GroupCommand::Replace(ReplaceArgs { add, id }) => {
                let remove = RemoveArgs { group: add.group.clone(), id, namesrv: add.namesrv.clone() };
                remove.check().await?;
                add.run().await?;
                remove.run().await
            }
            GroupCommand::Transfer(args) => {
                let leader = backend::group_transfer(&args.namesrv, &args.group, args.to).await?;
                output::line(format!("node {leader} leads {} now", args.group))
            }
            GroupCommand::Purge(args) => {
                let first = backend::group_purge(&args.namesrv, &args.group, args.before).await?;
                output::line(format!("{}: the CommitLog now starts at {first}", args.group))
            }
            GroupCommand::CatchUp(args) => args.run().await,
            GroupCommand::Recover(args) => args.run().await,
        }
    }
}

impl AddArgs {
    async fn run(self) -> Result<(), CliError> {
        let Self { group, raft, timeout, namesrv } = self;
        let mut progress = CatchUpProgress::new();
        let added = backend::group_add(&namesrv, &group, &raft, timeout, |member| progress.tell(member)).await;
        progress.end();
        output::line(format!("{raft} is node {} of {group} and holds every retained message", added?))
    }
}

impl RemoveArgs {
    /// # Errors
    /// There is no such member.
    async fn check(&self) -> Result<(), CliError> {
        if backend::group_has(&self.namesrv, &self.group, self.id).await? {
            return Ok(());
        }
        let what = format!("node {} is no member of {}", self.id, self.group);
        Err(CliError::failed(what, "Nothing was changed. `quorumq group status` shows the members."))
    }

    async fn run(self) -> Result<(), CliError> {
        backend::group_remove(&self.namesrv, &self.group, self.id).await?;
        output::line(format!("node {} is no longer a member of {}; its id is not used again", self.id, self.group))
    }
}

impl StatusArgs {
    async fn run(self) -> Result<(), CliError> {
        let found = backend::group_status(&self.namesrv, self.group.as_deref()).await?;
        if found.is_empty() && !self.json {
            let what = format!("no broker is registered at {}", self.namesrv.list);
            return Err(CliError::failed(what, "Start one, or name other NameServers with -n."));
        }
        let (groups, failure) = told(found);
        if self.json {
            output::line(serde_json::json!(groups).to_string())?;
        } else if !groups.is_empty() {
            output::line(groups.iter().map(status_table).collect::<Vec<_>>().join("\n\n"))?;
        }
        failure.map_or(Ok(()), Err)
    }
}

/// The groups that answered, and what is to be told of those that did not, or have no leader.
fn told(mut found: Vec<(String, Result<GroupStatus, CliError>)>) -> (Vec<GroupStatus>, Option<CliError>) {
    if let Some((_, Err(_))) = found.first()
        && found.len() == 1
    {
        return (Vec::new(), found.pop().and_then(|(_, only)| only.err()));
    }
    let (mut groups, mut failures) = (Vec::new(), Vec::new());
    for (name, status) in found {
        match status {
            Ok(status) => {
                failures.extend(status.leader.is_none().then(|| format!("{name} has no leader")));
                groups.push(status);
            }
            Err(e) => failures.push(format!("{name}: {e}")),
        }
    }
    let hint = "A group elects a leader once a majority of its voters runs and can be reached.";
    (groups, (!failures.is_empty()).then(|| CliError::failed(failures.join("\n"), hint)))
}

impl CatchUpArgs {
    async fn run(self) -> Result<(), CliError> {
        let rate = match (self.rate, self.pause, self.resume) {
            (Some(rate), ..) => Some(rate.to_string()),
            (None, true, _) => Some(catch_up::PAUSED.to_owned()),
            (None, false, true) => Some(catch_up::CONFIGURED.to_owned()),
            (None, false, false) => None,
        };
        let told = backend::group_catch_up(&self.namesrv, &self.group, rate.as_deref()).await?;
        let row = |(id, addr, rate): (u64, String, String)| [id.to_string(), addr, rate];
        output::line(output::table(["NODE", "ADDRESS", "BYTES/S"], told.into_iter().map(row)))
    }
}

fn status_table(status: &GroupStatus) -> String {
    let leader = status.members.iter().find(|member| Some(member.id) == status.leader);
    let leader = leader.map_or_else(|| "none".to_owned(), |member| format!("{} ({})", member.id, member.client_addr));
    let header = ["NODE", "ADDRESS", "ROLE", "LAST", "COMMITTED", "APPLIED", "LAG"];
    let table = if status.members.iter().all(is_clean) {
        output::table(header, status.members.iter().map(member_row))
    } else {
        let [node, address, role, last, committed, applied, lag] = header;
        let rows = status.members.iter().map(|member| {
            let [node, address, role, last, committed, applied, lag] = member_row(member);
            [node, address, role, last, committed, applied, lag, log_health(member)]
        });
        output::table([node, address, role, last, committed, applied, lag, "LOG"], rows)
    };
    format!("group {}  leader {leader}  term {}\n{table}", status.group, status.term)
}

/// Whether nothing was found wrong with a member's CommitLog.
fn is_clean(member: &MemberStatus) -> bool {
    (member.bad_bytes, member.repaired_bytes) == (0, 0)
}

/// What was found wrong with a member's CommitLog, and repaired of it since it was started.
fn log_health(member: &MemberStatus) -> String {
    match (member.bad_bytes, member.repaired_bytes) {
        (0, 0) => "-".to_owned(),
        (0, repaired) => format!("{repaired} bytes repaired"),
        (bad, 0) => format!("{bad} bytes damaged"),
        (bad, repaired) => format!("{bad} bytes damaged, {repaired} repaired"),
    }
}

fn member_row(member: &MemberStatus) -> [String; 7] {
    let index = |at: Option<u64>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    [
        member.id.to_string(),
        member.client_addr.clone(),
        if member.unproven { format!("{} (unproven)", member.role) } else { member.role.clone() },
        index(member.last),
        index(member.committed),
        index(member.applied),
        index(member.lag),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_names_leader_term_and_a_member_that_does_not_answer() {
        let at = Some(119);
        let leader = MemberStatus { last: Some(120), committed: at, applied: at, lag: Some(0), ..member(1, "leader") };
        let members = vec![leader, member(2, "unreachable")];
        let status =
            GroupStatus { group: "broker-a".to_owned(), term: 7, leader: Some(1), members, ..GroupStatus::default() };
        let text = status_table(&status);
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

    #[test]
    fn a_group_that_does_not_answer_or_has_no_leader_is_told_beside_the_others() {
        let group = |name: &str, leader| {
            let members = vec![member(1, "candidate"), member(2, "unreachable")];
            let status = GroupStatus { group: name.to_owned(), leader, members, ..GroupStatus::default() };
            (name.to_owned(), Ok(status))
        };
        let lost = |name: &str| (name.to_owned(), Err(CliError::failed("no answer", "look")));
        let (groups, failure) = told(vec![group("a", Some(1)), lost("b"), group("c", None)]);
        assert_eq!(groups.iter().map(|status| &*status.group).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(failure.unwrap().to_string(), "b: no answer\nc has no leader");
        assert!(status_table(&groups[1]).starts_with("group c  leader none  term 0\n"));
        let (groups, failure) = told(vec![group("a", Some(1))]);
        assert_eq!((groups.len(), failure.is_none()), (1, true));
        assert_eq!(told(vec![lost("b")]).1.unwrap().to_string(), "no answer", "the only one, with its own hint");
    }

    #[test]
    fn status_tells_of_a_damaged_log_only_if_there_is_one() {
        let damaged = MemberStatus { bad_bytes: 1024, repaired_bytes: 5, ..member(2, "repairing") };
        let members = vec![member(1, "leader"), damaged];
        let status =
            GroupStatus { group: "broker-a".to_owned(), term: 7, leader: Some(1), members, ..GroupStatus::default() };
        let text = status_table(&status);
        let lines: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "NODE  ADDRESS         ROLE       LAST  COMMITTED  APPLIED  LAG  LOG",
                "1     10.0.0.1:10911  leader     -     -          -        -    -",
                "2     10.0.0.2:10911  repairing  -     -          -        -    1024 bytes damaged, 5 repaired",
            ]
        );
    }

    fn member(id: u64, role: &str) -> MemberStatus {
        MemberStatus { id, client_addr: format!("10.0.0.{id}:10911"), role: role.to_owned(), ..MemberStatus::default() }
    }
}
