//! One connection to a NameServer: one request at a time, and an end that is noticed at once.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use quorumq_raft::runtime::Runtime;
use tokio::sync::Notify;

use crate::protocol::command::Command;
use crate::server::{CloseReason, CommandReader, Conn, Inbound, Limits, Received, pump};

/// Longest to connect: a NameServer on a network takes milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a connection is of no use any more.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LinkLost {
    /// It did not come about.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// It has ended.
    #[error("the connection was lost: {0}")]
    Closed(#[from] CloseReason),
    /// The NameServer does not answer.
    #[error("no answer to request {code} within {timeout_ms} ms")]
    Silent {
        /// The request.
        code: i32,
        /// How long we waited.
        timeout_ms: u128,
    },
}

/// An open connection.
#[derive(Clone, Debug)]
pub struct Link {
    conn: Conn,
    mail: Arc<Mail>,
}

/// The answer to the request under way.
#[derive(Debug, Default)]
struct Mail {
    state: Mutex<(i32, Option<Command>)>,
    arrived: Notify,
}

impl Mail {
    /// The last request's number, and its answer once it is there.
    fn lock(&self) -> MutexGuard<'_, (i32, Option<Command>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects.
///
/// # Errors
/// Refused, or nobody answered in time.
pub async fn connect<R: Runtime>(addr: SocketAddr) -> Result<R::Stream, LinkLost> {
    match R::timeout(CONNECT_TIMEOUT, R::connect(addr)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(e)) => Err(LinkLost::Connect(e.to_string())),
        Err(_) => Err(LinkLost::Connect(format!("nobody answered within {CONNECT_TIMEOUT:?}"))),
    }
}

/// The connection over `stream`, and the future that moves its bytes until it ends.
pub fn open<R: Runtime>(
    stream: R::Stream,
    addr: SocketAddr,
    idle: Duration,
) -> (Link, impl Future<Output = CloseReason> + Send) {
    let limits = Limits { idle, ..Limits::CLIENT };
    let conn = Conn::new(0, addr, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), &limits);
    let mail = Arc::<Mail>::default();
    let link = Link { conn: conn.clone(), mail: Arc::clone(&mail) };
    let moving = async move {
        let mut inbound = Answers { mail, reader: CommandReader::default() };
        pump::<R, _, _>(stream, &conn, &mut inbound, &limits).await
    };
    (link, moving)
}

impl Link {
    /// Sends a request and waits for its answer. An earlier one that was given up must not be waited for any more.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn call<R: Runtime>(&self, mut command: Command, timeout: Duration) -> Result<Command, LinkLost> {
        command.opaque = {
            let mut mail = self.mail.lock();
            *mail = (mail.0.wrapping_add(1), None);
            mail.0
        };
        self.conn.send_command(&command)?;
        let answered = async {
            loop {
                // One waiter: a permit that is left over only costs one look more.
                self.mail.arrived.notified().await;
                if let Some(answer) = self.mail.lock().1.take() {
                    return answer;
                }
            }
        };
        let silent = LinkLost::Silent { code: command.code, timeout_ms: timeout.as_millis() };
        R::timeout(timeout, answered).await.map_err(|_| silent)
    }
}

/// Takes answers off the connection.
struct Answers {
    mail: Arc<Mail>,
    reader: CommandReader,
}

impl Inbound for Answers {
    fn received(&mut self, _conn: &Conn, buf: &mut BytesMut) -> Result<Received, CloseReason> {
        let received = self.reader.read(buf);
        for answer in self.reader.commands.drain(..).filter(Command::is_response) {
            let mut mail = self.mail.lock();
            if answer.opaque == mail.0 {
                mail.1 = Some(answer);
                self.mail.arrived.notify_one();
            }
        }
        received
    }
}
