//! Forming a group and adding nodes: a store is formatted once, explicitly, and an empty directory never votes.
//!
//! The first listed peer coordinates: it waits until every listed peer is reachable and pristine (neither vote
//! nor entries), gives each its id and the group's uuid, formats its own store last, and initializes the group.
//! Every step can be repeated: an attempt that was cut short is finished with the uuid it already gave out.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use quorumq_store::StoreError;
use quorumq_store::identity::{GroupConstants, Identity};
use quorumq_store::log_store::LogStore;
use quorumq_store::mutant::{Mutant, planted};
use rand::RngExt;
use tokio::sync::Notify;

use crate::peer::handshake::{DialError, Dialed, LocalPeer, dial};
use crate::peer::message::{Caller, Probed, Purpose, Request, Response};
use crate::peer::mux::{CallError, Mux};
use crate::runtime::Runtime;
use crate::state_machine::Place;
use crate::types::{Member, NodeId};

/// Pause between rounds while peers are not there yet.
const ROUND_PAUSE: Duration = Duration::from_millis(100);
/// Longest one forming call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// What a node with an empty directory is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants' docs speak of their fields")]
pub enum Start {
    /// Nothing: only a formatted store is opened.
    Existing,
    /// Form a new group of `peers` (their peer addresses, in the order of dLegerPeers); this node is `peers[me]`.
    Bootstrap { peers: Vec<SocketAddr>, me: usize },
    /// Wait to be added to an existing group.
    Join,
}

/// Why a node has no identity to start with.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message names its fields")]
pub enum FormError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An empty directory, and nothing was said about what to do with it.
    #[error(
        "{dir} holds no store. Start all nodes of a new group with bootstrap, or this one with join and add it with `quorumq group add`"
    )]
    NotAsked { dir: String },
    /// The directory was wiped, or belongs to a node that never was a member.
    #[error(
        "{dir} is empty, but peer {peer} already holds data of group {group}: a member whose store was lost cannot \
         come back under its old id. Remove it with `quorumq group remove`, start this node with join, and add it \
         with `quorumq group add`"
    )]
    GroupExists { dir: String, peer: SocketAddr, group: String },
    /// A listed peer wants no part of it.
    #[error("peer {peer}: {reason}")]
    Peer { peer: SocketAddr, reason: String },
    /// The store was formatted for another group than the configuration names.
    #[error(
        "{dir} belongs to group {group} of cluster {cluster}, the configuration says group {asked_group} of cluster \
         {asked_cluster}; set brokerClusterName and brokerName as they were, or give this node another storePathRootDir"
    )]
    OtherGroup { dir: String, cluster: String, group: String, asked_cluster: String, asked_group: String },
    /// The store was formatted with other constants than the configuration asks.
    #[error("the group was formed with {formed:?}, the configuration asks for {asked:?}; these cannot change")]
    Constants { formed: GroupConstants, asked: GroupConstants },
}

/// Formats this node's store when the group tells it to.
#[derive(Debug)]
pub struct Desk {
    place: Place,
    cluster: String,
    group: String,
    constants: GroupConstants,
    process: u64,
    /// Where clients reach this node.
    pub client_addr: String,
    /// Whether this node waits to be added.
    pub joining: bool,
    identity: Mutex<Option<Identity>>,
    /// Set once the store is open.
    store: OnceLock<Weak<LogStore>>,
    /// Set once the store was found to hold a damaged log.
    damaged: OnceLock<()>,
    formatted: Notify,
    /// Held while the store is formatted: a repeated order waits and finds it done.
    formatting: tokio::sync::Mutex<()>,
}

