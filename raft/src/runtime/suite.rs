//! Conformance checks that every [`Runtime`] passes: tokio in `raft/tests`, the simulator in `sim/tests`.
//!
//! A check is a future that ends with `Ok` or panics with the broken promise; [`crate::runtime_suite`] makes
//! one `#[test]` of each. openraft's own suite covers what [`AsyncRuntime`](openraft_rt::AsyncRuntime) adds
//! (join handles, watch, mpsc, oneshot, mutex); run both.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::tokio::io::{AsyncReadExt, AsyncWriteExt};
use ::tokio::sync::oneshot;
use openraft_rt::watch::{Watch, WatchReceiver, WatchSender};
use openraft_rt::{Instant, Mpsc, MpscReceiver, MpscSender};

use super::{Listener, Runtime, Serial};

/// Generates one `#[test]` per check. `$run` takes the check, as a function that returns its future, and runs
/// it on the runtime `$r`.
#[macro_export]
macro_rules! runtime_suite {
    ($run:path, $r:ty) => {
        $crate::runtime_suite! { @each $run, $r;
            port_zero_picks_a_free_port
            a_taken_port_is_addr_in_use
            a_dropped_listener_frees_its_port
            a_closed_port_refuses_connections
            accept_tells_the_peers_address
            accept_is_cancel_safe
            a_connection_waits_until_it_is_accepted
            dropping_a_listener_keeps_accepted_streams
            dropping_a_listener_ends_unaccepted_connections
            a_stream_delivers_bytes_in_order
            both_directions_carry_big_transfers_at_once
            a_writer_waits_for_its_reader
            connections_do_not_mix
            shutdown_closes_one_direction_only
            writing_after_shutdown_fails
            dropping_a_stream_ends_the_peers_reads
            dropping_a_stream_ends_the_peers_writes
            dropping_a_stream_with_unread_bytes_ends_the_peer
            a_serial_runs_jobs_in_order
            a_dropped_serial_finishes_its_queue
            offload_returns_the_result
            a_sleep_never_ends_early
            a_past_deadline_is_over_at_once
            a_timeout_fires_and_a_ready_value_passes_it
            a_cancelled_sleep_leaves_others_alone
            the_wall_clock_is_past_2020
            random_numbers_differ
            a_watch_wakes_every_receiver
            an_mpsc_keeps_order_and_pushes_back
        }
    };
    (@each $run:path, $r:ty; $($check:ident)*) => {
        $(
            #[test]
            fn $check() {
                $run($crate::runtime::suite::$check::<$r>);
            }
        )*
    };
}

/// Longest any single step of a check may take; a hang becomes an error.
const STEP: Duration = Duration::from_secs(60);
/// How long a future must stay pending to count as blocked.
const BLOCKED: Duration = Duration::from_millis(200);
/// More than any stream may buffer between a writer and a reader that does not read.
const BUFFER_LIMIT: usize = 64 << 20;

fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// Awaits one step of a check, with a limit.
async fn step<R: Runtime, T>(what: &str, future: impl Future<Output = io::Result<T>> + Send) -> io::Result<T> {
    match R::timeout(STEP, future).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("{what}: no end after {STEP:?}"),
        )),
    }
}

/// A connected pair: the side that connected, the side that accepted.
async fn pair<R: Runtime>() -> io::Result<(R::Stream, R::Stream)> {
    let mut listener = R::bind(any_port()).await?;
    let dialed = step::<R, _>("connect", R::connect(listener.local_addr()?)).await?;
    let (accepted, _) = step::<R, _>("accept", listener.accept()).await?;
    Ok((dialed, accepted))
}

/// `len` bytes that differ by position and by `salt`.
fn pattern(len: usize, salt: u64) -> Vec<u8> {
    (0..len as u64)
        .map(|i| (i.wrapping_mul(0x9E37_79B9).wrapping_add(salt) >> 5) as u8)
        .collect()
}

async fn write_all<R: Runtime>(stream: &mut R::Stream, bytes: &[u8]) -> io::Result<()> {
    step::<R, _>("write", stream.write_all(bytes)).await?;
    step::<R, _>("flush", stream.flush()).await
}

