//! Consumers: shares, deliveries, offsets.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorumq::client::consumer::PullStatus;
use quorumq::client::{
    Changed, ClientError, ConsumeFrom, ConsumeResult, MessageExt, MessageQueue, PullConsumer, PushConsumer,
    PushConsumerBuilder,
};
use quorumq::protocol::Command;
use quorumq::protocol::code::request::{HEART_BEAT, PULL_MESSAGE, UNREGISTER_CLIENT, UPDATE_CONSUMER_OFFSET};
use quorumq_raft::runtime::tokio::Tokio;
use quorumq_store::QueueOffset;

use super::fake::{Act, Fake, eventually, no_leader, options, route};
use super::model::Model;

/// What a consumer got: (text, reconsume times), in order.
type Got = Arc<Mutex<Vec<(String, i32)>>>;

fn text(message: &MessageExt) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

fn texts(got: &Got) -> Vec<String> {
    let mut texts: Vec<_> = got.lock().expect("got").iter().map(|(text, _)| text.clone()).collect();
    texts.sort();
    texts
}

fn builder(model: &Model, tags: &str) -> PushConsumerBuilder {
    let builder = PushConsumerBuilder::with_client("cg", model.options()).subscribe("T", tags);
    builder.from(ConsumeFrom::First).with(|options| {
        options.commit_interval = Duration::from_millis(20);
        options.redeliver_after = Duration::from_millis(50);
        options.hold = Duration::from_secs(2);
    })
}

/// A consumer that takes everything down and is done with it.
fn consumer(builder: PushConsumerBuilder) -> (PushConsumer<Tokio>, Got) {
    let got: Got = Arc::default();
    let taking = Arc::clone(&got);
    let listener = move |message: Arc<MessageExt>| {
        taking.lock().expect("got").push((text(&message), message.reconsume_times));
        async { ConsumeResult::Consumed }
    };
    (builder.start(listener).expect("a consumer"), got)
}

#[tokio::test]
async fn every_message_is_delivered_and_its_offset_committed() {
    let model = Model::start(4).await;
    for n in 0..100 {
        model.store("T", n % 4, &format!("m{n:03}"), "a");
    }
    let (consumer, got) = consumer(builder(&model, "*"));
    eventually("100 messages", || got.lock().expect("got").len() == 100).await;
    eventually("all pulls are held", || model.held() == 4).await;
    model.store("T", 2, "new", "a");
    eventually("the new one", || got.lock().expect("got").len() == 101).await;
    let expected: Vec<_> = (0..100).map(|n| format!("m{n:03}")).chain(["new".to_owned()]).collect();
    assert_eq!(texts(&got), expected);
    eventually("offsets are committed", || {
        (0..4).map(|queue| model.committed("cg", "T", queue)).eq([25, 25, 26, 25].map(Some))
    })
    .await;
    let commits = model.broker.count(UPDATE_CONSUMER_OFFSET);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(model.broker.count(UPDATE_CONSUMER_OFFSET), commits, "what a broker has is not committed again");
    consumer.close().await;
}

#[tokio::test]
async fn compressed_messages_arrive_as_they_were_sent() {
    let model = Model::start(1).await;
    let large = "z".repeat(10_000);
    model.store("T", 0, &large, "a");
    let (_consumer, got) = consumer(builder(&model, "*"));
    eventually("it arrived", || texts(&got) == [large.clone()]).await;
}

#[tokio::test]
async fn tags_are_filtered_by_text_and_offsets_pass_over_what_is_not_wanted() {
    let model = Model::start(1).await;
    // "Aa" and "BB" have one hash; the model lets everything through.
    for (text, tag) in [("1", "Aa"), ("2", "BB"), ("3", "C"), ("4", "null"), ("5", "BB")] {
        model.store("T", 0, text, tag);
    }
    let (_consumer, got) = consumer(builder(&model, "Aa || C"));
    eventually("the offset passes all five", || model.committed("cg", "T", 0) == Some(5)).await;
    assert_eq!(texts(&got), ["1", "3"]);
    let pull = &model.broker.requests(PULL_MESSAGE)[0];
    assert_eq!(pull.ext.get("subscription"), Some("Aa || C"));
    assert_eq!(pull.ext.get("sysFlag"), Some("6"), "held, with its subscription");
}

