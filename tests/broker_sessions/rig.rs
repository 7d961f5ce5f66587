//! Brokers over the memory disk, NameServers, and clients that see frames.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorumq::broker::{BrokerOptions, Running};
use quorumq::nameserver::{NameServer, NameServerOptions};
use quorumq::protocol::body;
use quorumq::protocol::body::consumer::GetConsumerListByGroupResponseBody;
use quorumq::protocol::body::heartbeat::{ConsumerData, HeartbeatData, ProducerData, SubscriptionData};
use quorumq::protocol::command::{Command, Encoding};
use quorumq::protocol::{ExtFields, frame};
use quorumq::server::Limits;
use quorumq_raft::form::Start;
use quorumq_raft::node::{Settings, Timing};
use quorumq_raft::repair::scrub::Scrub;
use quorumq_raft::runtime::tokio::Tokio;
use quorumq_raft::state_machine::Place;
use quorumq_store::disk::MemoryDisk;
use quorumq_store::identity::GroupConstants;
use quorumq_store::log_store::FlushMode;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::free_addr::free_addr;

/// Far longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(15);
const SEGMENT: u64 = 64 * 1024;

/// Brokers of one group, in one process, and their NameServer.
pub struct Rig {
    pub brokers: Vec<Running<Tokio>>,
    pub namesrv: NameServer,
}

fn settings(listen: SocketAddr, client: SocketAddr, start: Start) -> Settings {
    Settings {
        cluster: "c".to_owned(),
        group: "b".to_owned(),
        listen,
        client_addr: client.to_string(),
        constants: GroupConstants {
            segment_size: SEGMENT,
            max_entry: (SEGMENT / 4) as u32,
            frame_version: 1,
            feature_level: 1,
        },
        flush: FlushMode::Sync,
        scrub: Scrub::default(),
        timing: Timing::default(),
        start,
    }
}

fn options(listen: SocketAddr, namesrv: SocketAddr) -> BrokerOptions {
    BrokerOptions {
        cluster: "c".to_owned(),
        name: "b".to_owned(),
        listen,
        vip: false,
        advertised: SocketAddrV4::new(Ipv4Addr::LOCALHOST, listen.port()),
        namesrv: vec![namesrv],
        register_period: Duration::from_secs(30),
        auto_create_topic: true,
        auto_create_group: true,
        default_topic_queues: 8,
        max_message_size: 4 << 20,
        max_pending_bytes: 64 << 20,
        client_expiry: Duration::from_secs(120),
        max_clock_skew: Duration::from_secs(5),
        retention: quorumq::broker::retention::RetentionOptions::default(),
        scrub: quorumq_raft::repair::scrub::Scrub::default(),
        index: quorumq_store::index_file::IndexSizes { slots: 64, units: 256 },
        limits: Limits::SERVER,
    }
}

impl Rig {
    pub async fn start(n: usize) -> Self {
        Self::with(n, |_| {}).await
    }

    /// A group of `n` brokers with changed options, registered with a NameServer.
    pub async fn with(n: usize, change: impl Fn(&mut BrokerOptions)) -> Self {
        let namesrv = NameServer::start::<Tokio>(NameServerOptions::new(SocketAddr::from(([127, 0, 0, 1], 0))));
        let namesrv = namesrv.await.unwrap();
        let peers: Vec<SocketAddr> = (0..n).map(|_| free_addr()).collect();
        let starting = (0..n).map(|me| {
            let client = free_addr();
            let place = Place { disk: MemoryDisk::new().mount(), dir: PathBuf::from("/store"), reserve_bytes: 0 };
            let settings = settings(peers[me], client, Start::Bootstrap { peers: peers.clone(), me });
            let mut options = options(client, namesrv.local_addr());
            change(&mut options);
            let on_fatal = Arc::new(|why: String| panic!("fatal: {why}"));
            async move { Running::<Tokio>::start(settings, options, place, on_fatal).await.unwrap() }
        });
        let brokers = futures_util::future::join_all(starting).await;
        let rig = Self { brokers, namesrv };
        rig.until_registered("TBW102").await;
        rig
    }

