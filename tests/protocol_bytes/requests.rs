//! Every request of the broker and the NameServer, its frame written out by hand in both encodings: it is decoded, its
//! typed header says what the bytes say, and encoding gives the same bytes.

use quorumq::protocol::body;
use quorumq::protocol::body::heartbeat::HeartbeatData;
use quorumq::protocol::body::registration::RegisterBrokerBody;
use quorumq::protocol::body::subscription::SubscriptionGroupConfig;
use quorumq::protocol::body::table::DataVersion;
use quorumq::protocol::code::request;
use quorumq::protocol::header::consumer::{
    ConsumerGroupRequest, GetAllSubscriptionGroupRequest, UnregisterClientRequest,
};
use quorumq::protocol::header::kv::{KvConfigRequest, PutKvConfigRequest};
use quorumq::protocol::header::offset::{
    GetMaxOffsetRequest, QueryConsumerOffsetRequest, QueueRequest, SearchOffsetRequest, UpdateConsumerOffsetRequest,
    ViewMessageRequest,
};
use quorumq::protocol::header::pull::{self, PullMessageRequest};
use quorumq::protocol::header::registration::{BrokerIdentityRequest, RegisterBrokerRequest};
use quorumq::protocol::header::send::{ConsumerSendMsgBackRequest, EndTransactionRequest, SendMessageRequest};
use quorumq::protocol::header::topic::{
    CreateTopicRequest, DeleteTopicInNamesrvRequest, DeleteTopicRequest, GetAllTopicConfigRequest, GetRouteInfoRequest,
};

use crate::hand::both;

/// Checks a request whose ext fields are those of a typed header.
macro_rules! check {
    ($code:expr, $binary:expr, $json:expr, $header:ident $(:: $part:ident)* { $($fields:tt)* }) => {
        for command in both($code, $binary, $json) {
            let want = $header $(:: $part)* { $($fields)* };
            assert_eq!($header::decode(&command), Ok(want));
            assert_eq!(want.encode(), command.ext);
        }
    };
}

/// The send every form of it carries.
const SEND: SendMessageRequest<'_> = SendMessageRequest {
    producer_group: "pg",
    topic: "t",
    default_topic: "TBW102",
    default_topic_queue_nums: 4,
    queue_id: 1,
    sys_flag: 0,
    born_timestamp: 1_795_147_487_720,
    flag: 0,
    properties: Some("WAIT\x01true"),
    reconsume_times: Some(0),
    unit_mode: Some(false),
    max_reconsume_times: Some(16),
    batch: Some(false),
    broker_name: Some("bn"),
};

/// [`check`] for sends, whose names depend on the code.
fn check_send(code: i32, binary: &str, json: &str, want: &SendMessageRequest<'_>) {
    for command in both(code, binary, json) {
        assert_eq!(SendMessageRequest::decode(&command).as_ref(), Ok(want));
        assert_eq!(want.encode(code), command.ext);
        assert_eq!(&command.body[..], b"hello");
    }
}

