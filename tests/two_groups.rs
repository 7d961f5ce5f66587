//! Two broker groups at once, a topic over both: when one group's leader dies, the other takes the messages.
#![cfg(test)]

mod harness;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harness::load::{Ack, Load};
use harness::{Plan, readback};

const GROUPS: &[&str] = &["broker-a", "broker-b"];
const QUEUES: u32 = 4;
/// Enough for a slow machine.
const LONG: Duration = Duration::from_secs(120);
const ACKS: u64 = 3000;
/// Of a send while nothing is wrong, each group gets about half: at least this many in a hundred.
const FAIR: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_send_fails_when_one_of_two_groups_loses_its_leader() {
    let mut cluster = Plan { groups: GROUPS, ..Plan::new("two-groups") }.start().await;
    cluster.create_topic("T", QUEUES).await;
    let loading = Load::new("T").start(&cluster.namesrv());
    loading.until_acked(ACKS, LONG).await;

    let leader = cluster.leader(0).await;
    let victim = cluster.groups[0].at(&leader.addr);
    let killed = Instant::now();
    let pid = victim.kill();
    let next = cluster.leader_after(0, leader.term).await;
    let elected = Instant::now();
    let from = loading.acked();
    loading.until_acked(from + ACKS, LONG).await;
    cluster.groups[0].at(&leader.addr).start();
    let outcomes = loading.stop().await;

    println!(
        "killed pid {pid}, node {} of broker-a, leader in term {}; node {} leads in term {} after {} ms",
        leader.id,
        leader.term,
        next.id,
        next.term,
        (elected - killed).as_millis()
    );
    assert_eq!((outcomes.unknown.len(), &outcomes.refused[..]), (0, &[][..]), "no send fails");
    let before = share("before the kill", &outcomes.acks, |at| at < killed);
    share("while broker-a had no leader", &outcomes.acks, |at| (killed..elected).contains(&at));
    let after = share("after its election", &outcomes.acks, |at| at >= elected);
    for share in [before, after] {
        assert!(share.len() == GROUPS.len() && share.values().all(|percent| *percent >= FAIR), "{share:?}");
    }
    let checked = readback::check(&readback::read(&cluster.namesrv(), "T").await, &outcomes);
    println!(
        "{} sends acknowledged and read back, none failed; {} stored, of which {} twice",
        checked.acked, checked.stored, checked.duplicates
    );
}

/// Prints each group's share of the acknowledgements of a time, in percent.
fn share<'a>(when: &str, acks: &'a [Ack], of: impl Fn(Instant) -> bool) -> BTreeMap<&'a str, usize> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for ack in acks.iter().filter(|ack| of(ack.at)) {
        *counts.entry(&ack.group).or_default() += 1;
    }
    let all = counts.values().sum::<usize>();
    let told: Vec<_> =
        counts.iter().map(|(group, count)| format!("{group} {count} ({}%)", count * 100 / all)).collect();
    println!("{when}: {}", if told.is_empty() { "no message".to_owned() } else { told.join(", ") });
    counts.into_iter().map(|(group, count)| (group, count * 100 / all)).collect()
}
