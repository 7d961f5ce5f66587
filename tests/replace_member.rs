//! Members that need what is no longer in the log: they get a snapshot and the retained log. One whose store is gone does
//! not come back under its old id, and is replaced under a new one while traffic runs.
#![cfg(test)]

mod harness;

#[path = "replace_member/queues.rs"]
mod queues;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::cluster::Cluster;
use harness::load::{Ack, Load, Outcomes, number};
use harness::process::{quorumq, run};
use harness::{Plan, logs, readback, until};
use queues::{Queue, read_from};
use quorumq::broker::members::{GroupStatus, MemberStatus};

const GROUP: &str = "broker-a";
const TOPIC: &str = "T";
const QUEUES: u32 = 4;
/// Node id of the first of dLegerPeers.
const FOUNDER: u64 = 1;
const SEGMENT: u64 = 1 << 20;
/// CommitLog files written before the purge, of messages so large that there are few entries.
const WRITTEN: u64 = 48;
const LARGE: usize = 16 << 10;
/// CommitLog files that must be retained when the member is lost.
const RETAINED: u64 = 3;
/// Sends a second while the member is replaced.
const RATE: u32 = 2_000;
/// So many that the rate is kept at answers that take 100 ms, on a slow machine.
const SENDERS: usize = 256;
/// Enough for a slow machine.
const LONG: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lost_its_store_is_replaced_under_a_new_id_while_traffic_runs() {
    let mut cluster = Plan { segment: SEGMENT, ..Plan::new("replace") }.start().await;
    cluster.create_topic(TOPIC, QUEUES).await;
    let mut outcomes = fill(&cluster, WRITTEN).await;
    let whole = readback::read(&cluster.namesrv(), TOPIC).await;
    readback::check(&whole, &outcomes);

    let boundary = purge_the_older_half(&cluster).await;
    let lost = lose_the_founder(&mut cluster, boundary).await;
    refused_under_its_old_id(&mut cluster, &lost);
    later(&mut outcomes, replace_under_load(&mut cluster, &lost, boundary).await);

    cluster.settled(0).await;
    let first = first_retained(&whole, boundary);
    let end = holds_everything(&cluster, &lost, &first, &outcomes).await;
    compare_stores(&mut cluster, boundary, end);

    cluster.start_brokers().await;
    let status = cluster.settled(0).await;
    assert_eq!(status.members.iter().filter(|member| member.voter).count(), 3, "{status:?}");
    holds_everything(&cluster, &lost, &first, &outcomes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_down_during_a_purge_catches_up_from_a_snapshot() {
    let mut cluster = Plan { segment: SEGMENT, ..Plan::new("purged") }.start().await;
    cluster.create_topic(TOPIC, QUEUES).await;
    let mut outcomes = fill(&cluster, 1).await;
    let status = cluster.settled(0).await;
    let follower = status.members.iter().find(|member| member.role == "follower").expect("a follower");
    let (id, addr) = (follower.id, follower.client_addr.clone());
    cluster.group().at(&addr).kill();
    later(&mut outcomes, fill(&cluster, 8).await);
    let whole = readback::read(&cluster.namesrv(), TOPIC).await;
    let boundary = purge_the_older_half(&cluster).await;
    assert!(boundary > follower.end_offset, "the member lacks entries that are gone");

    cluster.group().at(&addr).start();
    let joined = cluster.settled(0).await.members.into_iter().find(|member| member.id == id).expect("a member");
    println!("node {id}: {} snapshots installed, log from {}", joined.snapshots_installed, joined.first_offset);
    assert_eq!((joined.snapshots_installed, joined.first_offset), (1, boundary));
    let late = Lost { at: 0, addr };
    let end = holds_everything(&cluster, &late, &first_retained(&whole, boundary), &outcomes).await;
    compare_stores(&mut cluster, boundary, end);
}

/// The member whose store is lost.
struct Lost {
    /// Its place among the group's nodes.
    at: usize,
    addr: String,
}

fn succeed(command: &mut Command) -> String {
    run(command, LONG).success().trim_end().to_owned()
}

/// `quorumq group …`
fn group(cluster: &Cluster, what: &str, args: &[&str]) -> String {
    let mut command = quorumq();
    command.args(["group", what, GROUP]).args(args).args(["-n", &cluster.namesrv()]);
    let told = succeed(&mut command);
    println!("$ quorumq group {what} {GROUP} {}\n  {told}", args.join(" "));
    told
}

fn leader(status: &GroupStatus) -> &MemberStatus {
    let found = status.members.iter().find(|member| Some(member.id) == status.leader);
    found.expect("a status of a group with a leader")
}

async fn status(cluster: &Cluster) -> GroupStatus {
    until("a group status", LONG, async || cluster.status(0).await.filter(|status| status.leader.is_some())).await
}

/// A status in which these members answer, or all.
async fn until_all_answer(cluster: &Cluster, ids: &[u64]) -> GroupStatus {
    let look = async || {
        let status = cluster.status(0).await?;
        let asked = |member: &&MemberStatus| ids.is_empty() || ids.contains(&member.id);
        status.members.iter().filter(asked).all(|member| member.last.is_some()).then_some(status)
    };
    until("a status with all answers", LONG, look).await
}

/// The first offset of each queue that a purge up to `boundary` leaves.
fn first_retained(whole: &readback::Topic, boundary: u64) -> Vec<u64> {
    let purged = |queue: u32| {
        let messages = &whole[&(GROUP.to_owned(), queue)];
        messages.iter().filter(|message| message.physical_offset < boundary).count() as u64
    };
    (0..QUEUES).map(purged).collect()
}

/// Writes until the log has so many files.
async fn fill(cluster: &Cluster, files: u64) -> Outcomes {
    let loading = Load { body: LARGE, ..Load::new(TOPIC) }.start(&cluster.namesrv());
    let full = async || {
        let status = cluster.status(0).await?;
        (leader(&status).end_offset >= files * SEGMENT).then_some(())
    };
    until("full files", LONG, full).await;
    loading.stop().await
}

/// Where the log starts now, on every member that runs.
async fn purge_the_older_half(cluster: &Cluster) -> u64 {
    let before = leader(&status(cluster).await).end_offset;
    let told = group(cluster, "purge", &[]);
    let start = told.rsplit(' ').next().and_then(|word| word.parse().ok());
    let boundary: u64 = start.unwrap_or_else(|| panic!("{told:?} names no offset"));
    assert_eq!(boundary, before / 2 / SEGMENT * SEGMENT, "the older half of {before} bytes");
    let gone = async || {
        let status = cluster.status(0).await?;
        let mut running = status.members.iter().filter(|member| member.last.is_some());
        running.all(|member| member.first_offset == boundary).then_some(())
    };
    until("a purged log on every member", LONG, gone).await;
    boundary
}

/// Kills a node and deletes its store: the one that formed the group, and would form a new one if it were let.
async fn lose_the_founder(cluster: &mut Cluster, boundary: u64) -> Lost {
    let status = cluster.settled(0).await;
    let retained = leader(&status).end_offset - boundary;
    assert!(retained >= RETAINED * SEGMENT, "only {retained} bytes are retained");
    let victim = status.members.iter().find(|member| member.id == FOUNDER).expect("a member");
    let (role, addr) = (victim.role.clone(), victim.client_addr.clone());
    let at = cluster.groups[0].nodes.iter().position(|node| node.addr().to_string() == addr).expect("one of ours");
    let node = &mut cluster.groups[0].nodes[at];
    let pid = node.kill();
    fs::remove_dir_all(&node.store).expect("the store can be deleted");
    println!(
        "node {FOUNDER} ({role}, pid {pid}) killed, its store deleted; {:.1} files of {SEGMENT} bytes retained from \
         {boundary} on",
        retained as f64 / SEGMENT as f64
    );
    until("another leader", LONG, async || cluster.status(0).await?.leader.filter(|id| *id != FOUNDER)).await;
    Lost { at, addr }
}

/// With its old configuration it ends at once, with the reason and what to do.
fn refused_under_its_old_id(cluster: &mut Cluster, lost: &Lost) {
    let node = &mut cluster.groups[0].nodes[lost.at];
    let before = node.output().len();
    node.start();
    let ended = node.wait(LONG);
    let told = node.output().split_off(before);
    assert_eq!(ended.code(), Some(1), "{ended}: {told}");
    let error: Vec<_> = told.lines().skip_while(|line| !line.starts_with("error: ")).collect();
    println!("started under its old id ({ended}):\n  {}", error.join("\n  "));
    let store = node.store.display().to_string();
    for part in [&*store, "is empty", "cannot come back under its old id", "quorumq group remove", "quorumq group add"]
    {
        assert!(error.concat().contains(part), "{part:?} is not said: {told}");
    }
}

/// Starts it to join, adds it, removes its old id: what became of the sends meanwhile.
async fn replace_under_load(cluster: &mut Cluster, lost: &Lost, boundary: u64) -> Outcomes {
    let node = &mut cluster.groups[0].nodes[lost.at];
    let conf = fs::read_to_string(&node.conf).expect("its configuration");
    assert!(conf.contains("bootstrap=true"));
    node.write_conf(&conf.replace("bootstrap=true", "join=true"));
    node.start();
    let raft = format!("127.0.0.1:{}", node.ports.raft());

    let load = Load { in_flight: SENDERS, body: 256, rate: RATE, ..Load::new(TOPIC) };
    let loading = load.start(&cluster.namesrv());
    loading.until_acked(RATE.into(), LONG).await;
    let (begun, from) = (Instant::now(), loading.acked());
    let end = leader(&status(cluster).await).end_offset;
    // A command blocks its thread; the sends go on.
    let args = ["--raft", &raft, "--id", &FOUNDER.to_string()];
    let told = tokio::task::block_in_place(|| group(cluster, "replace", &args));
    let (replaced, during) = (begun.elapsed(), loading.acked() - from);
    let rest = told.strip_prefix(&format!("{raft} is node ")).and_then(|rest| rest.split(' ').next());
    let id: u64 = rest.and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("{told:?} names no node"));
    assert!(id > 3, "ids are never used again: {id}");
    assert!(told.contains(&format!("node {FOUNDER} is no longer a member")), "{told}");
    let status = until_all_answer(cluster, &[id]).await;
    let joined = status.members.iter().find(|member| member.id == id).expect("the new member");
    println!(
        "replaced by node {id} in {replaced:.2?}, {} bytes to fetch, while {during} sends were acknowledged: {:.0} a second",
        end - boundary,
        during as f64 / replaced.as_secs_f64()
    );
    assert!(joined.end_offset >= end, "it was said to hold everything, and holds {} of {end}", joined.end_offset);
    loading.until_acked(loading.acked() + u64::from(RATE), LONG).await;
    let (took, during) = (begun.elapsed(), loading.acked() - from);
    println!("{during} sends acknowledged in {took:.2?}: {:.0} a second", during as f64 / took.as_secs_f64());

    let status = until_all_answer(cluster, &[]).await;
    let ids: Vec<u64> = status.members.iter().map(|member| member.id).collect();
    assert!(ids.len() == 3 && !ids.contains(&FOUNDER) && status.members.iter().all(|m| m.voter), "{status:?}");
    let joined = status.members.iter().find(|member| member.id == id).expect("the new member");
    println!("node {id}: {} snapshots installed, log from {}", joined.snapshots_installed, joined.first_offset);
    assert_eq!((joined.snapshots_installed, joined.first_offset, &joined.client_addr), (1, boundary, &lost.addr));

    let outcomes = loading.stop().await;
    println!("longest time without an acknowledgement: {:.0?}", longest_gap(&outcomes));
    assert_eq!((outcomes.unknown.len(), &outcomes.refused[..]), (0, &[][..]), "nobody but a follower changed");
    outcomes
}

fn longest_gap(outcomes: &Outcomes) -> Duration {
    let mut times: Vec<_> = outcomes.acks.iter().map(|ack| ack.at).collect();
    times.sort();
    times.windows(2).map(|two| two[1] - two[0]).max().unwrap_or_default()
}

/// Adds what came after.
fn later(outcomes: &mut Outcomes, more: Outcomes) {
    println!("{} acknowledged before, {} meanwhile", outcomes.acks.len(), more.acks.len());
    outcomes.acks.extend(more.acks);
}

/// The new member holds every retained message by itself, and so does the leader; the end of the last record.
async fn holds_everything(cluster: &Cluster, lost: &Lost, first: &[u64], outcomes: &Outcomes) -> u64 {
    let leader = cluster.leader(0).await;
    let own = read_from(&lost.addr, TOPIC, QUEUES).await;
    let leaders = read_from(&leader.addr, TOPIC, QUEUES).await;
    assert!(own == leaders, "the new member and the leader hold different messages");
    let starts: Vec<u64> = own.iter().map(|queue| queue.min).collect();
    assert_eq!(starts, first, "every queue begins with its first record behind the purge");
    let mut purged = 0;
    for ack in &outcomes.acks {
        purged += usize::from(!is_held(&own[ack.queue as usize], ack));
    }
    assert_eq!(purged as u64, first.iter().sum::<u64>(), "messages that are gone");
    let held: usize = own.iter().map(|queue| queue.messages.len()).sum();
    let ids: BTreeSet<_> = own.iter().flat_map(|queue| &queue.messages).map(|message| &message.msg_id).collect();
    assert_eq!(ids.len() + purged, outcomes.acks.len());
    // On a slow machine an attempt may come too late for its sender, and be stored all the same.
    let repeated = outcomes.acks.iter().filter(|ack| ack.maybe_duplicate).count();
    assert!(
        held - ids.len() <= repeated,
        "{held} messages, {} of them once, {repeated} said to be perhaps twice",
        ids.len()
    );
    let all = || own.iter().flat_map(|queue| &queue.messages);
    let start = all().map(|message| message.physical_offset).min().expect("messages");
    let end = all().map(|message| message.physical_offset + message.len as u64).max().expect("messages");
    let files = (end - 1) / SEGMENT - start / SEGMENT + 1;
    println!("{} holds {held} messages in {files} files, the {purged} before the purge are gone", lost.addr);
    assert!(files >= RETAINED);
    end
}

/// Whether an acknowledged message is there, where it was said to be; otherwise it lies before the purge.
fn is_held(queue: &Queue, ack: &Ack) -> bool {
    let Some(at) = ack.offset.checked_sub(queue.min) else { return false };
    let message = usize::try_from(at).ok().and_then(|at| queue.messages.get(at));
    let message = message.unwrap_or_else(|| panic!("acknowledged and missing: {ack:?}"));
    assert_eq!((&message.msg_id, number(&message.body)), (&ack.msg_id, ack.number), "{ack:?}");
    true
}

/// Stops all members and compares what lies on their disks.
fn compare_stores(cluster: &mut Cluster, boundary: u64, end: u64) {
    cluster.stop_brokers();
    let stores: Vec<&Path> = cluster.groups[0].nodes.iter().map(|node| node.store.as_path()).collect();
    let common = logs::compare(&stores, end);
    println!("CommitLog files equal byte for byte: {}..{}, over {} files", common.from, common.to, common.files);
    assert_eq!(common.from, boundary);
    assert!(common.files as u64 >= RETAINED);
}
