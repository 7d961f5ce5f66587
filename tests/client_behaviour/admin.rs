//! Administrative requests.

use std::collections::BTreeMap;
use std::time::Duration;

use quorumq::client::{Admin, ClientError, TopicSpec};
use quorumq::protocol::body::cluster::ClusterInfo;
use quorumq::protocol::body::table::{KvTable, TopicList};
use quorumq::protocol::code::request::{
    DELETE_TOPIC_IN_BROKER, DELETE_TOPIC_IN_NAMESRV, GET_ALL_TOPIC_LIST_FROM_NAMESERVER, GET_BROKER_CLUSTER_INFO,
    GET_BROKER_RUNTIME_INFO, GET_ROUTEINFO_BY_TOPIC, UPDATE_AND_CREATE_TOPIC,
};
use quorumq::protocol::header::topic::CreateTopicRequest;
use quorumq::protocol::{ExtFields, body};
use quorumq_raft::runtime::tokio::Tokio;

use super::fake::{Act, Fake, no_leader, options, route};

/// Two groups, of two and one member; the first member of the first group has no leader to name.
async fn cluster() -> (Fake, [Fake; 3]) {
    let follower = Fake::start(|_, command| no_leader(command, None)).await;
    let leader = Fake::broker().await;
    let other = Fake::start(|_, command| {
        let table = KvTable { table: BTreeMap::from([("brokerVersion".to_owned(), "409".to_owned())]) };
        Act::Reply(match command.code {
            GET_BROKER_RUNTIME_INFO => command.reply(0, None).with_body(body::encode(&table)),
            999 => command.reply(3, Some("request type 999 not supported".to_owned())),
            _ => command.reply(0, None),
        })
    })
    .await;
    let (first, second) = ([follower.addr, leader.addr], [other.addr]);
    let namesrv = Fake::start(move |_, command| {
        let route = route(4, &[("g0", &first), ("g1", &second)]);
        let brokers = route.broker_datas.iter().map(|broker| (broker.broker_name.clone(), broker.clone())).collect();
        let body = match command.code {
            GET_BROKER_CLUSTER_INFO => {
                body::encode_fastjson(&ClusterInfo { broker_addr_table: brokers, cluster_addr_table: BTreeMap::new() })
            }
            GET_ROUTEINFO_BY_TOPIC if command.ext.get("topic") == Some("T") => body::encode(&route),
            GET_ROUTEINFO_BY_TOPIC => return Act::Reply(command.reply(17, Some("unknown".to_owned()))),
            GET_ALL_TOPIC_LIST_FROM_NAMESERVER => {
                body::encode(&TopicList { broker_addr: None, topic_list: vec!["T".to_owned()] })
            }
            _ => bytes::Bytes::new(),
        };
        Act::Reply(command.reply(0, None).with_body(body))
    })
    .await;
    (namesrv, [follower, leader, other])
}

#[tokio::test]
async fn a_topic_is_created_in_every_group_and_deleted_everywhere() {
    let (namesrv, [follower, leader, other]) = cluster().await;
    let admin = Admin::<Tokio>::start_with(options(&namesrv)).expect("an admin");
    let groups = admin.create_topic(&TopicSpec::new("T", 8), None).await.expect("created");
    assert_eq!(groups, ["g0", "g1"]);
    assert_eq!(follower.count(UPDATE_AND_CREATE_TOPIC), 1, "asked first, knew no leader");
    for broker in [&leader, &other] {
        let request = &broker.requests(UPDATE_AND_CREATE_TOPIC)[0];
        let header = CreateTopicRequest::decode(request).expect("a header");
        assert_eq!((header.topic, header.read_queue_nums, header.write_queue_nums, header.perm), ("T", 8, 8, 6));
    }
    admin.await_route("T", &groups, Duration::from_secs(1)).await.expect("a route");
    let missing = admin.await_route("U", &groups, Duration::from_millis(50)).await.expect_err("no route");
    assert!(matches!(missing, ClientError::NoRoute { .. }), "{missing}");
    admin.delete_topic("T").await.expect("deleted");
    assert_eq!((leader.count(DELETE_TOPIC_IN_BROKER), other.count(DELETE_TOPIC_IN_BROKER)), (1, 1));
    assert_eq!(namesrv.count(DELETE_TOPIC_IN_NAMESRV), 1);
    let bad = admin.create_topic(&TopicSpec::new("a b", 8), None).await.expect_err("no name");
    assert!(matches!(bad, ClientError::Invalid { what: "topic", .. }));
    let nowhere = admin.create_topic(&TopicSpec::new("T", 8), Some("elsewhere")).await.expect_err("no such cluster");
    assert!(matches!(nowhere, ClientError::NoMember { .. }), "{nowhere}");
}

#[tokio::test]
async fn the_cluster_is_read_from_the_nameserver_and_brokers_from_themselves() {
    let (namesrv, [_, _, other]) = cluster().await;
    let admin = Admin::<Tokio>::start_with(options(&namesrv)).expect("an admin");
    assert_eq!(admin.topics().await.expect("a list"), ["T"]);
    assert_eq!(admin.route("T").await.expect("a route").queue_datas.len(), 2);
    assert!(matches!(admin.route("U").await, Err(ClientError::NoRoute { .. })));
    assert_eq!(admin.cluster().await.expect("a cluster").broker_addr_table.len(), 2);
    let groups = admin.groups(Some("c")).await.expect("groups");
    assert_eq!(groups[0].members().len(), 2);
    assert_eq!(admin.runtime_info(other.addr).await.expect("a table")["brokerVersion"], "409");
    let answer = admin.call(other.addr, 999, ExtFields::default(), "").await.expect("an answer");
    assert_eq!(answer.code, 3);
    let refused = admin.call_group(&groups[1], 999, ExtFields::default(), "").await.expect_err("refused");
    assert!(matches!(refused, ClientError::Refused { code: 3, .. }), "{refused}");
    admin.close().await;
}
