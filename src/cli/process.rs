//! The process around a command: runtime, signals, panics, file descriptors. The one place that builds a runtime.

use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use openraft_rt::{AsyncRuntime, Select2};
use quorumq_raft::runtime::tokio::Tokio;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::error::CliError;

/// How long a graceful stop may take: hand over leadership, flush, close.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What the first Ctrl-C or SIGTERM does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Cancels the command's token; it has [`STOP_LIMIT`] to end. A second signal ends the process at once.
    Graceful,
    /// Ends the process at once.
    None,
}

/// Makes the process fit to run any command.
pub(super) fn prepare() {
    std::panic::set_hook(Box::new(|panic| {
        // A node that lost one of its tasks must not go on half alive, whatever task it was.
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed").to_owned();
        let text = panic.to_string().replace('\n', " ");
        let trace = std::backtrace::Backtrace::capture();
        let trace = if matches!(trace.status(), std::backtrace::BacktraceStatus::Captured) {
            trace.to_string()
        } else {
            String::new()
        };
        let _ = writeln!(
            io::stderr(),
            "FATAL thread {name} {text}; the process ends{}{trace}",
            if trace.is_empty() { "" } else { "\n" }
        );
        std::process::abort();
    }));
    raise_file_limit();
}

/// A broker holds a descriptor per connection, segment and ConsumeQueue file; the usual soft limit of 1024 is too low.
fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(e) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        debug!("the limit of open files stays at {current:?}: {e}");
    }
}

/// Runs `body` to its end or to a signal; answers the exit code.
///
/// # Errors
/// What the command failed with, or that no runtime could be started.
pub(super) fn run<F, Fut>(patience: Patience, body: F) -> Result<ExitCode, CliError>
where
    F: FnOnce(CancellationToken) -> Fut,
    Fut: Future<Output = Result<(), CliError>> + Send + 'static,
{
    run_limited(patience, STOP_LIMIT, body)
}

fn run_limited<F, Fut>(patience: Patience, limit: Duration, body: F) -> Result<ExitCode, CliError>
where
    F: FnOnce(CancellationToken) -> Fut,
    Fut: Future<Output = Result<(), CliError>> + Send + 'static,
{
    let failed = |e: io::Error| {
        CliError::failed(
            format!("cannot start the runtime: {e}"),
            "Check the limits on threads and open files (ulimit -a).",
        )
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed)?;
    let outcome = runtime.block_on(async {
        let signals = Signals::listen().map_err(failed)?;
        let stop = CancellationToken::new();
        let task = Tokio::spawn(body(stop.clone()));
        supervise(patience, limit, signals, stop, task).await
    });
    // Whatever still runs has had its time; waiting for it could hold the process up for good.
    runtime.shutdown_background();
    outcome
}

type Task = <Tokio as AsyncRuntime>::JoinHandle<Result<(), CliError>>;

async fn supervise(
    patience: Patience,
    limit: Duration,
    mut signals: Signals,
    stop: CancellationToken,
    mut task: Task,
) -> Result<ExitCode, CliError> {
    let first = match Tokio::select2(&mut task, signals.next()).await {
        Select2::First(done) => return ended(done),
        Select2::Second(first) => first,
    };
    if patience == Patience::None {
        return Ok(first.exit_code());
    }
    info!("{} received, stopping; a second one ends the process at once", first.name());
    stop.cancel();
    match Tokio::timeout(limit, Tokio::select2(&mut task, signals.next())).await {
        Ok(Select2::First(done)) => ended(done),
        Ok(Select2::Second(second)) => Ok(second.exit_code()),
        Err(_) => {
            let what = format!("the stop took longer than {limit:?} and was cut short");
            Err(CliError::failed(what, "Nothing acknowledged is lost; the next start recovers as after a crash."))
        }
    }
}

fn ended(done: Result<Result<(), CliError>, <Tokio as AsyncRuntime>::JoinError>) -> Result<ExitCode, CliError> {
    match done {
        Ok(Ok(())) => Ok(ExitCode::SUCCESS),
        Ok(Err(error)) => Err(error),
        // A panic ends the process in its hook, so this is the runtime going down under us.
        Err(e) => Err(CliError::failed(format!("the command was cut off: {e}"), "Run it again.")),
    }
}

/// The signals that ask a process to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

#[derive(Clone, Copy)]
enum Asked {
    Interrupt,
    Terminate,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Asked {
        match Tokio::select2(self.interrupt.recv(), self.terminate.recv()).await {
            Select2::First(_) => Asked::Interrupt,
            Select2::Second(_) => Asked::Terminate,
        }
    }
}

impl Asked {
    fn name(self) -> &'static str {
        match self {
            Asked::Interrupt => "Ctrl-C",
            Asked::Terminate => "SIGTERM",
        }
    }

    /// 128 + the signal's number, as shells have it.
    fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Asked::Interrupt => 130,
            Asked::Terminate => 143,
        })
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    fn raise(signal: Signal) {
        kill_process(getpid(), signal).unwrap();
    }

    fn code(outcome: Result<ExitCode, CliError>) -> String {
        format!("{:?}", outcome.unwrap())
    }

    /// One test, as signals go to every listener of the process.
    #[test]
    fn the_first_signal_stops_and_the_second_ends_at_once() {
        let stopped = run(Patience::Graceful, |stop| async move {
            raise(Signal::TERM);
            stop.cancelled().await;
            Ok(())
        });
        assert_eq!(code(stopped), format!("{:?}", ExitCode::SUCCESS));

        let twice = run(Patience::Graceful, |stop| async move {
            raise(Signal::TERM);
            stop.cancelled().await;
            raise(Signal::INT);
            std::future::pending().await
        });
        assert_eq!(code(twice), format!("{:?}", ExitCode::from(130)));

        let at_once = run(Patience::None, |_| async {
            raise(Signal::TERM);
            std::future::pending().await
        });
        assert_eq!(code(at_once), format!("{:?}", ExitCode::from(143)));

        let hanging = run_limited(Patience::Graceful, Duration::from_millis(1), |_| async {
            raise(Signal::INT);
            std::future::pending().await
        });
        assert_eq!(hanging.unwrap_err().to_string(), "the stop took longer than 1ms and was cut short");
    }
}
