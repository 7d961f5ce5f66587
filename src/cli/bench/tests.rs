//! The generator against brokers made of a few lines.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use openraft_rt::AsyncRuntime;
use quorumq_raft::runtime::tokio::Tokio;
use quorumq_raft::runtime::{Listener, Runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::lane::Phase;
use super::load::{self, Outcome, Plan, Target};
use crate::protocol::code::{request, response};
use crate::protocol::frame::{self, Head};

/// What a broker of this test does with the sends of one read; answers (opaque, code) in order, `None` hangs up.
type Answer = Arc<dyn Fn(&[i32]) -> Option<Vec<(i32, i32)>> + Send + Sync>;

async fn broker(answer: Answer) -> SocketAddr {
    let mut listener = Tokio::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(Tokio::spawn(async move {
        loop {
            let (stream, _) = Listener::accept(&mut listener).await.unwrap();
            drop(Tokio::spawn(serve(stream, Arc::clone(&answer))));
        }
    }));
    addr
}

async fn serve(mut stream: <Tokio as Runtime>::Stream, answer: Answer) {
    let mut input = BytesMut::new();
    while stream.read_buf(&mut input).await.is_ok_and(|read| read > 0) {
        let mut opaques = Vec::new();
        while let Some(command) = frame::decode(&mut input).unwrap() {
            assert_eq!(command.code, request::SEND_MESSAGE_V2);
            opaques.push(command.opaque);
        }
        let Some(answers) = answer(&opaques) else { return };
        let mut out = BytesMut::new();
        for (opaque, code) in answers {
            let head = Head::reply(crate::protocol::command::Encoding::Binary, opaque, code).with_remark("as told");
            frame::encode_parts(&head, [("queueId", 0.into())], b"", &mut out);
        }
        if stream.write_all(&out).await.is_err() {
            return;
        }
    }
}

fn plan(in_flight: usize, connections: usize) -> Plan {
    Plan {
        topic: "bench".to_owned(),
        producer_group: "g".to_owned(),
        size: 100,
        in_flight,
        connections,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(600),
        print_acks: false,
        server_pids: Vec::new(),
    }
}

/// Runs until `enough` messages are acknowledged.
async fn run(plan: &Plan, leaders: impl Fn() -> SocketAddr + Send + Sync + 'static, enough: u64) -> Outcome {
    let targets = [Target { group: "g".to_owned(), queues: 4 }];
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    let leaders = move || std::future::ready(Ok(BTreeMap::from([("g".to_owned(), leaders())])));
    let tick = |_: Phase, acked: u64| {
        if acked >= enough {
            stopper.cancel();
        }
    };
    load::run::<Tokio, _, _>(plan, &targets, leaders, tick, stop).await.unwrap()
}

#[tokio::test]
async fn every_answer_is_counted_and_no_more_than_the_window_is_in_flight() {
    let seen = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&seen);
    // Holds its answers back until a whole window is there: one more in flight, or one less, and it would hang.
    let held = Mutex::new(Vec::new());
    let addr = broker(Arc::new(move |opaques: &[i32]| {
        counted.fetch_add(opaques.len() as u64, Ordering::Relaxed);
        let mut held = held.lock().unwrap();
        held.extend_from_slice(opaques);
        assert!(held.len() <= 7, "{} in flight", held.len());
        let whole = held.len() == 7;
        Some(if whole { held.drain(..).map(|opaque| (opaque, response::SUCCESS)).collect() } else { Vec::new() })
    }))
    .await;
    let outcome = run(&plan(7, 1), move || addr, 700).await;
    let stats = outcome.stats;
    assert!(stats.acked >= 700 && stats.acked == seen.load(Ordering::Relaxed), "{} acked", stats.acked);
    assert_eq!((stats.unknown, stats.reconnects, stats.refused.len()), (0, 0, 0));
    assert_eq!((stats.latency.len(), outcome.by_group["g"]), (stats.measured, stats.measured));
}

#[tokio::test]
async fn a_refusal_for_lack_of_a_leader_moves_the_lane_to_the_new_one() {
    let moved = Arc::new(AtomicBool::new(false));
    let ask = Arc::clone(&moved);
    let old = broker(Arc::new(move |opaques: &[i32]| {
        moved.store(true, Ordering::Relaxed);
        Some(opaques.iter().map(|opaque| (*opaque, response::SERVICE_NOT_AVAILABLE)).collect())
    }))
    .await;
    let new =
        broker(Arc::new(|opaques: &[i32]| Some(opaques.iter().map(|opaque| (*opaque, response::SUCCESS)).collect())))
            .await;
    let leaders = move || if ask.load(Ordering::Relaxed) { new } else { old };
    let stats = run(&plan(8, 2), leaders, 100).await.stats;
    assert!(stats.acked >= 100);
    assert!(stats.refused[&response::SERVICE_NOT_AVAILABLE] >= 8, "{:?}", stats.refused);
    assert_eq!((stats.unknown, stats.reconnects, stats.remark), (0, 2, None));
}

#[tokio::test]
async fn a_lost_connection_leaves_its_sends_unknown_and_is_opened_again() {
    let hung_up = AtomicBool::new(false);
    let addr = broker(Arc::new(move |opaques: &[i32]| {
        if !hung_up.swap(true, Ordering::Relaxed) {
            return None;
        }
        Some(opaques.iter().map(|opaque| (*opaque, response::SUCCESS)).collect())
    }))
    .await;
    let stats = run(&plan(5, 1), move || addr, 50).await.stats;
    assert!(stats.acked >= 50);
    assert_eq!((stats.unknown, stats.reconnects), (5, 1));
}

#[tokio::test]
async fn an_answer_that_says_outcome_unknown_is_counted_as_that() {
    let addr = broker(Arc::new(|opaques: &[i32]| {
        let code = |opaque: i32| {
            if opaque >> 16 == 1 { response::SYSTEM_ERROR } else { response::SUCCESS }
        };
        Some(opaques.iter().map(|opaque| (*opaque, code(*opaque))).collect())
    }))
    .await;
    let stats = run(&plan(3, 1), move || addr, 30).await.stats;
    // Each of the three slots is used once before its second generation.
    assert_eq!((stats.unknown, stats.refused.len()), (3, 0));
    assert_eq!(stats.remark.as_deref(), Some("code 1: as told"));
}
