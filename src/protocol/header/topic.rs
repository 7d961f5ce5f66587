//! Topics: 17, 21, 105, 215, 216.

use super::header;

header! {
    /// UPDATE_AND_CREATE_TOPIC (17).
    pub struct CreateTopicRequest<'a> {
        topic: &'a str = "topic",
        default_topic: &'a str = "defaultTopic",
        read_queue_nums: i32 = "readQueueNums",
        write_queue_nums: i32 = "writeQueueNums",
        /// 4 read, 2 write, 1 inherit, 8 priority.
        perm: i32 = "perm",
        /// "SINGLE_TAG" or "MULTI_TAG".
        topic_filter_type: &'a str = "topicFilterType",
        topic_sys_flag: Option<i32> = "topicSysFlag",
        order: bool = "order",
        /// 5.x: `+message.type=FIFO,…`.
        attributes: Option<&'a str> = "attributes",
        force: Option<bool> = "force",
    }
}

header! {
    /// GET_ALL_TOPIC_CONFIG (21). 4.x sends no fields at all; a page is asked for since 5.x.
    pub struct GetAllTopicConfigRequest<'a> {
        topic_seq: Option<i32> = "topicSeq",
        /// JSON of the page before, to notice a change in between.
        data_version: Option<&'a str> = "dataVersion",
        max_topic_num: Option<i32> = "maxTopicNum",
    }
}

header! {
    /// GET_ROUTEINFO_BY_TOPIC (105).
    pub struct GetRouteInfoRequest<'a> {
        topic: &'a str = "topic",
        /// The client reads quoted map keys whatever its version.
        accept_standard_json_only: Option<bool> = "acceptStandardJsonOnly",
    }
}

header! {
    /// DELETE_TOPIC_IN_BROKER (215).
    pub struct DeleteTopicRequest<'a> {
        topic: &'a str = "topic",
    }
}

header! {
    /// DELETE_TOPIC_IN_NAMESRV (216).
    pub struct DeleteTopicInNamesrvRequest<'a> {
        topic: &'a str = "topic",
        /// Only that cluster's route; all when missing.
        cluster_name: Option<&'a str> = "clusterName",
    }
}
