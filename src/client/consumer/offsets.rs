//! Offsets of queues and groups: 14, 15, 29, 30, 31.

use quorumq_raft::runtime::Runtime;
use quorumq_store::QueueOffset;

use crate::client::core::{Changed, Core, Patience};
use crate::client::error::ClientError;
use crate::client::queue::MessageQueue;
use crate::protocol::code::{request, response};
use crate::protocol::header::offset::{
    GetMaxOffsetRequest, OffsetResponse, QueryConsumerOffsetRequest, QueueRequest, SearchOffsetRequest,
    UpdateConsumerOffsetRequest,
};
use crate::protocol::{Command, ExtFields};

impl<R: Runtime> Core<R> {
    /// The offset `group` has committed for `queue`, if any.
    ///
    /// # Errors
    /// No broker answered, or one refused.
    pub async fn committed(&self, group: &str, queue: &MessageQueue) -> Result<Option<QueueOffset>, ClientError> {
        let header = QueryConsumerOffsetRequest {
            consumer_group: group,
            topic: &queue.topic,
            queue_id: queue.queue_id.cast_signed(),
            set_zero_if_not_found: None,
            broker_name: Some(&queue.broker_name),
        };
        let code = request::QUERY_CONSUMER_OFFSET;
        match self.ask_queue(queue, code, header.encode()).await {
            Ok(answer) => offset_of(code, &answer).map(Some),
            Err(ClientError::Refused { code: response::QUERY_NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Commits `offset` as the next one `group` consumes of `queue`.
    ///
    /// # Errors
    /// [`ClientError::Unknown`] if it may be committed all the same, now or later; any other error if it is not.
    pub async fn commit(&self, group: &str, queue: &MessageQueue, offset: QueueOffset) -> Result<Changed, ClientError> {
        let header = UpdateConsumerOffsetRequest {
            consumer_group: group,
            topic: &queue.topic,
            queue_id: queue.queue_id.cast_signed(),
            commit_offset: offset.to_i64(),
            broker_name: Some(&queue.broker_name),
        };
        let broker = self.routes.group(&queue.broker_name);
        let request = self.request(request::UPDATE_CONSUMER_OFFSET, header.encode());
        self.change(&broker, &request, Patience::new(self.options.api_timeout)).await
    }

    /// The offset the next message of `queue` will get.
    ///
    /// # Errors
    /// No broker answered, or one refused.
    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<QueueOffset, ClientError> {
        let header = GetMaxOffsetRequest {
            topic: &queue.topic,
            queue_id: queue.queue_id.cast_signed(),
            committed: None,
            broker_name: Some(&queue.broker_name),
        };
        self.ask_offset(queue, request::GET_MAX_OFFSET, header.encode()).await
    }

    /// The first offset of `queue` that is still held.
    ///
    /// # Errors
    /// No broker answered, or one refused.
    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<QueueOffset, ClientError> {
        let header = QueueRequest {
            topic: &queue.topic,
            queue_id: queue.queue_id.cast_signed(),
            broker_name: Some(&queue.broker_name),
        };
        self.ask_offset(queue, request::GET_MIN_OFFSET, header.encode()).await
    }

    /// The first offset of `queue` whose message was stored at `timestamp_ms` (since 1970) or later.
    ///
    /// # Errors
    /// No broker answered, or one refused.
    pub async fn search_offset(&self, queue: &MessageQueue, timestamp_ms: i64) -> Result<QueueOffset, ClientError> {
        let header = SearchOffsetRequest {
            topic: &queue.topic,
            queue_id: queue.queue_id.cast_signed(),
            timestamp: timestamp_ms,
            boundary_type: None,
            broker_name: Some(&queue.broker_name),
        };
        self.ask_offset(queue, request::SEARCH_OFFSET_BY_TIMESTAMP, header.encode()).await
    }

    async fn ask_offset(&self, queue: &MessageQueue, code: i32, ext: ExtFields) -> Result<QueueOffset, ClientError> {
        offset_of(code, &self.ask_queue(queue, code, ext).await?)
    }

    async fn ask_queue(&self, queue: &MessageQueue, code: i32, ext: ExtFields) -> Result<Command, ClientError> {
        let group = self.routes.group(&queue.broker_name);
        self.ask_ok(&group, &self.request(code, ext), Patience::new(self.options.api_timeout)).await
    }
}

fn offset_of(request: i32, answer: &Command) -> Result<QueueOffset, ClientError> {
    let bad = |why| ClientError::BadAnswer { request, why };
    let offset = OffsetResponse::decode(answer).map_err(|error| bad(error.to_string()))?.offset;
    u64::try_from(offset).map(QueueOffset).map_err(|_| bad(format!("offset {offset}")))
}
