//! Connections: what becomes of each request.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorumq::client::remoting::{
    CallError, CallLimits, Completion, Completions, Connection, Connections, NotSent, OnPush,
};
use quorumq::protocol::{Command, Encoding, ExtFields};
use quorumq_raft::runtime::tokio::Tokio;
use quorumq_raft::runtime::{Listener, Runtime};

use super::fake::{Act, Fake, dead, eventually, loopback};

const SECOND: Duration = Duration::from_secs(1);

fn no_push() -> OnPush {
    Arc::new(|_, _| None)
}

fn open(addr: std::net::SocketAddr) -> Connection<Tokio> {
    Connection::open(addr, CallLimits::default(), no_push())
}

fn request(code: i32) -> Command {
    Command::request(Encoding::Binary, code, ExtFields::default(), bytes::Bytes::new())
}

#[tokio::test]
async fn answers_find_their_requests_in_whatever_order_they_come() {
    let held = Mutex::new(Vec::new());
    let fake = Fake::start(move |conn, command| {
        let mut held = held.lock().expect("held");
        held.push(command.clone());
        if held.len() == 10 {
            for request in held.iter().rev() {
                conn.send_command(&request.reply(request.code, None)).expect("open");
            }
        }
        Act::Silence
    })
    .await;
    let connection = open(fake.addr);
    let calls: Vec<_> = (100..110).map(|code| connection.call(&request(code), SECOND)).collect();
    for (call, code) in calls.into_iter().zip(100..) {
        assert_eq!(call.await.expect("an answer").code, code);
    }
    assert_eq!(connection.in_flight(), 0);
}

#[tokio::test]
async fn a_refused_connection_means_not_sent() {
    let error = open(dead()).call(&request(1), SECOND).await.expect_err("nobody listens");
    let refused = std::io::ErrorKind::ConnectionRefused;
    assert!(
        matches!(error, CallError::NotSent { reason: NotSent::Connect { kind, .. }, .. } if kind == refused),
        "{error}"
    );
}

#[tokio::test]
async fn a_lost_connection_tells_what_was_sent_from_what_was_not() {
    // More than the host's buffers hold, to a peer that reads nothing.
    let mut listener = Tokio::bind(loopback(0)).await.expect("a port");
    let connection = open(Listener::local_addr(&listener).expect("an address"));
    let large = request(1).with_body(vec![0; 1024 * 1024]);
    let calls: Vec<_> = (0..48).map(|_| connection.call(&large, Duration::from_secs(60))).collect();
    let (stream, _) = Listener::accept(&mut listener).await.expect("a connection");
    let small = connection.call(&request(2), Duration::from_secs(60));
    // The first bytes are there when something can be read.
    stream.readable().await.expect("bytes");
    drop(stream);
    let mut lost = 0;
    let mut not_sent = 0;
    for call in calls {
        match call.await.expect_err("no answer") {
            CallError::Lost { .. } => {
                assert_eq!(not_sent, 0, "what was sent comes before what was not");
                lost += 1;
            }
            CallError::NotSent { .. } => not_sent += 1,
            other => panic!("{other}"),
        }
    }
    println!("{lost} lost, {not_sent} not sent");
    assert!(not_sent > 0, "48 MiB do not fit the buffers of a loopback connection");
    assert!(matches!(small.await, Err(CallError::NotSent { .. })));
    assert!(connection.is_closed());
}

#[tokio::test]
async fn a_request_that_reached_the_peer_is_lost_with_the_connection() {
    let fake = Fake::start(|_, _| Act::Close).await;
    let error = open(fake.addr).call(&request(1), SECOND).await.expect_err("no answer");
    assert!(matches!(error, CallError::Lost { .. }), "{error}");
    assert!(error.is_unknown());
}

#[tokio::test]
async fn one_slow_answer_does_not_end_the_connection_but_silence_does() {
    let fake = Fake::start(|_, command| match command.code {
        1 => Act::Silence,
        _ => Act::Reply(command.reply(0, None)),
    })
    .await;
    let connection = open(fake.addr);
    let slow = connection.call(&request(1), Duration::from_millis(100));
    connection.call(&request(2), SECOND).await.expect("an answer");
    let error = slow.await.expect_err("no answer");
    assert!(matches!(error, CallError::TimedOut { timeout_ms: 100, .. }), "{error}");
    assert!(!connection.is_closed(), "the peer was heard meanwhile");
    let silent = connection.call(&request(1), Duration::from_millis(100));
    let beside = connection.call(&request(1), Duration::from_secs(60));
    assert!(matches!(silent.await, Err(CallError::TimedOut { .. })));
    assert!(matches!(beside.await, Err(CallError::Lost { .. })), "what waits beside is told at once");
    assert!(connection.is_closed());
}

