//! Peers over byte streams: handshake, frames, control and log connections, the acceptor.

pub(crate) mod append;
pub mod codec;
pub(crate) mod full;
pub mod handshake;
pub(crate) mod log_server;
pub(crate) mod log_session;
pub mod message;
pub mod mux;
pub(crate) mod network;
pub(crate) mod peers;
pub(crate) mod server;
