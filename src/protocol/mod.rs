//! RocketMQ's remoting protocol: frames, headers in both encodings, codes, typed bodies. Bytes in, values out; no I/O.

pub mod body;
pub mod code;
pub mod command;
pub mod ext;
pub mod frame;
pub mod header;
pub mod language;
pub mod value;

pub use command::{Command, Encoding};
pub use ext::ExtFields;
