//! Where an answer goes: to a client's connection, or back to the member that forwarded the request.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

use crate::protocol::command::Command;
use crate::protocol::frame;
use crate::server::Conn;

/// Who asked.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The client's address, as the node saw it that took the connection.
    pub client: SocketAddr,
    pub reply_to: ReplyTo,
}

impl Origin {
    /// A client of this node.
    pub fn client(conn: &Conn) -> Self {
        Self { client: conn.peer(), reply_to: ReplyTo::Conn(conn.clone()) }
    }

    /// Whether another member forwarded the request: it is not forwarded again.
    pub fn is_forwarded(&self) -> bool {
        matches!(self.reply_to, ReplyTo::Collector(_))
    }

    /// The connection of a client of this node.
    pub fn conn(&self) -> Option<&Conn> {
        match &self.reply_to {
            ReplyTo::Conn(conn) => Some(conn),
            ReplyTo::Collector(_) => None,
        }
    }

    /// The client's address as a record's bornHost. Old clients decode IPv4 only; of an IPv6 client the mapped part is
    /// kept, loopback becomes loopback, anything else 0.0.0.0.
    pub fn born_host(&self) -> SocketAddrV4 {
        match self.client {
            SocketAddr::V4(addr) => addr,
            SocketAddr::V6(addr) => {
                let ip = match addr.ip().to_ipv4_mapped() {
                    Some(ip) => ip,
                    None if addr.ip().is_loopback() => Ipv4Addr::LOCALHOST,
                    None => Ipv4Addr::UNSPECIFIED,
                };
                SocketAddrV4::new(ip, addr.port())
            }
        }
    }
}

/// Where answers go.
#[derive(Clone, Debug)]
pub enum ReplyTo {
    Conn(Conn),
    Collector(Arc<Collector>),
}

impl ReplyTo {
    /// Writes `count` answers that `fill` encodes: one lock and one wake-up for all of them.
    pub fn send_with(&self, count: usize, fill: impl FnOnce(&mut BytesMut)) {
        match self {
            // A closed connection has nobody left to tell.
            Self::Conn(conn) => drop(conn.send_with(|out| fill(out.buffer()))),
            Self::Collector(collector) => collector.add(count, fill),
        }
    }

    /// Writes one answer.
    pub fn send(&self, answer: &Command) {
        self.send_with(1, |out| frame::encode(answer, out));
    }

    /// Writes one answer whose body comes in parts.
    pub fn send_parts(&self, head: impl FnOnce(&mut BytesMut), parts: Vec<Bytes>) {
        match self {
            Self::Conn(conn) => drop(conn.send_with(|out| {
                head(out.buffer());
                for part in parts {
                    out.push(part);
                }
            })),
            Self::Collector(collector) => collector.add(1, |out| {
                head(out);
                parts.iter().for_each(|part| out.extend_from_slice(part));
            }),
        }
    }

    /// Notes that `count` requests get no answer (one-way).
    pub fn skip(&self, count: usize) {
        if let Self::Collector(collector) = self {
            collector.add(count, |_| {});
        }
    }
}

/// Gathers the answers to a batch of forwarded requests.
#[derive(Debug)]
pub struct Collector(Mutex<Collected>);

#[derive(Debug)]
struct Collected {
    answers: BytesMut,
    due: usize,
    done: Option<oneshot::Sender<Bytes>>,
}

impl Collector {
    /// Waits for `due` answers; the receiver gets them as frames back to back.
    pub fn new(due: usize) -> (Arc<Self>, oneshot::Receiver<Bytes>) {
        let (tx, rx) = oneshot::channel();
        (Arc::new(Self(Mutex::new(Collected { answers: BytesMut::new(), due, done: Some(tx) }))), rx)
    }

    fn add(&self, count: usize, fill: impl FnOnce(&mut BytesMut)) {
        let mut collected = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fill(&mut collected.answers);
        collected.due = collected.due.saturating_sub(count);
        if collected.due == 0
            && let Some(done) = collected.done.take()
        {
            // The forwarding member may have gone; its client has been told that the outcome is unknown.
            let _ = done.send(collected.answers.split().freeze());
        }
    }
}
