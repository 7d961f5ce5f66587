//! The captured frames between clients and brokers, in their order.

use bytes::BytesMut;
use quorumq::protocol::command::Command;
use quorumq::protocol::frame;
use serde_json::Value;

const GOLDEN: &str = include_str!("../fixtures/golden-frames.jsonl");

/// Brokers, as the capture names them: `n0` led, `n0vip` is its port minus 2.
pub const BROKERS: [&str; 4] = ["n0", "n1", "n2", "n0vip"];

/// One frame from or to a broker.
#[derive(Debug)]
pub struct Frame {
    /// Line of the fixture, from 1.
    pub line: usize,
    from: String,
    to: String,
    pub command: Command,
}

impl Frame {
    /// A broker sent it.
    fn is_ours(&self) -> bool {
        BROKERS.contains(&self.from.as_str())
    }

    pub fn is_answer(&self) -> bool {
        self.is_ours() && self.command.is_response()
    }

    /// A broker sent it of itself.
    pub fn is_push(&self) -> bool {
        self.is_ours() && !self.command.is_response()
    }

    /// Its connection: the client's port and the broker.
    pub fn connection(&self) -> (String, String) {
        let (client, broker) = if self.is_ours() { (&self.to, &self.from) } else { (&self.from, &self.to) };
        (client.clone(), broker.clone())
    }
}

/// All of them.
#[derive(Debug)]
pub struct Capture(Vec<Frame>);

impl Capture {
    /// Frames between a client and a broker. Those of the NameServer and of DLedger's own ports are not asked of brokers;
    /// the three that were not captured whole answer requests that are left out.
    pub fn read() -> Self {
        let end = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let frames = GOLDEN.lines().enumerate().filter_map(|(at, text)| {
            let captured: Value = serde_json::from_str(text).expect("the fixture is JSON lines");
            let (from, to) = (end(&captured["src"]), end(&captured["dst"]));
            let is_of_broker = BROKERS.iter().any(|broker| *broker == from || *broker == to);
            let hex = captured["hex"].as_str().expect("every frame has its bytes").trim_end_matches('.');
            let bytes =
                (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits"));
            let mut bytes = BytesMut::from(&bytes.collect::<Vec<_>>()[..]);
            let command = frame::decode(&mut bytes).unwrap_or_else(|e| panic!("line {}: {e}", at + 1))?;
            is_of_broker.then_some(Frame { line: at + 1, from, to, command })
        });
        Self(frames.collect())
    }

    pub fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.0.iter()
    }

    /// All frames, the one of the first line behind that of the second.
    pub fn in_order(&self, (line, behind): (usize, usize)) -> impl Iterator<Item = &Frame> {
        let place = move |frame: &Frame| if frame.line == line { (behind, 1) } else { (frame.line, 0) };
        let mut frames: Vec<_> = self.frames().collect();
        frames.sort_by_key(|frame| place(frame));
        frames.into_iter()
    }

    /// The answer to a request, unless none was captured.
    pub fn answer_to(&self, request: &Frame) -> Option<&Frame> {
        self.0.iter().find(|frame| {
            frame.line > request.line
                && frame.is_answer()
                && frame.command.opaque == request.command.opaque
                && frame.connection() == request.connection()
        })
    }

    /// Whether it is the connection's last frame.
    pub fn is_last(&self, frame: &Frame) -> bool {
        !self.0.iter().any(|later| later.line > frame.line && later.connection() == frame.connection())
    }
}
