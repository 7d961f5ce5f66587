//! One broker group as the client sees it: its members, who leads, and whether it can be used right now.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorumq_raft::runtime::Runtime;

use super::gate::Gate;
use crate::client::remoting::CallError;
use crate::client::time::now;
use crate::protocol::ext::ExtFields;

/// How long a member that could not be reached is left out.
const UNREACHABLE: Duration = Duration::from_secs(1);

/// The same for one whose connection broke: dialling it again soon tells more.
const BROKEN: Duration = Duration::from_millis(100);

/// The same for one that did not answer in time: it may hang for long, and asking it costs a whole timeout.
const HANGING: Duration = Duration::from_secs(2);

/// Ext field of a response: "ip:port" of the leader, as the answering member knows it. QuoruMQ's own.
pub const EXT_LEADER: &str = "leader";

/// Ext field of a response: the term of that leader. QuoruMQ's own.
pub const EXT_TERM: &str = "term";

/// A broker group (RocketMQ's `brokerName`). Any member takes any request; the leader spares a hop.
#[derive(Debug)]
pub struct Group<R: Runtime> {
    name: Arc<str>,
    state: Mutex<State<R>>,
    /// For sends. A leader may refuse them (its disk is full) and still answer queries.
    pub sends: Gate<R>,
    /// For everything else.
    pub queries: Gate<R>,
}

#[derive(Debug)]
struct State<R: Runtime> {
    cluster: String,
    /// By brokerId: 0 is the leader as the NameServer knows it.
    members: BTreeMap<i64, SocketAddr>,
    hint: Option<SocketAddr>,
    /// The highest term an answer named.
    term: u64,
    /// Members to be asked only after the others, and until when.
    suspects: BTreeMap<SocketAddr, R::Instant>,
}

impl<R: Runtime> Group<R> {
    /// A group of which nothing but its name is known.
    pub fn new(name: Arc<str>) -> Self {
        let state =
            State { cluster: String::new(), members: BTreeMap::new(), hint: None, term: 0, suspects: BTreeMap::new() };
        Self { name, state: Mutex::new(state), sends: Gate::default(), queries: Gate::default() }
    }

    /// RocketMQ's `brokerName`.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// RocketMQ's cluster name.
    pub fn cluster(&self) -> String {
        self.lock().cluster.clone()
    }

    /// Takes over what a NameServer knows.
    pub fn update(&self, cluster: &str, members: BTreeMap<i64, SocketAddr>) {
        let mut state = self.lock();
        if state.cluster != cluster {
            cluster.clone_into(&mut state.cluster);
        }
        if state.members == members {
            return;
        }
        let gone = state.hint.is_some_and(|hint| !members.values().any(|addr| *addr == hint));
        if gone {
            state.hint = None;
        }
        state.members = members;
    }

    /// All members, the leader first.
    pub fn members(&self) -> Vec<SocketAddr> {
        self.lock().in_order().collect()
    }

    /// The leader, as far as is known.
    pub fn leader(&self) -> Option<SocketAddr> {
        let state = self.lock();
        state.hint.or_else(|| state.members.get(&0).copied())
    }

    /// The member to ask next, the leader first; none of `tried`. Members that failed lately are left out, unless all
    /// did: asking one that hangs costs a whole timeout.
    pub fn pick(&self, tried: &[SocketAddr]) -> Option<SocketAddr> {
        let mut state = self.lock();
        let now = now::<R>();
        state.suspects.retain(|_, until| *until > now);
        let all_failed = state.in_order().all(|addr| state.suspects.contains_key(&addr));
        let usable = |addr: &SocketAddr| all_failed || !state.suspects.contains_key(addr);
        state.in_order().filter(usable).find(|addr| !tried.contains(addr))
    }

    /// Whether no member is known.
    pub fn is_empty(&self) -> bool {
        let state = self.lock();
        state.members.is_empty() && state.hint.is_none()
    }

