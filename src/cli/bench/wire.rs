//! One connection of the generator: one task reads and writes, many frames a system call.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame::{self, Reply};

/// Bytes asked for at once: hundreds of answers.
const READ: usize = 64 * 1024;

/// A stream with what is to be written and what was read.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    /// Frames to be written; `written` bytes of them have been.
    pub out: Vec<u8>,
    written: usize,
    /// Bytes read; those before `taken` are done with.
    input: Vec<u8>,
    taken: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, out: Vec::new(), written: 0, input: Vec::with_capacity(READ), taken: 0 }
    }

    /// Writes what is to be written and waits until something was read. Writing and reading go side by side: a peer
    /// that waits for us to read its answers would otherwise wait for ever.
    ///
    /// # Errors
    /// The connection broke or was closed.
    pub(super) async fn exchange(&mut self) -> io::Result<()> {
        poll_fn(|context| {
            if let Poll::Ready(Err(e)) = self.write(context) {
                return Poll::Ready(Err(e));
            }
            self.read(context)
        })
        .await
    }

    fn write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(context, &self.out[self.written..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
        }
        self.out.clear();
        self.written = 0;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is left is the start of one answer: short.
        self.input.drain(..self.taken);
        self.taken = 0;
        let len = self.input.len();
        self.input.resize(len + READ, 0);
        let mut space = ReadBuf::new(&mut self.input[len..]);
        let polled = Pin::new(&mut self.stream).poll_read(context, &mut space);
        let read = space.filled().len();
        self.input.truncate(len + read);
        match ready!(polled) {
            Ok(()) if read == 0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            other => Poll::Ready(other),
        }
    }

    /// The next whole answer that was read, and its bytes.
    ///
    /// # Errors
    /// The peer sent something else.
    pub(super) fn reply(&mut self) -> io::Result<Option<(Reply, &[u8])>> {
        let rest = &self.input[self.taken..];
        let found = frame::reply(rest).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        Ok(found.map(|reply| {
            self.taken += reply.len;
            (reply, &rest[..reply.len])
        }))
    }
}
