//! What producers, consumers and the admin are made of: connections, routes, and asking a group.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quorumq_raft::runtime::Runtime;
use rand::RngExt;
use tokio_util::sync::CancellationToken;

use super::error::ClientError;
use super::options::ClientOptions;
use super::producer::{EXT_OUTCOME, OUTCOME_UNKNOWN};
use super::remoting::{Connections, OnPush, Request};
use super::route::gate::Entry;
use super::route::{Group, Routes};
use super::tasks::Tasks;
use super::time::{left, now};
use crate::protocol::code::response;
use crate::protocol::{Command, ExtFields};

/// How long a query pauses after a broker said that it is busy.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// How long closing waits for background tasks. They end at once, but for a listener that hangs.
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// One client: its id, its connections, its view of the cluster, its background tasks.
pub struct Core<R: Runtime> {
    /// Settings.
    pub options: ClientOptions,
    /// `ip@instance#random`, which brokers know it by.
    pub client_id: Arc<str>,
    /// Connections to brokers.
    pub connections: Connections<R>,
    /// Routes and groups.
    pub routes: Arc<Routes<R>>,
    /// Background tasks, ended by [`Core::close`].
    pub tasks: Tasks<R>,
}

/// How long an operation may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience<R: Runtime> {
    /// When no further attempt begins.
    pub deadline: R::Instant,
    /// How long one attempt may take.
    pub attempt: Duration,
    /// Whether an attempt begun in time may go on after the deadline: a pull that the broker holds.
    pub overrun: bool,
}

impl<R: Runtime> Patience<R> {
    /// `total` from now on, half of it for one attempt.
    pub fn new(total: Duration) -> Self {
        Self { deadline: now::<R>() + total, attempt: total / 2, overrun: false }
    }
}

/// Something was changed, once at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// An earlier attempt had an unknown outcome: the same change may be made once more, now or later.
    pub maybe_again: bool,
}

/// Attempts that may have been carried out although nobody said so.
#[derive(Debug, Default)]
struct Open {
    attempts: u32,
    /// What the last of them came to.
    detail: Option<String>,
}

impl Open {
    fn note(&mut self, detail: String) {
        self.attempts += 1;
        self.detail = Some(detail);
    }

    fn error_or(self, definite: ClientError) -> ClientError {
        match self.detail {
            Some(detail) => ClientError::Unknown { msg_id: String::new(), attempts: self.attempts, detail },
            None => definite,
        }
    }
}

impl<R: Runtime> Core<R> {
    /// Starts a client: from now on it keeps its routes fresh.
    ///
    /// # Errors
    /// No NameServer was given.
    pub fn start(options: ClientOptions, on_push: OnPush) -> Result<Arc<Self>, ClientError> {
        let random: u32 = R::thread_rng().random();
        let client_id = format!("{}@{}#{random:08x}", options.client_ip, options.instance);
        let routes = Arc::new(Routes::new(&options)?);
        let core = Self {
            client_id: client_id.into(),
            connections: Connections::new(options.limits, on_push),
            routes: Arc::clone(&routes),
            tasks: Tasks::default(),
            options,
        };
        let (every, stop) = (core.options.route_interval, core.tasks.stopped());
        core.tasks.spawn(async move { routes.keep_fresh(every, stop).await });
        Ok(Arc::new(core))
    }

    /// A request of ours.
    pub fn request(&self, code: i32, ext: ExtFields) -> Command {
        Command::request(self.options.encoding, code, ext, bytes::Bytes::new())
    }

    /// Whether the client is being closed.
    pub fn stopped(&self) -> CancellationToken {
        self.tasks.stopped()
    }

    /// Stops background tasks and closes connections.
    pub async fn close(&self) {
        self.tasks.stop(STOP_WITHIN).await;
        self.connections.close();
        self.routes.namesrv().close();
    }

    /// Asks one address, once.
    ///
    /// # Errors
    /// It did not answer.
    pub async fn ask_at(&self, addr: SocketAddr, request: &Command, timeout: Duration) -> Result<Command, ClientError> {
        self.connections.get(addr).call(request, timeout).await.map_err(ClientError::of_query)
    }

