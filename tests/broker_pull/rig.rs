//! Brokers over the memory disk, and a client that sees frames.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorumq::broker::{BrokerOptions, Running};
use quorumq::protocol::command::{Command, Encoding, VERSION};
use quorumq::protocol::{ExtFields, frame};
use quorumq::server::Limits;
use quorumq_raft::form::Start;
use quorumq_raft::node::{Settings, Timing};
use quorumq_raft::repair::scrub::Scrub;
use quorumq_raft::runtime::tokio::Tokio;
use quorumq_raft::state_machine::Place;
use quorumq_store::disk::{Disk, MemoryDisk};
use quorumq_store::identity::GroupConstants;
use quorumq_store::log_store::FlushMode;
use quorumq_store::record::{Record, records};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::free_addr::free_addr;

pub const GROUP: &str = "g";
/// Far longer than anything here takes, far shorter than a held pull's own time.
const PATIENCE: Duration = Duration::from_secs(10);
const SEGMENT: u64 = 64 * 1024;

/// Brokers of one group, in one process.
pub struct Rig {
    pub brokers: Vec<Running<Tokio>>,
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

fn options(listen: SocketAddr) -> BrokerOptions {
    BrokerOptions {
        cluster: "c".to_owned(),
        name: "b".to_owned(),
        listen,
        vip: false,
        advertised: SocketAddrV4::new(Ipv4Addr::LOCALHOST, listen.port()),
        namesrv: Vec::new(),
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
    /// A group of `n` brokers with the topic `t` of two queues.
    pub async fn start(n: usize) -> Self {
        let disks: Vec<_> = (0..n).map(|_| MemoryDisk::new()).collect();
        Self::on(&disks, |why| panic!("fatal: {why}")).await
    }

    /// The same with a broker on each of these disks.
    pub async fn on(disks: &[MemoryDisk], fatal: fn(String)) -> Self {
        let peers: Vec<SocketAddr> = disks.iter().map(|_| free_addr()).collect();
        Self::among(&peers, disks, fatal).await
    }

    /// The same with given addresses for each other: a group that was stopped goes on under those it was formed with.
    pub async fn among(peers: &[SocketAddr], disks: &[MemoryDisk], fatal: fn(String)) -> Self {
        Self::launch(peers, disks.iter().map(MemoryDisk::mount).collect(), fatal, |_| {}).await
    }

    /// A group of one broker on any disk, with other settings.
    pub async fn one(disk: Arc<dyn Disk>, change: fn(&mut BrokerOptions)) -> Self {
        Self::launch(&[free_addr()], vec![disk], |why| panic!("fatal: {why}"), change).await
    }

    async fn launch(
        peers: &[SocketAddr],
        mounts: Vec<Arc<dyn Disk>>,
        fatal: fn(String),
        change: fn(&mut BrokerOptions),
    ) -> Self {
        let starting = mounts.into_iter().enumerate().map(|(me, disk)| {
            let peers = peers.to_vec();
            async move {
                let client = free_addr();
                let place = Place { disk, dir: PathBuf::from("/store"), reserve_bytes: 0 };
                let settings = settings(peers[me], client, Start::Bootstrap { peers, me });
                let mut options = options(client);
                change(&mut options);
                Running::<Tokio>::start(settings, options, place, Arc::new(fatal)).await.unwrap()
            }
        });
        let rig = Self { brokers: futures_util::future::join_all(starting).await };
        rig.create_topic("t", 2).await;
        rig
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.brokers[0].local_addr()).await
    }

    pub async fn create_topic(&self, topic: &str, queues: u32) {
        let queues = queues.to_string();
        let ext = [
            ("topic", topic),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", &queues),
            ("writeQueueNums", &queues),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("order", "false"),
        ];
        let mut client = self.client().await;
        // The group may still be electing its first leader.
        for _ in 0..200 {
            let answer = client.ask(17, &ext).await;
            if answer.code == 0 {
                return;
            }
            assert_eq!(answer.code, 14, "{answer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no leader");
    }

    /// A client of each broker, the leader's first.
    pub async fn clients(&self) -> Vec<Client> {
        let mut order: Vec<_> = self.brokers.iter().collect();
        order.sort_by_key(|broker| !broker.broker.node().is_leader());
        assert!(order[0].broker.node().is_leader());
        let mut clients = Vec::new();
        for broker in order {
            clients.push(Client::connect(broker.local_addr()).await);
        }
        clients
    }

    pub async fn stop(self) {
        futures_util::future::join_all(self.brokers.into_iter().map(Running::shutdown)).await;
    }
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    buf: BytesMut,
    opaque: i32,
    pub encoding: Encoding,
    /// The version it says it has.
    pub version: i16,
    /// Answers read while another was waited for.
    early: BTreeMap<i32, Command>,
}

/// A message as a pull or view returned it.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub body: String,
    pub queue_offset: u64,
    pub physical_offset: u64,
    pub store_time: i64,
}

impl Client {
    pub async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        Self {
            stream,
            buf: BytesMut::new(),
            opaque: 100,
            encoding: Encoding::Json,
            version: VERSION,
            early: BTreeMap::new(),
        }
    }