#[test]
fn a_send_in_its_three_forms() {
    check_send(
        request::SEND_MESSAGE,
        "00000131 01000128 000a 0c 0199 00000007 00000000 00000000 00000113
             000d 'producerGroup' 00000002 'pg' 0005 'topic' 00000001 't'
             000c 'defaultTopic' 00000006 'TBW102' 0015 'defaultTopicQueueNums' 00000001 '4'
             0007 'queueId' 00000001 '1' 0007 'sysFlag' 00000001 '0'
             000d 'bornTimestamp' 0000000d '1795147487720' 0004 'flag' 00000001 '0'
             000a 'properties' 00000009 'WAIT^true' 000e 'reconsumeTimes' 00000001 '0'
             0008 'unitMode' 00000005 'false' 0011 'maxReconsumeTimes' 00000002 '16'
             0005 'batch' 00000005 'false' 0005 'bname' 00000002 'bn'
             'hello'",
        r#"{"producerGroup":"pg","topic":"t","defaultTopic":"TBW102","defaultTopicQueueNums":"4","queueId":"1","sysFlag":"0","bornTimestamp":"1795147487720","flag":"0","properties":"WAIT^true","reconsumeTimes":"0","unitMode":"false","maxReconsumeTimes":"16","batch":"false","bname":"bn"}"#,
        &SEND,
    );
    check_send(
        request::SEND_MESSAGE_V2,
        "000000b2 010000a9 0136 0c 0199 00000007 00000000 00000000 00000094
             0001 'a' 00000002 'pg' 0001 'b' 00000001 't' 0001 'c' 00000006 'TBW102'
             0001 'd' 00000001 '4' 0001 'e' 00000001 '1' 0001 'f' 00000001 '0'
             0001 'g' 0000000d '1795147487720' 0001 'h' 00000001 '0' 0001 'i' 00000009 'WAIT^true'
             0001 'j' 00000001 '0' 0001 'k' 00000005 'false' 0001 'l' 00000002 '16'
             0001 'm' 00000005 'false' 0001 'n' 00000002 'bn'
             'hello'",
        r#"{"a":"pg","b":"t","c":"TBW102","d":"4","e":"1","f":"0","g":"1795147487720","h":"0","i":"WAIT^true","j":"0","k":"false","l":"16","m":"false","n":"bn"}"#,
        &SEND,
    );
    check_send(
        request::SEND_BATCH_MESSAGE,
        "000000b1 010000a8 0140 0c 0199 00000007 00000000 00000000 00000093
             0001 'a' 00000002 'pg' 0001 'b' 00000001 't' 0001 'c' 00000006 'TBW102'
             0001 'd' 00000001 '4' 0001 'e' 00000001 '1' 0001 'f' 00000001 '0'
             0001 'g' 0000000d '1795147487720' 0001 'h' 00000001 '0' 0001 'i' 00000009 'WAIT^true'
             0001 'j' 00000001 '0' 0001 'k' 00000005 'false' 0001 'l' 00000002 '16'
             0001 'm' 00000004 'true' 0001 'n' 00000002 'bn'
             'hello'",
        r#"{"a":"pg","b":"t","c":"TBW102","d":"4","e":"1","f":"0","g":"1795147487720","h":"0","i":"WAIT^true","j":"0","k":"false","l":"16","m":"true","n":"bn"}"#,
        &SendMessageRequest { batch: Some(true), ..SEND },
    );
}

#[test]
fn send_back_and_end_of_transaction() {
    check!(
        request::CONSUMER_SEND_MSG_BACK,
        "000000a5 010000a1 0024 0c 0199 00000007 00000000 00000000 0000008c
             0006 'offset' 00000002 '48' 0005 'group' 00000002 'cg' 000a 'delayLevel' 00000001 '0'
             000b 'originMsgId' 00000004 'FD00' 000b 'originTopic' 00000001 't'
             0008 'unitMode' 00000005 'false' 0011 'maxReconsumeTimes' 00000002 '16'
             0005 'bname' 00000002 'bn'",
        r#"{"offset":"48","group":"cg","delayLevel":"0","originMsgId":"FD00","originTopic":"t","unitMode":"false","maxReconsumeTimes":"16","bname":"bn"}"#,
        ConsumerSendMsgBackRequest {
            offset: 48,
            group: "cg",
            delay_level: 0,
            origin_msg_id: Some("FD00"),
            origin_topic: Some("t"),
            unit_mode: Some(false),
            max_reconsume_times: Some(16),
            broker_name: Some("bn")
        }
    );
    check!(
        request::END_TRANSACTION,
        "000000d7 010000d3 0025 0c 0199 00000007 00000002 00000000 000000be
             000d 'producerGroup' 00000002 'pg' 0014 'tranStateTableOffset' 00000001 '0'
             000f 'commitLogOffset' 00000004 '3141' 0010 'commitOrRollback' 00000001 '8'
             0005 'msgId' 00000004 'FD00' 0005 'topic' 00000001 't'
             0014 'fromTransactionCheck' 00000005 'false' 000d 'transactionId' 00000004 'FD01'
             0005 'bname' 00000002 'bn'",
        r#"{"producerGroup":"pg","tranStateTableOffset":"0","commitLogOffset":"3141","commitOrRollback":"8","msgId":"FD00","topic":"t","fromTransactionCheck":"false","transactionId":"FD01","bname":"bn"}"#,
        EndTransactionRequest {
            producer_group: "pg",
            tran_state_table_offset: 0,
            commit_log_offset: 3141,
            commit_or_rollback: 8,
            msg_id: "FD00",
            topic: Some("t"),
            from_transaction_check: Some(false),
            transaction_id: Some("FD01"),
            broker_name: Some("bn")
        }
    );
}

