//! One pull, as it is kept while it is served or held.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use super::fetch::Fetched;
use super::look::Bounds;
use super::status::Status;
use crate::broker::reply::{Origin, ReplyTo};
use crate::broker::subscription::Subscription;
use crate::protocol::code::response;
use crate::protocol::command::{Command, Encoding};
use crate::protocol::ext::ExtFields;
use crate::protocol::frame::{self, Head};
use crate::protocol::header::pull::PullMessageRequest;
use crate::protocol::value::Value;

/// Most messages of one answer, whatever the client asks: what a client's local queue holds by default
/// (pullThresholdForQueue, 1000). RocketMQ's own brokers stop at 32.
const MAX_MESSAGES: usize = 1024;
/// Most bytes of messages of one answer, unless one message alone is larger: maxTransferBytesOnMessageInMemory.
const MAX_BYTES: usize = 256 * 1024;
/// Longest hold. Clients ask for 15 to 20 s; a connection without traffic is closed after 120 s.
const MAX_HOLD: Duration = Duration::from_secs(60);
/// From this size on an answer is encoded outside the connection's lock, into memory of its own that is not copied again.
const LARGE: usize = 64 * 1024;
/// Room for the head of an answer.
const HEAD: usize = 512;

/// How long a client lets its pull be held; `None` for not at all.
pub fn hold_time(suspend_timeout_ms: i64) -> Option<Duration> {
    let time = Duration::from_millis(u64::try_from(suspend_timeout_ms).unwrap_or(0)).min(MAX_HOLD);
    (!time.is_zero()).then_some(time)
}

/// Pulls go through maps and tasks: what moves is a pointer.
pub type BoxedPull<I> = Box<Pull<I>>;

/// A pull that is to be answered once. `I` is the runtime's instant.
#[derive(Debug)]
pub struct Pull<I> {
    code: i32,
    opaque: i32,
    encoding: Encoding,
    pub reply_to: ReplyTo,
    pub group: Box<str>,
    pub topic: Arc<str>,
    pub queue_id: u32,
    /// The offset the client asked for.
    asked: i64,
    /// The next offset to look at: what a filter took out lies between `asked` and it.
    pub offset: u64,
    pub filter: Subscription,
    /// Most messages of the answer.
    pub max_messages: usize,
    /// Most bytes of the answer's messages; the first one is taken whatever its size.
    pub max_bytes: usize,
    /// Until when it may be held; `None` if it is to be answered now.
    pub until: Option<I>,
    /// Whether it was held before.
    pub was_held: bool,
    /// Whether a read of it failed before.
    pub is_retried: bool,
    /// How often it was put off because what it wants is damaged here.
    pub repairs_awaited: u32,
    /// Units looked at since it was last held.
    pub scanned: u64,
}

impl<I> Pull<I> {
    /// A pull that may not wait yet. Its queue id was checked.
    pub fn new(header: &PullMessageRequest<'_>, filter: Subscription, command: &Command, origin: &Origin) -> Self {
        let limit = |value: i32, most: usize| usize::try_from(value).unwrap_or(0).clamp(1, most);
        Self {
            code: command.code,
            opaque: command.opaque,
            encoding: command.encoding,
            reply_to: origin.reply_to.clone(),
            group: header.consumer_group.into(),
            topic: header.topic.into(),
            queue_id: u32::try_from(header.queue_id).unwrap_or(u32::MAX),
            asked: header.queue_offset,
            offset: u64::try_from(header.queue_offset).unwrap_or(0),
            filter,
            max_messages: limit(header.max_msg_nums, MAX_MESSAGES),
            max_bytes: header
                .max_msg_bytes
                .filter(|bytes| *bytes > 0)
                .map_or(MAX_BYTES, |bytes| limit(bytes, MAX_BYTES)),
            until: None,
            was_held: false,
            is_retried: false,
            repairs_awaited: 0,
            scanned: 0,
        }
    }

    /// Whether the client asked for an offset no queue has.
    pub fn is_negative(&self) -> bool {
        self.asked < 0
    }

    /// Whether it may be held.
    pub fn may_wait(&self) -> bool {
        self.until.is_some()
    }

    /// Whether messages were passed over that its filter does not want.
    pub fn has_advanced(&self) -> bool {
        u64::try_from(self.asked).is_ok_and(|asked| self.offset > asked)
    }

    /// Whether nobody waits for the answer any more.
    pub fn is_abandoned(&self) -> bool {
        matches!(&self.reply_to, ReplyTo::Conn(conn) if conn.is_closed())
    }

    /// Bytes that wait for the client.
    pub fn waiting(&self) -> usize {
        match &self.reply_to {
            ReplyTo::Conn(conn) => conn.waiting(),
            ReplyTo::Collector(_) => 0,
        }
    }

    /// Bytes it takes while it is held, about.
    pub fn cost(&self) -> usize {
        // Itself, its places in the three ordered maps of the holds, and its own texts.
        size_of::<Self>() + 256 + self.group.len() + self.topic.len() + self.filter.codes.len() * size_of::<i32>()
    }

    /// The request as far as an answer needs it.
    pub fn request(&self) -> Command {
        let request = Command::request(self.encoding, self.code, ExtFields::default(), bytes::Bytes::new());
        Command { opaque: self.opaque, ..request }
    }

    fn head(&self, status: Status) -> Head<'static> {
        Head::reply(self.encoding, self.opaque, status.code()).with_remark(status.name())
    }

    /// Answers without messages.
    pub fn answer(&self, status: Status, next: u64, bounds: Bounds) {
        let fields = fields(next, bounds);
        self.reply_to.send_with(1, |out| frame::encode_parts(&self.head(status), fields, b"", out));
    }

    /// Answers with an error.
    pub fn refuse(&self, code: i32, remark: &str) {
        debug_assert_ne!(code, response::SUCCESS);
        let head = Head::reply(self.encoding, self.opaque, code).with_remark(remark);
        self.reply_to.send_with(1, |out| frame::encode_parts(&head, [], b"", out));
    }

    /// Answers with messages: their bytes are copied once, into the answer, where their offsets are set.
    pub fn found(&self, fetched: &Fetched, bounds: Bounds) {
        let len = fetched.len();
        let fields = fields(fetched.next, bounds);
        let encode = |out: &mut BytesMut| {
            out.reserve(HEAD + len);
            frame::encode_parts_head(&self.head(Status::Found), fields, len, out);
            fetched.copy_into(out);
        };
        if len < LARGE {
            self.reply_to.send_with(1, encode);
        } else {
            let mut answer = BytesMut::new();
            encode(&mut answer);
            self.reply_to.send_parts(|_| {}, vec![answer.freeze()]);
        }
    }
}

/// The fields of every answer (PullMessageResponseHeader.java), in its order.
fn fields(next: u64, bounds: Bounds) -> [(&'static str, Value<'static>); 4] {
    [
        // Every node serves everything it has applied: there is no better one.
        ("suggestWhichBrokerId", 0.into()),
        ("nextBeginOffset", next.cast_signed().into()),
        ("minOffset", bounds.min.cast_signed().into()),
        ("maxOffset", bounds.max.cast_signed().into()),
    ]
}
