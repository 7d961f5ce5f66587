//! Offsets: 14, 15, 29, 30, 31, 32. Reads are answered by any node behind a read barrier, commits by the leader.

use std::sync::Arc;
use std::time::Duration;

use openraft_rt::Instant;
use quorumq_raft::barrier::ReadError;
use quorumq_raft::runtime::Runtime;
use quorumq_store::QueueOffset;
use quorumq_store::mutant::{Mutant, planted};

use super::Broker;
use super::answer;
use super::send::Refused;
use super::units::Units;
use crate::machine::{Machine, OffsetCommit, QueueView};
use crate::protocol::code::response;
use crate::protocol::command::Command;
use crate::protocol::header::offset::{
    GetMaxOffsetRequest, OffsetResponse, QueryConsumerOffsetRequest, QueueRequest, SearchOffsetRequest,
    StoreTimeResponse, UpdateConsumerOffsetRequest,
};
use crate::protocol::names;

mod search;

use search::Boundary;

/// Longest a read waits for a leader that confirms it: an election after a crash takes tens of milliseconds.
const CONFIRM_WAIT: Duration = Duration::from_secs(1);
/// Pause between attempts to have a read confirmed.
const CONFIRM_PAUSE: Duration = Duration::from_millis(20);
/// RocketMQ's answer to 32 for a queue without messages.
const NO_STORE_TIME: i64 = -1;

impl<R: Runtime> Broker<R> {
    /// Waits until this node has applied everything that was committed when the call began. Tries again for a moment: a
    /// leader may just be being elected.
    ///
    /// # Errors
    /// No leader confirmed it in time.
    pub async fn confirm(&self) -> Result<(), ReadError> {
        if planted(Mutant::StaleRead) {
            return Ok(());
        }
        let deadline = <R::Instant as Instant>::now() + CONFIRM_WAIT;
        loop {
            match self.node.read_barrier().await {
                Ok(()) => return Ok(()),
                Err(e) if <R::Instant as Instant>::now() >= deadline => return Err(e),
                Err(_) => R::sleep(CONFIRM_PAUSE).await,
            }
        }
    }

    /// Answers 14: where a group goes on in a queue.
    pub async fn query_consumer_offset(&self, command: &Command) -> Command {
        let header = match QueryConsumerOffsetRequest::decode(command) {
            Ok(header) => header,
            Err(e) => return answer::error(command, e),
        };
        if let Err(e) = self.confirm().await {
            return self.not_leading(command, &e.to_string());
        }
        let machine = self.node.machine();
        let queue = match queue(&machine, header.topic, header.queue_id) {
            Ok((_, queue)) => queue,
            Err(refused) => return command.reply(refused.code, Some(refused.remark)),
        };
        let queue_id = header.queue_id.cast_unsigned();
        if let Some(offset) = machine.consumer_offset(header.consumer_group, header.topic, queue_id) {
            return offset_answer(command, offset.to_i64());
        }
        // A new group reads a young queue from its start; in an older one the client decides (clients.md 3.8).
        let not_found = match (header.set_zero_if_not_found, queue.min_offset()) {
            (Some(false), _) => "Not found, do not set to zero, maybe this group boot first",
            (_, QueueOffset(0)) => return offset_answer(command, 0),
            _ => "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first",
        };
        command.reply(response::QUERY_NOT_FOUND, Some(not_found.to_owned()))
    }

    /// Answers 15: a group goes on from here. Leader only.
    pub async fn update_consumer_offset(&self, command: &Command) -> Command {
        let header = match UpdateConsumerOffsetRequest::decode(command) {
            Ok(header) => header,
            Err(e) => return answer::error(command, e),
        };
        if let Err(e) = names::check_group(header.consumer_group) {
            return answer::error(command, e);
        }
        let Ok(offset) = u64::try_from(header.commit_offset) else {
            return answer::error(command, format!("commitOffset[{}] is illegal", header.commit_offset));
        };
        if let Err(refused) = queue(&self.node.machine(), header.topic, header.queue_id) {
            return command.reply(refused.code, Some(refused.remark));
        }
        let queue_id = header.queue_id.cast_unsigned();
        let commit = OffsetCommit::new(header.consumer_group, header.topic, queue_id, QueueOffset(offset));
        if planted(Mutant::OffsetCommitOutsideLog) {
            self.commits.note(commit);
            return command.reply(response::SUCCESS, None);
        }
        match self.commits.commit(vec![commit]).await {
            Ok(()) => command.reply(response::SUCCESS, None),
            Err(e) => e.answer(self, command),
        }
    }

