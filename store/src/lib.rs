//! What the disk holds. Knows bytes and files; knows no Raft, no sockets, no runtime, no topic policy.
#[cfg(not(target_os = "linux"))]
compile_error!("QuoruMQ runs on Linux only: its store relies on fallocate, fdatasync and mmap as Linux has them.");

pub mod checkpoint;
pub mod commit_log;
pub mod consume_queue;
pub mod derived;
pub mod disk;
pub mod error;
pub mod export;
pub mod frame;
pub mod hard_state;
pub mod identity;
pub mod index_file;
pub mod log_store;
pub mod mutant;
mod position;
pub mod record;
pub mod repair;
#[doc(hidden)]
pub mod suite;

pub use error::StoreError;
pub use position::{LogId, LogIndex, PhysicalOffset, QueueOffset, Term};
