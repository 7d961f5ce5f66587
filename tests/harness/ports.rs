//! Ports that no other test takes, whichever process it runs in.

use std::fs::{File, create_dir_all};
use std::net::TcpListener;

/// Below the ports that Linux gives to outgoing connections (32768 and up).
const FIRST: u16 = 20_000;
const BLOCKS: u16 = 1_200;
/// Ports of a block: enough for a broker's VIP, main and Raft port.
const BLOCK: u16 = 10;

/// Ten ports in a row, ours as long as this lives: a file lock, which ends with the process too, tells the others.
#[derive(Debug)]
pub struct Ports {
    first: u16,
    _lock: File,
}

impl Ports {
    /// Takes a block in which every port can be bound now.
    pub fn take() -> Self {
        let user = rustix::process::getuid().as_raw();
        let dir = std::env::temp_dir().join(format!("quorumq-test-ports-{user}"));
        create_dir_all(&dir).expect("the system's temporary directory takes a new one");
        // Processes that begin at different places seldom try for the same block.
        let start = u16::try_from(std::process::id() * 7 % u32::from(BLOCKS)).expect("fewer than 65536 blocks");
        for step in 0..BLOCKS {
            let first = FIRST + (start + step) % BLOCKS * BLOCK;
            let lock = File::create(dir.join(first.to_string())).expect("a lock file");
            if lock.try_lock().is_ok() && (first..first + BLOCK).all(is_free) {
                return Self { first, _lock: lock };
            }
        }
        panic!("every port from {FIRST} on is taken");
    }

    /// A NameServer's port.
    pub fn name_server(&self) -> u16 {
        self.first
    }

    /// A broker's `listenPort`; its VIP port is 2 below.
    pub fn listen(&self) -> u16 {
        self.first + 3
    }

    /// A broker's VIP port.
    pub fn vip(&self) -> u16 {
        self.listen() - 2
    }

    /// A broker's Raft port.
    pub fn raft(&self) -> u16 {
        self.listen() + 1
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
