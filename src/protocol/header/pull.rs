//! Pulling: 11 and 361.

use super::header;

/// Bits of a pull's sysFlag (PullSysFlag.java).
pub mod sys_flag {
    /// Store `commitOffset` first.
    pub const COMMIT_OFFSET: i32 = 1;
    /// Hold the request when there is nothing new.
    pub const SUSPEND: i32 = 1 << 1;
    /// The request carries its subscription.
    pub const SUBSCRIPTION: i32 = 1 << 2;
    pub const CLASS_FILTER: i32 = 1 << 3;
    pub const LITE_PULL_MESSAGE: i32 = 1 << 4;
}

header! {
    /// PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361).
    pub struct PullMessageRequest<'a> {
        consumer_group: &'a str = "consumerGroup",
        topic: &'a str = "topic",
        queue_id: i32 = "queueId",
        queue_offset: i64 = "queueOffset",
        max_msg_nums: i32 = "maxMsgNums",
        /// See [`sys_flag`].
        sys_flag: i32 = "sysFlag",
        commit_offset: i64 = "commitOffset",
        /// How long the broker may hold the request, in milliseconds.
        suspend_timeout_millis: i64 = "suspendTimeoutMillis",
        /// Milliseconds since 1970; an older one than the heartbeat's gets code 25 the other way round.
        sub_version: i64 = "subVersion",
        subscription: Option<&'a str> = "subscription",
        /// "TAG" when missing.
        expression_type: Option<&'a str> = "expressionType",
        /// Most bytes of messages wanted.
        max_msg_bytes: Option<i32> = "maxMsgBytes",
        request_source: Option<i32> = "requestSource",
        broker_name: Option<&'a str> = "bname",
    }
}

header! {
    /// The answer to a pull; the body of code 0 is stored messages back to back.
    pub struct PullMessageResponse {
        suggest_which_broker_id: i64 = "suggestWhichBrokerId",
        next_begin_offset: i64 = "nextBeginOffset",
        min_offset: i64 = "minOffset",
        max_offset: i64 = "maxOffset",
        offset_delta: Option<i64> = "offsetDelta",
        topic_sys_flag: Option<i32> = "topicSysFlag",
        group_sys_flag: Option<i32> = "groupSysFlag",
        forbidden_type: Option<i32> = "forbiddenType",
    }
}
