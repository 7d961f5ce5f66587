//! Listening sockets, and the way to them.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use quorumq_raft::runtime::Listener;

use super::link::{Arrival, LinkId};
use super::net::{Knock, Net, Socket};
use super::stream::SimStream;
use super::time::SimSleep;

/// Connections a socket keeps before it answers no more requests. As in production.
pub(super) const BACKLOG: usize = 1024;

/// How long an unanswered request for a connection waits before it is repeated. Linux starts with a second.
const CONNECT_RETRY: Duration = Duration::from_secs(1);

/// How long a connect hangs when nobody answers. Linux gives up after about two minutes.
const CONNECT_LIMIT: Duration = Duration::from_secs(127);

/// A bound listening socket of a simulated host.
#[derive(Debug)]
pub struct SimListener {
    net: Arc<Net>,
    key: (IpAddr, u16),
    id: u64,
    bound: SocketAddr,
}

/// Binds a socket of the current node. Its own address, a loopback one and 0.0.0.0 are known.
pub(super) fn bind(addr: SocketAddr) -> io::Result<SimListener> {
    let net = Net::current();
    let host = net.current_host();
    if !(addr.ip().is_unspecified() || addr.ip().is_loopback() || addr.ip() == host) {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    }
    let (id, bound) = net.with(|state, _| {
        let port = if addr.port() == 0 { state.free_port(host)? } else { addr.port() };
        if state.sockets.contains_key(&(host, port)) {
            return Err(io::Error::from(io::ErrorKind::AddrInUse));
        }
        let (id, bound) = (state.next_id(), SocketAddr::new(addr.ip(), port));
        let socket = Socket { id, bound, backlog: Default::default(), waker: None };
        state.sockets.insert((host, port), socket);
        Ok((id, bound))
    })?;
    let key = (host, bound.port());
    net.record(host, "bind", u64::from(bound.port()), &[]);
    Ok(SimListener { net, key, id, bound })
}

impl Listener for SimListener {
    type Stream = SimStream;

    async fn accept(&mut self) -> io::Result<(SimStream, SocketAddr)> {
        let (connection, from) = poll_fn(|cx| {
            self.net.with(|state, _| match state.sockets.get_mut(&self.key) {
                Some(socket) if socket.id == self.id => match socket.backlog.pop_front() {
                    Some(waiting) => Poll::Ready(waiting),
                    None => {
                        socket.waker = Some(cx.waker().clone());
                        Poll::Pending
                    }
                },
                // The node was killed under this task: it does nothing more.
                _ => Poll::Pending,
            })
        })
        .await;
        self.net.record(self.key.0, "accept", connection, from.to_string().as_bytes());
        Ok((SimStream::new(self.net.clone(), connection, 1), from))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.bound)
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.net.with(|state, wakes| {
            if state.sockets.get(&self.key).is_some_and(|socket| socket.id == self.id) {
                let socket = state.sockets.remove(&self.key);
                for (connection, _) in socket.into_iter().flat_map(|socket| socket.backlog) {
                    state.release(connection, 1, wakes);
                }
            }
        });
    }
}

/// Opens a connection from the current node.
pub(super) async fn connect(to: SocketAddr) -> io::Result<SimStream> {
    let net = Net::current();
    let host = net.current_host();
    let loopback = to.ip().is_loopback() || to.ip().is_unspecified();
    let link = (host, if loopback { host } else { to.ip() });
    let to = if to.ip().is_unspecified() { SocketAddr::new(host, to.port()) } else { to };
    let from_ip = if loopback { to.ip() } else { host };
    let from = SocketAddr::new(from_ip, net.with(|state, _| state.free_port(host))?);
    let limit = net.time.now_instant() + CONNECT_LIMIT;
    let mut limit = SimSleep::exactly_until(&net.time, limit);
    let mut dialing = Box::pin(dial(&net, link, from, to));
    let dialed = poll_fn(|cx| match dialing.as_mut().poll(cx) {
        Poll::Ready(dialed) => Poll::Ready(dialed),
        Poll::Pending => Pin::new(&mut limit).poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
    })
    .await;
    let outcome = dialed.as_ref().map_or(0, SimStream::connection);
    net.record(host, "connect", outcome, to.to_string().as_bytes());
    dialed
}

async fn dial(net: &Arc<Net>, link: LinkId, from: SocketAddr, to: SocketAddr) -> io::Result<SimStream> {
    loop {
        cross(net, link, true).await;
        match net.with(|state, wakes| state.knock(link, from, to, wakes)) {
            Knock::Connected(id) => {
                // From here on the stream's drop closes the connection, also if this future is given up.
                let stream = SimStream::new(net.clone(), id, 0);
                cross(net, (link.1, link.0), false).await;
                return Ok(stream);
            }
            Knock::Refused => {
                cross(net, (link.1, link.0), false).await;
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            Knock::NoAnswer => {
                let again = net.time.now_instant() + CONNECT_RETRY;
                SimSleep::exactly_until(&net.time, again).await;
            }
        }
    }
}

/// Travels over a link.
async fn cross(net: &Net, link: LinkId, connects: bool) {
    let (due, ticket) = net.with(|state, _| (state.links.draw_connect_arrival(link), (state.next_id(), 0)));
    let mut timer = SimSleep::exactly_until(&net.time, due);
    let mut held = false;
    poll_fn(|cx| {
        ready!(Pin::new(&mut timer).poll(cx));
        net.with(|state, _| {
            let arrival =
                if connects { state.links.connect_arrival(link, due) } else { state.links.arrival(link, due) };
            if arrival == Arrival::Here {
                return Poll::Ready(());
            }
            if !std::mem::replace(&mut held, true) {
                state.links.felt_connect(link, due);
            }
            state.links.wait(link, ticket, cx.waker());
            Poll::Pending
        })
    })
    .await;
}
