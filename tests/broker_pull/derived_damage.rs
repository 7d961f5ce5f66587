//! Derived files that are damaged or lost: clients are told to ask again, get nothing wrong, and soon all that is theirs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use quorumq::broker::scrub::Scrubbed;
use quorumq::verify::verify_store;
use quorumq_store::disk::MemoryDisk;

use super::bad_sectors::BadSectors;
use super::rig::{Client, Pull, Rig, bodies, from};

const QUEUES: &str = "/store/consumequeue";
const INDEX: &str = "/store/index";
const MESSAGES: u64 = 200;

fn body(n: u64) -> String {
    format!("{n:04}").repeat(300)
}

/// A disk with the store of a node that was stopped: messages over several segments, each with a key of its own.
async fn filled() -> MemoryDisk {
    let disks = [MemoryDisk::new()];
    let rig = Rig::on(&disks, |why| panic!("fatal: {why}")).await;
    let mut client = rig.client().await;
    for n in 0..MESSAGES {
        client.produce_with(0, &format!("TAGS\u{1}tag\u{2}KEYS\u{1}k{n}\u{2}"), &body(n)).await;
    }
    drop(client);
    rig.stop().await;
    let [disk] = disks;
    disk
}

fn contents(disk: &MemoryDisk, below: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = disk.paths().into_iter().filter(|path| path.starts_with(below));
    paths.map(|path| (path.clone(), disk.content(&path).unwrap())).collect()
}

/// Units, sums and keys in files are those that the log makes, as the offline check sees it.
fn assert_sound(disk: &MemoryDisk) {
    let found = verify_store(&disk.mount(), Path::new("/store"), None).unwrap();
    assert!(found.queues.units > MESSAGES / 2 && found.index.keys > MESSAGES / 2, "{found:?}");
}

async fn started(disk: &MemoryDisk) -> Rig {
    Rig::on(std::slice::from_ref(disk), |why| panic!("fatal: {why}")).await
}

