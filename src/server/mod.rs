//! Accept, connections, limits, drain: shared by broker and NameServer.
//!
//! One task per connection runs [`pump::pump`] over the whole stream: it gathers every queued answer into one
//! write, and hands all commands of one read to the [`Service`] at once. The client uses the same pump.

pub mod accept;
pub mod conn;
pub mod drain;
pub mod limits;
pub mod outgoing;
pub mod pump;
pub mod service;

pub use accept::{BindError, Server, bind, serve};
pub use conn::{CloseReason, Conn};
pub use limits::Limits;
pub use outgoing::Outgoing;
pub use pump::{Inbound, Received, pump};
pub use service::{CommandReader, Service};

#[cfg(test)]
mod tests;
