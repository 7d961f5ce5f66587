//! What one node holds of a topic, asked of that node alone.

use quorumq::protocol::code::{request, response};
use quorumq_store::record::records;

use crate::harness::wire::Wire;

/// One queue.
#[derive(Debug, PartialEq, Eq)]
pub struct Queue {
    /// The offset of the first message.
    pub min: u64,
    pub messages: Vec<Message>,
}

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub physical_offset: u64,
    /// Bytes of its record.
    pub len: usize,
    pub msg_id: String,
    pub body: Vec<u8>,
}

/// Reads every queue of a topic from the node with this address.
pub async fn read_from(addr: &str, topic: &str, queues: u32) -> Vec<Queue> {
    let mut wire = Wire::connect(addr.parse().expect("an address")).await;
    let mut read = Vec::new();
    for queue in 0..queues {
        read.push(read_queue(&mut wire, topic, &queue.to_string()).await);
    }
    read
}

async fn read_queue(wire: &mut Wire, topic: &str, queue: &str) -> Queue {
    let answer = wire.call(request::GET_MIN_OFFSET, &[("topic", topic), ("queueId", queue)], "").await;
    let offset = answer.ext.get("offset").and_then(|offset| offset.parse().ok());
    let min: u64 = offset.unwrap_or_else(|| panic!("no offset in {answer:?}"));
    let mut messages = Vec::new();
    loop {
        let next = (min + messages.len() as u64).to_string();
        let pull = [
            ("consumerGroup", "one-node"),
            ("topic", topic),
            ("queueId", queue),
            ("queueOffset", &*next),
            ("maxMsgNums", "1024"),
            ("sysFlag", "4"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subVersion", "0"),
            ("subscription", "*"),
            ("expressionType", "TAG"),
        ];
        let answer = wire.call(request::PULL_MESSAGE, &pull, "").await;
        if answer.code == response::PULL_NOT_FOUND {
            return Queue { min, messages };
        }
        assert_eq!(answer.code, response::SUCCESS, "queue {queue} at {next}: {:?}", answer.remark);
        for (_, record) in records(&answer.body) {
            let record = record.expect("a record");
            assert_eq!(record.queue_offset().0, min + messages.len() as u64, "queue {queue}: offsets are dense");
            assert!(record.body_crc_matches());
            messages.push(Message {
                physical_offset: record.physical_offset().0,
                len: record.len(),
                msg_id: record.property("UNIQ_KEY").unwrap_or_default().to_owned(),
                body: record.body().to_vec(),
            });
        }
    }
}
