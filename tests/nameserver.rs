//! The NameServer over real loopback sockets, with requests written field by field.
#![cfg(test)]

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorumq::nameserver::{NameServer, NameServerOptions};
use quorumq::protocol::body::cluster::ClusterInfo;
use quorumq::protocol::body::route::TopicRouteData;
use quorumq::protocol::command::{Command, Encoding, FLAG_ONEWAY};
use quorumq::protocol::{ExtFields, body, frame};
use quorumq_raft::runtime::tokio::Tokio;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// RocketMQ 4.9.4, the first version whose routes have quoted keys, and the one before.
const V4_9_4: i16 = 401;
const BEFORE_V4_9_4: i16 = 400;

async fn name_server() -> NameServer {
    NameServer::start::<Tokio>(NameServerOptions::new(SocketAddr::from(([127, 0, 0, 1], 0)))).await.unwrap()
}

/// One connection that sends a request and reads its answer.
struct Client {
    stream: TcpStream,
    buf: BytesMut,
    opaque: i32,
    encoding: Encoding,
    version: i16,
}

impl Client {
    async fn connect(server: &NameServer) -> Self {
        let stream = TcpStream::connect(server.local_addr()).await.unwrap();
        Self { stream, buf: BytesMut::new(), opaque: 0, encoding: Encoding::Json, version: V4_9_4 }
    }

    async fn send(&mut self, code: i32, ext: &[(&str, &str)], body: impl Into<Bytes>, flag: i32) {
        self.opaque += 1;
        let ext: ExtFields = ext.iter().copied().collect();
        let request = Command::request(self.encoding, code, ext, body.into());
        let request = Command { opaque: self.opaque, version: self.version, flag, ..request };
        self.write(&request).await;
    }

    async fn write(&mut self, request: &Command) {
        let mut out = BytesMut::new();
        frame::encode(request, &mut out);
        self.stream.write_all(&out).await.unwrap();
    }

    async fn answer(&mut self) -> Command {
        loop {
            if let Some(answer) = frame::decode(&mut self.buf).unwrap() {
                return answer;
            }
            assert!(self.stream.read_buf(&mut self.buf).await.unwrap() > 0, "closed instead of an answer");
        }
    }

    async fn call(&mut self, code: i32, ext: &[(&str, &str)], body: impl Into<Bytes>) -> Command {
        self.send(code, ext, body, 0).await;
        let answer = self.answer().await;
        assert_eq!((answer.opaque, answer.encoding, answer.flag & 1), (self.opaque, self.encoding, 1));
        answer
    }

    async fn route(&mut self, topic: &str) -> Command {
        self.call(105, &[("topic", topic)], "").await
    }

    /// Registers `addr` of group `group` under `id` in `term`, with these topics of 4 queues.
    async fn register(&mut self, group: &str, addr: &str, id: i64, term: Option<u64>, topics: &[&str]) -> Command {
        let (id, term) = (id.to_string(), term.map(|term| term.to_string()));
        let mut ext = vec![
            ("brokerName", group),
            ("brokerAddr", addr),
            ("clusterName", "DefaultCluster"),
            ("haServerAddr", "127.0.0.1:1"),
            ("brokerId", &id),
        ];
        if let Some(term) = &term {
            ext.push(("raftTerm", term));
        }
        self.call(103, &ext, registration(topics)).await
    }
}

fn registration(topics: &[&str]) -> String {
    let table: serde_json::Map<String, Value> = topics
        .iter()
        .map(|topic| {
            let config = json!({"topicName": topic, "readQueueNums": 4, "writeQueueNums": 4, "perm": 6,
                "topicFilterType": "SINGLE_TAG", "topicSysFlag": 0, "order": false});
            ((*topic).to_owned(), config)
        })
        .collect();
    let version = json!({"counter": 3, "timestamp": 1_795_147_439_899_i64});
    json!({"filterServerList": [], "topicConfigSerializeWrapper": {"dataVersion": version, "topicConfigTable": table}})
        .to_string()
}

fn text(command: &Command) -> &str {
    std::str::from_utf8(&command.body).unwrap()
}

