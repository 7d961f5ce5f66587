//! One server process with its configuration, its directory and its ports; started, killed and started again.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::Signal;

use super::ports::Ports;
use super::process::{Process, quorumq};

/// Longest a stopping server may take: the product promises 5 s.
pub const STOP_LIMIT: Duration = Duration::from_secs(5);

/// How the broker's process comes to be.
#[derive(Clone, Debug, Default)]
pub enum Launch {
    /// As it is.
    #[default]
    Plain,
    /// In a mount namespace of its own, where its store is a volume of this many bytes.
    OnVolume(u64),
}

/// A NameServer's or a broker's process, while it runs and while it does not.
#[derive(Debug)]
pub struct Node {
    pub name: String,
    pub ports: Ports,
    /// A broker's store.
    pub store: PathBuf,
    pub conf: PathBuf,
    pub launch: Launch,
    /// Environment variables its process gets.
    pub env: Vec<(&'static str, PathBuf)>,
    role: &'static str,
    log: PathBuf,
    process: Option<Process>,
}

impl Node {
    /// A NameServer below `dir`, not started.
    pub fn name_server(dir: &Path, name: &str) -> Self {
        let node = Self::new(dir, name, "nameserver", Ports::take());
        let port = node.ports.name_server();
        let kv = dir.join(format!("{name}-kv.json"));
        node.write_conf(&format!("listenPort={port}\nbindAddress=127.0.0.1\nkvConfigPath={}\n", kv.display()));
        node
    }

    /// A broker below `dir`, not started and without a configuration.
    pub fn broker(dir: &Path, name: &str, ports: Ports) -> Self {
        Self::new(dir, name, "broker", ports)
    }

    fn new(dir: &Path, name: &str, role: &'static str, ports: Ports) -> Self {
        Self {
            name: name.to_owned(),
            ports,
            store: dir.join(name),
            conf: dir.join(format!("{name}.conf")),
            launch: Launch::Plain,
            env: Vec::new(),
            role,
            log: dir.join(format!("{name}.log")),
            process: None,
        }
    }

    /// Writes its configuration anew.
    pub fn write_conf(&self, text: &str) {
        fs::write(&self.conf, text).expect("the configuration can be written");
    }

    /// Where clients reach it.
    pub fn addr(&self) -> SocketAddr {
        let port = if self.role == "broker" { self.ports.listen() } else { self.ports.name_server() };
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// Starts it.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let mut command = self.command();
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        self.process = Some(Process::start(&self.name, &self.log, &mut command));
    }

    fn command(&self) -> Command {
        match self.launch {
            Launch::Plain => {
                let mut command = quorumq();
                command.arg(self.role).arg("-c").arg(&self.conf);
                command
            }
            Launch::OnVolume(bytes) => {
                fs::create_dir_all(&self.store).expect("a place for the volume");
                let mut command = super::process::in_mount_namespace();
                let script = "mount -t tmpfs -o size=\"$1\" tmpfs \"$2\" && exec \"$3\" broker -c \"$4\"";
                command.args(["sh", "-c", script, "sh"]).arg(bytes.to_string()).arg(&self.store);
                command.arg(env!("CARGO_BIN_EXE_quorumq")).arg(&self.conf);
                command
            }
        }
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running().pid()
    }

    /// kill -9; its process id.
    pub fn kill(&mut self) -> u32 {
        let process = self.process.take().unwrap_or_else(|| panic!("{} does not run", self.name));
        let pid = process.pid();
        process.kill();
        pid
    }

    /// SIGTERM; how it ended and how long that took.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let process = self.process.take().unwrap_or_else(|| panic!("{} does not run", self.name));
        process.terminate(STOP_LIMIT + Duration::from_secs(5))
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let mut process = self.process.take().unwrap_or_else(|| panic!("{} does not run", self.name));
        process.wait(limit)
    }

    /// Freezes it (SIGSTOP).
    pub fn freeze(&self) {
        self.running().signal(Signal::STOP);
    }

    /// Wakes it (SIGCONT).
    pub fn wake(&self) {
        self.running().signal(Signal::CONT);
    }

    /// What it has written, in all its lives.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn running(&self) -> &Process {
        self.process.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name))
    }
}