async fn read_exact<R: Runtime>(stream: &mut R::Stream, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    step::<R, _>("read", stream.read_exact(&mut bytes)).await?;
    Ok(bytes)
}

/// Reads on until end of file or an error; both mean that the connection is lost.
async fn read_until_lost<R: Runtime>(stream: &mut R::Stream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut buf = [0; 4096];
    loop {
        let read = R::timeout(STEP, stream.read(&mut buf)).await;
        match read {
            Ok(Ok(0) | Err(_)) => return Ok(all),
            Ok(Ok(n)) => all.extend_from_slice(&buf[..n]),
            Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "the connection never ended")),
        }
    }
}

/// Port 0 becomes a real port.
pub async fn port_zero_picks_a_free_port<R: Runtime>() -> io::Result<()> {
    let one = R::bind(any_port()).await?;
    let two = R::bind(any_port()).await?;
    let (one, two) = (one.local_addr()?, two.local_addr()?);
    assert_ne!(one.port(), 0);
    assert_ne!(one, two, "two listeners got one port");
    assert_eq!(one.ip(), any_port().ip());
    Ok(())
}

/// A second listener on a port is an error of its own kind.
pub async fn a_taken_port_is_addr_in_use<R: Runtime>() -> io::Result<()> {
    let listener = R::bind(any_port()).await?;
    match R::bind(listener.local_addr()?).await {
        Err(e) => assert_eq!(e.kind(), io::ErrorKind::AddrInUse, "{e}"),
        Ok(_) => panic!("one port was bound twice"),
    }
    Ok(())
}

/// A restarted listener gets its port back, connections of the old one or not.
pub async fn a_dropped_listener_frees_its_port<R: Runtime>() -> io::Result<()> {
    let mut listener = R::bind(any_port()).await?;
    let addr = listener.local_addr()?;
    let dialed = step::<R, _>("connect", R::connect(addr)).await?;
    let accepted = step::<R, _>("accept", listener.accept()).await?;
    drop((listener, accepted, dialed));
    let mut again = R::bind(addr).await?;
    let _dialed = step::<R, _>("connect", R::connect(addr)).await?;
    step::<R, _>("accept", again.accept()).await?;
    Ok(())
}

/// Nobody listens: refused, which tells a dead process from a dead host.
pub async fn a_closed_port_refuses_connections<R: Runtime>() -> io::Result<()> {
    // On a real host somebody else may take the port in between; not three times in a row.
    for _ in 0..3 {
        let listener = R::bind(any_port()).await?;
        let addr = listener.local_addr()?;
        drop(listener);
        if let Err(e) = step::<R, _>("connect", R::connect(addr)).await {
            assert_eq!(e.kind(), io::ErrorKind::ConnectionRefused, "{e}");
            return Ok(());
        }
    }
    panic!("connected to a closed port");
}

/// The listener learns who connected.
pub async fn accept_tells_the_peers_address<R: Runtime>() -> io::Result<()> {
    let mut listener = R::bind(any_port()).await?;
    let addr = listener.local_addr()?;
    let _one = step::<R, _>("connect", R::connect(addr)).await?;
    let _two = step::<R, _>("connect", R::connect(addr)).await?;
    let (_a, one) = step::<R, _>("accept", listener.accept()).await?;
    let (_b, two) = step::<R, _>("accept", listener.accept()).await?;
    assert_eq!(one.ip(), addr.ip());
    assert_ne!(one, two, "two connections came from one address");
    assert_ne!(one.port(), addr.port());
    Ok(())
}

/// An accept that was given up loses no connection.
pub async fn accept_is_cancel_safe<R: Runtime>() -> io::Result<()> {
    let mut listener = R::bind(any_port()).await?;
    for salt in 0..5 {
        let early = R::timeout(Duration::from_millis(2), listener.accept()).await;
        assert!(early.is_err(), "accepted a connection nobody made");
        let mut dialed = step::<R, _>("connect", R::connect(listener.local_addr()?)).await?;
        write_all::<R>(&mut dialed, &pattern(10, salt)).await?;
        let (mut accepted, _) = step::<R, _>("accept", listener.accept()).await?;
        assert_eq!(read_exact::<R>(&mut accepted, 10).await?, pattern(10, salt));
    }
    Ok(())
}