#[test]
fn both_pulls() {
    check!(
        request::PULL_MESSAGE,
        "0000012f 0100012b 000b 0c 0199 00000007 00000000 00000000 00000116
             000d 'consumerGroup' 00000002 'cg' 0005 'topic' 00000001 't' 0007 'queueId' 00000001 '3'
             000b 'queueOffset' 00000002 '42' 000a 'maxMsgNums' 00000002 '32'
             0007 'sysFlag' 00000001 '6' 000c 'commitOffset' 00000001 '5'
             0014 'suspendTimeoutMillis' 00000005 '15000' 000a 'subVersion' 0000000d '1795147490467'
             000c 'subscription' 00000004 'A||B' 000e 'expressionType' 00000003 'TAG'
             000b 'maxMsgBytes' 00000006 '262144' 000d 'requestSource' 00000001 '0'
             0005 'bname' 00000002 'bn'",
        r#"{"consumerGroup":"cg","topic":"t","queueId":"3","queueOffset":"42","maxMsgNums":"32","sysFlag":"6","commitOffset":"5","suspendTimeoutMillis":"15000","subVersion":"1795147490467","subscription":"A||B","expressionType":"TAG","maxMsgBytes":"262144","requestSource":"0","bname":"bn"}"#,
        PullMessageRequest {
            consumer_group: "cg",
            topic: "t",
            queue_id: 3,
            queue_offset: 42,
            max_msg_nums: 32,
            sys_flag: pull::sys_flag::SUSPEND | pull::sys_flag::SUBSCRIPTION,
            commit_offset: 5,
            suspend_timeout_millis: 15_000,
            sub_version: 1_795_147_490_467,
            subscription: Some("A||B"),
            expression_type: Some("TAG"),
            max_msg_bytes: Some(262_144),
            request_source: Some(0),
            broker_name: Some("bn"),
        }
    );
    check!(
        request::LITE_PULL_MESSAGE,
        "0000012f 0100012b 0169 0c 0199 00000007 00000000 00000000 00000116
             000d 'consumerGroup' 00000002 'cg' 0005 'topic' 00000001 't' 0007 'queueId' 00000001 '3'
             000b 'queueOffset' 00000002 '42' 000a 'maxMsgNums' 00000002 '32'
             0007 'sysFlag' 00000001 '6' 000c 'commitOffset' 00000001 '5'
             0014 'suspendTimeoutMillis' 00000005 '15000' 000a 'subVersion' 0000000d '1795147490467'
             000c 'subscription' 00000004 'A||B' 000e 'expressionType' 00000003 'TAG'
             000b 'maxMsgBytes' 00000006 '262144' 000d 'requestSource' 00000001 '0'
             0005 'bname' 00000002 'bn'",
        r#"{"consumerGroup":"cg","topic":"t","queueId":"3","queueOffset":"42","maxMsgNums":"32","sysFlag":"6","commitOffset":"5","suspendTimeoutMillis":"15000","subVersion":"1795147490467","subscription":"A||B","expressionType":"TAG","maxMsgBytes":"262144","requestSource":"0","bname":"bn"}"#,
        PullMessageRequest {
            consumer_group: "cg",
            topic: "t",
            queue_id: 3,
            queue_offset: 42,
            max_msg_nums: 32,
            sys_flag: pull::sys_flag::SUSPEND | pull::sys_flag::SUBSCRIPTION,
            commit_offset: 5,
            suspend_timeout_millis: 15_000,
            sub_version: 1_795_147_490_467,
            subscription: Some("A||B"),
            expression_type: Some("TAG"),
            max_msg_bytes: Some(262_144),
            request_source: Some(0),
            broker_name: Some("bn"),
        }
    );
}