/// Pulls all messages of queue 0; how often the broker said that it cannot yet. Whatever it gives is right.
async fn pull_all(client: &mut Client) -> u32 {
    let (mut next, mut refused) = (0, 0);
    while next < MESSAGES {
        let pull = Pull { max: 32, expression: "tag", ..from(next as i64) };
        let answer = client.pull(pull).await;
        if answer.code == 1 {
            assert!(answer.remark.as_deref().unwrap_or_default().contains("cannot be read"), "{answer:?}");
            refused += 1;
            assert!(refused < 2000, "it is never made good: {answer:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        }
        let found = bodies(&answer);
        assert!(answer.code == 0 && !found.is_empty(), "at {next}: {answer:?}");
        for found in found {
            assert!(found == body(next), "at {next}");
            next += 1;
        }
    }
    refused
}

/// Asks for the message with a key until it is given; how often the broker said that it cannot yet.
async fn query(client: &mut Client, n: u64) -> u32 {
    let (key, mut refused) = (format!("k{n}"), 0);
    loop {
        let max = i64::MAX.to_string();
        let ext =
            [("topic", "t"), ("key", key.as_str()), ("maxNum", "9"), ("beginTimestamp", "0"), ("endTimestamp", &max)];
        let answer = client.ask(12, &ext).await;
        if answer.code == 0 {
            assert!(bodies(&answer) == [body(n)], "{key}");
            return refused;
        }
        assert_eq!(answer.code, 1, "never called missing: {answer:?}");
        refused += 1;
        assert!(refused < 2000, "it is never made good: {answer:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_of_a_consume_queue_shows_nobody_a_wrong_message_and_hides_none() {
    let disk = filled().await;
    let path = Path::new(QUEUES).join("t/0/00000000000000000000");
    // In position, size and tag of units; and in a sum.
    for (path, at) in [(&path, 20 * 3 + 7), (&path, 20 * 7 + 10), (&path, 20 * 9 + 19)] {
        disk.flip_bit(path, at, 4).unwrap();
        let rig = started(&disk).await;
        let mut client = rig.client().await;
        assert!(pull_all(&mut client).await > 0, "byte {at}");
        assert_eq!(pull_all(&mut client).await, 0);
        rig.stop().await;
        assert_sound(&disk);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wholly_deleted_derived_files_are_made_again_while_the_broker_serves() {
    let disk = filled().await;
    let (queues, index) = (contents(&disk, QUEUES), contents(&disk, INDEX));
    assert!(index.len() > 2, "{index:?}");
    disk.mount().remove_dir_all(Path::new(QUEUES)).unwrap();
    disk.mount().remove_dir_all(Path::new(INDEX)).unwrap();
    let rig = started(&disk).await;
    let mut client = rig.client().await;
    client.produce(1, "", "goes on").await;
    pull_all(&mut client).await;
    for n in [0, 1, 77, MESSAGES - 1] {
        query(&mut client, n).await;
    }
    drop(client);
    rig.stop().await;
    assert_sound(&disk);
    let now_there = contents(&disk, QUEUES).into_iter().map(|(path, _)| path);
    assert!(queues.iter().all(|(path, _)| now_there.clone().any(|now| now == *path)));
    let now = contents(&disk, INDEX);
    let complete: Vec<_> = index.iter().filter(|(path, _)| !path.ends_with(".format")).collect();
    for (path, content) in &complete[..complete.len() - 1] {
        let (_, now) = now.iter().find(|(other, _)| other == path).unwrap();
        assert!(now == content, "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_index_file_hides_no_message() {
    let disk = filled().await;
    let before = contents(&disk, INDEX);
    let first = before.iter().map(|(path, _)| path.clone()).find(|path| !path.ends_with(".format")).unwrap();
    // All slots: every chain of the file begins elsewhere.
    let zeros = vec![0xFF; 64 * 4];
    disk.mount().open(&first).unwrap().write_at(40, &[&zeros]).unwrap();
    let rig = started(&disk).await;
    let mut client = rig.client().await;
    assert!(query(&mut client, 0).await > 0);
    assert_eq!(query(&mut client, 0).await, 0);
    let now = contents(&disk, INDEX);
    assert!(before.iter().filter(|(path, _)| *path == first).all(|file| now.contains(file)));
    rig.stop().await;
}

/// Found by the simulator: it was taken for a message that is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_unit_that_points_at_no_record_hides_no_message() {
    let disk = filled().await;
    let first =
        contents(&disk, INDEX).into_iter().map(|(path, _)| path).find(|path| !path.ends_with(".format")).unwrap();
    let rig = started(&disk).await;
    let mut client = rig.client().await;
    // The lowest byte of the position of the first unit.
    disk.flip_bit(&first, 40 + 64 * 4 + 20 + 11, 6).unwrap();
    assert!(query(&mut client, 0).await > 0);
    assert_eq!(query(&mut client, 0).await, 0);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrub_finds_what_nobody_reads() {
    let disk = filled().await;
    let index = contents(&disk, INDEX);
    let path = Path::new(QUEUES).join("t/0/00000000000000000000.crc");
    let file = index.iter().map(|(path, _)| path.clone()).find(|path| !path.ends_with(".format")).unwrap();
    let rig = started(&disk).await;
    let broker = &rig.brokers[0].broker;
    let sound = broker.scrub_derived(u64::MAX).await;
    assert!(sound.damaged == 0 && sound.queues >= 1 && sound.segments >= 2, "{sound:?}");
    disk.flip_bit(&path, 6, 0).unwrap();
    // The time of the file's first unit.
    disk.flip_bit(&file, 40 + 64 * 4 + 20 + 15, 0).unwrap();
    let damaged = broker.scrub_derived(u64::MAX).await;
    assert_eq!(damaged.damaged, 2, "{damaged:?}");
    for _ in 0..2000 {
        if broker.scrub_derived(u64::MAX).await == sound {
            rig.stop().await;
            return assert_sound(&disk);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a scrub still finds damage");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrub_counts_files_that_the_disk_cannot_read_and_goes_on() {
    let disk = filled().await;
    let index = contents(&disk, INDEX);
    let file = index.iter().map(|(path, _)| path.clone()).find(|path| !path.ends_with(".format")).unwrap();
    let queue = Path::new(QUEUES).join("t/0/00000000000000000000");
    let bad = BadSectors::default();
    let rig = Rig::one(bad.under(disk.mount()), |_| {}).await;
    let broker = &rig.brokers[0].broker;
    let sound = broker.scrub_derived(u64::MAX).await;
    assert!(sound.unreadable == 0 && sound.damaged == 0 && sound.segments >= 2, "{sound:?}");
    bad.set(&[&queue, &file]);
    let found = broker.scrub_derived(u64::MAX).await;
    assert_eq!(found, Scrubbed { unreadable: 2, ..sound });
    bad.set(&[]);
    assert_eq!(broker.scrub_derived(u64::MAX).await, sound, "what cannot be read is not made again: it may be sound");
    rig.stop().await;
    assert_sound(&disk);
}