/// Waits until the topic's route has (or lacks) the id.
async fn until_route(client: &mut Client, topic: &str, id: &str, there: bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let route = client.route(topic).await;
            let body: Value = serde_json::from_slice(&route.body).unwrap_or_default();
            if body["brokerDatas"][0]["brokerAddrs"].get(id).is_some() == there {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{topic}: id {id} there = {there} never came"));
}

#[tokio::test]
async fn a_registered_topic_is_routed_in_both_encodings() {
    let server = name_server().await;
    let mut broker = Client::connect(&server).await;
    let answer = broker.register("g0", "127.0.0.1:10911", 0, Some(1), &["TBW102", "T"]).await;
    assert_eq!((answer.code, answer.remark), (0, None));
    for encoding in [Encoding::Json, Encoding::Binary] {
        let mut client = Client { encoding, ..Client::connect(&server).await };
        let route = client.route("TBW102").await;
        assert_eq!(route.code, 0);
        let body: Value = serde_json::from_slice(&route.body).unwrap();
        let expected = json!({
            "brokerDatas": [{"brokerAddrs": {"0": "127.0.0.1:10911"}, "brokerName": "g0",
                "cluster": "DefaultCluster", "enableActingMaster": false}],
            "filterServerTable": {},
            "queueDatas": [{"brokerName": "g0", "perm": 6, "readQueueNums": 4, "topicSysFlag": 0, "writeQueueNums": 4}],
        });
        assert_eq!(body, expected);
    }
}

#[tokio::test]
async fn route_keys_are_quoted_by_version_or_on_request_and_cluster_keys_never() {
    let server = name_server().await;
    let mut client = Client::connect(&server).await;
    client.register("g0", "127.0.0.1:10911", 0, Some(1), &["T"]).await;
    let (quoted, unquoted) = (r#"{"0":"127.0.0.1:10911"}"#, r#"{0:"127.0.0.1:10911"}"#);
    assert!(text(&client.route("T").await).contains(quoted));
    client.version = BEFORE_V4_9_4;
    assert!(text(&client.route("T").await).contains(unquoted));
    let asked = client.call(105, &[("topic", "T"), ("acceptStandardJsonOnly", "true")], "").await;
    assert!(text(&asked).contains(quoted));
    for version in [BEFORE_V4_9_4, V4_9_4] {
        client.version = version;
        let info = client.call(106, &[], "").await;
        assert!(text(&info).contains(unquoted), "{}", text(&info));
        let info: Value = serde_json::from_str(&text(&info).replace("{0:", "{\"0\":")).unwrap();
        let group = json!({"brokerAddrs": {"0": "127.0.0.1:10911"}, "brokerName": "g0", "cluster": "DefaultCluster",
            "enableActingMaster": false});
        let expected = json!({"brokerAddrTable": {"g0": group}, "clusterAddrTable": {"DefaultCluster": ["g0"]}});
        assert_eq!(info, expected);
    }
}

#[tokio::test]
async fn an_unknown_topic_is_code_17_with_rocketmqs_remark() {
    let server = name_server().await;
    let mut client = Client::connect(&server).await;
    let answer = client.route("nowhere").await;
    assert_eq!(answer.code, 17);
    let remark = "No topic route info in name server for the topic: nowhere\n\
                  See http://rocketmq.apache.org/docs/faq/ for further details.";
    assert_eq!(answer.remark.as_deref(), Some(remark));
}

#[tokio::test]
async fn unknown_codes_and_missing_fields_are_answered_and_the_connection_lives_on() {
    let server = name_server().await;
    let mut client = Client::connect(&server).await;
    let answer = client.call(9999, &[], "").await;
    assert_eq!((answer.code, answer.remark.as_deref()), (3, Some(" request type 9999 not supported")));
    let answer = client.call(105, &[], "").await;
    assert_eq!(answer.code, 1);
    assert!(answer.remark.unwrap().contains("topic"));
    let answer = client.call(103, &[("brokerName", "g0")], "").await;
    assert_eq!(answer.code, 1);
    assert_eq!(client.route("T").await.code, 17);
}

#[tokio::test]
async fn a_closed_connection_takes_its_broker_out_at_once() {
    let server = name_server().await;
    let mut leader = Client::connect(&server).await;
    let mut follower = Client::connect(&server).await;
    leader.register("g0", "127.0.0.1:10911", 0, Some(2), &["T"]).await;
    let told = follower.register("g0", "127.0.0.1:10921", 2, Some(2), &["T"]).await;
    assert_eq!(told.ext.get("masterAddr"), Some("127.0.0.1:10911"));
    assert_eq!(told.ext.get("haServerAddr"), Some("127.0.0.1:1"));
    drop(leader);
    until_route(&mut follower, "T", "0", false).await;
    until_route(&mut follower, "T", "2", true).await;
}

#[tokio::test]
async fn a_new_leader_takes_over_and_the_old_one_is_refused() {
    let server = name_server().await;
    let mut old = Client::connect(&server).await;
    let mut new = Client::connect(&server).await;
    old.register("g0", "127.0.0.1:10911", 0, Some(2), &["T"]).await;
    new.register("g0", "127.0.0.1:10921", 2, Some(2), &["T"]).await;
    new.register("g0", "127.0.0.1:10921", 0, Some(3), &["T"]).await;
    let refused = old.register("g0", "127.0.0.1:10911", 0, Some(2), &["T"]).await;
    assert_eq!(refused.code, 1);
    assert!(refused.remark.unwrap().contains("term 3"));
    let route: Value = serde_json::from_slice(&new.route("T").await.body).unwrap();
    assert_eq!(route["brokerDatas"][0]["brokerAddrs"], json!({"0": "127.0.0.1:10921"}));
    old.register("g0", "127.0.0.1:10911", 1, Some(3), &["T"]).await;
    let route: Value = serde_json::from_slice(&new.route("T").await.body).unwrap();
    assert_eq!(route["brokerDatas"][0]["brokerAddrs"], json!({"0": "127.0.0.1:10921", "1": "127.0.0.1:10911"}));
}

#[tokio::test]
async fn a_silent_broker_expires() {
    let options = NameServerOptions {
        expiry: Duration::from_millis(100),
        scan: Duration::from_millis(10),
        ..NameServerOptions::new(SocketAddr::from(([127, 0, 0, 1], 0)))
    };
    let server = NameServer::start::<Tokio>(options).await.unwrap();
    let mut broker = Client::connect(&server).await;
    let mut client = Client::connect(&server).await;
    broker.register("g0", "127.0.0.1:10911", 0, Some(1), &["T"]).await;
    until_route(&mut client, "T", "0", false).await;
    assert_eq!(client.route("T").await.code, 17);
}

#[tokio::test]
async fn one_way_registrations_count_and_are_not_answered() {
    let server = name_server().await;
    let mut broker = Client::connect(&server).await;
    let ext = [
        ("brokerName", "g0"),
        ("brokerAddr", "127.0.0.1:10911"),
        ("clusterName", "C"),
        ("haServerAddr", ""),
        ("brokerId", "0"),
    ];
    broker.send(103, &ext, registration(&["T"]), FLAG_ONEWAY).await;
    // The next answer on the connection belongs to the next request.
    assert_eq!(broker.route("T").await.code, 0);
}

#[tokio::test]
async fn a_registration_may_be_compressed_and_a_damaged_one_is_refused() {
    let server = name_server().await;
    let mut broker = Client::connect(&server).await;
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut zlib, registration(&["zipped"]).as_bytes()).unwrap();
    let body = Bytes::from(zlib.finish().unwrap());
    let crc = (crc32fast::hash(&body) & 0x7fff_ffff).to_string();
    let ext = [
        ("brokerName", "g0"),
        ("brokerAddr", "127.0.0.1:10911"),
        ("clusterName", "C"),
        ("haServerAddr", ""),
        ("brokerId", "0"),
        ("compressed", "true"),
        ("bodyCrc32", &crc),
    ];
    assert_eq!(broker.call(103, &ext, body.clone()).await.code, 0);
    assert_eq!(broker.route("zipped").await.code, 0);
    let mut damaged = body.to_vec();
    damaged[10] ^= 1;
    let refused = broker.call(103, &ext, damaged).await;
    assert_eq!(refused.code, 1);
    assert!(refused.remark.unwrap().to_lowercase().contains("crc"));
}

#[tokio::test]
async fn a_broker_learns_whether_it_must_register_again_and_unregisters() {
    let server = name_server().await;
    let mut broker = Client::connect(&server).await;
    let ext = [("brokerName", "g0"), ("brokerAddr", "127.0.0.1:10911"), ("clusterName", "C"), ("brokerId", "0")];
    let known = r#"{"counter":3,"timestamp":1795147439899,"stateVersion":0}"#;
    let answer = broker.call(322, &ext, known).await;
    assert_eq!((answer.code, answer.ext.get("changed")), (0, Some("true")));
    broker.register("g0", "127.0.0.1:10911", 0, None, &["T"]).await;
    assert_eq!(broker.call(322, &ext, known).await.ext.get("changed"), Some("false"));
    let newer = r#"{"counter":4,"timestamp":1795147439899}"#;
    assert_eq!(broker.call(322, &ext, newer).await.ext.get("changed"), Some("true"));
    assert_eq!(broker.call(104, &ext, "").await.code, 0);
    assert_eq!(broker.route("T").await.code, 17);
    assert_eq!(broker.call(104, &ext, "").await.code, 0);
}

#[tokio::test]
async fn topics_are_listed_and_deleted() {
    let server = name_server().await;
    let mut client = Client::connect(&server).await;
    client.register("g0", "127.0.0.1:10911", 0, Some(1), &["A", "B"]).await;
    client.register("g1", "127.0.0.1:10912", 0, Some(1), &["B", "C"]).await;
    let list: Value = serde_json::from_slice(&client.call(206, &[], "").await.body).unwrap();
    assert_eq!(list["topicList"], json!(["A", "B", "C"]));
    let two: Value = serde_json::from_slice(&client.route("B").await.body).unwrap();
    assert_eq!(two["queueDatas"].as_array().unwrap().len(), 2);
    let of_cluster = client.call(224, &[("cluster", "DefaultCluster")], "").await;
    assert_eq!(serde_json::from_slice::<Value>(&of_cluster.body).unwrap()["topicList"], json!(["A", "B", "C"]));
    let system: Value = serde_json::from_slice(&client.call(304, &[], "").await.body).unwrap();
    assert_eq!(system["topicList"], json!(["DefaultCluster", "g0", "g1"]));
    assert_eq!(client.call(216, &[("topic", "B"), ("clusterName", "other")], "").await.code, 0);
    assert_eq!(client.route("B").await.code, 0);
    assert_eq!(client.call(216, &[("topic", "B")], "").await.code, 0);
    assert_eq!(client.route("B").await.code, 17);
    assert_eq!(client.route("C").await.code, 0);
}

#[tokio::test]
async fn key_values_are_kept_and_order_configuration_joins_the_route() {
    let server = name_server().await;
    let mut client = Client::connect(&server).await;
    let key = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "T")];
    let missing = client.call(101, &key, "").await;
    assert_eq!(missing.code, 22);
    let put = [key[0], key[1], ("value", "g0:4")];
    assert_eq!(client.call(100, &put, "").await.code, 0);
    assert_eq!(client.call(101, &key, "").await.ext.get("value"), Some("g0:4"));
    let list: Value = serde_json::from_slice(&client.call(219, &key[..1], "").await.body).unwrap();
    assert_eq!(list, json!({"table": {"T": "g0:4"}}));
    let registered = client.register("g0", "127.0.0.1:10911", 0, Some(1), &["T"]).await;
    assert_eq!(serde_json::from_slice::<Value>(&registered.body).unwrap(), json!({"table": {"T": "g0:4"}}));
    let route: Value = serde_json::from_slice(&client.route("T").await.body).unwrap();
    assert_eq!(route["orderTopicConf"], json!("g0:4"));
    assert_eq!(client.call(102, &key, "").await.code, 0);
    assert_eq!(client.call(102, &key, "").await.code, 0);
    assert_eq!(client.call(101, &key, "").await.code, 22);
}