    /// Sends a request; its opaque.
    pub async fn send(&mut self, code: i32, ext: &[(&str, &str)], body: &[u8], flag: i32) -> i32 {
        self.opaque += 1;
        let ext: ExtFields = ext.iter().copied().collect();
        let request = Command::request(self.encoding, code, ext, Bytes::copy_from_slice(body));
        let mut out = BytesMut::new();
        frame::encode(&Command { opaque: self.opaque, flag, version: self.version, ..request }, &mut out);
        self.stream.write_all(&out).await.unwrap();
        self.opaque
    }

    /// Asks a broker that may be closing its connections; `None` once it has.
    pub async fn ask_if_open(&mut self, code: i32, ext: &[(&str, &str)]) -> Option<Command> {
        self.opaque += 1;
        let request = Command::request(self.encoding, code, ext.iter().copied().collect(), Bytes::new());
        let mut out = BytesMut::new();
        frame::encode(&Command { opaque: self.opaque, version: self.version, ..request }, &mut out);
        self.stream.write_all(&out).await.ok()?;
        loop {
            if let Some(answer) = frame::decode(&mut self.buf).unwrap() {
                assert_eq!(answer.opaque, self.opaque);
                return Some(answer);
            }
            if self.stream.read_buf(&mut self.buf).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// The answer to a request, in its encoding.
    pub async fn answer(&mut self, opaque: i32) -> Command {
        let answered = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(answer) = self.early.remove(&opaque) {
                    return answer;
                }
                let answer = self.next().await;
                let doubled = self.early.insert(answer.opaque, answer);
                assert!(doubled.is_none(), "answered twice: {doubled:?}");
            }
        });
        let answer = answered.await.expect("an answer in time");
        assert!(answer.is_response() && answer.encoding == self.encoding && answer.version == 409);
        answer
    }

    async fn next(&mut self) -> Command {
        loop {
            if let Some(command) = frame::decode(&mut self.buf).unwrap() {
                return command;
            }
            assert!(self.stream.read_buf(&mut self.buf).await.unwrap() > 0, "the broker closed the connection");
        }
    }

    pub async fn ask(&mut self, code: i32, ext: &[(&str, &str)]) -> Command {
        let opaque = self.send(code, ext, b"", 0).await;
        self.answer(opaque).await
    }

    /// Whether an answer comes within a moment: to show that none has.
    pub async fn is_answered_soon(&mut self, opaque: i32) -> bool {
        let soon = tokio::time::timeout(Duration::from_millis(150), async {
            while !self.early.contains_key(&opaque) {
                let answer = self.next().await;
                self.early.insert(answer.opaque, answer);
            }
        });
        soon.await.is_ok()
    }

    /// Stores a message in queue `queue` of `t`; physical offset.
    pub async fn produce(&mut self, queue: u32, tag: &str, body: &str) -> u64 {
        let properties = if tag.is_empty() { String::new() } else { format!("TAGS\u{1}{tag}\u{2}") };
        self.produce_with(queue, &properties, body).await
    }

    /// The same with properties as they are sent.
    pub async fn produce_with(&mut self, queue: u32, properties: &str, body: &str) -> u64 {
        let queue = queue.to_string();
        let ext = [
            ("a", "p"),
            ("b", "t"),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", queue.as_str()),
            ("f", "0"),
            ("g", "1700000000000"),
            ("h", "0"),
            ("i", properties),
            ("m", "false"),
        ];
        let opaque = self.send(310, &ext, body.as_bytes(), 0).await;
        let answer = self.answer(opaque).await;
        assert_eq!(answer.code, 0, "{answer:?}");
        let id = answer.ext.get("msgId").unwrap();
        u64::from_str_radix(&id[16..], 16).unwrap()
    }

    pub async fn pull(&mut self, pull: Pull<'_>) -> Command {
        let opaque = self.send_pull(pull).await;
        self.answer(opaque).await
    }

    pub async fn send_pull(&mut self, pull: Pull<'_>) -> i32 {
        let Pull { code, topic, queue, offset, flags, commit, suspend_ms, version, expression, max, expression_type } =
            pull;
        let numbers = [queue.to_string(), offset.to_string(), max.to_string(), flags.to_string()];
        let times = [commit.to_string(), suspend_ms.to_string(), version.to_string()];
        let ext = [
            ("consumerGroup", GROUP),
            ("topic", topic),
            ("queueId", &numbers[0]),
            ("queueOffset", &numbers[1]),
            ("maxMsgNums", &numbers[2]),
            ("sysFlag", &numbers[3]),
            ("commitOffset", &times[0]),
            ("suspendTimeoutMillis", &times[1]),
            ("subVersion", &times[2]),
            ("subscription", expression),
            ("expressionType", expression_type),
        ];
        self.send(code, &ext, b"", 0).await
    }
}