/// Connect and write need no accept; the bytes are there later.
pub async fn a_connection_waits_until_it_is_accepted<R: Runtime>() -> io::Result<()> {
    let mut listener = R::bind(any_port()).await?;
    let mut dialed = step::<R, _>("connect", R::connect(listener.local_addr()?)).await?;
    write_all::<R>(&mut dialed, b"early").await?;
    R::sleep(Duration::from_millis(5)).await;
    let (mut accepted, _) = step::<R, _>("accept", listener.accept()).await?;
    assert_eq!(read_exact::<R>(&mut accepted, 5).await?, b"early");
    Ok(())
}

/// A listener's end is not its connections' end.
pub async fn dropping_a_listener_keeps_accepted_streams<R: Runtime>() -> io::Result<()> {
    let (mut dialed, mut accepted) = pair::<R>().await?;
    write_all::<R>(&mut dialed, b"still here").await?;
    assert_eq!(read_exact::<R>(&mut accepted, 10).await?, b"still here");
    Ok(())
}

/// Connections that nobody will ever accept are lost, not left hanging.
pub async fn dropping_a_listener_ends_unaccepted_connections<R: Runtime>() -> io::Result<()> {
    let listener = R::bind(any_port()).await?;
    let mut dialed = step::<R, _>("connect", R::connect(listener.local_addr()?)).await?;
    drop(listener);
    assert_eq!(read_until_lost::<R>(&mut dialed).await?, b"");
    Ok(())
}

