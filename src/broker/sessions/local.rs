//! The clients of this node: a plain value, time as data.
//!
//! A client is known by its connection and its id. Each of its groups lives as long as heartbeats name it, the
//! connection lasts, and the client does not leave.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::limits::{HeartbeatRefused, MAX_BYTES, MAX_CLIENT_ID, MAX_CLIENTS, MAX_CLIENTS_PER_CONNECTION, MAX_GROUPS};
use super::reporting::Reporting;
use crate::broker::call::{ClientSession, Report};
use crate::broker::subscription::Subscription;
use crate::protocol::body;
use crate::protocol::body::heartbeat::{ConsumerData, HeartbeatData};
use crate::protocol::command::Encoding;
use crate::protocol::names;
use crate::server::Conn;

/// A connection's number and a client's id.
type Key = (u64, Arc<str>);

/// The clients of this node.
#[derive(Debug)]
pub struct Local {
    clients: BTreeMap<Key, Client>,
    /// The connections of each client id.
    ids: BTreeMap<Arc<str>, BTreeSet<u64>>,
    /// Consumer groups.
    groups: BTreeMap<Arc<str>, Group>,
    /// JSON of all consumers, in bytes.
    bytes: usize,
    /// What the leader has not been told.
    reporting: Reporting,
}

#[derive(Debug)]
struct Client {
    conn: Conn,
    /// How it writes headers: what is pushed to it is written the same way.
    encoding: Encoding,
    consumers: BTreeMap<Arc<str>, Consumer>,
    /// When each producer group was named last.
    producers: BTreeMap<Arc<str>, u64>,
}

/// A client's part in a consumer group.
#[derive(Debug)]
struct Consumer {
    /// As the heartbeat had it.
    data: ConsumerData,
    /// The same as JSON.
    json: Arc<str>,
    /// By topic.
    subscriptions: Vec<(Arc<str>, Subscription)>,
    /// When a heartbeat named it last.
    seen_ms: u64,
}

/// A consumer group as far as this node knows it.
#[derive(Debug, Default)]
struct Group {
    members: BTreeSet<Key>,
    /// Every member's subscription to a topic by its version: the last one counts.
    topics: BTreeMap<Arc<str>, BTreeMap<(i64, Key), Subscription>>,
}

impl Local {
    /// No client. `life` is a random number, see [`Report::life`].
    pub fn new(life: u64) -> Self {
        Self {
            clients: BTreeMap::new(),
            ids: BTreeMap::new(),
            groups: BTreeMap::new(),
            bytes: 0,
            reporting: Reporting::new(life),
        }
    }

    /// Takes a heartbeat. What it does not name stays: a client may tell of its groups in turns. Says which change of
    /// this node's clients it made, if any; [`Local::told`] tells when the leader knows it.
    ///
    /// # Errors
    /// A limit is passed or a name is no name; nothing has changed.
    pub fn heartbeat(
        &mut self,
        conn: &Conn,
        encoding: Encoding,
        data: &HeartbeatData,
        now_ms: u64,
    ) -> Result<Option<u64>, HeartbeatRefused> {
        let news = self.news(conn, data, now_ms)?;
        if data.consumer_data_set.is_empty() && data.producer_data_set.is_empty() {
            return Ok(None);
        }
        let key: Key = (conn.id(), data.client_id.as_str().into());
        self.ids.entry(Arc::clone(&key.1)).or_default().insert(key.0);
        let client = self.clients.entry(key.clone()).or_insert_with(|| Client {
            conn: conn.clone(),
            encoding,
            consumers: BTreeMap::new(),
            producers: BTreeMap::new(),
        });
        client.encoding = encoding;
        let mut changed = false;
        for producer in &data.producer_data_set {
            changed |= client.producers.insert(producer.group_name.as_str().into(), now_ms).is_none();
        }
        for consumer in &data.consumer_data_set {
            if let Some(known) = client.consumers.get_mut(consumer.group_name.as_str()) {
                known.seen_ms = now_ms;
            }
        }
        for (name, consumer) in news {
            changed = true;
            let before = client.consumers.remove(&name);
            self.bytes -= before.as_ref().map_or(0, |before| before.json.len());
            self.bytes += consumer.json.len();
            let group = self.groups.entry(Arc::clone(&name)).or_default();
            if let Some(before) = &before {
                group.forget(&key, before);
            }
            group.learn(&key, &consumer);
            client.consumers.insert(name, consumer);
        }
        Ok(changed.then(|| self.reporting.changed(&key.1)))
    }

