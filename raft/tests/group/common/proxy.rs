//! A proxy before each node's peer port, to cut links between single nodes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use quorumq_raft::peer::codec::PeerCodec;
use quorumq_raft::peer::message::Hello;
use quorumq_raft::types::NodeId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_util::codec::Decoder;

#[derive(Debug, Default)]
struct State {
    blocked: BTreeSet<NodeId>,
    links: Vec<(NodeId, AbortHandle)>,
    listener: Option<AbortHandle>,
}

/// Stands before one node's peer port; its peers know only the proxy's address.
#[derive(Clone, Debug)]
pub struct Proxy {
    pub addr: SocketAddr,
    target: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self { addr: listener.local_addr().unwrap(), target, state: Arc::default() };
        proxy.listen_on(listener);
        proxy
    }

    fn listen_on(&self, listener: TcpListener) {
        let proxy = self.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let proxy = proxy.clone();
                tokio::spawn(async move { proxy.take(stream).await });
            }
        });
        self.state.lock().unwrap().listener = Some(task.abort_handle());
    }

    /// From now on dialers are refused, as by a host whose process is gone. Links that stand go on.
    pub async fn refuse(&self) {
        let listener = self.state.lock().unwrap().listener.take().unwrap();
        listener.abort();
        while TcpStream::connect(self.addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    /// Listens again.
    pub async fn listen(&self) {
        self.listen_on(TcpListener::bind(self.addr).await.unwrap());
    }

    /// Drops the links that `from` dialled, and every one it will dial: connected, and closed without a word.
    pub fn cut(&self, from: NodeId) {
        let mut state = self.state.lock().unwrap();
        state.blocked.insert(from);
        state.links.retain(|(id, link)| {
            if *id == from {
                link.abort();
            }
            *id != from
        });
    }

    /// `from` can dial again.
    pub fn heal(&self, from: NodeId) {
        self.state.lock().unwrap().blocked.remove(&from);
    }

    async fn take(&self, mut stream: TcpStream) {
        let mut first = BytesMut::new();
        let from = loop {
            match PeerCodec::<Hello, Hello>::default().decode(&mut first.clone()) {
                Ok(Some(hello)) => break hello.header.from.map_or(0, |caller| caller.id),
                Ok(None) => {}
                Err(_) => return,
            }
            if !matches!(stream.read_buf(&mut first).await, Ok(n) if n > 0) {
                return;
            }
        };
        let Ok(mut target) = TcpStream::connect(self.target).await else { return };
        let _ = (stream.set_nodelay(true), target.set_nodelay(true));
        let mut state = self.state.lock().unwrap();
        if state.blocked.contains(&from) {
            return;
        }
        let link = tokio::spawn(async move {
            if target.write_all(&first).await.is_ok() {
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut target).await;
            }
        });
        state.links.retain(|(_, link)| !link.is_finished());
        state.links.push((from, link.abort_handle()));
    }
}

/// One proxy for each node; node `i + 1` is behind proxy `i`.
#[derive(Debug)]
pub struct Net(pub Vec<Proxy>);

impl Net {
    /// No byte passes between two nodes any more.
    pub fn cut(&self, a: NodeId, b: NodeId) {
        self.0[a as usize - 1].cut(b);
        self.0[b as usize - 1].cut(a);
    }

    /// Two nodes can reach each other again.
    pub fn heal(&self, a: NodeId, b: NodeId) {
        self.0[a as usize - 1].heal(b);
        self.0[b as usize - 1].heal(a);
    }

    /// Cuts a node off from all others.
    pub fn isolate(&self, id: NodeId) {
        self.others(id).for_each(|other| self.cut(id, other));
    }

    /// Ends [`Net::isolate`].
    pub fn rejoin(&self, id: NodeId) {
        self.others(id).for_each(|other| self.heal(id, other));
    }

    fn others(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        (1..=self.0.len() as NodeId).filter(move |other| *other != id)
    }
}