#[tokio::test]
async fn a_message_for_later_comes_again_and_holds_the_offset_back() {
    let model = Model::start(1).await;
    for text in ["1", "2", "3"] {
        model.store("T", 0, text, "a");
    }
    let got: Got = Arc::default();
    let ready = Arc::new(AtomicBool::new(false));
    let (taking, is_ready) = (Arc::clone(&got), Arc::clone(&ready));
    let listener = move |message: Arc<MessageExt>| {
        taking.lock().expect("got").push((text(&message), message.reconsume_times));
        let later = text(&message) == "2" && !is_ready.load(Ordering::SeqCst);
        async move { if later { ConsumeResult::Later } else { ConsumeResult::Consumed } }
    };
    let consumer: PushConsumer<Tokio> = builder(&model, "*").start(listener).expect("a consumer");
    eventually("it came three times", || got.lock().expect("got").iter().filter(|(text, _)| text == "2").count() >= 3)
        .await;
    eventually("the offset stands before it", || model.committed("cg", "T", 0) == Some(1)).await;
    let times: Vec<_> = got.lock().expect("got").iter().filter(|(text, _)| text == "2").map(|(_, n)| *n).collect();
    assert_eq!(times[..3], [0, 1, 2]);
    ready.store(true, Ordering::SeqCst);
    eventually("the offset passes it", || model.committed("cg", "T", 0) == Some(3)).await;
    consumer.close().await;
}

#[tokio::test]
async fn a_listener_that_panics_gets_the_message_again() {
    let model = Model::start(1).await;
    model.store("T", 0, "1", "a");
    let calls = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&calls);
    let listener = move |_| {
        let call = counting.fetch_add(1, Ordering::SeqCst);
        async move {
            assert!(call > 1, "the test panics twice");
            ConsumeResult::Consumed
        }
    };
    let _consumer: PushConsumer<Tokio> = builder(&model, "*").start(listener).expect("a consumer");
    eventually("it is consumed", || model.committed("cg", "T", 0) == Some(1)).await;
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn members_share_the_queues_and_are_told_of_changes_at_once() {
    let model = Model::start(10).await;
    // Shares are computed without cause only after a minute: whatever happens sooner is due to the notice.
    let builder = || builder(&model, "*").with(|options| options.rebalance_interval = Duration::from_secs(60));
    let (first, got_first) = consumer(builder());
    eventually("one has all", || first.assigned().len() == 10).await;
    let (second, got_second) = consumer(builder());
    eventually("the second is known", || model.members().len() == 2).await;
    model.notify("another group");
    model.notify("cg");
    eventually("each has half", || first.assigned().len() == 5 && second.assigned().len() == 5).await;
    let mut all: Vec<MessageQueue> = first.assigned().into_iter().chain(second.assigned()).collect();
    all.sort();
    assert_eq!(all, (0..10).map(|id| MessageQueue::new("T", "g", id)).collect::<Vec<_>>());
    for n in 0..10 {
        model.store("T", n, &format!("m{n}"), "a");
    }
    eventually("each got its own", || texts(&got_first).len() == 5 && texts(&got_second).len() == 5).await;
    second.close().await;
    eventually("the second has left", || model.members().len() == 1).await;
    model.notify("cg");
    eventually("one has all again", || first.assigned().len() == 10).await;
    model.store("T", 0, "more", "a");
    model.store("T", 9, "more", "a");
    eventually("nothing is lost or repeated", || texts(&got_first).len() == 7).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(texts(&got_first).len() + texts(&got_second).len(), 12);
    first.close().await;
}

#[tokio::test]
async fn a_consumer_the_broker_has_forgotten_keeps_its_queues_and_reports_again() {
    let model = Model::start(2).await;
    let (consumer, _got) = consumer(builder(&model, "*"));
    eventually("it has its queues", || consumer.assigned().len() == 2).await;
    let heard = model.broker.count(HEART_BEAT);
    model.forget_members();
    model.notify("cg");
    eventually("it has reported again", || model.broker.count(HEART_BEAT) > heard && model.members().len() == 1).await;
    assert_eq!(consumer.assigned().len(), 2);
    model.forget_members();
    model.add_member("somebody@else");
    model.notify("cg");
    eventually("it shares with the other", || consumer.assigned().len() == 1).await;
}

#[tokio::test]
async fn a_broker_that_does_not_know_the_subscription_is_told_and_asked_again() {
    let model = Model::start(1).await;
    model.store("T", 0, "1", "a");
    model.refuse_pulls(&[24, 25]);
    let (_consumer, got) = consumer(builder(&model, "*"));
    eventually("it arrived", || texts(&got) == ["1"]).await;
    assert!(model.broker.count(HEART_BEAT) >= 3, "one to begin with, one for each refusal");
}