    /// What a heartbeat would change, checked against the limits.
    fn news(
        &self,
        conn: &Conn,
        data: &HeartbeatData,
        now_ms: u64,
    ) -> Result<BTreeMap<Arc<str>, Consumer>, HeartbeatRefused> {
        let client_id = data.client_id.as_str();
        match client_id.len() {
            0 => return Err(HeartbeatRefused::NoClientId),
            len if len > MAX_CLIENT_ID => return Err(HeartbeatRefused::LongClientId { len }),
            _ => {}
        }
        let client = self.clients.get(&(conn.id(), client_id.into()));
        if client.is_none() {
            self.check_room(conn)?;
        }
        let mut names: BTreeSet<&str> = BTreeSet::new();
        let known = client.map(|client| client.consumers.keys().chain(client.producers.keys()));
        names.extend(known.into_iter().flatten().map(|name| &**name));
        for producer in &data.producer_data_set {
            names::check_group(&producer.group_name)?;
            names.insert(&producer.group_name);
        }
        let mut news: BTreeMap<Arc<str>, Consumer> = BTreeMap::new();
        for consumer in &data.consumer_data_set {
            names::check_group(&consumer.group_name)?;
            names.insert(&consumer.group_name);
            let known = client.and_then(|client| client.consumers.get(consumer.group_name.as_str()));
            if known.is_some_and(|known| known.data == *consumer) {
                news.remove(consumer.group_name.as_str());
                continue;
            }
            news.insert(consumer.group_name.as_str().into(), Consumer::new(consumer, now_ms)?);
        }
        if names.len() > MAX_GROUPS {
            return Err(HeartbeatRefused::TooManyGroups { client_id: client_id.to_owned(), count: names.len() });
        }
        let replaced = news.keys().filter_map(|name| client?.consumers.get(name)).map(|before| before.json.len());
        let added = news.values().map(|consumer| consumer.json.len()).sum::<usize>();
        let bytes = self.bytes + added - replaced.sum::<usize>();
        if bytes > MAX_BYTES {
            return Err(HeartbeatRefused::TooManyBytes { bytes });
        }
        Ok(news)
    }

    /// Whether one more client has room.
    fn check_room(&self, conn: &Conn) -> Result<(), HeartbeatRefused> {
        if self.clients.len() >= MAX_CLIENTS {
            return Err(HeartbeatRefused::TooManyClients);
        }
        if self.on_connection(conn.id()).count() >= MAX_CLIENTS_PER_CONNECTION {
            return Err(HeartbeatRefused::TooManyOnConnection);
        }
        Ok(())
    }

    fn on_connection(&self, conn: u64) -> impl Iterator<Item = &Key> {
        let from: Key = (conn, "".into());
        self.clients.range(from..).map(|(key, _)| key).take_while(move |key| key.0 == conn)
    }

    /// A client leaves these groups. Whether it was in one.
    pub fn leave(&mut self, conn: u64, client_id: &str, consumer: Option<&str>, producer: Option<&str>) -> bool {
        let key: Key = (conn, client_id.into());
        let Some(client) = self.clients.get_mut(&key) else { return false };
        let mut changed = producer.is_some_and(|group| client.producers.remove(group).is_some());
        if let Some(group) = consumer {
            changed |= self.remove_consumer(&key, group);
        }
        if changed {
            self.changed(&key);
        }
        changed
    }

    /// A connection has ended. Whether it had clients.
    pub fn lost(&mut self, conn: u64) -> bool {
        let keys: Vec<Key> = self.on_connection(conn).cloned().collect();
        for key in &keys {
            self.remove_where(key, |_| true);
        }
        !keys.is_empty()
    }

    /// Forgets groups that no heartbeat has named for `expiry_ms`. Whether there was one.
    pub fn expire(&mut self, now_ms: u64, expiry_ms: u64) -> bool {
        let old = |seen_ms: u64| now_ms.saturating_sub(seen_ms) > expiry_ms;
        let is_old = |client: &Client| {
            client.consumers.values().any(|consumer| old(consumer.seen_ms))
                || client.producers.values().any(|seen_ms| old(*seen_ms))
        };
        let keys: Vec<Key> =
            self.clients.iter().filter(|(_, client)| is_old(client)).map(|(key, _)| key.clone()).collect();
        for key in &keys {
            tracing::debug!(client = %key.1, "no heartbeat for the expiry time: the client's groups forget it");
            self.remove_where(key, old);
        }
        !keys.is_empty()
    }

