//! RocketMQ's remoting protocol: frames, headers in both encodings, codes, typed bodies. Bytes in, values out; no I/O.
#![expect(
    missing_docs,
    reason = "names of fields, codes and properties are RocketMQ's own; what is ours is documented"
)]

pub mod batch;
pub mod body;
pub mod code;
pub mod command;
pub mod ext;
pub mod frame;
pub mod header;
pub mod language;
pub mod limits;
pub mod message_id;
pub mod names;
pub mod properties;
pub mod value;

pub use command::{Command, Encoding};
pub use ext::ExtFields;
