//! One message by its physical offset: 33.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quorumq_raft::node::Node;
use quorumq_raft::runtime::Runtime;
use quorumq_store::record::{self, FIXED_LEN, MAGIC, Record};
use quorumq_store::{PhysicalOffset, StoreError};

use super::Broker;
use super::answer;
use super::units::{Units, UnitsError};
use crate::machine::Machine;
use crate::protocol::code::response;
use crate::protocol::command::Command;
use crate::protocol::header::offset::ViewMessageRequest;

/// Bytes of the smallest record.
const HEAD: u32 = FIXED_LEN as u32;

impl<R: Runtime> Broker<R> {
    /// Answers 33: the message stored at an offset of the log.
    pub async fn view_message(&self, command: &Command) -> Command {
        let header = match ViewMessageRequest::decode(command) {
            Ok(header) => header,
            Err(e) => return answer::error(command, e),
        };
        let missing = || answer::error(command, format!("can not find message by the offset, {}", header.offset));
        let Ok(offset) = u64::try_from(header.offset) else {
            return missing();
        };
        let at = PhysicalOffset(offset);
        let mut viewed = self.view(at).await;
        // A message that its producer knows of may not be applied here yet.
        if matches!(viewed, Ok(None)) {
            if let Err(e) = self.confirm().await {
                return self.not_leading(command, &e.to_string());
            }
            viewed = self.view(at).await;
        }
        match viewed {
            Ok(Some(message)) => command.reply(response::SUCCESS, None).with_body(message.freeze()),
            Ok(None) => missing(),
            Err(e) => {
                tracing::warn!(offset, "a message cannot be read: {e}");
                answer::error(command, format!("the message cannot be read: {e}"))
            }
        }
    }

    async fn view(&self, at: PhysicalOffset) -> Result<Option<BytesMut>, UnitsError> {
        let node = Arc::clone(&self.node);
        match R::offload(move || view(node, at)).await {
            Ok(viewed) => viewed,
            Err(e) => Err(StoreError::Contract(format!("the read did not end: {e}")).into()),
        }
    }
}

/// The message at `at` with its offsets set; `None` if no applied message begins there. Bytes inside a body can look
/// like a record: only the queue they name tells, whose units are all applied.
pub(super) fn view<R: Runtime>(
    node: Arc<Node<R, Machine>>,
    at: PhysicalOffset,
) -> Result<Option<BytesMut>, UnitsError> {
    match record_at(&node, at)? {
        Some(record) => message_of(node, at, &record),
        None => Ok(None),
    }
}

/// The bytes at `at` that look like a record; `None` if nothing does.
pub(super) fn record_at<R: Runtime>(node: &Node<R, Machine>, at: PhysicalOffset) -> Result<Option<Bytes>, StoreError> {
    let Some(len) = record_len(node, at)? else { return Ok(None) };
    Ok(bytes(node, at, len)?.filter(|bytes| Record::parse(bytes).is_ok()))
}

/// The message whose record was found at `at`, with its offsets set; `None` if none is applied there.
pub(super) fn message_of<R: Runtime>(
    node: Arc<Node<R, Machine>>,
    at: PhysicalOffset,
    bytes: &[u8],
) -> Result<Option<BytesMut>, UnitsError> {
    let Ok(record) = Record::parse(bytes) else { return Ok(None) };
    let units = Units::new(node, record.topic(), record.queue_id());
    match units.offset_of(at) {
        Ok(Some((offset, unit))) if unit.size as usize == bytes.len() => {
            let mut message = BytesMut::from(bytes);
            record::patch(&mut message, offset, at);
            Ok(Some(message))
        }
        Ok(_) | Err(UnitsError::NoQueue) => Ok(None),
        Err(e) => Err(e),
    }
}

/// What the bytes at `at` say is their length, if they can be a record.
fn record_len<R: Runtime>(node: &Node<R, Machine>, at: PhysicalOffset) -> Result<Option<u32>, StoreError> {
    let Some(head) = bytes(node, at, HEAD)? else {
        return Ok(None);
    };
    let number = |from: usize| head[from..].first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
    let len = number(0).filter(|len| (HEAD..=node.identity().constants.max_entry).contains(len));
    Ok(len.filter(|_| number(4) == Some(MAGIC)))
}

fn bytes<R: Runtime>(node: &Node<R, Machine>, at: PhysicalOffset, len: u32) -> Result<Option<Bytes>, StoreError> {
    match node.bytes(at, len) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StoreError::OutOfRange { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}
