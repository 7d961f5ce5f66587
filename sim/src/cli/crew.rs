//! Children side by side, until their work is done or somebody presses Ctrl-C.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use quorumq_sim::report::Report;
use tokio::signal::unix::{SignalKind, signal};

use super::child::{self, Job, Lost};

/// Work that is done in children.
pub trait Work {
    /// The next run to start; `None` if there is none before another ends.
    fn next(&mut self) -> Option<Job>;

    /// A run is over.
    fn done(&mut self, job: &Job, outcome: Result<Report, Lost>);
}

/// How the work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing is left to do.
    Done,
    /// Ctrl-C or SIGTERM: children that still ran are gone, without a result.
    Interrupted,
}

/// As many children at once as there are cores, unless told otherwise.
pub fn size(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
}

/// Does the work with up to `size` children, each of which may take up to `limit`.
///
/// # Errors
/// The process cannot have children: no signals, no pipes.
pub fn work(size: usize, limit: Duration, work: &mut impl Work) -> Result<End, String> {
    let failed = |e: std::io::Error| format!("cannot run children: {e}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt()).map_err(failed)?, signal(SignalKind::terminate()).map_err(failed)?);
        let mut asked =
            pin!(async move { select(pin!(interrupt.recv()), pin!(terminate.recv())).await.factor_first().0 });
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < size
                && let Some(job) = work.next()
            {
                running.push(child::run(job, limit));
            }
            match select(asked.as_mut(), running.next()).await {
                Either::Left(_) => return Ok(End::Interrupted),
                Either::Right((Some((job, outcome)), _)) => work.done(&job, outcome),
                Either::Right((None, _)) => return Ok(End::Done),
            }
        }
    })
}
