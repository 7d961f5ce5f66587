//! What the leader knows of the clients of all nodes: a plain value, time as data.
//!
//! Every node's reports make up its part; a client that is connected to several nodes counts once. A new leader knows
//! nothing until the others have reported, and answers no question about members before.

use std::collections::{BTreeMap, BTreeSet};

use quorumq_raft::types::NodeId;

use crate::broker::call::{ClientSession, Report, Verdict};
use crate::broker::subscription::Subscription;
use crate::protocol::body;
use crate::protocol::body::heartbeat::{ConsumerData, SubscriptionData};

/// A node that has not reported for so long is gone, and its clients with it. Nodes report every 10 s.
pub const SILENCE_MS: u64 = 15_000;
/// A node that could not be reached so many times in a row, once a second, is gone as well.
pub const MISSES: u32 = 3;
/// Longest a new leader waits for the reports of nodes that seem to live.
pub const SETTLE_MS: u64 = 2_000;

/// What came of asking a node whether it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It does.
    Answer,
    /// It was asked, and has not answered.
    Nothing,
    /// It could not be asked.
    NotReached,
}

/// The clients of all nodes, in one term.
#[derive(Debug, Default)]
pub struct Union {
    term: Option<u64>,
    since_ms: u64,
    /// Every living node has reported, or had its time.
    settled: bool,
    nodes: BTreeMap<NodeId, Part>,
    /// Nodes that need not be waited for.
    excused: BTreeSet<NodeId>,
    groups: BTreeMap<String, Group>,
    /// Consumer groups whose members or topics changed.
    changed: BTreeSet<String>,
}

/// One node's clients.
#[derive(Debug)]
struct Part {
    life: u64,
    number: u64,
    seen_ms: u64,
    /// Times it could not be reached since it was heard of.
    missed: u32,
    /// Named so far in a list of all clients that goes on.
    listed: Option<BTreeSet<String>>,
    /// Has told of all its clients once.
    complete: bool,
    clients: BTreeMap<String, Client>,
}

#[derive(Debug, PartialEq, Eq)]
struct Client {
    /// Consumer groups with the JSON of the client's part in each.
    consumers: BTreeMap<String, String>,
    producers: Vec<String>,
}

/// A consumer group over all nodes.
#[derive(Debug, Default)]
struct Group {
    /// The nodes each member is connected to.
    members: BTreeMap<String, BTreeSet<NodeId>>,
    /// Every part's subscription to a topic by its version: the last one counts.
    topics: BTreeMap<String, BTreeMap<(i64, String, NodeId), Told>>,
}

/// A subscription as a member told of it, and as pulls filter by it.
#[derive(Debug)]
struct Told {
    data: SubscriptionData,
    filter: Option<Subscription>,
}

impl Union {
    /// This node leads in `term`: begins anew if that is another one than before.
    pub fn begin(&mut self, term: u64, now_ms: u64) {
        if self.term != Some(term) {
            *self = Self { term: Some(term), since_ms: now_ms, ..Self::default() };
        }
    }

    /// This node does not lead.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The term it is about.
    pub fn term(&self) -> Option<u64> {
        self.term
    }

    /// Takes a node's report.
    pub fn report(&mut self, from: NodeId, report: Report, now_ms: u64) -> Verdict {
        let Report { life, number, full, more, clients, gone } = report;
        let known = self.nodes.get(&from).map(|part| (part.life, part.number));
        let next = match known {
            // A list that was overtaken by a later one must not bring old news back.
            Some((known, at)) if known == life => {
                if full {
                    number > at
                } else {
                    number == at + 1
                }
            }
            _ => full,
        };
        if !next {
            return Verdict::BeginAgain;
        }
        let part = self.nodes.entry(from).or_insert_with(|| Part {
            life,
            number,
            seen_ms: now_ms,
            missed: 0,
            listed: None,
            complete: false,
            clients: BTreeMap::new(),
        });
        (part.life, part.number, part.seen_ms, part.missed) = (life, number, now_ms, 0);
        if full {
            part.listed = Some(BTreeSet::new());
        }
        if let Some(listed) = &mut part.listed {
            listed.extend(clients.iter().map(|client| client.client_id.clone()));
        }
        for client in clients {
            self.update(from, client);
        }
        for client in gone {
            self.remove(from, &client);
        }
        if !more {
            self.complete(from);
        }
        Verdict::Taken
    }

