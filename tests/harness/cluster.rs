//! NameServers and broker groups of three.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quorumq::broker::members::GroupStatus;
use quorumq::client::{Admin, TopicSpec};
use quorumq::protocol::code::request;
use quorumq::protocol::{ExtFields, body};
use quorumq_raft::runtime::tokio::Tokio;

use super::node::Node;
use super::ports::Ports;
use super::{Directory, until};

/// The cluster's name, RocketMQ's default.
pub const CLUSTER: &str = "DefaultCluster";
/// Longest a group may take to form or to elect: generous, for a slow machine.
pub const READY: Duration = Duration::from_secs(60);
/// Members of a group.
const MEMBERS: usize = 3;

/// What to start.
#[derive(Clone, Debug)]
pub struct Plan {
    pub name: &'static str,
    pub name_servers: usize,
    pub groups: &'static [&'static str],
    /// Bytes of a CommitLog file.
    pub segment: u64,
    /// More lines of every broker.conf.
    pub conf: &'static [(&'static str, &'static str)],
}

impl Plan {
    /// One NameServer and one group of three, with small files.
    pub fn new(name: &'static str) -> Self {
        Self { name, name_servers: 1, groups: &["broker-a"], segment: 4 << 20, conf: &[] }
    }

    /// Makes it, without starting a process.
    pub fn make(self) -> Cluster {
        let dir = Directory::new(self.name);
        let name_servers: Vec<_> =
            (0..self.name_servers).map(|n| Node::name_server(dir.path(), &format!("namesrv-{n}"))).collect();
        let groups = self.groups.iter().map(|group| Group::new(&self, dir.path(), group, &name_servers)).collect();
        Cluster { groups, name_servers, dir }
    }

    /// Starts it, and waits until every group has a leader.
    pub async fn start(self) -> Cluster {
        let mut cluster = self.make();
        cluster.start().await;
        cluster
    }
}

/// One broker group.
#[derive(Debug)]
pub struct Group {
    pub name: String,
    pub nodes: Vec<Node>,
}

impl Group {
    fn new(plan: &Plan, dir: &Path, name: &str, name_servers: &[Node]) -> Self {
        let ports: Vec<_> = (0..MEMBERS).map(|_| Ports::take()).collect();
        let peers: Vec<_> =
            ports.iter().enumerate().map(|(n, ports)| format!("n{n}-127.0.0.1:{}", ports.raft())).collect();
        let peers = peers.join(";");
        let namesrv = name_server_list(name_servers);
        let nodes = ports.into_iter().enumerate().map(|(n, ports)| {
            let node = Node::broker(dir, &format!("{name}-n{n}"), ports);
            let mut conf = format!(
                "brokerClusterName={CLUSTER}\nbrokerName={name}\nbrokerIP1=127.0.0.1\nbindAddress=127.0.0.1\n\
                 listenPort={}\nnamesrvAddr={namesrv}\nstorePathRootDir={}\ndLegerPeers={peers}\ndLegerSelfId=n{n}\n\
                 bootstrap=true\nmappedFileSizeCommitLog={}\n",
                node.ports.listen(),
                node.store.display(),
                plan.segment,
            );
            if !plan.conf.iter().any(|(key, _)| *key == "diskSpaceReserveBytes") {
                // The machine's disk may be nearly full.
                conf.push_str("diskSpaceReserveBytes=0\n");
            }
            conf.extend(plan.conf.iter().map(|(key, value)| format!("{key}={value}\n")));
            node.write_conf(&conf);
            node
        });
        Self { name: name.to_owned(), nodes: nodes.collect() }
    }

    /// The node that clients reach at this address.
    pub fn at(&mut self, addr: &str) -> &mut Node {
        let found = self.nodes.iter_mut().find(|node| node.addr().to_string() == addr);
        found.unwrap_or_else(|| panic!("no node has the address {addr}"))
    }

    /// Nodes but the leader.
    pub fn followers(&self, leader: &Leader) -> Vec<&Node> {
        self.nodes.iter().filter(|node| node.addr().to_string() != leader.addr).collect()
    }
}

/// Who led a group, and when we heard so.
#[derive(Clone, Debug)]
pub struct Leader {
    pub id: u64,
    pub term: u64,
    /// Where clients reach it.
    pub addr: String,
    /// When it said so itself.
    pub at: Instant,
}

/// Running processes; all killed when dropped.
#[derive(Debug)]
pub struct Cluster {
    pub groups: Vec<Group>,
    pub name_servers: Vec<Node>,
    // Last: the directory goes when nobody writes to it any more.
    pub dir: Directory,
}

impl Cluster {
    /// Starts everything that was made, and waits until every group has a leader.
    pub async fn start(&mut self) {
        self.name_servers.iter_mut().for_each(Node::start);
        self.start_brokers().await;
    }