#[tokio::test]
async fn a_stopped_name_server_frees_its_port_and_a_taken_port_is_explained() {
    let server = name_server().await;
    let addr = server.local_addr();
    let error = NameServer::start::<Tokio>(NameServerOptions::new(addr)).await.unwrap_err().to_string();
    for part in [&addr.port().to_string(), "listenPort", "free port"] {
        assert!(error.contains(part), "{error}");
    }
    let mut client = Client::connect(&server).await;
    client.route("T").await;
    server.shutdown::<Tokio>().await;
    assert_eq!(client.stream.read(&mut [0; 8]).await.unwrap(), 0);
    NameServer::start::<Tokio>(NameServerOptions::new(addr)).await.unwrap();
}

#[tokio::test]
async fn garbage_ends_only_its_own_connection() {
    let server = name_server().await;
    let mut bad = TcpStream::connect(server.local_addr()).await.unwrap();
    let mut good = Client::connect(&server).await;
    bad.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = bad.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    assert_eq!(good.route("T").await.code, 17);
}

/// What a stock Java cluster (4.9.8, DLedger, both header encodings) said to its NameServer, and was told.
const GOLDEN: &str = include_str!("fixtures/golden-frames.jsonl");

fn command(captured: &Value) -> Command {
    let hex = captured["hex"].as_str().unwrap();
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    frame::decode(&mut BytesMut::from(&bytes[..])).unwrap().expect("every frame of the NameServer is captured whole")
}

