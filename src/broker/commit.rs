//! Consumer offset commits, gathered into one command per round.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

use bytes::BytesMut;
use openraft_rt::Instant;
use quorumq_raft::runtime::Runtime;
use quorumq_raft::types::NodeId;
use tokio::sync::{mpsc, oneshot};

use super::Broker;
use super::call::{self, Call};
use super::commander::CommandError;
use super::leadership::Leader;
use crate::machine::OffsetCommit;
use crate::machine::command::Command as MachineCommand;
use crate::protocol::code::request;
use crate::protocol::command::{Command, Encoding};
use crate::protocol::frame;
use crate::protocol::header::offset::UpdateConsumerOffsetRequest;

/// Commits that may wait for the committing task; beyond, those somebody waits for wait, the others are dropped.
const QUEUE: usize = 8192;
/// Offsets of one round.
const ROUND: usize = 8192;
/// Bytes of one command, about. A command is an entry, and entries of small groups are small.
const COMMAND_BYTES: usize = 256 * 1024;
/// Pause in which commits that nobody waits for gather: pulls carry one each.
const GATHER: Duration = Duration::from_millis(50);
/// Longest a forwarded round may take.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(3);

/// Takes commits from handlers.
#[derive(Debug)]
pub struct Commits {
    queue: mpsc::Sender<Asked>,
}

/// What the committing task works with.
#[derive(Debug)]
pub struct Committing {
    queue: mpsc::Receiver<Asked>,
}

type Done = oneshot::Sender<Result<(), CommandError>>;

#[derive(Debug)]
struct Asked {
    commits: Vec<OffsetCommit>,
    /// Told of the outcome, if somebody waits for it.
    done: Option<Done>,
}

/// The commits of one round: the latest of each group and queue.
#[derive(Debug, Default)]
struct Round {
    latest: BTreeMap<(String, String, u32), u64>,
    waiting: Vec<Done>,
}

impl Commits {
    /// A place to commit, and the work of its task.
    pub fn new() -> (Self, Committing) {
        let (tx, queue) = mpsc::channel(QUEUE);
        (Self { queue: tx }, Committing { queue })
    }

    /// Commits offsets and waits until they are applied. Leader only.
    ///
    /// # Errors
    /// This node does not lead, or nobody knows whether the offsets were or will be stored.
    pub async fn commit(&self, commits: Vec<OffsetCommit>) -> Result<(), CommandError> {
        let (done, outcome) = oneshot::channel();
        let asked = Asked { commits, done: Some(done) };
        if self.queue.send(asked).await.is_err() {
            return Err(CommandError::Refused("the broker is stopping".to_owned()));
        }
        outcome.await.unwrap_or_else(|_| Err(CommandError::Unknown("the broker stopped".to_owned())))
    }

    /// Commits an offset some time soon, here or at the leader. One too many is dropped: its consumer commits again.
    pub fn note(&self, commit: OffsetCommit) {
        let asked = Asked { commits: vec![commit], done: None };
        if self.queue.try_send(asked).is_err() {
            tracing::debug!("an offset that a pull carried is not stored: {QUEUE} wait already");
        }
    }
}

impl Round {
    fn take(&mut self, asked: Asked) {
        for commit in asked.commits {
            self.latest.insert((commit.group, commit.topic, commit.queue_id), commit.offset);
        }
        self.waiting.extend(asked.done);
    }

    fn is_full(&self) -> bool {
        self.latest.len() >= ROUND
    }

    /// The round as commands of at most `max_bytes` each, about.
    fn commands(latest: BTreeMap<(String, String, u32), u64>, max_bytes: usize) -> Vec<Vec<OffsetCommit>> {
        let mut commands = Vec::new();
        let (mut command, mut bytes) = (Vec::new(), 0);
        for ((group, topic, queue_id), offset) in latest {
            // Two lengths, a queue id and an offset take at most 9 bytes each.
            let len = group.len() + topic.len() + 4 * 9;
            if bytes + len > max_bytes && !command.is_empty() {
                commands.push(std::mem::take(&mut command));
                bytes = 0;
            }
            bytes += len;
            command.push(OffsetCommit { group, topic, queue_id, offset });
        }
        if !command.is_empty() {
            commands.push(command);
        }
        commands
    }
}

impl Committing {
    /// Commits round after round, until every sender is gone.
    pub async fn run<R: Runtime>(mut self, broker: Weak<Broker<R>>) {
        while let Some(round) = self.gather::<R>().await {
            let Some(broker) = broker.upgrade() else { return };
            broker.commit_round(round).await;
        }
    }

    /// The next round: what is there, and what comes within a moment if nobody waits. `None` at the end.
    async fn gather<R: Runtime>(&mut self) -> Option<Round> {
        let mut round = Round::default();
        round.take(self.queue.recv().await?);
        let until = <R::Instant as Instant>::now() + GATHER;
        while round.waiting.is_empty() && !round.is_full() {
            match R::timeout_at(until, self.queue.recv()).await {
                Ok(Some(asked)) => round.take(asked),
                Ok(None) | Err(_) => break,
            }
        }
        while !round.is_full()
            && let Ok(asked) = self.queue.try_recv()
        {
            round.take(asked);
        }
        Some(round)
    }
}

