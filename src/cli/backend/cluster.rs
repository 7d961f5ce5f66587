//! The broker groups that the NameServers know, and asking one of them.

use std::sync::Arc;
use std::time::Duration;

use quorumq_raft::runtime::tokio::Tokio;

use crate::cli::NameServers;
use crate::cli::error::CliError;
use crate::client::admin::Admin;
use crate::client::producer::{EXT_OUTCOME, OUTCOME_UNKNOWN};
use crate::client::route::Group;
use crate::client::{ClientError, Patience};
use crate::protocol::code::response;
use crate::protocol::{Command, ExtFields};

/// How long an administrative request may take, elections included.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How long a single attempt may take: above what a member needs to see that nobody leads.
const ATTEMPT: Duration = Duration::from_secs(5);

/// A look at the cluster, and connections into it.
pub(super) struct Cluster {
    admin: Admin<Tokio>,
    groups: Vec<Arc<Group<Tokio>>>,
}

impl Cluster {
    /// Asks the NameServers.
    ///
    /// # Errors
    /// None of them answered.
    pub(super) async fn look(namesrv: &NameServers) -> Result<Self, CliError> {
        let admin = Admin::start(&namesrv.list)?;
        let groups = match admin.groups(None).await {
            Err(ClientError::NoMember { .. }) => Vec::new(),
            groups => groups?,
        };
        Ok(Self { admin, groups })
    }

    /// Names of the groups, in order.
    pub(super) fn groups(&self) -> Vec<String> {
        self.groups.iter().map(|group| group.name().to_string()).collect()
    }

    /// Asks a group's leader something that may be asked twice; only code 0 is an answer.
    ///
    /// # Errors
    /// No such group, nobody answered within `patience`, or it was refused.
    pub(super) async fn ask(
        &self,
        group: &str,
        code: i32,
        ext: ExtFields,
        patience: Duration,
    ) -> Result<Command, CliError> {
        let (core, group) = (self.admin.core(), self.group(group)?);
        Ok(core.ask_ok(group, &core.request(code, ext), self.patience(patience)).await?)
    }

    /// Has a group's leader change something that may be changed so twice; only code 0 is an answer.
    ///
    /// # Errors
    /// As [`Self::ask`], and an outcome that nobody knows.
    pub(super) async fn change(
        &self,
        group: &str,
        code: i32,
        ext: ExtFields,
        patience: Duration,
    ) -> Result<Command, CliError> {
        let (core, group) = (self.admin.core(), self.group(group)?);
        let (_, answer) = core.change_answered(group, &core.request(code, ext), self.patience(patience)).await?;
        Ok(answer)
    }

    fn group(&self, name: &str) -> Result<&Group<Tokio>, CliError> {
        let found = self.groups.iter().find(|known| &**known.name() == name);
        found.map(|group| &**group).ok_or_else(|| {
            let hint = match self.groups().join(", ") {
                none if none.is_empty() => "The NameServers know none yet: start a broker.".to_owned(),
                known => format!("The NameServers know: {known}."),
            };
            CliError::failed(format!("no broker group {name} is registered"), hint)
        })
    }

    /// Notes who leads a group, as one of its members told: it is asked first from now on.
    pub(super) fn note_leader(&self, group: &str, addr: &str, term: u64) {
        if let Ok(group) = self.group(group) {
            let mut told = ExtFields::default();
            told.push("leader", addr);
            told.push("term", term);
            group.learn(&told);
        }
    }

    /// Where the NameServers say that the members of a group are.
    ///
    /// # Errors
    /// No such group.
    pub(super) fn members(&self, group: &str) -> Result<Vec<String>, CliError> {
        Ok(self.group(group)?.members().iter().map(ToString::to_string).collect())
    }

    /// A member that does not answer must not use up the time of those that would.
    fn patience(&self, whole: Duration) -> Patience<Tokio> {
        let attempt = self.admin.core().options.api_timeout.max(whole / 2);
        Patience { attempt, ..Patience::new(whole) }
    }

    /// Asks one member, once; only code 0 is an answer.
    ///
    /// # Errors
    /// It did not answer, or refused.
    pub(super) async fn ask_member(&self, addr: &str, code: i32, ext: ExtFields) -> Result<Command, CliError> {
        let answer = self.try_member(addr, code, ext, ATTEMPT).await?;
        if answer.code == response::SUCCESS {
            return Ok(answer);
        }
        let why = answer.remark.unwrap_or_else(|| format!("code {}", answer.code));
        Err(CliError::failed(format!("{addr} refused: {why}"), "Correct it and try again."))
    }

    /// Asks one member, once, and waits at most `limit`. The answer may be of any code.
    ///
    /// # Errors
    /// It did not answer.
    pub(super) async fn try_member(
        &self,
        addr: &str,
        code: i32,
        ext: ExtFields,
        limit: Duration,
    ) -> Result<Command, ClientError> {
        let at = addr.parse().map_err(|_| ClientError::Invalid {
            what: "address of a member",
            why: format!("{addr:?} is no ip:port; check its brokerIP1"),
        })?;
        let core = self.admin.core();
        core.ask_at(at, &core.request(code, ext), limit).await
    }

    pub(super) async fn close(&self) {
        self.admin.close().await;
    }
}

/// What the only answer to a change says: done, refused, or of unknown outcome.
///
/// # Errors
/// All but code 0.
pub(super) fn changed(answer: Command) -> Result<Command, ClientError> {
    let remark = || answer.remark.clone().unwrap_or_default();
    match answer.code {
        response::SUCCESS => Ok(answer),
        _ if answer.ext.get(EXT_OUTCOME) == Some(OUTCOME_UNKNOWN) => Err(unknown(remark())),
        code => Err(ClientError::Refused { code, remark: remark() }),
    }
}

/// A change that was asked for once, and may have been made.
pub(super) fn unknown(detail: String) -> ClientError {
    ClientError::Unknown { msg_id: String::new(), attempts: 1, detail }
}
