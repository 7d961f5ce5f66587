//! A healthy group at work for minutes: what a run costs when nothing goes wrong.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use quorumq::client::{ConsumeResult, MessageExt, PushConsumerBuilder};
use quorumq_store::log_store::FlushMode;

use super::{CLIENT, Report, Run, TOPIC};
use crate::runtime::SimRuntime;
use crate::scenario::address;
use crate::scenario::client::follow;
use crate::world::World;

/// Clients that send, each on a host of its own.
const SENDERS: u8 = 5;
/// Messages of each.
const MESSAGES: u32 = 3000;
/// Longest pause before a message: ten a second each.
const PAUSE: Duration = Duration::from_millis(200);
/// Clients that read what arrives.
const FOLLOWERS: u8 = 2;

/// Five producers send fifty messages a second for five minutes; two pull consumers and a push consumer read along.
///
/// # Errors
/// What does not hold.
pub async fn run(world: World) -> Result<Report, String> {
    let group = Run::begin(&world, FlushMode::Sync).await?;
    let mut hosts = (CLIENT + 1..).map(|n| world.add_node(address(n)));
    for (n, reader) in hosts.by_ref().take(FOLLOWERS.into()).enumerate() {
        let (name, followed) = (format!("followers-{n}"), group.followed.clone());
        drop(reader.spawn(follow::<SimRuntime>(group.options(&reader), name, TOPIC.to_owned(), followed)));
    }
    let listening = hosts.by_ref().take(1).map(|host| (group.options(&host), host));
    for (options, host) in listening {
        let consumer = PushConsumerBuilder::with_client("listeners", options).subscribe(TOPIC, "*");
        drop(host.spawn(async move {
            let consumer = consumer.start::<SimRuntime, _>(|_: Arc<MessageExt>| async { ConsumeResult::Consumed });
            std::future::pending::<()>().await;
            drop(consumer);
        }));
    }
    let senders = hosts.take(SENDERS.into()).enumerate();
    join_all(senders.map(|(n, host)| group.send(&host, &format!("sender{n}-"), 1, MESSAGES, PAUSE))).await;
    group.end().await
}