    /// Answers 30: the offset the queue's next message will get.
    pub async fn get_max_offset(&self, command: &Command) -> Command {
        let header = match GetMaxOffsetRequest::decode(command) {
            Ok(header) => header,
            Err(e) => return answer::error(command, e),
        };
        let read = |queue: &QueueView<'_>| queue.max_offset();
        self.answer_of_queue(command, (header.topic, header.queue_id), read).await
    }

    /// Answers 31: the first offset that can be read.
    pub async fn get_min_offset(&self, command: &Command) -> Command {
        let header = match QueueRequest::decode(command) {
            Ok(header) => header,
            Err(e) => return answer::error(command, e),
        };
        let read = |queue: &QueueView<'_>| queue.min_offset();
        self.answer_of_queue(command, (header.topic, header.queue_id), read).await
    }

    async fn answer_of_queue(
        &self,
        command: &Command,
        (topic, queue_id): (&str, i32),
        read: impl Fn(&QueueView<'_>) -> QueueOffset,
    ) -> Command {
        if let Err(e) = self.confirm().await {
            return self.not_leading(command, &e.to_string());
        }
        let machine = self.node.machine();
        match queue(&machine, topic, queue_id) {
            Ok((_, queue)) => offset_answer(command, read(&queue).to_i64()),
            Err(refused) => command.reply(refused.code, Some(refused.remark)),
        }
    }

    /// Answers 29: the first offset stored at or after a time, or the last one at or before it.
    pub async fn search_offset(&self, command: &Command) -> Command {
        let header = match SearchOffsetRequest::decode(command) {
            Ok(header) => header,
            Err(e) => return answer::error(command, e),
        };
        let boundary = match header.boundary_type {
            Some(text) if text.eq_ignore_ascii_case("UPPER") => Boundary::Upper,
            _ => Boundary::Lower,
        };
        let timestamp = header.timestamp;
        let search = self.searched(command, (header.topic, header.queue_id), move |units| {
            search::by_time(units, timestamp, boundary)
        });
        match search.await {
            Ok(offset) => offset_answer(command, offset.to_i64()),
            Err(answer) => answer,
        }
    }

    /// Answers 32: when the queue's first message was stored.
    pub async fn earliest_store_time(&self, command: &Command) -> Command {
        let header = match QueueRequest::decode(command) {
            Ok(header) => header,
            Err(e) => return answer::error(command, e),
        };
        let earliest = self.searched(command, (header.topic, header.queue_id), search::earliest);
        match earliest.await {
            Ok(timestamp) => {
                let timestamp = timestamp.unwrap_or(NO_STORE_TIME);
                let header = StoreTimeResponse { timestamp };
                command.reply(response::SUCCESS, None).with_ext(header.encode())
            }
            Err(answer) => answer,
        }
    }

    /// Looks at records of a queue, off the runtime's threads.
    async fn searched<T: Send + 'static>(
        &self,
        command: &Command,
        (topic, queue_id): (&str, i32),
        job: impl FnOnce(&Units<R>) -> Result<T, search::SearchError> + Send + 'static,
    ) -> Result<T, Command> {
        if let Err(e) = self.confirm().await {
            return Err(self.not_leading(command, &e.to_string()));
        }
        let queue_id = match queue(&self.node.machine(), topic, queue_id) {
            Ok((queue_id, _)) => queue_id,
            Err(refused) => return Err(command.reply(refused.code, Some(refused.remark))),
        };
        let units = Units::new(Arc::clone(&self.node), topic, queue_id);
        match R::offload(move || job(&units)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(e)) => Err(answer::error(command, e)),
            Err(e) => Err(answer::error(command, e)),
        }
    }
}

/// A queue, by the numbers of a request.
fn queue<'m>(machine: &'m Machine, topic: &str, queue_id: i32) -> Result<(u32, QueueView<'m>), Refused> {
    let Some(config) = machine.topic(topic) else {
        return Err(Refused {
            code: response::TOPIC_NOT_EXIST,
            remark: format!("topic[{topic}] not exist, apply first please!"),
        });
    };
    let found = u32::try_from(queue_id).ok().and_then(|id| Some((id, machine.queue(topic, id)?)));
    found.ok_or_else(|| Refused {
        code: response::SYSTEM_ERROR,
        remark: format!(
            "queueId[{queue_id}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{}]",
            config.read_queue_nums
        ),
    })
}

fn offset_answer(command: &Command, offset: i64) -> Command {
    let header = OffsetResponse { offset };
    command.reply(response::SUCCESS, None).with_ext(header.encode())
}
