//! What the NameServer knows of the brokers: a plain value, changed by registrations, time as data.
//!
//! The unit is the group (RocketMQ's `brokerName`): its members are broker addresses, each with the id, the Raft
//! term and the topics it last registered. Everything a client sees is derived from these.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::group::{Group, Member};

/// Brokers one NameServer keeps, over all groups: more than any known cluster has, and a bound on what a host
/// that registers nonsense can make us hold.
pub const MAX_BROKERS: usize = 4096;

/// Topics of one broker: three times the largest cluster on record (70,000, apache/rocketmq issue 5296).
pub const MAX_TOPICS: usize = 200_000;

/// Id of a group's master, which is always its Raft leader.
pub const MASTER_ID: i64 = 0;

/// Queues and permissions of a topic in one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicQueues {
    /// Queues consumers read.
    pub read_queue_nums: i32,
    /// Queues producers write.
    pub write_queue_nums: i32,
    /// RocketMQ's permission bits: 4 read, 2 write, 1 inherit.
    pub perm: i32,
    /// RocketMQ's topicSysFlag.
    pub topic_sys_flag: i32,
}

/// Topics by name.
pub type TopicTable = BTreeMap<String, TopicQueues>;

/// Version of a broker's topic table, compared for equality and, field by field, for age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableVersion {
    /// Rises with a change of role or format.
    pub state_version: i64,
    /// Counts changes.
    pub counter: i64,
    /// Milliseconds since the epoch of the last change.
    pub timestamp: i64,
}

/// A broker's registration (code 103).
#[derive(Clone, Debug)]
pub struct Registration {
    /// RocketMQ's cluster name.
    pub cluster: String,
    /// RocketMQ's brokerName.
    pub group: String,
    /// `ip:port` that clients dial.
    pub addr: String,
    /// `ip:port` of RocketMQ's HA port; handed to replicas of brokers that replicate that way.
    pub ha_addr: String,
    /// 0 the leader, 1..n followers.
    pub broker_id: i64,
    /// Raft term; `None` from a broker that is not ours.
    pub term: Option<u64>,
    /// Identity of the Raft group; `None` from a broker that is not ours.
    pub group_uuid: Option<String>,
    /// Version of `topics`.
    pub version: TableVersion,
    /// With a term, all topics of the broker. Without, what it wants to add or change: Apache's brokers register a
    /// new topic by itself.
    pub topics: TopicTable,
    /// The connection it came on: when that closes, the registration is gone.
    pub conn: u64,
}

/// Why a registration is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A newer leader is, or was a moment ago, registered.
    #[error("{addr} registers as leader of {group} in term {}, but term {known} is known", show_term(*.term))]
    StaleTerm {
        /// The group.
        group: String,
        /// Who tried.
        addr: String,
        /// The term it claims.
        term: Option<u64>,
        /// The highest term a leader of the group registered with.
        known: u64,
    },
    /// Two Raft groups claim one name.
    #[error(
        "brokerName {group} belongs to another Raft group ({known}, with {}); give the group of {addr} another \
         brokerName, or stop the other one", .members.join(", ")
    )]
    OtherGroup {
        /// The name.
        group: String,
        /// Who tried.
        addr: String,
        /// The identity registered.
        known: String,
        /// Addresses registered for it.
        members: Vec<String>,
    },
    /// The table is full.
    #[error("{limit} brokers are registered, which is the limit")]
    TooManyBrokers {
        /// [`MAX_BROKERS`].
        limit: usize,
    },
    /// The broker has too many topics.
    #[error("{addr} would have {count} topics, the limit is {limit}")]
    TooManyTopics {
        /// Who tried.
        addr: String,
        /// How many.
        count: usize,
        /// [`MAX_TOPICS`].
        limit: usize,
    },
}

fn show_term(term: Option<u64>) -> String {
    term.map_or_else(|| "none".to_owned(), |term| term.to_string())
}

/// What a registration led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    /// The group's master, for a member that is not it.
    pub master: Option<Master>,
    /// Whether an address, id or term changed: worth a line in the log.
    pub changed: bool,
    /// Addresses that lost their place to this one.
    pub displaced: Vec<String>,
}

/// Where a group's master is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Master {
    /// `ip:port` for clients.
    pub addr: String,
    /// `ip:port` of its HA port.
    pub ha_addr: String,
}

/// A registration that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The group.
    pub group: String,
    /// The broker's address.
    pub addr: String,
    /// The id it had.
    pub broker_id: i64,
}

/// A topic's queues in one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupQueues {
    /// The group.
    pub group: String,
    /// Its queues.
    pub queues: TopicQueues,
}

/// A group's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupAddrs {
    /// The cluster it belongs to.
    pub cluster: String,
    /// The group.
    pub group: String,
    /// Address by broker id.
    pub addrs: BTreeMap<i64, String>,
}

/// Where a topic is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Groups that have the topic, by name.
    pub queues: Vec<GroupQueues>,
    /// Addresses of the same groups, in the same order.
    pub groups: Vec<GroupAddrs>,
}

/// All registrations.
#[derive(Debug)]
pub struct RouteTable {
    groups: BTreeMap<String, Group>,
    expiry_ms: u64,
}

