//! A broker that stops sends away those clients who know the code for it, and goes on for the others.

use quorumq::protocol::code::response;

use crate::rig::{Client, Rig};

/// GET_MAX_OFFSET: answered by any member with the leader's help.
const MAX_OFFSET: i32 = 30;
const QUEUE: [(&str, &str); 2] = [("topic", "t"), ("queueId", "0")];
/// Ordinals of MQVersion.java.
const V5_3_1: i16 = 475;
const V5_3_3: i16 = 479;

/// Asks until it is sent away or the connection ends; the codes of all answers.
async fn ask_on(mut client: Client) -> Vec<i32> {
    let mut codes = Vec::new();
    loop {
        let Some(answer) = client.ask_if_open(MAX_OFFSET, &QUEUE).await else { return codes };
        codes.push(answer.code);
        if answer.code == response::GO_AWAY {
            return codes;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stops_sends_away_the_clients_that_know_how_to_leave() {
    let mut rig = Rig::start(3).await;
    let at = rig.brokers.iter().position(|broker| broker.broker.node().is_leader()).unwrap();
    let leaving = rig.brokers.remove(at);
    let mut asking = Vec::new();
    for version in [V5_3_3, V5_3_1] {
        let mut client = Client::connect(leaving.local_addr()).await;
        client.version = version;
        assert_eq!(client.ask(MAX_OFFSET, &QUEUE).await.code, response::SUCCESS);
        asking.push(tokio::spawn(ask_on(client)));
    }
    leaving.shutdown().await;
    let mut codes = Vec::new();
    for asking in asking {
        codes.push(asking.await.unwrap());
    }
    let (knowing, others) = (&codes[0], &codes[1]);
    assert_eq!(knowing.last(), Some(&response::GO_AWAY), "{knowing:?}");
    assert!(!others.is_empty() && !others.contains(&response::GO_AWAY), "{others:?}");
    rig.stop().await;
}
