//! Answers to the sends of one entry.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use quorumq_store::QueueOffset;

use super::*;
use crate::broker::reply::{Collector, Origin, ReplyTo};
use crate::protocol::Encoding;
use crate::server::{CloseReason, Conn, Limits};

const HOST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 10911);

/// A chunk of single sends, one for each queue of `queues`.
fn chunk(reply_to: ReplyTo, queues: &[u32]) -> Chunk {
    let send = |queue_id: &u32| Pending {
        opaque: queue_id.cast_signed(),
        encoding: Encoding::Binary,
        oneway: false,
        queue_id: *queue_id,
        records: 1,
    };
    let origin = Origin { client: SocketAddr::V4(HOST), reply_to };
    Chunk { records: BytesMut::new(), sends: queues.iter().map(send).collect(), origin }
}

/// Once the connection of some sends was gone, the sends behind them in the entry were told the places of those.
#[test]
fn a_closed_connection_does_not_shift_what_the_others_are_told() {
    let lens = [40_u32, 50, 60, 70];
    let body: Vec<u8> =
        lens.iter().flat_map(|len| [&len.to_be_bytes()[..], &vec![0; *len as usize - 4]].concat()).collect();
    let mut appended = Appended::new(PhysicalOffset(1000), 4);
    for offset in [5, 6, 7, 8] {
        appended.push(Ok(QueueOffset(offset)));
    }
    let gone = Conn::new(1, SocketAddr::V4(HOST), SocketAddr::V4(HOST), &Limits::SERVER);
    gone.close(CloseReason::PeerClosed);
    let (collector, mut answers) = Collector::new(2);
    let chunks = [chunk(ReplyTo::Conn(gone), &[0, 1]), chunk(ReplyTo::Collector(collector), &[2, 3])];
    answer_stored(&chunks, &body.into(), HOST, &appended);
    let mut answers = BytesMut::from(&answers.try_recv().unwrap()[..]);
    for (queue, offset, at) in [(2, "7", 1090), (3, "8", 1150)] {
        let answer = frame::decode(&mut answers).unwrap().unwrap();
        assert_eq!((answer.opaque, answer.ext.get("queueOffset")), (queue, Some(offset)));
        let id = OffsetMsgId { store_host: HOST, offset: PhysicalOffset(at) };
        assert_eq!(answer.ext.get("msgId"), Some(&*id.to_hex().to_string()));
    }
}
