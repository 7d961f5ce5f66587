//! A server that does what a test tells it to.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorumq::client::ClientOptions;
use quorumq::protocol::body::route::{BrokerData, QueueData, TopicRouteData};
use quorumq::protocol::code::{request, response};
use quorumq::protocol::header::send::SendMessageRequest;
use quorumq::protocol::{Command, body};
use quorumq::server::{CloseReason, Conn, Limits, Server, Service, bind, serve};
use quorumq_raft::runtime::tokio::Tokio;
use tokio_util::sync::CancellationToken;

/// What a fake does with a request.
pub enum Act {
    /// Answers it.
    Reply(Command),
    /// Leaves it without an answer, or answers later by itself.
    Silence,
    /// Closes the connection.
    Close,
}

type Handler = dyn Fn(&Conn, &Command) -> Act + Send + Sync;

struct Played {
    handler: Box<Handler>,
    requests: Mutex<Vec<Command>>,
    conns: Mutex<Vec<Conn>>,
}

impl Service for Played {
    type Session = ();

    fn connected(&self, conn: &Conn) {
        self.conns.lock().expect("conns").push(conn.clone());
    }

    fn commands(&self, (): &mut (), conn: &Conn, commands: &mut Vec<Command>) {
        for command in commands.drain(..) {
            self.requests.lock().expect("requests").push(command.clone());
            match (self.handler)(conn, &command) {
                Act::Reply(reply) if !command.is_oneway() => drop(conn.send_command(&reply)),
                Act::Reply(_) | Act::Silence => {}
                Act::Close => conn.close(CloseReason::Asked("the test says so")),
            }
        }
    }

    fn closed(&self, (): (), conn: &Conn) {
        self.conns.lock().expect("conns").retain(|open| open.id() != conn.id());
    }
}

/// A server that does what a test tells it to, and remembers what it was asked.
pub struct Fake {
    pub addr: SocketAddr,
    played: Arc<Played>,
    server: Mutex<Option<Server>>,
}

impl Fake {
    /// Listens on a free port.
    pub async fn start(handler: impl Fn(&Conn, &Command) -> Act + Send + Sync + 'static) -> Self {
        Self::start_at(loopback(0), handler).await
    }

    pub async fn start_at(addr: SocketAddr, handler: impl Fn(&Conn, &Command) -> Act + Send + Sync + 'static) -> Self {
        let listener = bind::<Tokio>(addr, "test").await.expect("a free port");
        let played =
            Arc::new(Played { handler: Box::new(handler), requests: Mutex::default(), conns: Mutex::default() });
        let limits = Limits { linger: Duration::from_millis(100), ..Limits::SERVER };
        let server = serve::<Tokio, _, _>(vec![listener], Arc::clone(&played), limits, CancellationToken::new());
        let server = server.expect("a server");
        Self { addr: server.local_addrs()[0], played, server: Mutex::new(Some(server)) }
    }

    /// A broker that stores whatever it is sent and is content with everything else.
    pub async fn broker() -> Self {
        Self::start(|_, command| content(command)).await
    }

    /// A NameServer that answers 105 with what `route` says, for any topic.
    pub async fn namesrv(route: impl Fn(&str) -> Option<TopicRouteData> + Send + Sync + 'static) -> Self {
        Self::start(move |_, command| {
            let topic = command.ext.get("topic").unwrap_or_default();
            match route(topic).filter(|_| command.code == request::GET_ROUTEINFO_BY_TOPIC) {
                Some(route) => Act::Reply(command.reply(response::SUCCESS, None).with_body(body::encode(&route))),
                None => Act::Reply(command.reply(response::TOPIC_NOT_EXIST, Some("no route".to_owned()))),
            }
        })
        .await
    }

    /// What it was asked with `code`.
    pub fn requests(&self, code: i32) -> Vec<Command> {
        let requests = self.played.requests.lock().expect("requests");
        requests.iter().filter(|command| command.code == code).cloned().collect()
    }

    /// How often it was asked with `code`.
    pub fn count(&self, code: i32) -> usize {
        self.requests(code).len()
    }

    /// How many connections it has.
    pub fn connections(&self) -> usize {
        self.played.conns.lock().expect("conns").len()
    }

    /// Sends `command` on every connection.
    pub fn push(&self, command: &Command) {
        for conn in self.played.conns.lock().expect("conns").iter() {
            conn.send_command(command).expect("an open connection");
        }
    }

    /// Ends it: connections break, the port refuses.
    pub async fn kill(&self) {
        let server = self.server.lock().expect("server").take();
        if let Some(server) = server {
            server.drain::<Tokio>(Duration::ZERO).await;
        }
        eventually("the port refuses", || std::net::TcpStream::connect(self.addr).is_err()).await;
    }
}

/// The answer of a broker that has stored a message, or is content.
pub fn content(command: &Command) -> Act {
    let reply = command.reply(response::SUCCESS, None);
    let queue_id = || SendMessageRequest::decode(command).expect("a send").queue_id;
    Act::Reply(match command.code {
        request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE => stored(reply, queue_id(), 7),
        _ => reply,
    })
}

pub fn stored(reply: Command, queue_id: i32, queue_offset: i64) -> Command {
    let queue = [("queueId", queue_id.to_string()), ("queueOffset", queue_offset.to_string())];
    reply.with_ext([("msgId", "7F000001".to_owned())].into_iter().chain(queue).collect())
}

/// The answer of a member that knows of no leader, or of this one.
pub fn no_leader(command: &Command, leader: Option<(SocketAddr, u64)>) -> Act {
    let reply = command.reply(response::SERVICE_NOT_AVAILABLE, Some("no leader".to_owned()));
    let hint = leader.map(|(addr, term)| [("leader", addr.to_string()), ("term", term.to_string())]);
    Act::Reply(reply.with_ext(hint.into_iter().flatten().collect()))
}

/// An address that refuses connections.
pub fn dead() -> SocketAddr {
    let listener = std::net::TcpListener::bind(loopback(0)).expect("a free port");
    listener.local_addr().expect("an address")
}

pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A route of `queues` queues in each of these groups, their leaders first.
pub fn route(queues: i32, groups: &[(&str, &[SocketAddr])]) -> TopicRouteData {
    let broker = |(name, members): &(&str, &[SocketAddr])| BrokerData {
        broker_name: (*name).to_owned(),
        cluster: "c".to_owned(),
        broker_addrs: (0..).zip(members.iter().map(ToString::to_string)).collect(),
        enable_acting_master: false,
    };
    let queue = |(name, _): &(&str, &[SocketAddr])| QueueData {
        broker_name: (*name).to_owned(),
        perm: 6,
        read_queue_nums: queues,
        write_queue_nums: queues,
        topic_sys_flag: 0,
    };
    TopicRouteData {
        broker_datas: groups.iter().map(broker).collect(),
        queue_datas: groups.iter().map(queue).collect(),
        ..TopicRouteData::default()
    }
}

/// Client settings for one NameServer.
pub fn options(namesrv: &Fake) -> ClientOptions {
    ClientOptions::new(vec![namesrv.addr])
}

/// Waits for a condition; time only bounds how long a failing test takes.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..4000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("after 20 s: not {what}");
}
