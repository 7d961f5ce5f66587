//! QuoruMQ: a message broker that speaks Apache RocketMQ's protocol, whose replicated log is the CommitLog.
pub mod broker;
pub mod cli;
pub mod client;
pub mod config;
pub mod inspect;
pub mod kept;
pub mod machine;
pub mod nameserver;
pub mod protocol;
pub mod recover;
pub mod server;
pub mod verify;
