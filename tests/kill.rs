//! Leaders that die and leaders that freeze, under load: everything acknowledged is still there, where it was said to be.
#![cfg(test)]

mod harness;

use std::path::Path;
use std::time::{Duration, Instant};

use harness::cluster::{Cluster, Leader};
use harness::load::{Ack, Load, Loading, Outcomes, body};
use harness::process::{quorumq, run};
use harness::raw::{Raw, send_header};
use harness::readback::{Read, Topic};
use harness::wire::Wire;
use harness::{Plan, logs, readback, until};
use quorumq::protocol::code::request;

const KILLS: usize = 10;
/// Acknowledgements between two kills.
const ACKS: u64 = 10_000;
/// Longest time from a kill to the next acknowledgement.
const LONGEST: Duration = Duration::from_secs(2);
/// Longest median of these times.
const LONGEST_MEDIAN: Duration = Duration::from_millis(500);
/// Longest time from the leader's freezing to the next acknowledgement.
const LONGEST_FREEZE: Duration = Duration::from_secs(3);
/// How fresh it must be that the victim led.
const FRESH: Duration = Duration::from_millis(100);
/// Enough for a slow machine.
const LONG: Duration = Duration::from_secs(120);
/// Messages that only a leader gets, and their size: together more than the sockets to the others hold.
const LONELY: u64 = 60;
const LONELY_BODY: usize = 256 << 10;
/// CommitLog files that the common range must reach over.
const FILES: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_leaders_killed_in_a_row_lose_nothing_acknowledged() {
    let mut cluster = Plan::new("kill").start().await;
    cluster.create_topic("T", 8).await;
    cluster.create_topic("lonely", 1).await;
    let loading = Load { in_flight: 128, ..Load::new("T") }.start(&cluster.namesrv());
    let mut times = Vec::new();
    for round in 1..=KILLS {
        let from = loading.acked();
        loading.until_acked(from + ACKS, LONG).await;
        times.push(kill_the_leader(&mut cluster, &loading, round).await);
    }
    let from = loading.acked();
    loading.until_acked(from + ACKS, LONG).await;
    let outcomes = loading.stop().await;
    times.sort();
    let median = (times[KILLS / 2 - 1] + times[KILLS / 2]) / 2;
    println!(
        "from a kill to the next acknowledgement: median {} ms, longest {} ms",
        median.as_millis(),
        times[KILLS - 1].as_millis()
    );

    truncate_a_tail(&mut cluster).await;
    let checked = check(&cluster, "T", &outcomes).await;
    compare_logs(&mut cluster, checked.end).await;
    assert!(times[KILLS - 1] <= LONGEST, "{times:?}");
    assert!(median < LONGEST_MEDIAN, "{times:?}");
}

/// Kills the leader and starts it again; the time from the kill to the next acknowledgement.
async fn kill_the_leader(cluster: &mut Cluster, loading: &Loading, round: usize) -> Duration {
    let leader = cluster.leader(0).await;
    let victim = cluster.group().at(&leader.addr);
    let port = victim.ports.listen();
    let killed = Instant::now();
    let pid = victim.kill();
    let fresh = killed.duration_since(leader.at);
    assert!(fresh < FRESH, "it led {fresh:?} before the kill: that is too long ago");
    let ack = loading.first_after(killed, port, LONG).await;
    let took = ack.at - killed;
    let next = cluster.leader_after(0, leader.term).await;
    println!(
        "kill {round}: pid {pid}, node {} led in term {} ({fresh:.0?} before); node {} leads in term {}; next \
         acknowledgement after {} ms",
        leader.id,
        leader.term,
        next.id,
        next.term,
        took.as_millis()
    );
    cluster.group().at(&leader.addr).start();
    follows_again(cluster, &leader).await;
    took
}

/// Waits until a node that led takes part again.
async fn follows_again(cluster: &Cluster, node: &Leader) {
    let back = async || {
        let status = cluster.status(0).await?;
        let member = status.members.into_iter().find(|member| member.id == node.id)?;
        (member.role == "follower" && member.last.is_some()).then_some(())
    };
    until("the killed node back", LONG, back).await;
}

