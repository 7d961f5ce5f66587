//! Peers over byte streams: handshake, frames, control and log connections, the acceptor.

pub mod append;
pub mod codec;
pub mod handshake;
pub mod log_server;
pub mod log_session;
pub mod message;
pub mod mux;
pub mod network;
pub mod peers;
pub mod server;
