//! A process that a test started, and ends whatever happens.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Lines of its log that are shown when a test fails.
const LINES_SHOWN: usize = 60;

/// The product's binary.
pub fn quorumq() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorumq"));
    // What the developer's shell has set must not reach into a test.
    for name in ["NAMESRV_ADDR", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

/// A running process; killed when dropped. Its output goes to a file, shown if the test fails.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, its output appended to `log`.
    pub fn start(name: &str, log: &Path, command: &mut Command) -> Self {
        let out = File::options().create(true).append(true).open(log).expect("the log can be written");
        let err = out.try_clone().expect("a second handle of the log");
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let child = child.unwrap_or_else(|e| panic!("{name} does not start: {e}"));
        Self { name: name.to_owned(), child, log: log.to_owned() }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).unwrap_or_else(|e| panic!("{} takes no signal: {e}", self.name));
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(begun.elapsed() < limit, "{} still runs after {limit:?}:\n{}", self.name, self.output());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGTERM; how it ended and how long that took.
    pub fn terminate(mut self, limit: Duration) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        self.signal(Signal::TERM);
        (self.wait(limit), begun.elapsed())
    }

    /// Everything it and its predecessors have written.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn end(&mut self) {
        // It may have ended by itself; either way it is reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        self.end();
        if thread::panicking() {
            let output = self.output();
            let lines: Vec<_> = output.lines().collect();
            let tail = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
            let how = ended.map_or_else(|| "was running".to_owned(), |status| format!("had ended: {status}"));
            eprintln!("---- {} {how}; its last lines:\n{tail}\n----", self.name);
        }
    }
}

/// Runs `command` to its end.
pub fn run(command: &mut Command, limit: Duration) -> Finished {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let pid = child.id();
    // Whoever waits for the output cannot wait for the limit too.
    let (tell, done) = std::sync::mpsc::channel::<()>();
    let guard = thread::spawn(move || {
        let late = done.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        if late && let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            // Its parent has not reaped it, so the id is still its own.
            let _ = kill_process(pid, Signal::KILL);
        }
        late
    });
    let out = child.stdout.take().expect("piped");
    let read = thread::spawn(move || std::io::read_to_string(out).unwrap_or_default());
    let stderr = std::io::read_to_string(child.stderr.take().expect("piped")).unwrap_or_default();
    let stdout = read.join().expect("reads");
    // The guard is told before the child is reaped.
    drop(tell);
    let late = guard.join().expect("waits");
    let status = child.wait().expect("a child can be waited for");
    assert!(!late, "{command:?} took longer than {limit:?}:\n{stdout}{stderr}");
    Finished { status, stdout, stderr }
}

/// What a command came to.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Its output, if it succeeded.
    pub fn success(self) -> String {
        assert!(self.status.success(), "{}:\n{}{}", self.status, self.stdout, self.stderr);
        self.stdout
    }

    /// What it said of its error, if it failed.
    pub fn failure(self) -> String {
        assert!(!self.status.success(), "it was to fail:\n{}{}", self.stdout, self.stderr);
        self.stderr
    }
}

/// The beginning of a command that runs in a mount namespace of its own, where it may mount.
pub fn in_mount_namespace() -> Command {
    let mut command = Command::new("unshare");
    command.arg(if rustix::process::geteuid().is_root() { "-m" } else { "-Urm" });
    command
}