    fn update(&mut self, from: NodeId, session: ClientSession) {
        let ClientSession { client_id, consumers, producers } = session;
        let client = Client { consumers: consumers.into_iter().collect(), producers };
        let Some(part) = self.nodes.get_mut(&from) else { return };
        let before = part.clients.get(&client_id);
        if before == Some(&client) {
            return;
        }
        let came = changed_parts(&client, before);
        let went = before.map(|before| changed_parts(before, Some(&client))).unwrap_or_default();
        let now = client.consumers.clone();
        part.clients.insert(client_id.clone(), client);
        // First in, then out: what a client only changes is never gone in between.
        for (group, json) in &came {
            self.join(group, &client_id, from, json);
        }
        for (group, json) in &went {
            self.part(group, &client_id, from, json, now.get(group));
        }
    }

    fn remove(&mut self, from: NodeId, client_id: &str) {
        let Some(client) = self.nodes.get_mut(&from).and_then(|part| part.clients.remove(client_id)) else { return };
        for (group, json) in &client.consumers {
            self.part(group, client_id, from, json, None);
        }
    }

    /// Ends a list of all clients: those it did not name are gone.
    fn complete(&mut self, from: NodeId) {
        let Some(part) = self.nodes.get_mut(&from) else { return };
        let Some(listed) = part.listed.take() else { return };
        part.complete = true;
        let gone: Vec<String> = part.clients.keys().filter(|id| !listed.contains(*id)).cloned().collect();
        for client in gone {
            self.remove(from, &client);
        }
    }

    /// A client's part in a group begins, or is a new one.
    fn join(&mut self, name: &str, client_id: &str, from: NodeId, json: &str) {
        let group = self.groups.entry(name.to_owned()).or_default();
        let nodes = group.members.entry(client_id.to_owned()).or_default();
        let mut changed = nodes.is_empty();
        nodes.insert(from);
        for data in consumer(json).subscription_data_set {
            let versions = group.topics.entry(data.topic.clone()).or_default();
            changed |= versions.is_empty();
            let key = (data.sub_version, client_id.to_owned(), from);
            // Members told of what they could parse.
            versions.insert(key, Told { filter: Subscription::of(&data).ok(), data });
        }
        if changed {
            self.changed.insert(name.to_owned());
        }
    }

    /// A client's part in a group ends, or was an old one: `now` is what it has become.
    fn part(&mut self, name: &str, client_id: &str, from: NodeId, json: &str, now: Option<&String>) {
        let Some(group) = self.groups.get_mut(name) else { return };
        let mut changed = false;
        if now.is_none()
            && let Some(nodes) = group.members.get_mut(client_id)
        {
            nodes.remove(&from);
            if nodes.is_empty() {
                group.members.remove(client_id);
                changed = true;
            }
        }
        let kept = now.map(|now| topics(now)).unwrap_or_default();
        for (topic, version) in topics(json).difference(&kept) {
            if let Some(versions) = group.topics.get_mut(topic) {
                versions.remove(&(*version, client_id.to_owned(), from));
                if versions.is_empty() {
                    group.topics.remove(topic);
                    changed = true;
                }
            }
        }
        if group.members.is_empty() {
            self.groups.remove(name);
        }
        if changed {
            self.changed.insert(name.to_owned());
        }
    }

