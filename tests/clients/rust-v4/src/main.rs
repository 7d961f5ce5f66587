//! Drives the crate rocketmq-client-v4, unchanged. What it does it prints as one JSON object a line; "stop" on stdin
//! ends a consumer.
//!
//! ```text
//! send    NAMESRV TOPIC GROUP FIRST COUNT QUEUES
//! consume NAMESRV TOPIC GROUP
//! filter  NAMESRV TOPIC GROUP TAG QUEUES
//! ```

use std::env;
use std::sync::Arc;
use std::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};
use rocketmq_client_v4::connection::MqConnection;
use rocketmq_client_v4::consumer::message_handler::MessageHandler;
use rocketmq_client_v4::consumer::pull_consumer_v2::PullConsumer;
use rocketmq_client_v4::producer::Producer;
use rocketmq_client_v4::protocols::body::consumer_data::MESSAGE_MODEL_CLUSTER;
use rocketmq_client_v4::protocols::body::heartbeat_data::HeartbeatData;
use rocketmq_client_v4::protocols::body::message_body::MessageBody;
use rocketmq_client_v4::protocols::body::subscription_data::SubscriptionData;
use rocketmq_client_v4::protocols::get_current_time_millis;
use rocketmq_client_v4::protocols::header::pull_message_request_header::PullMessageRequestHeader;
use rocketmq_client_v4::protocols::header::pull_message_response_header::PullMessageResponseHeader;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::RwLock;
use tokio::time::sleep;

/// Answers of a pull, as RocketMQ numbers them.
const SUCCESS: i16 = 0;
const PULL_NOT_FOUND: i16 = 19;
const PULL_RETRY_IMMEDIATELY: i16 = 20;

#[tokio::main]
async fn main() {
    log::set_logger(&Stderr).expect("no logger is set yet");
    log::set_max_level(LevelFilter::Info);
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["send", namesrv, topic, group, first, count, queues] => {
            send(namesrv, topic, group, number(first), number(count), number(queues)).await;
        }
        ["consume", namesrv, topic, group] => consume(namesrv, topic, group).await,
        ["filter", namesrv, topic, group, tag, queues] => filter(namesrv, topic, group, tag, number(queues)).await,
        other => panic!("what is {other:?}?"),
    }
}

fn number(text: &str) -> i64 {
    text.parse().expect(text)
}

/// The same for every client: tags in turns of four, a key, and text beyond ASCII.
fn sample(number: i64) -> (&'static str, String, String) {
    let tag = if number / 4 % 2 == 1 { "TagB" } else { "TagA" };
    (tag, format!("key-{number}"), format!("Nr. {number}: Grüße, 你好, 🚀"))
}

/// The client tells nobody what became of a send: what arrived has to be read back. It takes the queue whose number is
/// the clock's milliseconds modulo the number of queues; all are reached by choosing the millisecond.
async fn send(namesrv: &str, topic: &str, group: &str, first: i64, count: i64, queues: i64) {
    let mut producer = Producer::new(group.to_owned(), namesrv.to_owned()).await;
    for number in first..first + count {
        let (tag, key, body) = sample(number);
        while get_current_time_millis() % queues != number % queues {
            std::hint::spin_loop();
        }
        let sent = producer.send_message_with_tag(topic.to_owned(), tag.to_owned(), body.into_bytes(), key).await;
        sent.expect("the client's own queue takes it");
        println!("{}", json!({ "sent": number }));
        if number == first {
            // The first one fetched the route, which took longer than a millisecond.
            sleep(Duration::from_millis(200)).await;
        }
    }
    stopped().await;
}

struct Print;

impl MessageHandler for Print {
    async fn handle(&self, message: &MessageBody) {
        print_message(message);
    }
}

fn print_message(message: &MessageBody) {
    let body = String::from_utf8(message.body.clone()).expect("UTF-8");
    let (queue, offset, id) = (message.queue_id, message.queue_offset, &message.msg_id);
    println!("{}", json!({ "got": body, "queue": queue, "offset": offset, "id": id }));
}

async fn consume(namesrv: &str, topic: &str, group: &str) {
    let consumer = PullConsumer::new(namesrv.to_owned(), group.to_owned(), topic.to_owned());
    let run = Arc::new(RwLock::new(true));
    consumer.start_consume(Arc::new(Print), Arc::clone(&run)).await;
    stopped().await;
    *run.write().await = false;
    // Its tasks notice one by one.
    sleep(Duration::from_millis(300)).await;
    println!("{}", json!({ "closed": true }));
    std::process::exit(0);
}

/// `PullConsumer` subscribes to every tag, always. The crate's own heartbeat and pull do take one.
async fn filter(namesrv: &str, topic: &str, group: &str, tag: &str, queues: i64) {
    let cluster = MqConnection::get_cluster_info(namesrv).await;
    let mut broker = MqConnection::get_one_master_broker_stream(&cluster).await;
    let mut subscription = SubscriptionData::simple_new(topic.to_owned());
    subscription.subString = tag.to_owned();
    subscription.tagsSet = vec![tag.to_owned()];
    let client_id = format!("127.0.0.1@{}", std::process::id());
    let model = MESSAGE_MODEL_CLUSTER.to_owned();
    let heartbeat = HeartbeatData::new_push_consumer_data(client_id, group.to_owned(), 0, subscription, model);
    heartbeat.send_heartbeat(&mut broker).await;
    for queue in 0..queues {
        let mut offset = 0;
        loop {
            let queue = i32::try_from(queue).expect("few queues");
            let mut pull = PullMessageRequestHeader::new(group.to_owned(), topic.to_owned(), queue, offset, 0);
            // As its consumer pulls: with the heartbeat's subscription. Not held, to see the end.
            pull.sysFlag = 0;
            pull.subscription = Some(String::new());
            let answer = pull.send_request(&mut broker).await.expect("an answer");
            let remark = String::from_utf8_lossy(&answer.r_body).into_owned();
            let (code, serialized) = (answer.req_code, answer.header_serialize_method);
            let header = PullMessageResponseHeader::bytes_to_header(serialized, answer.e_body);
            offset = header.and_then(|header| header.nextBeginOffset).expect("a next offset");
            match code {
                SUCCESS => MessageBody::decode_from_bytes(answer.body).iter().for_each(print_message),
                PULL_RETRY_IMMEDIATELY => {}
                PULL_NOT_FOUND => break,
                other => panic!("pull answered {other}: {remark}"),
            }
        }
    }
    println!("{}", json!({ "closed": true }));
}

async fn stopped() {
    let mut line = String::new();
    let read = BufReader::new(tokio::io::stdin()).read_line(&mut line).await;
    read.expect("stdin can be read");
}

/// What the crate logs, for whoever looks into a failure.
struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        eprintln!("{} {}: {}", record.level(), record.target(), record.args());
    }

    fn flush(&self) {}
}
