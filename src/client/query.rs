//! Messages by key: 12.

use std::ops::RangeInclusive;

use quorumq_raft::runtime::Runtime;

use super::consumer::message::{MessageExt, decode_found};
use super::core::{Core, Patience};
use super::error::ClientError;
use super::route::Group;
use super::time::now;
use crate::protocol::code::{request, response};
use crate::protocol::header::query::QueryMessageRequest;

/// Which messages are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByKey<'a> {
    /// The topic.
    pub topic: &'a str,
    /// One of the message's keys, or the id its producer gave it.
    pub key: &'a str,
    /// Whether `key` is the id its producer gave it.
    pub is_unique: bool,
    /// When they were stored, milliseconds since 1970.
    pub stored_ms: RangeInclusive<i64>,
    /// Most messages of each group, 1 to 64 (a broker answers at most 32 for a producer's id).
    pub max: u32,
}

impl<'a> ByKey<'a> {
    /// Up to 64 messages of `topic` with `key`, whenever they were stored.
    pub fn new(topic: &'a str, key: &'a str) -> Self {
        Self { topic, key, is_unique: false, stored_ms: 0..=i64::MAX, max: 64 }
    }
}

impl<R: Runtime> Core<R> {
    /// Messages with a key of every broker group that has the topic, the newest first within each. None is no error.
    ///
    /// # Errors
    /// Nobody knows the topic, no broker of a group answered, or one refused.
    pub async fn query_by_key(&self, wanted: &ByKey<'_>) -> Result<Vec<MessageExt>, ClientError> {
        let deadline = now::<R>() + self.options.api_timeout;
        let route = self.routes.get(&wanted.topic.into(), deadline).await?;
        let mut found = Vec::new();
        for group in &route.groups {
            found.extend(self.query_group(group, wanted).await?);
        }
        Ok(found)
    }

    /// The same of one broker group.
    ///
    /// # Errors
    /// No broker answered, or one refused.
    pub async fn query_group(&self, group: &Group<R>, wanted: &ByKey<'_>) -> Result<Vec<MessageExt>, ClientError> {
        let broker = group.name();
        let header = QueryMessageRequest {
            topic: wanted.topic,
            key: wanted.key,
            max_num: i32::try_from(wanted.max).unwrap_or(i32::MAX),
            begin_timestamp: *wanted.stored_ms.start(),
            end_timestamp: *wanted.stored_ms.end(),
            is_unique_key: wanted.is_unique.then_some(true),
            broker_name: Some(broker),
        };
        let request = self.request(request::QUERY_MESSAGE, header.encode());
        let answer = self.ask(group, &request, Patience::new(self.options.api_timeout)).await?;
        match answer.code {
            response::SUCCESS => decode_found(&answer.body, wanted.topic, broker)
                .map_err(|why| ClientError::BadAnswer { request: request::QUERY_MESSAGE, why }),
            response::QUERY_NOT_FOUND => Ok(Vec::new()),
            _ => Err(ClientError::refused(&answer)),
        }
    }
}