    /// Starts every broker, and waits until every group has a leader.
    pub async fn start_brokers(&mut self) {
        self.groups.iter_mut().flat_map(|group| &mut group.nodes).for_each(Node::start);
        for at in 0..self.groups.len() {
            self.leader(at).await;
        }
    }

    /// NameServers as clients are told them.
    pub fn namesrv(&self) -> String {
        name_server_list(&self.name_servers)
    }

    /// A client for administration.
    pub fn admin(&self) -> Admin<Tokio> {
        Admin::start(&self.namesrv()).expect("the list is well-formed")
    }

    /// A client for administration that knows the groups' members.
    pub async fn acquainted_admin(&self) -> Admin<Tokio> {
        let admin = self.admin();
        let know = async || admin.groups(None).await.ok().filter(|groups| groups.len() == self.groups.len());
        until("every group registered", READY, know).await;
        admin
    }

    /// The first group.
    pub fn group(&mut self) -> &mut Group {
        &mut self.groups[0]
    }

    /// What the leader of the group at this place says, if one says anything.
    pub async fn status(&self, group: usize) -> Option<GroupStatus> {
        let admin = self.admin();
        let found = self.ask_status(&admin, group).await;
        admin.close().await;
        found
    }

    async fn ask_status(&self, admin: &Admin<Tokio>, group: usize) -> Option<GroupStatus> {
        let nodes = &self.groups[group].nodes;
        // All at once: one that is frozen answers late or never.
        let mut answers: FuturesUnordered<_> = nodes.iter().map(|node| ask_status(admin, node.addr())).collect();
        while let Some(answer) = answers.next().await {
            if answer.as_ref().is_some_and(|status| status.leader.is_some()) {
                return answer;
            }
        }
        None
    }

    /// Waits until the group at this place has a leader that says so itself.
    pub async fn leader(&self, group: usize) -> Leader {
        let admin = self.admin();
        let found = until("a leader", READY, async || self.ask_status(&admin, group).await.and_then(leader_of)).await;
        admin.close().await;
        found
    }

    /// Waits until the group at this place has a leader of a term after `term`.
    pub async fn leader_after(&self, group: usize, term: u64) -> Leader {
        let admin = self.admin();
        let what = format!("a leader of a term after {term}");
        let look =
            async || self.ask_status(&admin, group).await.and_then(leader_of).filter(|leader| leader.term > term);
        let found = until(&what, READY, look).await;
        admin.close().await;
        found
    }

    /// Waits until every member of the group at this place has applied what the leader has committed.
    pub async fn settled(&self, group: usize) -> GroupStatus {
        let admin = self.admin();
        let look = async || {
            let status = self.ask_status(&admin, group).await?;
            let applied = status.members.first()?.applied?;
            let same = |member: &quorumq::broker::members::MemberStatus| {
                member.applied == Some(applied) && member.last == Some(applied)
            };
            status.members.iter().all(same).then_some(status)
        };
        let found = until("members that have applied the same", READY, look).await;
        admin.close().await;
        found
    }

    /// Creates a topic in every group and waits until it is routed to all leaders.
    pub async fn create_topic(&self, topic: &str, queues: u32) {
        let admin = self.admin();
        let created = admin.create_topic(&TopicSpec::new(topic, queues), None).await;
        let groups = created.unwrap_or_else(|e| panic!("{topic} is not created: {e}"));
        assert_eq!(groups.len(), self.groups.len(), "{topic} is in {groups:?}");
        admin.await_route(topic, &groups, READY).await.expect("a route");
        admin.close().await;
    }

    /// Ends every broker as its operator would, and checks how they end.
    pub fn stop_brokers(&mut self) {
        for node in self.groups.iter_mut().flat_map(|group| &mut group.nodes) {
            let (status, took) = node.terminate();
            assert!(status.success(), "{} ended with {status}:\n{}", node.name, node.output());
            assert!(took <= super::node::STOP_LIMIT, "{} took {took:?} to stop", node.name);
        }
    }
}

async fn ask_status(admin: &Admin<Tokio>, addr: SocketAddr) -> Option<GroupStatus> {
    let answer = admin.call(addr, request::GROUP_STATUS, ExtFields::default(), "").await.ok()?;
    (answer.code == 0).then(|| body::decode(&answer.body).expect("a group's status"))
}

fn leader_of(status: GroupStatus) -> Option<Leader> {
    let id = status.leader?;
    let member = status.members.iter().find(|member| member.id == id && member.role == "leader")?;
    Some(Leader { id, term: status.term, addr: member.client_addr.clone(), at: Instant::now() })
}

fn name_server_list(nodes: &[Node]) -> String {
    let addrs: Vec<_> = nodes.iter().map(|node| node.addr().to_string()).collect();
    addrs.join(";")
}