#[test]
fn consumer_offsets() {
    check!(
        request::QUERY_CONSUMER_OFFSET,
        "00000071 0100006d 000e 0c 0199 00000007 00000000 00000000 00000058
             000d 'consumerGroup' 00000002 'cg' 0005 'topic' 00000001 't' 0007 'queueId' 00000001 '3'
             0011 'setZeroIfNotFound' 00000005 'false' 0005 'bname' 00000002 'bn'",
        r#"{"consumerGroup":"cg","topic":"t","queueId":"3","setZeroIfNotFound":"false","bname":"bn"}"#,
        QueryConsumerOffsetRequest {
            consumer_group: "cg",
            topic: "t",
            queue_id: 3,
            set_zero_if_not_found: Some(false),
            broker_name: Some("bn")
        }
    );
    check!(
        request::UPDATE_CONSUMER_OFFSET,
        "00000069 01000065 000f 0c 0199 00000007 00000002 00000000 00000050
             000d 'consumerGroup' 00000002 'cg' 0005 'topic' 00000001 't' 0007 'queueId' 00000001 '3'
             000c 'commitOffset' 00000002 '42' 0005 'bname' 00000002 'bn'",
        r#"{"consumerGroup":"cg","topic":"t","queueId":"3","commitOffset":"42","bname":"bn"}"#,
        UpdateConsumerOffsetRequest {
            consumer_group: "cg",
            topic: "t",
            queue_id: 3,
            commit_offset: 42,
            broker_name: Some("bn")
        }
    );
}

#[test]
fn queue_offsets_and_single_messages() {
    check!(
        request::SEARCH_OFFSET_BY_TIMESTAMP,
        "00000066 01000062 001d 0c 0199 00000007 00000000 00000000 0000004d
             0005 'topic' 00000001 't' 0007 'queueId' 00000001 '3'
             0009 'timestamp' 0000000d '1795147487720' 000c 'boundaryType' 00000005 'UPPER'",
        r#"{"topic":"t","queueId":"3","timestamp":"1795147487720","boundaryType":"UPPER"}"#,
        SearchOffsetRequest {
            topic: "t",
            queue_id: 3,
            timestamp: 1_795_147_487_720,
            boundary_type: Some("UPPER"),
            broker_name: None
        }
    );
    check!(
        request::GET_MAX_OFFSET,
        "00000046 01000042 001e 0c 0199 00000007 00000000 00000000 0000002d
             0005 'topic' 00000001 't' 0007 'queueId' 00000001 '3' 0009 'committed' 00000004 'true'",
        r#"{"topic":"t","queueId":"3","committed":"true"}"#,
        GetMaxOffsetRequest { topic: "t", queue_id: 3, committed: Some(true), broker_name: None }
    );
    check!(
        request::GET_MIN_OFFSET,
        "00000033 0100002f 001f 0c 0199 00000007 00000000 00000000 0000001a
             0005 'topic' 00000001 't' 0007 'queueId' 00000001 '3'",
        r#"{"topic":"t","queueId":"3"}"#,
        QueueRequest { topic: "t", queue_id: 3, broker_name: None }
    );
    check!(
        request::GET_EARLIEST_MSG_STORETIME,
        "00000040 0100003c 0020 0c 0199 00000007 00000000 00000000 00000027
             0005 'topic' 00000001 't' 0007 'queueId' 00000001 '3' 0005 'bname' 00000002 'bn'",
        r#"{"topic":"t","queueId":"3","bname":"bn"}"#,
        QueueRequest { topic: "t", queue_id: 3, broker_name: Some("bn") }
    );
    check!(
        request::VIEW_MESSAGE_BY_ID,
        "00000033 0100002f 0021 0c 0199 00000007 00000000 00000000 0000001a
             0006 'offset' 00000002 '48' 0005 'topic' 00000001 't'",
        r#"{"offset":"48","topic":"t"}"#,
        ViewMessageRequest { offset: 48, topic: Some("t"), broker_name: None }
    );
}