/// Writes of many sizes come out as the same bytes.
pub async fn a_stream_delivers_bytes_in_order<R: Runtime>() -> io::Result<()> {
    let (mut dialed, mut accepted) = pair::<R>().await?;
    let sent = pattern(300_000, 1);
    let expected = sent.clone();
    let reader = R::spawn(async move {
        read_exact::<R>(&mut accepted, expected.len())
            .await
            .map(|got| got == expected)
    });
    let mut rest = &sent[..];
    for len in [1, 2, 3, 100, 4096, 5000, 65_536, 70_000].into_iter().cycle() {
        let (now, later) = rest.split_at(len.min(rest.len()));
        write_all::<R>(&mut dialed, now).await?;
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    assert!(
        step::<R, _>("reader", joined::<R, _>(reader)).await??,
        "the bytes changed on the way"
    );
    Ok(())
}

/// A transfer far beyond any buffer, in both directions of one connection at once.
pub async fn both_directions_carry_big_transfers_at_once<R: Runtime>() -> io::Result<()> {
    const LEN: usize = 3 << 20;
    let (dialed, accepted) = pair::<R>().await?;
    let exchange = |stream: R::Stream, salt: u64, expected: u64| async move {
        let (mut read, mut write) = ::tokio::io::split(stream);
        let writer = R::spawn(async move {
            write.write_all(&pattern(LEN, salt)).await?;
            write.flush().await
        });
        let mut got = vec![0; LEN];
        read.read_exact(&mut got).await?;
        joined::<R, _>(writer).await??;
        assert!(got == pattern(LEN, expected), "the bytes changed on the way");
        Ok::<_, io::Error>(())
    };
    let one = R::spawn(exchange(dialed, 7, 8));
    let two = R::spawn(exchange(accepted, 8, 7));
    step::<R, _>("dialing side", joined::<R, _>(one)).await??;
    step::<R, _>("accepting side", joined::<R, _>(two)).await??;
    Ok(())
}

/// Back-pressure: a writer stops when nobody reads, and goes on when somebody does.
pub async fn a_writer_waits_for_its_reader<R: Runtime>() -> io::Result<()> {
    let (mut dialed, mut accepted) = pair::<R>().await?;
    let chunk = pattern(64 << 10, 3);
    let mut written = 0;
    while let Ok(n) = R::timeout(BLOCKED, dialed.write(&chunk)).await {
        written += n?;
        assert!(
            written <= BUFFER_LIMIT,
            "{written} bytes are under way to a reader that does not read"
        );
    }
    assert!(written > 0, "not one byte fits into the connection");
    let reader = R::spawn(async move {
        let mut buf = vec![0; 64 << 10];
        let mut left = written;
        while left > 0 {
            let most = left.min(buf.len());
            left -= step::<R, _>("read", accepted.read(&mut buf[..most])).await?.max(1);
        }
        Ok::<_, io::Error>(accepted)
    });
    let mut accepted = step::<R, _>("reader", joined::<R, _>(reader)).await??;
    write_all::<R>(&mut dialed, b"goes on").await?;
    assert_eq!(read_exact::<R>(&mut accepted, 7).await?, b"goes on");
    Ok(())
}

/// Many connections to one listener each carry their own bytes.
pub async fn connections_do_not_mix<R: Runtime>() -> io::Result<()> {
    const COUNT: u64 = 40;
    let mut listener = R::bind(any_port()).await?;
    let addr = listener.local_addr()?;
    let clients: Vec<_> = (0..COUNT)
        .map(|salt| {
            R::spawn(async move {
                let mut stream = step::<R, _>("connect", R::connect(addr)).await?;
                write_all::<R>(&mut stream, &pattern(5000, salt)).await?;
                let echoed = read_exact::<R>(&mut stream, 5000).await?;
                Ok::<_, io::Error>(echoed == pattern(5000, salt))
            })
        })
        .collect();
    for _ in 0..COUNT {
        let (mut stream, _) = step::<R, _>("accept", listener.accept()).await?;
        drop(R::spawn(async move {
            let bytes = read_exact::<R>(&mut stream, 5000).await?;
            write_all::<R>(&mut stream, &bytes).await
        }));
    }
    for client in clients {
        assert!(
            step::<R, _>("client", joined::<R, _>(client)).await??,
            "a connection got another one's bytes"
        );
    }
    Ok(())
}

/// Half-close: the other direction still works.
pub async fn shutdown_closes_one_direction_only<R: Runtime>() -> io::Result<()> {
    let (mut dialed, mut accepted) = pair::<R>().await?;
    write_all::<R>(&mut dialed, b"last words").await?;
    step::<R, _>("shutdown", dialed.shutdown()).await?;
    assert_eq!(read_until_lost::<R>(&mut accepted).await?, b"last words");

    let answer = pattern(200_000, 9);
    let expected = answer.clone();
    let writer = R::spawn(async move {
        write_all::<R>(&mut accepted, &answer).await?;
        step::<R, _>("shutdown", accepted.shutdown()).await?;
        Ok::<_, io::Error>(accepted)
    });
    assert!(
        read_until_lost::<R>(&mut dialed).await? == expected,
        "the half-open direction lost bytes"
    );
    step::<R, _>("writer", joined::<R, _>(writer)).await??;
    Ok(())
}

/// What was promised to be the end is the end.
pub async fn writing_after_shutdown_fails<R: Runtime>() -> io::Result<()> {
    let (mut dialed, _accepted) = pair::<R>().await?;
    step::<R, _>("shutdown", dialed.shutdown()).await?;
    assert!(dialed.write_all(b"more").await.is_err(), "wrote after shutdown");
    Ok(())
}

/// The peer reads what was sent before, then the end.
pub async fn dropping_a_stream_ends_the_peers_reads<R: Runtime>() -> io::Result<()> {
    let (mut dialed, mut accepted) = pair::<R>().await?;
    write_all::<R>(&mut dialed, b"bye").await?;
    drop(dialed);
    assert_eq!(read_until_lost::<R>(&mut accepted).await?, b"bye");
    Ok(())
}

/// The peer's writes fail soon, they do not go on for ever.
pub async fn dropping_a_stream_ends_the_peers_writes<R: Runtime>() -> io::Result<()> {
    let (dialed, mut accepted) = pair::<R>().await?;
    drop(dialed);
    let failed = step::<R, _>("write", async {
        loop {
            if accepted.write_all(b"anybody there").await.is_err() {
                return Ok(());
            }
            R::sleep(Duration::from_millis(1)).await;
        }
    });
    failed.await
}

/// A writer that waits for room learns that its reader is gone.
pub async fn dropping_a_stream_with_unread_bytes_ends_the_peer<R: Runtime>() -> io::Result<()> {
    let (mut dialed, accepted) = pair::<R>().await?;
    let chunk = pattern(64 << 10, 3);
    while let Ok(n) = R::timeout(BLOCKED, dialed.write(&chunk)).await {
        n?;
    }
    drop(accepted);
    let failed = step::<R, _>("write", async {
        loop {
            if dialed.write(&chunk).await.is_err() {
                return Ok(());
            }
        }
    });
    failed.await
}

/// One disk thread is a FIFO.
pub async fn a_serial_runs_jobs_in_order<R: Runtime>() -> io::Result<()> {
    let serial = R::serial("suite");
    let ran = Arc::new(Mutex::new(Vec::new()));
    for i in 0..500 {
        let ran = ran.clone();
        serial.submit(Box::new(move || {
            ran.lock().unwrap_or_else(PoisonError::into_inner).push(i)
        }));
    }
    let (done, last) = oneshot::channel();
    serial.submit(Box::new(move || {
        let _ = done.send(());
    }));
    step::<R, _>("last job", async { last.await.map_err(io::Error::other) }).await?;
    let ran = ran.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(ran.iter().copied().eq(0..500), "jobs ran in the order {ran:?}");
    Ok(())
}

/// Dropping the handle is not dropping the work.
pub async fn a_dropped_serial_finishes_its_queue<R: Runtime>() -> io::Result<()> {
    let serial = R::serial("suite");
    let (done, last) = oneshot::channel();
    for _ in 0..20 {
        serial.submit(Box::new(|| ()));
    }
    serial.submit(Box::new(move || {
        let _ = done.send(7);
    }));
    drop(serial);
    let value = step::<R, _>("last job", async { last.await.map_err(io::Error::other) }).await?;
    assert_eq!(value, 7);
    Ok(())
}

/// Cold reads come back with their result, several at once.
pub async fn offload_returns_the_result<R: Runtime>() -> io::Result<()> {
    let jobs: Vec<_> = (0..8_u64).map(|i| R::spawn(R::offload(move || i * i))).collect();
    for (i, job) in jobs.into_iter().enumerate() {
        let value = step::<R, _>("offload", joined::<R, _>(job)).await??;
        assert_eq!(value, (i * i) as u64);
    }
    Ok(())
}

/// Sleeps end at or after their time, also when polled along with others.
pub async fn a_sleep_never_ends_early<R: Runtime>() -> io::Result<()> {
    let start = R::Instant::now();
    let sleeps: Vec<_> = [40, 5, 25, 1, 60]
        .into_iter()
        .map(|ms| {
            let wanted = Duration::from_millis(ms);
            R::spawn(async move {
                R::sleep(wanted).await;
                (wanted, R::Instant::now())
            })
        })
        .collect();
    for sleep in sleeps {
        let (wanted, ended) = step::<R, _>("sleep", joined::<R, _>(sleep)).await?;
        assert!(
            ended - start >= wanted,
            "a sleep of {wanted:?} took {:?}",
            ended - start
        );
    }
    let deadline = R::Instant::now() + Duration::from_millis(20);
    R::sleep_until(deadline).await;
    assert!(R::Instant::now() >= deadline);
    Ok(())
}

/// A deadline that is over does not hang.
pub async fn a_past_deadline_is_over_at_once<R: Runtime>() -> io::Result<()> {
    let past = R::Instant::now();
    R::sleep(Duration::from_millis(5)).await;
    step::<R, _>("sleep", async {
        R::sleep_until(past).await;
        R::sleep(Duration::ZERO).await;
        Ok(())
    })
    .await
}

/// Timeouts fire on what never ends, and only then.
pub async fn a_timeout_fires_and_a_ready_value_passes_it<R: Runtime>() -> io::Result<()> {
    let start = R::Instant::now();
    let limit = Duration::from_millis(10);
    assert!(
        R::timeout(limit, std::future::pending::<()>()).await.is_err(),
        "pending() ended"
    );
    assert!(start.elapsed() >= limit, "a timeout fired early");
    assert!(
        matches!(R::timeout(Duration::ZERO, async { 1 }).await, Ok(1)),
        "a ready value timed out"
    );
    let slow = async {
        R::sleep(limit).await;
        2
    };
    assert!(matches!(R::timeout(STEP, slow).await, Ok(2)), "a timeout fired early");
    let at = R::timeout_at(R::Instant::now() + limit, std::future::pending::<()>());
    assert!(at.await.is_err(), "pending() ended");
    Ok(())
}

/// A sleep given up half-way disturbs nobody.
pub async fn a_cancelled_sleep_leaves_others_alone<R: Runtime>() -> io::Result<()> {
    for _ in 0..50 {
        drop(R::timeout(Duration::from_millis(1), R::sleep(STEP)).await);
    }
    let start = R::Instant::now();
    R::sleep(Duration::from_millis(10)).await;
    assert!(start.elapsed() >= Duration::from_millis(10));
    assert!(start.elapsed() < STEP, "an abandoned sleep held up a later one");
    Ok(())
}

/// Milliseconds, not seconds or nanoseconds.
pub async fn the_wall_clock_is_past_2020<R: Runtime>() -> io::Result<()> {
    let (year_2020, year_2200) = (1_577_836_800_000, 7_258_118_400_000);
    let now = R::wall_clock_ms();
    assert!((year_2020..year_2200).contains(&now), "the wall clock says {now} ms");
    Ok(())
}

/// Two draws are not one.
pub async fn random_numbers_differ<R: Runtime>() -> io::Result<()> {
    use rand::RngExt;
    let (one, two): (u128, u128) = (R::thread_rng().random(), R::thread_rng().random());
    assert_ne!(one, two);
    Ok(())
}

/// Every receiver wakes, and sees the newest value.
pub async fn a_watch_wakes_every_receiver<R: Runtime>() -> io::Result<()> {
    let (sender, receiver) = <R::Watch as Watch>::channel(0);
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let mut receiver = receiver.clone();
            R::spawn(async move {
                while *receiver.borrow_watched() < 3 {
                    receiver.changed().await.map_err(io::Error::other)?;
                }
                Ok::<_, io::Error>(())
            })
        })
        .collect();
    for value in 1..=3 {
        R::sleep(Duration::from_millis(2)).await;
        sender.send(value).map_err(io::Error::other)?;
    }
    for task in waiting {
        step::<R, _>("receiver", joined::<R, _>(task)).await??;
    }
    let mut last = receiver.clone();
    drop(sender);
    last.borrow_and_update();
    assert!(last.changed().await.is_err(), "a watch without a sender still waits");
    Ok(())
}

