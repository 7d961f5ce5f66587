//! One consensus node over openraft. Knows entries and peers; knows no topic and no RocketMQ.
pub mod barrier;
mod catch_up;
pub mod codec;
mod derived;
mod fatal;
pub mod form;
mod health;
// For the tests that pin openraft's behaviour.
#[doc(hidden)]
pub mod log_storage;
mod lost;
pub mod machine;
pub mod membership;
pub mod node;
mod opening;
pub mod outcome;
pub mod pace;
pub mod peer;
mod prove;
mod raft_config;
pub mod repair;
pub mod runtime;
mod service;
pub mod state_machine;
mod tasks;
pub mod types;
pub mod wire;
