//! Messages by key: 12.

use super::header;

header! {
    /// QUERY_MESSAGE (12). Ext `_UNIQUE_KEY_QUERY` of `true` asks for a UNIQ_KEY.
    pub struct QueryMessageRequest<'a> {
        topic: &'a str = "topic",
        key: &'a str = "key",
        max_num: i32 = "maxNum",
        /// Store time, milliseconds since 1970; so is the end, which is included.
        begin_timestamp: i64 = "beginTimestamp",
        end_timestamp: i64 = "endTimestamp",
        is_unique_key: Option<bool> = "_UNIQUE_KEY_QUERY",
        broker_name: Option<&'a str> = "bname",
    }
}

header! {
    /// The answer to 12: how far the index goes.
    pub struct QueryMessageResponse {
        /// Store time of the newest record with a key, milliseconds since 1970.
        index_last_update_timestamp: i64 = "indexLastUpdateTimestamp",
        /// Its PhysicalOffset.
        index_last_update_phyoffset: i64 = "indexLastUpdatePhyoffset",
    }
}
