//! A client's driver as a process: says what it did one JSON object a line, ends when told.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::install::Installed;

/// Longest a client may be silent while something is expected of it.
const SILENCE: Duration = Duration::from_secs(60);

/// A message as a client told it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Got {
    pub queue: u64,
    pub offset: u64,
    pub body: String,
    pub id: String,
    /// Where the client tells it.
    pub tag: Option<String>,
    /// Where the client tells it.
    pub key: Option<String>,
}

/// A running driver; killed when dropped.
pub struct Driver {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    errors: PathBuf,
    /// Queues it said it reads, last.
    pub assigned: Vec<u64>,
    /// Messages it was given and that were not asked for yet.
    got: Vec<Got>,
}

impl Driver {
    /// Starts it; what it writes to stderr goes to a file in `dir`.
    pub fn start(client: &Installed, dir: &Path, args: &[&str]) -> Self {
        let errors = dir.join(format!("client-{}-{}.log", args[0], unique()));
        let err = File::create(&errors).expect("the log can be written");
        let mut command = Command::new(&client.program);
        command.args(&client.args).args(args).envs(client.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(err);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let stdout = child.stdout.take().expect("piped");
        let stdin = child.stdin.take();
        let (tell, lines) = channel();
        // Ends with the driver's output.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if tell.send(value).is_err() {
                    return;
                }
            }
        });
        Self { child, stdin, lines, errors, assigned: Vec::new(), got: Vec::new() }
    }

    /// The next line that is `key`'s, within `limit`; messages and assignments on the way are kept.
    fn line(&mut self, key: &str, limit: Duration) -> Option<Value> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let value = match self.lines.recv_timeout(left) {
                Ok(value) => value,
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => panic!("the client has ended:\n{}", self.errors()),
            };
            if let Some(queues) = value["assigned"].as_array() {
                self.assigned = queues.iter().filter_map(Value::as_u64).collect();
            }
            if value["got"].is_string() {
                self.got.push(got(&value));
            }
            if !value[key].is_null() {
                return Some(value);
            }
        }
    }

    /// Waits for `count` lines that say what was sent.
    pub fn sent(&mut self, count: usize) -> Vec<Value> {
        let expected = |n| format!("{n} of {count} messages sent");
        (0..count).map(|n| self.line("sent", SILENCE).unwrap_or_else(|| self.give_up(&expected(n)))).collect()
    }

    /// Waits for `count` messages; the rest is kept.
    pub fn receive(&mut self, count: usize) -> Vec<Got> {
        while self.got.len() < count {
            if self.line("got", SILENCE).is_none() {
                let what = format!("{} of {count} messages received: {:?}", self.got.len(), self.got);
                self.give_up(&what)
            }
        }
        self.got.drain(..count).collect()
    }

    /// What has been received until now, waiting at most `limit` for the first.
    pub fn received(&mut self, limit: Duration) -> Vec<Got> {
        if self.got.is_empty() {
            self.line("got", limit);
        }
        while self.line("got", Duration::ZERO).is_some() {}
        std::mem::take(&mut self.got)
    }

    /// Waits until it says that it has ended by itself; what it received until then.
    pub fn finish(&mut self) -> Vec<Got> {
        if self.line("closed", SILENCE).is_none() {
            self.give_up("the client's end")
        }
        std::mem::take(&mut self.got)
    }

    /// Tells a consumer to close and waits until it has; what it received until then.
    pub fn stop(mut self) -> Vec<Got> {
        self.tell_stop();
        let got = self.finish();
        let status = self.child.wait().expect("a child can be waited for");
        assert!(status.success(), "the client ended with {status}:\n{}", self.errors());
        got
    }

    /// Tells it to end.
    pub fn tell_stop(&mut self) {
        if let Some(mut stdin) = self.stdin.take() {
            // It may have ended already.
            let _ = stdin.write_all(b"stop\n");
        }
    }

    fn give_up(&self, what: &str) -> ! {
        panic!("not within {SILENCE:?}: {what}\n{}", self.errors())
    }

    fn errors(&self) -> String {
        fs::read_to_string(&self.errors).unwrap_or_default()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let errors = self.errors();
            let lines: Vec<_> = errors.lines().collect();
            eprintln!("---- a client's last lines:\n{}\n----", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}

fn got(value: &Value) -> Got {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    Got {
        queue: value["queue"].as_u64().expect("a queue"),
        offset: value["offset"].as_u64().expect("an offset"),
        body: text("got").expect("a body"),
        id: text("id").expect("an id"),
        tag: text("tag"),
        key: text("key"),
    }
}

fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