    /// Waits until a leader and every follower are registered; their addresses by broker id.
    pub async fn until_registered(&self, topic: &str) -> BTreeMap<i64, String> {
        let what = format!("{} brokers with {topic} registered", self.brokers.len());
        until(&what, async || {
            let addrs = self.route(topic).await;
            (addrs.len() == self.brokers.len() && addrs.contains_key(&0)).then_some(addrs)
        })
        .await
    }

    /// The addresses of the group with a topic, by broker id.
    pub async fn route(&self, topic: &str) -> BTreeMap<i64, String> {
        let route = self.route_body(topic).await;
        serde_json::from_value(route["brokerDatas"][0]["brokerAddrs"].clone()).unwrap_or_default()
    }

    pub async fn route_body(&self, topic: &str) -> Value {
        let mut client = Client::connect(self.namesrv.local_addr()).await;
        let answer = client.ask(105, &[("topic", topic), ("acceptStandardJsonOnly", "true")], b"").await;
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }

    /// Where the leader is among [`Rig::brokers`].
    pub fn leader(&self) -> usize {
        self.brokers.iter().position(|broker| broker.broker.node().is_leader()).expect("a leader")
    }

    pub async fn client(&self, broker: usize) -> Client {
        Client::connect(self.brokers[broker].local_addr()).await
    }

    /// Waits until a group's members are these, by every broker's answer.
    pub async fn until_members(&self, group: &str, members: &[&str]) {
        for broker in 0..self.brokers.len() {
            let mut asking = self.client(broker).await;
            let what = format!("broker {broker} lists {members:?} as members of {group}");
            until(&what, async || (asking.members(group).await == members).then_some(())).await;
        }
    }

    pub async fn stop(self) {
        futures_util::future::join_all(self.brokers.into_iter().map(Running::shutdown)).await;
    }
}

/// Waits for a condition.
pub async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("not reached within {PATIENCE:?}: {what}"))
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    buf: BytesMut,
    opaque: i32,
    pub encoding: Encoding,
    /// What the broker sent of itself, in order.
    pushed: VecDeque<Command>,
}

