//! One consensus node over openraft. Knows entries and peers; knows no topic and no RocketMQ.
pub mod machine;
pub mod runtime;
