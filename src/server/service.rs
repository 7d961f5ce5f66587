//! What a server does with the commands of its connections.

use std::sync::Arc;

use bytes::BytesMut;

use super::conn::{CloseReason, Conn};
use super::pump::{Inbound, Received};
use crate::protocol::command::Command;
use crate::protocol::frame;

/// Length of the length field of a frame.
const LENGTH_FIELD: usize = 4;

/// The meaning behind a port.
pub trait Service: Send + Sync + 'static {
    /// What the service keeps per connection.
    type Session: Send + 'static;

    /// A connection was accepted.
    fn connected(&self, conn: &Conn) -> Self::Session;

    /// All commands decoded from one read of the socket, in order. Must neither block nor await; answers go
    /// out through `conn`, now or later.
    fn commands(&self, session: &mut Self::Session, conn: &Conn, commands: &mut Vec<Command>);

    /// The connection has ended ([`Conn::close_reason`] says why). Called exactly once per session.
    fn closed(&self, session: Self::Session, conn: &Conn);

    /// Requests taken and not yet answered, over all connections; [drain](super::Server::drain) waits for them.
    fn in_flight(&self) -> usize {
        0
    }
}

/// Takes whole commands off a connection's input.
#[derive(Debug, Default)]
pub struct CommandReader {
    /// The commands of the last read, in order.
    pub commands: Vec<Command>,
}

impl CommandReader {
    /// Decodes every whole frame at the front of `buf` into [`Self::commands`].
    ///
    /// # Errors
    /// The first frame that is none; the commands before it are kept.
    pub fn read(&mut self, buf: &mut BytesMut) -> Result<Received, CloseReason> {
        while let Some(command) = frame::decode(buf)? {
            self.commands.push(command);
        }
        Ok(Received { missing: missing(buf) })
    }
}

/// Bytes missing from the frame at the front, 0 if its length is not there yet.
fn missing(buf: &[u8]) -> usize {
    let Some(length) = buf.first_chunk::<LENGTH_FIELD>() else {
        return 0;
    };
    let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
    (LENGTH_FIELD + length).saturating_sub(buf.len())
}

/// One accepted connection: feeds its commands to the service, and tells it when the connection is gone.
pub(super) struct Served<S: Service> {
    service: Arc<S>,
    conn: Conn,
    /// Taken when the session ends.
    session: Option<S::Session>,
    reader: CommandReader,
}

impl<S: Service> Served<S> {
    pub(super) fn new(service: Arc<S>, conn: Conn) -> Self {
        let session = Some(service.connected(&conn));
        Self { service, conn, session, reader: CommandReader::default() }
    }
}

impl<S: Service> Inbound for Served<S> {
    fn received(&mut self, conn: &Conn, buf: &mut BytesMut) -> Result<Received, CloseReason> {
        let received = self.reader.read(buf);
        if let Some(session) = &mut self.session
            && !self.reader.commands.is_empty()
        {
            self.service.commands(session, conn, &mut self.reader.commands);
            // Whatever the service left behind must not keep the input buffer alive.
            self.reader.commands.clear();
        }
        received
    }
}

impl<S: Service> Drop for Served<S> {
    fn drop(&mut self) {
        // Also when the task was dropped or the service panicked: the session ends with its connection.
        self.conn.close(CloseReason::TaskEnded);
        if let Some(session) = self.session.take() {
            self.service.closed(session, &self.conn);
        }
    }
}
