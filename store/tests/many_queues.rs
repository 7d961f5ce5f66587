//! What a node with thousands of ConsumeQueues costs at start.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use quorumq_store::consume_queue::{ConsumeQueues, Unit};
use quorumq_store::disk::RealDisk;
use quorumq_store::{PhysicalOffset, QueueOffset};

const UNITS: u64 = 1000;

/// Queues of a topic.
const PER_TOPIC: usize = 8;

fn name(n: usize) -> (String, u32) {
    (format!("topic-{}", n / PER_TOPIC), (n % PER_TOPIC) as u32)
}

fn fill(dir: &Path, count: usize) {
    let mut queues = ConsumeQueues::new(RealDisk::new(), dir).unwrap();
    for n in 0..count {
        let (topic, queue_id) = name(n);
        let queue = queues.open(&topic, queue_id, QueueOffset(0), QueueOffset(0)).unwrap();
        for unit in 0..UNITS {
            let position = PhysicalOffset((unit * count as u64 + n as u64) * 1024);
            queues.push(queue, Unit { position, size: 1024, tags_code: 7 });
        }
        if n % 1000 == 999 || n + 1 == count {
            let plan = queues.plan_flush().unwrap();
            plan.write(n + 1 == count).unwrap();
            queues.flushed(plan);
        }
    }
}

/// As a start does: every queue is opened, and its files are looked for.
fn open(dir: &Path, count: usize) -> (ConsumeQueues, Duration) {
    let begun = Instant::now();
    let mut queues = ConsumeQueues::new(RealDisk::new(), dir).unwrap();
    for n in 0..count {
        let (topic, queue_id) = name(n);
        let queue = queues.open(&topic, queue_id, QueueOffset(0), QueueOffset(UNITS)).unwrap();
        queues.take_stock(queue, QueueOffset(0)).unwrap();
    }
    queues.remove_unopened().unwrap();
    (queues, begun.elapsed())
}

/// Files below `dir` that this process has open.
fn open_files(dir: &Path) -> usize {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap();
    descriptors.filter(|fd| fs::read_link(fd.as_ref().unwrap().path()).is_ok_and(|path| path.starts_with(dir))).count()
}

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn queues_that_nobody_uses_hold_no_file_open() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 1000);
    assert_eq!(open_files(dir.path()), 0);
    let (queues, _) = open(dir.path(), 1000);
    assert!(queues.damaged().is_empty());
    assert_eq!(open_files(dir.path()), 0);
    let mut units = Vec::new();
    for queue in 0..1000 {
        let read = queues.plan_read(quorumq_store::consume_queue::QueueHandle(queue), QueueOffset(500), 1).unwrap();
        read.run(&mut units).unwrap();
    }
    assert_eq!(units.len(), 1000);
    assert!(open_files(dir.path()) <= 256, "{}", open_files(dir.path()));
}

/// `cargo test -p quorumq-store --test many_queues -- --ignored --nocapture`
#[test]
#[ignore = "writes 280 MB"]
fn ten_thousand_queues_are_opened_within_a_second_and_200_mib() {
    let dir = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    fill(dir.path(), 10_000);
    println!("filled in {:?}", begun.elapsed());
    let before = resident_bytes();
    let (queues, took) = open(dir.path(), 10_000);
    let grown = resident_bytes().saturating_sub(before);
    println!("opened in {took:?}, {grown} bytes more, {} files open", open_files(dir.path()));
    assert!(took < Duration::from_secs(1) && grown < 200 << 20 && open_files(dir.path()) == 0);
    drop(queues);
}
