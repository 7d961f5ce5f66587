//! A server over real loopback sockets: several addresses, limits, bad input, drain.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorumq_raft::runtime::tokio::Tokio;
use quorumq_raft::runtime::{Listener, Runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::protocol::command::{Command, Encoding};
use crate::protocol::ext::ExtFields;
use crate::protocol::frame;
use crate::server::*;

/// Answers code 1 at once and code 2 when told; panics on code 3. Counts sessions.
#[derive(Default)]
struct Probe {
    open: AtomicUsize,
    batches: Mutex<Vec<usize>>,
    ports: Mutex<Vec<u16>>,
    ends: Mutex<Vec<CloseReason>>,
    held: Mutex<Vec<(Conn, Command)>>,
}

impl Probe {
    fn answer_held(&self) {
        for (conn, command) in self.held.lock().unwrap().drain(..) {
            conn.send_command(&command.reply(0, None)).unwrap();
        }
    }
}

impl Service for Probe {
    type Session = usize;

    fn connected(&self, conn: &Conn) -> usize {
        self.open.fetch_add(1, Ordering::SeqCst);
        self.ports.lock().unwrap().push(conn.local_port());
        0
    }

    fn commands(&self, taken: &mut usize, conn: &Conn, commands: &mut Vec<Command>) {
        *taken += commands.len();
        self.batches.lock().unwrap().push(commands.len());
        conn.send_with(|out| {
            for command in commands.iter().filter(|command| command.code == 1) {
                frame::encode(&command.reply(0, None), out.buffer());
            }
        })
        .unwrap();
        assert!(commands.iter().all(|command| command.code != 3), "asked to");
        let held = commands.drain(..).filter(|command| command.code == 2);
        self.held.lock().unwrap().extend(held.map(|command| (conn.clone(), command)));
    }

    fn closed(&self, _taken: usize, conn: &Conn) {
        self.ends.lock().unwrap().push(conn.close_reason().unwrap());
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    fn in_flight(&self) -> usize {
        self.held.lock().unwrap().len()
    }
}

async fn start(listeners: usize, limits: Limits) -> (Arc<Probe>, Server) {
    let probe = Arc::new(Probe::default());
    let mut bound = Vec::new();
    for _ in 0..listeners {
        bound.push(bind::<Tokio>(SocketAddr::from(([127, 0, 0, 1], 0)), "listenPort").await.unwrap());
    }
    let server = serve::<Tokio, _, _>(bound, Arc::clone(&probe), limits, CancellationToken::new()).unwrap();
    (probe, server)
}

fn request(code: i32, opaque: i32) -> Vec<u8> {
    let mut out = BytesMut::new();
    let mut command = Command::request(Encoding::Binary, code, ExtFields::default(), Bytes::from(vec![b'b'; 100]));
    command.opaque = opaque;
    frame::encode(&command, &mut out);
    out.to_vec()
}

async fn read_answers(stream: &mut TcpStream, count: usize) -> Vec<i32> {
    let mut buf = BytesMut::new();
    let mut opaques = Vec::new();
    while opaques.len() < count {
        match frame::decode(&mut buf).unwrap() {
            Some(command) => opaques.push(command.opaque),
            None => assert!(stream.read_buf(&mut buf).await.unwrap() > 0, "closed after {opaques:?}"),
        }
    }
    assert!(buf.is_empty());
    opaques
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn requests_of_one_read_arrive_as_one_batch_on_every_address() {
    let (probe, server) = start(2, Limits::SERVER).await;
    for &addr in server.local_addrs() {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let burst: Vec<u8> = (0..50).flat_map(|opaque| request(1, opaque)).collect();
        stream.write_all(&burst).await.unwrap();
        assert_eq!(read_answers(&mut stream, 50).await, (0..50).collect::<Vec<_>>());
    }
    let ports: Vec<u16> = server.local_addrs().iter().map(SocketAddr::port).collect();
    assert_eq!(*probe.ports.lock().unwrap(), ports);
    let batches = probe.batches.lock().unwrap().clone();
    assert_eq!(batches.iter().sum::<usize>(), 100);
    assert!(batches.len() < 20, "one call per read, not per command: {batches:?}");
}

#[tokio::test]
async fn a_frame_of_several_mib_arrives_whole_in_many_reads() {
    let (_probe, server) = start(1, Limits::SERVER).await;
    let mut stream = TcpStream::connect(server.local_addrs()[0]).await.unwrap();
    let body = Bytes::from(vec![b'x'; 9 * 1024 * 1024]);
    let mut out = BytesMut::new();
    frame::encode(&Command::request(Encoding::Json, 1, ExtFields::default(), body), &mut out);
    out.extend_from_slice(&request(1, 77));
    stream.write_all(&out).await.unwrap();
    assert_eq!(read_answers(&mut stream, 2).await, [0, 77]);
}

#[tokio::test]
async fn garbage_closes_its_connection_after_the_answers_before_it() {
    let (probe, server) = start(1, Limits::SERVER).await;
    let mut bad = TcpStream::connect(server.local_addrs()[0]).await.unwrap();
    let mut good = TcpStream::connect(server.local_addrs()[0]).await.unwrap();
    let bytes = [request(1, 5), b"GET / HTTP/1.1\r\n\r\n".to_vec()].concat();
    bad.write_all(&bytes).await.unwrap();
    assert_eq!(read_answers(&mut bad, 1).await, [5]);
    assert_eq!(bad.read(&mut [0; 8]).await.unwrap(), 0);
    good.write_all(&request(1, 6)).await.unwrap();
    assert_eq!(read_answers(&mut good, 1).await, [6]);
    until("the bad connection ends", || server.connections() == 1).await;
    let ends = probe.ends.lock().unwrap().clone();
    assert!(matches!(ends[..], [CloseReason::BadFrame(_)]), "{ends:?}");
}

#[tokio::test]
async fn a_panicking_service_loses_that_connection_only() {
    let (probe, server) = start(1, Limits::SERVER).await;
    let mut bad = TcpStream::connect(server.local_addrs()[0]).await.unwrap();
    bad.write_all(&request(3, 1)).await.unwrap();
    let _ = bad.read(&mut [0; 8]).await;
    until("the session ends", || probe.open.load(Ordering::SeqCst) == 0 && server.connections() == 0).await;
    let mut good = TcpStream::connect(server.local_addrs()[0]).await.unwrap();
    good.write_all(&request(1, 6)).await.unwrap();
    assert_eq!(read_answers(&mut good, 1).await, [6]);
}

#[tokio::test]
async fn one_connection_over_the_limit_is_closed_and_leaves_room_for_the_next() {
    let (_probe, server) = start(1, Limits { max_connections: 1, ..Limits::SERVER }).await;
    let addr = server.local_addrs()[0];
    let mut first = TcpStream::connect(addr).await.unwrap();
    first.write_all(&request(1, 1)).await.unwrap();
    read_answers(&mut first, 1).await;
    let mut second = TcpStream::connect(addr).await.unwrap();
    assert!(!matches!(second.read(&mut [0; 8]).await, Ok(1..)));
    drop(first);
    until("the first is gone", || server.connections() == 0).await;
    let mut third = TcpStream::connect(addr).await.unwrap();
    third.write_all(&request(1, 3)).await.unwrap();
    assert_eq!(read_answers(&mut third, 1).await, [3]);
}

#[tokio::test]
async fn a_drain_lets_held_answers_out_and_takes_nothing_new() {
    let (probe, server) = start(1, Limits::SERVER).await;
    let addr = server.local_addrs()[0];
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(&request(2, 9)).await.unwrap();
    until("the request is held", || probe.in_flight() == 1).await;
    let answering = {
        let probe = Arc::clone(&probe);
        tokio::spawn(async move {
            // Not before the drain has begun: a connection attempt then fails or is never answered.
            until("accepting has stopped", || std::net::TcpStream::connect(addr).is_err()).await;
            probe.answer_held();
        })
    };
    let drained = server.drain::<Tokio>(Duration::from_secs(20)).await;
    answering.await.unwrap();
    assert_eq!((drained.unanswered, drained.still_open), (0, 0));
    assert_eq!(read_answers(&mut stream, 1).await, [9]);
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(probe.open.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline_and_says_what_was_left() {
    let (probe, server) = start(1, Limits::SERVER).await;
    let mut stream = TcpStream::connect(server.local_addrs()[0]).await.unwrap();
    stream.write_all(&request(2, 9)).await.unwrap();
    until("the request is held", || probe.in_flight() == 1).await;
    let drained = server.drain::<Tokio>(Duration::from_millis(100)).await;
    assert_eq!((drained.unanswered, drained.still_open), (1, 0));
}

#[tokio::test]
async fn dropping_a_server_closes_its_connections() {
    let (probe, server) = start(1, Limits::SERVER).await;
    let mut stream = TcpStream::connect(server.local_addrs()[0]).await.unwrap();
    until("connected", || server.connections() == 1).await;
    drop(server);
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    until("the session ends", || probe.open.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_taken_port_is_reported_with_port_setting_and_remedy() {
    let (_probe, server) = start(1, Limits::SERVER).await;
    let addr = server.local_addrs()[0];
    let Err(error) = bind::<Tokio>(addr, "listenPort").await else { panic!("bound twice") };
    let words = error.to_string();
    for part in [&addr.port().to_string(), "listenPort", "stop the process", "free port"] {
        assert!(words.contains(part), "{words}");
    }
}

/// A listener that fails as when file descriptors run out.
struct Exhausted {
    left: usize,
    inner: tokio::net::TcpListener,
}

impl Listener for Exhausted {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        if self.left > 0 {
            self.left -= 1;
            return Err(io::Error::from_raw_os_error(24));
        }
        Listener::accept(&mut self.inner).await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

#[tokio::test]
async fn accepting_goes_on_after_file_descriptors_ran_out() {
    let inner = Tokio::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let listener = Exhausted { left: 2, inner };
    let probe = Arc::new(Probe::default());
    let stop = CancellationToken::new();
    let server = serve::<Tokio, _, _>(vec![listener], probe, Limits::SERVER, stop).unwrap();
    let mut stream = TcpStream::connect(server.local_addrs()[0]).await.unwrap();
    stream.write_all(&request(1, 8)).await.unwrap();
    assert_eq!(read_answers(&mut stream, 1).await, [8]);
}
