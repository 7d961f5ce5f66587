//! The [`Runtime`] of production: tokio. The one file that names `tokio::net`, OS threads and the clock.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::net::{TcpListener, TcpStream};

use super::{Job, Listener, Runtime, Serial};

/// tokio as the product's runtime.
pub type Tokio = openraft_rt_tokio::TokioRuntime;

/// Pending connections the kernel keeps before it refuses more.
const LISTEN_BACKLOG: u32 = 1024;

impl Runtime for Tokio {
    type Stream = TcpStream;
    type Listener = TcpListener;
    type Serial = DiskThread;

    async fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
        let socket = if addr.is_ipv4() { tokio::net::TcpSocket::new_v4()? } else { tokio::net::TcpSocket::new_v6()? };
        // A restarted process must get its port back while old connections sit in TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        socket.listen(LISTEN_BACKLOG)
    }

    async fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn wall_clock_ms() -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn serial(name: &str) -> DiskThread {
        DiskThread::start(name)
    }

    async fn offload<T, F>(job: F) -> io::Result<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        tokio::task::spawn_blocking(job).await.map_err(io::Error::other)
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        stream.set_nodelay(true)?;
        Ok((stream, peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(self)
    }
}

/// One OS thread that runs disk jobs in order.
#[derive(Debug)]
pub struct DiskThread {
    jobs: mpsc::Sender<Job>,
}

impl DiskThread {
    fn start(name: &str) -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            for job in queue {
                job();
            }
        });
        // Without its disk thread a node can acknowledge nothing; there is no lesser mode to fall back to.
        assert!(spawned.is_ok(), "cannot start disk thread {name}: {:?}", spawned.err());
        Self { jobs }
    }
}

impl Serial for DiskThread {
    fn submit(&self, job: Job) {
        // The thread ends only after every sender is gone, so a send can fail only if a job panicked,
        // and a panic on the disk thread ends the process.
        assert!(self.jobs.send(job).is_ok(), "the disk thread has ended");
    }
}
