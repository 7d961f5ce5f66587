//! One broker group in the route table: who is in it, who leads it, whose topics count.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorumq_store::mutant::{Mutant, planted};

use super::route_table::{
    GroupAddrs, MASTER_ID, MAX_TOPICS, Master, Refusal, Registered, Registration, Removed, TableVersion, TopicTable,
    share,
};

/// A registered broker.
#[derive(Debug)]
pub(super) struct Member {
    pub addr: String,
    pub broker_id: i64,
    pub term: Option<u64>,
    /// `None` if what we hold is no longer what the broker sent.
    pub version: Option<TableVersion>,
    pub conn: u64,
    /// When it last registered or asked.
    pub seen_ms: u64,
    cluster: String,
    ha_addr: String,
    topics: Arc<TopicTable>,
}

/// A broker group.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// By address: one address is one broker, so its id can never be registered twice.
    members: BTreeMap<String, Member>,
    uuid: Option<String>,
    /// The highest term a leader registered with. Outlives that leader's registration.
    leader_term: Option<u64>,
    /// When the last member went.
    empty_since_ms: u64,
    /// Address of the member whose topics are the group's.
    source: Option<String>,
}

impl Group {
    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn empty_since_ms(&self) -> u64 {
        self.empty_since_ms
    }

    pub fn has(&self, addr: &str) -> bool {
        self.members.contains_key(addr)
    }

    pub fn member_mut(&mut self, addr: &str) -> Option<&mut Member> {
        self.members.get_mut(addr)
    }

    /// Whether the registration may be taken.
    pub fn check(&self, new: &Registration) -> Result<(), Refusal> {
        let kept = self
            .kept_topics(new)
            .map_or(0, |kept| kept.keys().filter(|topic| !new.topics.contains_key(*topic)).count());
        let count = new.topics.len() + kept;
        if count > MAX_TOPICS {
            return Err(Refusal::TooManyTopics { addr: new.addr.clone(), count, limit: MAX_TOPICS });
        }
        if self.is_other_group(new)
            && let Some(known) = &self.uuid
        {
            // With no member left, the name is free: the group was formed anew.
            if self.members.keys().any(|addr| *addr != new.addr) {
                return Err(Refusal::OtherGroup {
                    group: new.group.clone(),
                    addr: new.addr.clone(),
                    known: known.clone(),
                    members: self.members.keys().cloned().collect(),
                });
            }
            return Ok(());
        }
        match self.leader_term {
            _ if planted(Mutant::RouteTermFenceOff) => Ok(()),
            Some(known) if new.broker_id == MASTER_ID && new.term < Some(known) => {
                Err(Refusal::StaleTerm { group: new.group.clone(), addr: new.addr.clone(), term: new.term, known })
            }
            _ => Ok(()),
        }
    }

    /// The topics a broker keeps that its new registration need not mention.
    fn kept_topics(&self, new: &Registration) -> Option<&TopicTable> {
        let before = self.members.get(&new.addr).filter(|_| new.term.is_none())?;
        Some(&before.topics)
    }

    fn is_other_group(&self, new: &Registration) -> bool {
        matches!((&self.uuid, &new.group_uuid), (Some(known), Some(new)) if known != new)
    }

    /// Takes a registration that [`Self::check`] allowed.
    pub fn register(&mut self, mut new: Registration, now_ms: u64) -> Registered {
        if self.is_other_group(&new) {
            *self = Self::default();
        }
        if let Some(kept) = self.kept_topics(&new) {
            for (topic, queues) in kept {
                new.topics.entry(topic.clone()).or_insert(*queues);
            }
        }
        let displaced = self.displace(&new);
        if new.broker_id == MASTER_ID {
            self.leader_term = self.leader_term.max(new.term);
        }
        if new.group_uuid.is_some() {
            self.uuid = new.group_uuid;
        }
        let before = self.members.get(&new.addr);
        let changed = before.is_none_or(|before| (before.broker_id, before.term) != (new.broker_id, new.term))
            || !displaced.is_empty();
        let known: Vec<_> = self.members.values().map(|member| Arc::clone(&member.topics)).collect();
        let member = Member {
            addr: new.addr.clone(),
            broker_id: new.broker_id,
            term: new.term,
            version: Some(new.version),
            conn: new.conn,
            seen_ms: now_ms,
            cluster: new.cluster,
            ha_addr: new.ha_addr,
            topics: share(new.topics, &known),
        };
        self.members.insert(new.addr, member);
        self.choose_source();
        let master = if new.broker_id == MASTER_ID { None } else { self.master() };
        Registered { master, changed, displaced }
    }

    /// Takes out other addresses under the id of the newcomer. A former leader that lives on registers again as
    /// a follower; until then nobody should send to it.
    fn displace(&mut self, new: &Registration) -> Vec<String> {
        let same_id =
            self.members.values().filter(|member| member.broker_id == new.broker_id && member.addr != new.addr);
        let displaced: Vec<String> = same_id.map(|member| member.addr.clone()).collect();
        for addr in &displaced {
            self.members.remove(addr);
        }
        displaced
    }

    /// Takes out the members that `gone` names.
    pub fn remove_where(&mut self, name: &str, now_ms: u64, gone: impl Fn(&Member, u64) -> bool) -> Vec<Removed> {
        let chosen = self.members.values().filter(|member| gone(member, now_ms));
        let removed: Vec<Removed> = chosen
            .map(|member| Removed { group: name.to_owned(), addr: member.addr.clone(), broker_id: member.broker_id })
            .collect();
        for broker in &removed {
            self.members.remove(&broker.addr);
        }
        if !removed.is_empty() {
            self.choose_source();
            if self.members.is_empty() {
                self.empty_since_ms = now_ms;
            }
        }
        removed
    }

    /// The topics of the group: those of the highest term, of the leader if it has that term, else of the member
    /// that is furthest.
    fn choose_source(&mut self) {
        let best = self.members.values().max_by_key(|member| {
            (member.term, member.broker_id == MASTER_ID, member.version, std::cmp::Reverse(member.broker_id))
        });
        self.source = best.map(|member| member.addr.clone());
    }

    fn source(&self) -> Option<&Member> {
        self.source.as_ref().and_then(|addr| self.members.get(addr))
    }

    pub fn topics(&self) -> Option<&TopicTable> {
        self.source().map(|member| &*member.topics)
    }

    /// Empty if the group has no member.
    pub fn cluster(&self) -> &str {
        self.source().map_or("", |member| &member.cluster)
    }

    fn master(&self) -> Option<Master> {
        let master = self.members.values().find(|member| member.broker_id == MASTER_ID)?;
        Some(Master { addr: master.addr.clone(), ha_addr: master.ha_addr.clone() })
    }

    pub fn addrs(&self, name: &str) -> GroupAddrs {
        let addrs = self.members.values().map(|member| (member.broker_id, member.addr.clone())).collect();
        GroupAddrs { cluster: self.cluster().to_owned(), group: name.to_owned(), addrs }
    }

    /// Forgets a topic; whether clients saw it.
    pub fn delete_topic(&mut self, topic: &str) -> bool {
        let seen = self.topics().is_some_and(|topics| topics.contains_key(topic));
        let mut left: Vec<Arc<TopicTable>> = Vec::new();
        for member in self.members.values_mut() {
            if !member.topics.contains_key(topic) {
                continue;
            }
            let mut topics = TopicTable::clone(&member.topics);
            topics.remove(topic);
            member.topics = share(topics, &left);
            left.push(Arc::clone(&member.topics));
            // The broker's version no longer describes what we hold, so it must register in full next time.
            member.version = None;
        }
        seen
    }
}
