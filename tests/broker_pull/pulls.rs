//! 11 and 361: what is found, what is held, what is refused.

use std::time::{Duration, Instant};

use quorumq::protocol::command::Encoding;

use crate::rig::{GROUP, Pull, Rig, bodies, from, held, messages, outcome, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_found_with_their_offsets_in_both_encodings_and_both_codes() {
    let rig = Rig::start(1).await;
    let mut client = rig.client().await;
    let mut at = Vec::new();
    for body in ["one", "two", "drei ü"] {
        at.push(client.produce(0, "a", body).await);
    }
    for (encoding, code) in [(Encoding::Json, 11), (Encoding::Binary, 11), (Encoding::Binary, 361)] {
        client.encoding = encoding;
        let answer = client.pull(Pull { code, ..from(0) }).await;
        assert_eq!(outcome(&answer), (0, "FOUND", [3, 0, 3]));
        let found = messages(&answer.body);
        let places: Vec<_> = found.iter().map(|m| (m.body.as_str(), m.queue_offset, m.physical_offset)).collect();
        assert_eq!(places, [("one", 0, at[0]), ("two", 1, at[1]), ("drei ü", 2, at[2])]);
    }
    let answer = client.pull(Pull { max: 1, ..from(1) }).await;
    assert_eq!((outcome(&answer), bodies(&answer)), ((0, "FOUND", [2, 0, 3]), vec!["two".to_owned()]));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_pull_is_answered_by_the_next_message_and_only_once() {
    let rig = Rig::start(1).await;
    let (mut consumer, mut producer) = (rig.client().await, rig.client().await);
    let on_empty = consumer.send_pull(held(from(0), 30_000)).await;
    let other_queue = consumer.send_pull(held(Pull { queue: 1, ..from(0) }, 30_000)).await;
    assert!(!consumer.is_answered_soon(on_empty).await, "there is nothing to answer with");
    let began = Instant::now();
    producer.produce(0, "", "news").await;
    let answer = consumer.answer(on_empty).await;
    assert!(began.elapsed() < Duration::from_secs(5), "woken by the message, not by time");
    assert_eq!((outcome(&answer), bodies(&answer)), ((0, "FOUND", [1, 0, 1]), vec!["news".to_owned()]));

    let at_tail = consumer.send_pull(held(from(1), 30_000)).await;
    assert!(!consumer.is_answered_soon(at_tail).await);
    producer.produce(0, "", "more").await;
    assert_eq!(bodies(&consumer.answer(at_tail).await), ["more"]);
    producer.produce(0, "", "later").await;
    assert!(!consumer.is_answered_soon(on_empty).await, "never twice");
    assert!(!consumer.is_answered_soon(other_queue).await, "its queue got nothing");
    producer.produce(1, "", "there").await;
    assert_eq!(bodies(&consumer.answer(other_queue).await), ["there"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_without_news_is_answered_when_its_time_is_over() {
    let rig = Rig::start(1).await;
    let mut client = rig.client().await;
    let nothing_yet = client.pull(from(0)).await;
    assert_eq!(outcome(&nothing_yet), (19, "NO_MESSAGE_IN_QUEUE", [0, 0, 0]));
    client.produce(0, "", "x").await;
    assert_eq!(outcome(&client.pull(from(1)).await), (19, "OFFSET_OVERFLOW_ONE", [1, 0, 1]));
    let began = Instant::now();
    let answer = client.pull(held(from(1), 300)).await;
    assert_eq!(outcome(&answer), (19, "OFFSET_OVERFLOW_ONE", [1, 0, 1]));
    assert!(began.elapsed() >= Duration::from_millis(300));
    // Suspension without a time is none.
    assert_eq!(client.pull(held(from(1), 0)).await.code, 19);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_filtered_at_the_broker() {
    let rig = Rig::start(1).await;
    let mut client = rig.client().await;
    for (tag, body) in [("a", "1"), ("b", "2"), ("", "3"), ("a", "4"), ("b", "5")] {
        client.produce(0, tag, body).await;
    }
    let by = |expression, offset| Pull { expression, ..from(offset) };
    let answer = client.pull(by("a", 0)).await;
    assert_eq!((outcome(&answer), bodies(&answer).join("")), ((0, "FOUND", [5, 0, 5]), "14".to_owned()));
    assert_eq!(bodies(&client.pull(by(" b || a ", 1)).await).join(""), "245");
    assert_eq!(bodies(&client.pull(by("", 0)).await).len(), 5);
    let none = client.pull(by("c", 0)).await;
    assert_eq!(outcome(&none), (20, "NO_MATCHED_MESSAGE", [5, 0, 5]));
    assert!(none.body.is_empty());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_pull_sleeps_through_messages_its_filter_does_not_want() {
    let rig = Rig::start(1).await;
    let (mut consumer, mut producer) = (rig.client().await, rig.client().await);
    producer.produce(0, "b", "0").await;
    let wants_a = Pull { expression: "a", ..from(1) };
    let waiting = consumer.send_pull(held(wants_a, 30_000)).await;
    for _ in 0..3 {
        producer.produce(0, "b", "not wanted").await;
    }
    assert!(!consumer.is_answered_soon(waiting).await);
    producer.produce(0, "a", "wanted").await;
    let answer = consumer.answer(waiting).await;
    assert_eq!((outcome(&answer), bodies(&answer)), ((0, "FOUND", [5, 0, 5]), vec!["wanted".to_owned()]));

    let over = consumer.send_pull(held(Pull { offset: 5, ..wants_a }, 400)).await;
    producer.produce(0, "b", "not wanted").await;
    let answer = consumer.answer(over).await;
    assert_eq!(outcome(&answer), (20, "NO_MATCHED_MESSAGE", [6, 0, 6]), "the client need not see it again");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_out_of_the_queue_are_moved_to_legal_ones() {
    let rig = Rig::start(1).await;
    let mut client = rig.client().await;
    assert_eq!(outcome(&client.pull(held(from(7), 30_000)).await), (21, "NO_MESSAGE_IN_QUEUE", [0, 0, 0]));
    client.produce(0, "", "x").await;
    assert_eq!(outcome(&client.pull(held(from(2), 30_000)).await), (21, "OFFSET_OVERFLOW_BADLY", [1, 0, 1]));
    assert_eq!(outcome(&client.pull(from(-1)).await), (21, "OFFSET_TOO_SMALL", [0, 0, 1]));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_cannot_be_served_is_refused_with_rocketmqs_code() {
    let rig = Rig::start(1).await;
    let mut client = rig.client().await;
    let missing = client.pull(Pull { topic: "nothing", ..from(0) }).await;
    assert_eq!(refusal(&missing), (17, "topic[nothing] not exist, apply first please!"));
    let illegal = client.pull(Pull { queue: 2, ..from(0) }).await;
    let remark = "queueId[2] is illegal, topic:[t] topicConfig.readQueueNums:[2] consumer:[g]";
    assert_eq!(refusal(&illegal), (1, remark));
    let sql = client.pull(Pull { expression: "a > 5", expression_type: "SQL92", ..from(0) }).await;
    assert_eq!(refusal(&sql), (1, "The broker does not support consumer to filter message by SQL92"));
    let tags: Vec<String> = (0..2000).map(|i| i.to_string()).collect();
    let many = client.pull(Pull { expression: &tags.join("||"), ..from(0) }).await;
    assert_eq!(many.code, 23);
    let unknown = client.pull(Pull { flags: 2, ..from(0) }).await;
    assert_eq!(refusal(&unknown), (24, "the consumer's subscription not exist"));
    let incomplete = client.ask(11, &[("consumerGroup", GROUP), ("topic", "t")]).await;
    assert_eq!(refusal(&incomplete).0, 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_releases_its_held_pulls() {
    let rig = Rig::start(1).await;
    let (mut consumer, mut admin) = (rig.client().await, rig.client().await);
    let waiting = consumer.send_pull(held(from(0), 30_000)).await;
    assert!(!consumer.is_answered_soon(waiting).await);
    assert_eq!(admin.ask(215, &[("topic", "t")]).await.code, 0);
    assert_eq!(consumer.answer(waiting).await.code, 17);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_way_pull_is_never_answered() {
    let rig = Rig::start(1).await;
    let mut client = rig.client().await;
    let ext = [("consumerGroup", GROUP), ("topic", "t")];
    let oneway = client.send(11, &ext, b"", 2).await;
    assert!(!client.is_answered_soon(oneway).await);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_queue_is_read_from_start_to_end_without_gaps() {
    let rig = Rig::start(1).await;
    let mut client = rig.client().await;
    // Over several segments of 64 KiB, so that the first are cold.
    let body = "x".repeat(2000);
    for i in 0..200 {
        client.produce(0, if i % 10 == 0 { "rare" } else { "" }, &format!("{i}:{body}")).await;
    }
    for (expression, step) in [("*", 1), ("rare", 10)] {
        let (mut next, mut seen) = (0, Vec::new());
        while next < 200 {
            let answer = client.pull(Pull { expression, max: 1000, ..from(next) }).await;
            seen.extend(messages(&answer.body).into_iter().map(|message| message.queue_offset));
            let (_, _, [advanced, ..]) = outcome(&answer);
            assert!(advanced > next && answer.body.len() <= 256 * 1024, "{answer:?}");
            next = advanced;
        }
        assert!(seen.into_iter().eq((0..200).step_by(step)), "{expression}");
    }
    rig.stop().await;
}
