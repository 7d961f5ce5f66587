//! One consensus node over openraft. Knows entries and peers; knows no topic and no RocketMQ.
pub mod barrier;
pub mod codec;
mod fatal;
pub mod form;
pub mod log_storage;
pub mod lost;
pub mod machine;
pub mod node;
pub mod outcome;
pub mod peer;
pub mod runtime;
pub mod service;
pub mod state_machine;
mod tasks;
pub mod types;
pub mod wire;
