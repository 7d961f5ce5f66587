//! Commands of the machine, proposed and awaited.

use quorumq_raft::outcome::Outcome as Proposed;
use quorumq_raft::runtime::Runtime;
use quorumq_raft::types::Proposal;
use quorumq_store::frame::Kind;
use tokio::sync::oneshot;

use super::Broker;
use super::answer;
use super::send::Refused;
use crate::machine::command::{Command as MachineCommand, CommandBatch};
use crate::machine::reply::{Outcome, Reply};
use crate::protocol::code::response;
use crate::protocol::command::Command;

/// Why commands have no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// They never entered the log.
    #[error("refused: {0}")]
    Refused(String),
    /// They may have been carried out, or may yet be.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

impl CommandError {
    /// The answer to the request that asked for the commands.
    pub fn answer<R: Runtime>(&self, broker: &Broker<R>, request: &Command) -> Command {
        match self {
            Self::Refused(why) => broker.not_leading(request, why),
            Self::Unknown(why) => answer::unknown(request, why),
        }
    }

    /// The refusal of a send whose topic the commands were to create. The send itself was not proposed: whatever comes of
    /// the commands, it is not and never will be stored.
    pub fn refuse_send(self) -> Refused {
        let remark = match self {
            Self::Refused(why) => format!("the topic was not created: {why}"),
            Self::Unknown(why) => format!("whether the topic was created is unknown: {why}"),
        };
        Refused { code: response::SERVICE_NOT_AVAILABLE, remark }
    }
}

impl<R: Runtime> Broker<R> {
    /// Proposes commands as one entry and waits until it is applied. One outcome each, in order.
    ///
    /// # Errors
    /// This node does not lead, or has no room left, or nobody knows whether the entry was or will be committed.
    pub async fn command(&self, commands: Vec<MachineCommand>) -> Result<Vec<Outcome>, CommandError> {
        let time_ms = R::wall_clock_ms().max(self.node.machine().time_ms());
        let batch = CommandBatch { time_ms, commands };
        let body = batch.encode().map_err(|e| CommandError::Refused(e.to_string()))?;
        // An append that finds no room ends the node.
        let room = self.node.room_at_all(body.len() as u64).map_err(CommandError::Refused)?;
        let (tx, rx) = oneshot::channel();
        let done = move |outcome| {
            drop(room);
            // The request's task may be gone with its connection; the commands stand all the same.
            let _ = tx.send(outcome);
        };
        self.node.propose(Proposal { kind: Kind::Command, body }, done).await;
        match rx.await {
            Ok(Proposed::Applied { reply: Reply::Commands(outcomes), .. }) => Ok(outcomes),
            Ok(Proposed::Applied { reply, .. }) => {
                Err(CommandError::Unknown(format!("the machine answered {reply:?}")))
            }
            Ok(Proposed::Refused(refusal)) => Err(CommandError::Refused(refusal.to_string())),
            Ok(Proposed::Unknown(why)) => Err(CommandError::Unknown(why)),
            Err(_) => Err(CommandError::Unknown("the node stopped".to_owned())),
        }
    }

    /// Proposes one command.
    ///
    /// # Errors
    /// As [`Self::command`].
    pub async fn command_one(&self, command: MachineCommand) -> Result<Outcome, CommandError> {
        let outcomes = self.command(vec![command]).await?;
        outcomes.into_iter().next().ok_or_else(|| CommandError::Unknown("no outcome".to_owned()))
    }
}