fn keys(command: &Command) -> BTreeSet<&str> {
    command.ext.iter().map(|(key, _)| key).collect()
}

fn assert_same_body(code: i32, ours: &Command, golden: &Command) {
    match code {
        105 if golden.code == 0 => {
            let parse = |command: &Command| body::decode::<TopicRouteData>(&command.body).unwrap();
            assert_eq!(parse(ours), parse(golden));
        }
        106 => {
            let parse = |command: &Command| body::decode::<ClusterInfo>(&command.body).unwrap();
            assert_eq!(parse(ours), parse(golden));
            assert!(text(ours).contains("{0:"));
        }
        _ => assert_eq!(ours.body, golden.body),
    }
}

#[tokio::test]
async fn a_captured_cluster_gets_the_answers_apache_gave_it() {
    let server = name_server().await;
    let captured: Vec<Value> = GOLDEN.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut clients: BTreeMap<u64, Client> = BTreeMap::new();
    let mut compared: BTreeMap<i32, usize> = BTreeMap::new();
    for (at, line) in captured.iter().enumerate().filter(|(_, line)| line["dst"] == "ns") {
        let port = line["src"].as_u64().unwrap();
        if let Entry::Vacant(vacant) = clients.entry(port) {
            vacant.insert(Client::connect(&server).await);
        }
        let client = clients.get_mut(&port).unwrap();
        let request = command(line);
        client.write(&request).await;
        if request.is_oneway() {
            // The answer to this shows that the one-way request before it was taken.
            client.route("nowhere").await;
            continue;
        }
        let ours = client.answer().await;
        let answers = captured[at..].iter().filter(|line| line["src"] == "ns" && line["dst"].as_u64() == Some(port));
        let golden = answers.map(command).find(|answer| answer.opaque == request.opaque).unwrap();
        assert_eq!((ours.code, &ours.remark), (golden.code, &golden.remark), "line {}", at + 1);
        assert_eq!((ours.opaque, ours.encoding, ours.flag), (golden.opaque, golden.encoding, golden.flag));
        assert_eq!(keys(&ours), keys(&golden), "line {}", at + 1);
        assert_same_body(request.code, &ours, &golden);
        *compared.entry(request.code).or_default() += 1;
    }
    assert_eq!(compared, BTreeMap::from([(103, 11), (105, 25), (106, 1)]));
}
