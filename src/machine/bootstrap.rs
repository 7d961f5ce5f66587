//! The commands a new group of brokers starts with.

use super::command::Command;
use super::groups::SubscriptionGroupConfig;
use super::names::{BENCHMARK_TOPIC, OFFSET_MOVED_EVENT, REPLY_SUFFIX, SELF_TEST_TOPIC};
use super::topics::{TopicConfig, perm};

/// RocketMQ's own consumer groups.
const SYSTEM_GROUPS: [&str; 7] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
];

/// What the first leader of a group proposes, once; repeated, it changes nothing. Makes the system topics and groups a
/// RocketMQ 4.9.8 broker has (but for those of features that are missing here), and reserves the node ids of the
/// members the group was formed with.
pub fn bootstrap(cluster: &str, broker_name: &str, max_node_id: u64) -> Vec<Command> {
    let read_write = perm::READ | perm::WRITE;
    let reply_topic = format!("{cluster}{REPLY_SUFFIX}");
    let topics = [
        TopicConfig::new(SELF_TEST_TOPIC, 1, 1, read_write),
        TopicConfig::new(BENCHMARK_TOPIC, 1024, 1024, read_write),
        TopicConfig::new(OFFSET_MOVED_EVENT, 1, 1, read_write),
        TopicConfig::new(&reply_topic, 1, 1, read_write),
        TopicConfig::new(cluster, 16, 16, read_write | perm::INHERIT),
        TopicConfig::new(broker_name, 1, 1, read_write | perm::INHERIT),
    ];
    let groups = SYSTEM_GROUPS.map(SubscriptionGroupConfig::new);
    let mut commands = vec![Command::ReserveNodeIds { up_to: max_node_id }];
    commands.extend(topics.map(|config| Command::UpdateTopic { config, if_absent: true }));
    commands.extend(groups.map(|config| Command::UpdateGroup { config, if_absent: true }));
    commands
}