#[tokio::test]
async fn closing_commits_what_is_consumed_and_takes_leave() {
    let model = Model::start(1).await;
    for text in ["1", "2", "3", "4"] {
        model.store("T", 0, text, "a");
    }
    let got: Got = Arc::default();
    let taking = Arc::clone(&got);
    let listener = move |message: Arc<MessageExt>| {
        taking.lock().expect("got").push((text(&message), 0));
        let stuck = text(&message) == "3";
        async move {
            if stuck {
                std::future::pending::<()>().await;
            }
            ConsumeResult::Consumed
        }
    };
    let builder = builder(&model, "*").with(|options| {
        options.commit_interval = Duration::from_secs(60);
        options.patience = Duration::from_millis(50);
    });
    let consumer: PushConsumer<Tokio> = builder.start(listener).expect("a consumer");
    eventually("all four were handed over", || got.lock().expect("got").len() == 4).await;
    assert_eq!(model.committed("cg", "T", 0), None);
    consumer.close().await;
    assert_eq!(model.committed("cg", "T", 0), Some(2), "3 is not consumed, so 4 does not count");
    let leaving = model.broker.requests(UNREGISTER_CLIENT);
    assert_eq!(leaving[0].ext.get("consumerGroup"), Some("cg"));
    eventually("no connection", || model.broker.connections() == 0).await;
    let (next, got) = self::consumer(self::builder(&model, "*"));
    eventually("the next one gets the rest", || texts(&got) == ["3", "4"]).await;
    next.close().await;
}

#[tokio::test]
async fn a_queue_full_of_unconsumed_messages_is_not_pulled_further() {
    let model = Model::start(1).await;
    for n in 0..100 {
        model.store("T", 0, &format!("m{n:03}"), "a");
    }
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let waiting = Arc::clone(&gate);
    let listener = move |_| {
        let waiting = Arc::clone(&waiting);
        async move {
            waiting.acquire().await.expect("open").forget();
            ConsumeResult::Consumed
        }
    };
    let builder = builder(&model, "*").with(|options| {
        options.batch = 10;
        options.cache.messages = 20;
        options.concurrency = 4;
    });
    let consumer: PushConsumer<Tokio> = builder.start(listener).expect("a consumer");
    eventually("two pulls", || model.broker.count(PULL_MESSAGE) == 2).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(model.broker.count(PULL_MESSAGE), 2, "20 messages are the limit");
    gate.add_permits(100);
    eventually("all are consumed", || model.committed("cg", "T", 0) == Some(100)).await;
    consumer.close().await;
}

#[tokio::test]
async fn a_group_begins_where_it_is_told_to() {
    for (from, first) in [(ConsumeFrom::First, 0), (ConsumeFrom::Last, 3), (ConsumeFrom::Timestamp(2), 1)] {
        let model = Model::start(1).await;
        for text in ["1", "2", "3"] {
            model.store("T", 0, text, "a");
        }
        let (consumer, _got) = consumer(builder(&model, "*").from(from));
        eventually("it pulls", || model.broker.count(PULL_MESSAGE) > 0).await;
        let pull = &model.broker.requests(PULL_MESSAGE)[0];
        assert_eq!(pull.ext.get("queueOffset"), Some(&*first.to_string()), "{from:?}");
        consumer.close().await;
    }
}