impl<R: Runtime> Broker<R> {
    async fn commit_round(&self, round: Round) {
        let Round { latest, waiting } = round;
        let max_entry = self.node.identity().constants.max_entry as usize;
        let leader = self.leadership.now(self.node.id());
        let mut outcome = None;
        for commits in Round::commands(latest, COMMAND_BYTES.min(max_entry / 2)) {
            match leader {
                Leader::There(leader) if waiting.is_empty() => self.forward_commits(leader, &commits).await,
                _ => {
                    let command = MachineCommand::CommitOffsets { commits };
                    outcome = both(outcome, self.command_one(command).await.map(drop));
                }
            }
        }
        let outcome = outcome.unwrap_or(Ok(()));
        if waiting.is_empty()
            && let Err(e) = &outcome
        {
            tracing::debug!("offsets that pulls carried are not stored: {e}");
        }
        for done in waiting {
            // Whoever asked may be gone with its connection; the offsets stand all the same.
            let _ = done.send(outcome.clone());
        }
    }

    /// Passes on to the leader what pulls from this node carried.
    async fn forward_commits(&self, leader: NodeId, commits: &[OffsetCommit]) {
        let mut raw = BytesMut::new();
        commits.iter().for_each(|commit| frame::encode(&oneway(commit), &mut raw));
        let header = Call::Forward {
            client: self.options.advertised.into(),
            count: u32::try_from(commits.len()).unwrap_or(u32::MAX),
        };
        let forwarded = match call::encode(&header, &raw) {
            Ok(bytes) => self.node.call(leader, bytes, FORWARD_TIMEOUT).await.map_err(|e| e.to_string()),
            Err(e) => Err(e.to_string()),
        };
        if let Err(e) = forwarded {
            tracing::debug!("offsets that pulls carried did not reach the leader: {e}");
        }
    }
}

/// The outcome of a round's commands so far and of its next one. Whoever waits does not know which of them had its
/// commit: where one was carried out and another was not, the round's outcome is unknown to it.
fn both(so_far: Option<Result<(), CommandError>>, next: Result<(), CommandError>) -> Option<Result<(), CommandError>> {
    Some(match (so_far, next) {
        (None, next) => next,
        (Some(Err(CommandError::Refused(_))), Err(CommandError::Refused(why))) => Err(CommandError::Refused(why)),
        (Some(Err(e)), _) | (Some(Ok(())), Err(e)) => {
            let (CommandError::Refused(why) | CommandError::Unknown(why)) = e;
            Err(CommandError::Unknown(why))
        }
        (Some(Ok(())), Ok(())) => Ok(()),
    })
}

/// A commit as a consumer sends it.
fn oneway(commit: &OffsetCommit) -> Command {
    let header = UpdateConsumerOffsetRequest {
        consumer_group: &commit.group,
        topic: &commit.topic,
        queue_id: i32::try_from(commit.queue_id).unwrap_or(i32::MAX),
        commit_offset: commit.offset.cast_signed(),
        broker_name: None,
    };
    Command::oneway(Encoding::Binary, request::UPDATE_CONSUMER_OFFSET, header.encode(), bytes::Bytes::new())
}

#[cfg(test)]
mod tests {
    use quorumq_store::QueueOffset;

    use super::*;

    fn asked(topic: &str, offset: u64) -> Asked {
        Asked { commits: vec![OffsetCommit::new("g", topic, 0, QueueOffset(offset))], done: None }
    }

    #[test]
    fn the_latest_commit_of_a_queue_stands_even_if_it_goes_back() {
        let mut round = Round::default();
        for (topic, offset) in [("a", 5), ("b", 1), ("a", 9), ("a", 3)] {
            round.take(asked(topic, offset));
        }
        let commands = Round::commands(round.latest, COMMAND_BYTES);
        let expected = [OffsetCommit::new("g", "a", 0, QueueOffset(3)), OffsetCommit::new("g", "b", 0, QueueOffset(1))];
        assert_eq!(commands, [expected]);
    }

    #[test]
    fn a_round_is_cut_into_commands_that_fit_an_entry() {
        let mut round = Round::default();
        (0..100).for_each(|i| round.take(asked(&format!("topic-{i:03}"), i)));
        let commands = Round::commands(round.latest, 500);
        assert!(commands.len() > 1);
        let sizes = commands.iter().map(|commits| {
            let command = MachineCommand::CommitOffsets { commits: commits.clone() };
            command.at(i64::MAX).encode().unwrap().len()
        });
        assert!(sizes.max().unwrap() <= 500 + 32);
        let offsets = commands.iter().flatten().map(|commit| commit.offset);
        assert!(offsets.eq(0..100));
    }

    #[test]
    fn a_round_of_which_a_part_may_be_stored_is_not_called_refused() {
        let refused = || Err(CommandError::Refused("full".to_owned()));
        let unknown = || Err(CommandError::Unknown("lost".to_owned()));
        let of = |outcomes: &[Result<(), CommandError>]| outcomes.iter().cloned().fold(None, both).unwrap();
        assert_eq!(of(&[Ok(()), Ok(())]), Ok(()));
        assert_eq!(of(&[refused(), refused()]), refused());
        for part in [[Ok(()), refused()], [refused(), Ok(())], [refused(), unknown()], [unknown(), refused()]] {
            assert!(matches!(of(&part), Err(CommandError::Unknown(_))), "{part:?}");
        }
    }

    #[test]
    fn a_single_commit_larger_than_the_limit_is_still_sent() {
        let mut round = Round::default();
        round.take(asked(&"t".repeat(100), 1));
        assert_eq!(Round::commands(round.latest, 10).len(), 1);
    }
}
