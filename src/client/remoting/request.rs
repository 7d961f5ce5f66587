//! What can be sent as a request.

use crate::protocol::command::{Command, FLAG_ONEWAY};
use crate::protocol::frame::{self, Head};
use crate::protocol::value::Value;
use crate::server::Outgoing;

/// A request that writes itself as one frame.
///
/// ### To ensure correctness:
///
/// - `write` appends exactly one frame, with the given opaque, flagged as one-way if asked to.
/// - It encodes and does nothing else: it runs under the connection's lock.
pub trait Request {
    /// Appends the request's frame to `out`.
    fn write(&self, opaque: i32, oneway: bool, out: &mut Outgoing);
}

impl<Q: Request> Request for &Q {
    fn write(&self, opaque: i32, oneway: bool, out: &mut Outgoing) {
        (**self).write(opaque, oneway, out);
    }
}

/// Any command; its own opaque is not looked at.
impl Request for Command {
    fn write(&self, opaque: i32, oneway: bool, out: &mut Outgoing) {
        let head = Head {
            encoding: self.encoding,
            code: self.code,
            language: self.language,
            version: self.version,
            opaque,
            flag: self.flag | if oneway { FLAG_ONEWAY } else { 0 },
            remark: self.remark.as_deref(),
        };
        let fields = self.ext.iter().map(|(key, value)| (key, Value::Text(value)));
        frame::encode_parts_head(&head, fields, self.body.len(), out.buffer());
        out.push(self.body.clone());
    }
}