    /// Asks a group something that may be asked twice: the leader if it is known, else whoever answers. Goes on while
    /// there is no leader, until `patience` ends. An answer is of any code but 2, 14 and 215.
    ///
    /// # Errors
    /// Nobody answered, or all were busy or without a leader to the end.
    pub async fn ask<Q: Request>(
        &self,
        group: &Group<R>,
        request: &Q,
        patience: Patience<R>,
    ) -> Result<Command, ClientError> {
        self.ask_noting(group, request, patience, &mut Open::default()).await
    }

    /// [`Self::ask`], and takes note of attempts that were sent and not answered.
    async fn ask_noting<Q: Request>(
        &self,
        group: &Group<R>,
        request: &Q,
        patience: Patience<R>,
        open: &mut Open,
    ) -> Result<Command, ClientError> {
        let mut tried = Vec::new();
        let mut asked = false;
        let mut last = ClientError::Timeout("no broker was asked in time");
        loop {
            match group.queries.enter(patience.deadline, asked).await {
                Entry::AtOnce => {}
                Entry::Anew => tried.clear(),
                Entry::TooLate => return Err(last),
            }
            let left_over = left::<R>(patience.deadline);
            if left_over.is_zero() {
                return Err(last);
            }
            let timeout = if patience.overrun { patience.attempt } else { left_over.min(patience.attempt) };
            let Some(addr) = group.pick(&tried) else {
                if tried.is_empty() {
                    return Err(ClientError::NoMember { group: group.name().to_string() });
                }
                tried.clear();
                group.queries.shut();
                asked = true;
                continue;
            };
            match self.connections.get(addr).call(request, timeout).await {
                Ok(answer) => {
                    group.learn(&answer.ext);
                    match answer.code {
                        response::SERVICE_NOT_AVAILABLE => tried.push(addr),
                        response::SYSTEM_BUSY | response::FLOW_CONTROL => {
                            R::sleep(BUSY_PAUSE.min(left::<R>(patience.deadline))).await;
                        }
                        _ => {
                            group.succeeded(addr);
                            group.queries.open();
                            return Ok(answer);
                        }
                    }
                    last = ClientError::refused(&answer);
                }
                Err(error) => {
                    group.failed(addr, &error);
                    tried.push(addr);
                    if error.is_unknown() {
                        open.note(error.to_string());
                    }
                    last = ClientError::of_query(error);
                }
            }
        }
    }

    /// [`Self::ask`], where only code 0 is an answer.
    ///
    /// # Errors
    /// As [`Self::ask`], and [`ClientError::Refused`] for any other code.
    pub async fn ask_ok<Q: Request>(
        &self,
        group: &Group<R>,
        request: &Q,
        patience: Patience<R>,
    ) -> Result<Command, ClientError> {
        let answer = self.ask(group, request, patience).await?;
        if answer.code == response::SUCCESS { Ok(answer) } else { Err(ClientError::refused(&answer)) }
    }

    /// Has a group change something that may be changed so twice, as [`Self::ask`] does.
    ///
    /// # Errors
    /// [`ClientError::Unknown`] if the change may have been made or may still be; any other error if it was not and will
    /// not be.
    pub async fn change<Q: Request>(
        &self,
        group: &Group<R>,
        request: &Q,
        patience: Patience<R>,
    ) -> Result<Changed, ClientError> {
        self.change_answered(group, request, patience).await.map(|(changed, _)| changed)
    }

    /// [`Self::change`], with the answer.
    ///
    /// # Errors
    /// As [`Self::change`].
    pub async fn change_answered<Q: Request>(
        &self,
        group: &Group<R>,
        request: &Q,
        patience: Patience<R>,
    ) -> Result<(Changed, Command), ClientError> {
        let mut open = Open::default();
        match self.ask_noting(group, request, patience, &mut open).await {
            Ok(answer) if answer.code == response::SUCCESS => {
                Ok((Changed { maybe_again: open.detail.is_some() }, answer))
            }
            Ok(answer) => {
                if answer.ext.get(EXT_OUTCOME) == Some(OUTCOME_UNKNOWN) {
                    open.note(answer.remark.clone().unwrap_or_default());
                }
                Err(open.error_or(ClientError::refused(&answer)))
            }
            Err(error) => Err(open.error_or(error)),
        }
    }
}
