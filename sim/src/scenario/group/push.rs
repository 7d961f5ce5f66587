//! Push consumers of one group share a topic's queues while brokers and consumers die: every acknowledged message is
//! consumed, and offsets are committed to the end. Another consumer commits alone, and has to find what it committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join;
use quorumq::client::{
    Admin, ClientOptions, ConsumeFrom, ConsumeResult, MessageExt, MessageQueue, PullConsumer, PushConsumerBuilder,
};
use quorumq_raft::runtime::Runtime;
use quorumq_store::QueueOffset;
use quorumq_store::log_store::FlushMode;
use rand::RngExt;
use tokio::sync::Notify;

use super::{CLIENT, QUEUES, Report, Run, TOPIC};
use crate::runtime::SimRuntime;
use crate::scenario::blow::Blow;
use crate::scenario::brokers::GROUP;
use crate::scenario::history::{Ended, Slot};
use crate::scenario::{address, until, weather};
use crate::world::{Death, Node as Host, World};

/// The consumer group.
const READERS: &str = "push-readers";
/// One message in this many is wanted later.
const LATER_ONE_IN: u32 = 30;
/// How long it may take until everything is consumed and committed once nothing goes wrong any more: a client that died
/// is forgotten after two minutes, and shares are computed anew every 20 s.
const PATIENCE: Duration = Duration::from_secs(240);
/// How often committed offsets are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What the consumers were given.
#[derive(Clone, Debug, Default)]
struct Consumed(Arc<Mutex<BTreeSet<Slot>>>);

impl Consumed {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which of `wanted` nobody has consumed.
    fn missing(&self, wanted: &BTreeSet<Slot>) -> Vec<Slot> {
        wanted.difference(&self.lock()).copied().collect()
    }

    /// How many slots were consumed.
    fn count(&self) -> usize {
        self.lock().len()
    }
}

/// Consumes until its host ends or `stop` says so; then it takes leave.
///
/// # Errors
/// The consumer did not start.
async fn consume<R: Runtime>(
    options: ClientOptions,
    topic: String,
    consumed: Consumed,
    stop: Arc<Notify>,
) -> Result<(), String> {
    let builder = PushConsumerBuilder::with_client(READERS, options).subscribe(&topic, "*").from(ConsumeFrom::First);
    let listener = move |message: Arc<MessageExt>| {
        let consumed = consumed.clone();
        async move {
            let (busy, later) = (R::thread_rng().random_range(0..20), R::thread_rng().random_range(0..LATER_ONE_IN));
            R::sleep(Duration::from_millis(busy)).await;
            if later == 0 {
                return ConsumeResult::Later;
            }
            consumed.lock().insert((message.queue.queue_id, message.queue_offset.0));
            ConsumeResult::Consumed
        }
    };
    let consumer = builder.start::<R, _>(listener).map_err(|e| e.to_string())?;
    stop.notified().await;
    consumer.close().await;
    Ok(())
}

/// Whether the group has committed all of `ends`. (It may go back a little on the way: a consumer that takes a queue over
/// begins where its predecessor committed last, and commits on from there when that one has committed once more.)
async fn committed_all<R: Runtime>(options: ClientOptions, ends: BTreeMap<u32, u64>) -> Result<(), String> {
    let admin = Admin::<R>::start_with(options).map_err(|e| e.to_string())?;
    // Knows the group's members by it.
    admin.groups(None).await.map_err(|e| e.to_string())?;
    for (queue_id, end) in ends {
        let queue = MessageQueue::new(TOPIC, GROUP, queue_id);
        loop {
            match admin.core().committed(READERS, &queue).await {
                Ok(Some(QueueOffset(now))) if now >= end => break,
                Ok(_) | Err(_) => R::sleep(LOOK).await,
            }
        }
    }
    admin.close().await;
    Ok(())
}

