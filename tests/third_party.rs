//! Other people's clients, unchanged, against three processes: npm's ali-ons, which writes JSON headers, and the crate
//! rocketmq-client-v4, which writes binary ones. They are installed from their registries; see `install` for what
//! happens where that cannot be.
#![cfg(test)]

mod harness;

#[path = "third_party/drive.rs"]
mod drive;
#[path = "third_party/install.rs"]
mod install;
#[path = "third_party/route.rs"]
mod route;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use drive::{Driver, Got};
use harness::cluster::Cluster;
use harness::readback::{self, Read};
use harness::{Plan, until};
use install::Installed;
use quorumq::client::MessageQueue;
use route::FalseRoute;

const TOPIC: &str = "orders";
const GROUP: &str = "broker-a";
const QUEUES: u32 = 4;
/// Messages of the first send, and of the others that say nothing else.
const COUNT: usize = 40;
const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ali_ons_with_json_headers() {
    let Some(client) = install::ali_ons() else { return };
    let mut case = Case::start("ali-ons", Kind::AliOns, client).await;
    case.run().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rocketmq_client_v4_with_binary_headers() {
    let Some(client) = install::rust_v4() else { return };
    let mut case = Case::start("rust-v4", Kind::RustV4, client).await;
    case.run().await;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    AliOns,
    RustV4,
}

struct Case {
    name: &'static str,
    kind: Kind,
    client: Installed,
    cluster: Cluster,
    logs: PathBuf,
    /// Messages sent so far.
    sent: usize,
}

impl Case {
    async fn start(name: &'static str, kind: Kind, client: Installed) -> Self {
        let cluster = Plan { name_servers: 2, ..Plan::new(name) }.start().await;
        cluster.create_topic(TOPIC, QUEUES).await;
        let logs = cluster.dir.path().to_owned();
        Self { name, kind, client, cluster, logs, sent: 0 }
    }

    async fn run(&mut self) {
        let namesrv = self.namesrv();
        self.send(&namesrv, COUNT).await;
        self.stored_with_tag_key_and_text().await;
        self.consumed_and_the_offset_kept().await;
        self.filtered_by_tag().await;
        self.shared_by_two().await;
        self.through_a_follower().await;
    }

    /// rocketmq-client-v4 takes one NameServer only.
    fn namesrv(&self) -> String {
        match self.kind {
            Kind::AliOns => self.cluster.namesrv(),
            Kind::RustV4 => self.cluster.name_servers[0].addr().to_string(),
        }
    }

    fn tell(&self, what: &str) {
        println!("{}: {what}", self.name);
    }

    /// Sends the next `count` messages.
    async fn send(&mut self, namesrv: &str, count: usize) {
        let (first, number) = (self.sent.to_string(), count.to_string());
        let queues = QUEUES.to_string();
        let mut args = vec!["send", namesrv, TOPIC, "producers", &first, &number];
        if self.kind == Kind::RustV4 {
            args.push(&queues);
        }
        let mut driver = Driver::start(&self.client, &self.logs, &args);
        let lines = driver.sent(count);
        self.sent += count;
        if self.kind == Kind::AliOns {
            assert!(lines.iter().all(|line| line["status"] == "SEND_OK"), "{lines:?}");
        }
        // rocketmq-client-v4 does not say what became of its sends.
        let sent = self.sent;
        until("all messages stored", LONG, async || (self.stored().await == sent).then_some(())).await;
        driver.tell_stop();
    }

    /// Sum of the queues' max offsets.
    async fn stored(&self) -> usize {
        let admin = self.cluster.acquainted_admin().await;
        let mut sum = 0;
        for queue in queues() {
            sum += admin.core().max_offset(&queue).await.expect("a max offset").0;
        }
        admin.close().await;
        usize::try_from(sum).expect("few messages")
    }

    /// Sum of the group's committed offsets.
    async fn committed(&self, group: &str) -> u64 {
        let admin = self.cluster.acquainted_admin().await;
        let mut sum = 0;
        for queue in queues() {
            let committed = admin.core().committed(group, &queue).await.expect("an offset or none");
            sum += committed.map_or(0, |offset| offset.0);
        }
        admin.close().await;
        sum
    }

    fn consumer(&self, namesrv: &str, group: &str) -> Driver {
        let mut args = vec!["consume", namesrv, TOPIC, group];
        if self.kind == Kind::AliOns {
            args.push("*");
        }
        Driver::start(&self.client, &self.logs, &args)
    }

    async fn stored_messages(&self) -> BTreeMap<(u64, u64), Read> {
        let topic = readback::read(&self.cluster.namesrv(), TOPIC).await;
        let place = |((_, queue), reads): ((String, u32), Vec<Read>)| {
            reads.into_iter().enumerate().map(move |(offset, read)| ((u64::from(queue), offset as u64), read))
        };
        topic.into_iter().flat_map(place).collect()
    }

    async fn stored_with_tag_key_and_text(&self) {
        let stored = self.stored_messages().await;
        let found: BTreeSet<_> = stored
            .values()
            .map(|read| (text(read), read.tag.clone().unwrap_or_default(), read.keys.join(" ")))
            .collect();
        let expected: BTreeSet<_> =
            (0..COUNT).map(|number| (body(number), tag(number).to_owned(), format!("key-{number}"))).collect();
        assert_eq!(found, expected);
        let used: BTreeSet<_> = stored.keys().map(|(queue, _)| *queue).collect();
        assert_eq!(used, (0..u64::from(QUEUES)).collect(), "all queues hold some");
        self.tell(&format!("{COUNT} messages stored with tag, key and UTF-8 over queues {used:?}"));
    }

    async fn consumed_and_the_offset_kept(&mut self) {
        let namesrv = self.namesrv();
        let mut first = self.consumer(&namesrv, "readers");
        let got = first.receive(COUNT);
        self.check_received(&got, 0..COUNT).await;
        until("offsets committed", LONG, async || (self.committed("readers").await == COUNT as u64).then_some(()))
            .await;
        let more = first.stop();
        assert_eq!(more, [], "nothing comes twice");

        self.send(&namesrv, 8).await;
        let mut second = self.consumer(&namesrv, "readers");
        let got = second.receive(8);
        self.check_received(&got, COUNT..COUNT + 8).await;
        let more = second.stop();
        assert_eq!(more, [], "the restarted consumer begins where the first one ended");
        self.tell(&format!("{COUNT} consumed; a restarted consumer got the 8 sent since, and only them"));
    }

    /// What was received is what is stored there, and are the messages of these numbers, each once.
    async fn check_received(&self, got: &[Got], numbers: std::ops::Range<usize>) {
        let stored = self.stored_messages().await;
        for got in got {
            let read = &stored[&(got.queue, got.offset)];
            assert_eq!(got.body, text(read), "{got:?}");
            if self.kind == Kind::AliOns {
                assert_eq!((&got.tag, got.key.as_deref()), (&read.tag, Some(read.keys.join(" ").as_str())), "{got:?}");
            }
            assert!(got.id.len() == 32 && got.id.ends_with(&format!("{:016X}", read.physical_offset)), "{got:?}");
        }
        let mut bodies: Vec<_> = got.iter().map(|got| got.body.clone()).collect();
        let mut expected: Vec<_> = numbers.map(body).collect();
        bodies.sort();
        expected.sort();
        assert_eq!(bodies, expected);
    }

    async fn filtered_by_tag(&self) {
        let namesrv = self.namesrv();
        let wanted: Vec<_> = (0..self.sent).filter(|number| tag(*number) == "TagB").collect();
        let queues = QUEUES.to_string();
        let got = match self.kind {
            Kind::AliOns => {
                let args = ["consume", &namesrv, TOPIC, "filterers", "TagB"];
                let mut driver = Driver::start(&self.client, &self.logs, &args);
                let got = driver.receive(wanted.len());
                assert_eq!(driver.stop(), []);
                got
            }
            Kind::RustV4 => {
                let args = ["filter", &namesrv, TOPIC, "filterers", "TagB", &queues];
                Driver::start(&self.client, &self.logs, &args).finish()
            }
        };
        let found: BTreeSet<_> = got.iter().map(|got| got.body.clone()).collect();
        assert_eq!(found, wanted.iter().map(|number| body(*number)).collect());
        assert_eq!(got.len(), wanted.len(), "each once");
        self.tell(&format!("{} of {} messages have TagB; a filter for it got them", got.len(), self.sent));
    }

    async fn shared_by_two(&mut self) {
        let namesrv = self.namesrv();
        let mut consumers = [self.consumer(&namesrv, "sharers"), self.consumer(&namesrv, "sharers")];
        // While shares change a message may come twice; afterwards it may not.
        let deadline = std::time::Instant::now() + LONG;
        loop {
            let shares = self.round(&namesrv, &mut consumers, 8).await;
            if are_disjoint(&shares, 8) {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "two consumers do not share: {shares:?}");
        }
        let shares = self.round(&namesrv, &mut consumers, COUNT).await;
        assert!(are_disjoint(&shares, COUNT), "{shares:?}");
        let queues = shares.map(|share| share.into_iter().map(|got| got.queue).collect::<BTreeSet<_>>());
        assert!(queues[0].is_disjoint(&queues[1]), "a queue has one reader: {queues:?}");
        self.tell(&format!("two consumers share the queues as {:?} and {:?}", queues[0], queues[1]));
        for consumer in consumers {
            assert_eq!(consumer.stop(), [], "nothing comes twice");
        }
    }

    /// Sends `count` messages; what each consumer received of them, once all have arrived.
    async fn round(&mut self, namesrv: &str, consumers: &mut [Driver; 2], count: usize) -> [Vec<Got>; 2] {
        let expected: BTreeSet<_> = (self.sent..self.sent + count).map(body).collect();
        self.send(namesrv, count).await;
        let mut shares = [Vec::new(), Vec::new()];
        let arrived = async || {
            for (share, consumer) in shares.iter_mut().zip(consumers.iter_mut()) {
                let got = consumer.received(Duration::from_millis(20));
                share.extend(got.into_iter().filter(|got| expected.contains(&got.body)));
            }
            let all: BTreeSet<_> = shares.iter().flatten().map(|got| &got.body).collect();
            (all.len() == count).then_some(())
        };
        until("every message at one of the two", LONG, arrived).await;
        shares
    }

    async fn through_a_follower(&mut self) {
        let leader = self.cluster.leader(0).await;
        let follower = self.cluster.groups[0].followers(&leader)[0].addr();
        let retry = "%RETRY%followers";
        let route = FalseRoute::to(follower, GROUP, &[(TOPIC, QUEUES), (retry, 1)]).await;
        let first = self.sent;
        self.send(&route.namesrv(), COUNT).await;
        let mut consumer = self.consumer(&route.namesrv(), "followers");
        let got = consumer.receive(self.sent);
        self.check_received(&got, 0..self.sent).await;
        let sent = self.sent as u64;
        until("offsets committed", LONG, async || (self.committed("followers").await == sent).then_some(())).await;
        assert_eq!(consumer.stop(), [], "nothing comes twice");
        let leads = &leader.addr;
        self.tell(&format!(
            "{} messages sent to and {} pulled from {follower}, a follower of {leads}",
            self.sent - first,
            got.len()
        ));
    }
}

fn are_disjoint(shares: &[Vec<Got>; 2], count: usize) -> bool {
    shares.iter().all(|share| !share.is_empty()) && shares.iter().map(Vec::len).sum::<usize>() == count
}

fn queues() -> Vec<MessageQueue> {
    (0..QUEUES).map(|queue| MessageQueue::new(TOPIC, GROUP, queue)).collect()
}

/// As the drivers make it.
fn body(number: usize) -> String {
    format!("Nr. {number}: Grüße, 你好, 🚀")
}

/// As the drivers make it.
fn tag(number: usize) -> &'static str {
    if number / 4 % 2 == 1 { "TagB" } else { "TagA" }
}

fn text(read: &Read) -> String {
    String::from_utf8(read.body.to_vec()).expect("UTF-8")
}
