//! Offsets and single messages: 14, 15, 29, 30, 31, 32, 33.

use super::header;

header! {
    /// QUERY_CONSUMER_OFFSET (14).
    pub struct QueryConsumerOffsetRequest<'a> {
        consumer_group: &'a str = "consumerGroup",
        topic: &'a str = "topic",
        queue_id: i32 = "queueId",
        set_zero_if_not_found: Option<bool> = "setZeroIfNotFound",
        broker_name: Option<&'a str> = "bname",
    }
}

header! {
    /// UPDATE_CONSUMER_OFFSET (15), one-way or not.
    pub struct UpdateConsumerOffsetRequest<'a> {
        consumer_group: &'a str = "consumerGroup",
        topic: &'a str = "topic",
        queue_id: i32 = "queueId",
        commit_offset: i64 = "commitOffset",
        broker_name: Option<&'a str> = "bname",
    }
}

header! {
    /// SEARCH_OFFSET_BY_TIMESTAMP (29).
    pub struct SearchOffsetRequest<'a> {
        topic: &'a str = "topic",
        queue_id: i32 = "queueId",
        /// Store time, milliseconds since 1970.
        timestamp: i64 = "timestamp",
        /// "LOWER" (also when missing) or "UPPER".
        boundary_type: Option<&'a str> = "boundaryType",
        broker_name: Option<&'a str> = "bname",
    }
}

header! {
    /// GET_MAX_OFFSET (30).
    pub struct GetMaxOffsetRequest<'a> {
        topic: &'a str = "topic",
        queue_id: i32 = "queueId",
        /// True when missing. Our answer is the committed one either way.
        committed: Option<bool> = "committed",
        broker_name: Option<&'a str> = "bname",
    }
}

header! {
    /// GET_MIN_OFFSET (31) and GET_EARLIEST_MSG_STORETIME (32).
    pub struct QueueRequest<'a> {
        topic: &'a str = "topic",
        queue_id: i32 = "queueId",
        broker_name: Option<&'a str> = "bname",
    }
}

header! {
    /// VIEW_MESSAGE_BY_ID (33).
    pub struct ViewMessageRequest<'a> {
        /// PhysicalOffset, taken from an offsetMsgId.
        offset: i64 = "offset",
        topic: Option<&'a str> = "topic",
        broker_name: Option<&'a str> = "bname",
    }
}

header! {
    /// The answer to 14, 29, 30 and 31.
    pub struct OffsetResponse {
        offset: i64 = "offset",
    }
}

header! {
    /// The answer to 32.
    pub struct StoreTimeResponse {
        /// Milliseconds since 1970.
        timestamp: i64 = "timestamp",
    }
}