/// Leaves entries on a leader that no other node has, kills it, and lets the others go on without them.
async fn truncate_a_tail(cluster: &mut Cluster) {
    let leader = cluster.leader(0).await;
    let followers: Vec<_> = cluster.groups[0].followers(&leader);
    followers.iter().for_each(|node| node.freeze());
    let mut wire = Wire::connect(leader.addr.parse().expect("an address")).await;
    for number in 0..LONELY {
        wire.send_fields(request::SEND_MESSAGE_V2, send_header("lonely", 0), body(number, LONELY_BODY)).await;
    }
    let last = body(LONELY - 1, LONELY_BODY);
    let store = cluster.group().at(&leader.addr).store.clone();
    let there = async || logs::contains(&store, &last).then_some(());
    until("the last message in the leader's CommitLog", LONG, there).await;
    cluster.group().at(&leader.addr).kill();
    let others = cluster.groups[0].nodes.iter().filter(|node| node.addr().to_string() != leader.addr);
    others.for_each(|node| node.wake());
    let next = cluster.leader_after(0, leader.term).await;
    cluster.group().at(&leader.addr).start();
    follows_again(cluster, &leader).await;
    cluster.settled(0).await;
    assert!(!logs::contains(&store, &last), "the tail is still there");
    // What the frozen nodes' sockets had taken in is theirs too, and may well be committed.
    let kept = readback::read(&cluster.namesrv(), "lonely").await.values().map(Vec::len).sum::<usize>();
    println!(
        "truncation: node {} of term {} had {LONELY} messages in its CommitLog when it was killed, unacknowledged; the \
         others knew {kept} of them; the rest was cut off in term {}",
        leader.id, leader.term, next.term
    );
}

async fn check(cluster: &Cluster, topic: &str, outcomes: &Outcomes) -> readback::Checked {
    let stored = readback::read(&cluster.namesrv(), topic).await;
    let checked = readback::check(&stored, outcomes);
    println!(
        "{topic}: {} acknowledged, all read back at their (queue, offset); offsets dense; {} stored, of which {} twice \
         and {} with an unknown outcome; {} outcomes unknown, {} refused and none of these stored",
        checked.acked,
        checked.stored,
        checked.duplicates,
        checked.unknown_stored,
        outcomes.unknown.len(),
        outcomes.refused.len()
    );
    checked
}

