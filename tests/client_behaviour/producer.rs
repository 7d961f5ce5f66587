//! Sends: what they are called in the end, and how they get there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quorumq::client::producer::{ProducerBuilder, SendStatus};
use quorumq::client::{ClientError, Message, MessageQueue, Place, Producer};
use quorumq::protocol::code::request::{
    GET_MAX_OFFSET, HEART_BEAT, SEND_BATCH_MESSAGE, SEND_MESSAGE_V2, UNREGISTER_CLIENT,
};
use quorumq::protocol::header::send::SendMessageRequest;
use quorumq::protocol::{Command, properties};
use quorumq_raft::runtime::tokio::Tokio;

use super::fake::{Act, Fake, content, dead, eventually, no_leader, options, route, stored};

fn builder(namesrv: &Fake) -> ProducerBuilder {
    ProducerBuilder::with_client("producers", options(namesrv))
}

fn producer(namesrv: &Fake) -> Producer<Tokio> {
    builder(namesrv).start().expect("a producer")
}

fn message() -> Message {
    Message::new("T", "body").with_tag("a")
}

/// The UNIQ_KEY of a send.
fn key(command: &Command) -> String {
    let header = SendMessageRequest::decode(command).expect("a send");
    properties::get(header.properties.expect("properties"), "UNIQ_KEY").expect("a key").to_owned()
}

/// One group of one member, which answers its n-th send with the n-th code of `codes`, and 0 after that.
async fn answering(codes: &'static [i32]) -> (Fake, Fake) {
    let sends = AtomicUsize::new(0);
    let broker = Fake::start(move |_, command| {
        if command.code != SEND_MESSAGE_V2 {
            return content(command);
        }
        match codes.get(sends.fetch_add(1, Ordering::SeqCst)) {
            Some(code) => Act::Reply(stored(command.reply(*code, Some("told to".to_owned())), 1, 5)),
            None => content(command),
        }
    })
    .await;
    let addr = broker.addr;
    let namesrv = Fake::namesrv(move |_| Some(route(4, &[("g", &[addr])]))).await;
    (namesrv, broker)
}

#[tokio::test]
async fn a_stored_message_is_told_with_its_place() {
    let (namesrv, broker) = answering(&[]).await;
    let sent = producer(&namesrv).send(message()).await.expect("stored");
    assert_eq!((sent.status, sent.queue_offset, sent.maybe_duplicate), (SendStatus::SendOk, 7, false));
    assert_eq!(sent.offset_msg_id, "7F000001");
    let request = &broker.requests(SEND_MESSAGE_V2)[0];
    assert_eq!(sent.msg_id, key(request));
    assert_eq!(sent.queue.queue_id, SendMessageRequest::decode(request).expect("a send").queue_id.cast_unsigned());
    assert_eq!(&*sent.queue.broker_name, "g");
}

/// (answers, stored?, name of the error, attempts, maybe duplicate)
type Row = (&'static [i32], bool, &'static str, usize, bool);

