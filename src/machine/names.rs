//! Names of topics and groups, and RocketMQ's own ones.

/// Longest topic name in bytes (RocketMQ: 127, the record's topic length is an i8).
pub const MAX_TOPIC: usize = 127;
/// Longest group name in bytes: its retry topic must be a topic.
pub const MAX_GROUP: usize = MAX_TOPIC - RETRY_PREFIX.len();
/// Prefix of a consumer group's retry topic.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of a consumer group's dead-letter topic.
pub const DLQ_PREFIX: &str = "%DLQ%";
/// The topic whose settings an automatically created topic inherits.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
/// The topic RocketMQ's brokers test themselves with.
pub const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
/// The topic of RocketMQ's own benchmark.
pub const BENCHMARK_TOPIC: &str = "BenchmarkTest";
/// Where RocketMQ tells of offsets it moved.
pub const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";
/// Suffix of a cluster's topic for replies of request-reply messages.
pub const REPLY_SUFFIX: &str = "_REPLY_TOPIC";

/// RocketMQ's system topics whose names do not depend on the cluster.
const SYSTEM_TOPICS: [&str; 9] = [
    AUTO_CREATE_TOPIC,
    SELF_TEST_TOPIC,
    BENCHMARK_TOPIC,
    OFFSET_MOVED_EVENT,
    "SCHEDULE_TOPIC_XXXX",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "RMQ_SYS_TRACE_TOPIC",
];
const SYSTEM_PREFIX: &str = "rmq_sys_";

/// Whether a topic is one of RocketMQ's own: it cannot be deleted.
pub fn is_system_topic(topic: &str) -> bool {
    SYSTEM_TOPICS.contains(&topic) || topic.starts_with(SYSTEM_PREFIX)
}

/// Whether a topic can have this name: RocketMQ's `^[%|a-zA-Z0-9_-]+$`, at most [`MAX_TOPIC`] bytes.
pub fn is_topic_name(name: &str) -> bool {
    is_name(name, MAX_TOPIC)
}

/// Whether a group can have this name: the same characters, at most [`MAX_GROUP`] bytes.
pub fn is_group_name(name: &str) -> bool {
    is_name(name, MAX_GROUP)
}

fn is_name(name: &str, max: usize) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"%|_-".contains(&b);
    !name.is_empty() && name.len() <= max && name.bytes().all(allowed)
}

/// The retry topic of a group.
pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_rocketmqs() {
        assert!(is_topic_name("%RETRY%g_consumer-1|x"));
        assert!(is_topic_name(&"t".repeat(127)) && !is_topic_name(&"t".repeat(128)));
        assert!(["", "..", "a/b", "a.b", "a b", "é", "a\0"].iter().all(|name| !is_topic_name(name)));
        assert!(is_group_name("CID_ONS-HTTP-PROXY"));
        assert!(is_topic_name(&retry_topic(&"g".repeat(MAX_GROUP))), "every group can have its retry topic");
        assert!(!is_group_name(&"g".repeat(MAX_GROUP + 1)));
        assert!(is_system_topic("TBW102") && is_system_topic("rmq_sys_x") && !is_system_topic("orders"));
    }
}
