//! The pump over in-memory pipes: order, gathering, limits, ends.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorumq_raft::runtime::tokio::Tokio;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::task::JoinHandle;

use crate::server::*;

const PIPE: usize = 64 * 1024;

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn conn(limits: &Limits) -> Conn {
    Conn::new(7, address(1), address(2), limits)
}

/// Answers each batch of bytes with itself; `!` is no frame.
struct Echo {
    batches: Vec<usize>,
}

impl Inbound for Echo {
    fn received(&mut self, conn: &Conn, buf: &mut BytesMut) -> Result<Received, CloseReason> {
        self.batches.push(buf.len());
        let bytes = buf.split().freeze();
        conn.send(bytes.clone())?;
        if bytes.contains(&b'!') {
            return Err(CloseReason::Asked("garbage"));
        }
        Ok(Received::default())
    }
}

fn start(conn: &Conn, limits: Limits, pipe: usize) -> (DuplexStream, JoinHandle<(CloseReason, Vec<usize>)>) {
    let (ours, theirs) = duplex(pipe);
    let conn = conn.clone();
    let task = tokio::spawn(async move {
        let mut echo = Echo { batches: Vec::new() };
        let reason = pump::<Tokio, _, _>(ours, &conn, &mut echo, &limits).await;
        (reason, echo.batches)
    });
    (theirs, task)
}

#[tokio::test]
async fn bytes_come_back_in_order_and_a_closing_peer_ends_the_connection() {
    let conn = conn(&Limits::SERVER);
    let (mut peer, task) = start(&conn, Limits::SERVER, PIPE);
    let sent: Vec<u8> = (0..300_000_u32).map(|i| u8::try_from(i % 33).unwrap()).collect();
    let copy = sent.clone();
    let (mut reader, mut writer) = tokio::io::split(&mut peer);
    let mut back = vec![0; sent.len()];
    let (written, read) = tokio::join!(writer.write_all(&copy), reader.read_exact(&mut back));
    written.unwrap();
    read.unwrap();
    assert_eq!(back, sent);
    drop(peer);
    let (reason, _) = task.await.unwrap();
    assert!(matches!(reason, CloseReason::PeerClosed), "{reason}");
    assert!(matches!(conn.send(Bytes::from_static(b"x")), Err(CloseReason::PeerClosed)));
}

#[tokio::test]
async fn a_busy_connection_reads_in_large_batches() {
    let conn = conn(&Limits::SERVER);
    let (mut peer, task) = start(&conn, Limits::SERVER, 1024 * 1024);
    // Two writes, each of which is there as a whole before the pump runs again.
    for _ in 0..2 {
        peer.write_all(&vec![b'a'; 512 * 1024]).await.unwrap();
        let mut back = vec![0; 512 * 1024];
        peer.read_exact(&mut back).await.unwrap();
    }
    drop(peer);
    let (_, batches) = task.await.unwrap();
    assert!(batches.iter().any(|&n| n >= 128 * 1024), "{batches:?}");
}

#[tokio::test]
async fn small_and_large_pieces_keep_their_order() {
    let conn = conn(&Limits::SERVER);
    let (mut peer, task) = start(&conn, Limits::SERVER, PIPE);
    let large = Bytes::from(vec![b'L'; 200_000]);
    conn.send_with(|out| {
        out.buffer().extend_from_slice(b"one");
        out.push(large.clone());
        out.push(Bytes::from_static(b"two"));
        out.push(large.clone());
    })
    .unwrap();
    conn.send_many([Bytes::from_static(b"three"), Bytes::from_static(b"four")]).unwrap();
    conn.close(CloseReason::Asked("done"));
    let mut all = Vec::new();
    peer.read_to_end(&mut all).await.unwrap();
    let expected = [b"one", &large[..], b"two", &large[..], b"three", b"four"].concat();
    assert!(all == expected, "{} bytes of {}", all.len(), expected.len());
    let (reason, _) = task.await.unwrap();
    assert!(matches!(reason, CloseReason::Asked("done")), "{reason}");
}

#[tokio::test]
async fn what_precedes_garbage_is_answered_before_the_close() {
    let conn = conn(&Limits::SERVER);
    let (mut peer, task) = start(&conn, Limits::SERVER, PIPE);
    peer.write_all(b"fine!").await.unwrap();
    let mut all = Vec::new();
    peer.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"fine!");
    let (reason, _) = task.await.unwrap();
    assert!(matches!(reason, CloseReason::Asked("garbage")), "{reason}");
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_disconnected_at_the_limit() {
    let limits = Limits { outbound_limit: 300_000, ..Limits::SERVER };
    let conn = conn(&limits);
    let (_peer, task) = start(&conn, limits, 1024);
    let mut refused = None;
    for _ in 0..4 {
        if let Err(reason) = conn.send(Bytes::from(vec![0; 100_000])) {
            refused = Some(reason);
            break;
        }
        tokio::task::yield_now().await;
    }
    // What the pipe took (1 KiB) does not count any more, so only the fourth goes over.
    assert!(matches!(refused, Some(CloseReason::OutboundLimit { limit: 300_000, .. })), "{refused:?}");
    let (reason, _) = task.await.unwrap();
    assert!(matches!(reason, CloseReason::OutboundLimit { .. }), "{reason}");
    assert_eq!(conn.waiting(), 0);
}