#[test]
fn clients_and_groups() {
    check!(
        request::UNREGISTER_CLIENT,
        "00000052 0100004e 0023 0c 0199 00000007 00000000 00000000 00000039
             0008 'clientID' 00000003 'c@1' 000d 'producerGroup' 00000000
             000d 'consumerGroup' 00000002 'cg'",
        r#"{"clientID":"c@1","producerGroup":"","consumerGroup":"cg"}"#,
        UnregisterClientRequest { client_id: "c@1", producer_group: Some(""), consumer_group: Some("cg") }
    );
    check!(
        request::GET_CONSUMER_LIST_BY_GROUP,
        "0000002e 0100002a 0026 0c 0199 00000007 00000000 00000000 00000015
             000d 'consumerGroup' 00000002 'cg'",
        r#"{"consumerGroup":"cg"}"#,
        ConsumerGroupRequest { consumer_group: "cg" }
    );
    check!(
        request::NOTIFY_CONSUMER_IDS_CHANGED,
        "0000002e 0100002a 0028 0c 0199 00000007 00000002 00000000 00000015
             000d 'consumerGroup' 00000002 'cg'",
        r#"{"consumerGroup":"cg"}"#,
        ConsumerGroupRequest { consumer_group: "cg" }
    );
    check!(
        request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG,
        "0000004e 0100004a 00c9 0c 0199 00000007 00000000 00000000 00000035
             0008 'groupSeq' 00000001 '0' 000b 'dataVersion' 00000001 'v'
             000b 'maxGroupNum' 00000003 '100'",
        r#"{"groupSeq":"0","dataVersion":"v","maxGroupNum":"100"}"#,
        GetAllSubscriptionGroupRequest { group_seq: Some(0), data_version: Some("v"), max_group_num: Some(100) }
    );
    check!(
        request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG,
        "00000019 01000015 00c9 0c 0199 00000007 00000000 00000000 00000000",
        r#"{}"#,
        GetAllSubscriptionGroupRequest { group_seq: None, data_version: None, max_group_num: None }
    );
}

#[test]
fn topics() {
    check!(
        request::UPDATE_AND_CREATE_TOPIC,
        "000000b3 010000af 0011 0c 0199 00000007 00000000 00000000 0000009a
             0005 'topic' 00000001 't' 000c 'defaultTopic' 00000006 'TBW102'
             000d 'readQueueNums' 00000001 '8' 000e 'writeQueueNums' 00000001 '4'
             0004 'perm' 00000001 '6' 000f 'topicFilterType' 0000000a 'SINGLE_TAG'
             000c 'topicSysFlag' 00000001 '0' 0005 'order' 00000005 'false'",
        r#"{"topic":"t","defaultTopic":"TBW102","readQueueNums":"8","writeQueueNums":"4","perm":"6","topicFilterType":"SINGLE_TAG","topicSysFlag":"0","order":"false"}"#,
        CreateTopicRequest {
            topic: "t",
            default_topic: "TBW102",
            read_queue_nums: 8,
            write_queue_nums: 4,
            perm: 6,
            topic_filter_type: "SINGLE_TAG",
            topic_sys_flag: Some(0),
            order: false,
            attributes: None,
            force: None
        }
    );
    check!(
        request::GET_ALL_TOPIC_CONFIG,
        "0000004e 0100004a 0015 0c 0199 00000007 00000000 00000000 00000035
             0008 'topicSeq' 00000001 '0' 000b 'dataVersion' 00000001 'v'
             000b 'maxTopicNum' 00000003 '100'",
        r#"{"topicSeq":"0","dataVersion":"v","maxTopicNum":"100"}"#,
        GetAllTopicConfigRequest { topic_seq: Some(0), data_version: Some("v"), max_topic_num: Some(100) }
    );
    check!(
        request::GET_ALL_TOPIC_CONFIG,
        "00000019 01000015 0015 0c 0199 00000007 00000000 00000000 00000000",
        r#"{}"#,
        GetAllTopicConfigRequest { topic_seq: None, data_version: None, max_topic_num: None }
    );
    check!(
        request::GET_ROUTEINFO_BY_TOPIC,
        "00000045 01000041 0069 0c 0199 00000007 00000000 00000000 0000002c
             0005 'topic' 00000001 't' 0016 'acceptStandardJsonOnly' 00000004 'true'",
        r#"{"topic":"t","acceptStandardJsonOnly":"true"}"#,
        GetRouteInfoRequest { topic: "t", accept_standard_json_only: Some(true) }
    );
    check!(
        request::DELETE_TOPIC_IN_BROKER,
        "00000025 01000021 00d7 0c 0199 00000007 00000000 00000000 0000000c
             0005 'topic' 00000001 't'",
        r#"{"topic":"t"}"#,
        DeleteTopicRequest { topic: "t" }
    );
    check!(
        request::DELETE_TOPIC_IN_NAMESRV,
        "00000037 01000033 00d8 0c 0199 00000007 00000000 00000000 0000001e
             0005 'topic' 00000001 't' 000b 'clusterName' 00000001 'c'",
        r#"{"topic":"t","clusterName":"c"}"#,
        DeleteTopicInNamesrvRequest { topic: "t", cluster_name: Some("c") }
    );
}

