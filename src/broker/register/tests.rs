//! Registration with real NameServers over loopback, and with ones that misbehave.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use bytes::BytesMut;
use quorumq_raft::runtime::tokio::Tokio;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::nameserver::{NameServer, NameServerOptions};
use crate::protocol::body::registration::RegisterBrokerBody;
use crate::protocol::body::table::DataVersion;
use crate::protocol::body::topic::TopicConfig;
use crate::protocol::command::{Command, Encoding};
use crate::protocol::header::registration::RegisterBrokerRequest;
use crate::protocol::{ExtFields, frame};

/// Longer than any test: what happens in time happens because of a change.
const LONG: Duration = Duration::from_secs(3600);
const LIMIT: Duration = Duration::from_secs(20);

/// A broker as NameServers see it.
struct Fake {
    port: u16,
    standing: Mutex<Standing>,
    topics: Mutex<Vec<String>>,
    registrar: Registrar,
}

impl Announcer for Fake {
    fn identity(&self) -> Identity {
        let addr = SocketAddrV4::new([127, 0, 0, 1].into(), self.port);
        let ha_addr = SocketAddrV4::new(*addr.ip(), self.port + 1);
        Identity { cluster: "C".to_owned(), group: "g".to_owned(), addr, ha_addr, group_uuid: 0xFEED }
    }
    fn standing(&self) -> Standing {
        *self.standing.lock().unwrap()
    }
    fn topics(&self) -> TopicConfigSerializeWrapper {
        let config = |name: &String| {
            let config = TopicConfig { topic_name: name.clone(), ..TopicConfig::default() };
            (name.clone(), config)
        };
        let table: BTreeMap<_, _> = self.topics.lock().unwrap().iter().map(config).collect();
        TopicConfigSerializeWrapper { data_version: self.standing().topics, topic_config_table: table }
    }
}

impl Fake {
    /// Registers broker `port` with `namesrv` from now on.
    fn start(port: u16, broker_id: i64, term: u64, period: Duration, namesrv: &[SocketAddr]) -> Arc<Self> {
        let fake = Arc::new(Self {
            port,
            standing: Mutex::new(Standing { broker_id, term, topics: DataVersion::default() }),
            topics: Mutex::new(vec!["T".to_owned()]),
            registrar: Registrar::with(namesrv, period),
        });
        for task in fake.registrar.tasks::<Tokio, _>(&fake) {
            tokio::spawn(task);
        }
        fake
    }

    fn stands(&self, broker_id: i64, term: u64) {
        {
            let mut standing = self.standing.lock().unwrap();
            (standing.broker_id, standing.term) = (broker_id, term);
        }
        self.registrar.changed();
    }

    fn creates(&self, topic: &str) {
        self.topics.lock().unwrap().push(topic.to_owned());
        self.standing.lock().unwrap().topics.counter += 1;
        self.registrar.changed();
    }

    fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

async fn name_server(port: u16) -> NameServer {
    NameServer::start::<Tokio>(NameServerOptions::new(SocketAddr::from(([127, 0, 0, 1], port)))).await.unwrap()
}

/// One request on a connection of its own.
async fn call(addr: SocketAddr, code: i32, ext: &[(&str, &str)]) -> Command {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let ext: ExtFields = ext.iter().copied().collect();
    let request = Command::request(Encoding::Json, code, ext, bytes::Bytes::new());
    let mut out = BytesMut::new();
    frame::encode(&request, &mut out);
    stream.write_all(&out).await.unwrap();
    let mut buf = BytesMut::new();
    loop {
        if let Some(answer) = frame::decode(&mut buf).unwrap() {
            return answer;
        }
        assert!(stream.read_buf(&mut buf).await.unwrap() > 0, "closed instead of an answer");
    }
}

/// The addresses of the group with `topic`, by broker id; none without a route.
async fn route(addr: SocketAddr, topic: &str) -> BTreeMap<i64, String> {
    let answer = call(addr, 105, &[("topic", topic), ("acceptStandardJsonOnly", "true")]).await;
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    serde_json::from_value(body["brokerDatas"][0]["brokerAddrs"].clone()).unwrap_or_default()
}

/// Waits until the route of `topic` is this one.
async fn until_route(addr: SocketAddr, topic: &str, wanted: &[(i64, &Arc<Fake>)]) {
    let wanted: BTreeMap<i64, String> = wanted.iter().map(|(id, fake)| (*id, fake.addr())).collect();
    let mut last = BTreeMap::new();
    let waited = tokio::time::timeout(LIMIT, async {
        loop {
            last = route(addr, topic).await;
            if last == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    if waited.await.is_err() {
        panic!("the route of {topic} is {last:?}, not {wanted:?}");
    }
}

#[tokio::test]
async fn a_broker_is_registered_at_once_and_again_on_every_change() {
    let server = name_server(0).await;
    let addr = server.local_addr();
    let broker = Fake::start(10911, 3, 1, LONG, &[addr]);
    until_route(addr, "T", &[(3, &broker)]).await;
    broker.creates("T2");
    until_route(addr, "T2", &[(3, &broker)]).await;
    broker.stands(0, 2);
    until_route(addr, "T", &[(0, &broker)]).await;
}

#[tokio::test]
async fn when_leadership_moves_the_route_follows_and_the_old_leader_becomes_a_follower() {
    let server = name_server(0).await;
    let addr = server.local_addr();
    let old = Fake::start(10911, 0, 1, LONG, &[addr]);
    let new = Fake::start(10921, 2, 1, LONG, &[addr]);
    until_route(addr, "T", &[(0, &old), (2, &new)]).await;
    new.stands(0, 2);
    // The leader of the past has not noticed: it is no leader any more, and nothing else.
    until_route(addr, "T", &[(0, &new)]).await;
    old.stands(1, 2);
    until_route(addr, "T", &[(0, &new), (1, &old)]).await;
}

#[tokio::test]
async fn no_client_finds_the_group_without_a_leader_while_leadership_is_handed_over() {
    let server = name_server(0).await;
    let addr = server.local_addr();
    let old = Fake::start(10911, 0, 1, LONG, &[addr]);
    let new = Fake::start(10921, 2, 1, LONG, &[addr]);
    until_route(addr, "T", &[(0, &old), (2, &new)]).await;
    // The old leader knows of its end first.
    old.stands(1, 2);
    tokio::time::sleep(Duration::from_millis(30)).await;
    new.stands(0, 2);
    let wanted = BTreeMap::from([(0, new.addr()), (1, old.addr())]);
    let handed_over = tokio::time::timeout(LIMIT, async {
        loop {
            let route = route(addr, "T").await;
            assert!(route.contains_key(&0), "{route:?}");
            if route == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    handed_over.await.unwrap();
}

#[tokio::test]
async fn a_leader_of_the_past_is_refused_and_comes_back_as_a_follower() {
    let server = name_server(0).await;
    let addr = server.local_addr();
    let leader = Fake::start(10921, 0, 5, LONG, &[addr]);
    until_route(addr, "T", &[(0, &leader)]).await;
    let unaware = name_server(0).await;
    let past = Fake::start(10911, 0, 4, LONG, &[addr, unaware.local_addr()]);
    // It does register as a leader where nobody knows better.
    until_route(unaware.local_addr(), "T", &[(0, &past)]).await;
    assert_eq!(route(addr, "T").await, BTreeMap::from([(0, leader.addr())]));
    past.stands(1, 5);
    until_route(addr, "T", &[(0, &leader), (1, &past)]).await;
}

#[tokio::test]
async fn a_name_server_that_is_down_delays_no_other_and_is_registered_with_when_it_comes() {
    // A port that nobody listens on until later.
    let down = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = name_server(0).await;
    let broker = Fake::start(10911, 0, 1, LONG, &[down, server.local_addr()]);
    until_route(server.local_addr(), "T", &[(0, &broker)]).await;
    let late = name_server(down.port()).await;
    until_route(late.local_addr(), "T", &[(0, &broker)]).await;
}

#[tokio::test]
async fn a_name_server_that_was_restarted_learns_of_the_broker_again() {
    let server = name_server(0).await;
    let addr = server.local_addr();
    let broker = Fake::start(10911, 0, 1, LONG, &[addr]);
    until_route(addr, "T", &[(0, &broker)]).await;
    server.shutdown::<Tokio>().await;
    let again = loop {
        let options = NameServerOptions::new(addr);
        match NameServer::start::<Tokio>(options).await {
            Ok(server) => break server,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    until_route(again.local_addr(), "T", &[(0, &broker)]).await;
}

#[tokio::test]
async fn a_broker_that_leaves_is_unregistered_and_never_registers_again() {
    let servers = [name_server(0).await, name_server(0).await];
    let addrs = servers.each_ref().map(NameServer::local_addr);
    let broker = Fake::start(10911, 0, 1, LONG, &addrs);
    let stays = Fake::start(10921, 2, 1, LONG, &addrs);
    for addr in addrs {
        until_route(addr, "T", &[(0, &broker), (2, &stays)]).await;
    }
    broker.registrar.stop::<Tokio>().await;
    for addr in addrs {
        assert_eq!(route(addr, "T").await, BTreeMap::from([(2, stays.addr())]));
    }
    broker.stands(1, 2);
    assert_eq!(*broker.registrar.running.lock(), 0, "no task is left to register");
}

/// A NameServer that answers with `answers`, by request code, and notes the codes. One that is missing gets no answer.
async fn scripted(answers: &'static [(i32, &'static str)]) -> (SocketAddr, Arc<Mutex<Vec<Command>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let seen = Arc::<Mutex<Vec<Command>>>::default();
    let noted = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let noted = Arc::clone(&noted);
            tokio::spawn(async move {
                let mut buf = BytesMut::new();
                while stream.read_buf(&mut buf).await.unwrap_or(0) > 0 {
                    while let Some(request) = frame::decode(&mut buf).unwrap() {
                        let answer = answers.iter().find(|(code, _)| *code == request.code);
                        let mut out = BytesMut::new();
                        if let Some((_, changed)) = answer {
                            let mut reply = request.reply(0, None);
                            reply.ext.push("changed", changed);
                            frame::encode(&reply, &mut out);
                        }
                        noted.lock().unwrap().push(request);
                        stream.write_all(&out).await.unwrap();
                    }
                }
            });
        }
    });
    (addr, seen)
}

/// Waits until `count` requests were seen, and lists their codes.
async fn codes(seen: &Mutex<Vec<Command>>, count: usize) -> Vec<i32> {
    let waited = tokio::time::timeout(LIMIT, async {
        while seen.lock().unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.unwrap();
    seen.lock().unwrap().iter().take(count).map(|request| request.code).collect()
}

#[tokio::test]
async fn without_a_change_the_name_server_is_asked_and_gets_the_topics_only_if_it_lacks_them() {
    let period = Duration::from_millis(20);
    let (addr, seen) = scripted(&[(103, ""), (322, "false")]).await;
    let _content = Fake::start(10911, 0, 7, period, &[addr]);
    assert_eq!(codes(&seen, 4).await, [103, 322, 322, 322]);
    let (addr, seen) = scripted(&[(103, ""), (322, "true")]).await;
    let _lacking = Fake::start(10911, 0, 7, period, &[addr]);
    assert_eq!(codes(&seen, 5).await, [103, 322, 103, 322, 103]);
}

#[tokio::test]
async fn a_registration_has_apaches_fields_and_ours() {
    let (addr, seen) = scripted(&[(103, "")]).await;
    let _broker = Fake::start(10911, 2, 7, LONG, &[addr]);
    codes(&seen, 1).await;
    let request = seen.lock().unwrap()[0].clone();
    let header = RegisterBrokerRequest::decode(&request).unwrap();
    let apache = (header.broker_name, header.broker_addr, header.cluster_name, header.ha_server_addr);
    assert_eq!(apache, ("g", "127.0.0.1:10911", "C", "127.0.0.1:10912"));
    assert_eq!((header.broker_id, header.raft_term, header.compressed), (2, Some(7), Some(false)));
    assert_eq!(request.ext.get("groupUuid"), Some("0000000000000000000000000000feed"));
    assert_eq!((request.encoding, request.language, request.is_oneway()), (Encoding::Json, 0, false));
    let body = RegisterBrokerBody::decode(&request.body, false, header.body_crc32).unwrap();
    assert!(header.body_crc32.unwrap() > 0);
    assert!(body.topic_config_serialize_wrapper.topic_config_table.contains_key("T"));
}

#[tokio::test]
async fn a_name_server_that_never_answers_holds_up_neither_the_others_nor_a_stop() {
    let (silent, seen) = scripted(&[]).await;
    let server = name_server(0).await;
    let broker = Fake::start(10911, 0, 1, LONG, &[silent, server.local_addr()]);
    until_route(server.local_addr(), "T", &[(0, &broker)]).await;
    codes(&seen, 1).await;
    let begun = std::time::Instant::now();
    broker.registrar.stop::<Tokio>().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "took {:?}", begun.elapsed());
    assert_eq!(codes(&seen, 2).await, [103, 104]);
    assert_eq!(route(server.local_addr(), "T").await, BTreeMap::new());
}

#[test]
fn a_table_too_large_for_a_frame_goes_compressed() {
    let name = |i: usize| format!("topic_{i:06}_{}", "x".repeat(90));
    let topic = |i: usize| (name(i), TopicConfig { topic_name: name(i), ..TopicConfig::default() });
    let topics = TopicConfigSerializeWrapper {
        data_version: DataVersion::default(),
        topic_config_table: (0..50_000).map(topic).collect(),
    };
    let addr = SocketAddrV4::new([127, 0, 0, 1].into(), 1);
    let identity = Identity { cluster: "C".into(), group: "g".into(), addr, ha_addr: addr, group_uuid: 1 };
    let standing = Standing { broker_id: 0, term: 1, topics: DataVersion::default() };
    let command = announcement::register(&identity, &standing, topics);
    let header = RegisterBrokerRequest::decode(&command).unwrap();
    assert_eq!(header.compressed, Some(true));
    let mut out = BytesMut::new();
    frame::encode(&command, &mut out);
    assert!(frame::decode(&mut out).unwrap().is_some(), "the frame keeps its limit");
    let body = RegisterBrokerBody::decode(&command.body, true, header.body_crc32).unwrap();
    assert_eq!(body.topic_config_serialize_wrapper.topic_config_table.len(), 50_000);
}
