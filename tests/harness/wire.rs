//! Frames by hand, to any port.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorumq::protocol::command::{Command, Encoding};
use quorumq::protocol::{ExtFields, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest an answer may take.
const ANSWER: Duration = Duration::from_secs(20);

/// One connection.
pub struct Wire {
    stream: TcpStream,
    buf: BytesMut,
    opaque: i32,
    encoding: Encoding,
}

impl Wire {
    /// Connects; requests have JSON headers.
    pub async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap_or_else(|e| panic!("{addr}: {e}"));
        Self { stream, buf: BytesMut::new(), opaque: 0, encoding: Encoding::Json }
    }

    /// Sends bytes as they are. The other side may have hung up.
    pub async fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Says that nothing more comes.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Sends a request; its opaque.
    pub async fn send(&mut self, code: i32, ext: &[(&'static str, &str)], body: impl Into<Bytes>) -> i32 {
        self.send_fields(code, ext.iter().copied().collect(), body).await
    }

    /// Sends a request; its opaque.
    pub async fn send_fields(&mut self, code: i32, ext: ExtFields, body: impl Into<Bytes>) -> i32 {
        self.opaque += 1;
        let request = Command { opaque: self.opaque, ..Command::request(self.encoding, code, ext, body.into()) };
        let mut out = BytesMut::new();
        frame::encode(&request, &mut out);
        self.write(&out).await;
        self.opaque
    }

    /// The next answer, or `None` at the connection's end.
    pub async fn answer(&mut self) -> Option<Command> {
        timeout(ANSWER, self.next()).await.expect("an answer or the connection's end")
    }

    async fn next(&mut self) -> Option<Command> {
        loop {
            if let Some(answer) = frame::decode(&mut self.buf).expect("a frame") {
                return Some(answer);
            }
            // A reset is an end like any other.
            if self.stream.read_buf(&mut self.buf).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Sends a request and waits for its answer.
    pub async fn call(&mut self, code: i32, ext: &[(&'static str, &str)], body: impl Into<Bytes>) -> Command {
        self.call_fields(code, ext.iter().copied().collect(), body).await
    }

    /// Sends a request and waits for its answer.
    pub async fn call_fields(&mut self, code: i32, ext: ExtFields, body: impl Into<Bytes>) -> Command {
        let opaque = self.send_fields(code, ext, body).await;
        loop {
            let answer = self.answer().await.expect("an answer");
            if answer.is_response() {
                assert_eq!(answer.opaque, opaque);
                return answer;
            }
        }
    }

    /// Waits until the other side hangs up; what it had sent before.
    pub async fn hung_up(&mut self, limit: Duration) -> Option<Vec<u8>> {
        let mut got = self.buf.split().to_vec();
        let end = timeout(limit, async {
            let mut buf = [0; 4096];
            loop {
                match self.stream.read(&mut buf).await {
                    Ok(0) | Err(_) => return,
                    Ok(n) => got.extend_from_slice(&buf[..n]),
                }
            }
        });
        end.await.is_ok().then_some(got)
    }

    /// Reader and writer, for requests that do not wait for each other.
    pub fn split(self) -> (tokio::net::tcp::OwnedReadHalf, tokio::net::tcp::OwnedWriteHalf) {
        self.stream.into_split()
    }
}
