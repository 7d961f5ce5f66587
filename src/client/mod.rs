//! The client: producers, consumers and an admin that know who leads.
//!
//! A send ends in one of three ways, and they are never confused: it is stored, it is refused (not stored, and never
//! will be), or its outcome is unknown ([`ClientError::Unknown`]). Attempts of one send carry the same UNIQ_KEY.

pub mod admin;
mod compression;
pub mod consumer;
pub mod core;
pub mod error;
mod heartbeat;
pub mod message;
pub mod options;
pub mod producer;
pub mod query;
pub mod queue;
pub mod remoting;
pub mod route;
pub mod tasks;
mod time;
pub mod uniq_key;

pub use admin::{Admin, TopicSpec};
pub use compression::{InflateError, MAX_INFLATED, SYS_FLAG_ZLIB, inflate};
pub use consumer::{ConsumeFrom, ConsumeResult, MessageExt, PullConsumer, PushConsumer, PushConsumerBuilder};
pub use core::{Changed, Core, Patience};
pub use error::ClientError;
pub use message::Message;
pub use options::ClientOptions;
pub use producer::{Place, Producer, ProducerBuilder, SendResult};
pub use query::ByKey;
pub use queue::MessageQueue;
