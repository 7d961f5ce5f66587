//! Clients and their groups: 35, 38, 40, 201. A heartbeat (34) has no ext field that matters: 5.x clients send the
//! second form of it only after an answer offered that (IS_SUPPORT_HEART_BEAT_V2), and ours never do.

use super::header;

header! {
    /// UNREGISTER_CLIENT (35). Groups may be missing or empty (clients.md 3.15).
    pub struct UnregisterClientRequest<'a> {
        client_id: &'a str = "clientID",
        producer_group: Option<&'a str> = "producerGroup",
        consumer_group: Option<&'a str> = "consumerGroup",
    }
}

header! {
    /// GET_CONSUMER_LIST_BY_GROUP (38) and NOTIFY_CONSUMER_IDS_CHANGED (40).
    pub struct ConsumerGroupRequest<'a> {
        consumer_group: &'a str = "consumerGroup",
    }
}

header! {
    /// GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201). 4.x sends no fields at all; a page is asked for since 5.x.
    pub struct GetAllSubscriptionGroupRequest<'a> {
        group_seq: Option<i32> = "groupSeq",
        /// JSON of the page before, to notice a change in between.
        data_version: Option<&'a str> = "dataVersion",
        max_group_num: Option<i32> = "maxGroupNum",
    }
}
