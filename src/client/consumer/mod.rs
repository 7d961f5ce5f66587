//! Consumers: one that pulls when it is told to, and one that is always pulling.

pub mod allocate;
pub mod message;
mod offsets;
mod process_queue;
pub mod pull;
pub mod push;
pub mod subscription;

pub use message::MessageExt;
pub use pull::{Pull, PullConsumer, PullResult, PullStatus};
pub use push::{ConsumeFrom, ConsumeResult, PushConsumer, PushConsumerBuilder, PushConsumerOptions};
pub use subscription::Subscription;