    fn remove_where(&mut self, key: &Key, gone: impl Fn(u64) -> bool) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.producers.retain(|_, seen_ms| !gone(*seen_ms));
        let consumers = client.consumers.iter().filter(|(_, consumer)| gone(consumer.seen_ms));
        let groups: Vec<Arc<str>> = consumers.map(|(name, _)| Arc::clone(name)).collect();
        for group in groups {
            self.remove_consumer(key, &group);
        }
        self.changed(key);
    }

    fn remove_consumer(&mut self, key: &Key, name: &str) -> bool {
        let Some(consumer) = self.clients.get_mut(key).and_then(|client| client.consumers.remove(name)) else {
            return false;
        };
        self.bytes -= consumer.json.len();
        if let Some(group) = self.groups.get_mut(name) {
            group.forget(key, &consumer);
            if group.members.is_empty() {
                self.groups.remove(name);
            }
        }
        true
    }

    /// Notes a change of a client, and forgets it if it is in no group any more.
    fn changed(&mut self, key: &Key) {
        let in_none = |client: &Client| client.consumers.is_empty() && client.producers.is_empty();
        if self.clients.get(key).is_some_and(in_none) {
            self.clients.remove(key);
            if let Some(conns) = self.ids.get_mut(&key.1) {
                conns.remove(&key.0);
                if conns.is_empty() {
                    self.ids.remove(&key.1);
                }
            }
        }
        self.reporting.changed(&key.1);
    }

    /// Has the client reported again: something that follows from it is missing at the leader. Says which change that
    /// is, as [`Local::heartbeat`] does.
    pub fn report_again(&mut self, client_id: &str) -> u64 {
        self.reporting.changed(&client_id.into())
    }

    /// What the newest subscription of this node's members of a group to a topic is.
    pub fn subscription(&self, group: &str, topic: &str) -> Option<Subscription> {
        let (_, newest) = self.groups.get(group)?.topics.get(topic)?.last_key_value()?;
        Some(newest.clone())
    }

    /// The connections of this node's members of a group, each once.
    pub fn consumers(&self, group: &str) -> Vec<(Conn, Encoding)> {
        let Some(group) = self.groups.get(group) else { return Vec::new() };
        let mut found: Vec<(Conn, Encoding)> = Vec::new();
        for key in &group.members {
            // Members are sorted by connection.
            let again = found.last().is_some_and(|(conn, _)| conn.id() == key.0);
            if let Some(client) = self.clients.get(key).filter(|_| !again) {
                found.push((client.conn.clone(), client.encoding));
            }
        }
        found
    }

    /// The next report has all clients: there is a new leader, or it missed a report.
    pub fn begin_again(&mut self) {
        self.reporting.begin_again(self.ids.keys());
    }

    /// What the leader is to be told next; a report of nothing tells that this node is there.
    pub fn next_report(&mut self) -> Report {
        let Self { reporting, ids, clients, .. } = self;
        reporting.next(|id| session(ids, clients, id))
    }

    /// The leader has taken the last report. Whether there is more to report.
    pub fn taken(&mut self) -> bool {
        self.reporting.taken()
    }

    /// The last change that the leader knows.
    pub fn told(&self) -> u64 {
        self.reporting.told()
    }
}

/// All groups of a client id, over its connections to this node. Of one group named on two connections the newer
/// connection's counts.
fn session(
    ids: &BTreeMap<Arc<str>, BTreeSet<u64>>,
    clients: &BTreeMap<Key, Client>,
    id: &Arc<str>,
) -> Option<ClientSession> {
    let mut consumers: BTreeMap<&str, &str> = BTreeMap::new();
    let mut producers: BTreeSet<&str> = BTreeSet::new();
    for conn in ids.get(id)? {
        let Some(client) = clients.get(&(*conn, Arc::clone(id))) else { continue };
        consumers.extend(client.consumers.iter().map(|(name, consumer)| (&**name, &*consumer.json)));
        producers.extend(client.producers.keys().map(|name| &**name));
    }
    Some(ClientSession {
        client_id: id.as_ref().to_owned(),
        consumers: consumers.into_iter().map(|(name, json)| (name.to_owned(), json.to_owned())).collect(),
        producers: producers.into_iter().map(str::to_owned).collect(),
    })
}

impl Consumer {
    fn new(data: &ConsumerData, now_ms: u64) -> Result<Self, HeartbeatRefused> {
        let subscriptions = data.subscription_data_set.iter();
        let subscriptions = subscriptions
            .map(|data| Ok((data.topic.as_str().into(), Subscription::of(data)?)))
            .collect::<Result<_, _>>();
        let json = String::from_utf8_lossy(&body::encode(data)).as_ref().into();
        Ok(Self {
            data: data.clone(),
            json,
            subscriptions: subscriptions.map_err(HeartbeatRefused::Tags)?,
            seen_ms: now_ms,
        })
    }
}

impl Group {
    fn learn(&mut self, key: &Key, consumer: &Consumer) {
        self.members.insert(key.clone());
        for (topic, subscription) in &consumer.subscriptions {
            let versions = self.topics.entry(Arc::clone(topic)).or_default();
            versions.insert((subscription.version, key.clone()), subscription.clone());
        }
    }

    fn forget(&mut self, key: &Key, consumer: &Consumer) {
        self.members.remove(key);
        for (topic, subscription) in &consumer.subscriptions {
            if let Some(versions) = self.topics.get_mut(topic) {
                versions.remove(&(subscription.version, key.clone()));
                if versions.is_empty() {
                    self.topics.remove(topic);
                }
            }
        }
    }
}
