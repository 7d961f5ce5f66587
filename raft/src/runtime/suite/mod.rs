//! Conformance checks that every [`Runtime`] passes: tokio in `raft/tests`, the simulator in `sim/tests`.
//!
//! A check is a future that ends with `Ok` or panics with the broken promise; [`crate::runtime_suite`] makes
//! one `#[test]` of each. openraft's own suite covers what [`AsyncRuntime`](openraft_rt::AsyncRuntime) adds
//! (join handles, watch, mpsc, oneshot, mutex); run both.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ::tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Listener, Runtime};

mod listeners;
mod streams;
mod tasks;

pub use listeners::*;
pub use streams::*;
pub use tasks::*;

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

fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// Awaits one step of a check, with a limit.
async fn step<R: Runtime, T>(what: &str, future: impl Future<Output = io::Result<T>> + Send) -> io::Result<T> {
    match R::timeout(STEP, future).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("{what}: no end after {STEP:?}"))),
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
    (0..len as u64).map(|i| (i.wrapping_mul(0x9E37_79B9).wrapping_add(salt) >> 5) as u8).collect()
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

/// A task's result, its panic or cancellation as an error.
async fn joined<R: Runtime, T: Send + 'static>(task: R::JoinHandle<T>) -> io::Result<T> {
    task.await.map_err(|e| io::Error::other(e.to_string()))
}
