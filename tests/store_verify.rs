//! `quorumq store verify` over the stores of three broker processes.
#![cfg(test)]

mod harness;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::load::Load;
use harness::process::{Finished, quorumq, run};
use harness::{Plan, readback};
use serde_json::Value;

/// Long enough for a slow machine.
const LONG: Duration = Duration::from_secs(60);
const MESSAGES: u64 = 8000;

fn verify(store: &Path, args: &[&str]) -> Finished {
    run(quorumq().args(["store", "verify"]).arg(store).args(args), LONG)
}

fn verified(store: &Path, args: &[&str]) -> Value {
    let told = verify(store, &[args, &["--json"]].concat()).success();
    serde_json::from_str(&told).unwrap_or_else(|e| panic!("{e}: {told}"))
}

/// The files of a directory, by name.
fn files(dir: PathBuf) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Changes one bit of a file; changed twice it is as before.
fn flip(file: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

/// A check that fails names the file, and a byte of it.
fn damaged(store: &Path, file: &Path) -> u64 {
    let told = verify(store, &[]);
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    assert_eq!(told.stdout, "");
    println!("{}", told.stderr.lines().next().unwrap());
    let (before, byte) = told.stderr.lines().next().unwrap().rsplit_once(" at byte ").expect("a byte is named");
    assert!(before.starts_with("error: corrupt ") && before.ends_with(&file.display().to_string()), "{before}");
    byte.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_are_verified_and_a_flipped_byte_is_named() {
    let mut cluster = Plan { segment: 1 << 20, ..Plan::new("verify") }.start().await;
    cluster.create_topic("T", 4).await;
    let loading = Load { body: 500, ..Load::new("T") }.start(&cluster.namesrv());
    loading.until_acked(MESSAGES, LONG).await;
    let outcomes = loading.stop().await;
    cluster.settled(0).await;
    let stored: usize = readback::read(&cluster.namesrv(), "T").await.values().map(Vec::len).sum();
    let stores: Vec<_> = cluster.group().nodes.iter().map(|node| node.store.clone()).collect();
    let in_use = verify(&stores[0], &[]);
    assert_eq!(in_use.status.code(), Some(1));
    assert!(in_use.stderr.contains("is in use by another process"), "{in_use:?}");
    cluster.stop_brokers();

    let found: Vec<_> = stores.iter().map(|store| verified(store, &[])).collect();
    let common = found.iter().map(|found| found["applied"]["index"].as_u64().unwrap()).min().unwrap();
    let until = common.to_string();
    let at_common: Vec<_> = stores.iter().map(|store| verified(store, &["--until", &until])).collect();
    for (store, found) in stores.iter().zip(&at_common) {
        println!("{}", verify(store, &[]).success());
        assert_eq!(found["applied"]["index"], common);
        assert_eq!(found["digest"], at_common[0]["digest"], "{found}");
        assert_eq!(found["records"], stored);
        assert_eq!(found["queues"], 4);
        assert_eq!(found["units"].as_u64().unwrap() + found["unitsNotWritten"].as_u64().unwrap(), stored as u64);
        assert!(found["segments"].as_u64().unwrap() >= 4, "{found}");
        assert!(found["checkpoints"].as_u64().unwrap() >= 3, "{found}");
        assert_eq!(found["tornTail"], Value::Null);
    }
    assert!(stored >= outcomes.acks.len());

    let store = &stores[1];
    let segment = &files(store.join("commitlog"))[1];
    // In a header, in a body, and in what a file's last frame leaves blank.
    let len = fs::metadata(segment).unwrap().len();
    for at in [0, 20, 1000, 300_000, len - 1] {
        flip(segment, at);
        let named = damaged(store, segment);
        assert!(named <= at && at - named < 300_000, "flipped {at}, named {named}");
        flip(segment, at);
    }
    let queue = &files(store.join("consumequeue/T/2"))[0];
    flip(queue, 20 * 100 + 7);
    assert_eq!(damaged(store, queue), 20 * 100);
    flip(queue, 20 * 100 + 7);
    let checkpoint = &files(store.join("checkpoints"))[0];
    flip(checkpoint, 200);
    damaged(store, checkpoint);
    flip(checkpoint, 200);
    verify(store, &[]).success();
}