#[tokio::test]
async fn a_pull_consumer_keeps_its_own_pace() {
    let model = Model::start(2).await;
    for n in 0..5 {
        model.store("T", 1, &format!("m{n}"), if n % 2 == 0 { "even" } else { "odd" });
    }
    let consumer = PullConsumer::<Tokio>::start_with("cg", model.options()).expect("a consumer");
    let queues = consumer.message_queues("T").await.expect("queues");
    assert_eq!(queues, [MessageQueue::new("T", "g", 0), MessageQueue::new("T", "g", 1)]);
    let queue = &queues[1];
    let pulled = consumer.pull(queue, QueueOffset(0), 3, "*", Duration::ZERO).await.expect("an answer");
    assert_eq!(
        (pulled.status, pulled.next_offset, pulled.max_offset),
        (PullStatus::Found, QueueOffset(3), QueueOffset(5))
    );
    assert_eq!(pulled.messages.iter().map(text).collect::<Vec<_>>(), ["m0", "m1", "m2"]);
    let offsets: BTreeMap<_, _> = pulled.messages.iter().map(|m| (m.queue_offset, m.tag())).collect();
    assert_eq!(offsets[&QueueOffset(1)], Some("odd"));
    let odd = consumer.pull(queue, QueueOffset(0), 32, "odd", Duration::ZERO).await.expect("an answer");
    assert_eq!(odd.messages.iter().map(text).collect::<Vec<_>>(), ["m1", "m3"]);
    let none = consumer.pull(queue, QueueOffset(4), 32, "odd", Duration::ZERO).await.expect("an answer");
    assert_eq!((none.status, none.next_offset), (PullStatus::NoMatchedMessage, QueueOffset(5)));
    let end = consumer.pull(queue, QueueOffset(5), 32, "*", Duration::ZERO).await.expect("an answer");
    assert_eq!(end.status, PullStatus::NoNewMessage);
    let beyond = consumer.pull(queue, QueueOffset(9), 32, "*", Duration::ZERO).await.expect("an answer");
    assert_eq!(beyond.status, PullStatus::OffsetIllegal);
    assert_eq!(consumer.committed(queue).await.expect("an answer"), None);
    consumer.commit(queue, QueueOffset(3)).await.expect("committed");
    assert_eq!(consumer.committed(queue).await.expect("an answer"), Some(QueueOffset(3)));
    let core = consumer.core();
    assert_eq!(core.max_offset(queue).await.expect("an answer"), QueueOffset(5));
    assert_eq!(core.min_offset(queue).await.expect("an answer"), QueueOffset(0));
    assert_eq!(core.search_offset(queue, 2).await.expect("an answer"), QueueOffset(1));
    consumer.close().await;
}

#[tokio::test]
async fn a_held_pull_goes_on_elsewhere_when_its_connection_breaks() {
    let follower = Model::start(1).await;
    follower.store("T", 0, "1", "a");
    let leader = Fake::start(|_, command| match command.code {
        PULL_MESSAGE => Act::Silence,
        _ => no_leader(command, None),
    })
    .await;
    let members = [leader.addr, follower.broker.addr];
    let namesrv = Fake::namesrv(move |_| Some(route(1, &[("g", &members)]))).await;
    let consumer = Arc::new(PullConsumer::<Tokio>::start_with("cg", options(&namesrv)).expect("a consumer"));
    let queue = MessageQueue::new("T", "g", 0);
    let pulling = {
        let (consumer, queue) = (Arc::clone(&consumer), queue.clone());
        tokio::spawn(async move { consumer.pull(&queue, QueueOffset(0), 1, "*", Duration::from_secs(15)).await })
    };
    eventually("it is held", || leader.count(PULL_MESSAGE) == 1).await;
    leader.kill().await;
    let pulled = pulling.await.expect("no panic").expect("an answer of the other member");
    assert_eq!(pulled.messages.len(), 1);
}

/// Commits an offset in a group whose members do what `acts` says, the leader first.
async fn commit_with(acts: &[fn(&Command) -> Act]) -> Result<Changed, ClientError> {
    let mut members = Vec::new();
    for act in acts.iter().copied() {
        members.push(Fake::start(move |_, command| act(command)).await);
    }
    let addrs: Vec<_> = members.iter().map(|member| member.addr).collect();
    let namesrv = Fake::namesrv(move |_| Some(route(1, &[("g", &addrs)]))).await;
    let consumer = PullConsumer::<Tokio>::start_with("cg", options(&namesrv)).expect("a consumer");
    let queues = consumer.message_queues("T").await.expect("queues");
    consumer.commit(&queues[0], QueueOffset(3)).await
}

#[tokio::test]
async fn a_commit_that_may_have_been_made_is_never_called_refused() {
    let hangs_up: fn(&Command) -> Act = |_| Act::Close;
    let commits: fn(&Command) -> Act = |command| Act::Reply(command.reply(0, None));
    let refuses: fn(&Command) -> Act = |command| Act::Reply(command.reply(17, None));
    let does_not_know: fn(&Command) -> Act =
        |command| Act::Reply(command.reply(1, None).with_ext([("outcome", "unknown")].into_iter().collect()));
    assert_eq!(commit_with(&[commits]).await.expect("committed"), Changed { maybe_again: false });
    assert_eq!(commit_with(&[hangs_up, commits]).await.expect("committed"), Changed { maybe_again: true });
    let refused = commit_with(&[refuses]).await.expect_err("refused");
    assert!(matches!(refused, ClientError::Refused { code: 17, .. }), "{refused}");
    for members in [&[does_not_know][..], &[hangs_up, refuses][..]] {
        let unknown = commit_with(members).await.expect_err("unknown");
        assert!(unknown.is_unknown(), "{unknown}");
    }
}
