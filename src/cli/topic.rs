//! `quorumq topic create|list|route|delete`.

use clap::{Args, Subcommand};

use super::backend::{RouteGroup, Topics};
use super::error::CliError;
use super::{NameServers, output};
use crate::client::admin::TopicSpec;

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
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(i32).range(2..=6))]
    perm: i32,
    /// Only in the groups of this cluster. Default: all groups.
    #[arg(short, long, value_name = "NAME")]
    cluster: Option<String>,
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
        let topics = Topics::open(self.namesrv())?;
        let done = self.ask(&topics).await;
        topics.close().await;
        output::line(done?)
    }

    fn namesrv(&self) -> &NameServers {
        match self {
            TopicCommand::Create(args) => &args.namesrv,
            TopicCommand::List(args) => &args.namesrv,
            TopicCommand::Route(args) | TopicCommand::Delete(args) => &args.namesrv,
        }
    }

    async fn ask(&self, topics: &Topics) -> Result<String, CliError> {
        match self {
            TopicCommand::Create(CreateArgs { topic, queues, perm, cluster, .. }) => {
                let spec = TopicSpec { perm: *perm, ..TopicSpec::new(topic, *queues) };
                let groups = topics.create(&spec, cluster.as_deref()).await?;
                Ok(format!("topic {topic}: {queues} queues in each of {}", groups.join(", ")))
            }
            TopicCommand::List(_) => Ok(topics.list().await?.join("\n")),
            TopicCommand::Route(args) => Ok(route_table(&topics.route(&args.topic).await?)),
            TopicCommand::Delete(args) => {
                let groups = topics.delete(&args.topic).await?;
                Ok(format!("topic {} deleted from {}", args.topic, groups.join(", ")))
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