impl RouteTable {
    /// An empty table whose registrations expire `expiry_ms` after they were last heard of.
    pub fn new(expiry_ms: u64) -> Self {
        Self { groups: BTreeMap::new(), expiry_ms }
    }

    /// Takes a registration at time `now_ms`.
    ///
    /// # Errors
    /// [`Refusal`]; the table is then unchanged.
    pub fn register(&mut self, registration: Registration, now_ms: u64) -> Result<Registered, Refusal> {
        self.check(&registration)?;
        let name = registration.group.clone();
        let group = self.groups.entry(name).or_default();
        group.check(&registration)?;
        Ok(group.register(registration, now_ms))
    }

    fn check(&self, registration: &Registration) -> Result<(), Refusal> {
        let known = self.groups.get(&registration.group).is_some_and(|group| group.has(&registration.addr));
        // A group that is only remembered for its term takes a place too.
        let brokers: usize = self.groups.values().map(|group| group.len().max(1)).sum();
        if !known && brokers >= MAX_BROKERS {
            return Err(Refusal::TooManyBrokers { limit: MAX_BROKERS });
        }
        Ok(())
    }

    /// Whether the broker must register again (code 322): it is unknown here, or with another topic table, id or
    /// term. If not, the question itself keeps its registration alive, now on connection `conn`.
    pub fn query(&mut self, asked: &Asked<'_>, now_ms: u64) -> bool {
        let member = self.groups.get_mut(asked.group).and_then(|group| group.member_mut(asked.addr));
        let Some(member) = member else { return true };
        let same = member.version == Some(asked.version)
            && member.broker_id == asked.broker_id
            && asked.term.is_none_or(|term| member.term == Some(term));
        if same {
            member.conn = asked.conn;
            member.seen_ms = now_ms;
        }
        !same
    }

    /// Takes a broker out (code 104); whether it was there.
    pub fn unregister(&mut self, group: &str, addr: &str, now_ms: u64) -> Option<Removed> {
        let removed = self.groups.get_mut(group)?.remove_where(group, now_ms, |member, _| member.addr == addr);
        removed.into_iter().next()
    }

    /// Takes out all that was registered on a connection that has ended.
    pub fn connection_closed(&mut self, conn: u64, now_ms: u64) -> Vec<Removed> {
        self.remove_where(now_ms, |member, _| member.conn == conn)
    }

    /// Takes out all that was not heard of for the expiry time.
    pub fn expire(&mut self, now_ms: u64) -> Vec<Removed> {
        let expiry_ms = self.expiry_ms;
        let removed = self.remove_where(now_ms, |member, now_ms| now_ms.saturating_sub(member.seen_ms) > expiry_ms);
        // An empty group is kept for as long, so that its term still holds off a leader of the past.
        self.groups.retain(|_, group| group.len() > 0 || now_ms.saturating_sub(group.empty_since_ms()) <= expiry_ms);
        removed
    }

    fn remove_where(&mut self, now_ms: u64, gone: impl Fn(&Member, u64) -> bool) -> Vec<Removed> {
        self.groups.iter_mut().flat_map(|(name, group)| group.remove_where(name, now_ms, &gone)).collect()
    }

    /// Where `topic` is; `None` if no group has it.
    pub fn pick(&self, topic: &str) -> Option<Route> {
        let mut route = Route::default();
        for (name, group) in &self.groups {
            let Some(&queues) = group.topics().and_then(|topics| topics.get(topic)) else {
                continue;
            };
            route.queues.push(GroupQueues { group: name.clone(), queues });
            route.groups.push(group.addrs(name));
        }
        (!route.groups.is_empty()).then_some(route)
    }

    /// Every group with its addresses, by name.
    pub fn groups(&self) -> Vec<GroupAddrs> {
        self.live().map(|(name, group)| group.addrs(name)).collect()
    }

    /// Topic names, of one cluster or of all.
    pub fn topics(&self, cluster: Option<&str>) -> BTreeSet<String> {
        self.live()
            .filter(|(_, group)| cluster.is_none_or(|cluster| group.cluster() == cluster))
            .filter_map(|(_, group)| group.topics())
            .flat_map(|topics| topics.keys().cloned())
            .collect()
    }

    /// Forgets `topic`, in one cluster or in all, until a broker registers it again; how many groups had it.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) -> usize {
        let groups = self.groups.values_mut();
        let chosen = groups.filter(|group| cluster.is_none_or(|cluster| group.cluster() == cluster));
        chosen.map(|group| usize::from(group.delete_topic(topic))).sum()
    }

    fn live(&self) -> impl Iterator<Item = (&String, &Group)> {
        self.groups.iter().filter(|(_, group)| group.len() > 0)
    }
}

/// A broker's question whether its registration still stands (code 322).
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// RocketMQ's brokerName.
    pub group: &'a str,
    /// Its address.
    pub addr: &'a str,
    /// Its id.
    pub broker_id: i64,
    /// Its term, if it sent one.
    pub term: Option<u64>,
    /// Version of its topic table.
    pub version: TableVersion,
    /// The connection it asks on.
    pub conn: u64,
}

/// Shares one table between members that registered equal ones: all members of a group have the same topics.
pub(super) fn share(topics: TopicTable, known: &[Arc<TopicTable>]) -> Arc<TopicTable> {
    known.iter().find(|table| ***table == topics).cloned().unwrap_or_else(|| Arc::new(topics))
}