#[tokio::test]
async fn the_table_of_outcomes() {
    const ROWS: &[Row] = &[
        (&[], true, "", 1, false),
        (&[10], true, "", 1, false),
        (&[1], true, "", 2, true),
        (&[1, 1], true, "", 3, true),
        (&[1, 1, 1], false, "unknown", 3, false),
        (&[77], true, "", 2, true),
        (&[2], true, "", 2, false),
        (&[2, 215], true, "", 3, false),
        (&[2, 215, 2], false, "refused 2", 3, false),
        (&[1, 2, 2], false, "unknown", 3, false),
        (&[13], false, "refused 13", 1, false),
        (&[1, 13], false, "unknown", 2, false),
        (&[16], false, "refused 16", 1, false),
        (&[17], false, "refused 17", 1, false),
        (&[3], false, "refused 3", 1, false),
        (&[14, 14, 14, 14, 14], true, "", 6, false),
        (&[14, 1, 14], true, "", 4, true),
    ];
    for (codes, is_stored, error, attempts, maybe_duplicate) in ROWS {
        let (namesrv, broker) = answering(codes).await;
        let result = producer(&namesrv).send(message()).await;
        let requests = broker.requests(SEND_MESSAGE_V2);
        assert_eq!(requests.len(), *attempts, "{codes:?}: attempts, {result:?}");
        let keys: BTreeSet<_> = requests.iter().map(key).collect();
        assert_eq!(keys.len(), 1, "{codes:?}: one message has one id in all attempts");
        let told = match &result {
            Ok(sent) => {
                assert_eq!(sent.maybe_duplicate, *maybe_duplicate, "{codes:?}");
                assert_eq!(Some(&sent.msg_id), keys.first(), "{codes:?}");
                String::new()
            }
            Err(ClientError::Unknown { msg_id, attempts: made, .. }) => {
                assert_eq!((Some(msg_id), *made as usize), (keys.first(), *attempts), "{codes:?}");
                "unknown".to_owned()
            }
            Err(ClientError::Refused { code, .. }) => format!("refused {code}"),
            Err(other) => panic!("{codes:?}: {other}"),
        };
        assert_eq!((result.is_ok(), &*told), (*is_stored, *error), "{codes:?}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_send_makes_it_unknown_and_is_retried_with_the_same_key() {
    let broken = AtomicBool::new(false);
    let broker = Fake::start(move |_, command| match command.code {
        SEND_MESSAGE_V2 if !broken.swap(true, Ordering::SeqCst) => Act::Close,
        _ => content(command),
    })
    .await;
    let addr = broker.addr;
    let namesrv = Fake::namesrv(move |_| Some(route(4, &[("g", &[addr])]))).await;
    let sent = producer(&namesrv).send(message()).await.expect("stored by the second attempt");
    assert!(sent.maybe_duplicate);
    let keys: Vec<_> = broker.requests(SEND_MESSAGE_V2).iter().map(key).collect();
    assert_eq!(keys, [sent.msg_id.clone(), sent.msg_id]);
}

#[tokio::test]
async fn the_leader_a_member_names_is_asked_at_once_and_from_then_on() {
    let leader = Fake::broker().await;
    let hint = leader.addr;
    let follower = Fake::start(move |_, command| no_leader(command, Some((hint, 9)))).await;
    let third = Fake::broker().await;
    let members = [follower.addr, third.addr, leader.addr];
    let namesrv = Fake::namesrv(move |_| Some(route(4, &[("g", &members)]))).await;
    let producer = producer(&namesrv);
    for _ in 0..5 {
        producer.send(message()).await.expect("stored");
    }
    assert_eq!(follower.count(SEND_MESSAGE_V2), 1);
    assert_eq!(leader.count(SEND_MESSAGE_V2), 5);
    assert_eq!(third.count(SEND_MESSAGE_V2), 0);
}

#[tokio::test]
async fn sends_ride_through_a_failover() {
    let leader = Fake::broker().await;
    let elected = Arc::new(AtomicBool::new(false));
    let follower = || {
        let elected = Arc::clone(&elected);
        Fake::start(move |_, command| match command.code {
            SEND_MESSAGE_V2 if !elected.load(Ordering::SeqCst) => no_leader(command, None),
            _ => content(command),
        })
    };
    let (second, third) = (follower().await, follower().await);
    let members = [leader.addr, second.addr, third.addr];
    let namesrv = Fake::namesrv(move |_| Some(route(4, &[("g", &members)]))).await;
    let producer = producer(&namesrv);
    producer.send(message()).await.expect("stored");
    leader.kill().await;
    let sends: Vec<_> = (0..200)
        .map(|_| {
            let producer = producer.clone();
            tokio::spawn(async move { producer.send(message()).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(400)).await;
    let asked = second.count(SEND_MESSAGE_V2) + third.count(SEND_MESSAGE_V2);
    elected.store(true, Ordering::SeqCst);
    for send in sends {
        send.await.expect("no panic").expect("stored by the new leader");
    }
    // 400 ms hold about 27 rounds of one probe to two members; 200 sends that each asked every 15 ms would make 10,000.
    assert!(asked < 200 * 2 + 150, "{asked} requests while there was no leader");
}

#[tokio::test]
async fn a_silent_broker_costs_the_send_its_time_and_not_more() {
    let broker = Fake::start(|_, command| match command.code {
        SEND_MESSAGE_V2 => Act::Silence,
        _ => content(command),
    })
    .await;
    let addr = broker.addr;
    let namesrv = Fake::namesrv(move |_| Some(route(4, &[("g", &[addr])]))).await;
    let producer = builder(&namesrv).timeout(Duration::from_millis(300)).start::<Tokio>().expect("a producer");
    let begun = Instant::now();
    let error = producer.send(message()).await.expect_err("nobody answers");
    let took = begun.elapsed();
    assert!(matches!(error, ClientError::Unknown { attempts: 3, .. }), "{error}");
    assert_eq!(broker.count(SEND_MESSAGE_V2), 3, "each attempt has its share of the time");
    assert!((Duration::from_millis(290)..Duration::from_secs(3)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn without_any_broker_a_send_ends_at_its_deadline_as_not_sent() {
    let members = [dead(), dead(), dead()];
    let namesrv = Fake::namesrv(move |_| Some(route(4, &[("g", &members)]))).await;
    let producer = builder(&namesrv).timeout(Duration::from_millis(300)).start::<Tokio>().expect("a producer");
    let begun = Instant::now();
    let error = producer.send(message()).await.expect_err("nobody listens");
    assert!(matches!(error, ClientError::NotSent(_)), "{error}");
    let took = begun.elapsed();
    assert!((Duration::from_millis(290)..Duration::from_secs(3)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_hanging_leader_is_left_for_a_member_that_answers() {
    let hanging = Fake::start(|_, command| match command.code {
        SEND_MESSAGE_V2 => Act::Silence,
        _ => content(command),
    })
    .await;
    let follower = Fake::broker().await;
    let members = [hanging.addr, follower.addr];
    let namesrv = Fake::namesrv(move |_| Some(route(4, &[("g", &members)]))).await;
    let producer = builder(&namesrv).timeout(Duration::from_millis(900)).start::<Tokio>().expect("a producer");
    let first = producer.send(message()).await.expect("stored by the follower");
    assert!(first.maybe_duplicate);
    for _ in 0..10 {
        assert!(
            !producer.send(message()).await.expect("stored").maybe_duplicate,
            "the leader that hangs is not asked again"
        );
    }
    assert_eq!(hanging.count(SEND_MESSAGE_V2), 1);
}

#[tokio::test]
async fn queues_are_taken_in_turn_and_keys_keep_theirs() {
    let (namesrv, broker) = answering(&[]).await;
    let producer = producer(&namesrv);
    for _ in 0..10 {
        producer.send(message()).await.expect("stored");
        // Another topic in between must not disturb the turn.
        producer.send(Message::new("U", "b")).await.expect("stored");
    }
    let mut per_queue: BTreeMap<i32, i32> = BTreeMap::new();
    for request in broker.requests(SEND_MESSAGE_V2) {
        let header = SendMessageRequest::decode(&request).expect("a send");
        if header.topic == "T" {
            *per_queue.entry(header.queue_id).or_default() += 1;
        }
    }
    assert_eq!(per_queue.len(), 4);
    assert!(per_queue.values().all(|count| (2..=3).contains(count)), "{per_queue:?}");
    for key in ["a", "b", "order-17", "é"] {
        let first = producer.send_by_key(message(), key).await.expect("stored").queue;
        for _ in 0..3 {
            assert_eq!(producer.send_by_key(message(), key).await.expect("stored").queue, first);
        }
    }
    let queue = MessageQueue::new("T", "g", 2);
    let sent = producer.send_to(message(), Place::Queue(queue.clone())).await.expect("stored");
    assert_eq!(sent.queue, queue);
    let nowhere = Place::Queue(MessageQueue::new("T", "g", 99));
    assert!(matches!(producer.send_to(message(), nowhere).await, Err(ClientError::NoRoute { .. })));
}

#[tokio::test]
async fn a_keyed_message_is_retried_in_its_own_queue() {
    let (namesrv, broker) = answering(&[1, 1]).await;
    let sent = producer(&namesrv).send_by_key(message(), "k").await.expect("stored by the third attempt");
    let queues: BTreeSet<_> = broker
        .requests(SEND_MESSAGE_V2)
        .iter()
        .map(|request| SendMessageRequest::decode(request).expect("a send").queue_id.cast_unsigned())
        .collect();
    assert_eq!(queues, BTreeSet::from([sent.queue.queue_id]));
}

#[tokio::test]
async fn with_one_group_down_every_send_goes_to_the_other() {
    let alive = Fake::broker().await;
    let groups = [[dead(), dead(), dead()], [alive.addr, dead(), dead()]];
    let namesrv = Fake::namesrv(move |_| Some(route(4, &[("g0", &groups[0]), ("g1", &groups[1])]))).await;
    let producer = producer(&namesrv);
    let begun = Instant::now();
    for _ in 0..100 {
        let sent = producer.send(message()).await.expect("stored by the group that lives");
        assert_eq!(&*sent.queue.broker_name, "g1");
        assert!(!sent.maybe_duplicate);
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_group_that_comes_back_gets_its_share_again() {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let first = Fake::start(move |_, command| match command.code {
        SEND_MESSAGE_V2 if is_down.load(Ordering::SeqCst) => no_leader(command, None),
        _ => content(command),
    })
    .await;
    let second = Fake::broker().await;
    let addrs = [first.addr, second.addr];
    let namesrv = Fake::namesrv(move |_| Some(route(4, &[("g0", &addrs[..1]), ("g1", &addrs[1..])]))).await;
    let producer = producer(&namesrv);
    for _ in 0..20 {
        assert_eq!(&*producer.send(message()).await.expect("stored").queue.broker_name, "g1");
    }
    down.store(false, Ordering::SeqCst);
    let mut shares: BTreeMap<String, i32> = BTreeMap::new();
    for _ in 0..4000 {
        let sent = producer.send(message()).await.expect("stored");
        *shares.entry(sent.queue.broker_name.to_string()).or_default() += 1;
        if shares.get("g0").is_some_and(|count| *count >= 8) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{shares:?}");
}

#[tokio::test]
async fn a_busy_broker_makes_a_send_pause_only_within_its_deadline() {
    let broker = Fake::start(|_, command| match command.code {
        SEND_MESSAGE_V2 => Act::Reply(command.reply(2, Some("queue full".to_owned()))),
        _ => content(command),
    })
    .await;
    let addr = broker.addr;
    let namesrv = Fake::namesrv(move |_| Some(route(4, &[("g", &[addr])]))).await;
    let client = builder(&namesrv).attempts(1000).timeout(Duration::from_millis(300));
    let producer = client.start::<Tokio>().expect("a producer");
    let begun = Instant::now();
    let error = producer.send(message()).await.expect_err("busy to the end");
    assert!(matches!(&error, ClientError::Refused { code: 2, remark } if remark == "queue full"), "{error}");
    assert!(broker.count(SEND_MESSAGE_V2) < 10, "pauses grow");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_oneway_send_asks_for_no_answer() {
    let (namesrv, broker) = answering(&[]).await;
    let producer = producer(&namesrv);
    producer.send_oneway(&message(), &Place::Any).await.expect("queued");
    eventually("it arrived", || broker.count(SEND_MESSAGE_V2) == 1).await;
    assert!(broker.requests(SEND_MESSAGE_V2)[0].is_oneway());
}

#[tokio::test]
async fn a_batch_is_one_request() {
    let (namesrv, broker) = answering(&[]).await;
    let messages: Vec<_> = (0..10).map(|_| message()).collect();
    let sent = producer(&namesrv).send_batch(&messages, Place::Any).await.expect("stored");
    assert_eq!(sent.msg_id.split(',').count(), 10);
    assert_eq!((broker.count(SEND_BATCH_MESSAGE), broker.count(SEND_MESSAGE_V2)), (1, 0));
}

#[tokio::test]
async fn background_sends_are_bounded_and_end_exactly_once() {
    let held: Arc<Mutex<Vec<_>>> = Arc::default();
    let holding = Arc::clone(&held);
    let broker = Fake::start(move |conn, command| match command.code {
        SEND_MESSAGE_V2 => {
            holding.lock().expect("held").push((conn.clone(), command.clone()));
            Act::Silence
        }
        _ => content(command),
    })
    .await;
    let addr = broker.addr;
    let namesrv = Fake::namesrv(move |_| Some(route(4, &[("g", &[addr])]))).await;
    let producer = builder(&namesrv).with(|options| options.async_in_flight = 8).start::<Tokio>().expect("a producer");
    let ended = Arc::new(AtomicUsize::new(0));
    let sending = {
        let (producer, ended) = (producer.clone(), Arc::clone(&ended));
        tokio::spawn(async move {
            for _ in 0..20 {
                let ended = Arc::clone(&ended);
                let done = move |result: Result<_, ClientError>| {
                    result.expect("stored");
                    ended.fetch_add(1, Ordering::SeqCst);
                };
                producer.send_with(&message(), Place::Any, done).await.expect("under way");
            }
        })
    };
    eventually("eight are under way", || held.lock().expect("held").len() == 8).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(held.lock().expect("held").len(), 8, "no more than allowed");
    assert_eq!(ended.load(Ordering::SeqCst), 0);
    eventually("all ended", || {
        for (conn, command) in held.lock().expect("held").drain(..) {
            conn.send_command(&stored(command.reply(0, None), 0, 0)).expect("open");
        }
        ended.load(Ordering::SeqCst) == 20
    })
    .await;
    sending.await.expect("no panic");
    let handle = producer.send_async(&message(), Place::Any).await.expect("under way");
    eventually("it arrived", || held.lock().expect("held").len() == 1).await;
    let (conn, command) = held.lock().expect("held").remove(0);
    conn.send_command(&stored(command.reply(0, None), 0, 3)).expect("open");
    assert_eq!(handle.await.expect("stored").queue_offset, 3);
    assert_eq!(broker.count(SEND_MESSAGE_V2), 21);
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_sent_through_the_default_topic() {
    let broker = Fake::broker().await;
    let addr = broker.addr;
    let namesrv = Fake::namesrv(move |topic| (topic == "TBW102").then(|| route(8, &[("g", &[addr])]))).await;
    let producer = producer(&namesrv);
    for _ in 0..16 {
        let sent = producer.send(message()).await.expect("stored");
        assert_eq!(&*sent.queue.topic, "T");
        assert!(sent.queue.queue_id < 4, "a topic created on the fly has 4 queues");
    }
    let header = broker.requests(SEND_MESSAGE_V2);
    assert_eq!(SendMessageRequest::decode(&header[0]).expect("a send").default_topic, "TBW102");
    let namesrv = Fake::namesrv(|_| None).await;
    let error = self::producer(&namesrv).send(message()).await.expect_err("no route");
    assert!(matches!(&error, ClientError::NoRoute { topic, .. } if topic == "T"), "{error}");
}

#[tokio::test]
async fn a_producer_is_heard_by_leaders_and_takes_leave() {
    let (namesrv, broker) = answering(&[]).await;
    let mut builder = builder(&namesrv);
    builder.options.client.heartbeat_interval = Duration::from_millis(50);
    let producer = builder.start::<Tokio>().expect("a producer");
    producer.send(message()).await.expect("stored");
    eventually("two heartbeats", || broker.count(HEART_BEAT) >= 2).await;
    let heard = String::from_utf8(broker.requests(HEART_BEAT)[0].body.to_vec()).expect("text");
    assert!(heard.contains(r#""groupName":"producers""#), "{heard}");
    producer.close().await;
    let leaving = broker.requests(UNREGISTER_CLIENT);
    assert_eq!(leaving[0].ext.get("producerGroup"), Some("producers"));
    eventually("no connection", || broker.connections() == 0 && namesrv.connections() == 0).await;
    assert!(matches!(producer.send_async(&message(), Place::Any).await, Err(ClientError::Closed)));
}

#[tokio::test]
async fn a_producer_that_is_dropped_leaves_nothing_behind() {
    let (namesrv, broker) = answering(&[]).await;
    let producer = producer(&namesrv);
    let handle = producer.send_async(&message(), Place::Any).await.expect("under way");
    drop(producer);
    handle.await.expect("stored all the same");
    eventually("no connection", || broker.connections() == 0 && namesrv.connections() == 0).await;
}

#[tokio::test]
async fn queries_go_on_while_every_send_is_refused() {
    let broker = Fake::start(|_, command| match command.code {
        SEND_MESSAGE_V2 => no_leader(command, None),
        GET_MAX_OFFSET => Act::Reply(command.reply(0, None).with_ext([("offset", 5)].into_iter().collect())),
        _ => content(command),
    })
    .await;
    let addr = broker.addr;
    let namesrv = Fake::namesrv(move |_| Some(route(4, &[("g", &[addr])]))).await;
    let producer = builder(&namesrv).timeout(Duration::from_millis(300)).start::<Tokio>().expect("a producer");
    producer.route("T").await.expect("a route");
    let sends = (0..50).map(|_| producer.send(message()));
    let queue = MessageQueue::new("T", "g", 0);
    let queries = async {
        for _ in 0..200 {
            producer.core().max_offset(&queue).await.expect("an answer");
        }
        broker.count(SEND_MESSAGE_V2)
    };
    let (refused, sent_meanwhile) = futures_util::future::join(futures_util::future::join_all(sends), queries).await;
    assert!(sent_meanwhile < 100, "answers to queries let no sends through: {sent_meanwhile}");
    for result in refused {
        assert!(matches!(result, Err(ClientError::Refused { code: 14, .. })), "{result:?}");
    }
}