/// Commits offsets drawn at random for a group of its own until told to stop; how many. What is found has to be the last
/// offset whose commit was acknowledged, or one whose commit has an unknown outcome and may be carried out at any time.
async fn commit_alone<R: Runtime>(options: ClientOptions, stop: Arc<Notify>) -> Result<u64, String> {
    let consumer = PullConsumer::<R>::start_with("committer", options).map_err(|e| e.to_string())?;
    while consumer.message_queues(TOPIC).await.is_err() {
        R::sleep(LOOK).await;
    }
    let queue = MessageQueue::new(TOPIC, GROUP, 0);
    let (mut acked, mut unknown, mut commits) = (None, BTreeSet::new(), 0);
    loop {
        // A commit beyond the queue's end is cut to it.
        let end = consumer.core().max_offset(&queue).await.unwrap_or(QueueOffset(0));
        let next = QueueOffset(R::thread_rng().random_range(0..=end.0));
        match consumer.commit(&queue, next).await {
            Ok(changed) => {
                (acked, commits) = (Some(next), commits + 1);
                if changed.maybe_again {
                    unknown.insert(next);
                }
            }
            Err(_) => drop(unknown.insert(next)),
        }
        match consumer.committed(&queue).await {
            Ok(found) if found == acked || found.is_some_and(|found| unknown.contains(&found)) => {}
            Ok(found) => return Err(format!("{acked:?} was committed, {found:?} is found; unknown: {unknown:?}")),
            Err(_) => {}
        }
        if R::timeout(LOOK / 4, stop.notified()).await.is_ok() {
            break;
        }
    }
    consumer.close().await;
    Ok(commits)
}

/// A consumer on a host of its own, which may die.
struct Seat {
    host: Host,
    stop: Arc<Notify>,
}

impl Seat {
    fn start(group: &Run, n: u8, consumed: &Consumed) -> Self {
        let seat = Self { host: group.brokers.nodes.world.add_node(address(n)), stop: Arc::default() };
        seat.consume(group, consumed);
        seat
    }

    fn consume(&self, group: &Run, consumed: &Consumed) {
        let options = group.options(&self.host);
        drop(self.host.spawn(consume::<SimRuntime>(options, TOPIC.to_owned(), consumed.clone(), self.stop.clone())));
    }

    /// Ends the consumer one way or the other, and starts it again.
    async fn again(&self, group: &mut Run, consumed: &Consumed) {
        match group.brokers.nodes.rng.random_range(0..3) {
            0 => self.host.kill(Death::PowerLoss),
            1 => self.host.kill(Death::Crash),
            _ => self.stop.notify_one(),
        }
        madsim::time::sleep(Duration::from_millis(group.brokers.nodes.rng.random_range(0..3000))).await;
        self.host.restart();
        self.consume(group, consumed);
    }
}

/// Three consumers share four queues while faults strike brokers and consumers.
///
/// # Errors
/// What does not hold.
pub async fn run(world: World) -> Result<Report, String> {
    weather::draw(&world);
    let mut group = Run::begin(&world, FlushMode::Sync).await?;
    let consumed = Consumed::default();
    let seats: Vec<_> = (1..4).map(|n| Seat::start(&group, CLIENT + n, &consumed)).collect();
    let stop = Arc::<Notify>::default();
    let committing = group.client.spawn(commit_alone::<SimRuntime>(group.options(&group.client), stop.clone()));
    let sending = group.send(&group.client, "lane", 4, 80, Duration::from_millis(200));
    let striking = async {
        for _ in 0..3 {
            madsim::time::sleep(Duration::from_millis(group.brokers.nodes.rng.random_range(10..1000))).await;
            let rng = &mut group.brokers.nodes.rng;
            let (blow, time) = (Blow::draw(rng, true), Duration::from_millis(rng.random_range(0..4000)));
            let struck = blow.strike(&mut group.brokers).await?;
            let unlucky = group.brokers.nodes.rng.random_range(0..seats.len());
            seats[unlucky].again(&mut group, &consumed).await;
            madsim::time::sleep(time).await;
            struck.make_good(&mut group.brokers).await?;
        }
        Ok::<_, String>(())
    };
    let ((), struck) = join(sending, striking).await;
    struck?;
    let acked = |ended: &Ended| match ended {
        Ended::Stored { slot, .. } => Some(*slot),
        _ => None,
    };
    let acked: BTreeSet<Slot> = group.ledger.sent().iter().filter_map(|sent| acked(&sent.ended)).collect();
    let nobody = || consumed.missing(&acked);
    let all = until("everything acknowledged is consumed", PATIENCE, || nobody().is_empty().then_some(())).await;
    all.map_err(|e| format!("{e}; still missing: {:?}", nobody()))?;
    stop.notify_one();
    let commits = committing.await.map_err(|e| e.to_string())??;
    if commits < 10 {
        return Err(format!("only {commits} offsets were committed"));
    }
    let ends: BTreeMap<u32, u64> = (0..QUEUES).map(|queue| (queue, group.end_of(queue))).collect();
    let looking = group.client.spawn(committed_all::<SimRuntime>(group.options(&group.client), ends));
    until("all offsets are committed", PATIENCE, || looking.is_finished().then_some(())).await?;
    looking.await.map_err(|e| e.to_string())??;
    Ok(Report { followed: consumed.count(), ..group.end().await? })
}
