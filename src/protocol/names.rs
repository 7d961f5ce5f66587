//! Names of topics and groups: RocketMQ's rules and its reserved names (TopicValidator.java, MixAll.java).

/// Longest topic name, in bytes (defaults.md, Store).
pub const MAX_TOPIC: usize = 127;
/// Longest group name, in bytes (defaults.md, Store): with "%RETRY%" it is a topic.
pub const MAX_GROUP: usize = 120;
/// The topic whose settings an automatically created topic takes over.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
/// What a group's retry topic begins with.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// What a group's dead-letter topic begins with.
pub const DLQ_PREFIX: &str = "%DLQ%";
/// The group of producers that every Java client has of its own.
pub const CLIENT_INNER_PRODUCER: &str = "CLIENT_INNER_PRODUCER";

/// Topics of the system besides those that begin with [`SYSTEM_PREFIX`].
const SYSTEM_TOPICS: [&str; 10] = [
    AUTO_CREATE_TOPIC,
    "BenchmarkTest",
    "RMQ_SYS_TRACE_TOPIC",
    "SCHEDULE_TOPIC_XXXX",
    "SCHEDULE_TOPIC_XXXX_V2",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
];

/// What names of system topics begin with.
const SYSTEM_PREFIX: &str = "rmq_sys_";

/// Where in [`SYSTEM_TOPICS`] those begin that no client may send to.
const FIRST_FORBIDDEN: usize = 3;

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("the {what} name is empty")]
    Empty { what: &'static str },
    #[error("the {what} name has {len} bytes, more than {limit}")]
    TooLong { what: &'static str, len: usize, limit: usize },
    #[error("the {what} name {name:?} holds {character:?}; only letters, digits, %, |, - and _ are allowed")]
    BadCharacter { what: &'static str, name: String, character: char },
}

/// Checks a topic's name.
///
/// # Errors
/// When it is empty, longer than [`MAX_TOPIC`] or holds another character than `%|a-zA-Z0-9_-`.
pub fn check_topic(name: &str) -> Result<(), NameError> {
    check("topic", name, MAX_TOPIC)
}

/// Checks a consumer's or producer's group name.
///
/// # Errors
/// As [`check_topic`], with [`MAX_GROUP`].
pub fn check_group(name: &str) -> Result<(), NameError> {
    check("group", name, MAX_GROUP)
}

fn check(what: &'static str, name: &str, limit: usize) -> Result<(), NameError> {
    if name.trim().is_empty() {
        return Err(NameError::Empty { what });
    }
    if name.len() > limit {
        return Err(NameError::TooLong { what, len: name.len(), limit });
    }
    match name.chars().find(|c| !matches!(c, '%' | '|' | 'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-')) {
        Some(character) => Err(NameError::BadCharacter { what, name: name.to_owned(), character }),
        None => Ok(()),
    }
}

/// Whether a topic belongs to the system: nobody creates or deletes it by command.
pub fn is_system_topic(topic: &str) -> bool {
    SYSTEM_TOPICS.contains(&topic) || topic.starts_with(SYSTEM_PREFIX)
}

/// Whether no client may send to a topic; Apache answers 16 with "Sending message to topic[…] is forbidden.".
pub fn is_send_forbidden(topic: &str) -> bool {
    SYSTEM_TOPICS[FIRST_FORBIDDEN..].contains(&topic)
}

/// The retry topic of a consumer group.
pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

/// The dead-letter topic of a consumer group.
pub fn dlq_topic(group: &str) -> String {
    format!("{DLQ_PREFIX}{group}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rocketmq_pass_and_others_are_refused_with_the_cause() {
        for name in ["Topic_1", "%RETRY%group-2", "a|b", &"x".repeat(MAX_TOPIC)] {
            assert_eq!(check_topic(name), Ok(()));
        }
        assert_eq!(check_topic("  "), Err(NameError::Empty { what: "topic" }));
        assert_eq!(
            check_group(&"x".repeat(MAX_GROUP + 1)),
            Err(NameError::TooLong { what: "group", len: 121, limit: 120 })
        );
        assert_eq!(check_topic(&retry_topic(&"x".repeat(MAX_GROUP))), Ok(()));
        for (name, character) in [("a.b", '.'), ("a b", ' '), ("größe", 'ö'), ("a/../b", '/')] {
            let refused = NameError::BadCharacter { what: "topic", name: name.to_owned(), character };
            assert_eq!(check_topic(name), Err(refused));
        }
    }

    #[test]
    fn system_topics_are_known_and_some_take_no_messages() {
        assert!(is_system_topic("TBW102") && !is_send_forbidden("TBW102"));
        assert!(is_system_topic("rmq_sys_REVIVE_LOG_c") && !is_send_forbidden("BenchmarkTest"));
        assert!(is_system_topic("SCHEDULE_TOPIC_XXXX") && is_send_forbidden("SCHEDULE_TOPIC_XXXX"));
        assert!(!is_system_topic("orders") && !is_send_forbidden("orders"));
    }
}
