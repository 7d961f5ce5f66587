//! Topics as operations: creating them, giving them more queues, deleting them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quorumq::client::{Admin, ClientError, TopicSpec};

use super::{Client, Topic, until_ok};
use crate::history::{Action, Ended};
use crate::runtime::SimRuntime;

/// How long a topic may take to be everywhere when nothing goes wrong.
const SOON: Duration = Duration::from_secs(60);

/// Creates all of the client's topics on each of so many groups, and waits until NameServers route to them.
///
/// # Errors
/// That has not happened in time.
pub async fn create(client: Client, groups: usize) -> Result<(), String> {
    let admin = Admin::start_with(client.options.clone()).map_err(|e| e.to_string())?;
    for topic in client.topics.iter() {
        settled(&client, &admin, topic, groups).await?;
    }
    admin.close().await;
    Ok(())
}

/// Has every topic once more as the largest it was ever asked to be: a request that was given up long ago may have been
/// carried out late and taken queues away again, with messages in them.
///
/// # Errors
/// That has not happened in time.
pub async fn restore(client: &Client) -> Result<(), String> {
    let admin = Admin::start_with(client.options.clone()).map_err(|e| e.to_string())?;
    let groups = groups_in_use(client);
    for (name, Asked { changes, queues, acknowledged }) in asked(client) {
        if changes > 1 && acknowledged {
            settled(client, &admin, &Topic { name, queues }, groups).await?;
        }
    }
    admin.close().await;
    Ok(())
}

/// The most queues `topic` was ever asked to have.
pub(super) fn most_queues(client: &Client, topic: &str) -> u32 {
    let known = client.topics.iter().find(|known| *known.name == *topic).map_or(0, |known| known.queues);
    asked(client).get(topic).map_or(known, |asked| asked.queues.max(known))
}

/// Every topic that somebody wanted and nobody asked to delete.
pub(super) fn living(client: &Client) -> BTreeSet<Arc<str>> {
    client.topics.iter().map(|topic| Arc::clone(&topic.name)).chain(asked(client).into_keys()).collect()
}

/// What was asked of a topic.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    changes: u32,
    queues: u32,
    /// One of the changes is known to have been made.
    acknowledged: bool,
}

/// What was asked of each topic that nobody asked to delete.
fn asked(client: &Client) -> BTreeMap<Arc<str>, Asked> {
    client.ledger.look(|history| {
        let (mut topics, mut deleted) = (BTreeMap::<Arc<str>, Asked>::new(), BTreeSet::new());
        for op in &history.ops {
            let Action::Topic { topic, queues } = &op.action else { continue };
            if *queues == 0 {
                deleted.insert(Arc::clone(topic));
            }
            let asked = topics.entry(Arc::clone(topic)).or_default();
            asked.changes += 1;
            asked.queues = asked.queues.max(*queues);
            asked.acknowledged |= op.ended == Ended::Done;
        }
        topics.retain(|topic, _| !deleted.contains(topic));
        topics
    })
}

/// Gives a topic so many queues on each group; whether that is done for certain.
pub(super) async fn change(client: &Client, admin: &Admin<SimRuntime>, topic: &Arc<str>, queues: u32) -> bool {
    let line = client.begin(Action::Topic { topic: Arc::clone(topic), queues });
    let ended = ended(admin.create_topic(&TopicSpec::new(&**topic, queues), None).await);
    let done = ended == Ended::Done;
    client.end(line, ended);
    done
}

/// Deletes a topic; whether that is done for certain.
pub(super) async fn delete(client: &Client, admin: &Admin<SimRuntime>, topic: &Arc<str>) -> bool {
    let line = client.begin(Action::Topic { topic: Arc::clone(topic), queues: 0 });
    let ended = ended(admin.delete_topic(topic).await);
    let done = ended == Ended::Done;
    client.end(line, ended);
    done
}

/// A change that one group has made and another has not is of unknown outcome.
fn ended(changed: Result<Vec<String>, ClientError>) -> Ended {
    match changed {
        Ok(_) => Ended::Done,
        Err(e @ ClientError::Invalid { .. }) => Ended::Refused(e.to_string()),
        Err(e) => Ended::Unknown(e.to_string()),
    }
}

/// How many groups have acknowledged messages.
fn groups_in_use(client: &Client) -> usize {
    client.ledger.look(|history| {
        let broker = |ended: &Ended| match ended {
            Ended::Stored { place, .. } => Some(Arc::clone(&place.broker)),
            _ => None,
        };
        history.ops.iter().filter_map(|op| broker(&op.ended)).collect::<BTreeSet<_>>().len()
    })
}

/// Changes a topic until that is done on so many groups, and waits for the route to it. A NameServer that has just come
/// back need not know all groups yet.
async fn settled(client: &Client, admin: &Admin<SimRuntime>, topic: &Topic, groups: usize) -> Result<(), String> {
    let Topic { name, queues } = topic;
    let what = format!("topic {name} with {queues} queues on {groups} groups");
    let groups = until_ok(&what, SOON, async || {
        let line = client.begin(Action::Topic { topic: Arc::clone(name), queues: *queues });
        let changed = admin.create_topic(&TopicSpec::new(&**name, *queues), None).await;
        client.end(line, ended(changed.clone()));
        changed.and_then(|known| {
            let found = known.len();
            if found >= groups { Ok(known) } else { Err(ClientError::NoMember { group: format!("beyond {found}") }) }
        })
    })
    .await?;
    until_ok(&what, SOON, || admin.await_route(name, &groups, SOON)).await
}