impl Desk {
    /// Reads what the directory holds.
    ///
    /// # Errors
    /// An identity that cannot be read, or one with other constants than asked.
    pub fn open(
        place: Place,
        (cluster, group): (String, String),
        constants: GroupConstants,
        process: u64,
        (client_addr, joining): (String, bool),
    ) -> Result<Self, FormError> {
        let identity = Identity::read(&*place.disk, &place.dir)?;
        if let Some(identity) = &identity
            && (&identity.cluster, &identity.group) != (&cluster, &group)
        {
            return Err(FormError::OtherGroup {
                dir: place.dir.display().to_string(),
                cluster: identity.cluster.clone(),
                group: identity.group.clone(),
                asked_cluster: cluster,
                asked_group: group,
            });
        }
        if let Some(identity) = &identity
            && identity.constants != constants
        {
            return Err(FormError::Constants { formed: identity.constants, asked: constants });
        }
        let (identity, store, damaged) = (Mutex::new(identity), OnceLock::new(), OnceLock::new());
        let (formatted, formatting) = (Notify::new(), tokio::sync::Mutex::default());
        Ok(Self {
            place,
            cluster,
            group,
            constants,
            process,
            client_addr,
            joining,
            identity,
            store,
            damaged,
            formatted,
            formatting,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Identity>> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This node's identity, once formatted.
    pub fn identity(&self) -> Option<Identity> {
        self.lock().clone()
    }

    /// The store is open.
    pub fn set_store(&self, store: &Arc<LogStore>) {
        // Opened once; a second one would be a bug of the caller, the first stays.
        let _ = self.store.set(Arc::downgrade(store));
    }

    /// The store holds a log that is damaged.
    pub fn note_damaged(&self) {
        self.damaged.get_or_init(|| ());
    }

    /// Whether the store holds neither vote nor entries, as of now. A node that was formatted and runs stays pristine
    /// until the group is initialized, which is after every listed peer has its identity: so nobody who waits for one
    /// takes a group that is being formed for one that was formed before.
    fn is_pristine(&self) -> bool {
        match self.store.get().map(Weak::upgrade) {
            None => self.damaged.get().is_none(),
            Some(Some(store)) => store.vote().is_none() && store.positions().last.is_none(),
            // The node has stopped.
            Some(None) => false,
        }
    }

    /// Who we are, for handshakes.
    pub fn local(&self) -> LocalPeer {
        let caller = self.lock().as_ref().map(caller_of);
        LocalPeer { cluster: self.cluster.clone(), group: self.group.clone(), caller, process: self.process }
    }

    /// Answers a probe.
    pub fn probed(&self) -> Probed {
        Probed {
            identity: self.lock().as_ref().map(caller_of),
            pristine: self.is_pristine(),
            joining: self.joining,
            client_addr: self.client_addr.clone(),
        }
    }

    /// Formats the store as told, or confirms that it is so formatted already. Returns the incarnation.
    ///
    /// # Errors
    /// Told otherwise than it is formatted, or than its configuration says; or the disk failed.
    pub async fn format<R: Runtime>(
        &self,
        group_uuid: u128,
        id: NodeId,
        constants: GroupConstants,
    ) -> Result<u64, String> {
        if constants != self.constants {
            return Err(format!("the group has {constants:?}, this node is configured with {:?}", self.constants));
        }
        let _formatting = self.formatting.lock().await;
        if let Some(identity) = self.identity() {
            let same = identity.group_uuid == group_uuid && identity.node_id == id;
            return if same {
                Ok(identity.incarnation)
            } else {
                Err(format!("already formatted as node {}", identity.node_id))
            };
        }
        // Zero means "not known yet" in a membership.
        let incarnation = R::thread_rng().random_range(1..u64::MAX);
        let (cluster, group) = (self.cluster.clone(), self.group.clone());
        let identity = Identity { cluster, group, group_uuid, node_id: id, incarnation, constants };
        let (place, copy) = (self.place.clone(), identity.clone());
        let formatted = R::offload(move || copy.format(&*place.disk, &place.dir)).await;
        match formatted {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(e.to_string()),
            Err(e) => return Err(e.to_string()),
        }
        *self.lock() = Some(identity);
        self.formatted.notify_one();
        Ok(incarnation)
    }

    /// Waits until the store is formatted.
    async fn wait_formatted<R: Runtime>(&self, at_most: Duration) -> bool {
        self.identity().is_some() || R::timeout(at_most, self.formatted.notified()).await.is_ok()
    }
}

fn caller_of(identity: &Identity) -> Caller {
    Caller {
        id: identity.node_id,
        group_uuid: identity.group_uuid,
        incarnation: identity.incarnation,
        constants: identity.constants.into(),
    }
}

/// Asks the node at `addr`, formatted or not.
///
/// # Errors
/// It cannot be reached, refuses, or answers something else.
pub async fn ask<R: Runtime>(local: &LocalPeer, addr: SocketAddr, request: Request) -> Result<Response, CallError> {
    let not_sent = |e: DialError| CallError::NotSent(e.to_string());
    let dialed = dial::<R>(local, addr, Purpose::Form, None).await.map_err(not_sent)?;
    ask_dialed::<R>(dialed, addr, request).await
}

async fn ask_dialed<R: Runtime>(
    dialed: Dialed<R::Stream>,
    addr: SocketAddr,
    request: Request,
) -> Result<Response, CallError> {
    let Dialed { stream, .. } = dialed;
    let mux: Arc<Mux> = Mux::start::<R>(stream, || {});
    let answer = R::timeout(CALL_TIMEOUT, mux.call(request, &[] as &[Bytes])).await;
    mux.close();
    match answer {
        Ok(answer) => answer.map(|(response, _)| response),
        Err(_) => Err(CallError::Unknown(format!("no answer from {addr} within {CALL_TIMEOUT:?}"))),
    }
}

/// Gets this node an identity. For a coordinator also the members with which to initialize a pristine group.
///
/// # Errors
/// See [`FormError`].
pub async fn form<R: Runtime>(desk: &Desk, start: &Start) -> Result<Option<Vec<(NodeId, Member)>>, FormError> {
    match start {
        Start::Existing if desk.identity().is_some() => Ok(None),
        Start::Existing => Err(FormError::NotAsked { dir: desk.place.dir.display().to_string() }),
        Start::Join => {
            while !desk.wait_formatted::<R>(Duration::from_secs(3600)).await {}
            Ok(None)
        }
        Start::Bootstrap { peers, me: 0 } => coordinate::<R>(desk, peers).await.map(Some),
        Start::Bootstrap { peers, me } => {
            while !desk.wait_formatted::<R>(ROUND_PAUSE).await {
                probe_others::<R>(desk, peers, *me).await?;
            }
            Ok(None)
        }
    }
}

/// Probes every other listed peer. `None` for those not reachable yet.
async fn probe_others<R: Runtime>(
    desk: &Desk,
    peers: &[SocketAddr],
    me: usize,
) -> Result<Vec<Option<Probed>>, FormError> {
    let mut found = Vec::with_capacity(peers.len());
    for (i, &peer) in peers.iter().enumerate() {
        if i == me {
            found.push(None);
            continue;
        }
        let probed = probe::<R>(desk, peer).await?;
        if planted(Mutant::WipedNodeVotes)
            && let Some(member) = probed.as_ref().filter(|p| !p.pristine).and_then(|p| p.identity.as_ref())
        {
            let formatted = desk.format::<R>(member.group_uuid, me as NodeId + 1, desk.constants).await;
            formatted.map_err(|reason| FormError::Peer { peer, reason })?;
        }
        if probed.as_ref().is_some_and(|p| !p.pristine) && desk.identity().is_none() {
            let dir = desk.place.dir.display().to_string();
            return Err(FormError::GroupExists { dir, peer, group: desk.group.clone() });
        }
        found.push(probed);
    }
    Ok(found)
}

/// Probes a listed peer. `None` if it is not reachable yet; one that will have nothing to do with us is an error.
async fn probe<R: Runtime>(desk: &Desk, peer: SocketAddr) -> Result<Option<Probed>, FormError> {
    let dialed = match dial::<R>(&desk.local(), peer, Purpose::Form, None).await {
        Ok(dialed) => dialed,
        Err(DialError::Refused { reason, .. }) => return Err(FormError::Peer { peer, reason }),
        Err(_) => return Ok(None),
    };
    match ask_dialed::<R>(dialed, peer, Request::Probe).await {
        Ok(Response::Probed(probed)) => Ok(Some(probed)),
        Ok(other) => Err(FormError::Peer { peer, reason: format!("unexpected answer {other:?}") }),
        Err(_) => Ok(None),
    }
}

async fn coordinate<R: Runtime>(desk: &Desk, peers: &[SocketAddr]) -> Result<Vec<(NodeId, Member)>, FormError> {
    if desk.identity().is_some() && !desk.is_pristine() {
        // The group lives; this start is an ordinary one, and needs nobody to be there already.
        return Ok(Vec::new());
    }
    // One for all rounds: a peer may carry out an order of a round before.
    let fresh = R::thread_rng().random();
    loop {
        let found = probe_others::<R>(desk, peers, 0).await?;
        let formed_before = desk.identity().is_some() && found.iter().flatten().any(|p| !p.pristine);
        if formed_before {
            // Formed by an attempt that was cut short here, after it had told the others.
            return Ok(Vec::new());
        }
        if found.iter().skip(1).all(Option::is_some)
            && let Some(members) = assign::<R>(desk, peers, &found, fresh).await?
        {
            return Ok(members);
        }
        R::sleep(ROUND_PAUSE).await;
    }
}

/// Whether a peer has an identity by now.
async fn is_formatted<R: Runtime>(desk: &Desk, peer: SocketAddr) -> bool {
    let answer = ask::<R>(&desk.local(), peer, Request::Probe).await;
    matches!(answer, Ok(Response::Probed(probed)) if probed.identity.is_some())
}

/// Tells every peer its id, itself last. `None` if a peer was lost meanwhile: those told already keep what they were
/// told, and the next round finds it with them.
async fn assign<R: Runtime>(
    desk: &Desk,
    peers: &[SocketAddr],
    found: &[Option<Probed>],
    fresh: u128,
) -> Result<Option<Vec<(NodeId, Member)>>, FormError> {
    let given = found.iter().flatten().find_map(|p| p.identity.as_ref()).map(|caller| caller.group_uuid);
    let given = desk.identity().map(|i| i.group_uuid).or(given);
    let group_uuid = given.unwrap_or(fresh);
    let mut members = Vec::with_capacity(peers.len());
    for (i, &peer) in peers.iter().enumerate().skip(1) {
        let id = i as NodeId + 1;
        let request = Request::Format { group_uuid, id, constants: desk.constants.into() };
        let (incarnation, client_addr) = match ask::<R>(&desk.local(), peer, request).await {
            Ok(Response::Formatted { incarnation, client_addr }) => (incarnation, client_addr),
            Ok(Response::Error(_)) if given.is_none() && is_formatted::<R>(desk, peer).await => {
                // By an order of this node's life before, that arrived after it was asked: go on from there.
                return Ok(None);
            }
            Ok(Response::Error(reason)) => return Err(FormError::Peer { peer, reason }),
            Ok(other) => {
                return Err(FormError::Peer { peer, reason: format!("unexpected answer {other:?}") });
            }
            Err(e) => {
                tracing::info!(%peer, "lost while the group is formed, trying again: {e}");
                return Ok(None);
            }
        };
        members.push((id, Member { peer_addr: peer.to_string(), client_addr, incarnation }));
    }
    let own = desk.format::<R>(group_uuid, 1, desk.constants).await;
    let incarnation = own.map_err(|reason| FormError::Peer { peer: peers[0], reason })?;
    let client_addr = desk.client_addr.clone();
    members.insert(0, (1, Member { peer_addr: peers[0].to_string(), client_addr, incarnation }));
    Ok(Some(members))
}