#[tokio::test]
async fn many_requests_end_exactly_once_under_their_tokens() {
    let fake = Fake::start(|_, command| match command.opaque % 3 {
        0 => Act::Silence,
        _ => Act::Reply(command.reply(0, None)),
    })
    .await;
    let connection = open(fake.addr);
    let done = Arc::new(Completions::default());
    let requests = (0..1000).map(|token| (token, request(1)));
    connection.call_many(requests, Duration::from_millis(300), &done);
    let mut ended = BTreeSet::new();
    let mut answered = 0;
    let mut batch: Vec<Completion> = Vec::new();
    while ended.len() < 1000 {
        done.take(&mut batch).await;
        for completion in batch.drain(..) {
            assert!(ended.insert(completion.token), "token {} ended twice", completion.token);
            answered += usize::from(completion.result.is_ok());
        }
    }
    assert!((660..=670).contains(&answered), "{answered}");
    assert_eq!(connection.in_flight(), 0);
}

#[tokio::test]
async fn a_full_connection_refuses_without_sending() {
    let fake = Fake::start(|_, _| Act::Silence).await;
    let limits = CallLimits { in_flight: 5, ..CallLimits::default() };
    let connection: Connection<Tokio> = Connection::open(fake.addr, limits, no_push());
    let _held: Vec<_> = (0..5).map(|_| connection.call(&request(1), SECOND)).collect();
    let error = connection.call(&request(1), SECOND).await.expect_err("full");
    assert!(matches!(error, CallError::NotSent { reason: NotSent::Full { waiting: 5, limit: 5, .. }, .. }), "{error}");
    let done = Arc::new(Completions::default());
    connection.call_many([(7, request(1))], SECOND, &done);
    let mut batch = Vec::new();
    done.take(&mut batch).await;
    assert_eq!(batch[0].token, 7);
    assert!(batch[0].result.as_ref().is_err_and(|error| !error.is_unknown()));
}

#[tokio::test]
async fn requests_of_the_server_are_handed_over_and_answered() {
    let fake = Fake::start(|_, command| Act::Reply(command.reply(0, None))).await;
    let heard = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&heard);
    let on_push: OnPush = Arc::new(move |_, command| {
        counting.fetch_add(1, Ordering::SeqCst);
        (command.code == 307).then(|| command.reply(0, Some("running".to_owned())))
    });
    let connection: Connection<Tokio> = Connection::open(fake.addr, CallLimits::default(), on_push);
    connection.call(&request(1), SECOND).await.expect("an answer");
    fake.push(&Command::oneway(Encoding::Binary, 40, ExtFields::default(), bytes::Bytes::new()));
    fake.push(&request(307));
    fake.push(&request(999));
    eventually("all three were heard", || heard.load(Ordering::SeqCst) == 3).await;
    eventually("two were answered", || fake.count(0) == 1 && fake.count(3) == 1).await;
    assert_eq!(fake.requests(0)[0].remark.as_deref(), Some("running"));
}

#[tokio::test]
async fn a_pool_replaces_what_is_closed_and_keeps_what_is_open() {
    let fake = Fake::start(|_, command| Act::Reply(command.reply(0, None))).await;
    let pool: Connections<Tokio> = Connections::new(CallLimits::default(), no_push());
    for _ in 0..3 {
        pool.get(fake.addr).call(&request(1), SECOND).await.expect("an answer");
    }
    assert_eq!(fake.connections(), 1);
    pool.get(fake.addr).close();
    pool.get(fake.addr).call(&request(1), SECOND).await.expect("an answer");
    eventually("one connection", || fake.connections() == 1).await;
    pool.close();
    eventually("no connection", || fake.connections() == 0).await;
}

#[tokio::test]
async fn a_connection_ends_with_its_last_user() {
    let fake = Fake::start(|_, command| Act::Reply(command.reply(0, None))).await;
    let connection = open(fake.addr);
    connection.call(&request(1), SECOND).await.expect("an answer");
    let again = connection.clone();
    drop(connection);
    again.call(&request(1), SECOND).await.expect("an answer");
    drop(again);
    eventually("no connection", || fake.connections() == 0).await;
}

#[tokio::test]
async fn a_connection_that_hangs_while_connecting_gives_up_at_the_earliest_deadline() {
    // A listener whose backlog is full leaves further connections hanging.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(loopback(0)).expect("a port");
    let listener = socket.listen(0).expect("listening");
    let addr = listener.local_addr().expect("an address");
    let fillers: Vec<_> = (0..4).map(|_| tokio::spawn(tokio::net::TcpStream::connect(addr))).collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let connection = open(addr);
    let patient = connection.call(&request(1), Duration::from_secs(60));
    let hasty = connection.call(&request(1), Duration::from_millis(100));
    for call in [hasty.await, patient.await] {
        let error = call.expect_err("not connected");
        assert!(matches!(error, CallError::NotSent { reason: NotSent::ConnectTimeout { .. }, .. }), "{error}");
    }
    fillers.iter().for_each(tokio::task::JoinHandle::abort);
}
