//! openraft's network over our peer connections.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::alias::SnapshotOf;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::handshake::DialError;
use super::log_session::{LogSession, LogStream, Reach, log_stream};
use super::message::{Purpose, Request, Response};
use super::mux::CallError;
use super::peers::Peers;
use crate::machine::Machine;
use crate::runtime::Runtime;
use crate::types::{Member, NodeId, RaftVote, Types};
use crate::wire::{WireAppend, WireAppended, WireVoteRequest};

/// Longest a vote or transfer may take.
const VOTE_TIMEOUT: Duration = Duration::from_millis(1000);
/// Longest a snapshot transfer may take.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest the leader waits for one answer on a log connection: a follower may be held by a slow sync.
const APPEND_PATIENCE: Duration = Duration::from_secs(5);
/// Pause between attempts to reach a peer that is down.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Makes clients for openraft.
#[derive(Debug)]
pub struct Network<R> {
    peers: Arc<Peers<R>>,
}

impl<R: Runtime> Network<R> {
    pub fn new(peers: Arc<Peers<R>>) -> Self {
        Self { peers }
    }

    fn client(&self, target: NodeId, member: &Member, heartbeat: bool) -> Client<R> {
        let (peers, member) = (Arc::clone(&self.peers), member.clone());
        Client {
            peers,
            target,
            member,
            heartbeat,
            log: Mutex::new(None),
            reach: Reach::new(target, Arc::clone(self.peers.full())),
            dialed: None,
        }
    }
}

impl<R: Runtime, M: Machine> RaftNetworkFactory<Types<R, M>> for Network<R> {
    type Network = Client<R>;

    async fn new_client(&mut self, target: NodeId, node: &Member) -> Client<R> {
        self.client(target, node, false)
    }
    async fn new_heartbeat_client(&mut self, target: NodeId, node: &Member) -> Client<R> {
        self.client(target, node, true)
    }
}

/// One peer, as one task of openraft sees it.
pub struct Client<R: Runtime> {
    peers: Arc<Peers<R>>,
    target: NodeId,
    member: Member,
    /// Heartbeats go over the control connection, so that catch-up never delays them.
    heartbeat: bool,
    /// Used by `&mut self` only; the mutex makes the client `Sync`, which openraft asks and streams need not be.
    log: Mutex<Option<LogStream<R::Stream>>>,
    reach: Reach,
    /// When the log connection was dialled last.
    dialed: Option<R::Instant>,
}

impl<R: Runtime> Client<R> {
    async fn control<M: Machine>(&self, request: Request, limit: Duration) -> Result<Response, RPCError<Types<R, M>>> {
        let peer = (self.target, &self.member);
        match self.peers.call(peer, Purpose::Control, request, &[], limit).await {
            Ok((response, _)) => Ok(response),
            Err(e) => Err(call_error(&e)),
        }
    }

