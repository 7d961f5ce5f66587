//! `quorumq topic create|list|route|delete`.

use clap::{Args, Subcommand};

use super::backend::{self, RouteGroup, TopicSpec};
use super::error::CliError;
use super::{NameServers, output};

#[derive(Debug, Subcommand)]
pub(super) enum TopicCommand {
    /// Create a topic, or change its queues.
    Create(CreateArgs),
    /// List all topics.
    List(ListArgs),
    /// Show which brokers hold a topic.
    Route(OneArgs),
    /// Delete a topic and its messages.
    Delete(OneArgs),
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Name: up to 127 letters, digits, '_', '-', '%' or '|'.
    topic: String,
    /// Queues in each group.
    #[arg(short, long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=65536))]
    queues: u32,
    /// Permission: 6 read and write, 4 read, 2 write.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(2..=7))]
    perm: u32,
    /// Only in this broker group; may be given several times. Default: all groups.
    #[arg(long = "broker-name", visible_alias = "group", value_name = "NAME")]
    groups: Vec<String>,
    #[command(flatten)]
    namesrv: NameServers,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    namesrv: NameServers,
}

#[derive(Debug, Args)]
pub(super) struct OneArgs {
    /// Name of the topic.
    topic: String,
    #[command(flatten)]
    namesrv: NameServers,
}

impl TopicCommand {
    pub(super) async fn run(self) -> Result<(), CliError> {
        match self {
            TopicCommand::Create(args) => {
                let CreateArgs { topic, queues, perm, groups, namesrv } = args;
                let spec = TopicSpec { name: topic.clone(), queues, perm, groups };
                let groups = backend::topic_create(&namesrv, spec).await?;
                output::line(format!("topic {topic}: {queues} queues in each of {}", groups.join(", ")))
            }
            TopicCommand::List(args) => {
                let topics = backend::topic_list(&args.namesrv).await?;
                if topics.is_empty() { Ok(()) } else { output::line(topics.join("\n")) }
            }
            TopicCommand::Route(args) => {
                output::line(route_table(&backend::topic_route(&args.namesrv, &args.topic).await?))
            }
            TopicCommand::Delete(args) => {
                let groups = backend::topic_delete(&args.namesrv, &args.topic).await?;
                output::line(format!("topic {} deleted from {}", args.topic, groups.join(", ")))
            }
        }
    }
}

fn route_table(groups: &[RouteGroup]) -> String {
    let rows = groups.iter().map(|group| {
        let brokers: Vec<_> = group.brokers.iter().map(|(id, addr)| format!("{id}={addr}")).collect();
        [
            group.group.clone(),
            group.cluster.clone(),
            group.read_queues.to_string(),
            group.write_queues.to_string(),
            permission(group.perm),
            brokers.join(" "),
        ]
    });
    output::table(["BROKER", "CLUSTER", "READ", "WRITE", "PERM", "ADDRESSES (0 LEADS)"], rows)
}

/// RocketMQ's spelling of permission bits.
fn permission(perm: u32) -> String {
    let letter = |bit: u32, letter: char| if perm & bit != 0 { letter } else { '-' };
    String::from_iter([letter(4, 'R'), letter(2, 'W'), letter(1, 'X')])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_route_is_one_row_a_group() {
        let brokers = BTreeMap::from([(1, "10.0.0.2:10911".to_owned()), (0, "10.0.0.1:10911".to_owned())]);
        let (group, cluster) = ("broker-a".to_owned(), "DefaultCluster".to_owned());
        let table = route_table(&[RouteGroup { group, cluster, read_queues: 8, write_queues: 8, perm: 6, brokers }]);
        let row = table.lines().nth(1).unwrap();
        assert_eq!(row, "broker-a  DefaultCluster  8     8      RW-   0=10.0.0.1:10911 1=10.0.0.2:10911");
    }
}
