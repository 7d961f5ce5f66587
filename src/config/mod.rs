//! Configuration: broker.conf and namesrv.conf in Java-properties form, flags for the same settings, typed and
//! checked. Text in, values out; only [`mod@file`] reads a file.
//!
//! Each setting is declared once, in [`broker`] or [`nameserver`]: field, key, flag, default, allowed values, help.

pub mod address;
pub mod broker;
pub mod error;
pub mod file;
pub mod flush;
mod known_keys;
pub mod nameserver;
pub mod peer;
pub mod print;
mod properties;
mod rule;
mod settings;
mod source;

#[cfg(test)]
mod tests;

pub use address::HostPort;
pub use broker::BrokerConfig;
pub use error::{ConfigError, Place, Problems, Warning};
pub use file::Input;
pub use flush::FlushDiskType;
pub use nameserver::NameServerConfig;
pub use peer::{Peer, PeerId};
pub use settings::Key;
pub use source::Loaded;