#[tokio::test]
async fn reading_stops_while_answers_pile_up_and_goes_on_when_they_drain() {
    let limits = Limits { pause_reads_above: Some(10_000), ..Limits::SERVER };
    let conn = conn(&limits);
    let (peer, task) = start(&conn, limits, 8 * 1024);
    let (mut reader, mut writer) = tokio::io::split(peer);
    let total = 4 * 1024 * 1024;
    let writing = tokio::spawn(async move { writer.write_all(&vec![b'x'; total]).await });
    // The pump stops reading with at most the limit and one read waiting.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
        assert!(conn.waiting() <= 10_000 + 512 * 1024, "{}", conn.waiting());
    }
    assert!(!writing.is_finished());
    let mut left = total;
    let mut buf = vec![0; 16 * 1024];
    while left > 0 {
        left -= reader.read(&mut buf).await.unwrap();
    }
    writing.await.unwrap().unwrap();
    conn.close(CloseReason::Asked("done"));
    task.await.unwrap();
}

#[tokio::test]
async fn paused_reads_resume() {
    let conn = conn(&Limits::SERVER);
    conn.pause_reads(true);
    let (mut peer, task) = start(&conn, Limits::SERVER, PIPE);
    peer.write_all(b"hello").await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!task.is_finished());
    conn.pause_reads(false);
    let mut back = [0; 5];
    peer.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
}

#[tokio::test]
async fn a_quiet_connection_is_closed_after_the_idle_time_and_not_before() {
    let idle = Duration::from_millis(200);
    let limits = Limits { idle, ..Limits::SERVER };
    let conn = conn(&limits);
    let (mut peer, task) = start(&conn, limits, PIPE);
    let mut back = [0; 5];
    for _ in 0..5 {
        tokio::time::sleep(idle / 5).await;
        peer.write_all(b"alive").await.unwrap();
        peer.read_exact(&mut back).await.unwrap();
    }
    let last = tokio::time::Instant::now();
    let (reason, _) = task.await.unwrap();
    assert!(matches!(reason, CloseReason::Idle(_)), "{reason}");
    assert!(last.elapsed() >= idle * 3 / 4, "{:?}", last.elapsed());
}

#[tokio::test]
async fn a_peer_that_never_reads_cannot_hold_up_a_close() {
    let limits = Limits { linger: Duration::from_millis(50), ..Limits::SERVER };
    let conn = conn(&limits);
    let (_peer, task) = start(&conn, limits, 16);
    conn.send(Bytes::from(vec![0; 1000])).unwrap();
    conn.close(CloseReason::Shutdown);
    let started = tokio::time::Instant::now();
    let (reason, _) = task.await.unwrap();
    assert!(matches!(reason, CloseReason::Shutdown), "{reason}");
    assert!(started.elapsed() >= limits.linger);
}

#[tokio::test]
async fn a_dropped_task_closes_the_connection() {
    let conn = conn(&Limits::SERVER);
    let (_peer, task) = start(&conn, Limits::SERVER, PIPE);
    tokio::task::yield_now().await;
    task.abort();
    let _ = task.await;
    assert!(matches!(conn.close_reason(), Some(CloseReason::TaskEnded)));
}

/// Counts the calls that would be system calls.
struct Counted {
    inner: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn many_answers_leave_in_one_write() {
    let conn = conn(&Limits::SERVER);
    let (ours, mut peer) = duplex(PIPE);
    let writes = Arc::new(AtomicUsize::new(0));
    let stream = Counted { inner: ours, writes: Arc::clone(&writes) };
    let task = {
        let conn = conn.clone();
        tokio::spawn(async move {
            let mut echo = Echo { batches: Vec::new() };
            pump::<Tokio, _, _>(stream, &conn, &mut echo, &Limits::SERVER).await
        })
    };
    for (round, count) in [(1, 100), (2, 1), (3, 100)] {
        for _ in 0..count {
            conn.send(Bytes::from(vec![b'x'; 150])).unwrap();
        }
        let mut back = vec![0; count * 150];
        // Well before the idle timer would wake the pump.
        tokio::time::timeout(Duration::from_secs(20), peer.read_exact(&mut back)).await.unwrap().unwrap();
        assert_eq!(writes.load(Ordering::SeqCst), round);
    }
    conn.close(CloseReason::Asked("done"));
    task.await.unwrap();
}