#[test]
fn the_key_value_store() {
    check!(
        request::PUT_KV_CONFIG,
        "00000040 0100003c 0064 0c 0199 00000007 00000000 00000000 00000027
             0009 'namespace' 00000002 'ns' 0003 'key' 00000001 'k' 0005 'value' 00000001 'v'",
        r#"{"namespace":"ns","key":"k","value":"v"}"#,
        PutKvConfigRequest { namespace: "ns", key: "k", value: "v" }
    );
    check!(
        request::GET_KV_CONFIG,
        "00000034 01000030 0065 0c 0199 00000007 00000000 00000000 0000001b
             0009 'namespace' 00000002 'ns' 0003 'key' 00000001 'k'",
        r#"{"namespace":"ns","key":"k"}"#,
        KvConfigRequest { namespace: "ns", key: "k" }
    );
    check!(
        request::DELETE_KV_CONFIG,
        "00000034 01000030 0066 0c 0199 00000007 00000000 00000000 0000001b
             0009 'namespace' 00000002 'ns' 0003 'key' 00000001 'k'",
        r#"{"namespace":"ns","key":"k"}"#,
        KvConfigRequest { namespace: "ns", key: "k" }
    );
}

#[test]
fn brokers_at_the_nameserver() {
    check!(
        request::REGISTER_BROKER,
        r#"00000170 010000f5 0067 0c 0199 00000007 00000000 00000000 000000e0
             000a 'brokerName' 00000002 'bn' 000a 'brokerAddr' 0000000f '127.0.0.1:10911'
             000b 'clusterName' 00000001 'c' 000c 'haServerAddr' 00000000
             0008 'brokerId' 00000001 '0' 0016 'heartbeatTimeoutMillis' 00000006 '120000'
             0012 'enableActingMaster' 00000005 'false' 000a 'compressed' 00000005 'false'
             0009 'bodyCrc32' 0000000a '1377728560' 0008 'raftTerm' 00000001 '7'
             '{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":1,"timestamp":2},"topicConfigTable":{}}}'"#,
        r#"{"brokerName":"bn","brokerAddr":"127.0.0.1:10911","clusterName":"c","haServerAddr":"","brokerId":"0","heartbeatTimeoutMillis":"120000","enableActingMaster":"false","compressed":"false","bodyCrc32":"1377728560","raftTerm":"7"}"#,
        RegisterBrokerRequest {
            broker_name: "bn",
            broker_addr: "127.0.0.1:10911",
            cluster_name: "c",
            ha_server_addr: "",
            broker_id: 0,
            heartbeat_timeout_millis: Some(120_000),
            enable_acting_master: Some(false),
            compressed: Some(false),
            body_crc32: Some(1_377_728_560),
            raft_term: Some(7)
        }
    );
    check!(
        request::UNREGISTER_BROKER,
        "0000006b 01000067 0068 0c 0199 00000007 00000000 00000000 00000052
             000a 'brokerName' 00000002 'bn' 000a 'brokerAddr' 0000000f '127.0.0.1:10911'
             000b 'clusterName' 00000001 'c' 0008 'brokerId' 00000001 '2'",
        r#"{"brokerName":"bn","brokerAddr":"127.0.0.1:10911","clusterName":"c","brokerId":"2"}"#,
        BrokerIdentityRequest {
            broker_name: "bn",
            broker_addr: "127.0.0.1:10911",
            cluster_name: "c",
            broker_id: 2,
            raft_term: None
        }
    );
    check!(
        request::QUERY_DATA_VERSION,
        r#"00000095 01000076 0142 0c 0199 00000007 00000000 00000000 00000061
             000a 'brokerName' 00000002 'bn' 000a 'brokerAddr' 0000000f '127.0.0.1:10911'
             000b 'clusterName' 00000001 'c' 0008 'brokerId' 00000001 '2'
             0008 'raftTerm' 00000001 '7'
             '{"counter":1,"timestamp":2}'"#,
        r#"{"brokerName":"bn","brokerAddr":"127.0.0.1:10911","clusterName":"c","brokerId":"2","raftTerm":"7"}"#,
        BrokerIdentityRequest {
            broker_name: "bn",
            broker_addr: "127.0.0.1:10911",
            cluster_name: "c",
            broker_id: 2,
            raft_term: Some(7)
        }
    );
}