/// A pull's fields.
#[derive(Clone, Copy)]
pub struct Pull<'a> {
    pub code: i32,
    pub topic: &'a str,
    pub queue: i32,
    pub offset: i64,
    /// 1 commit, 2 suspend, 4 subscription.
    pub flags: i32,
    pub commit: i64,
    pub suspend_ms: i64,
    pub version: i64,
    pub expression: &'a str,
    pub max: i32,
    pub expression_type: &'a str,
}

/// A pull of everything from an offset of queue 0 that may not be held.
pub const fn from(offset: i64) -> Pull<'static> {
    Pull {
        code: 11,
        topic: "t",
        queue: 0,
        offset,
        flags: 4,
        commit: 0,
        suspend_ms: 0,
        version: 0,
        expression: "*",
        max: 32,
        expression_type: "TAG",
    }
}

/// The same pull, to be held.
pub const fn held(pull: Pull<'_>, suspend_ms: i64) -> Pull<'_> {
    Pull { flags: pull.flags | 2, suspend_ms, ..pull }
}

pub fn messages(body: &[u8]) -> Vec<Message> {
    let read = records(body).map(|(_, record)| record.unwrap());
    read.map(|record: Record<'_>| {
        assert!(record.body_crc_matches());
        Message {
            body: String::from_utf8(record.body().to_vec()).unwrap(),
            queue_offset: record.queue_offset().0,
            physical_offset: record.physical_offset().0,
            store_time: record.store_timestamp_ms(),
        }
    })
    .collect()
}

pub fn bodies(answer: &Command) -> Vec<String> {
    messages(&answer.body).into_iter().map(|message| message.body).collect()
}

/// Code, remark and (next, min, max) of a pull's answer.
pub fn outcome(answer: &Command) -> (i32, &str, [i64; 3]) {
    let keys: Vec<&str> = answer.ext.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["suggestWhichBrokerId", "nextBeginOffset", "minOffset", "maxOffset"], "{answer:?}");
    assert_eq!(answer.ext.get("suggestWhichBrokerId"), Some("0"));
    let number = |key| answer.ext.get(key).unwrap().parse().unwrap();
    let remark = answer.remark.as_deref().unwrap_or_default();
    (answer.code, remark, [number("nextBeginOffset"), number("minOffset"), number("maxOffset")])
}

/// Code and remark of a refusal, which has no ext fields.
pub fn refusal(answer: &Command) -> (i32, &str) {
    assert_eq!((answer.ext.len(), answer.body.len()), (0, 0), "{answer:?}");
    (answer.code, answer.remark.as_deref().unwrap_or_default())
}
