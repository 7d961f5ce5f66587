//! What an operator does while the groups work: members are added and removed, logs purged, over the wire as the
//! command line does it, again and again until it is done.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use madsim::task::JoinHandle;
use quorumq::client::{Admin, ClientOptions};
use quorumq::protocol::ExtFields;
use quorumq::protocol::code::request;

use crate::runtime::SimRuntime;
use crate::tally::Fault;
use crate::world::{Node as Host, World};

/// How long one request may take: a new member has to catch up meanwhile.
const REQUEST: Duration = Duration::from_secs(10);
/// Pause between attempts.
const PAUSE: Duration = Duration::from_millis(200);
/// Attempts at something that need not succeed.
const FEW: u32 = 10;

/// Something to be done to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Add the broker that waits at `peer`.
    Add {
        /// brokerName.
        group: Arc<str>,
        /// Where it listens for peers.
        peer: SocketAddr,
        /// Its seat.
        seat: usize,
    },
    /// Remove a member.
    Remove {
        /// brokerName.
        group: Arc<str>,
        /// Its node id.
        node_id: u64,
        /// Its seat.
        seat: usize,
    },
    /// Put a new member in the place of one that lost its disk.
    Replace {
        /// brokerName.
        group: Arc<str>,
        /// Where the new one listens for peers.
        peer: SocketAddr,
        /// The old one's node id.
        node_id: u64,
        /// The old one's address.
        ip: IpAddr,
        /// What it is counted as.
        fault: Fault,
    },
    /// Drop the older half of the log.
    Purge {
        /// brokerName.
        group: Arc<str>,
    },
}

type Running = JoinHandle<Result<(), String>>;

/// Errands under way.
#[derive(Debug)]
pub struct Errands {
    world: World,
    host: Host,
    options: ClientOptions,
    /// Changes of membership: one at a time in each group.
    changes: Vec<(usize, Errand, Running)>,
    /// Others.
    aside: Vec<(Errand, Running)>,
}

impl Errands {
    /// None under way; they run on `host`.
    #[must_use]
    pub fn new(world: &World, host: Host, namesrv: Vec<SocketAddr>) -> Self {
        let mut options = ClientOptions::new(namesrv);
        (options.client_ip, options.api_timeout) = (host.ip(), REQUEST);
        Self { world: world.clone(), host, options, changes: Vec::new(), aside: Vec::new() }
    }

    /// Whether a change of a group's membership is under way.
    #[must_use]
    pub fn is_busy(&self, group: usize) -> bool {
        self.changes.iter().any(|(busy, ..)| *busy == group)
    }

    /// Whether a member of a group that lost its disk is being replaced.
    #[must_use]
    pub fn is_replacing(&self, group: usize) -> bool {
        let of_group = self.changes.iter().filter(|(busy, ..)| *busy == group);
        of_group.into_iter().any(|(_, errand, _)| matches!(errand, Errand::Replace { .. }))
    }

    /// Whether any change of membership is under way.
    #[must_use]
    pub fn pending(&self) -> Vec<&Errand> {
        self.changes.iter().map(|(_, errand, _)| errand).collect()
    }

    /// Begins a change of a group's membership.
    pub fn run(&mut self, group: usize, errand: Errand) {
        let running = self.host.spawn(carry_out(self.options.clone(), errand.clone()));
        self.changes.push((group, errand, running));
    }

    /// Begins something that may go on beside others.
    pub fn run_aside(&mut self, errand: Errand) {
        let running = self.host.spawn(carry_out(self.options.clone(), errand.clone()));
        self.aside.push((errand, running));
    }

    /// Changes of membership that were done since the last call: the group, what it was.
    pub async fn done(&mut self) -> Result<Vec<(usize, Errand)>, String> {
        let mut done = Vec::new();
        while let Some(at) = self.changes.iter().position(|(.., running)| running.is_finished()) {
            let (group, errand, running) = self.changes.swap_remove(at);
            running.await.map_err(|e| e.to_string())?.map_err(|e| format!("{errand:?}: {e}"))?;
            self.count(&errand);
            done.push((group, errand));
        }
        while let Some(at) = self.aside.iter().position(|(_, running)| running.is_finished()) {
            let (errand, running) = self.aside.swap_remove(at);
            match running.await.map_err(|e| e.to_string())? {
                Ok(()) => self.count(&errand),
                Err(e) => tracing::info!(?errand, "not done: {e}"),
            }
        }
        Ok(done)
    }

    fn count(&self, errand: &Errand) {
        let tally = self.world.tally();
        match errand {
            Errand::Add { .. } => {
                tally.felt(Fault::AddLearner, 1);
                tally.begun(Fault::Promote);
                tally.felt(Fault::Promote, 1);
            }
            Errand::Remove { .. } => tally.felt(Fault::Remove, 1),
            // A member whose store rotted is no fault of its own kind to replace.
            Errand::Replace { .. } => tally.felt(Fault::ReplaceWiped, 1),
            Errand::Purge { .. } => tally.felt(Fault::Purge, 1),
        }
    }
}

async fn carry_out(options: ClientOptions, errand: Errand) -> Result<(), String> {
    let id_of = |node_id: u64| ("nodeId", node_id.to_string());
    match errand {
        Errand::Add { group, peer, .. } => {
            until_done(&options, &group, request::GROUP_ADD_MEMBER, ("peer", peer.to_string()), u32::MAX).await
        }
        Errand::Remove { group, node_id, .. } => {
            until_done(&options, &group, request::GROUP_REMOVE_MEMBER, id_of(node_id), u32::MAX).await
        }
        Errand::Replace { group, peer, node_id, .. } => {
            until_done(&options, &group, request::GROUP_ADD_MEMBER, ("peer", peer.to_string()), u32::MAX).await?;
            until_done(&options, &group, request::GROUP_REMOVE_MEMBER, id_of(node_id), u32::MAX).await
        }
        Errand::Purge { group } => {
            until_done(&options, &group, request::PURGE_LOG, ("from", "operator".to_owned()), FEW).await
        }
    }
}

async fn until_done(
    options: &ClientOptions,
    group: &str,
    code: i32,
    (key, value): (&str, String),
    attempts: u32,
) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..attempts {
        match ask(options, group, code, [(key, value.as_str())].into_iter().collect()).await {
            Ok(()) => return Ok(()),
            // Removed by an earlier attempt, whose answer was lost.
            Err(e) if code == request::GROUP_REMOVE_MEMBER && e.contains("is no member") => return Ok(()),
            Err(e) => last = e,
        }
        tracing::debug!(code, group, "again: {last}");
        <SimRuntime as openraft_rt::AsyncRuntime>::sleep(PAUSE).await;
    }
    Err(last)
}

async fn ask(options: &ClientOptions, group: &str, code: i32, ext: ExtFields) -> Result<(), String> {
    let admin = Admin::<SimRuntime>::start_with(options.clone()).map_err(|e| e.to_string())?;
    let asked = async {
        let groups = admin.groups(None).await.map_err(|e| e.to_string())?;
        let wanted = groups.iter().find(|found| &**found.name() == group);
        let wanted = wanted.ok_or_else(|| format!("no NameServer knows {group}"))?;
        admin.call_group(wanted, code, ext, Vec::new()).await.map_err(|e| e.to_string())
    };
    let asked = asked.await;
    admin.close().await;
    asked.map(drop)
}