    /// Learns from an answer's ext fields who leads. Returns the leader they name, unless a higher term is known.
    pub fn learn(&self, ext: &ExtFields) -> Option<SocketAddr> {
        let term = ext.get(EXT_TERM)?.parse().ok()?;
        let leader: Option<SocketAddr> = ext.get(EXT_LEADER).and_then(|addr| addr.parse().ok());
        let mut state = self.lock();
        if term < state.term {
            return None;
        }
        if term > state.term {
            state.term = term;
            // The leader of an earlier term leads no more.
            state.hint = None;
            if let Some(leader) = leader {
                state.suspects.remove(&leader);
            }
        }
        if leader.is_some() {
            state.hint = leader;
        }
        leader
    }

    /// `addr` answered as a member of a group with a leader does.
    pub fn succeeded(&self, addr: SocketAddr) {
        self.lock().suspects.remove(&addr);
    }

    /// `addr` gave no answer: it is asked after the others for a while.
    pub fn failed(&self, addr: SocketAddr, error: &CallError) {
        let time = match error {
            CallError::NotSent { .. } => UNREACHABLE,
            CallError::Lost { .. } => BROKEN,
            CallError::TimedOut { .. } => HANGING,
        };
        self.lock().suspects.insert(addr, now::<R>() + time);
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Runtime> State<R> {
    fn in_order(&self) -> impl Iterator<Item = SocketAddr> {
        let others = self.members.values().copied().filter(|addr| Some(*addr) != self.hint);
        self.hint.into_iter().chain(others)
    }
}

#[cfg(test)]
mod tests {
    use quorumq_raft::runtime::tokio::Tokio;

    use super::*;
    use crate::client::remoting::NotSent;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn group() -> Group<Tokio> {
        let group = Group::new("g".into());
        group.update("c", BTreeMap::from([(0, addr(1)), (1, addr(2)), (2, addr(3))]));
        group
    }

    fn hint(leader: &str, term: &str) -> ExtFields {
        [(EXT_LEADER, leader), (EXT_TERM, term)].into_iter().collect()
    }

    #[test]
    fn the_hint_of_the_highest_term_leads() {
        let group = group();
        assert_eq!(group.leader(), Some(addr(1)));
        assert_eq!(group.learn(&hint("127.0.0.1:2", "5")), Some(addr(2)));
        assert_eq!(group.learn(&hint("127.0.0.1:3", "4")), None, "an earlier term");
        assert_eq!(group.leader(), Some(addr(2)));
        assert_eq!(group.learn(&hint("127.0.0.1:3", "6")), Some(addr(3)));
        assert_eq!(group.members(), [addr(3), addr(1), addr(2)]);
        assert_eq!(group.learn(&hint("", "7")), None, "a term without a leader yet");
        assert_eq!(group.leader(), Some(addr(1)), "the leader of term 6 leads no more");
        assert_eq!(group.learn(&ExtFields::default()), None);
    }

    #[test]
    fn a_member_that_failed_is_asked_only_if_all_did() {
        let group = group();
        let refused = NotSent::Connect { kind: std::io::ErrorKind::ConnectionRefused, detail: String::new() };
        group.failed(addr(1), &CallError::NotSent { addr: addr(1), reason: refused });
        assert_eq!(group.pick(&[]), Some(addr(2)));
        assert_eq!(group.pick(&[addr(2), addr(3)]), None);
        for other in [addr(2), addr(3)] {
            group.failed(other, &CallError::TimedOut { addr: other, timeout_ms: 1 });
        }
        assert_eq!(group.pick(&[]), Some(addr(1)), "all failed: the order of old");
        group.succeeded(addr(3));
        assert_eq!(group.pick(&[]), Some(addr(3)));
    }

    #[test]
    fn a_suspect_that_a_new_term_names_is_asked_first() {
        let group = group();
        group.failed(addr(2), &CallError::TimedOut { addr: addr(2), timeout_ms: 1 });
        assert_eq!(group.learn(&hint("127.0.0.1:2", "1")), Some(addr(2)));
        assert_eq!(group.pick(&[]), Some(addr(2)));
    }
}