    /// A node was asked whether it lives. One that does not answer is not waited for; one that is out of reach, and not
    /// merely slow, is gone if it stays so.
    pub fn asked(&mut self, node: NodeId, heard: Heard) {
        if heard != Heard::Answer {
            self.excused.insert(node);
        }
        let Some(part) = self.nodes.get_mut(&node) else { return };
        match heard {
            Heard::Answer => part.missed = 0,
            Heard::Nothing => {}
            Heard::NotReached => part.missed += 1,
        }
        if part.missed >= MISSES {
            tracing::info!(node, clients = part.clients.len(), "a member cannot be reached: its clients count as gone");
            self.remove_node(node);
        }
    }

    /// Forgets the clients of nodes that are silent.
    pub fn expire(&mut self, now_ms: u64) {
        let silent = |part: &Part| now_ms.saturating_sub(part.seen_ms) > SILENCE_MS;
        let gone: Vec<NodeId> = self.nodes.iter().filter(|(_, part)| silent(part)).map(|(id, _)| *id).collect();
        for node in gone {
            let clients = self.nodes.get(&node).map_or(0, |part| part.clients.len());
            tracing::info!(node, clients, "no report of a member's clients: they count as gone");
            self.remove_node(node);
        }
    }

    fn remove_node(&mut self, node: NodeId) {
        let clients = self.nodes.get(&node).map(|part| part.clients.keys().cloned().collect::<Vec<_>>());
        for client in clients.unwrap_or_default() {
            self.remove(node, &client);
        }
        self.nodes.remove(&node);
    }

    /// Whether every one of `members` has reported, is excused, or had [`SETTLE_MS`] time. Once it is so it stays so.
    pub fn settle(&mut self, members: impl IntoIterator<Item = NodeId>, now_ms: u64) -> bool {
        let reported = |id: NodeId| self.nodes.get(&id).is_some_and(|part| part.complete) || self.excused.contains(&id);
        if !self.settled && self.term.is_some() {
            let late = now_ms.saturating_sub(self.since_ms) >= SETTLE_MS;
            self.settled = late || members.into_iter().all(reported);
        }
        self.settled
    }

    /// Whether lists of members are whole.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Consumer groups whose members are to be told; nothing before it is settled, then all groups once.
    pub fn take_changed(&mut self) -> BTreeSet<String> {
        if self.settled { std::mem::take(&mut self.changed) } else { BTreeSet::new() }
    }

    /// A group's members, sorted.
    pub fn members(&self, group: &str) -> Vec<String> {
        self.groups.get(group).map(|group| group.members.keys().cloned().collect()).unwrap_or_default()
    }

    /// A group's subscriptions, one a topic, sorted: the newest any member told of.
    pub fn subscriptions(&self, group: &str) -> Vec<SubscriptionData> {
        let topics = self.groups.get(group).map(|group| group.topics.values());
        let newest = topics.into_iter().flatten().filter_map(|versions| versions.last_key_value());
        newest.map(|(_, told)| told.data.clone()).collect()
    }

    /// A group's newest subscription to a topic.
    pub fn subscription(&self, group: &str, topic: &str) -> Option<Subscription> {
        let (_, newest) = self.groups.get(group)?.topics.get(topic)?.last_key_value()?;
        newest.filter.clone()
    }
}

/// The parts in groups that `of` has and `other` has not, or has others.
fn changed_parts(of: &Client, other: Option<&Client>) -> Vec<(String, String)> {
    let same = |group: &String, json: &String| other.is_some_and(|other| other.consumers.get(group) == Some(json));
    let parts = of.consumers.iter().filter(|(group, json)| !same(group, json));
    parts.map(|(group, json)| (group.clone(), json.clone())).collect()
}

/// A client's part in a group. Members write what they parsed, so this does not fail.
fn consumer(json: &str) -> ConsumerData {
    body::decode(json.as_bytes()).unwrap_or_default()
}

/// Topics of a client's part in a group, with the version of each subscription.
fn topics(json: &str) -> BTreeSet<(String, i64)> {
    consumer(json).subscription_data_set.into_iter().map(|data| (data.topic, data.sub_version)).collect()
}