/// A bounded channel is a FIFO that makes its senders wait.
pub async fn an_mpsc_keeps_order_and_pushes_back<R: Runtime>() -> io::Result<()> {
    let (sender, mut receiver) = <R::Mpsc as Mpsc>::channel::<u32>(4);
    for i in 0..4 {
        sender.send(i).await.map_err(|_| io::Error::other("closed"))?;
    }
    assert!(
        R::timeout(BLOCKED, sender.send(99)).await.is_err(),
        "a fifth value fits into four places"
    );
    let producer = R::spawn(async move {
        for i in 4..100 {
            sender.send(i).await.map_err(|_| io::Error::other("closed"))?;
        }
        Ok::<_, io::Error>(())
    });
    for i in 0..100 {
        let got = step::<R, _>("receive", async {
            receiver.recv().await.ok_or(io::ErrorKind::UnexpectedEof.into())
        });
        assert_eq!(got.await?, i);
    }
    step::<R, _>("producer", joined::<R, _>(producer)).await??;
    assert_eq!(receiver.recv().await, None, "a channel without a sender still waits");
    Ok(())
}

/// A task's result, its panic or cancellation as an error.
async fn joined<R: Runtime, T: Send + 'static>(task: R::JoinHandle<T>) -> io::Result<T> {
    task.await.map_err(|e| io::Error::other(e.to_string()))
}
