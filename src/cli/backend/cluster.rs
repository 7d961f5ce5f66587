//! The broker groups that the NameServers know, and asking one of them.

use std::sync::Arc;
use std::time::Duration;

use quorumq_raft::runtime::tokio::Tokio;

use crate::cli::NameServers;
use crate::cli::error::CliError;
use crate::client::{ClientError, ClientOptions, Core, Patience};
use crate::protocol::body::cluster::ClusterInfo;
use crate::protocol::code::{request, response};
use crate::protocol::{Command, ExtFields, body};

/// How long an administrative request may take, elections included.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A look at the cluster, and connections into it.
pub(crate) struct Cluster {
    core: Arc<Core<Tokio>>,
    pub info: ClusterInfo,
}

impl Cluster {
    /// Asks the NameServers.
    ///
    /// # Errors
    /// None of them answered.
    pub(crate) async fn look(namesrv: &NameServers) -> Result<Self, CliError> {
        let options = ClientOptions::parse(&namesrv.list)?;
        let timeout = options.api_timeout;
        let core = Core::start(options, Arc::new(|_, _| None))?;
        let request = core.request(request::GET_BROKER_CLUSTER_INFO, ExtFields::default());
        let answer = core.routes.namesrv().call(&request, timeout).await.map_err(ClientError::NoAnswer)?;
        let bad = |why: String| ClientError::BadAnswer { request: request::GET_BROKER_CLUSTER_INFO, why };
        if answer.code != response::SUCCESS {
            return Err(bad(format!("code {}: {}", answer.code, answer.remark.unwrap_or_default())).into());
        }
        let info: ClusterInfo = body::decode(&answer.body).map_err(|e| bad(e.to_string()))?;
        for broker in info.broker_addr_table.values() {
            core.routes.take_over_group(broker);
        }
        Ok(Self { core, info })
    }

    /// Names of the groups, in order.
    pub(crate) fn groups(&self) -> Vec<String> {
        self.info.broker_addr_table.keys().cloned().collect()
    }

    /// A request of ours.
    pub(crate) fn request(&self, code: i32, ext: ExtFields) -> Command {
        self.core.request(code, ext)
    }

    /// Asks a group's leader something that may be asked twice; only code 0 is an answer.
    ///
    /// # Errors
    /// No such group, nobody answered within `patience`, or it was refused.
    pub(crate) async fn ask(&self, group: &str, request: &Command, patience: Duration) -> Result<Command, CliError> {
        if !self.info.broker_addr_table.contains_key(group) {
            let known = self.groups().join(", ");
            let what = format!("no broker group {group} is registered");
            return Err(CliError::failed(what, format!("The NameServers know: {known}.")));
        }
        // A member that does not answer must not use up the time of those that would.
        let attempt = self.core.options.api_timeout.max(patience / 2);
        let patience = Patience { attempt, ..Patience::new(patience) };
        Ok(self.core.ask_ok(&self.core.routes.group(group), request, patience).await?)
    }

    pub(crate) async fn close(&self) {
        self.core.close().await;
    }
}