    async fn append<M: Machine>(
        &self,
        req: AppendEntriesRequest<Types<R, M>>,
        limit: Duration,
    ) -> Result<StreamAppendResult<Types<R, M>>, RPCError<Types<R, M>>> {
        debug_assert!(req.entries.is_empty(), "entries travel on the log connection");
        let request = Request::Heartbeat(WireAppend::heartbeat(&req));
        match self.control(request, limit).await? {
            Response::Appended(WireAppended::Matching(at)) => Ok(Ok(at.map(Into::into))),
            Response::Appended(WireAppended::Conflict(at)) => {
                Ok(Err(openraft::raft::StreamAppendError::Conflict(at.into())))
            }
            Response::Appended(WireAppended::HigherVote(vote)) => {
                Ok(Err(openraft::raft::StreamAppendError::HigherVote(vote.into())))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn log<M: Machine>(
        &mut self,
    ) -> Result<(&mut Option<LogStream<R::Stream>>, &mut Reach), RPCError<Types<R, M>>> {
        let log = self.log.get_mut().unwrap_or_else(PoisonError::into_inner);
        if log.is_none() {
            // openraft pauses between requests, not between streams: without this it would dial a peer that is down, or
            // not up yet, thousands of times a second.
            if let Some(dialed) = self.dialed {
                R::sleep_until(dialed + RETRY_PAUSE).await;
            }
            self.dialed = Some(<R::Instant as openraft_rt::Instant>::now());
            match self.peers.dial(self.target, &self.member, Purpose::Log).await {
                Ok(dialed) => *log = Some(log_stream(dialed.stream)),
                Err(e) => {
                    self.reach.lost(&e);
                    return Err(dial_error(&e));
                }
            }
        }
        Ok((log, &mut self.reach))
    }
}

impl<R: Runtime, M: Machine> RaftNetworkV2<Types<R, M>> for Client<R> {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types<R, M>>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types<R, M>>, RPCError<Types<R, M>>> {
        self.append(rpc, option.hard_ttl()).await.map(Into::into)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types<R, M>>, RPCError<Types<R, M>>>>, RPCError<Types<R, M>>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types<R, M>>> + Send + Unpin + 'static,
    {
        Box::pin(async move {
            if self.heartbeat {
                let client: &'s Self = self;
                let answers = input.then(move |req| client.append(req, option.hard_ttl()));
                return Ok(Box::pin(answers) as BoxStream<'s, _>);
            }
            let log = self.log().await?;
            Ok(Box::pin(LogSession::<R, M, S>::new(log, input, APPEND_PATIENCE)) as BoxStream<'s, _>)
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types<R, M>>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types<R, M>>, RPCError<Types<R, M>>> {
        match self.control(Request::Vote(WireVoteRequest::new(&rpc)), VOTE_TIMEOUT).await? {
            Response::Vote(answer) => Ok(answer.into_raft()),
            other => Err(unexpected(&other)),
        }
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types<R, M>>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types<R, M>>, RPCError<Types<R, M>>> {
        match self.control(Request::PreVote(WireVoteRequest::new(&rpc)), VOTE_TIMEOUT).await? {
            Response::Vote(answer) => Ok(answer.into_raft()),
            other => Err(unexpected(&other)),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: SnapshotOf<Types<R, M>, Bytes>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types<R, M>>, StreamingError<Types<R, M>>> {
        let request = Request::Snapshot {
            vote: (&vote).into(),
            last: snapshot.meta.last_log_id.as_ref().map(Into::into),
            membership: (&snapshot.meta.last_membership).into(),
        };
        let raw = [snapshot.snapshot];
        let peer = (self.target, &self.member);
        let sent = self.peers.call(peer, Purpose::Snapshot, request, &raw, SNAPSHOT_TIMEOUT);
        match R::select2(cancel, sent).await {
            openraft_rt::Select2::First(closed) => Err(StreamingError::Closed(closed)),
            openraft_rt::Select2::Second(Ok((Response::Installed { vote }, _))) => {
                Ok(SnapshotResponse::new(vote.into()))
            }
            openraft_rt::Select2::Second(Ok((other, _))) => {
                Err(StreamingError::Unreachable(Unreachable::from_string(format!("unexpected answer {other:?}"))))
            }
            openraft_rt::Select2::Second(Err(e)) => Err(StreamingError::Unreachable(Unreachable::from_string(e))),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types<R, M>>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types<R, M>>, RPCError<Types<R, M>>> {
        let request = Request::TransferLeader {
            from: req.from_leader().into(),
            to: *req.to_node_id(),
            last: req.last_log_id().map(Into::into),
        };
        match self.control(request, VOTE_TIMEOUT).await? {
            Response::Transferred(Ok(())) => Ok(Ok(())),
            Response::Transferred(Err(why)) => Err(RPCError::Network(NetworkError::from_string(why))),
            other => Err(unexpected(&other)),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(RETRY_PAUSE)))
    }
}

fn dial_error<R: Runtime, M: Machine>(e: &DialError) -> RPCError<Types<R, M>> {
    RPCError::Unreachable(Unreachable::from_string(e))
}

fn call_error<R: Runtime, M: Machine>(e: &CallError) -> RPCError<Types<R, M>> {
    RPCError::Unreachable(Unreachable::from_string(e))
}

fn unexpected<R: Runtime, M: Machine>(response: &Response) -> RPCError<Types<R, M>> {
    RPCError::Network(NetworkError::from_string(format!("unexpected answer {response:?}")))
}
