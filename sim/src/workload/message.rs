//! The messages of a run: none is like another.

use std::sync::Arc;

use quorumq::client::producer::SendResult;
use quorumq::client::{ClientError, Message};
use rand::RngExt;

use super::Client;
use crate::history::{Ended, Sent, body_hash};
use crate::runtime::SimRng;

/// Longest body of most messages.
const USUAL: usize = 2000;
/// Longest body of all that are meant to be stored. Larger than what is sent uncompressed.
const LARGE: usize = 10 << 10;
/// One message in this many is large. Such bodies repeat themselves: there is something to compress.
const LARGE_ONE_IN: u32 = 50;
/// Bytes that do not repeat in a large body.
const PATTERN: usize = 300;
const TAGS: [&str; 3] = ["red", "green", "blue"];

/// Makes the messages of one client's life.
#[derive(Debug)]
pub struct Messages {
    client: Arc<str>,
    rng: SimRng,
    made: u64,
}

impl Messages {
    pub fn of(client: &Client) -> Self {
        Self { client: Arc::clone(&client.name), rng: client.world.rng(), made: 0 }
    }

    /// The next message, and how it is written down.
    pub fn next(&mut self, topic: &Arc<str>) -> (Message, Sent) {
        let body = if self.rng.random_ratio(1, LARGE_ONE_IN) {
            let len = self.rng.random_range(USUAL..=LARGE);
            self.noise(PATTERN).into_iter().cycle().take(len).collect()
        } else {
            let len = self.rng.random_range(1..=USUAL);
            self.noise(len)
        };
        self.with_body(topic, body)
    }

    /// A short message: several make a batch.
    pub fn next_short(&mut self, topic: &Arc<str>) -> (Message, Sent) {
        let len = self.rng.random_range(1..=USUAL / 4);
        let body = self.noise(len);
        self.with_body(topic, body)
    }

    fn noise(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.rng.fill(&mut bytes[..]);
        bytes
    }

    fn with_body(&mut self, topic: &Arc<str>, body: Vec<u8>) -> (Message, Sent) {
        let key = format!("{}-{}", self.client, self.made);
        self.made += 1;
        let sent = Sent { key: key.as_str().into(), body: body_hash(&body) };
        let tag = TAGS[self.rng.random_range(0..TAGS.len())];
        (Message::new(Arc::clone(topic), body).with_tag(tag).with_keys([key]), sent)
    }
}

/// How a send ended, in the client's own words: everything but an unknown outcome is a definite refusal.
pub fn ended(sent: Result<SendResult, ClientError>) -> Ended {
    match sent {
        Ok(sent) => Ended::Stored {
            place: (&sent.queue).into(),
            offset: sent.queue_offset,
            maybe_duplicate: sent.maybe_duplicate,
        },
        Err(e) if e.is_unknown() => Ended::Unknown(e.to_string()),
        Err(e) => Ended::Refused(e.to_string()),
    }
}
