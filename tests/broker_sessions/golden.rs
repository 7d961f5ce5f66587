//! The requests 34, 35 and 38 of a stock Java client, replayed: same code, remark and ext keys as Apache's brokers gave.

use std::collections::BTreeMap;

use bytes::BytesMut;
use quorumq::protocol::command::Command;
use quorumq::protocol::frame;
use serde_json::Value;

use crate::rig::{Client, Rig};

const GOLDEN: &str = include_str!("../fixtures/golden-frames.jsonl");

struct Captured {
    line: usize,
    /// Who sent it to whom.
    from: String,
    to: String,
    command: Command,
}

fn captured() -> Vec<Captured> {
    let end = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let frames = GOLDEN.lines().enumerate().filter_map(|(at, line)| {
        let captured: Value = serde_json::from_str(line).unwrap();
        let hex = captured["hex"].as_str().unwrap();
        let bytes = (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16));
        let mut bytes = BytesMut::from(&bytes.collect::<Result<Vec<u8>, _>>().ok()?[..]);
        let command = frame::decode(&mut bytes).ok()??;
        Some(Captured { line: at + 1, from: end(&captured["src"]), to: end(&captured["dst"]), command })
    });
    frames.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_java_clients_heartbeats_lists_and_goodbyes_are_answered_as_by_apache() {
    let rig = Rig::start(1).await;
    let frames = captured();
    let mut connections: BTreeMap<(String, String), Client> = BTreeMap::new();
    let mut replayed = BTreeMap::<i32, usize>::new();
    for (at, asked) in frames.iter().enumerate() {
        let request = &asked.command;
        if request.is_response() || ![34, 35, 38].contains(&request.code) {
            continue;
        }
        let answered = frames[at..].iter().find(|answer| {
            let (command, ends) = (&answer.command, (&answer.from, &answer.to));
            command.is_response() && command.opaque == request.opaque && ends == (&asked.to, &asked.from)
        });
        let Some(answered) = answered else { panic!("line {}: no answer was captured", asked.line) };
        let key = (asked.from.clone(), asked.to.clone());
        if !connections.contains_key(&key) {
            connections.insert(key.clone(), rig.client(0).await);
        }
        let answer = connections.get_mut(&key).unwrap().call(request).await;
        let seen = |command: &Command| {
            let keys: Vec<String> = command.ext.iter().map(|(key, _)| key.to_owned()).collect();
            (command.code, command.remark.clone(), keys, command.version, command.flag)
        };
        assert_eq!(seen(&answer), seen(&answered.command), "line {}", asked.line);
        assert_eq!(answer.body, answered.command.body, "line {}", asked.line);
        *replayed.entry(request.code).or_default() += 1;
    }
    assert_eq!(replayed, BTreeMap::from([(34, 25), (35, 34), (38, 8)]));
    rig.stop().await;
}