/// The three CommitLogs are equal up to where all have applied, and so is what `quorumq store verify` makes of them.
async fn compare_logs(cluster: &mut Cluster, acked_end: u64) {
    let status = cluster.settled(0).await;
    let end = status.members.iter().map(|member| member.end_offset).min().expect("members");
    cluster.stop_brokers();
    let stores: Vec<_> = cluster.groups[0].nodes.iter().map(|node| node.store.as_path()).collect();
    let common = logs::compare(&stores, end);
    println!(
        "the three CommitLogs are equal from byte {} to {}, over {} files; the last acknowledged record ends at {acked_end}",
        common.from, common.to, common.files
    );
    assert!(common.from == 0 && common.to >= acked_end && common.files >= FILES, "{common:?}");
    let applied = status.members.iter().filter_map(|member| member.applied).min().expect("members");
    let digests: Vec<_> = stores.iter().map(|store| verified(store, applied)).collect();
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

/// The line of `quorumq store verify` that tells the digest at an index.
fn verified(store: &Path, index: u64) -> String {
    let args = ["store", "verify", "--until", &index.to_string()];
    let told = run(quorumq().args(args).arg(store), LONG).success();
    println!("{}", told.trim_end());
    let digest = told.lines().find(|line| line.starts_with("digest "));
    digest.unwrap_or_else(|| panic!("no digest: {told}")).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_leader_acknowledges_nothing_it_no_longer_may() {
    let mut cluster = Plan::new("freeze").start().await;
    cluster.create_topic("T", 8).await;
    cluster.create_topic("R", 1).await;
    let loading = Load::new("T").start(&cluster.namesrv());
    let leader = cluster.leader(0).await;
    let node = cluster.group().at(&leader.addr);
    let port = node.ports.listen();
    // This connection keeps waiting for what the frozen leader will say.
    let raw = Raw::start(node.addr(), "R", "broker-a", 64).await;
    loading.until_acked(2000, LONG).await;

    let node = cluster.group().at(&leader.addr);
    node.freeze();
    let frozen = Instant::now();
    let ack = loading.first_after(frozen, port, LONG).await;
    let took = ack.at - frozen;
    let next = cluster.leader_after(0, leader.term).await;
    let from = loading.acked();
    loading.until_acked(from + 2000, LONG).await;

    cluster.group().at(&leader.addr).wake();
    let woken = Instant::now();
    follows_again(&cluster, &leader).await;
    // What it says from now on, it says as a follower that forwards.
    let before = raw.acked();
    until("sends through the woken node", LONG, async || (raw.acked() > before + 200).then_some(())).await;
    let raw = raw.stop(LONG).await;
    let outcomes = loading.stop().await;
    let late = raw.acks.iter().filter(|ack| ack.at >= woken && ack.leader == port).count();
    println!(
        "freeze: node {} led in term {}, node {} leads in term {}; next acknowledgement after {} ms; awake again, the \
         first one acknowledged {late} messages it had stored itself, answered {} with an unknown outcome and \
         refused {}",
        leader.id,
        leader.term,
        next.id,
        next.term,
        took.as_millis(),
        raw.unknown.len(),
        raw.refused.len()
    );
    check(&cluster, "T", &outcomes).await;
    check(&cluster, "R", &raw).await;
    assert!(took <= LONGEST_FREEZE, "{took:?}");
}

/// The check that the tests above rely on can fail.
#[test]
fn whatever_is_missing_moved_changed_doubled_or_never_was_is_found() {
    let good = || (stored(&[0, 1, 2]), outcomes(&[0, 1, 2]));
    let fails = |spoil: &dyn Fn(&mut Topic, &mut Outcomes)| {
        let (mut topic, mut outcomes) = good();
        spoil(&mut topic, &mut outcomes);
        let checked = std::panic::catch_unwind(|| readback::check(&topic, &outcomes));
        assert!(checked.is_err(), "{topic:?} passes for {outcomes:?}");
    };
    let (topic, outcomes) = good();
    assert_eq!(readback::check(&topic, &outcomes).acked, 3);
    let queue = |topic: &mut Topic| topic.values_mut().next().expect("a queue").clone();
    let set = |topic: &mut Topic, reads: Vec<Read>| *topic.values_mut().next().expect("a queue") = reads;
    fails(&|topic, _| {
        let reads = queue(topic);
        set(topic, reads[..2].to_vec());
    });
    fails(&|topic, _| {
        let mut reads = queue(topic);
        reads.swap(0, 1);
        set(topic, reads);
    });
    fails(&|topic, _| {
        let mut reads = queue(topic);
        let mut changed = reads[1].body.to_vec();
        changed[50] ^= 1;
        reads[1].body = changed.into();
        set(topic, reads);
    });
    fails(&|topic, _| {
        let mut reads = queue(topic);
        reads.push(reads[0].clone());
        set(topic, reads);
    });
    fails(&|_, outcomes| outcomes.refused.push((outcomes.acks.pop().expect("three").number, "14".to_owned())));
    fails(&|_, outcomes| drop(outcomes.acks.pop()));
    fails(&|_, outcomes| outcomes.acks[0].msg_id = "another".to_owned());
}

fn stored(numbers: &[u64]) -> Topic {
    let read = |number: &u64| Read {
        msg_id: format!("id-{number}"),
        tag: None,
        keys: Vec::new(),
        body: body(*number, 100).into(),
        physical_offset: number * 200,
        stored_len: 200,
    };
    Topic::from([(("broker-a".to_owned(), 0), numbers.iter().map(read).collect())])
}

fn outcomes(numbers: &[u64]) -> Outcomes {
    let ack = |number: &u64| Ack {
        number: *number,
        msg_id: format!("id-{number}"),
        group: "broker-a".to_owned(),
        queue: 0,
        offset: *number,
        leader: 1,
        maybe_duplicate: false,
        at: Instant::now(),
    };
    Outcomes { acks: numbers.iter().map(ack).collect(), ..Outcomes::default() }
}