impl Client {
    pub async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        Self { stream, buf: BytesMut::new(), opaque: 1000, encoding: Encoding::Json, pushed: VecDeque::new() }
    }

    pub async fn write(&mut self, command: &Command) {
        let mut out = BytesMut::new();
        frame::encode(command, &mut out);
        self.stream.write_all(&out).await.unwrap();
    }

    async fn next(&mut self) -> Command {
        let read = async {
            loop {
                if let Some(command) = frame::decode(&mut self.buf).unwrap() {
                    return command;
                }
                assert!(self.stream.read_buf(&mut self.buf).await.unwrap() > 0, "the broker closed the connection");
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("a frame in time")
    }

    /// Sends a request and reads its answer.
    pub async fn call(&mut self, request: &Command) -> Command {
        self.write(request).await;
        loop {
            let command = self.next().await;
            if command.is_response() {
                assert_eq!((command.opaque, command.encoding), (request.opaque, request.encoding));
                return command;
            }
            self.pushed.push_back(command);
        }
    }

    pub async fn ask(&mut self, code: i32, ext: &[(&str, &str)], body: &[u8]) -> Command {
        self.opaque += 1;
        let ext: ExtFields = ext.iter().copied().collect();
        let request = Command::request(self.encoding, code, ext, Bytes::copy_from_slice(body));
        self.call(&Command { opaque: self.opaque, ..request }).await
    }

    /// The next command the broker pushes.
    pub async fn pushed(&mut self) -> Command {
        match self.pushed.pop_front() {
            Some(command) => command,
            None => self.next().await,
        }
    }

    /// Waits until the broker says that a group changed.
    pub async fn until_notified(&mut self, group: &str) -> Command {
        loop {
            let push = self.pushed().await;
            assert_eq!(push.code, 40, "{push:?}");
            if push.ext.get("consumerGroup") == Some(group) {
                return push;
            }
        }
    }

    /// Forgets what was pushed so far: all that the broker sent before it answers a request is.
    pub async fn forget_pushed(&mut self) {
        self.members("nobody").await;
        self.pushed.clear();
    }

    /// A heartbeat of a client in consumer groups, each with the topic `t`.
    pub async fn heartbeat(&mut self, client_id: &str, groups: &[&str]) -> Command {
        let consumer = |group: &&str| ConsumerData {
            group_name: (*group).to_owned(),
            subscription_data_set: vec![SubscriptionData::of_tags("t", "*", 1)],
            ..ConsumerData::default()
        };
        let data = HeartbeatData {
            client_id: client_id.to_owned(),
            consumer_data_set: groups.iter().map(consumer).collect(),
            producer_data_set: vec![ProducerData { group_name: "CLIENT_INNER_PRODUCER".to_owned() }],
        };
        self.ask(34, &[], &body::encode(&data)).await
    }

    /// A heartbeat with a subscription to `t` of this version and a pull that needs it, in one write; their answers.
    pub async fn heartbeat_and_pull(&mut self, client_id: &str, group: &str, version: i64) -> (Command, Command) {
        let consumer = ConsumerData {
            group_name: group.to_owned(),
            subscription_data_set: vec![SubscriptionData::of_tags("t", "*", version)],
            ..ConsumerData::default()
        };
        let data =
            HeartbeatData { client_id: client_id.to_owned(), consumer_data_set: vec![consumer], ..Default::default() };
        let version = version.to_string();
        let pull = [
            ("consumerGroup", group),
            ("topic", "t"),
            ("queueId", "0"),
            ("queueOffset", "0"),
            ("maxMsgNums", "32"),
            ("sysFlag", "0"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subVersion", &version),
        ];
        self.opaque += 2;
        let heartbeat = Command::request(self.encoding, 34, ExtFields::default(), body::encode(&data));
        let pull = Command::request(self.encoding, 11, pull.into_iter().collect(), Bytes::new());
        let both = [Command { opaque: self.opaque - 1, ..heartbeat }, Command { opaque: self.opaque, ..pull }];
        let mut out = BytesMut::new();
        both.iter().for_each(|command| frame::encode(command, &mut out));
        self.stream.write_all(&out).await.unwrap();
        let mut answers = BTreeMap::new();
        while answers.len() < both.len() {
            let command = self.next().await;
            if command.is_response() {
                answers.insert(command.opaque, command);
            }
        }
        (answers.remove(&both[0].opaque).unwrap(), answers.remove(&both[1].opaque).unwrap())
    }

    /// A heartbeat that is taken.
    pub async fn join(&mut self, client_id: &str, groups: &[&str]) {
        let answer = self.heartbeat(client_id, groups).await;
        assert_eq!((answer.code, answer.remark.as_deref(), answer.ext.len()), (0, None, 0), "{answer:?}");
    }

    /// A group's members by 38; none if the broker says so.
    pub async fn members(&mut self, group: &str) -> Vec<String> {
        let answer = self.ask(38, &[("consumerGroup", group)], b"").await;
        assert!(answer.ext.is_empty(), "{answer:?}");
        match answer.code {
            0 => {
                assert_eq!(answer.remark, None);
                let list: GetConsumerListByGroupResponseBody = body::decode(&answer.body).unwrap();
                assert!(!list.consumer_id_list.is_empty());
                list.consumer_id_list
            }
            1 => {
                assert_eq!(answer.remark, Some(format!("no consumer for this group, {group}")));
                Vec::new()
            }
            _ => vec![format!("{answer:?}")],
        }
    }
}