#[test]
fn requests_without_ext_fields() {
    let [binary, json] = both(
        request::GET_BROKER_RUNTIME_INFO,
        r#"00000019 01000015 001c 0c 0199 00000007 00000000 00000000 00000000"#,
        "{}",
    );
    assert!(binary.ext.is_empty() && json.ext.is_empty());
    let [binary, json] = both(
        request::HEART_BEAT,
        r#"00000067 01000015 0022 0c 0199 00000007 00000000 00000000 00000000
             '{"clientID":"c@1","consumerDataSet":[],"producerDataSet":[{"groupName":"pg"}]}'"#,
        "{}",
    );
    assert!(binary.ext.is_empty() && json.ext.is_empty());
    let heartbeat: HeartbeatData = body::decode(&binary.body).expect("a heartbeat");
    assert_eq!((&*heartbeat.client_id, &*heartbeat.producer_data_set[0].group_name), ("c@1", "pg"));
    assert_eq!(body::encode(&heartbeat), binary.body);
    let [binary, json] = both(
        request::GET_BROKER_CLUSTER_INFO,
        r#"00000019 01000015 006a 0c 0199 00000007 00000000 00000000 00000000"#,
        "{}",
    );
    assert!(binary.ext.is_empty() && json.ext.is_empty());
    let [binary, json] = both(
        request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
        r#"000000f4 01000015 00c8 0c 0199 00000007 00000000 00000000 00000000
             '{"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"groupName":"cg","notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}'"#,
        "{}",
    );
    assert!(binary.ext.is_empty() && json.ext.is_empty());
    let group: SubscriptionGroupConfig = body::decode(&binary.body).expect("a group");
    assert_eq!(group, SubscriptionGroupConfig { group_name: "cg".to_owned(), ..SubscriptionGroupConfig::default() });
    assert_eq!(body::encode(&group), binary.body);
    let [binary, json] = both(
        request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER,
        r#"00000019 01000015 00ce 0c 0199 00000007 00000000 00000000 00000000"#,
        "{}",
    );
    assert!(binary.ext.is_empty() && json.ext.is_empty());
}

#[test]
fn the_bodies_of_a_registration_and_a_version_query() {
    let json = br#"{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":1,"timestamp":2},"topicConfigTable":{}}}"#;
    let registration = RegisterBrokerBody::decode(json, false, Some(0)).expect("a registration");
    assert_eq!(registration.encode(), &json[..]);
    let version: DataVersion = body::decode(br#"{"counter":1,"timestamp":2}"#).expect("a version");
    assert_eq!(version, registration.topic_config_serialize_wrapper.data_version);
    assert_eq!(&body::encode(&version)[..], br#"{"counter":1,"timestamp":2}"#);
}
